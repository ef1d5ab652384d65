//! Worlds with a store, whose commits can be held, and processes that die.

use std::collections::BTreeMap;
use std::time::Duration;

use wherry_core::connection::ConnectionId;
use wherry_core::store::Batch;
use wherry_core::time::WallClock;
use wherry_core::{Broker, Config};

use super::World;
use super::shards::place;

/// Batches that were taken and are not committed.
#[derive(Debug, Default)]
pub(super) struct Stock {
    batches: BTreeMap<usize, Batch>,
    /// Whether they wait for [`World::commit`].
    pub(super) is_held: bool,
}

impl Stock {
    pub(super) fn take(&mut self, shard: usize, batch: Option<Batch>) {
        if let Some(batch) = batch {
            let before = self.batches.insert(shard, batch);
            assert!(before.is_none(), "two batches at a time");
        }
    }
}

impl World {
    /// A broker with a store that commits at once.
    pub fn durable(config: Config) -> Self {
        Self::durable_shards(config, 1)
    }

    /// Several shards with a store that commits at once.
    pub fn durable_shards(config: Config, count: usize) -> Self {
        let config = Config {
            sys_interval: None,
            ..config
        };
        let mut world = Self::new(config);
        world.restart(count);
        world
    }

    /// Batches that are taken from now on wait for [`World::commit`].
    pub fn hold_commits(&mut self) {
        self.stock.is_held = true;
    }

    /// Commits the batch that waits, if there is one, of the first shard that has one; returns
    /// whether there was.
    pub fn commit(&mut self) -> bool {
        let first = self.stock.batches.keys().next().copied();
        first.is_some_and(|shard| self.commit_of(shard))
    }

    /// Commits the batch of one shard, if it has one; returns whether it had.
    pub fn commit_of(&mut self, shard: usize) -> bool {
        let is_there = self.commit_at(shard);
        self.settle();
        is_there
    }

    pub(super) fn commit_at(&mut self, shard: usize) -> bool {
        let Some(batch) = self.stock.batches.remove(&shard) else {
            return false;
        };
        let number = batch.number;
        self.rows.apply(batch);
        self.shard_mut(shard).batch_committed(number);
        true
    }

    /// Commits whatever waits and comes, from now on at once.
    pub fn commit_all(&mut self) {
        self.stock.is_held = false;
        while self.commit() {}
        self.pass(Duration::from_secs(1));
    }

    /// Whether a batch waits to be committed.
    pub fn is_at_store(&self) -> bool {
        !self.stock.batches.is_empty()
    }

    /// The process dies, and what was not committed with it; another one starts at once.
    pub fn crash(&mut self) {
        self.crash_to(self.shards());
    }

    /// The same; the new process has that many shards.
    pub fn crash_to(&mut self, count: usize) {
        self.die();
        self.restart(count);
    }

    /// The same; what the shards of the new process say to each other is held from the beginning.
    pub fn crash_and_hold(&mut self) {
        self.die();
        for from in 0..self.shards() {
            self.hold_all_from(from);
        }
        self.restart(self.shards());
    }

    fn die(&mut self) {
        self.stock.batches.clear();
        self.links.clear();
        for socket in &mut self.sockets {
            socket.closed = true;
            socket.sent.clear();
            socket.id = ConnectionId::default(); // The next process counts from the beginning.
            socket.shard = 0;
        }
    }

    fn restart(&mut self, count: usize) {
        let owner = place(0, count);
        let owner = |client_id: &str| usize::from(owner.shard_of(client_id));
        let parts = self.rows.restore(count, owner);
        let wall_clock = WallClock::from_unix_millis(1_000_000 + self.now.as_millis());
        let brokers = parts.into_iter().enumerate().map(|(index, part)| {
            let config = self.config.clone();
            Broker::restored(config, place(index, count), self.now, wall_clock, part)
        });
        let mut brokers: Vec<_> = brokers.collect();
        self.broker = brokers.remove(0);
        self.others = brokers;
        self.settle();
    }
}
