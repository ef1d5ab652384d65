//! Answers that wait until what they promise is true.
//!
//! An acknowledgement says that a message will not be lost, or that a change holds. It relies on
//! batches of the store that are to be committed and on peers that are to say what became of a
//! message; only then is it sent. The answers to one client leave in the order of its packets
//! ([MQTT-4.6.0-2], [MQTT-4.6.0-3]), so one that waits delays those behind it; nothing else waits.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::Broker;
use super::route::Routed;
use crate::connection::{Connection, ConnectionId};
use crate::packet::{
    Ack, Packet, PacketId, Properties, ProtocolVersion, QoS, ReasonCode, SubAck, UnsubAck,
};

/// What an answer relies on: everything up to these numbers, of which 0 is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reliance {
    /// The batch of the store that must be committed.
    pub(crate) batch: u64,
    /// The ticket that peers must have settled.
    pub(crate) ticket: u64,
}

impl Reliance {
    /// It relies on nothing that is not true already.
    pub(crate) const NOTHING: Self = Self {
        batch: 0,
        ticket: 0,
    };

    /// On both.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            batch: self.batch.max(other.batch),
            ticket: self.ticket.max(other.ticket),
        }
    }
}

/// An answer that waits.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(super) answer: Answer,
    /// What it waits for.
    pub(super) relies: Reliance,
    /// How many records of its message are in a batch that was not taken yet. If none of them turns
    /// out to be needed, the answer relies on less:
    pub(super) records: u32,
    /// on this.
    pub(super) without_records: Reliance,
}

/// What is to be said.
#[derive(Debug)]
pub(super) enum Answer {
    /// PUBACK or PUBREC.
    Published {
        packet_id: PacketId,
        qos: QoS,
        outcome: Routed,
    },
    /// PUBREL.
    Release(PacketId),
    /// PUBCOMP.
    Complete(PacketId, ReasonCode),
    /// SUBACK, with words for a client that wants them.
    Subscribed {
        packet_id: PacketId,
        reasons: Box<[u8]>,
        words: Option<Box<str>>,
    },
    /// UNSUBACK.
    Unsubscribed {
        packet_id: PacketId,
        reasons: Box<[u8]>,
    },
}

/// The answers that one client waits for, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    waiting: VecDeque<Reply>,
    /// The number of the first.
    first: u64,
}

impl Replies {
    /// The number of the next answer that has to wait.
    pub(super) fn next(&self) -> u64 {
        self.first + self.waiting.len() as u64
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Reply> {
        let place = number.checked_sub(self.first)?;
        self.waiting.get_mut(usize::try_from(place).ok()?)
    }

    fn pop(&mut self) -> Option<Reply> {
        let reply = self.waiting.pop_front()?;
        self.first += 1;
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some(reply)
    }
}

/// How far the things are that answers rely on, and who waits for more of it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// All batches up to this one are committed.
    committed: u64,
    /// All tickets up to this one are settled.
    settled: u64,
    by_batch: BTreeMap<u64, Vec<ConnectionId>>,
    by_ticket: BTreeMap<u64, Vec<ConnectionId>>,
}

impl Progress {
    #[inline]
    pub(super) fn has(&self, relies: Reliance) -> bool {
        relies.batch <= self.committed && relies.ticket <= self.settled
    }

    /// Whether this batch is committed.
    pub(super) fn is_committed(&self, batch: u64) -> bool {
        batch <= self.committed
    }

    /// Puts a connection down for what its first answer waits for.
    fn enlist(&mut self, id: ConnectionId, relies: Reliance) {
        if relies.batch > self.committed {
            self.by_batch.entry(relies.batch).or_default().push(id);
        } else {
            self.by_ticket.entry(relies.ticket).or_default().push(id);
        }
    }

    /// Those that waited for no more than what is there now.
    fn due(&mut self) -> Option<Vec<ConnectionId>> {
        let batch = self.by_batch.first_entry();
        if let Some(entry) = batch.filter(|entry| *entry.key() <= self.committed) {
            return Some(entry.remove());
        }
        let ticket = self.by_ticket.first_entry();
        let entry = ticket.filter(|entry| *entry.key() <= self.settled)?;
        Some(entry.remove())
    }
}

impl Broker {
    /// Answers a client now, or as soon as all that its session relies on is there and the answers
    /// before this one have left.
    #[inline]
    pub(super) fn reply(&mut self, id: ConnectionId, answer: Answer) {
        let relies = self
            .session_of(id)
            .map_or(Reliance::NOTHING, |it| it.relies);
        self.reply_with_records(id, relies, relies, 0, answer);
    }

    /// The same, for an answer that may turn out to rely on less.
    pub(super) fn reply_with_records(
        &mut self,
        id: ConnectionId,
        relies: Reliance,
        without_records: Reliance,
        records: u32,
        answer: Answer,
    ) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.replies.is_none() && self.progress.has(relies) {
            return self.say(id, answer);
        }
        let replies = connection.replies.get_or_insert_default();
        if replies.waiting.is_empty() {
            self.progress.enlist(id, relies);
        }
        replies.waiting.push_back(Reply {
            answer,
            relies,
            records,
            without_records,
        });
    }

    /// All batches up to this one are committed.
    pub(super) fn progress_to_batch(&mut self, committed: u64) {
        self.progress.committed = self.progress.committed.max(committed);
        self.send_replies_due();
    }

    /// All tickets up to this one are settled.
    pub(super) fn progress_to_ticket(&mut self, settled: u64) {
        self.progress.settled = self.progress.settled.max(settled);
        self.send_replies_due();
    }

    fn send_replies_due(&mut self) {
        while let Some(due) = self.progress.due() {
            for id in due {
                self.send_replies(id);
            }
        }
    }

    /// Sends what a client waits for, as far as it is true by now.
    pub(super) fn send_replies(&mut self, id: ConnectionId) {
        while let Some(connection) = self.connections.get_mut(id)
            && let Some(replies) = &mut connection.replies
        {
            let Some(first) = replies.waiting.front() else {
                connection.replies = None;
                return;
            };
            if !self.progress.has(first.relies) {
                return self.progress.enlist(id, first.relies);
            }
            if let Some(reply) = replies.pop() {
                self.say(id, reply.answer);
            }
        }
    }

    /// One more record of an answer's message is not needed after all.
    pub(super) fn record_not_needed(&mut self, id: ConnectionId, number: u64) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(replies) = &mut connection.replies else {
            return;
        };
        let Some(reply) = replies.get_mut(number) else {
            return;
        };
        reply.records = reply.records.saturating_sub(1);
        if reply.records > 0 {
            return;
        }
        reply.relies = reply.without_records;
        if number == replies.first {
            self.send_replies(id);
        }
    }

    /// Sends an answer. What it says is true.
    fn say(&mut self, id: ConnectionId, answer: Answer) {
        match answer {
            Answer::Published {
                packet_id,
                qos,
                outcome,
            } => self.say_published(id, packet_id, qos, outcome),
            Answer::Release(packet_id) => {
                let (mut post, _, encoded) = self.post();
                post.put_release(id, packet_id, encoded); // [MQTT-4.3.3-4]
            }
            Answer::Complete(packet_id, reason) => {
                let properties = Properties::EMPTY;
                let ack = Ack {
                    packet_id,
                    reason,
                    properties,
                };
                self.send(id, &Packet::PubComp(ack)); // [MQTT-4.3.3-11]
            }
            Answer::Subscribed {
                packet_id,
                reasons,
                words,
            } => {
                let suback = Packet::SubAck(SubAck {
                    packet_id,
                    properties: Properties::EMPTY,
                    reasons: &reasons,
                });
                self.send_with_words(id, words.as_deref(), &suback);
                self.serve_connection(id);
            }
            Answer::Unsubscribed { packet_id, reasons } => {
                let unsuback = UnsubAck {
                    packet_id,
                    properties: Properties::EMPTY,
                    reasons: &reasons,
                };
                self.send(id, &Packet::UnsubAck(unsuback));
            }
        }
    }

    /// PUBACK or PUBREC.
    fn say_published(&mut self, id: ConnectionId, packet_id: PacketId, qos: QoS, outcome: Routed) {
        let reason = outcome.reason();
        let words = match reason {
            ReasonCode::QuotaExceeded => Some("there is no room for the message"),
            ReasonCode::TopicNameInvalid => Some("this topic is the broker's own"),
            ReasonCode::PacketIdentifierInUse => Some("a QoS 2 message has this identifier"),
            ReasonCode::ImplementationSpecificError => Some("the store takes nothing at present"),
            _ => None,
        };
        let ack = Ack {
            packet_id,
            reason,
            properties: Properties::EMPTY,
        };
        let ack = match qos {
            QoS::ExactlyOnce => Packet::PubRec(ack),
            _ => Packet::PubAck(ack),
        };
        self.send_with_words(id, words, &ack);
    }
}

/// What a client of that version hears: before MQTT 5, every acknowledgement is a positive one (3.1.1
/// [MQTT-3.3.5-2]).
pub(super) fn reason_as_told(version: ProtocolVersion, reason: ReasonCode) -> ReasonCode {
    match version {
        ProtocolVersion::V5 => reason,
        _ => ReasonCode::Success,
    }
}

impl Connection {
    /// The number of the next answer that has to wait.
    pub(super) fn next_reply(&self) -> u64 {
        self.replies.as_ref().map_or(0, |replies| replies.next())
    }
}
