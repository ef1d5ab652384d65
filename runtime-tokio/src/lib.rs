//! Wherry, an MQTT broker, on Tokio.
//!
//! This library is what the `wherry` binary consists of, for programs that want a broker inside:
//!
//! ```
//! use std::thread;
//! use wherry::{Server, Settings};
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
//! A broker runs on a thread of its own with a Tokio runtime of its own, so it neither slows nor is
//! slowed by what else the program does.

mod listener;
mod shard;
pub mod signal;
mod socket;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::{io, mem};

use thiserror::Error;
use tokio::runtime::Builder;
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
    /// The system did not give what a Tokio runtime needs.
    #[error("cannot start: {0}")]
    Runtime(#[from] io::Error),
    /// The shard's task was ended by somebody else than the broker.
    #[error("the broker was ended from outside: {0}")]
    Task(#[from] tokio::task::JoinError),
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
    /// It brings its own Tokio runtime and must not be called inside of another.
    ///
    /// # Errors
    ///
    /// If the system does not give what a runtime needs.
    pub fn run(self, shutdown: impl Future<Output = ()>) -> Result<Counters, ServerError> {
        let (handle, addresses) = (self.handle(), self.local_addrs());
        let status = self.http.status().clone();
        let launch = self.shards.launch(self.listeners, self.store, &status)?;
        let crew = Crew::start(launch.others, handle, serve_other)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut counters =
            runtime.block_on(serve(launch.first, &crew, &status, &addresses, shutdown))?;
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
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let shard = shard(berth)?;
        ready.tell();
        Ok(tokio::spawn(tokio::task::unconstrained(shard)).await?)
    })
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
    let mut is_stopping = false;
    // What `shutdown` sets up when it is first polled, handlers of signals for one, is there
    // before anybody is told that the broker is.
    poll_fn(|context| {
        is_stopping = shutdown.as_mut().poll(context).is_ready();
        Poll::Ready(())
    })
    .await;
    listen::announce(addresses);
    if is_stopping {
        crew.stop();
    }
    // A task of its own is woken by a push to the runtime's local queue. The budget that Tokio
    // gives a task would make sockets pretend that they are not ready; the driver has a bound
    // of its own, one read for each connection and turn.
    let mut shard = pin!(tokio::spawn(tokio::task::unconstrained(shard)));
    poll_fn(|context| {
        if !is_stopping && shutdown.as_mut().poll(context).is_ready() {
            is_stopping = true;
            crew.stop();
        }
        shard.as_mut().poll(context).map_err(ServerError::from)
    })
    .await
}
