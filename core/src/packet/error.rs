//! What can be wrong with a packet: the peer's fault when decoding, the caller's when encoding.

use super::ReasonCode;

/// A packet broke the protocol. It is always the peer's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} ({clause}): {reason}")]
pub struct ProtocolError {
    /// The reason code a CONNACK or DISCONNECT of MQTT 5 gives for it.
    pub reason: ReasonCode,
    /// The clause of the specification (`MQTT-1.5.4-1`), or its section where no clause is
    /// numbered (`2.2.2.2`). Those of MQTT 5, unless only an older version has the rule.
    pub clause: &'static str,
    /// What is wrong, as a short sentence.
    pub what: &'static str,
}

impl ProtocolError {
    /// An error with a reason code of its own.
    #[inline]
    pub const fn new(reason: ReasonCode, clause: &'static str, what: &'static str) -> Self {
        Self {
            reason,
            clause,
            what,
        }
    }

    /// A Malformed Packet: it cannot be parsed.
    #[inline]
    pub const fn malformed(clause: &'static str, what: &'static str) -> Self {
        Self::new(ReasonCode::MalformedPacket, clause, what)
    }

    /// A Protocol Error: it can be parsed, and may not be sent.
    #[inline]
    pub const fn violation(clause: &'static str, what: &'static str) -> Self {
        Self::new(ReasonCode::ProtocolError, clause, what)
    }
}

/// A packet that the wire cannot express. It is always the caller's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// The length of a string or of binary data has 16 bits.
    #[error("a field is longer than 65,535 bytes")]
    FieldTooLong,
    /// A variable byte integer has 28 bits (the length of a packet or of its properties, a
    /// subscription identifier), a subscription identifier is not 0, a maximum QoS is not 2.
    #[error("a number or a length is out of its range")]
    OutOfRange,
    /// A PUBLISH has a packet identifier if and only if its QoS is 1 or 2.
    #[error("a packet identifier goes with QoS 1 and 2, and only with them")]
    PacketIdMismatch,
    /// Lists of filters and of reason codes have at least one entry.
    #[error("the packet lists nothing")]
    EmptyList,
    /// MQTT 3.1 and 3.1.1 allow a password only beside a user name.
    #[error("a password without a user name, before MQTT 5")]
    PasswordWithoutUserName,
    /// There is no AUTH before MQTT 5.
    #[error("this version has no such packet")]
    NoSuchPacket,
}
