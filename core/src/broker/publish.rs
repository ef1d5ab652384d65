//! PUBLISH from a client.

use alloc::boxed::Box;
use core::time::Duration;

use super::handshake::is_reserved;
use super::owing::Promise;
use super::reply::{Answer, Reliance, reason_as_told};
use super::routed::Routed;
use super::{Broker, Cause, EventKind, Strictness};
use crate::connection::ConnectionId;
use crate::known::{KnownTopic, Looked};
use crate::message::{Message, Original, owned_properties, write_owned};
use crate::packet::{
    FixedHeader, PacketId, Properties, ProtocolError, ProtocolVersion, Publish, QoS, ReasonCode,
    Sender,
};
use crate::permission::Grant;
use crate::session::SessionId;
use crate::topic;

impl Broker {
    /// A whole PUBLISH.
    #[inline]
    pub(super) fn publish_packet(
        &mut self,
        id: ConnectionId,
        version: ProtocolVersion,
        header: &FixedHeader,
        packet: &[u8],
    ) -> Result<(), Cause> {
        let body = &packet[header.header_len..];
        let looked = match Publish::topic_bytes(body) {
            Some(topic) if !topic.is_empty() => self.known.look_for(topic),
            _ => Looked::Unknown,
        };
        let sender = Sender::Client;
        if let Looked::Found(known) = looked {
            return self.with_known(known, |broker, known| {
                let publish = Publish::decode_known(header, body, known.name(), version, sender)
                    .map_err(Cause::Protocol)?;
                broker.publish(id, version, packet, &publish, Some(known))
            });
        }
        let publish = Publish::decode(header, body, version, sender).map_err(Cause::Protocol)?;
        let levels = self.config.max_topic_levels;
        if matches!(looked, Looked::Again) && topic::check_name(publish.topic, levels).is_ok() {
            self.known.learn(publish.topic);
        }
        self.publish(id, version, packet, &publish, None)
    }

    /// Does something with a topic that is known, which is brought up to date before.
    #[inline]
    pub(super) fn with_known<T>(
        &mut self,
        mut known: Box<KnownTopic>,
        act: impl FnOnce(&mut Self, &KnownTopic) -> T,
    ) -> T {
        self.work += known.refresh(&self.filters, &self.peers.interests);
        let done = act(self, &known);
        self.known.put_back(known);
        done
    }

    /// `packet` is the whole PUBLISH that was decoded to `publish`. If its topic is known, it was
    /// checked.
    fn publish(
        &mut self,
        id: ConnectionId,
        version: ProtocolVersion,
        packet: &[u8],
        publish: &Publish<'_>,
        known: Option<&KnownTopic>,
    ) -> Result<(), Cause> {
        self.out.counters.publish_received += 1;
        self.out.counters.publish_bytes_received += publish.payload.len() as u64;
        // [MQTT-3.2.2-11]
        if publish.qos > self.config.max_qos {
            return Err(Cause::NotSupported(ReasonCode::QoSNotSupported));
        }
        // [MQTT-3.2.2-14]
        if publish.retain && !self.config.retain_available {
            return Err(Cause::NotSupported(ReasonCode::RetainNotSupported));
        }
        if publish.properties.topic_alias().is_some() {
            return self.publish_by_alias(id, publish);
        }
        if known.is_none() {
            topic::check_name(publish.topic, self.config.max_topic_levels).map_err(Cause::Topic)?;
        }
        let message = Message {
            topic: publish.topic,
            known,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.properties.as_wire().unwrap_or_default(),
            expiry: None,
            packet: Some(Original {
                bytes: packet,
                version,
            }),
            shared: None,
        };
        self.exchange(id, publish, &message)
    }

    /// A PUBLISH with a topic alias, which stands for its topic or is to stand for it.
    #[inline(never)]
    fn publish_by_alias(&mut self, id: ConnectionId, publish: &Publish<'_>) -> Result<(), Cause> {
        let alias = publish.properties.topic_alias().map_or(0, |it| it.get());
        // [MQTT-3.3.2-9]
        let levels = self.config.max_topic_levels;
        let Some(connection) = self.connections.get_mut(id) else {
            return Ok(());
        };
        if alias == 0 || alias > connection.offered.or_more(&self.config).topic_aliases {
            return Err(Cause::Protocol(ALIAS_ABOVE_MAXIMUM));
        }
        // Taken out, for the topic is used while the broker is.
        let mut aliases = core::mem::take(&mut connection.aliases_from);
        let mut properties = core::mem::take(&mut self.properties);
        properties.clear();
        write_owned(&publish.properties, &mut properties);
        let done = if publish.topic.is_empty() {
            Ok(())
        } else {
            let checked = topic::check_name(publish.topic, levels).map_err(Cause::Topic);
            checked.map(|()| aliases.set(alias, publish.topic))
        };
        let done = done.and_then(|()| {
            let topic = aliases
                .get(alias)
                .ok_or(Cause::Protocol(ALIAS_STANDS_FOR_NOTHING))?;
            let message = Message {
                topic,
                known: None,
                payload: publish.payload,
                qos: publish.qos,
                retain: publish.retain,
                properties: &properties,
                expiry: publish.properties.message_expiry_interval(),
                packet: None,
                shared: None,
            };
            self.exchange(id, publish, &message)
        });
        self.properties = properties;
        if let Some(connection) = self.connections.get_mut(id) {
            connection.aliases_from = aliases;
        }
        done
    }

    /// Does for a message what its QoS asks for.
    #[inline]
    fn exchange(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        message: &Message<'_>,
    ) -> Result<(), Cause> {
        let Some(connection) = self.connections.get(id) else {
            return Ok(());
        };
        if let Some(packet_id) = publish.packet_id {
            return self.exchange_acknowledged(id, packet_id, publish, message);
        }
        let from = connection.session;
        let promise = self.promise(from, QoS::AtMostOnce);
        let routed = self.accept(from, SessionId::default(), message, promise);
        if let Some(reason) = routed.refusal {
            self.tell_refused(id, message.topic, reason);
        }
        if !self.peers.overfull.is_empty() {
            self.slow_down(id);
        }
        Ok(())
    }

    /// Does so for a message of QoS 1 or 2.
    fn exchange_acknowledged(
        &mut self,
        id: ConnectionId,
        packet_id: PacketId,
        publish: &Publish<'_>,
        message: &Message<'_>,
    ) -> Result<(), Cause> {
        let Some(connection) = self.connections.get_mut(id) else {
            return Ok(());
        };
        connection.recovering &= publish.dup;
        let (from, version) = (connection.session, connection.version);
        let (unreleased, offered) = (connection.unreleased, connection.offered);
        let Some(session) = self.sessions.get(from) else {
            return Ok(());
        };
        let is_held = session.incoming.contains(packet_id);
        if is_held && publish.qos == QoS::ExactlyOnce {
            // [MQTT-4.3.3-10] It came before.
            self.out.counters.publish_repeated += 1;
            let outcome = Routed::taken();
            self.acknowledge(id, packet_id, QoS::ExactlyOnce, outcome);
            return Ok(());
        }
        if is_held && version == ProtocolVersion::V5 {
            let reason = ReasonCode::PacketIdentifierInUse;
            self.out.counters.refused_publish(reason);
            let outcome = Routed::refused(reason);
            self.acknowledge(id, packet_id, QoS::AtLeastOnce, outcome);
            return Ok(());
        }
        // [MQTT-3.3.4-7] Before MQTT 5 there is no such limit.
        if version == ProtocolVersion::V5
            && unreleased >= offered.or_more(&self.config).receive_window
        {
            if self.config.receive_maximum == Strictness::Strict {
                return Err(Cause::Protocol(RECEIVE_MAXIMUM_EXCEEDED));
            }
            self.let_pass(id);
        }
        if self.out.journal.is_failing && self.needs_store(from, message) {
            self.refuse_for_store(id, version, packet_id, publish.qos);
            return Ok(());
        }
        self.begin_reply(id);
        // What of it comes back to the client follows the acknowledgement, as clients expect;
        // unless the acknowledgement relies on it.
        let is_durable = self.sessions.get(from).is_some_and(|it| it.rows.durable);
        let after = if is_durable {
            SessionId::default()
        } else {
            from
        };
        let promise = self.promise(from, publish.qos);
        let routed = self.accept(from, after, message, promise);
        if let Some(reason) = routed.refusal {
            self.tell_refused(id, message.topic, reason);
        }
        // What peers have to say may turn an error into none, and the other way round: then it is
        // released again.
        let is_taken = routed.ticket > 0 || !reason_as_told(version, routed.reason()).is_error();
        if publish.qos == QoS::ExactlyOnce && is_taken {
            self.hold(id, from, packet_id);
        }
        if routed.ticket > 0 {
            self.await_peers(id, version, (packet_id, publish.qos), routed);
        }
        self.acknowledge(id, packet_id, publish.qos, routed);
        self.route_to_publisher(from, message);
        if !self.peers.overfull.is_empty() {
            self.slow_down(id);
        }
        Ok(())
    }

    /// Holds the identifier of a message of QoS 2 until its client releases it.
    fn hold(&mut self, id: ConnectionId, from: SessionId, packet_id: PacketId) {
        let Some(session) = self.sessions.get_mut(from) else {
            return;
        };
        session.incoming.hold(packet_id);
        if session.rows.durable {
            let journal = &mut self.out.journal;
            session.relies.batch = journal.incoming(from, packet_id, self.now);
        }
        if let Some(connection) = self.connections.get_mut(id) {
            connection.unreleased = connection.unreleased.saturating_add(1);
        }
    }

    /// More is in flight than was allowed, and the configuration says to let it pass.
    #[cold]
    fn let_pass(&mut self, id: ConnectionId) {
        self.out.counters.receive_maximum_exceeded += 1;
        if let Some(connection) = self.connections.get_mut(id)
            && !core::mem::replace(&mut connection.overran, true)
        {
            self.tell(id, EventKind::ReceiveMaximumExceeded);
        }
    }

    /// PUBACK or PUBREC, once what became of the message is sure.
    pub(super) fn acknowledge(
        &mut self,
        id: ConnectionId,
        packet_id: PacketId,
        qos: QoS,
        outcome: Routed,
    ) {
        let answer = Answer::Published {
            packet_id,
            qos,
            outcome,
        };
        let records = self.out.journal.end();
        let session = self.session_of(id);
        let without_records = session.map_or(Reliance::NOTHING, |it| it.relies);
        let mut relies = without_records;
        if records > 0 {
            relies.batch = self.out.journal.open();
        }
        self.reply_with_records(id.into(), relies, without_records, records, answer);
    }

    /// What is promised of a message that a session publishes, if it goes to peers.
    #[inline]
    fn promise(&mut self, from: SessionId, qos: QoS) -> Promise {
        let mut promise = Promise {
            is_awaited: qos > QoS::AtMostOnce,
            ..Promise::NONE
        };
        if self.peers.are_there()
            && self.out.journal.is_on()
            && let Some(session) = self.sessions.get_mut(from)
        {
            promise.is_owed = qos == QoS::ExactlyOnce && session.rows.durable;
            let owes = &mut session.rows.owes;
            promise.is_late = self.out.journal.waits_behind(owes, promise.is_owed);
        }
        promise
    }

    /// What is noted for the store from now on is for the next answer to this client.
    fn begin_reply(&mut self, id: ConnectionId) {
        if self.out.journal.is_on()
            && let Some(connection) = self.connections.get(id)
        {
            let waiter = Some((id.into(), connection.next_reply()));
            self.out.journal.begin(waiter);
        }
    }

    /// Takes a message from a client, if the client may publish it: it is retained, if that is
    /// asked for, and goes to those who subscribed, to the session `after` by
    /// [`Broker::route_to_publisher`]. If the outcome is a refusal, the log should say so too.
    #[inline]
    pub(super) fn accept(
        &mut self,
        from: SessionId,
        after: SessionId,
        message: &Message<'_>,
        promise: Promise,
    ) -> Routed {
        let Some(session) = self.sessions.get(from) else {
            return Routed::refused(ReasonCode::UnspecifiedError);
        };
        let refused = if is_reserved(message.topic) {
            Some(ReasonCode::TopicNameInvalid)
        } else if !session.grant.may_publish(message.topic) {
            Some(ReasonCode::NotAuthorized)
        } else {
            None
        };
        if let Some(reason) = refused {
            self.out.counters.refused_publish(reason);
            return Routed::refused(reason);
        }
        if message.retain {
            let among = Properties::from_kept_wire(message.properties);
            let properties = owned_properties(&among);
            let expiry = message.expiry.or(among.message_expiry_interval());
            let is_answered = message.qos > QoS::AtMostOnce;
            let is_retained = self.retain(message, &properties, expiry);
            if is_answered
                && self.out.journal.is_on()
                && let Some(session) = self.sessions.get_mut(from)
            {
                session.relies.batch = self.out.journal.await_open();
            }
            if !is_retained {
                let routed = self.route_to_others(from, after, message, promise);
                return Routed {
                    ticket: routed.ticket,
                    ..Routed::refused(ReasonCode::QuotaExceeded)
                };
            }
        }
        self.route_to_others(from, after, message, promise)
    }

    /// Publishes the will of a client that is gone: to whom it may concern, if the client may. Its
    /// own session, if it has one still, gets it like anything else that it published. It waits
    /// behind the batch `owes` as anything else that the client publishes.
    pub(super) fn publish_will(
        &mut self,
        from: SessionId,
        will: &crate::session::Will,
        grant: &Grant,
        owes: &mut u64,
    ) {
        if !grant.may_publish(&will.topic) {
            self.out.counters.wills_refused += 1;
            return;
        }
        self.out.counters.wills_published += 1;
        let message = Message {
            topic: &will.topic,
            payload: &will.payload,
            qos: will.qos,
            retain: will.retain,
            properties: &will.properties,
            expiry: will.expiry,
            packet: None,
            known: None,
            shared: None,
        };
        if will.retain {
            // A full store is counted there; nobody is left to be told.
            let _ = self.retain(&message, &will.properties, will.expiry);
        }
        let mut promise = match self.out.journal.is_on() && will.qos > QoS::AtMostOnce {
            true => Promise::OWED,
            false => Promise::NONE,
        };
        if self.peers.are_there() {
            promise.is_late = self.out.journal.waits_behind(owes, promise.is_owed);
        }
        self.route_to_others(from, SessionId::default(), &message, promise);
    }

    /// Keeps the message as its topic's retained one, or, if it is empty, forgets that one
    /// ([MQTT-3.3.1-5], [MQTT-3.3.1-6]). False if there is no room.
    fn retain(&mut self, message: &Message<'_>, properties: &[u8], expiry: Option<u32>) -> bool {
        self.out.retained_change = 0;
        if message.payload.is_empty() {
            self.peers.change = self.retained.clear(message.topic);
            self.note_retained(0);
            self.heed_tombstones();
            return true;
        }
        let expires = expiry.map(|seconds| self.now.after(Duration::from_secs(u64::from(seconds))));
        let before = self.retained.changes();
        let outcome = self
            .retained
            .set(message, properties, expires, self.now, &self.config);
        self.work += outcome.work;
        if self.retained.changes() > before {
            self.out.retained_change = self.retained.changes();
        }
        self.note_retained(message.len());
        let counters = &mut self.out.counters;
        counters.retained_expired += outcome.expired;
        counters.retained_dropped += outcome.dropped;
        counters.retained_over_limit += u64::from(outcome.refused);
        self.peers.change = outcome.change;
        for (topic, version) in outcome.gone {
            self.tell_cleared(&topic, version);
        }
        self.heed_tombstones();
        !outcome.refused
    }

    /// A message was not taken. Where its publisher cannot be told, the log is.
    #[cold]
    fn tell_refused(&mut self, id: ConnectionId, topic: &str, reason: ReasonCode) {
        let topic = topic.into();
        self.tell(id, EventKind::PublishRefused { topic, reason });
    }
}

const ALIAS_ABOVE_MAXIMUM: ProtocolError = ProtocolError {
    reason: ReasonCode::TopicAliasInvalid,
    clause: "MQTT-3.3.2-9",
    what: "topic alias above the maximum",
};
const ALIAS_STANDS_FOR_NOTHING: ProtocolError = ProtocolError {
    reason: ReasonCode::ProtocolError,
    clause: "3.3.2.3.4",
    what: "topic alias that stands for no topic",
};
const RECEIVE_MAXIMUM_EXCEEDED: ProtocolError = ProtocolError {
    reason: ReasonCode::ReceiveMaximumExceeded,
    clause: "MQTT-3.3.4-7",
    what: "more messages in flight than the Receive Maximum allows",
};
