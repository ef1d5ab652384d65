//! Where log lines go: standard error, one line each.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format;

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// How much.
    pub level: Level,
    /// In which form.
    pub format: Format,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// What keeps the broker from doing its work.
    Error,
    /// And what an operator should look at: clients refused, limits reached.
    Warn,
    /// And who comes and goes.
    #[default]
    Info,
    /// And what helps to find a mistake in the configuration or the network.
    Debug,
    /// And everything else.
    Trace,
}

/// What a log line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object each.
    Json,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

/// Sends what is logged through `tracing` to standard error, as `log` says. Colours only where a
/// person looks at them: on a terminal, and unless `NO_COLOR` is set.
///
/// A program that embeds the broker sets up its own subscriber instead; if there is one already,
/// it stays.
pub fn set_up(log: Log) {
    let lines = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from(log.level))
        .with_writer(io::stderr)
        .with_target(false);
    // The only error is that one is set already.
    let _ = match log.format {
        Format::Text => {
            let colours = io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            // The sentence says it all; fields are for programs.
            let sentence = format::debug_fn(|line, field, value| match field.name() {
                "message" => write!(line, "{value:?}"),
                _ => Ok(()),
            });
            let lines = lines.fmt_fields(sentence).with_ansi(colours);
            tracing::subscriber::set_global_default(lines.finish())
        }
        Format::Json => {
            let lines = lines.json().flatten_event(true);
            let lines = lines.with_current_span(false).with_span_list(false);
            tracing::subscriber::set_global_default(lines.finish())
        }
    };
}
