//! Peers that take their time: A20, A21 and A24.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::attack::{Arena, USUAL_GROWTH};
use crate::broker::{BinaryUnderTest, Broker};
use crate::client::{Client, Next};
use crate::suite::versions;
use crate::wire::{self, PINGREQ, Version, kind};

/// A20: peers that say nothing, a CONNECT that never gets complete, a packet that never does, and
/// subscribers that do not read. Each is cut when its time is up, however many there are and
/// however diligently they drip.
pub fn a20_slow_loris(binary: &BinaryUnderTest) {
    const EACH: usize = 100;
    /// The shorter of the times: one and a half times a keep-alive of a second.
    const SHORT: Duration = Duration::from_millis(1400);
    let mut arena = Arena::around(binary.start_with_variables(&[
        ("WHERRY_LIMITS_CONNECT_TIMEOUT", "2s"),
        ("WHERRY_LIMITS_CLOSE_TIMEOUT", "500ms"),
    ]));
    let start = Instant::now();
    let mut dripping = Vec::new();
    for n in 0..EACH {
        let version = Version::ALL[n % 3];
        let silent = Client::dial(arena.broker(), version);
        let endless_connect = wire::connect(version).username([b'u'; 60_000]).bytes();
        let stranger = Client::dial(arena.broker(), version);
        for client in [&silent, &stranger] {
            let address = client.address().to_string();
            arena.promise_log(vec![address, "not let in: no complete CONNECT".into()]);
        }
        let connect = wire::connect(version)
            .client_id(format!("drip{n}"))
            .keep_alive(1);
        let client = Client::connect_with(arena.broker(), &connect).0;
        let address = client.address().to_string();
        arena.promise_log(vec![address, "disconnected: nothing heard".into()]);
        let endless = wire::publish(version, "t", [b'x'; 60_000]).bytes();
        dripping.push((silent, Vec::new()));
        dripping.push((stranger, endless_connect));
        dripping.push((client, endless));
    }
    arena.expect_count("ended_connect_timeout", 2 * EACH as u64);
    arena.expect_count("ended_keep_alive_timeout", EACH as u64);
    let mut at = 0;
    while !dripping.is_empty() {
        assert!(start.elapsed() < PATIENCE, "they are never cut");
        dripping.retain_mut(|(client, bytes)| {
            client.throw(bytes.get(at..=at).unwrap_or_default(), 1);
            let soon = Instant::now() + Duration::from_micros(100);
            let mut next = client.next_until(soon);
            if let Next::Packet(packet) = &next {
                assert_eq!(packet.disconnect().reason, 0x8d, "keep-alive timeout");
                next = client.receive();
            }
            match next {
                Next::Silence => true,
                // A byte that came after the end may reset the connection.
                _ => {
                    assert!(start.elapsed() >= SHORT, "{next:?} before the time was up");
                    false
                }
            }
        });
        at += 1;
    }
    arena.assert_well();
    arena.finish();
}

/// A20: subscribers, and clients that ask without end, that never read an answer. What waits for
/// them is bounded, and no byte of it taken in time ends them.
pub fn a20_slow_loris_by_not_reading(binary: &BinaryUnderTest) {
    const EACH: usize = 4;
    const OUTBOX: usize = 1 << 20;
    const PAYLOAD: usize = 64 << 10;
    let broker = binary.start_with_variables(&[
        ("WHERRY_LIMITS_WRITE_TIMEOUT", "2s"),
        ("WHERRY_LIMITS_MAX_OUTBOX_BYTES", "1 MiB"),
    ]);
    let mut arena = Arena::around(broker).allow_growth(USUAL_GROWTH + (2 * EACH * OUTBOX) as u64);
    let promise = |arena: &mut Arena, client: &Client| {
        let address = client.address().to_string();
        arena.promise_log(vec![address, "disconnected: took no byte".into()]);
        arena.expect_count("ended_write_timeout", 1);
    };
    let mut deaf = Vec::new();
    for n in 0..EACH {
        let mut client = Client::connect(arena.broker(), Version::ALL[n % 3], &format!("deaf{n}"));
        client.subscribe("flood");
        promise(&mut arena, &client);
        deaf.push(client);
    }
    let mut asking = Vec::new();
    for n in 0..EACH {
        let mut client = Client::connect(arena.broker(), Version::ALL[n % 3], &format!("asks{n}"));
        promise(&mut arena, &client);
        asking.push(thread::spawn(move || {
            // More than fits into any buffers; the end comes in the middle.
            let pings = PINGREQ.repeat(32 << 10);
            for _ in 0..1024 {
                client.throw(&pings, pings.len());
            }
            // To the end of the test: closing is not what ends them.
            client
        }));
    }
    let mut flood = Client::connect(arena.broker(), Version::V5, "flood");
    let start = Instant::now();
    let cut = |broker: &Broker| {
        let log = broker.log_since(0);
        log.iter().filter(|l| l.contains("took no byte")).count()
    };
    while cut(arena.broker()) < 2 * EACH {
        assert!(start.elapsed() < PATIENCE, "they are never cut");
        flood.publish("flood", [b'x'; PAYLOAD]);
        flood.ping();
    }
    for client in asking {
        deaf.push(client.join().expect("a client that asks does not fail"));
    }
    arena.assert_well();
    arena.finish();
}

/// A21: keep-alive 0 means none, and 65,535 times one and a half fits into no 16 bits.
pub fn a21_extreme_keep_alives(binary: &BinaryUnderTest) {
    let mut arena = Arena::new(binary);
    let mut clients = Vec::new();
    for version in versions() {
        for keep_alive in [0, 43_690, 43_691, 65_534, 65_535] {
            let connect = wire::connect(version)
                .client_id(format!("{version:?}{keep_alive}"))
                .keep_alive(keep_alive);
            clients.push(Client::connect_with(arena.broker(), &connect).0);
            let mut slow = Client::dial(arena.broker(), version);
            slow.send_one_by_one(
                connect
                    .client_id(format!("s{version:?}{keep_alive}"))
                    .bytes(),
            );
            slow.expect_connack(0);
            clients.push(slow);
        }
    }
    // A keep-alive that wrapped around would be over within this time.
    let until = Instant::now() + Duration::from_secs(3);
    for client in &mut clients {
        assert_eq!(client.next_until(until), Next::Silence);
    }
    for client in &mut clients {
        client.ping();
    }
    arena.assert_well();
    drop(clients);
    let stopped = arena.finish();
    assert_eq!(stopped.counter("ended_keep_alive_timeout"), 0);
}

/// A24: a subscriber to everything that does not read, while others flood: it loses messages above
/// its outbox limit, which are counted, and costs nobody else anything.
pub fn a24_a_subscriber_that_does_not_read(binary: &BinaryUnderTest) {
    const FLOOD: usize = 256 << 20;
    const PAYLOAD: usize = 64 << 10;
    // One outbox limit of 8 MiB, and as much again for the allocator and what is on the way.
    let mut arena = Arena::new(binary).allow_growth(24 << 20);
    let mut deaf = Client::connect(arena.broker(), Version::V5, "deaf");
    deaf.subscribe("#");
    let floods = [Version::V3_1_1, Version::V5].map(|version| {
        let mut client = Client::connect(arena.broker(), version, &format!("flood {version:?}"));
        thread::spawn(move || {
            let publish = wire::publish(version, "flood", vec![b'x'; PAYLOAD]).bytes();
            let mut writer = client.writer();
            for _ in 0..FLOOD / PAYLOAD / 2 {
                writer
                    .write_all(&publish)
                    .expect("a publisher is not held up by a reader");
            }
            client.ping();
        })
    });
    for flood in floods {
        while !flood.is_finished() {
            arena.assert_well();
        }
        assert!(flood.join().is_ok(), "a publisher was harmed");
    }
    arena.assert_well();
    // What it is owed within its limit it gets, in order, when it reads again.
    deaf.send(PINGREQ);
    let mut got = 0;
    loop {
        let packet = deaf.expect_any();
        match packet.kind() {
            kind::PINGRESP => break,
            _ => got += packet.body.len(),
        }
    }
    assert!(
        got < 64 << 20,
        "{got} bytes were kept for a client that does not read"
    );
    let line = arena
        .broker()
        .wait_for_log_since(0, &["deaf", "slow"], PATIENCE);
    assert!(line.is_some(), "nothing is logged of the slow consumer");
    drop(deaf);
    let stopped = arena.finish();
    let dropped = stopped.counter("dropped_outbox_full");
    assert!(dropped > 1000, "dropped_outbox_full={dropped}");
}
