//! What the benchmarks have in common: [`Bench`] for those of the core, [`load`] and [`process`]
//! for those of whole brokers, [`compare`] for several of them side by side.

#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of messages and their lengths are small here"
)]

mod bench;
pub mod compare;
pub mod load;
mod pair;
pub mod process;

pub use bench::{Bench, encode, publish};
pub use pair::Pair;
