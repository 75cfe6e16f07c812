//! `ringmq print completions` and `ringmq man`: both made from the definitions of the command line.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;

/// A completion script for a shell
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ringmq print completions bash > /etc/bash_completion.d/ringmq
  ringmq print completions zsh > ~/.zfunc/_ringmq
  ringmq print completions fish > ~/.config/fish/completions/ringmq.fish")]
pub struct CompletionsArgs {
    /// Shell to complete in
    #[arg(value_enum)]
    shell: Shell,
}

/// Print the manual page, or write one for each subcommand.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ringmq man | man -l -
  ringmq man --dir /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Directory to write ringmq.1, ringmq-broker.1 and the others to
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn completions(args: &CompletionsArgs) {
    let mut command = Cli::command();
    clap_complete::generate(args.shell, &mut command, "ringmq", &mut io::stdout());
}

pub fn man(args: &ManArgs) -> Result<()> {
    let command = Cli::command();
    match &args.dir {
        Some(dir) => std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(command, dir))
            .with_context(|| format!("cannot write to {}", dir.display())),
        None => Man::new(command)
            .render(&mut io::stdout())
            .context("cannot write to stdout"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each command and each of its options says what it does.
    #[test]
    fn everything_has_a_help_text() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} has no help text");
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string);
                assert!(
                    help.is_some_and(|help| !help.is_empty()),
                    "{path}: {} has no help text",
                    argument.get_id()
                );
            }
            for subcommand in command.get_subcommands() {
                check(subcommand, &path);
            }
        }
        Cli::command().debug_assert();
        check(&Cli::command(), "");
    }

    #[test]
    fn each_subcommand_with_options_has_an_example() {
        fn check(command: &clap::Command) {
            if command.has_subcommands() {
                return command.get_subcommands().for_each(check);
            }
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let example = format!("{} ", command.get_name());
            assert!(
                help.contains("Example") && help.contains(&example),
                "{} has no example",
                command.get_name()
            );
        }
        Cli::command().get_subcommands().for_each(check);
    }
}
