//! CONNACK: the server's answer to CONNECT.

use super::place::CONNACK;
use super::reader::Reader;
use super::writer::Sink;
use super::{EncodeError, Properties, ProtocolError, ProtocolVersion, ReasonCode};

/// The server accepts a connection, or refuses it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnAck<'a> {
    /// Whether the server goes on with an earlier session. MQTT 3.1 cannot say it.
    pub session_present: bool,
    /// Whether the client is connected, or why not.
    pub reason: ReasonCode,
    /// The properties.
    pub properties: Properties<'a>,
}

impl<'a> ConnAck<'a> {
    pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        let flags = reader.u8()?;
        let session_present = match (version, flags) {
            (_, 0) => false,
            (ProtocolVersion::V3_1_1 | ProtocolVersion::V5, 1) => true,
            _ => {
                return Err(ProtocolError::malformed(
                    "MQTT-3.2.2-1",
                    "reserved bits of the connect acknowledge flags are set",
                ));
            }
        };
        let reason = if version == ProtocolVersion::V5 {
            ReasonCode::read(&mut reader, CONNACK, "MQTT-3.2.2-8")?
        } else {
            ReasonCode::from_connack_v3(reader.u8()?).ok_or(ProtocolError::violation(
                "3.2.2.3",
                "there is no such return code before MQTT 5",
            ))?
        };
        if session_present && reason != ReasonCode::Success {
            return Err(ProtocolError::violation(
                "MQTT-3.2.2-6",
                "a connection is refused and a session said to be present",
            ));
        }
        let properties = Properties::decode(&mut reader, version, CONNACK)?;
        reader.finish()?;
        Ok(Self {
            session_present,
            reason,
            properties,
        })
    }

    pub(super) fn write<S: Sink>(
        &self,
        version: ProtocolVersion,
        sink: &mut S,
    ) -> Result<(), EncodeError> {
        let can_say = version != ProtocolVersion::V3_1;
        sink.u8((self.session_present && can_say).into());
        sink.u8(match version {
            ProtocolVersion::V5 => self.reason as u8,
            ProtocolVersion::V3_1 | ProtocolVersion::V3_1_1 => self.reason.connack_v3(),
        });
        self.properties.write(version, sink)
    }
}
