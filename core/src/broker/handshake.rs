//! From CONNECT to CONNACK.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use core::num::{NonZeroU16, NonZeroU32};

use super::{Action, Broker, Cause, Event, EventKind};
use crate::connection::{ConnectionId, Handshake, Paused, Secret, Stage};
use crate::packet::{
    ConnAck, Connect, Packet, Properties, Property, ProtocolVersion, QoS, ReasonCode,
};
use crate::permission::Grant;
use crate::session::{Session, Subscriptions, Will};
use crate::topic;

/// The longest client identifier of MQTT 3.1, in characters.
const MAX_CHARS_V3_1: usize = 23;

impl Broker {
    /// CONNECT came: everything that can be said without knowing who it is, is said here.
    pub(super) fn connect(&mut self, id: ConnectionId, body: &[u8]) -> Result<(), Cause> {
        let connect = match Connect::decode(body) {
            Ok(connect) => connect,
            Err(error) => {
                // [MQTT-3.1.4-1] of 3.1.1: where no return code fits, none is sent.
                let has_code = error.error.reason == ReasonCode::UnsupportedProtocolVersion;
                if let Some(version) = error.reply
                    && (version == ProtocolVersion::V5 || has_code)
                {
                    self.set_version(id, version);
                    self.refuse_connect(id, error.error.reason, Some(error.error.what));
                }
                return Err(Cause::Protocol(error.error));
            }
        };
        self.set_version(id, connect.version);
        if let Some(connection) = self.connections.get_mut(id)
            && let Some(size) = connect.properties.maximum_packet_size()
        {
            connection.max_packet_size = size.get();
        }
        if let Err(cause) = self.check_connect(&connect) {
            let what = match &cause {
                Cause::Topic(error) => Some(format!("will: {error}")),
                _ => None,
            };
            let reason = cause.reason_code().unwrap_or(ReasonCode::UnspecifiedError);
            self.refuse_connect(id, reason, what.as_deref());
            return Err(cause);
        }
        let assigned = connect.client_id.is_empty();
        let handshake = Handshake {
            client_id: if assigned {
                self.assign_identifier()
            } else {
                connect.client_id.into()
            },
            assigned,
            username: connect.username.map(Into::into),
            password: connect.password.map(|password| Secret(password.into())),
            clean_start: connect.clean_start,
            keep_alive: connect.keep_alive,
            session_expiry: connect.properties.session_expiry_interval().unwrap_or(0),
            will: connect
                .will
                .as_ref()
                .map(|will| Box::new(Will::from_packet(will))),
        };
        // A client that could not even be told that it is let in.
        if !self.fits(id, &welcome(&self.terms(&handshake))) {
            let reason = ReasonCode::PacketTooLarge;
            self.refuse_connect(id, reason, None);
            return Err(Cause::Refused(reason));
        }
        if let Some(connection) = self.connections.get_mut(id) {
            connection.stage = Stage::Authenticating(Box::new(handshake));
            connection.since = self.now;
        }
        self.pause(id, Paused::AUTHENTICATING);
        self.out.actions.push_back(Action::Authenticate(id));
        self.set_timer(id);
        Ok(())
    }

    /// What is wrong with a CONNECT that is well-formed.
    fn check_connect(&self, connect: &Connect<'_>) -> Result<(), Cause> {
        let len = connect.client_id.chars().count();
        let valid = match connect.version {
            ProtocolVersion::V3_1 => (1..=MAX_CHARS_V3_1).contains(&len),
            // [MQTT-3.1.3-8] of 3.1.1: without an identifier there is no session to come back to.
            ProtocolVersion::V3_1_1 => len > 0 || connect.clean_start,
            ProtocolVersion::V5 => true,
        };
        if !valid || connect.client_id.len() > self.config.max_client_id_len {
            return Err(Cause::Refused(ReasonCode::ClientIdentifierNotValid));
        }
        if connect.properties.authentication_method().is_some() {
            return Err(Cause::Refused(ReasonCode::BadAuthenticationMethod));
        }
        if let Some(will) = &connect.will {
            topic::check_name(will.topic, self.config.max_topic_levels).map_err(Cause::Topic)?;
            if is_reserved(will.topic) {
                return Err(Cause::NotSupported(ReasonCode::TopicNameInvalid));
            }
            // [MQTT-3.2.2-12] says so of the Maximum QoS that CONNACK would have announced.
            if will.qos > MAXIMUM_QOS {
                return Err(Cause::NotSupported(ReasonCode::QoSNotSupported));
            }
        }
        Ok(())
    }

    /// The credentials are good: the client comes in, and whoever used its identifier goes.
    pub fn admit(&mut self, id: ConnectionId, grant: Grant) {
        let Some(connection) = self.connections.get_mut(id) else {
            self.out.counters.stale_handles += 1;
            return;
        };
        if !matches!(connection.stage, Stage::Authenticating(_)) {
            return;
        }
        let Stage::Authenticating(handshake) =
            core::mem::replace(&mut connection.stage, Stage::Open)
        else {
            return;
        };
        // [MQTT-3.1.4-3] Only now, so that nobody is thrown out by someone who is not let in.
        if let Some(old) = self.clients.get(&handshake.client_id)
            && let Some(old) = self.sessions.get(*old)
        {
            self.end(old.connection, Cause::TakenOver);
        }
        let keep_alive = self.granted_keep_alive(&handshake);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.since = self.now;
        connection.keep_alive = keep_alive;
        let version = connection.version;
        let origin = connection.origin.clone();
        let session = self.sessions.insert(Session {
            connection: id,
            merged: (0, 0),
            grant,
            subscriptions: Subscriptions::default(),
            replays: alloc::collections::BTreeMap::new(),
            replay_queued: false,
            asked_to_stay: handshake.session_expiry > 0,
            will: None,
            client_id: Arc::clone(&handshake.client_id),
        });
        connection.session = session;
        self.clients
            .insert(Arc::clone(&handshake.client_id), session);
        self.out.counters.clients_admitted += 1;
        {
            let terms = self.terms(&handshake);
            self.send(id, &welcome(&terms));
        }
        let handshake = *handshake;
        if let Some(session) = self.sessions.get_mut(session) {
            session.will = handshake.will;
        }
        self.out.tell(Event {
            connection: id,
            origin,
            client_id: Some(handshake.client_id),
            kind: EventKind::Connected {
                version,
                username: handshake.username,
                clean_start: handshake.clean_start,
                keep_alive,
            },
        });
        self.go_on(id, Paused::AUTHENTICATING);
    }

    /// The credentials are not good: CONNACK says so, with `reason`, and the connection ends.
    pub fn refuse(&mut self, id: ConnectionId, reason: ReasonCode) {
        let Some(connection) = self.connections.get_mut(id) else {
            self.out.counters.stale_handles += 1;
            return;
        };
        if !matches!(connection.stage, Stage::Authenticating(_)) {
            return;
        }
        let reason = if reason.is_error() {
            reason
        } else {
            ReasonCode::NotAuthorized
        };
        self.refuse_connect(id, reason, None);
        self.end(id, Cause::Refused(reason));
    }

    /// CONNACK with a refusal. [MQTT-3.2.2-6]: session present is 0.
    fn refuse_connect(&mut self, id: ConnectionId, reason: ReasonCode, what: Option<&str>) {
        self.send_with_words(id, what, |properties| {
            Packet::ConnAck(ConnAck {
                session_present: false,
                reason,
                properties,
            })
        });
    }

    /// What CONNACK tells a client that is let in.
    fn terms<'a>(&self, handshake: &'a Handshake) -> heapless::Vec<Property<'a>, 8> {
        let mut terms = heapless::Vec::new();
        let mut add = |property| {
            // There are fewer kinds of them below than places.
            let _ = terms.push(property);
        };
        if handshake.session_expiry > 0 {
            add(Property::SessionExpiryInterval(0));
        }
        add(Property::MaximumQoS(MAXIMUM_QOS));
        if let Some(size) = NonZeroU32::new(self.config.max_packet_size) {
            add(Property::MaximumPacketSize(size));
        }
        if handshake.assigned {
            add(Property::AssignedClientIdentifier(&handshake.client_id));
        }
        add(Property::SharedSubscriptionAvailable(false));
        let keep_alive = self.granted_keep_alive(handshake);
        if keep_alive != handshake.keep_alive {
            add(Property::ServerKeepAlive(keep_alive));
        }
        terms
    }

    /// The keep-alive in force: what the client asked for, or the maximum if that is less or if it
    /// asked for none.
    fn granted_keep_alive(&self, handshake: &Handshake) -> u16 {
        match self.config.max_keep_alive.map(NonZeroU16::get) {
            Some(maximum) if handshake.keep_alive == 0 || handshake.keep_alive > maximum => maximum,
            _ => handshake.keep_alive,
        }
    }

    fn set_version(&mut self, id: ConnectionId, version: ProtocolVersion) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.version = version;
        }
    }

    /// An identifier that nobody uses and nobody can guess.
    fn assign_identifier(&mut self) -> Arc<str> {
        loop {
            self.assigned += 1;
            let high = self.identifiers.hash_pair(0, &self.assigned.to_be_bytes());
            let low = self.identifiers.hash_pair(1, &self.assigned.to_be_bytes());
            let identifier = format!("auto-{high:016x}{low:016x}");
            if self.clients.get(identifier.as_str()).is_none() {
                return identifier.into();
            }
        }
    }
}

/// The highest QoS that is kept, so far.
pub(super) const MAXIMUM_QOS: QoS = QoS::AtMostOnce;

/// CONNACK for a client that is let in.
fn welcome<'a>(terms: &'a [Property<'a>]) -> Packet<'a> {
    Packet::ConnAck(ConnAck {
        session_present: false,
        reason: ReasonCode::Success,
        properties: Properties::from_slice(terms),
    })
}

/// Topics that clients cannot publish to: what the broker itself says, and names that could never
/// be subscribed to.
pub(super) fn is_reserved(topic: &str) -> bool {
    topic.starts_with('$')
        && ["$SYS", "$share"].iter().any(|reserved| {
            topic
                .strip_prefix(reserved)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}
