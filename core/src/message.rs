//! A message on its way from a publisher to the outboxes of its receivers.

use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use crate::packet::writer::Sink;
use crate::packet::{EncodeError, Properties, Property, ProtocolVersion, QoS};

/// From this size in bytes on, a payload is copied once and then referred to by every outbox.
/// Below it, a copy per receiver costs less than the chunk that a reference takes.
const SHARE: usize = 8192;

/// A message to be routed. It borrows everything; only what must outlive the call is copied.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: QoS,
    /// The RETAIN flag as published.
    pub(crate) retain: bool,
    /// The properties to pass on, encoded, without those that belong to one hop: topic alias and
    /// subscription identifiers.
    pub(crate) properties: &'a [u8],
    /// What is left of the message expiry interval in seconds, if `properties` does not have it.
    pub(crate) expiry: Option<u32>,
    /// The PUBLISH that it came in, if receivers of the same version can have it as it is.
    pub(crate) packet: Option<Original<'a>>,
}

/// A PUBLISH as it was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Original<'a> {
    /// The whole packet; its payload is the end of it.
    pub(crate) bytes: &'a [u8],
    pub(crate) version: ProtocolVersion,
}

/// A PUBLISH ready for an outbox.
pub(crate) struct Encoded<'a> {
    pub(crate) bytes: &'a [u8],
    /// The payload, if it is not in `bytes`.
    pub(crate) payload: Option<&'a Bytes>,
}

impl Encoded<'_> {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.payload.map_or(0, Bytes::len)
    }
}

/// Encodes one message for its receivers, each form only once.
///
/// The forms differ by protocol (with properties or without) and RETAIN flag. Where the packet that
/// came in is of the right form already, it is passed on as it is.
pub(crate) struct Encoder<'m, 's> {
    message: &'m Message<'m>,
    scratch: &'s mut Vec<u8>,
    forms: [Option<Range<usize>>; 4],
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
            forms: [const { None }; 4],
            kept: 0,
            payload: None,
        }
    }

    /// The message for a receiver of that version; `None` if the packet would be larger than a
    /// packet can be.
    #[inline]
    pub(crate) fn encode(
        &mut self,
        version: ProtocolVersion,
        retain: bool,
        identifiers: impl Iterator<Item = u32> + Clone,
    ) -> Option<Encoded<'_>> {
        let with_properties = version == ProtocolVersion::V5;
        let none = !with_properties || identifiers.clone().next().is_none();
        let message = self.message;
        if let Some(packet) = message.packet
            && none
            && (packet.version == ProtocolVersion::V5) == with_properties
            && packet.bytes.first() == Some(&first_byte(retain))
        {
            if message.payload.len() < SHARE {
                return Some(Encoded {
                    bytes: packet.bytes,
                    payload: None,
                });
            }
            let head = &packet.bytes[..packet.bytes.len() - message.payload.len()];
            return Some(Encoded {
                bytes: head,
                payload: Some(self.payload()),
            });
        }
        let form = usize::from(with_properties) << 1 | usize::from(retain);
        let range = match &self.forms[form] {
            Some(range) if none => range.clone(),
            _ => {
                self.scratch.truncate(self.kept);
                write_publish(self.scratch, message, with_properties, retain, identifiers).ok()?;
                if message.payload.len() < SHARE {
                    self.scratch.extend_from_slice(message.payload);
                }
                let range = self.kept..self.scratch.len();
                if none {
                    self.forms[form] = Some(range.clone());
                    self.kept = range.end;
                }
                range
            }
        };
        if message.payload.len() < SHARE {
            return Some(Encoded {
                bytes: &self.scratch[range],
                payload: None,
            });
        }
        self.payload();
        Some(Encoded {
            bytes: &self.scratch[range],
            payload: self.payload.as_ref(),
        })
    }

    fn payload(&mut self) -> &Bytes {
        let payload = self.message.payload;
        self.payload
            .get_or_insert_with(|| Bytes::copy_from_slice(payload))
    }
}

/// The first byte of a QoS 0 PUBLISH.
fn first_byte(retain: bool) -> u8 {
    0x30 | u8::from(retain)
}

/// Appends a QoS 0 PUBLISH up to its payload.
fn write_publish(
    out: &mut Vec<u8>,
    message: &Message<'_>,
    with_properties: bool,
    retain: bool,
    identifiers: impl Iterator<Item = u32> + Clone,
) -> Result<(), EncodeError> {
    let expiry = message.expiry.map(Property::MessageExpiryInterval);
    let added = expiry
        .into_iter()
        .chain(identifiers.map(Property::SubscriptionIdentifier));
    let mut properties = 0;
    let mut remaining = 2 + message.topic.len() + message.payload.len();
    if with_properties {
        properties = message.properties.len()
            + added
                .clone()
                .map(|property| property.wire_len())
                .sum::<usize>();
        remaining += length_of_length(properties) + properties;
    }
    out.u8(first_byte(retain));
    out.length(remaining)?;
    out.string(message.topic)?;
    if with_properties {
        out.length(properties)?;
        out.bytes(message.properties);
        for property in added {
            property.write(out)?;
        }
    }
    Ok(())
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

/// The properties of a message that is kept, encoded: those that go from end to end. The message
/// expiry interval is left out as well, since it has to be counted down.
pub(crate) fn owned_properties(properties: &Properties<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for property in properties.iter() {
        if passes_on(&property) && !matches!(property, Property::MessageExpiryInterval(_)) {
            // It was decoded from a packet, so it can be encoded.
            let _ = property.write(&mut out);
        }
    }
    out
}

/// Whether a property of a message goes to its receivers, rather than to the next hop or, in a
/// will, to the broker.
fn passes_on(property: &Property<'_>) -> bool {
    !matches!(
        property,
        Property::TopicAlias(_)
            | Property::SubscriptionIdentifier(_)
            | Property::WillDelayInterval(_)
    )
}
