//! The command line: one module a subcommand, and the threads, signals and exit codes around the rooms.

pub mod args;
pub mod bench;
mod broker;
mod consume;
mod embedded;
mod health;
mod json_lines;
mod namesrv;
mod process;
mod runtime_info;
mod send;
mod setup;
mod store;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use self::args::{BrokerArgs, ConsumeArgs, NamesrvArgs, SendArgs};
use self::bench::BenchArgs;
use self::store::StoreCommand;

/// A message broker that speaks Apache RocketMQ's protocol and keeps its store, on io_uring.
#[derive(Parser)]
#[command(name = "ringmq", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Broker(BrokerArgs),
    Namesrv(NamesrvArgs),
    Bench(BenchArgs),
    Send(SendArgs),
    Consume(ConsumeArgs),
    #[command(subcommand)]
    Store(StoreCommand),
}

pub fn run(cli: Cli) -> Result<ExitCode> {
    // Next to the progress and the tables of a benchmark, the news of the brokers that it starts are noise; so is next to messages
    // how a client is doing.
    let usual = match cli.command {
        Command::Bench(_) | Command::Send(_) | Command::Consume(_) | Command::Store(_) => "warn",
        _ => "warn,ringmq=info",
    };
    let filter = EnvFilter::try_from_env("RINGMQ_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    // By a thread of its own: standard error may be a file on the very disk that stands still.
    let (stderr, _writes_the_rest) = tracing_appender::non_blocking(std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .init();
    match cli.command {
        Command::Broker(args) => broker::run(args)?,
        Command::Namesrv(args) => namesrv::run(args)?,
        Command::Send(args) => send::run(args)?,
        Command::Consume(args) => consume::run(args)?,
        Command::Bench(args) => bench::run(args, &embedded::Embedding)?,
        Command::Store(command) => return store::run(command),
    }
    Ok(ExitCode::SUCCESS)
}
