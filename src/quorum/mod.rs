//! The controller on a port and on several machines.
//!
//! The Raft engine is openraft. It decides the order of [`Command`](crate::controller::Command)s; `controller/` says what they mean. All of a
//! controller is one thread with a tokio runtime: nothing here is on the path of a message.
//!
//! ```text
//! brokers, mqadmin -> server -> desk -> controller (pure) -> engine -> journal (synced) -> peers -> machine -> reply, notices
//! ```

mod access;
mod counts;
mod desk;
mod figures;
mod journal;
mod log_store;
mod machine;
mod notifier;
mod peers;
mod record;
mod rpc;
mod secured;
mod server;
mod setup;
mod types;
mod whole_file;

pub use access::{Access, Links};
pub use secured::SecurityNow;
pub use setup::{Node, Setup, read_id, read_peers};
pub use whole_file::replace_with_mode;

use std::fs::File;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use openraft::{Config, SnapshotPolicy};
use tokio::net::TcpListener;

use desk::{Desk, MARKER, SETTINGS_FILE, Stopped};
use log_store::LogStore;
use machine::Machine;
use peers::Peers;
use rpc::Door;
use server::Server;
use types::Raft;

use crate::metrics::Family;

/// The leader sends this often to the others.
const HEARTBEAT_MS: u64 = 200;
/// A follower that hears nothing takes the leader for alive for the longer time, and stands for election after another one between the two.
const ELECTION_MS: std::ops::Range<u64> = 700..1_000;
const INSTALL_SNAPSHOT_MS: u64 = 5_000;
/// A snapshot after this many entries, and this many kept behind it for followers that lag.
const SNAPSHOT_ENTRIES: u64 = 1_000;
const KEPT_ENTRIES: u64 = 200;

#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    #[error("{path}: {error}")]
    Store { path: String, error: io::Error },
    #[error("{path} is used by another process")]
    InUse { path: String },
    #[error(
        "{path} has the state of a RocketMQ controller ({found}), which cannot be read; name another directory"
    )]
    Foreign { path: String, found: String },
    #[error(
        "{path} belongs to the controllers {stored:?}, and the configuration names {configured:?}"
    )]
    OtherGroup {
        path: String,
        stored: Vec<u64>,
        configured: Vec<u64>,
    },
    #[error("{listen}: {error}")]
    Listen {
        listen: SocketAddr,
        error: io::Error,
    },
    #[error("the engine: {0}")]
    Engine(String),
    #[error("{path}: {error}")]
    Settings {
        path: String,
        error: crate::controller::UpdateError,
    },
}

/// What a controller shows of itself, for another thread.
#[derive(Clone)]
pub struct Figures {
    desk: Arc<Desk>,
}

impl Figures {
    /// Samples by family, with these labels added to each.
    pub fn samples(&self, labels: &[(String, String)]) -> Vec<(&'static Family, String)> {
        self.desk.figures(labels)
    }
}

/// Runs a controller on this thread, with its connections secured and checked so, until `stop`, or until it cannot go on. `ready` is called when it listens.
pub fn run(
    setup: Setup,
    links: Links,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Figures),
) -> Result<(), ControllerError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| ControllerError::Engine(error.to_string()))?;
    runtime.block_on(serve(setup, links, stop, ready))
}

async fn serve(
    mut setup: Setup,
    links: Links,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Figures),
) -> Result<(), ControllerError> {
    let _lock = open_dir(&mut setup)?;
    let dir = setup.dir.clone();
    let at = |error| store_error(&dir, error);
    let is_joining = mark_empty(&setup).map_err(at)?;
    let machine = Machine::open(&setup.dir).map_err(at)?;
    let log = LogStore::open(&setup.dir).map_err(at)?;
    let door = Arc::new(Door {
        group: setup.group.clone(),
        self_id: setup.self_id,
        addresses: setup.addresses(),
        is_joining: AtomicBool::new(is_joining),
    });
    let peers = Peers::new(door.clone(), links.clone());
    let engine = |error: &dyn std::fmt::Display| ControllerError::Engine(error.to_string());
    let config = config(&setup.group)
        .validate()
        .map_err(|error| engine(&error))?;
    let listen = SocketAddr::new(setup.bind, setup.port());
    let listener = TcpListener::bind(listen).await;
    let listener = listener.map_err(|error| ControllerError::Listen { listen, error })?;
    let raft = Raft::new(setup.self_id, Arc::new(config), peers, log, machine.clone()).await;
    let raft = raft.map_err(|error| engine(&error))?;
    join(&raft, &setup).await?;

    let desk = Arc::new(Desk::new(setup, door, raft.clone(), machine, links.clone()));
    let server = Server::new(desk.clone(), links);
    let accepting = tokio::spawn(server.accept(listener));
    ready(Figures { desk: desk.clone() });
    let watching = Box::pin(desk.watch());
    let ended = futures_util::future::select(watching, Box::pin(stop)).await;
    accepting.abort();
    match ended {
        futures_util::future::Either::Left((Stopped::Engine(error), _)) => {
            Err(ControllerError::Engine(error))
        }
        futures_util::future::Either::Right(_) => {
            raft.shutdown().await.map_err(|error| engine(&error))
        }
    }
}

fn config(group: &str) -> Config {
    Config {
        cluster_name: group.to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.start,
        election_timeout_max: ELECTION_MS.end,
        install_snapshot_timeout: INSTALL_SNAPSHOT_MS,
        max_payload_entries: rpc::MAX_ENTRIES,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_ENTRIES),
        snapshot_max_chunk_size: rpc::SNAPSHOT_PART_BYTES,
        max_in_snapshot_log_to_keep: KEPT_ENTRIES,
        ..Config::default()
    }
}

/// Begins the group, which every controller of it does with the same list; or makes sure that the store is of this group.
async fn join(raft: &Raft, setup: &Setup) -> Result<(), ControllerError> {
    let engine = |error: &dyn std::fmt::Display| ControllerError::Engine(error.to_string());
    let configured: Vec<u64> = setup.peers.keys().copied().collect();
    if raft
        .is_initialized()
        .await
        .map_err(|error| engine(&error))?
    {
        let stored = raft
            .metrics()
            .borrow()
            .membership_config
            .voter_ids()
            .collect::<Vec<_>>();
        // A controller that has voted and received nothing yet knows of no list.
        return match stored.is_empty() || stored == configured {
            true => Ok(()),
            false => Err(ControllerError::OtherGroup {
                path: setup.dir.display().to_string(),
                stored,
                configured,
            }),
        };
    }
    let members: std::collections::BTreeMap<u64, ()> =
        configured.iter().map(|id| (*id, ())).collect();
    match raft.initialize(members).await {
        // Another controller was faster between the two calls.
        Ok(())
        | Err(openraft::error::RaftError::APIError(
            openraft::error::InitializeError::NotAllowed(_),
        )) => Ok(()),
        Err(error) => Err(engine(&error)),
    }
}

/// Marks an empty store, and says whether it is marked. A single controller has no other that could fill it.
fn mark_empty(setup: &Setup) -> io::Result<bool> {
    let marker = setup.dir.join(MARKER);
    if setup.peers.len() > 1 && !journal::exists(&setup.dir)? {
        whole_file::replace(&setup.dir, MARKER, b"")?;
    }
    marker.try_exists()
}

/// Makes the directory and takes it for this process; changed settings come before the configuration's.
fn open_dir(setup: &mut Setup) -> Result<File, ControllerError> {
    let dir = setup.dir.clone();
    let path = dir.display().to_string();
    let at = |error| store_error(&dir, error);
    std::fs::create_dir_all(&dir).map_err(at)?;
    for entry in std::fs::read_dir(&dir).map_err(at)? {
        let found = entry
            .map_err(at)?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if found.starts_with("dledger-") {
            return Err(ControllerError::Foreign { path, found });
        }
    }
    let lock = File::create(dir.join("lock")).map_err(at)?;
    if lock.try_lock().is_err() {
        return Err(ControllerError::InUse { path });
    }
    let settings = dir.join(SETTINGS_FILE);
    match std::fs::read_to_string(&settings) {
        Ok(text) => setup
            .settings
            .read(&text)
            .map_err(|error| ControllerError::Settings {
                path: settings.display().to_string(),
                error,
            })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(error)),
    }
    Ok(lock)
}

fn store_error(path: &Path, error: io::Error) -> ControllerError {
    let path = path.display().to_string();
    ControllerError::Store { path, error }
}

#[cfg(test)]
mod tests;
