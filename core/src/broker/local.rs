//! Clients inside the process: they publish, subscribe and acknowledge by calls instead of packets.
//! Embedding programs, gateways and sinks stand on these.
//!
//! A local client has a session as any other, so permissions, shared subscriptions, queue limits and
//! expiry hold for it alike. Its messages, those of QoS 0 as well, wait in the session's queue, which
//! is as bounded as any; the window bounds how many of QoS 1 and 2 it may leave unacknowledged.

use alloc::vec::Vec;

use super::Broker;
use crate::message::{Kept, Message};
use crate::packet::{
    PacketId, Properties, QoS, ReasonCode, SubscriptionOptions, SubscriptionRequest,
};
use crate::permission::Grant;
use crate::session::{Answer, Delivery, Outcome, Session, SessionId};
use crate::time::Instant;
use crate::topic;

/// The handle of a local client, generational like a connection's.
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
    /// Opens a local client under an identifier that nobody has.
    pub fn open_local(
        &mut self,
        client_id: &str,
        grant: Grant,
    ) -> Result<LocalClient, OpenLocalError> {
        if self.session_named(client_id).is_some() {
            return Err(OpenLocalError::IdentifierInUse);
        }
        if self.stopping || self.sessions.len() >= self.config.max_sessions {
            return Err(OpenLocalError::TooManySessions);
        }
        let mut session = Session::new(client_id.into(), grant);
        session.local = true;
        Ok(LocalClient(self.begin_session(session)))
    }

    /// Closes a local client: its session ends.
    pub fn close_local(&mut self, client: LocalClient) {
        if self.local(client).is_some() {
            self.end_session(client.0);
        }
    }

    /// Publishes a message. The reason is the one that PUBACK would have: success, or that nobody has
    /// subscribed, or why it was not taken.
    pub fn publish_local(&mut self, client: LocalClient, publish: &LocalPublish<'_>) -> ReasonCode {
        if self.local(client).is_none() {
            return ReasonCode::NotAuthorized;
        }
        if topic::check_name(publish.topic, self.config.max_topic_levels).is_err() {
            return ReasonCode::TopicNameInvalid;
        }
        let mut properties = core::mem::take(&mut self.properties);
        properties.clear();
        crate::message::write_owned(&publish.properties, &mut properties);
        let message = Message {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            properties: &properties,
            expiry: publish.properties.message_expiry_interval(),
            packet: None,
            shared: None,
        };
        self.out.counters.publish_received += 1;
        let reason = self
            .accept(client.0, SessionId::default(), &message)
            .unwrap_or_else(|reason| reason);
        self.properties = properties;
        reason
    }

    /// Subscribes, or replaces a subscription. The identifier is that of its deliveries; 0 is none.
    /// Returns the QoS granted, or why there is none.
    pub fn subscribe_local(
        &mut self,
        client: LocalClient,
        filter: &str,
        options: SubscriptionOptions,
        identifier: u32,
    ) -> Result<QoS, ReasonCode> {
        if self.local(client).is_none() {
            return Err(ReasonCode::NotAuthorized);
        }
        let request = SubscriptionRequest { filter, options };
        let granted = self.subscribe_one(client.0, identifier, &request);
        self.serve(client.0);
        granted.map_err(|refusal| refusal.reason)
    }

    /// Ends a subscription.
    pub fn unsubscribe_local(&mut self, client: LocalClient, filter: &str) -> ReasonCode {
        if self.local(client).is_none() {
            return ReasonCode::NotAuthorized;
        }
        self.unsubscribe_one(client.0, filter)
    }

    /// The next message for a local client. One of QoS 1 or 2 is to be acknowledged; no more come
    /// while as many as the window holds are not.
    pub fn next_message(&mut self, client: LocalClient) -> Option<LocalMessage> {
        let window = self.config.send_window.get();
        let now = self.now;
        loop {
            let session = self.sessions.get_mut(client.0).filter(|it| it.local)?;
            let waits = session.outgoing.front().is_some_and(|next| {
                next.qos == QoS::AtMostOnce || session.outgoing.has_window(window)
            });
            if !waits && session.outgoing.is_idle() && !session.replays.is_empty() {
                self.serve(client.0);
                let session = self.sessions.get_mut(client.0)?;
                if session.outgoing.is_idle() {
                    session.raised = false;
                    return None;
                }
                continue;
            }
            let Some(delivery) = waits.then(|| session.outgoing.dequeue()).flatten() else {
                session.raised = false;
                return None;
            };
            if delivery.message.is_expired(now) {
                self.out.counters.dropped_expired += 1;
                self.out.release(delivery);
                continue;
            }
            if !session.grant.may_receive(delivery.message.topic()) {
                self.out.counters.dropped_not_permitted += 1;
                self.out.release(delivery);
                continue;
            }
            self.out.counters.publish_sent += 1;
            return Some(self.hand_over(client, delivery));
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
        match self.sessions.get_mut(client.0) {
            Some(session) if delivery.qos > QoS::AtMostOnce => {
                message.packet_id = Some(session.outgoing.next_packet_id());
                session.outgoing.sent(delivery, self.now);
                self.out.in_flight += 1;
            }
            _ => self.out.release(delivery),
        }
        message
    }

    /// A local client has what [`Broker::next_message`] gave it under this identifier. False if
    /// there is no such message.
    pub fn acknowledge_local(&mut self, client: LocalClient, packet_id: PacketId) -> bool {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(client.0).filter(|it| it.local) else {
            return false;
        };
        // Nothing can be lost on the way, so one step does for QoS 2 as well.
        let mut outcome = session
            .outgoing
            .answer(packet_id, Answer::Acknowledged, now);
        if matches!(outcome, Outcome::Violation) {
            outcome = session.outgoing.answer(packet_id, Answer::Rejected, now);
        }
        let Outcome::Done(delivery) = outcome else {
            return false;
        };
        self.out.in_flight -= 1;
        if let Some(delivery) = delivery {
            self.out.release(delivery);
        }
        self.serve(client.0);
        true
    }

    fn local(&self, client: LocalClient) -> Option<&Session> {
        self.sessions.get(client.0).filter(|session| session.local)
    }
}
