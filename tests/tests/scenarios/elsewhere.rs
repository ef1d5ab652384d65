//! Clients that are sent to another server.

use wherry_core::Config;
use wherry_core::packet::ReasonCode;
use wherry_tests::scenario::{Admission, Client, World};
use wherry_tests::wire::{self, Disconnect, Properties, Value, Version, id, kind};

const SERVER: &str = "other.example:1883";

fn world(server: Option<&str>, max_sessions: usize) -> World {
    World::new(Config {
        server_reference: server.map(Into::into),
        max_sessions,
        ..Config::default()
    })
}

/// A CONNECT of a client that takes packets of at most that size and wants no words.
fn small(name: &str, size: u32) -> wire::Connect {
    let properties = Properties::new()
        .with(id::MAXIMUM_PACKET_SIZE, Value::Four(size))
        .with(id::REQUEST_PROBLEM_INFORMATION, Value::Byte(0));
    wire::connect(Version::V5)
        .client_id(name)
        .properties(properties)
}

fn goodbye(world: &mut World, client: Client) -> Disconnect {
    world.broker.shut_down();
    world.settle();
    let packet = world.expect(client, kind::DISCONNECT);
    assert!(world.is_closed(client));
    packet.disconnect()
}

fn reference() -> (u8, Value) {
    (id::SERVER_REFERENCE, Value::Text(SERVER.into()))
}

#[test]
fn a_stopping_broker_says_where_to_go_if_it_knows() {
    // Sections 3.14.2.2.5 and 4.11
    let mut world = world(Some(SERVER), 10);
    let client = world.connect(Version::V5, "a");
    let older = [Version::V3_1, Version::V3_1_1].map(|version| {
        let name = format!("{version:?}");
        world.connect(version, &name)
    });
    let goodbye = goodbye(&mut world, client);
    assert_eq!(goodbye.reason, 0x9c);
    let words = Value::Text("broker is stopping".into());
    assert_eq!(
        goodbye.properties,
        [reference(), (id::REASON_STRING, words)]
    );
    for client in older {
        world.expect_nothing(client);
        assert!(world.is_closed(client));
    }
    assert_eq!(world.broker.counters().ended_shutdown, 3);
}

#[test]
fn a_stopping_broker_that_knows_no_other_says_that_it_stops() {
    let mut world = world(None, 10);
    let client = world.connect(Version::V5, "a");
    let goodbye = goodbye(&mut world, client);
    assert_eq!(goodbye.reason, 0x8b);
    assert_eq!(goodbye.properties.len(), 1, "words");
}

#[test]
fn only_who_is_sent_elsewhere_hears_where_that_is() {
    let mut world = world(Some(SERVER), 10);
    let client = world.connect(Version::V5, "a");
    world.broker.kick(world.id(client));
    world.settle();
    let goodbye = world.expect(client, kind::DISCONNECT).disconnect();
    assert_eq!(goodbye.reason, 0x98);
    assert!(!goodbye.properties.contains(&reference()));
}

#[test]
fn who_finds_no_room_for_a_session_is_sent_elsewhere() {
    // Section 3.2.2.3.16
    for version in Version::ALL {
        let connect = wire::connect(version).client_id("late");
        let mut world = world(Some(SERVER), 1);
        let first = world.connect(version, "first");
        let (client, connack) = world.try_connect(&connect);
        if version.is_v5() {
            assert_eq!(connack.code, 0x9c);
            assert_eq!(connack.properties, [reference()]);
        } else {
            assert_eq!(connack.code, 3);
        }
        assert!(world.is_closed(client) && !connack.session_present);
        assert_eq!(world.broker.counters().sessions_over_limit, 1);
        // The twins: who has a session goes on with it, and who comes when there is room gets in.
        let again = world.connect(version, "first");
        assert!(world.is_closed(first));
        world.hang_up(again);
        world.connect_with(&connect);
    }
}

#[test]
fn who_finds_no_room_hears_so_if_there_is_no_other_server() {
    for (version, code) in [
        (Version::V3_1, 3),
        (Version::V3_1_1, 3),
        (Version::V5, 0x97),
    ] {
        let mut world = world(None, 1);
        world.connect(version, "first");
        let connect = wire::connect(version).client_id("late");
        let (_, connack) = world.try_connect(&connect);
        assert_eq!((connack.code, connack.properties), (code, vec![]));
    }
}

#[test]
fn an_authenticator_may_send_clients_elsewhere() {
    for (reason, code) in [
        (ReasonCode::UseAnotherServer, 0x9c),
        (ReasonCode::ServerMoved, 0x9d),
    ] {
        let mut world = world(Some(SERVER), 10);
        world.admission = Admission::Later;
        let client = world.dial(Version::V5);
        world.send(client, wire::connect(Version::V5).client_id("a").bytes());
        world.broker.refuse(world.id(client), reason);
        world.settle();
        let connack = world.expect(client, kind::CONNACK).connack(Version::V5);
        assert_eq!(connack.code, code);
        assert_eq!(connack.properties, [reference()]);
    }
}

#[test]
fn a_reference_too_large_for_a_client_is_left_out() {
    // [MQTT-3.1.2-24]
    let property = 1 + 2 + u32::try_from(SERVER.len()).unwrap();
    // DISCONNECT: two bytes of header, the reason, the length of the properties.
    let whole = 2 + 1 + 1 + property;
    for (size, expected) in [(whole, vec![reference()]), (whole - 1, vec![])] {
        let mut world = world(Some(SERVER), 10);
        let client = world.connect_with(&small("a", size));
        let goodbye = goodbye(&mut world, client);
        assert_eq!((goodbye.reason, goodbye.properties), (0x9c, expected));
    }
    // CONNACK has a byte of flags as well.
    let whole = whole + 1;
    for (size, expected) in [(whole, vec![reference()]), (whole - 1, vec![])] {
        let mut world = world(Some(SERVER), 1);
        world.connect(Version::V5, "first");
        let (_, connack) = world.try_connect(&small("late", size));
        assert_eq!((connack.code, connack.properties), (0x9c, expected));
    }
}

#[test]
fn a_reference_that_is_no_string_of_mqtt_keeps_nobody_from_hearing_the_reason() {
    let long = "x".repeat(65_536);
    let mut world = world(Some(&long), 10);
    let client = world.connect(Version::V5, "a");
    let goodbye = goodbye(&mut world, client);
    assert_eq!(goodbye.reason, 0x9c);
    assert_eq!(goodbye.properties.len(), 1, "words");
}
