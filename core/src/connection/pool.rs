//! The memory of all outboxes of a shard.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

/// Size of a chunk's buffer in bytes. Small enough that a client with one waiting message costs
/// little, large enough that a vectored write of 64 chunks carries 256 KiB.
pub(crate) const CHUNK: usize = 4096;

/// Buffers that are kept although nobody uses them, whatever the demand was.
const SPARE_MIN: usize = 64;

/// The place of a chunk in the pool.
pub(crate) type ChunkIndex = u32;

/// 'No chunk'.
pub(crate) const NONE: ChunkIndex = u32::MAX;

/// Chunks of waiting bytes, chained into outboxes by index: a chain costs its owner twelve bytes
/// and no allocation. Buffers of chunks that are given back serve the next outbox; how many are
/// kept follows the demand of late (see [`Pool::shrink`]).
#[derive(Debug)]
pub(crate) struct Pool {
    chunks: Vec<Chunk>,
    /// Head of the chain of chunks that are not in use.
    vacant: ChunkIndex,
    spare: Vec<Box<[u8]>>,
    buffers_in_use: usize,
    chunks_in_use: usize,
    /// The most buffers that were in use at once since the last shrink.
    peak: usize,
    /// Bytes waiting in all outboxes.
    pub(crate) waiting: usize,
}

#[derive(Debug)]
pub(crate) struct Chunk {
    content: Content,
    start: u32,
    end: u32,
    pub(crate) next: ChunkIndex,
}

#[derive(Debug)]
enum Content {
    Vacant,
    /// A buffer of [`CHUNK`] bytes.
    Buffer(Box<[u8]>),
    /// A payload that other outboxes refer to as well.
    Shared(Bytes),
}

impl Pool {
    pub(crate) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            vacant: NONE,
            spare: Vec::new(),
            buffers_in_use: 0,
            chunks_in_use: 0,
            peak: 0,
            waiting: 0,
        }
    }

    /// The bytes of a chunk that still wait.
    #[inline]
    pub(crate) fn bytes(&self, index: ChunkIndex) -> &[u8] {
        let chunk = &self.chunks[index as usize];
        let (start, end) = (chunk.start as usize, chunk.end as usize);
        match &chunk.content {
            Content::Vacant => &[],
            Content::Buffer(buffer) => &buffer[start..end],
            Content::Shared(bytes) => &bytes[start..end],
        }
    }

    #[inline]
    pub(crate) fn next(&self, index: ChunkIndex) -> ChunkIndex {
        self.chunks[index as usize].next
    }

    #[inline]
    pub(crate) fn set_next(&mut self, index: ChunkIndex, next: ChunkIndex) {
        self.chunks[index as usize].next = next;
    }

    /// Copies as much of `bytes` into the chunk as it has room for; returns how much.
    #[inline]
    pub(crate) fn append(&mut self, index: ChunkIndex, bytes: &[u8]) -> usize {
        let chunk = &mut self.chunks[index as usize];
        let Content::Buffer(buffer) = &mut chunk.content else {
            return 0;
        };
        let end = chunk.end as usize;
        let n = bytes.len().min(CHUNK - end);
        buffer[end..end + n].copy_from_slice(&bytes[..n]);
        chunk.end += small(n);
        n
    }

    /// Marks the first `n` waiting bytes of the chunk as gone; returns how many are left.
    #[inline]
    pub(crate) fn consume(&mut self, index: ChunkIndex, n: usize) -> usize {
        let chunk = &mut self.chunks[index as usize];
        chunk.start += small(n);
        (chunk.end - chunk.start) as usize
    }

    /// A chunk with an empty buffer.
    pub(crate) fn buffer(&mut self) -> ChunkIndex {
        let buffer = self
            .spare
            .pop()
            .unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice());
        self.buffers_in_use += 1;
        self.peak = self.peak.max(self.buffers_in_use);
        self.occupy(Content::Buffer(buffer), 0)
    }

    /// A chunk that refers to `bytes`, which must be shorter than 4 GiB.
    pub(crate) fn shared(&mut self, bytes: Bytes) -> ChunkIndex {
        let end = small(bytes.len());
        self.occupy(Content::Shared(bytes), end)
    }

    fn occupy(&mut self, content: Content, end: u32) -> ChunkIndex {
        self.chunks_in_use += 1;
        let chunk = Chunk {
            content,
            start: 0,
            end,
            next: NONE,
        };
        if self.vacant == NONE {
            self.chunks.push(chunk);
            small(self.chunks.len() - 1)
        } else {
            let index = self.vacant;
            self.vacant = self.chunks[index as usize].next;
            self.chunks[index as usize] = chunk;
            index
        }
    }

    /// Gives a chunk back.
    pub(crate) fn release(&mut self, index: ChunkIndex) {
        let chunk = &mut self.chunks[index as usize];
        let content = core::mem::replace(&mut chunk.content, Content::Vacant);
        chunk.next = self.vacant;
        self.vacant = index;
        self.chunks_in_use -= 1;
        if let Content::Buffer(buffer) = content {
            self.buffers_in_use -= 1;
            self.spare.push(buffer);
        }
    }

    /// Whether there is anything that [`Pool::shrink`] could give back.
    pub(crate) fn is_oversized(&self) -> bool {
        self.spare.len() > SPARE_MIN || (self.chunks_in_use == 0 && self.chunks.len() > SPARE_MIN)
    }

    /// Frees the buffers that were not needed since the last call. Called at intervals, it keeps
    /// what a steady load needs and gives back what a burst has left.
    pub(crate) fn shrink(&mut self) {
        let keep = self.peak.saturating_sub(self.buffers_in_use).max(SPARE_MIN);
        self.spare.truncate(keep);
        self.spare.shrink_to(keep * 2);
        self.peak = self.buffers_in_use;
        if self.chunks_in_use == 0 && self.chunks.len() > SPARE_MIN {
            self.chunks = Vec::new();
            self.vacant = NONE;
        }
    }
}

/// Lengths within a chunk: bounded by [`CHUNK`] or the largest packet, both far below 4 GiB.
#[inline]
fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
