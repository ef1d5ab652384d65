//! Load for a whole broker: one thread with many clients, far cheaper for each message than the
//! broker is.
//!
//! Each message bears its topic's number and its own, so that whatever is out of order, twice or
//! missing shows at once. A [`Generator`] connects publishers and subscribers of any [`Shape`], has
//! them publish, lets subscribers leave and come again, and returns [`Figures`]; a [`Crowd`] comes
//! and stays, and does nothing, and [`churn`] comes and goes.

mod client;
mod crowd;
mod figures;
mod layout;
mod packets;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use polling::{Event, Events, PollMode, Poller};

use client::Client;

pub use crowd::{Crowd, churn};
pub use figures::{Figures, Percentiles};
pub use layout::Shape;

/// How long to wait for something to read before it is asked whether the time is up.
const TICK: Duration = Duration::from_millis(1);

/// How many clients connect at once where many make a session.
const SIDE_BY_SIDE: usize = 64;

/// How much is read at once.
const READ: usize = 256 << 10;

/// What is put on a broker.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Who publishes where, and who listens.
    pub shape: Shape,
    /// The protocol's version as CONNECT has it: 4 is MQTT 3.1.1.
    pub version: u8,
    /// The quality of service of messages and subscriptions, 0 to 2.
    pub qos: u8,
    /// That of subscriptions, if it is another.
    pub granted: Option<u8>,
    /// Whether messages are retained.
    pub is_retained: bool,
    /// The bytes of a message's payload, 16 at least.
    pub payload: usize,
    /// How many messages of a publisher may be without their acknowledgement. With quality of
    /// service 0, how many may be without having come.
    pub window: usize,
    /// Whether the subscribers' sessions outlive their connections.
    pub is_lasting: bool,
    /// How many messages are published in a second, by all together; as many as go without it.
    pub rate: Option<u32>,
    /// How long to pause between two looks at the sockets, so that neither side is woken for every
    /// single message. Without a meaning if there is a rate.
    pub pause: Duration,
    /// Nothing has come for so long although something is owed: then it will not come. A broker
    /// may take three times as long to let a client in.
    pub stall: Duration,
    /// Whether what does not come is told among the figures, and not an error.
    pub may_lose: bool,
}

impl Default for Load {
    /// Ten pairs that exchange messages of 64 bytes as fast as it goes.
    fn default() -> Self {
        Self {
            shape: Shape::Pairs(10),
            version: 4,
            qos: 1,
            granted: None,
            is_retained: false,
            payload: 64,
            window: 100,
            is_lasting: false,
            rate: None,
            pause: Duration::from_millis(1),
            stall: Duration::from_secs(20),
            may_lose: false,
        }
    }
}

/// How long publishers go on.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// For so long.
    Time(Duration),
    /// Until all together have published so many.
    Messages(u64),
}

/// The clients, and what they have seen.
#[derive(Debug)]
pub struct Generator {
    load: Load,
    address: SocketAddr,
    poller: Poller,
    publishers: Vec<Client>,
    subscribers: Vec<Client>,
    /// The names of clients are told apart by it.
    name: String,
    /// Where sockets are read to.
    scratch: Vec<u8>,
}

impl Generator {
    /// Connects all clients and subscribes. Generators with different names are different clients.
    ///
    /// # Errors
    ///
    /// If the broker is not there, or does not let them in.
    pub fn connect(address: SocketAddr, name: &str, load: Load) -> io::Result<Self> {
        let mut generator = Self {
            load,
            address,
            poller: Poller::new()?,
            publishers: Vec::new(),
            subscribers: Vec::new(),
            name: name.to_owned(),
            scratch: vec![0; READ],
        };
        generator.come_back()?;
        let transient = Load {
            is_lasting: false,
            ..load
        };
        for n in 0..load.shape.publishers() {
            let client_id = format!("{name}-publisher-{n}");
            let mut client = Client::connect(address, &client_id, &transient)?;
            let topics = load.shape.topics_of(n);
            let topics = topics.map(|n| (n, load.shape.topic(name, n)));
            client.publish_on(topics, &load)?;
            generator.watch(&client, n)?;
            generator.publishers.push(client);
        }
        Ok(generator)
    }

    /// Makes the subscribers' sessions and leaves them behind. Many connect side by side, so that
    /// one batch of the store serves many of them.
    ///
    /// # Errors
    ///
    /// If the broker does not let them in.
    pub fn leave_sessions(address: SocketAddr, name: &str, load: Load) -> io::Result<()> {
        let leave = |n| {
            let client_id = format!("{name}-subscriber-{n}");
            let mut client = Client::connect(address, &client_id, &load)?;
            client.subscribe(&load.shape.filters(name, n), &load)?;
            client.disconnect()
        };
        side_by_side(SIDE_BY_SIDE, load.shape.subscribers(), leave)
    }

    /// The subscribers end their connections; what is published from now on waits for them if their
    /// sessions last.
    ///
    /// # Errors
    ///
    /// If the system does not do it.
    pub fn leave(&mut self) -> io::Result<()> {
        for mut client in self.subscribers.drain(..) {
            self.poller.delete(&client.stream)?;
            client.disconnect()?;
        }
        Ok(())
    }

    /// The subscribers connect and subscribe.
    ///
    /// # Errors
    ///
    /// If the broker does not let them in.
    pub fn come_back(&mut self) -> io::Result<()> {
        let load = self.load;
        for n in 0..load.shape.subscribers() {
            let client_id = format!("{}-subscriber-{n}", self.name);
            let mut client = Client::connect(self.address, &client_id, &load)?;
            client.subscribe(&load.shape.filters(&self.name, n), &load)?;
            client.listen(&load)?;
            self.watch(&client, load.shape.publishers() + n)?;
            self.subscribers.push(client);
        }
        Ok(())
    }

    #[expect(
        unsafe_code,
        reason = "sockets are taken from the poller before they are closed"
    )]
    fn watch(&self, client: &Client, key: usize) -> io::Result<()> {
        let interest = Event::readable(key);
        // SAFETY: `leave` and `drop` delete the socket from the poller before it is closed.
        unsafe {
            self.poller
                .add_with_mode(&client.stream, interest, PollMode::Level)
        }
    }

    /// Publishes, and goes on until everything is acknowledged and, where a subscriber is there,
    /// has come.
    ///
    /// # Errors
    ///
    /// If a connection ends, or nothing comes any more although something is owed.
    pub fn publish(&mut self, until: Until) -> io::Result<Figures> {
        let begin = Instant::now();
        let before = self.sums();
        let missing = self.missing();
        self.each_turn(begin, |generator| {
            let published = generator.sums().published - before.published;
            let is_over = match until {
                Until::Time(time) => begin.elapsed() >= time,
                Until::Messages(count) => published >= count,
            };
            if is_over {
                return match generator.is_quiet() {
                    true => Turn::Over,
                    false => Turn::Wait(TICK),
                };
            }
            let mut budget = match until {
                Until::Messages(count) => count - published,
                Until::Time(_) => u64::MAX,
            };
            let publishers = generator.publishers.len();
            // All the same number, however fast each is.
            let quota = match until {
                Until::Messages(count) => (before.published + count).div_ceil(publishers as u64),
                Until::Time(_) => u64::MAX,
            };
            let mut wait = TICK;
            let mut most = u64::MAX;
            if let Some(rate) = generator.load.rate {
                let now = begin.elapsed();
                let due = now.as_secs_f64() * f64::from(rate);
                budget = budget.min((due as u64).saturating_sub(published));
                // In turns, so that a rate below one message a turn reaches all of them.
                most = 1;
                let next = Duration::from_secs_f64((due as u64 + 1) as f64 / f64::from(rate));
                wait = wait.min(next.saturating_sub(now));
            }
            for n in (0..publishers).map(|n| (n + published as usize) % publishers) {
                let unreceived = generator.unreceived(n);
                let publisher = &mut generator.publishers[n];
                let share = budget.min(most).min(quota - publisher.seen.published);
                budget -= publisher.publish(&generator.load, unreceived, share, begin);
            }
            Turn::Wait(wait)
        })?;
        let mut figures = self.figures(before, begin);
        let (lost, repeated) = self.missing();
        figures.lost = lost.saturating_sub(missing.0);
        figures.repeated = repeated.saturating_sub(missing.1);
        Ok(figures)
    }

    /// Takes what the subscribers are owed until they have had `count` messages, all together,
    /// since they came.
    ///
    /// # Errors
    ///
    /// If a connection ends, or nothing comes any more although something is owed.
    pub fn receive(&mut self, count: u64) -> io::Result<Figures> {
        let begin = Instant::now();
        let before = figures::Sums {
            delivered: 0,
            ..self.sums()
        };
        self.each_turn(begin, |it| match it.sums().delivered >= count {
            true => Turn::Over,
            false => Turn::Wait(TICK),
        })?;
        let mut figures = self.figures(before, begin);
        figures.lost = count.saturating_sub(figures.delivered);
        figures.repeated = figures.delivered.saturating_sub(count);
        Ok(figures)
    }

    /// Reads what there is, lets `act` do its part, and writes what is to be written, until `act`
    /// says that it is over, or nothing comes any more.
    fn each_turn(
        &mut self,
        begin: Instant,
        mut act: impl FnMut(&mut Self) -> Turn,
    ) -> io::Result<()> {
        let mut events = Events::new();
        let mut last = Instant::now();
        loop {
            let turn = act(self);
            for client in self.publishers.iter_mut().chain(&mut self.subscribers) {
                client.flush()?;
            }
            let Turn::Wait(wait) = turn else {
                return Ok(());
            };
            events.clear();
            self.poller.wait(&mut events, Some(wait))?;
            for event in events.iter() {
                let client = match event.key.checked_sub(self.publishers.len()) {
                    Some(n) => &mut self.subscribers[n],
                    None => &mut self.publishers[event.key],
                };
                client.read(&mut self.scratch, &self.load, begin)?;
                last = Instant::now();
            }
            if self.load.rate.is_none() {
                thread::sleep(self.load.pause);
            }
            if last.elapsed() > self.load.stall {
                if self.load.may_lose {
                    return Ok(());
                }
                let what = format!("nothing comes any more: {:?}", self.sums());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
        }
    }

    /// How many of a publisher's messages have not come to all to whom they should.
    fn unreceived(&self, publisher: usize) -> u64 {
        let topics = self.publishers[publisher].topics();
        let unreceived = topics.iter().map(|topic| {
            let next = |n: usize| self.subscribers[n].seen.sources[topic.number].next_number;
            let listeners = self.load.shape.listeners(topic.number);
            let slowest = listeners.map(next).min().unwrap_or(topic.published);
            topic.published.saturating_sub(slowest)
        });
        if self.subscribers.is_empty() {
            return 0;
        }
        unreceived.sum()
    }

    /// How many messages have not come to those to whom they should, and how many have come beyond
    /// those that were published.
    fn missing(&self) -> (u64, u64) {
        let (mut lost, mut repeated) = (0, 0);
        for topic in self.publishers.iter().flat_map(Client::topics) {
            for n in self.load.shape.listeners(topic.number) {
                let Some(subscriber) = self.subscribers.get(n) else {
                    return (0, 0);
                };
                let received = subscriber.seen.sources[topic.number].received;
                lost += topic.published.saturating_sub(received);
                repeated += received.saturating_sub(topic.published);
            }
        }
        (lost, repeated)
    }

    fn is_quiet(&self) -> bool {
        let publishers = 0..self.publishers.len();
        self.sums().unacknowledged == 0 && publishers.into_iter().all(|n| self.unreceived(n) == 0)
    }

    fn sums(&self) -> figures::Sums {
        let mut sums = figures::Sums::default();
        for client in self.publishers.iter().chain(&self.subscribers) {
            sums.add(client);
        }
        sums
    }

    fn figures(&mut self, before: figures::Sums, begin: Instant) -> Figures {
        let after = self.sums();
        let mut acknowledged = Vec::new();
        let mut delivered = Vec::new();
        for client in self.publishers.iter_mut() {
            acknowledged.append(&mut client.seen.latencies);
        }
        for client in self.subscribers.iter_mut() {
            delivered.append(&mut client.seen.latencies);
        }
        Figures {
            seconds: begin.elapsed().as_secs_f64(),
            published: after.published - before.published,
            delivered: after.delivered - before.delivered,
            disordered: after.disordered - before.disordered,
            late: after.late - before.late,
            lost: 0,
            repeated: 0,
            acknowledged_after: Percentiles::of(acknowledged),
            delivered_after: Percentiles::of(delivered),
        }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        for client in self.publishers.iter().chain(&self.subscribers) {
            let _ = self.poller.delete(&client.stream);
        }
    }
}

/// Whether to go on.
enum Turn {
    Over,
    /// With what comes, or after so long.
    Wait(Duration),
}

/// Does something `count` times in so many threads, each time with another number.
fn side_by_side(
    threads: usize,
    count: usize,
    act: impl Fn(usize) -> io::Result<()> + Sync,
) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                n if n < count => act(n)?,
                _ => return Ok(()),
            }
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let panicked = |_| io::Error::other("a thread has panicked");
        let outcomes = threads.into_iter().map(|it| it.join().map_err(panicked)?);
        outcomes.collect()
    })
}
