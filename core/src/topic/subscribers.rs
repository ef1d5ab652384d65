//! The subscribers of one filter, in one piece.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hash};

use super::id_table::IdTable;
use super::slab::id_of;
use crate::map::HashKey;

/// Up to this many subscribers are searched one by one: a few cache lines, and no index to keep.
const LINEAR: usize = 32;

/// Subscribers with their values, contiguous for whoever delivers to them.
///
/// Most filters have one subscriber, who needs no memory of their own. From the 33rd on an index
/// finds each in constant time, so that one of 100,000 leaves as cheaply as one of two.
#[derive(Debug)]
pub(super) enum Subscribers<K, V> {
    One((K, V)),
    /// Also what is left when the last one has gone.
    Few(Vec<(K, V)>),
    Many(Box<Indexed<K, V>>),
}

#[derive(Debug)]
pub(super) struct Indexed<K, V> {
    list: Vec<(K, V)>,
    /// Places in `list`.
    places: IdTable,
}

impl<K: Copy + Eq + Hash, V: Copy> Subscribers<K, V> {
    #[inline]
    pub(super) fn as_slice(&self) -> &[(K, V)] {
        match self {
            Self::One(one) => core::slice::from_ref(one),
            Self::Few(list) => list,
            Self::Many(indexed) => &indexed.list,
        }
    }

    pub(super) fn get(&self, key: &HashKey, who: K) -> Option<&V> {
        let place = self.place(key, who)?;
        self.as_slice().get(place).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: &HashKey, who: K) -> Option<&mut V> {
        let place = self.place(key, who)?;
        self.slice_mut().get_mut(place).map(|(_, value)| value)
    }

    /// Adds `who`, or sets their value and returns the one they had.
    pub(super) fn insert(&mut self, key: &HashKey, who: K, value: V) -> Option<V> {
        if let Some((_, old)) = self
            .place(key, who)
            .and_then(|place| self.slice_mut().get_mut(place))
        {
            return Some(core::mem::replace(old, value));
        }
        match self {
            Self::One(one) => {
                let mut list = Vec::with_capacity(2);
                list.extend([*one, (who, value)]);
                *self = Self::Few(list);
            }
            Self::Few(list) if list.len() < LINEAR => list.push((who, value)),
            Self::Few(list) => {
                let mut indexed = Indexed {
                    list: Vec::new(),
                    places: IdTable::new(),
                };
                for &(who, value) in list.iter() {
                    indexed.push(key, who, value);
                }
                indexed.push(key, who, value);
                *self = Self::Many(Box::new(indexed));
            }
            Self::Many(indexed) => indexed.push(key, who, value),
        }
        None
    }

    /// Takes `who` out, and gives memory back where much less is needed now. The last subscriber
    /// moves to the free place.
    pub(super) fn remove(&mut self, key: &HashKey, who: K) -> Option<V> {
        let place = self.place(key, who)?;
        let (value, left) = match self {
            Self::One((_, value)) => (*value, 0),
            Self::Few(list) => (list.swap_remove(place).1, list.len()),
            Self::Many(indexed) => (indexed.swap_remove(key, place), indexed.list.len()),
        };
        match self {
            Self::One(_) => *self = Self::Few(Vec::new()),
            Self::Few(list) => {
                if let (1, Some(&one)) = (left, list.first()) {
                    *self = Self::One(one);
                } else if left < list.capacity() / 4 {
                    list.shrink_to(left * 2);
                }
            }
            // Half of what made the index: whoever comes and goes at the limit rebuilds nothing.
            Self::Many(indexed) if left <= LINEAR / 2 => {
                let mut list = core::mem::take(&mut indexed.list);
                list.shrink_to(LINEAR);
                *self = Self::Few(list);
            }
            Self::Many(indexed) => {
                if left < indexed.list.capacity() / 4 {
                    indexed.list.shrink_to(left * 2);
                }
            }
        }
        Some(value)
    }

    fn place(&self, key: &HashKey, who: K) -> Option<usize> {
        match self {
            Self::Many(indexed) => indexed.place(key, who),
            _ => self.as_slice().iter().position(|(other, _)| *other == who),
        }
    }

    fn slice_mut(&mut self) -> &mut [(K, V)] {
        match self {
            Self::One(one) => core::slice::from_mut(one),
            Self::Few(list) => list,
            Self::Many(indexed) => &mut indexed.list,
        }
    }
}

impl<K: Copy + Eq + Hash, V: Copy> Indexed<K, V> {
    fn place(&self, key: &HashKey, who: K) -> Option<usize> {
        let is_it = |place| {
            self.list
                .get(place as usize)
                .is_some_and(|(other, _)| *other == who)
        };
        self.places
            .find(key.hash_one(who), is_it)
            .map(|place| place as usize)
    }

    fn push(&mut self, key: &HashKey, who: K, value: V) {
        self.places
            .insert(key.hash_one(who), id_of(self.list.len()));
        self.list.push((who, value));
    }

    fn swap_remove(&mut self, key: &HashKey, place: usize) -> V {
        let (who, value) = self.list.swap_remove(place);
        self.places.remove(key.hash_one(who), id_of(place));
        if let Some((moved, _)) = self.list.get(place) {
            let hash = key.hash_one(moved);
            self.places.remove(hash, id_of(self.list.len()));
            self.places.insert(hash, id_of(place));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_as_large_as_a_vector() {
        assert_eq!(size_of::<Subscribers<u64, u64>>(), 24);
    }

    #[test]
    fn subscribers_are_found_in_lists_of_any_size() {
        let key = HashKey::from_seed(1);
        let mut list = Subscribers::One((0u64, 0u64));
        for who in 1..100 {
            assert_eq!(list.insert(&key, who, who), None);
            assert_eq!(list.insert(&key, who, who * 2), Some(who));
            assert_eq!(list.as_slice().len() as u64, who + 1);
        }
        for who in 0..100 {
            assert_eq!(list.get(&key, who), Some(&(who * 2)));
        }
        assert_eq!(list.get(&key, 100), None);
        for who in 0..100 {
            assert_eq!(list.remove(&key, who), Some(who * 2));
            assert_eq!(list.remove(&key, who), None);
            assert!((who + 1..100).all(|who| list.get(&key, who) == Some(&(who * 2))));
        }
        assert!(list.as_slice().is_empty());
        assert!(matches!(list, Subscribers::Few(list) if list.capacity() == 0));
    }

    #[test]
    fn a_list_gives_memory_back() {
        let key = HashKey::from_seed(1);
        let mut list = Subscribers::One((0u64, ()));
        for who in 1..10_000 {
            list.insert(&key, who, ());
        }
        for who in 100..10_000 {
            list.remove(&key, who);
        }
        assert!(matches!(&list, Subscribers::Many(indexed) if indexed.list.capacity() <= 400));
        for who in 10..100 {
            list.remove(&key, who);
        }
        assert!(matches!(&list, Subscribers::Few(list) if list.capacity() <= LINEAR + 16));
    }
}
