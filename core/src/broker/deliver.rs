//! From what a session is owed to its client's outbox.

use alloc::vec::Vec;

use slotmap::SlotMap;

use super::outlet::Outlet;
use super::{Config, Event, EventKind};
use crate::connection::{Connection, ConnectionId, NEVER};
use crate::message::{Alias, Encoder, Head, Payload};
use crate::packet::{Ack, Packet, ProtocolVersion, QoS};
use crate::session::{Delivery, Phase, Session, SessionId};

/// How many bytes of what can wait elsewhere are put into an outbox before it waits for the socket.
const ENOUGH: usize = 64 * 1024;

/// What became of a packet for an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Done,
    /// The client does not take packets that large.
    TooLarge,
    /// There is no space for it.
    Full,
    /// There is no such connection.
    Gone,
}

/// What it takes to hand messages to clients: a part of the broker, so that sessions can be
/// borrowed beside it.
pub(super) struct Post<'b> {
    pub(super) connections: &'b mut SlotMap<ConnectionId, Connection>,
    pub(super) out: &'b mut Outlet,
    pub(super) config: &'b Config,
}

impl Post<'_> {
    /// Whether more than what is in a connection's outbox should be put there now.
    #[inline]
    pub(super) fn has_room(&self, id: ConnectionId) -> bool {
        self.connections.get(id).is_some_and(|connection| {
            let len = connection.outbox.len();
            len == 0
                || (len < ENOUGH.min(self.config.outbox_limit)
                    && self.out.pool.waiting <= self.config.outbox_total_limit)
        })
    }

    /// Puts a PUBLISH of QoS 0 into an outbox, if there is space for it.
    #[inline]
    pub(super) fn put_if_space(
        &mut self,
        id: ConnectionId,
        encoder: &mut Encoder<'_, '_>,
        head: Head,
        identifiers: impl Iterator<Item = u32> + Clone,
    ) -> Put {
        self.put_into(id, encoder, head, identifiers, true)
    }

    /// Puts a PUBLISH into an outbox that [has room](Post::has_room), however large it is: what
    /// could wait elsewhere until there was room is not dropped for want of it.
    #[inline]
    pub(super) fn put(
        &mut self,
        id: ConnectionId,
        encoder: &mut Encoder<'_, '_>,
        head: Head,
        identifiers: impl Iterator<Item = u32> + Clone,
    ) -> Put {
        self.put_into(id, encoder, head, identifiers, false)
    }

    /// What becomes of a packet that cannot go into the outbox is counted.
    #[inline]
    fn put_into(
        &mut self,
        id: ConnectionId,
        encoder: &mut Encoder<'_, '_>,
        head: Head,
        identifiers: impl Iterator<Item = u32> + Clone,
        if_space: bool,
    ) -> Put {
        let Some(connection) = self.connections.get_mut(id) else {
            return Put::Gone;
        };
        let topic = encoder.message().topic;
        let payload_len = encoder.message().payload.len() as u64;
        let max = connection.max_packet_size as usize;
        let mut alias = match &mut connection.aliases_to {
            None => Alias::None,
            Some(aliases) => aliases.of(topic),
        };
        let version = connection.version;
        let head = head.heard_by(version);
        if matches!(alias, Alias::Set(_)) {
            let encoded = encoder.encode(version, head, alias, identifiers.clone());
            if encoded.is_none_or(|encoded| encoded.len() > max) {
                alias = Alias::None;
            }
        }
        // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
        let Some(encoded) = encoder
            .encode(version, head, alias, identifiers)
            .filter(|encoded| encoded.len() <= max)
        else {
            self.out.counters.dropped_too_large += 1;
            return Put::TooLarge;
        };
        if if_space && !has_space(connection, self.out, self.config, encoded.len()) {
            return Put::Full;
        }
        self.out.counters.publish_sent += 1;
        self.out.counters.publish_bytes_sent += payload_len;
        self.out.send(id, connection, encoded.bytes);
        match encoded.payload {
            Payload::Within => {}
            Payload::Behind(payload) => connection.outbox.push(&mut self.out.pool, payload),
            Payload::Shared(payload) => {
                connection
                    .outbox
                    .push_shared(&mut self.out.pool, payload.clone());
            }
        }
        if let (Alias::Set(number), Some(aliases)) = (alias, &mut connection.aliases_to) {
            aliases.was_set(number, topic);
        }
        if head.packet_id.is_some() {
            self.expect_answer(id);
        }
        Put::Done
    }

    /// Lets the time run after which a client of MQTT 3.x gets once more what it leaves unanswered.
    fn expect_answer(&mut self, id: ConnectionId) {
        if let Some(interval) = self.config.retransmit_interval
            && let Some(connection) = self.connections.get_mut(id)
            && connection.version != ProtocolVersion::V5
            && connection.retransmit == NEVER
        {
            connection.retransmit = self.out.now.after(interval);
        }
    }

    /// Sends a message that is kept, of QoS 1 or 2, for the first time, and holds it until it is
    /// acknowledged.
    pub(super) fn send_first(
        &mut self,
        session: &mut Session,
        delivery: Delivery,
        encoder: &mut Encoder<'_, '_>,
    ) {
        let id = session.outgoing.next_packet_id();
        let head = Head {
            qos: delivery.qos,
            retain: delivery.retain,
            replayed: delivery.replayed,
            dup: delivery.dup, // [MQTT-3.3.1-1]
            packet_id: Some(id),
        };
        let identifiers = delivery.identifiers.iter();
        match self.put(session.connection, encoder, head, identifiers) {
            Put::Done => {
                self.out.in_flight += 1;
                let pending = delivery.row.pending;
                let number = session.outgoing.sent(delivery, self.out.now);
                self.out.journal.locate(pending, number);
            }
            Put::TooLarge | Put::Full | Put::Gone => self.out.release(session, delivery),
        }
    }

    /// Sends again what is next of it, the message or its PUBREL; false if it has to wait.
    pub(super) fn send_again(&mut self, session: &mut Session, encoded: &mut Vec<u8>) -> bool {
        let window = self.window(session.connection);
        let has_window = session.outgoing.has_window(window);
        if !session.outgoing.is_resending() {
            return false;
        }
        let Some((id, entry)) = session.outgoing.next_resend() else {
            return false;
        };
        let is_new = entry.is_new;
        // The client may have it only under an identifier that a crash does not forget, and be told
        // to release it only once the store knows that it has it.
        let is_qos2 = entry
            .delivery
            .as_ref()
            .is_none_or(|it| it.qos == QoS::ExactlyOnce);
        if is_qos2 && !self.out.journal.is_committed(entry.row.batch) {
            return false;
        }
        let sent = match (entry.phase, &entry.delivery) {
            // [MQTT-3.3.2-5]
            (Phase::Publish, Some(delivery))
                if is_new && delivery.message.is_expired(self.out.now) =>
            {
                self.out.counters.dropped_expired += 1;
                false
            }
            (Phase::Publish, Some(delivery)) => {
                // [MQTT-3.3.4-9] The Receive Maximum of the new connection may be less.
                if !has_window {
                    return false;
                }
                if session.grant.may_receive(delivery.message.topic()) {
                    let message = delivery.message.message(self.out.now);
                    let mut encoder = Encoder::new(&message, encoded);
                    let head = again(delivery, id, !is_new || delivery.dup);
                    let identifiers = delivery.identifiers.iter();
                    self.put(session.connection, &mut encoder, head, identifiers) == Put::Done
                } else {
                    self.out.counters.dropped_not_permitted += 1;
                    false
                }
            }
            _ => {
                self.put_release(session.connection, id, encoded);
                true
            }
        };
        if sent {
            self.out.counters.redeliveries += u64::from(!is_new);
            session.outgoing.resent(self.out.now);
        } else {
            let given_up = session.outgoing.give_up_resend();
            self.out.release_exchange(session, given_up);
        }
        true
    }

    /// Gives packet identifiers to messages of QoS 2 that wait and have a row, and to what
    /// waits between them, as far as the window goes: they are sent once the store knows the
    /// identifiers, in their order.
    pub(super) fn stage(&mut self, id: SessionId, session: &mut Session, budget: &mut usize) {
        let is_stored = session.outgoing.front().is_some_and(|it| it.row.place > 0);
        if !is_stored || !self.connections.contains_key(session.connection) {
            return;
        }
        let window = self.window(session.connection);
        while let Some(next) = session.outgoing.front()
            && next.qos > QoS::AtMostOnce
            && next.row.place > 0
            && *budget > 0
            && (next.qos == QoS::ExactlyOnce || session.outgoing.is_resending())
            && session.outgoing.has_window_to_stage(window)
        {
            *budget -= 1;
            let Some(delivery) = session.outgoing.dequeue() else {
                return;
            };
            let Some(delivery) = self.out.still_due(session, delivery) else {
                continue;
            };
            let qos = delivery.qos;
            let pending = delivery.row.pending;
            session.outgoing.next_packet_id();
            let number = session.outgoing.stage(delivery, self.out.now);
            self.out.in_flight += 1;
            if qos == QoS::AtLeastOnce {
                self.out.journal.locate(pending, number);
            } else if let Some((_, entry)) = session.outgoing.in_flight_at(number) {
                let now = self.out.now;
                let batch = self.out.journal.renew(id, &mut entry.row, number, now);
                self.out.journal.to_serve.push_back((batch, id));
            }
        }
    }

    /// Puts a PUBREL into an outbox.
    pub(super) fn put_release(
        &mut self,
        id: ConnectionId,
        packet_id: crate::packet::PacketId,
        encoded: &mut Vec<u8>,
    ) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        encoded.clear();
        let packet = Packet::PubRel(Ack::success(packet_id));
        // Four bytes, which any client takes.
        if packet.encode(connection.version, encoded).is_ok() {
            self.out.send(id, connection, encoded);
            self.expect_answer(id);
        }
    }

    pub(super) fn window(&self, id: ConnectionId) -> u16 {
        self.connections.get(id).map_or(0, |connection| {
            connection.window.min(self.config.send_window.get())
        })
    }

    /// Sends what waits, until window or outbox are full, or `budget` is used up.
    pub(super) fn send_waiting(
        &mut self,
        session: &mut Session,
        encoded: &mut Vec<u8>,
        budget: &mut usize,
    ) {
        let window = self.window(session.connection);
        while *budget > 0
            && self.has_room(session.connection)
            && let Some(delivery) = session.outgoing.front()
        {
            if delivery.qos > QoS::AtMostOnce && !session.outgoing.has_window(window) {
                return;
            }
            if delivery.qos == QoS::ExactlyOnce && delivery.row.place > 0 {
                return; // It is to be staged, as soon as the window allows.
            }
            *budget -= 1;
            let Some(delivery) = session.outgoing.dequeue() else {
                return;
            };
            let Some(delivery) = self.out.still_due(session, delivery) else {
                continue;
            };
            let kept = alloc::sync::Arc::clone(&delivery.message);
            let message = kept.message(self.out.now);
            let mut encoder = Encoder::new(&message, encoded);
            if delivery.qos == QoS::AtMostOnce {
                let head = Head {
                    replayed: delivery.replayed,
                    ..Head::at_most_once(delivery.retain)
                };
                let identifiers = delivery.identifiers.iter();
                self.put(session.connection, &mut encoder, head, identifiers);
                drop(kept);
                self.out.release(session, delivery);
            } else {
                self.send_first(session, delivery, &mut encoder);
                self.out.release_kept(kept);
            }
        }
    }

    /// Tells, once until it has caught up, that a client loses messages.
    #[cold]
    pub(super) fn tell_slow(&mut self, id: ConnectionId, session: &Session) {
        // Only who has something to take is slow, and `sent` says when it has caught up.
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.slow
            && !connection.outbox.is_empty()
        {
            connection.slow = true;
            self.out.tell(Event {
                connection: id,
                origin: connection.origin.clone(),
                client_id: Some(session.client_id.clone()),
                kind: EventKind::SlowConsumer,
            });
        }
    }
}

/// A message in flight as it is sent again ([MQTT-3.3.1-1]), or late for the first time.
pub(super) fn again(delivery: &Delivery, id: crate::packet::PacketId, dup: bool) -> Head {
    Head {
        qos: delivery.qos,
        retain: delivery.retain,
        replayed: delivery.replayed,
        dup,
        packet_id: Some(id),
    }
}

/// Whether a QoS 0 message may go into an outbox; if not, it is counted as dropped.
#[inline]
fn has_space(connection: &Connection, out: &mut Outlet, config: &Config, len: usize) -> bool {
    let counters = &mut out.counters;
    if connection.outbox.len() + len > config.outbox_limit && !connection.outbox.is_empty() {
        counters.dropped_outbox_full += 1;
        return false;
    }
    if out.pool.waiting + len > config.outbox_total_limit {
        counters.dropped_outbox_total_full += 1;
        return false;
    }
    true
}
