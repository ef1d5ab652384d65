//! What a broker with a store has promised holds over a kill, line by line.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::broker::{BinaryUnderTest, Broker};
use crate::client::{Client, Next};
use crate::suite::message::{all_properties, assert_all_properties};
use crate::suite::persistence::{Directory, retain};
use crate::suite::{NO_LOCAL, RETAIN_AS_PUBLISHED, retain_handling, versions};
use crate::wire::{self, Connect, Properties, Publish, Value, Version, Will, id, kind};

/// Kills the broker and starts another on what it has left.
fn kill(broker: Broker, binary: &BinaryUnderTest, directory: &Directory) -> Broker {
    drop(broker);
    directory.start(binary)
}

/// Nobody is told that an answer or a goodbye is in the store; that what came after it is, is told.
///
/// Each shard commits what is its own, and there is one of these clients at each, almost surely.
fn settle(broker: &Broker) {
    let mut clients: Vec<_> = (0..64)
        .map(|n| Client::connect(broker, Version::V5, &format!("settler {n}")))
        .collect();
    for client in &mut clients {
        let id = client.packet_id();
        let publish = wire::publish(Version::V5, "settled", "x").retain();
        client.send(publish.qos(1, id).bytes());
    }
    for client in &mut clients {
        client.expect_ack(kind::PUBACK, 1);
    }
}

/// So many milliseconds pass while no broker runs: nothing happens then that could be waited for.
fn downtime(millis: u64) {
    let (_stays, nothing) = mpsc::channel::<()>();
    let outcome = nothing.recv_timeout(Duration::from_millis(millis));
    assert!(outcome.is_err(), "nobody sends anything");
}

/// CONNECT of a client whose session outlives its connection by so many seconds.
fn expiring(name: &str, seconds: u32) -> Connect {
    wire::connect(Version::V5)
        .client_id(name)
        .clean(false)
        .with(id::SESSION_EXPIRY_INTERVAL, Value::Four(seconds))
}

/// A session that is to get what is published to a filter, and is away.
fn subscribed(broker: &Broker, name: &str, filter: &str, options: u8) -> Connect {
    let lasting = wire::lasting(Version::V5, name);
    let (mut client, _) = Client::connect_with(broker, &lasting);
    client.subscribe_at(filter, options);
    client.disconnect();
    lasting
}

/// All messages up to the answer to a PINGREQ, acknowledged.
fn all(client: &mut Client) -> Vec<Publish> {
    let mut messages = Vec::new();
    client.send(wire::PINGREQ);
    let mut is_over = false;
    // What was waiting for a place comes after the answer.
    while !is_over {
        let mut came = Vec::new();
        loop {
            let packet = client.expect_any();
            match packet.kind() {
                kind::PUBLISH => came.push(packet.publish(client.version())),
                kind::PINGRESP => break,
                other => panic!("a packet of type {other}"),
            }
        }
        is_over = came.is_empty();
        for message in &came {
            client.acknowledge(message);
        }
        messages.extend(came);
        if !is_over {
            client.send(wire::PINGREQ);
        }
    }
    messages
}

fn texts(messages: &[Publish]) -> Vec<String> {
    let text = |it: &Publish| String::from_utf8_lossy(&it.payload).into_owned();
    messages.iter().map(text).collect()
}

/// A will of QoS 1 with a delay in seconds.
fn will(topic: &str, delay: u32) -> Will {
    Will {
        qos: 1,
        properties: Properties::new().with(id::WILL_DELAY_INTERVAL, Value::Four(delay)),
        ..Will::new(topic, "words")
    }
}

/// What several publishers have sent at QoS 1 and 2 waits in the order of each of them, for
/// sessions of every version [MQTT-4.6.0-6].
pub fn queues_keep_the_order_of_every_publisher(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "order");
    let mut broker = directory.start(binary);
    let sessions: Vec<_> = versions()
        .map(|version| {
            let lasting = wire::lasting(version, &format!("away with {version:?}"));
            let (mut client, _) = Client::connect_with(&broker, &lasting);
            client.subscribe_at("order/#", 2);
            client.disconnect();
            lasting
        })
        .collect();
    for begin in [0, 30] {
        thread::scope(|scope| {
            for publisher in 0..3 {
                let broker = &broker;
                scope.spawn(move || {
                    let name = format!("publisher {publisher}");
                    let mut client = Client::connect(broker, Version::V5, &name);
                    for number in begin..begin + 30 {
                        let topic = format!("order/{publisher}");
                        let qos = 1 + (number % 3 % 2) as u8;
                        assert_eq!(client.publish_at(qos, &topic, number.to_string()), 0);
                    }
                });
            }
        });
        broker = kill(broker, binary, &directory);
    }
    for lasting in sessions {
        let mut client = Client::resume(&broker, &lasting);
        let messages = all(&mut client);
        assert_eq!(messages.len(), 180);
        for publisher in 0..3 {
            let topic = format!("order/{publisher}");
            let of: Vec<_> = messages.iter().filter(|it| it.topic == topic).collect();
            for (number, message) in of.iter().enumerate() {
                assert_eq!(message.payload, number.to_string().as_bytes());
                assert_eq!(message.qos, 1 + (number % 3 % 2) as u8);
                assert!(!message.dup, "it was never sent");
            }
        }
    }
}

/// No Local, Retain As Published, the granted QoS, identifiers, and that a subscription is there,
/// are as they were [MQTT-3.8.3-3, MQTT-3.3.1-13, MQTT-3.3.4-3].
pub fn subscriptions_outlive_a_kill_with_their_options(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "options");
    let broker = directory.start(binary);
    let lasting = wire::lasting(Version::V5, "subscriber");
    let (mut client, _) = Client::connect_with(&broker, &lasting);
    client.subscribe_at("local", 1 | NO_LOCAL);
    client.subscribe_at("flag", 1 | RETAIN_AS_PUBLISHED);
    client.subscribe_at("no flag", 1);
    client.subscribe_at("low", 0);
    for (number, filter) in [(7, "named/+"), (268_435_455, "named/#")] {
        let properties =
            Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(number));
        assert_eq!(client.subscribe_with(&properties, &[(filter, 2)]), [2]);
    }
    let broker = kill(broker, binary, &directory);
    let mut client = Client::resume(&broker, &lasting);
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    // Its own message first: what follows shows that it did not come.
    assert!(client.publish_at(1, "local", "own") < 0x80);
    assert_eq!(publisher.publish_at(1, "local", "of another"), 0);
    retain(&mut publisher, "flag", "x");
    retain(&mut publisher, "no flag", "x");
    assert_eq!(publisher.publish_at(2, "low", "x"), 0);
    assert_eq!(publisher.publish_at(2, "named/x", "x"), 0);
    let messages = all(&mut client);
    let seen: Vec<_> = messages
        .iter()
        .map(|it| (&*it.topic, it.qos, it.retain, it.subscription_identifiers()))
        .collect();
    let expected = [
        ("local", 1, false, vec![]),
        ("flag", 1, true, vec![]),
        ("no flag", 1, false, vec![]),
        ("low", 0, false, vec![]),
        ("named/x", 2, false, vec![7, 268_435_455]),
    ];
    let sorted = |mut it: (_, _, _, Vec<u32>)| {
        it.3.sort_unstable();
        it
    };
    let seen: Vec<_> = seen.into_iter().map(sorted).collect();
    assert_eq!(seen, expected);
    // It is there, so that what is retained does not come for it.
    client.subscribe_at("flag", 1 | RETAIN_AS_PUBLISHED | retain_handling(1));
    client.ping();
    let mut other = Client::connect(&broker, Version::V5, "other");
    other.subscribe_at("flag", 1 | retain_handling(1));
    other.expect_qos(1, "flag", "x");
}

/// What is retained and was not yet sent for a subscription is sent after the restart, though not
/// to one that wants nothing retained.
pub fn replays_go_on_after_a_kill(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "replay");
    let broker = directory.start(binary);
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    for number in 0..20 {
        retain(
            &mut publisher,
            &format!("replay/{number}"),
            &number.to_string(),
        );
    }
    let narrow = |name| wire::lasting(Version::V5, name).with(id::RECEIVE_MAXIMUM, Value::Two(1));
    let (mut client, _) = Client::connect_with(&broker, &narrow("slow"));
    client.subscribe_at("replay/+", 1);
    client.expect_any_message();
    let (mut nothing, _) = Client::connect_with(&broker, &narrow("nothing"));
    nothing.subscribe_at("replay/+", 1 | retain_handling(2));
    let broker = kill(broker, binary, &directory);
    let mut client = Client::resume(&broker, &wire::lasting(Version::V5, "slow"));
    let mut topics: Vec<_> = all(&mut client).into_iter().map(|it| it.topic).collect();
    topics.sort();
    topics.dedup();
    assert_eq!(topics.len(), 20, "{topics:?}");
    Client::resume(&broker, &wire::lasting(Version::V5, "nothing")).ping();
}

/// A group has its members and what waits for them; each message goes to one
/// [MQTT-4.8.2-4, MQTT-4.8.2-5].
pub fn shared_subscriptions_outlive_a_kill(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "shared");
    let broker = directory.start(binary);
    let members = ["one", "two", "three"];
    let members = members.map(|name| subscribed(&broker, name, "$share/group/shared/+", 2));
    let alone = subscribed(&broker, "alone", "shared/#", 1);
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    let numbers = |range: std::ops::Range<usize>| range.map(|it| it.to_string());
    for text in numbers(0..30) {
        assert_eq!(publisher.publish_at(2, "shared/x", text), 0);
    }
    let broker = kill(broker, binary, &directory);
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    for text in numbers(30..60) {
        assert_eq!(publisher.publish_at(2, "shared/x", text), 0);
    }
    let broker = kill(broker, binary, &directory);
    let mut came = Vec::new();
    for member in &members {
        let messages = all(&mut Client::resume(&broker, member));
        let numbers: Vec<usize> = texts(&messages)
            .iter()
            .map(|it| it.parse().unwrap())
            .collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
        came.extend(numbers);
    }
    came.sort_unstable();
    assert_eq!(came, Vec::from_iter(0..60), "each of them once");
    let messages = all(&mut Client::resume(&broker, &alone));
    assert_eq!(texts(&messages), Vec::from_iter(numbers(0..60)));
}

/// A session that a clean start has ended, a subscription that was removed, a retained message that
/// was cleared or replaced: what was acknowledged as gone does not come back [MQTT-3.1.2-4].
pub fn what_was_taken_back_does_not_return(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "taken-back");
    let broker = directory.start(binary);
    let ended = subscribed(&broker, "ended", "kept", 1);
    let changed = subscribed(&broker, "changed", "kept", 1);
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    retain(&mut publisher, "cleared", "x");
    retain(&mut publisher, "replaced", "old");
    assert_eq!(publisher.publish_at(1, "kept", "first"), 0);
    Client::connect(&broker, Version::V5, "ended").ping();
    let mut client = Client::resume(&broker, &changed);
    let first = client.expect_qos(1, "kept", "first");
    client.acknowledge(&first);
    assert_eq!(client.unsubscribe("kept"), 0);
    retain(&mut publisher, "cleared", "");
    retain(&mut publisher, "replaced", "new");
    publisher.publish_at(1, "kept", "second");
    let broker = kill(broker, binary, &directory);
    let (mut client, _) = Client::connect_with(&broker, &ended);
    client.ping();
    let mut client = Client::resume(&broker, &changed);
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    assert_eq!(publisher.publish_at(1, "kept", "third"), 0x10);
    client.subscribe_at("#", 1);
    assert_eq!(texts(&all(&mut client)), ["new"]);
}

/// What has an expiry goes on ageing while no broker runs, in queues and where it is retained
/// [MQTT-3.3.2-5, MQTT-3.3.2-6].
pub fn expiry_goes_on_over_the_downtime(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "expiry");
    let broker = directory.start(binary);
    let away = subscribed(&broker, "away", "expiring/+", 1);
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    let began = Instant::now();
    for (name, seconds) in [("short", Some(2)), ("long", Some(1000)), ("endless", None)] {
        let topic = format!("expiring/{name}");
        let id = publisher.packet_id();
        let mut publish = wire::publish(Version::V5, topic, name).retain().qos(1, id);
        if let Some(seconds) = seconds {
            publish = publish.with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(seconds));
        }
        publisher.send(publish.bytes());
        assert_eq!(publisher.expect_ack(kind::PUBACK, id), 0);
    }
    drop(broker);
    downtime(3100);
    let broker = directory.start(binary);
    let mut reader = Client::connect(&broker, Version::V5, "reader");
    reader.subscribe_at("expiring/+", 1);
    let mut away = Client::resume(&broker, &away);
    for client in [&mut away, &mut reader] {
        let mut messages = all(client);
        messages.sort_by(|one, other| other.topic.cmp(&one.topic));
        assert_eq!(texts(&messages), ["long", "endless"]);
        let left = |at: usize| messages[at].property(id::MESSAGE_EXPIRY_INTERVAL).cloned();
        let Some(Value::Four(seconds)) = left(0) else {
            panic!("{:?}", messages[0]);
        };
        let least = 1000 - began.elapsed().as_secs() as u32 - 1;
        assert!((least..=997).contains(&seconds), "{seconds}");
        assert_eq!(left(1), None);
    }
}

/// A session that is away ends in its time, whether a broker runs or not; one whose client was
/// there until the kill has its whole time from the restart on.
pub fn sessions_end_over_the_downtime(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "sessions");
    let broker = directory.start(binary);
    for (name, seconds) in [("short", 2), ("long", 1000)] {
        let (client, _) = Client::connect_with(&broker, &expiring(name, seconds));
        client.disconnect();
    }
    let (_here, _) = Client::connect_with(&broker, &expiring("here", 4));
    let (_never, _) = Client::connect_with(&broker, &expiring("never", 0));
    settle(&broker);
    drop(broker);
    downtime(2500);
    let broker = directory.start(binary);
    Client::connect_with(&broker, &expiring("short", 2));
    Client::connect_with(&broker, &expiring("never", 0));
    Client::resume(&broker, &expiring("long", 1000)).disconnect();
    let mut bystander = Client::connect(&broker, Version::V5, "bystander");
    let next = bystander.next_until(Instant::now() + Duration::from_millis(2000));
    assert_eq!(next, Next::Silence);
    Client::resume(&broker, &expiring("here", 1)).disconnect();
    settle(&broker);
    drop(broker);
    downtime(1500);
    let broker = directory.start(binary);
    Client::connect_with(&broker, &expiring("here", 0));
}

/// A will waits for its delay over the downtime: it is published in time, at once if that was
/// meanwhile, and not if its client comes back before [MQTT-3.1.3-9].
pub fn wills_wait_over_the_downtime(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "delays");
    let broker = directory.start(binary);
    let heir = subscribed(&broker, "heir", "will/+", 1);
    let mortal =
        |name: &str, delay| expiring(name, 1000).will(will(&format!("will/{name}"), delay));
    for (name, delay) in [("meanwhile", 1), ("later", 5), ("back", 5)] {
        drop(Client::connect_with(&broker, &mortal(name, delay)));
        let cut = broker.wait_for_log_since(0, &[name, "disconnected"], PATIENCE);
        assert!(cut.is_some(), "its end is noticed");
    }
    let cut = Instant::now();
    settle(&broker);
    drop(broker);
    downtime(1500);
    let broker = directory.start(binary);
    let mut heir = Client::resume(&broker, &heir);
    let first = heir.expect_qos(1, "will/meanwhile", "words");
    heir.acknowledge(&first);
    let back = Client::resume(&broker, &mortal("back", 0));
    let next = heir.next_until(cut + Duration::from_millis(4500));
    assert_eq!(next, Next::Silence, "it is too early");
    let second = heir.expect_qos(1, "will/later", "words");
    assert!(
        cut.elapsed() < Duration::from_secs(20),
        "{:?}",
        cut.elapsed()
    );
    heir.acknowledge(&second);
    back.disconnect();
    let next = heir.next_until(Instant::now() + Duration::from_millis(700));
    assert_eq!(next, Next::Silence, "it came back");
    // They are published once, and then gone.
    settle(&broker);
    let broker = kill(broker, binary, &directory);
    Client::resume(&broker, &wire::lasting(Version::V5, "heir")).ping();
}

/// Who was there until the kill has gone without a word: its will is published at the restart, or
/// after its delay; that of who said goodbye is not [MQTT-3.1.2-8, MQTT-3.14.4-3].
pub fn the_dead_of_a_kill_leave_their_wills(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "wills");
    let broker = directory.start(binary);
    let heir = subscribed(&broker, "heir", "will/+", 1);
    let of = |name: &str, delay| will(&format!("will/{name}"), delay);
    let fleeting = wire::connect(Version::V5).client_id("fleeting");
    let old = wire::connect(Version::V3_1_1).client_id("old");
    let _dead = [
        Client::connect_with(&broker, &fleeting.will(of("fleeting", 1000))).0,
        Client::connect_with(&broker, &old.will(of("old", 0))).0,
        Client::connect_with(&broker, &expiring("lasting", 1000).will(of("lasting", 0))).0,
        Client::connect_with(&broker, &expiring("delayed", 1000).will(of("delayed", 3))).0,
    ];
    let polite = expiring("polite", 1000).will(of("polite", 0));
    Client::connect_with(&broker, &polite).0.disconnect();
    settle(&broker);
    drop(broker);
    let broker = directory.start(binary);
    let started = Instant::now();
    let mut heir = Client::resume(&broker, &heir);
    let mut first: Vec<_> = (0..3).map(|_| heir.expect_any_message()).collect();
    for message in &first {
        heir.acknowledge(message);
    }
    first.sort_by(|one, other| one.topic.cmp(&other.topic));
    let topics: Vec<_> = first.iter().map(|it| &*it.topic).collect();
    assert_eq!(topics, ["will/fleeting", "will/lasting", "will/old"]);
    let next = heir.next_until(started + Duration::from_millis(1500));
    assert_eq!(next, Next::Silence, "it is too early");
    let last = heir.expect_qos(1, "will/delayed", "words");
    heir.acknowledge(&last);
    heir.ping();
    settle(&broker);
    let broker = kill(broker, binary, &directory);
    Client::resume(&broker, &wire::lasting(Version::V5, "heir")).ping();
}

/// What waits, what is retained and what is left behind as a will comes with all its properties, as
/// it was published [MQTT-3.3.2-4, MQTT-3.3.2-15 to MQTT-3.3.2-20].
pub fn messages_are_restored_with_all_that_they_carry(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "properties");
    let broker = directory.start(binary);
    let away = subscribed(&broker, "away", "carried/+", 2);
    let will = Will {
        qos: 2,
        retain: true,
        properties: all_properties(),
        ..Will::new("carried/will", "h\u{e9}")
    };
    let mortal = wire::connect(Version::V5).client_id("mortal").will(will);
    let _mortal = Client::connect_with(&broker, &mortal);
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    let id = publisher.packet_id();
    let publish = wire::publish(Version::V5, "carried/message", "h\u{e9}");
    let publish = publish.properties(all_properties()).retain().qos(1, id);
    publisher.send(publish.bytes());
    assert_eq!(publisher.expect_ack(kind::PUBACK, id), 0);
    let large = vec![0x80; 300_000];
    assert_eq!(publisher.publish_at(2, "carried/large", &large), 0);
    let broker = kill(broker, binary, &directory);
    let mut client = Client::resume(&broker, &away);
    let first = client.expect_qos(1, "carried/message", "h\u{e9}");
    assert_all_properties(&first.properties);
    let second = client.expect_qos(2, "carried/large", &large);
    let third = client.expect_qos(2, "carried/will", "h\u{e9}");
    assert_all_properties(&third.properties);
    for message in [first, second, third] {
        client.acknowledge(&message);
    }
    client.ping();
    let mut reader = Client::connect(&broker, Version::V5, "reader");
    reader.subscribe_at("carried/+", 1);
    for message in [reader.expect_any_message(), reader.expect_any_message()] {
        assert!(message.retain && message.payload == "h\u{e9}".as_bytes());
        assert_all_properties(&message.properties);
    }
}

/// Exchanges go on where they were, on both sides, in every version: what may have come is sent
/// again with DUP, under the same identifier if it is of QoS 2, and what was released stays
/// released [MQTT-4.4.0-1, MQTT-4.3.3-4, MQTT-4.3.3-10].
pub fn exchanges_go_on_after_a_kill(binary: &BinaryUnderTest) {
    for version in versions() {
        let directory = Directory::new(binary, "exchanges");
        let broker = directory.start(binary);
        let receiving = wire::lasting(version, "receiving");
        let sending = wire::lasting(version, "sending");
        let (mut receiver, _) = Client::connect_with(&broker, &receiving);
        receiver.subscribe_at("x", 2);
        let (mut sender, _) = Client::connect_with(&broker, &sending);
        sender.publish_at(1, "x", "one");
        sender.publish_at(2, "x", "two");
        sender.publish_at(2, "x", "received");
        let one = receiver.expect_qos(1, "x", "one");
        let two = receiver.expect_qos(2, "x", "two");
        let received = receiver.expect_qos(2, "x", "received").packet_id.unwrap();
        receiver.ack(kind::PUBREC, received);
        receiver.expect_ack(kind::PUBREL, received);
        // The other side: one is received, one is released, and both answers are lost.
        for id in [100, 200] {
            let publish = wire::publish(version, "x", id.to_string()).qos(2, id);
            sender.send(publish.bytes());
            sender.expect_ack(kind::PUBREC, id);
        }
        sender.ack(kind::PUBREL, 200);
        sender.expect_ack(kind::PUBCOMP, 200);
        let broker = kill(broker, binary, &directory);
        let mut sender = Client::resume(&broker, &sending);
        sender.ack(kind::PUBREL, 200);
        // It is not known any more, which is as good [MQTT-4.3.3-13].
        sender.expect_any().ack(kind::PUBCOMP, version);
        sender.send(wire::publish(version, "x", "100").qos(2, 100).dup().bytes());
        sender.expect_ack(kind::PUBREC, 100);
        sender.ack(kind::PUBREL, 100);
        sender.expect_ack(kind::PUBCOMP, 100);
        let mut receiver = Client::resume(&broker, &receiving);
        let again = receiver.expect_any_message();
        assert_eq!((again.dup, again.payload), (true, one.payload));
        receiver.ack(kind::PUBACK, again.packet_id.unwrap());
        let again = receiver.expect_any_message();
        assert_eq!((again.dup, again.packet_id), (true, two.packet_id));
        assert_eq!(receiver.expect_ack(kind::PUBREL, received), 0);
        receiver.ack(kind::PUBCOMP, received);
        let more = ["100", "200"].map(|text| {
            let message = receiver.expect_any_message();
            assert_eq!(message.payload, text.as_bytes());
            message
        });
        for message in [&two, &more[0], &more[1]] {
            receiver.acknowledge(message);
        }
        receiver.ping();
    }
}
