//! One connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::Load;
use super::packets::{
    self, CONNACK, DISCONNECT, PUBACK, PUBCOMP, PUBREC, PUBREL, SUBACK, answer, unexpected,
};

/// How long the broker may take to let a client in.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much is read at once.
const READ: usize = 256 << 10;

/// Publishes on a topic, or listens to it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: TcpStream,
    topic: String,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of the output is written.
    written: usize,
    /// What each message begins with.
    head: Vec<u8>,
    payload: Vec<u8>,
    /// When the message with each packet identifier was published, in microseconds; none if it is
    /// free.
    published_at: Vec<Option<u32>>,
    last_id: u16,
    in_flight: usize,
    pub(super) seen: Seen,
}

/// What a client has done and seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) published: u64,
    pub(super) received: u64,
    pub(super) disordered: u64,
    /// The number of the message that should come next.
    pub(super) next_number: u64,
    /// In microseconds.
    pub(super) latencies: Vec<u32>,
}

impl Client {
    pub(super) fn connect(
        address: SocketAddr,
        client_id: &str,
        topic: &str,
        is_lasting: bool,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self {
            stream,
            topic: topic.to_owned(),
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            head: Vec::new(),
            payload: Vec::new(),
            published_at: Vec::new(),
            last_id: 0,
            in_flight: 0,
            seen: Seen::default(),
        };
        client.ask(&packets::connect(client_id, !is_lasting), CONNACK)?;
        Ok(client)
    }

    pub(super) fn subscribe(&mut self, qos: u8) -> io::Result<()> {
        let topic = self.topic.clone();
        self.ask(&packets::subscribe(&topic, qos), SUBACK)
    }

    /// Sends a packet and waits for the answer. What comes with it is kept.
    fn ask(&mut self, packet: &[u8], answer: u8) -> io::Result<()> {
        self.stream.write_all(packet)?;
        loop {
            if let Some((kind, body, length)) = packets::first(&self.input)? {
                // A session that was there may send its messages before it answers.
                if kind == answer {
                    let refused = body.last().is_none_or(|&code| code >= 3);
                    self.input.drain(..length);
                    return if refused {
                        Err(unexpected("refused"))
                    } else {
                        Ok(())
                    };
                }
                if kind >> 4 != 3 {
                    return Err(unexpected("another packet"));
                }
                self.stash(length);
                continue;
            }
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.input.extend_from_slice(&bytes[..count]);
        }
    }

    /// Sets a message aside that came before an answer: it is read with what comes next.
    fn stash(&mut self, length: usize) {
        let message: Vec<u8> = self.input.drain(..length).collect();
        self.payload.extend_from_slice(&message);
    }

    /// Everything is asked and answered: messages may come and go, and those that came already are
    /// taken.
    pub(super) fn begin(&mut self, load: &Load) -> io::Result<()> {
        let stashed = std::mem::take(&mut self.payload);
        self.input.splice(..0, stashed);
        self.head = packets::publish_head(&self.topic, load.qos, load.payload.max(16));
        self.payload = vec![b'.'; load.payload.max(16)];
        self.published_at = vec![None; 1 + usize::from(u16::MAX)];
        self.take_all(load, 0)
    }

    pub(super) fn disconnect(&mut self) -> io::Result<()> {
        self.stream.set_nonblocking(false)?;
        self.stream.write_all(&self.output[self.written..])?;
        self.stream.write_all(&DISCONNECT)?;
        // The broker has taken note once it ends the connection, too.
        self.stream.shutdown(std::net::Shutdown::Write)?;
        io::copy(&mut self.stream, &mut io::sink()).map(|_| ())
    }

    pub(super) fn unacknowledged(&self) -> usize {
        self.in_flight
    }

    pub(super) fn has_output(&self) -> bool {
        self.written < self.output.len()
    }

    /// Publishes as much as window and budget allow; returns how many. `received` is how many of
    /// its messages have come, if somebody is there to whom they come.
    pub(super) fn publish(
        &mut self,
        load: &Load,
        received: Option<u64>,
        budget: u64,
        begin: Instant,
    ) -> u64 {
        let unreceived = received.map_or(0, |it| self.seen.published.saturating_sub(it));
        // Who reads slowly must not be overrun: twice the window at most is under way.
        let room = (2 * load.window as u64).saturating_sub(unreceived);
        let window = match load.qos {
            0 => load.window as u64,
            _ => (load.window - self.in_flight) as u64,
        };
        let count = budget.min(room).min(window);
        let now = micros(begin);
        for _ in 0..count {
            self.output.extend_from_slice(&self.head);
            if load.qos > 0 {
                let id = self.next_id(now);
                self.output.extend_from_slice(&id.to_be_bytes());
            }
            self.payload[..8].copy_from_slice(&self.seen.published.to_be_bytes());
            self.payload[8..12].copy_from_slice(&now.to_be_bytes());
            self.output.extend_from_slice(&self.payload);
            self.seen.published += 1;
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

    /// Reads once, and does what is to be done about what comes.
    pub(super) fn read(&mut self, load: &Load, begin: Instant) -> io::Result<()> {
        let before = self.input.len();
        self.input.resize(before + READ, 0);
        let outcome = self.stream.read(&mut self.input[before..]);
        let count = match outcome {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.input.truncate(before + count);
        self.take_all(load, micros(begin))
    }

    /// Does what is to be done about all that has come.
    fn take_all(&mut self, load: &Load, now: u32) -> io::Result<()> {
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let Some((kind, body, length)) = packets::first(rest)? {
            self.take(load, kind, body, now)?;
            rest = &rest[length..];
        }
        let whole = input.len() - rest.len();
        self.input = input;
        self.input.drain(..whole);
        Ok(())
    }

    fn take(&mut self, load: &Load, kind: u8, body: &[u8], now: u32) -> io::Result<()> {
        if kind >> 4 == 3 {
            return self.take_message(load, kind, body, now);
        }
        let &[high, low, ..] = body else {
            return Err(unexpected("a packet without an identifier"));
        };
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
        let begin = 2 + self.topic.len();
        let id = body.get(begin..begin + 2);
        let payload = begin + if qos > 0 { 2 } else { 0 };
        let numbers = body.get(payload..payload + 12);
        let (Some(id), Some(numbers)) = (id, numbers) else {
            return Err(unexpected("a message that is too short"));
        };
        if let (1.., &[high, low]) = (qos, id) {
            let kind = if qos == 1 { PUBACK } else { PUBREC };
            let id = u16::from_be_bytes([high, low]);
            self.output.extend_from_slice(&answer(kind, id));
        }
        let mut number = [0; 8];
        number.copy_from_slice(&numbers[..8]);
        let number = u64::from_be_bytes(number);
        let mut published = [0; 4];
        published.copy_from_slice(&numbers[8..]);
        self.seen.received += 1;
        let expected = self.seen.next_number;
        // A subscriber who was away begins anywhere.
        self.seen.disordered += u64::from(number != expected && self.seen.received > 1);
        self.seen.next_number = number + 1;
        if load.rate.is_some() {
            let latency = now.saturating_sub(u32::from_be_bytes(published));
            self.seen.latencies.push(latency);
        }
        Ok(())
    }
}

fn micros(begin: Instant) -> u32 {
    u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX)
}
