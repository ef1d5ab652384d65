//! Kill tests: a real broker process is killed at random moments under load, and what its clients
//! were told is compared with what they get after the restart.
//!
//! One thread plays all clients: publishers at QoS 1 and 2 that send again what was not
//! acknowledged, subscribers that are there, slow or away, one that changes its subscriptions, one
//! that looks at what is retained, some whose sessions come and go, some with a will. Each writes
//! down what it was told (`record`); nobody looks into the broker. What no seed can repeat is
//! when the kill hits: the figures say what it hit.

mod actor;
mod cast;
mod changer;
mod checker;
mod figures;
mod inbox;
mod link;
mod options;
mod payload;
mod process;
mod publisher;
mod record;
mod session;
mod subscriber;
mod tally;
mod visitor;
mod willing;
mod world;

use std::io::Write as _;
use std::process::ExitCode;
use std::{fs, panic};

pub use figures::Figures;
pub use options::Options;
use world::World;

/// After so many kills their share that hits a batch is known.
const ENOUGH_KILLS: u32 = 20;

/// Tries what `options` say; `say` is told how it goes.
///
/// # Errors
///
/// Which promises were broken first, who knows what of it, and where the data is.
pub fn run(options: &Options, say: &mut dyn FnMut(&str)) -> Result<Figures, String> {
    let mut world = World::new(options);
    world.live(say);
    let figures = world.figures().clone();
    let (directory, lines) = world.remains();
    let mut wrong = world.violations().to_vec();
    drop(world); // And with it the process.
    if wrong.is_empty() {
        let is_known = figures.kills >= ENOUGH_KILLS;
        if is_known && figures.kills_uncommitted * 2 < figures.kills {
            let share = figures.share_uncommitted();
            wrong.push(format!(
                "only {share:.0} % of the kills fell into a batch: this shows little; \
                 try a greater --sync-us"
            ));
        }
        if options.data.is_none() {
            let _ = fs::remove_dir_all(directory);
        }
        if wrong.is_empty() {
            return Ok(figures);
        }
        return Err(format!("{figures}\n{}", wrong.join("\n")));
    }
    Err(format!(
        "{figures}\n{}\nThe data is in {}. The last lines of the broker:\n{lines}",
        wrong.join("\n"),
        directory.display()
    ))
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody is left to be told that nobody listens.
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// The kill tests as a program.
pub fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            print(&format!("{wrong}\n\n{}", options::USAGE));
            return ExitCode::from(2);
        }
    };
    // What is not in form makes whoever reads it panic, with a word about it.
    let outcome = panic::catch_unwind(|| run(&options, &mut print));
    let outcome =
        outcome.unwrap_or_else(|_| Err("a packet or a file was not as it must be".into()));
    match outcome {
        Ok(figures) => {
            print(&figures.to_string());
            ExitCode::SUCCESS
        }
        Err(account) => {
            print(&format!("FAILED\n{account}"));
            ExitCode::FAILURE
        }
    }
}
