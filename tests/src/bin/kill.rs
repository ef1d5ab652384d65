//! A broker is killed again and again: `kill --help` says more.

use std::process::ExitCode;

fn main() -> ExitCode {
    wherry_tests::kill::main()
}
