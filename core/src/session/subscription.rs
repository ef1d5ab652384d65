//! One session's subscriptions.

use alloc::vec::Vec;

use super::rare::Empty;
use crate::packet::{QoS, SubscriptionOptions};
use crate::topic::FilterId;

/// What a subscription says about its deliveries, in eight bytes: it stands in the filter tree once
/// per subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// The Subscription Identifier; 0 is none.
    pub(crate) identifier: u32,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    /// Whether it brings messages already: not before all shards know of it.
    pub(crate) live: bool,
}

impl Subscription {
    /// The subscription as granted: at most `maximum` of what was asked for.
    pub(crate) fn granted(options: SubscriptionOptions, identifier: u32, maximum: QoS) -> Self {
        Self {
            identifier,
            qos: options.qos.min(maximum),
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            live: true,
        }
    }
}

/// The filters that a session is subscribed to, as handles of the filter tree, sorted.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    filters: Vec<FilterId>,
    /// How many bytes the filters count for.
    bytes: usize,
}

impl Empty for Subscriptions {
    fn empty() -> &'static Self {
        static EMPTY: Subscriptions = Subscriptions {
            filters: Vec::new(),
            bytes: 0,
        };
        &EMPTY
    }
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        self.filters.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// How many bytes the filters count for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn insert(&mut self, filter: FilterId, bytes: usize) {
        if let Err(place) = self.filters.binary_search(&filter) {
            if self.filters.is_empty() {
                // Most sessions have few subscriptions: the usual first four places would be waste.
                self.filters.reserve_exact(1);
            }
            self.filters.insert(place, filter);
            self.bytes += bytes;
        }
    }

    pub(crate) fn remove(&mut self, filter: FilterId, bytes: usize) {
        if let Ok(place) = self.filters.binary_search(&filter) {
            self.filters.remove(place);
            self.bytes -= bytes;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = FilterId> {
        self.filters.iter().copied()
    }
}
