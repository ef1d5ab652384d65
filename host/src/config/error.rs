//! Messages about a configuration, and what was probably meant.

use thiserror::Error;

use crate::shown::{SHOWN_CHARS, Shown};

/// What is wrong with a configuration, where, and what to do about it:
/// ``wherry.toml:7: limits.max_conections: unknown key. Did you mean `max_connections`?``
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {message}")]
pub struct ConfigError {
    place: String,
    message: String,
}

impl ConfigError {
    /// `place` is a file, a line of one, or a variable.
    pub(super) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            message: message.into(),
        }
    }

    /// The same, about `key`.
    pub(super) fn about(place: impl Into<String>, key: &str, message: &str) -> Self {
        Self::new(place, format!("{}: {message}", Shown(key)))
    }
}

/// The one of `names` that `written` is a slip of, if there is one.
pub(super) fn nearest<'a>(
    written: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Fewer than four of ten characters wrong: a slip or a part left out, not another word.
    const LIKE_ENOUGH: f64 = 0.6;
    if written.len() > SHOWN_CHARS {
        return None;
    }
    names
        .into_iter()
        .map(|name| {
            let likeness = strsim::normalized_damerau_levenshtein(written, name);
            (name, likeness)
        })
        .filter(|(_, likeness)| *likeness >= LIKE_ENOUGH)
        .max_by(|(_, one), (_, other)| one.total_cmp(other))
        .map(|(name, _)| name)
}
