//! When a batch goes to the store, and what is known once it is there.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::Journal;
use crate::time::Instant;

impl Journal {
    /// Whether a batch should be taken now.
    pub(in crate::broker) fn wants_to_be_taken(&self, linger: Duration, now: Instant) -> bool {
        self.taken.is_none()
            && !self.is_empty()
            && (self.is_urgent || self.since.is_none_or(|since| since.after(linger) <= now))
    }

    /// When a batch that lingers should be taken.
    pub(in crate::broker) fn next_deadline(&self, linger: Duration) -> Option<Instant> {
        if self.taken.is_some() || self.is_empty() {
            return None;
        }
        Some(self.since?.after(linger))
    }

    /// The batch that was gathered goes to the store. Returns its number.
    pub(in crate::broker) fn take(&mut self) -> u64 {
        let number = self.open;
        self.taken = Some(number);
        self.open += 1;
        self.is_awaited = false;
        self.is_urgent = false;
        self.debts.is_in_open = false;
        self.since = None;
        self.taken_bytes = core::mem::take(&mut self.open_bytes);
        number
    }

    /// All batches up to this one are committed.
    pub(in crate::broker) fn commit(&mut self, number: u64) {
        self.taken = None;
        self.taken_bytes = 0;
        self.is_failing = false;
        self.committed = self.committed.max(number);
        self.ended.retain(|_, it| it.batch.max(it.owes) > number);
        while self
            .unsure_clocks
            .front()
            .is_some_and(|(batch, _)| *batch <= number)
        {
            self.unsure_clocks.pop_front();
        }
    }

    /// If answers wait for a batch in which there is nothing left, they have waited enough: its
    /// number.
    pub(in crate::broker) fn commit_empty(&mut self) -> Option<u64> {
        if !self.is_awaited || self.taken.is_some() || !self.is_empty() {
            return None;
        }
        let number = self.take();
        self.commit(number);
        Some(number)
    }

    /// Something that waits for a batch, if that is committed.
    pub(in crate::broker) fn pop_committed<T>(
        queue: &mut VecDeque<(u64, T)>,
        committed: u64,
    ) -> Option<T> {
        if queue.front()?.0 > committed {
            return None;
        }
        queue.pop_front().map(|(_, it)| it)
    }
}
