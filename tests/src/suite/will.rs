//! Wills: when they are published, and when not.

use std::net::Shutdown;

use crate::broker::{BinaryUnderTest, Broker};
use crate::client::Client;
use crate::suite::versions;
use crate::wire::{self, Connect, Properties, Value, Version, Will, id, kind};

fn mortal(version: Version) -> Connect {
    wire::connect(version)
        .client_id("mortal")
        .will(Will::new("will/mortal", "gone"))
}

fn watcher(broker: &Broker) -> Client {
    let mut client = Client::connect(broker, Version::V5, "watcher");
    client.subscribe("will/#");
    client
}

/// A connection that ends without a DISCONNECT publishes its will [MQTT-3.1.2-8]: cut, half-closed,
/// or reset.
pub fn will_on_cut(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = watcher(&broker);
    for version in versions() {
        let (client, _) = Client::connect_with(&broker, &mortal(version));
        drop(client);
        watcher.expect_publish("will/mortal", "gone", false);

        let (mut client, _) = Client::connect_with(&broker, &mortal(version));
        client.shut_down_writing();
        client.expect_closed();
        watcher.expect_publish("will/mortal", "gone", false);

        let (mut client, _) = Client::connect_with(&broker, &mortal(version));
        client.send(wire::PINGREQ);
        // The answer has come by then, and closing a socket with unread bytes resets it.
        watcher.ping();
        client.writer().shutdown(Shutdown::Read).ok();
        drop(client);
        watcher.expect_publish("will/mortal", "gone", false);
    }
    watcher.ping();
    drop(watcher);
    assert_eq!(broker.stop().counter("wills_published"), 9);
}

/// A cut in the middle of a packet publishes the will too, and not the half message.
pub fn will_on_cut_inside_a_packet(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = watcher(&broker);
    for version in versions() {
        let (mut client, _) = Client::connect_with(&broker, &mortal(version));
        let publish = wire::publish(version, "will/unfinished", "half").bytes();
        client.send(&publish[..publish.len() - 1]);
        drop(client);
        watcher.expect_publish("will/mortal", "gone", false);
        watcher.ping();
    }
}

/// DISCONNECT removes the will [MQTT-3.14.4-3, v3.1.1 MQTT-3.1.2-10].
pub fn no_will_after_disconnect(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = watcher(&broker);
    for version in versions() {
        Client::connect_with(&broker, &mortal(version))
            .0
            .disconnect();
        // Followed by the cut at once, in one segment.
        let (mut client, _) = Client::connect_with(&broker, &mortal(version));
        client.send(wire::disconnect(version, 0));
        drop(client);
    }
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    watcher.expect_nothing_from(&mut publisher);
}

/// MQTT 5: DISCONNECT with reason 0x04 asks for the will, and any other but 0 leaves it in force.
pub fn disconnect_with_will(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = watcher(&broker);
    for reason in [0x04, 0x80, 0x81] {
        let (mut client, _) = Client::connect_with(&broker, &mortal(Version::V5));
        client.send(wire::disconnect(Version::V5, reason));
        client.expect_closed();
        watcher.expect_publish("will/mortal", "gone", false);
    }
}

/// A client that has gone silent: its will is published when the keep-alive ends the connection.
pub fn will_on_keep_alive_timeout(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = watcher(&broker);
    let clients = Version::ALL.map(|version| {
        let connect = mortal(version)
            .client_id(format!("{version:?}"))
            .keep_alive(1);
        Client::connect_with(&broker, &connect).0
    });
    for _ in &clients {
        watcher.expect_publish("will/mortal", "gone", false);
    }
}

/// A protocol error of the client publishes its will.
pub fn will_on_protocol_error(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = watcher(&broker);
    for version in versions() {
        let (mut client, _) = Client::connect_with(&broker, &mortal(version));
        client.send(wire::packet(kind::CONNACK << 4, [0, 0]));
        client.expect_end(0x82);
        watcher.expect_publish("will/mortal", "gone", false);
    }
}

/// A takeover publishes the will of the connection that ends [MQTT-3.1.2-8], not that of the new
/// one.
pub fn will_on_takeover(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = watcher(&broker);
    for version in versions() {
        let (mut old, _) = Client::connect_with(&broker, &mortal(version));
        let will = Will::new("will/mortal", "the second");
        let connect = wire::connect(version).client_id("mortal").will(will);
        let (new, _) = Client::connect_with(&broker, &connect);
        old.expect_end(0x8e);
        watcher.expect_publish("will/mortal", "gone", false);
        watcher.ping();
        drop(new);
        watcher.expect_publish("will/mortal", "the second", false);
    }
}

/// A will that is to be retained is [MQTT-3.1.2-15], one that is not is not [MQTT-3.1.2-14].
pub fn will_may_be_retained(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut watcher = watcher(&broker);
        for retain in [true, false] {
            let will = Will {
                retain,
                ..Will::new(format!("will/{retain}"), "last words")
            };
            let connect = wire::connect(version).client_id("mortal").will(will);
            drop(Client::connect_with(&broker, &connect));
            watcher.expect_publish(&format!("will/{retain}"), "last words", false);
        }
        let mut late = Client::connect(&broker, version, "late");
        late.subscribe("will/#");
        late.expect_publish("will/true", "last words", true);
        late.ping();
        late.publish_retained("will/true", "");
        watcher.expect_publish("will/true", "", false);
    }
}

/// A will may have an empty payload, any bytes, and 65,535 of them.
pub fn will_payloads(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = watcher(&broker);
    for version in versions() {
        for payload in [vec![], vec![0, 255, 128], vec![7; 65_535]] {
            let will = Will::new("will/mortal", &payload);
            let connect = wire::connect(version).client_id("mortal").will(will);
            drop(Client::connect_with(&broker, &connect));
            watcher.expect_publish("will/mortal", &payload, false);
        }
    }
}

/// MQTT 5: the will's properties come with it, but for its delay, which is no part of the message.
/// The session ends with the connection, so the will does not wait for its delay [MQTT-3.1.2-8].
pub fn will_properties_are_carried(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = watcher(&broker);
    let properties = Properties::new()
        .with(id::WILL_DELAY_INTERVAL, Value::Four(3600))
        .with(id::CONTENT_TYPE, Value::Text("words".into()))
        .user("a", "1")
        .with(id::RESPONSE_TOPIC, Value::Text("back".into()))
        .with(id::CORRELATION_DATA, Value::Binary(vec![9]))
        .with(id::PAYLOAD_FORMAT_INDICATOR, Value::Byte(1))
        .user("a", "2");
    let will = Will {
        properties,
        ..Will::new("will/rich", "last words")
    };
    let connect = wire::connect(Version::V5).client_id("mortal").will(will);
    drop(Client::connect_with(&broker, &connect));
    let mut properties = watcher
        .expect_publish("will/rich", "last words", false)
        .properties;
    // Sorting is stable, so the user properties keep their order.
    properties.sort_by_key(|(id, _)| *id);
    let user = |value: &str| (38, Value::Pair("a".into(), value.into()));
    let wanted = [
        (1, Value::Byte(1)),
        (3, Value::Text("words".into())),
        (8, Value::Text("back".into())),
        (9, Value::Binary(vec![9])),
        user("1"),
        user("2"),
    ];
    assert_eq!(properties, wanted);
}

/// A will has a QoS of its own [MQTT-3.1.2-12], and comes at the lower one [MQTT-3.8.4-8]. There is
/// no QoS 3 [MQTT-3.1.2-13].
pub fn wills_have_a_qos(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let with = |version, qos| {
        let will = Will {
            qos,
            ..Will::new("will/mortal", "gone")
        };
        wire::connect(version).client_id("mortal").will(will)
    };
    for version in versions() {
        for granted in 0..=2 {
            let mut watcher = Client::connect(&broker, version, "watcher");
            watcher.subscribe_at("will/#", granted);
            for qos in 0..=2 {
                drop(Client::connect_with(&broker, &with(version, qos)));
                let got = watcher.expect_qos(qos.min(granted), "will/mortal", "gone");
                watcher.acknowledge(&got);
            }
            watcher.ping();
            watcher.disconnect();
        }
        let mut client = Client::dial(&broker, version);
        client.send(with(version, 3).bytes());
        if version.is_v5() {
            let code = client.expect_any().connack(version).code;
            assert!([0x81, 0x82].contains(&code), "{code:#04x}");
        }
        client.expect_closed();
    }
}

/// A client that was refused has no will.
pub fn no_will_of_a_refused_client(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut watcher = watcher(&broker);
    let mut client = Client::dial(&broker, Version::V3_1);
    client.send(mortal(Version::V3_1).client_id("").bytes());
    client.expect_refusal(2);
    // And one that is cut off inside its CONNECT.
    let bytes = mortal(Version::V5).bytes();
    Client::dial(&broker, Version::V5).send(&bytes[..bytes.len() - 1]);
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    watcher.expect_nothing_from(&mut publisher);
}
