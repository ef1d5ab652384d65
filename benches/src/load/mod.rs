//! Load for a whole broker: one thread with many clients, far cheaper for each message than the
//! broker is.
//!
//! Publishers and subscribers come in pairs with a topic of their own, so that whatever is out of
//! order, twice or missing shows at once. A [`Generator`] connects them, lets them publish, lets
//! subscribers leave and come again, and returns [`Figures`].

mod client;
mod figures;
mod packets;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use polling::{Event, Events, PollMode, Poller};

use client::Client;

pub use figures::{Figures, Percentiles};

/// Nothing has come for so long although something is owed: then it will not come.
const STALL: Duration = Duration::from_secs(20);

/// How long to wait for something to read before it is asked whether the time is up.
const TICK: Duration = Duration::from_millis(1);

/// How many clients connect at once where many make a session.
const SIDE_BY_SIDE: usize = 64;

/// What is put on a broker.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many publishers there are, and how many subscribers: one each to a topic.
    pub pairs: usize,
    /// The quality of service of messages and subscriptions, 0 to 2.
    pub qos: u8,
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
}

impl Default for Load {
    /// Ten pairs that exchange messages of 64 bytes as fast as it goes.
    fn default() -> Self {
        Self {
            pairs: 10,
            qos: 1,
            payload: 64,
            window: 100,
            is_lasting: false,
            rate: None,
            pause: Duration::from_millis(1),
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
        };
        generator.come_back()?;
        for n in 0..load.pairs {
            let client_id = format!("{name}-publisher-{n}");
            let mut client = Client::connect(address, &client_id, &topic(name, n), false)?;
            client.begin(&load)?;
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
            let topic = topic(name, n);
            let mut client = Client::connect(address, &client_id, &topic, load.is_lasting)?;
            client.subscribe(load.qos)?;
            client.disconnect()
        };
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..SIDE_BY_SIDE)
                .map(|_| {
                    scope.spawn(|| {
                        loop {
                            match next.fetch_add(1, Ordering::Relaxed) {
                                n if n < load.pairs => leave(n)?,
                                _ => return Ok(()),
                            }
                        }
                    })
                })
                .collect();
            let panicked = |_| io::Error::other("a thread has panicked");
            let outcomes = threads.into_iter().map(|it| it.join().map_err(panicked)?);
            outcomes.collect()
        })
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
        for n in 0..self.load.pairs {
            let client_id = format!("{}-subscriber-{n}", self.name);
            let topic = topic(&self.name, n);
            let is_lasting = self.load.is_lasting;
            let mut client = Client::connect(self.address, &client_id, &topic, is_lasting)?;
            client.subscribe(self.load.qos)?;
            client.begin(&self.load)?;
            self.watch(&client, self.load.pairs + n)?;
            self.subscribers.push(client);
        }
        Ok(())
    }

    #[expect(
        unsafe_code,
        reason = "sockets are taken from the poller before they are closed"
    )]
    fn watch(&self, client: &Client, key: usize) -> io::Result<()> {
        client.stream.set_nonblocking(true)?;
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
        let mut due = 0.0;
        self.each_turn(begin, |generator| {
            let published = generator.sums().published - before.published;
            let is_over = match until {
                Until::Time(time) => begin.elapsed() >= time,
                Until::Messages(count) => published >= count,
            };
            if is_over {
                return generator.is_quiet();
            }
            let mut budget = match until {
                Until::Messages(count) => count - published,
                Until::Time(_) => u64::MAX,
            };
            if let Some(rate) = generator.load.rate {
                due = begin.elapsed().as_secs_f64() * f64::from(rate);
                budget = budget.min((due as u64).saturating_sub(published));
            }
            let has_subscribers = !generator.subscribers.is_empty();
            let start = published as usize;
            for n in 0..generator.load.pairs {
                // In turns, so that a rate below one message a turn reaches all of them.
                let n = (start + n) % generator.load.pairs;
                let received = generator
                    .subscribers
                    .get(n)
                    .map_or(0, |it| it.seen.next_number);
                let share = match generator.load.rate {
                    Some(_) => budget.min(1),
                    None => budget,
                };
                let received = has_subscribers.then_some(received);
                budget -= generator.publishers[n].publish(&generator.load, received, share, begin);
            }
            false
        })?;
        Ok(self.figures(before, begin))
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
        self.each_turn(begin, |it| it.sums().delivered >= count)?;
        Ok(self.figures(before, begin))
    }

    /// Reads what there is, lets `act` do its part, and writes what is to be written, until `act`
    /// says that it is over.
    fn each_turn(
        &mut self,
        begin: Instant,
        mut act: impl FnMut(&mut Self) -> bool,
    ) -> io::Result<()> {
        let mut events = Events::new();
        let mut unsent = BTreeSet::new();
        let mut last = Instant::now();
        loop {
            let is_over = act(self);
            for (key, client) in self.clients().enumerate() {
                if client.has_output() && !client.flush()? {
                    unsent.insert(key);
                }
            }
            if is_over {
                return Ok(());
            }
            events.clear();
            self.poller.wait(&mut events, Some(TICK))?;
            for event in events.iter() {
                let (pairs, key) = (self.load.pairs, event.key);
                let client = match key.checked_sub(pairs) {
                    Some(n) => &mut self.subscribers[n],
                    None => &mut self.publishers[key],
                };
                client.read(&self.load, begin)?;
                last = Instant::now();
            }
            if self.load.rate.is_none() {
                thread::sleep(self.load.pause);
            }
            if last.elapsed() > STALL {
                let what = format!("nothing comes any more: {:?}", self.sums());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
        }
    }

    fn clients(&mut self) -> impl Iterator<Item = &mut Client> {
        self.publishers.iter_mut().chain(&mut self.subscribers)
    }

    fn is_quiet(&self) -> bool {
        let sums = self.sums();
        let is_delivered = self.subscribers.is_empty() || {
            let pairs = self.publishers.iter().zip(&self.subscribers);
            pairs
                .clone()
                .all(|(from, to)| to.seen.next_number >= from.seen.published)
        };
        sums.unacknowledged == 0 && is_delivered
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

fn topic(name: &str, n: usize) -> String {
    format!("load/{name}/{n}")
}
