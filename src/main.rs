//! Parses the command line, calls one function, turns its result into an exit code.

use std::process::ExitCode;

use clap::Parser;
use ringmq::cli::{Cli, run};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ringmq: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, save those that the sentence already tells.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
