//! Retained messages: the last one of each topic, kept for those who subscribe later.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::connection::NEVER;
use crate::map::HashKey;
use crate::message::{Message, expiry_left};
use crate::packet::QoS;
use crate::session::Subscription;
use crate::time::Instant;
use crate::topic::{Cursor, RetainedTree, counted_bytes};

/// All retained messages of a broker.
#[derive(Debug)]
pub(crate) struct RetainedMessages {
    tree: RetainedTree<Retained>,
    bytes: usize,
    /// The number of the last change.
    changes: u64,
}

/// One retained message; its topic is its place in the tree.
#[derive(Debug)]
pub(crate) struct Retained {
    /// Encoded properties, then the payload: one allocation that owns exactly its bytes.
    content: Box<[u8]>,
    properties_len: u32,
    qos: QoS,
    expires: Instant,
    changed: u64,
}

/// Retained messages on their way to a new subscription. It holds no copy of the list: what changes
/// behind the cursor was delivered live, what it finds changed before it is skipped for the same
/// reason.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) cursor: Cursor,
    pub(crate) subscription: Subscription,
    /// The change after which this replay began.
    pub(crate) after: u64,
}

/// There is no room for another retained message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl RetainedMessages {
    pub(crate) fn new(key: HashKey) -> Self {
        Self {
            tree: RetainedTree::new(key),
            bytes: 0,
            changes: 0,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tree.len()
    }

    /// The bytes of all topics, properties and payloads.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a message in the place of the one its topic had. `properties` are those that
    /// [`owned_properties`](crate::message::owned_properties) gives.
    pub(crate) fn set(
        &mut self,
        message: &Message<'_>,
        properties: &[u8],
        expires: Option<Instant>,
        max: usize,
        max_bytes: usize,
    ) -> Result<(), Full> {
        let before = self.tree.get(message.topic).map(|old| old.content.len());
        let len = properties.len() + message.payload.len();
        let bytes = match before {
            Some(old) => self.bytes - old + len,
            None => self.bytes + counted_bytes(message.topic) + len,
        };
        if bytes > max_bytes || (before.is_none() && self.tree.len() >= max) {
            return Err(Full);
        }
        self.bytes = bytes;
        self.changes += 1;
        let mut content = Vec::with_capacity(len);
        content.extend_from_slice(properties);
        content.extend_from_slice(message.payload);
        let retained = Retained {
            content: content.into_boxed_slice(),
            properties_len: u32::try_from(properties.len()).unwrap_or(u32::MAX),
            qos: message.qos,
            expires: expires.unwrap_or(NEVER),
            changed: self.changes,
        };
        self.tree.insert(message.topic, retained);
        Ok(())
    }

    /// Forgets the message of a topic.
    pub(crate) fn clear(&mut self, topic: &str) {
        if let Some(old) = self.tree.remove(topic) {
            self.bytes -= counted_bytes(topic) + old.content.len();
        }
    }

    /// Begins to send to a new subscription what its filter matches now.
    pub(crate) fn replay(&self, filter: &str, subscription: Subscription) -> Replay {
        Replay {
            cursor: self.tree.cursor(filter),
            subscription,
            after: self.changes,
        }
    }

    pub(crate) fn tree(&self) -> &RetainedTree<Retained> {
        &self.tree
    }
}

impl Retained {
    /// Whether a replay must skip it: it was changed after the subscription went live.
    pub(crate) fn is_newer_than(&self, replay_after: u64) -> bool {
        self.changed > replay_after
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.expires <= now
    }

    /// The message as it is to be sent now.
    pub(crate) fn message<'a>(&'a self, topic: &'a str, now: Instant) -> Message<'a> {
        let (properties, payload) = self.content.split_at(self.properties_len as usize);
        Message {
            topic,
            payload,
            qos: self.qos,
            retain: true,
            properties,
            expiry: expiry_left(self.expires, now),
            packet: None,
            shared: None,
        }
    }
}
