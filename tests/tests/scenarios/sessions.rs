//! Sessions: what outlives a connection, for how long, and who gets it.

use std::time::Duration;

use wherry_core::Config;
use wherry_tests::scenario::World;
use wherry_tests::wire::{self, Connect, Properties, Value, Version, id, kind};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Without the messages under `$SYS`, which would stop time every ten seconds.
fn quiet() -> Config {
    Config {
        sys_interval: None,
        ..Config::default()
    }
}

fn expiring(client_id: &str, seconds: u32) -> Connect {
    wire::connect(Version::V5)
        .client_id(client_id)
        .clean(false)
        .with(id::SESSION_EXPIRY_INTERVAL, Value::Four(seconds))
}

fn expiry(seconds: u32) -> Properties {
    Properties::new().with(id::SESSION_EXPIRY_INTERVAL, Value::Four(seconds))
}

#[test]
fn subscriptions_and_queue_wait_for_a_client_and_the_next_connection_speaks_any_version() {
    // [MQTT-3.1.2-5], [MQTT-3.2.2-3]; [MQTT-3.1.2-4] of 3.1.1
    for first in Version::ALL {
        for second in Version::ALL {
            let mut world = World::default();
            let publisher = world.connect(Version::V5, "publisher");
            let client = world.connect_with(&wire::lasting(first, "a"));
            world.subscribe(client, "t/+", 1);
            world.hang_up(client);
            assert_eq!(world.publish_acked(publisher, "t/1", "one"), 0);
            world.publish(publisher, "t/0", "nobody is there");
            assert_eq!(world.publish_released(publisher, "t/2", "two"), 0);
            let client = world.resume(&wire::lasting(second, "a"));
            let got = world.drain(client);
            let topics: Vec<_> = got.iter().map(|message| &message.topic[..]).collect();
            assert_eq!(topics, ["t/1", "t/2"]);
            assert!(got.iter().all(|message| message.qos == 1 && !message.dup));
            world.publish_acked(publisher, "t/3", "three");
            assert_eq!(world.drain_texts(client), ["three"], "it is subscribed");
            assert_eq!(world.broker.sessions(), 2);
        }
    }
}

#[test]
fn a_session_survives_every_end_that_a_connection_can_have() {
    let ends: [fn(&mut World, wherry_tests::scenario::Client, Version); 5] = [
        |world, client, _| world.hang_up(client),
        |world, client, version| world.send(client, wire::disconnect(version, 0)),
        |world, client, _| world.send(client, [0x00]),
        |world, client, version| world.publish(client, if version.is_v5() { "#" } else { "+" }, ""),
        |world, client, _| {
            world.broker.kick(world.id(client));
            world.settle();
        },
    ];
    for version in Version::ALL {
        for end in ends {
            let mut world = World::default();
            let publisher = world.connect(Version::V5, "publisher");
            let client = world.connect_with(&wire::lasting(version, "a"));
            world.subscribe(client, "t", 2);
            end(&mut world, client, version);
            assert!(world.is_closed(client));
            world.publish_released(publisher, "t", "x");
            let client = world.resume(&wire::lasting(version, "a"));
            assert_eq!(world.drain_texts(client), ["x"]);
        }
    }
}

#[test]
fn a_clean_start_discards_what_was_there() {
    // [MQTT-3.1.2-4], [MQTT-3.2.2-2]; [MQTT-3.1.2-6] of 3.1.1
    for before in Version::ALL {
        for after in Version::ALL {
            let mut world = World::default();
            let publisher = world.connect(Version::V5, "publisher");
            let client = world.connect_with(&wire::lasting(before, "a"));
            world.subscribe(client, "t", 2);
            world.publish_released(publisher, "t", "unacknowledged");
            world.hang_up(client);
            world.publish_released(publisher, "t", "queued");
            let client = world.connect(after, "a");
            world.expect_nothing(client);
            assert_eq!(world.broker.subscriptions(), 0);
            assert_eq!(world.publish_acked(publisher, "t", "x"), 0x10);
            world.hang_up(client);
            // Nor does it come back to the next one that would have it.
            let client = world.connect_with(&wire::lasting(before, "a"));
            world.expect_nothing(client);
        }
    }
}

#[test]
fn a_clean_start_may_begin_a_session_that_lasts() {
    // Section 3.1.2.4: in MQTT 5 beginning and end are separate.
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.connect_with(&expiring("a", 60).clean(true));
    world.subscribe(client, "t", 1);
    world.hang_up(client);
    world.publish_acked(publisher, "t", "x");
    let client = world.resume(&expiring("a", 60));
    assert_eq!(world.drain_texts(client), ["x"]);
}

#[test]
fn a_session_without_expiry_ends_with_its_connection() {
    // Section 3.1.2.11.2: absent is 0.
    for connect in [
        wire::connect(Version::V5).client_id("a").clean(false),
        expiring("a", 0),
        wire::connect(Version::V3_1_1).client_id("a"),
        wire::connect(Version::V3_1).client_id("a"),
    ] {
        let mut world = World::default();
        let client = world.connect_with(&connect);
        world.subscribe(client, "t", 1);
        world.hang_up(client);
        assert_eq!(
            (world.broker.sessions(), world.broker.subscriptions()),
            (0, 0)
        );
        world.connect_with(&connect);
    }
}

#[test]
fn a_session_that_is_resumed_without_expiry_is_used_up() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.connect_with(&wire::lasting(Version::V5, "a"));
    world.subscribe(client, "t", 1);
    world.hang_up(client);
    world.publish_acked(publisher, "t", "x");
    let client = world.resume(&expiring("a", 0));
    assert_eq!(world.drain_texts(client), ["x"]);
    world.hang_up(client);
    world.connect_with(&wire::lasting(Version::V5, "a"));
}

#[test]
fn a_session_lives_for_its_expiry_after_the_connection_and_not_a_millisecond_longer() {
    // [MQTT-3.1.2-23], section 4.1
    let mut world = World::new(quiet());
    // However the connection ended.
    for (short_of, says_goodbye) in [(1, false), (1, true), (0, false), (0, true)] {
        let client = world.connect_with(&expiring("a", 100));
        world.subscribe(client, "t", 1);
        // The time of the connection does not count.
        world.pass(DAY);
        match says_goodbye {
            true => world.send(client, wire::disconnect(Version::V5, 0)),
            false => world.hang_up(client),
        }
        world.pass(Duration::from_secs(100) - Duration::from_millis(short_of));
        let (client, connack) = world.connack(&expiring("a", 100));
        assert_eq!(connack.session_present, short_of > 0);
        world.send(client, wire::disconnect_with(0, &expiry(0)));
        assert_eq!(
            (world.broker.sessions(), world.broker.subscriptions()),
            (0, 0)
        );
    }
}

#[test]
fn a_new_connection_stops_the_clock_and_its_expiry_replaces_the_old_one() {
    let mut world = World::new(quiet());
    let client = world.connect_with(&expiring("a", 10));
    world.hang_up(client);
    world.pass(Duration::from_secs(9));
    let client = world.resume(&expiring("a", 100));
    world.pass(Duration::from_secs(9));
    assert_eq!(world.broker.sessions(), 1);
    world.hang_up(client);
    world.pass(Duration::from_secs(99));
    let client = world.resume(&expiring("a", 5));
    world.hang_up(client);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.broker.sessions(), 0);
}

#[test]
fn sessions_of_mqtt_3_and_those_that_never_end_are_cut_down_to_the_maximum() {
    // Section 3.2.2.3.2: who asked for more is told what it gets.
    let month = 30 * 86_400;
    for (asked, told) in [
        (u32::MAX, Some(month)),
        (month + 1, Some(month)),
        (month, None),
        (1, None),
        (0, None),
    ] {
        let mut world = World::new(quiet());
        let (client, connack) = world.connack(&expiring("a", asked));
        let said = connack.property(id::SESSION_EXPIRY_INTERVAL).cloned();
        assert_eq!(said, told.map(Value::Four), "{asked}");
        let lasts = Duration::from_secs(asked.min(month).into());
        world.hang_up(client);
        if asked > 0 {
            world.pass(lasts - Duration::from_millis(1));
            assert_eq!(world.broker.sessions(), 1);
            world.pass(Duration::from_millis(1));
        }
        assert_eq!(world.broker.sessions(), 0);
    }
    for version in [Version::V3_1, Version::V3_1_1] {
        let mut world = World::new(quiet());
        let client = world.connect_with(&wire::lasting(version, "a"));
        world.hang_up(client);
        world.pass(30 * DAY - Duration::from_millis(1));
        assert_eq!(world.broker.sessions(), 1);
        world.pass(Duration::from_millis(1));
        assert_eq!(world.broker.sessions(), 0);
    }
}

#[test]
fn without_a_maximum_a_session_that_never_ends_never_ends() {
    let mut world = World::new(Config {
        max_session_expiry: None,
        ..quiet()
    });
    let (client, connack) = world.connack(&expiring("a", u32::MAX));
    assert_eq!(connack.property(id::SESSION_EXPIRY_INTERVAL), None);
    let old = world.connect_with(&wire::lasting(Version::V3_1_1, "b"));
    let second_to_last = world.connect_with(&expiring("c", u32::MAX - 1));
    for client in [client, old, second_to_last] {
        world.hang_up(client);
    }
    world.pass(Duration::from_secs(u32::MAX.into()));
    assert_eq!(world.broker.sessions(), 2, "136 years are not for ever");
    world.pass(100_000 * DAY);
    world.resume(&expiring("a", u32::MAX));
    world.resume(&wire::lasting(Version::V3_1_1, "b"));
}

#[test]
fn disconnect_may_shorten_and_lengthen_the_expiry() {
    // Section 3.14.2.2.2
    for (seconds, lasts) in [(0, 0), (10, 10), (7200, 7200), (u32::MAX, 30 * 86_400)] {
        let mut world = World::new(quiet());
        let client = world.connect_with(&expiring("a", 3600));
        world.send(client, wire::disconnect_with(0, &expiry(seconds)));
        world.expect_nothing(client);
        if lasts > 0 {
            world.pass(Duration::from_secs(lasts) - Duration::from_millis(1));
            assert_eq!(world.broker.sessions(), 1);
            world.pass(Duration::from_millis(1));
        }
        assert_eq!(world.broker.sessions(), 0);
    }
}

#[test]
fn disconnect_must_not_give_a_session_an_expiry_that_it_was_born_without() {
    // Section 3.14.2.2.2: a protocol error, and the session ends as it was to.
    for connect in [
        wire::connect(Version::V5).client_id("a").clean(false),
        wire::connect(Version::V5).client_id("a"),
        expiring("a", 0),
    ] {
        let mut world = World::default();
        let client = world.connect_with(&connect);
        world.send(client, wire::disconnect_with(0, &expiry(1)));
        world.expect_end(client, 0x82);
        assert_eq!(world.broker.sessions(), 0);
        let client = world.connect_with(&connect);
        world.send(client, wire::disconnect_with(0, &expiry(0)));
        world.expect_nothing(client);
        assert_eq!(world.causes().last().unwrap(), "it said DISCONNECT");
    }
}

#[test]
fn a_takeover_hands_the_session_over_whole() {
    // [MQTT-3.1.4-3]: the old connection is told, the new one has all that there was.
    for old_version in Version::ALL {
        for new_version in Version::ALL {
            let mut world = World::default();
            let publisher = world.connect(Version::V5, "publisher");
            let old = world.connect_with(&wire::lasting(old_version, "a"));
            world.subscribe(old, "t", 2);
            world.publish_at(old, 2, 7, "own", "held");
            world.expect_ack(old, kind::PUBREC);
            world.publish_released(publisher, "t", "x");
            let before = world.expect_message(old);
            let new = world.resume(&wire::lasting(new_version, "a"));
            world.expect_end(old, 0x8e);
            let again = world.expect_message(new);
            assert_eq!((again.dup, again.packet_id), (true, before.packet_id));
            world.acknowledge(new, &again);
            world.ack(new, kind::PUBREL, 7);
            assert_eq!(world.expect_reason(new, kind::PUBCOMP, 7), 0);
            world.publish_acked(publisher, "t", "y");
            assert_eq!(world.drain_texts(new), ["y"]);
            assert_eq!(world.broker.sessions(), 2);
        }
    }
}

#[test]
fn a_session_that_ends_with_its_connection_ends_at_a_takeover_too() {
    // [MQTT-3.1.2-6] of 3.1.1: what belongs to a clean session is never used again. In MQTT 5 it is
    // the expiry of 0 that says so (section 3.1.2.11.2).
    for connect in [
        wire::connect(Version::V3_1).client_id("a"),
        wire::connect(Version::V3_1_1).client_id("a"),
        wire::connect(Version::V5).client_id("a"),
        expiring("a", 0),
    ] {
        let mut world = World::default();
        let publisher = world.connect(Version::V5, "publisher");
        let will = wire::Will {
            properties: Properties::new().with(id::WILL_DELAY_INTERVAL, Value::Four(60)),
            ..wire::Will::new("will", "gone")
        };
        let old = world.connect_with(&connect.will(will));
        world.subscribe(old, "t", 1);
        world.subscribe(publisher, "will", 0);
        let new = world.connect_with(&expiring("a", 60));
        world.expect_end(old, 0x8e);
        assert_eq!(world.drain_texts(publisher), ["gone"]);
        assert_eq!(world.publish_acked(publisher, "t", "x"), 0x10);
        world.expect_nothing(new);
    }
}

#[test]
fn a_takeover_with_a_clean_start_leaves_nothing_of_the_old_session() {
    for version in Version::ALL {
        let mut world = World::default();
        let publisher = world.connect(Version::V5, "publisher");
        let old = world.connect_with(&wire::lasting(version, "a"));
        world.subscribe(old, "t", 1);
        world.publish_acked(publisher, "t", "x");
        world.expect_message(old);
        let new = world.connect(version, "a");
        world.expect_end(old, 0x8e);
        world.expect_nothing(new);
        assert_eq!(world.publish_acked(publisher, "t", "x"), 0x10);
        assert_eq!(
            (world.broker.sessions(), world.broker.subscriptions()),
            (2, 0)
        );
    }
}

#[test]
fn the_end_of_an_old_connection_does_not_touch_the_session_that_was_taken_over() {
    let mut world = World::new(quiet());
    let publisher = world.connect(Version::V5, "publisher");
    let old = world.connect_with(&expiring("a", 1));
    world.subscribe(old, "t", 1);
    world.take_only(old, 0);
    let new = world.resume(&expiring("a", 1));
    world.hang_up(old);
    world.pass(HOUR);
    world.publish_acked(publisher, "t", "x");
    assert_eq!(world.drain_texts(new), ["x"]);
}

#[test]
fn sessions_are_bounded_and_who_has_one_is_let_in() {
    let mut world = World::new(Config {
        max_sessions: 2,
        ..quiet()
    });
    let a = world.connect_with(&expiring("a", 100));
    world.hang_up(a);
    let b = world.connect(Version::V3_1_1, "b");
    for version in Version::ALL {
        for clean in [true, false] {
            let connect = wire::connect(version).client_id("c").clean(clean);
            let (client, connack) = world.try_connect(&connect);
            let code = if version.is_v5() { 0x97 } else { 3 };
            assert_eq!((connack.code, connack.session_present), (code, false));
            assert!(world.is_closed(client));
        }
    }
    assert_eq!(world.broker.sessions(), 2);
    let a = world.resume(&expiring("a", 100));
    world.hang_up(a);
    // A clean start takes its own place.
    let a = world.connect_with(&expiring("a", 100).clean(true));
    let b_again = world.connect(Version::V3_1_1, "b");
    world.expect_end(b, 0x8e);
    world.hang_up(b_again);
    world.connect(Version::V5, "c");
    world.hang_up(a);
    let (_, connack) = world.try_connect(&wire::connect(Version::V5).client_id("d"));
    assert_eq!(connack.code, 0x97);
    world.pass(Duration::from_secs(100));
    world.connect(Version::V5, "d");
}

#[test]
fn qos_0_waits_for_an_absent_client_only_where_it_is_configured_to() {
    for queue_qos0 in [false, true] {
        for version in Version::ALL {
            let mut world = World::new(Config {
                queue_qos0,
                ..Config::default()
            });
            let publisher = world.connect(version, "publisher");
            let client = world.connect_with(&wire::lasting(version, "a"));
            world.subscribe(client, "zero", 0);
            world.subscribe(client, "one", 1);
            world.hang_up(client);
            world.publish(publisher, "one", "0 to 1");
            world.publish_acked(publisher, "one", "1 to 1");
            world.publish_acked(publisher, "zero", "1 to 0");
            let client = world.resume(&wire::lasting(version, "a"));
            let got = world.drain(client);
            let got: Vec<_> = got.iter().map(|m| (m.qos, &m.payload[..])).collect();
            if queue_qos0 {
                let all: [(u8, &[u8]); 3] = [(0, b"0 to 1"), (1, b"1 to 1"), (0, b"1 to 0")];
                assert_eq!(got, all);
            } else {
                assert_eq!(got, [(1, &b"1 to 1"[..])]);
            }
        }
    }
}

#[test]
fn a_message_is_queued_for_everyone_who_is_absent_and_each_takes_its_own() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let name = |n: usize| format!("c{n}");
    for n in 0..50 {
        let client = world.connect_with(&wire::lasting(Version::ALL[n % 3], &name(n)));
        world.subscribe(client, "t", [1, 2][n % 2]);
        world.hang_up(client);
    }
    world.publish_released(publisher, "t", "x");
    for n in 0..50 {
        let client = world.resume(&wire::lasting(Version::ALL[(n + 1) % 3], &name(n)));
        let got = world.drain(client);
        assert_eq!((got.len(), got[0].qos), (1, [1, 2][n % 2]));
    }
}

#[test]
fn unsubscribing_ends_what_comes_but_not_what_was_taken_on() {
    // [MQTT-3.10.4-3]: what is on its way is seen through; what waits may come.
    for version in Version::ALL {
        for qos in [1, 2] {
            let mut world = World::default();
            let publisher = world.connect(Version::V5, "publisher");
            let client = world.connect_with(&wire::lasting(version, "a"));
            world.subscribe(client, "t", qos);
            world.publish_released(publisher, "t", "on its way");
            let first = world.expect_message(client);
            world.unsubscribe(client, "t");
            assert_eq!(world.publish_released(publisher, "t", "too late"), 0x10);
            world.hang_up(client);
            let client = world.resume(&wire::lasting(version, "a"));
            let again = world.expect_message(client);
            assert_eq!(again.packet_id, first.packet_id);
            world.acknowledge(client, &again);
            world.expect_nothing(client);
        }
    }
}

#[test]
fn assigned_identifiers_can_be_resumed() {
    // [MQTT-3.2.2-16]
    let mut world = World::default();
    let (client, connack) = world.connack(&expiring("", 60));
    let Some(Value::Text(name)) = connack.property(id::ASSIGNED_CLIENT_IDENTIFIER).cloned() else {
        panic!("{connack:?}")
    };
    world.subscribe(client, "t", 1);
    world.hang_up(client);
    world.resume(&expiring(&name, 60));
}

#[test]
fn nothing_is_left_of_sessions_that_have_expired() {
    let mut world = World::new(quiet());
    let publisher = world.connect(Version::V5, "publisher");
    for n in 0..100 {
        let client = world.connect_with(&expiring(&format!("c{n}"), 1 + n));
        world.subscribe(client, "t", 2);
        world.publish_at(client, 2, 7, "t", &"x".repeat(1000));
        world.hang_up(client);
    }
    world.pass(Duration::from_secs(100));
    world.hang_up(publisher);
    assert_eq!(
        (world.broker.sessions(), world.broker.subscriptions()),
        (0, 0)
    );
    world.pass(HOUR);
    assert_eq!(world.broker.next_deadline(), None, "nobody is waited for");
}

#[test]
fn a_client_that_is_closed_for_not_reading_finds_its_messages_when_it_is_back() {
    // A20, A24: the write time-out ends the connection, not the session.
    for version in Version::ALL {
        let mut world = World::new(Config {
            outbox_limit: 3000,
            ..quiet()
        });
        let publisher = world.connect(Version::V5, "publisher");
        let client = world.connect_with(&wire::lasting(version, "a"));
        world.subscribe(client, "t", 1);
        world.take_only(client, 100);
        let texts: Vec<String> = (0..20).map(|n| format!("{n}{}", "x".repeat(500))).collect();
        for text in &texts {
            assert_eq!(world.publish_acked(publisher, "t", text), 0);
        }
        world.pass(Duration::from_secs(30));
        assert!(world.is_aborted(client));
        let client = world.resume(&wire::lasting(version, "a"));
        assert!(world.drain_texts(client) == texts);
        assert_eq!(world.dropped(), 0);
    }
}

#[test]
fn a_connection_that_is_refused_touches_no_session() {
    // [MQTT-3.1.4-2]: whoever is not let in neither takes over nor discards.
    use wherry_core::packet::ReasonCode;
    use wherry_core::permission::Grant;
    use wherry_tests::scenario::Admission;
    let mut world = World::default();
    let client = world.connect_with(&wire::lasting(Version::V5, "a"));
    world.subscribe(client, "t", 1);
    world.hang_up(client);
    world.admission = Admission::Later;
    for clean in [true, false] {
        let impostor = world.dial(Version::V5);
        let connect = wire::lasting(Version::V5, "a").clean(clean);
        world.send(impostor, connect.bytes());
        world
            .broker
            .refuse(world.id(impostor), ReasonCode::NotAuthorized);
        world.settle();
        let connack = world.expect(impostor, kind::CONNACK).connack(Version::V5);
        assert_eq!((connack.code, connack.session_present), (0x87, false));
    }
    world.admission = Admission::Everyone(Grant::unrestricted());
    let publisher = world.connect(Version::V5, "publisher");
    world.publish_acked(publisher, "t", "x");
    let client = world.resume(&wire::lasting(Version::V5, "a"));
    assert_eq!(world.drain_texts(client), ["x"]);
}
