//! Subscriptions: since when, until when, and on what terms.

use super::Oracle;
use super::op::{Op, Turn};
use super::session::{Got, Look, Owed, Request, Source, Unfinished};
use crate::sim::packets::Asked;
use crate::sim::universe::{matches, split};
use crate::wire::{Suback, Version};

/// Whether what is retained is sent to a new subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replays {
    No,
    /// It depends on what nobody knows for sure.
    Maybe,
    Yes,
}

/// There is no topic of the world that the client could receive by the filter.
const MAY_BE_REFUSED: u8 = 0x80;

#[derive(Clone, Debug)]
pub(super) struct Sub {
    /// As it stands in SUBSCRIBE.
    pub(super) name: &'static str,
    /// The name again, if it is shared.
    pub(super) group: Option<&'static str>,
    pub(super) filter: &'static str,
    pub(super) qos: u8,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    /// 0 is none.
    pub(super) identifier: u32,
    pub(super) replays: Replays,
    /// An older replay may go on under its terms: it began then, or then.
    pub(super) goes_on: Vec<Op>,
    pub(super) made: Op,
    pub(super) gone: Option<Op>,
    /// SUBACK was written, or the answer that it is gone.
    pub(super) made_told: bool,
    pub(super) gone_told: bool,
    /// A crash has left open whether it is gone.
    pub(super) may_be_gone: bool,
    /// The turn of the last crash, after which its replay may have begun again.
    pub(super) begun_again: Turn,
}

impl Sub {
    /// It is gone, if it was not before.
    pub(super) fn goes(&mut self, op: Op) {
        if self.gone.is_none() || std::mem::take(&mut self.may_be_gone) {
            self.gone = Some(op);
        }
    }

    /// Whether it may have been there when that happened.
    pub(super) fn may_cover(&self, op: &Op) -> bool {
        !op.surely_before(&self.made)
            && !self
                .gone
                .as_ref()
                .is_some_and(|gone| gone.surely_before(op))
    }

    /// Whether it surely was there all the time while that happened.
    pub(super) fn covers(&self, op: &Op) -> bool {
        self.made.to.is_some()
            && self.made.surely_before(op)
            && self.gone.as_ref().is_none_or(|gone| op.surely_before(gone))
    }
}

impl Oracle {
    /// SUBSCRIBE came.
    pub(super) fn subscribe(
        &mut self,
        conn: usize,
        session: usize,
        id: u16,
        identifier: u32,
        filters: &[Asked],
    ) {
        let op = self.op(conn);
        let right = self.sessions[session].right;
        for asked in filters {
            let (group, filter) = split(asked.name);
            let group = group.map(|_| asked.name);
            let subs = &mut self.sessions[session].subs;
            let mut sub = Sub {
                name: asked.name,
                group,
                filter,
                qos: asked.qos,
                no_local: asked.no_local,
                retain_as_published: asked.retain_as_published,
                identifier,
                replays: Replays::Yes,
                goes_on: Vec::new(),
                made: op,
                gone: None,
                made_told: false,
                gone_told: false,
                may_be_gone: false,
                begun_again: 0,
            };
            let (mut is_known, mut may_be_known) = (false, false);
            for old in subs.iter_mut().filter(|old| old.name == asked.name) {
                is_known |= old.covers(&op);
                may_be_known |= old.may_cover(&op);
                if old.gone.is_none() || old.may_be_gone {
                    // [MQTT-3.8.4-3] What is left of its replay comes under the new terms.
                    if old.replays != Replays::Yes || old.begun_again > 0 {
                        sub.goes_on.clone_from(&old.goes_on);
                    }
                    if old.replays != Replays::No {
                        sub.goes_on.push(old.made);
                    }
                }
                old.goes(op);
            }
            sub.replays = match asked.handling {
                _ if group.is_some() => Replays::No,
                0 => Replays::Yes,
                1 if is_known => Replays::No,
                1 if may_be_known => Replays::Maybe,
                1 => Replays::Yes,
                _ => Replays::No,
            };
            self.coverage.replays += u64::from(sub.replays == Replays::Yes);
            subs.push(sub);
            if let Some(group) = group {
                self.joined(group, filter, &op);
            }
            // A replay of the old one begins anew, or ends, or goes on.
            self.sessions[session].forget_replays(asked.name);
        }
        let request = Request {
            id,
            order: op.order,
            filters: filters.iter().map(|asked| asked.name).collect(),
            asked: filters
                .iter()
                .map(|asked| match right.may_receive_some(split(asked.name).1) {
                    true => asked.qos,
                    false => MAY_BE_REFUSED | asked.qos,
                })
                .collect(),
        };
        let it = &mut self.conns[conn];
        it.subacks.push_back(request);
        it.unfinished.push_back(Unfinished::Subscribe(op.order));
    }

    /// SUBACK was written.
    pub(super) fn subscribed(&mut self, conn: usize, suback: &Suback) {
        let request = self.conns[conn].subacks.pop_front();
        let Some(request) = request.filter(|request| request.id == suback.packet_id) else {
            let what = format!("{}: {suback:?}", self.name(conn));
            return self.fail("SUBACK to nothing", what); // [MQTT-3.8.4-2]
        };
        let version = self.conns[conn].version;
        let refusals: &[u8] = match version {
            Version::V5 => &[0x87],
            _ => &[0x80],
        };
        // [MQTT-3.8.4-6]
        let answers_all = suback.codes.len() == request.asked.len();
        let codes = suback.codes.iter().zip(&request.asked);
        let fits = |(code, asked): (&u8, &u8)| {
            *code == asked & 3 || (asked & MAY_BE_REFUSED != 0 && refusals.contains(code))
        };
        if !answers_all || !codes.into_iter().all(fits) {
            let what = format!(
                "{}: {:02x?} to {request:02x?}",
                self.name(conn),
                suback.codes
            );
            return self.fail("wrong SUBACK", what);
        }
        let Some(session) = self.session_of(conn) else {
            return;
        };
        let refused: Vec<_> = request
            .filters
            .iter()
            .zip(&suback.codes)
            .filter_map(|(name, code)| (*code >= 0x80).then_some(*name))
            .collect();
        let subs = &mut self.sessions[session].subs;
        for sub in subs.iter_mut().filter(|sub| refused.contains(&sub.name)) {
            if sub.made.order == request.order {
                sub.gone = Some(sub.made); // It never was.
            } else if sub.gone.is_some_and(|gone| gone.order == request.order) {
                sub.gone = None; // It stays.
            }
        }
        for sub in subs.iter_mut() {
            sub.made_told |= sub.made.order == request.order;
            sub.gone_told |= sub.gone.is_some_and(|gone| gone.order == request.order);
        }
        self.has_subscribed(conn, session, request.order, true);
    }

    /// SUBSCRIBE was looked at: its subscriptions are there, those that nobody can tell before
    /// SUBACK only if it is `told`.
    pub(super) fn has_subscribed(&mut self, conn: usize, session: usize, order: u64, told: bool) {
        let turn = self.turn;
        let right = self.sessions[session].right;
        let mut new = Vec::new();
        for (place, sub) in self.sessions[session].subs.iter_mut().enumerate() {
            let is_new = sub.made.order == order && sub.made.to.is_none();
            let was_refused = sub.gone.is_some_and(|gone| gone.order == order);
            if is_new && !was_refused && (told || right.may_receive_some(sub.filter)) {
                sub.made.to = Some(turn);
                new.push(place);
            }
            // One that is refused leaves the one before it.
            if let Some(gone) = &mut sub.gone
                && gone.order == order
                && (told || right.may_receive_some(sub.filter))
            {
                gone.to = Some(turn);
            }
        }
        for place in new {
            let sub = &self.sessions[session].subs[place];
            if sub.replays == Replays::Yes && sub.gone.is_none() {
                self.owe_retained(conn, session, place);
            }
        }
    }

    /// Everything that surely is retained and that the subscription matches is to come.
    fn owe_retained(&mut self, conn: usize, session: usize, place: usize) {
        let it = &self.sessions[session];
        let sub = &it.subs[place];
        let mut owed = Vec::new();
        for topic in self.retained_topics() {
            if !matches(sub.filter, topic) || !it.right.may_receive(topic) {
                continue;
            }
            let Some((number, instance)) = self.surely_retained(topic, &sub.made) else {
                continue;
            };
            let content = &self.messages[number].content;
            let look = Look::of_replay(sub, content, it.is_v5);
            let qos = look.qos;
            let expires = self.instance(number, instance).expires(content.expiry);
            if !it.takes(content.largest_packet())
                || (qos > 0 && self.terms.lossy)
                || it.has_got(number, Source::Replay(place))
            {
                continue;
            }
            // What came after SUBSCRIBE, and was taken for the replay of the one before or for
            // what was not owed, was this one's.
            let is_like = |got: &Got| {
                let may_be = match got.source {
                    Source::Replay(of) => it.subs[of].name == sub.name || !got.was_owed,
                    Source::Direct(_) => !got.was_owed,
                    Source::Group(..) => false,
                };
                may_be && got.look == look && got.turn >= sub.made.from
            };
            if it
                .got
                .get(&number)
                .is_some_and(|all| all.iter().any(is_like))
            {
                continue;
            }
            owed.push(Owed {
                number,
                source: Source::Replay(place),
                look: Some(look),
                conn: (qos == 0).then_some(conn),
                expires: expires.map(|(earliest, _)| earliest),
            });
        }
        self.sessions[session].owed.extend(owed);
    }

    /// UNSUBSCRIBE came.
    pub(super) fn unsubscribe(
        &mut self,
        conn: usize,
        session: usize,
        id: u16,
        filters: &[&'static str],
    ) {
        let op = self.op(conn);
        let mut asked = Vec::new();
        for name in filters {
            let it = &mut self.sessions[session];
            let (mut surely, mut maybe) = (false, false);
            for old in it.subs.iter_mut().filter(|old| old.name == *name) {
                surely |= old.covers(&op);
                maybe |= old.may_cover(&op);
                old.goes(op);
            }
            asked.push(match (surely, maybe) {
                (true, _) => 0x00,
                (false, false) => 0x11,
                (false, true) => 0xff,
            });
            it.forget_replays(name); // [MQTT-3.10.4-2]
        }
        let request = Request {
            id,
            order: op.order,
            filters: filters.into(),
            asked,
        };
        let it = &mut self.conns[conn];
        it.unsubacks.push_back(request);
        it.unfinished.push_back(Unfinished::Unsubscribe(op.order));
    }

    /// UNSUBACK was written.
    pub(super) fn unsubscribed(&mut self, conn: usize, unsuback: &Suback) {
        let request = self.conns[conn].unsubacks.pop_front();
        let Some(request) = request.filter(|request| request.id == unsuback.packet_id) else {
            let what = format!("{}: {unsuback:?}", self.name(conn));
            return self.fail("UNSUBACK to nothing", what); // [MQTT-3.10.4-4]
        };
        let mut expected = request.asked.clone();
        if !self.conns[conn].version.is_v5() {
            expected.clear();
        }
        let codes = &unsuback.codes;
        let fits = |(code, asked): (&u8, &u8)| {
            code == asked || (*asked == 0xff && [0, 0x11].contains(code))
        };
        if codes.len() != expected.len() || !codes.iter().zip(&expected).all(fits) {
            let what = format!("{}: {codes:02x?} to {request:02x?}", self.name(conn));
            return self.fail("wrong UNSUBACK", what);
        }
        if let Some(session) = self.session_of(conn) {
            for sub in &mut self.sessions[session].subs {
                sub.gone_told |= sub.gone.is_some_and(|gone| gone.order == request.order);
            }
        }
    }

    /// UNSUBSCRIBE was looked at.
    pub(super) fn has_unsubscribed(&mut self, session: usize, order: u64) {
        let turn = self.turn;
        let mut groups = Vec::new();
        for sub in &mut self.sessions[session].subs {
            if let Some(gone) = &mut sub.gone
                && gone.order == order
            {
                gone.to = Some(turn);
                groups.extend(sub.group);
            }
        }
        if !groups.is_empty() {
            self.forget_copies(&groups);
        }
    }
}
