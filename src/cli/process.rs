//! A broker in this process: one thread and one reactor for each shard, the name server beside the first.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, bail};

use crate::config::Config;
use crate::reactor::{self, NamesrvSetup, Ready, ShardSetup};
use crate::ring::{self, Doorbell, RingConfig};

/// What a thread of the process reports to its main thread.
pub enum Event {
    Ready { shard: usize, ready: Ready, thread_id: u32 },
    Stopped { shard: usize, result: Result<()> },
    /// SIGTERM or SIGINT.
    Signal,
}

pub struct Process {
    pub shards: Vec<RunningShard>,
    /// Of the built-in name server.
    pub namesrv: Option<SocketAddr>,
    events: Receiver<Event>,
    to_events: Sender<Event>,
}

pub struct RunningShard {
    pub broker_name: String,
    pub addr: SocketAddr,
    pub core: usize,
    pub store_dir: PathBuf,
    pub ready: Ready,
    /// The kernel's number of the thread, under which it accounts its CPU time.
    pub thread_id: u32,
    doorbell: Doorbell,
    thread: JoinHandle<()>,
}

impl Process {
    /// Starts every shard of `config` and comes back when all of them serve.
    pub fn start(config: &Config) -> Result<Process> {
        check_shard_count(config)?;
        let (to_events, events) = channel();
        let mut starting = Vec::new();
        for shard in 0..config.shards() {
            starting.push(spawn_shard(config, shard, to_events.clone())?);
        }
        let mut ready: Vec<Option<(Ready, u32)>> = starting.iter().map(|_| None).collect();
        while ready.iter().any(Option::is_none) {
            match events.recv()? {
                Event::Ready { shard, ready: now, thread_id } => ready[shard] = Some((now, thread_id)),
                Event::Stopped { result, .. } => {
                    for shard in &starting {
                        shard.doorbell.ring();
                    }
                    for shard in starting {
                        let _ = shard.thread.join();
                    }
                    return Err(result.err().unwrap_or_else(|| anyhow!("a shard stopped while starting")));
                }
                Event::Signal => unreachable!("signals are watched once the process has started"),
            }
        }
        let shards = starting
            .into_iter()
            .zip(ready)
            .map(|(starting, ready)| {
                let (ready, thread_id) = ready.expect("all are ready");
                RunningShard {
                    broker_name: starting.broker_name,
                    addr: starting.addr,
                    core: starting.core,
                    store_dir: starting.store_dir,
                    ready,
                    thread_id,
                    doorbell: starting.doorbell,
                    thread: starting.thread,
                }
            })
            .collect();
        let namesrv = config
            .has_builtin_namesrv()
            .then(|| SocketAddr::new(config.advertise, config.namesrv_port));
        Ok(Process { shards, namesrv, events, to_events })
    }

    /// Runs until SIGTERM or SIGINT, or until a shard fails; then stops all of them.
    pub fn run_until_signal(self) -> Result<()> {
        let mut signals = signal_hook::iterator::Signals::new([
            signal_hook::consts::SIGTERM,
            signal_hook::consts::SIGINT,
        ])?;
        let to_events = self.to_events.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            if signals.forever().next().is_some() {
                let _ = to_events.send(Event::Signal);
            }
        })?;
        match self.events.recv()? {
            Event::Stopped { shard, result } => {
                let failure = result.err().unwrap_or_else(|| anyhow!("shard {shard} stopped by itself"));
                let _ = self.stop();
                Err(failure)
            }
            Event::Signal | Event::Ready { .. } => self.stop(),
        }
    }

    /// Stops accepting, finishes what was accepted, flushes and leaves the clean mark.
    pub fn stop(self) -> Result<()> {
        for shard in &self.shards {
            shard.doorbell.ring();
        }
        for shard in self.shards {
            if shard.thread.join().is_err() {
                bail!("the thread of {} panicked", shard.broker_name);
            }
        }
        drop(self.to_events);
        for event in self.events.try_iter() {
            if let Event::Stopped { result, .. } = event {
                result?;
            }
        }
        Ok(())
    }
}

struct StartingShard {
    broker_name: String,
    addr: SocketAddr,
    core: usize,
    store_dir: PathBuf,
    doorbell: Doorbell,
    thread: JoinHandle<()>,
}

fn spawn_shard(config: &Config, shard: usize, events: Sender<Event>) -> Result<StartingShard> {
    let setup = shard_setup(config, shard)?;
    let doorbell = Doorbell::new()?;
    let core = config.cores[shard];
    let ring_config = RingConfig { core: Some(core), ..RingConfig::default() };
    let starting = StartingShard {
        broker_name: setup.broker.broker_name.clone(),
        addr: SocketAddr::new(config.advertise, setup.listen.port()),
        core,
        store_dir: setup.store.dir.clone(),
        doorbell: doorbell.clone(),
        thread: thread::Builder::new().name(format!("shard-{shard}")).spawn(move || {
            let to_ready = events.clone();
            let run = ring::run(ring_config, move |io| async move {
                let stop = io.clone();
                reactor::run(
                    io,
                    setup,
                    async move { stop.wait(&doorbell).await },
                    move |ready| {
                        let _ = to_ready.send(Event::Ready { shard, ready, thread_id: thread_id() });
                    },
                )
                .await
            });
            let result = match run {
                Ok(served) => served.map_err(anyhow::Error::from),
                Err(error) => Err(anyhow::Error::from(error)),
            };
            let _ = events.send(Event::Stopped { shard, result });
        })?,
    };
    Ok(starting)
}

fn shard_setup(config: &Config, shard: usize) -> Result<ShardSetup> {
    let port = config.shard_port(shard);
    let listen = SocketAddr::new(config.bind_address, port);
    let (store, broker) = (config.store_of(shard), config.broker_of(shard));
    let namesrv = if config.has_builtin_namesrv() {
        vec![SocketAddr::new(own_address(config), config.namesrv_port)]
    } else {
        let mut resolved = Vec::new();
        for address in &config.namesrv {
            let found = address
                .to_socket_addrs()
                .with_context(|| format!("the name server {address} cannot be resolved"))?
                .next();
            resolved.push(found.with_context(|| format!("the name server {address} has no address"))?);
        }
        resolved
    };
    let builtin = (config.has_builtin_namesrv() && shard == 0).then(|| NamesrvSetup {
        listen: SocketAddr::new(config.bind_address, config.namesrv_port),
        kv_config: config.store_dir.join("config/kvConfig.json"),
    });
    Ok(ShardSetup {
        listen,
        vip_listen: SocketAddr::new(config.bind_address, port - 2),
        advertise: SocketAddr::new(config.advertise, port),
        store,
        broker,
        namesrv,
        register_interval_ms: config.register_interval_ms,
        sync_flush_timeout_ms: config.sync_flush_timeout_ms,
        send_wait_ms: config.send_wait_ms,
        save_offsets_interval_ms: config.save_offsets_interval_ms,
        builtin_namesrv: builtin,
    })
}

/// Where this process reaches itself.
fn own_address(config: &Config) -> std::net::IpAddr {
    if config.bind_address.is_unspecified() {
        std::net::Ipv4Addr::LOCALHOST.into()
    } else {
        config.bind_address
    }
}

/// A store remembers its number of shards by its folders: another number would hide messages.
fn check_shard_count(config: &Config) -> Result<()> {
    let dir = &config.store_dir;
    let plain = dir.join("commitlog").exists();
    let found = if plain {
        1
    } else {
        (0..).take_while(|shard| dir.join(format!("shard-{shard}")).exists()).count()
    };
    if found != 0 && found != config.shards() {
        bail!(
            "the store {} was made with {found} core(s) and cannot be opened with {}: start with --cores naming {found} \
             core(s), a core may be named twice",
            dir.display(),
            config.shards()
        );
    }
    Ok(())
}

fn thread_id() -> u32 {
    std::fs::read_link("/proc/thread-self")
        .ok()
        .and_then(|link| link.file_name()?.to_str()?.parse().ok())
        .unwrap_or(0)
}
