//! What the broker tells of itself: retained messages under `$SYS/broker`.
//!
//! At every interval all figures are taken, and those that have changed are published, at QoS 0: a
//! figure that is missed is followed by a newer one. Leading wildcards do not match the topics
//! ([MQTT-4.7.2-1]), clients cannot publish to them, and grants hold for them as for any other.

mod figures;
mod loads;

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::Broker;
use crate::message::Message;
use crate::packet::QoS;
use crate::peer::PeerMessage;
use crate::session::SessionId;
use crate::time::Instant;

pub use figures::Figures;
use figures::Topic;
use loads::Loads;

/// How many messages may go into outboxes before others have their turn.
const DELIVERIES_PER_TURN: u64 = 4096;

/// The broker's knowledge of what it has told.
#[derive(Debug)]
pub(super) struct Sys {
    /// When the broker began.
    started: Instant,
    /// When figures are to be taken; none if nothing is told.
    next: Option<Instant>,
    loads: Loads,
    /// One for each topic; empty as long as none were taken.
    figures: Vec<Figure>,
    /// What the other shards have told last, each at its number.
    elsewhere: Vec<Figures>,
    /// The topic whose turn it is, and how many are to be looked at.
    place: usize,
    left: usize,
    /// Working memory.
    topic: String,
    payload: String,
}

/// What a topic says.
#[derive(Clone, Copy, Debug, Default)]
struct Figure {
    /// As it was taken last.
    taken: u64,
    /// As it was published last.
    told: Option<u64>,
}

impl Sys {
    pub(super) fn new(interval: Option<Duration>, now: Instant) -> Self {
        Self {
            started: now,
            next: interval.map(|_| now),
            loads: Loads::new(now),
            figures: Vec::new(),
            elsewhere: Vec::new(),
            place: 0,
            left: 0,
            topic: String::new(),
            payload: String::new(),
        }
    }

    /// When there is something to do.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        if self.left > 0 { Some(now) } else { self.next }
    }
}

impl Broker {
    /// Publishes what is due by now.
    pub(super) fn tell_of_itself(&mut self) {
        if let Some(at) = self.sys.next
            && at <= self.now
            && let Some(interval) = self.config.sys_interval
        {
            let next = at.after(interval);
            self.sys.next = Some(if next > self.now {
                next
            } else {
                self.now.after(interval)
            });
            match self.peers.me() {
                0 => self.take_figures(),
                _ => self.tell_figures(),
            }
        }
        if self.sys.left > 0 {
            self.publish_figures();
        }
    }

    fn take_figures(&mut self) {
        let mut all = Figures::of(self);
        for other in &self.sys.elsewhere {
            all.add(other);
        }
        self.sys.loads.update(self.now, &all.counters);
        self.sys.figures.resize(figures::COUNT, Figure::default());
        self.sys.left = figures::COUNT;
        for place in 0..figures::COUNT {
            if let Some(topic) = Topic::at(place) {
                let taken = topic.value(&all, &self.sys.loads);
                self.sys.figures[place].taken = taken;
            }
        }
    }

    /// The first shard speaks for all.
    fn tell_figures(&mut self) {
        let figures = Figures::of(self).into();
        self.peers.push(0, PeerMessage::Figures(figures));
    }

    /// Another shard says how it is.
    pub(super) fn peer_figures(&mut self, from: u8, figures: Figures) {
        let place = usize::from(from);
        if self.sys.elsewhere.len() <= place {
            self.sys.elsewhere.resize_with(place + 1, Figures::default);
        }
        if let Some(known) = self.sys.elsewhere.get_mut(place) {
            *known = figures;
        }
    }

    /// Publishes figures that have changed, until it is others' turn. It goes on where it stopped,
    /// so that none is left out even if a new round begins before all are published.
    fn publish_figures(&mut self) {
        let mut name = core::mem::take(&mut self.sys.topic);
        let mut payload = core::mem::take(&mut self.sys.payload);
        let before = self.out.counters.publish_sent;
        while self.sys.left > 0 && self.out.counters.publish_sent - before < DELIVERIES_PER_TURN {
            self.sys.left -= 1;
            let place = self.sys.place;
            self.sys.place = (place + 1) % figures::COUNT;
            if let Some(figure) = self.sys.figures.get_mut(place)
                && let Some(topic) = Topic::at(place)
                && figure.told != Some(figure.taken)
            {
                figure.told = Some(figure.taken);
                topic.write_name(&mut name);
                topic.write_value(figure.taken, &mut payload);
                self.publish_own(&name, payload.as_bytes());
            }
        }
        self.sys.topic = name;
        self.sys.payload = payload;
    }

    /// Publishes a retained message of the broker's own.
    fn publish_own(&mut self, topic: &str, payload: &[u8]) {
        let message = Message {
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: true,
            properties: &[],
            expiry: None,
            packet: None,
            known: None,
            shared: None,
        };
        self.peers.change = self.retained.set_own(&message);
        self.out.retained_change = self.retained.changes();
        // Nobody has to listen: what is counted is what clients publish in vain.
        let in_vain = self.out.counters.publish_without_subscriber;
        self.route(SessionId::default(), &message);
        self.out.counters.publish_without_subscriber = in_vain;
    }

    /// The interval has changed from `before` to what the configuration says.
    pub(super) fn reconfigure_sys(&mut self, before: Option<Duration>) {
        let Some(interval) = self.config.sys_interval else {
            self.sys.next = None;
            if self.peers.me() == 0 {
                self.fall_silent();
            }
            return;
        };
        let latest = self.now.after(interval);
        self.sys.next = match self.sys.next {
            Some(next) => Some(next.min(latest)),
            None => Some(self.now),
        };
        if before.is_none() {
            let mut all = self.out.counters.clone();
            for other in &self.sys.elsewhere {
                all.add(&other.counters);
            }
            self.sys.loads.restart(self.now, &all);
        }
    }

    /// Nothing is told any more, and what was told is forgotten.
    fn fall_silent(&mut self) {
        self.sys.left = 0;
        self.sys.figures = Vec::new();
        for topic in (0..figures::COUNT).filter_map(Topic::at) {
            topic.write_name(&mut self.sys.topic);
            let change = self.retained.clear(&self.sys.topic);
            let topic = core::mem::take(&mut self.sys.topic);
            if let Some(change) = change {
                self.tell_cleared(&topic, change.version);
            }
            self.sys.topic = topic;
        }
        self.heed_tombstones();
    }
}
