//! Not a broker: what system calls and copies alone cost, to measure brokers against. One thread
//! answers CONNECT and SUBSCRIBE, whatever they say, and copies each QoS 0 PUBLISH unread to those
//! connections whose filter matches. It keeps no session, checks nothing, and would be taken down
//! by the first client with bad manners.
//!
//! `floor 127.0.0.1:1883`

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use polling::{Event, Events, PollMode, Poller};

/// How much is read at once.
const READ: usize = 256 << 10;

/// The key of the socket that listens.
const LISTENER: usize = usize::MAX - 1;

struct Client {
    stream: TcpStream,
    is_v5: bool,
    /// What came of a packet that is not whole.
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// Whether the poller tells when it can be written.
    is_waiting: bool,
    filters: Vec<Vec<u8>>,
    /// The topic of the last message, and whose filters match it.
    topic: Vec<u8>,
    receivers: Vec<usize>,
    /// What the subscriptions were when this was found.
    generation: u64,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            is_v5: false,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            is_waiting: false,
            filters: Vec::new(),
            topic: Vec::new(),
            receivers: Vec::new(),
            generation: 0,
        }
    }
}

/// Everything that there is.
struct Floor {
    poller: Poller,
    /// By their keys; none while it is looked at, and once it is gone.
    clients: Vec<Option<Box<Client>>>,
    /// The keys of those that are gone.
    free: Vec<usize>,
    /// How often subscriptions have changed.
    generation: u64,
    /// Who has something to be written.
    dirty: Vec<usize>,
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:1883"))?;
    listener.set_nonblocking(true)?;
    let mut floor = Floor {
        poller: Poller::new()?,
        clients: Vec::new(),
        free: Vec::new(),
        generation: 1,
        dirty: Vec::new(),
    };
    watch(&floor.poller, &listener, LISTENER)?;
    let mut events = Events::new();
    let mut scratch = vec![0; READ];
    loop {
        events.clear();
        floor.poller.wait(&mut events, None)?;
        for event in events.iter() {
            if event.key == LISTENER {
                floor.accept(&listener)?;
                continue;
            }
            if event.writable {
                floor.dirty.push(event.key);
            }
            if event.readable && floor.read(event.key, &mut scratch).is_err() {
                floor.close(event.key)?;
            }
        }
        floor.write()?;
    }
}

#[expect(
    unsafe_code,
    reason = "sockets are taken from the poller before they are closed"
)]
fn watch(poller: &Poller, socket: impl polling::AsRawSource, key: usize) -> io::Result<()> {
    // SAFETY: the listener is never closed, and `close` deletes a client from the poller first.
    unsafe { poller.add_with_mode(socket, Event::readable(key), PollMode::Level) }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let key = self.free.pop().unwrap_or(self.clients.len());
            watch(&self.poller, &stream, key)?;
            if key == self.clients.len() {
                self.clients.push(None);
            }
            self.clients[key] = Some(Box::new(Client::new(stream)));
        }
        Ok(())
    }

    fn close(&mut self, key: usize) -> io::Result<()> {
        let Some(client) = self.clients[key].take() else {
            return Ok(());
        };
        self.free.push(key);
        if !client.filters.is_empty() {
            self.generation += 1;
        }
        self.poller.delete(&client.stream)
    }

    /// Reads once; an error is the end of the connection.
    fn read(&mut self, key: usize, scratch: &mut [u8]) -> io::Result<()> {
        let Some(client) = &mut self.clients[key] else {
            return Ok(());
        };
        let count = match client.stream.read(scratch) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if client.input.is_empty() {
            let rest = self.take_all(key, &scratch[..count])?;
            self.keep(key, &scratch[count - rest..count]);
        } else {
            let mut input = std::mem::take(&mut client.input);
            input.extend_from_slice(&scratch[..count]);
            let rest = self.take_all(key, &input)?;
            self.keep(key, &input[input.len() - rest..]);
        }
        Ok(())
    }

    fn keep(&mut self, key: usize, rest: &[u8]) {
        if let Some(client) = &mut self.clients[key] {
            client.input.extend_from_slice(rest);
        }
    }

    /// Takes all packets that are whole; returns how many bytes are left. Messages on one topic in
    /// succession are copied at once.
    fn take_all(&mut self, key: usize, bytes: &[u8]) -> io::Result<usize> {
        let (mut begin, mut at) = (0, 0);
        let mut client = self.clients[key].take().ok_or(io::ErrorKind::NotFound)?;
        let mut outcome = Ok(());
        while let Some((body, end)) = whole(&bytes[at..]) {
            let packet = &bytes[at..at + end];
            match packet[0] >> 4 {
                3 if client.knows(&packet[body..], self.generation) => {}
                kind => {
                    self.copy(key, &mut client, &bytes[begin..at]);
                    begin = at;
                    if kind == 3 {
                        self.learn(key, &mut client, &packet[body..]);
                    } else {
                        outcome = self.answer(key, &mut client, packet, body);
                        begin += end;
                    }
                }
            }
            at += end;
            if outcome.is_err() {
                break;
            }
        }
        self.copy(key, &mut client, &bytes[begin..at]);
        self.clients[key] = Some(client);
        outcome.map(|()| bytes.len() - at)
    }

    /// Copies messages to those who are to have them.
    fn copy(&mut self, key: usize, client: &mut Client, messages: &[u8]) {
        if messages.is_empty() {
            return;
        }
        for receiver in &client.receivers {
            let output = match &mut self.clients[*receiver] {
                Some(other) => &mut other.output,
                None if *receiver == key => &mut client.output,
                None => continue,
            };
            if output.is_empty() {
                self.dirty.push(*receiver);
            }
            output.extend_from_slice(messages);
        }
    }

    /// Finds who is to have a message, and its successors.
    fn learn(&mut self, key: usize, client: &mut Client, body: &[u8]) {
        let topic = string(body).unwrap_or_default();
        let is_receiver = |it: &Client| it.filters.iter().any(|it| matches(it, topic));
        let others = self.clients.iter().enumerate();
        let others = others.filter(|(_, it)| it.as_deref().is_some_and(is_receiver));
        let mut receivers: Vec<_> = others.map(|(key, _)| key).collect();
        if is_receiver(client) {
            receivers.push(key);
        }
        client.receivers = receivers;
        client.topic = topic.to_vec();
        client.generation = self.generation;
    }

    /// Answers a packet that is no message; an error is the end of the connection.
    fn answer(
        &mut self,
        key: usize,
        client: &mut Client,
        packet: &[u8],
        body: usize,
    ) -> io::Result<()> {
        let body = &packet[body..];
        let was_empty = client.output.is_empty();
        match packet[0] >> 4 {
            1 => {
                client.is_v5 = body.get(6) == Some(&5);
                let connack: &[u8] = match client.is_v5 {
                    true => &[0x20, 3, 0, 0, 0],
                    false => &[0x20, 2, 0, 0],
                };
                client.output.extend_from_slice(connack);
            }
            8 => {
                let before = client.filters.len();
                let properties = usize::from(client.is_v5);
                let mut rest = body.get(2 + properties..).unwrap_or_default();
                while let Some(filter) = string(rest) {
                    client.filters.push(filter.to_vec());
                    rest = rest.get(2 + filter.len() + 1..).unwrap_or_default();
                }
                let codes = client.filters.len() - before;
                let length = 2 + properties + codes;
                let length = u8::try_from(length).map_err(io::Error::other)?;
                if length >= 0x80 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                client.output.extend_from_slice(&[0x90, length]);
                let id = body.get(..2).unwrap_or_default();
                client.output.extend_from_slice(id);
                let zeros = usize::from(length) - id.len();
                client.output.extend(std::iter::repeat_n(0, zeros));
                self.generation += 1;
            }
            12 => client.output.extend_from_slice(&[0xD0, 0]),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        if was_empty {
            self.dirty.push(key);
        }
        Ok(())
    }

    /// Writes once to each who has something to be written.
    fn write(&mut self) -> io::Result<()> {
        for key in std::mem::take(&mut self.dirty) {
            let Some(client) = &mut self.clients[key] else {
                continue;
            };
            if client.output.is_empty() {
                continue;
            }
            match client.stream.write(&client.output[client.written..]) {
                Ok(count) => client.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.close(key)?;
                    continue;
                }
            }
            let is_done = client.written == client.output.len();
            if is_done {
                client.output.clear();
                client.written = 0;
            }
            if client.is_waiting == is_done {
                client.is_waiting = !is_done;
                let interest = Event::new(key, true, !is_done);
                let stream = &client.stream;
                self.poller
                    .modify_with_mode(stream, interest, PollMode::Level)?;
            }
        }
        Ok(())
    }
}

impl Client {
    /// Whether it is known who is to have a message.
    fn knows(&self, body: &[u8], generation: u64) -> bool {
        self.generation == generation && string(body) == Some(&*self.topic)
    }
}

/// Where the body of the first packet begins and where it ends; none if it is not whole.
fn whole(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for n in 0..4 {
        let byte = *bytes.get(1 + n)?;
        length |= usize::from(byte & 0x7F) << (7 * n);
        if byte < 0x80 {
            let (body, end) = (2 + n, 2 + n + length);
            return (end <= bytes.len()).then_some((body, end));
        }
    }
    None
}

/// The string at the beginning.
fn string(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

/// Whether a filter matches a topic, in the simplest way.
fn matches(filter: &[u8], topic: &[u8]) -> bool {
    let mut names = topic.split(|&byte| byte == b'/');
    for level in filter.split(|&byte| byte == b'/') {
        match (level, names.next()) {
            (b"#", _) => return true,
            (b"+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_what_they_should() {
        for (filter, topic) in [("a/b", "a/b"), ("+/b", "a/b"), ("a/#", "a"), ("#", "a/b")] {
            assert!(matches(filter.as_bytes(), topic.as_bytes()), "{filter}");
        }
        for (filter, topic) in [("a", "a/b"), ("a/b", "a"), ("+", "a/b"), ("b/#", "a")] {
            assert!(!matches(filter.as_bytes(), topic.as_bytes()), "{filter}");
        }
    }

    #[test]
    fn packets_are_told_apart() {
        assert_eq!(whole(&[0x30, 2, 1, 2, 9]), Some((2, 4)));
        assert_eq!(whole(&[0x30, 2, 1]), None);
        let mut long = vec![0x30, 0x80, 1];
        long.resize(3 + 128, 0);
        assert_eq!(whole(&long), Some((3, 131)));
        assert_eq!(whole(&[]), None);
    }
}
