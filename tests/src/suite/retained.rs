//! Retained messages.

use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::broker::BinaryUnderTest;
use crate::client::{Client, Next};
use crate::suite::{RETAIN_AS_PUBLISHED, retain_handling, versions};
use crate::wire::{self, Properties, Value, Version, id};

/// The last retained message of a topic is sent to new subscribers, marked as retained
/// [MQTT-3.3.1-5, v3.1.1 MQTT-3.3.1-6 and -8]; a new one replaces it; an empty one removes it
/// [MQTT-3.3.1-6, v3.1.1 MQTT-3.3.1-10]. Every pair of versions.
pub fn retained_messages_are_set_replaced_and_cleared(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        for reader in Version::ALL {
            let mut publisher = Client::connect(&broker, version, "publisher");
            let late = || Client::connect(&broker, reader, "late");
            publisher.publish_retained("kept/a", "one");
            publisher.fence();
            let mut client = late();
            client.subscribe("kept/a");
            client.expect_publish("kept/a", "one", true);
            client.ping();
            client.disconnect();

            publisher.publish_retained("kept/a", "two");
            // One that is not retained leaves the kept one alone [MQTT-3.3.1-8].
            publisher.publish("kept/a", "passing");
            publisher.publish("kept/a", "");
            publisher.fence();
            let mut client = late();
            client.subscribe("kept/+");
            client.expect_publish("kept/a", "two", true);
            client.ping();
            client.disconnect();

            publisher.publish_retained("kept/a", "");
            publisher.fence();
            let mut client = late();
            client.subscribe("#");
            client.ping();
            client.disconnect();
            publisher.disconnect();
        }
    }
}

/// To subscriptions that exist a retained message goes like any other, not marked [MQTT-3.3.1-12,
/// v3.1.1 MQTT-3.3.1-9]; also the empty one that clears.
pub fn retained_messages_pass_live_unmarked(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut client = Client::connect(&broker, version, "live");
        client.subscribe("live/#");
        for payload in ["kept", ""] {
            client.publish_retained("live/a", payload);
            client.expect_publish("live/a", payload, false);
        }
        client.ping();
    }
}

/// MQTT 5: Retain As Published passes the mark on as it came [MQTT-3.3.1-13].
pub fn retain_as_published(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut client = Client::connect(&broker, Version::V5, "marked");
    let codes = client.subscribe_with(&Properties::new(), &[("marked/#", RETAIN_AS_PUBLISHED)]);
    assert_eq!(codes, [0]);
    for version in versions() {
        let mut publisher = Client::connect(&broker, version, "publisher");
        publisher.publish("marked/a", "passing");
        publisher.publish_retained("marked/a", "kept");
        publisher.publish_retained("marked/a", "");
        client.expect_publish("marked/a", "passing", false);
        client.expect_publish("marked/a", "kept", true);
        client.expect_publish("marked/a", "", true);
    }
}

/// Subscribing again sends the retained messages again [MQTT-3.8.4-3], also where the filter was
/// there already, and for each filter of its own.
pub fn resubscribing_sends_retained_again(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut client = Client::connect(&broker, version, "again");
        client.publish_retained("again/a", "kept");
        for _ in 0..3 {
            client.subscribe("again/#");
            client.expect_publish("again/a", "kept", true);
            client.ping();
        }
        client.publish_retained("again/a", "");
        client.expect_publish("again/a", "", false);
    }
}

/// MQTT 5: retain handling 0 sends them always, 1 only to a new subscription, 2 never
/// [MQTT-3.3.1-9 to MQTT-3.3.1-11].
pub fn retain_handling_is_respected(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut client = Client::connect(&broker, Version::V5, "handling");
    client.publish_retained("handling/a", "kept");
    let mut number = 0;
    let mut subscribe = |client: &mut Client, handling, sent: bool| {
        // Other options, or another identifier, do not make a subscription a new one.
        number += 1;
        let properties =
            Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(number));
        let options = retain_handling(handling)
            | if number % 2 == 0 {
                RETAIN_AS_PUBLISHED
            } else {
                0
            };
        let codes = client.subscribe_with(&properties, &[("handling/+", options)]);
        assert_eq!(codes, [0]);
        if sent {
            client.expect_publish("handling/a", "kept", true);
        }
        client.ping();
    };
    subscribe(&mut client, 2, false);
    subscribe(&mut client, 1, false);
    subscribe(&mut client, 0, true);
    subscribe(&mut client, 0, true);
    client.unsubscribe("handling/+");
    subscribe(&mut client, 1, true);
    subscribe(&mut client, 1, false);
    subscribe(&mut client, 2, false);
    // Another filter is another subscription, even where it matches the same.
    let codes = client.subscribe_with(&Properties::new(), &[("handling/#", retain_handling(1))]);
    assert_eq!(codes, [0]);
    client.expect_publish("handling/a", "kept", true);
}

/// Subscribers get exactly the retained messages that their filter matches.
pub fn retained_messages_match_like_live_ones(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let topics = [
        "r", "r/", "/r", "r/a", "r/b", "r/a/x", "r/b/x", "r/a/x/y", "s/a", "r//x",
    ];
    let mut publisher = Client::connect(&broker, Version::V3_1_1, "publisher");
    for topic in topics {
        publisher.publish_retained(topic, topic);
    }
    publisher.fence();
    for version in versions() {
        for (filter, matching) in [
            ("r", &["r"][..]),
            ("r/+", &["r/", "r/a", "r/b"]),
            ("r/+/x", &["r/a/x", "r/b/x", "r//x"]),
            ("+/a", &["r/a", "s/a"]),
            ("r/a/#", &["r/a", "r/a/x", "r/a/x/y"]),
            ("+/+", &["r/", "/r", "r/a", "r/b", "s/a"]),
            ("#", &topics),
            ("+/#", &topics),
            ("r/c", &[]),
            ("$SYS/none", &[]),
        ] {
            eprintln!("{filter}");
            let mut client = Client::connect(&broker, version, "reader");
            client.subscribe(filter);
            let mut got: Vec<String> = matching
                .iter()
                .map(|_| {
                    let publish = client.expect_message();
                    assert!(publish.retain && publish.payload == publish.topic.as_bytes());
                    publish.topic
                })
                .collect();
            client.ping();
            got.sort();
            let mut wanted = matching.to_vec();
            wanted.sort_unstable();
            assert_eq!(got, wanted);
        }
    }
}

/// A subscription to ten thousand retained messages gets every one of them, while the connection
/// goes on answering.
pub fn many_retained_messages_all_arrive(binary: &BinaryUnderTest) {
    const COUNT: usize = 10_000;
    let broker = binary.start();
    let mut publisher = Client::connect(&broker, Version::V3_1_1, "publisher");
    let packets: Vec<u8> = (0..COUNT)
        .flat_map(|n| {
            let topic = format!("many/{}/{n}", n % 100);
            wire::publish(Version::V3_1_1, topic, n.to_string())
                .retain()
                .bytes()
        })
        .collect();
    publisher.send(packets);
    publisher.fence();
    for version in versions() {
        let mut client = Client::connect(&broker, version, "reader");
        client.subscribe("many/#");
        let mut seen = vec![false; COUNT];
        for _ in 0..COUNT {
            let publish = client.expect_message();
            let n: usize = String::from_utf8(publish.payload).unwrap().parse().unwrap();
            assert!(!std::mem::replace(&mut seen[n], true), "{n} came twice");
        }
        client.ping();
    }
}

/// MQTT 5: what is kept keeps its properties; the Message Expiry Interval is what is left of it
/// [MQTT-3.3.2-6], and when nothing is left the message is gone [MQTT-3.3.2-5].
pub fn retained_messages_expire(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut client = Client::connect(&broker, Version::V5, "expiry");
    let mut retain = |topic: &str, seconds| {
        let expiry = Properties::new().with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(seconds));
        let publish = wire::publish(Version::V5, topic, "kept").retain();
        client.send(publish.properties(expiry).bytes());
    };
    let start = Instant::now();
    retain("expiry/long", 1000);
    retain("expiry/short", 1);
    client.ping();
    // Looks again and again, until one has counted down and the other is gone.
    loop {
        assert!(start.elapsed() < PATIENCE, "nothing expires");
        client.subscribe("expiry/#");
        let mut messages = Vec::new();
        while let Next::Packet(packet) =
            client.next_until(Instant::now() + Duration::from_millis(200))
        {
            messages.push(packet.publish(Version::V5));
        }
        for message in &messages {
            let expiry = message.property(id::MESSAGE_EXPIRY_INTERVAL);
            let Some(Value::Four(left)) = expiry else {
                panic!("no expiry in {message:?}")
            };
            let given = if message.topic == "expiry/long" {
                1000
            } else {
                1
            };
            let passed = start.elapsed().as_secs() as u32;
            assert!(
                *left <= given && left + passed + 1 >= given,
                "{left} s after {passed} s"
            );
        }
        let counted = messages.iter().any(|message| {
            message.property(id::MESSAGE_EXPIRY_INTERVAL) < Some(&Value::Four(1000))
                && message.topic == "expiry/long"
        });
        if counted && messages.len() == 1 {
            break;
        }
    }
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "expired too early"
    );
}

/// A retained message survives its publisher, and any client may replace it.
pub fn retained_messages_belong_to_nobody(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut first = Client::connect(&broker, Version::V3_1, "first");
    first.publish_retained("owner", "first");
    first.disconnect();
    let mut second = Client::connect(&broker, Version::V5, "second");
    second.subscribe("owner");
    second.expect_publish("owner", "first", true);
    second.publish_retained("owner", "second");
    second.expect_publish("owner", "second", false);
    let mut third = Client::connect(&broker, Version::V3_1_1, "third");
    third.subscribe("owner");
    third.expect_publish("owner", "second", true);
}
