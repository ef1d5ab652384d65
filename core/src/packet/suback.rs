//! SUBACK and UNSUBACK: one reason code per topic filter.

use super::place::{Places, SUBACK, UNSUBACK};
use super::reader::Reader;
use super::writer::Sink;
use super::{EncodeError, PacketId, Properties, ProtocolError, ProtocolVersion, ReasonCode};

/// The server's answer to a SUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubAck<'a> {
    /// The number of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// The properties.
    pub properties: Properties<'a>,
    /// A reason code for each filter, in their order: the QoS granted, or why there is none.
    pub reasons: &'a [u8],
}

/// The server's answer to an UNSUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnsubAck<'a> {
    /// The number of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// The properties.
    pub properties: Properties<'a>,
    /// A reason code for each filter, in their order; none before MQTT 5.
    pub reasons: &'a [u8],
}

impl<'a> SubAck<'a> {
    /// The reason codes. A byte that is none counts as an unspecified error; decoding refuses it.
    pub fn reason_codes(&self) -> impl Iterator<Item = ReasonCode> + Clone + use<'a> {
        reason_codes(self.reasons)
    }

    pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = Properties::decode(&mut reader, version, SUBACK)?;
        let allowed_v3 = match version {
            ProtocolVersion::V3_1 => &[0, 1, 2][..],
            ProtocolVersion::V3_1_1 | ProtocolVersion::V5 => &[0, 1, 2, 0x80],
        };
        let reasons = check_reasons(reader.rest(), "MQTT-3.9.3-2", |code| {
            if version == ProtocolVersion::V5 {
                is_reason(code, SUBACK)
            } else {
                allowed_v3.contains(&code)
            }
        })?;
        Ok(Self {
            packet_id,
            properties,
            reasons,
        })
    }

    pub(super) fn write<S: Sink>(
        &self,
        version: ProtocolVersion,
        sink: &mut S,
    ) -> Result<(), EncodeError> {
        if self.reasons.is_empty() {
            return Err(EncodeError::EmptyList);
        }
        sink.u16(self.packet_id.get());
        self.properties.write(version, sink)?;
        match version {
            ProtocolVersion::V5 => sink.bytes(self.reasons),
            ProtocolVersion::V3_1_1 => {
                // There is one code for all failures.
                self.reasons.iter().for_each(|&r| sink.u8(r.min(0x80)));
            }
            ProtocolVersion::V3_1 => {
                // There is none: the server has to answer as if it had granted something.
                self.reasons
                    .iter()
                    .for_each(|&r| sink.u8(if r > 2 { 0 } else { r }));
            }
        }
        Ok(())
    }
}

impl<'a> UnsubAck<'a> {
    /// The reason codes. A byte that is none counts as an unspecified error; decoding refuses it.
    pub fn reason_codes(&self) -> impl Iterator<Item = ReasonCode> + Clone + use<'a> {
        reason_codes(self.reasons)
    }

    pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = Properties::decode(&mut reader, version, UNSUBACK)?;
        let reasons = if version == ProtocolVersion::V5 {
            let allowed = |code| is_reason(code, UNSUBACK);
            check_reasons(reader.rest(), "MQTT-3.11.3-2", allowed)?
        } else {
            reader.finish()?;
            &[]
        };
        Ok(Self {
            packet_id,
            properties,
            reasons,
        })
    }

    pub(super) fn write<S: Sink>(
        &self,
        version: ProtocolVersion,
        sink: &mut S,
    ) -> Result<(), EncodeError> {
        sink.u16(self.packet_id.get());
        self.properties.write(version, sink)?;
        if version == ProtocolVersion::V5 {
            if self.reasons.is_empty() {
                return Err(EncodeError::EmptyList);
            }
            sink.bytes(self.reasons);
        }
        Ok(())
    }
}

fn reason_codes(reasons: &[u8]) -> impl Iterator<Item = ReasonCode> + Clone {
    let code = |&code: &u8| ReasonCode::from_u8(code).unwrap_or(ReasonCode::UnspecifiedError);
    reasons.iter().map(code)
}

fn is_reason(code: u8, place: Places) -> bool {
    ReasonCode::at(code, place).is_some()
}

fn check_reasons<'a>(
    reasons: &'a [u8],
    clause: &'static str,
    allowed: impl Fn(u8) -> bool,
) -> Result<&'a [u8], ProtocolError> {
    if reasons.is_empty() {
        return Err(ProtocolError::violation(
            clause,
            "the packet has no reason code",
        ));
    }
    if !reasons.iter().all(|&code| allowed(code)) {
        return Err(ProtocolError::violation(
            clause,
            "this packet may not carry this reason code",
        ));
    }
    Ok(reasons)
}
