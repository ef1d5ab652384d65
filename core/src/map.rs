//! Hash tables whose keys a client may choose.
//!
//! Every table in core hashes with SipHash under keys that are drawn from the broker's seed, so a
//! client cannot choose keys that collide, and the same seed gives the same behaviour.
//! A [`KeyedMap`] cannot be iterated in hash order: there is no method for it.

use core::hash::{BuildHasher, Hash};

use siphasher::sip::SipHasher13;

/// The keys of a keyed hash function; made from the broker's seed.
///
/// ```
/// use wherry_core::map::HashKey;
/// let key = HashKey::from_seed(7);
/// assert_eq!(key.hash_bytes(b"a/b"), HashKey::from_seed(7).hash_bytes(b"a/b"));
/// assert_ne!(key.hash_bytes(b"a/b"), HashKey::from_seed(8).hash_bytes(b"a/b"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HashKey {
    k0: u64,
    k1: u64,
}

impl HashKey {
    /// Spreads one seed over the two 64-bit keys of SipHash.
    pub fn from_seed(seed: u64) -> Self {
        let mut state = seed;
        Self {
            k0: split_mix(&mut state),
            k1: split_mix(&mut state),
        }
    }

    /// The keyed hash of `bytes` (SipHash-1-3).
    #[inline]
    pub fn hash_bytes(&self, bytes: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.k0, self.k1).hash(bytes)
    }

    /// The keyed hash of a number and `bytes` together, for tables keyed by both.
    #[inline]
    pub fn hash_pair(&self, number: u64, bytes: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.k0 ^ number, self.k1).hash(bytes)
    }
}

impl BuildHasher for HashKey {
    type Hasher = SipHasher13;

    #[inline]
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.k0, self.k1)
    }
}

/// One step of SplitMix64 (Steele, Lea, Flood 2014): the state advances, a well mixed number comes
/// out. It serves to spread a seed, never to keep a secret.
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A hash map under a [`HashKey`], without iteration.
#[derive(Debug)]
pub struct KeyedMap<K, V> {
    inner: hashbrown::HashMap<K, V, HashKey>,
}

impl<K: Eq + Hash, V> KeyedMap<K, V> {
    /// An empty map; allocates nothing.
    pub fn new(key: HashKey) -> Self {
        Self {
            inner: hashbrown::HashMap::with_hasher(key),
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// The value of `key`.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: core::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.inner.get(key)
    }

    /// Sets the value of `key` and returns the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.inner.insert(key, value)
    }

    /// Takes `key` out and returns its value. A table that has become much too large for what is
    /// left in it gives memory back.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: core::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let value = self.inner.remove(key);
        // Not by `capacity`, which counts places of removed entries as lost.
        let places = self.inner.allocation_size() / (size_of::<(K, V)>() + 1);
        if places > 64 && self.inner.len() < places / 8 {
            self.inner.shrink_to(self.inner.len() * 2);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_was_emptied_gives_its_memory_back() {
        let mut map = KeyedMap::new(HashKey::from_seed(1));
        for n in 0..100_000u32 {
            map.insert(n, n);
        }
        for n in 0..100_000u32 {
            assert_eq!(map.remove(&n), Some(n));
        }
        assert!(map.is_empty());
        assert!(
            map.inner.allocation_size() < 4096,
            "{}",
            map.inner.allocation_size()
        );
    }
}
