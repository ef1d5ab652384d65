//! What outlives a connection: A10, A11, A19, A22, A28 and A29 with sessions and acknowledgements.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::attack::Arena;
use crate::broker::BinaryUnderTest;
use crate::client::{Client, Next};
use crate::random::Random;
use crate::suite::versions;
use crate::wire::{self, Connect, Properties, Received, Value, Version, Will, id, kind};

/// Reads until the answer to a PINGREQ; messages are acknowledged. Returns the payloads.
fn drain(client: &mut Client) -> Vec<Vec<u8>> {
    client.send(wire::PINGREQ);
    let mut payloads = Vec::new();
    loop {
        let packet = client.expect_any();
        if packet.kind() == kind::PINGRESP {
            return payloads;
        }
        payloads.extend(answer(client, &packet));
    }
}

/// Answers a packet of an exchange as it asks for, and returns the payload of a message.
fn answer(client: &mut Client, packet: &Received) -> Option<Vec<u8>> {
    let version = client.version();
    match packet.kind() {
        kind::PUBLISH => {
            let message = packet.publish(version);
            if let Some(id) = message.packet_id {
                let kinds = [kind::PUBACK, kind::PUBREC];
                client.ack(kinds[usize::from(message.qos) - 1], id);
            }
            return Some(message.payload);
        }
        kind::PUBREL => {
            let id = packet.ack(kind::PUBREL, version).packet_id;
            client.ack(kind::PUBCOMP, id);
        }
        kind => {
            packet.ack(kind, version);
        }
    }
    None
}

/// A10: the shared form of a plain filter is unsubscribed, and the reverse, again and again, in one
/// packet and in many, by members and by others. Each form ends with its own UNSUBSCRIBE alone.
pub fn a10_shared_and_plain_filters(binary: &BinaryUnderTest) {
    let mut arena = Arena::new(binary);
    for version in versions() {
        let mut publisher = Client::connect(arena.broker(), version, "publisher");
        let mut other = Client::connect(arena.broker(), version, "other");
        for (plain, topic) in [("s/t", "s/t"), ("s/+", "s/t"), ("s/#", "s"), ("+/t", "s/t")] {
            let mut client = Client::connect(arena.broker(), version, "attacker");
            let none = if version.is_v5() { 0x11 } else { 0 };
            let shared = format!("$share/g/{plain}");
            for (own, foreign) in [(plain, &shared[..]), (&shared, plain)] {
                client.subscribe_at(own, 1);
                for _ in 0..50 {
                    for name in [foreign, "$share/g", "$share/h/s/t", "$share/g/"] {
                        let code = client.unsubscribe(name);
                        assert!([none, 0x8f].contains(&code), "{code:#04x} to {name}");
                    }
                    assert_eq!(other.unsubscribe(own), none);
                    assert_eq!(other.unsubscribe(foreign), none);
                }
                publisher.publish_at(1, topic, "still there");
                assert_eq!(drain(&mut client), [b"still there"]);
                client.send(wire::unsubscribe(version, 9, &[foreign, own, own, foreign]));
                let codes = client.expect_any().unsuback(version).codes;
                assert!(!version.is_v5() || codes == [0x11, 0, 0x11, 0x11]);
                publisher.publish_at(1, topic, "gone");
                client.ping();
            }
            client.disconnect();
            arena.assert_well();
        }
        publisher.disconnect();
        other.disconnect();
    }
    arena.finish();
}

/// A11: QoS 2 identifiers that are never released, and that come again and again with other
/// payloads: what is kept is the identifier, never the message. Each identifier brings one message.
pub fn a11_qos_2_identifiers_without_end(binary: &BinaryUnderTest) {
    let mut arena = Arena::new(binary).allow_growth(32 << 20);
    let mut random = Random::new(11);
    let mut reader = Client::connect(arena.broker(), Version::V5, "reader");
    reader.subscribe("held/#");
    for version in versions() {
        let connect = wire::lasting(version, "holding");
        let (mut client, _) = Client::connect_with(arena.broker(), &connect);
        // 600 identifiers with 60 kB each, in all 36 MB, and each of them three times.
        for packet_id in 1..=600 {
            let publish = wire::publish(version, "held", random.bytes(60_000));
            let publish = publish.qos(2, packet_id);
            for packet in [publish.bytes(), publish.dup().bytes()] {
                client.send(packet);
                assert_eq!(client.expect_ack(kind::PUBREC, packet_id), 0);
            }
            assert_eq!(reader.expect_message().payload.len(), 60_000);
            if packet_id % 50 == 0 {
                drop(client);
                client = Client::resume(arena.broker(), &connect);
                client.send(publish_again(version, packet_id));
                assert_eq!(client.expect_ack(kind::PUBREC, packet_id), 0);
            }
        }
        reader.ping();
        arena.assert_well();
        // One identifier, released as often as it is used.
        for n in 0..5000_u32 {
            let publish = wire::publish(version, "held/one", n.to_string()).qos(2, 1000);
            client.send([publish.bytes(), wire::ack(kind::PUBREL, 1000)].concat());
            client.expect_ack(kind::PUBREC, 1000);
            client.expect_ack(kind::PUBCOMP, 1000);
            assert_eq!(reader.expect_message().payload, n.to_string().as_bytes());
        }
        for packet_id in 1..=600 {
            client.ack(kind::PUBREL, packet_id);
            assert_eq!(client.expect_ack(kind::PUBCOMP, packet_id), 0);
        }
        client.disconnect();
        Client::connect(arena.broker(), version, "holding").disconnect();
    }
    // Before MQTT 5 there is no Receive Maximum: all 65,535 of them.
    let mut client = Client::connect(arena.broker(), Version::V3_1_1, "all");
    for chunk in (1..=u16::MAX).collect::<Vec<_>>().chunks(1000) {
        let packets = chunk.iter().flat_map(|packet_id| {
            let publish = wire::publish(Version::V3_1_1, "nobody", "x");
            publish.qos(2, *packet_id).bytes()
        });
        client.send(packets.collect::<Vec<u8>>());
        for packet_id in chunk {
            client.expect_ack(kind::PUBREC, *packet_id);
        }
    }
    arena.assert_well();
    drop((client, reader));
    arena.finish();
}

fn publish_again(version: Version, packet_id: u16) -> Vec<u8> {
    wire::publish(version, "held", "again")
        .qos(2, packet_id)
        .dup()
        .bytes()
}

/// A11: messages that a client never acknowledges wait in its queue up to its bounds, however often
/// it comes back; then publishers are told.
pub fn a11_acknowledgements_that_never_come(binary: &BinaryUnderTest) {
    // The queue of one client, 64 MiB, and room around it.
    let mut arena = Arena::new(binary).allow_growth(96 << 20);
    let connect = wire::lasting(Version::V5, "silent");
    let (mut silent, _) = Client::connect_with(arena.broker(), &connect);
    silent.subscribe_at("silent", 2);
    let mut publisher = Client::connect(arena.broker(), Version::V5, "publisher");
    let payload = vec![7; 100_000];
    let mut taken = 0;
    loop {
        match publisher.publish_at(1 + (taken % 2), "silent", &payload) {
            0 => taken = (taken + 1) % 100,
            reason => {
                assert_eq!(reason, 0x97);
                break;
            }
        }
        if taken == 99 {
            drop(silent);
            silent = Client::resume(arena.broker(), &connect);
            arena.assert_well();
        }
    }
    arena.assert_well();
    // It all goes with the session.
    drop(silent);
    Client::connect(arena.broker(), Version::V5, "silent").disconnect();
    assert_eq!(publisher.publish_at(1, "silent", &payload), 0x10);
    publisher.disconnect();
    arena.finish();
}

/// A19: a takeover storm for a session that lasts, with subscriptions, messages and unfinished
/// exchanges handed on each time. Exactly one connection remains, and one copy of what comes then.
pub fn a19_takeover_storm_of_a_lasting_session(binary: &BinaryUnderTest) {
    const SIDES: usize = 8;
    const EACH: usize = 40;
    let mut arena = Arena::new(binary).allow_growth(32 << 20);
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
    let clients: Vec<(Client, bool)> = sides.flatten().collect();
    // MQTT 3.1 does not tell.
    let told = clients
        .iter()
        .filter(|(client, _)| client.version() != Version::V3_1);
    let fresh = told.filter(|(_, present)| !present).count();
    assert!(fresh <= 1, "only the first found no session, not {fresh}");
    let mut alive = Vec::new();
    for (mut client, _) in clients {
        client.throw(&wire::PINGREQ, 2);
        if survives(&mut client) {
            alive.push(client);
        }
    }
    assert_eq!(alive.len(), 1, "exactly one remains");
    arena.expect_count("ended_taken_over", (SIDES * EACH) as u64);
    // The last takeover: all that is unfinished comes, and can be finished.
    let connect = wire::lasting(Version::V5, "storm");
    let mut heir = Client::resume(arena.broker(), &connect);
    while !drain(&mut heir).is_empty() {}
    let mut publisher = Client::connect(arena.broker(), Version::V5, "publisher");
    assert_eq!(publisher.publish_at(2, "storm", "for all"), 0);
    assert_eq!(drain(&mut heir), [b"for all"]);
    drain(&mut heir);
    heir.ping();
    heir.disconnect();
    Client::connect(arena.broker(), Version::V5, "storm").disconnect();
    assert_eq!(publisher.publish_at(2, "storm", "for nobody"), 0x10);
    publisher.disconnect();
    drop(alive);
    arena.finish();
}

/// Connects, subscribes and publishes in one go, and waits until it has been let in. Returns
/// whether there was a session.
fn storming(mut client: Client, side: usize, n: usize) -> (Client, bool) {
    let version = client.version();
    let topic = format!("storm/{side}/{n}");
    let bytes = [
        wire::lasting(version, "storm").bytes(),
        wire::subscribe(version, 50_000, &[("storm", 2), (&topic, 1)]),
        wire::publish(version, "storm", "1").qos(1, 1).bytes(),
        wire::publish(version, &topic, "2")
            .qos(2, 2 + n as u16)
            .bytes(),
    ];
    client.throw(&bytes.concat(), usize::MAX);
    let connack = client.expect_any().connack(version);
    assert_eq!(connack.code, 0);
    (client, connack.session_present)
}

/// Whether the connection answers a PINGREQ, whatever comes before.
fn survives(client: &mut Client) -> bool {
    loop {
        match client.receive() {
            Next::Packet(packet) if packet.kind() == kind::PINGRESP => return true,
            Next::Packet(packet) if packet.kind() == kind::DISCONNECT => {
                assert_eq!(packet.disconnect().reason, 0x8e);
            }
            Next::Packet(_) => {}
            Next::Closed | Next::Reset => return false,
            Next::Silence => panic!("a connection was forgotten"),
        }
    }
}

fn user_properties(count: usize) -> Properties {
    (0..count).fold(Properties::new(), |properties, n| {
        properties.user(&format!("n{n}"), &"v".repeat(n % 7))
    })
}

/// A22: thousands of user properties in acknowledgements, and in messages that wait and come again:
/// those go no further, these come as they were.
pub fn a22_user_properties_in_exchanges(binary: &BinaryUnderTest) {
    const V5: Version = Version::V5;
    let mut arena = Arena::new(binary).allow_growth(64 << 20);
    let many = user_properties(20_000);
    let sent = |properties: &[(u8, Value)]| {
        let users = properties.iter().cloned();
        users.fold(Properties::new(), |all, (id, value)| all.with(id, value))
    };
    let connect = wire::lasting(V5, "reader");
    let (mut reader, _) = Client::connect_with(arena.broker(), &connect);
    reader.subscribe_at("user", 2);
    let mut publisher = Client::connect(arena.broker(), V5, "publisher");
    for qos in [1, 2] {
        let publish = wire::publish(V5, "user", "x").properties(many.clone());
        publisher.send(publish.qos(qos, 7).bytes());
        let kind = [kind::PUBACK, kind::PUBREC][usize::from(qos) - 1];
        assert_eq!(publisher.expect_ack(kind, 7), 0);
        if qos == 2 {
            publisher.send(wire::ack_with(kind::PUBREL, 7, 0, &many));
            assert_eq!(publisher.expect_ack(kind::PUBCOMP, 7), 0);
        }
        let got = reader.expect_qos(qos, "user", "x");
        assert!(sent(&got.properties) == many, "they are altered");
        drop(reader);
        reader = Client::resume(arena.broker(), &connect);
        let again = reader.expect_any().publish(V5);
        assert!(
            again.dup && sent(&again.properties) == many,
            "they are altered"
        );
        let id = again.packet_id.unwrap();
        reader.send(wire::ack_with(kind, id, 0, &many));
        if qos == 2 {
            assert_eq!(reader.expect_ack(kind::PUBREL, id), 0);
            reader.send(wire::ack_with(kind::PUBCOMP, id, 0, &many));
        }
        reader.ping();
        arena.assert_well();
    }
    // And where nothing is acknowledged at all, by a client that has recovered.
    reader.send(wire::publish(V5, "new", "x").qos(1, 9).bytes());
    reader.expect_ack(kind::PUBACK, 9);
    for (kind, answer) in [
        (kind::PUBACK, None),
        (kind::PUBREC, Some(kind::PUBREL)),
        (kind::PUBREL, Some(kind::PUBCOMP)),
        (kind::PUBCOMP, None),
    ] {
        for _ in 0..20 {
            reader.send(wire::ack_with(kind, 999, 0, &many));
            if let Some(answer) = answer {
                assert_eq!(reader.expect_ack(answer, 999), 0x92);
            }
        }
        reader.ping();
    }
    arena.assert_well();
    drop((reader, publisher));
    arena.finish();
}

/// A28: client identifiers without end, each with a session that lasts as long as may be: there are
/// only so many, then nobody new is let in (0x97, before MQTT 5 code 3) until some have ended; who
/// is there notices nothing.
pub fn a28_random_client_ids_with_long_expiry(binary: &BinaryUnderTest) {
    const SESSIONS: usize = 500;
    let broker = binary.start_with_variables(&[
        ("WHERRY_LIMITS_MAX_SESSIONS", "500"),
        ("WHERRY_LIMITS_MAX_SESSION_EXPIRY", "5s"),
    ]);
    let mut arena = Arena::around(broker).allow_growth(32 << 20);
    let mut random = Random::new(28);
    let mut name = || format!("r{:016x}", random.next_u64());
    let lasting = |name: &str, n: usize| {
        let connect = wire::connect(Version::ALL[n % 3])
            .client_id(name)
            .clean(false);
        let will = Will::new("will", "gone");
        connect
            .will(will)
            .with(id::SESSION_EXPIRY_INTERVAL, Value::Four(u32::MAX))
    };
    let mut let_in = Vec::new();
    let mut refused = 0;
    for n in 0..2 * SESSIONS {
        let connect: Connect = lasting(&name(), n);
        let version = connect.version();
        let mut client = Client::dial(arena.broker(), version);
        client.send(connect.bytes());
        let connack = client.expect_any().connack(version);
        if connack.code == 0 {
            client.subscribe_at("greedy/#", 1);
            let_in.push(connect);
            client.disconnect();
        } else {
            assert_eq!(connack.code, if version.is_v5() { 0x97 } else { 3 });
            client.expect_closed();
            refused += 1;
        }
    }
    assert!(refused > 0 && let_in.len() <= SESSIONS);
    // Whoever has a session is let in all the same.
    if let Some(last) = let_in.last() {
        Client::connect_either(arena.broker(), last).0.disconnect();
    }
    // They all end, and there is room again.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = Client::dial(arena.broker(), Version::V5);
        client.send(wire::connect(Version::V5).client_id("patient").bytes());
        if client.expect_any().connack(Version::V5).code == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "no session ends");
        client.next_until(Instant::now() + Duration::from_millis(200));
    }
    arena.assert_well();
    arena.finish();
}

/// A29: a thousand sessions with delayed wills are cut at once. Half of them come back in time: the
/// wills of the others are published, each once, and no more.
pub fn a29_delayed_will_storm(binary: &BinaryUnderTest) {
    const CLIENTS: usize = 600;
    let mut arena = Arena::new(binary).allow_growth(32 << 20);
    let mut heirs = Client::connect(arena.broker(), Version::V5, "heirs");
    heirs.subscribe("will/#");
    // Time to come back in, on a machine that is busy.
    let mortal = |n: usize| {
        let delay = if n.is_multiple_of(2) { 1 } else { 3600 };
        let will = Will {
            properties: Properties::new().with(id::WILL_DELAY_INTERVAL, Value::Four(delay)),
            retain: n.is_multiple_of(3),
            ..Will::new(format!("will/{n}"), [b'w'; 1000])
        };
        wire::lasting(Version::V5, &format!("m{n}")).will(will)
    };
    let clients: Vec<Client> = (0..CLIENTS)
        .map(|n| Client::connect_with(arena.broker(), &mortal(n)).0)
        .collect();
    drop(clients);
    let back: Vec<Client> = (0..CLIENTS)
        .filter(|n| n % 2 == 1)
        .map(|n| {
            let connect = wire::lasting(Version::V5, &format!("m{n}"));
            Client::resume(arena.broker(), &connect)
        })
        .collect();
    let mut wills = Vec::new();
    for _ in 0..CLIENTS / 2 {
        let message = heirs.expect_message();
        assert_eq!(message.payload.len(), 1000);
        wills.push(message.topic);
    }
    wills.sort();
    wills.dedup();
    assert_eq!(wills.len(), CLIENTS / 2, "each once");
    for client in back {
        client.disconnect();
    }
    heirs.ping();
    arena.expect_count("wills_published", (CLIENTS / 2) as u64);
    heirs.disconnect();
    arena.finish();
}
