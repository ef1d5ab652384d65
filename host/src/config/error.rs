//! Messages about a configuration, and what was probably meant.

use std::fmt::{self, Write as _};

use thiserror::Error;

/// How many characters of what somebody wrote are repeated in a message.
const SHOWN_CHARS: usize = 60;

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

/// Something that somebody wrote, on one line and not too long.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for character in chars.by_ref().take(SHOWN_CHARS) {
            match character {
                '"' | '\'' | '\\' => f.write_char(character)?,
                other => write!(f, "{}", other.escape_debug())?,
            }
        }
        if chars.next().is_some() {
            f.write_char('…')?;
        }
        Ok(())
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
