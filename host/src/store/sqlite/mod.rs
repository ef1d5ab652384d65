//! The store that comes with the broker: an SQLite database in write-ahead mode.
//!
//! A batch of records is a transaction. It is in the write-ahead log and, with
//! [`Durability::Power`], on the disk before anybody is told. SQLite sees to it that a transaction
//! is there whole or not at all, whatever happens.
//!
//! If a write fails, the connection to the database is given up and the next attempt opens another:
//! what a file descriptor is worth after an error, nobody knows. The log is written again before
//! that: what of it the disk has after an error, nobody knows either.

mod read;
mod schema;
pub mod tools;
mod write;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tracing::info;
use wherry_core::store::{Batch, Record};

use super::Store;
use super::error::{Cause, StoreError};
use super::lock::Lock;
use crate::shown::ShownWhole;

/// The name of the database in its directory.
const NAME: &str = "wherry.db";

/// The name of its write-ahead log.
const LOG: &str = "wherry.db-wal";

/// How long to wait for somebody who copies the database.
const PATIENCE: Duration = Duration::from_secs(5);

/// The write-ahead log goes into the database when it has grown to so many pages of 4 KiB: what is
/// written and deleted in between costs the database nothing.
const LOG_PAGES: u32 = 8192;

/// What the log may keep on the disk once it was taken over, in bytes.
const LOG_KEEPS: u32 = LOG_PAGES * 4096;

/// What of the database is kept in memory, in KiB.
const CACHE: i32 = 16 << 10;

/// A database with so many free pages, and as many as a quarter of all, gives them back.
const MANY_FREE: i64 = 1024;

/// How many pages one step of that gives back.
const FREED_AT_ONCE: u32 = 1024;

/// What a promise outlives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// The end of the process and the end of power: every batch is synced to the disk.
    #[default]
    Power,
    /// The end of the process, however it ends; what the system had not yet written when power
    /// fails is lost, from some moment on.
    Process,
}

/// A database in a directory of its own.
#[derive(Debug)]
pub struct Sqlite {
    directory: PathBuf,
    durability: Durability,
    /// None after a failure.
    connection: Option<Connection>,
    _lock: Lock,
}

impl Sqlite {
    /// Opens the store in `directory`, and makes both if there is none. Only the owner of the
    /// process can read what is made.
    ///
    /// # Errors
    ///
    /// If another process has it, if it is no store or was written by a later version, or if the
    /// system does not allow it.
    pub fn open(directory: &Path, durability: Durability) -> Result<Self, StoreError> {
        make(directory)?;
        let lock = Lock::take(directory)?;
        // Whoever has mistyped a name gets an empty store, and should see it.
        if !directory.join(NAME).exists() {
            info!(
                "there is no store in {}: it begins empty",
                ShownWhole(&directory.to_string_lossy())
            );
        }
        let mut store = Self {
            directory: directory.to_owned(),
            durability,
            connection: None,
            _lock: lock,
        };
        store.connection()?;
        Ok(store)
    }

    /// The connection, opened anew if the last one was given up.
    fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                if self.durability == Durability::Power {
                    let outcome = write_log_again(&self.directory);
                    outcome.map_err(|error| system_error(&self.directory, error))?;
                }
                connect(&self.directory, self.durability)?
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// Does something with the connection, and gives it up if that fails.
    fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let outcome = act(self.connection()?);
        outcome.map_err(|error| {
            self.connection = None;
            database_error(&self.directory, &error)
        })
    }
}

impl Store for Sqlite {
    fn load(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), StoreError> {
        let outcome = read::all(self.connection()?, each);
        outcome.map_err(|unreadable| damage(&self.directory, &unreadable))
    }

    fn write(&mut self, batches: &[&Batch]) -> Result<(), StoreError> {
        self.with(|connection| {
            let transaction = connection.transaction()?;
            for record in batches.iter().flat_map(|batch| &batch.records) {
                write::apply(&transaction, record)?;
            }
            transaction.commit()
        })
    }

    fn tidy(&mut self) -> Result<bool, StoreError> {
        self.with(|connection| {
            let pages: i64 = connection.pragma_query_value(None, "page_count", |it| it.get(0))?;
            let free: i64 =
                connection.pragma_query_value(None, "freelist_count", |it| it.get(0))?;
            let gives_back = free >= MANY_FREE && free >= pages / 4;
            if gives_back {
                connection.execute_batch(&format!("PRAGMA incremental_vacuum({FREED_AT_ONCE})"))?;
            } else {
                // Into the database with it; the log begins anew, and small.
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            }
            Ok(gives_back)
        })
    }
}

/// Writes the log once more as it is, if there is one. A sync may have failed before, here or in
/// the last process: then the system takes for written what is in memory only, later syncs say
/// nothing of it, and what is written behind it would not be found after a loss of power.
fn write_log_again(directory: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let log = match options.read(true).write(true).open(directory.join(LOG)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        outcome => outcome?,
    };
    let mut bytes = vec![0; 1 << 16];
    let mut place = 0;
    loop {
        let count = log.read_at(&mut bytes, place)?;
        if count == 0 {
            return log.sync_all();
        }
        log.write_all_at(&bytes[..count], place)?;
        place += count as u64;
    }
}

/// Makes a directory for its owner alone, if it is not there.
fn make(directory: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    let outcome = builder.recursive(true).mode(0o700).create(directory);
    outcome.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            StoreError::new(Cause::NoDirectory, directory, error)
        }
        _ => system_error(directory, error),
    })
}

fn connect(directory: &Path, durability: Durability) -> Result<Connection, StoreError> {
    let path = directory.join(NAME);
    let failed = |error| system_error(directory, error);
    // SQLite gives its other files the permissions of this one.
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(&path).map_err(failed)?;
    has_its_beginning(directory)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error| database_error(directory, &error);
    let mut connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
    connection.busy_timeout(PATIENCE).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(write::STATEMENTS);
    let from = belongs_here(directory, &connection)?;
    prepare(&mut connection, durability, from).map_err(failed)?;
    Ok(connection)
}

/// A database is there before its log is. Where it is not, SQLite would take the log for a leftover
/// and delete it.
fn has_its_beginning(directory: &Path) -> Result<(), StoreError> {
    let size = |name| fs::metadata(directory.join(name)).map_or(0, |it| it.len());
    if size(NAME) == 0 && size(LOG) > 0 {
        let detail = format!("{NAME} is empty, and {LOG} is not");
        return Err(StoreError::new(Cause::Damaged, directory, detail));
    }
    Ok(())
}

/// Finds out whether it is a store that this broker can use, and of which version; 0 is a file
/// without anything.
fn belongs_here(directory: &Path, connection: &Connection) -> Result<i32, StoreError> {
    let ask = |what| {
        let answer = connection.pragma_query_value(None, what, |it| it.get::<_, i32>(0));
        answer.map_err(|error| database_error(directory, &error))
    };
    let (application, version) = (ask("application_id")?, ask("user_version")?);
    // Nothing is there, or nothing but the header: whoever made it came no further.
    let question = "SELECT count(*) FROM sqlite_schema";
    let tables = connection.query_row(question, [], |it| it.get::<_, i64>(0));
    let tables = tables.map_err(|error| database_error(directory, &error))?;
    if (application, version, tables) == (0, 0, 0) {
        return Ok(0);
    }
    if application != schema::APPLICATION {
        let detail = format!("{NAME} is a database of another program");
        return Err(StoreError::new(Cause::Foreign, directory, detail));
    }
    if version > schema::version() {
        let ours = schema::version();
        let detail = format!("its version is {version}, and this one knows {ours} at most");
        return Err(StoreError::new(Cause::Newer, directory, detail));
    }
    Ok(version)
}

fn prepare(connection: &mut Connection, durability: Durability, from: i32) -> rusqlite::Result<()> {
    if from == 0 {
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match durability {
        Durability::Power => "FULL",
        Durability::Process => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEEPS)?;
    connection.pragma_update(None, "cache_size", -CACHE)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    schema::migrate(connection, from)
}

/// What the system said, in words for people.
pub(super) fn system_error(directory: &Path, error: io::Error) -> StoreError {
    let cause = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Cause::Full,
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Cause::ReadOnly,
        _ => Cause::Failed,
    };
    StoreError::new(cause, directory, error)
}

/// What the database said, in words for people.
fn database_error(directory: &Path, error: &rusqlite::Error) -> StoreError {
    let cause = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Cause::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            Cause::ReadOnly
        }
        Some(ErrorCode::NotADatabase) => Cause::Foreign,
        Some(ErrorCode::DatabaseCorrupt) => Cause::Damaged,
        _ => Cause::Failed,
    };
    StoreError::new(cause, directory, error)
}

/// What cannot be read: by what it says, if it is not the system that fails.
fn damage(directory: &Path, unreadable: &read::Unreadable) -> StoreError {
    let read::Unreadable { table, error } = unreadable;
    let known = database_error(directory, error);
    match (known.cause(), error.sqlite_error_code()) {
        (Cause::Failed, Some(_)) => known,
        (Cause::Failed | Cause::Damaged, _) => {
            let detail = format!("table {table}: {error}");
            StoreError::new(Cause::Damaged, directory, detail)
        }
        _ => known,
    }
}
