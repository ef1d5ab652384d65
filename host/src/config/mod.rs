//! The configuration: what a broker is told, from where, and what is wrong with it.
//!
//! Sources in rising order are the defaults, a TOML file, environment variables and flags; a value
//! in one replaces that of the ones before. Every key stands once, in the table of `keys`: from it
//! come the checks, the names of the variables, the messages and the commented file that
//! [`template`] writes, so none of them can differ from the others.
//!
//! A variable is called `WHERRY_` and the path of its key in capitals, with underscores:
//! `WHERRY_LISTEN`, `WHERRY_LIMITS_MAX_CONNECTIONS`.

mod environment;
mod error;
mod field;
mod file;
mod keys;
mod persistence;
mod template;
#[cfg(test)]
mod tests;
mod value;

use std::ffi::OsString;
use std::num::NonZeroU8;
use std::time::Duration;

use wherry_core::Config;

use crate::address::{ListenAddr, MQTT_PORT};
use crate::logging::Log;
use crate::options::Flags;
use crate::shown::ShownWhole;

pub use error::ConfigError;
pub use persistence::{Backend, Persistence};
pub use template::template;

use keys::Key;
use value::Given;

/// The whole of it, checked: what a runtime needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<ListenAddr>,
    /// How many shards there are, each on a thread of its own; without a number, as many as there
    /// are cores for the process. No more than [`Place::MOST`](wherry_core::Place::MOST).
    pub shards: Option<NonZeroU8>,
    /// The bounds and time-outs of the broker: of the whole, however many shards there are.
    pub broker: Config,
    /// How long clients have at the end to take their last messages.
    pub shutdown_timeout: Duration,
    /// What outlives the process, and where.
    pub persistence: Persistence,
    /// Where to tell of health and metrics over HTTP, if anywhere.
    pub http: Option<ListenAddr>,
    /// How to log. A program that embeds a broker sees to that itself.
    pub log: Log,
}

impl Default for Settings {
    /// Port 1883 of this machine only, with bounds that suit a server of a few gigabytes.
    fn default() -> Self {
        Self {
            listen: vec![ListenAddr::loopback(MQTT_PORT)],
            shards: None,
            broker: Config::default(),
            shutdown_timeout: Duration::from_secs(10),
            persistence: Persistence::default(),
            http: None,
            log: Log::default(),
        }
    }
}

/// Collects the settings from all sources: the defaults, the file that `flags` name, `variables`
/// and `flags`.
///
/// # Errors
///
/// Everything that is wrong, in the order of the sources.
pub fn load(
    flags: &Flags,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Settings, Vec<ConfigError>> {
    let mut settings = Settings::default();
    let mut errors = Vec::new();
    if let Some(path) = &flags.config {
        let name = ShownWhole(&path.to_string_lossy()).to_string();
        match file::read(path) {
            Ok(text) => file::apply(&text, &name, &mut settings, &mut errors),
            Err(error) => errors.push(error),
        }
    }
    environment::apply(variables, &mut settings, &mut errors);
    flags.apply(&mut settings);
    // What is right by itself has to go together too.
    if errors.is_empty()
        && let Some(what) = settings.persistence.mistake()
    {
        errors.push(ConfigError::new("the configuration", what));
    }
    if errors.is_empty() {
        Ok(settings)
    } else {
        Err(errors)
    }
}

/// The settings of a file that reads `text`, and the defaults for the rest. Messages call the file
/// `file_name`.
///
/// # Errors
///
/// Everything that is wrong, in the order of the file. If it is not TOML, only that.
pub fn parse(text: &str, file_name: &str) -> Result<Settings, Vec<ConfigError>> {
    let mut settings = Settings::default();
    let mut errors = Vec::new();
    file::apply(text, file_name, &mut settings, &mut errors);
    if errors.is_empty() {
        Ok(settings)
    } else {
        Err(errors)
    }
}

/// The time-out of the end, as a flag gives it: by the same rules as everywhere.
pub(crate) fn parse_shutdown_timeout(text: &str) -> Result<Duration, String> {
    let mut settings = Settings::default();
    if let Some(key) = Key::find("limits", "shutdown_timeout") {
        key.set(&mut settings, &Given::bare(text))?;
    }
    Ok(settings.shutdown_timeout)
}

/// How many shards there are to be, as a flag gives it: by the same rules as everywhere.
pub(crate) fn parse_shards(text: &str) -> Result<Option<NonZeroU8>, String> {
    let mut settings = Settings::default();
    if let Some(key) = Key::find("", "shards") {
        key.set(&mut settings, &Given::bare(text))?;
    }
    Ok(settings.shards)
}

/// Where to tell of health and metrics, as a flag gives it: by the same rules as everywhere.
pub(crate) fn parse_http(text: &str) -> Result<Option<ListenAddr>, String> {
    let mut settings = Settings::default();
    if let Some(key) = Key::find("http", "listen") {
        key.set(&mut settings, &Given::bare(text))?;
    }
    Ok(settings.http)
}
