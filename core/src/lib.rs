//! Wherry's core: an MQTT broker as a deterministic state machine without I/O.
//!
//! A [`Broker`] takes bytes, the time and answers; it gives [`Action`]s. It has no socket, no
//! clock, no thread and no randomness but the seed it is given, so the same calls always have the
//! same results. Whoever drives it does this, over and over:
//!
//! 1. tell the time ([`Broker::advance`]);
//! 2. for every socket that was opened, has bytes, or is gone: [`Broker::open`],
//!    [`Broker::received`], [`Broker::closed`];
//! 3. take all actions ([`Broker::poll_action`]) and do them;
//! 4. write what the outboxes hold ([`Broker::outbox`]) and say what the socket took
//!    ([`Broker::sent`]); take the actions that come of it;
//! 5. wait for sockets, but not beyond [`Broker::next_deadline`].
//!
//! No order of calls is wrong. Here the loop is whole, with two clients whose sockets are byte
//! vectors:
//!
//! ```
//! use wherry_core::connection::{Closed, ConnectionId, Origin, Transport};
//! use wherry_core::permission::Grant;
//! use wherry_core::time::{Instant, WallClock};
//! use wherry_core::{Action, Broker, Config};
//!
//! /// A socket: what the client will have sent by the next turn, and what it got.
//! struct Socket {
//!     id: ConnectionId,
//!     from_client: Vec<u8>,
//!     to_client: Vec<u8>,
//!     reading: bool,
//!     gone: bool,
//! }
//!
//! fn find(sockets: &mut [Socket], id: ConnectionId) -> &mut Socket {
//!     sockets.iter_mut().find(|socket| socket.id == id).expect("actions name open sockets")
//! }
//!
//! /// One turn of the loop. Returns when the next one is due, if no bytes come before.
//! fn turn(broker: &mut Broker, sockets: &mut [Socket], now: Instant) -> Option<Instant> {
//!     broker.advance(now);
//!     for socket in sockets.iter_mut().filter(|socket| socket.reading) {
//!         let bytes = std::mem::take(&mut socket.from_client);
//!         broker.received(socket.id, &bytes);
//!     }
//!     while let Some(action) = broker.poll_action() {
//!         match action {
//!             // A real driver remembers this, and writes once at the end of its turn.
//!             Action::Send(id) => {
//!                 let socket = find(sockets, id);
//!                 let before = socket.to_client.len();
//!                 broker.outbox(id).for_each(|bytes| socket.to_client.extend(bytes));
//!                 broker.sent(id, socket.to_client.len() - before);
//!             }
//!             Action::Pause(id) => find(sockets, id).reading = false,
//!             Action::Resume(id) => find(sockets, id).reading = true,
//!             // A real driver shuts the writing side down and waits for the client's end.
//!             Action::Close(id) => {
//!                 find(sockets, id).gone = true;
//!                 broker.closed(id, Closed::EndOfStream);
//!             }
//!             Action::Abort(id) => find(sockets, id).gone = true,
//!             Action::Authenticate(id) => {
//!                 let credentials = broker.credentials(id).expect("they were to be checked");
//!                 assert_eq!(credentials.username, None);
//!                 broker.admit(id, Grant::unrestricted());
//!             }
//!             Action::Move(..) | Action::Route(_) => {} // There is one shard.
//!             Action::Deliver(_) => {} // There are no clients inside this process.
//!             Action::Store => {} // Nor is there a store.
//!             Action::Event => while let Some(_for_the_log) = broker.poll_event() {},
//!         }
//!     }
//!     broker.next_deadline()
//! }
//!
//! let start = Instant::from_millis(0);
//! let mut broker = Broker::new(Config::default(), 1, start, WallClock::from_unix_millis(0));
//! let origin = Origin { listener: 0, transport: Transport::Tcp, remote: None, local: None };
//! let mut sockets = Vec::new();
//! for client in [b'a', b'b'] {
//!     let id = broker.open(origin.clone())?;
//!     let connect = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, client].to_vec();
//!     let (from_client, to_client) = (connect, Vec::new());
//!     sockets.push(Socket { id, from_client, to_client, reading: true, gone: false });
//! }
//! turn(&mut broker, &mut sockets, start);
//! assert_eq!(sockets[0].to_client, [0x20, 2, 0, 0], "CONNACK: welcome");
//!
//! // SUBSCRIBE to the filter `t`, then PUBLISH `hi` to the topic `t`.
//! sockets[0].from_client = vec![0x82, 6, 0, 1, 0, 1, b't', 0];
//! turn(&mut broker, &mut sockets, start);
//! sockets[1].from_client = vec![0x30, 5, 0, 1, b't', b'h', b'i'];
//! let deadline = turn(&mut broker, &mut sockets, start);
//! assert!(sockets[0].to_client.ends_with(&[0x30, 5, 0, 1, b't', b'h', b'i']));
//!
//! // Both keep alive at 60 s: after 90 s of silence they are gone.
//! let mut now = start;
//! let mut deadline = deadline;
//! while let Some(next) = deadline.filter(|_| !sockets.iter().all(|socket| socket.gone)) {
//!     now = next;
//!     deadline = turn(&mut broker, &mut sockets, now);
//! }
//! assert_eq!(now, Instant::from_millis(90_000));
//! # Ok::<(), wherry_core::TooManyConnections>(())
//! ```
//!
//! # Invariants
//!
//! - `no_std` with `alloc`, no unsafe code, no panic on any input.
//! - A client can grow no collection beyond a bound of [`Config`].
//! - Tables whose keys a client chooses are keyed ([`map`]); nothing is iterated in hash order.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod broker;
pub mod connection;
mod known;
pub mod map;
mod message;
pub mod packet;
pub mod peer;
pub mod permission;
mod retained;
mod session;
mod share;
pub mod store;
pub mod time;
pub mod topic;

pub use broker::{
    Action, Broker, Cause, Config, Counters, Credentials, Event, EventKind, Holdings, LocalClient,
    LocalMessage, LocalPublish, Moved, OpenLocalError, Password, QueuePolicy, RetainedPolicy,
    ShareStrategy, Strictness, TooManyConnections,
};
pub use peer::{PeerMessage, Place, Resync};
