//! Windows: how many messages may be in flight, in both directions.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use wherry_core::Config;
use wherry_core::Strictness;
use wherry_tests::scenario::{Client, World, numbers, texts};
use wherry_tests::wire::{self, Properties, Value, Version, id, kind};

fn window(size: u16) -> NonZeroU16 {
    NonZeroU16::new(size).unwrap()
}

/// A broker that takes so many unreleased messages, and a client that publishes them.
fn receiving(receive_window: u16, receive_maximum: Strictness) -> (World, Client) {
    let mut world = World::new(Config {
        receive_window: window(receive_window),
        receive_maximum,
        ..Config::default()
    });
    let client = world.connect_with(&wire::lasting(Version::V5, "a"));
    (world, client)
}

fn hold(world: &mut World, client: Client, ids: impl IntoIterator<Item = u16>) {
    for id in ids {
        world.publish_at(client, 2, id, "t", "x");
        world.expect_reason(client, kind::PUBREC, id);
    }
}

#[test]
fn a_client_gets_no_more_than_the_smaller_of_both_windows() {
    // [MQTT-3.3.4-9], [MQTT-4.9.0-2]
    for (ours, theirs, most) in [
        (1024, Some(1), 1),
        (1024, Some(20), 20),
        (5, Some(20), 5),
        (5, None, 5),
        (1024, None, 1024),
        (65_535, Some(65_535), 2000),
    ] {
        for qos in [1, 2] {
            let mut world = World::new(Config {
                send_window: window(ours),
                ..Config::default()
            });
            let publisher = world.connect(Version::V5, "publisher");
            let mut connect = wire::connect(Version::V5).client_id("a");
            if let Some(theirs) = theirs {
                connect = connect.with(id::RECEIVE_MAXIMUM, Value::Two(theirs));
            }
            let client = world.connect_with(&connect);
            world.subscribe(client, "t", qos);
            for n in 0..2000 {
                world.publish_released(publisher, "t", &n.to_string());
            }
            let first = world.messages(client);
            assert_eq!(first.len(), most);
            let mut open: VecDeque<_> = first.into();
            let mut got = Vec::new();
            while let Some(message) = open.pop_front() {
                world.acknowledge(client, &message);
                got.push(message);
                open.extend(world.messages(client));
                assert_eq!(
                    open.len(),
                    most.min(2000 - got.len()),
                    "each makes room for one"
                );
            }
            assert_eq!(texts(&got), numbers(0..2000));
        }
    }
}

#[test]
fn old_clients_have_the_brokers_own_window() {
    for version in [Version::V3_1, Version::V3_1_1] {
        let mut world = World::new(Config {
            send_window: window(3),
            ..Config::default()
        });
        let client = world.connect(version, "a");
        world.subscribe(client, "t", 1);
        for n in 0..10 {
            world.publish_at(client, 1, 1, "t", &n.to_string());
        }
        let mut got = Vec::new();
        while let Some(packet) = world.next(client) {
            if packet.kind() == kind::PUBLISH {
                got.push(packet.publish(version));
            }
        }
        assert_eq!(got.len(), 3);
        for message in &got {
            world.acknowledge(client, message);
        }
        got.extend(world.drain(client));
        assert_eq!(texts(&got), numbers(0..10));
    }
}

#[test]
fn a_qos_2_message_holds_its_place_until_it_is_complete_or_refused() {
    // [MQTT-4.9.0-2] and section 4.9: PUBACK, PUBCOMP or a PUBREC with an error give it back.
    let connect = wire::connect(Version::V5)
        .client_id("a")
        .with(id::RECEIVE_MAXIMUM, Value::Two(1));
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.connect_with(&connect);
    world.subscribe(client, "t", 2);
    for n in 0..3 {
        world.publish_released(publisher, "t", &n.to_string());
    }
    let id = world.expect_message(client).packet_id.unwrap();
    world.ack(client, kind::PUBREC, id);
    world.expect_ack(client, kind::PUBREL);
    world.expect_nothing(client);
    world.ack(client, kind::PUBREC, id);
    world.expect_ack(client, kind::PUBREL);
    world.expect_nothing(client);
    world.ack(client, kind::PUBCOMP, id);
    let id = world.expect_message(client).packet_id.unwrap();
    let refusal = wire::ack_with(kind::PUBREC, id, 0x80, &Properties::new());
    world.send(client, refusal);
    assert_eq!(world.drain_texts(client), ["2"]);
}

#[test]
fn a_closed_window_holds_up_messages_and_nothing_else() {
    // [MQTT-4.9.0-3], [MQTT-3.3.4-10]
    let connect = wire::connect(Version::V5)
        .client_id("a")
        .with(id::RECEIVE_MAXIMUM, Value::Two(1));
    let mut world = World::default();
    let client = world.connect_with(&connect);
    world.subscribe(client, "t", 1);
    world.publish_at(client, 1, 1, "t", "in flight");
    while world.next(client).is_some() {}
    assert_eq!(world.subscribe_code(client, "u", 0), 0);
    assert_eq!(world.unsubscribe(client, "nothing"), 0x11);
    world.publish_at(client, 1, 1, "t", "waits");
    assert_eq!(world.expect_reason(client, kind::PUBACK, 1), 0);
    hold(&mut world, client, [2]);
    world.ack(client, kind::PUBREL, 2);
    assert_eq!(world.expect_reason(client, kind::PUBCOMP, 2), 0);
    world.publish(client, "u", "qos 0");
    assert_eq!(world.expect_message(client).payload, b"qos 0");
    world.send(client, wire::PINGREQ);
    world.expect(client, kind::PINGRESP);
}

#[test]
fn a_receive_maximum_of_0_is_a_protocol_error() {
    // Section 3.1.2.11.3
    let mut world = World::default();
    let connect = wire::connect(Version::V5)
        .client_id("a")
        .with(id::RECEIVE_MAXIMUM, Value::Two(0));
    let (client, connack) = world.try_connect(&connect);
    assert_eq!(connack.code, 0x82);
    assert!(world.is_closed(client));
}

#[test]
fn our_window_is_announced_and_more_than_that_is_too_much() {
    // [MQTT-3.3.4-7]: 0x93
    let mut world = World::default();
    let (client, connack) = world.connack(&wire::lasting(Version::V5, "a"));
    let told = connack.property(id::RECEIVE_MAXIMUM);
    assert_eq!(told, Some(&Value::Two(8192)));
    hold(&mut world, client, 1..=8192);
    // What comes again is none more, and QoS 0 is never too many.
    hold(&mut world, client, [1, 512, 8192]);
    for _ in 0..10 {
        world.publish(client, "t", "x");
    }
    // A place that becomes free can be taken, by QoS 1 as often as it is acknowledged.
    world.ack(client, kind::PUBREL, 700);
    world.expect_reason(client, kind::PUBCOMP, 700);
    for _ in 0..10 {
        world.publish_at(client, 1, 10_000, "t", "x");
        world.expect_reason(client, kind::PUBACK, 10_000);
    }
    hold(&mut world, client, [9000]);
    world.publish_at(client, 2, 9001, "t", "x");
    world.expect_end(client, 0x93);
}

#[test]
fn one_message_more_is_too_much_at_qos_1_too() {
    // [MQTT-3.3.4-7] counts both.
    let (mut world, client) = receiving(2, Strictness::Strict);
    hold(&mut world, client, [1, 2]);
    world.publish_at(client, 1, 3, "t", "x");
    world.expect_end(client, 0x93);
}

#[test]
fn what_is_too_much_reaches_nobody() {
    let (mut world, client) = receiving(2, Strictness::Strict);
    let watcher = world.connect(Version::V5, "watcher");
    world.subscribe(watcher, "t", 2);
    let bytes: Vec<u8> = (1..=4)
        .flat_map(|id| {
            let publish = wire::publish(Version::V5, "t", id.to_string());
            publish.qos(2, id).bytes()
        })
        .collect();
    world.send(client, bytes);
    for id in [1, 2] {
        world.expect_reason(client, kind::PUBREC, id);
    }
    world.expect_end(client, 0x93);
    assert_eq!(world.drain_texts(watcher), ["1", "2"]);
}

#[test]
fn what_was_refused_holds_no_place() {
    let (mut world, client) = receiving(1, Strictness::Strict);
    for id in 1..10 {
        world.publish_at(client, 2, id, "$SYS/x", "x");
        assert_eq!(world.expect_reason(client, kind::PUBREC, id), 0x90);
    }
    hold(&mut world, client, [20]);
    assert!(!world.is_closed(client));
}

#[test]
fn a_new_connection_begins_with_the_whole_window() {
    // Section 4.9: the quota is not preserved, whatever the session still holds.
    let (mut world, client) = receiving(2, Strictness::Strict);
    hold(&mut world, client, [1, 2]);
    world.hang_up(client);
    let client = world.resume(&wire::lasting(Version::V5, "a"));
    hold(&mut world, client, [3, 4]);
    for id in 1..=4 {
        world.ack(client, kind::PUBREL, id);
        assert_eq!(world.expect_reason(client, kind::PUBCOMP, id), 0);
    }
}

#[test]
fn held_identifiers_are_bounded_however_often_a_client_comes_back() {
    // A11, A28: each connection may begin anew, the session may not grow without end.
    const WINDOW: u16 = 1000;
    let (mut world, mut client) = receiving(WINDOW, Strictness::Strict);
    let mut held = 0;
    let mut id = 0;
    'growing: for _ in 0..100 {
        for _ in 0..WINDOW {
            id += 1;
            if id == u16::MAX {
                break 'growing;
            }
            world.publish_at(client, 2, id, "t", "x");
            if world.is_closed(client) {
                break 'growing;
            }
            world.expect_reason(client, kind::PUBREC, id);
            held += 1;
        }
        world.hang_up(client);
        client = world.resume(&wire::lasting(Version::V5, "a"));
    }
    assert!((usize::from(WINDOW)..usize::from(u16::MAX)).contains(&held));
    assert_eq!(world.broker.sessions(), 1);
}

#[test]
fn a_client_that_is_let_pass_is_counted_and_loses_nothing() {
    // receive_maximum = "warn"
    let (mut world, client) = receiving(2, Strictness::Warn);
    let watcher = world.connect(Version::V5, "watcher");
    world.subscribe(watcher, "t", 2);
    hold(&mut world, client, 1..=2);
    let before: Vec<_> = world.broker.counters().iter().collect();
    hold(&mut world, client, 3..=5);
    let grown = world
        .broker
        .counters()
        .iter()
        .zip(before)
        .filter(|((name, _), _)| name.contains("receive_maximum"))
        .map(|((_, now), (_, then))| now - then)
        .sum::<u64>();
    assert_eq!(
        grown,
        3,
        "a counter of its own: {:?}",
        world.broker.counters()
    );
    for id in 1..=5 {
        world.ack(client, kind::PUBREL, id);
        assert_eq!(world.expect_reason(client, kind::PUBCOMP, id), 0);
    }
    assert_eq!(world.drain(watcher).len(), 5);
}

#[test]
fn identifiers_are_all_used_and_none_twice_at_a_time() {
    // [MQTT-2.2.1-4]: 1 to 65,535, and a window as large as there are identifiers.
    let mut world = World::new(Config {
        send_window: window(65_535),
        ..Config::default()
    });
    let publisher = world.connect(Version::V3_1_1, "publisher");
    let client = world.connect(Version::V3_1_1, "a");
    world.subscribe(client, "t", 1);
    let publish = wire::publish(Version::V3_1_1, "t", "x").qos(1, 1).bytes();
    world.send_in_pieces(publisher, publish.repeat(65_537), 60_000);
    let got = world.messages(client);
    let mut seen: Vec<u16> = got.iter().map(|m| m.packet_id.unwrap()).collect();
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(1..=65_535));
    // The only one that is free is found.
    for free in [40_000, 1, 65_535] {
        let waits = free != 65_535;
        world.ack(client, kind::PUBACK, free);
        if waits {
            assert_eq!(world.expect_message(client).packet_id, Some(free));
        }
        world.expect_nothing(client);
    }
}

#[test]
fn identifiers_that_stay_in_flight_are_skipped_when_the_others_come_round_again() {
    let mut world = World::new(Config {
        send_window: window(4),
        ..Config::default()
    });
    let publisher = world.connect(Version::V3_1_1, "publisher");
    let client = world.connect(Version::V3_1_1, "a");
    world.subscribe(client, "t", 2);
    let mut held = Vec::new();
    for n in 0..70_000 {
        // Of those that stay, one waits for its PUBCOMP.
        let stays = n % 30_000 == 10;
        let received = n == 30_010;
        if received {
            world.publish_released(publisher, "t", "x");
        } else {
            world.publish_acked(publisher, "t", "x");
        }
        let message = world.expect_message(client);
        let id = message.packet_id.unwrap();
        assert!(!held.contains(&id), "{id} is in flight");
        if received {
            world.ack(client, kind::PUBREC, id);
            world.expect_ack(client, kind::PUBREL);
        }
        if stays {
            held.push(id);
        } else {
            world.ack(client, kind::PUBACK, id);
        }
    }
    assert_eq!(held.len(), 3);
}

#[test]
fn what_connack_offered_holds_although_less_is_configured_since() {
    let many = Config {
        receive_window: window(3),
        max_topic_aliases: 5,
        max_packet_size: 1000,
        ..Config::default()
    };
    let few = Config {
        receive_window: window(1),
        max_topic_aliases: 1,
        max_packet_size: 100,
        ..many.clone()
    };
    let mut world = World::new(many);
    let client = world.connect(Version::V5, "a");
    world.broker.configure(few);
    hold(&mut world, client, 1..=3);
    let alias = Properties::new().with(id::TOPIC_ALIAS, Value::Two(5));
    let publish = wire::publish(Version::V5, "t", vec![b'x'; 900]).properties(alias);
    world.send(client, publish.bytes());
    assert!(!world.is_closed(client));
    world.publish_at(client, 2, 4, "t", "x");
    let reason = world.expect(client, kind::DISCONNECT).disconnect().reason;
    assert_eq!(reason, 0x93, "and no more than was offered");
    // Whoever comes now is offered less.
    let client = world.connect(Version::V5, "b");
    world.send(
        client,
        wire::publish(Version::V5, "t", vec![b'x'; 900]).bytes(),
    );
    let reason = world.expect(client, kind::DISCONNECT).disconnect().reason;
    assert_eq!(reason, 0x95);
}
