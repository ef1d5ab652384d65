//! What happens next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Milliseconds since the world began.
pub(crate) type Millis = u64;

/// Things that are to happen, each at its time; those of one time in the order in which they were
/// put in.
#[derive(Debug)]
pub(crate) struct Schedule<E> {
    heap: BinaryHeap<Reverse<(Millis, u64, usize)>>,
    events: Vec<Option<E>>,
    free: Vec<usize>,
    count: u64,
}

impl<E> Schedule<E> {
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            count: 0,
        }
    }

    /// Puts something in.
    pub(crate) fn at(&mut self, time: Millis, event: E) {
        let place = match self.free.pop() {
            Some(place) => {
                self.events[place] = Some(event);
                place
            }
            None => {
                self.events.push(Some(event));
                self.events.len() - 1
            }
        };
        self.count += 1;
        self.heap.push(Reverse((time, self.count, place)));
    }

    /// When the next thing happens.
    pub(crate) fn next_time(&self) -> Option<Millis> {
        self.heap.peek().map(|Reverse((time, ..))| *time)
    }

    /// Takes out the next thing, if it happens by `now`.
    pub(crate) fn pop(&mut self, now: Millis) -> Option<E> {
        if self.next_time()? > now {
            return None;
        }
        let Reverse((_, _, place)) = self.heap.pop()?;
        self.free.push(place);
        self.events[place].take()
    }
}
