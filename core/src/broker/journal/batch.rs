//! When a batch goes to the store, and what is known once it is there.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::Journal;
use crate::time::Instant;

impl Journal {
    /// At the end of a turn: whether a batch should be taken now.
    pub(in crate::broker) fn wants_to_be_taken(&mut self, linger: Duration, now: Instant) -> bool {
        if self.lingering.close(self.open, linger, now) {
            self.open += 1;
        }
        let has_lingered = || self.lingering.deadline(linger).is_none_or(|it| it <= now);
        self.taken.is_none() && !self.is_empty() && (self.is_urgent || has_lingered())
    }

    /// When a batch that lingers should be taken.
    pub(in crate::broker) fn next_deadline(&self, linger: Duration) -> Option<Instant> {
        if self.taken.is_some() || self.is_empty() {
            return None;
        }
        self.lingering.deadline(linger)
    }

    /// What was gathered goes to the store, or what of it has lingered if nothing forbids that.
    /// Returns the number of the batch.
    pub(in crate::broker) fn take(&mut self) -> u64 {
        // Anything else is true only together with what was noted before and beside it.
        let may_stay = !self.is_urgent && self.has_only_deliveries();
        let number = match self.lingering.first() {
            Some((number, _)) if may_stay => {
                self.lingering.pop();
                number
            }
            _ => {
                self.lingering.clear();
                self.open += 1;
                self.is_awaited = false;
                self.is_urgent = false;
                self.debts.is_in_open = false;
                self.open - 1
            }
        };
        self.taken = Some(number);
        self.last_taken = number;
        let staying = self.pending.values().filter(|it| it.batch > number);
        let staying = staying.map(|it| it.bytes).sum();
        self.taken_bytes = self.open_bytes.saturating_sub(staying);
        self.open_bytes = staying;
        number
    }

    /// If nothing is left in the oldest of the batches that linger, and it may be waited for: its
    /// number.
    pub(in crate::broker) fn commit_lingered(&mut self) -> Option<u64> {
        let (number, is_needed) = self.lingering.first()?;
        let is_next = self.taken.is_none() && !self.is_urgent && self.has_only_deliveries();
        if is_needed || !is_next || !self.deletions.is_empty() {
            return None;
        }
        self.lingering.pop();
        self.commit(number);
        Some(number)
    }

    /// Whether deliveries and deletions are all that is to be written.
    pub(super) fn has_only_deliveries(&self) -> bool {
        self.sessions.is_empty()
            && self.subscriptions.is_empty()
            && self.incoming.is_empty()
            && self.retained.is_empty()
            && self.links.is_empty()
            && !self.debts.is_in_open
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
