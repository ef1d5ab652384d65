//! Time as core knows it: a number that the caller tells.
//!
//! Core never asks a clock. [`Instant`]s are milliseconds since a start that the caller chooses and
//! never go back; the wall clock is told once, at the start, and serves only to store deadlines and
//! to convert them when they are read again, so a step of the system's clock moves nothing.

use core::time::Duration;

/// A moment on the caller's monotonic clock, in milliseconds since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment `millis` milliseconds after the caller's start.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the caller's start.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment `duration` later, rounded up to a millisecond: a deadline is never early.
    /// Durations beyond what fits mean 'never' and saturate.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = duration.as_nanos().div_ceil(1_000_000);
        Self(
            self.0
                .saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)),
        )
    }

    /// How long it is from `earlier` until this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The wall clock at the start: milliseconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallClock(u64);

impl WallClock {
    /// The wall-clock time `millis` milliseconds after 1970-01-01 00:00 UTC.
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01 00:00 UTC.
    pub const fn as_unix_millis(self) -> u64 {
        self.0
    }
}

/// How the caller's clock and the wall clock go together: by what both showed at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    start: Instant,
    wall_clock: WallClock,
}

impl Epoch {
    pub(crate) const fn new(start: Instant, wall_clock: WallClock) -> Self {
        Self { start, wall_clock }
    }

    /// A moment in milliseconds since 1970.
    pub(crate) fn to_unix(self, at: Instant) -> u64 {
        let since = at.0.saturating_sub(self.start.0);
        self.wall_clock.0.saturating_add(since)
    }

    /// A moment that is given in milliseconds since 1970; the start if it is before that.
    pub(crate) fn at_unix(self, millis: u64) -> Instant {
        let since = millis.saturating_sub(self.wall_clock.0);
        Instant(self.start.0.saturating_add(since))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_deadline_is_rounded_up_and_saturates() {
        let start = Instant::from_millis(10);
        assert_eq!(
            start.after(Duration::from_micros(1)),
            Instant::from_millis(11)
        );
        assert_eq!(start.after(Duration::MAX), Instant::from_millis(u64::MAX));
        assert_eq!(start.since(Instant::from_millis(11)), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn moments_are_numbers_without_an_end(
            start in prop_oneof![any::<u64>(), 0..100u64],
            duration in prop_oneof![
                any::<Duration>(),
                (0u64..1 << 40).prop_map(Duration::from_nanos),
            ],
        ) {
            let start = Instant::from_millis(start);
            let millis = duration.as_nanos().div_ceil(1_000_000);
            let sum = u128::from(start.as_millis()) + millis;
            let later = start.after(duration);
            prop_assert_eq!(u128::from(later.as_millis()), sum.min(u64::MAX.into()));
            // Not early, and less than a millisecond late.
            let waited = later.since(start);
            let is_never = later.as_millis() == u64::MAX;
            prop_assert!(is_never || waited >= duration);
            prop_assert!(waited < duration.saturating_add(Duration::from_millis(1)));
            prop_assert_eq!(start.since(later), Duration::ZERO);
        }
    }
}
