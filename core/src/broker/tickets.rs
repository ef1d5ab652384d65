//! Publishers that wait for what peers say of a message.
//!
//! A message of QoS 1 or 2 that goes to peers takes a ticket, whatever their number. Its answer
//! relies on the ticket, and tickets are settled in their order: so an answer relies on all before
//! it, which is simple, and enough.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::Broker;
use super::reply::{Answer, reason_as_told};
use super::routed::Routed;
use crate::connection::ConnectionId;
use crate::packet::{PacketId, ProtocolVersion, QoS};
use crate::peer::Exception;
use crate::session::SessionId;

/// The tickets that are not settled, oldest first. They are numbered from 1 on.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    settled: u64,
    open: VecDeque<Ticket>,
    /// The bytes of their messages: what peers may not have stored yet. And the bytes of all that
    /// there ever were.
    open_bytes: usize,
    pub(super) noted_bytes: u64,
}

#[derive(Debug, Default)]
struct Ticket {
    /// How many messages in links are not answered, and the bytes of one.
    unanswered: u32,
    bytes: usize,
    /// What became of it, here and where it is known.
    outcome: Routed,
    publisher: Option<Publisher>,
}

/// Whom a ticket is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Publisher {
    pub(super) session: SessionId,
    pub(super) connection: ConnectionId,
    pub(super) version: ProtocolVersion,
    /// The number of the answer among those that wait for the connection.
    pub(super) reply: u64,
    pub(super) packet_id: PacketId,
    pub(super) qos: QoS,
}

impl Tickets {
    /// Takes a ticket for a message of so many bytes that goes into so many links.
    pub(super) fn take(&mut self, links: u32, bytes: usize) -> u64 {
        self.open_bytes += bytes;
        self.noted_bytes += bytes as u64;
        self.open.push_back(Ticket {
            unanswered: links,
            bytes,
            ..Ticket::default()
        });
        self.settled + self.open.len() as u64
    }

    /// The bytes of the messages of which peers have not said that they are safe.
    pub(super) fn open_bytes(&self) -> usize {
        self.open_bytes
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Ticket> {
        let place = number.checked_sub(self.settled + 1)?;
        self.open.get_mut(usize::try_from(place).ok()?)
    }

    /// Says whom a ticket is for, and what became of its message here.
    pub(super) fn assign(&mut self, number: u64, publisher: Publisher, outcome: Routed) {
        if let Some(ticket) = self.get_mut(number) {
            ticket.publisher = Some(publisher);
            ticket.outcome.add(outcome);
        }
    }

    /// The message goes into one more link.
    pub(super) fn extend(&mut self, number: u64) {
        if let Some(ticket) = self.get_mut(number) {
            ticket.unanswered += 1;
        }
    }

    /// More is known of what became of a message.
    pub(super) fn add(&mut self, number: u64, outcome: Routed) {
        if let Some(ticket) = self.get_mut(number) {
            ticket.outcome.add(outcome);
        }
    }

    /// One link has answered, or never will.
    pub(super) fn answered(&mut self, number: u64) {
        if let Some(ticket) = self.get_mut(number) {
            ticket.unanswered = ticket.unanswered.saturating_sub(1);
        }
    }

    /// The oldest ticket, if nothing is unanswered.
    fn pop(&mut self) -> Option<Ticket> {
        if self.open.front()?.unanswered > 0 {
            return None;
        }
        self.settled += 1;
        let ticket = self.open.pop_front();
        self.open_bytes -= ticket.as_ref().map_or(0, |it| it.bytes);
        if self.open.is_empty() {
            self.open = VecDeque::new();
        }
        ticket
    }
}

impl Broker {
    /// A peer has said what became of all messages up to a number; `exceptions` are those that were
    /// not simply taken.
    pub(super) fn peer_stored(&mut self, peer: u8, upto: u64, exceptions: &[Exception]) {
        let Some(link) = self.peers.link_mut(peer) else {
            return;
        };
        let mut debts = Vec::new();
        while let Some(awaited) = link.answered(upto) {
            let exception = exceptions.binary_search_by_key(&awaited.number, |it| it.number);
            let outcome = match exception.ok().and_then(|at| exceptions.get(at)) {
                Some(exception) => Routed {
                    matched: exception.matched as usize,
                    refused: exception.refused as usize,
                    ..Routed::default()
                },
                None if awaited.delivered => Routed::taken(),
                None => Routed::default(),
            };
            self.tickets.add(awaited.ticket, outcome);
            self.tickets.answered(awaited.ticket);
            debts.push(awaited.owed);
        }
        for owed in debts {
            self.paid(owed);
        }
        self.settle_tickets();
    }

    /// Nobody waits for a peer any more.
    pub(super) fn give_up_waiting_for(&mut self, peer: u8) {
        if let Some(link) = self.peers.link_mut(peer) {
            let mut debts = Vec::new();
            while let Some(awaited) = link.answered(u64::MAX) {
                self.tickets.answered(awaited.ticket);
                debts.push(awaited.owed);
            }
            for owed in debts {
                self.paid(owed);
            }
        }
        self.settle_tickets();
    }

    pub(super) fn settle_tickets(&mut self) {
        let before = self.tickets.settled;
        while let Some(ticket) = self.tickets.pop() {
            if let Some(publisher) = ticket.publisher {
                self.tell_outcome(&publisher, ticket.outcome);
            }
        }
        if self.tickets.settled > before {
            self.progress_to_ticket(self.tickets.settled);
        }
    }

    /// Puts what became of a message everywhere into the answer that waits for it.
    fn tell_outcome(&mut self, publisher: &Publisher, outcome: Routed) {
        if outcome.matched == 0 && outcome.refusal.is_none() {
            self.out.counters.publish_without_subscriber += 1;
        }
        let is_error = reason_as_told(publisher.version, outcome.reason()).is_error();
        let mut was_held = false;
        if is_error
            && publisher.qos == QoS::ExactlyOnce
            && let Some(session) = self.sessions.get_mut(publisher.session)
        {
            // PUBREC with an error ends the exchange (section 4.3.3).
            was_held = session.incoming.release(publisher.packet_id);
            if was_held && session.rows.durable {
                let (id, packet_id) = (publisher.session, publisher.packet_id);
                let journal = &mut self.out.journal;
                session.relies.batch = journal.incoming(id, packet_id, self.now);
            }
        }
        if let Some(connection) = self.connections.get_mut(publisher.connection)
            && let Some(replies) = &mut connection.replies
        {
            if was_held {
                connection.unreleased = connection.unreleased.saturating_sub(1);
            }
            if let Some(reply) = replies.get_mut(publisher.reply)
                && let Answer::Published { outcome: told, .. } = &mut reply.answer
            {
                *told = outcome;
            }
        } else if was_held {
            self.correct_repeated(publisher, outcome);
        }
    }

    /// The publisher of a message that was refused is on another connection, and may have repeated
    /// it there: the answer to that is the same.
    fn correct_repeated(&mut self, publisher: &Publisher, outcome: Routed) {
        let session = self.sessions.get(publisher.session);
        let connection = session.map(|session| session.connection);
        if let Some(connection) = connection.and_then(|id| self.connections.get_mut(id))
            && let Some(replies) = &mut connection.replies
        {
            for reply in replies.iter_mut() {
                if let Answer::Published {
                    packet_id,
                    qos: QoS::ExactlyOnce,
                    outcome: told,
                } = &mut reply.answer
                    && *packet_id == publisher.packet_id
                {
                    *told = outcome;
                }
            }
        }
    }
}
