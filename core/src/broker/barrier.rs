//! New subscriptions, which bring nothing until all shards know of them.
//!
//! A subscription is announced to the peers and stands in the filter tree at once, but matches
//! nothing. A barrier follows the announcement to every peer, and each answers it; what peers have
//! published before they knew is ahead of their answer. With the last answer, in one step, the
//! subscription goes live, its replay of retained messages begins, SUBACK is sent, and the client
//! is read again. So every change of what is retained is either seen by the replay or comes live,
//! and nothing that is published after SUBACK is missed, wherever.
//!
//! One barrier serves all SUBSCRIBEs of a turn.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::Broker;
use super::reply::Answer;
use crate::connection::{ConnectionId, Paused};
use crate::peer::{PeerMessage, Shards};
use crate::session::SessionId;
use crate::topic::FilterId;

/// Barriers that are not passed, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Barriers {
    /// The number of the one that was sent last.
    sent: u64,
    /// The one that is sent next.
    next: Barrier,
    /// Those that are not answered by all.
    open: BTreeMap<u64, Barrier>,
    /// The subscriptions that are not live.
    pending: BTreeMap<Waiting, Pending>,
}

#[derive(Debug, Default)]
struct Barrier {
    /// The peers that have not answered.
    unanswered: Shards,
    subscriptions: Vec<Waiting>,
    answers: Vec<(ConnectionId, SessionId, Answer)>,
}

/// A subscription that is not live: the session, whether the filter is that of a shared one, and
/// the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Waiting {
    session: SessionId,
    is_shared: bool,
    filter: FilterId,
}

impl Waiting {
    pub(super) fn subscriber(session: SessionId, filter: FilterId) -> Self {
        Self {
            session,
            is_shared: false,
            filter,
        }
    }

    pub(super) fn member(session: SessionId, members: FilterId) -> Self {
        Self {
            session,
            is_shared: true,
            filter: members,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    /// The barrier that it waits for.
    barrier: u64,
    send_retained: bool,
}

impl Barriers {
    /// How many subscriptions wait for the barrier that is sent next.
    pub(super) fn waiting(&self) -> usize {
        self.next.subscriptions.len()
    }

    /// A subscription is gone before it went live.
    pub(super) fn forget(&mut self, waiting: Waiting) {
        if !self.pending.is_empty() {
            self.pending.remove(&waiting);
        }
    }

    fn add(&mut self, waiting: Waiting, send_retained: bool) {
        self.next.subscriptions.push(waiting);
        let pending = self.pending.entry(waiting).or_insert(Pending {
            barrier: 0,
            send_retained: false,
        });
        pending.barrier = self.sent + 1;
        pending.send_retained |= send_retained;
    }
}

impl Broker {
    /// A subscription goes live behind the next barrier.
    pub(super) fn await_barrier(&mut self, waiting: Waiting, send_retained: bool) {
        self.barriers.add(waiting, send_retained);
        self.peers.raise_all();
    }

    /// The answer to a SUBSCRIBE waits for the next barrier, and so do the packets behind it.
    pub(super) fn answer_behind_barrier(&mut self, id: ConnectionId, answer: Answer) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let session = connection.session;
        self.barriers.next.answers.push((id, session, answer));
        self.pause(id, Paused::BARRIER);
    }

    /// Sends the next barrier, if anything waits for it.
    pub(super) fn send_barrier(&mut self) {
        let next = &mut self.barriers.next;
        if next.subscriptions.is_empty() && next.answers.is_empty() {
            return;
        }
        let mut barrier = core::mem::take(next);
        self.barriers.sent += 1;
        let number = self.barriers.sent;
        if !self.peers.are_there() {
            return self.go_live(number, barrier);
        }
        barrier.unanswered = self.peers.up();
        self.barriers.open.insert(number, barrier);
        self.peers.push_to_all(|| PeerMessage::Barrier(number));
    }

    /// A peer has answered a barrier.
    pub(super) fn barrier_passed(&mut self, number: u64, peer: u8) {
        if let Some(barrier) = self.barriers.open.get_mut(&number) {
            barrier.unanswered.remove(peer);
            if barrier.unanswered.is_empty()
                && let Some(barrier) = self.barriers.open.remove(&number)
            {
                self.go_live(number, barrier);
            }
        }
    }

    /// No barrier waits for a peer any more.
    pub(super) fn give_up_barriers_of(&mut self, peer: u8) {
        let open: Vec<u64> = self.barriers.open.keys().copied().collect();
        for number in open {
            self.barrier_passed(number, peer);
        }
        if !self.peers.are_there() {
            self.send_barrier(); // There is nobody to wait for.
        }
    }

    /// All that waits for a barrier happens: first every subscription goes live, then their clients
    /// hear of it, and only then can they say more.
    fn go_live(&mut self, number: u64, barrier: Barrier) {
        for waiting in &barrier.subscriptions {
            let pending = self.barriers.pending.get(waiting);
            if let Some(pending) = pending.filter(|it| it.barrier == number) {
                let send_retained = pending.send_retained;
                self.barriers.pending.remove(waiting);
                self.subscription_goes_live(*waiting, send_retained);
            }
        }
        let mut paused = Vec::with_capacity(barrier.answers.len());
        for (id, session, answer) in barrier.answers {
            let connection = self.connections.get(id);
            if connection.is_some_and(|it| it.is_open() && it.session == session) {
                self.reply(id, answer);
                paused.push(id);
            }
        }
        for waiting in &barrier.subscriptions {
            if self
                .sessions
                .get(waiting.session)
                .is_some_and(|it| it.local)
            {
                self.serve(waiting.session);
            }
        }
        for id in paused {
            self.go_on(id, Paused::BARRIER);
        }
    }

    fn subscription_goes_live(&mut self, waiting: Waiting, send_retained: bool) {
        let Waiting {
            session: id,
            is_shared,
            filter,
        } = waiting;
        if is_shared {
            if let Some(subscription) = self.shares.get_mut(filter, id) {
                subscription.live = true;
            }
            return;
        }
        let Some(subscription) = self.filters.get_mut(filter, id) else {
            return;
        };
        subscription.live = true;
        let subscription = *subscription;
        if send_retained && let Some(session) = self.sessions.get_mut(id) {
            let mut name = String::new();
            self.filters.write_filter(filter, &mut name);
            let replay = self.retained.replay(&name, subscription);
            session.replays.insert(filter, replay);
            if session.rows.durable {
                // Its row may have been written when there was no replay yet, which SUBACK
                // promises.
                session.relies.batch = self.out.journal.subscription(id, &name, self.now);
            }
        }
    }
}
