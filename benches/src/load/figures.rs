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
    /// How many of them were not the next one of their topic.
    pub disordered: u64,
    /// How many of those came after one that was published later, or came before.
    pub late: u64,
    /// How many have not come to a subscriber to whom they should.
    pub lost: u64,
    /// How many more have come to a subscriber than were published.
    pub repeated: u64,
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
    pub(super) late: u64,
}

impl Sums {
    pub(super) fn add(&mut self, client: &Client) {
        self.published += client.seen.published;
        self.unacknowledged += client.unacknowledged() as u64;
        self.delivered += client.seen.received;
        self.disordered += client.seen.disordered;
        self.late += client.seen.late;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_told_whatever_the_order() {
        let times = Percentiles::of((1..=1001).rev().collect());
        assert_eq!((times.half, times.most), (501, 991));
    }

    #[test]
    fn nothing_has_no_percentiles() {
        let times = Percentiles::of(Vec::new());
        assert_eq!((times.half, times.most), (0, 0));
    }
}
