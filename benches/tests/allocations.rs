//! What is allocated: by a message on its way nothing, by what stays no more than is said here.
//!
//! Counted over the core alone, with warm buffers, as in a broker that has run for a while.
#![allow(missing_docs, reason = "a test")]

use std::time::Duration;

use allocation_counter::AllocationInfo;
use wherry_benches::{Bench, Pair, encode, publish};
use wherry_core::packet::ProtocolVersion::{self, V3_1_1, V5};
use wherry_core::packet::{Packet, PacketId, Properties, Property, QoS};

/// How many allocations a turn with `bytes` from a publisher makes, once buffers are warm.
fn allocations(load: &mut Bench, from: ProtocolVersion, bytes: &[u8]) -> u64 {
    let publisher = load.connect(from, "publisher");
    for _ in 0..3 {
        assert!(load.receive(publisher, bytes) > 0);
    }
    let sent = load.broker().counters().publish_sent;
    let info = allocation_counter::measure(|| {
        load.receive(publisher, bytes);
    });
    assert!(load.broker().counters().publish_sent > sent);
    info.count_total
}

#[test]
fn a_qos_0_message_allocates_nothing_on_its_way() {
    for from in [V3_1_1, V5] {
        let mut load = Bench::default();
        for n in 0..100 {
            let version = if n % 2 == 0 { V5 } else { V3_1_1 };
            let id = load.connect(version, &format!("c{n}"));
            load.subscribe(
                id,
                version,
                &["site/+/temperature", "site/7/temperature", "#"][..1 + n % 3],
            );
        }
        let properties = [Property::ContentType("text/plain")];
        let properties = Properties::from_slice(&properties);
        let bytes = encode(&publish("site/7/temperature", &[7; 64], properties), from).repeat(100);
        assert_eq!(allocations(&mut load, from, &bytes), 0, "{from}");
    }
}

#[test]
fn a_qos_0_message_to_another_shard_allocates_nothing_on_its_way() {
    let mut load = Pair::default();
    for _ in 0..10 {
        let id = load.connect(1, V3_1_1);
        load.subscribe(1, id, V3_1_1, &["site/7/temperature"]);
    }
    let publisher = load.connect(0, V3_1_1);
    let packet = encode(
        &publish("site/7/temperature", &[7; 64], Properties::EMPTY),
        V3_1_1,
    );
    let mut count = |messages: usize| {
        let bytes = packet.repeat(messages);
        for _ in 0..3 {
            assert!(load.receive(0, publisher, &bytes) > 0);
        }
        let info = allocation_counter::measure(|| {
            load.receive(0, publisher, &bytes);
        });
        info.count_total
    };
    // What goes over in one turn has one buffer, however many messages that are.
    let (few, many) = (count(100), count(400));
    assert!(few <= 12 && many <= few + 2, "{few}, {many}");
}

/// How many bytes each of `count` things keeps.
fn bytes_each(count: i64, make: impl FnOnce()) -> i64 {
    let AllocationInfo { bytes_current, .. } = allocation_counter::measure(make);
    bytes_current / count
}

#[test]
fn an_idle_client_with_a_subscription_takes_less_than_900_bytes() {
    let mut load = Bench::default();
    let count = 8000;
    let each = bytes_each(count, || {
        for n in 0..count {
            let id = load.connect(V3_1_1, &format!("client-{n}"));
            load.subscribe(id, V3_1_1, &[&format!("device/{n}/commands")]);
        }
    });
    assert!(each < 900, "{each}");
}

#[test]
fn a_further_subscription_takes_less_than_200_bytes() {
    for pattern in ["device/%/commands", "device/%/#"] {
        let mut load = Bench::default();
        let clients: Vec<_> = (0..10)
            .map(|n| load.connect(V3_1_1, &format!("client-{n}")))
            .collect();
        let count = 100_000;
        let each = bytes_each(count, || {
            for n in 0..100_000 {
                let filter = pattern.replace('%', &n.to_string());
                load.subscribe(clients[n % 10], V3_1_1, &[&filter]);
            }
        });
        assert!(each < 200, "{pattern}: {each}");
    }
}

#[test]
fn a_retained_message_takes_its_bytes_and_less_than_200() {
    let mut load = Bench::default();
    let publisher = load.connect(V3_1_1, "publisher");
    let count = 100_000;
    let mut content = 0;
    let each = bytes_each(count, || {
        for n in 0..count {
            let topic = format!("site/{}/device/{n}", n / 1000);
            content += topic.len() as i64 + 64;
            let mut bytes = encode(&publish(&topic, &[7; 64], Properties::EMPTY), V3_1_1);
            bytes[0] |= 1; // RETAIN
            load.receive(publisher, &bytes);
        }
    });
    let content = content / count;
    assert!(each < content + 200, "{each} for {content}");
}

#[test]
fn what_messages_needed_is_given_back_when_none_come() {
    let mut load = Bench::default();
    let clients: Vec<_> = (0..100)
        .map(|n| load.connect(V3_1_1, &format!("client-{n}")))
        .collect();
    let topics: Vec<_> = (0..100).map(|n| format!("device/{n}")).collect();
    for (id, topic) in clients.iter().zip(&topics) {
        load.subscribe_at(*id, V3_1_1, &[topic], QoS::AtLeastOnce);
    }
    let publisher = load.connect(V3_1_1, "publisher");
    let mut burst = |first: u8| {
        for topic in &topics {
            let mut bytes = Vec::new();
            for n in 1..=20 {
                let mut packet = publish(topic, &[7; 64], Properties::EMPTY);
                if let Packet::Publish(publish) = &mut packet {
                    (publish.qos, publish.packet_id) = (QoS::AtLeastOnce, PacketId::new(n));
                }
                bytes.extend(encode(&packet, V3_1_1));
            }
            load.receive(publisher, &bytes);
        }
        for id in &clients {
            for n in first..first + 20 {
                load.receive(*id, &[0x40, 2, 0, n]);
            }
        }
        for _ in 0..5 {
            load.pass(Duration::from_secs(1));
        }
    };
    burst(1);
    let each = bytes_each(100, || burst(21));
    assert!(each < 20, "{each}");
}
