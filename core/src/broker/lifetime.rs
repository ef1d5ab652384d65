//! How sessions begin, go on and end.

use alloc::sync::Arc;

use slotmap::Key;

use super::barrier::Waiting;
use super::timers::Timed;
use super::{Broker, Cause};
use crate::connection::{ConnectionId, NEVER};
use crate::session::{Expiry, Session, SessionId};
use crate::time::Instant;

impl Broker {
    /// The session that a client identifier has.
    pub(super) fn session_named(&self, client_id: &str) -> Option<SessionId> {
        self.clients.get(client_id).copied()
    }

    /// Takes whoever uses a client identifier off it. Returns the session that the new connection
    /// goes on with, if there is one and it is wanted ([MQTT-3.1.2-5]).
    pub(super) fn take_over(&mut self, client_id: &str, clean_start: bool) -> Option<SessionId> {
        let old = self.session_named(client_id)?;
        if let Some(session) = self.sessions.get(old) {
            // [MQTT-3.1.4-3] Its session may end with it.
            self.end(session.connection, Cause::TakenOver);
        }
        let old = self.session_named(client_id)?;
        if clean_start {
            // [MQTT-3.1.2-4]
            self.out.counters.sessions_discarded += 1;
            self.end_session(old);
            return None;
        }
        Some(old)
    }

    /// A session for a client that had none.
    pub(super) fn begin_session(&mut self, session: Session) -> SessionId {
        let client_id = Arc::clone(&session.client_id);
        let id = self.sessions.insert(session);
        self.clients.insert(client_id, id);
        id
    }

    /// The connection of a session is over: the session ends too, or stays without it, and its will
    /// is published, now or later.
    pub(super) fn detach(&mut self, id: SessionId) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.expiry == Expiry::AT_ONCE {
            return self.end_session(id);
        }
        session.connection = ConnectionId::default();
        session.ends = session.expiry.after(now);
        if session.rows.durable {
            self.out.journal.session(id, &mut session.rows, now);
        }
        self.absent += 1;
        if !session.memberships.is_empty() {
            self.tell_present(id, false);
        }
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        // [MQTT-3.1.3-9] of the delay; without one it is due at once ([MQTT-3.1.2-8]).
        if let Some(will) = &session.will {
            session.will_due = Expiry(will.delay).after(now);
        }
        if session.will_due <= now {
            self.will_is_due(id);
        }
        self.set_session_timer(id);
    }

    /// The client of a session is back on a new connection.
    pub(super) fn attach(&mut self, id: SessionId, connection: ConnectionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            self.absent = self.absent.saturating_sub(1);
            session.connection = connection;
            session.ends = NEVER;
            session.will_due = NEVER;
            session.timer = NEVER; // The one that is set is of no use any more.
            if session.outgoing.in_flight() > 0 {
                session.outgoing.reconnect();
            }
            if !session.memberships.is_empty() {
                self.tell_present(id, true);
            }
        }
    }

    /// The will of a session is published, if it has one, and its record ends in the same batch.
    pub(super) fn will_is_due(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.will_due = NEVER;
            if let Some(will) = session.will.take() {
                if session.rows.on_disk || session.rows.durable {
                    self.out.journal.session(id, &mut session.rows, self.now);
                }
                let (grant, mut owes) = (session.grant.clone(), session.rows.owes);
                self.publish_will(id, &will, &grant, &mut owes);
                if let Some(session) = self.sessions.get_mut(id) {
                    session.rows.owes = owes;
                }
            }
        }
    }

    pub(super) fn set_session_timer(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            let at = session.deadline();
            if at < session.timer {
                session.timer = at;
                self.timers.set(at, Timed::Session(id));
                self.sort_timers();
            }
        }
    }

    pub(super) fn session_timer_fired(&mut self, at: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.timer != at {
            return; // An earlier one was set since, and has fired.
        }
        session.timer = NEVER;
        if session.ends <= self.now {
            self.out.counters.sessions_expired += 1;
            return self.end_session(id);
        }
        if session.will_due <= self.now {
            self.will_is_due(id);
        }
        self.set_session_timer(id);
    }

    /// Ends a session: its subscriptions go, its will is published if it still has one
    /// ([MQTT-3.1.2-8]), and what it had of shared subscriptions goes to other members.
    pub(super) fn end_session(&mut self, id: SessionId) {
        let Some(mut session) = self.sessions.remove(id) else {
            return;
        };
        if self.clients.get(&session.client_id) == Some(&id) {
            self.clients.remove(&session.client_id);
        }
        if session.connection.is_null() && !session.local {
            self.absent = self.absent.saturating_sub(1);
        }
        for filter in session.subscriptions.iter() {
            self.drop_subscription(filter, id);
            self.barriers.forget(Waiting::subscriber(id, filter));
        }
        for members in session.memberships.iter() {
            self.shares.leave(members, id, session.is_present());
            self.barriers.forget(Waiting::member(id, members));
        }
        self.groups_have_changed();
        if let Some(will) = &session.will {
            let owes = &mut session.rows.owes;
            self.publish_will(id, will, &session.grant, owes);
        }
        self.work += session.filters() + session.outgoing.len();
        self.out.in_flight -= session.outgoing.in_flight();
        let (rows, client_id) = (&session.rows, &session.client_id);
        self.out.journal.session_ended(rows, client_id, self.now);
        for (mut delivery, was_sent) in session.outgoing.into_inner().into_deliveries() {
            // [MQTT-4.8.2-4] What was sent at QoS 2 waits for its client, and ends with its
            // session.
            let is_bound = was_sent && delivery.qos == crate::packet::QoS::ExactlyOnce;
            if delivery.group.is_null() || is_bound {
                self.out.counters.dropped_session_ended += 1;
                self.out.abandon(delivery);
            } else {
                self.out.journal.orphan(&mut delivery, self.now);
                self.left_over.push_back(delivery);
            }
        }
        self.pass_on_left_over();
    }
}
