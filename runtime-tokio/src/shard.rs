//! The loop of a shard, as one future.
//!
//! All connections of a shard live in this one future: there is no task, no channel and no lock per
//! connection. Tokio's I/O driver runs on the same thread, between two polls; the wakers of the
//! sockets put what is ready into the mailbox, and the first of them wakes this future.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};
use wherry_host::core::Counters;
use wherry_host::shard::{Shard, Step};

use crate::listener::Listener;

/// Resolves once the broker has stopped, with its counters.
pub(crate) struct ShardFuture {
    shard: Shard<Listener>,
    timer: Pin<Box<Sleep>>,
}

impl ShardFuture {
    /// Must be called in the context of the runtime that will run it.
    pub(crate) fn new(shard: Shard<Listener>) -> Self {
        Self {
            shard,
            timer: Box::pin(sleep_until(Instant::now())),
        }
    }
}

impl Future for ShardFuture {
    type Output = Counters;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Counters> {
        let this = &mut *self;
        let again = match this.shard.turn(context) {
            Step::Again => true,
            Step::Sleep { alarm: None } => false,
            Step::Sleep { alarm: Some(at) } => {
                this.timer.as_mut().reset(Instant::from_std(at));
                this.timer.as_mut().poll(context).is_ready()
            }
            Step::Stopped => return Poll::Ready(this.shard.counters().clone()),
        };
        if again {
            // To wake oneself would mean to be polled again before the I/O driver. What is yielded
            // in this way comes back after the driver has looked, without waiting, for what else
            // is ready.
            let _ = pin!(tokio::task::yield_now()).poll(context);
        }
        Poll::Pending
    }
}
