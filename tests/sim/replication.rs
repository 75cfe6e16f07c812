//! Protects replication between a master and its slave: which answer a send gets when the slave is there, late, or gone; that what was
//! acknowledged is on both; that the slave follows again after every end of either; and what a slave serves.

mod message;
mod offsets;
mod process;
mod setup;
mod strangers;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringmq::io::{Notify, Spawn};
use ringmq::reactor::{self, Health, ReplicationSetup, Role, ServeError, ShardSetup, Term};
use ringmq::sim::{Fault, Op, Rng, Rule, Sim, SimConfig};
use ringmq::store::{Flush, Retention};
use ringmq::wire::Codec;
use ringmq::wire::codes::response;

pub use message::{queue, send, try_send};
pub use process::Process;
pub use setup::{HA_PORT, SLAVE_TIMEOUT_MS, replication_setup};

use crate::client::Client;
use crate::cluster::{BROKER_PORT, DISK_BYTES, NAMESRV_PORT, SYNC_FLUSH_TIMEOUT_MS, shard_setup};
use crate::logs;
use crate::requests::{self, Pull};

pub const MASTER: &str = "master";
pub const SLAVE: &str = "slave";
pub const TOPIC: &str = "orders";
pub const GROUP: &str = "readers";

/// How long a broker may take to start, or a slave to follow.
pub const LIMIT: Duration = Duration::from_secs(20);

pub struct Pair {
    pub sim: Sim,
    flush: Flush,
    role: Role,
    disk_timeout_ms: u64,
}

impl Pair {
    pub fn new(seed: u64, flush: Flush, role: Role) -> Self {
        let config = SimConfig {
            time_limit_ns: 3_600_000_000_000,
            disk_bytes: DISK_BYTES,
            ..SimConfig::default()
        };
        logs::if_asked();
        Self {
            sim: Sim::new(seed, config),
            flush,
            role,
            disk_timeout_ms: SYNC_FLUSH_TIMEOUT_MS,
        }
    }

    pub fn addr(&self, host: &str) -> SocketAddr {
        SocketAddr::new(self.sim.host(host).ip(), BROKER_PORT)
    }

    pub fn setup(&self, host: &str) -> ShardSetup {
        let mut setup = shard_setup(&self.sim.host(host), self.flush, &Retention::default());
        let is_slave = host == SLAVE;
        setup.store.follows = is_slave;
        setup.namesrv = vec![SocketAddr::new(self.addr(MASTER).ip(), NAMESRV_PORT).into()];
        setup.register_interval_ms = 1_000;
        setup.sync_flush_timeout_ms = self.disk_timeout_ms;
        if is_slave {
            setup.builtin_namesrv = None;
        }
        setup.replication = Some(ReplicationSetup {
            role: if is_slave { Role::Slave } else { self.role },
            broker_id: is_slave.into(),
            ..replication_setup()
        });
        setup
    }

    pub async fn start(&self, host: &str) -> Process {
        self.start_with(self.setup(host), host, None).await
    }

    /// Both, with a topic; the slave is in sync. With a client at the master.
    pub async fn start_both(&self) -> (Process, Process, Client) {
        let master = self.start(MASTER).await;
        self.create_topic().await;
        let slave = self.start(SLAVE).await;
        let mut client = self.client(MASTER).await;
        self.until_answered(&mut client, response::SUCCESS).await;
        (master, slave, client)
    }

    /// With another term than the host's usual one.
    pub async fn start_as(&self, host: &str, term: Term) -> Process {
        self.start_with(self.setup(host), host, Some(term)).await
    }

    pub async fn start_with(&self, setup: ShardSetup, host: &str, term: Option<Term>) -> Process {
        let io = self.sim.host(host);
        let stop = Rc::new(Notify::default());
        let process = Process {
            stop: stop.clone(),
            has_ended: Rc::default(),
            orders: Rc::default(),
            times_ready: Rc::default(),
            health: Rc::default(),
        };
        if let Some(term) = term {
            process.orders.ask_for_term(term);
        }
        let (task_io, orders) = (io.clone(), process.orders.clone());
        let (ended, health) = (process.has_ended.clone(), process.health.clone());
        let times_ready = process.times_ready.clone();
        io.spawn("test", async move {
            let ready = |_| times_ready.set(times_ready.get() + 1);
            let watch = move |now| health.borrow_mut().push(now);
            let stop = stop.notified();
            match reactor::run_ordered(task_io, setup, &orders, stop, ready, watch).await {
                Ok(()) | Err(ServeError::Unclean { .. }) => {}
                Err(error) => panic!("the broker has failed: {error}"),
            }
            ended.set(true);
        });
        self.until("ready", || process.times_ready.get() > 0).await;
        process
    }

    pub async fn stop(&self, host: &str, process: Process) {
        process.stop.notify();
        self.until("stopped", || process.has_ended.get()).await;
        self.sim.crash(host);
    }

    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline_ns = self.sim.mono_ns() + LIMIT.as_nanos() as u64;
        while !is_so() {
            let now_ns = self.sim.mono_ns();
            assert!(now_ns < deadline_ns, "not {what}\n{}", self.sim.recent());
            self.sleep_ms(1).await;
        }
    }

    pub async fn sleep_ms(&self, ms: u64) {
        self.sim.sleep(Duration::from_millis(ms)).await;
    }

    pub async fn client(&self, host: &str) -> Client {
        let io = self.sim.host("client");
        let connected = Client::connect(&io, self.addr(host), Codec::Rocketmq);
        connected.await.unwrap()
    }

    pub async fn create_topic(&self) {
        let mut admin = self.client(MASTER).await;
        requests::make_topic(&mut admin, TOPIC).await;
    }

    /// Sends until a send is answered with `code`; fails after some time.
    pub async fn until_answered(&self, client: &mut Client, code: i32) {
        let deadline_ns = self.sim.mono_ns() + LIMIT.as_nanos() as u64;
        let mut number = 1_000_000;
        loop {
            number += 1;
            let reply = send(client, number, "").await;
            if reply.code == code {
                return;
            }
            let now_ns = self.sim.mono_ns();
            assert!(now_ns < deadline_ns, "{reply:?}\n{}", self.sim.recent());
            self.sleep_ms(20).await;
        }
    }

    /// The bodies of all messages of the queue at a broker.
    pub async fn bodies(&self, host: &str) -> Vec<u64> {
        self.bodies_from(host, 0).await
    }

    /// Asks again where the broker is changing its role.
    pub async fn bodies_from(&self, host: &str, offset: u64) -> Vec<u64> {
        let deadline_ns = self.sim.mono_ns() + LIMIT.as_nanos() as u64;
        loop {
            match self.try_bodies(host, offset).await {
                Ok(bodies) => return bodies,
                Err(error) => assert!(self.sim.mono_ns() < deadline_ns, "{error}"),
            }
            self.sleep_ms(10).await;
        }
    }

    async fn try_bodies(&self, host: &str, mut offset: u64) -> std::io::Result<Vec<u64>> {
        let io = self.sim.host("client");
        let mut client = Client::connect(&io, self.addr(host), Codec::Rocketmq).await?;
        let queue = queue();
        let mut bodies = Vec::new();
        loop {
            let pull = Pull::of_all(GROUP, &queue, offset);
            let reply = requests::pull(&mut client, &pull).await?;
            if reply.code != response::SUCCESS {
                return Ok(bodies);
            }
            for record in requests::records(&reply.body) {
                assert_eq!(record.queue_offset, offset);
                bodies.push(u64::from_be_bytes(*record.body.first_chunk().unwrap()));
                offset += 1;
            }
        }
    }

    /// Both have the same messages.
    pub async fn until_same(&self) -> Vec<u64> {
        let deadline_ns = self.sim.mono_ns() + LIMIT.as_nanos() as u64;
        loop {
            let (there, here) = (self.bodies(MASTER).await, self.bodies(SLAVE).await);
            if there == here {
                return there;
            }
            let now_ns = self.sim.mono_ns();
            assert!(
                now_ns < deadline_ns,
                "{there:?}\n{here:?}\n{}",
                self.sim.recent()
            );
            self.sleep_ms(50).await;
        }
    }
}

fn each(test: impl AsyncFn(&Pair)) {
    for flush in [Flush::Sync, Flush::Async] {
        for seed in 0..3 {
            let pair = Pair::new(seed, flush, Role::SyncMaster);
            pair.sim.run(test(&pair));
        }
    }
}

/// A slave begins with what only the master's device has, while the master's last write is under way.
#[test]
fn nothing_is_read_from_the_masters_device_before_it_is_there() {
    for flush in [Flush::Sync, Flush::Async] {
        let pair = Pair::new(1, flush, Role::AsyncMaster);
        pair.sim.run(async {
            let master = pair.start(MASTER).await;
            pair.create_topic().await;
            let mut client = pair.client(MASTER).await;
            for number in 0..20 {
                assert!(send(&mut client, number, "").await.is_success());
            }
            pair.stop(MASTER, master).await;
            let _master = pair.start(MASTER).await;
            let stall = Fault::Stall(Duration::from_secs(1));
            let rule = Rule::new(stall).of(Op::Write).on("commitlog");
            pair.sim.host(MASTER).inject(rule.times(1));
            let mut client = pair.client(MASTER).await;
            let sent = send(&mut client, 20, "");
            let followed = async {
                pair.sleep_ms(100).await;
                let slave = pair.start(SLAVE).await;
                slave.health.borrow_mut().clear();
                slave
            };
            let (reply, slave) = futures_util::future::join(sent, followed).await;
            assert!(reply.is_success(), "{reply:?}");
            assert_eq!(pair.until_same().await.len(), 21);
            pair.sleep_ms(3_000).await;
            let health = slave.health.borrow();
            let has_cut = health.iter().any(|now| matches!(now, Health::Opening(_)));
            assert!(!has_cut, "{health:?}");
        });
    }
}

#[test]
fn what_is_acknowledged_is_on_both() {
    each(async |pair| {
        let (_master, _slave, mut client) = pair.start_both().await;
        let before = pair.bodies(MASTER).await.len();
        for number in 0..60 {
            let reply = send(&mut client, number, "").await;
            assert_eq!(reply.code, response::SUCCESS, "{reply:?}");
        }
        // The machine of the master is gone: what it acknowledged is at the slave, and nothing else is visible there.
        pair.sim.power_cut(MASTER);
        pair.sleep_ms(100).await;
        let bodies = pair.bodies(SLAVE).await;
        let expected: Vec<u64> = (0..60).collect();
        assert!(bodies[before..] == expected[..bodies.len() - before]);
        assert!(bodies.len() >= before, "{bodies:?}");
    });
}

#[test]
fn each_state_of_the_slave_has_its_answer() {
    each(async |pair| {
        let _master = pair.start(MASTER).await;
        pair.create_topic().await;
        let mut client = pair.client(MASTER).await;
        let asked_ns = pair.sim.mono_ns();
        let reply = send(&mut client, 1, "").await;
        assert_eq!(reply.code, response::SLAVE_NOT_AVAILABLE, "{reply:?}");
        assert!(pair.sim.mono_ns() - asked_ns < SLAVE_TIMEOUT_MS * 1_000_000);
        assert_eq!(pair.bodies(MASTER).await, [1], "its sender was answered");
        let reply = send(&mut client, 2, "WAIT\u{1}false\u{2}").await;
        assert_eq!(reply.code, response::SUCCESS, "{reply:?}");

        let slave = pair.start(SLAVE).await;
        pair.until_answered(&mut client, response::SUCCESS).await;
        // Connected, and its disk hangs.
        let stall = Fault::Stall(Duration::from_secs(4));
        pair.sim
            .host(SLAVE)
            .inject(Rule::new(stall).of(Op::Write).on("commitlog"));
        let asked_ns = pair.sim.mono_ns();
        let reply = send(&mut client, 3, "").await;
        assert_eq!(reply.code, response::FLUSH_SLAVE_TIMEOUT, "{reply:?}");
        assert!(pair.sim.mono_ns() - asked_ns >= SLAVE_TIMEOUT_MS * 1_000_000);
        assert!(pair.bodies(MASTER).await.contains(&3));
        pair.sim.host(SLAVE).heal();
        pair.until_answered(&mut client, response::SUCCESS).await;

        pair.stop(SLAVE, slave).await;
        pair.until_answered(&mut client, response::SLAVE_NOT_AVAILABLE)
            .await;
        let _slave = pair.start(SLAVE).await;
        pair.until_answered(&mut client, response::SUCCESS).await;
        pair.until_same().await;
    });
}

/// The time for the disk is over long before that for the slave, and the disk has what the slave lacks.
#[test]
fn a_late_slave_is_not_taken_for_a_late_disk() {
    let mut pair = Pair::new(1, Flush::Sync, Role::SyncMaster);
    pair.disk_timeout_ms = SLAVE_TIMEOUT_MS / 4;
    pair.sim.run(async {
        let _master = pair.start(MASTER).await;
        pair.create_topic().await;
        let mut client = pair.client(MASTER).await;
        let _slave = pair.start(SLAVE).await;
        pair.until_answered(&mut client, response::SUCCESS).await;
        let stall = Fault::Stall(Duration::from_secs(30));
        let rule = Rule::new(stall).of(Op::Write).on("commitlog");
        pair.sim.host(SLAVE).inject(rule);
        let asked_ns = pair.sim.mono_ns();
        let reply = send(&mut client, 7, "").await;
        assert_eq!(reply.code, response::FLUSH_SLAVE_TIMEOUT, "{reply:?}");
        assert!(pair.sim.mono_ns() - asked_ns >= SLAVE_TIMEOUT_MS * 1_000_000);
    });
}

#[test]
fn a_slave_serves_reads_and_takes_nothing() {
    let pair = Pair::new(1, Flush::Async, Role::AsyncMaster);
    pair.sim.run(async {
        let _master = pair.start(MASTER).await;
        pair.create_topic().await;
        let _slave = pair.start(SLAVE).await;
        let mut client = pair.client(MASTER).await;
        for number in 0..10 {
            assert!(send(&mut client, number, "").await.is_success());
        }
        // A group of its own is made by the first pull.
        assert_eq!(pair.bodies(MASTER).await.len(), 10);
        requests::commit_offset(&mut client, GROUP, &queue(), 7);
        client.flush().await.unwrap();
        let reply = client.reply().await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
        assert_eq!(pair.until_same().await.len(), 10);
        pair.sleep_ms(3_000).await;
        let mut at_slave = pair.client(SLAVE).await;
        let offset = requests::query_offset(&mut at_slave, GROUP, &queue()).await;
        assert_eq!(offset.unwrap(), Some(7));
        let reply = send(&mut at_slave, 11, "").await;
        assert_eq!(reply.code, response::SERVICE_NOT_AVAILABLE);
        requests::create_topic(&mut at_slave, "another");
        at_slave.flush().await.unwrap();
        let reply = at_slave.reply().await.unwrap();
        assert_eq!(reply.code, response::SYSTEM_ERROR);
        // A restart finds topics, offsets and messages again.
        pair.sim.crash(SLAVE);
        pair.sim.partition(MASTER, SLAVE);
        let _slave = pair.start(SLAVE).await;
        let mut at_slave = pair.client(SLAVE).await;
        let offset = requests::query_offset(&mut at_slave, GROUP, &queue()).await;
        assert_eq!(offset.unwrap(), Some(7));
        assert_eq!(pair.bodies(SLAVE).await.len(), 10);
    });
}

/// The slave ends in every way, and the network fails, while messages are sent.
#[test]
fn a_slave_follows_again_after_every_end() {
    for seed in 0..8 {
        let flush = if seed % 2 == 0 {
            Flush::Sync
        } else {
            Flush::Async
        };
        let pair = Pair::new(seed, flush, Role::SyncMaster);
        pair.sim.run(async {
            let mut rng = Rng::new(seed);
            let _master = pair.start(MASTER).await;
            pair.create_topic().await;
            let mut slave = pair.start(SLAVE).await;
            let mut client = pair.client(MASTER).await;
            let mut number = 0;
            for _ in 0..12 {
                for _ in 0..rng.below(60) {
                    let reply = send(&mut client, number, "").await;
                    let codes = [
                        response::SUCCESS,
                        response::FLUSH_SLAVE_TIMEOUT,
                        response::SLAVE_NOT_AVAILABLE,
                    ];
                    assert!(codes.contains(&reply.code), "{reply:?}");
                    number += 1;
                }
                match rng.below(5) {
                    0 => {
                        pair.sim.crash(SLAVE);
                        slave = pair.start(SLAVE).await;
                    }
                    1 => {
                        pair.sim.power_cut(SLAVE);
                        slave = pair.start(SLAVE).await;
                    }
                    2 => {
                        pair.stop(SLAVE, slave).await;
                        slave = pair.start(SLAVE).await;
                    }
                    3 => pair.sim.reset_connections(MASTER, SLAVE),
                    _ => {
                        pair.sim.partition(MASTER, SLAVE);
                        pair.sleep_ms(rng.below(4_000)).await;
                        pair.sim.heal_partition(MASTER, SLAVE);
                    }
                }
            }
            let bodies = pair.until_same().await;
            assert_eq!(bodies, (0..number).collect::<Vec<_>>());
        });
    }
}

#[test]
fn a_slave_that_starts_first_finds_its_master_later() {
    for seed in 0..4 {
        let pair = Pair::new(seed, Flush::Sync, Role::SyncMaster);
        pair.sim.run(async {
            let _slave = pair.start(SLAVE).await;
            pair.sleep_ms(3_000).await;
            let _master = pair.start(MASTER).await;
            pair.create_topic().await;
            let mut client = pair.client(MASTER).await;
            pair.until_answered(&mut client, response::SUCCESS).await;
        });
    }
}

#[test]
fn the_end_of_the_master_answers_what_waits_for_the_slave() {
    for seed in 0..4 {
        let pair = Pair::new(seed, Flush::Sync, Role::SyncMaster);
        pair.sim.run(async {
            let (master, _slave, mut client) = pair.start_both().await;
            let stall = Fault::Stall(Duration::from_secs(9));
            let slow = Rule::new(stall).of(Op::Write).on("commitlog");
            pair.sim.host(SLAVE).inject(slow);
            let sent = send(&mut client, 1, "");
            let stopped = async {
                pair.sleep_ms(100).await;
                let began_ns = pair.sim.mono_ns();
                pair.stop(MASTER, master).await;
                pair.sim.mono_ns() - began_ns
            };
            let (reply, took_ns) = futures_util::future::join(sent, stopped).await;
            assert_eq!(reply.code, response::SLAVE_NOT_AVAILABLE, "{reply:?}");
            assert!(took_ns < 3_000_000_000, "{took_ns}");
        });
    }
}
