//! QoS 2: exactly once, in both directions, in every order that a client may think of.
//!
//! A message is passed on when its PUBLISH comes; its identifier is held until PUBREL.

use wherry_core::Config;
use wherry_tests::scenario::{Client, World};
use wherry_tests::wire::{self, Properties, Value, Version, id, kind};

/// A publisher, and a subscriber with QoS 2 whose session lasts.
fn pair(version: Version) -> (World, Client, Client) {
    let mut world = World::default();
    let publisher = world.connect_with(&wire::lasting(version, "publisher"));
    let subscriber = world.connect_with(&wire::lasting(version, "subscriber"));
    world.subscribe(subscriber, "t", 2);
    (world, publisher, subscriber)
}

fn v5_or_zero(version: Version, reason: u8) -> u8 {
    if version.is_v5() { reason } else { 0 }
}

#[test]
fn a_message_is_passed_on_once_however_often_it_comes_before_its_release() {
    // [MQTT-4.3.3-10]: with DUP or without, with the same payload or another.
    for version in Version::ALL {
        let (mut world, publisher, subscriber) = pair(version);
        let publish = wire::publish(version, "t", "one").qos(2, 7);
        let other = wire::publish(version, "t", "another").qos(2, 7);
        for packet in [
            &publish,
            &publish.clone().dup(),
            &publish,
            &other,
            &other.clone().dup(),
        ] {
            world.send(publisher, packet.bytes());
            assert_eq!(world.expect_reason(publisher, kind::PUBREC, 7), 0);
        }
        assert_eq!(world.drain_texts(subscriber), ["one"]);
        world.ack(publisher, kind::PUBREL, 7);
        assert_eq!(world.expect_reason(publisher, kind::PUBCOMP, 7), 0);
        world.expect_nothing(subscriber);
        // [MQTT-4.3.3-12]: from now on it is a new one, whatever its DUP says.
        world.send(publisher, publish.dup().bytes());
        assert_eq!(world.expect_reason(publisher, kind::PUBREC, 7), 0);
        let got = world.drain(subscriber);
        assert_eq!((got.len(), got[0].dup), (1, false)); // [MQTT-3.3.1-3]
    }
}

#[test]
fn identifiers_are_held_across_connections_of_a_session() {
    // [MQTT-4.3.3-10]; the received, unreleased identifiers are part of the session.
    for version in Version::ALL {
        let (mut world, publisher, subscriber) = pair(version);
        world.publish_at(publisher, 2, 7, "t", "once");
        world.hang_up(publisher);
        let publisher = world.resume(&wire::lasting(version, "publisher"));
        let again = wire::publish(version, "t", "once").qos(2, 7).dup();
        world.send(publisher, again.bytes());
        assert_eq!(world.expect_reason(publisher, kind::PUBREC, 7), 0);
        world.hang_up(publisher);
        let publisher = world.resume(&wire::lasting(version, "publisher"));
        world.ack(publisher, kind::PUBREL, 7);
        assert_eq!(world.expect_reason(publisher, kind::PUBCOMP, 7), 0);
        assert_eq!(world.drain_texts(subscriber), ["once"]);
    }
}

#[test]
fn identifiers_end_with_their_session() {
    for version in Version::ALL {
        let (mut world, publisher, subscriber) = pair(version);
        world.publish_at(publisher, 2, 7, "t", "one");
        world.hang_up(publisher);
        let publisher = world.connect(version, "publisher");
        world.publish_at(publisher, 2, 7, "t", "two");
        assert_eq!(world.expect_reason(publisher, kind::PUBREC, 7), 0);
        assert_eq!(world.drain_texts(subscriber), ["one", "two"]);
        world.hang_up(publisher);
        let publisher = world.connect(version, "publisher");
        world.ack(publisher, kind::PUBREL, 7);
        let reason = world.expect_reason(publisher, kind::PUBCOMP, 7);
        assert_eq!(reason, v5_or_zero(version, 0x92));
    }
}

#[test]
fn a_release_is_completed_once_and_after_that_there_is_nothing_to_complete() {
    // [MQTT-4.3.3-11]
    for version in Version::ALL {
        let (mut world, publisher, subscriber) = pair(version);
        world.ack(publisher, kind::PUBREL, 9);
        let unknown = v5_or_zero(version, 0x92);
        assert_eq!(world.expect_reason(publisher, kind::PUBCOMP, 9), unknown);
        world.publish_at(publisher, 2, 9, "t", "x");
        world.expect_reason(publisher, kind::PUBREC, 9);
        world.ack(publisher, kind::PUBREL, 9);
        assert_eq!(world.expect_reason(publisher, kind::PUBCOMP, 9), 0);
        world.ack(publisher, kind::PUBREL, 9);
        assert_eq!(world.expect_reason(publisher, kind::PUBCOMP, 9), unknown);
        assert_eq!(world.drain_texts(subscriber), ["x"]);
        // Nor is an identifier held that came with QoS 1.
        world.publish_at(publisher, 1, 9, "t", "x");
        world.expect_reason(publisher, kind::PUBACK, 9);
        world.ack(publisher, kind::PUBREL, 9);
        assert_eq!(world.expect_reason(publisher, kind::PUBCOMP, 9), unknown);
    }
}

#[test]
fn a_release_with_an_error_ends_the_exchange_too() {
    // Section 4.3.3: the sender knows nothing of the message; it has been passed on already.
    let (mut world, publisher, subscriber) = pair(Version::V5);
    world.publish_at(publisher, 2, 9, "t", "x");
    world.expect_reason(publisher, kind::PUBREC, 9);
    let pubrel = wire::ack_with(kind::PUBREL, 9, 0x92, &Properties::new());
    world.send(publisher, pubrel);
    assert_eq!(world.expect_reason(publisher, kind::PUBCOMP, 9), 0);
    world.publish_at(publisher, 2, 9, "t", "y");
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 9), 0);
    assert_eq!(world.drain_texts(subscriber), ["x", "y"]);
}

#[test]
fn a_pubrec_with_an_error_holds_no_identifier() {
    // [MQTT-4.3.3-9]
    let (mut world, publisher, subscriber) = pair(Version::V5);
    world.publish_at(publisher, 2, 7, "$SYS/x", "refused");
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 7), 0x90);
    world.publish_at(publisher, 2, 7, "t", "new");
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 7), 0);
    assert_eq!(world.drain_texts(subscriber), ["new"]);
    world.ack(publisher, kind::PUBREL, 7);
    assert_eq!(world.expect_reason(publisher, kind::PUBCOMP, 7), 0);
    // And nothing is left to release.
    world.publish_at(publisher, 2, 8, "$SYS/x", "refused");
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 8), 0x90);
    world.ack(publisher, kind::PUBREL, 8);
    assert_eq!(world.expect_reason(publisher, kind::PUBCOMP, 8), 0x92);
}

#[test]
fn an_identifier_that_awaits_its_release_is_in_use_for_everything_else() {
    // [MQTT-2.2.1-3], [MQTT-3.8.4-1]: it is told so, and the first exchange goes on.
    let (mut world, client, subscriber) = pair(Version::V5);
    world.publish_at(client, 2, 7, "t", "held");
    world.expect_reason(client, kind::PUBREC, 7);
    world.publish_at(client, 1, 7, "t", "with the wrong identifier");
    assert_eq!(world.expect_reason(client, kind::PUBACK, 7), 0x91);
    world.send(
        client,
        wire::subscribe(Version::V5, 7, &[("s", 0), ("u", 1)]),
    );
    let suback = world.expect(client, kind::SUBACK).suback(Version::V5);
    assert_eq!((suback.packet_id, suback.codes), (7, vec![0x91, 0x91]));
    world.send(client, wire::unsubscribe(Version::V5, 7, &["s"]));
    let unsuback = world.expect(client, kind::UNSUBACK).unsuback(Version::V5);
    assert_eq!((unsuback.packet_id, unsuback.codes), (7, vec![0x91]));
    assert_eq!(world.drain_texts(subscriber), ["held"]);
    assert_eq!(world.publish_acked(subscriber, "s", "x"), 0x10);
    world.ack(client, kind::PUBREL, 7);
    assert_eq!(world.expect_reason(client, kind::PUBCOMP, 7), 0);
    world.expect_nothing(subscriber);
    // Released, it serves for all of them.
    world.publish_at(client, 1, 7, "t", "y");
    assert_eq!(world.expect_reason(client, kind::PUBACK, 7), 0);
    world.send(client, wire::subscribe(Version::V5, 7, &[("s", 0)]));
    assert_eq!(
        world.expect(client, kind::SUBACK).suback(Version::V5).codes,
        [0]
    );
}

#[test]
fn both_directions_count_their_identifiers_for_themselves() {
    // Section 2.2.1: client and broker may use the same ones at the same time.
    for version in Version::ALL {
        let mut world = World::default();
        let client = world.connect(version, "a");
        world.subscribe(client, "t", 2);
        world.publish_at(client, 2, 1, "t", "x");
        let mut ids = Vec::new();
        while let Some(packet) = world.next(client) {
            match packet.kind() {
                kind::PUBLISH => ids.extend(packet.publish(version).packet_id),
                kind => assert_eq!(packet.ack(kind, version).packet_id, 1),
            }
        }
        assert_eq!(ids.len(), 1);
        // The client's PUBREL and its PUBREC, even of the same number, do not meet.
        world.ack(client, kind::PUBREC, ids[0]);
        world.expect_reason(client, kind::PUBREL, ids[0]);
        world.ack(client, kind::PUBREL, 1);
        assert_eq!(world.expect_reason(client, kind::PUBCOMP, 1), 0);
        world.ack(client, kind::PUBCOMP, ids[0]);
        world.expect_nothing(client);
        assert!(!world.is_closed(client));
    }
}

#[test]
fn a_pubrec_is_answered_with_a_pubrel_as_often_as_it_comes() {
    // [MQTT-4.3.3-4]; nothing is published again [MQTT-4.3.3-6].
    for version in Version::ALL {
        let (mut world, publisher, subscriber) = pair(version);
        world.publish_released(publisher, "t", "x");
        let id = world.expect_message(subscriber).packet_id.unwrap();
        for _ in 0..3 {
            world.ack(subscriber, kind::PUBREC, id);
            assert_eq!(world.expect_reason(subscriber, kind::PUBREL, id), 0);
        }
        world.ack(subscriber, kind::PUBCOMP, id);
        world.ack(subscriber, kind::PUBCOMP, id);
        world.expect_nothing(subscriber);
        // Now it is unknown.
        world.ack(subscriber, kind::PUBREC, id);
        let reason = world.expect_reason(subscriber, kind::PUBREL, id);
        assert_eq!(reason, v5_or_zero(version, 0x92));
        assert!(!world.is_closed(subscriber));
    }
}

#[test]
fn a_pubrec_for_a_message_that_nobody_sent_is_answered_with_not_found() {
    // Section 3.6.2.1
    for version in Version::ALL {
        let (mut world, _, subscriber) = pair(version);
        for packet_id in [1, 77, 65_535] {
            world.ack(subscriber, kind::PUBREC, packet_id);
            let reason = world.expect_reason(subscriber, kind::PUBREL, packet_id);
            assert_eq!(reason, v5_or_zero(version, 0x92));
            // What a client says to that is of no interest.
            world.ack(subscriber, kind::PUBCOMP, packet_id);
        }
        world.expect_nothing(subscriber);
        assert!(!world.is_closed(subscriber));
    }
}

#[test]
fn an_unknown_pubrec_with_an_error_needs_no_release() {
    // Section 4.3.3: PUBREL follows a PUBREC below 0x80 only.
    let (mut world, _, subscriber) = pair(Version::V5);
    let pubrec = wire::ack_with(kind::PUBREC, 9, 0x80, &Properties::new());
    world.send(subscriber, pubrec);
    world.expect_nothing(subscriber);
    assert!(!world.is_closed(subscriber));
}

#[test]
fn a_pubrec_with_an_error_discards_the_message_and_frees_its_place() {
    // [MQTT-4.4.0-2], section 4.3.3
    let mut world = World::new(Config {
        send_window: 1.try_into().unwrap(),
        ..Config::default()
    });
    let publisher = world.connect(Version::V5, "publisher");
    let connect = wire::lasting(Version::V5, "a");
    let client = world.connect_with(&connect);
    world.subscribe(client, "t", 2);
    let reasons = [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    for _ in reasons {
        world.publish_released(publisher, "t", "x");
    }
    for reason in reasons {
        let id = world.expect_message(client).packet_id.unwrap();
        world.expect_nothing(client);
        let pubrec = wire::ack_with(kind::PUBREC, id, reason, &Properties::new());
        world.send(client, pubrec);
    }
    world.expect_nothing(client);
    world.hang_up(client);
    let client = world.resume(&connect);
    world.expect_nothing(client);
}

#[test]
fn a_pubcomp_with_not_found_ends_the_exchange() {
    let (mut world, publisher, subscriber) = pair(Version::V5);
    world.publish_released(publisher, "t", "x");
    let id = world.expect_message(subscriber).packet_id.unwrap();
    world.ack(subscriber, kind::PUBREC, id);
    world.expect_reason(subscriber, kind::PUBREL, id);
    let pubcomp = wire::ack_with(kind::PUBCOMP, id, 0x92, &Properties::new());
    world.send(subscriber, pubcomp);
    world.hang_up(subscriber);
    let subscriber = world.resume(&wire::lasting(Version::V5, "subscriber"));
    world.expect_nothing(subscriber);
}

#[test]
fn releases_come_in_the_order_of_the_pubrecs() {
    // [MQTT-4.6.0-4]
    for version in Version::ALL {
        let (mut world, publisher, subscriber) = pair(version);
        for _ in 0..5 {
            world.publish_released(publisher, "t", "x");
        }
        let mut ids: Vec<u16> = world
            .messages(subscriber)
            .iter()
            .map(|message| message.packet_id.unwrap())
            .collect();
        // A client that answers in another order is answered in its order.
        ids.swap(0, 3);
        let pubrecs: Vec<u8> = ids
            .iter()
            .flat_map(|id| wire::ack(kind::PUBREC, *id))
            .collect();
        world.send(subscriber, pubrecs);
        for id in &ids {
            world.expect_reason(subscriber, kind::PUBREL, *id);
        }
    }
}

#[test]
fn a_retained_message_that_comes_twice_is_retained_once_and_not_again_after_a_clear() {
    // A duplicate has no effect, on what is retained neither.
    let (mut world, publisher, subscriber) = pair(Version::V5);
    let publish = wire::publish(Version::V5, "t", "x").qos(2, 7).retain();
    world.send(publisher, publish.bytes());
    world.expect_reason(publisher, kind::PUBREC, 7);
    world.publish_retained(subscriber, "t", "");
    world.send(publisher, publish.dup().bytes());
    world.expect_reason(publisher, kind::PUBREC, 7);
    assert_eq!(world.broker.retained_messages(), 0);
    assert_eq!(world.drain_texts(subscriber), ["x", ""]);
}

#[test]
fn a_message_that_expires_during_its_exchange_is_still_seen_through() {
    // [MQTT-4.3.3-7], [MQTT-4.3.3-13]
    let (mut world, publisher, subscriber) = pair(Version::V5);
    let publish = wire::publish(Version::V5, "t", "x")
        .qos(2, 7)
        .with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(2));
    world.send(publisher, publish.bytes());
    world.expect_reason(publisher, kind::PUBREC, 7);
    let first = world.expect_message(subscriber);
    world.hang_up(subscriber);
    world.pass(std::time::Duration::from_secs(60));
    let subscriber = world.resume(&wire::lasting(Version::V5, "subscriber"));
    let again = world.expect_message(subscriber);
    assert_eq!((again.dup, again.packet_id), (true, first.packet_id));
    world.acknowledge(subscriber, &again);
    world.ack(publisher, kind::PUBREL, 7);
    assert_eq!(world.expect_reason(publisher, kind::PUBCOMP, 7), 0);
}

#[test]
fn every_identifier_there_is_can_be_held_before_mqtt_5() {
    // 3.1.1 knows no Receive Maximum: a client may use all its identifiers.
    let mut world = World::default();
    let client = world.connect(Version::V3_1_1, "a");
    let all: Vec<u8> = (1..=u16::MAX)
        .flat_map(|id| wire::publish(Version::V3_1_1, "t", "x").qos(2, id).bytes())
        .collect();
    world.send_in_pieces(client, &all, 60_000);
    for id in 1..=u16::MAX {
        world.expect_reason(client, kind::PUBREC, id);
    }
    let releases: Vec<u8> = (1..=u16::MAX)
        .flat_map(|id| wire::ack(kind::PUBREL, id))
        .collect();
    world.send_in_pieces(client, &releases, 60_000);
    for id in 1..=u16::MAX {
        world.expect_reason(client, kind::PUBCOMP, id);
    }
    world.expect_nothing(client);
}

#[test]
fn a_release_that_is_repeated_on_a_new_connection_is_completed() {
    // Section 3.7.2.1: an identifier that is not known is no error during recovery, and there are
    // clients that take 0x92 for one. Whoever publishes something new has recovered.
    for version in [Version::V3_1_1, Version::V5] {
        let mut world = World::default();
        let connect = wire::lasting(version, "a");
        let client = world.connect_with(&connect);
        world.publish_at(client, 2, 7, "t", "x");
        world.expect_reason(client, kind::PUBREC, 7);
        world.ack(client, kind::PUBREL, 7);
        world.hang_up(client); // PUBCOMP is lost.
        let client = world.resume(&connect);
        world.ack(client, kind::PUBREL, 7);
        assert_eq!(world.expect_reason(client, kind::PUBCOMP, 7), 0);
        world.publish_at(client, 1, 8, "t", "x");
        world.expect_reason(client, kind::PUBACK, 8);
        world.ack(client, kind::PUBREL, 7);
        let reason = world.expect_reason(client, kind::PUBCOMP, 7);
        assert_eq!(reason, v5_or_zero(version, 0x92));
    }
}
