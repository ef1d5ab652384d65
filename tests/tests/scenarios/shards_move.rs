//! Connections of clients that belong to another shard.

use std::time::Duration;

use wherry_core::Config;
use wherry_core::permission::Grant;
use wherry_tests::scenario::{Admission, Client, World, texts};
use wherry_tests::wire::{self, PINGREQ, Version, Will, kind};

/// Two shards; connections are opened at the first one, and the name belongs to the second.
fn two() -> (World, String) {
    let world = World::of_shards(&Config::default(), 2);
    let name = world.name_at(1, "client");
    (world, name)
}

fn dial(world: &mut World, connect: &wire::Connect) -> Client {
    let client = world.dial(connect.version());
    world.send(client, connect.bytes());
    client
}

#[test]
fn a_client_is_served_by_the_shard_that_owns_it() {
    for version in Version::ALL {
        let (mut world, name) = two();
        let client = world.connect(version, &name);
        assert_eq!(world.shard_of(client), 1);
        assert_eq!(
            (world.shard(0).connections(), world.shard(0).sessions()),
            (0, 0)
        );
        assert_eq!(
            (world.shard(1).connections(), world.shard(1).sessions()),
            (1, 1)
        );
        let (first, second) = (world.shard(0).counters(), world.shard(1).counters());
        assert_eq!((first.moved_away, second.moved_in), (1, 1));
        // Each packet is counted once, and each connection.
        assert_eq!(first.connect_received + second.connect_received, 1);
        assert_eq!(first.packets_received + second.packets_received, 1);
        assert_eq!(first.connections_opened + second.connections_opened, 1);
        assert_eq!(
            first.bytes_received + second.bytes_received,
            first.bytes_received
        );
        assert_eq!(first.clients_refused, 0);
        assert_eq!(world.events.len(), 1, "it has connected, that is all");
    }
}

#[test]
fn what_comes_behind_connect_is_not_lost_however_it_is_cut() {
    let (_, name) = two();
    let mut bytes = wire::connect(Version::V5).client_id(&name).bytes();
    let connect = bytes.len();
    bytes.extend(wire::subscribe(Version::V5, 1, &[("t", 0)]));
    bytes.extend(wire::publish(Version::V5, "t", "own").bytes());
    bytes.extend(PINGREQ);
    let check = |world: &mut World, client| {
        world.expect(client, kind::CONNACK);
        world.expect(client, kind::SUBACK);
        assert_eq!(world.expect_message(client).payload, b"own");
        world.expect(client, kind::PINGRESP);
        world.expect_nothing(client);
    };
    for size in [1, 2, 7, connect, connect + 1, connect + 5, bytes.len()] {
        let (mut world, _) = two();
        let client = world.dial(Version::V5);
        world.send_in_pieces(client, &bytes, size);
        check(&mut world, client);
    }
    // And the same while it waits to be moved: some of it is read already.
    for cut in connect..bytes.len() {
        let (mut world, _) = two();
        world.hold_moves();
        let client = world.dial(Version::V5);
        world.send(client, &bytes[..cut]);
        let id = world.id(client);
        world.shard_mut(0).received(id, &bytes[cut..]);
        world.settle();
        world.expect_nothing(client);
        assert!(world.move_now(client, 1));
        check(&mut world, client);
    }
}

#[test]
fn what_is_wrong_with_connect_is_said_where_it_came() {
    let (mut world, name) = two();
    let will = Will::new("a/#", "x");
    let bad = wire::connect(Version::V5).client_id(&name).will(will);
    let client = dial(&mut world, &bad);
    let connack = world.expect(client, kind::CONNACK).connack(Version::V5);
    assert_eq!(connack.code, 0x90);
    assert_eq!(
        (world.shard_of(client), world.shard(1).counters().moved_in),
        (0, 0)
    );
    // And what is not MQTT at all.
    assert_eq!(world.shard(0).counters().ended_protocol_error, 1);
    let client = world.dial(Version::V5);
    world.send(client, PINGREQ);
    assert!(world.is_closed(client));
    assert_eq!(world.shard(0).counters().ended_protocol_error, 2);
}

#[test]
fn a_client_takes_its_session_over_whatever_shard_it_comes_to() {
    // [MQTT-3.1.4-3]
    let (mut world, _) = two();
    let connect = world.lasting_at(1, Version::V5, "client");
    world.door = 1;
    let old = world.connect_with(&connect);
    world.subscribe(old, "t", 1);
    world.door = 0;
    let new = world.resume(&connect);
    world.expect_end(old, 0x8e);
    let publisher = world.connect_at(0, Version::V5, "p");
    assert_eq!(world.publish_acked(publisher, "t", "x"), 0);
    assert_eq!(world.drain_texts(new), ["x"]);
    assert_eq!(world.shard(1).counters().sessions_resumed, 1);
}

#[test]
fn a_connection_that_nobody_moves_ends_in_time() {
    let (mut world, name) = two();
    world.hold_moves();
    let connect = wire::connect(Version::V5).client_id(&name);
    let client = dial(&mut world, &connect);
    assert!(!world.is_read(client));
    world.pass(Duration::from_millis(9_999));
    assert!(!world.is_closed(client));
    world.pass(Duration::from_millis(1));
    assert!(world.is_closed(client));
    assert_eq!(world.shard(0).counters().ended_connect_timeout, 1);
    // It is too late to move it.
    assert!(!world.move_now(client, 1));
    assert_eq!(world.shard(0).counters().moved_away, 0);
}

#[test]
fn a_connection_that_ends_before_it_is_moved_is_gone() {
    let (mut world, name) = two();
    world.hold_moves();
    let connect = wire::connect(Version::V5).client_id(&name);
    let client = dial(&mut world, &connect);
    world.hang_up(client);
    assert!(!world.move_now(client, 1));
    assert_eq!(
        (world.shard(0).connections(), world.shard(1).connections()),
        (0, 0)
    );
    assert_eq!(world.shard(0).counters().ended_end_of_stream, 1);
}

#[test]
fn a_broker_that_stops_gives_nobody_away() {
    let (mut world, name) = two();
    world.hold_moves();
    let connect = wire::connect(Version::V5).client_id(&name);
    let client = dial(&mut world, &connect);
    world.broker.shut_down();
    assert!(!world.move_now(client, 1));
    assert!(world.is_closed(client));
}

#[test]
fn a_shard_that_is_full_takes_nobody_in() {
    let config = Config {
        max_connections: 1,
        ..Config::default()
    };
    let mut world = World::of_shards(&config, 2);
    world.door = 1;
    world.connect_at(1, Version::V5, "first");
    world.door = 0;
    let connect = wire::connect(Version::V5).client_id(world.name_at(1, "second"));
    let client = dial(&mut world, &connect);
    assert!(world.is_closed(client));
    assert_eq!(world.shard(0).connections(), 0);
    assert_eq!(world.shard(1).counters().connections_over_limit, 1);
}

#[test]
fn credentials_are_checked_at_the_shard_that_owns_the_client() {
    let (mut world, name) = two();
    world.admission = Admission::Later;
    let connect = wire::connect(Version::V5).client_id(&name);
    let connect = connect.username("user").password("secret");
    let client = dial(&mut world, &connect);
    let id = world.id(client);
    assert_eq!(world.shard_of(client), 1);
    let credentials = world
        .shard(1)
        .credentials(id)
        .expect("they are to be checked");
    assert_eq!(credentials.client_id, name);
    assert_eq!(credentials.username, Some("user"));
    assert_eq!(
        credentials.password.map(|it| it.reveal()),
        Some(&b"secret"[..])
    );
    assert_eq!(credentials.origin.remote.map(|it| it.port()), Some(40_000));
    world.shard_mut(1).admit(id, Grant::unrestricted());
    world.settle();
    world.expect(client, kind::CONNACK);
}

#[test]
fn passwords_on_their_way_do_not_show() {
    let (mut world, name) = two();
    world.hold_moves();
    let connect = wire::connect(Version::V5).client_id(&name);
    let connect = connect.username("user").password("secret");
    let client = dial(&mut world, &connect);
    let shown = format!("{:?}", world.shard(0));
    let moved = world
        .broker
        .take_moved(world.id(client))
        .expect("it is to be moved");
    for text in [shown, format!("{moved:?}")] {
        let bytes = format!("{:?}", b"secret");
        assert!(!text.contains("secret") && !text.contains(bytes.trim_matches(['[', ']'])));
    }
    assert!(world.shard_mut(1).adopt(moved).is_ok());
}

#[test]
fn handles_of_what_has_moved_are_stale() {
    let (mut world, name) = two();
    world.hold_moves();
    let connect = wire::connect(Version::V5).client_id(&name);
    let client = dial(&mut world, &connect);
    let id = world.id(client);
    assert!(world.move_now(client, 1));
    assert!(world.broker.take_moved(id).is_none());
    world.broker.received(id, &PINGREQ);
    assert_eq!(world.shard(0).counters().stale_handles, 2);
}

#[test]
fn clients_find_each_other_wherever_their_connections_were_opened() {
    let mut world = World::of_shards(&Config::default(), 3);
    let mut clients = Vec::new();
    for n in 0..9 {
        world.door = n % 3;
        let client = world.connect(Version::V3_1_1, &format!("client-{n}"));
        world.subscribe(client, "all", 0);
        clients.push(client);
    }
    for n in 0..9 {
        world.publish(clients[n], "all", n.to_string());
        for client in &clients {
            assert_eq!(texts(&world.messages(*client)), [n.to_string()]);
        }
    }
    let moved: u64 = (0..3).map(|n| world.shard(n).counters().moved_in).sum();
    assert!(moved > 0, "some were at the wrong door");
}
