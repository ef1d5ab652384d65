//! The beginning: a store is opened and read, and shards get their parts.

use std::path::Path;
use std::time::Instant;

use tracing::info;
use wherry_core::store::{Restore, Restored};

use super::sqlite::Sqlite;
use super::{Cause, Store, StoreError};
use crate::config::{Backend, Persistence};

/// A store that was read.
#[derive(Debug)]
pub struct Opened {
    /// To be written to.
    pub store: Box<dyn Store>,
    /// What each shard begins with.
    pub parts: Vec<Restored>,
}

/// Opens the store that is asked for, and reads it for so many shards; `owner` says which of them
/// has a client. Nothing comes back if nothing is to be stored, and the log says so.
///
/// # Errors
///
/// If it cannot be opened or not be read as a whole; nothing has changed then.
pub fn open(
    persistence: &Persistence,
    shards: usize,
    owner: impl Fn(&str) -> usize,
) -> Result<Option<Opened>, StoreError> {
    let path = match persistence.backend {
        Backend::Sqlite => persistence.path.as_deref().unwrap_or(Path::new("")),
        Backend::Memory => {
            info!(
                "nothing is stored: sessions, queued and retained messages are gone when the \
                 broker ends. To keep them, start it with --data DIR"
            );
            return Ok(None);
        }
    };
    if path.as_os_str().is_empty() {
        return Err(StoreError::new(
            Cause::Missing,
            path,
            "no directory is named",
        ));
    }
    let store = Box::new(Sqlite::open(path, persistence.durability)?);
    let opened = load(store, shards, owner)?;
    Ok(Some(opened))
}

/// Reads a store for so many shards; `owner` says which of them has a client.
///
/// # Errors
///
/// If it cannot be read as a whole, or if what belongs to nothing cannot be deleted.
pub fn load(
    mut store: Box<dyn Store>,
    shards: usize,
    owner: impl Fn(&str) -> usize,
) -> Result<Opened, StoreError> {
    let begun = Instant::now();
    let mut rows = 0_u64;
    let mut restore = Restore::new();
    store.load(&mut |row| {
        rows += 1;
        restore.add(row);
    })?;
    let (fixes, parts) = restore.finish(shards, owner);
    if !fixes.records.is_empty() {
        store.write(&[&fixes])?;
    }
    let sessions: usize = parts.iter().map(Restored::sessions).sum();
    let time = begun.elapsed().as_millis();
    info!("the store is read: rows {rows}, sessions {sessions}, in {time} ms");
    Ok(Opened { store, parts })
}
