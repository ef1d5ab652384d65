//! The program itself: its command line, its listeners, its limits.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};
use std::{env, fs, process};

use rustix::process::Signal;

use crate::PATIENCE;
use crate::broker::{BinaryUnderTest, run_to_end};
use crate::client::{Client, Next};
use crate::suite::versions;
use crate::wire::{Value, Version, Will, connect, id};

/// `--help` and `--version` say what they should and succeed.
pub fn help_and_version(binary: &BinaryUnderTest) {
    let (status, said) = run_to_end(binary.path, &["--help"]);
    assert!(status.success());
    for option in ["--listen", "--port", "--log-level", "--help", "--version"] {
        assert!(said.contains(option), "{option} is missing in:\n{said}");
    }
    let (status, said) = run_to_end(binary.path, &["--version"]);
    assert!(
        status.success() && said.contains(env!("CARGO_PKG_VERSION")),
        "{said}"
    );
}

/// A command line that is wrong ends the program with status 2 and names what is wrong.
pub fn bad_arguments_are_named(binary: &BinaryUnderTest) {
    for (arguments, named) in [
        (&["--no-such-option"][..], "--no-such-option"),
        (&["-p", "65536"], "65536"),
        (&["-p", "x"], "x"),
        (&["-l", "nowhere"], "nowhere"),
        (&["-l", "http://127.0.0.1:1"], "http"),
        (&["--log-level", "loud"], "loud"),
    ] {
        let (status, said) = run_to_end(binary.path, arguments);
        assert_eq!(status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(named), "{arguments:?}: {said}");
    }
}

/// An address that is in use: the program says which, and ends; whoever has it goes on.
pub fn address_in_use_is_told(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut client = Client::connect(&broker, Version::V5, "unharmed");
    let address = format!("tcp://{}", broker.address());
    let (status, said) = run_to_end(binary.path, &["-l", &address]);
    assert!(!status.success());
    assert!(said.contains(&broker.address().to_string()), "{said}");
    client.ping();
}

/// Several listeners, in every form, all served by one broker.
pub fn several_listeners(binary: &BinaryUnderTest) {
    let broker = binary.start_with(&["-l", "127.0.0.1:0", "-p", "0"]);
    let mut addresses = Vec::new();
    let all_listen = |log: &[String]| {
        log.iter()
            .filter(|line| line.contains("listening on tcp://"))
            .count()
            == 3
    };
    assert!(
        broker.wait_for_log_that(all_listen, PATIENCE),
        "not three listeners"
    );
    for line in broker.log_since(0) {
        if let Some((_, rest)) = line.split_once("listening on tcp://") {
            let address = rest.split_whitespace().next().unwrap_or(rest);
            addresses.push(address.parse().expect("an address"));
        }
    }
    let mut clients: Vec<Client> = Vec::new();
    for (address, version) in addresses.into_iter().zip(versions()) {
        let mut client = Client::dial_address(address, version);
        let connect = connect(version).client_id(format!("{version:?}"));
        client.send(connect.bytes());
        client.expect_connack(0);
        client.subscribe("everywhere");
        clients.push(client);
    }
    clients[0].publish("everywhere", "x");
    for client in &mut clients {
        client.expect_publish("everywhere", "x", false);
    }
}

/// With a full table of open files the broker says so, does not spin, serves those it has, and
/// takes new clients as soon as others have gone.
pub fn a_full_file_table_is_survived(binary: &BinaryUnderTest) {
    let broker = binary.start_with_open_files(40);
    let mut first = Client::connect(&broker, Version::V5, "first");
    let mut turned_away = 0;
    // Some get in, then there is no room; the backlog takes the rest.
    let waiting: Vec<TcpStream> = (0..60)
        .map(|_| TcpStream::connect(broker.address()).expect("there is a backlog"))
        .collect();
    assert!(
        broker.wait_for_log("cannot accept", PATIENCE).is_some(),
        "nothing is logged of the full table"
    );
    let before = broker.cpu_ticks();
    let until = Instant::now() + Duration::from_secs(2);
    first.ping();
    assert_eq!(first.next_until(until), Next::Silence);
    let ticks = broker.cpu_ticks() - before;
    assert!(
        ticks <= 40,
        "{ticks} ticks in two seconds with nothing to do"
    );
    for mut stream in waiting {
        stream.set_nonblocking(true).expect("a socket");
        match stream.read(&mut [0]) {
            Ok(0) => turned_away += 1,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => turned_away += 1,
            _ => {}
        }
    }
    eprintln!("{turned_away} were turned away");
    // All of them are gone now: there is room again, at the latest when the broker looks again.
    let start = Instant::now();
    loop {
        let mut client = Client::dial(&broker, Version::V5);
        let connect = connect(Version::V5).client_id("late").bytes();
        client.throw(&connect, connect.len());
        if matches!(client.receive(), Next::Packet(_)) {
            client.ping();
            break;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "no room although everybody has gone"
        );
    }
    first.ping();
    assert!(broker.stop().status.success());
}

/// A second signal ends it at once, with the code that a shell would report.
pub fn a_second_signal_ends_it_at_once(binary: &BinaryUnderTest) {
    for (second, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut broker = binary.start_with(&["--shutdown-timeout", "3600"]);
        let _staying = Client::connect(&broker, Version::V5, "staying");
        broker.terminate();
        let told = broker.wait_for_log("a second one ends the broker at once", PATIENCE);
        assert!(told.is_some(), "nobody is told what a second signal does");
        broker.signal(second);
        assert_eq!(broker.stop().status.code(), Some(code));
    }
}

/// A supervisor that wants to know hears when clients may come, and when they must go.
pub fn a_supervisor_is_told(binary: &BinaryUnderTest) {
    let name = binary.path.replace('/', "-");
    let path = env::temp_dir().join(format!("{}{name}", process::id()));
    let socket = UnixDatagram::bind(&path).expect("a folder for temporary files");
    let timeout = socket.set_read_timeout(Some(PATIENCE));
    timeout.expect("it is not zero");
    let hear = || {
        let mut message = [0; 64];
        let count = socket.recv(&mut message).expect("something is said");
        String::from_utf8_lossy(&message[..count]).into_owned()
    };
    let mut broker = binary.start_supervised(&path);
    assert_eq!(hear(), "READY=1\n");
    Client::connect(&broker, Version::V5, "early").ping();
    broker.terminate();
    assert_eq!(hear(), "STOPPING=1\n");
    assert!(broker.stop().status.success());
    fs::remove_file(path).expect("it is ours");
}

/// Limits that the environment sets hold for clients, and they are told.
pub fn limits_from_the_environment_hold(binary: &BinaryUnderTest) {
    let broker = binary.start_with_variables(&[
        ("WHERRY_LIMITS_MAX_KEEP_ALIVE", "7s"),
        ("WHERRY_LIMITS_MAX_PACKET_SIZE", "1 KiB"),
    ]);
    let mut client = Client::dial(&broker, Version::V5);
    client.send(connect(Version::V5).client_id("told").bytes());
    let connack = client.expect_connack(0);
    let told = |name| connack.property(name);
    assert_eq!(told(id::SERVER_KEEP_ALIVE), Some(&Value::Two(7)));
    assert_eq!(told(id::MAXIMUM_PACKET_SIZE), Some(&Value::Four(1024)));
    client.send([0x30, 0xff, 0x07]);
    client.expect_end(0x95);
}

/// At a graceful end wills reach those who are still there, and everybody is told why it ends.
pub fn at_the_end_wills_are_published_and_clients_told(binary: &BinaryUnderTest) {
    let mut broker = binary.start();
    let mut watcher = Client::connect(&broker, Version::V5, "watcher");
    watcher.subscribe("will");
    let will = connect(Version::V5)
        .client_id("willing")
        .will(Will::new("will", "bye"));
    let (mut willing, _) = Client::connect_with(&broker, &will);
    broker.terminate();
    watcher.expect_publish("will", "bye", false);
    for client in [&mut watcher, &mut willing] {
        client.expect_end(0x8b);
    }
    drop((watcher, willing));
    let stopped = broker.stop();
    assert!(stopped.status.success());
    assert_eq!(stopped.counter("wills_published"), 1);
}

/// A client that does not close its side does not keep the broker from ending.
pub fn a_client_that_stays_does_not_delay_the_end(binary: &BinaryUnderTest) {
    let mut broker = binary.start_with(&["--shutdown-timeout", "0"]);
    let _staying = Client::connect(&broker, Version::V5, "staying");
    broker.terminate();
    let told = broker.wait_for_log("connections that did not end in time: 1", PATIENCE);
    assert!(told.is_some());
    assert!(broker.stop().status.success());
}
