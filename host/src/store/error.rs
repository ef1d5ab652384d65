//! What goes wrong with a store, for people.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::shown::ShownWhole;

/// What is wrong with a store, where, and what to do.
#[derive(Debug, Error)]
#[error("{}", self.text())]
pub struct StoreError {
    cause: Cause,
    path: PathBuf,
    /// What the system or the database said.
    detail: String,
}

/// The kinds of things that go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Another process has it.
    InUse,
    /// There is no room on the disk.
    Full,
    /// It may not be written.
    ReadOnly,
    /// There is none.
    Missing,
    /// Its path names, or leads through, something that is no directory.
    NoDirectory,
    /// It is something else than a store.
    Foreign,
    /// A later version has written it.
    Newer,
    /// Parts of it cannot be read, or say what cannot be.
    Damaged,
    /// The system said no.
    Failed,
}

impl StoreError {
    /// An error of the store at `path`; `detail` is what the system or the database said.
    pub fn new(cause: Cause, path: &Path, detail: impl fmt::Display) -> Self {
        Self {
            cause,
            path: path.to_owned(),
            detail: detail.to_string(),
        }
    }

    /// What kind of thing is wrong.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    fn text(&self) -> String {
        let Self { path, detail, .. } = self;
        let path = ShownWhole(&path.to_string_lossy()).to_string();
        match self.cause {
            Cause::InUse => format!(
                "the store in {path} is in use: {detail}. Stop that process, or name another \
                 directory with --data"
            ),
            Cause::Full => format!(
                "the store in {path} has no room: {detail}. Make room on that disk; nothing has to \
                 be restarted"
            ),
            Cause::ReadOnly => format!(
                "the store in {path} cannot be written: {detail}. See to its permissions and to \
                 how its disk is mounted"
            ),
            Cause::Missing => format!("{path} holds no store of Wherry: {detail}"),
            Cause::NoDirectory => format!(
                "the store cannot be in {path}, which is not a directory: {detail}. Name another \
                 directory"
            ),
            Cause::Foreign => format!(
                "{path} holds no store of Wherry: {detail}. Name another directory with --data, or \
                 let `wherry store repair {path}` set aside what is there"
            ),
            Cause::Newer => format!(
                "the store in {path} was written by a later version: {detail}. Run that version, \
                 or name another directory with --data"
            ),
            Cause::Damaged => format!(
                "the store in {path} is damaged: {detail}. `wherry store check {path}` says what \
                 is wrong, `wherry store repair {path}` keeps what can be read and sets the rest \
                 aside"
            ),
            Cause::Failed => format!("the store in {path} fails: {detail}"),
        }
    }
}
