//! Nothing grows beyond its bound, at any time.

use wherry_core::Config;

use super::process::Shard;

/// No packet of a world is larger.
const LARGEST_PACKET: usize = 71_000;

/// What is put into an outbox beyond its limit before somebody looks: replies to one packet, and
/// what waits elsewhere, as long as there is less than this.
const ENOUGH: usize = 64 << 10;

/// The most that there may be of everything.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    sessions: usize,
    connections: usize,
    queued_messages: usize,
    queued_bytes: usize,
    outbox: usize,
    retained: usize,
    retained_bytes: usize,
}

impl Bounds {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            sessions: config.max_sessions,
            connections: config.max_connections,
            queued_messages: config.max_queued_messages,
            queued_bytes: config.max_queued_bytes_total,
            outbox: config.outbox_limit,
            retained: config.max_retained,
            retained_bytes: config.max_retained_bytes,
        }
    }

    /// Other bounds hold from now on; what there is may stay.
    pub(crate) fn change(&mut self, config: &Config) {
        let new = Self::new(config);
        *self = Self {
            sessions: self.sessions.max(new.sessions),
            connections: self.connections.max(new.connections),
            queued_messages: self.queued_messages.max(new.queued_messages),
            queued_bytes: self.queued_bytes.max(new.queued_bytes),
            outbox: self.outbox.max(new.outbox),
            retained: self.retained.max(new.retained),
            retained_bytes: self.retained_bytes.max(new.retained_bytes),
        };
    }

    /// Says what is too much, if something is.
    pub(crate) fn check(&self, shard: &Shard, shards: usize) -> Result<(), String> {
        let broker = shard.driver.broker();
        let (sessions, connections) = (broker.sessions(), broker.connections());
        let each = self.outbox.saturating_add(ENOUGH + LARGEST_PACKET);
        let bounds = [
            ("sessions", sessions, self.sessions),
            ("connections", connections, self.connections),
            (
                "queued messages",
                broker.queued_messages(),
                (sessions.saturating_mul(self.queued_messages))
                    .saturating_add(shard.queued_at_start),
            ),
            (
                "queued bytes",
                broker.queued_bytes(),
                // Whoever is owed nothing takes one message, however much others have piled up.
                self.queued_bytes + sessions * LARGEST_PACKET,
            ),
            (
                "bytes in outboxes",
                broker.waiting_bytes(),
                connections.saturating_mul(each),
            ),
            (
                "retained messages",
                broker.retained_messages(),
                // What other shards take at the same moment comes on top.
                self.retained.saturating_mul(shards),
            ),
            (
                "retained bytes",
                broker.retained_bytes(),
                self.retained_bytes.saturating_mul(shards),
            ),
        ];
        match bounds.iter().find(|(_, count, bound)| count > bound) {
            Some((what, count, bound)) => Err(format!("{count} {what}, at most {bound}")),
            None => Ok(()),
        }
    }
}
