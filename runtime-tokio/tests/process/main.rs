//! What the `wherry` process promises to those who start and stop it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy takes only functions marked as tests for tests, not what supports them"
)]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use support::{Broker, Client, PROGRAM};

#[test]
fn an_address_in_use_ends_the_process_with_what_to_do_about_it() {
    let broker = Broker::start(&[]);
    let taken = broker.address.to_string();
    let output = Command::new(PROGRAM)
        .args(["--listen", &taken])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains(&format!(
            "cannot listen on {taken}: address already in use. Is another broker running? Choose \
             another with --listen ADDRESS:PORT or --port PORT."
        )),
        "{message}"
    );
    assert!(!message.contains('\u{1b}'), "no colours in a pipe");
}

#[test]
fn a_bad_option_ends_the_process_with_code_2() {
    let output = Command::new(PROGRAM)
        .args(["--listen", "127.0.0.1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("'127.0.0.1' for '--listen"), "{message}");
    assert!(message.contains("the port is missing"), "{message}");
}

#[test]
fn every_address_asked_for_is_listened_on_and_told() {
    let mut broker = Broker::start(&["--listen", "tcp://0.0.0.0:0"]);
    broker.wait_for("anyone who reaches it may publish and subscribe");
    let second = broker.wait_for("listening on tcp://127.0.0.1:");
    let (_, second) = second.split_once("tcp://").unwrap();
    let first = broker.address.port();
    for address in [([127, 0, 0, 1], first).into(), second.parse().unwrap()] {
        Client::connect(address, b'a').unwrap().ping();
    }
}

#[test]
fn limits_from_the_environment_hold_for_clients() {
    let mut command = Command::new(PROGRAM);
    command.args(["--port", "0"]);
    command.env("WHERRY_LIMITS_MAX_KEEP_ALIVE", "7s");
    command.env("WHERRY_LIMITS_MAX_PACKET_SIZE", "1 KiB");
    let broker = Broker::start_with(command);
    let mut client = Client::open(broker.address);
    // MQTT 5, clean start, a keep-alive of 60 s, client identifier `s`.
    client.send(&[
        0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, b's',
    ]);
    let answer = client.packet();
    assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:x?}");
    // Server keep-alive and maximum packet size, as CONNACK has them.
    for property in [&[0x13, 0, 7][..], &[0x27, 0, 0, 4, 0]] {
        let is_there = answer.windows(property.len()).any(|part| part == property);
        assert!(is_there, "{property:x?} is not in {answer:x?}");
    }
}

#[test]
fn at_the_end_wills_are_published_and_clients_told() {
    let mut broker = Broker::start(&[]);
    let mut subscriber = Client::open(broker.address);
    // MQTT 5, clean start, client identifier `s`; then SUBSCRIBE to `w`.
    subscriber.send(&[
        0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, b's',
    ]);
    assert_eq!(subscriber.packet()[0], 0x20, "CONNACK");
    subscriber.send(&[0x82, 7, 0, 1, 0, 0, 1, b'w', 0]);
    assert_eq!(subscriber.packet()[0], 0x90, "SUBACK");
    let mut willing = Client::open(broker.address);
    // The same with the identifier `t` and a will: `bye` to the topic `w`.
    willing.send(&[
        0x10, 23, 0, 4, b'M', b'Q', b'T', b'T', 5, 6, 0, 60, 0, 0, 1, b't', 0, 0, 1, b'w', 0, 3,
        b'b', b'y', b'e',
    ]);
    assert_eq!(willing.packet()[0], 0x20, "CONNACK");

    broker.signal(Signal::TERM);
    assert_eq!(
        subscriber.packet(),
        [0x30, 7, 0, 1, b'w', 0, b'b', b'y', b'e']
    );
    for client in [&mut subscriber, &mut willing] {
        let goodbye = client.packet();
        assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x8b), "{goodbye:x?}");
        client.is_closed();
    }
    drop((subscriber, willing));
    assert_eq!(broker.end(), Some(0));
    let last = broker.log.last().unwrap();
    assert!(last.contains("counters at the end: "), "{last}");
    assert!(last.contains(" connections_opened=2 "), "{last}");
    assert!(last.contains(" wills_published=1"), "{last}");
}

#[test]
fn a_client_that_does_not_leave_does_not_keep_the_broker_from_ending() {
    let mut broker = Broker::start(&["--shutdown-timeout", "0"]);
    let _staying = Client::connect(broker.address, b'a').unwrap();
    broker.signal(Signal::INT);
    broker.wait_for("connections that did not end in time: 1");
    assert_eq!(broker.end(), Some(0));
}

#[test]
fn a_second_signal_ends_the_broker_at_once() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut broker = Broker::start(&["--shutdown-timeout", "3600"]);
        let _staying = Client::connect(broker.address, b'a').unwrap();
        broker.signal(Signal::TERM);
        broker.wait_for("stopping");
        broker.signal(signal);
        assert_eq!(broker.end(), Some(code));
    }
}

#[test]
fn with_a_full_file_table_clients_are_turned_away_and_the_others_served() {
    let start = Instant::now();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 40; exec \"$0\" --port 0", PROGRAM]);
    let mut broker = Broker::start_with(limited);
    let mut clients = Vec::new();
    let mut names = b'0'..;
    while let Some(client) = Client::connect(broker.address, names.next().unwrap()) {
        clients.push(client);
        assert!(clients.len() < 40);
    }
    assert!(clients.len() > 10, "only {} got in", clients.len());
    let line = broker.wait_for("cannot accept connections");
    for part in ["40 open files", "ulimit -n", "LimitNOFILE="] {
        assert!(line.contains(part), "{line}");
    }

    // Those who come now are turned away in batches, with longer and longer rests between them in
    // which the broker must not spin.
    let (cpu, wall) = (broker.cpu_time(), Instant::now());
    while wall.elapsed() < Duration::from_secs(1) {
        let mut waiting: Vec<_> = (0..10).map(|_| Client::open(broker.address)).collect();
        clients.iter_mut().for_each(Client::ping);
        waiting.iter_mut().for_each(Client::is_closed);
    }
    let (cpu, wall) = (broker.cpu_time() - cpu, wall.elapsed());
    assert!(cpu < wall / 4, "{cpu:?} of processor time in {wall:?}");

    // Once the broker has noticed that some have left, there is room again.
    clients.truncate(5);
    let first = (0..100).find_map(|_| Client::connect(broker.address, b'A'));
    clients.push(first.expect("it recovers"));
    for name in b'B'..=b'F' {
        clients.push(Client::connect(broker.address, name).expect("there is room"));
    }
    clients.iter_mut().for_each(Client::ping);
    broker.wait_for("accepting connections again");
    let complaints = broker
        .log
        .iter()
        .filter(|line| line.contains("cannot accept"));
    let most = 1 + start.elapsed().as_secs() / 10;
    assert!(complaints.count() as u64 <= most, "{:#?}", broker.log);
}
