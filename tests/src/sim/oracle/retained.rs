//! What is retained.

use std::collections::BTreeSet;

use super::Oracle;
use super::op::Op;
use super::session::{Got, Source};
use crate::sim::packets::Number;

/// A message was retained, or, if it is empty, the one of its topic was cleared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) number: Number,
    pub(super) instance: usize,
    pub(super) clears: bool,
}

impl Oracle {
    /// A message is to be retained.
    pub(super) fn retain(&mut self, number: Number, instance: usize) {
        let content = &self.messages[number].content;
        let topic = content.topic;
        let change = Change {
            number,
            instance,
            clears: content.payload.is_empty(),
        };
        self.retained.entry(topic).or_default().push(change);
        // The older one need not reach anybody any more, for the newer one does.
        for session in self.current.values() {
            let messages = &self.messages;
            self.sessions[*session].owed.retain(|owed| {
                !matches!(owed.source, Source::Replay(_))
                    || messages[owed.number].content.topic != topic
            });
        }
    }

    fn change_op(&self, change: &Change) -> Op {
        self.instance(change.number, change.instance).op
    }

    /// Whether it surely has happened.
    fn is_sure(&self, change: &Change) -> bool {
        let it = self.instance(change.number, change.instance);
        // Who takes one for a repetition does nothing more.
        it.taken.is_some() && !it.doubtful && !it.refused && it.same_as.is_none()
    }

    /// The instances of a message that were perhaps retained at some time after `since`.
    pub(super) fn may_be_retained(&self, number: Number, since: &Op) -> Vec<usize> {
        let topic = self.messages[number].content.topic;
        let Some(changes) = self.retained.get(topic) else {
            return Vec::new();
        };
        let found = changes.iter().filter(|change| {
            let op = self.change_op(change);
            change.number == number
                && !change.clears
                && !self.instance(change.number, change.instance).refused
                && !changes.iter().any(|other| {
                    let happened = self.is_sure(other);
                    let other = self.change_op(other);
                    happened && op.surely_before(&other) && other.surely_before(since)
                })
        });
        found.map(|change| change.instance).collect()
    }

    /// What surely is retained under a topic from before `since` until now.
    pub(super) fn surely_retained(
        &self,
        topic: &'static str,
        since: &Op,
    ) -> Option<(Number, usize)> {
        if self.terms.few_retained {
            return None;
        }
        let changes = self.retained.get(topic)?;
        let last = changes.iter().rev().find(|change| {
            let op = self.change_op(change);
            op.surely_before(since)
        })?;
        let op = self.change_op(last);
        let is_last = changes.iter().all(|other| {
            (other.number, other.instance) == (last.number, last.instance)
                || self.change_op(other).surely_before(&op)
        });
        let is_sure = self.is_sure(last);
        let taken = self.instance(last.number, last.instance).taken;
        (is_last && is_sure && !last.clears && taken.is_some())
            .then_some((last.number, last.instance))
    }

    /// Whether a session has got a newer message of the topic, that was surely retained after this
    /// one.
    pub(super) fn has_newer(&self, session: usize, number: Number, instance: usize) -> bool {
        let op = self.instance(number, instance).op;
        let topic = self.messages[number].content.topic;
        let changes = self.retained.get(topic);
        changes.into_iter().flatten().any(|other| {
            let newer = self.change_op(other);
            let source = Source::Direct(other.instance);
            self.is_sure(other)
                && op.surely_before(&newer)
                && !other.clears
                && self.sessions[session].has_got(other.number, source)
        })
    }

    /// Two clients that came when all was quiet were told the same, but for what expired between
    /// them.
    pub(crate) fn have_the_same_retained(&mut self, one: usize, other: usize) {
        let told = |client: usize| -> BTreeSet<Number> {
            let session = self.current.get(&client).map(|it| &self.sessions[*it]);
            let got = session.into_iter().flat_map(|it| &it.got);
            let is_retained = |got: &Got| matches!(got.source, Source::Replay(_));
            got.filter(|(_, all)| all.iter().any(is_retained))
                .map(|(number, _)| *number)
                .filter(|number| self.messages[*number].content.expiry.is_none())
                .collect()
        };
        let (one, other) = (told(one), told(other));
        if one != other {
            let words = |number: &Number| format!("\n  {}", self.describe(*number));
            let what = one.symmetric_difference(&other).map(words).collect();
            self.fail("not retained at all shards", what);
        }
    }

    /// The topics under which something was ever retained.
    pub(super) fn retained_topics(&self) -> Vec<&'static str> {
        self.retained.keys().copied().collect()
    }

    /// What was retained under a topic, in words.
    pub(super) fn retained_under(&self, topic: &str) -> Vec<String> {
        let changes = self.retained.get(topic).into_iter().flatten();
        let words = changes.map(|change| {
            let op = self.change_op(change);
            format!("\n  {} {op:?}", self.describe(change.number))
        });
        words.collect()
    }
}
