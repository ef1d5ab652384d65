//! How connections end, and what becomes of wills.

use std::time::Duration;

use wherry_core::Config;
use wherry_core::connection::{Closed, ConnectionId};
use wherry_core::packet::ReasonCode;
use wherry_core::permission::Grant;
use wherry_tests::scenario::{Client, World};
use wherry_tests::wire::{self, Properties, Value, Version, Will, id, kind};

/// A client with a will, and one that watches for it.
fn with_will(version: Version) -> (World, Client, Client) {
    let mut world = World::default();
    let watcher = world.connect_with(&wire::connect(Version::V5).client_id("w").keep_alive(0));
    world.subscribe(watcher, "will/#", 0);
    let connect = wire::connect(version)
        .client_id("a")
        .will(Will::new("will/a", "gone"));
    let client = world.connect_with(&connect);
    (world, watcher, client)
}

#[test]
fn a_will_is_published_when_the_stream_ends_without_a_word() {
    // [MQTT-3.1.2-8]
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let (mut world, watcher, client) = with_will(version);
        world.hang_up(client);
        let got = world.expect_message(watcher);
        assert_eq!((&got.topic[..], &got.payload[..]), ("will/a", &b"gone"[..]));
        assert_eq!(world.broker.counters().wills_published, 1);
        world.expect_nothing(watcher);
    }
}

#[test]
fn a_will_is_published_when_the_client_breaks_the_protocol() {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let (mut world, watcher, client) = with_will(version);
        world.send(client, [0x00]);
        assert!(world.is_closed(client));
        assert_eq!(world.messages(watcher).len(), 1);
    }
}

#[test]
fn a_will_is_published_when_the_client_is_taken_over() {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let (mut world, watcher, client) = with_will(version);
        world.connect(version, "a");
        assert!(world.is_closed(client));
        assert_eq!(world.messages(watcher).len(), 1);
        assert_eq!(world.broker.counters().ended_taken_over, 1);
    }
}

#[test]
fn a_normal_disconnect_takes_the_will_back() {
    // [MQTT-3.14.4-3]
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let (mut world, watcher, client) = with_will(version);
        world.send(client, wire::disconnect(version, 0));
        assert!(world.is_closed(client));
        world.expect_nothing(watcher);
        world.expect_nothing(client);
        assert_eq!(world.broker.counters().ended_client_disconnect, 1);
    }
}

#[test]
fn any_other_disconnect_leaves_the_will() {
    // Section 3.14.2.1: 0x04 asks for it, an error does not take it back.
    for reason in [0x04, 0x80, 0x82, 0x99] {
        let (mut world, watcher, client) = with_will(Version::V5);
        world.send(client, wire::disconnect(Version::V5, reason));
        assert!(world.is_closed(client));
        assert_eq!(world.messages(watcher).len(), 1);
    }
}

#[test]
fn a_retained_will_is_retained_with_its_properties_and_without_its_delay() {
    // [MQTT-3.1.2-15]; section 3.1.3.2
    let mut world = World::default();
    let watcher = world.connect_with(&wire::connect(Version::V5).client_id("w").keep_alive(0));
    let mut will = Will::new("will", "gone");
    will.retain = true;
    will.properties = Properties::new()
        .with(id::WILL_DELAY_INTERVAL, Value::Four(100))
        .user("k", "v")
        .with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(50));
    let client = world.connect_with(&wire::connect(Version::V5).client_id("a").will(will));
    world.subscribe(watcher, "will", 0);
    world.hang_up(client); // The session ends with it, and so does the delay ([MQTT-3.1.3-9]).
    let live = world.expect_message(watcher);
    world.pass(Duration::from_secs(20));
    world.subscribe(watcher, "will", 0);
    let kept = world.expect_message(watcher);
    assert_eq!((live.retain, kept.retain), (false, true));
    let user = (id::USER_PROPERTY, Value::Pair("k".into(), "v".into()));
    let expiry = |seconds| (id::MESSAGE_EXPIRY_INTERVAL, Value::Four(seconds));
    assert_eq!(live.properties, [user.clone(), expiry(50)]);
    assert_eq!(kept.properties, [user, expiry(30)]);
}

#[test]
fn who_asked_for_a_session_expiry_may_name_one_at_disconnect() {
    // Section 3.14.2.2.2 forbids it only after a 0 in CONNECT.
    let mut world = World::default();
    let watcher = world.connect(Version::V5, "watcher");
    world.subscribe(watcher, "will", 0);
    let properties = Properties::new().with(id::SESSION_EXPIRY_INTERVAL, Value::Four(3600));
    let disconnect = wire::packet(
        kind::DISCONNECT << 4,
        [vec![0], properties.bytes()].concat(),
    );
    let connect = wire::connect(Version::V5)
        .client_id("a")
        .will(Will::new("will", "gone"))
        .properties(properties);
    let client = world.connect_with(&connect);
    world.send(client, disconnect);
    world.expect_nothing(client);
    world.expect_nothing(watcher);
    assert_eq!(world.causes(), ["it said DISCONNECT"]);
}

#[test]
fn a_closed_connection_whose_client_stays_is_dropped_after_the_close_timeout() {
    let mut world = World::default();
    let client = world.connect(Version::V5, "a");
    world.take_only(client, 0);
    world.send(client, [0x00]);
    assert!(world.is_closed(client) && !world.is_aborted(client));
    assert_eq!(world.broker.connections(), 1, "its last words wait");
    assert_eq!(world.broker.sessions(), 0, "its session does not");
    world.pass(Duration::from_secs(5));
    assert!(world.is_aborted(client));
    assert_eq!(
        (world.broker.connections(), world.broker.waiting_bytes()),
        (0, 0)
    );
}

#[test]
fn stopping_publishes_wills_to_those_who_are_still_there_and_says_goodbye() {
    let (mut world, watcher, client) = with_will(Version::V5);
    let old = world.connect(Version::V3_1_1, "old");
    let early = world.dial(Version::V5);
    world.broker.shut_down();
    world.settle();
    assert_eq!(world.expect_message(watcher).payload, b"gone");
    for client in [watcher, client] {
        assert_eq!(
            world.expect(client, kind::DISCONNECT).disconnect().reason,
            0x8b
        );
        world.expect_nothing(client);
        assert!(world.is_closed(client));
    }
    for silent in [old, early] {
        world.expect_nothing(silent);
        assert!(world.is_closed(silent));
    }
    assert_eq!(world.broker.counters().wills_published, 1, "once each");
    assert_eq!(world.broker.connections(), 0);
}

#[test]
fn an_administrator_can_end_a_connection() {
    let (mut world, watcher, client) = with_will(Version::V5);
    world.broker.kick(world.id(client));
    world.settle();
    assert_eq!(
        world.expect(client, kind::DISCONNECT).disconnect().reason,
        0x98
    );
    assert_eq!(world.messages(watcher).len(), 1);
    assert_eq!(world.broker.counters().ended_kicked, 1);
}

#[test]
fn handles_of_connections_that_are_gone_are_ignored_and_counted() {
    let mut world = World::default();
    let gone = world.connect(Version::V5, "a");
    let id = world.id(gone);
    world.hang_up(gone);
    let next = world.connect(Version::V5, "b");
    assert_ne!(
        world.id(next),
        id,
        "the place is taken again, the handle is not"
    );
    for stale in [id, ConnectionId::default()] {
        world.broker.received(stale, &[0xc0, 0]);
        world.broker.sent(stale, 10);
        world.broker.admit(stale, Grant::unrestricted());
        world.broker.refuse(stale, ReasonCode::Banned);
        world.broker.kick(stale);
        world.broker.closed(stale, Closed::Failed);
        assert!(world.broker.credentials(stale).is_none());
        assert_eq!(world.broker.outbox(stale).count(), 0);
    }
    assert_eq!(world.broker.counters().stale_handles, 12);
    world.settle();
    world.send(next, wire::PINGREQ);
    world.expect(next, kind::PINGRESP);
}

#[test]
fn shorter_timeouts_hold_for_connections_that_are_there() {
    let mut world = World::default();
    let silent = world.dial(Version::V5);
    world.pass(Duration::from_secs(1));
    world.broker.configure(Config {
        connect_timeout: Duration::from_secs(2),
        ..Config::default()
    });
    world.pass(Duration::from_secs(1));
    assert!(world.is_closed(silent));
}

#[test]
fn events_that_nobody_fetches_are_bounded() {
    let mut broker = wherry_core::Broker::new(
        Config {
            max_events: 10,
            ..Config::default()
        },
        1,
        wherry_core::time::Instant::from_millis(0),
        wherry_core::time::WallClock::from_unix_millis(0),
    );
    let origin = wherry_core::connection::Origin {
        listener: 0,
        transport: wherry_core::connection::Transport::Tcp,
        remote: None,
        local: None,
    };
    for _ in 0..100 {
        let id = broker.open(origin.clone()).unwrap();
        broker.closed(id, Closed::EndOfStream);
    }
    assert_eq!(std::iter::from_fn(|| broker.poll_event()).count(), 10);
    assert_eq!(broker.counters().events_dropped, 90);
}
