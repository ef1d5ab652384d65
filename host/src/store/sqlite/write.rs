//! From records to rows.

use rusqlite::{Connection, params};
use wherry_core::store::{
    Record, StoredDelivery, StoredMessage, StoredOwed, StoredSession, StoredSubscription,
};

/// How many statements are kept prepared: as many as there are below.
pub(super) const STATEMENTS: usize = 32;

/// Does what a record says.
pub(super) fn apply(to: &Connection, record: &Record) -> rusqlite::Result<()> {
    match record {
        Record::PutSession { client_id, session } => put_session(to, client_id, session),
        Record::DeleteSession { client_id } => delete_session(to, client_id),
        Record::PutSubscription {
            client_id,
            filter,
            subscription,
        } => put_subscription(to, client_id, filter, subscription),
        Record::DeleteSubscription { client_id, filter } => execute(
            to,
            "DELETE FROM subscription WHERE client_id = ? AND filter = ?",
            params![&**client_id, &**filter],
        ),
        Record::PutIncoming {
            client_id,
            packet_id,
        } => execute(
            to,
            "INSERT OR IGNORE INTO incoming VALUES (?, ?)",
            params![&**client_id, packet_id],
        ),
        Record::DeleteIncoming {
            client_id,
            packet_id,
        } => execute(
            to,
            "DELETE FROM incoming WHERE client_id = ? AND packet_id = ?",
            params![&**client_id, packet_id],
        ),
        Record::PutMessage { number, message } => put_message(to, *number, message),
        Record::DeleteMessage { number } => execute(
            to,
            "DELETE FROM message WHERE number = ?",
            params![number.cast_signed()],
        ),
        Record::PutDelivery {
            client_id,
            place,
            delivery,
        } => put_delivery(to, client_id, *place, delivery),
        Record::DeleteDelivery { client_id, place } => execute(
            to,
            "DELETE FROM delivery WHERE client_id = ? AND place = ?",
            params![&**client_id, place.cast_signed()],
        ),
        Record::PutRetained {
            topic,
            version,
            message,
        } => put_retained(to, topic, *version, message.as_ref()),
        Record::DeleteRetained { topic, version } => execute(
            to,
            "DELETE FROM retained WHERE topic = ? AND version <= ?",
            params![&**topic, version.cast_signed()],
        ),
        Record::PutOwed {
            shard,
            number,
            owed,
        } => put_owed(to, *shard, *number, owed),
        Record::DeleteOwed { shard, number } => delete_owed(to, *shard, *number),
        Record::PutLink {
            from,
            to: peer,
            number,
        } => execute(
            to,
            "REPLACE INTO link VALUES (?, ?, ?)",
            params![from, peer, number.cast_signed()],
        ),
        Record::DeleteLink { from, to: peer } => execute(
            to,
            "DELETE FROM link WHERE from_shard = ? AND to_shard = ?",
            params![from, peer],
        ),
    }
}

fn execute(to: &Connection, sql: &str, values: impl rusqlite::Params) -> rusqlite::Result<()> {
    to.prepare_cached(sql)?.execute(values).map(drop)
}

fn put_session(to: &Connection, client_id: &str, session: &StoredSession) -> rusqlite::Result<()> {
    let StoredSession {
        shard,
        expiry,
        ends,
        connected,
        sent,
        will,
    } = session;
    let will = will.as_ref();
    let message = will.map(|will| &will.message);
    execute(
        to,
        "REPLACE INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            client_id,
            shard,
            expiry,
            ends.map(u64::cast_signed),
            connected,
            sent.cast_signed(),
            message.map(|it| &*it.topic),
            message.map(|it| &*it.properties),
            message.map(|it| &*it.payload),
            message.map(|it| it.qos as u8),
            message.map(|it| it.retain),
            will.map(|it| it.expiry),
            will.map(|it| it.delay),
            will.and_then(|it| it.due).map(u64::cast_signed),
            will.map(|it| it.permitted),
        ],
    )
}

fn delete_session(to: &Connection, client_id: &str) -> rusqlite::Result<()> {
    for table in [
        "DELETE FROM session WHERE client_id = ?",
        "DELETE FROM subscription WHERE client_id = ?",
        "DELETE FROM incoming WHERE client_id = ?",
        "DELETE FROM delivery WHERE client_id = ?",
    ] {
        execute(to, table, [client_id])?;
    }
    Ok(())
}

fn put_subscription(
    to: &Connection,
    client_id: &str,
    filter: &str,
    subscription: &StoredSubscription,
) -> rusqlite::Result<()> {
    let StoredSubscription {
        identifier,
        qos,
        no_local,
        retain_as_published,
        replaying,
    } = *subscription;
    execute(
        to,
        "REPLACE INTO subscription VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![
            client_id,
            filter,
            identifier,
            qos as u8,
            no_local,
            retain_as_published,
            replaying
        ],
    )
}

fn put_message(to: &Connection, number: u64, message: &StoredMessage) -> rusqlite::Result<()> {
    execute(
        to,
        "REPLACE INTO message VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![
            number.cast_signed(),
            &*message.topic,
            &*message.properties,
            &*message.payload,
            message.qos as u8,
            message.retain,
            message.expires.map(u64::cast_signed)
        ],
    )
}

fn put_delivery(
    to: &Connection,
    client_id: &str,
    place: u64,
    delivery: &StoredDelivery,
) -> rusqlite::Result<()> {
    let StoredDelivery {
        message,
        qos,
        retain,
        replayed,
        identifiers,
        group,
        packet_id,
    } = delivery;
    let bytes: Vec<u8> = identifiers.iter().flat_map(|it| it.to_le_bytes()).collect();
    execute(
        to,
        "REPLACE INTO delivery VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            client_id,
            place.cast_signed(),
            message.map(u64::cast_signed),
            *qos as u8,
            retain,
            replayed,
            Some(bytes).filter(|bytes| !bytes.is_empty()),
            group.as_deref(),
            packet_id
        ],
    )
}

fn put_retained(
    to: &Connection,
    topic: &str,
    version: u64,
    message: Option<&StoredMessage>,
) -> rusqlite::Result<()> {
    execute(
        to,
        "INSERT INTO retained VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (topic) DO UPDATE SET
             version = excluded.version, properties = excluded.properties,
             payload = excluded.payload, qos = excluded.qos, retain = excluded.retain,
             expires = excluded.expires
         WHERE version <= excluded.version",
        params![
            topic,
            version.cast_signed(),
            message.map(|it| &*it.properties),
            message.map(|it| &*it.payload),
            message.map(|it| it.qos as u8),
            message.map(|it| it.retain),
            message.and_then(|it| it.expires).map(u64::cast_signed)
        ],
    )
}

fn put_owed(to: &Connection, shard: u8, number: u64, owed: &StoredOwed) -> rusqlite::Result<()> {
    delete_owed(to, shard, number)?;
    let number = number.cast_signed();
    let StoredOwed { message, to: debts } = owed;
    execute(
        to,
        "INSERT INTO owed VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            shard,
            number,
            &*message.topic,
            &*message.properties,
            &*message.payload,
            message.qos as u8,
            message.retain,
            message.expires.map(u64::cast_signed)
        ],
    )?;
    for debt in debts {
        execute(
            to,
            "REPLACE INTO debt VALUES (?, ?, ?, ?)",
            params![shard, number, debt.shard, debt.subscribed],
        )?;
        for group in &debt.groups {
            execute(
                to,
                "REPLACE INTO debt_share VALUES (?, ?, ?, ?)",
                params![shard, number, debt.shard, &**group],
            )?;
        }
    }
    Ok(())
}

fn delete_owed(to: &Connection, shard: u8, number: u64) -> rusqlite::Result<()> {
    for table in [
        "DELETE FROM owed WHERE shard = ? AND number = ?",
        "DELETE FROM debt WHERE shard = ? AND number = ?",
        "DELETE FROM debt_share WHERE shard = ? AND number = ?",
    ] {
        execute(to, table, params![shard, number.cast_signed()])?;
    }
    Ok(())
}
