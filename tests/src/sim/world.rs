//! A whole world in one thread: a broker, its sockets, its clients, and time.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use wherry_core::connection::ConnectionId;
use wherry_host::driver::Driver;

use super::client::Client;
use super::door::{Door, Verdict};
use super::lines::Line;
use super::net::{Deed, Net, SimSocket};
use super::oracle::{Failure, Oracle, Seen, Status};
use super::packets::{self, Said};
use super::plan::{Fault, Plan};
use super::process::Process;
use super::schedule::{Millis, Schedule};
use super::skip::Skip;
use super::stored::Stored;
use super::trace::Trace;
use crate::random::Random;
use crate::wire::{Publish, Value, first_packet, id};

/// So many turns without a byte, while no time passes, are not work but a loop.
const MOST_IDLE_TURNS: u32 = 2000;

/// A store that has failed tries again after this.
const RETRY: Millis = 100;

/// Something that is to happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client takes its next step.
    Step(usize),
    /// Bytes of a client reach the broker.
    Arrive(usize, Vec<u8>),
    /// The end of a client's side reaches the broker.
    End(usize, super::net::End),
    /// Bytes of the broker reach their client.
    Drain(usize),
    /// A client answers, on this connection.
    Answer(usize, super::client::Answer),
    /// A client says that it is there, on this connection.
    Ping(usize),
    /// A client reads again, on this connection.
    Wake(usize),
    /// Credentials have been checked.
    Decide(usize),
    /// A client notices that its connection is over.
    Close(usize),
    /// Something happens to the broker.
    Fault(Fault),
    /// In this process, something arrives that a shard has sent to another.
    Link(u64, u8, u8),
    /// In this process, a connection arrives at a shard.
    Adopt(u64, u8),
    /// In this process, the store has tried to write the batch of a shard.
    Commit(u64, usize),
    /// The store takes everything again.
    StoreRecovers,
}

/// A world.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) skip: Skip,
    pub(crate) now: Millis,
    pub(crate) schedule: Schedule<Event>,
    /// How many of the things to happen are more than a sign of life.
    pub(crate) busy: usize,
    pub(crate) net: Rc<RefCell<Net>>,
    pub(crate) process: Process,
    /// What is stored, if anything is.
    pub(crate) stored: Option<Stored>,
    /// The store does not take anything.
    pub(crate) is_store_down: bool,
    /// The broker dies before the next batch is in the store.
    pub(crate) crash_waits: bool,
    pub(crate) door: Arc<Door>,
    pub(crate) lines: Vec<Line>,
    pub(crate) clients: Vec<Client>,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
    /// Chance that belongs to nobody in particular.
    pub(crate) random: Random,
    /// The faults are over: everybody is polite and quick.
    pub(crate) is_calm: bool,
    /// The broker says goodbye.
    pub(crate) is_stopping: bool,
    /// How many times the broker was started.
    starts: u64,
    /// There is something for the broker to do already.
    pub(crate) more: bool,
    idle_turns: u32,
    /// Where the broker has written in this turn.
    pub(crate) wrote: Vec<usize>,
    pub(crate) bounds: super::bounds::Bounds,
}

impl World {
    pub(crate) fn new(plan: Plan, skip: Skip, trace: Trace) -> Self {
        let door = Arc::new(Door::default());
        let interrupts = plan.features.interrupts;
        let net = Net::new(plan.pieces, interrupts, Arc::clone(&door.deeds));
        let oracle = Oracle::new(&plan);
        let seed = plan.has_real_store.then_some(plan.seed);
        let mut stored = plan.features.store.then(|| Stored::new(seed));
        let process = Process::start(&plan, 0, plan.shards, 0, &door, stored.as_mut());
        let random = Random::new(plan.seed ^ 0x5eed);
        let bounds = super::bounds::Bounds::new(&plan.config);
        let mut world = Self {
            plan,
            skip,
            now: 0,
            schedule: Schedule::new(),
            busy: 0,
            net,
            process,
            stored,
            is_store_down: false,
            crash_waits: false,
            door,
            lines: Vec::new(),
            clients: Vec::new(),
            oracle,
            trace,
            random,
            is_calm: false,
            is_stopping: false,
            starts: 0,
            more: false,
            idle_turns: 0,
            wrote: Vec::new(),
            bounds,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        let total = self.plan.clients + self.plan.hostile;
        for index in 0..total {
            let client = Client::new(&self.plan, index);
            self.clients.push(client);
            let first = self.random.below(self.plan.delays.step as usize + 1) as Millis;
            if !self.skip.has_client(index) {
                self.at(first, Event::Step(index));
            }
        }
        for (number, (time, fault)) in self.plan.faults.clone().into_iter().enumerate() {
            if !self.skip.has_fault(number) {
                self.at(time, Event::Fault(fault));
            }
        }
    }

    /// Lets something happen later.
    pub(crate) fn at(&mut self, time: Millis, event: Event) {
        if !matches!(event, Event::Ping(_)) {
            self.busy += 1;
        }
        self.schedule.at(time.max(self.now), event);
    }

    /// Goes on until nothing but signs of life is left, `end` is reached, or a promise is broken.
    pub(crate) fn run(&mut self, end: Millis) {
        // A batch that lingers is not on its way yet.
        let goes_on = |by: &Self| by.more || by.busy > 0 || !by.process.is_at_rest();
        while self.failure().is_none() && goes_on(self) && self.go_on(end) {}
    }

    /// Lets time pass, whatever happens or not.
    pub(crate) fn pass(&mut self, time: Millis) {
        let end = self.now + time;
        while self.failure().is_none() && self.go_on(end) {}
        if self.failure().is_none() {
            self.now = end;
            self.turn();
        }
    }

    /// Does what is next; false if that is after `end`.
    pub(crate) fn go_on(&mut self, end: Millis) -> bool {
        if self.more {
            self.turn();
            return true;
        }
        self.next(end)
    }

    /// Goes on to the next moment at which something happens; false if that is after `end`.
    fn next(&mut self, end: Millis) -> bool {
        let event = self.schedule.next_time();
        let deadline = self.process.deadline();
        let time = match (event, deadline) {
            (Some(event), Some(deadline)) => event.min(deadline),
            (Some(time), None) | (None, Some(time)) => time,
            (None, None) => return false,
        };
        if time > end {
            return false;
        }
        if time > self.now {
            self.now = time;
            self.idle_turns = 0;
        }
        let is_due = deadline.is_some_and(|deadline| deadline <= self.now);
        let mut happened = false;
        while let Some(event) = self.schedule.pop(self.now) {
            happened = true;
            self.idle_turns = 0;
            if !matches!(event, Event::Ping(_)) {
                self.busy -= 1;
            }
            self.happen(event);
            if self.plan.eager || self.oracle.failure().is_some() {
                break;
            }
        }
        if happened || is_due {
            self.turn();
        }
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Step(client) => self.step(client),
            Event::Arrive(line, bytes) => self.arrive(line, &bytes),
            Event::End(line, end) => {
                self.net.borrow_mut().end(line, end);
                self.report(line);
            }
            Event::Drain(line) => self.drain(line),
            Event::Answer(line, answer) => self.answer(line, answer),
            Event::Ping(line) => self.ping(line),
            Event::Wake(line) => self.wake(line),
            Event::Decide(line) => self.decide(line),
            Event::Close(line) => self.close(line),
            Event::Fault(fault) => self.fault(fault),
            Event::StoreRecovers => self.is_store_down = false,
            Event::Link(start, ..) | Event::Adopt(start, _) | Event::Commit(start, _)
                if start != self.starts => {}
            Event::Link(_, from, to) => {
                let trace = &mut self.trace;
                self.process.arrive(from, to, self.now, |messages| {
                    trace.line(|| {
                        let words = format!("{messages:?}");
                        format!("shard {from} to {to}: {words:.300}")
                    });
                });
            }
            Event::Adopt(_, to) => self.adopt(to),
            Event::Commit(_, shard) => self.commit(shard),
        }
    }

    /// Credentials have been checked.
    fn decide(&mut self, line: usize) {
        let Verdict::Later(right, _) = self.lines[line].verdict else {
            return;
        };
        if self.door.answer(line, right) {
            self.oracle.decided(line);
        }
    }

    /// The broker has a turn, and whoever watches is told what it did.
    pub(crate) fn turn(&mut self) {
        self.idle_turns += 1;
        if self.idle_turns > MOST_IDLE_TURNS {
            let what = format!("{MOST_IDLE_TURNS} turns at {}", self.now);
            return self.oracle.fail("turns without end", what);
        }
        self.trace.time(self.now);
        self.more = self.process.turn(self.now, &mut self.random);
        self.oracle.coverage.turns += 1;
        self.carry();
        self.observe();
        if self.oracle.failure().is_none() {
            // Before a restart there may have been as many as there ever are.
            let shards = match self.plan.features.shards {
                true => 4,
                false => 1,
            };
            for shard in &self.process.shards {
                if let Err(what) = self.bounds.check(shard, shards) {
                    self.oracle.fail("bound exceeded", what);
                }
            }
        }
        self.deliver();
    }

    /// What shards have for each other and for the store goes on its way.
    fn carry(&mut self) {
        let (now, start, delays) = (self.now, self.starts, self.plan.delays);
        let is_calm = self.is_calm;
        let mut random = Random::new(self.random.next_u64());
        let mut lag = |most: Millis| match is_calm {
            true => 0,
            false => random.below(most as usize + 1) as Millis,
        };
        let mut events = Vec::new();
        self.process.take_routed(|from, to, before| {
            let at = before.max(now + lag(delays.link));
            events.push((at, Event::Link(start, from, to)));
            at
        });
        for to in self.process.take_handovers() {
            events.push((now + lag(delays.link), Event::Adopt(start, to)));
        }
        for shard in self.process.take_batches(self.oracle.turn() + 1) {
            let time = lag(delays.store);
            if std::mem::take(&mut self.crash_waits) {
                events.push((now + lag(time), Event::Fault(Fault::Crash)));
            }
            events.push((now + time, Event::Commit(start, shard)));
        }
        for (at, event) in events {
            self.at(at, event);
        }
    }

    /// A connection comes to the shard that owns its client.
    fn adopt(&mut self, to: u8) {
        if let Some((line, id)) = self.process.adopt(to, self.now) {
            self.trace
                .line(|| format!("line {line}: goes to shard {to}"));
            self.oracle.coverage.moves += 1;
            let it = &mut self.lines[line];
            (it.shard, it.id) = (usize::from(to), id);
        }
    }

    /// The store has tried to write a batch.
    fn commit(&mut self, shard: usize) {
        if self.is_store_down {
            self.trace.line(|| format!("the store fails shard {shard}"));
            let it = &mut self.process.shards[shard];
            it.is_failing = true;
            it.driver.store_failing();
            return self.at(self.now + RETRY, Event::Commit(self.starts, shard));
        }
        if let Some(stored) = &mut self.stored {
            self.oracle.coverage.commits += 1;
            self.process.commit(shard, stored, self.now);
        }
    }

    /// The driver of a line's shard.
    pub(crate) fn driver_of(&mut self, line: usize) -> &mut Driver<SimSocket> {
        &mut self.process.shards[self.lines[line].shard].driver
    }

    /// Looks at what the broker did in its turn.
    pub(crate) fn observe(&mut self) {
        let asked = self.door.take_asked();
        let (deeds, bytes, again) = {
            let net = &mut *self.net.borrow_mut();
            let deeds = std::mem::take(&mut net.deeds);
            self.door
                .deeds
                .store(0, std::sync::atomic::Ordering::Relaxed);
            let bytes = std::mem::take(&mut net.bytes);
            (deeds, bytes, std::mem::take(&mut net.again))
        };
        if !deeds.is_empty() {
            self.idle_turns = 0;
        }
        let mut seen = Vec::new();
        let mut asked = asked.into_iter().peekable();
        for (place, (line, deed)) in deeds.into_iter().enumerate() {
            while let Some(it) = asked.next_if(|it| it.after <= place) {
                self.asked(it.conn, it.verdict, &mut seen);
            }
            self.deed(line, deed, &bytes, &mut seen);
        }
        for it in asked {
            self.asked(it.conn, it.verdict, &mut seen);
        }
        {
            let net = &mut *self.net.borrow_mut();
            net.bytes = bytes;
            net.bytes.clear();
        }
        let is_failing = self.process.shards.iter().any(|it| it.is_failing);
        self.oracle.store_is(is_failing || self.is_store_down);
        let (lines, shards) = (&self.lines, &self.process.shards);
        self.oracle.turned(self.now, seen, |line| {
            let Line { id, shard, .. } = lines[line];
            let broker = shards[shard].driver.broker();
            Status {
                is_in: broker.is_in(id),
                is_heard: broker.is_heard(id),
                is_empty: broker.outbox_len(id) == 0,
                is_failing: broker.is_store_failing(),
                welcome: None,
            }
        });
        if let Some(upto) = self.process.settled(self.oracle.turn()) {
            self.oracle.settled(upto);
        }
        self.oracle.store_is(is_failing || self.is_store_down);
        for line in again {
            self.report(line);
        }
    }

    /// The broker has asked who a client is.
    fn asked(&mut self, line: usize, verdict: Verdict, seen: &mut Vec<(usize, Seen)>) {
        self.trace
            .line(|| format!("line {line}: asked, {verdict:?}"));
        match verdict {
            Verdict::Now(_) => seen.push((line, Seen::Admitted)),
            Verdict::Later(_, delay) => {
                self.oracle.examined(line, self.now);
                self.oracle.coverage.slow_doors += 1;
                self.at(self.now + delay, Event::Decide(line));
            }
            Verdict::Refused => {
                self.oracle.coverage.refused += 1;
                self.oracle.refused(line);
            }
            Verdict::Never => self.oracle.refused(line),
        }
    }

    fn deed(&mut self, line: usize, deed: Deed, bytes: &[u8], seen: &mut Vec<(usize, Seen)>) {
        self.trace.number(line as u64);
        match deed {
            Deed::Read(start, end) => {
                self.trace.bytes(&bytes[start..end]);
                self.heard(line, end - start, seen);
            }
            Deed::Wrote(start, end) => {
                self.wrote.push(line);
                self.trace.bytes(&bytes[start..end]);
                self.said(line, &bytes[start..end], seen);
            }
            Deed::SawEnd | Deed::SawFailure => {
                self.trace.number(0x10);
                self.trace
                    .line(|| format!("line {line}: the broker sees the end"));
                seen.push((line, Seen::Lost));
            }
            Deed::Shut | Deed::Dropped => {
                self.trace.number(0x10);
                self.ended_by_broker(line, deed == Deed::Dropped);
            }
        }
    }

    /// The broker has read bytes: which packets does that complete?
    fn heard(&mut self, line: usize, count: usize, seen: &mut Vec<(usize, Seen)>) {
        let it = &mut self.lines[line];
        it.heard += count as u64;
        while let Some((end, _)) = it.sent.front()
            && *end <= it.heard
        {
            let Some((_, sent)) = it.sent.pop_front() else {
                break;
            };
            self.trace.line(|| format!("line {line}: > {sent:?}"));
            seen.push((line, Seen::Heard(sent)));
        }
    }

    /// The broker has written bytes: which packets does that complete?
    fn said(&mut self, line: usize, bytes: &[u8], seen: &mut Vec<(usize, Seen)>) {
        let it = &mut self.lines[line];
        it.unread.extend_from_slice(bytes);
        let mut taken = 0;
        while let Some((packet, len)) = first_packet(&it.unread[taken..]) {
            taken += len;
            it.said_bytes += len as u64;
            if self.clients[it.client].is_hostile {
                continue; // What version it speaks, nobody knows.
            }
            let mut said = match packets::read(&packet, it.version) {
                Ok(said) => said,
                Err(what) => return self.oracle.fail("no packet of a broker", what),
            };
            if let Said::Publish(publish) = &mut said
                && let Some(Value::Two(alias)) = publish.property(id::TOPIC_ALIAS)
            {
                let alias = *alias;
                if alias == 0 || alias > it.alias_maximum {
                    let what = format!("line {line}: {publish:?}");
                    return self.oracle.fail("topic alias", what);
                }
                if publish.topic.is_empty() {
                    match it.aliases.get(&alias) {
                        Some(topic) => publish.topic.clone_from(topic),
                        None => {
                            let what = format!("line {line}: {publish:?}");
                            return self.oracle.fail("topic alias", what);
                        }
                    }
                } else {
                    it.aliases.insert(alias, publish.topic.clone());
                }
            }
            self.trace
                .line(|| format!("line {line}: < {}", brief(&said)));
            it.said.push_back((it.said_bytes, said.clone()));
            seen.push((line, Seen::Said(said, len)));
        }
        it.unread.drain(..taken);
    }

    /// The process is gone; another one begins, of so many shards.
    pub(crate) fn start_again(&mut self, shards: usize) {
        self.starts += 1;
        self.door.forget();
        self.process = Process::start(
            &self.plan,
            self.starts,
            shards,
            self.now,
            &self.door,
            self.stored.as_mut(),
        );
        for line in &mut self.lines {
            (line.shard, line.id) = (0, ConnectionId::default());
        }
        self.more = false;
    }

    /// What is wrong, if something is.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.oracle.failure()
    }
}

/// A packet of the broker, short enough for a line.
fn brief(said: &Said) -> String {
    let Said::Publish(publish) = said else {
        return format!("{said:?}");
    };
    let Publish {
        dup,
        qos,
        retain,
        topic,
        packet_id,
        properties,
        payload,
    } = publish;
    let start = &payload[..payload.len().min(12)];
    format!(
        "Publish {:?} to {topic}, QoS {qos}, id {packet_id:?}, dup {dup}, retain {retain}, \
         {} bytes, {properties:?}",
        start.escape_ascii().to_string(),
        payload.len()
    )
}
