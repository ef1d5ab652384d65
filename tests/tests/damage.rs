//! A store that is damaged, page by page: nothing that was not written is ever read from it, and a
//! repair keeps what is elsewhere.

#![allow(clippy::unwrap_used, reason = "test code fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use wherry_core::packet::QoS;
use wherry_core::store::{
    Batch, Record, StoredDebt, StoredDelivery, StoredMessage, StoredOwed, StoredSession,
    StoredSubscription,
};
use wherry_host::store::sqlite::tools;
use wherry_host::store::sqlite::{Durability, Sqlite};
use wherry_host::store::{Cause, Store, StoreError, load};
use wherry_tests::random::Random;

/// The page size of a store.
const PAGE: usize = 4096;

/// A directory of this test, which goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("damage-{}-{name}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> Result<Sqlite, StoreError> {
        Sqlite::open(&self.0, Durability::Process)
    }

    /// All rows, as text, by their kind.
    fn rows(&self) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        let mut rows = BTreeMap::<String, Vec<String>>::new();
        self.open()?.load(&mut |row| {
            let text = format!("{row:?}");
            let kind = text.split(' ').next().unwrap_or_default().to_owned();
            rows.entry(kind).or_default().push(text);
        })?;
        rows.values_mut().for_each(|it| it.sort());
        Ok(rows)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn message(number: u64) -> StoredMessage {
    StoredMessage {
        topic: format!("topic/{number}").into(),
        properties: vec![1, 1].into(),
        payload: format!("{number:0500}").into_bytes().into(),
        qos: QoS::ExactlyOnce,
        retain: false,
        expires: None,
    }
}

/// A few hundred rows of every kind, in many pages each.
fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for number in 0..400_u64 {
        let client_id: Arc<str> = format!("{number:0100}").into();
        records.extend([
            Record::PutSession {
                client_id: client_id.clone(),
                session: StoredSession {
                    shard: 0,
                    expiry: 3600,
                    ends: Some(number),
                    connected: false,
                    sent: number,
                    will: None,
                },
            },
            Record::PutSubscription {
                client_id: client_id.clone(),
                filter: format!("filter/{number}").into(),
                subscription: StoredSubscription {
                    identifier: 1,
                    qos: QoS::AtLeastOnce,
                    no_local: false,
                    retain_as_published: false,
                    replaying: false,
                },
            },
            Record::PutIncoming {
                client_id: client_id.clone(),
                packet_id: 7,
            },
            Record::PutMessage {
                number: number + 1,
                message: message(number),
            },
            Record::PutDelivery {
                client_id,
                place: number + 1,
                delivery: StoredDelivery {
                    message: Some(number + 1),
                    qos: QoS::AtLeastOnce,
                    retain: false,
                    replayed: false,
                    identifiers: Box::default(),
                    group: None,
                    packet_id: None,
                },
            },
            Record::PutRetained {
                topic: format!("topic/{number}").into(),
                version: number,
                message: Some(message(number)),
            },
            Record::PutOwed {
                shard: 0,
                number,
                owed: StoredOwed {
                    message: message(number),
                    to: vec![StoredDebt {
                        shard: 1,
                        subscribed: true,
                        groups: vec![format!("$share/{number}/x").into()],
                    }],
                },
            },
        ]);
    }
    records
}

fn harm(page: &mut [u8], number: usize) {
    match number % 3 {
        0 => page.fill(0),
        1 => page.fill(0xff),
        _ => page.copy_from_slice(&Random::new(number as u64).bytes(PAGE)),
    }
}

/// A store with all of it, as a single file, and what is in it.
fn whole(name: &str) -> (Vec<u8>, BTreeMap<String, Vec<String>>) {
    let scratch = Scratch::new(name);
    let records = records();
    let mut store = scratch.open().unwrap();
    store.write(&[&Batch { number: 1, records }]).unwrap();
    drop(store);
    let rows = scratch.rows().unwrap();
    (fs::read(scratch.0.join("wherry.db")).unwrap(), rows)
}

/// What came of a store that was harmed.
struct Outcome {
    /// Whether a broker would have started on it all the same.
    is_unnoticed: bool,
    /// The kinds of which rows are missing after the repair.
    harmed: Vec<String>,
    /// How many rows are there.
    kept: usize,
}

/// Nothing is read of `bytes` that was not written, and the start tells of what is missing; after a
/// repair a broker can start.
fn outcome(name: &str, bytes: &[u8], expected: &BTreeMap<String, Vec<String>>) -> Outcome {
    let scratch = Scratch::new(name);
    fs::write(scratch.0.join("wherry.db"), bytes).unwrap();
    let before = scratch.rows();
    match &before {
        Ok(rows) => assert_eq!(rows, expected, "{name}: other rows"),
        Err(error) => {
            let is_told = matches!(error.cause(), Cause::Damaged | Cause::Foreign);
            assert!(is_told, "{name}: {error}");
            assert!(error.to_string().contains("wherry store repair"), "{error}");
        }
    }
    tools::repair(&scratch.0).unwrap();
    assert_eq!(tools::check(&scratch.0).unwrap().0, [""; 0], "{name}");
    let rows = scratch.rows().unwrap();
    let mut outcome = Outcome {
        is_unnoticed: before.is_ok(),
        harmed: Vec::new(),
        kept: 0,
    };
    for (kind, expected) in expected {
        let rows = rows.get(kind).map_or(&[][..], |it| it);
        let is_strange = |row: &&String| expected.binary_search(row).is_err();
        let stranger = rows.iter().find(is_strange);
        assert_eq!(stranger, None, "{name}: nobody has written this");
        if rows.len() < expected.len() {
            outcome.harmed.push(kind.clone());
        }
        outcome.kept += rows.len();
    }
    let opened = load(Box::new(scratch.open().unwrap()), 2, |_| 0).unwrap();
    let sessions: usize = opened.parts.iter().map(|it| it.sessions()).sum();
    let stored = rows.get("PutSession").map_or(0, Vec::len);
    assert_eq!(sessions, stored, "{name}");
    outcome
}

#[test]
fn whatever_page_is_lost_the_rest_can_be_kept() {
    let (bytes, expected) = whole("whole");
    let total: usize = expected.values().map(Vec::len).sum();
    let pages = bytes.len() / PAGE;
    assert!(pages > 100, "{pages}");
    // Where tables begin, all; then some.
    let numbers = (0..pages).filter(|it| *it < 30 || it % 5 == 0);
    let (mut tried, mut unnoticed, mut lost) = (0, 0, 0);
    for number in numbers {
        let mut bytes = bytes.clone();
        harm(&mut bytes[number * PAGE..][..PAGE], number);
        let outcome = outcome(&format!("page-{number}"), &bytes, &expected);
        // The first page says where everything begins.
        let is_first = number == 0;
        let harmed = outcome.harmed;
        assert!(is_first || harmed.len() <= 1, "page {number}: {harmed:?}");
        tried += 1;
        unnoticed += usize::from(outcome.is_unnoticed);
        lost += total - outcome.kept;
    }
    assert!(unnoticed < tried / 10, "{unnoticed} of {tried}");
    let lost = lost / tried;
    assert!(lost < total / 10, "{lost} of {total} are lost on average");
}

#[test]
fn a_store_that_was_cut_off_is_no_store_of_less() {
    let (bytes, expected) = whole("uncut");
    for part in 1..16 {
        // In the middle of a page, and between two.
        let at = bytes.len() / 16 * part;
        for at in [at, at / PAGE * PAGE] {
            let outcome = outcome(&format!("cut-{at}"), &bytes[..at], &expected);
            assert!(!outcome.is_unnoticed, "{at}");
        }
    }
}
