//! Building packets, right and wrong ones.

use super::{Properties, Value, Version, id, kind};

/// A PINGREQ.
pub const PINGREQ: [u8; 2] = [kind::PINGREQ << 4, 0];

/// `value` as a variable byte integer in its shortest form.
pub fn variable_byte_integer(mut value: u32) -> Vec<u8> {
    assert!(value < 1 << 28, "{value} does not fit");
    let mut bytes = Vec::new();
    loop {
        let low = (value % 128) as u8;
        value /= 128;
        bytes.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return bytes;
        }
    }
}

/// `bytes` with their length in two bytes before them: the form of strings and of binary data.
pub fn short_string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let len = u16::try_from(bytes.len()).expect("at most 65,535 bytes");
    [&len.to_be_bytes()[..], bytes].concat()
}

/// A packet: its first byte, the length of the body, the body.
pub fn packet(first: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = vec![first];
    bytes.extend(variable_byte_integer(body.len() as u32));
    bytes.extend(body);
    bytes
}

/// A will, as CONNECT carries it. Fields may hold what is not allowed.
#[derive(Clone, Debug, Default)]
pub struct Will {
    /// The topic.
    pub topic: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
    /// The quality of service.
    pub qos: u8,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Its properties (MQTT 5).
    pub properties: Properties,
}

impl Will {
    /// A will of QoS 0.
    pub fn new(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.as_ref().to_vec(),
            payload: payload.as_ref().to_vec(),
            ..Self::default()
        }
    }
}

/// A CONNECT under construction: a clean session without keep-alive, until told otherwise.
#[derive(Clone, Debug)]
pub struct Connect {
    version: Version,
    client_id: Vec<u8>,
    clean: bool,
    keep_alive: u16,
    will: Option<Will>,
    username: Option<Vec<u8>>,
    password: Option<Vec<u8>>,
    properties: Properties,
}

/// Begins a CONNECT of a client whose session is to outlive its connection by an hour; before MQTT
/// 5, by as long as the broker likes.
pub fn lasting(version: Version, client_id: &str) -> Connect {
    connect(version)
        .client_id(client_id)
        .clean(false)
        .with(id::SESSION_EXPIRY_INTERVAL, Value::Four(3600))
}

/// Begins a CONNECT.
pub fn connect(version: Version) -> Connect {
    Connect {
        version,
        client_id: Vec::new(),
        clean: true,
        keep_alive: 0,
        will: None,
        username: None,
        password: None,
        properties: Properties::new(),
    }
}

impl Connect {
    /// Sets the client identifier.
    #[must_use]
    pub fn client_id(mut self, id: impl AsRef<[u8]>) -> Self {
        self.client_id = id.as_ref().to_vec();
        self
    }

    /// Sets Clean Session or Clean Start.
    #[must_use]
    pub fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }

    /// Sets the keep-alive in seconds.
    #[must_use]
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// Sets a will.
    #[must_use]
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// Sets the user name.
    #[must_use]
    pub fn username(mut self, name: impl AsRef<[u8]>) -> Self {
        self.username = Some(name.as_ref().to_vec());
        self
    }

    /// Sets the password.
    #[must_use]
    pub fn password(mut self, password: impl AsRef<[u8]>) -> Self {
        self.password = Some(password.as_ref().to_vec());
        self
    }

    /// Sets the properties (MQTT 5).
    #[must_use]
    pub fn properties(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }

    /// Adds a property (MQTT 5).
    #[must_use]
    pub fn with(mut self, id: u8, value: Value) -> Self {
        self.properties = self.properties.with(id, value);
        self
    }

    /// Whether it asks for a clean session or a clean start.
    pub fn is_clean(&self) -> bool {
        self.clean
    }

    /// The version it is for.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The connect flags that the fields ask for.
    pub fn flags(&self) -> u8 {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 1 << 2 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags | u8::from(self.password.is_some()) << 6 | u8::from(self.username.is_some()) << 7
    }

    /// The packet.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_with(
            self.version.protocol_name(),
            self.version.level(),
            self.flags(),
        )
    }

    /// The packet with a protocol name, level and flags of the test's choice.
    pub fn bytes_with(&self, name: &str, level: u8, flags: u8) -> Vec<u8> {
        let mut body = short_string(name);
        body.extend([level, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version.is_v5() {
            body.extend(self.properties.bytes());
        }
        body.extend(short_string(&self.client_id));
        if let Some(will) = &self.will {
            if self.version.is_v5() {
                body.extend(will.properties.bytes());
            }
            body.extend(short_string(&will.topic));
            body.extend(short_string(&will.payload));
        }
        for field in [&self.username, &self.password].into_iter().flatten() {
            body.extend(short_string(field));
        }
        packet(kind::CONNECT << 4, body)
    }
}

/// A PUBLISH under construction: QoS 0, not retained, until told otherwise.
#[derive(Clone, Debug)]
pub struct PublishBuilder {
    version: Version,
    first: u8,
    topic: Vec<u8>,
    packet_id: Option<u16>,
    properties: Properties,
    payload: Vec<u8>,
}

/// Begins a PUBLISH.
pub fn publish(
    version: Version,
    topic: impl AsRef<[u8]>,
    payload: impl AsRef<[u8]>,
) -> PublishBuilder {
    PublishBuilder {
        version,
        first: kind::PUBLISH << 4,
        topic: topic.as_ref().to_vec(),
        packet_id: None,
        properties: Properties::new(),
        payload: payload.as_ref().to_vec(),
    }
}

impl PublishBuilder {
    /// Sets the retain flag.
    #[must_use]
    pub fn retain(mut self) -> Self {
        self.first |= 1;
        self
    }

    /// Sets the DUP flag.
    #[must_use]
    pub fn dup(mut self) -> Self {
        self.first |= 8;
        self
    }

    /// Sets the quality of service and the packet identifier.
    #[must_use]
    pub fn qos(mut self, qos: u8, packet_id: u16) -> Self {
        self.first |= qos << 1;
        self.packet_id = Some(packet_id);
        self
    }

    /// Sets the properties (MQTT 5).
    #[must_use]
    pub fn properties(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }

    /// Adds a property (MQTT 5).
    #[must_use]
    pub fn with(mut self, id: u8, value: Value) -> Self {
        self.properties = self.properties.with(id, value);
        self
    }

    /// The packet.
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = short_string(&self.topic);
        body.extend(self.packet_id.iter().flat_map(|id| id.to_be_bytes()));
        if self.version.is_v5() {
            body.extend(self.properties.bytes());
        }
        body.extend(&self.payload);
        packet(self.first, body)
    }
}

/// A SUBSCRIBE: each filter with its options byte (before MQTT 5, the QoS).
pub fn subscribe<F: AsRef<[u8]>>(version: Version, packet_id: u16, filters: &[(F, u8)]) -> Vec<u8> {
    subscribe_with(version, packet_id, &Properties::new(), filters)
}

/// A SUBSCRIBE with properties, which are left out before MQTT 5.
pub fn subscribe_with<F: AsRef<[u8]>>(
    version: Version,
    packet_id: u16,
    properties: &Properties,
    filters: &[(F, u8)],
) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version.is_v5() {
        body.extend(properties.bytes());
    }
    for (filter, options) in filters {
        body.extend(short_string(filter));
        body.push(*options);
    }
    packet(kind::SUBSCRIBE << 4 | 2, body)
}

/// An UNSUBSCRIBE.
pub fn unsubscribe<F: AsRef<[u8]>>(version: Version, packet_id: u16, filters: &[F]) -> Vec<u8> {
    unsubscribe_with(version, packet_id, &Properties::new(), filters)
}

/// An UNSUBSCRIBE with properties, which are left out before MQTT 5.
pub fn unsubscribe_with<F: AsRef<[u8]>>(
    version: Version,
    packet_id: u16,
    properties: &Properties,
    filters: &[F],
) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version.is_v5() {
        body.extend(properties.bytes());
    }
    for filter in filters {
        body.extend(short_string(filter));
    }
    packet(kind::UNSUBSCRIBE << 4 | 2, body)
}

/// The first byte of a PUBACK, PUBREC, PUBREL or PUBCOMP: only PUBREL has flags.
pub(super) fn ack_first(kind: u8) -> u8 {
    kind << 4 | if kind == kind::PUBREL { 2 } else { 0 }
}

/// A PUBACK, PUBREC, PUBREL or PUBCOMP in its shortest form, which every version has.
pub fn ack(kind: u8, packet_id: u16) -> Vec<u8> {
    packet(ack_first(kind), packet_id.to_be_bytes())
}

/// The same with a reason code and properties (MQTT 5).
pub fn ack_with(kind: u8, packet_id: u16, reason: u8, properties: &Properties) -> Vec<u8> {
    let id = packet_id.to_be_bytes();
    let body = [&id[..], &[reason], &properties.bytes()].concat();
    packet(ack_first(kind), body)
}

/// An AUTH (MQTT 5).
pub fn auth(reason: u8, properties: &Properties) -> Vec<u8> {
    let body = [&[reason][..], &properties.bytes()].concat();
    packet(kind::AUTH << 4, body)
}

/// A DISCONNECT; before MQTT 5 the reason is left out.
pub fn disconnect(version: Version, reason: u8) -> Vec<u8> {
    match version {
        Version::V5 => disconnect_with(reason, &Properties::new()),
        Version::V3_1 | Version::V3_1_1 => packet(kind::DISCONNECT << 4, []),
    }
}

/// A DISCONNECT with properties (MQTT 5).
pub fn disconnect_with(reason: u8, properties: &Properties) -> Vec<u8> {
    let body = [&[reason][..], &properties.bytes()].concat();
    packet(kind::DISCONNECT << 4, body)
}
