//! When the filters changed that may match a topic.

/// Filters without wildcards are told apart by so many groups of their hashes.
const GROUPS: usize = 64;

/// Counts how often filters came and went, so that what was found for a topic can be kept as long
/// as it is sure to be true.
#[derive(Debug)]
pub(crate) struct Changes {
    /// Of filters without wildcards, by their hashes: each matters to its own topic alone.
    exact: [u64; GROUPS],
    /// Of filters with wildcards.
    wildcard: u64,
}

/// What the counts were for a topic. It is true of the topic as long as it stays equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    exact: u64,
    wildcard: u64,
}

impl Stamp {
    /// Older than all others.
    pub(crate) const NEVER: Self = Self {
        exact: u64::MAX,
        wildcard: u64::MAX,
    };
}

impl Changes {
    pub(crate) const fn new() -> Self {
        Self {
            exact: [0; GROUPS],
            wildcard: 0,
        }
    }

    /// A filter without wildcards that hashes to this came or went.
    pub(crate) fn exact(&mut self, hash: u64) {
        self.exact[group(hash)] += 1;
    }

    /// A filter with wildcards came or went.
    pub(crate) fn wildcard(&mut self) {
        self.wildcard += 1;
    }

    /// Anything may be different.
    pub(crate) fn everything(&mut self) {
        self.wildcard += 1;
    }

    /// What the counts are now for a topic that hashes to this.
    #[inline]
    pub(crate) fn stamp(&self, hash: u64) -> Stamp {
        Stamp {
            exact: self.exact[group(hash)],
            wildcard: self.wildcard,
        }
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "it is below the length")]
fn group(hash: u64) -> usize {
    hash as usize % GROUPS
}
