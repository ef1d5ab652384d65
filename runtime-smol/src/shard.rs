//! The loop of a shard, as one future.
//!
//! All connections of a shard live in this one future: there is no task, no channel and no lock per
//! connection. `block_on` runs the reactor on the same thread, between two polls; the wakers of the
//! sockets put what is ready into the mailbox, and the first of them wakes this future.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use async_io::Timer;
use wherry_host::core::Counters;
use wherry_host::shard::{Shard, Step};

use crate::listener::Listener;

/// Resolves once the broker has stopped, with its counters.
pub(crate) struct ShardFuture {
    shard: Shard<Listener>,
    timer: Timer,
}

impl ShardFuture {
    pub(crate) fn new(shard: Shard<Listener>) -> Self {
        Self {
            shard,
            timer: Timer::never(),
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
                this.timer.set_at(at);
                pin!(&mut this.timer).poll(context).is_ready()
            }
            Step::Stopped => return Poll::Ready(this.shard.counters().clone()),
        };
        if again {
            // `block_on` looks, without waiting, for what else is ready before it polls again.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
