//! Wherry, an MQTT broker, on smol.
//!
//! This library is what the `wherry-smol` binary consists of, for programs that want a broker
//! inside:
//!
//! ```
//! use std::thread;
//! use wherry_smol::{Server, Settings};
//!
//! let settings = Settings {
//!     listen: vec!["tcp://127.0.0.1:0".parse()?],
//!     ..Settings::default()
//! };
//! let server = Server::bind(&settings)?;
//! println!("clients may connect to {:?}", server.local_addrs());
//! let handle = server.handle();
//! let broker = thread::spawn(move || server.run(std::future::pending()));
//!
//! // … until the program ends:
//! handle.stop();
//! let counters = broker.join().expect("the broker does not panic")?;
//! assert_eq!(counters.connections_opened, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A broker runs on a thread of its own. The reactor that it waits in is the one that async-io has
//! for the whole process, so what else the program does with async-io may run on that thread too.

mod listener;
mod shard;
pub mod signal;
mod socket;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::{io, mem};

use thiserror::Error;
use wherry_host::auth::AllowAll;
use wherry_host::crew::{Crew, Ready};
use wherry_host::http::{Http, Status};
use wherry_host::listen::{self, ListenError};
use wherry_host::report;
use wherry_host::shard::Shard;
use wherry_host::shards::{Berth, Shards};
use wherry_host::store::{self, Opened, Store, StoreError};

pub use wherry_host as host;
pub use wherry_host::config::Settings;
pub use wherry_host::core::Counters;
pub use wherry_host::shard::Handle;

use listener::Listener;
use shard::ShardFuture;

/// A broker that has its sockets and does not run yet.
#[derive(Debug)]
pub struct Server {
    shards: Shards,
    /// Those of each shard.
    listeners: Vec<Vec<listen::Listener>>,
    http: Http,
    store: Option<Opened>,
}

/// Why a broker does not run.
#[derive(Debug, Error)]
pub enum ServerError {
    /// A listener could not be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// What was stored cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system did not give what the reactor needs.
    #[error("cannot start: {0}")]
    Reactor(#[from] io::Error),
}

impl Server {
    /// Reads the store, if there is one, and opens the listeners. Clients may connect from now on;
    /// they are served once it runs.
    ///
    /// # Errors
    ///
    /// If the store cannot be used or one of the listeners cannot be opened.
    pub fn bind(settings: &Settings) -> Result<Self, ServerError> {
        Self::bind_with(settings, |it| {
            store::open(&settings.persistence, it.count(), |id| it.owner(id))
        })
    }

    /// As [`bind`](Self::bind), but with a store of the caller's own, whatever the settings say of
    /// persistence.
    ///
    /// # Errors
    ///
    /// If the store cannot be read or one of the listeners cannot be opened.
    pub fn bind_with_store(
        settings: &Settings,
        store: Box<dyn Store>,
    ) -> Result<Self, ServerError> {
        Self::bind_with(settings, |it| {
            store::load(store, it.count(), |id| it.owner(id)).map(Some)
        })
    }

    fn bind_with(
        settings: &Settings,
        read: impl FnOnce(&Shards) -> Result<Option<Opened>, StoreError>,
    ) -> Result<Self, ServerError> {
        let shards = Shards::new(settings);
        // It can be asked while the store is read.
        let http = Http::open(settings.http.as_ref(), shards.mailboxes().to_vec())?;
        let store = read(&shards)?;
        Ok(Self {
            store,
            listeners: listen::open_all(&settings.listen, shards.count())?,
            http,
            shards,
        })
    }

    /// The addresses that clients may connect to.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        let first = self.listeners.iter().take(1).flatten();
        first.map(|one| one.local).collect()
    }

    /// What tells of health and metrics; it does so from now on, if the settings say where.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// What stops this broker while it runs.
    pub fn handle(&self) -> Handle {
        self.shards.handle()
    }

    /// Runs the broker on this thread until it has stopped: because `shutdown` resolved, or because
    /// of [`Handle::stop`]. Returns what it has counted.
    ///
    /// # Errors
    ///
    /// If the system does not give what the reactor needs.
    pub fn run(self, shutdown: impl Future<Output = ()>) -> Result<Counters, ServerError> {
        let (handle, addresses) = (self.handle(), self.local_addrs());
        let status = self.http.status().clone();
        let launch = self.shards.launch(self.listeners, self.store, &status)?;
        let crew = Crew::start(launch.others, handle, serve_other)?;
        let mut counters =
            smol::block_on(serve(launch.first, &crew, &status, &addresses, shutdown))?;
        crew.join(&mut counters)?;
        drop(launch.writer);
        report::log_counters(&counters);
        Ok(counters)
    }
}

/// A shard on the runtime of this thread.
fn shard(mut berth: Berth) -> io::Result<ShardFuture> {
    let listeners = mem::take(&mut berth.listeners).into_iter();
    let listeners: io::Result<_> = listeners.map(Listener::new).collect();
    let shard = Shard::new(berth, listeners?, Arc::new(AllowAll));
    Ok(ShardFuture::new(shard))
}

/// Runs another shard until all have stopped.
fn serve_other(berth: Berth, ready: Ready) -> io::Result<Counters> {
    let shard = shard(berth)?;
    ready.tell();
    Ok(smol::block_on(shard))
}

/// Runs the first shard until all have stopped; `shutdown` stops them.
async fn serve(
    berth: Berth,
    crew: &Crew,
    status: &Status,
    addresses: &[SocketAddr],
    shutdown: impl Future<Output = ()>,
) -> Result<Counters, ServerError> {
    let shard = shard(berth)?;
    // What is stored is restored before anybody is told that the broker is there.
    crew.wait_until_ready();
    status.broker_runs();
    let mut shutdown = pin!(shutdown);
    let bell = poll_fn(|context| Poll::Ready(Bell::new(context.waker()))).await;
    let waker = Waker::from(bell.clone());
    // What `shutdown` sets up when it is first polled, handlers of signals for one, is there
    // before anybody is told that the broker is.
    let mut is_stopping = shutdown
        .as_mut()
        .poll(&mut Context::from_waker(&waker))
        .is_ready();
    listen::announce(addresses);
    if is_stopping {
        crew.stop();
    }
    let mut shard = pin!(shard);
    poll_fn(|context| {
        if !is_stopping && bell.has_rung() {
            let mut context = Context::from_waker(&waker);
            is_stopping = shutdown.as_mut().poll(&mut context).is_ready();
            if is_stopping {
                crew.stop();
            }
        }
        shard.as_mut().poll(context).map(Ok)
    })
    .await
}

/// Tells which of two futures that are polled together was woken. Without it, what waits for a
/// signal would be polled in every turn of the shard, and that is a system call.
#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    both: Waker,
}

impl Bell {
    fn new(both: &Waker) -> Arc<Self> {
        Arc::new(Self {
            rung: AtomicBool::new(false),
            both: both.clone(),
        })
    }

    fn has_rung(&self) -> bool {
        self.rung.swap(false, Ordering::Acquire)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.both.wake_by_ref();
    }
}
