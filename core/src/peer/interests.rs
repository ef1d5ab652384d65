//! What peers have subscribers for.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use hashbrown::HashTable;

use super::Shards;
use crate::map::HashKey;
use crate::topic::{Changes, FilterTree};

/// The filters that peers have told of. To a message they say which peers it is for, in one look-up
/// for the filters without wildcards and one walk for the others.
#[derive(Debug)]
pub(crate) struct Interests {
    /// The key of the hashes, which all shards have in common.
    key: HashKey,
    exact: HashTable<Exact>,
    /// How often beyond the first a peer has told of a hash: different filters may have the same.
    again: BTreeMap<(u64, u8), u32>,
    wildcards: FilterTree<u8, ()>,
    changes: Changes,
}

#[derive(Debug)]
struct Exact {
    hash: u64,
    peers: Shards,
}

impl Interests {
    pub(crate) fn new(key: HashKey) -> Self {
        Self {
            key,
            exact: HashTable::new(),
            again: BTreeMap::new(),
            wildcards: FilterTree::new(key),
            changes: Changes::new(),
        }
    }

    /// The hash that a filter without wildcards goes by.
    pub(crate) fn hash(&self, filter: &str) -> u64 {
        self.key.hash_bytes(filter.as_bytes())
    }

    /// When peers have told something.
    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The peers that a message of this topic may be for, and how many places were looked at.
    pub(crate) fn of(&self, topic: &str) -> (Shards, usize) {
        let mut peers = Shards::NONE;
        if !self.exact.is_empty() {
            let hash = self.hash(topic);
            if let Some(exact) = self.exact.find(hash, |it| it.hash == hash) {
                peers = exact.peers;
            }
        }
        let mut visited = 1;
        if !self.wildcards.is_empty() {
            visited += self.wildcards.for_each_match(topic, |_, list| {
                list.iter().for_each(|(peer, ())| peers.insert(*peer));
            });
        }
        (peers, visited)
    }

    /// A peer has subscribers for a filter of this hash, or none any more.
    pub(crate) fn set_exact(&mut self, hash: u64, peer: u8, on: bool) {
        self.changes.exact(hash);
        if on {
            self.add_exact(hash, peer);
        } else {
            self.remove_exact(hash, peer);
        }
    }

    fn add_exact(&mut self, hash: u64, peer: u8) {
        match self.exact.find_mut(hash, |it| it.hash == hash) {
            Some(exact) if exact.peers.contains(peer) => {
                *self.again.entry((hash, peer)).or_default() += 1;
            }
            Some(exact) => exact.peers.insert(peer),
            None => {
                let peers = Shards::one(peer);
                let exact = Exact { hash, peers };
                self.exact.insert_unique(hash, exact, |it| it.hash);
            }
        }
    }

    fn remove_exact(&mut self, hash: u64, peer: u8) {
        if let Some(times) = self.again.get_mut(&(hash, peer)) {
            *times -= 1;
            if *times == 0 {
                self.again.remove(&(hash, peer));
            }
            return;
        }
        if let Ok(mut entry) = self.exact.find_entry(hash, |it| it.hash == hash) {
            entry.get_mut().peers.remove(peer);
            if entry.get().peers.is_empty() {
                entry.remove();
                self.give_memory_back();
            }
        }
    }

    /// A peer has subscribers for this filter with wildcards, or none any more.
    pub(crate) fn set_wildcard(&mut self, filter: &str, peer: u8, on: bool) {
        self.changes.wildcard();
        if on {
            self.wildcards.insert(filter, peer, ());
        } else if let Some(filter) = self.wildcards.find(filter) {
            self.wildcards.remove(filter, peer);
        }
    }

    /// Forgets all that a peer has told.
    pub(crate) fn forget(&mut self, peer: u8) {
        self.changes.everything();
        // Each by itself: the order is of no consequence.
        self.exact.retain(|exact| {
            exact.peers.remove(peer);
            !exact.peers.is_empty()
        });
        self.give_memory_back();
        self.again.retain(|(_, of), _| *of != peer);
        let filters: Vec<_> = self.wildcards.ids().collect();
        for filter in filters {
            self.wildcards.remove(filter, peer);
        }
    }

    fn give_memory_back(&mut self) {
        let buckets = self.exact.num_buckets();
        if self.exact.is_empty() {
            self.exact = HashTable::new();
        } else if buckets > 64 && self.exact.len() < buckets / 8 {
            self.exact.shrink_to(self.exact.len() * 2, |it| it.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interests() -> Interests {
        Interests::new(HashKey::from_seed(3))
    }

    fn peers(interests: &Interests, topic: &str) -> Vec<u8> {
        interests.of(topic).0.iter().collect()
    }

    #[test]
    fn exact_and_wildcard_filters_of_several_peers_come_together() {
        let mut interests = interests();
        let hash = interests.hash("a/b");
        interests.set_exact(hash, 1, true);
        interests.set_exact(hash, 63, true);
        interests.set_wildcard("a/+", 2, true);
        interests.set_wildcard("#", 1, true);
        assert_eq!(peers(&interests, "a/b"), [1, 2, 63]);
        assert_eq!(peers(&interests, "a"), [1]);
        interests.set_exact(hash, 63, false);
        interests.set_wildcard("a/+", 2, false);
        assert_eq!(peers(&interests, "a/b"), [1]);
        interests.forget(1);
        assert!(peers(&interests, "a/b").is_empty());
        assert!(interests.exact.is_empty() && interests.wildcards.is_empty());
    }

    #[test]
    fn two_filters_of_one_hash_are_not_withdrawn_as_one() {
        let mut interests = interests();
        let hash = interests.hash("a");
        interests.set_exact(hash, 1, true);
        interests.set_exact(hash, 1, true);
        interests.set_exact(hash, 1, false);
        assert_eq!(peers(&interests, "a"), [1]);
        interests.set_exact(hash, 1, false);
        assert!(peers(&interests, "a").is_empty());
        interests.set_exact(hash, 1, false); // And what was never told is no harm.
        interests.set_wildcard("+", 1, false);
    }

    #[test]
    fn what_is_withdrawn_gives_its_memory_back() {
        let mut interests = interests();
        for n in 0..10_000u64 {
            interests.set_exact(n << 40 | n, 1, true);
        }
        for n in 0..9_990u64 {
            interests.set_exact(n << 40 | n, 1, false);
        }
        assert!(interests.exact.num_buckets() <= 128);
    }
}
