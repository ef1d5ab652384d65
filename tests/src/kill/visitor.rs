//! A client whose sessions come and go: CONNACK says each time whether there is one, and a kill
//! changes nothing about what was acknowledged.

use std::time::{Duration, Instant};

use super::actor::Actor;
use super::link::Link;
use super::record::Record;
use super::session::Session;
use crate::wire::{self, Connack, Connect, Received, Version};

/// A client that never stays long.
#[derive(Debug)]
pub(super) struct Visitor {
    name: &'static str,
    version: Version,
    session: Session,
    until: Instant,
}

impl Visitor {
    pub(super) fn new(name: &'static str, version: Version) -> Self {
        Self {
            name,
            version,
            session: Session::none(),
            until: Instant::now(),
        }
    }
}

impl Actor for Visitor {
    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> Version {
        self.version
    }

    fn connect(&mut self, record: &mut Record) -> Option<Connect> {
        if Instant::now() < self.until {
            return None;
        }
        let is_clean = record.random.below(3) == 0;
        // Before MQTT 5 a session outlives its connection if it is not clean [MQTT-3.1.2-5].
        let is_lasting = match self.version {
            Version::V5 => record.random.below(3) > 0,
            Version::V3_1 | Version::V3_1_1 => !is_clean,
        };
        self.session.ask(is_clean, is_lasting);
        let connect = match is_lasting {
            true => wire::lasting(self.version, self.name),
            false => wire::connect(self.version).client_id(self.name),
        };
        Some(connect.clean(is_clean))
    }

    fn connected(&mut self, connack: &Connack, record: &mut Record, _: &mut Link) {
        if let Err(wrong) = self.session.answer(connack.session_present) {
            record.violated(&format!("SESSION of {}: {wrong}", self.name));
        }
        record.figures.sessions_checked += 1;
        let time = Duration::from_micros(record.random.below(10_000) as u64);
        self.until = Instant::now() + time;
    }

    fn received(&mut self, packet: &Received, record: &mut Record, _: &mut Link) {
        record.violated(&format!("{} got {packet:?}", self.name));
    }

    fn act(&mut self, _: &mut Record, link: &mut Link) {
        // It waits until the broker has closed: only then is a session that ends with its
        // connection over.
        if Instant::now() >= self.until {
            link.leave(self.version);
        }
    }

    fn gone(&mut self, record: &mut Record, _: bool) {
        let time = Duration::from_micros(record.random.below(10_000) as u64);
        self.until = Instant::now() + time;
    }

    fn missing(&mut self, _: &Record, _: usize) -> Vec<String> {
        Vec::new()
    }
}
