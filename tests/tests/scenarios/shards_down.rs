//! Shards that are taken out and come back: between the machines of a later day, and when a process
//! starts.

use wherry_core::{Config, Resync};
use wherry_tests::scenario::{Client, World};
use wherry_tests::wire::{self, Version, kind};

/// A publisher at the first of so many shards, and a subscriber to `t` at the last.
fn shards(config: &Config, count: usize) -> (World, Client, Client) {
    let mut world = World::of_shards(config, count);
    let publisher = world.connect_at(0, Version::V5, "p");
    let subscriber = world.connect_at(count - 1, Version::V5, "s");
    world.subscribe(subscriber, "t", 1);
    (world, publisher, subscriber)
}

/// Each of two shards takes the other for down.
fn cut(world: &mut World, one: usize, other: usize) {
    for (from, to) in [(one, other), (other, one)] {
        world.lose(from, to);
        world.shard_mut(from).peer_down(u8::try_from(to).unwrap());
    }
    world.settle();
}

fn join(world: &mut World, one: usize, other: usize, resync: Resync) {
    for (from, to) in [(one, other), (other, one)] {
        world
            .shard_mut(from)
            .peer_up(u8::try_from(to).unwrap(), resync);
    }
    world.settle();
}

#[test]
fn nobody_waits_for_a_shard_that_is_down() {
    let (mut world, publisher, subscriber) = shards(&Config::default(), 3);
    world.hold(2, 0);
    world.publish_at(publisher, 1, 1, "t", "x");
    let second = world.connect_at(0, Version::V5, "second");
    world.send(second, wire::subscribe(Version::V5, 1, &[("u", 0)]));
    world.publish_retained(publisher, "gone", "");
    world.expect_nothing(publisher);
    world.expect_nothing(second);
    assert_eq!(world.shard(0).retained_tombstones(), 1);
    cut(&mut world, 0, 2);
    assert_eq!(world.expect_reason(publisher, kind::PUBACK, 1), 0x10);
    world.expect(second, kind::SUBACK);
    assert_eq!(world.shard(0).retained_tombstones(), 0);
    // Nothing goes there any more, and that is no reason to wait.
    assert_eq!(world.publish_acked(publisher, "t", "y"), 0x10);
    assert_eq!(world.drain_texts(subscriber), ["x"]);
}

#[test]
fn who_is_alone_goes_on() {
    let (mut world, publisher, _) = shards(&Config::default(), 2);
    world.hold(1, 0);
    world.send(publisher, wire::subscribe(Version::V5, 1, &[("t", 1)]));
    world.expect_nothing(publisher);
    cut(&mut world, 0, 1);
    world.expect(publisher, kind::SUBACK);
    world.subscribe(publisher, "u", 1);
    assert_eq!(world.publish_acked(publisher, "u", "x"), 0);
}

#[test]
fn a_shard_that_comes_back_hears_who_has_subscribed() {
    for resync in [Resync::Interests, Resync::Everything] {
        let (mut world, publisher, subscriber) = shards(&Config::default(), 2);
        world.subscribe(subscriber, "wild/+", 1);
        world.subscribe(subscriber, "$share/g/shared", 1);
        cut(&mut world, 0, 1);
        // What changes meanwhile is heard as well.
        world.unsubscribe(subscriber, "t");
        world.subscribe(subscriber, "u", 1);
        world.publish(publisher, "u", "lost");
        join(&mut world, 0, 1, resync);
        assert_eq!(world.publish_acked(publisher, "t", "x"), 0x10);
        for topic in ["u", "wild/1", "shared"] {
            assert_eq!(world.publish_acked(publisher, topic, topic), 0);
            assert_eq!(world.drain_texts(subscriber), [topic]);
        }
        // And in the other direction a barrier works.
        world.subscribe(publisher, "back", 0);
        world.publish(subscriber, "back", "x");
        assert_eq!(world.drain_texts(publisher), ["x"]);
    }
}

#[test]
fn a_shard_that_begins_anew_gets_all_that_is_retained_as_the_link_has_room() {
    let config = Config {
        link_limit: 2000,
        sys_interval: None,
        ..Config::default()
    };
    let (mut world, publisher, _) = shards(&config, 2);
    for n in 0..100 {
        world.publish_retained(publisher, &format!("r/{n}"), n.to_string());
    }
    world.publish_retained(publisher, "$own/x", "x");
    world.replace_shard(&config, 1);
    world.hold(0, 1);
    world.shard_mut(0).peer_down(1);
    world.shard_mut(0).peer_up(1, Resync::Everything);
    world.settle();
    assert!(world.held(0, 1) < 30, "{}", world.held(0, 1));
    world.release_all();
    assert_eq!(world.shard(1).retained_messages(), 101);
    let reader = world.connect_at(1, Version::V5, "reader");
    world.subscribe(reader, "r/+", 0);
    assert_eq!(world.messages(reader).len(), 100);
    world.subscribe(reader, "$own/#", 0);
    assert_eq!(world.messages(reader).len(), 1);
    // Its clock is not behind: what it retains now is the latest.
    let own = world.connect_at(1, Version::V5, "own");
    world.publish_retained(own, "r/0", "newer");
    let reader = world.connect_at(0, Version::V5, "reader");
    world.subscribe(reader, "r/0", 0);
    assert_eq!(world.drain_texts(reader), ["newer"]);
}

#[test]
fn what_is_on_its_way_from_before_does_not_count() {
    let (mut world, publisher, _) = shards(&Config::default(), 2);
    world.hold(1, 0);
    let old = world.connect_at(1, Version::V5, "old");
    world.publish_retained(old, "r", "old");
    world.send(old, wire::subscribe(Version::V5, 1, &[("old", 0)]));
    assert!(world.held(1, 0) >= 3);
    // The first shard gives the second up, which begins anew without hearing of it.
    world.replace_shard(&Config::default(), 1);
    world.shard_mut(0).peer_down(1);
    world.shard_mut(0).peer_up(1, Resync::Interests);
    world.settle();
    world.release_all();
    assert_eq!(world.shard(0).retained_messages(), 0);
    world.hold(0, 1);
    world.publish(publisher, "old", "x");
    assert_eq!(world.held(0, 1), 0);
    world.release_all();
    // From now on it counts.
    let subscriber = world.connect_at(1, Version::V5, "s");
    world.subscribe(subscriber, "t", 1);
    assert_eq!(world.publish_acked(publisher, "t", "x"), 0);
    assert_eq!(world.drain_texts(subscriber), ["x"]);
}

#[test]
fn what_was_retained_while_there_was_nobody_to_tell_is_not_told_with_something_else() {
    let (mut world, publisher, _) = shards(&Config::default(), 2);
    cut(&mut world, 0, 1);
    world.publish_retained(publisher, "kept", "x");
    join(&mut world, 0, 1, Resync::Interests);
    world.publish(publisher, "t", "y");
    assert_eq!(world.shard(0).retained_messages(), 1);
    assert_eq!(world.shard(1).retained_messages(), 0);
}

#[test]
fn who_was_slowed_because_of_a_shard_that_is_down_goes_on() {
    let config = Config {
        link_limit: 1000,
        ..Config::default()
    };
    let (mut world, publisher, _) = shards(&config, 2);
    world.hold(0, 1);
    for n in 0..20 {
        world.publish_at(publisher, 1, n + 1, "t", "x");
    }
    assert!(!world.is_read(publisher));
    cut(&mut world, 0, 1);
    assert!(world.is_read(publisher));
    for n in 0..20 {
        world.expect_reason(publisher, kind::PUBACK, n + 1);
    }
}

#[test]
fn shards_that_do_not_exist_are_ignored() {
    let (mut world, _, _) = shards(&Config::default(), 2);
    let broker = world.shard_mut(0);
    for peer in [0, 2, 200] {
        broker.peer_up(peer, Resync::Everything);
        broker.peer_down(peer);
        broker.peer_received(peer, Vec::new());
        assert!(broker.take_routed(peer).is_empty());
    }
    let mut alone = World::default();
    alone.broker.peer_up(1, Resync::Everything);
    assert!(alone.broker.take_routed(0).is_empty());
}
