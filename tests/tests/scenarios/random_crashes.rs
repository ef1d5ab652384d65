//! Crashes at any moment, with batches held back for as long as it takes: what was acknowledged is
//! never lost, QoS 2 comes once, and in order.
//!
//! Clients do no more here than publish, acknowledge, leave and come back, so that what must arrive
//! is plain. Everything follows from a seed, which is printed; `WHERRY_SEEDS=a..b` tries others.
#![allow(clippy::cast_possible_truncation)] // Numbers are small here.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use wherry_core::Config;
use wherry_core::topic::matches;
use wherry_tests::random::Random;
use wherry_tests::scenario::{Client, World};
use wherry_tests::wire::{self, Version, kind};

/// A message on its way from a publisher.
#[derive(Clone, Copy, Debug)]
struct Out {
    id: u16,
    qos: u8,
    number: u32,
    received: bool,
}

#[derive(Debug, Default)]
struct Person {
    name: String,
    version: Option<Version>,
    filter: &'static str,
    qos: u8,
    client: Option<Client>,
    /// Whether it has its CONNACK.
    is_in: bool,
    out: Vec<Out>,
    next_id: u16,
    /// QoS 2 identifiers that it has received and that were not released.
    unreleased: BTreeSet<u16>,
    /// What it would answer next, in order.
    owes: Vec<(u8, u16)>,
    /// Numbers in the order of their first arrival, and how often each came.
    got: Vec<u32>,
    times: BTreeMap<u32, u32>,
    /// All arrivals, in order.
    seen: Vec<u32>,
}

struct Run {
    world: World,
    random: Random,
    people: Vec<Person>,
    next: u32,
    /// QoS and publisher of each message.
    about: BTreeMap<u32, (u8, usize)>,
    /// Numbers that their publisher was told to be safe.
    safe: BTreeSet<u32>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let config = Config {
            commit_linger: Duration::from_millis(*random.one_of(&[0, 2, 50])),
            send_window: (*random.one_of(&[1, 3, 1024])).try_into().expect("not 0"),
            write_timeout: Duration::from_secs(1_000_000),
            max_uncommitted_bytes: *random.one_of(&[300, 1 << 20]),
            ..Config::default()
        };
        let shards = *random.one_of(&[1, 1, 2, 3]);
        let mut run = Self {
            world: World::durable_shards(config, shards),
            people: Vec::new(),
            next: 0,
            about: BTreeMap::new(),
            safe: BTreeSet::new(),
            random,
        };
        for n in 0..4 {
            let version = *run.random.one_of(&[Version::V3_1_1, Version::V5]);
            run.people.push(Person {
                name: format!("p{n}"),
                version: Some(version),
                qos: 1 + run.random.below(2) as u8,
                next_id: 1,
                ..Person::default()
            });
            let connect = wire::lasting(version, &run.people[n].name);
            let client = run.world.connect_with(&connect);
            let filter = *run.random.one_of(&["t/#", "t/p0", "t/p1", "t/p2"]);
            run.people[n].filter = filter;
            run.world.subscribe(client, filter, run.people[n].qos);
            run.people[n].client = Some(client);
            run.people[n].is_in = true;
        }
        run.world.hold_commits();
        run
    }

    fn read(&mut self) {
        let mut came = Vec::new();
        for who in 0..self.people.len() {
            let person = &mut self.people[who];
            let (Some(client), Some(version)) = (person.client, person.version) else {
                continue;
            };
            while let Some(packet) = self.world.next(client) {
                match packet.kind() {
                    kind::CONNACK => {
                        let connack = packet.connack(version);
                        assert!(connack.session_present, "{}: it is gone", person.name);
                        came.push(who);
                    }
                    kind::PUBLISH => {
                        let got = packet.publish(version);
                        let text = String::from_utf8(got.payload).expect("a number");
                        let number: u32 = text.parse().expect("a number");
                        let id = got.packet_id.expect("QoS 1 or 2");
                        if got.qos == 2 && !person.unreleased.insert(id) {
                            assert!(got.dup, "{}: {number}", person.name);
                        } else {
                            person.seen.push(number);
                            *person.times.entry(number).or_default() += 1;
                            if person.times[&number] == 1 {
                                person.got.push(number);
                            }
                        }
                        person.owes.push((3 + got.qos, id));
                    }
                    kind::PUBREL => {
                        let id = packet.ack(kind::PUBREL, version).packet_id;
                        person.unreleased.remove(&id);
                        person.owes.push((kind::PUBCOMP, id));
                    }
                    answer => {
                        let ack = packet.ack(answer, version);
                        let at = person.out.iter().position(|out| out.id == ack.packet_id);
                        let Some(at) = at else {
                            panic!("{}: {packet:?}", person.name);
                        };
                        let out = &mut person.out[at];
                        self.safe.insert(out.number);
                        if answer == kind::PUBREC {
                            out.received = true;
                            let id = out.id;
                            person.owes.push((kind::PUBREL, id));
                        } else {
                            person.out.remove(at);
                        }
                    }
                }
            }
        }
        for who in came {
            self.people[who].is_in = true;
            self.again(who);
        }
    }

    fn send(&mut self, who: usize, bytes: impl AsRef<[u8]>) {
        if let Some(client) = self.people[who].client {
            self.world.send(client, bytes);
        }
    }

    fn publish(&mut self, who: usize) {
        let person = &mut self.people[who];
        let may_publish = person.is_in && person.out.len() < 20;
        let Some(version) = person.version.filter(|_| may_publish) else {
            return;
        };
        let out = Out {
            id: person.next_id,
            qos: 1 + self.random.below(2) as u8,
            number: self.next,
            received: false,
        };
        person.next_id += 1;
        person.out.push(out);
        self.about.insert(out.number, (out.qos, who));
        self.next += 1;
        let topic = format!("t/{}", person.name);
        let publish = wire::publish(version, topic, out.number.to_string());
        self.send(who, publish.qos(out.qos, out.id).bytes());
    }

    fn answer(&mut self, who: usize) -> bool {
        if self.people[who].owes.is_empty() || self.people[who].client.is_none() {
            return false;
        }
        let (kind, id) = self.people[who].owes.remove(0);
        let first = kind << 4 | if kind == kind::PUBREL { 2 } else { 0 };
        self.send(who, wire::packet(first, id.to_be_bytes()));
        true
    }

    fn leave(&mut self, who: usize) {
        if let Some(client) = self.people[who].client.take() {
            self.people[who].owes.clear();
            self.people[who].is_in = false;
            self.world.hang_up(client);
        }
    }

    /// Comes back.
    fn come(&mut self, who: usize) {
        let person = &self.people[who];
        let version = person.version.expect("it has one");
        let connect = wire::lasting(version, &person.name);
        let client = self.world.dial(version);
        self.world.send(client, connect.bytes());
        self.people[who].client = Some(client);
        self.read();
    }

    /// Sends again what was not answered, once it is in.
    fn again(&mut self, who: usize) {
        let person = &self.people[who];
        let version = person.version.expect("it has one");
        let topic = format!("t/{}", person.name);
        for out in person.out.clone() {
            if out.received {
                self.people[who].owes.push((kind::PUBREL, out.id));
            } else {
                let publish = wire::publish(version, &topic, out.number.to_string());
                self.send(who, publish.qos(out.qos, out.id).dup().bytes());
            }
        }
    }

    fn step(&mut self) {
        let who = self.random.below(self.people.len());
        if self.people[who].client.is_none() {
            if self.random.below(3) == 0 {
                self.come(who);
            }
        } else {
            match self.random.below(100) {
                0..40 => self.publish(who),
                40..75 => drop(self.answer(who)),
                75..78 => self.leave(who),
                78..92 => {
                    let shard = self.random.below(self.world.shards());
                    self.world.commit_of(shard);
                }
                92..97 => {
                    let time = *self.random.one_of(&[1, 2, 60]);
                    self.world.pass(Duration::from_millis(time));
                }
                _ if self.random.below(3) == 0 => {
                    let shards = match self.world.shards() {
                        1 => 1,
                        _ => 2 + self.random.below(2),
                    };
                    self.world.crash_to(shards);
                    for person in &mut self.people {
                        person.client = None;
                        person.owes.clear();
                        person.is_in = false;
                    }
                }
                _ => {}
            }
        }
        self.read();
    }

    /// Whatever came again, all that was newer came again after it: nobody is left with an old
    /// message for the last word.
    fn assert_no_relapse(&self, person: &Person) {
        let seen = &person.seen;
        for (at, old) in seen.iter().enumerate() {
            let is_newer = |n: &&u32| **n > *old && self.about[n] == self.about[old];
            for newer in seen[..at].iter().filter(is_newer) {
                let name = &person.name;
                let again = seen[at..].contains(newer);
                assert!(again, "{name}: {old} after {newer} in {seen:?}");
            }
        }
    }

    fn conclude(&mut self) {
        self.world.commit_all();
        for who in 0..self.people.len() {
            if self.people[who].client.is_none() {
                self.come(who);
                self.world.pass(Duration::from_secs(1));
            }
        }
        let mut idle = 0;
        while idle < 3 {
            idle += 1;
            self.read();
            for who in 0..self.people.len() {
                while self.answer(who) {
                    idle = 0;
                    self.read();
                }
            }
            self.world.pass(Duration::from_secs(1));
        }
        for person in &self.people {
            assert!(person.out.is_empty(), "unanswered: {person:?}");
            assert!(person.unreleased.is_empty(), "unreleased: {person:?}");
            for number in 0..self.next {
                let times = person.times.get(&number).copied().unwrap_or(0);
                let once = self.about[&number].0.min(person.qos) == 2;
                let name = &person.name;
                let topic = format!("t/p{}", self.about[&number].1);
                let is_mine = matches(person.filter, &topic);
                let is_safe = is_mine && self.safe.contains(&number);
                assert!(is_mine || times == 0, "{name} got {number}");
                assert!(!is_safe || times > 0, "{name} has not got {number}");
                assert!(!once || times <= 1, "{name} got {number} {times} times");
            }
        }
        for person in &self.people {
            self.assert_no_relapse(person);
            // [MQTT-4.6.0-6]
            let mut last = BTreeMap::new();
            for number in &person.got {
                let before = last.insert(self.about[number], *number);
                let name = &person.name;
                assert!(before < Some(*number), "{name}: {number} after {before:?}");
            }
        }
        assert!(!self.world.rows.has_strays());
        assert_eq!(self.world.rows.counts()[2..4], [0, 0]);
        for shard in 0..self.world.shards() {
            let broker = self.world.shard(shard);
            let left = (broker.queued_messages(), broker.uncommitted_bytes());
            assert_eq!(left, (0, 0));
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(given) = std::env::var("WHERRY_SEEDS") else {
        return 0..1000;
    };
    let (from, to) = given.split_once("..").expect("WHERRY_SEEDS=from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn what_was_acknowledged_arrives_whenever_the_process_dies() {
    for seed in seeds() {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut run = Run::new(seed);
            let steps = 50 + run.random.below(250);
            (0..steps).for_each(|_| run.step());
            run.conclude();
        }));
        if let Err(panic) = outcome {
            let next = seed + 1;
            println!("the seed is {seed}: WHERRY_SEEDS={seed}..{next} shows it again");
            resume_unwind(panic);
        }
    }
}
