//! A client that subscribes and unsubscribes all the time: what was acknowledged holds after a
//! kill, and only what was not answered may have come either way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::actor::Actor;
use super::inbox::{Arrival, Inbox};
use super::link::Link;
use super::record::{Message, Record, TopicId};
use super::session::Session;
use super::tally::Tally;
use crate::wire::{self, Connack, Connect, Received, Version, kind};

/// How many filters there are; the first stands always, so that there is something to wait for.
pub(super) const FILTERS: usize = 6;

/// Whether a filter is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    On,
    Off,
    /// The answer that will tell has not come, or was lost.
    Unknown,
}

/// What a filter was, from which event on.
#[derive(Clone, Debug)]
struct Timeline(Vec<(u64, Mode)>);

impl Timeline {
    fn now(&self) -> Mode {
        self.0.last().map_or(Mode::Off, |(_, mode)| *mode)
    }

    fn change(&mut self, event: u64, mode: Mode) {
        if self.now() != mode {
            self.0.push((event, mode));
        }
    }

    /// What it was from one event to the other, if that was always the same.
    fn between(&self, from: u64, to: u64) -> Mode {
        let at = self.0.partition_point(|(event, _)| *event <= from);
        match self.0.get(at) {
            Some((event, _)) if *event <= to => Mode::Unknown,
            _ => at.checked_sub(1).map_or(Mode::Off, |at| self.0[at].1),
        }
    }
}

/// A request that is not answered.
#[derive(Debug)]
struct Request {
    packet_id: u16,
    mode: Mode,
    /// And what they were before.
    filters: Vec<(usize, Mode)>,
}

/// A client that changes its mind.
#[derive(Debug)]
pub(super) struct Changer {
    name: &'static str,
    version: Version,
    session: Session,
    inbox: Inbox,
    tally: Tally,
    filters: Vec<Timeline>,
    topics: BTreeMap<TopicId, usize>,
    request: Option<Request>,
    last_id: u16,
    /// The first filter stands.
    is_ready: bool,
    next: Instant,
}

/// The filter of this number.
pub(super) fn filter(number: usize) -> String {
    format!("c/{number}/#")
}

impl Changer {
    pub(super) fn new(name: &'static str, version: Version, record: &mut Record) -> Self {
        record.subscriptions_to_come += 1;
        let topics = (0..FILTERS).flat_map(|number| {
            let below = record.topics_below(&format!("c/{number}/"));
            below.into_iter().map(move |topic| (topic, number))
        });
        Self {
            name,
            version,
            session: Session::none(),
            inbox: Inbox::default(),
            tally: Tally::default(),
            filters: vec![Timeline(Vec::new()); FILTERS],
            topics: topics.collect(),
            request: None,
            last_id: 0,
            is_ready: false,
            next: Instant::now(),
        }
    }

    fn ask(&mut self, mode: Mode, filters: Vec<usize>, record: &mut Record, link: &mut Link) {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let event = record.now().event;
        let names: Vec<String> = filters.iter().map(|it| filter(*it)).collect();
        let before = |number: usize| (number, self.filters[number].now());
        let with_modes = filters.iter().copied().map(before).collect();
        for number in filters {
            let timeline = &mut self.filters[number];
            // What is asked for once more stays as it is meanwhile [MQTT-3.8.4-4].
            if timeline.now() != mode {
                timeline.change(event, Mode::Unknown);
            }
        }
        if mode == Mode::On {
            let filters: Vec<_> = names.iter().map(|name| (name, 2)).collect();
            link.send(&wire::subscribe(self.version, self.last_id, &filters));
        } else {
            link.send(&wire::unsubscribe(self.version, self.last_id, &names));
        }
        self.request = Some(Request {
            packet_id: self.last_id,
            mode,
            filters: with_modes,
        });
    }

    fn answered(&mut self, packet: &Received, record: &mut Record) {
        let is_suback = packet.kind() == kind::SUBACK;
        let answer = match is_suback {
            true => packet.suback(self.version),
            false => packet.unsuback(self.version),
        };
        let request = self
            .request
            .take_if(|it| it.packet_id == answer.packet_id && is_suback == (it.mode == Mode::On));
        let Some(request) = request else {
            record.violated(&format!(
                "{} got {packet:?}, which nothing asked for",
                self.name
            ));
            return;
        };
        let event = record.now().event;
        record.figures.changes += 1;
        for (at, (number, before)) in request.filters.iter().enumerate() {
            let due: &[u8] = match (request.mode, before) {
                (Mode::On, _) => &[2],
                (_, Mode::On) => &[0x00],
                (_, Mode::Off) => &[0x11],
                (_, Mode::Unknown) => &[0x00, 0x11],
            };
            if let Some(code) = answer.codes.get(at)
                && !due.contains(code)
            {
                record.violated(&format!(
                    "SUBSCRIPTION of {} to {}: the answer was {code:#04x}, not one of {due:?}",
                    self.name,
                    filter(*number)
                ));
            }
            self.filters[*number].change(event, request.mode);
        }
        if !self.is_ready {
            self.is_ready = true;
            record.subscriptions_to_come -= 1;
        }
    }

    fn arrived(&mut self, arrival: Arrival, record: &mut Record) {
        let Arrival { topic, number, .. } = arrival;
        let Some(filter) = self.topics.get(&topic) else {
            let message = record.tell(topic, number);
            record.violated(&format!("{} got {message}", self.name));
            return;
        };
        let now = record.now().event;
        if let Some(message) = record.topic(topic).message(number) {
            let until = message.acked.map_or(now, |acked| acked.event);
            if self.filters[*filter].between(message.sent.event, until) == Mode::Off {
                let message = record.tell(topic, number);
                record.violated(&format!(
                    "SUBSCRIPTION: {} got {message}, and had unsubscribed before",
                    self.name
                ));
            }
        }
        // What came when nobody had subscribed, and comes again after a kill, is behind what the
        // subscription that was made meanwhile has brought.
        let timeline = &self.filters[*filter];
        let is_excused = |it: &Message, newer: &Message| {
            it.is_repeated && timeline.between(it.sent.event, newer.sent.event) != Mode::On
        };
        self.tally.add(self.name, &arrival, record, is_excused);
    }
}

impl Actor for Changer {
    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> Version {
        self.version
    }

    fn connect(&mut self, _: &mut Record) -> Option<Connect> {
        self.session.ask(false, true);
        Some(wire::lasting(self.version, self.name))
    }

    fn connected(&mut self, connack: &Connack, record: &mut Record, link: &mut Link) {
        if let Err(wrong) = self.session.answer(connack.session_present) {
            record.violated(&format!("SESSION of {}: {wrong}", self.name));
        }
        record.figures.sessions_checked += 1;
        if !self.is_ready {
            self.ask(Mode::On, vec![0], record, link);
        }
    }

    fn received(&mut self, packet: &Received, record: &mut Record, link: &mut Link) {
        match packet.kind() {
            kind::SUBACK | kind::UNSUBACK => self.answered(packet, record),
            kind::PUBLISH => {
                let publish = packet.publish(self.version);
                let (answer, arrival) = self.inbox.publish(self.name, &publish, record);
                if let Some(arrival) = arrival {
                    self.arrived(arrival, record);
                }
                if let Some(answer) = answer {
                    link.send(&answer);
                }
            }
            kind::PUBREL => link.send(&self.inbox.release(packet, self.version)),
            _ => record.violated(&format!("{} got {packet:?}", self.name)),
        }
    }

    fn act(&mut self, record: &mut Record, link: &mut Link) {
        let now = Instant::now();
        if self.request.is_some() || record.is_draining || now < self.next {
            return;
        }
        self.next = now + Duration::from_micros(record.random.below(3000) as u64);
        let first = 1 + record.random.below(FILTERS - 1);
        let second = 1 + record.random.below(FILTERS - 1);
        let mut filters = vec![first];
        if second != first {
            filters.push(second);
        }
        let mode = *record.random.one_of(&[Mode::On, Mode::Off]);
        self.ask(mode, filters, record, link);
    }

    fn gone(&mut self, _: &mut Record, _: bool) {
        self.request = None;
    }

    fn missing(&mut self, record: &Record, most: usize) -> Vec<String> {
        let mut missing = Vec::new();
        for (id, filter) in &self.topics {
            let left = most - missing.len();
            if left == 0 {
                break;
            }
            let topic = record.topic(*id);
            let timeline = &self.filters[*filter];
            let is_owed = |number| {
                let message = topic.message(number);
                message.is_some_and(|it| {
                    let until = it.acked.map_or(u64::MAX, |acked| acked.event);
                    timeline.between(it.sent.event, until) == Mode::On
                })
            };
            for number in self.tally.missing(*id, record, left, is_owed) {
                let message = record.tell(*id, number);
                missing.push(format!("{} never got {message}", self.name));
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_where_the_filter_was_the_same_all_the_time() {
        let mut timeline = Timeline(Vec::new());
        timeline.change(10, Mode::Unknown);
        timeline.change(20, Mode::On);
        timeline.change(30, Mode::Unknown);
        assert_eq!(timeline.between(1, 9), Mode::Off);
        assert_eq!(timeline.between(1, 10), Mode::Unknown);
        assert_eq!(timeline.between(12, 25), Mode::Unknown);
        assert_eq!(timeline.between(20, 29), Mode::On);
        assert_eq!(timeline.between(25, 31), Mode::Unknown);
        assert_eq!(timeline.between(31, 99), Mode::Unknown);
    }
}
