//! The configuration as a file with comments.

use std::fmt::Write as _;

use super::keys::{self, Key, TABLES};

/// How long a line of a comment may get.
const WIDTH: usize = 96;

const HEAD: &str = "The configuration of Wherry, complete: every key with its default, so that a \
                    line changes nothing until it is edited, and any of them may be left out. \
                    `wherry check --config FILE` tells what is wrong with a file. Environment \
                    variables override it: WHERRY_LISTEN, WHERRY_LIMITS_MAX_CONNECTIONS and so \
                    on. Flags override both.";

/// A file that has every key, what it means, what it takes, and its default.
pub fn template() -> String {
    let mut out = String::new();
    comment(&mut out, HEAD);
    keys_of(&mut out, "");
    for (table, about) in TABLES {
        out.push('\n');
        comment(&mut out, about);
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(out, "[{table}]");
        keys_of(&mut out, table);
    }
    out
}

fn keys_of(out: &mut String, table: &str) {
    for Key {
        name, about, kind, ..
    } in keys::all().filter(|key| key.table == table)
    {
        out.push('\n');
        comment(out, about);
        comment(out, &kind.takes());
        let _ = writeln!(out, "{name} = {}", kind.default_value());
    }
}

/// Writes `text` in lines of at most `WIDTH` characters.
fn comment(out: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split(' ') {
        if width > 0 && width + 1 + word.len() <= WIDTH {
            let _ = write!(out, " {word}");
            width += 1 + word.len();
        } else {
            let new_line = if width > 0 { "\n" } else { "" };
            let _ = write!(out, "{new_line}# {word}");
            width = 2 + word.len();
        }
    }
    out.push('\n');
}
