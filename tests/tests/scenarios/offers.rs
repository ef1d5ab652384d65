//! What CONNACK says of the broker's limits and of what it does not offer, and what happens to
//! those who do not heed it.

use wherry_core::Config;
use wherry_core::packet::QoS;
use wherry_tests::scenario::{Client, World};
use wherry_tests::wire::{self, Properties, Value, Version, Will, id, kind};

const V5: Version = Version::V5;

fn config() -> Config {
    Config::default()
}

/// A client that sees wills.
fn watch(world: &mut World) -> Client {
    let watcher = world.connect(V5, "watcher");
    world.subscribe(watcher, "will", 0);
    watcher
}

fn named(version: Version) -> wire::Connect {
    wire::connect(version).client_id("a")
}

#[test]
fn connack_says_what_is_limited_or_not_offered_and_nothing_else() {
    // Sections 3.2.2.3.4, 5 and 11 to 13; [MQTT-3.2.2-9]
    let usual: Vec<u8> = {
        let (_, connack) = World::default().connack(&named(V5));
        connack.properties.iter().map(|(id, _)| *id).collect()
    };
    assert_eq!(
        usual,
        [
            id::RECEIVE_MAXIMUM,
            id::MAXIMUM_PACKET_SIZE,
            id::TOPIC_ALIAS_MAXIMUM
        ]
    );
    type Change = fn(&mut Config);
    let cases: [(Change, u8, u8); 6] = [
        (|it| it.max_qos = QoS::AtMostOnce, id::MAXIMUM_QOS, 0),
        (|it| it.max_qos = QoS::AtLeastOnce, id::MAXIMUM_QOS, 1),
        (|it| it.retain_available = false, id::RETAIN_AVAILABLE, 0),
        (
            |it| it.wildcard_subscriptions_available = false,
            id::WILDCARD_SUBSCRIPTION_AVAILABLE,
            0,
        ),
        (
            |it| it.subscription_identifiers_available = false,
            id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
            0,
        ),
        (
            |it| it.shared_subscriptions_available = false,
            id::SHARED_SUBSCRIPTION_AVAILABLE,
            0,
        ),
    ];
    for (change, property, value) in cases {
        let mut config = config();
        change(&mut config);
        let mut world = World::new(config);
        let (_, connack) = world.connack(&named(V5));
        assert_eq!(connack.property(property), Some(&Value::Byte(value)));
        assert_eq!(connack.properties.len(), usual.len() + 1, "{connack:?}");
        // Before MQTT 5 nothing can be said.
        for version in [Version::V3_1, Version::V3_1_1] {
            world.connect(version, "old");
        }
    }
}

#[test]
fn limits_in_numbers_are_told_as_configured() {
    let config = Config {
        receive_window: 7.try_into().unwrap(),
        max_packet_size: 1234,
        max_topic_aliases: 5,
        ..config()
    };
    let (_, connack) = World::new(config).connack(&named(V5));
    assert_eq!(
        connack.properties,
        [
            (id::RECEIVE_MAXIMUM, Value::Two(7)),
            (id::MAXIMUM_PACKET_SIZE, Value::Four(1234)),
            (id::TOPIC_ALIAS_MAXIMUM, Value::Two(5)),
        ]
    );
}

#[test]
fn a_message_above_the_maximum_qos_ends_the_connection() {
    // [MQTT-3.2.2-11]
    for version in Version::ALL {
        for (max, qos) in [
            (QoS::AtMostOnce, 1),
            (QoS::AtMostOnce, 2),
            (QoS::AtLeastOnce, 2),
        ] {
            let mut world = World::new(Config {
                max_qos: max,
                ..config()
            });
            let watcher = watch(&mut world);
            let client = world.connect_with(&named(version).will(Will::new("will", "gone")));
            let publish = wire::publish(version, "t", "x");
            // The twin.
            match max {
                QoS::AtMostOnce => world.send(client, publish.bytes()),
                _ => {
                    world.send(client, publish.clone().qos(1, 1).bytes());
                    world.expect(client, kind::PUBACK);
                }
            }
            world.expect_nothing(client);
            world.send(client, publish.qos(qos, 2).bytes());
            world.expect_end(client, 0x9b);
            assert_eq!(world.messages(watcher).len(), 1, "the will");
            assert_eq!(world.broker.counters().ended_not_supported, 1);
        }
    }
}

#[test]
fn a_will_that_cannot_be_kept_is_refused() {
    // [MQTT-3.2.2-12], [MQTT-3.2.2-13]
    for version in Version::ALL {
        for (max_qos, retain_available, qos, retain, code) in [
            (QoS::AtMostOnce, true, 1, false, 0x9b),
            (QoS::AtMostOnce, true, 2, false, 0x9b),
            (QoS::AtLeastOnce, true, 2, false, 0x9b),
            (QoS::ExactlyOnce, false, 0, true, 0x9a),
        ] {
            let mut world = World::new(Config {
                max_qos,
                retain_available,
                ..config()
            });
            let watcher = watch(&mut world);
            let mut will = Will::new("will", "gone");
            (will.qos, will.retain) = (qos, retain);
            let (client, refused) = world.try_connect(&named(version).will(will.clone()));
            assert_eq!(refused.code, if version.is_v5() { code } else { 3 });
            assert!(world.is_closed(client) && !refused.session_present);
            world.expect_nothing(watcher);
            // The twin.
            (will.qos, will.retain) = (qos.min(max_qos as u8), false);
            let client = world.connect_with(&named(version).will(will));
            world.hang_up(client);
            assert_eq!(world.messages(watcher).len(), 1);
        }
    }
}

#[test]
fn a_message_to_be_retained_ends_the_connection_where_nothing_is() {
    // [MQTT-3.2.2-14]
    for version in Version::ALL {
        for payload in ["x", ""] {
            let mut world = World::new(Config {
                retain_available: false,
                ..config()
            });
            let client = world.connect(version, "a");
            world.subscribe(client, "t", 0);
            world.publish(client, "t", payload);
            assert!(!world.expect_message(client).retain);
            world.publish_retained(client, "t", payload);
            world.expect_end(client, 0x9a);
            assert_eq!(world.broker.retained_messages(), 0);
        }
    }
}

/// A broker without one kind of subscription, what makes use of it, what does not, and the reason.
type Kind = (fn(&mut Config), &'static str, &'static str, Properties, u8);

fn kinds_of_subscription() -> [Kind; 3] {
    let identifier = Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(1));
    [
        (
            |it| it.wildcard_subscriptions_available = false,
            "a/+",
            "$share/g/a",
            identifier.clone(),
            0xa2,
        ),
        (
            |it| it.shared_subscriptions_available = false,
            "$share/g/a",
            "a/+",
            identifier,
            0x9e,
        ),
        (
            |it| it.subscription_identifiers_available = false,
            "a/+",
            "$share/g/a",
            Properties::new(),
            0xa1,
        ),
    ]
}

#[test]
fn a_subscription_of_a_kind_that_is_not_offered_ends_the_connection() {
    // Sections 3.2.2.3.11 to 3.2.2.3.13
    for (change, wrong, right, with, reason) in kinds_of_subscription() {
        let mut config = config();
        change(&mut config);
        let mut world = World::new(config);
        let client = world.connect(V5, "a");
        // The twins: everything else is granted.
        let filters = [(right, 0), ("plain", 0)];
        world.send(client, wire::subscribe_with(V5, 1, &with, &filters));
        let suback = world.expect(client, kind::SUBACK).suback(V5);
        assert_eq!(suback.codes, [0, 0]);
        assert_eq!(world.broker.subscriptions(), 2);
        let with = match reason {
            0xa1 => Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(1)),
            _ => with,
        };
        let filters = [("before", 0), (wrong, 0)];
        world.send(client, wire::subscribe_with(V5, 2, &with, &filters));
        world.expect_end(client, reason);
        assert_eq!(world.broker.counters().ended_not_supported, 1);
    }
}

#[test]
fn before_mqtt_5_a_filter_that_is_not_offered_is_refused_alone() {
    // 3.1.1 [MQTT-3.8.3-2]. MQTT 3.1 cannot say it, and the connection ends.
    for (change, wrong, right, _, reason) in kinds_of_subscription() {
        if reason == 0xa1 {
            continue; // There are no identifiers.
        }
        for version in [Version::V3_1, Version::V3_1_1] {
            let mut config = config();
            change(&mut config);
            let mut world = World::new(config);
            let client = world.connect(version, "a");
            world.send(client, wire::subscribe(version, 1, &[(right, 0)]));
            let codes = world.expect(client, kind::SUBACK).suback(version).codes;
            assert_eq!(codes, [0]);
            let filters = [("plain", 1), (wrong, 0), (right, 0)];
            world.send(client, wire::subscribe(version, 2, &filters));
            if version == Version::V3_1 {
                world.expect_end(client, 0);
                continue;
            }
            let codes = world.expect(client, kind::SUBACK).suback(version).codes;
            assert_eq!(codes, [1, 0x80, 0]);
            assert!(!world.is_closed(client));
            assert_eq!(world.broker.subscriptions(), 2);
        }
    }
}

#[test]
fn response_information_too_large_for_a_client_does_not_keep_it_out() {
    // [MQTT-3.1.2-24]
    let information = "x".repeat(100);
    for size in [100, 200] {
        let mut world = World::new(Config {
            response_information: Some(information.clone().into()),
            ..config()
        });
        let properties = Properties::new()
            .with(id::REQUEST_RESPONSE_INFORMATION, Value::Byte(1))
            .with(id::MAXIMUM_PACKET_SIZE, Value::Four(size));
        let (_, connack) = world.connack(&named(V5).properties(properties));
        assert_eq!(connack.code, 0);
        let told = connack.property(id::RESPONSE_INFORMATION).is_some();
        assert_eq!(told, size == 200);
    }
}

#[test]
fn refusals_and_goodbyes_have_words_for_those_who_want_no_others_too() {
    // [MQTT-3.1.2-29] allows for them in CONNACK and DISCONNECT.
    for value in [0, 1] {
        let mut world = World::default();
        let connect = named(V5).with(id::REQUEST_PROBLEM_INFORMATION, Value::Byte(value));
        let client = world.connect_with(&connect);
        world.send(client, [0x00]);
        let disconnect = world.expect(client, kind::DISCONNECT).disconnect();
        assert_eq!(disconnect.properties[0].0, id::REASON_STRING);
        let (_, refused) = world.try_connect(&connect.will(Will::new("a/#", "x")));
        assert_eq!(refused.code, 0x90);
        assert!(refused.property(id::REASON_STRING).is_some());
    }
}
