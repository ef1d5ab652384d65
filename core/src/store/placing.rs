//! Sessions and their messages, divided among shards.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::restore::{Restored, RestoredDelivery, RestoredFilters, RestoredRetained};
use super::{Record, StoredMessage};

/// The parts of all shards, as they grow.
pub(super) struct Placing<'a> {
    parts: Vec<Restored>,
    messages: &'a BTreeMap<u64, StoredMessage>,
    /// By which number each shard knows a message.
    numbers: BTreeMap<(u64, usize), u64>,
    /// The messages that a shard looks after under their own number.
    taken: BTreeMap<u64, usize>,
    last_message: u64,
    fixes: Vec<Record>,
}

impl<'a> Placing<'a> {
    pub(super) fn new(
        shards: usize,
        messages: &'a BTreeMap<u64, StoredMessage>,
        last_message: u64,
        fixes: Vec<Record>,
    ) -> Self {
        let mut parts = Vec::new();
        parts.resize_with(shards, Restored::default);
        Self {
            parts,
            messages,
            numbers: BTreeMap::new(),
            taken: BTreeMap::new(),
            last_message,
            fixes,
        }
    }

    pub(super) fn part(&mut self, shard: usize) -> Option<&mut Restored> {
        self.parts.get_mut(shard)
    }

    pub(super) fn fix(&mut self, record: Record) {
        self.fixes.push(record);
    }

    /// Gives a shard the messages that these deliveries refer to. One that another shard has as
    /// well is copied under a number of its own: each deletes its messages as it likes.
    pub(super) fn place(
        &mut self,
        shard: usize,
        client_id: &Arc<str>,
        deliveries: &mut [RestoredDelivery],
    ) {
        for it in deliveries {
            let Some(old) = it.delivery.message else {
                continue;
            };
            let number = self.number_at(shard, old);
            if number != old {
                it.delivery.message = Some(number);
                self.fixes.push(Record::PutDelivery {
                    client_id: Arc::clone(client_id),
                    place: it.place,
                    delivery: it.delivery.clone(),
                });
            }
        }
    }

    /// The number by which a shard knows a message.
    fn number_at(&mut self, shard: usize, old: u64) -> u64 {
        if let Some(number) = self.numbers.get(&(old, shard)) {
            return *number;
        }
        let Some(message) = self.messages.get(&old) else {
            return old; // There are none without.
        };
        let mut number = old;
        if self.taken.insert(old, shard).is_some() {
            self.last_message += 1;
            number = self.last_message;
            self.fixes.push(Record::PutMessage {
                number,
                message: message.clone(),
            });
        }
        self.numbers.insert((old, shard), number);
        if let Some(part) = self.parts.get_mut(shard) {
            part.messages.insert(number, message.clone());
        }
        number
    }

    /// The parts, with what they have in common, and what has to be written.
    pub(super) fn finish(
        mut self,
        retained: &Arc<Vec<RestoredRetained>>,
        wanted: RestoredFilters,
        version: u64,
        last_place: u64,
    ) -> (Vec<Record>, Vec<Restored>) {
        let step = self.parts.len() as u64;
        let wanted = Arc::new(wanted);
        for (shard, part) in (1..).zip(&mut self.parts) {
            part.retained = Arc::clone(retained);
            part.wanted = Arc::clone(&wanted);
            part.version = version;
            part.next_place = last_place + shard;
            part.next_message = self.last_message + shard;
            part.step = step;
        }
        (self.fixes, self.parts)
    }
}
