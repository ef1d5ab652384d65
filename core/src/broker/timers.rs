//! When something is due.
//!
//! Timers are lazy: what happens on a connection only notes the time. The one timer that each has
//! fires, finds out what the deadline has become by then, and is set again. So a packet costs no
//! timer operation, and an idle connection one per keep-alive.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use crate::connection::ConnectionId;
use crate::time::Instant;

/// The timers of all connections.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, ConnectionId)>>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Instant, connection: ConnectionId) {
        self.heap.push(Reverse((at, connection)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next timer that is due, with the moment that it was set for.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, ConnectionId)> {
        if self.next()? > now {
            return None;
        }
        let Reverse(due) = self.heap.pop()?;
        if self.heap.capacity() > 1024 && self.heap.len() < self.heap.capacity() / 4 {
            self.heap.shrink_to(self.heap.len() * 2);
        }
        Some(due)
    }
}
