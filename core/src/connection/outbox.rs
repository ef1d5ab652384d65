//! Bytes on their way to one peer.

use bytes::Bytes;

use super::pool::{ChunkIndex, NONE, Pool};

/// The bytes that wait for one socket: a chain of chunks of the shard's [`Pool`]. Empty, it holds
/// no memory.
#[derive(Debug)]
pub(crate) struct Outbox {
    head: ChunkIndex,
    tail: ChunkIndex,
    len: usize,
}

impl Outbox {
    pub(crate) const fn new() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            len: 0,
        }
    }

    /// How many bytes wait.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies `bytes` to the end.
    #[inline]
    pub(crate) fn push(&mut self, pool: &mut Pool, bytes: &[u8]) {
        self.len += bytes.len();
        pool.waiting += bytes.len();
        let done = if self.tail == NONE {
            0
        } else {
            pool.append(self.tail, bytes)
        };
        if done < bytes.len() {
            self.push_chunks(pool, &bytes[done..]);
        }
    }

    fn push_chunks(&mut self, pool: &mut Pool, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let chunk = pool.buffer();
            let n = pool.append(chunk, bytes);
            bytes = &bytes[n..];
            self.link(pool, chunk);
        }
    }

    /// Appends a reference to `bytes`.
    pub(crate) fn push_shared(&mut self, pool: &mut Pool, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        pool.waiting += bytes.len();
        let chunk = pool.shared(bytes);
        self.link(pool, chunk);
    }

    fn link(&mut self, pool: &mut Pool, chunk: ChunkIndex) {
        if self.tail == NONE {
            self.head = chunk;
        } else {
            pool.set_next(self.tail, chunk);
        }
        self.tail = chunk;
    }

    /// The waiting slices, oldest first.
    pub(crate) fn slices<'a>(&self, pool: &'a Pool) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut at = self.head;
        core::iter::from_fn(move || {
            (at != NONE).then(|| {
                let bytes = pool.bytes(at);
                at = pool.next(at);
                bytes
            })
        })
    }

    /// Takes the first `n` bytes away, at most all of them, and frees the chunks that this empties.
    pub(crate) fn consume(&mut self, pool: &mut Pool, n: usize) {
        let mut left = n.min(self.len);
        self.len -= left;
        pool.waiting -= left;
        while self.head != NONE {
            let here = pool.bytes(self.head).len();
            if left < here {
                pool.consume(self.head, left);
                return;
            }
            left -= here;
            let next = pool.next(self.head);
            pool.release(self.head);
            self.head = next;
        }
        self.tail = NONE;
    }

    /// Takes all bytes away.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        self.consume(pool, self.len);
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::super::pool::CHUNK;
    use super::*;

    fn content(outbox: &Outbox, pool: &Pool) -> Vec<u8> {
        outbox.slices(pool).flatten().copied().collect()
    }

    #[test]
    fn an_empty_outbox_holds_no_chunk() {
        let (mut pool, mut outbox) = (Pool::new(), Outbox::new());
        outbox.push(&mut pool, &[1; CHUNK + 1]);
        assert_eq!(outbox.slices(&pool).count(), 2);
        outbox.consume(&mut pool, CHUNK + 1);
        assert_eq!(outbox.slices(&pool).count(), 0);
        assert_eq!(pool.waiting, 0);
    }

    #[test]
    fn buffers_of_a_burst_are_given_back_after_it() {
        let (mut pool, mut outbox) = (Pool::new(), Outbox::new());
        for _ in 0..1000 {
            outbox.push(&mut pool, &[7; CHUNK]);
        }
        outbox.clear(&mut pool);
        pool.shrink();
        assert!(pool.is_oversized(), "the peak was within the last interval");
        pool.shrink();
        assert!(!pool.is_oversized());
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(
            steps in prop::collection::vec((0usize..10_000, any::<bool>(), 0usize..12_000), 1..40)
        ) {
            let mut pool = Pool::new();
            let mut boxes = [Outbox::new(), Outbox::new()];
            let mut models: [Vec<u8>; 2] = [Vec::new(), Vec::new()];
            let mut next = 0u8;
            for (i, (push, shared, pop)) in steps.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..push)
                    .map(|_| {
                        next = next.wrapping_add(1);
                        next
                    })
                    .collect();
                let (outbox, model) = (&mut boxes[i % 2], &mut models[i % 2]);
                model.extend_from_slice(&bytes);
                if shared {
                    outbox.push_shared(&mut pool, Bytes::from(bytes));
                } else {
                    outbox.push(&mut pool, &bytes);
                }
                let pop = pop.min(model.len());
                outbox.consume(&mut pool, pop);
                model.drain(..pop);
                prop_assert_eq!(&content(outbox, &pool), &*model);
                prop_assert_eq!(outbox.len(), model.len());
                prop_assert_eq!(pool.waiting, models[0].len() + models[1].len());
            }
        }
    }
}
