//! One connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use super::Load;
use super::packets::{
    self, CONNACK, DISCONNECT, PUBACK, PUBCOMP, PUBREC, PUBREL, SUBACK, V5, answer, unexpected,
};

/// How many filters go into a SUBSCRIBE.
const FILTERS: usize = 100;

/// The shortest payload: number, time and topic of the message.
const SHORTEST: usize = 16;

/// Publishes on topics, or listens to them.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of the output is written.
    written: usize,
    /// The messages that came before the answer to a packet.
    stashed: Vec<u8>,
    topics: Vec<Topic>,
    /// The topic of the next message.
    next_topic: usize,
    payload: Vec<u8>,
    /// When the message with each packet identifier was published, in microseconds; none if it is
    /// free.
    published_at: Vec<Option<u32>>,
    last_id: u16,
    in_flight: usize,
    pub(super) seen: Seen,
}

/// What a client publishes on.
#[derive(Debug)]
pub(super) struct Topic {
    /// Its number among all of them.
    pub(super) number: usize,
    /// What each message begins with.
    head: Vec<u8>,
    pub(super) published: u64,
}

/// What has come of a topic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source {
    pub(super) received: u64,
    /// The number of the message that should come next.
    pub(super) next_number: u64,
}

/// What a client has done and seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) published: u64,
    pub(super) received: u64,
    pub(super) disordered: u64,
    pub(super) late: u64,
    /// By the numbers of the topics.
    pub(super) sources: Vec<Source>,
    /// In microseconds.
    pub(super) latencies: Vec<u32>,
}

impl Client {
    pub(super) fn connect(address: SocketAddr, client_id: &str, load: &Load) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(3 * load.stall))?;
        let mut client = Self {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            stashed: Vec::new(),
            topics: Vec::new(),
            next_topic: 0,
            payload: Vec::new(),
            published_at: Vec::new(),
            last_id: 0,
            in_flight: 0,
            seen: Seen::default(),
        };
        let connect = packets::connect(load.version, client_id, !load.is_lasting);
        client.ask(&connect, CONNACK, 0)?;
        Ok(client)
    }

    pub(super) fn subscribe(&mut self, filters: &[String], load: &Load) -> io::Result<()> {
        let qos = load.granted.unwrap_or(load.qos);
        for some in filters.chunks(FILTERS) {
            let subscribe = packets::subscribe(load.version, some, qos);
            self.ask(&subscribe, SUBACK, some.len())?;
        }
        Ok(())
    }

    /// Sends a packet and waits for the answer. What comes with it is kept.
    fn ask(&mut self, packet: &[u8], answer: u8, filters: usize) -> io::Result<()> {
        self.stream.write_all(packet)?;
        loop {
            if let Some((kind, body, length)) = packets::first(&self.input)? {
                // A session that was there may send its messages before it answers.
                if kind == answer {
                    let agrees = packets::agrees(kind, body, filters);
                    self.input.drain(..length);
                    return agrees.then_some(()).ok_or_else(|| unexpected("refused"));
                }
                if kind >> 4 != 3 {
                    return Err(unexpected("another packet"));
                }
                self.stashed.extend(self.input.drain(..length));
                continue;
            }
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes).map_err(in_words)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.input.extend_from_slice(&bytes[..count]);
        }
    }

    /// Everything is asked and answered: it publishes from now on, on the topics with these numbers
    /// and names.
    pub(super) fn publish_on(
        &mut self,
        topics: impl Iterator<Item = (usize, String)>,
        load: &Load,
    ) -> io::Result<()> {
        let length = load.payload.max(SHORTEST);
        let head = |topic: &str| {
            packets::publish_head(load.version, topic, load.qos, load.is_retained, length)
        };
        self.topics = topics
            .map(|(number, name)| Topic {
                number,
                head: head(&name),
                published: 0,
            })
            .collect();
        self.payload = vec![b'.'; length];
        if load.qos > 0 {
            self.published_at = vec![None; 1 + usize::from(u16::MAX)];
        }
        self.stream.set_nonblocking(true)
    }

    /// Everything is asked and answered: messages may come, and those that came already are taken.
    pub(super) fn listen(&mut self, load: &Load) -> io::Result<()> {
        self.seen.sources = vec![Source::default(); load.shape.topics()];
        let stashed = std::mem::take(&mut self.stashed);
        self.input.splice(..0, stashed);
        self.stream.set_nonblocking(true)?;
        self.take_all(&[], load, 0)
    }

    pub(super) fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// Publishes a message on a topic that it listens to, and waits for it.
    pub(super) fn echo(&mut self, topic: &str, load: &Load) -> io::Result<()> {
        self.seen.sources = vec![Source::default()];
        self.publish_on([(0, topic.to_owned())].into_iter(), load)?;
        self.stream.set_nonblocking(false)?;
        let begin = Instant::now();
        self.publish(load, 0, 1, begin);
        self.flush()?;
        while self.seen.received == 0 {
            if begin.elapsed() > 3 * load.stall {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.read(&mut [0; 512], load, begin)?;
        }
        Ok(())
    }

    pub(super) fn disconnect(&mut self) -> io::Result<()> {
        self.stream.set_nonblocking(false)?;
        self.stream.write_all(&self.output[self.written..])?;
        self.stream.write_all(&DISCONNECT)?;
        // The broker has taken note once it ends the connection, too.
        self.stream.shutdown(std::net::Shutdown::Write)?;
        match io::copy(&mut self.stream, &mut io::sink()) {
            // It may not have read all answers to what came last.
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(in_words(error)),
            _ => Ok(()),
        }
    }

    pub(super) fn unacknowledged(&self) -> usize {
        self.in_flight
    }

    pub(super) fn has_output(&self) -> bool {
        self.written < self.output.len()
    }

    /// Publishes as much as window and budget allow; returns how many. `unreceived` is how many of
    /// its messages have not come to all to whom they should.
    pub(super) fn publish(
        &mut self,
        load: &Load,
        unreceived: u64,
        budget: u64,
        begin: Instant,
    ) -> u64 {
        // Who reads slowly must not be overrun: twice the window at most is under way.
        let room = (2 * load.window as u64).saturating_sub(unreceived);
        let window = match load.qos {
            0 => load.window as u64,
            _ => (load.window - self.in_flight) as u64,
        };
        let count = budget.min(room).min(window);
        let now = micros(begin);
        for _ in 0..count {
            let id = (load.qos > 0).then(|| self.next_id(now));
            let topic = &mut self.topics[self.next_topic];
            self.output.extend_from_slice(&topic.head);
            if let Some(id) = id {
                self.output.extend_from_slice(&id.to_be_bytes());
            }
            if load.version == V5 {
                self.output.push(0);
            }
            self.payload[..8].copy_from_slice(&topic.published.to_be_bytes());
            self.payload[8..12].copy_from_slice(&now.to_be_bytes());
            self.payload[12..16].copy_from_slice(&(topic.number as u32).to_be_bytes());
            self.output.extend_from_slice(&self.payload);
            topic.published += 1;
            self.seen.published += 1;
            self.next_topic = (self.next_topic + 1) % self.topics.len();
        }
        count
    }

    fn next_id(&mut self, now: u32) -> u16 {
        loop {
            self.last_id = self.last_id.wrapping_add(1).max(1);
            let slot = &mut self.published_at[usize::from(self.last_id)];
            if slot.is_none() {
                *slot = Some(now);
                self.in_flight += 1;
                return self.last_id;
            }
        }
    }

    /// Writes what waits; false if the socket does not take all of it.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while self.has_output() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(true)
    }

    /// Reads once, and does what is to be done about what comes. `scratch` is where to read to.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        load: &Load,
        begin: Instant,
    ) -> io::Result<()> {
        match self.stream.read(scratch) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.take_all(&scratch[..count], load, micros(begin)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Does what is to be done about all that has come, of which this is the end.
    fn take_all(&mut self, bytes: &[u8], load: &Load, now: u32) -> io::Result<()> {
        let mut input = std::mem::take(&mut self.input);
        let has_more = !input.is_empty();
        if has_more {
            input.extend_from_slice(bytes);
        }
        let mut rest = if has_more { &input[..] } else { bytes };
        while let Some((kind, body, length)) = packets::first(rest)? {
            self.take(load, kind, body, now)?;
            rest = &rest[length..];
        }
        self.input = rest.to_vec();
        Ok(())
    }

    fn take(&mut self, load: &Load, kind: u8, body: &[u8], now: u32) -> io::Result<()> {
        if kind >> 4 == 3 {
            return self.take_message(load, kind, body, now);
        }
        let &[high, low, ..] = body else {
            return Err(unexpected("a packet without an identifier"));
        };
        if body.get(2).is_some_and(|&reason| reason >= 0x80) {
            return Err(unexpected("a message was refused"));
        }
        let id = u16::from_be_bytes([high, low]);
        match kind {
            PUBACK | PUBCOMP => {
                let Some(published) = self.published_at[usize::from(id)].take() else {
                    return Err(unexpected("an answer to nothing"));
                };
                self.in_flight -= 1;
                self.seen.latencies.push(now.saturating_sub(published));
            }
            PUBREC => self.output.extend_from_slice(&answer(PUBREL, id)),
            PUBREL => self.output.extend_from_slice(&answer(PUBCOMP, id)),
            _ => return Err(unexpected("a packet that nobody has asked for")),
        }
        Ok(())
    }

    fn take_message(&mut self, load: &Load, kind: u8, body: &[u8], now: u32) -> io::Result<()> {
        let qos = kind >> 1 & 3;
        let too_short = || unexpected("a message that is too short");
        let (id, payload) = packets::message(load.version, qos, body).ok_or_else(too_short)?;
        let numbers: &[u8; SHORTEST] = payload.first_chunk().ok_or_else(too_short)?;
        match qos {
            0 => {}
            1 => self.output.extend_from_slice(&answer(PUBACK, id)),
            _ => self.output.extend_from_slice(&answer(PUBREC, id)),
        }
        let (number, rest) = number(numbers);
        let topic = (rest & u64::from(u32::MAX)) as usize;
        let Some(source) = self.seen.sources.get_mut(topic) else {
            return Err(unexpected("a message that nobody has published"));
        };
        self.seen.received += 1;
        source.received += 1;
        // A subscriber who was away begins anywhere.
        let is_first = source.received == 1;
        self.seen.disordered += u64::from(number != source.next_number && !is_first);
        self.seen.late += u64::from(number < source.next_number);
        source.next_number = source.next_number.max(number + 1);
        if load.rate.is_some() {
            let latency = now.saturating_sub((rest >> 32) as u32);
            self.seen.latencies.push(latency);
        }
        Ok(())
    }
}

/// The two numbers of eight bytes.
fn number(bytes: &[u8; SHORTEST]) -> (u64, u64) {
    let both = u128::from_be_bytes(*bytes);
    ((both >> 64) as u64, both as u64)
}

/// The system's word for a time-out is that one should try again.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "no answer"),
        _ => error,
    }
}

fn micros(begin: Instant) -> u32 {
    u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX)
}
