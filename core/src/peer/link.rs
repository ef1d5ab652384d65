//! One shard's end of a link with a peer.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::message::{Exception, PeerMessage, Stored, packed_cost};
use super::{Packable, Packed};
use crate::broker::{Reliance, Replies};
use crate::connection::ConnectionId;
use crate::topic::Cursor;

/// What a shard knows of a link. Both directions are queues that keep their order and lose nothing
/// as long as the link is up.
#[derive(Debug)]
pub(crate) struct Link {
    /// What is to be taken.
    pub(crate) outgoing: Vec<PeerMessage>,
    /// The bytes of all that was put there, and how many of them the peer has processed.
    sent: u64,
    processed: u64,
    /// The number of the last message that has one.
    numbered: u64,
    /// The numbers under which somebody waits, in order.
    awaited: VecDeque<Awaited>,
    /// Connections that are not read until there is less in the link.
    pub(crate) slowed: Vec<ConnectionId>,
    /// The bytes of all that came and was processed, and what the peer was told of it.
    arrived: u64,
    told: u64,
    /// Answers that wait until they are true.
    pub(crate) replies: Option<Box<Replies>>,
    /// What the answers to this peer rely on.
    pub(crate) relies: Reliance,
    /// The number of the last message that the peer owed, and that came.
    pub(crate) last_owed: u64,
    /// Answers that are true and not told yet.
    stored: Option<Stored>,
    /// The clock that the peer has told last.
    pub(crate) heard_clock: u64,
    /// The clock that the peer was told last.
    pub(crate) told_clock: u64,
    /// How often the link has begun here, and the beginning that the peer has told of.
    pub(crate) epoch: u64,
    pub(crate) peer_epoch: u64,
    /// Whether nothing that comes counts until the peer has heard of the beginning.
    pub(crate) awaits_hello: bool,
    /// Whether the peer is to hear what is retained, and what of it is left.
    pub(crate) wants_resync: bool,
    pub(crate) resync: Option<Cursor>,
}

/// Somebody waits for what the peer says of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited {
    pub(crate) number: u64,
    pub(crate) ticket: u64,
    /// Its number among what is owed, if it is; else 0.
    pub(crate) owed: u64,
    /// Whether it was sent to be delivered, not only to be retained.
    pub(crate) delivered: bool,
}

impl Link {
    /// A link that has begun on both sides, with nothing to tell.
    pub(crate) fn new() -> Self {
        Self {
            outgoing: Vec::new(),
            sent: 0,
            processed: 0,
            numbered: 0,
            awaited: VecDeque::new(),
            slowed: Vec::new(),
            arrived: 0,
            told: 0,
            replies: None,
            relies: Reliance::NOTHING,
            last_owed: 0,
            stored: None,
            heard_clock: 0,
            told_clock: 0,
            epoch: 1,
            peer_epoch: 1,
            awaits_hello: false,
            wants_resync: false,
            resync: None,
        }
    }

    /// Appends a message.
    pub(crate) fn push(&mut self, message: PeerMessage) {
        self.sent += message.cost();
        if let Some(last) = self.outgoing.last_mut()
            && last.join(&message)
        {
            return;
        }
        self.outgoing.push(message);
    }

    /// Appends a small message.
    pub(crate) fn pack(&mut self, message: &Packable<'_>, number: u64, plain: bool) {
        self.sent += packed_cost(message);
        if let Some(PeerMessage::Packed(packed)) = self.outgoing.last_mut()
            && !packed.is_full()
        {
            return packed.push(message, number, plain);
        }
        let mut packed = Packed::new();
        packed.push(message, number, plain);
        self.outgoing.push(PeerMessage::Packed(packed));
    }

    /// The number of a message whose fate a ticket waits for.
    pub(crate) fn number(&mut self, ticket: u64, owed: u64, delivered: bool) -> u64 {
        self.numbered += 1;
        self.awaited.push_back(Awaited {
            number: self.numbered,
            ticket,
            owed,
            delivered,
        });
        self.numbered
    }

    /// The ticket that waits for what becomes of the message of this number.
    pub(crate) fn ticket_of(&self, number: u64) -> Option<u64> {
        let place = self
            .awaited
            .binary_search_by_key(&number, |awaited| awaited.number);
        Some(self.awaited.get(place.ok()?)?.ticket)
    }

    /// The next of those that the peer has answered for up to a number.
    pub(crate) fn answered(&mut self, upto: u64) -> Option<Awaited> {
        let first = self.awaited.front()?;
        if first.number > upto {
            return None;
        }
        let awaited = self.awaited.pop_front();
        if self.awaited.is_empty() {
            self.awaited = VecDeque::new();
        }
        awaited
    }

    /// How many bytes are on their way.
    pub(crate) fn load(&self) -> u64 {
        self.sent - self.processed
    }

    /// The peer has processed so many bytes since the link began.
    pub(crate) fn processed(&mut self, bytes: u64) {
        self.processed = bytes.clamp(self.processed, self.sent);
    }

    /// A message was processed here.
    pub(crate) fn arrived(&mut self, cost: u64) {
        self.arrived += cost;
    }

    /// Whether there is something to be told of what came. What was processed is not worth a word
    /// until it is a good part of what may be on its way: `limit`.
    pub(crate) fn has_news(&self, limit: u64) -> bool {
        self.arrived - self.told > limit / 8 || self.stored.is_some()
    }

    /// Appends what is to be told of what came.
    pub(crate) fn tell_news(&mut self) {
        if let Some(stored) = self.stored.take() {
            self.push(PeerMessage::Stored(stored));
        }
        if self.arrived > self.told {
            self.told = self.arrived;
            self.push(PeerMessage::Processed(self.arrived));
        }
    }

    /// An answer to the peer is true.
    pub(crate) fn say_stored(&mut self, upto: u64, exception: Option<Exception>) {
        let stored = self.stored.get_or_insert_with(|| Stored {
            upto,
            exceptions: Vec::new(),
        });
        stored.upto = stored.upto.max(upto);
        stored.exceptions.extend(exception);
    }

    /// The link is cut: nothing is on its way. Numbers go on, so that none is taken for an older
    /// one.
    pub(crate) fn restart(&mut self) {
        *self = Self {
            numbered: self.numbered,
            epoch: self.epoch,
            peer_epoch: 0,
            ..Self::new()
        };
    }

    /// The link begins anew with what is said next: bytes are counted from there on.
    pub(crate) fn begin(&mut self) {
        self.sent = 0;
        self.processed = 0;
    }

    /// The peer begins anew: what came before counts for nothing.
    pub(crate) fn peer_restarted(&mut self) {
        self.arrived = 0;
        self.told = 0;
        self.replies = None;
        self.stored = None;
    }
}
