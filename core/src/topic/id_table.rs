//! Ids found by the keyed hash of what they stand for.

use hashbrown::HashTable;

/// A table of ids whose keys are stored elsewhere.
///
/// An entry keeps 32 bits of the keyed hash beside the id: a table that grows then reads only
/// itself, rather than every key it stands for, and hardly ever compares with a wrong key.
#[derive(Debug)]
pub(super) struct IdTable {
    entries: HashTable<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    id: u32,
}

impl IdTable {
    pub(super) const fn new() -> Self {
        Self {
            entries: HashTable::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The id under `hash` for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let hash = fold(hash);
        let found = self
            .entries
            .find(spread(hash), |entry| entry.hash == hash && is_it(entry.id));
        found.map(|entry| entry.id)
    }

    /// Adds an id that is not there yet.
    pub(super) fn insert(&mut self, hash: u64, id: u32) {
        let hash = fold(hash);
        self.entries
            .insert_unique(spread(hash), Entry { hash, id }, |entry| spread(entry.hash));
    }

    /// Takes out the id that was inserted under `hash`, and gives memory back when little is left.
    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        if let Ok(entry) = self
            .entries
            .find_entry(spread(fold(hash)), |entry| entry.id == id)
        {
            entry.remove();
        }
        // The capacity will not do: removed entries leave marks that count against it, so it seems
        // smaller than the memory is.
        let buckets = self.entries.num_buckets();
        if self.entries.is_empty() {
            self.entries = HashTable::new();
        } else if buckets > 64 && self.entries.len() < buckets / 8 {
            self.entries
                .shrink_to(self.entries.len() * 2, |entry| spread(entry.hash));
        }
    }
}

#[inline]
fn fold(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// hashbrown takes the bucket from the low bits and a tag from the high ones: both halves count.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_under_one_hash_are_told_apart() {
        let mut table = IdTable::new();
        for id in 0..100 {
            table.insert(7 << 32, id);
        }
        assert_eq!(table.find(7 << 32, |id| id == 42), Some(42));
        table.remove(7 << 32, 42);
        assert_eq!(table.find(7 << 32, |id| id == 42), None);
        assert_eq!(table.find(7 << 32, |id| id == 43), Some(43));
    }

    #[test]
    fn an_emptied_table_gives_its_memory_back() {
        let mut table = IdTable::new();
        for id in 0..10_000 {
            table.insert(u64::from(id) << 32, id);
        }
        for id in 0..9_990 {
            table.remove(u64::from(id) << 32, id);
        }
        assert!(table.entries.num_buckets() <= 128 && !table.is_empty());
        for id in 9_990..10_000 {
            table.remove(u64::from(id) << 32, id);
        }
        assert_eq!(table.entries.capacity(), 0);
    }
}
