//! Whole worlds of a broker and its clients, each from one seed: `simulate --help` says more.

use std::process::ExitCode;

fn main() -> ExitCode {
    wherry_tests::sim::main()
}
