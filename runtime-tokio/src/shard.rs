//! The loop of a shard, as one future.
//!
//! All connections of a shard live in this one future: there is no task, no channel and no lock per
//! connection. Tokio's I/O driver runs on the same thread, between two polls; the wakers of the
//! sockets put what is ready into the mailbox, and the first of them wakes this future.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant as TokioInstant, Sleep, sleep_until};
use tracing::{info, warn};
use wherry_host::accept::{ACCEPTS_PER_TURN, AcceptGate, AfterFailure};
use wherry_host::auth::Authenticate;
use wherry_host::clock::Clock;
use wherry_host::core::time::Instant;
use wherry_host::core::{Broker, Config, Counters};
use wherry_host::driver::Driver;
use wherry_host::listen;
use wherry_host::mailbox::{Mail, Mailbox};
use wherry_host::seed::seed;

use crate::listener::Listener;
use crate::socket::Socket;

/// One broker, its listeners and its connections. Resolves once it has stopped, with the counters.
pub(crate) struct Shard {
    driver: Driver<Socket>,
    mailbox: Arc<Mailbox<Mail>>,
    clock: Clock,
    listeners: Vec<Listener>,
    gate: AcceptGate,
    timer: Pin<Box<Sleep>>,
    /// When the timer goes off; `None` after it has.
    armed: Option<Instant>,
    shutdown_timeout: Duration,
    stop_by: Option<Instant>,
}

impl Shard {
    /// Must be called in the context of the runtime that will run it.
    pub(crate) fn new(
        listeners: Vec<listen::Listener>,
        authenticator: Arc<dyn Authenticate>,
        mailbox: Arc<Mailbox<Mail>>,
        shutdown_timeout: Duration,
    ) -> io::Result<Self> {
        let clock = Clock::start();
        let now = clock.now();
        let broker = Broker::new(Config::default(), seed(), now, clock.wall_clock());
        Ok(Self {
            driver: Driver::new(broker, authenticator, mailbox.clone()),
            mailbox,
            clock,
            listeners: listeners
                .into_iter()
                .map(Listener::new)
                .collect::<io::Result<_>>()?,
            gate: AcceptGate::default(),
            timer: Box::pin(sleep_until(TokioInstant::now())),
            armed: None,
            shutdown_timeout,
            stop_by: None,
        })
    }

    /// Returns whether there may be more to accept.
    fn accept(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        let mut more = false;
        if !self.gate.is_open(now, self.driver.len()) {
            return false;
        }
        for listener in &self.listeners {
            let mut left = ACCEPTS_PER_TURN;
            while left > 0 {
                left -= 1;
                match listener.poll_accept(context) {
                    Poll::Pending => break,
                    Poll::Ready(Ok((stream, origin))) => {
                        self.gate.accepted();
                        let mailbox = &self.mailbox;
                        // Too many connections: dropping the stream is all there is to do, and
                        // the broker has counted it.
                        let _ = self
                            .driver
                            .open(origin, |id| Socket::new(stream, id, mailbox.clone()));
                    }
                    Poll::Ready(Err(error)) => {
                        match self.gate.failed(&error, now, self.driver.len()) {
                            AfterFailure::Next => {}
                            AfterFailure::AfterTurn => return true,
                            AfterFailure::TurnAway => {
                                let dropped = listener.poll_accept(context).is_ready();
                                self.gate
                                    .turned_away(&error, dropped, now, self.driver.len());
                            }
                            AfterFailure::Wait => break,
                        }
                    }
                }
            }
            more |= left == 0;
        }
        more
    }

    /// Goes on with stopping, if that is asked for. Returns whether it is done.
    fn stop(&mut self, now: Instant) -> bool {
        if !self.driver.is_stopping() {
            return false;
        }
        let stop_by = *self.stop_by.get_or_insert_with(|| {
            self.listeners.clear();
            info!("stopping; connections to end: {}", self.driver.len());
            now.after(self.shutdown_timeout)
        });
        if !self.driver.is_empty() && now >= stop_by {
            warn!(
                "connections that did not end in time: {}",
                self.driver.len()
            );
            self.driver.abort_all();
        }
        self.driver.is_empty()
    }

    /// Has this future woken at `deadline` at the latest. Returns whether that is now.
    ///
    /// Deadlines mostly move away while things happen. The timer is left alone then: to wake too
    /// early once in a while is cheaper than to set it in every turn.
    fn arm(&mut self, context: &mut Context<'_>, deadline: Option<Instant>, now: Instant) -> bool {
        self.armed = self.armed.filter(|at| *at > now);
        let Some(deadline) = deadline else {
            return false;
        };
        if deadline <= now {
            return true;
        }
        if self.armed.is_some_and(|at| at <= deadline) {
            return false;
        }
        let Some(at) = self.clock.to_std(deadline) else {
            return false;
        };
        self.armed = Some(deadline);
        self.timer.as_mut().reset(TokioInstant::from_std(at));
        self.timer.as_mut().poll(context).is_ready()
    }
}

impl Future for Shard {
    type Output = Counters;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Counters> {
        let shard = &mut *self;
        let now = shard.clock.now();
        let mut more = shard.accept(context, now);
        let turn = shard.driver.turn(now);
        more |= turn.more;
        if shard.stop(now) {
            return Poll::Ready(shard.driver.broker().counters().clone());
        }
        let deadlines = [
            turn.next_deadline,
            shard.gate.next_deadline(),
            shard.stop_by,
        ];
        more |= shard.arm(context, deadlines.into_iter().flatten().min(), now);
        if more || !shard.mailbox.sleep(context.waker()) {
            // To wake oneself would mean to be polled again before the I/O driver. What is yielded
            // in this way comes back after the driver has looked, without waiting, for what else
            // is ready.
            let _ = pin!(tokio::task::yield_now()).poll(context);
        }
        Poll::Pending
    }
}
