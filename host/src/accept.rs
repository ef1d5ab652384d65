//! What to do when a connection cannot be accepted.
//!
//! A full table of open files is the usual reason. Then `accept` fails while the client stays in
//! the backlog, so a broker that only waits for readiness would spin, and its clients would hang.
//! Those who have just left may not have been noticed yet, so a turn comes first. If there is still
//! no room, a file that the gate keeps in reserve gives its place: the waiting client is accepted
//! and closed at once, and knows where it stands. After that, or if not even that works, nothing is
//! accepted for a while.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use tracing::{error, info};
use wherry_core::time::Instant;

use crate::limits;

/// How many connections one listener may bring into one turn.
pub const ACCEPTS_PER_TURN: usize = 64;

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const BETWEEN_LOG_LINES: Duration = Duration::from_secs(10);

/// What a runtime does after `accept` has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AfterFailure {
    /// Only this one client failed: accept the next.
    Next,
    /// There is no room: do a turn first, in which some may leave, and then accept at once.
    AfterTurn,
    /// A place is free for a moment: accept once more, drop what comes, and report with
    /// [`AcceptGate::turned_away`].
    TurnAway,
    /// Accept nothing until the gate is open again.
    Wait,
}

/// Decides whether a shard accepts connections now.
#[derive(Debug)]
pub struct AcceptGate {
    reserve: Option<Socket>,
    closed: Option<Shut>,
    pause: Duration,
    last_line: Option<Instant>,
    /// How many clients were turned away since the last line about it.
    turned_away: u64,
    /// There was no room before the last turn.
    was_full: bool,
    /// The log says that nothing can be accepted, and not yet that this is over.
    is_told: bool,
}

#[derive(Clone, Copy, Debug)]
struct Shut {
    until: Instant,
    /// If there are fewer than these, there is room again.
    connections: usize,
}

impl Default for AcceptGate {
    fn default() -> Self {
        Self {
            reserve: reserve(),
            closed: None,
            pause: SHORTEST_PAUSE,
            last_line: None,
            turned_away: 0,
            was_full: false,
            is_told: false,
        }
    }
}

impl AcceptGate {
    /// Whether to accept now, at `now` and with `connections` open.
    pub fn is_open(&mut self, now: Instant, connections: usize) -> bool {
        if let Some(shut) = self.closed
            && (now >= shut.until || connections < shut.connections)
        {
            self.closed = None;
            self.was_full = false;
        }
        self.closed.is_none()
    }

    /// When to look again although no listener says so.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.closed.map(|shut| shut.until)
    }

    /// A connection was accepted and has its place.
    pub fn accepted(&mut self) {
        self.pause = SHORTEST_PAUSE;
        self.was_full = false;
        if std::mem::take(&mut self.is_told) {
            info!("accepting connections again");
        }
    }

    /// `accept` failed with `error`.
    pub fn failed(&mut self, error: &io::Error, now: Instant, connections: usize) -> AfterFailure {
        match Errno::from_io_error(error) {
            // The client has gone, or its network did, before it was accepted: accept(2) lists
            // these as errors of the new socket, not of the listener.
            Some(
                Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::TIMEDOUT
                | Errno::PERM,
            ) => AfterFailure::Next,
            Some(Errno::MFILE | Errno::NFILE) if !self.was_full => {
                self.was_full = true;
                AfterFailure::AfterTurn
            }
            Some(Errno::MFILE | Errno::NFILE) if self.reserve.take().is_some() => {
                AfterFailure::TurnAway
            }
            _ => {
                self.close(now, connections);
                self.complain(error, now);
                AfterFailure::Wait
            }
        }
    }

    /// After [`AfterFailure::TurnAway`]: whether a client was accepted and dropped for `error`.
    pub fn turned_away(
        &mut self,
        error: &io::Error,
        dropped: bool,
        now: Instant,
        connections: usize,
    ) {
        self.reserve = reserve();
        // The system looks for a free place before it looks for a client: if nobody was waiting,
        // the next one deserves the same patience.
        self.was_full = dropped;
        if dropped {
            self.turned_away += 1;
            self.close(now, connections);
            self.complain(error, now);
        }
    }

    /// Waits longer each time, and only once however often it is called within a turn.
    fn close(&mut self, now: Instant, connections: usize) {
        if self.closed.is_none() {
            self.closed = Some(Shut {
                until: now.after(self.pause),
                connections,
            });
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn complain(&mut self, error: &io::Error, now: Instant) {
        if self
            .last_line
            .is_some_and(|last| now.since(last) < BETWEEN_LOG_LINES)
        {
            return;
        }
        self.last_line = Some(now);
        self.is_told = true;
        let turned_away = std::mem::take(&mut self.turned_away);
        let advice = match Errno::from_io_error(error) {
            Some(Errno::MFILE) => format!(
                "this process may have {} open files. Raise the limit with `ulimit -n`, or with \
                 LimitNOFILE= in the unit file of systemd.",
                limits::open_files()
                    .map_or_else(|| "no more".to_owned(), |limit| limit.to_string())
            ),
            Some(Errno::NFILE) => "this machine has as many open files as it allows. Raise the \
                                   limit with `sysctl fs.file-max`."
                .to_owned(),
            Some(Errno::NOBUFS | Errno::NOMEM) => {
                "the system has no memory left for sockets.".to_owned()
            }
            _ => "trying again soon.".to_owned(),
        };
        error!(
            "cannot accept connections: {error}: {advice} Clients turned away since the last such \
             line: {turned_away}"
        );
    }
}

/// Something that occupies one place in the table of open files and nothing else.
fn reserve() -> Option<Socket> {
    Socket::new(Domain::IPV4, Type::DGRAM, None).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn error(errno: Errno) -> io::Error {
        errno.into()
    }

    #[test]
    fn a_client_that_has_gone_does_not_stop_the_others() {
        let mut gate = AcceptGate::default();
        for errno in [Errno::CONNABORTED, Errno::NETDOWN, Errno::INTR] {
            assert_eq!(gate.failed(&error(errno), at(0), 5), AfterFailure::Next);
        }
        assert!(gate.is_open(at(0), 5));
        assert_eq!(gate.next_deadline(), None);
    }

    #[test]
    fn with_a_full_table_clients_are_turned_away_and_then_the_gate_rests() {
        let mut gate = AcceptGate::default();
        let full = error(Errno::MFILE);
        assert_eq!(gate.failed(&full, at(0), 5), AfterFailure::AfterTurn);
        for _ in 0..3 {
            assert_eq!(gate.failed(&full, at(0), 5), AfterFailure::TurnAway);
            gate.turned_away(&full, true, at(0), 5);
        }
        assert!(!gate.is_open(at(99), 5));
        assert_eq!(gate.next_deadline(), Some(at(100)));
        assert!(gate.is_open(at(100), 5));
        // Each rest is twice as long, up to a second.
        let mut now = at(100);
        for rest in [200, 400, 800, 1000, 1000] {
            assert_eq!(gate.failed(&full, now, 5), AfterFailure::AfterTurn);
            assert_eq!(gate.failed(&full, now, 5), AfterFailure::TurnAway);
            gate.turned_away(&full, true, now, 5);
            let until = now.after(Duration::from_millis(rest));
            assert_eq!(gate.next_deadline(), Some(until));
            assert!(gate.is_open(until, 5));
            now = until;
        }
        gate.accepted();
        assert_eq!(gate.pause, SHORTEST_PAUSE);
    }

    #[test]
    fn a_full_table_without_a_waiting_client_is_no_failure() {
        let mut gate = AcceptGate::default();
        let full = error(Errno::MFILE);
        assert_eq!(gate.failed(&full, at(0), 5), AfterFailure::AfterTurn);
        assert_eq!(gate.failed(&full, at(0), 5), AfterFailure::TurnAway);
        gate.turned_away(&full, false, at(0), 5);
        assert_eq!(gate.failed(&full, at(0), 5), AfterFailure::AfterTurn);
        assert!(gate.is_open(at(0), 5));
        assert!(gate.last_line.is_none());
    }

    #[test]
    fn a_client_that_leaves_opens_the_gate_at_once() {
        let mut gate = AcceptGate::default();
        assert_eq!(
            gate.failed(&error(Errno::NOBUFS), at(0), 5),
            AfterFailure::Wait
        );
        assert!(!gate.is_open(at(1), 5));
        assert!(gate.is_open(at(1), 4));
    }

    #[test]
    fn without_a_reserve_it_waits() {
        let mut gate = AcceptGate {
            reserve: None,
            was_full: true,
            ..AcceptGate::default()
        };
        assert_eq!(
            gate.failed(&error(Errno::MFILE), at(0), 5),
            AfterFailure::Wait
        );
        assert!(!gate.is_open(at(50), 5));
    }
}
