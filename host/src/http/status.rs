//! What is known of the process as a whole.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::shown::ShownWhole;

/// How far a broker has come, and what ails it: told by whoever knows, asked by `/readyz`.
#[derive(Debug, Default)]
pub struct Status {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    phase: Phase,
    /// Why the store fails, if it does.
    store: Option<String>,
    writes: StoreWrites,
}

/// What a store has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StoreWrites {
    /// How many times it wrote: all that waited, at once.
    pub(super) commits: u64,
    /// How many records those were.
    pub(super) records: u64,
    /// How many times it failed.
    pub(super) failures: u64,
}

/// How far a broker has come. That it stops its shards know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// It opens what it needs, and restores what it had.
    #[default]
    Starting,
    /// Its shards turn.
    Running,
}

impl Status {
    /// What the broker had is restored: its shards turn from now on, and take clients. To be said
    /// before anybody is told that the broker is there.
    pub fn broker_runs(&self) {
        self.lock().phase = Phase::Running;
    }

    /// The store does not write, and says why. It may say so again.
    pub fn store_fails(&self, why: &str) {
        let mut inner = self.lock();
        inner.store = Some(ShownWhole(why).to_string());
        inner.writes.failures += 1;
    }

    /// The store has written so many records, at once.
    pub fn store_wrote(&self, records: u64) {
        let mut inner = self.lock();
        inner.store = None;
        inner.writes.commits += 1;
        inner.writes.records += records;
    }

    pub(super) fn store_writes(&self) -> StoreWrites {
        self.lock().writes
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock().phase
    }

    pub(super) fn store_failure(&self) -> Option<String> {
        self.lock().store.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is one assignment: what is behind the lock is always whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
