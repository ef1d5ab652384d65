//! What broke brokers before, named as the list of it names them. An attack goes through
//! [`Arena`](crate::attack::Arena), which asserts the same promises each time.

mod load;
mod names;
mod session;
mod slow;
mod storm;
mod wire;

pub use load::*;
pub use names::*;
pub use session::*;
pub use slow::*;
pub use storm::*;
pub use wire::*;
