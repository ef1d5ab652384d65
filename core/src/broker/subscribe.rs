//! SUBSCRIBE and UNSUBSCRIBE.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::barrier::Waiting;
use super::reply::Answer;
use super::{Broker, Cause, EventKind};
use crate::connection::ConnectionId;
use crate::packet::{
    Packet, PacketId, Properties, ProtocolVersion, QoS, ReasonCode, RetainHandling, SubAck,
    Subscribe, SubscriptionRequest, Unsubscribe,
};
use crate::session::{Session, SessionId, Subscription};
use crate::topic::{self, TopicError};

const IN_USE: u8 = ReasonCode::PacketIdentifierInUse as u8;

/// What it takes to add a filter to a tree or to take it out, in steps of a look at one place;
/// those that a session has already cost a little more.
const STEPS_PER_FILTER: usize = 16;

/// Why one filter of a SUBSCRIBE is not granted.
pub(super) struct Refusal {
    pub(super) reason: ReasonCode,
    error: Option<TopicError>,
}

impl From<ReasonCode> for Refusal {
    fn from(reason: ReasonCode) -> Self {
        Self {
            reason,
            error: None,
        }
    }
}

impl From<TopicError> for Refusal {
    fn from(error: TopicError) -> Self {
        Self {
            reason: ReasonCode::TopicFilterInvalid,
            error: Some(error),
        }
    }
}

impl Broker {
    pub(super) fn subscribe(
        &mut self,
        id: ConnectionId,
        version: ProtocolVersion,
        packet: &Subscribe<'_>,
    ) -> Result<(), Cause> {
        let Some(session) = self
            .connections
            .get(id)
            .map(|connection| connection.session)
        else {
            return Ok(());
        };
        let packet_id = packet.packet_id;
        self.check_answer(id, packet.filters.len())?;
        let identifier = packet
            .properties
            .subscription_identifiers()
            .next()
            .unwrap_or(0);
        if version == ProtocolVersion::V5 {
            // CONNACK has said so: sections 3.2.2.3.11 to 3.2.2.3.13 call it a protocol error, and
            // give the reason that DISCONNECT names ([MQTT-4.13.1-1]).
            for request in packet.filters.iter() {
                let offered = self.is_offered(request.filter, identifier);
                offered.map_err(Cause::NotSupported)?;
            }
        }
        if self.is_in_use(session, version, packet_id) {
            let reasons = alloc::vec![IN_USE; packet.filters.len()];
            self.reply(id, subscribed(packet_id, reasons, None));
            return Ok(());
        }
        let waiting = self.barriers.waiting();
        let mut reasons = Vec::with_capacity(packet.filters.len());
        let mut refused = None;
        let mut words = None;
        for request in packet.filters.iter() {
            let reason = match self.subscribe_one(session, identifier, &request) {
                Ok(granted) => granted as u8,
                Err(refusal) => {
                    refused = Some(refusal.reason);
                    words = refusal.error.map(|error| error.to_string());
                    self.tell_subscribe_refused(id, request.filter, &refusal);
                    match version {
                        ProtocolVersion::V5 => refusal.reason as u8,
                        _ => 0x80, // [MQTT-3.9.3-2] of 3.1.1
                    }
                }
            };
            reasons.push(reason);
        }
        // MQTT 3.1 has no way to say no: its client would read 0x80 as a QoS.
        if let Some(reason) = refused
            && version == ProtocolVersion::V3_1
        {
            return Err(Cause::NotSupported(reason));
        }
        // [MQTT-3.8.4-1], [MQTT-3.8.4-6] SUBACK goes first, what is retained follows.
        let answer = subscribed(packet_id, reasons, words);
        if self.barriers.waiting() > waiting {
            self.answer_behind_barrier(id, answer);
        } else {
            self.reply(id, answer);
        }
        Ok(())
    }

    /// Whether a subscription makes use of something that is switched off.
    fn is_offered(&self, filter: &str, identifier: u32) -> Result<(), ReasonCode> {
        let config = &self.config;
        if !config.shared_subscriptions_available
            && matches!(topic::parse_shared(filter), Ok(Some(_)))
        {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        // 3.1.1 [MQTT-3.8.3-2]
        if !config.wildcard_subscriptions_available && filter.contains(['+', '#']) {
            return Err(ReasonCode::WildcardSubscriptionsNotSupported);
        }
        if !config.subscription_identifiers_available && identifier != 0 {
            return Err(ReasonCode::SubscriptionIdentifiersNotSupported);
        }
        Ok(())
    }

    /// Whether the client takes the answer to so many filters. It could not be sent otherwise, and
    /// the client would wait for it ([MQTT-3.1.2-24]).
    fn check_answer(&self, id: ConnectionId, filters: usize) -> Result<(), Cause> {
        // UNSUBACK has the same length.
        let answer = Packet::SubAck(SubAck {
            packet_id: PacketId::FIRST,
            properties: Properties::EMPTY,
            reasons: &alloc::vec![0; filters],
        });
        if self.fits(id, &answer) {
            Ok(())
        } else {
            Err(Cause::AnswerTooLarge)
        }
    }

    /// Whether the identifier of a SUBSCRIBE or UNSUBSCRIBE is one that a message of QoS 2 has,
    /// which the client has not released ([MQTT-2.2.1-3] of its side). Only MQTT 5 has an answer to
    /// that.
    fn is_in_use(&self, id: SessionId, version: ProtocolVersion, packet_id: PacketId) -> bool {
        version == ProtocolVersion::V5
            && self
                .sessions
                .get(id)
                .is_some_and(|session| session.incoming.contains(packet_id))
    }

    /// Grants one filter of a SUBSCRIBE and returns its reason code, or says why not.
    pub(super) fn subscribe_one(
        &mut self,
        id: SessionId,
        identifier: u32,
        request: &SubscriptionRequest<'_>,
    ) -> Result<QoS, Refusal> {
        let name = request.filter;
        let shared = topic::parse_shared(name)?;
        let filter = shared.map_or(name, |shared| shared.filter);
        topic::check_filter(filter, self.config.max_topic_levels)?;
        self.is_offered(name, identifier)?;
        let config = &self.config;
        let Some(session) = self.sessions.get_mut(id) else {
            return Err(ReasonCode::UnspecifiedError.into());
        };
        if !session.grant.may_subscribe(filter) {
            return Err(ReasonCode::NotAuthorized.into());
        }
        self.work += STEPS_PER_FILTER + session.filters() / 256;
        let bytes = topic::counted_bytes(name);
        let full = session.filters() >= config.max_subscriptions
            || session.filter_bytes() + bytes > config.max_subscription_bytes;
        // Replacing a subscription is always possible.
        if full && !self.is_subscribed(id, name, shared.is_some()) {
            return Err(ReasonCode::QuotaExceeded.into());
        }
        let mut subscription =
            Subscription::granted(request.options, identifier, self.config.max_qos);
        // What is live stays so with other terms.
        subscription.live = !self.peers.are_there() || self.is_live(id, name, shared.is_some());
        let Some(session) = self.sessions.get_mut(id) else {
            return Err(ReasonCode::UnspecifiedError.into());
        };
        if session.rows.durable {
            session.relies.batch = self.out.journal.subscription(id, name, self.now);
        }
        if let Some(shared) = shared {
            // Retained messages are not sent to a shared subscription (section 4.8.2).
            let is_present = session.is_present();
            let shares = &mut self.shares;
            let members = shares.join(name, shared, id, subscription, is_present);
            session.memberships.insert(members, bytes);
            if !subscription.live {
                self.await_barrier(Waiting::member(id, members), false);
            }
            return Ok(subscription.qos);
        }
        // [MQTT-3.8.4-3] the same filter again replaces the subscription.
        let inserted = self.filters.insert(filter, id, subscription);
        session.subscriptions.insert(inserted.filter, bytes);
        let send_retained = match request.options.retain_handling {
            RetainHandling::Send => true, // [MQTT-3.3.1-9]
            RetainHandling::SendIfNew => inserted.replaced.is_none(), // [MQTT-3.3.1-10]
            RetainHandling::DoNotSend => false, // [MQTT-3.3.1-11]
        };
        if !subscription.live {
            if inserted.replaced.is_none() && self.filters.subscribers(inserted.filter).len() == 1 {
                self.tell_interest(filter, true);
            }
            self.await_barrier(Waiting::subscriber(id, inserted.filter), send_retained);
        } else if send_retained {
            // A replay of the same filter that is under way begins anew.
            let replay = self.retained.replay(filter, subscription);
            session.replays.insert(inserted.filter, replay);
        } else if let Some(replay) = session.replays.get_mut(&inserted.filter) {
            replay.subscription = subscription; // What is left of it comes under the new terms.
        }
        Ok(subscription.qos)
    }

    fn is_subscribed(&self, id: SessionId, name: &str, shared: bool) -> bool {
        if shared {
            let members = self.shares.find(name);
            return members.is_some_and(|members| self.shares.get(members, id).is_some());
        }
        let filter = self.filters.find(name);
        filter.is_some_and(|filter| self.filters.get(filter, id).is_some())
    }

    /// Whether there is such a subscription, and it brings messages.
    fn is_live(&self, id: SessionId, name: &str, shared: bool) -> bool {
        let subscription = if shared {
            let members = self.shares.find(name);
            members.and_then(|members| self.shares.get(members, id))
        } else {
            let filter = self.filters.find(name);
            filter.and_then(|filter| self.filters.get(filter, id))
        };
        subscription.is_some_and(|subscription| subscription.live)
    }

    pub(super) fn unsubscribe(
        &mut self,
        id: ConnectionId,
        version: ProtocolVersion,
        packet: &Unsubscribe<'_>,
    ) -> Result<(), Cause> {
        let Some(session) = self
            .connections
            .get(id)
            .map(|connection| connection.session)
        else {
            return Ok(());
        };
        self.check_answer(id, packet.filters.len())?;
        let in_use = self.is_in_use(session, version, packet.packet_id);
        let mut unsubscribe = |filter| match in_use {
            true => IN_USE,
            false => self.unsubscribe_one(session, filter) as u8,
        };
        let reasons: Vec<u8> = packet.filters.iter().map(&mut unsubscribe).collect();
        // [MQTT-3.10.4-4], [MQTT-3.10.4-5] also if there was no such subscription.
        let answer = Answer::Unsubscribed {
            packet_id: packet.packet_id,
            reasons: reasons.into(),
        };
        self.reply(id, answer);
        Ok(())
    }

    pub(super) fn unsubscribe_one(&mut self, id: SessionId, filter: &str) -> ReasonCode {
        let Ok(shared) = topic::parse_shared(filter) else {
            return ReasonCode::TopicFilterInvalid;
        };
        let inner = shared.map_or(filter, |shared| shared.filter);
        if topic::check_filter(inner, self.config.max_topic_levels).is_err() {
            return ReasonCode::TopicFilterInvalid;
        }
        let bytes = topic::counted_bytes(filter);
        let Some(session) = self.sessions.get_mut(id) else {
            return ReasonCode::UnspecifiedError;
        };
        self.work += STEPS_PER_FILTER + session.filters() / 256;
        if shared.is_some() {
            let is_present = session.is_present();
            let members = self.shares.find(filter);
            let shares = &mut self.shares;
            let Some(members) = members.filter(|it| shares.leave(*it, id, is_present)) else {
                return ReasonCode::NoSubscriptionExisted;
            };
            session.memberships.remove(members, bytes);
            if session.rows.durable {
                session.relies.batch = self.out.journal.subscription(id, filter, self.now);
            }
            self.barriers.forget(Waiting::member(id, members));
            self.groups_have_changed();
            return ReasonCode::Success;
        }
        let Some(known) = self.filters.find(filter) else {
            return ReasonCode::NoSubscriptionExisted;
        };
        if !self.drop_subscription(known, id) {
            return ReasonCode::NoSubscriptionExisted;
        }
        self.barriers.forget(Waiting::subscriber(id, known));
        let Some(session) = self.sessions.get_mut(id) else {
            return ReasonCode::UnspecifiedError;
        };
        session.subscriptions.remove(known, bytes);
        session.end_replay(known); // [MQTT-3.10.4-2]
        if session.rows.durable {
            session.relies.batch = self.out.journal.subscription(id, filter, self.now);
        }
        ReasonCode::Success
    }

    pub(super) fn session_of(&mut self, id: ConnectionId) -> Option<&mut Session> {
        let session = self.connections.get(id)?.session;
        self.sessions.get_mut(session)
    }

    fn tell_subscribe_refused(&mut self, id: ConnectionId, filter: &str, refusal: &Refusal) {
        self.out.counters.refused_subscription(refusal.reason);
        let kind = EventKind::SubscribeRefused {
            filter: filter.into(),
            reason: refusal.reason,
            error: refusal.error,
        };
        self.tell(id, kind);
    }
}

/// SUBACK.
fn subscribed(packet_id: PacketId, reasons: Vec<u8>, words: Option<String>) -> Answer {
    Answer::Subscribed {
        packet_id,
        reasons: reasons.into(),
        words: words.map(Into::into),
    }
}
