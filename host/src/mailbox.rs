//! How the world outside a shard's thread reaches it.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use wherry_core::PeerMessage;
use wherry_core::connection::ConnectionId;

use crate::auth::Decision;
use crate::driver::Handover;
use crate::http::Question;

/// What a shard is told from outside a turn.
#[derive(Debug)]
pub enum Mail {
    /// A socket that was short of bytes or of room has some again.
    Ready(ConnectionId),
    /// Credentials that took their time have been checked.
    Decided(ConnectionId, Decision),
    /// The store has this batch for good.
    Committed(u64),
    /// The store fails, and tries again.
    StoreFails,
    /// A connection whose client belongs to this shard.
    Moved(Box<Handover<OwnedFd>>),
    /// What the broker of another shard has said.
    Peer(u8, Vec<PeerMessage>),
    /// The store does not fail any more.
    StoreWorks,
    /// Somebody wants to know how the shard is.
    Asked(Arc<Question>),
    /// Stop gracefully.
    ShutDown,
    /// Nothing but to be awake.
    Wake,
    /// Stop now.
    Abort,
}

/// A queue with many writers and one reader, which takes everything at once.
///
/// Its lock is held for one push or one swap. Sockets become ready on the shard's own thread, in
/// the runtime's I/O driver, so it is hardly ever contended.
#[derive(Debug)]
pub struct Mailbox<M> {
    inner: Mutex<Inner<M>>,
}

#[derive(Debug)]
struct Inner<M> {
    mail: Vec<M>,
    /// Present while the reader sleeps. Whoever takes it wakes the reader, so a batch costs one
    /// wake-up, and mail that arrives during a turn costs none.
    sleeper: Option<Waker>,
}

impl<M> Default for Mailbox<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> Mailbox<M> {
    /// An empty mailbox.
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                mail: Vec::new(),
                sleeper: None,
            }),
        }
    }

    /// Puts `message` in and wakes the reader if it sleeps.
    pub fn push(&self, message: M) {
        let sleeper = {
            let mut inner = self.lock();
            inner.mail.push(message);
            inner.sleeper.take()
        };
        if let Some(waker) = sleeper {
            waker.wake();
        }
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.lock().mail.is_empty()
    }

    /// Moves everything, oldest first, into `batch`, which must be empty: the two buffers change
    /// places, so that neither is ever allocated anew.
    pub fn take(&self, batch: &mut Vec<M>) {
        debug_assert!(batch.is_empty(), "mail would go back into the box");
        mem::swap(&mut self.lock().mail, batch);
    }

    /// Says that the reader is about to sleep and wants `waker` woken by the next message. Returns
    /// whether it may: `false` if something is there already.
    #[must_use]
    pub fn sleep(&self, waker: &Waker) -> bool {
        let mut inner = self.lock();
        if !inner.mail.is_empty() {
            return false;
        }
        match &mut inner.sleeper {
            Some(sleeper) => sleeper.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Inner<M>> {
        // No code that can panic runs under the lock, so a poisoned one protects sound data.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The waker of one connection: reports it as ready to its shard.
///
/// Runtimes forget a waker when they wake it, and a socket registers it again only when it is next
/// tried, so a connection has at most two reports (reading and writing) under way, and the driver
/// takes those as one.
pub fn connection_waker(id: ConnectionId, mailbox: Arc<Mailbox<Mail>>) -> Waker {
    Waker::from(Arc::new(ConnectionWaker { id, mailbox }))
}

#[derive(Debug)]
struct ConnectionWaker {
    id: ConnectionId,
    mailbox: Arc<Mailbox<Mail>>,
}

impl Wake for ConnectionWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mailbox.push(Mail::Ready(self.id));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_batch_wakes_once_and_keeps_its_order() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mailbox = Mailbox::new();
        assert!(mailbox.sleep(&waker));
        for number in 0..5 {
            mailbox.push(number);
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 1);

        let mut batch = Vec::new();
        mailbox.take(&mut batch);
        assert_eq!(batch, [0, 1, 2, 3, 4]);
        batch.clear();
        mailbox.take(&mut batch);
        assert!(batch.is_empty());
    }

    #[test]
    fn mail_during_a_turn_wakes_nobody_and_forbids_sleep() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mailbox = Mailbox::new();
        mailbox.push(1);
        assert!(!mailbox.sleep(&waker));
        mailbox.push(2);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);

        let mut batch = Vec::new();
        mailbox.take(&mut batch);
        assert!(mailbox.sleep(&waker));
        mailbox.push(3);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_connections_waker_is_small() {
        // Two words for the counts of the Arc, and these.
        assert!(size_of::<ConnectionWaker>() + 2 * size_of::<usize>() <= 48);
    }
}
