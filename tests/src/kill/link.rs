//! A connection of a client, which never waits.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::{io, mem};

use crate::PATIENCE;
use crate::wire::{self, Received, Version};

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It stays.
    Not,
    /// It has said DISCONNECT, and waits for the broker to close.
    Politely,
    /// It is gone without a word.
    Cut,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: TcpStream,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    pub(super) leaving: Leaving,
    /// The CONNACK has come.
    pub(super) is_up: bool,
}

impl Link {
    pub(super) fn dial(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            unread: Vec::new(),
            unsent: Vec::new(),
            leaving: Leaving::Not,
            is_up: false,
        })
    }

    /// Sends a packet as soon as the socket takes it. Who is leaving says nothing more.
    pub(super) fn send(&mut self, packet: &[u8]) {
        if self.leaving == Leaving::Not {
            self.unsent.extend(packet);
        }
    }

    /// Leaves with a DISCONNECT.
    pub(super) fn leave(&mut self, version: Version) {
        self.send(&wire::disconnect(version, 0));
        self.leaving = Leaving::Politely;
    }

    /// Leaves without a word.
    pub(super) fn cut(&mut self) {
        self.leaving = Leaving::Cut;
    }

    /// How many bytes the socket did not take yet.
    pub(super) fn backlog(&self) -> usize {
        self.unsent.len()
    }

    /// Writes what the socket takes. If nobody takes anything any more, reading tells.
    pub(super) fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(len) => drop(self.unsent.drain(..len)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.unsent.clear(),
            }
        }
    }

    /// Reads what is there: whole packets, and whether it was the end.
    pub(super) fn read(&mut self) -> (Vec<Received>, bool) {
        let mut scratch = [0; 64 << 10];
        let mut is_end = false;
        loop {
            match self.stream.read(&mut scratch) {
                Ok(0) => {
                    is_end = true;
                    break;
                }
                Ok(len) => {
                    self.unread.extend(&scratch[..len]);
                    if len < scratch.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    is_end = true;
                    break;
                }
            }
        }
        (self.packets(), is_end)
    }

    /// Reads to the end of a stream whose other side is gone.
    pub(super) fn read_to_end(&mut self) -> Vec<Received> {
        let mut rest = Vec::new();
        // An error ends it as well: what came before it has come.
        let _ = self.stream.set_nonblocking(false);
        let _ = self.stream.read_to_end(&mut rest);
        self.unread.extend(rest);
        self.packets()
    }

    fn packets(&mut self) -> Vec<Received> {
        let unread = mem::take(&mut self.unread);
        let mut packets = Vec::new();
        let mut rest = &unread[..];
        while let Some((packet, used)) = wire::first_packet(rest) {
            packets.push(packet);
            rest = &rest[used..];
        }
        self.unread = rest.to_vec();
        packets
    }
}
