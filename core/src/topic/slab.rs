//! Values under small ids, in chunks.

use alloc::vec::Vec;

/// The id of no value.
pub(super) const NONE: u32 = u32::MAX;

const CHUNK: usize = 1024;

/// Values under ids of 32 bits that stay the same until the value is removed.
///
/// The values lie in chunks, so that growing never copies more than one chunk (a vector of a
/// million would stall the broker each time it doubles), and an empty chunk gives its memory back.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// The chunks that are not full, each once. The last one is filled first.
    open: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Chunk<T> {
    slots: Vec<Slot<T>>,
    /// The first free slot below `slots.len()`, or [`NONE`].
    free: u32,
    live: usize,
}

#[derive(Debug)]
enum Slot<T> {
    Taken(T),
    Free { next: u32 },
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            open: Vec::new(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The ids of all values, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        let slots = self.chunks.iter().enumerate().flat_map(|(number, chunk)| {
            let slots = chunk.slots.iter().enumerate();
            slots.map(move |(at, slot)| (number * CHUNK + at, slot))
        });
        slots
            .filter(|(_, slot)| matches!(slot, Slot::Taken(_)))
            .map(|(id, _)| id_of(id))
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&T> {
        let (chunk, slot) = split(id);
        match self.chunks.get(chunk)?.slots.get(slot)? {
            Slot::Taken(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let (chunk, slot) = split(id);
        match self.chunks.get_mut(chunk)?.slots.get_mut(slot)? {
            Slot::Taken(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        let number = match self.open.last() {
            Some(&number) => number,
            None => {
                let number = id_of(self.chunks.len());
                self.chunks.push(Chunk {
                    slots: Vec::new(),
                    free: NONE,
                    live: 0,
                });
                self.open.push(number);
                number
            }
        };
        let chunk = &mut self.chunks[number as usize];
        let slot = chunk.insert(value);
        if chunk.live == CHUNK {
            self.open.pop();
        }
        self.len += 1;
        id_of(number as usize * CHUNK + slot)
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<T> {
        let (number, slot) = split(id);
        let chunk = self.chunks.get_mut(number)?;
        let value = chunk.remove(slot)?;
        self.len -= 1;
        if self.len == 0 {
            *self = Self::new();
        } else if chunk.live == CHUNK - 1 {
            self.open.push(id_of(number));
        }
        Some(value)
    }
}

impl<T> Chunk<T> {
    fn insert(&mut self, value: T) -> usize {
        self.live += 1;
        let slot = self.free as usize;
        match self.slots.get_mut(slot) {
            Some(place) => {
                if let Slot::Free { next } = *place {
                    self.free = next;
                }
                *place = Slot::Taken(value);
                slot
            }
            None => {
                self.slots.push(Slot::Taken(value));
                self.slots.len() - 1
            }
        }
    }

    fn remove(&mut self, slot: usize) -> Option<T> {
        let place = self.slots.get_mut(slot)?;
        if matches!(place, Slot::Free { .. }) {
            return None;
        }
        let taken = core::mem::replace(place, Slot::Free { next: self.free });
        self.free = id_of(slot);
        self.live -= 1;
        if self.live == 0 {
            self.slots = Vec::new();
            self.free = NONE;
        }
        match taken {
            Slot::Taken(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }
}

#[inline]
fn split(id: u32) -> (usize, usize) {
    let id = id as usize;
    (id / CHUNK, id % CHUNK)
}

/// A place in a collection as an id.
pub(super) fn id_of(number: usize) -> u32 {
    u32::try_from(number).expect("configured limits end far below four thousand million entries")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_and_are_used_again() {
        let mut slab = Slab::new();
        let ids: Vec<u32> = (0..3000).map(|number| slab.insert(number)).collect();
        for (number, &id) in ids.iter().enumerate() {
            assert_eq!(slab.get(id), Some(&number));
        }
        for &id in &ids[100..2900] {
            assert!(slab.remove(id).is_some());
            assert!(slab.remove(id).is_none() && slab.get(id).is_none());
        }
        let again: Vec<u32> = (0..2800).map(|number| slab.insert(number)).collect();
        assert!(
            again.iter().all(|&id| id < 3072),
            "no new chunk while one has room"
        );
        assert_eq!(slab.len(), 3000);
        assert_eq!(
            (slab.get(ids[99]), slab.get(ids[2900])),
            (Some(&99), Some(&2900))
        );
    }

    #[test]
    fn empty_chunks_give_their_memory_back() {
        let mut slab = Slab::new();
        let ids: Vec<u32> = (0..10_000).map(|number| slab.insert(number)).collect();
        for &id in &ids[1..] {
            slab.remove(id);
        }
        assert_eq!(
            slab.chunks
                .iter()
                .filter(|chunk| chunk.slots.capacity() > 0)
                .count(),
            1
        );
        slab.remove(ids[0]);
        assert_eq!(slab.chunks.capacity() + slab.open.capacity(), 0);
    }

    #[test]
    fn unknown_ids_have_no_value() {
        let mut slab = Slab::new();
        let id = slab.insert(());
        assert!(slab.get(id + 1).is_none() && slab.get(NONE).is_none());
        assert!(slab.remove(id + id_of(CHUNK)).is_none() && slab.remove(NONE).is_none());
    }
}
