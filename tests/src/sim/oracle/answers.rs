//! Acknowledgements in both directions.

use super::Oracle;
use super::session::{Awaited, Source, Stage, Unfinished};
use crate::sim::packets::Number;
use crate::sim::universe::matches;
use crate::wire::{Ack, kind};

/// The reason for a message that the store does not take.
const STORE_FAILS: u8 = 0x83;

impl Oracle {
    pub(super) fn session_of(&self, conn: usize) -> Option<usize> {
        match self.conns[conn].stage {
            Stage::In(session) => Some(session),
            _ => None,
        }
    }

    /// Whether the session that a client is in has a message in flight under this identifier that
    /// last came on connection `by`: what a connection wrote when it was over, and what belonged to
    /// an earlier session, has not.
    pub(crate) fn is_in_flight(&self, conn: usize, id: u16, by: usize) -> bool {
        let session = self.session_of(conn).map(|session| &self.sessions[session]);
        let flight = session.and_then(|session| session.flights.get(&id));
        flight.is_some_and(|flight| flight.conn == by)
    }

    /// PUBACK, PUBREC with an error, or PUBCOMP came: the client is done with a message.
    pub(super) fn answered(&mut self, conn: usize, session: usize, id: u16, is_any: bool) {
        let Some(flight) = self.sessions[session].flights.get_mut(&id) else {
            return;
        };
        debug_assert!(is_any || flight.look.qos == 1, "the client answers wrongly");
        flight.answered = true;
        flight.due = None;
        let it = &mut self.conns[conn];
        if flight.conn != conn {
            it.crossing.insert(id, flight.number);
        }
        it.window.remove(&id);
        // What was asked for may wait for the store, and comes although it is not needed any more.
        if it.releases.remove(&id) && self.terms.is_durable {
            it.strays.insert(id);
        }
        it.unfinished.push_back(Unfinished::Done(id));
    }

    /// The broker knows that the client is done with a message.
    pub(super) fn is_done(&mut self, session: usize, id: u16) {
        let flights = &mut self.sessions[session].flights;
        let Some(flight) = flights.get(&id).filter(|flight| flight.answered) else {
            return;
        };
        let (number, source) = (flight.number, flight.source);
        if let Some(mut flight) = flights.remove(&id)
            && self.terms.is_durable
        {
            self.count += 1;
            flight.done = self.count;
            self.sessions[session].done.push((self.turn, id, flight));
        }
        if let Some(number) = number
            && let Source::Group(group, instance) = source
        {
            let copies = &mut self.messages[number].instances[instance].copies;
            for copy in copies.iter_mut().filter(|copy| copy.group == group) {
                if copy.holder == Some(session) {
                    copy.over = true;
                }
            }
        }
    }

    /// PUBREC came.
    pub(super) fn received(&mut self, conn: usize, session: usize, id: u16) {
        let it = &mut self.conns[conn];
        match self.sessions[session].flights.get_mut(&id) {
            // Under an identifier that has another message now.
            Some(flight) if flight.look.qos == 1 => it.reasons.push(0x82),
            Some(flight) if !flight.answered => {
                if flight.conn != conn {
                    it.crossing.insert(id, flight.number);
                }
                if std::mem::replace(&mut flight.received, true) || flight.unsure {
                    it.strays.insert(id);
                } else {
                    flight.due = None;
                    it.releases.insert(id); // [MQTT-4.3.3-4]
                }
                it.unfinished.push_back(Unfinished::Received(id));
            }
            _ => drop(it.strays.insert(id)),
        }
    }

    /// The broker has looked at a PUBREC.
    pub(super) fn is_received(&mut self, session: usize, id: u16) {
        if let Some(flight) = self.sessions[session].flights.get_mut(&id) {
            flight.released |= flight.received;
        }
    }

    /// PUBREL came.
    pub(super) fn released(&mut self, conn: usize, session: usize, id: u16) {
        if let Some(held) = self.sessions[session].held.get_mut(&id) {
            held.sure = false;
        }
        let it = &mut self.conns[conn];
        it.pubcomps.push_back(id); // [MQTT-4.3.3-11]
        it.unfinished.push_back(Unfinished::Released(id));
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP was written.
    pub(super) fn acknowledged(&mut self, conn: usize, what: u8, ack: &Ack) {
        let is_expected = match what {
            kind::PUBACK | kind::PUBREC => return self.answers_publish(conn, what, ack),
            kind::PUBCOMP => self.conns[conn].pubcomps.pop_front() == Some(ack.packet_id),
            _ => return self.releases(conn, ack),
        };
        if !is_expected {
            let what = format!("{}: PUBCOMP {ack:?}", self.name(conn));
            self.fail("PUBCOMP to nothing", what);
        }
    }

    /// PUBACK or PUBREC was written: in order ([MQTT-4.6.0-2], [MQTT-4.6.0-3]), and true.
    fn answers_publish(&mut self, conn: usize, what: u8, ack: &Ack) {
        let it = &mut self.conns[conn];
        let awaited = match what {
            kind::PUBACK => it.pubacks.pop_front(),
            _ => it.pubrecs.pop_front(),
        };
        let awaited = match awaited {
            Some(first) => self.skip_silent(conn, what, first, ack.packet_id),
            None => None,
        };
        let Some(awaited) = awaited.filter(|awaited| awaited.id == ack.packet_id) else {
            let what = format!(
                "{}: type {what}, {ack:?}, due was {awaited:?}",
                self.name(conn)
            );
            return self.fail("acknowledgement out of order", what);
        };
        if self.conns[conn].version.is_v5() {
            self.check_reason(conn, &awaited, ack.reason);
        }
        if ack.reason < 0x80 {
            self.is_kept(conn, what, &awaited);
        } else if ack.reason == STORE_FAILS
            && let Some(instance) = awaited.instance
        {
            self.is_refused(awaited.number, instance);
        }
        if ack.reason >= 0x80
            && let Some(session) = self.session_of(conn)
            && let Some(instance) = awaited.instance
            && self.instance(awaited.number, instance).op.conn == conn
        {
            self.sessions[session].held.remove(&awaited.id);
        }
    }

    /// Before MQTT 5 nothing tells of messages that the store did not take.
    fn skip_silent(&mut self, conn: usize, what: u8, first: Awaited, id: u16) -> Option<Awaited> {
        let mut awaited = first;
        while awaited.id != id && self.may_be_silent(conn) {
            if let Some(instance) = awaited.instance {
                self.is_refused(awaited.number, instance);
            }
            let it = &mut self.conns[conn];
            awaited = match what {
                kind::PUBACK => it.pubacks.pop_front(),
                _ => it.pubrecs.pop_front(),
            }?;
        }
        Some(awaited)
    }

    /// Whether messages that the store does not take are not answered.
    pub(super) fn may_be_silent(&self, conn: usize) -> bool {
        self.terms.may_refuse && !self.conns[conn].version.is_v5()
    }

    /// A publisher was told that its message is kept.
    fn is_kept(&mut self, conn: usize, what: u8, awaited: &Awaited) {
        let number = awaited.number;
        let Stage::In(session) = self.conns[conn].stage else {
            return;
        };
        let it = &mut self.sessions[session];
        if what == kind::PUBREC
            && let Some(held) = it.held.get_mut(&awaited.id)
            && held.number == number
        {
            // With what is known of it, it is not released yet.
            (held.told, held.sure) = (true, held.sure || !self.terms.takes_all());
        }
        let instances = &self.messages[number].instances;
        let of_session = |place: &usize| instances[*place].session == session;
        let known = (0..instances.len()).rev().find(of_session);
        // Nobody knows which time is meant where it may have been refused before.
        let is_known = !(awaited.unsure && self.terms.is_short());
        if let Some(instance) = awaited.instance.or(known).filter(|_| is_known)
            && !self.instance(number, instance).refused
        {
            self.acked(number, instance);
        }
    }

    /// A message was not taken, and nobody gets it.
    fn is_refused(&mut self, number: Number, instance: usize) {
        let turn = self.turn;
        let it = &mut self.messages[number].instances[instance];
        it.op.to.get_or_insert(turn);
        (it.refused, it.doubtful) = (true, true);
    }

    fn check_reason(&mut self, conn: usize, awaited: &Awaited, reason: u8) {
        let is_known = match awaited.instance {
            None => reason == 0,
            Some(instance) => {
                let content = &self.messages[awaited.number].content;
                let it = self.instance(awaited.number, instance);
                let (maybe, surely) = self.has_subscribers(content.topic, &it.op);
                let no_room = self.terms.lossy || (self.terms.few_retained && content.retain);
                match reason {
                    // What has expired before it came to another shard was taken there.
                    0x00 if content.expiry.is_some() && self.terms.is_spread => !it.refused,
                    0x00 => (maybe || self.terms.hostile) && !it.refused,
                    0x10 => !surely && !it.refused,
                    0x87 => it.refused,
                    0x97 => no_room && !it.refused,
                    STORE_FAILS => self.outage >= it.op.from && self.terms.may_refuse,
                    _ => false,
                }
            }
        };
        if !(is_known || awaited.unsure && reason == 0) {
            let what = format!(
                "{}: {reason:#04x} for {}",
                self.name(conn),
                self.describe(awaited.number)
            );
            self.fail("wrong reason", what);
        }
    }

    /// Whether anybody may have subscribed to a topic, and whether anybody surely has.
    fn has_subscribers(&self, topic: &str, op: &super::Op) -> (bool, bool) {
        // Sessions of which nobody knows may have subscribed.
        let (mut maybe, mut surely) = (self.unsure_until >= op.from, false);
        for session in &self.sessions {
            for sub in &session.subs {
                if matches(sub.filter, topic) && sub.may_cover(op) {
                    maybe = true;
                    // A member at another shard that is absent and gets QoS 0 is as good as none.
                    let is_far = sub.group.is_some() && self.terms.is_spread;
                    surely |= sub.covers(op) && !is_far;
                }
            }
        }
        (maybe, surely)
    }

    /// PUBREL was written.
    fn releases(&mut self, conn: usize, ack: &Ack) {
        let Some(session) = self.session_of(conn) else {
            return;
        };
        let id = ack.packet_id;
        let it = &mut self.conns[conn];
        // Each PUBREC is answered.
        let is_due = it.releases.remove(&id) || it.strays.remove(&id);
        let flight = self.sessions[session].flights.get_mut(&id);
        if let Some(flight) = flight
            && (flight.released || flight.received)
            && ack.reason == 0
        {
            let again = flight.due == Some(conn) || flight.conn != conn;
            flight.due = None;
            flight.conn = conn;
            flight.told = true;
            if !is_due && again {
                self.coverage.releases_again += 1;
                return self.in_order(conn, session, id);
            }
            return;
        }
        let was_forgotten = self.sessions[session].releases_again.contains(&id);
        if !is_due && !was_forgotten {
            let what = format!("{}: {ack:?}", self.name(conn));
            self.fail("PUBREL without PUBREC", what);
        }
    }

    /// What is sent again comes in the order in which it was sent first ([MQTT-4.6.0-1]).
    pub(super) fn in_order(&mut self, conn: usize, session: usize, id: u16) {
        let order = self.sessions[session].flights[&id].order;
        if order == 0 {
            self.count += 1;
            let count = self.count;
            if let Some(flight) = self.sessions[session].flights.get_mut(&id) {
                flight.order = count;
            }
            return;
        }
        let resent = std::mem::replace(&mut self.conns[conn].resent, order);
        if resent >= order {
            let what = format!("{}: identifier {id}", self.name(conn));
            self.fail("sent again out of order", what);
        }
    }

    /// PINGRESP was written.
    pub(super) fn pong(&mut self, conn: usize) {
        let it = &mut self.conns[conn];
        match it.pings.checked_sub(1) {
            Some(left) => it.pings = left,
            None => {
                let what = self.name(conn);
                self.fail("PINGRESP to nothing", what);
            }
        }
    }
}
