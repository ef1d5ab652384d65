//! What a session is owed: messages in flight to it, and those that wait.
//!
//! A message of QoS 1 or 2 waits in the queue until the window has room, then it is in flight under
//! a packet identifier until its exchange is over. What a client may answer, and what follows:
//!
//! | in flight as | PUBACK | PUBREC | PUBREC, error | PUBCOMP | sent again as |
//! | --- | --- | --- | --- | --- | --- |
//! | `Publish`, QoS 1 | done | violation | violation | violation | PUBLISH, DUP 1 |
//! | `Publish`, QoS 2 | violation | `Release`, PUBREL | done | violation | PUBLISH, DUP 1 |
//! | `Release` | violation | PUBREL again | done | done | PUBREL |
//! | nothing under that identifier | ignored | PUBREL, 0x92 | ignored | ignored | – |
//!
//! The first two are a [`Phase`]. "Done" frees the identifier and its place in the window; an error
//! in PUBACK or PUBREC discards the message ([MQTT-4.3.3-2] and its neighbours, [MQTT-4.8.2-6]).
//!
//! Messages are sent again only when a session goes on over a new connection ([MQTT-4.4.0-1]), in
//! the order in which they were sent first ([MQTT-4.6.0-1]); or, if so configured, to a client of
//! MQTT 3.x that leaves them unacknowledged.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::num::NonZeroU32;

use super::flight::{Flight, Sequence, packet_id};
use super::rare::Empty;
use super::row::Row;
use crate::message::Kept;
use crate::packet::{PacketId, QoS};
use crate::share::GroupId;
use crate::time::Instant;

/// A queue that has held more than this gives memory back while it gets shorter.
const KEEP: usize = 64;

/// The subscription identifiers of one delivery; nearly always none or one.
#[derive(Debug, Default)]
pub(crate) enum Identifiers {
    #[default]
    None,
    One(NonZeroU32),
    Several(Box<[u32]>),
}

impl Identifiers {
    pub(crate) fn collect(mut identifiers: impl Iterator<Item = u32> + Clone) -> Self {
        let all = identifiers.clone();
        let first = identifiers.next().and_then(NonZeroU32::new);
        match (first, identifiers.next()) {
            (None, _) => Self::None,
            (Some(one), None) => Self::One(one),
            (Some(_), Some(_)) => Self::Several(all.collect()),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        let (one, several) = match self {
            Self::None => (None, [].as_slice()),
            Self::One(one) => (Some(one.get()), [].as_slice()),
            Self::Several(several) => (None, several.as_ref()),
        };
        one.into_iter().chain(several.iter().copied())
    }
}

/// One message for one session.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Arc<Kept>,
    pub(crate) identifiers: Identifiers,
    /// The shared subscription that it came by; the null handle if by none.
    pub(crate) group: GroupId,
    pub(crate) qos: QoS,
    /// The RETAIN flag as it is to be sent.
    pub(crate) retain: bool,
    /// Whether it is sent because it was retained, rather than because it was published.
    pub(crate) replayed: bool,
    /// Whether it may have been sent before the broker was started.
    pub(crate) dup: bool,
    pub(crate) row: Row,
}

/// How far an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// PUBLISH was sent: PUBACK or PUBREC is to come.
    Publish,
    /// PUBREC came and PUBREL was sent: PUBCOMP is to come.
    Release,
}

/// A message in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) phase: Phase,
    /// `None` once the client has it for sure.
    pub(crate) delivery: Option<Delivery>,
    /// Its row, as long as it is in flight.
    pub(crate) row: Row,
    /// Whether it was never sent: it waits for its row to be committed, or for one before it.
    pub(crate) is_new: bool,
    /// When it was last sent.
    pub(crate) sent: Instant,
    /// How often it was sent again on this connection.
    pub(crate) repeats: u32,
}

/// What a client says of a message in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// PUBACK.
    Acknowledged,
    /// PUBREC.
    Received,
    /// PUBREC with an error.
    Rejected,
    /// PUBCOMP.
    Completed,
}

/// What follows from an answer.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The exchange is over. The message is here if it was still held, otherwise its row.
    Done(Result<Delivery, Row>),
    /// PUBREL is to be sent. The message is here if it was still held.
    Release(Option<Delivery>),
    /// Nothing is in flight under this identifier.
    Unknown,
    /// The client breaks the protocol.
    Violation,
}

/// Messages on their way to one client.
#[derive(Debug)]
pub(crate) struct Outgoing {
    flight: Flight<InFlight>,
    /// How many of those in flight were sent on this connection: they fill the window.
    in_window: u32,
    /// From the first number up to the second, messages are to be sent again on this connection.
    resend: (Sequence, Sequence),
    queue: VecDeque<Delivery>,
    /// How many in the queue are of QoS 0.
    waiting_qos0: usize,
    /// The place of the last message that was sent, if it has one.
    last_sent: u64,
    /// The bytes of all messages that are held here.
    bytes: usize,
    /// The bytes of those that wait.
    waiting_bytes: usize,
}

impl Empty for Outgoing {
    fn empty() -> &'static Self {
        static EMPTY: Outgoing = Outgoing::new();
        &EMPTY
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::new()
    }
}

impl Outgoing {
    const fn new() -> Self {
        Self {
            flight: Flight::new(),
            in_window: 0,
            resend: (0, 0),
            queue: VecDeque::new(),
            waiting_qos0: 0,
            last_sent: 0,
            bytes: 0,
            waiting_bytes: 0,
        }
    }

    /// How many messages wait or are in flight.
    pub(crate) fn len(&self) -> usize {
        self.queue.len() + self.flight.len()
    }

    /// How many exchanges are not over.
    pub(crate) fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// The bytes of those that wait.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The bytes of those that are held here.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing that only waits for room.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.is_resending()
    }

    /// Whether there may be messages to be sent again.
    #[inline]
    pub(crate) fn is_resending(&self) -> bool {
        self.resend.0 < self.resend.1
    }

    /// Whether the window has room for a message of QoS 1 or 2.
    #[inline]
    pub(crate) fn has_window(&self, window: u16) -> bool {
        self.in_window < u32::from(window)
    }

    /// Whether messages of QoS 0 wait, which later ones must not overtake ([MQTT-4.6.0-5]).
    #[inline]
    pub(crate) fn has_waiting_qos0(&self) -> bool {
        self.waiting_qos0 > 0
    }

    /// Appends a message to the queue.
    pub(crate) fn enqueue(&mut self, delivery: Delivery) {
        self.bytes += delivery.message.len();
        self.waiting_bytes += delivery.message.len();
        self.waiting_qos0 += usize::from(delivery.qos == QoS::AtMostOnce);
        self.queue.push_back(delivery);
    }

    /// The message that has waited longest.
    pub(crate) fn front(&self) -> Option<&Delivery> {
        self.queue.front()
    }

    /// Takes the message that has waited longest out.
    pub(crate) fn dequeue(&mut self) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        self.bytes -= delivery.message.len();
        self.waiting_bytes -= delivery.message.len();
        self.waiting_qos0 -= usize::from(delivery.qos == QoS::AtMostOnce);
        let (len, capacity) = (self.queue.len(), self.queue.capacity());
        if capacity > KEEP && len < capacity / 8 {
            self.queue.shrink_to(capacity / 4);
        }
        Some(delivery)
    }

    /// The identifier that the next message will be sent under.
    #[inline]
    pub(crate) fn next_packet_id(&mut self) -> PacketId {
        packet_id(self.flight.next())
    }

    /// A message was sent under the identifier that [`Outgoing::next_packet_id`] gave. Returns its
    /// number.
    #[inline]
    pub(crate) fn sent(&mut self, delivery: Delivery, now: Instant) -> Sequence {
        self.in_window += 1;
        self.last_sent = self.last_sent.max(delivery.row.place);
        self.push(delivery, false, now)
    }

    /// A message has the identifier that [`Outgoing::next_packet_id`] gave, and is to be sent once
    /// its row is committed and those before it were sent. Returns its number.
    pub(crate) fn stage(&mut self, delivery: Delivery, now: Instant) -> Sequence {
        let number = self.push(delivery, true, now);
        if !self.is_resending() {
            self.resend.0 = number;
        }
        self.resend.1 = self.flight.end();
        number
    }

    #[inline]
    fn push(&mut self, mut delivery: Delivery, is_new: bool, now: Instant) -> Sequence {
        self.bytes += delivery.message.len();
        let number = self.flight.end();
        self.flight.push(InFlight {
            phase: Phase::Publish,
            row: core::mem::take(&mut delivery.row),
            delivery: Some(delivery),
            is_new,
            sent: now,
            repeats: 0,
        });
        number
    }

    /// Whether the window has room for one more message to be staged.
    pub(crate) fn has_window_to_stage(&self, window: u16) -> bool {
        self.flight.len() < usize::from(window)
    }

    /// The message at this place, if it waits.
    pub(crate) fn waiting_at(&mut self, place: u64) -> Option<&mut Delivery> {
        let at = self.queue.binary_search_by_key(&place, |it| it.row.place);
        self.queue.get_mut(at.ok()?)
    }

    /// The message in flight under this number.
    pub(crate) fn in_flight_at(&mut self, number: Sequence) -> Option<(PacketId, &mut InFlight)> {
        Some((packet_id(number), self.flight.get_mut(number)?))
    }

    /// The message in flight under this identifier, with its number.
    pub(crate) fn in_flight_as(&mut self, id: PacketId) -> Option<(Sequence, &mut InFlight)> {
        let number = self.flight.find(id)?;
        Some((number, self.flight.get_mut(number)?))
    }

    /// The place of the last message that was sent.
    pub(crate) fn last_sent_place(&self) -> u64 {
        self.last_sent
    }

    /// A message that is put back was perhaps sent before the broker stopped.
    pub(crate) fn was_sent(&mut self, place: u64) {
        self.last_sent = self.last_sent.max(place);
    }

    /// Puts back what was in flight when the broker stopped, in order of places, under the number
    /// that goes with its identifier, or, without one, the next. All is to be sent again.
    pub(crate) fn restore(&mut self, entry: InFlight, id: Option<PacketId>) {
        self.bytes += entry.delivery.as_ref().map_or(0, |it| it.message.len());
        self.flight.skip_to(id);
        self.flight.push(entry);
        self.resend = (0, self.flight.end());
    }

    /// The client answers.
    pub(crate) fn answer(&mut self, id: PacketId, answer: Answer, now: Instant) -> Outcome {
        let Some(number) = self.flight.find(id) else {
            return Outcome::Unknown;
        };
        let Some(entry) = self.flight.get_mut(number) else {
            return Outcome::Unknown;
        };
        let qos = entry.delivery.as_ref().map(|delivery| delivery.qos);
        match (entry.phase, qos, answer) {
            (Phase::Publish, Some(QoS::AtLeastOnce), Answer::Acknowledged)
            | (Phase::Publish, Some(QoS::ExactlyOnce), Answer::Rejected)
            | (Phase::Release, _, Answer::Completed | Answer::Rejected) => {
                Outcome::Done(self.finish(number))
            }
            (Phase::Publish, Some(QoS::ExactlyOnce), Answer::Received)
            | (Phase::Release, _, Answer::Received) => {
                entry.phase = Phase::Release;
                entry.sent = now;
                entry.repeats = 0;
                let delivery = entry.delivery.take();
                self.bytes -= delivery.as_ref().map_or(0, |it| it.message.len());
                Outcome::Release(delivery)
            }
            _ => Outcome::Violation,
        }
    }

    /// Ends an exchange and gives the message back if it was held.
    fn finish(&mut self, number: Sequence) -> Result<Delivery, Row> {
        let Some(entry) = self.flight.remove(number) else {
            return Err(Row::default());
        };
        if !(self.resend.0..self.resend.1).contains(&number) {
            self.in_window -= 1;
        }
        let Some(mut delivery) = entry.delivery else {
            return Err(entry.row);
        };
        self.bytes -= delivery.message.len();
        delivery.row = entry.row;
        Ok(delivery)
    }

    /// Gives back what is kept for the next messages; false if there are any now.
    pub(crate) fn shed(&mut self) -> bool {
        if self.len() > 0 {
            return false;
        }
        self.queue = VecDeque::new();
        self.flight.shed();
        true
    }

    /// The session goes on over a new connection: all in flight is to be sent again.
    pub(crate) fn reconnect(&mut self) {
        self.resend = (0, self.flight.end());
        self.in_window = 0;
    }

    /// The next message to be sent again; `None` if there are no more. Once it was sent,
    /// [`Outgoing::resent`] says so, or [`Outgoing::give_up_resend`] if it cannot be.
    pub(crate) fn next_resend(&mut self) -> Option<(PacketId, &InFlight)> {
        let (from, end) = self.resend;
        if from >= end {
            return None;
        }
        self.resend.0 = self.flight.next_from(from).unwrap_or(end).min(end);
        if self.resend.0 >= end {
            return None;
        }
        let number = self.resend.0;
        Some((packet_id(number), self.flight.get(number)?))
    }

    /// What [`Outgoing::next_resend`] gave was sent.
    pub(crate) fn resent(&mut self, now: Instant) {
        if let Some(entry) = self.flight.get_mut(self.resend.0) {
            self.last_sent = self.last_sent.max(entry.row.place);
            entry.is_new = false;
            entry.sent = now;
            entry.repeats = 0;
        }
        self.resend.0 += 1;
        self.in_window += 1;
    }

    /// What [`Outgoing::next_resend`] gave is not sent again: its exchange is over.
    pub(crate) fn give_up_resend(&mut self) -> Result<Delivery, Row> {
        self.finish(self.resend.0)
    }

    /// All that was sent on this connection and is unanswered, oldest first.
    pub(crate) fn unanswered(&mut self) -> impl Iterator<Item = (PacketId, &mut InFlight)> {
        let resend = self.resend.0..self.resend.1;
        self.flight
            .iter_mut()
            .filter(move |(number, _)| !resend.contains(number))
            .map(|(number, entry)| (packet_id(number), entry))
    }

    /// Takes everything out, oldest first, each with whether it was sent already.
    pub(crate) fn into_deliveries(self) -> impl Iterator<Item = (Delivery, bool)> {
        let in_flight = self.flight.into_things().filter_map(|entry| {
            let mut delivery = entry.delivery?;
            delivery.row = entry.row;
            Some((delivery, !entry.is_new))
        });
        let waiting = self.queue.into_iter();
        in_flight.chain(waiting.map(|delivery| (delivery, false)))
    }
}

#[cfg(test)]
mod tests;
