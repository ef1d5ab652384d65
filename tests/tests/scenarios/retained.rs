//! Retained messages.

use std::time::Duration;

use wherry_core::time::Instant;
use wherry_core::{Config, EventKind, RetainedPolicy};
use wherry_tests::scenario::World;
use wherry_tests::wire::{self, Properties, Value, Version, id, kind};

#[test]
fn the_last_retained_message_of_a_topic_comes_on_subscribe() {
    // [MQTT-3.3.1-5], [MQTT-3.3.1-8], [MQTT-3.3.1-9]
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let mut world = World::default();
        let client = world.connect(version, "a");
        world.publish_retained(client, "t", "old");
        world.publish_retained(client, "t", "new");
        world.publish(client, "t", "not retained");
        world.subscribe(client, "+", 0);
        let got = world.messages(client);
        assert_eq!(got.len(), 1);
        assert_eq!((&got[0].payload[..], got[0].retain), (&b"new"[..], true));
        world.subscribe(client, "+", 0);
        assert_eq!(
            world.messages(client).len(),
            1,
            "subscribing again brings it again"
        );
    }
}

#[test]
fn an_empty_retained_message_clears_and_is_delivered_as_any_other() {
    // [MQTT-3.3.1-6], [MQTT-3.3.1-7]
    let mut world = World::default();
    let client = world.connect(Version::V3_1_1, "a");
    world.publish_retained(client, "t", "x");
    world.subscribe(client, "t", 0);
    world.publish_retained(client, "t", "");
    let got = world.messages(client);
    assert_eq!((got[0].retain, got[1].retain), (true, false));
    assert_eq!((got[0].payload.len(), got[1].payload.len()), (1, 0));
    assert_eq!(
        (
            world.broker.retained_messages(),
            world.broker.retained_bytes()
        ),
        (0, 0)
    );
    world.subscribe(client, "t", 0);
    world.expect_nothing(client);
}

#[test]
fn message_expiry_counts_down_and_then_nothing_is_sent() {
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let mut world = World::default();
    let client = world.connect_with(&wire::connect(Version::V5).client_id("a").keep_alive(0));
    let properties = Properties::new()
        .with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(100))
        .user("k", "v");
    world.send(
        client,
        wire::publish(Version::V5, "t", "x")
            .retain()
            .properties(properties)
            .bytes(),
    );
    world.pass(Duration::from_millis(40_001));
    world.subscribe(client, "t", 0);
    let got = world.expect_message(client);
    assert_eq!(
        got.property(id::MESSAGE_EXPIRY_INTERVAL),
        Some(&Value::Four(60))
    );
    assert_eq!(
        got.property(id::USER_PROPERTY),
        Some(&Value::Pair("k".into(), "v".into()))
    );
    world.pass(Duration::from_secs(60));
    world.subscribe(client, "t", 0);
    world.expect_nothing(client);
    assert_eq!(world.broker.retained_messages(), 0);
}

/// A retained message that expires after so many seconds.
fn expiring(topic: &str, payload: &str, seconds: u32) -> Vec<u8> {
    let properties = Properties::new().with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(seconds));
    let publish = wire::publish(Version::V5, topic, payload).retain();
    publish.properties(properties).bytes()
}

/// What a new subscription to everything brings, by topic.
fn retained(world: &mut World) -> Vec<(String, Vec<u8>)> {
    let client = world.connect(Version::V5, "reader");
    world.subscribe(client, "#", 0);
    let messages = world.messages(client);
    world.hang_up(client);
    let mut found: Vec<_> = messages
        .into_iter()
        .map(|message| (message.topic, message.payload))
        .collect();
    found.sort();
    found
}

#[test]
fn an_expired_message_leaves_by_itself() {
    // [MQTT-3.3.2-5] and section 3.3.1.3
    let mut world = World::default();
    let client = world.connect_with(&wire::connect(Version::V5).client_id("a").keep_alive(0));
    world.publish_retained(client, "stays", "x");
    world.send(client, expiring("goes", "xyz", 10));
    world.send(client, expiring("replaced", "x", 10));
    world.send(client, expiring("replaced", "x", 30));
    world.send(client, expiring("made to stay", "x", 10));
    world.publish_retained(client, "made to stay", "y");
    world.send(client, expiring("cleared", "x", 10));
    world.publish_retained(client, "cleared", "");
    assert_eq!(
        world.broker.next_deadline(),
        Some(Instant::from_millis(10_000))
    );
    world.pass(Duration::from_millis(9_999));
    assert_eq!(world.broker.retained_messages(), 4);
    let before = world.broker.retained_bytes();
    world.pass(Duration::from_millis(1));
    assert_eq!(world.broker.retained_messages(), 3);
    let freed = before - world.broker.retained_bytes();
    assert_eq!(freed, "goes".len() + "xyz".len());
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.broker.counters().retained_expired, 2);
    let left = retained(&mut world);
    assert_eq!(
        left,
        [
            ("made to stay".into(), b"y".to_vec()),
            ("stays".into(), b"x".to_vec())
        ]
    );
}

#[test]
fn a_message_that_expires_at_once_is_delivered_but_not_retained() {
    let config = Config {
        retained_policy: RetainedPolicy::DropOldest,
        max_retained: 2,
        ..Config::default()
    };
    let mut world = World::new(config);
    let client = world.connect(Version::V5, "a");
    world.subscribe(client, "#", 0);
    for topic in ["1", "2"] {
        world.publish_retained(client, topic, "x");
    }
    world.send(client, expiring("3", "x", 0));
    world.send(client, expiring("2", "x", 0));
    assert_eq!(world.messages(client).len(), 4);
    assert_eq!(retained(&mut world), [("1".to_string(), b"x".to_vec())]);
    let counters = world.broker.counters();
    assert_eq!(
        (counters.retained_expired, counters.retained_dropped),
        (2, 0)
    );
}

#[test]
fn messages_that_expire_together_leave_a_slice_a_turn() {
    // A27
    let mut world = World::default();
    let client = world.connect_with(&wire::connect(Version::V5).client_id("a").keep_alive(0));
    for n in 0..20_000 {
        world.send(client, expiring(&format!("r/{n}"), "x", 10));
    }
    let due = Instant::from_millis(10_000);
    let mut left = 20_000;
    while left > 0 {
        assert_eq!(world.broker.next_deadline(), Some(due), "{left} are left");
        world.broker.advance(due);
        let now_left = world.broker.retained_messages();
        assert!(
            (1..=1024).contains(&(left - now_left)),
            "{left} to {now_left}"
        );
        left = now_left;
    }
    assert_eq!(world.broker.next_deadline(), None);
    assert_eq!(world.broker.retained_bytes(), 0);
    assert_eq!(world.broker.counters().retained_expired, 20_000);
}

#[test]
fn what_has_expired_but_not_left_yet_is_not_sent() {
    // [MQTT-3.3.2-5]
    let mut world = World::default();
    let client = world.connect_with(&wire::connect(Version::V5).client_id("a").keep_alive(0));
    for n in 0..5000 {
        world.send(client, expiring(&format!("r/{n}"), "x", 10));
    }
    world.publish_retained(client, "r/last", "x");
    let id = world.id(client);
    world.broker.advance(Instant::from_millis(10_000));
    assert!(world.broker.retained_messages() > 1000, "most are there");
    let subscribe = wire::subscribe(Version::V5, 1, &[("r/#", 0), ("r/4999", 0)]);
    world.broker.received(id, &subscribe);
    world.pass(Duration::from_secs(10));
    world.expect(client, kind::SUBACK);
    assert_eq!(world.expect_message(client).topic, "r/last");
    world.expect_nothing(client);
}

#[test]
fn expired_messages_make_room_for_others() {
    let config = Config {
        max_retained: 5000,
        ..Config::default()
    };
    let mut world = World::new(config);
    let client = world.connect_with(&wire::connect(Version::V5).client_id("a").keep_alive(0));
    for n in 0..5000 {
        world.send(client, expiring(&format!("r/{n}"), "x", 10));
    }
    world.publish_retained(client, "early", "x");
    assert_eq!(world.broker.counters().retained_over_limit, 1);
    world.pass(Duration::from_secs(10));
    for n in 0..5000 {
        world.publish_retained(client, &format!("s/{n}"), "x");
    }
    assert_eq!(world.broker.counters().retained_over_limit, 1);
    assert_eq!(world.broker.retained_messages(), 5000);
}

#[test]
fn a_huge_retained_set_neither_fills_the_outbox_nor_gets_lost() {
    // A27
    let mut world = World::default();
    let publisher = world.connect(Version::V3_1_1, "publisher");
    for n in 0..50_000u32 {
        world.publish_retained(publisher, &format!("r/{}/{n}", n % 7), n.to_be_bytes());
    }
    let client = world.connect(Version::V3_1_1, "a");
    world.take_only(client, 0);
    world.send(client, wire::subscribe(Version::V3_1_1, 1, &[("r/#", 0)]));
    assert!(world.broker.waiting_bytes() < 70_000);
    world.take_only(client, 100_000);
    assert!(world.broker.waiting_bytes() < 70_000);
    world.take_all(client);
    world.expect(client, kind::SUBACK);
    let mut got: Vec<u32> = world
        .messages(client)
        .iter()
        .map(|m| u32::from_be_bytes(m.payload[..].try_into().unwrap()))
        .collect();
    got.sort_unstable();
    assert_eq!(got, (0..50_000).collect::<Vec<u32>>(), "each once");
}

#[test]
fn a_replay_that_finds_little_does_not_hold_up_others() {
    let mut world = World::default();
    let publisher = world.connect(Version::V3_1_1, "publisher");
    for n in 0..20_000u32 {
        world.publish_retained(publisher, &format!("{n}/{}", n % 10_000), "x");
    }
    // Two of 20,000 match.
    world.subscribe(publisher, "+/77", 0);
    assert_eq!(world.messages(publisher).len(), 2);
}

#[test]
fn what_changes_during_a_replay_comes_once_and_no_older_value_follows_it() {
    let mut world = World::default();
    let publisher = world.connect(Version::V3_1_1, "publisher");
    for n in 0..5000 {
        world.publish_retained(
            publisher,
            &format!("r/{n}"),
            [b"old".to_vec(), vec![0; 100]].concat(),
        );
    }
    let client = world.connect(Version::V3_1_1, "a");
    world.take_only(client, 0);
    world.send(client, wire::subscribe(Version::V3_1_1, 1, &[("r/#", 0)]));
    world.publish_retained(publisher, "r/0", "new"); // behind the cursor
    world.publish_retained(publisher, "r/4999", "new"); // before it
    world.publish_retained(publisher, "r/4998", ""); // cleared
    world.publish_retained(publisher, "r/new", "new");
    world.take_all(client);
    world.expect(client, kind::SUBACK);
    let got = world.messages(client);
    let of = |topic: &str| -> Vec<&[u8]> {
        got.iter()
            .filter(|m| m.topic == topic)
            .map(|m| &m.payload[..3.min(m.payload.len())])
            .collect()
    };
    assert_eq!(of("r/0"), [b"old", b"new"]);
    assert_eq!(of("r/4999"), [b"new"]);
    assert_eq!(of("r/4998"), [b""]);
    assert_eq!(of("r/new"), [b"new"]);
}

#[test]
fn retained_messages_are_bounded_in_number_and_bytes() {
    let config = Config {
        max_retained: 3,
        max_retained_bytes: 100,
        ..Config::default()
    };
    let mut world = World::new(config);
    let client = world.connect(Version::V3_1_1, "a");
    for topic in ["1", "2", "3", "4"] {
        world.publish_retained(client, topic, "x");
    }
    assert_eq!(world.broker.retained_messages(), 3);
    assert_eq!(world.broker.counters().retained_over_limit, 1);
    world.publish_retained(client, "1", vec![0; 95]);
    assert_eq!(
        world.broker.retained_messages(),
        3,
        "95 and three topics and two bytes are 100"
    );
    world.publish_retained(client, "1", vec![0; 96]);
    assert_eq!(world.broker.counters().retained_over_limit, 2);
    assert_eq!(
        world.broker.retained_messages(),
        2,
        "what is out of date is not kept"
    );
    assert_eq!(world.broker.retained_bytes(), 4);
}

#[test]
fn a_full_store_rejects_and_tells_or_drops_what_is_oldest() {
    for policy in [RetainedPolicy::Reject, RetainedPolicy::DropOldest] {
        let config = Config {
            retained_policy: policy,
            max_retained: 3,
            max_retained_bytes: 100,
            ..Config::default()
        };
        let mut world = World::new(config);
        let client = world.connect(Version::V5, "a");
        for topic in ["1", "2", "3", "1", "4"] {
            world.publish_retained(client, topic, "x");
        }
        // A message that no store of this size could hold makes no room, and leaves none behind.
        world.publish_retained(client, "3", vec![0; 100]);
        let refused = world.events.iter().filter_map(|event| match &event.kind {
            EventKind::PublishRefused { topic, .. } => Some(&**topic),
            _ => None,
        });
        let refused: Vec<&str> = refused.collect();
        let counters = world.broker.counters();
        let counts = (counters.retained_over_limit, counters.retained_dropped);
        let topics: &[&str] = match policy {
            RetainedPolicy::Reject => {
                assert_eq!((refused.as_slice(), counts), (&["4", "3"][..], (2, 0)));
                &["1", "2"]
            }
            RetainedPolicy::DropOldest => {
                assert_eq!((refused.as_slice(), counts), (&["3"][..], (1, 1)));
                &["1", "4"]
            }
        };
        let left = retained(&mut world);
        assert!(left.iter().map(|(topic, _)| topic).eq(topics), "{left:?}");
    }
}

#[test]
fn a_large_message_drops_as_many_as_it_needs_and_a_replaced_one_not_at_all() {
    let config = Config {
        retained_policy: RetainedPolicy::DropOldest,
        max_retained_bytes: 100,
        ..Config::default()
    };
    let mut world = World::new(config);
    let client = world.connect(Version::V3_1_1, "a");
    for topic in ["1", "2", "3", "4", "5"] {
        world.publish_retained(client, topic, vec![7; 19]);
    }
    // It frees its own 20 bytes, and 2 and 3 another 40.
    world.publish_retained(client, "1", vec![7; 59]);
    assert_eq!(world.broker.counters().retained_dropped, 2);
    assert_eq!(world.broker.counters().retained_over_limit, 0);
    assert_eq!(world.broker.retained_bytes(), 100);
    let left = retained(&mut world);
    assert!(
        left.iter().map(|(topic, _)| topic).eq(["1", "4", "5"]),
        "{left:?}"
    );
}

#[test]
fn retain_handling_is_kept() {
    // [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]
    let mut world = World::default();
    let client = world.connect(Version::V5, "a");
    world.publish_retained(client, "t", "x");
    world.subscribe(client, "t", 0x20);
    world.expect_nothing(client);
    // No other option makes a new subscription of it.
    for options in [0x10, 0x11, 0x12, 0x18, 0x14] {
        world.subscribe(client, "t", options);
        world.expect_nothing(client);
    }
    world.subscribe(client, "+", 0x10);
    assert_eq!(world.messages(client).len(), 1);
    world.subscribe(client, "+", 0x00);
    assert_eq!(world.messages(client).len(), 1);
}

#[test]
fn subscribing_again_and_again_without_reading_keeps_one_replay() {
    let mut world = World::default();
    let publisher = world.connect(Version::V3_1_1, "publisher");
    for n in 0..1000 {
        world.publish_retained(publisher, &format!("r/{n}"), vec![7; 1000]);
    }
    let client = world.connect(Version::V3_1_1, "a");
    world.take_only(client, 0);
    for _ in 0..1000 {
        world.send(client, wire::subscribe(Version::V3_1_1, 1, &[("r/#", 0)]));
    }
    world.take_all(client);
    let mut messages = 0;
    while let Some(packet) = world.next(client) {
        messages += usize::from(packet.kind() == kind::PUBLISH);
    }
    assert!((1000..1100).contains(&messages), "{messages}");
}

#[test]
fn nothing_more_of_a_replay_comes_once_its_filter_is_unsubscribed() {
    // [MQTT-3.10.4-2]
    let mut world = World::default();
    let publisher = world.connect(Version::V3_1_1, "publisher");
    for n in 0..1000 {
        world.publish_retained(publisher, &format!("r/{n}"), vec![7; 1000]);
    }
    let client = world.connect(Version::V3_1_1, "a");
    world.take_only(client, 0);
    world.send(client, wire::subscribe(Version::V3_1_1, 1, &[("r/#", 0)]));
    world.send(client, wire::unsubscribe(Version::V3_1_1, 2, &["r/#"]));
    world.take_all(client);
    world.expect(client, kind::SUBACK);
    let mut last = 0;
    let mut messages = 0;
    while let Some(packet) = world.next(client) {
        last = packet.kind();
        messages += usize::from(last == kind::PUBLISH);
    }
    assert_eq!(
        last,
        kind::UNSUBACK,
        "what was in the outbox already comes before it"
    );
    assert!(messages < 100, "{messages}");
}

#[test]
fn slow_replays_take_turns_without_piling_up() {
    let mut world = World::default();
    let publisher = world.connect(Version::V3_1_1, "publisher");
    for n in 0..5000 {
        world.publish_retained(publisher, &format!("{n}/x"), "x");
    }
    let clients: Vec<_> = (0..10)
        .map(|n| world.connect(Version::V3_1_1, &format!("c{n}")))
        .collect();
    for client in &clients {
        world.send(
            *client,
            wire::subscribe(Version::V3_1_1, 1, &[("+/x", 0), ("+/y", 0)]),
        );
    }
    for client in clients {
        world.expect(client, kind::SUBACK);
        assert_eq!(world.messages(client).len(), 5000);
    }
}
