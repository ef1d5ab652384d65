//! The shards of a process: what each begins with, how they reach each other, and how they end.
//!
//! Every shard runs on a thread of its own and shares nothing with the others but mailboxes, a few
//! figures that each publishes of itself, and the end: nobody leaves while somebody may still say
//! something.

use std::io;
use std::num::NonZeroU8;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use wherry_core::store::Restored;
use wherry_core::{Config, Holdings, Place};

use crate::clock::Clock;
use crate::config::Settings;
use crate::http::Status;
use crate::listen::Listener;
use crate::mailbox::{Mail, Mailbox};
use crate::seed::seed;
use crate::shard::Handle;
use crate::store::{Opened, Queue, Writer};

/// The shards that a process will have.
#[derive(Debug)]
pub struct Shards {
    config: Config,
    shutdown_timeout: Duration,
    places: Vec<Place>,
    mailboxes: Arc<[Arc<Mailbox<Mail>>]>,
}

/// What a thread needs to become a shard. It can be sent there.
#[derive(Debug)]
pub struct Berth {
    /// Where the shard's connections come from.
    pub listeners: Vec<Listener>,
    pub(crate) config: Config,
    pub(crate) place: Place,
    pub(crate) clock: Clock,
    pub(crate) neighbours: Neighbours,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) restored: Option<Restored>,
    pub(crate) store: Option<Queue>,
}

/// All that there is before the shards run.
#[derive(Debug)]
pub struct Launch {
    /// The shard that runs on the thread which waits for the end.
    pub first: Berth,
    /// The other ones, for a [`Crew`](crate::crew::Crew).
    pub others: Vec<Berth>,
    /// What writes the batches of all, if anything is stored. When it is dropped, after all of them
    /// have ended, it writes what still waits.
    pub writer: Option<Writer>,
}

impl Berth {
    /// The number of the shard.
    pub(crate) fn number(&self) -> u8 {
        self.place.index()
    }
}

impl Shards {
    /// As many shards as `settings` ask for.
    pub fn new(settings: &Settings) -> Self {
        let seed = seed();
        let count = settings.shards.unwrap_or_else(cores).get().min(Place::MOST);
        let place = |index| Place::new(index, count, seed);
        Self {
            config: settings.broker.of_one_shard(count.into()),
            shutdown_timeout: settings.shutdown_timeout,
            places: (0..count).filter_map(place).collect(),
            mailboxes: (0..count).map(|_| Arc::default()).collect(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Which of them has the client with that identifier.
    pub fn owner(&self, client_id: &str) -> usize {
        let owner = self.places.first().map_or(0, |it| it.shard_of(client_id));
        usize::from(owner)
    }

    /// Where each of them gets its mail.
    pub fn mailboxes(&self) -> &[Arc<Mailbox<Mail>>] {
        &self.mailboxes
    }

    /// What stops them.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.mailboxes))
    }

    /// Gives each of them its listeners and its part of what is stored, and begins to write, as
    /// `status` is told.
    ///
    /// # Errors
    ///
    /// If the system has no thread for the store.
    pub fn launch(
        self,
        listeners: Vec<Vec<Listener>>,
        store: Option<Opened>,
        status: &Arc<Status>,
    ) -> io::Result<Launch> {
        let clock = Clock::start();
        let (store, parts) = store.map(|it| (it.store, it.parts)).unzip();
        let writer = store.map(|store| Writer::start(store, Arc::clone(status)));
        let writer = writer.transpose()?;
        let mut parts = parts.into_iter().flatten();
        let mut listeners = listeners.into_iter();
        let common = Arc::new(Common::new(self.count()));
        let berths = self.places.iter().zip(self.mailboxes.iter());
        let mut berths = berths.map(|(place, mailbox)| Berth {
            listeners: listeners.next().unwrap_or_default(),
            config: self.config.clone(),
            place: *place,
            clock,
            neighbours: Neighbours {
                me: place.index().into(),
                mailboxes: Arc::clone(&self.mailboxes),
                common: Arc::clone(&common),
            },
            shutdown_timeout: self.shutdown_timeout,
            restored: parts.next(),
            store: writer.as_ref().map(|it| it.queue(Arc::clone(mailbox))),
        });
        let first = berths.next().ok_or(io::ErrorKind::Unsupported)?;
        Ok(Launch {
            first,
            others: berths.collect(),
            writer,
        })
    }
}

/// How many cores the process may use.
fn cores() -> NonZeroU8 {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    u8::try_from(cores)
        .ok()
        .and_then(NonZeroU8::new)
        .unwrap_or(NonZeroU8::MAX)
}

/// The shards of a process as one of them sees them.
#[derive(Clone, Debug)]
pub struct Neighbours {
    me: usize,
    mailboxes: Arc<[Arc<Mailbox<Mail>>]>,
    common: Arc<Common>,
}

/// What all shards of a process see.
#[derive(Debug)]
struct Common {
    held: Box<[Held]>,
    /// Which shards have nothing to do any more, once it comes to the end.
    at_rest: Mutex<Box<[bool]>>,
    is_over: AtomicBool,
}

/// What one shard holds, on a cache line of its own: it is written far more often than read.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Held {
    connections: AtomicUsize,
    sessions: AtomicUsize,
    queued_bytes: AtomicUsize,
}

impl Common {
    fn new(count: usize) -> Self {
        Self {
            held: (0..count).map(|_| Held::default()).collect(),
            at_rest: Mutex::new(vec![false; count].into()),
            is_over: AtomicBool::new(false),
        }
    }
}

impl Neighbours {
    /// Whether there are any.
    pub(crate) fn are_there(&self) -> bool {
        self.mailboxes.len() > 1
    }

    /// The number of this shard.
    pub(crate) fn me(&self) -> u8 {
        u8::try_from(self.me).unwrap_or(u8::MAX)
    }

    /// This shard's mailbox.
    pub(crate) fn mailbox(&self) -> &Arc<Mailbox<Mail>> {
        &self.mailboxes[self.me]
    }

    /// Gives something to a shard.
    pub(crate) fn send(&self, to: u8, mail: Mail) {
        if let Some(mailbox) = self.mailboxes.get(usize::from(to)) {
            mailbox.push(mail);
        }
    }

    /// Tells the others what this shard holds, and returns what they hold, as it was when they told
    /// it last.
    pub(crate) fn exchange(&self, mine: Holdings) -> Holdings {
        let mut others = Holdings::default();
        for (number, held) in self.common.held.iter().enumerate() {
            if number == self.me {
                held.connections.store(mine.connections, Ordering::Relaxed);
                held.sessions.store(mine.sessions, Ordering::Relaxed);
                held.queued_bytes
                    .store(mine.queued_bytes, Ordering::Relaxed);
            } else {
                others.connections += held.connections.load(Ordering::Relaxed);
                others.sessions += held.sessions.load(Ordering::Relaxed);
                others.queued_bytes += held.queued_bytes.load(Ordering::Relaxed);
            }
        }
        others
    }

    /// This shard, which is to stop, may have something to do. To be said before it looks into its
    /// mailbox.
    pub(crate) fn works(&self) {
        if self.are_there() {
            self.lock()[self.me] = false;
        }
    }

    /// This shard, which is to stop, has nothing more to do by itself. Returns whether that is true
    /// of all, so that nothing comes any more; the last to say so wakes the others.
    pub(crate) fn rests(&self) -> bool {
        if self.common.is_over.load(Ordering::Acquire) {
            return true;
        }
        let mut at_rest = self.lock();
        at_rest[self.me] = true;
        // Whoever is at rest has looked into its mailbox before, and says so before it does again:
        // what is in there now it has not seen.
        let is_over = at_rest.iter().all(|it| *it) && self.mailboxes.iter().all(|it| it.is_empty());
        drop(at_rest);
        if is_over {
            self.common.is_over.store(true, Ordering::Release);
            for mailbox in self.mailboxes.iter() {
                mailbox.push(Mail::Wake);
            }
        }
        is_over
    }

    fn lock(&self) -> MutexGuard<'_, Box<[bool]>> {
        // One assignment at a time: it is always whole.
        self.common
            .at_rest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(count: u8) -> Vec<Neighbours> {
        let settings = Settings {
            shards: NonZeroU8::new(count),
            ..Settings::default()
        };
        let launch = Shards::new(&settings).launch(Vec::new(), None, &Arc::default());
        let Launch { first, others, .. } = launch.unwrap();
        let berths = [first].into_iter().chain(others);
        berths.map(|it| it.neighbours).collect()
    }

    #[test]
    fn each_learns_what_the_others_hold() {
        let shards = shards(3);
        let held = |sessions| Holdings {
            sessions,
            ..Holdings::default()
        };
        assert_eq!(shards[0].exchange(held(1)).sessions, 0);
        assert_eq!(shards[1].exchange(held(10)).sessions, 1);
        assert_eq!(shards[2].exchange(held(100)).sessions, 11);
        assert_eq!(shards[0].exchange(held(2)).sessions, 110);
        assert_eq!(shards[1].exchange(held(10)).sessions, 102);
    }

    #[test]
    fn nobody_leaves_while_something_is_on_its_way() {
        let shards = shards(2);
        assert!(!shards[0].rests());
        shards[1].send(0, Mail::Wake);
        assert!(!shards[1].rests(), "the first has mail");
        shards[0].works();
        shards[0].mailbox().take(&mut Vec::new());
        assert!(!shards[1].rests(), "the first is at it");
        assert!(shards[0].rests());
        assert!(shards[1].rests());
    }
}
