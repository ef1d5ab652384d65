//! What the store has of retained messages: a row for each topic.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Retained, RetainedMessages, is_own};
use crate::connection::NEVER;
use crate::map::HashKey;
use crate::message::Message;
use crate::peer::Place;
use crate::store::StoredMessage;
use crate::time::{Epoch, Instant};

impl RetainedMessages {
    /// The row of a topic is out of date, by this change.
    pub(super) fn note(&mut self, topic: &str, version: u64) {
        if let Some(unwritten) = &mut self.unwritten
            && !is_own(topic)
        {
            unwritten.push((topic.into(), version));
        }
    }

    /// Topics whose rows are out of date, since the last call, each with the version of the change.
    pub(crate) fn take_unwritten(&mut self) -> Vec<(Box<str>, u64)> {
        self.unwritten
            .as_mut()
            .map_or_else(Vec::new, core::mem::take)
    }

    /// There is a store; versions go on from this one.
    pub(crate) fn begin_store(&mut self, place: &Place, key: HashKey, version: u64) {
        self.unwritten = Some(Vec::new());
        self.versions.begin_store(place, key, version);
    }

    /// Puts back what was stored.
    pub(crate) fn restore(&mut self, message: &Message<'_>, expires: Instant, version: u64) {
        let before = self.find(message.topic);
        let entry = self.entry(message, message.properties, expires, version, true);
        self.put(message.topic, entry, before);
    }

    /// Forgets tombstones of which no older change can arrive any more.
    pub(crate) fn forget_tombstones(&mut self, clock: u64) {
        for (topic, version) in self.versions.forget_up_to(clock) {
            if self.versions.is_mine(version) {
                self.note(&topic, version);
            }
        }
    }
}

impl Retained {
    /// As it is to be stored: the version and the message.
    pub(crate) fn stored(&self, topic: &str, epoch: Epoch) -> (u64, StoredMessage) {
        let (properties, payload) = self.bytes().split_at(self.properties_len as usize);
        let message = StoredMessage {
            topic: topic.into(),
            properties: Bytes::copy_from_slice(properties),
            payload: Bytes::copy_from_slice(payload),
            qos: self.qos,
            retain: true,
            expires: (self.expires != NEVER).then(|| epoch.to_unix(self.expires)),
        };
        (self.version(), message)
    }
}
