//! What can be done with a store besides running on it: looking whether it is whole, keeping what
//! can be read of one that is not, writing it out as text, and copying it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value};

use super::read::{self, TABLES};
use super::{Durability, NAME, PATIENCE, belongs_here, connect, database_error, schema};
use super::{system_error, write};
use crate::store::error::{Cause, StoreError};
use crate::store::lock::Lock;

/// How many findings are told: whoever sees so many needs no more.
const MOST_FINDINGS: usize = 100;

/// Looks whether the store in `directory` is whole; a broker may run on it meanwhile. Returns what
/// is wrong with it, in words, and how many rows can be read.
///
/// # Errors
///
/// If there is no store, or it cannot be opened at all.
pub fn check(directory: &Path) -> Result<(Vec<String>, u64), StoreError> {
    let connection = look_at(directory)?;
    let mut findings = Vec::new();
    let failed = |error: rusqlite::Error| database_error(directory, &error);
    let question = format!("PRAGMA integrity_check({MOST_FINDINGS})");
    let mut statement = connection.prepare(&question).map_err(failed)?;
    let answers = statement.query_map([], |row| row.get::<_, String>(0));
    match answers.and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(answers) => findings.extend(answers.into_iter().filter(|it| it != "ok")),
        Err(error) => findings.push(error.to_string()),
    }
    let mut rows = 0;
    for table in TABLES {
        let outcome = read::each_of(&connection, table, |row| match row {
            Ok(_) => rows += 1,
            Err(error) => findings.push(format!("a row of {}: {error}", table.name)),
        });
        if let Err(error) = outcome {
            findings.push(format!("table {}: {error}", table.name));
        }
    }
    if let Err(error) = read::owed(&connection, &mut |_| rows += 1) {
        findings.push(format!("table owed: {error}"));
    }
    findings.truncate(MOST_FINDINGS);
    Ok((findings, rows))
}

/// What was made of a damaged store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// How many rows were kept.
    pub kept: u64,
    /// How many rows were there and say what cannot be; those that cannot be found are not counted.
    pub lost: u64,
    /// Where the damaged store is now.
    pub set_aside: PathBuf,
}

/// Makes a new store of what can be read of the one in `directory`, and sets that one aside. No
/// broker may run on it.
///
/// # Errors
///
/// If another process has it, if a later version has written it, or if the new one cannot be
/// written; then everything is as before.
pub fn repair(directory: &Path) -> Result<Repaired, StoreError> {
    let failed = |error| system_error(directory, error);
    let _lock = Lock::take(directory)?;
    if !directory.join(NAME).exists() {
        return Err(nothing(directory));
    }
    let source = match look_at(directory) {
        Ok(source) => Some(source),
        // What is no database at all has nothing to give.
        Err(error) if matches!(error.cause(), Cause::Foreign | Cause::Damaged) => None,
        Err(error) => return Err(error),
    };
    let fresh = directory.join("repaired");
    match fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    super::make(&fresh)?;
    let (kept, lost) = copy_readable(source, &fresh)?;
    let set_aside = room_for_damaged(directory);
    super::make(&set_aside)?;
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("{NAME}{suffix}");
        match fs::rename(directory.join(&name), set_aside.join(&name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    fs::rename(fresh.join(NAME), directory.join(NAME)).map_err(failed)?;
    fs::remove_dir_all(&fresh).map_err(failed)?;
    sync(directory).map_err(failed)?;
    Ok(Repaired {
        kept,
        lost,
        set_aside,
    })
}

/// A name that nothing has yet.
fn room_for_damaged(directory: &Path) -> PathBuf {
    let mut names = (1_u64..).map(|number| directory.join(format!("damaged-{number}")));
    let free = names.find(|path| !path.exists());
    free.unwrap_or_else(|| directory.join("damaged"))
}

/// Copies all that can be read into a new store, which is on the disk as a whole then.
fn copy_readable(from: Option<Connection>, to: &Path) -> Result<(u64, u64), StoreError> {
    let mut target = connect(to, Durability::Power)?;
    let failed = |error| database_error(to, &error);
    let (mut kept, mut lost) = (0, 0);
    if let Some(source) = from {
        let transaction = target.transaction().map_err(failed)?;
        let mut outcome = Ok(());
        read::salvage(&source, &mut |row| match row {
            Ok(record) if outcome.is_ok() => {
                kept += 1;
                outcome = write::apply(&transaction, &record);
            }
            Ok(_) => {}
            Err(_) => lost += 1,
        });
        outcome.map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    // The log is taken over and goes, so that the database is one file.
    let kept = count(&target).unwrap_or(kept);
    target.close().map_err(|(_, error)| failed(error))?;
    Ok((kept, lost))
}

/// How many rows there are: some may have been read twice.
fn count(connection: &Connection) -> rusqlite::Result<u64> {
    let mut count = 0;
    for table in TABLES.iter().map(|it| it.name).chain(["owed"]) {
        let question = format!("SELECT count(*) FROM {table}");
        let rows: i64 = connection.query_row(&question, [], |row| row.get(0))?;
        count += rows.unsigned_abs();
    }
    Ok(count)
}

/// Writes all rows that can be read to `out`, a JSON object on each line: the table and its
/// columns. Bytes are text if they are UTF-8, and else an object with their hexadecimal digits. A
/// broker may run on the store meanwhile. Returns what could not be read, in words.
///
/// # Errors
///
/// If there is no store, or `out` takes no more.
pub fn export(directory: &Path, out: &mut dyn Write) -> Result<Vec<String>, StoreError> {
    let connection = look_at(directory)?;
    let mut findings = Vec::new();
    for name in schema::TABLES {
        let mut written = Ok(());
        let outcome = export_table(&connection, name, &mut |line| {
            if written.is_ok() {
                written = writeln!(out, "{line}");
            }
        });
        written.map_err(|error| StoreError::new(Cause::Failed, directory, error))?;
        if let Err(error) = outcome {
            findings.push(format!("table {name}: {error}"));
        }
    }
    Ok(findings)
}

fn export_table(
    from: &Connection,
    name: &str,
    each: &mut dyn FnMut(Value),
) -> rusqlite::Result<()> {
    let mut statement = from.prepare(&format!("SELECT * FROM {name}"))?;
    let columns: Vec<String> = statement.column_names().map(String::from).collect();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut line = Map::new();
        line.insert("table".to_owned(), name.into());
        for (index, column) in columns.iter().enumerate() {
            line.insert(column.clone(), value(row.get_ref(index)?));
        }
        each(Value::Object(line));
    }
    Ok(())
}

fn value(of: ValueRef<'_>) -> Value {
    match of {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                Value::Object(Map::from_iter([("hex".to_owned(), digits.into())]))
            }
        },
    }
}

/// Copies the store in `directory`, as it is at one moment, to a new one in the directory `to`,
/// which must not be there yet or be empty. A broker may run on the store meanwhile.
///
/// # Errors
///
/// If the one cannot be read or the other not be written.
pub fn backup(directory: &Path, to: &Path) -> Result<(), StoreError> {
    let connection = look_at(directory)?;
    let failed = |error| system_error(to, error);
    super::make(to)?;
    let path = to.join(NAME);
    if path.exists() {
        let detail = format!("there is a {NAME} already");
        return Err(StoreError::new(Cause::Failed, to, detail));
    }
    // Made before it is filled, so that nobody else can ever read it.
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    options.open(&path).map_err(failed)?;
    let outcome = connection.execute("VACUUM INTO ?", [path.to_string_lossy()]);
    if let Err(error) = outcome {
        let _ = fs::remove_file(&path);
        return Err(database_error(directory, &error));
    }
    File::open(&path)
        .and_then(|file| file.sync_all())
        .and_then(|()| sync(to))
        .map_err(failed)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn nothing(directory: &Path) -> StoreError {
    StoreError::new(Cause::Missing, directory, format!("there is no {NAME}"))
}

/// Opens a store that is there, only to read it.
fn look_at(directory: &Path) -> Result<Connection, StoreError> {
    let path = directory.join(NAME);
    if !path.exists() {
        return Err(nothing(directory));
    }
    super::has_its_beginning(directory)?;
    let failed = |error| database_error(directory, &error);
    // Reading the log of a broker that runs takes a lock, and so the right to write.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(PATIENCE).map_err(failed)?;
    match belongs_here(directory, &connection)? {
        0 => {
            let detail = format!("{NAME} is empty");
            Err(StoreError::new(Cause::Foreign, directory, detail))
        }
        _ => Ok(connection),
    }
}
