//! Retained messages: the last one of each topic, kept for those who subscribe later.
//!
//! They leave in four ways: cleared or replaced by a publisher, expired, or dropped for newer ones
//! if the policy says so. The last two are done in bounded pieces: what expires at one moment
//! leaves over as many turns as it takes, and one publisher makes room for no more than a turn's
//! work.
//!
//! Where there are several shards, each holds all of them; `versions` says how they agree. Limits
//! are decided by the shard where a message is published alone: the others apply what comes of it.

mod apply;
mod expiry;
mod stored;
#[cfg(test)]
mod tests;
mod versions;

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::broker::{Config, RetainedPolicy};
use crate::connection::NEVER;
use crate::map::HashKey;
use crate::message::{Message, expiry_left};
use crate::packet::QoS;
use crate::peer::{Change, Place};
use crate::session::Subscription;
use crate::time::Instant;
use crate::topic::{Cursor, LookedUp, RetainedTree, TopicId, counted_bytes};

use expiry::Expiry;
use versions::Versions;
pub(crate) use versions::clock_of;

/// How many steps messages that have expired may take to leave in one turn.
const EXPIRY_BUDGET: usize = 16 * 1024;

/// How many steps one message may take to find room.
const ROOM_BUDGET: usize = 64 * 1024;

/// What it takes to remove a message, in steps as matching and replays count them: more if its
/// topic is long, and if much memory is given back.
const STEPS: usize = 16;
const TOPIC_BYTES_PER_STEP: usize = 64;
const CONTENT_BYTES_PER_STEP: usize = 4096;

/// All retained messages of a broker.
#[derive(Debug)]
pub(crate) struct RetainedMessages {
    tree: RetainedTree<Retained>,
    expiry: Expiry,
    /// How many of them are the broker's own. They are bounded by their names and count towards no
    /// limit.
    own: usize,
    bytes: usize,
    /// The number of the last change.
    changes: u64,
    versions: Versions,
    /// Topics whose row in the store is out of date, if there is a store, each with the version of
    /// the change.
    unwritten: Option<Vec<(Box<str>, u64)>>,
}

/// What there was of a topic before a change.
#[derive(Clone, Copy)]
struct Before {
    place: LookedUp,
    /// When it expires, and how long it is.
    old: Option<(TopicId, Instant, usize)>,
}

/// One retained message; its topic is its place in the tree.
#[derive(Debug)]
pub(crate) struct Retained {
    /// The version of the change that it was at all shards, if there are several; encoded
    /// properties; the payload: one allocation that owns exactly its bytes.
    content: Box<[u8]>,
    properties_len: u32,
    qos: QoS,
    has_version: bool,
    expires: Instant,
    /// The number of the change here that it was; 0 if it came live to nobody.
    changed: u64,
}

/// Retained messages on their way to a new subscription. It holds no copy of the list: what changes
/// behind the cursor was delivered live, what it finds changed before it is skipped for the same
/// reason.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) cursor: Cursor,
    pub(crate) subscription: Subscription,
    pub(crate) live: Live,
    /// Whether the store knows of it.
    pub(crate) is_stored: bool,
}

/// Which changes came live to whoever a replay is for.
#[derive(Debug)]
pub(crate) struct Live {
    /// All after this one, when the replay began,
    after: u64,
    /// but for these, in order.
    missed: Vec<u64>,
}

/// How many changes a replay remembers that did not come live. Beyond that it brings all since.
const MISSED: usize = 1024;

impl Live {
    /// A change did not come live.
    pub(crate) fn missed(&mut self, change: u64) {
        if change <= self.after || self.missed.binary_search(&change).is_ok() {
            return;
        }
        if self.missed.len() < MISSED {
            let place = self.missed.partition_point(|known| *known < change);
            self.missed.insert(place, change);
        } else {
            self.after = self.missed.last().copied().unwrap_or(change).max(change);
            self.missed = Vec::new();
        }
    }

    /// Whether a message came live, so that the replay leaves it out.
    pub(crate) fn has(&self, retained: &Retained) -> bool {
        retained.changed > self.after && self.missed.binary_search(&retained.changed).is_err()
    }
}

/// What became of a message that was to be retained, and what it made of others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// There was no room for it. The one that its topic had is gone all the same: it is out of
    /// date.
    pub(crate) refused: bool,
    /// How many left because they had expired.
    pub(crate) expired: u64,
    /// How many were dropped to make room.
    pub(crate) dropped: u64,
    /// How many steps that took.
    pub(crate) work: usize,
    /// What peers are to be told of the topic; `None` if there are none.
    pub(crate) change: Option<Change>,
    /// The topics that made room, with the versions of that, if there are peers to be told.
    pub(crate) gone: Vec<(Box<str>, u64)>,
}

impl RetainedMessages {
    pub(crate) fn new(key: HashKey, place: &Place) -> Self {
        Self {
            tree: RetainedTree::new(key),
            versions: Versions::new(place, key),
            expiry: Expiry::default(),
            own: 0,
            bytes: 0,
            changes: 0,
            unwritten: None,
        }
    }

    /// How many there are, without the broker's own.
    pub(crate) fn len(&self) -> usize {
        self.tree.len() - self.own
    }

    /// The bytes of their topics, properties and payloads.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the last change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Keeps a message in the place of the one its topic had, if there is or can be made room for
    /// it. `properties` are those that [`owned_properties`](crate::message::owned_properties)
    /// gives.
    pub(crate) fn set(
        &mut self,
        message: &Message<'_>,
        properties: &[u8],
        expires: Option<Instant>,
        now: Instant,
        config: &Config,
    ) -> Outcome {
        let version = self.versions.next();
        self.note(message.topic, version);
        let mut outcome = Outcome::default();
        let expires = expires.unwrap_or(NEVER);
        if expires <= now {
            self.clear_at(message.topic, version);
            outcome.expired = 1;
            outcome.change = change(version, false);
            return outcome;
        }
        outcome.change = change(version, true);
        let len = properties.len() + message.payload.len();
        let bytes = counted_bytes(message.topic) + len;
        let before = self.find(message.topic);
        let fits = match before.old {
            Some((_, _, old)) => self.bytes - old + len <= config.max_retained_bytes,
            None => self.has_room(bytes, config),
        };
        if fits {
            let entry = self.entry(message, properties, expires, version, true);
            self.put(message.topic, entry, before);
            return outcome;
        }
        // Whatever comes of it, the one that is there is out of date; nor is it dropped for
        // another.
        self.clear_at(message.topic, version);
        if self.make_room(bytes, now, config, &mut outcome) {
            let entry = self.entry(message, properties, expires, version, true);
            let before = self.find(message.topic);
            self.put(message.topic, entry, before);
        } else {
            outcome.refused = true;
            outcome.change = change(version, false);
        }
        outcome
    }

    /// What there is of a topic.
    fn find(&self, topic: &str) -> Before {
        let place = self.tree.look_up(topic);
        let old = self.tree.id_at(place).and_then(|id| {
            let retained = self.tree.get_id(id)?;
            Some((id, retained.expires, retained.len()))
        });
        Before { place, old }
    }

    /// What is kept of a message. If it is live, that is a change of its own.
    fn entry(
        &mut self,
        message: &Message<'_>,
        properties: &[u8],
        expires: Instant,
        version: u64,
        is_live: bool,
    ) -> Retained {
        let version = (version > 0).then_some(version.to_le_bytes());
        let prefix = version.as_ref().map_or(&[][..], |it| it.as_slice());
        let len = prefix.len() + properties.len() + message.payload.len();
        let mut content = Vec::with_capacity(len);
        content.extend_from_slice(prefix);
        content.extend_from_slice(properties);
        content.extend_from_slice(message.payload);
        self.changes += u64::from(is_live);
        Retained {
            content: content.into_boxed_slice(),
            properties_len: u32::try_from(properties.len()).unwrap_or(u32::MAX),
            qos: message.qos,
            has_version: version.is_some(),
            expires,
            changed: if is_live { self.changes } else { 0 },
        }
    }

    /// Sets the message of a topic, in the place of what there was `before`. Returns the number of
    /// the change.
    fn put(&mut self, topic: &str, entry: Retained, before: Before) -> u64 {
        let len = entry.len();
        let is_own = is_own(topic);
        if !is_own {
            self.bytes += len;
        }
        match before.old {
            Some((id, expired, old)) => {
                self.bytes -= if is_own { 0 } else { old };
                self.expiry.remove(expired, id);
            }
            None if is_own => self.own += 1,
            None => self.bytes += counted_bytes(topic),
        }
        let (expires, changed) = (entry.expires, entry.changed);
        self.versions.unearth(topic);
        let (id, _) = self.tree.insert_at(topic, before.place, entry);
        self.expiry.insert(expires, id);
        changed
    }

    /// What is retained for a topic.
    pub(crate) fn get(&self, topic: &str) -> Option<&Retained> {
        self.tree.get(topic)
    }

    /// Keeps a message of the broker's own. No client can publish to its topic. Returns what peers
    /// are to be told.
    pub(crate) fn set_own(&mut self, message: &Message<'_>) -> Option<Change> {
        let version = self.versions.next();
        let before = self.find(message.topic);
        let entry = self.entry(message, &[], NEVER, version, true);
        self.put(message.topic, entry, before);
        change(version, true)
    }

    fn has_room(&self, bytes: usize, config: &Config) -> bool {
        self.len() < config.max_retained && self.bytes + bytes <= config.max_retained_bytes
    }

    /// Makes room for one more message of that many bytes: what has expired leaves first, then, if
    /// the policy says so, what was set the longest time ago. Nothing leaves for one that no store
    /// of this size could hold.
    fn make_room(
        &mut self,
        bytes: usize,
        now: Instant,
        config: &Config,
        outcome: &mut Outcome,
    ) -> bool {
        if config.max_retained == 0 || bytes > config.max_retained_bytes {
            return false;
        }
        while !self.has_room(bytes, config) {
            if outcome.work >= ROOM_BUDGET {
                return false;
            }
            if let Some(id) = self.expiry.pop_due(now) {
                outcome.work += self.remove_expired(id);
                outcome.expired += 1;
                continue;
            }
            match self.tree.oldest() {
                Some(id) if config.retained_policy == RetainedPolicy::DropOldest => {
                    outcome.work += self.drop_oldest(id, outcome);
                }
                _ => return false,
            }
        }
        true
    }

    /// Drops the message that was set the longest time ago, unless it is the broker's own, which
    /// counts as set anew. Returns how many steps that took.
    fn drop_oldest(&mut self, id: TopicId, outcome: &mut Outcome) -> usize {
        match self.tree.remove_id(id) {
            Some((topic, old)) if is_own(&topic) => {
                self.tree.insert(&topic, old);
                STEPS
            }
            Some((topic, old)) => {
                outcome.dropped += 1;
                let version = self.versions.next();
                self.note(&topic, version);
                if version > 0 {
                    self.versions.bury(&topic, version);
                    outcome.gone.push((topic.as_str().into(), version));
                }
                self.removed(id, &topic, &old)
            }
            None => STEPS,
        }
    }

    /// Forgets the message of a topic. Returns what peers are to be told.
    pub(crate) fn clear(&mut self, topic: &str) -> Option<Change> {
        let version = self.versions.next();
        self.note(topic, version);
        self.clear_at(topic, version);
        change(version, false)
    }

    fn clear_at(&mut self, topic: &str, version: u64) {
        if let Some(id) = self.tree.id(topic)
            && let Some((topic, old)) = self.tree.remove_id(id)
        {
            self.removed(id, &topic, &old);
        }
        self.versions.bury(topic, version);
    }

    /// Forgets messages that have expired, as many as one turn may take; returns how many. If that
    /// is not all, the next expiry is in the past.
    pub(crate) fn expire(&mut self, now: Instant) -> u64 {
        let (mut work, mut expired) = (0, 0);
        while work < EXPIRY_BUDGET
            && let Some(id) = self.expiry.pop_due(now)
        {
            work += self.remove_expired(id);
            expired += 1;
        }
        expired
    }

    /// When the next message expires, or did.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.expiry.next()
    }

    /// Takes out a message that has expired; returns how many steps that took.
    fn remove_expired(&mut self, id: TopicId) -> usize {
        match self.tree.remove_id(id) {
            Some((topic, old)) => {
                if self.versions.is_mine(old.version()) {
                    self.note(&topic, old.version());
                }
                self.versions.bury(&topic, old.version());
                self.removed(id, &topic, &old)
            }
            None => STEPS,
        }
    }

    /// A message was taken out of the tree.
    fn removed(&mut self, id: TopicId, topic: &str, old: &Retained) -> usize {
        let topic_bytes = counted_bytes(topic);
        if is_own(topic) {
            self.own -= 1;
        } else {
            self.bytes -= topic_bytes + old.len();
        }
        self.expiry.remove(old.expires, id);
        STEPS + topic_bytes / TOPIC_BYTES_PER_STEP + old.len() / CONTENT_BYTES_PER_STEP
    }

    /// Begins to send to a new subscription what its filter matches now.
    pub(crate) fn replay(&self, filter: &str, subscription: Subscription) -> Replay {
        Replay {
            cursor: self.tree.cursor(filter),
            subscription,
            live: Live {
                after: self.changes,
                missed: Vec::new(),
            },
            is_stored: false,
        }
    }

    pub(crate) fn tree(&self) -> &RetainedTree<Retained> {
        &self.tree
    }
}

/// What peers are to be told of a topic: nothing, if there are none.
fn change(version: u64, keeps: bool) -> Option<Change> {
    (version > 0).then_some(Change { version, keeps })
}

/// Whether only the broker itself publishes to a topic.
fn is_own(topic: &str) -> bool {
    topic.starts_with("$SYS/")
}

impl Retained {
    pub(crate) fn expires(&self) -> Instant {
        self.expires
    }

    /// The change that it was.
    pub(crate) fn change(&self) -> Change {
        let (version, keeps) = (self.version(), true);
        Change { version, keeps }
    }

    /// The version of that change; 0 where there is one shard.
    fn version(&self) -> u64 {
        let bytes = self.content.first_chunk().filter(|_| self.has_version);
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The properties and the payload.
    fn bytes(&self) -> &[u8] {
        match self.has_version {
            true => self.content.get(size_of::<u64>()..).unwrap_or_default(),
            false => &self.content,
        }
    }

    /// How many bytes they have.
    fn len(&self) -> usize {
        self.bytes().len()
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.expires <= now
    }

    /// The message as it is to be sent now.
    pub(crate) fn message<'a>(&'a self, topic: &'a str, now: Instant) -> Message<'a> {
        let (properties, payload) = self.bytes().split_at(self.properties_len as usize);
        Message {
            topic,
            payload,
            qos: self.qos,
            retain: true,
            properties,
            expiry: expiry_left(self.expires, now),
            packet: None,
            known: None,
            shared: None,
        }
    }
}
