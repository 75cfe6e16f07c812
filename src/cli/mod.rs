//! The command line: one module a subcommand, and the threads, signals and exit codes around the rooms.

pub mod args;
pub mod bench;
mod broker;
mod embedded;
mod namesrv;
mod process;
mod runtime_info;
mod setup;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use self::args::{BrokerArgs, NamesrvArgs};
use self::bench::BenchArgs;

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
}

pub fn run(cli: Cli) -> Result<()> {
    // Next to the progress and the tables of a benchmark, the news of the brokers that it starts are noise.
    let usual = match cli.command {
        Command::Bench(_) => "warn",
        _ => "warn,ringmq=info",
    };
    let filter = EnvFilter::try_from_env("RINGMQ_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match cli.command {
        Command::Broker(args) => broker::run(args),
        Command::Namesrv(args) => namesrv::run(args),
        Command::Bench(args) => Ok(bench::run(args, &embedded::Embedding)?),
    }
}
