//! A client with a will: a kill of the broker ends its connection, and the will is published after
//! the restart, once, when its delay is over [MQTT-3.1.2-8].

use std::time::{Duration, Instant};

use super::actor::Actor;
use super::link::Link;
use super::payload;
use super::record::{Record, TopicId};
use super::session::Session;
use crate::wire::{self, Connack, Connect, Properties, Received, Value, Version, Will, id};

/// A client with a will.
#[derive(Debug)]
pub(super) struct Willing {
    name: &'static str,
    version: Version,
    topic: TopicId,
    session: Session,
    /// The number of the will that was sent last.
    number: Option<u32>,
    /// CONNACK has come for it.
    is_accepted: bool,
    /// It was to be published, and nobody has it yet.
    is_due: bool,
    /// When it comes back.
    until: Instant,
}

impl Willing {
    pub(super) fn new(name: &'static str, version: Version, topic: TopicId) -> Self {
        Self {
            name,
            version,
            topic,
            session: Session::none(),
            number: None,
            is_accepted: false,
            is_due: false,
            until: Instant::now(),
        }
    }

    fn has_arrived(&self, record: &Record) -> bool {
        record.topic(self.topic).arrived() >= self.number
    }
}

impl Actor for Willing {
    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> Version {
        self.version
    }

    fn connect(&mut self, record: &mut Record) -> Option<Connect> {
        // If it came back before, the will would not be published.
        if record.subscriptions_to_come > 0 || self.is_due && !self.has_arrived(record) {
            return None;
        }
        if self.is_due {
            // It stays away a little longer: a restart must not publish the will again.
            self.is_due = false;
            let time = Duration::from_millis(record.random.below(300) as u64);
            self.until = Instant::now() + time;
        }
        if Instant::now() < self.until {
            return None;
        }
        self.session.ask(false, true);
        let number = record.sent(self.topic);
        self.number = Some(number);
        let topic = record.topic(self.topic);
        let delay = record.figures.kills % 2;
        let will = Will {
            qos: topic.qos,
            properties: Properties::new().with(id::WILL_DELAY_INTERVAL, Value::Four(delay)),
            ..Will::new(&topic.name, payload::write(topic, number))
        };
        Some(wire::lasting(self.version, self.name).will(will))
    }

    fn connected(&mut self, connack: &Connack, record: &mut Record, _: &mut Link) {
        if let Err(wrong) = self.session.answer(connack.session_present) {
            record.violated(&format!("SESSION of {}: {wrong}", self.name));
        }
        record.figures.sessions_checked += 1;
        self.is_accepted = true;
    }

    fn received(&mut self, packet: &Received, record: &mut Record, _: &mut Link) {
        record.violated(&format!("{} got {packet:?}", self.name));
    }

    fn act(&mut self, _: &mut Record, _: &mut Link) {}

    fn gone(&mut self, record: &mut Record, _: bool) {
        let Some(number) = self.number else { return };
        if self.is_accepted {
            record.promised(self.topic, number);
            record.figures.wills += 1;
            self.is_due = true;
        } else {
            record.left_open(self.topic, number);
        }
        self.is_accepted = false;
    }

    fn missing(&mut self, record: &Record, _: usize) -> Vec<String> {
        let is_missing = self.is_due && !self.has_arrived(record);
        let number = self.number.filter(|_| is_missing);
        number
            .map(|number| {
                let will = record.tell(self.topic, number);
                format!("nobody got the will of {}: {will}", self.name)
            })
            .into_iter()
            .collect()
    }
}
