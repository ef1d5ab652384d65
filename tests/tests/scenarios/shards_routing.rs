//! Messages from shard to shard.

use std::time::Duration;

use wherry_core::Config;
use wherry_tests::scenario::{Client, World, numbers};
use wherry_tests::wire::{self, Properties, Value, Version, Will, id, kind};

/// Two shards, with a client at each.
fn two() -> (World, Client, Client) {
    let mut world = World::of_shards(&Config::default(), 2);
    let here = world.connect_at(0, Version::V5, "here");
    let there = world.connect_at(1, Version::V5, "there");
    (world, here, there)
}

#[test]
fn a_message_reaches_subscribers_at_other_shards() {
    for from in Version::ALL {
        for to in Version::ALL {
            let mut world = World::of_shards(&Config::default(), 3);
            let publisher = world.connect_at(0, from, "p");
            let subscribers = [0, 1, 2].map(|shard| world.connect_at(shard, to, "s"));
            for client in subscribers {
                world.subscribe(client, "t", 2);
            }
            world.publish(publisher, "t", "0");
            assert_eq!(world.publish_acked(publisher, "t", "1"), 0);
            assert_eq!(world.publish_released(publisher, "t", "2"), 0);
            for client in subscribers {
                let messages = world.drain(client);
                let got: Vec<_> = messages
                    .iter()
                    .map(|it| (it.qos, &it.payload[..]))
                    .collect();
                assert_eq!(got, [(0, &b"0"[..]), (1, b"1"), (2, b"2")]);
            }
        }
    }
}

#[test]
fn a_message_goes_only_where_somebody_has_subscribed() {
    let mut world = World::of_shards(&Config::default(), 3);
    let publisher = world.connect_at(0, Version::V5, "p");
    let subscriber = world.connect_at(1, Version::V5, "s");
    world.subscribe(subscriber, "a/+", 0);
    world.subscribe(subscriber, "b", 0);
    for to in [1, 2] {
        world.hold(0, to);
    }
    for topic in ["a/1", "b", "c", "a", "b/1"] {
        world.publish(publisher, topic, "x");
    }
    assert_eq!((world.held(0, 1), world.held(0, 2)), (2, 0));
}

#[test]
fn what_is_unsubscribed_is_not_sent_to_the_shard_any_more() {
    let (mut world, publisher, subscriber) = two();
    let second = world.connect_at(1, Version::V5, "second");
    for filter in ["exact", "wild/#"] {
        world.subscribe(subscriber, filter, 0);
        world.subscribe(second, filter, 0);
    }
    world.hold(0, 1);
    let expect = |world: &mut World, messages: usize| {
        let before = world.held(0, 1);
        world.publish(publisher, "exact", "x");
        world.publish(publisher, "wild/1", "x");
        assert_eq!(world.held(0, 1) - before, messages);
    };
    expect(&mut world, 2);
    // One of two goes, the other stays.
    for filter in ["exact", "wild/#"] {
        assert_eq!(world.unsubscribe(subscriber, filter), 0);
    }
    expect(&mut world, 2);
    // The last one goes, with its session.
    world.hang_up(second);
    expect(&mut world, 0);
}

#[test]
fn one_copy_comes_by_all_subscriptions_with_all_their_identifiers() {
    // [MQTT-3.3.4-4]
    let (mut world, publisher, subscriber) = two();
    for (filter, identifier, qos) in [("t/1", 3, 0), ("t/+", 1, 2), ("#", 2, 1)] {
        let properties = Properties::new();
        let value = Value::Variable(identifier);
        let properties = properties.with(id::SUBSCRIPTION_IDENTIFIER, value);
        let filters = [(filter, qos)];
        let packet = wire::subscribe_with(Version::V5, 1, &properties, &filters);
        world.send(subscriber, packet);
        world.expect(subscriber, kind::SUBACK);
    }
    assert_eq!(world.publish_acked(publisher, "t/1", "x"), 0);
    let messages = world.drain(subscriber);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].qos, 1);
    let mut identifiers = messages[0].subscription_identifiers();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [1, 2, 3]);
}

#[test]
fn properties_and_payload_cross_unchanged() {
    let (mut world, publisher, subscriber) = two();
    world.subscribe(subscriber, "t", 1);
    let payload: Vec<u8> = std::iter::repeat_n(*b"0123456789", 10_000)
        .flatten()
        .collect();
    let packet = wire::publish(Version::V5, "t", &payload)
        .qos(1, 1)
        .with(id::CONTENT_TYPE, Value::Text("text/plain".into()))
        .with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(60))
        .with(id::USER_PROPERTY, Value::Pair("unit".into(), "m".into()));
    world.send(publisher, packet.bytes());
    let message = world.expect_message(subscriber);
    assert_eq!(message.payload, payload);
    let (unit, text) = (Value::Pair("unit".into(), "m".into()), "text/plain".into());
    assert_eq!(message.property(id::CONTENT_TYPE), Some(&Value::Text(text)));
    assert_eq!(message.property(id::USER_PROPERTY), Some(&unit));
    assert_eq!(
        message.property(id::MESSAGE_EXPIRY_INTERVAL),
        Some(&Value::Four(60))
    );
}

#[test]
fn messages_of_a_publisher_keep_their_order_over_a_link() {
    // [MQTT-4.6.0-5], [MQTT-4.6.0-6]
    let (mut world, publisher, subscriber) = two();
    world.subscribe(subscriber, "t", 2);
    world.hold(0, 1);
    for n in 0..30u16 {
        let packet = wire::publish(Version::V5, "t", n.to_string());
        let packet = match n % 3 {
            0 => packet,
            1 => packet.qos(1, n),
            _ => packet.qos(2, n),
        };
        world.send(publisher, packet.bytes());
    }
    assert_eq!(world.held(0, 1), 30);
    while world.release_one(0, 1) {}
    let mut texts = world.drain_texts(subscriber);
    texts.sort_by_key(|text| text.parse::<u32>().unwrap() % 3);
    let in_order: Vec<String> = (0..3)
        .flat_map(|qos| numbers(0..30).into_iter().skip(qos).step_by(3))
        .collect();
    assert_eq!(texts, in_order);
}

#[test]
fn a_will_reaches_subscribers_at_other_shards() {
    let mut world = World::of_shards(&Config::default(), 2);
    let subscriber = world.connect_at(1, Version::V5, "s");
    world.subscribe(subscriber, "will", 1);
    let will = Will {
        qos: 1,
        ..Will::new("will", "gone")
    };
    let name = world.name_at(0, "client");
    let client = world.connect_with(&wire::connect(Version::V5).client_id(name).will(will));
    world.hang_up(client);
    assert_eq!(world.drain_texts(subscriber), ["gone"]);
}

#[test]
fn what_expires_on_its_way_is_not_delivered() {
    // [MQTT-3.3.2-5]
    let (mut world, publisher, subscriber) = two();
    world.subscribe(subscriber, "t", 1);
    world.hold(0, 1);
    let late = wire::publish(Version::V5, "t", "late");
    let late = late.with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(2));
    world.send(publisher, late.bytes());
    world.send(publisher, late.qos(1, 1).bytes());
    world.pass(Duration::from_secs(2));
    world.release_all();
    world.expect_nothing(subscriber);
    assert_eq!(world.shard(1).counters().dropped_expired, 2);
    // Its publisher is not told that there is nobody.
    assert_eq!(world.expect_reason(publisher, kind::PUBACK, 1), 0);
}

#[test]
fn a_message_waits_for_its_receiver_at_another_shard() {
    let mut world = World::of_shards(&Config::default(), 2);
    let publisher = world.connect_at(0, Version::V5, "p");
    let connect = world.lasting_at(1, Version::V5, "s");
    let subscriber = world.connect_with(&connect);
    world.subscribe(subscriber, "t", 1);
    world.hang_up(subscriber);
    assert_eq!(world.publish_acked(publisher, "t", "kept"), 0);
    let subscriber = world.resume(&connect);
    assert_eq!(world.drain_texts(subscriber), ["kept"]);
}

#[test]
fn no_local_concerns_the_publisher_alone() {
    // [MQTT-3.8.3-3]
    const NO_LOCAL: u8 = 4;
    let (mut world, publisher, other) = two();
    for client in [publisher, other] {
        world.subscribe(client, "t", NO_LOCAL);
    }
    world.publish(publisher, "t", "x");
    world.expect_nothing(publisher);
    assert_eq!(world.drain_texts(other), ["x"]);
}

#[test]
fn one_shard_of_sixty_four_reaches_all_others() {
    let mut world = World::of_shards(&Config::default(), 64);
    let publisher = world.connect_at(63, Version::V5, "p");
    let subscribers: Vec<_> = (0..64)
        .map(|shard| {
            let client = world.connect_at(shard, Version::V5, "s");
            world.subscribe(client, "t", 1);
            client
        })
        .collect();
    assert_eq!(world.publish_acked(publisher, "t", "x"), 0);
    for client in subscribers {
        assert_eq!(world.drain_texts(client), ["x"]);
    }
}

#[test]
fn assigned_identifiers_belong_to_the_shard_that_assigns_them() {
    let mut world = World::of_shards(&Config::default(), 4);
    for door in 0..4 {
        world.door = door;
        for _ in 0..10 {
            let (client, connack) = world.connack(&wire::connect(Version::V5));
            let Some(Value::Text(name)) = connack.property(id::ASSIGNED_CLIENT_IDENTIFIER) else {
                panic!("no identifier");
            };
            assert_eq!(usize::from(world.broker.shard_of(name)), door);
            assert_eq!(world.shard_of(client), door);
        }
    }
}
