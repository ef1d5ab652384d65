//! QoS 1: at least once, and acknowledged only by who is responsible now.

use wherry_core::Config;
use wherry_core::permission::{Access, Effect, Grant, Rule};
use wherry_tests::scenario::{Admission, World};
use wherry_tests::wire::{self, Properties, Value, Version, id, kind};

#[test]
fn every_message_arrives_at_the_lower_of_both_qos() {
    // [MQTT-3.8.4-8]; [MQTT-3.8.4-6] of 3.1.1
    for from in Version::ALL {
        for to in Version::ALL {
            for granted in 0..=2 {
                let mut world = World::default();
                let publisher = world.connect(from, "publisher");
                let subscriber = world.connect(to, "subscriber");
                world.subscribe(subscriber, "t", granted);
                world.publish(publisher, "t", "0");
                assert_eq!(world.publish_acked(publisher, "t", "1"), 0);
                assert_eq!(world.publish_released(publisher, "t", "2"), 0);
                let got = world.drain(subscriber);
                assert_eq!(got.len(), 3);
                for (published, message) in (0..=2).zip(&got) {
                    assert_eq!(message.payload, [b'0' + published]);
                    assert_eq!(message.qos, published.min(granted));
                    assert!(!message.dup); // [MQTT-4.3.2-2], [MQTT-4.3.3-2]
                }
                world.expect_nothing(publisher);
            }
        }
    }
}

#[test]
fn overlapping_subscriptions_bring_one_copy_at_the_highest_qos_that_was_granted() {
    // [MQTT-3.3.4-2]
    for version in Version::ALL {
        let mut world = World::default();
        let publisher = world.connect(Version::V5, "publisher");
        let client = world.connect(version, "a");
        for (filter, qos) in [("a/b", 0), ("a/+", 2), ("#", 1)] {
            world.subscribe(client, filter, qos);
        }
        world.publish_released(publisher, "a/b", "2");
        world.publish_acked(publisher, "a/b", "1");
        world.publish_released(publisher, "x", "1");
        let got = world.drain(client);
        let qos: Vec<u8> = got.iter().map(|message| message.qos).collect();
        assert_eq!(qos, [2, 1, 1]);
    }
}

#[test]
fn a_publisher_is_answered_under_its_own_identifier_whoever_listens() {
    // [MQTT-4.3.2-4], [MQTT-2.2.1-5]; 0x10 is told, and only to MQTT 5 clients, where nobody
    // matched.
    for version in Version::ALL {
        let mut world = World::default();
        let publisher = world.connect(version, "publisher");
        let subscriber = world.connect(Version::V5, "subscriber");
        world.subscribe(subscriber, "heard", 0);
        let unheard = if version.is_v5() { 0x10 } else { 0 };
        for packet_id in [1, 2, 255, 256, 32_768, 65_535] {
            for (topic, reason) in [("heard", 0), ("unheard", unheard)] {
                world.publish_at(publisher, 1, packet_id, topic, "x");
                let said = world.expect_reason(publisher, kind::PUBACK, packet_id);
                assert_eq!(said, reason, "{topic}");
                world.publish_at(publisher, 2, packet_id, topic, "x");
                let said = world.expect_reason(publisher, kind::PUBREC, packet_id);
                assert_eq!(said, reason, "{topic}");
                world.ack(publisher, kind::PUBREL, packet_id);
                world.expect_reason(publisher, kind::PUBCOMP, packet_id);
            }
        }
        assert_eq!(world.messages(subscriber).len(), 12);
        assert_eq!(world.broker.counters().publish_without_subscriber, 12);
    }
}

#[test]
fn who_does_not_want_to_hear_itself_is_a_subscriber_all_the_same() {
    // No Local: a subscription matches, though it does not take the message.
    let mut world = World::default();
    let client = world.connect(Version::V5, "a");
    for filters in [&["t"][..], &["t", "+"]] {
        for filter in filters {
            world.subscribe(client, filter, 0x04 | 1);
        }
        assert_eq!(world.publish_acked(client, "t", "x"), 0);
        world.expect_nothing(client);
    }
    assert_eq!(world.publish_acked(client, "t/u", "x"), 0x10);
}

#[test]
fn a_publisher_has_its_acknowledgement_before_its_own_message() {
    for version in Version::ALL {
        for (qos, answer) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
            let mut world = World::default();
            let client = world.connect(version, "a");
            world.subscribe(client, "t", qos);
            world.subscribe(client, "+", 0);
            world.subscribe(client, "$share/g/t", qos);
            world.send(client, wire::publish(version, "t", "x").qos(qos, 7).bytes());
            world.expect(client, answer);
            assert_eq!(world.messages(client).len(), 2, "one by the group");
            world.expect_nothing(client);
        }
    }
}

#[test]
fn a_message_that_comes_again_after_its_acknowledgement_is_a_new_one() {
    // [MQTT-4.3.2-5], and DUP is not passed on: [MQTT-3.3.1-3]
    for version in Version::ALL {
        let mut world = World::default();
        let publisher = world.connect(version, "publisher");
        let subscriber = world.connect(version, "subscriber");
        world.subscribe(subscriber, "t", 1);
        let publish = wire::publish(version, "t", "x").qos(1, 7);
        for bytes in [publish.bytes(), publish.dup().bytes()] {
            world.send(publisher, bytes);
            world.expect_reason(publisher, kind::PUBACK, 7);
        }
        let got = world.drain(subscriber);
        assert_eq!(got.len(), 2);
        assert!(got.iter().all(|message| !message.dup));
    }
}

#[test]
fn acknowledgements_come_in_the_order_of_the_messages() {
    // [MQTT-4.6.0-2], [MQTT-4.6.0-3]
    for version in Version::ALL {
        let mut world = World::default();
        let publisher = world.connect(version, "publisher");
        let subscriber = world.connect(version, "subscriber");
        world.subscribe(subscriber, "t", 2);
        let ids = [9, 3, 65_535, 1, 4, 2];
        let bytes: Vec<u8> = ids
            .iter()
            .flat_map(|id| {
                let qos = 1 + (id % 2) as u8;
                wire::publish(version, "t", id.to_string())
                    .qos(qos, *id)
                    .bytes()
            })
            .collect();
        world.send(publisher, bytes);
        for id in ids {
            let kind = if id % 2 == 0 {
                kind::PUBACK
            } else {
                kind::PUBREC
            };
            world.expect_reason(publisher, kind, id);
        }
        assert_eq!(world.drain_texts(subscriber), ids.map(|id| id.to_string()));
    }
}

#[test]
fn what_may_not_be_published_is_refused_under_its_identifier_and_reaches_nobody() {
    for version in Version::ALL {
        let mut world = World::default();
        let watcher = world.connect(Version::V5, "watcher");
        world.subscribe(watcher, "#", 2);
        let rule = Rule {
            effect: Effect::Deny,
            access: Access::Publish,
            filter: "secret/#".into(),
        };
        world.admission = Admission::Everyone(Grant::from_rules(vec![rule], Effect::Allow));
        let client = world.connect(version, "bound");
        for (topic, reason) in [
            ("secret/a", 0x87),
            ("$SYS/broker/uptime", 0x90),
            ("$share/g/t", 0x90),
        ] {
            let reason = if version.is_v5() { reason } else { 0 };
            assert_eq!(world.publish_acked(client, topic, "x"), reason, "{topic}");
            assert_eq!(
                world.publish_released(client, topic, "x"),
                reason,
                "{topic}"
            );
        }
        assert!(!world.is_closed(client));
        world.expect_nothing(watcher);
        let counters = world.broker.counters();
        assert_eq!(counters.publish_refused_not_authorized, 2);
        assert_eq!(counters.publish_refused_topic_invalid, 4);
        assert_eq!(world.publish_acked(client, "open", "y"), 0);
        assert_eq!(world.drain_texts(watcher), ["y"]);
    }
}

#[test]
fn a_puback_with_an_error_ends_the_exchange_for_good() {
    // [MQTT-4.4.0-2]: the message counts as acknowledged and is never sent again.
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let connect = wire::lasting(Version::V5, "a");
    let client = world.connect_with(&connect);
    world.subscribe(client, "t", 1);
    for reason in [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] {
        world.publish_acked(publisher, "t", "x");
        let id = world.expect_message(client).packet_id.unwrap();
        let puback = wire::ack_with(kind::PUBACK, id, reason, &Properties::new());
        world.send(client, puback);
        world.expect_nothing(client);
    }
    world.hang_up(client);
    let client = world.resume(&connect);
    world.expect_nothing(client);
}

#[test]
fn an_acknowledgement_in_any_form_counts() {
    let forms: [&dyn Fn(u16) -> Vec<u8>; 4] = [
        &|id| wire::ack(kind::PUBACK, id),
        &|id| [&[0x40, 3][..], &id.to_be_bytes(), &[0]].concat(),
        &|id| [&[0x40, 3][..], &id.to_be_bytes(), &[0x10]].concat(),
        &|id| {
            let words = Properties::new()
                .with(id::REASON_STRING, Value::Text("thanks".into()))
                .user("a", "b")
                .user("a", "b");
            wire::ack_with(kind::PUBACK, id, 0, &words)
        },
    ];
    let mut world = World::new(Config {
        send_window: 1.try_into().unwrap(),
        ..Config::default()
    });
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.connect(Version::V5, "a");
    world.subscribe(client, "t", 1);
    for _ in 0..=forms.len() {
        world.publish_acked(publisher, "t", "x");
    }
    for form in forms {
        let id = world.expect_message(client).packet_id.unwrap();
        world.expect_nothing(client);
        world.send(client, form(id));
    }
    assert_eq!(world.drain(client).len(), 1);
}

#[test]
fn acknowledgements_of_nothing_are_ignored() {
    for version in Version::ALL {
        let mut world = World::default();
        let publisher = world.connect(version, "publisher");
        let client = world.connect(version, "a");
        world.subscribe(client, "t", 2);
        for id in [1, 7, 65_535] {
            world.ack(client, kind::PUBACK, id);
            world.ack(client, kind::PUBCOMP, id);
        }
        world.expect_nothing(client);
        assert!(!world.is_closed(client));
        // Not even twice for the same message do they move the window or take another's place.
        world.publish_acked(publisher, "t", "one");
        let first = world.expect_message(client).packet_id.unwrap();
        world.ack(client, kind::PUBACK, first);
        world.ack(client, kind::PUBACK, first);
        world.publish_acked(publisher, "t", "two");
        assert_eq!(world.drain_texts(client), ["two"]);
        assert!(!world.is_closed(client));
    }
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_is_a_protocol_error() {
    for version in Version::ALL {
        for (qos, wrong, right) in [
            (2, kind::PUBACK, kind::PUBREC),
            (1, kind::PUBREC, kind::PUBACK),
            (1, kind::PUBCOMP, kind::PUBACK),
            (2, kind::PUBCOMP, kind::PUBREC),
        ] {
            let mut world = World::default();
            let publisher = world.connect(Version::V5, "publisher");
            let connect = wire::lasting(version, "a");
            let mut client = world.connect_with(&connect);
            world.subscribe(client, "t", 2);
            world.publish_at(publisher, qos, 1, "t", "x");
            let id = world.expect_message(client).packet_id.unwrap();
            world.ack(client, wrong, id);
            world.expect_end(client, 0x82);
            assert_eq!(world.broker.counters().ended_protocol_error, 1);
            // The message is not lost by it, and the right answer is taken.
            client = world.resume(&connect);
            let again = world.expect_message(client);
            assert_eq!((again.packet_id, again.dup), (Some(id), true));
            world.ack(client, right, id);
            assert!(!world.is_closed(client));
        }
    }
}

#[test]
fn acknowledgements_out_of_form_end_the_connection_and_their_repaired_twins_do_not() {
    // Flags: [MQTT-3.6.1-1] for PUBREL, table 2-2 for the others; the identifier is not 0.
    for version in Version::ALL {
        for kind in [kind::PUBACK, kind::PUBREC, kind::PUBREL, kind::PUBCOMP] {
            let good = wire::ack(kind, 7);
            let mut flags = good.clone();
            flags[0] ^= 2;
            let mut cases = vec![
                flags,
                wire::ack(kind, 0),
                wire::packet(good[0], []),
                wire::packet(good[0], [0]),
            ];
            if version.is_v5() {
                cases.push(wire::packet(good[0], [0, 7, 0x7f])); // no such reason
                cases.push(wire::packet(good[0], [0, 7, 0, 1])); // properties cut off
                cases.push(wire::packet(good[0], [0, 7, 0, 0, 0])); // and something after them
                let alias = Properties::new().with(id::TOPIC_ALIAS, Value::Two(1));
                cases.push(wire::ack_with(kind, 7, 0, &alias));
                let twice = Properties::new()
                    .with(id::REASON_STRING, Value::Text("a".into()))
                    .with(id::REASON_STRING, Value::Text("b".into()));
                cases.push(wire::ack_with(kind, 7, 0, &twice));
            } else {
                cases.push(wire::packet(good[0], [0, 7, 0]));
            }
            for bad in cases {
                let mut world = World::default();
                let client = world.connect(version, "a");
                world.send(client, &bad);
                assert!(world.is_closed(client), "{bad:02x?}");
                assert_eq!(world.broker.counters().ended_protocol_error, 1);
                if version.is_v5() {
                    let reason = world.expect(client, kind::DISCONNECT).disconnect().reason;
                    assert!([0x81, 0x82].contains(&reason), "{bad:02x?}: {reason:#04x}");
                }
            }
            let mut world = World::default();
            let client = world.connect(version, "a");
            world.send(client, &good);
            assert!(!world.is_closed(client));
        }
    }
}

#[test]
fn a_publish_above_qos_0_needs_an_identifier_that_is_not_0() {
    // [MQTT-2.2.1-3]; [MQTT-2.3.1-1] of 3.1.1
    for version in Version::ALL {
        for qos in [1, 2] {
            let mut world = World::default();
            let client = world.connect(version, "a");
            world.publish_at(client, qos, 0, "t", "x");
            assert!(world.is_closed(client));
            assert_eq!(world.broker.counters().ended_protocol_error, 1);
        }
    }
}

#[test]
fn qos_beyond_the_maximum_is_refused_and_lowered_in_subscriptions() {
    // [MQTT-3.2.2-9], [MQTT-3.2.2-11]; [MQTT-3.2.2-10]: a subscription is granted less.
    use wherry_core::packet::QoS;
    for (max_qos, most) in [(QoS::AtMostOnce, 0u8), (QoS::AtLeastOnce, 1)] {
        for version in Version::ALL {
            for qos in 0..=2 {
                let mut world = World::new(Config {
                    max_qos,
                    ..Config::default()
                });
                let connect = wire::connect(version).client_id("a");
                let (client, connack) = world.connack(&connect);
                let maximum = connack.property(id::MAXIMUM_QOS);
                let told = version.is_v5().then_some(Value::Byte(most));
                assert_eq!(maximum, told.as_ref());
                assert_eq!(world.subscribe_code(client, "t", qos), qos.min(most));
                if qos > most {
                    world.publish_at(client, qos, 1, "t", "x");
                    world.expect_end(client, 0x9b);
                    assert_eq!(world.broker.counters().ended_not_supported, 1);
                }
            }
        }
    }
}
