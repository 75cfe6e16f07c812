//! One broker with its name server on a simulated host, started, stopped, killed and without power.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ringmq::broker::BrokerConfig;
use ringmq::broker::admission::AdmissionLimits;
use ringmq::io::{Notify, Spawn};
use ringmq::reactor::{self, NamesrvSetup, Neighbours, ServeError, ShardSetup};
use ringmq::sim::{Sim, SimConfig, SimIo};
use ringmq::store::{Flush, IndexShape, Retention, StoreConfig, StoreError};
use ringmq::wire::Codec;

use crate::alarm;
use crate::client::Client;

pub const BROKER: &str = "broker";
pub const BROKER_PORT: u16 = 10911;
/// Between the ports of two shards.
const PORT_STEP: u16 = 10;
pub const NAMESRV_PORT: u16 = 9876;

/// Short ones, so that much is delayed within a short run.
pub const DELAY_LEVELS_MS: [u64; 3] = [300, 1_000, 2_500];

/// Most timers wait on disk.
const TIMER_MEMORY_ENTRIES: usize = 64;

pub const FLUSH_INTERVAL_MS: u64 = 500;
pub const SAVE_OFFSETS_INTERVAL_MS: u64 = 1_000;
/// Producers are asked this often about their half messages, once these are so old.
pub const CHECK_INTERVAL_MS: u64 = 2_000;
pub const CHECK_TIMEOUT_MS: u64 = 700;
pub const OP_BATCH_INTERVAL_MS: u64 = 300;
pub const SYNC_FLUSH_TIMEOUT_MS: u64 = 5_000;

/// The log rolls every few dozen messages, and what is a second old is read from the disk.
pub const SEGMENT_BYTES: u64 = 128 << 10;
pub const LOG_BUFFER_BYTES: usize = 256 << 10;
/// A fraction of the default, as messages and windows are.
const CONNECTION_MEMORY_BYTES: usize = 64 << 20;
const MAX_UNFLUSHED_BYTES: u64 = 64 << 10;
/// The log catches up with its zeros now and then, and is written to what was another part of it.
const ZEROS_AHEAD_BYTES: u64 = 16 << 10;
/// A long history fills some files of the key index.
pub const INDEX: IndexShape = IndexShape {
    slots: 1_000,
    entries: 2_000,
};

/// Of the broker's host; a tenth of it is more than a run without retention writes.
pub const DISK_BYTES: u64 = 1 << 30;
pub const MAX_MESSAGE_BYTES: usize = 32 << 10;

/// How long a start or a stop may take.
const START_LIMIT: Duration = Duration::from_secs(30);

pub struct Cluster {
    pub sim: Sim,
    pub flush: Flush,
    retention: Retention,
    /// What is different from the usual settings at the next start.
    pub settings: Cell<fn(&mut BrokerConfig)>,
    /// The same of what it may use.
    pub limits: Cell<fn(&mut ShardSetup)>,
    /// Its process has a second shard, with a store of its own on the same device.
    pub has_two_shards: Cell<bool>,
    broker: RefCell<Vec<Process>>,
}

/// A broker's process, or one shard of it.
pub struct Process {
    stop: Rc<Notify>,
    state: Rc<Cell<State>>,
    /// Its device was made to fail.
    has_failing_device: Rc<Cell<bool>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Starting,
    Ready { registered: usize },
    Ended,
}

impl Process {
    /// Starts it, on what the disk of its host holds.
    pub fn begin(io: &SimIo, setup: ShardSetup) -> Self {
        Process::beside(io, setup, Neighbours::none())
    }

    fn beside(io: &SimIo, setup: ShardSetup, neighbours: Neighbours) -> Self {
        let stop = Rc::new(Notify::default());
        let state = Rc::new(Cell::new(State::Starting));
        let has_failing_device = Rc::new(Cell::new(false));
        let (task_io, task_stop, task_state) = (io.clone(), stop.clone(), state.clone());
        let is_failing = has_failing_device.clone();
        io.spawn("test", async move {
            let ready = |ready: reactor::Ready| {
                task_state.set(State::Ready {
                    registered: ready.registered,
                });
            };
            let (stop, bound, watch) = (task_stop.notified(), async || {}, |_| {});
            let served =
                reactor::run_watched(task_io, setup, stop, bound, ready, watch, neighbours);
            match served.await {
                // Such as on a disk that has failed.
                Ok(()) | Err(ServeError::Unclean { .. }) => {}
                // A term that has to cut its log ends with the device, and so does one that begins.
                Err(ServeError::Store(error)) if is_failing.get() && is_of_device(&error) => {}
                Err(error) => panic!("the broker has failed: {error}"),
            }
            task_state.set(State::Ended);
        });
        Self {
            stop,
            state,
            has_failing_device,
        }
    }

    /// A write or a flush of its device is about to fail: the process may end because of that.
    pub fn device_begins_to_fail(&self) {
        self.has_failing_device.set(true);
    }

    pub fn state(&self) -> State {
        self.state.get()
    }

    /// As SIGTERM does.
    pub fn stop(&self) {
        self.stop.notify();
    }
}

/// Whether a write or a flush has failed that a test made fail.
fn is_of_device(error: &StoreError) -> bool {
    match error {
        StoreError::Fenced { .. } => true,
        StoreError::Io { source, .. } => {
            source.raw_os_error() == Some(libc::EIO) || source.kind() == ErrorKind::WriteZero
        }
        _ => false,
    }
}

impl Cluster {
    pub fn new(seed: u64, flush: Flush) -> Self {
        Cluster::keeping(seed, flush, Retention::default())
    }

    /// A broker that lets messages go.
    pub fn keeping(seed: u64, flush: Flush, retention: Retention) -> Self {
        Cluster::within(seed, flush, retention, SimConfig::default())
    }

    /// A broker that lets messages go, in another world than the usual one.
    pub fn within(seed: u64, flush: Flush, retention: Retention, config: SimConfig) -> Self {
        let config = SimConfig {
            time_limit_ns: 3_600_000_000_000,
            disk_bytes: DISK_BYTES,
            ..config
        };
        Cluster {
            sim: Sim::new(seed, config),
            flush,
            retention,
            settings: Cell::new(|_| {}),
            limits: Cell::new(|_| {}),
            has_two_shards: Cell::new(false),
            broker: RefCell::default(),
        }
    }

    /// How long messages are kept.
    pub fn reserved_ms(&self) -> u64 {
        self.retention.reserved_ms
    }

    /// The broker's host, whether or not its process runs.
    pub fn broker(&self) -> SimIo {
        self.sim.host(BROKER)
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.sim.host(BROKER).ip(), BROKER_PORT)
    }

    /// Starts the broker on what its disk holds and waits until it says that it serves.
    pub async fn start(&self) {
        let shards = self.begin();
        let is_ready = |shard: &Process| shard.state() != State::Starting;
        self.until("ready", || shards.iter().all(is_ready)).await;
        assert_eq!(shards[0].state(), State::Ready { registered: 1 });
        self.broker.replace(shards);
    }

    /// Starts the broker and leaves it so much time; it may still be recovering then.
    pub async fn start_for(&self, ns: u64) {
        self.broker.replace(self.begin());
        self.sim.sleep(Duration::from_nanos(ns)).await;
    }

    fn begin(&self) -> Vec<Process> {
        let io = self.sim.host(BROKER);
        if !self.has_two_shards.get() {
            return vec![Process::begin(&io, self.setup())];
        }
        let setups = [self.setup(), self.setup_beside()];
        let shards = setups.into_iter().zip(alarm::linked());
        shards
            .map(|(setup, neighbours)| Process::beside(&io, setup, neighbours))
            .collect()
    }

    /// The shards of the broker's process, which ends.
    fn ends(&self) -> Vec<Process> {
        let shards = self.broker.take();
        assert!(!shards.is_empty(), "the broker does not run");
        shards
    }

    /// What the broker is started with.
    pub fn setup(&self) -> ShardSetup {
        let mut setup = shard_setup(&self.sim.host(BROKER), self.flush, &self.retention);
        self.settings.get()(&mut setup.broker);
        self.limits.get()(&mut setup);
        setup
    }

    /// What its second shard is started with.
    fn setup_beside(&self) -> ShardSetup {
        let mut setup = self.setup();
        use_ports_of(&mut setup, 1);
        setup.store.dir = "/beside".into();
        setup.broker.broker_name = "beside".into();
        setup.builtin_namesrv = None;
        setup
    }

    /// Where the second shard listens.
    pub fn addr_beside(&self) -> SocketAddr {
        SocketAddr::new(self.addr().ip(), BROKER_PORT + PORT_STEP)
    }

    /// As SIGTERM does.
    pub async fn stop(&self) {
        let shards = self.ends();
        shards.iter().for_each(Process::stop);
        let is_ended = |shard: &Process| shard.state() == State::Ended;
        self.until("stopped", || shards.iter().all(is_ended)).await;
        assert_eq!(self.sim.open_files(BROKER), 0, "after it has stopped");
        self.sim.crash(BROKER);
    }

    /// Begins to stop, and leaves it so much time.
    pub async fn stop_for(&self, ns: u64) {
        self.broker.borrow().iter().for_each(Process::stop);
        self.sim.sleep(Duration::from_nanos(ns)).await;
    }

    /// `kill -9`
    pub fn kill(&self) {
        self.ends();
        self.sim.crash(BROKER);
    }

    pub fn cut_power(&self) {
        self.ends();
        self.sim.power_cut(BROKER);
    }

    /// A connection that has to come about, to a broker that runs undisturbed.
    pub async fn client(&self, host: &str) -> Client {
        self.client_of(self.addr(), host).await
    }

    /// The same to one of its shards.
    pub async fn client_of(&self, addr: SocketAddr, host: &str) -> Client {
        let connected = Client::connect(&self.sim.host(host), addr, Codec::Rocketmq).await;
        connected.unwrap_or_else(|error| panic!("cannot connect to the broker: {error}"))
    }

    pub async fn namesrv_client(&self, host: &str) -> Client {
        let addr = SocketAddr::new(self.addr().ip(), NAMESRV_PORT);
        let connected = Client::connect(&self.sim.host(host), addr, Codec::Json).await;
        connected.unwrap_or_else(|error| panic!("cannot connect to the name server: {error}"))
    }

    pub async fn sleep_ms(&self, ms: u64) {
        self.sim.sleep(Duration::from_millis(ms)).await;
    }

    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline_ns = self.sim.mono_ns() + START_LIMIT.as_nanos() as u64;
        while !is_so() {
            assert!(
                self.sim.mono_ns() < deadline_ns,
                "the broker is not {what} after {START_LIMIT:?}\n{}",
                self.sim.recent()
            );
            self.sim.sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The ports of a process's n-th shard.
pub fn use_ports_of(setup: &mut ShardSetup, shard: u16) {
    for addr in [
        &mut setup.listen,
        &mut setup.vip_listen,
        &mut setup.broker.advertise,
        &mut setup.store.store_host,
    ] {
        addr.set_port(addr.port() + PORT_STEP * shard);
    }
}

/// A broker's usual settings on this host.
pub fn shard_setup(io: &SimIo, flush: Flush, retention: &Retention) -> ShardSetup {
    let any = |port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let advertise = SocketAddr::new(io.ip(), BROKER_PORT);
    ShardSetup {
        listen: any(BROKER_PORT),
        vip_listen: any(BROKER_PORT - 2),
        store: StoreConfig {
            dir: "/store".into(),
            flush,
            segment_bytes: SEGMENT_BYTES,
            log_buffer_bytes: LOG_BUFFER_BYTES,
            max_message_bytes: MAX_MESSAGE_BYTES,
            flush_interval_ms: FLUSH_INTERVAL_MS,
            max_unflushed_bytes: MAX_UNFLUSHED_BYTES,
            zeros_ahead_bytes: ZEROS_AHEAD_BYTES,
            retention: retention.clone(),
            consume_queue_memory_bytes: 2 << 20,
            delay_levels_ms: DELAY_LEVELS_MS.to_vec(),
            index: Some(INDEX),
            store_host: advertise,
            ..StoreConfig::default()
        },
        broker: BrokerConfig {
            advertise,
            max_message_bytes: MAX_MESSAGE_BYTES,
            delay_levels_ms: DELAY_LEVELS_MS.to_vec(),
            retention: retention.clone(),
            transaction_check_interval_ms: CHECK_INTERVAL_MS,
            transaction_timeout_ms: CHECK_TIMEOUT_MS,
            transaction_op_batch_interval_ms: OP_BATCH_INTERVAL_MS,
            property_filter: true,
            timer_memory_entries: TIMER_MEMORY_ENTRIES,
            ..BrokerConfig::default()
        },
        namesrv: vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), NAMESRV_PORT).into()],
        register_interval_ms: 30_000,
        sync_flush_timeout_ms: SYNC_FLUSH_TIMEOUT_MS,
        connection_idle_s: 120,
        max_connections: 10_000,
        connection_memory_bytes: CONNECTION_MEMORY_BYTES,
        admission: AdmissionLimits::default(),
        io: Default::default(),
        save_offsets_interval_ms: SAVE_OFFSETS_INTERVAL_MS,
        replication: None,
        builtin_namesrv: Some(NamesrvSetup {
            listen: any(NAMESRV_PORT),
            dir: "/store/config".into(),
            max_connections: 1_000,
            settings: Default::default(),
            keeps_settings: true,
            check: None,
        }),
    }
}
