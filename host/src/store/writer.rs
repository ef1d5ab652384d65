//! The thread that writes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};

use tracing::{error, info, warn};
use wherry_core::store::Batch;

use super::{Cause, Store, StoreError};
use crate::http::Status;
use crate::mailbox::{Mail, Mailbox};

/// How long to wait after a failure, at first and at most: each time it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How many attempts are made once the process is to end.
const LAST_ATTEMPTS: u32 = 2;

/// A store that goes on failing is spoken of this often.
const REMINDER: Duration = Duration::from_secs(60);

/// After so long without a batch there is time to tidy up.
const IDLE: Duration = Duration::from_millis(500);

/// Writes the batches of all shards, on a thread of its own. When it is dropped, it writes what
/// waits, once more if it fails, and ends.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Where a shard puts its batches.
#[derive(Clone, Debug)]
pub struct Queue {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox<Mail>>,
}

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Vec<Waiting>,
    /// Where all shards hear of failures: each is told, whether or not it waits for a batch.
    mailboxes: Vec<Arc<Mailbox<Mail>>>,
    is_closing: bool,
}

/// A batch and the shard that hears of it.
#[derive(Debug)]
struct Waiting {
    batch: Batch,
    mailbox: Arc<Mailbox<Mail>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Hands a batch over. That it is safe, or that the store fails, comes by mail.
    pub fn put(&self, batch: Batch) {
        let mailbox = Arc::clone(&self.mailbox);
        self.shared.lock().waiting.push(Waiting { batch, mailbox });
        self.shared.wake.notify_one();
    }
}

impl Writer {
    /// Begins to write to `store`, which was loaded. How that goes, `status` is told.
    ///
    /// # Errors
    ///
    /// If the system has no thread to give.
    pub fn start(store: Box<dyn Store>, status: Arc<Status>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("store".to_owned());
        let thread = thread.spawn(move || Loop::new(store, status, of_thread).run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Where the shard that reads `mailbox` puts its batches.
    pub fn queue(&self, mailbox: Arc<Mailbox<Mail>>) -> Queue {
        self.shared.lock().mailboxes.push(Arc::clone(&mailbox));
        Queue {
            shared: Arc::clone(&self.shared),
            mailbox,
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // If it has panicked, so has the process.
        }
    }
}

/// What the thread does.
struct Loop {
    store: Box<dyn Store>,
    status: Arc<Status>,
    shared: Arc<Shared>,
    failing: Option<Failing>,
}

/// The store fails.
struct Failing {
    since: Instant,
    /// When that was last said in full.
    said_at: Instant,
    /// What was said since.
    said: Vec<Cause>,
}

impl Loop {
    fn new(store: Box<dyn Store>, status: Arc<Status>, shared: Arc<Shared>) -> Self {
        Self {
            store,
            status,
            shared,
            failing: None,
        }
    }

    fn run(mut self) {
        while let Some(waiting) = self.next() {
            if !self.write(&waiting) {
                return;
            }
            for Waiting { batch, mailbox } in waiting {
                mailbox.push(Mail::Committed(batch.number));
            }
        }
    }

    /// All batches that wait, as soon as there is one; none when it is over.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let shared = Arc::clone(&self.shared);
        let mut is_tidy = false;
        let mut inner = shared.lock();
        loop {
            if !inner.waiting.is_empty() {
                return Some(mem::take(&mut inner.waiting));
            }
            if inner.is_closing {
                return None;
            }
            if is_tidy {
                let woken = shared.wake.wait(inner);
                inner = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let woken = shared.wake.wait_timeout(inner, IDLE);
            let (woken, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            inner = woken;
            // Tidying goes on without a pause, but nothing that waits waits for more than a step.
            while timeout.timed_out() && !is_tidy && inner.waiting.is_empty() && !inner.is_closing {
                drop(inner);
                is_tidy = match self.store.tidy() {
                    Ok(more) => !more,
                    Err(error) => {
                        warn!("{error}");
                        true
                    }
                };
                inner = shared.lock();
            }
        }
    }

    /// Writes until it is done; false if that is given up because the process ends.
    fn write(&mut self, waiting: &[Waiting]) -> bool {
        let batches: Vec<&Batch> = waiting.iter().map(|it| &it.batch).collect();
        let mut pause = FIRST_PAUSE;
        let mut last_attempts = LAST_ATTEMPTS;
        loop {
            // Asked before the attempt, so that one is made after the end was called for.
            let is_closing = self.shared.lock().is_closing;
            match self.store.write(&batches) {
                Ok(()) => {
                    self.succeeded(&batches);
                    return true;
                }
                Err(error) => self.failed(&error),
            }
            last_attempts -= u32::from(is_closing);
            if last_attempts == 0 {
                error!("what waited for the store is not written; nobody was promised that it is");
                return false;
            }
            self.pause(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        let mut inner = self.shared.lock();
        while !inner.is_closing
            && let Some(left) = end.checked_duration_since(Instant::now())
        {
            let woken = self.shared.wake.wait_timeout(inner, left);
            inner = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn succeeded(&mut self, batches: &[&Batch]) {
        let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
        self.status.store_wrote(records as u64);
        if let Some(failing) = self.failing.take() {
            let seconds = failing.since.elapsed().as_secs();
            info!("the store is well again, after {seconds} s; what waited for it is written");
            self.tell_all(|| Mail::StoreWorks);
        }
    }

    fn tell_all(&self, mail: fn() -> Mail) {
        for mailbox in &self.shared.lock().mailboxes {
            mailbox.push(mail());
        }
    }

    fn failed(&mut self, error: &StoreError) {
        self.status.store_fails(&error.to_string());
        self.tell_all(|| Mail::StoreFails);
        let now = Instant::now();
        let cause = error.cause();
        match &mut self.failing {
            None => {
                error!("{error}; trying until it works, and nothing that needs it is acknowledged");
                self.failing = Some(Failing {
                    since: now,
                    said_at: now,
                    said: vec![cause],
                });
            }
            Some(failing) if now.duration_since(failing.said_at) >= REMINDER => {
                failing.said_at = now;
                failing.said = vec![cause];
                let seconds = failing.since.elapsed().as_secs();
                error!("{error}; so it has been for {seconds} s");
            }
            // Another attempt may find out more than the one before.
            Some(failing) if !failing.said.contains(&cause) => {
                failing.said.push(cause);
                error!("{error}");
            }
            Some(_) => {}
        }
    }
}
