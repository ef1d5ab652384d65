//! A packet as `wherry-core` reads it.

use wherry_core::packet::{
    Ack, Connect, FixedHeader, Packet, Properties, Property, ProtocolVersion, Publish, Sender,
    SubscriptionRequest,
};
use wherry_core::topic::{MAX_LEVELS, TopicError, check_filter, parse_shared};

use super::OurError;
use super::content::Content;
use crate::wire::Value;

/// How long the packet at the start of `bytes` is, if it says.
pub(super) fn frame(bytes: &[u8]) -> Option<usize> {
    Some(FixedHeader::parse(bytes).ok()??.packet_len())
}

/// What the packet says. Of a filter, the broker asks more than the codec does.
pub(super) fn read(
    bytes: &[u8],
    version: ProtocolVersion,
    sender: Sender,
) -> Result<Content, OurError> {
    let read = Packet::decode_one(bytes, version, sender).map_err(OurError::Packet)?;
    let (packet, used) = read.expect("the packet is complete");
    assert_eq!(used, bytes.len());
    let content = content(&packet);
    content
        .filters()
        .try_for_each(check)
        .map_err(OurError::Filter)?;
    Ok(content)
}

fn check(filter: &str) -> Result<(), TopicError> {
    match parse_shared(filter)? {
        Some(_) => Ok(()),
        None => check_filter(filter, MAX_LEVELS),
    }
}

fn content(packet: &Packet<'_>) -> Content {
    let content = Content::new(packet.packet_type() as u8);
    match packet {
        Packet::Connect(connect) => connect_content(content, connect),
        Packet::ConnAck(connack) => content
            .flag("session present", connack.session_present)
            .byte("reason", connack.reason as u8)
            .properties(values(&connack.properties)),
        Packet::Publish(publish) => publish_content(content, publish),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack_content(content, ack)
        }
        Packet::Subscribe(subscribe) => {
            let content = content
                .two("identifier", subscribe.packet_id.get())
                .properties(values(&subscribe.properties));
            let request = |content: Content, request: SubscriptionRequest<'_>| {
                content
                    .text("filter", request.filter)
                    .byte("options", request.options.to_u8())
            };
            subscribe.filters.iter().fold(content, request)
        }
        Packet::SubAck(suback) => content
            .two("identifier", suback.packet_id.get())
            .binary("reasons", suback.reasons)
            .properties(values(&suback.properties)),
        Packet::Unsubscribe(unsubscribe) => {
            let content = content
                .two("identifier", unsubscribe.packet_id.get())
                .properties(values(&unsubscribe.properties));
            let filters = unsubscribe.filters.iter();
            filters.fold(content, |content, filter| content.text("filter", filter))
        }
        Packet::UnsubAck(unsuback) => content
            .two("identifier", unsuback.packet_id.get())
            .binary("reasons", unsuback.reasons)
            .properties(values(&unsuback.properties)),
        Packet::PingReq | Packet::PingResp => content,
        Packet::Disconnect(disconnect) => content
            .byte("reason", disconnect.reason as u8)
            .properties(values(&disconnect.properties)),
        Packet::Auth(auth) => content
            .byte("reason", auth.reason as u8)
            .properties(values(&auth.properties)),
    }
}

fn connect_content(content: Content, connect: &Connect<'_>) -> Content {
    let mut content = content
        .byte("level", connect.version.level())
        .flag("bridge", connect.bridge)
        .flag("clean", connect.clean_start)
        .two("keep alive", connect.keep_alive)
        .text("client identifier", connect.client_id)
        .properties(values(&connect.properties));
    if let Some(will) = &connect.will {
        content = content
            .text("will topic", will.topic)
            .binary("will payload", will.payload)
            .byte("will QoS", will.qos as u8)
            .flag("will retain", will.retain)
            .will_properties(values(&will.properties));
    }
    if let Some(name) = connect.username {
        content = content.text("user name", name);
    }
    if let Some(password) = connect.password {
        content = content.binary("password", password);
    }
    content
}

fn publish_content(content: Content, publish: &Publish<'_>) -> Content {
    let content = content
        .flag("dup", publish.dup)
        .byte("QoS", publish.qos as u8)
        .flag("retain", publish.retain)
        .text("topic", publish.topic)
        .binary("payload", publish.payload)
        .properties(values(&publish.properties));
    match publish.packet_id {
        Some(id) => content.two("identifier", id.get()),
        None => content,
    }
}

fn ack_content(content: Content, ack: &Ack<'_>) -> Content {
    content
        .two("identifier", ack.packet_id.get())
        .byte("reason", ack.reason as u8)
        .properties(values(&ack.properties))
}

/// Properties in their order, in the form of the tests' own codec.
pub fn values(properties: &Properties<'_>) -> Vec<(u8, Value)> {
    use Property::*;
    let value = |property| match property {
        PayloadFormatIndicator(format) => Value::Byte(format as u8),
        RequestProblemInformation(flag)
        | RequestResponseInformation(flag)
        | RetainAvailable(flag)
        | WildcardSubscriptionAvailable(flag)
        | SubscriptionIdentifierAvailable(flag)
        | SharedSubscriptionAvailable(flag) => Value::Byte(flag.into()),
        MaximumQoS(qos) => Value::Byte(qos as u8),
        ServerKeepAlive(number) | TopicAliasMaximum(number) => Value::Two(number),
        ReceiveMaximum(number) | TopicAlias(number) => Value::Two(number.get()),
        MessageExpiryInterval(number)
        | SessionExpiryInterval(number)
        | WillDelayInterval(number) => Value::Four(number),
        MaximumPacketSize(number) => Value::Four(number.get()),
        SubscriptionIdentifier(number) => Value::Variable(number),
        ContentType(text)
        | ResponseTopic(text)
        | AssignedClientIdentifier(text)
        | AuthenticationMethod(text)
        | ResponseInformation(text)
        | ServerReference(text)
        | ReasonString(text) => Value::Text(text.to_owned()),
        CorrelationData(bytes) | AuthenticationData(bytes) => Value::Binary(bytes.to_vec()),
        UserProperty(name, value) => Value::Pair(name.to_owned(), value.to_owned()),
    };
    let all = properties.iter();
    all.map(|property| (property.id(), value(property)))
        .collect()
}
