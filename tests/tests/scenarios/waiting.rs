//! What waits for a client: in its queue, in flight, in replays of what is retained.

use std::time::Duration;

use wherry_core::permission::Grant;
use wherry_core::{Config, QueuePolicy};
use wherry_tests::scenario::{World, texts};
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
    world.subscribe(client, "t", 0);
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
        world.subscribe(client, filter, 1);
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
        world.publish_acked(publisher, topic, "new");
    }
    assert_eq!(world.broker.counters().dropped_expired, 2);
    for name in ["a", "b"] {
        let client = world.resume(&lasting(name));
        assert_eq!(texts(&world.messages(client)), ["new"]);
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
            world.subscribe(client, "t", 1);
            world.hang_up(client);
        }
        for n in 0..6 {
            world.publish_acked(publisher, "t", &format!("message {n}"));
        }
        for name in names {
            let client = world.resume(&lasting(name));
            let kept = kept.map(|n| format!("message {n}"));
            assert_eq!(texts(&world.messages(client)), kept);
        }
    }
}

#[test]
fn what_has_expired_is_not_passed_on() {
    // [MQTT-3.3.2-5]
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let first = world.connect_with(&lasting("first"));
    world.subscribe(first, "$share/g/t", 1);
    let expiry = Properties::new().with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(60));
    let packet = wire::publish(Version::V5, "t", "old").properties(expiry);
    world.send(publisher, packet.qos(1, 1).bytes());
    world.expect_message(first);
    let second = world.connect(Version::V5, "second");
    world.subscribe(second, "$share/g/t", 1);
    world.pass(Duration::from_secs(61));
    world.connect_with(&lasting("first").clean(true));
    world.expect_nothing(second);
    assert_eq!(world.broker.counters().dropped_expired, 1);
    assert_eq!(world.broker.queued_bytes(), 0);
}

#[test]
fn what_nobody_is_left_for_is_counted() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let only = world.connect_with(&lasting("only"));
    world.subscribe(only, "$share/g/t", 1);
    world.publish_acked(publisher, "t", "x");
    world.connect_with(&lasting("only").clean(true));
    assert_eq!(world.broker.counters().dropped_session_ended, 1);
}

#[test]
fn what_a_member_had_goes_to_others_in_turns() {
    const MESSAGES: usize = 20_000;
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let first = world.connect_with(&lasting("first"));
    world.subscribe(first, "$share/g/t", 1);
    world.hang_up(first);
    let packet = wire::publish(Version::V5, "t", "x").qos(1, 1).bytes();
    world.send(publisher, packet.repeat(MESSAGES));
    let second = world.connect(Version::V5, "second");
    world.subscribe(second, "$share/g/t", 1);
    let before = world.broker.counters().queued;
    let socket = world.dial(Version::V5);
    let connect = lasting("first").clean(true).bytes();
    // Not `send`, which goes on until nothing is left to be done.
    world.broker.received(world.id(socket), &connect);
    world.broker.admit(world.id(socket), Grant::unrestricted());
    let passed_on = world.broker.counters().queued - before;
    assert!(
        (100..MESSAGES as u64 / 2).contains(&passed_on),
        "{passed_on}"
    );
    assert_eq!(world.broker.queued_messages(), MESSAGES);
    world.settle();
    assert_eq!(world.broker.queued_messages(), MESSAGES);
    assert_eq!(world.messages(second).len(), 1024, "the window");
    assert_eq!(world.broker.counters().dropped_session_ended, 0);
}

#[test]
fn messages_for_many_are_handed_out_in_turns() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let clients: Vec<_> = (0..100)
        .map(|n| world.connect(Version::V5, &format!("client {n}")))
        .collect();
    for client in &clients {
        world.subscribe(*client, "t", 0);
    }
    assert!(!world.was_interrupted());
    let packet = wire::publish(Version::V5, "t", "x").bytes();
    world.send(publisher, packet.repeat(1000));
    assert!(world.was_interrupted());
    for client in clients {
        assert_eq!(world.messages(client).len(), 1000);
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
    world.subscribe(client, "t/+", 1);
    assert_eq!(world.expect_message(client).qos, 1);
    world.subscribe(client, "t/+", DO_NOT_SEND);
    world.send(client, puback(1));
    let rest = world.messages(client);
    assert_eq!(rest.iter().map(|it| it.qos).collect::<Vec<_>>(), [0, 0]);
}
