//! Enhanced authentication: from CONNECT with a method to CONNACK.

use std::time::Duration;

use wherry_core::Config;
use wherry_core::packet::ReasonCode;
use wherry_core::permission::Grant;
use wherry_tests::scenario::{Admission, Client, World};
use wherry_tests::wire::{self, Properties, Value, Version, id, kind};

pub(crate) const NONE: Option<&[u8]> = None;
const YES: ReasonCode = ReasonCode::Success;

/// A world whose broker is told by the scenario who may come in.
pub(crate) fn undecided(config: Config) -> World {
    let mut world = World::new(config);
    world.admission = Admission::Later;
    world
}

pub(crate) fn proof(method: &str, data: Option<&[u8]>) -> Properties {
    let method = Value::Text(method.into());
    let properties = Properties::new().with(id::AUTHENTICATION_METHOD, method);
    match data {
        Some(data) => properties.with(id::AUTHENTICATION_DATA, Value::Binary(data.into())),
        None => properties,
    }
}

/// A CONNECT with the method `M`.
pub(crate) fn connect(client_id: &str, data: Option<&[u8]>) -> wire::Connect {
    wire::connect(Version::V5)
        .client_id(client_id)
        .properties(proof("M", data))
}

pub(crate) fn auth_by(method: &str, reason: u8, data: Option<&[u8]>) -> Vec<u8> {
    wire::packet(0xf0, [vec![reason], proof(method, data).bytes()].concat())
}

/// An AUTH with the method `M`.
pub(crate) fn auth(reason: u8, data: Option<&[u8]>) -> Vec<u8> {
    auth_by("M", reason, data)
}

/// The next packet is the AUTH that [`auth`] gives, byte for byte.
#[track_caller]
pub(crate) fn expect_auth(world: &mut World, client: Client, reason: u8, data: Option<&[u8]>) {
    let packet = world.expect(client, kind::AUTH);
    assert_eq!(wire::packet(packet.first, &packet.body), auth(reason, data));
}

#[track_caller]
fn expect_connack(world: &mut World, client: Client, code: ReasonCode) -> wire::Connack {
    let connack = world.expect(client, kind::CONNACK).connack(Version::V5);
    assert_eq!(connack.code, code as u8, "CONNACK {:#04x}", connack.code);
    assert_eq!(world.is_closed(client), code.is_error());
    connack
}

/// A client that has sent CONNECT with the method `M`, and this after it.
pub(crate) fn begin(world: &mut World, client_id: &str, after: &[u8]) -> Client {
    let client = world.dial(Version::V5);
    let bytes = connect(client_id, Some(b"hi")).bytes();
    world.send(client, [&bytes, after].concat());
    client
}

/// A client that was challenged once.
fn challenged(world: &mut World, client_id: &str) -> Client {
    let client = begin(world, client_id, &[]);
    challenge(world, client, b"who?");
    client
}

#[track_caller]
pub(crate) fn challenge(world: &mut World, client: Client, data: &[u8]) {
    world.broker.challenge(world.id(client), Some(data));
    world.settle();
    expect_auth(world, client, 0x18, Some(data));
}

pub(crate) fn admit(world: &mut World, client: Client) {
    let id = world.id(client);
    world.broker.admit(id, Grant::unrestricted());
    world.settle();
}

pub(crate) fn refuse(world: &mut World, client: Client, reason: ReasonCode) {
    world.broker.refuse(world.id(client), reason);
    world.settle();
}

/// The data under examination; none if nothing is.
#[track_caller]
pub(crate) fn examined(world: &World, client: Client) -> Option<Vec<u8>> {
    let credentials = world.broker.credentials(world.id(client))?;
    assert_eq!(credentials.method, Some("M"));
    credentials.data.map(<[u8]>::to_vec)
}

#[test]
fn an_exchange_without_a_challenge_ends_in_connack_with_method_and_data() {
    // [MQTT-4.12.0-5]
    let mut world = undecided(Config::default());
    let client = begin(&mut world, "a", &[]);
    let id = world.id(client);
    let credentials = world.broker.credentials(id).unwrap();
    assert_eq!(credentials.method, Some("M"));
    assert_eq!(credentials.data, Some(&b"hi"[..]));
    assert!(!credentials.is_renewal);
    world.expect_nothing(client);
    let grant = Grant::unrestricted();
    world.broker.admit_with(id, grant, Some(b"welcome"));
    world.settle();
    let terms = [0x21, 32, 0, 0x27, 1, 0, 0, 0, 0x22, 0, 16];
    let proof = [&[0x15, 0, 1, b'M', 0x16, 0, 7][..], b"welcome"].concat();
    let connack = [&[0x20, 28, 0, 0, 25][..], &terms, &proof].concat();
    assert_eq!(world.received(client), connack);
}

#[test]
fn an_exchange_of_several_steps_is_carried_by_auth_packets() {
    // [MQTT-4.12.0-2], [MQTT-4.12.0-3], [MQTT-4.12.0-5]; [MQTT-3.15.2-1]: 0x18 is listed.
    let mut world = undecided(Config::default());
    let client = world.dial(Version::V5);
    let connect = connect("a", NONE).username("u").password("p");
    world.send(client, connect.bytes());
    let id = world.id(client);
    assert_eq!(examined(&world, client), None, "CONNECT had no data");
    assert!(!world.is_read(client), "an examination is under way");
    world.broker.challenge(id, None);
    world.settle();
    expect_auth(&mut world, client, 0x18, NONE);
    assert!(world.is_read(client), "it is the client's turn");
    assert!(world.broker.credentials(id).is_none());

    world.send(client, auth(0x18, Some(b"1")));
    assert!(!world.is_read(client));
    let credentials = world.broker.credentials(id).unwrap();
    assert_eq!(credentials.data, Some(&b"1"[..]));
    let password = credentials.password.unwrap();
    assert_eq!(
        (credentials.username, password.reveal()),
        (Some("u"), &b"p"[..])
    );
    challenge(&mut world, client, b"2");
    world.send(client, auth(0x18, NONE));
    assert_eq!(examined(&world, client), None, "the last AUTH had none");
    assert!(!world.is_read(client), "and is under examination");
    admit(&mut world, client);
    let connack = expect_connack(&mut world, client, YES);
    let method = Value::Text("M".into());
    assert_eq!(connack.property(id::AUTHENTICATION_METHOD), Some(&method));
    assert_eq!(connack.property(id::AUTHENTICATION_DATA), None);
    world.send(client, wire::PINGREQ);
    world.expect(client, kind::PINGRESP);
}

#[test]
fn without_a_method_in_connect_none_of_it_is_sent() {
    // [MQTT-4.12.0-6]
    let mut world = undecided(Config::default());
    let clients = ["a", "b"].map(|name| {
        let client = world.dial(Version::V5);
        world.send(client, wire::connect(Version::V5).client_id(name).bytes());
        client
    });
    let [welcome, suspect] = clients;
    let id = world.id(welcome);
    assert!(world.broker.credentials(id).unwrap().method.is_none());
    let grant = Grant::unrestricted();
    world.broker.admit_with(id, grant, Some(b"welcome"));
    world.broker.challenge(world.id(suspect), Some(b"who?"));
    world.settle();
    let connack = expect_connack(&mut world, welcome, YES);
    assert_eq!(connack.property(id::AUTHENTICATION_METHOD), None);
    assert_eq!(connack.property(id::AUTHENTICATION_DATA), None);
    expect_connack(&mut world, suspect, ReasonCode::NotAuthorized);
    world.expect_nothing(suspect);
}

#[test]
fn a_client_may_be_refused_at_any_step() {
    // [MQTT-4.12.0-1], [MQTT-4.12.0-4]
    let codes = [
        (ReasonCode::BadAuthenticationMethod, 0x8c),
        (ReasonCode::NotAuthorized, 0x87),
        (ReasonCode::ServerUnavailable, 0x88),
        // No CONNACK may carry these.
        (ReasonCode::SessionTakenOver, 0x87),
        (ReasonCode::Success, 0x87),
    ];
    for (code, told) in codes {
        for challenges in 0..3 {
            let mut world = undecided(Config::default());
            let client = begin(&mut world, "a", &[]);
            for _ in 0..challenges {
                challenge(&mut world, client, b"who?");
                world.send(client, auth(0x18, NONE));
            }
            refuse(&mut world, client, code);
            let connack = expect_connack(&mut world, client, ReasonCode::from_u8(told).unwrap());
            assert_eq!(connack.property(id::AUTHENTICATION_METHOD), None);
            world.expect_nothing(client);
            assert_eq!(world.broker.counters().ended_refused, 1);
            assert_eq!(world.broker.sessions(), 0);
        }
    }
}

#[test]
fn after_a_challenge_nothing_comes_before_connack_but_auth_and_disconnect() {
    // [MQTT-3.1.2-30]
    let v5 = Version::V5;
    let packets = [
        wire::PINGREQ.to_vec(),
        wire::publish(v5, "t", "x").bytes(),
        wire::subscribe(v5, 1, &[("t", 0)]),
        vec![0x40, 2, 0, 1],
        vec![0x82, 0xff, 0xff, 0x7f], // A long SUBSCRIBE of which nothing has come.
    ];
    for packet in packets {
        let mut world = undecided(Config::default());
        let client = challenged(&mut world, "a");
        world.send(client, &packet);
        expect_connack(&mut world, client, ReasonCode::ProtocolError);
        world.expect_nothing(client);
        assert_eq!(world.broker.counters().ended_protocol_error, 1);
        assert_eq!(world.broker.counters().publish_received, 0);

        // Its twin has it after AUTH: there it waits for CONNACK, and is then served.
        let client = challenged(&mut world, "a");
        world.send(client, [auth(0x18, NONE), packet].concat());
        admit(&mut world, client);
        expect_connack(&mut world, client, YES);
    }
    let mut world = undecided(Config::default());
    let client = challenged(&mut world, "a");
    world.send(client, connect("a", NONE).bytes());
    expect_connack(&mut world, client, ReasonCode::ProtocolError);
    let client = challenged(&mut world, "a");
    world.send(client, wire::disconnect(v5, 0));
    world.expect_nothing(client);
    assert!(world.is_closed(client));
    assert_eq!(world.broker.counters().ended_client_disconnect, 1);
}

#[test]
fn an_answer_that_breaks_a_rule_is_refused_and_its_repaired_twin_is_not() {
    let right = auth(0x18, Some(b"me"));
    for (code, wrong) in [
        (ReasonCode::ProtocolError, auth_by("N", 0x18, Some(b"me"))), // [MQTT-4.12.0-5]
        (ReasonCode::ProtocolError, auth(0x19, Some(b"me"))),         // [MQTT-4.12.0-3]
        (ReasonCode::ProtocolError, auth(0x00, Some(b"me"))),         // [MQTT-3.15.2-1]
        (ReasonCode::ProtocolError, vec![0xf0, 0]),
        (ReasonCode::MalformedPacket, vec![0xf1]), // [MQTT-3.15.1-1]
        (ReasonCode::MalformedPacket, vec![0xf0, 2, 0x18, 3]),
        (ReasonCode::PacketTooLarge, vec![0xf0, 0x81, 0x80, 0x10]),
    ] {
        let mut world = undecided(Config::default());
        let (bad, good) = (challenged(&mut world, "a"), challenged(&mut world, "b"));
        world.send(bad, &wrong);
        expect_connack(&mut world, bad, code);
        world.expect_nothing(bad);
        assert!(world.broker.credentials(world.id(bad)).is_none());
        world.send(good, &right);
        assert_eq!(examined(&world, good), Some(b"me".to_vec()));
        admit(&mut world, good);
        expect_connack(&mut world, good, YES);
    }
}

#[test]
fn an_answer_that_comes_before_the_challenge_waits_for_it() {
    let mut world = undecided(Config::default());
    let answers = [auth(0x18, Some(b"1")), auth(0x18, Some(b"2"))].concat();
    let after = [&answers, &wire::PINGREQ[..]].concat();
    let client = begin(&mut world, "a", &after);
    for (question, answer) in [(b"?", b"1"), (b"!", b"2")] {
        world.expect_nothing(client);
        challenge(&mut world, client, question);
        assert_eq!(examined(&world, client), Some(answer.to_vec()));
    }
    admit(&mut world, client);
    expect_connack(&mut world, client, YES);
    world.expect(client, kind::PINGRESP);

    // Where no challenge comes it answers what was not asked.
    let client = begin(&mut world, "b", &auth(0x18, NONE));
    admit(&mut world, client);
    let connack = world.expect(client, kind::CONNACK).connack(Version::V5);
    assert_eq!(connack.code, 0);
    let disconnect = world.expect(client, kind::DISCONNECT).disconnect();
    assert_eq!(disconnect.reason, 0x82);
}

#[test]
fn an_exchange_one_byte_at_a_time_is_the_same() {
    let mut received = Vec::new();
    for size in [1, 2, 3, usize::MAX] {
        let mut world = undecided(Config::default());
        let client = world.dial(Version::V5);
        world.send_in_pieces(client, connect("a", Some(b"hi")).bytes(), size);
        for round in 0..3 {
            world.broker.challenge(world.id(client), Some(&[round]));
            world.settle();
            world.send_in_pieces(client, auth(0x18, Some(&[round])), size);
            assert_eq!(examined(&world, client), Some(vec![round]));
        }
        admit(&mut world, client);
        world.send_in_pieces(client, wire::PINGREQ, size);
        received.push(world.received(client).to_vec());
    }
    assert!(received.iter().all(|bytes| *bytes == received[0]));
    assert!(received[0].ends_with(&[0xd0, 0]));
}

#[test]
fn an_examination_and_an_answer_have_their_time_and_all_together_too() {
    // 30 s for each examination, 10 s for each answer, 40 s for everything.
    let mut world = undecided(Config {
        max_auth_rounds: 1000,
        ..Config::default()
    });
    let waiting = begin(&mut world, "a", &[]);
    let silent = challenged(&mut world, "b");
    let late = challenged(&mut world, "c");
    let slow = challenged(&mut world, "d");
    world.pass(Duration::from_millis(9_999));
    world.send(late, auth(0x18, NONE));
    world.expect_nothing(silent);
    world.send(slow, &auth(0x18, NONE)[..1]);
    world.send(slow, &auth(0x18, NONE)[1..]);
    world.pass(Duration::from_millis(1));
    expect_connack(&mut world, silent, ReasonCode::NotAuthorized);
    assert_eq!(world.broker.counters().ended_challenge_timeout, 1);
    assert_eq!(world.causes(), ["no answer to a challenge in time"]);
    for second in 10..40 {
        assert_eq!(world.is_closed(waiting), second >= 30, "{second}");
        assert_eq!(world.is_closed(late), second >= 40, "{second}");
        challenge(&mut world, slow, b"who?");
        world.pass(Duration::from_millis(999));
        // One byte is no answer.
        world.send(slow, &auth(0x18, NONE)[..1]);
        assert!(world.broker.credentials(world.id(slow)).is_none());
        world.send(slow, &auth(0x18, NONE)[1..]);
        world.pass(Duration::from_millis(1));
    }
    expect_connack(&mut world, waiting, ReasonCode::ServerUnavailable);
    expect_connack(&mut world, late, ReasonCode::ServerUnavailable);
    expect_connack(&mut world, slow, ReasonCode::ServerUnavailable);
    assert_eq!(world.broker.connections(), 0);
}

#[test]
fn a_client_is_challenged_at_most_as_often_as_configured() {
    let mut world = undecided(Config {
        max_auth_rounds: 2,
        ..Config::default()
    });
    let clients = ["a", "b"].map(|name| begin(&mut world, name, &[]));
    for client in clients {
        for _ in 0..2 {
            challenge(&mut world, client, b"who?");
            world.send(client, auth(0x18, NONE));
        }
    }
    let [asked_too_often, asked_enough] = clients;
    world.broker.challenge(world.id(asked_too_often), None);
    admit(&mut world, asked_enough);
    expect_connack(&mut world, asked_too_often, ReasonCode::QuotaExceeded);
    expect_connack(&mut world, asked_enough, YES);
}

#[test]
fn nothing_is_sent_that_the_client_has_no_room_for() {
    // [MQTT-3.1.2-24]
    let long = [b'x'; 65_536];
    let with_room = |world: &mut World, name: &str, room| {
        let client = world.dial(Version::V5);
        let properties = proof("M", NONE).with(id::MAXIMUM_PACKET_SIZE, Value::Four(room));
        let connect = wire::connect(Version::V5).client_id(name);
        world.send(client, connect.properties(properties).bytes());
        client
    };
    for (room, fits, too_much) in [(50, 39, 40), (100_000, 65_535, 65_536)] {
        let mut world = undecided(Config::default());
        let [tight, fitting] = ["a", "b"].map(|name| with_room(&mut world, name, room));
        world
            .broker
            .challenge(world.id(tight), Some(&long[..too_much]));
        world
            .broker
            .challenge(world.id(fitting), Some(&long[..fits]));
        world.settle();
        expect_connack(&mut world, tight, ReasonCode::PacketTooLarge);
        expect_auth(&mut world, fitting, 0x18, Some(&long[..fits]));
    }
    for (room, fits, too_much) in [(50, 27, 28), (100_000, 65_535, 65_536)] {
        let mut world = undecided(Config::default());
        let [tight, fitting] = ["a", "b"].map(|name| with_room(&mut world, name, room));
        for (client, len) in [(tight, too_much), (fitting, fits)] {
            let (id, grant) = (world.id(client), Grant::unrestricted());
            world.broker.admit_with(id, grant, Some(&long[..len]));
        }
        world.settle();
        expect_connack(&mut world, tight, ReasonCode::PacketTooLarge);
        expect_connack(&mut world, fitting, YES);
        assert_eq!(world.broker.sessions(), 1);
    }
}

#[test]
fn an_exchange_of_an_earlier_version_does_not_exist() {
    for version in [Version::V3_1, Version::V3_1_1] {
        let mut world = World::default();
        let client = world.connect(version, "a");
        world.send(client, auth(0x19, NONE));
        assert!(world.is_closed(client));
        world.expect_nothing(client);
        assert_eq!(world.broker.counters().ended_protocol_error, 1);

        let mut world = undecided(Config::default());
        let client = world.dial(version);
        let bytes = wire::connect(version).client_id("a").bytes();
        world.send(client, [bytes, auth(0x18, NONE)].concat());
        admit(&mut world, client);
        world.expect(client, kind::CONNACK);
        world.expect_nothing(client);
        assert!(world.is_closed(client));
    }
}

#[test]
fn nobody_is_thrown_out_before_the_exchange_is_over() {
    // [MQTT-3.1.4-3]
    let mut world = undecided(Config::default());
    let first = begin(&mut world, "a", &[]);
    admit(&mut world, first);
    expect_connack(&mut world, first, YES);
    let (second, third) = (challenged(&mut world, "a"), challenged(&mut world, "a"));
    world.expect_nothing(first);
    world.send(third, auth(0x18, NONE));
    admit(&mut world, third);
    let disconnect = world.expect(first, kind::DISCONNECT).disconnect();
    assert_eq!(disconnect.reason, 0x8e);
    expect_connack(&mut world, third, YES);
    // The one in between had no session yet that could be taken over: it is the next to come in.
    world.send(second, auth(0x18, NONE));
    admit(&mut world, second);
    expect_connack(&mut world, second, YES);
    assert!(world.is_closed(third) && world.is_closed(first));
    assert_eq!(world.broker.sessions(), 1);
}

#[test]
fn a_client_that_hangs_up_leaves_nothing_behind() {
    let mut world = undecided(Config::default());
    let examined = begin(&mut world, "a", &auth(0x18, NONE));
    let challenged = challenged(&mut world, "b");
    world.send(challenged, &auth(0x18, NONE)[..5]);
    for (stale, client) in [(3, examined), (6, challenged)] {
        world.hang_up(client);
        let id = world.id(client);
        world.broker.admit(id, Grant::unrestricted());
        world.broker.challenge(id, None);
        world.broker.refuse(id, ReasonCode::Banned);
        assert_eq!(world.broker.counters().stale_handles, stale);
        world.expect_nothing(client);
    }
    assert_eq!(
        (world.broker.connections(), world.broker.sessions()),
        (0, 0)
    );
    assert_eq!(world.broker.unparsed_bytes(), 0);
    assert_eq!(world.broker.counters().clients_refused, 2);
}

#[test]
fn an_answer_without_a_question_counts_for_nothing() {
    let mut world = undecided(Config::default());
    let client = challenged(&mut world, "a");
    let id = world.id(client);
    let answer_all = |world: &mut World| {
        world.broker.admit(id, Grant::unrestricted());
        world.broker.challenge(id, Some(b"again?"));
        world.broker.refuse(id, ReasonCode::Banned);
        world.settle();
    };
    answer_all(&mut world);
    world.expect_nothing(client);
    assert!(!world.is_closed(client));
    world.send(client, auth(0x18, NONE));
    admit(&mut world, client);
    expect_connack(&mut world, client, YES);
    answer_all(&mut world);
    world.expect_nothing(client);
    assert!(!world.is_closed(client));
    world.broker.kick(id);
    answer_all(&mut world);
    world.expect(client, kind::DISCONNECT);
    world.expect_nothing(client);
}

#[test]
fn nobody_hears_disconnect_in_the_midst_of_an_exchange() {
    // [MQTT-3.2.0-1]
    let mut world = undecided(Config::default());
    let (kicked, stopped) = (challenged(&mut world, "a"), challenged(&mut world, "b"));
    world.broker.kick(world.id(kicked));
    world.broker.shut_down();
    world.settle();
    for client in [kicked, stopped] {
        world.expect_nothing(client);
        assert!(world.is_closed(client));
    }
}

#[test]
fn debug_output_shows_no_authentication_data() {
    let mut world = undecided(Config::default());
    let client = world.dial(Version::V5);
    world.send(client, connect("a", Some(&[251, 252])).bytes());
    let credentials = world.broker.credentials(world.id(client)).unwrap();
    let shown = format!("{credentials:?} {:?}", world.broker);
    assert!(shown.contains("data: Some(…)"), "{shown}");
    assert!(!shown.contains("251, 252"), "{shown}");
}
