//! A connection that was opened at one shard, of a client that another one owns.
//!
//! CONNECT is read where the connection was opened, with all limits and time-outs; what is wrong
//! with it is said there. Then the connection goes to the client's shard with all that came on it,
//! and the conversation begins there anew.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::{Action, Broker, TooManyConnections};
use crate::connection::{Connection, ConnectionId, Origin, Paused, Secret, Stage};
use crate::time::Instant;

/// A connection on its way to the shard that owns its client: what [`Broker::take_moved`] gives at
/// the one, [`Broker::adopt`] takes at the other.
pub struct Moved {
    origin: Origin,
    /// CONNECT, and what came behind it.
    bytes: Vec<u8>,
    /// When the connection was opened: its time for CONNECT runs on.
    since: Instant,
}

impl Moved {
    /// Where the connection comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// CONNECT may hold a password.
impl fmt::Debug for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moved")
            .field("origin", &self.origin)
            .field("bytes", &self.bytes.len())
            .field("since", &self.since)
            .finish()
    }
}

impl Broker {
    /// The shard that owns the client with this identifier.
    pub fn shard_of(&self, client_id: &str) -> u8 {
        self.peers.place().shard_of(client_id)
    }

    /// CONNECT came, all is well with it, and its client belongs to the shard `to`.
    pub(super) fn move_away(&mut self, id: ConnectionId, to: u8, connect: &[u8]) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        // It is counted where its client is let in.
        self.out.counters.connect_received -= 1;
        self.out.counters.packets_received -= 1;
        connection.stage = Stage::Moving(Box::new(Secret(connect.into())));
        self.pause(id, Paused::MOVING);
        self.out.actions.push_back(Action::Move(id, to));
    }

    /// Takes out a connection for which [`Action::Move`] was raised; its handle is dead from now
    /// on, and `closed` need not be called. `None` if it has ended in the meantime.
    ///
    /// Until then it waits, and its time for CONNECT runs.
    pub fn take_moved(&mut self, id: ConnectionId) -> Option<Moved> {
        let Some(connection) = self.connections.get_mut(id) else {
            self.out.counters.stale_handles += 1;
            return None;
        };
        let Stage::Moving(connect) = &mut connection.stage else {
            return None;
        };
        let mut bytes = core::mem::take(&mut connect.0).into_vec();
        bytes.append(&mut connection.input.take());
        let connection = self.connections.remove(id)?;
        self.out.counters.moved_away += 1;
        Some(Moved {
            origin: connection.origin,
            bytes,
            since: connection.since,
        })
    }

    /// Takes in a connection that another shard gave away, and goes on with what came on it.
    pub fn adopt(&mut self, moved: Moved) -> Result<ConnectionId, TooManyConnections> {
        if self.is_full() {
            self.out.counters.connections_over_limit += 1;
            return Err(TooManyConnections);
        }
        self.out.counters.moved_in += 1;
        let mut connection = Connection::new(moved.origin, self.now);
        connection.since = moved.since;
        connection.input.extend(&moved.bytes);
        let id = self.connections.insert(connection);
        self.work = 0;
        self.parse_kept(id);
        self.set_timer(id);
        Ok(id)
    }
}
