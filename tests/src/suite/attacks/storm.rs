//! Many at once: A19 and A29.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};
use std::thread;

use crate::attack::Arena;
use crate::broker::BinaryUnderTest;
use crate::client::{Client, Next};
use crate::wire::{self, PINGREQ, Version, Will, kind};

/// A19: hundreds of connections with one client identifier, subscribing as they go. Exactly one
/// remains, with what it has subscribed to itself; of the others nothing is left but their wills.
pub fn a19_takeover_storm(binary: &BinaryUnderTest) {
    const SIDES: usize = 8;
    const EACH: usize = 50;
    let mut arena = Arena::new(binary);
    let mut heirs = Client::connect(arena.broker(), Version::V5, "heirs");
    heirs.subscribe("will/#");
    let barrier = Arc::new(Barrier::new(SIDES));
    let sides: Vec<_> = (0..SIDES)
        .map(|side| {
            let address = arena.broker().address();
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                barrier.wait();
                (0..EACH)
                    .map(|n| storming(Client::dial_address(address, Version::ALL[n % 3]), side, n))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    while !sides.iter().all(thread::JoinHandle::is_finished) {
        arena.assert_well();
    }
    let sides = sides.into_iter().map(|side| side.join().expect("let in"));
    let mut alive = Vec::new();
    for (mut client, own) in sides.flatten() {
        client.throw(&PINGREQ, 2);
        loop {
            match client.receive() {
                Next::Packet(packet) => match packet.kind() {
                    kind::SUBACK => {}
                    kind::DISCONNECT => assert_eq!(packet.disconnect().reason, 0x8e),
                    kind => {
                        assert_eq!(kind, kind::PINGRESP);
                        alive.push((client, own));
                        break;
                    }
                },
                // What it has sent after its end may reset the connection.
                Next::Closed | Next::Reset => {
                    let address = client.address().to_string();
                    arena.promise_log(vec![address, "storm".into(), "connected again".into()]);
                    break;
                }
                Next::Silence => panic!("a connection was forgotten"),
            }
        }
    }
    assert_eq!(alive.len(), 1, "exactly one remains");
    let taken_over = SIDES * EACH - 1;
    arena.expect_count("ended_taken_over", taken_over as u64);
    arena.expect_count("wills_published", taken_over as u64);
    // Each will exactly once, but that of the one that remains.
    let (mut survivor, own) = alive.swap_remove(0);
    let mut wills = collect(&mut heirs, taken_over);
    assert_eq!(wills.remove(&format!("will/{own}")), None);
    assert_eq!(wills.len(), taken_over);
    heirs.ping();
    // One copy to the one that remains, of what it has subscribed to and nothing else.
    let mut publisher = Client::connect(arena.broker(), Version::V5, "publisher");
    let mut unheard = 0;
    for side in 0..SIDES {
        for n in 0..EACH {
            let name = format!("{side}/{n}");
            publisher.publish(&format!("storm/{name}"), "x");
            if name == own {
                survivor.expect_publish(&format!("storm/{name}"), "x", false);
            } else {
                unheard += 1;
            }
        }
    }
    publisher.publish("storm", "for all");
    survivor.expect_publish("storm", "for all", false);
    survivor.ping();
    survivor.disconnect();
    publisher.publish("storm", "for nobody");
    publisher.fence();
    let unheard = unheard + 1 + Client::FENCE_MESSAGES;
    arena.expect_count("publish_without_subscriber", unheard);
    drop((heirs, publisher));
    arena.finish();
}

/// Connects and subscribes in one go, and waits until it has been let in.
fn storming(mut client: Client, side: usize, n: usize) -> (Client, String) {
    let own = format!("{side}/{n}");
    let version = client.version();
    let connect = wire::connect(version)
        .client_id("storm")
        .will(Will::new(format!("will/{own}"), "gone"));
    let topic = format!("storm/{own}");
    let filters = [("storm", 0), (topic.as_str(), 0)];
    let subscribe = wire::subscribe(version, 1, &filters);
    client.throw(&[connect.bytes(), subscribe].concat(), usize::MAX);
    client.expect_connack(0);
    (client, own)
}

/// The messages that come next, by topic; none may come twice.
fn collect(client: &mut Client, count: usize) -> BTreeMap<String, Vec<u8>> {
    let mut messages = BTreeMap::new();
    for _ in 0..count {
        let publish = client.expect_message();
        let before = messages.insert(publish.topic.clone(), publish.payload);
        assert_eq!(before, None, "{} came twice", publish.topic);
    }
    messages
}

/// A29: a thousand clients with wills are cut at once: each will is published once, and kept if it
/// was to be.
pub fn a29_will_storm(binary: &BinaryUnderTest) {
    const CLIENTS: usize = 1000;
    let mut arena = Arena::new(binary).allow_growth(16 << 20);
    let mut heirs = Client::connect(arena.broker(), Version::V5, "heirs");
    heirs.subscribe("will/#");
    let clients = mortals(&arena, CLIENTS);
    drop(clients);
    let wills = collect(&mut heirs, CLIENTS);
    assert_eq!(wills.len(), CLIENTS);
    assert!(wills.values().all(|payload| payload.len() == 1000));
    heirs.ping();
    let mut late = Client::connect(arena.broker(), Version::V3_1_1, "late");
    late.subscribe("will/#");
    for _ in 0..CLIENTS.div_ceil(2) {
        assert!(late.expect_message().retain);
    }
    late.ping();
    arena.expect_count("wills_published", CLIENTS as u64);
    arena.expect_count("ended_end_of_stream", CLIENTS as u64);
    late.disconnect();
    heirs.disconnect();
    arena.finish();
}

/// A29: the same among clients that have subscribed to each other's wills and are all cut: the
/// wills of the dead go to the dying.
pub fn a29_wills_for_each_other(binary: &BinaryUnderTest) {
    const CLIENTS: usize = 300;
    // Every will may have to wait for every client before it is known to be gone: about 300 kB
    // each.
    let mut arena = Arena::new(binary).allow_growth(128 << 20);
    let mut heirs = Client::connect(arena.broker(), Version::V5, "heirs");
    heirs.subscribe("will/#");
    let mut clients = mortals(&arena, CLIENTS);
    for client in &mut clients {
        client.subscribe("will/#");
    }
    drop(clients);
    assert_eq!(collect(&mut heirs, CLIENTS).len(), CLIENTS);
    heirs.ping();
    arena.expect_count("wills_published", CLIENTS as u64);
    heirs.disconnect();
    arena.finish();
}

/// Clients with wills, every other of which is to be retained.
fn mortals(arena: &Arena, count: usize) -> Vec<Client> {
    let mortal = |n: usize| {
        let version = Version::ALL[n % 3];
        let will = Will {
            retain: n.is_multiple_of(2),
            ..Will::new(format!("will/{n}"), [b'w'; 1000])
        };
        let connect = wire::connect(version).client_id(format!("m{n}")).will(will);
        Client::connect_with(arena.broker(), &connect).0
    };
    (0..count).map(mortal).collect()
}
