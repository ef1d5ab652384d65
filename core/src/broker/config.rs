//! What a broker may be told, with its defaults.

use core::num::NonZeroU16;
use core::time::Duration;

/// The bounds and time-outs of a broker. Every one has a default that suits a machine with a few
/// gigabytes of memory on an open network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a connection may take until its CONNECT is complete. Default 10 s.
    pub connect_timeout: Duration,
    /// How long the credentials of one client may be under examination. Default 30 s.
    pub authenticate_timeout: Duration,
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
    /// [`MAX_LEVELS`](crate::topic::MAX_LEVELS). Default 128.
    pub max_topic_levels: usize,
    /// How many subscriptions one session may hold. Default 100,000.
    pub max_subscriptions: usize,
    /// How many bytes the filters of one session may have; each level of one beyond the eighth
    /// counts for 64 more. Default 16 MiB.
    pub max_subscription_bytes: usize,
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
    /// How many events may wait to be fetched; those beyond are counted and dropped. Default 4,096.
    pub max_events: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            authenticate_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            max_keep_alive: None,
            max_packet_size: 16 << 20,
            max_connect_size: 256 << 10,
            max_connections: 1_000_000,
            max_client_id_len: usize::from(u16::MAX),
            max_topic_levels: 128,
            max_subscriptions: 100_000,
            max_subscription_bytes: 16 << 20,
            max_retained: 10_000_000,
            max_retained_bytes: 1 << 30,
            outbox_limit: 8 << 20,
            outbox_total_limit: 1 << 30,
            max_events: 4096,
        }
    }
}
