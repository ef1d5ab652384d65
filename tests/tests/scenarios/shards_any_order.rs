//! Any order of calls is legal for shards too, and so is whatever reaches them from their peers.
#![allow(clippy::cast_possible_truncation)] // Numbers are small here.

use std::collections::VecDeque;
use std::time::Duration;

use wherry_core::connection::{Closed, ConnectionId, Origin, Transport};
use wherry_core::permission::Grant;
use wherry_core::time::{Instant, WallClock};
use wherry_core::{Action, Broker, Config, Moved, PeerMessage, Place, Resync};
use wherry_tests::random::Random;
use wherry_tests::wire::Version;

use super::any_order::packet;

/// How long sessions live on at most, whatever they ask for.
const EXPIRY: Duration = Duration::from_secs(60);

/// Three shards that nobody runs with care.
struct Chaos {
    random: Random,
    now: Instant,
    brokers: Vec<Broker>,
    connections: Vec<Vec<ConnectionId>>,
    /// What is on its way: from where, and where it should go.
    links: VecDeque<(u8, u8, Vec<PeerMessage>)>,
    moved: Vec<Moved>,
    /// Whether messages go astray, get lost and overtake each other.
    is_wild: bool,
    out: Vec<u8>,
}

impl Chaos {
    fn new(seed: u64, is_wild: bool) -> Self {
        let mut random = Random::new(seed);
        let now = Instant::from_millis(0);
        let config = Config {
            outbox_limit: 1000,
            max_events: 20,
            max_session_expiry: Some(EXPIRY),
            max_queued_messages: 5,
            send_window: 4.try_into().unwrap(),
            link_limit: *random.one_of(&[0, 500, 5000]),
            max_retained: *random.one_of(&[1, 100]),
            ..Config::default()
        };
        let brokers = [0, 1, 2].map(|index| {
            let place = Place::new(index, 3, seed).unwrap();
            let wall_clock = WallClock::from_unix_millis(0);
            Broker::in_place(config.clone(), place, now, wall_clock)
        });
        Self {
            random,
            now,
            brokers: brokers.into(),
            connections: vec![vec![ConnectionId::default()]; 3],
            links: VecDeque::new(),
            moved: Vec::new(),
            is_wild,
            out: Vec::new(),
        }
    }

    fn step(&mut self) {
        let shard = self.random.below(3);
        let id = *self.random.one_of(&self.connections[shard]);
        match self.random.below(40) {
            0..3 => self.open(shard),
            3..20 => {
                let version = *self.random.one_of(&[Version::V5, Version::V3_1_1]);
                let what = self.random.below(24);
                let cut = 1 + self.random.below(80);
                for piece in packet(version, what).chunks(cut) {
                    self.brokers[shard].received(id, piece);
                }
            }
            20..23 => self.brokers[shard].admit(id, Grant::unrestricted()),
            23..25 => {
                let bytes = self.random.below(500);
                let taken = self.brokers[shard].outbox(id).flatten().take(bytes);
                self.out.extend(taken);
                self.brokers[shard].sent(id, bytes);
            }
            25 => self.brokers[shard].closed(id, Closed::EndOfStream),
            26 => {
                let millis = self.random.below(5000) as u64;
                self.now = self.now.after(Duration::from_millis(millis));
                self.brokers[shard].advance(self.now);
            }
            27..31 => self.act(shard),
            31 => self.moved.extend(self.brokers[shard].take_moved(id)),
            32 => self.adopt(shard),
            33 => {
                let peer = self.random.below(4) as u8;
                self.take(shard, peer);
            }
            34 if self.is_wild => self.brokers[shard].peer_down(self.random.below(4) as u8),
            35 if self.is_wild => {
                let resync = *self.random.one_of(&[Resync::Interests, Resync::Everything]);
                self.brokers[shard].peer_up(self.random.below(4) as u8, resync);
            }
            _ => self.carry(),
        }
    }

    fn open(&mut self, shard: usize) {
        let origin = Origin {
            listener: 0,
            transport: Transport::Tcp,
            remote: None,
            local: None,
        };
        let opened = self.brokers[shard].open(origin);
        self.connections[shard].extend(opened.ok());
    }

    fn adopt(&mut self, shard: usize) {
        if let Some(moved) = self.moved.pop() {
            let adopted = self.brokers[shard].adopt(moved);
            self.connections[shard].extend(adopted.ok());
        }
    }

    fn act(&mut self, shard: usize) {
        let Some(action) = self.brokers[shard].poll_action() else {
            return;
        };
        self.out.extend(format!("{action:?}").bytes());
        match action {
            Action::Route(peer) => self.take(shard, peer),
            Action::Move(id, _) => self.moved.extend(self.brokers[shard].take_moved(id)),
            Action::Authenticate(id) => self.brokers[shard].admit(id, Grant::unrestricted()),
            _ => {}
        }
    }

    fn take(&mut self, shard: usize, peer: u8) {
        let messages = self.brokers[shard].take_routed(peer);
        self.out.extend(format!("{messages:?}").bytes());
        self.links.push_back((shard as u8, peer, messages));
    }

    fn carry(&mut self) {
        if self.is_wild && self.random.below(4) == 0 {
            self.links.rotate_left(self.links.len().min(1));
        }
        let Some((from, to, mut messages)) = self.links.pop_front() else {
            return;
        };
        let (mut from, mut to) = (from, to);
        if self.is_wild && self.random.below(10) == 0 {
            from = self.random.below(4) as u8;
            to = self.random.below(3) as u8;
            messages.reverse();
            messages.truncate(3);
        }
        if let Some(broker) = self.brokers.get_mut(usize::from(to)) {
            broker.peer_received(from, messages);
        }
    }

    /// Everybody goes, and with them all that they had.
    fn conclude(&mut self) {
        for shard in 0..3 {
            for id in std::mem::take(&mut self.connections[shard]) {
                self.brokers[shard].closed(id, Closed::EndOfStream);
            }
        }
        self.now = self.now.after(EXPIRY);
        for _ in 0..3 {
            self.brokers.iter_mut().for_each(|it| it.advance(self.now));
            while !self.links.is_empty() {
                self.carry();
            }
        }
        for broker in &self.brokers {
            let counts = (broker.connections(), broker.sessions());
            assert_eq!((counts, broker.subscriptions()), ((0, 0), 0));
            assert_eq!((broker.waiting_bytes(), broker.unparsed_bytes()), (0, 0));
            assert_eq!((broker.queued_messages(), broker.queued_bytes()), (0, 0));
        }
    }
}

fn run(seed: u64, is_wild: bool) -> Vec<u8> {
    let mut chaos = Chaos::new(seed, is_wild);
    for _ in 0..400 {
        chaos.step();
    }
    chaos.conclude();
    chaos.out
}

#[test]
fn no_order_of_calls_and_messages_breaks_a_shard() {
    for seed in 0..2000 {
        run(seed, seed % 2 == 0);
    }
}

#[test]
fn the_same_calls_of_shards_have_the_same_results() {
    for seed in 0..200 {
        assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
    }
}
