//! End-to-end tests of the Wherry broker.
//!
//! The [`suite`](mod@suite) is a list of black-box tests: plain functions that start a broker
//! process, speak raw packets to it over real sockets and look at what comes back. It knows nothing
//! of how the broker is built, so that every binary runs the same tests:
//! `wherry_tests::suite!(PATH)` in a test file of a binary's package makes a `#[test]` of each.
//!
//! No test sleeps while a broker runs: what must happen is waited for, with a generous deadline;
//! that something did *not* happen shows in what comes instead, a fence sent after it.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "all of it is test code, which fails by panicking"
)]

use std::time::Duration;

pub mod attack;
pub mod broker;
pub mod client;
pub mod differential;
pub mod embedded;
pub mod fuzz;
pub mod kill;
pub mod naive;
pub mod power;
pub mod random;
pub mod rows;
pub mod scenario;
pub mod sim;
pub mod suite;
pub mod wire;

/// How long a test waits for what must happen before it fails. Far longer than anything takes, for
/// the machines that run tests may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);
