//! The configuration is tested from outside: text, variables and flags in, settings or messages
//! out.

mod files;
mod sources;
mod template;
mod values;

use std::ffi::OsString;

use super::{ConfigError, Settings, load, parse};
use crate::options::Flags;

/// The one error of the file `text`.
#[track_caller]
fn error(text: &str) -> String {
    match errors(text).as_slice() {
        [one] => one.clone(),
        other => panic!("{text}: {other:#?}"),
    }
}

#[track_caller]
fn errors(text: &str) -> Vec<String> {
    match parse(text, "a.toml") {
        Ok(settings) => panic!("{text}: {settings:#?}"),
        Err(errors) => shown(&errors),
    }
}

fn shown(errors: &[ConfigError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn settings(text: &str) -> Settings {
    parse(text, "a.toml").unwrap_or_else(|errors| panic!("{text}: {:#?}", shown(&errors)))
}

/// What variables alone make of the defaults.
fn environment(variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let variables = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    load(&Flags::default(), variables).map_err(|errors| shown(&errors))
}

fn listeners(settings: &Settings) -> Vec<String> {
    settings.listen.iter().map(ToString::to_string).collect()
}
