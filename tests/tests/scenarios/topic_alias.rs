//! Topic aliases, those of clients and those of the broker.

use std::collections::BTreeMap;

use wherry_core::Config;
use wherry_tests::scenario::{Client, World};
use wherry_tests::wire::{self, Publish, Value, Version, id, kind};

/// A client that allows for so many aliases, and reads them as the specification says.
struct Reader {
    client: Client,
    maximum: u16,
    aliases: BTreeMap<u16, String>,
    /// How many topics came in full.
    full: usize,
}

impl Reader {
    fn connect(world: &mut World, connect: &wire::Connect, maximum: u16) -> Self {
        let connect = connect
            .clone()
            .with(id::TOPIC_ALIAS_MAXIMUM, Value::Two(maximum));
        Self {
            client: world.connack(&connect).0,
            maximum,
            aliases: BTreeMap::new(),
            full: 0,
        }
    }

    fn new(world: &mut World, maximum: u16) -> Self {
        let connect = wire::connect(Version::V5).client_id("reader");
        Self::connect(world, &connect, maximum)
    }

    /// Puts the topic where an alias stands for it.
    #[track_caller]
    fn resolve(&mut self, message: &mut Publish) {
        let alias = match message.property(id::TOPIC_ALIAS) {
            Some(Value::Two(alias)) => Some(*alias),
            _ => None,
        };
        // [MQTT-3.3.2-11]
        assert!(alias.is_none_or(|alias| (1..=self.maximum).contains(&alias)));
        if message.topic.is_empty() {
            let alias = alias.expect("a topic or an alias");
            message.topic = self.aliases[&alias].clone();
        } else {
            self.full += 1;
            if let Some(alias) = alias {
                self.aliases.insert(alias, message.topic.clone());
            }
        }
    }

    /// All that has come, with topics, as topic and payload.
    #[track_caller]
    fn read(&mut self, world: &mut World) -> Vec<(String, String)> {
        let mut messages = world.drain(self.client);
        for message in &mut messages {
            self.resolve(message);
        }
        let text = |payload| String::from_utf8(payload).unwrap();
        messages
            .into_iter()
            .map(|message| (message.topic, text(message.payload)))
            .collect()
    }
}

fn alias(topic: &str, alias: u16, text: &str) -> wire::PublishBuilder {
    wire::publish(Version::V5, topic, text).with(id::TOPIC_ALIAS, Value::Two(alias))
}

fn topics(messages: &[(String, String)]) -> Vec<&str> {
    messages.iter().map(|(topic, _)| &topic[..]).collect()
}

#[test]
fn an_alias_stands_for_the_last_topic_it_was_given() {
    // [MQTT-3.3.2-12]: all up to the maximum that was announced.
    let mut world = World::default();
    let connect = wire::connect(Version::V5).client_id("a");
    let (client, connack) = world.connack(&connect);
    let maximum = connack.property(id::TOPIC_ALIAS_MAXIMUM);
    assert_eq!(maximum, Some(&Value::Two(16)));
    let watcher = world.connect(Version::V3_1_1, "watcher");
    world.subscribe(watcher, "#", 2);
    for n in 1..=16 {
        world.send(client, alias(&format!("t/{n}"), n, "first").bytes());
    }
    for n in (1..=16).rev() {
        world.send(client, alias("", n, "again").bytes());
    }
    world.send(client, alias("other", 3, "given anew").bytes());
    world.send(client, alias("", 3, "other").qos(1, 1).bytes());
    world.expect_reason(client, kind::PUBACK, 1);
    world.send(client, alias("", 4, "fourth").qos(2, 2).bytes());
    world.expect_reason(client, kind::PUBREC, 2);
    let got = world.drain(watcher);
    let wanted: Vec<String> = (1..=16)
        .chain((1..=16).rev())
        .map(|n| format!("t/{n}"))
        .chain(["other", "other", "t/4"].map(Into::into))
        .collect();
    let got: Vec<String> = got.into_iter().map(|message| message.topic).collect();
    assert_eq!(got, wanted);
}

#[test]
fn an_alias_is_of_its_connection_and_goes_no_further() {
    // [MQTT-3.3.2-7]; nor does another client see or use it.
    let mut world = World::default();
    let connect = wire::lasting(Version::V5, "a");
    let client = world.connect_with(&connect);
    let watcher = world.connect(Version::V5, "watcher");
    world.subscribe(watcher, "#", 0);
    world.send(client, alias("t", 1, "x").bytes());
    assert_eq!(world.expect_message(watcher).properties, []);
    world.send(watcher, alias("", 1, "x").bytes());
    world.expect_end(watcher, 0x82);
    world.hang_up(client);
    let client = world.resume(&connect);
    world.send(client, alias("", 1, "x").bytes());
    world.expect_end(client, 0x82);
}

#[test]
fn aliases_that_were_not_allowed_or_not_given_end_the_connection() {
    // [MQTT-3.3.2-8], [MQTT-3.3.2-9], section 3.3.2.3.4
    for (topic, number, reason) in [
        ("t", 0, 0x94),
        ("", 0, 0x94),
        ("t", 17, 0x94),
        ("", 17, 0x94),
        ("t", 65_535, 0x94),
        ("", 16, 0x82),
    ] {
        for qos in 0..=2 {
            let mut world = World::default();
            let client = world.connect(Version::V5, "a");
            let mut publish = alias(topic, number, "x");
            if qos > 0 {
                publish = publish.qos(qos, 1);
            }
            world.send(client, publish.bytes());
            world.expect_end(client, reason);
        }
    }
    let mut world = World::new(Config {
        max_topic_aliases: 0,
        ..Config::default()
    });
    let client = world.connect(Version::V5, "a");
    world.send(client, alias("t", 1, "x").bytes());
    world.expect_end(client, 0x94);
}

#[test]
fn an_alias_is_given_by_messages_too_that_go_nowhere() {
    // Refused, or come twice: the packet was read, and the alias stands.
    let mut world = World::default();
    let client = world.connect(Version::V5, "a");
    let watcher = world.connect(Version::V5, "watcher");
    world.subscribe(watcher, "#", 0);
    world.send(client, alias("$SYS/x", 1, "x").qos(1, 1).bytes());
    assert_eq!(world.expect_reason(client, kind::PUBACK, 1), 0x90);
    world.send(client, alias("", 1, "x").qos(1, 1).bytes());
    assert_eq!(world.expect_reason(client, kind::PUBACK, 1), 0x90);
    world.publish_at(client, 2, 7, "first", "once");
    world.expect_reason(client, kind::PUBREC, 7);
    world.send(client, alias("first", 2, "once").qos(2, 7).dup().bytes());
    world.expect_reason(client, kind::PUBREC, 7);
    world.send(client, alias("", 2, "by alias").bytes());
    let got = world.messages(watcher);
    assert_eq!(got.len(), 2);
    assert_eq!(
        (&got[1].topic[..], &got[1].payload[..]),
        ("first", &b"by alias"[..])
    );
}

#[test]
fn hot_topics_come_by_alias_from_their_second_message_on() {
    let mut world = World::default();
    let publisher = world.connect(Version::V3_1_1, "publisher");
    let mut reader = Reader::new(&mut world, 2);
    world.subscribe(reader.client, "#", 1);
    let order = ["one/topic", "two/topic"].repeat(10);
    for topic in &order {
        world.publish(publisher, topic, "x");
    }
    assert_eq!(topics(&reader.read(&mut world)), order);
    // Each came in full once, for there is an alias for each.
    assert_eq!((reader.full, reader.aliases.len()), (2, 2));
    for qos in [1, 2] {
        world.publish_at(publisher, qos, 1, "two/topic", "x");
    }
    assert_eq!(topics(&reader.read(&mut world)), ["two/topic"; 2]);
    assert_eq!(reader.full, 2);
    for topic in ["three", "one/topic", "three", "two/topic", "three"] {
        world.publish(publisher, topic, "x");
    }
    let order = ["three", "one/topic", "three", "two/topic", "three"];
    assert_eq!(topics(&reader.read(&mut world)), order);
}

#[test]
fn topics_as_short_as_their_alias_come_as_they_are() {
    // The property takes three bytes.
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let mut reader = Reader::new(&mut world, 10);
    world.subscribe(reader.client, "#", 0);
    for topic in ["a", "ab", "abc", "a", "ab", "abc"] {
        world.publish(publisher, topic, "x");
    }
    assert_eq!(
        topics(&reader.read(&mut world)),
        ["a", "ab", "abc", "a", "ab", "abc"]
    );
    assert_eq!((reader.full, reader.aliases.len()), (5, 1));
}

#[test]
fn a_client_that_does_not_ask_for_aliases_gets_none() {
    // [MQTT-3.1.2-26], [MQTT-3.1.2-27]
    for maximum in [None, Some(0)] {
        let mut world = World::default();
        let mut connect = wire::connect(Version::V5).client_id("a");
        if let Some(maximum) = maximum {
            connect = connect.with(id::TOPIC_ALIAS_MAXIMUM, Value::Two(maximum));
        }
        let client = world.connect_with(&connect);
        world.subscribe(client, "#", 0);
        for _ in 0..3 {
            world.publish(client, "topic", "x");
            assert_eq!(world.expect_message(client).properties, []);
        }
    }
}

#[test]
fn aliases_to_a_client_are_bounded_by_the_brokers_own_maximum() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let mut reader = Reader::new(&mut world, u16::MAX);
    world.subscribe(reader.client, "#", 0);
    let names: Vec<String> = (0..100).map(|n| format!("topic/{n}")).collect();
    for name in names.iter().chain(&names) {
        world.publish(publisher, name, "x");
    }
    let got = reader.read(&mut world);
    assert!(
        got.iter()
            .map(|(topic, _)| topic)
            .eq(names.iter().chain(&names))
    );
    assert!(reader.aliases.len() <= 16);
}

#[test]
fn a_first_use_that_the_client_never_got_gives_no_alias() {
    // Dropped because the outbox is full, or because it is too large for the client.
    let mut world = World::new(Config {
        outbox_limit: 2000,
        ..Config::default()
    });
    let publisher = world.connect(Version::V5, "publisher");
    let connect = wire::connect(Version::V5)
        .client_id("reader")
        .with(id::MAXIMUM_PACKET_SIZE, Value::Four(1500));
    let mut reader = Reader::connect(&mut world, &connect, 10);
    world.subscribe(reader.client, "#", 0);
    world.take_only(reader.client, 0);
    for n in 0..5 {
        world.publish(publisher, &format!("first/{n}"), "x".repeat(900));
    }
    assert!(world.dropped() >= 2);
    world.take_all(reader.client);
    reader.read(&mut world);
    for n in 0..5 {
        world.publish(publisher, &format!("first/{n}"), "x");
    }
    world.publish(publisher, "too/large", "x".repeat(1500));
    world.publish(publisher, "too/large", "x");
    world.publish(publisher, "too/large", "x");
    let wanted = [
        "first/0",
        "first/1",
        "first/2",
        "first/3",
        "first/4",
        "too/large",
        "too/large",
    ];
    assert_eq!(topics(&reader.read(&mut world)), wanted);
}

#[test]
fn a_message_that_fits_without_an_alias_is_not_dropped_for_the_sake_of_one() {
    // [MQTT-3.1.2-24]
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let connect = wire::connect(Version::V5)
        .client_id("reader")
        .with(id::MAXIMUM_PACKET_SIZE, Value::Four(100));
    let mut reader = Reader::connect(&mut world, &connect, 10);
    world.subscribe(reader.client, "#", 0);
    // 2 for the header, 7 for the topic, 1 for the properties: 90 are left.
    for len in 85..=92 {
        world.publish(publisher, &format!("t/{len:03}"), "x".repeat(len));
    }
    let got = reader.read(&mut world);
    let lens: Vec<usize> = got.iter().map(|(_, text)| text.len()).collect();
    assert_eq!(lens, [85, 86, 87, 88, 89, 90]);
}

#[test]
fn what_comes_again_on_a_new_connection_names_its_topic() {
    // [MQTT-3.3.2-7]
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let connect = wire::lasting(Version::V5, "reader");
    let reader = Reader::connect(&mut world, &connect, 5);
    world.subscribe(reader.client, "#", 1);
    for text in ["1", "2", "3"] {
        world.publish_acked(publisher, "some/topic", text);
    }
    assert_eq!(world.messages(reader.client).len(), 3);
    world.hang_up(reader.client);
    // Another maximum, or none, holds from now on.
    let mut reader = Reader::connect(&mut world, &connect, 1);
    assert_eq!(topics(&reader.read(&mut world)), ["some/topic"; 3]);
    world.hang_up(reader.client);
    world.publish_acked(publisher, "some/topic", "4");
    let client = world.resume(&connect);
    let got = world.drain(client);
    assert_eq!(
        (&got[0].topic[..], got[0].properties.len()),
        ("some/topic", 0)
    );
}

#[test]
fn aliases_stand_beside_all_other_properties() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let mut reader = Reader::new(&mut world, 5);
    let number = wire::Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(300));
    let subscribe = wire::subscribe_with(Version::V5, 1, &number, &[("#", 1)]);
    world.send(reader.client, subscribe);
    world.expect(reader.client, kind::SUBACK);
    for _ in 0..2 {
        let publish = alias("some/topic", 9, "x")
            .with(id::USER_PROPERTY, Value::Pair("k".into(), "v".into()))
            .with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(60));
        world.send(publisher, publish.bytes());
        let mut got = world.expect_message(reader.client);
        reader.resolve(&mut got);
        assert_eq!(got.topic, "some/topic");
        assert_eq!(got.subscription_identifiers(), [300]);
        assert_eq!(
            got.property(id::MESSAGE_EXPIRY_INTERVAL),
            Some(&Value::Four(60))
        );
        assert_eq!(got.properties.len(), 4);
    }
    assert_eq!(reader.full, 1);
}

#[test]
fn retained_messages_and_wills_come_by_alias_like_any_other() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    world.publish_retained(publisher, "kept/topic", "x");
    let mut reader = Reader::new(&mut world, 5);
    world.subscribe(reader.client, "kept/#", 0);
    world.publish(publisher, "kept/topic", "y");
    let mortal = wire::connect(Version::V5)
        .client_id("mortal")
        .will(wire::Will::new("kept/topic", "z"));
    let mortal = world.connect_with(&mortal);
    world.hang_up(mortal);
    assert_eq!(topics(&reader.read(&mut world)), ["kept/topic"; 3]);
}
