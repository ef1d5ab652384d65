//! What is stored: rows in memory and, if it is asked for, the real store beside them.
//!
//! The real one decides nothing: whatever is read from it is compared with the rows, row for row,
//! so that a world with it is the same world to the last byte.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use wherry_core::store::{Batch, Record, Restored};
use wherry_host::store::sqlite::tools::{self, Repaired};
use wherry_host::store::sqlite::{Durability, Sqlite};
use wherry_host::store::{Store as _, load};

use super::client::seed_of;
use crate::random::Random;
use crate::rows::Rows;

/// The files of a database, but for what its connections share: that is memory, and goes with them.
const FILES: [&str; 2] = ["wherry.db", "wherry.db-wal"];

/// After so many writes there is a quiet moment.
const WRITES_BETWEEN_QUIET: u64 = 7;

/// What outlives a process.
pub(crate) struct Stored {
    rows: Rows,
    real: Option<Real>,
}

impl Stored {
    /// Nothing yet; `seed` is that of the world if the real store is wanted as well.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self {
            rows: Rows::default(),
            real: seed.map(Real::new),
        }
    }

    /// What is stored.
    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Writes batches, all or none of them.
    pub(crate) fn write(&mut self, batches: Vec<Batch>) {
        if let Some(real) = &mut self.real {
            real.write(&batches);
        }
        for batch in batches {
            self.rows.apply(batch);
        }
    }

    /// The process dies, and what it had for the store besides is lost.
    pub(crate) fn die(&mut self, lost: Vec<Batch>) {
        if let Some(real) = &mut self.real {
            real.die(lost);
        }
    }

    /// What a process with that many shards begins with.
    pub(crate) fn restore(
        &mut self,
        shards: usize,
        owner: impl Fn(&str) -> usize,
    ) -> Vec<Restored> {
        let before = self.rows.clone();
        let parts = self.rows.restore(shards, &owner);
        match &mut self.real {
            Some(real) => real.restore(&before, &self.rows, shards, owner),
            None => parts,
        }
    }

    /// How many times the real store was opened after the end of a process.
    pub(crate) fn starts(&self) -> u64 {
        self.real.as_ref().map_or(0, |real| real.starts)
    }

    /// Compares the real store with the rows once more.
    pub(crate) fn compare(&mut self) {
        if let Some(real) = &mut self.real {
            real.die(Vec::new());
            real.open().expect_rows(&self.rows);
        }
    }
}

/// How a process leaves its files, and how the next one finds them.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The database was closed.
    Closed,
    /// The files are as they are at this moment.
    Killed,
    /// A write was on its way and has come so far, at most.
    KilledInAWrite,
    /// The next process begins with a copy that was made while this one ran.
    CopiedBefore,
    /// Somebody repairs what needs no repair.
    Repaired,
}

const ENDS: [End; 5] = [
    End::Closed,
    End::Killed,
    End::KilledInAWrite,
    End::CopiedBefore,
    End::Repaired,
];

/// The store that comes with the broker, in a directory of this world.
struct Real {
    seed: u64,
    /// Where everything is that this world stores.
    folder: PathBuf,
    /// A process that finds other files than the last one has left has a place of its own.
    places: u64,
    /// None between two processes.
    store: Option<Sqlite>,
    starts: u64,
    writes: u64,
}

impl Real {
    fn new(seed: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => memory.to_owned(),
            false => std::env::temp_dir(),
        };
        let folder = folder.join(format!("wherry-world-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        Self {
            seed,
            folder,
            places: 0,
            store: None,
            starts: 0,
            writes: 0,
        }
    }

    fn place(&self) -> PathBuf {
        self.folder.join(self.places.to_string())
    }

    /// The store, opened if it is not.
    fn open(&mut self) -> &mut Self {
        if self.store.is_none() {
            let store = Sqlite::open(&self.place(), Durability::Process);
            self.store = Some(store.expect("what a process leaves is a store"));
        }
        self
    }

    fn store(&mut self) -> &mut Sqlite {
        self.open().store.as_mut().expect("it was opened")
    }

    fn write(&mut self, batches: &[Batch]) {
        let batches: Vec<&Batch> = batches.iter().collect();
        self.store().write(&batches).expect("there is room");
        self.writes += 1;
        if self.writes.is_multiple_of(WRITES_BETWEEN_QUIET) {
            self.store().tidy().expect("there is room");
        }
    }

    fn expect_rows(&mut self, expected: &Rows) {
        let mut records = Vec::new();
        let outcome = self.store().load(&mut |record| records.push(record));
        outcome.expect("everything can be read");
        let mut found = Rows::default();
        found.apply(Batch { number: 0, records });
        if &found != expected {
            let place = self.place();
            panic!("the store in {place:?} has {found:#?}\nand should have {expected:#?}");
        }
    }

    /// Reads what the next process begins with: `before`, and after that `after`.
    fn restore(
        &mut self,
        before: &Rows,
        after: &Rows,
        shards: usize,
        owner: impl Fn(&str) -> usize,
    ) -> Vec<Restored> {
        self.open().expect_rows(before);
        // As a broker does it.
        let store = self.store.take().expect("it was opened");
        let opened = load(Box::new(store), shards, owner).expect("everything can be read");
        drop(opened.store);
        self.open().expect_rows(after);
        opened.parts
    }

    fn die(&mut self, lost: Vec<Batch>) {
        self.starts += 1;
        let mut random = Random::new(seed_of(self.seed, [7, self.starts, 0]));
        let end = match lost.is_empty() || random.below(2) == 0 {
            true => *random.one_of(&ENDS),
            false => End::KilledInAWrite,
        };
        let from = self.place();
        match end {
            End::Closed => self.store = None,
            End::Killed => {
                let files = read(&from).expect("they are there");
                self.find(&files);
            }
            End::KilledInAWrite => {
                let before = read(&from).expect("they are there");
                let batches = match lost.is_empty() {
                    true => vec![any_batch()],
                    false => lost,
                };
                let batches: Vec<&Batch> = batches.iter().collect();
                self.store().write(&batches).expect("there is room");
                let mut after = read(&from).expect("they are there");
                for (before, after) in before.iter().zip(&mut after) {
                    tear(before, after, &mut random);
                }
                self.find(&after);
            }
            End::CopiedBefore => {
                self.places += 1;
                tools::backup(&from, &self.place()).expect("it can be copied");
                self.store = None;
            }
            End::Repaired => {
                let files = read(&from).expect("they are there");
                self.find(&files);
                let Repaired { lost, .. } = tools::repair(&self.place()).expect("there is room");
                assert_eq!(lost, 0, "everything can be read");
            }
        }
        if self.place() != from {
            fs::remove_dir_all(from).expect("it is ours");
        }
    }

    /// The next process finds these files, in another place: of this one nothing is left.
    fn find(&mut self, files: &[Vec<u8>; 2]) {
        self.places += 1;
        self.store = None;
        fs::create_dir_all(self.place()).expect("there is room");
        for (name, bytes) in FILES.iter().zip(files) {
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true);
            let file = file.open(self.place().join(name)).expect("there is room");
            file.write_all_at(bytes, 0).expect("there is room");
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.store = None;
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What is in the files; one that is not there is as good as empty.
fn read(place: &Path) -> io::Result<[Vec<u8>; 2]> {
    let read = |name| match fs::read(place.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        outcome => outcome,
    };
    Ok([read(FILES[0])?, read(FILES[1])?])
}

/// Of what was written from `before` to `after`, some is there, from the beginning on, but not all.
fn tear(before: &[u8], after: &mut Vec<u8>, random: &mut Random) {
    let is_changed = |at: &usize| before.get(*at) != after.get(*at);
    let first = (0..after.len()).find(is_changed);
    let last = (0..after.len()).rev().find(is_changed);
    let (Some(first), Some(last)) = (first, last) else {
        return;
    };
    let torn = first + random.below(last + 1 - first);
    let rest = before.get(torn..).unwrap_or_default();
    after.truncate(torn);
    after.extend_from_slice(rest);
}

/// A batch for a store that nobody had anything for.
fn any_batch() -> Batch {
    let put = |to| Record::PutLink {
        from: u8::MAX,
        to,
        number: 1,
    };
    let records = (0..10).map(put).collect();
    Batch { number: 0, records }
}
