//! Changes that other shards have made.

use super::versions::Versions;
use super::{Before, RetainedMessages};
use crate::message::Message;
use crate::peer::Change;
use crate::time::Instant;

impl RetainedMessages {
    /// Does what a change at a peer has done there, unless there is a newer one. `is_live` says
    /// whether it comes live to those who have subscribed here. Returns the number of the change
    /// here if the message is kept and comes live, and else 0.
    pub(crate) fn apply(
        &mut self,
        message: &Message<'_>,
        change: Change,
        expires: Instant,
        is_live: bool,
        now: Instant,
    ) -> u64 {
        let Change { version, keeps } = change;
        self.versions.saw(version);
        let before = self.find(message.topic);
        if version <= self.version_of(&before, message.topic) {
            return 0;
        }
        if !keeps || expires <= now {
            self.clear_at(message.topic, version);
            return 0;
        }
        let entry = self.entry(message, message.properties, expires, version, is_live);
        self.put(message.topic, entry, before)
    }

    /// The same for a topic of which nothing is kept any more.
    pub(crate) fn apply_clear(&mut self, topic: &str, version: u64) {
        self.versions.saw(version);
        if version > self.version_of(&self.find(topic), topic) {
            self.clear_at(topic, version);
        }
    }

    /// The version of the latest change of a topic that is remembered.
    fn version_of(&self, before: &Before, topic: &str) -> u64 {
        let retained = before.old.and_then(|(id, ..)| self.tree.get_id(id));
        match retained {
            Some(retained) => retained.version(),
            None => self.versions.buried(topic),
        }
    }

    /// What peers need to hear of clocks, and what is heard of theirs.
    pub(crate) fn versions(&mut self) -> &mut Versions {
        &mut self.versions
    }

    /// How many topics are remembered as cleared, because an older change may still come from a
    /// peer.
    pub(crate) fn tombstones(&self) -> usize {
        self.versions.tombstones()
    }
}
