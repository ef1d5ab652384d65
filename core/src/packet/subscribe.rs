//! SUBSCRIBE and UNSUBSCRIBE: lists of topic filters, read where they lie.

use core::fmt;

use super::place::{SUBSCRIBE, UNSUBSCRIBE};
use super::reader::Reader;
use super::writer::Sink;
use super::{EncodeError, PacketId, Properties, ProtocolError, ProtocolVersion, QoS};

/// A client asks for messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribe<'a> {
    /// The number under which the server answers.
    pub packet_id: PacketId,
    /// The properties.
    pub properties: Properties<'a>,
    /// What the client wants, at least one.
    pub filters: Subscriptions<'a>,
}

/// A client wants no more of some messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribe<'a> {
    /// The number under which the server answers.
    pub packet_id: PacketId,
    /// The properties.
    pub properties: Properties<'a>,
    /// The filters of the subscriptions that end, at least one.
    pub filters: Filters<'a>,
}

/// One entry of a SUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscriptionRequest<'a> {
    /// Which topics. Not empty; its grammar is not checked here.
    pub filter: &'a str,
    /// How the messages are wanted.
    pub options: SubscriptionOptions,
}

/// How the messages of a subscription are wanted. Before MQTT 5 there is only the QoS, and the
/// rest has its default values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SubscriptionOptions {
    /// The highest QoS the client wants them with.
    pub qos: QoS,
    /// Whether the client does not want its own.
    pub no_local: bool,
    /// Whether RETAIN is passed on as the publisher set it.
    pub retain_as_published: bool,
    /// Whether retained messages are wanted now.
    pub retain_handling: RetainHandling,
}

/// Whether retained messages are sent when a subscription is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// Yes.
    #[default]
    Send = 0,
    /// Only if the session has not had this subscription before.
    SendIfNew = 1,
    /// No.
    DoNotSend = 2,
}

impl RetainHandling {
    /// The option that `value` stands for; 3 and above stand for none.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Send),
            1 => Some(Self::SendIfNew),
            2 => Some(Self::DoNotSend),
            _ => None,
        }
    }
}

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const RETAIN_HANDLING_SHIFT: u8 = 4;

impl SubscriptionOptions {
    /// The options as MQTT 5 writes them (section 3.8.3.1).
    pub const fn to_u8(self) -> u8 {
        self.qos as u8
            | if self.no_local { NO_LOCAL } else { 0 }
            | if self.retain_as_published {
                RETAIN_AS_PUBLISHED
            } else {
                0
            }
            | (self.retain_handling as u8) << RETAIN_HANDLING_SHIFT
    }

    /// The options that such a byte stands for, if it stands for any.
    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::decode(byte, ProtocolVersion::V5).ok()
    }

    fn decode(byte: u8, version: ProtocolVersion) -> Result<Self, ProtocolError> {
        let reserved = match version {
            ProtocolVersion::V5 => 0b1100_0000,
            ProtocolVersion::V3_1 | ProtocolVersion::V3_1_1 => 0b1111_1100,
        };
        if byte & reserved != 0 {
            return Err(ProtocolError::malformed(
                "MQTT-3.8.3-5",
                "reserved bits of the subscription options are set",
            ));
        }
        Ok(Self {
            qos: QoS::from_u8(byte & 0b11).ok_or(ProtocolError::violation(
                "3.8.3.1",
                "a subscription asks for QoS 3",
            ))?,
            no_local: byte & NO_LOCAL != 0,
            retain_as_published: byte & RETAIN_AS_PUBLISHED != 0,
            retain_handling: RetainHandling::from_u8(byte >> RETAIN_HANDLING_SHIFT).ok_or(
                ProtocolError::violation("3.8.3.1", "a subscription has retain handling 3"),
            )?,
        })
    }
}

impl<'a> SubscriptionRequest<'a> {
    fn read(reader: &mut Reader<'a>, version: ProtocolVersion) -> Result<Self, ProtocolError> {
        let filter = reader.topic_filter()?;
        let options = SubscriptionOptions::decode(reader.u8()?, version)?;
        if options.no_local && filter.starts_with("$share/") {
            return Err(ProtocolError::violation(
                "MQTT-3.8.3-4",
                "a shared subscription has No Local",
            ));
        }
        Ok(Self { filter, options })
    }
}

/// A list that is either on the wire, where it was checked, or the caller's.
#[derive(Clone, Copy)]
enum List<'a, T> {
    Wire { bytes: &'a [u8], len: usize },
    Slice(&'a [T]),
}

impl<'a, T> List<'a, T> {
    /// Checks a list that goes on to the end of the packet.
    fn decode(
        reader: Reader<'a>,
        read: impl Fn(&mut Reader<'a>) -> Result<T, ProtocolError>,
        clause: &'static str,
    ) -> Result<Self, ProtocolError> {
        let bytes = reader.rest();
        let (mut rest, mut len) = (reader, 0);
        while !rest.is_empty() {
            read(&mut rest)?;
            len += 1;
        }
        if len == 0 {
            return Err(ProtocolError::violation(
                clause,
                "the packet lists no topic filter",
            ));
        }
        Ok(Self::Wire { bytes, len })
    }

    fn len(&self) -> usize {
        match self {
            Self::Wire { len, .. } => *len,
            Self::Slice(slice) => slice.len(),
        }
    }

    /// The part on the wire and the part in the slice, one of which is empty.
    fn parts(&self) -> (Reader<'a>, &'a [T]) {
        match *self {
            Self::Wire { bytes, .. } => (Reader::new(bytes), &[]),
            Self::Slice(slice) => (Reader::new(&[]), slice),
        }
    }
}

/// The entries of a SUBSCRIBE.
#[derive(Clone, Copy)]
pub struct Subscriptions<'a>(List<'a, SubscriptionRequest<'a>>);

impl<'a> Subscriptions<'a> {
    /// All entries in their order.
    pub fn iter(&self) -> impl Iterator<Item = SubscriptionRequest<'a>> + Clone + use<'a> {
        let (mut wire, slice) = self.0.parts();
        // What an older version allows says the same in MQTT 5, so the version need not be kept.
        core::iter::from_fn(move || SubscriptionRequest::read(&mut wire, ProtocolVersion::V5).ok())
            .chain(slice.iter().copied())
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "a decoded list is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'a> From<&'a [SubscriptionRequest<'a>]> for Subscriptions<'a> {
    fn from(requests: &'a [SubscriptionRequest<'a>]) -> Self {
        Self(List::Slice(requests))
    }
}

impl PartialEq for Subscriptions<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Subscriptions<'_> {}

impl fmt::Debug for Subscriptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The topic filters of an UNSUBSCRIBE.
#[derive(Clone, Copy)]
pub struct Filters<'a>(List<'a, &'a str>);

impl<'a> Filters<'a> {
    /// All filters in their order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let (mut wire, slice) = self.0.parts();
        core::iter::from_fn(move || wire.topic_filter().ok()).chain(slice.iter().copied())
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "a decoded list is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'a> From<&'a [&'a str]> for Filters<'a> {
    fn from(filters: &'a [&'a str]) -> Self {
        Self(List::Slice(filters))
    }
}

impl PartialEq for Filters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Filters<'_> {}

impl fmt::Debug for Filters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Subscribe<'a> {
    pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = Properties::decode(&mut reader, version, SUBSCRIBE)?;
        let read = |entry: &mut Reader<'a>| SubscriptionRequest::read(entry, version);
        let filters = Subscriptions(List::decode(reader, read, "MQTT-3.8.3-2")?);
        Ok(Self {
            packet_id,
            properties,
            filters,
        })
    }

    pub(super) fn write<S: Sink>(
        &self,
        version: ProtocolVersion,
        sink: &mut S,
    ) -> Result<(), EncodeError> {
        if self.filters.len() == 0 {
            return Err(EncodeError::EmptyList);
        }
        sink.u16(self.packet_id.get());
        self.properties.write(version, sink)?;
        self.filters.iter().try_for_each(|request| {
            sink.string(request.filter)?;
            sink.u8(match version {
                ProtocolVersion::V5 => request.options.to_u8(),
                ProtocolVersion::V3_1 | ProtocolVersion::V3_1_1 => request.options.qos as u8,
            });
            Ok(())
        })
    }
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = Properties::decode(&mut reader, version, UNSUBSCRIBE)?;
        let filters = Filters(List::decode(reader, Reader::topic_filter, "MQTT-3.10.3-2")?);
        Ok(Self {
            packet_id,
            properties,
            filters,
        })
    }

    pub(super) fn write<S: Sink>(
        &self,
        version: ProtocolVersion,
        sink: &mut S,
    ) -> Result<(), EncodeError> {
        if self.filters.len() == 0 {
            return Err(EncodeError::EmptyList);
        }
        sink.u16(self.packet_id.get());
        self.properties.write(version, sink)?;
        self.filters
            .iter()
            .try_for_each(|filter| sink.string(filter))
    }
}
