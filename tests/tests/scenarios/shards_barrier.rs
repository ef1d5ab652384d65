//! New subscriptions, which begin when all shards know of them.

use wherry_core::Config;
use wherry_core::packet::{QoS, SubscriptionOptions};
use wherry_core::permission::Grant;
use wherry_tests::random::Random;
use wherry_tests::scenario::{Client, World, numbers, texts};
use wherry_tests::wire::{self, PINGREQ, Version, kind};

const REQUEST: u16 = 1;

/// Two shards, with a client at each.
fn two() -> (World, Client, Client) {
    let mut world = World::of_shards(&Config::default(), 2);
    let publisher = world.connect_at(0, Version::V5, "p");
    let subscriber = world.connect_at(1, Version::V5, "s");
    (world, publisher, subscriber)
}

fn ask(world: &mut World, client: Client, filter: &str) {
    world.send(
        client,
        wire::subscribe(Version::V5, REQUEST, &[(filter, 1)]),
    );
}

#[test]
fn suback_waits_until_every_shard_knows() {
    let mut world = World::of_shards(&Config::default(), 3);
    let subscriber = world.connect_at(1, Version::V5, "s");
    world.hold(0, 1);
    world.hold(2, 1);
    ask(&mut world, subscriber, "t");
    world.release(0, 1);
    world.expect_nothing(subscriber);
    world.release(2, 1);
    world.expect(subscriber, kind::SUBACK);
}

#[test]
fn a_client_that_waits_for_suback_is_not_read_and_goes_on_in_order() {
    let (mut world, _, subscriber) = two();
    world.hold(0, 1);
    ask(&mut world, subscriber, "t");
    assert!(!world.is_read(subscriber));
    world.send(subscriber, wire::unsubscribe(Version::V5, REQUEST, &["t"]));
    world.send(subscriber, PINGREQ);
    world.expect_nothing(subscriber);
    world.release_all();
    world.expect(subscriber, kind::SUBACK);
    let codes = world
        .expect(subscriber, kind::UNSUBACK)
        .unsuback(Version::V5);
    assert_eq!(codes.codes, [0], "there was a subscription");
    world.expect(subscriber, kind::PINGRESP);
}

#[test]
fn what_is_pipelined_behind_subscribe_waits_as_well() {
    let (mut world, _, subscriber) = two();
    world.hold(0, 1);
    let mut bytes = wire::subscribe(Version::V5, REQUEST, &[("t", 0)]);
    bytes.extend(wire::publish(Version::V5, "t", "own").bytes());
    world.send(subscriber, bytes);
    world.expect_nothing(subscriber);
    world.release_all();
    world.expect(subscriber, kind::SUBACK);
    assert_eq!(texts(&world.messages(subscriber)), ["own"]);
}

#[test]
fn nothing_comes_before_suback_and_nothing_is_missed_after_it() {
    let (mut world, publisher, subscriber) = two();
    world.hold(0, 1);
    world.hold(1, 0);
    world.publish(publisher, "t", "before");
    ask(&mut world, subscriber, "t");
    world.publish(publisher, "t", "unknown");
    while world.release_one(1, 0) {} // The interest, and the barrier behind it.
    world.publish(publisher, "t", "known");
    let own = world.connect_at(1, Version::V5, "own");
    world.publish(own, "t", "of its own shard");
    world.expect_nothing(subscriber);
    world.release_all();
    world.expect(subscriber, kind::SUBACK);
    // It was published after all knew, but before the subscriber could.
    let early = texts(&world.messages(subscriber));
    assert!(early.is_empty() || early == ["known"], "{early:?}");
    world.publish(publisher, "t", "after");
    world.publish(own, "t", "after, too");
    assert_eq!(texts(&world.messages(subscriber)), ["after", "after, too"]);
}

#[test]
fn a_subscription_of_what_is_known_already_has_a_barrier_of_its_own() {
    let (mut world, publisher, subscriber) = two();
    let second = world.connect_at(1, Version::V5, "second");
    world.hold(1, 0);
    ask(&mut world, subscriber, "t");
    // The interest of the first is still on its way.
    ask(&mut world, second, "t");
    world.expect_nothing(second);
    world.publish(publisher, "t", "x");
    world.release_all();
    for client in [subscriber, second] {
        world.expect(client, kind::SUBACK);
        world.expect_nothing(client);
    }
}

#[test]
fn other_terms_of_a_subscription_need_no_barrier() {
    let (mut world, publisher, subscriber) = two();
    world.subscribe(subscriber, "t", 0);
    world.hold(0, 1);
    world.hold(1, 0);
    world.subscribe(subscriber, "t", 1);
    world.release_all();
    assert_eq!(world.publish_acked(publisher, "t", "x"), 0);
    assert_eq!(world.expect_message(subscriber).qos, 1);
}

#[test]
fn what_matches_a_live_filter_comes_on_its_terms_while_another_waits() {
    let (mut world, publisher, subscriber) = two();
    let own = world.connect_at(1, Version::V5, "own");
    world.subscribe(subscriber, "t", 0);
    world.subscribe(subscriber, "+", 0);
    world.hold(0, 1);
    ask(&mut world, subscriber, "#"); // At QoS 1.
    for (client, id) in [(own, 1), (publisher, 1)] {
        world.publish_at(client, 1, id, "t", "x");
        world.release_one(0, 1);
    }
    world.release_all();
    let messages = world.messages_after(subscriber, kind::SUBACK);
    let qos: Vec<_> = messages.iter().map(|it| it.qos).collect();
    assert_eq!(qos[0], 0, "the last filter was not live");
    assert_eq!(qos.len(), 2);
    assert_eq!(world.publish_acked(publisher, "t", "x"), 0);
    assert_eq!(world.expect_message(subscriber).qos, 1);
}

#[test]
fn what_is_not_granted_needs_no_barrier() {
    let (mut world, _, subscriber) = two();
    world.hold(0, 1);
    world.hold(1, 0);
    assert_eq!(world.subscribe_code(subscriber, "a/#/b", 0), 0x8f);
}

#[test]
fn one_barrier_serves_all_subscribers_of_a_turn() {
    let (mut world, _, _) = two();
    let names: Vec<_> = (0..10).map(|n| format!("s{n}-")).collect();
    let clients: Vec<_> = names
        .iter()
        .map(|name| world.connect_at(1, Version::V5, name))
        .collect();
    world.hold(1, 0);
    // All in one turn: the world takes what the broker wants only afterwards.
    for client in &clients {
        let id = world.id(*client);
        let packet = wire::subscribe(Version::V5, REQUEST, &[("t", 0)]);
        world.shard_mut(1).received(id, &packet);
    }
    world.settle();
    // One interest and one barrier.
    assert_eq!(world.held(1, 0), 2);
    world.release_all();
    for client in clients {
        world.expect(client, kind::SUBACK);
    }
}

#[test]
fn a_session_whose_client_leaves_meanwhile_keeps_the_subscription() {
    let mut world = World::of_shards(&Config::default(), 2);
    let publisher = world.connect_at(0, Version::V5, "p");
    let connect = world.lasting_at(1, Version::V5, "s");
    let subscriber = world.connect_with(&connect);
    world.hold(0, 1);
    ask(&mut world, subscriber, "t");
    world.hang_up(subscriber);
    world.release_all();
    assert_eq!(world.publish_acked(publisher, "t", "x"), 0);
    let subscriber = world.resume(&connect);
    assert_eq!(world.drain_texts(subscriber), ["x"]);
}

#[test]
fn a_session_that_ends_meanwhile_leaves_no_interest() {
    let (mut world, publisher, subscriber) = two();
    world.hold(0, 1);
    ask(&mut world, subscriber, "t");
    world.hang_up(subscriber);
    world.release_all();
    assert_eq!(world.shard(1).subscriptions(), 0);
    world.hold(0, 1);
    world.publish(publisher, "t", "x");
    assert_eq!(world.held(0, 1), 0);
}

#[test]
fn what_is_unsubscribed_on_a_new_connection_does_not_come_back() {
    let mut world = World::of_shards(&Config::default(), 2);
    let publisher = world.connect_at(0, Version::V5, "p");
    let connect = world.lasting_at(1, Version::V5, "s");
    let subscriber = world.connect_with(&connect);
    world.hold(0, 1);
    ask(&mut world, subscriber, "a/b");
    let subscriber = world.resume(&connect);
    assert_eq!(world.unsubscribe(subscriber, "a/b"), 0);
    // Another filter takes its place, and waits for a barrier of its own. It wants nothing that is
    // retained.
    world.publish_retained(publisher, "c/d", "kept");
    let filters = [("c/d", 0x21)];
    world.send(subscriber, wire::subscribe(Version::V5, REQUEST, &filters));
    // The first barrier is passed, the second is not.
    assert!(world.release_one(0, 1));
    world.expect_nothing(subscriber);
    world.release_all();
    world.expect(subscriber, kind::SUBACK);
    world.publish(publisher, "a/b", "no");
    world.publish(publisher, "c/d", "yes");
    assert_eq!(texts(&world.messages(subscriber)), ["yes"]);
}

#[test]
fn the_replay_and_live_messages_together_leave_nothing_out() {
    // Retained messages change while the subscription is on its way, whatever is late.
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let (mut world, publisher, subscriber) = two();
        let own = world.connect_at(1, Version::V5, "own");
        world.hold(0, 1);
        world.hold(1, 0);
        let mut asked = false;
        for n in 0..30u32 {
            match random.below(6) {
                0 if !asked => {
                    asked = true;
                    ask(&mut world, subscriber, "t");
                }
                1 => world.publish_retained(own, "t", n.to_string()),
                2 | 3 => world.publish_retained(publisher, "t", n.to_string()),
                4 => drop(world.release_one(0, 1)),
                _ => drop(world.release_one(1, 0)),
            }
        }
        if !asked {
            ask(&mut world, subscriber, "t");
        }
        world.release_all();
        world.expect(subscriber, kind::SUBACK);
        let mut got = world.messages(subscriber);
        // What is retained in the end is the last that came, live or as a replay, if any is.
        let reader = world.connect_at(0, Version::V5, "reader");
        world.subscribe(reader, "t", 0);
        let kept = world.messages(reader);
        assert_eq!(kept.is_empty(), got.is_empty(), "seed {seed}");
        if let Some(kept) = kept.first() {
            assert!(
                got.iter().any(|it| it.payload == kept.payload),
                "seed {seed}"
            );
        }
        // And nothing comes twice.
        got.sort_by(|a, b| a.payload.cmp(&b.payload));
        assert!(
            got.windows(2).all(|two| two[0].payload != two[1].payload),
            "seed {seed}: {got:?}"
        );
    }
}

#[test]
fn messages_published_after_suback_all_come_whatever_is_late() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut world = World::of_shards(&Config::default(), 3);
        let publishers = [0, 1, 2].map(|shard| world.connect_at(shard, Version::V5, "p"));
        let subscriber = world.connect_at(1, Version::V5, "s");
        for from in 0..3 {
            world.hold_all_from(from);
        }
        ask(&mut world, subscriber, "t");
        let mut expected: [Vec<u32>; 3] = Default::default();
        let mut got = Vec::new();
        let mut is_subscribed = false;
        for n in 0..100 {
            let shard = random.below(3);
            if random.below(3) == 0 {
                world.publish(publishers[shard], "t", n.to_string());
                if is_subscribed {
                    expected[shard].push(n);
                }
            } else {
                world.release_one(shard, random.below(3));
            }
            while let Some(packet) = world.next(subscriber) {
                if packet.kind() == kind::SUBACK {
                    is_subscribed = true;
                } else {
                    got.push(packet.publish(Version::V5));
                }
            }
        }
        world.release_all();
        got.extend(world.messages_after(subscriber, kind::SUBACK));
        let got: Vec<u32> = texts(&got)
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        for expected in expected {
            let of_it: Vec<_> = got
                .iter()
                .filter(|n| expected.contains(n))
                .copied()
                .collect();
            assert_eq!(of_it, expected, "seed {seed}");
        }
    }
}

#[test]
fn a_local_client_gets_messages_once_all_shards_know() {
    let mut world = World::of_shards(&Config::default(), 2);
    let publisher = world.connect_at(0, Version::V5, "p");
    world.publish_retained(publisher, "t", "kept");
    let name = world.name_at(1, "local");
    world.hold(0, 1);
    let broker = world.shard_mut(1);
    let local = broker.open_local(&name, Grant::unrestricted()).unwrap();
    let options = SubscriptionOptions::default();
    let granted = broker.subscribe_local(local, "t", options, 0);
    assert_eq!(granted, Ok(QoS::AtMostOnce));
    world.settle();
    assert!(world.shard_mut(1).next_message(local).is_none());
    world.release_all();
    world.publish(publisher, "t", "live");
    let mut got = Vec::new();
    while let Some(message) = world.shard_mut(1).next_message(local) {
        got.push(String::from_utf8(message.payload().to_vec()).unwrap());
    }
    got.sort();
    assert_eq!(got, ["kept", "live"]);
}

#[test]
fn many_filters_of_one_subscribe_go_live_together() {
    let (mut world, publisher, subscriber) = two();
    let filters: Vec<_> = (0..100).map(|n| (format!("t/{n}"), 0)).collect();
    world.send(subscriber, wire::subscribe(Version::V5, REQUEST, &filters));
    let suback = world.expect(subscriber, kind::SUBACK).suback(Version::V5);
    assert_eq!(suback.codes, [0; 100]);
    for n in 0..100 {
        world.publish(publisher, &format!("t/{n}"), n.to_string());
    }
    assert_eq!(texts(&world.messages(subscriber)), numbers(0..100));
}
