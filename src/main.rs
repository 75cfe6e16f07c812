//! Parses the command line, calls one function, turns its result into an exit code.

use std::process::ExitCode;

use clap::Parser;
use ringmq::cli::{Cli, run};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmq: {error:#}");
            ExitCode::FAILURE
        }
    }
}
