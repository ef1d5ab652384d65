//! What clients do of their own accord.

use super::client::{Out, seed_of};
use super::door::Verdict;
use super::net::End;
use super::packets::{Asked, Content, Hello, Number, Sent};
use super::schedule::Millis;
use super::universe::{FILTERS, GROUPS, Right, SHARED_TOPICS, TOPICS, WIDE_FILTERS};
use super::world::{Event, World};
use crate::random::Random;
use crate::wire::{self, Properties, Value, Version, id};

/// The identifiers of SUBSCRIBE and UNSUBSCRIBE, apart from those of messages.
const REQUEST: u16 = 60_000;

impl World {
    /// A client takes its next step, and knows when it takes the one after.
    pub(crate) fn step(&mut self, client: usize) {
        if self.is_calm {
            return;
        }
        let it = &mut self.clients[client];
        let number = it.steps;
        it.steps += 1;
        let seed = seed_of(self.plan.seed, [2, client as u64, number as u64]);
        let mut random = Random::new(seed);
        let pause = random.below(self.plan.delays.step as usize + 1) as Millis;
        if it.steps < self.plan.steps {
            self.at(self.now + pause, Event::Step(client));
        }
        if self.skip.has_step(client, number) {
            return;
        }
        self.oracle.coverage.steps += 1;
        if self.clients[client].is_hostile {
            return self.hostile_step(client, &mut random);
        }
        if self.clients[client].line.is_none() {
            return self.connect(client, &mut random);
        }
        let features = self.plan.features.clone();
        let line = self.clients[client].line.unwrap_or_default();
        match random.below(100) {
            _ if !self.clients[client].is_in && !features.hasty => {}
            0..50 => self.publish(client, &mut random),
            50..62 => self.subscribe(client, &mut random),
            62..67 => self.unsubscribe(client, &mut random),
            67..71 => self.say_goodbye(client, &mut random),
            71..76 if features.cuts => self.leave(client, &mut random),
            76..79 if features.cuts_inside => self.leave_inside(client, &mut random),
            79..82 if features.half_open => {
                self.trace
                    .line(|| format!("line {line}: the client is gone without a word"));
                self.lines[line].is_dead = true;
                self.oracle.coverage.half_open += 1;
                self.lost(line);
            }
            82..86 if features.stalls => {
                self.trace
                    .line(|| format!("line {line}: the client stops reading"));
                self.lines[line].is_asleep = true;
                self.oracle.coverage.stalls += 1;
                let time = *random.one_of(&[100, 1000, 10_000, 60_000]);
                self.at(self.now + time, Event::Wake(line));
            }
            86..90 if features.takeovers => {
                // The old connection is left as it is; sometimes it is never looked at again.
                if random.below(2) == 0 {
                    self.lines[line].is_dead = true;
                }
                let it = &mut self.clients[client];
                (it.line, it.is_in) = (None, false);
                self.connect(client, &mut random);
            }
            90..94 if features.false_alarms => {
                let line = random.below(self.lines.len());
                self.report(line);
                self.oracle.coverage.false_alarms += 1;
            }
            94..96 => self.say(client, Sent::Ping),
            _ => {}
        }
    }

    /// Connects, as the client likes it this time.
    pub(crate) fn connect(&mut self, client: usize, random: &mut Random) {
        let it = &self.clients[client];
        let persona = it.persona.clone();
        let is_v5 = persona.version.is_v5();
        // [MQTT-3.2.2-4] A session that only the broker knows of is of no use.
        let begins = it.has_thrown_away || self.oracle.is_unsure(client, self.now);
        let clean = random.below(8) < persona.clean || begins;
        let expiry = match (is_v5, clean) {
            (true, _) => *random.one_of(persona.expiries),
            (false, true) => 0,
            (false, false) => u32::MAX,
        };
        let features = &self.plan.features;
        let right = match features.rights && random.below(8) == 0 {
            true if persona.version != Version::V3_1 => Right(random.below(Right::COUNT)),
            _ => persona.right,
        };
        let verdict = match (features.slow_doors, features.refusals) {
            (_, true) if random.below(8) == 0 => Verdict::Refused,
            (_, true) if random.below(16) == 0 => Verdict::Never,
            (true, _) if random.below(3) == 0 => {
                let most = self.plan.delays.door as usize;
                Verdict::Later(right, random.below(most + 1) as Millis)
            }
            _ => Verdict::Now(right),
        };
        let wants_will = features.wills && random.below(2) == 0;
        let will = wants_will.then(|| self.make_will(client, random));
        let it = &self.clients[client];
        let hello = Hello {
            client,
            name: it.name.clone(),
            version: persona.version,
            clean,
            expiry,
            will,
            receive_maximum: persona.receive_maximum,
            max_packet: persona.max_packet,
            alias_maximum: persona.alias_maximum,
            keep_alive: persona.keep_alive,
            right,
        };
        self.connect_as(client, hello, verdict);
    }

    /// Connects with this CONNECT.
    pub(crate) fn connect_as(&mut self, client: usize, hello: Hello, verdict: Verdict) {
        let it = &mut self.clients[client];
        it.dialled += 1;
        let seed = seed_of(self.plan.seed, [3, client as u64, it.dialled]);
        it.lasting = !hello.clean;
        let Some(line) = self.dial(client, hello.version, verdict, seed) else {
            return;
        };
        self.lines[line].alias_maximum = hello.alias_maximum;
        let it = &mut self.clients[client];
        (it.line, it.is_in) = (Some(line), false);
        it.own_aliases.clear();
        // Until CONNACK says how much the broker takes, only one message is sent.
        (it.alias_limit, it.window) = (0, 1);
        it.keep_alive = hello.keep_alive;
        if hello.clean {
            it.begin_anew();
        }
        let bytes = self.oracle.hello_bytes(&hello);
        self.send(line, &bytes, Sent::Connect(Box::new(hello)));
    }

    fn make_will(&mut self, client: usize, random: &mut Random) -> (Number, u32) {
        let features = self.plan.features.clone();
        let is_v5 = self.clients[client].persona.version.is_v5();
        let delay = match is_v5 && features.will_delays {
            true => *random.one_of(&[0, 1, 3, 30]),
            false => 0,
        };
        let topic = *random.one_of(&TOPICS);
        let retain = features.retain && random.below(4) == 0;
        let number = self.invent(client, (topic, self.some_qos(random), retain), true, random);
        (number, delay)
    }

    fn some_qos(&self, random: &mut Random) -> u8 {
        let features = &self.plan.features;
        let on = [features.qos0, features.qos1, features.qos2];
        let levels: Vec<u8> = (0..3).filter(|qos| on[usize::from(*qos)]).collect();
        *random.one_of(&levels)
    }

    /// Makes a message up.
    pub(crate) fn invent(
        &mut self,
        client: usize,
        (topic, qos, retain): (&'static str, u8, bool),
        will: bool,
        random: &mut Random,
    ) -> Number {
        let features = self.plan.features.clone();
        let is_v5 = self.clients[client].persona.version.is_v5();
        // A copy for a group says which message it is, so those do not clear.
        let clears = retain && !will && !topic.starts_with("s/") && random.below(4) == 0;
        let size = match features.large {
            true if random.below(6) == 0 => match will {
                true => 9000,
                false => *random.one_of(&[400, 9000, 70_000]),
            },
            _ => random.below(20),
        };
        let mut properties = Vec::new();
        if is_v5 && features.properties && random.below(3) == 0 {
            let all = [
                (id::CONTENT_TYPE, Value::Text("text".into())),
                (id::CORRELATION_DATA, Value::Binary(vec![0, 255, 7])),
                (id::USER_PROPERTY, Value::Pair("b".into(), "1".into())),
                (id::RESPONSE_TOPIC, Value::Text("a/b".into())),
                (id::USER_PROPERTY, Value::Pair("a".into(), "2".into())),
                (id::PAYLOAD_FORMAT_INDICATOR, Value::Byte(0)),
                (id::USER_PROPERTY, Value::Pair("b".into(), String::new())),
            ];
            let from = random.below(all.len());
            properties.extend_from_slice(&all[from..]);
        }
        let expires = is_v5 && features.expiry && random.below(4) == 0;
        let expiry = expires.then(|| *random.one_of(&[0, 1, 2, 10, 1000]));
        self.oracle.invent(|number| Content {
            from: client,
            topic,
            qos,
            retain,
            payload: match clears {
                true => Vec::new(),
                false => format!("{number}:{}", "x".repeat(size)).into_bytes(),
            },
            properties,
            expiry,
            will,
        })
    }

    fn publish(&mut self, client: usize, random: &mut Random) {
        let features = &self.plan.features;
        let shared = features.shared && random.below(3) == 0;
        let topic = match shared {
            true => *random.one_of(&SHARED_TOPICS),
            false => *random.one_of(&TOPICS),
        };
        let retain = features.retain && random.below(4) == 0;
        let burst = match random.below(8) {
            0 => 1 + random.below(10),
            _ => 1,
        };
        for _ in 0..burst {
            let qos = self.some_qos(random);
            let number = self.invent(client, (topic, qos, retain), false, random);
            if qos == 0 {
                self.send_message(client, number, None, false);
            } else {
                let it = &mut self.clients[client];
                if it.out.len() < 50 {
                    let id = it.free_id();
                    it.out.push(Out {
                        id,
                        number,
                        received: false,
                        was_sent: false,
                        line: None,
                    });
                }
            }
            self.publish_on(client);
        }
    }

    /// Sends what is next of the messages that a client is publishing, as the broker allows.
    pub(crate) fn publish_on(&mut self, client: usize) {
        loop {
            let it = &mut self.clients[client];
            let room = it.in_flight() < usize::from(it.window);
            let (Some(line), true) = (it.line, room) else {
                return;
            };
            if !it.is_in && (!self.plan.features.hasty || it.out.iter().any(|out| out.was_sent)) {
                return;
            }
            let Some(out) = it.out.iter_mut().find(|out| out.line != Some(line)) else {
                return;
            };
            out.line = Some(line);
            let (number, id, received) = (out.number, out.id, out.received);
            let dup = std::mem::replace(&mut out.was_sent, true);
            if received {
                self.say(client, Sent::Pubrel { id });
            } else {
                self.send_message(client, number, Some(id), dup);
            }
        }
    }

    /// Sends PUBLISH.
    pub(crate) fn send_message(
        &mut self,
        client: usize,
        number: Number,
        id: Option<u16>,
        dup: bool,
    ) {
        let it = &mut self.clients[client];
        let Some(line) = it.line else { return };
        let version = it.persona.version;
        let content = self.oracle.content(number);
        let (topic, qos) = (content.topic, content.qos);
        let mut properties = Properties::new();
        let mut written = topic;
        if version.is_v5() {
            properties = content.wire_properties();
            let known = it.own_aliases.iter().position(|own| *own == topic);
            let alias = known.unwrap_or(it.own_aliases.len()) + 1;
            if self.plan.features.aliases && alias <= usize::from(it.alias_limit) {
                properties = properties.with(id::TOPIC_ALIAS, Value::Two(alias as u16));
                match known {
                    Some(_) => written = "",
                    None => it.own_aliases.push(topic),
                }
            }
        }
        let mut packet = wire::publish(version, written, &content.payload).properties(properties);
        if content.retain {
            packet = packet.retain();
        }
        if let Some(id) = id {
            packet = packet.qos(qos, id);
        }
        if dup {
            packet = packet.dup();
        }
        let sent = Sent::Publish {
            number,
            id,
            qos,
            dup,
        };
        self.clients[client].spoke = self.now;
        self.send(line, &packet.bytes(), sent);
    }

    fn subscribe(&mut self, client: usize, random: &mut Random) {
        let features = self.plan.features.clone();
        let it = &self.clients[client];
        let is_v5 = it.persona.version.is_v5();
        let mut filters: Vec<Asked> = Vec::new();
        for _ in 0..1 + random.below(3) {
            let shared = features.shared && random.below(3) == 0;
            let name = match shared {
                true => GROUPS[it.persona.group],
                false if !features.shared && random.below(6) == 0 => *random.one_of(&WIDE_FILTERS),
                false => *random.one_of(&FILTERS),
            };
            let asked = Asked {
                name,
                qos: random.below(3) as u8,
                no_local: is_v5 && !shared && random.below(4) == 0,
                retain_as_published: is_v5 && random.below(2) == 0,
                handling: if is_v5 { random.below(3) as u8 } else { 0 },
            };
            if filters.iter().all(|other| other.name != name) {
                filters.push(asked);
            }
        }
        let identifier = match is_v5 && features.identifiers {
            true => *random.one_of(&[0, 1, 7, 300, 100_000]),
            false => 0,
        };
        let request = REQUEST + random.below(1000) as u16;
        self.say(
            client,
            Sent::Subscribe {
                id: request,
                identifier,
                filters,
            },
        );
    }

    fn unsubscribe(&mut self, client: usize, random: &mut Random) {
        let it = &self.clients[client];
        let name = match random.below(5) {
            0 => GROUPS[it.persona.group],
            _ => *random.one_of(&FILTERS),
        };
        let request = REQUEST + random.below(1000) as u16;
        self.say(
            client,
            Sent::Unsubscribe {
                id: request,
                filters: vec![name],
            },
        );
    }

    /// DISCONNECT, and the end.
    pub(crate) fn say_goodbye(&mut self, client: usize, random: &mut Random) {
        let it = &self.clients[client];
        let Some(line) = it.line else { return };
        let is_v5 = it.persona.version.is_v5();
        let reason = match is_v5 && random.below(4) == 0 {
            true => 4,
            false => 0,
        };
        let was_lasting = self.oracle.asked_expiry(line) != Some(0);
        // Where it may not be listened to at once, nobody knows whether it is heard before a new
        // connection takes the session over.
        let is_clear = !self.plan.features.small_outboxes
            && !self.plan.features.shards
            && self.plan.clients < 50;
        let expiry = match is_v5 && was_lasting && is_clear && self.clients[client].is_in {
            true if random.below(4) == 0 => Some(*random.one_of(&[0, 1, 5])),
            _ => None,
        };
        self.say(client, Sent::Disconnect { reason, expiry });
        self.hang_up(line, End::Stream);
        self.lost(line);
    }

    /// The connection ends without a word.
    fn leave(&mut self, client: usize, random: &mut Random) {
        let Some(line) = self.clients[client].line else {
            return;
        };
        let end = match self.plan.features.resets && random.below(2) == 0 {
            true => End::Reset,
            false => End::Stream,
        };
        self.hang_up(line, end);
        self.lost(line);
    }

    /// The connection ends inside a packet.
    fn leave_inside(&mut self, client: usize, random: &mut Random) {
        let it = &self.clients[client];
        let Some(line) = it.line.filter(|_| it.is_in) else {
            return;
        };
        let packet = wire::publish(it.persona.version, "a/0", "never").bytes();
        let part = 1 + random.below(packet.len() - 1);
        self.send_bytes(line, &packet[..part]);
        self.oracle.coverage.cut_inside += 1;
        self.leave(client, random);
    }

    /// Sends a packet that needs no thought.
    pub(crate) fn say(&mut self, client: usize, sent: Sent) {
        let it = &mut self.clients[client];
        let Some(line) = it.line else { return };
        it.spoke = self.now;
        let version = it.persona.version;
        let bytes = bytes_of(&sent, version);
        self.send(line, &bytes, sent);
    }
}

fn bytes_of(sent: &Sent, version: Version) -> Vec<u8> {
    use wire::kind;
    let with_reason = |kind, id, error| match error && version.is_v5() {
        true => wire::ack_with(kind, id, 0x80, &Properties::new()),
        false => wire::ack(kind, id),
    };
    match sent {
        Sent::Puback { id, error } => with_reason(kind::PUBACK, *id, *error),
        Sent::Pubrec { id, error } => with_reason(kind::PUBREC, *id, *error),
        Sent::Pubrel { id } => wire::ack(kind::PUBREL, *id),
        Sent::Pubcomp { id } => wire::ack(kind::PUBCOMP, *id),
        Sent::Subscribe {
            id: request,
            identifier,
            filters,
        } => {
            let mut properties = Properties::new();
            if *identifier > 0 {
                let value = Value::Variable(*identifier);
                properties = properties.with(id::SUBSCRIPTION_IDENTIFIER, value);
            }
            let filters: Vec<(&str, u8)> = filters
                .iter()
                .map(|asked| (asked.name, asked.options()))
                .collect();
            wire::subscribe_with(version, *request, &properties, &filters)
        }
        Sent::Unsubscribe { id, filters } => wire::unsubscribe(version, *id, filters),
        Sent::Ping => wire::PINGREQ.to_vec(),
        Sent::Disconnect { reason, expiry } => match expiry.filter(|_| version.is_v5()) {
            Some(expiry) => {
                let value = Value::Four(expiry);
                let properties = Properties::new().with(id::SESSION_EXPIRY_INTERVAL, value);
                wire::disconnect_with(*reason, &properties)
            }
            None => wire::disconnect(version, *reason),
        },
        Sent::Connect(_) | Sent::Publish { .. } | Sent::Noise => Vec::new(),
    }
}
