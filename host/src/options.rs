//! The command line.

use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use tracing::level_filters::LevelFilter;

use crate::address::{ListenAddr, MQTT_PORT};

/// What a broker process is told when it is started.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(
    version,
    about = "A light, fast MQTT broker for MQTT 3.1, 3.1.1 and 5.0"
)]
pub struct Options {
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

    /// How much to log
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,

    /// How long to wait for clients to take their last messages at the end
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds, default_value = "10")]
    pub shutdown_timeout: Duration,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What keeps the broker from doing its work.
    Error,
    /// And what an operator should look at: clients refused, limits reached.
    Warn,
    /// And who comes and goes.
    Info,
    /// And what helps to find a mistake in the configuration or the network.
    Debug,
    /// And everything else.
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            port: None,
            log_level: LogLevel::Info,
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// Reads the command line of the program `name`. A mistake, `--help` and `--version` end the
    /// process; a mistake with code 2.
    pub fn from_command_line(name: &'static str) -> Self {
        let matches = Self::command().name(name).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Where to listen: what was asked for, or else port 1883 of this machine only.
    pub fn listeners(&self) -> Vec<ListenAddr> {
        let mut all = self.listen.clone();
        all.extend(self.port.map(ListenAddr::loopback));
        if all.is_empty() {
            all.push(ListenAddr::loopback(MQTT_PORT));
        }
        all
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "a port is a number from 0 to 65535; for example: --port 1883".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    // A day is longer than any supervisor waits, and no sum of times can overflow.
    match text.parse() {
        Ok(seconds @ 0..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err(
            "it takes a whole number of seconds from 0 to 86400; for example: \
             --shutdown-timeout 10"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(std::iter::once("wherry").chain(line.split_whitespace()))
    }

    fn listeners(line: &str) -> Vec<String> {
        let options = read(line).unwrap();
        options
            .listeners()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn without_options_only_this_machine_can_connect() {
        assert_eq!(read("").unwrap(), Options::default());
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
    fn times_and_levels_are_read() {
        let options = read("--log-level debug --shutdown-timeout 0").unwrap();
        assert_eq!(options.log_level, LogLevel::Debug);
        assert_eq!(options.shutdown_timeout, Duration::ZERO);
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
                ["--shutdown-timeout", "'-1'", "from 0 to 86400", "10"],
            ),
            (
                "--shutdown-timeout 1h",
                ["--shutdown-timeout", "'1h'", "whole number", "10"],
            ),
            (
                "--log-level loud",
                ["--log-level", "'loud'", "possible values", "info"],
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
    fn the_definition_of_the_command_line_is_sound() {
        Options::command().debug_assert();
    }
}
