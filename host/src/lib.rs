//! What every Wherry broker process needs and no async runtime is needed for.
//!
//! The centre is the [`driver`]: it connects the broker, which does no I/O, with sockets, which
//! know nothing of MQTT. Around it stands what a process has to set up before ([`options`],
//! [`config`], [`logging`], [`limits`], [`listen`]; [`program`] goes through them) and what decides
//! in its place ([`accept`], [`auth`]); [`http`] tells how it is. A [`shard`] is one driver with
//! its listeners, and a process has as many [`shards`] as it has cores. The runtimes add sockets,
//! readiness, one timer and one wake-up, and nothing else.

pub mod accept;
pub mod address;
pub mod allocator;
pub mod auth;
pub mod clock;
pub mod config;
pub mod crew;
pub mod driver;
mod events;
pub mod health;
pub mod http;
pub mod limits;
pub mod listen;
pub mod logging;
pub mod mailbox;
pub mod options;
pub mod program;
pub mod report;
pub mod seed;
pub mod shard;
pub mod shards;
mod shown;
pub mod store;
pub mod supervisor;

pub use wherry_core as core;
