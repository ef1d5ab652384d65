//! When something is due.
//!
//! Timers are lazy: what happens on a connection only notes the time. The one timer that each has
//! fires, finds out what the deadline has become by then, and is set again. So a packet costs no
//! timer operation, and an idle connection one per keep-alive.
//!
//! A timer that was overtaken by an earlier one, or whose connection is gone, stays until it fires:
//! up to 27 hours for a keep-alive. When those are the greater part, all are sorted out at once.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use super::{Broker, Cause};
use crate::connection::{ConnectionId, NEVER, Overdue};
use crate::session::SessionId;
use crate::time::Instant;

/// So many timers may always be there to no purpose.
const STALE_MIN: usize = 64;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timed {
    Connection(ConnectionId),
    Session(SessionId),
}

/// The timers of all connections and of the sessions of absent clients.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timed)>>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Instant, what: Timed) {
        self.heap.push(Reverse((at, what)));
    }

    /// Whether most timers are of no use any more, if there are `owners` that may have one.
    pub(super) fn are_mostly_stale(&self, owners: usize) -> bool {
        self.heap.len() > 2 * owners + STALE_MIN
    }

    /// Keeps these timers and no others.
    pub(super) fn replace(&mut self, timers: impl Iterator<Item = (Instant, Timed)>) {
        self.heap = timers.map(Reverse).collect();
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next timer that is due, with the moment that it was set for.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Timed)> {
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

impl Broker {
    /// Sets the connection's timer, unless it fires early enough anyway.
    pub(super) fn set_timer(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if let Some((at, _)) = connection.deadline(&self.config)
            && at < connection.timer
        {
            connection.timer = at;
            self.timers.set(at, Timed::Connection(id));
            self.sort_timers();
        }
    }

    /// The timer of a connection was due.
    pub(super) fn timer_fired(&mut self, at: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.timer != at {
            return; // An earlier one was set since, and has fired.
        }
        connection.timer = NEVER;
        match connection.deadline(&self.config) {
            Some((deadline, overdue)) if deadline <= self.now => match overdue {
                Overdue::Connect => self.end(id, Cause::ConnectTimeout),
                Overdue::Authenticate => self.authentication_overdue(id),
                Overdue::KeepAlive => self.end(id, Cause::KeepAliveTimeout),
                Overdue::Retransmit => {
                    if !self.retransmit(id) {
                        self.end(id, Cause::Unacknowledged);
                    }
                }
                Overdue::Write => self.abort(id, Cause::WriteTimeout),
                Overdue::Close => self.drop_closing(id),
            },
            _ => self.set_timer(id),
        }
    }

    /// Sorts out the timers that are of no use any more, when they are the greater part.
    pub(super) fn sort_timers(&mut self) {
        let owners = self.connections.len() + self.absent;
        if !self.timers.are_mostly_stale(owners) {
            return;
        }
        let connections = self.connections.iter();
        let connections = connections.map(|(id, it)| (it.timer, Timed::Connection(id)));
        let sessions = self.sessions.iter();
        let sessions = sessions.map(|(id, it)| (it.timer, Timed::Session(id)));
        let set = connections.chain(sessions).filter(|(at, _)| *at != NEVER);
        self.timers.replace(set);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Broker, Config};
    use super::STALE_MIN;
    use crate::connection::{Closed, ConnectionId, NEVER, Origin, Transport};
    use crate::permission::Grant;
    use crate::time::{Instant, WallClock};

    /// CONNECT of MQTT 3.1.1 without an identifier, with the longest keep-alive.
    const CONNECT: &[u8] = b"\x10\x0c\0\x04MQTT\x04\x02\xff\xff\0\0";

    fn connected(broker: &mut Broker) -> ConnectionId {
        connected_with(broker, CONNECT)
    }

    fn connected_with(broker: &mut Broker, connect: &[u8]) -> ConnectionId {
        let origin = Origin {
            listener: 0,
            transport: Transport::Tcp,
            remote: None,
            local: None,
        };
        let id = broker.open(origin).expect("there is room");
        broker.received(id, connect);
        broker.admit(id, Grant::unrestricted());
        broker.sent(id, usize::MAX);
        id
    }

    fn broker() -> Broker {
        let wall_clock = WallClock::from_unix_millis(0);
        let config = Config {
            sys_interval: None, // Its deadline is not one of these.
            ..Config::default()
        };
        Broker::new(config, 1, Instant::default(), wall_clock)
    }

    #[test]
    fn those_who_come_and_go_leave_no_timers() {
        let mut broker = broker();
        for round in 1..10_000 {
            let id = connected(&mut broker);
            // By now the timer is that of the keep-alive.
            broker.advance(Instant::from_millis(round * 20_000));
            broker.closed(id, Closed::EndOfStream);
            while broker.poll_action().is_some() {}
        }
        assert!(broker.timers.heap.len() <= STALE_MIN + 3);
    }

    #[test]
    fn a_slow_reader_gathers_no_timers() {
        let mut broker = broker();
        let id = connected(&mut broker);
        for minute in 1..2000 {
            broker.received(id, b"\xc0\0");
            broker.sent(id, 1); // The write time-out runs …
            broker.advance(Instant::from_millis(minute * 60_000 - 50_000));
            broker.sent(id, 1); // … and is over before it fires.
            broker.advance(Instant::from_millis(minute * 60_000));
            while broker.poll_action().is_some() {}
        }
        assert_eq!(broker.connections(), 1);
        assert!(broker.timers.heap.len() <= STALE_MIN + 3);
        assert!(broker.next_deadline().is_some());
    }

    #[test]
    fn a_session_whose_client_is_back_has_no_timer() {
        // Or those of sessions would count as in use, and all timers be sorted again and again.
        let connect = b"\x10\x0d\0\x04MQTT\x04\0\xff\xff\0\x01a";
        let mut broker = broker();
        for _ in 0..2 {
            let id = connected_with(&mut broker, connect);
            assert!(
                broker
                    .sessions
                    .values()
                    .all(|session| session.timer == NEVER)
            );
            broker.closed(id, Closed::EndOfStream);
            assert!(
                broker
                    .sessions
                    .values()
                    .all(|session| session.timer != NEVER)
            );
        }
    }

    #[test]
    fn sessions_that_expire_at_the_same_moment_leave_in_turns() {
        let connect = b"\x10\x12\0\x04MQTT\x05\x02\0\0\x05\x11\0\0\0\x0a\0\0";
        let mut broker = broker();
        for _ in 0..10_000 {
            let id = connected_with(&mut broker, connect);
            broker.closed(id, Closed::EndOfStream);
        }
        assert_eq!(broker.sessions(), 10_000);
        let at = Instant::from_millis(10_000);
        broker.advance(at);
        assert!(broker.sessions() > 1000);
        for _ in 0..10 {
            broker.advance(broker.next_deadline().expect("more is due").max(at));
            if broker.sessions() == 0 {
                return;
            }
            assert_eq!(broker.next_deadline(), Some(at));
        }
        panic!("{} sessions are left", broker.sessions());
    }
}
