//! PUBLISH: an application message.

use super::header::{DUP, QOS_3, RETAIN};
use super::place::Places;
use super::reader::Reader;
use super::writer::Sink;
use super::{
    EncodeError, FixedHeader, PacketId, Properties, ProtocolError, ProtocolVersion, QoS,
    ReasonCode, Sender,
};

/// A message on its way to a server or from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publish<'a> {
    /// Whether it may have been sent before. Not written with QoS 0.
    pub dup: bool,
    /// How surely it is to arrive.
    pub qos: QoS,
    /// To the server: keep it for later subscribers. From it: it was kept.
    pub retain: bool,
    /// Where to; empty only beside a topic alias.
    pub topic: &'a str,
    /// There if and only if the QoS is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// The properties.
    pub properties: Properties<'a>,
    /// What it says.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Reads the body of a PUBLISH. The same as [`Packet::decode`](super::Packet::decode), without
    /// the detour through the larger type.
    #[inline]
    pub fn decode(
        header: &FixedHeader,
        body: &'a [u8],
        version: ProtocolVersion,
        sender: Sender,
    ) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        // What is wrong with the first byte is said first.
        let qos = qos_of(header)?;
        let topic = match reader.topic_name() {
            Ok(topic) => topic,
            Err(Some(error)) => return Err(error),
            Err(None) => {
                return Err(ProtocolError::new(
                    ReasonCode::TopicNameInvalid,
                    "MQTT-3.3.2-2",
                    "the topic name contains a wildcard",
                ));
            }
        };
        Self::decode_after(header, qos, topic, reader, version, sender)
    }

    /// The same for a packet whose topic is known to be this one.
    #[inline]
    pub(crate) fn decode_known(
        header: &FixedHeader,
        body: &'a [u8],
        topic: &'a str,
        version: ProtocolVersion,
        sender: Sender,
    ) -> Result<Self, ProtocolError> {
        let qos = qos_of(header)?;
        let mut reader = Reader::new(body);
        reader.string_bytes()?;
        Self::decode_after(header, qos, topic, reader, version, sender)
    }

    /// The topic of a packet as it came: what is wrong with it is for [`Publish::decode`] to say.
    #[inline]
    pub(crate) fn topic_bytes(body: &'a [u8]) -> Option<&'a [u8]> {
        Reader::new(body).string_bytes().ok()
    }

    #[inline]
    fn decode_after(
        header: &FixedHeader,
        qos: QoS,
        topic: &'a str,
        mut reader: Reader<'a>,
        version: ProtocolVersion,
        sender: Sender,
    ) -> Result<Self, ProtocolError> {
        let flags = header.flags;
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id()?),
        };
        let properties = Properties::decode(&mut reader, version, Places::publish(sender))?;
        if topic.is_empty() && properties.topic_alias().is_none() {
            return Err(ProtocolError::violation(
                "MQTT-4.7.3-1",
                "the topic name is empty and there is no topic alias",
            ));
        }
        Ok(Self {
            dup: flags & DUP != 0,
            qos,
            retain: flags & RETAIN != 0,
            topic,
            packet_id,
            properties,
            payload: reader.rest(),
        })
    }

    pub(super) fn flags(&self) -> u8 {
        let dup = self.dup && self.qos > QoS::AtMostOnce;
        (if dup { DUP } else { 0 })
            | ((self.qos as u8) << 1)
            | (if self.retain { RETAIN } else { 0 })
    }

    #[inline]
    pub(super) fn write<S: Sink>(
        &self,
        version: ProtocolVersion,
        sink: &mut S,
    ) -> Result<(), EncodeError> {
        sink.string(self.topic)?;
        match (self.qos, self.packet_id) {
            (QoS::AtMostOnce, None) => {}
            (QoS::AtLeastOnce | QoS::ExactlyOnce, Some(id)) => sink.u16(id.get()),
            _ => return Err(EncodeError::PacketIdMismatch),
        }
        self.properties.write(version, sink)?;
        sink.bytes(self.payload);
        Ok(())
    }
}

#[inline]
fn qos_of(header: &FixedHeader) -> Result<QoS, ProtocolError> {
    QoS::from_u8((header.flags >> 1) & 0b11).ok_or(QOS_3)
}
