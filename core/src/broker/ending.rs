//! How connections end, and what becomes of their sessions.

use alloc::vec::Vec;

use super::{Action, Broker, Cause, Event, EventKind};
use crate::connection::{Closed, Connection, ConnectionId, Input, Paused, Stage};
use crate::packet::{Disconnect, Packet, Properties, Property, ProtocolVersion, ReasonCode};
use crate::peer::PeerMessage;
use crate::session::SessionId;

impl Broker {
    /// The socket is gone. The handle is dead from now on.
    pub fn closed(&mut self, id: ConnectionId, how: Closed) {
        let cause = match how {
            Closed::EndOfStream => Cause::EndOfStream,
            Closed::Failed => Cause::SocketError,
        };
        if !self.connections.contains_key(id) {
            self.out.counters.stale_handles += 1;
            return;
        }
        let session = self.leave(id, cause);
        self.forget(id);
        self.leave_session(session);
    }

    /// Stops: no connection is opened any more, every will is published, every client hears that
    /// the broker is going, and where it should go instead if the configuration says so, every
    /// connection is closed. Where there are several shards, all of them have to be stopped: their
    /// clients leave once all wills have come.
    pub fn shut_down(&mut self) {
        self.stopping = true;
        // All wills first: who is still there is to hear of those who go with the broker.
        let sessions: Vec<SessionId> = self.sessions.keys().collect();
        for id in sessions {
            self.will_is_due(id);
        }
        if !self.has_parted {
            self.peers.push_to_all(|| PeerMessage::Farewell);
        }
        self.has_parted = true;
        self.end_all(|connection| !connection.is_open() || connection.corked > 0);
        // Wills still come to those who are in. They are not heard any more, nor answered.
        let open = self.connections.iter().filter(|(_, it)| it.is_open());
        for id in open.map(|(id, _)| id).collect::<Vec<_>>() {
            self.pause(id, Paused::STOP);
            if let Some(connection) = self.connections.get_mut(id) {
                connection.replies = None;
            }
        }
        self.part();
    }

    /// All wills of a peer that stops have come.
    pub(super) fn peer_parted(&mut self, from: u8) {
        self.parted.insert(from);
        self.part();
    }

    /// Ends every connection, if this shard is to stop and no will comes any more.
    pub(super) fn part(&mut self) {
        if !self.has_parted || !self.peers.up().without(self.parted).is_empty() {
            return;
        }
        self.end_all(|_| true);
    }

    fn end_all(&mut self, which: impl Fn(&Connection) -> bool) {
        let connections = self.connections.iter().filter(|(_, it)| which(it));
        let connections: Vec<ConnectionId> = connections.map(|(id, _)| id).collect();
        for id in connections {
            self.end(id, Cause::Shutdown);
        }
    }

    /// Ends a connection: the client is told why, where the protocol has words for it, and its
    /// session ends.
    pub(super) fn end(&mut self, id: ConnectionId, cause: Cause) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        if connection.is_closing() {
            return;
        }
        if connection.is_open() && connection.version == ProtocolVersion::V5 {
            self.send_disconnect(id, &cause);
        }
        let session = self.leave(id, cause);
        self.out.actions.push_back(Action::Close(id));
        self.set_timer(id);
        self.leave_session(session);
    }

    /// Ends a connection for what its client sent, or left unsent. One that may not come in yet
    /// hears it in CONNACK ([MQTT-4.12.0-4]).
    pub(super) fn break_off(&mut self, id: ConnectionId, cause: Cause) {
        let connection = self.connections.get(id);
        let waits = connection.is_some_and(|it| matches!(it.stage, Stage::Authenticating(_)));
        if waits && let Some(reason) = cause.reason_code() {
            self.refuse_connect(id, reason, cause.words());
        }
        self.end(id, cause);
    }

    /// Ends a connection without a word: its peer does not listen.
    pub(super) fn abort(&mut self, id: ConnectionId, cause: Cause) {
        let session = self.leave(id, cause);
        self.forget(id);
        self.out.actions.push_back(Action::Abort(id));
        self.leave_session(session);
    }

    /// A closed connection whose peer does not end its side.
    pub(super) fn drop_closing(&mut self, id: ConnectionId) {
        self.forget(id);
        self.out.actions.push_back(Action::Abort(id));
    }

    /// [MQTT-4.13.1-1] DISCONNECT with the reason, and in words where there are any.
    fn send_disconnect(&mut self, id: ConnectionId, cause: &Cause) {
        let reason = match cause {
            // Section 4.11
            Cause::Shutdown if self.config.server_reference.is_some() => {
                ReasonCode::UseAnotherServer
            }
            cause => match cause.reason_code() {
                Some(reason) => reason,
                None => return,
            },
        };
        let properties = Properties::EMPTY;
        let disconnect = Packet::Disconnect(Disconnect { reason, properties });
        self.send_last(id, reason, cause.words(), &disconnect);
    }

    /// Sends a refusal in CONNACK, or DISCONNECT: with the Server Reference if the reason is that
    /// the client should go elsewhere (sections 3.2.2.3.16, 3.14.2.2.5), and in words.
    pub(super) fn send_last(
        &mut self,
        id: ConnectionId,
        reason: ReasonCode,
        words: Option<&str>,
        packet: &Packet<'_>,
    ) {
        let server = match reason {
            ReasonCode::UseAnotherServer | ReasonCode::ServerMoved => {
                self.config.server_reference.clone()
            }
            _ => None,
        };
        let server = server.as_deref().map(Property::ServerReference);
        let server = server.filter(|server| server.wire_len() > 0); // It can be encoded.
        let words = words.map(Property::ReasonString);
        let properties: heapless::Vec<_, 2> = [server, words].into_iter().flatten().collect();
        self.send_with(id, &properties, packet);
    }

    /// Takes a connection out of its stage into the last one, counts why, and returns the session
    /// that is to end with it.
    fn leave(&mut self, id: ConnectionId, cause: Cause) -> Option<SessionId> {
        let connection = self.connections.get_mut(id)?;
        let stage = core::mem::replace(&mut connection.stage, Stage::Closing);
        connection.since = self.now;
        connection.input = Input::new();
        connection.authentication = None;
        connection.replies = None;
        connection.paused = Paused::default();
        let (client_id, session) = match stage {
            Stage::Closing => return None,
            Stage::AwaitingConnect | Stage::Moving(_) => (None, None),
            Stage::Authenticating(handshake) => (Some(handshake.client_id), None),
            Stage::Open => {
                let session = core::mem::take(&mut connection.session);
                (
                    self.sessions.get(session).map(|s| s.client_id.clone()),
                    Some(session),
                )
            }
        };
        self.out.counters.ended(&cause);
        if session.is_none() {
            self.out.counters.clients_refused += 1;
        } else {
            self.out.counters.clients_left += 1;
        }
        self.out.tell(Event {
            connection: id,
            origin: connection.origin.clone(),
            client_id,
            kind: EventKind::Disconnected {
                admitted: session.is_some(),
                cause,
            },
        });
        session
    }

    /// Frees what a connection holds.
    fn forget(&mut self, id: ConnectionId) {
        if let Some(mut connection) = self.connections.remove(id) {
            connection.outbox.clear(&mut self.out.pool);
        }
    }

    fn leave_session(&mut self, session: Option<SessionId>) {
        if let Some(session) = session {
            self.detach(session);
        }
    }
}
