//! PUBLISH packets for many receivers, each form encoded once.

use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use super::{Encoded, Message, Payload, SHARE, TOGETHER};
use crate::packet::writer::Sink;
use crate::packet::{EncodeError, PacketId, Property, ProtocolVersion, QoS};

/// What the first bytes of a PUBLISH say beside its topic, for one receiver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Whether it is sent because it was retained, rather than because it was published.
    pub(crate) replayed: bool,
    pub(crate) dup: bool,
    /// There if and only if the QoS is 1 or 2.
    pub(crate) packet_id: Option<PacketId>,
}

impl Head {
    /// A message that is published now, at QoS 0.
    pub(crate) const fn at_most_once(retain: bool) -> Self {
        Self {
            qos: QoS::AtMostOnce,
            retain,
            replayed: false,
            dup: false,
            packet_id: None,
        }
    }

    /// As a client of that version hears it: before MQTT 5 there is no Retain As Published (3.1.1
    /// [MQTT-3.3.1-9]), although a session may have it from a connection of MQTT 5.
    #[inline]
    pub(crate) fn heard_by(mut self, version: ProtocolVersion) -> Self {
        self.retain &= self.replayed || version == ProtocolVersion::V5;
        self
    }

    fn first_byte(self) -> u8 {
        0x30 | u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain)
    }
}

/// What a receiver's topic alias does for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alias {
    /// Nothing.
    None,
    /// From this packet on, the alias stands for the topic.
    Set(u16),
    /// The alias stands for the topic, which is left out.
    Use(u16),
}

/// A packet without its payload in the scratch buffer.
#[derive(Clone, Debug)]
struct Form {
    range: Range<usize>,
    /// Where the packet identifier stands, counted from the start of the packet.
    id_at: usize,
}

/// Encodes one message for its receivers, each form only once.
///
/// The forms differ by protocol (with properties or without), RETAIN flag, and whether there is a
/// packet identifier. Where the packet that came in is of the right form already, it is passed on
/// as it is.
pub(crate) struct Encoder<'m, 's> {
    message: &'m Message<'m>,
    scratch: &'s mut Vec<u8>,
    forms: [Option<Form>; 8],
    /// How much of the scratch buffer the forms take; what is behind it served one receiver only.
    kept: usize,
    payload: Option<Bytes>,
}

impl<'m, 's> Encoder<'m, 's> {
    pub(crate) fn new(message: &'m Message<'m>, scratch: &'s mut Vec<u8>) -> Self {
        scratch.clear();
        Self {
            message,
            scratch,
            forms: [const { None }; 8],
            kept: 0,
            payload: None,
        }
    }

    pub(crate) fn message(&self) -> &'m Message<'m> {
        self.message
    }

    /// The message for a receiver of that version; `None` if the packet would be larger than a
    /// packet can be.
    #[inline]
    pub(crate) fn encode(
        &mut self,
        version: ProtocolVersion,
        head: Head,
        alias: Alias,
        identifiers: impl Iterator<Item = u32> + Clone,
    ) -> Option<Encoded<'_>> {
        let with_properties = version == ProtocolVersion::V5;
        let plain =
            !with_properties || (alias == Alias::None && identifiers.clone().next().is_none());
        let message = self.message;
        if let Some(packet) = message.packet
            && plain
            && head.packet_id.is_none()
            && (packet.version == ProtocolVersion::V5) == with_properties
            && packet.bytes.first() == Some(&head.first_byte())
        {
            if message.payload.len() < SHARE {
                return Some(Encoded {
                    bytes: packet.bytes,
                    payload: Payload::Within,
                });
            }
            let bytes = &packet.bytes[..packet.bytes.len() - message.payload.len()];
            return Some(Encoded {
                bytes,
                payload: Payload::Shared(self.payload()),
            });
        }
        let form = self.form(with_properties, plain, head, alias, identifiers)?;
        if message.payload.len() >= SHARE {
            self.payload();
        }
        let packet = self.scratch.get_mut(form.range)?;
        if let Some(id) = head.packet_id {
            *packet.first_mut()? = head.first_byte();
            packet
                .get_mut(form.id_at..form.id_at + 2)?
                .copy_from_slice(&id.get().to_be_bytes());
        }
        let payload = match (&self.payload, message.payload.len()) {
            (_, ..=TOGETHER) => Payload::Within,
            (Some(payload), SHARE..) => Payload::Shared(payload),
            _ => Payload::Behind(message.payload),
        };
        Some(Encoded {
            bytes: packet,
            payload,
        })
    }

    /// The form in the scratch buffer, which is made if it is not there yet.
    #[inline]
    fn form(
        &mut self,
        with_properties: bool,
        plain: bool,
        head: Head,
        alias: Alias,
        identifiers: impl Iterator<Item = u32> + Clone,
    ) -> Option<Form> {
        let number = usize::from(head.packet_id.is_some()) << 2
            | usize::from(with_properties) << 1
            | usize::from(head.retain);
        if plain && let Some(form) = &self.forms[number] {
            return Some(form.clone());
        }
        self.scratch.truncate(self.kept);
        let alias = if with_properties { alias } else { Alias::None };
        let received =
            self.message.packet.filter(|_| plain).and_then(|packet| {
                packet.acknowledged_as(with_properties, head.packet_id.is_some())
            });
        let id_at = match received {
            Some((packet, id_at)) => {
                let content = match self.message.payload.len() {
                    ..=TOGETHER => packet.len(),
                    large => packet.len() - large,
                };
                self.scratch.extend_from_slice(packet.get(..content)?);
                id_at
            }
            None => {
                let id_at = write_publish(
                    self.scratch,
                    self.message,
                    with_properties,
                    head,
                    alias,
                    identifiers,
                )
                .ok()?;
                if self.message.payload.len() <= TOGETHER {
                    self.scratch.extend_from_slice(self.message.payload);
                }
                id_at
            }
        };
        let form = Form {
            range: self.kept..self.scratch.len(),
            id_at,
        };
        if plain {
            self.forms[number] = Some(form.clone());
            self.kept = form.range.end;
        }
        Some(form)
    }

    fn payload(&mut self) -> &Bytes {
        let message = self.message;
        self.payload.get_or_insert_with(|| match message.shared {
            Some(kept) => kept.share_payload(),
            None => Bytes::copy_from_slice(message.payload),
        })
    }

    /// Lets the packets refer to a payload that was copied already.
    pub(crate) fn share(&mut self, kept: &super::Kept) {
        if self.message.payload.len() >= SHARE {
            self.payload.get_or_insert_with(|| kept.share_payload());
        }
    }
}

/// Appends a PUBLISH up to its payload. Returns where its packet identifier stands.
fn write_publish(
    out: &mut Vec<u8>,
    message: &Message<'_>,
    with_properties: bool,
    head: Head,
    alias: Alias,
    identifiers: impl Iterator<Item = u32> + Clone,
) -> Result<usize, EncodeError> {
    let expiry = message.expiry.map(Property::MessageExpiryInterval);
    let (topic, alias) = match alias {
        Alias::None => (message.topic, None),
        Alias::Set(alias) => (message.topic, core::num::NonZeroU16::new(alias)),
        Alias::Use(alias) => ("", core::num::NonZeroU16::new(alias)),
    };
    let added = expiry
        .into_iter()
        .chain(alias.map(Property::TopicAlias))
        .chain(identifiers.map(Property::SubscriptionIdentifier));
    let start = out.len();
    let mut properties = 0;
    let mut remaining = 2 + topic.len() + message.payload.len();
    if head.packet_id.is_some() {
        remaining += 2;
    }
    if with_properties {
        properties = message.properties.len()
            + added
                .clone()
                .map(|property| property.wire_len())
                .sum::<usize>();
        remaining += length_of_length(properties) + properties;
    }
    out.u8(head.first_byte());
    out.length(remaining)?;
    out.string(topic)?;
    let id_at = out.len() - start;
    if let Some(id) = head.packet_id {
        out.u16(id.get());
    }
    if with_properties {
        out.length(properties)?;
        out.bytes(message.properties);
        for property in added {
            property.write(out)?;
        }
    }
    Ok(id_at)
}

/// How many bytes a variable byte integer takes (section 1.5.5).
fn length_of_length(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}
