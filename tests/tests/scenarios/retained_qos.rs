//! Retained messages above QoS 0: all of them, within the window, in order.

use std::collections::BTreeSet;
use std::time::Duration;

use wherry_core::Config;
use wherry_core::{QueuePolicy, RetainedPolicy};
use wherry_tests::scenario::{Client, World, texts};
use wherry_tests::wire::{self, Publish, Value, Version, id, kind};

fn keep(world: &mut World, publisher: Client, version: Version, topic: &str, text: &str, qos: u8) {
    let mut publish = wire::publish(version, topic, text).retain();
    if qos > 0 {
        publish = publish.qos(qos, 1);
    }
    world.send(publisher, publish.bytes());
    if qos == 1 {
        world.expect_ack(publisher, kind::PUBACK);
    } else if qos == 2 {
        world.expect_ack(publisher, kind::PUBREC);
        world.ack(publisher, kind::PUBREL, 1);
        world.expect_ack(publisher, kind::PUBCOMP);
    }
}

#[test]
fn a_retained_message_comes_at_the_lower_of_both_qos() {
    // [MQTT-3.3.1-5]: it is stored with its QoS; [MQTT-3.8.4-8]
    for version in Version::ALL {
        for granted in 0..=2 {
            let mut world = World::default();
            let publisher = world.connect(version, "publisher");
            for qos in 0..=2 {
                keep(
                    &mut world,
                    publisher,
                    version,
                    &format!("t/{qos}"),
                    "x",
                    qos,
                );
            }
            let client = world.connect(version, "a");
            world.subscribe(client, "t/#", granted);
            let mut got = world.drain(client);
            got.sort_by(|a, b| a.topic.cmp(&b.topic));
            assert_eq!(got.len(), 3);
            for (qos, message) in (0..=2).zip(got) {
                assert_eq!(message.topic, format!("t/{qos}"));
                assert_eq!(message.qos, qos.min(granted));
                assert!(message.retain && !message.dup);
            }
        }
    }
}

/// A broker that holds so many retained messages of QoS 2.
fn world_with(count: u32, config: Config) -> (World, Client) {
    let mut world = World::new(config);
    let publisher = world.connect(Version::V5, "publisher");
    for n in 0..count {
        keep(
            &mut world,
            publisher,
            Version::V5,
            &format!("r/{n}"),
            "old",
            2,
        );
    }
    (world, publisher)
}

#[test]
fn a_large_replay_keeps_to_the_window_and_brings_all() {
    // [MQTT-3.3.4-9]
    for qos in [1, 2] {
        let (mut world, _) = world_with(5000, Config::default());
        let connect = wire::connect(Version::V5)
            .client_id("a")
            .with(id::RECEIVE_MAXIMUM, Value::Two(7));
        let client = world.connect_with(&connect);
        world.subscribe(client, "r/#", qos);
        let mut open = world.messages(client);
        let mut seen = BTreeSet::new();
        while !open.is_empty() {
            assert!(open.len() <= 7);
            let message = open.remove(0);
            assert!(message.retain && message.qos == qos);
            assert!(
                seen.insert(message.topic.clone()),
                "{} twice",
                message.topic
            );
            world.acknowledge(client, &message);
            open.extend(world.messages(client));
        }
        assert_eq!(seen.len(), 5000);
    }
}

#[test]
fn a_replay_is_not_lost_to_the_bound_of_the_queue() {
    // It has a cursor, not a copy: what is not yet sent does not wait in the queue.
    let config = Config {
        max_queued_messages: 10,
        send_window: 5.try_into().unwrap(),
        ..Config::default()
    };
    let (mut world, publisher) = world_with(200, config);
    let client = world.connect(Version::V3_1_1, "a");
    world.subscribe(client, "live", 1);
    world.subscribe(client, "r/#", 1);
    assert_eq!(
        world.publish_acked(publisher, "live", "x"),
        0,
        "there is room beside it"
    );
    let got = world.drain(client);
    assert_eq!(got.iter().filter(|message| message.retain).count(), 200);
    assert_eq!(got.iter().filter(|message| !message.retain).count(), 1);
}

#[test]
fn no_older_value_follows_a_newer_one() {
    // [MQTT-4.6.0-5]
    let config = Config {
        send_window: 3.try_into().unwrap(),
        ..Config::default()
    };
    let (mut world, publisher) = world_with(100, config);
    let client = world.connect(Version::V5, "a");
    world.subscribe(client, "r/#", 2);
    for n in 0..100 {
        keep(
            &mut world,
            publisher,
            Version::V5,
            &format!("r/{n}"),
            "new",
            [0, 1, 2][n % 3],
        );
    }
    let got = world.drain(client);
    for n in 0..100 {
        let topic = format!("r/{n}");
        let of: Vec<Publish> = got.iter().filter(|m| m.topic == topic).cloned().collect();
        let of = texts(&of);
        assert!(of == ["new"] || of == ["old", "new"], "{topic}: {of:?}");
    }
}

#[test]
fn a_replay_belongs_to_its_session_and_goes_on_after_a_disconnect() {
    for qos in [1, 2] {
        let config = Config {
            send_window: 5.try_into().unwrap(),
            ..Config::default()
        };
        let (mut world, _) = world_with(50, config);
        let connect = wire::lasting(Version::V5, "a");
        let client = world.connect_with(&connect);
        world.subscribe(client, "r/#", qos);
        let first = world.messages(client);
        assert_eq!(first.len(), 5);
        world.acknowledge(client, &first[0]);
        world.hang_up(client);
        let client = world.resume(&connect);
        let got = world.drain(client);
        let mut topics: BTreeSet<&str> = got.iter().map(|m| &m.topic[..]).collect();
        assert_eq!(topics.len(), got.len(), "each once");
        topics.insert(&first[0].topic);
        assert_eq!(topics.len(), 50);
    }
}

#[test]
fn what_was_retained_and_expired_or_cleared_meanwhile_does_not_come() {
    let config = Config {
        send_window: 1.try_into().unwrap(),
        ..Config::default()
    };
    let mut world = World::new(config);
    let publisher = world.connect(Version::V5, "publisher");
    for (topic, seconds) in [("r/1", 100), ("r/2", 10), ("r/3", 10), ("r/4", 100)] {
        let publish = wire::publish(Version::V5, topic, "x").retain();
        let expiry = Value::Four(seconds);
        let publish = publish.qos(1, 1).with(id::MESSAGE_EXPIRY_INTERVAL, expiry);
        world.send(publisher, publish.bytes());
        world.expect_ack(publisher, kind::PUBACK);
    }
    let client = world.connect(Version::V5, "a");
    world.subscribe(client, "r/#", 1);
    let first = world.expect_message(client);
    world.expect_nothing(client);
    world.publish_retained(publisher, "r/4", "");
    world.pass(Duration::from_secs(50));
    world.acknowledge(client, &first);
    let rest = world.drain(client);
    let topics: Vec<&str> = rest
        .iter()
        .filter(|message| message.retain)
        .map(|message| &message.topic[..])
        .collect();
    let seen_before = [&first.topic[..]];
    let left: Vec<&str> = ["r/1"]
        .into_iter()
        .filter(|t| !seen_before.contains(t))
        .collect();
    assert_eq!(topics, left);
}

#[test]
fn a_message_that_cannot_be_retained_is_delivered_and_its_publisher_told() {
    // retained_policy: reject
    for (policy, reason) in [
        (RetainedPolicy::Reject, 0x97),
        (RetainedPolicy::DropOldest, 0),
    ] {
        let mut world = World::new(Config {
            max_retained: 2,
            retained_policy: policy,
            ..Config::default()
        });
        let publisher = world.connect(Version::V5, "publisher");
        let client = world.connect(Version::V5, "a");
        world.subscribe(client, "#", 0);
        for n in 1..=3 {
            let publish = wire::publish(Version::V5, format!("r/{n}"), n.to_string());
            world.send(publisher, publish.retain().qos(1, 1).bytes());
            let said = world.expect_reason(publisher, kind::PUBACK, 1);
            assert_eq!(said, if n == 3 { reason } else { 0 });
        }
        assert_eq!(world.drain_texts(client), ["1", "2", "3"]);
        let late = world.connect(Version::V5, "late");
        world.subscribe(late, "r/#", 0);
        let mut kept = world.drain_texts(late);
        kept.sort();
        match policy {
            RetainedPolicy::Reject => assert_eq!(kept, ["1", "2"]),
            RetainedPolicy::DropOldest => assert_eq!(kept, ["2", "3"]),
        }
    }
}

/// A session whose replay of `r/0` to `r/4` waits behind the first of them.
fn in_the_middle_of_a_replay(config: Config) -> (World, Client, Client, wire::Connect) {
    let mut world = World::new(config);
    let publisher = world.connect(Version::V5, "publisher");
    for n in 0..5 {
        keep(
            &mut world,
            publisher,
            Version::V5,
            &format!("r/{n}"),
            "old",
            1,
        );
    }
    let connect = wire::lasting(Version::V5, "a").with(id::RECEIVE_MAXIMUM, Value::Two(1));
    let client = world.connect_with(&connect);
    world.subscribe(client, "r/#", 1);
    assert_eq!(world.received(client).len(), 13, "r/0 alone");
    (world, publisher, client, connect)
}

fn topics_and_texts(messages: &[Publish]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let both = |message: &Publish| (text(message.topic.as_bytes()), text(&message.payload));
    messages.iter().map(both).collect()
}

#[test]
fn what_changed_during_a_replay_comes_with_it_if_it_did_not_come_live() {
    // [MQTT-3.3.1-9] At QoS 0, and the client was away.
    let (mut world, publisher, client, connect) = in_the_middle_of_a_replay(Config::default());
    world.hang_up(client);
    keep(&mut world, publisher, Version::V5, "r/3", "new", 0);
    let client = world.resume(&connect);
    let got = topics_and_texts(&world.drain(client));
    let texts = [
        ("r/0", "old"),
        ("r/1", "old"),
        ("r/2", "old"),
        ("r/3", "new"),
        ("r/4", "old"),
    ];
    assert_eq!(got, texts.map(|(topic, text)| (topic.into(), text.into())));
}

#[test]
fn what_a_full_queue_dropped_during_a_replay_comes_with_it() {
    for queue_policy in [
        QueuePolicy::Reject,
        QueuePolicy::DropNewest,
        QueuePolicy::DropOldest,
    ] {
        let config = Config {
            queue_policy,
            max_queued_messages: 2,
            ..Config::default()
        };
        let (mut world, publisher, client, _) = in_the_middle_of_a_replay(config);
        let newest = ["r/x", "r/3", "r/y"];
        for topic in newest {
            keep(&mut world, publisher, Version::V5, topic, "new", 1);
        }
        let got = topics_and_texts(&world.drain(client));
        let of = |topic: &str| {
            let of = got.iter().filter(|(of, _)| of == topic);
            of.map(|(_, text)| text.as_str()).collect::<Vec<_>>()
        };
        for topic in ["r/0", "r/1", "r/2", "r/4"] {
            assert_eq!(of(topic), ["old"], "{queue_policy:?}");
        }
        assert_eq!(of("r/3"), ["new"], "{queue_policy:?}");
    }
}

#[test]
fn retain_as_published_is_not_for_those_who_do_not_know_it() {
    // 3.1.1 [MQTT-3.3.1-9]: a session of MQTT 5 goes on with an older version.
    for version in [Version::V3_1, Version::V3_1_1] {
        let mut world = World::default();
        let publisher = world.connect(Version::V5, "publisher");
        let client = world.connect_with(&wire::lasting(Version::V5, "a"));
        world.subscribe(client, "live/#", 0x08 | 1);
        world.hang_up(client);
        keep(&mut world, publisher, Version::V5, "live/waited", "x", 1);
        let client = world.resume(&wire::lasting(version, "a"));
        for qos in 0..=1 {
            keep(&mut world, publisher, Version::V5, "live/t", "x", qos);
        }
        let got = world.drain(client);
        assert_eq!(got.len(), 3);
        assert!(got.iter().all(|message| !message.retain), "{got:?}");
        world.subscribe(client, "live/t", 1);
        assert!(world.expect_message(client).retain, "this one is retained");
    }
}

#[test]
fn retained_messages_in_flight_count_towards_the_bound_of_the_queue() {
    let config = Config {
        max_queued_messages: 3,
        ..Config::default()
    };
    let (mut world, _) = world_with(10, config);
    let client = world.connect(Version::V5, "a");
    world.subscribe(client, "#", 2);
    assert_eq!(world.broker.queued_messages(), 3);
    // Each that is done makes room for the next.
    assert_eq!(world.drain(client).len(), 10);
    assert_eq!(world.broker.queued_messages(), 0);
}

#[test]
fn a_retained_message_that_comes_again_has_no_more_time_than_at_first() {
    // [MQTT-3.3.2-6]
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let publish = wire::publish(Version::V5, "t", "x")
        .retain()
        .qos(1, 1)
        .with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(2));
    world.send(publisher, publish.bytes());
    world.expect_ack(publisher, kind::PUBACK);
    world.pass(Duration::from_millis(1500));

    let connect = wire::lasting(Version::V5, "a");
    let client = world.connect_with(&connect);
    world.subscribe(client, "t", 1);
    let left = |message: Publish| message.property(id::MESSAGE_EXPIRY_INTERVAL).cloned();
    let first = world.expect_message(client);
    assert_eq!(
        left(first),
        Some(Value::Four(1)),
        "half a second is rounded up"
    );
    world.hang_up(client);

    // It is in flight, so it comes again although it has expired meanwhile.
    world.pass(Duration::from_millis(700));
    let client = world.resume(&connect);
    let again = world.expect_message(client);
    assert!(again.dup);
    assert_eq!(left(again), Some(Value::Four(0)));
}
