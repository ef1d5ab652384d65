//! The clients, the process, and the time between two kills.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::actor::Actor;
use super::cast;
use super::figures::Figures;
use super::link::{Leaving, Link};
use super::options::Options;
use super::process::{Disk, Process};
use super::record::Record;
use crate::wire::{Received, kind};

/// What must happen has happened after so long, on any machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is owed will not come if nothing at all has come for so long.
const SILENCE: Duration = Duration::from_secs(20);

/// So long after enough is acknowledged the broker is killed at the latest.
const LATEST_KILL: usize = 30_000;

/// So much of what is missing is told.
const MOST_MISSING: usize = 5;

/// Clients that act by the clock are asked so often.
const TICK: Duration = Duration::from_millis(2);

/// A client and its connection.
struct Seat {
    actor: Box<dyn Actor>,
    link: Option<Link>,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.actor.name())
    }
}

/// All there is.
#[derive(Debug)]
pub(super) struct World<'a> {
    options: &'a Options,
    disk: Disk,
    process: Process,
    record: Record,
    seats: Vec<Seat>,
}

impl<'a> World<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        let directory = options.data.clone().unwrap_or_else(temporary);
        let disk = Disk::new(directory);
        let mut record = Record::new(options.seed);
        let seats = cast::all(&mut record).into_iter();
        Self {
            process: disk.start(options),
            options,
            disk,
            record,
            seats: seats.map(|actor| Seat { actor, link: None }).collect(),
        }
    }

    /// Everything, cycle by cycle. `say` is told how it goes.
    pub(super) fn live(&mut self, say: &mut dyn FnMut(&str)) {
        let end = Instant::now().checked_add(self.options.time);
        while self.record.figures.cycles < self.options.cycles
            && end.is_none_or(|end| Instant::now() < end)
        {
            self.record.figures.cycles += 1;
            self.cycle();
            if self.is_broken() {
                return;
            }
            let cycles = self.record.figures.cycles;
            if cycles.is_multiple_of(self.options.every) {
                say(&self.record.figures.to_string());
            }
            if cycles.is_multiple_of(self.options.drain_every) {
                self.drain();
                if self.is_broken() {
                    return;
                }
            }
        }
        self.drain();
    }

    fn is_broken(&self) -> bool {
        !self.record.violations.is_empty()
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.record.figures
    }

    pub(super) fn violations(&self) -> &[String] {
        &self.record.violations
    }

    /// Where the data is, and what the process said last.
    pub(super) fn remains(&self) -> (PathBuf, String) {
        (self.disk.path().into(), self.process.last_lines())
    }

    /// Load until enough is acknowledged, a kill, and perhaps another while the broker recovers.
    fn cycle(&mut self) {
        self.record.acked_in_cycle = 0;
        let enough = self.options.acknowledged;
        self.until("enough is acknowledged", |world| {
            world.record.acked_in_cycle >= enough && world.is_checked()
        });
        let time = self.record.random.below(LATEST_KILL) as u64;
        self.turns_for(Duration::from_micros(time));
        if self.is_broken() {
            return;
        }
        let acked = self.record.acked_in_cycle;
        let is_uncommitted = self.kill();
        let figures = &mut self.record.figures;
        let fewest = figures.fewest_acknowledged.unwrap_or(acked);
        figures.fewest_acknowledged = Some(fewest.min(acked));
        figures.kills += 1;
        figures.kills_uncommitted += u32::from(is_uncommitted);
        self.process = self.disk.start(self.options);
        if self.record.random.below(5) == 0 {
            let most = figures_in_micros(self.record.figures.mean_to_ready()) * 3 / 2;
            let time = self.record.random.below(most.max(1)) as u64;
            self.turns_for(Duration::from_micros(time));
            if self.process.address.is_some() {
                self.record.figures.kills_after_recovery += 1;
            } else {
                self.record.figures.kills_in_recovery += 1;
            }
            self.kill();
            self.process = self.disk.start(self.options);
        }
    }

    /// Lets everything come that is owed.
    fn drain(&mut self) {
        self.record.is_draining = true;
        let mut progress = self.record.figures.progress();
        let mut deadline = Instant::now() + SILENCE;
        loop {
            self.turns_for(TICK * 5);
            if self.record.figures.progress() > progress {
                progress = self.record.figures.progress();
                deadline = Instant::now() + SILENCE;
            }
            if self.is_broken() {
                return;
            }
            let missing = self.missing(MOST_MISSING);
            if missing.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                for what in missing {
                    self.record.figures.lost += 1;
                    self.record.violated(&format!("LOST: {what}"));
                }
                return;
            }
        }
        self.record.forget();
        self.record.is_draining = false;
    }

    /// What is still to come, if nothing new is published.
    fn missing(&mut self, most: usize) -> Vec<String> {
        let mut missing = Vec::new();
        for seat in &mut self.seats {
            let left = most - missing.len();
            if left > 0 {
                missing.extend(seat.actor.missing(&self.record, left));
            }
        }
        missing.truncate(most);
        missing
    }

    /// Whether the client that looks at retained messages has seen what it must.
    fn is_checked(&mut self) -> bool {
        let mut seats = self.seats.iter_mut();
        seats.all(|seat| {
            seat.actor.name() != cast::CHECKER || seat.actor.missing(&self.record, 1).is_empty()
        })
    }

    /// Goes on until something is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_broken() && !is_so(self) {
            self.turn(TICK);
            if Instant::now() >= deadline {
                let acked = self.record.acked_in_cycle;
                let missing = self.missing(MOST_MISSING).join("\n    ");
                self.record.violated(&format!(
                    "STUCK: not yet so that {what}; {acked} are acknowledged in this cycle; \
                     waited for now:\n    {missing}"
                ));
            }
        }
    }

    /// Goes on for a time.
    fn turns_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now())
            && !left.is_zero()
        {
            self.turn(left.min(TICK));
        }
    }

    /// Kills the broker. Whether a batch was uncommitted.
    fn kill(&mut self) -> bool {
        self.process.kill().expect("it is our child");
        for seat in &mut self.seats {
            if let Some(mut link) = seat.link.take() {
                // What was sent before is a promise as good as any.
                if link.leaving != Leaving::Cut {
                    for packet in link.read_to_end() {
                        deliver(seat.actor.as_mut(), &packet, &mut self.record, &mut link);
                    }
                }
                seat.actor.gone(&mut self.record, true);
            }
        }
        let is_power_lost = self.options.power;
        let caught = self.disk.after_kill(is_power_lost, &mut self.record.random);
        self.record.figures.writes_unsynced += caught.unsynced as u64;
        self.record.figures.syncs += caught.syncs;
        caught.is_uncommitted
    }

    /// Each client does what it may; then what comes is read, for which we wait so long at most.
    fn turn(&mut self, wait: Duration) {
        self.act();
        self.wait(wait);
        let was_ready = self.process.address.is_some();
        if self.process.listen() {
            let lines = self.process.last_lines();
            let what = format!("THE BROKER ENDED by itself; its last lines:\n{lines}");
            self.record.violated(&what);
        }
        if !was_ready && self.process.address.is_some() {
            let age = self.process.age();
            let figures = &mut self.record.figures;
            figures.starts += 1;
            figures.time_to_ready += age;
            figures.longest_to_ready = figures.longest_to_ready.max(age);
        }
        if self.process.age() > PATIENCE && self.process.address.is_none() {
            self.record.violated("STUCK: it does not listen");
        }
        for seat in &mut self.seats {
            seat.read(&mut self.record);
        }
    }

    fn act(&mut self) {
        let Some(address) = self.process.address else {
            return;
        };
        for Seat { actor, link } in &mut self.seats {
            if link.is_none()
                && let Some(connect) = actor.connect(&mut self.record)
            {
                let mut new = Link::dial(address).expect("it listens");
                new.send(&connect.bytes());
                *link = Some(new);
            }
            let Some(connected) = link else { continue };
            if connected.is_up && connected.leaving == Leaving::Not {
                actor.act(&mut self.record, connected);
            }
            connected.flush();
            if connected.leaving == Leaving::Cut {
                *link = None;
                actor.gone(&mut self.record, false);
            }
        }
    }

    /// Waits until there is something to read, or room to write.
    fn wait(&self, time: Duration) {
        let mut polled = vec![PollFd::new(&self.process.log, PollFlags::IN)];
        for link in self.seats.iter().filter_map(|seat| seat.link.as_ref()) {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, link.backlog() > 0);
            polled.push(PollFd::new(&link.stream, flags));
        }
        let timeout = Timespec::try_from(time).expect("it is short");
        // A signal ends it early, which does no harm.
        let _ = poll(&mut polled, Some(&timeout));
    }
}

impl Seat {
    fn read(&mut self, record: &mut Record) {
        let Some(link) = &mut self.link else { return };
        let (packets, is_end) = link.read();
        for packet in packets {
            deliver(self.actor.as_mut(), &packet, record, link);
        }
        if is_end {
            if link.leaving == Leaving::Not {
                let name = self.actor.name();
                record.violated(&format!("the broker ended the connection of {name}"));
            }
            self.link = None;
            self.actor.gone(record, false);
        }
    }
}

/// A client gets a packet.
fn deliver(actor: &mut dyn Actor, packet: &Received, record: &mut Record, link: &mut Link) {
    if packet.kind() == kind::DISCONNECT {
        let reason = packet.disconnect().reason;
        let name = actor.name();
        record.violated(&format!("{name} was sent away: {reason:#04x}"));
    } else if link.is_up {
        actor.received(packet, record, link);
    } else {
        let connack = packet.connack(actor.version());
        if connack.code == 0 {
            link.is_up = true;
            actor.connected(&connack, record, link);
        } else {
            let name = actor.name();
            record.violated(&format!("{name} was refused: {:#04x}", connack.code));
        }
    }
}

/// A directory of this process alone.
fn temporary() -> PathBuf {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    env::temp_dir().join(format!("wherry-kill-{}-{number}", std::process::id()))
}

fn figures_in_micros(time: Duration) -> usize {
    time.as_micros() as usize
}
