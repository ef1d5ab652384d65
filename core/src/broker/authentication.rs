//! Enhanced authentication (section 4.12), and what the program answers about any client.
//!
//! The program is asked by [`Action::Authenticate`]: may this client come in, or, of one that is in
//! and authenticates again, may it stay? The steps of an exchange are a table in
//! `connection/authentication.rs`; this is what the client hears of each answer:
//!
//! | answer | a client to be let in | a client that is in |
//! | --- | --- | --- |
//! | [`Broker::admit_with`] | CONNACK | AUTH 0x00; the new grant holds at once |
//! | [`Broker::challenge`] | AUTH 0x18 | AUTH 0x18 |
//! | [`Broker::refuse`] | CONNACK with the reason | DISCONNECT with the reason |
//! | none in time | CONNACK 0x88 | DISCONNECT 0x89 |
//!
//! With the last two the connection ends. A client that does not answer a challenge in time is
//! refused: 0x87.

use alloc::sync::Arc;

use super::{Action, Broker, Cause, EventKind};
use crate::connection::{ConnectionId, Paused, Question, Step};
use crate::packet::{Auth, Packet, Properties, Property, ProtocolError, ReasonCode};
use crate::permission::Grant;

impl Broker {
    /// The credentials are good: the client comes in, and whoever used its identifier goes. One
    /// that is in already and has authenticated again has this grant from now on.
    pub fn admit(&mut self, id: ConnectionId, grant: Grant) {
        self.admit_with(id, grant, None);
    }

    /// The same, with authentication data for the client. One that named no authentication method
    /// gets none ([MQTT-4.12.0-6]).
    pub fn admit_with(&mut self, id: ConnectionId, grant: Grant, data: Option<&[u8]>) {
        match self.asked(id) {
            Some(Question::LetIn) => self.let_in(id, grant, data),
            Some(Question::KeepIn) => self.keep_in(id, grant, data),
            None => {}
        }
    }

    /// What the client has sent is not enough: it gets AUTH with `data`, and what it answers is to
    /// be examined too. A client that named no authentication method cannot answer and is refused
    /// ([MQTT-4.12.0-6]); so is one that was challenged as often as [`Config`](super::Config)
    /// allows.
    pub fn challenge(&mut self, id: ConnectionId, data: Option<&[u8]>) {
        if self.asked(id).is_none() {
            return;
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(authentication) = &mut connection.authentication else {
            return self.reject(id, ReasonCode::NotAuthorized);
        };
        if authentication.rounds >= self.config.max_auth_rounds {
            return self.reject(id, ReasonCode::QuotaExceeded);
        }
        authentication.rounds += 1;
        authentication.answered(Step::Challenged, self.now);
        // [MQTT-4.12.0-2]
        if !self.send_auth(id, ReasonCode::ContinueAuthentication, data) {
            return self.reject(id, ReasonCode::PacketTooLarge);
        }
        self.set_timer(id);
        self.go_on(id, Paused::AUTHENTICATING);
    }

    /// The credentials are not good: the client is told `reason`, and the connection ends.
    pub fn refuse(&mut self, id: ConnectionId, reason: ReasonCode) {
        if self.asked(id).is_some() {
            self.reject(id, reason);
        }
    }

    /// What the program was asked about a client; nothing if it has answered.
    fn asked(&mut self, id: ConnectionId) -> Option<Question> {
        let connection = self.connections.get(id);
        if connection.is_none() {
            self.out.counters.stale_handles += 1;
        }
        connection?.question()
    }

    /// A client has shown again who it is.
    fn keep_in(&mut self, id: ConnectionId, grant: Grant, data: Option<&[u8]>) {
        if !self.send_auth(id, ReasonCode::Success, data) {
            return self.reject(id, ReasonCode::PacketTooLarge);
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if let Some(authentication) = &mut connection.authentication {
            authentication.answered(Step::Done, self.now);
        }
        if let Some(session) = self.sessions.get_mut(connection.session) {
            session.grant = grant;
        }
        self.tell(id, EventKind::Reauthenticated);
        self.go_on(id, Paused::AUTHENTICATING);
    }

    /// The client does not come in, or, if it is in, does not stay ([MQTT-4.12.0-4],
    /// [MQTT-4.12.1-2]). It is told why in a code that its packet may carry.
    pub(super) fn reject(&mut self, id: ConnectionId, reason: ReasonCode) {
        let is_in = self.connections.get(id).is_some_and(|it| it.is_open());
        let reason = match (is_in, reason) {
            (true, ReasonCode::ServerUnavailable) => ReasonCode::ServerBusy,
            (true, reason) if reason.may_end() => reason,
            (false, reason) if reason.may_refuse() => reason,
            _ => ReasonCode::NotAuthorized,
        };
        self.break_off(id, Cause::Refused(reason));
    }

    /// An examination, or the answer to a challenge, has taken too long.
    pub(super) fn authentication_overdue(&mut self, id: ConnectionId) {
        if self
            .connections
            .get(id)
            .is_some_and(|it| it.question().is_some())
        {
            self.reject(id, ReasonCode::ServerUnavailable);
        } else {
            self.break_off(id, Cause::ChallengeTimeout);
        }
    }

    /// What an otherwise silent client may send after a challenge and before CONNACK.
    pub(super) fn packet_of_exchange(
        &mut self,
        id: ConnectionId,
        packet: &Packet<'_>,
    ) -> Result<(), Cause> {
        match packet {
            Packet::Auth(auth) => {
                self.auth(id, auth)?;
                self.pause(id, Paused::AUTHENTICATING);
                Ok(())
            }
            Packet::Disconnect(disconnect) => Err(Cause::ClientDisconnect(disconnect.reason)),
            // The others were refused when their first byte came.
            _ => Ok(()),
        }
    }

    /// AUTH from the client.
    pub(super) fn auth(&mut self, id: ConnectionId, auth: &Auth<'_>) -> Result<(), Cause> {
        let Some(connection) = self.connections.get_mut(id) else {
            return Ok(());
        };
        let Some(authentication) = &mut connection.authentication else {
            return Err(Cause::Protocol(WITHOUT_METHOD));
        };
        let is_again = auth.reason == ReasonCode::ReAuthenticate;
        if auth.properties.authentication_method() != Some(&*authentication.method) {
            return Err(Cause::Protocol(match is_again {
                true => OTHER_METHOD_AGAIN,
                false => OTHER_METHOD,
            }));
        }
        match (authentication.step, is_again) {
            (Step::Done, true) => authentication.begin_again(self.now),
            (Step::Challenged, false) => {}
            (Step::Challenged | Step::Examined, true) => return Err(Cause::Protocol(NOT_DONE)),
            (Step::Done | Step::Examined, false) => return Err(Cause::Protocol(NO_CHALLENGE)),
        }
        authentication.examine(auth.properties.authentication_data(), self.now);
        self.out.actions.push_back(Action::Authenticate(id));
        self.set_timer(id);
        Ok(())
    }

    /// Sends AUTH; false if that cannot be, because the client does not take packets that large
    /// ([MQTT-3.1.2-24]) or MQTT has no room for as much data.
    fn send_auth(&mut self, id: ConnectionId, reason: ReasonCode, data: Option<&[u8]>) -> bool {
        let Some(method) = self.method(id) else {
            return false;
        };
        let proof = proof(Some(&method), data);
        let auth = Packet::Auth(Auth {
            reason,
            properties: Properties::from_slice(&proof),
        });
        let fits = self.fits(id, &auth);
        if fits {
            self.send(id, &auth);
        }
        fits
    }

    /// The authentication method of a client, if it named one.
    pub(super) fn method(&self, id: ConnectionId) -> Option<Arc<str>> {
        let authentication = self.connections.get(id)?.authentication.as_ref()?;
        Some(Arc::clone(&authentication.method))
    }
}

/// What AUTH and CONNACK say about an authentication ([MQTT-4.12.0-5]): nothing without a method.
pub(super) fn proof<'a>(
    method: Option<&'a str>,
    data: Option<&'a [u8]>,
) -> heapless::Vec<Property<'a>, 2> {
    let data = data.filter(|_| method.is_some());
    let method = method.map(Property::AuthenticationMethod);
    let data = data.map(Property::AuthenticationData);
    method.into_iter().chain(data).collect()
}

const WITHOUT_METHOD: ProtocolError =
    ProtocolError::violation("MQTT-4.12.0-7", "AUTH, but CONNECT named no method");
const OTHER_METHOD: ProtocolError = ProtocolError::violation(
    "MQTT-4.12.0-5",
    "AUTH names another method than CONNECT did",
);
const OTHER_METHOD_AGAIN: ProtocolError = ProtocolError::violation(
    "MQTT-4.12.1-1",
    "re-authentication names another method than CONNECT did",
);
const NO_CHALLENGE: ProtocolError =
    ProtocolError::violation("MQTT-4.12.0-3", "AUTH answers what was not asked");
const NOT_DONE: ProtocolError = ProtocolError::violation(
    "MQTT-4.12.0-3",
    "re-authentication while an authentication is under way",
);
