//! What is acknowledged survives a crash, and nothing is acknowledged before it does.

use std::time::Duration;

use wherry_core::Config;
use wherry_core::permission::{Access, Effect, Grant, Rule};
use wherry_tests::scenario::{Admission, Client, World, numbers, texts};
use wherry_tests::wire::{self, Connect, Properties, Value, Version, Will, id, kind};

const V: Version = Version::V5;

fn persistent(client_id: &str) -> Connect {
    wire::lasting(V, client_id)
}

/// A world with a durable subscriber of `t` at that QoS, and a publisher without a session.
fn world(qos: u8) -> (World, Client, Client) {
    let mut world = World::durable(Config::default());
    let subscriber = world.connect_with(&persistent("s"));
    world.subscribe(subscriber, "t", qos);
    let publisher = world.connect(V, "p");
    world.hold_commits();
    (world, subscriber, publisher)
}

#[test]
fn an_acknowledgement_waits_for_the_commit_of_what_it_promises() {
    for (qos, answer) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
        let (mut world, subscriber, publisher) = world(2);
        world.hang_up(subscriber);
        world.commit();
        world.publish_at(publisher, qos, 7, "t", "x");
        world.expect_nothing(publisher);
        assert!(world.commit());
        assert_eq!(world.expect_reason(publisher, answer, 7), 0);
        world.crash();
        world.commit_all();
        let subscriber = world.resume(&persistent("s"));
        assert_eq!(world.drain_texts(subscriber), ["x"], "QoS {qos}");
    }
}

#[test]
fn what_was_not_committed_was_not_acknowledged_and_is_gone() {
    let (mut world, subscriber, publisher) = world(1);
    world.hang_up(subscriber);
    world.commit();
    world.publish_at(publisher, 1, 7, "t", "x");
    world.expect_nothing(publisher);
    world.crash();
    world.commit_all();
    let subscriber = world.resume(&persistent("s"));
    assert!(world.drain(subscriber).is_empty());
}

#[test]
fn a_message_of_qos_1_that_is_acknowledged_in_time_is_never_written() {
    let (mut world, subscriber, publisher) = world(1);
    let before = world.rows.counts();
    for number in 1..=100u16 {
        world.publish_at(publisher, 1, number, "t", "x");
        let message = world.expect_message(subscriber);
        world.expect_nothing(publisher);
        world.acknowledge(subscriber, &message);
        assert_eq!(world.expect_reason(publisher, kind::PUBACK, number), 0);
    }
    assert!(!world.is_at_store());
    world.commit_all();
    assert_eq!(world.rows.counts(), before);
    assert_eq!(world.broker.counters().deliveries_written, 0);
}

#[test]
fn a_message_that_lingers_too_long_takes_no_younger_one_with_it() {
    let (mut world, slow, publisher) = world(1);
    world.commit_all();
    let prompt = world.connect_with(&persistent("prompt"));
    world.subscribe(prompt, "prompt", 1);
    world.commit_all(); // That nothing is retained for it is written, too.
    world.publish_at(publisher, 1, 1, "t", "x");
    let held = world.expect_message(slow);
    world.expect_nothing(publisher);
    let other = world.connect(V, "other");
    for number in 1..=100u16 {
        world.publish_at(other, 1, number, "prompt", "x");
        let message = world.expect_message(prompt);
        world.pass(Duration::from_millis(1));
        world.acknowledge(prompt, &message);
        assert_eq!(world.expect_reason(other, kind::PUBACK, number), 0);
        // It lingers for ten milliseconds, and a quarter more for what came beside it.
        match number {
            ..12 => world.expect_nothing(publisher),
            12 => assert_eq!(world.expect_reason(publisher, kind::PUBACK, 1), 0),
            _ => {}
        }
    }
    world.acknowledge(slow, &held);
    assert_eq!(world.broker.counters().deliveries_written, 1);
}

#[test]
fn a_message_that_is_not_acknowledged_in_time_is_written_and_deleted() {
    let (mut world, subscriber, publisher) = world(1);
    world.publish_at(publisher, 1, 1, "t", "x");
    let message = world.expect_message(subscriber);
    world.pass(Duration::from_millis(10));
    assert!(world.commit());
    assert_eq!(world.expect_reason(publisher, kind::PUBACK, 1), 0);
    assert_eq!(world.rows.counts()[2..4], [1, 1]);
    world.acknowledge(subscriber, &message);
    world.commit_all();
    assert_eq!(world.rows.counts()[2..4], [0, 0]);
    assert!(!world.rows.has_strays());
}

#[test]
fn a_record_is_not_skipped_over_an_older_one() {
    let (mut world, subscriber, publisher) = world(1);
    world.publish_at(publisher, 1, 1, "t", "old");
    let old = world.expect_message(subscriber);
    world.pass(Duration::from_millis(10));
    assert!(world.commit());
    assert_eq!(world.expect_reason(publisher, kind::PUBACK, 1), 0);
    // The old one is deleted, but a crash would bring it back, and after it nothing newer.
    world.acknowledge(subscriber, &old);
    world.publish_at(publisher, 1, 2, "t", "new");
    let new = world.expect_message(subscriber);
    world.acknowledge(subscriber, &new);
    world.expect_nothing(publisher);
    world.pass(Duration::from_millis(10));
    assert!(world.commit());
    assert_eq!(world.expect_reason(publisher, kind::PUBACK, 2), 0);
    assert_eq!(world.rows.counts()[2..4], [0, 0]);
}

#[test]
fn qos_2_is_sent_under_an_identifier_that_a_crash_does_not_forget() {
    let (mut world, subscriber, publisher) = world(2);
    world.publish_at(publisher, 2, 1, "t", "x");
    world.expect_nothing(subscriber);
    assert!(world.commit());
    let message = world.expect_message(subscriber);
    assert_eq!((message.qos, message.dup), (2, false));
    world.crash();
    world.commit_all();
    let subscriber = world.resume(&persistent("s"));
    let again = world.expect_message(subscriber);
    assert_eq!((again.packet_id, again.dup), (message.packet_id, true));
    world.acknowledge(subscriber, &again);
}

#[test]
fn a_release_is_asked_for_only_once_the_store_knows_that_it_may_be() {
    let (mut world, subscriber, publisher) = world(2);
    world.publish_at(publisher, 2, 1, "t", "x");
    world.commit();
    let packet_id = world.expect_message(subscriber).packet_id.unwrap();
    world.ack(subscriber, kind::PUBREC, packet_id);
    world.expect_nothing(subscriber);
    assert!(world.commit());
    assert_eq!(world.expect_reason(subscriber, kind::PUBREL, packet_id), 0);
    world.crash();
    world.commit_all();
    let subscriber = world.resume(&persistent("s"));
    assert_eq!(world.expect_reason(subscriber, kind::PUBREL, packet_id), 0);
    world.ack(subscriber, kind::PUBCOMP, packet_id);
    world.commit_all();
    assert_eq!(world.rows.counts()[2..4], [0, 0]);
}

#[test]
fn a_qos_2_message_is_known_after_a_crash_until_its_release_is_committed() {
    let mut world = World::durable(Config::default());
    let publisher = world.connect_with(&persistent("p"));
    let subscriber = world.connect_with(&persistent("s"));
    world.subscribe(subscriber, "t", 1);
    world.publish_at(publisher, 2, 9, "t", "x");
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 9), 0);
    world.crash();
    let publisher = world.resume(&persistent("p"));
    let again = wire::publish(V, "t", "x").qos(2, 9).dup();
    world.send(publisher, again.bytes());
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 9), 0);
    world.hold_commits();
    world.ack(publisher, kind::PUBREL, 9);
    world.expect_nothing(publisher);
    world.commit();
    assert_eq!(world.expect_reason(publisher, kind::PUBCOMP, 9), 0);
    world.crash();
    world.commit_all();
    let publisher = world.resume(&persistent("p"));
    world.publish_at(publisher, 2, 9, "t", "y");
    assert_eq!(world.expect_reason(publisher, kind::PUBREC, 9), 0);
    let subscriber = world.resume(&persistent("s"));
    assert_eq!(world.drain_texts(subscriber), ["x", "y"]);
}

#[test]
fn connack_suback_and_unsuback_wait_for_what_they_assert() {
    let mut world = World::durable(Config::default());
    world.hold_commits();
    let client = world.dial(V);
    world.send(client, persistent("s").bytes());
    world.expect_nothing(client);
    assert!(world.commit());
    assert!(
        !world
            .expect(client, kind::CONNACK)
            .connack(V)
            .session_present
    );
    world.send(client, wire::subscribe(V, 5, &[("t", 1)]));
    world.expect_nothing(client);
    assert!(world.commit());
    world.expect(client, kind::SUBACK);
    assert_eq!(world.rows.counts()[..2], [1, 1]);
    world.send(client, wire::unsubscribe(V, 6, &["t"]));
    world.expect_nothing(client);
    assert!(world.commit());
    world.expect(client, kind::UNSUBACK);
    assert_eq!(world.rows.counts()[..2], [1, 0]);
}

#[test]
fn connack_waits_for_a_row_that_the_end_of_the_last_connection_has_noted() {
    let mut world = World::durable(Config::default());
    let connect = wire::connect(V).client_id("s").clean(false);
    let expiring = |seconds| {
        let connect = connect.clone();
        connect.with(id::SESSION_EXPIRY_INTERVAL, Value::Four(seconds))
    };
    let old = world.connect_with(&expiring(10));
    world.hold_commits();
    let busy = world.dial(V); // The store is busy with this one.
    world.send(busy, persistent("busy").bytes());
    world.hang_up(old);
    let new = world.dial(V);
    world.send(new, expiring(100).bytes());
    assert!(world.commit());
    world.expect(busy, kind::CONNACK);
    world.expect_nothing(new);
    assert!(world.commit());
    assert!(world.expect(new, kind::CONNACK).connack(V).session_present);
    // What it was told holds.
    world.crash();
    world.commit_all();
    world.pass(Duration::from_secs(50));
    world.resume(&expiring(100));
}

#[test]
fn who_hears_that_there_is_no_session_hears_it_once_the_old_one_cannot_come_back() {
    // [MQTT-3.2.2-3]: the old session was ended by a connection that never heard of it.
    let mut world = World::durable(Config::default());
    let old = world.connect_with(&persistent("s"));
    world.hang_up(old);
    world.hold_commits();
    let connect = wire::connect(V).client_id("s");
    let first = world.dial(V);
    world.send(first, connect.bytes());
    world.expect_nothing(first);
    world.hang_up(first);
    let second = world.dial(V);
    world.send(second, connect.clean(false).bytes());
    world.expect_nothing(second);
    while world.commit() {}
    let connack = world.expect(second, kind::CONNACK).connack(V);
    assert!(!connack.session_present);
    world.crash();
    world.commit_all();
    world.connect_with(&persistent("s"));
}

#[test]
fn a_clean_start_is_told_once_the_old_session_cannot_come_back() {
    let mut world = World::durable(Config::default());
    let old = world.connect_with(&persistent("s"));
    world.subscribe(old, "t", 1);
    world.hang_up(old);
    world.hold_commits();
    let new = world.dial(V);
    world.send(new, wire::connect(V).client_id("s").bytes());
    world.expect_nothing(new);
    assert!(world.commit());
    assert!(!world.expect(new, kind::CONNACK).connack(V).session_present);
    assert_eq!(world.rows.counts(), [0; 5]);
}

#[test]
fn who_needs_no_store_does_not_wait_for_it() {
    let mut world = World::durable(Config::default());
    world.hold_commits();
    let client = world.connect(V, "c");
    world.subscribe(client, "t", 2);
    assert_eq!(world.publish_acked(client, "t", "x"), 0);
    assert_eq!(world.drain_texts(client), ["x"]);
    assert!(!world.is_at_store());
}

#[test]
fn the_answers_to_one_client_keep_their_order() {
    let (mut world, subscriber, publisher) = world(1);
    world.hang_up(subscriber);
    world.commit();
    world.publish_at(publisher, 1, 1, "t", "kept");
    world.publish_at(publisher, 1, 2, "nobody", "x");
    world.send(publisher, wire::packet(kind::PINGREQ << 4, []));
    world.expect(publisher, kind::PINGRESP);
    world.expect_nothing(publisher);
    assert!(world.commit());
    assert_eq!(world.expect_reason(publisher, kind::PUBACK, 1), 0);
    assert_eq!(world.expect_reason(publisher, kind::PUBACK, 2), 0x10);
}

#[test]
fn a_retained_message_is_acknowledged_once_it_is_kept_for_good() {
    let mut world = World::durable(Config::default());
    let client = world.connect(V, "c");
    world.hold_commits();
    for (payload, rows) in [("a", 1), ("b", 1), ("", 0)] {
        let publish = wire::publish(V, "r", payload).retain().qos(1, 3);
        world.send(client, publish.bytes());
        world.expect_nothing(client);
        assert!(world.commit());
        assert_eq!(world.expect_reason(client, kind::PUBACK, 3), 0x10);
        assert_eq!(world.rows.counts()[4], rows);
    }
    world.commit_all();
    world.publish_retained(client, "r", "c");
    world.pass(Duration::from_secs(1));
    world.crash();
    let client = world.connect(V, "c");
    world.subscribe(client, "r", 0);
    let message = world.expect_message(client);
    assert_eq!((&*message.payload, message.retain), (&b"c"[..], true));
}

fn will(name: &str, delay: u32) -> Will {
    Will {
        qos: 1,
        properties: Properties::new().with(id::WILL_DELAY_INTERVAL, Value::Four(delay)),
        ..Will::new(format!("will/{name}"), name)
    }
}

#[test]
fn a_will_of_a_client_that_was_connected_at_a_crash_is_published_after_it() {
    let mut world = World::durable(Config::default());
    let watcher = world.connect_with(&persistent("w"));
    world.subscribe(watcher, "will/+", 1);
    for (name, expiry, delay) in [("a", 0, 0), ("b", 3600, 10), ("c", 5, 10)] {
        let connect = wire::connect(V).client_id(name);
        let connect = connect.with(id::SESSION_EXPIRY_INTERVAL, Value::Four(expiry));
        world.connect_with(&connect.will(will(name, delay)));
    }
    let polite = wire::connect(V).client_id("d").will(will("d", 0));
    let polite = world.connect_with(&polite);
    world.send(polite, wire::disconnect(V, 0));
    world.crash();
    let watcher = world.resume(&persistent("w"));
    assert_eq!(world.drain_texts(watcher), ["a"]);
    world.pass(Duration::from_secs(6));
    assert_eq!(world.drain_texts(watcher), ["c"]);
    world.pass(Duration::from_secs(1));
    world.crash();
    world.pass(Duration::from_secs(11));
    let watcher = world.resume(&persistent("w"));
    assert_eq!(world.drain_texts(watcher), ["b"]);
    world.pass(Duration::from_secs(20));
    assert_eq!(world.rows.counts()[0], 2, "w and b");
    assert!(!world.rows.has_strays());
}

#[test]
fn a_will_that_is_published_at_a_stop_is_not_published_after_it() {
    let mut world = World::durable(Config::default());
    let watcher = world.connect_with(&persistent("w"));
    world.subscribe(watcher, "will/+", 2);
    world.hang_up(watcher);
    // One that waits for its time, and one whose client is there.
    for name in ["absent", "present"] {
        let connect = wire::connect(V).client_id(name).will(will(name, 60));
        let connect = connect.with(id::SESSION_EXPIRY_INTERVAL, Value::Four(3600));
        let client = world.connect_with(&connect);
        if name == "absent" {
            world.hang_up(client);
        }
    }
    world.broker.shut_down();
    world.commit_all();
    world.crash();
    let watcher = world.resume(&persistent("w"));
    let mut wills = world.drain_texts(watcher);
    wills.sort_unstable();
    assert_eq!(wills, ["absent", "present"]);
    world.pass(Duration::from_secs(100));
    assert!(world.drain_texts(watcher).is_empty());
}

#[test]
fn who_may_not_publish_its_will_is_owed_messages_after_a_crash_all_the_same() {
    let mut world = World::durable(Config::default());
    let rule = Rule {
        effect: Effect::Deny,
        access: Access::Publish,
        filter: "will/#".into(),
    };
    world.admission = Admission::Everyone(Grant::from_rules(vec![rule], Effect::Allow));
    let watcher = world.connect_with(&persistent("w"));
    world.subscribe(watcher, "will/+", 1);
    let connect = persistent("s").will(will("s", 0));
    let subscriber = world.connect_with(&connect);
    world.subscribe(subscriber, "t", 1);
    world.crash();
    let publisher = world.connect(V, "p");
    assert_eq!(world.publish_acked(publisher, "t", "x"), 0);
    let subscriber = world.resume(&connect);
    assert_eq!(world.drain_texts(subscriber), ["x"]);
    let watcher = world.resume(&persistent("w"));
    world.expect_nothing(watcher);
}

#[test]
fn what_was_sent_before_a_crash_comes_with_dup_after_the_next_one_too() {
    // [MQTT-3.3.1-1]
    let (mut world, _, publisher) = world(1);
    world.commit_all();
    // Its will is due at the restart, so that its row is written anew.
    let connect = persistent("s").will(will("s", 0));
    let subscriber = world.resume(&connect);
    world.publish_at(publisher, 1, 1, "t", "x");
    assert!(!world.expect_message(subscriber).dup);
    world.pass(Duration::from_secs(1));
    world.crash();
    world.pass(Duration::from_secs(1));
    let publisher = world.connect(V, "p");
    assert_eq!(world.publish_acked(publisher, "t", "y"), 0);
    world.crash();
    let subscriber = world.resume(&connect);
    let again = world.drain(subscriber);
    assert_eq!(texts(&again), ["x", "y"]);
    assert_eq!([again[0].dup, again[1].dup], [true, false]);
}

#[test]
fn sessions_expire_as_they_would_have_without_the_downtime() {
    let mut world = World::durable(Config::default());
    let client = world.connect_with(&persistent("s"));
    world.hang_up(client);
    world.pass(Duration::from_secs(3000));
    world.crash();
    world.pass(Duration::from_secs(599));
    assert_eq!(world.broker.sessions(), 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.broker.sessions(), 0);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.rows.counts(), [0; 5]);
}

#[test]
fn a_session_expires_however_often_the_broker_dies_before() {
    let mut world = World::durable(Config::default());
    world.connect_with(&persistent("s"));
    world.crash();
    for _ in 0..3 {
        world.pass(Duration::from_secs(1000));
        assert_eq!(world.broker.sessions(), 1);
        world.crash();
    }
    world.pass(Duration::from_secs(601));
    assert_eq!(world.broker.sessions(), 0, "an hour after the first crash");
}

#[test]
fn in_flight_and_waiting_messages_come_back_in_order() {
    let mut world = World::durable(Config::default());
    let connect = persistent("s");
    let subscriber = world.connect_with(&connect);
    world.subscribe(subscriber, "t", 2);
    let publisher = world.connect(V, "p");
    for number in 1..=30u16 {
        let qos = 1 + (number % 3 == 0) as u8;
        world.publish_at(publisher, qos, number, "t", &number.to_string());
    }
    world.pass(Duration::from_secs(1));
    // It takes a few, and answers some of them.
    for number in 1..=9 {
        let message = world.expect_message(subscriber);
        assert_eq!(message.payload, number.to_string().as_bytes());
        if number <= 4 {
            let id = message.packet_id.unwrap();
            let kind = [kind::PUBACK, kind::PUBREC][usize::from(message.qos) - 1];
            world.ack(subscriber, kind, id);
        }
    }
    world.pass(Duration::from_secs(1));
    for _ in 0..2 {
        world.crash();
        let subscriber = world.resume(&connect);
        // The third is to be released.
        world.expect_ack(subscriber, kind::PUBREL);
        let messages = world.messages(subscriber);
        assert_eq!(texts(&messages), numbers(5..31));
    }
    world.crash();
    let subscriber = world.resume(&connect);
    assert_eq!(world.drain_texts(subscriber), numbers(5..31));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.rows.counts()[2..4], [0, 0]);
    assert!(!world.rows.has_strays());
}

#[test]
fn messages_expire_while_the_broker_is_down() {
    let mut world = World::durable(Config::default());
    let subscriber = world.connect_with(&persistent("s"));
    world.subscribe(subscriber, "#", 1);
    world.hang_up(subscriber);
    let publisher = world.connect(V, "p");
    for (topic, expiry) in [("short", 10), ("long", 100)] {
        let publish = wire::publish(V, topic, topic).qos(1, 1);
        let publish = publish.with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(expiry));
        world.send(publisher, publish.bytes());
    }
    world.pass(Duration::from_secs(30));
    world.crash();
    let subscriber = world.resume(&persistent("s"));
    let messages = world.drain(subscriber);
    assert_eq!(texts(&messages), ["long"]);
    let left = messages[0].property(id::MESSAGE_EXPIRY_INTERVAL);
    assert_eq!(left, Some(&Value::Four(70)));
}

#[test]
fn a_failing_store_refuses_what_needs_it_before_it_reaches_anyone() {
    let (mut world, subscriber, publisher) = world(1);
    let other = world.connect(V, "other");
    world.subscribe(other, "t", 1);
    world.subscribe(other, "free", 1);
    // What was routed before keeps waiting.
    world.publish_at(publisher, 1, 1, "t", "before");
    world.pass(Duration::from_millis(10));
    world.broker.store_failing();
    world.expect_nothing(publisher);
    world.publish_at(publisher, 1, 2, "free", "x");
    assert_eq!(world.drain_texts(other), ["before", "x"]);
    let v3 = world.connect(Version::V3_1_1, "v3");
    world.publish_at(v3, 1, 1, "t", "refused");
    let rude = world.connect(V, "rude");
    assert_eq!(world.publish_acked(rude, "t", "refused"), 0x83);
    let retained = wire::publish(V, "r", "refused").retain().qos(1, 1);
    world.send(rude, retained.bytes());
    assert_eq!(world.expect_reason(rude, kind::PUBACK, 1), 0x83);
    let (_, connack) = world.try_connect(&persistent("new"));
    assert_eq!(connack.code, 0x88);
    world.expect_nothing(v3);
    world.expect_nothing(other);
    assert_eq!(world.drain_texts(subscriber), ["before"]);
    assert_eq!(world.broker.counters().publish_refused_store_failing, 3);
    // It recovers by itself.
    assert!(world.commit());
    assert_eq!(world.expect_reason(publisher, kind::PUBACK, 1), 0);
    assert_eq!(world.expect_reason(publisher, kind::PUBACK, 2), 0);
    world.commit_all();
    world.publish_at(rude, 1, 1, "t", "after");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.expect_reason(rude, kind::PUBACK, 1), 0);
}

#[test]
fn uncommitted_bytes_are_bounded_and_publishers_slowed() {
    let mut world = World::durable(Config {
        max_uncommitted_bytes: 10_000,
        ..Config::default()
    });
    let subscriber = world.connect_with(&persistent("s"));
    world.subscribe(subscriber, "t", 1);
    world.hang_up(subscriber);
    let publisher = world.connect(V, "p");
    world.hold_commits();
    let payload = "x".repeat(1000);
    for number in 1..=100 {
        world.publish_at(publisher, 1, number, "t", &payload);
        assert!(world.broker.uncommitted_bytes() < 12_000);
    }
    assert!(!world.is_read(publisher));
    while world.commit() {
        assert!(world.broker.uncommitted_bytes() < 12_000);
    }
    for number in 1..=100 {
        assert_eq!(world.expect_reason(publisher, kind::PUBACK, number), 0);
    }
}

#[test]
fn a_shared_message_of_a_session_that_ends_goes_on_with_its_end_in_one_batch() {
    let mut world = World::durable(Config::default());
    let gone = world.connect_with(&persistent("gone"));
    world.subscribe(gone, "$share/g/t", 1);
    world.hang_up(gone);
    let publisher = world.connect(V, "p");
    for number in 0..20 {
        assert_eq!(world.publish_acked(publisher, "t", &number.to_string()), 0);
    }
    let heir = world.connect_with(&persistent("heir"));
    world.subscribe(heir, "$share/g/t", 1);
    world.hang_up(heir);
    world.hold_commits();
    world.pass(Duration::from_secs(3600));
    let mut rest = 2; // Or the heir's would end as well.
    while world.commit() && rest > 0 {
        rest -= 1;
    }
    world.crash();
    world.commit_all();
    assert!(!world.rows.has_strays());
}

#[test]
fn retained_messages_that_were_not_sent_before_a_crash_are_sent_after_it() {
    let mut world = World::durable(Config::default());
    let publisher = world.connect(V, "p");
    for number in 0..500 {
        let payload = "x".repeat(1000);
        world.publish_retained(publisher, &format!("r/{number}"), payload);
    }
    let subscriber = world.connect_with(&persistent("s"));
    world.take_only(subscriber, 10_000);
    world.send(subscriber, wire::subscribe(V, 1, &[("r/#", 1)]));
    world.pass(Duration::from_secs(1));
    world.crash();
    let subscriber = world.resume(&persistent("s"));
    let topics = world.drain_topics(subscriber);
    assert_eq!(topics.len(), 500);
    world.pass(Duration::from_secs(1));
    world.crash();
    let subscriber = world.resume(&persistent("s"));
    world.expect_nothing(subscriber);
}

#[test]
fn sessions_that_come_to_different_shards_do_not_delete_each_others_messages() {
    let mut world = World::durable(Config::default());
    let names = ["a", "b", "c", "d", "e", "f"].map(|name| format!("{name}0"));
    for name in &names {
        let client = world.connect_with(&persistent(name));
        world.subscribe(client, "t", 1);
        world.hang_up(client);
    }
    let publisher = world.connect(V, "p");
    assert_eq!(world.publish_acked(publisher, "t", "x"), 0);
    for (name, shards) in names.iter().zip([3, 2, 3, 1, 2, 1]) {
        world.crash_to(shards);
        let client = world.resume(&persistent(name));
        assert_eq!(world.drain_texts(client), ["x"]);
        world.pass(Duration::from_secs(1));
        assert!(!world.rows.has_strays());
    }
    assert_eq!(world.rows.counts()[2..4], [0, 0]);
}

#[test]
fn a_restored_store_is_the_same_again() {
    let mut world = World::durable(Config::default());
    let client = world.connect_with(&persistent("s"));
    world.subscribe(client, "t/#", 2);
    world.subscribe(client, "$share/g/u", 1);
    world.hang_up(client);
    let publisher = world.connect_with(&persistent("p"));
    for (number, topic) in (1..).zip(["t", "t/1", "u", "t/2"]) {
        let publish = wire::publish(V, topic, topic).retain().qos(2, number);
        world.send(publisher, publish.bytes());
    }
    world.hang_up(publisher);
    world.pass(Duration::from_secs(1));
    let rows = world.rows.clone();
    assert_eq!(rows.counts(), [2, 2, 4, 4, 4]);
    for _ in 0..3 {
        world.crash();
        assert_eq!(world.rows, rows);
    }
}
