//! What happens to the broker, and what hostile clients do.

use super::door::Verdict;
use super::net::End;
use super::packets::Sent;
use super::plan::{Fault, Plan};
use super::schedule::Millis;
use super::universe::{HOSTILE_TOPIC, Right};
use super::world::{Event, World};
use crate::random::Random;
use crate::sim::client::seed_of;
use crate::wire::{self, Properties, Value, Version, id, kind};

/// How long the broker has to say goodbye.
const GOODBYE: Millis = 20_000;

impl World {
    /// Something happens to the broker.
    pub(crate) fn fault(&mut self, fault: Fault) {
        if self.is_calm || self.is_stopping {
            return;
        }
        self.trace.line(|| format!("the broker: {fault:?}"));
        // What an administrator does happens at the time that the broker was told last.
        self.turn();
        if self.failure().is_some() {
            return;
        }
        match fault {
            Fault::Kick => self.kick(),
            Fault::Reconfigure => self.reconfigure(),
            Fault::Restart => self.restart(),
            Fault::Crash if self.waits_for_batch() => self.crash_waits = true,
            Fault::Crash => self.crash(),
            Fault::StoreDown => self.store_down(),
        }
    }

    fn kick(&mut self) {
        let inside = self.oracle.inside();
        if inside.is_empty() {
            return;
        }
        let line = inside[self.random.below(inside.len())];
        self.trace.line(|| format!("line {line}: kicked"));
        let id = self.lines[line].id;
        self.driver_of(line).broker_mut().kick(id);
        self.oracle.kicked(line);
        self.turn();
    }

    fn reconfigure(&mut self) {
        let mut config = Plan::config(&self.plan.features, &mut self.random);
        // Who waits at the door, and for how long, was decided under the old ones.
        config.authenticate_timeout = self.plan.config.authenticate_timeout;
        self.plan.config = config.clone();
        for shard in &mut self.process.shards {
            shard.driver.broker_mut().configure(config.clone());
        }
        self.oracle.configured(&config);
        self.bounds.change(&config);
        self.oracle.coverage.reconfigured += 1;
        self.turn();
    }

    fn restart(&mut self) {
        self.oracle.coverage.stops += 1;
        for shard in &mut self.process.shards {
            shard.driver.shut_down();
        }
        let is_alone = self.process.shards.len() == 1;
        self.oracle.stopping(if is_alone { 0 } else { GOODBYE });
        self.is_stopping = true;
        self.turn();
        // Clients go on meanwhile; nobody comes in.
        let begin = self.now;
        let end = begin + GOODBYE;
        let is_over = |by: &Self| by.process.shards.iter().all(|it| it.driver.is_empty());
        while !is_over(self) && self.failure().is_none() && self.go_on(end) {}
        for shard in &mut self.process.shards {
            shard.driver.abort_all();
        }
        if !is_alone {
            self.oracle.stopped(self.now - begin);
        }
        self.observe();
        if self.stored.is_some() && self.random.below(4) > 0 {
            self.store_the_rest();
        }
        self.is_stopping = false;
        self.begin_again();
    }

    /// Whoever stops in peace leaves nothing behind.
    fn store_the_rest(&mut self) {
        self.is_store_down = false;
        let end = self.now + GOODBYE;
        let is_over = |by: &Self| by.process.is_at_rest();
        self.turn();
        while !is_over(self) && self.failure().is_none() && self.go_on(end) {}
        if !is_over(self) && self.failure().is_none() {
            let what = self.process.unrest();
            self.oracle.fail("nothing comes to rest", what);
        }
    }

    /// Half of the crashes that would come while nothing is on its way to the store wait until
    /// something is: it is then that most can be lost.
    fn waits_for_batch(&mut self) -> bool {
        let is_at_rest = self.process.shards.iter().all(|it| it.batch.is_none());
        self.stored.is_some() && is_at_rest && self.random.below(2) == 0
    }

    fn crash(&mut self) {
        self.oracle.coverage.crashes += 1;
        if let Some(stored) = &mut self.stored {
            let mut written = Vec::new();
            for shard in 0..self.process.shards.len() {
                // It may be written although nobody has heard of it.
                if self.process.shards[shard].batch.is_some() {
                    self.oracle.coverage.crashes_with_a_batch += 1;
                    if self.random.below(2) == 0 {
                        written.extend(self.process.abandon(shard));
                    }
                }
            }
            if !written.is_empty() {
                stored.write(written);
            }
        }
        self.begin_again();
    }

    fn store_down(&mut self) {
        self.is_store_down = true;
        self.oracle.coverage.outages += 1;
        let time = *self.random.one_of(&[50, 500, 5000, 20_000]);
        self.at(self.now + time, Event::StoreRecovers);
    }

    /// All that the broker knew and did not store is gone, and so are its sockets.
    fn begin_again(&mut self) {
        if self.failure().is_some() {
            return;
        }
        self.count_broker();
        let safe = self.process.safe();
        let features = &self.plan.features;
        let mut random = Random::new(seed_of(self.plan.seed, [5, self.now, 0]));
        let shards = match features.shards && features.reshard {
            true => 1 + random.below(4),
            false => self.process.shards.len(),
        };
        let downtime = match features.downtime {
            true => *random.one_of(&[1, 100, 3000, 40_000]),
            false => 0,
        };
        self.oracle.coverage.reshards += u64::from(shards != self.process.shards.len());
        let lost = (0..self.process.shards.len()).filter_map(|it| self.process.abandon(it));
        let lost = lost.collect();
        if let Some(stored) = &mut self.stored {
            stored.die(lost);
        }
        // The sockets go with their driver.
        self.process.shards.clear();
        self.now += downtime;
        match self.stored.is_some() {
            true => self.oracle.crashed(safe, self.now),
            false => self.oracle.forgotten(),
        }
        if let Some(stored) = &self.stored {
            self.trace.line(|| {
                let mut all = String::from("the store holds");
                let mut add = |row| all += &format!("\n  {row:?}");
                stored.rows().clone().for_each(&mut add);
                all
            });
        }
        self.start_again(shards);
        self.observe();
        self.trace
            .line(|| format!("the broker begins anew, with {shards} shards"));
        self.turn();
    }

    /// A hostile client does something.
    pub(crate) fn hostile_step(&mut self, client: usize, random: &mut Random) {
        let it = &self.clients[client];
        let (line, version) = (it.line, it.persona.version);
        let Some(line) = line.filter(|line| !self.lines[*line].hung_up) else {
            let it = &mut self.clients[client];
            it.dialled += 1;
            let seed = seed_of(self.plan.seed, [3, client as u64, it.dialled]);
            let line = self.dial(client, version, Verdict::Now(Right::HOSTILE), seed);
            self.clients[client].line = line;
            if let Some(line) = line {
                self.lines[line].alias_maximum = u16::MAX;
                let mut packet = self.hostile_connect(client, random);
                if random.below(4) == 0 {
                    mutate(&mut packet, random);
                }
                self.noise(line, &packet);
            }
            return;
        };
        match random.below(12) {
            0 => {
                self.hang_up(line, End::Stream);
                self.lost(line);
            }
            1 => {
                self.hang_up(line, End::Reset);
                self.lost(line);
            }
            2 => self.lines[line].is_asleep = true,
            3 => {
                let len = random.below(40);
                let bytes = random.bytes(len);
                self.noise(line, &bytes);
            }
            4 => {
                // Announces much, and sends little.
                self.noise(
                    line,
                    &[kind::PUBLISH << 4, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'x'],
                );
            }
            _ => {
                for _ in 0..1 + random.below(10) {
                    let mut packet = hostile_packet(version, random);
                    if random.below(2) == 0 {
                        mutate(&mut packet, random);
                    }
                    self.noise(line, &packet);
                }
            }
        }
    }

    fn noise(&mut self, line: usize, bytes: &[u8]) {
        self.oracle.coverage.noise += 1;
        self.send(line, bytes, Sent::Noise);
    }

    fn hostile_connect(&self, client: usize, random: &mut Random) -> Vec<u8> {
        let it = &self.clients[client];
        let version = it.persona.version;
        let mut connect = wire::connect(version)
            .client_id(&it.name)
            .clean(random.below(2) == 0)
            .keep_alive(*random.one_of(&[0, 1, 65_535]));
        if random.below(2) == 0 {
            connect = connect.will(wire::Will::new(HOSTILE_TOPIC, "!will"));
        }
        if version.is_v5() {
            connect = connect.with(id::SESSION_EXPIRY_INTERVAL, Value::Four(u32::MAX));
        }
        connect.bytes()
    }
}

/// A packet that a client may send, or may not.
fn hostile_packet(version: Version, random: &mut Random) -> Vec<u8> {
    let packet_id = 1 + random.below(4) as u16;
    match random.below(9) {
        0 => {
            let qos = random.below(3) as u8;
            let publish = wire::publish(version, HOSTILE_TOPIC, "!hostile");
            match qos {
                0 => publish.bytes(),
                qos => publish.qos(qos, packet_id).bytes(),
            }
        }
        1 => wire::publish(version, HOSTILE_TOPIC, "!kept")
            .retain()
            .bytes(),
        2 => wire::subscribe(version, packet_id, &[("x/#", 2), ("#", 1)]),
        3 => wire::unsubscribe(version, packet_id, &["x/#"]),
        4 => wire::ack(kind::PUBACK, packet_id),
        5 => wire::ack(*random.one_of(&[kind::PUBREC, kind::PUBCOMP]), packet_id),
        6 => wire::ack(kind::PUBREL, packet_id),
        7 if version.is_v5() => {
            let alias = Properties::new().with(id::TOPIC_ALIAS, Value::Two(random.below(4) as u16));
            wire::publish(version, "", "!alias")
                .properties(alias)
                .bytes()
        }
        _ => wire::PINGREQ.to_vec(),
    }
}

/// Changes a byte, leaves one out, or adds one.
fn mutate(packet: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(3) {
        let at = random.below(packet.len().max(1));
        match random.below(4) {
            0 if packet.len() > 1 => drop(packet.remove(at)),
            1 => packet.insert(at, random.next_u64() as u8),
            2 => packet.truncate(at.max(1)),
            _ => {
                if let Some(byte) = packet.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
}
