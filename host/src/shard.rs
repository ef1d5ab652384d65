//! A shard as a runtime sees it: what happens in one poll of its future, and when the next is due.
//!
//! This is the part of the loop that is the same under every runtime: accepting within bounds,
//! stopping in time, and setting the timer no more often than needed. A runtime brings its
//! listeners and sockets, polls, and does what a [`Step`] says.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant as StdInstant};

use tracing::{info, warn};
use wherry_core::connection::Origin;
use wherry_core::time::Instant;
use wherry_core::{Broker, Counters};

use crate::accept::{ACCEPTS_PER_TURN, AcceptGate, AfterFailure};
use crate::auth::Authenticate;
use crate::clock::Clock;
use crate::driver::{Driver, Socket};
use crate::mailbox::{Mail, Mailbox, connection_waker};
use crate::shards::{Berth, Neighbours};
use crate::store::Queue;

/// A listening socket, as a runtime supplies it.
pub trait Listener {
    /// A connection that was accepted.
    type Stream;
    /// What becomes of it if the broker takes it in.
    type Socket: Socket;

    /// The next connection, with its options set. If there is none, the task of `context` is woken
    /// by the next; whether there is one costs no system call where the runtime knows that.
    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Stream, Origin)>>;

    /// The socket of a connection; it wakes `waker` as [`Socket`] asks for.
    fn socket(stream: Self::Stream, waker: Waker) -> Self::Socket;

    /// Takes a socket from the runtime of this thread, for another shard.
    ///
    /// # Errors
    ///
    /// If the runtime cannot part with it; it is closed then.
    fn detach(socket: Self::Socket) -> io::Result<OwnedFd>;

    /// Gives a socket that was another shard's to the runtime of this thread; it wakes `waker` as
    /// [`Socket`] asks for.
    ///
    /// # Errors
    ///
    /// If the runtime cannot take it; it is closed then.
    fn attach(socket: OwnedFd, waker: Waker) -> io::Result<Self::Socket>;
}

/// What a runtime does after [`Shard::turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Turn again, once the runtime has looked, without waiting, for what else is ready.
    Again,
    /// Turn when the waker is woken.
    Sleep {
        /// Until when at most, if the timer is to be set anew; otherwise it stays as it is.
        alarm: Option<StdInstant>,
    },
    /// It is over: see [`Shard::counters`].
    Stopped,
}

/// One broker, its listeners and its connections.
pub struct Shard<L: Listener> {
    driver: Driver<L::Socket>,
    neighbours: Neighbours,
    mailbox: Arc<Mailbox<Mail>>,
    clock: Clock,
    listeners: Vec<L>,
    gate: AcceptGate,
    /// When the timer goes off; meaningless once that has passed.
    armed: Option<Instant>,
    shutdown_timeout: Duration,
    stop_by: Option<Instant>,
    /// Where batches go, if anything is stored.
    store: Option<Queue>,
}

impl<L: Listener> Shard<L> {
    /// A broker that starts now. Its `listeners` are those of the berth, given to the runtime of
    /// this thread.
    pub fn new(berth: Berth, listeners: Vec<L>, authenticator: Arc<dyn Authenticate>) -> Self {
        let Berth {
            config,
            place,
            clock,
            neighbours,
            shutdown_timeout,
            restored,
            store,
            ..
        } = berth;
        let (now, wall_clock) = (clock.now(), clock.wall_clock());
        let mailbox = neighbours.mailbox().clone();
        let broker = match restored {
            Some(restored) => Broker::restored(config, place, now, wall_clock, restored),
            None => Broker::in_place(config, place, now, wall_clock),
        };
        Self {
            driver: Driver::new(broker, authenticator, mailbox.clone()),
            neighbours,
            mailbox,
            clock,
            listeners,
            gate: AcceptGate::default(),
            armed: None,
            shutdown_timeout,
            stop_by: None,
            store,
        }
    }

    /// What the broker has counted.
    pub fn counters(&self) -> &Counters {
        self.driver.broker().counters()
    }

    /// Does everything there is to do now.
    pub fn turn(&mut self, context: &mut Context<'_>) -> Step {
        let now = self.clock.now();
        self.turn_at(now, context)
    }

    fn turn_at(&mut self, now: Instant, context: &mut Context<'_>) -> Step {
        if self.driver.is_stopping() {
            self.neighbours.works();
        }
        if self.driver.broker().is_full() {
            // Connections that have ended make room before others are turned away.
            // The turn below says when the next is due.
            let _ = self.driver.turn(now);
        }
        let mut more = self.accept(context, now);
        let turn = self.driver.turn(now);
        more |= turn.more;
        if self.neighbours.are_there() {
            more |= self.serve_neighbours(now);
        }
        self.store();
        if self.stop(now) {
            return Step::Stopped;
        }
        let deadline = [turn.next_deadline, self.gate.next_deadline(), self.stop_by]
            .into_iter()
            .flatten()
            .min();
        more |= deadline.is_some_and(|at| at <= now);
        if more || !self.mailbox.sleep(context.waker()) {
            return Step::Again;
        }
        Step::Sleep {
            alarm: deadline.and_then(|at| self.alarm(at, now)),
        }
    }

    /// Returns whether there may be more to accept.
    fn accept(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        let mut more = false;
        if !self.gate.is_open(now, self.driver.len()) {
            return false;
        }
        for listener in &mut self.listeners {
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
                        let _ = self.driver.open(now, origin, |id| {
                            L::socket(stream, connection_waker(id, mailbox.clone()))
                        });
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

    /// Takes in what came from other shards, and gives them what is theirs. Returns whether there
    /// is more to do.
    fn serve_neighbours(&mut self, now: Instant) -> bool {
        let mut more = false;
        for handover in self.driver.take_arrivals() {
            more = true;
            let mailbox = &self.mailbox;
            // If there is no room for it, the broker has counted it, and the socket is closed.
            let _ = self.driver.adopt(now, handover, |id, socket| {
                L::attach(socket, connection_waker(id, mailbox.clone()))
            });
        }
        for handover in self.driver.take_handovers() {
            let to = handover.shard;
            if let Ok(handover) = handover.map(L::detach) {
                self.neighbours.send(to, Mail::Moved(Box::new(handover)));
            }
        }
        for peer in self.driver.routes() {
            let messages = self.driver.take_routed(peer);
            if !messages.is_empty() {
                let me = self.neighbours.me();
                self.neighbours.send(peer, Mail::Peer(me, messages));
            }
        }
        let broker = self.driver.broker_mut();
        broker.set_elsewhere(self.neighbours.exchange(broker.holdings()));
        // What was gathered for one may have been for others too.
        more || self.driver.routes().next().is_some()
    }

    /// Hands over what waits for the store.
    fn store(&mut self) {
        if let Some(queue) = &self.store
            && let Some(batch) = self.driver.take_batch()
        {
            queue.put(batch);
        }
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
        // What was the last to happen is to be stored too.
        let waiting = self.driver.broker().uncommitted_bytes();
        if self.driver.is_empty() && waiting > 0 && now >= stop_by {
            warn!("the store did not take the last changes in time; bytes that wait: {waiting}");
        }
        self.driver.is_empty() && ((waiting == 0 && self.neighbours.rests()) || now >= stop_by)
    }

    /// What the timer has to be set to so that it goes off at `deadline` at the latest.
    ///
    /// Deadlines mostly move away while things happen. The timer is left alone then: to wake too
    /// early once in a while is cheaper than to set it in every turn.
    fn alarm(&mut self, deadline: Instant, now: Instant) -> Option<StdInstant> {
        let is_armed = |at: Instant| at > now && at <= deadline;
        if self.armed.is_some_and(is_armed) {
            return None;
        }
        let at = self.clock.to_std(deadline)?;
        self.armed = Some(deadline);
        Some(at)
    }
}

/// Stops a broker, from any thread.
#[derive(Clone, Debug)]
pub struct Handle {
    mailboxes: Arc<[Arc<Mailbox<Mail>>]>,
}

impl Handle {
    /// What stops the broker whose shards read `mailboxes`.
    pub fn new(mailboxes: Arc<[Arc<Mailbox<Mail>>]>) -> Self {
        Self { mailboxes }
    }

    /// Stops the broker gracefully: wills are published, clients are told, and what waits for them
    /// is written, within the time-out that was given in the settings.
    pub fn stop(&self) {
        self.tell(|| Mail::ShutDown);
    }

    /// Stops the broker at once.
    pub fn abort(&self) {
        self.tell(|| Mail::Abort);
    }

    fn tell(&self, mail: impl Fn() -> Mail) {
        for mailbox in self.mailboxes.iter() {
            mailbox.push(mail());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::io::IoSlice;
    use std::num::NonZeroU8;
    use std::rc::Rc;

    use wherry_core::Config;
    use wherry_core::connection::Transport;

    use super::*;
    use crate::auth::AllowAll;
    use crate::config::Settings;
    use crate::shards::Shards;

    /// Connections that wait to be accepted.
    type Backlog = Rc<RefCell<VecDeque<io::Result<()>>>>;

    struct Fake(Backlog);

    /// A connection on which nothing ever happens.
    struct Silence;

    impl Listener for Fake {
        type Stream = ();
        type Socket = Silence;

        fn poll_accept(&mut self, _: &mut Context<'_>) -> Poll<io::Result<((), Origin)>> {
            let origin = Origin {
                listener: 0,
                transport: Transport::Tcp,
                remote: None,
                local: None,
            };
            match self.0.borrow_mut().pop_front() {
                Some(outcome) => Poll::Ready(outcome.map(|()| ((), origin))),
                None => Poll::Pending,
            }
        }

        fn socket((): (), _: Waker) -> Silence {
            Silence
        }

        fn detach(_: Silence) -> io::Result<OwnedFd> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn attach(_: OwnedFd, _: Waker) -> io::Result<Silence> {
            Ok(Silence)
        }
    }

    impl Socket for Silence {
        fn try_read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn try_write_vectored(&mut self, _: &[IoSlice<'_>]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn shutdown_write(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shard(shutdown_timeout: Duration) -> (Shard<Fake>, Backlog, Handle) {
        let backlog = Backlog::default();
        let settings = Settings {
            broker: Config {
                sys_interval: None, // Then an idle broker has no deadline.
                ..Config::default()
            },
            shards: NonZeroU8::new(1),
            shutdown_timeout,
            ..Settings::default()
        };
        let shards = Shards::new(&settings);
        let handle = shards.handle();
        let launch = shards.launch(Vec::new(), None, &Arc::default()).unwrap();
        let shard = Shard::new(
            launch.first,
            vec![Fake(backlog.clone())],
            Arc::new(AllowAll),
        );
        (shard, backlog, handle)
    }

    fn turn(shard: &mut Shard<Fake>, seconds: u64) -> Step {
        let mut context = Context::from_waker(Waker::noop());
        shard.turn_at(Instant::from_millis(seconds * 1000), &mut context)
    }

    /// Turns until it sleeps or is over.
    fn settle(shard: &mut Shard<Fake>, seconds: u64) -> Step {
        loop {
            match turn(shard, seconds) {
                Step::Again => {}
                other => return other,
            }
        }
    }

    /// The alarm is set, and goes off as many seconds after the start.
    fn sleeps_until(shard: &Shard<Fake>, seconds: u64) -> Step {
        Step::Sleep {
            alarm: shard.clock.to_std(Instant::from_millis(seconds * 1000)),
        }
    }

    #[test]
    fn a_crowd_is_taken_in_over_several_turns() {
        let (mut shard, backlog, _) = shard(Duration::ZERO);
        backlog.borrow_mut().extend((0..100).map(|_| Ok(())));
        assert_eq!(turn(&mut shard, 0), Step::Again);
        assert_eq!(shard.driver.len(), ACCEPTS_PER_TURN);
        assert!(matches!(turn(&mut shard, 0), Step::Sleep { .. }));
        assert_eq!(shard.driver.len(), 100);
    }

    #[test]
    fn the_timer_is_set_only_to_an_earlier_time_or_after_it_has_gone_off() {
        let (mut shard, backlog, _) = shard(Duration::ZERO);
        assert_eq!(turn(&mut shard, 0), Step::Sleep { alarm: None });
        // Ten seconds is how long a CONNECT may take.
        backlog.borrow_mut().push_back(Ok(()));
        assert_eq!(turn(&mut shard, 0), sleeps_until(&shard, 10));
        backlog.borrow_mut().push_back(Ok(()));
        assert_eq!(turn(&mut shard, 4), Step::Sleep { alarm: None });
        // The first is closed, and the other is due.
        assert_eq!(settle(&mut shard, 10), sleeps_until(&shard, 14));
    }

    #[test]
    fn a_client_has_its_time_however_long_nothing_had_happened_before() {
        let (mut shard, backlog, _) = shard(Duration::ZERO);
        assert_eq!(turn(&mut shard, 0), Step::Sleep { alarm: None });
        backlog.borrow_mut().push_back(Ok(()));
        assert_eq!(turn(&mut shard, 60), sleeps_until(&shard, 70));
    }

    #[test]
    fn after_a_failure_it_accepts_again_in_time_although_no_listener_wakes_it() {
        let (mut shard, backlog, _) = shard(Duration::ZERO);
        let failure = io::Error::from_raw_os_error(rustix::io::Errno::NOBUFS.raw_os_error());
        backlog.borrow_mut().extend([Err(failure), Ok(())]);
        assert!(matches!(
            turn(&mut shard, 0),
            Step::Sleep { alarm: Some(_) }
        ));
        assert_eq!(shard.driver.len(), 0);
        assert!(matches!(turn(&mut shard, 1), Step::Sleep { .. }));
        assert_eq!(shard.driver.len(), 1);
    }

    #[test]
    fn it_stops_when_all_have_gone_or_the_time_is_up() {
        let (mut empty, _, handle) = shard(Duration::from_secs(5));
        handle.stop();
        assert_eq!(turn(&mut empty, 0), Step::Stopped);

        let (mut crowded, backlog, handle) = shard(Duration::from_secs(5));
        backlog.borrow_mut().push_back(Ok(()));
        assert!(matches!(turn(&mut crowded, 0), Step::Sleep { .. }));
        handle.stop();
        assert_eq!(settle(&mut crowded, 1), sleeps_until(&crowded, 6));
        assert!(crowded.listeners.is_empty(), "nobody else is let in");
        assert_eq!(turn(&mut crowded, 6), Step::Stopped);
        assert_eq!(crowded.counters().connections_opened, 1);
    }
}
