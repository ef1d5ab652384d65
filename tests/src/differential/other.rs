//! A packet as `mqtt-proto` reads it.

use mqtt_proto::v5::{
    AuthProperties, ConnackProperties, ConnectProperties, DisconnectProperties, PublishProperties,
    UserProperty, WillProperties,
};
use mqtt_proto::{Error, QosPid, v3, v5};
use wherry_core::packet::{ProtocolVersion, ReasonCode};

use super::content::Content;
use crate::wire::{Value, id, kind};

/// Why the other codec does not take a packet.
#[derive(Debug)]
pub(super) enum OtherError {
    /// It would need bytes after the end of the packet.
    TooShort,
    /// In any version.
    Common(Error),
    /// In MQTT 5.
    V5(v5::ErrorV5),
}

impl From<Error> for OtherError {
    fn from(error: Error) -> Self {
        Self::Common(error)
    }
}

impl From<v5::ErrorV5> for OtherError {
    fn from(error: v5::ErrorV5) -> Self {
        match error {
            v5::ErrorV5::Common(error) => Self::Common(error),
            error => Self::V5(error),
        }
    }
}

/// How long the packet at the start of `bytes` is, if it says.
pub(super) fn frame(bytes: &[u8]) -> Option<usize> {
    let header = v5::Header::decode(bytes).ok()?;
    Some(1 + header.total_len as usize + header.remaining_len as usize)
}

/// What the packet says, and how many bytes it has to have to say it.
pub(super) fn read(bytes: &[u8], version: ProtocolVersion) -> Result<(Content, usize), OtherError> {
    let is_connect = bytes
        .first()
        .is_some_and(|first| first >> 4 == kind::CONNECT);
    match version {
        _ if is_connect => read_v3(bytes).or_else(|error| match error {
            OtherError::Common(Error::UnexpectedProtocol(_)) => read_v5(bytes),
            error => Err(error),
        }),
        ProtocolVersion::V3_1 | ProtocolVersion::V3_1_1 => read_v3(bytes),
        ProtocolVersion::V5 => read_v5(bytes),
    }
}

fn read_v3(bytes: &[u8]) -> Result<(Content, usize), OtherError> {
    let packet = v3::Packet::decode(bytes)?.ok_or(OtherError::TooShort)?;
    Ok((content_v3(&packet), packet.encode_len()?))
}

fn read_v5(bytes: &[u8]) -> Result<(Content, usize), OtherError> {
    let packet = v5::Packet::decode(bytes)?.ok_or(OtherError::TooShort)?;
    Ok((content_v5(&packet), packet.encode_len()?))
}

/// An acknowledgement before MQTT 5, and PUBREL and PUBCOMP of success.
fn ack(kind: u8, pid: mqtt_proto::Pid) -> Content {
    Content::new(kind).two("identifier", pid.value())
}

fn publish(
    (dup, retain): (bool, bool),
    qos: QosPid,
    topic: &str,
    payload: &[u8],
    properties: Vec<(u8, Value)>,
) -> Content {
    let content = Content::new(kind::PUBLISH)
        .flag("dup", dup)
        .byte("QoS", qos.qos() as u8)
        .flag("retain", retain)
        .text("topic", topic)
        .binary("payload", payload)
        .properties(properties);
    match qos.pid() {
        Some(pid) => content.two("identifier", pid.value()),
        None => content,
    }
}

fn content_v3(packet: &v3::Packet) -> Content {
    use v3::Packet::*;
    match packet {
        Connect(connect) => connect_v3(connect),
        Connack(connack) => {
            use v3::ConnectReturnCode::*;
            let reason = match connack.code {
                Accepted => ReasonCode::Success,
                UnacceptableProtocolVersion => ReasonCode::UnsupportedProtocolVersion,
                IdentifierRejected => ReasonCode::ClientIdentifierNotValid,
                ServerUnavailable => ReasonCode::ServerUnavailable,
                BadUserNameOrPassword => ReasonCode::BadUserNameOrPassword,
                NotAuthorized => ReasonCode::NotAuthorized,
            };
            Content::new(kind::CONNACK)
                .flag("session present", connack.session_present)
                .byte("reason", reason as u8)
        }
        Publish(it) => publish(
            (it.dup, it.retain),
            it.qos_pid,
            &it.topic_name,
            &it.payload,
            Vec::new(),
        ),
        Puback(pid) => ack(kind::PUBACK, *pid).byte("reason", 0),
        Pubrec(pid) => ack(kind::PUBREC, *pid).byte("reason", 0),
        Pubrel(pid) => ack(kind::PUBREL, *pid).byte("reason", 0),
        Pubcomp(pid) => ack(kind::PUBCOMP, *pid).byte("reason", 0),
        Subscribe(subscribe) => {
            let topics = subscribe.topics.iter();
            topics.fold(
                ack(kind::SUBSCRIBE, subscribe.pid),
                |content, (filter, qos)| content.text("filter", filter).byte("options", *qos as u8),
            )
        }
        Suback(suback) => {
            use v3::SubscribeReturnCode::*;
            let codes = suback.topics.iter().map(|code| match code {
                MaxLevel0 => 0,
                MaxLevel1 => 1,
                MaxLevel2 => 2,
                Failure => 0x80,
            });
            ack(kind::SUBACK, suback.pid).binary("reasons", &codes.collect::<Vec<u8>>())
        }
        Unsubscribe(unsubscribe) => {
            let topics = unsubscribe.topics.iter();
            topics.fold(
                ack(kind::UNSUBSCRIBE, unsubscribe.pid),
                |content, filter| content.text("filter", filter),
            )
        }
        Unsuback(pid) => ack(kind::UNSUBACK, *pid).binary("reasons", &[]),
        Pingreq => Content::new(kind::PINGREQ),
        Pingresp => Content::new(kind::PINGRESP),
        Disconnect => Content::new(kind::DISCONNECT).byte("reason", 0),
    }
}

fn connect_v3(connect: &v3::Connect) -> Content {
    let mut content = Content::new(kind::CONNECT)
        .byte("level", connect.protocol as u8)
        .flag("bridge", false)
        .flag("clean", connect.clean_session)
        .two("keep alive", connect.keep_alive)
        .text("client identifier", &connect.client_id);
    if let Some(will) = &connect.last_will {
        content = content
            .text("will topic", &will.topic_name)
            .binary("will payload", &will.message)
            .byte("will QoS", will.qos as u8)
            .flag("will retain", will.retain);
    }
    credentials(
        content,
        connect.username.as_deref(),
        connect.password.as_deref(),
    )
}

fn connect_v5(connect: &v5::Connect) -> Content {
    let mut content = Content::new(kind::CONNECT)
        .byte("level", connect.protocol as u8)
        .flag("bridge", false)
        .flag("clean", connect.clean_start)
        .two("keep alive", connect.keep_alive)
        .text("client identifier", &connect.client_id)
        .properties(connect.properties.all());
    if let Some(will) = &connect.last_will {
        content = content
            .text("will topic", &will.topic_name)
            .binary("will payload", &will.payload)
            .byte("will QoS", will.qos as u8)
            .flag("will retain", will.retain)
            .will_properties(will.properties.all());
    }
    credentials(
        content,
        connect.username.as_deref(),
        connect.password.as_deref(),
    )
}

fn credentials(mut content: Content, name: Option<&str>, password: Option<&[u8]>) -> Content {
    if let Some(name) = name {
        content = content.text("user name", name);
    }
    if let Some(password) = password {
        content = content.binary("password", password);
    }
    content
}

fn content_v5(packet: &v5::Packet) -> Content {
    use v5::Packet::*;
    match packet {
        Connect(connect) => connect_v5(connect),
        Connack(it) => Content::new(kind::CONNACK)
            .flag("session present", it.session_present)
            .byte("reason", it.reason_code as u8)
            .properties(it.properties.all()),
        Publish(it) => publish(
            (it.dup, it.retain),
            it.qos_pid,
            &it.topic_name,
            &it.payload,
            it.properties.all(),
        ),
        Puback(it) => ack(kind::PUBACK, it.pid)
            .byte("reason", it.reason_code as u8)
            .properties(told(
                &it.properties.reason_string,
                &it.properties.user_properties,
            )),
        Pubrec(it) => ack(kind::PUBREC, it.pid)
            .byte("reason", it.reason_code as u8)
            .properties(told(
                &it.properties.reason_string,
                &it.properties.user_properties,
            )),
        Pubrel(it) => ack(kind::PUBREL, it.pid)
            .byte("reason", it.reason_code as u8)
            .properties(told(
                &it.properties.reason_string,
                &it.properties.user_properties,
            )),
        Pubcomp(it) => ack(kind::PUBCOMP, it.pid)
            .byte("reason", it.reason_code as u8)
            .properties(told(
                &it.properties.reason_string,
                &it.properties.user_properties,
            )),
        Subscribe(it) => {
            let mut properties = told(&None, &it.properties.user_properties);
            let identifier = it.properties.subscription_id;
            properties.extend(identifier.map(|identifier| {
                (
                    id::SUBSCRIPTION_IDENTIFIER,
                    Value::Variable(identifier.value()),
                )
            }));
            let content = ack(kind::SUBSCRIBE, it.pid).properties(properties);
            it.topics
                .iter()
                .fold(content, |content, (filter, options)| {
                    content
                        .text("filter", filter)
                        .byte("options", options.to_u8())
                })
        }
        Suback(it) => {
            let codes: Vec<u8> = it.topics.iter().map(|code| *code as u8).collect();
            ack(kind::SUBACK, it.pid)
                .binary("reasons", &codes)
                .properties(told(
                    &it.properties.reason_string,
                    &it.properties.user_properties,
                ))
        }
        Unsubscribe(it) => {
            let properties = told(&None, &it.properties.user_properties);
            let content = ack(kind::UNSUBSCRIBE, it.pid).properties(properties);
            let topics = it.topics.iter();
            topics.fold(content, |content, filter| content.text("filter", filter))
        }
        Unsuback(it) => {
            let codes: Vec<u8> = it.topics.iter().map(|code| *code as u8).collect();
            ack(kind::UNSUBACK, it.pid)
                .binary("reasons", &codes)
                .properties(told(
                    &it.properties.reason_string,
                    &it.properties.user_properties,
                ))
        }
        Pingreq => Content::new(kind::PINGREQ),
        Pingresp => Content::new(kind::PINGRESP),
        Disconnect(it) => Content::new(kind::DISCONNECT)
            .byte("reason", it.reason_code as u8)
            .properties(it.properties.all()),
        Auth(it) => Content::new(kind::AUTH)
            .byte("reason", it.reason_code as u8)
            .properties(it.properties.all()),
    }
}

/// The properties that nearly every packet may have.
fn told(reason: &Option<std::sync::Arc<str>>, user: &[UserProperty]) -> Vec<(u8, Value)> {
    let text = |text: &std::sync::Arc<str>| (id::REASON_STRING, Value::Text((**text).to_owned()));
    let pair = |it: &UserProperty| {
        let pair = Value::Pair((*it.name).to_owned(), (*it.value).to_owned());
        (id::USER_PROPERTY, pair)
    };
    reason
        .iter()
        .map(text)
        .chain(user.iter().map(pair))
        .collect()
}

/// All properties of a packet.
trait All {
    fn all(&self) -> Vec<(u8, Value)>;
}

/// Writes the list of a type's properties from a table of them.
macro_rules! all {
    ($type:ty: $($id:ident $field:ident $value:ident,)+) => {
        impl All for $type {
            fn all(&self) -> Vec<(u8, Value)> {
                let mut all = told(&None, &self.user_properties);
                $(
                    if let Some(value) = &self.$field {
                        all.push((id::$id, values::$value(value)));
                    }
                )+
                all
            }
        }
    };
}

/// How the other codec keeps each kind of value.
mod values {
    use crate::wire::Value;

    pub(super) fn flag(flag: &bool) -> Value {
        Value::Byte((*flag).into())
    }

    pub(super) fn qos(qos: &mqtt_proto::QoS) -> Value {
        Value::Byte(*qos as u8)
    }

    pub(super) fn two(number: &u16) -> Value {
        Value::Two(*number)
    }

    pub(super) fn four(number: &u32) -> Value {
        Value::Four(*number)
    }

    pub(super) fn variable(number: &mqtt_proto::v5::VarByteInt) -> Value {
        Value::Variable(number.value())
    }

    pub(super) fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    pub(super) fn binary(bytes: &[u8]) -> Value {
        Value::Binary(bytes.to_vec())
    }
}

all! { ConnectProperties:
    SESSION_EXPIRY_INTERVAL session_expiry_interval four,
    RECEIVE_MAXIMUM receive_max two,
    MAXIMUM_PACKET_SIZE max_packet_size four,
    TOPIC_ALIAS_MAXIMUM topic_alias_max two,
    REQUEST_RESPONSE_INFORMATION request_response_info flag,
    REQUEST_PROBLEM_INFORMATION request_problem_info flag,
    AUTHENTICATION_METHOD auth_method text,
    AUTHENTICATION_DATA auth_data binary,
}

all! { WillProperties:
    WILL_DELAY_INTERVAL delay_interval four,
    PAYLOAD_FORMAT_INDICATOR payload_is_utf8 flag,
    MESSAGE_EXPIRY_INTERVAL message_expiry_interval four,
    CONTENT_TYPE content_type text,
    RESPONSE_TOPIC response_topic text,
    CORRELATION_DATA correlation_data binary,
}

all! { ConnackProperties:
    SESSION_EXPIRY_INTERVAL session_expiry_interval four,
    RECEIVE_MAXIMUM receive_max two,
    MAXIMUM_QOS max_qos qos,
    RETAIN_AVAILABLE retain_available flag,
    MAXIMUM_PACKET_SIZE max_packet_size four,
    ASSIGNED_CLIENT_IDENTIFIER assigned_client_id text,
    TOPIC_ALIAS_MAXIMUM topic_alias_max two,
    REASON_STRING reason_string text,
    WILDCARD_SUBSCRIPTION_AVAILABLE wildcard_subscription_available flag,
    SUBSCRIPTION_IDENTIFIER_AVAILABLE subscription_id_available flag,
    SHARED_SUBSCRIPTION_AVAILABLE shared_subscription_available flag,
    SERVER_KEEP_ALIVE server_keep_alive two,
    RESPONSE_INFORMATION response_info text,
    SERVER_REFERENCE server_reference text,
    AUTHENTICATION_METHOD auth_method text,
    AUTHENTICATION_DATA auth_data binary,
}

all! { PublishProperties:
    PAYLOAD_FORMAT_INDICATOR payload_is_utf8 flag,
    MESSAGE_EXPIRY_INTERVAL message_expiry_interval four,
    TOPIC_ALIAS topic_alias two,
    RESPONSE_TOPIC response_topic text,
    CORRELATION_DATA correlation_data binary,
    SUBSCRIPTION_IDENTIFIER subscription_id variable,
    CONTENT_TYPE content_type text,
}

all! { DisconnectProperties:
    SESSION_EXPIRY_INTERVAL session_expiry_interval four,
    REASON_STRING reason_string text,
    SERVER_REFERENCE server_reference text,
}

all! { AuthProperties:
    AUTHENTICATION_METHOD auth_method text,
    AUTHENTICATION_DATA auth_data binary,
    REASON_STRING reason_string text,
}
