//! The same loads on ringmq, on Apache RocketMQ's own broker and on a bare server, in turns on the same core and disk; `perf/compare.sh` runs it.
//!
//! Each round starts each of them on an empty store and stops it again; who goes first changes from round to round. A run in which the machine
//! stood still is repeated once. The table has the medians of the rounds with their ranges, the page all messages of all rounds.

mod bare;
mod figures;
mod sides;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ringmq::bench::drive::{self, Drive, DrivePlan};
use ringmq::bench::{Interrupt, Machine, Output, Report, RunResult, Shape};
use ringmq::client::{Dial, Transport};
use ringmq::wire::Codec;

use figures::Figures;
use sides::{Running, Side};

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

#[derive(Parser)]
struct Args {
    /// The binary of ringmq.
    #[arg(long)]
    ringmq: PathBuf,
    /// tests/clients/real-broker/real-broker.sh; without it RocketMQ is left out.
    #[arg(long)]
    real_broker: Option<PathBuf>,
    #[arg(long, default_value = "sync", value_parser = ["sync", "async"])]
    flush: String,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measured seconds of a run.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, default_value_t = 0)]
    broker_core: usize,
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// A directory on the disk that is measured.
    #[arg(long)]
    store: PathBuf,
    /// Gets index.html, results.json and the histograms.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Serves as the bare server at this port, and nothing else.
    #[arg(long, hide = true)]
    serve: Option<u16>,
}

/// Connections, requests in flight on each, and messages per second of an open loop.
const LOADS: [(usize, usize, u64); 5] = [
    (1, 1, 0),
    (16, 4, 0),
    (64, 4, 0),
    (256, 8, 0),
    (64, 0, 6_000),
];

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.serve {
        Some(port) => bare::run(args.broker_core, port, &args.store, args.flush == "sync"),
        None => compare(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Result<()> {
    let mut sides = vec![Side::Ringmq, Side::Bare];
    if args.real_broker.is_some() {
        sides.insert(1, Side::Rocketmq);
    }
    let mut figures = Figures::default();
    for round in 0..args.rounds {
        for turn in 0..sides.len() {
            let side = sides[(round + turn) % sides.len()];
            let running = Running::start(side, args)?;
            for (connections, in_flight, rate) in LOADS {
                let shape = Shape {
                    connections,
                    in_flight,
                    size_bytes: 1024,
                    rate,
                };
                let run = measured(args, &running, shape)?;
                eprintln!(
                    "round {} {:<9} {:<16} {:>9.0} msg/s",
                    round + 1,
                    run.name,
                    shape.label(),
                    run.messages_per_second()
                );
                figures.add(run);
            }
        }
    }
    let report = report(args, &figures);
    let page = Output {
        json: false,
        dir: args.out.clone(),
    };
    page.prepare()?;
    page.write(&report)?;
    print!("\n{}", figures.table(&sides));
    Ok(())
}

/// A run that the machine has not spoiled, if it does not do so twice.
fn measured(args: &Args, running: &Running, shape: Shape) -> Result<RunResult> {
    let run = one(args, running, shape)?;
    match run.hiccups.spoils(run.elapsed) {
        true => one(args, running, shape),
        false => Ok(run),
    }
}

fn one(args: &Args, running: &Running, shape: Shape) -> Result<RunResult> {
    let plan = DrivePlan {
        title: String::new(),
        notes: Vec::new(),
        drive: Drive::Send,
        namesrv: running.namesrv(),
        topic: format!("compare-{}", shape.slug()),
        topics: 1,
        queues: running.side.takes_topics().then_some(8),
        group: "compare".to_owned(),
        subscriptions: 0,
        consumers: 0,
        codec: Codec::Json,
        dial: Dial::from(Transport::fastest()),
        shape,
        // A virtual machine compiles what it runs often.
        warm_up: Duration::from_secs(if running.side == Side::Rocketmq { 5 } else { 1 }),
        duration: Duration::from_secs(args.seconds),
        load_core: Some(args.load_core),
        broker_pid: Some(running.pid),
        device_dir: Some(args.store.clone()),
        interrupt: Interrupt::default(),
        command: String::new(),
    };
    let mut runs = drive::measure(&plan)?;
    let mut run = runs.pop().ok_or("nothing was measured")?;
    run.name = running.side.name().to_owned();
    Ok(run)
}

fn report(args: &Args, figures: &Figures) -> Report {
    let runs = figures.merged();
    let words: Vec<String> = std::env::args().skip(1).collect();
    Report {
        title: format!("ringmq, RocketMQ and a bare server, {} flush", args.flush),
        command: format!("compare {}", words.join(" ")),
        machine: Machine::probe(&args.store),
        load: vec![format!(
            "load: bodies of 1,024 bytes, JSON headers, 8 queues; {} rounds in turns, {} s each",
            args.rounds, args.seconds
        )],
        floor: None,
        notes: vec![
            "bare: the frames in one log with the same group commit, by the same I/O; no header is decoded, nothing can be read".to_owned(),
        ],
        warnings: runs.iter().filter_map(RunResult::warning).collect(),
        interrupted: None,
        runs,
    }
}
