//! PUBACK, PUBREC, PUBREL and PUBCOMP from a client. What each does is in the tables of
//! `session::Outgoing` and `session::Incoming`.

use super::reply::Answer as Reply;
use super::{Broker, Cause};
use crate::connection::ConnectionId;
use crate::packet::{Ack, Packet, PacketId, Properties, ProtocolError, ReasonCode};
use crate::session::{Answer, Delivery, Outcome, SessionId};

impl Broker {
    /// PUBACK, PUBREC or PUBCOMP: the client answers for a message in flight to it.
    pub(super) fn answered(
        &mut self,
        id: ConnectionId,
        packet_id: PacketId,
        answer: Answer,
        is_error: bool,
    ) -> Result<(), Cause> {
        let now = self.now;
        if is_error {
            self.out.counters.refused_by_receiver += 1;
        }
        let Some(connection) = self.connections.get(id) else {
            return Ok(());
        };
        let Some(session) = self.sessions.get_mut(connection.session) else {
            return Ok(());
        };
        match session.outgoing.answer(packet_id, answer, now) {
            Outcome::Done(it) => {
                self.out.release_exchange(session, it);
                self.serve_connection(id);
            }
            Outcome::Release(delivery) => {
                let session_id = connection.session;
                if let Some(delivery) = delivery {
                    self.received_by(session_id, packet_id, delivery);
                }
                self.reply(id, Reply::Release(packet_id));
            }
            Outcome::Unknown => {
                self.out.counters.unknown_packet_ids += 1;
                if answer == Answer::Received {
                    self.send(id, &Packet::PubRel(unknown(packet_id)));
                }
            }
            Outcome::Violation => return Err(Cause::Protocol(OUT_OF_STEP)),
        }
        Ok(())
    }

    /// The client of a session has a message of QoS 2 for sure: PUBREL follows, once the store
    /// knows.
    fn received_by(&mut self, id: SessionId, packet_id: PacketId, delivery: Delivery) {
        let now = self.now;
        if let Some(session) = self.sessions.get_mut(id)
            && let Some((number, entry)) = session.outgoing.in_flight_as(packet_id)
            && entry.row.place > 0
        {
            let journal = &mut self.out.journal;
            let batch = journal.renew(id, &mut entry.row, number, now);
            journal.unrefer(&mut entry.row, &delivery.message, now);
            session.relies.batch = journal.await_open();
            journal.to_serve.push_back((batch, id));
        }
        self.out.owed -= 1;
        self.out.release_kept(delivery.message);
    }

    /// PUBREL: the client releases an identifier.
    pub(super) fn released(&mut self, id: ConnectionId, packet_id: PacketId) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let session_id = connection.session;
        let Some(session) = self.sessions.get_mut(session_id) else {
            return;
        };
        let was_held = session.incoming.release(packet_id);
        if was_held && session.rows.durable {
            // Or a crash would make the client's next message under it look like this one.
            let journal = &mut self.out.journal;
            session.relies.batch = journal.incoming(session_id, packet_id, self.now);
        }
        let connection = self.connections.get_mut(id);
        let reason = match connection {
            Some(connection) if was_held => {
                // One held from an earlier connection makes room as well.
                connection.unreleased = connection.unreleased.saturating_sub(1);
                ReasonCode::Success
            }
            // It was released, and PUBCOMP was lost with the last connection. That is no error
            // (section 3.7.2.1), and not every client knows.
            Some(connection) if connection.recovering => ReasonCode::Success,
            _ => {
                self.out.counters.unknown_packet_ids += 1;
                ReasonCode::PacketIdentifierNotFound
            }
        };
        self.reply(id, Reply::Complete(packet_id, reason));
    }
}

/// The answer to a PUBREC of an identifier that is not in use, so that the exchange ends at
/// the client as well.
fn unknown<'a>(packet_id: PacketId) -> Ack<'a> {
    Ack {
        packet_id,
        reason: ReasonCode::PacketIdentifierNotFound,
        properties: Properties::EMPTY,
    }
}

const OUT_OF_STEP: ProtocolError = ProtocolError::violation(
    "4.3",
    "an acknowledgement that does not fit the QoS and state of its message",
);
