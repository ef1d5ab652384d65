//! What is still owed when all should be done.

use super::Oracle;
use super::op::Turn;
use super::publish::GroupCopy;
use super::session::{Got, Look, Owed, Session, Source};
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
                    pending.push(format!("{} has not got {what}{by}", it.name));
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
            answers(it.pubacks.len(), "PUBACK");
            answers(it.pubrecs.len(), "PUBREC");
            answers(it.pubcomps.len(), "PUBCOMP");
            answers(it.subacks.len(), "SUBACK");
            answers(it.unsubacks.len(), "UNSUBACK");
            answers(it.pings, "PINGRESP");
            answers(it.releases.len(), "PUBREL");
        }
        pending
    }

    /// What had to come by one way, and came by another that looks the same, is not missing.
    fn ascribe_all(&mut self) {
        for session in self.current.values() {
            let it = &self.sessions[*session];
            let missing = it.owed.iter().filter(|owed| !self.has_come(it, owed));
            let missing: Vec<Owed> = missing.cloned().collect();
            self.sessions[*session].owed = missing;
        }
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

    /// Whether as many copies came as had to, of all times that the message was published: the
    /// latest copy that may be it for each, beginning with the last time.
    fn has_come(&self, it: &Session, owed: &Owed) -> bool {
        let Source::Direct(_) = owed.source else {
            return false;
        };
        let from = |source| match source {
            Source::Direct(place) => Some(self.instance(owed.number, place).op.from),
            _ => None,
        };
        let looks = |look: &Look| owed.look.as_ref().is_none_or(|owed| owed == look);
        let all = it.got.get(&owed.number).into_iter().flatten();
        let all = all.filter(|got| from(got.source).is_some() && looks(&got.look));
        let turns: Vec<Turn> = all.clone().map(|got| got.turn).collect();
        let was_owed = all.filter(|got| got.was_owed).map(|got| got.source);
        let is_due = it.owed.iter().filter(|other| other.number == owed.number);
        let is_due = is_due.map(|other| other.source);
        covers(turns, was_owed.chain(is_due).filter_map(from).collect())
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
