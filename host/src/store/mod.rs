//! Where what is acknowledged outlives the process.
//!
//! A [`Store`] is a set of rows, as [`wherry_core::store`] describes them. The broker never reads
//! from it while it runs: everything is loaded at the start, and after that one thread writes
//! ([`Writer`]). Batches that wait, of all shards, are written together, so that one `fsync` serves
//! them all; each shard hears of its own.
//!
//! [`sqlite::Sqlite`] is the store that comes with the broker. Without one, nothing is written and
//! nothing promised. Another is a type with two methods, given to a runtime's `bind_with_store`:
//!
//! ```
//! use wherry_host::core::store::{Batch, Record};
//! use wherry_host::store::{Store, StoreError};
//!
//! /// Forgets everything: what the methods promise, it does not keep.
//! #[derive(Debug)]
//! struct Oblivion;
//!
//! impl Store for Oblivion {
//!     fn load(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), StoreError> {
//!         let _ = each; // There is no row.
//!         Ok(())
//!     }
//!
//!     fn write(&mut self, batches: &[&Batch]) -> Result<(), StoreError> {
//!         let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
//!         println!("{records} records are gone");
//!         Ok(())
//!     }
//! }
//! ```

mod error;
mod lock;
mod open;
pub mod sqlite;
mod writer;

use std::fmt;

use wherry_core::store::{Batch, Record};

pub use error::{Cause, StoreError};
pub use open::{Opened, load, open};
pub use writer::{Queue, Writer};

/// Rows that outlive the process.
pub trait Store: Send + fmt::Debug {
    /// Calls `each` with every row, in any order, as the record that puts it. Called once, before
    /// anything is written.
    ///
    /// # Errors
    ///
    /// If not all of them can be read: then the broker does not start.
    fn load(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), StoreError>;

    /// Does what the records of all `batches` say, in their order, whole or not at all. Once it
    /// returns, it is done for good: whatever happens to the process, and to the machine if that is
    /// what the store promises.
    ///
    /// # Errors
    ///
    /// If it is not known to be done. The same batches come again, so that a record that was done
    /// already must do no harm.
    fn write(&mut self, batches: &[&Batch]) -> Result<(), StoreError>;

    /// Nothing waits to be written: a moment to give room back. Returns whether there is more to
    /// do, so that it is called again if still nothing waits.
    ///
    /// # Errors
    ///
    /// If something is wrong with the store; what was written is not concerned.
    fn tidy(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }
}
