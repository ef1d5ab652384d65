//! Rare things that hooks and logs want to know.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use crate::connection::{ConnectionId, Origin};
use crate::packet::{ProtocolError, ProtocolVersion, ReasonCode};
use crate::topic::TopicError;

/// Something that happened, told by [`Broker::poll_event`](super::Broker::poll_event).
#[derive(Clone, Debug)]
pub struct Event {
    /// The connection that it happened on.
    pub connection: ConnectionId,
    /// Where that connection comes from.
    pub origin: Origin,
    /// The client's identifier, as soon as one is known.
    pub client_id: Option<Arc<str>>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// A client was admitted and its CONNACK is on its way.
    Connected {
        /// The version it speaks.
        version: ProtocolVersion,
        /// Its user name, if it gave one.
        username: Option<Box<str>>,
        /// Whether it asked for a session of its own from the start.
        clean_start: bool,
        /// Whether it goes on with the session that it had.
        session_present: bool,
        /// The keep-alive in force, in seconds; 0 is none.
        keep_alive: u16,
    },
    /// A client that is in has shown again who it is; what it may do is what it was granted now.
    Reauthenticated,
    /// The connection is over, or was never let in.
    Disconnected {
        /// Whether it had been admitted.
        admitted: bool,
        /// Why it ended.
        cause: Cause,
    },
    /// A message was not taken from its publisher; the connection goes on.
    PublishRefused {
        /// The message's topic.
        topic: Box<str>,
        /// Why.
        reason: ReasonCode,
    },
    /// One filter of a SUBSCRIBE was not granted; the connection goes on.
    SubscribeRefused {
        /// The filter as asked for.
        filter: Box<str>,
        /// Why, in the words of the specification.
        reason: ReasonCode,
        /// What is wrong with the filter, if that is why.
        error: Option<TopicError>,
    },
    /// A client has more messages in flight than it was allowed, and is let pass. Told once for
    /// each connection.
    ReceiveMaximumExceeded,
    /// A slow consumer has begun to lose QoS 0 messages. Told once until it has caught up.
    SlowConsumer,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The client said DISCONNECT, with this reason.
    ClientDisconnect(ReasonCode),
    /// The stream ended without a DISCONNECT.
    EndOfStream,
    /// The socket failed.
    SocketError,
    /// The peer broke the protocol.
    Protocol(ProtocolError),
    /// A packet was announced that is larger than the limit.
    PacketTooLarge {
        /// The size of the whole packet as announced, in bytes.
        size: u64,
        /// The limit that applied, in bytes.
        limit: u32,
    },
    /// The answer to a packet is larger than the client takes.
    AnswerTooLarge,
    /// The topic of a PUBLISH or of a will broke the rules for topic names.
    Topic(TopicError),
    /// No complete CONNECT in time.
    ConnectTimeout,
    /// A challenge of an enhanced authentication was not answered in time.
    ChallengeTimeout,
    /// Nothing was heard for one and a half times the keep-alive.
    KeepAliveTimeout,
    /// The peer took no byte of a waiting outbox in time.
    WriteTimeout,
    /// A message stayed unacknowledged however often it was sent again.
    Unacknowledged,
    /// The same client identifier connected again.
    TakenOver,
    /// The credentials were refused, with this reason.
    Refused(ReasonCode),
    /// The client asked for something this broker does not offer, with this reason.
    NotSupported(ReasonCode),
    /// The broker is stopping.
    Shutdown,
    /// An administrator ended the connection.
    Kicked,
}

impl Cause {
    /// The reason code that tells an MQTT 5 client; `None` where it has ended the stream itself.
    pub fn reason_code(&self) -> Option<ReasonCode> {
        Some(match self {
            Self::ClientDisconnect(_) | Self::EndOfStream | Self::SocketError => return None,
            Self::Protocol(error) => error.reason,
            Self::PacketTooLarge { .. } | Self::AnswerTooLarge => ReasonCode::PacketTooLarge,
            Self::Topic(_) => ReasonCode::TopicNameInvalid,
            Self::ConnectTimeout | Self::WriteTimeout => ReasonCode::MaximumConnectTime,
            Self::ChallengeTimeout => ReasonCode::NotAuthorized,
            Self::KeepAliveTimeout => ReasonCode::KeepAliveTimeout,
            Self::Unacknowledged => ReasonCode::UnspecifiedError,
            Self::TakenOver => ReasonCode::SessionTakenOver,
            Self::Refused(reason) | Self::NotSupported(reason) => *reason,
            Self::Shutdown => ReasonCode::ServerShuttingDown,
            Self::Kicked => ReasonCode::AdministrativeAction,
        })
    }
}

impl Cause {
    /// Why, in words that are good for the client as well; `None` where there is more to say than
    /// fixed words, or nobody to say it to.
    pub fn words(&self) -> Option<&'static str> {
        Some(match self {
            Self::Protocol(error) => error.what,
            Self::AnswerTooLarge => "answer is larger than the client's Maximum Packet Size",
            Self::ConnectTimeout => "no complete CONNECT in time",
            Self::ChallengeTimeout => "no answer to a challenge in time",
            Self::KeepAliveTimeout => "nothing heard within the keep-alive",
            Self::WriteTimeout => "took no byte of what waits for it in time",
            Self::Unacknowledged => "left a message unacknowledged however often it was sent",
            Self::TakenOver => "same client identifier connected again",
            Self::Shutdown => "broker is stopping",
            Self::Kicked => "ended by an administrator",
            Self::ClientDisconnect(_)
            | Self::EndOfStream
            | Self::SocketError
            | Self::PacketTooLarge { .. }
            | Self::Topic(_)
            | Self::Refused(_)
            | Self::NotSupported(_) => return None,
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientDisconnect(ReasonCode::NORMAL_DISCONNECTION) => {
                f.write_str("it said DISCONNECT")
            }
            Self::ClientDisconnect(reason) => write!(f, "it said DISCONNECT: {reason}"),
            Self::EndOfStream => f.write_str("stream ended without a DISCONNECT"),
            Self::SocketError => f.write_str("socket failed"),
            Self::Protocol(error) => write!(f, "{error}"),
            Self::PacketTooLarge { size, limit } => {
                write!(
                    f,
                    "packet of {size} bytes is larger than the limit of {limit}"
                )
            }
            Self::Topic(error) => write!(f, "{error}"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::NotSupported(reason) => write!(f, "not offered here: {reason}"),
            Self::AnswerTooLarge
            | Self::ConnectTimeout
            | Self::ChallengeTimeout
            | Self::KeepAliveTimeout
            | Self::WriteTimeout
            | Self::Unacknowledged
            | Self::TakenOver
            | Self::Shutdown
            | Self::Kicked => f.write_str(self.words().unwrap_or_default()),
        }
    }
}
