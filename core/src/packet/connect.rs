//! CONNECT: who the client is and what it wants.

use core::fmt;
use core::num::NonZeroU32;

use super::place::{CONNECT, WILL};
use super::reader::Reader;
use super::writer::Sink;
use super::{
    EncodeError, FixedHeader, Properties, Property, ProtocolError, ProtocolVersion, QoS, ReasonCode,
};

/// The bit of the protocol level by which a bridge (of Mosquitto and others) says that it is one.
const BRIDGE: u8 = 0x80;

// The connect flags (section 3.1.2.3).
const RESERVED: u8 = 0x01;
const CLEAN_START: u8 = 0x02;
const WILL_FLAG: u8 = 0x04;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// A client asks to be connected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version the client speaks from here on.
    pub version: ProtocolVersion,
    /// Whether the client says that it is a bridge, which it can before MQTT 5 only.
    pub bridge: bool,
    /// Whether an earlier session is forgotten (Clean Session before MQTT 5).
    pub clean_start: bool,
    /// Seconds after which the client is presumed dead unless something is heard; 0 for never.
    pub keep_alive: u16,
    /// The name of the session; may be empty. What else may stand in it is the broker's policy,
    /// as is the limit of 23 characters in MQTT 3.1.
    pub client_id: &'a str,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password, which is any bytes in every version.
    pub password: Option<&'a [u8]>,
    /// What is published when the client is lost.
    pub will: Option<Will<'a>>,
    /// The properties.
    pub properties: Properties<'a>,
}

/// The message that the server publishes when the client is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Will<'a> {
    /// The topic it is published to.
    pub topic: &'a str,
    /// What it says.
    pub payload: &'a [u8],
    /// The QoS it is published with.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// The properties.
    pub properties: Properties<'a>,
}

/// A CONNECT that cannot be taken, and whether the peer could read an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{error}")]
pub struct ConnectError {
    /// What is wrong with it.
    pub error: ProtocolError,
    /// The version in whose form the peer can read a CONNACK. None if it does not seem to be an
    /// MQTT client at all: then nothing is said.
    pub reply: Option<ProtocolVersion>,
    /// The largest packet that the peer takes, as far as its CONNECT can be read: no answer may be
    /// larger.
    pub max_packet_size: Option<NonZeroU32>,
}

impl<'a> Connect<'a> {
    /// Reads the body of a CONNECT.
    pub fn decode(header: &FixedHeader, body: &'a [u8]) -> Result<Self, ConnectError> {
        let mut reader = Reader::new(body);
        let (version, bridge) = read_version(&mut reader)?;
        header
            .check_connect(version)
            .and_then(|()| read_after_version(reader, version, bridge))
            .map_err(|error| ConnectError {
                error,
                reply: Some(version),
                max_packet_size: stated_limit(reader, version),
            })
    }

    pub(super) fn write<S: Sink>(&self, sink: &mut S) -> Result<(), EncodeError> {
        let version = self.version;
        let before_v5 = version != ProtocolVersion::V5;
        if before_v5 && self.password.is_some() && self.username.is_none() {
            return Err(EncodeError::PasswordWithoutUserName);
        }
        sink.string(version.name())?;
        let bridge = if self.bridge && before_v5 { BRIDGE } else { 0 };
        sink.u8(version.level() | bridge);
        sink.u8(self.flags());
        sink.u16(self.keep_alive);
        self.properties.write(version, sink)?;
        sink.string(self.client_id)?;
        if let Some(will) = &self.will {
            will.properties.write(version, sink)?;
            sink.string(will.topic)?;
            sink.binary(will.payload)?;
        }
        if let Some(username) = self.username {
            sink.string(username)?;
        }
        if let Some(password) = self.password {
            sink.binary(password)?;
        }
        Ok(())
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        let mut set = |flag, condition| flags |= if condition { flag } else { 0 };
        set(CLEAN_START, self.clean_start);
        set(USER_NAME, self.username.is_some());
        set(PASSWORD, self.password.is_some());
        if let Some(will) = &self.will {
            set(WILL_FLAG, true);
            set((will.qos as u8) << WILL_QOS_SHIFT, true);
            set(WILL_RETAIN, will.retain);
        }
        flags
    }
}

/// Reads protocol name and level: the version, and whether a bridge calls.
fn read_version(reader: &mut Reader<'_>) -> Result<(ProtocolVersion, bool), ConnectError> {
    let silent = |error| ConnectError {
        error,
        reply: None,
        max_packet_size: None,
    };
    // The name is compared as bytes: whatever it is, if it is not one of these two, nothing else
    // of the packet can be trusted.
    let name = reader.string_bytes().map_err(silent)?;
    let known = [ProtocolVersion::V3_1, ProtocolVersion::V5];
    let Some(family) = known.into_iter().find(|v| v.name().as_bytes() == name) else {
        return Err(silent(ProtocolError::new(
            ReasonCode::UnsupportedProtocolVersion,
            "MQTT-3.1.2-1",
            "the protocol name is neither MQTT nor MQIsdp",
        )));
    };
    let level = reader.u8().map_err(silent)?;
    let bridge = level & BRIDGE != 0;
    match (family, level & !BRIDGE) {
        (ProtocolVersion::V3_1, 3) => Ok((ProtocolVersion::V3_1, bridge)),
        (ProtocolVersion::V5, 4) => Ok((ProtocolVersion::V3_1_1, bridge)),
        (ProtocolVersion::V5, 5) if !bridge => Ok((ProtocolVersion::V5, false)),
        (family, level) => {
            let reply = match family {
                ProtocolVersion::V3_1 => ProtocolVersion::V3_1,
                _ => written_like(*reader, level),
            };
            Err(ConnectError {
                error: ProtocolError::new(
                    ReasonCode::UnsupportedProtocolVersion,
                    "MQTT-3.1.2-2",
                    "there is no such protocol level under this name",
                ),
                reply: Some(reply),
                max_packet_size: stated_limit(*reader, reply),
            })
        }
    }
}

/// The version that what follows an unknown level is written like. Who writes a CONNECT so reads
/// a CONNACK of that version; if it is like neither, the number has to do.
fn written_like(rest: Reader<'_>, level: u8) -> ProtocolVersion {
    let by_level = if level >= ProtocolVersion::V5.level() {
        ProtocolVersion::V5
    } else {
        ProtocolVersion::V3_1_1
    };
    [ProtocolVersion::V3_1_1, ProtocolVersion::V5]
        .into_iter()
        .find(|version| read_after_version(rest, *version, false).is_ok())
        .unwrap_or(by_level)
}

/// The Maximum Packet Size of a CONNECT that may be wrong in anything, from after its level on.
fn stated_limit(mut reader: Reader<'_>, version: ProtocolVersion) -> Option<NonZeroU32> {
    if version != ProtocolVersion::V5 {
        return None;
    }
    // The flags and the keep-alive stand before the properties.
    reader.take(3)?;
    let length = reader.variable_byte_integer().ok()?;
    let mut block = Reader::new(reader.take(usize::try_from(length).ok()?)?);
    core::iter::from_fn(|| Property::read_checked(&mut block))
        .filter_map(|property| match property {
            Property::MaximumPacketSize(size) => Some(size),
            _ => None,
        })
        .min()
}

fn read_after_version<'a>(
    mut reader: Reader<'a>,
    version: ProtocolVersion,
    bridge: bool,
) -> Result<Connect<'a>, ProtocolError> {
    let flags = reader.u8()?;
    let will_flags = check_flags(flags, version)?;
    let keep_alive = reader.u16()?;
    let properties = Properties::decode(&mut reader, version, CONNECT)?;
    let client_id = reader.string()?;
    let will = match will_flags {
        Some((qos, retain)) => Some(read_will(&mut reader, version, qos, retain)?),
        None => None,
    };
    // In MQTT 3.1 the length of the packet has precedence over these two flags: what the packet
    // has no room for is not there.
    let may_be_cut = version == ProtocolVersion::V3_1;
    let username = if flags & USER_NAME != 0 && !(may_be_cut && reader.is_empty()) {
        Some(reader.string()?)
    } else {
        None
    };
    let password = if flags & PASSWORD != 0 && !(may_be_cut && reader.is_empty()) {
        Some(reader.binary()?)
    } else {
        None
    };
    reader.finish()?;
    Ok(Connect {
        version,
        bridge,
        clean_start: flags & CLEAN_START != 0,
        keep_alive,
        client_id,
        username,
        password,
        will,
        properties,
    })
}

/// Checks the connect flags; gives the will's QoS and RETAIN if there is a will.
fn check_flags(flags: u8, version: ProtocolVersion) -> Result<Option<(QoS, bool)>, ProtocolError> {
    let malformed = |clause, what| Err(ProtocolError::malformed(clause, what));
    // MQTT 3.1 does not use that bit, nor says what it should be.
    if flags & RESERVED != 0 && version != ProtocolVersion::V3_1 {
        return malformed("MQTT-3.1.2-3", "the reserved connect flag is set");
    }
    let before_v5 = version != ProtocolVersion::V5;
    if before_v5 && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return malformed(
            "MQTT-3.1.2-22",
            "there is a password without a user name, before MQTT 5",
        );
    }
    let qos = (flags >> WILL_QOS_SHIFT) & 0b11;
    let retain = flags & WILL_RETAIN != 0;
    if flags & WILL_FLAG == 0 {
        // MQTT 3.1 has the two disregarded when there is no will.
        return match (version, qos, retain) {
            (ProtocolVersion::V3_1, ..) | (_, 0, false) => Ok(None),
            (_, 0, true) => malformed("MQTT-3.1.2-13", "the will is retained, without a will"),
            _ => malformed("MQTT-3.1.2-11", "the will has a QoS, without a will"),
        };
    }
    match QoS::from_u8(qos) {
        Some(qos) => Ok(Some((qos, retain))),
        None => malformed("MQTT-3.1.2-12", "the will has QoS 3"),
    }
}

fn read_will<'a>(
    reader: &mut Reader<'a>,
    version: ProtocolVersion,
    qos: QoS,
    retain: bool,
) -> Result<Will<'a>, ProtocolError> {
    let properties = Properties::decode(reader, version, WILL)?;
    let topic = match reader.topic_name() {
        Ok("") => {
            return Err(ProtocolError::violation(
                "MQTT-4.7.3-1",
                "the will topic is empty",
            ));
        }
        Ok(topic) => topic,
        Err(Some(error)) => return Err(error),
        Err(None) => {
            return Err(ProtocolError::new(
                ReasonCode::TopicNameInvalid,
                "MQTT-4.7.0-1",
                "the will topic contains a wildcard",
            ));
        }
    };
    let payload = reader.binary()?;
    Ok(Will {
        topic,
        payload,
        qos,
        retain,
        properties,
    })
}

/// Shows everything but the password.
impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("bridge", &self.bridge)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &self.password.map(|_| format_args!("…")))
            .field("will", &self.will)
            .field("properties", &self.properties)
            .finish()
    }
}
