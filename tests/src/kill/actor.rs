//! What a client of these tests is.

use super::link::Link;
use super::record::Record;
use crate::wire::{Connack, Connect, Received, Version};

/// A client: it comes and goes, and writes down what it is told.
pub(super) trait Actor {
    fn name(&self) -> &str;

    fn version(&self) -> Version;

    /// How it connects now; nothing if it stays away for the moment.
    fn connect(&mut self, record: &mut Record) -> Option<Connect>;

    /// It was accepted.
    fn connected(&mut self, connack: &Connack, record: &mut Record, link: &mut Link);

    /// A packet has come.
    fn received(&mut self, packet: &Received, record: &mut Record, link: &mut Link);

    /// It may do something; called often.
    fn act(&mut self, record: &mut Record, link: &mut Link);

    /// Its connection is gone.
    fn gone(&mut self, record: &mut Record, by_kill: bool);

    /// What it still waits for although nothing new is published, in words; as many as `most`.
    fn missing(&mut self, record: &Record, most: usize) -> Vec<String>;
}
