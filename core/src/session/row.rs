//! What of a session and of its deliveries is in the store.

slotmap::new_key_type! {
    /// A delivery whose row is to be written with the next batch.
    pub(crate) struct PendingId;
}

/// What of a session is in the store.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Whether its messages, subscriptions and identifiers have to survive a crash: it outlives its
    /// connection, and there is a store.
    pub(crate) durable: bool,
    /// Whether its own row may be there.
    pub(crate) on_disk: bool,
    /// The batch that its own row was last put down for.
    pub(crate) dirty: u64,
    /// How many of its deliveries may have a row.
    pub(crate) deliveries: usize,
    /// The last batch in which one of those was put or deleted.
    pub(crate) batch: u64,
    /// The last batch before which nothing that its client publishes goes to peers.
    pub(crate) owes: u64,
}

/// The row of one delivery.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// Where the delivery stands among those of its session; 0 if the session is not durable.
    pub(crate) place: u64,
    /// The batch that last wrote it, or that is to write it.
    pub(crate) batch: u64,
    /// The null handle if there is nothing new to be written.
    pub(crate) pending: PendingId,
    /// Whether it may be in the store.
    pub(crate) on_disk: bool,
    /// Whether it refers to its message.
    pub(crate) refers: bool,
}
