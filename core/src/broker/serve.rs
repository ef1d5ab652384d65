//! Serving a session what it is owed, as window and outbox have room.
//!
//! A session is served when something of it may go out: after an acknowledgement, when its socket
//! has taken bytes, when its client is back. First what was in flight when the last connection
//! ended is sent again, then what waits in the queue, then the retained messages of new
//! subscriptions. Nothing goes out unless window and outbox have room, so what expires or exceeds a
//! limit is decided last, and a filter that matches a million topics delays nobody.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use slotmap::SlotMap;

use super::Broker;
use super::deliver::{Post, again};
use crate::connection::{ConnectionId, NEVER};
use crate::message::{Encoder, Head};
use crate::packet::QoS;
use crate::session::{Delivery, Identifiers, Outgoing, Row, Session, SessionId};
use crate::share::GroupId;
use crate::topic::Step;

/// How many retained messages are put into the queue of a local client at once.
const ENOUGH_WAITING: usize = 64;

/// How many steps serving a session may take in one go: messages that wait, sent or not, and places
/// of the tree of retained messages, whether they match or not.
const BUDGET: usize = 1024;

/// How many all sessions that are served in one turn may take.
const BUDGET_OF_ALL: usize = 64 * BUDGET;

impl Broker {
    pub(super) fn post(&mut self) -> (Post<'_>, &mut SlotMap<SessionId, Session>, &mut Vec<u8>) {
        let post = Post {
            connections: &mut self.connections,
            out: &mut self.out,
            config: &self.config,
        };
        (post, &mut self.sessions, &mut self.encoded)
    }

    /// Serves the session of a connection, if there is anything to be sent.
    #[inline]
    pub(super) fn serve_connection(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(id)
            && let Some(session) = self.sessions.get(connection.session)
            && (!session.outgoing.is_idle() || !session.replays.is_empty())
        {
            let session = connection.session;
            self.serve(session);
        }
    }

    /// Serves every session that stopped for want of time, each a slice of it.
    pub(super) fn continue_serving(&mut self) {
        self.work = 0;
        for _ in 0..self.serving.len() {
            if self.work >= BUDGET_OF_ALL {
                return;
            }
            let Some(id) = self.serving.pop_front() else {
                return;
            };
            if let Some(session) = self.sessions.get_mut(id) {
                session.queued = false;
                self.serve(id);
            }
        }
    }

    /// Sends a session what window and outbox have room for; what takes longer than the budget
    /// allows goes on in the next turn.
    pub(super) fn serve(&mut self, id: SessionId) {
        let mut budget = BUDGET;
        let (mut post, sessions, encoded) = self.post();
        let Some(session) = sessions.get_mut(id) else {
            return;
        };
        if session.local {
            self.replay(id, &mut budget);
        } else if post.connections.contains_key(session.connection) {
            while budget > 0
                && post.has_room(session.connection)
                && post.send_again(session, encoded)
            {
                budget -= 1;
            }
            let mut waiting = usize::MAX;
            while session.outgoing.waiting() < waiting {
                waiting = session.outgoing.waiting();
                post.stage(id, session, &mut budget);
                if !session.outgoing.is_resending() {
                    post.send_waiting(session, encoded, &mut budget);
                }
            }
            if session.outgoing.is_idle() && !session.replays.is_empty() {
                self.replay(id, &mut budget);
            }
        }
        self.work += BUDGET - budget;
        if budget == 0
            && let Some(session) = self.sessions.get_mut(id)
            && !core::mem::replace(&mut session.queued, true)
        {
            self.serving.push_back(id);
        }
    }

    /// Sends retained messages to a session until its outbox has enough, the window or the budget
    /// is used up, or there are no more.
    fn replay(&mut self, id: SessionId, budget: &mut usize) {
        let now = self.now;
        let Self {
            sessions,
            connections,
            retained,
            filters,
            out,
            config,
            encoded,
            ..
        } = self;
        let mut post = Post {
            connections,
            out,
            config,
        };
        let Some(session) = sessions.get_mut(id) else {
            return;
        };
        let connection = (!session.local).then_some(session.connection);
        while let Some(mut entry) = session.replays.first_entry() {
            let replay = entry.get_mut();
            let subscription = replay.subscription;
            let is_held = subscription.qos > QoS::AtMostOnce || session.local;
            if !post.has_room_to_replay(&session.outgoing, connection, is_held) {
                break; // `sent`, an acknowledgement or the local client goes on from here.
            }
            let (topic, retained) = match retained.tree().next_within(&mut replay.cursor, budget) {
                Step::Topic(topic, message) => (topic, message),
                Step::Pending => {
                    *budget = 0;
                    break;
                }
                Step::Done => {
                    let filter = *entry.key();
                    let replay = session.end_replay(filter);
                    if replay.is_some_and(|it| it.is_stored) {
                        let mut name = String::new();
                        filters.write_filter(filter, &mut name);
                        post.out.journal.replayed(id, &name, now);
                    }
                    continue;
                }
            };
            if replay.live.has(retained) || retained.is_expired(now) {
                continue; // What has expired leaves in its turn.
            }
            if !session.grant.may_receive(topic) {
                post.out.counters.dropped_not_permitted += 1;
                continue;
            }
            let message = retained.message(topic, now);
            let identifier = Some(subscription.identifier).filter(|identifier| *identifier != 0);
            let identifiers = identifier.into_iter();
            let qos = message.qos.min(subscription.qos);
            if let Some(connection) = connection.filter(|_| qos == QoS::AtMostOnce) {
                let mut encoder = Encoder::new(&message, encoded);
                // [MQTT-3.3.1-8]
                let head = Head {
                    replayed: true,
                    ..Head::at_most_once(true)
                };
                post.put(connection, &mut encoder, head, identifiers);
                continue;
            }
            let delivery = Delivery {
                message: post.out.keep_until(&message, retained.expires()),
                identifiers: Identifiers::collect(identifiers),
                group: GroupId::default(),
                qos,
                retain: true,
                replayed: true,
                dup: false,
                row: Row::default(),
            };
            post.hold_retained(id, session, delivery, encoded, budget);
        }
    }

    /// Sends again what a client of MQTT 3.x has left unanswered for too long; false if that was
    /// done often enough.
    pub(super) fn retransmit(&mut self, id: ConnectionId) -> bool {
        let now = self.now;
        let interval = self.config.retransmit_interval;
        let limit = self.config.retransmit_limit;
        let Some(connection) = self.connections.get_mut(id) else {
            return true;
        };
        connection.retransmit = NEVER;
        let session = connection.session;
        let Some(interval) = interval else {
            return true;
        };
        let (mut post, sessions, encoded) = self.post();
        let Some(session) = sessions.get_mut(session) else {
            return true;
        };
        let mut next = NEVER;
        for (packet_id, entry) in session.outgoing.unanswered() {
            if entry.sent.after(interval) > now {
                next = next.min(entry.sent.after(interval));
                continue;
            }
            if entry.repeats >= limit {
                return false;
            }
            if !post.has_room(id) {
                next = now.after(interval); // It has enough to take already.
                break;
            }
            match &entry.delivery {
                Some(delivery) => {
                    let message = delivery.message.message(now);
                    let mut encoder = Encoder::new(&message, encoded);
                    let identifiers = delivery.identifiers.iter();
                    let head = again(delivery, packet_id, true);
                    post.put(id, &mut encoder, head, identifiers);
                }
                None => post.put_release(id, packet_id, encoded),
            }
            post.out.counters.retransmissions += 1;
            entry.sent = now;
            entry.repeats += 1;
            next = next.min(now.after(interval));
        }
        if let Some(connection) = self.connections.get_mut(id) {
            connection.retransmit = next;
        }
        self.set_timer(id);
        true
    }
}

impl Post<'_> {
    /// Whether a session, which is a local one if it has no connection, can have one more retained
    /// message. What is of QoS 1 or 2, or for a local client, is held.
    fn has_room_to_replay(
        &self,
        outgoing: &Outgoing,
        connection: Option<ConnectionId>,
        is_held: bool,
    ) -> bool {
        let config = self.config;
        let is_full = outgoing.len() >= config.max_queued_messages
            || outgoing.bytes() >= config.max_queued_bytes
            || self.out.held_bytes_everywhere() >= config.max_queued_bytes_total;
        if is_held && is_full && outgoing.len() > 0 {
            return false;
        }
        let Some(connection) = connection else {
            return outgoing.waiting() < ENOUGH_WAITING;
        };
        let window = self.window(connection);
        self.has_room(connection)
            && (!is_held || (outgoing.has_window(window) && outgoing.has_window_to_stage(window)))
    }

    /// Sends a session a retained message that it holds, or lets it wait until it is committed or
    /// the local client takes it.
    fn hold_retained(
        &mut self,
        id: SessionId,
        session: &mut Session,
        delivery: Delivery,
        encoded: &mut Vec<u8>,
        budget: &mut usize,
    ) {
        let kept = Arc::clone(&delivery.message);
        let qos = delivery.qos;
        let delivery = self.out.owe(id, session, delivery);
        let is_staged =
            session.rows.durable && (qos == QoS::ExactlyOnce || !session.outgoing.is_idle());
        if session.local || is_staged {
            session.outgoing.enqueue(delivery);
            self.out.counters.queued += 1;
            self.out.raise_deliver(id, session);
            self.stage(id, session, budget);
        } else {
            let message = kept.message(self.out.now);
            let mut encoder = Encoder::new(&message, encoded);
            self.send_first(session, delivery, &mut encoder);
        }
        self.out.release_kept(kept);
    }
}
