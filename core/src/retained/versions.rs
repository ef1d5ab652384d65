//! Which change of a topic is the latest, where several shards make changes.
//!
//! Every shard holds all retained messages. A change is made at the shard where it was published,
//! and goes from there to every other one. Its version is a clock of that shard, which is ahead of
//! every version that it has seen, and then the shard's number; the greater version wins,
//! everywhere. So all shards come to hold the same, in whatever order the changes of different
//! shards reach them.
//!
//! That a topic was cleared, or that its message has expired, must be remembered as long as an
//! older change may still arrive, or that would bring the topic back: it leaves a tombstone, the
//! topic with the version. A tombstone goes when every peer has told a clock that is not behind it.
//! This is why no older change can arrive then:
//!
//! - A change reaches a shard only through the link from the shard that made it; nobody passes it
//!   on. What is still on its way between two others comes here on a way of its own, and what they
//!   make of it is their own affair: each keeps its tombstones for itself.
//! - A clock only grows, and each change takes a new one. When a peer tells its clock, all its
//!   changes up to there are in the link already; those that follow have greater ones.
//! - Links keep their order. So what comes behind a clock that is not behind the tombstone is newer
//!   than the tombstone.
//! - The own clock is ahead of the tombstone: whatever is still made here is newer.
//!
//! And every peer does tell such a clock: a change that leaves a tombstone here has reached or will
//! reach each of them. There it leaves one too, upon which that peer tells its clock, which is
//! ahead by then; or it finds a newer change, which is on its way here and takes the place of the
//! tombstone. A message that expires does so at each shard that has it, by itself.
//!
//! There may be as many tombstones as changes are on their way, which the links' limit bounds.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::map::{HashKey, KeyedMap};
use crate::peer::Place;

/// The low bits of a version are the number of the shard.
const SHARD_BITS: u32 = 6;
const SHARDS: u64 = (1 << SHARD_BITS) - 1;

fn several(place: &Place, key: HashKey) -> Box<Several> {
    Box::new(Several {
        shard: place.index(),
        count: u64::from(place.count()),
        clock: 0,
        topics: KeyedMap::new(key),
        versions: BTreeMap::new(),
        due: 0,
        is_news: false,
    })
}

/// The clock of a version.
pub(crate) fn clock_of(version: u64) -> u64 {
    version >> SHARD_BITS
}

/// The clock of a shard, and the tombstones that it keeps. Where there is one shard there is
/// neither, and every version is 0.
#[derive(Debug)]
pub(crate) struct Versions {
    several: Option<Box<Several>>,
}

#[derive(Debug)]
struct Several {
    shard: u8,
    count: u64,
    clock: u64,
    /// The tombstones, by topic and in the order of their versions.
    topics: KeyedMap<Box<str>, u64>,
    versions: BTreeMap<u64, Box<str>>,
    /// The clock that peers have to hear.
    due: u64,
    /// Whether there are tombstones that came since it was asked.
    is_news: bool,
}

impl Versions {
    pub(crate) fn new(place: &Place, key: HashKey) -> Self {
        let several = (place.count() > 1).then(|| several(place, key));
        Self { several }
    }

    /// There is a store: changes have versions even if there is one shard, and they go on from this
    /// one.
    pub(crate) fn begin_store(&mut self, place: &Place, key: HashKey, version: u64) {
        let several = self.several.get_or_insert_with(|| several(place, key));
        several.clock = several.clock.max(clock_of(version));
    }

    /// Whether this shard looks after the row of a change. Its maker does; there may have been more
    /// shards then.
    pub(crate) fn is_mine(&self, version: u64) -> bool {
        let several = self.several.as_ref();
        several.is_some_and(|it| (version & SHARDS) % it.count == u64::from(it.shard))
    }

    /// The version of a change that is made here now.
    pub(crate) fn next(&mut self) -> u64 {
        self.several.as_mut().map_or(0, |several| {
            several.clock += 1;
            several.clock << SHARD_BITS | u64::from(several.shard)
        })
    }

    /// A change was made elsewhere.
    pub(crate) fn saw(&mut self, version: u64) {
        self.saw_clock(clock_of(version));
    }

    /// A peer's clock is there.
    pub(crate) fn saw_clock(&mut self, clock: u64) {
        if let Some(several) = &mut self.several {
            several.clock = several.clock.max(clock);
        }
    }

    /// The clock of this shard.
    pub(crate) fn clock(&self) -> u64 {
        self.several.as_ref().map_or(0, |several| several.clock)
    }

    /// The clock that peers have to hear for the sake of tombstones.
    pub(crate) fn due(&self) -> u64 {
        self.several.as_ref().map_or(0, |several| several.due)
    }

    /// Peers have to hear the clock as it is.
    pub(crate) fn has_to_be_told(&mut self) {
        if let Some(several) = &mut self.several {
            several.due = several.clock;
        }
    }

    /// Whether there are tombstones that came since it was last asked.
    pub(crate) fn is_news(&mut self) -> bool {
        let several = self.several.as_mut();
        several.is_some_and(|several| core::mem::take(&mut several.is_news))
    }

    /// The version of a topic's tombstone; 0 if it has none.
    pub(crate) fn buried(&self, topic: &str) -> u64 {
        let several = self.several.as_ref();
        let version = several.and_then(|several| several.topics.get(topic));
        version.copied().unwrap_or(0)
    }

    /// Leaves a tombstone.
    pub(crate) fn bury(&mut self, topic: &str, version: u64) {
        self.unearth(topic);
        if let Some(several) = &mut self.several {
            several.topics.insert(topic.into(), version);
            several.versions.insert(version, topic.into());
            several.due = several.due.max(clock_of(version));
            several.is_news = true;
        }
    }

    /// Takes a topic's tombstone away: there is a newer change.
    pub(crate) fn unearth(&mut self, topic: &str) {
        if let Some(several) = &mut self.several
            && let Some(version) = several.topics.remove(topic)
        {
            several.versions.remove(&version);
        }
    }

    /// No change that is not ahead of this clock can arrive any more. Returns the tombstones that
    /// go.
    pub(crate) fn forget_up_to(&mut self, clock: u64) -> Vec<(Box<str>, u64)> {
        let mut gone = Vec::new();
        let Some(several) = &mut self.several else {
            return gone;
        };
        while let Some(entry) = several.versions.first_entry()
            && clock_of(*entry.key()) <= clock
        {
            let (version, topic) = entry.remove_entry();
            several.topics.remove(&topic);
            gone.push((topic, version));
        }
        gone
    }

    /// How many tombstones there are.
    pub(crate) fn tombstones(&self) -> usize {
        self.several
            .as_ref()
            .map_or(0, |several| several.versions.len())
    }
}
