//! What a broker promises while its disk fails, is slow, or takes nothing any more.

use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::broker::{BinaryUnderTest, Broker, run_command_to_end};
use crate::client::{Client, Next};
use crate::suite::http;
use crate::suite::power::Disk;
use crate::wire::{self, Version, kind};

/// How MQTT 5 is told that the store fails.
const REFUSED: u8 = 0x83;

/// How long one sync of a slow disk takes.
const SLOW: Duration = Duration::from_secs(3);

/// How long is looked whether something that must not happen does.
const A_WHILE: Duration = Duration::from_secs(1);

/// A broker with health and metrics, on a disk that can fail.
fn start(binary: &BinaryUnderTest, disk: &Disk, more: &[(&str, &str)]) -> Broker {
    let variables = disk.variables();
    let variables = variables.iter().map(|(name, is)| (*name, &**is));
    let http = [("WHERRY_HTTP_LISTEN", "127.0.0.1:0")];
    let all: Vec<_> = variables.chain(http).chain(more.iter().copied()).collect();
    binary.start_with_variables(&all)
}

/// A session that is to get all that is published to `kept`, and is away.
fn away(broker: &Broker) -> wire::Connect {
    let lasting = wire::lasting(Version::V5, "away");
    let (mut client, _) = Client::connect_with(broker, &lasting);
    client.subscribe_at("kept", 2);
    client.disconnect();
    lasting
}

/// Publishes to `kept` and does not wait for the answer.
fn publish(publisher: &mut Client, qos: u8, text: &str) -> u16 {
    let id = publisher.packet_id();
    let publish = wire::publish(publisher.version(), "kept", text);
    publisher.send(publish.qos(qos, id).bytes());
    id
}

/// Asserts that the session gets these, in this order, and nothing else.
fn expect_kept(broker: &Broker, lasting: &wire::Connect, texts: &[&str]) {
    let mut client = Client::resume(broker, lasting);
    for text in texts {
        let message = client.expect_any_message();
        assert_eq!(String::from_utf8_lossy(&message.payload), *text);
        client.acknowledge(&message);
    }
    client.ping();
}

/// How many lines of the log tell of errors.
fn errors(broker: &Broker) -> usize {
    let log = broker.log_since(0);
    log.iter().filter(|line| line.contains("ERROR")).count()
}

/// The disk fails, in one way: what was routed waits, what needs the store is refused before it
/// reaches anyone, what needs none goes on, health and log tell, and when the disk is well so is
/// the broker, without a restart; nothing that was acknowledged is lost.
fn fails(binary: &BinaryUnderTest, fault: &str, told: &str) {
    eprintln!("{fault}");
    let disk = Disk::new(binary, &format!("fails-{fault}"));
    let broker = start(binary, &disk, &[]);
    let health = http::at(&broker);
    let lasting = away(&broker);
    let mut here = Client::connect(&broker, Version::V5, "here");
    here.subscribe_at("kept", 0);
    let (mut stays, _) = Client::connect_with(&broker, &wire::lasting(Version::V5, "stays"));
    let mut one = Client::connect(&broker, Version::V5, "one");
    let mut two = Client::connect(&broker, Version::V5, "two");
    let mut old = Client::connect(&broker, Version::V3_1_1, "old");
    assert_eq!(one.publish_at(1, "kept", "before"), 0);
    here.expect_publish("kept", "before", false);
    assert!(http::get(health, "/readyz").is(200, "ok\n"));

    disk.is(fault);
    let during = publish(&mut one, 1, "during");
    let said = broker.wait_for_log_since(0, &["ERROR", "the store in", told], PATIENCE);
    assert!(said.is_some(), "the log says what is wrong: {told}");
    // It was on its way before anybody knew.
    here.expect_publish("kept", "during", false);
    let is_known = || http::metrics(health)["wherry_store_failing"] == 1.0;
    let deadline = Instant::now() + PATIENCE;
    while !is_known() {
        assert!(Instant::now() < deadline, "the shard does not hear of it");
    }
    let count = refused(&broker, binary.shards, &mut two, &mut old);
    let ready = http::get(health, "/readyz");
    assert_eq!(ready.code, 503);
    assert!(ready.body.contains("the store fails: "), "{}", ready.body);
    assert!(http::get(health, "/healthz").is(200, "ok\n"));
    let metrics = http::metrics(health);
    assert!(metrics["wherry_store_write_failures_total"] >= 1.0);
    let refused = "wherry_publish_refused_total{reason=\"store_failing\"}";
    assert_eq!(metrics[refused], f64::from(count));
    // A session is a promise.
    for (version, unavailable) in [(Version::V5, 0x88), (Version::V3_1_1, 3)] {
        let mut client = Client::dial(&broker, version);
        client.send(wire::lasting(version, "new").bytes());
        client.expect_refusal(unavailable);
    }
    stays.send(wire::subscribe(Version::V5, 7, &[("late", 1)]));
    let silence = stays.next_until(Instant::now() + Duration::from_millis(500));
    assert_eq!(silence, Next::Silence, "so is a subscription");
    let silence = one.next_until(Instant::now() + Duration::from_millis(1));
    assert_eq!(silence, Next::Silence, "what was routed waits");
    // It has tried more often than that by now.
    assert!(errors(&broker) <= 2, "{:#?}", broker.log_since(0));

    disk.is("");
    assert_eq!(one.expect_ack(kind::PUBACK, during), 0);
    assert_eq!(stays.expect_any().suback(Version::V5).codes, [1]);
    Client::connect_with(&broker, &wire::lasting(Version::V5, "new"));
    let said = broker.wait_for_log("the store is well again", PATIENCE);
    assert!(said.is_some(), "the log says that it is over");
    assert!(http::get(health, "/readyz").is(200, "ok\n"));
    assert_eq!(http::metrics(health)["wherry_store_failing"], 0.0);
    assert_eq!(two.publish_at(1, "kept", "after"), 0);
    assert_eq!(two.publish_at(2, "kept", "at last"), 0);
    here.expect_publish("kept", "after", false);
    here.expect_publish("kept", "at last", false);
    drop(broker);
    let broker = start(binary, &disk, &[]);
    expect_kept(&broker, &lasting, &["before", "during", "after", "at last"]);
}

/// What needs the store is not taken, and what needs none is. Returns how many messages were
/// refused.
fn refused(broker: &Broker, shards: u8, five: &mut Client, old: &mut Client) -> u32 {
    let mut count = 4;
    assert_eq!(five.publish_at(1, "kept", "refused"), REFUSED);
    assert_eq!(five.publish_at(2, "kept", "refused"), REFUSED);
    let id = five.packet_id();
    let retained = wire::publish(Version::V5, "elsewhere", "refused").retain();
    five.send(retained.qos(1, id).bytes());
    assert_eq!(five.expect_ack(kind::PUBACK, id), REFUSED);
    publish(old, 1, "refused");
    // Not acknowledged, and served.
    old.ping();
    for (name, version) in [("guest", Version::V5), ("older guest", Version::V3_1_1)] {
        let mut guest = Client::connect(broker, version, name);
        guest.subscribe_at("live/#", 2);
        for qos in 0..=2 {
            let outcome = five.publish_at(qos, "live/x", "x");
            // What goes to another shard is refused: nobody here knows whether it needs the store.
            if outcome == 0 || qos == 0 || shards == 1 {
                assert_eq!(outcome, 0);
                let message = guest.expect_qos(qos, "live/x", "x");
                guest.acknowledge(&message);
            } else {
                assert_eq!(outcome, REFUSED);
                count += 1;
            }
        }
        guest.ping();
        guest.disconnect();
    }
    count
}

/// Writes and syncs fail with an I/O error.
pub fn a_disk_with_errors_delays_and_loses_nothing(binary: &BinaryUnderTest) {
    fails(binary, "io", "I/O error");
}

/// Writes fail, and what was written is safe.
pub fn a_disk_that_takes_no_writes_delays_and_loses_nothing(binary: &BinaryUnderTest) {
    fails(binary, "write", "I/O error");
}

/// Writes seem to succeed, and syncs fail.
pub fn a_disk_that_does_not_sync_delays_and_loses_nothing(binary: &BinaryUnderTest) {
    fails(binary, "sync", "I/O error");
}

/// There is no room, for whoever needs some.
pub fn a_full_disk_refuses_what_needs_room_alone(binary: &BinaryUnderTest) {
    fails(binary, "full", "has no room");
}

/// The file system is mounted anew, only to be read, as systems do when a disk fails: the log comes
/// to name the reason.
pub fn a_disk_that_becomes_read_only_delays_and_loses_nothing(binary: &BinaryUnderTest) {
    fails(binary, "readonly", "cannot be written");
}

/// A disk that takes seconds delays what is promised by it, and nothing else
/// [MQTT-3.1.2-24, MQTT-4.6.0-6].
pub fn a_slow_disk_delays_acknowledgements_alone(binary: &BinaryUnderTest) {
    let disk = Disk::new(binary, "slow");
    let broker = start(binary, &disk, &[]);
    let health = http::at(&broker);
    let lasting = away(&broker);
    let mut here = Client::connect(&broker, Version::V5, "here");
    here.subscribe_at("kept", 0);
    here.subscribe_at("live", 1);
    let mut one = Client::connect(&broker, Version::V5, "one");
    let mut two = Client::connect(&broker, Version::V5, "two");
    disk.is("slow 3000");
    let began = Instant::now();
    let first = publish(&mut one, 1, "first");
    here.expect_publish("kept", "first", false);
    let second = publish(&mut one, 2, "second");
    here.expect_publish("kept", "second", false);
    for _ in 0..3 {
        two.ping();
        one.ping();
        // Shards answer each other in order, so there it may wait behind what needs the disk.
        if binary.shards == 1 {
            assert_eq!(two.publish_at(1, "live", "x"), 0);
            let message = here.expect_qos(1, "live", "x");
            here.acknowledge(&message);
        }
        two.publish("live", "y");
        here.expect_publish("live", "y", false);
        Client::connect(&broker, Version::V3_1_1, "guest").disconnect();
        assert!(http::get(health, "/readyz").is(200, "ok\n"));
    }
    assert!(began.elapsed() < SLOW, "{:?}", began.elapsed());
    assert_eq!(one.expect_ack(kind::PUBACK, first), 0);
    assert!(began.elapsed() >= SLOW, "it was told early");
    assert_eq!(one.expect_ack(kind::PUBREC, second), 0);
    disk.is("");
    one.ack(kind::PUBREL, second);
    assert_eq!(one.expect_ack(kind::PUBCOMP, second), 0);
    assert_eq!(errors(&broker), 0, "slow is not wrong");
    drop(broker);
    let broker = start(binary, &disk, &[]);
    expect_kept(&broker, &lasting, &["first", "second"]);
}

/// What waits for a slow disk is bounded: beyond that publishers are not read, and wait. Others do
/// not.
pub fn a_slow_disk_slows_publishers_and_not_others(binary: &BinaryUnderTest) {
    const MIB: u64 = 1 << 20;
    let disk = Disk::new(binary, "bounded");
    let limit = [("WHERRY_PERSISTENCE_MAX_UNCOMMITTED_BYTES", "1048576")];
    let broker = start(binary, &disk, &limit);
    let health = http::at(&broker);
    let lasting = away(&broker);
    let mut other = Client::connect(&broker, Version::V5, "other");
    disk.is("slow 60000");
    let before = broker.rss_bytes();
    let payload = vec![b'x'; 100_000];
    let publisher = Client::connect(&broker, Version::V5, "publisher");
    let mut stream = publisher.writer();
    let sending = std::thread::spawn(move || {
        for id in 1..=400 {
            let publish = wire::publish(Version::V5, "kept", &payload).qos(1, id);
            std::io::Write::write_all(&mut stream, &publish.bytes()).expect("it takes it at last");
        }
    });
    let uncommitted = || http::metrics(health)["wherry_store_uncommitted_bytes"] as u64;
    let deadline = Instant::now() + PATIENCE;
    // Each shard has its part of the room.
    while uncommitted() <= MIB / u64::from(binary.shards) {
        assert!(Instant::now() < deadline, "{}", uncommitted());
    }
    let slowed = Instant::now();
    while slowed.elapsed() < A_WHILE {
        other.ping();
        assert!(uncommitted() < 3 * MIB, "{}", uncommitted());
    }
    assert!(!sending.is_finished(), "all of it was taken");
    let grown = broker.rss_bytes().saturating_sub(before);
    assert!(grown < 16 * MIB, "{grown}");
    disk.is("");
    let mut publisher = publisher;
    for id in 1..=400 {
        assert_eq!(publisher.expect_ack(kind::PUBACK, id), 0);
    }
    sending.join().expect("it has sent everything");
    drop(broker);
    let broker = start(binary, &disk, &[]);
    let mut client = Client::resume(&broker, &lasting);
    for _ in 0..400 {
        let message = client.expect_any_message();
        client.acknowledge(&message);
    }
    client.ping();
}

/// A broker whose store fails ends when it is told to, and says what it did not write.
pub fn a_broker_whose_store_fails_can_be_stopped(binary: &BinaryUnderTest) {
    let disk = Disk::new(binary, "stopped");
    let broker = start(binary, &disk, &[("WHERRY_LIMITS_SHUTDOWN_TIMEOUT", "1")]);
    let lasting = away(&broker);
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    assert_eq!(publisher.publish_at(1, "kept", "kept"), 0);
    disk.is("io");
    publish(&mut publisher, 1, "nobody was promised this");
    let said = broker.wait_for_log("the store in", PATIENCE);
    assert!(said.is_some(), "it fails");
    // Who stays would be waited for.
    drop(publisher);
    let log = broker.stop().log;
    let said = |words: &str| log.iter().any(|line| line.contains(words));
    assert!(said("not written"), "{log:#?}");
    disk.is("");
    let broker = start(binary, &disk, &[]);
    let mut client = Client::resume(&broker, &lasting);
    client.expect_qos(1, "kept", "kept");
}

/// What cannot be opened or written at the start is told, and the process ends.
pub fn a_disk_that_fails_at_the_start_is_told(binary: &BinaryUnderTest) {
    let disk = Disk::new(binary, "start");
    drop(start(binary, &disk, &[]));
    let refused = |fault: &str, told: &[&str]| {
        disk.is(fault);
        let mut command = binary.command();
        command.envs(disk.variables());
        let (status, said) = run_command_to_end(command);
        assert_eq!(status.code(), Some(1), "{fault}: {said}");
        for told in told.iter().chain([&&*disk.file("data")]) {
            assert!(said.contains(told), "{fault}: {said}");
        }
    };
    refused("readonly", &["cannot be written", "permissions", "mounted"]);
    refused("denied", &["cannot be written", "permissions"]);
    disk.is("");
    Client::connect(&start(binary, &disk, &[]), Version::V5, "client").ping();
}
