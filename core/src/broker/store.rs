//! The store's side of the broker: batches go out, and what is committed goes on.

use alloc::boxed::Box;
use alloc::vec::Vec;

use slotmap::Key;

use super::journal::{Journal, Pending};
use super::routed::Routed;
use super::{Action, Broker};
use crate::connection::{ConnectionId, NEVER, Paused};
use crate::message::{Kept, Message};
use crate::packet::{PacketId, ProtocolVersion, QoS, ReasonCode};
use crate::session::{Delivery, InFlight, Phase, Session, SessionId};
use crate::share::Shares;
use crate::store::{
    Batch, Record, StoredDelivery, StoredMessage, StoredSession, StoredSubscription, StoredWill,
};
use crate::time::Epoch;
use crate::topic;

impl Broker {
    /// The batch that [`Action::Store`] spoke of; nothing if there is none, or one that is not
    /// committed yet.
    pub fn take_batch(&mut self) -> Option<Batch> {
        self.store_raised = false;
        let journal = &self.out.journal;
        if !journal.is_on() || journal.taken.is_some() || journal.is_empty() {
            return None;
        }
        let number = self.out.journal.take();
        let mut records = core::mem::take(&mut self.out.journal.deletions);
        self.write_retained(&mut records);
        self.write_sessions(&mut records);
        self.write_subscriptions(&mut records);
        self.write_incoming(&mut records);
        self.write_deliveries(number, &mut records);
        self.write_owed(number, &mut records);
        Some(Batch { number, records })
    }

    /// The store has a batch for good: what waited for it goes on.
    pub fn batch_committed(&mut self, number: u64) {
        if self.out.journal.taken != Some(number) {
            return;
        }
        self.out.counters.batches_committed += 1;
        self.out.journal.commit(number);
        self.go_on_from(number);
    }

    /// The store cannot write, and tries again. What needs the store is refused until it can:
    /// [`Broker::batch_committed`] says so, or [`Broker::store_recovered`] if it had no batch of
    /// this shard.
    pub fn store_failing(&mut self) {
        if !core::mem::replace(&mut self.out.journal.is_failing, true) {
            self.out.counters.store_failures += 1;
        }
    }

    /// The store can write again.
    pub fn store_recovered(&mut self) {
        self.out.journal.is_failing = false;
    }

    /// Whether the store was said to fail, and has not recovered.
    pub fn is_store_failing(&self) -> bool {
        self.out.journal.is_failing
    }

    /// How many bytes, roughly, wait for the store or are in the batch that it has.
    pub fn uncommitted_bytes(&self) -> usize {
        self.out.journal.uncommitted_bytes()
    }

    fn go_on_from(&mut self, number: u64) {
        let journal = &mut self.out.journal;
        let corked = core::iter::from_fn(|| Journal::pop_committed(&mut journal.corked, number));
        for id in corked.collect::<Vec<_>>() {
            self.uncork(id);
        }
        self.send_owed(number);
        self.progress_to_batch(number);
        let journal = &mut self.out.journal;
        let to_serve =
            core::iter::from_fn(|| Journal::pop_committed(&mut journal.to_serve, number));
        for id in to_serve.collect::<Vec<_>>() {
            self.serve(id);
        }
        if self.peers.are_there() {
            self.peers.raise_all(); // They may hear of a clock that was unsure.
        }
    }

    /// At the end of a turn: answers that rely on nothing any more leave, and the store is called
    /// if there is something for it.
    pub(super) fn settle_journal(&mut self) {
        for (id, number) in core::mem::take(&mut self.out.journal.not_needed) {
            self.record_not_needed(id, number);
        }
        let journal = &mut self.out.journal;
        if let Some(number) = journal.commit_empty().or_else(|| journal.commit_lingered()) {
            self.go_on_from(number);
        }
        // What they wait for may have become safe at peers, too.
        if !self.out.journal.slowed.is_empty() {
            self.speed_up_for_store();
        }
        let linger = self.config.commit_linger;
        if !self.store_raised && self.out.journal.wants_to_be_taken(linger, self.now) {
            self.store_raised = true;
            self.out.actions.push_back(Action::Store);
        }
    }

    /// Holds CONNACK, and all that follows it, until what it asserts is committed. `noted` is what
    /// was noted before the client came in.
    pub(super) fn cork(&mut self, id: ConnectionId, session_id: SessionId, noted: u64) {
        if !self.out.journal.is_on() {
            return;
        }
        let Some(session) = self.sessions.get_mut(session_id) else {
            return;
        };
        let journal = &mut self.out.journal;
        session.rows.durable = session.expiry > crate::session::Expiry::AT_ONCE;
        let is_stored = session.rows.durable || session.will.is_some() || session.rows.on_disk;
        if is_stored {
            // It may have been noted before in this batch, when another connection ended.
            journal.session(session_id, &mut session.rows, self.now);
        }
        if is_stored || journal.noted_bytes != noted {
            session.relies.batch = journal.await_open();
        }
        let ended = journal.ended_of(&session.client_id);
        session.relies.batch = session.relies.batch.max(ended.batch);
        let batch = session.relies.batch;
        if !journal.is_committed(batch)
            && let Some(connection) = self.connections.get_mut(id)
        {
            connection.corked = batch;
            journal.corked.push_back((batch, id));
        }
    }

    fn uncork(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.is_closing()
        {
            connection.corked = 0;
            connection.progress = self.now;
            if !connection.outbox.is_empty() && !connection.send_raised {
                connection.send_raised = true;
                self.out.actions.push_back(Action::Send(id));
            }
            self.set_timer(id);
            self.serve_connection(id);
        }
    }

    /// Stops reading from a client whose packets make more rows than the store can write.
    #[inline]
    pub(super) fn slow_for_store(&mut self, id: ConnectionId, noted: u64) {
        if self.noted_bytes() != noted
            && self.unsafe_bytes() > self.config.max_uncommitted_bytes
            && self.connections.get(id).is_some_and(|it| it.is_open())
        {
            self.out.journal.slowed.push(id);
            self.pause(id, Paused::STORE);
        }
    }

    /// Those who were slowed for the store go on, if little enough waits for it.
    pub(super) fn speed_up_for_store(&mut self) {
        if self.unsafe_bytes() <= self.config.max_uncommitted_bytes {
            for id in core::mem::take(&mut self.out.journal.slowed) {
                self.go_on(id, Paused::STORE);
            }
        }
    }

    /// How many bytes were ever noted for the store, here or at peers.
    #[inline]
    pub(super) fn noted_bytes(&self) -> u64 {
        self.out.journal.noted_bytes + self.tickets.noted_bytes
    }

    /// How many bytes came in here that are not safe yet, here or at peers.
    fn unsafe_bytes(&self) -> usize {
        let journal = &self.out.journal;
        match journal.is_on() {
            true => journal.uncommitted_bytes() + self.tickets.open_bytes(),
            false => 0,
        }
    }

    /// Whether a message of QoS 1 or 2 cannot be promised without the store.
    #[cold]
    pub(super) fn needs_store(&self, from: SessionId, message: &Message<'_>) -> bool {
        let is_durable = |id: SessionId| {
            let session = self.sessions.get(id);
            session.is_some_and(|session| session.rows.durable)
        };
        let (wanting, _) = self.peers.interests.of(message.topic);
        let mut needs = message.retain || !wanting.is_empty();
        needs |= message.qos == QoS::ExactlyOnce && is_durable(from);
        self.filters
            .for_each_match(message.topic, |_, subscribers| {
                needs = needs || subscribers.iter().any(|(id, _)| is_durable(*id));
            });
        self.shares.for_each_match(message.topic, |group| {
            needs = needs || self.shares.members(group).any(is_durable);
        });
        needs
    }

    /// A message is not taken. Before MQTT 5 nothing can say so, and it stays unacknowledged.
    #[cold]
    pub(super) fn refuse_for_store(
        &mut self,
        id: ConnectionId,
        version: ProtocolVersion,
        packet_id: PacketId,
        qos: QoS,
    ) {
        self.out.counters.publish_refused_store_failing += 1;
        if version == ProtocolVersion::V5 {
            let outcome = Routed::refused(ReasonCode::ImplementationSpecificError);
            self.acknowledge(id, packet_id, qos, outcome);
        }
    }

    /// Notes what the last change of the retained messages has made of the store's rows.
    pub(super) fn note_retained(&mut self, bytes: usize) {
        if self.out.journal.is_on() {
            for (topic, version) in self.retained.take_unwritten() {
                self.out.journal.retained(topic, version, bytes, self.now);
            }
        }
    }

    fn write_retained(&mut self, records: &mut Vec<Record>) {
        for (topic, version) in core::mem::take(&mut self.out.journal.retained) {
            let buried = self.retained.versions().buried(&topic);
            records.push(match self.retained.get(&topic) {
                Some(retained) => {
                    let (version, message) = retained.stored(&topic, self.epoch);
                    Record::PutRetained {
                        topic,
                        version,
                        message: Some(message),
                    }
                }
                None if buried > 0 => Record::PutRetained {
                    topic,
                    version: buried,
                    message: None,
                },
                None => Record::DeleteRetained { topic, version },
            });
        }
    }

    fn write_sessions(&mut self, records: &mut Vec<Record>) {
        let shard = self.peers.me();
        for id in core::mem::take(&mut self.out.journal.sessions) {
            if let Some(session) = self.sessions.get_mut(id) {
                session.rows.on_disk = true;
                records.push(Record::PutSession {
                    client_id: session.client_id.clone(),
                    session: stored_session(session, shard, self.epoch),
                });
            }
        }
    }

    fn write_subscriptions(&mut self, records: &mut Vec<Record>) {
        for (id, filter) in core::mem::take(&mut self.out.journal.subscriptions) {
            let Some(session) = self.sessions.get_mut(id) else {
                continue; // Its rows are deleted with it.
            };
            let client_id = session.client_id.clone();
            let mut replaying = false;
            let subscription = match topic::parse_shared(&filter) {
                Ok(Some(_)) => {
                    let members = self.shares.find(&filter);
                    members.and_then(|members| self.shares.subscription(members, id))
                }
                _ => {
                    let known = self.filters.find(&filter);
                    let replay = known.and_then(|known| session.replays.get_mut(&known));
                    replaying = replay.is_some_and(|replay| {
                        replay.is_stored = true;
                        true
                    });
                    known.and_then(|known| self.filters.get(known, id).copied())
                }
            };
            records.push(match subscription {
                Some(it) => Record::PutSubscription {
                    client_id,
                    filter,
                    subscription: StoredSubscription {
                        identifier: it.identifier,
                        qos: it.qos,
                        no_local: it.no_local,
                        retain_as_published: it.retain_as_published,
                        replaying,
                    },
                },
                None => Record::DeleteSubscription { client_id, filter },
            });
        }
    }

    fn write_incoming(&mut self, records: &mut Vec<Record>) {
        for (id, packet_id) in core::mem::take(&mut self.out.journal.incoming) {
            if let Some(session) = self.sessions.get(id) {
                let client_id = session.client_id.clone();
                let is_held = session.incoming.contains(packet_id);
                let packet_id = packet_id.get();
                records.push(if is_held {
                    Record::PutIncoming {
                        client_id,
                        packet_id,
                    }
                } else {
                    Record::DeleteIncoming {
                        client_id,
                        packet_id,
                    }
                });
            }
        }
    }

    fn write_deliveries(&mut self, batch: u64, records: &mut Vec<Record>) {
        let mut pending = core::mem::take(&mut self.out.journal.pending);
        pending.retain(|_, it| {
            let is_in = it.batch <= batch;
            if is_in {
                self.write_delivery(batch, it, records);
            }
            !is_in
        });
        self.out.journal.pending = pending; // With its handles, none of which is given again.
    }

    fn write_delivery(&mut self, batch: u64, pending: &Pending, records: &mut Vec<Record>) {
        let (shares, epoch) = (&self.shares, self.epoch);
        let client_id;
        let delivery = if pending.session.is_null() {
            client_id = "".into();
            let left_over = &mut self.left_over;
            let at = left_over.binary_search_by_key(&pending.place, |it| it.row.place);
            let Some(it) = at.ok().and_then(|at| left_over.get_mut(at)) else {
                return;
            };
            it.row.on_disk = true;
            it.row.batch = batch;
            write_message(&it.message, epoch, records);
            stored_delivery(it, it.row.refers, None, shares)
        } else {
            let Some(session) = self.sessions.get_mut(pending.session) else {
                return;
            };
            client_id = session.client_id.clone();
            let Session { outgoing, rows, .. } = session;
            rows.batch = batch;
            let (row, delivery) = match pending.number {
                Some(number) => {
                    let Some((id, it)) = outgoing.in_flight_at(number) else {
                        return;
                    };
                    let delivery = in_flight(it, id, shares);
                    if let Some(delivery) = &it.delivery {
                        write_message(&delivery.message, epoch, records);
                    }
                    (&mut it.row, delivery)
                }
                None => {
                    let Some(it) = outgoing.waiting_at(pending.place) else {
                        return;
                    };
                    write_message(&it.message, epoch, records);
                    let delivery = stored_delivery(it, true, None, shares);
                    (&mut it.row, delivery)
                }
            };
            row.batch = batch;
            if !core::mem::replace(&mut row.on_disk, true) {
                rows.deliveries += 1;
            }
            delivery
        };
        self.out.counters.deliveries_written += 1;
        records.push(Record::PutDelivery {
            client_id,
            place: pending.place,
            delivery,
        });
    }
}

/// A delivery in flight as it is stored. The identifier matters to QoS 2 alone.
fn in_flight(it: &InFlight, id: PacketId, shares: &Shares) -> StoredDelivery {
    match (&it.delivery, it.phase) {
        (Some(delivery), Phase::Publish) => {
            let id = (delivery.qos == QoS::ExactlyOnce).then_some(id.get());
            stored_delivery(delivery, true, id, shares)
        }
        _ => StoredDelivery {
            message: None,
            qos: QoS::ExactlyOnce,
            retain: false,
            replayed: false,
            identifiers: Box::default(),
            group: None,
            packet_id: Some(id.get()),
        },
    }
}

fn stored_delivery(
    delivery: &Delivery,
    refers: bool,
    packet_id: Option<u16>,
    shares: &Shares,
) -> StoredDelivery {
    let group = (!delivery.group.is_null()).then(|| shares.written(delivery.group).into());
    StoredDelivery {
        message: refers.then_some(delivery.message.number),
        qos: delivery.qos,
        retain: delivery.retain,
        replayed: delivery.replayed,
        identifiers: delivery.identifiers.iter().collect(),
        group,
        packet_id,
    }
}

fn write_message(message: &Kept, epoch: Epoch, records: &mut Vec<Record>) {
    if message.store() {
        return;
    }
    records.push(Record::PutMessage {
        number: message.number,
        message: message.stored(epoch),
    });
}

fn stored_session(session: &Session, shard: u8, epoch: Epoch) -> StoredSession {
    let connected = !session.connection.is_null();
    let unix = |at| (at != NEVER).then(|| epoch.to_unix(at));
    StoredSession {
        shard,
        expiry: session.expiry.0,
        ends: unix(session.ends),
        connected,
        // While the client is there, messages are sent without a word to the store.
        sent: match connected {
            true => u64::MAX,
            false => session.outgoing.last_sent_place(),
        },
        will: session.will.as_ref().map(|will| StoredWill {
            message: StoredMessage {
                topic: will.topic.clone(),
                properties: bytes::Bytes::copy_from_slice(&will.properties),
                payload: bytes::Bytes::copy_from_slice(&will.payload),
                qos: will.qos,
                retain: will.retain,
                expires: None,
            },
            expiry: will.expiry,
            delay: will.delay,
            due: unix(session.will_due),
            permitted: session.grant.may_publish(&will.topic),
        }),
    }
}
