//! What is to be written to the store with the next batch.
//!
//! The journal notes *which* rows are out of date; what they say is read from the sessions when the
//! batch is taken, which is between two calls of the broker. So every batch is the state of one
//! moment, and what came and went before its batch was taken costs nothing:
//!
//! A delivery of QoS 1 whose client acknowledges it before its row was ever in a batch that was
//! taken is never written. The promise to its publisher is kept, so the publisher has its
//! acknowledgement at once, unless an older delivery of the same session may be in the store: then
//! a crash would bring the older one back without this one, and the acknowledgement waits for the
//! batch that deletes the older one.
//!
//! One batch is at the store at a time. Deliveries that are with their connected clients already
//! may linger a little, for most of them will not be needed: so batches are gathered one after the
//! other, each for a part of that time, and as long as there is nothing but deliveries and
//! deletions, only those that have lingered are taken.

mod batch;
mod debts;
mod linger;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use slotmap::SlotMap;

use super::reply::Asker;
use crate::connection::ConnectionId;
use crate::message::Kept;
use crate::packet::{PacketId, QoS};
use crate::retained::clock_of;
use crate::session::{Delivery, PendingId, Row, Rows, Sequence, SessionId};
use crate::store::Record;
use crate::time::Instant;

use debts::Debts;
use linger::Lingering;

/// What a row takes beside its bytes, roughly.
const ROW_BYTES: usize = 64;

/// Whose answer relies on a row, and its number among those that they wait for.
pub(super) type Waiter = Option<(Asker, u64)>;

/// A delivery whose row is to be written.
#[derive(Debug)]
pub(super) struct Pending {
    /// The null handle if the session has ended.
    pub(super) session: SessionId,
    pub(super) place: u64,
    /// Its number, if it is in flight.
    pub(super) number: Option<Sequence>,
    waiter: Waiter,
    bytes: usize,
    /// The batch that was gathered when it was noted.
    pub(super) batch: u64,
}

/// What is left of a session that has ended: the batches that are to be committed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    /// Before it is true that there is none: a crash would bring it back.
    pub(super) batch: u64,
    /// Before anything else that its client publishes goes to peers.
    pub(super) owes: u64,
}

/// See the text above.
#[derive(Debug)]
pub(super) struct Journal {
    is_on: bool,
    /// The batch that is being gathered.
    open: u64,
    /// The batch that is at the store.
    pub(super) taken: Option<u64>,
    /// The last one that was taken.
    last_taken: u64,
    /// All up to this one are committed.
    committed: u64,
    /// Whether an answer waits for the batch that is being gathered.
    is_awaited: bool,
    /// Whether the batch should be taken as soon as possible.
    is_urgent: bool,
    pub(super) is_failing: bool,
    lingering: Lingering,
    next_place: u64,
    next_message: u64,
    /// Places and messages are numbered in steps of this, so that no two shards use the same one.
    step: u64,
    /// The answer that relies on what is noted now.
    waiter: Waiter,
    /// How many deliveries were noted for it.
    noted: u32,
    /// Answers of whose records one is not needed.
    pub(super) not_needed: Vec<(Asker, u64)>,
    pub(super) pending: SlotMap<PendingId, Pending>,
    pub(super) sessions: Vec<SessionId>,
    pub(super) subscriptions: Vec<(SessionId, Box<str>)>,
    pub(super) incoming: Vec<(SessionId, PacketId)>,
    /// Topics, with the versions of their changes.
    pub(super) retained: Vec<(Box<str>, u64)>,
    /// The first change of what is retained in each batch that is not committed.
    unsure_clocks: VecDeque<(u64, u64)>,
    pub(super) deletions: Vec<Record>,
    debts: Debts,
    /// Links from which something came that was owed.
    pub(super) links: Vec<u8>,
    /// What waits for batches to be committed, each with its batch: sessions to be served, and
    /// connections whose CONNACK may leave.
    pub(super) to_serve: VecDeque<(u64, SessionId)>,
    pub(super) corked: VecDeque<(u64, ConnectionId)>,
    /// Who has lost a session of which something is not committed yet.
    ended: BTreeMap<Arc<str>, Ended>,
    /// Connections that are not read until the store has caught up.
    pub(super) slowed: Vec<ConnectionId>,
    open_bytes: usize,
    taken_bytes: usize,
    /// How many bytes were noted since the start.
    pub(super) noted_bytes: u64,
}

impl Journal {
    /// A journal that notes nothing: there is no store.
    pub(super) fn off() -> Self {
        Self {
            is_on: false,
            open: 1,
            taken: None,
            last_taken: 0,
            committed: 0,
            is_awaited: false,
            is_urgent: false,
            is_failing: false,
            lingering: Lingering::default(),
            next_place: 1,
            next_message: 1,
            step: 1,
            waiter: None,
            noted: 0,
            not_needed: Vec::new(),
            pending: SlotMap::with_key(),
            sessions: Vec::new(),
            subscriptions: Vec::new(),
            incoming: Vec::new(),
            retained: Vec::new(),
            unsure_clocks: VecDeque::new(),
            deletions: Vec::new(),
            debts: Debts::default(),
            links: Vec::new(),
            to_serve: VecDeque::new(),
            corked: VecDeque::new(),
            ended: BTreeMap::new(),
            slowed: Vec::new(),
            open_bytes: 0,
            taken_bytes: 0,
            noted_bytes: 0,
        }
    }

    /// A journal that goes on from these places and messages, in steps.
    pub(super) fn new(next_place: u64, next_message: u64, step: u64) -> Self {
        Self {
            is_on: true,
            next_place,
            next_message,
            step,
            ..Self::off()
        }
    }

    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// The batch that is being gathered.
    pub(super) fn open(&self) -> u64 {
        self.open
    }

    #[inline]
    pub(super) fn is_committed(&self, batch: u64) -> bool {
        batch <= self.committed
    }

    /// The number of a message that is kept from now on; 0 without a store.
    #[inline]
    pub(super) fn number_message(&mut self) -> u64 {
        if !self.is_on {
            return 0;
        }
        self.next_message += self.step;
        self.next_message - self.step
    }

    fn next_place(&mut self) -> u64 {
        self.next_place += self.step;
        self.next_place - self.step
    }

    /// How many bytes are not committed.
    pub(super) fn uncommitted_bytes(&self) -> usize {
        self.open_bytes + self.taken_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.deletions.is_empty() && self.has_only_deliveries()
    }

    fn note(&mut self, bytes: usize, now: Instant) {
        self.lingering.note(now);
        self.open_bytes += bytes;
        self.noted_bytes += bytes as u64;
    }

    fn insert(&mut self, pending: Pending) -> PendingId {
        self.lingering.count();
        self.pending.insert(pending)
    }

    fn remove(&mut self, id: PendingId) -> Option<Pending> {
        let pending = self.pending.remove(id)?;
        self.lingering.discount(pending.batch);
        self.open_bytes = self.open_bytes.saturating_sub(pending.bytes);
        Some(pending)
    }

    /// What is noted from now on concerns this answer.
    pub(super) fn begin(&mut self, waiter: Waiter) {
        self.waiter = waiter;
        self.noted = 0;
    }

    /// The answer is about to be given: how many deliveries were noted for it.
    pub(super) fn end(&mut self) -> u32 {
        self.waiter = None;
        self.is_awaited |= self.noted > 0;
        core::mem::take(&mut self.noted)
    }

    /// An answer relies on the batch that is being gathered, and cannot do without it. Returns its
    /// number.
    pub(super) fn await_open(&mut self) -> u64 {
        self.is_awaited = true;
        self.is_urgent = true;
        self.open
    }

    /// The batch should not linger.
    pub(super) fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// A durable session is owed this from now on.
    pub(super) fn owe(&mut self, session: SessionId, delivery: &mut Delivery, now: Instant) {
        let place = self.next_place();
        delivery.row = Row {
            place,
            ..Row::default()
        };
        if delivery.qos == QoS::AtMostOnce {
            return; // It goes with a crash.
        }
        delivery.message.refer();
        let bytes = delivery.message.len() + ROW_BYTES;
        let pending = Pending {
            session,
            place,
            number: None,
            waiter: self.waiter,
            bytes,
            batch: self.open,
        };
        delivery.row.refers = true;
        delivery.row.batch = self.open;
        delivery.row.pending = self.insert(pending);
        self.noted += 1;
        self.note(bytes, now);
    }

    /// A delivery is in flight now under this number.
    #[inline]
    pub(super) fn locate(&mut self, pending: PendingId, number: Sequence) {
        if let Some(pending) = self.pending.get_mut(pending) {
            pending.number = Some(number);
        }
    }

    /// The row of a delivery in flight is to be written anew. Returns the batch.
    pub(super) fn renew(
        &mut self,
        session: SessionId,
        row: &mut Row,
        number: Sequence,
        now: Instant,
    ) -> u64 {
        if let Some(pending) = self.pending.get_mut(row.pending) {
            pending.number = Some(number);
        } else {
            row.pending = self.insert(Pending {
                session,
                place: row.place,
                number: Some(number),
                waiter: None,
                bytes: ROW_BYTES,
                batch: self.open,
            });
            self.note(ROW_BYTES, now);
        }
        row.batch = self.open;
        self.is_urgent = true;
        self.open
    }

    /// A delivery is over, or its message is not needed any more if `is_over` is false.
    pub(super) fn forget(
        &mut self,
        rows: &mut Rows,
        client_id: &Arc<str>,
        row: &mut Row,
        message: Option<&Kept>,
        now: Instant,
    ) {
        if row.place == 0 {
            return;
        }
        if let Some(pending) = self.remove(row.pending)
            && rows.deliveries == 0
            && self.is_committed(rows.batch)
            && let Some(waiter) = pending.waiter
        {
            self.not_needed.push(waiter);
        }
        if row.on_disk {
            rows.deliveries = rows.deliveries.saturating_sub(1);
            rows.batch = self.open;
            self.deletions.push(Record::DeleteDelivery {
                client_id: Arc::clone(client_id),
                place: row.place,
            });
            self.note(ROW_BYTES, now);
        }
        if let Some(message) = message {
            self.unrefer(row, message, now);
        }
        *row = Row::default();
    }

    /// A row does not refer to its message any more.
    pub(super) fn unrefer(&mut self, row: &mut Row, message: &Kept, now: Instant) {
        if core::mem::take(&mut row.refers) && message.unrefer() {
            let number = message.number;
            self.deletions.push(Record::DeleteMessage { number });
            self.note(ROW_BYTES, now);
        }
    }

    /// The session of a delivery has ended, and its rows are deleted with it.
    pub(super) fn abandon(&mut self, delivery: &mut Delivery, now: Instant) {
        if delivery.row.place > 0 {
            self.remove(delivery.row.pending);
            self.unrefer(&mut delivery.row, &delivery.message, now);
            delivery.row = Row::default();
        }
    }

    /// The session of a delivery has ended, and another is to have it: until then it has a row
    /// without a session.
    pub(super) fn orphan(&mut self, delivery: &mut Delivery, now: Instant) {
        if !delivery.row.refers {
            delivery.row = Row::default();
            return;
        }
        self.remove(delivery.row.pending);
        let (place, bytes) = (self.next_place(), ROW_BYTES);
        delivery.row.place = place;
        delivery.row.on_disk = false;
        delivery.row.pending = self.insert(Pending {
            session: SessionId::default(),
            place,
            number: None,
            waiter: None,
            bytes,
            batch: self.open,
        });
        self.note(bytes, now);
        self.await_open();
    }

    /// A delivery without a session has gone to another one, or nowhere.
    pub(super) fn forget_orphan(&mut self, delivery: &mut Delivery, now: Instant) {
        let mut rows = Rows::default();
        let nobody = Arc::from("");
        let row = &mut delivery.row;
        self.forget(&mut rows, &nobody, row, Some(&delivery.message), now);
    }

    /// The row of a session is out of date.
    pub(super) fn session(&mut self, id: SessionId, rows: &mut Rows, now: Instant) {
        if rows.dirty <= self.last_taken {
            rows.dirty = self.open;
            self.sessions.push(id);
            self.note(ROW_BYTES, now);
        }
        self.is_urgent = true;
    }

    /// A session has ended.
    pub(super) fn session_ended(&mut self, rows: &Rows, client_id: &Arc<str>, now: Instant) {
        let mut ended = Ended {
            batch: 0,
            owes: rows.owes,
        };
        if rows.on_disk {
            self.deletions.push(Record::DeleteSession {
                client_id: Arc::clone(client_id),
            });
            self.note(ROW_BYTES + client_id.len(), now);
            self.is_urgent = true;
            ended.batch = self.open;
        }
        if !self.is_committed(ended.batch.max(ended.owes)) {
            let before = self.ended_of(client_id);
            ended.batch = ended.batch.max(before.batch);
            ended.owes = ended.owes.max(before.owes);
            self.ended.insert(Arc::clone(client_id), ended);
        }
    }

    /// What is not committed of a client's former sessions.
    pub(super) fn ended_of(&self, client_id: &str) -> Ended {
        self.ended.get(client_id).copied().unwrap_or_default()
    }

    /// A subscription of a durable session is made, changed or gone.
    pub(super) fn subscription(&mut self, id: SessionId, filter: &str, now: Instant) -> u64 {
        self.replayed(id, filter, now);
        self.await_open()
    }

    /// All retained messages of a subscription of a durable session were sent.
    pub(super) fn replayed(&mut self, id: SessionId, filter: &str, now: Instant) {
        self.subscriptions.push((id, filter.into()));
        self.note(ROW_BYTES + filter.len(), now);
    }

    /// An identifier of a durable session is held or free.
    pub(super) fn incoming(&mut self, id: SessionId, packet_id: PacketId, now: Instant) -> u64 {
        self.incoming.push((id, packet_id));
        self.note(ROW_BYTES, now);
        self.await_open()
    }

    /// What is retained for a topic has changed.
    pub(super) fn retained(&mut self, topic: Box<str>, version: u64, bytes: usize, now: Instant) {
        self.note(ROW_BYTES + topic.len() + bytes, now);
        self.retained.push((topic, version));
        if self
            .unsure_clocks
            .back()
            .is_none_or(|(batch, _)| *batch != self.open)
        {
            let clock = clock_of(version);
            self.unsure_clocks.push_back((self.open, clock));
        }
    }

    /// The clock of the first change of what is retained that is not committed.
    pub(super) fn unsure_clock(&self) -> Option<u64> {
        self.unsure_clocks.iter().map(|(_, clock)| *clock).min()
    }
}
