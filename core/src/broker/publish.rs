//! PUBLISH from a client.

use core::time::Duration;

use super::handshake::{MAXIMUM_QOS, is_reserved};
use super::{Broker, Cause, EventKind};
use crate::connection::ConnectionId;
use crate::message::{Message, Original, owned_properties};
use crate::packet::{ProtocolError, ProtocolVersion, Publish, ReasonCode};
use crate::permission::Grant;
use crate::session::SessionId;
use crate::topic;

impl Broker {
    /// `packet` is the whole PUBLISH that was decoded to `publish`.
    pub(super) fn publish(
        &mut self,
        id: ConnectionId,
        version: ProtocolVersion,
        packet: &[u8],
        publish: &Publish<'_>,
    ) -> Result<(), Cause> {
        self.out.counters.publish_received += 1;
        // [MQTT-3.2.2-11]
        if publish.qos > MAXIMUM_QOS {
            return Err(Cause::NotSupported(ReasonCode::QoSNotSupported));
        }
        // [MQTT-3.3.2-9] CONNACK announced no Topic Alias Maximum: it is 0.
        if publish.properties.topic_alias().is_some() {
            return Err(Cause::Protocol(ALIAS_ABOVE_MAXIMUM));
        }
        topic::check_name(publish.topic, self.config.max_topic_levels).map_err(Cause::Topic)?;
        let Some(from) = self
            .connections
            .get(id)
            .map(|connection| connection.session)
        else {
            return Ok(());
        };
        let Some(session) = self.sessions.get(from) else {
            return Ok(());
        };
        if is_reserved(publish.topic) {
            self.refuse_publish(id, publish.topic, ReasonCode::TopicNameInvalid);
            return Ok(());
        }
        if !session.grant.may_publish(publish.topic) {
            self.refuse_publish(id, publish.topic, ReasonCode::NotAuthorized);
            return Ok(());
        }
        let message = Message {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.properties.as_wire().unwrap_or_default(),
            expiry: None,
            packet: Some(Original {
                bytes: packet,
                version,
            }),
        };
        if publish.retain {
            let properties = owned_properties(&publish.properties);
            let expiry = publish.properties.message_expiry_interval();
            if !self.retain(&message, &properties, expiry) {
                self.tell_refused(id, publish.topic, ReasonCode::QuotaExceeded);
            }
        }
        self.route(from, &message);
        Ok(())
    }

    /// Publishes the will of a client that is gone: to whom it may concern, if the client may.
    pub(super) fn publish_will(&mut self, will: &crate::session::Will, grant: &Grant) {
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
        };
        if will.retain {
            // A full store is counted there; nobody is left to be told.
            let _ = self.retain(&message, &will.properties, will.expiry);
        }
        self.route(SessionId::default(), &message);
    }

    /// Keeps the message as its topic's retained one, or, if it is empty, forgets that one
    /// ([MQTT-3.3.1-5], [MQTT-3.3.1-6]). False if there is no room.
    fn retain(&mut self, message: &Message<'_>, properties: &[u8], expiry: Option<u32>) -> bool {
        if message.payload.is_empty() {
            self.retained.clear(message.topic);
            return true;
        }
        let expires = expiry.map(|seconds| self.now.after(Duration::from_secs(u64::from(seconds))));
        let (max, max_bytes) = (self.config.max_retained, self.config.max_retained_bytes);
        let kept = self
            .retained
            .set(message, properties, expires, max, max_bytes)
            .is_ok();
        if !kept {
            // The one that is there is out of date now.
            self.retained.clear(message.topic);
            self.out.counters.retained_over_limit += 1;
        }
        kept
    }

    /// A message goes no further. Its publisher cannot be told at QoS 0; the log is.
    fn refuse_publish(&mut self, id: ConnectionId, topic: &str, reason: ReasonCode) {
        self.out.counters.publish_refused += 1;
        self.tell_refused(id, topic, reason);
    }

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
