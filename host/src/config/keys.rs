//! Every key there is: its name, what it means, what it takes and where it goes.
//!
//! Defaults are not here: they are those of [`Settings`] and of the core's `Config`.

mod limits;
mod mqtt;

use wherry_core::Place;

use super::Settings;
use super::field::Number;
use super::value::{Given, Kind, Unit};

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
        all().find(|key| key.table == table && key.name == name)
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
pub(super) const TABLES: [(&str, &str); 6] = [
    (
        "limits",
        "Bounds and time-outs. What a client can make the broker hold is bounded by these; sizes \
         are numbers of bytes or texts such as \"4 KiB\" or \"1.5 GiB\", times are numbers of \
         seconds or texts such as \"500ms\" or \"1m 30s\".",
    ),
    (
        "mqtt",
        "What is offered to clients, and how they are served. Clients of MQTT 5 are told of what \
         is not offered.",
    ),
    (
        "persistence",
        "What outlives the process: sessions with their subscriptions and messages, retained \
         messages and wills. With a store, nothing is acknowledged before it is safe.",
    ),
    (
        "sys",
        "What the broker tells of itself in messages: retained ones under $SYS/broker, named as \
         Mosquitto names them.",
    ),
    (
        "http",
        "What the broker tells over HTTP: /healthz (whether its shards turn), /readyz (whether it \
         takes clients) and /metrics (all that it counts, for Prometheus).",
    ),
    ("log", "The log, which goes to standard error."),
];

type Field = fn(&mut Settings) -> &mut dyn Number;

const fn number(
    table: &'static str,
    name: &'static str,
    unit: Unit,
    (least, most): (u64, u64),
    field: Field,
    about: &'static str,
) -> Key {
    Key {
        table,
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
/// All keys, in the order in which people should read of them.
pub(super) fn all() -> impl Iterator<Item = &'static Key> + Clone {
    [TOP, limits::KEYS, mqtt::KEYS, PERSISTENCE, REST]
        .into_iter()
        .flatten()
}

static TOP: &[Key] = &[
    Key {
        table: "",
        name: "listen",
        about: "Where to listen: an address or a list of them, such as \"0.0.0.0:1883\" for all \
                networks of this machine, \"[::]:1883\" for those of IPv6 too, or \
                \"localhost:1883\". At port 0 the system picks one.",
        kind: Kind::Listen,
    },
    number(
        "",
        "shards",
        Unit::Count,
        (1, Place::MOST as u64),
        |settings| &mut settings.shards,
        "How many threads serve clients, each its own part of them. \"auto\" is one for each core \
         that the process may use.",
    ),
];

static PERSISTENCE: &[Key] = &[
    Key {
        table: "persistence",
        name: "backend",
        about: "Where it is kept: in an SQLite database, or in memory only, so that nothing \
                outlives the process and nothing is promised.",
        kind: Kind::Word(|settings| &mut settings.persistence.backend),
    },
    Key {
        table: "persistence",
        name: "path",
        about: "The directory of the database. It is made if it is not there; one process can use \
                it at a time.",
        kind: Kind::Text(|settings| &mut settings.persistence.path),
    },
    Key {
        table: "persistence",
        name: "durability",
        about: "What a promise outlives: the end of power, for which everything is synced to the \
                disk first, or only the end of the process, which is faster.",
        kind: Kind::Word(|settings| &mut settings.persistence.durability),
    },
    number(
        "persistence",
        "commit_linger",
        Unit::Time,
        (0, SECOND),
        |settings| &mut settings.broker.commit_linger,
        "How long messages that are on their way to connected clients may wait to be written: \
         those that are acknowledged meanwhile need not be.",
    ),
    number(
        "persistence",
        "max_uncommitted_bytes",
        Unit::Bytes,
        (64 * KIB, TIB),
        |settings| &mut settings.broker.max_uncommitted_bytes,
        "How much may wait for the store, of all clients together, before those that publish are \
         slowed.",
    ),
];

static REST: &[Key] = &[
    number(
        "sys",
        "interval",
        Unit::Time,
        (SECOND, DAY),
        |settings| &mut settings.broker.sys_interval,
        "How often these messages are published. \"none\" is never: then there are none.",
    ),
    Key {
        table: "http",
        name: "listen",
        about: "Where to listen for HTTP. Everybody who reaches it may ask; nothing can be changed \
                there. At port 0 the system picks one.",
        kind: Kind::Http(|settings| &mut settings.http),
    },
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
