//! What came of a run.

use super::client::Client;

/// What came of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// From the first message to the last acknowledgement and delivery.
    pub seconds: f64,
    /// How many messages were published.
    pub published: u64,
    /// How many came to a subscriber, repetitions included.
    pub delivered: u64,
    /// How many of them were not the next one of their publisher.
    pub disordered: u64,
    /// How long publishers waited for the last word on a message, in microseconds.
    pub acknowledged_after: Percentiles,
    /// How long messages took to their subscribers, in microseconds. Of those that waited for a
    /// subscriber who was away it says nothing.
    pub delivered_after: Percentiles,
}

/// Of how many messages it did not take longer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Percentiles {
    /// Of half of them.
    pub half: u32,
    /// Of 99 of a hundred.
    pub most: u32,
}

impl Percentiles {
    pub(super) fn of(mut times: Vec<u32>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let last = times.len().saturating_sub(1) as f64;
            times.get((last * share) as usize).copied().unwrap_or(0)
        };
        Self {
            half: at(0.5),
            most: at(0.99),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) published: u64,
    pub(super) unacknowledged: u64,
    pub(super) delivered: u64,
    pub(super) disordered: u64,
}

impl Sums {
    pub(super) fn add(&mut self, client: &Client) {
        self.published += client.seen.published;
        self.unacknowledged += client.unacknowledged() as u64;
        self.delivered += client.seen.received;
        self.disordered += client.seen.disordered;
    }
}
