//! What the benchmarks of the core have in common: a broker in the same thread with clients, whose
//! sockets take everything at once.

use std::net::SocketAddr;
use std::time::Duration;

use wherry_core::connection::{Closed, ConnectionId, Origin, Transport};
use wherry_core::packet::{
    Connect, Packet, PacketId, Properties, ProtocolVersion, Publish, QoS, Subscribe,
    SubscriptionOptions, SubscriptionRequest,
};
use wherry_core::peer::Place;
use wherry_core::permission::Grant;
use wherry_core::time::{Instant, WallClock};
use wherry_core::{Action, Broker, Config};

/// A broker whose clients read all they are sent.
#[derive(Debug)]
pub struct Bench {
    broker: Broker,
    now: Instant,
    ready: Vec<ConnectionId>,
}

impl Default for Bench {
    fn default() -> Self {
        Self::in_place(Place::alone(1))
    }
}

impl Bench {
    /// A broker that is one of several shards.
    pub fn in_place(place: Place) -> Self {
        let now = Instant::from_millis(0);
        let wall_clock = WallClock::from_unix_millis(0);
        Self {
            broker: Broker::in_place(Config::default(), place, now, wall_clock),
            now,
            ready: Vec::new(),
        }
    }

    /// Brings what this shard has to say to another one, `peer` to it; returns how many bytes are
    /// written there because of it, `None` if it has nothing to say.
    pub(crate) fn pass_on(&mut self, peer: u8, other: &mut Self, own: u8) -> Option<usize> {
        let messages = self.broker.take_routed(peer);
        if messages.is_empty() {
            return None;
        }
        other.broker.peer_received(own, messages);
        Some(other.settle())
    }

    /// Connects a client.
    ///
    /// # Panics
    ///
    /// If the broker does not take it in.
    pub fn connect(&mut self, version: ProtocolVersion, client_id: &str) -> ConnectionId {
        self.connect_as(version, client_id, true)
    }

    /// Connects a client of MQTT 3.1.1 whose session lasts.
    ///
    /// # Panics
    ///
    /// If the broker does not take it in.
    pub fn connect_lasting(&mut self, client_id: &str) -> ConnectionId {
        self.connect_as(ProtocolVersion::V3_1_1, client_id, false)
    }

    fn connect_as(
        &mut self,
        version: ProtocolVersion,
        client_id: &str,
        clean_start: bool,
    ) -> ConnectionId {
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        let origin = Origin {
            listener: 0,
            transport: Transport::Tcp,
            remote: Some(remote),
            local: None,
        };
        let id = self.broker.open(origin).expect("there is room");
        let connect = Connect {
            version,
            bridge: false,
            clean_start,
            keep_alive: 60,
            client_id,
            username: None,
            password: None,
            will: None,
            properties: Properties::EMPTY,
        };
        self.receive(id, &encode(&Packet::Connect(connect), version));
        id
    }

    /// Subscribes a client to filters.
    ///
    /// # Panics
    ///
    /// Never: there is a packet identifier 1.
    pub fn subscribe(&mut self, id: ConnectionId, version: ProtocolVersion, filters: &[&str]) {
        self.subscribe_at(id, version, filters, QoS::AtMostOnce);
    }

    /// The same at a quality of service.
    ///
    /// # Panics
    ///
    /// Never: there is a packet identifier 1.
    pub fn subscribe_at(
        &mut self,
        id: ConnectionId,
        version: ProtocolVersion,
        filters: &[&str],
        qos: QoS,
    ) {
        let options = SubscriptionOptions {
            qos,
            ..SubscriptionOptions::default()
        };
        let requests: Vec<_> = filters
            .iter()
            .map(|filter| SubscriptionRequest { filter, options })
            .collect();
        let subscribe = Subscribe {
            packet_id: PacketId::new(1).expect("1 is not 0"),
            properties: Properties::EMPTY,
            filters: requests.as_slice().into(),
        };
        self.receive(id, &encode(&Packet::Subscribe(subscribe), version));
    }

    /// A client says that it goes, and its connection is over.
    pub fn disconnect(&mut self, id: ConnectionId) {
        self.receive(id, &[0xe0, 0]);
        self.broker.closed(id, Closed::EndOfStream);
        self.settle();
    }

    /// These bytes come from that client, and everything that comes of it is written, in as many
    /// turns as it takes. Returns how many bytes were written.
    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8]) -> usize {
        self.broker.received(id, bytes);
        let mut written = self.settle();
        // One turn does no more than a bounded amount of work; the next one is due at once then.
        while self.broker.next_deadline().is_some_and(|at| at <= self.now) {
            self.broker.advance(self.now);
            written += self.settle();
        }
        written
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.broker.advance(self.now);
        self.settle();
    }

    /// The broker.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    fn settle(&mut self) -> usize {
        let mut written = 0;
        while let Some(action) = self.broker.poll_action() {
            match action {
                Action::Send(id) => self.ready.push(id),
                Action::Authenticate(id) => self.broker.admit(id, Grant::unrestricted()),
                Action::Deliver(_) | Action::Store => {}
                Action::Route(_) => {} // Whoever has several shards asks all of them.
                Action::Move(..) => unreachable!("clients are where they belong"),
                Action::Event => while self.broker.poll_event().is_some() {},
                Action::Close(_) | Action::Abort(_) | Action::Pause(_) | Action::Resume(_) => {}
            }
        }
        for id in self.ready.drain(..) {
            let len: usize = self.broker.outbox(id).map(<[u8]>::len).sum();
            self.broker.sent(id, len);
            written += len;
        }
        written
    }
}

/// A packet's bytes.
///
/// # Panics
///
/// If the packet cannot be encoded.
pub fn encode(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet
        .encode(version, &mut bytes)
        .expect("a packet of a benchmark can be encoded");
    bytes
}

/// A QoS 0 PUBLISH.
pub fn publish<'a>(topic: &'a str, payload: &'a [u8], properties: Properties<'a>) -> Packet<'a> {
    Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        properties,
        payload,
    })
}
