//! How connections and sessions begin and end, and when wills are due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::op::NOBODY;
use super::session::{Farewell, Session, Source, Stage, Unfinished};
use super::{Failure, Oracle, Status};
use crate::sim::packets::{Hello, Number};
use crate::sim::schedule::Millis;
use crate::sim::universe::Right;
use crate::wire::{Connack, Value, Version, id};

/// An interval without end.
const NEVER: u32 = u32::MAX;

impl Oracle {
    /// What is due by now: the ends of silent connections, wills, and the ends of sessions.
    pub(super) fn timers(&mut self) {
        let now = self.now;
        for conn in self.inside.clone() {
            let it = &mut self.conns[conn];
            let deadline = it.heard_at + Millis::from(it.keep_alive) * 1500;
            if it.keep_alive > 0 && !it.paused && now >= deadline {
                it.reasons.push(0x8d); // [MQTT-3.1.2-22]
                self.coverage.keep_alive_ends += 1;
                self.ended(conn, None);
                self.must_be_out.push(conn);
            }
        }
        let absent: Vec<usize> = self.current.values().copied().collect();
        for session in absent {
            let it = &self.sessions[session];
            if it.will_due.is_some_and(|due| due <= now) {
                self.will_is_due(session);
            }
            if self.sessions[session].ends_at.is_some_and(|at| at <= now) {
                self.coverage.sessions_expired += 1;
                match self.sessions[session].ends_latest {
                    Some(latest) if latest > now => self.end_unsurely(session),
                    _ => self.end_session(session),
                }
            }
        }
    }

    /// Clients whose credentials have been found good since the last turn come in.
    pub(super) fn late_admissions(&mut self, status: impl Fn(usize) -> Status) {
        for conn in std::mem::take(&mut self.verdicts) {
            if let Stage::Asked(at) = self.conns[conn].stage {
                let patience = self.terms.config.authenticate_timeout.as_millis() as Millis;
                if self.now < at + patience {
                    self.admit(conn, status(conn));
                } else {
                    self.conns[conn].stage = Stage::Over;
                }
            }
        }
    }

    /// A client comes in.
    pub(super) fn admit(&mut self, conn: usize, status: Status) {
        let Some(hello) = self.conns[conn].hello.clone() else {
            return;
        };
        let is_refused = match status.welcome {
            Some(code) => code != 0,
            None => status.is_failing && self.needs_store(&hello, status),
        };
        if is_refused {
            self.conns[conn].refused = true;
            return;
        }
        if self.conns[conn].is_hostile {
            // What it does is not judged; its end is not missed.
            self.conns[conn].stage = Stage::Over;
            return;
        }
        let client = hello.client;
        // [MQTT-3.1.4-3]
        if let Some(&old) = self.current.get(&client)
            && let Some(old) = self.sessions[old].conn
        {
            self.coverage.takeovers += 1;
            self.conns[old].reasons.push(0x8e);
            self.explain(old);
            self.ended(old, None);
        }
        if hello.clean
            && let Some(&old) = self.current.get(&client)
        {
            self.end_session(old); // [MQTT-3.1.2-4]
        }
        let known = self.current.get(&client).copied();
        let session = known.unwrap_or_else(|| self.begin_session(client, &hello.name));
        let maximum = self.terms.config.max_session_expiry;
        let expiry = maximum.map_or(NEVER, |it| it.as_millis().div_ceil(1000) as u32);
        let granted = hello.expiry.min(expiry);
        let keep_alive = match self.terms.config.max_keep_alive.map(|it| it.get()) {
            Some(maximum) if hello.keep_alive == 0 || hello.keep_alive > maximum => maximum,
            _ => hello.keep_alive,
        };
        let op = self.op(conn);
        let now = self.now;
        let it = &mut self.conns[conn];
        it.stage = Stage::In(session);
        it.present = known.is_some();
        it.admitted = Some(super::Op {
            to: Some(op.from),
            ..op
        });
        it.keep_alive = keep_alive;
        (it.heard_at, it.progress) = (now, now);
        it.empty = (op.from.saturating_sub(1), now);
        let early = std::mem::take(&mut it.early);
        self.inside.push(conn);
        self.untold.insert(client, op.from);
        let it = &mut self.sessions[session];
        if (it.right, it.max_packet) != (hello.right, hello.max_packet) {
            it.changed = op.from;
        }
        it.stored |= granted > 0 || hello.will.is_some();
        let old_will = it.will.take().map(|(number, _)| (number, op.from));
        it.wills_gone.extend(old_will);
        (it.ends_latest, it.left_by_crash) = (None, false);
        it.conn = Some(conn);
        it.is_v5 = hello.version.is_v5();
        it.right = hello.right;
        it.max_packet = hello.max_packet;
        it.expiry = granted;
        it.will = hello.will;
        (it.ends_at, it.will_due) = (None, None);
        if known.is_some() {
            self.coverage.resumed += 1;
            self.resume(session, conn);
        }
        for sent in early {
            self.take(conn, sent);
        }
    }

    /// Whether nobody can be let in without a word to the store.
    fn needs_store(&self, hello: &Hello, status: Status) -> bool {
        let is_kept =
            hello.expiry > 0 && self.terms.config.max_session_expiry != Some(Duration::ZERO);
        let client = &hello.client;
        let known = self.current.get(client).map(|it| &self.sessions[*it]);
        let may_be_stored = known.is_some_and(|it| it.stored) || self.unsure.contains(client);
        is_kept || hello.will.is_some() || (may_be_stored && !status.is_in)
    }

    fn begin_session(&mut self, client: usize, name: &str) -> usize {
        self.sessions.push(Session {
            client,
            is_v5: false,
            name: name.into(),
            right: Right::ALL,
            max_packet: None,
            conn: None,
            ended: None,
            left: None,
            expiry: 0,
            ends_at: None,
            ends_latest: None,
            left_by_crash: false,
            stored: false,
            changed: 0,
            will: None,
            will_due: None,
            wills_gone: Vec::new(),
            subs: Vec::new(),
            flights: BTreeMap::new(),
            done: Vec::new(),
            again: Vec::new(),
            releases_again: BTreeSet::new(),
            held: BTreeMap::new(),
            owed: Vec::new(),
            got: BTreeMap::new(),
            last: BTreeMap::new(),
        });
        let session = self.sessions.len() - 1;
        self.current.insert(client, session);
        session
    }

    /// A session goes on over a new connection: what is in flight comes again ([MQTT-4.4.0-1]).
    fn resume(&mut self, session: usize, conn: usize) {
        let it = &mut self.sessions[session];
        for flight in it.flights.values_mut() {
            let size = flight
                .number
                .map_or(0, |number| self.messages[number].content.largest_packet());
            let topic = flight
                .number
                .map(|number| self.messages[number].content.topic);
            let fits = it.max_packet.is_none_or(|max| size <= max as usize)
                && topic.is_none_or(|topic| it.right.may_receive(topic));
            let is_over = flight.unsure || flight.answered || flight.number.is_none();
            if flight.released || (fits && !is_over) {
                flight.due = (!is_over).then_some(conn);
            } else {
                // It may be given up, or be over already.
                flight.unsure = true;
            }
        }
        let messages = &self.messages;
        let (right, max_packet) = (it.right, it.max_packet);
        for flight in &mut it.again {
            let content = flight.number.map(|number| &messages[number].content);
            let fits = content.is_some_and(|content| {
                right.may_receive(content.topic)
                    && max_packet.is_none_or(|max| content.largest_packet() <= max as usize)
            });
            flight.due = flight.due.filter(|_| fits);
            flight.is_bound &= fits;
        }
        it.owed.retain(|owed| {
            let content = &messages[owed.number].content;
            right.may_receive(content.topic)
                && max_packet.is_none_or(|max| content.largest_packet() <= max as usize)
        });
    }

    /// CONNACK was written.
    pub(super) fn welcomed(&mut self, conn: usize, connack: &Connack) {
        let it = &self.conns[conn];
        let name = self.name(conn);
        let fail = |kind, what: String| Failure {
            kind,
            what: format!("{name}: {what}"),
        };
        let failure = if connack.code != 0 {
            // [MQTT-3.2.2-6]
            let is_due = it.refused || matches!(it.stage, Stage::Asked(_) | Stage::Over);
            (!is_due || connack.session_present)
                .then(|| fail("refused without reason", format!("{connack:?}")))
        } else if it.admitted.is_none() {
            Some(fail("let in without a decision", format!("{connack:?}")))
        } else {
            let present = it.present && it.version != Version::V3_1;
            (connack.session_present != present).then(|| {
                let what = format!("session present is to be {present}: {connack:?}");
                fail("session present", what)
            })
        };
        let failure = failure.or_else(|| {
            let window = Value::Two(self.terms.config.receive_window.get());
            let told = connack.property(id::RECEIVE_MAXIMUM);
            let keep_alive = connack.property(id::SERVER_KEEP_ALIVE);
            let asked = it.hello.as_ref().map_or(0, |hello| hello.keep_alive);
            let in_force = Value::Two(it.keep_alive);
            if connack.code != 0 || !it.version.is_v5() {
                None
            } else if told != Some(&window) && it.admitted.is_some_and(|op| op.from == self.turn) {
                Some(fail("Receive Maximum", format!("{told:?}")))
            } else if (keep_alive == Some(&in_force)) != (it.keep_alive != asked) {
                // [MQTT-3.2.2-21]
                Some(fail("Server Keep Alive", format!("{keep_alive:?}")))
            } else {
                None
            }
        });
        if let Some(Failure { kind, what }) = failure {
            return self.fail(kind, what);
        }
        if connack.code == 0 {
            let client = self.conns[conn].client;
            self.untold.remove(&client);
            self.unsure.remove(&client);
        }
    }

    /// A connection is over: because the client is gone, or has said so.
    pub(super) fn ended(&mut self, conn: usize, farewell: Option<Farewell>) {
        let stage = std::mem::replace(&mut self.conns[conn].stage, Stage::Over);
        let Stage::In(session) = stage else { return };
        self.inside.retain(|inside| *inside != conn);
        self.abandon(conn, session);
        let maximum = self.terms.config.max_session_expiry;
        let maximum = maximum.map_or(NEVER, |it| it.as_millis().div_ceil(1000) as u32);
        let (turn, now) = (self.turn, self.now);
        let it = &mut self.sessions[session];
        if it.conn != Some(conn) {
            return;
        }
        it.conn = None;
        it.left = Some(turn);
        it.owed.retain(|owed| owed.conn.is_none());
        it.flights.values_mut().for_each(|flight| flight.due = None);
        match farewell {
            Some((reason, expiry)) => {
                if let Some(expiry) = expiry {
                    it.expiry = expiry.min(maximum);
                    self.untold.insert(it.client, turn);
                }
                if reason == 0
                    && let Some((number, _)) = it.will.take()
                {
                    it.wills_gone.push((number, turn));
                    self.coverage.wills_taken_back += 1; // [MQTT-3.14.4-3]
                }
            }
            None => self.coverage.ended_without_a_word += 1,
        }
        let it = &mut self.sessions[session];
        if it.expiry == 0 {
            return self.end_session(session);
        }
        it.ends_at = (it.expiry != NEVER).then(|| now + Millis::from(it.expiry) * 1000);
        if let Some((_, delay)) = it.will {
            if delay == 0 {
                self.will_is_due(session);
            } else {
                it.will_due = (delay != NEVER).then(|| now + Millis::from(delay) * 1000);
                self.coverage.wills_delayed += 1;
            }
        }
    }

    /// What the broker has read on a connection that has ended, and perhaps never looked at.
    fn abandon(&mut self, conn: usize, session: usize) {
        let unfinished = std::mem::take(&mut self.conns[conn].unfinished);
        let it = &mut self.sessions[session];
        let mut unheard = false;
        for unfinished in unfinished {
            self.coverage.abandoned += 1;
            match unfinished {
                Unfinished::Publish(_, _, Some(id)) | Unfinished::Released(id) => {
                    if let Some(held) = it.held.get_mut(&id) {
                        held.sure = false;
                    }
                }
                Unfinished::Done(id) | Unfinished::Received(id) => {
                    if let Some(flight) = it.flights.get_mut(&id) {
                        flight.unsure = true;
                    }
                }
                // It may have been read, and then there is no will.
                Unfinished::Goodbye(_) => unheard = true,
                Unfinished::Publish(_, _, None)
                | Unfinished::Again(_)
                | Unfinished::Subscribe(_)
                | Unfinished::Unsubscribe(_) => {}
            }
        }
        if unheard && let Some((number, _)) = it.will.take() {
            self.will_may_come(session, number);
        }
    }

    /// The broker has ended a connection whose client did not ask for it.
    pub(super) fn ended_by_broker(&mut self, conn: usize) {
        self.explain(conn);
        let farewell = self.conns[conn].unfinished.back().copied();
        if let Some(Unfinished::Goodbye(farewell)) = farewell
            && self.conns[conn].reasons.is_empty()
        {
            // It was not listened to, but now it is.
            self.conns[conn].unfinished.pop_back();
            self.catch_up(conn);
            return self.ended(conn, Some(farewell));
        }
        if self.conns[conn].reasons.is_empty() {
            let session = self.session_of(conn).map(|it| &self.sessions[it].flights);
            let name = self.name(conn);
            let what = format!("{name}: the broker has ended it; in flight: {session:?}");
            self.fail("ended without reason", what);
        }
        self.ended(conn, None);
    }

    /// Finds the reasons that the broker may have to end a connection now.
    fn explain(&mut self, conn: usize) {
        let now = self.now;
        let write_timeout = self.terms.write_timeout;
        let it = &mut self.conns[conn];
        if now >= it.progress + write_timeout {
            it.reasons.push(0xa0);
            self.coverage.write_ends += 1;
        }
    }

    /// DISCONNECT from the broker.
    pub(super) fn dismissed(&mut self, conn: usize, reason: u8) {
        let it = &mut self.conns[conn];
        let is_in = matches!(it.stage, Stage::In(_));
        if is_in {
            self.explain(conn);
        }
        if !self.conns[conn].reasons.contains(&reason) {
            let reasons = &self.conns[conn].reasons;
            let what = format!(
                "{}: DISCONNECT {reason:#04x}, not one of {reasons:02x?}",
                self.name(conn)
            );
            self.fail("wrong DISCONNECT", what);
        }
    }

    /// The keep-alive was over and the client has said nothing: it is thrown out, not later.
    pub(super) fn check_keep_alive(&mut self, conn: usize) {
        let it = &self.conns[conn];
        let what = format!(
            "{}: nothing was heard since {}, the keep-alive is {} s",
            self.name(conn),
            it.heard_at,
            it.keep_alive
        );
        self.fail("keep-alive not enforced", what);
    }

    /// A session ends: nothing of it goes on, and its will is published if it still has one
    /// ([MQTT-3.1.2-8]).
    pub(super) fn end_session(&mut self, session: usize) {
        let op = self.op(NOBODY);
        let it = &mut self.sessions[session];
        it.ended = Some(op.from);
        it.owed.clear();
        self.current.remove(&it.client);
        for sub in &mut it.subs {
            sub.goes(op);
        }
        (it.ends_at, it.will_due) = (None, None);
        self.untold.insert(it.client, op.from);
        self.members_left(session);
        self.will_is_due(session);
    }

    /// The will of a session is published, if it has one.
    fn will_is_due(&mut self, session: usize) {
        let it = &mut self.sessions[session];
        it.will_due = None;
        if let Some((number, _)) = it.will.take() {
            self.coverage.wills_due += 1;
            self.publish_will(session, number);
        }
    }

    /// What members of shared subscriptions had goes to others when their session ends.
    fn members_left(&mut self, session: usize) {
        let it = &mut self.sessions[session];
        let flights = std::mem::take(&mut it.flights).into_values();
        let again = std::mem::take(&mut it.again);
        for flight in flights.chain(again) {
            let Some(number) = flight.number else {
                continue;
            };
            if let Source::Group(group, instance) = flight.source {
                let copies = &mut self.messages[number].instances[instance].copies;
                for copy in copies.iter_mut().filter(|copy| copy.group == group) {
                    if copy.over || copy.holder != Some(session) {
                        continue;
                    }
                    if flight.look.qos == 2 {
                        copy.over = !flight.unsure; // [MQTT-4.8.2-5]
                        copy.must = false;
                    } else {
                        copy.holder = None;
                        copy.must &= !flight.unsure;
                    }
                    self.coverage.redispatched += 1;
                }
            }
        }
        // Others wait for it, or were sent and not seen: at QoS 2 they may end with it.
        let groups: Vec<_> = self.sessions[session]
            .subs
            .iter()
            .filter_map(|sub| sub.group)
            .collect();
        if !groups.is_empty() {
            self.forget_copies(&groups);
        }
    }

    /// What cannot be relied on any more, after somebody has left these groups.
    pub(super) fn forget_copies(&mut self, groups: &[&'static str]) {
        for group in groups {
            let goes_on = self.goes_on(group);
            for message in &mut self.messages {
                let qos = message.content.qos;
                for instance in &mut message.instances {
                    for copy in instance.copies.iter_mut().filter(|it| it.group == *group) {
                        copy.must &= goes_on && qos < 2;
                    }
                }
            }
        }
    }

    /// Whether somebody is surely a member of a group, and whoever else may be one can have and
    /// keep all of its messages: what goes to another member then is not lost.
    fn goes_on(&self, group: &str) -> bool {
        let mut some = false;
        for session in self.current.values() {
            let it = &self.sessions[*session];
            for sub in it.subs.iter().filter(|sub| sub.group == Some(group)) {
                if sub.gone.is_some_and(|gone| gone.to.is_some()) {
                    continue;
                }
                let takes_all = it.max_packet.is_none() && it.right == Right::ALL;
                if sub.qos == 0 || !takes_all {
                    return false;
                }
                some |= sub.made.to.is_some() && sub.gone.is_none();
            }
        }
        some
    }

    /// The broker says goodbye to everybody, which takes so long at most: all wills may be
    /// published, all connections end.
    pub(crate) fn stopping(&mut self, longest: Millis) {
        self.turn += 1; // It is between two turns.
        let sessions: Vec<usize> = self.current.values().copied().collect();
        for session in sessions {
            let it = &mut self.sessions[session];
            if let Some((number, _)) = it.will.take() {
                self.will_may_come(session, number);
            }
        }
        self.stopping_at = self.turn;
        for conn in self.inside.clone() {
            self.conns[conn].reasons.push(0x8b);
            self.ended(conn, None);
        }
        for conn in &mut self.conns {
            conn.stage = Stage::Over;
        }
        self.stopped(longest);
    }

    /// It is over, so long after it began: meanwhile shards have waited for each other, and each
    /// session has ended its connection at some moment.
    pub(crate) fn stopped(&mut self, took: Millis) {
        for session in self.current.values() {
            let it = &mut self.sessions[*session];
            if it.left == Some(self.stopping_at) {
                let latest = it.ends_at.map(|at| at + took);
                it.ends_latest = latest.filter(|_| took > 0);
                it.left = Some(self.turn);
            }
        }
    }

    /// An administrator has ended a connection.
    pub(crate) fn kicked(&mut self, conn: usize) {
        self.turn += 1; // It is between two turns.
        self.conns[conn].reasons.push(0x98);
        self.coverage.kicks += 1;
        self.ended(conn, None);
    }

    /// A will that is published at a time when nobody can rely on it.
    pub(super) fn will_may_come(&mut self, session: usize, number: Number) {
        let op = self.op(NOBODY);
        let op = super::Op { to: None, ..op };
        self.add_instance(number, session, op, true);
    }

    /// The broker is gone, and with it all that it knew.
    pub(crate) fn forgotten(&mut self) {
        for conn in self.inside.clone() {
            if let Stage::In(session) = self.conns[conn].stage {
                self.note_handshakes(session);
            }
        }
        for conn in &mut self.conns {
            conn.stage = Stage::Over;
        }
        self.inside.clear();
        self.verdicts.clear();
        let sessions: Vec<usize> = self.current.values().copied().collect();
        for session in sessions {
            self.sessions[session].will = None;
            self.end_session(session);
        }
        for message in &mut self.messages {
            for instance in &mut message.instances {
                for copy in &mut instance.copies {
                    (copy.must, copy.over) = (false, true);
                }
            }
        }
        self.retained.clear();
    }

    /// Counts where in a handshake a crash has come.
    pub(super) fn note_handshakes(&mut self, session: usize) {
        let it = &self.sessions[session];
        let coverage = &mut self.coverage;
        for flight in it.flights.values() {
            match (flight.look.qos, flight.received) {
                (1, _) => coverage.died_before_puback += 1,
                (_, false) => coverage.died_before_pubrec += 1,
                (_, true) => coverage.died_before_pubcomp += 1,
            }
        }
        coverage.died_before_pubrel += it.held.len() as u64;
    }
}
