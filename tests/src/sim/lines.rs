//! Connections as the world sees them: bytes on their way, and the packets that they are.

use std::collections::{BTreeMap, VecDeque};

use wherry_core::connection::{ConnectionId, Origin, Transport};
use wherry_core::time::Instant;
use wherry_host::mailbox::Mail;

use super::door::{Verdict, address};
use super::net::{End, SimSocket};
use super::packets::{Said, Sent};
use super::schedule::Millis;
use super::world::{Event, World};
use crate::random::Random;
use crate::wire::Version;

/// One connection.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) client: usize,
    pub(crate) version: Version,
    /// The shard that it is at, and its handle there.
    pub(crate) shard: usize,
    pub(crate) id: ConnectionId,
    pub(crate) verdict: Verdict,
    pub(crate) random: Random,
    /// Packets that the client has sent, each with how many bytes there are up to its end.
    pub(crate) sent: VecDeque<(u64, Sent)>,
    pub(crate) sent_bytes: u64,
    /// How many bytes the broker has read.
    pub(crate) heard: u64,
    /// When the last of what is on its way to the broker arrives.
    pub(crate) arrives: Millis,
    /// What the broker has written of a packet that is not complete.
    pub(crate) unread: Vec<u8>,
    /// Packets that the client has not read, each with how many bytes there are up to its end.
    pub(crate) said: VecDeque<(u64, Said)>,
    pub(crate) said_bytes: u64,
    /// How many bytes the client has read.
    pub(crate) read: u64,
    /// The broker's topic aliases.
    pub(crate) aliases: BTreeMap<u16, String>,
    pub(crate) alias_maximum: u16,
    /// The client sends nothing any more.
    pub(crate) hung_up: bool,
    /// The client reads nothing for now, or for ever.
    pub(crate) is_asleep: bool,
    /// The client is gone without a word: nothing moves any more.
    pub(crate) is_dead: bool,
    /// The broker has ended its side, or dropped the socket.
    pub(crate) shut: bool,
    /// Bytes are on their way to the client.
    pub(crate) draining: bool,
    /// When the client gives its next answer at the earliest.
    pub(crate) answers: Millis,
}

impl World {
    /// Opens a connection for a client; `None` if the broker takes none.
    pub(crate) fn dial(
        &mut self,
        client: usize,
        version: Version,
        verdict: Verdict,
        seed: u64,
    ) -> Option<usize> {
        let mut random = Random::new(seed);
        let capacity = self.plan.socket_buffer;
        let line = self
            .net
            .borrow_mut()
            .open(capacity, Random::new(random.next_u64()));
        let origin = Origin {
            listener: 0,
            transport: Transport::Tcp,
            remote: Some(address(line)),
            local: None,
        };
        let net = self.net.clone();
        let now = Instant::from_millis(self.now);
        let shard = match self.process.shards.len() {
            1 => 0,
            count => random.below(count),
        };
        let driver = &mut self.process.shards[shard].driver;
        let id = driver.open(now, origin, |_| SimSocket { net, conn: line });
        self.door.decide(line, verdict);
        let is_hostile = self.clients[client].is_hostile;
        self.oracle.opened(client, version, is_hostile);
        self.oracle.coverage.connections += 1;
        self.trace.number(line as u64);
        self.trace
            .line(|| format!("line {line}: client {client} connects, {version:?}"));
        self.lines.push(Line {
            client,
            version,
            shard,
            id: id.unwrap_or_default(),
            verdict,
            random,
            sent: VecDeque::new(),
            sent_bytes: 0,
            heard: 0,
            arrives: 0,
            unread: Vec::new(),
            said: VecDeque::new(),
            said_bytes: 0,
            read: 0,
            aliases: BTreeMap::new(),
            alias_maximum: 0,
            hung_up: id.is_err(),
            is_asleep: false,
            is_dead: false,
            shut: id.is_err(),
            draining: false,
            answers: 0,
        });
        id.is_ok().then_some(line)
    }

    /// How long bytes travel now.
    fn latency(&mut self, line: usize) -> Millis {
        if self.is_calm {
            return 0;
        }
        let most = self.plan.delays.network as usize;
        self.lines[line].random.below(most + 1) as Millis
    }

    /// A client sends a packet.
    pub(crate) fn send(&mut self, line: usize, bytes: &[u8], sent: Sent) {
        if self.lines[line].hung_up {
            return;
        }
        let it = &mut self.lines[line];
        let end = it.sent_bytes + bytes.len() as u64;
        if !matches!(sent, Sent::Noise) {
            it.sent.push_back((end, sent));
        }
        self.send_bytes(line, bytes);
    }

    /// A client sends bytes that are no whole packet, or none that is to be judged.
    pub(crate) fn send_bytes(&mut self, line: usize, bytes: &[u8]) {
        self.lines[line].sent_bytes += bytes.len() as u64;
        if self.lines[line].is_dead {
            return;
        }
        let is_direct = self.plan.delays.network == 0 || self.is_calm;
        if is_direct && self.lines[line].arrives <= self.now {
            return self.arrive(line, bytes);
        }
        let cut = match self.lines[line].random.below(3) {
            0 => self.lines[line].random.below(bytes.len().max(1)),
            _ => 0,
        };
        for part in [&bytes[..cut], &bytes[cut..]] {
            if !part.is_empty() {
                let at = (self.now + self.latency(line)).max(self.lines[line].arrives);
                self.lines[line].arrives = at;
                self.at(at, Event::Arrive(line, part.to_vec()));
            }
        }
    }

    /// Bytes of a client reach the broker.
    pub(crate) fn arrive(&mut self, line: usize, bytes: &[u8]) {
        if !self.lines[line].is_dead {
            self.net.borrow_mut().arrive(line, bytes);
            self.report(line);
        }
    }

    /// The broker is told that a connection is ready.
    pub(crate) fn report(&mut self, line: usize) {
        let Line { shard, id, .. } = self.lines[line];
        self.process.shards[shard].mailbox.push(Mail::Ready(id));
        self.more = true;
    }

    /// A client ends its side.
    pub(crate) fn hang_up(&mut self, line: usize, end: End) {
        if std::mem::replace(&mut self.lines[line].hung_up, true) {
            return;
        }
        self.trace
            .line(|| format!("line {line}: the client hangs up: {end:?}"));
        let at = (self.now + self.latency(line)).max(self.lines[line].arrives);
        self.at(at, Event::End(line, end));
    }

    /// The broker has ended its side of a connection, or dropped the socket.
    pub(crate) fn ended_by_broker(&mut self, line: usize, dropped: bool) {
        let how = if dropped { "drops" } else { "shuts" };
        self.trace
            .line(|| format!("line {line}: the broker {how} the socket"));
        let it = &mut self.lines[line];
        it.shut = true;
        if dropped {
            it.hung_up = true;
        }
        let at = self.now + self.latency(line);
        self.at(at, Event::Close(line));
    }

    /// What the broker has written goes on its way to those who read.
    pub(crate) fn deliver(&mut self) {
        for line in std::mem::take(&mut self.wrote) {
            self.drain_later(line);
        }
    }

    fn drain_later(&mut self, line: usize) {
        let it = &self.lines[line];
        if !it.draining && !it.is_asleep && !it.is_dead && self.net.borrow().buffered(line) > 0 {
            let delay = self.latency(line);
            self.lines[line].draining = true;
            self.at(self.now + delay, Event::Drain(line));
        }
    }

    /// A client reads again.
    pub(crate) fn wake(&mut self, line: usize) {
        self.lines[line].is_asleep = false;
        self.drain_later(line);
    }

    /// A client finds that the broker has ended a connection.
    pub(crate) fn close(&mut self, line: usize) {
        let it = &self.lines[line];
        if it.is_dead {
            return;
        }
        if !it.hung_up && (it.is_asleep || self.net.borrow().buffered(line) > 0) {
            return self.at(self.now + 50, Event::Close(line));
        }
        self.hang_up(line, End::Stream);
        self.lost(line);
    }

    /// Bytes of the broker reach their client.
    pub(crate) fn drain(&mut self, line: usize) {
        self.lines[line].draining = false;
        if self.lines[line].is_asleep || self.lines[line].is_dead {
            return;
        }
        let (count, wants_room) = {
            let net = &mut *self.net.borrow_mut();
            let buffered = net.buffered(line);
            let pieces = match buffered {
                0..200 => net.pieces,
                _ => super::net::Pieces::Whole,
            };
            let count = match buffered {
                0 => 0,
                _ => pieces.size(buffered, &mut self.lines[line].random),
            };
            (count, net.drain(line, count))
        };
        if wants_room {
            self.report(line);
        }
        self.lines[line].read += count as u64;
        while let Some((end, _)) = self.lines[line].said.front()
            && *end <= self.lines[line].read
        {
            let Some((_, said)) = self.lines[line].said.pop_front() else {
                break;
            };
            self.receive(line, said);
        }
        self.drain_later(line);
    }
}
