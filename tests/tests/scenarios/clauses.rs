//! Statements of the specifications that no other scenario shows; `tests/ledger` lists them all.

use std::time::Duration;

use wherry_core::packet::{Packet, ProtocolVersion, ReasonCode, Sender};
use wherry_core::{Config, permission::Grant};
use wherry_tests::scenario::{Admission, Client, World};
use wherry_tests::wire::{self, Properties, Value, Version, Will, id, kind};

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

const NO_LOCAL: u8 = 0x04;

/// Connects a client that takes packets of at most that size.
fn connect_small(world: &mut World, name: &str, size: u32) -> Client {
    let properties = Properties::new().with(id::MAXIMUM_PACKET_SIZE, Value::Four(size));
    let connect = wire::connect(Version::V5)
        .client_id(name)
        .properties(properties);
    world.connect_with(&connect)
}

/// A client that sees all wills.
fn watcher(world: &mut World) -> Client {
    let watcher = world.connect(Version::V5, "watcher");
    world.subscribe(watcher, "will/#", 0);
    watcher
}

#[test]
fn a_message_of_qos_0_goes_out_without_dup_and_identifier() {
    // [MQTT-4.3.1-1], [MQTT-3.3.1-2], [MQTT-2.2.1-2], [MQTT-2.2.2-1]; 3.1.1 [MQTT-2.3.1-5]
    let mut world = World::default();
    let readers = VERSIONS.map(|version| {
        let reader = world.connect(version, &format!("{version:?}"));
        world.subscribe(reader, "t", 0);
        reader
    });
    for from in VERSIONS {
        let publisher = world.connect(from, "publisher");
        // Whatever it was published with.
        for qos in 0..=2 {
            for retain in [false, true] {
                let publish = wire::publish(from, "t", "x");
                let publish = if retain { publish.retain() } else { publish };
                let publish = if qos > 0 {
                    publish.qos(qos, 7)
                } else {
                    publish
                };
                world.send(publisher, publish.bytes());
                world.ack(publisher, kind::PUBREL, 7);
                for (reader, to) in readers.iter().zip(VERSIONS) {
                    let expected: &[u8] = if to.is_v5() {
                        b"\x30\x05\0\x01t\0x"
                    } else {
                        b"\x30\x04\0\x01tx"
                    };
                    assert_eq!(world.received(*reader), expected, "{from:?} to {to:?}");
                    world.next(*reader);
                }
            }
        }
    }
}

#[test]
fn a_client_that_allows_no_topic_aliases_gets_none() {
    // [MQTT-3.1.2-27]
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    for maximum in [None, Some(0)] {
        let properties = match maximum {
            Some(maximum) => Properties::new().with(id::TOPIC_ALIAS_MAXIMUM, Value::Two(maximum)),
            None => Properties::new(),
        };
        let connect = wire::connect(Version::V5).client_id("plain");
        let client = world.connect_with(&connect.properties(properties));
        world.subscribe(client, "#", 0);
        for n in 0..100 {
            let topic = format!("a/topic/that/is/worth/an/alias/{}", n % 3);
            world.publish(publisher, &topic, "x");
            let got = world.expect_message(client);
            assert_eq!(got.topic, topic);
            assert_eq!(got.property(id::TOPIC_ALIAS), None);
        }
    }
}

#[test]
fn every_identifier_of_up_to_23_letters_and_digits_is_let_in() {
    // [MQTT-3.1.3-5] of 3.1.1 and of 5.0
    let alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for version in VERSIONS {
        let mut world = World::default();
        for len in 1..=23 {
            for start in (0..alphabet.len()).step_by(len) {
                let mut name = String::new();
                name.extend(alphabet.chars().cycle().skip(start).take(len));
                let client = world.connect(version, &name);
                world.send(client, wire::disconnect(version, 0));
            }
        }
    }
}

#[test]
fn an_identifier_above_the_limit_is_refused_and_one_within_it_is_not() {
    // [MQTT-3.1.3-8]; 3.1.1 [MQTT-3.1.3-9]
    let config = Config {
        max_client_id_len: 30,
        ..Config::default()
    };
    for (version, longest, code) in [
        (Version::V3_1, 23, 2),
        (Version::V3_1_1, 30, 2),
        (Version::V5, 30, 0x85),
    ] {
        let mut world = World::new(config.clone());
        let connect = |len| wire::connect(version).client_id("x".repeat(len)).bytes();
        let client = world.dial(version);
        world.send(client, connect(longest + 1));
        let connack = world.expect(client, kind::CONNACK).connack(version);
        assert_eq!((connack.code, connack.session_present), (code, false));
        assert!(world.is_closed(client));
        world.expect_nothing(client);

        let twin = world.dial(version);
        world.send(twin, connect(longest));
        let connack = world.expect(twin, kind::CONNACK).connack(version);
        assert_eq!(connack.code, 0);
        assert!(!world.is_closed(twin));
    }
}

#[test]
fn a_will_is_published_once_and_a_client_that_comes_back_without_one_has_none() {
    // [MQTT-3.1.2-10]; 3.1.1 [MQTT-3.1.2-10], [MQTT-3.1.2-12]
    for version in VERSIONS {
        let mut world = World::default();
        let watcher = watcher(&mut world);
        let connect = wire::connect(version)
            .client_id("a")
            .clean(false)
            .properties(Properties::new().with(id::SESSION_EXPIRY_INTERVAL, Value::Four(3600)));
        let mortal = world.connect_with(&connect.clone().will(Will::new("will/a", "gone")));
        world.hang_up(mortal);
        assert_eq!(world.messages(watcher).len(), 1);
        for _ in 0..2 {
            let client = world.resume(&connect);
            world.hang_up(client);
            world.expect_nothing(watcher);
        }
        // Nor does the will of the connection before come back where it was taken back.
        let leaving = world.resume(&connect.clone().will(Will::new("will/a", "never")));
        world.send(leaving, wire::disconnect(version, 0));
        let client = world.resume(&connect);
        world.hang_up(client);
        world.pass(Duration::from_secs(4000));
        world.expect_nothing(watcher);
        assert_eq!(world.broker.counters().wills_published, 1);
    }
}

#[test]
fn nobody_hears_disconnect_before_connack() {
    // [MQTT-3.14.0-1]
    type Ending = fn(&mut World, Client);
    let endings: [(&str, Ending, bool); 6] = [
        (
            "silence",
            |world, _| world.pass(Duration::from_secs(60)),
            false,
        ),
        (
            "no CONNECT",
            |world, client| world.send(client, wire::PINGREQ),
            false,
        ),
        (
            "noise",
            |world, client| world.send(client, [0xff; 8]),
            false,
        ),
        ("a stop", |world, _| world.broker.shut_down(), true),
        (
            "a kick",
            |world, client| world.broker.kick(world.id(client)),
            true,
        ),
        (
            "no answer",
            |world, _| world.pass(Duration::from_secs(60)),
            true,
        ),
    ];
    for (what, end, after_connect) in endings {
        let mut world = World::default();
        world.admission = Admission::Later;
        let client = world.dial(Version::V5);
        if after_connect {
            world.send(client, wire::connect(Version::V5).client_id("a").bytes());
        }
        end(&mut world, client);
        world.settle();
        assert!(world.is_closed(client), "{what}");
        while let Some(packet) = world.next(client) {
            assert_eq!(packet.kind(), kind::CONNACK, "{what}");
            assert!(packet.connack(Version::V5).code >= 0x80, "{what}");
        }
    }
    // The twin: who has been let in is told.
    let mut world = World::default();
    let client = world.connect(Version::V5, "a");
    world.broker.shut_down();
    world.settle();
    world.expect(client, kind::DISCONNECT);
}

#[test]
fn nothing_follows_a_disconnect_of_the_broker() {
    // [MQTT-3.14.4-1], [MQTT-3.14.4-2]
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.connect(Version::V5, "a");
    world.subscribe(client, "t", 0);
    world.take_only(client, 0);
    world.publish(publisher, "t", "before");
    world.send(client, [0x00]);
    assert!(world.is_closed(client));
    // Its last words still wait, and so would whatever came to them.
    world.publish(publisher, "t", "after");
    world.send(client, wire::PINGREQ);
    world.take_all(client);
    assert_eq!(world.expect_message(client).payload, b"before");
    assert_eq!(
        world.expect(client, kind::DISCONNECT).disconnect().reason,
        0x81
    );
    world.expect_nothing(client);
}

#[test]
fn reserved_bits_of_disconnect_make_it_malformed() {
    // [MQTT-3.14.1-1] of 3.1.1 and of 5.0
    for version in VERSIONS {
        for flags in 0..16 {
            let mut world = World::default();
            let watcher = watcher(&mut world);
            let connect = wire::connect(version).client_id("a");
            let client = world.connect_with(&connect.will(Will::new("will/a", "gone")));
            world.send(client, [0xe0 | flags, 0]);
            assert!(world.is_closed(client));
            if flags == 0 {
                world.expect_nothing(client);
                world.expect_nothing(watcher);
                continue;
            }
            if version.is_v5() {
                let packet = world.expect(client, kind::DISCONNECT);
                assert_eq!(packet.disconnect().reason, 0x81);
            }
            world.expect_nothing(client);
            assert_eq!(world.messages(watcher).len(), 1, "it took no will back");
        }
    }
}

#[test]
fn several_filters_in_one_packet_count_as_in_several() {
    // [MQTT-3.8.4-5], [MQTT-3.10.4-6], [MQTT-3.11.3-1]
    let version = Version::V5;
    let mut world = World::default();
    let client = world.connect(version, "a");
    // The last option of a filter that is there twice holds, as it would in a packet of its own.
    for (options, copies) in [([NO_LOCAL, 0], 1), ([0, NO_LOCAL], 0)] {
        let filters = [("t", options[0]), ("u", 0), ("t", options[1])];
        world.send(client, wire::subscribe(version, 3, &filters));
        let suback = world.expect(client, kind::SUBACK).suback(version);
        assert_eq!((suback.packet_id, suback.codes), (3, vec![0, 0, 0]));
        world.expect_nothing(client);
        world.publish(client, "t", "x");
        assert_eq!(world.messages(client).len(), copies);
    }
    // What is unsubscribed twice is not there the second time; each answer in its place.
    let filters = ["none", "t", "t", "a/#/b", "u"];
    world.send(client, wire::unsubscribe(version, 4, &filters));
    let unsuback = world.expect(client, kind::UNSUBACK).unsuback(version);
    assert_eq!(unsuback.packet_id, 4);
    assert_eq!(unsuback.codes, [0x11, 0x00, 0x11, 0x8f, 0x00]);
    world.expect_nothing(client);
    assert_eq!(world.broker.subscriptions(), 0);
}

#[test]
fn several_filters_in_one_packet_count_as_in_several_before_mqtt_5() {
    // 3.1.1 [MQTT-3.8.4-4], [MQTT-3.10.4-5], [MQTT-3.10.4-6]
    for version in [Version::V3_1, Version::V3_1_1] {
        let mut world = World::default();
        let client = world.connect(version, "a");
        let filters = [("t", 0), ("u", 0), ("t", 0)];
        world.send(client, wire::subscribe(version, 3, &filters));
        let suback = world.expect(client, kind::SUBACK).suback(version);
        assert_eq!((suback.packet_id, suback.codes), (3, vec![0, 0, 0]));
        for filters in [&["none", "t", "t"][..], &["none"]] {
            world.send(client, wire::unsubscribe(version, 4, filters));
            let unsuback = world.expect(client, kind::UNSUBACK).unsuback(version);
            assert_eq!((unsuback.packet_id, unsuback.codes), (4, vec![]));
        }
        world.publish(client, "t", "gone");
        world.expect_nothing(client);
        world.publish(client, "u", "still there");
        assert_eq!(world.messages(client).len(), 1);
    }
}

#[test]
fn nothing_that_waits_is_lost_when_its_subscription_is_replaced() {
    // [MQTT-3.8.4-4]; 3.1.1 [MQTT-3.8.4-3]
    for version in VERSIONS {
        let mut world = World::default();
        let publisher = world.connect(version, "publisher");
        let client = world.connect(version, "a");
        world.subscribe(client, "t/+", 0);
        world.take_only(client, 0);
        for n in 0..30u8 {
            world.publish(publisher, "t/a", [n]);
            if n % 3 == 0 {
                world.send(client, wire::subscribe(version, 1, &[("t/+", 0)]));
            }
        }
        world.take_all(client);
        let (mut messages, mut answers) = (Vec::new(), 0);
        while let Some(packet) = world.next(client) {
            match packet.kind() {
                kind::SUBACK => answers += 1,
                _ => messages.extend(packet.publish(version).payload),
            }
        }
        assert_eq!(messages, (0..30).collect::<Vec<u8>>());
        assert_eq!(answers, 10);
    }
}

#[test]
fn words_never_make_an_answer_too_large_for_its_client() {
    // [MQTT-3.9.2-1], [MQTT-3.9.2-2], [MQTT-3.11.2-1], [MQTT-3.11.2-2]
    let version = Version::V5;
    let mut world = World::default();
    // As large as the answers are without a word, and larger than a DISCONNECT.
    let filters: Vec<String> = (0..100).map(|n| format!("a/#/{n}")).collect();
    let size = 2 + 2 + 1 + 100;
    let client = connect_small(&mut world, "small", size);
    let refused: Vec<(&str, u8)> = filters.iter().map(|filter| (&filter[..], 0)).collect();
    world.send(client, wire::subscribe(version, 1, &refused));
    assert_eq!(world.received(client).len(), size as usize);
    let suback = world.expect(client, kind::SUBACK).suback(version);
    assert_eq!(suback.codes, vec![0x8f; 100]);
    world.send(client, wire::unsubscribe(version, 2, &filters));
    assert_eq!(world.received(client).len(), size as usize);
    let unsuback = world.expect(client, kind::UNSUBACK).unsuback(version);
    assert_eq!(unsuback.codes, vec![0x8f; 100]);
}

#[test]
fn an_answer_too_large_for_its_client_is_not_sent() {
    // [MQTT-3.1.2-24] Without a word the client would wait for it, so the connection ends.
    let version = Version::V5;
    let mut world = World::default();
    for (filters, taken) in [(45, true), (46, false)] {
        let client = connect_small(&mut world, "small", 50);
        let names: Vec<(String, u8)> = (0..filters).map(|n| (format!("t/{n}"), 0)).collect();
        world.send(client, wire::subscribe(version, 1, &names));
        if taken {
            assert_eq!(world.received(client).len(), 50);
            let suback = world.expect(client, kind::SUBACK).suback(version);
            assert_eq!(suback.codes.len(), filters);
        } else {
            let packet = world.expect(client, kind::DISCONNECT);
            assert_eq!(packet.disconnect().reason, 0x95);
            assert_eq!(world.broker.subscriptions(), 0, "none was made");
        }
        assert_eq!(world.is_closed(client), !taken);
    }
}

#[test]
fn a_message_that_is_not_retained_is_kept_for_nobody() {
    // [MQTT-3.3.1-8]; 3.1.1 [MQTT-3.3.1-12]
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect(version, "a");
        world.publish(client, "t", "passing");
        world.subscribe(client, "#", 0);
        world.expect_nothing(client);
        assert_eq!(world.broker.retained_messages(), 0);
        // Nor does an empty one clear what is kept.
        world.publish_retained(client, "t", "kept");
        world.publish(client, "t", "");
        assert_eq!(world.messages(client).len(), 2);
        world.subscribe(client, "t", 0);
        assert_eq!(world.expect_message(client).payload, b"kept");
    }
}

#[test]
fn auth_without_a_method_in_connect_is_a_protocol_error() {
    // [MQTT-4.12.0-7]. That the packet as such is well-formed is shown in `codec_malformed`.
    for reason in [0x18, 0x19] {
        let mut world = World::default();
        let client = world.connect(Version::V5, "a");
        world.send(client, [0xf0, 6, reason, 4, 0x15, 0, 1, b'M']);
        let packet = world.expect(client, kind::DISCONNECT);
        assert_eq!(packet.disconnect().reason, 0x82);
        assert!(world.is_closed(client));
    }
}

#[test]
fn every_disconnect_of_the_broker_is_one_that_a_server_may_send() {
    // [MQTT-3.14.2-1], [MQTT-3.14.2-2], [MQTT-4.13.1-1], [MQTT-4.13.2-1]
    type Ending = fn(&mut World, Client);
    let endings: [(u8, Ending); 8] = [
        (0x81, |world, client| world.send(client, [0x00])),
        (0x82, |world, client| {
            world.send(client, wire::connect(Version::V5).bytes());
        }),
        (0x8b, |world, _| world.broker.shut_down()),
        (0x8d, |world, _| world.pass(Duration::from_secs(15))),
        (0x8e, |world, _| {
            world.connect(Version::V5, "a");
        }),
        (0x90, |world, client| {
            world.publish(client, &"/".repeat(1000), "");
        }),
        (0x95, |world, client| {
            world.send(client, [0x30, 0xff, 0xff, 0xff, 0x7f]);
        }),
        (0x98, |world, client| world.broker.kick(world.id(client))),
    ];
    for (reason, end) in endings {
        let mut world = World::default();
        let properties = Properties::new().with(id::SESSION_EXPIRY_INTERVAL, Value::Four(3600));
        let connect = wire::connect(Version::V5).client_id("a").keep_alive(10);
        let client = world.connect_with(&connect.properties(properties));
        end(&mut world, client);
        world.settle();
        assert!(world.is_closed(client), "{reason:#04x}");
        // The decoder refuses what a server may not send.
        let bytes = world.received(client);
        let found = Packet::decode_one(bytes, ProtocolVersion::V5, Sender::Server);
        let Ok(Some((Packet::Disconnect(disconnect), len))) = found else {
            panic!("{reason:#04x}: {found:?}");
        };
        assert_eq!(disconnect.reason as u8, reason);
        assert_eq!(disconnect.properties.session_expiry_interval(), None);
        assert_eq!(len, bytes.len(), "and it is the last packet");
    }
}

#[test]
fn the_answers_of_the_broker_carry_no_user_properties() {
    // [MQTT-3.2.2-20], [MQTT-3.9.2-2], [MQTT-3.11.2-2], [MQTT-3.14.2-4]: Wherry has none to add,
    // and those of a request are not for its answer.
    let version = Version::V5;
    let user = Properties::new().user("k", "v");
    let none = |properties: &[(u8, Value)]| {
        assert!(properties.iter().all(|(id, _)| *id != id::USER_PROPERTY));
    };
    let mut world = World::default();
    let client = world.dial(version);
    let connect = wire::connect(version)
        .client_id("a")
        .properties(user.clone());
    world.send(client, connect.bytes());
    none(
        &world
            .expect(client, kind::CONNACK)
            .connack(version)
            .properties,
    );
    let subscribe = wire::subscribe_with(version, 1, &user, &[("t", 0), ("#/t", 0)]);
    world.send(client, subscribe);
    none(
        &world
            .expect(client, kind::SUBACK)
            .suback(version)
            .properties,
    );
    let body = [&[0, 2][..], &user.bytes(), b"\0\x01t"].concat();
    world.send(client, wire::packet(0xa2, body));
    none(
        &world
            .expect(client, kind::UNSUBACK)
            .unsuback(version)
            .properties,
    );
    world.send(client, connect.bytes());
    none(
        &world
            .expect(client, kind::DISCONNECT)
            .disconnect()
            .properties,
    );

    world.admission = Admission::Later;
    let refused = world.dial(version);
    world.send(refused, connect.bytes());
    world.broker.refuse(world.id(refused), ReasonCode::Banned);
    world.settle();
    none(
        &world
            .expect(refused, kind::CONNACK)
            .connack(version)
            .properties,
    );
}

#[test]
fn a_connection_has_one_connack() {
    // [MQTT-3.2.0-2], [MQTT-3.2.0-1]; 3.1.1 [MQTT-3.2.0-1]
    for version in VERSIONS {
        let mut world = World::default();
        world.admission = Admission::Later;
        let publisher = world.dial(version);
        let connect = |name| wire::connect(version).client_id(name).bytes();
        world.send(publisher, connect("publisher"));
        world
            .broker
            .admit(world.id(publisher), Grant::unrestricted());
        let client = world.dial(version);
        let subscribe = wire::subscribe(version, 1, &[("t", 0)]);
        world.send(client, [connect("a"), subscribe, connect("a")].concat());
        world.publish(publisher, "t", "too early");
        world.expect_nothing(client);
        world.broker.admit(world.id(client), Grant::unrestricted());
        world.settle();
        world.expect(client, kind::CONNACK);
        world.expect(client, kind::SUBACK);
        assert!(world.is_closed(client), "by its second CONNECT");
        while let Some(packet) = world.next(client) {
            assert_eq!(packet.kind(), kind::DISCONNECT);
        }
    }
}
