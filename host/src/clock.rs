//! The machine's clocks, as core wants to be told them.

use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use wherry_core::time::{Instant, WallClock};

/// Counts milliseconds from the moment it was made, on the monotonic clock.
///
/// Every shard of a process has a copy of the same clock, so that their times can be compared.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: StdInstant,
    wall: WallClock,
}

impl Clock {
    /// Starts counting, and looks at the wall clock for the only time.
    pub fn start() -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: StdInstant::now(),
            wall: WallClock::from_unix_millis(whole_millis(unix)),
        }
    }

    /// The time now, for core.
    pub fn now(&self) -> Instant {
        Instant::from_millis(whole_millis(self.start.elapsed()))
    }

    /// What the wall clock showed at the start.
    pub fn wall_clock(&self) -> WallClock {
        self.wall
    }

    /// The moment `at` as the standard library's, for a runtime's timer; `None` if it is so far
    /// away that the type cannot hold it.
    pub fn to_std(&self, at: Instant) -> Option<StdInstant> {
        self.start
            .checked_add(Duration::from_millis(at.as_millis()))
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_converted_for_a_timer_is_not_before_the_same_moment_for_core() {
        let clock = Clock::start();
        let later = clock.now().after(Duration::from_secs(3));
        let timer = clock.to_std(later).unwrap();
        assert!(timer > StdInstant::now() + Duration::from_secs(2));
        assert_eq!(whole_millis(timer - clock.start), later.as_millis());
    }
}
