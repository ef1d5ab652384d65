//! The tables, their version, and how an older one becomes this one.

use rusqlite::{Connection, Transaction};

/// `WHRY`: says whose file it is.
pub(super) const APPLICATION: i32 = 0x5748_5259;

/// What brings a store from each version to the next; the first makes it from nothing. What was
/// released is never changed.
const STEPS: &[&str] = &[FIRST];

/// The version that this broker writes.
pub(super) fn version() -> i32 {
    i32::try_from(STEPS.len()).unwrap_or(i32::MAX)
}

/// Nothing is keyed by the number of shards; which shard has a session is only where it was last.
/// Moments are milliseconds since 1970-01-01 00:00 UTC. Numbers that have no sign here are stored
/// with the same bits.
const FIRST: &str = "
CREATE TABLE session (
    client_id TEXT PRIMARY KEY NOT NULL,
    shard INTEGER NOT NULL,
    expiry INTEGER NOT NULL, -- seconds; 4294967295 is without end
    ends INTEGER, -- a moment; none while its client is connected
    connected INTEGER NOT NULL,
    sent INTEGER NOT NULL, -- places up to this one may have been sent
    will_topic TEXT, -- none: there is no will
    will_properties BLOB,
    will_payload BLOB,
    will_qos INTEGER,
    will_retain INTEGER,
    will_expiry INTEGER, -- seconds
    will_delay INTEGER, -- seconds
    will_due INTEGER, -- a moment; none while its client is connected
    will_permitted INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE subscription (
    client_id TEXT NOT NULL,
    filter TEXT NOT NULL, -- with $share/<group>/ before it, if it is shared
    identifier INTEGER NOT NULL, -- 0 is none
    qos INTEGER NOT NULL,
    no_local INTEGER NOT NULL,
    retain_as_published INTEGER NOT NULL,
    replaying INTEGER NOT NULL,
    PRIMARY KEY (client_id, filter)
) STRICT, WITHOUT ROWID;

-- Identifiers of QoS 2 messages that came and are not released.
CREATE TABLE incoming (
    client_id TEXT NOT NULL,
    packet_id INTEGER NOT NULL,
    PRIMARY KEY (client_id, packet_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE message (
    number INTEGER PRIMARY KEY NOT NULL,
    topic TEXT NOT NULL,
    properties BLOB NOT NULL, -- as MQTT 5 encodes them
    payload BLOB NOT NULL,
    qos INTEGER NOT NULL,
    retain INTEGER NOT NULL,
    expires INTEGER -- a moment
) STRICT;

-- What sessions are owed, in the order of the places.
CREATE TABLE delivery (
    client_id TEXT NOT NULL, -- empty: left over by sessions that have ended
    place INTEGER NOT NULL,
    message INTEGER, -- none: the client has it, and is to be sent PUBREL
    qos INTEGER NOT NULL,
    retain INTEGER NOT NULL,
    replayed INTEGER NOT NULL,
    identifiers BLOB, -- four bytes each, the least significant first
    share TEXT, -- $share/<group>/<filter>
    packet_id INTEGER,
    PRIMARY KEY (client_id, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE retained (
    topic TEXT PRIMARY KEY NOT NULL,
    version INTEGER NOT NULL,
    properties BLOB, -- none: it was cleared
    payload BLOB,
    qos INTEGER,
    retain INTEGER,
    expires INTEGER -- a moment
) STRICT;

-- What shards owe each other.
CREATE TABLE owed (
    shard INTEGER NOT NULL,
    number INTEGER NOT NULL,
    topic TEXT NOT NULL,
    properties BLOB NOT NULL,
    payload BLOB NOT NULL,
    qos INTEGER NOT NULL,
    retain INTEGER NOT NULL,
    expires INTEGER,
    PRIMARY KEY (shard, number)
) STRICT;

CREATE TABLE debt (
    shard INTEGER NOT NULL,
    number INTEGER NOT NULL,
    to_shard INTEGER NOT NULL,
    subscribed INTEGER NOT NULL,
    PRIMARY KEY (shard, number, to_shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE debt_share (
    shard INTEGER NOT NULL,
    number INTEGER NOT NULL,
    to_shard INTEGER NOT NULL,
    share TEXT NOT NULL,
    PRIMARY KEY (shard, number, to_shard, share)
) STRICT, WITHOUT ROWID;

CREATE TABLE link (
    from_shard INTEGER NOT NULL,
    to_shard INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (from_shard, to_shard)
) STRICT, WITHOUT ROWID;
";

/// The tables of this version.
pub(super) const TABLES: [&str; 10] = [
    "session",
    "subscription",
    "incoming",
    "message",
    "delivery",
    "retained",
    "owed",
    "debt",
    "debt_share",
    "link",
];

/// Brings a store of version `from` to this one; 0 is a file without anything.
pub(super) fn migrate(connection: &mut Connection, from: i32) -> rusqlite::Result<()> {
    let done = usize::try_from(from).unwrap_or(0);
    let steps = STEPS.get(done..).unwrap_or_default();
    if steps.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for step in steps {
        transaction.execute_batch(step)?;
    }
    mark(&transaction)?;
    transaction.commit()
}

fn mark(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", version())
}
