//! The small vocabulary that all packets share: versions, levels of service, identifiers, sides.

use core::fmt;
use core::num::NonZeroU16;

/// A version of the protocol. The packets are the same types in all of them; what differs on the
/// wire is decided by this value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ProtocolVersion {
    /// MQTT 3.1 (IBM and Eurotech, 2010), which calls itself `MQIsdp`.
    V3_1,
    /// MQTT 3.1.1 (OASIS, 2014).
    V3_1_1,
    /// MQTT 5.0 (OASIS, 2019).
    V5,
}

impl ProtocolVersion {
    /// The protocol level as CONNECT carries it.
    pub const fn level(self) -> u8 {
        match self {
            Self::V3_1 => 3,
            Self::V3_1_1 => 4,
            Self::V5 => 5,
        }
    }

    /// The protocol name as CONNECT carries it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V3_1 => "MQIsdp",
            Self::V3_1_1 | Self::V5 => "MQTT",
        }
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3_1 => "MQTT 3.1",
            Self::V3_1_1 => "MQTT 3.1.1",
            Self::V5 => "MQTT 5.0",
        })
    }
}

/// How surely a message arrives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: sent once, never acknowledged.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: repeated until it is acknowledged.
    AtLeastOnce = 1,
    /// QoS 2: acknowledged in two steps, so that it arrives once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The level that `value` stands for; 3 and above stand for none.
    #[inline]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// A packet identifier, which is never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The first one.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// The identifier of this number; none for zero.
    #[inline]
    pub const fn new(id: u16) -> Option<Self> {
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who sent the packet that is decoded. Some packets, properties and reason codes may come from
/// one side only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sender {
    /// The packet came from a client.
    Client,
    /// The packet came from a server.
    Server,
}
