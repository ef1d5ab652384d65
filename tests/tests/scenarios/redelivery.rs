//! What is sent again to a client that comes back: exactly what it owes an answer, in order.

use std::time::Duration;

use wherry_core::Config;
use wherry_tests::scenario::{Client, World, numbers, texts};
use wherry_tests::wire::{self, Connect, Publish, Value, Version, id, kind};

fn world(window: u16) -> World {
    World::new(Config {
        send_window: window.try_into().unwrap(),
        ..Config::default()
    })
}

/// A subscriber with QoS 2 whose session lasts, and a publisher.
fn pair(world: &mut World, version: Version) -> (Client, Client) {
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.connect_with(&wire::lasting(version, "a"));
    world.subscribe(client, "t", 2);
    (publisher, client)
}

fn ids(messages: &[Publish]) -> Vec<u16> {
    messages
        .iter()
        .filter_map(|message| message.packet_id)
        .collect()
}

#[test]
fn unacknowledged_messages_come_again_with_dup_and_their_identifiers_in_order() {
    // [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.6.0-1]
    for first in Version::ALL {
        for second in Version::ALL {
            let mut world = world(10);
            let (publisher, client) = pair(&mut world, first);
            for n in 0..10 {
                if n % 2 == 0 {
                    world.publish_acked(publisher, "t", &n.to_string());
                } else {
                    world.publish_released(publisher, "t", &n.to_string());
                }
            }
            let sent = world.messages(client);
            assert_eq!(texts(&sent), numbers(0..10));
            assert!(sent.iter().all(|message| !message.dup));
            world.acknowledge(client, &sent[4]);
            world.acknowledge(client, &sent[7]);
            world.hang_up(client);
            for _ in 0..2 {
                let client = world.resume(&wire::lasting(second, "a"));
                let again = world.messages(client);
                assert_eq!(texts(&again), ["0", "1", "2", "3", "5", "6", "8", "9"]);
                assert!(again.iter().all(|message| message.dup));
                let before: Vec<_> = sent
                    .iter()
                    .filter(|m| !b"47".contains(&m.payload[0]))
                    .collect();
                for (again, before) in again.iter().zip(before) {
                    assert_eq!((again.packet_id, again.qos), (before.packet_id, before.qos));
                }
                world.hang_up(client);
            }
            let client = world.resume(&wire::lasting(second, "a"));
            assert_eq!(world.drain(client).len(), 8);
            world.hang_up(client);
            let client = world.resume(&wire::lasting(second, "a"));
            world.expect_nothing(client);
        }
    }
}

#[test]
fn a_message_that_was_received_is_not_published_again_but_released_again() {
    // [MQTT-4.4.0-1], [MQTT-4.3.3-6]: in the order of the messages, PUBLISH and PUBREL among each
    // other, and what was not yet sent comes after both.
    for version in Version::ALL {
        let mut world = world(4);
        let (publisher, client) = pair(&mut world, version);
        for n in 0..6 {
            world.publish_released(publisher, "t", &n.to_string());
        }
        let sent = world.messages(client);
        assert_eq!(sent.len(), 4);
        let id = |n: usize| sent[n].packet_id.unwrap();
        for n in [1, 3] {
            world.ack(client, kind::PUBREC, id(n));
            world.expect_reason(client, kind::PUBREL, id(n));
        }
        world.hang_up(client);
        let client = world.resume(&wire::lasting(version, "a"));
        let mut got = Vec::new();
        while let Some(packet) = world.next(client) {
            if packet.kind() == kind::PUBREL {
                got.push((kind::PUBREL, packet.ack(kind::PUBREL, version).packet_id));
            } else {
                let message = packet.publish(version);
                assert!(message.dup);
                got.push((kind::PUBLISH, message.packet_id.unwrap()));
            }
        }
        let wanted = [
            (kind::PUBLISH, id(0)),
            (kind::PUBREL, id(1)),
            (kind::PUBLISH, id(2)),
            (kind::PUBREL, id(3)),
        ];
        assert_eq!(got, wanted);
        for n in [1, 3] {
            world.ack(client, kind::PUBCOMP, id(n));
        }
        let rest = world.drain(client);
        assert_eq!(texts(&rest), ["4", "5"]);
        assert!(rest.iter().all(|message| !message.dup));
        for n in [0, 2] {
            world.ack(client, kind::PUBREC, id(n));
            world.expect_reason(client, kind::PUBREL, id(n));
            world.ack(client, kind::PUBCOMP, id(n));
        }
        world.hang_up(client);
        let client = world.resume(&wire::lasting(version, "a"));
        world.expect_nothing(client);
    }
}

#[test]
fn only_what_was_sent_before_is_marked_so_and_the_queue_follows() {
    for version in Version::ALL {
        let mut world = world(3);
        let (publisher, client) = pair(&mut world, version);
        for n in 0..6 {
            world.publish_acked(publisher, "t", &n.to_string());
        }
        assert_eq!(world.messages(client).len(), 3);
        world.hang_up(client);
        for n in 6..9 {
            world.publish_acked(publisher, "t", &n.to_string());
        }
        let client = world.resume(&wire::lasting(version, "a"));
        let got = world.drain(client);
        assert_eq!(texts(&got), numbers(0..9));
        let dups: Vec<bool> = got.iter().map(|message| message.dup).collect();
        assert_eq!(
            dups,
            [true, true, true, false, false, false, false, false, false]
        );
    }
}

#[test]
fn a_message_whose_bytes_never_left_may_be_marked_but_is_never_lost() {
    // A client that stops reading and is cut off in the middle of a packet.
    for version in Version::ALL {
        let mut world = World::default();
        let (publisher, client) = pair(&mut world, version);
        world.take_only(client, 50);
        for n in 0..100 {
            world.publish_acked(publisher, "t", &n.to_string());
        }
        world.hang_up(client);
        let client = world.resume(&wire::lasting(version, "a"));
        assert_eq!(world.drain_texts(client), numbers(0..100));
    }
}

#[test]
fn nothing_comes_again_on_a_connection_that_lives() {
    // [MQTT-4.4.0-1]: only the start of a connection is a reason to send again.
    for version in Version::ALL {
        let mut world = World::default();
        let (publisher, client) = pair(&mut world, version);
        world.publish_acked(publisher, "t", "1");
        world.publish_released(publisher, "t", "2");
        let sent = world.messages(client);
        world.ack(client, kind::PUBREC, sent[1].packet_id.unwrap());
        world.expect_ack(client, kind::PUBREL);
        world.pass(Duration::from_secs(3600));
        world.expect_nothing(client);
        world.publish_acked(publisher, "t", "3");
        assert_eq!(world.drain_texts(client), ["3"]);
    }
}

#[test]
fn the_new_receive_maximum_holds_for_what_comes_again() {
    // [MQTT-3.3.4-9], [MQTT-4.9.0-1]
    let mut world = World::default();
    let (publisher, client) = pair(&mut world, Version::V5);
    for n in 0..6 {
        world.publish_acked(publisher, "t", &n.to_string());
    }
    let sent = world.messages(client);
    assert_eq!(sent.len(), 6);
    world.hang_up(client);
    world.publish_acked(publisher, "t", "6");
    let narrow = wire::lasting(Version::V5, "a").with(id::RECEIVE_MAXIMUM, Value::Two(2));
    let client = world.resume(&narrow);
    let mut open = world.messages(client);
    assert_eq!(open.len(), 2);
    let mut got = Vec::new();
    while !open.is_empty() {
        let message = open.remove(0);
        world.acknowledge(client, &message);
        open.extend(world.messages(client));
        assert!(open.len() <= 2, "the Receive Maximum is 2");
        got.push(message);
    }
    assert_eq!(texts(&got), numbers(0..7));
    assert_eq!(ids(&got[..6]), ids(&sent));
    assert!(got[..6].iter().all(|message| message.dup) && !got[6].dup);
}

#[test]
fn a_narrow_client_gets_all_again_one_by_one() {
    let mut world = World::default();
    let (publisher, client) = pair(&mut world, Version::V5);
    for n in 0..20 {
        world.publish_released(publisher, "t", &n.to_string());
    }
    let sent = world.messages(client);
    for message in &sent[5..10] {
        world.ack(client, kind::PUBREC, message.packet_id.unwrap());
        world.expect_ack(client, kind::PUBREL);
    }
    world.hang_up(client);
    let narrow = wire::lasting(Version::V5, "a").with(id::RECEIVE_MAXIMUM, Value::Two(1));
    let client = world.resume(&narrow);
    let (mut published, mut released, mut open) = (Vec::new(), Vec::new(), 0);
    while let Some(packet) = world.next(client) {
        if packet.kind() == kind::PUBREL {
            let id = packet.ack(kind::PUBREL, Version::V5).packet_id;
            released.push(id);
            open -= i32::from(published.contains(&id));
            world.ack(client, kind::PUBCOMP, id);
        } else {
            let message = packet.publish(Version::V5);
            assert!(message.dup);
            open += 1;
            assert!(open <= 1, "the Receive Maximum is 1");
            published.push(message.packet_id.unwrap());
            world.ack(client, kind::PUBREC, message.packet_id.unwrap());
        }
    }
    assert_eq!(published, ids(&[&sent[..5], &sent[10..]].concat()));
    released.sort_unstable();
    let mut all = ids(&sent);
    all.sort_unstable();
    assert_eq!(released, all);
}

#[test]
fn identifiers_in_flight_are_not_given_to_others_across_connections() {
    // [MQTT-2.2.1-4]
    let mut world = world(100);
    let (publisher, mut client) = pair(&mut world, Version::V5);
    let mut open: Vec<u16> = Vec::new();
    for round in 0..20 {
        for n in 0..5 {
            world.publish_released(publisher, "t", &n.to_string());
        }
        let got = world.messages(client);
        let fresh: Vec<&Publish> = got.iter().filter(|message| !message.dup).collect();
        assert_eq!(fresh.len(), 5, "round {round}");
        for message in &fresh {
            let id = message.packet_id.unwrap();
            assert!(!open.contains(&id), "{id} is in use");
            open.push(id);
        }
        // Some stay at each of the stages that an exchange has.
        let done = open.remove(open.len() / 2);
        world.ack(client, kind::PUBREC, done);
        world.expect_ack(client, kind::PUBREL);
        world.ack(client, kind::PUBCOMP, done);
        let half = open[round];
        world.ack(client, kind::PUBREC, half);
        world.expect_ack(client, kind::PUBREL);
        world.hang_up(client);
        client = world.resume(&wire::lasting(Version::V5, "a"));
        let mut again = Vec::new();
        while let Some(packet) = world.next(client) {
            again.push(match packet.kind() {
                kind::PUBREL => packet.ack(kind::PUBREL, Version::V5).packet_id,
                _ => packet.publish(Version::V5).packet_id.unwrap(),
            });
        }
        assert_eq!(again, open, "round {round}");
    }
}

#[test]
fn what_is_too_large_for_the_client_that_comes_back_is_dropped_for_it() {
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]: as if it had been delivered.
    let mut world = World::default();
    let (publisher, client) = pair(&mut world, Version::V5);
    let large = "x".repeat(200);
    world.publish_acked(publisher, "t", &large);
    world.publish_acked(publisher, "t", "small");
    assert_eq!(world.messages(client).len(), 2);
    world.hang_up(client);
    world.publish_acked(publisher, "t", &large);
    world.publish_released(publisher, "t", "tiny");
    let limited = wire::lasting(Version::V5, "a").with(id::MAXIMUM_PACKET_SIZE, Value::Four(100));
    let client = world.resume(&limited);
    assert_eq!(world.drain_texts(client), ["small", "tiny"]);
    assert_eq!(world.broker.counters().dropped_too_large, 2);
    // It is gone for good, and takes no place in the window.
    world.hang_up(client);
    let client = world.resume(&wire::lasting(Version::V5, "a"));
    world.expect_nothing(client);
}

#[test]
fn a_message_that_becomes_larger_with_another_version_is_measured_as_it_is_sent() {
    // The bytes of a property length more, on MQTT 5.
    let mut world = World::default();
    let publisher = world.connect(Version::V3_1_1, "publisher");
    let client = world.connect_with(&wire::lasting(Version::V3_1_1, "a"));
    world.subscribe(client, "t", 1);
    world.hang_up(client);
    // 2 for the header, 3 for the topic, 2 for the identifier, 1 for the properties.
    world.publish_acked(publisher, "t", &"x".repeat(92));
    world.publish_acked(publisher, "t", &"y".repeat(93));
    let limited = wire::lasting(Version::V5, "a").with(id::MAXIMUM_PACKET_SIZE, Value::Four(100));
    let client = world.resume(&limited);
    assert_eq!(world.drain_texts(client), ["x".repeat(92)]);
    assert_eq!(world.broker.counters().dropped_too_large, 1);
}

#[test]
fn properties_survive_a_connection_of_a_version_that_knows_none() {
    let mut world = World::default();
    let (publisher, client) = pair(&mut world, Version::V5);
    let publish = wire::publish(Version::V5, "t", "x")
        .qos(1, 1)
        .with(id::USER_PROPERTY, Value::Pair("k".into(), "v".into()));
    world.send(publisher, publish.bytes());
    world.expect_ack(publisher, kind::PUBACK);
    let first = world.expect_message(client);
    world.hang_up(client);
    let old: Connect = wire::lasting(Version::V3_1_1, "a");
    let client = world.resume(&old);
    assert!(world.expect_message(client).properties.is_empty());
    world.hang_up(client);
    let client = world.resume(&wire::lasting(Version::V5, "a"));
    let again = world.expect_message(client);
    assert_eq!(again.properties, first.properties);
    assert_eq!(again.properties.len(), 1);
}

#[test]
fn a_redelivery_that_is_cut_off_begins_again_where_it_must() {
    let mut world = World::default();
    let (publisher, client) = pair(&mut world, Version::V5);
    for n in 0..8 {
        world.publish_released(publisher, "t", &n.to_string());
    }
    let sent = world.messages(client);
    world.hang_up(client);
    let narrow = wire::lasting(Version::V5, "a").with(id::RECEIVE_MAXIMUM, Value::Two(3));
    let client = world.resume(&narrow);
    let again = world.messages(client);
    assert_eq!(ids(&again), ids(&sent[..3]));
    // The second is done; the sixth, which has not come again yet, is received all the same.
    world.acknowledge(client, &again[1]);
    assert_eq!(world.expect_message(client).packet_id, sent[3].packet_id);
    let sixth = sent[5].packet_id.unwrap();
    world.ack(client, kind::PUBREC, sixth);
    assert_eq!(world.expect_reason(client, kind::PUBREL, sixth), 0);
    world.hang_up(client);
    let client = world.resume(&wire::lasting(Version::V5, "a"));
    let mut got = Vec::new();
    while let Some(packet) = world.next(client) {
        if packet.kind() == kind::PUBREL {
            let id = packet.ack(kind::PUBREL, Version::V5).packet_id;
            assert_eq!(id, sixth, "no PUBLISH after its PUBREC");
            got.push(id);
        } else {
            let message = packet.publish(Version::V5);
            assert!(message.dup);
            got.extend(message.packet_id);
        }
    }
    let mut wanted = ids(&sent);
    wanted.remove(1);
    assert_eq!(got, wanted);
}

#[test]
fn old_clients_may_be_sent_messages_again_on_the_same_connection_and_new_ones_never() {
    // [MQTT-4.4.0-1] forbids it in MQTT 5; 3.1.1 leaves it open.
    let second = Duration::from_secs(1);
    for version in Version::ALL {
        for qos in [1, 2] {
            let mut world = World::new(Config {
                retransmit_interval: Some(10 * second),
                retransmit_limit: 2,
                sys_interval: None,
                ..Config::default()
            });
            let (publisher, client) = pair(&mut world, version);
            world.publish_at(publisher, qos, 1, "t", "x");
            let first = world.expect_message(client);
            world.pass(10 * second - Duration::from_millis(1));
            world.expect_nothing(client);
            if version.is_v5() {
                world.pass(1000 * second);
                world.expect_nothing(client);
                assert!(!world.is_closed(client));
                continue;
            }
            world.pass(Duration::from_millis(1));
            let again = world.expect_message(client);
            assert_eq!((again.dup, again.packet_id), (true, first.packet_id));
            // A PUBREC is an answer: from then on it is PUBREL that is sent again.
            if qos == 2 {
                let id = first.packet_id.unwrap();
                world.ack(client, kind::PUBREC, id);
                world.expect_ack(client, kind::PUBREL);
                for _ in 0..2 {
                    world.pass(10 * second);
                    assert_eq!(world.expect_reason(client, kind::PUBREL, id), 0);
                }
            } else {
                world.pass(10 * second);
                assert!(world.expect_message(client).dup);
            }
            assert!(!world.is_closed(client));
            world.pass(10 * second);
            assert!(world.is_closed(client), "it does not answer");
            world.expect_nothing(client);
            // Nothing is lost by it.
            let client = world.resume(&wire::lasting(version, "a"));
            assert!(world.next(client).is_some());
        }
    }
}

#[test]
fn what_was_acknowledged_is_not_sent_again_by_the_clock() {
    let mut world = World::new(Config {
        retransmit_interval: Some(Duration::from_secs(10)),
        retransmit_limit: 1,
        sys_interval: None,
        ..Config::default()
    });
    let (publisher, client) = pair(&mut world, Version::V3_1_1);
    for _ in 0..20 {
        world.publish_released(publisher, "t", "x");
        world.pass(Duration::from_secs(6));
        assert_eq!(world.drain(client).len(), 1);
    }
    world.pass(Duration::from_secs(1000));
    world.expect_nothing(client);
    assert!(!world.is_closed(client));
}
