//! Batches that are gathered one after the other, while what is in them lingers.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::time::Instant;

/// A batch is gathered for this part of the time for which its deliveries may linger.
const PARTS: u32 = 4;

/// The batches that may linger, and when they have.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    /// When the first and the last thing came into the batch that is being gathered.
    since: Option<Instant>,
    latest: Instant,
    /// How many deliveries are in it.
    deliveries: usize,
    /// Those before it that are not taken, oldest first.
    closed: VecDeque<Closed>,
}

/// A batch into which nothing comes any more.
#[derive(Clone, Copy, Debug)]
struct Closed {
    number: u64,
    /// When the last thing came into it.
    latest: Instant,
    /// How many deliveries are left in it.
    deliveries: usize,
}

impl Lingering {
    /// Something comes into the batch that is being gathered.
    pub(super) fn note(&mut self, now: Instant) {
        self.since.get_or_insert(now);
        self.latest = now;
    }

    /// A delivery comes into the batch that is being gathered.
    pub(super) fn count(&mut self) {
        self.deliveries += 1;
    }

    /// A delivery is not to be written any more.
    pub(super) fn discount(&mut self, batch: u64) {
        let at = self.closed.partition_point(|it| it.number < batch);
        let deliveries = match self.closed.get_mut(at) {
            Some(closed) => &mut closed.deliveries,
            None => &mut self.deliveries,
        };
        *deliveries = deliveries.saturating_sub(1);
    }

    /// The batch that is being gathered is closed if that has lasted long enough; returns whether
    /// the next one begins. Those that have lingered are one.
    pub(super) fn close(&mut self, open: u64, linger: Duration, now: Instant) -> bool {
        let is_due = self
            .since
            .is_some_and(|since| since.after(linger / PARTS) <= now);
        if is_due {
            self.closed.push_back(Closed {
                number: open,
                latest: self.latest,
                deliveries: core::mem::take(&mut self.deliveries),
            });
            self.since = None;
        }
        while let [first, second, ..] = *self.closed.make_contiguous()
            && second.latest.after(linger) <= now
        {
            self.closed.pop_front();
            if let Some(second) = self.closed.front_mut() {
                second.deliveries += first.deliveries;
            }
        }
        is_due
    }

    /// The oldest batch and whether a delivery is left in it.
    pub(super) fn first(&self) -> Option<(u64, bool)> {
        self.closed.front().map(|it| (it.number, it.deliveries > 0))
    }

    /// The oldest batch is not waited for any more.
    pub(super) fn pop(&mut self) {
        self.closed.pop_front();
    }

    /// Everything is taken.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When the oldest batch has lingered, or the one that is being gathered would have.
    pub(super) fn deadline(&self, linger: Duration) -> Option<Instant> {
        let first = self.closed.front().map(|it| it.latest);
        Some(first.or(self.since)?.after(linger))
    }
}
