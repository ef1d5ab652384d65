//! SUBSCRIBE and UNSUBSCRIBE.

use alloc::vec::Vec;

use super::handshake::MAXIMUM_QOS;
use super::{Broker, Cause, EventKind};
use crate::connection::ConnectionId;
use crate::packet::{
    Packet, Properties, ProtocolVersion, ReasonCode, RetainHandling, SubAck, Subscribe,
    SubscriptionRequest, UnsubAck, Unsubscribe,
};
use crate::session::{Session, SessionId, Subscription};
use crate::topic::{self, TopicError};

/// What it takes to add a filter to a tree or to take it out, in steps of a look at one place; those
/// that a session has already cost a little more.
const STEPS_PER_FILTER: usize = 16;

/// Why one filter of a SUBSCRIBE is not granted.
struct Refusal {
    reason: ReasonCode,
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
        let identifier = packet
            .properties
            .subscription_identifiers()
            .next()
            .unwrap_or(0);
        let mut reasons = Vec::with_capacity(packet.filters.len());
        let mut refused = None;
        for request in packet.filters.iter() {
            let reason = match self.subscribe_one(session, identifier, &request) {
                Ok(granted) => granted,
                Err(refusal) => {
                    refused = Some(refusal.reason);
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
        let properties = Properties::EMPTY;
        let packet_id = packet.packet_id;
        self.send(
            id,
            &Packet::SubAck(SubAck {
                packet_id,
                properties,
                reasons: &reasons,
            }),
        );
        self.replay_to(id);
        Ok(())
    }

    /// Grants one filter of a SUBSCRIBE and returns its reason code, or says why not.
    fn subscribe_one(
        &mut self,
        id: SessionId,
        identifier: u32,
        request: &SubscriptionRequest<'_>,
    ) -> Result<u8, Refusal> {
        let filter = request.filter;
        if topic::parse_shared(filter)?.is_some() {
            return Err(ReasonCode::SharedSubscriptionsNotSupported.into());
        }
        topic::check_filter(filter, self.config.max_topic_levels)?;
        let Some(session) = self.sessions.get_mut(id) else {
            return Err(ReasonCode::UnspecifiedError.into());
        };
        if !session.grant.may_subscribe(filter) {
            return Err(ReasonCode::NotAuthorized.into());
        }
        self.work += STEPS_PER_FILTER + session.subscriptions.len() / 256;
        let bytes = topic::counted_bytes(filter);
        let full = session.subscriptions.len() >= self.config.max_subscriptions
            || session.subscriptions.bytes() + bytes > self.config.max_subscription_bytes;
        // Replacing a subscription is always possible.
        if full
            && self
                .filters
                .find(filter)
                .and_then(|known| self.filters.get(known, id))
                .is_none()
        {
            return Err(ReasonCode::QuotaExceeded.into());
        }
        let subscription = Subscription::granted(request.options, identifier, MAXIMUM_QOS);
        // [MQTT-3.8.4-3] the same filter again replaces the subscription.
        let inserted = self.filters.insert(filter, id, subscription);
        session.subscriptions.insert(inserted.filter, bytes);
        let send_retained = match request.options.retain_handling {
            RetainHandling::Send => true, // [MQTT-3.3.1-9]
            RetainHandling::SendIfNew => inserted.replaced.is_none(), // [MQTT-3.3.1-10]
            RetainHandling::DoNotSend => false, // [MQTT-3.3.1-11]
        };
        if send_retained {
            let replay = self.retained.replay(filter, subscription);
            self.begin_replay(id, inserted.filter, replay);
        }
        Ok(subscription.qos as u8)
    }

    pub(super) fn unsubscribe(
        &mut self,
        id: ConnectionId,
        _version: ProtocolVersion,
        packet: &Unsubscribe<'_>,
    ) -> Result<(), Cause> {
        let Some(session) = self
            .connections
            .get(id)
            .map(|connection| connection.session)
        else {
            return Ok(());
        };
        let reasons: Vec<u8> = packet
            .filters
            .iter()
            .map(|filter| self.unsubscribe_one(session, filter) as u8)
            .collect();
        // [MQTT-3.10.4-4], [MQTT-3.10.4-5] also if there was no such subscription.
        let properties = Properties::EMPTY;
        let packet_id = packet.packet_id;
        self.send(
            id,
            &Packet::UnsubAck(UnsubAck {
                packet_id,
                properties,
                reasons: &reasons,
            }),
        );
        Ok(())
    }

    fn unsubscribe_one(&mut self, id: SessionId, filter: &str) -> ReasonCode {
        let valid = topic::parse_shared(filter).is_ok_and(|shared| shared.is_some())
            || topic::check_filter(filter, self.config.max_topic_levels).is_ok();
        if !valid {
            return ReasonCode::TopicFilterInvalid;
        }
        let Some(known) = self.filters.find(filter) else {
            return ReasonCode::NoSubscriptionExisted;
        };
        if self.filters.remove(known, id).is_none() {
            return ReasonCode::NoSubscriptionExisted;
        }
        if let Some(session) = self.sessions.get_mut(id) {
            self.work += STEPS_PER_FILTER + session.subscriptions.len() / 256;
            session
                .subscriptions
                .remove(known, topic::counted_bytes(filter));
            session.replays.remove(&known); // [MQTT-3.10.4-2]
        }
        ReasonCode::Success
    }

    pub(super) fn session_of(&mut self, id: ConnectionId) -> Option<&mut Session> {
        let session = self.connections.get(id)?.session;
        self.sessions.get_mut(session)
    }

    fn tell_subscribe_refused(&mut self, id: ConnectionId, filter: &str, refusal: &Refusal) {
        self.out.counters.subscriptions_refused += 1;
        let kind = EventKind::SubscribeRefused {
            filter: filter.into(),
            reason: refusal.reason,
            error: refusal.error,
        };
        self.tell(id, kind);
    }
}
