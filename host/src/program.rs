//! What a broker program does, whichever runtime it is built on.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use tracing::{error, info};

use crate::config::{self, ConfigError, Settings};
use crate::options::{Command, Flags, Health, Options, StoreCommand};
use crate::shown::ShownWhole;
use crate::store::StoreError;
use crate::store::sqlite::tools::{self, Repaired};
use crate::{allocator, health, limits, logging};

/// How many mistakes are told at once. A file that is not a configuration at all has thousands.
const SHOWN_ERRORS: usize = 20;

/// How long a broker that is well may take to answer; whoever asks on its behalf waits longer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// The program `name`: reads its command line and does what that says. To be a broker, it calls
/// `serve`, which returns once the broker has stopped.
pub fn main<E: Display>(
    name: &'static str,
    serve: impl FnOnce(&Settings) -> Result<(), E>,
) -> ExitCode {
    allocator::tune();
    let Options { flags, command } = Options::from_command_line(name);
    match command {
        None => run(&flags, serve),
        Some(Command::Check(flags)) => check(&flags),
        Some(Command::Health(health)) => ask(&health),
        Some(Command::Store(command)) => match store(&command) {
            Ok(code) => code,
            Err(error) => {
                let _ = writeln!(io::stderr(), "{error}");
                ExitCode::FAILURE
            }
        },
    }
}

fn store(command: &StoreCommand) -> Result<ExitCode, StoreError> {
    let mut out = io::stdout().lock();
    let tell = |findings: &[String]| {
        for finding in findings {
            let _ = writeln!(io::stderr(), "{}", ShownWhole(finding));
        }
        match findings.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    };
    match command {
        StoreCommand::Check { directory } => {
            let (findings, rows) = tools::check(directory)?;
            let verdict = match findings.is_empty() {
                true => "the store is whole",
                false => "the store is damaged",
            };
            let _ = writeln!(out, "{verdict}; rows that can be read: {rows}");
            Ok(tell(&findings))
        }
        StoreCommand::Repair { directory } => {
            let Repaired {
                kept,
                lost,
                set_aside,
            } = tools::repair(directory)?;
            let set_aside = set_aside.to_string_lossy();
            let _ = writeln!(
                out,
                "rows kept: {kept}; rows that say what cannot be, left out: {lost}; what was there \
                 is in {}",
                ShownWhole(&set_aside)
            );
            Ok(ExitCode::SUCCESS)
        }
        StoreCommand::Export { directory } => {
            let mut out = io::BufWriter::new(out);
            let findings = tools::export(directory, &mut out)?;
            Ok(match out.flush() {
                Ok(()) => tell(&findings),
                Err(_) => ExitCode::FAILURE,
            })
        }
        StoreCommand::Backup { directory, to } => {
            tools::backup(directory, to)?;
            let to = to.to_string_lossy();
            let _ = writeln!(out, "the store is copied to {}", ShownWhole(&to));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run<E: Display>(flags: &Flags, serve: impl FnOnce(&Settings) -> Result<(), E>) -> ExitCode {
    let settings = match config::load(flags, std::env::vars_os()) {
        Ok(settings) => settings,
        Err(errors) => return complain(&errors),
    };
    logging::set_up(settings.log);
    if let Some(path) = &flags.config {
        info!(
            "configuration read from {}",
            ShownWhole(&path.to_string_lossy())
        );
    }
    limits::raise_open_files();
    match serve(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn check(flags: &Flags) -> ExitCode {
    let settings = match config::load(flags, std::env::vars_os()) {
        Ok(settings) => settings,
        Err(errors) => return complain(&errors),
    };
    let what = match &flags.config {
        Some(path) => ShownWhole(&path.to_string_lossy()).to_string(),
        None => "the configuration".to_owned(),
    };
    let listen: Vec<_> = settings.listen.iter().map(ToString::to_string).collect();
    let http = match &settings.http {
        Some(address) => format!("; health and metrics at http://{}", address.place),
        None => String::new(),
    };
    // Whoever has closed the pipe looks at the exit code.
    let _ = writeln!(
        io::stdout(),
        "{what} is good; the broker would listen on {}{http}",
        listen.join(", ")
    );
    ExitCode::SUCCESS
}

fn ask(Health { address }: &Health) -> ExitCode {
    match health::check(address, HEALTH_TIMEOUT) {
        Ok(()) => {
            let _ = writeln!(io::stdout(), "the broker at {address} is well");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// How to log is part of the configuration, so this is no line of a log.
fn complain(errors: &[ConfigError]) -> ExitCode {
    let mut stderr = io::stderr().lock();
    for error in errors.iter().take(SHOWN_ERRORS) {
        let _ = writeln!(stderr, "{error}");
    }
    let more = errors.len().saturating_sub(SHOWN_ERRORS);
    if more > 0 {
        let _ = writeln!(stderr, "… and {more} more");
    }
    ExitCode::FAILURE
}
