//! What belongs to a client rather than to its socket: its subscriptions, the messages on their way
//! in both directions, its will, what it may do.
//!
//! | a session is | from | until |
//! | --- | --- | --- |
//! | connected | its client is admitted | the connection ends |
//! | absent, will pending | the connection ended | the delay is over, or as below |
//! | absent | the connection ended | its client is back, or the expiry interval is over |
//! | local | the program that embeds the broker opens it | the program closes it |
//!
//! A will is pending if it has a delay and no DISCONNECT took it back; only a session with an
//! expiry interval is absent. It ends when the interval is over, or with the connection if there is
//! none; when its client wants a clean start; and with the broker.

mod flight;
mod incoming;
mod outgoing;
mod rare;
mod row;
mod subscription;
mod will;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::time::Duration;

use slotmap::Key;

use rare::Rare;

use crate::broker::Reliance;
use crate::connection::{ConnectionId, NEVER};
use crate::permission::Grant;
use crate::retained::Replay;
use crate::time::Instant;
use crate::topic::FilterId;

pub(crate) use flight::Sequence;
pub(crate) use incoming::Incoming;
pub(crate) use outgoing::{Answer, Delivery, Identifiers, InFlight, Outcome, Outgoing, Phase};
pub(crate) use row::{PendingId, Row, Rows};
pub(crate) use subscription::{Subscription, Subscriptions};
pub(crate) use will::Will;

slotmap::new_key_type! {
    /// The handle of a session, generational like a connection's.
    pub(crate) struct SessionId;
}

/// How long a session outlives its connection, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expiry(pub(crate) u32);

impl Expiry {
    /// It ends with the connection.
    pub(crate) const AT_ONCE: Self = Self(0);
    /// It does not end by itself (section 3.1.2.11.2).
    pub(crate) const NEVER: Self = Self(u32::MAX);

    /// At most as long as `maximum`.
    pub(crate) fn limited(self, maximum: Option<Duration>) -> Self {
        match maximum {
            // Rounded up: a maximum below a second is not none at all.
            Some(maximum) => {
                let seconds = maximum.as_millis().div_ceil(1000);
                self.min(Self(u32::try_from(seconds).unwrap_or(u32::MAX)))
            }
            None => self,
        }
    }

    /// When a session ends whose connection ends at `now`.
    pub(crate) fn after(self, now: Instant) -> Instant {
        if self == Self::NEVER {
            NEVER
        } else {
            now.after(Duration::from_secs(self.0.into()))
        }
    }
}

/// Whether a session may have memory for messages that it is not owed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warmth {
    /// It has none.
    Cold,
    /// It was owed none since somebody asked.
    Quiet,
    /// It was.
    Busy,
}

/// One client's session.
#[derive(Debug)]
pub(crate) struct Session {
    /// The null handle while the client is absent, and in a local session.
    pub(crate) connection: ConnectionId,
    /// Whether it is the program's own rather than a connection's.
    pub(crate) local: bool,
    /// Whether it was told that messages wait, if it is local.
    pub(crate) raised: bool,
    /// Whether the session waits among those that are served in their turn.
    pub(crate) queued: bool,
    /// The number of the last message that matched several filters of this session, and its place
    /// among that message's targets: so that one copy is sent without searching for the first.
    pub(crate) merged: (u64, u32),
    pub(crate) grant: Grant,
    pub(crate) subscriptions: Subscriptions,
    /// The shared subscriptions that it is a member of.
    pub(crate) memberships: Rare<Subscriptions>,
    /// Retained messages that are still to be sent: at most one replay for each subscription.
    pub(crate) replays: BTreeMap<FilterId, Replay>,
    pub(crate) outgoing: Rare<Outgoing>,
    pub(crate) warmth: Warmth,
    pub(crate) incoming: Incoming,
    /// As granted.
    pub(crate) expiry: Expiry,
    /// As CONNECT asked for.
    pub(crate) asked_expiry: Expiry,
    /// When it ends; never while its client is connected.
    pub(crate) ends: Instant,
    /// When its will is due; never while its client is connected.
    pub(crate) will_due: Instant,
    /// When its timer fires.
    pub(crate) timer: Instant,
    /// What of it is in the store.
    pub(crate) rows: Rows,
    /// What the last of its answers relies on: one that is repeated relies on no less.
    pub(crate) relies: Reliance,
    pub(crate) will: Option<Box<Will>>,
    pub(crate) client_id: Arc<str>,
}

impl Session {
    pub(crate) fn new(client_id: Arc<str>, grant: Grant) -> Self {
        Self {
            connection: ConnectionId::default(),
            local: false,
            raised: false,
            queued: false,
            merged: (0, 0),
            grant,
            subscriptions: Subscriptions::default(),
            memberships: Rare::new(),
            replays: BTreeMap::new(),
            outgoing: Rare::new(),
            warmth: Warmth::Cold,
            incoming: Incoming::default(),
            expiry: Expiry::AT_ONCE,
            asked_expiry: Expiry::AT_ONCE,
            ends: NEVER,
            will_due: NEVER,
            timer: NEVER,
            rows: Rows::default(),
            relies: Reliance::NOTHING,
            will: None,
            client_id,
        }
    }

    /// A replay is over.
    pub(crate) fn end_replay(&mut self, filter: FilterId) -> Option<Replay> {
        let replay = self.replays.remove(&filter);
        if self.replays.is_empty() {
            // Or it would keep what it takes for eleven of them.
            self.replays = BTreeMap::new();
        }
        replay
    }

    /// The message that is retained by this change did not come live: replays that are under way
    /// bring it.
    pub(crate) fn missed(&mut self, change: u64) {
        for replay in self.replays.values_mut() {
            replay.live.missed(change);
        }
    }

    /// Whether there is somebody to take messages.
    pub(crate) fn is_present(&self) -> bool {
        self.local || !self.connection.is_null()
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Instant {
        self.ends.min(self.will_due)
    }

    /// How many filters it is subscribed to, shared ones included.
    pub(crate) fn filters(&self) -> usize {
        self.subscriptions.len() + self.memberships.len()
    }

    /// The bytes that these count for.
    pub(crate) fn filter_bytes(&self) -> usize {
        self.subscriptions.bytes() + self.memberships.bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_expiry_is_a_number_of_seconds_or_never(
            seconds in prop_oneof![any::<u32>(), Just(u32::MAX), 0..3u32],
            maximum in proptest::option::of(prop_oneof![
                any::<Duration>(),
                (0u64..5000).prop_map(Duration::from_millis),
            ]),
            now in prop_oneof![any::<u64>(), 0..100u64],
        ) {
            let limited = Expiry(seconds).limited(maximum);
            match maximum {
                None => prop_assert_eq!(limited.0, seconds),
                Some(maximum) => {
                    // The smallest number of seconds that is not below the maximum.
                    let most = maximum.as_millis().div_ceil(1000);
                    prop_assert_eq!(u128::from(limited.0), most.min(seconds.into()));
                }
            }
            let now = Instant::from_millis(now);
            let ends = limited.after(now);
            prop_assert!(ends >= now);
            match limited {
                Expiry::NEVER => prop_assert_eq!(ends, NEVER),
                Expiry(seconds) => {
                    let sum = u128::from(now.as_millis()) + u128::from(seconds) * 1000;
                    prop_assert_eq!(u128::from(ends.as_millis()), sum.min(u64::MAX.into()));
                }
            }
        }
    }
}
