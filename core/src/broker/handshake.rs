//! From CONNECT to CONNACK.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use core::num::{NonZeroU16, NonZeroU32};

use super::authentication::proof;
use super::{Action, Broker, Cause, Event, EventKind};
use crate::connection::{
    AliasesToClient, Authentication, ConnectionId, Handshake, Offer, Paused, Secret, Stage, Step,
};
use crate::packet::{
    ConnAck, Connect, FixedHeader, Packet, Properties, Property, ProtocolVersion, QoS, ReasonCode,
};
use crate::permission::Grant;
use crate::session::{Expiry, Session, SessionId, Will};
use crate::topic;

/// The longest client identifier of MQTT 3.1, in characters.
const MAX_CHARS_V3_1: usize = 23;

impl Broker {
    /// CONNECT came: everything that can be said without knowing who it is, is said here.
    pub(super) fn connect(
        &mut self,
        id: ConnectionId,
        header: &FixedHeader,
        packet: &[u8],
    ) -> Result<(), Cause> {
        self.out.counters.connect_received += 1;
        let body = packet.get(header.header_len..).unwrap_or_default();
        let connect = match Connect::decode(header, body) {
            Ok(connect) => connect,
            Err(error) => {
                // [MQTT-3.1.4-1] of 3.1.1: where no return code fits, none is sent.
                let has_code = error.error.reason == ReasonCode::UnsupportedProtocolVersion;
                if let Some(version) = error.reply
                    && (version == ProtocolVersion::V5 || has_code)
                {
                    self.set_version(id, version);
                    self.set_limit(id, error.max_packet_size);
                    self.refuse_connect(id, error.error.reason, Some(error.error.what));
                }
                return Err(Cause::Protocol(error.error));
            }
        };
        self.set_version(id, connect.version);
        self.set_limit(id, connect.properties.maximum_packet_size());
        if let Some(connection) = self.connections.get_mut(id) {
            let wants_words = connect.properties.request_problem_information();
            connection.wants_words = wants_words.unwrap_or(true);
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
        // One that has no identifier gets one of this shard.
        let owner = self.peers.place().shard_of(connect.client_id);
        if owner != self.peers.place().index() && !connect.client_id.is_empty() {
            self.move_away(id, owner, packet);
            return Ok(());
        }
        let handshake = self.handshake(&connect);
        let authentication = connect.properties.authentication_method().map(|method| {
            let data = connect.properties.authentication_data();
            Box::new(Authentication::new(method, data, self.now))
        });
        if let Some(connection) = self.connections.get_mut(id) {
            connection.authentication = authentication;
        }
        if !self.welcome_fits(id, &handshake, None) {
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

    /// What is to be remembered of a CONNECT until its client is let in.
    fn handshake(&mut self, connect: &Connect<'_>) -> Handshake {
        let assigned = connect.client_id.is_empty();
        Handshake {
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
            session_expiry: asked_expiry(connect),
            receive_maximum: connect
                .properties
                .receive_maximum()
                .map_or(u16::MAX, NonZeroU16::get),
            topic_alias_maximum: connect.properties.topic_alias_maximum().unwrap_or(0),
            wants_response_information: connect
                .properties
                .request_response_information()
                .unwrap_or(false),
            will: connect
                .will
                .as_ref()
                .map(|will| Box::new(Will::from_packet(will))),
        }
    }

    /// Whether the client can even be told that it is let in.
    fn welcome_fits(&self, id: ConnectionId, handshake: &Handshake, data: Option<&[u8]>) -> bool {
        let method = self.method(id);
        let proof = proof(method.as_deref(), data);
        let information = self.information_for(id, handshake, &proof);
        let terms = self.terms(handshake, information.as_deref(), &proof);
        self.fits(id, &welcome(&terms, false))
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
        if let Some(will) = &connect.will {
            topic::check_name(will.topic, self.config.max_topic_levels).map_err(Cause::Topic)?;
            if is_reserved(will.topic) {
                return Err(Cause::NotSupported(ReasonCode::TopicNameInvalid));
            }
            // [MQTT-3.2.2-12] says so of the Maximum QoS that CONNACK would have announced.
            if will.qos > self.config.max_qos {
                return Err(Cause::NotSupported(ReasonCode::QoSNotSupported));
            }
            // [MQTT-3.2.2-13]
            if will.retain && !self.config.retain_available {
                return Err(Cause::NotSupported(ReasonCode::RetainNotSupported));
            }
        }
        Ok(())
    }

    /// Why a client whose credentials are good cannot come in all the same.
    fn obstacle(&self, id: ConnectionId, data: Option<&[u8]>) -> Option<ReasonCode> {
        let Stage::Authenticating(handshake) = &self.connections.get(id)?.stage else {
            return None;
        };
        let known = self.session_named(&handshake.client_id);
        let session = known.and_then(|id| self.sessions.get(id));
        if session.is_some_and(|it| it.local) {
            return Some(ReasonCode::ClientIdentifierNotValid);
        }
        if self.peers.are_overwhelmed() {
            return Some(ReasonCode::ServerBusy);
        }
        if known.is_none() && self.has_enough_sessions() {
            return Some(match self.config.server_reference {
                Some(_) => ReasonCode::UseAnotherServer,
                None => ReasonCode::QuotaExceeded,
            });
        }
        let is_stored = session.is_some_and(|it| it.rows.on_disk);
        if self.out.journal.is_failing
            && (is_stored
                || handshake.will.is_some()
                || self.granted_expiry(handshake) > Expiry::AT_ONCE)
        {
            return Some(ReasonCode::ServerUnavailable);
        }
        // Without data it was seen when CONNECT came.
        let fits = data.is_none() || self.welcome_fits(id, handshake, data);
        (!fits).then_some(ReasonCode::PacketTooLarge)
    }

    /// The client comes in.
    pub(super) fn let_in(&mut self, id: ConnectionId, grant: Grant, data: Option<&[u8]>) {
        if let Some(reason) = self.obstacle(id, data) {
            let is_full = matches!(
                reason,
                ReasonCode::QuotaExceeded | ReasonCode::UseAnotherServer
            );
            self.out.counters.sessions_over_limit += u64::from(is_full);
            return self.reject(id, reason);
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Stage::Authenticating(handshake) =
            core::mem::replace(&mut connection.stage, Stage::Open)
        else {
            return;
        };
        let mut handshake = *handshake;
        let noted = self.out.journal.noted_bytes;
        let (session, session_present) = self.session_for(id, &handshake);
        let keep_alive = self.granted_keep_alive(&handshake);
        let expiry = self.granted_expiry(&handshake);
        let aliases = self.aliases_to(&handshake);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.session = session;
        connection.since = self.now;
        connection.keep_alive = keep_alive;
        connection.window = handshake.receive_maximum;
        connection.offered = Offer::of(&self.config);
        connection.recovering = session_present;
        connection.aliases_to = aliases;
        if let Some(authentication) = &mut connection.authentication {
            authentication.answered(Step::Done, self.now);
        }
        let version = connection.version;
        let origin = connection.origin.clone();
        self.out.counters.admitted();
        if let Some(session) = self.sessions.get_mut(session) {
            session.grant = grant;
            session.will = handshake.will.take();
            session.expiry = expiry;
            session.asked_expiry = handshake.session_expiry;
        }
        self.cork(id, session, noted);
        {
            let method = self.method(id);
            let proof = proof(method.as_deref(), data);
            let information = self.information_for(id, &handshake, &proof);
            let terms = self.terms(&handshake, information.as_deref(), &proof);
            self.send(id, &welcome(&terms, session_present));
        }
        self.out.tell(Event {
            connection: id,
            origin,
            client_id: Some(handshake.client_id),
            kind: EventKind::Connected {
                version,
                username: handshake.username,
                clean_start: handshake.clean_start,
                session_present,
                keep_alive,
            },
        });
        self.serve_connection(id);
        self.go_on(id, Paused::AUTHENTICATING);
    }

    /// The session that a client comes in with, and whether it was there before.
    fn session_for(&mut self, id: ConnectionId, handshake: &Handshake) -> (SessionId, bool) {
        // [MQTT-3.1.4-3] Only now, so that nobody is thrown out by someone who is not let in.
        if let Some(old) = self.take_over(&handshake.client_id, handshake.clean_start) {
            self.out.counters.sessions_resumed += 1;
            self.attach(old, id);
            return (old, true);
        }
        let client_id = Arc::clone(&handshake.client_id);
        let mut session = Session::new(client_id, Grant::default());
        session.connection = id;
        // What it published in an earlier one goes first.
        session.rows.owes = self.out.journal.ended_of(&session.client_id).owes;
        (self.begin_session(session), false)
    }

    /// CONNACK with a refusal. [MQTT-3.2.2-6]: session present is 0.
    pub(super) fn refuse_connect(
        &mut self,
        id: ConnectionId,
        reason: ReasonCode,
        what: Option<&str>,
    ) {
        let connack = Packet::ConnAck(ConnAck {
            session_present: false,
            reason,
            properties: Properties::EMPTY,
        });
        self.send_last(id, reason, what, &connack);
    }

    /// What CONNACK tells a client that is let in.
    fn terms<'a>(
        &self,
        handshake: &'a Handshake,
        information: Option<&'a str>,
        proof: &[Property<'a>],
    ) -> heapless::Vec<Property<'a>, 16> {
        let config = &self.config;
        let mut terms = heapless::Vec::new();
        let mut add = |property| {
            // There are fewer kinds of them below than places.
            let _ = terms.push(property);
        };
        let expiry = self.granted_expiry(handshake);
        if expiry != handshake.session_expiry {
            add(Property::SessionExpiryInterval(expiry.0));
        }
        add(Property::ReceiveMaximum(config.receive_window));
        if config.max_qos < QoS::ExactlyOnce {
            add(Property::MaximumQoS(config.max_qos));
        }
        if !config.retain_available {
            add(Property::RetainAvailable(false));
        }
        if let Some(size) = NonZeroU32::new(config.max_packet_size) {
            add(Property::MaximumPacketSize(size));
        }
        if handshake.assigned {
            add(Property::AssignedClientIdentifier(&handshake.client_id));
        }
        if config.max_topic_aliases > 0 {
            add(Property::TopicAliasMaximum(config.max_topic_aliases));
        }
        if !config.wildcard_subscriptions_available {
            add(Property::WildcardSubscriptionAvailable(false));
        }
        if !config.subscription_identifiers_available {
            add(Property::SubscriptionIdentifierAvailable(false));
        }
        if !config.shared_subscriptions_available {
            add(Property::SharedSubscriptionAvailable(false));
        }
        let keep_alive = self.granted_keep_alive(handshake);
        if keep_alive != handshake.keep_alive {
            add(Property::ServerKeepAlive(keep_alive));
        }
        if let Some(information) = information {
            add(Property::ResponseInformation(information));
        }
        proof.iter().copied().for_each(add);
        terms
    }

    /// What the client is told of where answers should go, if it asks ([MQTT-3.1.2-28]) and has
    /// room for it.
    fn information_for(
        &self,
        id: ConnectionId,
        handshake: &Handshake,
        proof: &[Property<'_>],
    ) -> Option<Box<str>> {
        let wanted = handshake.wants_response_information;
        let information = wanted.then(|| self.config.response_information.clone())??;
        let fits = {
            let terms = self.terms(handshake, Some(&information), proof);
            self.fits(id, &welcome(&terms, false))
        };
        fits.then_some(information)
    }

    /// How long the session outlives the connection: what the client asked for, or the maximum if
    /// that is less.
    fn granted_expiry(&self, handshake: &Handshake) -> Expiry {
        handshake
            .session_expiry
            .limited(self.config.max_session_expiry)
    }

    /// Room for the topic aliases that the client allows for ([MQTT-3.1.2-26], [MQTT-3.1.2-27]).
    fn aliases_to(&self, handshake: &Handshake) -> Option<Box<AliasesToClient>> {
        let ours = self.config.max_topic_aliases_to_client;
        let maximum = handshake.topic_alias_maximum.min(ours);
        (maximum > 0).then(|| Box::new(AliasesToClient::new(self.aliases, maximum)))
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

    /// Nothing larger than this goes to the client ([MQTT-3.1.2-24]).
    fn set_limit(&mut self, id: ConnectionId, size: Option<NonZeroU32>) {
        if let (Some(connection), Some(size)) = (self.connections.get_mut(id), size) {
            connection.max_packet_size = size.get();
        }
    }

    /// An identifier of this shard that nobody uses and nobody can guess.
    fn assign_identifier(&mut self) -> Arc<str> {
        loop {
            self.assigned += 1;
            let high = self.identifiers.hash_pair(0, &self.assigned.to_be_bytes());
            let low = self.identifiers.hash_pair(1, &self.assigned.to_be_bytes());
            let identifier = format!("auto-{high:016x}{low:016x}");
            if self.peers.place().owns(&identifier)
                && self.clients.get(identifier.as_str()).is_none()
            {
                return identifier.into();
            }
        }
    }
}

/// How long the session is to outlive its connection. Before MQTT 5 one that is not clean has no
/// end.
fn asked_expiry(connect: &Connect<'_>) -> Expiry {
    match connect.version {
        ProtocolVersion::V5 => Expiry(connect.properties.session_expiry_interval().unwrap_or(0)),
        _ if connect.clean_start => Expiry::AT_ONCE,
        _ => Expiry::NEVER,
    }
}

/// CONNACK for a client that is let in.
fn welcome<'a>(terms: &'a [Property<'a>], session_present: bool) -> Packet<'a> {
    Packet::ConnAck(ConnAck {
        session_present,
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
