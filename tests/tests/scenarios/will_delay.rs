//! Wills that wait, and wills of sessions that go on.

use std::time::Duration;

use wherry_core::Config;
use wherry_tests::scenario::{Client, World};
use wherry_tests::wire::{self, Connect, Properties, Value, Version, Will, id};

const MILLI: Duration = Duration::from_millis(1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A client with a will that waits so long, and a session that lasts so long.
fn mortal(delay: u32, expiry: u32) -> Connect {
    let will = Will {
        properties: Properties::new().with(id::WILL_DELAY_INTERVAL, Value::Four(delay)),
        ..Will::new("will/a", "gone")
    };
    wire::connect(Version::V5)
        .client_id("a")
        .clean(false)
        .will(will)
        .with(id::SESSION_EXPIRY_INTERVAL, Value::Four(expiry))
}

/// A watcher of wills, and a client with one.
fn world(connect: &Connect) -> (World, Client, Client) {
    let mut world = World::new(Config {
        sys_interval: None,
        ..Config::default()
    });
    let watcher = world.connect(Version::V5, "watcher");
    world.subscribe(watcher, "will/#", 2);
    let client = world.connect_with(connect);
    (world, watcher, client)
}

#[test]
fn a_will_waits_for_its_delay_or_the_end_of_the_session_whichever_comes_first() {
    // [MQTT-3.1.3-9], section 3.1.3.2.2
    for (delay, expiry, after) in [
        (10, 100, 10),
        (100, 10, 10),
        (10, 10, 10),
        (100, u32::MAX, 100),
        (u32::MAX, 60, 60),
    ] {
        let (mut world, watcher, client) = world(&mortal(delay, expiry));
        world.hang_up(client);
        world.pass(seconds(after) - MILLI);
        world.expect_nothing(watcher);
        world.pass(MILLI);
        assert_eq!(world.drain_texts(watcher), ["gone"], "{delay} {expiry}");
        world.pass(seconds(1000));
        world.expect_nothing(watcher);
        assert_eq!(world.broker.counters().wills_published, 1);
    }
}

#[test]
fn a_will_without_delay_or_without_session_is_published_at_once() {
    for (delay, expiry) in [(0, 100), (100, 0), (0, 0)] {
        let (mut world, watcher, client) = world(&mortal(delay, expiry));
        world.hang_up(client);
        assert_eq!(world.drain_texts(watcher), ["gone"]);
    }
    for version in [Version::V3_1, Version::V3_1_1] {
        let connect = wire::lasting(version, "a").will(Will::new("will/a", "gone"));
        let (mut world, watcher, client) = world(&connect);
        world.hang_up(client);
        assert_eq!(world.drain_texts(watcher), ["gone"]);
        assert_eq!(world.broker.sessions(), 2, "its session goes on");
    }
}

#[test]
fn a_client_that_is_back_in_time_has_not_died() {
    // [MQTT-3.1.3-9]; what counts from then on is the will of the new connection.
    let (mut world, watcher, client) = world(&mortal(10, 100));
    world.hang_up(client);
    world.pass(seconds(10) - MILLI);
    let client = world.resume(&wire::lasting(Version::V5, "a"));
    world.pass(seconds(1000));
    world.expect_nothing(watcher);
    world.hang_up(client);
    world.pass(seconds(4000));
    world.expect_nothing(watcher);
    assert_eq!(world.broker.counters().wills_published, 0);
}

#[test]
fn each_connection_has_its_own_will_and_its_own_delay() {
    let (mut world, watcher, client) = world(&mortal(10, 100));
    world.hang_up(client);
    world.pass(seconds(9));
    let client = world.resume(&mortal(20, 100));
    world.pass(seconds(9));
    world.hang_up(client);
    world.pass(seconds(20) - MILLI);
    world.expect_nothing(watcher);
    world.pass(MILLI);
    assert_eq!(world.drain_texts(watcher), ["gone"]);
}

#[test]
fn a_normal_disconnect_takes_the_will_back_and_0x04_does_not() {
    // [MQTT-3.14.4-3], section 3.14.2.1
    for (reason, published) in [(0x00, false), (0x04, true), (0x80, true)] {
        for delay in [0, 10] {
            let (mut world, watcher, client) = world(&mortal(delay, 100));
            world.send(client, wire::disconnect(Version::V5, reason));
            if delay > 0 {
                world.pass(seconds(10) - MILLI);
                world.expect_nothing(watcher);
                world.pass(MILLI);
            }
            assert_eq!(world.drain(watcher).len(), usize::from(published));
            world.pass(seconds(1000));
            world.expect_nothing(watcher);
        }
    }
}

#[test]
fn a_disconnect_that_ends_the_session_ends_the_wait() {
    let (mut world, watcher, client) = world(&mortal(50, 100));
    let expiry =
        |seconds| Properties::new().with(id::SESSION_EXPIRY_INTERVAL, Value::Four(seconds));
    world.send(client, wire::disconnect_with(0x04, &expiry(0)));
    assert_eq!(world.drain_texts(watcher), ["gone"]);
    let client = world.connect_with(&mortal(50, 100));
    world.send(client, wire::disconnect_with(0x04, &expiry(20)));
    world.pass(seconds(20) - MILLI);
    world.expect_nothing(watcher);
    world.pass(MILLI);
    assert_eq!(world.drain_texts(watcher), ["gone"]);
}

#[test]
fn a_takeover_publishes_a_will_without_delay_and_cancels_one_that_would_wait() {
    // Section 3.1.4, [MQTT-3.1.3-9]: the old connection is closed without a DISCONNECT of its own.
    for (delay, published) in [(0, 1), (10, 0)] {
        let (mut world, watcher, client) = world(&mortal(delay, 100));
        let connect = wire::lasting(Version::V5, "a");
        let new = world.resume(&connect);
        world.expect_end(client, 0x8e);
        world.pass(seconds(1000));
        assert_eq!(world.drain(watcher).len(), published);
        world.hang_up(new);
        world.pass(seconds(10_000));
        world.expect_nothing(watcher);
    }
}

#[test]
fn a_clean_start_ends_the_old_session_and_with_it_the_wait() {
    // Section 3.1.3.2.2: connected or not.
    for connected in [true, false] {
        let (mut world, watcher, client) = world(&mortal(50, 100));
        if !connected {
            world.hang_up(client);
            world.pass(seconds(5));
        }
        world.connect(Version::V5, "a");
        assert_eq!(world.drain_texts(watcher), ["gone"]);
        world.pass(seconds(1000));
        world.expect_nothing(watcher);
    }
}

#[test]
fn a_will_counts_its_own_expiry_from_its_publication() {
    // Section 3.1.3.2.4: the interval is sent as that of the message when the will is published.
    let mut will = Will {
        qos: 1,
        ..Will::new("will/a", "gone")
    };
    will.properties = Properties::new()
        .with(id::WILL_DELAY_INTERVAL, Value::Four(60))
        .with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(30))
        .user("k", "v");
    let (mut world, watcher, client) = world(&mortal(0, 100).will(will));
    world.hang_up(client);
    world.pass(seconds(60));
    let got = world.drain(watcher);
    let expiry = (id::MESSAGE_EXPIRY_INTERVAL, Value::Four(30));
    let user = (id::USER_PROPERTY, Value::Pair("k".into(), "v".into()));
    assert_eq!(got.len(), 1);
    assert!(got[0].properties.contains(&expiry) && got[0].properties.contains(&user));
    assert_eq!(got[0].properties.len(), 2);
}

#[test]
fn wills_have_every_qos_and_wait_for_the_absent() {
    for version in Version::ALL {
        for qos in 0..=2 {
            let will = Will {
                qos,
                ..Will::new("will/a", "gone")
            };
            let connect = wire::connect(version).client_id("a").will(will);
            let (mut world, watcher, client) = world(&connect);
            let absent = world.connect_with(&wire::lasting(version, "absent"));
            world.subscribe(absent, "will/a", 1);
            world.hang_up(absent);
            world.hang_up(client);
            let got = world.drain(watcher);
            assert_eq!((got.len(), got[0].qos), (1, qos));
            let absent = world.resume(&wire::lasting(version, "absent"));
            let waited = world.drain(absent);
            assert_eq!(waited.len(), usize::from(qos > 0), "QoS 0 waits for nobody");
            assert!(waited.iter().all(|message| message.qos == 1));
        }
    }
}

#[test]
fn a_will_above_the_maximum_qos_is_refused() {
    // [MQTT-3.2.2-12]; before MQTT 5, where no code fits, 3.
    for version in Version::ALL {
        for qos in [1, 2] {
            let mut world = World::new(Config {
                max_qos: wherry_core::packet::QoS::AtMostOnce,
                ..Config::default()
            });
            let will = Will {
                qos,
                ..Will::new("will", "gone")
            };
            let connect = wire::connect(version).client_id("a").will(will);
            let (client, connack) = world.try_connect(&connect);
            assert_eq!(connack.code, if version.is_v5() { 0x9b } else { 3 });
            assert!(world.is_closed(client));
        }
    }
}

#[test]
fn stopping_publishes_wills_that_wait() {
    let (mut world, watcher, client) = world(&mortal(50, 100));
    world.hang_up(client);
    world.broker.shut_down();
    world.settle();
    assert_eq!(world.expect_message(watcher).payload, b"gone");
    assert_eq!(world.broker.counters().wills_published, 1);
}

#[test]
fn a_client_that_does_not_want_to_hear_itself_does_not_hear_its_own_will() {
    // [MQTT-3.8.3-3] The client that left the will has published it.
    for (options, heard) in [(0x04, 0), (0x00, 1)] {
        let will = Will {
            qos: 1,
            ..Will::new("will/a", "gone")
        };
        let connect = wire::lasting(Version::V5, "a");
        let mut world = World::default();
        let client = world.connect_with(&connect.clone().will(will));
        world.subscribe(client, "will/#", options | 1);
        world.hang_up(client);
        let back = world.resume(&connect);
        assert_eq!(world.messages(back).len(), heard);
    }
}
