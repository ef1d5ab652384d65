//! What goes from shard to shard: connections, and what brokers say to each other.
//!
//! The driver does not know where the other shards run. After a turn, whoever runs it takes what is
//! for them, and gives them what is from here.

use std::io;
use std::mem;
use std::os::fd::OwnedFd;

use wherry_core::broker::TooManyConnections;
use wherry_core::connection::{Closed, ConnectionId};
use wherry_core::time::Instant;
use wherry_core::{Moved, PeerMessage, Place};

use super::link::Link;
use super::{Driver, Socket};

/// A connection whose client belongs to another shard, on its way there.
#[derive(Debug)]
pub struct Handover<S> {
    /// The shard that it goes to.
    pub shard: u8,
    moved: Moved,
    socket: S,
}

impl<S> Handover<S> {
    /// The same with its socket in another shape.
    ///
    /// # Errors
    ///
    /// What `shape` says; the connection is given up then.
    pub fn map<T>(self, shape: impl FnOnce(S) -> io::Result<T>) -> io::Result<Handover<T>> {
        Ok(Handover {
            shard: self.shard,
            moved: self.moved,
            socket: shape(self.socket)?,
        })
    }
}

impl<S: Socket> Driver<S> {
    /// The connections that were opened here and whose clients belong to other shards: each goes to
    /// [`adopt`](Self::adopt) of its shard's driver. To be taken after every turn.
    pub fn take_handovers(&mut self) -> Vec<Handover<S>> {
        mem::take(&mut self.handovers)
    }

    /// Takes in a connection that another shard gave away. `make` gets the handle that the socket's
    /// waker has to report from now on, and the socket as it was there. If it fails, the connection
    /// is lost.
    ///
    /// # Errors
    ///
    /// [`TooManyConnections`] as with [`open`](Self::open); the socket is dropped.
    pub fn adopt<T>(
        &mut self,
        now: Instant,
        handover: Handover<T>,
        make: impl FnOnce(ConnectionId, T) -> io::Result<S>,
    ) -> Result<ConnectionId, TooManyConnections> {
        self.catch_up(now);
        let remote = handover.moved.origin().remote;
        let id = self
            .broker
            .adopt(handover.moved)
            .inspect_err(|error| self.events.not_opened(remote, *error))?;
        match make(id, handover.socket) {
            Ok(socket) => {
                self.links.insert(id, Link::new(socket));
                self.ready(id);
            }
            Err(_) => self.broker.closed(id, Closed::Failed),
        }
        Ok(id)
    }

    /// The connections that came by mail: each goes to [`adopt`](Self::adopt). To be taken after
    /// every turn.
    pub fn take_arrivals(&mut self) -> Vec<Handover<OwnedFd>> {
        mem::take(&mut self.arrivals)
    }

    /// The shards that there is something to say to, to be asked after every turn.
    pub fn routes(&self) -> impl Iterator<Item = u8> + use<S> {
        let mut routes = self.routes;
        std::iter::from_fn(move || {
            let peer = routes.trailing_zeros();
            routes &= routes.wrapping_sub(1);
            u8::try_from(peer).ok().filter(|peer| *peer < Place::MOST)
        })
    }

    /// Takes what there is to say to another shard, in order: it goes to
    /// [`peer_received`](Self::peer_received) of that shard's driver, all of it and behind what was
    /// taken before.
    pub fn take_routed(&mut self, peer: u8) -> Vec<PeerMessage> {
        self.routes &= !(1 << peer);
        let messages = self.broker.take_routed(peer);
        // What was gathered for one shard may be for others as well.
        self.settle();
        messages
    }

    /// Another shard has said this, and it arrives at `now`. What comes of it is done in the next
    /// turn, which must follow.
    pub fn peer_received(&mut self, now: Instant, from: u8, messages: Vec<PeerMessage>) {
        self.catch_up(now);
        self.broker.peer_received(from, messages);
    }

    pub(super) fn give_away(&mut self, id: ConnectionId, shard: u8) {
        // It may have ended in the meantime; then its socket ends like any other.
        if let Some(moved) = self.broker.take_moved(id)
            && let Some(link) = self.links.remove(id)
        {
            let socket = link.socket;
            self.handovers.push(Handover {
                shard,
                moved,
                socket,
            });
        }
    }
}
