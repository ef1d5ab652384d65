//! What survives a crash: all that somebody was told, and nothing twice at QoS 2.
//!
//! What nobody was told may be there or not. The world knows up to which turn all is in the store;
//! what is older than that is there as if somebody had been told.

use std::collections::BTreeSet;

use super::Oracle;
use super::op::{NOBODY, Op, Turn};
use super::publish::Message;
use super::session::{Flight, Owed, Session, Source, Stage};
use crate::sim::packets::Number;
use crate::sim::schedule::Millis;

impl Oracle {
    /// The process has died; all that was done up to the turn `safe` is in the store. Another one
    /// goes on from there at `now`.
    pub(crate) fn crashed(&mut self, safe: Turn, now: Millis) {
        self.turn += 1;
        self.now = now;
        self.unsettled.clear();
        self.verdicts.clear();
        for conn in self.inside.clone() {
            if let Stage::In(session) = self.conns[conn].stage {
                self.note_handshakes(session);
            }
        }
        self.lost.push((safe, self.turn));
        self.answers_are_forgotten(safe);
        self.who_is_sure(safe);
        self.wills_are_repeated(safe);
        let sessions: Vec<usize> = self.current.values().copied().collect();
        for session in sessions {
            self.session_survives(session, safe);
        }
        self.messages_survive(safe);
        for conn in &mut self.conns {
            conn.stage = Stage::Over;
        }
        self.inside.clear();
    }

    /// What a member of a shared subscription got or was done with may go to another one, or come
    /// anew, if the store does not know.
    fn answers_are_forgotten(&mut self, safe: Turn) {
        let messages = &mut self.messages;
        let mut forget = |number: Number, group: &str, place: usize| {
            let copies = &mut messages[number].instances[place].copies;
            for copy in copies.iter_mut().filter(|copy| copy.group == group) {
                (copy.over, copy.holder, copy.must) = (false, None, false);
            }
        };
        for session in &mut self.sessions {
            for (number, all) in &mut session.got {
                all.retain(|got| match got.source {
                    Source::Group(group, place) if got.turn > safe => {
                        forget(*number, group, place);
                        false
                    }
                    _ => true,
                });
            }
            for (_, _, flight) in session.done.iter().filter(|(turn, ..)| *turn > safe) {
                if let (Some(number), Source::Group(group, place)) = (flight.number, flight.source)
                {
                    forget(number, group, place);
                }
            }
        }
    }

    /// Those of whose sessions nobody knows what is left, begin anew.
    fn who_is_sure(&mut self, safe: Turn) {
        let untold = std::mem::take(&mut self.untold);
        let unsure = untold.into_iter().filter(|(_, turn)| *turn > safe);
        self.unsure.extend(unsure.map(|(client, _)| client));
        for client in self.unsure.clone() {
            if let Some(session) = self.current.get(&client) {
                self.end_unsurely(*session);
            }
        }
        self.untold.clear();
    }

    /// A session is over, or goes on: nobody knows until its client begins another one.
    pub(super) fn end_unsurely(&mut self, session: usize) {
        let it = &mut self.sessions[session];
        let client = it.client;
        if let Some((number, _)) = it.will.take() {
            self.will_may_come(session, number);
        }
        if let Some(conn) = self.sessions[session].conn.take() {
            self.conns[conn].stage = Stage::Over;
            self.inside.retain(|inside| *inside != conn);
        }
        self.end_session(session);
        self.untold.remove(&client);
        self.unsure.insert(client);
    }

    /// Wills of which the store does not know that they are over may be published once more.
    fn wills_are_repeated(&mut self, safe: Turn) {
        let mut again: Vec<(usize, Number, Option<usize>)> = Vec::new();
        for (session, it) in self.sessions.iter_mut().enumerate() {
            it.wills_gone.retain(|(_, turn)| *turn > safe);
            again.extend(
                it.wills_gone
                    .drain(..)
                    .map(|(number, _)| (session, number, None)),
            );
        }
        for (number, message) in self.messages.iter().enumerate() {
            if let Some(it) = message.instances.last().filter(|_| message.content.will)
                && (it.op.from > safe || it.looked.is_none())
            {
                again.push((it.session, number, Some(0)));
            }
        }
        for (session, number, same_as) in again {
            self.will_may_come(session, number);
            if let Some(instance) = self.messages[number].instances.last_mut() {
                instance.same_as = same_as;
            }
        }
    }

    /// A session goes on as if its client had left when the new process began.
    fn session_survives(&mut self, session: usize, safe: Turn) {
        let (now, turn) = (self.now, self.turn);
        self.subscriptions_survive(session, safe);
        self.sessions[session].owed = self.owed_survive(session, safe);
        if let Some(conn) = self.sessions[session].conn {
            self.ended(conn, None);
            let it = &mut self.sessions[session];
            if it.ended.is_some() {
                return;
            }
            it.left_by_crash = true;
        } else {
            let it = &mut self.sessions[session];
            // That it was gone is perhaps not known.
            if it.left_by_crash || it.left.is_some_and(|left| left > safe) {
                let latest = (it.ends_at.is_some()).then(|| now + Millis::from(it.expiry) * 1000);
                it.ends_latest = latest.max(it.ends_latest);
                let will = it.will.take();
                it.will_due = None;
                if let Some((number, _)) = will {
                    self.will_may_come(session, number);
                }
            }
            self.sessions[session].left = Some(turn);
        }
        self.flights_survive(session, safe);
        for held in self.sessions[session].held.values_mut() {
            held.sure &= held.told;
        }
    }

    fn subscriptions_survive(&mut self, session: usize, safe: Turn) {
        let is_sure = |op: &Op, told| told || op.to.is_some_and(|to| to <= safe);
        let begins = self.op(NOBODY);
        let turn = self.turn;
        for sub in &mut self.sessions[session].subs {
            if !is_sure(&sub.made, sub.made_told) {
                sub.made.to = None;
            }
            if let Some(gone) = &mut sub.gone
                && !is_sure(gone, sub.gone_told)
            {
                gone.to = None;
                sub.may_be_gone = true;
            }
            sub.goes_on.push(begins);
            sub.begun_again = turn;
        }
    }

    /// Whether a copy that is on its way by that is in the store.
    fn is_stored(&self, it: &Session, number: Number, source: Source, safe: Turn) -> bool {
        let is_kept = |instance: usize| {
            let it = self.instance(number, instance);
            it.acked || (!it.doubtful && it.op.to.is_some_and(|to| to <= safe))
        };
        match source {
            Source::Direct(instance) | Source::Group(_, instance) => is_kept(instance),
            Source::Replay(sub) => {
                let sub = &it.subs[sub];
                let is_there = sub.made_told || sub.made.to.is_some_and(|to| to <= safe);
                let instances = 0..self.messages[number].instances.len();
                is_there && sub.gone.is_none() && instances.into_iter().all(is_kept)
            }
        }
    }

    /// What a session surely is still owed.
    fn owed_survive(&mut self, session: usize, safe: Turn) -> Vec<Owed> {
        let owed = std::mem::take(&mut self.sessions[session].owed);
        let it = &self.sessions[session];
        let is_stored =
            |owed: &Owed| owed.conn.is_none() && self.is_stored(it, owed.number, owed.source, safe);
        owed.into_iter().filter(is_stored).collect()
    }

    /// What was in flight comes again: at QoS 2 under its identifier, at QoS 1 under any.
    fn flights_survive(&mut self, session: usize, safe: Turn) {
        let flights = std::mem::take(&mut self.sessions[session].flights);
        let mut again = Vec::new();
        let mut kept = Vec::new();
        for (id, mut flight) in flights {
            if flight.look.qos == 2 {
                flight.unsure |= (flight.received && !flight.told) || flight.answered;
                flight.released = flight.told;
                flight.due = None;
                flight.order = 0; // The one in which it is sent again.
                kept.push((id, flight));
                continue;
            }
            let Some(number) = flight.number else {
                continue;
            };
            let is_due =
                !flight.unsure && !flight.answered && self.is_known(session, &flight, number, safe);
            flight.due = is_due.then_some(NOBODY);
            again.push(flight);
        }
        let done = std::mem::take(&mut self.sessions[session].done);
        self.sessions[session].flights.extend(kept);
        for (turn, id, mut flight) in done {
            if turn <= safe || (flight.number.is_none() && flight.look.qos < 2) {
                continue;
            }
            let is_known = |number: Number| {
                let is_one = self.messages[number].instances.len() == 1;
                is_one && self.is_known(session, &flight, number, safe)
            };
            flight.is_bound = flight.look.qos == 1 && flight.number.is_some_and(is_known);
            let it = &mut self.sessions[session];
            match flight.look.qos {
                2 if flight.told => drop(it.releases_again.insert(id)),
                _ => {
                    flight.due = None;
                    again.push(flight);
                }
            }
        }
        let it = &mut self.sessions[session];
        it.again.append(&mut again);
        it.again.sort_by_key(|flight| flight.order);
    }

    /// Whether it is known which copy of a message it is, and that it is in the store if it was not
    /// taken out again.
    fn is_known(&self, session: usize, flight: &Flight, number: Number, safe: Turn) -> bool {
        let it = &self.sessions[session];
        // Those that clear cannot be told apart.
        let clears = self.messages[number].content.payload.is_empty();
        let is_replay = matches!(flight.source, Source::Replay(_));
        // Which of several times it is that the message came, nobody knows.
        let instances = 0..self.messages[number].instances.len();
        let mut all = instances.map(Source::Direct).chain([flight.source]);
        // Which member had it is forgotten if that is not in the store.
        let is_lost =
            matches!(flight.source, Source::Group(..)) && !it.has_got(number, flight.source);
        !(is_replay || clears || is_lost || self.terms.lossy)
            && all.all(|source| self.is_stored(it, number, source, safe))
    }

    /// What of the messages and of the copies for groups is still sure.
    fn messages_survive(&mut self, safe: Turn) {
        let turn = self.turn;
        for message in &mut self.messages {
            for it in &mut message.instances {
                if it.op.from == turn {
                    continue; // A will that is published because of the crash.
                }
                let was_there = it.op.to.is_some_and(|to| to <= safe);
                if !(it.acked || was_there) {
                    it.doubtful = true;
                    // What went to a member may be forgotten, and go to another one.
                    for copy in &mut it.copies {
                        (copy.over, copy.holder) = (false, None);
                    }
                }
                // A will that may come may still do.
                let may_come = message.content.will && it.looked.is_none();
                if !may_come {
                    it.op.to.get_or_insert(turn);
                }
            }
        }
        // What was sent at QoS 0 is not known any more, and comes again if its message does.
        for session in &mut self.sessions {
            for (number, all) in &mut session.got {
                let instances = &self.messages[*number].instances;
                all.retain(|got| match got.source {
                    Source::Direct(place) => got.look.qos > 0 || !instances[place].doubtful,
                    _ => true,
                });
            }
        }
        let known: BTreeSet<usize> = self.current.values().copied().collect();
        for number in 0..self.messages.len() {
            for instance in 0..self.messages[number].instances.len() {
                for place in 0..self.instance(number, instance).copies.len() {
                    let it = self.instance(number, instance);
                    let copy = it.copies[place];
                    let has_all = self.sessions.iter().enumerate().all(|(session, it)| {
                        let op = &self.instance(number, instance).op;
                        let mut members =
                            it.subs.iter().filter(|sub| sub.group == Some(copy.group));
                        members.all(|sub| {
                            !sub.may_cover(op) || (sub.gone.is_none() && known.contains(&session))
                        })
                    });
                    let must = copy.must && !it.doubtful && has_all && self.unsure.is_empty();
                    let copies = &mut self.messages[number].instances[instance].copies;
                    copies[place].must = must;
                }
            }
        }
    }

    /// What was in flight at QoS 1 when the broker died comes again; false if it is nothing of
    /// that.
    pub(super) fn comes_after_crash(
        &mut self,
        conn: usize,
        session: usize,
        id: u16,
        got: &crate::wire::Publish,
        numbers: &[Number],
    ) -> bool {
        let it = &mut self.sessions[session];
        let is_it = |flight: &Flight| {
            flight
                .number
                .is_some_and(|number| numbers.contains(&number))
                && flight.look.qos == got.qos
                && flight.look.retain == got.retain
                && flight.look.identifiers == got.subscription_identifiers()
        };
        // Of several that look the same, the one that must come.
        let must = |flight: &Flight| flight.due.is_some() && is_it(flight);
        let place = it.again.iter().position(must);
        let Some(place) = place.or_else(|| it.again.iter().position(is_it)) else {
            return false;
        };
        let mut flight = it.again.remove(place);
        // The client was done with it, if it is this one of those that look the same. Nothing that
        // it was done with later was left out of the store for that, or it would have the older of
        // two in the end.
        let number = flight.number.unwrap_or_default();
        let Message { content, instances } = &self.messages[number];
        let is_one = instances.len() == 1 && !content.payload.is_empty();
        let done = if is_one { flight.done } else { 0 };
        for other in &mut it.again {
            if done > 0 && other.done > done && other.is_bound {
                other.due = Some(NOBODY);
            }
        }
        flight.done = 0;
        self.count += 1;
        flight.order = self.count;
        flight.conn = conn;
        flight.due = None;
        (flight.unsure, flight.answered, flight.received) = (false, false, false);
        if let Some(number) = flight.number
            && matches!(flight.source, Source::Direct(_))
        {
            let copy = super::session::Got {
                source: flight.source,
                look: flight.look.clone(),
                turn: self.turn,
                was_owed: false,
            };
            it.got.entry(number).or_default().push(copy);
        }
        it.flights.insert(id, flight);
        self.coverage.redelivered += 1;
        self.coverage.restored += 1;
        self.restored_in_order(conn, session, id);
        self.takes_place(conn, id);
        true
    }

    /// Of one publisher, topic and QoS, what comes again keeps the order in which it was published,
    /// as far as that is known: of messages that came once.
    fn restored_in_order(&mut self, conn: usize, session: usize, id: u16) {
        let flight = &self.sessions[session].flights[&id];
        let (Some(number), Source::Direct(_)) = (flight.number, flight.source) else {
            return;
        };
        let message = &self.messages[number];
        if message.instances.len() > 1 || message.content.payload.is_empty() {
            return;
        }
        let order = message.instances[0].op.order;
        let key = (
            message.instances[0].session,
            message.content.topic,
            flight.look.qos,
        );
        let last = self.conns[conn].restored.insert(key, order);
        if last.is_some_and(|last| last >= order) {
            let what = format!("{}: {}", self.name(conn), self.describe(number));
            self.fail("restored out of order", what);
        }
    }
}
