//! Enhanced authentication through the driver, by a method that only tests know.

use std::sync::atomic::{AtomicU8, Ordering};

use super::*;

/// The method `add one`: the client is given a number and answers with the next one.
#[derive(Default)]
struct AddOne {
    asked: AtomicU8,
}

impl Authenticate for AddOne {
    fn authenticate(&self, credentials: &Credentials<'_>, _: Inquiry<'_>) -> Answer {
        if credentials.method != Some("+1") {
            return Answer::now(Decision::Refuse(ReasonCode::BadAuthenticationMethod));
        }
        Answer::now(challenge(self.asked.fetch_add(10, Ordering::Relaxed)))
    }
}

fn challenge(number: u8) -> Decision {
    Decision::Challenge {
        data: Some([number].into()),
        next: Arc::new(Asked(number)),
    }
}

/// Waits for the answer to one challenge.
struct Asked(u8);

impl Authenticate for Asked {
    fn authenticate(&self, credentials: &Credentials<'_>, _: Inquiry<'_>) -> Answer {
        assert_eq!(credentials.method, Some("+1"));
        Answer::now(if credentials.data == Some(&[self.0 + 1]) {
            Decision::Admit {
                grant: Grant::unrestricted(),
                data: Some(b"!".as_slice().into()),
            }
        } else {
            Decision::Refuse(ReasonCode::NotAuthorized)
        })
    }
}

/// CONNECT with the method.
fn connect_with_method(name: u8) -> [u8; 21] {
    [
        0x10, 19, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 5, 0x15, 0, 2, b'+', b'1', 0, 1, name,
    ]
}

/// AUTH with the method and one byte of data.
fn auth(reason: u8, data: u8) -> [u8; 13] {
    [
        0xf0, 11, reason, 9, 0x15, 0, 2, b'+', b'1', 0x16, 0, 1, data,
    ]
}

/// What is left of a CONNACK that lets a client in, from its method on.
const WELCOME: [u8; 9] = [0x15, 0, 2, b'+', b'1', 0x16, 0, 1, b'!'];

impl World {
    fn begin(&mut self, name: u8) -> (ConnectionId, Wire) {
        let (id, wire) = self.open();
        wire.sends(&connect_with_method(name));
        self.turn_until_quiet();
        (id, wire)
    }
}

#[test]
fn an_answer_is_examined_by_whoever_has_asked_for_it() {
    let mut world = World::with(Arc::new(AddOne::default()), Config::default());
    let (right, right_wire) = world.begin(b'a');
    let (wrong, wrong_wire) = world.begin(b'b');
    assert_eq!(right_wire.got(), auth(0x18, 0));
    assert_eq!(wrong_wire.got(), auth(0x18, 10));

    world.receive(wrong, &wrong_wire, &auth(0x18, 1)); // It would be right for the other one.
    assert_eq!(wrong_wire.got(), [0x20, 3, 0, 0x87, 0], "CONNACK");
    assert!(wrong_wire.0.borrow().is_shut);

    world.receive(right, &right_wire, &auth(0x18, 1));
    let connack = right_wire.got();
    assert_eq!((connack[0], &connack[2..4]), (0x20, &[0, 0][..]));
    assert!(connack.ends_with(&WELCOME), "{connack:02x?}");
    world.receive(right, &right_wire, &PINGREQ);
    assert_eq!(right_wire.got(), PINGRESP);
}

#[test]
fn a_client_that_is_in_is_asked_anew_when_it_authenticates_again() {
    let mut world = World::with(Arc::new(AddOne::default()), Config::default());
    let (id, wire) = world.begin(b'a');
    world.receive(id, &wire, &auth(0x18, 1));
    assert!(wire.got().ends_with(&WELCOME));
    for number in [10, 20] {
        world.receive(id, &wire, &auth(0x19, 0));
        assert_eq!(wire.got(), auth(0x18, number));
        world.receive(id, &wire, &[&auth(0x18, number + 1)[..], &PINGREQ].concat());
        assert_eq!(wire.got(), [&PINGRESP[..], &auth(0, b'!')].concat());
    }
    world.receive(id, &wire, &auth(0x19, 0));
    wire.got();
    world.receive(id, &wire, &auth(0x18, 1));
    assert_eq!(wire.got(), [0xe0, 1, 0x87], "DISCONNECT");
    assert!(wire.0.borrow().is_shut);
}

#[test]
fn a_challenge_may_come_late_and_from_anywhere() {
    let slow = Arc::new(Slow::default());
    let mut world = World::with(slow.clone(), Config::default());
    let (id, wire) = world.begin(b'a');
    assert!(wire.got().is_empty());
    let reply = slow.0.lock().unwrap().pop().unwrap();
    reply.send(challenge(5));
    world.turn_until_quiet();
    assert_eq!(wire.got(), auth(0x18, 5));
    world.receive(id, &wire, &auth(0x18, 6));
    assert!(wire.got().ends_with(&WELCOME));
}

#[test]
fn what_a_method_keeps_for_an_answer_goes_with_the_client() {
    let slow = Arc::new(Slow::default());
    let mut world = World::with(slow.clone(), Config::default());
    let (id, wire) = world.begin(b'a');
    let next = Arc::new(Asked(5));
    let kept = Arc::downgrade(&next);
    let reply = slow.0.lock().unwrap().pop().unwrap();
    reply.send(Decision::Challenge { data: None, next });
    world.turn_until_quiet();
    assert_eq!(wire.got(), [0xf0, 7, 0x18, 5, 0x15, 0, 2, b'+', b'1']);
    assert!(kept.upgrade().is_some());
    wire.ends();
    world.receive(id, &wire, &[]);
    assert!(kept.upgrade().is_none());
}

#[test]
fn whoever_admits_everybody_knows_no_method() {
    // [MQTT-4.12.0-1]
    let mut world = World::new();
    let (_, wire) = world.begin(b'a');
    assert_eq!(wire.got(), [0x20, 3, 0, 0x8c, 0], "CONNACK");
    assert!(wire.0.borrow().is_shut);
    let (_, plain) = world.open();
    plain.sends(&connect_v5(b'a'));
    world.turn_until_quiet();
    assert_eq!(plain.got()[..4], [0x20, 14, 0, 0], "CONNACK");
}
