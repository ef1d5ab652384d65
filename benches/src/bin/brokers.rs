//! What brokers cost, side by side: Wherry, the floor below it, and what one would use instead.
//! `cargo run --release -p wherry-benches --bin brokers -- --help`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its figures are what it is for"
)]

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use wherry_benches::compare::{
    Broker, Counted, Figure, Kind, Outcomes, Row, Scenario, Table, count_calls, date, machine,
    raise_limit, use_own_network,
};
use wherry_benches::process::{Directory, beside};

/// Measures brokers side by side: first of all the processor time that a delivered message costs,
/// which does not depend on what else the machine does.
///
/// Wherry and the floor are those that were built with this (cargo build --release -p wherry -p
/// wherry-smol -p wherry-benches). Mosquitto is the one that is installed (apt-get install
/// mosquitto). The others can be installed by `cargo install rumqttd` and, with protobuf-compiler
/// and cmake, `cargo install rmqttd`.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure; everything without it.
    scenarios: Vec<Scenario>,
    /// How often each is measured, in turns; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// A build of Wherry to measure instead of those built with this, with one shard each, and the
    /// first with two as well.
    #[arg(long, value_name = "PATH")]
    broker: Vec<PathBuf>,
    /// Where rumqttd is.
    #[arg(long, value_name = "PATH")]
    rumqttd: Option<PathBuf>,
    /// Where rmqttd is.
    #[arg(long, value_name = "PATH")]
    rmqttd: Option<PathBuf>,
    /// Prints the table as Markdown.
    #[arg(long)]
    markdown: bool,
    /// Stays in the machine's network, rather than in one where TCP does no pacing.
    #[arg(long)]
    here: bool,
}

/// The brokers that are there, and the names of those that are not.
fn brokers(arguments: &Arguments) -> io::Result<(Vec<Broker>, Vec<&'static str>)> {
    let mut brokers = Vec::new();
    let mut wherry = |name: &str, shards, path: PathBuf| {
        brokers.push(Broker::new(Kind::Wherry(shards), name, path));
    };
    if arguments.broker.is_empty() {
        wherry("Wherry", 1, beside("wherry")?);
        wherry("Wherry, 2 shards", 2, beside("wherry")?);
        wherry("Wherry on smol", 1, beside("wherry-smol")?);
    }
    for (n, path) in arguments.broker.iter().enumerate() {
        let name = path.display().to_string();
        wherry(&name, 1, path.clone());
        if n == 0 {
            wherry(&format!("{name}, 2 shards"), 2, path.clone());
        }
    }
    brokers.push(Broker::new(Kind::Floor, "floor", beside("floor")?));
    let mut absent = Vec::new();
    match Broker::mosquitto() {
        Some(broker) => brokers.push(broker),
        None => absent.push("Mosquitto"),
    }
    let others = [
        (Kind::Rumqttd, "rumqttd", &arguments.rumqttd),
        (Kind::Rmqttd, "rmqttd", &arguments.rmqttd),
    ];
    for (kind, name, path) in others {
        match path {
            Some(path) => brokers.push(Broker::new(kind, name, path.clone())),
            None => absent.push(name),
        }
    }
    Ok((brokers, absent))
}

/// The rows of a scenario. All brokers are measured in turns, so that what the machine does beside
/// it concerns all of them.
fn measure(arguments: &Arguments, scenario: Scenario, brokers: &[Broker]) -> Vec<Row> {
    let mut outcomes: Vec<_> = brokers.iter().map(|_| Outcomes::default()).collect();
    let time = Duration::from_secs(arguments.seconds);
    for round in 0..arguments.rounds {
        for n in (0..brokers.len()).map(|n| (n + round) % brokers.len()) {
            let broker = &brokers[n];
            if !scenario.is_for(broker) {
                continue;
            }
            let outcome = scenario.run(broker, time);
            let figures = outcome.as_ref().map(|run| {
                let figures = run.figures.iter();
                let figures = figures.map(|(it, value)| format!("{} {value:.2}", it.title()));
                let faults = run.faults.told();
                figures.chain(faults).collect::<Vec<_>>().join(", ")
            });
            let told = figures.unwrap_or_else(ToString::to_string);
            let (title, name) = (scenario.title(), broker.name());
            eprintln!("{}/{} {title}, {name}: {told}", round + 1, arguments.rounds);
            outcomes[n].push(outcome.map_err(|error| error.to_string()));
        }
    }
    let most = outcomes.iter().map(Outcomes::figures);
    let figures = most.max_by_key(Vec::len).unwrap_or_default();
    let row = |figure: Figure| Row {
        title: format!("{}: {}", scenario.title(), figure.title()),
        cells: outcomes.iter().map(|it| it.cell(figure)).collect(),
    };
    figures.into_iter().map(row).collect()
}

/// Tells how many system calls a turn of a connection takes, of each broker.
fn system_calls(arguments: &Arguments, brokers: &[Broker]) -> io::Result<()> {
    println!("System calls under ten pairs' QoS 0, in reads and writes of a connection in a turn,");
    println!("which is what a thread does between two waits: mean, most (strace, which slows all");
    println!("down). Without it, of 1,000 messages: those that /proc/PID/io counts, which leaves");
    println!("recv and send out.\n");
    println!(
        "| broker | reads | writes | others a wait | messages a read | reads, writes of 1,000 |"
    );
    println!("| --- | --: | --: | --: | --: | --: |");
    let time = Duration::from_secs(arguments.seconds);
    let directory = Directory::new("trace")?;
    for broker in brokers {
        let load = Scenario::of_system_calls();
        let outcome = broker
            .start()
            .and_then(|running| count_calls(&running, load, time, directory.path()));
        let line = match outcome {
            Ok(counted) => calls_of(&counted),
            Err(error) => error.to_string(),
        };
        println!("| {} | {line} |", broker.name());
    }
    Ok(())
}

fn calls_of(counted: &Counted) -> String {
    let part = |a: u64, b: u64| a as f64 / b.max(1) as f64;
    let thousand = |calls| 1000.0 * part(calls, counted.messages);
    let untraced = format!(
        "{:.1}, {:.1}",
        thousand(counted.calls.reads),
        thousand(counted.calls.writes)
    );
    let Some(turns) = counted.turns else {
        return format!("no strace | - | - | - | {untraced}");
    };
    format!(
        "{:.3}, {} | {:.3}, {} | {:.2} | {:.1} | {untraced}",
        part(turns.reads.calls, turns.reads.turns),
        turns.reads.most,
        part(turns.writes.calls, turns.writes.turns),
        turns.writes.most,
        part(turns.others, turns.waits),
        part(counted.traced_messages, turns.reads.calls),
    )
}

fn main() -> io::Result<()> {
    let mut arguments = Arguments::parse();
    if !arguments.here {
        use_own_network()?;
    }
    raise_limit()?;
    if arguments.scenarios.is_empty() {
        arguments.scenarios = Scenario::value_variants().to_vec();
    }
    let (brokers, absent) = brokers(&arguments)?;
    let position = |kind| brokers.iter().position(|it| it.kind() == kind);
    let floor = position(Kind::Floor);
    let mut table = Table {
        brokers: brokers.iter().map(|it| it.name().to_owned()).collect(),
        reference: position(Kind::Mosquitto),
        quotient: floor.map(|floor| (0, floor, "first/floor".to_owned())),
        rows: Vec::new(),
    };
    for scenario in &arguments.scenarios {
        if *scenario != Scenario::Syscalls {
            table.rows.extend(measure(&arguments, *scenario, &brokers));
        }
    }
    let versions: Vec<_> = brokers.iter().map(Broker::full_name).collect();
    println!("\n{}; {}; {}.", machine(), date(), versions.join(", "));
    println!(
        "Medians of {} rounds of {} s in turns; in parentheses the ratio to Mosquitto.",
        arguments.rounds, arguments.seconds
    );
    if !absent.is_empty() {
        println!("Not measured, for want of a binary: {}.", absent.join(", "));
    }
    println!("\n{}", table.text(arguments.markdown));
    if arguments.scenarios.contains(&Scenario::Syscalls) {
        system_calls(&arguments, &brokers)?;
    }
    Ok(())
}
