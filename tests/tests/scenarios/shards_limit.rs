//! A shard that is slow to process what the others send.

use wherry_core::Config;
use wherry_tests::scenario::{Client, World, numbers, texts};
use wherry_tests::wire::{self, Version, Will, kind};

const LIMIT: usize = 10_000;

fn config() -> Config {
    Config {
        link_limit: LIMIT,
        ..Config::default()
    }
}

/// A publisher at the first of three shards, and a subscriber to `t` at each other one. What the
/// second says, and what is said to it, is held.
fn slow_shard() -> (World, Client, [Client; 2]) {
    let mut world = World::of_shards(&config(), 3);
    let publisher = world.connect_at(0, Version::V5, "p");
    let subscribers = [1, 2].map(|shard| {
        let client = world.connect_at(shard, Version::V5, "s");
        world.subscribe(client, "t", 1);
        client
    });
    world.hold(0, 1);
    (world, publisher, subscribers)
}

#[test]
fn messages_of_qos_0_are_dropped_for_the_slow_shard_alone() {
    let (mut world, publisher, [slow, quick]) = slow_shard();
    for n in 0..1000 {
        world.publish(publisher, "t", n.to_string());
    }
    let dropped = world.shard(0).counters().dropped_link_full;
    assert!((900..1000).contains(&dropped), "{dropped}");
    assert!(world.is_read(publisher));
    assert_eq!(world.drain_texts(quick), numbers(0..1000));
    world.release_all();
    let got = world.drain_texts(slow).len() as u64;
    assert_eq!(got + dropped, 1000);
    // It has caught up, and misses nothing more.
    for n in 0..50 {
        world.publish(publisher, "t", n.to_string());
    }
    assert_eq!(world.drain_texts(slow), numbers(0..50));
    assert_eq!(world.shard(0).counters().dropped_link_full, dropped);
}

#[test]
fn publishers_of_qos_1_are_slowed_and_lose_nothing() {
    let (mut world, publisher, [slow, quick]) = slow_shard();
    let mut packets = (0..1000u16).map(|n| {
        let packet = wire::publish(Version::V5, "t", n.to_string());
        packet.qos(1, n + 1).bytes()
    });
    // What comes at once is packed into one.
    while world.is_read(publisher) {
        world.send(publisher, packets.next().unwrap());
    }
    world.send(publisher, packets.flatten().collect::<Vec<u8>>());
    let ahead = world.held(0, 1);
    assert!(ahead < 2 * LIMIT / 128, "{ahead}");
    // It goes on when half of it is processed, not before.
    for _ in 0..ahead / 3 {
        world.release_one(0, 1);
    }
    assert!(!world.is_read(publisher));
    assert_eq!(world.held(0, 1), ahead - ahead / 3);
    for _ in 0..ahead / 3 {
        world.release_one(0, 1);
    }
    assert!(world.held(0, 1) > ahead - 2 * (ahead / 3));
    world.release_all();
    assert!(world.is_read(publisher));
    for client in [slow, quick] {
        assert_eq!(world.drain_texts(client), numbers(0..1000));
    }
    for n in 0..1000 {
        assert_eq!(world.expect_reason(publisher, kind::PUBACK, n + 1), 0);
    }
    assert_eq!(world.dropped(), 0);
}

#[test]
fn a_publisher_to_others_is_not_slowed() {
    let (mut world, publisher, [_, quick]) = slow_shard();
    let second = world.connect_at(0, Version::V5, "second");
    world.subscribe(quick, "u", 1);
    for n in 0..100 {
        world.publish_at(publisher, 1, n + 1, "t", "x");
    }
    assert!(!world.is_read(publisher));
    for n in 0..100 {
        world.publish_at(second, 1, n + 1, "u", &n.to_string());
    }
    assert!(world.is_read(second));
    let of_u = world.drain(quick).into_iter().filter(|it| it.topic == "u");
    assert_eq!(texts(&of_u.collect::<Vec<_>>()), numbers(0..100));
}

#[test]
fn changes_of_what_is_retained_are_not_dropped() {
    let (mut world, publisher, _) = slow_shard();
    let packets = (0..500).flat_map(|n| {
        let packet = wire::publish(Version::V5, format!("r/{n}"), "x");
        packet.retain().bytes()
    });
    world.send(publisher, packets.collect::<Vec<u8>>());
    assert!(!world.is_read(publisher));
    world.release_all();
    for shard in 0..3 {
        assert_eq!(world.shard(shard).retained_messages(), 500);
    }
    assert_eq!(world.dropped(), 0);
}

#[test]
fn a_shared_subscription_goes_round_a_shard_that_is_slow() {
    let (mut world, publisher, [slow, quick]) = slow_shard();
    for client in [slow, quick] {
        world.hold(1, 0);
        world.release(0, 1);
        world.release(1, 0);
        world.subscribe(client, "$share/g/u", 0);
    }
    world.hold(0, 1);
    for n in 0..1000 {
        world.publish(publisher, "u", n.to_string());
    }
    let of_quick = world.drain_texts(quick).len();
    assert!(of_quick > 900, "{of_quick}");
    world.release_all();
    assert_eq!(world.drain_texts(slow).len() + of_quick, 1000);
    assert_eq!(world.dropped(), 0);
}

#[test]
fn publishers_that_leave_while_they_are_slowed_are_forgotten() {
    let (mut world, publisher, [slow, _]) = slow_shard();
    for n in 0..200 {
        world.publish_at(publisher, 1, n + 1, "t", "x");
    }
    world.hang_up(publisher);
    for _ in 0..50 {
        let client = world.connect_at(0, Version::V5, "again");
        world.publish_at(client, 1, 1, "t", "y");
        assert!(!world.is_read(client));
        world.hang_up(client);
    }
    let last = world.connect_at(0, Version::V5, "last");
    world.publish_at(last, 1, 1, "t", "z");
    world.release_all();
    assert_eq!(world.expect_reason(last, kind::PUBACK, 1), 0);
    assert!(world.is_read(last));
    assert_eq!(
        world.drain_texts(slow).last().map(String::as_str),
        Some("z")
    );
}

#[test]
fn a_will_that_goes_into_a_full_link_slows_nobody_else() {
    let (mut world, publisher, _) = slow_shard();
    let will = Will {
        qos: 1,
        ..Will::new("t", vec![b'x'; 2 * LIMIT])
    };
    let name = world.name_at(0, "client");
    let client = world.connect_with(&wire::connect(Version::V5).client_id(name).will(will));
    world.hang_up(client);
    world.publish(publisher, "elsewhere", "x");
    assert!(world.is_read(publisher));
    world.publish_at(publisher, 1, 1, "t", "x");
    assert!(!world.is_read(publisher));
}

#[test]
fn another_limit_holds_from_then_on() {
    let (mut world, publisher, _) = slow_shard();
    world.shard_mut(0).configure(Config {
        link_limit: 1 << 20,
        sys_interval: None,
        ..Config::default()
    });
    for n in 0..1000 {
        world.publish(publisher, "t", n.to_string());
    }
    assert_eq!(world.shard(0).counters().dropped_link_full, 0);
    world.shard_mut(0).configure(Config {
        sys_interval: None,
        ..config()
    });
    world.publish(publisher, "t", "x");
    assert_eq!(world.shard(0).counters().dropped_link_full, 1);
}

#[test]
fn nobody_comes_in_while_a_link_holds_many_times_its_limit() {
    let (mut world, _, [_, quick]) = slow_shard();
    let mut let_in = 0;
    let refused = loop {
        let name = world.name_at(0, "again");
        let connect = wire::connect(Version::V5).client_id(name);
        let (client, connack) = world.try_connect(&connect);
        if connack.code != 0 {
            break connack.code;
        }
        let_in += 1;
        let will = wire::publish(Version::V5, "t", vec![b'x'; 1000]);
        world.send(client, will.qos(1, 1).bytes());
        world.hang_up(client);
    };
    assert_eq!(refused, 0x89);
    assert!((70..90).contains(&let_in), "{let_in}");
    // Those who are in stay, and when it is over, others come.
    world.release_all();
    assert!(!world.is_closed(quick));
    world.connect_at(0, Version::V5, "again");
}
