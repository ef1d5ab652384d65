//! A listening socket on Tokio.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, Waker};

use tokio::net::{TcpListener, TcpStream};
use wherry_host::core::connection::Origin;
use wherry_host::{listen, shard};

use crate::socket::Socket;

/// A listener that has been given to the runtime of this thread.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    local: SocketAddr,
    number: u16,
}

impl Listener {
    /// Must be called in the context of the runtime that the listener shall belong to.
    pub(crate) fn new(listener: listen::Listener) -> io::Result<Self> {
        Ok(Self {
            socket: TcpListener::from_std(listener.socket)?,
            local: listener.local,
            number: listener.number,
        })
    }
}

impl shard::Listener for Listener {
    type Stream = TcpStream;
    type Socket = Socket;

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<(TcpStream, Origin)>> {
        self.socket.poll_accept(context).map(|outcome| {
            let (stream, remote) = outcome?;
            listen::prepare(&stream);
            let origin = listen::origin(self.number, self.local, remote, || stream.local_addr());
            Ok((stream, origin))
        })
    }

    fn socket(stream: TcpStream, waker: Waker) -> Socket {
        Socket::new(stream, waker)
    }

    fn detach(socket: Socket) -> io::Result<OwnedFd> {
        socket.into_std().map(OwnedFd::from)
    }

    fn attach(socket: OwnedFd, waker: Waker) -> io::Result<Socket> {
        let stream = TcpStream::from_std(std::net::TcpStream::from(socket))?;
        Ok(Socket::new(stream, waker))
    }
}
