//! Health and metrics over HTTP: `/healthz`, `/readyz` and `/metrics`.
//!
//! This is not for the path of messages, so it is blocking and plain: one thread accepts, and each
//! visitor has a thread of its own, is answered once and leaves. Visitors are bounded in number and
//! time; if there are too many, the one who has been there longest goes. Shards are asked only when
//! somebody asks (`survey`).

mod figures;
mod metrics;
mod pages;
mod request;
mod status;
mod survey;
#[cfg(test)]
mod tests;
mod visit;

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{debug, error, info, warn};

use crate::address::ListenAddr;
use crate::listen::{self, ListenError, Listener};
use crate::mailbox::{Mail, Mailbox};

pub use status::Status;
pub use survey::{Answer, Question};

use pages::Pages;
use survey::Survey;

/// How long a shard may take to answer. Those who probe a broker's health mostly wait a second.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(900);

/// How long a visitor may take for its request, and then for taking the answer.
const VISITOR_TIMEOUT: Duration = Duration::from_secs(5);

/// How many may be served at once.
const MOST_VISITORS: usize = 16;

/// How long to leave waiting visitors alone after one could not be accepted.
const PAUSE_AFTER_FAILURE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// What a process tells of itself, and the listener where it does so, if there is one. Dropping it
/// closes that.
#[derive(Debug)]
pub struct Http {
    status: Arc<Status>,
    server: Option<Server>,
}

impl Http {
    /// Listens on `address`, if there is one, and tells of the shards that read `mailboxes`. They
    /// are not asked before [`Status::broker_runs`].
    ///
    /// # Errors
    ///
    /// If the listener cannot be opened.
    pub fn open(
        address: Option<&ListenAddr>,
        mailboxes: Vec<Arc<Mailbox<Mail>>>,
    ) -> Result<Self, ListenError> {
        let status = Arc::<Status>::default();
        let pages = Pages {
            status: status.clone(),
            survey: Survey::new(mailboxes, ANSWER_TIMEOUT),
            started: SystemTime::now(),
        };
        let server = address
            .map(|address| Server::start(address, pages))
            .transpose()?;
        Ok(Self { status, server })
    }

    /// Where to say how the broker is.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// The addresses where it is told.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        let server = self.server.as_ref();
        server.map_or_else(Vec::new, |server| server.local_addrs.clone())
    }
}

/// The thread that accepts.
#[derive(Debug)]
struct Server {
    local_addrs: Vec<SocketAddr>,
    /// The thread ends when the other end of this is gone.
    alive: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(address: &ListenAddr, pages: Pages) -> Result<Self, ListenError> {
        let listeners = listen::open_http(address)?;
        let local_addrs = listeners.iter().map(|one| one.local).collect();
        announce(&listeners);
        let (alive, owner) = UnixStream::pair().map_err(ListenError::Http)?;
        let door = Door {
            listeners,
            owner,
            pages: Arc::new(pages),
            visitors: VecDeque::new(),
        };
        let thread = thread("http", move || door.keep()).map_err(ListenError::Http)?;
        Ok(Self {
            local_addrs,
            alive: Some(alive),
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.alive = None;
        if let Some(thread) = self.thread.take() {
            // It fails if the thread has panicked, which is told already.
            let _ = thread.join();
        }
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(run)
}

/// Logs where the broker can be asked, and who can ask.
fn announce(listeners: &[Listener]) {
    for Listener { local, .. } in listeners {
        info!("health and metrics at http://{local}");
    }
    let mut open = listeners
        .iter()
        .filter(|listener| !listener.local.ip().to_canonical().is_loopback());
    if let Some(Listener { local, .. }) = open.next() {
        warn!(
            "http://{local} is open to other machines and nothing is asked of visitors: anyone who \
             reaches it learns how the broker is and what it counts"
        );
    }
}

/// Where visitors come in.
struct Door {
    listeners: Vec<Listener>,
    owner: UnixStream,
    pages: Arc<Pages>,
    visitors: VecDeque<Visitor>,
}

struct Visitor {
    /// Gone with the visit.
    stream: Weak<TcpStream>,
    thread: JoinHandle<()>,
}

impl Visitor {
    /// What it waits for on its socket ends at once, with it the visit.
    fn send_away(&self) {
        if let Some(stream) = self.stream.upgrade() {
            // A socket that refuses has ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Door {
    /// Lets visitors in until the owner is gone.
    fn keep(mut self) {
        let mut failed = false;
        loop {
            match self.is_over(failed) {
                Ok(false) => {}
                Ok(true) => break,
                Err(error) => {
                    error!("health and metrics are not told any more: {error}");
                    break;
                }
            }
            failed = false;
            for at in 0..self.listeners.len() {
                match self.listeners[at].socket.accept() {
                    Ok((stream, _)) => self.admit(stream),
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionAborted => {}
                        _ => {
                            debug!("cannot accept a visitor for health and metrics: {error}");
                            failed = true;
                        }
                    },
                }
            }
        }
        self.visitors.iter().for_each(Visitor::send_away);
    }

    /// Waits for a visitor, or for a while if one could not be let in. Returns whether the owner is
    /// gone.
    fn is_over(&self, failed: bool) -> io::Result<bool> {
        let mut waited = vec![PollFd::new(&self.owner, PollFlags::IN)];
        if !failed {
            let sockets = self.listeners.iter().map(|listener| &listener.socket);
            waited.extend(sockets.map(|socket| PollFd::new(socket, PollFlags::IN)));
        }
        match poll(&mut waited, failed.then_some(&PAUSE_AFTER_FAILURE)) {
            Ok(_) => Ok(waited
                .first()
                .is_some_and(|owner| !owner.revents().is_empty())),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn admit(&mut self, stream: TcpStream) {
        self.visitors
            .retain(|visitor| !visitor.thread.is_finished());
        if self.visitors.len() >= MOST_VISITORS
            && let Some(oldest) = self.visitors.pop_front()
        {
            oldest.send_away();
            // It may wait for a shard's answer, which takes no longer than `ANSWER_TIMEOUT`.
            let _ = oldest.thread.join();
        }
        let stream = Arc::new(stream);
        let (pages, its_own) = (self.pages.clone(), Arc::downgrade(&stream));
        let serve = move || visit::serve(&stream, &pages, VISITOR_TIMEOUT);
        match thread("http-visitor", serve) {
            Ok(thread) => self.visitors.push_back(Visitor {
                stream: its_own,
                thread,
            }),
            Err(error) => debug!("no thread for a visitor of health and metrics: {error}"),
        }
    }
}
