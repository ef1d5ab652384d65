//! Sockets that are no sockets: bytes in pieces of any size, little room, false alarms, ends at any
//! byte.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wherry_host::driver::Socket;

use crate::random::Random;

/// In what pieces bytes are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pieces {
    /// All there is.
    Whole,
    /// A few bytes at a time.
    Tiny,
    /// Now this, now that.
    Mixed,
}

impl Pieces {
    /// How many of `most` bytes move now; at least one.
    pub(crate) fn size(self, most: usize, random: &mut Random) -> usize {
        let limit = match self {
            Self::Whole => return most,
            // Large packets would take for ever.
            Self::Tiny => 1 + random.below(4) + most / 40,
            Self::Mixed => match random.below(4) {
                0 => 1 + random.below(3),
                1 => 1 + random.below(40),
                _ => return most,
            },
        };
        most.min(limit)
    }
}

/// How the client's side of a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing more will come.
    Stream,
    /// What was on its way is lost.
    Reset,
}

/// What the broker did with a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It read bytes: those of the log from here to there.
    Read(usize, usize),
    /// It wrote bytes.
    Wrote(usize, usize),
    /// It was told that the stream has ended.
    SawEnd,
    /// It was told that the socket has failed.
    SawFailure,
    /// It shut down the writing side.
    Shut,
    /// It dropped the socket.
    Dropped,
}

/// One connection's bytes, on the broker's side of the network.
#[derive(Debug)]
struct Pipe {
    /// What the broker can read.
    inbox: Vec<u8>,
    taken: usize,
    end: Option<End>,
    /// How many bytes the broker has written that the client has not read.
    buffered: usize,
    capacity: usize,
    /// The broker wants to hear when there is room.
    blocked: bool,
    random: Random,
}

/// All connections of a world.
#[derive(Debug)]
pub(crate) struct Net {
    pipes: Vec<Pipe>,
    /// What the broker did, in order, since the world looked last.
    pub(crate) deeds: Vec<(usize, Deed)>,
    /// How many these are, for others to see.
    count: Arc<AtomicUsize>,
    /// The bytes of these.
    pub(crate) bytes: Vec<u8>,
    /// Connections that are to be reported as ready: less was moved than could have been.
    pub(crate) again: Vec<usize>,
    pub(crate) pieces: Pieces,
    /// Whether calls are interrupted now and then.
    pub(crate) interrupts: bool,
    pub(crate) short_writes: u64,
    pub(crate) refused_writes: u64,
}

impl Net {
    pub(crate) fn new(
        pieces: Pieces,
        interrupts: bool,
        count: Arc<AtomicUsize>,
    ) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            pipes: Vec::new(),
            deeds: Vec::new(),
            count,
            bytes: Vec::new(),
            again: Vec::new(),
            pieces,
            interrupts,
            short_writes: 0,
            refused_writes: 0,
        }))
    }

    /// A new connection, with room for so many bytes to the client.
    pub(crate) fn open(&mut self, capacity: usize, random: Random) -> usize {
        self.pipes.push(Pipe {
            inbox: Vec::new(),
            taken: 0,
            end: None,
            buffered: 0,
            capacity,
            blocked: false,
            random,
        });
        self.pipes.len() - 1
    }

    /// Bytes of the client have arrived.
    pub(crate) fn arrive(&mut self, conn: usize, bytes: &[u8]) {
        self.pipes[conn].inbox.extend_from_slice(bytes);
    }

    /// The end of the client's side has arrived.
    pub(crate) fn end(&mut self, conn: usize, end: End) {
        let pipe = &mut self.pipes[conn];
        if pipe.end != Some(End::Reset) {
            pipe.end = Some(end);
        }
        if end == End::Reset {
            pipe.inbox.clear();
            pipe.taken = 0;
        }
    }

    fn note(&mut self, conn: usize, deed: Deed) {
        self.deeds.push((conn, deed));
        self.count.store(self.deeds.len(), Ordering::Relaxed);
    }

    /// How many bytes wait for the client.
    pub(crate) fn buffered(&self, conn: usize) -> usize {
        self.pipes[conn].buffered
    }

    /// The client has read so many bytes. Returns whether the broker waits for room.
    pub(crate) fn drain(&mut self, conn: usize, count: usize) -> bool {
        let pipe = &mut self.pipes[conn];
        pipe.buffered -= count;
        std::mem::take(&mut pipe.blocked)
    }
}

/// The broker's end of a connection.
#[derive(Debug)]
pub(crate) struct SimSocket {
    pub(crate) net: Rc<RefCell<Net>>,
    pub(crate) conn: usize,
}

impl Socket for SimSocket {
    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let net = &mut *self.net.borrow_mut();
        let pipe = &mut net.pipes[self.conn];
        if pipe.end == Some(End::Reset) {
            net.note(self.conn, Deed::SawFailure);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if net.interrupts && pipe.random.below(32) == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let there = pipe.inbox.len() - pipe.taken;
        if there == 0 {
            if pipe.end.is_none() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            net.note(self.conn, Deed::SawEnd);
            return Ok(0);
        }
        let most = there.min(buf.len());
        let count = net.pieces.size(most, &mut pipe.random);
        let bytes = &pipe.inbox[pipe.taken..pipe.taken + count];
        buf[..count].copy_from_slice(bytes);
        let start = net.bytes.len();
        net.bytes.extend_from_slice(bytes);
        pipe.taken += count;
        if pipe.taken == pipe.inbox.len() {
            pipe.inbox.clear();
            pipe.taken = 0;
        }
        // A real socket is reported again when more comes, and the end is more. What was left for
        // no reason has to be reported too.
        if count < buf.len() && (count < there || pipe.end.is_some()) {
            net.again.push(self.conn);
        }
        let deed = Deed::Read(start, net.bytes.len());
        net.note(self.conn, deed);
        Ok(count)
    }

    fn try_write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let net = &mut *self.net.borrow_mut();
        let pipe = &mut net.pipes[self.conn];
        if pipe.end == Some(End::Reset) {
            net.note(self.conn, Deed::SawFailure);
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if net.interrupts && pipe.random.below(32) == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let offered: usize = bufs.iter().map(|slice| slice.len()).sum();
        let room = pipe.capacity - pipe.buffered;
        if room == 0 {
            pipe.blocked = true;
            net.refused_writes += 1;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = offered.min(room);
        let count = match net.pieces {
            Pieces::Tiny => most.min(1 + pipe.random.below(100) + most / 20),
            pieces => pieces.size(most, &mut pipe.random),
        };
        let start = net.bytes.len();
        let mut left = count;
        for slice in bufs {
            let part = slice.len().min(left);
            net.bytes.extend_from_slice(&slice[..part]);
            left -= part;
        }
        pipe.buffered += count;
        if count < offered {
            net.short_writes += 1;
            if count < room {
                net.again.push(self.conn);
            } else {
                pipe.blocked = true;
            }
        }
        let deed = Deed::Wrote(start, net.bytes.len());
        net.note(self.conn, deed);
        Ok(count)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        let net = &mut *self.net.borrow_mut();
        net.note(self.conn, Deed::Shut);
        match net.pipes[self.conn].end {
            Some(End::Reset) => Err(io::ErrorKind::NotConnected.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let net = &mut *self.net.borrow_mut();
        net.note(self.conn, Deed::Dropped);
    }
}
