//! CONNECT, CONNACK and every way to be refused.

use crate::broker::BinaryUnderTest;
use crate::client::Client;
use crate::suite::versions;
use crate::wire::{self, Connect, Properties, Value, Version, Will, id, kind};

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;

/// A well-formed CONNECT is answered with a CONNACK, and the connection works.
pub fn connect_is_accepted(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        for clean in [true, false] {
            let connect = wire::connect(version).client_id("accepted").clean(clean);
            let (mut client, _) = Client::connect_with(&broker, &connect);
            client.ping();
            client.disconnect();
        }
        let connect = wire::connect(version)
            .client_id("named")
            .username("Anna")
            .password("secret");
        Client::connect_with(&broker, &connect).0.disconnect();
    }
    assert!(broker.stop().status.success());
}

/// What Wherry offers stands in its CONNACK, or is what the specification takes for granted.
pub fn connack_says_what_is_offered(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let properties = Properties::new()
        .with(id::SESSION_EXPIRY_INTERVAL, Value::Four(3600))
        .user("a", "b");
    let connect = wire::connect(Version::V5)
        .client_id("curious")
        .properties(properties);
    let (client, connack) = Client::connect_with(&broker, &connect);
    for (id, offered) in [
        (id::MAXIMUM_PACKET_SIZE, Value::Four(16 << 20)),
        (id::RECEIVE_MAXIMUM, Value::Two(8192)),
        (id::TOPIC_ALIAS_MAXIMUM, Value::Two(16)),
    ] {
        assert_eq!(connack.property(id), Some(&offered), "property {id}");
    }
    // A Maximum QoS of 2 must not be told (section 3.2.2.3.4).
    assert_eq!(connack.property(id::MAXIMUM_QOS), None);
    // What is missing has the default of the specification.
    for (id, default) in [
        (id::SESSION_EXPIRY_INTERVAL, Value::Four(3600)),
        (id::RETAIN_AVAILABLE, Value::Byte(1)),
        (id::WILDCARD_SUBSCRIPTION_AVAILABLE, Value::Byte(1)),
        (id::SUBSCRIPTION_IDENTIFIER_AVAILABLE, Value::Byte(1)),
        (id::SHARED_SUBSCRIPTION_AVAILABLE, Value::Byte(1)),
    ] {
        assert_eq!(
            connack.property(id).unwrap_or(&default),
            &default,
            "property {id}"
        );
    }
    for id in [
        id::ASSIGNED_CLIENT_IDENTIFIER,
        id::SERVER_KEEP_ALIVE,
        id::AUTHENTICATION_METHOD,
        id::RESPONSE_INFORMATION,
        id::SERVER_REFERENCE,
    ] {
        assert_eq!(
            connack.property(id),
            None,
            "property {id} was not asked for"
        );
    }
    client.disconnect();
}

/// A server that does not support the protocol level says so and closes [MQTT-3.1.2-2].
pub fn unsupported_protocol_level_is_refused(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for level in [0, 1, 2, 6, 7, 0x7f, 0x80, 0x85, 0xff] {
        for (version, name) in [(Version::V3_1_1, "MQTT"), (Version::V5, "MQTT")] {
            let connect = wire::connect(version).client_id("level");
            let mut client = Client::dial(&broker, version);
            client.send(connect.bytes_with(name, level, connect.flags()));
            // Who writes the rest of CONNECT as a version does reads the CONNACK of that version:
            // [MQTT-3.1.2-2] of each.
            let answer = client.expect_any();
            assert_eq!(answer.kind(), kind::CONNACK, "{answer:?}");
            match answer.body[..] {
                [0, 1] => assert!(!version.is_v5(), "MQTT 3's CONNACK for level {level}"),
                [0, 0x84, ..] => assert!(version.is_v5(), "MQTT 5's CONNACK for level {level}"),
                _ => panic!("{answer:?} refuses no protocol level"),
            }
            client.expect_closed();
        }
    }
    assert_eq!(broker.stop().counter("clients_admitted"), 0);
}

/// A bridge sets the highest bit of the level: an extension that brokers share, before MQTT 5.
pub fn bridges_are_let_in(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in [Version::V3_1, Version::V3_1_1] {
        let connect = wire::connect(version).client_id("bridge");
        let mut client = Client::dial(&broker, version);
        let level = version.level() | 0x80;
        client.send(connect.bytes_with(version.protocol_name(), level, connect.flags()));
        client.expect_connack(0);
        client.ping();
    }
}

/// A server that does not know the protocol name closes [MQTT-3.1.2-1], and says nothing: the peer
/// speaks something else.
pub fn unknown_protocol_name_is_closed_without_a_word(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for name in [
        "",
        "M",
        "MQT",
        "MQTX",
        "mqtt",
        "MQTTT",
        "MQIsd",
        "MQISDP",
        "HTTP/1.1",
        "MQTT\u{0}",
    ] {
        for version in [Version::V3_1_1, Version::V5] {
            let connect = wire::connect(version).client_id("name");
            let mut client = Client::dial(&broker, version);
            client.send(connect.bytes_with(name, version.level(), connect.flags()));
            client.expect_closed();
        }
    }
}

/// A protocol name with the level of another version's name is no version at all.
pub fn protocol_name_and_level_must_fit(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for (name, level) in [("MQTT", 3), ("MQIsdp", 4), ("MQIsdp", 5)] {
        let connect = wire::connect(Version::V3_1_1).client_id("mixed");
        let mut client = Client::dial(&broker, Version::V3_1_1);
        client.send(connect.bytes_with(name, level, connect.flags()));
        // Refused in words or without: both are right, being let in is not.
        for packet in client.drain(crate::PATIENCE) {
            assert_eq!((packet.kind(), packet.body), (kind::CONNACK, vec![0, 1]));
        }
    }
    assert_eq!(broker.stop().counter("clients_admitted"), 0);
}

/// MQTT 3.1.1: no client identifier and no clean session is return code 2 [MQTT-3.1.3-8]; with a
/// clean session the client gets an identifier of its own [MQTT-3.1.3-6].
pub fn empty_client_id_v3_1_1(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let version = Version::V3_1_1;
    let mut client = Client::dial(&broker, version);
    client.send(wire::connect(version).clean(false).bytes());
    client.expect_refusal(2);
    let mut clients: Vec<_> = (0..10)
        .map(|_| Client::connect(&broker, version, ""))
        .collect();
    for client in &mut clients {
        client.ping();
    }
}

/// MQTT 3.1 wants 1 to 23 characters for a client identifier, and return code 2 for others.
pub fn client_id_length_v3_1(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let version = Version::V3_1;
    for len in [0, 24, 1000, 65_535] {
        for clean in [true, false] {
            let mut client = Client::dial(&broker, version);
            client.send(
                wire::connect(version)
                    .client_id("x".repeat(len))
                    .clean(clean)
                    .bytes(),
            );
            client.expect_refusal(2);
        }
    }
    for id in ["x".to_string(), "x".repeat(23), "\u{e9}".repeat(23)] {
        Client::connect(&broker, version, &id).disconnect();
    }
}

/// Client identifiers may be long where the version sets no limit.
pub fn long_client_id_is_accepted(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in [Version::V3_1_1, Version::V5] {
        for len in [24, 1000, 65_535] {
            Client::connect(&broker, version, &"i".repeat(len)).disconnect();
        }
    }
}

/// MQTT 5: a client without an identifier is told the one it gets [MQTT-3.1.3-6, MQTT-3.2.2-16],
/// which no other has, also without Clean Start.
pub fn assigned_client_identifier_v5(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut seen = Vec::new();
    let mut clients = Vec::new();
    for n in 0..100 {
        let connect = wire::connect(Version::V5).clean(n % 2 == 0);
        let (client, connack) = Client::connect_with(&broker, &connect);
        match connack.property(id::ASSIGNED_CLIENT_IDENTIFIER) {
            Some(Value::Text(id)) if !id.is_empty() => seen.push(id.clone()),
            other => panic!("no identifier was assigned: {other:?}"),
        }
        clients.push(client);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(
        seen.len(),
        clients.len(),
        "an identifier was assigned twice"
    );
    for client in &mut clients {
        client.ping();
    }
    // Whoever takes the name takes the connection over: it is an identifier like any other.
    Client::connect(&broker, Version::V5, &seen[0]).ping();
}

/// A second CONNECT ends the connection, whatever it says [MQTT-3.1.0-2].
pub fn second_connect_is_a_protocol_error(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        for id in ["twice", "another"] {
            let mut client = Client::connect(&broker, version, "twice");
            client.send(wire::connect(version).client_id(id).bytes());
            client.expect_end(PROTOCOL_ERROR);
        }
    }
    assert_eq!(broker.stop().counter("ended_protocol_error"), 6);
}

/// The reserved bit of the connect flags must be 0 [MQTT-3.1.2-3]; MQTT 3.1 does not use it.
pub fn reserved_connect_flag_is_malformed(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let connect = wire::connect(version).client_id("reserved");
        let flags = connect.flags() | 1;
        if version == Version::V3_1 {
            let mut client = Client::dial(&broker, version);
            client.send(connect.bytes_with(version.protocol_name(), version.level(), flags));
            client.expect_connack(0);
        } else {
            expect_malformed(&broker, &connect, flags);
        }
    }
}

/// Without a will, will QoS and will retain must be 0 [MQTT-3.1.2-11, MQTT-3.1.2-13]; a will QoS of
/// 3 does not exist [MQTT-3.1.2-12].
pub fn contradictory_will_flags_are_malformed(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let connect = wire::connect(version).client_id("flags");
        for flags in [1 << 3, 2 << 3, 1 << 5] {
            // MQTT 3.1 has them disregarded.
            if version != Version::V3_1 {
                expect_malformed(&broker, &connect, connect.flags() | flags);
            }
        }
        let connect = connect.will(Will::new("will", "payload"));
        expect_malformed(&broker, &connect, connect.flags() | 3 << 3);
    }
}

/// A password without a user name is refused before MQTT 5 [MQTT-3.1.2-22], and allowed there.
pub fn password_without_username(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let connect = wire::connect(Version::V3_1_1)
        .client_id("keyless")
        .password("secret");
    expect_malformed(&broker, &connect, connect.flags());
    let connect = wire::connect(Version::V5)
        .client_id("keyless")
        .password("secret");
    Client::connect_with(&broker, &connect).0.disconnect();
}

/// A CONNECT with bytes after its last field, or without its last field, is malformed.
pub fn connect_of_the_wrong_length_is_malformed(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let right = wire::connect(version)
            .client_id("length")
            .username("Anna")
            .password("secret");
        let right = right.bytes();
        for body in [
            [&right[2..], b"\0"].concat(),
            right[2..right.len() - 1].to_vec(),
        ] {
            let mut client = Client::dial(&broker, version);
            client.send(wire::packet(kind::CONNECT << 4, body));
            expect_malformed_answer(&mut client, version);
        }
    }
}

/// CONNECT has no flags in its fixed header [MQTT-2.2.2-2, MQTT-2.1.3-1]; MQTT 3.1 does not use
/// them.
pub fn connect_with_header_flags_is_malformed(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        for flags in [1, 2, 4, 8, 15] {
            let mut bytes = wire::connect(version).client_id("header").bytes();
            bytes[0] |= flags;
            let mut client = Client::dial(&broker, version);
            client.send(bytes);
            match version {
                Version::V3_1 => drop(client.expect_connack(0)),
                Version::V3_1_1 => client.expect_closed(),
                Version::V5 => client.expect_refusal(MALFORMED),
            }
        }
    }
}

/// MQTT 5: properties that CONNECT must not have, has twice, or with an impossible value.
pub fn bad_connect_properties_are_refused(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let none = Properties::new;
    let twice = |id, value: Value| none().with(id, value.clone()).with(id, value);
    for (properties, code) in [
        (none().with(id::TOPIC_ALIAS, Value::Two(1)), MALFORMED),
        (
            none().with(id::CONTENT_TYPE, Value::Text("x".into())),
            MALFORMED,
        ),
        (none().with(0x7f, Value::Byte(0)), MALFORMED),
        (
            twice(id::SESSION_EXPIRY_INTERVAL, Value::Four(1)),
            PROTOCOL_ERROR,
        ),
        (twice(id::RECEIVE_MAXIMUM, Value::Two(9)), PROTOCOL_ERROR),
        (
            none().with(id::RECEIVE_MAXIMUM, Value::Two(0)),
            PROTOCOL_ERROR,
        ),
        (
            none().with(id::MAXIMUM_PACKET_SIZE, Value::Four(0)),
            PROTOCOL_ERROR,
        ),
        (
            none().with(id::REQUEST_PROBLEM_INFORMATION, Value::Byte(2)),
            PROTOCOL_ERROR,
        ),
        (
            none().with(id::REQUEST_RESPONSE_INFORMATION, Value::Byte(2)),
            PROTOCOL_ERROR,
        ),
        (
            none().with(id::AUTHENTICATION_DATA, Value::Binary(vec![1])),
            PROTOCOL_ERROR,
        ),
    ] {
        let mut client = Client::dial(&broker, Version::V5);
        let connect = wire::connect(Version::V5)
            .client_id("properties")
            .properties(properties);
        client.send(connect.bytes());
        let said = client.expect_any().connack(Version::V5).code;
        // Where a property is not allowed the specification calls it malformed in one place and a
        // protocol error in another.
        let both = [MALFORMED, PROTOCOL_ERROR];
        assert!(
            both.contains(&said),
            "expected {code:#04x}, got {said:#04x} for {connect:?}"
        );
        client.expect_closed();
    }
}

/// MQTT 5: an authentication method that is not offered is refused with 0x8C [MQTT-4.12.0-1].
pub fn unknown_authentication_method_is_refused(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let properties = Properties::new().with(id::AUTHENTICATION_METHOD, Value::Text("K-9".into()));
    let mut client = Client::dial(&broker, Version::V5);
    let connect = wire::connect(Version::V5)
        .client_id("method")
        .properties(properties);
    client.send(connect.bytes());
    client.expect_refusal(0x8c);
}

/// Before CONNACK a client may go on at once; what it sends is answered after it [MQTT-3.1.4-5].
pub fn packets_sent_before_connack_are_served_after_it(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        for one_by_one in [false, true] {
            let mut client = Client::dial(&broker, version);
            let bytes = [
                wire::connect(version).client_id("eager").bytes(),
                wire::subscribe(version, 7, &[("eager/+", 0)]),
                wire::publish(version, "eager/a", "first").bytes(),
                wire::PINGREQ.to_vec(),
            ]
            .concat();
            if one_by_one {
                client.send_one_by_one(bytes);
            } else {
                client.send(bytes);
            }
            client.expect_connack(0);
            assert_eq!(client.expect_any().suback(version).packet_id, 7);
            client.expect_publish("eager/a", "first", false);
            client.expect_packet(kind::PINGRESP);
            client.disconnect();
        }
    }
}

/// What follows a refused CONNECT is not processed [MQTT-3.1.4-6].
pub fn packets_after_a_refusal_are_not_processed(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = Client::connect(&broker, Version::V3_1_1, "watcher");
    watcher.subscribe("#");
    let version = Version::V3_1;
    let mut client = Client::dial(&broker, version);
    let refused = wire::connect(version).client_id("x".repeat(24)).bytes();
    client.send(
        [
            refused,
            wire::publish(version, "refused", "no").retain().bytes(),
        ]
        .concat(),
    );
    client.expect_refusal(2);
    let mut publisher = Client::connect(&broker, Version::V3_1_1, "publisher");
    watcher.expect_nothing_from(&mut publisher);
}

fn expect_malformed(broker: &crate::broker::Broker, connect: &Connect, flags: u8) {
    let version = connect.version();
    let mut client = Client::dial(broker, version);
    client.send(connect.bytes_with(version.protocol_name(), version.level(), flags));
    expect_malformed_answer(&mut client, version);
}

/// MQTT 5 has words for it, the older versions have none.
fn expect_malformed_answer(client: &mut Client, version: Version) {
    if version.is_v5() {
        client.expect_refusal(MALFORMED);
    } else {
        client.expect_closed();
    }
}
