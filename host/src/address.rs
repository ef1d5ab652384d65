//! Where to listen, as people write it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use thiserror::Error;

use crate::shown::Shown;

/// The port that is registered for MQTT.
pub const MQTT_PORT: u16 = 1883;

/// What a listener is asked for: `tcp://127.0.0.1:1883`, or the same without the scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddr {
    /// The address, or a name that stands for some.
    pub place: Place,
}

/// An address, or a name that stands for some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An IP address and a port.
    Address(SocketAddr),
    /// A host name, to be looked up when the listener is opened, and a port.
    Name(String, u16),
}

/// Why a text is no [`ListenAddr`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ListenAddrError {
    /// The scheme is not one of ours.
    #[error("scheme '{}' is not offered here; for example: tcp://127.0.0.1:1883", Shown(.0))]
    Scheme(String),
    /// There is no port.
    #[error("the port is missing; for example: 127.0.0.1:1883, [::1]:1883 or localhost:1883")]
    NoPort,
    /// The port is no port.
    #[error("'{}' is not a port from 0 to 65535; for example: 127.0.0.1:1883", Shown(.0))]
    Port(String),
    /// There is only a port.
    #[error("the address is missing; for example: 127.0.0.1:{0}, or 0.0.0.0:{0} for all networks")]
    NoHost(u16),
    /// An IPv6 address stands without brackets, so its end cannot be told from the port.
    #[error("an IPv6 address needs brackets; for example: [::1]:1883")]
    Brackets,
    /// The host is neither an address nor a name.
    #[error(
        "'{}' is neither an IP address nor a host name; for example: 127.0.0.1:1883",
        Shown(.0)
    )]
    Host(String),
}

impl ListenAddr {
    /// Port `port` for this machine only.
    pub fn loopback(port: u16) -> Self {
        Self {
            place: Place::Address(SocketAddr::from(([127, 0, 0, 1], port))),
        }
    }
}

impl FromStr for ListenAddr {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, ListenAddrError> {
        let text = match text.split_once("://") {
            Some(("tcp" | "mqtt", rest)) => rest,
            Some((scheme, _)) => return Err(ListenAddrError::Scheme(scheme.to_owned())),
            None => text,
        };
        let text = text.strip_suffix('/').unwrap_or(text);
        if let Ok(address) = text.parse() {
            return Ok(Self {
                place: Place::Address(address),
            });
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(match text.parse() {
                Ok(port) => ListenAddrError::NoHost(port),
                Err(_) => ListenAddrError::NoPort,
            });
        };
        if port.ends_with(']') {
            return Err(ListenAddrError::NoPort);
        }
        if host.contains(':') && !host.starts_with('[') {
            return Err(ListenAddrError::Brackets);
        }
        let port = port
            .parse()
            .map_err(|_| ListenAddrError::Port(port.to_owned()))?;
        if host.is_empty() {
            return Err(ListenAddrError::NoHost(port));
        }
        if !is_host_name(host) {
            return Err(ListenAddrError::Host(host.to_owned()));
        }
        Ok(Self {
            place: Place::Name(host.to_owned(), port),
        })
    }
}

/// Whether a resolver could know `host`. A last label of digits only is what is left of a mistyped
/// address; resolvers read surprising things into those.
fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.split('.').all(is_label)
        && host
            .rsplit('.')
            .next()
            .is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()))
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp://{}", self.place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, read) in [
            ("127.0.0.1:1883", "tcp://127.0.0.1:1883"),
            ("tcp://127.0.0.1:1883", "tcp://127.0.0.1:1883"),
            ("mqtt://127.0.0.1:1883", "tcp://127.0.0.1:1883"),
            ("tcp://127.0.0.1:1883/", "tcp://127.0.0.1:1883"),
            ("0.0.0.0:0", "tcp://0.0.0.0:0"),
            ("[::]:1883", "tcp://[::]:1883"),
            ("tcp://[::1]:65535", "tcp://[::1]:65535"),
            ("[fe80::1%3]:1883", "tcp://[fe80::1%3]:1883"),
            ("localhost:1883", "tcp://localhost:1883"),
            ("broker-1.example.org:1", "tcp://broker-1.example.org:1"),
        ] {
            let address: ListenAddr = text.parse().unwrap();
            assert_eq!(address.to_string(), read, "{text}");
        }
    }

    #[test]
    fn a_bad_address_is_told_what_is_wrong_with_it() {
        use ListenAddrError::*;
        for (text, error) in [
            ("", NoPort),
            ("localhost", NoPort),
            ("127.0.0.1", NoPort),
            ("[::1]", NoPort),
            ("1883", NoHost(1883)),
            (":1883", NoHost(1883)),
            ("::1", Brackets),
            ("::", Brackets),
            ("fe80::1:1883", Brackets),
            ("localhost:", Port(String::new())),
            ("localhost:mqtt", Port("mqtt".into())),
            ("127.0.0.1:65536", Port("65536".into())),
            ("127.0.0.1:-1", Port("-1".into())),
            ("ws://127.0.0.1:80", Scheme("ws".into())),
            ("a b:1883", Host("a b".into())),
            ("*:1883", Host("*".into())),
            ("127.0.0.256:1883", Host("127.0.0.256".into())),
            ("[::g]:1883", Host("[::g]".into())),
            ("a..b:1883", Host("a..b".into())),
        ] {
            assert_eq!(text.parse::<ListenAddr>(), Err(error), "{text}");
        }
    }

    #[test]
    fn what_somebody_wrote_cannot_drive_a_terminal_or_fill_a_screen() {
        let hostile = format!("\t\u{1b}[2J{}", "x".repeat(5000));
        for text in [
            format!("localhost:{hostile}"),
            format!("{hostile}:1883"),
            format!("{hostile}://localhost:1883"),
        ] {
            let told = text.parse::<ListenAddr>().unwrap_err().to_string();
            assert!(told.contains("'\\t\\u{1b}[2Jxxx"), "{told}");
            assert!(
                !told.contains(char::is_control) && told.len() < 200,
                "{told:?}"
            );
        }
    }
}
