//! When retained messages expire.

use alloc::collections::BTreeSet;

use crate::connection::NEVER;
use crate::time::Instant;
use crate::topic::TopicId;

/// The topics whose messages expire, by when they do. Those that never do take no room here.
///
/// It is exact: whoever takes a message out of the tree takes it out of here. A set that grows and
/// shrinks by small nodes costs each message the same; none pays for sorting out or moving all.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    at: BTreeSet<(Instant, TopicId)>,
}

impl Expiry {
    pub(super) fn insert(&mut self, expires: Instant, topic: TopicId) {
        if expires != NEVER {
            self.at.insert((expires, topic));
        }
    }

    pub(super) fn remove(&mut self, expires: Instant, topic: TopicId) {
        if expires != NEVER {
            self.at.remove(&(expires, topic));
        }
    }

    /// When the next one expires.
    pub(super) fn next(&self) -> Option<Instant> {
        self.at.first().map(|(at, _)| *at)
    }

    /// The one among those that have expired that did so first; it is no longer here afterwards.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<TopicId> {
        if self.next()? > now {
            return None;
        }
        self.at.pop_first().map(|(_, topic)| topic)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.at.len()
    }
}
