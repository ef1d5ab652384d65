//! How much there is of everything, now and since the start.

use super::{Broker, Counters};
use crate::connection::ConnectionId;

/// What shards hold that counts towards limits of the whole process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// How many connections, closing ones included.
    pub connections: usize,
    /// How many sessions.
    pub sessions: usize,
    /// How many bytes messages have that wait for clients or are in flight to them.
    pub queued_bytes: usize,
}

impl Broker {
    /// What this shard holds.
    pub fn holdings(&self) -> Holdings {
        Holdings {
            connections: self.connections(),
            sessions: self.sessions(),
            queued_bytes: self.queued_bytes(),
        }
    }

    /// What the other shards of the process hold, all together. It may be a little old: a limit can
    /// be passed by what several shards take in at one moment.
    pub fn set_elsewhere(&mut self, elsewhere: Holdings) {
        self.out.elsewhere = elsewhere;
    }

    /// Whether there are as many sessions as there may be.
    pub(super) fn has_enough_sessions(&self) -> bool {
        self.sessions.len() + self.out.elsewhere.sessions >= self.config.max_sessions
    }

    /// How many connections there are, closing ones included.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Whether a client is in on this connection: it was admitted, and its session is not over yet.
    pub fn is_in(&self, id: ConnectionId) -> bool {
        self.connections
            .get(id)
            .is_some_and(|connection| connection.is_open())
    }

    /// Whether what comes in on this connection is looked at, rather than kept until a pause ends,
    /// or discarded.
    pub fn is_heard(&self, id: ConnectionId) -> bool {
        self.connections
            .get(id)
            .is_some_and(|connection| !connection.paused.any() && !connection.is_closing())
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many of them have a client that is absent.
    pub fn absent_sessions(&self) -> usize {
        self.absent
    }

    /// How many subscriptions there are, shared ones included.
    pub fn subscriptions(&self) -> usize {
        self.filters.len() + self.shares.len()
    }

    /// How many memberships of shared subscriptions there are.
    pub fn shared_subscriptions(&self) -> usize {
        self.shares.len()
    }

    /// How many messages wait for clients or are in flight to them, each once for every client.
    pub fn queued_messages(&self) -> usize {
        self.out.owed
    }

    /// How many bytes the messages have that wait for clients or are in flight to them, each
    /// counted once.
    pub fn queued_bytes(&self) -> usize {
        self.out.held_bytes()
    }

    /// How many retained messages there are, without those under `$SYS`.
    pub fn retained_messages(&self) -> usize {
        self.retained.len()
    }

    /// How many bytes of topics, properties and payloads they have.
    pub fn retained_bytes(&self) -> usize {
        self.retained.bytes()
    }

    /// How many topics are remembered as cleared, because an older change may still come from
    /// another shard.
    pub fn retained_tombstones(&self) -> usize {
        self.retained.tombstones()
    }

    /// How many bytes wait in all outboxes together.
    pub fn waiting_bytes(&self) -> usize {
        self.out.pool.waiting
    }

    /// How many bytes of input wait for the rest of their packet, or for a pause to end.
    pub fn unparsed_bytes(&self) -> usize {
        self.connections
            .values()
            .map(|connection| connection.input.len())
            .sum()
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.out.counters
    }
}
