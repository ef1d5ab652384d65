//! What MQTT 5 adds to packets, from end to end.

use wherry_core::Config;
use wherry_core::QueuePolicy;
use wherry_core::permission::{Access, Effect, Grant, Rule};
use wherry_tests::scenario::{Admission, World};
use wherry_tests::wire::{self, Properties, Value, Version, Will, id, kind};

fn everything() -> Properties {
    Properties::new()
        .user("z", "1")
        .with(id::PAYLOAD_FORMAT_INDICATOR, Value::Byte(1))
        .user("a", "2")
        .with(id::CONTENT_TYPE, Value::Text("text/plain".into()))
        .with(id::RESPONSE_TOPIC, Value::Text("answer/here".into()))
        .user("z", "1")
        .with(id::CORRELATION_DATA, Value::Binary(vec![0, 1, 255]))
        .user("", "")
}

/// What `everything` is: user properties in order, the others in any.
#[track_caller]
fn assert_everything(properties: &[(u8, Value)]) {
    let mut properties = properties.to_vec();
    properties.sort_by_key(|(id, _)| *id);
    let user = |name: &str, value: &str| (38, Value::Pair(name.into(), value.into()));
    let wanted = [
        (1, Value::Byte(1)),
        (3, Value::Text("text/plain".into())),
        (8, Value::Text("answer/here".into())),
        (9, Value::Binary(vec![0, 1, 255])),
        user("z", "1"),
        user("a", "2"),
        user("z", "1"),
        user("", ""),
    ];
    assert_eq!(properties, wanted);
}

fn numbered(number: u32) -> Properties {
    Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(number))
}

#[test]
fn all_properties_arrive_on_every_way_a_message_can_take() {
    // [MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-20]
    for qos in 0..=2u8 {
        let mut world = World::default();
        let publisher = world.connect(Version::V5, "publisher");
        let live = world.connect(Version::V5, "live");
        let member = world.connect(Version::V5, "member");
        let connect = wire::lasting(Version::V5, "absent");
        let absent = world.connect_with(&connect);
        world.subscribe(live, "t", qos);
        world.subscribe(member, "$share/g/t", qos);
        world.subscribe(absent, "t", qos);
        world.hang_up(absent);
        let mut publish = wire::publish(Version::V5, "t", "x").retain();
        if qos > 0 {
            publish = publish.qos(qos, 1);
        }
        world.send(publisher, publish.properties(everything()).bytes());
        let absent = world.resume(&connect);
        let late = world.connect(Version::V5, "late");
        world.subscribe(late, "t", qos);
        for client in [live, member, late] {
            assert_everything(&world.drain(client)[0].properties);
        }
        let waited = world.messages(absent);
        assert_eq!(waited.len(), usize::from(qos > 0));
        world.hang_up(absent);
        let absent = world.resume(&connect);
        for again in world.drain(absent) {
            assert!(again.dup);
            assert_everything(&again.properties);
        }
        let mut will = Will::new("t", "will");
        will.qos = qos;
        will.properties = everything();
        let mortal = world.connect_with(&wire::connect(Version::V5).client_id("m").will(will));
        world.hang_up(mortal);
        for client in [live, member, absent, late] {
            let got = world.drain(client);
            assert_eq!((got.len(), &got[0].payload[..]), (1, &b"will"[..]));
            assert_everything(&got[0].properties);
        }
    }
}

#[test]
fn subscription_identifiers_come_with_what_waited_and_with_what_comes_again() {
    // [MQTT-3.3.4-3] to [MQTT-3.3.4-5]
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let connect = wire::lasting(Version::V5, "a");
    let client = world.connect_with(&connect);
    for (number, filter) in [(1, "t/+"), (2, "#"), (128, "t/1")] {
        let subscribe = wire::subscribe_with(Version::V5, 1, &numbered(number), &[(filter, 1)]);
        world.send(client, subscribe);
        world.expect(client, kind::SUBACK);
    }
    world.hang_up(client);
    world.publish_acked(publisher, "t/1", "x");
    world.publish_acked(publisher, "t/2", "x");
    for _ in 0..2 {
        let client = world.resume(&connect);
        let got = world.messages(client);
        assert_eq!(got[0].subscription_identifiers(), [1, 2, 128]);
        assert_eq!(got[1].subscription_identifiers(), [1, 2]);
        world.hang_up(client);
    }
}

#[test]
fn a_retained_message_names_the_subscription_that_brought_it() {
    // [MQTT-3.3.4-3]: live messages name all that match, a replay is that of one subscription.
    let mut world = World::default();
    let client = world.connect(Version::V5, "a");
    world.publish_retained(client, "t/1", "x");
    for (number, filter) in [(1, "t/+"), (2, "#")] {
        let subscribe = wire::subscribe_with(Version::V5, 1, &numbered(number), &[(filter, 1)]);
        world.send(client, subscribe);
        world.expect(client, kind::SUBACK);
        let got = world.drain(client);
        assert_eq!(got.len(), 1);
        assert!(got[0].retain);
        assert_eq!(got[0].subscription_identifiers(), [number]);
    }
    // In one SUBSCRIBE: one replay for each filter.
    let filters = [("t/1", 0), ("+/1", 0)];
    let subscribe = wire::subscribe_with(Version::V5, 1, &numbered(3), &filters);
    world.send(client, subscribe);
    world.expect(client, kind::SUBACK);
    let got = world.drain(client);
    assert_eq!(got.len(), 2);
    assert!(got.iter().all(|m| m.subscription_identifiers() == [3]));
}

#[test]
fn very_many_subscription_identifiers_come_all() {
    let mut world = World::default();
    let client = world.connect(Version::V5, "a");
    let filters = (0..8u32).flat_map(|n| {
        let level = |bit: u32, name: &'static str| if n >> bit & 1 == 1 { "+" } else { name };
        [format!(
            "{}/{}/{}",
            level(0, "a"),
            level(1, "b"),
            level(2, "c")
        )]
    });
    let filters: Vec<String> = filters
        .chain(["#", "a/#", "+/#", "a/b/#", "a/+/#", "a/b/c/#"].map(Into::into))
        .collect();
    for (number, filter) in (1..).zip(&filters) {
        let subscribe = wire::subscribe_with(Version::V5, 1, &numbered(number), &[(filter, 2)]);
        world.send(client, subscribe);
        world.expect(client, kind::SUBACK);
    }
    let publisher = world.connect(Version::V5, "publisher");
    world.publish_released(publisher, "a/b/c", "x");
    let got = world.drain(client);
    assert_eq!(got.len(), 1);
    let wanted: Vec<u32> = (1..).take(filters.len()).collect();
    assert_eq!(got[0].subscription_identifiers(), wanted);
}

#[test]
fn who_wants_no_problem_information_gets_none_but_where_it_is_always_allowed() {
    // [MQTT-3.1.2-29]
    let config = Config {
        max_queued_messages: 1,
        max_subscriptions: 1,
        queue_policy: QueuePolicy::Reject,
        ..Config::default()
    };
    let mut world = World::new(config);
    let full = world.connect_with(&wire::lasting(Version::V5, "full"));
    world.subscribe(full, "full", 1);
    world.hang_up(full);
    let rule = Rule {
        effect: Effect::Deny,
        access: Access::Publish,
        filter: "secret".into(),
    };
    world.admission = Admission::Everyone(Grant::from_rules(vec![rule], Effect::Allow));
    let connect = wire::connect(Version::V5)
        .client_id("a")
        .with(id::REQUEST_PROBLEM_INFORMATION, Value::Byte(0));
    let client = world.connect_with(&connect);
    world.subscribe(client, "t", 2);
    for (topic, reason) in [
        ("full", 0),
        ("full", 0x97),
        ("secret", 0x87),
        ("$SYS/a", 0x90),
    ] {
        for (qos, kind) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
            // The first one fills the queue.
            if reason == 0 && qos == 2 {
                continue;
            }
            world.publish_at(client, qos, 1, topic, "x");
            let ack = world.expect_ack(client, kind);
            assert_eq!((ack.reason, ack.properties), (reason, vec![]), "{topic}");
        }
    }
    world.ack(client, kind::PUBREL, 9);
    let ack = world.expect_ack(client, kind::PUBCOMP);
    assert_eq!((ack.reason, ack.properties), (0x92, vec![]));
    world.ack(client, kind::PUBREC, 9);
    let ack = world.expect_ack(client, kind::PUBREL);
    assert_eq!((ack.reason, ack.properties), (0x92, vec![]));
    let filters = [("bad#", 0), ("one/too/many", 0), ("$share/g", 0)];
    world.send(client, wire::subscribe(Version::V5, 1, &filters));
    let suback = world.expect(client, kind::SUBACK).suback(Version::V5);
    assert_eq!(
        (suback.codes, suback.properties),
        (vec![0x8f, 0x97, 0x8f], vec![])
    );
    world.send(client, wire::unsubscribe(Version::V5, 1, &["nothing", "t"]));
    let unsuback = world.expect(client, kind::UNSUBACK).unsuback(Version::V5);
    assert_eq!(
        (unsuback.codes, unsuback.properties),
        (vec![0x11, 0], vec![])
    );
    // What is another's is no problem information: messages keep their user properties.
    world.subscribe(client, "t", 0);
    let publish = wire::publish(Version::V5, "t", "x").properties(everything());
    world.send(client, publish.bytes());
    assert_everything(&world.expect_message(client).properties);
}

#[test]
fn request_problem_information_has_two_values() {
    // Section 3.1.2.11.7
    for (value, code) in [(0, 0), (1, 0), (2, 0x82)] {
        let mut world = World::default();
        let connect = wire::connect(Version::V5)
            .client_id("a")
            .with(id::REQUEST_PROBLEM_INFORMATION, Value::Byte(value));
        assert_eq!(world.try_connect(&connect).1.code, code);
    }
}

#[test]
fn response_information_comes_to_those_who_ask_and_only_where_there_is_any() {
    // [MQTT-3.1.2-28]
    for (information, asked, told) in [
        (Some("answers/"), Some(1), Some("answers/")),
        (Some("answers/"), Some(0), None),
        (Some("answers/"), None, None),
        (None, Some(1), None),
    ] {
        let mut world = World::new(Config {
            response_information: information.map(Into::into),
            ..Config::default()
        });
        let mut connect = wire::connect(Version::V5).client_id("a");
        if let Some(asked) = asked {
            connect = connect.with(id::REQUEST_RESPONSE_INFORMATION, Value::Byte(asked));
        }
        let (_, connack) = world.connack(&connect);
        let said = connack.property(id::RESPONSE_INFORMATION);
        let told = told.map(|text| Value::Text(text.into()));
        assert_eq!(said, told.as_ref());
    }
}

#[test]
fn what_is_not_available_is_said_and_refused() {
    // Sections 3.2.2.3.5, .11, .12; `offers` has more of it.
    let mut world = World::new(Config {
        retain_available: false,
        wildcard_subscriptions_available: false,
        subscription_identifiers_available: false,
        ..Config::default()
    });
    let connect = wire::connect(Version::V5).client_id("a");
    let (client, connack) = world.connack(&connect);
    for id in [
        id::RETAIN_AVAILABLE,
        id::WILDCARD_SUBSCRIPTION_AVAILABLE,
        id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    ] {
        assert_eq!(connack.property(id), Some(&Value::Byte(0)), "{id}");
    }
    for filter in ["#", "+", "a/+", "a/#", "$share/g/#"] {
        let other = world.connect(Version::V5, "other");
        world.send(other, wire::subscribe(Version::V5, 1, &[(filter, 0)]));
        world.expect_end(other, 0xa2);
    }
    world.subscribe(client, "t", 1);
    let old = world.connect(Version::V3_1_1, "old");
    assert_eq!(world.subscribe_code(old, "#", 0), 0x80);
    let other = world.connect(Version::V5, "other");
    world.send(
        other,
        wire::subscribe_with(Version::V5, 1, &numbered(1), &[("t", 0)]),
    );
    world.expect_end(other, 0xa1);
    // [MQTT-3.2.2-14]
    let publish = wire::publish(Version::V5, "t", "x").retain().qos(1, 1);
    world.send(client, publish.bytes());
    world.expect_end(client, 0x9a);
    let mut will = Will::new("will", "x");
    will.retain = true;
    let connect = wire::connect(Version::V5).client_id("b").will(will);
    assert_eq!(world.try_connect(&connect).1.code, 0x9a); // [MQTT-3.2.2-13]
}

/// What the broker says in each of the four acknowledgements to a client that takes packets of that
/// size.
fn words_in_acknowledgements(size: u32) -> Vec<Vec<(u8, Value)>> {
    let mut world = World::default();
    let connect = wire::connect(Version::V5)
        .client_id("small")
        .with(id::MAXIMUM_PACKET_SIZE, Value::Four(size));
    let client = world.connect_with(&connect);
    let mut words = Vec::new();
    for (qos, kind) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
        world.publish_at(client, qos, 7, "$SYS/x", "x");
        let ack = world.expect_ack(client, kind);
        assert_eq!(ack.reason, 0x90);
        words.push(ack.properties);
    }
    for (kind, answer) in [(kind::PUBREC, kind::PUBREL), (kind::PUBREL, kind::PUBCOMP)] {
        world.ack(client, kind, 7);
        let ack = world.expect_ack(client, answer);
        assert_eq!(ack.reason, 0x92);
        words.push(ack.properties);
    }
    words
}

#[test]
fn words_that_make_an_acknowledgement_too_large_are_left_out() {
    // [MQTT-3.4.2-2], [MQTT-3.5.2-2], [MQTT-3.6.2-2], [MQTT-3.7.2-2]: the codes come all the same.
    assert_eq!(words_in_acknowledgements(16), vec![vec![]; 4]);
}

#[test]
fn acknowledgements_carry_at_most_one_reason_string() {
    // [MQTT-3.4.2-3], [MQTT-3.5.2-3], [MQTT-3.6.2-3], [MQTT-3.7.2-3]: no user properties.
    for properties in words_in_acknowledgements(10_000) {
        assert!(properties.len() <= 1);
        assert!(properties.iter().all(|(id, _)| *id == id::REASON_STRING));
    }
    // Where all goes well there is nothing to say at all, whatever the message has.
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let subscriber = world.connect(Version::V5, "subscriber");
    world.subscribe(subscriber, "t", 2);
    let user = Properties::new().user("k", "v");
    let none = |world: &mut World, client, kind| {
        let ack = world.expect_ack(client, kind);
        assert_eq!((ack.properties, ack.reason & !0x10), (vec![], 0));
    };
    for topic in ["t", "nobody's"] {
        let publish = wire::publish(Version::V5, topic, "x").properties(user.clone());
        world.send(publisher, publish.clone().qos(1, 7).bytes());
        none(&mut world, publisher, kind::PUBACK);
        world.send(publisher, publish.qos(2, 7).bytes());
        none(&mut world, publisher, kind::PUBREC);
        world.ack(publisher, kind::PUBREL, 7);
        none(&mut world, publisher, kind::PUBCOMP);
    }
    let first = world.expect_message(subscriber);
    world.acknowledge(subscriber, &first);
    let second = world.expect_message(subscriber).packet_id.unwrap();
    world.ack(subscriber, kind::PUBREC, second);
    none(&mut world, subscriber, kind::PUBREL);
}
