//! Enhanced authentication of a client that is in already (section 4.12.1).

use std::time::Duration;

use proptest::prelude::*;
use wherry_core::connection::{Closed, ConnectionId, Origin, Transport};
use wherry_core::packet::ReasonCode;
use wherry_core::permission::{Access, Effect, Grant, Rule};
use wherry_core::time::{Instant, WallClock};
use wherry_core::{Broker, Config, EventKind};
use wherry_tests::scenario::{Client, World};
use wherry_tests::wire::{self, Properties, Value, Version, Will, id, kind};

use super::authentication::{
    NONE, admit, auth, auth_by, begin, challenge, examined, expect_auth, proof, refuse, undecided,
};

/// A client that was let in by the method `M`.
fn client(world: &mut World, client_id: &str) -> Client {
    let client = begin(world, client_id, &[]);
    welcome(world, client);
    client
}

#[track_caller]
fn welcome(world: &mut World, client: Client) {
    admit(world, client);
    let connack = world.expect(client, kind::CONNACK).connack(Version::V5);
    assert_eq!(connack.code, 0);
}

/// A client that was let in without a method.
fn plain(world: &mut World, client_id: &str) -> Client {
    let client = world.dial(Version::V5);
    let connect = wire::connect(Version::V5).client_id(client_id);
    world.send(client, connect.bytes());
    welcome(world, client);
    client
}

#[track_caller]
fn expect_end(world: &mut World, client: Client, reason: u8) {
    let disconnect = world.expect(client, kind::DISCONNECT).disconnect();
    assert_eq!(disconnect.reason, reason, "{:#04x}", disconnect.reason);
    world.expect_nothing(client);
    assert!(world.is_closed(client));
}

/// Everything but what is below `secret`.
fn restricted() -> Grant {
    let rule = Rule {
        effect: Effect::Deny,
        access: Access::Both,
        filter: "secret/#".into(),
    };
    Grant::from_rules(vec![rule], Effect::Allow)
}

#[test]
fn a_client_authenticates_again_while_everything_else_goes_on() {
    // [MQTT-4.12.1-1], [MQTT-3.15.2-1]
    let mut world = undecided(Config::default());
    let client = client(&mut world, "a");
    let id = world.id(client);
    world.send(client, auth(0x19, Some(b"1")));
    world.expect_nothing(client);
    let credentials = world.broker.credentials(id).unwrap();
    assert!(credentials.is_renewal);
    assert_eq!(credentials.client_id, "a");
    assert_eq!(
        (credentials.username, credentials.data),
        (None, Some(&b"1"[..]))
    );

    assert!(world.is_read(client));
    world.subscribe(client, "secret/#", 0);
    challenge(&mut world, client, b"2");
    world.publish(client, "secret/a", "meanwhile");
    assert_eq!(world.expect_message(client).payload, b"meanwhile");
    let answer = auth(0x18, Some(b"3"));
    world.send(client, [&answer, &wire::PINGREQ[..]].concat());
    world.expect(client, kind::PINGRESP);
    assert_eq!(examined(&world, client), Some(b"3".to_vec()));

    let grant = Grant::unrestricted();
    world.broker.admit_with(id, grant, Some(b"4"));
    world.settle();
    expect_auth(&mut world, client, 0, Some(b"4"));
    assert!(world.broker.credentials(id).is_none());
    world.publish(client, "secret/a", "afterwards");
    assert_eq!(world.expect_message(client).payload, b"afterwards");
    let is_told = |event: &&wherry_core::Event| matches!(event.kind, EventKind::Reauthenticated);
    let told = world.events.iter().find(is_told).unwrap();
    assert_eq!(told.client_id.as_deref(), Some("a"));

    // And again, for as often as it likes.
    world.send(client, auth(0x19, NONE));
    admit(&mut world, client);
    expect_auth(&mut world, client, 0, NONE);
}

#[test]
fn a_grant_that_allows_less_holds_from_the_moment_of_success() {
    let mut world = undecided(Config::default());
    let free = plain(&mut world, "free");
    world.subscribe(free, "#", 0);
    let client = begin(&mut world, "a", &[]);
    welcome(&mut world, client);
    world.subscribe(client, "secret/+", 0);
    world.subscribe(client, "open/+", 0);
    world.send(client, auth(0x19, NONE));
    world.publish(free, "secret/a", "1");
    assert_eq!(world.messages(client).len(), 1, "under the old grant still");

    let id = world.id(client);
    world.broker.admit(id, restricted());
    world.publish(free, "secret/a", "2");
    world.publish(free, "open/a", "3");
    expect_auth(&mut world, client, 0, NONE);
    let got = world.messages(client);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].topic, "open/a");
    world.messages(free);
    world.publish(client, "secret/a", "4");
    world.expect_nothing(free);
    let filters = [("secret/x", 0)];
    world.send(client, wire::subscribe(Version::V5, 1, &filters));
    let codes = world.expect(client, kind::SUBACK).suback(Version::V5).codes;
    assert_eq!(codes, [0x87]);

    // What is granted again is delivered again: the subscriptions have stayed.
    world.send(client, auth(0x19, NONE));
    admit(&mut world, client);
    expect_auth(&mut world, client, 0, NONE);
    world.publish(free, "secret/a", "5");
    assert_eq!(world.expect_message(client).payload, b"5");
}

#[test]
fn a_message_that_waits_is_not_sent_under_a_grant_that_does_not_allow_it() {
    let mut world = undecided(Config::default());
    let free = plain(&mut world, "free");
    let client = world.dial(Version::V5);
    let properties = proof("M", NONE).with(id::RECEIVE_MAXIMUM, Value::Two(1));
    let connect = wire::connect(Version::V5).client_id("a");
    world.send(client, connect.properties(properties).bytes());
    welcome(&mut world, client);
    world.send(client, wire::subscribe(Version::V5, 1, &[("#", 1)]));
    world.expect(client, kind::SUBACK);
    for (number, topic) in [(1, "open/a"), (2, "secret/a"), (3, "open/b")] {
        let publish = wire::publish(Version::V5, topic, "x").qos(1, number);
        world.send(free, publish.bytes());
    }
    assert_eq!(world.expect_message(client).topic, "open/a");
    world.expect_nothing(client);
    world.send(client, auth(0x19, NONE));
    world.broker.admit(world.id(client), restricted());
    world.settle();
    expect_auth(&mut world, client, 0, NONE);
    world.send(client, [0x40, 2, 0, 1]); // PUBACK
    assert_eq!(world.expect_message(client).topic, "open/b");
    assert_eq!(world.broker.counters().dropped_not_permitted, 1);
}

#[test]
fn a_client_that_fails_is_disconnected_with_a_reason_that_disconnect_has() {
    // [MQTT-4.12.1-2], [MQTT-3.14.2-1]
    for (reason, told) in [
        (ReasonCode::NotAuthorized, 0x87),
        (ReasonCode::QuotaExceeded, 0x97),
        (ReasonCode::BadUserNameOrPassword, 0x87),
        (ReasonCode::Banned, 0x87),
        (ReasonCode::ServerUnavailable, 0x89),
        (ReasonCode::DisconnectWithWillMessage, 0x87),
    ] {
        for challenges in 0..2 {
            let mut world = undecided(Config::default());
            let watcher = plain(&mut world, "watcher");
            world.subscribe(watcher, "#", 0);
            let client = world.dial(Version::V5);
            let connect = super::authentication::connect("a", NONE).will(Will::new("w", "gone"));
            world.send(client, connect.bytes());
            welcome(&mut world, client);
            world.send(client, auth(0x19, NONE));
            for _ in 0..challenges {
                challenge(&mut world, client, b"who?");
                world.send(client, auth(0x18, NONE));
            }
            refuse(&mut world, client, reason);
            expect_end(&mut world, client, told);
            assert_eq!(world.expect_message(watcher).topic, "w");
            assert_eq!(world.broker.counters().ended_refused, 1);
        }
    }
}

#[test]
fn an_auth_that_breaks_a_rule_ends_the_connection_and_its_repaired_twin_does_not() {
    type Prepare = fn(&mut World, Client);
    let idle: Prepare = |_, _| {};
    let challenged: Prepare = |world, client| {
        world.send(client, auth(0x19, NONE));
        challenge(world, client, b"who?");
    };
    for (prepare, wrong, right) in [
        // [MQTT-4.12.1-1]
        (idle, auth_by("N", 0x19, NONE), auth(0x19, NONE)),
        (idle, auth(0x18, NONE), auth(0x19, NONE)),
        // A second one while the first is under way.
        (challenged, auth(0x19, NONE), auth(0x18, NONE)),
        // [MQTT-4.12.0-5]
        (challenged, auth_by("N", 0x18, NONE), auth(0x18, NONE)),
    ] {
        let mut world = undecided(Config::default());
        let (bad, good) = (client(&mut world, "a"), client(&mut world, "b"));
        for (client, packet) in [(bad, wrong), (good, right)] {
            prepare(&mut world, client);
            world.send(client, packet);
        }
        expect_end(&mut world, bad, 0x82);
        assert!(world.broker.credentials(world.id(bad)).is_none());
        admit(&mut world, good);
        expect_auth(&mut world, good, 0, NONE);
    }
    // [MQTT-4.12.0-7] Whoever named no method has none to name.
    let mut world = undecided(Config::default());
    let client = plain(&mut world, "a");
    world.send(client, auth(0x19, NONE));
    expect_end(&mut world, client, 0x82);
}

#[test]
fn a_next_auth_waits_for_the_verdict_and_what_follows_it_waits_too() {
    let mut world = undecided(Config::default());
    let client = client(&mut world, "a");
    let bytes = [auth(0x19, Some(b"1")), wire::PINGREQ.to_vec()].concat();
    let next = [auth(0x18, Some(b"2")), wire::PINGREQ.to_vec()].concat();
    world.send(client, [bytes, next].concat());
    world.expect(client, kind::PINGRESP);
    world.expect_nothing(client);
    assert!(!world.is_read(client));
    assert_eq!(examined(&world, client), Some(b"1".to_vec()));
    challenge_in_between(&mut world, client);
    assert!(world.is_read(client));
    assert_eq!(examined(&world, client), Some(b"2".to_vec()));

    // After success it begins anew; after a challenge it is no answer.
    world.send(client, auth(0x19, Some(b"3")));
    admit(&mut world, client);
    expect_auth(&mut world, client, 0, NONE);
    assert_eq!(examined(&world, client), Some(b"3".to_vec()));
    world.send(client, auth(0x19, Some(b"4")));
    world.broker.challenge(world.id(client), None);
    world.settle();
    expect_auth(&mut world, client, 0x18, NONE);
    expect_end(&mut world, client, 0x82);
}

/// The client is challenged, and its answer and a PINGREQ are there already.
fn challenge_in_between(world: &mut World, client: Client) {
    world.broker.challenge(world.id(client), None);
    world.settle();
    expect_auth(world, client, 0x18, NONE);
    world.expect(client, kind::PINGRESP);
}

#[test]
fn an_exchange_one_byte_at_a_time_is_the_same() {
    let mut received = Vec::new();
    for size in [1, 2, 3, usize::MAX] {
        let mut world = undecided(Config::default());
        let client = client(&mut world, "a");
        world.send_in_pieces(client, auth(0x19, Some(b"1")), size);
        world.broker.challenge(world.id(client), Some(b"2"));
        world.settle();
        world.send_in_pieces(client, auth(0x18, Some(b"3")), size);
        world.send_in_pieces(client, auth(0x19, Some(b"4")), size);
        admit(&mut world, client);
        admit(&mut world, client);
        world.send_in_pieces(client, wire::PINGREQ, size);
        received.push(world.received(client).to_vec());
    }
    let expected = [
        auth(0x18, Some(b"2")),
        auth(0, NONE),
        auth(0, NONE),
        vec![0xd0, 0],
    ];
    for received in received {
        assert_eq!(received, expected.concat());
    }
}

#[test]
fn an_examination_and_an_answer_have_their_time() {
    let mut world = undecided(Config {
        max_auth_rounds: 1000,
        ..Config::default()
    });
    let names = ["a", "b", "c", "d", "e"];
    let [waiting, silent, slow, done, idle] = names.map(|name| client(&mut world, name));
    world.pass(Duration::from_secs(100));
    for client in [waiting, silent, slow, done] {
        world.send(client, auth(0x19, NONE));
    }
    challenge(&mut world, silent, b"who?");
    admit(&mut world, done);
    expect_auth(&mut world, done, 0, NONE);
    for second in 0..40 {
        assert_eq!(world.is_closed(silent), second >= 10, "{second}");
        assert_eq!(world.is_closed(waiting), second >= 30, "{second}");
        challenge(&mut world, slow, b"who?");
        world.send(slow, auth(0x18, NONE));
        world.pass(Duration::from_secs(1));
    }
    expect_end(&mut world, silent, 0x87);
    expect_end(&mut world, waiting, 0x89);
    expect_end(&mut world, slow, 0x89);
    assert_eq!(world.broker.counters().ended_challenge_timeout, 1);
    world.pass(Duration::from_secs(1000));
    assert!(!world.is_closed(done) && !world.is_closed(idle));
}

#[test]
fn rounds_and_room_are_bounded_as_in_the_first_exchange() {
    let mut world = undecided(Config {
        max_auth_rounds: 1,
        ..Config::default()
    });
    let often = client(&mut world, "a");
    for _ in 0..3 {
        // Each exchange counts for itself.
        world.send(often, auth(0x19, NONE));
        challenge(&mut world, often, b"who?");
        world.send(often, auth(0x18, NONE));
        admit(&mut world, often);
        expect_auth(&mut world, often, 0, NONE);
    }
    world.send(often, auth(0x19, NONE));
    challenge(&mut world, often, b"who?");
    world.send(often, auth(0x18, NONE));
    world.broker.challenge(world.id(often), None);
    world.settle();
    expect_end(&mut world, often, 0x97);

    for (len, fits) in [(39, true), (40, false)] {
        let tight = world.dial(Version::V5);
        let properties = proof("M", NONE).with(id::MAXIMUM_PACKET_SIZE, Value::Four(50));
        let connect = wire::connect(Version::V5).client_id("b");
        world.send(tight, connect.properties(properties).bytes());
        welcome(&mut world, tight);
        world.send(tight, auth(0x19, NONE));
        let (id, data) = (world.id(tight), vec![b'x'; len]);
        world.broker.admit_with(id, restricted(), Some(&data));
        world.settle();
        if fits {
            expect_auth(&mut world, tight, 0, Some(&data));
        } else {
            expect_end(&mut world, tight, 0x95);
        }
    }
}

#[test]
fn a_verdict_on_a_client_that_is_taken_over_counts_for_nothing() {
    let mut world = undecided(Config::default());
    let old = client(&mut world, "a");
    world.send(old, auth(0x19, NONE));
    let new = begin(&mut world, "a", &[]);
    welcome(&mut world, new);
    world.broker.admit(world.id(old), restricted());
    world.settle();
    expect_end(&mut world, old, 0x8e);
    world.subscribe(new, "secret/a", 0);
    world.publish(new, "secret/a", "still free");
    assert_eq!(world.messages(new).len(), 1);

    world.send(new, auth(0x19, NONE));
    world.hang_up(new);
    let stale = world.broker.counters().stale_handles;
    world.broker.admit(world.id(new), restricted());
    assert_eq!(world.broker.counters().stale_handles, stale + 1);
    assert_eq!(
        (world.broker.connections(), world.broker.sessions()),
        (0, 0)
    );
}

/// What may happen to one of two connections with the same client identifier.
#[derive(Clone, Debug)]
enum Call {
    Connect,
    Auth { reason: u8, other: bool, cut: usize },
    Ping,
    Admit,
    Challenge(usize),
    Refuse,
    Pass(u64),
    Closed,
}

fn call() -> impl Strategy<Value = (usize, Call)> {
    let auth = (0x17_u8..0x1a, 0_u8..9, 1_usize..12).prop_map(|(reason, other, cut)| Call::Auth {
        reason,
        other: other == 0,
        cut,
    });
    let call = prop_oneof![
        3 => Just(Call::Connect),
        12 => auth,
        3 => Just(Call::Ping),
        6 => Just(Call::Admit),
        8 => (0_usize..60).prop_map(Call::Challenge),
        1 => Just(Call::Refuse),
        2 => (0_u64..15_000).prop_map(Call::Pass),
        1 => Just(Call::Closed),
    ];
    (0_usize..2, call)
}

fn run(calls: &[(usize, Call)]) {
    let mut now = Instant::from_millis(0);
    let config = Config {
        max_auth_rounds: 3,
        ..Config::default()
    };
    let mut broker = Broker::new(config, 1, now, WallClock::from_unix_millis(0));
    let mut ids = [ConnectionId::default(); 2];
    let room = Properties::new().with(id::MAXIMUM_PACKET_SIZE, Value::Four(60));
    let properties = Properties([proof("M", Some(b"hi")).0, room.0].concat());
    let connect = wire::connect(Version::V5).client_id("a");
    let connect = connect.properties(properties).bytes();
    for (at, call) in calls {
        let id = ids[*at];
        match call {
            Call::Connect => {
                let origin = Origin {
                    listener: 0,
                    transport: Transport::Tcp,
                    remote: None,
                    local: None,
                };
                ids[*at] = broker.open(origin).unwrap();
                broker.received(ids[*at], &connect);
            }
            Call::Auth { reason, other, cut } => {
                let bytes = auth_by(if *other { "N" } else { "M" }, *reason, Some(b"x"));
                bytes
                    .chunks(*cut)
                    .for_each(|piece| broker.received(id, piece));
            }
            Call::Ping => broker.received(id, &wire::PINGREQ),
            Call::Admit => broker.admit_with(id, Grant::unrestricted(), Some(b"in")),
            Call::Challenge(len) => broker.challenge(id, Some(&vec![0; *len])),
            Call::Refuse => broker.refuse(id, ReasonCode::NotAuthorized),
            Call::Pass(millis) => {
                now = now.after(Duration::from_millis(*millis));
                broker.advance(now);
            }
            Call::Closed => broker.closed(id, Closed::EndOfStream),
        }
        while broker.poll_action().is_some() {}
        for id in ids {
            let waiting = broker.outbox_len(id);
            broker.sent(id, waiting);
        }
        assert!(broker.sessions() <= 1);
    }
    // Whatever is under way has an end.
    for _ in 0..3 {
        now = now.after(Duration::from_secs(60));
        broker.advance(now);
        assert!(ids.iter().all(|id| broker.credentials(*id).is_none()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_packets_and_answers_breaks_an_exchange(
        calls in prop::collection::vec(call(), 0..100),
    ) {
        run(&calls);
    }
}
