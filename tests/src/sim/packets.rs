//! Packets as the world keeps them beside their bytes: what clients meant, and what the broker
//! said.

use crate::sim::universe::Right;
use crate::wire::{self, Properties, Publish, Received, Value, Version, id, kind};

/// A message, by its place in the list of all.
pub(crate) type Number = usize;

/// What a message is, whoever sends it and how often.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// The client that it comes from.
    pub(crate) from: usize,
    pub(crate) topic: &'static str,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Its own, unless it is empty and clears.
    pub(crate) payload: Vec<u8>,
    /// The properties that reach receivers of MQTT 5, without the expiry.
    pub(crate) properties: Vec<(u8, Value)>,
    /// The message expiry interval, in seconds.
    pub(crate) expiry: Option<u32>,
    /// Whether it is a will.
    pub(crate) will: bool,
}

impl Content {
    /// The properties as they are sent with it.
    pub(crate) fn wire_properties(&self) -> Properties {
        let mut properties = Properties::new();
        if let Some(expiry) = self.expiry {
            properties = properties.with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(expiry));
        }
        for (id, value) in &self.properties {
            properties = properties.with(*id, value.clone());
        }
        properties
    }

    /// No PUBLISH of it is larger, for whatever receiver.
    pub(crate) fn largest_packet(&self) -> usize {
        let properties = self.wire_properties().0.len();
        self.payload.len() + self.topic.len() + properties + 60
    }
}

/// CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) client: usize,
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) clean: bool,
    /// The session expiry interval; before MQTT 5, what `clean` makes of it.
    pub(crate) expiry: u32,
    /// Message and delay in seconds.
    pub(crate) will: Option<(Number, u32)>,
    pub(crate) receive_maximum: u16,
    pub(crate) max_packet: Option<u32>,
    pub(crate) alias_maximum: u16,
    pub(crate) keep_alive: u16,
    /// What the client will be granted.
    pub(crate) right: Right,
}

impl Hello {
    pub(crate) fn bytes(&self, will: Option<&Content>) -> Vec<u8> {
        let mut connect = wire::connect(self.version)
            .client_id(&self.name)
            .clean(self.clean)
            .keep_alive(self.keep_alive);
        if self.version.is_v5() {
            connect = connect.with(id::SESSION_EXPIRY_INTERVAL, Value::Four(self.expiry));
            if self.receive_maximum < u16::MAX {
                connect = connect.with(id::RECEIVE_MAXIMUM, Value::Two(self.receive_maximum));
            }
            if self.alias_maximum > 0 {
                connect = connect.with(id::TOPIC_ALIAS_MAXIMUM, Value::Two(self.alias_maximum));
            }
            if let Some(size) = self.max_packet {
                connect = connect.with(id::MAXIMUM_PACKET_SIZE, Value::Four(size));
            }
        }
        if let (Some((_, delay)), Some(content)) = (self.will, will) {
            let mut properties = Properties::new();
            if self.version.is_v5() {
                properties = content.wire_properties();
                if delay > 0 {
                    properties = properties.with(id::WILL_DELAY_INTERVAL, Value::Four(delay));
                }
            }
            connect = connect.will(wire::Will {
                topic: content.topic.into(),
                payload: content.payload.clone(),
                qos: content.qos,
                retain: content.retain,
                properties,
            });
        }
        connect.bytes()
    }
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) name: &'static str,
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) handling: u8,
}

impl Asked {
    pub(crate) fn options(&self) -> u8 {
        self.qos
            | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | self.handling << 4
    }
}

/// A packet of a client.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    Connect(Box<Hello>),
    /// `dup` or not, the message is the same.
    Publish {
        number: Number,
        id: Option<u16>,
        qos: u8,
        dup: bool,
    },
    Puback {
        id: u16,
        error: bool,
    },
    Pubrec {
        id: u16,
        error: bool,
    },
    Pubrel {
        id: u16,
    },
    Pubcomp {
        id: u16,
    },
    Subscribe {
        id: u16,
        identifier: u32,
        filters: Vec<Asked>,
    },
    Unsubscribe {
        id: u16,
        filters: Vec<&'static str>,
    },
    Ping,
    Disconnect {
        reason: u8,
        expiry: Option<u32>,
    },
    /// Something else, by a hostile client.
    Noise,
}

/// A packet of the broker.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Connack(wire::Connack),
    /// With the topic that its alias stands for.
    Publish(Publish),
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    Ack(u8, wire::Ack),
    Suback(wire::Suback),
    Unsuback(wire::Suback),
    Pong,
    Disconnect(u8),
}

/// Reads a packet of the broker.
pub(crate) fn read(packet: &Received, version: Version) -> Result<Said, String> {
    Ok(match packet.kind() {
        kind::CONNACK => Said::Connack(packet.connack(version)),
        kind::PUBLISH => Said::Publish(packet.publish(version)),
        ack @ (kind::PUBACK | kind::PUBREC | kind::PUBREL | kind::PUBCOMP) => {
            Said::Ack(ack, packet.ack(ack, version))
        }
        kind::SUBACK => Said::Suback(packet.suback(version)),
        kind::UNSUBACK => Said::Unsuback(packet.unsuback(version)),
        kind::PINGRESP if packet.body.is_empty() && packet.first & 15 == 0 => Said::Pong,
        kind::DISCONNECT if version.is_v5() => Said::Disconnect(packet.disconnect().reason),
        _ => return Err(format!("no broker sends {packet:?}")),
    })
}
