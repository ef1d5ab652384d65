//! Shared subscriptions whose members are at several shards.

use wherry_core::permission::{Access, Effect, Grant, Rule};
use wherry_core::{Config, ShareStrategy};
use wherry_tests::random::Random;
use wherry_tests::scenario::{Admission, Client, World, numbers};
use wherry_tests::wire::{self, Properties, Value, Version, id, kind};

const FILTER: &str = "$share/g/t/#";
const STRATEGIES: [ShareStrategy; 4] = [
    ShareStrategy::RoundRobin,
    ShareStrategy::Random,
    ShareStrategy::Sticky,
    ShareStrategy::LeastInFlight,
];

fn with(share_strategy: ShareStrategy) -> Config {
    Config {
        share_strategy,
        ..Config::default()
    }
}

/// A publisher at the first of so many shards.
fn shards(config: &Config, count: usize) -> (World, Client) {
    let mut world = World::of_shards(config, count);
    let publisher = world.connect_at(0, Version::V5, "p");
    (world, publisher)
}

/// A member of the group at a shard, whose session lasts.
fn member(world: &mut World, shard: usize, name: &str) -> (wire::Connect, Client) {
    let connect = world.lasting_at(shard, Version::V5, name);
    let client = world.connect_with(&connect);
    world.subscribe(client, FILTER, 2);
    (connect, client)
}

fn end_session(world: &mut World, client: Client) {
    let expiry = Properties::new().with(id::SESSION_EXPIRY_INTERVAL, Value::Four(0));
    world.send(client, wire::disconnect_with(0, &expiry));
    assert!(world.is_closed(client));
}

/// All that the members get, sorted.
#[track_caller]
fn all(world: &mut World, members: &[Client]) -> Vec<String> {
    let texts = members.iter().flat_map(|it| world.drain_texts(*it));
    let mut texts: Vec<String> = texts.collect();
    texts.sort_by_key(|text| text.parse::<u32>().unwrap());
    texts
}

#[test]
fn each_message_goes_to_one_member_of_all_shards() {
    for strategy in STRATEGIES {
        let (mut world, publisher) = shards(&with(strategy), 3);
        let members = [0, 1, 1, 2].map(|shard| {
            let name = format!("m{}-", world.sockets());
            member(&mut world, shard, &name).1
        });
        for n in 0..60 {
            assert_eq!(world.publish_acked(publisher, "t/1", &n.to_string()), 0);
        }
        assert_eq!(all(&mut world, &members), numbers(0..60), "{strategy:?}");
    }
}

#[test]
fn members_take_turns_wherever_they_are() {
    let (mut world, publisher) = shards(&Config::default(), 3);
    let members = [0, 1, 1, 1, 2, 2].map(|shard| {
        let name = format!("m{}-", world.sockets());
        member(&mut world, shard, &name).1
    });
    for n in 0..60 {
        world.publish(publisher, "t/1", n.to_string());
    }
    for client in members {
        assert_eq!(world.messages(client).len(), 10);
    }
}

#[test]
fn random_choices_reach_everyone_and_a_sticky_one_stays() {
    for (strategy, least) in [(ShareStrategy::Random, 10), (ShareStrategy::Sticky, 0)] {
        let (mut world, publisher) = shards(&with(strategy), 4);
        let members = [0, 1, 2, 3].map(|shard| member(&mut world, shard, "m").1);
        for n in 0..100 {
            world.publish(publisher, "t/1", n.to_string());
        }
        let counts = members.map(|client| world.messages(client).len());
        assert!(counts.iter().all(|count| *count >= least), "{counts:?}");
        if strategy == ShareStrategy::Sticky {
            assert!(counts.contains(&100), "{counts:?}");
        }
    }
}

#[test]
fn a_message_does_not_leave_the_shard_if_all_members_are_there() {
    let (mut world, publisher) = shards(&Config::default(), 2);
    let (_, client) = member(&mut world, 0, "m");
    world.hold(0, 1);
    world.publish(publisher, "t/1", "x");
    assert_eq!(world.held(0, 1), 0);
    assert_eq!(world.drain_texts(client), ["x"]);
}

#[test]
fn whoever_is_connected_comes_before_whoever_is_not() {
    for strategy in STRATEGIES {
        for (here, there) in [(0, 1), (1, 0), (1, 2)] {
            let (mut world, publisher) = shards(&with(strategy), 3);
            let (absent, client) = member(&mut world, here, "absent");
            let (_, present) = member(&mut world, there, "present");
            world.hang_up(client);
            for n in 0..10 {
                assert_eq!(world.publish_acked(publisher, "t/1", &n.to_string()), 0);
            }
            assert_eq!(all(&mut world, &[present]), numbers(0..10), "{strategy:?}");
            // With nobody there it waits for whoever comes first.
            world.hang_up(present);
            assert_eq!(world.publish_acked(publisher, "t/1", "10"), 0);
            let back = world.resume(&absent);
            world.drain_texts(back);
        }
    }
}

#[test]
fn whoever_is_back_is_connected_again() {
    let (mut world, publisher) = shards(&Config::default(), 2);
    let (connect, client) = member(&mut world, 1, "m");
    let (_, other) = member(&mut world, 0, "other");
    world.hang_up(client);
    let client = world.resume(&connect);
    for n in 0..10 {
        world.publish(publisher, "t/1", n.to_string());
    }
    assert_eq!(world.messages(client).len(), 5);
    assert_eq!(world.messages(other).len(), 5);
}

#[test]
fn a_shard_whose_last_member_has_just_left_passes_the_message_on() {
    for (qos, leaves) in [(0, true), (1, true), (2, true), (1, false)] {
        let (mut world, publisher) = shards(&Config::default(), 3);
        let (_, first) = member(&mut world, 1, "first");
        world.hold(0, 1);
        world.hold(1, 0);
        let packet = wire::publish(Version::V5, "t/1", "x");
        let packet = if qos > 0 { packet.qos(qos, 1) } else { packet };
        world.send(publisher, packet.bytes());
        assert_eq!(world.held(0, 1), 1);
        if leaves {
            world.unsubscribe(first, FILTER);
        } else {
            end_session(&mut world, first);
        }
        let connect = world.lasting_at(2, Version::V5, "second");
        let second = world.connect_with(&connect);
        world.send(second, wire::subscribe(Version::V5, 1, &[(FILTER, 2)]));
        world.release_all();
        world.expect(second, kind::SUBACK);
        assert_eq!(world.drain_texts(second), ["x"], "QoS {qos}");
        let ack = [kind::PUBACK, kind::PUBREC];
        if let Some(ack) = usize::from(qos).checked_sub(1).map(|at| ack[at]) {
            assert_eq!(world.expect_reason(publisher, ack, 1), 0);
        }
    }
}

#[test]
fn an_acknowledgement_waits_until_somebody_has_the_message_that_was_passed_on() {
    let (mut world, publisher) = shards(&Config::default(), 3);
    let (_, first) = member(&mut world, 1, "first");
    world.hold(1, 0);
    world.unsubscribe(first, FILTER);
    let (_, second) = member(&mut world, 2, "second");
    // The publisher's shard knows of both, and asks the one that has nobody first.
    world.publish_at(publisher, 1, 1, "t/1", "x");
    if world.received(second).is_empty() {
        world.hold(2, 0);
        world.release(1, 0);
        assert_eq!(world.drain_texts(second), ["x"]);
        world.expect_nothing(publisher);
    }
    world.release_all();
    assert_eq!(world.expect_reason(publisher, kind::PUBACK, 1), 0);
}

#[test]
fn if_nobody_is_left_there_is_no_subscriber() {
    let (mut world, publisher) = shards(&Config::default(), 3);
    let members = [1, 2].map(|shard| member(&mut world, shard, "m").1);
    world.hold(1, 0);
    world.hold(2, 0);
    for client in members {
        world.unsubscribe(client, FILTER);
    }
    world.publish_at(publisher, 1, 1, "t/1", "x");
    world.release_all();
    assert_eq!(world.expect_reason(publisher, kind::PUBACK, 1), 0x10);
    assert_eq!(world.shard(0).counters().publish_without_subscriber, 1);
}

#[test]
fn a_message_of_qos_0_that_comes_back_to_nobody_is_counted() {
    let (mut world, publisher) = shards(&Config::default(), 2);
    let (_, client) = member(&mut world, 1, "m");
    world.hold(1, 0);
    world.unsubscribe(client, FILTER);
    world.publish(publisher, "t/1", "x");
    world.release_all();
    assert_eq!(world.dropped(), 1);
    assert_eq!(world.shard(0).counters().dropped_no_member, 1);
}

#[test]
fn a_message_is_refused_if_the_queues_of_all_members_are_full() {
    let config = Config {
        max_queued_messages: 1,
        ..Config::default()
    };
    let (mut world, publisher) = shards(&config, 3);
    let members = [0, 1, 2].map(|shard| member(&mut world, shard, "m"));
    for (_, client) in &members {
        world.hang_up(*client);
    }
    for n in 0..3 {
        assert_eq!(world.publish_acked(publisher, "t/1", &n.to_string()), 0);
    }
    assert_eq!(world.publish_acked(publisher, "t/1", "3"), 0x97);
    let clients: Vec<_> = members
        .iter()
        .map(|(connect, _)| world.resume(connect))
        .collect();
    assert_eq!(all(&mut world, &clients), numbers(0..3));
}

#[test]
fn a_member_that_may_not_have_the_message_is_passed_over() {
    let (mut world, publisher) = shards(&Config::default(), 3);
    let rule = Rule {
        effect: Effect::Deny,
        access: Access::Receive,
        filter: "t/secret".into(),
    };
    let free = world.admission.clone();
    world.admission = Admission::Everyone(Grant::from_rules(vec![rule], Effect::Allow));
    let bound = [0, 1].map(|shard| member(&mut world, shard, "bound").1);
    world.admission = free;
    let (_, trusted) = member(&mut world, 2, "trusted");
    for n in 0..9 {
        assert_eq!(
            world.publish_acked(publisher, "t/secret", &n.to_string()),
            0
        );
    }
    assert_eq!(all(&mut world, &[trusted]), numbers(0..9));
    // With nobody who may, that is not told.
    world.unsubscribe(trusted, FILTER);
    assert_eq!(world.publish_acked(publisher, "t/secret", "9"), 0);
    assert_eq!(world.shard(0).counters().dropped_no_member, 1);
    assert!(all(&mut world, &bound).is_empty());
}

#[test]
fn what_an_ended_session_leaves_goes_to_members_at_other_shards() {
    let (mut world, publisher) = shards(&Config::default(), 2);
    let (_, client) = member(&mut world, 0, "first");
    for n in 0..10 {
        world.publish_at(publisher, 1, n + 1, "t/1", &n.to_string());
    }
    let (_, other) = member(&mut world, 1, "second");
    end_session(&mut world, client);
    assert_eq!(all(&mut world, &[other]), numbers(0..10));
}

#[test]
fn a_new_member_gets_nothing_before_all_shards_know_of_it() {
    let (mut world, publisher) = shards(&Config::default(), 3);
    let client = world.connect_at(1, Version::V5, "m");
    world.hold(2, 1);
    world.send(client, wire::subscribe(Version::V5, 1, &[(FILTER, 2)]));
    // The publisher's shard knows already, and hears that there is nobody yet.
    assert_eq!(world.publish_acked(publisher, "t/1", "x"), 0x10);
    let own = world.connect_at(1, Version::V5, "own");
    assert_eq!(world.publish_acked(own, "t/1", "x"), 0x10);
    world.expect_nothing(client);
    world.release_all();
    world.expect(client, kind::SUBACK);
    assert_eq!(world.publish_acked(publisher, "t/1", "y"), 0);
    assert_eq!(world.drain_texts(client), ["y"]);
}

#[test]
fn a_group_that_is_left_and_begun_anew_is_no_other_one() {
    // A shard that has members of a group and loses them keeps no handle of their list.
    let (mut world, publisher) = shards(&Config::default(), 2);
    let (_, there) = member(&mut world, 1, "there");
    let (_, here) = member(&mut world, 0, "here");
    world.unsubscribe(here, FILTER);
    world.subscribe(here, "$share/other/u", 1);
    for n in 0..10 {
        world.publish(publisher, "t/1", n.to_string());
    }
    assert_eq!(all(&mut world, &[there]), numbers(0..10));
    world.expect_nothing(here);
}

#[test]
fn subscribers_and_groups_of_a_shard_share_one_message_over_the_link() {
    let (mut world, publisher) = shards(&Config::default(), 2);
    let plain = world.connect_at(1, Version::V5, "plain");
    world.subscribe(plain, "t/1", 1);
    let (_, one) = member(&mut world, 1, "one");
    let two = world.connect_at(1, Version::V5, "two");
    world.subscribe(two, "$share/h/t/1", 1);
    world.hold(0, 1);
    world.publish_at(publisher, 1, 1, "t/1", "x");
    assert_eq!(world.held(0, 1), 1);
    world.release_all();
    for client in [plain, one, two] {
        assert_eq!(world.drain_texts(client), ["x"]);
    }
    assert_eq!(world.expect_reason(publisher, kind::PUBACK, 1), 0);
}

/// Members come and go at all shards, links are late: each message goes to one of them or to
/// nobody, and to nobody only if its publisher hears so.
fn random_members(seed: u64) {
    let mut random = Random::new(seed);
    let config = with(*random.one_of(&STRATEGIES));
    let count = 2 + random.below(3);
    let (mut world, publisher) = shards(&config, count);
    let names: Vec<_> = (0..4).map(|n| format!("m{n}-")).collect();
    let connects: Vec<_> = names
        .iter()
        .map(|name| world.lasting_at(random.below(count), Version::V5, name))
        .collect();
    let mut clients: Vec<_> = connects.iter().map(|it| world.connect_with(it)).collect();
    for shard in 0..count {
        world.hold_all_from(shard);
    }
    let mut published = 0;
    let mut got: Vec<u16> = Vec::new();
    for _ in 0..120 {
        let who = random.below(clients.len());
        let client = clients[who];
        match random.below(12) {
            0 if world.is_read(client) => {
                let packet = wire::subscribe(Version::V5, 1, &[(FILTER, 2)]);
                world.send(client, packet);
            }
            1 if world.is_read(client) => {
                let packet = wire::unsubscribe(Version::V5, 2, &[FILTER]);
                world.send(client, packet);
            }
            2 => {
                collect(&mut world, client, &mut got);
                world.hang_up(client);
                let (again, _) = world.connack(&connects[who]);
                clients[who] = again;
            }
            3..=5 => {
                published += 1;
                world.publish_at(publisher, 1, published, "t/1", &published.to_string());
            }
            _ => drop(world.release_one(random.below(count), random.below(count))),
        }
        collect(&mut world, clients[who], &mut got);
    }
    world.release_all();
    let told: Vec<u8> = (1..=published)
        .map(|n| world.expect_reason(publisher, kind::PUBACK, n))
        .collect();
    for client in clients {
        collect(&mut world, client, &mut got);
    }
    for (n, reason) in (1..).zip(told) {
        let expected = usize::from(reason == 0);
        let times = got.iter().filter(|number| **number == n).count();
        assert_eq!(times, expected, "message {n}, told {reason:#x}");
    }
}

/// Notes which messages a client gets for the first time, and acknowledges them.
fn collect(world: &mut World, client: Client, got: &mut Vec<u16>) {
    while let Some(packet) = world.next(client) {
        if packet.kind() != kind::PUBLISH {
            continue;
        }
        let message = packet.publish(Version::V5);
        if !message.dup {
            let text = std::str::from_utf8(&message.payload).unwrap();
            got.push(text.parse().unwrap());
        }
        let id = message.packet_id.expect("it is of QoS 1");
        world.ack(client, kind::PUBACK, id);
    }
}

#[test]
fn each_message_goes_to_one_member_or_its_publisher_hears_that_there_is_none() {
    for seed in 0..500 {
        println!("seed {seed}");
        random_members(seed);
    }
}
