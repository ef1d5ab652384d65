//! The last line of a log.

use std::fmt::Write as _;

use tracing::info;
use wherry_core::Counters;

/// Logs the counters that are not zero.
pub fn log_counters(counters: &Counters) {
    let mut line = String::new();
    for (name, value) in counters.iter().filter(|(_, value)| *value != 0) {
        // Writing to a string cannot fail.
        let _ = write!(line, " {name}={value}");
    }
    info!("counters at the end:{line}");
}
