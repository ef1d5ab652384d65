//! What the broker tells of itself under `$SYS`.

use std::collections::BTreeMap;
use std::time::Duration;

use wherry_core::permission::{Access, Effect, Grant, Rule};
use wherry_core::{Config, EventKind};
use wherry_tests::scenario::{Admission, Client, World};
use wherry_tests::wire::{self, Version, kind};

const INTERVAL: Duration = Duration::from_secs(10);

fn world() -> World {
    World::with_sys(Config::default())
}

/// What the client was told, by the rest of the topic. Nothing is told twice.
#[track_caller]
fn told(world: &mut World, client: Client) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for message in world.messages(client) {
        let topic = message.topic.strip_prefix("$SYS/broker/").unwrap();
        let value = String::from_utf8(message.payload).unwrap();
        assert_eq!(all.insert(topic.to_owned(), value), None, "{topic}");
    }
    all
}

/// What a new subscriber is told; it leaves again.
#[track_caller]
fn retained(world: &mut World, filter: &str) -> BTreeMap<String, String> {
    let client = world.connect(Version::V3_1_1, "reader");
    world.subscribe(client, filter, 0);
    let all = told(world, client);
    world.send(client, wire::disconnect(Version::V3_1_1, 0));
    all
}

#[test]
fn everything_has_mosquittos_names_and_forms() {
    let mut world = world();
    let client = world.connect(Version::V5, "a");
    world.subscribe(client, "$SYS/#", 0);
    let messages = world.messages(client);
    assert!(messages.iter().all(|message| message.retain));
    let told: BTreeMap<_, _> = messages
        .into_iter()
        .map(|message| (message.topic, String::from_utf8(message.payload).unwrap()))
        .collect();
    let mut wanted = BTreeMap::from([
        ("$SYS/broker/version".to_owned(), {
            format!("wherry version {}", env!("CARGO_PKG_VERSION"))
        }),
        ("$SYS/broker/uptime".to_owned(), "0 seconds".to_owned()),
    ]);
    for name in [
        "clients/total",
        "clients/connected",
        "clients/active",
        "clients/disconnected",
        "clients/inactive",
        "clients/maximum",
        "clients/expired",
        "connections/socket/count",
        "messages/received",
        "messages/sent",
        "messages/stored",
        "messages/inflight",
        "store/messages/count",
        "store/messages/bytes",
        "bytes/received",
        "bytes/sent",
        "publish/messages/received",
        "publish/messages/sent",
        "publish/messages/dropped",
        "publish/bytes/received",
        "publish/bytes/sent",
        "retained messages/count",
        "subscriptions/count",
        "shared_subscriptions/count",
    ] {
        wanted.insert(format!("$SYS/broker/{name}"), "0".to_owned());
    }
    // It was taken when the socket was there, and nothing else was.
    let socket = "$SYS/broker/connections/socket/count";
    wanted.insert(socket.to_owned(), "1".to_owned());
    for load in [
        "messages/received",
        "messages/sent",
        "publish/received",
        "publish/sent",
        "publish/dropped",
        "bytes/received",
        "bytes/sent",
        "connections",
        "sockets",
    ] {
        for window in ["1min", "5min", "15min"] {
            let topic = format!("$SYS/broker/load/{load}/{window}");
            wanted.insert(topic, "0.00".to_owned());
        }
    }
    assert_eq!(told, wanted);
}

#[test]
fn values_are_those_of_the_traffic() {
    let mut world = world();
    let watcher = world.connect(Version::V3_1_1, "watcher");
    world.subscribe(watcher, "t", 0);
    let publisher = world.connect(Version::V3_1_1, "publisher");
    for payload in ["one", "three", "5"] {
        world.publish(publisher, "t", payload);
    }
    world.publish_retained(publisher, "kept", "x");
    world.hang_up(publisher);
    assert_eq!(world.messages(watcher).len(), 3);
    world.pass(INTERVAL);
    let connect = |id| wire::connect(Version::V3_1_1).client_id(id).bytes().len();
    let publish = |topic, payload| wire::publish(Version::V3_1_1, topic, payload).bytes().len();
    let delivered = publish("t", "one") + publish("t", "three") + publish("t", "5");
    let received = connect("watcher")
        + wire::subscribe(Version::V3_1_1, 1, &[("t", 0)]).len()
        + connect("publisher")
        + delivered
        + publish("kept", "x");
    // Two CONNACKs and a SUBACK.
    let sent = 2 * 4 + 5 + delivered;
    let kept_bytes = world.broker.retained_bytes();
    let got = retained(&mut world, "$SYS/#");
    for (topic, value) in [
        ("uptime", "10 seconds"),
        ("clients/total", "1"),
        ("clients/connected", "1"),
        ("clients/active", "1"),
        ("clients/disconnected", "0"),
        ("clients/inactive", "0"),
        ("clients/maximum", "2"),
        ("connections/socket/count", "2"),
        ("messages/received", "7"),
        ("messages/sent", "6"),
        ("messages/stored", "1"),
        ("store/messages/count", "1"),
        ("store/messages/bytes", &kept_bytes.to_string()),
        ("bytes/received", &received.to_string()),
        ("bytes/sent", &sent.to_string()),
        ("publish/messages/received", "4"),
        ("publish/messages/sent", "3"),
        ("publish/messages/dropped", "0"),
        ("publish/bytes/received", "10"),
        ("publish/bytes/sent", "9"),
        ("retained messages/count", "1"),
        ("subscriptions/count", "1"),
        // Four in ten seconds are 24 a minute, weighed with 1 - e^-1/6, e^-1/30 and e^-1/90.
        ("load/publish/received/1min", "3.68"),
        ("load/publish/received/5min", "0.79"),
        ("load/publish/received/15min", "0.27"),
        ("load/connections/1min", "1.84"),
        ("load/sockets/1min", "1.84"),
        ("load/messages/received/1min", "6.45"),
        ("load/messages/sent/1min", "5.53"),
        ("load/publish/dropped/1min", "0.00"),
    ] {
        assert_eq!(got[topic], value, "{topic}");
    }
}

#[test]
fn what_a_slow_client_misses_is_told() {
    let mut world = World::with_sys(Config {
        outbox_limit: 100,
        ..Config::default()
    });
    let slow = world.connect(Version::V3_1_1, "slow");
    world.subscribe(slow, "t", 0);
    world.take_only(slow, 0);
    for _ in 0..5 {
        world.publish(slow, "t", [7; 90]);
    }
    let dropped = world.broker.counters().dropped_outbox_full;
    world.take_all(slow);
    world.pass(INTERVAL);
    let got = retained(&mut world, "$SYS/broker/publish/messages/dropped");
    assert!(dropped > 0);
    assert_eq!(got["publish/messages/dropped"], dropped.to_string());
}

#[test]
fn only_what_has_changed_is_told_again() {
    let mut world = world();
    let watcher = world.connect(Version::V5, "watcher");
    for filter in ["clients/+", "uptime", "version", "load/connections/#"] {
        world.subscribe(watcher, &format!("$SYS/broker/{filter}"), 0);
        world.messages(watcher);
    }
    world.pass(INTERVAL);
    let told_first = told(&mut world, watcher);
    assert_eq!(told_first["clients/connected"], "1");
    assert_eq!(told_first["clients/maximum"], "1");
    assert_eq!(told_first["load/connections/1min"], "0.92");
    assert_eq!(told_first.get("version"), None);
    assert_eq!(told_first.get("clients/disconnected"), None);

    let other = world.connect(Version::V5, "other");
    world.send(other, wire::disconnect(Version::V5, 0));
    world.expect_nothing(watcher);
    world.pass(INTERVAL - Duration::from_millis(1));
    world.expect_nothing(watcher);
    world.pass(Duration::from_millis(1));
    let mut messages = world.messages(watcher);
    assert!(messages.iter().all(|message| !message.retain), "it is live");
    messages.retain(|message| !message.topic.contains("load"));
    let got: Vec<_> = messages
        .iter()
        .map(|message| (&message.topic[12..], &message.payload[..]))
        .collect();
    // Two were there at once, and one is.
    assert_eq!(
        got,
        [
            ("uptime", &b"20 seconds"[..]),
            ("clients/maximum", &b"2"[..])
        ]
    );
    // Averages go on until they are zero.
    world.pass(Duration::from_secs(3600 * 24));
    let last = told_last(&mut world, watcher, "load/connections/15min");
    assert_eq!(last, "0.00");
    world.pass(INTERVAL);
    let got = told(&mut world, watcher);
    assert_eq!(got.keys().collect::<Vec<_>>(), ["uptime"]);
}

/// The last of all values that the client was told of a topic.
fn told_last(world: &mut World, client: Client, topic: &str) -> String {
    let messages = world.messages(client);
    let last = messages
        .iter()
        .rfind(|message| message.topic.ends_with(topic));
    String::from_utf8(last.unwrap().payload.clone()).unwrap()
}

#[test]
fn an_idle_broker_wakes_once_in_an_interval() {
    let mut world = world();
    world.settle();
    let mut next = || {
        let next = world.broker.next_deadline().unwrap();
        world.broker.advance(next);
        next.as_millis()
    };
    assert_eq!([next(), next(), next()], [10_000, 20_000, 30_000]);
    // Told late, it does not catch up, and keeps its beat.
    world.pass(Duration::from_secs(75));
    assert_eq!(world.broker.next_deadline().unwrap().as_millis(), 80_000);
}

#[test]
fn leading_wildcards_do_not_reach_it() {
    // [MQTT-4.7.2-1]
    let mut world = world();
    let client = world.connect(Version::V3_1_1, "a");
    for filter in ["#", "+/#", "+/broker/uptime", "+/+/+"] {
        world.subscribe(client, filter, 0);
    }
    world.pass(3 * INTERVAL);
    world.expect_nothing(client);
}

#[test]
fn clients_cannot_publish_there() {
    let mut world = world();
    let client = world.connect(Version::V3_1_1, "a");
    world.subscribe(client, "$SYS/broker/version", 0);
    let ours = world.expect_message(client).payload;
    world.publish_retained(client, "$SYS/broker/version", "forged");
    world.publish_retained(client, "$SYS/broker/version", "");
    world.expect_nothing(client);
    assert_eq!(world.broker.counters().publish_refused_topic_invalid, 2);
    let refused =
        |event: &&wherry_core::Event| matches!(event.kind, EventKind::PublishRefused { .. });
    assert_eq!(world.events.iter().filter(refused).count(), 2);
    world.subscribe(client, "$SYS/broker/version", 0);
    assert_eq!(world.expect_message(client).payload, ours);
}

#[test]
fn a_grant_holds_for_it_as_for_any_topic() {
    let mut world = world();
    world.admission = Admission::Everyone(Grant::from_rules(
        vec![Rule {
            effect: Effect::Deny,
            access: Access::Receive,
            filter: "$SYS/broker/clients/#".into(),
        }],
        Effect::Allow,
    ));
    let client = world.connect(Version::V5, "bound");
    world.subscribe(client, "$SYS/#", 0);
    world.pass(INTERVAL);
    let messages = world.messages(client);
    assert!(
        messages
            .iter()
            .any(|message| message.topic == "$SYS/broker/uptime")
    );
    assert!(
        !messages
            .iter()
            .any(|message| message.topic.contains("/clients/"))
    );
}

#[test]
fn it_takes_no_room_from_what_clients_retain() {
    let mut world = World::with_sys(Config {
        max_retained: 1,
        max_retained_bytes: 100,
        ..Config::default()
    });
    let client = world.connect(Version::V5, "a");
    assert_eq!(
        (
            world.broker.retained_messages(),
            world.broker.retained_bytes()
        ),
        (0, 0)
    );
    world.publish_retained(client, "t", "x");
    assert_eq!(world.broker.retained_messages(), 1);
    world.publish_retained(client, "u", "x");
    assert_eq!(world.broker.counters().retained_over_limit, 1);
    world.pass(INTERVAL);
    assert_eq!(retained(&mut world, "$SYS/#").len(), 53, "all of it");
    world.subscribe(client, "t", 0);
    assert_eq!(world.expect_message(client).payload, b"x");
}

#[test]
fn it_can_be_switched_off_and_on() {
    let mut world = World::with_sys(Config {
        sys_interval: None,
        ..Config::default()
    });
    assert_eq!(retained(&mut world, "$SYS/#"), BTreeMap::new());
    world.pass(Duration::from_secs(30));
    assert_eq!(world.broker.next_deadline(), None);

    let watcher = world.connect(Version::V3_1_1, "watcher");
    world.subscribe(watcher, "$SYS/#", 0);
    world.broker.configure(Config::default());
    world.settle();
    let got = told(&mut world, watcher);
    assert_eq!(got["uptime"], "30 seconds", "at once");
    assert_eq!(
        got["load/sockets/1min"], "0.00",
        "what was before has no weight"
    );

    // A shorter interval does not wait for the end of a longer one.
    let second = Duration::from_secs(1);
    world.broker.configure(Config {
        sys_interval: Some(second),
        ..Config::default()
    });
    world.pass(second);
    assert_eq!(told(&mut world, watcher)["uptime"], "31 seconds");

    world.broker.configure(Config {
        sys_interval: None,
        ..Config::default()
    });
    world.pass(Duration::from_secs(3600));
    world.expect_nothing(watcher);
    assert_eq!(world.broker.next_deadline(), None);
    assert_eq!(retained(&mut world, "$SYS/#"), BTreeMap::new());
    world.broker.configure(Config::default());
    world.settle();
    assert_eq!(told(&mut world, watcher)["uptime"], "3631 seconds");
}

#[test]
fn many_who_want_to_know_everything_do_not_hold_up_others() {
    const MANY: usize = 300;
    let mut world = world();
    let watchers: Vec<_> = (0..MANY)
        .map(|n| {
            let client = world.connect(Version::V5, &format!("watcher {n}"));
            world.subscribe(client, "$SYS/#", 0);
            world.messages(client);
            client
        })
        .collect();
    let before = world.broker.counters().publish_sent;
    let due = world.broker.next_deadline().unwrap();
    world.broker.advance(due);
    let sent = world.broker.counters().publish_sent - before;
    assert!(
        (1..=4096 + MANY as u64).contains(&sent),
        "{sent} in one turn"
    );
    assert_eq!(
        world.broker.next_deadline(),
        Some(due),
        "it goes on at once"
    );
    world.pass(INTERVAL);
    let first = told(&mut world, watchers[0]);
    assert_eq!(first["clients/connected"], MANY.to_string());
    assert!(first.contains_key("load/sockets/15min"), "none is left out");
    for watcher in &watchers[1..] {
        assert_eq!(told(&mut world, *watcher), first);
    }
}

#[test]
fn nobody_has_to_listen() {
    let mut world = world();
    let client = world.connect(Version::V3_1_1, "a");
    world.pass(10 * INTERVAL);
    assert_eq!(world.broker.counters().publish_without_subscriber, 0);
    world.send(client, wire::PINGREQ);
    world.expect(client, kind::PINGRESP);
}
