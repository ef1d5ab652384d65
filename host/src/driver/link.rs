//! A connection as the driver sees it: a socket and where the conversation stands.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::auth::Authenticate;

/// A non-blocking socket, as a runtime supplies it.
pub trait Socket {
    /// Reads what is there, at most `buf.len()` bytes; 0 is the end of the stream.
    ///
    /// After a short read or [`WouldBlock`](io::ErrorKind::WouldBlock) the runtime reports the
    /// connection as ready when there is more, be it the end of the stream. After a full read the
    /// driver comes back by itself.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing is there; anything else ends the connection.
    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes as much of `bufs` as there is room for, in one go.
    ///
    /// After a short write or [`WouldBlock`](io::ErrorKind::WouldBlock) the runtime reports the
    /// connection as ready when there is room.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no room; anything else ends the connection.
    fn try_write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Shuts down the writing side.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn shutdown_write(&mut self) -> io::Result<()>;
}

/// How far a connection is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is not.
    Open,
    /// The conversation is over; the last words are still being written. What comes in is
    /// discarded.
    Draining {
        /// Whether the peer has ended its side already.
        peer_ended: bool,
    },
    /// The last words are out and the writing side is shut; what comes in is discarded up to the
    /// peer's end.
    Finished,
}

/// One socket and its flags.
pub(super) struct Link<S> {
    pub(super) socket: S,
    pub(super) stage: Stage,
    /// In the queue of those to be read.
    pub(super) queued: bool,
    /// In the list of those to be written.
    pub(super) listed: bool,
    /// The broker wants nothing read.
    pub(super) paused: bool,
    /// The socket took less than it was offered: pointless to try before it reports.
    pub(super) blocked: bool,
    /// Who examines what the client answers to a challenge, if it was challenged.
    pub(super) examiner: Option<Arc<dyn Authenticate>>,
}

impl<S> Link<S> {
    pub(super) fn new(socket: S) -> Self {
        Self {
            socket,
            stage: Stage::Open,
            queued: false,
            listed: false,
            paused: false,
            blocked: false,
            examiner: None,
        }
    }

    /// Whether reading makes sense now.
    pub(super) fn reads(&self) -> bool {
        match self.stage {
            Stage::Open => !self.paused,
            Stage::Draining { peer_ended } => !peer_ended,
            Stage::Finished => true,
        }
    }
}
