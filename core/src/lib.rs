//! Wherry's core: an MQTT broker as a deterministic state machine without I/O.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod map;
pub mod packet;
pub mod topic;
