//! A TCP connection on Tokio, as the shard driver wants it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use wherry_host::driver;

/// A stream and the waker that reports it.
///
/// Tokio keeps for each socket what it knows of its readiness, so trying one that is not ready
/// costs no system call. It forgets readiness only when an attempt shows that it is over; the
/// methods below see to it that a short read or write is such an attempt, which saves the second
/// one that would only return `EAGAIN`.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    waker: Waker,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, waker: Waker) -> Self {
        Self { stream, waker }
    }

    /// Takes the stream from the runtime.
    pub(crate) fn into_std(self) -> io::Result<std::net::TcpStream> {
        self.stream.into_std()
    }

    /// Registers the waker for what comes next, or wakes it if that has come already.
    fn report(&self, poll_ready: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>) {
        if poll_ready(&mut Context::from_waker(&self.waker)).is_ready() {
            self.waker.wake_by_ref();
        }
    }
}

impl driver::Socket for Socket {
    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut into = ReadBuf::new(buf);
        let mut context = Context::from_waker(&self.waker);
        match Pin::new(&mut self.stream).poll_read(&mut context, &mut into) {
            Poll::Ready(outcome) => outcome?,
            Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
        }
        let (count, was_full) = (into.filled().len(), into.remaining() == 0);
        if count > 0 && !was_full {
            // `poll_read` has cleared the readiness after a short read, but for the end of the
            // stream, which may have come along with the last bytes.
            self.report(|context| self.stream.poll_read_ready(context));
        }
        Ok(count)
    }

    fn try_write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: usize = bufs.iter().map(|slice| slice.len()).sum();
        let outcome = match bufs {
            [one] => self.stream.try_write(one),
            many => self.stream.try_write_vectored(many),
        };
        match &outcome {
            Ok(taken) if *taken < offered => {
                // A short write means that there is no more room, and that the kernel will say
                // when there is. Tokio learns it from an operation that would have blocked.
                let full = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                let _ = self.stream.try_io(Interest::WRITABLE, full);
                self.report(|context| self.stream.poll_write_ready(context));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.report(|context| self.stream.poll_write_ready(context));
            }
            _ => {}
        }
        outcome
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut context = Context::from_waker(&self.waker);
        match Pin::new(&mut self.stream).poll_shutdown(&mut context) {
            Poll::Ready(outcome) => outcome,
            // A TCP stream has nothing to flush first.
            Poll::Pending => Ok(()),
        }
    }
}
