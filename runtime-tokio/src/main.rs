//! The `wherry` broker.

use std::process::ExitCode;

use wherry::host::{allocator::Allocator, program, supervisor};
use wherry::{Server, signal};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    program::main("wherry", |settings| {
        let server = Server::bind(settings)?;
        server
            .run(supervisor::told(signal::stop_requested()))
            .map(drop)
    })
}
