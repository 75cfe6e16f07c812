//! `ringmq broker`

use std::net::IpAddr;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use anyhow::Result;
use serde_json::json;
use tracing::{info, warn};

use super::args::BrokerArgs;
use super::backend::Backend;
use super::controller::Inside;
use super::process::{Event, Process};
use super::usage::no_such_core;
use super::{mq, privileges, signals};
use crate::config::{Config, Flush, Level, Surroundings};

pub fn run(args: BrokerArgs) -> Result<()> {
    if let Some(text) = args.show.explained() {
        print!("{}", text?);
        return Ok(());
    }
    check_cores(&args)?;
    let (as_json, file) = (args.json, args.config.clone());
    let (show, boot_line) = (args.show.clone(), args.boot_line);
    let (config, notes) = Config::load(&args.into(), &Surroundings::observe())?;
    for note in notes {
        match note.level {
            Level::Info => info!("{}", note.text),
            Level::Warning => warn!("{}", note.text),
        }
    }
    if let Some(text) = show.of_config(&config) {
        print!("{text}");
        return Ok(());
    }
    if config.store_dir.is_relative()
        && let Ok(dir) = std::path::absolute(&config.store_dir)
    {
        warn!(
            "the store is {}, relative to the working directory",
            dir.display()
        );
    }
    privileges::say();
    if config.is_open() {
        warn_open(config.bind_address);
    }
    let backend = Backend::choose(config.io)?;
    let started: Arc<OnceLock<Sender<Event>>> = Arc::default();
    let to_process = Arc::clone(&started);
    signals::on_stop(move |signal| match to_process.get() {
        // There is no receiver any more if the process is stopping.
        Some(events) => drop(events.send(Event::Signal)),
        None => {
            eprintln!("ringmq: stopped while starting; the next start recovers the store");
            std::process::exit(signals::exit_code(signal).into());
        }
    })?;
    let controller = Inside::start(file.as_deref())?;
    let figures = controller.as_ref().map(|inside| inside.figures.clone());
    let process = Process::start(&config, backend, figures)?;
    // It is set here only.
    let _ = started.set(process.to_events());
    match as_json {
        true => println!("{}", ready_line(&config, &process)),
        false => print_banner(&config, &process, controller.as_ref()),
    }
    if boot_line {
        print_boot_lines(&config, &process);
    }
    warn_unregistered(&config, &process);
    Inside::stop_behind(controller, process.run())
}

fn check_cores(args: &BrokerArgs) -> Result<()> {
    let available = Surroundings::observe().cores;
    let wanted = args.cores.iter().flat_map(|list| &list.0);
    for core in wanted {
        if !available.contains(core) {
            return Err(no_such_core("--cores", *core, &available));
        }
    }
    Ok(())
}

/// For scripts: one line, printed when every shard serves.
fn ready_line(config: &Config, process: &Process) -> serde_json::Value {
    let brokers: Vec<_> = process
        .shards
        .iter()
        .map(|shard| {
            json!({
                "name": shard.broker_name,
                "address": shard.addr.to_string(),
                "core": shard.core,
                "store": shard.store_dir,
            })
        })
        .collect();
    json!({
        "event": "ready",
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "cluster": config.cluster_name,
        "nameServers": namesrv_of(config, process),
        "flush": match config.flush {
            Flush::Sync => "sync",
            Flush::Async => "async",
        },
        "io": process.backend.to_string(),
        "brokers": brokers,
    })
}

/// What was started, and what the kernel granted; the last line tells scripts that every shard serves.
fn print_banner(config: &Config, process: &Process, controller: Option<&Inside>) {
    let namesrv = match process.namesrv {
        Some(addr) => format!("{addr} (built in)"),
        None => config.namesrv.join(";"),
    };
    println!(
        "ringmq {}, cluster {}, name server {namesrv}",
        env!("CARGO_PKG_VERSION"),
        config.cluster_name
    );
    println!("  flush {}", flush_text(config));
    for shard in &process.shards {
        let started = &shard.started;
        println!(
            "  broker {} at {} on core {}, store {}",
            shard.broker_name,
            shard.addr,
            shard.core,
            shard.store_dir.display()
        );
        println!(
            "    queues {} MiB of {}; kernel {}",
            config.consume_queue_memory_bytes >> 20,
            started.ready.figures.pages,
            started.capabilities
        );
    }
    if let Some(controller) = controller {
        println!("  {}", controller.text);
    }
    println!("ready");
}

fn namesrv_of(config: &Config, process: &Process) -> Vec<String> {
    match process.namesrv {
        Some(addr) => vec![addr.to_string()],
        None => config.namesrv.clone(),
    }
}

fn print_boot_lines(config: &Config, process: &Process) {
    let namesrv = namesrv_of(config, process).join(";");
    for shard in &process.shards {
        let addr = shard.addr.to_string();
        println!("{}", mq::broker_line(&shard.broker_name, &addr, &namesrv));
    }
}

/// Of a broker or a name server.
pub fn warn_open(bind: IpAddr) {
    warn!(
        "every peer that can connect to {bind} may do everything: there is no authentication (authenticationEnabled; bindAddress=127.0.0.1 for this machine alone)"
    );
}

fn warn_unregistered(config: &Config, process: &Process) {
    if config.controller_mode {
        // They register when they have their roles.
        return;
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
}

fn flush_text(config: &Config) -> String {
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
