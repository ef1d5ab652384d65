//! Bytes in pieces, packets in heaps, limits on their size.

use std::time::{Duration, Instant};

use crate::broker::BinaryUnderTest;
use crate::client::{Client, Next};
use crate::random::Random;
use crate::suite::versions;
use crate::wire::{self, PINGREQ, Properties, Value, Version, Will, id, kind};

/// A whole conversation, each of its bytes in a segment of its own, has the same answers.
pub fn byte_by_byte_is_understood(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut other = Client::connect(&broker, Version::V5, "other");
    for version in versions() {
        let mut client = Client::dial(&broker, version);
        let mut send = |client: &mut Client, bytes: Vec<u8>| {
            client.send_to_be_read_one_by_one(bytes, &mut other);
        };
        send(
            &mut client,
            wire::connect(version).client_id("slow").bytes(),
        );
        client.expect_connack(0);
        send(
            &mut client,
            wire::subscribe(version, 1, &[("slow/+", 0), ("a", 0)]),
        );
        assert_eq!(client.expect_any().suback(version).codes.len(), 2);
        send(
            &mut client,
            wire::publish(version, "slow/a", [7; 300]).retain().bytes(),
        );
        client.expect_publish("slow/a", [7; 300], false);
        send(
            &mut client,
            wire::publish(version, "slow/a", "").retain().bytes(),
        );
        client.expect_publish("slow/a", "", false);
        send(&mut client, PINGREQ.to_vec());
        client.expect_packet(kind::PINGRESP);
        send(&mut client, wire::unsubscribe(version, 2, &["slow/+"]));
        assert_eq!(client.expect_any().unsuback(version).packet_id, 2);
        send(&mut client, wire::disconnect(version, 0));
        client.expect_closed();
    }
}

/// However the bytes are cut, the answers are the same.
pub fn arbitrary_pieces_are_understood(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut random = Random::new(3);
    for version in versions() {
        let conversation: Vec<u8> = (0..50_u16)
            .flat_map(|n| {
                let topic = format!("pieces/{n}");
                [
                    wire::subscribe(version, n + 1, &[(&topic, 0)]),
                    wire::publish(version, &topic, vec![n as u8; usize::from(n) * 10]).bytes(),
                    PINGREQ.to_vec(),
                ]
                .concat()
            })
            .collect();
        for _ in 0..10 {
            let mut client = Client::connect(&broker, version, "pieces");
            let mut rest = &conversation[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(1 + random.below(rest.len().min(400)));
                client.send(piece);
                rest = after;
            }
            for n in 0..50_u16 {
                assert_eq!(client.expect_any().suback(version).packet_id, n + 1);
                let payload = vec![n as u8; usize::from(n) * 10];
                client.expect_publish(&format!("pieces/{n}"), payload, false);
                client.expect_packet(kind::PINGRESP);
            }
        }
    }
}

/// A hundred packets in one segment are answered one after the other, in order.
pub fn coalesced_packets_are_answered_in_order(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut client = Client::connect(&broker, version, "heap");
        client.subscribe("heap");
        let bytes: Vec<u8> = (0..100_u16)
            .flat_map(|n| match n % 4 {
                0 => wire::subscribe(version, n + 1, &[("heap", 0)]),
                1 => PINGREQ.to_vec(),
                2 => wire::publish(version, "heap", n.to_string()).bytes(),
                _ => wire::unsubscribe(version, n + 1, &["other"]),
            })
            .collect();
        client.send(bytes);
        for n in 0..100_u16 {
            match n % 4 {
                0 => assert_eq!(client.expect_any().suback(version).packet_id, n + 1),
                1 => assert!(client.expect_packet(kind::PINGRESP).body.is_empty()),
                2 => drop(client.expect_publish("heap", n.to_string(), false)),
                _ => assert_eq!(client.expect_any().unsuback(version).packet_id, n + 1),
            }
        }
        client.ping();
    }
}

/// A client that says everything at once and shuts down its writing side still gets every answer,
/// and then the end; the broker does not spin on what is left.
pub fn half_closed_sockets_get_their_answers(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = Client::connect(&broker, Version::V5, "watcher");
    watcher.subscribe("will");
    for version in versions() {
        let mut client = Client::dial(&broker, version);
        let connect = wire::connect(version)
            .client_id("half")
            .will(Will::new("will", "half"));
        let subscribe = wire::subscribe(version, 1, &[("half", 0)]);
        client.send([connect.bytes(), subscribe].concat());
        client.expect_connack(0);
        assert_eq!(client.expect_any().suback(version).codes, [0]);
        let publish = wire::publish(version, "half", "whole").bytes();
        client.send([publish, PINGREQ.to_vec()].concat());
        client.shut_down_writing();
        client.expect_publish("half", "whole", false);
        client.expect_packet(kind::PINGRESP);
        client.expect_closed();
        watcher.expect_publish("will", "half", false);
    }
}

/// Connections that do nothing cost no processor time: neither silent ones, nor half-closed ones,
/// nor those in the middle of a packet.
pub fn idle_connections_cost_no_time(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut clients = Vec::new();
    for version in versions() {
        let mut client = Client::connect(&broker, version, &format!("idle {version:?}"));
        client.send(&PINGREQ[..1]);
        clients.push(client);
        clients.push(Client::dial(&broker, version));
        // The broker has ended this one, and waits for our end, which does not come.
        let mut client = Client::connect(&broker, version, &format!("ended {version:?}"));
        client.send(wire::packet(0, []));
        client.expect_end(0x81);
        clients.push(client);
    }
    let before = broker.cpu_ticks();
    let silence = clients[0].next_until(Instant::now() + Duration::from_secs(2));
    assert_eq!(silence, Next::Silence);
    let ticks = broker.cpu_ticks() - before;
    assert!(ticks <= 20, "{ticks} ticks in two seconds of silence");
}

/// MQTT 5: a client gets no packet above its Maximum Packet Size [MQTT-3.1.2-24]; the message
/// counts as delivered [MQTT-3.1.2-25], others still come, and other clients get it.
pub fn maximum_packet_size_of_the_client(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let size = 200;
    let properties = Properties::new().with(id::MAXIMUM_PACKET_SIZE, Value::Four(size));
    let connect = wire::connect(Version::V5)
        .client_id("small")
        .properties(properties);
    let (mut small, _) = Client::connect_with(&broker, &connect);
    small.subscribe("size/#");
    let mut large = Client::connect(&broker, Version::V5, "large");
    large.subscribe("size/#");
    for version in versions() {
        let mut publisher = Client::connect(&broker, version, "publisher");
        // What counts is the packet that the subscriber would get, not the one that came.
        let overhead = wire::publish(Version::V5, "size/a", [0; 150]).bytes().len() - 150;
        let fits = vec![1; size as usize - overhead];
        let exceeds = vec![2; fits.len() + 1];
        publisher.publish("size/a", &exceeds);
        publisher.publish("size/a", &fits);
        publisher.publish_retained("size/kept", &exceeds);
        publisher.publish("size/a", "end");
        small.expect_publish("size/a", &fits, false);
        small.expect_publish("size/a", "end", false);
        for payload in [&exceeds, &fits] {
            large.expect_publish("size/a", payload, false);
        }
        large.expect_publish("size/kept", &exceeds, false);
        large.expect_publish("size/a", "end", false);
        // Nor does it get it as a retained message.
        small.subscribe("size/kept");
        small.ping();
        small.unsubscribe("size/kept");
    }
    drop((small, large));
    let dropped = broker.stop().counter("dropped_too_large");
    assert!(dropped >= 6, "dropped_too_large={dropped}");
}

/// MQTT 5: words that would make a packet too large for the client are left out, not the packet
/// [MQTT-3.14.2-3, MQTT-3.2.2-19]: a client that takes only small packets is told why it must go.
pub fn small_clients_are_told_the_reason_without_words(binary: &BinaryUnderTest) {
    let broker = binary.start();
    // The smallest that takes the CONNACK of a client that names itself.
    let properties = Properties::new().with(id::MAXIMUM_PACKET_SIZE, Value::Four(16));
    let connect = wire::connect(Version::V5)
        .client_id("small")
        .properties(properties);
    for (reason, packet) in [
        (0x82, connect.bytes()),
        (0x90, wire::publish(Version::V5, "a/#", "").bytes()),
        (
            0x94,
            wire::publish(Version::V5, "a", "")
                .with(id::TOPIC_ALIAS, Value::Two(17))
                .bytes(),
        ),
    ] {
        let (mut client, _) = Client::connect_with(&broker, &connect);
        client.send(packet);
        client.expect_end(reason);
    }
    let will = Will::new("a/#", "never");
    let mut client = Client::dial(&broker, Version::V5);
    client.send(connect.will(will).bytes());
    client.expect_refusal(0x90);
}

/// The broker takes packets up to the size that CONNACK announces, and ends the connection at the
/// first that is announced to be larger: 0x95 on MQTT 5 [MQTT-3.2.2-15].
pub fn maximum_packet_size_of_the_broker(binary: &BinaryUnderTest) {
    const LIMIT: usize = 16 << 20;
    let broker = binary.start();
    for version in versions() {
        let mut client = Client::connect(&broker, version, "largest");
        client.subscribe("largest");
        let overhead = wire::publish(version, "largest", vec![0; 3 << 20])
            .bytes()
            .len()
            - (3 << 20);
        let payload = vec![3; LIMIT - overhead];
        client.publish("largest", &payload);
        client.expect_publish("largest", &payload, false);

        let exceeds = wire::publish(version, "largest", vec![3; LIMIT - overhead + 1]).bytes();
        let mut client = Client::connect(&broker, version, "too large");
        // The length is enough to know.
        client.send(&exceeds[..5]);
        client.expect_end(0x95);
    }
    let stopped = broker.stop();
    assert_eq!(stopped.counter("ended_packet_too_large"), 3);
}

/// Hundreds of clients connect (as many as fit into the usual limit of 1,024 descriptors of the
/// test itself), and every one of them is served.
pub fn many_connections_are_served(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut clients: Vec<_> = (0..900_usize)
        .map(|n| Client::connect(&broker, Version::ALL[n % 3], &format!("c{n}")))
        .collect();
    for client in &mut clients {
        client.subscribe("all");
    }
    clients[0].publish("all", "hello");
    for client in &mut clients {
        client.expect_publish("all", "hello", false);
    }
}

/// A log that people can read: who connected, from where, and how it ended.
pub fn log_says_who_came_and_went(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let since = broker.log_len();
        let name = format!("logged {version:?}");
        let client = Client::connect(&broker, version, &name);
        let address = client.address().to_string();
        let find = |needles: &[&str]| broker.wait_for_log_since(since, needles, crate::PATIENCE);
        assert!(
            find(&[&name, &address]).is_some(),
            "no line about the connection"
        );
        client.disconnect();
        assert!(
            find(&[&name, &address, "disconnected"]).is_some(),
            "no line about the end"
        );
    }
}
