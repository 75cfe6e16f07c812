//! A broker in this process for `ringmq bench flush`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use super::process::Process;
use crate::bench::{EmbeddedBroker, FlushMode, StartBroker, WriteCounters, cpu};
use crate::config::{Config, Flush};

/// Starts brokers on free ports of the loopback.
pub struct Embedding;

struct Embedded {
    process: Process,
    namesrv: SocketAddr,
}

impl StartBroker for Embedding {
    fn start(&self, mode: FlushMode, dir: &Path, core: usize) -> Result<Box<dyn EmbeddedBroker>, String> {
        let (listen_port, namesrv_port) = free_ports().map_err(|error| format!("no free port: {error}"))?;
        let config = Config {
            listen_port,
            namesrv_port,
            bind_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            advertise: IpAddr::V4(Ipv4Addr::LOCALHOST),
            cores: vec![core],
            store_dir: dir.to_owned(),
            flush: match mode {
                FlushMode::Sync => Flush::Sync,
                FlushMode::Async => Flush::Async,
            },
            ..Config::default()
        };
        let process = Process::start(&config).map_err(|error| format!("{error:#}"))?;
        let namesrv = SocketAddr::from((Ipv4Addr::LOCALHOST, namesrv_port));
        Ok(Box::new(Embedded { process, namesrv }))
    }
}

impl EmbeddedBroker for Embedded {
    fn namesrv(&self) -> SocketAddr {
        self.namesrv
    }

    fn cpu(&self) -> Option<Duration> {
        self.process.shards.iter().map(|shard| cpu::of_thread(shard.started.thread_id).ok()).sum()
    }

    fn writes(&self) -> Option<WriteCounters> {
        let mut sum = WriteCounters::default();
        for shard in &self.process.shards {
            let table = super::runtime_info::ask(shard.addr).ok()?;
            let count = |key| table.get(key)?.parse::<u64>().ok();
            sum.writes += count("logWrites")?;
            sum.bytes_written += count("logWrittenBytes")?;
            sum.flushes += count("logFlushes")?;
        }
        Some(sum)
    }

    fn stop(self: Box<Self>) {
        if let Err(error) = self.process.stop() {
            tracing::warn!("the embedded broker did not stop cleanly: {error:#}");
        }
    }
}

/// A port whose neighbour two below is free as well, and another one.
fn free_ports() -> std::io::Result<(u16, u16)> {
    loop {
        let broker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let namesrv = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = broker.local_addr()?.port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port - 2)).is_ok() {
            return Ok((port, namesrv.local_addr()?.port()));
        }
    }
}
