//! Parses the command line, calls one function, turns its result into an exit code.

use std::process::ExitCode;

use clap::Parser;
use ringmq::cli::{Cli, exit_code, mq, run};

fn main() -> ExitCode {
    let words = match mq::words(std::env::args_os(), |name| std::env::var(name).ok()) {
        Ok(words) => words,
        Err(sentence) => {
            eprintln!("ringmq: {sentence}");
            return ExitCode::from(2);
        }
    };
    match run(Cli::parse_from(words)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ringmq: {}", sentence(&error));
            exit_code(&error)
        }
    }
}

/// The error and its causes, without those that the sentence contains already.
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
