//! The threads of all shards but the first.

use std::io;
use std::panic;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use wherry_core::Counters;

use crate::shard::Handle;
use crate::shards::Berth;

/// Shards that run on threads of their own. When it is dropped, they are stopped at once.
#[derive(Debug)]
pub struct Crew {
    threads: Vec<JoinHandle<io::Result<Counters>>>,
    ready: Receiver<()>,
    handle: Handle,
}

/// What a thread of a [`Crew`] says when its shard is there: what it had is restored.
#[derive(Debug)]
pub struct Ready(Sender<()>);

impl Ready {
    /// Says it.
    pub fn tell(self) {
        let _ = self.0.send(()); // Nobody waits for it if another one has failed.
    }
}

/// Stops all shards if the thread of one ends by a panic: the others would wait for it for ever.
struct Guard(Handle);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abort();
        }
    }
}

impl Crew {
    /// Starts a thread for each of `berths`, on which `run` runs it; `handle` is what stops all of
    /// them, the first shard included.
    ///
    /// # Errors
    ///
    /// If the system does not have so many threads.
    pub fn start(
        berths: Vec<Berth>,
        handle: Handle,
        run: fn(Berth, Ready) -> io::Result<Counters>,
    ) -> io::Result<Self> {
        let (sender, ready) = channel();
        let mut crew = Self {
            threads: Vec::new(),
            ready,
            handle,
        };
        for berth in berths {
            let (ready, guard) = (Ready(sender.clone()), Guard(crew.handle.clone()));
            let thread = Builder::new().name(format!("shard-{}", berth.number()));
            let thread = thread.spawn(move || {
                let _guard = guard;
                run(berth, ready)
            })?;
            crew.threads.push(thread);
        }
        Ok(crew)
    }

    /// Stops them and the first shard gracefully.
    pub fn stop(&self) {
        self.handle.stop();
    }

    /// Waits until all of them are there, or one cannot be; then the others are stopped, and
    /// [`join`](Self::join) says why.
    pub fn wait_until_ready(&self) {
        for _ in &self.threads {
            if self.ready.recv().is_err() {
                return self.handle.abort();
            }
        }
    }

    /// Waits until all of them have stopped, and adds what they have counted to `counters`.
    ///
    /// # Errors
    ///
    /// What the first said that could not run.
    pub fn join(mut self, counters: &mut Counters) -> io::Result<()> {
        let mut outcome = Ok(());
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(counted)) => counters.add(&counted),
                Ok(Err(error)) => outcome = outcome.and(Err(error)),
                Err(panic) => panic::resume_unwind(panic),
            }
        }
        outcome
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.handle.abort();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // What went wrong first is told.
        }
    }
}
