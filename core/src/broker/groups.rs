//! From a message to one member of a shared subscription, at whatever shard.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use super::Broker;
use super::config::QueuePolicy;
use super::deliver::Post;
use super::owing::Promise;
use super::room::standing;
use super::route::Routing;
use super::routed::Routed;
use crate::message::Kept;
use crate::packet::QoS;
use crate::peer::{Call, Found, Peers, Returned, Shards};
use crate::session::Delivery;
use crate::share::{Candidates, Choice, GroupId, Shares, Standing};

/// How many steps the messages of sessions that have ended may take to go to others in one go.
const PASS_ON_BUDGET: usize = 16 * 1024;

impl Broker {
    /// Hands on what members of shared subscriptions had whose sessions have ended, as much of it
    /// as one turn may take.
    pub(super) fn pass_on_left_over(&mut self) {
        let end = self.work.saturating_add(PASS_ON_BUDGET);
        while self.work < end
            && let Some(delivery) = self.left_over.pop_front()
        {
            self.work += 1;
            self.pass_on(delivery);
        }
        if self.left_over.is_empty() {
            self.left_over = VecDeque::new();
        }
    }

    /// Hands a message of a member of a shared subscription whose session has ended to another one
    /// ([MQTT-4.8.2-5] and the text before it).
    fn pass_on(&mut self, delivery: Delivery) {
        // [MQTT-3.3.2-5]
        if delivery.message.is_expired(self.now) {
            self.out.counters.dropped_expired += 1;
            return self.out.release_orphan(delivery);
        }
        let group = delivery.group;
        let kept = Arc::clone(&delivery.message);
        // Until another session has it, its row is there without one.
        let promise = match delivery.row.refers {
            true => Promise::OWED,
            false => Promise::NONE,
        };
        let routed = self.hand_on(&kept, group, Shards::NONE, Found::Nobody, 0, promise);
        if routed.matched == 0 {
            self.out.counters.dropped_session_ended += 1;
        }
        self.out.release_kept(kept);
        self.out.release_orphan(delivery);
    }

    /// A peer had no member of a group that could have a message from here: another one is chosen.
    pub(super) fn returned(&mut self, from: u8, returned: Returned) {
        let Returned {
            message,
            call,
            number,
        } = returned;
        let ticket = self.peers.link(from).and_then(|it| it.ticket_of(number));
        let ticket = ticket.unwrap_or(0);
        if message.is_expired(self.now) {
            // [MQTT-3.3.2-5] That is not the publisher's affair.
            self.out.counters.dropped_expired += 1;
            return self.tickets.add(ticket, Routed::taken());
        }
        let group = self.shares.named(&call.name).unwrap_or_default();
        let kept = self.out.keep(&message.message(self.now));
        let promise = Promise::NONE;
        let routed = self.hand_on(&kept, group, call.tried, call.found, ticket, promise);
        self.out.release_kept(kept);
        if ticket > 0 {
            self.tickets.add(ticket, routed);
        } else if routed.matched == 0 {
            self.out.counters.dropped_no_member += 1;
        }
    }

    /// No member here could have a message that a peer owed: it is owed from here, in the batch in
    /// which the peer's debt is paid.
    pub(super) fn pass_owed(&mut self, message: &Kept, call: &Call) {
        let group = self.shares.named(&call.name).unwrap_or_default();
        let kept = self.out.keep(&message.message(self.now));
        let promise = match self.out.journal.is_on() {
            true => Promise::OWED,
            false => Promise::NONE,
        };
        self.hand_on(&kept, group, call.tried, call.found, 0, promise);
        self.out.release_kept(kept);
    }

    /// Hands a message that is kept to a member of a group that is not at the shards that were
    /// `tried`.
    pub(super) fn hand_on(
        &mut self,
        kept: &Arc<Kept>,
        group: GroupId,
        tried: Shards,
        found: Found,
        ticket: u64,
        promise: Promise,
    ) -> Routed {
        let Self {
            shares,
            sessions,
            connections,
            out,
            config,
            scratch,
            work,
            peers,
            tickets,
            ..
        } = self;
        let message = kept.message(out.now);
        let post = Post {
            connections,
            out,
            config,
        };
        let mut routing = Routing {
            kept: Some(Arc::clone(kept)),
            ..Routing::new(&message, &mut scratch.encoded, sessions, post)
        };
        *work += routing.hand_to_any(shares, group, peers, tried, found);
        routing.send_calls(peers, tickets, ticket, promise);
        routing.finish()
    }
}

impl Routing<'_, '_> {
    /// Hands the message to one member of a group; returns how many were looked at.
    pub(super) fn hand_to_group(
        &mut self,
        shares: &mut Shares,
        group: GroupId,
        peers: &mut Peers,
    ) -> usize {
        if shares.is_abroad(group) {
            return self.hand_to_any(shares, group, peers, Shards::NONE, Found::Nobody);
        }
        let (outcome, looked) = self.hand_to_member(shares, group, Standing::Absent);
        if let Err(found) = outcome {
            self.not_taken(found);
        }
        looked
    }

    /// Hands the message to one member of a group at any shard but those that were `tried`, where
    /// `found` is the best that was found. If that is not here, it is put down for
    /// [`Routing::forward`] or [`Routing::send_calls`].
    fn hand_to_any(
        &mut self,
        shares: &mut Shares,
        group: GroupId,
        peers: &mut Peers,
        tried: Shards,
        mut found: Found,
    ) -> usize {
        let me = peers.me();
        let strategy = self.post.config.share_strategy;
        let closed = self.closed(peers, peers.change.is_some());
        let mut among = Candidates {
            me,
            present_here: true,
            tried: tried.or(closed),
        };
        let mut work = 0;
        while let Some(chosen) = shares.choose_shard(group, strategy, among) {
            work += 1;
            if chosen.shard != me {
                if let Some(name) = shares.name(group) {
                    let tried = among.tried.without(closed);
                    peers
                        .calls
                        .push((chosen.shard, Call { name, tried, found }));
                }
                return work;
            }
            // Who is absent here has to wait until those have been asked who are present elsewhere.
            let at_least = match chosen.for_present && !chosen.is_last {
                true => Standing::Busy,
                false => Standing::Absent,
            };
            let (outcome, looked) = self.hand_to_member(shares, group, at_least);
            work += looked;
            let Err(what) = outcome else {
                return work;
            };
            found = found.max(what);
            if at_least == Standing::Busy {
                among.present_here = false;
            } else {
                among.tried.insert(me);
            }
        }
        self.not_taken(found);
        work
    }

    /// Hands the message to one member of a group here who is at least that able. Says what was
    /// found if there is none, and how many members were looked at.
    pub(super) fn hand_to_member(
        &mut self,
        shares: &mut Shares,
        group: GroupId,
        at_least: Standing,
    ) -> (Result<(), Found>, usize) {
        let Self {
            message,
            sessions,
            post,
            kept,
            ..
        } = self;
        let is_new = kept.is_none();
        let len = message.len();
        let strategy = post.config.share_strategy;
        let mut live = 0;
        let (choice, looked) = shares.choose(group, strategy, at_least, |id, subscription| {
            let session = sessions.get(id).filter(|_| subscription.live);
            let Some(session) = session else {
                return (Standing::Unable, 0);
            };
            live += 1;
            let qos = message.qos.min(subscription.qos);
            let standing = standing(session, post, message.topic, qos, (len, is_new));
            (standing, session.outgoing.len())
        });
        let outcome = match choice {
            Choice::Member(id, subscription) => {
                self.hand_to(id, subscription, &[], group);
                Ok(())
            }
            Choice::Full => Err(Found::Full),
            Choice::Nobody if live > 0 => Err(Found::Unable),
            Choice::Nobody => Err(Found::Nobody),
        };
        (outcome, looked)
    }

    /// No member of a group, wherever, could have the message.
    fn not_taken(&mut self, found: Found) {
        match found {
            Found::Full => {
                self.routed.matched += 1;
                if self.post.config.queue_policy == QueuePolicy::Reject {
                    self.routed.refused += 1;
                }
                self.post.out.counters.dropped_queue_full += 1;
            }
            // As with a single subscriber who may not have it: that is not to be told.
            Found::Unable => {
                self.routed.matched += 1;
                self.post.out.counters.dropped_no_member += 1;
            }
            Found::Nobody => {}
        }
    }

    /// The links that are too full for this message, if it is one that may be dropped.
    pub(super) fn closed(&self, peers: &Peers, changes_retained: bool) -> Shards {
        if self.message.qos == QoS::AtMostOnce && !changes_retained {
            peers.full()
        } else {
            Shards::NONE
        }
    }
}
