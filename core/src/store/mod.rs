//! What is durable: the records that a broker writes, and what it is restored from.
//!
//! A broker with a store keeps everything in memory all the same and reads nothing while it runs.
//! It raises [`Action::Store`](crate::Action::Store) when a [`Batch`] waits; the store writes a
//! batch whole or not at all, and [`Broker::batch_committed`](crate::Broker::batch_committed) says
//! that it is safe. Until then no answer that relies on it is sent.
//!
//! The store is a set of rows. Each [`Record`] puts one, by its key, or deletes one or several; the
//! records of a batch count in their order. Rows are keyed by client identifiers, topics and
//! numbers that are never used twice, so nothing in them depends on how many shards there are.
//! Moments are given in milliseconds since 1970-01-01 00:00 UTC.
//!
//! | row | key | is there |
//! | --- | --- | --- |
//! | session | client identifier | as long as the session, if it is to last or has a will |
//! | subscription | client identifier, filter | as long as it is one of such a session |
//! | incoming | client identifier, packet identifier | from a QoS 2 PUBLISH to its PUBREL |
//! | delivery | client identifier, place | until the client has acknowledged the message |
//! | message | number | as long as a delivery refers to it |
//! | retained | topic | until it is cleared, replaced, or has expired |
//! | owed | shard, number | until all shards that a message goes to have committed it |
//! | link | shard, shard | as long as the process: what of that has taken effect |
//!
//! At a start all rows go into a [`Restore`], in any order, and come out as one [`Restored`] for
//! each shard.

mod owed;
mod placing;
mod restore;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::packet::QoS;

pub use restore::{Restore, Restored};
pub(crate) use restore::{RestoredDelivery, RestoredFilters, RestoredSession};

/// Records that are written whole or not at all.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its number: 1, 2, 3 and so on, for each broker since its start.
    pub number: u64,
    /// What is to be done, in this order.
    pub records: Vec<Record>,
}

/// A change of one row, or the deletion of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Sets the row of a session.
    PutSession {
        /// Whose it is.
        client_id: Arc<str>,
        /// What it says.
        session: StoredSession,
    },
    /// Deletes the row of a session with all its subscriptions, deliveries and incoming
    /// identifiers.
    DeleteSession {
        /// Whose it was.
        client_id: Arc<str>,
    },
    /// Sets a subscription.
    PutSubscription {
        /// Whose it is.
        client_id: Arc<str>,
        /// As it was asked for, `$share/<group>/` included.
        filter: Box<str>,
        /// What it says.
        subscription: StoredSubscription,
    },
    /// Deletes a subscription, if there is one.
    DeleteSubscription {
        /// Whose it was.
        client_id: Arc<str>,
        /// As it was asked for.
        filter: Box<str>,
    },
    /// A QoS 2 message came under this identifier and is not released.
    PutIncoming {
        /// From whom it came.
        client_id: Arc<str>,
        /// Its identifier.
        packet_id: u16,
    },
    /// It is released, if it was there.
    DeleteIncoming {
        /// From whom it came.
        client_id: Arc<str>,
        /// Its identifier.
        packet_id: u16,
    },
    /// Sets a message.
    PutMessage {
        /// Its number, which no other message ever has.
        number: u64,
        /// What it says.
        message: StoredMessage,
    },
    /// Deletes a message, if it is there.
    DeleteMessage {
        /// Its number.
        number: u64,
    },
    /// Sets what a session is owed. The empty client identifier stands for all sessions that have
    /// ended and whose shared messages go to other members.
    PutDelivery {
        /// To whom it goes.
        client_id: Arc<str>,
        /// Where it stands: a session gets its messages in the order of their places.
        place: u64,
        /// What it says.
        delivery: StoredDelivery,
    },
    /// Deletes a delivery, if it is there.
    DeleteDelivery {
        /// To whom it went.
        client_id: Arc<str>,
        /// Where it stood.
        place: u64,
    },
    /// Sets what is retained for a topic, if the version is greater than the one that is there.
    PutRetained {
        /// The topic.
        topic: Box<str>,
        /// The greater one counts, whoever writes first.
        version: u64,
        /// What is retained; nothing if it was cleared, and is kept so that nothing older comes
        /// back.
        message: Option<StoredMessage>,
    },
    /// Sets what a shard owes to others: a message that must reach them exactly once.
    PutOwed {
        /// The shard that owes it.
        shard: u8,
        /// Its number among those of this shard.
        number: u64,
        /// What it says, and to whom.
        owed: StoredOwed,
    },
    /// Deletes what was owed, if it is there.
    DeleteOwed {
        /// The shard that owed it.
        shard: u8,
        /// Its number.
        number: u64,
    },
    /// All that one shard owes another has taken effect there, up to a number.
    PutLink {
        /// The shard that owes.
        from: u8,
        /// The shard that has it.
        to: u8,
        /// The number of the last that has taken effect.
        number: u64,
    },
    /// Deletes the row of a link, if it is there.
    DeleteLink {
        /// The shard that owed.
        from: u8,
        /// The shard that had it.
        to: u8,
    },
    /// Deletes the row of a topic, unless there is a greater version.
    DeleteRetained {
        /// The topic.
        topic: Box<str>,
        /// The version that is no longer needed, and all before it.
        version: u64,
    },
}

/// A session's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// The shard that has it.
    pub shard: u8,
    /// How long it outlives its connection, in seconds; `u32::MAX` is without end.
    pub expiry: u32,
    /// When it ends; nothing if its client is connected, or if it has no end.
    pub ends: Option<u64>,
    /// Whether its client is connected, as far as the store knows.
    pub connected: bool,
    /// Messages at places up to this one may have been sent to the client.
    pub sent: u64,
    /// The will, if there is one.
    pub will: Option<StoredWill>,
}

/// A will, as a part of its session's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWill {
    /// What is to be published; its expiry begins with the publication.
    pub message: StoredMessage,
    /// The message expiry interval in seconds, if it has one.
    pub expiry: Option<u32>,
    /// How long after the end of the connection it is published, in seconds.
    pub delay: u32,
    /// When it is due; nothing if the client is connected.
    pub due: Option<u64>,
    /// Whether the client was allowed to publish it when this was written.
    pub permitted: bool,
}

/// A subscription's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSubscription {
    /// The Subscription Identifier; 0 is none.
    pub identifier: u32,
    /// As granted.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Whether not all retained messages that it is to bring were sent. They are sent from the
    /// first one on after a restart.
    pub replaying: bool,
}

/// A message's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// The topic.
    pub topic: Box<str>,
    /// The properties that go on with it, encoded, without the message expiry interval.
    pub properties: Bytes,
    /// What it says.
    pub payload: Bytes,
    /// As published.
    pub qos: QoS,
    /// The RETAIN flag as published.
    pub retain: bool,
    /// When it expires, if it does.
    pub expires: Option<u64>,
}

/// A message that is owed to other shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOwed {
    /// What it says.
    pub message: StoredMessage,
    /// To whom it goes.
    pub to: Vec<StoredDebt>,
}

/// What of a message one shard is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDebt {
    /// The shard.
    pub shard: u8,
    /// Whether its subscribers get it.
    pub subscribed: bool,
    /// The shared subscriptions of which one of its members gets it, as `$share/<group>/<filter>`.
    pub groups: Vec<Box<str>>,
}

/// A delivery's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDelivery {
    /// The number of the message; nothing once the client has it for sure.
    pub message: Option<u64>,
    /// As it is to be sent.
    pub qos: QoS,
    /// The RETAIN flag as it is to be sent.
    pub retain: bool,
    /// Whether it is sent because it was retained.
    pub replayed: bool,
    /// The subscription identifiers to be sent.
    pub identifiers: Box<[u32]>,
    /// The shared subscription that it came by, as `$share/<group>/<filter>`.
    pub group: Option<Box<str>>,
    /// The packet identifier, if the exchange of QoS 2 has begun.
    pub packet_id: Option<u16>,
}
