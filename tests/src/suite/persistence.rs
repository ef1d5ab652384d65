//! What a broker with a store promises over its end.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use crate::PATIENCE;
use crate::broker::{BinaryUnderTest, Broker, run_to_end};
use crate::client::Client;
use crate::suite::versions;
use crate::wire::{self, Version, kind};

/// A directory of one test of one program, which goes with it.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(binary: &BinaryUnderTest, name: &str) -> Self {
        let program = binary.path.rsplit('/').next().unwrap_or_default();
        let path = env::temp_dir().join(format!("{program}-{}-{name}", process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    pub(super) fn path(&self) -> &str {
        self.0.to_str().expect("it is UTF-8")
    }

    /// A broker that keeps its data there.
    pub(super) fn start(&self, binary: &BinaryUnderTest) -> Broker {
        binary.start_with(&["--data", self.path()])
    }
}

/// Publishes a message that is retained, and waits for its acknowledgement.
pub(super) fn retain(publisher: &mut Client, topic: &str, text: &str) {
    let packet_id = publisher.packet_id();
    let publish = wire::publish(publisher.version(), topic, text);
    publisher.send(publish.retain().qos(1, packet_id).bytes());
    publisher.expect_ack(kind::PUBACK, packet_id);
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Sessions, subscriptions, queued messages in their order and retained messages are there after
/// the process was killed, if they were acknowledged [MQTT-3.1.2-5, MQTT-3.2.2-3, MQTT-4.4.0-1].
pub fn what_was_acknowledged_outlives_a_kill(binary: &BinaryUnderTest) {
    for version in versions() {
        let directory = Directory::new(binary, "kill");
        let broker = directory.start(binary);
        let lasting = wire::lasting(version, "lasting");
        let (mut client, _) = Client::connect_with(&broker, &lasting);
        client.subscribe_at("kept/+", 2);
        client.disconnect();
        let mut publisher = Client::connect(&broker, Version::V5, "publisher");
        for n in 0..20_u8 {
            let topic = format!("kept/{}", n % 3);
            assert_eq!(publisher.publish_at(1 + n % 2, &topic, n.to_string()), 0);
        }
        retain(&mut publisher, "still/there", "x");
        drop(broker);
        let broker = directory.start(binary);
        let mut client = Client::resume(&broker, &lasting);
        let expect = |n: u8| {
            let topic = format!("kept/{}", n % 3);
            client.expect_qos(1 + n % 2, &topic, n.to_string())
        };
        let all: Vec<_> = (0..20).map(expect).collect();
        for message in &all {
            client.acknowledge(message);
        }
        client.subscribe_at("still/#", 1);
        let message = client.expect_any_message();
        assert_eq!(&*message.payload, b"x");
        client.acknowledge(&message);
        client.ping();
    }
}

/// A QoS 2 message that was acknowledged with PUBREC comes once, whichever side of the exchange the
/// kill hits [MQTT-4.3.3-10, MQTT-4.3.3-4].
pub fn a12_a_kill_inside_an_exchange_doubles_nothing(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "exchange");
    let broker = directory.start(binary);
    let sending = wire::lasting(Version::V5, "sending");
    let receiving = wire::lasting(Version::V5, "receiving");
    let (mut receiver, _) = Client::connect_with(&broker, &receiving);
    receiver.subscribe_at("once", 2);
    let (mut sender, _) = Client::connect_with(&broker, &sending);
    let publish = wire::publish(Version::V5, "once", "x").qos(2, 7);
    sender.send(publish.bytes());
    sender.expect_ack(kind::PUBREC, 7);
    let first = receiver.expect_qos(2, "once", "x");
    let packet_id = first.packet_id.expect("it is of QoS 2");
    receiver.ack(kind::PUBREC, packet_id);
    receiver.expect_ack(kind::PUBREL, packet_id);
    drop(broker);
    let broker = directory.start(binary);
    let mut sender = Client::resume(&broker, &sending);
    // It does not know that PUBREC was the last that was lost, and sends it again.
    sender.send(publish.dup().bytes());
    sender.expect_ack(kind::PUBREC, 7);
    sender.ack(kind::PUBREL, 7);
    sender.expect_ack(kind::PUBCOMP, 7);
    let mut receiver = Client::resume(&broker, &receiving);
    receiver.expect_ack(kind::PUBREL, packet_id);
    receiver.ack(kind::PUBCOMP, packet_id);
    receiver.ping();
}

/// What the last to happen before a graceful end was, is stored as well.
pub fn a_stop_leaves_nothing_behind(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "stop");
    let broker = directory.start(binary);
    let lasting = wire::lasting(Version::V5, "lasting");
    let (mut client, _) = Client::connect_with(&broker, &lasting);
    client.subscribe_at("last", 1);
    let will = wire::Will::new("last", "words");
    let will = wire::Will { qos: 1, ..will };
    let dying = wire::connect(Version::V5).client_id("dying").will(will);
    let _dying = Client::connect_with(&broker, &dying);
    let stopped = broker.stop();
    assert!(stopped.status.success(), "{:?}", stopped.status);
    let broker = directory.start(binary);
    let mut client = Client::resume(&broker, &lasting);
    let message = client.expect_any_message();
    assert_eq!(&*message.payload, b"words");
    client.acknowledge(&message);
    client.ping();
    let stopped = broker.stop();
    assert!(stopped.status.success(), "{:?}", stopped.status);
    let left = |name: &str| Path::new(directory.path()).join(name).exists();
    assert!(
        left("wherry.db") && !left("wherry.db-wal"),
        "it is one file"
    );
}

/// A second process on the same store is told who has it, and what to do.
pub fn a_store_is_used_by_one_process(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "lock");
    let broker = directory.start(binary);
    let (status, said) = run_to_end(
        binary.path,
        &["-l", "tcp://127.0.0.1:0", "--data", directory.path()],
    );
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("in use") && said.contains("--data"), "{said}");
    Client::connect(&broker, Version::V5, "alone").ping();
}

/// Where a store cannot be, the message says why; where there is none yet, the log says so.
pub fn a_wrong_directory_is_noticed(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "elsewhere");
    let broker = directory.start(binary);
    let is_told = |broker: &Broker| {
        broker.wait_for_log("the store is read", PATIENCE).is_some()
            && broker
                .log_since(0)
                .iter()
                .any(|line| line.contains("begins empty"))
    };
    assert!(is_told(&broker));
    broker.stop();
    let broker = directory.start(binary);
    assert!(!is_told(&broker));
    broker.stop();
    let file = format!("{}/wherry.db", directory.path());
    for path in [file.clone(), format!("{file}/below")] {
        let start = ["-l", "tcp://127.0.0.1:0", "--data", &path];
        let (status, said) = run_to_end(binary.path, &start);
        assert_eq!(status.code(), Some(1), "{said}");
        let names = said.contains(&path) && said.contains("not a directory");
        assert!(names, "{said}");
    }
}

/// Without a store the log says that nothing is kept, and how it would be.
pub fn without_a_store_the_log_says_so(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let line = broker.wait_for_log("nothing is stored", PATIENCE);
    assert!(line.is_some_and(|line| line.contains("--data DIR")));
}
