//! Strategies that draw every packet a side may send in a version, and nothing else.
//!
//! What is allowed where is written down here a second time, from the specification and not from
//! the codec, so that a mistake has to be made twice to go unnoticed.
//!
//! Packets borrow. What they borrow is leaked: a test process ends soon, and the other way would
//! be a second, owned model of every packet.
#![allow(dead_code, reason = "each test uses its part")]

mod notation;

use std::num::{NonZeroU16, NonZeroU32};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use wherry_core::packet::*;

#[allow(unused_imports, reason = "each test uses its part")]
pub(crate) use notation::{accepted, bytes, decode, refused};

pub(crate) const VERSIONS: [ProtocolVersion; 3] = [
    ProtocolVersion::V3_1,
    ProtocolVersion::V3_1_1,
    ProtocolVersion::V5,
];

pub(crate) const SENDERS: [Sender; 2] = [Sender::Client, Sender::Server];

/// Any version and either side.
pub(crate) fn version_and_sender() -> impl Strategy<Value = (ProtocolVersion, Sender)> {
    (select(&VERSIONS[..]), select(&SENDERS[..]))
}

/// The identifiers of the properties that stand at most once in a packet (table 2-4, by column).
pub(crate) mod allowed {
    pub(crate) const CONNECT: &[u8] = &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x27];
    pub(crate) const WILL: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18];
    pub(crate) const CONNACK: &[u8] = &[
        0x11, 0x12, 0x13, 0x15, 0x16, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25, 0x27, 0x28, 0x29,
        0x2a,
    ];
    pub(crate) const PUBLISH: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x23];
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    pub(crate) const ACK: &[u8] = &[0x1f];
    pub(crate) const SUBSCRIBE: &[u8] = &[0x0b];
    pub(crate) const UNSUBSCRIBE: &[u8] = &[];
    pub(crate) const CLIENT_DISCONNECT: &[u8] = &[0x11, 0x1c, 0x1f];
    pub(crate) const SERVER_DISCONNECT: &[u8] = &[0x1c, 0x1f];
    pub(crate) const AUTH: &[u8] = &[0x15, 0x16, 0x1f];
}

/// The reason codes of each packet (sections 3.x.2.1, 3.9.3 and 3.11.3).
pub(crate) mod codes {
    pub(crate) const CONNACK: &[u8] = &[
        0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95,
        0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
    ];
    /// PUBACK and PUBREC.
    pub(crate) const RECEIVED: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    /// PUBREL and PUBCOMP.
    pub(crate) const RELEASED: &[u8] = &[0x00, 0x92];
    pub(crate) const SUBACK: &[u8] = &[
        0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2,
    ];
    pub(crate) const UNSUBACK: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
    pub(crate) const CLIENT_DISCONNECT: &[u8] = &[
        0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    ];
    pub(crate) const SERVER_DISCONNECT: &[u8] = &[
        0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94,
        0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
    ];
    pub(crate) const CLIENT_AUTH: &[u8] = &[0x18, 0x19];
    pub(crate) const SERVER_AUTH: &[u8] = &[0x00, 0x18];
}

fn keep<T>(values: Vec<T>) -> &'static [T] {
    values.leak()
}

fn characters(
    count: impl Into<proptest::collection::SizeRange>,
    refused: &'static [char],
) -> impl Strategy<Value = &'static str> {
    let character = any::<char>().prop_filter("not here", |c| !refused.contains(c));
    vec(character, count).prop_map(|c| &*c.into_iter().collect::<String>().leak())
}

static LONGEST: [u8; 65_535] = [b'x'; 65_535];

/// A string, now and then of the greatest length.
pub(crate) fn text() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        40 => characters(0..16, &['\0']),
        1 => Just(str::from_utf8(&LONGEST).unwrap_or_default()),
    ]
}

/// A topic name.
pub(crate) fn topic() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        characters(1..16, &['\0', '+', '#']),
        "[a-z]{1,4}(/[a-z]{0,4}){0,4}".prop_map(|t| &*t.leak()),
    ]
}

/// A topic filter; that its wildcards stand right is no promise.
pub(crate) fn filter() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        characters(1..16, &['\0']),
        "(\\$share/g/)?([a-z]|\\+)(/([a-z]|\\+)){0,3}(/#)?".prop_map(|t| &*t.leak()),
    ]
}

/// Binary data.
pub(crate) fn binary() -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..24).prop_map(keep)
}

/// Any QoS.
pub(crate) fn qos() -> impl Strategy<Value = QoS> {
    select(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][..])
}

/// Any packet identifier.
pub(crate) fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_filter_map("not zero", PacketId::new)
}

fn reason(codes: &'static [u8]) -> impl Strategy<Value = ReasonCode> {
    select(codes).prop_filter_map("a code", ReasonCode::from_u8)
}

/// The property with this identifier, with any value.
pub(crate) fn property(id: u8) -> BoxedStrategy<Property<'static>> {
    use Property::*;
    let two = || any::<NonZeroU16>();
    let four = || any::<NonZeroU32>();
    match id {
        0x01 => select(&[PayloadFormat::Unspecified, PayloadFormat::Utf8][..])
            .prop_map(PayloadFormatIndicator)
            .boxed(),
        0x02 => any::<u32>().prop_map(MessageExpiryInterval).boxed(),
        0x03 => text().prop_map(ContentType).boxed(),
        0x08 => topic().prop_map(ResponseTopic).boxed(),
        0x09 => binary().prop_map(CorrelationData).boxed(),
        0x0b => prop_oneof![1..=200_u32, 1..=268_435_455_u32]
            .prop_map(SubscriptionIdentifier)
            .boxed(),
        0x11 => any::<u32>().prop_map(SessionExpiryInterval).boxed(),
        0x12 => text().prop_map(AssignedClientIdentifier).boxed(),
        0x13 => any::<u16>().prop_map(ServerKeepAlive).boxed(),
        0x15 => text().prop_map(AuthenticationMethod).boxed(),
        0x16 => binary().prop_map(AuthenticationData).boxed(),
        0x17 => any::<bool>().prop_map(RequestProblemInformation).boxed(),
        0x18 => any::<u32>().prop_map(WillDelayInterval).boxed(),
        0x19 => any::<bool>().prop_map(RequestResponseInformation).boxed(),
        0x1a => text().prop_map(ResponseInformation).boxed(),
        0x1c => text().prop_map(ServerReference).boxed(),
        0x1f => text().prop_map(ReasonString).boxed(),
        0x21 => two().prop_map(ReceiveMaximum).boxed(),
        0x22 => any::<u16>().prop_map(TopicAliasMaximum).boxed(),
        0x23 => two().prop_map(TopicAlias).boxed(),
        0x24 => select(&[QoS::AtMostOnce, QoS::AtLeastOnce][..])
            .prop_map(MaximumQoS)
            .boxed(),
        0x25 => any::<bool>().prop_map(RetainAvailable).boxed(),
        0x27 => four().prop_map(MaximumPacketSize).boxed(),
        0x28 => any::<bool>()
            .prop_map(WildcardSubscriptionAvailable)
            .boxed(),
        0x29 => any::<bool>()
            .prop_map(SubscriptionIdentifierAvailable)
            .boxed(),
        0x2a => any::<bool>().prop_map(SharedSubscriptionAvailable).boxed(),
        _ => (text(), text())
            .prop_map(|(name, value)| UserProperty(name, value))
            .boxed(),
    }
}

/// Some of the properties in `once`, user properties, and others that `more` draws, in any order.
fn properties_with(
    version: ProtocolVersion,
    once: &'static [u8],
    more: impl Strategy<Value = Vec<Property<'static>>> + 'static,
) -> BoxedStrategy<Properties<'static>> {
    if version != ProtocolVersion::V5 {
        return Just(Properties::EMPTY).boxed();
    }
    let some_once = subsequence(once, 0..=once.len())
        .prop_flat_map(|ids| ids.into_iter().map(property).collect::<Vec<_>>());
    (some_once, vec(property(0x26), 0..3), more)
        .prop_map(|(once, user, more)| {
            let mut all = [once, user, more].concat();
            let has = |id| all.iter().any(|p: &Property<'_>| p.id() == id);
            if has(0x16) && !has(0x15) {
                all.push(Property::AuthenticationMethod("SCRAM-SHA-256"));
            }
            all
        })
        .prop_shuffle()
        .prop_map(|all| Properties::from_slice(keep(all)))
        .boxed()
}

fn properties(version: ProtocolVersion, once: &'static [u8]) -> BoxedStrategy<Properties<'static>> {
    properties_with(version, once, Just(Vec::new()))
}

/// Any CONNECT of this version.
pub(crate) fn connect(version: ProtocolVersion) -> impl Strategy<Value = Connect<'static>> {
    let will_properties = properties(version, allowed::WILL);
    let will = (topic(), binary(), qos(), any::<bool>(), will_properties).prop_map(
        |(topic, payload, qos, retain, properties)| Will {
            topic,
            payload,
            qos,
            retain,
            properties,
        },
    );
    (
        any::<(bool, bool, u16)>(),
        text(),
        (option::of(text()), option::of(binary())),
        option::of(will),
        properties(version, allowed::CONNECT),
    )
        .prop_map(move |(simple, client_id, credentials, will, properties)| {
            let (bridge, clean_start, keep_alive) = simple;
            let (username, password) = credentials;
            let v5 = version == ProtocolVersion::V5;
            Connect {
                version,
                bridge: bridge && !v5,
                clean_start,
                keep_alive,
                client_id,
                username,
                password: password.filter(|_| v5 || username.is_some()),
                will,
                properties,
            }
        })
}

fn connack(version: ProtocolVersion) -> impl Strategy<Value = ConnAck<'static>> {
    let reasons = match version {
        ProtocolVersion::V5 => codes::CONNACK,
        _ => &[0x00, 0x84, 0x85, 0x88, 0x86, 0x87],
    };
    (
        any::<bool>(),
        reason(reasons),
        properties(version, allowed::CONNACK),
    )
        .prop_map(move |(session, reason, properties)| ConnAck {
            session_present: session
                && reason == ReasonCode::Success
                && version != ProtocolVersion::V3_1,
            reason,
            properties,
        })
}

/// Any PUBLISH that `sender` may send in this version.
pub(crate) fn publish(
    version: ProtocolVersion,
    sender: Sender,
) -> impl Strategy<Value = Publish<'static>> {
    let identifiers = match sender {
        Sender::Client => 0..1,
        Sender::Server => 0..4,
    };
    (
        any::<(bool, bool, bool)>(),
        (qos(), packet_id()),
        topic(),
        properties_with(version, allowed::PUBLISH, vec(property(0x0b), identifiers)),
        binary(),
    )
        .prop_map(|(flags, (qos, id), topic, properties, payload)| {
            let (dup, retain, only_alias) = flags;
            let at_most_once = qos == QoS::AtMostOnce;
            let only_alias = only_alias && properties.topic_alias().is_some();
            Publish {
                dup: dup && !at_most_once,
                qos,
                retain,
                topic: if only_alias { "" } else { topic },
                packet_id: Some(id).filter(|_| !at_most_once),
                properties,
                payload,
            }
        })
}

fn ack(version: ProtocolVersion, codes: &'static [u8]) -> impl Strategy<Value = Ack<'static>> {
    let v5 = version == ProtocolVersion::V5;
    let codes = if v5 { codes } else { &[0x00] };
    (
        packet_id(),
        reason(codes),
        properties(version, allowed::ACK),
    )
        .prop_map(|(packet_id, reason, properties)| Ack {
            packet_id,
            reason,
            properties,
        })
}

fn options(version: ProtocolVersion) -> BoxedStrategy<SubscriptionOptions> {
    let handling = [
        RetainHandling::Send,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ];
    if version == ProtocolVersion::V5 {
        (qos(), any::<(bool, bool)>(), select(handling.to_vec()))
            .prop_map(|(qos, (no_local, retain_as_published), retain_handling)| {
                SubscriptionOptions {
                    qos,
                    no_local,
                    retain_as_published,
                    retain_handling,
                }
            })
            .boxed()
    } else {
        qos()
            .prop_map(|qos| SubscriptionOptions {
                qos,
                ..SubscriptionOptions::default()
            })
            .boxed()
    }
}

fn subscribe(version: ProtocolVersion) -> impl Strategy<Value = Subscribe<'static>> {
    let request = (filter(), options(version)).prop_map(|(filter, mut options)| {
        options.no_local &= !filter.starts_with("$share/");
        SubscriptionRequest { filter, options }
    });
    (
        packet_id(),
        properties(version, allowed::SUBSCRIBE),
        vec(request, 1..5),
    )
        .prop_map(|(packet_id, properties, requests)| Subscribe {
            packet_id,
            properties,
            filters: keep(requests).into(),
        })
}

fn suback(version: ProtocolVersion) -> impl Strategy<Value = SubAck<'static>> {
    let codes = match version {
        ProtocolVersion::V3_1 => &[0, 1, 2][..],
        ProtocolVersion::V3_1_1 => &[0, 1, 2, 0x80],
        ProtocolVersion::V5 => codes::SUBACK,
    };
    (
        packet_id(),
        properties(version, allowed::ACK),
        vec(select(codes), 1..5),
    )
        .prop_map(|(packet_id, properties, reasons)| SubAck {
            packet_id,
            properties,
            reasons: keep(reasons),
        })
}

fn unsubscribe(version: ProtocolVersion) -> impl Strategy<Value = Unsubscribe<'static>> {
    (
        packet_id(),
        properties(version, allowed::UNSUBSCRIBE),
        vec(filter(), 1..5),
    )
        .prop_map(|(packet_id, properties, filters)| Unsubscribe {
            packet_id,
            properties,
            filters: keep(filters).into(),
        })
}

fn unsuback(version: ProtocolVersion) -> impl Strategy<Value = UnsubAck<'static>> {
    let v5 = version == ProtocolVersion::V5;
    let count = if v5 { 1..5 } else { 0..1 };
    let reasons = vec(select(codes::UNSUBACK), count);
    (packet_id(), properties(version, allowed::ACK), reasons).prop_map(
        |(packet_id, properties, reasons)| UnsubAck {
            packet_id,
            properties,
            reasons: keep(reasons),
        },
    )
}

fn disconnect(
    version: ProtocolVersion,
    sender: Sender,
) -> impl Strategy<Value = Disconnect<'static>> {
    let (codes, once) = match sender {
        _ if version != ProtocolVersion::V5 => (&[0x00][..], &[][..]),
        Sender::Client => (codes::CLIENT_DISCONNECT, allowed::CLIENT_DISCONNECT),
        Sender::Server => (codes::SERVER_DISCONNECT, allowed::SERVER_DISCONNECT),
    };
    (reason(codes), properties(version, once))
        .prop_map(|(reason, properties)| Disconnect { reason, properties })
}

fn auth(sender: Sender) -> impl Strategy<Value = Auth<'static>> {
    let codes = match sender {
        Sender::Client => codes::CLIENT_AUTH,
        Sender::Server => codes::SERVER_AUTH,
    };
    (
        reason(codes),
        properties(ProtocolVersion::V5, allowed::AUTH),
        text(),
    )
        .prop_map(|(reason, drawn, method)| {
            let empty = reason == ReasonCode::Success && drawn.is_empty();
            let properties = if drawn.authentication_method().is_some() || empty {
                drawn
            } else {
                let mut all: Vec<_> = drawn.iter().collect();
                all.push(Property::AuthenticationMethod(method));
                Properties::from_slice(keep(all))
            };
            Auth { reason, properties }
        })
}

/// Any packet that `sender` may send in this version.
pub(crate) fn packet(version: ProtocolVersion, sender: Sender) -> BoxedStrategy<Packet<'static>> {
    let either = prop_oneof![
        publish(version, sender).prop_map(Packet::Publish),
        ack(version, codes::RECEIVED).prop_map(Packet::PubAck),
        ack(version, codes::RECEIVED).prop_map(Packet::PubRec),
        ack(version, codes::RELEASED).prop_map(Packet::PubRel),
        ack(version, codes::RELEASED).prop_map(Packet::PubComp),
    ];
    let one_side = match sender {
        Sender::Client => prop_oneof![
            connect(version).prop_map(Packet::Connect),
            subscribe(version).prop_map(Packet::Subscribe),
            unsubscribe(version).prop_map(Packet::Unsubscribe),
            Just(Packet::PingReq),
            disconnect(version, sender).prop_map(Packet::Disconnect),
        ]
        .boxed(),
        Sender::Server => prop_oneof![
            connack(version).prop_map(Packet::ConnAck),
            suback(version).prop_map(Packet::SubAck),
            unsuback(version).prop_map(Packet::UnsubAck),
            Just(Packet::PingResp),
        ]
        .boxed(),
    };
    let new_in_v5 = match version {
        ProtocolVersion::V5 => prop_oneof![
            disconnect(version, sender).prop_map(Packet::Disconnect),
            auth(sender).prop_map(Packet::Auth),
        ]
        .boxed(),
        _ => Just(match sender {
            Sender::Client => Packet::PingReq,
            Sender::Server => Packet::PingResp,
        })
        .boxed(),
    };
    prop_oneof![5 => either, 5 => one_side, 2 => new_in_v5].boxed()
}
