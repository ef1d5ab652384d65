//! The `wherry-smol` broker.

use std::process::ExitCode;

use wherry_smol::host::{allocator::Allocator, program, supervisor};
use wherry_smol::{Server, signal};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    program::main("wherry-smol", |settings| {
        let server = Server::bind(settings)?;
        server
            .run(supervisor::told(signal::stop_requested()))
            .map(drop)
    })
}
