//! What the fuzz targets do, as plain functions: ordinary builds compile them, and an ordinary test
//! runs them over the committed corpora.

mod config;
mod decode;
mod stream;

pub use config::config;
pub use decode::decode;
pub use stream::{Script, stream};
