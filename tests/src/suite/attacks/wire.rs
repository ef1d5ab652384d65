//! The outline of packets and their order: A1 to A7 and A32.

use crate::attack::{Arena, Attack, Told};
use crate::broker::BinaryUnderTest;
use crate::client::Client;
use crate::random::Random;
use crate::suite::versions;
use crate::wire::{
    self, PINGREQ, Properties, Value, Version, Will, id, kind, packet, short_string,
    variable_byte_integer,
};

/// A1: the first packet is not CONNECT, or no MQTT at all [MQTT-3.1.0-1]. Nothing is said to a
/// stranger.
pub fn a1_first_packet_is_not_connect(binary: &BinaryUnderTest) {
    let mut arena = Arena::new(binary);
    for version in versions() {
        let packets = [
            vec![0, 0],
            packet(kind::CONNACK << 4, [0, 0]),
            wire::publish(version, "a", "b").bytes(),
            wire::publish(version, "a", "b").qos(2, 7).retain().bytes(),
            packet(kind::PUBACK << 4, [0, 1]),
            packet(kind::PUBREC << 4, [0, 1]),
            packet(kind::PUBREL << 4 | 2, [0, 1]),
            packet(kind::PUBCOMP << 4, [0, 1]),
            wire::subscribe(version, 1, &[("#", 0)]),
            packet(kind::SUBACK << 4, [0, 1, 0]),
            wire::unsubscribe(version, 1, &["#"]),
            packet(kind::UNSUBACK << 4, [0, 1]),
            PINGREQ.to_vec(),
            packet(kind::PINGRESP << 4, []),
            wire::disconnect(version, 0),
            packet(kind::AUTH << 4, []),
        ];
        for bytes in packets {
            let attack = Attack::by_stranger(version, bytes).counted("ended_protocol_error");
            arena.attack(&attack);
        }
    }
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0\0\0\0\0\0\0\0",
        &[0xff; 64],
    ] {
        // How much of it is read before it is over differs: only the end is promised.
        arena.attack(&Attack::by_stranger(Version::V3_1_1, bytes).counted("ended_protocol_error"));
    }
    arena.finish();
}

/// A2: a remaining length of 256 MB, then silence. What is above the limit ends the connection as
/// soon as it is announced; what is below it takes memory only as it comes.
pub fn a2_huge_length_then_silence(binary: &BinaryUnderTest) {
    const HUGE: [u8; 4] = [0xff, 0xff, 0xff, 0x7f];
    let mut arena = Arena::new(binary);
    for version in versions() {
        let connect = [&[kind::CONNECT << 4][..], &HUGE].concat();
        arena.attack(
            &Attack::by_stranger(version, connect.clone()).counted("ended_packet_too_large"),
        );
        let other = [&[kind::PUBLISH << 4][..], &HUGE].concat();
        arena.attack(&Attack::by_stranger(version, other).counted("ended_protocol_error"));
        for first in [0x30, 0x31, 0x82, 0xa2] {
            let bytes = [&[first][..], &HUGE].concat();
            let attack = Attack::by_client(version, bytes)
                .told(Told::Disconnect(&[0x95]))
                .counted("ended_packet_too_large");
            arena.attack(&attack);
        }
    }
    // Announced, allowed, and never sent: a broker that allocates ahead would take 1.5 GB.
    let mut waiting = Vec::new();
    for n in 0..100_usize {
        let mut client = Client::connect(arena.broker(), Version::ALL[n % 3], &format!("w{n}"));
        let head = wire::publish(client.version(), "never", vec![0; 15 << 20]).bytes();
        client.send(&head[..1000]);
        waiting.push(client);
    }
    arena.assert_well();
    // The same as strangers, with a CONNECT within its limit.
    for n in 0..100_usize {
        let version = Version::ALL[n % 3];
        let mut client = Client::dial(arena.broker(), version);
        let connect = wire::connect(version)
            .client_id("c")
            .username([b'u'; 60_000])
            .bytes();
        client.send(&connect[..connect.len() / 100]);
        waiting.push(client);
    }
    arena.assert_well();
    drop(waiting);
    arena.finish();
}

/// A3: a variable byte integer of five bytes, or not in its shortest form [MQTT-1.5.5-1], as the
/// length of a packet or of properties.
pub fn a3_malformed_variable_byte_integers(binary: &BinaryUnderTest) {
    let mut arena = Arena::new(binary);
    let error = |attack: Attack| attack.counted("ended_protocol_error");
    for version in versions() {
        for length in [
            &[0xff, 0xff, 0xff, 0xff, 0x7f][..],
            &[0x80, 0x80, 0x80, 0x80, 0x01],
            &[0x80, 0x80, 0x80, 0x80, 0x00],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            let connect = [&[kind::CONNECT << 4][..], length].concat();
            arena.attack(&error(Attack::by_stranger(version, connect)));
            for first in [0x30, 0x82, 0xc0, 0xe0] {
                let bytes = [&[first][..], length].concat();
                arena.attack(&error(Attack::by_client(version, bytes)));
            }
        }
        for ping in [&[0xc0, 0x80, 0x00][..], &[0xc0, 0x80, 0x80, 0x00]] {
            arena.attack(&error(Attack::by_client(version, ping)));
        }
        let publish = [&[0x30, 0x84, 0x00][..], b"\0\x01ab"].concat();
        arena.attack(&error(Attack::by_client(version, publish)));
    }
    // The lengths of properties, and a property that is such an integer itself.
    let version = Version::V5;
    for length in [
        &[0x80, 0x00][..],
        &[0x80, 0x80, 0x80, 0x80, 0x01],
        &[0xff; 5],
        &[0x80],
    ] {
        let connect = [&b"\0\x04MQTT\x05\x02\0\0"[..], length, b"\0\x01a"].concat();
        let connect = packet(kind::CONNECT << 4, connect);
        arena.attack(&error(
            Attack::by_stranger(version, connect).told(Told::Connack(0x81)),
        ));
        let publish = packet(0x30, [&b"\0\x01a"[..], length].concat());
        arena.attack(&error(Attack::by_client(version, publish)));
        let subscribe = packet(0x82, [&b"\0\x01"[..], length, b"\0\x01a\0"].concat());
        arena.attack(&error(Attack::by_client(version, subscribe)));
        let number = [&[id::SUBSCRIPTION_IDENTIFIER][..], length].concat();
        let properties = [variable_byte_integer(number.len() as u32), number].concat();
        let subscribe = packet(0x82, [&b"\0\x01"[..], &properties, b"\0\x01a\0"].concat());
        arena.attack(&error(Attack::by_client(version, subscribe)));
    }
    arena.finish();
}

/// A4: an inner length that points past the end of its packet, in every packet that has one.
pub fn a4_inner_length_past_the_end(binary: &BinaryUnderTest) {
    let mut arena = Arena::new(binary);
    for version in versions() {
        let will = Will::new("will", "payload");
        let connect = wire::connect(version).client_id("id").will(will);
        let connect = connect.username("user").password("pass").bytes();
        let told = if version.is_v5() {
            Told::Connack(0x81)
        } else {
            Told::Nothing
        };
        // Every two bytes of a CONNECT that are the length of a field are made too large.
        for field in ["id", "will", "payload", "user", "pass"] {
            let wanted = short_string(field);
            let at = connect
                .windows(wanted.len())
                .position(|w| w == wanted)
                .expect("it is there");
            for length in [0xffff_u16, 0x7fff, connect.len() as u16] {
                let mut bytes = connect.clone();
                bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
                let attack = Attack::by_stranger(version, bytes).told(told);
                arena.attack(&attack.counted("ended_protocol_error"));
            }
        }
        // A protocol name past the end is nobody's protocol.
        let name = packet(0x10, b"\xff\xffMQTT\x04\x02\0\0\0\0");
        arena.attack(&Attack::by_stranger(version, name).counted("ended_protocol_error"));
        let mut bodies = vec![
            (0x30, b"\xff\xffa".to_vec()),
            (0x30, b"\0\x02a".to_vec()),
            (0x30, b"\0".to_vec()),
            (0x30, vec![]),
            (0x82, vec![]),
            (0x82, b"\0".to_vec()),
            (0xa2, b"\0".to_vec()),
            (0x40, b"\0".to_vec()),
            (0x50, vec![]),
            (0x62, b"\0".to_vec()),
            (0x70, b"\0".to_vec()),
        ];
        let none: &[u8] = if version.is_v5() { b"\0" } else { b"" };
        for rest in [
            &b"\xff\xffa\0"[..],
            b"\0\x03a\0",
            b"\0\x01a\0\0",
            b"\0\x01a\0\xff\xffb\0",
        ] {
            bodies.push((0x82, [&b"\0\x01"[..], none, rest].concat()));
        }
        for rest in [&b"\xff\xffa"[..], b"\0\x03a", b"\0\x01a\0"] {
            bodies.push((0xa2, [&b"\0\x01"[..], none, rest].concat()));
        }
        if version.is_v5() {
            // The length of the properties, and lengths inside them.
            for properties in [
                &b"\x7f"[..],
                b"\x05\x03\xff\xffa",
                b"\x05\x26\0\x01a\xff",
                b"\x01\x01",
            ] {
                bodies.push((0x30, [&b"\0\x01a"[..], properties].concat()));
                bodies.push((0x82, [&b"\0\x01"[..], properties].concat()));
                bodies.push((0xa2, [&b"\0\x01"[..], properties].concat()));
                for first in [0x40, 0x50, 0x62, 0x70] {
                    bodies.push((first, [&b"\0\x01\0"[..], properties].concat()));
                }
                bodies.push((0xe0, [&b"\0"[..], properties].concat()));
                bodies.push((0xf0, [&b"\x18"[..], properties].concat()));
            }
        } else {
            // What has no body there has one here.
            bodies.push((0xe0, b"\0".to_vec()));
        }
        bodies.push((0xc0, b"\0".to_vec()));
        for (first, body) in bodies {
            arena.attack(&Attack::by_client(version, packet(first, body)));
        }
    }
    arena.finish();
}

/// A5: bad will properties, and 20,000 malformed CONNECTs, after which nothing has leaked.
pub fn a5_malformed_connects_leave_nothing_behind(binary: &BinaryUnderTest) {
    let mut arena = Arena::new(binary);
    let none = Properties::new;
    let twice = |id, value: Value| none().with(id, value.clone()).with(id, value);
    for properties in [
        none().with(id::TOPIC_ALIAS, Value::Two(1)),
        none().with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(1)),
        none().with(id::SESSION_EXPIRY_INTERVAL, Value::Four(1)),
        none().with(0, Value::Byte(0)),
        none().with(0x80, Value::Byte(1)),
        none().with(id::PAYLOAD_FORMAT_INDICATOR, Value::Byte(2)),
        twice(id::WILL_DELAY_INTERVAL, Value::Four(1)),
        twice(id::CONTENT_TYPE, Value::Text("x".into())),
        twice(id::CORRELATION_DATA, Value::Binary(vec![1])),
        Properties(vec![id::WILL_DELAY_INTERVAL, 0, 0]),
        Properties(vec![id::CONTENT_TYPE, 0xff, 0xff]),
        Properties(vec![id::USER_PROPERTY, 0, 1, b'a']),
    ] {
        let will = Will {
            properties,
            ..Will::new("will", "never")
        };
        let bytes = wire::connect(Version::V5)
            .client_id("bad will")
            .will(will)
            .bytes();
        for slowly in [false, true] {
            let mut client = Client::dial(arena.broker(), Version::V5);
            client.throw(&bytes, if slowly { 1 } else { bytes.len() });
            let code = client.expect_any().connack(Version::V5).code;
            assert!([0x81, 0x82].contains(&code), "{code:#04x}");
            client.expect_closed();
            arena.promise_log(vec![client.address().to_string(), "not let in".into()]);
            arena.expect_count("ended_protocol_error", 1);
        }
        arena.assert_well();
    }
    let mut random = Random::new(5);
    let mut malformed = |n: usize| {
        let version = Version::ALL[n % 3];
        let will = Will::new("t".repeat(1 + n % 1000), random.bytes(100));
        let connect = wire::connect(version)
            .client_id(format!("leak{n}"))
            .will(will);
        let mut bytes = connect
            .username(random.bytes(50))
            .password(random.bytes(50))
            .bytes();
        // The last field points past the end, so that everything before it has been read.
        let at = bytes.len() - 52;
        bytes[at] = 0xff;
        bytes
    };
    let mut throw = |arena: &mut Arena, count: usize| {
        for n in 0..count {
            let mut client = Client::dial(arena.broker(), Version::ALL[n % 3]);
            let bytes = malformed(n);
            client.throw(&bytes, if n % 20 == 0 { 1 } else { bytes.len() });
            client.shut_down_writing();
            client.drain(crate::PATIENCE);
        }
        arena.expect_count("ended_protocol_error", count as u64);
    };
    throw(&mut arena, 2000);
    let before = arena.broker().rss_bytes();
    throw(&mut arena, 20_000);
    let growth = arena.broker().rss_bytes().saturating_sub(before);
    assert!(
        growth < 2 << 20,
        "20,000 malformed CONNECTs left {growth} bytes behind"
    );
    arena.finish();
}

/// A6: a second CONNECT, and packets that only a server may send, or nobody.
pub fn a6_packets_out_of_place(binary: &BinaryUnderTest) {
    let mut arena = Arena::new(binary);
    for version in versions() {
        let properties: &[u8] = if version.is_v5() { b"\0" } else { b"" };
        let connect = wire::connect(version).client_id("second");
        for bytes in [
            connect.bytes(),
            connect.clone().client_id("").bytes(),
            wire::connect(Version::V3_1)
                .client_id("other version")
                .bytes(),
            packet(kind::CONNACK << 4, [b"\0\0", properties].concat()),
            packet(kind::SUBACK << 4, [b"\0\x01", properties, b"\0"].concat()),
            packet(kind::UNSUBACK << 4, [b"\0\x01", properties].concat()),
            packet(kind::PINGRESP << 4, []),
            packet(0, []),
            packet(0x0f, [1, 2, 3]),
            // AUTH where no method was agreed upon, and where there is no AUTH.
            packet(kind::AUTH << 4, [0x18, 0]),
            packet(kind::AUTH << 4, []),
            // Flags that are not 0.
            packet(kind::PINGREQ << 4 | 1, []),
            packet(kind::DISCONNECT << 4 | 8, []),
            packet(kind::PUBREL << 4, [0, 1]),
        ] {
            arena.attack(&Attack::by_client(version, bytes));
        }
    }
    arena.finish();
}

/// A7: an empty topic without alias, or with one that was not given; alias 0, or any above the
/// maximum, which is 16 [MQTT-3.3.2-8, MQTT-3.3.2-9].
pub fn a7_empty_topics_and_bad_aliases(binary: &BinaryUnderTest) {
    let mut arena = Arena::new(binary);
    for version in versions() {
        for publish in [
            wire::publish(version, "", "x"),
            wire::publish(version, "", "").retain(),
        ] {
            let attack = Attack::by_client(version, publish.bytes());
            arena.attack(&attack.told(Told::Disconnect(&[0x82])));
        }
    }
    let version = Version::V5;
    let with = |topic: &str, alias| {
        wire::publish(version, topic, "x").with(id::TOPIC_ALIAS, Value::Two(alias))
    };
    for alias in [0, 17, 18, 0x100, 0xffff] {
        for topic in ["", "a"] {
            let attack = Attack::by_client(version, with(topic, alias).bytes());
            arena.attack(&attack.told(Told::Disconnect(&[0x94])));
        }
    }
    let given = [with("a", 1), with("a", 16)]
        .map(|publish| publish.bytes())
        .concat();
    for alias in [2, 15] {
        for publish in [
            with("", alias),
            with("", alias).qos(1, 1),
            with("", alias).qos(2, 1),
        ] {
            let bytes = [&given[..], &publish.bytes()].concat();
            let attack = Attack::by_client(version, bytes);
            arena.attack(&attack.told(Told::Disconnect(&[0x82])));
        }
    }
    let twice = Properties::new()
        .with(id::TOPIC_ALIAS, Value::Two(1))
        .with(id::TOPIC_ALIAS, Value::Two(1));
    let publish = wire::publish(version, "a", "x").properties(twice);
    arena.attack(&Attack::by_client(version, publish.bytes()));
    arena.finish();
}

/// A32: thousands of random and mutated streams. Whatever they say, the broker lives.
pub fn a32_random_streams(binary: &BinaryUnderTest) {
    const STREAMS: usize = 3000;
    // Streams may retain and subscribe as they like.
    let mut arena = Arena::new(binary).allow_growth(64 << 20);
    let mut random = Random::new(32);
    for n in 0..STREAMS {
        let version = *random.one_of(&Version::ALL);
        let bytes = stream(&mut random, version);
        let mut client = Client::dial(arena.broker(), version);
        client.throw(
            &bytes,
            if n % 10 == 0 {
                1
            } else {
                1 + random.below(1 + bytes.len())
            },
        );
        client.shut_down_writing();
        client.drain(crate::PATIENCE);
        if n % 100 == 0 {
            arena.assert_well();
        }
    }
    arena.finish();
}

/// A stream that begins well and goes wrong somewhere.
fn stream(random: &mut Random, version: Version) -> Vec<u8> {
    let topics = [
        "a",
        "a/b",
        "/",
        "$SYS/x",
        "",
        "a//b",
        "\u{1f6f6}",
        "#",
        "r/+",
    ];
    // Its own name space, so that no stream takes over the bystanders.
    let name = format!("x{}", random.below(50));
    let connect = if random.below(4) == 0 {
        wire::lasting(version, &name)
    } else {
        wire::connect(version).client_id(name)
    };
    let mut bytes = if random.below(20) == 0 {
        Vec::new()
    } else {
        connect.bytes()
    };
    for _ in 0..random.below(12) {
        let topic = *random.one_of(&topics);
        let len = random.below(300);
        let payload = random.bytes(len);
        bytes.extend(match random.below(9) {
            0 => wire::subscribe(version, random.next_u64() as u16, &[(topic, 0), ("r/#", 1)]),
            1 => wire::unsubscribe(version, 1, &[topic, "r/#"]),
            2 => wire::publish(version, topic, payload).retain().bytes(),
            3 => wire::publish(version, topic, payload)
                .properties(Properties::new().user("a", "b"))
                .bytes(),
            4 => PINGREQ.to_vec(),
            5 => packet(random.next_u64() as u8, payload),
            6 => wire::publish(version, topic, payload)
                .qos(random.below(4) as u8, 1)
                .bytes(),
            7 => wire::ack(4 + random.below(4) as u8, 1 + random.below(3) as u16),
            _ => wire::publish(version, "r/x", payload).bytes(),
        });
    }
    match random.below(4) {
        // A few bytes are something else.
        0 if !bytes.is_empty() => {
            for _ in 0..=random.below(8) {
                let at = random.below(bytes.len());
                bytes[at] = random.next_u64() as u8;
            }
        }
        // A bit is flipped.
        1 if !bytes.is_empty() => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        // Cut somewhere, and noise after it.
        2 => {
            bytes.truncate(random.below(bytes.len() + 1));
            let len = random.below(50);
            bytes.extend(random.bytes(len));
        }
        _ => {}
    }
    bytes
}
