//! QoS 1 and 2 over sockets: the exchanges, and what a client may do wrong in them.

use crate::broker::{BinaryUnderTest, Broker};
use crate::client::Client;
use crate::suite::versions;
use crate::wire::{self, Properties, PublishBuilder, Value, Version, id, kind};

fn subscriber(broker: &Broker, version: Version, filter: &str, qos: u8) -> Client {
    let mut client = Client::connect(broker, version, "subscriber");
    client.subscribe_at(filter, qos);
    client
}

/// A message arrives at the lower of the QoS it was published with and the one that was granted
/// [MQTT-3.8.4-8], without DUP [MQTT-3.3.1-3], between all versions.
pub fn every_qos_between_all_versions(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for from in versions() {
        for to in Version::ALL {
            let mut publisher = Client::connect(&broker, from, "publisher");
            for granted in 0..=2 {
                let mut reader = subscriber(&broker, to, "q", granted);
                for qos in 0..=2 {
                    assert_eq!(publisher.publish_at(qos, "q", "x"), 0);
                    let got = reader.expect_qos(qos.min(granted), "q", "x");
                    reader.acknowledge(&got);
                }
                reader.ping();
                reader.disconnect();
            }
        }
    }
}

/// PUBACK and PUBREC tell MQTT 5 clients that nobody listens (0x10), or that the topic is not for
/// them (0x90); older ones are simply answered.
pub fn publishers_are_told_the_outcome(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut client = Client::connect(&broker, version, "publisher");
        let told = |reason| if version.is_v5() { reason } else { 0 };
        for qos in [1, 2] {
            assert_eq!(client.publish_at(qos, "nobody", "x"), told(0x10));
            assert_eq!(client.publish_at(qos, "$SYS/broker/x", "x"), told(0x90));
            assert_eq!(client.publish_at(qos, "$share/g/t", "x"), told(0x90));
        }
        client.ping();
        client.disconnect();
    }
}

/// A QoS 2 message is delivered once, however often it comes before its PUBREL [MQTT-4.3.3-10], and
/// is a new one after it [MQTT-4.3.3-12]: all in one segment, and byte by byte.
pub fn qos_2_is_exactly_once(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut reader = subscriber(&broker, version, "once", 2);
        for slowly in [false, true] {
            let mut client = Client::connect(&broker, version, "publisher");
            let publish = |text: &str| wire::publish(version, "once", text).qos(2, 0xabcd);
            let pubrel = wire::ack(kind::PUBREL, 0xabcd);
            let bytes = [
                publish("one").bytes(),
                publish("one").dup().bytes(),
                publish("other").bytes(),
                pubrel.clone(),
                publish("two").dup().bytes(),
                pubrel.clone(),
                pubrel,
            ]
            .concat();
            if slowly {
                client.send_one_by_one(&bytes);
            } else {
                client.send(&bytes);
            }
            for kind in [5, 5, 5, 7, 5, 7] {
                assert_eq!(client.expect_ack(kind, 0xabcd), 0);
            }
            let unknown = if version.is_v5() { 0x92 } else { 0 };
            assert_eq!(client.expect_ack(kind::PUBCOMP, 0xabcd), unknown);
            let got = ["one", "two"].map(|text| reader.expect_qos(2, "once", text));
            for message in &got {
                reader.acknowledge(message);
            }
            reader.ping();
            client.disconnect();
        }
        reader.disconnect();
    }
}

/// What a subscriber says out of turn: PUBREC again is answered with PUBREL again; a PUBREC of
/// nothing with PUBREL, 0x92 on MQTT 5; PUBACK and PUBCOMP of nothing with silence.
pub fn acknowledgements_of_nothing_do_no_harm(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut publisher = Client::connect(&broker, version, "publisher");
        let mut reader = subscriber(&broker, version, "out/of/turn", 2);
        let unknown = if version.is_v5() { 0x92 } else { 0 };
        for packet_id in [1, 0x1234, 0xffff] {
            reader.ack(kind::PUBACK, packet_id);
            reader.ack(kind::PUBCOMP, packet_id);
            reader.ack(kind::PUBREC, packet_id);
            assert_eq!(reader.expect_ack(kind::PUBREL, packet_id), unknown);
            reader.ack(kind::PUBCOMP, packet_id);
            reader.ack(kind::PUBREL, packet_id);
            assert_eq!(reader.expect_ack(kind::PUBCOMP, packet_id), unknown);
        }
        publisher.publish_at(2, "out/of/turn", "x");
        let id = reader.expect_qos(2, "out/of/turn", "x").packet_id.unwrap();
        for _ in 0..3 {
            reader.ack(kind::PUBREC, id);
            assert_eq!(reader.expect_ack(kind::PUBREL, id), 0);
        }
        reader.ack(kind::PUBCOMP, id);
        reader.ack(kind::PUBCOMP, id);
        reader.ping();
        reader.disconnect();
    }
}

/// An acknowledgement of another kind than the exchange is at ends the connection: 0x82.
pub fn acknowledgements_of_the_wrong_kind(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut publisher = Client::connect(&broker, version, "publisher");
        for (qos, wrong) in [
            (1, kind::PUBREC),
            (1, kind::PUBCOMP),
            (2, kind::PUBACK),
            (2, kind::PUBCOMP),
        ] {
            let mut reader = subscriber(&broker, version, "wrong", 2);
            publisher.publish_at(qos, "wrong", "x");
            let id = reader.expect_qos(qos, "wrong", "x").packet_id.unwrap();
            reader.ack(wrong, id);
            reader.expect_end(0x82);
        }
        // After PUBREC it is PUBACK that is wrong.
        let mut reader = subscriber(&broker, version, "wrong", 2);
        publisher.publish_at(2, "wrong", "x");
        let id = reader.expect_qos(2, "wrong", "x").packet_id.unwrap();
        reader.ack(kind::PUBREC, id);
        reader.expect_ack(kind::PUBREL, id);
        reader.ack(kind::PUBACK, id);
        reader.expect_end(0x82);
    }
}

/// MQTT 5: an identifier that awaits its PUBREL is in use, and whoever uses it for something else
/// is told so: 0x91.
pub fn identifiers_in_use_are_told(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let version = Version::V5;
    let mut client = Client::connect(&broker, version, "reusing");
    client.send(wire::publish(version, "reused", "x").qos(2, 500).bytes());
    assert_eq!(client.expect_ack(kind::PUBREC, 500), 0x10);
    client.send(wire::publish(version, "reused", "x").qos(1, 500).bytes());
    assert_eq!(client.expect_ack(kind::PUBACK, 500), 0x91);
    client.send(wire::subscribe(version, 500, &[("reused", 1)]));
    assert_eq!(client.expect_any().suback(version).codes, [0x91]);
    client.send(wire::unsubscribe(version, 500, &["reused", "x"]));
    assert_eq!(client.expect_any().unsuback(version).codes, [0x91, 0x91]);
    client.ack(kind::PUBREL, 500);
    assert_eq!(client.expect_ack(kind::PUBCOMP, 500), 0);
    client.send(wire::publish(version, "reused", "x").qos(1, 500).bytes());
    assert_eq!(client.expect_ack(kind::PUBACK, 500), 0x10);
    client.ping();
}

/// Identifier 0 above QoS 0 [MQTT-2.2.1-3], and acknowledgements with flags or of the wrong length,
/// each beside its repaired twin.
pub fn exchanges_out_of_form(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let publish = |qos, id| wire::publish(version, "form", "x").qos(qos, id).bytes();
        let mut cases = vec![
            (publish(1, 0), publish(1, 1)),
            (publish(2, 0), publish(2, 1)),
            (publish(3, 1), publish(1, 1)),
        ];
        for kind in [kind::PUBACK, kind::PUBREC, kind::PUBREL, kind::PUBCOMP] {
            let good = wire::ack(kind, 9);
            let flags = wire::packet(good[0] ^ 2, [0, 9]);
            let short = wire::packet(good[0], [9]);
            let zero = wire::ack(kind, 0);
            let long: &[u8] = if version.is_v5() {
                &[0, 9, 0, 0, 0]
            } else {
                &[0, 9, 0]
            };
            let long = wire::packet(good[0], long);
            for bad in [flags, short, zero, long] {
                cases.push((bad, good.clone()));
            }
        }
        for (bad, good) in cases {
            let mut client = Client::connect(&broker, version, "form");
            client.send(&good);
            client.send(wire::PINGREQ);
            while client.expect_any().kind() != kind::PINGRESP {}
            client.disconnect();
            let mut client = Client::connect(&broker, version, "form");
            client.send(&bad);
            if version.is_v5() {
                let said = client.expect_any().disconnect().reason;
                assert!([0x81, 0x82].contains(&said), "{said:#04x} to {bad:02x?}");
            }
            client.expect_closed();
        }
    }
}

/// MQTT 5: no more messages are in flight to a client than its Receive Maximum [MQTT-3.3.4-9], and
/// each place that becomes free is taken, in order.
pub fn receive_maximum_of_the_client(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for qos in [1, 2] {
        let mut publisher = Client::connect(&broker, Version::V5, "publisher");
        let connect = wire::connect(Version::V5)
            .client_id("narrow")
            .with(id::RECEIVE_MAXIMUM, Value::Two(3));
        let (mut reader, _) = Client::connect_with(&broker, &connect);
        reader.subscribe_at("narrow", qos);
        reader.subscribe_at("zero", qos);
        for n in 0..20 {
            publisher.publish_at(qos, "narrow", n.to_string());
        }
        let mut open: Vec<_> = (0..3)
            .map(|n: u32| reader.expect_qos(qos, "narrow", n.to_string()))
            .collect();
        reader.ping();
        // QoS 0 is not held up [MQTT-3.3.4-10].
        publisher.publish("zero", "x");
        reader.expect_publish("zero", "x", false);
        for n in 3..20 {
            reader.acknowledge(&open.remove(0));
            open.push(reader.expect_qos(qos, "narrow", n.to_string()));
            reader.ping();
        }
        reader.disconnect();
    }
}

/// MQTT 5: the broker's own Receive Maximum is told, and one message more is too many: 0x93. What
/// is released makes room.
pub fn receive_maximum_of_the_broker(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let connect = wire::connect(Version::V5).client_id("greedy");
    let (mut client, connack) = Client::connect_with(&broker, &connect);
    let told = connack.property(id::RECEIVE_MAXIMUM);
    assert_eq!(told, Some(&Value::Two(8192)));
    let publish =
        |id: u16| -> PublishBuilder { wire::publish(Version::V5, "greedy", "x").qos(2, id) };
    client.send(
        (1..=8192)
            .flat_map(|id| publish(id).bytes())
            .collect::<Vec<u8>>(),
    );
    for id in 1..=8192 {
        assert_eq!(client.expect_ack(kind::PUBREC, id), 0x10);
    }
    // What comes again is none more.
    client.send(publish(5).dup().bytes());
    client.expect_ack(kind::PUBREC, 5);
    client.ack(kind::PUBREL, 8192);
    assert_eq!(client.expect_ack(kind::PUBCOMP, 8192), 0);
    client.send(publish(9000).bytes());
    assert_eq!(client.expect_ack(kind::PUBREC, 9000), 0x10);
    client.send(publish(9001).bytes());
    client.expect_end(0x93);
}

/// Ten thousand messages of both QoS arrive in order and once, whatever the order of the
/// acknowledgements [MQTT-4.6.0-5, MQTT-4.6.0-6].
pub fn messages_above_qos_0_keep_their_order(binary: &BinaryUnderTest) {
    const COUNT: u16 = 10_000;
    const BURST: u16 = 500;
    let broker = binary.start();
    for version in versions() {
        let mut reader = subscriber(&broker, version, "order", 2);
        let mut publisher = Client::connect(&broker, version, "publisher");
        for first in (0..COUNT).step_by(BURST.into()) {
            let numbers = first..first + BURST;
            let qos = |n: u16| if n.is_multiple_of(3) { 1 } else { 2 };
            let packets: Vec<u8> = numbers
                .clone()
                .flat_map(|n| {
                    let publish = wire::publish(version, "order", n.to_string());
                    publish.qos(qos(n), n + 1).bytes()
                })
                .collect();
            publisher.send(packets);
            let mut releases = Vec::new();
            for n in numbers.clone() {
                let kind = [kind::PUBACK, kind::PUBREC][usize::from(qos(n)) - 1];
                assert_eq!(publisher.expect_ack(kind, n + 1), 0);
                if qos(n) == 2 {
                    releases.extend(wire::ack(kind::PUBREL, n + 1));
                }
            }
            publisher.send(releases);
            for n in numbers.clone().filter(|n| qos(*n) == 2) {
                assert_eq!(publisher.expect_ack(kind::PUBCOMP, n + 1), 0);
            }
            let got: Vec<_> = numbers
                .map(|n| reader.expect_qos(qos(n), "order", n.to_string()))
                .collect();
            // The last ones first.
            for message in got.iter().rev() {
                reader.acknowledge(message);
            }
        }
        reader.ping();
        reader.disconnect();
    }
}

/// MQTT 5: whoever answers with an error has had the message [MQTT-4.4.0-2]: it does not come
/// again, and its place in the window is free.
pub fn refusals_of_subscribers_end_the_exchange(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let version = Version::V5;
    let connect = wire::lasting(version, "refusing").with(id::RECEIVE_MAXIMUM, Value::Two(1));
    let (mut reader, _) = Client::connect_with(&broker, &connect);
    reader.subscribe_at("refused", 2);
    let mut publisher = Client::connect(&broker, version, "publisher");
    for (qos, kind) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
        for reason in [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] {
            publisher.publish_at(qos, "refused", "x");
            let got = reader.expect_qos(qos, "refused", "x");
            let words = Properties::new()
                .with(id::REASON_STRING, Value::Text("no".into()))
                .user("why", "not");
            let id = got.packet_id.unwrap();
            reader.send(wire::ack_with(kind, id, reason, &words));
            reader.ping();
        }
    }
    drop(reader);
    let mut reader = Client::resume(&broker, &connect);
    reader.ping();
}
