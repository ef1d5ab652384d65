//! Environment variables.

use std::ffi::OsString;

use super::Settings;
use super::error::{ConfigError, nearest};
use super::keys::{self, Key};
use super::value::{Given, Kind};
use crate::shown::Shown;

const PREFIX: &str = "WHERRY_";

/// Sets what those of `variables` say that are ours, and adds what is wrong with them to `errors`.
pub(super) fn apply(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    settings: &mut Settings,
    errors: &mut Vec<ConfigError>,
) {
    let mut ours: Vec<_> = variables
        .into_iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    // The system keeps them in no order.
    ours.sort();
    for (name, value) in ours {
        if let Err(message) = set(&name, value.to_str(), settings) {
            errors.push(ConfigError::new(Shown(&name).to_string(), message));
        }
    }
}

fn set(name: &str, value: Option<&str>, settings: &mut Settings) -> Result<(), String> {
    let Some(key) = keys::all().find(|key| key.variable() == name) else {
        return if is_service_link(name, value) {
            Ok(())
        } else {
            Err(unknown(name))
        };
    };
    let Some(value) = value else {
        return Err(format!("its value is not UTF-8. {}", key.kind.takes()));
    };
    if value.is_empty() {
        return Err(format!("it is empty: unset it. {}", key.kind.takes()));
    }
    match key.kind {
        Kind::Listen => listen(key, value, settings),
        _ => key.set(settings, &Given::bare(value)),
    }
}

/// Addresses are separated by commas here.
fn listen(key: &Key, value: &str, settings: &mut Settings) -> Result<(), String> {
    let mut all = Vec::new();
    for address in value.split(',') {
        key.set(settings, &Given::bare(address.trim()))?;
        all.append(&mut settings.listen);
    }
    settings.listen = all;
    Ok(())
}

/// Kubernetes sets such variables for each service in a namespace: for one that is called `wherry`,
/// `WHERRY_SERVICE_HOST` or `WHERRY_PORT_1883_TCP_ADDR`. A broker must start beside its own
/// service.
fn is_service_link(name: &str, value: Option<&str>) -> bool {
    let has_number_after = |part: &str| {
        name.split_once(part)
            .is_some_and(|(_, rest)| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    let is_url = value.is_some_and(|value| value.contains("://"));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || has_number_after("_PORT_")
        || (name.ends_with("_PORT") && is_url)
}

/// Flags that are named otherwise than the variable that does the same.
const FLAGS: [(&str, &str); 3] = [
    ("PORT", "LISTEN"),
    ("DATA", "PERSISTENCE_PATH"),
    ("HTTP", "HTTP_LISTEN"),
];

fn unknown(name: &str) -> String {
    let names: Vec<_> = keys::all().map(Key::variable).collect();
    // What all have in common makes none of them likelier.
    let likely = name.strip_prefix(PREFIX).and_then(|name| {
        let flag = FLAGS.iter().find(|(flag, _)| *flag == name);
        let names = names.iter().filter_map(|it| it.strip_prefix(PREFIX));
        flag.map(|(_, name)| *name).or_else(|| nearest(name, names))
    });
    match likely {
        Some(name) => format!("unknown variable. Did you mean {PREFIX}{name}?"),
        None => format!(
            "unknown variable. Unset it; variables that begin with {PREFIX} are for the broker, \
             and it knows: {}.",
            families().join(", ")
        ),
    }
}

/// All variables, those of a table as one: there are too many to name each.
fn families() -> Vec<String> {
    let mut families = Vec::new();
    for key in keys::all() {
        let family = match key.table {
            "" => key.variable(),
            table => format!("{PREFIX}{}_…", table.to_uppercase()),
        };
        if families.last() != Some(&family) {
            families.push(family);
        }
    }
    families
}
