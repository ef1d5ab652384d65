//! Every key there is: its name, what it means, what it takes and where it goes.
//!
//! Defaults are not here: they are those of [`Settings`] and of the core's `Config`.

use wherry_core::topic::MAX_LEVELS;

use super::Settings;
use super::value::{Given, Kind, Number, Unit};

/// One key of the configuration.
pub(super) struct Key {
    /// The table it stands in; empty for the top of the file.
    pub(super) table: &'static str,
    pub(super) name: &'static str,
    /// For people who run a broker.
    pub(super) about: &'static str,
    pub(super) kind: Kind,
}

impl Key {
    pub(super) fn find(table: &str, name: &str) -> Option<&'static Self> {
        KEYS.iter()
            .find(|key| key.table == table && key.name == name)
    }

    /// `limits.max_connections`.
    pub(super) fn path(&self) -> String {
        join(self.table, self.name)
    }

    /// `WHERRY_LIMITS_MAX_CONNECTIONS`.
    pub(super) fn variable(&self) -> String {
        format!("WHERRY_{}", self.path().to_uppercase().replace('.', "_"))
    }

    /// Sets its field of `settings` to `given`, or says what is wrong with it and what would be
    /// right.
    pub(super) fn set(&self, settings: &mut Settings, given: &Given<'_>) -> Result<(), String> {
        self.kind.set(settings, given)
    }
}

/// The path of `name` in `table`.
pub(super) fn join(table: &str, name: &str) -> String {
    if table.is_empty() {
        name.to_owned()
    } else {
        format!("{table}.{name}")
    }
}

/// A table of the configuration, and what its keys have in common.
pub(super) const TABLES: [(&str, &str); 2] = [
    (
        "limits",
        "Bounds and time-outs. What a client can make the broker hold is bounded by these; sizes \
         are numbers of bytes or texts such as \"4 KiB\" or \"1.5 GiB\", times are numbers of \
         seconds or texts such as \"500ms\" or \"1m 30s\".",
    ),
    ("log", "The log, which goes to standard error."),
];

type Field = fn(&mut Settings) -> &mut dyn Number;

const fn limit(
    name: &'static str,
    unit: Unit,
    (least, most): (u64, u64),
    field: Field,
    about: &'static str,
) -> Key {
    Key {
        table: "limits",
        name,
        about,
        kind: Kind::Number {
            unit,
            range: least..=most,
            field,
        },
    }
}

const SECOND: u64 = 1000;
const DAY: u64 = 86_400 * SECOND;
const KIB: u64 = 1 << 10;
const TIB: u64 = 1 << 40;
const BILLION: u64 = 1_000_000_000;
/// A shorter time-out cuts off clients that are merely far away; nobody waits longer than a day,
/// and no sum of times can overflow.
const TIME_OUT: (u64, u64) = (SECOND / 10, DAY);
/// What the protocol can express: its longest length, and one byte and four bytes before.
const LONGEST_PACKET: u64 = 268_435_455 + 5;

/// All keys, in the order in which people should read of them.
pub(super) static KEYS: &[Key] = &[
    Key {
        table: "",
        name: "listen",
        about: "Where to listen: an address or a list of them, such as \"0.0.0.0:1883\" for all \
                networks of this machine, \"[::]:1883\" for those of IPv6 too, or \
                \"localhost:1883\". At port 0 the system picks one.",
        kind: Kind::Listen,
    },
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
    Key {
        table: "log",
        name: "level",
        about: "How much is logged.",
        kind: Kind::Word(|settings| &mut settings.log.level),
    },
    Key {
        table: "log",
        name: "format",
        about: "Lines of text for people, or one JSON object on each line for programs.",
        kind: Kind::Word(|settings| &mut settings.log.format),
    },
];
