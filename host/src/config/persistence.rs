//! What outlives the process, and where.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::store::sqlite::Durability;

/// Where what is acknowledged is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persistence {
    /// In what.
    pub backend: Backend,
    /// The directory of the store, if it has one.
    pub path: Option<PathBuf>,
    /// What the promise outlives.
    pub durability: Durability,
}

/// The kinds of stores that come with the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// None: nothing is written and nothing outlives the process.
    #[default]
    Memory,
    /// An SQLite database.
    Sqlite,
}

impl Persistence {
    /// What an embedder or a flag asks for in one word: an SQLite database in this directory.
    pub fn in_directory(path: impl Into<PathBuf>) -> Self {
        Self {
            backend: Backend::Sqlite,
            path: Some(path.into()),
            durability: Durability::default(),
        }
    }

    /// What does not go together.
    pub(super) fn mistake(&self) -> Option<&'static str> {
        match (self.backend, &self.path) {
            (Backend::Sqlite, None) => Some(
                "persistence.backend is \"sqlite\", but persistence.path is missing: name the \
                 directory of the store, for example path = \"/var/lib/wherry\"",
            ),
            (Backend::Memory, Some(_)) => Some(
                "persistence.path is given, but persistence.backend is \"memory\", which stores \
                 nothing: set backend = \"sqlite\", or take the path out",
            ),
            _ => None,
        }
    }
}
