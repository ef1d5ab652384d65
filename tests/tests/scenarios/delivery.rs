//! Who gets a message, how often, and in what form.

use wherry_core::Config;
use wherry_tests::scenario::World;
use wherry_tests::wire::{self, Properties, Publish, Value, Version, id, kind};

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;

#[test]
fn overlapping_subscriptions_bring_one_copy() {
    // [MQTT-3.3.4-2]; [MQTT-3.3.5-1] of 3.1.1
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let mut world = World::default();
        let client = world.connect(version, "a");
        let other = world.connect(version, "b");
        for filter in ["a/b", "a/+", "a/#", "#", "+/b"] {
            world.subscribe(client, filter, 0);
        }
        world.subscribe(other, "+/+", 0);
        world.publish(other, "a/b", "x");
        assert_eq!(world.messages(client).len(), 1);
        assert_eq!(world.messages(other).len(), 1);
    }
}

#[test]
fn a_message_carries_the_identifiers_of_all_subscriptions_that_match() {
    // [MQTT-3.3.4-3], [MQTT-3.3.4-4]
    let mut world = World::default();
    let client = world.connect(Version::V5, "a");
    let plain = world.connect(Version::V5, "b");
    for (filter, number) in [("a/b", 1), ("a/+", 200), ("#", 0), ("+/b", 268_435_455)] {
        let properties = if number == 0 {
            Properties::new()
        } else {
            Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(number))
        };
        world.send(
            client,
            wire::subscribe_with(Version::V5, 1, &properties, &[(filter, 0)]),
        );
        world.expect(client, kind::SUBACK);
    }
    world.subscribe(plain, "a/b", 0);
    world.subscribe(plain, "a/#", 0);
    world.publish(client, "a/b", "x");
    let got = world.expect_message(client);
    assert_eq!(got.subscription_identifiers(), [1, 200, 268_435_455]);
    assert!(
        world
            .expect_message(plain)
            .subscription_identifiers()
            .is_empty()
    );
    world.publish(client, "x", "x");
    assert!(
        world
            .expect_message(client)
            .subscription_identifiers()
            .is_empty()
    );
}

#[test]
fn no_local_keeps_a_clients_own_messages_from_it() {
    // [MQTT-3.8.3-3]
    let mut world = World::default();
    let client = world.connect(Version::V5, "a");
    let other = world.connect(Version::V5, "b");
    world.subscribe(client, "t", NO_LOCAL);
    world.publish(client, "t", "own");
    world.publish(other, "t", "other");
    assert_eq!(world.expect_message(client).payload, b"other");
    world.subscribe(client, "+", 0);
    world.publish(client, "t", "own");
    assert_eq!(
        world.messages(client).len(),
        1,
        "through the other subscription"
    );
}

#[test]
fn the_retain_flag_is_passed_on_only_to_those_who_asked() {
    // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let plain = world.connect(Version::V5, "plain");
    let kept = world.connect(Version::V5, "kept");
    let old = world.connect(Version::V3_1_1, "old");
    world.subscribe(plain, "t", 0);
    world.subscribe(kept, "t", RETAIN_AS_PUBLISHED);
    world.subscribe(old, "t", 0);
    world.publish_retained(publisher, "t", "x");
    assert!(!world.expect_message(plain).retain);
    assert!(world.expect_message(kept).retain);
    assert!(!world.expect_message(old).retain);
    world.publish(publisher, "t", "x");
    assert!(!world.expect_message(kept).retain);
}

/// The properties of a message, as they stand in it.
fn carried(message: Publish) -> Properties {
    let add = |all: Properties, (id, value)| all.with(id, value);
    message.properties.into_iter().fold(Properties::new(), add)
}

#[test]
fn properties_go_from_end_to_end_in_order_and_old_clients_see_none() {
    // [MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-20]
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let new = world.connect(Version::V5, "new");
    let old = world.connect(Version::V3_1_1, "old");
    world.subscribe(new, "t", 0);
    world.subscribe(old, "t", 0);
    let properties = Properties::new()
        .user("b", "1")
        .with(id::PAYLOAD_FORMAT_INDICATOR, Value::Byte(1))
        .with(id::CONTENT_TYPE, Value::Text("text/plain".into()))
        .user("a", "2")
        .with(id::RESPONSE_TOPIC, Value::Text("r".into()))
        .with(id::CORRELATION_DATA, Value::Binary(vec![0, 255]))
        .user("b", "1")
        // It is counted down where a message is kept, and comes last there.
        .with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(7));
    for retain in [false, true] {
        let mut publish = wire::publish(Version::V5, "t", "x").properties(properties.clone());
        if retain {
            publish = publish.retain();
        }
        world.send(publisher, publish.bytes());
        assert_eq!(carried(world.expect_message(new)), properties);
        let got = world.expect_message(old);
        assert_eq!((&got.topic[..], &got.payload[..]), ("t", &b"x"[..]));
    }
    // So does what is kept: what is retained, and what waits for someone.
    let late = wire::lasting(Version::V5, "late");
    let client = world.connect_with(&late);
    world.subscribe(client, "t", 1);
    assert_eq!(carried(world.expect_message(client)), properties);
    world.hang_up(client);
    let publish = wire::publish(Version::V5, "t", "x").qos(1, 1);
    world.send(publisher, publish.properties(properties.clone()).bytes());
    let client = world.resume(&late);
    assert_eq!(carried(world.expect_message(client)), properties);
}

#[test]
fn old_clients_messages_reach_new_ones_and_the_reverse() {
    let mut world = World::default();
    let old = world.connect(Version::V3_1, "old");
    let new = world.connect(Version::V5, "new");
    for client in [old, new] {
        world.subscribe(client, "t", 0);
    }
    for from in [old, new] {
        for len in [0, 1, 100, 127, 128, 8191, 8192, 16_383, 16_384, 100_000] {
            let payload = vec![7; len];
            world.publish(from, "t", &payload);
            for to in [old, new] {
                assert_eq!(world.expect_message(to).payload, payload);
            }
        }
    }
}

#[test]
fn messages_of_one_publisher_keep_their_order() {
    // [MQTT-4.6.0-5], [MQTT-4.6.0-6]
    let mut world = World::default();
    let publisher = world.connect(Version::V3_1_1, "publisher");
    let client = world.connect(Version::V5, "a");
    world.subscribe(client, "t/#", 0);
    let mut bytes = Vec::new();
    for n in 0..10_000u32 {
        bytes.extend(
            wire::publish(Version::V3_1_1, format!("t/{}", n % 3), n.to_be_bytes()).bytes(),
        );
    }
    world.send_in_pieces(publisher, bytes, 60_001);
    let got: Vec<u32> = world
        .messages(client)
        .iter()
        .map(|m| u32::from_be_bytes(m.payload[..].try_into().unwrap()))
        .collect();
    assert_eq!(got, (0..10_000).collect::<Vec<u32>>());
}

#[test]
fn subscriptions_of_a_session_are_bounded() {
    let config = Config {
        max_subscriptions: 2,
        ..Default::default()
    };
    let mut world = World::new(config);
    let client = world.connect(Version::V5, "a");
    world.send(
        client,
        wire::subscribe(Version::V5, 1, &[("1", 0), ("2", 0), ("3", 0), ("1", 0)]),
    );
    let codes = world.expect(client, kind::SUBACK).suback(Version::V5).codes;
    assert_eq!(codes, [0, 0, 0x97, 0], "replacing one is always possible");
    assert_eq!(world.broker.subscriptions(), 2);
}

#[test]
fn nothing_is_left_of_a_session_that_ended() {
    let mut world = World::default();
    for n in 0..100 {
        let client = world.connect(Version::V5, &format!("c{n}"));
        for filter in ["t", "a/+", &format!("own/{n}"), &format!("own/{n}/#")] {
            world.subscribe(client, filter, 0);
        }
        match n % 3 {
            0 => world.hang_up(client),
            1 => world.send(client, wire::disconnect(Version::V5, 0)),
            _ => world.send(client, [0x00]),
        }
    }
    assert_eq!(world.broker.subscriptions(), 0);
    assert_eq!(world.broker.sessions(), 0);
    assert_eq!(world.broker.connections(), 0);
}

#[test]
fn filters_of_a_session_are_bounded_in_bytes() {
    let config = Config {
        max_subscription_bytes: 100,
        ..Default::default()
    };
    let mut world = World::new(config);
    let client = world.connect(Version::V5, "a");
    let (long, other) = ("x".repeat(60), "y".repeat(60));
    let subscribe = |filter: &str| wire::subscribe(Version::V5, 1, &[(filter, 0)]);
    for (filter, code) in [(&long, 0), (&other, 0x97), (&long, 0)] {
        world.send(client, subscribe(filter));
        let codes = world.expect(client, kind::SUBACK).suback(Version::V5).codes;
        assert_eq!(codes, [code]);
    }
    world.send(client, wire::unsubscribe(Version::V5, 1, &[&long]));
    world.expect(client, kind::UNSUBACK);
    world.subscribe(client, &other, 0);
}

#[test]
fn messages_that_make_much_work_are_handled_in_turns_and_none_is_lost() {
    // Filters that branch at every level: a topic of empty levels looks at all of them.
    let mut world = World::default();
    let client = world.connect(Version::V3_1_1, "a");
    let mut filters = vec![String::new()];
    for _ in 0..12 {
        filters = filters
            .iter()
            .flat_map(|filter| [format!("{filter}+/"), format!("{filter}/")])
            .collect();
    }
    for filters in filters.chunks(512) {
        let requests: Vec<(String, u8)> = filters
            .iter()
            .map(|filter| (format!("{filter}x"), 0))
            .collect();
        world.send(client, wire::subscribe(Version::V3_1_1, 1, &requests));
        world.expect(client, kind::SUBACK);
    }
    let watcher = world.connect(Version::V3_1_1, "watcher");
    let publisher = world.connect(Version::V3_1_1, "publisher");
    world.subscribe(watcher, "#", 0);
    // Of a topic that comes again, it is known already what matches.
    let topic = "/".repeat(12);
    let messages: Vec<u8> = (0..100u8)
        .flat_map(|n| wire::publish(Version::V3_1_1, format!("{topic}{n}"), [n]).bytes())
        .collect();
    // Without the world's loop, to see where the turn ends.
    world.broker.received(world.id(publisher), &messages);
    let done = world.broker.counters().publish_received;
    assert!((1..50).contains(&done), "{done}");
    assert_eq!(
        world
            .broker
            .next_deadline()
            .map(|next| u128::from(next.as_millis())),
        Some(world.now().as_millis()),
        "the next turn is due at once"
    );
    world.settle();
    let got: Vec<u8> = world
        .messages(watcher)
        .iter()
        .map(|m| m.payload[0])
        .collect();
    assert_eq!(got, (0..100).collect::<Vec<u8>>());
    world.send(publisher, wire::PINGREQ);
    world.expect(publisher, kind::PINGRESP);
    assert_eq!(world.broker.unparsed_bytes(), 0);
}

/// What is known of a topic that came before says nothing about whether it is allowed now.
#[test]
fn a_topic_that_came_before_is_checked_again_when_fewer_levels_are_allowed() {
    let mut world = World::default();
    let watcher = world.connect(Version::V3_1_1, "watcher");
    world.subscribe(watcher, "#", 0);
    let publisher = world.connect(Version::V3_1_1, "publisher");
    let message = wire::publish(Version::V3_1_1, "a/b/c", "x").bytes();
    for _ in 0..5 {
        world.send(publisher, message.clone());
    }
    assert_eq!(world.messages(watcher).len(), 5);
    world.broker.configure(Config {
        max_topic_levels: 2,
        ..Config::default()
    });
    world.send(publisher, message);
    assert_eq!(world.messages(watcher).len(), 0);
    assert_eq!(world.broker.counters().publish_sent, 5);
}
