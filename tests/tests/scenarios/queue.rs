//! Queues: in order, bounded, and with a stated policy for what does not fit.

use std::time::Duration;

use wherry_core::Config;
use wherry_core::QueuePolicy;
use wherry_tests::scenario::{Client, World, numbers};
use wherry_tests::wire::{self, Properties, Value, Version, id, kind};

const POLICIES: [QueuePolicy; 3] = [
    QueuePolicy::Reject,
    QueuePolicy::DropNewest,
    QueuePolicy::DropOldest,
];

/// A broker whose sessions queue so many messages, with an absent subscriber and a publisher.
fn absent(config: Config, version: Version) -> (World, Client) {
    let mut world = World::new(config);
    let publisher = world.connect(version, "publisher");
    let client = world.connect_with(&wire::lasting(version, "a"));
    world.subscribe(client, "t/#", 1);
    world.hang_up(client);
    (world, publisher)
}

fn limit(queue_policy: QueuePolicy, max_queued_messages: usize) -> Config {
    Config {
        queue_policy,
        max_queued_messages,
        ..Config::default()
    }
}

#[test]
fn a_full_queue_does_what_its_policy_says() {
    for version in Version::ALL {
        for policy in POLICIES {
            let (mut world, publisher) = absent(limit(policy, 10), version);
            for n in 0..15u32 {
                let reason = if n % 2 == 0 {
                    world.publish_acked(publisher, "t", &n.to_string())
                } else {
                    world.publish_released(publisher, "t", &n.to_string())
                };
                let told = n >= 10 && policy == QueuePolicy::Reject && version.is_v5();
                assert_eq!(reason, if told { 0x97 } else { 0 }, "{policy:?} {n}");
            }
            if policy != QueuePolicy::Reject {
                assert_eq!(world.dropped(), 5, "{:?}", world.broker.counters());
            }
            let client = world.resume(&wire::lasting(version, "a"));
            let kept = if policy == QueuePolicy::DropOldest {
                5..15
            } else {
                0..10
            };
            assert_eq!(world.drain_texts(client), numbers(kept));
            // And there is room again.
            assert_eq!(world.publish_acked(publisher, "t", "x"), 0);
            assert_eq!(world.drain_texts(client), ["x"]);
        }
    }
}

#[test]
fn messages_in_flight_count_and_stay() {
    for policy in POLICIES {
        for qos in [1, 2] {
            let config = Config {
                send_window: 4.try_into().unwrap(),
                ..limit(policy, 6)
            };
            let mut world = World::new(config);
            let publisher = world.connect(Version::V5, "publisher");
            let client = world.connect(Version::V5, "a");
            world.subscribe(client, "t", qos);
            for n in 0..10u32 {
                let reason = world.publish_released(publisher, "t", &n.to_string());
                let refused = n >= 6 && policy == QueuePolicy::Reject;
                assert_eq!(reason, if refused { 0x97 } else { 0 });
            }
            let texts = world.drain_texts(client);
            if policy == QueuePolicy::DropOldest {
                assert_eq!(texts, ["0", "1", "2", "3", "8", "9"]);
            } else {
                assert_eq!(texts, numbers(0..6));
            }
        }
    }
}

#[test]
fn a_queue_that_is_all_in_flight_drops_what_is_new() {
    // There is nothing older that could go.
    let config = Config {
        send_window: 10.try_into().unwrap(),
        ..limit(QueuePolicy::DropOldest, 3)
    };
    let mut world = World::new(config);
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.connect(Version::V5, "a");
    world.subscribe(client, "t", 1);
    for n in 0..5 {
        world.publish_acked(publisher, "t", &n.to_string());
    }
    assert_eq!(world.drain_texts(client), numbers(0..3));
    assert_eq!(world.dropped(), 2);
}

#[test]
fn queues_are_bounded_in_bytes() {
    for policy in POLICIES {
        let config = Config {
            queue_policy: policy,
            max_queued_bytes: 10_000,
            ..Config::default()
        };
        let (mut world, publisher) = absent(config, Version::V5);
        for n in 0..5u32 {
            let text = n.to_string().repeat(3000);
            let reason = world.publish_acked(publisher, "t", &text);
            let refused = n >= 3 && policy == QueuePolicy::Reject;
            assert_eq!(reason, if refused { 0x97 } else { 0 }, "{policy:?} {n}");
        }
        // What is larger than all there is never fits, and costs nobody else its place.
        let text = "x".repeat(11_000);
        let reason = world.publish_acked(publisher, "t", &text);
        assert_eq!(reason == 0x97, policy == QueuePolicy::Reject);
        let client = world.resume(&wire::lasting(Version::V5, "a"));
        let kept = if policy == QueuePolicy::DropOldest {
            2..5
        } else {
            0..3
        };
        let kept: Vec<_> = numbers(kept).iter().map(|n| n.repeat(3000)).collect();
        assert!(world.drain_texts(client) == kept, "{policy:?}");
    }
}

#[test]
fn topics_and_properties_count_as_bytes_too() {
    let topic = format!("t/{}", "x".repeat(3000));
    for (topic, properties) in [
        (&topic[..], Properties::new()),
        ("t", Properties::new().user("k", &"v".repeat(3000))),
    ] {
        let config = Config {
            max_queued_bytes: 10_000,
            ..Config::default()
        };
        let (mut world, publisher) = absent(config, Version::V5);
        for n in 0..5 {
            let publish = wire::publish(Version::V5, topic, "").qos(1, 1);
            world.send(publisher, publish.properties(properties.clone()).bytes());
            let reason = world.expect_reason(publisher, kind::PUBACK, 1);
            assert_eq!(reason, if n >= 3 { 0x97 } else { 0 }, "{n}");
        }
    }
}

#[test]
fn all_queues_together_are_bounded_and_a_message_counts_once() {
    let config = Config {
        max_queued_bytes_total: 10_000,
        ..Config::default()
    };
    let mut world = World::new(config);
    let publisher = world.connect(Version::V5, "publisher");
    let name = |n: u32| format!("c{n}");
    for n in 0..10 {
        let client = world.connect_with(&wire::lasting(Version::V5, &name(n)));
        world.subscribe(client, "all", 1);
        world.subscribe(client, &format!("own/{n}"), 1);
        world.hang_up(client);
    }
    let text = "x".repeat(3000);
    for n in 0..4 {
        let reason = world.publish_acked(publisher, "all", &text);
        assert_eq!(reason, if n < 3 { 0 } else { 0x97 }, "{n}");
    }
    assert_eq!(world.publish_acked(publisher, "own/1", &text), 0x97);
    // It is free when the last one has taken it, and not before.
    for n in 0..10 {
        let client = world.resume(&wire::lasting(Version::V5, &name(n)));
        assert_eq!(world.drain(client).len(), 3);
        world.hang_up(client);
        let reason = world.publish_acked(publisher, "own/1", &text);
        assert_eq!(reason, if n < 9 { 0x97 } else { 0 }, "{n}");
    }
}

#[test]
fn the_publisher_is_told_only_if_nobody_took_the_message() {
    let (mut world, publisher) = absent(limit(QueuePolicy::Reject, 1), Version::V5);
    assert_eq!(world.publish_acked(publisher, "t", "fills it"), 0);
    assert_eq!(world.publish_acked(publisher, "t", "refused"), 0x97);
    let other = world.connect(Version::V5, "other");
    world.subscribe(other, "t", 0);
    assert_eq!(world.publish_acked(publisher, "t", "taken"), 0);
    assert_eq!(world.drain_texts(other), ["taken"]);
    world.unsubscribe(other, "t");
    world.subscribe(other, "t", 1);
    assert_eq!(world.publish_acked(publisher, "t", "taken too"), 0);
    // Now it is full as well, of what it has not acknowledged.
    assert_eq!(world.publish_acked(publisher, "t", "refused"), 0x97);
    assert_eq!(world.publish_released(publisher, "t", "refused"), 0x97);
    assert_eq!(world.drain_texts(other), ["taken too"]);
    let client = world.resume(&wire::lasting(Version::V5, "a"));
    assert_eq!(world.drain_texts(client), ["fills it"]);
}

#[test]
fn a_message_that_every_queue_refused_is_retained_all_the_same() {
    let (mut world, publisher) = absent(limit(QueuePolicy::Reject, 1), Version::V5);
    world.publish_acked(publisher, "t", "fills it");
    let publish = wire::publish(Version::V5, "t", "kept").qos(1, 1).retain();
    world.send(publisher, publish.bytes());
    world.expect_ack(publisher, kind::PUBACK);
    let late = world.connect(Version::V5, "late");
    world.subscribe(late, "t", 0);
    assert_eq!(world.drain_texts(late), ["kept"]);
}

#[test]
fn a_refused_pubrec_leaves_the_identifier_free_to_try_again() {
    // [MQTT-4.3.3-9]
    let (mut world, publisher) = absent(limit(QueuePolicy::Reject, 1), Version::V5);
    world.publish_acked(publisher, "t", "fills it");
    world.publish_at(publisher, 2, 9, "t", "later");
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 9), 0x97);
    let client = world.resume(&wire::lasting(Version::V5, "a"));
    assert_eq!(world.drain_texts(client), ["fills it"]);
    world.publish_at(publisher, 2, 9, "t", "later");
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 9), 0);
    assert_eq!(world.drain_texts(client), ["later"]);
}

#[test]
fn qos_0_flows_past_a_queue_and_is_not_held_up_by_it() {
    let config = Config {
        send_window: 1.try_into().unwrap(),
        ..limit(QueuePolicy::Reject, 3)
    };
    for version in Version::ALL {
        let mut world = World::new(config.clone());
        let publisher = world.connect(version, "publisher");
        let client = world.connect(version, "a");
        world.subscribe(client, "#", 2);
        for n in 0..4 {
            world.publish_acked(publisher, "t", &n.to_string());
            world.publish(publisher, "u", "zero");
        }
        let got = world.messages(client);
        let qos: Vec<u8> = got.iter().map(|message| message.qos).collect();
        assert_eq!(qos, [1, 0, 0, 0, 0]);
        world.acknowledge(client, &got[0]);
        assert_eq!(world.drain_texts(client), ["1", "2"]);
    }
}

#[test]
fn expiry_counts_down_while_a_message_waits() {
    // [MQTT-3.3.2-6]: less than a second changes nothing.
    let (mut world, publisher) = absent(Config::default(), Version::V5);
    for (n, seconds) in [100, 41, 40, 1, u32::MAX].into_iter().enumerate() {
        let publish = wire::publish(Version::V5, "t", n.to_string())
            .qos(1, 1)
            .with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(seconds));
        world.send(publisher, publish.bytes());
        world.expect_reason(publisher, kind::PUBACK, 1);
    }
    world.pass(Duration::from_millis(40_500));
    let client = world.resume(&wire::lasting(Version::V5, "a"));
    let got = world.drain(client);
    let left: Vec<_> = got
        .iter()
        .map(|message| {
            (
                message.payload[0],
                message.property(id::MESSAGE_EXPIRY_INTERVAL),
            )
        })
        .collect();
    let seconds = [100 - 40, 41 - 40, u32::MAX - 40].map(Value::Four);
    assert_eq!(
        left,
        [
            (b'0', Some(&seconds[0])),
            (b'1', Some(&seconds[1])),
            (b'4', Some(&seconds[2]))
        ]
    );
    assert_eq!(world.broker.counters().dropped_expired, 2);
}

#[test]
fn expiry_is_unchanged_if_less_than_a_second_has_passed() {
    let (mut world, publisher) = absent(Config::default(), Version::V5);
    let publish = wire::publish(Version::V5, "t", "x")
        .qos(1, 1)
        .with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(1));
    world.send(publisher, publish.bytes());
    world.expect_ack(publisher, kind::PUBACK);
    world.pass(Duration::from_millis(999));
    let client = world.resume(&wire::lasting(Version::V5, "a"));
    let got = world.expect_message(client);
    let left = got.property(id::MESSAGE_EXPIRY_INTERVAL);
    assert_eq!(left, Some(&Value::Four(1)));
}

#[test]
fn messages_expire_behind_a_closed_window_too() {
    // [MQTT-3.3.2-5]
    let mut world = World::new(Config {
        send_window: 1.try_into().unwrap(),
        ..Config::default()
    });
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.connect(Version::V5, "a");
    world.subscribe(client, "t", 2);
    for (text, seconds) in [("first", 5), ("expires", 5), ("stays", 500)] {
        let publish = wire::publish(Version::V5, "t", text)
            .qos(2, 1)
            .with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(seconds));
        world.send(publisher, publish.bytes());
        world.expect_ack(publisher, kind::PUBREC);
        world.ack(publisher, kind::PUBREL, 1);
        world.expect_ack(publisher, kind::PUBCOMP);
    }
    world.pass(Duration::from_secs(10));
    assert_eq!(world.drain_texts(client), ["first", "stays"]);
    assert_eq!(world.broker.counters().dropped_expired, 1);
}

#[test]
fn a_message_that_expires_at_once_reaches_those_who_are_there() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.connect(Version::V5, "a");
    world.subscribe(client, "t", 1);
    let publish =
        wire::publish(Version::V5, "t", "x").with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(1));
    world.send(publisher, publish.qos(1, 1).bytes());
    world.expect_reason(publisher, kind::PUBACK, 1);
    assert_eq!(world.drain_texts(client), ["x"]);
}

#[test]
fn a_slow_reader_loses_no_message_above_qos_0() {
    // What the outbox has no room for stays in the queue, in order.
    for version in Version::ALL {
        let mut world = World::new(Config {
            outbox_limit: 5000,
            ..Config::default()
        });
        let publisher = world.connect(version, "publisher");
        let client = world.connect(version, "slow");
        world.subscribe(client, "t", 1);
        world.take_only(client, 0);
        let text = |n: u32| format!("{n}:{}", "x".repeat(1000));
        for n in 0..500 {
            world.publish_acked(publisher, "t", &text(n));
            assert!(world.broker.waiting_bytes() <= 7000);
        }
        world.take_all(client);
        let wanted: Vec<_> = (0..500).map(text).collect();
        assert!(world.drain_texts(client) == wanted);
        assert_eq!(world.dropped(), 0);
    }
}

#[test]
fn a_long_queue_comes_in_order_whatever_the_window() {
    // [MQTT-4.6.0-5], [MQTT-4.6.0-6]
    for window in [1, 2, 7, 1024] {
        let config = Config {
            send_window: window.try_into().unwrap(),
            ..Config::default()
        };
        let (mut world, publisher) = absent(config, Version::V3_1_1);
        for n in 0..5000u32 {
            let qos = 1 + (n % 2) as u8;
            let publish = wire::publish(Version::V3_1_1, "t", n.to_string()).qos(qos, 1);
            world.send(publisher, publish.bytes());
            world.ack(publisher, kind::PUBREL, 1);
        }
        let client = world.resume(&wire::lasting(Version::V3_1_1, "a"));
        assert_eq!(world.drain_texts(client), numbers(0..5000));
    }
}

#[test]
fn qos_0_that_waits_is_not_overtaken_by_qos_0_that_does_not() {
    // [MQTT-4.6.0-5]: order holds for each topic and QoS.
    for version in Version::ALL {
        let mut world = World::new(Config {
            queue_qos0: true,
            send_window: 1.try_into().unwrap(),
            ..Config::default()
        });
        let publisher = world.connect(version, "publisher");
        let client = world.connect_with(&wire::lasting(version, "a"));
        world.subscribe(client, "t", 1);
        world.hang_up(client);
        for n in 0..3 {
            world.publish_acked(publisher, "t", "one");
            world.publish(publisher, "t", n.to_string());
        }
        let client = world.resume(&wire::lasting(version, "a"));
        for n in 3..6 {
            world.publish(publisher, "t", n.to_string());
        }
        let mut texts = world.drain_texts(client);
        texts.retain(|text| text != "one");
        assert_eq!(texts, numbers(0..6));
    }
}

#[test]
fn a_message_that_finds_no_room_drops_no_more_than_would_make_it() {
    // drop-oldest, and what fills the total is in other queues.
    let config = Config {
        queue_policy: QueuePolicy::DropOldest,
        max_queued_bytes_total: 10_000,
        ..Config::default()
    };
    let (mut world, publisher) = absent(config, Version::V5);
    let other = world.connect_with(&wire::lasting(Version::V5, "other"));
    world.subscribe(other, "other", 1);
    world.hang_up(other);
    for n in 0..3 {
        world.publish_acked(publisher, "t", &n.to_string());
    }
    world.publish_acked(publisher, "other", &"x".repeat(9000));
    world.publish_acked(publisher, "t", &"y".repeat(3000));
    let client = world.resume(&wire::lasting(Version::V5, "a"));
    assert_eq!(world.drain_texts(client), numbers(0..3));
}

#[test]
fn what_absent_clients_have_piled_up_keeps_nothing_from_those_who_are_there() {
    for policy in [QueuePolicy::Reject, QueuePolicy::DropOldest] {
        let config = Config {
            queue_policy: policy,
            max_queued_bytes_total: 10_000,
            ..Config::default()
        };
        let (mut world, publisher) = absent(config, Version::V5);
        world.publish_acked(publisher, "t/full", &"x".repeat(9_990));
        let present = world.connect(Version::V5, "present");
        world.subscribe(present, "to/present", 1);
        for n in 0..100 {
            let reason = world.publish_acked(publisher, "to/present", &n.to_string());
            assert_eq!(reason, 0, "{policy:?} {n}");
            let message = world.expect_message(present);
            assert_eq!(message.payload, n.to_string().as_bytes());
            world.ack(present, kind::PUBACK, message.packet_id.expect("QoS 1"));
        }
    }
}
