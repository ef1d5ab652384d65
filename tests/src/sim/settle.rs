//! The end of a world: the faults are over, and everything that is owed arrives.

use wherry_core::Broker;

use super::door::Verdict;
use super::net::{End, Pieces};
use super::packets::{Asked, Content, Hello, Sent};
use super::schedule::Millis;
use super::universe::{Right, SHARED_TOPICS, TOPICS};
use super::world::{Event, World};
use crate::random::Random;
use crate::wire::Version;

/// How long it may take until all that is owed has arrived.
pub(crate) const BUDGET: Millis = 30_000;

/// All wills that are delayed, and all sessions that end by themselves, are over after this.
const LONGEST: Millis = 40_000;

impl World {
    /// The whole story.
    pub(crate) fn live(&mut self) {
        let steps = self.plan.steps as Millis + 10;
        // However long things take: steps, and what follows from them.
        let end = steps * self.plan.delays.step + 10 * self.plan.delays.answer + 600_000;
        self.run(end);
        if self.failure().is_none() {
            self.calm_down();
        }
        if self.failure().is_none() {
            self.look_at_retained();
        }
        if self.failure().is_none() {
            self.go_home();
        }
        self.count_broker();
        if let Some(stored) = &mut self.stored {
            stored.compare();
            self.oracle.coverage.real_starts += stored.starts();
        }
        let net = self.net.borrow();
        self.oracle.coverage.short_writes += net.short_writes;
        self.oracle.coverage.refused_writes += net.refused_writes;
    }

    /// Adds up what the broker has counted.
    pub(crate) fn count_broker(&mut self) {
        for shard in &self.process.shards {
            for (name, count) in shard.driver.broker().counters().iter() {
                *self.oracle.coverage.broker.entry(name).or_default() += count;
            }
        }
    }

    /// Clients come back, read, and answer; nothing may be pending then.
    fn calm_down(&mut self) {
        self.trace.line(|| "the faults are over".into());
        self.is_calm = true;
        self.is_store_down = false;
        {
            let net = &mut *self.net.borrow_mut();
            net.interrupts = false;
            if net.pieces == Pieces::Tiny {
                net.pieces = Pieces::Mixed;
            }
        }
        for line in 0..self.lines.len() {
            self.wake(line);
        }
        // What is on its way still arrives.
        self.run(self.now + BUDGET);
        let mut random = Random::new(self.plan.seed ^ 0xca1f);
        for client in 0..self.plan.clients {
            if self.skip.has_client(client) || self.failure().is_some() {
                continue;
            }
            // Who has got no answer and is not told why has to come back.
            let is_stuck = self.plan.features.store_failures;
            if self.clients[client].is_in && random.below(2) == 0 && !is_stuck {
                self.answer_all(client);
                self.publish_on(client);
            } else {
                self.come_back(client, false);
            }
            self.run(self.now + BUDGET);
        }
        self.run(self.now + BUDGET);
        self.nothing_is_pending();
    }

    /// A client takes up its session, or ends it.
    fn come_back(&mut self, client: usize, clean: bool) {
        if let Some(line) = self.clients[client].line {
            self.hang_up(line, End::Stream);
            self.lost(line);
            self.run(self.now + BUDGET);
        }
        let it = &self.clients[client];
        let clean = clean || it.has_thrown_away || self.oracle.is_unsure(client, self.now);
        let persona = &it.persona;
        let expiry = match (persona.version, clean) {
            (_, true) => 0,
            (Version::V5, false) => 600,
            _ => u32::MAX,
        };
        let hello = Hello {
            client,
            name: it.name.clone(),
            version: persona.version,
            clean,
            expiry,
            will: None,
            receive_maximum: persona.receive_maximum,
            max_packet: persona.max_packet,
            alias_maximum: persona.alias_maximum,
            keep_alive: 0,
            right: persona.right,
        };
        let right = persona.right;
        self.connect_as(client, hello, Verdict::Now(right));
    }

    fn nothing_is_pending(&mut self) {
        // Nothing is on its way any more; whoever watches finds that out in some turns.
        for _ in 0..3 {
            self.turn();
        }
        let pending = self.oracle.pending();
        if !pending.is_empty() && self.failure().is_none() {
            let what = format!("{BUDGET} ms after the faults:\n  {}", pending.join("\n  "));
            self.oracle.fail("pending", what);
        }
        let unfinished = self.clients.iter().find(|client| !client.out.is_empty());
        if let Some(client) = unfinished
            && self.failure().is_none()
        {
            let what = format!("{} is not done with {:?}", client.name, client.out);
            self.oracle.fail("pending", what);
        }
    }

    /// Somebody new subscribes to everything at each shard: what is retained is what should be.
    /// Whoever did what last, all shards have the same.
    fn look_at_retained(&mut self) {
        let first = self.clients.len();
        for shard in 0..self.process.shards.len() {
            if self.failure().is_none() {
                self.look_at_retained_in(shard);
            }
        }
        for newcomer in first + 1..self.clients.len() {
            if self.failure().is_none() {
                self.oracle.have_the_same_retained(first, newcomer);
            }
        }
        let said: Vec<usize> = (0..self.plan.clients).collect();
        for other in said {
            if let Some(line) = self.clients[other].line {
                self.schedule_wake(line);
            }
        }
    }

    fn look_at_retained_in(&mut self, shard: usize) {
        let broker = self.process.shards[0].driver.broker();
        let mut names = (0..).map(|number| format!("newcomer{number}"));
        let name = names.find(|name| usize::from(broker.shard_of(name)) == shard);
        let client = self.newcomer(&name.unwrap_or_default());
        let filters = ["#", "$d/#"].map(|name| Asked {
            name,
            qos: 2,
            no_local: false,
            retain_as_published: false,
            handling: 0,
        });
        self.say(
            client,
            Sent::Subscribe {
                id: 1,
                identifier: 0,
                filters: filters.into(),
            },
        );
        self.run(self.now + BUDGET);
        self.nothing_is_pending();
    }

    fn schedule_wake(&mut self, line: usize) {
        self.at(self.now, Event::Wake(line));
    }

    /// A client that nobody has seen before is let in.
    fn newcomer(&mut self, name: &str) -> usize {
        let index = self.clients.len();
        let mut client = self.clients[0].clone();
        client.index = index;
        client.name = name.into();
        client.is_hostile = false;
        client.begin_anew();
        let persona = &mut client.persona;
        persona.version = Version::V5;
        persona.right = Right::ALL;
        persona.max_packet = None;
        persona.alias_maximum = 0;
        persona.receive_maximum = u16::MAX;
        client.line = None;
        self.clients.push(client);
        self.come_back(index, true);
        self.run(self.now + BUDGET);
        index
    }

    /// Everybody leaves for good, and nothing is left.
    fn go_home(&mut self) {
        let mut random = Random::new(0);
        for client in 0..self.clients.len() {
            if self.clients[client].is_hostile || self.failure().is_some() {
                continue;
            }
            if client < self.plan.clients && !self.skip.has_client(client) {
                self.come_back(client, true);
                self.run(self.now + BUDGET);
            }
            self.say_goodbye(client, &mut random);
            self.run(self.now + BUDGET);
        }
        for client in self.plan.clients..self.plan.clients + self.plan.hostile {
            if let Some(line) = self.clients[client].line {
                self.hang_up(line, End::Reset);
                self.lost(line);
            }
        }
        for line in 0..self.lines.len() {
            if self.lines[line].is_dead {
                self.lines[line].is_dead = false;
                self.hang_up(line, End::Reset);
            }
        }
        self.pass(LONGEST);
        if self.failure().is_none() {
            self.clear();
        }
        if self.failure().is_none() {
            self.nothing_is_left();
        }
    }

    /// Everything that is retained is cleared.
    fn clear(&mut self) {
        let cleaner = self.newcomer("cleaner");
        for topic in TOPICS.into_iter().chain(SHARED_TOPICS) {
            let number = self.oracle.invent(|_| Content {
                from: cleaner,
                topic,
                qos: 0,
                retain: true,
                payload: Vec::new(),
                properties: Vec::new(),
                expiry: None,
                will: false,
            });
            self.send_message(cleaner, number, None, false);
        }
        self.run(self.now + BUDGET);
        self.say_goodbye(cleaner, &mut Random::new(0));
        self.pass(10_000);
    }

    fn nothing_is_left(&mut self) {
        let all = &self.process;
        let mut gauges = vec![
            ("connections", all.sum(Broker::connections)),
            ("bytes in outboxes", all.sum(Broker::waiting_bytes)),
            ("unparsed bytes", all.sum(Broker::unparsed_bytes)),
        ];
        // Hostile clients may have sessions under names of their own.
        if self.plan.hostile == 0 {
            gauges.extend([
                ("sessions", all.sum(Broker::sessions)),
                ("subscriptions", all.sum(Broker::subscriptions)),
                ("queued messages", all.sum(Broker::queued_messages)),
                ("queued bytes", all.sum(Broker::queued_bytes)),
                ("retained messages", all.sum(Broker::retained_messages)),
                ("retained bytes", all.sum(Broker::retained_bytes)),
                ("tombstones", all.sum(Broker::retained_tombstones)),
                ("uncommitted bytes", all.sum(Broker::uncommitted_bytes)),
            ]);
            if let Some(stored) = &self.stored {
                gauges.push(("rows", stored.rows().counts().into_iter().sum()));
            }
        }
        let left: Vec<String> = gauges
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        if !left.is_empty() {
            self.oracle.fail("not freed", left.join(", "));
        }
    }
}
