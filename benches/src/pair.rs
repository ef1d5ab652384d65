//! Two shards with clients, and the links between them.

use wherry_core::connection::ConnectionId;
use wherry_core::packet::ProtocolVersion;
use wherry_core::peer::Place;

use crate::Bench;

/// The randomness that the shards have in common.
const SEED: u64 = 1;

/// Two shards of one broker, in the same thread.
#[derive(Debug)]
pub struct Pair {
    shards: [Bench; 2],
    names: u64,
}

impl Default for Pair {
    fn default() -> Self {
        Self {
            shards: [place(0), place(1)].map(Bench::in_place),
            names: 0,
        }
    }
}

fn place(index: u8) -> Place {
    Place::new(index, 2, SEED).expect("there are two")
}

impl Pair {
    /// Connects a client whose session is at this shard.
    pub fn connect(&mut self, shard: u8, version: ProtocolVersion) -> ConnectionId {
        let name = loop {
            self.names += 1;
            let name = format!("client {}", self.names);
            if place(shard).shard_of(&name) == shard {
                break name;
            }
        };
        let id = self.shards[usize::from(shard)].connect(version, &name);
        self.settle();
        id
    }

    /// Subscribes a client of a shard.
    pub fn subscribe(
        &mut self,
        shard: u8,
        id: ConnectionId,
        version: ProtocolVersion,
        filters: &[&str],
    ) {
        self.shards[usize::from(shard)].subscribe(id, version, filters);
        self.settle();
    }

    /// These bytes come from a client of a shard. All that comes of it is written; returns how many
    /// bytes that are.
    pub fn receive(&mut self, shard: u8, id: ConnectionId, bytes: &[u8]) -> usize {
        self.shards[usize::from(shard)].receive(id, bytes) + self.settle()
    }

    /// One of the shards.
    pub fn shard(&self, shard: u8) -> &Bench {
        &self.shards[usize::from(shard)]
    }

    /// Brings what the shards have to say to each other, until they have said all.
    fn settle(&mut self) -> usize {
        let mut written = 0;
        loop {
            let [first, second] = &mut self.shards;
            let moved = [first.pass_on(1, second, 0), second.pass_on(0, first, 1)];
            match moved {
                [None, None] => return written,
                some => written += some.into_iter().flatten().sum::<usize>(),
            }
        }
    }
}
