//! The keep-alive.

use std::time::Duration;

use wherry_core::Config;
use wherry_tests::scenario::World;
use wherry_tests::wire::{self, Value, Version, Will, id, kind};

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

#[test]
fn silence_of_one_and_a_half_keep_alives_ends_the_connection_and_not_less() {
    // [MQTT-3.1.2-22]
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect_with(&wire::connect(version).client_id("a").keep_alive(7));
        world.pass(Duration::from_millis(10_499));
        assert!(!world.is_closed(client));
        world.pass(Duration::from_millis(1));
        assert!(world.is_closed(client));
        if version.is_v5() {
            assert_eq!(
                world.expect(client, kind::DISCONNECT).disconnect().reason,
                0x8d
            );
        }
        world.expect_nothing(client);
        assert_eq!(world.broker.counters().ended_keep_alive_timeout, 1);
    }
}

#[test]
fn every_packet_starts_the_keep_alive_anew() {
    let mut world = World::default();
    let client = world.connect_with(&wire::connect(Version::V5).client_id("a").keep_alive(10));
    for _ in 0..20 {
        world.pass(Duration::from_millis(14_900));
        world.send(client, wire::PINGREQ);
        world.expect(client, kind::PINGRESP);
        world.pass(Duration::from_millis(14_900));
        world.publish(client, "t", "x");
    }
    world.pass(Duration::from_millis(15_000));
    assert!(world.is_closed(client));
}

#[test]
fn bytes_that_complete_no_packet_do_not_keep_a_connection_alive() {
    // A20: a packet that never ends.
    let mut world = World::default();
    let client = world.connect_with(&wire::connect(Version::V5).client_id("a").keep_alive(10));
    world.send(client, [0x30, 0xff, 0x7f]);
    for _ in 0..15 {
        assert!(!world.is_closed(client));
        world.send(client, [0x00]);
        world.pass(Duration::from_secs(1));
    }
    assert!(world.is_closed(client));
}

#[test]
fn a_keep_alive_of_zero_is_none() {
    // [MQTT-3.1.2-22], A21
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect_with(&wire::connect(version).client_id("a").keep_alive(0));
        world.pass(Duration::from_secs(1_000_000));
        world.send(client, wire::PINGREQ);
        world.expect(client, kind::PINGRESP);
    }
}

#[test]
fn the_longest_keep_alive_is_served_as_any_other() {
    // A21: 65,535 s and a half again does not fit 16 bits.
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect_with(&wire::connect(version).client_id("a").keep_alive(65_535));
        world.pass(Duration::from_millis(98_302_499));
        assert!(!world.is_closed(client));
        world.pass(Duration::from_millis(1));
        assert!(world.is_closed(client));
    }
}

#[test]
fn the_maximum_keep_alive_holds_for_all_and_is_told_where_it_can_be() {
    // [MQTT-3.1.2-21], [MQTT-3.2.2-21]
    let config = Config {
        max_keep_alive: core::num::NonZeroU16::new(20),
        ..Config::default()
    };
    for version in VERSIONS {
        for asked in [0, 21, 65_535] {
            let mut world = World::new(config.clone());
            let client = world.dial(version);
            world.send(
                client,
                wire::connect(version)
                    .client_id("a")
                    .keep_alive(asked)
                    .bytes(),
            );
            let connack = world.expect(client, kind::CONNACK).connack(version);
            let told = version.is_v5().then_some(Value::Two(20));
            assert_eq!(connack.property(id::SERVER_KEEP_ALIVE), told.as_ref());
            world.pass(Duration::from_millis(29_999));
            assert!(!world.is_closed(client));
            world.pass(Duration::from_millis(1));
            assert!(world.is_closed(client));
        }
        let mut world = World::new(config.clone());
        let client = world.dial(version);
        world.send(
            client,
            wire::connect(version).client_id("a").keep_alive(20).bytes(),
        );
        let connack = world.expect(client, kind::CONNACK).connack(version);
        assert_eq!(connack.property(id::SERVER_KEEP_ALIVE), None);
    }
}

#[test]
fn the_keep_alive_stands_still_while_the_broker_does_not_read() {
    let config = Config {
        outbox_limit: 1000,
        write_timeout: Duration::from_secs(1000),
        ..Config::default()
    };
    let mut world = World::new(config);
    let client = world.connect_with(&wire::connect(Version::V5).client_id("a").keep_alive(10));
    world.take_only(client, 0);
    for _ in 0..501 {
        world.send(client, wire::PINGREQ);
    }
    assert!(!world.is_read(client));
    world.pass(Duration::from_secs(500));
    assert!(!world.is_closed(client));
    world.take_all(client);
    assert!(world.is_read(client));
    world.pass(Duration::from_millis(14_999));
    assert!(
        !world.is_closed(client),
        "it starts anew once reading goes on"
    );
    world.pass(Duration::from_millis(1));
    assert!(world.is_closed(client));
}

#[test]
fn a_will_is_published_when_the_keep_alive_runs_out() {
    // [MQTT-3.1.2-8]
    let mut world = World::default();
    let watcher = world.connect_with(&wire::connect(Version::V5).client_id("w").keep_alive(0));
    world.subscribe(watcher, "will", 0);
    let connect = wire::connect(Version::V3_1_1)
        .client_id("a")
        .keep_alive(2)
        .will(Will::new("will", "gone"));
    world.connect_with(&connect);
    world.pass(Duration::from_secs(3));
    assert_eq!(world.expect_message(watcher).payload, b"gone");
}
