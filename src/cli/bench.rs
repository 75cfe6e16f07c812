//! `ringmq bench flush|send|consume|e2e`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::bench::comparison::{self, ComparisonPlan};
use crate::bench::drive::{self, Drive, DrivePlan};
use crate::bench::{BenchError, Output, Shape, StartBroker};
use crate::wire::Codec;

/// Long enough for a p99 of the device, short beside the runs.
const FLOOR_DURATION: Duration = Duration::from_millis(600);

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
    Send(DriveArgs),
    /// Read a topic from its start, again and again
    Consume(ConsumeArgs),
    /// Send and consume at once: latency until a consumer has the message
    E2e(DriveArgs),
}

#[derive(Args, Debug)]
struct Common {
    /// Bytes of a message's body
    #[arg(long, default_value_t = 1024, value_name = "BYTES")]
    size: usize,
    /// Measured seconds of a run
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    duration: Duration,
    /// Seconds of load before the measurement
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    warm_up: Duration,
    /// Header encoding of the requests
    #[arg(long, value_enum, default_value_t = HeaderCodec::Json)]
    codec: HeaderCodec,
    /// Core of the load generator [default: the last one]
    #[arg(long)]
    core: Option<usize>,
    /// Directory for results.json, index.html and .hgrm files
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Args, Debug)]
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
    /// Core of the broker
    #[arg(long, default_value_t = 0)]
    broker_core: usize,
    /// Directory on the disk to measure; temporary stores are made below it [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct DriveArgs {
    #[command(flatten)]
    common: Common,
    /// Name server, or several: host:port;host:port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9876")]
    namesrv: String,
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    connections: usize,
    /// Requests in flight on each connection (closed loop)
    #[arg(long, default_value_t = 4, value_parser = at_least_one)]
    in_flight: usize,
    /// Messages per second in all (open loop); 0 is a closed loop
    #[arg(long, default_value_t = 0)]
    rate: u64,
    #[arg(long, default_value = "ringmq-bench")]
    topic: String,
    /// Number of topics; more than one are called TOPIC-0, TOPIC-1, ...
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    topics: usize,
    /// Queues per topic and broker; the topic is made or changed accordingly [default: as it is, or 8]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    queues: Option<u32>,
    /// Producer and consumer group
    #[arg(long, default_value = "ringmq-bench")]
    group: String,
    /// The broker's process on this machine, to measure its CPU time
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// A directory on the broker's disk on this machine, to count what the device writes
    #[arg(long, value_name = "DIR")]
    disk: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct ConsumeArgs {
    #[command(flatten)]
    drive: DriveArgs,
    /// Messages to send before, so that there is something to consume
    #[arg(long, default_value_t = 0, value_name = "MESSAGES")]
    fill: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HeaderCodec {
    Json,
    Rocketmq,
}

pub fn run(args: BenchArgs, starter: &dyn StartBroker) -> Result<(), BenchError> {
    match args.what {
        What::Flush(args) => flush(args, starter),
        What::Send(args) => load(args, Drive::Send),
        What::Consume(args) => load(args.drive, Drive::Consume { fill: args.fill }),
        What::E2e(args) => load(args, Drive::EndToEnd),
    }
}

fn flush(args: FlushArgs, starter: &dyn StartBroker) -> Result<(), BenchError> {
    let plan = ComparisonPlan {
        shapes: comparison::default_shapes(args.common.size, args.rate),
        rounds: args.rounds,
        warm_up: args.common.warm_up,
        duration: args.common.duration,
        floor_duration: FLOOR_DURATION,
        queues: args.queues,
        codec: args.common.codec.into(),
        dir: args.store.unwrap_or_else(std::env::temp_dir),
        broker_core: args.broker_core,
        load_core: args.common.core.unwrap_or_else(last_core),
        command: command(),
    };
    comparison::run(
        &plan,
        starter,
        &Output {
            dir: args.common.out,
        },
    )?;
    Ok(())
}

fn load(args: DriveArgs, drive: Drive) -> Result<(), BenchError> {
    let plan = DrivePlan {
        drive,
        namesrv: args.namesrv,
        topic: args.topic,
        topics: args.topics,
        queues: args.queues,
        group: args.group,
        codec: args.common.codec.into(),
        shape: Shape {
            connections: args.connections,
            in_flight: args.in_flight,
            size_bytes: args.common.size,
            rate: args.rate,
        },
        warm_up: args.common.warm_up,
        duration: args.common.duration,
        load_core: Some(args.common.core.unwrap_or_else(last_core)),
        broker_pid: args.broker_pid,
        device_dir: args.disk,
        command: command(),
    };
    drive::run(
        &plan,
        &Output {
            dir: args.common.out,
        },
    )?;
    Ok(())
}

impl From<HeaderCodec> for Codec {
    fn from(codec: HeaderCodec) -> Self {
        match codec {
            HeaderCodec::Json => Self::Json,
            HeaderCodec::Rocketmq => Self::Rocketmq,
        }
    }
}

fn last_core() -> usize {
    std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1)
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
             --warm-up 1 --topic T --topics 3 --queues 8 --codec rocketmq --group g --broker-pid 1",
            "bench consume --fill 100000 --connections 2",
            "bench e2e --rate 1000",
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
        ] {
            assert!(
                Line::try_parse_from(line.split_whitespace()).is_err(),
                "{line}"
            );
        }
    }
}
