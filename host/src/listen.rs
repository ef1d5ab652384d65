//! Listening sockets, opened before anything else so that a mistake is told at once.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use thiserror::Error;
use tracing::{debug, info, warn};
use wherry_core::connection::{Origin, Transport};

use crate::address::{ListenAddr, Place};

/// How many clients may wait to be accepted; the system may allow fewer. A whole fleet that
/// reconnects at once should find room.
const BACKLOG: i32 = 4096;

/// Whether accepted sockets have the options of the socket that accepted them. Where they do, each
/// connection saves the five system calls of setting them.
const INHERITED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    /// The socket: bound, listening, non-blocking.
    pub socket: TcpListener,
    /// The address it really has.
    pub local: SocketAddr,
    /// Its place among the listeners of this process.
    pub number: u16,
}

/// Why a listener could not be opened.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Its name could not be looked up.
    #[error("cannot listen on {name}: the name cannot be looked up: {error}")]
    Lookup {
        /// The name and port asked for.
        name: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// Its socket could not be opened.
    #[error("cannot listen on {address}: {}", Advice(error, FLAGS))]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The socket for health and metrics could not be opened.
    #[error("cannot listen on http://{address}: {}", Advice(error, HTTP_FLAG))]
    BindHttp {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// What serves health and metrics could not be started.
    #[error("cannot start what tells of health and metrics: {0}")]
    Http(io::Error),
    /// There are more than can be numbered.
    #[error("too many listeners; 65,535 are possible")]
    TooMany,
}

const FLAGS: &str = "--listen ADDRESS:PORT or --port PORT";
const HTTP_FLAG: &str = "--http ADDRESS:PORT";

/// An error in words, with what to do about it: which flags choose another address.
struct Advice<'a>(&'a io::Error, &'a str);

impl std::fmt::Display for Advice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(error, flags) = self;
        match error.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "address already in use. Is another broker running? Choose another with {flags}."
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "permission denied. Ports below 1024 need privileges. Choose another with {flags}."
            ),
            io::ErrorKind::AddrNotAvailable => f.write_str(
                "this machine has no such address. Listen on 127.0.0.1 for this machine only, or \
                 on 0.0.0.0 or [::] for all its networks.",
            ),
            _ => error.fmt(f),
        }
    }
}

/// Opens a listener for each of `addresses`, and more than one where a name stands for several.
/// Returns those of each of `shards`: the system deals out the clients of an address.
///
/// # Errors
///
/// The first that could not be opened; those opened before it are closed again.
pub fn open_all(
    addresses: &[ListenAddr],
    shards: usize,
) -> Result<Vec<Vec<Listener>>, ListenError> {
    let mut listeners: Vec<_> = (0..shards.max(1)).map(|_| Vec::new()).collect();
    for address in addresses {
        match &address.place {
            Place::Address(at) => open(&mut listeners, *at, takes_ipv4(*at, addresses))?,
            Place::Name(name, port) => open_name(name, *port, &mut listeners)?,
        }
    }
    Ok(listeners)
}

/// Opens a listener for health and metrics, or more than one if the name stands for several.
///
/// # Errors
///
/// If there is an address that could not be opened.
pub fn open_http(address: &ListenAddr) -> Result<Vec<Listener>, ListenError> {
    match open_all(std::slice::from_ref(address), 1) {
        Ok(listeners) => Ok(listeners.into_iter().flatten().collect()),
        Err(ListenError::Bind { address, error }) => Err(ListenError::BindHttp { address, error }),
        Err(other) => Err(other),
    }
}

/// A name may stand for addresses of which some do not exist here, as `localhost` does for `::1`
/// where IPv6 is switched off. One that can be opened is enough.
fn open_name(name: &str, port: u16, listeners: &mut [Vec<Listener>]) -> Result<(), ListenError> {
    let lookup = |error| ListenError::Lookup {
        name: format!("{name}:{port}"),
        error,
    };
    let mut addresses: Vec<SocketAddr> = (name, port).to_socket_addrs().map_err(lookup)?.collect();
    addresses.sort();
    addresses.dedup();
    let count = |listeners: &[Vec<_>]| listeners.first().map_or(0, Vec::len);
    let before = count(listeners);
    let mut missing = None;
    for at in addresses {
        match open(listeners, at, false) {
            Ok(()) => {}
            Err(ListenError::Bind { address, error })
                if matches!(
                    error.kind(),
                    io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
                ) || rustix::io::Errno::from_io_error(&error)
                    == Some(rustix::io::Errno::AFNOSUPPORT) =>
            {
                debug!("{name} also stands for {address}, which is not to be had: {error}");
                missing = Some(ListenError::Bind { address, error });
            }
            Err(other) => return Err(other),
        }
    }
    if count(listeners) == before {
        return Err(missing.unwrap_or_else(|| {
            lookup(io::Error::new(
                io::ErrorKind::NotFound,
                "it has no addresses",
            ))
        }));
    }
    Ok(())
}

/// Whether a listener on `[::]` shall take IPv4 clients too: yes, unless another listener is asked
/// for that takes them at the same port.
fn takes_ipv4(at: SocketAddr, all: &[ListenAddr]) -> bool {
    at.is_ipv6()
        && at.ip().is_unspecified()
        && !all.iter().any(|other| {
            other.place
                == Place::Address(SocketAddr::new(
                    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    at.port(),
                ))
        })
}

/// Opens a listener on `address` for each shard. All of them or none are added.
fn open(
    listeners: &mut [Vec<Listener>],
    address: SocketAddr,
    takes_ipv4: bool,
) -> Result<(), ListenError> {
    let number = listeners.first().map_or(0, Vec::len);
    let number = u16::try_from(number).map_err(|_| ListenError::TooMany)?;
    let sockets = sockets(address, takes_ipv4, listeners.len());
    let sockets = sockets.map_err(|error| ListenError::Bind { address, error })?;
    for (listeners, (socket, local)) in listeners.iter_mut().zip(sockets) {
        listeners.push(Listener {
            socket,
            local,
            number,
        });
    }
    Ok(())
}

/// So many sockets that listen on one address, each with the address that it really has.
fn sockets(
    address: SocketAddr,
    takes_ipv4: bool,
    count: usize,
) -> io::Result<Vec<(TcpListener, SocketAddr)>> {
    let bind = |address: SocketAddr, is_shared| {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(!takes_ipv4)?;
        }
        // Without it a restarted broker would have to wait until connections of its predecessor
        // are forgotten. It does not let two listeners share a port.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        if is_shared {
            socket.set_reuse_port(true)?;
        }
        socket.set_nonblocking(true)?;
        if INHERITED {
            set_options(&SockRef::from(&socket))?;
        }
        socket.bind(&address.into())?;
        io::Result::Ok(socket)
    };
    let listen = |socket: Socket| {
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        let local = socket.local_addr()?;
        Ok((socket, local))
    };
    let first = bind(address, false)?;
    if count == 1 {
        return Ok(vec![listen(first)?]);
    }
    // Sockets that share a port would share it with those of another broker, too. The first one,
    // which does not and never listens, finds out that there is none, and which port it is.
    let local = first.local_addr()?.as_socket().unwrap_or(address);
    (0..count).map(|_| listen(bind(local, true)?)).collect()
}

/// The options of every connection: small packets leave at once, since what a turn has to say is
/// written at once anyway; and a peer that vanished without a word is found out in two minutes,
/// whatever its keep-alive.
fn set_options(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(15))
            .with_retries(4),
    )
}

/// Gives an accepted socket its options, where it has not inherited them.
pub fn prepare<'a>(accepted: impl Into<SockRef<'a>>) {
    if !INHERITED {
        // A socket that refuses is gone already, as the first read will tell.
        let _ = set_options(&accepted.into());
    }
}

/// Where a connection comes from that was accepted by listener `number` at `local`.
///
/// `exact_local` asks the socket for its own address. It is called only where a listener has many:
/// for the others the listener's address is the connection's, and a system call is saved.
pub fn origin(
    number: u16,
    local: SocketAddr,
    remote: SocketAddr,
    exact_local: impl FnOnce() -> io::Result<SocketAddr>,
) -> Origin {
    let local = if local.ip().is_unspecified() {
        exact_local().ok()
    } else {
        Some(local)
    };
    Origin {
        listener: number,
        transport: Transport::Tcp,
        remote: Some(remote),
        local,
    }
}

/// Logs where the broker can be reached, and who can reach it.
pub fn announce(addresses: &[SocketAddr]) {
    for address in addresses {
        info!("listening on tcp://{}", address);
        if !address.ip().to_canonical().is_loopback() {
            warn!(
                "tcp://{} is open to other machines and nothing is asked of clients: anyone who \
                 reaches it may publish and subscribe",
                address
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<ListenAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_in_use_is_told_with_what_to_do() {
        let first = open_all(&addresses(&["127.0.0.1:0"]), 1).unwrap().remove(0);
        let taken = first[0].local.to_string();
        let error = open_all(&addresses(&[&taken]), 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot listen on {taken}: address already in use. Is another broker running? \
                 Choose another with --listen ADDRESS:PORT or --port PORT."
            )
        );
    }

    #[test]
    fn shards_share_an_address_with_each_other_and_with_nobody_else() {
        let shards = open_all(&addresses(&["127.0.0.1:0", "127.0.0.1:0"]), 3).unwrap();
        let address = |shard: &[Listener], n: usize| (shard[n].local, shard[n].number);
        for n in 0..2 {
            let first = address(&shards[0], n);
            assert!(shards.iter().all(|it| address(it, n) == first));
        }
        let taken = shards[0][1].local;
        for count in [1, 2] {
            let error = open_all(&addresses(&[&taken.to_string()]), count).unwrap_err();
            assert!(matches!(error, ListenError::Bind { address, .. } if address == taken));
        }
        // All of them are there for clients.
        let clients: Vec<_> = (0..100)
            .map(|_| TcpStream::connect(taken).unwrap())
            .collect();
        let mut accepted = Vec::new();
        while accepted.iter().sum::<usize>() < clients.len() {
            accepted = shards
                .iter()
                .map(|it| it[1].socket.incoming().map_while(Result::ok).count())
                .collect();
        }
        assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
    }

    #[test]
    fn localhost_listens_wherever_it_can() {
        let listeners = open_all(&addresses(&["localhost:0"]), 1).unwrap().remove(0);
        assert!(!listeners.is_empty());
        assert!(listeners.iter().all(|one| one.local.ip().is_loopback()));
    }

    #[test]
    fn the_unspecified_address_of_ipv6_takes_ipv4_unless_that_is_asked_for_too() {
        let both = addresses(&["[::]:1883", "0.0.0.0:1883"]);
        let at: SocketAddr = "[::]:1883".parse().unwrap();
        assert!(takes_ipv4(at, &both[..1]));
        assert!(!takes_ipv4(at, &both));
        assert!(takes_ipv4(at, &addresses(&["[::]:1883", "0.0.0.0:1884"])));
        assert!(!takes_ipv4("[::1]:1883".parse().unwrap(), &[]));

        // Where the machine has IPv6 at all.
        if let Ok(listeners) = open_all(&addresses(&["[::]:0"]), 1) {
            let port = listeners[0][0].local.port();
            TcpStream::connect(("127.0.0.1", port)).unwrap();
        }
    }

    #[test]
    fn accepted_sockets_send_at_once_and_probe_silent_peers() {
        let listeners = open_all(&addresses(&["127.0.0.1:0"]), 1).unwrap().remove(0);
        let _client = TcpStream::connect(listeners[0].local).unwrap();
        listeners[0].socket.set_nonblocking(false).unwrap();
        let (accepted, _) = listeners[0].socket.accept().unwrap();
        prepare(&accepted);
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(60)
        );
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(15)
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
    }

    #[test]
    fn a_connection_knows_its_own_address_also_where_the_listener_has_many() {
        let remote: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        let one: SocketAddr = "192.0.2.2:1883".parse().unwrap();
        let many: SocketAddr = "0.0.0.0:1883".parse().unwrap();
        assert_eq!(origin(3, many, remote, || Ok(one)).local, Some(one));
        let asked = origin(3, one, remote, || Err(io::ErrorKind::Other.into()));
        assert_eq!(asked.local, Some(one));
    }
}
