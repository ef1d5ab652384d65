//! What a publisher is told, and when, if receivers are at other shards.

use wherry_core::packet::{Properties, QoS, ReasonCode, SubscriptionOptions};
use wherry_core::permission::Grant;
use wherry_core::{Config, LocalPublish, OpenLocalError, QueuePolicy};
use wherry_tests::scenario::{Client, World};
use wherry_tests::wire::{self, Version, kind};

const NO_SUBSCRIBERS: u8 = 0x10;
const QUOTA: u8 = 0x97;

/// A publisher at the first of two shards, and a subscriber to `t` at the second.
fn two(config: &Config) -> (World, Client, Client) {
    let mut world = World::of_shards(config, 2);
    let publisher = world.connect_at(0, Version::V5, "p");
    let subscriber = world.connect_at(1, Version::V5, "s");
    world.subscribe(subscriber, "t", 2);
    (world, publisher, subscriber)
}

/// A publisher at the first of three shards, and at each other one an absent subscriber to `t`
/// whose queue holds one message.
fn absent(config: &Config) -> (World, Client, [wire::Connect; 2]) {
    let config = Config {
        max_queued_messages: 1,
        ..config.clone()
    };
    let mut world = World::of_shards(&config, 3);
    let publisher = world.connect_at(0, Version::V5, "p");
    let connects = [1, 2].map(|shard| world.lasting_at(shard, Version::V5, "s"));
    for connect in &connects {
        let client = world.connect_with(connect);
        world.subscribe(client, "t", 2);
        world.hang_up(client);
    }
    (world, publisher, connects)
}

#[test]
fn an_acknowledgement_waits_until_the_other_shard_has_the_message() {
    for (qos, ack) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
        let (mut world, publisher, subscriber) = two(&Config::default());
        // It is there, and its shard has not said so.
        world.hold(1, 0);
        world.publish_at(publisher, qos, 1, "t", "x");
        assert_eq!(world.expect_message(subscriber).payload, b"x");
        world.expect_nothing(publisher);
        world.release_all();
        assert_eq!(world.expect_reason(publisher, ack, 1), 0);
    }
}

#[test]
fn an_acknowledgement_waits_for_every_shard() {
    let mut world = World::of_shards(&Config::default(), 3);
    let publisher = world.connect_at(0, Version::V5, "p");
    for shard in [1, 2] {
        let subscriber = world.connect_at(shard, Version::V5, "s");
        world.subscribe(subscriber, "t", 1);
    }
    world.hold(1, 0);
    world.hold(2, 0);
    world.publish_at(publisher, 1, 1, "t", "x");
    world.release(2, 0);
    world.expect_nothing(publisher);
    world.release(1, 0);
    assert_eq!(world.expect_reason(publisher, kind::PUBACK, 1), 0);
}

#[test]
fn acknowledgements_leave_in_order_although_some_have_to_wait() {
    // [MQTT-4.6.0-2], [MQTT-4.6.0-3]
    let (mut world, publisher, _) = two(&Config::default());
    world.hold(1, 0);
    world.publish_at(publisher, 1, 1, "t", "there");
    world.publish_at(publisher, 2, 2, "t", "there");
    world.publish_at(publisher, 1, 3, "elsewhere", "nowhere");
    world.expect_nothing(publisher);
    // Others do not wait for it.
    let other = world.connect_at(0, Version::V5, "other");
    assert_eq!(world.publish_acked(other, "elsewhere", "x"), NO_SUBSCRIBERS);
    world.release_all();
    assert_eq!(world.expect_reason(publisher, kind::PUBACK, 1), 0);
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 2), 0);
    assert_eq!(
        world.expect_reason(publisher, kind::PUBACK, 3),
        NO_SUBSCRIBERS
    );
}

#[test]
fn nobody_has_subscribed_only_if_nobody_has_at_any_shard() {
    let (mut world, publisher, subscriber) = two(&Config::default());
    assert_eq!(world.publish_acked(publisher, "t", "x"), 0);
    assert_eq!(world.drain_texts(subscriber), ["x"]);
    assert_eq!(world.publish_acked(publisher, "other", "x"), NO_SUBSCRIBERS);
    // The other shard has taken it back, and this one does not know yet.
    world.hold(1, 0);
    world.unsubscribe(subscriber, "t");
    world.publish_at(publisher, 1, 2, "t", "x");
    world.publish_at(publisher, 2, 3, "t", "x");
    world.release_all();
    assert_eq!(
        world.expect_reason(publisher, kind::PUBACK, 2),
        NO_SUBSCRIBERS
    );
    assert_eq!(
        world.expect_reason(publisher, kind::PUBREC, 3),
        NO_SUBSCRIBERS
    );
    assert_eq!(world.shard(0).counters().publish_without_subscriber, 3);
    assert_eq!(world.shard(1).counters().publish_without_subscriber, 0);
}

#[test]
fn a_message_is_refused_only_if_all_that_it_matched_refuse_it() {
    let (mut world, publisher, connects) = absent(&Config::default());
    assert_eq!(world.publish_acked(publisher, "t", "1"), 0);
    assert_eq!(world.publish_acked(publisher, "t", "2"), QUOTA);
    assert_eq!(world.publish_released(publisher, "t", "2"), QUOTA);
    // One of the two has room again.
    let first = world.resume(&connects[0]);
    assert_eq!(world.drain_texts(first), ["1"]);
    world.hang_up(first);
    assert_eq!(world.publish_acked(publisher, "t", "3"), 0);
    assert_eq!(world.publish_acked(publisher, "t", "4"), QUOTA);
}

#[test]
fn what_the_policy_drops_at_another_shard_is_not_refused() {
    let config = Config {
        queue_policy: QueuePolicy::DropNewest,
        ..Config::default()
    };
    let (mut world, publisher, _) = absent(&config);
    for _ in 0..3 {
        assert_eq!(world.publish_acked(publisher, "t", "x"), 0);
    }
}

#[test]
fn a_refused_message_of_qos_2_leaves_its_identifier_free() {
    // Section 4.3.3: PUBREC with an error ends the exchange.
    let (mut world, publisher, connects) = absent(&Config::default());
    assert_eq!(world.publish_acked(publisher, "t", "1"), 0);
    world.publish_at(publisher, 2, 7, "t", "2");
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 7), QUOTA);
    for connect in &connects {
        let client = world.resume(connect);
        assert_eq!(world.drain_texts(client), ["1"]);
    }
    // Were it held, this would be taken for the same message.
    world.publish_at(publisher, 2, 7, "t", "3");
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 7), 0);
    assert_eq!(world.shard(0).counters().publish_repeated, 0);
}

#[test]
fn a_message_that_is_refused_here_and_taken_elsewhere_is_not_taken_twice() {
    // [MQTT-4.3.3-10]: PUBREC had no error, although nobody here has taken it.
    let config = Config {
        max_queued_messages: 1,
        ..Config::default()
    };
    let (mut world, publisher, subscriber) = two(&config);
    let full = world.connect_with(&world.lasting_at(0, Version::V5, "full"));
    world.subscribe(full, "+", 2);
    world.hang_up(full);
    assert_eq!(world.publish_acked(publisher, "other", "x"), 0);
    world.publish_at(publisher, 2, 7, "t", "x");
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 7), 0);
    let again = wire::publish(Version::V5, "t", "x").qos(2, 7).dup();
    world.send(publisher, again.bytes());
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 7), 0);
    assert_eq!(world.drain_texts(subscriber), ["x"]);
    assert_eq!(world.shard(0).counters().publish_repeated, 1);
}

#[test]
fn who_repeats_a_message_that_is_refused_meanwhile_hears_the_same() {
    let (mut world, _, _) = absent(&Config::default());
    let connect = world.lasting_at(0, Version::V5, "lasting");
    let publisher = world.connect_with(&connect);
    assert_eq!(world.publish_released(publisher, "t", "1"), 0);
    world.hold(1, 0);
    world.publish_at(publisher, 2, 7, "t", "2");
    world.hang_up(publisher);
    let publisher = world.resume(&connect);
    let again = wire::publish(Version::V5, "t", "2").qos(2, 7).dup();
    world.send(publisher, again.bytes());
    world.expect_nothing(publisher);
    world.release_all();
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 7), QUOTA);
}

#[test]
fn who_repeats_a_message_hears_of_it_when_other_shards_have_it() {
    // [MQTT-4.3.3-10]
    let (mut world, _, subscriber) = two(&Config::default());
    let connect = world.lasting_at(0, Version::V5, "lasting");
    let publisher = world.connect_with(&connect);
    world.hold(1, 0);
    world.publish_at(publisher, 2, 7, "t", "x");
    world.hang_up(publisher);
    let publisher = world.resume(&connect);
    let again = wire::publish(Version::V5, "t", "x").qos(2, 7).dup();
    world.send(publisher, again.bytes());
    world.expect_nothing(publisher);
    world.release_all();
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 7), 0);
    assert_eq!(world.drain_texts(subscriber), ["x"]);
}

#[test]
fn a_publisher_that_is_gone_hinders_nobody() {
    let (mut world, publisher, subscriber) = two(&Config::default());
    let second = world.connect_at(0, Version::V5, "second");
    world.hold(1, 0);
    world.publish_at(publisher, 1, 1, "t", "1");
    world.publish_at(second, 1, 1, "t", "2");
    world.hang_up(publisher);
    world.release_all();
    assert_eq!(world.expect_reason(second, kind::PUBACK, 1), 0);
    assert_eq!(world.drain_texts(subscriber), ["1", "2"]);
}

#[test]
fn older_clients_hear_no_reason_from_other_shards_either() {
    // 3.1.1 [MQTT-3.3.5-2]
    let (mut world, _, _) = absent(&Config::default());
    let publisher = world.connect_at(0, Version::V3_1_1, "old");
    for text in ["1", "2"] {
        assert_eq!(world.publish_acked(publisher, "t", text), 0);
        assert_eq!(world.publish_released(publisher, "t", text), 0);
    }
}

#[test]
fn a_local_client_is_told_at_once() {
    let mut world = World::of_shards(&Config::default(), 2);
    let (here, there) = (world.name_at(0, "here"), world.name_at(1, "there"));
    let grant = Grant::unrestricted();
    let publisher = world.broker.open_local(&here, grant.clone()).unwrap();
    let error = world.broker.open_local(&there, grant.clone()).unwrap_err();
    assert_eq!(error, OpenLocalError::OfAnotherShard(1));
    let subscriber = world.shard_mut(1).open_local(&there, grant).unwrap();
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        ..Default::default()
    };
    let granted = world
        .shard_mut(1)
        .subscribe_local(subscriber, "t", options, 0);
    assert_eq!(granted, Ok(QoS::AtLeastOnce));
    world.settle();
    let publish = LocalPublish {
        topic: "t",
        payload: b"x",
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: Properties::EMPTY,
    };
    let reason = world.broker.publish_local(publisher, &publish);
    assert_eq!(reason, ReasonCode::Success);
    world.settle();
    let message = world
        .shard_mut(1)
        .next_message(subscriber)
        .expect("it came");
    assert_eq!(message.payload(), b"x");
    let nobody = LocalPublish {
        topic: "other",
        ..publish
    };
    let reason = world.broker.publish_local(publisher, &nobody);
    assert_eq!(reason, ReasonCode::NoMatchingSubscribers);
}
