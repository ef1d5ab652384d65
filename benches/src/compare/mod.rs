//! Whole brokers side by side: [`Broker`]s are started afresh for each run of a [`Scenario`], in
//! turns, and a [`Table`] tells the medians.

mod brokers;
mod machine;
mod scenario;
mod series;
mod table;
mod trace;

pub use brokers::{Broker, Kind, Running};
pub use machine::{date, machine, raise_limit, use_own_network};
pub use scenario::{Figure, Run, Scenario};
pub use series::{Faults, Outcomes};
pub use table::{Cell, Row, Table};
pub use trace::{Counted, Turns, count_calls};
