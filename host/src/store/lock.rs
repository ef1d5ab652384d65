//! One process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::error::{Cause, StoreError};

const NAME: &str = "wherry.lock";

/// Held as long as a process uses a store; the system takes it away when the process ends, however
/// it does.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it is held, not used")] File);

impl Lock {
    /// Takes the lock of the store in `directory`.
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        let failed = |error| super::sqlite::system_error(directory, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join(NAME))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Whoever it is may not have written its number yet.
                let _ = file.read_to_string(&mut holder);
                let detail = match holder.trim().parse::<u32>() {
                    Ok(process) => format!("process {process} has it"),
                    Err(_) => "another process has it".to_owned(),
                };
                return Err(StoreError::new(Cause::InUse, directory, detail));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self(file))
    }
}
