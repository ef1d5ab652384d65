//! A message on its way from a publisher to its receivers.
//!
//! A [`Message`] borrows all it has and lives as long as one call. A [`Kept`] one owns its bytes
//! and is shared by all who wait for it. The [`Encoder`] makes PUBLISH packets of either.

mod encoder;
mod kept;

use alloc::vec::Vec;

use bytes::Bytes;

use crate::known::KnownTopic;
use crate::packet::{Properties, Property, ProtocolVersion, QoS};
use crate::session::Session;

pub(crate) use encoder::{Alias, Encoder, Head};
pub(crate) use kept::{Kept, expiry_left};

/// From this size in bytes on, a payload is copied once and then referred to by every outbox.
/// Below it, a copy per receiver costs less than the chunk that a reference takes.
const SHARE: usize = 8192;

/// Up to this size in bytes, a payload is copied together with what goes before it.
const TOGETHER: usize = 256;

/// A message to be routed. It borrows everything; only what must outlive the call is copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) topic: &'a str,
    /// What is known of the topic, if that is up to date.
    pub(crate) known: Option<&'a KnownTopic>,
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
    /// The payload once more, if it can be referred to without a copy.
    pub(crate) shared: Option<&'a Kept>,
}

/// A PUBLISH as it was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Original<'a> {
    /// The whole packet; its payload is the end of it.
    pub(crate) bytes: &'a [u8],
    pub(crate) version: ProtocolVersion,
}

impl<'a> Original<'a> {
    /// The packet, and where in it the packet identifier is, if a receiver can have it but for that
    /// and its first byte: if it has properties or not, as asked, and an identifier, too.
    #[inline]
    pub(crate) fn acknowledged_as(
        &self,
        with_properties: bool,
        with_id: bool,
    ) -> Option<(&'a [u8], usize)> {
        let first = self.bytes.first()?;
        let has_id = first & 0b0110 != 0;
        if !with_id || !has_id || (self.version == ProtocolVersion::V5) != with_properties {
            return None;
        }
        let at = self.topic_at();
        let len = self.bytes.get(at - 2..)?.first_chunk()?;
        Some((self.bytes, at + usize::from(u16::from_be_bytes(*len))))
    }

    /// Where in it the topic begins: behind its first byte, its length and the topic's.
    #[inline]
    pub(crate) fn topic_at(&self) -> usize {
        let length = self.bytes.iter().skip(1).take(4);
        4 + length.take_while(|byte| **byte & 0x80 != 0).count()
    }
}

impl Message<'_> {
    /// It does not go to a session that it was for. If it is retained, by this change, replays that
    /// are under way must not take for granted that it came live.
    pub(crate) fn missed_by(&self, session: &mut Session, change: u64) {
        if self.retain {
            session.missed(change);
        }
    }

    /// How many bytes it counts for where it is kept: topic, properties and payload.
    pub(crate) fn len(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
    }
}

/// A PUBLISH ready for an outbox.
pub(crate) struct Encoded<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) payload: Payload<'a>,
}

/// Where the payload of a packet is.
pub(crate) enum Payload<'a> {
    /// Among its bytes.
    Within,
    /// Behind them, to be copied.
    Behind(&'a [u8]),
    /// The same, to be referred to.
    Shared(&'a Bytes),
}

impl Encoded<'_> {
    pub(crate) fn len(&self) -> usize {
        let behind = match self.payload {
            Payload::Within => 0,
            Payload::Behind(payload) => payload.len(),
            Payload::Shared(payload) => payload.len(),
        };
        self.bytes.len() + behind
    }
}

/// The properties of a message that is kept, encoded: those that go from end to end. The message
/// expiry interval is left out as well, since it has to be counted down.
pub(crate) fn owned_properties(properties: &Properties<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write_owned(properties, &mut out);
    out
}

/// Appends those properties to `out`.
pub(crate) fn write_owned(properties: &Properties<'_>, out: &mut Vec<u8>) {
    for property in properties.iter() {
        if passes_on(&property) && !matches!(property, Property::MessageExpiryInterval(_)) {
            // It was decoded from a packet, so it can be encoded.
            let _ = property.write(out);
        }
    }
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
