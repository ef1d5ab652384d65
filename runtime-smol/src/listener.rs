//! A listening socket on async-io.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, Waker, ready};

use async_io::Async;
use wherry_host::core::connection::Origin;
use wherry_host::{listen, shard};

use crate::socket::Socket;

/// A listener that has been given to the reactor.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Async<TcpListener>,
    local: SocketAddr,
    number: u16,
    /// Whether the reactor has said that somebody waits, and accepting has not yet shown that this
    /// is over.
    is_ready: bool,
}

impl Listener {
    pub(crate) fn new(listener: listen::Listener) -> io::Result<Self> {
        Ok(Self {
            socket: Async::new_nonblocking(listener.socket)?,
            local: listener.local,
            number: listener.number,
            is_ready: false,
        })
    }

    fn poll_stream(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Async<TcpStream>, SocketAddr)>> {
        loop {
            if !self.is_ready {
                ready!(self.socket.poll_readable(context))?;
                self.is_ready = true;
            }
            match self.socket.get_ref().accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_ready = false,
                outcome => {
                    let (stream, remote) = outcome?;
                    return Poll::Ready(Ok((Async::new(stream)?, remote)));
                }
            }
        }
    }
}

impl shard::Listener for Listener {
    type Stream = Async<TcpStream>;
    type Socket = Socket;

    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Async<TcpStream>, Origin)>> {
        self.poll_stream(context).map(|outcome| {
            let (stream, remote) = outcome?;
            listen::prepare(&stream);
            let exact_local = || stream.get_ref().local_addr();
            let origin = listen::origin(self.number, self.local, remote, exact_local);
            Ok((stream, origin))
        })
    }

    fn socket(stream: Async<TcpStream>, waker: Waker) -> Socket {
        Socket::new(stream, waker)
    }

    fn detach(socket: Socket) -> io::Result<OwnedFd> {
        socket.into_std().map(OwnedFd::from)
    }

    fn attach(socket: OwnedFd, waker: Waker) -> io::Result<Socket> {
        let stream = Async::new_nonblocking(TcpStream::from(socket))?;
        Ok(Socket::new(stream, waker))
    }
}
