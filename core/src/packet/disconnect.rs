//! DISCONNECT and AUTH: a reason code and properties, nothing else.

use super::ack::write_ending;
use super::place::Places;
use super::reader::Reader;
use super::writer::Sink;
use super::{EncodeError, Properties, ProtocolError, ProtocolVersion, ReasonCode, Sender};

/// The last packet of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnect<'a> {
    /// Why it ends. Before MQTT 5 it is not on the wire and always a normal disconnection.
    pub reason: ReasonCode,
    /// The properties.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    pub(super) fn decode(
        body: &'a [u8],
        version: ProtocolVersion,
        sender: Sender,
    ) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        let mut disconnect = Self {
            reason: ReasonCode::NORMAL_DISCONNECTION,
            properties: Properties::EMPTY,
        };
        if version == ProtocolVersion::V5 && !reader.is_empty() {
            let place = Places::disconnect(sender);
            disconnect.reason = ReasonCode::read(&mut reader, place, "MQTT-3.14.2-1")?;
            if !reader.is_empty() {
                disconnect.properties = Properties::decode(&mut reader, version, place)?;
            }
        }
        reader.finish()?;
        Ok(disconnect)
    }

    pub(super) fn write<S: Sink>(
        &self,
        version: ProtocolVersion,
        sink: &mut S,
    ) -> Result<(), EncodeError> {
        write_ending(self.reason, &self.properties, version, sink)
    }
}

/// A step of an extended authentication; MQTT 5 only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Auth<'a> {
    /// Where the exchange stands.
    pub reason: ReasonCode,
    /// The properties, among them the method and the data.
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    pub(super) fn decode(body: &'a [u8], sender: Sender) -> Result<Self, ProtocolError> {
        const REASON_CLAUSE: &str = "MQTT-3.15.2-1";
        let place = Places::auth(sender);
        // Section 3.15.2.1 has an empty packet stand for success without properties, although
        // 3.15.2.2.2 asks for the method: the broker, which knows the method, decides.
        if body.is_empty() {
            let reason = ReasonCode::at(0, place).ok_or(ProtocolError::violation(
                REASON_CLAUSE,
                "a client says that authentication succeeded",
            ))?;
            return Ok(Self {
                reason,
                properties: Properties::EMPTY,
            });
        }
        let mut reader = Reader::new(body);
        let reason = ReasonCode::read(&mut reader, place, REASON_CLAUSE)?;
        let properties = Properties::decode(&mut reader, ProtocolVersion::V5, place)?;
        reader.finish()?;
        if properties.authentication_method().is_none() {
            return Err(ProtocolError::violation(
                "3.15.2.2.2",
                "AUTH has no authentication method",
            ));
        }
        Ok(Self { reason, properties })
    }

    pub(super) fn write<S: Sink>(
        &self,
        version: ProtocolVersion,
        sink: &mut S,
    ) -> Result<(), EncodeError> {
        if version != ProtocolVersion::V5 {
            return Err(EncodeError::NoSuchPacket);
        }
        if self.reason == ReasonCode::Success && self.properties.is_empty() {
            return Ok(());
        }
        sink.u8(self.reason as u8);
        self.properties.write(version, sink)
    }
}
