//! The tests' own encoder and decoder against packets written out by hand, from the specification.

use proptest::prelude::*;
use wherry_tests::wire::{self, Properties, Value, Version, Will, id, kind};

#[test]
fn connect_in_every_version() {
    let connect = |version| wire::connect(version).client_id("a").keep_alive(10);
    let v3_1 = connect(Version::V3_1).bytes();
    assert_eq!(v3_1, b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x0a\0\x01a");
    let v3_1_1 = connect(Version::V3_1_1).username("u").password("p").bytes();
    assert_eq!(
        v3_1_1,
        b"\x10\x13\0\x04MQTT\x04\xc2\0\x0a\0\x01a\0\x01u\0\x01p"
    );
    let will = Will {
        qos: 1,
        retain: true,
        ..Will::new("w", "!")
    };
    let properties = Properties::new().with(id::RECEIVE_MAXIMUM, Value::Two(5));
    let v5 = connect(Version::V5)
        .clean(false)
        .will(will)
        .properties(properties)
        .bytes();
    assert_eq!(
        v5,
        b"\x10\x18\0\x04MQTT\x05\x2c\0\x0a\x03\x21\0\x05\0\x01a\0\0\x01w\0\x01!"
    );
}

#[test]
fn other_packets() {
    let v5 = Version::V5;
    let v3 = Version::V3_1_1;
    assert_eq!(
        wire::publish(v3, "a", "x").retain().bytes(),
        b"\x31\x04\0\x01ax"
    );
    assert_eq!(
        wire::publish(v5, "a", "x").qos(2, 258).bytes(),
        b"\x34\x07\0\x01a\x01\x02\0x"
    );
    assert_eq!(
        wire::subscribe(v3, 1, &[("a", 2)]),
        b"\x82\x06\0\x01\0\x01a\x02"
    );
    assert_eq!(
        wire::subscribe(v5, 1, &[("a", 2)]),
        b"\x82\x07\0\x01\0\0\x01a\x02"
    );
    assert_eq!(wire::unsubscribe(v3, 1, &["a"]), b"\xa2\x05\0\x01\0\x01a");
    assert_eq!(wire::disconnect(v3, 4), b"\xe0\0");
    assert_eq!(wire::disconnect(v5, 4), b"\xe0\x02\x04\0");
}

#[test]
fn acknowledgements_in_every_form() {
    let reason = Properties::new().with(id::REASON_STRING, Value::Text("no".into()));
    assert_eq!(wire::ack(kind::PUBACK, 258), b"\x40\x02\x01\x02");
    assert_eq!(wire::ack(kind::PUBREL, 1), b"\x62\x02\0\x01");
    let full = wire::ack_with(kind::PUBREC, 1, 0x97, &reason);
    assert_eq!(full, b"\x50\x09\0\x01\x97\x05\x1f\0\x02no");
    assert_eq!(wire::auth(0x19, &reason), b"\xf0\x07\x19\x05\x1f\0\x02no");
    let text = [(31, Value::Text("no".into()))];
    for (mut bytes, said, properties) in [
        (full, 0x97, &text[..]),
        (b"\x50\x03\0\x01\x10".to_vec(), 0x10, &[]),
        (b"\x50\x04\0\x01\x10\0".to_vec(), 0x10, &[]),
        (wire::ack(kind::PUBREC, 1), 0, &[]),
    ] {
        let packet = wire::take_packet(&mut bytes).unwrap();
        let ack = packet.ack(kind::PUBREC, Version::V5);
        assert_eq!((ack.packet_id, ack.reason), (1, said));
        assert_eq!(ack.properties, properties);
        assert!(bytes.is_empty());
    }
    let mut bytes = wire::ack(kind::PUBREL, 7);
    let packet = wire::take_packet(&mut bytes).unwrap();
    assert_eq!(packet.ack(kind::PUBREL, Version::V3_1).packet_id, 7);
    let mut bytes = b"\xf0\x07\x18\x05\x1f\0\x02no".to_vec();
    let auth = wire::take_packet(&mut bytes).unwrap().auth();
    assert_eq!((auth.reason, &auth.properties[..]), (0x18, &text[..]));
}

#[test]
fn answers_are_taken_apart() {
    let mut bytes = b"\x20\x08\0\x87\x05\x1f\0\x02no\x90\x03\0\x07\x80\xe0".to_vec();
    let connack = wire::take_packet(&mut bytes).unwrap().connack(Version::V5);
    assert_eq!((connack.session_present, connack.code), (false, 0x87));
    assert_eq!(connack.properties, [(31, Value::Text("no".into()))]);
    let suback = wire::take_packet(&mut bytes)
        .unwrap()
        .suback(Version::V3_1_1);
    assert_eq!((suback.packet_id, suback.codes), (7, vec![0x80]));
    assert!(wire::take_packet(&mut bytes).is_none());
    bytes.extend(b"\x02\x8e\0");
    assert_eq!(
        wire::take_packet(&mut bytes).unwrap().disconnect().reason,
        0x8e
    );
    assert!(bytes.is_empty());
}

proptest! {
    #[test]
    fn a_publish_comes_back_as_it_was_sent(
        topic in "[^+#\0]{1,40}",
        payload: Vec<u8>,
        pairs: Vec<(String, String)>,
    ) {
        let mut properties = Properties::new();
        for (name, value) in &pairs {
            properties = properties.user(name, value);
        }
        let publish = wire::publish(Version::V5, &topic, &payload).properties(properties);
        let mut bytes = publish.bytes();
        let publish = wire::take_packet(&mut bytes).unwrap().publish(Version::V5);
        prop_assert_eq!(publish.topic, topic);
        prop_assert_eq!(publish.payload, payload);
        let wanted: Vec<_> =
            pairs.into_iter().map(|(name, value)| (38, Value::Pair(name, value))).collect();
        prop_assert_eq!(publish.properties, wanted);
    }
}
