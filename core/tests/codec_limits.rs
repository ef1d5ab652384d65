//! The edges of what the wire can express, and the meaning of numbers.

mod support;

use ProtocolVersion::{V3_1_1, V5};
use support::bytes;
use wherry_core::packet::*;

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

#[test]
fn lengths_take_as_many_bytes_as_they_need() {
    // Table 1-1: the edges of each length of a variable byte integer.
    let edges: [(u32, &str); 8] = [
        (0, "00"),
        (127, "7F"),
        (128, "80 01"),
        (16_383, "FF 7F"),
        (16_384, "80 80 01"),
        (2_097_151, "FF FF 7F"),
        (2_097_152, "80 80 80 01"),
        (268_435_455, "FF FF FF 7F"),
    ];
    for (length, notation) in edges {
        let wire = bytes(&format!("30 {notation}"));
        let header = FixedHeader::parse(&wire).expect("right").expect("complete");
        assert_eq!(header.remaining_length, length);
        assert_eq!(header.header_len, wire.len());
        assert_eq!(header.packet_len(), wire.len() + length as usize);
        for cut in 0..wire.len() {
            assert_eq!(FixedHeader::parse(&wire[..cut]), Ok(None));
        }
    }
}

#[test]
fn what_the_wire_cannot_express_leaves_the_buffer_alone() {
    let long = "x".repeat(65_536);
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "t",
        packet_id: None,
        properties: Properties::EMPTY,
        payload: &[],
    };
    let zero = [Property::SubscriptionIdentifier(0)];
    let large = [Property::SubscriptionIdentifier(268_435_456)];
    let highest = [Property::MaximumQoS(QoS::ExactlyOnce)];
    let connack = |properties| {
        Packet::ConnAck(ConnAck {
            session_present: false,
            reason: ReasonCode::Success,
            properties: Properties::from_slice(properties),
        })
    };
    let with = |properties| {
        Packet::Publish(Publish {
            properties: Properties::from_slice(properties),
            ..publish
        })
    };
    let no_reasons = Packet::SubAck(SubAck {
        packet_id: id(1),
        properties: Properties::EMPTY,
        reasons: &[],
    });
    let no_filters = Packet::Subscribe(Subscribe {
        packet_id: id(1),
        properties: Properties::EMPTY,
        filters: Subscriptions::from(&[][..]),
    });
    let with_id = Packet::Publish(Publish {
        packet_id: Some(id(1)),
        ..publish
    });
    let without_id = Packet::Publish(Publish {
        qos: QoS::AtLeastOnce,
        ..publish
    });
    let long_topic = Packet::Publish(Publish {
        topic: &long,
        ..publish
    });
    let cases = [
        (long_topic, EncodeError::FieldTooLong),
        (with_id, EncodeError::PacketIdMismatch),
        (without_id, EncodeError::PacketIdMismatch),
        (with(&zero), EncodeError::OutOfRange),
        (with(&large), EncodeError::OutOfRange),
        (connack(&highest), EncodeError::OutOfRange),
        (no_reasons, EncodeError::EmptyList),
        (no_filters, EncodeError::EmptyList),
    ];
    for (packet, error) in cases {
        let mut out = vec![1, 2, 3];
        assert_eq!(packet.encode(V5, &mut out), Err(error));
        assert_eq!(out, [1, 2, 3]);
        assert_eq!(packet.encoded_len(V5), 0);
    }
}

#[test]
fn a_packet_longer_than_the_protocol_allows_is_not_encoded() {
    let payload = vec![0; 268_435_453];
    let publish = |payload| {
        Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "t",
            packet_id: None,
            properties: Properties::EMPTY,
            payload,
        })
    };
    assert_eq!(publish(&payload).encoded_len(V3_1_1), 0);
    assert_eq!(publish(&payload[1..]).encoded_len(V3_1_1), 268_435_460);
}

#[test]
fn return_codes_before_v5_say_the_reason_as_well_as_they_can() {
    use ReasonCode::*;
    let table = [
        (Success, 0),
        (UnsupportedProtocolVersion, 1),
        (ClientIdentifierNotValid, 2),
        (ServerUnavailable, 3),
        (ServerBusy, 3),
        (QuotaExceeded, 3),
        (BadUserNameOrPassword, 4),
        (NotAuthorized, 5),
        (Banned, 5),
        (BadAuthenticationMethod, 5),
    ];
    for (reason, code) in table {
        assert_eq!(reason.connack_v3(), code, "{reason}");
    }
}

#[test]
fn reason_codes_have_their_numbers_and_names() {
    assert_eq!(ReasonCode::ALL.len(), 43);
    for code in 0..=u8::MAX {
        let reason = ReasonCode::from_u8(code);
        assert!(reason.is_none_or(|r| r as u8 == code && r.is_error() == (code >= 0x80)));
    }
    assert_eq!(ReasonCode::SessionTakenOver as u8, 0x8e);
    assert_eq!(
        ReasonCode::SessionTakenOver.to_string(),
        "session taken over"
    );
    assert_eq!(ReasonCode::GRANTED_QOS_0, ReasonCode::Success);
}

#[test]
fn secrets_are_not_shown() {
    let secret = [
        Property::AuthenticationMethod("M"),
        Property::AuthenticationData(b"hush"),
    ];
    let connect = Connect {
        username: Some("u"),
        password: Some(b"hush"),
        properties: Properties::from_slice(&secret),
        version: V5,
        bridge: false,
        clean_start: true,
        keep_alive: 60,
        client_id: "me",
        will: None,
    };
    let shown = format!("{:?}", Packet::Connect(connect));
    assert!(shown.contains("password: Some(…)"), "{shown}");
    assert!(shown.contains("AuthenticationData(…)"), "{shown}");
    // The bytes of "hush" as a list of numbers.
    assert!(!shown.contains("104, 117"), "{shown}");
}
