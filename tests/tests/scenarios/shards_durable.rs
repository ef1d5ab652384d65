//! Several shards with a store: what waits for a commit, and what a new process knows.

use wherry_core::Config;
use wherry_tests::scenario::{Client, World, numbers, texts};
use wherry_tests::wire::{self, Connect, Properties, Value, Version, Will, id, kind};

const V: Version = Version::V5;

fn will(qos: u8) -> Will {
    Will {
        qos,
        ..Will::new("t", "will")
    }
}

/// A publisher at the first of two shards, whose session outlives its connections and who leaves a
/// will of that QoS; and a subscriber to `t` at QoS 0 at the second. Commits are held.
fn two(config: Config, will_qos: u8) -> (World, Connect, Client, Client) {
    let mut world = World::durable_shards(config, 2);
    let connect = world.lasting_at(0, V, "p").will(will(will_qos));
    let publisher = world.connect_with(&connect);
    let subscriber = world.connect_at(1, V, "s");
    world.subscribe(subscriber, "t", 0);
    world.hold_commits();
    (world, connect, publisher, subscriber)
}

/// Commits all that one shard has.
fn commit_all_of(world: &mut World, shard: usize) {
    while world.commit_of(shard) {}
}

#[test]
fn a_message_does_not_overtake_one_that_is_committed_first() {
    // [MQTT-4.6.0-5], [MQTT-4.6.0-6]
    let (mut world, _, publisher, subscriber) = two(Config::default(), 0);
    world.publish_at(publisher, 2, 1, "t", "1");
    world.publish(publisher, "t", "2");
    world.publish_at(publisher, 1, 2, "t", "3");
    world.publish(publisher, "t", "4");
    world.expect_nothing(subscriber);
    // Who has no part in it does not wait.
    let other = world.connect_at(0, V, "other");
    world.publish(other, "t", "other");
    assert_eq!(texts(&world.messages(subscriber)), ["other"]);
    commit_all_of(&mut world, 0);
    assert_eq!(texts(&world.messages(subscriber)), numbers(1..5));
    // Now there is nothing to wait for.
    world.publish(publisher, "t", "5");
    assert_eq!(texts(&world.messages(subscriber)), ["5"]);
}

#[test]
fn what_waits_behind_an_owed_message_slows_its_publisher() {
    let config = Config {
        max_uncommitted_bytes: 10_000,
        ..Config::default()
    };
    let (mut world, _, publisher, subscriber) = two(config, 0);
    world.publish_at(publisher, 2, 1, "t", "owed");
    let payload = "x".repeat(1000);
    for _ in 0..100 {
        world.publish(publisher, "t", &payload);
        assert!(world.shard(0).uncommitted_bytes() < 12_000);
    }
    assert!(!world.is_read(publisher));
    world.expect_nothing(subscriber);
    commit_all_of(&mut world, 0);
    assert!(world.is_read(publisher));
    assert_eq!(world.messages(subscriber).len(), 101);
}

#[test]
fn what_a_client_publishes_does_not_overtake_its_will() {
    let (mut world, connect, publisher, subscriber) = two(Config::default(), 1);
    world.hang_up(publisher);
    let publisher = world.dial(V);
    let after = wire::publish(V, "t", "after");
    world.send(publisher, [connect.bytes(), after.bytes()].concat());
    world.expect_nothing(subscriber);
    commit_all_of(&mut world, 0);
    assert_eq!(texts(&world.messages(subscriber)), ["will", "after"]);
}

#[test]
fn a_will_does_not_overtake_what_its_client_has_published() {
    let (mut world, _, publisher, subscriber) = two(Config::default(), 0);
    world.publish_at(publisher, 2, 1, "t", "before");
    world.hang_up(publisher);
    world.expect_nothing(subscriber);
    commit_all_of(&mut world, 0);
    assert_eq!(texts(&world.messages(subscriber)), ["before", "will"]);
}

#[test]
fn the_will_of_a_session_that_ends_does_not_overtake_either() {
    let (mut world, _, publisher, subscriber) = two(Config::default(), 0);
    world.publish_at(publisher, 2, 1, "t", "before");
    let at_once = Properties::new().with(id::SESSION_EXPIRY_INTERVAL, Value::Four(0));
    world.send(publisher, wire::disconnect_with(4, &at_once));
    world.expect_nothing(subscriber);
    commit_all_of(&mut world, 0);
    assert_eq!(texts(&world.messages(subscriber)), ["before", "will"]);
}

#[test]
fn what_a_client_publishes_in_another_session_does_not_overtake_either() {
    // [MQTT-4.6.0-5] It is the same client.
    let (mut world, connect, publisher, subscriber) = two(Config::default(), 0);
    world.publish_at(publisher, 2, 1, "t", "before");
    let publisher = world.dial(V);
    let after = wire::publish(V, "t", "after");
    let connect = connect.clean(true).bytes();
    world.send(publisher, [connect, after.bytes()].concat());
    world.expect_nothing(subscriber);
    commit_all_of(&mut world, 0);
    assert_eq!(
        texts(&world.messages(subscriber)),
        ["before", "will", "after"]
    );
}

#[test]
fn a_subscription_that_is_acknowledged_brings_what_is_retained_after_a_crash_too() {
    // [MQTT-3.3.1-9]
    let mut world = World::durable_shards(Config::default(), 2);
    let publisher = world.connect_at(0, V, "p");
    for number in 0..3 {
        let publish = wire::publish(V, format!("r/{number}"), "x").retain();
        world.send(publisher, publish.qos(1, 1).bytes());
        world.expect(publisher, kind::PUBACK);
    }
    let connect = world.lasting_at(1, V, "s");
    let slow = connect.clone().with(id::RECEIVE_MAXIMUM, Value::Two(1));
    let subscriber = world.connect_with(&slow);
    world.hold_commits();
    world.hold(0, 1);
    world.send(subscriber, wire::subscribe(V, 1, &[("r/+", 1)]));
    // The row is at the store before the other shard has heard of the subscription.
    assert!(world.commit_of(1));
    world.expect_nothing(subscriber);
    world.release_all();
    commit_all_of(&mut world, 1);
    world.expect(subscriber, kind::SUBACK);
    world.expect_message(subscriber);
    world.expect_nothing(subscriber);
    world.crash();
    world.commit_all();
    let subscriber = world.resume(&connect);
    let topics = world.drain_topics(subscriber);
    assert_eq!(topics.len(), 3);
}

/// What a session at another shard may have subscribed to, to get messages to `t`.
const FILTERS: [&str; 3] = ["t", "+", "$share/g/t"];

#[test]
fn what_is_published_right_after_a_crash_reaches_sessions_at_other_shards() {
    for filter in FILTERS {
        let mut world = World::durable_shards(Config::default(), 2);
        let connect = world.lasting_at(1, V, "s");
        let subscriber = world.connect_with(&connect);
        world.subscribe(subscriber, filter, 1);
        world.crash_and_hold();
        let publisher = world.connect_at(0, V, "p");
        world.publish_at(publisher, 1, 1, "t", "x");
        world.expect_nothing(publisher);
        world.release_all();
        assert_eq!(world.expect_reason(publisher, kind::PUBACK, 1), 0);
        let subscriber = world.resume(&connect);
        assert_eq!(world.drain_texts(subscriber), ["x"], "{filter}");
    }
}

#[test]
fn a_will_that_is_due_at_a_restart_reaches_sessions_at_other_shards() {
    for filter in FILTERS {
        for qos in 0..2 {
            let mut world = World::durable_shards(Config::default(), 2);
            let connect = world.lasting_at(1, V, "s");
            let subscriber = world.connect_with(&connect);
            world.subscribe(subscriber, filter, 1);
            let name = world.name_at(0, "gone");
            world.connect_with(&wire::connect(V).client_id(name).will(will(qos)));
            world.crash_and_hold();
            let subscriber = world.resume(&connect);
            world.expect_nothing(subscriber);
            world.release_all();
            let texts = world.drain_texts(subscriber);
            assert_eq!(texts, ["will"], "{filter} at QoS {qos}");
        }
    }
}
