//! Messages that are committed before they go to peers.
//!
//! A message of QoS 2 must reach each peer exactly once, whatever crashes: so it is committed here
//! first, with the peers that are owed it, and then goes into the links. A peer commits what it
//! does there in one batch with the message's number, and answers then; when all have answered,
//! nothing is owed any more. What is owed when the process dies is settled at the restore. It is
//! the same with wills, whose publication is one with the end of their record, and with what
//! sessions that have ended leave to other members of their groups.
//!
//! What else the same publisher sends to peers meanwhile waits behind it, so that the order holds.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Broker;
use crate::peer::{Forwarded, PeerMessage};
use crate::store::{Record, StoredDebt, StoredOwed};

/// What is promised of a message that may go to peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Promise {
    /// Whether somebody waits for its acknowledgement.
    pub(super) is_awaited: bool,
    /// Whether it is committed first.
    pub(super) is_owed: bool,
    /// Whether it waits behind one that is.
    pub(super) is_late: bool,
}

impl Promise {
    /// Nobody waits for it, and a crash may lose it.
    pub(super) const NONE: Self = Self {
        is_awaited: false,
        is_owed: false,
        is_late: false,
    };

    /// Nobody waits for it, but it is not lost in a crash.
    pub(super) const OWED: Self = Self {
        is_owed: true,
        ..Self::NONE
    };
}

/// A message that goes into links once a batch is committed.
#[derive(Debug)]
pub(super) struct Owing {
    pub(super) batch: u64,
    /// Its number among those that are owed; 0 if it only waits.
    pub(super) number: u64,
    /// The ticket that waits for it; 0 is none.
    pub(super) ticket: u64,
    pub(super) to: Vec<(u8, Forwarded)>,
}

impl Broker {
    /// Puts what has waited for this batch into the links.
    pub(super) fn send_owed(&mut self, committed: u64) {
        while let Some(owing) = self.out.journal.next_owing(committed) {
            for (peer, mut forwarded) in owing.to {
                let topic = forwarded.message.topic();
                // Who has subscribed meanwhile may have seen what was retained before.
                let (wanting, visited) = self.peers.interests.of(topic);
                self.work += visited;
                forwarded.plain |= wanting.contains(peer);
                let delivered = forwarded.plain || !forwarded.calls.is_empty();
                forwarded.owed = owing.number;
                if !self.peers.up().contains(peer) {
                    self.tickets.answered(owing.ticket);
                    self.paid(owing.number);
                    continue;
                }
                if let Some(link) = self.peers.link_mut(peer)
                    && (owing.ticket > 0 || owing.number > 0)
                {
                    forwarded.number = link.number(owing.ticket, owing.number, delivered);
                }
                self.peers.push(peer, PeerMessage::Publish(forwarded));
            }
        }
        self.settle_tickets();
    }

    /// A peer has committed what it was owed under this number.
    pub(super) fn paid(&mut self, number: u64) {
        if number > 0 && self.out.journal.paid(number, self.now) {
            let shard = self.peers.me();
            let deleted = Record::DeleteOwed { shard, number };
            self.out.journal.deletions.push(deleted);
        }
    }

    pub(super) fn write_owed(&mut self, batch: u64, records: &mut Vec<Record>) {
        let (shard, epoch) = (self.peers.me(), self.epoch);
        for owing in self.out.journal.owing_in(batch) {
            let Some((_, first)) = owing.to.first() else {
                continue;
            };
            let to = owing.to.iter().map(|(peer, forwarded)| StoredDebt {
                shard: *peer,
                subscribed: forwarded.plain,
                groups: forwarded
                    .calls
                    .iter()
                    .map(|it| Box::from(&*it.name))
                    .collect(),
            });
            records.push(Record::PutOwed {
                shard,
                number: owing.number,
                owed: StoredOwed {
                    message: first.message.stored(epoch),
                    to: to.collect(),
                },
            });
        }
        for from in core::mem::take(&mut self.out.journal.links) {
            if let Some(link) = self.peers.link(from) {
                records.push(Record::PutLink {
                    from,
                    to: shard,
                    number: link.last_owed,
                });
            }
        }
    }

    /// A peer sends what it owes under this number. Returns whether it is new.
    pub(super) fn is_owed_anew(&mut self, from: u8, number: u64) -> bool {
        let Some(link) = self.peers.link_mut(from) else {
            return false;
        };
        if number <= link.last_owed {
            return false;
        }
        link.last_owed = number;
        if self.out.journal.is_on() {
            self.out.journal.links.push(from);
            link.relies.batch = self.out.journal.await_open();
        }
        true
    }
}
