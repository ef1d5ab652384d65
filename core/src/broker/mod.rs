//! The broker of one shard: inputs in, actions out.
//!
//! The methods of [`Broker`] stand in several files, by what they are about: `input` (bytes and
//! packets), `handshake` (CONNECT to CONNACK), `authentication` (what is answered about a client,
//! and AUTH), `publish`, `route` (a message to its receivers), `room` (in queues), `deliver` (into
//! outboxes), `serve` (sessions what they are owed), `exchange` (acknowledgements), `reply`
//! (answers that wait until they are true), `journal`, `store` and `restore` (what is written,
//! when, and read again), `subscribe`, `groups` (a message to one member of a shared subscription),
//! `lifetime` (of sessions), `ending` (of connections), `local` (clients inside the process), `sys`
//! (what the broker publishes itself), `gauges` (how much there is of everything).
//!
//! Where there are several shards, these come in: `moving` (connections to the shard that owns
//! their client), `peers` (the links), `interests` (who has subscribers for what), `forward` (a
//! message to peers), `owing` (messages that are committed before), `arrival` (what comes from
//! them), `tickets` (publishers that wait for peers), `barrier` (subscriptions that wait until all
//! shards know), `changes` (of what is retained).

mod action;
mod arrival;
mod authentication;
mod barrier;
mod changes;
mod config;
mod counters;
mod deliver;
mod ending;
mod event;
mod exchange;
mod forward;
mod gauges;
mod groups;
mod handshake;
mod input;
mod interests;
mod journal;
mod lifetime;
mod local;
mod moving;
mod outlet;
mod owing;
mod peers;
mod publish;
mod reply;
mod restore;
mod room;
mod route;
mod routed;
mod serve;
mod spare;
mod store;
mod subscribe;
mod sys;
mod tickets;
mod timers;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use slotmap::SlotMap;

use crate::connection::{Connection, ConnectionId, Origin, Paused, Stage};
use crate::known::KnownTopics;
use crate::map::{HashKey, KeyedMap, split_mix};
use crate::packet::ProtocolVersion;
use crate::peer::{Peers, Place, Shards};
use crate::retained::RetainedMessages;
use crate::session::{Delivery, Session, SessionId, Subscription};
use crate::share::Shares;
use crate::time::{Epoch, Instant, WallClock};
use crate::topic::FilterTree;

pub use action::Action;
pub use config::{Config, QueuePolicy, RetainedPolicy, ShareStrategy, Strictness};
pub use counters::Counters;
pub use event::{Cause, Event, EventKind};
pub use gauges::Holdings;
pub use moving::Moved;
pub(crate) use reply::{Reliance, Replies};
pub use sys::Figures;

pub use local::{LocalClient, LocalMessage, LocalPublish, OpenLocalError};

use barrier::Barriers;
use outlet::Outlet;
use reply::Progress;
use route::Scratch;
use sys::Sys;
use tickets::Tickets;
use timers::{Timed, Timers};

/// How many steps what is due at one moment may take before it is others' turn, and how many one
/// timer takes by itself.
const TIMERS_BUDGET: usize = 64 * 1024;
const STEPS_PER_TIMER: usize = 16;

/// What there is to check before a client is let in, or when it authenticates again.
pub struct Credentials<'a> {
    /// Where the connection comes from.
    pub origin: &'a Origin,
    /// The version that the client speaks.
    pub version: ProtocolVersion,
    /// The client identifier; an assigned one if the client gave none.
    pub client_id: &'a str,
    /// The user name. Only CONNECT carries it: a client that authenticates again shows none.
    pub username: Option<&'a str>,
    /// The password. Only CONNECT carries it.
    pub password: Option<Password<'a>>,
    /// The method of an enhanced authentication: what to make of the data. Whoever does not know it
    /// refuses the client with 0x8C ([MQTT-4.12.0-1]).
    pub method: Option<&'a str>,
    /// Its data, of CONNECT or of the last AUTH. Debug output does not show it.
    pub data: Option<&'a [u8]>,
    /// Whether the client is in already and authenticates again.
    pub is_renewal: bool,
}

impl core::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Credentials")
            .field("origin", self.origin)
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &self.password)
            .field("method", &self.method)
            .field("data", &self.data.map(Password))
            .field("is_renewal", &self.is_renewal)
            .finish()
    }
}

/// A password, which debug output does not show.
#[derive(Clone, Copy)]
pub struct Password<'a>(&'a [u8]);

impl<'a> Password<'a> {
    /// The password itself.
    pub fn reveal(&self) -> &'a [u8] {
        self.0
    }
}

impl core::fmt::Debug for Password<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("…")
    }
}

/// There are as many connections as the configuration allows, or the broker is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are as many connections as allowed, or the broker is stopping")]
pub struct TooManyConnections;

/// One shard's broker.
///
/// Any order of calls is legal. Handles of connections that are gone are ignored and counted.
/// After every call, or after every few, take what [`Broker::poll_action`] gives.
#[derive(Debug)]
pub struct Broker {
    config: Config,
    peers: Peers,
    tickets: Tickets,
    barriers: Barriers,
    now: Instant,
    epoch: Epoch,
    connections: SlotMap<ConnectionId, Connection>,
    sessions: SlotMap<SessionId, Session>,
    /// Sessions by client identifier.
    clients: KeyedMap<Arc<str>, SessionId>,
    filters: FilterTree<SessionId, Subscription>,
    known: KnownTopics,
    shares: Shares,
    /// How many sessions have an absent client.
    absent: usize,
    retained: RetainedMessages,
    /// Sessions to which more could be sent than there was time for, to go on in their turn.
    serving: VecDeque<SessionId>,
    /// What members of shared subscriptions had whose sessions have ended, on its way to others.
    left_over: VecDeque<Delivery>,
    /// Connections whose packets have made work enough for one turn, to go on in the next.
    yielded: VecDeque<ConnectionId>,
    /// How many steps were done for the connection whose turn it is.
    work: usize,
    timers: Timers,
    shrink_at: Option<Instant>,
    sys: Sys,
    out: Outlet,
    progress: Progress,
    scratch: Scratch,
    /// Packets to be sent are encoded here.
    encoded: Vec<u8>,
    /// The properties of a message are put together here.
    properties: Vec<u8>,
    identifiers: HashKey,
    /// Places topic aliases.
    aliases: HashKey,
    /// How many client identifiers were assigned.
    assigned: u64,
    stopping: bool,
    /// Whether the peers know that this shard stops, and which of them do so too.
    has_parted: bool,
    parted: Shards,
    /// Whether [`Action::Store`] was raised and is not yet answered.
    store_raised: bool,
}

impl Broker {
    /// A broker without connections. `seed` is all the randomness that it has: two brokers with the
    /// same seed and the same inputs do the same. `wall_clock` is the time of day at `now`.
    pub fn new(config: Config, seed: u64, now: Instant, wall_clock: WallClock) -> Self {
        Self::in_place(config, Place::alone(seed), now, wall_clock)
    }

    /// A broker that is one of several shards. All are told the same time.
    pub fn in_place(config: Config, place: Place, now: Instant, wall_clock: WallClock) -> Self {
        let mut seed = place.own_seed();
        let shuffle = split_mix(&mut seed);
        let mut key = || HashKey::from_seed(split_mix(&mut seed));
        Self {
            now,
            epoch: Epoch::new(now, wall_clock),
            connections: SlotMap::with_key(),
            sessions: SlotMap::with_key(),
            clients: KeyedMap::new(key()),
            filters: FilterTree::new(key()),
            shares: Shares::new(key(), shuffle, place.count() > 1),
            absent: 0,
            retained: RetainedMessages::new(key(), &place),
            serving: VecDeque::new(),
            left_over: VecDeque::new(),
            yielded: VecDeque::new(),
            work: 0,
            timers: Timers::default(),
            shrink_at: None,
            sys: Sys::new(config.sys_interval, now),
            out: Outlet::new(config.max_events, now),
            progress: Progress::default(),
            scratch: Scratch::default(),
            encoded: Vec::new(),
            properties: Vec::new(),
            identifiers: key(),
            aliases: key(),
            known: KnownTopics::new(config.max_known_topics, split_mix(&mut seed)),
            assigned: 0,
            stopping: false,
            has_parted: false,
            parted: Shards::NONE,
            store_raised: false,
            peers: Peers::new(place, place.key(), config.link_limit),
            tickets: Tickets::default(),
            barriers: Barriers::default(),
            config,
        }
    }

    /// Tells the time and does what is due by then. All later calls happen at this time, until the
    /// next call of `advance`. A time earlier than the last one is taken for the last one.
    pub fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.out.now = self.now;
        self.work = 0;
        while self.work < TIMERS_BUDGET
            && let Some((at, id)) = self.timers.pop_due(self.now)
        {
            self.work += STEPS_PER_TIMER;
            match id {
                Timed::Connection(id) => self.timer_fired(at, id),
                Timed::Session(id) => self.session_timer_fired(at, id),
            }
        }
        self.out.counters.retained_expired += self.retained.expire(self.now);
        self.note_retained(0);
        self.heed_tombstones();
        self.tell_of_itself();
        self.pass_on_left_over();
        self.continue_serving();
        self.continue_yielded();
        self.give_memory_back();
    }

    /// When [`Broker::advance`] is to be called again at the latest. Nothing may be due then after
    /// all: timers are lazy.
    pub fn next_deadline(&self) -> Option<Instant> {
        let linger = self.config.commit_linger;
        let batch = self.out.journal.next_deadline(linger);
        if !self.serving.is_empty() || !self.yielded.is_empty() || !self.left_over.is_empty() {
            return Some(self.now);
        }
        // What has expired and has not left yet goes on leaving at once.
        let expiry = self.retained.next_expiry().map(|at| at.max(self.now));
        let sys = self.sys.next_deadline(self.now);
        // So do timers of one moment.
        let timer = self.timers.next().map(|at| at.max(self.now));
        let batch = batch.map(|at| at.max(self.now));
        [timer, self.shrink_at, expiry, sys, batch]
            .into_iter()
            .flatten()
            .min()
    }

    /// A socket was opened by a client.
    pub fn open(&mut self, origin: Origin) -> Result<ConnectionId, TooManyConnections> {
        if self.is_full() {
            self.out.counters.connections_over_limit += 1;
            return Err(TooManyConnections);
        }
        self.out.counters.connections_opened += 1;
        let id = self.connections.insert(Connection::new(origin, self.now));
        self.set_timer(id);
        Ok(id)
    }

    /// Whether [`Broker::open`] would fail.
    pub fn is_full(&self) -> bool {
        let total = self.connections.len() + self.out.elsewhere.connections;
        self.stopping || total >= self.config.max_connections
    }

    /// The next thing to be done, if there is one.
    #[must_use = "what is not done is lost"]
    #[inline]
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(action) = self.out.actions.pop_front() {
            return Some(action);
        }
        if self.out.journal.is_on() {
            self.settle_journal();
            if let Some(action) = self.out.actions.pop_front() {
                return Some(action);
            }
        }
        self.peers.next_raised().map(Action::Route)
    }

    /// The next event, if there is one.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.out.next_event()
    }

    /// The bytes that wait for a connection, oldest first.
    pub fn outbox(&self, id: ConnectionId) -> impl Iterator<Item = &[u8]> {
        self.connections
            .get(id)
            .filter(|connection| connection.corked == 0)
            .into_iter()
            .flat_map(|connection| connection.outbox.slices(&self.out.pool))
    }

    /// How many bytes wait for a connection.
    pub fn outbox_len(&self, id: ConnectionId) -> usize {
        self.connections
            .get(id)
            .filter(|connection| connection.corked == 0)
            .map_or(0, |connection| connection.outbox.len())
    }

    /// The socket took this many bytes of the outbox, or, with 0, none. What is left should be
    /// offered again once the socket has room; no action will ask for it.
    pub fn sent(&mut self, id: ConnectionId, bytes: usize) {
        let Some(connection) = self.connections.get_mut(id) else {
            self.out.counters.stale_handles += 1;
            return;
        };
        let bytes = bytes.min(connection.outbox.len());
        connection.send_raised = false;
        connection.outbox.consume(&mut self.out.pool, bytes);
        self.out.counters.bytes_sent += bytes as u64;
        if bytes > 0 {
            connection.progress = self.now;
        }
        let left = connection.outbox.len();
        let is_timed = left > 0 || connection.retransmit < connection.timer;
        let is_short = left <= self.config.outbox_limit / 2;
        if is_short {
            connection.slow = false;
        }
        // As long as all outboxes together are over their limit, only who takes everything goes on.
        let has_room = is_short && self.out.pool.waiting <= self.config.outbox_total_limit;
        if (has_room || left == 0) && connection.paused.contains(Paused::OUTBOX) {
            self.go_on(id, Paused::OUTBOX);
        }
        if is_timed {
            self.set_timer(id);
        }
        self.serve_connection(id);
    }

    /// The credentials to check, as long as [`Action::Authenticate`] has not been answered.
    pub fn credentials(&self, id: ConnectionId) -> Option<Credentials<'_>> {
        let connection = self.connections.get(id)?;
        connection.question()?;
        let authentication = connection.authentication.as_deref();
        let data = authentication.and_then(|it| it.data.as_ref());
        let handshake = match &connection.stage {
            Stage::Authenticating(handshake) => Some(handshake),
            _ => None,
        };
        let password = handshake.and_then(|it| it.password.as_ref());
        Some(Credentials {
            origin: &connection.origin,
            version: connection.version,
            client_id: match handshake {
                Some(handshake) => &handshake.client_id,
                None => &self.sessions.get(connection.session)?.client_id,
            },
            username: handshake.and_then(|it| it.username.as_deref()),
            password: password.map(|secret| Password(&secret.0)),
            method: authentication.map(|it| &*it.method),
            data: data.map(|secret| &*secret.0),
            is_renewal: handshake.is_none(),
        })
    }

    /// Ends a connection on an administrator's behalf. Its will is published.
    pub fn kick(&mut self, id: ConnectionId) {
        if self.connections.contains_key(id) {
            self.end(id, Cause::Kicked);
        } else {
            self.out.counters.stale_handles += 1;
        }
    }

    /// Replaces bounds and time-outs. They hold from now on, for the connections there are as well;
    /// nothing that was accepted under the old ones is thrown away.
    pub fn configure(&mut self, config: Config) {
        self.out.max_events = config.max_events;
        let before = core::mem::replace(&mut self.config, config);
        self.peers.set_limit(self.config.link_limit);
        let (levels, known) = (self.config.max_topic_levels, self.config.max_known_topics);
        if (before.max_topic_levels, before.max_known_topics) != (levels, known) {
            self.known.begin_anew(known); // They were checked against other bounds.
        }
        if before.sys_interval != self.config.sys_interval {
            self.reconfigure_sys(before.sys_interval);
        }
        let ids: Vec<_> = self.connections.keys().collect();
        for id in ids {
            self.set_timer(id);
        }
    }

    /// Tells of something that happened on the connection of an admitted client.
    fn tell(&mut self, id: ConnectionId, kind: EventKind) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let session = self.sessions.get(connection.session);
        self.out.tell(Event {
            connection: id,
            origin: connection.origin.clone(),
            client_id: session.map(|session| session.client_id.clone()),
            kind,
        });
    }
}
