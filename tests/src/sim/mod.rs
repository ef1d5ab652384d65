//! Whole worlds in one thread, from one seed.
//!
//! A world is a broker on the shard driver that the runtimes use, sockets that cut and join bytes
//! as they like, clients of all versions with an encoder of their own, and a clock that jumps to
//! the next thing that happens. Which features there are, how fast everything is and what goes
//! wrong is drawn from the seed. When all have done what they do, the faults end and everything
//! that is owed has to arrive; the oracle says what that is.
//!
//! | what | where |
//! | --- | --- |
//! | knobs and features | `plan` |
//! | time and what happens next | `schedule`, `world` |
//! | bytes | `net`, `lines` |
//! | shards, the links between them | `process` |
//! | what outlives a process | `stored` |
//! | clients | `client`, `steps`, `answers`; hostile ones in `faults` |
//! | who is let in | `door` |
//! | what happens to the broker | `faults` |
//! | what must, may and must not happen | `oracle`, `bounds` |
//! | the end | `settle` |
//! | what was met | `coverage` |
//! | many worlds, and smaller ones | `runs`, `minimise` |

mod answers;
mod bounds;
mod client;
mod coverage;
mod door;
mod faults;
mod lines;
mod minimise;
mod net;
mod oracle;
mod packets;
mod plan;
mod process;
mod runs;
mod schedule;
mod settle;
mod skip;
mod steps;
mod stored;
mod trace;
mod universe;
mod world;

pub use runs::{Options, main, smoke, smoke_over_sqlite};
