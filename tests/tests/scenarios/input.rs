//! Bytes in pieces.

use proptest::prelude::*;
use wherry_core::Config;
use wherry_core::time::Instant;
use wherry_tests::scenario::World;
use wherry_tests::wire::{self, Version, Will, kind};

/// A conversation with a bit of everything.
fn conversation(version: Version) -> Vec<u8> {
    let mut bytes = wire::connect(version)
        .client_id("talker")
        .will(Will::new("will", "gone"))
        .bytes();
    bytes.extend(wire::subscribe(version, 1, &[("a/+", 0), ("#", 0)]));
    bytes.extend(wire::publish(version, "a/b", "x").bytes());
    bytes.extend(wire::publish(version, "a/c", vec![7; 300]).retain().bytes());
    bytes.extend(wire::PINGREQ);
    bytes.extend(wire::unsubscribe(version, 2, &["#", "nothing"]));
    bytes.extend(wire::publish(version, "a/big", vec![9; 20_000]).bytes());
    bytes.extend(wire::subscribe(version, 3, &[("a/c", 0)]));
    bytes
}

fn answers(version: Version, cuts: &[usize]) -> Vec<wire::Received> {
    let mut world = World::default();
    let client = world.dial(version);
    let bytes = conversation(version);
    let mut rest = &bytes[..];
    for cut in cuts {
        let (piece, more) = rest.split_at((*cut).min(rest.len()));
        world.send(client, piece);
        rest = more;
    }
    world.send(client, rest);
    assert_eq!(world.broker.unparsed_bytes(), 0);
    std::iter::from_fn(|| world.next(client)).collect()
}

#[test]
fn one_byte_at_a_time_is_the_same_as_all_at_once() {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let whole = answers(version, &[]);
        assert_eq!(whole.len(), 9, "{whole:?}");
        assert_eq!(answers(version, &vec![1; 30_000]), whole);
    }
}

proptest! {
    #[test]
    fn any_cut_is_the_same_as_none(cuts in prop::collection::vec(1usize..3000, 0..60)) {
        let whole = answers(Version::V5, &[]);
        prop_assert_eq!(answers(Version::V5, &cuts), whole);
    }
}

#[test]
fn what_is_kept_follows_what_came_not_what_was_announced() {
    // A2
    let mut world = World::default();
    let client = world.connect(Version::V3_1_1, "a");
    world.send(client, [0x30, 0x80, 0x80, 0x80, 0x04]); // 8 MiB
    world.send(client, [0, 1, b't']);
    assert_eq!(world.broker.unparsed_bytes(), 8);
    assert!(!world.is_closed(client));
}

#[test]
fn a_packet_above_the_maximum_is_refused_as_soon_as_its_length_is_known() {
    // A2; section 3.2.2.3.6: 0x95
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let mut world = World::default();
        let client = world.connect(version, "a");
        world.send_in_pieces(client, [0x30, 0xff, 0xff, 0xff], 1);
        assert!(!world.is_closed(client), "the length is not complete");
        world.send(client, [0x7f]);
        assert!(world.is_closed(client));
        if version.is_v5() {
            assert_eq!(
                world.expect(client, kind::DISCONNECT).disconnect().reason,
                0x95
            );
        }
        assert_eq!(world.broker.counters().ended_packet_too_large, 1);
        assert_eq!(world.broker.unparsed_bytes(), 0);
    }
}

#[test]
fn a_packet_of_exactly_the_maximum_passes() {
    let config = Config {
        max_packet_size: 1000,
        ..Default::default()
    };
    let mut world = World::new(config);
    let client = world.connect(Version::V3_1_1, "a");
    world.subscribe(client, "t", 0);
    world.publish(client, "t", vec![1; 1000 - 3 - 3]);
    assert_eq!(world.messages(client).len(), 1);
    world.publish(client, "t", vec![1; 1000 - 3 - 2]);
    assert!(world.is_closed(client));
}

#[test]
fn nothing_after_a_broken_packet_is_looked_at() {
    let mut world = World::default();
    let watcher = world.connect(Version::V5, "watcher");
    world.subscribe(watcher, "#", 0);
    let client = world.connect(Version::V5, "a");
    let mut bytes = wire::publish(Version::V5, "before", "").bytes();
    bytes.extend([0x36, 0x00]);
    bytes.extend(wire::publish(Version::V5, "after", "").bytes());
    world.send(client, bytes);
    let topics: Vec<_> = world
        .messages(watcher)
        .into_iter()
        .map(|m| m.topic)
        .collect();
    assert_eq!(topics, ["before"]);
    assert_eq!(
        world.expect(client, kind::DISCONNECT).disconnect().reason,
        0x81
    );
}

#[test]
fn levels_count_towards_the_bytes_of_filters_and_retained_topics() {
    // Each level is a node of a tree, many times as large as the byte that it is on the wire.
    let config = Config {
        max_subscription_bytes: 20_000,
        max_retained_bytes: 20_000,
        ..Config::default()
    };
    let mut world = World::new(config);
    let client = world.connect(Version::V3_1_1, "a");
    for n in 0..20 {
        let levels = "/".repeat(120);
        world.publish_retained(client, &format!("{n}{levels}"), "x");
        let filter = [(format!("{n}{levels}+"), 0)];
        world.send(client, wire::subscribe(Version::V3_1_1, 1, &filter));
    }
    assert_eq!(world.broker.subscriptions(), 2);
    assert_eq!(world.broker.retained_messages(), 2);
    let unsubscribe = ["0", "1"].map(|n| format!("{n}{}+", "/".repeat(120)));
    world.send(client, wire::unsubscribe(Version::V3_1_1, 2, &unsubscribe));
    world.publish_retained(client, &format!("0{}", "/".repeat(120)), "");
    world.publish_retained(client, &format!("1{}", "/".repeat(120)), "");
    assert_eq!(world.broker.subscriptions(), 0);
    assert_eq!(world.broker.retained_bytes(), 0);
}

/// However small they are, so many packets of one connection are handled in a turn, and no more;
/// others have theirs in between.
#[test]
fn a_flood_of_small_packets_is_handled_in_turns_and_delays_nobody() {
    const FLOOD: usize = 30_000;
    const IN_A_TURN: u64 = 4096;
    let mut world = World::default();
    let flooder = world.connect(Version::V3_1_1, "flooder");
    let other = world.connect(Version::V3_1_1, "other");
    let before = world.broker.counters().packets_received;
    let pings = wire::PINGREQ.repeat(FLOOD);
    assert!(pings.len() < 64 << 10, "one read brings them all");
    world.broker.received(world.id(flooder), &pings);
    let handled = world.broker.counters().packets_received - before;
    assert_eq!(handled, IN_A_TURN);
    // The other one's packet is the next that is handled.
    world.broker.received(world.id(other), &wire::PINGREQ);
    let counted = world.broker.counters().packets_received - before;
    assert_eq!(counted, IN_A_TURN + 1);
    let now = Instant::from_millis(0).after(world.now());
    for turn in 2..=FLOOD as u64 / IN_A_TURN {
        world.broker.advance(now);
        let handled = world.broker.counters().packets_received - before - 1;
        assert_eq!(handled, turn * IN_A_TURN);
    }
    world.settle();
    world.expect(other, kind::PINGRESP);
    for _ in 0..FLOOD {
        world.expect(flooder, kind::PINGRESP);
    }
    assert_eq!(world.broker.unparsed_bytes(), 0);
}
