//! Every rule of the wire format has a packet that breaks it and is refused for that reason, and
//! a twin that keeps it and is accepted. Most stand in `malformed/`, in the notation of
//! `support::bytes`; what holds for all packets alike is tried here for all of them.

mod support;

use ProtocolVersion::{V3_1, V3_1_1, V5};
use ReasonCode::{MalformedPacket as Malformed, ProtocolError as Violation};
use Sender::{Client, Server};
use support::{accepted, bytes, codes, decode, refused};
use wherry_core::packet::*;

/// Checks a table: what is wrong, the reason code and the clause; the packet; its repaired twin.
fn table(table: &str) {
    let mut rows = 0;
    for row in table.split("\n\n") {
        let (heading, packets) = row.split_once("\n    refused ").expect("a packet");
        let (broken, twin) = packets.split_once("\n    accepted ").expect("a twin");
        let (of, why) = heading.split_once(" -> ").expect("an answer");
        let (from, what) = of.split_once(": ").expect("a sender");
        let from = match from {
            "3.1 client" => (V3_1, Client),
            "3.1 server" => (V3_1, Server),
            "3.1.1 client" => (V3_1_1, Client),
            "3.1.1 server" => (V3_1_1, Server),
            "5.0 client" => (V5, Client),
            other => {
                assert_eq!(other, "5.0 server");
                (V5, Server)
            }
        };
        let (code, clause) = why.split_once(' ').expect("a clause");
        let code = bytes(code)[0];
        let reason = ReasonCode::from_u8(code).expect("a reason code");
        refused(what, from, &bytes(broken), (reason, clause));
        accepted(what, from, &bytes(twin));
        rows += 1;
    }
    assert!(rows > 8, "a table lost its rows");
}

macro_rules! tables {
    ($( $test:ident $file:literal; )+) => {
        $(
            #[test]
            fn $test() {
                table(include_str!(concat!("malformed/", $file)));
            }
        )+
    };
}

tables! {
    a_wrong_fixed_header_is_refused_for_its_reason "fixed_header.txt";
    a_wrong_connect_is_refused_for_its_reason "connect.txt";
    a_wrong_connack_is_refused_for_its_reason "connack.txt";
    a_wrong_publish_is_refused_for_its_reason "publish.txt";
    a_wrong_subscribe_or_unsubscribe_is_refused_for_its_reason "subscribe_and_unsubscribe.txt";
    a_wrong_suback_or_unsuback_is_refused_for_its_reason "suback_and_unsuback.txt";
    a_wrong_ping_disconnect_or_auth_is_refused_for_its_reason "packets_with_little_in_them.txt";
}
#[test]
fn a_wrong_first_byte_is_refused_at_once() {
    for first_byte in 0..=u8::MAX {
        let alone = FixedHeader::parse(&[first_byte]);
        let flags_are_right = match first_byte >> 4 {
            0 => false,
            1 => true, // MQTT 3.1 does not use them; the version is not known yet.
            3 => first_byte & 0b0110 != 0b0110 && first_byte & 0b1110 != 0b1000,
            // With DUP as MQTT 3.1 has it; the version is not known yet.
            6 | 8 | 10 => matches!(first_byte & 0x0f, 0b0010 | 0b1010),
            _ => first_byte & 0x0f == 0,
        };
        assert_eq!(alone == Ok(None), flags_are_right, "{first_byte:#04x}");
        assert_eq!(alone.is_err(), !flags_are_right, "{first_byte:#04x}");
    }
    // Four bytes that all announce another one.
    assert!(FixedHeader::parse(&[0x30, 0x80, 0x80, 0x80, 0x80]).is_err());
    assert_eq!(FixedHeader::parse(&[0x30, 0x80, 0x80, 0x80]), Ok(None));
}

#[test]
fn each_packet_comes_from_the_side_that_may_send_it() {
    let wrong = (Violation, "2.1.2");
    let (client, server) = ((V3_1_1, Client), (V3_1_1, Server));
    let of_clients = [
        "10 | 00 04 'MQTT' 04 02 00 00 00 00",
        "82 | 00 01 00 01 'f' 00",
        "A2 | 00 01 00 01 'f'",
        "C0 00",
        "E0 00",
    ];
    for packet in of_clients {
        refused(packet, server, &bytes(packet), wrong);
        accepted(packet, client, &bytes(packet));
    }
    for packet in ["20 02 00 00", "90 03 00 01 00", "B0 02 00 01", "D0 00"] {
        refused(packet, client, &bytes(packet), wrong);
        accepted(packet, server, &bytes(packet));
    }
    refused(
        "DISCONNECT of a server before v5",
        (V3_1, Server),
        &bytes("E0 00"),
        wrong,
    );
    accepted("DISCONNECT of a server", (V5, Server), &bytes("E0 00"));
    let auth = bytes("F0 | 18 04 15 00 01 'M'");
    for version in [V3_1, V3_1_1] {
        refused(
            "AUTH before v5",
            (version, Client),
            &auth,
            (Malformed, "2.1.2"),
        );
    }
    accepted("AUTH before v5", (V5, Client), &auth);
}

#[test]
fn a_field_of_connect_is_there_exactly_if_its_flag_is_set() {
    // [MQTT-3.1.2-9], [MQTT-3.1.2-16] to [MQTT-3.1.2-19];
    // 3.1.1 [MQTT-3.1.2-9], [MQTT-3.1.2-11], [MQTT-3.1.2-18] to [MQTT-3.1.2-21]
    let user_name = "00 01 'u'";
    let password = "00 01 'p'";
    for (version, start, will) in [
        (
            V3_1_1,
            "10 | 00 04 'MQTT' 04 @ 00 00",
            "00 01 'w' 00 01 'x'",
        ),
        (
            V5,
            "10 | 00 04 'MQTT' 05 @ 00 00 00",
            "00 00 01 'w' 00 01 'x'",
        ),
    ] {
        let connect = |flags, fields: &[&str]| {
            let start = start.replace('@', flags);
            bytes(&format!("{start} 00 02 'me' {}", fields.join(" ")))
        };
        let cases = [
            // The flags; the fields; the same without the last flag, and without its field.
            ("04", vec![will], "00"),
            ("80", vec![user_name], "00"),
            ("C0", vec![user_name, password], "80"),
            ("84", vec![will, user_name], "04"),
            ("C4", vec![will, user_name, password], "84"),
        ];
        for (flags, fields, fewer_flags) in cases {
            let fewer_fields = &fields[..fields.len() - 1];
            let from = (version, Client);
            accepted(flags, from, &connect(flags, &fields));
            accepted(fewer_flags, from, &connect(fewer_flags, fewer_fields));
            let without_field = connect(flags, fewer_fields);
            // A will begins with the length of its properties.
            let missing = match (version, flags) {
                (V5, "04") => "1.5.5",
                _ => "1.5.2",
            };
            refused(flags, from, &without_field, (Malformed, missing));
            let without_flag = connect(fewer_flags, &fields);
            refused(flags, from, &without_flag, (Malformed, "2.1.4"));
        }
    }
}

#[test]
fn a_refused_connect_is_answered_in_the_form_its_sender_reads() {
    let cases = [
        ("00 04 'HTTP' 04", None),
        ("00 04 'MQ", None),
        ("00 04 'MQTT'", None),
        ("00 06 'MQIsdp' 04", Some(V3_1)),
        ("00 04 'MQTT' 00", Some(V3_1_1)),
        ("00 04 'MQTT' 03", Some(V3_1_1)),
        ("00 04 'MQTT' 83", Some(V3_1_1)),
        ("00 04 'MQTT' 06", Some(V5)),
        ("00 04 'MQTT' 85", Some(V5)),
        // What follows tells more than the level.
        ("00 04 'MQTT' 06 02 00 3c 00 01 'a'", Some(V3_1_1)),
        (
            "00 04 'MQTT' 63 c2 00 3c 00 00 00 01 'u' 00 01 'p'",
            Some(V3_1_1),
        ),
        ("00 04 'MQTT' 06 02 00 3c 00 00 01 'a'", Some(V5)),
        ("00 04 'MQTT' 03 02 00 3c 00 00 01 'a'", Some(V5)),
        ("00 04 'MQTT' 03 02 00 3c 00 01 'a'", Some(V3_1_1)),
        ("00 06 'MQIsdp' 03", Some(V3_1)),
        ("00 04 'MQTT' 04 01", Some(V3_1_1)),
        ("00 04 'MQTT' 05 01", Some(V5)),
    ];
    for (body, reply) in cases {
        let header = FixedHeader::parse(&[0x10, 0]).expect(body).expect(body);
        let error = Connect::decode(&header, &bytes(body)).expect_err(body);
        assert_eq!(error.reply, reply, "{body}: {error}");
    }
}

#[test]
fn a_wrong_acknowledgement_is_refused_for_its_reason() {
    for (first_byte, bad, good, clause) in [
        ("40", "92", "10", "MQTT-3.4.2-1"),
        ("50", "92", "97", "MQTT-3.5.2-1"),
        ("62", "10", "92", "MQTT-3.6.2-1"),
        ("70", "80", "92", "MQTT-3.7.2-1"),
    ] {
        let rows = [
            (V3_1_1, "01 00", "02 00 01", Malformed, "1.5.2"),
            (V3_1_1, "00", "02 00 01", Malformed, "1.5.2"),
            (V3_1_1, "02 00 00", "02 00 01", Violation, "MQTT-2.2.1-3"),
            (V5, "02 00 00", "02 00 01", Violation, "MQTT-2.2.1-3"),
            (V3_1, "03 00 01 00", "02 00 01", Malformed, "2.1.4"),
            (V3_1_1, "03 00 01 00", "02 00 01", Malformed, "2.1.4"),
            (
                V5,
                "05 00 01 00 00 00",
                "04 00 01 00 00",
                Malformed,
                "2.1.4",
            ),
            (V5, "04 00 01 00 01", "04 00 01 00 00", Malformed, "2.2.2.1"),
        ];
        for (version, broken, twin, reason, at) in rows {
            for sender in [Client, Server] {
                let whole = |rest| bytes(&format!("{first_byte} {rest}"));
                refused(broken, (version, sender), &whole(broken), (reason, at));
                accepted(broken, (version, sender), &whole(twin));
            }
        }
        let with = |code| bytes(&format!("{first_byte} 03 00 01 {code}"));
        refused(clause, (V5, Client), &with(bad), (Violation, clause));
        refused(clause, (V5, Client), &with("05"), (Violation, clause));
        accepted(clause, (V5, Client), &with(good));
    }
}

#[test]
fn each_packet_carries_the_reason_codes_that_the_specification_lists() {
    let places: [(&str, Sender, &[u8], &str); 12] = [
        ("20 03 00 @ 00", Server, codes::CONNACK, "MQTT-3.2.2-8"),
        ("40 03 00 01 @", Client, codes::RECEIVED, "MQTT-3.4.2-1"),
        ("50 03 00 01 @", Server, codes::RECEIVED, "MQTT-3.5.2-1"),
        ("62 03 00 01 @", Client, codes::RELEASED, "MQTT-3.6.2-1"),
        ("70 03 00 01 @", Server, codes::RELEASED, "MQTT-3.7.2-1"),
        ("90 04 00 01 00 @", Server, codes::SUBACK, "MQTT-3.9.3-2"),
        ("B0 04 00 01 00 @", Server, codes::UNSUBACK, "MQTT-3.11.3-2"),
        ("E0 01 @", Client, codes::CLIENT_DISCONNECT, "MQTT-3.14.2-1"),
        ("E0 01 @", Server, codes::SERVER_DISCONNECT, "MQTT-3.14.2-1"),
        (
            "E0 02 @ 00",
            Server,
            codes::SERVER_DISCONNECT,
            "MQTT-3.14.2-1",
        ),
        (
            "F0 06 @ 04 15 00 01 'M'",
            Client,
            codes::CLIENT_AUTH,
            "MQTT-3.15.2-1",
        ),
        (
            "F0 06 @ 04 15 00 01 'M'",
            Server,
            codes::SERVER_AUTH,
            "MQTT-3.15.2-1",
        ),
    ];
    for (notation, sender, codes, clause) in places {
        for code in 0..=u8::MAX {
            let wire = bytes(&notation.replace('@', &format!("{code:02X}")));
            if codes.contains(&code) {
                accepted(notation, (V5, sender), &wire);
            } else {
                refused(notation, (V5, sender), &wire, (Violation, clause));
            }
        }
    }
}

#[test]
fn every_string_of_every_packet_is_well_formed_utf8_without_null() {
    // `@` is a string of three bytes.
    let strings: [(&str, ProtocolVersion, Sender); 33] = [
        ("10 | 00 06 'MQIsdp' 03 02 00 00 @", V3_1, Client),
        ("10 | 00 04 'MQTT' 04 02 00 00 @", V3_1_1, Client),
        (
            "10 | 00 04 'MQTT' 04 06 00 00 00 00 @ 00 00",
            V3_1_1,
            Client,
        ),
        ("10 | 00 04 'MQTT' 04 82 00 00 00 00 @", V3_1_1, Client),
        ("10 | 00 04 'MQTT' 05 02 00 00 00 @", V5, Client),
        ("10 | 00 04 'MQTT' 05 82 00 00 00 00 00 @", V5, Client),
        (
            "10 | 00 04 'MQTT' 05 06 00 00 00 00 00 00 @ 00 00",
            V5,
            Client,
        ),
        ("10 | 00 04 'MQTT' 05 02 00 00 06 15 @ 00 00", V5, Client),
        (
            "10 | 00 04 'MQTT' 05 02 00 00 09 26 @ 00 01 'v' 00 00",
            V5,
            Client,
        ),
        (
            "10 | 00 04 'MQTT' 05 02 00 00 09 26 00 01 'k' @ 00 00",
            V5,
            Client,
        ),
        (
            "10 | 00 04 'MQTT' 05 06 00 00 00 00 00 06 03 @ 00 01 'w' 00 00",
            V5,
            Client,
        ),
        (
            "10 | 00 04 'MQTT' 05 06 00 00 00 00 00 06 08 @ 00 01 'w' 00 00",
            V5,
            Client,
        ),
        ("20 | 00 00 06 12 @", V5, Server),
        ("20 | 00 00 06 15 @", V5, Server),
        ("20 | 00 00 06 1A @", V5, Server),
        ("20 | 00 00 06 1C @", V5, Server),
        ("20 | 00 00 06 1F @", V5, Server),
        ("30 | @", V3_1, Client),
        ("30 | @", V3_1_1, Server),
        ("30 | @ 00", V5, Client),
        ("30 | 00 01 't' 06 03 @", V5, Client),
        ("30 | 00 01 't' 06 08 @", V5, Server),
        ("30 | 00 01 't' 09 26 00 01 'k' @", V5, Client),
        ("40 | 00 01 00 06 1F @", V5, Client),
        ("50 | 00 01 00 06 1F @", V5, Client),
        ("62 | 00 01 00 06 1F @", V5, Server),
        ("70 | 00 01 00 06 1F @", V5, Server),
        ("82 | 00 01 @ 00", V3_1_1, Client),
        ("82 | 00 01 00 00 01 'f' 00 @ 00", V5, Client),
        ("90 | 00 01 06 1F @ 00", V5, Server),
        ("A2 | 00 01 00 01 'f' @", V3_1_1, Client),
        ("E0 | 00 06 1F @", V5, Client),
        ("F0 | 18 06 15 @", V5, Server),
    ];
    let invalid = [
        ("61 62 C3", "MQTT-1.5.4-1"), // cut short
        ("61 80 62", "MQTT-1.5.4-1"), // a continuation of nothing
        ("C0 AF 61", "MQTT-1.5.4-1"), // overlong
        ("E0 80 80", "MQTT-1.5.4-1"), // overlong, three bytes
        ("ED A0 80", "MQTT-1.5.4-1"), // U+D800, the first surrogate
        ("ED BF BF", "MQTT-1.5.4-1"), // U+DFFF, the last one
        ("FF FE FD", "MQTT-1.5.4-1"), // bytes that never occur
        ("61 00 62", "MQTT-1.5.4-2"), // U+0000
    ];
    // Control and non-characters may stand in a string, and U+FEFF is no byte order mark.
    let valid = ["'abc'", "01 1F 7F", "EF BF BF", "EF BB BF", "E2 82 AC"];
    for (notation, version, sender) in strings {
        let with = |text| bytes(&notation.replace('@', &format!("00 03 {text}")));
        for (text, clause) in invalid {
            refused(
                notation,
                (version, sender),
                &with(text),
                (Malformed, clause),
            );
        }
        for text in valid {
            accepted(notation, (version, sender), &with(text));
        }
    }
}

#[test]
fn passwords_payloads_and_binary_properties_are_any_bytes() {
    let cases = [
        (
            "10 | 00 06 'MQIsdp' 03 C2 00 00 00 00 00 01 'u' 00 02 00 FF",
            V3_1,
            Client,
        ),
        (
            "10 | 00 04 'MQTT' 04 06 00 00 00 00 00 01 'w' 00 02 00 FF",
            V3_1_1,
            Client,
        ),
        ("30 | 00 01 't' 00 FF", V3_1_1, Client),
        ("30 | 00 01 't' 05 09 00 02 00 FF 00 FF", V5, Client),
        ("F0 | 18 09 15 00 01 'M' 16 00 02 00 FF", V5, Client),
    ];
    for (notation, version, sender) in cases {
        accepted(notation, (version, sender), &bytes(notation));
    }
}

#[test]
fn every_packet_cut_inside_its_body_is_refused() {
    // The length says that the packet is complete, and its last field is not. (A PUBLISH before
    // its payload, and what MQTT 5 allows to be left out, stand elsewhere.)
    let whole = [
        (
            "10 | 00 04 'MQTT' 05 C6 00 3C 05 11 00 00 00 01 00 02 'me' 00 \
             00 01 'w' 00 01 'x' 00 01 'u' 00 01 'p'",
            V5,
            Client,
        ),
        (
            "10 | 00 04 'MQTT' 04 C6 00 3C 00 02 'me' 00 01 'w' 00 01 'x' 00 01 'u' 00 01 'p'",
            V3_1_1,
            Client,
        ),
        ("20 | 00 00 0A 11 00 00 00 01 21 00 01 24 01", V5, Server),
        ("40 | 00 01", V3_1_1, Client),
        ("82 | 00 01 00 03 'a/b' 01", V3_1_1, Client),
        ("82 | 00 01 02 0B 01 00 03 'a/b' 01", V5, Client),
        ("90 | 00 01 00", V3_1_1, Server),
        ("A2 | 00 01 00 03 'a/b'", V3_1_1, Client),
        ("B0 | 00 01 00 00", V5, Server),
    ];
    for (notation, version, sender) in whole {
        let wire = bytes(notation);
        accepted(notation, (version, sender), &wire);
        for cut in 2..wire.len() {
            let mut cut_short = wire[..cut].to_vec();
            cut_short[1] = u8::try_from(cut - 2).expect("short");
            let found = decode(&cut_short, version, sender);
            assert!(found.is_err(), "{notation} cut to {cut} bytes");
        }
    }
}
