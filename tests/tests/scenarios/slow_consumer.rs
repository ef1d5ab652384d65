//! Clients that do not read. A slow consumer costs only itself.

use std::time::Duration;

use wherry_core::{Config, EventKind};
use wherry_tests::scenario::World;
use wherry_tests::wire::{self, Version, kind};

fn config() -> Config {
    Config {
        outbox_limit: 10_000,
        ..Config::default()
    }
}

#[test]
fn a_subscriber_that_does_not_read_loses_messages_and_nobody_else_does() {
    // A24
    let mut world = World::new(config());
    let slow = world.connect(Version::V5, "slow");
    let fast = world.connect(Version::V3_1_1, "fast");
    let publisher = world.connect(Version::V3_1_1, "publisher");
    world.subscribe(slow, "#", 0);
    world.subscribe(fast, "#", 0);
    world.take_only(slow, 0);
    for n in 0..1000u32 {
        world.publish(publisher, "t", n.to_string().repeat(100));
        assert_eq!(world.messages(fast).len(), 1);
        assert!(world.broker.waiting_bytes() <= 10_000);
    }
    let dropped = world.broker.counters().dropped_outbox_full;
    assert!(dropped > 900);
    let told = |event: &&wherry_core::Event| matches!(event.kind, EventKind::SlowConsumer);
    assert_eq!(
        world.events.iter().filter(told).count(),
        1,
        "told once, not a thousand times"
    );

    world.take_all(slow);
    let got = world.messages(slow);
    assert_eq!(got.len() as u64, 1000 - dropped);
    assert_eq!(
        got[0].payload,
        b"0".repeat(100),
        "what was taken on comes, in order"
    );
    world.publish(publisher, "t", "x");
    assert_eq!(world.messages(slow).len(), 1, "and it goes on");
    assert_eq!(world.broker.waiting_bytes(), 0);
}

#[test]
fn an_empty_outbox_takes_any_single_message() {
    let mut world = World::new(config());
    let client = world.connect(Version::V3_1_1, "a");
    world.subscribe(client, "t", 0);
    world.publish(client, "t", vec![7; 100_000]);
    assert_eq!(world.messages(client)[0].payload.len(), 100_000);
}

#[test]
fn all_outboxes_together_are_bounded() {
    let config = Config {
        outbox_total_limit: 25_000,
        ..config()
    };
    let mut world = World::new(config);
    let publisher = world.connect(Version::V3_1_1, "publisher");
    for n in 0..10 {
        let client = world.connect(Version::V3_1_1, &format!("slow-{n}"));
        world.subscribe(client, "t", 0);
        world.take_only(client, 0);
    }
    for _ in 0..10 {
        world.publish(publisher, "t", vec![7; 1000]);
        assert!(world.broker.waiting_bytes() <= 25_000);
    }
    assert!(world.broker.counters().dropped_outbox_total_full > 0);
}

#[test]
fn answers_count_towards_what_all_outboxes_may_hold_together() {
    let config = Config {
        outbox_limit: 8000,
        outbox_total_limit: 10_000,
        ..Config::default()
    };
    let mut world = World::new(config);
    let bystander = world.connect(Version::V3_1_1, "bystander");
    let clients: Vec<_> = (0..10)
        .map(|n| world.connect(Version::V3_1_1, &format!("slow-{n}")))
        .collect();
    for &client in &clients {
        world.take_only(client, 0);
        world.send(client, b"\xc0\0".repeat(3000));
        assert!(world.broker.waiting_bytes() <= 10_100);
    }
    world.send(bystander, b"\xc0\0");
    world.expect(bystander, kind::PINGRESP);
    for &client in &clients {
        world.take_all(client);
        assert!(world.is_read(client));
        let answers = std::iter::from_fn(|| world.next(client)).count();
        assert_eq!(answers, 3000);
    }
    assert_eq!(world.broker.waiting_bytes(), 0);
}

#[test]
fn a_client_that_sends_but_does_not_read_answers_is_not_read_until_it_does() {
    let mut world = World::new(config());
    let client = world.connect(Version::V3_1_1, "a");
    world.take_only(client, 0);
    world.send(client, [0xc0, 0].repeat(20_000));
    assert!(!world.is_read(client));
    assert!(world.broker.waiting_bytes() <= 10_002);
    let kept = world.broker.unparsed_bytes();
    assert!(kept > 0, "the rest of that read is kept");
    world.take_only(client, 4000);
    assert!(!world.is_read(client), "it has to catch up first");
    world.take_all(client);
    assert!(world.is_read(client));
    let mut answers = 0;
    while world
        .next(client)
        .is_some_and(|packet| packet.kind() == kind::PINGRESP)
    {
        answers += 1;
    }
    assert_eq!(answers, 20_000, "none is lost");
    assert_eq!(world.broker.unparsed_bytes(), 0);
}

#[test]
fn a_client_that_takes_nothing_for_the_write_timeout_is_dropped() {
    // A20, A24
    let mut world = World::new(config());
    let slow = world.connect_with(&wire::connect(Version::V5).client_id("slow").keep_alive(0));
    let publisher = world.connect(Version::V3_1_1, "publisher");
    world.subscribe(slow, "#", 0);
    world.take_only(slow, 10);
    world.publish(publisher, "t", vec![7; 5000]);
    world.pass(Duration::from_secs(29));
    world.take_only(slow, 1);
    world.pass(Duration::from_millis(29_999));
    assert!(!world.is_closed(slow), "a byte is progress");
    world.pass(Duration::from_millis(1));
    assert!(world.is_aborted(slow), "there is no use in last words");
    assert_eq!(world.broker.counters().ended_write_timeout, 1);
    assert_eq!(world.broker.waiting_bytes(), 0);
    assert_eq!(world.broker.sessions(), 1);
}

#[test]
fn the_write_timeout_counts_from_the_first_byte_that_waits() {
    let mut world = World::default();
    let client = world.connect_with(&wire::connect(Version::V5).client_id("a").keep_alive(0));
    world.subscribe(client, "t", 0);
    world.pass(Duration::from_secs(1000));
    world.take_only(client, 0);
    world.publish(client, "t", "x");
    world.broker.sent(world.id(client), 0); // A socket that takes nothing makes no progress.
    world.pass(Duration::from_millis(29_999));
    assert!(!world.is_closed(client));
    world.broker.sent(world.id(client), 0);
    world.pass(Duration::from_millis(1));
    assert!(world.is_aborted(client));
}

#[test]
fn a_message_larger_than_the_client_takes_is_dropped_for_it_alone() {
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    let mut world = World::default();
    let properties =
        wire::Properties::new().with(wire::id::MAXIMUM_PACKET_SIZE, wire::Value::Four(100));
    let small = world.connect_with(
        &wire::connect(Version::V5)
            .client_id("small")
            .properties(properties),
    );
    let large = world.connect(Version::V5, "large");
    world.subscribe(small, "t", 0);
    world.subscribe(large, "t", 0);
    world.publish(large, "t", vec![1; 94]); // 1 + 1 + 3 + 1 + 94: 100 bytes
    world.publish(large, "t", vec![2; 95]);
    world.publish(large, "t", vec![3; 1]);
    assert_eq!(world.messages(large).len(), 3);
    let got: Vec<u8> = world
        .messages(small)
        .iter()
        .map(|message| message.payload[0])
        .collect();
    assert_eq!(got, [1, 3]);
    assert_eq!(world.broker.counters().dropped_too_large, 1);
}

#[test]
fn memory_of_a_burst_is_given_back() {
    let mut world = World::default();
    let client = world.connect_with(&wire::connect(Version::V3_1_1).client_id("a").keep_alive(0));
    world.subscribe(client, "t", 0);
    world.take_only(client, 0);
    for _ in 0..1000 {
        world.publish(client, "t", vec![7; 4000]);
    }
    world.take_all(client);
    world.pass(Duration::from_secs(20));
    assert_eq!(
        world.broker.next_deadline(),
        None,
        "nothing is left to be given back"
    );
}

#[test]
fn nobody_is_called_slow_for_what_others_do_not_take() {
    let config = Config {
        outbox_total_limit: 5000,
        ..config()
    };
    let mut world = World::new(config);
    let publisher = world.connect(Version::V3_1_1, "publisher");
    let deaf = world.connect(Version::V3_1_1, "deaf");
    let fine = world.connect(Version::V3_1_1, "fine");
    world.subscribe(deaf, "t", 0);
    world.subscribe(fine, "u", 0);
    world.take_only(deaf, 0);
    world.publish(publisher, "t", vec![7; 4500]);
    world.publish(publisher, "u", vec![7; 1000]);
    assert_eq!(world.broker.counters().dropped_outbox_total_full, 1);
    let told = |event: &&wherry_core::Event| matches!(event.kind, EventKind::SlowConsumer);
    assert_eq!(world.events.iter().filter(told).count(), 0);
}
