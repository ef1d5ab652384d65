//! A process: its shards, what is on its way from one to another, and its store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use wherry_core::store::Batch;
use wherry_core::time::{Instant, WallClock};
use wherry_core::{Broker, PeerMessage, Place};
use wherry_host::driver::{Driver, Handover};
use wherry_host::mailbox::{Mail, Mailbox};

use super::door::Door;
use super::net::SimSocket;
use super::oracle::Turn;
use super::plan::Plan;
use super::schedule::Millis;
use super::stored::Stored;
use crate::random::Random;

/// The time of day when worlds begin.
const EPOCH: u64 = 1_700_000_000_000;

/// One shard: the broker, its driver, and how it is reached.
pub(crate) struct Shard {
    pub(crate) driver: Driver<SimSocket>,
    pub(crate) mailbox: Arc<Mailbox<Mail>>,
    /// What the store has and has not committed, and the turn in which it was taken.
    pub(crate) batch: Option<(Batch, Turn)>,
    /// All that the shard did up to this turn is in the store.
    safe: Turn,
    /// How many messages were queued when it began, for which nobody asked whether there is room.
    pub(crate) queued_at_start: usize,
    /// The store has failed since the last commit.
    pub(crate) is_failing: bool,
}

/// What goes from one shard to another.
#[derive(Debug, Default)]
struct Link {
    on_the_way: VecDeque<Vec<PeerMessage>>,
    sent: u64,
    arrived: u64,
    /// When the last of it arrives.
    arrives: Millis,
}

/// Connections that go to another shard, each with where it comes from.
type Handovers = VecDeque<Handover<SimSocket>>;

/// A process.
pub(crate) struct Process {
    pub(crate) shards: Vec<Shard>,
    links: BTreeMap<(u8, u8), Link>,
    handovers: BTreeMap<u8, Handovers>,
    is_durable: bool,
    wave: Wave,
}

/// Finds out how far what was done in one shard has surely come to all others.
///
/// Everything up to a turn has when the store has what was done up to then, so that nothing waits
/// for that, and when after that the links have carried all that was put into them.
#[derive(Debug, Default)]
struct Wave {
    /// The turn that is asked about.
    upto: Turn,
    /// What has to arrive by each link, once the store has everything.
    marks: Option<Vec<((u8, u8), u64)>>,
}

impl Process {
    /// A process of so many shards, which goes on from what is in the store, if there is one.
    pub(crate) fn start(
        plan: &Plan,
        start: u64,
        shards: usize,
        now: Millis,
        door: &Arc<Door>,
        store: Option<&mut Stored>,
    ) -> Self {
        let seed = plan.seed.wrapping_add(start << 32);
        let place = |index: usize| {
            let [index, count] = [index, shards].map(|it| u8::try_from(it).expect("there are few"));
            Place::new(index, count, seed).expect("there is such a shard")
        };
        let wall_clock = WallClock::from_unix_millis(EPOCH + now);
        let instant = Instant::from_millis(now);
        let is_durable = store.is_some();
        let mut restored = store.map(|stored| {
            let place = place(0);
            let parts = stored.restore(shards, |client_id| usize::from(place.shard_of(client_id)));
            parts.into_iter()
        });
        let shards = (0..shards).map(|index| {
            let config = plan.config.clone();
            let part = restored.as_mut().and_then(Iterator::next);
            let broker = match part {
                Some(part) => Broker::restored(config, place(index), instant, wall_clock, part),
                None => Broker::in_place(config, place(index), instant, wall_clock),
            };
            let mailbox = Arc::new(Mailbox::new());
            let queued_at_start = broker.queued_messages();
            Shard {
                queued_at_start,
                driver: Driver::new(broker, door.clone(), Arc::clone(&mailbox)),
                mailbox,
                batch: None,
                safe: 0,
                is_failing: false,
            }
        });
        Self {
            shards: shards.collect(),
            links: BTreeMap::new(),
            handovers: BTreeMap::new(),
            is_durable,
            wave: Wave::default(),
        }
    }

    /// When some shard has to be told the time.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        // A driver's own deadline is told by turns; it has none without peers that are refused.
        let deadlines = self
            .shards
            .iter()
            .map(|it| it.driver.broker().next_deadline());
        deadlines.flatten().min().map(Instant::as_millis)
    }

    /// Every shard has a turn, in any order. Returns whether there is more to do.
    pub(crate) fn turn(&mut self, now: Millis, random: &mut Random) -> bool {
        let count = self.shards.len();
        let first = match count {
            1 => 0,
            count => random.below(count),
        };
        let mut more = false;
        for index in 0..count {
            let shard = &mut self.shards[(first + index) % count];
            more |= shard.driver.turn(Instant::from_millis(now)).more;
        }
        more
    }

    /// Takes what shards have for each other; `send` is told from where to where, with the time at
    /// which what was sent before arrives, and says when this does.
    pub(crate) fn take_routed(&mut self, mut send: impl FnMut(u8, u8, Millis) -> Millis) {
        for from in 0..self.shards.len() {
            let driver = &mut self.shards[from].driver;
            let from = from as u8;
            loop {
                let routes: Vec<u8> = driver.routes().collect();
                for to in &routes {
                    let messages = driver.take_routed(*to);
                    if messages.is_empty() {
                        continue;
                    }
                    let link = self.links.entry((from, *to)).or_default();
                    link.arrives = send(from, *to, link.arrives);
                    link.on_the_way.push_back(messages);
                    link.sent += 1;
                }
                if routes.is_empty() {
                    break;
                }
            }
        }
    }

    /// What is next on the way from one shard to another arrives. `tell` is told what it is.
    pub(crate) fn arrive(
        &mut self,
        from: u8,
        to: u8,
        now: Millis,
        tell: impl FnOnce(&[PeerMessage]),
    ) {
        if let Some(link) = self.links.get_mut(&(from, to))
            && let Some(messages) = link.on_the_way.pop_front()
        {
            link.arrived += 1;
            tell(&messages);
            let driver = &mut self.shards[usize::from(to)].driver;
            driver.peer_received(Instant::from_millis(now), from, messages);
        }
    }

    /// Takes the connections that go to other shards. Returns where to.
    pub(crate) fn take_handovers(&mut self) -> Vec<u8> {
        let mut to = Vec::new();
        for shard in &mut self.shards {
            for handover in shard.driver.take_handovers() {
                to.push(handover.shard);
                let handovers = self.handovers.entry(handover.shard).or_default();
                handovers.push_back(handover);
            }
        }
        to
    }

    /// The next connection on its way to a shard arrives there. Returns the line, and its handle if
    /// it was taken in.
    pub(crate) fn adopt(
        &mut self,
        to: u8,
        now: Millis,
    ) -> Option<(usize, wherry_core::connection::ConnectionId)> {
        let handover = self.handovers.get_mut(&to)?.pop_front()?;
        let mut line = 0;
        let now = Instant::from_millis(now);
        let driver = &mut self.shards[usize::from(to)].driver;
        let id = driver.adopt(now, handover, |_, socket: SimSocket| {
            line = socket.conn;
            Ok(socket)
        });
        id.ok().map(|id| (line, id))
    }

    /// Takes the batches that wait for the store. Returns which shards they are of.
    pub(crate) fn take_batches(&mut self, turn: Turn) -> Vec<usize> {
        let mut of = Vec::new();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            if shard.batch.is_some() {
                continue;
            }
            if let Some(batch) = shard.driver.take_batch() {
                shard.batch = Some((batch, turn));
                of.push(index);
            } else if shard.driver.broker().uncommitted_bytes() == 0 {
                shard.safe = turn;
            }
        }
        of
    }

    /// The store has the batch of a shard for good.
    pub(crate) fn commit(&mut self, shard: usize, stored: &mut Stored, now: Millis) {
        let shard = &mut self.shards[shard];
        if let Some((batch, turn)) = shard.batch.take() {
            let number = batch.number;
            stored.write(vec![batch]);
            shard.safe = turn;
            shard.is_failing = false;
            shard
                .driver
                .batch_committed(Instant::from_millis(now), number);
        }
    }

    /// Takes what a shard has on its way to the store, which will not hear of it.
    pub(crate) fn abandon(&mut self, shard: usize) -> Option<Batch> {
        let batch = self.shards[shard].batch.take();
        batch.map(|(batch, _)| batch)
    }

    /// Nothing is on its way between shards or to the store.
    pub(crate) fn is_at_rest(&self) -> bool {
        let is_empty =
            |it: &Shard| it.batch.is_none() && it.driver.broker().uncommitted_bytes() == 0;
        self.shards.iter().all(is_empty) && self.links.values().all(|it| it.arrived == it.sent)
    }

    /// What keeps it from being at rest, in words.
    pub(crate) fn unrest(&self) -> String {
        let shards = self.shards.iter().map(|it| {
            let bytes = it.driver.broker().uncommitted_bytes();
            format!(
                "a batch is on its way: {}, bytes that wait: {bytes}",
                it.batch.is_some()
            )
        });
        let shards: Vec<String> = shards.collect();
        format!("shards: {shards:?}, links: {:?}", self.links)
    }

    /// All that was done up to this turn is in the store, if there is one.
    pub(crate) fn safe(&self) -> Turn {
        match self.is_durable {
            true => self.shards.iter().map(|it| it.safe).min().unwrap_or(0),
            false => Turn::MAX,
        }
    }

    /// Up to which turn everything that was done has surely come to all shards.
    pub(crate) fn settled(&mut self, turn: Turn) -> Option<Turn> {
        if self.shards.len() == 1 && !self.is_durable {
            return Some(turn);
        }
        if self.wave.upto == 0 {
            self.wave.upto = turn;
        }
        let safe = self.safe();
        let links = &self.links;
        match &self.wave.marks {
            None if safe >= self.wave.upto => {
                let marks = links.iter().map(|(link, it)| (*link, it.sent));
                self.wave.marks = Some(marks.collect());
                None
            }
            Some(marks)
                if marks
                    .iter()
                    .all(|(link, mark)| links[link].arrived >= *mark) =>
            {
                let upto = std::mem::take(&mut self.wave).upto;
                Some(upto)
            }
            _ => None,
        }
    }

    /// How much there is of something in all shards.
    pub(crate) fn sum(&self, of: impl Fn(&Broker) -> usize) -> usize {
        self.shards.iter().map(|it| of(it.driver.broker())).sum()
    }
}
