//! The `wherry-smol` broker.

use std::process::ExitCode;

use wherry_smol::host::{program, supervisor};
use wherry_smol::{Server, signal};

fn main() -> ExitCode {
    program::main("wherry-smol", |settings| {
        let server = Server::bind(settings)?;
        server
            .run(supervisor::told(signal::stop_requested()))
            .map(drop)
    })
}
