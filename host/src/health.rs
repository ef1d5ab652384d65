//! Whether a broker is well, asked as a client asks.
//!
//! For the health checks of containers and supervisors: it says more than an open port does, since
//! a broker whose shard hangs still has one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use thiserror::Error;
use wherry_core::packet::{
    Connect, Disconnect, EncodeError, Packet, Properties, ProtocolError, ProtocolVersion,
    ReasonCode, Sender,
};

use crate::address::{ListenAddr, Place};

const VERSION: ProtocolVersion = ProtocolVersion::V5;

/// No broker has this much to say to a client that asks for nothing.
const LONGEST_ANSWER: usize = 16 << 10;

/// Why a broker does not count as well.
#[derive(Debug, Error)]
pub enum HealthError {
    /// Its name could not be looked up.
    #[error("{address}: the name cannot be looked up: {error}")]
    Lookup {
        /// The address asked for.
        address: ListenAddr,
        /// What the resolver said.
        error: io::Error,
    },
    /// Nobody listens there.
    #[error("cannot connect to tcp://{address}: {error}")]
    Connect {
        /// The address that was tried last.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// It took too long.
    #[error("no {0} in time")]
    TimeOut(&'static str),
    /// It answers, but not as a broker does.
    #[error("what answers is no MQTT broker: {0}")]
    Protocol(#[from] ProtocolError),
    /// It answers, but not what was asked.
    #[error("the broker sent something else instead of {0}")]
    Unexpected(&'static str),
    /// It sends its clients away.
    #[error("the broker sends clients away: {0}")]
    Refused(ReasonCode),
    /// The question could not be written down.
    #[error("{0}")]
    Encode(#[from] EncodeError),
}

/// Connects to the broker that listens on `address`, has it answer a ping, and leaves. An address
/// that stands for all networks, as 0.0.0.0 does, is tried on this machine.
///
/// A broker that wants to see credentials first is well: it has answered.
///
/// # Errors
///
/// If any of this fails or the whole takes longer than `timeout`; looking up a name may.
pub fn check(address: &ListenAddr, timeout: Duration) -> Result<(), HealthError> {
    let deadline = Instant::now() + timeout;
    let mut visit = Visit {
        stream: connect(&addresses(address)?, deadline)?,
        deadline,
        input: Vec::new(),
    };
    visit.say(&Packet::Connect(Connect {
        version: VERSION,
        bridge: false,
        clean_start: true,
        keep_alive: 60,
        client_id: "",
        username: None,
        password: None,
        will: None,
        properties: Properties::EMPTY,
    }))?;
    match visit.hear("CONNACK")? {
        Answer::ConnAck(ReasonCode::Success) => {}
        Answer::ConnAck(ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized) => {
            return Ok(());
        }
        Answer::ConnAck(reason) | Answer::Disconnect(reason) => {
            return Err(HealthError::Refused(reason));
        }
        _ => return Err(HealthError::Unexpected("CONNACK")),
    }
    visit.say(&Packet::PingReq)?;
    match visit.hear("PINGRESP")? {
        Answer::PingResp => {}
        Answer::Disconnect(reason) => return Err(HealthError::Refused(reason)),
        _ => return Err(HealthError::Unexpected("PINGRESP")),
    }
    visit.say(&Packet::Disconnect(Disconnect {
        reason: ReasonCode::NORMAL_DISCONNECTION,
        properties: Properties::EMPTY,
    }))
}

/// Where to connect to for what is listened on at `address`.
fn addresses(address: &ListenAddr) -> Result<Vec<SocketAddr>, HealthError> {
    match &address.place {
        Place::Address(at) => {
            let mut at = *at;
            if at.ip().is_unspecified() {
                at.set_ip(match at.ip() {
                    IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                    IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
                });
            }
            Ok(vec![at])
        }
        Place::Name(name, port) => (name.as_str(), *port)
            .to_socket_addrs()
            .map(Iterator::collect)
            .map_err(|error| HealthError::Lookup {
                address: address.clone(),
                error,
            }),
    }
}

/// The time until `deadline`; never zero, which to a socket means for ever.
fn left(deadline: Instant) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    left.max(Duration::from_millis(1))
}

fn connect(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, HealthError> {
    let mut outcome = Err(HealthError::TimeOut("address"));
    for address in addresses {
        outcome = TcpStream::connect_timeout(address, left(deadline)).map_err(|error| {
            HealthError::Connect {
                address: *address,
                error,
            }
        });
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// What a broker may say to a client that asks for nothing but an answer.
enum Answer {
    ConnAck(ReasonCode),
    PingResp,
    Disconnect(ReasonCode),
    Other,
}

struct Visit {
    stream: TcpStream,
    deadline: Instant,
    /// What was read and not yet understood.
    input: Vec<u8>,
}

impl Visit {
    fn say(&mut self, packet: &Packet<'_>) -> Result<(), HealthError> {
        let mut bytes = Vec::new();
        packet.encode(VERSION, &mut bytes)?;
        self.stream.write_all(&bytes).map_err(HealthError::Broken)
    }

    /// The broker's next packet, which should be `what`.
    fn hear(&mut self, what: &'static str) -> Result<Answer, HealthError> {
        loop {
            if let Some((packet, used)) = Packet::decode_one(&self.input, VERSION, Sender::Server)?
            {
                let answer = match packet {
                    Packet::ConnAck(connack) => Answer::ConnAck(connack.reason),
                    Packet::PingResp => Answer::PingResp,
                    Packet::Disconnect(disconnect) => Answer::Disconnect(disconnect.reason),
                    _ => Answer::Other,
                };
                self.input.drain(..used);
                return Ok(answer);
            }
            if self.input.len() >= LONGEST_ANSWER {
                return Err(HealthError::Unexpected(what));
            }
            if Instant::now() >= self.deadline {
                return Err(HealthError::TimeOut(what));
            }
            self.read(what)?;
        }
    }

    fn read(&mut self, what: &'static str) -> Result<(), HealthError> {
        let mut buffer = [0; 1024];
        let outcome = self
            .stream
            .set_read_timeout(Some(left(self.deadline)))
            .and_then(|()| self.stream.read(&mut buffer));
        match outcome {
            Ok(0) => Err(HealthError::Broken(ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                self.input.extend(buffer.iter().take(count));
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => Ok(()),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(HealthError::TimeOut(what)),
                _ => Err(HealthError::Broken(error)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    const WELCOME: &[u8] = &[0x20, 3, 0, 0, 0];

    /// Checks something that gives one of `answers` to each packet, and then waits for the end.
    fn check_that(answers: &'static [&'static [u8]], timeout: Duration) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let broker = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut packet = [0; 64];
            for answer in answers {
                assert!(stream.read(&mut packet).unwrap() > 0);
                stream.write_all(answer).unwrap();
            }
            while stream.read(&mut packet).is_ok_and(|count| count > 0) {}
        });
        let outcome = check(&address.parse().unwrap(), timeout);
        broker.join().unwrap();
        outcome.map_err(|error| error.to_string())
    }

    #[test]
    fn a_broker_that_answers_is_well() {
        assert_eq!(check_that(&[WELCOME, &[0xd0, 0]], PATIENCE), Ok(()));
        // It asks for credentials: an answer, too.
        assert_eq!(check_that(&[&[0x20, 3, 0, 0x87, 0]], PATIENCE), Ok(()));
    }

    #[test]
    fn what_does_not_answer_as_a_broker_is_not_well() {
        let cases: [(&[&[u8]], &str); 5] = [
            (&[&[0x20, 3, 0, 0x89, 0]], "sends clients away: server busy"),
            (&[WELCOME, &[0xe0, 1, 0x8b]], "away: server shutting down"),
            (&[b"HTTP/1.1 400 Bad Request\r\n\r\n"], "no MQTT broker"),
            (&[&[0xd0, 0]], "something else instead of CONNACK"),
            (&[WELCOME, WELCOME], "something else instead of PINGRESP"),
        ];
        for (answers, message) in cases {
            let error = check_that(answers, PATIENCE).unwrap_err();
            assert!(error.contains(message), "{message} is not in: {error}");
        }
    }

    #[test]
    fn silence_is_borne_for_as_long_as_told() {
        let start = Instant::now();
        let error = check_that(&[WELCOME], Duration::from_millis(50)).unwrap_err();
        assert_eq!(error, "no PINGRESP in time");
        assert!(start.elapsed() < PATIENCE);
    }

    #[test]
    fn where_nobody_listens_nobody_is_well() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let address = address.unwrap().to_string();
        let error = check(&address.parse().unwrap(), PATIENCE).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with(&format!("cannot connect to tcp://{address}: ")));
    }

    #[test]
    fn what_listens_on_all_networks_is_asked_on_this_machine() {
        for (listening, asked) in [
            ("0.0.0.0:1883", "127.0.0.1:1883"),
            ("[::]:1883", "[::1]:1883"),
            ("192.0.2.1:1883", "192.0.2.1:1883"),
        ] {
            let found = addresses(&listening.parse().unwrap()).unwrap();
            assert_eq!(found, [asked.parse().unwrap()]);
        }
    }
}
