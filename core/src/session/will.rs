//! The message that a client leaves for the case that it goes without a word.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::message::owned_properties;
use crate::packet::{self, QoS};

/// A will, owned.
#[derive(Debug)]
pub(crate) struct Will {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Box<[u8]>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// The properties of the message to be published, encoded; the will delay is not one of them.
    pub(crate) properties: Vec<u8>,
    /// The message expiry interval in seconds: it begins when the will is published.
    pub(crate) expiry: Option<u32>,
    /// How long after the end of the connection it is published, in seconds.
    pub(crate) delay: u32,
}

impl Will {
    pub(crate) fn from_packet(will: &packet::Will<'_>) -> Self {
        Self {
            topic: will.topic.into(),
            payload: will.payload.into(),
            qos: will.qos,
            retain: will.retain,
            properties: owned_properties(&will.properties),
            expiry: will.properties.message_expiry_interval(),
            delay: will.properties.will_delay_interval().unwrap_or(0),
        }
    }
}
