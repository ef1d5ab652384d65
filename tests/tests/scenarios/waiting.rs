//! What waits for a client: in its queue, in flight, in replays of what is retained.

use std::time::Duration;

use wherry_core::{Config, QueuePolicy};
use wherry_tests::scenario::{Client, World};
use wherry_tests::wire::{self, Properties, Value, Version, id, kind};

/// CONNECT of a client whose session stays.
fn lasting(client_id: &str) -> wire::Connect {
    let never = Value::Four(u32::MAX);
    wire::connect(Version::V5)
        .client_id(client_id)
        .clean(false)
        .properties(Properties::new().with(id::SESSION_EXPIRY_INTERVAL, never))
}

/// The same with a Receive Maximum of 1.
fn one_at_a_time(client_id: &str) -> wire::Connect {
    let properties = Properties::new()
        .with(id::SESSION_EXPIRY_INTERVAL, Value::Four(u32::MAX))
        .with(id::RECEIVE_MAXIMUM, Value::Two(1));
    lasting(client_id).properties(properties)
}

fn puback(packet_id: u16) -> Vec<u8> {
    wire::packet(kind::PUBACK << 4, packet_id.to_be_bytes())
}

fn subscribe(world: &mut World, client: Client, filter: &str, options: u8) {
    let packet = wire::subscribe(Version::V5, 1, &[(filter, options)]);
    world.send(client, packet);
    world.expect(client, kind::SUBACK);
}

/// Publishes at QoS 1 and reads the answer.
#[track_caller]
fn publish(world: &mut World, client: Client, topic: &str, payload: &str) {
    let packet = wire::publish(Version::V5, topic, payload).qos(1, 1);
    world.send(client, packet.bytes());
    world.expect(client, kind::PUBACK);
}

fn payloads(world: &mut World, client: Client) -> Vec<String> {
    let messages = world.messages(client).into_iter();
    messages
        .map(|it| String::from_utf8(it.payload).unwrap())
        .collect()
}

#[test]
fn qos_0_does_not_overtake_qos_0_that_waits() {
    // [MQTT-4.6.0-6]
    let mut world = World::new(Config {
        queue_qos0: true,
        ..Config::default()
    });
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.connect_with(&lasting("a"));
    subscribe(&mut world, client, "t", 1);
    world.hang_up(client);
    publish(&mut world, publisher, "t", "one");
    publish(&mut world, publisher, "t", "two");
    world.publish(publisher, "t", "first");
    let client = world.connect_with(&one_at_a_time("a"));
    world.publish(publisher, "t", "second");
    assert_eq!(payloads(&mut world, client), ["one"]);
    world.send(client, puback(1));
    assert_eq!(payloads(&mut world, client), ["two", "first", "second"]);
    world.publish(publisher, "t", "third");
    assert_eq!(payloads(&mut world, client), ["third"], "nothing waits");
}

#[test]
fn retained_messages_of_qos_0_wait_for_space_in_the_outbox() {
    // Each is larger than what is left below the limit once another one is there; then the limit of
    // all outboxes is reached before the first.
    for outbox_total_limit in [1 << 30, 300] {
        let mut world = World::new(Config {
            outbox_limit: 1000,
            outbox_total_limit,
            ..Config::default()
        });
        let publisher = world.connect(Version::V5, "publisher");
        for n in 0..20 {
            world.publish_retained(publisher, &format!("t/{n}"), [b'x'; 700]);
        }
        let client = world.connect(Version::V5, "a");
        world.take_only(client, 0);
        world.send(client, wire::subscribe(Version::V5, 1, &[("t/#", 0)]));
        while world.received(client).len() < 20 * 700 {
            let before = world.received(client).len();
            world.take_only(client, 100);
            assert!(world.received(client).len() > before, "more is to come");
        }
        world.take_all(client);
        world.expect(client, kind::SUBACK);
        assert_eq!(world.messages(client).len(), 20);
    }
}

#[test]
fn messages_of_qos_0_that_waited_wait_for_space_in_the_outbox_too() {
    let mut world = World::new(Config {
        queue_qos0: true,
        outbox_limit: 1000,
        ..Config::default()
    });
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.connect_with(&lasting("a"));
    subscribe(&mut world, client, "t", 0);
    world.hang_up(client);
    for _ in 0..20 {
        world.publish(publisher, "t", [b'x'; 700]);
    }
    let client = world.dial(Version::V5);
    world.take_only(client, 100);
    world.send(client, lasting("a").bytes());
    world.expect(client, kind::CONNACK);
    world.take_all(client);
    assert_eq!(world.messages(client).len(), 20);
}

#[test]
fn a_queue_full_of_what_has_expired_has_room() {
    // [MQTT-3.3.2-5]
    let mut world = World::new(Config {
        max_queued_messages: 5,
        ..Config::default()
    });
    let publisher = world.connect(Version::V5, "publisher");
    for (name, filter) in [("a", "t"), ("b", "$share/g/u")] {
        let client = world.connect_with(&lasting(name));
        subscribe(&mut world, client, filter, 1);
        world.hang_up(client);
    }
    let expiry = Properties::new().with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(60));
    for topic in ["t", "u"].repeat(5) {
        let packet = wire::publish(Version::V5, topic, "old").properties(expiry.clone());
        world.send(publisher, packet.qos(1, 1).bytes());
        assert_eq!(world.expect(publisher, kind::PUBACK).body.len(), 2);
    }
    world.pass(Duration::from_secs(61));
    for topic in ["t", "u"] {
        publish(&mut world, publisher, topic, "new");
    }
    assert_eq!(world.broker.counters().dropped_expired, 2);
    for name in ["a", "b"] {
        let client = world.connect_with(&lasting(name));
        assert_eq!(payloads(&mut world, client), ["new"]);
    }
}

#[test]
fn what_others_hold_costs_a_session_nothing() {
    // All queues together are full, and what one session drops would stay for the others.
    for (sessions, kept) in [(3, [0, 1, 2, 3, 4]), (1, [1, 2, 3, 4, 5])] {
        let mut world = World::new(Config {
            max_queued_bytes_total: 50,
            queue_policy: QueuePolicy::DropOldest,
            ..Config::default()
        });
        let publisher = world.connect(Version::V5, "publisher");
        let names = &["a", "b", "c"][..sessions];
        for name in names {
            let client = world.connect_with(&lasting(name));
            subscribe(&mut world, client, "t", 1);
            world.hang_up(client);
        }
        for n in 0..6 {
            publish(&mut world, publisher, "t", &format!("message {n}"));
        }
        for name in names {
            let client = world.connect_with(&lasting(name));
            let kept = kept.map(|n| format!("message {n}"));
            assert_eq!(payloads(&mut world, client), kept);
        }
    }
}

#[test]
fn a_new_subscription_goes_for_what_is_retained_and_not_yet_sent() {
    // [MQTT-3.8.4-8], [MQTT-3.3.1-11]
    const DO_NOT_SEND: u8 = 0x20;
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    for n in 0..3 {
        let packet = wire::publish(Version::V5, format!("t/{n}"), "x").retain();
        world.send(publisher, packet.qos(1, 1).bytes());
    }
    let client = world.connect_with(&one_at_a_time("a"));
    subscribe(&mut world, client, "t/+", 1);
    assert_eq!(world.expect_message(client).qos, 1);
    subscribe(&mut world, client, "t/+", DO_NOT_SEND);
    world.send(client, puback(1));
    let rest = world.messages(client);
    assert_eq!(rest.iter().map(|it| it.qos).collect::<Vec<_>>(), [0, 0]);
}
