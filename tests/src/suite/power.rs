//! What a broker promises over a loss of power, and over a disk that fails.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use crate::PATIENCE;
use crate::broker::{BinaryUnderTest, Broker};
use crate::client::Client;
use crate::power::{self, Loss};
use crate::wire::{self, Version};

/// How many messages are published before the power goes.
const MESSAGES: usize = 300;

/// A directory of data on a disk of its own.
pub(super) struct Disk {
    path: PathBuf,
}

impl Disk {
    pub(super) fn new(binary: &BinaryUnderTest, name: &str) -> Self {
        let program = binary.path.rsplit('/').next().unwrap_or_default();
        let path = env::temp_dir().join(format!("{program}-{}-{name}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("data")).expect("there is room");
        Self { path }
    }

    pub(super) fn file(&self, name: &str) -> String {
        let path = self.path.join(name);
        path.to_str().expect("it is UTF-8").to_owned()
    }

    /// A broker whose disk can lose power and fail.
    fn start(&self, binary: &BinaryUnderTest, durability: &str) -> Broker {
        let mut variables = self.variables();
        variables.push(("POWER_LOG", self.file("log")));
        variables.push(("WHERRY_PERSISTENCE_DURABILITY", durability.to_owned()));
        let variables: Vec<_> = variables.iter().map(|(name, is)| (*name, &**is)).collect();
        binary.start_with_variables(&variables)
    }

    /// The environment of a broker whose disk can fail.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        let library = power::library();
        let library = library.to_str().expect("it is UTF-8");
        vec![
            ("LD_PRELOAD", library.to_owned()),
            ("POWER_DIRECTORY", self.file("data")),
            ("POWER_CONTROL", self.file("control")),
            ("WHERRY_PERSISTENCE_BACKEND", "sqlite".to_owned()),
            ("WHERRY_PERSISTENCE_PATH", self.file("data")),
        ]
    }

    /// Something is wrong with the disk from now on; nothing, if `what` is empty.
    pub(super) fn is(&self, what: &str) {
        // At once: a broker that reads it meanwhile reads the old or the new word.
        fs::write(self.file("next"), what).expect("there is room here");
        fs::rename(self.file("next"), self.file("control")).expect("it was written");
    }

    /// Publishes messages for a session that is away, until the power goes. Returns how many of
    /// them are there after the next start, all in order from the first on.
    fn survivors(&self, binary: &BinaryUnderTest, durability: &str, loss: Loss) -> usize {
        let broker = self.start(binary, durability);
        let lasting = wire::lasting(Version::V5, "lasting");
        let (mut client, _) = Client::connect_with(&broker, &lasting);
        client.subscribe_at("kept", 1);
        client.disconnect();
        let mut publisher = Client::connect(&broker, Version::V5, "publisher");
        for n in 0..MESSAGES {
            assert_eq!(publisher.publish_at(1, "kept", n.to_string()), 0);
        }
        drop(broker);
        power::lose(Path::new(&self.file("log")), loss).expect("the files are there");
        fs::remove_file(self.file("log")).expect("it is there");
        let broker = self.start(binary, durability);
        let (mut client, connack) = Client::connect_either(&broker, &lasting);
        let mut count = 0;
        while connack.session_present && count < MESSAGES {
            let message = client.expect_any_message();
            assert_eq!(message.payload, count.to_string().as_bytes());
            client.acknowledge(&message);
            count += 1;
        }
        client.ping();
        count
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Everything that was acknowledged is there after a loss of power, whatever part of what was not
/// synced came to the disk.
pub fn what_was_acknowledged_outlives_a_loss_of_power(binary: &BinaryUnderTest) {
    let losses = [
        Loss::Everything,
        Loss::Some(1),
        Loss::Some(2),
        Loss::Some(3),
    ];
    for (number, loss) in losses.into_iter().enumerate() {
        let disk = Disk::new(binary, &format!("power-{number}"));
        assert_eq!(disk.survivors(binary, "power", loss), MESSAGES, "{loss:?}");
    }
}

/// The test above would notice a broker that does not wait for the disk: one that was told to
/// promise less loses messages.
pub fn who_does_not_sync_loses_what_was_acknowledged(binary: &BinaryUnderTest) {
    let disk = Disk::new(binary, "unsynced");
    let survivors = disk.survivors(binary, "process", Loss::Everything);
    assert!(survivors < MESSAGES, "all of them are there");
}

/// A sync that has failed is not made good by a later one that succeeds: what it was about is
/// written again before anything is acknowledged.
pub fn what_a_sync_has_failed_for_is_written_again(binary: &BinaryUnderTest) {
    let disk = Disk::new(binary, "forgotten");
    let broker = disk.start(binary, "power");
    let lasting = wire::lasting(Version::V5, "lasting");
    let (mut client, _) = Client::connect_with(&broker, &lasting);
    client.subscribe_at("kept", 1);
    client.disconnect();
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    assert_eq!(publisher.publish_at(1, "kept", "0"), 0);
    disk.is("sync");
    let id = publisher.packet_id();
    let publish = wire::publish(Version::V5, "kept", "1").qos(1, id);
    publisher.send(publish.bytes());
    let said = broker.wait_for_log("the store in", PATIENCE);
    assert!(said.is_some(), "the log says what is wrong");
    disk.is("");
    assert_eq!(publisher.expect_ack(wire::kind::PUBACK, id), 0);
    assert_eq!(publisher.publish_at(1, "kept", "2"), 0);
    drop(broker);
    power::lose(Path::new(&disk.file("log")), Loss::Everything).expect("the files are there");
    fs::remove_file(disk.file("log")).expect("it is there");
    let broker = disk.start(binary, "power");
    let mut client = Client::resume(&broker, &lasting);
    for text in ["0", "1", "2"] {
        client.expect_qos(1, "kept", text);
    }
}

/// A full disk refuses and delays, and loses nothing: when there is room again, all goes on without
/// a restart.
pub fn a_full_disk_delays_and_loses_nothing(binary: &BinaryUnderTest) {
    let disk = Disk::new(binary, "full");
    let broker = disk.start(binary, "power");
    let lasting = wire::lasting(Version::V5, "lasting");
    let (mut client, _) = Client::connect_with(&broker, &lasting);
    client.subscribe_at("kept", 1);
    client.disconnect();
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    // What the broker had to write before is written then.
    assert_eq!(publisher.publish_at(1, "kept", "before"), 0);
    disk.is("full");
    let id = publisher.packet_id();
    let publish = wire::publish(Version::V5, "kept", "first").qos(1, id);
    publisher.send(publish.bytes());
    let said = broker.wait_for_log("has no room", PATIENCE);
    assert!(said.is_some(), "the log says what is wrong");
    // What needs no store goes on.
    assert_eq!(
        publisher_of(&broker).publish_at(1, "nobody/has/subscribed", "x"),
        0x10
    );
    disk.is("");
    assert_eq!(publisher.expect_ack(wire::kind::PUBACK, id), 0);
    assert!(
        broker
            .wait_for_log("the store is well again", PATIENCE)
            .is_some()
    );
    assert_eq!(publisher.publish_at(1, "kept", "second"), 0);
    drop(broker);
    let broker = disk.start(binary, "power");
    let mut client = Client::resume(&broker, &lasting);
    for text in ["before", "first", "second"] {
        client.expect_qos(1, "kept", text);
    }
}

fn publisher_of(broker: &Broker) -> Client {
    Client::connect(broker, Version::V5, "another")
}
