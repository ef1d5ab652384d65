//! Bytes that came in and cannot be parsed yet.

use alloc::vec::Vec;

use crate::packet::{FixedHeader, ProtocolError};

/// The beginning of a packet whose end has not come, or, while reading is paused, whatever came
/// before the pause took effect.
///
/// Complete packets are parsed in the caller's buffer and never get here. The memory follows what
/// was really received, not what a length field announces, and is freed when the packet completes.
#[derive(Debug)]
pub(crate) struct Input {
    bytes: Vec<u8>,
}

impl Input {
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes from `more` what the packet at the front still lacks and returns how much that is.
    /// Call it again as long as it takes something and no packet is complete: the length of the
    /// packet may not have been known.
    pub(crate) fn top_up(&mut self, more: &[u8]) -> Result<usize, ProtocolError> {
        let lacks = match FixedHeader::parse(&self.bytes)? {
            Some(header) => header.packet_len().saturating_sub(self.bytes.len()),
            None => 1,
        };
        let taken = lacks.min(more.len());
        self.bytes.extend_from_slice(&more[..taken]);
        Ok(taken)
    }

    /// Takes everything out, and its memory with it.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.bytes)
    }

    /// Puts back what could not be parsed of what [`Input::take`] gave: all but the first
    /// `consumed` bytes.
    pub(crate) fn put_back(&mut self, mut bytes: Vec<u8>, consumed: usize) {
        debug_assert!(self.bytes.is_empty());
        if consumed < bytes.len() {
            bytes.drain(..consumed);
            self.bytes = bytes;
        }
    }
}
