//! What is encoded decodes to the same, at every version and in both directions.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use support::{SENDERS, VERSIONS, packet, version_and_sender};
use wherry_core::packet::*;

fn any_packet() -> impl Strategy<Value = (ProtocolVersion, Sender, Packet<'static>)> {
    version_and_sender().prop_flat_map(|(version, sender)| {
        packet(version, sender).prop_map(move |packet| (version, sender, packet))
    })
}

fn encode(packet: &Packet<'_>, version: ProtocolVersion) -> Result<Vec<u8>, TestCaseError> {
    let mut bytes = Vec::new();
    packet
        .encode(version, &mut bytes)
        .map_err(|error| TestCaseError::fail(format!("not encoded: {error}")))?;
    Ok(bytes)
}

/// Bytes that look like packets, so that more than the first check is reached.
fn near_packets() -> impl Strategy<Value = Vec<u8>> {
    let body = prop_oneof![vec(any::<u8>(), 0..40), vec(0..8_u8, 0..40)];
    prop_oneof![
        1 => vec(any::<u8>(), 0..64),
        3 => (any::<u8>(), body).prop_map(|(first_byte, body)| {
            let length = u8::try_from(body.len()).unwrap_or_default();
            [vec![first_byte, length], body].concat()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_packet_decodes_to_what_was_encoded((version, sender, packet) in any_packet()) {
        let bytes = encode(&packet, version)?;
        prop_assert_eq!(packet.encoded_len(version), bytes.len());
        let found = Packet::decode_one(&bytes, version, sender);
        prop_assert_eq!(found, Ok(Some((packet, bytes.len()))));
    }

    #[test]
    fn a_packet_is_found_before_the_bytes_of_the_next(
        (version, sender, packet) in any_packet(),
        next in vec(any::<u8>(), 0..8),
    ) {
        let mut bytes = encode(&packet, version)?;
        let packet_len = bytes.len();
        bytes.extend(next);
        let found = Packet::decode_one(&bytes, version, sender);
        prop_assert_eq!(found, Ok(Some((packet, packet_len))));
    }

    #[test]
    fn a_packet_cut_short_needs_more_bytes((version, sender, packet) in any_packet()) {
        let bytes = encode(&packet, version)?;
        let step = 1 + bytes.len() / 200;
        for cut in (0..bytes.len()).step_by(step) {
            prop_assert_eq!(Packet::decode_one(&bytes[..cut], version, sender), Ok(None));
        }
    }

    #[test]
    fn properties_read_the_same_from_wire_and_list((_, sender, packet) in any_packet()) {
        let version = ProtocolVersion::V5;
        let (Packet::Publish(_) | Packet::Connect(_)) = packet else { return Ok(()) };
        let bytes = encode(&packet, version)?;
        let Ok(Some((decoded, _))) = Packet::decode_one(&bytes, version, sender) else {
            return Ok(());
        };
        match (packet, decoded) {
            (Packet::Publish(a), Packet::Publish(b)) => {
                let (a, b) = (a.properties, b.properties);
                let kept = Properties::from_kept_wire(b.as_wire().unwrap_or_default());
                prop_assert_eq!(kept, a);
                prop_assert_eq!(a.wire_len(), b.wire_len());
                prop_assert_eq!(a.is_empty(), b.is_empty());
                prop_assert_eq!(a.topic_alias(), b.topic_alias());
                prop_assert_eq!(a.message_expiry_interval(), b.message_expiry_interval());
                prop_assert_eq!(a.response_topic(), b.response_topic());
                prop_assert_eq!(a.correlation_data(), b.correlation_data());
                prop_assert!(a.user_properties().eq(b.user_properties()));
                prop_assert!(a.subscription_identifiers().eq(b.subscription_identifiers()));
            }
            (Packet::Connect(a), Packet::Connect(b)) => {
                let (a, b) = (a.properties, b.properties);
                prop_assert_eq!(a.session_expiry_interval(), b.session_expiry_interval());
                prop_assert_eq!(a.receive_maximum(), b.receive_maximum());
                prop_assert_eq!(a.maximum_packet_size(), b.maximum_packet_size());
                prop_assert_eq!(a.topic_alias_maximum(), b.topic_alias_maximum());
                prop_assert_eq!(a.authentication_method(), b.authentication_method());
            }
            _ => prop_assert!(false, "another kind of packet"),
        }
    }

    #[test]
    fn one_wrong_byte_never_panics_and_what_is_accepted_encodes_back(
        (version, sender, packet) in any_packet(),
        place in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = encode(&packet, version)?;
        let place = place.index(bytes.len());
        bytes[place] = value;
        decodes_to_what_encodes_back(&bytes, version, sender)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic_and_what_is_accepted_encodes_back(bytes in near_packets()) {
        for version in VERSIONS {
            for sender in SENDERS {
                decodes_to_what_encodes_back(&bytes, version, sender)?;
            }
        }
    }

    #[test]
    fn a_connect_that_is_refused_never_panics(level in 0..8_u8, rest in vec(0..12_u8, 0..30)) {
        for name in ["MQTT", "MQIsdp"] {
            let length = [0, u8::try_from(name.len()).unwrap_or_default()];
            let body = [&length, name.as_bytes(), &[level], &rest].concat();
            let header = FixedHeader::parse(&[0x10, 0]).expect("valid").expect("complete");
            let _ = Connect::decode(&header, &body);
        }
    }

    #[test]
    fn properties_from_bytes_that_were_never_checked_do_not_panic(bytes in vec(0..48_u8, 0..40)) {
        let properties = Properties::from_kept_wire(&bytes);
        prop_assert!(properties.iter().count() <= bytes.len());
        prop_assert!(properties.user_properties().count() <= bytes.len());
        let _ = (properties.topic_alias(), properties.shared_subscription_available());
    }
}

fn decodes_to_what_encodes_back(
    bytes: &[u8],
    version: ProtocolVersion,
    sender: Sender,
) -> Result<(), TestCaseError> {
    let Ok(Some((packet, used))) = Packet::decode_one(bytes, version, sender) else {
        return Ok(());
    };
    prop_assert!(used <= bytes.len());
    let again = encode(&packet, version)?;
    prop_assert_eq!(
        Packet::decode_one(&again, version, sender),
        Ok(Some((packet, again.len())))
    );
    Ok(())
}

#[test]
fn a_packet_stays_small_enough_to_be_moved() {
    assert!(
        size_of::<Packet<'_>>() <= 200,
        "{}",
        size_of::<Packet<'_>>()
    );
    assert!(
        size_of::<Publish<'_>>() <= 80,
        "{}",
        size_of::<Publish<'_>>()
    );
}
