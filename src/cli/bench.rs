//! `ringmq bench flush|send|consume|e2e|workload`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};

use super::credentials::CredentialsArgs;
use super::signals;
use super::tls::TlsArgs;
use super::usage::no_such_core;
use crate::bench::comparison::{self, ComparisonPlan};
use crate::bench::drive::{self, Drive, DrivePlan};
use crate::bench::workload::Workload;
use crate::bench::{BenchError, Interrupt, Output, Report, Shape, StartBroker};
use crate::client::{Dial, Transport};
use crate::config::Surroundings;
use crate::wire::Codec;

/// Long enough for a p99 of the device, short beside the runs.
const FLOOR_DURATION: Duration = Duration::from_millis(600);
/// No broker takes a larger message (`maxMessageSize` is 4 MiB by default).
const MAX_SIZE_BYTES: u64 = 1 << 30;

/// Measure a broker under load, and this machine's disk and network beside it.
#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Compare sync flush with async flush on this machine's disk, with brokers in this process
    Flush(FlushArgs),
    /// Send to any RocketMQ-compatible broker
    Send(SendArgs),
    /// Read a topic from its start, again and again
    Consume(ConsumeArgs),
    /// Send and consume at once: latency until a consumer has the message
    E2e(E2eArgs),
    /// Run a workload file of OpenMessaging Benchmark
    Workload(WorkloadArgs),
}

#[derive(Args, Debug)]
struct Common {
    /// Bytes of a message's body
    #[arg(long, default_value_t = 1024, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=MAX_SIZE_BYTES))]
    size: u64,
    /// Measured seconds of a run
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = some_seconds)]
    duration: Duration,
    /// Seconds of load before the measurement
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    warm_up: Duration,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Args, Debug)]
struct RunArgs {
    /// Header encoding of the requests
    #[arg(long, value_enum, default_value_t = HeaderCodec::Json)]
    codec: HeaderCodec,
    /// Core of the load generator [default: the last one]
    #[arg(long)]
    core: Option<usize>,
    /// Directory for results.json, index.html and .hgrm files
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the report as JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ringmq bench flush
  ringmq bench flush --store /data --rounds 3 --out report")]
struct FlushArgs {
    #[command(flatten)]
    common: Common,
    /// Messages per second of the open-loop run; 0 leaves it out
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Turns that each mode gets, in alternation
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Queues of the topic
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    queues: u32,
    /// Core of the broker [default: the first one]
    #[arg(long)]
    broker_core: Option<usize>,
    /// Existing directory on the disk to measure; temporary stores are made below it [default: the system's for temporary files]
    #[arg(long, value_name = "DIR", value_parser = directory)]
    store: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ringmq bench send --connections 64 --in-flight 4
  ringmq bench send --rate 20000 --duration 30 --json")]
struct SendArgs {
    #[command(flatten)]
    drive: DriveArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  ringmq bench e2e --rate 1000 --connections 4")]
struct E2eArgs {
    #[command(flatten)]
    drive: DriveArgs,
}

#[derive(Args, Debug)]
struct DriveArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    target: TargetArgs,
    /// Connections to the brokers of the topic
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    connections: usize,
    /// Requests in flight on each connection (closed loop)
    #[arg(long, default_value_t = 4, value_parser = at_least_one)]
    in_flight: usize,
    /// Messages per second in all (open loop); 0 is a closed loop
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Number of topics; more than one are called TOPIC-0, TOPIC-1, ...
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    topics: usize,
    /// Queues per topic and broker; the topic is made or changed accordingly [default: as it is, or 8]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    queues: Option<u32>,
}

#[derive(Args, Debug)]
struct TargetArgs {
    /// Name server, or several: host:port;host:port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9876")]
    namesrv: String,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    credentials: CredentialsArgs,
    /// Topic; it is made if it does not exist
    #[arg(long, default_value = "ringmq-bench")]
    topic: String,
    /// Producer and consumer group
    #[arg(long, default_value = "ringmq-bench")]
    group: String,
    /// The broker's process on this machine, to measure its CPU time
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// A directory on the broker's disk on this machine, to count what the device writes
    #[arg(long, value_name = "DIR", value_parser = directory)]
    disk: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  ringmq bench consume --fill 100000 --connections 8")]
struct ConsumeArgs {
    #[command(flatten)]
    drive: DriveArgs,
    /// Messages to send before, so that there is something to consume
    #[arg(long, default_value_t = 0, value_name = "MESSAGES")]
    fill: u64,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  ringmq bench workload workloads/1-topic-16-partitions-1kb.yaml --duration 60")]
struct WorkloadArgs {
    /// A file in YAML, with `topics`, `partitionsPerTopic`, `messageSize`, `producerRate` and so on
    file: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    run: RunArgs,
    /// Requests in flight on each connection where the file has no rate
    #[arg(long, default_value_t = 32, value_parser = at_least_one)]
    in_flight: usize,
    /// Measured seconds [default: the file's testDurationMinutes]
    #[arg(long, value_name = "SECONDS", value_parser = some_seconds)]
    duration: Option<Duration>,
    /// Seconds of load before the measurement [default: the file's warmupDurationMinutes, or one minute]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    warm_up: Option<Duration>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HeaderCodec {
    Json,
    Rocketmq,
}

pub fn run(args: BenchArgs, starter: &dyn StartBroker) -> Result<ExitCode> {
    let interrupt = Interrupt::default();
    let at_signal = interrupt.clone();
    signals::on_stop(move |signal| at_signal.set(signal))?;
    let ran = match args.what {
        What::Flush(args) => flush(args, starter, interrupt.clone())?,
        What::Send(args) => load(args.drive, Drive::Send, interrupt.clone())?,
        What::Consume(args) => {
            let drive = Drive::Consume { fill: args.fill };
            load(args.drive, drive, interrupt.clone())?
        }
        What::E2e(args) => load(args.drive, Drive::EndToEnd, interrupt.clone())?,
        What::Workload(args) => workload(args, interrupt.clone())?,
    };
    let signal = interrupt.signal();
    match (ran, signal) {
        (Err(BenchError::Interrupted), _) => eprintln!("ringmq: {}", BenchError::Interrupted),
        (Err(error), _) => return Err(explained(error)),
        (Ok(report), None) if !report.has_succeeded() => {
            bail!(
                "no message was acknowledged in at least one run; the causes stand below the table"
            )
        }
        (Ok(_), _) => {}
    }
    Ok(signal.map_or(ExitCode::SUCCESS, |signal| {
        ExitCode::from(signals::exit_code(signal))
    }))
}

fn explained(error: BenchError) -> anyhow::Error {
    match error {
        BenchError::Client(error) => super::explained(error),
        error => error.into(),
    }
}

type Ran = Result<Report, BenchError>;

fn flush(args: FlushArgs, starter: &dyn StartBroker, interrupt: Interrupt) -> Result<Ran> {
    let cores = Surroundings::observe().cores;
    let plan = ComparisonPlan {
        shapes: comparison::default_shapes(args.common.size as usize, args.rate),
        rounds: args.rounds,
        repeats: args.rounds,
        warm_up: args.common.warm_up,
        duration: args.common.duration,
        floor_duration: FLOOR_DURATION,
        queues: args.queues,
        codec: args.common.run.codec.into(),
        dir: args.store.unwrap_or_else(std::env::temp_dir),
        broker_core: core("--broker-core", args.broker_core, cores.first(), &cores)?,
        load_core: core("--core", args.common.run.core, cores.last(), &cores)?,
        interrupt,
        command: command(),
    };
    let output = args.common.run.output();
    Ok(comparison::run(&plan, starter, &output))
}

fn load(args: DriveArgs, drive: Drive, interrupt: Interrupt) -> Result<Ran> {
    let DriveArgs { common, target, .. } = args;
    let output = common.run.output();
    let plan = DrivePlan {
        title: format!("Load on {}", target.namesrv),
        drive,
        topics: args.topics,
        queues: args.queues,
        consumers: args.connections,
        shape: Shape {
            connections: args.connections,
            in_flight: args.in_flight,
            size_bytes: common.size as usize,
            rate: args.rate,
        },
        warm_up: common.warm_up,
        duration: common.duration,
        ..plan(target, &common.run, interrupt)?
    };
    Ok(drive::run(&plan, &output))
}

fn workload(args: WorkloadArgs, interrupt: Interrupt) -> Result<Ran> {
    let file = Workload::read(&args.file)?;
    let output = args.run.output();
    let notes = match &file.ignored[..] {
        [] => Vec::new(),
        ignored => vec![format!(
            "of the workload, {} has no effect",
            ignored.join(", ")
        )],
    };
    let plan = DrivePlan {
        title: format!("{} on {}", file.name, args.target.namesrv),
        notes,
        drive: match file.backlog {
            0 if file.subscriptions == 0 => Drive::Send,
            0 => Drive::EndToEnd,
            fill => Drive::Consume { fill },
        },
        topics: file.topics,
        queues: Some(file.queues),
        subscriptions: file.subscriptions,
        consumers: file.consumers,
        shape: Shape {
            connections: file.producers * file.topics,
            in_flight: args.in_flight,
            size_bytes: file.size_bytes,
            rate: file.rate,
        },
        warm_up: args.warm_up.unwrap_or(file.warm_up),
        duration: args.duration.unwrap_or(file.duration),
        ..plan(args.target, &args.run, interrupt)?
    };
    Ok(drive::run(&plan, &output))
}

/// What the arguments about the broker and the run say.
fn plan(target: TargetArgs, run: &RunArgs, interrupt: Interrupt) -> Result<DrivePlan> {
    let cores = Surroundings::observe().cores;
    Ok(DrivePlan {
        title: String::new(),
        notes: Vec::new(),
        drive: Drive::Send,
        namesrv: target.namesrv,
        topic: target.topic,
        topics: 1,
        queues: None,
        group: target.group,
        subscriptions: 1,
        consumers: 1,
        codec: run.codec.into(),
        dial: Dial {
            transport: Transport::fastest(),
            tls: target.tls.connector()?,
            credentials: target.credentials.credentials()?,
        },
        shape: Shape {
            connections: 1,
            in_flight: 1,
            size_bytes: 0,
            rate: 0,
        },
        warm_up: Duration::ZERO,
        duration: Duration::ZERO,
        load_core: Some(core("--core", run.core, cores.last(), &cores)?),
        broker_pid: target.broker_pid,
        device_dir: target.disk,
        interrupt,
        command: command(),
    })
}

impl RunArgs {
    fn output(&self) -> Output {
        Output {
            dir: self.out.clone(),
            json: self.json,
        }
    }
}

/// The requested core, otherwise `usual`.
fn core(
    flag: &str,
    wanted: Option<usize>,
    usual: Option<&usize>,
    available: &[usize],
) -> Result<usize> {
    match wanted {
        Some(core) if available.contains(&core) => Ok(core),
        Some(core) => Err(no_such_core(flag, core, available)),
        None => Ok(usual.copied().unwrap_or(0)),
    }
}

impl From<HeaderCodec> for Codec {
    fn from(codec: HeaderCodec) -> Self {
        match codec {
            HeaderCodec::Json => Self::Json,
            HeaderCodec::Rocketmq => Self::Rocketmq,
        }
    }
}

/// The command line as given, for the report.
fn command() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("ringmq {}", words.join(" "))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("got {text}, expected seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("got 0, expected more than no time".to_owned()),
        duration => Ok(duration),
    }
}

fn directory(text: &str) -> Result<PathBuf, String> {
    match PathBuf::from(text) {
        dir if dir.is_dir() => Ok(dir),
        _ => Err("it is no directory".to_owned()),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("got {text}, expected a number from 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    #[test]
    fn the_flags_that_scripts_use_are_taken() {
        for line in [
            "bench flush",
            "bench flush --duration 0.5 --out report --rounds 3 --rate 0",
            "bench send --namesrv 10.0.0.1:9876 --connections 64 --in-flight 4 --size 1024 --rate 5000 --duration 5 \
             --warm-up 1 --access-key u --secret-key-file f --topic T --topics 3 --queues 8 --codec rocketmq --group g --broker-pid 1",
            "bench consume --fill 100000 --connections 2",
            "bench e2e --rate 1000",
            "bench workload w.yaml --namesrv 10.0.0.1:9876 --topic T --group g --duration 1.5 --warm-up 0 --json --core 1",
        ] {
            assert!(
                Line::try_parse_from(line.split_whitespace()).is_ok(),
                "{line}"
            );
        }
        for line in [
            "bench",
            "bench send --connections 0",
            "bench flush --rounds 0",
            "bench send --duration -1",
            "bench send --duration 0",
            "bench send --size 0",
            "bench workload",
            "bench workload w.yaml --size 5",
            "bench flush --store /no/such/directory",
        ] {
            assert!(
                Line::try_parse_from(line.split_whitespace()).is_err(),
                "{line}"
            );
        }
    }

    #[test]
    fn a_core_that_is_not_there_is_wrong_usage() {
        assert_eq!(core("--core", None, Some(&5), &[3, 5]).unwrap(), 5);
        assert_eq!(core("--core", Some(3), Some(&5), &[3, 5]).unwrap(), 3);
        let error = core("--core", Some(7), Some(&5), &[3, 5]).unwrap_err();
        assert!(error.is::<super::super::usage::UsageError>());
        assert_eq!(
            error.to_string(),
            "--core 7: no such core; this process may use 3,5"
        );
    }
}
