//! Our codec and the one of the tests, which share no line: each reads what the other writes.

use proptest::prelude::*;
use wherry_core::packet::{Connect, Packet, Properties, ProtocolVersion, Sender};
use wherry_tests::differential::values;
use wherry_tests::wire::{self, Received, Version, kind};

use crate::support::{VERSIONS, packet};

fn any_packet(sender: Sender) -> impl Strategy<Value = (ProtocolVersion, Packet<'static>)> {
    prop::sample::select(&VERSIONS[..]).prop_flat_map(move |version| {
        packet(version, sender).prop_map(move |packet| (version, packet))
    })
}

fn theirs(version: ProtocolVersion) -> Version {
    match version {
        ProtocolVersion::V3_1 => Version::V3_1,
        ProtocolVersion::V3_1_1 => Version::V3_1_1,
        ProtocolVersion::V5 => Version::V5,
    }
}

/// The same properties for the encoder of the tests, in their order.
fn written(properties: &Properties<'_>) -> wire::Properties {
    let all = values(properties).into_iter();
    all.fold(wire::Properties::new(), |properties, (id, value)| {
        properties.with(id, value)
    })
}

fn connect(connect: &Connect<'_>) -> Vec<u8> {
    let version = theirs(connect.version);
    let mut builder = wire::connect(version)
        .client_id(connect.client_id)
        .clean(connect.clean_start)
        .keep_alive(connect.keep_alive)
        .properties(written(&connect.properties));
    if let Some(will) = &connect.will {
        builder = builder.will(wire::Will {
            topic: will.topic.into(),
            payload: will.payload.into(),
            qos: will.qos as u8,
            retain: will.retain,
            properties: written(&will.properties),
        });
    }
    if let Some(name) = connect.username {
        builder = builder.username(name);
    }
    if let Some(password) = connect.password {
        builder = builder.password(password);
    }
    let bridge = if connect.bridge { 0x80 } else { 0 };
    let level = version.level() | bridge;
    builder.bytes_with(version.protocol_name(), level, builder.flags())
}

/// A packet as the encoder of the tests writes it.
fn write(version: ProtocolVersion, packet: &Packet<'_>) -> Vec<u8> {
    let version = theirs(version);
    let acknowledgement = |kind, id: u16, reason, properties: &Properties<'_>| {
        if version.is_v5() {
            wire::ack_with(kind, id, reason, &written(properties))
        } else {
            wire::ack(kind, id)
        }
    };
    match packet {
        Packet::Connect(it) => connect(it),
        Packet::Publish(it) => {
            let mut builder =
                wire::publish(version, it.topic, it.payload).properties(written(&it.properties));
            if let Some(id) = it.packet_id {
                builder = builder.qos(it.qos as u8, id.get());
            }
            if it.dup {
                builder = builder.dup();
            }
            if it.retain {
                builder = builder.retain();
            }
            builder.bytes()
        }
        Packet::PubAck(it) | Packet::PubRec(it) | Packet::PubRel(it) | Packet::PubComp(it) => {
            let kind = packet.packet_type() as u8;
            acknowledgement(kind, it.packet_id.get(), it.reason as u8, &it.properties)
        }
        Packet::Subscribe(it) => {
            let filters = it.filters.iter();
            let filters: Vec<_> = filters.map(|it| (it.filter, it.options.to_u8())).collect();
            let properties = written(&it.properties);
            wire::subscribe_with(version, it.packet_id.get(), &properties, &filters)
        }
        Packet::Unsubscribe(it) => {
            let filters: Vec<_> = it.filters.iter().collect();
            let properties = written(&it.properties);
            wire::unsubscribe_with(version, it.packet_id.get(), &properties, &filters)
        }
        Packet::PingReq => wire::PINGREQ.to_vec(),
        Packet::Disconnect(it) if version.is_v5() => {
            wire::disconnect_with(it.reason as u8, &written(&it.properties))
        }
        Packet::Disconnect(_) => wire::disconnect(version, 0),
        Packet::Auth(it) => wire::auth(it.reason as u8, &written(&it.properties)),
        other => unreachable!("no client sends {other:?}"),
    }
}

/// Asserts that the decoder of the tests reads the same of a packet.
fn assert_reads(version: ProtocolVersion, packet: &Packet<'_>, received: &Received) {
    let v5 = theirs(version).is_v5();
    let told = |properties: &Properties<'_>| match v5 {
        true => values(properties),
        false => Vec::new(),
    };
    let version = theirs(version);
    match packet {
        Packet::ConnAck(it) => {
            let read = received.connack(version);
            let code = match v5 {
                true => it.reason as u8,
                false => it.reason.connack_v3(),
            };
            assert_eq!(
                (read.session_present, read.code),
                (it.session_present, code)
            );
            assert_eq!(read.properties, told(&it.properties));
        }
        Packet::Publish(it) => {
            let read = received.publish(version);
            assert_eq!(
                (read.dup, read.qos, read.retain, &*read.topic),
                (it.dup, it.qos as u8, it.retain, it.topic)
            );
            assert_eq!(read.packet_id, it.packet_id.map(|id| id.get()));
            assert_eq!(read.payload, it.payload);
            assert_eq!(read.properties, told(&it.properties));
        }
        Packet::PubAck(it) | Packet::PubRec(it) | Packet::PubRel(it) | Packet::PubComp(it) => {
            let read = received.ack(packet.packet_type() as u8, version);
            assert_eq!(
                (read.packet_id, read.reason),
                (it.packet_id.get(), it.reason as u8)
            );
            assert_eq!(read.properties, told(&it.properties));
        }
        Packet::SubAck(it) => {
            let read = received.suback(version);
            assert_eq!(
                (read.packet_id, &*read.codes),
                (it.packet_id.get(), it.reasons)
            );
            assert_eq!(read.properties, told(&it.properties));
        }
        Packet::UnsubAck(it) => {
            let read = received.unsuback(version);
            assert_eq!(
                (read.packet_id, &*read.codes),
                (it.packet_id.get(), it.reasons)
            );
            assert_eq!(read.properties, told(&it.properties));
        }
        Packet::PingResp => {
            assert_eq!(received.first, kind::PINGRESP << 4);
            assert!(received.body.is_empty());
        }
        Packet::Disconnect(it) => {
            let read = received.disconnect();
            assert_eq!(
                (read.reason, read.properties),
                (it.reason as u8, told(&it.properties))
            );
        }
        Packet::Auth(it) => {
            let read = received.auth();
            assert_eq!(
                (read.reason, read.properties),
                (it.reason as u8, told(&it.properties))
            );
        }
        other => unreachable!("no server sends {other:?}"),
    }
}

proptest! {
    #[test]
    fn what_we_write_another_decoder_reads((version, packet) in any_packet(Sender::Server)) {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).expect("it can be written");
        let (received, len) = wire::first_packet(&bytes).expect("it is complete");
        prop_assert_eq!(len, bytes.len());
        assert_reads(version, &packet, &received);
    }

    #[test]
    fn what_another_encoder_writes_we_read((version, packet) in any_packet(Sender::Client)) {
        let bytes = write(version, &packet);
        let read = Packet::decode_one(&bytes, version, Sender::Client);
        prop_assert_eq!(read, Ok(Some((packet, bytes.len()))));
    }
}
