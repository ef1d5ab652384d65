//! A client that does exactly what a test tells it, byte by byte, and believes nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::broker::Broker;
use crate::wire::{
    self, Connack, Connect, PINGREQ, Properties, Publish, Received, Suback, Version, kind,
};

/// One connection to the broker. Every read has a deadline; missing it fails the test.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    version: Version,
    /// What has come and is not yet a whole packet.
    unread: Vec<u8>,
    last_packet_id: u16,
}

/// What a read may come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A packet.
    Packet(Received),
    /// The broker ended the stream in good order.
    Closed,
    /// The connection was reset.
    Reset,
    /// Nothing, until the deadline.
    Silence,
}

impl Client {
    /// Opens a connection and says nothing.
    pub fn dial(broker: &Broker, version: Version) -> Self {
        Self::dial_address(broker.address(), version)
    }

    /// Opens a connection to an address and says nothing.
    pub fn dial_address(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the broker listens");
        // Without it the pieces of a packet sent one by one would be glued together again.
        stream.set_nodelay(true).expect("TCP");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        Self {
            stream,
            version,
            unread: Vec::new(),
            last_packet_id: 0,
        }
    }

    /// Connects with a clean session under `client_id`.
    pub fn connect(broker: &Broker, version: Version, client_id: &str) -> Self {
        Self::connect_with(broker, &wire::connect(version).client_id(client_id)).0
    }

    /// Connects as `connect` says, with a session that begins now.
    pub fn connect_with(broker: &Broker, connect: &Connect) -> (Self, Connack) {
        let (client, connack) = Self::connect_either(broker, connect);
        assert!(!connack.session_present, "there was a session");
        (client, connack)
    }

    /// Connects as `connect` says, to a session that must be there. MQTT 3.1 does not tell.
    pub fn resume(broker: &Broker, connect: &Connect) -> Self {
        let (client, connack) = Self::connect_either(broker, connect);
        let told = connack.session_present || connect.version() == Version::V3_1;
        assert!(told, "the session is gone");
        client
    }

    /// Connects as `connect` says, whether there is a session or not.
    pub fn connect_either(broker: &Broker, connect: &Connect) -> (Self, Connack) {
        let mut client = Self::dial(broker, connect.version());
        client.send(connect.bytes());
        let connack = client.expect_any().connack(connect.version());
        assert_eq!(connack.code, 0, "{connack:?}");
        (client, connack)
    }

    /// The version it speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its own address, as the broker sees and logs it.
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("connected")
    }

    /// A second handle on the same connection, for a thread that writes while this one reads.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("file descriptors left")
    }

    /// Sends bytes, all in one go.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the broker takes what is sent");
    }

    /// Sends bytes, each in a segment of its own.
    pub fn send_one_by_one(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref().chunks(1) {
            self.send(byte);
        }
    }

    /// Sends bytes, each of which the broker reads alone: before the next one leaves, it has
    /// answered `other`, which asked after it.
    pub fn send_to_be_read_one_by_one(&mut self, bytes: impl AsRef<[u8]>, other: &mut Self) {
        for byte in bytes.as_ref().chunks(1) {
            self.send(byte);
            other.ping();
        }
    }

    /// Sends bytes in pieces of `size` to a broker that may have ended the conversation meanwhile.
    pub fn throw(&mut self, bytes: &[u8], size: usize) {
        for piece in bytes.chunks(size.max(1)) {
            if self.stream.write_all(piece).is_err() {
                return;
            }
        }
    }

    /// Says that nothing more will be sent, and can still read.
    pub fn shut_down_writing(&mut self) {
        // The broker may have been first.
        self.stream.shutdown(Shutdown::Write).ok();
    }

    /// Waits until `deadline` for a packet or for the end.
    pub fn next_until(&mut self, deadline: Instant) -> Next {
        let mut scratch = [0; 64 << 10];
        loop {
            if let Some(packet) = wire::take_packet(&mut self.unread) {
                return Next::Packet(packet);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Silence;
            }
            self.stream.set_read_timeout(Some(left)).expect("not zero");
            match self.stream.read(&mut scratch) {
                Ok(0) => {
                    assert!(
                        self.unread.is_empty(),
                        "the stream ends inside {:?}",
                        self.unread
                    );
                    return Next::Closed;
                }
                Ok(len) => self.unread.extend(&scratch[..len]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return Next::Reset,
                    _ => panic!("reading failed: {error}"),
                },
            }
        }
    }

    /// Waits for a packet or for the end.
    pub fn receive(&mut self) -> Next {
        self.next_until(Instant::now() + PATIENCE)
    }

    /// Waits for a packet, whatever it is.
    pub fn expect_any(&mut self) -> Received {
        match self.receive() {
            Next::Packet(packet) => packet,
            other => panic!("expected a packet, got {other:?}"),
        }
    }

    /// Waits for a packet, which must be of this type.
    pub fn expect_packet(&mut self, kind: u8) -> Received {
        let packet = self.expect_any();
        assert_eq!(
            packet.kind(),
            kind,
            "expected a packet of type {kind}, got {packet:?}"
        );
        packet
    }

    /// Waits for the end of the stream, in good order, with no packet before it.
    pub fn expect_closed(&mut self) {
        let next = self.receive();
        assert_eq!(next, Next::Closed, "expected the end of the stream");
    }

    /// Waits for the end as the version has it: a DISCONNECT with the reason first, on MQTT 5.
    pub fn expect_end(&mut self, reason: u8) {
        if self.version.is_v5() {
            let packet = self.expect_any();
            let said = packet.disconnect().reason;
            assert_eq!(
                said, reason,
                "expected DISCONNECT {reason:#04x}, got {said:#04x}"
            );
        }
        self.expect_closed();
    }

    /// Waits for a CONNACK with this code and no session behind it.
    pub fn expect_connack(&mut self, code: u8) -> Connack {
        let connack = self.expect_any().connack(self.version);
        assert_eq!(
            connack.code, code,
            "expected CONNACK {code:#04x}, got {connack:?}"
        );
        assert!(!connack.session_present, "there was a session");
        connack
    }

    /// Waits for a refusal: CONNACK with this code, then the end.
    pub fn expect_refusal(&mut self, code: u8) {
        self.expect_connack(code);
        self.expect_closed();
    }

    /// Waits for a PUBLISH of QoS 0.
    pub fn expect_message(&mut self) -> Publish {
        let publish = self.expect_any().publish(self.version);
        assert_eq!(
            (publish.qos, publish.dup),
            (0, false),
            "not QoS 0: {publish:?}"
        );
        publish
    }

    /// Waits for a PUBLISH with this topic, payload and retain flag.
    pub fn expect_publish(
        &mut self,
        topic: &str,
        payload: impl AsRef<[u8]>,
        retain: bool,
    ) -> Publish {
        let publish = self.expect_message();
        assert_eq!(publish.topic, topic, "{publish:?}");
        let payload = payload.as_ref();
        assert!(
            publish.payload == payload,
            "payload differs: {}",
            publish.payload.escape_ascii()
        );
        assert_eq!(publish.retain, retain, "retain flag of {publish:?}");
        publish
    }

    /// Waits for a PUBLISH with this QoS, topic and payload that was never sent before.
    pub fn expect_qos(&mut self, qos: u8, topic: &str, payload: impl AsRef<[u8]>) -> Publish {
        let publish = self.expect_any().publish(self.version);
        let payload = payload.as_ref();
        assert_eq!(publish.topic, topic, "{publish:?}");
        assert_eq!((publish.qos, publish.dup), (qos, false), "{publish:?}");
        assert!(publish.payload == payload, "{publish:?}");
        publish
    }

    /// Waits for a PUBLISH, whatever it is.
    pub fn expect_any_message(&mut self) -> Publish {
        self.expect_any().publish(self.version)
    }

    /// Waits for a PUBACK, PUBREC, PUBREL or PUBCOMP of this message, and returns the reason.
    pub fn expect_ack(&mut self, kind: u8, packet_id: u16) -> u8 {
        let ack = self.expect_any().ack(kind, self.version);
        assert_eq!(ack.packet_id, packet_id, "another message is acknowledged");
        ack.reason
    }

    /// Sends a PUBACK, PUBREC, PUBREL or PUBCOMP in its shortest form.
    pub fn ack(&mut self, kind: u8, packet_id: u16) {
        self.send(wire::ack(kind, packet_id));
    }

    /// Acknowledges a message as its QoS asks for. Nothing but the PUBREL may come in between.
    pub fn acknowledge(&mut self, publish: &Publish) {
        let Some(id) = publish.packet_id else { return };
        if publish.qos == 1 {
            self.ack(kind::PUBACK, id);
        } else {
            self.ack(kind::PUBREC, id);
            assert_eq!(self.expect_ack(kind::PUBREL, id), 0);
            self.ack(kind::PUBCOMP, id);
        }
    }

    /// Publishes at a QoS, sees it through and returns the reason of the first answer.
    pub fn publish_at(&mut self, qos: u8, topic: &str, payload: impl AsRef<[u8]>) -> u8 {
        if qos == 0 {
            self.publish(topic, payload);
            return 0;
        }
        let id = self.packet_id();
        let publish = wire::publish(self.version, topic, payload).qos(qos, id);
        self.send(publish.bytes());
        if qos == 1 {
            return self.expect_ack(kind::PUBACK, id);
        }
        let reason = self.expect_ack(kind::PUBREC, id);
        if reason < 0x80 {
            self.ack(kind::PUBREL, id);
            assert_eq!(self.expect_ack(kind::PUBCOMP, id), 0);
        }
        reason
    }

    /// Subscribes to one filter with these options, which must be granted with their QoS.
    pub fn subscribe_at(&mut self, filter: &str, options: u8) {
        let codes = self.subscribe_with(&Properties::new(), &[(filter, options)]);
        assert_eq!(codes, [options & 3], "{filter}");
    }

    /// Asserts that nothing came before the answer to a PINGREQ.
    pub fn ping(&mut self) {
        self.send(PINGREQ);
        let packet = self.expect_any();
        assert_eq!(
            packet, PINGRESP,
            "expected silence until the answer to a PINGREQ"
        );
    }

    /// How many messages a [`Client::fence`] publishes, for which nobody has subscribed.
    pub const FENCE_MESSAGES: u64 = 2;

    /// Waits until all that it has published so far has come to every shard of the broker.
    pub fn fence(&mut self) {
        // All shards have what is retained before it is acknowledged. Wildcards do not reach it.
        let topic = format!("$fence/{}", self.address().port());
        for payload in ["x", ""] {
            let id = self.packet_id();
            let publish = wire::publish(self.version, &topic, payload);
            self.send(publish.retain().qos(1, id).bytes());
            self.expect_ack(kind::PUBACK, id);
        }
    }

    /// Asserts that nothing `publisher` has sent so far came, and nothing else: a message of the
    /// test's own, sent after it, is the next packet.
    pub fn expect_nothing_from(&mut self, publisher: &mut Self) {
        let topic = format!("fence/{}", self.address().port());
        self.subscribe(&topic);
        publisher.publish(&topic, "nothing before this");
        let publish = self.expect_message();
        assert_eq!(publish.topic, topic, "expected no message, got {publish:?}");
        self.unsubscribe(&topic);
    }

    /// A packet identifier that is not in use.
    pub fn packet_id(&mut self) -> u16 {
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
        self.last_packet_id
    }

    /// Subscribes to one filter, which must be granted.
    pub fn subscribe(&mut self, filter: &str) {
        assert_eq!(
            self.subscribe_with(&Properties::new(), &[(filter, 0)]),
            [0],
            "{filter}"
        );
    }

    /// Subscribes and returns the codes; the SUBACK must be the next packet.
    pub fn subscribe_with(&mut self, properties: &Properties, filters: &[(&str, u8)]) -> Vec<u8> {
        let id = self.packet_id();
        self.send(wire::subscribe_with(self.version, id, properties, filters));
        let suback = self.expect_any().suback(self.version);
        self.check(&suback, id, filters.len());
        suback.codes
    }

    /// Unsubscribes from one filter and returns the code (0 before MQTT 5, which has none).
    pub fn unsubscribe(&mut self, filter: &str) -> u8 {
        let id = self.packet_id();
        self.send(wire::unsubscribe(self.version, id, &[filter]));
        let unsuback = self.expect_any().unsuback(self.version);
        self.check(&unsuback, id, usize::from(self.version.is_v5()));
        unsuback.codes.first().copied().unwrap_or(0)
    }

    fn check(&self, answer: &Suback, id: u16, codes: usize) {
        assert_eq!(answer.packet_id, id, "the answer names another request");
        assert_eq!(answer.codes.len(), codes, "one code for each filter");
    }

    /// Publishes.
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        self.send(wire::publish(self.version, topic, payload).bytes());
    }

    /// Publishes, and the broker keeps it.
    pub fn publish_retained(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        self.send(wire::publish(self.version, topic, payload).retain().bytes());
    }

    /// Sends a DISCONNECT, and the broker must close.
    pub fn disconnect(mut self) {
        self.send(wire::disconnect(self.version, 0));
        self.expect_closed();
    }

    /// Reads packets until the stream ends, however it does, or until `limit` has passed.
    pub fn drain(&mut self, limit: Duration) -> Vec<Received> {
        let deadline = Instant::now() + limit;
        let mut packets = Vec::new();
        while let Next::Packet(packet) = self.next_until(deadline) {
            packets.push(packet);
        }
        packets
    }
}

/// What a PINGREQ is answered with.
const PINGRESP: Received = Received {
    first: kind::PINGRESP << 4,
    body: Vec::new(),
};
