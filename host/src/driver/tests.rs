//! The driver with sockets that do what a script says, and the real broker.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wherry_core::connection::{ConnectionId, Origin, Transport};
use wherry_core::packet::ReasonCode;
use wherry_core::permission::Grant;
use wherry_core::time::{Instant, WallClock};
use wherry_core::{Broker, Config, Credentials, Place};

mod exchange;
mod shards;
mod store;

use super::{Driver, READ_BUFFER_SIZE, Socket, Turn};
use crate::auth::{AllowAll, Answer, Authenticate, Decision, Inquiry, Reply};
use crate::mailbox::{Mail, Mailbox};

/// The far end of a fake socket.
#[derive(Clone)]
struct Wire(Rc<RefCell<State>>);

struct State {
    input: VecDeque<Input>,
    /// How many bytes the socket takes.
    room: usize,
    write_error: Option<ErrorKind>,
    written: Vec<u8>,
    reads: usize,
    writes: usize,
    is_shut: bool,
}

enum Input {
    Bytes(Vec<u8>),
    End,
    Error(ErrorKind),
}

impl Socket for Wire {
    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        state.reads += 1;
        match state.input.pop_front() {
            None => Err(ErrorKind::WouldBlock.into()),
            Some(Input::End) => Ok(0),
            Some(Input::Error(kind)) => Err(kind.into()),
            Some(Input::Bytes(mut bytes)) => {
                let count = bytes.len().min(buf.len());
                buf[..count].copy_from_slice(&bytes[..count]);
                if count < bytes.len() {
                    state.input.push_front(Input::Bytes(bytes.split_off(count)));
                }
                Ok(count)
            }
        }
    }

    fn try_write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        assert!(!state.is_shut, "nothing is written after the shutdown");
        state.writes += 1;
        if let Some(kind) = state.write_error {
            return Err(kind.into());
        }
        if state.room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let before = state.written.len();
        for slice in bufs {
            let count = slice.len().min(state.room);
            state.room -= count;
            state.written.extend_from_slice(&slice[..count]);
        }
        Ok(state.written.len() - before)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.0.borrow_mut().is_shut = true;
        Ok(())
    }
}

impl Wire {
    fn sends(&self, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        state.input.push_back(Input::Bytes(bytes.to_vec()));
    }

    fn ends(&self) {
        self.0.borrow_mut().input.push_back(Input::End);
    }

    fn got(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().written)
    }

    /// The driver has dropped its end.
    fn is_dropped(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }

    fn reads_and_writes(&self) -> (usize, usize) {
        let state = self.0.borrow();
        (state.reads, state.writes)
    }
}

struct World {
    driver: Driver<Wire>,
    mailbox: Arc<Mailbox<Mail>>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let config = Config {
            sys_interval: None, // Then an idle broker has no deadline.
            ..Config::default()
        };
        Self::with(Arc::new(AllowAll), config)
    }

    fn with(authenticator: Arc<dyn Authenticate>, config: Config) -> Self {
        Self::in_place(authenticator, config, Place::alone(1))
    }

    fn in_place(authenticator: Arc<dyn Authenticate>, config: Config, place: Place) -> Self {
        let now = Instant::from_millis(0);
        let broker = Broker::in_place(config, place, now, WallClock::from_unix_millis(0));
        Self::of(broker, authenticator, now)
    }

    fn of(broker: Broker, authenticator: Arc<dyn Authenticate>, now: Instant) -> Self {
        let mailbox = Arc::new(Mailbox::new());
        Self {
            driver: Driver::new(broker, authenticator, mailbox.clone()),
            mailbox,
            now,
        }
    }

    fn turn(&mut self) -> Turn {
        self.driver.turn(self.now)
    }

    fn turn_until_quiet(&mut self) {
        for _ in 0..1000 {
            if !self.turn().more {
                return;
            }
        }
        panic!("the driver does not come to rest");
    }

    fn open(&mut self) -> (ConnectionId, Wire) {
        let wire = Wire(Rc::new(RefCell::new(State {
            input: VecDeque::new(),
            room: usize::MAX,
            write_error: None,
            written: Vec::new(),
            reads: 0,
            writes: 0,
            is_shut: false,
        })));
        let origin = Origin {
            listener: 0,
            transport: Transport::Tcp,
            remote: None,
            local: None,
        };
        let id = self
            .driver
            .open(self.now, origin, |_| wire.clone())
            .unwrap();
        (id, wire)
    }

    /// A client that has been let in. Its counts of reads and writes start at 0.
    fn client(&mut self, name: u8) -> (ConnectionId, Wire) {
        let (id, wire) = self.open();
        wire.sends(&connect(name));
        self.turn_until_quiet();
        assert_eq!(wire.got(), CONNACK);
        let mut state = wire.0.borrow_mut();
        (state.reads, state.writes) = (0, 0);
        drop(state);
        (id, wire)
    }

    fn subscriber(&mut self, name: u8) -> (ConnectionId, Wire) {
        let (id, wire) = self.client(name);
        self.receive(id, &wire, &[0x82, 6, 0, 1, 0, 1, b't', 0]);
        assert_eq!(wire.got(), [0x90, 3, 0, 1, 0]);
        let mut state = wire.0.borrow_mut();
        (state.reads, state.writes) = (0, 0);
        drop(state);
        (id, wire)
    }

    fn receive(&mut self, id: ConnectionId, wire: &Wire, bytes: &[u8]) {
        wire.sends(bytes);
        self.driver.ready(id);
        self.turn_until_quiet();
    }
}

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PINGREQ: [u8; 2] = [0xc0, 0];
const PINGRESP: [u8; 2] = [0xd0, 0];
/// A packet type that does not exist, to a client of MQTT 3.1.1: it is closed without a word.
const NONSENSE: [u8; 2] = [0x00, 0];

fn connect(name: u8) -> [u8; 15] {
    [
        0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, name,
    ]
}

fn connect_v5(name: u8) -> [u8; 16] {
    [
        0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, name,
    ]
}

/// PUBLISH of `len` times `byte` to the topic `t`.
fn publish(byte: u8, len: usize) -> Vec<u8> {
    let mut packet = vec![0x30];
    let mut remaining = len + 3;
    loop {
        let low = u8::try_from(remaining % 128).unwrap();
        remaining /= 128;
        packet.push(if remaining > 0 { low | 0x80 } else { low });
        if remaining == 0 {
            break;
        }
    }
    packet.extend([0, 1, b't']);
    packet.extend(std::iter::repeat_n(byte, len));
    packet
}

#[test]
fn a_client_is_served() {
    let mut world = World::new();
    let (id, wire) = world.client(b'a');
    world.receive(id, &wire, &PINGREQ);
    assert_eq!(wire.got(), PINGRESP);
    assert_eq!(wire.reads_and_writes(), (1, 1));
}

#[test]
fn a_connection_that_says_nothing_costs_nothing() {
    let mut world = World::new();
    let (_, quiet) = world.client(b'a');
    let (id, busy) = world.client(b'b');
    world.receive(id, &busy, &PINGREQ);
    assert_eq!(quiet.reads_and_writes(), (0, 0));
}

#[test]
fn each_connection_is_read_once_in_a_turn_however_much_there_is() {
    let mut world = World::new();
    let (flooding_id, flooding) = world.client(b'a');
    let (id, polite) = world.client(b'b');
    flooding.sends(&PINGREQ.repeat(READ_BUFFER_SIZE));
    polite.sends(&PINGREQ);
    world.driver.ready(flooding_id);
    world.driver.ready(id);

    let turn = world.turn();
    assert!(turn.more, "a full read is not the last");
    assert_eq!(flooding.reads_and_writes().0, 1);
    assert_eq!(polite.got(), PINGRESP, "it was served in the same turn");

    world.turn_until_quiet();
    assert_eq!(flooding.got().len(), PINGRESP.len() * READ_BUFFER_SIZE);
}

#[test]
fn all_that_a_turn_brings_for_a_connection_leaves_in_one_write() {
    let mut world = World::new();
    let (_, subscriber) = world.subscriber(b's');
    let (one_id, one) = world.client(b'a');
    let (two_id, two) = world.client(b'b');
    one.sends(&[publish(1, 5), publish(2, 5)].concat());
    two.sends(&publish(3, 5));
    world.driver.ready(one_id);
    world.driver.ready(two_id);
    assert!(!world.turn().more);
    assert_eq!(
        subscriber.got(),
        [publish(1, 5), publish(2, 5), publish(3, 5)].concat()
    );
    assert_eq!(subscriber.reads_and_writes(), (0, 1));
}

#[test]
fn ready_connections_are_served_in_the_order_of_their_reports() {
    let mut world = World::new();
    let (_, subscriber) = world.subscriber(b's');
    let clients = [b'a', b'b', b'c'].map(|name| world.client(name));
    for at in [2, 0, 1] {
        let (id, wire) = &clients[at];
        wire.sends(&publish(b'0' + u8::try_from(at).unwrap(), 1));
        world.mailbox.push(Mail::Ready(*id));
        world.mailbox.push(Mail::Ready(*id));
    }
    world.turn_until_quiet();
    assert_eq!(
        subscriber.got(),
        [publish(b'2', 1), publish(b'0', 1), publish(b'1', 1)].concat()
    );
    assert_eq!(
        clients[0].1.reads_and_writes().0,
        1,
        "two reports, one read"
    );
}

#[test]
fn a_full_socket_is_left_alone_until_it_reports_room_and_loses_nothing() {
    let mut world = World::new();
    let (id, subscriber) = world.subscriber(b's');
    let (publisher_id, publisher) = world.client(b'p');
    for room in [0, 3] {
        subscriber.0.borrow_mut().room = room;
        subscriber.0.borrow_mut().writes = 0;
        world.receive(publisher_id, &publisher, &publish(1, 9));
        world.receive(publisher_id, &publisher, &publish(2, 9));
        assert_eq!(subscriber.reads_and_writes().1, 1, "room {room}");

        subscriber.0.borrow_mut().room = usize::MAX;
        world.driver.ready(id);
        world.turn_until_quiet();
        assert_eq!(subscriber.got(), [publish(1, 9), publish(2, 9)].concat());
        assert_eq!(subscriber.reads_and_writes().1, 2, "room {room}");
    }
}

#[test]
fn a_long_outbox_of_many_slices_is_written_whole_and_in_order() {
    let mut world = World::new();
    let (id, subscriber) = world.subscriber(b's');
    let (publisher_id, publisher) = world.client(b'p');
    subscriber.0.borrow_mut().room = 0;
    let mut sent = Vec::new();
    for number in 0..200 {
        let packet = publish(number, 20_000);
        world.receive(publisher_id, &publisher, &packet);
        sent.extend(packet);
    }
    subscriber.0.borrow_mut().room = usize::MAX;
    world.driver.ready(id);
    world.turn_until_quiet();
    assert!(subscriber.got() == sent);
}

#[test]
fn a_fast_reader_loses_nothing_however_many_send_to_it_in_one_turn() {
    let config = Config {
        outbox_limit: 4 * READ_BUFFER_SIZE,
        ..Config::default()
    };
    let mut world = World::with(Arc::new(AllowAll), config);
    let (_, subscriber) = world.subscriber(b's');
    let message = publish(1, 1000);
    let burst = message.repeat(50);
    let publishers: Vec<_> = (b'A'..=b'Y').map(|name| world.client(name)).collect();
    for (id, publisher) in &publishers {
        publisher.sends(&burst);
        world.mailbox.push(Mail::Ready(*id));
    }
    assert!(!world.turn().more);
    assert_eq!(world.driver.broker().counters().dropped_outbox_full, 0);
    assert_eq!(subscriber.got().len(), 25 * burst.len());
}

#[test]
fn a_socket_that_fails_takes_only_its_own_connection_along() {
    for kind in [ErrorKind::ConnectionReset, ErrorKind::TimedOut] {
        let mut world = World::new();
        let (read_id, reading) = world.client(b'r');
        let (write_id, writing) = world.client(b'w');
        let (id, other) = world.client(b'o');
        reading.0.borrow_mut().input.push_back(Input::Error(kind));
        writing.0.borrow_mut().write_error = Some(kind);
        writing.sends(&PINGREQ);
        other.sends(&PINGREQ);
        for id in [read_id, write_id, id] {
            world.driver.ready(id);
        }
        world.turn_until_quiet();
        assert!(reading.is_dropped() && writing.is_dropped());
        assert_eq!(other.got(), PINGRESP);
        assert_eq!(world.driver.broker().connections(), 1);
        assert_eq!(world.driver.broker().counters().ended_socket_error, 2);
    }
}

#[test]
fn an_interrupted_read_is_done_again() {
    let mut world = World::new();
    let (id, wire) = world.client(b'a');
    let interrupted = Input::Error(ErrorKind::Interrupted);
    wire.0.borrow_mut().input.push_back(interrupted);
    world.receive(id, &wire, &PINGREQ);
    assert_eq!(wire.got(), PINGRESP);
}

#[test]
fn the_end_of_the_stream_ends_the_connection() {
    let mut world = World::new();
    let (id, wire) = world.client(b'a');
    wire.ends();
    world.receive(id, &wire, &[]);
    assert!(wire.is_dropped());
    assert!(world.driver.is_empty());
    assert_eq!(world.driver.broker().connections(), 0);
    assert_eq!(world.driver.broker().counters().ended_end_of_stream, 1);
    world.driver.ready(id);
    assert!(!world.turn().more, "a late report is ignored");
}

#[test]
fn after_the_last_words_the_writing_side_is_shut_and_input_discarded_until_its_end() {
    let mut world = World::new();
    let (id, wire) = world.open();
    wire.sends(&connect_v5(b'a'));
    world.turn_until_quiet();
    wire.got();
    world.receive(id, &wire, &[&NONSENSE[..], &PINGREQ].concat());
    let last_words = wire.got();
    assert_eq!(last_words[0], 0xe0, "DISCONNECT");
    assert!(wire.0.borrow().is_shut);
    assert!(!wire.is_dropped(), "or the reset would overtake them");

    world.receive(id, &wire, &PINGREQ.repeat(READ_BUFFER_SIZE));
    assert!(wire.got().is_empty());
    wire.ends();
    world.receive(id, &wire, &[]);
    assert!(wire.is_dropped());
    assert_eq!(world.driver.broker().connections(), 0);
    assert_eq!(world.driver.broker().counters().stale_handles, 0);
}

#[test]
fn last_words_wait_for_room_even_if_the_peer_has_ended_its_side() {
    let mut world = World::new();
    let (id, wire) = world.open();
    wire.sends(&connect_v5(b'a'));
    world.turn_until_quiet();
    wire.got();
    wire.0.borrow_mut().room = 0;
    wire.sends(&NONSENSE);
    wire.ends();
    world.driver.ready(id);
    world.turn_until_quiet();
    assert!(!wire.0.borrow().is_shut && !wire.is_dropped());

    wire.0.borrow_mut().room = usize::MAX;
    world.driver.ready(id);
    world.turn_until_quiet();
    assert_eq!(wire.got()[0], 0xe0, "DISCONNECT");
    assert!(wire.is_dropped());
}

#[test]
fn a_peer_that_does_not_take_its_leave_is_dropped_after_a_while() {
    let mut world = World::new();
    let (id, wire) = world.client(b'a');
    world.receive(id, &wire, &NONSENSE);
    assert!(wire.0.borrow().is_shut);
    world.now = world.now.after(Config::default().close_timeout);
    world.turn_until_quiet();
    assert!(wire.is_dropped());
    assert!(world.driver.is_empty());
}

#[test]
fn the_next_deadline_is_the_brokers() {
    let mut world = World::new();
    let (_, wire) = world.open();
    let turn = world.turn();
    assert!(!turn.more);
    let deadline = turn.next_deadline.unwrap();
    assert!(deadline <= world.now.after(Config::default().connect_timeout));
    world.now = world.now.after(Duration::from_secs(10));
    world.turn_until_quiet();
    assert!(wire.0.borrow().is_shut, "no CONNECT in time");
}

#[test]
fn a_client_that_floods_without_reading_is_not_read_until_it_reads() {
    let config = Config {
        outbox_limit: 100,
        ..Config::default()
    };
    let mut world = World::with(Arc::new(AllowAll), config);
    let (id, wire) = world.client(b'a');
    wire.0.borrow_mut().room = 0;
    world.receive(id, &wire, &PINGREQ.repeat(100));
    let (reads, _) = wire.reads_and_writes();
    world.receive(id, &wire, &PINGREQ);
    assert_eq!(wire.reads_and_writes().0, reads, "paused");

    wire.0.borrow_mut().room = usize::MAX;
    world.driver.ready(id);
    world.turn_until_quiet();
    assert_eq!(wire.got(), PINGRESP.repeat(101), "and resumed");
}

/// Keeps every question open.
#[derive(Default)]
struct Slow(Mutex<Vec<Reply>>);

impl Authenticate for Slow {
    fn authenticate(&self, _: &Credentials<'_>, inquiry: Inquiry<'_>) -> Answer {
        let (reply, answer) = inquiry.later();
        self.0.lock().unwrap().push(reply);
        answer
    }
}

#[test]
fn a_client_waits_for_a_slow_check_and_is_not_read_meanwhile() {
    let slow = Arc::new(Slow::default());
    let mut world = World::with(slow.clone(), Config::default());
    let (id, wire) = world.open();
    wire.sends(&connect(b'a'));
    world.turn_until_quiet();
    let (reads, _) = wire.reads_and_writes();
    world.receive(id, &wire, &PINGREQ);
    assert_eq!(wire.reads_and_writes(), (reads, 0));

    let reply = slow.0.lock().unwrap().pop().unwrap();
    reply.send(Decision::admit(Grant::unrestricted()));
    world.turn_until_quiet();
    assert_eq!(wire.got(), [&CONNACK[..], &PINGRESP].concat());
}

#[test]
fn a_client_whose_check_is_forgotten_is_refused() {
    let slow = Arc::new(Slow::default());
    let mut world = World::with(slow.clone(), Config::default());
    let (_, wire) = world.open();
    wire.sends(&connect(b'a'));
    world.turn_until_quiet();
    slow.0.lock().unwrap().clear();
    world.turn_until_quiet();
    assert_eq!(wire.got(), [0x20, 2, 0, 3], "CONNACK: server unavailable");
    assert!(wire.0.borrow().is_shut);
}

/// Refuses everybody at once.
struct Closed;

impl Authenticate for Closed {
    fn authenticate(&self, _: &Credentials<'_>, _: Inquiry<'_>) -> Answer {
        Answer::now(Decision::Refuse(ReasonCode::NotAuthorized))
    }
}

#[test]
fn a_client_that_is_refused_is_told_so() {
    let mut world = World::with(Arc::new(Closed), Config::default());
    let (_, wire) = world.open();
    wire.sends(&connect(b'a'));
    world.turn_until_quiet();
    assert_eq!(wire.got(), [0x20, 2, 0, 5], "CONNACK: not authorized");
    assert!(wire.0.borrow().is_shut);
}

#[test]
fn a_stop_by_mail_says_goodbye_to_everybody_and_lets_nobody_in() {
    let mut world = World::new();
    let (id, wire) = world.client(b'a');
    let (stuck_id, stuck) = world.client(b'b');
    world.mailbox.push(Mail::ShutDown);
    world.turn_until_quiet();
    assert!(world.driver.is_stopping());
    assert!(wire.0.borrow().is_shut);
    wire.ends();
    world.receive(id, &wire, &[]);
    assert!(wire.is_dropped());
    assert!(!world.driver.is_empty(), "one has not taken its leave");
    world.driver.abort_all();
    assert!(world.driver.is_empty() && stuck.is_dropped());
    assert_eq!(world.driver.broker().connections(), 0);

    world.driver.ready(stuck_id);
    let origin = Origin {
        listener: 0,
        transport: Transport::Tcp,
        remote: None,
        local: None,
    };
    let refused = world.driver.open(world.now, origin, |_| unreachable!());
    assert!(refused.is_err());
}
