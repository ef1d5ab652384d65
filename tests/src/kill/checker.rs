//! A client that is new in each life of the broker, and looks at what is retained.

use std::collections::BTreeMap;

use super::actor::Actor;
use super::link::Link;
use super::payload;
use super::record::{Record, TopicId};
use crate::wire::{self, Connack, Connect, Publish, Received, Version, kind};

/// The packet identifier of its only request.
const REQUEST: u16 = 1;

/// What must be there of a topic when the subscription was asked for.
#[derive(Clone, Copy, Debug)]
struct Due {
    /// The oldest that may be there: the last that was acknowledged.
    from: Option<u32>,
    /// Whatever may be there is a message, so that one must come.
    is_certain: bool,
}

/// A client that looks at what is retained.
#[derive(Debug)]
pub(super) struct Checker {
    topics: Vec<TopicId>,
    due: BTreeMap<TopicId, Due>,
    is_subscribed: bool,
    connections: u32,
}

impl Checker {
    pub(super) const NAME: &str = "retained-checker";

    pub(super) fn new(record: &Record) -> Self {
        Self {
            topics: record.topics_below("r/"),
            due: BTreeMap::new(),
            is_subscribed: false,
            connections: 0,
        }
    }

    fn look(&mut self, record: &Record) {
        self.is_subscribed = false;
        self.due.clear();
        for id in &self.topics {
            let topic = record.topic(*id);
            let from = topic.acked();
            let is_certain = from
                .is_some_and(|from| (from..topic.next()).all(|number| !payload::is_clear(number)));
            self.due.insert(*id, Due { from, is_certain });
        }
    }

    fn check(&mut self, publish: &Publish, record: &mut Record) {
        let Some(id) = record.topic_named(&publish.topic) else {
            record.violated(&format!("NEVER SENT: retained on {}", publish.topic));
            return;
        };
        let Some(due) = self.due.get_mut(&id) else {
            record.violated(&format!("nobody subscribed to {}", publish.topic));
            return;
        };
        due.is_certain = false;
        let from = due.from;
        if publish.payload.is_empty() && !publish.retain {
            return; // It was cleared just now.
        }
        let number = payload::read(record.topic(id), &publish.payload);
        match number {
            Some(number) if payload::is_clear(number) => {
                let message = record.tell(id, number);
                record.violated(&format!("NEVER SENT: what clears has a payload: {message}"));
            }
            Some(number) if publish.retain && from > Some(number) => {
                let held = record.tell(id, number);
                let newer = record.tell(id, from.unwrap_or(0));
                record.violated(&format!(
                    "RETAINED: {held} is there, and is older than {newer}"
                ));
            }
            Some(_) => {
                record.figures.retained_checked += u64::from(publish.retain);
            }
            None => {
                let text = publish.payload.escape_ascii().to_string();
                record.violated(&format!("NEVER SENT: {text:.40} on {}", publish.topic));
            }
        }
    }
}

impl Actor for Checker {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn version(&self) -> Version {
        match self.connections % 2 {
            0 => Version::V5,
            _ => Version::V3_1_1,
        }
    }

    fn connect(&mut self, record: &mut Record) -> Option<Connect> {
        self.look(record);
        Some(wire::connect(self.version()).client_id(Self::NAME))
    }

    fn connected(&mut self, _: &Connack, record: &mut Record, link: &mut Link) {
        self.look(record);
        link.send(&wire::subscribe(self.version(), REQUEST, &[("r/#", 1)]));
    }

    fn received(&mut self, packet: &Received, record: &mut Record, link: &mut Link) {
        match packet.kind() {
            kind::SUBACK => self.is_subscribed = true,
            kind::PUBLISH => {
                let publish = packet.publish(self.version());
                self.check(&publish, record);
                if let Some(packet_id) = publish.packet_id {
                    link.send(&wire::ack(kind::PUBACK, packet_id));
                }
            }
            _ => record.violated(&format!("{} got {packet:?}", Self::NAME)),
        }
    }

    fn act(&mut self, _: &mut Record, _: &mut Link) {}

    fn gone(&mut self, _: &mut Record, _: bool) {
        self.connections += 1;
        self.is_subscribed = false;
    }

    fn missing(&mut self, record: &Record, most: usize) -> Vec<String> {
        if !self.is_subscribed {
            return vec![format!("{} has no subscription", Self::NAME)];
        }
        let missing = self.due.iter().filter(|(_, due)| due.is_certain);
        missing
            .take(most)
            .map(|(topic, due)| {
                let message = record.tell(*topic, due.from.unwrap_or(0));
                format!("RETAINED: neither this nor anything newer is there: {message}")
            })
            .collect()
    }
}
