//! Moving averages of what happens in a minute, over the last one, five and fifteen minutes.
//!
//! They are those of a Unix load average: a rate weighs less the longer ago it was, by the factor
//! e^-1 after the length of the window.

use super::super::Counters;
use crate::time::Instant;

/// What the windows are called, and their lengths in minutes.
pub(super) const WINDOWS: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

type Counter = fn(&Counters) -> u64;

/// What is averaged.
pub(super) const LOADS: [(&str, Counter); 9] = [
    ("messages/received", |counters| counters.packets_received),
    ("messages/sent", |counters| counters.packets_sent),
    ("publish/received", |counters| counters.publish_received),
    ("publish/sent", |counters| counters.publish_sent),
    ("publish/dropped", Counters::dropped_for_want_of_room),
    ("bytes/received", |counters| counters.bytes_received),
    ("bytes/sent", |counters| counters.bytes_sent),
    ("connections", |counters| counters.connect_received),
    ("sockets", |counters| counters.connections_opened),
];

const MILLIS_PER_MINUTE: f64 = 60_000.0;

/// All averages.
#[derive(Debug)]
pub(super) struct Loads {
    /// When they were brought up to date.
    at: Instant,
    loads: [Load; LOADS.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    /// What the counter said then.
    counted: u64,
    /// In events a minute.
    averages: [f64; WINDOWS.len()],
}

impl Loads {
    /// Nothing has been counted at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            at: now,
            loads: [Load::default(); LOADS.len()],
        }
    }

    /// Begins anew: what was counted before is forgotten.
    pub(super) fn restart(&mut self, now: Instant, counters: &Counters) {
        *self = Self::new(now);
        for (load, (_, counter)) in self.loads.iter_mut().zip(LOADS) {
            load.counted = counter(counters);
        }
    }

    /// Brings all averages up to date.
    pub(super) fn update(&mut self, now: Instant, counters: &Counters) {
        let minutes = now.since(self.at).as_millis() as f64 / MILLIS_PER_MINUTE;
        if minutes <= 0.0 {
            return; // What has happened will be seen next time.
        }
        self.at = now;
        let decays = WINDOWS.map(|(_, window)| decay(minutes / window));
        for (load, (_, counter)) in self.loads.iter_mut().zip(LOADS) {
            let count = counter(counters);
            let rate = count.saturating_sub(load.counted) as f64 / minutes;
            load.counted = count;
            for (average, decay) in load.averages.iter_mut().zip(decays) {
                *average = rate + decay * (*average - rate);
            }
        }
    }

    /// An average in hundredths.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is to be cut off, and saturates"
    )]
    pub(super) fn hundredths(&self, load: usize, window: usize) -> u64 {
        (self.loads[load].averages[window] * 100.0 + 0.5) as u64
    }
}

/// e to the power of `-x`, which is not negative. `core` has no such function, and this one gives
/// the same bits on every machine.
fn decay(x: f64) -> f64 {
    let mut power = x;
    let mut halvings = 0;
    while power > 0.5 {
        power /= 2.0;
        halvings += 1;
    }
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..16 {
        term *= -power / f64::from(n);
        sum += term;
    }
    for _ in 0..halvings {
        sum *= sum;
    }
    sum
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn the_exponential_function_is_right_to_ten_digits() {
        for x in [0.0, 1e-9, 0.01, 1.0 / 6.0, 0.5, 0.51, 1.0, 3.7, 20.0, 90.0] {
            let right = f64::exp(-x);
            assert!((decay(x) - right).abs() <= right * 1e-10, "{x}");
        }
        for x in [1e4, 1e18, f64::MAX] {
            assert!(decay(x).abs() < 1e-300, "{x}");
        }
    }

    fn received(publish_received: u64) -> Counters {
        Counters {
            publish_received,
            ..Counters::default()
        }
    }

    #[test]
    fn a_steady_load_is_approached_and_left_with_the_length_of_the_window() {
        let place = LOADS
            .iter()
            .position(|(name, _)| *name == "publish/received");
        let place = place.expect("there is such a load");
        let mut loads = Loads::new(Instant::from_millis(0));
        let hundredths = |loads: &Loads| [0, 1, 2].map(|window| loads.hundredths(place, window));
        // Two a second, for one minute.
        for second in 1..=60 {
            loads.update(Instant::from_millis(second * 1000), &received(second * 2));
        }
        // 120 (1 - e^-1), 120 (1 - e^-1/5), 120 (1 - e^-1/15)
        assert_eq!(hundredths(&loads), [7585, 2175, 774]);
        // However often one looks, or seldom.
        let mut seldom = Loads::new(Instant::from_millis(0));
        seldom.update(Instant::from_millis(60_000), &received(120));
        assert_eq!(hundredths(&seldom), hundredths(&loads));
        // Silence for five minutes: times e^-5, e^-1, e^-1/3.
        loads.update(Instant::from_millis(360_000), &received(120));
        assert_eq!(hundredths(&loads), [51, 800, 555]);
    }

    #[test]
    fn what_no_time_has_passed_for_is_seen_later() {
        let mut loads = Loads::new(Instant::from_millis(7));
        loads.update(Instant::from_millis(7), &received(1000));
        assert_eq!(loads.hundredths(2, 0), 0);
        loads.update(Instant::from_millis(u64::MAX), &received(1000));
        loads.update(Instant::from_millis(u64::MAX), &received(u64::MAX));
        assert_eq!(loads.hundredths(2, 0), 0);
    }
}
