//! The command line: one module a subcommand, and the threads, signals and exit codes around the rooms.

pub mod args;
mod backend;
pub mod bench;
mod broker;
mod cluster;
mod consume;
mod controller;
mod credentials;
mod devices;
mod directory;
mod doctor;
mod embedded;
mod group_of_store;
mod health;
mod http;
mod image;
mod json_lines;
mod kernel_text;
mod metrics;
pub mod mq;
mod name_servers;
mod namesrv;
mod pages;
mod preflight;
mod print;
mod privileges;
mod process;
mod send;
mod setup;
mod shell;
mod show;
mod shutdown;
mod signals;
mod store;
mod store_reading;
mod tls;
mod usage;
mod values;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Error, Result};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use self::args::{BrokerArgs, ConsumeArgs, NamesrvArgs, SendArgs};
use self::bench::BenchArgs;
use self::cluster::ClusterArgs;
use self::controller::ControllerArgs;
use self::doctor::DoctorArgs;
use self::image::ImageArgs;
use self::pages::ManArgs;
use self::print::PrintCommand;
use self::shutdown::ShutdownArgs;
use self::store::StoreCommand;
use self::usage::UsageError;
use crate::client::ClientError;

/// A message broker that speaks Apache RocketMQ's protocol and keeps its store, on io_uring.
#[derive(Parser)]
#[command(name = "ringmq", version, after_help = ABOUT_ALL)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const ABOUT_ALL: &str = "\
Environment:
  RINGMQ_LOG  What is logged to stderr, such as debug or warn,ringmq::store=debug; RUST_LOG if absent
              [default: info of broker, namesrv and controller, warn of the others]
  RINGMQ_LOG_FORMAT  json: one object for each line of the log, instead of text
  NAMESRV_ADDR  Name servers of send, consume and a broker that names none otherwise
  RINGMQ_CORES  How many of the cores a broker runs on that names none; images set 1 [default: all]
  RINGMQ_IO   What --io auto stands for: uring or portable
  NO_COLOR    No colours, in a terminal either

Exit codes: 0 success, 1 failure, 2 wrong usage, 128 + N ended by signal N.

Examples:
  ringmq broker                                start a broker with its name server
  ringmq send --topic Orders hello             send a message
  ringmq consume --topic Orders --group g      print messages as they arrive
  ringmq doctor                                what is wrong with this host and its brokers, and what to do
  ringmq bench flush                           measure this machine's disk and network
  ringmq print completions bash > /etc/bash_completion.d/ringmq";

#[derive(Subcommand)]
enum Command {
    Broker(BrokerArgs),
    Namesrv(NamesrvArgs),
    Controller(ControllerArgs),
    Cluster(ClusterArgs),
    Bench(BenchArgs),
    Send(SendArgs),
    Consume(ConsumeArgs),
    Doctor(DoctorArgs),
    #[command(subcommand)]
    Store(StoreCommand),
    #[command(subcommand)]
    Print(PrintCommand),
    Image(ImageArgs),
    Shutdown(ShutdownArgs),
    Man(ManArgs),
}

pub fn run(cli: Cli) -> Result<ExitCode> {
    cluster::children::end_with_parent()?;
    let is_server = matches!(
        cli.command,
        Command::Broker(_) | Command::Namesrv(_) | Command::Controller(_)
    );
    if is_server {
        privileges::drop_unneeded();
    }
    // The log of a command that prints results has only what went wrong.
    let usual = match cli.command {
        // A controller's engine, which may be in each of them, repeats itself while another controller is away; `quorum` logs the changes.
        _ if is_server => "warn,ringmq=info,metrics=info,openraft=off",
        // A load at its limit stalls: that is in the report.
        Command::Bench(_) => "warn,ringmq::linux::stalls=error",
        _ => "warn",
    };
    // On a separate thread: stderr may be a file on the disk that stalls.
    let (stderr, _writes_the_rest) = tracing_appender::non_blocking(std::io::stderr());
    let log = tracing_subscriber::fmt()
        .with_env_filter(log_filter(usual)?)
        .with_writer(stderr);
    match is_log_json()? {
        true => log.json().flatten_event(true).init(),
        false => log.with_ansi(has_colours()).init(),
    }
    match cli.command {
        Command::Broker(args) => broker::run(args)?,
        Command::Namesrv(args) => namesrv::run(args)?,
        Command::Controller(args) => controller::run(args)?,
        Command::Cluster(args) => cluster::run(args)?,
        Command::Send(args) => return send::run(args),
        Command::Consume(args) => consume::run(args)?,
        Command::Doctor(args) => return doctor::run(args),
        Command::Bench(args) => return bench::run(args, &embedded::Embedding),
        Command::Store(command) => return store::run(command),
        Command::Print(command) => print::run(&command),
        Command::Image(args) => image::run(&args)?,
        Command::Shutdown(args) => return shutdown::run(&args),
        Command::Man(args) => pages::man(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// 2 for wrong usage, as the parser of the command line has it.
pub fn exit_code(error: &Error) -> ExitCode {
    match error.is::<UsageError>() {
        true => ExitCode::from(2),
        false => ExitCode::FAILURE,
    }
}

fn log_filter(usual: &str) -> Result<EnvFilter> {
    for name in ["RINGMQ_LOG", "RUST_LOG"] {
        let Some(text) = std::env::var(name).ok().filter(|text| !text.is_empty()) else {
            continue;
        };
        return EnvFilter::try_new(&text)
            .map_err(|error| UsageError::new(format!("{name}={text}: {error}")).into());
    }
    Ok(EnvFilter::new(usual))
}

fn is_log_json() -> Result<bool> {
    const NAME: &str = "RINGMQ_LOG_FORMAT";
    match std::env::var(NAME).unwrap_or_default().as_str() {
        "" | "text" => Ok(false),
        "json" => Ok(true),
        other => Err(UsageError::new(format!("{NAME}={other}: allowed is text or json")).into()),
    }
}

fn has_colours() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !no_color
}

/// A client's error, with what can be done about it.
fn explained(error: ClientError) -> Error {
    let hint = match &error {
        ClientError::NameServer { .. } => {
            "is it running? `ringmq broker` starts one; --namesrv names another"
        }
        ClientError::NoRoute { .. } => {
            "is a broker running, and does it create topics by itself (autoCreateTopicEnable)?"
        }
        ClientError::Refused { remark, .. } if remark.contains("SQL92") => {
            "set enablePropertyFilter=true in broker.conf"
        }
        _ => return error.into(),
    };
    anyhow::anyhow!("{error}; {hint}")
}
