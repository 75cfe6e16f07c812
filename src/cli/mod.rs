//! The command line: one module a subcommand, and the threads, signals and exit codes around the rooms.

pub mod args;
pub mod bench;
