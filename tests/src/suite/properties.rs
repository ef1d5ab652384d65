//! Topic aliases, problem information and other things that only MQTT 5 has.

use std::collections::BTreeMap;

use crate::broker::BinaryUnderTest;
use crate::client::Client;
use crate::wire::{self, Properties, Value, Version, id, kind};

const V5: Version = Version::V5;

fn alias(topic: &str, alias: u16) -> wire::PublishBuilder {
    wire::publish(V5, topic, "x").with(id::TOPIC_ALIAS, Value::Two(alias))
}

/// A client's aliases stand for topics on its own connection, up to the maximum that CONNACK tells
/// [MQTT-3.3.2-7, MQTT-3.3.2-12].
pub fn aliases_of_clients(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let connect = wire::lasting(V5, "aliases");
    let (mut client, connack) = Client::connect_with(&broker, &connect);
    let maximum = connack.property(id::TOPIC_ALIAS_MAXIMUM);
    assert_eq!(maximum, Some(&Value::Two(16)));
    let mut reader = Client::connect(&broker, Version::V3_1_1, "reader");
    reader.subscribe("#");
    client.send(alias("first", 1).bytes());
    client.send(alias("last", 16).bytes());
    client.send(alias("", 1).bytes());
    client.send(alias("", 16).qos(1, 7).bytes());
    client.expect_ack(kind::PUBACK, 7);
    client.send(alias("other", 1).bytes());
    client.send(alias("", 1).bytes());
    for topic in ["first", "last", "first", "last", "other", "other"] {
        reader.expect_publish(topic, "x", false);
    }
    drop(client);
    let mut client = Client::resume(&broker, &connect);
    client.send(alias("", 1).bytes());
    client.expect_end(0x82);
    let mut client = Client::resume(&broker, &connect);
    client.send(alias("above", 17).bytes());
    client.expect_end(0x94);
    let mut client = Client::resume(&broker, &connect);
    client.send(alias("zero", 0).bytes());
    client.expect_end(0x94);
    reader.ping();
}

/// A client that allows for aliases gets hot topics by them, within its maximum; what it has not
/// heard of in full on this connection it is never told by alias.
pub fn aliases_to_clients(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut publisher = Client::connect(&broker, V5, "publisher");
    for maximum in [1, 5, 0xffff] {
        let connect = wire::connect(V5)
            .client_id("reader")
            .with(id::TOPIC_ALIAS_MAXIMUM, Value::Two(maximum));
        let (mut reader, _) = Client::connect_with(&broker, &connect);
        reader.subscribe_at("hot/#", 1);
        let mut aliases = BTreeMap::new();
        let mut in_full = 0;
        for n in 0..200 {
            let topic = format!("hot/{}", [0, 0, 1, n % 30][n % 4]);
            if n % 2 == 0 {
                publisher.publish(&topic, "x");
            } else {
                publisher.publish_at(1, &topic, "x");
            }
            let got = reader.expect_any().publish(V5);
            reader.acknowledge(&got);
            let alias = match got.property(id::TOPIC_ALIAS) {
                Some(Value::Two(alias)) => *alias,
                _ => 0,
            };
            assert!(alias <= maximum);
            in_full += usize::from(!got.topic.is_empty());
            if got.topic.is_empty() {
                assert_eq!(aliases.get(&alias), Some(&topic));
            } else {
                assert_eq!(got.topic, topic);
                aliases.insert(alias, topic);
            }
        }
        assert!(in_full < 160, "{in_full} of 200 in full");
        reader.disconnect();
    }
}

/// Who asks for no problem information gets no words but where they are always allowed
/// [MQTT-3.1.2-29]; user properties of messages are no problem information.
pub fn problem_information_is_left_out(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let connect = wire::connect(V5)
        .client_id("terse")
        .with(id::REQUEST_PROBLEM_INFORMATION, Value::Byte(0));
    let (mut client, _) = Client::connect_with(&broker, &connect);
    for (qos, kind) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
        for (packet_id, topic, reason) in [(8, "nobody", 0x10), (9, "$SYS/x", 0x90)] {
            let publish = wire::publish(V5, topic, "x").qos(qos, packet_id);
            client.send(publish.bytes());
            let ack = client.expect_any().ack(kind, V5);
            assert_eq!((ack.reason, ack.properties), (reason, vec![]));
        }
    }
    client.send(wire::subscribe(V5, 3, &[("a#", 0), ("$share/g", 0)]));
    let suback = client.expect_any().suback(V5);
    assert_eq!(
        (suback.codes, suback.properties),
        (vec![0x8f, 0x8f], vec![])
    );
    client.send(wire::unsubscribe(V5, 4, &["a#", "x"]));
    let unsuback = client.expect_any().unsuback(V5);
    assert_eq!(
        (unsuback.codes, unsuback.properties),
        (vec![0x8f, 0x11], vec![])
    );
    client.ack(kind::PUBREC, 99);
    let pubrel = client.expect_any().ack(kind::PUBREL, V5);
    assert_eq!((pubrel.reason, pubrel.properties), (0x92, vec![]));
    client.subscribe("user");
    let publish = wire::publish(V5, "user", "x").properties(Properties::new().user("k", "v"));
    client.send(publish.bytes());
    assert_eq!(
        client.expect_publish("user", "x", false).properties.len(),
        1
    );
}

/// A retained message names the subscription that brings it, and no other [MQTT-3.3.4-3].
pub fn retained_messages_name_their_subscription(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut client = Client::connect(&broker, V5, "numbers");
    client.publish_retained("kept/a", "x");
    for (number, filter) in [(1, "kept/a"), (2, "kept/+"), (300, "#")] {
        let properties =
            Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(number));
        assert_eq!(client.subscribe_with(&properties, &[(filter, 1)]), [1]);
        let got = client.expect_publish("kept/a", "x", true);
        assert_eq!(got.subscription_identifiers(), [number]);
    }
    client.publish("kept/a", "live");
    let got = client.expect_publish("kept/a", "live", false);
    assert_eq!(got.subscription_identifiers(), [1, 2, 300]);
    client.ping();
}

/// Retained messages come at the lower QoS [MQTT-3.8.4-8], all of them, within the window
/// [MQTT-3.3.4-9].
pub fn retained_messages_have_a_qos(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut publisher = Client::connect(&broker, V5, "publisher");
    let packets = (1..=1000).flat_map(|n: u16| {
        let publish = wire::publish(V5, format!("kept/{n}"), n.to_string());
        publish.retain().qos(1, n).bytes()
    });
    publisher.send(packets.collect::<Vec<u8>>());
    for n in 1..=1000 {
        publisher.expect_ack(kind::PUBACK, n);
    }
    for (granted, qos) in [(0, 0), (1, 1), (2, 1)] {
        let connect = wire::connect(V5)
            .client_id("narrow")
            .with(id::RECEIVE_MAXIMUM, Value::Two(5));
        let (mut reader, _) = Client::connect_with(&broker, &connect);
        reader.subscribe_at("kept/#", granted);
        let mut seen = BTreeMap::new();
        let mut open = Vec::new();
        while seen.len() < 1000 {
            let got = reader.expect_any().publish(V5);
            assert_eq!((got.qos, got.retain, got.dup), (qos, true, false));
            assert_eq!(seen.insert(got.topic.clone(), ()), None);
            open.push(got);
            if qos > 0 && open.len() == 5 {
                reader.ping();
                for message in open.drain(..) {
                    reader.ack(kind::PUBACK, message.packet_id.unwrap());
                }
            }
        }
        reader.ping();
        reader.disconnect();
    }
}
