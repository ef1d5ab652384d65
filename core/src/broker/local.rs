//! Clients inside the process: they publish, subscribe and acknowledge by calls instead of packets.
//! Embedding programs, gateways and sinks stand on these.
//!
//! A local client has a session as any other, so permissions, shared subscriptions, queue limits
//! and what the configuration switches off hold for it alike. Its messages, those of QoS 0 as well,
//! wait in the session's queue, which is as bounded as any, with the same policy for what finds it
//! full; the window bounds how many of QoS 1 and 2 it may leave unacknowledged.
//!
//! What it says is checked as if it had come in a packet: nothing that a local client does makes
//! another one see what the specification forbids.

use alloc::vec::Vec;

use super::Broker;
use super::owing::Promise;
use crate::message::{Kept, Message};
use crate::packet::{
    PacketId, Properties, QoS, ReasonCode, SubscriptionOptions, SubscriptionRequest,
};
use crate::permission::Grant;
use crate::session::{Answer, Delivery, Outcome, Session, SessionId};
use crate::time::Instant;
use crate::topic;

/// The handle of a client inside the process, generational like a connection's.
///
/// Such a client publishes, subscribes and acknowledges by calls of the [`Broker`]. When messages
/// wait for it, [`Action::Deliver`](super::Action::Deliver) says so; take them until there are none
/// left, and acknowledge those that have a packet identifier. It gets no more than the queue limits
/// and the window of the configuration allow: what it does not take waits or is dropped, and is
/// counted.
///
/// It stays when the broker stops, to take what the last clients had to say, until it is closed.
///
/// ```
/// use wherry_core::packet::{Properties, QoS, ReasonCode, SubscriptionOptions};
/// use wherry_core::permission::Grant;
/// use wherry_core::time::{Instant, WallClock};
/// use wherry_core::{Action, Broker, Config, LocalPublish};
///
/// let (start, time) = (Instant::from_millis(0), WallClock::from_unix_millis(0));
/// let mut broker = Broker::new(Config::default(), 1, start, time);
/// let sensor = broker.open_local("sensor", Grant::unrestricted())?;
/// let store = broker.open_local("store", Grant::unrestricted())?;
/// let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..Default::default() };
/// assert_eq!(broker.subscribe_local(store, "room/+", options, 0), Ok(QoS::AtLeastOnce));
///
/// let publish = LocalPublish {
///     topic: "room/1",
///     payload: b"21.5",
///     qos: QoS::AtLeastOnce,
///     retain: false,
///     properties: Properties::EMPTY,
/// };
/// assert_eq!(broker.publish_local(sensor, &publish), ReasonCode::Success);
///
/// assert_eq!(broker.poll_action(), Some(Action::Deliver(store)));
/// while let Some(message) = broker.next_message(store) {
///     assert_eq!((message.topic(), message.payload()), ("room/1", &b"21.5"[..]));
///     if let Some(id) = message.packet_id {
///         broker.acknowledge_local(store, id);
///     }
/// }
/// assert_eq!(broker.queued_messages(), 0);
/// broker.close_local(store);
/// # Ok::<(), wherry_core::OpenLocalError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalClient(SessionId);

impl LocalClient {
    pub(super) fn of(session: SessionId) -> Self {
        Self(session)
    }
}

/// Why a local client was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenLocalError {
    /// The identifier is empty, longer than the configuration allows, or no string of MQTT.
    #[error("the client identifier is not valid")]
    IdentifierNotValid,
    /// The identifier belongs to the shard of this number, which is another one.
    #[error("the client identifier belongs to shard {0}")]
    OfAnotherShard(u8),
    /// Another client, local or not, has a session under this identifier.
    #[error("the client identifier is in use")]
    IdentifierInUse,
    /// There are as many sessions as the configuration allows, or the broker is stopping.
    #[error("there are as many sessions as allowed, or the broker is stopping")]
    TooManySessions,
}

/// A message that a local client publishes.
#[derive(Clone, Copy, Debug)]
pub struct LocalPublish<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// What it says.
    pub payload: &'a [u8],
    /// How surely it is to arrive.
    pub qos: QoS,
    /// Whether it is to be kept for later subscribers.
    pub retain: bool,
    /// Its properties; a topic alias or subscription identifier among them is left out.
    pub properties: Properties<'a>,
}

/// A message for a local client.
#[derive(Clone, Debug)]
pub struct LocalMessage {
    kept: Kept,
    now: Instant,
    /// The QoS at which it is delivered.
    pub qos: QoS,
    /// Whether it is a retained one, or, if the subscription asks for that, was published as such.
    pub retain: bool,
    /// What it is to be acknowledged by, if its QoS is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// The identifiers of the subscriptions that it came by.
    pub subscription_identifiers: Vec<u32>,
}

impl LocalMessage {
    /// Its topic.
    pub fn topic(&self) -> &str {
        self.kept.topic()
    }

    /// What it says.
    pub fn payload(&self) -> &[u8] {
        self.kept.payload()
    }

    /// Its properties, in their order, without the message expiry interval.
    pub fn properties(&self) -> Properties<'_> {
        Properties::from_kept_wire(self.kept.properties())
    }

    /// What is left of its message expiry interval, in seconds.
    pub fn expiry(&self) -> Option<u32> {
        self.kept.expiry_left(self.now)
    }
}

impl Broker {
    /// Opens a local client under an identifier that nobody has. As long as it is open, no client
    /// that connects gets in under it.
    pub fn open_local(
        &mut self,
        client_id: &str,
        grant: Grant,
    ) -> Result<LocalClient, OpenLocalError> {
        let longest = self.config.max_client_id_len;
        if client_id.is_empty() || client_id.len() > longest || !is_string(client_id) {
            return Err(OpenLocalError::IdentifierNotValid);
        }
        if !self.peers.place().owns(client_id) {
            return Err(OpenLocalError::OfAnotherShard(self.shard_of(client_id)));
        }
        if self.session_named(client_id).is_some() {
            return Err(OpenLocalError::IdentifierInUse);
        }
        if self.stopping || self.has_enough_sessions() {
            self.out.counters.sessions_over_limit += 1;
            return Err(OpenLocalError::TooManySessions);
        }
        let mut session = Session::new(client_id.into(), grant);
        session.local = true;
        Ok(LocalClient(self.begin_session(session)))
    }

    /// Closes a local client: its session ends. What it had not acknowledged of a shared
    /// subscription goes to other members, as far as its QoS allows.
    pub fn close_local(&mut self, client: LocalClient) {
        if self.is_local(client) {
            self.end_session(client.0);
        }
    }

    /// Publishes a message. The reason is the one that a client would have in PUBACK, or in the
    /// DISCONNECT that answers what is never allowed: success, that nobody has subscribed, or why
    /// the message was not taken. What other shards make of it is not waited for.
    pub fn publish_local(&mut self, client: LocalClient, publish: &LocalPublish<'_>) -> ReasonCode {
        if !self.is_local(client) {
            return ReasonCode::NotAuthorized;
        }
        self.out.counters.publish_received += 1;
        self.out.counters.publish_bytes_received += publish.payload.len() as u64;
        let mut properties = core::mem::take(&mut self.properties);
        let checked = match self.peers.are_overwhelmed() {
            true => Err(ReasonCode::QuotaExceeded),
            false => self.check_local(publish, &mut properties),
        };
        let reason = match checked {
            Ok(()) => {
                let message = Message {
                    topic: publish.topic,
                    payload: publish.payload,
                    qos: publish.qos,
                    retain: publish.retain,
                    properties: &properties,
                    expiry: publish.properties.message_expiry_interval(),
                    packet: None,
                    known: None,
                    shared: None,
                };
                self.accept(client.0, SessionId::default(), &message, Promise::NONE)
                    .reason()
            }
            Err(reason) => {
                self.out.counters.refused_publish(reason);
                reason
            }
        };
        self.properties = properties;
        reason
    }

    /// What the codec and its callers would have to say against a PUBLISH. Puts the properties that
    /// go on with the message into `properties`.
    fn check_local(
        &self,
        publish: &LocalPublish<'_>,
        properties: &mut Vec<u8>,
    ) -> Result<(), ReasonCode> {
        let levels = self.config.max_topic_levels;
        if topic::check_name(publish.topic, levels).is_err() || !is_string(publish.topic) {
            return Err(ReasonCode::TopicNameInvalid);
        }
        if publish.qos > self.config.max_qos {
            return Err(ReasonCode::QoSNotSupported);
        }
        if publish.retain && !self.config.retain_available {
            return Err(ReasonCode::RetainNotSupported);
        }
        properties.clear();
        if !publish.properties.is_empty() {
            // What cannot be encoded has no length.
            if publish.properties.iter().any(|it| it.wire_len() == 0) {
                return Err(ReasonCode::MalformedPacket);
            }
            crate::message::write_owned(&publish.properties, properties);
            Properties::check_of_message(properties).map_err(|error| error.reason)?;
        }
        let len = publish.topic.len() + properties.len() + publish.payload.len();
        if len as u64 > u64::from(self.config.max_packet_size) {
            return Err(ReasonCode::PacketTooLarge);
        }
        Ok(())
    }

    /// Subscribes, or replaces a subscription. The identifier is that of its deliveries; 0 is none.
    /// Returns the QoS granted, or why there is none. Retained messages follow as the options say.
    /// Where there are several shards, nothing comes until all of them know.
    pub fn subscribe_local(
        &mut self,
        client: LocalClient,
        filter: &str,
        options: SubscriptionOptions,
        identifier: u32,
    ) -> Result<QoS, ReasonCode> {
        if !self.is_local(client) {
            return Err(ReasonCode::NotAuthorized);
        }
        let request = SubscriptionRequest { filter, options };
        let granted = if !is_string(filter) {
            Err(ReasonCode::TopicFilterInvalid)
        } else if options.no_local && filter.starts_with("$share/") {
            Err(ReasonCode::ProtocolError) // [MQTT-3.8.3-4]
        } else {
            let granted = self.subscribe_one(client.0, identifier, &request);
            granted.map_err(|refusal| refusal.reason)
        };
        if let Err(reason) = granted {
            self.out.counters.refused_subscription(reason);
        }
        self.serve(client.0);
        granted
    }

    /// Ends a subscription. What waits by then is still delivered.
    pub fn unsubscribe_local(&mut self, client: LocalClient, filter: &str) -> ReasonCode {
        if !self.is_local(client) {
            return ReasonCode::NotAuthorized;
        }
        self.unsubscribe_one(client.0, filter)
    }

    /// The next message for a local client; `None` if there is none for now, and
    /// [`Action::Deliver`](super::Action::Deliver) says when there are more. One of QoS 1 or 2 is
    /// to be acknowledged; no more come while as many as the window holds are not.
    pub fn next_message(&mut self, client: LocalClient) -> Option<LocalMessage> {
        if !self.is_local(client) {
            return None;
        }
        loop {
            let session = self.sessions.get(client.0)?;
            if session.outgoing.is_idle() && !session.replays.is_empty() {
                self.serve(client.0);
            }
            let window = self.config.send_window.get();
            let session = self.sessions.get_mut(client.0)?;
            let next = match has_next(session, window) {
                true => session.outgoing.dequeue(),
                false => None,
            };
            let Some(delivery) = next else {
                session.raised = false;
                return None;
            };
            if let Some(delivery) = self.out.still_due(session, delivery) {
                return Some(self.hand_over(client, delivery));
            }
        }
    }

    fn hand_over(&mut self, client: LocalClient, delivery: Delivery) -> LocalMessage {
        let mut message = LocalMessage {
            kept: Kept::clone(&delivery.message),
            now: self.now,
            qos: delivery.qos,
            retain: delivery.retain,
            packet_id: None,
            subscription_identifiers: delivery.identifiers.iter().collect(),
        };
        self.out.counters.publish_sent += 1;
        self.out.counters.publish_bytes_sent += message.payload().len() as u64;
        match self.sessions.get_mut(client.0) {
            Some(session) if delivery.qos > QoS::AtMostOnce => {
                message.packet_id = Some(session.outgoing.next_packet_id());
                session.outgoing.sent(delivery, self.now);
                self.out.in_flight += 1;
            }
            Some(session) => self.out.release(session, delivery),
            None => self.out.release_orphan(delivery),
        }
        message
    }

    /// A local client has what [`Broker::next_message`] gave it under this identifier, and its
    /// exchange is over: nothing can be lost on the way, so one step does for QoS 2 as well. False
    /// if there is no such message.
    pub fn acknowledge_local(&mut self, client: LocalClient, packet_id: PacketId) -> bool {
        if !self.is_local(client) {
            return false;
        }
        let now = self.now;
        let Some(session) = self.sessions.get_mut(client.0) else {
            return false;
        };
        let outgoing = &mut session.outgoing;
        let mut outcome = outgoing.answer(packet_id, Answer::Acknowledged, now);
        if matches!(outcome, Outcome::Violation) {
            outcome = outgoing.answer(packet_id, Answer::Rejected, now);
        }
        let Outcome::Done(it) = outcome else {
            self.out.counters.unknown_packet_ids += 1;
            return false;
        };
        self.out.release_exchange(session, it);
        self.serve(client.0);
        let window = self.config.send_window.get();
        if let Some(session) = self.sessions.get_mut(client.0)
            && has_next(session, window)
        {
            self.out.raise_deliver(client.0, session);
        }
        true
    }

    /// Whether there is such a client. A handle that is gone is counted.
    fn is_local(&mut self, client: LocalClient) -> bool {
        let is_local = self.sessions.get(client.0).is_some_and(|it| it.local);
        self.out.counters.stale_handles += u64::from(!is_local);
        is_local
    }
}

/// Whether a message waits that the window has room for.
fn has_next(session: &Session, window: u16) -> bool {
    let next = session.outgoing.front();
    next.is_some_and(|next| next.qos == QoS::AtMostOnce || session.outgoing.has_window(window))
}

/// Whether a text could stand in a packet ([MQTT-1.5.4-2] and section 1.5.4).
fn is_string(text: &str) -> bool {
    text.len() <= topic::MAX_BYTES && !text.contains('\0')
}
