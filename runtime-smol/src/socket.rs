//! A TCP connection on async-io, as the shard driver wants it.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::task::{Context, Poll, Waker};

use async_io::Async;
use wherry_host::driver;

/// A stream and the waker that reports it.
///
/// async-io's reactor reports a socket once each time it is asked to, and asking is a system call.
/// So reading and writing are tried first, and the reactor is asked only when an attempt has shown
/// that there is no more; what comes in between is seen by the kernel when it is asked. To ask
/// again while a report is still owed costs nothing.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Async<TcpStream>,
    waker: Waker,
}

impl Socket {
    pub(crate) fn new(stream: Async<TcpStream>, waker: Waker) -> Self {
        Self { stream, waker }
    }

    /// Takes the stream from the reactor.
    pub(crate) fn into_std(self) -> io::Result<TcpStream> {
        self.stream.into_inner()
    }

    /// Has the waker woken by what comes next.
    fn report(
        &self,
        poll_ready: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> io::Result<()> {
        let mut context = Context::from_waker(&self.waker);
        // The report that led here is still there to be taken; only then can another be asked for.
        while let Poll::Ready(outcome) = poll_ready(&mut context) {
            outcome?;
        }
        Ok(())
    }
}

impl driver::Socket for Socket {
    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let outcome = self.stream.get_ref().read(buf);
        let is_short = match &outcome {
            Ok(count) => *count > 0 && *count < buf.len(),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        if is_short {
            self.report(|context| self.stream.poll_readable(context))?;
        }
        outcome
    }

    fn try_write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: usize = bufs.iter().map(|slice| slice.len()).sum();
        let outcome = match bufs {
            [one] => self.stream.get_ref().write(one),
            many => self.stream.get_ref().write_vectored(many),
        };
        let is_short = match &outcome {
            Ok(taken) => *taken < offered,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        if is_short {
            self.report(|context| self.stream.poll_writable(context))?;
        }
        outcome
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.stream.get_ref().shutdown(Shutdown::Write)
    }
}
