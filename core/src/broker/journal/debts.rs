//! What peers are owed: it goes to them once it is committed.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::super::owing::Owing;
use super::{Journal, ROW_BYTES};
use crate::peer::Forwarded;
use crate::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Debts {
    /// Messages that go to peers once a batch is committed.
    owing: VecDeque<Owing>,
    /// Whether one that is owed is a part of the batch that is being gathered.
    pub(super) is_in_open: bool,
    /// The number of the last one that was owed.
    last: u64,
    /// How many peers have not answered what is owed under a number.
    unpaid: BTreeMap<u64, usize>,
}

impl Journal {
    /// A message goes to peers once the batch that is being gathered is committed, and is a part of
    /// it if it is owed.
    pub(in crate::broker) fn owe_peers(
        &mut self,
        ticket: u64,
        is_owed: bool,
        to: Vec<(u8, Forwarded)>,
        now: Instant,
    ) {
        let mut number = 0;
        if is_owed {
            self.debts.last += 1;
            number = self.debts.last;
            self.debts.is_in_open = true;
            self.debts.unpaid.insert(number, to.len());
        }
        // What only waits counts as well: the store has to catch up before more is read.
        let message = to.first().map_or(0, |(_, it)| it.message.len());
        self.note(message + ROW_BYTES, now);
        let batch = self.await_open();
        self.debts.owing.push_back(Owing {
            batch,
            number,
            ticket,
            to,
        });
    }

    /// Whether what a client publishes now has to wait behind something that goes to peers once the
    /// batch `owes` is committed; if it is owed itself, what comes next waits behind that.
    pub(in crate::broker) fn waits_behind(&self, owes: &mut u64, is_owed: bool) -> bool {
        let is_late = !self.is_committed(*owes);
        if is_owed || is_late {
            *owes = self.open;
        }
        is_late
    }

    /// What is owed in a batch, or in one before it that was gathered with it.
    pub(in crate::broker) fn owing_in(&self, batch: u64) -> impl Iterator<Item = &Owing> {
        let owing = self.debts.owing.iter();
        owing.filter(move |it| it.batch <= batch && it.number > 0)
    }

    /// The next message that goes to peers, if what it waits for is committed.
    pub(in crate::broker) fn next_owing(&mut self, committed: u64) -> Option<Owing> {
        if self.debts.owing.front()?.batch > committed {
            return None;
        }
        self.debts.owing.pop_front()
    }

    /// A peer has committed what it was owed; returns whether it was the last one.
    pub(in crate::broker) fn paid(&mut self, number: u64, now: Instant) -> bool {
        let Some(left) = self.debts.unpaid.get_mut(&number) else {
            return false;
        };
        *left -= 1;
        if *left > 0 {
            return false;
        }
        self.debts.unpaid.remove(&number);
        self.note(ROW_BYTES, now);
        true
    }
}
