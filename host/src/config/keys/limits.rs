//! `[limits]`: bounds, time-outs, and what becomes of what goes beyond.

use wherry_core::topic::MAX_LEVELS;

use super::super::value::{Kind, Unit};
use super::{BILLION, DAY, Field, KIB, Key, SECOND, TIB, TIME_OUT, number};

const fn limit(
    name: &'static str,
    unit: Unit,
    range: (u64, u64),
    field: Field,
    about: &'static str,
) -> Key {
    number("limits", name, unit, range, field, about)
}

/// Far below what MQTT can express, and more than anybody waits.
const CENTURY: u64 = 36_525 * DAY;

/// What the protocol can express: its longest length, and one byte and four bytes before.
const LONGEST_PACKET: u64 = 268_435_455 + 5;

pub(super) static KEYS: &[Key] = &[
    limit(
        "max_connections",
        Unit::Count,
        (1, 100_000_000),
        |settings| &mut settings.broker.max_connections,
        "How many connections may be open at once. The limit of open files of the operating \
         system must allow for them.",
    ),
    limit(
        "connect_timeout",
        Unit::Time,
        TIME_OUT,
        |settings| &mut settings.broker.connect_timeout,
        "How long a client may take from the opening of its connection until its CONNECT is \
         complete.",
    ),
    limit(
        "authenticate_timeout",
        Unit::Time,
        TIME_OUT,
        |settings| &mut settings.broker.authenticate_timeout,
        "How long the credentials of one client may be under examination.",
    ),
    limit(
        "max_auth_rounds",
        Unit::Count,
        (1, 1000),
        |settings| &mut settings.broker.max_auth_rounds,
        "How often a client may be challenged until it is let in, where an enhanced authentication \
         of MQTT 5 asks for more than one message.",
    ),
    limit(
        "write_timeout",
        Unit::Time,
        TIME_OUT,
        |settings| &mut settings.broker.write_timeout,
        "How long a client for which bytes wait may go without taking any of them before its \
         connection is closed.",
    ),
    limit(
        "close_timeout",
        Unit::Time,
        TIME_OUT,
        |settings| &mut settings.broker.close_timeout,
        "How long a connection that the broker closes may linger until its last words are read.",
    ),
    limit(
        "shutdown_timeout",
        Unit::Time,
        (0, DAY),
        |settings| &mut settings.shutdown_timeout,
        "How long to wait at the end of the broker for clients to take their last messages.",
    ),
    limit(
        "max_keep_alive",
        Unit::Time,
        (SECOND, 65_535 * SECOND),
        |settings| &mut settings.broker.max_keep_alive,
        "The longest keep-alive that a client gets. Clients that ask for a longer one, or for \
         none, get this one; those of MQTT 5 are told so.",
    ),
    limit(
        "max_packet_size",
        Unit::Bytes,
        (2, LONGEST_PACKET),
        |settings| &mut settings.broker.max_packet_size,
        "The largest packet taken from a client, all of it counted. Those of MQTT 5 are told.",
    ),
    limit(
        "max_connect_size",
        Unit::Bytes,
        (64, LONGEST_PACKET),
        |settings| &mut settings.broker.max_connect_size,
        "The largest CONNECT, will and credentials included. It bounds what a client that has \
         not said yet who it is can make the broker hold; max_packet_size holds for it too.",
    ),
    limit(
        "max_client_id_size",
        Unit::Bytes,
        // Every broker has to allow 23 bytes [MQTT-3.1.3-5].
        (23, 65_535),
        |settings| &mut settings.broker.max_client_id_len,
        "The longest client identifier.",
    ),
    limit(
        "max_topic_levels",
        Unit::Count,
        (1, MAX_LEVELS as u64),
        |settings| &mut settings.broker.max_topic_levels,
        "How many levels a topic or a topic filter may have; the slashes are between them.",
    ),
    limit(
        "max_known_topics",
        Unit::Count,
        (0, 1 << 20),
        |settings| &mut settings.broker.max_known_topics,
        "How many topics that are published to often a core keeps with what matches them, up to \
         500 bytes each; 0 is none.",
    ),
    limit(
        "max_subscriptions",
        Unit::Count,
        (1, BILLION),
        |settings| &mut settings.broker.max_subscriptions,
        "How many subscriptions one session may hold.",
    ),
    limit(
        "max_subscription_bytes",
        Unit::Bytes,
        (1, TIB),
        |settings| &mut settings.broker.max_subscription_bytes,
        "How many bytes the filters of one client may have together; each level of a filter beyond \
         the eighth counts for 64 more.",
    ),
    limit(
        "max_sessions",
        Unit::Count,
        (1, 100_000_000),
        |settings| &mut settings.broker.max_sessions,
        "How many sessions there may be, those of absent clients included.",
    ),
    limit(
        "max_session_expiry",
        Unit::Time,
        (0, CENTURY),
        |settings| &mut settings.broker.max_session_expiry,
        "How long a session may outlive its connection. Longer expiries, and sessions of MQTT 3.1 \
         and 3.1.1 that are not clean, are cut down to it; clients of MQTT 5 are told.",
    ),
    limit(
        "max_queued_messages",
        Unit::Count,
        (1, BILLION),
        |settings| &mut settings.broker.max_queued_messages,
        "How many messages of QoS 1 and 2 may wait for one session, those in flight included.",
    ),
    limit(
        "max_queued_bytes",
        Unit::Bytes,
        (KIB, TIB),
        |settings| &mut settings.broker.max_queued_bytes,
        "How much the messages that wait for one session may hold: topics, properties and \
         payloads.",
    ),
    limit(
        "max_total_queued_bytes",
        Unit::Bytes,
        (KIB, TIB),
        |settings| &mut settings.broker.max_queued_bytes_total,
        "How much the messages that wait for all sessions may hold, each counted once however many \
         sessions it waits for.",
    ),
    Key {
        table: "limits",
        name: "queue_policy",
        about: "What becomes of a message for a session whose queue is full. \"reject\": the \
                session does not get it, and if no other session takes it either, its publisher is \
                told. \"drop-newest\": the session does not get it, and nobody is told. \
                \"drop-oldest\": it takes the place of those that have waited longest.",
        kind: Kind::Word(|settings| &mut settings.broker.queue_policy),
    },
    Key {
        table: "limits",
        name: "queue_qos0",
        about: "Whether messages of QoS 0 wait for absent clients too.",
        kind: Kind::Switch(|settings| &mut settings.broker.queue_qos0),
    },
    limit(
        "max_retained_messages",
        Unit::Count,
        (0, BILLION),
        |settings| &mut settings.broker.max_retained,
        "How many retained messages may be held.",
    ),
    limit(
        "max_retained_bytes",
        Unit::Bytes,
        (0, TIB),
        |settings| &mut settings.broker.max_retained_bytes,
        "How much all retained messages may hold: topics, properties and payloads; each level of a \
         topic beyond the eighth counts for 64 bytes more.",
    ),
    Key {
        table: "limits",
        name: "retained_policy",
        about: "What becomes of a message to be retained when there is no room. \"reject\": it is \
                delivered but not retained, and its publisher is told. \"drop-oldest\": it takes \
                the place of those that were set the longest time ago.",
        kind: Kind::Word(|settings| &mut settings.broker.retained_policy),
    },
    limit(
        "max_outbox_bytes",
        Unit::Bytes,
        (KIB, TIB),
        |settings| &mut settings.broker.outbox_limit,
        "How much may wait for one client that reads slowly. Beyond this, messages of QoS 0 to \
         it are dropped and nothing is read from it; a single larger packet still passes.",
    ),
    limit(
        "max_total_outbox_bytes",
        Unit::Bytes,
        (KIB, TIB),
        |settings| &mut settings.broker.outbox_total_limit,
        "How much may wait for all clients together.",
    ),
    limit(
        "max_events",
        Unit::Count,
        (1, 1_000_000),
        |settings| &mut settings.broker.max_events,
        "How many events may wait until they are logged. Those beyond are counted and dropped.",
    ),
];
