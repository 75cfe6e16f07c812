//! A master and its slave: the cluster's broker is the master, and the slave has a host of its own.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};

use ringmq::reactor::{ReplicationSetup, Role, ShardSetup};
use ringmq::sim::{Sim, SimConfig, SimIo};
use ringmq::store::{Flush, Retention};
use ringmq::wire::Codec;

use crate::client::Client;
use crate::cluster::{BROKER_PORT, Cluster, NAMESRV_PORT, Process, State, shard_setup};

pub const SLAVE: &str = "slave";
const HA_PORT: u16 = BROKER_PORT + 1;

/// A slave that is behind for so long is not waited for.
pub const SLAVE_TIMEOUT_MS: u64 = 1_000;
const HEARTBEAT_MS: u64 = 500;
const SILENCE_MS: u64 = 2_000;

pub struct Pair {
    pub cluster: Cluster,
    slave: RefCell<Option<Process>>,
    /// It starts with what it can read of its log, which is otherwise refused.
    skips_damage: Cell<bool>,
}

impl Pair {
    pub fn new(seed: u64, flush: Flush, world: SimConfig) -> Self {
        let cluster = Cluster::within(seed, flush, Retention::default(), world);
        cluster
            .limits
            .set(|setup| setup.replication = Some(role(Role::SyncMaster)));
        Self {
            cluster,
            slave: RefCell::default(),
            skips_damage: Cell::new(false),
        }
    }

    pub fn sim(&self) -> &Sim {
        &self.cluster.sim
    }

    /// The slave's host, whether or not its process runs.
    pub fn slave(&self) -> SimIo {
        self.sim().host(SLAVE)
    }

    pub fn slave_addr(&self) -> SocketAddr {
        SocketAddr::new(self.slave().ip(), BROKER_PORT)
    }

    pub async fn slave_client(&self) -> Client {
        let io = self.sim().host("reader");
        let connected = Client::connect(&io, self.slave_addr(), Codec::Rocketmq).await;
        connected.unwrap_or_else(|error| panic!("cannot connect to the slave: {error}"))
    }

    pub fn is_slave_up(&self) -> bool {
        self.slave.borrow().is_some()
    }

    /// Starts the slave on what its disk holds, and does not wait for it.
    pub fn begin_slave(&self) {
        let before = self
            .slave
            .replace(Some(Process::begin(&self.slave(), self.slave_setup())));
        assert!(before.is_none(), "the slave runs already");
    }

    pub fn is_slave_ready(&self) -> bool {
        let slave = self.slave.borrow();
        slave
            .as_ref()
            .is_some_and(|process| matches!(process.state(), State::Ready { .. }))
    }

    pub async fn until_slave_is_ready(&self) {
        let is_ready = || self.is_slave_ready();
        self.cluster.until("ready as a slave", is_ready).await;
    }

    /// As SIGTERM does.
    pub async fn stop_slave(&self) {
        let process = self.slave.take().expect("the slave runs");
        process.stop();
        let has_ended = || process.state() == State::Ended;
        self.cluster.until("stopped as a slave", has_ended).await;
        self.sim().crash(SLAVE);
    }

    /// `kill -9`
    pub fn kill_slave(&self) {
        self.slave.take().expect("the slave runs");
        self.sim().crash(SLAVE);
    }

    pub fn cut_power_of_slave(&self) {
        self.slave.take().expect("the slave runs");
        self.sim().power_cut(SLAVE);
    }

    /// A write or a flush of the slave is about to fail.
    pub fn slave_begins_to_fail(&self) {
        let slave = self.slave.borrow();
        slave
            .as_ref()
            .expect("the slave runs")
            .device_begins_to_fail();
    }

    /// A start may come to damage, which refuses it: it starts with `--skip-damaged` from now on.
    pub fn slave_may_be_damaged(&self) {
        self.skips_damage.set(true);
    }

    fn slave_setup(&self) -> ShardSetup {
        let flush = self.cluster.flush;
        let mut setup = shard_setup(&self.slave(), flush, &Retention::default());
        self.cluster.settings.get()(&mut setup.broker);
        setup.store.follows = true;
        setup.store.skip_damaged = self.skips_damage.get();
        setup.builtin_namesrv = None;
        // The name server says where the master is.
        setup.namesrv = vec![SocketAddr::new(self.cluster.addr().ip(), NAMESRV_PORT).into()];
        setup.register_interval_ms = 1_000;
        setup.replication = Some(role(Role::Slave));
        setup
    }
}

fn role(role: Role) -> ReplicationSetup {
    ReplicationSetup {
        role,
        broker_id: (role == Role::Slave).into(),
        listen: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), HA_PORT),
        master: None,
        in_sync_replicas: 2,
        slave_timeout_ms: SLAVE_TIMEOUT_MS,
        max_gap_bytes: 256 << 20,
        heartbeat_ms: HEARTBEAT_MS,
        silence_ms: SILENCE_MS,
        batch_bytes: 4 << 10,
        slave_reads: true,
        is_secured: false,
        controller: None,
    }
}
