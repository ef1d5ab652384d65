//! Who is let in, and how long it takes to find out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wherry_core::Credentials;
use wherry_core::packet::ReasonCode;
use wherry_host::auth::{Answer, Authenticate, Decision, Inquiry, Reply};

use super::schedule::Millis;
use super::universe::Right;

/// What becomes of the client of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is let in at once.
    Now(Right),
    /// It is let in after a while.
    Later(Right, Millis),
    /// It is not let in.
    Refused,
    /// Nobody ever says.
    Never,
}

/// What was asked, and when among the broker's deeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) conn: usize,
    pub(crate) verdict: Verdict,
    /// How many deeds there were before.
    pub(crate) after: usize,
}

/// Checks credentials, as the world has decided for each connection.
#[derive(Debug, Default)]
pub(crate) struct Door {
    inner: Mutex<Inner>,
    /// How many deeds there are.
    pub(crate) deeds: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Inner {
    verdicts: BTreeMap<usize, Verdict>,
    asked: Vec<Asked>,
    replies: BTreeMap<usize, Reply>,
}

/// The address of a connection, which says which one it is.
pub(crate) fn address(conn: usize) -> SocketAddr {
    let [a, b, c, d] = u32::try_from(conn).expect("not so many").to_be_bytes();
    SocketAddr::from(([10 + a, b, c, d], 1883))
}

fn conn_at(address: SocketAddr) -> usize {
    let SocketAddr::V4(address) = address else {
        return usize::MAX;
    };
    let [a, b, c, d] = address.ip().octets();
    u32::from_be_bytes([a - 10, b, c, d]) as usize
}

impl Door {
    /// Says what becomes of a connection's client.
    pub(crate) fn decide(&self, conn: usize, verdict: Verdict) {
        self.lock().verdicts.insert(conn, verdict);
    }

    /// What was asked since the last call.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.lock().asked)
    }

    /// Lets the client of a connection in; false if nobody waits for that.
    pub(crate) fn answer(&self, conn: usize, right: Right) -> bool {
        let reply = self.lock().replies.remove(&conn);
        let is_waiting = reply.is_some();
        if let Some(reply) = reply {
            reply.send(Decision::admit(right.grant()));
        }
        is_waiting
    }

    /// Forgets all who wait.
    pub(crate) fn forget(&self) {
        let replies = std::mem::take(&mut self.lock().replies);
        drop(replies);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authenticate for Door {
    fn authenticate(&self, credentials: &Credentials<'_>, inquiry: Inquiry<'_>) -> Answer {
        let conn = credentials.origin.remote.map_or(usize::MAX, conn_at);
        let inner = &mut *self.lock();
        let mut verdict = inner
            .verdicts
            .get(&conn)
            .copied()
            .unwrap_or(Verdict::Refused);
        // Nobody comes in under somebody else's name.
        let is_hostile = matches!(verdict, Verdict::Now(Right::HOSTILE));
        if is_hostile && !credentials.client_id.starts_with(['x', 'a']) {
            verdict = Verdict::Refused;
        }
        if credentials.method.is_some() {
            verdict = Verdict::Refused;
        }
        inner.asked.push(Asked {
            conn,
            verdict,
            after: self.deeds.load(Ordering::Relaxed),
        });
        match verdict {
            Verdict::Now(right) => Answer::now(Decision::admit(right.grant())),
            Verdict::Refused => Answer::now(Decision::Refuse(ReasonCode::NotAuthorized)),
            Verdict::Later(..) | Verdict::Never => {
                let (reply, answer) = inquiry.later();
                inner.replies.insert(conn, reply);
                answer
            }
        }
    }
}
