//! Which shard a broker is, and which one owns a client.

use crate::map::{HashKey, split_mix};

/// The place of a broker among the shards of its process.
///
/// Every client belongs to one shard: a keyed hash of its identifier says which. The key comes from
/// the seed, so all shards of a process are given the same seed and agree, and no client can choose
/// identifiers that all fall to one shard.
///
/// ```
/// use wherry_core::Place;
/// let shards = [0, 1].map(|index| Place::new(index, 2, 7).expect("there are two"));
/// assert_eq!(shards[0].shard_of("a"), shards[1].shard_of("a"));
/// assert_eq!(Place::alone(7).shard_of("a"), 0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Place {
    index: u8,
    count: u8,
    seed: u64,
    key: HashKey,
}

impl Place {
    /// How many shards there can be.
    pub const MOST: u8 = 64;

    /// The place of a broker that is the only one.
    pub fn alone(seed: u64) -> Self {
        Self::at(0, 1, seed)
    }

    /// The place of shard `index` of `count`; `None` if there is no such shard, or if there are
    /// more than [`Place::MOST`]. `seed` is that of the process.
    pub fn new(index: u8, count: u8, seed: u64) -> Option<Self> {
        (index < count && count <= Self::MOST).then(|| Self::at(index, count, seed))
    }

    fn at(index: u8, count: u8, seed: u64) -> Self {
        let mut common = !seed;
        Self {
            index,
            count,
            seed,
            key: HashKey::from_seed(split_mix(&mut common)),
        }
    }

    /// The number of this shard, from 0 on.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// How many shards there are.
    pub fn count(&self) -> u8 {
        self.count
    }

    /// The shard that owns the client with this identifier.
    pub fn shard_of(&self, client_id: &str) -> u8 {
        if self.count == 1 {
            return 0;
        }
        let hash = self.key.hash_pair(1, client_id.as_bytes());
        // It is below the number of shards.
        u8::try_from(hash % u64::from(self.count)).unwrap_or(0)
    }

    /// Whether this shard owns the client with this identifier.
    pub(crate) fn owns(&self, client_id: &str) -> bool {
        self.shard_of(client_id) == self.index
    }

    /// The key that all shards have in common.
    pub(crate) fn key(&self) -> HashKey {
        self.key
    }

    /// The seed of what this shard decides by itself. The first shard's is the process's own.
    pub(crate) fn own_seed(&self) -> u64 {
        let mut state = self.seed;
        (0..self.index).fold(self.seed, |_, _| split_mix(&mut state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn there_are_places_for_64_shards() {
        assert!(Place::new(0, 0, 1).is_none());
        assert!(Place::new(2, 2, 1).is_none());
        assert!(Place::new(63, 64, 1).is_some());
        assert!(Place::new(0, 65, 1).is_none());
    }

    #[test]
    fn clients_spread_evenly_and_by_the_seed() {
        let count = |seed: u64| {
            let place = Place::new(0, 4, seed).expect("of four");
            let mut clients = [0; 4];
            for n in 0..4000 {
                clients[usize::from(place.shard_of(&format!("client-{n}")))] += 1;
            }
            clients
        };
        assert!(count(1).iter().all(|clients| (900..1100).contains(clients)));
        assert_ne!(count(1), count(2));
    }

    #[test]
    fn shards_draw_from_seeds_of_their_own() {
        let seeds = [0, 1, 2].map(|index| Place::at(index, 3, 5).own_seed());
        assert_eq!(seeds[0], 5);
        assert!(seeds[0] != seeds[1] && seeds[1] != seeds[2] && seeds[0] != seeds[2]);
    }
}
