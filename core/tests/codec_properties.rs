//! Each property stands where the specification allows it, as often as it allows it, with the
//! values that it allows.

mod support;

use ProtocolVersion::{V3_1_1, V5};
use ReasonCode::{MalformedPacket as Malformed, ProtocolError as Violation};
use Sender::{Client, Server};
use support::{accepted, allowed, bytes, refused};
use wherry_core::packet::*;

#[test]
fn a_number_or_a_flag_out_of_its_range_is_a_protocol_error() {
    let connect = |property| format!("10 | 00 04 'MQTT' 05 02 00 00 {property} 00 00");
    let connack = |property| format!("20 | 00 00 {property}");
    let cases = [
        (connect("03 21 00 00"), connect("03 21 00 01"), "3.1.2.11.3"),
        (
            connect("05 27 00 00 00 00"),
            connect("05 27 00 00 00 01"),
            "3.1.2.11.4",
        ),
        (connect("02 19 02"), connect("02 19 01"), "3.1.2.11.6"),
        (connect("02 17 02"), connect("02 17 00"), "3.1.2.11.7"),
        (connack("03 21 00 00"), connack("03 21 00 01"), "3.1.2.11.3"),
        (
            connack("05 27 00 00 00 00"),
            connack("05 27 00 00 00 01"),
            "3.1.2.11.4",
        ),
        (connack("02 24 02"), connack("02 24 01"), "3.2.2.3.4"),
        (connack("02 25 02"), connack("02 25 01"), "3.2.2.3.5"),
        (connack("02 28 02"), connack("02 28 01"), "3.2.2.3.11"),
        (connack("02 29 FF"), connack("02 29 00"), "3.2.2.3.12"),
        (connack("02 2A 02"), connack("02 2A 00"), "3.2.2.3.13"),
    ];
    for (broken, twin, clause) in cases {
        let sender = if broken.starts_with('1') {
            Client
        } else {
            Server
        };
        refused(clause, (V5, sender), &bytes(&broken), (Violation, clause));
        accepted(clause, (V5, sender), &bytes(&twin));
    }
}

/// A packet of v5 with a gap for its properties; who sends it; what may stand there once.
const PLACES: [(&str, &str, Sender, &[u8]); 16] = [
    (
        "10 | 00 04 'MQTT' 05 02 00 00",
        "00 00",
        Client,
        allowed::CONNECT,
    ),
    (
        "10 | 00 04 'MQTT' 05 06 00 00 00 00 00",
        "00 01 'w' 00 00",
        Client,
        allowed::WILL,
    ),
    ("20 | 00 00", "", Server, allowed::CONNACK),
    ("30 | 00 01 't'", "", Client, allowed::PUBLISH),
    ("32 | 00 01 't' 00 01", "", Server, allowed::PUBLISH),
    ("40 | 00 01 00", "", Client, allowed::ACK),
    ("50 | 00 01 00", "", Client, allowed::ACK),
    ("62 | 00 01 00", "", Client, allowed::ACK),
    ("70 | 00 01 00", "", Client, allowed::ACK),
    ("82 | 00 01", "00 01 'f' 00", Client, allowed::SUBSCRIBE),
    ("90 | 00 01", "00", Server, allowed::ACK),
    ("A2 | 00 01", "00 01 'f'", Client, allowed::UNSUBSCRIBE),
    ("B0 | 00 01", "00", Server, allowed::ACK),
    ("E0 | 00", "", Client, allowed::CLIENT_DISCONNECT),
    ("E0 | 00", "", Server, allowed::SERVER_DISCONNECT),
    ("F0 | 18", "", Client, allowed::AUTH),
];

/// Each property with a value, and the section that its errors name.
const PROPERTIES: [(u8, &str, &str); 27] = [
    (0x01, "00", "3.3.2.3.2"),
    (0x02, "00 00 00 01", "3.3.2.3.3"),
    (0x03, "00 01 'c'", "3.3.2.3.9"),
    (0x08, "00 01 'r'", "3.3.2.3.5"),
    (0x09, "00 01 FF", "3.3.2.3.6"),
    (0x0b, "01", "3.8.2.1.2"),
    (0x11, "00 00 00 01", "3.1.2.11.2"),
    (0x12, "00 01 'i'", "3.2.2.3.7"),
    (0x13, "00 01", "3.2.2.3.14"),
    (0x15, "00 01 'M'", "3.1.2.11.9"),
    (0x16, "00 01 FF", "3.1.2.11.10"),
    (0x17, "00", "3.1.2.11.7"),
    (0x18, "00 00 00 01", "3.1.3.2.2"),
    (0x19, "00", "3.1.2.11.6"),
    (0x1a, "00 01 'i'", "3.2.2.3.15"),
    (0x1c, "00 01 's'", "3.2.2.3.16"),
    (0x1f, "00 01 'r'", "3.2.2.3.9"),
    (0x21, "00 01", "3.1.2.11.3"),
    (0x22, "00 00", "3.1.2.11.5"),
    (0x23, "00 01", "3.3.2.3.4"),
    (0x24, "00", "3.2.2.3.4"),
    (0x25, "00", "3.2.2.3.5"),
    (0x26, "00 01 'k' 00 01 'v'", "3.1.2.11.8"),
    (0x27, "00 00 00 01", "3.1.2.11.4"),
    (0x28, "00", "3.2.2.3.11"),
    (0x29, "00", "3.2.2.3.12"),
    (0x2a, "00", "3.2.2.3.13"),
];

/// The packet of a place with these properties in it.
fn with_properties(before: &str, properties: &str, after: &str) -> Vec<u8> {
    let length = bytes(properties).len();
    bytes(&format!("{before} {length:02X} {properties} {after}"))
}

/// Checks one property, alone and twice, at one place.
fn try_property(place: (&str, &str, Sender, &[u8]), property: (u8, &str, &str)) {
    let (before, after, sender, once) = place;
    let (id, value, section) = property;
    let what = format!("property {id:#04x} in {before}");
    // AUTH is not complete without a method, and data is not without one anywhere.
    let needs_method = id != 0x15 && (before.starts_with('F') || (id == 0x16));
    let method = if needs_method { "15 00 01 'M'" } else { "" };
    let alone = with_properties(before, &format!("{method} {id:02X} {value}"), after);
    let twice = format!("{method} {id:02X} {value} {id:02X} {value}");
    let twice = with_properties(before, &twice, after);

    let of_a_server = id == 0x0b && before.starts_with("32");
    if id == 0x26 || of_a_server {
        accepted(&what, (V5, sender), &alone);
        accepted(&what, (V5, sender), &twice);
    } else if once.contains(&id) {
        accepted(&what, (V5, sender), &alone);
        refused(&what, (V5, sender), &twice, (Violation, section));
    } else {
        let why = match (id, sender) {
            (0x0b, Client) if before.starts_with('3') => (Violation, "MQTT-3.3.4-6"),
            (0x11, Server) if before.starts_with('E') => (Violation, "MQTT-3.14.2-2"),
            _ => (Malformed, "2.2.2.2"),
        };
        refused(&what, (V5, sender), &alone, why);
    }
}

#[test]
fn each_property_stands_where_it_may_and_as_often_as_it_may() {
    for place in PLACES {
        for property in PROPERTIES {
            try_property(place, property);
        }
    }
}

#[test]
fn an_unknown_property_is_malformed_everywhere() {
    let known: Vec<u8> = PROPERTIES.iter().map(|p| p.0).collect();
    for (before, after, sender, _) in PLACES {
        for id in (0..=u8::MAX).filter(|id| !known.contains(id)) {
            let wire = with_properties(before, &format!("{id:02X} 00"), after);
            refused(before, (V5, sender), &wire, (Malformed, "2.2.2.2"));
        }
    }
}

#[test]
fn properties_are_not_part_of_the_older_versions() {
    // Where MQTT 5 has the length of the properties, 3.1.1 has the next field or the end.
    refused(
        "CONNACK",
        (V3_1_1, Server),
        &bytes("20 03 00 00 00"),
        (Malformed, "2.1.4"),
    );
    let wire = bytes("30 | 00 01 't' 00 'x'");
    let found = Packet::decode_one(&wire, V3_1_1, Client);
    let Ok(Some((Packet::Publish(publish), _))) = found else {
        panic!("{found:?}");
    };
    assert_eq!(publish.payload, b"\0x");
    assert_eq!(publish.properties, Properties::EMPTY);
}
