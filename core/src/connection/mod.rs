//! One socket's side of a conversation: what is known of the peer, what came in and is not yet
//! parsed, what goes out and is not yet written.
//!
//! | stage | entered when | left when |
//! | --- | --- | --- |
//! | `Stage::AwaitingConnect` | the socket is opened | CONNECT is complete, or its time-out |
//! | `Stage::Moving` | another shard owns the client | that shard takes it, or the same time-out |
//! | `Stage::Authenticating` | CONNECT is complete | the verdict comes, or its time-out |
//! | `Stage::Open` | the client is admitted | DISCONNECT, an error, a time-out, takeover |
//! | `Stage::Closing` | our last words are in the outbox | the peer's stream ends, or a time-out |
//!
//! | stage | bytes that come in |
//! | --- | --- |
//! | `Stage::AwaitingConnect` | must be one CONNECT |
//! | `Stage::Moving` | stay unparsed; reading is paused |
//! | `Stage::Authenticating` | the same; but if the client is challenged: AUTH or DISCONNECT |
//! | `Stage::Open` | are packets of the session |
//! | `Stage::Closing` | are discarded |

mod aliases;
mod authentication;
mod input;
mod outbox;
mod pool;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;

use crate::broker::{Config, Replies};
use crate::packet::ProtocolVersion;
use crate::session::{Expiry, SessionId, Will};
use crate::time::Instant;

pub(crate) use aliases::{AliasesFromClient, AliasesToClient};
pub(crate) use authentication::{Authentication, Step};
pub(crate) use input::Input;
pub(crate) use outbox::Outbox;
pub(crate) use pool::Pool;

slotmap::new_key_type! {
    /// The handle of a connection. It is generational: the handle of a connection that is gone
    /// names no other one; calls with it are ignored and counted.
    pub struct ConnectionId;
}

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The number of the listener that accepted it.
    pub listener: u16,
    /// What carries the bytes.
    pub transport: Transport,
    /// The peer's address, where there is one.
    pub remote: Option<SocketAddr>,
    /// Our own address, where there is one.
    pub local: Option<SocketAddr>,
}

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
        })
    }
}

/// How a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The peer ended its stream.
    EndOfStream,
    /// Reading or writing failed.
    Failed,
}

/// How far the conversation is.
#[derive(Debug)]
pub(crate) enum Stage {
    AwaitingConnect,
    /// With the whole CONNECT.
    Moving(Box<Secret>),
    Authenticating(Box<Handshake>),
    Open,
    Closing,
}

/// A CONNECT whose credentials are being checked.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) client_id: Arc<str>,
    pub(crate) assigned: bool,
    pub(crate) username: Option<Box<str>>,
    pub(crate) password: Option<Secret>,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive: u16,
    pub(crate) session_expiry: Expiry,
    /// The client's Receive Maximum.
    pub(crate) receive_maximum: u16,
    /// The client's Topic Alias Maximum.
    pub(crate) topic_alias_maximum: u16,
    pub(crate) wants_response_information: bool,
    pub(crate) will: Option<Box<Will>>,
}

/// Bytes that never show in debug output.
pub(crate) struct Secret(pub(crate) Box<[u8]>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Why reading is paused; a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paused(u8);

impl Paused {
    /// Credentials are under examination.
    pub(crate) const AUTHENTICATING: Self = Self(1);
    /// The peer does not take what waits for it.
    pub(crate) const OUTBOX: Self = Self(2);
    /// Its packets have made work enough for one turn.
    pub(crate) const WORK: Self = Self(4);
    /// The store has to catch up.
    pub(crate) const STORE: Self = Self(8);
    /// It is on its way to another shard.
    pub(crate) const MOVING: Self = Self(16);
    /// Not all shards know of what it has subscribed to.
    pub(crate) const BARRIER: Self = Self(32);
    /// It has published to a shard that has much to process already.
    pub(crate) const LINK: Self = Self(64);
    /// The broker stops.
    pub(crate) const STOP: Self = Self(128);

    pub(crate) fn any(self) -> bool {
        self.0 != 0
    }

    pub(crate) fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

/// What a client may do. It was told in CONNACK, so it holds even if less is configured since then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offer {
    pub(crate) receive_window: u16,
    pub(crate) topic_aliases: u16,
    pub(crate) packet_size: u32,
}

impl Offer {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            receive_window: config.receive_window.get(),
            topic_aliases: config.max_topic_aliases,
            packet_size: config.max_packet_size,
        }
    }

    /// The offer, or what is configured now if that is more.
    pub(crate) fn or_more(self, config: &Config) -> Self {
        let now = Self::of(config);
        Self {
            receive_window: self.receive_window.max(now.receive_window),
            topic_aliases: self.topic_aliases.max(now.topic_aliases),
            packet_size: self.packet_size.max(now.packet_size),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) outbox: Outbox,
    pub(crate) session: SessionId,
    /// The largest packet that the client takes, in bytes.
    pub(crate) max_packet_size: u32,
    pub(crate) version: ProtocolVersion,
    /// How many messages of QoS 1 and 2 may be in flight to the client.
    pub(crate) window: u16,
    /// What CONNACK said that the client may do.
    pub(crate) offered: Offer,
    /// How many messages of QoS 2 came on this connection and are not released: they fill our
    /// Receive Maximum (section 4.9).
    pub(crate) unreleased: u16,
    /// Whether the client goes on with a session and has not published anything new yet: it may
    /// repeat what was answered on its last connection.
    pub(crate) recovering: bool,
    /// Whether the client wants to be told what is wrong in words (section 3.1.2.11.7).
    pub(crate) wants_words: bool,
    pub(crate) paused: Paused,
    /// Whether [`Action::Send`](crate::Action::Send) was raised and is not yet answered.
    pub(crate) send_raised: bool,
    /// The batch that must be committed before CONNACK, and anything behind it, may leave; 0 is
    /// none.
    pub(crate) corked: u64,
    /// Whether it is told already that this client has more in flight than it may.
    pub(crate) overran: bool,
    /// Whether it is told already that this client loses messages.
    pub(crate) slow: bool,
    pub(crate) stage: Stage,
    pub(crate) input: Input,
    /// In seconds; 0 is none.
    pub(crate) keep_alive: u16,
    /// When a packet was last complete; the keep-alive counts from here.
    pub(crate) heard: Instant,
    /// When the socket last took bytes, or the outbox last became non-empty.
    pub(crate) progress: Instant,
    /// When the current stage began.
    pub(crate) since: Instant,
    /// `None` if CONNECT named no authentication method.
    pub(crate) authentication: Option<Box<Authentication>>,
    /// Answers that wait until they are true; `None` if there are none.
    pub(crate) replies: Option<Box<Replies>>,
    /// When messages that the client left unacknowledged are sent again; never, unless it speaks
    /// MQTT 3.x and it is so configured.
    pub(crate) retransmit: Instant,
    pub(crate) aliases_from: AliasesFromClient,
    /// `None` if the client takes none.
    pub(crate) aliases_to: Option<Box<AliasesToClient>>,
    /// When the connection's timer fires; it is asked for `deadline` only then.
    pub(crate) timer: Instant,
    pub(crate) origin: Origin,
}

impl Connection {
    pub(crate) fn new(origin: Origin, now: Instant) -> Self {
        Self {
            outbox: Outbox::new(),
            session: SessionId::default(),
            max_packet_size: u32::MAX,
            version: ProtocolVersion::V3_1_1,
            window: u16::MAX,
            offered: Offer::default(),
            unreleased: 0,
            recovering: false,
            wants_words: true,
            paused: Paused::default(),
            send_raised: false,
            corked: 0,
            overran: false,
            slow: false,
            stage: Stage::AwaitingConnect,
            input: Input::new(),
            keep_alive: 0,
            heard: now,
            progress: now,
            since: now,
            authentication: None,
            replies: None,
            retransmit: NEVER,
            aliases_from: AliasesFromClient::default(),
            aliases_to: None,
            timer: NEVER,
            origin,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing)
    }

    /// What the program was asked about this client and has not answered.
    pub(crate) fn question(&self) -> Option<Question> {
        let step = self.authentication.as_ref().map(|it| it.step);
        match (&self.stage, step) {
            (Stage::Authenticating(_), None | Some(Step::Examined)) => Some(Question::LetIn),
            (Stage::Open, Some(Step::Examined)) => Some(Question::KeepIn),
            _ => None,
        }
    }

    /// The next moment at which something is due if nothing happens until then.
    pub(crate) fn deadline(&self, config: &Config) -> Option<(Instant, Overdue)> {
        let stage = match self.stage {
            Stage::AwaitingConnect | Stage::Moving(_) => {
                Some((self.since.after(config.connect_timeout), Overdue::Connect))
            }
            Stage::Authenticating(_) if self.authentication.is_none() => Some((
                self.since.after(config.authenticate_timeout),
                Overdue::Authenticate,
            )),
            Stage::Authenticating(_) => None,
            // [MQTT-3.1.2-22] one and a half times the keep-alive. It stands still while reading is
            // paused: what the client sends then is not seen.
            Stage::Open if self.keep_alive > 0 && !self.paused.any() => {
                let millis = u64::from(self.keep_alive) * 1500;
                let within = core::time::Duration::from_millis(millis);
                Some((self.heard.after(within), Overdue::KeepAlive))
            }
            Stage::Open => None,
            Stage::Closing => Some((self.since.after(config.close_timeout), Overdue::Close)),
        };
        let write = (!self.outbox.is_empty() && self.corked == 0)
            .then(|| (self.progress.after(config.write_timeout), Overdue::Write));
        let retransmit =
            (self.retransmit != NEVER).then_some((self.retransmit, Overdue::Retransmit));
        let step = self.authentication.as_ref().and_then(|authentication| {
            let at = authentication.deadline(config)?;
            Some((at, Overdue::Authenticate))
        });
        [stage, write, retransmit, step]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }
}

/// What is to be decided about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether it is let in.
    LetIn,
    /// Whether it may stay: it is in and authenticates again.
    KeepIn,
}

/// What a deadline was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    Connect,
    Authenticate,
    KeepAlive,
    Write,
    Retransmit,
    Close,
}

/// A moment that does not come.
pub(crate) const NEVER: Instant = Instant::from_millis(u64::MAX);
