//! The `wherry` broker.

use std::process::ExitCode;

use tracing::error;
use wherry::host::{limits, logging};
use wherry::{Options, Server, signal};

fn main() -> ExitCode {
    let options = Options::from_command_line("wherry");
    logging::set_up(options.log_level.into());
    limits::raise_open_files();
    let outcome = Server::bind(&options).and_then(|server| server.run(signal::stop_requested()));
    match outcome {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}
