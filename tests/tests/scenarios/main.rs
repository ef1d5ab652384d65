//! Scenarios of the core: whole conversations without sockets and without waiting.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod any_order;
mod authentication;
mod clauses;
mod delivery;
mod durable;
mod elsewhere;
mod ending;
mod handshake;
mod input;
mod keep_alive;
mod local;
mod offers;
mod permission;
mod properties;
mod qos1;
mod qos2;
mod queue;
mod random_crashes;
mod random_sessions;
mod reauthentication;
mod receive_maximum;
mod redelivery;
mod retained;
mod retained_qos;
mod sessions;
mod shared;
mod slow_consumer;
mod sys;
mod topic_alias;
mod waiting;
mod will_delay;
