//! What the clients know together: every message that was sent, when, and when its sender was told
//! that it is safe; and every promise that was seen broken.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use super::figures::Figures;
use crate::random::Random;

/// So many broken promises are told; more would not help anybody.
const MOST_VIOLATIONS: usize = 20;

/// Which topic, by its place in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TopicId(usize);

/// When something happened to a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Events of all clients are counted; no two have the same number.
    pub(super) event: u64,
    cycle: u32,
    since: Duration,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            event,
            cycle,
            since,
        } = self;
        let seconds = since.as_secs_f64();
        write!(f, "in cycle {cycle} at {seconds:.4} s (event {event})")
    }
}

/// A message that left its sender at least once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    /// When it did for the first time.
    pub(super) sent: Moment,
    /// When PUBACK or PUBREC said that it is safe.
    pub(super) acked: Option<Moment>,
    /// Whether its sender has sent it again, after a kill.
    pub(super) is_repeated: bool,
    /// Nobody will ever know whether it is safe: it may arrive or not.
    is_open: bool,
}

/// A topic, which one client alone publishes to, and its messages by their numbers.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) qos: u8,
    /// The number of the first message that is still of interest.
    first: u32,
    messages: VecDeque<Message>,
    /// The greatest number that was acknowledged.
    acked: Option<u32>,
    /// The greatest number that anybody has received.
    arrived: Option<u32>,
}

impl Topic {
    /// The number of the first message that is still of interest.
    pub(super) fn first(&self) -> u32 {
        self.first
    }

    /// The number of the message that will be sent next.
    pub(super) fn next(&self) -> u32 {
        self.first + self.messages.len() as u32
    }

    /// The message of this number, if it was sent and is still of interest.
    pub(super) fn message(&self, number: u32) -> Option<&Message> {
        let at = number.checked_sub(self.first)?;
        self.messages.get(at as usize)
    }

    /// The greatest number that was acknowledged.
    pub(super) fn acked(&self) -> Option<u32> {
        self.acked
    }

    /// The greatest number that anybody has received.
    pub(super) fn arrived(&self) -> Option<u32> {
        self.arrived
    }
}

impl Message {
    /// Whether the broker owes it to those who subscribed.
    pub(super) fn is_owed(&self) -> bool {
        self.acked.is_some()
    }

    /// Whether nothing more will be known of it.
    pub(super) fn is_over(&self) -> bool {
        self.acked.is_some() || self.is_open
    }
}

/// The clients' own record.
#[derive(Debug)]
pub(super) struct Record {
    topics: Vec<Topic>,
    by_name: BTreeMap<String, TopicId>,
    begun: Instant,
    events: u64,
    /// The broken promises, each in a line.
    pub(super) violations: Vec<String>,
    pub(super) random: Random,
    pub(super) figures: Figures,
    /// How many publishes were acknowledged in this cycle.
    pub(super) acked_in_cycle: u64,
    /// Nothing new is published, and everybody comes for what is theirs.
    pub(super) is_draining: bool,
    /// Subscriptions that must stand before anything is published.
    pub(super) subscriptions_to_come: usize,
}

impl Record {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            topics: Vec::new(),
            by_name: BTreeMap::new(),
            begun: Instant::now(),
            events: 0,
            violations: Vec::new(),
            random: Random::new(seed),
            figures: Figures::default(),
            acked_in_cycle: 0,
            is_draining: false,
            subscriptions_to_come: 0,
        }
    }

    /// Begins a topic.
    pub(super) fn add_topic(&mut self, name: &str, qos: u8) -> TopicId {
        let id = TopicId(self.topics.len());
        self.by_name.insert(name.into(), id);
        self.topics.push(Topic {
            name: name.into(),
            qos,
            first: 0,
            messages: VecDeque::new(),
            acked: None,
            arrived: None,
        });
        id
    }

    pub(super) fn topic(&self, id: TopicId) -> &Topic {
        &self.topics[id.0]
    }

    pub(super) fn topic_named(&self, name: &str) -> Option<TopicId> {
        self.by_name.get(name).copied()
    }

    /// Two messages of a topic, if both are still of interest.
    pub(super) fn pair(&self, id: TopicId, one: u32, other: u32) -> Option<(&Message, &Message)> {
        let topic = self.topic(id);
        Some((topic.message(one)?, topic.message(other)?))
    }

    /// All topics whose names begin so.
    pub(super) fn topics_below(&self, prefix: &str) -> Vec<TopicId> {
        let all = self.by_name.iter();
        all.filter(|(name, _)| name.starts_with(prefix))
            .map(|(_, id)| *id)
            .collect()
    }

    /// An event: the moment that is now, which no other event has.
    pub(super) fn now(&mut self) -> Moment {
        self.events += 1;
        Moment {
            event: self.events,
            cycle: self.figures.cycles,
            since: self.begun.elapsed(),
        }
    }

    /// A new message leaves its sender. Returns its number.
    pub(super) fn sent(&mut self, id: TopicId) -> u32 {
        let sent = self.now();
        let topic = &mut self.topics[id.0];
        topic.messages.push_back(Message {
            sent,
            acked: None,
            is_repeated: false,
            is_open: false,
        });
        topic.next() - 1
    }

    /// The sender of a message sends it again.
    pub(super) fn sent_again(&mut self, id: TopicId, number: u32) {
        let topic = &mut self.topics[id.0];
        let at = number.wrapping_sub(topic.first) as usize;
        if let Some(message) = topic.messages.get_mut(at) {
            message.is_repeated = true;
        }
    }

    /// The sender of a message was told that it is safe.
    pub(super) fn acked(&mut self, id: TopicId, number: u32) {
        self.promised(id, number);
        self.figures.acknowledged += 1;
        self.acked_in_cycle += 1;
    }

    /// A message must arrive.
    pub(super) fn promised(&mut self, id: TopicId, number: u32) {
        let now = self.now();
        let topic = &mut self.topics[id.0];
        topic.acked = topic.acked.max(Some(number));
        let at = number.wrapping_sub(topic.first) as usize;
        if let Some(message) = topic.messages.get_mut(at) {
            message.acked.get_or_insert(now);
        }
    }

    /// The sender of a message will never know.
    pub(super) fn left_open(&mut self, id: TopicId, number: u32) {
        let topic = &mut self.topics[id.0];
        let at = number.wrapping_sub(topic.first) as usize;
        if let Some(message) = topic.messages.get_mut(at) {
            message.is_open = message.acked.is_none();
        }
    }

    /// Somebody has received a message.
    pub(super) fn arrived(&mut self, id: TopicId, number: u32) {
        let topic = &mut self.topics[id.0];
        topic.arrived = topic.arrived.max(Some(number));
    }

    /// Whatever is owed has arrived: messages of which all is known are forgotten.
    pub(super) fn forget(&mut self) {
        for topic in &mut self.topics {
            while topic.messages.front().is_some_and(Message::is_over) {
                topic.messages.pop_front();
                topic.first += 1;
            }
        }
    }

    /// A promise was broken.
    pub(super) fn violated(&mut self, what: &str) {
        if self.violations.len() < MOST_VIOLATIONS {
            let now = self.now();
            self.violations.push(format!("{what}; seen {now}"));
        }
    }

    /// A message and what its sender knows of it, in words.
    pub(super) fn tell(&self, id: TopicId, number: u32) -> String {
        let topic = self.topic(id);
        let mut text = format!("{} number {number} (QoS {})", topic.name, topic.qos);
        match topic.message(number) {
            None => text.push_str(", all of which was settled before"),
            Some(message) => {
                text += &format!(", sent {}", message.sent);
                match message.acked {
                    Some(moment) => text += &format!(", acknowledged {moment}"),
                    None => text.push_str(", not acknowledged"),
                }
            }
        }
        text
    }
}
