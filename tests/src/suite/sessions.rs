//! Sessions that outlive their connections.

use std::time::{Duration, Instant};

use crate::broker::BinaryUnderTest;
use crate::client::{Client, Next};
use crate::suite::versions;
use crate::wire::{self, Connect, Properties, Value, Version, Will, id, kind};

fn expiring(client_id: &str, seconds: u32) -> Connect {
    wire::connect(Version::V5)
        .client_id(client_id)
        .clean(false)
        .with(id::SESSION_EXPIRY_INTERVAL, Value::Four(seconds))
}

/// Waits with a client to which nothing must come meanwhile.
fn wait(client: &mut Client, time: Duration) {
    let next = client.next_until(Instant::now() + time);
    assert_eq!(next, Next::Silence);
}

/// Subscriptions and messages wait for a client that comes back, in whatever version
/// [MQTT-3.1.2-5, MQTT-3.2.2-3, v3.1.1 MQTT-3.1.2-4].
pub fn sessions_are_resumed(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    for before in versions() {
        for after in Version::ALL {
            let (mut client, _) = Client::connect_with(&broker, &wire::lasting(before, "lasting"));
            client.subscribe_at("lasting/+", 2);
            client.disconnect();
            publisher.publish("lasting/0", "nobody is there");
            for n in 0..10 {
                let topic = format!("lasting/{}", n % 3);
                assert_eq!(publisher.publish_at(1 + n % 2, &topic, n.to_string()), 0);
            }
            let mut client = Client::resume(&broker, &wire::lasting(after, "lasting"));
            let mut got = Vec::new();
            for n in 0..10 {
                let topic = format!("lasting/{}", n % 3);
                got.push(client.expect_qos(1 + n % 2, &topic, n.to_string()));
            }
            for message in &got {
                client.acknowledge(message);
            }
            client.publish("lasting/1", "live");
            client.expect_publish("lasting/1", "live", false);
            client.ping();
            client.disconnect();
            // A clean start discards it [MQTT-3.1.2-4, v3.1.1 MQTT-3.1.2-6].
            let mut client = Client::connect(&broker, after, "lasting");
            assert_eq!(publisher.publish_at(1, "lasting/1", "x"), 0x10);
            client.ping();
            client.disconnect();
        }
    }
}

/// What was sent and not acknowledged comes again after a reconnect, with DUP and its identifier,
/// in order; what was received is released again [MQTT-4.4.0-1].
pub fn unacknowledged_messages_come_again(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut publisher = Client::connect(&broker, version, "publisher");
        let connect = wire::lasting(version, "again");
        let (mut client, _) = Client::connect_with(&broker, &connect);
        client.subscribe_at("again", 2);
        let sent: Vec<_> = (0..6)
            .map(|n| {
                publisher.publish_at(1 + n % 2, "again", n.to_string());
                client.expect_qos(1 + n % 2, "again", n.to_string())
            })
            .collect();
        // 0 is done, 1 is received, 5 is done.
        client.acknowledge(&sent[0]);
        let received = sent[1].packet_id.unwrap();
        client.ack(kind::PUBREC, received);
        client.expect_ack(kind::PUBREL, received);
        client.acknowledge(&sent[5]);
        client.ping();
        drop(client);
        for _ in 0..2 {
            let mut client = Client::resume(&broker, &connect);
            assert_eq!(client.expect_ack(kind::PUBREL, received), 0);
            for before in &sent[2..5] {
                let again = client.expect_any().publish(version);
                assert!(again.dup);
                assert_eq!(again.packet_id, before.packet_id);
                assert_eq!(
                    (again.qos, again.payload),
                    (before.qos, before.payload.clone())
                );
            }
            client.ping();
        }
        let mut client = Client::resume(&broker, &connect);
        client.expect_ack(kind::PUBREL, received);
        for _ in 2..5 {
            client.expect_packet(kind::PUBLISH);
        }
        client.ack(kind::PUBCOMP, received);
        for message in &sent[2..5] {
            client.acknowledge(message);
        }
        client.ping();
        drop(client);
        let mut client = Client::resume(&broker, &connect);
        client.ping();
        drop(client);
        Client::connect(&broker, version, "again").disconnect();
    }
}

/// A QoS 2 message that its publisher sends again on a new connection is not delivered again: the
/// identifier is part of the session.
pub fn received_identifiers_survive_a_reconnect(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut reader = Client::connect(&broker, version, "reader");
        reader.subscribe_at("survives", 2);
        let connect = wire::lasting(version, "publisher");
        let publish = wire::publish(version, "survives", "x").qos(2, 77);
        let (mut publisher, _) = Client::connect_with(&broker, &connect);
        publisher.send(publish.bytes());
        publisher.expect_ack(kind::PUBREC, 77);
        drop(publisher);
        let mut publisher = Client::resume(&broker, &connect);
        publisher.send(publish.dup().bytes());
        assert_eq!(publisher.expect_ack(kind::PUBREC, 77), 0);
        drop(publisher);
        let mut publisher = Client::resume(&broker, &connect);
        publisher.ack(kind::PUBREL, 77);
        assert_eq!(publisher.expect_ack(kind::PUBCOMP, 77), 0);
        let got = reader.expect_qos(2, "survives", "x");
        reader.acknowledge(&got);
        reader.ping();
        reader.disconnect();
        drop(publisher);
        Client::connect(&broker, version, "publisher").disconnect();
    }
}

/// A takeover hands subscriptions and unacknowledged messages over; the old connection hears 0x8E.
pub fn takeover_hands_the_session_over(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    for old_version in versions() {
        for new_version in Version::ALL {
            let connect = wire::lasting(old_version, "taken");
            let (mut old, _) = Client::connect_with(&broker, &connect);
            old.subscribe_at("taken", 1);
            publisher.publish_at(1, "taken", "one");
            let sent = old.expect_qos(1, "taken", "one");
            let mut new = Client::resume(&broker, &wire::lasting(new_version, "taken"));
            old.expect_end(0x8e);
            let again = new.expect_any().publish(new_version);
            assert_eq!((again.dup, again.packet_id), (true, sent.packet_id));
            new.acknowledge(&again);
            publisher.publish_at(1, "taken", "two");
            let two = new.expect_qos(1, "taken", "two");
            new.acknowledge(&two);
            new.ping();
            new.disconnect();
            Client::connect(&broker, new_version, "taken").disconnect();
        }
    }
}

/// MQTT 5: a session ends when its expiry has passed after the connection, and DISCONNECT may name
/// another one.
pub fn sessions_expire(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut bystander = Client::connect(&broker, Version::V5, "bystander");
    let (client, _) = Client::connect_with(&broker, &expiring("short", 1));
    client.disconnect();
    let (mut client, _) = Client::connect_with(&broker, &expiring("cut short", 3600));
    let expiry =
        |seconds| Properties::new().with(id::SESSION_EXPIRY_INTERVAL, Value::Four(seconds));
    client.send(wire::disconnect_with(0, &expiry(1)));
    client.expect_closed();
    let (mut client, _) = Client::connect_with(&broker, &expiring("made longer", 1));
    client.send(wire::disconnect_with(0, &expiry(3600)));
    client.expect_closed();
    let (mut client, _) = Client::connect_with(&broker, &expiring("ended", 3600));
    client.send(wire::disconnect_with(0, &expiry(0)));
    client.expect_closed();
    let (client, _) = Client::connect_with(&broker, &wire::lasting(Version::V3_1_1, "old"));
    client.disconnect();
    Client::connect_with(&broker, &expiring("ended", 0))
        .0
        .disconnect();
    wait(&mut bystander, Duration::from_millis(1500));
    Client::connect_with(&broker, &expiring("short", 0))
        .0
        .disconnect();
    Client::connect_with(&broker, &expiring("cut short", 0))
        .0
        .disconnect();
    Client::resume(&broker, &expiring("made longer", 0)).disconnect();
    Client::resume(&broker, &wire::lasting(Version::V3_1_1, "old")).disconnect();
}

/// MQTT 5: who asks for a session that outlives the maximum is told what it gets: thirty days.
pub fn long_expiries_are_cut_down(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let month = 30 * 86_400;
    for (asked, told) in [
        (u32::MAX, Some(month)),
        (month + 1, Some(month)),
        (month, None),
    ] {
        let (client, connack) = Client::connect_either(&broker, &expiring("long", asked));
        let said = connack.property(id::SESSION_EXPIRY_INTERVAL).cloned();
        assert_eq!(said, told.map(Value::Four));
        client.disconnect();
    }
}

/// MQTT 5: what expires while it waits does not come; what does not has its interval counted down
/// [MQTT-3.3.2-5, MQTT-3.3.2-6].
pub fn waiting_messages_expire(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    let connect = wire::lasting(Version::V5, "late");
    let (mut client, _) = Client::connect_with(&broker, &connect);
    client.subscribe_at("expiring", 1);
    client.disconnect();
    for (text, seconds) in [("gone", 1), ("there", 1000)] {
        let publish = wire::publish(Version::V5, "expiring", text)
            .qos(1, 1)
            .with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(seconds));
        publisher.send(publish.bytes());
        assert_eq!(publisher.expect_ack(kind::PUBACK, 1), 0);
    }
    wait(&mut publisher, Duration::from_millis(2100));
    let mut client = Client::resume(&broker, &connect);
    let got = client.expect_qos(1, "expiring", "there");
    match got.property(id::MESSAGE_EXPIRY_INTERVAL) {
        Some(Value::Four(left)) => assert!((900..=998).contains(left), "{left}"),
        other => panic!("{other:?}"),
    }
    client.acknowledge(&got);
    client.ping();
    drop((client, publisher));
    assert_eq!(broker.stop().counter("dropped_expired"), 1);
}

/// MQTT 5: a will waits for its delay, is not published if the client is back before, and at once
/// if a clean start ends the session [MQTT-3.1.3-9].
pub fn delayed_wills(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = Client::connect(&broker, Version::V5, "watcher");
    watcher.subscribe("will/#");
    let mortal = |name: &str, delay: u32| {
        let will = Will {
            properties: Properties::new().with(id::WILL_DELAY_INTERVAL, Value::Four(delay)),
            ..Will::new(format!("will/{name}"), "gone")
        };
        wire::lasting(Version::V5, name).will(will)
    };
    let (dead, _) = Client::connect_with(&broker, &mortal("dead", 1));
    let (back, _) = Client::connect_with(&broker, &mortal("back", 2));
    let (fresh, _) = Client::connect_with(&broker, &mortal("fresh", 3600));
    drop((dead, back, fresh));
    let mut back = Client::resume(&broker, &wire::lasting(Version::V5, "back"));
    let mut fresh = Client::connect(&broker, Version::V5, "fresh");
    let mut topics = [
        watcher.expect_message().topic,
        watcher.expect_message().topic,
    ];
    topics.sort();
    assert_eq!(topics, ["will/dead", "will/fresh"]);
    wait(&mut watcher, Duration::from_millis(2500));
    for client in [&mut watcher, &mut back, &mut fresh] {
        client.ping();
    }
    drop((watcher, back, fresh));
    assert_eq!(broker.stop().counter("wills_published"), 2);
}
