//! The fixed header: what kind of packet this is, and how long.

use super::reader::variable_byte_integer;
use super::{ProtocolError, ProtocolVersion, Sender};

/// The kinds of packets, with their numbers on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    #[inline]
    const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The lower half of the first byte, for all packets but PUBLISH (table 2-2).
    pub(super) const fn reserved_flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    /// The rule that fixes those flags.
    const fn flags_clause(self) -> &'static str {
        match self {
            Self::PubRel => "MQTT-3.6.1-1",
            Self::Subscribe => "MQTT-3.8.1-1",
            Self::Unsubscribe => "MQTT-3.10.1-1",
            Self::Disconnect => "MQTT-3.14.1-1",
            Self::Auth => "MQTT-3.15.1-1",
            _ => "MQTT-2.1.3-1",
        }
    }

    /// Whether `sender` may send it (table 2-1).
    const fn may_come_from(self, sender: Sender, version: ProtocolVersion) -> bool {
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::PingReq => {
                matches!(sender, Sender::Client)
            }
            Self::ConnAck | Self::SubAck | Self::UnsubAck | Self::PingResp => {
                matches!(sender, Sender::Server)
            }
            Self::Publish | Self::PubAck | Self::PubRec | Self::PubRel | Self::PubComp => true,
            Self::Disconnect => {
                matches!(sender, Sender::Client) || matches!(version, ProtocolVersion::V5)
            }
            Self::Auth => matches!(version, ProtocolVersion::V5),
        }
    }
}

/// The DUP bit of the first byte.
pub(super) const DUP: u8 = 0b1000;
/// The RETAIN bit of the first byte.
pub(super) const RETAIN: u8 = 0b0001;

/// The first two to five bytes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FixedHeader {
    /// What packet it is.
    pub packet_type: PacketType,
    /// The lower half of the first byte.
    pub flags: u8,
    /// The first byte as it came.
    pub first_byte: u8,
    /// How many bytes follow the header.
    pub remaining_length: u32,
    /// How many bytes the header itself has.
    pub header_len: usize,
}

impl FixedHeader {
    /// Reads the header at the start of `bytes`: `None` if more bytes are needed for that. What
    /// is wrong with the first byte is said as soon as it is there.
    ///
    /// Three things wait until the version is known: whether there is an AUTH, whether a PUBREL,
    /// SUBSCRIBE or UNSUBSCRIBE may carry DUP, as in MQTT 3.1, and whether a CONNECT may have
    /// flags, which that version does not use.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, ProtocolError> {
        let [first_byte, length_and_body @ ..] = bytes else {
            return Ok(None);
        };
        let packet_type = check_first_byte(*first_byte)?;
        let Some((remaining_length, length_of_length)) = variable_byte_integer(length_and_body)?
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            packet_type,
            flags: first_byte & 0x0f,
            first_byte: *first_byte,
            remaining_length,
            header_len: 1 + length_of_length,
        }))
    }

    /// How many bytes the whole packet has.
    #[inline]
    pub const fn packet_len(&self) -> usize {
        self.header_len + self.remaining_length as usize
    }

    /// What could not be judged without the version and the sender.
    #[inline]
    pub(super) fn check(
        &self,
        version: ProtocolVersion,
        sender: Sender,
    ) -> Result<(), ProtocolError> {
        // A CONNECT says its version itself.
        if matches!(self.packet_type, PacketType::Publish | PacketType::Connect) {
            return self.check_side(version, sender);
        }
        if self.packet_type == PacketType::Auth && version != ProtocolVersion::V5 {
            return Err(ProtocolError::malformed(
                "2.1.2",
                "packet type 15 is reserved before MQTT 5",
            ));
        }
        self.check_side(version, sender)?;
        let flags = match version {
            ProtocolVersion::V3_1 => self.flags & !DUP,
            ProtocolVersion::V3_1_1 | ProtocolVersion::V5 => self.flags,
        };
        if flags != self.packet_type.reserved_flags() {
            return Err(wrong_flags(self.packet_type));
        }
        Ok(())
    }

    #[inline]
    fn check_side(&self, version: ProtocolVersion, sender: Sender) -> Result<(), ProtocolError> {
        if self.packet_type.may_come_from(sender, version) {
            return Ok(());
        }
        Err(ProtocolError::violation(
            "2.1.2",
            "this side may not send this packet",
        ))
    }

    /// The flags of a CONNECT, once it has said its version: MQTT 3.1 does not use them.
    pub(super) fn check_connect(&self, version: ProtocolVersion) -> Result<(), ProtocolError> {
        if self.flags != PacketType::Connect.reserved_flags() && version != ProtocolVersion::V3_1 {
            return Err(wrong_flags(PacketType::Connect));
        }
        Ok(())
    }
}

#[inline]
fn check_first_byte(first_byte: u8) -> Result<PacketType, ProtocolError> {
    let packet_type = PacketType::from_u8(first_byte >> 4).ok_or(ProtocolError::malformed(
        "2.1.2",
        "packet type 0 is reserved",
    ))?;
    let flags = first_byte & 0x0f;
    if packet_type == PacketType::Publish {
        match (flags >> 1) & 0b11 {
            0 if flags & DUP != 0 => {
                return Err(ProtocolError::malformed(
                    "MQTT-3.3.1-2",
                    "a QoS 0 message is marked as a duplicate",
                ));
            }
            3 => return Err(QOS_3),
            _ => {}
        }
    } else if packet_type != PacketType::Connect {
        let reserved = packet_type.reserved_flags();
        if flags != reserved && (reserved == 0 || flags != reserved | DUP) {
            return Err(wrong_flags(packet_type));
        }
    }
    Ok(packet_type)
}

pub(super) const QOS_3: ProtocolError =
    ProtocolError::malformed("MQTT-3.3.1-4", "a message has QoS 3");

#[cold]
fn wrong_flags(packet_type: PacketType) -> ProtocolError {
    ProtocolError::malformed(
        packet_type.flags_clause(),
        "reserved flags of the fixed header are set wrongly",
    )
}
