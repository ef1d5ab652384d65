//! Peers that take their time: A20, A21 and A24.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::attack::Arena;
use crate::broker::BinaryUnderTest;
use crate::client::{Client, Next};
use crate::suite::versions;
use crate::wire::{self, PINGREQ, Version, kind};

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
        .wait_for_log_since(0, &["deaf", "slow"], crate::PATIENCE);
    assert!(line.is_some(), "nothing is logged of the slow consumer");
    drop(deaf);
    let stopped = arena.finish();
    let dropped = stopped.counter("dropped_outbox_full");
    assert!(dropped > 1000, "dropped_outbox_full={dropped}");
}
