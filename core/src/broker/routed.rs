//! What became of a message that was routed.

use crate::packet::ReasonCode;

/// What became of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Routed {
    /// How many subscribers it matched.
    pub(super) matched: usize,
    /// How many of them have not taken it because their queue is full.
    pub(super) refused: usize,
    /// Why it went nowhere at all, or was not retained.
    pub(super) refusal: Option<ReasonCode>,
    /// The ticket under which peers say more of it; 0 is none.
    pub(super) ticket: u64,
}

impl Routed {
    /// What became of it here and there, together.
    pub(super) fn add(&mut self, other: Self) {
        self.matched += other.matched;
        self.refused += other.refused;
        self.refusal = self.refusal.or(other.refusal);
    }

    /// It was taken, and not by nobody.
    pub(super) fn taken() -> Self {
        Self {
            matched: 1,
            ..Self::default()
        }
    }

    /// It was not taken.
    pub(super) fn refused(reason: ReasonCode) -> Self {
        Self {
            refusal: Some(reason),
            ..Self::default()
        }
    }

    /// What its publisher is told.
    pub(super) fn reason(self) -> ReasonCode {
        if let Some(reason) = self.refusal {
            reason
        } else if self.matched == 0 {
            ReasonCode::NoMatchingSubscribers
        } else if self.refused == self.matched {
            ReasonCode::QuotaExceeded
        } else {
            ReasonCode::Success
        }
    }
}
