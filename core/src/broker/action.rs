//! What the broker wants done.

use super::LocalClient;
use crate::connection::ConnectionId;

/// A hand raised by the broker; [`Broker::poll_action`](super::Broker::poll_action) hands them out.
///
/// An action carries no data: the runtime fetches as much as it can carry by the call that each
/// variant names. The enum is exhaustive on purpose: a new action must not be overlooked by a
/// runtime, so it breaks every one of them at compile time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The connection's outbox holds bytes: write what [`Broker::outbox`](super::Broker::outbox)
    /// gives and report what the socket took with [`Broker::sent`](super::Broker::sent). Raised
    /// once until the next call of `sent`.
    Send(ConnectionId),
    /// The conversation is over: write what is left of the outbox, shut down the writing side, then
    /// read and discard until the peer's end, and report it with
    /// [`Broker::closed`](super::Broker::closed). Closing at once would let TCP reset away our last
    /// words. If it takes too long, an [`Action::Abort`] follows.
    Close(ConnectionId),
    /// Drop the socket at once. The handle is gone already; `closed` need not be called.
    Abort(ConnectionId),
    /// Stop reading from this connection.
    Pause(ConnectionId),
    /// Read from this connection again.
    Resume(ConnectionId),
    /// Check the credentials that [`Broker::credentials`](super::Broker::credentials) shows,
    /// however slowly, and answer with [`Broker::admit`](super::Broker::admit),
    /// [`Broker::refuse`](super::Broker::refuse), or, in an enhanced authentication,
    /// [`Broker::challenge`](super::Broker::challenge): then it is raised again for what the client
    /// answers. It is also raised when a client that is in authenticates again.
    Authenticate(ConnectionId),
    /// The client belongs to the shard of that number: take the connection out with
    /// [`Broker::take_moved`](super::Broker::take_moved) and give it, with its socket, to that
    /// shard's [`Broker::adopt`](super::Broker::adopt). Nothing is read until then. Never raised
    /// where there is one shard.
    Move(ConnectionId, u8),
    /// There may be something to say to the shard of that number: take it with
    /// [`Broker::take_routed`](super::Broker::take_routed). Raised once until then, and never where
    /// there is one shard.
    Route(u8),
    /// Messages wait for a client inside the process: take them with
    /// [`Broker::next_message`](super::Broker::next_message) until it gives none. Raised once until
    /// then.
    Deliver(LocalClient),
    /// A batch waits for the store: take it with [`Broker::take_batch`](super::Broker::take_batch)
    /// and say with [`Broker::batch_committed`](super::Broker::batch_committed) when it is safe.
    /// The next one is not given before. Only a broker with a store raises it.
    Store,
    /// Events wait in [`Broker::poll_event`](super::Broker::poll_event).
    Event,
}
