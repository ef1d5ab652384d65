//! PUBACK, PUBREC, PUBREL and PUBCOMP from a client. What each does is in the tables of
//! `session::Outgoing` and `session::Incoming`.

use super::reply::Answer as Reply;
use super::{Broker, Cause};
use crate::connection::ConnectionId;
use crate::packet::{Ack, Packet, PacketId, Properties, ProtocolError, ReasonCode};
use crate::session::{Answer, Outcome};

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
        let Some(session) = self.session_of(id) else {
            return Ok(());
        };
        match session.outgoing.answer(packet_id, answer, now) {
            Outcome::Done(delivery) => {
                self.out.in_flight -= 1;
                if let Some(delivery) = delivery {
                    self.out.release(delivery);
                }
                self.serve_connection(id);
            }
            Outcome::Release(delivery) => {
                if let Some(delivery) = delivery {
                    self.out.release(delivery);
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

    /// PUBREL: the client releases an identifier.
    pub(super) fn released(&mut self, id: ConnectionId, packet_id: PacketId) {
        let Some(session) = self.session_of(id) else {
            return;
        };
        let was_held = session.incoming.release(packet_id);
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
