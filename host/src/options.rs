//! The command line.

use std::ffi::OsString;
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::address::{ListenAddr, MQTT_PORT};
use crate::config::{self, Backend, Settings};
use crate::logging::{Format, Level};
use crate::shown::Shown;

/// What a broker program is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(
    version,
    about = "A light, fast MQTT broker for MQTT 3.1, 3.1.1 and 5.0",
    after_help = "Settings come from the defaults, then the configuration file, then environment \
                  variables such as WHERRY_LISTEN or WHERRY_LIMITS_MAX_CONNECTIONS, then flags; \
                  the last one counts.",
    args_conflicts_with_subcommands = true
)]
pub struct Options {
    /// How to run.
    #[command(flatten)]
    pub flags: Flags,
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What a broker program does besides being a broker.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Check the configuration: file, environment and flags together. Nothing is opened
    Check(Flags),
    /// Ask a broker that runs whether it is well, as a client would
    Health(Health),
    /// Look after a store: check, repair, export or copy it
    #[command(subcommand)]
    Store(StoreCommand),
}

/// What can be done with a store besides running a broker on it.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum StoreCommand {
    /// Say whether the store is whole; a broker may run on it
    Check {
        /// Where the store is
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Keep what can be read of a damaged store and set the rest aside; no broker may run on it
    Repair {
        /// Where the store is
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Write all rows to standard output, a JSON object on each line; a broker may run on it
    Export {
        /// Where the store is
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Copy the store as it is at one moment to another directory; a broker may run on it
    Backup {
        /// Where the store is
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Where the copy goes; nothing may be there yet
        #[arg(value_name = "TO")]
        to: PathBuf,
    },
}

/// Which broker to ask.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Health {
    /// Where it listens
    #[arg(value_name = "ADDRESS:PORT", default_value_t = ListenAddr::loopback(MQTT_PORT))]
    pub address: ListenAddr,
}

/// How many shards, or `auto`.
pub type ShardCount = Option<NonZeroU8>;

/// An address to be asked at over HTTP, or `none`.
pub type HttpListen = Option<ListenAddr>;

/// What the command line says about the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Flags {
    /// Read the configuration from this file (TOML); without it, no file is looked for
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where to listen; what `--port` asks for comes on top.
    #[arg(
        short,
        long,
        value_name = "ADDRESS:PORT",
        help = "Listen on this address, for example tcp://127.0.0.1:1883, 0.0.0.0:1883, \
                [::]:1883 or localhost:1883 (may be given more than once; port 0: the system \
                picks) [default: tcp://127.0.0.1:1883]"
    )]
    pub listen: Vec<ListenAddr>,

    /// Listen on this port for this machine only: short for --listen 127.0.0.1:PORT
    #[arg(short, long, value_name = "PORT", allow_negative_numbers = true, value_parser = port)]
    pub port: Option<u16>,

    /// Serve clients on this many threads, or on auto: one for each core [default: auto]
    #[arg(long, value_name = "N", value_parser = config::parse_shards)]
    pub shards: Option<ShardCount>,

    /// Keep sessions and messages in this directory, so that what is acknowledged outlives the
    /// broker; it is made if it is not there. Short for persistence.backend
    /// and persistence.path
    #[arg(short, long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Where to tell of health and metrics over HTTP, for example 127.0.0.1:9883 [default: none]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = config::parse_http)]
    pub http: Option<HttpListen>,

    /// How much to log [default: info]
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub log_level: Option<Level>,

    /// How log lines look [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<Format>,

    /// How long to wait at the end for clients to take their last messages, in seconds or as in
    /// 1m 30s [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        value_parser = config::parse_shutdown_timeout
    )]
    pub shutdown_timeout: Option<Duration>,
}

impl Options {
    /// Reads the command line of the program `name`. A mistake, `--help` and `--version` end the
    /// process; a mistake with code 2.
    pub fn from_command_line(name: &'static str) -> Self {
        Self::read(name, std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads `arguments`, the first of which is what the program was called by.
    ///
    /// # Errors
    ///
    /// What is wrong with them; or what they ask to be told, such as `--help`.
    pub fn read(
        name: &'static str,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let matches = Self::command().name(name).try_get_matches_from(arguments);
        matches
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(escaped)
    }
}

/// The same error, with what was written as it can be shown.
fn escaped(mut error: clap::Error) -> clap::Error {
    let written = error.context().filter_map(|(kind, value)| match value {
        ContextValue::String(text) => Some((kind, Shown(text).to_string())),
        _ => None,
    });
    for (kind, text) in written.collect::<Vec<_>>() {
        error.insert(kind, ContextValue::String(text));
    }
    // How to pass something that looks like a flag as a value: nothing here is one.
    error.remove(ContextKind::Suggested);
    error
}

impl Flags {
    /// Sets what was given.
    pub(crate) fn apply(&self, settings: &mut Settings) {
        let mut listen = self.listen.clone();
        listen.extend(self.port.map(ListenAddr::loopback));
        if !listen.is_empty() {
            settings.listen = listen;
        }
        if let Some(shards) = self.shards {
            settings.shards = shards;
        }
        if let Some(path) = &self.data {
            settings.persistence.backend = Backend::Sqlite;
            settings.persistence.path = Some(path.clone());
        }
        if let Some(http) = &self.http {
            settings.http.clone_from(http);
        }
        if let Some(level) = self.log_level {
            settings.log.level = level;
        }
        if let Some(format) = self.log_format {
            settings.log.format = format;
        }
        if let Some(time) = self.shutdown_timeout {
            settings.shutdown_timeout = time;
        }
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "a port is a number from 0 to 65535; for example: --port 1883".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, clap::Error> {
        let arguments = std::iter::once("wherry").chain(line.split_whitespace());
        Options::read("wherry", arguments.map(OsString::from))
    }

    fn settings(line: &str) -> Settings {
        let mut settings = Settings::default();
        read(line).unwrap().flags.apply(&mut settings);
        settings
    }

    fn listeners(line: &str) -> Vec<String> {
        let listen = settings(line).listen;
        listen.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_options_only_this_machine_can_connect() {
        assert_eq!(settings(""), Settings::default());
        assert_eq!(listeners(""), ["tcp://127.0.0.1:1883"]);
    }

    #[test]
    fn every_listener_asked_for_is_opened() {
        assert_eq!(
            listeners("-l tcp://0.0.0.0:1 --listen [::1]:2 -p 3"),
            ["tcp://0.0.0.0:1", "tcp://[::1]:2", "tcp://127.0.0.1:3"]
        );
    }

    #[test]
    fn times_and_words_are_read() {
        let read = settings("--log-level debug --log-format json --shutdown-timeout 0");
        assert_eq!(read.log.level, Level::Debug);
        assert_eq!(read.log.format, Format::Json);
        assert_eq!(read.shutdown_timeout, Duration::ZERO);
        let read = settings("--shutdown-timeout 1m30s");
        assert_eq!(read.shutdown_timeout, Duration::from_secs(90));
    }

    #[test]
    fn a_check_takes_the_same_flags() {
        let Options { flags, command } = read("check -c a.toml -p 0 --log-level warn").unwrap();
        assert_eq!(flags, Flags::default());
        let Some(Command::Check(flags)) = command else {
            panic!("{command:?}");
        };
        assert_eq!(
            flags,
            read("-c a.toml -p 0 --log-level warn").unwrap().flags
        );
        // Either would have to be ignored.
        assert!(read("-c a.toml check -c b.toml").is_err());
    }

    #[test]
    fn health_is_asked_for_here_unless_said_otherwise() {
        for (line, asked) in [
            ("health", "tcp://127.0.0.1:1883"),
            ("health [::1]:5", "tcp://[::1]:5"),
        ] {
            let Some(Command::Health(Health { address })) = read(line).unwrap().command else {
                panic!("{line}");
            };
            assert_eq!(address.to_string(), asked);
        }
    }

    #[test]
    fn a_bad_value_is_told_by_flag_value_reason_and_example() {
        for (line, parts) in [
            (
                "-l localhost",
                [
                    "--listen",
                    "'localhost'",
                    "port is missing",
                    "127.0.0.1:1883",
                ],
            ),
            (
                "-p 65536",
                ["--port", "'65536'", "from 0 to 65535", "--port 1883"],
            ),
            (
                "--shutdown-timeout -1",
                ["--shutdown-timeout", "'-1'", "out of range", "1m 30s"],
            ),
            (
                "--shutdown-timeout 1q",
                ["--shutdown-timeout", "'1q'", "not a time", "0s to 1day"],
            ),
            (
                "--http 9883",
                ["--http", "'9883'", "not an address", "127.0.0.1:9883"],
            ),
            (
                "--log-level loud",
                ["--log-level", "'loud'", "possible values", "info"],
            ),
            (
                "--log-format xml",
                ["--log-format", "'xml'", "possible values", "json"],
            ),
        ] {
            let error = read(line).unwrap_err();
            let text = error.to_string();
            assert_eq!(error.exit_code(), 2, "{text}");
            for part in parts {
                assert!(text.contains(part), "{part} is not in: {text}");
            }
        }
    }

    #[test]
    fn what_somebody_wrote_cannot_drive_a_terminal_or_fill_a_screen() {
        let hostile = format!("\u{1b}[2J\t{}", "x".repeat(5000));
        for arguments in [
            vec!["--listen", &hostile],
            vec!["--port", &hostile],
            vec!["--shutdown-timeout", &hostile],
            vec!["--http", &hostile],
            vec!["--log-level", &hostile],
            vec!["health", &hostile],
            vec!["check", "--config"],
            vec![&hostile],
            vec![&format!("--{hostile}")],
            vec![&format!("-{hostile}")],
            vec!["health", &format!("--{hostile}")],
        ] {
            let arguments = ["wherry"].iter().chain(&arguments).map(OsString::from);
            let told = Options::read("wherry", arguments).unwrap_err().to_string();
            let is_control = |char: char| char.is_control() && char != '\n';
            assert!(!told.contains(is_control), "{told:?}");
            assert!(told.len() < 2000, "{told}");
        }
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Options::command().debug_assert();
    }
}
