//! Scenarios of the core: whole conversations without sockets and without waiting.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod any_order;
mod clauses;
mod delivery;
mod ending;
mod handshake;
mod input;
mod keep_alive;
mod permission;
mod retained;
mod slow_consumer;
mod sys;
