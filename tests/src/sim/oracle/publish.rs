//! Messages, and who is to have them.

use super::Oracle;
use super::op::{NOBODY, Op, Turn};
use super::session::{Awaited, Held, Look, Owed, Session, Source, Stage, Unfinished};
use super::subscribe::Sub;
use crate::sim::packets::{Content, Number};
use crate::sim::schedule::Millis;
use crate::sim::universe::matches;

/// A message, and how often the broker took it for a new one.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) content: Content,
    pub(super) instances: Vec<Instance>,
}

/// One time that a message came in.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) op: Op,
    /// The session of its publisher.
    pub(super) session: usize,
    /// When it came.
    pub(super) at: Millis,
    /// When the broker had surely looked at it; `None` if it perhaps never did.
    pub(super) looked: Option<Millis>,
    /// Since when it is known who must have it; `None` if it perhaps never was passed on.
    pub(super) taken: Option<Turn>,
    /// Its publisher was told that it is kept.
    pub(super) acked: bool,
    /// Nobody knows whether it is lost, or ever was.
    pub(super) doubtful: bool,
    /// The broker has to recognise it as another instance, of which nobody knows whether it came.
    pub(super) same_as: Option<usize>,
    /// Whether its publisher had no right to send it, so that nobody gets it.
    pub(super) refused: bool,
    pub(super) copies: Vec<GroupCopy>,
}

/// A message on its way to one member of a shared subscription.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupCopy {
    pub(super) group: &'static str,
    /// The session that has got it and has not acknowledged it.
    pub(super) holder: Option<usize>,
    pub(super) over: bool,
    pub(super) must: bool,
    pub(super) expires: Option<Millis>,
}

impl GroupCopy {
    fn new(group: &'static str) -> Self {
        Self {
            group,
            holder: None,
            over: false,
            must: false,
            expires: None,
        }
    }
}

impl Instance {
    /// When it expires, at the earliest and at the latest.
    pub(super) fn expires(&self, expiry: Option<u32>) -> Option<(Millis, Millis)> {
        let time = Millis::from(expiry?) * 1000;
        Some((
            self.at + time,
            self.looked.unwrap_or(Millis::MAX / 2) + time,
        ))
    }
}

impl Oracle {
    /// PUBLISH came.
    pub(super) fn publish(
        &mut self,
        conn: usize,
        session: usize,
        number: Number,
        (id, qos, dup): (Option<u16>, u8, bool),
    ) {
        let it = &mut self.sessions[session];
        let held = id.filter(|_| qos == 2).and_then(|id| it.held.get(&id));
        let held = held.copied();
        let mut awaited = Awaited {
            id: id.unwrap_or(0),
            number,
            instance: None,
            unsure: held.is_some(),
        };
        if let Some(held) = held
            && held.sure
        {
            // [MQTT-4.3.3-10]
            if held.number != number {
                let what = format!("client {} uses identifier {id:?} twice", it.client);
                return self.fail("the simulator's client", what);
            }
            self.coverage.repeated += 1;
            let it = &mut self.conns[conn];
            it.pubrecs.push_back(awaited);
            it.unfinished.push_back(Unfinished::Again(awaited.id));
            return;
        }
        self.coverage.published_again += u64::from(dup);
        let topic = self.messages[number].content.topic;
        let refused = !self.sessions[session].right.may_publish(topic);
        let op = self.op(conn);
        let instance = self.add_instance(number, session, op, !refused);
        // What is refused for want of room has perhaps come to some, and is new when it comes
        // again.
        if let Some(held) = held
            && held.number == number
            && !self.terms.is_short()
        {
            let known = self.instance(number, held.instance).same_as;
            let same_as = Some(known.unwrap_or(held.instance));
            self.messages[number].instances[instance].same_as = same_as;
        }
        awaited.instance = Some(instance);
        let is_v5 = self.conns[conn].version.is_v5();
        if let Some(id) = id.filter(|_| qos == 2 && !(refused && is_v5)) {
            let held = Held {
                number,
                instance,
                sure: false,
                told: false,
            };
            self.sessions[session].held.insert(id, held);
        }
        let it = &mut self.conns[conn];
        match qos {
            1 => it.pubacks.push_back(awaited),
            2 => it.pubrecs.push_back(awaited),
            _ => {}
        }
        let id = id.filter(|_| qos == 2);
        // Whether the broker still has one of that identifier is not known: it may be the same.
        let unfinished = match held {
            Some(_) => Unfinished::Again(awaited.id),
            None => Unfinished::Publish(number, instance, id),
        };
        it.unfinished.push_back(unfinished);
    }

    /// A message comes in; if it is passed on, shared subscriptions and the retained messages see
    /// it.
    pub(super) fn add_instance(
        &mut self,
        number: Number,
        session: usize,
        op: Op,
        passed_on: bool,
    ) -> usize {
        let content = &self.messages[number].content;
        let (topic, retain) = (content.topic, content.retain);
        let mut groups: Vec<&'static str> = Vec::new();
        if passed_on {
            let current = self.current.values();
            let current = current.map(|session| (&self.sessions[*session], None));
            // Those that are perhaps still there, and what they had when nobody knew any more.
            let lost = self.sessions.iter().filter_map(|it| {
                let ended = it.ended.filter(|_| self.unsure.contains(&it.client));
                ended.map(|ended| (it, Some(ended)))
            });
            for (it, lost) in current.chain(lost) {
                let may_cover = |sub: &&Sub| match (lost, sub.gone) {
                    (Some(ended), Some(gone)) => gone.from >= ended,
                    _ => sub.may_cover(&op),
                };
                for sub in it.subs.iter().filter(may_cover) {
                    if let Some(group) = sub.group
                        && matches(sub.filter, topic)
                        && !groups.contains(&group)
                    {
                        groups.push(group);
                    }
                }
            }
        }
        let copies = groups.into_iter().map(GroupCopy::new);
        let instance = Instance {
            op,
            session,
            at: self.now,
            looked: None,
            taken: None,
            acked: false,
            doubtful: false,
            same_as: None,
            refused: !passed_on,
            copies: copies.collect(),
        };
        let instances = &mut self.messages[number].instances;
        instances.push(instance);
        let instance = instances.len() - 1;
        if passed_on && retain {
            self.retain(number, instance);
        }
        instance
    }

    /// Somebody joins a group: what is on its way at this moment may go there as well.
    pub(super) fn joined(&mut self, group: &'static str, filter: &str, op: &Op) {
        for message in &mut self.messages {
            if !matches(filter, message.content.topic) {
                continue;
            }
            for instance in &mut message.instances {
                let is_known = instance.copies.iter().any(|copy| copy.group == group);
                if !instance.refused && !is_known && !instance.op.surely_before(op) {
                    instance.copies.push(GroupCopy::new(group));
                }
            }
        }
    }

    /// A will is published now.
    pub(super) fn publish_will(&mut self, session: usize, number: Number) {
        let topic = self.messages[number].content.topic;
        let may = self.sessions[session].right.may_publish(topic);
        let mut op = self.op(NOBODY);
        if self.terms.is_spread {
            op.to = None; // Others get it later.
        }
        let instance = self.add_instance(number, session, op, may);
        self.looked(number, instance);
    }

    /// The broker has looked at all that it has read on a connection.
    pub(super) fn catch_up(&mut self, conn: usize) {
        let Stage::In(session) = self.conns[conn].stage else {
            return;
        };
        while let Some(unfinished) = self.conns[conn].unfinished.pop_front() {
            match unfinished {
                Unfinished::Publish(number, instance, id) => {
                    if let Some(id) = id
                        && let Some(held) = self.sessions[session].held.get_mut(&id)
                    {
                        // With too little room it may be refused and not be held.
                        held.sure = held.told || self.terms.takes_all();
                    }
                    self.looked(number, instance);
                }
                Unfinished::Again(id) => {
                    if let Some(held) = self.sessions[session].held.get_mut(&id) {
                        held.sure = held.told || self.terms.takes_all();
                    }
                }
                Unfinished::Done(id) => self.is_done(session, id),
                Unfinished::Received(id) => self.is_received(session, id),
                Unfinished::Released(id) => drop(self.sessions[session].held.remove(&id)),
                // Then it would be over.
                Unfinished::Goodbye(_) => {}
                Unfinished::Subscribe(order) => self.has_subscribed(conn, session, order, false),
                Unfinished::Unsubscribe(order) => self.has_unsubscribed(session, order),
            }
        }
    }

    /// The broker has surely looked at a message.
    fn looked(&mut self, number: Number, instance: usize) {
        let it = &mut self.messages[number].instances[instance];
        it.looked = Some(self.now);
        match self.terms.is_spread {
            false => self.taken(number, instance),
            true => self.unsettled.push_back((self.turn, number, instance)),
        }
    }

    /// Everything that was done up to this turn has come to all shards, and to the store.
    pub(crate) fn settled(&mut self, upto: Turn) {
        while let Some((turn, number, instance)) = self.unsettled.front().copied()
            && turn <= upto
        {
            self.unsettled.pop_front();
            let turn = self.turn;
            let may_be_refused = self.terms.may_refuse;
            let message = &mut self.messages[number];
            let it = &mut message.instances[instance];
            it.op.to.get_or_insert(turn);
            let content = &message.content;
            if content.qos == 0 || content.will || !may_be_refused {
                self.taken(number, instance);
            }
        }
    }

    /// Its publisher is told that a message is kept: by now it has come to all shards.
    pub(super) fn acked(&mut self, number: Number, instance: usize) {
        let it = &mut self.messages[number].instances[instance];
        // What a crash has made unsure is not surer because the same is said again.
        let was_acked = std::mem::replace(&mut it.acked, true);
        self.taken(number, instance);
        let is_repeated = was_acked || self.instance(number, instance).same_as.is_some();
        if self.terms.is_spread && !is_repeated {
            self.share(number, instance);
        }
    }

    /// A message is surely on its way: now it is known who must have it.
    pub(super) fn taken(&mut self, number: Number, instance: usize) {
        let turn = self.turn;
        let is_spread = self.terms.is_spread;
        let message = &mut self.messages[number];
        let it = &mut message.instances[instance];
        if it.taken.is_some() {
            return;
        }
        it.op.to.get_or_insert(turn);
        it.taken = Some(turn);
        if it.refused {
            return;
        }
        let like: Vec<usize> = match it.same_as {
            Some(first) => (0..message.instances.len())
                .filter(|other| *other == first || message.instances[*other].same_as == Some(first))
                .collect(),
            None => Vec::new(),
        };
        // What is taken for a repetition comes to those who were there at first.
        let first = message.instances[instance].same_as.unwrap_or(instance);
        if message.instances[first].refused {
            return; // It is perhaps held all the same, until it is released.
        }
        let expires = message.instances[first].expires(message.content.expiry);
        let expires = expires.map(|(earliest, _)| earliest);
        let first = message.instances[first].op;
        let it = &mut message.instances[instance];
        let publisher = it.session;
        let op = Op {
            to: it.op.to,
            ..first
        };
        // Where the first time was perhaps refused, it comes to those who were there both times.
        let again = it.op;
        let may_be_refused = self.terms.may_refuse;
        let content = &message.content;
        let (topic, size) = (content.topic, content.largest_packet());
        // Those that clear cannot be told apart, so that nobody knows which of them came.
        let clears = content.payload.is_empty();
        for session in self.current.values().filter(|_| !clears) {
            let it = &mut self.sessions[*session];
            if !it.takes(size) || !it.right.may_receive(topic) {
                continue;
            }
            // What its client could take and was allowed when the message came, nobody knows.
            let has_changed = it.changed >= op.from;
            let has_come = |other: &usize| it.has_got(number, Source::Direct(*other));
            if has_changed || like.iter().any(has_come) {
                continue;
            }
            let own = publisher == *session;
            let covers = |sub: &&Sub| {
                sub.group.is_none()
                    && !(sub.no_local && own)
                    && matches(sub.filter, topic)
                    && sub.covers(&op)
                    && (!may_be_refused || sub.covers(&again))
            };
            let subs: Vec<&Sub> = it.subs.iter().filter(covers).collect();
            let Some(look) = Look::by(&subs, content, it.is_v5) else {
                continue;
            };
            let is_unsure = it.subs.iter().any(|sub| {
                let may = sub.group.is_none() && matches(sub.filter, topic) && sub.may_cover(&op);
                may && !sub.covers(&op)
            });
            let conn = if look.qos > 0 {
                if self.terms.lossy {
                    continue;
                }
                None
            } else {
                // Who was there all the time is to get it.
                let there = it.conn.filter(|conn| {
                    let admitted = self.conns[*conn].admitted;
                    admitted.is_some_and(|admitted| admitted.surely_before(&op))
                });
                if self.terms.narrow || self.terms.lossy || there.is_none() {
                    continue;
                }
                there
            };
            let source = Source::Direct(instance);
            if !it.has_got(number, source) {
                it.owed.push(Owed {
                    number,
                    source,
                    look: (!is_unsure).then_some(look),
                    conn,
                    expires,
                });
            }
        }
        if !is_spread && like.is_empty() {
            self.share(number, instance);
        }
    }

    /// Finds out which groups surely have a member who can have the message.
    fn share(&mut self, number: Number, instance: usize) {
        let content = &self.messages[number].content;
        let (topic, qos, size) = (content.topic, content.qos, content.largest_packet());
        let it = self.instance(number, instance);
        let (op, copies) = (it.op, it.copies.len());
        let expires = it.expires(content.expiry).map(|(earliest, _)| earliest);
        for place in 0..copies {
            let group = self.instance(number, instance).copies[place].group;
            let (mut some, mut all) = (false, true);
            let is_there = |it: &&Session| it.ended.is_none_or(|ended| ended >= op.from);
            for it in self.sessions.iter().filter(is_there) {
                let members = it.subs.iter().filter(|sub| sub.group == Some(group));
                for sub in members.filter(|sub| sub.may_cover(&op)) {
                    let is_left = it.ended.is_none();
                    let is_leaving = self.terms.is_spread && sub.gone.is_some();
                    let can = is_left
                        && it.takes(size)
                        && it.right.may_receive(topic)
                        && !is_leaving
                        && it.changed < op.from;
                    all &= can && sub.qos > 0;
                    some |= can && sub.covers(&op);
                }
            }
            let must = some && all && qos > 0 && !self.terms.lossy && self.unsure.is_empty();
            let copy = &mut self.messages[number].instances[instance].copies[place];
            copy.must = must && !copy.over;
            copy.expires = expires;
        }
    }
}
