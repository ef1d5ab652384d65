//! What Linux tells about a process.

use std::time::Duration;
use std::{fs, io};

/// How much processor time Linux counts as one.
const TICK: Duration = Duration::from_millis(10);

/// The processor time that a process has used since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessorTime {
    /// Of the threads that it has, to the nanosecond.
    threads: Duration,
    /// Of all that it ever had, in ticks.
    user: Duration,
    system: Duration,
}

impl ProcessorTime {
    pub(super) fn of(id: u32) -> io::Result<Self> {
        let mut threads = Duration::ZERO;
        for thread in fs::read_dir(format!("/proc/{id}/task"))? {
            // It may end while it is looked at, and a kernel may not tell.
            let text = fs::read_to_string(thread?.path().join("schedstat"));
            threads += nanoseconds(&text.unwrap_or_default()).unwrap_or_default();
        }
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        let (user, system) = ticks(&stat).unwrap_or_default();
        Ok(Self {
            threads,
            user,
            system,
        })
    }

    /// What was used since `earlier`.
    pub fn since(self, earlier: Self) -> Duration {
        let threads = self.threads.saturating_sub(earlier.threads);
        let before = earlier.user + earlier.system;
        let ticks = (self.user + self.system).saturating_sub(before);
        // Threads that have ended are only in the ticks, each of which may be short of two.
        if ticks > threads + 4 * TICK {
            ticks
        } else {
            threads
        }
    }

    /// What was used since `earlier` outside the kernel, in steps of 10 ms.
    pub fn user_since(self, earlier: Self) -> Duration {
        self.user.saturating_sub(earlier.user)
    }
}

/// User and system time of a `/proc/PID/stat`.
fn ticks(stat: &str) -> Option<(Duration, Duration)> {
    // The name, in parentheses, may hold anything; the fields are counted after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || Some(TICK * fields.next()?.parse::<u32>().ok()?);
    Some((next()?, next()?))
}

/// The time on a processor of a `/proc/PID/task/TID/schedstat`.
fn nanoseconds(schedstat: &str) -> Option<Duration> {
    let first = schedstat.split_whitespace().next()?;
    first.parse().ok().map(Duration::from_nanos)
}

/// The resident memory of a `/proc/PID/status`, in bytes.
pub(super) fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// How often a process has called `read` and its like, and `write`. Linux does not count `recv` and
/// `send` among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// `read`, `readv` and the like.
    pub reads: u64,
    /// `write`, `writev` and the like.
    pub writes: u64,
}

/// The calls of a `/proc/PID/io`.
pub(super) fn calls(io: &str) -> Option<Calls> {
    let field = |name| {
        let value = io.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().parse().ok()
    };
    Some(Calls {
        reads: field("syscr:")?,
        writes: field("syscw:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(threads: u64, user: u64, system: u64) -> ProcessorTime {
        let [threads, user, system] = [threads, user, system].map(Duration::from_millis);
        ProcessorTime {
            threads,
            user,
            system,
        }
    }

    #[test]
    fn ticks_are_found_after_any_name() {
        let stat = "7 (a) (b 1 2) S 1 7 7 0 -1 4194560 900 0 3 0 12 34 5 6 20 0 4 0 99";
        let expected = (Duration::from_millis(120), Duration::from_millis(340));
        assert_eq!(ticks(stat), Some(expected));
        assert_eq!(ticks(""), None);
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn time_on_a_processor_comes_first() {
        let expected = Duration::from_nanos(1_320_553);
        assert_eq!(nanoseconds("1320553 6083748 2\n"), Some(expected));
        assert_eq!(nanoseconds(""), None);
    }

    #[test]
    fn resident_memory_is_told_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    9 kB\nVmRSS:\t    2044 kB\n";
        assert_eq!(resident(status), Some(2044 << 10));
        assert_eq!(resident("Name:\tzombie\n"), None);
    }

    #[test]
    fn calls_are_told_from_bytes() {
        let io = "rchar: 323934\nwchar: 5\nsyscr: 632\nsyscw: 11\nread_bytes: 0\n";
        let expected = Calls {
            reads: 632,
            writes: 11,
        };
        assert_eq!(calls(io), Some(expected));
        assert_eq!(calls("rchar: 1\n"), None);
    }

    #[test]
    fn what_threads_used_counts_to_the_nanosecond() {
        let used = time(1003, 700, 290).since(time(500, 300, 190));
        assert_eq!(used, Duration::from_millis(503));
    }

    #[test]
    fn threads_that_have_ended_count_too() {
        let used = time(100, 700, 300).since(time(500, 200, 100));
        assert_eq!(used, Duration::from_millis(700));
    }

    #[test]
    fn user_time_is_told_from_system_time() {
        let used = time(0, 700, 300).user_since(time(0, 200, 100));
        assert_eq!(used, Duration::from_millis(500));
    }
}
