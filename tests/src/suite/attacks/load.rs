//! A lot of everything: A22, A27 and filters without end.

use std::collections::BTreeSet;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::attack::{Arena, Attack, Told};
use crate::broker::BinaryUnderTest;
use crate::client::Client;
use crate::wire::{self, Properties, Value, Version, Will, packet};

/// `count` user properties that differ.
fn user_properties(count: usize) -> Properties {
    (0..count).fold(Properties::new(), |properties, n| {
        properties.user(&format!("n{n}"), &"v".repeat(n % 7))
    })
}

/// The user properties of a message as they would be sent.
fn sent(properties: &[(u8, Value)]) -> Properties {
    let users = properties.iter().cloned();
    users.fold(Properties::new(), |properties, (id, value)| {
        properties.with(id, value)
    })
}

/// A22: thousands of user properties in one packet, in every packet that can carry them. They are
/// passed on as they came; where the size of the packet has a limit, it holds for them too.
pub fn a22_thousands_of_user_properties(binary: &BinaryUnderTest) {
    const V5: Version = Version::V5;
    // Three copies of the largest: as it comes, in the outbox, and in the allocator's reserve.
    let mut arena = Arena::new(binary).allow_growth(64 << 20);
    let start = Instant::now();
    let many = user_properties(2000);
    // In packets that go no further.
    for (attack, told) in [
        (
            wire::subscribe_with(V5, 1, &many, &[("user", 0)]),
            Told::Suback(0),
        ),
        (
            packet(0xe0, [&[0x04][..], &many.bytes()].concat()),
            Told::Nothing,
        ),
        (
            packet(0x40, [&[0, 1, 0x10][..], &many.bytes()].concat()),
            Told::NothingAndLives,
        ),
    ] {
        let attack = Attack::by_client(V5, attack).told(told);
        // All of it is allowed.
        arena.attack(&attack.not_counted());
    }
    let unsubscribe = [&[0, 1][..], &many.bytes(), &[0, 1, b'u']].concat();
    let mut client = Client::connect(arena.broker(), V5, "unsubscribes");
    client.send(packet(0xa2, unsubscribe));
    assert_eq!(client.expect_any().unsuback(V5).codes, [0x11]);
    client.disconnect();
    // In CONNECT, within its limit and above it.
    for (count, fits) in [(10_000, true), (30_000, false)] {
        let connect = wire::connect(V5)
            .client_id("user properties")
            .properties(user_properties(count));
        if fits {
            Client::connect_with(arena.broker(), &connect)
                .0
                .disconnect();
        } else {
            let attack = Attack::by_stranger(V5, connect.bytes()).only_whole();
            arena.attack(&attack.counted("ended_packet_too_large"));
        }
    }
    // In messages: published, retained and willed.
    let mut reader = Client::connect(arena.broker(), V5, "reader");
    reader.subscribe("user/#");
    let mut old = Client::connect(arena.broker(), Version::V3_1_1, "old");
    old.subscribe("user/#");
    let mut publisher = Client::connect(arena.broker(), V5, "publisher");
    let many = user_properties(50_000);
    let empty = (0..2 << 20).fold(Properties::new(), |p, _| p.user("", ""));
    for (topic, properties) in [("user/many", &many), ("user/empty", &empty)] {
        let publish = wire::publish(V5, topic, "x").properties(properties.clone());
        publisher.send(publish.bytes());
        let publish = reader.expect_publish(topic, "x", false);
        assert!(sent(&publish.properties) == *properties, "they are altered");
        assert!(old.expect_publish(topic, "x", false).properties.is_empty());
    }
    let publish = wire::publish(V5, "user/kept", "x").retain();
    publisher.send(publish.properties(many.clone()).bytes());
    reader.expect_publish("user/kept", "x", false);
    old.expect_publish("user/kept", "x", false);
    let mut late = Client::connect(arena.broker(), V5, "late");
    late.subscribe("user/kept");
    let publish = late.expect_publish("user/kept", "x", true);
    assert!(sent(&publish.properties) == many, "they are altered");
    let will = Will {
        properties: user_properties(10_000),
        ..Will::new("user/will", "x")
    };
    let connect = wire::connect(V5).client_id("mortal").will(will.clone());
    drop(Client::connect_with(arena.broker(), &connect));
    let publish = reader.expect_publish("user/will", "x", false);
    assert!(
        sent(&publish.properties) == will.properties,
        "they are altered"
    );
    arena.assert_well();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "it took {took:?}");
    drop((reader, old, publisher, late));
    arena.finish();
}

/// A27: very many retained topics, then subscribers to all of them: some read, some do not, some
/// subscribe again and again, some unsubscribe meanwhile.
pub fn a27_many_retained_topics(binary: &BinaryUnderTest) {
    const TOPICS: usize = 100_000;
    const EACH: usize = 5;
    // 100,000 messages, and outboxes of 8 MiB for those that do not read.
    let mut arena = Arena::new(binary).allow_growth((100 << 20) + (3 * EACH as u64) * (10 << 20));
    let mut publisher = Client::connect(arena.broker(), Version::V5, "publisher");
    let topic = |n: usize| format!("kept/{}/{}/{n}", n % 10, n % 1000);
    for chunk in (0..TOPICS).collect::<Vec<_>>().chunks(1000) {
        let packets = chunk.iter().flat_map(|n| {
            let publish = wire::publish(Version::V5, topic(*n), n.to_string());
            publish.retain().bytes()
        });
        publisher.send(packets.collect::<Vec<u8>>());
    }
    publisher.fence();
    arena.assert_well();
    let connect = |arena: &Arena, n: usize, name: &str| {
        Client::connect(arena.broker(), Version::ALL[n % 3], &format!("{name}{n}"))
    };
    let mut deaf = Vec::new();
    for n in 0..EACH {
        let mut silent = connect(&arena, n, "deaf");
        silent.send(wire::subscribe(silent.version(), 1, &[("kept/#", 0)]));
        let mut changing = connect(&arena, n, "changing");
        let version = changing.version();
        let change = [
            wire::subscribe(version, 1, &[("kept/#", 0), ("kept/+/#", 0), ("#", 0)]),
            wire::unsubscribe(version, 2, &["kept/#", "kept/+/#", "#"]),
        ];
        changing.send(change.concat().repeat(50));
        deaf.extend([silent, changing]);
    }
    // They read nothing, so the broker may stop reading from them: sending must not block the test.
    let insisting: Vec<_> = (0..EACH)
        .map(|n| {
            let client = connect(&arena, n, "insisting");
            let subscribe = wire::subscribe(client.version(), 1, &[("kept/#", 0), ("+/+/+/+", 0)]);
            let mut writer = client.writer();
            let thread = thread::spawn(move || {
                let subscribe = subscribe.repeat(100);
                while writer.write_all(&subscribe).is_ok() {}
            });
            (client, thread)
        })
        .collect();
    let readers: Vec<_> = (0..EACH)
        .map(|n| {
            let mut reader = connect(&arena, n, "reader");
            thread::spawn(move || {
                reader.subscribe(["kept/#", "kept/+/+/+", "+/+/+/+"][n % 3]);
                let mut seen = BTreeSet::new();
                for _ in 0..TOPICS {
                    let publish = reader.expect_message();
                    assert!(publish.retain);
                    let n: usize = publish.topic.rsplit('/').next().unwrap().parse().unwrap();
                    assert_eq!(publish.payload, n.to_string().as_bytes());
                    assert!(seen.insert(n), "{} came twice", publish.topic);
                }
                reader.ping();
            })
        })
        .collect();
    while !readers.iter().all(thread::JoinHandle::is_finished) {
        arena.assert_well();
    }
    for reader in readers {
        assert!(reader.join().is_ok(), "a reader was harmed");
    }
    arena.assert_well();
    for (client, thread) in insisting {
        // Whoever reads gets on.
        client.writer().shutdown(std::net::Shutdown::Both).ok();
        thread.join().expect("its writes fail now");
    }
    drop((deaf, publisher));
    arena.finish();
}

/// Filters without end from one client: as many as its session may hold by number and by bytes,
/// then it hears that its quota is used up. They cost memory in proportion, whatever their form,
/// and they all go with it.
pub fn a27_filters_without_end(binary: &BinaryUnderTest) {
    /// What the filters of one client may have together, by default.
    const QUOTA: usize = 16 << 20;
    for (name, filters, growth) in forms() {
        eprintln!("{name}");
        let mut arena = Arena::new(binary).allow_growth(growth);
        let version = Version::V5;
        let mut client = Client::connect(arena.broker(), version, "greedy");
        let (mut granted, mut bytes, mut refused) = (0, 0, 0);
        for chunk in filters.chunks(200) {
            let request: Vec<(&str, u8)> =
                chunk.iter().map(|filter| (filter.as_str(), 0)).collect();
            let codes = client.subscribe_with(&Properties::new(), &request);
            for (filter, code) in chunk.iter().zip(codes) {
                if code == 0 {
                    granted += 1;
                    bytes += filter.len();
                } else {
                    assert_eq!(code, 0x97);
                    refused += 1;
                }
            }
        }
        assert!(
            refused > 0,
            "{granted} filters of {bytes} bytes were granted"
        );
        assert!(granted <= 100_000 && bytes <= QUOTA);
        arena.expect_count("subscriptions_refused_quota_exceeded", refused);
        let address = client.address().to_string();
        arena.promise_log(vec![address, "refused: quota exceeded".into()]);
        arena.assert_well();
        client.disconnect();
        arena.finish();
    }
}

/// Sets of filters, each more than one client may have, and how much memory they may take.
fn forms() -> [(&'static str, Vec<String>, u64); 4] {
    let long = "x".repeat(60_000);
    let deep = "/".repeat(120);
    let words = "/a".repeat(60);
    [
        (
            "short",
            (0..110_000).map(|n| format!("{n}")).collect(),
            64 << 20,
        ),
        (
            "long",
            (0..320).map(|n| format!("{n:04}{long}")).collect(),
            64 << 20,
        ),
        (
            "deep",
            (0..150_000).map(|n| format!("{n}{deep}")).collect(),
            64 << 20,
        ),
        (
            "words",
            (0..150_000).map(|n| format!("{n}{words}")).collect(),
            64 << 20,
        ),
    ]
}
