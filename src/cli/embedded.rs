//! A broker in this process for `ringmq bench flush`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use super::backend::Backend;
use super::process::Process;
use crate::bench::{EmbeddedBroker, FlushMode, StartBroker, cpu};
use crate::config::{Config, Flush};

/// Starts brokers on free ports of the loopback.
pub struct Embedding;

struct Embedded {
    /// Kernel thread of each shard.
    threads: Vec<u32>,
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
        let started = Backend::choose(config.io).and_then(|io| Process::start(&config, io, None));
        let process = started.map_err(|error| format!("{error:#}"))?;
        let namesrv = SocketAddr::from((Ipv4Addr::LOCALHOST, namesrv_port));
        let threads = process
            .shards
            .iter()
            .map(|shard| shard.started.thread_id)
            .collect();
        Ok(Box::new(Embedded {
            threads,
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
        self.threads
            .iter()
            .map(|thread| cpu::of_thread(*thread).ok())
            .sum()
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
