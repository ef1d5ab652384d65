//! Clients that publish, and send again after a kill what was not acknowledged.

use std::collections::VecDeque;

use super::actor::Actor;
use super::link::Link;
use super::payload;
use super::record::{Record, TopicId};
use super::session::Session;
use crate::wire::{self, Connack, Connect, Received, Value, Version, id, kind};

/// Nothing more is written to a socket that leaves so much behind.
const MOST_BACKLOG: usize = 32 << 10;

/// A message that is on its way.
#[derive(Debug)]
struct Flight {
    packet_id: u16,
    topic: TopicId,
    number: u32,
    /// PUBREC has come.
    is_released: bool,
}

/// What a publisher is like.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    pub(super) name: &'static str,
    pub(super) version: Version,
    /// Whether its session outlives its connections. If not, it publishes at QoS 1 only.
    pub(super) is_lasting: bool,
    pub(super) topics: Vec<TopicId>,
    /// Whether its messages are retained, and some of them clear the topic.
    pub(super) is_retaining: bool,
    /// How many messages it has in flight.
    pub(super) window: usize,
}

/// A publisher at work.
#[derive(Debug)]
pub(super) struct Publishing {
    is: Publisher,
    session: Session,
    /// In the order in which they were sent first.
    flights: VecDeque<Flight>,
    window: usize,
}

impl Publishing {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self {
            window: publisher.window,
            is: publisher,
            session: Session::none(),
            flights: VecDeque::new(),
        }
    }

    /// A packet identifier that is free, and was in use not long ago: what a broker has not heard
    /// of its release shows.
    fn next_id(&self, record: &mut Record) -> u16 {
        loop {
            let packet_id = 1 + record.random.below(self.is.window * 2) as u16;
            if self.flights.iter().all(|it| it.packet_id != packet_id) {
                return packet_id;
            }
        }
    }

    fn publish(&self, flight: &Flight, is_again: bool, record: &Record) -> Vec<u8> {
        let topic = record.topic(flight.topic);
        let payload = if self.is.is_retaining && payload::is_clear(flight.number) {
            Vec::new()
        } else {
            payload::write(topic, flight.number)
        };
        let mut publish = wire::publish(self.is.version, &topic.name, payload);
        publish = publish.qos(topic.qos, flight.packet_id);
        if self.is.is_retaining {
            publish = publish.retain();
        }
        // To a broker that has forgotten the session, it is a new one [MQTT-3.3.1-1].
        if is_again && self.is.is_lasting {
            publish = publish.dup();
        }
        publish.bytes()
    }

    /// The message that an acknowledgement is for.
    fn flight_of(&self, packet: u8, packet_id: u16, record: &mut Record) -> Option<usize> {
        let at = self.flights.iter().position(|flight| {
            let qos = record.topic(flight.topic).qos;
            flight.packet_id == packet_id
                && match packet {
                    kind::PUBACK => qos == 1,
                    kind::PUBREC => qos == 2 && !flight.is_released,
                    _ => qos == 2 && flight.is_released,
                }
        });
        if at.is_none() {
            let name = self.is.name;
            record.violated(&format!(
                "{name} got a packet of type {packet} for identifier {packet_id}, where none is due"
            ));
        }
        at
    }

    fn refused(&self, flight: &Flight, reason: u8, record: &mut Record) {
        let message = record.tell(flight.topic, flight.number);
        record.violated(&format!(
            "{} was refused {message}: {reason:#04x}",
            self.is.name
        ));
    }
}

impl Actor for Publishing {
    fn name(&self) -> &str {
        self.is.name
    }

    fn version(&self) -> Version {
        self.is.version
    }

    fn connect(&mut self, record: &mut Record) -> Option<Connect> {
        if record.subscriptions_to_come > 0 {
            return None;
        }
        self.session.ask(!self.is.is_lasting, self.is.is_lasting);
        Some(match self.is.is_lasting {
            true => wire::lasting(self.is.version, self.is.name),
            false => wire::connect(self.is.version).client_id(self.is.name),
        })
    }

    fn connected(&mut self, connack: &Connack, record: &mut Record, link: &mut Link) {
        if let Err(wrong) = self.session.answer(connack.session_present) {
            record.violated(&format!("SESSION of {}: {wrong}", self.is.name));
        }
        record.figures.sessions_checked += 1;
        if let Some(Value::Two(window)) = connack.property(id::RECEIVE_MAXIMUM) {
            self.window = self.is.window.min(usize::from(*window));
        }
        // All of it, in the order in which it was sent [MQTT-4.4.0-1, MQTT-4.6.0-1].
        for flight in &self.flights {
            if flight.is_released {
                link.send(&wire::ack(kind::PUBREL, flight.packet_id));
            } else {
                link.send(&self.publish(flight, true, record));
                record.sent_again(flight.topic, flight.number);
            }
        }
    }

    fn received(&mut self, packet: &Received, record: &mut Record, link: &mut Link) {
        let version = self.is.version;
        let what = packet.kind();
        if !matches!(what, kind::PUBACK | kind::PUBREC | kind::PUBCOMP) {
            record.violated(&format!("{} got {packet:?}", self.is.name));
            return;
        }
        let ack = packet.ack(what, version);
        let Some(at) = self.flight_of(what, ack.packet_id, record) else {
            return;
        };
        let flight = &mut self.flights[at];
        let (topic, number) = (flight.topic, flight.number);
        if what == kind::PUBCOMP {
            self.flights.remove(at);
            return;
        }
        if ack.reason >= 0x80 {
            self.refused(&self.flights[at], ack.reason, record);
            self.flights.remove(at);
            return;
        }
        record.acked(topic, number);
        if what == kind::PUBACK {
            self.flights.remove(at);
        } else {
            flight.is_released = true;
            link.send(&wire::ack(kind::PUBREL, ack.packet_id));
        }
    }

    fn act(&mut self, record: &mut Record, link: &mut Link) {
        while !record.is_draining
            && self.flights.len() < self.window
            && link.backlog() < MOST_BACKLOG
        {
            let topic = *record.random.one_of(&self.is.topics);
            let number = record.sent(topic);
            let flight = Flight {
                packet_id: self.next_id(record),
                topic,
                number,
                is_released: false,
            };
            link.send(&self.publish(&flight, false, record));
            self.flights.push_back(flight);
        }
    }

    fn gone(&mut self, _: &mut Record, _: bool) {}

    fn missing(&mut self, record: &Record, most: usize) -> Vec<String> {
        let flights = self.flights.iter().take(most);
        flights
            .map(|flight| {
                let message = record.tell(flight.topic, flight.number);
                let what = match flight.is_released {
                    true => "PUBCOMP",
                    false => "an acknowledgement",
                };
                format!("{} waits for {what} of {message}", self.is.name)
            })
            .collect()
    }
}
