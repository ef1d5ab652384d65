//! What came was perhaps something else than it was taken for.
//!
//! Copies of one message that look the same cannot be told apart. They are ascribed to what they
//! may be as they come; if later something comes for which there is no way left, or something is
//! missing at the end, others may have been ascribed wrongly.

use super::Oracle;
use super::deliver::Way;
use super::session::{Got, Look, Source};
use crate::sim::packets::Number;
use crate::wire::Publish;

impl Oracle {
    /// What came before was perhaps something else than it was taken for, if then there is a way
    /// for what comes now.
    pub(super) fn ascribe_anew(
        &mut self,
        conn: usize,
        session: usize,
        got: &Publish,
        numbers: &[Number],
        look: &Look,
    ) -> Option<Way> {
        for number in numbers.iter().copied() {
            for taken in self.ways(session, &[number], look) {
                let before = self.sessions[session].got.get(&number).cloned();
                if taken.is_used
                    && self.free(session, number, taken.source, &mut vec![taken.source])
                {
                    if let Ok(way) = self.way_of(conn, session, got, numbers, look) {
                        return Some(way);
                    }
                    let got = &mut self.sessions[session].got;
                    before.map(|before| got.insert(number, before));
                }
            }
        }
        self.ascribe_others(conn, session, got, numbers, look)
    }

    /// What has come of other messages was perhaps published earlier than was thought.
    fn ascribe_others(
        &mut self,
        conn: usize,
        session: usize,
        got: &Publish,
        numbers: &[Number],
        look: &Look,
    ) -> Option<Way> {
        let first = &self.messages[*numbers.first()?].content;
        let (from, topic) = (first.from, first.topic);
        let is_like = |number: &Number| {
            let content = &self.messages[*number].content;
            content.from == from && content.topic == topic
        };
        let others = self.sessions[session].got.keys().copied();
        let others: Vec<Number> = others.filter(is_like).collect();
        for number in others {
            let before = self.sessions[session].got.get(&number).cloned();
            let sources = before
                .iter()
                .flatten()
                .filter(|got| got.look.qos == look.qos);
            for source in sources.map(|got| got.source).collect::<Vec<_>>() {
                let is_direct = matches!(source, Source::Direct(_));
                if is_direct && self.free(session, number, source, &mut vec![source]) {
                    if let Ok(way) = self.way_of(conn, session, got, numbers, look) {
                        return Some(way);
                    }
                    let all = &mut self.sessions[session].got;
                    before.clone().map(|before| all.insert(number, before));
                }
            }
            let all = before.unwrap_or_default();
            for (first, one) in all.iter().enumerate() {
                for (second, other) in all.iter().enumerate().skip(first + 1) {
                    if self.may_be(session, number, one.source, other)
                        && self.may_be(session, number, other.source, one)
                    {
                        self.take_for(session, number, first, other.source);
                        self.take_for(session, number, second, one.source);
                        if let Ok(way) = self.way_of(conn, session, got, numbers, look) {
                            return Some(way);
                        }
                        self.take_for(session, number, first, one.source);
                        self.take_for(session, number, second, other.source);
                    }
                }
            }
        }
        None
    }

    /// Takes what has come by a source for something that has come by another one, if it fits, and
    /// so on; returns whether that was possible.
    fn free(
        &mut self,
        session: usize,
        number: Number,
        source: Source,
        seen: &mut Vec<Source>,
    ) -> bool {
        let all = self.sessions[session].got.get(&number);
        let all = all.into_iter().flatten().enumerate();
        let mut by_it = all.filter(|(_, got)| got.source == source);
        let Some((place, got)) = by_it.next() else {
            return true;
        };
        let (look, turn) = (got.look.clone(), got.turn);
        for other in self.ways(session, &[number], &look) {
            let is_later = self.instance(number, other.instance).op.from > turn;
            let is_shared = matches!(other.source, Source::Group(..));
            if is_later || is_shared || seen.contains(&other.source) {
                continue;
            }
            seen.push(other.source);
            if self.free(session, number, other.source, seen) {
                self.take_for(session, number, place, other.source);
                return true;
            }
        }
        false
    }

    /// Whether what has come may have come by that.
    pub(super) fn may_be(&self, session: usize, number: Number, source: Source, got: &Got) -> bool {
        let ways = self.ways(session, &[number], &got.look);
        let mut ways = ways.iter().filter(|way| way.source == source);
        ways.any(|way| self.instance(number, way.instance).op.from <= got.turn)
    }

    /// What has come is taken for something else.
    pub(super) fn take_for(
        &mut self,
        session: usize,
        number: Number,
        place: usize,
        source: Source,
    ) {
        if let Some(all) = self.sessions[session].got.get_mut(&number) {
            all[place].source = source;
        }
    }
}
