//! From rows to what each shard begins with.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::placing::Placing;
use super::{
    Batch, Record, StoredDelivery, StoredMessage, StoredOwed, StoredSession, StoredSubscription,
};

/// All rows of a store, gathered.
///
/// Rows that belong to nothing are left out, and deleted by the batch that [`Restore::finish`]
/// gives.
#[derive(Debug, Default)]
pub struct Restore {
    pub(super) sessions: BTreeMap<Arc<str>, Gathered>,
    pub(super) messages: BTreeMap<u64, StoredMessage>,
    pub(super) owed: BTreeMap<(u8, u64), StoredOwed>,
    /// From and to which shard, and up to which number.
    pub(super) links: BTreeMap<(u8, u8), u64>,
    retained: BTreeMap<Box<str>, (u64, Option<StoredMessage>)>,
}

/// The rows under one client identifier.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) session: Option<StoredSession>,
    pub(super) subscriptions: BTreeMap<Box<str>, StoredSubscription>,
    incoming: Vec<u16>,
    pub(super) deliveries: BTreeMap<u64, StoredDelivery>,
}

/// What one shard begins with.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    pub(crate) sessions: Vec<RestoredSession>,
    /// What sessions that have ended leave to other members of their groups.
    pub(crate) left_over: Vec<RestoredDelivery>,
    pub(crate) messages: BTreeMap<u64, StoredMessage>,
    pub(crate) retained: Arc<Vec<RestoredRetained>>,
    /// What any shard has subscribers for: all know it from the beginning, or what is published
    /// first would miss those of others.
    pub(crate) wanted: Arc<RestoredFilters>,
    /// The greatest version of a retained message.
    pub(crate) version: u64,
    pub(crate) next_place: u64,
    pub(crate) next_message: u64,
    pub(crate) step: u64,
}

/// The filters of all sessions as they stand in SUBSCRIBE, each with the shards that have
/// subscribers for it, and how many.
pub(crate) type RestoredFilters = BTreeMap<Box<str>, BTreeMap<u8, u32>>;

/// A session with all that belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct RestoredSession {
    pub(crate) client_id: Arc<str>,
    pub(crate) session: StoredSession,
    pub(crate) subscriptions: Vec<(Box<str>, StoredSubscription)>,
    pub(crate) incoming: Vec<u16>,
    /// In the order of their places.
    pub(crate) deliveries: Vec<RestoredDelivery>,
}

/// A delivery and its place.
#[derive(Clone, Debug)]
pub(crate) struct RestoredDelivery {
    pub(crate) place: u64,
    pub(crate) delivery: StoredDelivery,
}

/// A retained message and its version.
#[derive(Clone, Debug)]
pub(crate) struct RestoredRetained {
    pub(crate) version: u64,
    pub(crate) message: StoredMessage,
}

impl Restore {
    /// Without a row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row, as the record that puts it. Records that delete have no meaning here.
    pub fn add(&mut self, row: Record) {
        match row {
            Record::PutSession { client_id, session } => {
                self.of(client_id).session = Some(session);
            }
            Record::PutSubscription {
                client_id,
                filter,
                subscription,
            } => {
                let of = self.of(client_id);
                of.subscriptions.insert(filter, subscription);
            }
            Record::PutIncoming {
                client_id,
                packet_id,
            } => self.of(client_id).incoming.push(packet_id),
            Record::PutMessage { number, message } => {
                self.messages.insert(number, message);
            }
            Record::PutDelivery {
                client_id,
                place,
                delivery,
            } => {
                self.of(client_id).deliveries.insert(place, delivery);
            }
            Record::PutRetained {
                topic,
                version,
                message,
            } => {
                self.retained.insert(topic, (version, message));
            }
            Record::PutOwed {
                shard,
                number,
                owed,
            } => {
                self.owed.insert((shard, number), owed);
            }
            Record::PutLink { from, to, number } => {
                self.links.insert((from, to), number);
            }
            Record::DeleteOwed { .. }
            | Record::DeleteLink { .. }
            | Record::DeleteSession { .. }
            | Record::DeleteSubscription { .. }
            | Record::DeleteIncoming { .. }
            | Record::DeleteMessage { .. }
            | Record::DeleteDelivery { .. }
            | Record::DeleteRetained { .. } => {}
        }
    }

    fn of(&mut self, client_id: Arc<str>) -> &mut Gathered {
        self.sessions.entry(client_id).or_default()
    }

    /// Divides everything among `shards`; `owner` says which of them has a client.
    ///
    /// The batch that comes with it, number 0, must be committed before any of them writes: it
    /// deletes what belongs to nothing, hands on what shards owed each other, and says which shard
    /// has which session now.
    pub fn finish(
        mut self,
        shards: usize,
        owner: impl Fn(&str) -> usize,
    ) -> (Batch, Vec<Restored>) {
        let shards = shards.max(1);
        let mut fixes = Vec::new();
        let mut last = self.drop_strays(&mut fixes);
        self.settle_owed(&mut last, &mut fixes);
        let version = self.retained.values().map(|(version, _)| *version).max();
        let retained = Arc::new(self.take_retained(&mut fixes));
        let (last_place, last_message) = last;
        let left_over = self.sessions.remove("");
        let mut placing = Placing::new(shards, &self.messages, last_message, fixes);
        let mut wanted = RestoredFilters::new();
        for (client_id, it) in self.sessions {
            let shard = owner(&client_id).min(shards - 1);
            let Some(mut session) = it.session else {
                continue; // There are none without.
            };
            let small = u8::try_from(shard).unwrap_or(u8::MAX);
            for name in it.subscriptions.keys() {
                let of = wanted.entry(name.clone()).or_default();
                *of.entry(small).or_default() += 1;
            }
            if session.shard != small {
                session.shard = small;
                placing.fix(Record::PutSession {
                    client_id: Arc::clone(&client_id),
                    session: session.clone(),
                });
            }
            let mut deliveries = restored(it.deliveries);
            placing.place(shard, &client_id, &mut deliveries);
            if let Some(part) = placing.part(shard) {
                part.sessions.push(RestoredSession {
                    client_id,
                    session,
                    subscriptions: it.subscriptions.into_iter().collect(),
                    incoming: it.incoming,
                    deliveries,
                });
            }
        }
        for mut delivery in restored(left_over.unwrap_or_default().deliveries) {
            let group = delivery.delivery.group.as_deref().unwrap_or_default();
            let members = wanted.get(group).and_then(|of| of.keys().next());
            let shard = members.map_or(0, |shard| usize::from(*shard));
            placing.place(shard, &Arc::from(""), core::slice::from_mut(&mut delivery));
            if let Some(part) = placing.part(shard) {
                part.left_over.push(delivery);
            }
        }
        let (records, parts) = placing.finish(&retained, wanted, version.unwrap_or(0), last_place);
        (Batch { number: 0, records }, parts)
    }

    /// Leaves out what belongs to nothing. Returns the last place and the last message.
    fn drop_strays(&mut self, fixes: &mut Vec<Record>) -> (u64, u64) {
        let mut place = 0;
        let mut used: BTreeMap<u64, ()> = BTreeMap::new();
        self.sessions.retain(|client_id, it| {
            place = place.max(it.deliveries.keys().last().copied().unwrap_or(0));
            if it.session.is_none() && !client_id.is_empty() {
                let client_id = Arc::clone(client_id);
                fixes.push(Record::DeleteSession { client_id });
                return false;
            }
            it.deliveries.retain(|place, delivery| {
                let is_there = delivery
                    .message
                    .is_none_or(|number| self.messages.contains_key(&number));
                if is_there && let Some(number) = delivery.message {
                    used.insert(number, ());
                }
                if !is_there {
                    let (client_id, place) = (Arc::clone(client_id), *place);
                    fixes.push(Record::DeleteDelivery { client_id, place });
                }
                is_there
            });
            true
        });
        let message = self.messages.keys().last().copied().unwrap_or(0);
        self.messages.retain(|number, _| {
            let is_used = used.contains_key(number);
            if !is_used {
                fixes.push(Record::DeleteMessage { number: *number });
            }
            is_used
        });
        (place, message)
    }

    /// Takes the retained messages out; what was cleared needs no row any more, for nothing older
    /// can come.
    fn take_retained(&mut self, fixes: &mut Vec<Record>) -> Vec<RestoredRetained> {
        let mut retained = Vec::new();
        for (topic, (version, message)) in core::mem::take(&mut self.retained) {
            match message {
                Some(message) => retained.push(RestoredRetained { version, message }),
                None => fixes.push(Record::DeleteRetained { topic, version }),
            }
        }
        retained
    }
}

impl Restored {
    /// Whether nothing was stored for this shard.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.left_over.is_empty() && self.retained.is_empty()
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

fn restored(deliveries: BTreeMap<u64, StoredDelivery>) -> Vec<RestoredDelivery> {
    let deliveries = deliveries.into_iter();
    deliveries
        .map(|(place, delivery)| RestoredDelivery { place, delivery })
        .collect()
}
