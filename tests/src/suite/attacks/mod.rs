//! What broke brokers before, named as the list of it names them. An attack goes through
//! [`Arena`](crate::attack::Arena), which asserts the same promises each time.

mod names;
mod slow;
mod wire;

pub use names::*;
pub use slow::*;
pub use wire::*;
