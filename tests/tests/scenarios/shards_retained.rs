//! Retained messages, of which every shard holds all.

use std::collections::BTreeMap;
use std::time::Duration;

use wherry_core::{Config, RetainedPolicy};
use wherry_tests::random::Random;
use wherry_tests::scenario::{Client, World};
use wherry_tests::wire::{self, Value, Version, Will, id, kind};

/// So many shards, with a publisher at each.
fn shards(config: &Config, count: usize) -> (World, Vec<Client>) {
    let mut world = World::of_shards(config, count);
    let publishers = (0..count).map(|shard| world.connect_at(shard, Version::V5, "p"));
    let publishers = publishers.collect();
    (world, publishers)
}

fn hold_all(world: &mut World) {
    for shard in 0..world.shards() {
        world.hold_all_from(shard);
    }
}

/// What a new subscriber at a shard gets, by topic.
fn kept(world: &mut World, shard: usize) -> BTreeMap<String, String> {
    let client = world.connect_at(shard, Version::V5, "reader");
    world.subscribe(client, "#", 0);
    let messages = world.messages(client);
    world.hang_up(client);
    let text = |payload| String::from_utf8(payload).unwrap();
    let kept = messages.into_iter().map(|it| (it.topic, text(it.payload)));
    kept.collect()
}

/// What is retained, which must be the same at all shards.
#[track_caller]
fn kept_everywhere(world: &mut World) -> BTreeMap<String, String> {
    let first = kept(world, 0);
    for shard in 1..world.shards() {
        assert_eq!(kept(world, shard), first, "shard {shard}");
        let (one, other) = (world.shard(0), world.shard(shard));
        assert_eq!(one.retained_messages(), other.retained_messages());
        assert_eq!(one.retained_bytes(), other.retained_bytes());
    }
    for shard in 0..world.shards() {
        assert_eq!(world.shard(shard).retained_tombstones(), 0, "shard {shard}");
    }
    first
}

fn expiring(topic: &str, text: &str, seconds: u32) -> Vec<u8> {
    let packet = wire::publish(Version::V5, topic, text).retain();
    let packet = packet.with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(seconds));
    packet.bytes()
}

#[test]
fn a_retained_message_is_at_every_shard() {
    let (mut world, publishers) = shards(&Config::default(), 3);
    world.publish_retained(publishers[0], "a", "0");
    world.publish_retained(publishers[1], "b/c", "1");
    world.publish_retained(publishers[1], "a", "2");
    let all = [("a", "2"), ("b/c", "1")].map(|(topic, text)| (topic.into(), text.into()));
    assert_eq!(kept_everywhere(&mut world), all.into());
    world.publish_retained(publishers[2], "a", "");
    world.publish_retained(publishers[2], "b/c", "");
    assert!(kept_everywhere(&mut world).is_empty());
}

#[test]
fn the_acknowledgement_of_a_retained_message_waits_for_all_shards() {
    let (mut world, publishers) = shards(&Config::default(), 3);
    for (qos, ack) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
        for text in ["x", ""] {
            let packet = wire::publish(Version::V5, "t", text).retain().qos(qos, 1);
            world.hold(0, 2);
            world.send(publishers[0], packet.bytes());
            world.expect_nothing(publishers[0]);
            world.release_all();
            // Nobody has subscribed, and that is said all the same.
            assert_eq!(world.expect_reason(publishers[0], ack, 1), 0x10);
            world.send(publishers[0], wire::ack(kind::PUBREL, 1));
            world.expect(publishers[0], kind::PUBCOMP);
        }
    }
}

#[test]
fn of_two_that_cross_the_same_one_wins_everywhere() {
    let (mut world, publishers) = shards(&Config::default(), 2);
    hold_all(&mut world);
    world.publish_retained(publishers[0], "t", "0");
    world.publish_retained(publishers[1], "t", "1");
    world.release_all();
    // Their clocks were the same: the number of the shard decides.
    assert_eq!(kept_everywhere(&mut world)["t"], "1");
    hold_all(&mut world);
    world.publish_retained(publishers[1], "other", "x");
    world.publish_retained(publishers[0], "t", "0");
    world.publish_retained(publishers[0], "t", "00");
    world.publish_retained(publishers[0], "t", "000");
    world.publish_retained(publishers[1], "t", "1");
    world.release_all();
    assert_eq!(kept_everywhere(&mut world)["t"], "000");
}

#[test]
fn what_was_cleared_does_not_come_back_with_an_older_message() {
    let (mut world, publishers) = shards(&Config::default(), 3);
    world.hold(0, 2);
    world.publish_retained(publishers[0], "t", "old");
    // The second shard has it, and clears it; the third hears that first.
    world.publish_retained(publishers[1], "t", "");
    assert_eq!(world.shard(2).retained_tombstones(), 1);
    world.release_all();
    assert!(kept_everywhere(&mut world).is_empty());
}

#[test]
fn a_tombstone_stays_until_all_shards_have_heard() {
    let (mut world, publishers) = shards(&Config::default(), 3);
    world.hold(2, 0);
    world.publish_retained(publishers[0], "t", "");
    assert_eq!(world.shard(0).retained_tombstones(), 1);
    assert_eq!(world.shard(1).retained_tombstones(), 0);
    world.release_all();
    assert_eq!(world.shard(0).retained_tombstones(), 0);
}

#[test]
fn many_clears_leave_nothing_behind() {
    let (mut world, publishers) = shards(&Config::default(), 2);
    for n in 0..1000 {
        world.publish_retained(publishers[n % 2], &format!("t/{n}"), "");
    }
    assert!(kept_everywhere(&mut world).is_empty());
}

#[test]
fn a_retained_message_expires_at_every_shard() {
    let (mut world, publishers) = shards(&Config::default(), 3);
    world.hold(0, 2);
    world.send(publishers[0], expiring("t", "x", 2));
    world.send(publishers[0], expiring("u", "y", 4));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.shard(1).retained_messages(), 1);
    // It comes too late here.
    world.release_all();
    assert_eq!(kept_everywhere(&mut world).len(), 1);
    world.pass(Duration::from_secs(2));
    assert!(kept_everywhere(&mut world).is_empty());
}

#[test]
fn one_that_has_expired_does_not_come_back_with_an_older_message() {
    let (mut world, publishers) = shards(&Config::default(), 3);
    world.hold(0, 2);
    world.publish_retained(publishers[0], "t", "old");
    world.send(publishers[1], expiring("t", "short", 1));
    world.pass(Duration::from_secs(1));
    world.release_all();
    assert!(kept_everywhere(&mut world).is_empty());
}

#[test]
fn what_expires_long_after_all_have_gone_on_leaves_no_tombstone() {
    let (mut world, publishers) = shards(&Config::default(), 2);
    world.send(publishers[0], expiring("t", "x", 2));
    for _ in 0..10 {
        world.publish_retained(publishers[1], "other", "");
    }
    world.pass(Duration::from_secs(2));
    assert!(kept_everywhere(&mut world).is_empty());
}

#[test]
fn what_makes_room_leaves_every_shard() {
    let config = Config {
        max_retained: 3,
        retained_policy: RetainedPolicy::DropOldest,
        ..Config::default()
    };
    let (mut world, publishers) = shards(&config, 2);
    for n in 0..10 {
        world.publish_retained(publishers[n % 2], &format!("t/{n}"), "x");
    }
    let kept = kept_everywhere(&mut world);
    let topics: Vec<_> = kept.keys().collect();
    assert_eq!(topics, ["t/7", "t/8", "t/9"]);
}

#[test]
fn what_is_refused_is_retained_nowhere_and_takes_the_older_one_along() {
    let config = Config {
        max_retained_bytes: 10,
        ..Config::default()
    };
    let (mut world, publishers) = shards(&config, 2);
    let subscriber = world.connect_at(1, Version::V5, "s");
    world.publish_retained(publishers[1], "t", "x");
    world.subscribe(subscriber, "t", 1);
    assert_eq!(world.messages(subscriber).len(), 1);
    world.hold(1, 0);
    let long = wire::publish(Version::V5, "t", "too long for it").retain();
    world.send(publishers[0], long.qos(1, 1).bytes());
    // It is delivered all the same, and answered when it is gone everywhere.
    assert_eq!(world.drain_texts(subscriber), ["too long for it"]);
    world.expect_nothing(publishers[0]);
    world.release_all();
    assert_eq!(world.expect_reason(publishers[0], kind::PUBACK, 1), 0x97);
    assert!(kept_everywhere(&mut world).is_empty());
}

#[test]
fn a_retained_will_is_at_every_shard() {
    let mut world = World::of_shards(&Config::default(), 2);
    let will = Will {
        retain: true,
        ..Will::new("will", "gone")
    };
    let name = world.name_at(1, "client");
    let client = world.connect_with(&wire::connect(Version::V5).client_id(name).will(will));
    world.hang_up(client);
    assert_eq!(kept_everywhere(&mut world)["will"], "gone");
}

#[test]
fn a_subscriber_gets_a_retained_message_live_with_its_flag_as_it_asked() {
    // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
    let (mut world, publishers) = shards(&Config::default(), 2);
    let subscriber = world.connect_at(1, Version::V5, "s");
    for (options, flag) in [(0, false), (8, true)] {
        world.subscribe(subscriber, "t", options);
        world.messages(subscriber);
        world.publish_retained(publishers[0], "t", "x");
        assert_eq!(world.expect_message(subscriber).retain, flag);
    }
}

#[test]
fn what_comes_live_from_another_shard_during_a_replay_does_not_come_again() {
    let (mut world, publishers) = shards(&Config::default(), 2);
    let text = "x".repeat(1000);
    for n in 0..200 {
        world.publish_retained(publishers[0], &format!("t/{n}"), &text);
    }
    let subscriber = world.connect_at(1, Version::V5, "s");
    world.take_only(subscriber, 0);
    world.send(subscriber, wire::subscribe(Version::V5, 1, &[("t/#", 0)]));
    // The replay has not come so far.
    world.publish_retained(publishers[0], "t/199", "newer");
    world.publish_retained(publishers[0], "t/198", "");
    world.take_all(subscriber);
    world.expect(subscriber, kind::SUBACK);
    let messages = world.messages(subscriber);
    let of = |topic: &str| {
        let of = messages.iter().filter(|it| it.topic == topic);
        of.map(|it| it.payload.len()).collect::<Vec<_>>()
    };
    assert_eq!(of("t/197"), [1000]);
    assert_eq!((of("t/198"), of("t/199")), (vec![0], vec![5]));
    assert_eq!(messages.len(), 200);
}

#[test]
fn what_the_broker_tells_of_itself_is_told_by_the_first_shard_at_all() {
    let mut world = World::of_shards_with_sys(&Config::default(), 3);
    let readers = [0, 1, 2].map(|shard| {
        let client = world.connect_at(shard, Version::V5, "r");
        world.subscribe(client, "$SYS/#", 0);
        client
    });
    let told = readers.map(|client| world.messages(client));
    assert!(told[0].len() > 20);
    for others in &told[1..] {
        assert_eq!(others.len(), told[0].len());
    }
    world.pass(Duration::from_secs(30));
    let told = readers.map(|client| world.messages(client));
    let uptimes = |messages: &[wire::Publish]| {
        let all = messages.iter();
        all.filter(|it| it.topic == "$SYS/broker/uptime").count()
    };
    assert!(told.iter().all(|messages| uptimes(messages) == 3));
    // Switched off, it is gone everywhere.
    for shard in 0..3 {
        let config = Config {
            sys_interval: None,
            ..Config::default()
        };
        world.shard_mut(shard).configure(config);
    }
    world.settle();
    let late = world.connect_at(2, Version::V5, "late");
    world.subscribe(late, "$SYS/#", 0);
    world.expect_nothing(late);
    assert_eq!(world.shard(1).retained_tombstones(), 0);
}

/// Publishers at all shards set, clear and let expire what they like, links are as late as they
/// like.
fn random_changes(seed: u64) {
    let mut random = Random::new(seed);
    let count = 2 + random.below(3);
    let config = Config {
        max_retained: *random.one_of(&[3, 1000]),
        retained_policy: *random.one_of(&[RetainedPolicy::Reject, RetainedPolicy::DropOldest]),
        ..Config::default()
    };
    let (mut world, publishers) = shards(&config, count);
    hold_all(&mut world);
    for n in 0..60 {
        let topic = format!("t/{}", random.below(4));
        let publisher = *random.one_of(&publishers);
        match random.below(10) {
            0..=2 => world.publish_retained(publisher, &topic, n.to_string()),
            3 => world.publish_retained(publisher, &topic, ""),
            4 => {
                let seconds = 1 + u32::try_from(random.below(3)).unwrap();
                world.send(publisher, expiring(&topic, &n.to_string(), seconds));
            }
            5 if random.below(3) == 0 => world.pass(Duration::from_millis(700)),
            _ => drop(world.release_one(random.below(count), random.below(count))),
        }
    }
    world.release_all();
    kept_everywhere(&mut world);
    world.pass(Duration::from_secs(5));
    kept_everywhere(&mut world);
}

#[test]
fn all_shards_come_to_hold_the_same_however_late_they_hear() {
    for seed in 0..1000 {
        println!("seed {seed}");
        random_changes(seed);
    }
}
