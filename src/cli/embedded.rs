//! A broker in this process for `ringmq bench flush`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use super::process::Process;
use crate::bench::{
    BYTES_WRITTEN_KEY, EmbeddedBroker, FLUSHES_KEY, FlushMode, StartBroker, WRITES_KEY,
    WriteCounters, cpu,
};
use crate::config::{Config, Flush};

/// Starts brokers on free ports of the loopback.
pub struct Embedding;

struct Embedded {
    /// Address and kernel thread of each shard.
    shards: Vec<(SocketAddr, u32)>,
    process: Mutex<Process>,
    namesrv: SocketAddr,
}

impl StartBroker for Embedding {
    fn start(
        &self,
        mode: FlushMode,
        dir: &Path,
        core: usize,
    ) -> Result<Box<dyn EmbeddedBroker>, String> {
        let (listen_port, namesrv_port) =
            free_ports().map_err(|error| format!("no free port: {error}"))?;
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
        let shards = process
            .shards
            .iter()
            .map(|shard| (shard.addr, shard.started.thread_id))
            .collect();
        Ok(Box::new(Embedded {
            shards,
            process: Mutex::new(process),
            namesrv,
        }))
    }
}

impl EmbeddedBroker for Embedded {
    fn namesrv(&self) -> SocketAddr {
        self.namesrv
    }

    fn cpu(&self) -> Option<Duration> {
        self.shards
            .iter()
            .map(|(_, thread)| cpu::of_thread(*thread).ok())
            .sum()
    }

    fn writes(&self) -> Option<WriteCounters> {
        let mut sum = WriteCounters::default();
        for (addr, _) in &self.shards {
            let table = super::runtime_info::ask(*addr).ok()?;
            let count = |key| table.get(key)?.parse::<u64>().ok();
            sum.writes += count(WRITES_KEY)?;
            sum.bytes_written += count(BYTES_WRITTEN_KEY)?;
            sum.flushes += count(FLUSHES_KEY)?;
        }
        Some(sum)
    }

    fn stop(self: Box<Self>) {
        let process = self
            .process
            .into_inner()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Err(error) = process.stop() {
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
