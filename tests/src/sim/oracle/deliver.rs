//! A message arrives: may it, in this form, here and now?

use super::Oracle;
use super::op::{Op, Turn};
use super::publish::{Instance, Message};
use super::session::{Flight, Got, Look, Session, Source};
use super::subscribe::{Replays, Sub};
use crate::sim::packets::{Content, Number};
use crate::sim::schedule::Millis;
use crate::sim::universe::{is_hostile, matches};
use crate::wire::{Publish, Value, id};

/// With more subscriptions than this that may or may not count, all is allowed that fits some.
const MOST_UNSURE: usize = 6;

/// A way in which a copy may have come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) number: Number,
    pub(super) source: Source,
    pub(super) instance: usize,
    is_owed: bool,
    /// Something came this way, or another that looks the same.
    pub(super) is_used: bool,
    /// Of several instances, the earlier counts first.
    order: u64,
    /// Whether it keeps the order of its publisher's messages.
    in_order: bool,
    /// What is wrong with its expiry, if something is.
    stale: Option<&'static str>,
}

impl Oracle {
    /// PUBLISH was written.
    pub(super) fn arrive(&mut self, conn: usize, got: &Publish) {
        let Some(session) = self.session_of(conn) else {
            return; // Written after the end: the last words of an outbox.
        };
        self.coverage.delivered[usize::from(got.qos)] += 1;
        if !self.sessions[session].right.may_receive(&got.topic) {
            let what = format!("{}: {got:?}", self.name(conn));
            return self.fail("not permitted", what);
        }
        let numbers = match self.identify(conn, got) {
            Ok(numbers) => numbers,
            Err(what) => {
                let what = format!("{}: {what}: {got:?}", self.name(conn));
                return self.fail("altered message", what);
            }
        };
        if let Some(id) = got.packet_id {
            if got.dup && self.crosses(conn, id, &numbers) {
                return;
            }
            if self.comes_again(conn, session, id, got, &numbers) {
                return;
            }
            if got.dup && self.comes_after_crash(conn, session, id, got, &numbers) {
                return;
            }
            self.takes_place(conn, id);
        }
        let look = Look {
            qos: got.qos,
            retain: got.retain,
            identifiers: got.subscription_identifiers(),
        };
        let source = if is_hostile(&got.topic) {
            None
        } else {
            let mut chosen = self.way_of(conn, session, got, &numbers, &look);
            if chosen.is_err() {
                let other = self.ascribe_anew(conn, session, got, &numbers, &look);
                chosen = other.ok_or(chosen.err().unwrap_or_default());
            }
            match chosen {
                Ok(way) => {
                    self.check_properties(conn, way.number, got);
                    self.note(session, way, &look);
                    Some(way)
                }
                Err(kind) => {
                    let what = self.explain_refusal(conn, session, &numbers, got);
                    return self.fail(kind, what);
                }
            }
        };
        if let Some(id) = got.packet_id {
            let it = &mut self.sessions[session];
            self.count += 1;
            let flight = Flight {
                number: source.map(|way| way.number),
                source: source.map_or(Source::Direct(0), |way| way.source),
                look,
                order: self.count,
                conn,
                released: false,
                received: false,
                told: false,
                answered: false,
                unsure: false,
                due: None,
                done: 0,
                is_bound: false,
            };
            it.flights.insert(id, flight);
        }
    }

    /// The messages that it may be: one, but for those that clear.
    fn identify(&self, conn: usize, got: &Publish) -> Result<Vec<Number>, &'static str> {
        if is_hostile(&got.topic) {
            return Ok(Vec::new());
        }
        let numbers: Vec<Number> = if got.payload.is_empty() {
            let clears = self.clears.get(&*got.topic).into_iter().flatten();
            let same = |number: &Number| self.has_properties(conn, *number, got);
            clears.copied().filter(same).collect()
        } else {
            let text = got.payload.split(|byte| *byte == b':').next();
            let text = text.and_then(|text| std::str::from_utf8(text).ok());
            let number = text.and_then(|text| text.parse().ok());
            number.into_iter().collect()
        };
        let is_it = |number: &Number| {
            self.messages.get(*number).is_some_and(|message| {
                let Content { topic, payload, .. } = &message.content;
                *topic == got.topic && *payload == got.payload
            })
        };
        let numbers: Vec<Number> = numbers.into_iter().filter(is_it).collect();
        if numbers.is_empty() {
            return Err("nobody has sent this");
        }
        Ok(numbers)
    }

    /// Whether it was answered on this connection before it came here.
    fn crosses(&mut self, conn: usize, id: u16, numbers: &[Number]) -> bool {
        let it = &mut self.conns[conn];
        let is_it = match it.crossing.get(&id) {
            Some(Some(number)) => numbers.contains(number),
            Some(None) => numbers.is_empty(),
            None => false,
        };
        if is_it {
            it.crossing.remove(&id);
            self.coverage.crossed += 1;
        }
        is_it
    }

    /// Deals with a message that is in flight already; false if it is a new one.
    fn comes_again(
        &mut self,
        conn: usize,
        session: usize,
        id: u16,
        got: &Publish,
        numbers: &[Number],
    ) -> bool {
        let Some(flight) = self.sessions[session].flights.get_mut(&id) else {
            return false;
        };
        let is_it = match flight.number {
            Some(number) => numbers.contains(&number),
            None => numbers.is_empty(),
        };
        let over = flight.answered || flight.unsure;
        if got.dup && is_it && flight.conn != conn {
            let same = flight.look.qos == got.qos
                && flight.look.retain == got.retain
                && flight.look.identifiers == got.subscription_identifiers();
            let released = flight.released && !flight.unsure;
            flight.conn = conn;
            flight.due = None;
            (flight.unsure, flight.answered) = (false, false);
            flight.received = false;
            if !same || released {
                let before = flight.clone();
                let what = format!("{}: {got:?}, before it was {before:?}", self.name(conn));
                self.fail("sent again otherwise", what);
            }
            self.coverage.redelivered += 1;
            self.in_order(conn, session, id);
            self.takes_place(conn, id);
            return true;
        }
        if !over {
            let before = flight.clone();
            let what = format!("{}: {got:?}, in flight is {before:?}", self.name(conn));
            self.fail("identifier in use", what); // [MQTT-2.2.1-4]
            return true;
        }
        if let Some(flight) = self.sessions[session].flights.remove(&id)
            && let (Some(number), Source::Group(group, instance)) = (flight.number, flight.source)
        {
            let copies = &mut self.messages[number].instances[instance].copies;
            for copy in copies.iter_mut().filter(|copy| copy.group == group) {
                copy.must = false;
                copy.over |= copy.holder == Some(session);
            }
        }
        false
    }

    /// A message of QoS 1 or 2 takes a place of the window ([MQTT-3.3.4-9]).
    pub(super) fn takes_place(&mut self, conn: usize, id: u16) {
        let send_window = self.terms.send_window;
        let it = &mut self.conns[conn];
        it.window.insert(id);
        it.strays.remove(&id);
        let asked = it.hello.as_ref().map_or(0, |hello| hello.receive_maximum);
        let count = it.window.len();
        if count > usize::from(asked.min(send_window)) {
            let what = format!("{}: {count} in flight, {asked} allowed", self.name(conn));
            self.fail("Receive Maximum exceeded", what);
        }
        self.coverage.full_windows += u64::from(count == usize::from(asked.min(send_window)));
    }

    /// All ways in which a copy that looks like that may come.
    pub(super) fn ways(&self, session: usize, numbers: &[Number], look: &Look) -> Vec<Way> {
        let mut ways = Vec::new();
        for number in numbers.iter().copied() {
            self.direct_ways(session, number, look, &mut ways);
            self.group_ways(session, number, look, &mut ways);
            if look.retain {
                self.replay_ways(session, number, look, &mut ways);
            }
        }
        ways
    }

    /// The way in which a copy has come, or what is wrong with all of them.
    pub(super) fn way_of(
        &self,
        conn: usize,
        session: usize,
        got: &Publish,
        numbers: &[Number],
        look: &Look,
    ) -> Result<Way, &'static str> {
        let mut ways = self.ways(session, numbers, look);
        // Those that clear cannot be told apart, so that one may have been taken for the other.
        let clears = |number: Number| self.messages[number].content.payload.is_empty();
        ways.retain(|way| !way.is_used || clears(way.number));
        for way in &mut ways {
            let is_replay = matches!(way.source, Source::Replay(_));
            let Way {
                number, instance, ..
            } = *way;
            way.stale = self.is_stale(conn, way, got);
            if got.dup && !self.may_be_dup(session, way) {
                way.stale = Some("DUP at first"); // [MQTT-3.3.1-1]
            }
            if !got.dup && self.is_unsubscribed(conn, session, way, got.qos) {
                way.stale.get_or_insert("after UNSUBACK"); // [MQTT-3.10.4-2]
            }
            // What waits for the store, and what waits behind it, is passed by what does not.
            let waits = self.terms.is_durable && got.qos > 0;
            let is_older = is_replay && self.has_newer(session, number, instance);
            if is_older && !got.dup && !waits {
                way.stale.get_or_insert("older after newer");
            }
        }
        self.choose(&ways)
    }

    fn way(&self, session: usize, number: Number, source: Source) -> Way {
        let it = &self.sessions[session];
        let (instance, order) = match source {
            Source::Direct(place) | Source::Group(_, place) => {
                (place, self.instance(number, place).op.order)
            }
            Source::Replay(place) => (0, it.subs[place].made.order),
        };
        let is_used = match source {
            // After a crash it may bring again what it has brought, and what was on its way comes
            // too.
            Source::Replay(place) if it.subs[place].begun_again > 0 => false,
            _ => {
                let all = it.got.get(&number).into_iter().flatten();
                let mut by_it = all.filter(|got| got.source == source);
                by_it.any(|got| !self.may_come_anew(got))
            }
        };
        Way {
            number,
            source,
            instance,
            order,
            is_used,
            is_owed: it
                .owed
                .iter()
                .any(|owed| (owed.number, owed.source) == (number, source)),
            in_order: true,
            stale: None,
        }
    }

    /// Whether it came at QoS 1 shortly before a crash: then it comes once more, perhaps by another
    /// subscription, if the change of that one is not in the store.
    fn may_come_anew(&self, got: &Got) -> bool {
        let is_lost = |(safe, crash): &(Turn, Turn)| (safe + 1..=*crash).contains(&got.turn);
        got.look.qos == 1 && self.lost.iter().any(is_lost)
    }

    fn direct_ways(&self, session: usize, number: Number, look: &Look, ways: &mut Vec<Way>) {
        let message = &self.messages[number];
        let Content { from, topic, .. } = message.content;
        let it = &self.sessions[session];
        for (place, instance) in message.instances.iter().enumerate() {
            if instance.refused {
                continue;
            }
            let own = instance.session == session;
            let may = |sub: &&Sub| {
                sub.group.is_none()
                    && !(sub.no_local && own)
                    && matches(sub.filter, topic)
                    && sub.may_cover(&instance.op)
            };
            let (sure, unsure): (Vec<&Sub>, Vec<&Sub>) = it
                .subs
                .iter()
                .filter(may)
                .partition(|sub| sub.covers(&instance.op));
            if self.is_known_by_another(it, number, place, look) {
                continue;
            }
            if unsure.len() > MOST_UNSURE {
                ways.push(self.way(session, number, Source::Direct(place)));
                continue;
            }
            let fits = (0..1_u32 << unsure.len()).any(|chosen| {
                let chosen = unsure
                    .iter()
                    .enumerate()
                    .filter(|(bit, _)| chosen >> bit & 1 == 1);
                let chosen = chosen.map(|(_, sub)| sub);
                let subs: Vec<&Sub> = sure.iter().chain(chosen).copied().collect();
                Look::by(&subs, &message.content, it.is_v5).as_ref() == Some(look)
            });
            if fits {
                let mut way = self.way(session, number, Source::Direct(place));
                let key = (self.line_of(from, instance), topic, look.qos);
                let order = instance.op.order;
                let may_follow = |last: Option<u64>| last.is_none_or(|last| last <= order);
                // Of several times nobody knows which it is.
                way.in_order = message.content.payload.is_empty()
                    || message.instances.len() > 1
                    || may_follow(it.last.get(&key).copied())
                    // What came was perhaps taken for something else since.
                    || may_follow(self.last_of(it, key));
                ways.push(way);
            }
        }
    }

    /// The last in order of what has come to a session from a publisher, by topic and QoS.
    fn last_of(&self, it: &Session, key: (usize, &str, u8)) -> Option<u64> {
        let (line, topic, qos) = key;
        let mut last = None;
        for (number, all) in &it.got {
            let Message { content, instances } = &self.messages[*number];
            if content.topic != topic || content.payload.is_empty() || instances.len() > 1 {
                continue;
            }
            // One that says RETAIN may have come by a replay, which keeps no order.
            for got in all
                .iter()
                .filter(|got| got.look.qos == qos && !got.look.retain)
            {
                if let Source::Direct(place) = got.source
                    && self.line_of(content.from, &instances[place]) == line
                {
                    last = last.max(Some(instances[place].op.order));
                }
            }
        }
        last
    }

    /// Whether it has come as another instance that the broker has to take for the same: at QoS 2
    /// it is sent once, whatever crashes; at others, what was sent may have been forgotten.
    fn is_known_by_another(&self, it: &Session, number: Number, place: usize, look: &Look) -> bool {
        let Message { content, instances } = &self.messages[number];
        if content.payload.is_empty() || (look.qos < 2 && self.terms.is_durable) {
            return false;
        }
        let first = |place: usize| instances[place].same_as.unwrap_or(place);
        let mut got = it.got.get(&number).into_iter().flatten();
        got.any(|got| match got.source {
            Source::Direct(other) => {
                let counts = got.look.qos == 2 || !self.terms.is_durable;
                counts && other != place && first(other) == first(place)
            }
            _ => false,
        })
    }

    /// Whose messages keep their order: those of a client, but what goes to other shards may wait
    /// for the store, and messages of another session do not wait for that.
    fn line_of(&self, from: usize, instance: &Instance) -> usize {
        match self.terms.is_durable {
            true => usize::MAX - instance.session,
            false => from,
        }
    }

    fn group_ways(&self, session: usize, number: Number, look: &Look, ways: &mut Vec<Way>) {
        let message = &self.messages[number];
        let it = &self.sessions[session];
        // Which of several instances it is, nobody knows.
        let was_gone = |gone: &Op| {
            let mut all = message.instances.iter();
            all.all(|instance| gone.surely_before(&instance.op))
        };
        for (place, instance) in message.instances.iter().enumerate() {
            for copy in &instance.copies {
                if copy.over || copy.holder.is_some() {
                    continue;
                }
                let members = it.subs.iter().filter(|sub| sub.group == Some(copy.group));
                let fits = members.into_iter().any(|sub: &Sub| {
                    let by = Look::by(&[sub], &message.content, it.is_v5);
                    !sub.gone.as_ref().is_some_and(was_gone) && by.as_ref() == Some(look)
                });
                if fits {
                    let source = Source::Group(copy.group, place);
                    // It may come back to who had it before.
                    ways.push(Way {
                        number,
                        source,
                        instance: place,
                        order: instance.op.order,
                        is_owed: copy.must,
                        is_used: false,
                        in_order: true,
                        stale: None,
                    });
                }
            }
        }
    }

    fn replay_ways(&self, session: usize, number: Number, look: &Look, ways: &mut Vec<Way>) {
        let content = &self.messages[number].content;
        let it = &self.sessions[session];
        for (place, sub) in it.subs.iter().enumerate() {
            let matches = sub.group.is_none() && matches(sub.filter, content.topic);
            if !matches || Look::of_replay(sub, content, it.is_v5) != *look {
                continue;
            }
            for instance in self.replayed_by(session, sub, number) {
                let way = self.way(session, number, Source::Replay(place));
                ways.push(Way { instance, ..way });
            }
        }
    }

    /// The instances that a replay of a subscription may bring.
    fn replayed_by(&self, session: usize, sub: &Sub, number: Number) -> Vec<usize> {
        let own = (sub.replays != Replays::No).then_some(sub.made);
        let mut instances = Vec::new();
        for since in own.iter().chain(&sub.goes_on) {
            for instance in self.may_be_retained(number, since) {
                let op = self.instance(number, instance).op;
                let is_gone = sub.gone.is_some_and(|gone| gone.surely_before(&op));
                // What came live does not come again.
                let got = self.sessions[session].got.get(&number);
                let came_live = got.into_iter().flatten().any(|got| {
                    got.source == Source::Direct(instance) && (got.was_owed || !got.look.retain)
                });
                if !(is_gone || came_live && since.surely_before(&op)) {
                    instances.push(instance);
                }
            }
        }
        instances
    }

    /// Of several ways, what must come that way counts first.
    fn choose(&self, ways: &[Way]) -> Result<Way, &'static str> {
        if ways.is_empty() {
            return Err("not owed");
        }
        let ordered = ways
            .iter()
            .filter(|way| way.in_order && way.stale.is_none());
        let kind = |way: &Way| match way.source {
            Source::Direct(_) => 1,
            Source::Group(..) => 2,
            Source::Replay(_) => 3,
        };
        let owed: Vec<u8> = ways.iter().filter(|way| way.is_owed).map(kind).collect();
        // Of one kind the first counts, for so the others can still come in order; what had to come
        // by another may be ascribed to that afterwards.
        let best = ordered.min_by_key(|way| {
            let is_replay = kind(way) == 3;
            (
                way.is_used,
                !owed.contains(&kind(way)),
                is_replay,
                is_replay && !way.is_owed,
                way.order,
            )
        });
        let stale = ways.iter().filter(|way| way.in_order);
        let stale = stale.filter_map(|way| way.stale).next();
        best.copied().ok_or(stale.unwrap_or("out of order"))
    }

    /// Whether it comes by the replay of a subscription that was gone when it was encoded.
    fn is_unsubscribed(&self, conn: usize, session: usize, way: &Way, qos: u8) -> bool {
        let Source::Replay(sub) = way.source else {
            return false;
        };
        if self.terms.is_durable && qos > 0 {
            return false; // It may have been in the queue before, and waited for the store.
        }
        let it = &self.sessions[session];
        let content = &self.messages[way.number].content;
        let look = |sub: &Sub| Look::of_replay(sub, content, it.is_v5);
        // What came by this one before perhaps came by another, which looks the same.
        let is_alone = it.subs.iter().enumerate().all(|(place, other)| {
            place == sub
                || other.group.is_some()
                || !matches(other.filter, content.topic)
                || look(other) != look(&it.subs[sub])
        });
        let gone = it.subs[sub].gone.and_then(|gone| gone.to);
        is_alone && gone.is_some_and(|gone| gone <= self.conns[conn].empty.0)
    }

    /// Whether it was perhaps sent before, and not seen.
    fn may_be_dup(&self, session: usize, way: &Way) -> bool {
        let first = match way.source {
            Source::Group(..) => 0, // Which of several instances it is, nobody knows.
            _ => way.instance,
        };
        let op = self.instance(way.number, first).op;
        self.sessions[session]
            .left
            .is_some_and(|left| left >= op.from)
    }

    /// Whether a packet has the properties of a message that go from end to end, and no others.
    fn has_properties(&self, conn: usize, number: Number, got: &Publish) -> bool {
        let hop = [
            id::MESSAGE_EXPIRY_INTERVAL,
            id::TOPIC_ALIAS,
            id::SUBSCRIPTION_IDENTIFIER,
        ];
        let mut passed: Vec<&(u8, Value)> = got.properties.iter().collect();
        passed.retain(|(id, _)| !hop.contains(id));
        let mut sent: Vec<&(u8, Value)> = Vec::new();
        if self.conns[conn].version.is_v5() {
            sent.extend(&self.messages[number].content.properties);
        }
        // User properties keep their order.
        passed.sort_by_key(|(id, _)| *id);
        sent.sort_by_key(|(id, _)| *id);
        passed == sent
    }

    /// What is written now was encoded at the earliest when nothing waited.
    fn encoded_since(&self, conn: usize) -> Millis {
        let (turn, at) = self.conns[conn].empty;
        if turn + 1 >= self.turn { self.now } else { at }
    }

    /// What is wrong with when it comes, and with how much of its time it says is left.
    fn is_stale(&self, conn: usize, way: &Way, got: &Publish) -> Option<&'static str> {
        let it = self.instance(way.number, way.instance);
        let told = got.property(id::MESSAGE_EXPIRY_INTERVAL);
        let Message { content, instances } = &self.messages[way.number];
        let Some((mut earliest, mut latest)) = it.expires(content.expiry) else {
            return told.is_some().then_some("wrong expiry");
        };
        if let Source::Group(..) = way.source {
            // Which of several instances this member has got, nobody knows.
            for (first, last) in instances.iter().filter_map(|it| it.expires(content.expiry)) {
                (earliest, latest) = (earliest.min(first), latest.max(last));
            }
        }
        let since = self.encoded_since(conn);
        // At that very moment it may go out as it comes in, and not later.
        let waited = it
            .op
            .to
            .is_some_and(|taken| taken <= self.conns[conn].empty.0);
        if (latest < since || (latest == since && waited)) && !got.dup {
            return Some("expired"); // [MQTT-3.3.2-5]
        }
        let seconds = |left: Millis| left.div_ceil(1000);
        let fewest = seconds(earliest.saturating_sub(self.now));
        let most = seconds(latest.saturating_sub(since));
        // [MQTT-3.3.2-6]
        let fits = match told {
            Some(Value::Four(left)) => (fewest..=most).contains(&Millis::from(*left)),
            _ => !self.conns[conn].version.is_v5(),
        };
        (!fits).then_some("wrong expiry")
    }

    /// Everything comes as it was sent ([MQTT-3.3.2-4], [MQTT-3.3.2-15] and their like), but for
    /// the expiry, of which time has passed.
    fn check_properties(&mut self, conn: usize, number: Number, got: &Publish) {
        if !self.has_properties(conn, number, got) {
            let sent = &self.messages[number].content.properties;
            let what = format!("{}: {got:?}, sent were {sent:?}", self.name(conn));
            self.fail("altered properties", what);
        }
    }

    /// A copy has arrived.
    fn note(&mut self, session: usize, way: Way, look: &Look) {
        let Way { number, source, .. } = way;
        let from = self.messages[number].content.from;
        let line = self.line_of(from, self.instance(number, way.instance));
        let it = &mut self.sessions[session];
        let got = Got {
            source,
            look: look.clone(),
            turn: self.turn,
            was_owed: way.is_owed,
        };
        it.got.entry(number).or_default().push(got);
        let message = &mut self.messages[number];
        let instances = &message.instances;
        let is_same = |owed: Source| match (owed, source) {
            (Source::Direct(owed), Source::Direct(came)) => {
                let first = |place: usize| instances[place].same_as.unwrap_or(place);
                first(owed) == first(came)
            }
            _ => owed == source,
        };
        it.owed
            .retain(|owed| owed.number != number || !is_same(owed.source));
        match source {
            Source::Direct(instance) => {
                let order = message.instances[instance].op.order;
                let content = &message.content;
                let key = (line, content.topic, look.qos);
                if !content.payload.is_empty() && !look.retain {
                    let last = it.last.entry(key).or_default();
                    *last = order.max(*last);
                }
                self.coverage.will_deliveries += u64::from(content.will);
            }
            Source::Group(group, instance) => {
                let copies = &mut message.instances[instance].copies;
                for copy in copies.iter_mut().filter(|copy| copy.group == group) {
                    copy.holder = Some(session);
                    copy.over = look.qos == 0;
                }
                self.coverage.shared_deliveries += 1;
            }
            Source::Replay(_) => self.coverage.replayed += 1,
        }
    }

    fn explain_refusal(
        &self,
        conn: usize,
        session: usize,
        numbers: &[Number],
        got: &Publish,
    ) -> String {
        let it = &self.sessions[session];
        let topic = &got.topic;
        let subs: Vec<String> = it
            .subs
            .iter()
            .filter(|sub| matches(sub.filter, topic))
            .map(|sub| format!("\n  {sub:?}"))
            .collect();
        let messages = numbers.iter().map(|number| {
            let instances = &self.messages[*number].instances;
            let got = it.got.get(number);
            format!(
                "{}\n  instances {instances:?}\n  came already by {got:?}\n",
                self.describe(*number)
            )
        });
        let messages: Vec<String> = messages.collect();
        let changes = self.retained_under(topic);
        format!(
            "{}: {got:?}\n  it is {}  retained were:{}\n  subscriptions:{}",
            self.name(conn),
            messages.join("  or "),
            changes.concat(),
            subs.concat()
        )
    }
}
