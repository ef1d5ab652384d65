//! What the fuzz targets do, as plain functions: ordinary builds compile them, and an ordinary test
//! runs them over the committed corpora.

mod broker;
mod config;
mod decode;
mod differential;
mod input;
mod settings;
mod stream;
mod topic;

pub use broker::broker;
pub use config::config;
pub use decode::decode;
pub use differential::differential;
pub use settings::settings;
pub use stream::{Script, stream};
pub use topic::topic;
