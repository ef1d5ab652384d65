//! What it costs that nothing is lost: a broker with its store beside one without, and beside
//! Mosquitto. `cargo run --release -p wherry-benches --bin durable -- --help`.

#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use wherry_benches::load::{Figures, Generator, Load, Shape, Until};
use wherry_benches::process::{Directory, MOSQUITTO, Process, beside};
use wherry_tests::power;

/// Measures what durability costs.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure; everything without it.
    scenarios: Vec<Scenario>,
    /// The broker; the one that was built with this, without it.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// How often each is measured, in turns; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// How many messages are queued to be restored.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// How many sessions are restored.
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Subscribers with lasting sessions that are there and keep up.
    Present,
    /// Subscribers that are away.
    Away,
    /// The same with a disk whose syncs take their time.
    SlowDisk,
    /// 2,000 messages a second.
    Latency,
    /// A start with a store that is full.
    Restore,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Memory,
    Sqlite,
    Mosquitto,
    MosquittoDurable,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "Wherry in memory",
            Self::Sqlite => "Wherry, SQLite",
            Self::Mosquitto => "Mosquitto in memory",
            Self::MosquittoDurable => "Mosquitto, a snapshot each second",
        }
    }
}

/// A broker and where it keeps its files.
struct Subject {
    process: Process,
    _directory: Directory,
}

impl Subject {
    fn start(kind: Kind, program: &Path, sync: Duration) -> io::Result<Self> {
        let directory = Directory::new("durable")?;
        let path = directory.path().display().to_string();
        let process = match kind {
            Kind::Memory => Process::wherry(program, &[], &unlimited())?,
            Kind::Sqlite => {
                let mut variables = unlimited();
                if !sync.is_zero() {
                    variables.push(("LD_PRELOAD", power::library().display().to_string()));
                    variables.push(("POWER_DIRECTORY", path.clone()));
                    variables.push(("POWER_SYNC_US", sync.as_micros().to_string()));
                }
                Process::wherry(program, &["--data", &path], &variables)?
            }
            Kind::Mosquitto => Process::mosquitto(directory.path(), MOSQUITTO)?,
            Kind::MosquittoDurable => {
                let lines = format!(
                    "{MOSQUITTO}user root\npersistence true\npersistence_location {path}/\n\
                     autosave_on_changes true\nautosave_interval 1\n"
                );
                Process::mosquitto(directory.path(), &lines)?
            }
        };
        Ok(Self {
            process,
            _directory: directory,
        })
    }
}

/// The limits that a queue of a million messages needs.
fn unlimited() -> Vec<(&'static str, String)> {
    [
        ("WHERRY_LIMITS_MAX_QUEUED_MESSAGES", "10000000"),
        ("WHERRY_LIMITS_MAX_QUEUED_BYTES", "4 GiB"),
        ("WHERRY_LIMITS_MAX_TOTAL_QUEUED_BYTES", "4 GiB"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

/// What a run has cost.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    figures: Figures,
    /// Microseconds of the broker's processor time for each message published.
    each: f64,
    /// Records and syncs for each message published.
    records: f64,
    syncs: f64,
}

fn measure(subject: &Subject, act: impl FnOnce() -> io::Result<Figures>) -> io::Result<Cost> {
    let process = &subject.process;
    let metric = |name| process.metric(name).unwrap_or(0.0);
    let metrics = || {
        let (records, syncs) = ("wherry_store_records_total ", "wherry_store_commits_total ");
        (metric(records), metric(syncs))
    };
    let (before, time) = (metrics(), process.processor_time()?);
    let figures = act()?;
    let (after, time) = (metrics(), process.processor_time()?.since(time));
    let count = figures.published.max(figures.delivered) as f64;
    Ok(Cost {
        figures,
        each: time.as_secs_f64() * 1e6 / count,
        records: (after.0 - before.0) / count,
        syncs: (after.1 - before.1) / count,
    })
}

/// The median by what a message costs.
fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by(|a, b| a.each.total_cmp(&b.each));
    costs.get(costs.len() / 2).copied().unwrap_or_default()
}

/// Measures all `kinds` in turns, so that what the machine does beside it concerns all of them.
fn in_turns(
    arguments: &Arguments,
    kinds: &[Kind],
    sync: Duration,
    mut act: impl FnMut(&Subject) -> io::Result<Cost>,
) -> io::Result<Vec<Cost>> {
    let program = program(arguments)?;
    let mut costs = vec![Vec::new(); kinds.len()];
    for _ in 0..arguments.rounds {
        for (kind, costs) in kinds.iter().zip(&mut costs) {
            costs.push(act(&Subject::start(*kind, &program, sync)?)?);
        }
    }
    Ok(costs.into_iter().map(median).collect())
}

fn program(arguments: &Arguments) -> io::Result<PathBuf> {
    match &arguments.broker {
        Some(path) => Ok(path.clone()),
        None => beside("wherry"),
    }
}

fn time(arguments: &Arguments) -> Until {
    Until::Time(Duration::from_secs(arguments.seconds))
}

const ALL: [Kind; 4] = [
    Kind::Memory,
    Kind::Sqlite,
    Kind::Mosquitto,
    Kind::MosquittoDurable,
];

fn present(arguments: &Arguments) -> io::Result<()> {
    println!("\nSubscribers with lasting sessions that keep up; microseconds of processor time:\n");
    println!("| QoS | broker | a message | messages/s | records each | syncs each | disordered |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for qos in [1, 2] {
        let load = Load {
            qos,
            is_lasting: true,
            ..Load::default()
        };
        let costs = in_turns(arguments, &ALL, Duration::ZERO, |subject| {
            let mut clients = Generator::connect(subject.process.address(), "p", load)?;
            measure(subject, || clients.publish(time(arguments)))
        })?;
        for (kind, cost) in ALL.iter().zip(&costs) {
            line(qos, kind.name(), cost);
        }
    }
    Ok(())
}

fn line(qos: u8, name: &str, cost: &Cost) {
    let Cost {
        figures,
        each,
        records,
        syncs,
    } = cost;
    let rate = figures.published.max(figures.delivered) as f64 / figures.seconds;
    println!(
        "| {qos} | {name} | {each:.2} | {rate:.0} | {records:.3} | {syncs:.5} | {} |",
        figures.disordered
    );
}

fn away(arguments: &Arguments) -> io::Result<()> {
    println!("\nSubscribers that are away, then come and take what waits:\n");
    println!("| QoS | broker | a message | messages/s | records each | syncs each | disordered |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for qos in [1, 2] {
        let load = Load {
            qos,
            is_lasting: true,
            ..Load::default()
        };
        let mut drained = vec![Vec::new(); ALL.len()];
        let mut turn = 0;
        let costs = in_turns(arguments, &ALL, Duration::ZERO, |subject| {
            let mut clients = Generator::connect(subject.process.address(), "a", load)?;
            clients.leave()?;
            let cost = measure(subject, || clients.publish(time(arguments)))?;
            let taken = measure(subject, || {
                clients.come_back()?;
                clients.receive(cost.figures.published)
            })?;
            drained[turn % ALL.len()].push(taken);
            turn += 1;
            Ok(cost)
        })?;
        for ((kind, cost), drained) in ALL.iter().zip(&costs).zip(drained) {
            line(qos, &format!("{}: queued", kind.name()), cost);
            line(qos, &format!("{}: taken", kind.name()), &median(drained));
        }
    }
    Ok(())
}

fn slow_disk(arguments: &Arguments) -> io::Result<()> {
    println!(
        "\nSubscribers away, {} messages in flight, syncs that take at least:\n",
        20 * 16_000
    );
    println!("| sync | a message | messages/s | syncs each | acknowledged after, half / 99 % |");
    println!("| --- | --- | --- | --- | --- |");
    for milliseconds in [0, 1, 10, 50] {
        let load = Load {
            shape: Shape::Pairs(20),
            window: 16_000,
            is_lasting: true,
            ..Load::default()
        };
        let sync = Duration::from_millis(milliseconds);
        let costs = in_turns(arguments, &[Kind::Sqlite], sync, |subject| {
            let mut clients = Generator::connect(subject.process.address(), "s", load)?;
            clients.leave()?;
            measure(subject, || clients.publish(time(arguments)))
        })?;
        for Cost {
            figures,
            each,
            syncs,
            ..
        } in costs
        {
            let rate = figures.published as f64 / figures.seconds;
            let after = figures.acknowledged_after;
            println!(
                "| {milliseconds} ms | {each:.2} us | {rate:.0} | {syncs:.5} | {:.1} / {:.1} ms |",
                f64::from(after.half) / 1e3,
                f64::from(after.most) / 1e3
            );
        }
    }
    Ok(())
}

fn latency(arguments: &Arguments) -> io::Result<()> {
    println!("\n2,000 messages a second, half / 99 % in microseconds:\n");
    println!("| QoS | broker | subscribers | acknowledged after | delivered after | a message |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (qos, is_away) in [(1, false), (2, false), (1, true), (2, true)] {
        let rate = Some(2000);
        let load = Load {
            qos,
            rate,
            is_lasting: true,
            ..Load::default()
        };
        let costs = in_turns(arguments, &ALL, Duration::ZERO, |subject| {
            let mut clients = Generator::connect(subject.process.address(), "l", load)?;
            if is_away {
                clients.leave()?;
            }
            measure(subject, || clients.publish(time(arguments)))
        })?;
        for (kind, Cost { figures, each, .. }) in ALL.iter().zip(&costs) {
            let (acknowledged, delivered) = (figures.acknowledged_after, figures.delivered_after);
            println!(
                "| {qos} | {} | {} | {} / {} | {} / {} | {each:.1} |",
                kind.name(),
                if is_away { "away" } else { "present" },
                acknowledged.half,
                acknowledged.most,
                delivered.half,
                delivered.most
            );
        }
    }
    Ok(())
}

fn restore(arguments: &Arguments) -> io::Result<()> {
    let program = program(arguments)?;
    let directory = Directory::new("restore")?;
    let path = directory.path().display().to_string();
    let start = || Process::wherry(&program, &["--data", &path], &unlimited());
    let process = start()?;
    let empty = directory.size()?;
    let load = Load {
        is_lasting: true,
        window: 1000,
        pause: Duration::ZERO,
        ..Load::default()
    };
    let mut clients = Generator::connect(process.address(), "r", load)?;
    clients.leave()?;
    let figures = clients.publish(Until::Messages(arguments.messages))?;
    drop(clients);
    let full = directory.size()?;
    process.kill()?;
    let process = start()?;
    let time = process.started_after().as_secs_f64();
    println!(
        "\n{} messages queued: serves {time:.2} s after its start",
        figures.published
    );
    println!("files: {empty} bytes at first, {full} with the messages");
    let mut clients = Generator::connect(process.address(), "r", load)?;
    let figures = clients.receive(arguments.messages)?;
    println!(
        "taken in {:.2} s, {} disordered",
        figures.seconds, figures.disordered
    );
    drop(clients);
    let mut size = directory.size()?;
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(200));
        if std::mem::replace(&mut size, directory.size()?) == size && size < full / 10 {
            break;
        }
    }
    println!("files once they are taken: {size} bytes");
    drop(process);

    let directory = Directory::new("sessions")?;
    let path = directory.path().display().to_string();
    let start = || Process::wherry(&program, &["--data", &path], &unlimited());
    let process = start()?;
    let load = Load {
        shape: Shape::Pairs(arguments.sessions),
        is_lasting: true,
        ..Load::default()
    };
    Generator::leave_sessions(process.address(), "m", load)?;
    process.kill()?;
    let process = start()?;
    let time = process.started_after().as_secs_f64();
    let sessions = process.metric("wherry_sessions ").unwrap_or(f64::NAN);
    println!("{sessions} sessions: serves {time:.2} s after its start");
    Ok(())
}

fn main() -> io::Result<()> {
    let mut arguments = Arguments::parse();
    if arguments.scenarios.is_empty() {
        arguments.scenarios = Scenario::value_variants().to_vec();
    }
    for scenario in &arguments.scenarios {
        match scenario {
            Scenario::Present => present(&arguments)?,
            Scenario::Away => away(&arguments)?,
            Scenario::SlowDisk => slow_disk(&arguments)?,
            Scenario::Latency => latency(&arguments)?,
            Scenario::Restore => restore(&arguments)?,
        }
    }
    Ok(())
}
