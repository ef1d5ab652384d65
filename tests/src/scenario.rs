//! A broker, clients and time, without sockets and without waiting.
//!
//! A [`World`] drives the core the way a runtime does and stands in for the clients' sockets: what a
//! client sends is there at once, what it is sent is taken at once, unless the client has stopped
//! reading. Time passes when the scenario says so, and stops at every deadline on the way.

use std::net::SocketAddr;
use std::time::Duration;

use wherry_core::connection::{Closed, ConnectionId, Origin, Transport};
use wherry_core::permission::Grant;
use wherry_core::time::{Instant, WallClock};
use wherry_core::{Action, Broker, Config, Event, EventKind, LocalClient};

use crate::wire::{self, Publish, Received, Version, kind, take_packet};

/// One client of a [`World`], by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(usize);

#[derive(Debug)]
struct Socket {
    id: ConnectionId,
    version: Version,
    /// What the client has sent and the broker has not read.
    sent: Vec<u8>,
    /// What the broker has sent and the scenario has not looked at.
    received: Vec<u8>,
    /// Whether the broker reads.
    read: bool,
    /// How many bytes the client takes; everything by default.
    appetite: usize,
    closed: bool,
    aborted: bool,
}

/// What becomes of credentials.
#[derive(Clone, Debug)]
pub enum Admission {
    /// All are good, and give this grant.
    Everyone(Grant),
    /// The scenario answers by calling the broker.
    Later,
}

/// A broker with clients.
#[derive(Debug)]
pub struct World {
    /// The broker itself.
    pub broker: Broker,
    /// What becomes of credentials.
    pub admission: Admission,
    /// All events so far.
    pub events: Vec<Event>,
    /// The local clients for which messages were said to wait, oldest first.
    pub deliveries: Vec<LocalClient>,
    now: Instant,
    sockets: Vec<Socket>,
    interrupted: bool,
}

impl Default for World {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl World {
    /// A broker that admits everyone to everything, and has nothing to say itself.
    pub fn new(config: Config) -> Self {
        Self::with_sys(Config {
            sys_interval: None,
            ..config
        })
    }

    /// A broker that admits everyone to everything, with `$SYS` as `config` says.
    pub fn with_sys(config: Config) -> Self {
        let now = Instant::from_millis(0);
        Self {
            broker: Broker::new(config, 1, now, WallClock::from_unix_millis(0)),
            admission: Admission::Everyone(Grant::unrestricted()),
            events: Vec::new(),
            deliveries: Vec::new(),
            now,
            sockets: Vec::new(),
            interrupted: false,
        }
    }

    /// The time since the world began.
    pub fn now(&self) -> Duration {
        Duration::from_millis(self.now.as_millis())
    }

    /// Opens a connection and says nothing on it.
    pub fn dial(&mut self, version: Version) -> Client {
        let remote = SocketAddr::from(([127, 0, 0, 1], 40_000 + self.sockets.len() as u16));
        let origin = Origin {
            listener: 0,
            transport: Transport::Tcp,
            remote: Some(remote),
            local: None,
        };
        let id = self
            .broker
            .open(origin)
            .expect("there is room for a connection");
        self.sockets.push(Socket {
            id,
            version,
            sent: Vec::new(),
            received: Vec::new(),
            read: true,
            appetite: usize::MAX,
            closed: false,
            aborted: false,
        });
        self.settle();
        Client(self.sockets.len() - 1)
    }

    /// Connects a client that is welcome.
    pub fn connect(&mut self, version: Version, client_id: &str) -> Client {
        self.connect_with(&wire::connect(version).client_id(client_id))
    }

    /// Connects a client that is welcome.
    pub fn connect_with(&mut self, connect: &wire::Connect) -> Client {
        let client = self.dial(connect.version());
        self.send(client, connect.bytes());
        let connack = self
            .expect(client, kind::CONNACK)
            .connack(connect.version());
        assert_eq!(connack.code, 0, "CONNACK");
        client
    }

    /// The client's connection.
    pub fn id(&self, client: Client) -> ConnectionId {
        self.sockets[client.0].id
    }

    /// Sends bytes in one piece.
    pub fn send(&mut self, client: Client, bytes: impl AsRef<[u8]>) {
        self.sockets[client.0]
            .sent
            .extend_from_slice(bytes.as_ref());
        self.settle();
    }

    /// Sends bytes in pieces of that size.
    pub fn send_in_pieces(&mut self, client: Client, bytes: impl AsRef<[u8]>, size: usize) {
        for piece in bytes.as_ref().chunks(size) {
            self.send(client, piece);
        }
    }

    /// Ends the client's side without a word.
    pub fn hang_up(&mut self, client: Client) {
        self.broker
            .closed(self.sockets[client.0].id, Closed::EndOfStream);
        self.sockets[client.0].closed = true;
        self.settle();
    }

    /// The client takes this many more bytes and then stops reading.
    pub fn take_only(&mut self, client: Client, bytes: usize) {
        self.sockets[client.0].appetite = bytes;
        self.settle();
    }

    /// The client reads all there is and will be.
    pub fn take_all(&mut self, client: Client) {
        self.take_only(client, usize::MAX);
    }

    /// Lets time pass, deadline by deadline.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some(next) = self.broker.next_deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// Does what the broker wants until it wants nothing more.
    pub fn settle(&mut self) {
        self.broker.advance(self.now);
        loop {
            let mut idle = true;
            for at in 0..self.sockets.len() {
                let socket = &mut self.sockets[at];
                if socket.read && !socket.sent.is_empty() && !socket.closed {
                    let bytes = std::mem::take(&mut socket.sent);
                    self.broker.received(socket.id, &bytes);
                    let next = self.broker.next_deadline();
                    self.interrupted |= next.is_some_and(|next| next <= self.now);
                    idle = false;
                }
                idle &= !self.write(at);
            }
            while let Some(action) = self.broker.poll_action() {
                self.act(action);
                idle = false;
            }
            if idle
                && self
                    .broker
                    .next_deadline()
                    .is_none_or(|next| next > self.now)
            {
                return;
            }
            self.broker.advance(self.now);
        }
    }

    fn write(&mut self, at: usize) -> bool {
        let socket = &mut self.sockets[at];
        let waiting = self.broker.outbox_len(socket.id);
        if waiting == 0 || socket.appetite == 0 {
            return false;
        }
        let taken = waiting.min(socket.appetite);
        let bytes: Vec<u8> = self
            .broker
            .outbox(socket.id)
            .flatten()
            .copied()
            .take(taken)
            .collect();
        assert_eq!(bytes.len(), taken, "the outbox holds as much as it says");
        socket.received.extend_from_slice(&bytes);
        if socket.appetite != usize::MAX {
            socket.appetite -= taken;
        }
        self.broker.sent(socket.id, taken);
        true
    }

    fn act(&mut self, action: Action) {
        let place = |sockets: &[Socket], id| sockets.iter().position(|socket| socket.id == id);
        match action {
            Action::Send(id) => {
                if let Some(at) = place(&self.sockets, id) {
                    self.write(at);
                }
            }
            Action::Pause(id) | Action::Resume(id) => {
                if let Some(at) = place(&self.sockets, id) {
                    self.sockets[at].read = matches!(action, Action::Resume(_));
                }
            }
            Action::Close(id) => {
                if let Some(at) = place(&self.sockets, id) {
                    self.write(at);
                    self.sockets[at].closed = true;
                    if self.broker.outbox_len(id) == 0 {
                        self.broker.closed(id, Closed::EndOfStream);
                    }
                }
            }
            Action::Abort(id) => {
                if let Some(at) = place(&self.sockets, id) {
                    self.sockets[at].closed = true;
                    self.sockets[at].aborted = true;
                }
            }
            Action::Authenticate(id) => {
                if let Admission::Everyone(grant) = &self.admission {
                    self.broker.admit(id, grant.clone());
                }
            }
            Action::Deliver(client) => self.deliveries.push(client),
            Action::Event => {
                while let Some(event) = self.broker.poll_event() {
                    self.events.push(event);
                }
            }
        }
    }

    /// Whether the broker has ever put off a part of what bytes asked for until later.
    pub fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    /// All that was sent to the client and that the scenario has not looked at.
    pub fn received(&self, client: Client) -> &[u8] {
        &self.sockets[client.0].received
    }

    /// The next packet that the client has got, if there is one.
    pub fn next(&mut self, client: Client) -> Option<Received> {
        take_packet(&mut self.sockets[client.0].received)
    }

    /// The next packet, which must be there and of that kind.
    #[track_caller]
    pub fn expect(&mut self, client: Client, kind: u8) -> Received {
        let packet = self.next(client).expect("a packet is there");
        assert_eq!(packet.kind(), kind, "{packet:?}");
        packet
    }

    /// The next packet, which must be a message.
    #[track_caller]
    pub fn expect_message(&mut self, client: Client) -> Publish {
        let version = self.sockets[client.0].version;
        self.expect(client, kind::PUBLISH).publish(version)
    }

    /// All messages that the client has got, and nothing else may be there.
    #[track_caller]
    pub fn messages(&mut self, client: Client) -> Vec<Publish> {
        let version = self.sockets[client.0].version;
        std::iter::from_fn(|| self.next(client))
            .map(|packet| {
                assert_eq!(packet.kind(), kind::PUBLISH, "{packet:?}");
                packet.publish(version)
            })
            .collect()
    }

    /// Asserts that nothing was sent to the client that it has not looked at.
    #[track_caller]
    pub fn expect_nothing(&mut self, client: Client) {
        let received = &self.sockets[client.0].received;
        assert!(received.is_empty(), "{received:02x?}");
    }

    /// Subscribes to one filter with those options and checks that it was granted.
    #[track_caller]
    pub fn subscribe(&mut self, client: Client, filter: &str, options: u8) {
        let version = self.sockets[client.0].version;
        self.send(client, wire::subscribe(version, 1, &[(filter, options)]));
        let codes = self.expect(client, kind::SUBACK).suback(version).codes;
        assert_eq!(codes, [0], "SUBACK");
    }

    /// Publishes at QoS 0.
    pub fn publish(&mut self, client: Client, topic: &str, payload: impl AsRef<[u8]>) {
        let version = self.sockets[client.0].version;
        self.send(client, wire::publish(version, topic, payload).bytes());
    }

    /// Publishes a retained message at QoS 0.
    pub fn publish_retained(&mut self, client: Client, topic: &str, payload: impl AsRef<[u8]>) {
        let version = self.sockets[client.0].version;
        self.send(
            client,
            wire::publish(version, topic, payload).retain().bytes(),
        );
    }

    /// Whether the broker has ended the connection, one way or the other.
    pub fn is_closed(&self, client: Client) -> bool {
        self.sockets[client.0].closed
    }

    /// Whether the broker has dropped the socket without waiting for the client.
    pub fn is_aborted(&self, client: Client) -> bool {
        self.sockets[client.0].aborted
    }

    /// Whether the broker reads from the client.
    pub fn is_read(&self, client: Client) -> bool {
        self.sockets[client.0].read
    }

    /// Why connections ended, in order, in words.
    pub fn causes(&self) -> Vec<String> {
        self.events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Disconnected { cause, .. } => Some(cause.to_string()),
                _ => None,
            })
            .collect()
    }
}
