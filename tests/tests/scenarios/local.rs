//! Clients inside the process.

mod bounds;

use std::time::Duration;

use wherry_core::packet::{
    PacketId, PayloadFormat, Properties, Property, QoS, ReasonCode, RetainHandling,
    SubscriptionOptions,
};
use wherry_core::permission::{Access, Effect, Grant, Rule};
use wherry_core::{
    Config, LocalClient, LocalMessage, LocalPublish, OpenLocalError, QueuePolicy, ShareStrategy,
};
use wherry_tests::scenario::{Admission, World};
use wherry_tests::wire::{self, Value, Version, Will, id, kind};

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn open(world: &mut World, name: &str) -> LocalClient {
    let opened = world.broker.open_local(name, Grant::unrestricted());
    opened.expect("the identifier is free")
}

fn options(qos: QoS) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        ..SubscriptionOptions::default()
    }
}

#[track_caller]
fn subscribe(world: &mut World, client: LocalClient, filter: &str, qos: QoS) {
    let granted = world
        .broker
        .subscribe_local(client, filter, options(qos), 0);
    assert_eq!(granted, Ok(qos));
    world.settle();
}

fn message<'a>(topic: &'a str, payload: &'a [u8], qos: QoS) -> LocalPublish<'a> {
    LocalPublish {
        topic,
        payload,
        qos,
        retain: false,
        properties: Properties::EMPTY,
    }
}

fn publish(
    world: &mut World,
    client: LocalClient,
    topic: &str,
    payload: &[u8],
    qos: QoS,
) -> ReasonCode {
    let reason = world
        .broker
        .publish_local(client, &message(topic, payload, qos));
    world.settle();
    reason
}

/// Takes what there is without acknowledging it.
fn take(world: &mut World, client: LocalClient) -> Vec<LocalMessage> {
    std::iter::from_fn(|| world.broker.next_message(client)).collect()
}

/// Takes and acknowledges what there is, as long as the broker says that there is more; returns the
/// payloads.
fn take_all(world: &mut World, client: LocalClient) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    loop {
        world.settle();
        let Some(at) = world.deliveries.iter().position(|it| *it == client) else {
            return payloads;
        };
        world.deliveries.remove(at);
        for message in take(world, client) {
            payloads.push(message.payload().to_vec());
            if let Some(id) = message.packet_id {
                assert!(world.broker.acknowledge_local(client, id));
            }
        }
    }
}

fn numbers(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|n| vec![n]).collect()
}

#[test]
fn messages_go_between_local_and_connected_clients_at_every_qos() {
    for qos in QOS {
        let mut world = World::default();
        let local = open(&mut world, "local");
        let client = world.connect(Version::V5, "client");
        let byte = qos as u8;
        world.send(client, wire::subscribe(Version::V5, 1, &[("out/#", byte)]));
        world.expect(client, kind::SUBACK);
        subscribe(&mut world, local, "in/#", qos);

        assert_eq!(
            publish(&mut world, local, "out/1", b"hello", qos),
            ReasonCode::Success
        );
        let got = world.expect_message(client);
        assert_eq!((&got.topic[..], got.qos), ("out/1", byte));
        assert_eq!(got.payload, b"hello");

        let back = wire::publish(Version::V5, "in/1", "and back");
        let back = match qos {
            QoS::AtMostOnce => back,
            _ => back.qos(byte, 7),
        };
        world.send(client, back.bytes());
        assert_eq!(world.deliveries, [local]);
        let got = take(&mut world, local);
        assert_eq!(got.len(), 1);
        assert_eq!(
            (got[0].topic(), got[0].payload()),
            ("in/1", &b"and back"[..])
        );
        assert_eq!((got[0].qos, got[0].retain), (qos, false));
        assert_eq!(got[0].packet_id.is_some(), qos > QoS::AtMostOnce);
        if let Some(id) = got[0].packet_id {
            assert_eq!(world.broker.queued_messages(), 1 + 1, "each holds one");
            assert!(world.broker.acknowledge_local(local, id));
            assert!(!world.broker.acknowledge_local(local, id), "once is all");
        }
    }
}

#[test]
fn what_a_message_says_of_itself_goes_both_ways() {
    let mut world = World::default();
    let local = open(&mut world, "local");
    let client = world.connect(Version::V5, "client");
    world.subscribe(client, "t", 0);
    let options = options(QoS::AtMostOnce);
    for (filter, identifier) in [("t", 3), ("+", 5)] {
        let granted = world
            .broker
            .subscribe_local(local, filter, options, identifier);
        assert_eq!(granted, Ok(QoS::AtMostOnce));
    }
    // What belongs to one hop, or to a will, is left out.
    let properties = [
        Property::PayloadFormatIndicator(PayloadFormat::Utf8),
        Property::UserProperty("k", "1"),
        Property::MessageExpiryInterval(50),
        Property::SubscriptionIdentifier(9),
        Property::TopicAlias(core::num::NonZeroU16::MIN),
        Property::UserProperty("k", "2"),
    ];
    let publish = LocalPublish {
        properties: Properties::from_slice(&properties),
        ..message("t", b"x", QoS::AtMostOnce)
    };
    world.broker.publish_local(local, &publish);
    world.settle();
    let pair = |value: &str| (id::USER_PROPERTY, Value::Pair("k".into(), value.into()));
    assert_eq!(
        world.expect_message(client).properties,
        [
            (id::PAYLOAD_FORMAT_INDICATOR, Value::Byte(1)),
            pair("1"),
            pair("2"),
            (id::MESSAGE_EXPIRY_INTERVAL, Value::Four(50)),
        ]
    );
    world.pass(Duration::from_secs(20));
    let [got] = &take(&mut world, local)[..] else {
        panic!("one copy, although two filters match")
    };
    assert_eq!(got.subscription_identifiers, [3, 5]);
    assert_eq!(got.expiry(), Some(30));
    let kept = [properties[0], properties[1], properties[5]];
    assert_eq!(got.properties(), Properties::from_slice(&kept));
    // What has expired while it waited does not come.
    world.broker.publish_local(local, &publish);
    world.pass(Duration::from_secs(50));
    assert!(take(&mut world, local).is_empty());
    assert_eq!(world.broker.counters().dropped_expired, 1);
}

#[test]
fn nothing_that_a_packet_could_not_say_is_published() {
    let config = Config {
        max_packet_size: 100_000,
        ..Config::default()
    };
    let mut world = World::new(config);
    let local = open(&mut world, "local");
    let client = world.connect(Version::V5, "client");
    world.subscribe(client, "#", 0);
    let long = "x".repeat(65_536);
    let property = |property| vec![property];
    let (invalid, malformed) = (ReasonCode::TopicNameInvalid, ReasonCode::MalformedPacket);
    let cases = [
        ("", vec![], 1, invalid),
        ("a/+", vec![], 1, invalid),
        ("a\0b", vec![], 1, invalid),
        (&long, vec![], 1, invalid),
        ("$SYS/x", vec![], 1, invalid),
        ("t", vec![], 100_000, ReasonCode::PacketTooLarge),
        ("t", property(Property::ContentType(&long)), 1, malformed),
        ("t", property(Property::ContentType("\0")), 1, malformed),
        ("t", property(Property::ServerKeepAlive(1)), 1, malformed),
        (
            "t",
            vec![Property::ContentType("a"), Property::ContentType("b")],
            1,
            ReasonCode::ProtocolError,
        ),
    ];
    for (topic, properties, size, expected) in cases {
        let payload = vec![0; size];
        let publish = LocalPublish {
            properties: Properties::from_slice(&properties),
            retain: true,
            ..message(topic, &payload, QoS::AtMostOnce)
        };
        let reason = world.broker.publish_local(local, &publish);
        assert_eq!(reason, expected, "{properties:?}");
        world.settle();
    }
    world.expect_nothing(client);
    assert_eq!(world.broker.retained_messages(), 0);
    let counters = world.broker.counters();
    assert_eq!(counters.publish_refused_topic_invalid, 5);
    assert_eq!(counters.publish_refused_other, 5);
    // The twin of them all.
    let properties = [Property::ContentType("a")];
    let publish = LocalPublish {
        properties: Properties::from_slice(&properties),
        retain: true,
        ..message("t", &[0; 90_000], QoS::AtMostOnce)
    };
    let reason = world.broker.publish_local(local, &publish);
    assert_eq!(reason, ReasonCode::Success);
    world.settle();
    assert_eq!(world.messages(client).len(), 1);
    assert_eq!(world.broker.retained_messages(), 1);
}

#[test]
fn a_publisher_is_told_what_became_of_its_message() {
    let config = Config {
        max_queued_messages: 1,
        max_retained: 1,
        ..Config::default()
    };
    let mut world = World::new(config);
    let local = open(&mut world, "local");
    let once = QoS::AtLeastOnce;
    let nobody = ReasonCode::NoMatchingSubscribers;
    assert_eq!(publish(&mut world, local, "t", b"", once), nobody);
    subscribe(&mut world, local, "t", once);
    let full = ReasonCode::QuotaExceeded;
    assert_eq!(
        publish(&mut world, local, "t", b"1", once),
        ReasonCode::Success
    );
    assert_eq!(publish(&mut world, local, "t", b"2", once), full);
    let retained = |topic| LocalPublish {
        retain: true,
        ..message(topic, b"x", QoS::AtMostOnce)
    };
    assert_eq!(world.broker.publish_local(local, &retained("a")), nobody);
    assert_eq!(world.broker.publish_local(local, &retained("b")), full);
}

#[test]
fn identifiers_that_are_not_in_use_are_counted() {
    let mut world = World::default();
    let local = open(&mut world, "local");
    let id = PacketId::new(1).unwrap();
    assert!(!world.broker.acknowledge_local(local, id));
    subscribe(&mut world, local, "t", QoS::AtLeastOnce);
    publish(&mut world, local, "t", b"x", QoS::AtLeastOnce);
    assert!(!world.broker.acknowledge_local(local, id), "not yet");
    assert_eq!(take(&mut world, local)[0].packet_id, Some(id));
    assert!(world.broker.acknowledge_local(local, id));
    assert_eq!(world.broker.counters().unknown_packet_ids, 2);
}

#[test]
fn retained_messages_come_as_the_subscription_asks_for() {
    let mut world = World::default();
    let local = open(&mut world, "local");
    let retained = LocalPublish {
        retain: true,
        ..message("t", b"kept", QoS::AtMostOnce)
    };
    world.broker.publish_local(local, &retained);
    for (retain_handling, first, again) in [
        (RetainHandling::Send, 1, 1),
        (RetainHandling::SendIfNew, 1, 0),
        (RetainHandling::DoNotSend, 0, 0),
    ] {
        for expected in [first, again] {
            let options = SubscriptionOptions {
                retain_handling,
                ..options(QoS::AtMostOnce)
            };
            world
                .broker
                .subscribe_local(local, "t", options, 0)
                .unwrap();
            let got = take(&mut world, local);
            assert_eq!(got.len(), expected, "{retain_handling:?}");
            assert!(got.iter().all(|message| message.retain));
        }
        let reason = world.broker.unsubscribe_local(local, "t");
        assert_eq!(reason, ReasonCode::Success);
    }
    let reason = world.broker.unsubscribe_local(local, "t");
    assert_eq!(reason, ReasonCode::NoSubscriptionExisted);
}

#[test]
fn a_local_client_does_not_hear_itself_where_it_says_no_local() {
    // [MQTT-3.8.3-3], [MQTT-3.8.3-4]
    let mut world = World::default();
    let local = open(&mut world, "local");
    let client = world.connect(Version::V5, "client");
    let options = SubscriptionOptions {
        no_local: true,
        ..options(QoS::AtMostOnce)
    };
    let shared = world
        .broker
        .subscribe_local(local, "$share/g/t", options, 0);
    assert_eq!(shared, Err(ReasonCode::ProtocolError));
    world
        .broker
        .subscribe_local(local, "t", options, 0)
        .unwrap();
    publish(&mut world, local, "t", b"own", QoS::AtMostOnce);
    world.publish(client, "t", "another's");
    assert_eq!(take_all(&mut world, local), [b"another's"]);
}

#[test]
fn members_of_a_shared_subscription_may_be_local() {
    let config = Config {
        send_window: 2.try_into().unwrap(),
        share_strategy: ShareStrategy::RoundRobin,
        ..Config::default()
    };
    let mut world = World::new(config);
    let local = open(&mut world, "local");
    let client = world.connect(Version::V5, "client");
    subscribe(&mut world, local, "$share/g/t", QoS::AtLeastOnce);
    world.send(
        client,
        wire::subscribe(Version::V5, 1, &[("$share/g/t", 0)]),
    );
    world.expect(client, kind::SUBACK);
    for n in 0..4 {
        publish(&mut world, local, "t", &[n], QoS::AtLeastOnce);
    }
    // Each in turn, and then, as long as the local one has as much as it may, the other one.
    for n in 4..10 {
        publish(&mut world, local, "t", &[n], QoS::AtLeastOnce);
    }
    let got: Vec<_> = world
        .messages(client)
        .into_iter()
        .map(|m| m.payload)
        .collect();
    assert_eq!(got, [1, 3, 4, 5, 6, 7, 8, 9].map(|n| [n]));
    let mine = take(&mut world, local);
    assert_eq!(mine.len(), 2);
    // What it has not acknowledged goes to another member when it is closed.
    world.broker.close_local(local);
    world.settle();
    let got: Vec<_> = world
        .messages(client)
        .into_iter()
        .map(|m| m.payload)
        .collect();
    assert_eq!(got, [[0], [2]]);
    assert_eq!(world.broker.queued_messages(), 0);
}

#[test]
fn a_local_client_is_bound_by_its_grant() {
    let mut world = World::default();
    let rule = |access, filter: &str| Rule {
        effect: Effect::Deny,
        access,
        filter: filter.into(),
    };
    let rules = vec![
        rule(Access::Publish, "locked/#"),
        rule(Access::Receive, "secret/#"),
    ];
    let grant = Grant::from_rules(rules, Effect::Allow);
    let bound = world.broker.open_local("bound", grant).unwrap();
    let free = open(&mut world, "free");
    subscribe(&mut world, bound, "#", QoS::AtLeastOnce);
    let refused = world
        .broker
        .subscribe_local(bound, "secret/+", options(QoS::AtMostOnce), 0);
    assert_eq!(refused, Err(ReasonCode::NotAuthorized));
    let retained = LocalPublish {
        retain: true,
        ..message("secret/kept", b"no", QoS::AtLeastOnce)
    };
    world.broker.publish_local(free, &retained);
    publish(&mut world, free, "secret/a", b"no", QoS::AtMostOnce);
    publish(&mut world, free, "open", b"yes", QoS::AtLeastOnce);
    let reason = publish(&mut world, bound, "locked/a", b"no", QoS::AtMostOnce);
    assert_eq!(reason, ReasonCode::NotAuthorized);
    world.broker.unsubscribe_local(bound, "#");
    subscribe(&mut world, bound, "#", QoS::AtLeastOnce); // What is retained comes now.
    assert_eq!(take_all(&mut world, bound), [b"yes"]);
    let counters = world.broker.counters();
    assert_eq!(counters.dropped_not_permitted, 3);
    assert_eq!(
        (
            counters.publish_refused_not_authorized,
            counters.subscriptions_refused_not_authorized
        ),
        (1, 1)
    );
}

#[test]
fn what_is_switched_off_is_off_for_local_clients_too() {
    let config = Config {
        max_qos: QoS::AtLeastOnce,
        retain_available: false,
        wildcard_subscriptions_available: false,
        subscription_identifiers_available: false,
        shared_subscriptions_available: false,
        max_subscriptions: 1,
        ..Config::default()
    };
    let mut world = World::new(config);
    let local = open(&mut world, "local");
    let twice = QoS::ExactlyOnce;
    let mut subscribe = |filter, identifier| {
        world
            .broker
            .subscribe_local(local, filter, options(twice), identifier)
    };
    assert_eq!(
        subscribe("a/+", 0),
        Err(ReasonCode::WildcardSubscriptionsNotSupported)
    );
    assert_eq!(
        subscribe("$share/g/t", 0),
        Err(ReasonCode::SharedSubscriptionsNotSupported)
    );
    assert_eq!(
        subscribe("t", 1),
        Err(ReasonCode::SubscriptionIdentifiersNotSupported)
    );
    assert_eq!(subscribe("a+", 0), Err(ReasonCode::TopicFilterInvalid));
    assert_eq!(subscribe("a\0", 0), Err(ReasonCode::TopicFilterInvalid));
    assert_eq!(subscribe("t", 0), Ok(QoS::AtLeastOnce), "the most there is");
    assert_eq!(subscribe("u", 0), Err(ReasonCode::QuotaExceeded));
    assert_eq!(
        publish(&mut world, local, "t", b"", twice),
        ReasonCode::QoSNotSupported
    );
    let retained = LocalPublish {
        retain: true,
        ..message("t", b"x", QoS::AtMostOnce)
    };
    assert_eq!(
        world.broker.publish_local(local, &retained),
        ReasonCode::RetainNotSupported
    );
    assert_eq!(
        publish(&mut world, local, "t", b"", QoS::AtLeastOnce),
        ReasonCode::Success
    );
}

#[test]
fn an_identifier_belongs_to_one_client_local_or_not() {
    for version in Version::ALL {
        let mut world = World::default();
        let local = open(&mut world, "a");
        subscribe(&mut world, local, "t", QoS::AtMostOnce);
        let connect = wire::connect(version).client_id("a");
        let client = world.dial(version);
        world.send(client, connect.bytes());
        let connack = world.expect(client, kind::CONNACK).connack(version);
        assert_eq!(connack.code, if version.is_v5() { 0x85 } else { 2 });
        assert!(!connack.session_present && world.is_closed(client));
        publish(&mut world, local, "t", b"x", QoS::AtMostOnce);
        assert_eq!(take(&mut world, local).len(), 1, "it has lost nothing");

        world.broker.close_local(local);
        let client = world.connect(version, "a");
        let refused = world.broker.open_local("a", Grant::unrestricted());
        assert_eq!(refused, Err(OpenLocalError::IdentifierInUse));
        world.hang_up(client);
        open(&mut world, "a");
    }
}

#[test]
fn a_client_that_was_asked_for_its_credentials_is_refused_if_it_comes_too_late() {
    let mut world = World::default();
    world.admission = Admission::Later;
    let client = world.dial(Version::V5);
    world.send(client, wire::connect(Version::V5).client_id("a").bytes());
    open(&mut world, "a");
    world.broker.admit(world.id(client), Grant::unrestricted());
    world.settle();
    let connack = world.expect(client, kind::CONNACK).connack(Version::V5);
    assert_eq!(connack.code, 0x85);
}

#[test]
fn local_clients_outlive_a_stop_to_take_the_last_words() {
    let mut world = World::default();
    let local = open(&mut world, "local");
    subscribe(&mut world, local, "will", QoS::ExactlyOnce);
    let mut will = Will::new("will", "gone");
    will.qos = 2;
    world.connect_with(&wire::connect(Version::V5).client_id("a").will(will));
    world.broker.shut_down();
    assert_eq!(take_all(&mut world, local), [b"gone"]);
    let refused = world.broker.open_local("late", Grant::unrestricted());
    assert_eq!(refused, Err(OpenLocalError::TooManySessions));
    publish(&mut world, local, "will", b"to myself", QoS::AtMostOnce);
    assert_eq!(take_all(&mut world, local), [b"to myself"]);
    world.broker.close_local(local);
    assert_eq!(
        (world.broker.sessions(), world.broker.subscriptions()),
        (0, 0)
    );
}

#[test]
fn handles_of_local_clients_that_are_gone_are_ignored_and_counted() {
    let mut world = World::default();
    let gone = open(&mut world, "a");
    subscribe(&mut world, gone, "t", QoS::AtLeastOnce);
    publish(&mut world, gone, "t", b"x", QoS::AtLeastOnce);
    world.broker.close_local(gone);
    let next = open(&mut world, "a");
    assert_ne!(next, gone);
    subscribe(&mut world, next, "t", QoS::AtLeastOnce);
    let id = PacketId::new(1).unwrap();
    let broker = &mut world.broker;
    assert!(broker.next_message(gone).is_none());
    assert!(!broker.acknowledge_local(gone, id));
    let refused = broker.subscribe_local(gone, "t", options(QoS::AtMostOnce), 0);
    assert_eq!(refused, Err(ReasonCode::NotAuthorized));
    let no = ReasonCode::NotAuthorized;
    assert_eq!(broker.unsubscribe_local(gone, "t"), no);
    let publish = message("t", b"x", QoS::AtMostOnce);
    assert_eq!(broker.publish_local(gone, &publish), no);
    broker.close_local(gone);
    assert_eq!(broker.counters().stale_handles, 6);
    assert_eq!((broker.sessions(), broker.queued_messages()), (1, 0));
}
