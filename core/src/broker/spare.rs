//! Memory that is not needed any more.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::Broker;
use crate::session::Warmth;

/// How often memory that is no longer needed is given back.
const SHRINK_INTERVAL: Duration = Duration::from_secs(1);

/// How many sessions, or an eighth of them, are asked at a time for memory that they do not need.
const COOLED_AT_ONCE: usize = 4096;

/// Working memory beyond this many bytes is not kept.
const KEEP_BUFFER: usize = 64 * 1024;

impl Broker {
    /// Gives back what was not needed of late, at intervals as long as there is any.
    pub(super) fn give_memory_back(&mut self) {
        match self.shrink_at {
            Some(at) if at <= self.now => {
                self.out.pool.shrink();
                self.cool_sessions();
                self.buffers().for_each(|buffer| *buffer = Vec::new());
                self.shrink_at = None;
            }
            _ => {}
        }
        let is_oversized = self.out.pool.is_oversized()
            || !self.out.warm.is_empty()
            || self.buffers().any(|buffer| buffer.capacity() > KEEP_BUFFER);
        if self.shrink_at.is_none() && is_oversized {
            self.shrink_at = Some(self.now.after(SHRINK_INTERVAL));
        }
    }

    /// Takes from sessions what they keep for the next messages, if none have come of late.
    fn cool_sessions(&mut self) {
        let warm = self.out.warm.len();
        for _ in 0..warm.min(COOLED_AT_ONCE.max(warm / 8)) {
            let Some(id) = self.out.warm.pop_front() else {
                break;
            };
            let Some(session) = self.sessions.get_mut(id) else {
                continue;
            };
            if session.warmth == Warmth::Quiet && session.outgoing.shed() {
                session.warmth = Warmth::Cold;
            } else {
                session.warmth = Warmth::Quiet;
                self.out.warm.push_back(id);
            }
        }
        if self.out.warm.is_empty() {
            self.out.warm = VecDeque::new();
        }
    }

    /// Working memory; nothing in it is needed from one call to the next.
    fn buffers(&mut self) -> impl Iterator<Item = &mut Vec<u8>> {
        [
            &mut self.encoded,
            &mut self.properties,
            self.scratch.buffer(),
        ]
        .into_iter()
    }
}
