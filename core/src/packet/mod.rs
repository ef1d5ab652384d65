//! The wire format: what a packet says, and how that is written in each version.
//!
//! One [`Packet`] stands for the same packet in MQTT 3.1, 3.1.1 and 5.0. Decoding borrows from the
//! bytes it is given, allocates nothing, and refuses whatever the specification does not allow.
//!
//! ```
//! use wherry_core::packet::{Packet, ProtocolVersion, Sender};
//!
//! let bytes = [0x30, 0x07, 0, 3, b'a', b'/', b'b', b'h', b'i'];
//! let version = ProtocolVersion::V3_1_1;
//! let Some((packet, used)) = Packet::decode_one(&bytes, version, Sender::Client)? else {
//!     return Ok(()); // more bytes are needed
//! };
//! assert_eq!(used, bytes.len());
//! let Packet::Publish(publish) = packet else { unreachable!() };
//! assert_eq!((publish.topic, publish.payload), ("a/b", &b"hi"[..]));
//! # Ok::<(), wherry_core::packet::ProtocolError>(())
//! ```

mod ack;
mod connack;
mod connect;
mod disconnect;
mod error;
mod header;
mod place;
mod properties;
mod property;
mod publish;
mod reader;
mod reason;
mod suback;
mod subscribe;
mod value;
mod version;
pub(crate) mod writer;

use alloc::vec::Vec;

use ack::AckKind;
use reader::Reader;
use writer::{Counter, MAX_VARIABLE_BYTE_INTEGER, Sink};

pub use ack::Ack;
pub use connack::ConnAck;
pub use connect::{Connect, ConnectError, Will};
pub use disconnect::{Auth, Disconnect};
pub use error::{EncodeError, ProtocolError};
pub use header::{FixedHeader, PacketType};
pub use properties::Properties;
pub use property::{PayloadFormat, Property};
pub use publish::Publish;
pub use reason::ReasonCode;
pub use suback::{SubAck, UnsubAck};
pub use subscribe::{
    Filters, RetainHandling, Subscribe, SubscriptionOptions, SubscriptionRequest, Subscriptions,
    Unsubscribe,
};
pub use version::{PacketId, ProtocolVersion, QoS, Sender};

/// A packet of any version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each variant's type has its description")]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck(Ack<'a>),
    PubRec(Ack<'a>),
    PubRel(Ack<'a>),
    PubComp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(UnsubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Reads the packet that `sender` sent; `body` is all that follows its header.
    ///
    /// A CONNECT says its version itself, and the parameter is ignored.
    #[inline]
    pub fn decode(
        header: &FixedHeader,
        body: &'a [u8],
        version: ProtocolVersion,
        sender: Sender,
    ) -> Result<Self, ProtocolError> {
        header.check(version, sender)?;
        Ok(match header.packet_type {
            PacketType::Publish => Self::Publish(Publish::decode(header, body, version, sender)?),
            PacketType::PubAck => Self::PubAck(Ack::decode(AckKind::Ack, body, version)?),
            PacketType::PubRec => Self::PubRec(Ack::decode(AckKind::Rec, body, version)?),
            PacketType::PubRel => Self::PubRel(Ack::decode(AckKind::Rel, body, version)?),
            PacketType::PubComp => Self::PubComp(Ack::decode(AckKind::Comp, body, version)?),
            PacketType::PingReq => {
                Reader::new(body).finish()?;
                Self::PingReq
            }
            PacketType::PingResp => {
                Reader::new(body).finish()?;
                Self::PingResp
            }
            PacketType::Connect => {
                Self::Connect(Connect::decode(header, body).map_err(|refused| refused.error)?)
            }
            PacketType::ConnAck => Self::ConnAck(ConnAck::decode(body, version)?),
            PacketType::Subscribe => Self::Subscribe(Subscribe::decode(body, version)?),
            PacketType::SubAck => Self::SubAck(SubAck::decode(body, version)?),
            PacketType::Unsubscribe => Self::Unsubscribe(Unsubscribe::decode(body, version)?),
            PacketType::UnsubAck => Self::UnsubAck(UnsubAck::decode(body, version)?),
            PacketType::Disconnect => Self::Disconnect(Disconnect::decode(body, version, sender)?),
            PacketType::Auth => Self::Auth(Auth::decode(body, sender)?),
        })
    }

    /// Reads the packet at the start of `bytes` and says how many bytes it has; `None` if it is
    /// not complete. For callers that need no limit on the size of a packet.
    pub fn decode_one(
        bytes: &'a [u8],
        version: ProtocolVersion,
        sender: Sender,
    ) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(header) = FixedHeader::parse(bytes)? else {
            return Ok(None);
        };
        let packet_len = header.packet_len();
        let Some(body) = bytes.get(header.header_len..packet_len) else {
            return Ok(None);
        };
        let packet = Self::decode(&header, body, version, sender)?;
        Ok(Some((packet, packet_len)))
    }

    /// The same packet with these properties in the place of its own, if it can have any.
    pub(crate) fn with_properties(mut self, properties: Properties<'a>) -> Self {
        match &mut self {
            Self::ConnAck(packet) => packet.properties = properties,
            Self::PubAck(packet)
            | Self::PubRec(packet)
            | Self::PubRel(packet)
            | Self::PubComp(packet) => packet.properties = properties,
            Self::SubAck(packet) => packet.properties = properties,
            Self::UnsubAck(packet) => packet.properties = properties,
            Self::Disconnect(packet) => packet.properties = properties,
            Self::Auth(packet) => packet.properties = properties,
            Self::Connect(packet) => packet.properties = properties,
            Self::Publish(packet) => packet.properties = properties,
            Self::Subscribe(packet) => packet.properties = properties,
            Self::Unsubscribe(packet) => packet.properties = properties,
            Self::PingReq | Self::PingResp => {}
        }
        self
    }

    /// Which kind it is.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Appends the packet to `out`, or leaves `out` as it is.
    ///
    /// What `version` has no words for is left out: properties and reason codes before MQTT 5.
    /// Only what cannot be written is an error; whether the packet makes sense (a wildcard in a
    /// topic name, a property in the wrong packet) is the caller's responsibility. A CONNECT is
    /// written in its own version.
    #[inline]
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let body_len = self.body_len(version)?;
        let flags = match self {
            Self::Publish(publish) => publish.flags(),
            other => other.packet_type().reserved_flags(),
        };
        out.reserve(body_len.saturating_add(5));
        out.u8(((self.packet_type() as u8) << 4) | flags);
        out.length(body_len)?;
        self.write_body(version, out)
    }

    /// How many bytes [`encode`](Self::encode) appends; 0 if it is an error.
    pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
        let Ok(body_len) = self.body_len(version) else {
            return 0;
        };
        let mut header = Counter { count: 1 };
        header
            .length(body_len)
            .map_or(0, |()| header.count + body_len)
    }

    /// The remaining length; all that [`encode`](Self::encode) can fail with shows here.
    #[inline]
    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        let mut counter = Counter::default();
        self.write_body(version, &mut counter)?;
        if counter.count > MAX_VARIABLE_BYTE_INTEGER as usize {
            return Err(EncodeError::OutOfRange);
        }
        Ok(counter.count)
    }

    #[inline]
    fn write_body<S: Sink>(
        &self,
        version: ProtocolVersion,
        sink: &mut S,
    ) -> Result<(), EncodeError> {
        match self {
            Self::Connect(packet) => packet.write(sink),
            Self::ConnAck(packet) => packet.write(version, sink),
            Self::Publish(packet) => packet.write(version, sink),
            Self::PubAck(packet)
            | Self::PubRec(packet)
            | Self::PubRel(packet)
            | Self::PubComp(packet) => packet.write(version, sink),
            Self::Subscribe(packet) => packet.write(version, sink),
            Self::SubAck(packet) => packet.write(version, sink),
            Self::Unsubscribe(packet) => packet.write(version, sink),
            Self::UnsubAck(packet) => packet.write(version, sink),
            Self::PingReq | Self::PingResp => Ok(()),
            Self::Disconnect(packet) => packet.write(version, sink),
            Self::Auth(packet) => packet.write(version, sink),
        }
    }
}
