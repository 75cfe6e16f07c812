//! A broker in this process: one thread and one reactor for each shard, the name server beside the first.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow, bail};

use super::backend::{Backend, Program, ThreadOptions, start};
use super::devices::{Alarm, Disks};
use super::directory;
use super::health::Board;
use super::metrics::{self, LastPush, Mailbox};
use super::preflight;
use super::setup::{self, shard_setup, store_config};
use super::tls;
use crate::broker::BrokerConfig;
use crate::config::Config;
use crate::quorum::Figures;
use crate::reactor::{self, NameServer, Neighbours, Ready, ServeError, ShardSetup};
use crate::ring::linux::{Doorbell, Machine};
use crate::tls::Secured;

/// What a thread of the process reports to its main thread.
pub enum Event {
    /// Its store is open, and its ports are bound.
    Bound,
    Ready {
        shard: usize,
        ready: Box<Started>,
    },
    Stopped {
        shard: usize,
        result: Result<()>,
    },
    /// A signal that stops the process.
    Signal,
}

pub struct Process {
    pub shards: Vec<RunningShard>,
    /// Of the built-in name server.
    pub namesrv: Option<SocketAddr>,
    pub backend: Backend,
    last_push: Option<LastPush>,
    events: Receiver<Event>,
    to_events: Sender<Event>,
}

/// What a shard's thread reports once it serves.
#[derive(Clone, Debug)]
pub struct Started {
    pub ready: Ready,
    /// What the kernel and the process's limits allowed.
    pub capabilities: String,
    /// The kernel's number of the thread, under which it accounts its CPU time.
    pub thread_id: u32,
}

pub struct RunningShard {
    pub broker_name: String,
    pub addr: SocketAddr,
    pub core: usize,
    pub store_dir: PathBuf,
    pub started: Started,
    doorbell: Doorbell,
    thread: JoinHandle<()>,
}

impl Process {
    /// Starts every shard of `config` and returns when all of them serve. `controller`: of the one in this process.
    pub fn start(
        config: &Config,
        backend: Backend,
        controller: Option<Figures>,
    ) -> Result<Process> {
        check_shard_count(config)?;
        preflight::check(config)?;
        let board = board(config, &backend)?;
        let exported = metrics::start(config, &board, controller)?;
        let directories = directory::start(config)?;
        let securities = tls::start(config)?;
        let (to_events, events) = channel();
        let name_servers = setup::name_servers(config)?;
        let mut starting = Vec::new();
        let links = alarms(config)?.into_iter().zip(exported.mailboxes);
        let links = links.zip(directories.into_iter().zip(securities));
        for (shard, ((alarms, mailbox), (directory, security))) in links.enumerate() {
            let (events, board) = (to_events.clone(), board.clone());
            let report = Report {
                shard,
                events,
                board,
            };
            let links = Links {
                alarms,
                mailbox,
                directory,
                security,
            };
            starting.push(spawn_shard(config, &backend, report, links, &name_servers)?);
        }
        let (starting, ready) = until_ready(starting, &events)?;
        let shards = starting
            .into_iter()
            .zip(ready)
            .map(|(starting, started)| RunningShard {
                broker_name: starting.broker_name,
                addr: starting.addr,
                core: starting.core,
                store_dir: starting.store_dir,
                started,
                doorbell: starting.doorbell,
                thread: starting.thread,
            })
            .collect();
        let namesrv = config
            .has_builtin_namesrv()
            .then(|| SocketAddr::new(config.advertise, config.namesrv_port));
        Ok(Process {
            shards,
            namesrv,
            backend,
            last_push: exported.last_push,
            events,
            to_events,
        })
    }

    /// Where to report a signal to.
    pub fn to_events(&self) -> Sender<Event> {
        self.to_events.clone()
    }

    /// Runs until [`Event::Signal`] arrives or a shard fails; then stops all shards.
    pub fn run(mut self) -> Result<()> {
        match self.events.recv()? {
            Event::Stopped { shard, result } => {
                let failure = result
                    .err()
                    .unwrap_or_else(|| anyhow!("shard {shard} stopped by itself"));
                let _ = self.stop();
                Err(failure)
            }
            Event::Signal | Event::Bound | Event::Ready { .. } => {
                if let Some(last) = self.last_push.take() {
                    last.push();
                }
                self.stop()
            }
        }
    }

    /// Stops accepting, finishes what was accepted, flushes and closes the stores. An error if one could not be closed cleanly.
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

/// Where the shards report how they are; with a port for it, it answers.
fn board(config: &Config, backend: &Backend) -> Result<Board> {
    let names = (0..config.shards()).map(|shard| config.shard_name(shard));
    let board = Board::new(backend.name(), names).open(config.is_open());
    if config.health_port != 0 {
        board.serve(config.bind_address, config.health_port)?;
    }
    Ok(board)
}

/// Waits until every shard serves. If one of them ends before, the others are stopped.
fn until_ready(
    starting: Vec<StartingShard>,
    events: &Receiver<Event>,
) -> Result<(Vec<StartingShard>, Vec<Started>)> {
    let mut ready: Vec<Option<Started>> = starting.iter().map(|_| None).collect();
    let mut bound = 0;
    while ready.iter().any(Option::is_none) {
        match events.recv()? {
            Event::Bound => {
                bound += 1;
                if bound == starting.len() {
                    starting.iter().for_each(|shard| shard.go.ring());
                }
            }
            Event::Ready {
                shard,
                ready: started,
            } => ready[shard] = Some(*started),
            Event::Stopped { result, .. } => {
                for shard in &starting {
                    shard.doorbell.ring();
                }
                for shard in starting {
                    // The first failure is the one to report.
                    let _ = shard.thread.join();
                }
                return Err(result
                    .err()
                    .unwrap_or_else(|| anyhow!("a shard stopped while starting")));
            }
            Event::Signal => unreachable!("signals are sent once the process has started"),
        }
    }
    Ok((starting, ready.into_iter().flatten().collect()))
}

struct StartingShard {
    broker_name: String,
    addr: SocketAddr,
    core: usize,
    store_dir: PathBuf,
    doorbell: Doorbell,
    /// All shards are bound: it may register.
    go: Doorbell,
    thread: JoinHandle<()>,
}

/// Of a shard: its own alarm, and those of the others whose stores share a disk with its own.
struct Alarms {
    own: Alarm,
    others: Vec<Alarm>,
}

/// What connects a shard with the rest of the process.
struct Links {
    alarms: Alarms,
    /// Questions of the exporter of metrics.
    mailbox: Option<Mailbox>,
    /// Users, if requests are checked.
    directory: Option<directory::Mailbox>,
    security: tls::Mailbox,
}

impl Links {
    fn on<M: Machine>(self, machine: &M) -> (Secured<M>, Neighbours) {
        let Alarms { own, others } = self.alarms;
        let neighbours = Neighbours {
            announce: Box::new(move |reason| others.iter().for_each(|other| other.raise(reason))),
            announced: Box::pin(own.raised(machine.clone())),
            scrapes: self.mailbox.map(|mailbox| mailbox.on(machine.clone())),
            directory: self.directory.map(|mailbox| mailbox.on(machine.clone())),
        };
        (self.security.over(machine), neighbours)
    }
}

/// Of every shard.
fn alarms(config: &Config) -> Result<Vec<Alarms>> {
    let mut shards = Vec::new();
    for shard in 0..config.shards() {
        let broker = BrokerConfig::of(config.of_shard(shard));
        let store = store_config(config, shard, &broker);
        let disks = Disks::below(&[store.commit_log_dir(), store.dir]);
        shards.push((disks, Alarm::new()?));
    }
    let of_shard = |shard: usize| {
        let (disks, own) = &shards[shard];
        let others = shards.iter().enumerate();
        let others =
            others.filter(|(index, (others, _))| *index != shard && disks.share_one_with(others));
        Alarms {
            own: own.clone(),
            others: others.map(|(_, (_, alarm))| alarm.clone()).collect(),
        }
    };
    Ok((0..shards.len()).map(of_shard).collect())
}

/// Where a shard's thread reports to.
struct Report {
    shard: usize,
    events: Sender<Event>,
    board: Board,
}

fn spawn_shard(
    config: &Config,
    backend: &Backend,
    report: Report,
    links: Links,
    name_servers: &[NameServer],
) -> Result<StartingShard> {
    let shard = report.shard;
    let setup = shard_setup(config, shard, name_servers, backend.name())?;
    let backend = backend.clone();
    let (doorbell, go) = (Doorbell::new()?, Doorbell::new()?);
    let core = config.cores[shard];
    let options = ThreadOptions {
        core: Some(core),
        stall_limit_ns: Some(config.stall_warn_ms * 1_000_000),
    };
    Ok(StartingShard {
        broker_name: setup.broker.broker_name.clone(),
        addr: SocketAddr::new(config.advertise, setup.listen.port()),
        core,
        store_dir: setup.store.dir.clone(),
        doorbell: doorbell.clone(),
        go: go.clone(),
        thread: thread::Builder::new()
            .name(format!("shard-{shard}"))
            .spawn(move || {
                let events = report.events.clone();
                let served = Served {
                    setup,
                    doorbell,
                    go,
                    report,
                    links,
                };
                let result = match start(backend, options, served) {
                    Ok(served) => served.map_err(anyhow::Error::from),
                    Err(error) => Err(anyhow::Error::from(error)),
                };
                let _ = events.send(Event::Stopped { shard, result });
            })?,
    })
}

/// What a shard's thread does.
struct Served {
    setup: ShardSetup,
    /// Ends it.
    doorbell: Doorbell,
    /// All shards are bound: it may register.
    go: Doorbell,
    report: Report,
    links: Links,
}

impl Program for Served {
    type Output = Result<(), ServeError>;

    async fn run<M: Machine>(self, machine: M) -> Self::Output {
        let Report {
            shard,
            events,
            board,
        } = self.report;
        let (bell, at_go, at_ready) = (machine.clone(), machine.clone(), machine.clone());
        let (doorbell, go, to_bound) = (self.doorbell, self.go, events.clone());
        let stop = async move {
            // It can only fail with the reactor itself.
            let _ = bell.wait(&doorbell).await;
        };
        let bound = async move || {
            let _ = to_bound.send(Event::Bound);
            let _ = at_go.wait(&go).await;
        };
        let ready = move |ready| {
            let started = Started {
                ready,
                capabilities: at_ready.capabilities(),
                thread_id: thread_id(),
            };
            let _ = events.send(Event::Ready {
                shard,
                ready: Box::new(started),
            });
        };
        let watch = move |health| board.tell(shard, health);
        let (io, neighbours) = self.links.on(&machine);
        reactor::run_watched(io, self.setup, stop, bound, ready, watch, neighbours).await
    }
}

/// The folders of a store fix its number of shards: with another number, messages would be out of reach.
fn check_shard_count(config: &Config) -> Result<()> {
    let dir = &config.store_dir;
    // One of the two is there whether the store was closed or not.
    let plain = ["abort", "checkpoint"]
        .iter()
        .any(|name| dir.join(name).exists());
    let found = if plain {
        1
    } else {
        (0..)
            .take_while(|shard| dir.join(format!("shard-{shard}")).exists())
            .count()
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
