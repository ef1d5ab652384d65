//! How many system calls a broker makes in a turn: what it does between two waits for events.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rustix::process::{Pid, Signal, kill_process};

use super::brokers::Running;
use crate::load::{Generator, Load, Until};
use crate::process::Calls;

/// What reads, what writes and what waits.
const READS: [&str; 4] = ["read", "readv", "recvfrom", "recvmsg"];
const WRITES: [&str; 4] = ["write", "writev", "sendto", "sendmsg"];
const WAITS: [&str; 5] = ["epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll"];

/// How long strace may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// The system calls of a broker, by connection and turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// How often it waited for events.
    pub waits: u64,
    /// Reads of connections.
    pub reads: Kind,
    /// Writes to connections.
    pub writes: Kind,
    /// Reads and writes of anything else: what wakes threads, and timers.
    pub others: u64,
}

/// Calls of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// How many there were.
    pub calls: u64,
    /// In how many turns of connections there was one at least.
    pub turns: u64,
    /// How many there were at most for one connection in one turn.
    pub most: u64,
}

impl Kind {
    fn add(&mut self, calls: u64) {
        self.calls += calls;
        self.turns += u64::from(calls > 0);
        self.most = self.most.max(calls);
    }
}

/// The calls of one thread since it waited: reads and writes of each connection.
type Turn = BTreeMap<u32, [u64; 2]>;

impl Turns {
    /// Of what strace has written.
    fn of(trace: &str) -> Self {
        let mut turns = Self::default();
        let mut threads: BTreeMap<&str, Turn> = BTreeMap::new();
        for line in trace.lines() {
            // What goes on after an interruption was counted when it began.
            let Some((thread, name, arguments)) = call(line) else {
                continue;
            };
            let turn = threads.entry(thread).or_default();
            if WAITS.contains(&name) {
                turns.waits += 1;
                turns.end(std::mem::take(turn));
            } else if let Some(fd) = socket(arguments) {
                let is_write = WRITES.contains(&name);
                turn.entry(fd).or_default()[usize::from(is_write)] += 1;
            } else {
                turns.others += 1;
            }
        }
        for turn in threads.into_values() {
            turns.end(turn);
        }
        turns
    }

    fn end(&mut self, turn: Turn) {
        for [reads, writes] in turn.into_values() {
            self.reads.add(reads);
            self.writes.add(writes);
        }
    }
}

/// Thread, name and arguments of a call that reads, writes or waits.
fn call(line: &str) -> Option<(&str, &str, &str)> {
    let (thread, rest) = line.trim_start().split_once(' ')?;
    let (name, arguments) = rest.trim_start().split_once('(')?;
    let mut names = READS.iter().chain(&WRITES).chain(&WAITS);
    names
        .any(|it| *it == name)
        .then_some((thread, name, arguments))
}

/// The socket that a call is about.
fn socket(arguments: &str) -> Option<u32> {
    let (fd, rest) = arguments.split_once('<')?;
    let fd = fd.parse().ok()?;
    rest.starts_with("socket:").then_some(fd)
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// By Linux itself, which leaves `recv` and `send` out.
    pub calls: Calls,
    /// How many messages were delivered meanwhile.
    pub messages: u64,
    /// By strace, if it is installed, which slows a broker down.
    pub turns: Option<Turns>,
    /// How many messages were delivered meanwhile.
    pub traced_messages: u64,
}

/// Puts a load on a broker and counts its calls; `directory` is where strace may write.
///
/// # Errors
///
/// If a connection ends, or strace is not allowed to look.
pub fn count_calls(
    running: &Running,
    load: Load,
    time: Duration,
    directory: &Path,
) -> io::Result<Counted> {
    let process = &running.process;
    let mut clients = Generator::connect(process.address(), "t", load)?;
    clients.publish(Until::Time(Duration::from_millis(100)))?;
    let before = process.calls()?;
    let figures = clients.publish(Until::Time(time))?;
    let after = process.calls()?;
    let mut counted = Counted {
        calls: Calls {
            reads: after.reads - before.reads,
            writes: after.writes - before.writes,
        },
        messages: figures.delivered,
        ..Counted::default()
    };
    let path = directory.join("trace");
    let mut command = Command::new("strace");
    let names: Vec<_> = READS.iter().chain(&WRITES).chain(&WAITS).copied().collect();
    command.args(["-f", "-y", "-s", "0", "-o"]).arg(&path);
    command.args(["-e", &format!("trace={}", names.join(","))]);
    command.args(["-p", &process.id().to_string()]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let mut tracer = match command.spawn() {
        Ok(tracer) => tracer,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(counted),
        Err(error) => return Err(error),
    };
    let outcome = attached(&mut tracer, process.id()).and_then(|()| {
        let figures = clients.publish(Until::Time(time))?;
        Ok(figures.delivered)
    });
    // Only if it is asked to does it let the broker go.
    let id = i32::try_from(tracer.id()).ok().and_then(Pid::from_raw);
    if let Some(id) = id {
        let _ = kill_process(id, Signal::INT);
    }
    tracer.wait()?;
    counted.traced_messages = outcome?;
    counted.turns = Some(Turns::of(&fs::read_to_string(path)?));
    Ok(counted)
}

/// Waits until all threads of a process are looked at.
fn attached(tracer: &mut Child, id: u32) -> io::Result<()> {
    let begin = Instant::now();
    loop {
        let mut threads = fs::read_dir(format!("/proc/{id}/task"))?;
        let is_traced = threads.all(|thread| {
            let status = thread.and_then(|it| fs::read_to_string(it.path().join("status")));
            status.is_ok_and(|it| !it.contains("TracerPid:\t0\n"))
        });
        if is_traced {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE || tracer.try_wait()?.is_some() {
            let what = "strace is not allowed to look at the broker";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_connection_and_turn() {
        let trace = "\
7 epoll_wait(3<anon_inode:[eventpoll]>, [{events=EPOLLIN}], 1024, -1) = 2
7 recvfrom(9<socket:[5]>, \"\"..., 65536, 0, NULL, NULL) = 900
7 recvfrom(10<socket:[6]>, \"\"..., 65536, 0, NULL, NULL) = 900
7 recvfrom(10<socket:[6]>, 0x7f, 65536, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily)
8 epoll_wait(4<anon_inode:[eventpoll]>,  <unfinished ...>
7 writev(9<socket:[5]>, [{\"\"..., 9}], 1 <unfinished ...>
8 <... epoll_wait resumed>, [], 1024, -1) = 1
8 sendto(10<socket:[6]>, \"\"..., 4, 0, NULL, 0) = 4
7 <... writev resumed>) = 9
7 write(5<anon_inode:[eventfd]>, \"\"..., 8) = 8
7 epoll_wait(3<anon_inode:[eventpoll]>, [], 1024, -1) = 0
7 read(9<socket:[5]>, \"\"..., 4) = 4
8 +++ exited with 0 +++
";
        let kind = |calls, turns, most| Kind { calls, turns, most };
        let expected = Turns {
            waits: 3,
            reads: kind(4, 3, 2),
            writes: kind(2, 2, 1),
            others: 1,
        };
        assert_eq!(Turns::of(trace), expected);
    }

    #[test]
    fn nothing_is_counted_where_nothing_was_called() {
        assert_eq!(Turns::of(""), Turns::default());
        assert_eq!(Turns::of("7 close(9<socket:[5]>) = 0\n"), Turns::default());
    }
}
