//! One world, or many, from a command line or a test.

use std::fmt::Write as _;
use std::io::Write as _;
use std::panic;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::coverage::{Coverage, OF_THE_BROKER};
use super::minimise;
use super::oracle::Failure;
use super::plan::Plan;
use super::skip::Skip;
use super::trace::{self, Trace};
use super::world::World;

const USAGE: &str = "\
Whole worlds of a broker and its clients, each from one seed.

simulate --seed N [--sqlite] [--trace] [--off FEATURE,...] [--skip PART,...] [--minimise]
simulate --runs N [--sqlite] [--jobs J] [--from SEED] [--hashes]

--sqlite    writes what is stored to the real store as well, and compares
--trace     prints what happens
--off       switches features off that the seed has
--skip      leaves out clients (c3), their steps (c3.5, c3.5-9), faults (f2)
--minimise  leaves out all that the failure does not need
--hashes    prints the trace hash of every world
";

/// How many lines of a failing world are shown.
const TAIL: usize = 60;

/// A run stops after so many failures.
const MOST_FAILURES: u64 = 5;

/// In the environment of a process that was started to show a failure once more.
const AGAIN: &str = "WHERRY_SIMULATE_AGAIN";

/// What is to be simulated.
#[derive(Clone, Debug, Default)]
pub struct Options {
    seed: Option<u64>,
    runs: u64,
    jobs: usize,
    from: u64,
    terms: Terms,
    trace: bool,
    hashes: bool,
    minimise: bool,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            jobs: 1,
            ..Self::default()
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
            let number = |text: String| text.parse().map_err(|_| format!("{text} is no number"));
            match &*argument {
                "--seed" => options.seed = Some(number(value()?)?),
                "--runs" => options.runs = number(value()?)?,
                "--jobs" => options.jobs = number(value()?)?.max(1) as usize,
                "--from" => options.from = number(value()?)?,
                "--off" => options.terms.off = value()?.split(',').map(Into::into).collect(),
                "--skip" => {
                    let text = value()?;
                    options.terms.skip = Skip::parse(&text).ok_or(format!("--skip {text}"))?;
                }
                "--sqlite" => options.terms.sqlite = true,
                "--trace" => options.trace = true,
                "--hashes" => options.hashes = true,
                "--minimise" => options.minimise = true,
                _ => return Err(format!("what is {argument}?")),
            }
        }
        if options.seed.is_none() && options.runs == 0 {
            return Err("--seed or --runs is missing".into());
        }
        Ok(options)
    }
}

/// What a world is besides its seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// Features that it does not have.
    pub(super) off: Vec<String>,
    /// What does not happen.
    pub(super) skip: Skip,
    /// What is stored goes to the real store as well.
    pub(super) sqlite: bool,
}

/// The same world again, as arguments.
pub(super) fn arguments(seed: u64, terms: &Terms) -> String {
    let Terms { off, skip, sqlite } = terms;
    let mut text = format!("--seed {seed}");
    if *sqlite {
        text += " --sqlite";
    }
    if !off.is_empty() {
        let _ = write!(text, " --off {}", off.join(","));
    }
    if !skip.is_empty() {
        let _ = write!(text, " --skip {skip}");
    }
    text
}

/// The same world again, as a command.
pub(super) fn command(seed: u64, terms: &Terms) -> String {
    let arguments = arguments(seed, terms);
    format!("cargo run --release -p wherry-tests --bin simulate -- {arguments}")
}

/// What became of a world.
pub(super) struct Outcome {
    pub(super) failure: Option<Failure>,
    pub(super) hash: u64,
    pub(super) coverage: Coverage,
}

/// Lets a world live.
pub(super) fn live(seed: u64, terms: &Terms, trace: Trace) -> Outcome {
    let mut plan = Plan::draw(seed, &terms.off);
    plan.has_real_store = terms.sqlite;
    trace::begin(command(seed, terms));
    let mut world = World::new(plan, terms.skip.clone(), trace);
    world.live();
    Outcome {
        failure: world.failure().cloned(),
        hash: world.trace.hash(),
        coverage: world.oracle.coverage.clone(),
    }
}

/// What there is to say of a world that failed.
fn report(seed: u64, terms: &Terms, failure: &Failure) -> String {
    let again = live(seed, terms, Trace::new(true, false));
    let mut text = String::new();
    let tail = trace::tail(TAIL);
    let _ = writeln!(text, "{}", tail.join("\n"));
    let _ = writeln!(text, "FAILED seed {seed}: {}", failure.kind);
    let _ = writeln!(text, "{}", failure.what);
    if again.failure.as_ref() != Some(failure) {
        let _ = writeln!(text, "AND NOT AGAIN: {:?}", again.failure);
    }
    let _ = write!(text, "again: {}", command(seed, terms));
    text
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody is left to be told that nobody listens.
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// The simulator as a program.
pub fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            say(&format!("{error}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    show_panics();
    let succeeded = match options.seed {
        Some(seed) if options.minimise => {
            minimise::minimise(seed, &options.terms, say);
            false
        }
        Some(seed) => one(seed, &options),
        None => many(&options),
    };
    match succeeded {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Says which world a panic ends, and what happened in it last.
fn show_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        usual(info);
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let command = trace::command();
        say(&trace::tail(TAIL).join("\n"));
        if trace::tail(1).is_empty() && std::env::var_os(AGAIN).is_none() {
            // The process ends with this; another one tells the story.
            let arguments = command.rsplit(" -- ").next().unwrap_or_default();
            if let Ok(program) = std::env::current_exe() {
                let _ = Command::new(program)
                    .args(arguments.split(' '))
                    .env(AGAIN, "1")
                    .status();
            }
        }
        say(&format!("FAILED: panic at {place}\nagain: {command}"));
    }));
}

fn one(seed: u64, options: &Options) -> bool {
    let keep = std::env::var_os(AGAIN).is_some();
    let trace = Trace::new(keep, options.trace);
    let plan = Plan::draw(seed, &options.terms.off);
    if options.trace {
        say(&format!("{plan:#?}"));
        say(&format!("features: {}", plan.features.names().join(" ")));
    }
    let outcome = live(seed, &options.terms, trace);
    if let Some(failure) = &outcome.failure {
        match options.trace {
            true => say(&format!(
                "FAILED seed {seed}: {}\n{}",
                failure.kind, failure.what
            )),
            false => say(&report(seed, &options.terms, failure)),
        }
        return false;
    }
    say(&format!("seed {seed}: passed, trace {:016x}", outcome.hash));
    true
}

#[derive(Default)]
struct Totals {
    coverage: Coverage,
    hashes: Vec<(u64, u64)>,
    failures: u64,
    done: u64,
}

fn many(options: &Options) -> bool {
    let next = AtomicU64::new(options.from);
    let end = options.from + options.runs;
    let totals = Mutex::new(Totals::default());
    let began = Instant::now();
    let lock = || totals.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end || lock().failures >= MOST_FAILURES {
                return;
            }
            let outcome = live(seed, &options.terms, Trace::new(false, false));
            if let Some(failure) = &outcome.failure {
                say(&report(seed, &options.terms, failure));
            }
            let mut totals = lock();
            totals.done += 1;
            totals.failures += u64::from(outcome.failure.is_some());
            totals.coverage.add(&outcome.coverage);
            totals.hashes.push((seed, outcome.hash));
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs).map(|_| scope.spawn(work)).collect();
        let mut shown = began;
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::park_timeout(Duration::from_millis(20));
            if shown.elapsed() > Duration::from_secs(5) {
                shown = Instant::now();
                let (done, failures) = {
                    let totals = lock();
                    (totals.done, totals.failures)
                };
                let rate = done as f64 / began.elapsed().as_secs_f64();
                say(&format!(
                    "{done} of {} worlds, {failures} failed, {rate:.0} a second",
                    options.runs
                ));
            }
        }
    });
    let totals = std::mem::take(&mut *lock());
    conclude(options, totals, began.elapsed())
}

fn conclude(options: &Options, mut totals: Totals, time: Duration) -> bool {
    totals.hashes.sort_unstable();
    if options.hashes {
        for (seed, hash) in &totals.hashes {
            say(&format!("seed {seed} trace {hash:016x}"));
        }
    }
    let all = totals
        .hashes
        .iter()
        .fold(0_u64, |all, (_, hash)| all.rotate_left(1) ^ hash);
    say(&totals.coverage.table());
    let missed = match options.terms.off.is_empty() && totals.failures == 0 {
        true => totals.coverage.missed(totals.done),
        false => Vec::new(),
    };
    for what in &missed {
        say(&format!("NOT MET: {what}"));
    }
    let seconds = time.as_secs_f64();
    say(&format!(
        "{} runs, {} failures, {:.0} worlds and {:.0} messages a second, traces {all:016x}",
        totals.done,
        totals.failures,
        totals.done as f64 / seconds,
        totals.coverage.delivered.iter().sum::<u64>() as f64 / seconds,
    ));
    totals.failures == 0 && missed.is_empty()
}

/// Many worlds as a test: panics if one fails, or if they have not met what they are for.
///
/// # Panics
///
/// With the seed, what is wrong, and what happened last.
pub fn smoke(from: u64, runs: u64) {
    let mut coverage = Coverage::default();
    for seed in from..from + runs {
        coverage.add(&pass(seed, &Terms::default()).coverage);
    }
    let missed = coverage.missed(runs);
    assert!(missed.is_empty(), "{missed:?}\n{}", coverage.table());
}

/// So many worlds that have a store, each of them twice: over the real store they come to the same,
/// and whatever is read from it is what was written.
///
/// # Panics
///
/// With the seed, what is wrong, and what happened last.
pub fn smoke_over_sqlite(from: u64, runs: u64) {
    let mut coverage = Coverage::default();
    let has_store = |seed: &u64| Plan::draw(*seed, &[]).features.store;
    for seed in (from..).filter(has_store).take(runs as usize) {
        let mut terms = Terms::default();
        let hash = pass(seed, &terms).hash;
        terms.sqlite = true;
        let outcome = pass(seed, &terms);
        assert_eq!(outcome.hash, hash, "{}", command(seed, &terms));
        coverage.add(&outcome.coverage);
    }
    assert!(
        coverage.real_starts > runs + runs / 3,
        "{}",
        coverage.table()
    );
}

/// A world that must not fail.
fn pass(seed: u64, terms: &Terms) -> Outcome {
    let outcome = panic::catch_unwind(|| live(seed, terms, Trace::new(false, false)));
    let outcome = outcome.unwrap_or_else(|_| {
        let again = panic::catch_unwind(|| live(seed, terms, Trace::new(true, false)));
        say(&trace::tail(TAIL).join("\n"));
        assert!(again.is_err(), "seed {seed} panics once and not again");
        panic!("a panic in {}", command(seed, terms));
    });
    if let Some(failure) = &outcome.failure {
        panic!("{}", report(seed, terms, failure));
    }
    outcome
}

impl Coverage {
    /// What should have come up in so many worlds and has not.
    fn missed(&self, runs: u64) -> Vec<String> {
        let broker = OF_THE_BROKER.iter().map(|(name, least)| {
            let count = self.broker.get(name).copied().unwrap_or(0);
            (*name, count, *least)
        });
        self.counts()
            .into_iter()
            .chain(broker)
            .filter(|(_, count, least)| *count < least * runs / 1000)
            .map(|(name, count, least)| {
                format!("{name}: {count}, at least {}", least * runs / 1000)
            })
            .collect()
    }

    fn table(&self) -> String {
        let mut text = String::from("met:");
        for (name, count, _) in self.counts() {
            let _ = write!(text, " {name} {count},");
        }
        let [qos0, qos1, qos2] = self.delivered;
        let _ = write!(
            text,
            " delivered {qos0} + {qos1} + {qos2};\nthe broker counted:"
        );
        for (name, count) in self.broker.iter().filter(|(_, count)| **count > 0) {
            let _ = write!(text, " {name} {count},");
        }
        text
    }
}
