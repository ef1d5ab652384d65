//! The shard driver: one broker, its sockets, and the order in which things happen.
//!
//! The driver is synchronous and knows neither an async runtime nor a clock, so a simulation drives
//! the same code with sockets of its own. It knows nothing of MQTT either: it carries bytes to the
//! broker and does what the broker's actions say.
//!
//! The life of a shard is a sequence of turns. A turn takes the mail, tells the broker the time,
//! reads once from each connection that is ready, and then does everything that the broker asks for
//! (`settle`), so that many small messages for one connection leave in one write. Much input is
//! settled in portions.

mod link;
mod peers;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use slotmap::SecondaryMap;
use wherry_core::Broker;
use wherry_core::broker::TooManyConnections;
use wherry_core::connection::{Closed, ConnectionId, Origin};
use wherry_core::store::Batch;
use wherry_core::time::Instant;

use crate::auth::{Authenticate, Decision};
use crate::events::EventLog;
use crate::http::Answer;
use crate::mailbox::{Mail, Mailbox};

pub use link::Socket;
use link::{Link, Stage};
pub use peers::Handover;

/// The size of the one buffer that all connections of a shard read into. A read that fills it is
/// not repeated before the others have had their turn.
const READ_BUFFER_SIZE: usize = 64 << 10;

/// How much input a turn takes before outboxes are written in between. One message may go to many
/// clients, and many clients may send to one: however many are ready at once, outboxes hold no more
/// than what this much input causes, and no fast reader loses messages for want of a write.
const INPUT_BETWEEN_WRITES: usize = READ_BUFFER_SIZE;

/// Drives one broker and the sockets of its connections.
pub struct Driver<S> {
    broker: Broker,
    authenticator: Arc<dyn Authenticate>,
    mailbox: Arc<Mailbox<Mail>>,
    links: SecondaryMap<ConnectionId, Link<S>>,
    /// Connections to be read, first come, first served.
    ready: VecDeque<ConnectionId>,
    /// Connections to be written in this turn.
    unwritten: Vec<ConnectionId>,
    /// Connections of clients that belong to other shards.
    handovers: Vec<Handover<S>>,
    /// Those that have come from there, for clients that belong here.
    arrivals: Vec<Handover<OwnedFd>>,
    /// The shards that there is something to say to, a bit for each.
    routes: u64,
    events: EventLog,
    batch_waits: bool,
    stopping: bool,
    /// What the broker was last told.
    now: Instant,
    buffer: Box<[u8]>,
    // Scratch that keeps its capacity between turns.
    mail: Vec<Mail>,
    writing: Vec<ConnectionId>,
}

/// What a turn leaves to the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Turn {
    /// When the next turn must come at the latest, if nothing else happens.
    pub next_deadline: Option<Instant>,
    /// There is more to do already: let the runtime collect what has become ready in the meantime,
    /// without waiting, and turn again.
    pub more: bool,
}

impl<S: Socket> Driver<S> {
    /// A driver for `broker`. What its sockets report, and what comes late, arrives in `mailbox`.
    pub fn new(
        broker: Broker,
        authenticator: Arc<dyn Authenticate>,
        mailbox: Arc<Mailbox<Mail>>,
    ) -> Self {
        Self {
            broker,
            authenticator,
            mailbox,
            links: SecondaryMap::new(),
            ready: VecDeque::new(),
            unwritten: Vec::new(),
            handovers: Vec::new(),
            arrivals: Vec::new(),
            routes: 0,
            events: EventLog::default(),
            batch_waits: false,
            stopping: false,
            now: Instant::default(),
            buffer: vec![0; READ_BUFFER_SIZE].into_boxed_slice(),
            mail: Vec::new(),
            writing: Vec::new(),
        }
    }

    /// Takes in a connection that is new at `now`. `make` gets the handle that the socket's waker
    /// has to report.
    ///
    /// # Errors
    ///
    /// [`TooManyConnections`] if there are as many as the broker allows or it is stopping; `make`
    /// is not called then.
    pub fn open(
        &mut self,
        now: Instant,
        origin: Origin,
        make: impl FnOnce(ConnectionId) -> S,
    ) -> Result<ConnectionId, TooManyConnections> {
        // The time that it has for its CONNECT counts from now, not from the last turn, which may
        // have been long ago.
        self.catch_up(now);
        let remote = origin.remote;
        let id = self
            .broker
            .open(origin)
            .inspect_err(|error| self.events.not_opened(remote, *error))?;
        self.links.insert(id, Link::new(make(id)));
        // The first bytes are often there already; if not, trying is what registers the waker.
        self.ready(id);
        Ok(id)
    }

    /// A socket has bytes, has room again, or has failed. A handle that is gone is ignored.
    pub fn ready(&mut self, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(id)
            && !mem::replace(&mut link.queued, true)
        {
            self.ready.push_back(id);
        }
    }

    /// Does everything there is to do at `now`.
    pub fn turn(&mut self, now: Instant) -> Turn {
        self.advance(now);
        self.open_mail();
        let mut taken = 0;
        // Those that come back during the turn wait for the next one.
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else {
                break;
            };
            taken += self.serve(id);
            if taken >= INPUT_BETWEEN_WRITES {
                self.settle();
                taken = 0;
            }
        }
        self.settle();
        Turn {
            next_deadline: earlier(self.broker.next_deadline(), self.events.next_deadline()),
            more: !self.ready.is_empty() || !self.unwritten.is_empty(),
        }
    }

    /// The next batch for the store, if one waits and the last one is committed.
    pub fn take_batch(&mut self) -> Option<Batch> {
        mem::take(&mut self.batch_waits)
            .then(|| self.broker.take_batch())
            .flatten()
    }

    /// The store has that batch for good, as is known at `now`. What waited for it goes on in the
    /// next turn.
    pub fn batch_committed(&mut self, now: Instant, number: u64) {
        self.catch_up(now);
        self.broker.batch_committed(number);
    }

    /// The store fails, and tries again.
    pub fn store_failing(&mut self) {
        self.broker.store_failing();
    }

    /// Says goodbye to every client. Turns must go on until [`is_empty`](Self::is_empty).
    pub fn shut_down(&mut self) {
        self.stopping = true;
        self.broker.shut_down();
    }

    /// Whether it has been told to stop, by a call or by mail.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Stops without a goodbye: drops every connection at once.
    pub fn abort_all(&mut self) {
        self.stopping = true;
        let ids: Vec<ConnectionId> = self.links.keys().collect();
        for id in ids {
            self.lose(id, Closed::Failed);
        }
        self.settle();
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The broker.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The broker, for what the driver has no part in. What it asks for is done in the next turn.
    pub fn broker_mut(&mut self) -> &mut Broker {
        &mut self.broker
    }

    fn advance(&mut self, now: Instant) {
        self.now = now;
        self.broker.advance(now);
        self.events.advance(now);
    }

    /// Between turns time passes too, and the last turn may have been long ago.
    fn catch_up(&mut self, now: Instant) {
        if now > self.now {
            self.advance(now);
        }
    }

    fn open_mail(&mut self) {
        let mut mail = mem::take(&mut self.mail);
        self.mailbox.take(&mut mail);
        for message in mail.drain(..) {
            match message {
                Mail::Ready(id) => self.ready(id),
                Mail::Decided(id, decision) => self.decided(id, decision),
                Mail::Committed(number) => self.broker.batch_committed(number),
                Mail::Moved(handover) => self.arrivals.push(*handover),
                Mail::Peer(from, messages) => self.broker.peer_received(from, messages),
                Mail::Wake => {}
                Mail::StoreFails => self.broker.store_failing(),
                Mail::StoreWorks => self.broker.store_recovered(),
                Mail::Asked(question) => {
                    question.answer(|| Answer::of(&self.broker, self.stopping));
                }
                Mail::ShutDown => self.shut_down(),
                Mail::Abort => self.abort_all(),
            }
        }
        self.mail = mail;
    }

    fn decided(&mut self, id: ConnectionId, decision: Decision) {
        match decision {
            Decision::Admit { grant, data } => self.broker.admit_with(id, grant, data.as_deref()),
            Decision::Challenge { data, next } => {
                // A second answer to one question counts for nothing.
                if self.broker.credentials(id).is_some()
                    && let Some(link) = self.links.get_mut(id)
                {
                    link.examiner = Some(next);
                }
                self.broker.challenge(id, data.as_deref());
            }
            Decision::Refuse(reason) => self.broker.refuse(id, reason),
        }
    }

    /// Gives one connection its turn: it is put down for writing if it had no room before, and read
    /// once. Returns how much was read.
    fn serve(&mut self, id: ConnectionId) -> usize {
        let Some(link) = self.links.get_mut(id) else {
            return 0;
        };
        link.queued = false;
        // A report does not say what for; trying costs no system call where the runtime knows
        // that there is still no room.
        if mem::take(&mut link.blocked) {
            self.list(id);
        }
        self.read(id)
    }

    fn read(&mut self, id: ConnectionId) -> usize {
        let Some(link) = self.links.get_mut(id).filter(|link| link.reads()) else {
            return 0;
        };
        match link.socket.try_read(&mut self.buffer) {
            Ok(0) => self.peer_ended(id),
            Ok(count) => {
                let is_open = link.stage == Stage::Open;
                if count == self.buffer.len() {
                    self.ready(id);
                }
                if is_open && let Some(bytes) = self.buffer.get(..count) {
                    self.broker.received(id, bytes);
                }
                return count;
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {}
                io::ErrorKind::Interrupted => self.ready(id),
                _ => self.lose(id, Closed::Failed),
            },
        }
        0
    }

    fn peer_ended(&mut self, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(id)
            && matches!(link.stage, Stage::Draining { .. })
            && self.broker.outbox_len(id) > 0
        {
            // Only its sending side has ended; it may still want to know why we part.
            link.stage = Stage::Draining { peer_ended: true };
            return;
        }
        self.lose(id, Closed::EndOfStream);
    }

    /// The socket is gone, or as good as.
    fn lose(&mut self, id: ConnectionId, how: Closed) {
        if self.links.remove(id).is_some() {
            self.broker.closed(id, how);
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
