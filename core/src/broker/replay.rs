//! Retained messages to new subscriptions.
//!
//! A replay stops when the outbox has enough for now and goes on when the socket has taken it, so a
//! filter that matches a million topics neither overflows the outbox nor delays other clients.

use alloc::string::String;
use alloc::vec::Vec;

use super::Broker;
use crate::connection::ConnectionId;
use crate::message::Encoder;
use crate::retained::Replay;
use crate::session::SessionId;
use crate::topic::{FilterId, Step};

/// How many bytes a replay puts into an outbox before it waits for the socket.
const ENOUGH: usize = 64 * 1024;

/// How many places of the tree a replay may look at in one go, whether they match or not.
const BUDGET: usize = 1024;

/// How many all replays that go on in one turn may look at.
const BUDGET_OF_ALL: usize = 64 * BUDGET;

impl Broker {
    /// Begins to send a session the retained messages of a filter that it has subscribed to. If a
    /// replay of the same filter is under way, it begins anew.
    pub(super) fn begin_replay(&mut self, session: SessionId, filter: FilterId, replay: Replay) {
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        session.replays.insert(filter, replay);
    }

    /// Goes on with the replays of a connection's session, if it has any.
    #[inline]
    pub(super) fn replay_to(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(id)
            && let Some(session) = self.sessions.get(connection.session)
            && !session.replays.is_empty()
        {
            let session = connection.session;
            self.replay(session);
        }
    }

    /// Gives every replay that stopped for want of time a slice of it.
    pub(super) fn continue_replays(&mut self) {
        self.work = 0;
        for _ in 0..self.replaying.len() {
            if self.work >= BUDGET_OF_ALL {
                return;
            }
            let Some(id) = self.replaying.pop_front() else {
                return;
            };
            if let Some(session) = self.sessions.get_mut(id) {
                session.replay_queued = false;
                self.replay(id);
            }
        }
    }

    /// Sends retained messages to a session until its outbox has enough, the budget is used up, or
    /// there are no more.
    fn replay(&mut self, id: SessionId) {
        let Self {
            sessions,
            connections,
            retained,
            out,
            config,
            encoded,
            ..
        } = self;
        let Some(session) = sessions.get_mut(id) else {
            return;
        };
        let Some(connection) = connections.get_mut(session.connection) else {
            return;
        };
        let mut budget = BUDGET;
        let mut expired: Vec<String> = Vec::new();
        while let Some(mut entry) = session.replays.first_entry() {
            let replay = entry.get_mut();
            if connection.outbox.len() >= ENOUGH.min(config.outbox_limit) {
                break; // `sent` goes on from here.
            }
            let (topic, message) =
                match retained.tree().next_within(&mut replay.cursor, &mut budget) {
                    Step::Topic(topic, message) => (topic, message),
                    Step::Pending => {
                        if !core::mem::replace(&mut session.replay_queued, true) {
                            self.replaying.push_back(id);
                        }
                        break;
                    }
                    Step::Done => {
                        entry.remove();
                        continue;
                    }
                };
            if message.is_newer_than(replay.after) {
                continue; // It came live.
            }
            if message.is_expired(self.now) {
                out.counters.dropped_expired += 1;
                expired.push(topic.into());
                continue;
            }
            if !session.grant.may_receive(topic) {
                out.counters.dropped_not_permitted += 1;
                continue;
            }
            let subscription = replay.subscription;
            let message = message.message(topic, self.now);
            let identifier = Some(subscription.identifier).filter(|identifier| *identifier != 0);
            let mut encoder = Encoder::new(&message, encoded);
            // [MQTT-3.3.1-8]
            let packet = encoder
                .encode(connection.version, true, identifier.into_iter())
                .filter(|packet| packet.len() <= connection.max_packet_size as usize);
            let Some(packet) = packet else {
                out.counters.dropped_too_large += 1;
                continue;
            };
            if out.pool.waiting + packet.len() > config.outbox_total_limit {
                out.counters.dropped_outbox_total_full += 1;
                continue;
            }
            out.counters.publish_sent += 1;
            out.send(session.connection, connection, packet.bytes);
            if let Some(payload) = packet.payload {
                out.send_shared(session.connection, connection, payload);
            }
        }
        self.work += BUDGET - budget.min(BUDGET);
        for topic in &expired {
            retained.clear(topic);
        }
    }
}
