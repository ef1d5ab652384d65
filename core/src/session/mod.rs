//! What belongs to a client rather than to its socket: its subscriptions, its will, what it may do.

mod subscription;
mod will;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::connection::ConnectionId;
use crate::permission::Grant;
use crate::retained::Replay;
use crate::topic::FilterId;

pub(crate) use subscription::{Subscription, Subscriptions};
pub(crate) use will::Will;

slotmap::new_key_type! {
    /// The handle of a session, generational like a connection's.
    pub(crate) struct SessionId;
}

/// One client's session. It ends with its connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: ConnectionId,
    /// The number of the last message that matched several filters of this session, and its place
    /// among that message's targets: so that one copy is sent without searching for the first.
    pub(crate) merged: (u64, u32),
    pub(crate) grant: Grant,
    pub(crate) subscriptions: Subscriptions,
    /// Retained messages that are still to be sent: at most one replay for each subscription.
    pub(crate) replays: BTreeMap<FilterId, Replay>,
    /// Whether the session waits among those whose replays go on in their turn.
    pub(crate) replay_queued: bool,
    /// Whether CONNECT asked for a session that outlives the connection, although there is none.
    pub(crate) asked_to_stay: bool,
    pub(crate) will: Option<alloc::boxed::Box<Will>>,
    pub(crate) client_id: Arc<str>,
}
