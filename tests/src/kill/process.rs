//! The process that is killed, and its disk.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::io::ioctl_fionbio;

use super::options::Options;
use crate::broker::listener;
use crate::power::{self, Loss};
use crate::random::Random;

/// So many of its last lines are told if something is wrong.
const LINES: usize = 40;

/// How many shards a broker has whose number of them is another one at each start.
const MOST_SHARDS: u8 = 4;

/// Where a broker keeps its data, over all its lives.
#[derive(Debug)]
pub(super) struct Disk {
    directory: PathBuf,
    library: PathBuf,
    starts: Cell<u8>,
}

/// What a kill fell into.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Caught {
    /// Something was being written to the journal, or was written and not yet synced.
    pub(super) is_uncommitted: bool,
    /// Syncs in this life of the process.
    pub(super) syncs: u64,
    /// Writes of this life that a loss of power could take.
    pub(super) unsynced: usize,
}

/// A life of the process.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pub(super) log: ChildStderr,
    unread: Vec<u8>,
    lines: VecDeque<String>,
    pub(super) begun: Instant,
    /// Where it listens, once it has said so.
    pub(super) address: Option<SocketAddr>,
    is_over: bool,
}

impl Disk {
    pub(super) fn new(directory: PathBuf) -> Self {
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("data")).expect("there is room");
        Self {
            directory,
            library: power::library(),
            starts: Cell::new(0),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.directory
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts the broker, which says later that it listens.
    pub(super) fn start(&self, options: &Options) -> Process {
        self.starts.set((self.starts.get() + 1) % MOST_SHARDS);
        let shards = options.shards.unwrap_or(self.starts.get() + 1);
        let mut command = Command::new(&options.broker);
        command
            .env("WHERRY_SHARDS", shards.to_string())
            .args(["-l", "tcp://127.0.0.1:0"])
            .env("LD_PRELOAD", &self.library)
            .env("POWER_DIRECTORY", self.file("data"))
            .env("POWER_STATE", self.file("state"))
            .env("POWER_SYNC_US", options.sync_us.to_string())
            .env("POWER_WRITE_US", options.write_us.to_string())
            .env("WHERRY_PERSISTENCE_BACKEND", "sqlite")
            .env("WHERRY_PERSISTENCE_PATH", self.file("data"))
            .env("WHERRY_PERSISTENCE_DURABILITY", &options.durability)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if options.power {
            command.env("POWER_LOG", self.file("log"));
        }
        let begun = Instant::now();
        let spawned = command.spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let log = child.stderr.take().expect("it was asked for");
        ioctl_fionbio(&log, true).expect("it is a pipe");
        Process {
            child,
            log,
            unread: Vec::new(),
            lines: VecDeque::new(),
            begun,
            address: None,
            is_over: false,
        }
    }

    /// Looks into what a kill fell, and lets the power go if that is wanted.
    pub(super) fn after_kill(&self, is_power_lost: bool, random: &mut Random) -> Caught {
        let mut caught = Caught::default();
        // A process that was killed at once has not made the page.
        if let Ok(page) = fs::read(self.file("state"))
            && let ([journal, _, syncs, held_back], _) = page.as_chunks::<8>()
        {
            let [journal, held_back] = [journal, held_back].map(|it| u64::from_ne_bytes(*it));
            caught.is_uncommitted = journal + held_back > 0;
            caught.syncs = u64::from_ne_bytes(*syncs);
            fs::remove_file(self.file("state")).expect("it is there");
        }
        let log = self.file("log");
        if is_power_lost && log.exists() {
            let loss = match random.below(4) {
                0 => Loss::Everything,
                _ => Loss::Some(random.next_u64()),
            };
            caught.unsynced = power::lose(&log, loss).expect("the files are there");
            fs::remove_file(log).expect("it is there");
        }
        caught
    }
}

impl Process {
    /// Reads what it logs; true if it has ended by itself.
    pub(super) fn listen(&mut self) -> bool {
        let mut scratch = [0; 16 << 10];
        loop {
            match self.log.read(&mut scratch) {
                Ok(0) => return true,
                Ok(len) => self.unread.extend(&scratch[..len]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("reading the log: {error}"),
            }
        }
        let end = self.unread.iter().rposition(|byte| *byte == b'\n');
        let whole = end.map_or(0, |end| end + 1);
        for line in self.unread[..whole].split(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(line);
            if self.address.is_none() {
                self.address = listener(&line);
            }
            if !line.is_empty() {
                self.lines.push_back(line.into_owned());
            }
        }
        self.unread.drain(..whole);
        let surplus = self.lines.len().saturating_sub(LINES);
        self.lines.drain(..surplus);
        false
    }

    /// The last lines that it logged.
    pub(super) fn last_lines(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    /// How long it has been there.
    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Kills it, and waits until it is gone.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        if !self.is_over {
            self.child.kill()?;
            self.child.wait()?;
            self.is_over = true;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill(); // It is gone, or was never ours.
    }
}
