//! The listener, asked over real sockets, by a broker with no shards.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Instant;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

const ASK: &[u8] = b"GET /healthz HTTP/1.0\r\n\r\n";

fn open() -> Http {
    let http = Http::open("127.0.0.1:0".parse().ok().as_ref(), Vec::new()).unwrap();
    http.status().broker_runs();
    http
}

fn connect(http: &Http) -> TcpStream {
    let stream = TcpStream::connect(http.local_addrs()[0]).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// All that is said until the end.
fn rest(mut stream: &TcpStream) -> String {
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

fn is_well(http: &Http) -> bool {
    let mut stream = connect(http);
    stream.write_all(ASK).unwrap();
    rest(&stream).starts_with("HTTP/1.1 200 OK\r\n")
}

/// Whether the connection ends without a word.
fn ends(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn without_an_address_nobody_listens() {
    let http = Http::open(None, Vec::new()).unwrap();
    assert!(http.server.is_none() && http.local_addrs().is_empty());
}

#[test]
fn an_address_in_use_is_told_with_what_to_do() {
    let first = open();
    let taken = first.local_addrs()[0];
    let address = taken.to_string().parse().ok();
    let error = Http::open(address.as_ref(), Vec::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on http://{taken}: address already in use. Is another broker running? \
             Choose another with --http ADDRESS:PORT."
        )
    );
}

#[test]
fn nobody_listens_any_more_when_it_is_dropped() {
    let http = open();
    let waiting = connect(&http);
    assert!(is_well(&http));
    let address = http.local_addrs()[0];
    drop(http);
    assert!(ends(&waiting));
    TcpListener::bind(address).unwrap();
}

#[test]
fn those_who_ask_nothing_make_room_for_those_who_do() {
    let http = open();
    let silent: Vec<_> = (0..3 * MOST_VISITORS).map(|_| connect(&http)).collect();
    assert!(is_well(&http));
    // They went in the order in which they came.
    for stream in &silent[..2 * MOST_VISITORS] {
        assert!(ends(stream));
    }
    let mut last = silent.last().unwrap();
    last.write_all(ASK).unwrap();
    assert!(rest(last).ends_with("\r\n\r\nok\n"));
}

/// What a visitor is told who may take so long, and says this.
fn told(bytes: &[u8], timeout: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let pages = Pages {
        status: Arc::default(),
        survey: Survey::new(Vec::new(), PATIENCE),
        started: SystemTime::UNIX_EPOCH,
    };
    stream.write_all(bytes).unwrap();
    let visit = thread::spawn(move || visit::serve(&accepted, &pages, timeout));
    let said = rest(&stream);
    drop(stream);
    visit.join().unwrap();
    said
}

#[test]
fn a_request_takes_only_so_long() {
    let start = Instant::now();
    let said = told(b"GET /healthz", Duration::from_millis(50));
    assert!(
        said.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{said}"
    );
    assert_eq!(told(b"", Duration::from_millis(50)), "");
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn what_follows_a_request_does_not_cost_its_answer() {
    let mut bytes = b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n".to_vec();
    bytes.extend([b'x'; 50_000]);
    let said = told(&bytes, PATIENCE);
    assert!(
        said.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
        "{said}"
    );
}
