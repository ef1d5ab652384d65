//! How a connection lives and ends: takeover, keep-alive, DISCONNECT, the broker's own stop.

use std::time::{Duration, Instant};

use crate::broker::BinaryUnderTest;
use crate::client::{Client, Next};
use crate::suite::versions;
use crate::wire::{self, PINGREQ, Properties, Value, Version, Will, id, kind};

/// The same client identifier connects again: the old connection ends [MQTT-3.1.4-3, v3.1.1
/// MQTT-3.1.4-2], the new one works, and others notice nothing. Every pair of versions.
pub fn takeover_ends_the_older_connection(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut other = Client::connect(&broker, Version::V3_1_1, "other");
    other.subscribe("taken/#");
    for old_version in versions() {
        for new_version in Version::ALL {
            let mut old = Client::connect(&broker, old_version, "taken");
            old.subscribe("taken/over");
            let mut new = Client::connect(&broker, new_version, "taken");
            old.expect_end(0x8e);
            // It was a clean session: the subscriptions are gone with it.
            new.publish("taken/over", "by me");
            new.ping();
            other.expect_publish("taken/over", "by me", false);
            other.ping();
            new.disconnect();
        }
    }
    drop(other);
    assert_eq!(broker.stop().counter("ended_taken_over"), 9);
}

/// A client that is taken over by itself hundreds of times: each time exactly the latest lives.
pub fn takeover_storm_leaves_the_latest(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut current = Client::connect(&broker, Version::V5, "storm");
    for n in 0_usize..300 {
        let version = Version::ALL[n % 3];
        let mut next = Client::connect(&broker, version, "storm");
        current.expect_end(0x8e);
        next.ping();
        current = next;
    }
}

/// Two clients with identifiers of their own do not disturb each other.
pub fn different_identifiers_live_side_by_side(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let ids = ["a", "A", "a ", "aa", "\u{e9}", "e\u{301}"];
        let mut clients = ids.map(|id| Client::connect(&broker, version, id));
        for client in &mut clients {
            client.ping();
        }
    }
}

/// Silence for one and a half times the keep-alive ends the connection, and not before
/// [MQTT-3.1.2-22, v3.1.1 MQTT-3.1.2-24].
pub fn keep_alive_ends_a_silent_connection(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut clients = Version::ALL.map(|version| {
        let connect = wire::connect(version)
            .client_id(format!("{version:?}"))
            .keep_alive(1);
        let start = Instant::now();
        (start, Client::connect_with(&broker, &connect).0)
    });
    for (start, client) in &mut clients {
        client.expect_end(0x8d);
        let silence = start.elapsed();
        assert!(
            silence >= Duration::from_millis(1400),
            "closed after {silence:?}"
        );
        assert!(
            silence < Duration::from_secs(10),
            "closed only after {silence:?}"
        );
    }
    drop(clients);
    assert_eq!(broker.stop().counter("ended_keep_alive_timeout"), 3);
}

/// Any packet within the keep-alive keeps the connection, not only PINGREQ.
pub fn packets_keep_the_connection_alive(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut clients = Version::ALL.map(|version| {
        let connect = wire::connect(version)
            .client_id(format!("{version:?}"))
            .keep_alive(1);
        Client::connect_with(&broker, &connect).0
    });
    let start = Instant::now();
    let mut turn = Instant::now();
    while start.elapsed() < Duration::from_millis(3500) {
        turn += Duration::from_millis(400);
        for (n, client) in clients.iter_mut().enumerate() {
            if n == 0 {
                client.publish("alive", "");
            } else {
                client.ping();
            }
            assert_eq!(client.next_until(turn), Next::Silence);
        }
    }
    for client in &mut clients {
        client.ping();
    }
}

/// The keep-alive stands still for nobody: a packet that trickles in without ever being complete is
/// no packet.
pub fn an_unfinished_packet_does_not_keep_alive(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let connect = wire::connect(Version::V5)
        .client_id("trickle")
        .keep_alive(1);
    let (mut client, _) = Client::connect_with(&broker, &connect);
    let start = Instant::now();
    let publish = wire::publish(Version::V5, "trickle", [0; 100]).bytes();
    for byte in publish.chunks(1) {
        client.throw(byte, 1);
        match client.next_until(Instant::now() + Duration::from_millis(100)) {
            Next::Silence => assert!(start.elapsed() < Duration::from_secs(10), "still alive"),
            Next::Packet(packet) => {
                assert_eq!(packet.disconnect().reason, 0x8d);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    client.expect_closed();
}

/// PINGREQ is answered with PINGRESP [MQTT-3.12.4-1], as often as it is sent.
pub fn pings_are_answered(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut client = Client::connect(&broker, version, "ping");
        client.send(PINGREQ.repeat(100));
        for _ in 0..100 {
            assert!(client.expect_packet(kind::PINGRESP).body.is_empty());
        }
        client.ping();
    }
}

/// After DISCONNECT the broker closes, and takes nothing that follows [MQTT-3.14.4-2].
pub fn nothing_counts_after_disconnect(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = Client::connect(&broker, Version::V5, "watcher");
    watcher.subscribe("after/#");
    for version in versions() {
        let mut client = Client::connect(&broker, version, "leaving");
        let bytes = [
            wire::publish(version, "after/before", "yes").bytes(),
            wire::disconnect(version, 0),
            wire::publish(version, "after/after", "no").bytes(),
            PINGREQ.to_vec(),
        ]
        .concat();
        client.send(bytes);
        client.expect_closed();
        watcher.expect_publish("after/before", "yes", false);
    }
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    watcher.expect_nothing_from(&mut publisher);
}

/// MQTT 5: DISCONNECT may leave out reason and properties, or have them all.
pub fn disconnect_in_every_form(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let properties = Properties::new()
        .with(id::SESSION_EXPIRY_INTERVAL, Value::Four(0))
        .with(id::REASON_STRING, Value::Text("tired".into()))
        .user("how", "very");
    let full = [vec![0], properties.bytes()].concat();
    for body in [vec![], vec![0], vec![0, 0], vec![0x04], vec![0x80, 0], full] {
        let mut client = Client::connect(&broker, Version::V5, "forms");
        client.send(wire::packet(kind::DISCONNECT << 4, body));
        client.expect_closed();
    }
    assert_eq!(broker.stop().counter("ended_client_disconnect"), 6);
}

/// MQTT 5: a session expiry that was 0 in CONNECT must not become anything else (section
/// 3.14.2.2.2).
pub fn session_expiry_must_not_grow_at_disconnect(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let properties = Properties::new().with(id::SESSION_EXPIRY_INTERVAL, Value::Four(10));
    let mut client = Client::connect(&broker, Version::V5, "growing");
    client.send(wire::packet(
        kind::DISCONNECT << 4,
        [vec![0], properties.bytes()].concat(),
    ));
    client.expect_end(0x82);
}

/// A clean session, and in MQTT 5 one without an expiry, ends with its connection: subscriptions
/// are gone at the next one, and CONNACK does not say that there was one [MQTT-3.2.2-2].
pub fn clean_sessions_end_with_the_connection(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let connect = wire::connect(version)
            .client_id("forgetful")
            .clean(!version.is_v5());
        for next in [connect.clone(), wire::lasting(version, "forgetful")] {
            let (mut client, _) = Client::connect_with(&broker, &connect);
            client.subscribe("forgetful");
            client.disconnect();
            let (mut client, _) = Client::connect_with(&broker, &next);
            client.publish("forgetful", "anyone?");
            client.ping();
            client.disconnect();
        }
        Client::connect(&broker, version, "forgetful").disconnect();
    }
}

/// A graceful stop tells MQTT 5 clients why (0x8B), closes every connection in good order,
/// publishes the wills, and exits with status 0.
pub fn graceful_stop(binary: &BinaryUnderTest) {
    let mut broker = binary.start();
    let mut clients =
        Version::ALL.map(|version| Client::connect(&broker, version, &format!("{version:?}")));
    let mut watcher = Client::connect(&broker, Version::V5, "watcher");
    watcher.subscribe("will");
    let connect = wire::connect(Version::V5)
        .client_id("mortal")
        .will(Will::new("will", "gone"));
    let (mut mortal, _) = Client::connect_with(&broker, &connect);
    let unfinished = Client::dial(&broker, Version::V5);
    broker.terminate();
    for client in &mut clients {
        client.expect_end(0x8b);
    }
    mortal.expect_end(0x8b);
    watcher.expect_publish("will", "gone", false);
    watcher.expect_end(0x8b);
    // Whoever waits for our end must not be waited for.
    drop((clients, mortal, watcher, unfinished));
    let stopped = broker.stop();
    assert!(stopped.status.success(), "{:?}", stopped.status);
    assert_eq!(stopped.counter("wills_published"), 1);
}

/// A graceful stop does not wait for clients that neither read nor close.
pub fn graceful_stop_waits_for_nobody_for_ever(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let clients =
        Version::ALL.map(|version| Client::connect(&broker, version, &format!("{version:?}")));
    assert!(broker.stop().status.success());
    drop(clients);
}
