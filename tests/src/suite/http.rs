//! Health and metrics over HTTP, asked with nothing but a socket.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::PATIENCE;
use crate::broker::{BinaryUnderTest, Broker, run_to_end};
use crate::client::Client;
use crate::random::Random;
use crate::wire::Version;

/// A broker that listens for HTTP too, and where.
fn start(binary: &BinaryUnderTest, arguments: &[&str]) -> (Broker, SocketAddr) {
    let all = [&["--http", "127.0.0.1:0"], arguments].concat();
    let broker = binary.start_with(&all);
    let address = at(&broker);
    (broker, address)
}

/// Where a broker says that it listens for HTTP.
pub(super) fn at(broker: &Broker) -> SocketAddr {
    let line = broker.wait_for_log("health and metrics at http://", PATIENCE);
    let line = line.expect("it says where");
    let (_, address) = line.split_once("http://").expect("it was found by that");
    address.trim_end().parse().expect("an address")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    let timeout = stream.set_read_timeout(Some(PATIENCE));
    timeout.expect("it is not zero");
    stream
}

/// An answer, in its parts.
pub(super) struct Answer {
    pub(super) code: u16,
    head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn is(&self, code: u16, body: &str) -> bool {
        self.code == code && self.body == body
    }

    fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}

/// What is answered to these bytes. It ends with the connection, which is not reset.
fn tell(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = connect(address);
    stream.write_all(bytes).expect("it reads");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("a whole answer");
    let (head, body) = said.split_once("\r\n\r\n").expect("headers");
    let code = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    Answer {
        code: code.and_then(|code| code.parse().ok()).expect("a code"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\n\r\n");
    tell(address, request.as_bytes())
}

pub(super) fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path)
}

/// Every sample of `/metrics`, by its name with labels.
pub(super) fn metrics(address: SocketAddr) -> BTreeMap<String, f64> {
    let answer = get(address, "/metrics");
    assert_eq!(answer.code, 200, "{}", answer.head);
    assert!(
        answer.has("Content-Type: text/plain; version=0.0.4; charset=utf-8"),
        "{}",
        answer.head
    );
    let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// A broker that was asked to tells of its health, and whether it takes clients.
pub fn a_broker_tells_how_it_is(binary: &BinaryUnderTest) {
    let (broker, address) = start(binary, &[]);
    for path in ["/healthz", "/readyz", "/healthz?verbose"] {
        let answer = get(address, path);
        assert!(answer.is(200, "ok\n"), "{path}: {}", answer.head);
        assert!(answer.has("Content-Length: 3"), "{}", answer.head);
    }
    // As simple probes ask.
    let answer = tell(address, b"GET /healthz HTTP/1.0\r\n\r\n");
    assert!(answer.is(200, "ok\n"), "{}", answer.head);
    // Nobody looked like a client.
    assert_eq!(broker.stop().counter("connections_opened"), 0);
}

/// What there is and what was counted is told to the last message.
pub fn metrics_tell_what_happened(binary: &BinaryUnderTest) {
    let (broker, address) = start(binary, &[]);
    let start = SystemTime::now().duration_since(UNIX_EPOCH);
    let start = start.expect("it is later than 1970").as_secs_f64();
    let before = metrics(address);
    let value = |metrics: &BTreeMap<String, f64>, name: &str| {
        let value = metrics.get(name).copied();
        value.unwrap_or_else(|| panic!("{name} is not among {metrics:#?}"))
    };
    assert_eq!(value(&before, "wherry_clients_connected"), 0.0);
    let began = value(&before, "process_start_time_seconds");
    assert!((began - start).abs() < PATIENCE.as_secs_f64());

    let mut one = Client::connect(&broker, Version::V5, "one");
    let mut other = Client::connect(&broker, Version::V3_1_1, "other");
    one.subscribe("a/+");
    other.publish("a/b", "12345");
    one.expect_publish("a/b", "12345", false);
    other.publish_retained("c", "retained");
    other.ping();
    other.disconnect();
    let gone = "wherry_connections_ended_total{reason=\"client_disconnect\"}";
    let deadline = Instant::now() + PATIENCE;
    let mut after = metrics(address);
    while value(&after, gone) == 0.0 {
        assert!(Instant::now() < deadline, "it has gone");
        after = metrics(address);
    }
    let version = concat!(
        "wherry_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\"}"
    );
    for (name, expected) in [
        (gone, 1.0),
        (version, 1.0),
        ("wherry_shard_up{shard=\"0\"}", 1.0),
        ("wherry_clients_connected", 1.0),
        ("wherry_clients_connected_max", 2.0),
        ("wherry_clients_admitted_total", 2.0),
        ("wherry_sessions", 1.0),
        ("wherry_subscriptions", 1.0),
        ("wherry_retained_messages", 1.0),
        ("wherry_publish_received_total", 2.0),
        ("wherry_publish_sent_total", 1.0),
        ("wherry_payload_received_bytes_total", 13.0),
        ("wherry_messages_dropped_total{reason=\"queue_full\"}", 0.0),
        ("wherry_store_failing", 0.0),
    ] {
        assert_eq!(value(&after, name), expected, "{name}");
    }
    assert!(before.keys().eq(after.keys()), "series come and go");
    drop(one);
    let stopped = broker.stop();
    assert_eq!(stopped.counter("publish_received"), 2);
}

/// HEAD is answered as GET is, without the text.
pub fn a_head_has_no_body(binary: &BinaryUnderTest) {
    let (_broker, address) = start(binary, &[]);
    for (path, code) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/", 404),
    ] {
        let answer = ask(address, "HEAD", path);
        assert!(answer.is(code, ""), "{path}: {}", answer.head);
        assert!(!answer.has("Content-Length: 0"), "{}", answer.head);
    }
}

/// Other paths and other methods are refused in words of HTTP; bodies are ignored.
pub fn what_is_not_offered_is_refused(binary: &BinaryUnderTest) {
    let (_broker, address) = start(binary, &[]);
    for path in ["/", "/metric", "/metrics/", "/../metrics", "/%6detrics"] {
        assert_eq!(get(address, path).code, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
        let answer = ask(address, method, "/metrics");
        assert_eq!(answer.code, 405, "{method}");
        assert!(answer.has("Allow: GET, HEAD"), "{}", answer.head);
    }
    let head = format!(
        "POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        30_000
    );
    let with_body = [head.as_bytes(), &[b'x'; 30_000]].concat();
    assert_eq!(tell(address, &with_body).code, 405);
    assert!(get(address, "/healthz").is(200, "ok\n"));
}

/// Whoever asks slowly, or nothing, delays neither others who ask nor clients.
pub fn slow_visitors_hold_up_nobody(binary: &BinaryUnderTest) {
    let (broker, address) = start(binary, &[]);
    let mut client = Client::connect(&broker, Version::V5, "client");
    // More than are served at once, in every stage of slowness.
    let begin = "GET /metrics HTTP/1.1\r\nHost: a\r\n";
    let slow: Vec<TcpStream> = (0..60)
        .map(|n| {
            let mut stream = connect(address);
            // It may have been sent away already.
            let _ = stream.write_all(&begin.as_bytes()[..n % begin.len()]);
            stream
        })
        .collect();
    for _ in 0..20 {
        assert!(get(address, "/healthz").is(200, "ok\n"));
        client.ping();
    }
    drop((slow, client));
    assert!(get(address, "/readyz").is(200, "ok\n"));
    assert!(broker.stop().status.success());
}

/// What is no request is refused or cut off, and does no harm.
pub fn visitors_who_talk_nonsense_do_no_harm(binary: &BinaryUnderTest) {
    let (broker, address) = start(binary, &[]);
    let mut client = Client::connect(&broker, Version::V5, "client");
    for (bytes, code) in [
        (&b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0"[..], 400),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\0\r\n\r\n", 400),
    ] {
        assert_eq!(tell(address, bytes).code, code, "{bytes:?}");
    }
    let long = [&b"GET /metrics HTTP/1.1\r\nHost: "[..], &[b'a'; 9000]].concat();
    assert_eq!(tell(address, &long).code, 431);

    let mut random = Random::new(6);
    for _ in 0..200 {
        let mut stream = connect(address);
        let len = random.below(300);
        let bytes = random.bytes(len);
        // It need not hear all of it.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut said = Vec::new();
        match stream.read_to_end(&mut said) {
            Ok(_) => assert!(
                said.is_empty() || said.starts_with(b"HTTP/1.1 4"),
                "{said:?}"
            ),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    assert!(get(address, "/healthz").is(200, "ok\n"));
    client.ping();
    drop(client);
    assert!(broker.stop().status.success());
}

/// A broker that stops takes no clients any more, and says so as long as it is there.
pub fn a_broker_that_stops_is_not_ready(binary: &BinaryUnderTest) {
    let (mut broker, address) = start(binary, &["--shutdown-timeout", "3600"]);
    let _staying = Client::connect(&broker, Version::V5, "staying");
    assert!(get(address, "/readyz").is(200, "ok\n"));
    broker.terminate();
    let stops = broker.wait_for_log("stopping; connections to end", PATIENCE);
    assert!(stops.is_some(), "it does not stop");
    let answer = get(address, "/readyz");
    assert!(
        answer.is(503, "the broker is stopping\n"),
        "{}",
        answer.body
    );
    assert!(get(address, "/healthz").is(200, "ok\n"));
    broker.signal(Signal::TERM);
}

/// Nobody listens for HTTP unless told to; the environment can tell, and a flag can forbid.
pub fn nobody_listens_for_http_unless_told_to(binary: &BinaryUnderTest) {
    let is_told = |broker: &Broker| {
        // It would have been said before the address of the other listener, which is known.
        let log = broker.log_since(0);
        log.iter().any(|line| line.contains("health and metrics"))
    };
    assert!(!is_told(&binary.start()));
    let variables = [("WHERRY_HTTP_LISTEN", "127.0.0.1:0")];
    let broker = binary.start_with_variables(&variables);
    assert!(is_told(&broker));
    assert!(get(at(&broker), "/healthz").is(200, "ok\n"));
    assert!(!is_told(&binary.start_with(&["--http", "none"])));
}

/// Who lets other machines ask is warned, once.
pub fn an_open_http_listener_is_warned_about(binary: &BinaryUnderTest) {
    let (broker, _) = start(binary, &[]);
    let warnings = |broker: Broker| {
        let log = broker.stop().log;
        let warns = |line: &&String| line.contains("WARN") && line.contains("http://");
        log.iter().filter(warns).count()
    };
    assert_eq!(warnings(broker), 0);
    let broker = binary.start_with(&["--http", "0.0.0.0:0"]);
    let port = at(&broker).port();
    assert!(get(SocketAddr::from(([127, 0, 0, 1], port)), "/healthz").is(200, "ok\n"));
    assert_eq!(warnings(broker), 1);
}

/// An address that is in use is told with the flag that chooses another, and nothing is started.
pub fn an_http_address_in_use_is_told(binary: &BinaryUnderTest) {
    let (_broker, address) = start(binary, &[]);
    let taken = address.to_string();
    let (status, said) = run_to_end(binary.path, &["-p", "0", "--http", &taken]);
    assert_eq!(status.code(), Some(1), "{said}");
    let told = format!("cannot listen on http://{taken}: address already in use");
    assert!(
        said.contains(&told) && said.contains("--http ADDRESS:PORT"),
        "{said}"
    );
}
