//! Clients that subscribed once and for all: one is there, one is slow, one comes now and then.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::actor::Actor;
use super::inbox::Inbox;
use super::link::Link;
use super::record::{Record, TopicId};
use super::session::Session;
use super::tally::Tally;
use crate::wire::{self, Connack, Connect, Received, Value, Version, id, kind};

/// How a subscriber takes what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// It is there and answers at once.
    Present,
    /// It takes its time for each answer, and few messages at a time.
    Slow,
    /// It comes now and then.
    Away,
}

/// What a slow subscriber takes at a time.
const FEW: u16 = 8;

/// The packet identifier of its only request.
const REQUEST: u16 = 1;

/// A subscriber.
#[derive(Debug)]
pub(super) struct Subscriber {
    name: &'static str,
    version: Version,
    qos: u8,
    habit: Habit,
    session: Session,
    is_subscribed: bool,
    inbox: Inbox,
    tally: Tally,
    topics: Vec<TopicId>,
    /// Answers that are held back, and until when.
    held_back: VecDeque<(Instant, Vec<u8>)>,
    /// When it comes or goes next.
    until: Instant,
    /// It takes many messages at a time.
    is_in_a_hurry: bool,
}

/// What all of them subscribe to.
const FILTERS: [&str; 2] = ["k/#", "w/#"];

impl Subscriber {
    pub(super) fn new(
        name: &'static str,
        version: Version,
        qos: u8,
        habit: Habit,
        record: &mut Record,
    ) -> Self {
        record.subscriptions_to_come += 1;
        let topics = ["k/", "w/"].map(|prefix| record.topics_below(prefix));
        Self {
            name,
            version,
            qos,
            habit,
            session: Session::none(),
            is_subscribed: false,
            inbox: Inbox::default(),
            tally: Tally::default(),
            topics: topics.concat(),
            held_back: VecDeque::new(),
            until: Instant::now(),
            is_in_a_hurry: false,
        }
    }

    fn wait(&mut self, at_most: usize, record: &mut Record) {
        let time = record.random.below(at_most) as u64 + 1;
        self.until = Instant::now() + Duration::from_millis(time);
    }

    fn answer(&mut self, answer: &[u8], record: &mut Record, link: &mut Link) {
        if self.habit == Habit::Slow && !record.is_draining {
            let time = Duration::from_micros(record.random.below(12_000) as u64);
            self.held_back
                .push_back((Instant::now() + time, answer.into()));
        } else {
            self.let_go(None, link);
            link.send(answer);
        }
    }

    /// Sends answers that were held back long enough, or all.
    fn let_go(&mut self, now: Option<Instant>, link: &mut Link) {
        let is_due = |(due, _): &mut (Instant, Vec<u8>)| now.is_none_or(|now| *due <= now);
        while let Some((_, answer)) = self.held_back.pop_front_if(is_due) {
            link.send(&answer);
        }
    }
}

impl Actor for Subscriber {
    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> Version {
        self.version
    }

    fn connect(&mut self, record: &mut Record) -> Option<Connect> {
        let must_come = record.is_draining || !self.is_subscribed;
        if self.habit == Habit::Away && !must_come && Instant::now() < self.until {
            return None;
        }
        self.wait(200, record);
        self.session.ask(false, true);
        let connect = wire::lasting(self.version, self.name);
        self.is_in_a_hurry = self.habit != Habit::Slow || record.is_draining;
        Some(match self.is_in_a_hurry {
            false => connect.with(id::RECEIVE_MAXIMUM, Value::Two(FEW)),
            true => connect,
        })
    }

    fn connected(&mut self, connack: &Connack, record: &mut Record, link: &mut Link) {
        if let Err(wrong) = self.session.answer(connack.session_present) {
            record.violated(&format!("SESSION of {}: {wrong}", self.name));
        }
        record.figures.sessions_checked += 1;
        if !connack.session_present {
            self.inbox.clear();
        }
        if !self.is_subscribed {
            let filters = FILTERS.map(|filter| (filter, self.qos));
            link.send(&wire::subscribe(self.version, REQUEST, &filters));
        }
    }

    fn received(&mut self, packet: &Received, record: &mut Record, link: &mut Link) {
        match packet.kind() {
            kind::SUBACK => {
                let codes = packet.suback(self.version).codes;
                assert_eq!(codes, [self.qos; FILTERS.len()], "{}", self.name);
                assert!(!self.is_subscribed, "{} asked once", self.name);
                self.is_subscribed = true;
                record.subscriptions_to_come -= 1;
            }
            kind::PUBLISH => {
                let publish = packet.publish(self.version);
                let (answer, arrival) = self.inbox.publish(self.name, &publish, record);
                if let Some(it) = arrival {
                    let due = record.topic(it.topic).qos.min(self.qos);
                    if it.qos != due {
                        let message = record.tell(it.topic, it.number);
                        record.violated(&format!("{} got {message} at another QoS", self.name));
                    }
                    self.tally.add(self.name, &it, record, |_, _| false);
                }
                if let Some(answer) = answer {
                    self.answer(&answer, record, link);
                }
            }
            kind::PUBREL => {
                let answer = self.inbox.release(packet, self.version);
                self.answer(&answer, record, link);
            }
            _ => record.violated(&format!("{} got {packet:?}", self.name)),
        }
    }

    fn act(&mut self, record: &mut Record, link: &mut Link) {
        if record.is_draining && !self.is_in_a_hurry {
            return link.cut(); // It comes back at once, and takes more.
        }
        let now = Instant::now();
        self.let_go((!record.is_draining).then_some(now), link);
        let may_go = self.habit == Habit::Away && self.is_subscribed && !record.is_draining;
        if may_go && now >= self.until {
            match record.random.below(2) {
                0 => link.leave(self.version),
                _ => link.cut(),
            }
        }
    }

    fn gone(&mut self, record: &mut Record, _: bool) {
        self.held_back.clear();
        self.wait(1000, record);
    }

    fn missing(&mut self, record: &Record, most: usize) -> Vec<String> {
        let mut missing = Vec::new();
        for topic in &self.topics {
            let left = most - missing.len();
            if left == 0 {
                break;
            }
            for number in self.tally.missing(*topic, record, left, |_| true) {
                let message = record.tell(*topic, number);
                missing.push(format!("{} never got {message}", self.name));
            }
        }
        missing
    }
}
