//! Worlds of several shards, and the links between them.
//!
//! What a shard says to a peer is there at once, unless the scenario holds the link: then it waits
//! until the scenario lets it go, in order, one message at a time or all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wherry_core::connection::ConnectionId;
use wherry_core::time::WallClock;
use wherry_core::{Broker, Config, PeerMessage, Place};

use super::{Client, World};
use crate::wire::{self, Publish, Version};

/// The seed of all shards.
pub(super) const SEED: u64 = 1;

/// What is on its way between shards.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// By where it comes from and where it goes.
    queues: BTreeMap<(usize, usize), VecDeque<PeerMessage>>,
    held: BTreeSet<(usize, usize)>,
    /// Whether connections stay where they were opened until the scenario moves them.
    moves_held: bool,
    /// How many messages went through links.
    delivered: u64,
}

/// The place of a shard among so many.
pub(super) fn place(index: usize, count: usize) -> Place {
    let small = |number: usize| u8::try_from(number).expect("there are few shards");
    Place::new(small(index), small(count), SEED).expect("there is such a shard")
}

impl Links {
    /// Loses what is on its way, and holds no link any more.
    pub(super) fn clear(&mut self) {
        self.queues.clear();
        self.held.clear();
    }
}

impl World {
    /// Several shards of one process, which have nothing to say themselves; connections are opened
    /// at the first one.
    pub fn of_shards(config: &Config, count: usize) -> Self {
        let config = Config {
            sys_interval: None,
            ..config.clone()
        };
        Self::of_shards_with_sys(&config, count)
    }

    /// The same with `$SYS` as `config` says.
    pub fn of_shards_with_sys(config: &Config, count: usize) -> Self {
        let mut world = Self::new(config.clone());
        let mut brokers = (0..count).map(|index| world.new_shard(config, index, count));
        let first = brokers.next().expect("there is a shard");
        let others = brokers.collect();
        world.broker = first;
        world.others = others;
        world
    }

    fn new_shard(&self, config: &Config, index: usize, count: usize) -> Broker {
        let place = place(index, count);
        let wall_clock = WallClock::from_unix_millis(0);
        Broker::in_place(config.clone(), place, self.now, wall_clock)
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        1 + self.others.len()
    }

    /// One of the shards.
    pub fn shard(&self, shard: usize) -> &Broker {
        match shard.checked_sub(1) {
            None => &self.broker,
            Some(other) => &self.others[other],
        }
    }

    /// One of the shards.
    pub fn shard_mut(&mut self, shard: usize) -> &mut Broker {
        match shard.checked_sub(1) {
            None => &mut self.broker,
            Some(other) => &mut self.others[other],
        }
    }

    /// The shard that has the client's connection now.
    pub fn shard_of(&self, client: Client) -> usize {
        self.sockets[client.0].shard
    }

    /// A client identifier that belongs to this shard, which begins with `name`.
    pub fn name_at(&self, shard: usize, name: &str) -> String {
        (0..)
            .map(|number| format!("{name}{number}"))
            .find(|name| usize::from(self.broker.shard_of(name)) == shard)
            .expect("every shard owns some")
    }

    /// Connects a client whose identifier belongs to this shard, and begins with `name`.
    pub fn connect_at(&mut self, shard: usize, version: Version, name: &str) -> Client {
        let name = self.name_at(shard, name);
        self.connect(version, &name)
    }

    /// A CONNECT for a session at this shard that outlives its connections.
    pub fn lasting_at(&self, shard: usize, version: Version, name: &str) -> wire::Connect {
        wire::lasting(version, &self.name_at(shard, name))
    }

    /// How many connections there were.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Holds what a shard says to another from now on.
    pub fn hold(&mut self, from: usize, to: usize) {
        self.links.held.insert((from, to));
    }

    /// Holds what a shard says to all others from now on.
    pub fn hold_all_from(&mut self, from: usize) {
        (0..self.shards()).for_each(|to| self.hold(from, to));
    }

    /// How many messages are held on the way from a shard to another.
    pub fn held(&self, from: usize, to: usize) -> usize {
        self.links.queues.get(&(from, to)).map_or(0, VecDeque::len)
    }

    /// Lets the oldest message go that is held between two shards; false if there is none.
    pub fn release_one(&mut self, from: usize, to: usize) -> bool {
        let queue = self.links.queues.get_mut(&(from, to));
        let Some(message) = queue.and_then(VecDeque::pop_front) else {
            return false;
        };
        self.hand_over(from, to, vec![message]);
        self.settle();
        true
    }

    /// Lets all go that is held between two shards, and does not hold the link any more.
    pub fn release(&mut self, from: usize, to: usize) {
        self.links.held.remove(&(from, to));
        self.settle();
    }

    /// Lets everything go, and holds no link any more.
    pub fn release_all(&mut self) {
        self.links.held.clear();
        self.settle();
    }

    /// Loses what is on its way between two shards.
    pub fn lose(&mut self, from: usize, to: usize) {
        self.links.queues.remove(&(from, to));
    }

    /// Puts a new broker in the place of a shard, as if it had ended and begun anew. Its
    /// connections are gone, and what was on its way to it.
    pub fn replace_shard(&mut self, config: &Config, shard: usize) {
        let broker = self.new_shard(config, shard, self.shards());
        *self.shard_mut(shard) = broker;
        for socket in &mut self.sockets {
            if socket.shard == shard {
                socket.closed = true;
                // The new broker has handles like the old one's.
                socket.id = ConnectionId::default();
            }
        }
        for other in 0..self.shards() {
            self.lose(other, shard);
        }
    }

    /// Connections stay where they were opened from now on, until [`World::move_now`].
    pub fn hold_moves(&mut self) {
        self.links.moves_held = true;
    }

    /// How many messages have gone from shard to shard.
    pub fn delivered(&self) -> u64 {
        self.links.delivered
    }

    /// Moves a client's connection to another shard, if its own gives it away.
    pub fn move_now(&mut self, client: Client, to: usize) -> bool {
        self.links.moves_held = false;
        let moved = self.move_socket(client.0, to);
        self.settle();
        moved
    }

    pub(super) fn move_socket(&mut self, at: usize, to: usize) -> bool {
        if self.links.moves_held {
            return false;
        }
        let (from, id) = (self.sockets[at].shard, self.sockets[at].id);
        let Some(moved) = self.shard_mut(from).take_moved(id) else {
            return false;
        };
        let adopted = self.shard_mut(to).adopt(moved);
        let socket = &mut self.sockets[at];
        match adopted {
            Ok(id) => {
                socket.shard = to;
                socket.id = id;
                // What the other shard wants of it comes as an action.
                socket.read = true;
            }
            Err(_) => socket.closed = true,
        }
        true
    }

    /// Takes what a shard has to say to another.
    pub(super) fn route(&mut self, from: usize, to: usize) {
        let peer = u8::try_from(to).expect("there are few shards");
        let messages = self.shard_mut(from).take_routed(peer);
        let queue = self.links.queues.entry((from, to)).or_default();
        queue.extend(messages);
    }

    /// Carries what is in links that are not held. Returns whether there was anything.
    pub(super) fn deliver(&mut self) -> bool {
        let Links { queues, held, .. } = &mut self.links;
        let links = queues.iter_mut();
        let free = links.filter(|(link, queue)| !queue.is_empty() && !held.contains(link));
        let taken: Vec<_> = free
            .map(|(link, queue)| (*link, queue.drain(..).collect::<Vec<_>>()))
            .collect();
        let is_any = !taken.is_empty();
        for ((from, to), messages) in taken {
            self.hand_over(from, to, messages);
        }
        is_any
    }

    fn hand_over(&mut self, from: usize, to: usize, messages: Vec<PeerMessage>) {
        self.links.delivered += messages.len() as u64;
        let from = u8::try_from(from).expect("there are few shards");
        self.shard_mut(to).peer_received(from, messages);
    }

    /// All messages that the client has got, and packets of that kind among them, which are passed
    /// over.
    #[track_caller]
    pub fn messages_after(&mut self, client: Client, kind: u8) -> Vec<Publish> {
        let version = self.sockets[client.0].version;
        let packets: Vec<_> = std::iter::from_fn(|| self.next(client)).collect();
        let messages = packets.iter().filter(|packet| packet.kind() != kind);
        messages.map(|packet| packet.publish(version)).collect()
    }
}
