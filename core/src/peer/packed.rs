//! Small messages on their way to a peer, one behind the other in one buffer.
//!
//! A message of its own costs an allocation here and a release at the peer, on another thread: more
//! than to copy it. So what is small and needs nothing but to be handed out is copied, as it was
//! received if receivers may have it like that.

use alloc::vec::Vec;
use core::fmt;

use super::Change;
use crate::message::{Message, Original};
use crate::packet::{ProtocolVersion, QoS};

/// Larger messages go by themselves: their payloads are referred to.
const SMALL: usize = 2048;

/// A buffer of so many bytes is full.
const FULL: usize = 64 << 10;

/// The bytes before each message.
const HEADER: usize = 24;

const RETAIN: u8 = 4;

/// Whether it is for those who have subscribed by themselves.
const PLAIN: u8 = 1;
/// Whether it changes what is retained, which takes the version's bytes more, and keeps something.
const CHANGE: u8 = 2;
const KEEPS: u8 = 4;

/// Messages in one buffer, in order.
pub struct Packed {
    bytes: Vec<u8>,
    count: u32,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackedMessage<'a> {
    /// Its number in the link, if its sender wants to know what became of it; else 0.
    pub(crate) number: u64,
    /// Its topic, which was text when it was packed.
    pub(crate) topic: &'a [u8],
    /// All else of it.
    pub(crate) message: Message<'a>,
    /// Whether it is for those who have subscribed by themselves.
    pub(crate) plain: bool,
    /// What it does to what is retained of its topic.
    pub(crate) change: Option<Change>,
}

/// What a message may be packed as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packable<'a> {
    message: &'a Message<'a>,
    change: Option<Change>,
    /// The packet that it came in, and where in it the topic begins.
    original: Option<(Original<'a>, u8)>,
}

impl<'a> Packable<'a> {
    /// `None` if it is too large, or if more belongs to it than its bytes.
    pub(crate) fn new(message: &'a Message<'a>, change: Option<Change>) -> Option<Self> {
        if message.len() > SMALL || message.shared.is_some() || message.expiry.is_some() {
            return None;
        }
        if message.properties.is_empty() {
            let original = message.packet.filter(|_| message.qos == QoS::AtMostOnce);
            let original = original.and_then(|packet| {
                let at = packet.topic_at();
                let behind = packet.bytes.get(at..)?;
                let is_there = behind.starts_with(message.topic.as_bytes());
                Some((packet, u8::try_from(at).ok().filter(|_| is_there)?))
            });
            return Some(Self {
                message,
                change,
                original,
            });
        }
        let properties = crate::packet::Properties::from_kept_wire(message.properties);
        properties
            .message_expiry_interval()
            .is_none()
            .then_some(Self {
                message,
                change,
                original: None,
            })
    }
}

impl Packed {
    /// Room for messages.
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            count: 0,
        }
    }

    /// Whether others need a buffer of their own.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }

    /// How many bytes there are, headers included.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes one of them takes.
    pub(crate) fn len_of(it: &Packable<'_>) -> usize {
        let content = it
            .original
            .map_or(it.message.len(), |(packet, _)| packet.bytes.len());
        HEADER + content + it.change.map_or(0, |_| size_of::<u64>())
    }

    /// Appends a message.
    pub(crate) fn push(&mut self, it: &Packable<'_>, number: u64, plain: bool) {
        let Packable {
            message,
            change,
            original,
        } = it;
        let retain = if message.retain { RETAIN } else { 0 };
        let (level, at) = original.map_or((0, 0), |(packet, at)| (packet.version.level(), at));
        // All of them are small.
        let small = |len: usize| u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes();
        self.bytes.reserve(Self::len_of(it));
        let content = original.map_or(message.len(), |(packet, _)| packet.bytes.len());
        let mut more = if plain { PLAIN } else { 0 };
        if let Some(change) = change {
            more |= CHANGE | if change.keeps { KEEPS } else { 0 };
        }
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self.bytes
            .extend_from_slice(&[message.qos as u8 | retain, level, at, more]);
        for len in [
            message.topic.len(),
            message.properties.len(),
            message.payload.len(),
            content,
        ] {
            self.bytes.extend_from_slice(&small(len));
        }
        self.bytes.extend_from_slice(&[0; 4]);
        if let Some(change) = change {
            self.bytes.extend_from_slice(&change.version.to_le_bytes());
        }
        match original {
            Some((packet, _)) => self.bytes.extend_from_slice(packet.bytes),
            None => {
                self.bytes.extend_from_slice(message.topic.as_bytes());
                self.bytes.extend_from_slice(message.properties);
                self.bytes.extend_from_slice(message.payload);
            }
        }
        self.count += 1;
    }

    /// The messages, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = PackedMessage<'_>> {
        let mut rest = &self.bytes[..];
        core::iter::from_fn(move || {
            let (message, behind) = take(rest)?;
            rest = behind;
            Some(message)
        })
    }
}

/// The first message of `bytes`, and what is behind it.
fn take(bytes: &[u8]) -> Option<(PackedMessage<'_>, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    let ([flags, level, at, more], rest) = rest.split_first_chunk::<4>()?;
    let (lens, rest) = rest.split_first_chunk::<8>()?;
    let len = |n: usize| usize::from(u16::from_le_bytes([lens[2 * n], lens[2 * n + 1]]));
    let mut rest = rest.get(4..)?;
    let mut change = None;
    if more & CHANGE != 0 {
        let (version, after) = rest.split_first_chunk::<8>()?;
        change = Some(Change {
            version: u64::from_le_bytes(*version),
            keeps: more & KEEPS != 0,
        });
        rest = after;
    }
    let (content, behind) = rest.split_at_checked(len(3))?;
    let (topic, after) = content.get(usize::from(*at)..)?.split_at_checked(len(0))?;
    let payload = content.get(content.len().checked_sub(len(2))?..)?;
    let message = Message {
        topic: "",
        known: None,
        payload,
        qos: QoS::from_u8(flags & !RETAIN)?,
        retain: flags & RETAIN != 0,
        properties: after.get(..len(1))?,
        expiry: None,
        packet: version(*level).map(|version| Original {
            bytes: content,
            version,
        }),
        shared: None,
    };
    let number = u64::from_le_bytes(*number);
    let packed = PackedMessage {
        number,
        topic,
        message,
        plain: more & PLAIN != 0,
        change,
    };
    Some((packed, behind))
}

fn version(level: u8) -> Option<ProtocolVersion> {
    use ProtocolVersion::{V3_1, V3_1_1, V5};
    [V3_1, V3_1_1, V5]
        .into_iter()
        .find(|version| version.level() == level)
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec;

    use super::*;

    fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
        Message {
            topic,
            known: None,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            properties: &[],
            expiry: None,
            packet: None,
            shared: None,
        }
    }

    fn change(number: usize) -> Change {
        Change {
            version: number as u64 + (1 << 40),
            keeps: number > 1,
        }
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        let mut packed = Packed::new();
        let packet = b"\x30\x05\0\x01tab".to_vec();
        let topic = core::str::from_utf8(&packet[4..5]).unwrap();
        let as_received = Message {
            packet: Some(Original {
                bytes: &packet,
                version: ProtocolVersion::V3_1_1,
            }),
            ..message(topic, &packet[5..])
        };
        let aliased = Message {
            topic: "alias",
            ..as_received
        };
        let property = [3, 0, 1, b'x'];
        let of_qos_1 = Message {
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: &property,
            ..message("topic", b"")
        };
        let all = [as_received, aliased, of_qos_1, message("/", &[7; 2047])];
        for (number, message) in all.iter().enumerate() {
            let change = (number % 2 == 1).then_some(change(number));
            let packable = Packable::new(message, change).unwrap();
            packed.push(&packable, number as u64 * 1000, number != 2);
        }
        assert_eq!(packed.count(), 4);
        for (n, (got, sent)) in packed.iter().zip(&all).enumerate() {
            assert_eq!(got.number, n as u64 * 1000);
            assert_eq!(got.plain, n != 2);
            assert_eq!(got.change, (n % 2 == 1).then_some(change(n)));
            let it = got.message;
            assert_eq!(got.topic, sent.topic.as_bytes());
            assert_eq!(it.payload, sent.payload);
            assert_eq!((it.qos, it.retain), (sent.qos, sent.retain));
            assert_eq!(it.properties, sent.properties);
            let original = it.packet.map(|it| (it.bytes, it.version));
            let expected = (n == 0).then_some((&packet[..], ProtocolVersion::V3_1_1));
            assert_eq!(original, expected);
        }
        assert_eq!(packed.iter().count(), 4);
    }

    #[test]
    fn what_is_large_or_expires_goes_by_itself() {
        let large = vec![0; SMALL];
        assert!(Packable::new(&message("t", &large), None).is_none());
        let expiry = [2, 0, 0, 0, 9];
        for message in [
            Message {
                expiry: Some(1),
                ..message("t", b"")
            },
            Message {
                properties: &expiry,
                ..message("t", b"")
            },
        ] {
            assert!(Packable::new(&message, None).is_none());
        }
        let topic = String::from("t");
        assert!(Packable::new(&message(&topic, b""), None).is_some());
    }
}
