//! What one subscriber has received, message by message.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::inbox::Arrival;
use super::record::{Message, Record, TopicId};

/// What has come on one topic.
#[derive(Debug, Default)]
struct Row {
    /// The number that the first count is for.
    first: u32,
    /// How often each message has come.
    counts: VecDeque<u8>,
    /// Up to here everything owed has come.
    complete: u32,
    /// The greatest number that has come.
    newest: Option<u32>,
    /// Numbers before `first` that have not come, and may or may not.
    open: BTreeSet<u32>,
}

/// How often each message has come.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rows: BTreeMap<TopicId, Row>,
}

impl Row {
    /// Forgets what the record has forgotten.
    fn align(&mut self, first: u32) {
        while self.first < first {
            if self.counts.pop_front().unwrap_or(0) == 0 {
                self.open.insert(self.first);
            }
            self.first += 1;
        }
        self.complete = self.complete.max(first);
    }

    fn count(&self, number: u32) -> u8 {
        let at = number.wrapping_sub(self.first) as usize;
        self.counts.get(at).copied().unwrap_or(0)
    }
}

impl Tally {
    /// A message has come at this QoS. It may come after one that was sent later where
    /// `is_excused` says so of the two.
    pub(super) fn add(
        &mut self,
        name: &str,
        arrival: &Arrival,
        record: &mut Record,
        is_excused: impl Fn(&Message, &Message) -> bool,
    ) {
        let Arrival { topic, number, qos } = *arrival;
        let row = self.rows.entry(topic).or_default();
        row.align(record.topic(topic).first());
        record.arrived(topic, number);
        let is_first = if number < row.first {
            row.open.remove(&number)
        } else {
            let at = (number - row.first) as usize;
            if row.counts.len() <= at {
                row.counts.resize(at + 1, 0);
            }
            row.counts[at] = row.counts[at].saturating_add(1);
            row.counts[at] == 1
        };
        if !is_first && qos == 2 {
            record.figures.duplicated += 1;
            let message = record.tell(topic, number);
            record.violated(&format!("DUPLICATED: {name} got {message} again"));
        } else if !is_first {
            record.figures.repeated += 1;
        } else {
            record.figures.delivered += 1;
            if let Some(newest) = row.newest
                && newest > number
                && !record
                    .pair(topic, number, newest)
                    .is_some_and(|(it, newer)| is_excused(it, newer))
            {
                let message = record.tell(topic, number);
                record.violated(&format!(
                    "OUT OF ORDER: {name} got {message} only after number {newest}"
                ));
            }
        }
        row.newest = row.newest.max(Some(number));
    }

    /// The messages of a topic that the broker owes, as `is_owed` has it, and that have not come.
    pub(super) fn missing(
        &mut self,
        topic: TopicId,
        record: &Record,
        most: usize,
        is_owed: impl Fn(u32) -> bool,
    ) -> Vec<u32> {
        let row = self.rows.entry(topic).or_default();
        let topic = record.topic(topic);
        row.align(topic.first());
        let mut missing = Vec::new();
        let mut is_complete = true;
        for number in row.complete..topic.next() {
            let message = topic.message(number);
            let is_here = row.count(number) > 0;
            if !is_here && message.is_some_and(|it| it.is_owed()) && is_owed(number) {
                missing.push(number);
                if missing.len() >= most {
                    break;
                }
            }
            is_complete &= is_here || message.is_some_and(|it| it.is_owed() && missing.is_empty());
            if is_complete {
                row.complete = number + 1;
            }
        }
        missing
    }
}
