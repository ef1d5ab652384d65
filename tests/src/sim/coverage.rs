//! What worlds have really met. A run that has not met what it is for shows nothing.

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident $(: $least:literal)?,)*) => {
        /// How often what happened.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Coverage {
            $($(#[$doc])* pub(crate) $name: u64,)*
            /// Messages that were written, by QoS.
            pub(crate) delivered: [u64; 3],
            /// What the broker counted.
            pub(crate) broker: std::collections::BTreeMap<&'static str, u64>,
        }

        impl Coverage {
            /// Adds what another world has met.
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
                for (mine, other) in self.delivered.iter_mut().zip(other.delivered) {
                    *mine += other;
                }
                for (name, count) in &other.broker {
                    *self.broker.entry(name).or_default() += count;
                }
            }

            /// All counts by name, each with how often it should come up in a thousand worlds.
            pub(crate) fn counts(&self) -> Vec<(&'static str, u64, u64)> {
                vec![$((stringify!($name), self.$name, 0 $(+ $least)?)),*]
            }
        }
    };
}

counts! {
    /// Turns of the broker.
    turns,
    /// Steps that clients took.
    steps,
    /// Connections.
    connections,
    /// Second connections under an identifier that was in use.
    takeovers: 100,
    /// Sessions that went on.
    resumed: 100,
    sessions_expired: 20,
    ended_without_a_word: 100,
    keep_alive_ends: 5,
    write_ends: 1,
    kicks: 5,
    /// Messages sent again to their receivers.
    redelivered: 50,
    /// PUBREL sent again to receivers.
    releases_again: 5,
    /// QoS 2 messages that came again while they were held.
    repeated: 5,
    /// Messages that publishers sent again and that were taken for new.
    published_again: 10,
    /// What was read and perhaps never looked at when a connection ended.
    abandoned: 5,
    full_windows: 50,
    /// Turns at whose end somebody was not listened to.
    paused: 50,
    wills_due: 50,
    wills_delayed: 10,
    wills_taken_back: 10,
    will_deliveries: 20,
    /// Subscriptions that asked for what is retained.
    replays: 100,
    replayed: 50,
    shared_deliveries: 50,
    /// Messages that went to another member when a session ended.
    redispatched: 1,
    /// Writes that took less than was offered.
    short_writes: 50,
    /// Writes for which there was no room.
    refused_writes: 10,
    stops: 5,
    crashes: 5,
    died_before_puback: 1,
    died_before_pubrec: 1,
    died_before_pubrel: 1,
    died_before_pubcomp: 1,
    reconfigured: 5,
    /// Connections that ended inside a packet.
    cut_inside: 20,
    half_open: 5,
    stalls: 10,
    slow_doors: 50,
    refused: 5,
    /// Packets of hostile clients.
    noise: 50,
    false_alarms: 50,
    /// Answers on a new connection to what came on the old one.
    early_answers: 2,
    /// Messages that came again although they were answered.
    crossed: 1,
    /// Connections that went to the shard of their client.
    moves: 500,
    /// Batches.
    commits: 1000,
    /// Crashes while a batch was on its way to the store.
    crashes_with_a_batch: 10,
    /// Ends of processes that the real store, if there was one, was found whole after.
    real_starts,
    /// Times that the store failed.
    outages: 20,
    /// Messages of QoS 1 that came again after a crash.
    restored: 50,
    /// Starts with another number of shards.
    reshards: 10,
}

/// What the broker must have counted in a thousand worlds.
pub(crate) const OF_THE_BROKER: [(&str, u64); 16] = [
    ("redeliveries", 50),
    ("sessions_resumed", 50),
    ("sessions_discarded", 20),
    ("sessions_expired", 10),
    ("dropped_expired", 10),
    ("dropped_queue_full", 10),
    ("dropped_outbox_full", 5),
    ("dropped_too_large", 5),
    ("dropped_not_permitted", 10),
    ("dropped_absent", 10),
    ("dropped_session_ended", 10),
    ("publish_refused_not_authorized", 10),
    ("subscriptions_refused_not_authorized", 5),
    ("refused_by_receiver", 5),
    ("retained_expired", 5),
    ("ended_protocol_error", 20),
];
