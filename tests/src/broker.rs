//! A broker process under test.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;

/// The system picks the port, and the broker says which.
const FREE_PORT: &str = "tcp://127.0.0.1:0";

/// The program that the suite tests: every test starts its own.
#[derive(Clone, Copy, Debug)]
pub struct BinaryUnderTest {
    /// Where the program lies.
    pub path: &'static str,
    /// How many shards it is to have.
    pub shards: u8,
}

impl BinaryUnderTest {
    /// Starts a broker on a free port.
    pub fn start(&self) -> Broker {
        self.start_with(&[])
    }

    /// Starts a broker on a free port with further arguments.
    pub fn start_with(&self, arguments: &[&str]) -> Broker {
        Broker::start(self.command().args(arguments))
    }

    /// Starts a broker on a free port with these variables in its environment.
    pub fn start_with_variables(&self, variables: &[(&str, &str)]) -> Broker {
        Broker::start(self.command().envs(variables.iter().copied()))
    }

    /// Starts a broker on a free port under a supervisor that wants to be told at this socket.
    pub fn start_supervised(&self, socket: &Path) -> Broker {
        Broker::start(self.command().env("NOTIFY_SOCKET", socket))
    }

    /// Starts a broker that may have only so many files open, sockets included.
    pub fn start_with_open_files(&self, limit: u32) -> Broker {
        let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, self.path, "-l", FREE_PORT]);
        Broker::start(command.env("WHERRY_SHARDS", self.shards.to_string()))
    }

    /// The program as a broker on a free port, with as many shards as the suite is about.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.path);
        command.args(["-l", FREE_PORT]);
        command.env("WHERRY_SHARDS", self.shards.to_string());
        command
    }
}

/// A running broker. Dropping it kills the process; [`Broker::stop`] ends it gracefully.
#[derive(Debug)]
pub struct Broker {
    process: Child,
    log: Arc<Log>,
    address: SocketAddr,
    terminated: bool,
}

/// What is left of a broker that ended gracefully.
#[derive(Debug)]
pub struct Stopped {
    /// How the process ended.
    pub status: ExitStatus,
    /// Every line it logged.
    pub log: Vec<String>,
    /// Its counters at the end; those that are 0 are missing.
    pub counters: BTreeMap<String, u64>,
}

impl Stopped {
    /// The counter of this name.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Lines>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    all: Vec<String>,
    ended: bool,
}

impl Log {
    /// Collects the lines of `source` until it ends.
    fn collect(&self, source: ChildStderr) {
        for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            self.lines.lock().expect("no reader panics").all.push(line);
            self.grown.notify_all();
        }
        self.lines.lock().expect("no reader panics").ended = true;
        self.grown.notify_all();
    }

    /// Waits until `found` finds something; `None` if the log ends or the time is up before.
    fn wait<T>(&self, timeout: Duration, found: impl Fn(&Lines) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + timeout;
        let mut lines = self.lines.lock().expect("no reader panics");
        loop {
            if let Some(found) = found(&lines) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                return None;
            }
            lines = self
                .grown
                .wait_timeout(lines, left)
                .expect("no reader panics")
                .0;
        }
    }
}

impl Broker {
    fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let log = Arc::new(Log::default());
        let source = process.stderr.take().expect("it was asked for");
        let collector = Arc::clone(&log);
        thread::spawn(move || collector.collect(source));
        let address = log.wait(PATIENCE, |lines| {
            lines.all.iter().find_map(|line| listener(line))
        });
        let Some(address) = address else {
            let lines = log.lines.lock().expect("no reader panics").all.join("\n");
            // A process that hangs would outlive the tests.
            process.kill().ok();
            panic!("{command:?} does not say that it listens:\n{lines}");
        };
        Self {
            process,
            log,
            address,
            terminated: false,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many lines it has logged.
    pub fn log_len(&self) -> usize {
        self.log.lines.lock().expect("no reader panics").all.len()
    }

    /// Waits for a line with `needle` in it.
    pub fn wait_for_log(&self, needle: &str, timeout: Duration) -> Option<String> {
        self.wait_for_log_since(0, &[needle], timeout)
    }

    /// Waits for a line, `since` lines into the log or later, that has all `needles` in it.
    pub fn wait_for_log_since(
        &self,
        since: usize,
        needles: &[&str],
        timeout: Duration,
    ) -> Option<String> {
        self.log.wait(timeout, |lines| {
            let fits = |line: &&String| needles.iter().all(|needle| line.contains(needle));
            lines.all[since..].iter().find(fits).cloned()
        })
    }

    /// Waits until the whole log is as `fits` wants it; false if the time is up before.
    pub fn wait_for_log_that(&self, fits: impl Fn(&[String]) -> bool, timeout: Duration) -> bool {
        let fits = |lines: &Lines| fits(&lines.all).then_some(());
        self.log.wait(timeout, fits).is_some()
    }

    /// The lines it has logged from line `since` on.
    pub fn log_since(&self, since: usize) -> Vec<String> {
        self.log.lines.lock().expect("no reader panics").all[since..].to_vec()
    }

    /// The memory it holds now, in bytes.
    pub fn rss_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory it has held at any time, in bytes.
    pub fn peak_rss_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(path).expect("the process lives");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("Linux tells it");
        let kib = line.split_whitespace().next().expect("a number");
        kib.parse::<u64>().expect("a number") << 10
    }

    /// The processor time it has used, in clock ticks (a hundred a second on Linux).
    pub fn cpu_ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.process.id());
        let stat = fs::read_to_string(path).expect("the process lives");
        // The name, in parentheses, may hold anything; the fields are counted after it.
        let (_, fields) = stat.rsplit_once(')').expect("Linux tells it");
        let ticks = |n: usize| -> u64 {
            let field = fields.split_whitespace().nth(n).expect("enough fields");
            field.parse().expect("a number")
        };
        ticks(11) + ticks(12)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).expect("the process lives");
    }

    /// Asks it to end, as a supervisor would, and returns at once. Asks only once: a second signal
    /// would mean that it is in a hurry.
    pub fn terminate(&mut self) {
        if !self.terminated {
            self.signal(Signal::TERM);
            self.terminated = true;
        }
    }

    /// Ends it gracefully and returns what it said.
    pub fn stop(mut self) -> Stopped {
        self.terminate();
        let ended = self.log.wait(PATIENCE, |lines| lines.ended.then_some(()));
        // The log ends when the process does: `wait` below would hang where this fails.
        assert!(
            self.log.lines.lock().expect("no reader panics").ended,
            "{ended:?}: no end"
        );
        let status = self.process.wait().expect("it is our child");
        let log = self.log_since(0);
        let counters = log
            .iter()
            .find(|line| line.contains("counters at the end"))
            .map(|line| line.split_whitespace().filter_map(name_and_value).collect())
            .unwrap_or_default();
        Stopped {
            status,
            log,
            counters,
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        if thread::panicking() {
            let lines = self.log_since(0);
            let shown = &lines[lines.len().saturating_sub(50)..];
            eprintln!("the broker's log, last lines:\n{}", shown.join("\n"));
        }
    }
}

/// The address in a line that says where the broker listens.
pub(crate) fn listener(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on tcp://")?;
    rest.split_whitespace().next()?.parse().ok()
}

fn name_and_value(word: &str) -> Option<(String, u64)> {
    let (name, value) = word.split_once('=')?;
    Some((name.into(), value.trim_end_matches(',').parse().ok()?))
}

/// Runs a program that ends by itself at once, and returns how and what it said.
pub fn run_to_end(path: &str, arguments: &[&str]) -> (ExitStatus, String) {
    let mut command = Command::new(path);
    command.args(arguments);
    run_command_to_end(command)
}

/// Runs a command that ends by itself at once, and returns how and what it said.
pub fn run_command_to_end(mut command: Command) -> (ExitStatus, String) {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (
        output.status,
        String::from_utf8(said).expect("it says UTF-8"),
    )
}
