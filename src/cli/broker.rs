//! `ringmq broker`

use anyhow::Result;
use tracing::{info, warn};

use super::args::BrokerArgs;
use super::process::{Process, signals};
use crate::config::{Config, Level, Surroundings};
use crate::ring;

pub fn run(args: BrokerArgs) -> Result<()> {
    let (config, notes) = Config::load(&args.into(), &Surroundings::observe())?;
    for note in notes {
        match note.level {
            Level::Info => info!("{}", note.text),
            Level::Warning => warn!("{}", note.text),
        }
    }
    ring::probe()?;
    let signals = signals()?;
    let process = Process::start(&config)?;
    print_banner(&config, &process);
    process.run_until(signals)
}

/// What was started, and what the kernel granted; its last line tells scripts that everything serves.
fn print_banner(config: &Config, process: &Process) {
    println!("ringmq {}", env!("CARGO_PKG_VERSION"));
    println!("  cluster     {}", config.cluster_name);
    match process.namesrv {
        Some(addr) => println!("  name server {addr} (built in)"),
        None => println!("  name server {}", config.namesrv.join(";")),
    }
    for shard in &process.shards {
        let started = &shard.started;
        println!(
            "  broker      {} at {} on core {}",
            shard.broker_name, shard.addr, shard.core
        );
        println!("    store     {}", shard.store_dir.display());
        println!("    flush     {}", flush_text(config));
        println!(
            "    queues    {} MiB of {}",
            config.consume_queue_memory_bytes >> 20,
            started.ready.figures.pages
        );
        println!("    kernel    {}", started.facilities);
    }
    let missing: Vec<_> = process
        .shards
        .iter()
        .filter(|shard| shard.started.ready.registered < config.namesrv.len().max(1))
        .map(|shard| shard.broker_name.as_str())
        .collect();
    if !missing.is_empty() {
        warn!(
            "not registered with every name server yet: {}",
            missing.join(", ")
        );
    }
    println!("ready");
}

fn flush_text(config: &Config) -> String {
    use crate::config::Flush;
    match config.flush {
        Flush::Sync => {
            "sync: a send is acknowledged once it is on the device, its cache flushed".into()
        }
        Flush::Async => format!(
            "async: a send is acknowledged once it is written to the device, flushed within {} ms",
            config.flush_interval_ms
        ),
    }
}
