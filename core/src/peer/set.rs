//! Sets of shards.

/// A set of shards, of which there are at most 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shards(u64);

impl Shards {
    pub(crate) const NONE: Self = Self(0);

    /// One shard. One that cannot be is none.
    pub(crate) fn one(shard: u8) -> Self {
        Self(1u64.checked_shl(shard.into()).unwrap_or(0))
    }

    /// The first `count` shards.
    pub(crate) fn first(count: u8) -> Self {
        Self(match 1u64.checked_shl(count.into()) {
            Some(next) => next - 1,
            None => u64::MAX,
        })
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(crate) fn contains(self, shard: u8) -> bool {
        self.0 & Self::one(shard).0 != 0
    }

    pub(crate) fn insert(&mut self, shard: u8) {
        self.0 |= Self::one(shard).0;
    }

    pub(crate) fn remove(&mut self, shard: u8) {
        self.0 &= !Self::one(shard).0;
    }

    /// Those of either.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of both.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that the other has not.
    #[must_use]
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The first one.
    pub(crate) fn lowest(self) -> Option<u8> {
        let bit = u8::try_from(self.0.trailing_zeros()).ok()?;
        (bit < 64).then_some(bit)
    }

    /// All of them, in order.
    pub(crate) fn iter(self) -> impl Iterator<Item = u8> {
        let mut left = self;
        core::iter::from_fn(move || {
            let shard = left.lowest()?;
            left.remove(shard);
            Some(shard)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_first_and_the_last_shard_are_like_others() {
        let all = Shards::first(64);
        assert_eq!(all.len(), 64);
        assert_eq!(all.iter().collect::<Vec<_>>(), (0..64).collect::<Vec<_>>());
        assert_eq!(Shards::first(2).iter().collect::<Vec<_>>(), [0, 1]);
        let mut some = Shards::one(0).or(Shards::one(63));
        assert!(some.contains(0) && some.contains(63) && !some.contains(1));
        some.remove(0);
        assert_eq!(some.lowest(), Some(63));
        assert!(Shards::one(64).is_empty() && !all.contains(200));
        assert_eq!(all.without(some).and(some), Shards::NONE);
    }
}
