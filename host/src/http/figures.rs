//! What there is to measure: each counter and gauge under the name that Prometheus knows it by.

use wherry_core::Broker;

/// Something that goes up and down.
#[derive(Clone, Copy)]
pub(super) struct Gauge {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) across: Across,
    pub(super) of: fn(&Broker) -> u64,
}

/// What the figures of several shards come to.
#[derive(Clone, Copy)]
pub(super) enum Across {
    /// Each has some of it.
    Sum,
    /// All have the same, but for what is on its way between them.
    Most,
}

/// The gauges of one shard, in the order of [`GAUGES`].
pub(super) type Gauges = [u64; GAUGES.len()];

const fn sum(name: &'static str, help: &'static str, of: fn(&Broker) -> u64) -> Gauge {
    Gauge {
        name,
        help,
        across: Across::Sum,
        of,
    }
}

const fn most(name: &'static str, help: &'static str, of: fn(&Broker) -> u64) -> Gauge {
    Gauge {
        name,
        help,
        across: Across::Most,
        of,
    }
}

/// All of them cost a shard a handful of reads. What would have to be added up over connections is
/// not here.
pub(super) const GAUGES: [Gauge; 15] = [
    sum(
        "wherry_connections",
        "Connections that are open, closing ones included.",
        |broker| broker.connections() as u64,
    ),
    sum(
        "wherry_clients_connected",
        "Clients that are connected.",
        |broker| broker.counters().clients_connected(),
    ),
    sum(
        "wherry_clients_connected_max",
        "The most clients that were connected at once; of several shards, the sum of what each has \
         seen.",
        |broker| broker.counters().clients_most,
    ),
    sum("wherry_sessions", "Sessions.", |broker| {
        broker.sessions() as u64
    }),
    sum(
        "wherry_sessions_absent",
        "Sessions whose client is absent.",
        |broker| broker.absent_sessions() as u64,
    ),
    sum(
        "wherry_subscriptions",
        "Subscriptions, shared ones included.",
        |broker| broker.subscriptions() as u64,
    ),
    sum(
        "wherry_subscriptions_shared",
        "Memberships of shared subscriptions.",
        |broker| broker.shared_subscriptions() as u64,
    ),
    sum(
        "wherry_queue_messages",
        "Messages that wait for clients or are in flight to them, once for every client.",
        |broker| broker.queued_messages() as u64,
    ),
    sum(
        "wherry_queue_bytes",
        "Bytes of the messages that wait for clients or are in flight to them, each counted once.",
        |broker| broker.queued_bytes() as u64,
    ),
    sum(
        "wherry_outbox_bytes",
        "Bytes that wait for sockets to take them.",
        |broker| broker.waiting_bytes() as u64,
    ),
    most(
        "wherry_retained_messages",
        "Retained messages, without those under $SYS.",
        |broker| broker.retained_messages() as u64,
    ),
    most(
        "wherry_retained_bytes",
        "Bytes of the topics, properties and payloads of retained messages.",
        |broker| broker.retained_bytes() as u64,
    ),
    most(
        "wherry_retained_tombstones",
        "Topics remembered as cleared, because an older change may still come.",
        |broker| broker.retained_tombstones() as u64,
    ),
    sum(
        "wherry_store_uncommitted_bytes",
        "Bytes, roughly, that wait for the store or that it has not committed.",
        |broker| broker.uncommitted_bytes() as u64,
    ),
    most(
        "wherry_store_failing",
        "Whether the store fails: 1 if it does.",
        |broker| u64::from(broker.is_store_failing()),
    ),
];

/// Counters that tell of one subject.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) members: Members,
}

/// Which counters of the broker a family has.
pub(super) enum Members {
    /// This one.
    One(&'static str),
    /// These, each with its value of the label.
    Labelled(&'static str, &'static [(&'static str, &'static str)]),
    /// All that begin like this; what follows is their `reason`.
    Reasons(&'static str),
}

const fn one(name: &'static str, help: &'static str, counter: &'static str) -> Family {
    Family {
        name,
        help,
        members: Members::One(counter),
    }
}

const fn labelled(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    counters: &'static [(&'static str, &'static str)],
) -> Family {
    Family {
        name,
        help,
        members: Members::Labelled(label, counters),
    }
}

const fn reasons(name: &'static str, help: &'static str, prefix: &'static str) -> Family {
    Family {
        name,
        help,
        members: Members::Reasons(prefix),
    }
}

/// All that the broker counts, but for what it has seen at most, which is a [gauge](GAUGES).
pub(super) static FAMILIES: &[Family] = &[
    one(
        "wherry_connections_opened_total",
        "Connections opened.",
        "connections_opened",
    ),
    one(
        "wherry_connections_over_limit_total",
        "Connections refused because there were too many.",
        "connections_over_limit",
    ),
    labelled(
        "wherry_connections_moved_total",
        "Connections that went to the shard that owns their client, and that came there.",
        "direction",
        &[("away", "moved_away"), ("in", "moved_in")],
    ),
    reasons(
        "wherry_connections_ended_total",
        "Connections that ended, by why.",
        "ended_",
    ),
    one(
        "wherry_stale_handles_total",
        "Calls with the handle of a connection that was gone.",
        "stale_handles",
    ),
    one(
        "wherry_connect_received_total",
        "CONNECT packets received.",
        "connect_received",
    ),
    one(
        "wherry_clients_admitted_total",
        "Clients admitted.",
        "clients_admitted",
    ),
    one(
        "wherry_clients_left_total",
        "Clients that were admitted and whose connection has ended.",
        "clients_left",
    ),
    one(
        "wherry_clients_refused_total",
        "Clients refused at or before CONNACK.",
        "clients_refused",
    ),
    one(
        "wherry_received_bytes_total",
        "Bytes received.",
        "bytes_received",
    ),
    one(
        "wherry_sent_bytes_total",
        "Bytes that sockets took.",
        "bytes_sent",
    ),
    one(
        "wherry_packets_received_total",
        "Complete packets received.",
        "packets_received",
    ),
    one(
        "wherry_packets_sent_total",
        "Packets put into outboxes.",
        "packets_sent",
    ),
    one(
        "wherry_publish_received_total",
        "PUBLISH packets received.",
        "publish_received",
    ),
    one(
        "wherry_publish_sent_total",
        "PUBLISH packets put into outboxes.",
        "publish_sent",
    ),
    one(
        "wherry_payload_received_bytes_total",
        "Bytes of the payloads of PUBLISH packets received.",
        "publish_bytes_received",
    ),
    one(
        "wherry_payload_sent_bytes_total",
        "Bytes of the payloads of PUBLISH packets put into outboxes.",
        "publish_bytes_sent",
    ),
    one(
        "wherry_publish_repeated_total",
        "PUBLISH packets of QoS 2 that had come before.",
        "publish_repeated",
    ),
    one(
        "wherry_publish_without_subscriber_total",
        "Messages received that nobody had subscribed to.",
        "publish_without_subscriber",
    ),
    reasons(
        "wherry_publish_refused_total",
        "Messages not taken from clients, by why.",
        "publish_refused_",
    ),
    reasons(
        "wherry_messages_dropped_total",
        "Messages and deliveries dropped, by why.",
        "dropped_",
    ),
    one(
        "wherry_messages_queued_total",
        "Messages put into queues.",
        "queued",
    ),
    labelled(
        "wherry_messages_resent_total",
        "Messages and releases sent again, on a new connection or on the same.",
        "connection",
        &[("new", "redeliveries"), ("same", "retransmissions")],
    ),
    one(
        "wherry_messages_refused_by_receiver_total",
        "Messages that receivers refused by an error in PUBACK or PUBREC.",
        "refused_by_receiver",
    ),
    one(
        "wherry_unknown_packet_ids_total",
        "Acknowledgements of packet identifiers that were not in use.",
        "unknown_packet_ids",
    ),
    one(
        "wherry_receive_maximum_exceeded_total",
        "Messages let pass although the client had more in flight than it may.",
        "receive_maximum_exceeded",
    ),
    one(
        "wherry_sessions_resumed_total",
        "Sessions that went on over a new connection.",
        "sessions_resumed",
    ),
    one(
        "wherry_sessions_discarded_total",
        "Sessions that ended because their client wanted a clean start.",
        "sessions_discarded",
    ),
    one(
        "wherry_sessions_expired_total",
        "Sessions whose expiry interval was over.",
        "sessions_expired",
    ),
    one(
        "wherry_sessions_over_limit_total",
        "Sessions refused because there were too many.",
        "sessions_over_limit",
    ),
    labelled(
        "wherry_retained_dropped_total",
        "Retained messages not kept or no longer kept: beyond a limit, to make room, or expired.",
        "reason",
        &[
            ("over_limit", "retained_over_limit"),
            ("made_room", "retained_dropped"),
            ("expired", "retained_expired"),
        ],
    ),
    reasons(
        "wherry_subscriptions_refused_total",
        "Filters refused in SUBSCRIBE, by why.",
        "subscriptions_refused_",
    ),
    one(
        "wherry_wills_published_total",
        "Wills published.",
        "wills_published",
    ),
    one(
        "wherry_wills_refused_total",
        "Wills that were due but not permitted.",
        "wills_refused",
    ),
    one(
        "wherry_events_dropped_total",
        "Events dropped because nobody fetched them.",
        "events_dropped",
    ),
    one(
        "wherry_store_batches_total",
        "Batches that the store has committed.",
        "batches_committed",
    ),
    one(
        "wherry_store_failures_total",
        "How often the store began to fail.",
        "store_failures",
    ),
    one(
        "wherry_store_deliveries_total",
        "Rows of deliveries written to the store.",
        "deliveries_written",
    ),
];
