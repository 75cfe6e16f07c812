//! The per-core loop: takes frames, asks `broker/` what they mean, carries the outcome out, writes the replies.
//!
//! Everything here runs on one thread and knows the outside only through [`Io`]: the same code serves on io_uring and in
//! the simulator. A shard is this set of tasks:
//!
//! | Task | waits for | does |
//! |---|---|---|
//! | accept, one a port | a connection | starts its reader and writer |
//! | reader, one a connection | bytes | frames -> decisions -> appended, answered, parked |
//! | writer, one a connection | replies | one send for all that has been collected |
//! | committed (`shard.rs`) | the log's next commit | releases acknowledgements, wakes parked pulls |
//! | clock (`shard.rs`) | 100 ms | deadlines, expiry, what is due |
//! | metrics | a scrape of Prometheus | writes the figures, a slice in each round |
//! | registration, one a name server | a change, 30 s | registers topics |
//! | under a controller (`controlled/`): manager, questions, and heartbeats to each controller | 50 ms, an answer | which role the shard has |
//! | saves, two | a change | write the files of config/ |
//! | delay | the next due message | moves it to its real topic |
//! | transaction | the check interval | asks producers about half messages |
//! | timers, two | the next due message, 1 s | the same for messages with a time of their own; saves which wait |
//! | revive | the next popped message whose time is over | moves it to its retry topic |
//!
//! ```text
//! shard      the services, and which request goes to which
//!   -> sends  pulls  pop  requests  transaction  timer  delay  saves  registration      services; each owns its state
//!     -> core      the store, the rules, the connections, and the one way into the log
//!       -> acks  admission  answers  calls  connections ...
//! ```

mod access;
mod acks;
mod activity;
mod admission;
mod answers;
mod caller;
mod calls;
mod connection;
mod connections;
mod controlled;
mod core;
mod decisions;
mod delay;
mod deliveries;
mod effects;
mod grant;
mod inbox;
mod latencies;
mod life;
mod master_address;
mod memory;
pub mod metrics;
mod name_server;
mod namesrv;
mod own_queue;
mod permit;
mod pop;
mod pulls;
mod registration;
mod release;
mod remoting_client;
mod replication;
mod requests;
mod rounds;
mod saves;
mod send_times;
mod sends;
mod shard;
mod slices;
mod slow_requests;
mod stages;
mod standstill;
mod term;
mod timer;
mod transaction;
mod unproven;
mod unsent;
mod view;

use access::{Access, Checks};
pub use access::{DirectoryLink, DirectoryRequest, FromDirectory, ToDirectory};
pub use life::Health;
use life::{Beside, Ended, Opening};
pub use name_server::NameServer;
pub use replication::setup::{ControllerSetup, MasterAddr, ReplicationSetup, Role};
pub use term::{Mandate, Orders, Term};

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use self::metrics::{Asked, Scrapes, WriteSome};

use crate::auth::{Book, Rules};
use crate::broker::BrokerConfig;
use crate::broker::admission::AdmissionLimits;
use crate::broker::metrics::Scrape;
use crate::io::{Io, Scope};
use crate::replication::epochs::EpochError;
use crate::replication::manager::identity::IdentityError;
use crate::store::{Medium, StoreConfig, StoreError, StoreFigures};

/// For so long the ports of the term before may be in use: their descriptors are closed when the kernel has cancelled the last accept.
const PORT_RELEASE_NS: u64 = 5_000_000_000;

/// Everything a shard needs to know.
#[derive(Clone, Debug)]
pub struct ShardSetup {
    pub listen: SocketAddr,
    /// Clients with the VIP channel on come here.
    pub vip_listen: SocketAddr,
    pub store: StoreConfig,
    pub broker: BrokerConfig,
    pub namesrv: Vec<NameServer>,
    pub register_interval_ms: u64,
    pub sync_flush_timeout_ms: u64,
    /// A connection without traffic for this long is closed.
    pub connection_idle_s: u64,
    pub max_connections: usize,
    /// What its connections may hold together.
    pub connection_memory_bytes: usize,
    pub admission: AdmissionLimits,
    pub save_offsets_interval_ms: u64,
    pub builtin_namesrv: Option<NamesrvSetup>,
    /// `None`: the broker is alone.
    pub replication: Option<ReplicationSetup>,
    /// What it shows of its I/O.
    pub io: IoBackend,
}

/// The implementation of [`crate::io`] that a shard runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoBackend {
    pub name: &'static str,
    /// Why it is not io_uring; empty if it is.
    pub reason: String,
}

#[derive(Clone, Debug)]
pub struct NamesrvSetup {
    pub listen: SocketAddr,
    /// Of its key-value configuration.
    pub dir: PathBuf,
    pub max_connections: usize,
    /// What its settings are before any was changed, ...
    pub settings: crate::namesrv::Settings,
    /// ... and whether changed ones are kept in `dir`, or lost with a restart.
    pub keeps_settings: bool,
    /// What a name server without a broker checks its requests by. That beside a broker has the broker's users.
    pub check: Option<(Rules, Arc<Book>)>,
}

/// What connects a shard with the rest of its process. Between shards whose stores are on the same device: an error that fences one of them fences all,
/// as the device may have lost what they have not flushed.
pub struct Neighbours {
    /// Called once, with the reason, if an error of the device fences this shard.
    pub announce: Box<dyn Fn(&str)>,
    /// Done, with the reason, if another one has announced an error.
    pub announced: LocalBoxFuture<'static, String>,
    /// Questions for the figures of this shard, and of the name server beside it.
    pub scrapes: Option<Scrapes>,
    /// All users. `None`: there are none, and with authentication nobody may do anything.
    pub directory: Option<DirectoryLink>,
}

impl Neighbours {
    /// No other store is on the device, and nobody asks.
    pub fn none() -> Self {
        Self {
            announce: Box::new(|_| {}),
            announced: Box::pin(std::future::pending()),
            scrapes: None,
            directory: None,
        }
    }
}

/// What a shard says when it serves.
#[derive(Clone, Debug)]
pub struct Ready {
    pub figures: StoreFigures,
    /// Name servers that have the shard's routes, of all that it was given.
    pub registered: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {addr}: {source}")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error("the store {} could not be closed cleanly; the next start recovers it: {source}", dir.display())]
    Unclean { dir: PathBuf, source: StoreError },
    #[error("{}: {source}", path.display())]
    Identity {
        path: PathBuf,
        source: IdentityError,
    },
    #[error("the epochs of the store cannot be read: {0}")]
    Epochs(EpochError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Serves one shard, and the name server if it is this shard's to serve, until `stop` is done: then stops accepting,
/// finishes what was accepted, and closes the store.
pub async fn run<I: Io>(
    io: I,
    setup: ShardSetup,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Ready),
) -> Result<(), ServeError> {
    let (bound, watch, alone) = (async || {}, |_| {}, Neighbours::none());
    run_watched(io, setup, stop, bound, ready, watch, alone).await
}

/// As [`run`]; `orders` asks for the terms behind the first one, and each change of the shard's health goes to `watch`.
pub async fn run_ordered<I: Io>(
    io: I,
    setup: ShardSetup,
    orders: &Rc<Orders>,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Ready),
    watch: impl Fn(Health) + 'static,
) -> Result<(), ServeError> {
    let bound = async || {};
    let opening = Opening { bound, ready };
    serve(io, setup, orders, stop, opening, watch, Neighbours::none()).await
}

/// As [`run`]; each change of the shard's health goes to `watch`. `bound` is called once the store is open and every port is
/// bound; the shard registers with the name servers when it is done, so that a process one of whose shards cannot start
/// takes nothing from a broker that serves under the same name.
pub async fn run_watched<I: Io>(
    io: I,
    setup: ShardSetup,
    stop: impl Future<Output = ()>,
    bound: impl AsyncFnOnce(),
    ready: impl FnOnce(Ready),
    watch: impl Fn(Health) + 'static,
    neighbours: Neighbours,
) -> Result<(), ServeError> {
    let (orders, opening) = (Rc::default(), Opening { bound, ready });
    serve(io, setup, &orders, stop, opening, watch, neighbours).await
}

async fn serve<I: Io, B: AsyncFnOnce(), R: FnOnce(Ready)>(
    io: I,
    setup: ShardSetup,
    orders: &Rc<Orders>,
    stop: impl Future<Output = ()>,
    opening: Opening<B, R>,
    watch: impl Fn(Health) + 'static,
    neighbours: Neighbours,
) -> Result<(), ServeError> {
    let medium = Medium::new(io.clone());
    medium.on_device_error(neighbours.announce);
    let fenced = medium.clone();
    io.spawn("neighbours", async move {
        let reason = neighbours.announced.await;
        fenced.fence_off(&reason);
    });
    let checks = Checks::of(&setup, neighbours.directory);
    if let Some(checks) = &checks {
        io.spawn("directory", checks.clone().follow_directory());
    }
    let of_names = checks.as_ref().and_then(|checks| checks.of_names());
    let names = match &setup.builtin_namesrv {
        Some(names) => Some(namesrv::start(&io, &medium, names, of_names).await?),
        None => None,
    };
    let asked = neighbours.scrapes.map(|scrapes| {
        let names = names.clone().map(|names| {
            let write = move |scrape: &mut Scrape| names.write_figures(scrape);
            Box::new(write) as WriteSome
        });
        Rc::new(Asked { scrapes, names })
    });
    let controlled = controlled::start(&io, &medium, &setup, orders).await?;
    let terms = Terms {
        io: &io,
        medium: &medium,
        setup,
        orders,
        beside: Beside { asked, checks },
    };
    let served = terms.serve(pin!(stop), opening, Rc::new(watch)).await;
    if let Some(controlled) = controlled {
        controlled.stop();
    }
    if let Some(names) = names {
        names.stop().await;
    }
    served
}

/// What the terms of a shard have in common.
struct Terms<'a, I: Io> {
    io: &'a I,
    medium: &'a Medium<I>,
    setup: ShardSetup,
    orders: &'a Rc<Orders>,
    beside: Beside,
}

impl<I: Io> Terms<'_, I> {
    /// Serves one term after the other. Nothing of a term is left when the next one begins.
    async fn serve<B: AsyncFnOnce(), R: FnOnce(Ready)>(
        &self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        opening: Opening<B, R>,
        watch: Rc<impl Fn(Health) + 'static>,
    ) -> Result<(), ServeError> {
        let mut opening = Some(opening);
        loop {
            let scope = Rc::new(Scope::default());
            let medium = self.medium.through(scope.of(self.io.clone()));
            let (stop, watch) = (stop.as_mut(), watch.clone());
            let term = life::run(
                medium,
                &self.setup,
                self.orders,
                stop,
                opening.take(),
                watch,
                self.beside.clone(),
            );
            let ended = term.await;
            self.orders.steering().term_ended();
            scope.end().await;
            if ended? == Ended::Stopped {
                return Ok(());
            }
        }
    }
}

/// Serves a name server alone. `scrapes`: questions for its figures.
pub async fn run_namesrv<I: Io>(
    io: I,
    setup: NamesrvSetup,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(),
    scrapes: Option<Scrapes>,
) -> Result<(), ServeError> {
    let access = setup.check.as_ref().map(|(rules, book)| {
        let (rules, book) = (rules.clone(), book.clone());
        Access::new(rules, book, access::Port::NameServer)
    });
    let names = namesrv::start(&io, &Medium::new(io.clone()), &setup, access).await?;
    if let Some(scrapes) = scrapes {
        let answering = metrics::run_namesrv(names.clone(), scrapes);
        io.spawn("metrics", answering);
    }
    ready();
    stop.await;
    names.stop().await;
    Ok(())
}

/// The port, which the term before may have for a moment.
async fn bind<I: Io>(
    seam: &I,
    addr: SocketAddr,
    is_first: bool,
    listen: impl Fn(&I, SocketAddr) -> io::Result<I::Listener>,
) -> Result<I::Listener, ServeError> {
    let deadline_ns = seam.now().mono_ns + PORT_RELEASE_NS;
    loop {
        let bound = listen(seam, addr).map_err(|source| ServeError::Listen { addr, source });
        match bound {
            Err(ServeError::Listen { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse
                    && !is_first
                    && seam.now().mono_ns < deadline_ns =>
            {
                seam.sleep_until(seam.now().mono_ns + 1_000_000).await;
            }
            bound => return bound,
        }
    }
}

fn listen<I: Io>(io: &I, addr: SocketAddr) -> Result<I::Listener, ServeError> {
    io.listen_remoting(addr)
        .map_err(|source| ServeError::Listen { addr, source })
}
