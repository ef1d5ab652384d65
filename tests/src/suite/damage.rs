//! What a broker promises if its store is damaged, cut off, or none at all.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::broker::{BinaryUnderTest, run_to_end};
use crate::client::{Client, Next};
use crate::random::Random;
use crate::suite::persistence::{Directory, retain};
use crate::wire::{self, Version};

/// How many messages are retained in a store that comes to harm.
const RETAINED: usize = 300;

/// How many wait for a session.
const QUEUED: usize = 200;

/// Where the header of a database says whose it is, and of which version.
const VERSION: u64 = 60;
const APPLICATION: u64 = 68;

impl Directory {
    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.path()).join(name)
    }

    /// The process ends at once, and says why and what can be done.
    fn does_not_start(&self, binary: &BinaryUnderTest, told: &[&str]) {
        let start = ["-l", "tcp://127.0.0.1:0", "--data", self.path()];
        let (status, said) = run_to_end(binary.path, &start);
        assert_eq!(status.code(), Some(1), "{said}");
        for told in told.iter().chain([&self.path()]) {
            assert!(said.contains(told), "{told} is not in: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }

    /// Runs `store VERB` on it. Returns whether that has succeeded, and what it said.
    fn store(&self, binary: &BinaryUnderTest, verb: &str, more: &[&str]) -> (bool, String) {
        let arguments = [&["store", verb, self.path()], more].concat();
        let (status, said) = run_to_end(binary.path, &arguments);
        assert!(!said.contains("panicked"), "{said}");
        (status.success(), said)
    }

    fn repair(&self, binary: &BinaryUnderTest) {
        let (is_done, said) = self.store(binary, "repair", &[]);
        assert!(is_done && said.contains("damaged-1"), "{said}");
    }
}

fn text(number: usize) -> String {
    format!("{number:0300}")
}

/// A store with a session that is away, what waits for it, and what is retained. The process is
/// killed, or stopped, which leaves a single file.
fn fill(binary: &BinaryUnderTest, directory: &Directory, is_killed: bool) -> wire::Connect {
    let broker = directory.start(binary);
    let lasting = wire::lasting(Version::V5, "away");
    let (mut client, _) = Client::connect_with(&broker, &lasting);
    client.subscribe_at("kept", 1);
    client.disconnect();
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    let mut ids = Vec::new();
    for number in 0..RETAINED {
        // Some at once, so that there are some batches.
        if number % 20 == 0 {
            for id in ids.drain(..) {
                assert!(publisher.expect_ack(wire::kind::PUBACK, id) < 0x80);
            }
        }
        let topic = format!("retained/{number}");
        let retained = wire::publish(Version::V5, topic, text(number)).retain();
        let queued = wire::publish(Version::V5, "kept", text(number));
        for publish in [Some(retained), (number < QUEUED).then_some(queued)] {
            let Some(publish) = publish else { continue };
            ids.push(publisher.packet_id());
            publisher.send(publish.qos(1, ids[ids.len() - 1]).bytes());
        }
    }
    for id in ids {
        assert!(publisher.expect_ack(wire::kind::PUBACK, id) < 0x80);
    }
    // Who stays would be waited for.
    drop(publisher);
    match is_killed {
        true => drop(broker),
        false => drop(broker.stop()),
    }
    lasting
}

/// How much of it is there: what waits for the session, and what is retained. All that comes was
/// published.
fn left(binary: &BinaryUnderTest, directory: &Directory, lasting: &wire::Connect) -> [usize; 2] {
    let broker = directory.start(binary);
    let (mut away, _) = Client::connect_either(&broker, lasting);
    away.send(wire::PINGREQ);
    let mut queued = Vec::new();
    while let Next::Packet(packet) = away.receive() {
        if packet.kind() != wire::kind::PUBLISH {
            break;
        }
        let message = packet.publish(Version::V5);
        let number: usize = message.payload.escape_ascii().to_string().parse().unwrap();
        assert_eq!(message.payload, text(number).as_bytes());
        queued.push(number);
    }
    assert!(queued.is_sorted(), "{queued:?}");
    let mut client = Client::connect(&broker, Version::V5, "reader");
    client.subscribe("retained/#");
    client.send(wire::PINGREQ);
    let mut retained = 0;
    while let Next::Packet(packet) = client.receive() {
        if packet.kind() != wire::kind::PUBLISH {
            break;
        }
        let message = packet.publish(Version::V5);
        let number: usize = message.topic["retained/".len()..].parse().unwrap();
        assert_eq!(message.payload, text(number).as_bytes());
        retained += 1;
    }
    // It takes new messages as well.
    assert!(client.publish_at(1, "kept", text(QUEUED)) < 0x80);
    drop((away, client));
    assert!(broker.stop().status.success());
    [queued.len(), retained]
}

/// Something else than a store is in the place of one, or nothing can be there: it is told, nothing
/// is changed, and where it can be set aside that is offered.
pub fn a30_what_is_no_store_is_told_and_left_alone(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "foreign");
    let database = directory.file("wherry.db");
    let lasting = fill(binary, &directory, false);
    let of_another = {
        let mut bytes = fs::read(&database).unwrap();
        bytes[APPLICATION as usize] ^= 1;
        bytes
    };
    let of_nobody = b"This is a text, and has nothing to do with a broker.\n".repeat(100);
    for bytes in [of_another, of_nobody] {
        fs::remove_dir_all(directory.path()).unwrap();
        fs::create_dir(directory.path()).unwrap();
        fs::write(&database, &bytes).unwrap();
        let told = ["holds no store of Wherry", "--data", "wherry store repair"];
        directory.does_not_start(binary, &told);
        for verb in ["check", "export"] {
            let (is_done, said) = directory.store(binary, verb, &[]);
            assert!(!is_done && said.contains("no store of Wherry"), "{said}");
        }
        assert_eq!(fs::read(&database).unwrap(), bytes);
        directory.repair(binary);
        let aside = directory.file("damaged-1").join("wherry.db");
        assert_eq!(fs::read(aside).unwrap(), bytes);
        assert_eq!(left(binary, &directory, &lasting), [0, 0]);
    }
    // A file where the directory should be, and the other way round.
    let file = Directory::new(binary, "file");
    fs::write(file.path(), "a file").unwrap();
    file.does_not_start(binary, &["not a directory"]);
    fs::remove_file(file.path()).unwrap();
    fs::create_dir_all(file.file("wherry.db")).unwrap();
    file.does_not_start(binary, &["fails"]);
}

/// A store that a later version has written is not touched, by nobody.
pub fn a_store_of_a_later_version_is_told_and_left_alone(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "later");
    let database = directory.file("wherry.db");
    fill(binary, &directory, false);
    let file = OpenOptions::new().write(true).open(&database).unwrap();
    file.write_all_at(&77_u32.to_be_bytes(), VERSION).unwrap();
    let before = fs::read(&database).unwrap();
    directory.does_not_start(binary, &["later version", "77", "Run that version"]);
    for verb in ["check", "repair", "export"] {
        let (is_done, said) = directory.store(binary, verb, &[]);
        assert!(!is_done && said.contains("later version"), "{verb}: {said}");
    }
    assert_eq!(fs::read(&database).unwrap(), before);
}

/// Whatever part of the file is lost, the start says what can be done, and that brings back the
/// rest: sessions, what waits for them, and what is retained.
pub fn a30_a_damaged_store_is_told_and_what_can_be_read_comes_back(binary: &BinaryUnderTest) {
    type Harm = fn(&mut Vec<u8>);
    /// What is done to the file, and how much of what was stored may be gone: [queued, retained].
    const HARMS: [(&str, Harm, [usize; 2]); 4] = [
        ("zeroes", |bytes| middle(bytes).fill(0), [80, 80]),
        (
            "garbage",
            |bytes| {
                let middle = middle(bytes);
                let garbage = Random::new(6).bytes(middle.len());
                middle.copy_from_slice(&garbage);
            },
            [80, 80],
        ),
        (
            "truncated",
            |bytes| bytes.truncate(bytes.len() / 4 * 3),
            [QUEUED, RETAINED],
        ),
        (
            "beginning",
            |bytes| bytes[..4096].fill(0),
            [QUEUED, RETAINED],
        ),
    ];
    for (name, harm, most_lost) in HARMS {
        eprintln!("{name}");
        let directory = Directory::new(binary, name);
        let lasting = fill(binary, &directory, false);
        let database = directory.file("wherry.db");
        let mut bytes = fs::read(&database).unwrap();
        harm(&mut bytes);
        fs::write(&database, &bytes).unwrap();
        directory.does_not_start(binary, &["wherry store repair"]);
        assert_eq!(fs::read(&database).unwrap(), bytes, "nothing was changed");
        assert!(!directory.store(binary, "check", &[]).0, "it is not whole");
        directory.repair(binary);
        let aside = directory.file("damaged-1").join("wherry.db");
        assert_eq!(fs::read(aside).unwrap(), bytes, "it is set aside");
        let (is_whole, said) = directory.store(binary, "check", &[]);
        assert!(is_whole, "{said}");
        let [queued, retained] = left(binary, &directory, &lasting);
        eprintln!("{queued} of {QUEUED} queued, {retained} of {RETAINED} retained");
        assert!(queued + most_lost[0] >= QUEUED, "{queued}");
        assert!(retained + most_lost[1] >= RETAINED, "{retained}");
    }
}

/// Two pages in the middle of a file.
fn middle(bytes: &mut [u8]) -> &mut [u8] {
    let begin = (bytes.len() / 2) & !4095;
    &mut bytes[begin..begin + 8192]
}

/// A database that was emptied while its log is still there has lost something.
pub fn an_empty_file_beside_a_log_is_no_new_store(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "emptied");
    let lasting = fill(binary, &directory, true);
    let log = fs::read(directory.file("wherry.db-wal")).unwrap();
    assert!(!log.is_empty());
    fs::write(directory.file("wherry.db"), "").unwrap();
    directory.does_not_start(binary, &["is damaged", "wherry store repair"]);
    assert_eq!(fs::read(directory.file("wherry.db-wal")).unwrap(), log);
    directory.repair(binary);
    assert_eq!(left(binary, &directory, &lasting), [0, 0]);
}

/// Of a log that was cut off, what is whole counts, from the beginning on.
pub fn a30_a_log_that_was_cut_off_brings_back_what_is_whole(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "cut-off");
    let lasting = fill(binary, &directory, true);
    let log = directory.file("wherry.db-wal");
    let log = OpenOptions::new().write(true).open(log).unwrap();
    let whole = log.metadata().unwrap().len();
    log.set_len(whole / 2 + 1000).unwrap();
    let [queued, retained] = left(binary, &directory, &lasting);
    assert!((1..QUEUED).contains(&queued), "{queued}");
    assert!((1..RETAINED).contains(&retained), "{retained}");
}

/// A copy that is made while a broker runs has all that was acknowledged before, and is a store.
pub fn a_copy_that_was_made_meanwhile_has_what_was_acknowledged(binary: &BinaryUnderTest) {
    let directory = Directory::new(binary, "running");
    let copy = Directory::new(binary, "copy");
    let broker = directory.start(binary);
    let lasting = wire::lasting(Version::V5, "away");
    let (mut client, _) = Client::connect_with(&broker, &lasting);
    client.subscribe_at("kept", 1);
    client.disconnect();
    let mut publisher = Client::connect(&broker, Version::V5, "publisher");
    for number in 0..100 {
        retain(&mut publisher, &format!("retained/{number}"), &text(number));
        assert_eq!(publisher.publish_at(1, "kept", text(number)), 0);
    }
    let (at_least, at_most) = std::thread::scope(|scope| {
        let copying = scope.spawn(|| directory.store(binary, "backup", &[copy.path()]));
        let mut number = 100;
        // It goes on meanwhile, and for a while after.
        while !copying.is_finished() || number < 150 {
            retain(&mut publisher, &format!("retained/{number}"), &text(number));
            assert_eq!(publisher.publish_at(1, "kept", text(number)), 0);
            number += 1;
        }
        let (is_done, said) = copying.join().unwrap();
        assert!(is_done, "{said}");
        (100, number)
    });
    for verb in ["check", "export"] {
        let (is_done, said) = directory.store(binary, verb, &[]);
        assert!(is_done, "{verb}: {said}");
    }
    let (is_done, said) = directory.store(binary, "repair", &[]);
    assert!(!is_done && said.contains("in use"), "{said}");
    assert!(
        !directory.store(binary, "backup", &[copy.path()]).0,
        "twice"
    );
    let [queued, retained] = left(binary, &copy, &lasting);
    assert!((at_least..=at_most).contains(&queued), "{queued}");
    assert!((at_least..=at_most).contains(&retained), "{retained}");
    assert!(queued <= retained && retained <= queued + 1, "one moment");
    drop(broker);
    assert_eq!(left(binary, &directory, &lasting), [at_most, at_most]);
}
