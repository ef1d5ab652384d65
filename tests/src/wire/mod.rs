//! MQTT's wire format once more, small and by hand.
//!
//! The end-to-end tests must not read and write packets with the codec they test: an error in it
//! would stand on both sides and cancel out. So this module shares no line with `wherry-core`. What
//! the tests send is built from raw pieces, which also lets them build what is wrong; what they
//! receive is parsed strictly, so that every test checks the form of every packet it gets.

mod decode;
mod encode;

pub use decode::{
    Ack, Auth, Connack, Disconnect, Publish, Received, Suback, first_packet, take_packet,
};
pub use encode::{
    Connect, PINGREQ, PublishBuilder, Will, ack, ack_with, auth, connect, disconnect,
    disconnect_with, lasting, packet, publish, short_string, subscribe, subscribe_with,
    unsubscribe, unsubscribe_with, variable_byte_integer,
};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1, which calls itself `MQIsdp`.
    V3_1,
    /// MQTT 3.1.1.
    V3_1_1,
    /// MQTT 5.0.
    V5,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V3_1, Self::V3_1_1, Self::V5];

    /// The protocol name in CONNECT.
    pub fn protocol_name(self) -> &'static str {
        match self {
            Self::V3_1 => "MQIsdp",
            Self::V3_1_1 | Self::V5 => "MQTT",
        }
    }

    /// The protocol level in CONNECT.
    pub fn level(self) -> u8 {
        match self {
            Self::V3_1 => 3,
            Self::V3_1_1 => 4,
            Self::V5 => 5,
        }
    }

    /// Whether this is MQTT 5, with its properties and reason codes.
    pub fn is_v5(self) -> bool {
        self == Self::V5
    }
}

/// Packet types: the upper half of a packet's first byte.
pub mod kind {
    #![allow(missing_docs, reason = "the specification's own names")]
    pub const CONNECT: u8 = 1;
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const PUBCOMP: u8 = 7;
    pub const SUBSCRIBE: u8 = 8;
    pub const SUBACK: u8 = 9;
    pub const UNSUBSCRIBE: u8 = 10;
    pub const UNSUBACK: u8 = 11;
    pub const PINGREQ: u8 = 12;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
    pub const AUTH: u8 = 15;
}

/// Property identifiers of MQTT 5.
pub mod id {
    #![allow(missing_docs, reason = "the specification's own names")]
    pub const PAYLOAD_FORMAT_INDICATOR: u8 = 1;
    pub const MESSAGE_EXPIRY_INTERVAL: u8 = 2;
    pub const CONTENT_TYPE: u8 = 3;
    pub const RESPONSE_TOPIC: u8 = 8;
    pub const CORRELATION_DATA: u8 = 9;
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 11;
    pub const SESSION_EXPIRY_INTERVAL: u8 = 17;
    pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 18;
    pub const SERVER_KEEP_ALIVE: u8 = 19;
    pub const AUTHENTICATION_METHOD: u8 = 21;
    pub const AUTHENTICATION_DATA: u8 = 22;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 23;
    pub const WILL_DELAY_INTERVAL: u8 = 24;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 25;
    pub const RESPONSE_INFORMATION: u8 = 26;
    pub const SERVER_REFERENCE: u8 = 28;
    pub const REASON_STRING: u8 = 31;
    pub const RECEIVE_MAXIMUM: u8 = 33;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 34;
    pub const TOPIC_ALIAS: u8 = 35;
    pub const MAXIMUM_QOS: u8 = 36;
    pub const RETAIN_AVAILABLE: u8 = 37;
    pub const USER_PROPERTY: u8 = 38;
    pub const MAXIMUM_PACKET_SIZE: u8 = 39;
    pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 40;
    pub const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 41;
    pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 42;
}

/// The value of a property, in the form its identifier asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// One byte.
    Byte(u8),
    /// Two bytes.
    Two(u16),
    /// Four bytes.
    Four(u32),
    /// A variable byte integer.
    Variable(u32),
    /// A string.
    Text(String),
    /// Bytes with their length before them.
    Binary(Vec<u8>),
    /// Two strings.
    Pair(String, String),
}

/// A list of properties as it is sent, without the length before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(pub Vec<u8>);

impl Properties {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one property; nothing is checked, as tests want to send what is wrong too.
    #[must_use]
    pub fn with(mut self, id: u8, value: Value) -> Self {
        self.0.push(id);
        match value {
            Value::Byte(value) => self.0.push(value),
            Value::Two(value) => self.0.extend(value.to_be_bytes()),
            Value::Four(value) => self.0.extend(value.to_be_bytes()),
            Value::Variable(value) => self.0.extend(variable_byte_integer(value)),
            Value::Text(text) => self.0.extend(short_string(text)),
            Value::Binary(bytes) => self.0.extend(short_string(bytes)),
            Value::Pair(name, value) => {
                self.0.extend(short_string(name));
                self.0.extend(short_string(value));
            }
        }
        self
    }

    /// Adds a user property.
    #[must_use]
    pub fn user(self, name: &str, value: &str) -> Self {
        self.with(id::USER_PROPERTY, Value::Pair(name.into(), value.into()))
    }

    /// The properties with their length before them.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = variable_byte_integer(self.0.len() as u32);
        bytes.extend(&self.0);
        bytes
    }
}
