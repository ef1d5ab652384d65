//! Topics that messages have come to lately: known to be well-formed, with what matches them.
//!
//! Most publishers repeat their topics. What it takes to check a topic and to look for its
//! subscribers is most of what a message of QoS 0 costs, so it is done once, and holds until a
//! filter comes or goes that may match the topic.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use crate::peer::{Interests, Shards};
use crate::session::{SessionId, Subscription};
use crate::topic::{FilterId, FilterTree, Stamp};

/// So many bytes a topic may have to be kept. It bounds the memory of all.
const LONGEST: usize = 256;

/// So many filters may match it; if there are more, the work is theirs, not that of finding them.
const MOST_FILTERS: usize = 4;

/// A bounded number of topics. Each has one place where it can be, by its hash.
#[derive(Debug)]
pub(crate) struct KnownTopics {
    hasher: FixedState,
    /// None at all until the first topic comes.
    places: Vec<Place>,
    /// How many there may be: a power of two, or none.
    most: usize,
}

#[derive(Debug, Default)]
struct Place {
    topic: Option<Box<KnownTopic>>,
    /// The hash of the last topic that was looked for here in vain since one was found.
    missed: u64,
}

/// What is known of a topic.
#[derive(Debug)]
pub(crate) struct KnownTopic {
    name: Box<str>,
    place: usize,
    /// Its hashes as a filter, here and among what peers have told.
    filter_hash: u64,
    interest_hash: u64,
    /// The filters that match it, unless they are too many.
    filters: heapless::Vec<FilterId, MOST_FILTERS>,
    are_all: bool,
    filters_as_of: Stamp,
    /// The peers that it may be for.
    peers: Shards,
    peers_as_of: Stamp,
}

/// What came of looking for a topic.
pub(crate) enum Looked {
    /// It is there. It is taken out, and to be [put back](KnownTopics::put_back).
    Found(Box<KnownTopic>),
    /// It is not there.
    Unknown,
    /// It is not there, and was the last one looked for in its place, too: it should be
    /// [learnt](KnownTopics::learn).
    Again,
}

impl KnownTopics {
    /// At most about `most` topics; 0 is none.
    pub(crate) fn new(most: usize, seed: u64) -> Self {
        Self {
            hasher: FixedState::with_seed(seed),
            places: Vec::new(),
            most: places(most),
        }
    }

    /// Forgets all of them; from now on there are at most about `most`.
    pub(crate) fn begin_anew(&mut self, most: usize) {
        self.places = Vec::new();
        self.most = places(most);
    }

    #[inline]
    fn hash(&self, topic: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(topic);
        hasher.finish() | 1 // 0 is none that was missed.
    }

    /// Looks for a topic.
    #[inline]
    pub(crate) fn look_for(&mut self, topic: &[u8]) -> Looked {
        if topic.len() > LONGEST {
            return Looked::Unknown;
        }
        let hash = self.hash(topic);
        let at = self.place_of(hash);
        let Some(place) = self.places.get_mut(at) else {
            self.begin();
            return Looked::Unknown;
        };
        if place
            .topic
            .as_ref()
            .is_some_and(|it| it.name.as_bytes() == topic)
        {
            place.missed = 0;
            return place.topic.take().map_or(Looked::Unknown, Looked::Found);
        }
        match core::mem::replace(&mut place.missed, hash) == hash {
            true => Looked::Again,
            false => Looked::Unknown,
        }
    }

    #[inline]
    fn place_of(&self, hash: u64) -> usize {
        // The lowest bit is always set.
        (hash >> 1) as usize & self.places.len().wrapping_sub(1)
    }

    #[cold]
    fn begin(&mut self) {
        self.places.resize_with(self.most, Place::default);
    }

    /// Makes the topic known, which is well-formed, in place of the one that was.
    #[cold]
    pub(crate) fn learn(&mut self, topic: &str) {
        let at = self.place_of(self.hash(topic.as_bytes()));
        let Some(place) = self.places.get_mut(at) else {
            return;
        };
        place.missed = 0;
        place.topic = Some(Box::new(KnownTopic {
            name: topic.into(),
            place: at,
            filter_hash: 0,
            interest_hash: 0,
            filters: heapless::Vec::new(),
            are_all: false,
            filters_as_of: Stamp::NEVER,
            peers: Shards::NONE,
            peers_as_of: Stamp::NEVER,
        }));
    }

    /// A topic was used.
    #[inline]
    pub(crate) fn put_back(&mut self, topic: Box<KnownTopic>) {
        if let Some(place) = self.places.get_mut(topic.place) {
            place.topic = Some(topic);
        }
    }
}

/// How many places so many topics have: a power of two, or none.
fn places(most: usize) -> usize {
    match most {
        0 => 0,
        some => some.checked_next_power_of_two().unwrap_or(1),
    }
}

impl KnownTopic {
    /// How it is written.
    #[inline]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The filters that match it, in the order in which the tree tells them; `None` if that has to
    /// be asked.
    #[inline]
    pub(crate) fn filters(&self) -> Option<&[FilterId]> {
        self.are_all.then_some(self.filters.as_slice())
    }

    /// The peers that it may be for.
    #[inline]
    pub(crate) fn peers(&self) -> Shards {
        self.peers
    }

    /// Finds out what is not true any more. Returns how many places were looked at.
    #[inline]
    pub(crate) fn refresh(
        &mut self,
        filters: &FilterTree<SessionId, Subscription>,
        interests: &Interests,
    ) -> usize {
        let mut visited = 0;
        if self.filters_as_of != filters.changes().stamp(self.filter_hash) {
            visited += self.match_filters(filters);
        }
        if self.peers_as_of != interests.changes().stamp(self.interest_hash) {
            visited += self.ask_peers(interests);
        }
        visited
    }

    #[cold]
    fn match_filters(&mut self, filters: &FilterTree<SessionId, Subscription>) -> usize {
        self.filters.clear();
        self.are_all = true;
        let visited = filters.for_each_match(&self.name, |filter, _| {
            self.are_all &= self.filters.push(filter).is_ok();
        });
        self.filter_hash = filters.hash(&self.name);
        self.filters_as_of = filters.changes().stamp(self.filter_hash);
        visited
    }

    #[cold]
    fn ask_peers(&mut self, interests: &Interests) -> usize {
        let (peers, visited) = interests.of(&self.name);
        self.peers = peers;
        self.interest_hash = interests.hash(&self.name);
        self.peers_as_of = interests.changes().stamp(self.interest_hash);
        visited
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::map::HashKey;
    use crate::packet::{QoS, SubscriptionOptions};

    const TOPICS: [&str; 6] = ["a", "a/b", "a/c", "b", "b/b", "$SYS/a"];
    const FILTERS: [&str; 12] = [
        "a", "a/b", "a/c", "b", "b/b", "#", "+", "+/b", "a/#", "a/+", "$SYS/#", "+/+",
    ];

    /// Looks until the topic is found, as messages do that repeat it.
    fn found(known: &mut KnownTopics, topic: &str) -> Box<KnownTopic> {
        for _ in 0..4 {
            match known.look_for(topic.as_bytes()) {
                Looked::Found(found) => return found,
                Looked::Unknown => {}
                Looked::Again => known.learn(topic),
            }
        }
        panic!("{topic} is not learnt");
    }

    fn is_known(known: &mut KnownTopics, topic: &str) -> bool {
        match known.look_for(topic.as_bytes()) {
            Looked::Found(topic) => {
                known.put_back(topic);
                true
            }
            Looked::Unknown | Looked::Again => false,
        }
    }

    #[test]
    fn a_topic_is_learnt_when_it_comes_again() {
        let mut known = KnownTopics::new(64, 1);
        assert!(matches!(known.look_for(b"a"), Looked::Unknown));
        assert!(matches!(known.look_for(b"a"), Looked::Unknown), "no place");
        assert!(matches!(known.look_for(b"a"), Looked::Again));
        known.learn("a");
        assert!(is_known(&mut known, "a"));
        assert!(!is_known(&mut known, "b"));
    }

    #[test]
    fn there_are_never_more_than_allowed_and_topics_in_use_stay() {
        let mut known = KnownTopics::new(4, 1);
        let topics: Vec<_> = (0..100).map(|n| format!("topic/{n}")).collect();
        for topic in &topics {
            let topic = found(&mut known, topic);
            known.put_back(topic);
        }
        assert_eq!(known.places.len(), 4);
        let there = topics.iter().filter(|it| is_known(&mut known, it)).count();
        assert_eq!(there, 4);
        // One that is used between is not displaced by those that share its place.
        let used = topics.iter().find(|it| is_known(&mut known, it));
        let used = used.expect("some are there");
        for other in topics.iter().chain(&topics) {
            is_known(&mut known, other);
            assert!(is_known(&mut known, used));
        }
        let long = "x".repeat(LONGEST + 1);
        for _ in 0..4 {
            assert!(matches!(known.look_for(long.as_bytes()), Looked::Unknown));
        }
        let mut none = KnownTopics::new(0, 1);
        for _ in 0..4 {
            assert!(matches!(none.look_for(b"a"), Looked::Unknown));
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Change {
        Subscribe(usize, u8),
        Unsubscribe(usize, u8),
        Tell(usize, u8, bool),
        Forget(u8),
    }

    fn change() -> impl Strategy<Value = Change> {
        let filter = 0..FILTERS.len();
        prop_oneof![
            (filter.clone(), 0..3u8).prop_map(|(filter, who)| Change::Subscribe(filter, who)),
            (filter.clone(), 0..3u8).prop_map(|(filter, who)| Change::Unsubscribe(filter, who)),
            (filter, 1..4u8, any::<bool>()).prop_map(|(f, peer, on)| Change::Tell(f, peer, on)),
            (1..4u8).prop_map(Change::Forget),
        ]
    }

    proptest! {
        /// What is kept of a topic is what would be found if it were looked for, always.
        #[test]
        fn what_is_known_is_true(changes in prop::collection::vec(change(), 1..60)) {
            let mut sessions = slotmap::SlotMap::<SessionId, ()>::with_key();
            let ids: Vec<_> = (0..3).map(|_| sessions.insert(())).collect();
            let mut filters = FilterTree::new(HashKey::from_seed(1));
            let mut interests = Interests::new(HashKey::from_seed(2));
            let mut told = [[false; FILTERS.len()]; 4];
            let mut known = KnownTopics::new(64, 3);
            let options = SubscriptionOptions::default();
            let subscription = Subscription::granted(options, 0, QoS::AtMostOnce);
            for change in changes {
                match change {
                    Change::Subscribe(filter, who) => {
                        let who = ids[usize::from(who)];
                        filters.insert(FILTERS[filter], who, subscription);
                    }
                    Change::Unsubscribe(filter, who) => {
                        if let Some(id) = filters.find(FILTERS[filter]) {
                            filters.remove(id, ids[usize::from(who)]);
                        }
                    }
                    Change::Tell(filter, peer, on) => {
                        let before = &mut told[usize::from(peer)][filter];
                        if core::mem::replace(before, on) != on {
                            let name = FILTERS[filter];
                            match name.contains(['+', '#']) {
                                true => interests.set_wildcard(name, peer, on),
                                false => interests.set_exact(interests.hash(name), peer, on),
                            }
                        }
                    }
                    Change::Forget(peer) => {
                        told[usize::from(peer)] = [false; FILTERS.len()];
                        interests.forget(peer);
                    }
                }
                for topic in TOPICS {
                    let mut it = found(&mut known, topic);
                    it.refresh(&filters, &interests);
                    prop_assert_eq!(it.refresh(&filters, &interests), 0);
                    let mut matching = Vec::new();
                    filters.for_each_match(topic, |filter, _| matching.push(filter));
                    if matching.len() <= MOST_FILTERS {
                        prop_assert_eq!(it.filters(), Some(matching.as_slice()));
                    } else {
                        prop_assert_eq!(it.filters(), None);
                    }
                    prop_assert_eq!(it.peers(), interests.of(topic).0);
                    known.put_back(it);
                }
            }
        }
    }
}
