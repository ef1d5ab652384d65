//! Names that are none, or belong to nobody: topics and filters (A8, A9) and strings (A23).

use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::attack::{Arena, Attack, Told};
use crate::broker::BinaryUnderTest;
use crate::client::Client;
use crate::suite::versions;
use crate::wire::{self, Properties, Version, Will, id, packet, short_string};

/// A8: topics and filters of 65,000 `/`, of 10,000 levels, of nothing but wildcards: neither
/// recursion nor quadratic work comes of them.
pub fn a8_deep_topics_and_filters(binary: &BinaryUnderTest) {
    let mut arena = Arena::new(binary);
    let deep = [
        "/".repeat(65_000),
        "a/".repeat(10_000),
        "/".repeat(256),
        "/".repeat(65_535),
    ];
    for version in versions() {
        for topic in &deep {
            for publish in [
                wire::publish(version, topic, "x"),
                wire::publish(version, topic, "x").retain(),
            ] {
                let attack = Attack::by_client(version, publish.bytes())
                    .told(Told::Disconnect(&[0x90]))
                    .counted("ended_topic_invalid");
                arena.attack(&attack);
            }
        }
        let refused = match version {
            // It cannot say no to a filter: its client would take 0x80 for a QoS.
            Version::V3_1 => Told::Disconnect(&[]),
            Version::V3_1_1 => Told::Suback(0x80),
            Version::V5 => Told::Suback(0x8f),
        };
        let wild = [
            "+/".repeat(10_000) + "#",
            "+/".repeat(32_767) + "#",
            "/".repeat(64_999) + "#",
        ];
        for filter in deep.iter().chain(&wild) {
            let subscribe = wire::subscribe(version, 1, &[(filter, 0)]);
            let attack = Attack::by_client(version, subscribe).told(refused);
            arena.attack(&attack.counted("subscriptions_refused_filter_invalid"));
        }
    }
    // As deep as may be: a hundred wildcard filters against the topics that meet most of them.
    let mut client = Client::connect(arena.broker(), Version::V5, "deep");
    for n in 0..100 {
        let levels: Vec<&str> = (0..255)
            .map(|l| if (l + n) % 3 == 0 { "+" } else { "a" })
            .collect();
        client.subscribe(&format!("{}/#", levels.join("/")));
    }
    let topic = vec!["a"; 256].join("/");
    let start = Instant::now();
    for _ in 0..100 {
        client.publish(&topic, "x");
        client.expect_publish(&topic, "x", false);
    }
    let took = start.elapsed();
    assert!(
        took < Duration::from_secs(10),
        "a hundred deep messages took {took:?}"
    );
    drop(client);
    arena.finish();
}

/// A9: names that begin with `$`: shared filters in every broken form, and messages and wills to
/// topics that are not for clients.
pub fn a9_dollar_names(binary: &BinaryUnderTest) {
    let mut arena = Arena::new(binary);
    let mut watcher = Client::connect(arena.broker(), Version::V5, "watcher");
    watcher.subscribe("#");
    for version in versions() {
        for filter in [
            "$share",
            "$share/",
            "$share//",
            "$share/g",
            "$share/g/",
            "$share//t",
            "$share/+/t",
            "$share/#/t",
            "$share/g+/t",
            "$share/g#/t",
            "$share/g/a#",
            "$share/#",
        ] {
            eprintln!("{version:?} {filter}");
            let mut client = Client::connect(arena.broker(), version, "attacker");
            let subscribe = wire::subscribe(version, 1, &[(filter, 0)]);
            for slowly in [false, true] {
                client.throw(&subscribe, if slowly { 1 } else { subscribe.len() });
                arena.expect_count("subscriptions_refused_filter_invalid", 1);
                arena.promise_log(vec![client.address().to_string(), "refused".into()]);
                if version == Version::V3_1 {
                    arena.expect_count("ended_not_supported", 1);
                    client.expect_closed();
                    client = Client::connect(arena.broker(), version, "attacker");
                    continue;
                }
                let codes = client.expect_any().suback(version).codes;
                let right: &[u8] = if version.is_v5() { &[0x8f] } else { &[0x80] };
                assert!(
                    codes.len() == 1 && right.contains(&codes[0]),
                    "{codes:02x?}"
                );
            }
            client.disconnect();
            arena.assert_well();
        }
        filters_that_begin_with_a_dollar(&arena, version);
        for (topic, reserved) in [
            ("$SYS", true),
            ("$SYS/broker/version", true),
            ("$share", true),
            ("$share/g/t", true),
            // Topics like any other, but that wildcards do not reach them.
            ("$", false),
            ("$/", false),
            ("$SYSTEM/x", false),
            ("$CONTROL/acl", false),
        ] {
            for retain in [false, true] {
                let publish = wire::publish(version, topic, "forged");
                let publish = if retain { publish.retain() } else { publish };
                let attack = Attack::by_client(version, publish.bytes());
                let attack = attack.told(Told::NothingAndLives);
                arena.attack(&if reserved {
                    attack.counted("publish_refused_topic_invalid")
                } else {
                    attack.not_counted()
                });
            }
            // Nothing was kept of what was refused, and all of the rest.
            let mut reader = Client::connect(arena.broker(), Version::V3_1_1, "reader");
            if !reserved {
                reader.subscribe(topic);
                reader.expect_publish(topic, "forged", true);
                reader.publish_retained(topic, "");
                reader.expect_publish(topic, "", false);
            } else if topic.starts_with("$SYS") {
                reader.subscribe(topic);
                if topic == "$SYS/broker/version" {
                    let version = format!("wherry version {}", env!("CARGO_PKG_VERSION"));
                    reader.expect_publish(topic, version, true);
                }
            }
            reader.ping();
        }
        for topic in ["$SYS/broker/version", "$share/g/t"] {
            let will = Will::new(topic, "forged");
            let connect = wire::connect(version).client_id("forger").will(will);
            let code = if version.is_v5() { 0x90 } else { 3 };
            let attack = Attack::by_stranger(version, connect.bytes()).told(Told::Connack(code));
            arena.attack(&attack.counted("ended_not_supported"));
        }
        let connect = wire::connect(version)
            .client_id("forger")
            .will(Will::new("$", "forged"));
        drop(Client::connect_with(arena.broker(), &connect));
    }
    // A watcher of all there is saw nothing but the bystanders and the probes.
    let end = "end/of/attack";
    let mut publisher = Client::connect(arena.broker(), Version::V5, "publisher");
    publisher.publish(end, "");
    loop {
        let publish = watcher.expect_message();
        assert!(
            !publish.topic.starts_with('$') && publish.payload != b"forged",
            "{publish:?}"
        );
        if publish.topic == end {
            break;
        }
    }
    drop((watcher, publisher));
    arena.finish();
}

/// Such filters are granted, and bring nothing but what the broker itself says.
fn filters_that_begin_with_a_dollar(arena: &Arena, version: Version) {
    let filters = "$ $/ $SYS $SYS/# $SYS/+ $CONTROL/# $$ $share/g/t $share/g//";
    for filter in filters.split(' ') {
        eprintln!("{version:?} {filter}");
        let subscribe = wire::subscribe(version, 1, &[(filter, 0)]);
        let mut client = Client::connect(arena.broker(), version, "attacker");
        client.send(subscribe);
        assert_eq!(client.expect_any().suback(version).codes, [0]);
        client.send(wire::disconnect(version, 0));
        // The broker's own messages come, and nothing else.
        for packet in client.drain(PATIENCE) {
            let topic = packet.publish(version).topic;
            assert!(topic.starts_with("$SYS/broker/"), "{topic}");
        }
        client.expect_closed();
    }
}

/// Strings that are none [MQTT-1.5.4-1, MQTT-1.5.4-2].
const NO_STRINGS: &[&[u8]] = &[
    b"\0",
    b"a\0b",
    b"\xff",
    b"\x80",
    b"a\xc3",
    // An overlong `/`, and an overlong NUL.
    b"\xc0\xaf",
    b"\xc0\x80",
    b"\xe0\x80\xaf",
    // Surrogates, alone and as a pair.
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\xbd\xed\xb8\x80",
    // Beyond the last code point.
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xe2\x82",
];

/// A23: invalid UTF-8, NUL and surrogates in every string of every packet.
pub fn a23_strings_that_are_none(binary: &BinaryUnderTest) {
    let mut arena = Arena::new(binary);
    for bad in NO_STRINGS {
        for version in versions() {
            let connect = wire::connect(version).client_id("strings");
            let will = Will::new(bad, "payload");
            // The client identifier comes last but for those after it: each alone is bad.
            let mut connects = vec![
                wire::connect(version).client_id(bad).bytes(),
                connect.clone().username(bad).bytes(),
                connect.clone().will(will).bytes(),
            ];
            let mut packets = vec![
                wire::publish(version, bad, "x").bytes(),
                wire::publish(version, bad, "").retain().bytes(),
                wire::subscribe(version, 1, &[(bad, 0)]),
                wire::subscribe(version, 1, &[(&b"good"[..], 0), (bad, 0)]),
                wire::unsubscribe(version, 1, &[bad]),
            ];
            if version.is_v5() {
                let text = |id: u8| Properties([&[id][..], &short_string(bad)].concat());
                let name = |name: &[u8], value: &[u8]| {
                    let pair = [short_string(name), short_string(value)].concat();
                    Properties([&[id::USER_PROPERTY][..], &pair].concat())
                };
                let user = [name(bad, b"v"), name(b"n", bad)];
                for properties in user.iter().chain(&[text(id::AUTHENTICATION_METHOD)]) {
                    connects.push(connect.clone().properties(properties.clone()).bytes());
                }
                let in_message = [text(id::CONTENT_TYPE), text(id::RESPONSE_TOPIC)];
                for properties in user.iter().chain(&in_message) {
                    let will = Will {
                        properties: properties.clone(),
                        ..Will::new("w", "")
                    };
                    connects.push(connect.clone().will(will).bytes());
                    let publish = wire::publish(version, "good", "x");
                    packets.push(publish.properties(properties.clone()).bytes());
                }
                for properties in &user {
                    packets.push(wire::subscribe_with(version, 1, properties, &[("good", 0)]));
                    let properties = properties.bytes();
                    let body = [&b"\0\x01"[..], &properties, b"\0\x04good"].concat();
                    packets.push(packet(0xa2, body));
                }
                for properties in user.iter().chain(&[text(id::REASON_STRING)]) {
                    let properties = properties.bytes();
                    packets.push(packet(0xe0, [&b"\0"[..], &properties].concat()));
                    for first in [0x40, 0x50, 0x62, 0x70] {
                        packets.push(packet(first, [&b"\0\x01\0"[..], &properties].concat()));
                    }
                }
            }
            let told = if version.is_v5() {
                Told::Connack(0x81)
            } else {
                Told::Nothing
            };
            for bytes in connects {
                let attack = Attack::by_stranger(version, bytes).told(told);
                arena.attack(&attack.counted("ended_protocol_error"));
            }
            for bytes in packets {
                let attack = Attack::by_client(version, bytes);
                arena.attack(&attack.told(Told::Disconnect(&[0x81])));
            }
        }
    }
    arena.finish();
}
