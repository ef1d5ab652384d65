//! Everything that leaves the broker: bytes, actions, events, counts.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use super::gauges::Holdings;
use super::journal::Journal;
use super::{Action, Counters, Event, LocalClient};
use crate::connection::{Connection, ConnectionId, Pool};
use crate::message::{Kept, Message};
use crate::session::{Delivery, Row, Session, SessionId, Warmth};
use crate::time::Instant;

/// The broker's way out. It is one field, so that it can be used while connections are borrowed.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) pool: Pool,
    pub(super) actions: VecDeque<Action>,
    pub(super) events: VecDeque<Event>,
    pub(super) max_events: usize,
    event_raised: bool,
    pub(super) counters: Counters,
    pub(super) journal: Journal,
    /// The bytes of all messages that are kept, each once.
    held: usize,
    /// How many messages sessions are owed: those that wait and those in flight that the client may
    /// not have.
    pub(super) owed: usize,
    /// The change of the retained messages that the message which is routed has made; 0 is none.
    pub(super) retained_change: u64,
    /// How many exchanges with receivers are not over.
    pub(super) in_flight: usize,
    /// Sessions that may have memory for messages that they are not owed any more.
    pub(super) warm: VecDeque<SessionId>,
    /// The time of the current call.
    pub(super) now: Instant,
    /// What the other shards hold.
    pub(super) elsewhere: Holdings,
}

impl Outlet {
    pub(super) fn new(max_events: usize, now: Instant) -> Self {
        Self {
            pool: Pool::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            max_events,
            event_raised: false,
            counters: Counters::default(),
            journal: Journal::off(),
            held: 0,
            owed: 0,
            retained_change: 0,
            in_flight: 0,
            warm: VecDeque::new(),
            now,
            elsewhere: Holdings::default(),
        }
    }

    /// The bytes of all messages that are kept, each once.
    pub(super) fn held_bytes(&self) -> usize {
        self.held
    }

    /// The same of all shards.
    pub(super) fn held_bytes_everywhere(&self) -> usize {
        self.held + self.elsewhere.queued_bytes
    }

    /// A message is kept from now on; every reference to it is given back by
    /// [`Outlet::release_kept`].
    pub(super) fn keep(&mut self, message: &Message<'_>) -> Arc<Kept> {
        let number = self.journal.number_message();
        let message = Kept::new(message, self.retained_change, number, self.now);
        self.held += message.len();
        message
    }

    /// The same, of a message that expires then.
    pub(super) fn keep_until(&mut self, message: &Message<'_>, expires: Instant) -> Arc<Kept> {
        let number = self.journal.number_message();
        let message = Kept::until(message, self.retained_change, number, expires, self.now);
        self.held += message.len();
        message
    }

    /// A message that was stored is kept from now on.
    pub(super) fn hold(&mut self, message: Arc<Kept>) -> Arc<Kept> {
        self.held += message.len();
        message
    }

    /// A session is owed this from now on, until [`Outlet::release`].
    #[inline]
    pub(super) fn owe(
        &mut self,
        id: SessionId,
        session: &mut Session,
        mut delivery: Delivery,
    ) -> Delivery {
        self.owed += 1;
        self.warm(id, session);
        if session.rows.durable {
            self.journal.owe(id, &mut delivery, self.now);
        }
        delivery
    }

    /// A session gets memory for messages.
    #[inline]
    pub(super) fn warm(&mut self, id: SessionId, session: &mut Session) {
        if session.warmth == Warmth::Busy {
            return;
        }
        if session.warmth == Warmth::Cold {
            self.warm.push_back(id);
        }
        session.warmth = Warmth::Busy;
    }

    /// Gives one reference to a message back.
    pub(super) fn release_kept(&mut self, message: Arc<Kept>) {
        if let Some(message) = Arc::into_inner(message) {
            self.held -= message.len();
        }
    }

    /// A session is not owed this any more.
    #[inline]
    pub(super) fn release(&mut self, session: &mut Session, mut delivery: Delivery) {
        self.owed -= 1;
        if delivery.row.place > 0 {
            let (rows, client_id) = (&mut session.rows, &session.client_id);
            let message = Some(&*delivery.message);
            self.journal
                .forget(rows, client_id, &mut delivery.row, message, self.now);
        }
        self.release_kept(delivery.message);
    }

    /// The same, of a session that has ended.
    pub(super) fn abandon(&mut self, mut delivery: Delivery) {
        self.owed -= 1;
        self.journal.abandon(&mut delivery, self.now);
        self.release_kept(delivery.message);
    }

    /// What a session that has ended was owed is not owed to anyone any more, or to another one.
    pub(super) fn release_orphan(&mut self, mut delivery: Delivery) {
        self.owed -= 1;
        if delivery.row.place > 0 {
            self.journal.forget_orphan(&mut delivery, self.now);
        }
        self.release_kept(delivery.message);
    }

    /// An exchange of a session is over: it is not owed its message any more, or needs no row.
    pub(super) fn release_exchange(&mut self, session: &mut Session, it: Result<Delivery, Row>) {
        self.in_flight -= 1;
        match it {
            Ok(delivery) => self.release(session, delivery),
            Err(mut row) => {
                let (rows, client_id) = (&mut session.rows, &session.client_id);
                self.journal
                    .forget(rows, client_id, &mut row, None, self.now);
            }
        }
    }

    /// What has waited for a session, if it may go out still: it has not expired ([MQTT-3.3.2-5]),
    /// and the session may have it.
    pub(super) fn still_due(
        &mut self,
        session: &mut Session,
        delivery: Delivery,
    ) -> Option<Delivery> {
        let dropped = if delivery.message.is_expired(self.now) {
            &mut self.counters.dropped_expired
        } else if !session.grant.may_receive(delivery.message.topic()) {
            &mut self.counters.dropped_not_permitted
        } else {
            return Some(delivery);
        };
        *dropped += 1;
        self.release(session, delivery);
        None
    }

    /// Appends a packet to a connection's outbox, or the part of it that goes before the payload.
    #[inline]
    pub(super) fn send(&mut self, id: ConnectionId, connection: &mut Connection, bytes: &[u8]) {
        self.counters.packets_sent += 1;
        self.raise_send(id, connection);
        connection.outbox.push(&mut self.pool, bytes);
    }

    #[inline]
    fn raise_send(&mut self, id: ConnectionId, connection: &mut Connection) {
        if connection.outbox.is_empty() {
            connection.progress = self.now; // The write time-out counts from here.
        }
        if !connection.send_raised && connection.corked == 0 {
            connection.send_raised = true;
            self.actions.push_back(Action::Send(id));
        }
    }

    /// Says that messages wait for a session, if it is a local client's.
    pub(super) fn raise_deliver(&mut self, id: SessionId, session: &mut Session) {
        if session.local && !core::mem::replace(&mut session.raised, true) {
            self.actions.push_back(Action::Deliver(LocalClient::of(id)));
        }
    }

    /// Tells of something rare.
    pub(super) fn tell(&mut self, event: Event) {
        if self.events.len() >= self.max_events {
            self.counters.events_dropped += 1;
            return;
        }
        self.events.push_back(event);
        if !self.event_raised {
            self.event_raised = true;
            self.actions.push_back(Action::Event);
        }
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.event_raised = false;
        self.events.pop_front()
    }
}
