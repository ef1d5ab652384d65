//! Topic names and topic filters: their grammar, and the two collections that are searched by them.
//!
//! - [`check_name`], [`check_filter`] and [`parse_shared`] say whether a client's string is one.
//! - [`matches()`] and [`covers`] compare single filters, without any collection.
//! - [`FilterTree`] answers, for a topic, who subscribed to it.
//! - [`RetainedTree`] answers, for a filter, which topics hold something.
//!
//! The collections take strings that have been checked. They stay correct and never panic on
//! others, except that the [`FilterTree`] matches no more than [`MAX_LEVELS`] levels.
//!
//! Beneath them lie a slab that hands out small ids, a table that finds ids by a keyed hash, and a
//! trie made of both; none of them is iterated in hash order.

mod filter;
mod filter_tree;
mod id_table;
mod matching;
mod name;
mod retained_cursor;
mod retained_tree;
mod siblings;
mod slab;
mod stamps;
mod subscribers;
mod text;
mod trie;
mod wildcards;

use thiserror::Error;

pub(crate) use filter::has_wildcard;
pub use filter::{SharedFilter, check_filter, parse_shared};
pub use filter_tree::{FilterId, FilterTree, Inserted};
pub use matching::{covers, matches, overlap};
pub use name::check_name;
pub use retained_cursor::{Cursor, Step};
pub(crate) use retained_tree::LookedUp;
pub use retained_tree::{RetainedTree, TopicId};
pub(crate) use stamps::{Changes, Stamp};

/// The most bytes a topic name or filter can have: its length is sent in two bytes.
pub const MAX_BYTES: usize = 65_535;

/// The most levels a topic name or filter can have here, whatever a configuration allows.
///
/// MQTT sets no limit. This one lets a match walk with a stack of fixed size, which no client can
/// make grow.
pub const MAX_LEVELS: usize = 256;

/// Why a string is not a topic name or not a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    /// It has no character ([MQTT-4.7.3-1]).
    #[error("a topic name or filter needs at least one character")]
    Empty,
    /// It is longer than [`MAX_BYTES`] ([MQTT-4.7.3-3]).
    #[error("a topic name or filter has at most 65,535 bytes")]
    TooLong,
    /// It has more levels than are allowed here.
    #[error("the topic name or filter has too many levels")]
    TooManyLevels,
    /// A topic name contains `+` or `#` ([MQTT-4.7.1-1] in 3.1.1, [MQTT-4.7.0-1] in 5.0).
    #[error("a topic name cannot contain wildcards")]
    WildcardInName,
    /// A `#` is not the whole last level of a filter, or a `+` not a whole level.
    #[error("`#` must be the whole last level, `+` a whole level")]
    MisplacedWildcard,
    /// A filter begins with `$share` but names no group of at least one character, or no filter
    /// after it ([MQTT-4.8.2-1], [MQTT-4.8.2-2]).
    #[error("a shared subscription has the form $share/<group>/<filter>")]
    MalformedShare,
    /// The group of a shared subscription contains `+` or `#` ([MQTT-4.8.2-2]).
    #[error("the group of a shared subscription cannot contain wildcards")]
    WildcardInGroup,
}

/// What names and filters have in common: how long they are, and how deep.
fn check_size(text: &str, max_levels: usize) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > MAX_BYTES {
        return Err(TopicError::TooLong);
    }
    let levels = 1 + text.bytes().filter(|&byte| byte == b'/').count();
    if levels > max_levels.min(MAX_LEVELS) {
        return Err(TopicError::TooManyLevels);
    }
    Ok(())
}

/// How many bytes a topic or filter counts for where the bytes of many are bounded: its own, and
/// what its levels beyond the first few take in a tree, which is many times more if they are short.
pub(crate) fn counted_bytes(text: &str) -> usize {
    const FREE_LEVELS: usize = 8;
    const LEVEL: usize = 64;
    let levels = text.bytes().filter(|byte| *byte == b'/').count() + 1;
    text.len() + LEVEL * levels.saturating_sub(FREE_LEVELS)
}
