//! One message, from end to end: payloads, properties, order, versions.

use crate::broker::BinaryUnderTest;
use crate::client::Client;
use crate::random::Random;
use crate::suite::versions;
use crate::wire::{self, Properties, Value, Version, id};

/// What an MQTT 5 message may carry.
pub(super) fn all_properties() -> Properties {
    Properties::new()
        .with(id::PAYLOAD_FORMAT_INDICATOR, Value::Byte(1))
        .user("first", "1")
        .with(id::CONTENT_TYPE, Value::Text("text/plain".into()))
        .user("second", "")
        .with(id::RESPONSE_TOPIC, Value::Text("answer/here".into()))
        .with(id::CORRELATION_DATA, Value::Binary(vec![0, 1, 255]))
        .user("first", "again")
        .user("", "\u{1f6f6}")
}

/// What comes out of `all_properties`: their order is free, but for that of the user properties.
pub(super) fn assert_all_properties(properties: &[(u8, Value)]) {
    let (user, mut others): (Vec<_>, Vec<_>) = properties
        .iter()
        .cloned()
        .partition(|(id, _)| *id == id::USER_PROPERTY);
    let pair = |name: &str, value: &str| (38, Value::Pair(name.into(), value.into()));
    let wanted = [
        pair("first", "1"),
        pair("second", ""),
        pair("first", "again"),
        pair("", "\u{1f6f6}"),
    ];
    assert_eq!(user, wanted, "user properties keep their order");
    others.sort();
    let wanted = [
        (1, Value::Byte(1)),
        (3, Value::Text("text/plain".into())),
        (8, Value::Text("answer/here".into())),
        (9, Value::Binary(vec![0, 1, 255])),
    ];
    assert_eq!(others, wanted);
}

/// MQTT 5: all properties of a message reach the subscriber unaltered, user properties in order
/// [MQTT-3.3.2-4, -15 to -20], live and retained.
pub fn properties_are_carried_end_to_end(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let version = Version::V5;
    let mut publisher = Client::connect(&broker, version, "publisher");
    let mut live = Client::connect(&broker, version, "live");
    live.subscribe("carried/#");
    let publish = wire::publish(version, "carried", "h\u{e9}").properties(all_properties());
    publisher.send(publish.retain().bytes());
    assert_all_properties(&live.expect_publish("carried", "h\u{e9}", false).properties);
    let mut late = Client::connect(&broker, version, "late");
    late.subscribe("carried");
    assert_all_properties(&late.expect_publish("carried", "h\u{e9}", true).properties);
}

/// A live message keeps its Message Expiry Interval [MQTT-3.3.2-6].
pub fn message_expiry_is_passed_on(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let version = Version::V5;
    let mut client = Client::connect(&broker, version, "expiring");
    client.subscribe("expiring");
    for seconds in [60, u32::MAX] {
        let expiry = Properties::new().with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(seconds));
        client.send(
            wire::publish(version, "expiring", "soon")
                .properties(expiry)
                .bytes(),
        );
        let publish = client.expect_publish("expiring", "soon", false);
        match publish.property(id::MESSAGE_EXPIRY_INTERVAL) {
            Some(Value::Four(left)) => assert!(*left <= seconds && *left >= seconds - 5, "{left}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Between versions a message keeps topic, payload and order; its properties end where a version
/// knows none.
pub fn messages_cross_versions(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut readers = Version::ALL.map(|version| {
        let mut client = Client::connect(&broker, version, &format!("reader {version:?}"));
        client.subscribe("across/+");
        client
    });
    for version in versions() {
        let mut publisher = Client::connect(&broker, version, "publisher");
        let publish = wire::publish(version, "across/a", "one").properties(all_properties());
        publisher.send(publish.bytes());
        publisher.publish("across/b", "");
        for reader in &mut readers {
            let publish = reader.expect_publish("across/a", "one", false);
            if version.is_v5() && reader.version().is_v5() {
                assert_all_properties(&publish.properties);
            } else {
                assert_eq!(publish.properties, []);
            }
            assert_eq!(reader.expect_publish("across/b", "", false).properties, []);
        }
    }
}

/// Payloads are bytes and nothing else: every value, no payload, and all lengths around those where
/// the length field grows.
pub fn payloads_are_carried_unaltered(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut random = Random::new(1);
    for version in versions() {
        let mut client = Client::connect(&broker, version, "payload");
        client.subscribe("payload");
        let all: Vec<u8> = (0..=255).collect();
        client.publish("payload", &all);
        client.expect_publish("payload", &all, false);
        let overhead = wire::publish(version, "payload", "").bytes().len() - 2;
        for around in [128, 16_384, 2_097_152] {
            for len in around - 2..=around + 1 {
                let payload = random.bytes(len - overhead);
                client.publish("payload", &payload);
                client.expect_publish("payload", &payload, false);
            }
        }
    }
}

/// A payload of 1 MiB reaches several subscribers, whole and unaltered.
pub fn large_payloads_reach_every_subscriber(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let payload = Random::new(2).bytes(1 << 20);
    for version in versions() {
        let mut readers: Vec<_> = (0..6_usize)
            .map(|n| {
                let mut client = Client::connect(&broker, Version::ALL[n % 3], &format!("r{n}"));
                client.subscribe("large/#");
                client
            })
            .collect();
        let mut publisher = Client::connect(&broker, version, "publisher");
        for n in 0..3 {
            publisher.publish(&format!("large/{n}"), &payload);
        }
        for reader in &mut readers {
            for n in 0..3 {
                reader.expect_publish(&format!("large/{n}"), &payload, false);
            }
            reader.ping();
        }
    }
}

/// The longest topic there can be, and the longest payload beside it.
pub fn long_topics_are_carried(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let topic = "t".repeat(65_535);
    for version in versions() {
        let mut client = Client::connect(&broker, version, "long");
        client.subscribe(&topic);
        client.publish(&topic, "far");
        client.expect_publish(&topic, "far", false);
    }
}

/// Ten thousand messages of one publisher arrive in order [MQTT-4.6.0-5], and each once.
pub fn messages_keep_their_order(binary: &BinaryUnderTest) {
    const COUNT: usize = 10_000;
    let broker = binary.start();
    for version in versions() {
        let mut subscriber = Client::connect(&broker, version, "subscriber");
        subscriber.subscribe("order/#");
        let mut publisher = Client::connect(&broker, version, "publisher");
        let packets: Vec<u8> = (0..COUNT)
            .flat_map(|n| wire::publish(version, format!("order/{}", n % 7), n.to_string()).bytes())
            .collect();
        publisher.send(packets);
        for n in 0..COUNT {
            let payload = n.to_string();
            subscriber.expect_publish(&format!("order/{}", n % 7), payload, false);
        }
        subscriber.expect_nothing_from(&mut publisher);
    }
}

/// QoS 3 does not exist [MQTT-3.3.1-4], and QoS 0 has no DUP [MQTT-3.3.1-2].
pub fn publish_of_no_qos(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = Client::connect(&broker, Version::V5, "watcher");
    watcher.subscribe("qos/#");
    for version in versions() {
        for packet in [
            wire::publish(version, "qos/three", "x").qos(3, 1),
            wire::publish(version, "qos/three", "x").qos(3, 1).dup(),
            wire::publish(version, "qos/zero", "x").dup(),
        ] {
            // MQTT 3.1 says nothing of DUP at QoS 0.
            if version == Version::V3_1 && packet.bytes()[0] == 0x38 {
                continue;
            }
            let mut client = Client::connect(&broker, version, "eager");
            client.send(packet.bytes());
            client.expect_end(0x81);
        }
    }
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    watcher.expect_nothing_from(&mut publisher);
}

/// A topic name with a wildcard is none [MQTT-3.3.2-2]: 0x90 on MQTT 5, the end on every version.
pub fn wildcards_in_topic_names_are_refused(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = Client::connect(&broker, Version::V5, "watcher");
    watcher.subscribe("#");
    for version in versions() {
        for topic in ["#", "+", "a/#", "a/+/b", "a+", "a#b"] {
            let mut client = Client::connect(&broker, version, "wild");
            client.publish(topic, "x");
            client.expect_end(0x90);
        }
    }
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    watcher.expect_nothing_from(&mut publisher);
    drop((watcher, publisher));
    let stopped = broker.stop();
    // Whether the codec or the broker finds it is nobody's business but theirs.
    let counters = ["ended_topic_invalid", "ended_protocol_error"];
    assert_eq!(
        counters
            .map(|name| stopped.counter(name))
            .iter()
            .sum::<u64>(),
        18
    );
}

/// MQTT 5: a response topic is a topic name too [MQTT-3.3.2-14].
pub fn wildcards_in_response_topics_are_refused(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for topic in ["#", "a/+"] {
        let mut client = Client::connect(&broker, Version::V5, "wild");
        let response = Properties::new().with(id::RESPONSE_TOPIC, Value::Text(topic.into()));
        client.send(
            wire::publish(Version::V5, "ok", "")
                .properties(response)
                .bytes(),
        );
        let said = client.expect_any().disconnect().reason;
        // No clause names the reason; these are the two that fit.
        assert!([0x82, 0x90].contains(&said), "{said:#04x}");
        client.expect_closed();
    }
}
