//! PUBACK, PUBREC, PUBREL and PUBCOMP, which are alike.

use super::place::{PUBACK, PUBCOMP, PUBREC, PUBREL, Places};
use super::reader::Reader;
use super::writer::Sink;
use super::{EncodeError, PacketId, Properties, ProtocolError, ProtocolVersion, ReasonCode};

/// A step of the delivery of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack<'a> {
    /// The message's identifier.
    pub packet_id: PacketId,
    /// How it went. Before MQTT 5 it is not on the wire and always success.
    pub reason: ReasonCode,
    /// The properties.
    pub properties: Properties<'a>,
}

/// Which of the four it is.
#[derive(Clone, Copy)]
pub(super) enum AckKind {
    Ack,
    Rec,
    Rel,
    Comp,
}

impl AckKind {
    const fn place_and_clause(self) -> (Places, &'static str) {
        match self {
            Self::Ack => (PUBACK, "MQTT-3.4.2-1"),
            Self::Rec => (PUBREC, "MQTT-3.5.2-1"),
            Self::Rel => (PUBREL, "MQTT-3.6.2-1"),
            Self::Comp => (PUBCOMP, "MQTT-3.7.2-1"),
        }
    }
}

impl<'a> Ack<'a> {
    /// The plain one: success, nothing else to say.
    pub const fn success(packet_id: PacketId) -> Self {
        Self {
            packet_id,
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        }
    }

    #[inline]
    pub(super) fn decode(
        kind: AckKind,
        body: &'a [u8],
        version: ProtocolVersion,
    ) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        let mut ack = Self::success(reader.packet_id()?);
        if version == ProtocolVersion::V5 && !reader.is_empty() {
            let (place, clause) = kind.place_and_clause();
            ack.reason = ReasonCode::read(&mut reader, place, clause)?;
            if !reader.is_empty() {
                ack.properties = Properties::decode(&mut reader, version, place)?;
            }
        }
        reader.finish()?;
        Ok(ack)
    }

    #[inline]
    pub(super) fn write<S: Sink>(
        &self,
        version: ProtocolVersion,
        sink: &mut S,
    ) -> Result<(), EncodeError> {
        sink.u16(self.packet_id.get());
        write_ending(self.reason, &self.properties, version, sink)
    }
}

/// Writes a reason code and properties that end a packet: what says nothing is left out.
#[inline]
pub(super) fn write_ending<S: Sink>(
    reason: ReasonCode,
    properties: &Properties<'_>,
    version: ProtocolVersion,
    sink: &mut S,
) -> Result<(), EncodeError> {
    if version != ProtocolVersion::V5 || (reason == ReasonCode::Success && properties.is_empty()) {
        return Ok(());
    }
    sink.u8(reason as u8);
    if properties.is_empty() {
        return Ok(());
    }
    properties.write(version, sink)
}
