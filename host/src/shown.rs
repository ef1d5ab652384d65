//! What somebody wrote, repeated in a message: it cannot forge a line or drive a terminal.

use std::fmt::{self, Write as _};

/// How many characters of what somebody wrote are repeated in a message.
pub(crate) const SHOWN_CHARS: usize = 60;

/// Something that somebody wrote, on one line and not too long.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        escape(f, chars.by_ref().take(SHOWN_CHARS))?;
        if chars.next().is_some() {
            f.write_char('…')?;
        }
        Ok(())
    }
}

/// The same at any length: of a path, the end says most.
pub(crate) struct ShownWhole<'a>(pub(crate) &'a str);

impl fmt::Display for ShownWhole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(f, self.0.chars())
    }
}

fn escape(f: &mut fmt::Formatter<'_>, chars: impl Iterator<Item = char>) -> fmt::Result {
    for character in chars {
        match character {
            '"' | '\'' | '\\' => f.write_char(character)?,
            other => write!(f, "{}", other.escape_debug())?,
        }
    }
    Ok(())
}
