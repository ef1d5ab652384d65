//! What there is to report.

use std::fmt;
use std::time::Duration;

/// What has happened so far.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// How many cycles have begun.
    pub cycles: u32,
    /// Publishes that were acknowledged.
    pub acknowledged: u64,
    /// Messages that subscribers received, the first time.
    pub delivered: u64,
    /// Messages that were acknowledged and did not come.
    pub lost: u64,
    /// Messages that came again although QoS 2 forbids it.
    pub duplicated: u64,
    /// Messages of QoS 1 that came again.
    pub repeated: u64,
    /// How often the broker was killed under load.
    pub kills: u32,
    /// How many of these kills fell between the first write of a batch and the end of its sync.
    pub kills_uncommitted: u32,
    /// How often it was killed before it was ready.
    pub kills_in_recovery: u32,
    /// How often it was killed shortly after it was ready.
    pub kills_after_recovery: u32,
    /// Writes that a loss of power could take.
    pub writes_unsynced: u64,
    /// The fewest publishes acknowledged in a cycle.
    pub fewest_acknowledged: Option<u64>,
    /// Syncs of the disk.
    pub syncs: u64,
    /// Sessions that were taken up again, or rightly not.
    pub sessions_checked: u64,
    /// Retained messages that were compared with what was acknowledged.
    pub retained_checked: u64,
    /// Changes of subscriptions that were acknowledged.
    pub changes: u64,
    /// Wills of clients that were connected at a kill.
    pub wills: u64,
    /// How often the broker has become ready, and how long that took altogether.
    pub starts: u32,
    /// See `starts`.
    pub time_to_ready: Duration,
    /// The longest that it took.
    pub longest_to_ready: Duration,
}

impl Figures {
    /// Grows whenever something comes that was waited for.
    pub(super) fn progress(&self) -> u64 {
        self.acknowledged + self.delivered + self.repeated + self.changes
    }

    /// How long it took on average until the broker was ready.
    pub fn mean_to_ready(&self) -> Duration {
        self.time_to_ready
            .checked_div(self.starts)
            .unwrap_or_default()
    }

    /// The share of kills that fell between the first write of a batch and the end of its sync, in
    /// percent.
    pub fn share_uncommitted(&self) -> f64 {
        f64::from(self.kills_uncommitted) * 100.0 / f64::from(self.kills.max(1))
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.share_uncommitted();
        let fewest = self.fewest_acknowledged.unwrap_or(0);
        let mean = self.mean_to_ready().as_secs_f64() * 1000.0;
        let longest = self.longest_to_ready.as_secs_f64() * 1000.0;
        writeln!(
            f,
            "{} cycles: {} acknowledged (at least {fewest} in each), {} delivered, {} lost, \
             {} duplicated, {} repeated at QoS 1;",
            self.cycles,
            self.acknowledged,
            self.delivered,
            self.lost,
            self.duplicated,
            self.repeated
        )?;
        writeln!(
            f,
            "    {} kills, {} ({share:.0} %) with a batch uncommitted, {} during recovery, {} \
             shortly after it; {} writes unsynced; {} syncs;",
            self.kills,
            self.kills_uncommitted,
            self.kills_in_recovery,
            self.kills_after_recovery,
            self.writes_unsynced,
            self.syncs
        )?;
        write!(
            f,
            "    {} sessions, {} retained, {} changes of subscriptions, {} wills as promised; \
             ready after {mean:.0} ms (at most {longest:.0} ms)",
            self.sessions_checked, self.retained_checked, self.changes, self.wills
        )
    }
}
