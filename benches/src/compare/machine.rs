//! Where figures come from, and how they are kept from what is not the brokers'.

use std::num::NonZero;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs, io, thread};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Says that this process has a network of its own already. Wherry would not know what to make of
/// a name that begins as its own do.
const HAS_NETWORK: &str = "BENCHES_NETWORK";

/// Makes the rest of a network namespace, and becomes what follows.
const NETWORK: &str = "ip link set lo up \
     && echo reno >/proc/sys/net/ipv4/tcp_congestion_control && exec \"$0\" \"$@\"";

/// Lets this process, and brokers that it starts, have as many open files as the system allows.
///
/// # Errors
///
/// If the system does not do it.
pub fn raise_limit() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// Becomes the same program in a network of its own, where TCP's congestion control is Reno: with
/// BBR, which some systems have by default, pacing costs the brokers more than their work. Does
/// nothing where that is not possible.
///
/// # Errors
///
/// If it was possible, and yet the program cannot be started.
pub fn use_own_network() -> io::Result<()> {
    if env::var_os(HAS_NETWORK).is_some() {
        return Ok(());
    }
    let unshare = |program| {
        let mut command = Command::new("unshare");
        // Who is not root becomes the root of a user namespace.
        let is_root = rustix::process::geteuid().is_root();
        command.arg(if is_root { "-n" } else { "-rn" });
        command.args(["sh", "-c", NETWORK]).arg(program);
        command
    };
    let mut attempt = unshare("true".into());
    let attempt = attempt.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !attempt.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let mut command = unshare(env::current_exe()?.into_os_string());
    let command = command.args(env::args_os().skip(1)).env(HAS_NETWORK, "own");
    Err(command.exec())
}

/// Processor, cores, kernel, and how TCP is set.
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let processor = model(&cpuinfo).unwrap_or("an unknown processor");
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    let control = read("/proc/sys/net/ipv4/tcp_congestion_control");
    format!(
        "{processor}, {cores} cores, Linux {}, TCP {}",
        kernel.trim(),
        control.trim()
    )
}

/// What a `/proc/cpuinfo` calls the first processor.
fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// Today's date in UTC, as 2026-01-31.
pub fn date() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs());
    date_of(seconds / 86_400)
}

/// The date of a day, counted from 1970-01-01.
fn date_of(mut day: u64) -> String {
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", day + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        let days = [0, 58, 59, 364, 365, 11_016, 11_017, 19_782, 20_819];
        let dates = [
            "1970-01-01",
            "1970-02-28",
            "1970-03-01",
            "1970-12-31",
            "1971-01-01",
            "2000-02-29",
            "2000-03-01",
            "2024-02-29",
            "2027-01-01",
        ];
        assert_eq!(days.map(date_of), dates);
    }

    #[test]
    fn the_processor_is_told_once() {
        let text = "processor\t: 0\nmodel name\t: A: B\n\nprocessor\t: 1\nmodel name\t: C\n";
        assert_eq!(model(text), Some("A: B"));
        assert_eq!(model(""), None);
    }
}
