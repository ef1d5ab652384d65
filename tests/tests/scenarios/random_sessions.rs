//! Clients that do anything at any time, and what must arrive all the same.
//!
//! Everything follows from a seed, which is printed if the promises are broken. `WHERRY_SEEDS=a..b`
//! tries others than the usual ones.
#![allow(clippy::cast_possible_truncation)] // Numbers are small here.

mod oracle;
mod person;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use wherry_core::{Config, QueuePolicy, ShareStrategy};
use wherry_tests::random::Random;
use wherry_tests::scenario::World;
use wherry_tests::wire::{self, Properties, Publish, Value, Version, id, kind};

use oracle::{Message, Number, Oracle, Subscription};
use person::{Out, Person};

const TOPICS: [&str; 8] = [
    "a/0", "a/1", "b/0", "b/1", "a/deep/0", "a/deep/1", "s/x/0", "s/x/1",
];
const FILTERS: [&str; 8] = [
    "a/0", "a/+", "a/#", "+/1", "b/#", "b/1", "+/deep/+", "a/deep/0",
];
/// Everyone can be a member of one group, so that a copy says which one it is of.
const SHARED: [&str; 3] = ["$share/g/s/x/+", "$share/h/s/#", "$share/g/s/x/0"];
/// The identifier of SUBSCRIBE and UNSUBSCRIBE, apart from those of messages.
const REQUEST: u16 = 60_000;
/// Large enough for all but the big messages.
const MAX_PACKET: u32 = 120;

struct Run {
    world: World,
    oracle: Oracle,
    random: Random,
    people: Vec<Person>,
}

impl Run {
    fn new(seed: u64, shards: usize) -> Self {
        let mut random = Random::new(seed);
        let mut config = Config {
            write_timeout: Duration::from_secs(1_000_000),
            queue_qos0: random.below(2) == 0,
            share_strategy: *random.one_of(&[
                ShareStrategy::RoundRobin,
                ShareStrategy::Random,
                ShareStrategy::Sticky,
                ShareStrategy::LeastInFlight,
            ]),
            send_window: (*random.one_of(&[1, 3, 1024])).try_into().expect("not 0"),
            ..Config::default()
        };
        let mut oracle = Oracle::default();
        if random.below(4) == 0 {
            oracle.lossy = true;
            config.max_queued_messages = 1 + random.below(8);
            let policies = [
                QueuePolicy::Reject,
                QueuePolicy::DropNewest,
                QueuePolicy::DropOldest,
            ];
            config.queue_policy = *random.one_of(&policies);
        }
        if random.below(3) == 0 {
            oracle.narrow = true;
            config.outbox_limit = *random.one_of(&[1, 50, 500]);
            config.outbox_total_limit = *random.one_of(&[100, 1000, 1 << 20]);
        }
        let people = (0..3 + random.below(4))
            .map(|n| {
                let mut person = Person::new(format!("p{n}"), *random.one_of(&Version::ALL));
                if person.version.is_v5() {
                    person.receive_maximum = *random.one_of(&[1, 2, 5, u16::MAX]);
                    person.alias_maximum = *random.one_of(&[0, 1, 2, 20]);
                    person.max_packet = *random.one_of(&[None, Some(MAX_PACKET)]);
                }
                person
            })
            .collect();
        // A store that is never slow must not make a difference.
        let world = if shards == 1 && seed.is_multiple_of(2) {
            config.commit_linger = Duration::ZERO;
            World::durable(config)
        } else {
            World::of_shards(&config, shards)
        };
        Self {
            world,
            oracle,
            random,
            people,
        }
    }

    fn now(&self) -> u64 {
        self.world.now().as_millis() as u64
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.random.below(one_in) == 0
    }

    /// Whether a packet that the client sends is looked at at once.
    fn can_send(&self, who: usize) -> bool {
        let socket = self.people[who].socket;
        socket.is_some_and(|socket| self.world.is_read(socket))
    }

    fn send(&mut self, who: usize, bytes: &[u8]) {
        let socket = self.people[who].socket.expect("it is connected");
        let size = *self.random.one_of(&[1, 3, 1000]);
        self.world.send_in_pieces(socket, bytes, size);
    }

    fn connect(&mut self, who: usize, clean: bool, expiry: Option<u64>) {
        let now = self.now();
        let person = &self.people[who];
        let is_v5 = person.version.is_v5();
        let expiry = match (is_v5, clean) {
            (true, _) => expiry,
            (false, true) => Some(0),
            (false, false) => None,
        };
        let connect = person.connect(clean, expiry);
        let takes_big = person.max_packet.is_none();
        let name = person.name.clone();
        let present = self.oracle.connect(&name, clean, expiry, takes_big, now);
        if self.world.shards() > 1 {
            self.world.door = self.random.below(self.world.shards());
        }
        let socket = self.world.dial(connect.version());
        if self.chance(2) {
            let bytes = 100 + self.random.below(200);
            self.world.take_only(socket, bytes);
        }
        self.world.send(socket, connect.bytes());
        let connack = self.world.expect(socket, kind::CONNACK);
        let connack = connack.connack(connect.version());
        assert_eq!(connack.code, 0);
        if connect.version() != Version::V3_1 {
            assert_eq!(connack.session_present, present, "{name}: session present");
        }
        self.people[who].connected(socket, present);
        self.read();
        while self.can_send(who) && self.publish_on(who) {}
        self.read();
    }

    /// Sends the next of what is due: what was on its way when the last connection ended
    /// ([MQTT-4.4.0-1]), or PUBREL. False if there is nothing.
    fn publish_on(&mut self, who: usize) -> bool {
        let next = self.oracle.messages.len();
        let person = &mut self.people[who];
        let version = person.version;
        let Some(out) = person.out.iter_mut().find(|out| out.due) else {
            return false;
        };
        out.due = false;
        if out.received {
            let packet = wire::packet(kind::PUBREL << 4 | 2, out.id.to_be_bytes());
            self.send(who, &packet);
            return true;
        }
        // At QoS 1, what comes again is another message to the broker; at QoS 2 too, if it refused
        // the first.
        let known = out.number.filter(|_| out.qos == 2 && !self.oracle.lossy);
        let number = *out.number.insert(known.unwrap_or(next));
        let packet = wire::publish(version, &out.topic, Message::payload(number, out.big));
        let packet = packet.qos(out.qos, out.id).dup().bytes();
        if known.is_none() {
            let message = Message::new(&out.topic, out.qos, out.big, false);
            self.oracle.publish(&person.name, message, false);
        }
        self.send(who, &packet);
        true
    }

    fn publish(&mut self, who: usize, cut: bool) {
        let name = self.people[who].name.clone();
        let person = &self.people[who];
        let version = person.version;
        let topic = *self.random.one_of(&TOPICS);
        let qos = self.random.below(3) as u8;
        let big = !topic.starts_with("s/") && self.random.below(5) == 0;
        let retain = !topic.starts_with("s/") && self.random.below(4) == 0;
        let number = self.oracle.messages.len();
        let mut properties = Properties::new();
        let expires = self.random.below(8) == 0 && version.is_v5();
        if expires {
            properties = properties.with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(2));
        }
        let mut written = topic;
        let mut gives_alias = false;
        if version.is_v5() && self.random.below(3) == 0 {
            let known = person.own_aliases.iter().position(|it| it == topic);
            let alias = known.unwrap_or(person.own_aliases.len()) as u16 + 1;
            properties = properties.with(id::TOPIC_ALIAS, Value::Two(alias));
            gives_alias = known.is_none();
            if !gives_alias {
                written = "";
            }
        }
        let mut packet = wire::publish(version, written, Message::payload(number, big));
        packet = packet.properties(properties);
        if retain {
            packet = packet.retain();
        }
        if qos > 0 {
            let out = Out {
                id: person.free_id(),
                qos,
                number: (!cut).then_some(number),
                topic: topic.into(),
                big,
                received: false,
                due: false,
            };
            packet = packet.qos(qos, out.id);
            self.people[who].out.push(out);
        }
        let bytes = packet.bytes();
        if cut {
            let part = self.random.below(bytes.len());
            self.send(who, &bytes[..part]);
            return self.leave(who);
        }
        if gives_alias {
            self.people[who].own_aliases.push(topic.into());
        }
        // The broker has it before this call ends, and so must the oracle.
        let message = Message::new(topic, qos, big, expires);
        self.oracle.publish(&name, message, retain);
        self.send(who, &bytes);
    }

    /// Hangs up without a word.
    fn leave(&mut self, who: usize) {
        self.read();
        if let Some(socket) = self.people[who].socket.take() {
            let now = self.now();
            self.oracle.detach(&self.people[who].name, now);
            self.world.hang_up(socket);
        }
    }

    fn subscribe(&mut self, who: usize) {
        let shared = self.chance(4);
        let filter = match shared {
            true => SHARED[who % SHARED.len()],
            false => *self.random.one_of(&FILTERS),
        };
        let version = self.people[who].version;
        let name = self.people[who].name.clone();
        if self.chance(3) {
            self.oracle.unsubscribe(&name, filter);
            return self.send(who, &wire::unsubscribe(version, REQUEST, &[filter]));
        }
        let mut subscription = Subscription {
            qos: if shared {
                2
            } else {
                self.random.below(3) as u8
            },
            no_local: false,
            identifier: 0,
        };
        let (mut options, mut handling) = (subscription.qos, 0);
        let mut properties = Properties::new();
        if version.is_v5() {
            handling = self.random.below(3) as u8;
            subscription.no_local = !shared && self.random.below(4) == 0;
            subscription.identifier = *self.random.one_of(&[0, 1, 7, 300]);
            options |= handling << 4 | u8::from(subscription.no_local) << 2;
        }
        if subscription.identifier > 0 {
            let value = Value::Variable(subscription.identifier);
            properties = properties.with(id::SUBSCRIPTION_IDENTIFIER, value);
        }
        self.oracle.subscribe(&name, filter, subscription, handling);
        let filters = [(filter, options)];
        let packet = wire::subscribe_with(version, REQUEST, &properties, &filters);
        self.send(who, &packet);
    }

    /// Everyone reads what is there.
    fn read(&mut self) {
        for who in 0..self.people.len() {
            let Some(socket) = self.people[who].socket else {
                continue;
            };
            while let Some(packet) = self.world.next(socket) {
                let max = self.people[who].max_packet.unwrap_or(u32::MAX);
                assert!(packet.body.len() + 2 <= max as usize, "{packet:?}");
                let person = &mut self.people[who];
                match packet.kind() {
                    kind::PUBLISH => {
                        let got = packet.publish(person.version);
                        self.receive(who, got);
                    }
                    kind::PUBREL => {
                        person.release(u16::from_be_bytes([packet.body[0], packet.body[1]]));
                    }
                    kind::PUBACK | kind::PUBREC | kind::PUBCOMP => {
                        let id = u16::from_be_bytes([packet.body[0], packet.body[1]]);
                        let code = packet.body.get(2).copied().unwrap_or(0);
                        person.answered(packet.kind(), id, code);
                    }
                    kind::SUBACK => {
                        let codes = packet.suback(person.version).codes;
                        assert!(codes.iter().all(|code| *code < 3), "{codes:?}");
                    }
                    kind::UNSUBACK => {}
                    _ => panic!("{}: {packet:?}", person.name),
                }
            }
            assert!(!self.world.is_closed(socket), "{:?}", self.world.causes());
        }
    }

    fn receive(&mut self, who: usize, mut got: Publish) {
        let person = &mut self.people[who];
        person.resolve(&mut got);
        if person.receive(&got) {
            let is_v5 = person.version.is_v5();
            self.oracle.receive(&person.name, &got, is_v5);
        }
    }

    /// Sends one answer or next step, if there is any.
    fn answer(&mut self, who: usize, in_order: bool) -> bool {
        if !self.can_send(who) {
            return false;
        }
        if self.publish_on(who) {
            return true;
        }
        let early = !in_order && self.chance(4);
        let with_error = !in_order && self.chance(8);
        let person = &mut self.people[who];
        let ids = person.answerable(early);
        let Some(first) = ids.first() else {
            return false;
        };
        let id = if in_order {
            *first
        } else {
            *self.random.one_of(&ids)
        };
        let (packet, done): (_, Option<Number>) = person.answer(id, with_error);
        if let Some(number) = done {
            self.oracle.done(&person.name, number);
        }
        self.send(who, &packet);
        true
    }

    fn step(&mut self) {
        let who = self.random.below(self.people.len());
        if self.people[who].socket.is_none() || self.chance(60) {
            let clean = self.chance(6);
            let expiry = *self
                .random
                .one_of(&[Some(0), Some(5000), Some(60_000), None]);
            self.connect(who, clean, expiry);
            return;
        }
        let socket = self.people[who].socket.expect("it is connected");
        match self.random.below(100) {
            0..35 if self.can_send(who) => self.publish(who, false),
            35..37 if self.can_send(who) => self.publish(who, true),
            37..62 => drop(self.answer(who, false)),
            62..68 => while self.answer(who, true) {},
            68..76 if self.can_send(who) => self.subscribe(who),
            76..80 => self.leave(who),
            80..82 if self.can_send(who) => {
                let bytes = wire::disconnect(self.people[who].version, 0);
                self.people[who].socket = None;
                self.oracle
                    .detach(&self.people[who].name.clone(), self.now());
                self.world.send(socket, bytes);
            }
            82..90 => {
                let bytes = self.random.below(300);
                self.world.take_only(socket, bytes);
            }
            90..95 => self.world.take_all(socket),
            _ => {
                let time = *self.random.one_of(&[10, 1000, 3000, 30_000]);
                self.world.pass(Duration::from_millis(time));
                self.oracle.pass(self.now());
            }
        }
        self.read();
    }

    /// Faults stop: everything that is owed arrives. Then nobody is left, and nothing.
    fn conclude(&mut self) {
        for who in 0..self.people.len() {
            if self.people[who].socket.is_none() {
                self.connect(who, false, Some(60_000));
            }
        }
        for person in &self.people {
            self.world.take_all(person.socket.expect("connected"));
        }
        self.read();
        loop {
            let mut idle = true;
            for who in 0..self.people.len() {
                while self.answer(who, true) {
                    idle = false;
                    self.read();
                }
            }
            if idle {
                break;
            }
        }
        for person in &self.people {
            let all = person.open.is_empty() && person.out.is_empty();
            assert!(all, "unfinished: {person:?}");
        }
        self.oracle.conclude();
        for who in 0..self.people.len() {
            self.leave(who);
            self.connect(who, true, Some(0));
            self.leave(who);
        }
        self.world.pass(Duration::from_secs(60));
        for shard in 0..self.world.shards() {
            let broker = self.world.shard(shard);
            assert_eq!((broker.queued_messages(), broker.queued_bytes()), (0, 0));
            assert_eq!((broker.waiting_bytes(), broker.unparsed_bytes()), (0, 0));
            assert_eq!((broker.sessions(), broker.absent_sessions()), (0, 0));
            assert_eq!((broker.connections(), broker.subscriptions()), (0, 0));
            assert_eq!(broker.retained_tombstones(), 0);
            let first = &self.world.broker;
            assert_eq!(broker.retained_messages(), first.retained_messages());
            assert_eq!(broker.retained_bytes(), first.retained_bytes());
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
fn what_is_promised_arrives_whatever_clients_do() {
    promises_are_kept(|_| 1);
}

#[test]
fn what_is_promised_arrives_at_whatever_shard_clients_are() {
    promises_are_kept(|seed| 2 + (seed % 3) as usize);
}

#[allow(clippy::print_stdout, reason = "a failure is shown again by it")]
fn promises_are_kept(shards: impl Fn(u64) -> usize) {
    let mut arrived = [0; 3];
    for seed in seeds() {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut run = Run::new(seed, shards(seed));
            let steps = 100 + run.random.below(300);
            (0..steps).for_each(|_| run.step());
            run.conclude();
            if run.world.shards() > 1 {
                assert!(
                    run.world.delivered() > 0,
                    "shards have to do with each other"
                );
            }
            run.oracle.arrived
        }));
        match outcome {
            Ok(these) => (0..3).for_each(|qos| arrived[qos] += these[qos]),
            Err(panic) => {
                let next = seed + 1;
                println!("the seed is {seed}: WHERRY_SEEDS={seed}..{next} shows it again");
                resume_unwind(panic);
            }
        }
    }
    // Of the usual seeds.
    assert!(
        seeds() != (0..1000) || arrived.iter().all(|times| *times > 100),
        "{arrived:?}"
    );
}
