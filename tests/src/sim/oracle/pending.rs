//! What is still owed when all should be done.

use super::Oracle;
use super::op::Turn;
use super::publish::GroupCopy;
use super::session::{Got, Owed, Source};
use crate::sim::packets::Number;

impl Oracle {
    /// All that is owed and has not come, in words.
    pub(crate) fn pending(&mut self) -> Vec<String> {
        self.ascribe_all();
        let mut pending = Vec::new();
        let now = self.now;
        for session in self.current.values() {
            let it = &self.sessions[*session];
            for owed in &it.owed {
                if owed.expires.is_none_or(|at| at > now) {
                    let by = match owed.source {
                        Source::Replay(sub) => {
                            format!(", retained, by {:?}", it.subs[sub].name)
                        }
                        _ => format!(", as it came on connection {}", self.came_on(owed)),
                    };
                    let what = self.describe(owed.number);
                    let got = it.got.get(&owed.number);
                    pending.push(format!("{} has not got {what}{by}; got: {got:?}", it.name));
                }
            }
            for flight in it.again.iter().filter(|flight| flight.due.is_some()) {
                if let Some(number) = flight.number
                    && !self.is_expired(number, flight.source)
                {
                    let what = self.describe(number);
                    pending.push(format!(
                        "{} has not got {what} again after a crash",
                        it.name
                    ));
                }
            }
            for (id, flight) in &it.flights {
                if flight.due.is_some() {
                    let what = if flight.released { "PUBREL" } else { "PUBLISH" };
                    pending.push(format!("{} has not got {what} {id} again", it.name));
                }
            }
        }
        for (number, message) in self.messages.iter().enumerate() {
            for copy in message.instances.iter().flat_map(|it| &it.copies) {
                let is_due = copy.must && !copy.over && copy.holder.is_none();
                let is_due = is_due && copy.expires.is_none_or(|at| at > now);
                if is_due && !self.has_come_to(number, copy.group) {
                    let what = self.describe(number);
                    pending.push(format!("no member of {} has got {what}", copy.group));
                }
            }
        }
        for conn in &self.inside {
            let it = &self.conns[*conn];
            let mut answers = |count: usize, what| {
                if count > 0 {
                    pending.push(format!("{} waits for {count} {what}", self.name(*conn)));
                }
            };
            if !self.may_be_silent(*conn) {
                answers(it.pubacks.len(), "PUBACK");
                answers(it.pubrecs.len(), "PUBREC");
            }
            answers(it.pubcomps.len(), "PUBCOMP");
            answers(it.subacks.len(), "SUBACK");
            answers(it.unsubacks.len(), "UNSUBACK");
            answers(it.pings, "PINGRESP");
            answers(it.releases.len(), "PUBREL");
        }
        pending
    }

    /// Whether a message need not come any more.
    fn is_expired(&self, number: Number, source: Source) -> bool {
        let instances = &self.messages[number].instances;
        let expiry = self.messages[number].content.expiry;
        let instance = match source {
            Source::Direct(place) | Source::Group(_, place) => &instances[place],
            Source::Replay(_) => &instances[0],
        };
        let expires = instance.expires(expiry).map(|(earliest, _)| earliest);
        expires.is_some_and(|at| at <= self.now)
    }

    /// What had to come by one way, and came by another that looks the same, is not missing.
    fn ascribe_all(&mut self) {
        let sessions: Vec<usize> = self.current.values().copied().collect();
        for session in sessions {
            let owed = std::mem::take(&mut self.sessions[session].owed);
            let mut is_missing = |owed: &Owed| {
                let place = match owed.source {
                    Source::Direct(place) => place,
                    Source::Replay(sub) => return !self.may_have_come(session, owed, sub),
                    Source::Group(..) => return true,
                };
                // Whatever is taken for the same will do.
                let instances = &self.messages[owed.number].instances;
                let first = |place: usize| instances[place].same_as.unwrap_or(place);
                let is_same = |other: &usize| first(*other) == first(place);
                let like: Vec<usize> = (0..instances.len()).filter(is_same).collect();
                !like.into_iter().any(|place| {
                    let source = Source::Direct(place);
                    self.has_come(session, owed.number, source, &mut Vec::new())
                })
            };
            let missing: Vec<Owed> = owed.into_iter().filter(|owed| is_missing(owed)).collect();
            self.sessions[session].owed = missing;
        }
    }

    /// Whether what has come of a message that was published several times may have been a replay.
    fn may_have_come(&self, session: usize, owed: &Owed, sub: usize) -> bool {
        let it = &self.sessions[session];
        let made = it.subs[sub].made;
        let all = it.got.get(&owed.number).into_iter().flatten();
        let mut like = all.filter(|got| {
            got.turn >= made.from && owed.look.as_ref().is_none_or(|look| *look == got.look)
        });
        self.messages[owed.number].instances.len() > 1 && like.next().is_some()
    }

    /// Whether something that has come may have come by this; if that was due by something else,
    /// that has to have come otherwise. What is in `seen` has been asked already.
    fn has_come(
        &mut self,
        session: usize,
        number: Number,
        source: Source,
        seen: &mut Vec<usize>,
    ) -> bool {
        let all = self.sessions[session].got.get(&number);
        let all: Vec<Got> = all.into_iter().flatten().cloned().collect();
        for (place, got) in all.iter().enumerate() {
            let is_shared = matches!(got.source, Source::Group(..));
            if is_shared || seen.contains(&place) || !self.may_be(session, number, source, got) {
                continue;
            }
            seen.push(place);
            let is_it = !got.was_owed || got.source == source;
            if is_it || self.has_come(session, number, got.source, seen) {
                self.take_for(session, number, place, source);
                if let Some(all) = self.sessions[session].got.get_mut(&number) {
                    all[place].was_owed = true;
                }
                return true;
            }
        }
        false
    }

    /// Whether as many copies came to members of a group as had to, of all times that the message
    /// was published.
    fn has_come_to(&self, number: Number, group: &str) -> bool {
        let mut turns = Vec::new();
        for session in &self.sessions {
            let all = session.got.get(&number).into_iter().flatten();
            let is_its = |got: &&Got| matches!(got.source, Source::Group(of, _) if of == group);
            turns.extend(all.filter(is_its).map(|got| got.turn));
        }
        let mut due = Vec::new();
        for instance in &self.messages[number].instances {
            let is_due = |copy: &&GroupCopy| {
                copy.group == group && copy.must && copy.expires.is_none_or(|at| at > self.now)
            };
            due.extend(
                instance
                    .copies
                    .iter()
                    .filter(is_due)
                    .map(|_| instance.op.from),
            );
        }
        covers(turns, due)
    }

    /// The connection on which a message came that somebody is to have.
    fn came_on(&self, owed: &Owed) -> String {
        let Source::Direct(instance) = owed.source else {
            return String::new();
        };
        let it = self.instance(owed.number, instance);
        format!("{} at {}, {:?}", it.op.conn, it.at, owed.look)
    }
}

/// Whether there is a copy for each that is due, that came no earlier: the latest for the last.
fn covers(mut turns: Vec<Turn>, mut due: Vec<Turn>) -> bool {
    turns.sort_unstable();
    due.sort_unstable();
    while let Some(from) = due.pop() {
        if turns.pop().is_none_or(|turn| turn < from) {
            return false;
        }
    }
    true
}
