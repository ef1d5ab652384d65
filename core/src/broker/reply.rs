//! Answers that wait until what they promise is true.
//!
//! An acknowledgement says that a message will not be lost, or that a change holds. It relies on
//! batches of the store that are to be committed and on peers that are to say what became of a
//! message; only then is it sent. The answers to one client leave in the order of its packets
//! ([MQTT-4.6.0-2], [MQTT-4.6.0-3]), so one that waits delays those behind it; nothing else waits.
//! What a peer asks is answered the same way, but an answer to a peer never relies on another peer.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::Broker;
use super::routed::Routed;
use crate::connection::{Connection, ConnectionId};
use crate::packet::{
    Ack, Packet, PacketId, PacketType, Properties, ProtocolVersion, QoS, ReasonCode, SubAck,
    UnsubAck,
};
use crate::peer::{Exception, Link};

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

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A client, on this connection.
    Client(ConnectionId),
    /// The shard of this number.
    Peer(u8),
}

impl From<ConnectionId> for Asker {
    fn from(id: ConnectionId) -> Self {
        Self::Client(id)
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
    /// What became of a message that a peer has sent under this number.
    Stored { number: u64, outcome: Routed },
}

/// The answers that one client or peer waits for, oldest first.
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

    /// All of them, oldest first.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Reply> {
        self.waiting.iter_mut()
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
    by_batch: BTreeMap<u64, Vec<Asker>>,
    by_ticket: BTreeMap<u64, Vec<Asker>>,
}

impl Progress {
    #[inline]
    pub(super) fn has(&self, relies: Reliance) -> bool {
        relies.batch <= self.committed && relies.ticket <= self.settled
    }

    /// Puts somebody down for what their first answer waits for.
    fn enlist(&mut self, asker: Asker, relies: Reliance) {
        if relies.batch > self.committed {
            self.by_batch.entry(relies.batch).or_default().push(asker);
        } else {
            self.by_ticket.entry(relies.ticket).or_default().push(asker);
        }
    }

    /// Those that waited for no more than what is there now.
    fn due(&mut self) -> Option<Vec<Asker>> {
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
        self.reply_with_records(id.into(), relies, relies, 0, answer);
    }

    /// Answers a peer for a message that has a number, now or as soon as that is true.
    pub(super) fn reply_to_peer(&mut self, peer: u8, number: u64, outcome: Routed) {
        let records = self.out.journal.end();
        let link = self.peers.link(peer);
        let without_records = link.map_or(Reliance::NOTHING, |it| it.relies);
        let mut relies = without_records;
        if records > 0 {
            relies.batch = self.out.journal.open();
        }
        let answer = Answer::Stored { number, outcome };
        let peer = Asker::Peer(peer);
        self.reply_with_records(peer, relies, without_records, records, answer);
    }

    /// Where the answers are that somebody waits for; `None` if they are gone.
    fn replies_of(&mut self, asker: Asker) -> Option<&mut Option<Box<Replies>>> {
        Some(match asker {
            Asker::Client(id) => &mut self.connections.get_mut(id)?.replies,
            Asker::Peer(peer) => &mut self.peers.link_mut(peer)?.replies,
        })
    }

    /// The same, for an answer that may turn out to rely on less.
    pub(super) fn reply_with_records(
        &mut self,
        asker: Asker,
        relies: Reliance,
        without_records: Reliance,
        records: u32,
        answer: Answer,
    ) {
        let is_true = self.progress.has(relies);
        let Some(replies) = self.replies_of(asker) else {
            return;
        };
        if replies.is_none() && is_true {
            return self.say(asker, answer);
        }
        let replies = replies.get_or_insert_default();
        let is_first = replies.waiting.is_empty();
        replies.waiting.push_back(Reply {
            answer,
            relies,
            records,
            without_records,
        });
        if is_first {
            self.progress.enlist(asker, relies);
        }
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
            for asker in due {
                self.send_replies(asker);
            }
        }
    }

    /// Sends what somebody waits for, as far as it is true by now.
    pub(super) fn send_replies(&mut self, asker: Asker) {
        while let Some(waiting) = self.replies_of(asker)
            && let Some(replies) = waiting
        {
            let Some(first) = replies.waiting.front() else {
                *waiting = None;
                return;
            };
            let relies = first.relies;
            if !self.progress.has(relies) {
                return self.progress.enlist(asker, relies);
            }
            let next = self.replies_of(asker).and_then(|it| it.as_mut()?.pop());
            if let Some(reply) = next {
                self.say(asker, reply.answer);
            }
        }
    }

    /// One more record of an answer's message is not needed after all.
    pub(super) fn record_not_needed(&mut self, asker: Asker, number: u64) {
        let Some(Some(replies)) = self.replies_of(asker) else {
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
            self.send_replies(asker);
        }
    }

    /// Sends an answer. What it says is true.
    fn say(&mut self, asker: Asker, answer: Answer) {
        match (asker, answer) {
            (Asker::Client(id), answer) => self.say_to_client(id, answer),
            (Asker::Peer(peer), Answer::Stored { number, outcome }) => {
                self.say_stored(peer, number, outcome);
            }
            (Asker::Peer(_), _) => {} // No peer waits for what clients wait for.
        }
    }

    fn say_to_client(&mut self, id: ConnectionId, answer: Answer) {
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
            Answer::Stored { .. } => {} // That is for peers.
        }
    }

    /// Tells a peer, with the next messages for it, what became of one of its own.
    fn say_stored(&mut self, peer: u8, number: u64, outcome: Routed) {
        let exception = (outcome.matched == 0 || outcome.refused > 0).then(|| Exception {
            number,
            matched: u32::try_from(outcome.matched).unwrap_or(u32::MAX),
            refused: u32::try_from(outcome.refused).unwrap_or(u32::MAX),
        });
        if let Some(link) = self.peers.link_mut(peer) {
            link.say_stored(number, exception);
            self.peers.raise(peer);
        }
    }

    /// PUBACK or PUBREC.
    fn say_published(&mut self, id: ConnectionId, packet_id: PacketId, qos: QoS, outcome: Routed) {
        let reason = outcome.reason();
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if reason_as_told(connection.version, reason) == ReasonCode::Success {
            // Four bytes, which any client takes.
            let first = match qos {
                QoS::ExactlyOnce => PUBREC,
                _ => PUBACK,
            };
            let [high, low] = packet_id.get().to_be_bytes();
            return self.out.send(id, connection, &[first, 2, high, low]);
        }
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

/// The first bytes of these packets.
const PUBACK: u8 = (PacketType::PubAck as u8) << 4;
const PUBREC: u8 = (PacketType::PubRec as u8) << 4;

/// What a client of that version hears: before MQTT 5, every acknowledgement is a positive one
/// (3.1.1 [MQTT-3.3.5-2]).
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

impl Link {
    /// The number of the next answer that has to wait.
    pub(super) fn next_reply(&self) -> u64 {
        self.replies.as_ref().map_or(0, |replies| replies.next())
    }
}
