//! What is retained, told to peers and heard from them. How all come to hold the same is described
//! in `retained/versions.rs`.

use alloc::boxed::Box;

use super::Broker;
use crate::message::{Kept, Message};
use crate::peer::{Change, Cleared, Forwarded, PeerMessage};
use crate::time::Instant;
use crate::topic::Step;

/// How many places of the tree one step of bringing a peer up to date may look at.
const RESYNC_BUDGET: usize = 16 * 1024;

impl Broker {
    /// Tells peers that nothing is retained of a topic any more.
    pub(super) fn tell_cleared(&mut self, topic: &str, version: u64) {
        self.peers.push_to_all(|| {
            let topic = Box::from(topic);
            PeerMessage::Cleared(Cleared { topic, version })
        });
    }

    /// A peer has changed what is retained of a message's topic. If the message is kept here as
    /// well, and comes live to those who have subscribed, it is a change of its own.
    pub(super) fn apply_change(
        &mut self,
        message: &Message<'_>,
        expires: Instant,
        change: Change,
        is_live: bool,
    ) {
        let (retained, now) = (&mut self.retained, self.now);
        self.out.retained_change = retained.apply(message, change, expires, is_live, now);
        self.heed_tombstones();
    }

    /// At a peer, nothing is retained of a topic any more.
    pub(super) fn peer_cleared(&mut self, cleared: &Cleared) {
        self.retained.apply_clear(&cleared.topic, cleared.version);
        self.heed_tombstones();
    }

    /// New tombstones go at once if nobody has to hear of them, or else peers hear the clock.
    pub(super) fn heed_tombstones(&mut self) {
        if !self.retained.versions().is_news() {
            return;
        }
        self.drop_tombstones();
        let due = self.retained.versions().due();
        for peer in self.peers.up().iter() {
            if self.peers.link(peer).is_some_and(|it| it.told_clock < due) {
                self.peers.raise(peer);
            }
        }
    }

    /// The clock that peers may hear: all changes of this shard up to it are in the links.
    pub(super) fn clock_to_tell(&mut self) -> u64 {
        let clock = self.retained.versions().clock();
        // What the store does not have may come back to be written after what is newer.
        match self.out.journal.unsure_clock() {
            Some(unsure) => clock.min(unsure.saturating_sub(1)),
            None => clock,
        }
    }

    /// Tells a peer the clock, if a tombstone somewhere waits for it.
    pub(super) fn tell_clock(&mut self, peer: u8) {
        let due = self.retained.versions().due();
        let clock = self.clock_to_tell();
        let Some(link) = self.peers.link_mut(peer) else {
            return;
        };
        if link.told_clock < due && link.told_clock < clock && link.resync.is_none() {
            link.told_clock = clock;
            link.push(PeerMessage::Clock(clock));
        }
    }

    /// A peer has told its clock.
    pub(super) fn peer_clock(&mut self, peer: u8, clock: u64) {
        self.retained.versions().saw_clock(clock);
        if let Some(link) = self.peers.link_mut(peer) {
            link.heard_clock = clock;
        }
        self.drop_tombstones();
    }

    /// Drops the tombstones that every peer has told a clock for.
    pub(super) fn drop_tombstones(&mut self) {
        let up = self.peers.up();
        let clocks = up.iter().filter_map(|peer| self.peers.link(peer));
        let least = clocks.map(|link| link.heard_clock).min();
        self.retained.forget_tombstones(least.unwrap_or(u64::MAX));
        self.note_retained(0);
    }

    /// Goes on telling a peer all that is retained, as far as the link has room.
    pub(super) fn go_on_with_resync(&mut self, peer: u8) {
        let (now, limit) = (self.now, self.config.link_limit as u64);
        let Some(link) = self.peers.link_mut(peer) else {
            return;
        };
        let Some(mut cursor) = link.resync.take() else {
            return;
        };
        let mut budget = RESYNC_BUDGET;
        while link.load() <= limit / 2 {
            match self.retained.tree().next_within(&mut cursor, &mut budget) {
                Step::Topic(topic, retained) => {
                    let message = retained.message(topic, now);
                    link.push(PeerMessage::Publish(Forwarded {
                        message: Kept::of(&message, 0, now),
                        plain: false,
                        calls: alloc::vec::Vec::new(),
                        change: Some(retained.change()),
                        number: 0,
                        owed: 0,
                    }));
                }
                Step::Pending => {
                    self.peers.raise(peer);
                    break;
                }
                Step::Done => {
                    self.retained.versions().has_to_be_told();
                    return self.tell_clock(peer);
                }
            }
        }
        if let Some(link) = self.peers.link_mut(peer) {
            link.resync = Some(cursor);
        }
    }
}
