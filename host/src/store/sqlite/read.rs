//! From rows to records.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::types::Type;
use rusqlite::{Connection, Row};
use wherry_core::packet::QoS;
use wherry_core::store::{
    Record, StoredDebt, StoredDelivery, StoredMessage, StoredOwed, StoredSession,
    StoredSubscription, StoredWill,
};

/// A kind of row: the table it is in, its key, and how it is read.
pub(super) struct Table {
    pub(super) name: &'static str,
    key: &'static str,
    read: fn(&Row<'_>) -> rusqlite::Result<Record>,
}

const fn table(
    name: &'static str,
    key: &'static str,
    read: fn(&Row<'_>) -> rusqlite::Result<Record>,
) -> Table {
    Table { name, key, read }
}

/// All of them, but for what shards owe each other, which is in three.
pub(super) const TABLES: &[Table] = &[
    table("session", "client_id", session),
    table("subscription", "client_id, filter", subscription),
    table("incoming", "client_id, packet_id", incoming),
    table("message", "number", message),
    table("delivery", "client_id, place", delivery),
    table("retained", "rowid", retained),
    table("link", "from_shard, to_shard", link),
];

/// What cannot be read, and where.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) table: &'static str,
    pub(super) error: rusqlite::Error,
}

/// Calls `each` with every row.
pub(super) fn all(from: &Connection, each: &mut dyn FnMut(Record)) -> Result<(), Unreadable> {
    for table in TABLES {
        let mut wrong = None;
        let outcome = each_of(from, table, |row| match row {
            Ok(record) => each(record),
            Err(error) => drop(wrong.get_or_insert(error)),
        });
        if let Some(error) = outcome.err().or(wrong) {
            let table = table.name;
            return Err(Unreadable { table, error });
        }
    }
    owed(from, each).map_err(|error| Unreadable {
        table: "owed",
        error,
    })
}

/// Calls `each` with every row of a table, or with what is wrong with it.
pub(super) fn each_of(
    from: &Connection,
    table: &Table,
    each: impl FnMut(rusqlite::Result<Record>),
) -> rusqlite::Result<()> {
    ask(
        from,
        &format!("SELECT * FROM {}", table.name),
        table.read,
        each,
    )
}

fn ask(
    from: &Connection,
    question: &str,
    read: fn(&Row<'_>) -> rusqlite::Result<Record>,
    mut each: impl FnMut(rusqlite::Result<Record>),
) -> rusqlite::Result<()> {
    let mut statement = from.prepare(question)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(read(row));
    }
    Ok(())
}

/// Calls `each` with every row that can be found, some of them twice, or with what is wrong with
/// it: from both ends of each table up to where the database cannot go on, and in between as well
/// where keys are numbers: that is where messages are.
pub(super) fn salvage(from: &Connection, each: &mut dyn FnMut(rusqlite::Result<Record>)) {
    for table in TABLES {
        let Table { name, key, read } = table;
        let down = key.replace(',', " DESC,");
        let up = format!("SELECT * FROM {name} ORDER BY {key}");
        let down = format!("SELECT * FROM {name} ORDER BY {down} DESC");
        if ask(from, &up, *read, &mut *each).is_err() {
            let _ = ask(from, &down, *read, &mut *each);
            if matches!(*key, "number" | "rowid") {
                salvage_between(from, table, each);
            }
        }
    }
    let _ = owed(from, &mut |record| each(Ok(record)));
}

/// How many times a gap is looked into.
const ATTEMPTS: usize = 10_000;

/// Halves the range of keys, again and again, where nothing can be read.
fn salvage_between(
    from: &Connection,
    Table { name, key, read }: &Table,
    each: &mut dyn FnMut(rusqlite::Result<Record>),
) {
    let mut ranges = vec![(0, i64::MAX)];
    for _ in 0..ATTEMPTS {
        let Some((first, last)) = ranges.pop() else {
            return;
        };
        let question = format!("SELECT * FROM {name} WHERE {key} BETWEEN {first} AND {last}");
        if ask(from, &question, *read, &mut *each).is_err() && first < last {
            let middle = first + (last - first) / 2;
            ranges.extend([(middle + 1, last), (first, middle)]);
        }
    }
}

/// A column that says something that it cannot.
fn wrong(column: usize, of: Type, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, of, what.into())
}

fn boxed(row: &Row<'_>, column: usize) -> rusqlite::Result<Box<str>> {
    row.get::<_, String>(column).map(String::into_boxed_str)
}

fn shared(row: &Row<'_>, column: usize) -> rusqlite::Result<Arc<str>> {
    row.get::<_, String>(column).map(Arc::from)
}

fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    row.get::<_, Vec<u8>>(column).map(Bytes::from)
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

fn maybe(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    row.get::<_, Option<i64>>(column)
        .map(|it| it.map(i64::cast_unsigned))
}

fn qos(row: &Row<'_>, column: usize) -> rusqlite::Result<QoS> {
    let qos = row.get(column)?;
    QoS::from_u8(qos).ok_or_else(|| wrong(column, Type::Integer, "there is no such QoS"))
}

/// The columns from `first` on: properties, payload, QoS, RETAIN, expiry.
fn content(topic: Box<str>, row: &Row<'_>, first: usize) -> rusqlite::Result<StoredMessage> {
    Ok(StoredMessage {
        topic,
        properties: bytes(row, first)?,
        payload: bytes(row, first + 1)?,
        qos: qos(row, first + 2)?,
        retain: row.get(first + 3)?,
        expires: maybe(row, first + 4)?,
    })
}

fn session(row: &Row<'_>) -> rusqlite::Result<Record> {
    let will = match row.get::<_, Option<String>>(6)? {
        None => None,
        Some(topic) => Some(StoredWill {
            message: StoredMessage {
                topic: topic.into(),
                properties: bytes(row, 7)?,
                payload: bytes(row, 8)?,
                qos: qos(row, 9)?,
                retain: row.get(10)?,
                expires: None,
            },
            expiry: row.get(11)?,
            delay: row.get(12)?,
            due: maybe(row, 13)?,
            permitted: row.get(14)?,
        }),
    };
    Ok(Record::PutSession {
        client_id: shared(row, 0)?,
        session: StoredSession {
            shard: row.get(1)?,
            expiry: row.get(2)?,
            ends: maybe(row, 3)?,
            connected: row.get(4)?,
            sent: number(row, 5)?,
            will,
        },
    })
}

fn subscription(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record::PutSubscription {
        client_id: shared(row, 0)?,
        filter: boxed(row, 1)?,
        subscription: StoredSubscription {
            identifier: row.get(2)?,
            qos: qos(row, 3)?,
            no_local: row.get(4)?,
            retain_as_published: row.get(5)?,
            replaying: row.get(6)?,
        },
    })
}

fn incoming(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record::PutIncoming {
        client_id: shared(row, 0)?,
        packet_id: row.get(1)?,
    })
}

fn message(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record::PutMessage {
        number: number(row, 0)?,
        message: content(boxed(row, 1)?, row, 2)?,
    })
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Record> {
    let identifiers: Option<Vec<u8>> = row.get(6)?;
    let identifiers = identifiers.unwrap_or_default();
    let (numbers, rest) = identifiers.as_chunks();
    if !rest.is_empty() {
        return Err(wrong(6, Type::Blob, "these are no whole numbers"));
    }
    Ok(Record::PutDelivery {
        client_id: shared(row, 0)?,
        place: number(row, 1)?,
        delivery: StoredDelivery {
            message: maybe(row, 2)?,
            qos: qos(row, 3)?,
            retain: row.get(4)?,
            replayed: row.get(5)?,
            identifiers: numbers.iter().map(|it| u32::from_le_bytes(*it)).collect(),
            group: row.get::<_, Option<String>>(7)?.map(String::into_boxed_str),
            packet_id: row.get(8)?,
        },
    })
}

fn retained(row: &Row<'_>) -> rusqlite::Result<Record> {
    let topic = boxed(row, 0)?;
    let message = match row.get_ref(3)?.data_type() {
        Type::Null => None,
        _ => Some(content(topic.clone(), row, 2)?),
    };
    Ok(Record::PutRetained {
        topic,
        version: number(row, 1)?,
        message,
    })
}

fn link(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record::PutLink {
        from: row.get(0)?,
        to: row.get(1)?,
        number: number(row, 2)?,
    })
}

pub(super) fn owed(from: &Connection, each: &mut dyn FnMut(Record)) -> rusqlite::Result<()> {
    let mut debts: BTreeMap<(u8, u64), BTreeMap<u8, StoredDebt>> = BTreeMap::new();
    let mut statement = from.prepare("SELECT * FROM debt")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let debt = StoredDebt {
            shard: row.get(2)?,
            subscribed: row.get(3)?,
            groups: Vec::new(),
        };
        let of = debts.entry((row.get(0)?, number(row, 1)?)).or_default();
        of.insert(debt.shard, debt);
    }
    let mut statement = from.prepare("SELECT * FROM debt_share")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let of = debts.get_mut(&(row.get(0)?, number(row, 1)?));
        if let Some(debt) = of.and_then(|of| of.get_mut(&row.get(2).ok()?)) {
            debt.groups.push(boxed(row, 3)?);
        }
    }
    let mut statement = from.prepare("SELECT * FROM owed")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let key = (row.get(0)?, number(row, 1)?);
        let to = debts.remove(&key).unwrap_or_default();
        each(Record::PutOwed {
            shard: key.0,
            number: key.1,
            owed: StoredOwed {
                message: content(boxed(row, 2)?, row, 3)?,
                to: to.into_values().collect(),
            },
        });
    }
    Ok(())
}
