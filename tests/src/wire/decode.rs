//! Taking the broker's packets apart. Whatever is not exactly in form fails the test.

use super::encode::ack_first;
use super::{Value, Version, id, kind};

/// A packet as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Received {
    /// The first byte: type and flags.
    pub first: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.body[..self.body.len().min(64)];
        write!(
            f,
            "packet {:#04x}, {} bytes: {}",
            self.first,
            self.body.len(),
            shown.escape_ascii()
        )
    }
}

/// Takes the first packet off `bytes`, if it is complete.
pub fn take_packet(bytes: &mut Vec<u8>) -> Option<Received> {
    let (packet, used) = first_packet(bytes)?;
    bytes.drain(..used);
    Some(packet)
}

/// The first packet of `bytes`, if it is complete, and how many bytes it has.
pub fn first_packet(bytes: &[u8]) -> Option<(Received, usize)> {
    let first = *bytes.first()?;
    let mut input = &bytes[1..];
    let mut len = 0_usize;
    let mut shift = 0;
    loop {
        let (&byte, rest) = input.split_first()?;
        input = rest;
        len |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            assert!(
                byte != 0 || shift == 0,
                "the broker sent a length that is not minimal"
            );
            break;
        }
        shift += 7;
        assert!(
            shift < 28,
            "the broker sent a length of more than four bytes"
        );
    }
    let body = input.get(..len)?.to_vec();
    let used = bytes.len() - input.len() + len;
    Some((Received { first, body }, used))
}

/// What a CONNACK says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    /// Whether there was a session.
    pub session_present: bool,
    /// Return code or reason code.
    pub code: u8,
    /// The properties, in order.
    pub properties: Vec<(u8, Value)>,
}

impl Connack {
    /// The value of a property.
    pub fn property(&self, id: u8) -> Option<&Value> {
        property(&self.properties, id)
    }
}

/// What a PUBLISH says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Whether it may have been sent before.
    pub dup: bool,
    /// The quality of service.
    pub qos: u8,
    /// Whether it is marked as retained.
    pub retain: bool,
    /// The topic.
    pub topic: String,
    /// The packet identifier, above QoS 0.
    pub packet_id: Option<u16>,
    /// The properties, in order.
    pub properties: Vec<(u8, Value)>,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Publish {
    /// The value of a property.
    pub fn property(&self, id: u8) -> Option<&Value> {
        property(&self.properties, id)
    }

    /// The subscription identifiers, sorted.
    pub fn subscription_identifiers(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self
            .properties
            .iter()
            .filter_map(|(name, value)| match value {
                Value::Variable(value) if *name == id::SUBSCRIPTION_IDENTIFIER => Some(*value),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids
    }
}

/// What a SUBACK or an UNSUBACK says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suback {
    /// The packet identifier of the request.
    pub packet_id: u16,
    /// The properties, in order.
    pub properties: Vec<(u8, Value)>,
    /// One code for each filter (an UNSUBACK before MQTT 5 has none).
    pub codes: Vec<u8>,
}

/// What a PUBACK, PUBREC, PUBREL or PUBCOMP says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The packet identifier of the message.
    pub packet_id: u16,
    /// The reason code; 0 where it is left out.
    pub reason: u8,
    /// The properties, in order.
    pub properties: Vec<(u8, Value)>,
}

/// What an AUTH says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The reason code.
    pub reason: u8,
    /// The properties, in order.
    pub properties: Vec<(u8, Value)>,
}

impl Auth {
    /// The value of a property.
    pub fn property(&self, id: u8) -> Option<&Value> {
        property(&self.properties, id)
    }
}

/// What a DISCONNECT says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// The reason code.
    pub reason: u8,
    /// The properties, in order.
    pub properties: Vec<(u8, Value)>,
}

fn property(properties: &[(u8, Value)], id: u8) -> Option<&Value> {
    properties
        .iter()
        .find(|(name, _)| *name == id)
        .map(|(_, value)| value)
}

impl Received {
    /// The packet type.
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// Reads it as a CONNACK.
    pub fn connack(&self, version: Version) -> Connack {
        assert_eq!(
            self.first,
            kind::CONNACK << 4,
            "expected a CONNACK, got {self:?}"
        );
        let mut input = Input(&self.body);
        let flags = input.byte();
        // MQTT 3.1 has no flags here.
        let allowed = u8::from(version != Version::V3_1);
        assert!(flags <= allowed, "reserved flags set in {self:?}");
        let connack = Connack {
            session_present: flags == 1,
            code: input.byte(),
            properties: input.properties(version),
        };
        input.end();
        connack
    }

    /// Reads it as a PUBLISH.
    pub fn publish(&self, version: Version) -> Publish {
        assert_eq!(
            self.kind(),
            kind::PUBLISH,
            "expected a PUBLISH, got {self:?}"
        );
        let mut input = Input(&self.body);
        let qos = self.first >> 1 & 3;
        let topic = input.text();
        assert!(
            !topic.contains(['+', '#', '\0']),
            "the broker sent the topic {topic:?}"
        );
        let publish = Publish {
            dup: self.first & 8 != 0,
            qos,
            retain: self.first & 1 != 0,
            topic,
            packet_id: (qos > 0).then(|| input.two()),
            properties: input.properties(version),
            payload: input.0.to_vec(),
        };
        assert!(qos < 3, "QoS 3 in {self:?}");
        assert!(qos > 0 || !publish.dup, "DUP at QoS 0 in {self:?}");
        assert_ne!(publish.packet_id, Some(0), "identifier 0 in {self:?}");
        let has_alias = publish.property(id::TOPIC_ALIAS).is_some();
        assert!(
            !publish.topic.is_empty() || has_alias,
            "no topic in {self:?}"
        );
        publish
    }

    /// Reads it as a SUBACK.
    pub fn suback(&self, version: Version) -> Suback {
        assert_eq!(
            self.first,
            kind::SUBACK << 4,
            "expected a SUBACK, got {self:?}"
        );
        self.acknowledgement(version)
    }

    /// Reads it as an UNSUBACK.
    pub fn unsuback(&self, version: Version) -> Suback {
        assert_eq!(
            self.first,
            kind::UNSUBACK << 4,
            "expected an UNSUBACK, got {self:?}"
        );
        self.acknowledgement(version)
    }

    fn acknowledgement(&self, version: Version) -> Suback {
        let mut input = Input(&self.body);
        Suback {
            packet_id: input.two(),
            properties: input.properties(version),
            codes: input.0.to_vec(),
        }
    }

    /// Reads it as the PUBACK, PUBREC, PUBREL or PUBCOMP that `kind` names.
    pub fn ack(&self, kind: u8, version: Version) -> Ack {
        assert_eq!(
            self.first,
            ack_first(kind),
            "expected a packet of type {kind}, got {self:?}"
        );
        let mut input = Input(&self.body);
        let packet_id = input.two();
        assert_ne!(packet_id, 0, "identifier 0 in {self:?}");
        let (mut reason, mut properties) = (0, Vec::new());
        if version.is_v5() && !input.0.is_empty() {
            reason = input.byte();
            if !input.0.is_empty() {
                properties = input.properties(version);
            }
        }
        input.end();
        let allowed: &[u8] = match kind {
            kind::PUBACK | kind::PUBREC => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
            _ => &[0x00, 0x92],
        };
        assert!(
            allowed.contains(&reason),
            "reason {reason:#04x} in {self:?}"
        );
        Ack {
            packet_id,
            reason,
            properties,
        }
    }

    /// Reads it as an AUTH.
    pub fn auth(&self) -> Auth {
        assert_eq!(
            self.first,
            kind::AUTH << 4,
            "expected an AUTH, got {self:?}"
        );
        let mut input = Input(&self.body);
        let reason = if input.0.is_empty() { 0 } else { input.byte() };
        let properties = match input.0 {
            [] => Vec::new(),
            _ => input.properties(Version::V5),
        };
        input.end();
        Auth { reason, properties }
    }

    /// Reads it as a DISCONNECT of MQTT 5 (a broker sends no other).
    pub fn disconnect(&self) -> Disconnect {
        assert_eq!(
            self.first,
            kind::DISCONNECT << 4,
            "expected a DISCONNECT, got {self:?}"
        );
        let mut input = Input(&self.body);
        let reason = if input.0.is_empty() { 0 } else { input.byte() };
        let properties = match input.0 {
            [] => Vec::new(),
            _ => input.properties(Version::V5),
        };
        input.end();
        Disconnect { reason, properties }
    }
}

/// What is left to read of a body.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        assert!(
            len <= self.0.len(),
            "the broker's packet ends inside a field"
        );
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn two(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    fn four(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    fn variable(&mut self) -> u32 {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte();
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                assert!(
                    byte != 0 || shift == 0,
                    "the broker sent an integer that is not minimal"
                );
                return value;
            }
        }
        panic!("the broker sent an integer of more than four bytes");
    }

    fn binary(&mut self) -> Vec<u8> {
        let len = usize::from(self.two());
        self.take(len).to_vec()
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.binary()).expect("the broker sends only UTF-8 in strings")
    }

    fn properties(&mut self, version: Version) -> Vec<(u8, Value)> {
        if !version.is_v5() {
            return Vec::new();
        }
        let len = self.variable() as usize;
        let mut input = Input(self.take(len));
        let mut properties = Vec::new();
        while !input.0.is_empty() {
            let id = input.byte();
            properties.push((id, input.value(id)));
        }
        properties
    }

    fn value(&mut self, id: u8) -> Value {
        match id {
            1 | 23 | 25 | 36 | 37 | 40 | 41 | 42 => Value::Byte(self.byte()),
            19 | 33 | 34 | 35 => Value::Two(self.two()),
            2 | 17 | 24 | 39 => Value::Four(self.four()),
            11 => Value::Variable(self.variable()),
            3 | 8 | 18 | 21 | 26 | 28 | 31 => Value::Text(self.text()),
            9 | 22 => Value::Binary(self.binary()),
            38 => Value::Pair(self.text(), self.text()),
            _ => panic!("the broker sent the unknown property {id}"),
        }
    }

    fn end(&self) {
        assert!(
            self.0.is_empty(),
            "the broker's packet has {} bytes too many",
            self.0.len()
        );
    }
}
