//! A store that keeps its rows in memory: what a disk would hold after a crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use wherry_core::store::{
    Batch, Record, Restore, Restored, StoredDelivery, StoredMessage, StoredOwed, StoredSession,
    StoredSubscription,
};

/// Rows by their keys, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    sessions: BTreeMap<Arc<str>, StoredSession>,
    subscriptions: BTreeMap<(Arc<str>, Box<str>), StoredSubscription>,
    incoming: BTreeMap<(Arc<str>, u16), ()>,
    messages: BTreeMap<u64, StoredMessage>,
    deliveries: BTreeMap<(Arc<str>, u64), StoredDelivery>,
    retained: BTreeMap<Box<str>, (u64, Option<StoredMessage>)>,
    owed: BTreeMap<(u8, u64), StoredOwed>,
    links: BTreeMap<(u8, u8), u64>,
}

impl Rows {
    /// Writes a batch, whole.
    pub fn apply(&mut self, batch: Batch) {
        for record in batch.records {
            self.apply_one(record);
        }
    }

    fn apply_one(&mut self, record: Record) {
        match record {
            Record::PutSession { client_id, session } => {
                self.sessions.insert(client_id, session);
            }
            Record::DeleteSession { client_id } => {
                self.sessions.remove(&client_id);
                self.subscriptions.retain(|(of, _), _| *of != client_id);
                self.incoming.retain(|(of, _), ()| *of != client_id);
                self.deliveries.retain(|(of, _), _| *of != client_id);
            }
            Record::PutSubscription {
                client_id,
                filter,
                subscription,
            } => {
                self.subscriptions.insert((client_id, filter), subscription);
            }
            Record::DeleteSubscription { client_id, filter } => {
                self.subscriptions.remove(&(client_id, filter));
            }
            Record::PutIncoming {
                client_id,
                packet_id,
            } => {
                self.incoming.insert((client_id, packet_id), ());
            }
            Record::DeleteIncoming {
                client_id,
                packet_id,
            } => {
                self.incoming.remove(&(client_id, packet_id));
            }
            Record::PutMessage { number, message } => {
                self.messages.insert(number, message);
            }
            Record::DeleteMessage { number } => {
                self.messages.remove(&number);
            }
            Record::PutDelivery {
                client_id,
                place,
                delivery,
            } => {
                self.deliveries.insert((client_id, place), delivery);
            }
            Record::DeleteDelivery { client_id, place } => {
                self.deliveries.remove(&(client_id, place));
            }
            Record::PutOwed {
                shard,
                number,
                owed,
            } => {
                self.owed.insert((shard, number), owed);
            }
            Record::DeleteOwed { shard, number } => {
                self.owed.remove(&(shard, number));
            }
            Record::PutLink { from, to, number } => {
                self.links.insert((from, to), number);
            }
            Record::DeleteLink { from, to } => {
                self.links.remove(&(from, to));
            }
            Record::PutRetained {
                topic,
                version,
                message,
            } => {
                let known = self.retained.get(&topic);
                if known.is_none_or(|(known, _)| *known <= version) {
                    self.retained.insert(topic, (version, message));
                }
            }
            Record::DeleteRetained { topic, version } => {
                let known = self.retained.get(&topic);
                if known.is_some_and(|(known, _)| *known <= version) {
                    self.retained.remove(&topic);
                }
            }
        }
    }

    /// What a process with that many shards begins with; what belongs to nothing is deleted.
    pub fn restore(&mut self, shards: usize, owner: impl Fn(&str) -> usize) -> Vec<Restored> {
        let mut restore = Restore::new();
        self.clone().for_each(|row| restore.add(row));
        let (fixes, restored) = restore.finish(shards, owner);
        self.apply(fixes);
        restored
    }

    /// Calls `f` for each row, as the record that puts it.
    pub fn for_each(self, mut f: impl FnMut(Record)) {
        for (client_id, session) in self.sessions {
            f(Record::PutSession { client_id, session });
        }
        for ((client_id, filter), subscription) in self.subscriptions {
            f(Record::PutSubscription {
                client_id,
                filter,
                subscription,
            });
        }
        for ((client_id, packet_id), ()) in self.incoming {
            f(Record::PutIncoming {
                client_id,
                packet_id,
            });
        }
        for (number, message) in self.messages {
            f(Record::PutMessage { number, message });
        }
        for ((client_id, place), delivery) in self.deliveries {
            f(Record::PutDelivery {
                client_id,
                place,
                delivery,
            });
        }
        for ((shard, number), owed) in self.owed {
            f(Record::PutOwed {
                shard,
                number,
                owed,
            });
        }
        for ((from, to), number) in self.links {
            f(Record::PutLink { from, to, number });
        }
        for (topic, (version, message)) in self.retained {
            f(Record::PutRetained {
                topic,
                version,
                message,
            });
        }
    }

    /// How many rows of sessions, subscriptions, deliveries, messages and retained messages there
    /// are.
    pub fn counts(&self) -> [usize; 5] {
        [
            self.sessions.len(),
            self.subscriptions.len(),
            self.deliveries.len(),
            self.messages.len(),
            self.retained.len(),
        ]
    }

    /// Whether a message without a delivery, or a delivery without its message or session, is
    /// there.
    pub fn has_strays(&self) -> bool {
        let mut used: BTreeMap<u64, ()> = BTreeMap::new();
        for ((client_id, _), delivery) in &self.deliveries {
            if !client_id.is_empty() && !self.sessions.contains_key(client_id) {
                return true;
            }
            used.extend(delivery.message.map(|number| (number, ())));
        }
        let is_known = |client_id: &Arc<str>| self.sessions.contains_key(client_id);
        !used.keys().eq(self.messages.keys())
            || !self.subscriptions.keys().all(|(of, _)| is_known(of))
            || !self.incoming.keys().all(|(of, _)| is_known(of))
    }
}
