//! Where log lines go: standard error, one line each.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;

/// Sends everything logged through `tracing` at `level` and above to standard error. Colours only
/// where a person looks at them: on a terminal, and unless `NO_COLOR` is set.
///
/// A program that embeds the broker sets up its own subscriber instead; if there is one already,
/// it stays.
pub fn set_up(level: LevelFilter) {
    let colours = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .finish();
    // The only error is that one is set already.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
