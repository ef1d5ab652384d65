//! Packets written down byte by byte from the specifications, so that encoder and decoder cannot
//! be wrong together.

mod support;

use std::num::{NonZeroU16, NonZeroU32};

use ProtocolVersion::{V3_1, V3_1_1, V5};
use Sender::{Client, Server};
use support::bytes;
use wherry_core::packet::*;

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

/// The packet and the bytes are the same thing, read in either direction.
#[track_caller]
fn same(packet: Packet<'_>, version: ProtocolVersion, sender: Sender, notation: &str) {
    let wire = bytes(notation);
    let mut encoded = Vec::new();
    assert_eq!(packet.encode(version, &mut encoded), Ok(()));
    assert_eq!(encoded, wire);
    assert_eq!(packet.encoded_len(version), wire.len());
    assert_eq!(
        Packet::decode_one(&wire, version, sender),
        Ok(Some((packet, wire.len())))
    );
}

fn plain_connect(version: ProtocolVersion) -> Connect<'static> {
    Connect {
        version,
        bridge: false,
        clean_start: true,
        keep_alive: 60,
        client_id: "me",
        username: None,
        password: None,
        will: None,
        properties: Properties::EMPTY,
    }
}

#[test]
fn connect_in_each_version() {
    let connect = |version| Packet::Connect(plain_connect(version));
    same(
        connect(V3_1),
        V3_1,
        Client,
        "10 10 00 06 'MQIsdp' 03 02 00 3C 00 02 'me'",
    );
    same(
        connect(V3_1_1),
        V3_1_1,
        Client,
        "10 0E 00 04 'MQTT' 04 02 00 3C 00 02 'me'",
    );
    same(
        connect(V5),
        V5,
        Client,
        "10 0F 00 04 'MQTT' 05 02 00 3C 00 00 02 'me'",
    );
}

#[test]
fn connect_of_a_bridge() {
    let bridge = |version| {
        Packet::Connect(Connect {
            bridge: true,
            ..plain_connect(version)
        })
    };
    same(
        bridge(V3_1),
        V3_1,
        Client,
        "10 | 00 06 'MQIsdp' 83 02 00 3C 00 02 'me'",
    );
    same(
        bridge(V3_1_1),
        V3_1_1,
        Client,
        "10 | 00 04 'MQTT' 84 02 00 3C 00 02 'me'",
    );
}

#[test]
fn connect_with_everything() {
    // The flags of the non-normative example in section 3.1.2 (0xCE), with Will Retain.
    let will = Will {
        topic: "w",
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: Properties::EMPTY,
    };
    let connect = Connect {
        keep_alive: 10,
        username: Some("u"),
        password: Some(b"pw"),
        will: Some(will),
        ..plain_connect(V3_1_1)
    };
    same(
        Packet::Connect(connect),
        V3_1_1,
        Client,
        "10 | 00 04 'MQTT' 04 EE 00 0A 00 02 'me' 00 01 'w' 00 04 'gone' 00 01 'u' 00 02 'pw'",
    );
    let will_properties = [Property::WillDelayInterval(5)];
    let properties = [
        Property::SessionExpiryInterval(10),
        Property::ReceiveMaximum(NonZeroU16::new(20).expect("not zero")),
        Property::MaximumPacketSize(NonZeroU32::new(256).expect("not zero")),
    ];
    let connect = Connect {
        version: V5,
        will: Some(Will {
            properties: Properties::from_slice(&will_properties),
            ..will
        }),
        properties: Properties::from_slice(&properties),
        ..connect
    };
    same(
        Packet::Connect(connect),
        V5,
        Client,
        "10 | 00 04 'MQTT' 05 EE 00 0A 0D 11 00 00 00 0A 21 00 14 27 00 00 01 00 00 02 'me' \
         05 18 00 00 00 05 00 01 'w' 00 04 'gone' 00 01 'u' 00 02 'pw'",
    );
}

#[test]
fn connect_with_a_password_alone_exists_since_v5() {
    let connect = |version| {
        Packet::Connect(Connect {
            password: Some(b"token"),
            ..plain_connect(version)
        })
    };
    let wire = "10 | 00 04 'MQTT' 05 42 00 3C 00 00 02 'me' 00 05 'token'";
    same(connect(V5), V5, Client, wire);
    let refused = connect(V3_1_1).encode(V3_1_1, &mut Vec::new());
    assert_eq!(refused, Err(EncodeError::PasswordWithoutUserName));
}

#[test]
fn connack_in_each_version() {
    let ack = |session_present, reason| {
        Packet::ConnAck(ConnAck {
            session_present,
            reason,
            properties: Properties::EMPTY,
        })
    };
    same(ack(false, ReasonCode::Success), V3_1, Server, "20 02 00 00");
    same(
        ack(true, ReasonCode::Success),
        V3_1_1,
        Server,
        "20 02 01 00",
    );
    same(ack(true, ReasonCode::Success), V5, Server, "20 03 01 00 00");
    same(
        ack(false, ReasonCode::NotAuthorized),
        V3_1_1,
        Server,
        "20 02 00 05",
    );
    same(
        ack(false, ReasonCode::NotAuthorized),
        V5,
        Server,
        "20 03 00 87 00",
    );
    let properties = [
        Property::AssignedClientIdentifier("x1"),
        Property::MaximumQoS(QoS::AtLeastOnce),
        Property::RetainAvailable(false),
        Property::ServerKeepAlive(30),
    ];
    let full = Packet::ConnAck(ConnAck {
        session_present: false,
        reason: ReasonCode::Success,
        properties: Properties::from_slice(&properties),
    });
    same(
        full,
        V5,
        Server,
        "20 | 00 00 0C 12 00 02 'x1' 24 01 25 00 13 00 1E",
    );
}

#[test]
fn publish_in_each_version() {
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "a/b",
        packet_id: None,
        properties: Properties::EMPTY,
        payload: b"hi",
    };
    for version in [V3_1, V3_1_1] {
        same(
            Packet::Publish(publish),
            version,
            Client,
            "30 07 00 03 'a/b' 'hi'",
        );
    }
    same(
        Packet::Publish(publish),
        V5,
        Client,
        "30 08 00 03 'a/b' 00 'hi'",
    );
    // The non-normative example of section 3.3.2: topic a/b, packet identifier 10.
    let publish = Publish {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: true,
        packet_id: Some(id(10)),
        ..publish
    };
    same(
        Packet::Publish(publish),
        V3_1_1,
        Server,
        "3B 09 00 03 'a/b' 00 0A 'hi'",
    );
    let properties = [
        Property::PayloadFormatIndicator(PayloadFormat::Utf8),
        Property::SubscriptionIdentifier(1),
        Property::SubscriptionIdentifier(300),
        Property::UserProperty("k", "v"),
    ];
    let publish = Publish {
        dup: false,
        qos: QoS::ExactlyOnce,
        properties: Properties::from_slice(&properties),
        ..publish
    };
    let wire = "35 | 00 03 'a/b' 00 0A 0E 01 01 0B 01 0B AC 02 26 00 01 'k' 00 01 'v' 'hi'";
    same(Packet::Publish(publish), V5, Server, wire);
}

#[test]
fn publish_by_alias_alone() {
    let alias = [Property::TopicAlias(NonZeroU16::new(7).expect("not zero"))];
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "",
        packet_id: None,
        properties: Properties::from_slice(&alias),
        payload: &[],
    };
    same(
        Packet::Publish(publish),
        V5,
        Client,
        "30 06 00 00 03 23 00 07",
    );
}

#[test]
fn acknowledgements_in_each_version() {
    let ack = Ack::success(id(0x1234));
    for version in [V3_1, V3_1_1, V5] {
        for sender in [Client, Server] {
            same(Packet::PubAck(ack), version, sender, "40 02 12 34");
            same(Packet::PubRec(ack), version, sender, "50 02 12 34");
            same(Packet::PubRel(ack), version, sender, "62 02 12 34");
            same(Packet::PubComp(ack), version, sender, "70 02 12 34");
        }
    }
    let missing = Ack {
        reason: ReasonCode::PacketIdentifierNotFound,
        ..Ack::success(id(2))
    };
    same(Packet::PubRel(missing), V5, Client, "62 03 00 02 92");
    let why = [Property::ReasonString("no")];
    let refused = Ack {
        packet_id: id(2),
        reason: ReasonCode::QuotaExceeded,
        properties: Properties::from_slice(&why),
    };
    same(
        Packet::PubAck(refused),
        V5,
        Server,
        "40 09 00 02 97 05 1F 00 02 'no'",
    );
}

#[test]
fn acknowledgements_before_v5_do_not_say_how_it_went() {
    let refused = Ack {
        reason: ReasonCode::QuotaExceeded,
        ..Ack::success(id(2))
    };
    let mut encoded = Vec::new();
    assert_eq!(Packet::PubRec(refused).encode(V3_1_1, &mut encoded), Ok(()));
    assert_eq!(encoded, bytes("50 02 00 02"));
}

#[test]
fn subscribe_and_suback_in_each_version() {
    // The non-normative example of section 3.8.3: a/b with QoS 1, c/d with QoS 2.
    let request = |filter, qos| SubscriptionRequest {
        filter,
        options: SubscriptionOptions {
            qos,
            ..SubscriptionOptions::default()
        },
    };
    let requests = [
        request("a/b", QoS::AtLeastOnce),
        request("c/d", QoS::ExactlyOnce),
    ];
    let subscribe = Subscribe {
        packet_id: id(10),
        properties: Properties::EMPTY,
        filters: Subscriptions::from(&requests[..]),
    };
    let wire = "82 0E 00 0A 00 03 'a/b' 01 00 03 'c/d' 02";
    same(Packet::Subscribe(subscribe), V3_1_1, Client, wire);
    same(Packet::Subscribe(subscribe), V3_1, Client, wire);
    let mut all = requests;
    all[0].options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let identifier = [Property::SubscriptionIdentifier(128)];
    let subscribe = Subscribe {
        properties: Properties::from_slice(&identifier),
        filters: Subscriptions::from(&all[..]),
        ..subscribe
    };
    let wire = "82 12 00 0A 03 0B 80 01 00 03 'a/b' 2D 00 03 'c/d' 02";
    same(Packet::Subscribe(subscribe), V5, Client, wire);

    let ack = SubAck {
        packet_id: id(10),
        properties: Properties::EMPTY,
        reasons: &[0, 2, 0x80],
    };
    same(Packet::SubAck(ack), V3_1_1, Server, "90 05 00 0A 00 02 80");
    same(Packet::SubAck(ack), V5, Server, "90 06 00 0A 00 00 02 80");
}

#[test]
fn suback_says_failure_as_well_as_the_version_can() {
    let ack = Packet::SubAck(SubAck {
        packet_id: id(1),
        properties: Properties::EMPTY,
        reasons: &[1, 0x87, 0x8f],
    });
    let encode = |version| {
        let mut encoded = Vec::new();
        assert_eq!(ack.encode(version, &mut encoded), Ok(()));
        encoded
    };
    assert_eq!(encode(V5), bytes("90 06 00 01 00 01 87 8F"));
    assert_eq!(encode(V3_1_1), bytes("90 05 00 01 01 80 80"));
    assert_eq!(encode(V3_1), bytes("90 05 00 01 01 00 00"));
}

#[test]
fn unsubscribe_and_unsuback_in_each_version() {
    let unsubscribe = Packet::Unsubscribe(Unsubscribe {
        packet_id: id(10),
        properties: Properties::EMPTY,
        filters: Filters::from(&["a/b", "c/d"][..]),
    });
    same(
        unsubscribe,
        V3_1_1,
        Client,
        "A2 0C 00 0A 00 03 'a/b' 00 03 'c/d'",
    );
    same(
        unsubscribe,
        V5,
        Client,
        "A2 0D 00 0A 00 00 03 'a/b' 00 03 'c/d'",
    );
    let ack = |reasons| {
        Packet::UnsubAck(UnsubAck {
            packet_id: id(10),
            properties: Properties::EMPTY,
            reasons,
        })
    };
    same(ack(&[]), V3_1, Server, "B0 02 00 0A");
    same(ack(&[]), V3_1_1, Server, "B0 02 00 0A");
    same(ack(&[0x00, 0x11]), V5, Server, "B0 05 00 0A 00 00 11");
}

#[test]
fn packets_without_a_body_in_each_version() {
    for version in [V3_1, V3_1_1, V5] {
        same(Packet::PingReq, version, Client, "C0 00");
        same(Packet::PingResp, version, Server, "D0 00");
        let disconnect = Disconnect {
            reason: ReasonCode::NORMAL_DISCONNECTION,
            properties: Properties::EMPTY,
        };
        same(Packet::Disconnect(disconnect), version, Client, "E0 00");
    }
}

#[test]
fn disconnect_and_auth() {
    let disconnect = |reason, properties| Packet::Disconnect(Disconnect { reason, properties });
    let taken_over = disconnect(ReasonCode::SessionTakenOver, Properties::EMPTY);
    same(taken_over, V5, Server, "E0 01 8E");
    let expiry = [Property::SessionExpiryInterval(0)];
    let expire = disconnect(ReasonCode::Success, Properties::from_slice(&expiry));
    same(expire, V5, Client, "E0 07 00 05 11 00 00 00 00");

    let properties = [
        Property::AuthenticationMethod("M"),
        Property::AuthenticationData(&[1, 2]),
    ];
    let auth = Packet::Auth(Auth {
        reason: ReasonCode::ContinueAuthentication,
        properties: Properties::from_slice(&properties),
    });
    same(auth, V5, Server, "F0 0B 18 09 15 00 01 'M' 16 00 02 01 02");
    assert_eq!(
        auth.encode(V3_1_1, &mut Vec::new()),
        Err(EncodeError::NoSuchPacket)
    );
    let done = Packet::Auth(Auth {
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    });
    same(done, V5, Server, "F0 00");
}

#[test]
fn an_endings_long_form_means_the_same_as_its_short_form() {
    let pairs = [
        ("40 02 00 01", "40 03 00 01 00"),
        ("40 02 00 01", "40 04 00 01 00 00"),
        ("62 03 00 01 92", "62 04 00 01 92 00"),
        ("E0 00", "E0 01 00"),
        ("E0 00", "E0 02 00 00"),
        ("E0 01 81", "E0 02 81 00"),
    ];
    for (short, long) in pairs {
        let (short, long) = (bytes(short), bytes(long));
        let decode = |wire| Packet::decode_one(wire, V5, Client).map(|found| found.map(|f| f.0));
        assert!(matches!(decode(&short), Ok(Some(_))));
        assert_eq!(decode(&short), decode(&long));
    }
}
