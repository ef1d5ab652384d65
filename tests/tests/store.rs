//! The store in SQLite: what it holds, what it refuses, and the thread that writes to it.

#![allow(clippy::unwrap_used, reason = "test code fails by panicking")]

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;
use wherry_core::packet::QoS;
use wherry_core::store::{
    Batch, Record, StoredDebt, StoredDelivery, StoredMessage, StoredOwed, StoredSession,
    StoredSubscription, StoredWill,
};
use wherry_host::http::Status;
use wherry_host::mailbox::{Mail, Mailbox};
use wherry_host::store::sqlite::tools::{self, Repaired};
use wherry_host::store::sqlite::{Durability, Sqlite};
use wherry_host::store::{Cause, Store, StoreError, Writer};
use wherry_tests::rows::Rows;

/// A directory of a test, which goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("store-{}-{number}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn open(&self) -> Sqlite {
        self.try_open().expect("it is a store")
    }

    fn try_open(&self) -> Result<Sqlite, StoreError> {
        Sqlite::open(&self.0, Durability::Process)
    }

    fn file(&self) -> PathBuf {
        self.0.join("wherry.db")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn rows(store: &mut Sqlite) -> Rows {
    let mut records = Vec::new();
    store
        .load(&mut |record| records.push(record))
        .expect("all of it is there");
    let mut rows = Rows::default();
    rows.apply(batch(records));
    rows
}

fn batch(records: Vec<Record>) -> Batch {
    Batch { number: 1, records }
}

fn message(topic: &str, payload: &[u8]) -> StoredMessage {
    StoredMessage {
        topic: topic.into(),
        properties: vec![1, 1].into(),
        payload: payload.to_vec().into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        expires: None,
    }
}

fn messages(numbers: std::ops::Range<u64>) -> Vec<Record> {
    let put = |number| Record::PutMessage {
        number,
        message: message("t", &[b'x'; 1000]),
    };
    numbers.map(put).collect()
}

prop_compose! {
    fn any_message()(
        topic in "[a-c/]{1,4}",
        properties in prop::collection::vec(any::<u8>(), 0..5),
        payload in prop::collection::vec(any::<u8>(), 0..20),
        qos in any_qos(),
        retain in any::<bool>(),
        expires in prop::option::of(any::<u64>()),
    ) -> StoredMessage {
        StoredMessage {
            topic: topic.into(),
            properties: properties.into(),
            payload: payload.into(),
            qos,
            retain,
            expires,
        }
    }
}

prop_compose! {
    fn any_will()(
        message in any_message(),
        expiry in prop::option::of(any::<u32>()),
        delay in any::<u32>(),
        due in prop::option::of(any::<u64>()),
        permitted in any::<bool>(),
    ) -> StoredWill {
        // When it expires is counted from its publication on.
        let message = StoredMessage { expires: None, ..message };
        StoredWill { message, expiry, delay, due, permitted }
    }
}

fn any_qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn any_client() -> impl Strategy<Value = Arc<str>> + Clone {
    prop::sample::select(vec!["", "a", "b", "\u{fffd}ü"]).prop_map(Arc::from)
}

fn any_filter() -> impl Strategy<Value = Box<str>> {
    prop::sample::select(vec!["#", "a/+", "$share/g/a"]).prop_map(Box::from)
}

fn about_sessions() -> impl Strategy<Value = Record> {
    let session = (any_client(), any::<(u8, u32, Option<u64>, bool, u64)>());
    let session = (session, prop::option::of(any_will())).prop_map(|((client_id, it), will)| {
        let (shard, expiry, ends, connected, sent) = it;
        let session = StoredSession {
            shard,
            expiry,
            ends,
            connected,
            sent,
            will,
        };
        Record::PutSession { client_id, session }
    });
    let subscription = (
        any_client(),
        any_filter(),
        any_qos(),
        any::<(u32, [bool; 3])>(),
    )
        .prop_map(
            |(client_id, filter, qos, (identifier, flags))| Record::PutSubscription {
                client_id,
                filter,
                subscription: StoredSubscription {
                    identifier,
                    qos,
                    no_local: flags[0],
                    retain_as_published: flags[1],
                    replaying: flags[2],
                },
            },
        );
    let identifier = (any_client(), 1..4_u16);
    prop_oneof![
        3 => session,
        1 => any_client().prop_map(|client_id| Record::DeleteSession { client_id }),
        3 => subscription,
        1 => (any_client(), any_filter())
            .prop_map(|(client_id, filter)| Record::DeleteSubscription { client_id, filter }),
        2 => identifier.clone().prop_map(|(client_id, packet_id)| Record::PutIncoming {
            client_id,
            packet_id
        }),
        1 => identifier.prop_map(|(client_id, packet_id)| Record::DeleteIncoming {
            client_id,
            packet_id
        }),
    ]
}

fn about_messages() -> impl Strategy<Value = Record> {
    let delivery = (
        any_client(),
        1..6_u64,
        any_qos(),
        any::<(Option<u64>, bool, bool)>(),
    );
    let more = (
        prop::collection::vec(any::<u32>(), 0..3),
        prop::option::of(any_filter()),
        prop::option::of(any::<u16>()),
    );
    let delivery = (delivery, more).prop_map(|((client_id, place, qos, it), more)| {
        let (message, retain, replayed) = it;
        let (identifiers, group, packet_id) = more;
        Record::PutDelivery {
            client_id,
            place,
            delivery: StoredDelivery {
                message,
                qos,
                retain,
                replayed,
                identifiers: identifiers.into(),
                group,
                packet_id,
            },
        }
    });
    let version = 0..10_u64;
    let topic = any_filter(); // As good as a topic here.
    prop_oneof![
        3 => (1..6_u64, any_message())
            .prop_map(|(number, message)| Record::PutMessage { number, message }),
        1 => (1..6_u64).prop_map(|number| Record::DeleteMessage { number }),
        3 => delivery,
        1 => (any_client(), 1..6_u64)
            .prop_map(|(client_id, place)| Record::DeleteDelivery { client_id, place }),
        3 => (topic, version.clone(), prop::option::of(any_message())).prop_map(
            |(topic, version, message)| {
                let message = message.map(|it| StoredMessage { topic: topic.clone(), ..it });
                Record::PutRetained { topic, version, message }
            }
        ),
        1 => (any_filter(), version)
            .prop_map(|(topic, version)| Record::DeleteRetained { topic, version }),
    ]
}

fn about_shards() -> impl Strategy<Value = Record> {
    let groups = prop::collection::btree_set(any_filter(), 0..3);
    let debts = prop::collection::btree_map(0..3_u8, (any::<bool>(), groups), 0..3);
    let key = (0..2_u8, any::<u64>().prop_map(|it| it % 3));
    prop_oneof![
        2 => (key.clone(), any_message(), debts).prop_map(|((shard, number), message, debts)| {
            let debt = |(shard, (subscribed, groups)): (u8, (bool, _))| StoredDebt {
                shard,
                subscribed,
                groups: std::collections::BTreeSet::into_iter(groups).collect(),
            };
            let to = debts.into_iter().map(debt).collect();
            Record::PutOwed { shard, number, owed: StoredOwed { message, to } }
        }),
        1 => key.prop_map(|(shard, number)| Record::DeleteOwed { shard, number }),
        1 => (0..2_u8, 0..2_u8, any::<u64>())
            .prop_map(|(from, to, number)| Record::PutLink { from, to, number }),
        1 => (0..2_u8, 0..2_u8).prop_map(|(from, to)| Record::DeleteLink { from, to }),
    ]
}

fn any_batches() -> impl Strategy<Value = Vec<Vec<Record>>> {
    let record = prop_oneof![about_sessions(), about_messages(), about_shards()];
    prop::collection::vec(prop::collection::vec(record, 0..20), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_holds_what_a_list_of_rows_would(batches in any_batches()) {
        let scratch = Scratch::new();
        let mut model = Rows::default();
        for records in batches {
            // Each time as another process would.
            let mut store = scratch.open();
            store.write(&[&batch(records.clone())]).unwrap();
            model.apply(batch(records));
            prop_assert_eq!(&rows(&mut store), &model);
        }
        prop_assert_eq!(&rows(&mut scratch.open()), &model);
    }
}

#[test]
fn one_process_has_it_at_a_time() {
    let scratch = Scratch::new();
    let first = scratch.open();
    let error = scratch.try_open().unwrap_err();
    assert_eq!(error.cause(), Cause::InUse);
    let text = error.to_string();
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    assert!(text.contains("--data"), "{text}");
    drop(first);
    scratch.open();
}

#[test]
fn a30_nobody_but_its_owner_can_read_it() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    store.write(&[&batch(messages(1..2))]).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scratch.0), 0o700);
    for entry in fs::read_dir(&scratch.0).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn what_is_no_store_is_left_alone() {
    let scratch = Scratch::new();
    fs::create_dir(&scratch.0).unwrap();
    fs::write(scratch.file(), [7; 5000]).unwrap();
    let error = scratch.try_open().unwrap_err();
    assert_eq!(error.cause(), Cause::Foreign);
    assert!(error.to_string().contains("wherry store repair"), "{error}");
    assert_eq!(fs::read(scratch.file()).unwrap(), [7; 5000]);
    assert_eq!(
        tools::check(&scratch.0).unwrap_err().cause(),
        Cause::Foreign
    );
}

#[test]
fn what_a_later_version_wrote_is_left_alone() {
    let scratch = Scratch::new();
    scratch.open();
    // The version stands in the header of the file, at 60.
    let file = fs::OpenOptions::new()
        .write(true)
        .open(scratch.file())
        .unwrap();
    file.write_all_at(&77_u32.to_be_bytes(), 60).unwrap();
    let error = scratch.try_open().unwrap_err();
    assert_eq!(error.cause(), Cause::Newer);
    assert!(error.to_string().contains("77"), "{error}");
}

/// A store of a thousand messages, with a part of the file overwritten.
fn damaged(scratch: &Scratch) {
    let mut store = scratch.open();
    let written = store.write(&[&batch(messages(1..1001))]);
    written.expect("there is room");
    drop(store);
    let mut bytes = fs::read(scratch.file()).expect("it is one file");
    let middle = (bytes.len() / 2) & !4095;
    bytes[middle..middle + 10_000].fill(0xff);
    fs::write(scratch.file(), bytes).expect("it can be written");
}

#[test]
fn a_damaged_store_says_so_and_what_to_do() {
    let scratch = Scratch::new();
    damaged(&scratch);
    let error = scratch.open().load(&mut drop).unwrap_err();
    assert_eq!(error.cause(), Cause::Damaged);
    let text = error.to_string();
    assert!(
        text.contains("message") && text.contains("wherry store repair"),
        "{text}"
    );
    let (findings, rows) = tools::check(&scratch.0).unwrap();
    assert!(!findings.is_empty());
    assert!(rows < 1000, "{rows}");
}

#[test]
fn a_repair_keeps_what_can_be_read_and_sets_the_rest_aside() {
    let scratch = Scratch::new();
    damaged(&scratch);
    let before = fs::read(scratch.file()).unwrap();
    let Repaired {
        kept, set_aside, ..
    } = tools::repair(&scratch.0).unwrap();
    // Three pages of four messages each are gone, and no more.
    assert!((980..1000).contains(&kept), "{kept}");
    assert_eq!(fs::read(set_aside.join("wherry.db")).unwrap(), before);
    assert_eq!(tools::check(&scratch.0).unwrap(), (Vec::new(), kept));
    let numbers = rows(&mut scratch.open()).counts();
    assert_eq!(numbers[3] as u64, kept);
}

#[test]
fn a_copy_is_a_store_although_another_goes_on_being_written() {
    let (scratch, to) = (Scratch::new(), Scratch::new());
    let mut store = scratch.open();
    store.write(&[&batch(messages(1..100))]).unwrap();
    tools::backup(&scratch.0, &to.0).unwrap();
    store.write(&[&batch(messages(100..200))]).unwrap();
    assert_eq!(rows(&mut to.open()).counts()[3], 99);
    assert_eq!(rows(&mut store).counts()[3], 199);
    assert!(
        tools::backup(&scratch.0, &to.0).is_err(),
        "nothing is overwritten"
    );
    let mut lines = Vec::new();
    assert_eq!(tools::export(&scratch.0, &mut lines).unwrap(), [""; 0]);
    let lines = String::from_utf8(lines).unwrap();
    assert_eq!(lines.lines().count(), 199);
    assert!(lines.contains(r#""topic":"t""#), "{}", &lines[..300]);
}

#[test]
fn room_is_given_back() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    let size = |scratch: &Scratch| {
        let files = fs::read_dir(&scratch.0).unwrap();
        let size = |file: std::io::Result<fs::DirEntry>| file.unwrap().metadata().unwrap().len();
        files.map(size).sum::<u64>()
    };
    store.write(&[&batch(messages(1..20_000))]).unwrap();
    assert!(size(&scratch) > 20_000_000);
    let delete = |number| Record::DeleteMessage { number };
    store
        .write(&[&batch((1..20_000).map(delete).collect())])
        .unwrap();
    let mut steps = 0;
    while store.tidy().unwrap() {
        steps += 1;
    }
    assert!(steps > 1, "in slices");
    assert!(size(&scratch) < 5_000_000, "{}", size(&scratch));
}

/// A store that does as it is told.
#[derive(Clone, Debug, Default)]
struct Fake {
    /// Whether the next writes succeed; those after them do.
    outcomes: Arc<Mutex<VecDeque<bool>>>,
    /// The numbers of the batches in each attempt.
    attempts: Arc<Mutex<Vec<Vec<u64>>>>,
    /// What an attempt waits for.
    gate: Arc<Mutex<()>>,
}

impl Store for Fake {
    fn load(&mut self, _: &mut dyn FnMut(Record)) -> Result<(), StoreError> {
        Ok(())
    }

    fn write(&mut self, batches: &[&Batch]) -> Result<(), StoreError> {
        let numbers = batches.iter().map(|batch| batch.number).collect();
        self.attempts.lock().unwrap().push(numbers);
        let _gate = self.gate.lock().unwrap();
        match self.outcomes.lock().unwrap().pop_front() {
            Some(false) => {
                let path = std::path::Path::new("/nowhere");
                Err(StoreError::new(
                    Cause::Full,
                    path,
                    "no space left on device",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// A shard that sleeps until it has mail.
struct Shard {
    mailbox: Arc<Mailbox<Mail>>,
    woken: mpsc::Receiver<()>,
    waker: Waker,
}

struct Wakes(Mutex<mpsc::Sender<()>>);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().unwrap().send(());
    }
}

impl Shard {
    fn new() -> Self {
        let (wakes, woken) = mpsc::channel();
        Self {
            mailbox: Arc::new(Mailbox::new()),
            woken,
            waker: Waker::from(Arc::new(Wakes(Mutex::new(wakes)))),
        }
    }

    /// The mail up to the next batch that is committed.
    fn until_committed(&self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let mut mail = Vec::new();
            self.mailbox.take(&mut mail);
            all.extend(mail.iter().map(|it| format!("{it:?}")));
            if all.iter().any(|it| it.starts_with("Committed")) {
                return all;
            }
            if self.mailbox.sleep(&self.waker) {
                self.woken.recv_timeout(Duration::from_secs(60)).unwrap();
            }
        }
    }
}

fn numbered(number: u64) -> Batch {
    Batch {
        number,
        records: messages(number..number + 1),
    }
}

#[test]
fn a_batch_that_fails_is_tried_again_before_any_later_one() {
    let fake = Fake::default();
    fake.outcomes.lock().unwrap().extend([false, false]);
    let status = Arc::<Status>::default();
    let shard = Shard::new();
    let writer = Writer::start(Box::new(fake.clone()), status).unwrap();
    let queue = writer.queue(Arc::clone(&shard.mailbox));
    queue.put(numbered(1));
    let mail = shard.until_committed();
    assert_eq!(
        mail,
        ["StoreFails", "StoreFails", "StoreWorks", "Committed(1)"]
    );
    queue.put(numbered(2));
    assert_eq!(shard.until_committed(), ["Committed(2)"]);
    drop(writer);
    assert_eq!(*fake.attempts.lock().unwrap(), [[1], [1], [1], [2]]);
}

#[test]
fn all_that_waits_is_written_at_once_and_each_shard_hears_of_its_own() {
    let fake = Fake::default();
    let (one, other) = (Shard::new(), Shard::new());
    let writer = Writer::start(Box::new(fake.clone()), Arc::default()).unwrap();
    let queue = writer.queue(Arc::clone(&one.mailbox));
    let others = writer.queue(Arc::clone(&other.mailbox));
    let gate = fake.gate.lock().unwrap();
    queue.put(numbered(1));
    while fake.attempts.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    queue.put(numbered(2));
    others.put(numbered(7));
    drop(gate);
    assert_eq!(one.until_committed()[0], "Committed(1)");
    assert_eq!(other.until_committed(), ["Committed(7)"]);
    drop(writer);
    assert_eq!(*fake.attempts.lock().unwrap(), [vec![1], vec![2, 7]]);
}

#[test]
fn what_waits_at_the_end_is_written() {
    let fake = Fake::default();
    fake.outcomes.lock().unwrap().push_back(false);
    let shard = Shard::new();
    let writer = Writer::start(Box::new(fake.clone()), Arc::default()).unwrap();
    writer.queue(Arc::clone(&shard.mailbox)).put(numbered(1));
    drop(writer);
    let attempts = fake.attempts.lock().unwrap();
    assert_eq!(attempts.last(), Some(&vec![1]));
    assert!(shard.until_committed().contains(&"Committed(1)".to_owned()));
}
