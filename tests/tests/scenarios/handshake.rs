//! From CONNECT to CONNACK.

use std::time::Duration;

use wherry_core::Config;
use wherry_core::packet::ReasonCode;
use wherry_core::permission::Grant;
use wherry_tests::scenario::{Admission, World};
use wherry_tests::wire::{self, Value, Version, Will, id, kind};

fn undecided() -> World {
    let mut world = World::default();
    world.admission = Admission::Later;
    world
}

#[test]
fn a_connection_that_says_nothing_is_closed_after_the_connect_timeout() {
    // [MQTT-3.1.4-1] of 3.1.1 asks for "a reasonable amount of time".
    let mut world = World::default();
    let silent = world.dial(Version::V5);
    world.pass(Duration::from_millis(9_999));
    assert!(!world.is_closed(silent));
    world.pass(Duration::from_millis(1));
    assert!(world.is_closed(silent));
    world.expect_nothing(silent);
    assert_eq!(world.broker.counters().ended_connect_timeout, 1);
    assert_eq!(world.causes(), ["no complete CONNECT in time"]);
    assert_eq!(world.broker.connections(), 0);
}

#[test]
fn a_connect_that_trickles_in_does_not_extend_its_timeout() {
    let mut world = World::default();
    let slow = world.dial(Version::V5);
    let bytes = wire::connect(Version::V5)
        .client_id("a-long-identifier")
        .bytes();
    for byte in &bytes[..11] {
        world.send(slow, [*byte]);
        world.pass(Duration::from_secs(1));
    }
    assert!(world.is_closed(slow));
    assert_eq!(world.broker.counters().ended_connect_timeout, 1);
}

#[test]
fn what_comes_before_connack_waits_and_is_then_handled_in_order() {
    let mut world = undecided();
    let client = world.dial(Version::V3_1_1);
    let mut bytes = wire::connect(Version::V3_1_1).client_id("a").bytes();
    bytes.extend(wire::subscribe(Version::V3_1_1, 1, &[("t", 0)]));
    bytes.extend(wire::publish(Version::V3_1_1, "t", "x").bytes());
    bytes.extend(&wire::PINGREQ[..1]);
    world.send(client, &bytes);
    world.expect_nothing(client);
    assert!(
        !world.is_read(client),
        "nothing more is read until the answer"
    );

    let id = world.id(client);
    assert_eq!(world.broker.credentials(id).unwrap().client_id, "a");
    world.broker.admit(id, Grant::unrestricted());
    world.settle();
    assert!(world.is_read(client));
    world.expect(client, kind::CONNACK);
    world.expect(client, kind::SUBACK);
    assert_eq!(world.expect_message(client).payload, b"x");
    world.expect_nothing(client);
    world.send(client, &wire::PINGREQ[1..]);
    world.expect(client, kind::PINGRESP);
}

#[test]
fn what_is_kept_before_connack_is_bounded_by_one_read() {
    let mut world = undecided();
    let client = world.dial(Version::V3_1_1);
    let mut bytes = wire::connect(Version::V3_1_1).client_id("a").bytes();
    bytes.resize(bytes.len() + 60_000, 0xc0);
    world.send(client, &bytes);
    for _ in 0..100 {
        world.send(client, vec![0; 60_000]);
    }
    assert_eq!(
        world.broker.unparsed_bytes(),
        60_000,
        "a driver that pauses adds nothing to it"
    );
}

#[test]
fn what_came_with_refused_credentials_is_never_looked_at() {
    let mut world = undecided();
    let (watcher, client) = (world.dial(Version::V5), world.dial(Version::V3_1_1));
    world.send(
        watcher,
        wire::connect(Version::V5).client_id("watcher").bytes(),
    );
    world.broker.admit(world.id(watcher), Grant::unrestricted());
    world.settle();
    world.expect(watcher, kind::CONNACK);
    world.subscribe(watcher, "#", 0);
    let mut bytes = wire::connect(Version::V3_1_1)
        .client_id("a")
        .will(Will::new("will", "of someone unknown"))
        .bytes();
    bytes.extend(wire::publish(Version::V3_1_1, "t", "x").bytes());
    world.send(client, &bytes);
    world
        .broker
        .refuse(world.id(client), ReasonCode::NotAuthorized);
    world.settle();
    assert_eq!(
        world
            .expect(client, kind::CONNACK)
            .connack(Version::V3_1_1)
            .code,
        5
    );
    assert!(world.is_closed(client));
    world.expect_nothing(watcher); // [MQTT-3.1.4-6] and no will of a client that never was
}

#[test]
fn every_refusal_reaches_the_client_in_the_words_of_its_version() {
    // [MQTT-3.2.2-8]; [MQTT-3.2.2-5] of 3.1.1: the connection is closed after it.
    for (reason, v3) in [
        (ReasonCode::UnspecifiedError, 3),
        (ReasonCode::ImplementationSpecificError, 3),
        (ReasonCode::UnsupportedProtocolVersion, 1),
        (ReasonCode::ClientIdentifierNotValid, 2),
        (ReasonCode::BadUserNameOrPassword, 4),
        (ReasonCode::NotAuthorized, 5),
        (ReasonCode::ServerUnavailable, 3),
        (ReasonCode::ServerBusy, 3),
        (ReasonCode::Banned, 5),
        (ReasonCode::BadAuthenticationMethod, 5),
        (ReasonCode::QuotaExceeded, 3),
        (ReasonCode::UseAnotherServer, 3),
        (ReasonCode::ServerMoved, 3),
        (ReasonCode::ConnectionRateExceeded, 3),
    ] {
        for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
            let mut world = undecided();
            let client = world.dial(version);
            world.send(client, wire::connect(version).client_id("a").bytes());
            world.broker.refuse(world.id(client), reason);
            world.settle();
            let connack = world.expect(client, kind::CONNACK).connack(version);
            assert_eq!(
                connack.code,
                if version.is_v5() { reason as u8 } else { v3 }
            );
            assert!(!connack.session_present); // [MQTT-3.2.2-6]
            assert!(world.is_closed(client));
            assert_eq!(world.broker.counters().ended_refused, 1);
            assert_eq!(world.broker.sessions(), 0);
        }
    }
}

#[test]
fn credentials_that_are_never_answered_end_in_server_unavailable() {
    let mut world = undecided();
    let client = world.dial(Version::V5);
    world.send(client, wire::connect(Version::V5).client_id("a").bytes());
    world.pass(Duration::from_secs(30));
    assert_eq!(
        world
            .expect(client, kind::CONNACK)
            .connack(Version::V5)
            .code,
        0x88
    );
    assert!(world.is_closed(client));
}

#[test]
fn nobody_is_thrown_out_by_someone_who_is_not_let_in() {
    // [MQTT-3.1.4-3] comes after [MQTT-3.1.4-2].
    let mut world = undecided();
    let first = world.dial(Version::V5);
    world.send(first, wire::connect(Version::V5).client_id("a").bytes());
    world.broker.admit(world.id(first), Grant::unrestricted());
    world.settle();
    world.expect(first, kind::CONNACK);

    let impostor = world.dial(Version::V5);
    world.send(impostor, wire::connect(Version::V5).client_id("a").bytes());
    world.expect_nothing(first);
    world
        .broker
        .refuse(world.id(impostor), ReasonCode::BadUserNameOrPassword);
    world.settle();
    world.send(first, wire::PINGREQ);
    world.expect(first, kind::PINGRESP);

    let owner = world.dial(Version::V5);
    world.send(owner, wire::connect(Version::V5).client_id("a").bytes());
    world.broker.admit(world.id(owner), Grant::unrestricted());
    world.settle();
    assert_eq!(
        world.expect(first, kind::DISCONNECT).disconnect().reason,
        0x8e
    );
    assert!(world.is_closed(first));
    assert_eq!(
        world.expect(owner, kind::CONNACK).connack(Version::V5).code,
        0
    );
    assert_eq!(world.broker.sessions(), 1);
}

#[test]
fn an_answer_about_credentials_counts_once() {
    let mut world = undecided();
    let client = world.dial(Version::V5);
    world.send(client, wire::connect(Version::V5).client_id("a").bytes());
    let id = world.id(client);
    world.broker.admit(id, Grant::unrestricted());
    world.broker.refuse(id, ReasonCode::Banned);
    world.broker.admit(id, Grant::unrestricted());
    world.settle();
    assert_eq!(
        world
            .expect(client, kind::CONNACK)
            .connack(Version::V5)
            .code,
        0
    );
    world.expect_nothing(client);
    assert!(!world.is_closed(client));
}

#[test]
fn assigned_identifiers_differ_and_are_told() {
    // [MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16]
    let mut world = World::default();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let client = world.dial(Version::V5);
        world.send(client, wire::connect(Version::V5).client_id("").bytes());
        let connack = world.expect(client, kind::CONNACK).connack(Version::V5);
        let Some(Value::Text(name)) = connack.property(id::ASSIGNED_CLIENT_IDENTIFIER) else {
            panic!("{connack:?}")
        };
        assert!(!seen.contains(name) && name.len() > 16);
        seen.push(name.clone());
    }
    let mut same_seed = World::default();
    let client = same_seed.dial(Version::V5);
    same_seed.send(client, wire::connect(Version::V5).client_id("").bytes());
    let connack = same_seed.expect(client, kind::CONNACK).connack(Version::V5);
    assert_eq!(
        connack.property(id::ASSIGNED_CLIENT_IDENTIFIER),
        Some(&Value::Text(seen[0].clone())),
        "the same seed and the same calls give the same"
    );
}

#[test]
fn an_anonymous_3_1_1_client_gets_in_without_an_identifier_if_its_session_is_clean() {
    // [MQTT-3.1.3-6] and [MQTT-3.1.3-8] of 3.1.1
    let mut world = World::default();
    world.connect(Version::V3_1_1, "");
    let keeps = world.dial(Version::V3_1_1);
    world.send(
        keeps,
        wire::connect(Version::V3_1_1)
            .client_id("")
            .clean(false)
            .bytes(),
    );
    assert_eq!(
        world
            .expect(keeps, kind::CONNACK)
            .connack(Version::V3_1_1)
            .code,
        2
    );
    assert!(world.is_closed(keeps));
}

#[test]
fn connections_beyond_the_maximum_are_not_opened() {
    let mut world = World::new(Config {
        max_connections: 2,
        ..Config::default()
    });
    let first = world.connect(Version::V5, "a");
    world.connect(Version::V5, "b");
    let origin = wherry_core::connection::Origin {
        listener: 0,
        transport: wherry_core::connection::Transport::Tcp,
        remote: None,
        local: None,
    };
    assert!(world.broker.open(origin).is_err());
    assert_eq!(world.broker.counters().connections_over_limit, 1);
    world.hang_up(first);
    world.connect(Version::V5, "c");
}

#[test]
fn a_connect_above_its_own_limit_is_refused_before_it_is_held() {
    let mut world = World::default();
    let client = world.dial(Version::V5);
    world.send(client, [0x10, 0x81, 0x80, 0x10]); // 262,145 bytes
    assert!(world.is_closed(client));
    assert_eq!(world.broker.counters().ended_packet_too_large, 1);
}

#[test]
fn a_client_that_connack_is_too_large_for_is_refused_before_anyone_is_taken_over() {
    // [MQTT-3.1.2-24]
    let mut world = World::default();
    let first = world.connect(Version::V5, "a");
    let tiny = world.dial(Version::V5);
    let properties = wire::Properties::new().with(id::MAXIMUM_PACKET_SIZE, Value::Four(10));
    let connect = wire::connect(Version::V5)
        .client_id("a")
        .properties(properties);
    world.send(tiny, connect.bytes());
    assert_eq!(
        world.expect(tiny, kind::CONNACK).connack(Version::V5).code,
        0x95
    );
    assert!(world.is_closed(tiny));
    world.send(first, wire::PINGREQ);
    world.expect(first, kind::PINGRESP);
}

#[test]
fn the_refusal_of_a_connect_that_cannot_be_read_is_not_larger_than_its_limit() {
    // [MQTT-3.1.2-24], [MQTT-3.2.2-19]
    let limit = |connect: wire::Connect, size| {
        connect
            .client_id("a")
            .with(id::MAXIMUM_PACKET_SIZE, Value::Four(size))
    };
    let v5 = || wire::connect(Version::V5);
    let twice = |size| limit(v5(), size).with(id::MAXIMUM_PACKET_SIZE, Value::Four(size + 1));
    let wildcard = |size| limit(v5().will(Will::new("a/#", "w")), size);
    let reserved = |size| limit(v5(), size).bytes_with("MQTT", 5, 0b11);
    let unknown_level = |size| limit(v5(), size).bytes_with("MQTT", 6, 0b10);
    for (small, large, code) in [
        (twice(20).bytes(), twice(200).bytes(), 0x82),
        (wildcard(20).bytes(), wildcard(200).bytes(), 0x90),
        (reserved(20), reserved(200), 0x81),
        (unknown_level(20), unknown_level(200), 0x84),
    ] {
        for (connect, has_words) in [(small, false), (large, true)] {
            let mut world = World::default();
            let client = world.dial(Version::V5);
            world.send(client, connect);
            let connack = world.expect(client, kind::CONNACK).connack(Version::V5);
            assert_eq!(connack.code, code);
            let words = connack.property(id::REASON_STRING);
            assert_eq!(words.is_some(), has_words, "{code:#x}");
            assert!(world.is_closed(client));
        }
    }
}
