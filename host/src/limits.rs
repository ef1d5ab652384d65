//! How many files, and so how many connections, the operating system lets this process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Raises the limit of open files to the most that an unprivileged process may ask for.
///
/// The usual soft limit of 1,024 exists for programs that use `select(2)`; a broker wants one file
/// per client.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        debug!("open files: {}", Shown(limit.current));
        return;
    }
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => debug!(
            "open files: limit raised from {} to {}",
            Shown(limit.current),
            Shown(limit.maximum)
        ),
        Err(error) => warn!(
            "cannot raise the limit of open files from {} to {}: {error}",
            Shown(limit.current),
            Shown(limit.maximum)
        ),
    }
}

/// The limit in force; `None` if there is none.
pub fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

struct Shown(Option<u64>);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(limit) => limit.fmt(f),
            None => f.write_str("unlimited"),
        }
    }
}
