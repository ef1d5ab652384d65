//! What a client remembers.

use std::collections::{BTreeMap, BTreeSet};

use wherry_tests::scenario::Client;
use wherry_tests::wire::{self, Properties, Publish, Value, Version, id, kind};

use super::oracle::{Number, number_of};

/// A message of QoS 1 or 2 that a client has got and is not done with.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) number: Number,
    pub(super) qos: u8,
    /// Whether PUBREC was sent.
    received: bool,
    /// Whether PUBREL came.
    released: bool,
    /// Whether something came on this connection that wants an answer.
    due: bool,
}

/// A message of QoS 1 or 2 that a client is publishing.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) id: u16,
    pub(super) qos: u8,
    pub(super) number: Option<Number>,
    pub(super) topic: String,
    pub(super) big: bool,
    /// Whether PUBREC came, and PUBREL is the next step.
    pub(super) received: bool,
    /// Whether the next step is to be sent.
    pub(super) due: bool,
}

#[derive(Debug)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) receive_maximum: u16,
    pub(super) max_packet: Option<u32>,
    pub(super) alias_maximum: u16,
    pub(super) socket: Option<Client>,
    pub(super) open: BTreeMap<u16, Open>,
    pub(super) out: Vec<Out>,
    /// The identifiers that take room in the window.
    window: BTreeSet<u16>,
    /// What was answered before it came on this connection: it may still come.
    early: BTreeMap<u16, Number>,
    aliases: BTreeMap<u16, String>,
    /// The topics that have an alias for what this client publishes.
    pub(super) own_aliases: Vec<String>,
}

impl Person {
    pub(super) fn new(name: String, version: Version) -> Self {
        Self {
            name,
            version,
            receive_maximum: u16::MAX,
            max_packet: None,
            alias_maximum: 0,
            socket: None,
            open: BTreeMap::new(),
            out: Vec::new(),
            window: BTreeSet::new(),
            early: BTreeMap::new(),
            aliases: BTreeMap::new(),
            own_aliases: Vec::new(),
        }
    }

    pub(super) fn connect(&self, clean: bool, expiry: Option<u64>) -> wire::Connect {
        let mut properties = Properties::new();
        if self.version.is_v5() {
            let seconds = expiry.map_or(u32::MAX, |it| (it / 1000) as u32);
            properties = properties
                .with(id::SESSION_EXPIRY_INTERVAL, Value::Four(seconds))
                .with(id::RECEIVE_MAXIMUM, Value::Two(self.receive_maximum))
                .with(id::TOPIC_ALIAS_MAXIMUM, Value::Two(self.alias_maximum));
            if let Some(size) = self.max_packet {
                properties = properties.with(id::MAXIMUM_PACKET_SIZE, Value::Four(size));
            }
        }
        wire::connect(self.version)
            .client_id(&self.name)
            .clean(clean)
            .properties(properties)
    }

    /// The client is connected on this socket.
    pub(super) fn connected(&mut self, socket: Client, present: bool) {
        self.socket = Some(socket);
        self.window.clear();
        self.early.clear();
        self.aliases.clear();
        self.own_aliases.clear();
        if !present {
            self.open.clear();
            self.out.clear();
        }
        self.out.iter_mut().for_each(|out| out.due = true);
        for open in self.open.values_mut() {
            (open.due, open.released) = (false, false);
        }
    }

    /// Lets an alias stand for the topic, or the topic for an alias.
    pub(super) fn resolve(&mut self, got: &mut Publish) {
        if let Some(Value::Two(alias)) = got.property(id::TOPIC_ALIAS) {
            assert!((1..=self.alias_maximum).contains(alias), "alias {alias}");
            if got.topic.is_empty() {
                got.topic = self.aliases.get(alias).expect("it is set").clone();
            } else {
                self.aliases.insert(*alias, got.topic.clone());
            }
        }
        assert!(!got.topic.is_empty());
    }

    /// A message came; returns whether it is a new one.
    pub(super) fn receive(&mut self, got: &Publish) -> bool {
        let Some(id) = got.packet_id else {
            return true;
        };
        let number = number_of(&got.payload);
        if self.early.get(&id) == Some(&number) {
            assert!(got.dup);
            if let Some(open) = self.open.get_mut(&id) {
                open.due = true;
            }
            return false;
        }
        let is_first_here = self.window.insert(id);
        let in_flight = self.window.len();
        assert!(is_first_here, "{}: {id} twice on a connection", self.name);
        assert!(
            in_flight <= usize::from(self.receive_maximum),
            "{}: {in_flight} in flight",
            self.name
        );
        if let Some(open) = self.open.get_mut(&id) {
            assert!(got.dup, "{}: {id} is in use", self.name);
            assert_eq!((open.number, open.qos), (number, got.qos));
            assert!(!open.received, "{}: {number} after its PUBREC", self.name);
            open.due = true;
            return false;
        }
        let open = Open {
            number,
            qos: got.qos,
            received: false,
            released: false,
            due: true,
        };
        self.open.insert(id, open);
        true
    }

    pub(super) fn release(&mut self, id: u16) {
        match self.open.get_mut(&id) {
            Some(open) => {
                assert!(open.received, "{}: PUBREL before PUBREC", self.name);
                (open.released, open.due) = (true, true);
            }
            None => assert!(self.early.contains_key(&id), "{}: PUBREL {id}", self.name),
        }
    }

    /// What could be answered: what came, or also what came on an earlier connection.
    pub(super) fn answerable(&self, early: bool) -> Vec<u16> {
        let open = self.open.iter();
        open.filter(|(_, open)| open.due || early && !open.received)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Answers; returns the packet, and the message if that is the end of it.
    pub(super) fn answer(&mut self, id: u16, with_error: bool) -> (Vec<u8>, Option<Number>) {
        let with_error = with_error && self.version.is_v5();
        let open = self.open.get_mut(&id).expect("it is open");
        if !open.due {
            self.early.insert(id, open.number);
        }
        open.due = false;
        let (number, kind) = (
            open.number,
            if open.qos == 1 {
                kind::PUBACK
            } else if open.released {
                kind::PUBCOMP
            } else {
                kind::PUBREC
            },
        );
        let is_over = kind != kind::PUBREC || with_error;
        if is_over {
            self.open.remove(&id);
            self.window.remove(&id);
        } else {
            open.received = true;
        }
        let mut body = id.to_be_bytes().to_vec();
        if with_error && kind != kind::PUBCOMP {
            body.push(0x80);
        }
        (wire::packet(kind << 4, body), is_over.then_some(number))
    }

    /// The broker has answered for a message of this client.
    pub(super) fn answered(&mut self, kind: u8, id: u16, code: u8) {
        let place = self.out.iter().position(|out| out.id == id);
        let place = place.unwrap_or_else(|| panic!("{}: answer to {id}", self.name));
        let out = &mut self.out[place];
        match (kind, out.qos) {
            (kind::PUBREC, 2) if code < 0x80 => (out.received, out.due) = (true, true),
            (kind::PUBREC, 2) | (kind::PUBCOMP, 2) | (kind::PUBACK, 1) => {
                // The PUBCOMP of a PUBREL may be lost, and the PUBREL comes again: then 0x92.
                assert!(code < 0x80 || [0x92, 0x97].contains(&code), "{code:#x}");
                self.out.remove(place);
            }
            _ => panic!("{}: {kind} for {out:?}", self.name),
        }
    }

    pub(super) fn free_id(&self) -> u16 {
        let is_free = |id: &u16| self.out.iter().all(|out| out.id != *id);
        (1..).find(is_free).expect("one is free")
    }
}
