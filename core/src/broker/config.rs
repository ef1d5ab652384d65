//! What a broker may be told, with its defaults.

use alloc::boxed::Box;
use core::num::NonZeroU16;
use core::time::Duration;

use crate::packet::QoS;

/// What becomes of a message for a session whose queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueuePolicy {
    /// The session does not take the message. If no other one that it matched does, its publisher
    /// is told: 0x97, quota exceeded.
    #[default]
    Reject,
    /// The message is dropped for this session, and its publisher is told nothing.
    DropNewest,
    /// The oldest messages that wait are dropped to make room. Those in flight stay.
    DropOldest,
}

/// What becomes of a message to be retained when there is no room for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainedPolicy {
    /// It is delivered but not retained, and its publisher is told: 0x97, quota exceeded.
    #[default]
    Reject,
    /// The retained messages that were set the longest time ago make room.
    DropOldest,
}

/// Which member of a shared subscription gets a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShareStrategy {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// Always the same one, as long as it can take messages.
    Sticky,
    /// The one with the fewest messages waiting and in flight, among 64 of a large group.
    LeastInFlight,
}

/// What happens to a client that breaks a rule which many clients break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// It is disconnected.
    #[default]
    Strict,
    /// It is let pass, counted and logged.
    Warn,
}

/// The bounds and time-outs of a broker. Every one has a default that suits a machine with a few
/// gigabytes of memory on an open network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a connection may take until its CONNECT is complete. Default 10 s.
    pub connect_timeout: Duration,
    /// How long the credentials of one client may be under examination. Default 30 s.
    pub authenticate_timeout: Duration,
    /// How often a client may be challenged in one exchange of enhanced authentication. Default 16.
    pub max_auth_rounds: u32,
    /// How long a peer may leave its waiting outbox untouched. Default 30 s.
    pub write_timeout: Duration,
    /// How long a closed connection may linger until its last words are read. Default 5 s.
    pub close_timeout: Duration,
    /// The longest keep-alive, in seconds, that clients get; longer ones, and none, are cut down to
    /// it. MQTT 5 clients are told. Default: no maximum.
    pub max_keep_alive: Option<NonZeroU16>,
    /// The largest packet taken from a client, in bytes, all of it counted. Default 16 MiB.
    pub max_packet_size: u32,
    /// The largest CONNECT, in bytes. It bounds what a peer without credentials can make the broker
    /// hold. Default 256 KiB.
    pub max_connect_size: u32,
    /// How many connections may be open at once. Default 1,000,000.
    pub max_connections: usize,
    /// The longest client identifier, in bytes. Default 65,535.
    pub max_client_id_len: usize,
    /// How many levels a topic name or filter may have, at most
    /// [`MAX_LEVELS`](crate::topic::MAX_LEVELS). Default 256.
    pub max_topic_levels: usize,
    /// How many topics that messages come to are kept together with what matches them, so that
    /// this is not asked of each message; rounded up to a power of two, and 0 is none. Each takes
    /// about 500 bytes at most. Default 4,096.
    pub max_known_topics: usize,
    /// How many subscriptions one session may hold. Default 100,000.
    pub max_subscriptions: usize,
    /// How many bytes the filters of one session may have; each level of one beyond the eighth
    /// counts for 64 more. Default 16 MiB.
    pub max_subscription_bytes: usize,
    /// How many sessions there may be, those of absent clients included. Default 1,000,000.
    pub max_sessions: usize,
    /// The longest time that a session outlives its connection. Longer ones, and sessions of MQTT
    /// 3.x, which have no end of their own, are cut down to it; MQTT 5 clients are told. Default 30
    /// days; none is no maximum.
    pub max_session_expiry: Option<Duration>,
    /// How many messages of QoS 1 and 2 may wait for or be in flight to one session. Default
    /// 100,000.
    pub max_queued_messages: usize,
    /// How many bytes of topics, properties and payloads these may have. Default 64 MiB.
    pub max_queued_bytes: usize,
    /// How many bytes messages that wait for or are in flight to any session may have, each counted
    /// once however many wait for it. Default 1 GiB.
    pub max_queued_bytes_total: usize,
    /// What becomes of a message for a session whose queue is full. Default: reject.
    pub queue_policy: QueuePolicy,
    /// Whether messages of QoS 0 are kept for absent clients too. Default: no.
    pub queue_qos0: bool,
    /// How many messages of QoS 1 and 2 may be in flight to one client; fewer if its Receive
    /// Maximum says so. Default 1,024.
    pub send_window: NonZeroU16,
    /// How many messages of QoS 1 and 2 a client may have in flight: the Receive Maximum that MQTT
    /// 5 clients are told. Default 8,192: some clients do not heed it.
    pub receive_window: NonZeroU16,
    /// What happens to a client that has more in flight. Default: strict.
    pub receive_maximum: Strictness,
    /// How long a client of MQTT 3.x may leave a message unacknowledged before it is sent again on
    /// the same connection. MQTT 5 forbids that. Default: none, never.
    pub retransmit_interval: Option<Duration>,
    /// How often one message is sent again so before the connection is closed. Default 5.
    pub retransmit_limit: u32,
    /// How many topic aliases a client may use. Default 16.
    pub max_topic_aliases: u16,
    /// How many topic aliases are given to a client that allows for them. Default 16.
    pub max_topic_aliases_to_client: u16,
    /// How a member of a shared subscription is chosen. Default: each in turn.
    pub share_strategy: ShareStrategy,
    /// The highest QoS that clients may publish and subscribe with. Default 2.
    pub max_qos: QoS,
    /// Whether messages may be retained. Default: yes.
    pub retain_available: bool,
    /// Whether filters may have wildcards. Default: yes.
    pub wildcard_subscriptions_available: bool,
    /// Whether subscriptions may have identifiers. Default: yes.
    pub subscription_identifiers_available: bool,
    /// Whether there are shared subscriptions. Default: yes.
    pub shared_subscriptions_available: bool,
    /// What clients that ask for Response Information get; from it they make the topics on which
    /// they want answers. Default: nothing.
    pub response_information: Option<Box<str>>,
    /// Where clients should go instead, told when the broker stops and when there are too many:
    /// the Server Reference. Default: nowhere.
    pub server_reference: Option<Box<str>>,
    /// How often the messages under `$SYS` are published. Default 10 s; none is never.
    pub sys_interval: Option<Duration>,
    /// What becomes of a message to be retained when there is no room for it. Default: reject.
    pub retained_policy: RetainedPolicy,
    /// How many retained messages may be held. Default 10,000,000.
    pub max_retained: usize,
    /// How many bytes of topics, properties and payloads retained messages may hold; each level of
    /// a topic beyond the eighth counts for 64 more. Default 1 GiB.
    pub max_retained_bytes: usize,
    /// How many bytes may wait in the outbox of one connection. An empty outbox takes any single
    /// packet. Default 8 MiB.
    pub outbox_limit: usize,
    /// How many bytes may wait in all outboxes together. Default 1 GiB.
    pub outbox_total_limit: usize,
    /// How long a batch for the store may wait that would hold only what is with connected clients
    /// already, in the hope that they acknowledge it. Default 10 ms.
    pub commit_linger: Duration,
    /// How many bytes may wait for the store before publishers are slowed. Default 64 MiB.
    pub max_uncommitted_bytes: usize,
    /// How many bytes may be on their way to one other shard. Beyond that, messages of QoS 0 for it
    /// are dropped, and clients that publish others are slowed; at eight times as many, no client
    /// is let in. Default 16 MiB.
    pub link_limit: usize,
    /// How many events may wait to be fetched; those beyond are counted and dropped. Default 4,096.
    pub max_events: usize,
}

/// What clients that do not heed the Receive Maximum have in flight at most, as a rule: two bytes
/// each.
const RECEIVE_WINDOW: NonZeroU16 = NonZeroU16::new(8192).expect("it is not zero");

/// Enough to fill a fast link over a long distance.
const WINDOW: NonZeroU16 = NonZeroU16::new(1024).expect("it is not zero");

impl Config {
    /// What one of so many shards of a process is to be told, so that all together keep to what
    /// this says. Room for bytes that come and go in one shard is divided evenly; of what is
    /// counted over all shards, each learns from [`Broker::set_elsewhere`].
    ///
    /// [`Broker::set_elsewhere`]: super::Broker::set_elsewhere
    #[must_use]
    pub fn of_one_shard(&self, shards: usize) -> Self {
        let part = |bytes: usize| bytes.div_ceil(shards.max(1));
        Self {
            outbox_total_limit: part(self.outbox_total_limit),
            max_uncommitted_bytes: part(self.max_uncommitted_bytes),
            ..self.clone()
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            authenticate_timeout: Duration::from_secs(30),
            max_auth_rounds: 16,
            write_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            max_keep_alive: None,
            max_packet_size: 16 << 20,
            max_connect_size: 256 << 10,
            max_connections: 1_000_000,
            max_client_id_len: usize::from(u16::MAX),
            max_topic_levels: 256,
            max_known_topics: 4096,
            max_subscriptions: 100_000,
            max_subscription_bytes: 16 << 20,
            max_sessions: 1_000_000,
            max_session_expiry: Some(Duration::from_secs(30 * 86_400)),
            max_queued_messages: 100_000,
            max_queued_bytes: 64 << 20,
            max_queued_bytes_total: 1 << 30,
            queue_policy: QueuePolicy::Reject,
            queue_qos0: false,
            send_window: WINDOW,
            receive_window: RECEIVE_WINDOW,
            receive_maximum: Strictness::Strict,
            retransmit_interval: None,
            retransmit_limit: 5,
            max_topic_aliases: 16,
            max_topic_aliases_to_client: 16,
            share_strategy: ShareStrategy::RoundRobin,
            max_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_subscriptions_available: true,
            subscription_identifiers_available: true,
            shared_subscriptions_available: true,
            response_information: None,
            server_reference: None,
            sys_interval: Some(Duration::from_secs(10)),
            retained_policy: RetainedPolicy::Reject,
            max_retained: 10_000_000,
            max_retained_bytes: 1 << 30,
            outbox_limit: 8 << 20,
            outbox_total_limit: 1 << 30,
            commit_linger: Duration::from_millis(10),
            max_uncommitted_bytes: 64 << 20,
            link_limit: 16 << 20,
            max_events: 4096,
        }
    }
}
