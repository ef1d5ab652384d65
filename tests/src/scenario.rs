//! A broker, clients and time, without sockets and without waiting.
//!
//! A [`World`] drives the core the way a runtime does and stands in for the clients' sockets: what
//! a client sends is there at once, what it is sent is taken at once, unless the client has stopped
//! reading. Time passes when the scenario says so, and stops at every deadline on the way.

mod durable;
mod shards;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use wherry_core::connection::{Closed, ConnectionId, Origin, Transport};
use wherry_core::packet::ReasonCode;
use wherry_core::permission::Grant;
use wherry_core::time::{Instant, WallClock};
use wherry_core::{Action, Broker, Config, Event, EventKind, LocalClient};

use crate::rows::Rows;
use crate::wire::{self, Ack, Connack, Publish, Received, Version, first_packet, kind};

use durable::Stock;
use shards::Links;

/// The identifier under which a [`World`]'s clients subscribe and unsubscribe, far from those of
/// the messages they publish.
const REQUEST: u16 = 60_000;

/// One client of a [`World`], by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(usize);

#[derive(Debug)]
struct Socket {
    /// The shard that has it, and its handle there.
    shard: usize,
    id: ConnectionId,
    version: Version,
    /// What the client has sent and the broker has not read.
    sent: Vec<u8>,
    /// What the broker has sent and the scenario has not looked at.
    received: Vec<u8>,
    /// How much of that the scenario has looked at after all; removed now and then.
    looked_at: usize,
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
    /// All are good, and give this grant; there is no method of enhanced authentication.
    Everyone(Grant),
    /// The scenario answers by calling the broker.
    Later,
}

/// A broker with clients; or several that are shards of one process.
#[derive(Debug)]
pub struct World {
    /// The broker itself; the first of several.
    pub broker: Broker,
    /// The other shards.
    pub others: Vec<Broker>,
    /// The shard at which connections are opened.
    pub door: usize,
    links: Links,
    /// What becomes of credentials.
    pub admission: Admission,
    /// All events so far.
    pub events: Vec<Event>,
    /// The local clients for which messages were said to wait, oldest first.
    pub deliveries: Vec<LocalClient>,
    /// What the store holds, if there is one.
    pub rows: Rows,
    stock: Stock,
    config: Config,
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
        let broker = Broker::new(config.clone(), 1, now, WallClock::from_unix_millis(0));
        Self::of(broker, config)
    }

    fn of(broker: Broker, config: Config) -> Self {
        Self {
            broker,
            others: Vec::new(),
            door: 0,
            links: Links::default(),
            admission: Admission::Everyone(Grant::unrestricted()),
            events: Vec::new(),
            deliveries: Vec::new(),
            rows: Rows::default(),
            stock: Stock::default(),
            config,
            now: Instant::from_millis(0),
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
        let shard = self.door;
        let id = self
            .shard_mut(shard)
            .open(origin)
            .expect("there is room for a connection");
        self.sockets.push(Socket {
            shard,
            id,
            version,
            sent: Vec::new(),
            received: Vec::new(),
            looked_at: 0,
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

    /// Connects a client that is welcome and whose session begins now.
    #[track_caller]
    pub fn connect_with(&mut self, connect: &wire::Connect) -> Client {
        let (client, connack) = self.connack(connect);
        assert!(!connack.session_present, "there was a session");
        client
    }

    /// Connects a client that is welcome and whose session is there. MQTT 3.1 does not tell.
    #[track_caller]
    pub fn resume(&mut self, connect: &wire::Connect) -> Client {
        let (client, connack) = self.connack(connect);
        let told = connack.session_present || connect.version() == Version::V3_1;
        assert!(told, "the session is gone");
        client
    }

    /// Connects a client that is welcome, and returns what it was told.
    #[track_caller]
    pub fn connack(&mut self, connect: &wire::Connect) -> (Client, Connack) {
        let (client, connack) = self.try_connect(connect);
        assert_eq!(connack.code, 0, "CONNACK");
        (client, connack)
    }

    /// Connects a client, and returns what it was told.
    #[track_caller]
    pub fn try_connect(&mut self, connect: &wire::Connect) -> (Client, Connack) {
        let version = connect.version();
        let client = self.dial(version);
        self.send(client, connect.bytes());
        let connack = self.expect(client, kind::CONNACK).connack(version);
        (client, connack)
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
        let Socket { shard, id, .. } = self.sockets[client.0];
        self.shard_mut(shard).closed(id, Closed::EndOfStream);
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
        while let Some(next) = self.next_deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let others = self.others.iter().filter_map(Broker::next_deadline);
        self.broker.next_deadline().into_iter().chain(others).min()
    }

    fn advance(&mut self) {
        self.broker.advance(self.now);
        for broker in &mut self.others {
            broker.advance(self.now);
        }
    }

    /// Does what the brokers want until they want nothing more, and nothing is in links that are
    /// not held.
    pub fn settle(&mut self) {
        self.advance();
        loop {
            let mut idle = true;
            for at in 0..self.sockets.len() {
                let socket = &mut self.sockets[at];
                if socket.read && !socket.sent.is_empty() && !socket.closed {
                    let bytes = std::mem::take(&mut socket.sent);
                    let (shard, id) = (socket.shard, socket.id);
                    self.shard_mut(shard).received(id, &bytes);
                    let next = self.shard(shard).next_deadline();
                    self.interrupted |= next.is_some_and(|next| next <= self.now);
                    idle = false;
                }
                idle &= !self.write(at);
            }
            for shard in 0..self.shards() {
                while let Some(action) = self.shard_mut(shard).poll_action() {
                    self.act(shard, action);
                    idle = false;
                }
            }
            idle &= !self.deliver();
            if idle && self.next_deadline().is_none_or(|next| next > self.now) {
                return;
            }
            self.advance();
        }
    }

    fn write(&mut self, at: usize) -> bool {
        let Socket { shard, id, .. } = self.sockets[at];
        let appetite = self.sockets[at].appetite;
        let waiting = self.shard(shard).outbox_len(id);
        if waiting == 0 || appetite == 0 {
            return false;
        }
        let taken = waiting.min(appetite);
        let broker = self.shard(shard);
        let bytes: Vec<u8> = broker.outbox(id).flatten().copied().take(taken).collect();
        assert_eq!(bytes.len(), taken, "the outbox holds as much as it says");
        let socket = &mut self.sockets[at];
        socket.received.extend_from_slice(&bytes);
        if socket.appetite != usize::MAX {
            socket.appetite -= taken;
        }
        self.shard_mut(shard).sent(id, taken);
        true
    }

    fn act(&mut self, shard: usize, action: Action) {
        let place = |sockets: &[Socket], id| {
            let mut all = sockets.iter();
            all.position(|socket| (socket.shard, socket.id) == (shard, id))
        };
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
                    if self.shard(shard).outbox_len(id) == 0 {
                        self.shard_mut(shard).closed(id, Closed::EndOfStream);
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
                    let grant = grant.clone();
                    let broker = self.shard_mut(shard);
                    let credentials = broker.credentials(id);
                    match credentials.and_then(|credentials| credentials.method) {
                        None => broker.admit(id, grant),
                        Some(_) => broker.refuse(id, ReasonCode::BadAuthenticationMethod),
                    }
                }
            }
            Action::Move(id, to) => {
                if let Some(at) = place(&self.sockets, id) {
                    self.move_socket(at, usize::from(to));
                }
            }
            Action::Route(peer) => self.route(shard, usize::from(peer)),
            Action::Deliver(client) => self.deliveries.push(client),
            Action::Store => {
                let batch = self.shard_mut(shard).take_batch();
                self.stock.take(shard, batch);
                if !self.stock.is_held {
                    self.commit_at(shard);
                }
            }
            Action::Event => {
                while let Some(event) = self.shard_mut(shard).poll_event() {
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
        let socket = &self.sockets[client.0];
        &socket.received[socket.looked_at..]
    }

    /// The next packet that the client has got, if there is one.
    pub fn next(&mut self, client: Client) -> Option<Received> {
        let (packet, len) = first_packet(self.received(client))?;
        let socket = &mut self.sockets[client.0];
        socket.looked_at += len;
        if socket.looked_at > socket.received.len() / 2 {
            socket.received.drain(..socket.looked_at);
            socket.looked_at = 0;
        }
        Some(packet)
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
        let received = self.received(client);
        assert!(received.is_empty(), "{received:02x?}");
    }

    /// Asserts that the connection ends as its version has it, with nothing before the end: with a
    /// DISCONNECT of that reason, on MQTT 5.
    #[track_caller]
    pub fn expect_end(&mut self, client: Client, reason: u8) {
        if self.sockets[client.0].version.is_v5() {
            let said = self.expect(client, kind::DISCONNECT).disconnect().reason;
            assert_eq!(said, reason, "DISCONNECT {said:#04x}");
        }
        self.expect_nothing(client);
        assert!(self.is_closed(client), "the connection lives");
    }

    /// Subscribes to one filter with those options and checks that it was granted with that QoS.
    #[track_caller]
    pub fn subscribe(&mut self, client: Client, filter: &str, options: u8) {
        let code = self.subscribe_code(client, filter, options);
        assert_eq!(code, options & 3, "SUBACK");
    }

    /// Subscribes to one filter with those options, and returns the answer.
    #[track_caller]
    pub fn subscribe_code(&mut self, client: Client, filter: &str, options: u8) -> u8 {
        let version = self.sockets[client.0].version;
        self.send(
            client,
            wire::subscribe(version, REQUEST, &[(filter, options)]),
        );
        let suback = self.expect(client, kind::SUBACK).suback(version);
        assert_eq!(suback.packet_id, REQUEST);
        assert_eq!(suback.codes.len(), 1);
        suback.codes[0]
    }

    /// Unsubscribes from one filter, and returns the answer (0 before MQTT 5, which has none).
    #[track_caller]
    pub fn unsubscribe(&mut self, client: Client, filter: &str) -> u8 {
        let version = self.sockets[client.0].version;
        self.send(client, wire::unsubscribe(version, REQUEST, &[filter]));
        let unsuback = self.expect(client, kind::UNSUBACK).unsuback(version);
        assert_eq!(unsuback.packet_id, REQUEST);
        unsuback.codes.first().copied().unwrap_or(0)
    }

    /// The next packet, which must be a PUBACK, PUBREC, PUBREL or PUBCOMP, as `kind` says.
    #[track_caller]
    pub fn expect_ack(&mut self, client: Client, kind: u8) -> Ack {
        let version = self.sockets[client.0].version;
        self.expect(client, kind).ack(kind, version)
    }

    /// The next packet, which must be that acknowledgement; returns its reason.
    #[track_caller]
    pub fn expect_reason(&mut self, client: Client, kind: u8, packet_id: u16) -> u8 {
        let ack = self.expect_ack(client, kind);
        assert_eq!(ack.packet_id, packet_id, "another message is acknowledged");
        ack.reason
    }

    /// Publishes with an identifier.
    pub fn publish_at(&mut self, client: Client, qos: u8, packet_id: u16, topic: &str, text: &str) {
        let version = self.sockets[client.0].version;
        let publish = wire::publish(version, topic, text).qos(qos, packet_id);
        self.send(client, publish.bytes());
    }

    /// Publishes at QoS 1 under identifier 1, and returns the reason in PUBACK.
    #[track_caller]
    pub fn publish_acked(&mut self, client: Client, topic: &str, text: &str) -> u8 {
        self.publish_at(client, 1, 1, topic, text);
        self.expect_reason(client, kind::PUBACK, 1)
    }

    /// Publishes at QoS 2 under identifier 1, all four packets, and returns the reason in PUBREC.
    #[track_caller]
    pub fn publish_released(&mut self, client: Client, topic: &str, text: &str) -> u8 {
        self.publish_at(client, 2, 1, topic, text);
        let reason = self.expect_reason(client, kind::PUBREC, 1);
        if reason < 0x80 {
            self.send(client, wire::ack(kind::PUBREL, 1));
            assert_eq!(self.expect_reason(client, kind::PUBCOMP, 1), 0);
        }
        reason
    }

    /// Sends an acknowledgement in its shortest form.
    pub fn ack(&mut self, client: Client, kind: u8, packet_id: u16) {
        self.send(client, wire::ack(kind, packet_id));
    }

    /// Acknowledges a message as its QoS asks for. Nothing but the PUBREL may come in between.
    #[track_caller]
    pub fn acknowledge(&mut self, client: Client, message: &Publish) {
        let Some(id) = message.packet_id else { return };
        if message.qos == 1 {
            self.ack(client, kind::PUBACK, id);
        } else {
            self.ack(client, kind::PUBREC, id);
            assert_eq!(self.expect_reason(client, kind::PUBREL, id), 0);
            self.ack(client, kind::PUBCOMP, id);
        }
    }

    /// All messages that the client has got and gets when it acknowledges them in order, each as
    /// soon as the one before is done. Nothing else may come.
    #[track_caller]
    pub fn drain(&mut self, client: Client) -> Vec<Publish> {
        let version = self.sockets[client.0].version;
        let mut messages = Vec::new();
        while let Some(packet) = self.next(client) {
            if packet.kind() == kind::PUBREL {
                let ack = packet.ack(kind::PUBREL, version);
                assert_eq!(ack.reason, 0);
                self.ack(client, kind::PUBCOMP, ack.packet_id);
                continue;
            }
            let message = packet.publish(version);
            if let Some(id) = message.packet_id {
                let kind = [kind::PUBACK, kind::PUBREC][usize::from(message.qos) - 1];
                self.ack(client, kind, id);
            }
            messages.push(message);
        }
        messages
    }

    /// The payloads of [`World::drain`].
    #[track_caller]
    pub fn drain_texts(&mut self, client: Client) -> Vec<String> {
        texts(&self.drain(client))
    }

    /// The topics of [`World::drain`], each once.
    #[track_caller]
    pub fn drain_topics(&mut self, client: Client) -> BTreeSet<String> {
        self.drain(client).into_iter().map(|it| it.topic).collect()
    }

    /// How many deliveries were dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        let brokers = std::iter::once(&self.broker).chain(&self.others);
        let counters = brokers.flat_map(|broker| broker.counters().iter());
        let dropped = counters.filter(|(name, _)| name.starts_with("dropped_"));
        dropped.map(|(_, count)| count).sum()
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

/// The payloads of messages, which must be text.
pub fn texts(messages: &[Publish]) -> Vec<String> {
    let text = |message: &Publish| String::from_utf8(message.payload.clone());
    let texts: Result<_, _> = messages.iter().map(text).collect();
    texts.expect("payloads are text")
}

/// Consecutive numbers as texts.
pub fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}
