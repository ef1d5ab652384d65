//! From bytes to packets, and from packets to those who handle them.

use super::{Action, Broker, Cause};
use crate::connection::{ConnectionId, Paused, Stage};
use crate::packet::{
    Disconnect, FixedHeader, Packet, PacketId, PacketType, Properties, Property, ProtocolError,
    ProtocolVersion, ReasonCode, Sender,
};
use crate::session::{Answer, Expiry};

/// How many steps the packets of one connection may take before others have their turn. A step is a
/// look at one place of a tree: ordinary messages take a few, and what one read brings of them
/// stays far below.
const WORK_PER_TURN: usize = 64 * 1024;

/// What a packet takes by itself: 4,096 of them are enough for one turn.
const STEPS_PER_PACKET: usize = 16;

impl Broker {
    /// Bytes came in from a socket: any number of them, cut anywhere. After [`Action::Close`] they
    /// are ignored.
    ///
    /// Packets are parsed where they are. Only one that is cut off by the end of `bytes` is copied,
    /// and all that comes while reading is paused.
    pub fn received(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(id) else {
            self.out.counters.stale_handles += 1;
            return;
        };
        self.out.counters.bytes_received += bytes.len() as u64;
        if connection.is_closing() {
            return;
        }
        self.work = 0;
        let mut rest = bytes;
        if !connection.input.is_empty() || connection.paused.any() {
            match self.complete_kept(id, rest) {
                Some(left) => rest = left,
                None => return,
            }
        }
        let parsed = self.parse(id, rest);
        if parsed < rest.len()
            && let Some(connection) = self.connections.get_mut(id)
            && !connection.is_closing()
        {
            connection.input.extend(&rest[parsed..]);
        }
    }

    /// Completes the packet whose beginning was kept, and handles it. Returns what is left of the
    /// bytes if they can be parsed where they are, `None` if there is nothing more to do with them.
    fn complete_kept<'a>(&mut self, id: ConnectionId, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = bytes;
        loop {
            let connection = self.connections.get_mut(id)?;
            if connection.is_closing() {
                return None;
            }
            if connection.paused.any() {
                connection.input.extend(rest);
                return None;
            }
            if connection.input.is_empty() {
                return Some(rest);
            }
            if rest.is_empty() {
                return None;
            }
            match connection.input.top_up(rest) {
                Ok(taken) => rest = &rest[taken..],
                Err(error) => {
                    self.break_off(id, Cause::Protocol(error));
                    return None;
                }
            }
            self.parse_kept(id);
        }
    }

    /// Parses what was kept of the input, and keeps what is left of it.
    pub(super) fn parse_kept(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let kept = connection.input.take();
        let parsed = self.parse(id, &kept);
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.is_closing()
        {
            connection.input.put_back(kept, parsed);
        }
    }

    /// Handles the complete packets at the start of `bytes`; returns how many bytes they take.
    fn parse(&mut self, id: ConnectionId, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let Some(connection) = self.connections.get_mut(id) else {
                break;
            };
            if connection.is_closing() || connection.paused.any() {
                break;
            }
            let header = match FixedHeader::parse(&bytes[at..]) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(error) => {
                    self.break_off(id, Cause::Protocol(error));
                    break;
                }
            };
            if let Err(error) = in_turn(&connection.stage, header.packet_type) {
                self.break_off(id, Cause::Protocol(error));
                break;
            }
            let mut limit = connection.offered.or_more(&self.config).packet_size;
            if !connection.is_open() {
                limit = limit.min(self.config.max_connect_size);
            }
            let len = header.packet_len();
            if len as u64 > u64::from(limit) {
                // [MQTT-3.2.2-15] is the client's to keep; the server says 0x95 and closes.
                let size = len as u64;
                self.break_off(id, Cause::PacketTooLarge { size, limit });
                break;
            }
            let Some(packet) = bytes[at..].get(..len) else {
                break;
            };
            if header.packet_type == PacketType::Auth && connection.question().is_some() {
                // What it means depends on the verdict that is still out.
                self.pause(id, Paused::AUTHENTICATING);
                break;
            }
            at += len;
            connection.heard = self.now;
            self.out.counters.packets_received += 1;
            self.work += STEPS_PER_PACKET;
            if let Err(cause) = self.packet(id, &header, packet) {
                self.break_off(id, cause);
                break;
            }
            if self.work >= WORK_PER_TURN {
                self.pause(id, Paused::WORK);
                self.yielded.push_back(id);
                break;
            }
        }
        at
    }

    /// Gives each connection that made too much work another turn.
    pub(super) fn continue_yielded(&mut self) {
        for _ in 0..self.yielded.len() {
            if let Some(id) = self.yielded.pop_front() {
                self.work = 0;
                self.go_on(id, Paused::WORK);
            }
        }
    }

    fn packet(
        &mut self,
        id: ConnectionId,
        header: &FixedHeader,
        packet: &[u8],
    ) -> Result<(), Cause> {
        let noted = self.noted_bytes();
        let Some(connection) = self.connections.get_mut(id) else {
            return Ok(());
        };
        let version = connection.version;
        let body = &packet[header.header_len..];
        match connection.stage {
            Stage::AwaitingConnect => self.connect(id, header, packet),
            Stage::Open if header.packet_type == PacketType::Publish => {
                self.publish_packet(id, version, header, packet)
            }
            Stage::Open if let Some((packet_id, answer)) = plain_answer(header, body) => {
                self.answered(id, packet_id, answer, false)
            }
            Stage::Open => {
                let packet = Packet::decode(header, body, version, Sender::Client)
                    .map_err(Cause::Protocol)?;
                self.session_packet(id, version, &packet)
            }
            Stage::Authenticating(_) => {
                let packet = Packet::decode(header, body, version, Sender::Client)
                    .map_err(Cause::Protocol)?;
                self.packet_of_exchange(id, &packet)
            }
            Stage::Moving(_) | Stage::Closing => Ok(()),
        }?;
        self.slow_for_store(id, noted);
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.outbox.is_empty()
            && (connection.outbox.len() > self.config.outbox_limit
                || self.out.pool.waiting > self.config.outbox_total_limit)
            && !connection.paused.contains(Paused::OUTBOX)
            && !connection.is_closing()
        {
            // Replies pile up: the peer, or too many together, send but do not read. Its own outbox
            // is not empty, so that `sent` is called and it goes on.
            self.pause(id, Paused::OUTBOX);
        }
        Ok(())
    }

    /// Everything but PUBLISH that an admitted client may send.
    fn session_packet(
        &mut self,
        id: ConnectionId,
        version: ProtocolVersion,
        packet: &Packet<'_>,
    ) -> Result<(), Cause> {
        match packet {
            Packet::Subscribe(subscribe) => self.subscribe(id, version, subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(id, version, unsubscribe),
            // [MQTT-3.12.4-1]
            Packet::PingReq => {
                self.send(id, &Packet::PingResp);
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.disconnect(id, disconnect),
            // [MQTT-3.1.0-2]
            Packet::Connect(_) => Err(Cause::Protocol(SECOND_CONNECT)),
            Packet::Auth(auth) => self.auth(id, auth),
            Packet::PubAck(ack) => self.answered(
                id,
                ack.packet_id,
                Answer::Acknowledged,
                ack.reason.is_error(),
            ),
            Packet::PubRec(ack) if ack.reason.is_error() => {
                self.answered(id, ack.packet_id, Answer::Rejected, true)
            }
            Packet::PubRec(ack) => self.answered(id, ack.packet_id, Answer::Received, false),
            Packet::PubComp(ack) => self.answered(id, ack.packet_id, Answer::Completed, false),
            Packet::PubRel(ack) => {
                self.released(id, ack.packet_id);
                Ok(())
            }
            // PUBLISH went its own way, the others were refused as not a client's by the decoder.
            _ => Ok(()),
        }
    }

    /// DISCONNECT from the client.
    fn disconnect(&mut self, id: ConnectionId, packet: &Disconnect<'_>) -> Result<(), Cause> {
        let maximum = self.config.max_session_expiry;
        if let Some(session) = self.session_of(id) {
            if let Some(seconds) = packet.properties.session_expiry_interval() {
                // 3.14.2.2.2 It is the interval in CONNECT that counts, not what CONNACK made of
                // it.
                if seconds > 0 && session.asked_expiry == Expiry::AT_ONCE {
                    return Err(Cause::Protocol(EXPIRY_WITHOUT_SESSION));
                }
                session.expiry = Expiry(seconds).limited(maximum);
            }
            if packet.reason == ReasonCode::Success {
                session.will = None; // [MQTT-3.14.4-3]
            }
        }
        Err(Cause::ClientDisconnect(packet.reason))
    }

    /// Stops reading from a connection.
    pub(super) fn pause(&mut self, id: ConnectionId, why: Paused) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if !connection.paused.any() {
            self.out.actions.push_back(Action::Pause(id));
        }
        connection.paused.insert(why);
    }

    /// A reason to pause is gone: what was kept is parsed, then reading goes on.
    pub(super) fn go_on(&mut self, id: ConnectionId, why: Paused) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if !connection.paused.contains(why) {
            return;
        }
        connection.paused.remove(why);
        if connection.paused.any() || connection.is_closing() {
            return;
        }
        connection.heard = self.now;
        self.out.actions.push_back(Action::Resume(id));
        self.parse_kept(id);
        self.set_timer(id);
    }

    /// Sends a packet with a reason string, or, if that would make it larger than the client takes,
    /// without ([MQTT-3.2.2-19], [MQTT-3.14.2-3] and their like). A client that does not want to
    /// know hears it in CONNACK and DISCONNECT alone ([MQTT-3.1.2-29]).
    pub(super) fn send_with_words(
        &mut self,
        id: ConnectionId,
        words: Option<&str>,
        packet: &Packet<'_>,
    ) {
        let is_last_word = matches!(packet, Packet::ConnAck(_) | Packet::Disconnect(_));
        let wanted = is_last_word || self.connections.get(id).is_some_and(|it| it.wants_words);
        let words = words.filter(|_| wanted).map(Property::ReasonString);
        self.send_with(id, words.as_slice(), packet);
    }

    /// Sends a packet with as many of these properties as its client has room for; the last ones
    /// are left out first.
    pub(super) fn send_with(
        &mut self,
        id: ConnectionId,
        properties: &[Property<'_>],
        packet: &Packet<'_>,
    ) {
        for count in (1..=properties.len()).rev() {
            let packet = packet.with_properties(Properties::from_slice(&properties[..count]));
            if self.fits(id, &packet) {
                return self.send(id, &packet);
            }
        }
        self.send(id, packet);
    }

    /// Whether a packet can be encoded and is small enough for the client of a connection.
    pub(super) fn fits(&self, id: ConnectionId, packet: &Packet<'_>) -> bool {
        self.connections.get(id).is_some_and(|connection| {
            let len = packet.encoded_len(connection.version) as u64;
            (1..=u64::from(connection.max_packet_size)).contains(&len)
        })
    }

    /// Encodes a packet into a connection's outbox. One that is larger than the client allows is
    /// not sent ([MQTT-3.1.2-24]).
    pub(super) fn send(&mut self, id: ConnectionId, packet: &Packet<'_>) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        self.encoded.clear();
        if packet
            .encode(connection.version, &mut self.encoded)
            .is_err()
            || self.encoded.len() as u64 > u64::from(connection.max_packet_size)
        {
            self.out.counters.dropped_too_large += 1;
            return;
        }
        self.out.send(id, connection, &self.encoded);
    }
}

/// PUBACK, PUBREC or PUBCOMP of a packet identifier and nothing else, as they nearly always are.
#[inline]
fn plain_answer(header: &FixedHeader, body: &[u8]) -> Option<(PacketId, Answer)> {
    let answer = match header.packet_type {
        PacketType::PubAck => Answer::Acknowledged,
        PacketType::PubRec => Answer::Received,
        PacketType::PubComp => Answer::Completed,
        _ => return None,
    };
    let id = PacketId::new(u16::from_be_bytes(*body.as_array()?))?;
    (header.flags == 0).then_some((id, answer))
}

/// Whether a packet of this type may come now. What is inside it shows later.
fn in_turn(stage: &Stage, packet: PacketType) -> Result<(), ProtocolError> {
    match (stage, packet) {
        (Stage::AwaitingConnect, PacketType::Connect) => Ok(()),
        (Stage::AwaitingConnect, _) => Err(FIRST_IS_NOT_CONNECT),
        (Stage::Authenticating(_), PacketType::Auth | PacketType::Disconnect) => Ok(()),
        (Stage::Authenticating(_), _) => Err(NOT_OF_THE_EXCHANGE),
        (Stage::Moving(_) | Stage::Open | Stage::Closing, _) => Ok(()),
    }
}

const FIRST_IS_NOT_CONNECT: ProtocolError =
    ProtocolError::violation("MQTT-3.1.0-1", "the first packet is not a CONNECT");
const NOT_OF_THE_EXCHANGE: ProtocolError = ProtocolError::violation(
    "MQTT-3.1.2-30",
    "neither AUTH nor DISCONNECT during the authentication",
);
const SECOND_CONNECT: ProtocolError =
    ProtocolError::violation("MQTT-3.1.0-2", "a second CONNECT on one connection");
const EXPIRY_WITHOUT_SESSION: ProtocolError = ProtocolError::violation(
    "3.14.2.2.2",
    "DISCONNECT sets a session expiry interval that was 0 in CONNECT",
);
