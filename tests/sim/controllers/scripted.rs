//! The simulated controllers, asked with the bytes that brokers send.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringmq::controller::{Command, Settings};
use ringmq::io::{Listener, Net, Spawn, Stream};
use ringmq::sim::{Sim, SimConfig, Tally};
use ringmq::wire::Codec;
use ringmq::wire::codes::{request, response};
use ringmq::wire::controller::{
    ApplyBrokerId, ElectMaster, NextBrokerId, RegisterReplica, RoleChanged,
};
use ringmq::wire::register::BrokerHeartbeat;
use ringmq::wire::{Scratch, frame, header};

use super::{CONTROLLER_PORT, Controllers};
use crate::client::{Client, Reply};

const CLUSTER: &str = "cluster";
const NAME: &str = "broker-a";
const BROKER_PORT: u16 = 10911;

/// A broker as the controller sees it.
struct Broker {
    id: i64,
    addr: SocketAddr,
    client: Client,
    /// The masters that it was notified of, with their epochs.
    notified: Rc<RefCell<Vec<(i64, i32)>>>,
}

impl Broker {
    async fn new(sim: &Sim, host: &str, id: i64) -> Self {
        let io = sim.host(host);
        let addr = SocketAddr::new(io.ip(), BROKER_PORT);
        let notified = Rc::new(RefCell::new(Vec::new()));
        let (listener, noted) = (io.listen(addr).unwrap(), notified.clone());
        io.spawn("test", async move {
            loop {
                let stream = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                loop {
                    let chunk = stream.recv().await.unwrap();
                    if chunk.is_empty() {
                        break;
                    }
                    bytes.extend_from_slice(&chunk);
                }
                let mut scratch = Scratch::default();
                let found = frame::split(&bytes).unwrap().unwrap();
                let header = header::decode(&found, &mut scratch).unwrap();
                assert_eq!(header.code, request::NOTIFY_BROKER_ROLE_CHANGED);
                let changed = RoleChanged::decode(&header.ext).unwrap();
                let master = changed.master_broker_id.zip(changed.master_epoch);
                noted.borrow_mut().push(master.unwrap());
            }
        });
        let controller = SocketAddr::new(sim.host("c0").ip(), CONTROLLER_PORT);
        let client = Client::connect(&io, controller, Codec::Json).await.unwrap();
        Self {
            id,
            addr,
            client,
            notified,
        }
    }

    async fn register(&mut self) {
        let addr = self.addr.to_string();
        let next = NextBrokerId {
            cluster_name: CLUSTER,
            broker_name: NAME,
        };
        let code = request::CONTROLLER_GET_NEXT_BROKER_ID;
        let reply = self.client.call(code, &next.ext(), &[]).await.unwrap();
        assert_eq!(reply.number("nextBrokerId"), self.id);
        let apply = ApplyBrokerId {
            cluster_name: CLUSTER,
            broker_name: NAME,
            applied_broker_id: self.id,
            register_check_code: &format!("{addr};7"),
        };
        let code = request::CONTROLLER_APPLY_BROKER_ID;
        let reply = self.client.call(code, &apply.ext(), &[]).await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
        let register = RegisterReplica {
            cluster_name: CLUSTER,
            broker_name: NAME,
            broker_id: self.id,
            broker_address: &addr,
        };
        let code = request::CONTROLLER_REGISTER_BROKER;
        let reply = self.client.call(code, &register.ext(), &[]).await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
    }

    async fn heartbeat(&mut self, max_offset: i64) {
        let addr = self.addr.to_string();
        let fields = BrokerHeartbeat {
            cluster_name: CLUSTER,
            broker_addr: &addr,
            broker_name: NAME,
            broker_id: Some(self.id),
            epoch: Some(1),
            max_offset: Some(max_offset),
            confirm_offset: Some(max_offset),
            heartbeat_timeout_ms: Some(10_000),
            election_priority: None,
        };
        let code = request::BROKER_HEARTBEAT;
        self.client.tell(code, &fields.ext(), &[]);
        self.client.flush().await.unwrap();
    }

    async fn elect(&mut self) -> Reply {
        let fields = ElectMaster {
            cluster_name: CLUSTER,
            broker_name: NAME,
            broker_id: self.id,
            designate_elect: false,
        };
        let code = request::CONTROLLER_ELECT_MASTER;
        self.client.call(code, &fields.ext(), &[]).await.unwrap()
    }

    async fn alter_set(&mut self, set: &str) -> std::io::Result<Reply> {
        let fields = ringmq::wire::controller::AlterSyncStateSet {
            broker_name: NAME,
            master_broker_id: self.id,
            master_epoch: 1,
        };
        let code = request::CONTROLLER_ALTER_SYNC_STATE_SET;
        self.client.call(code, &fields.ext(), set.as_bytes()).await
    }
}

/// Brokers of one name that are registered and alive.
async fn registered(sim: &Sim, hosts: &[&str]) -> Vec<Broker> {
    let mut brokers = Vec::new();
    for (host, id) in hosts.iter().zip(1..) {
        let mut broker = Broker::new(sim, host, id).await;
        broker.register().await;
        broker.heartbeat(100).await;
        brokers.push(broker);
    }
    brokers
}

/// Two brokers, the first of which is master with both in its set.
async fn pair(sim: &Sim) -> (Broker, Broker) {
    let mut brokers = registered(sim, &["a", "b"]).await;
    let (mut second, mut first) = (brokers.pop().unwrap(), brokers.pop().unwrap());
    let reply = first.elect().await;
    assert!(reply.is_success(), "{reply:?}");
    assert_eq!(reply.number("masterEpoch"), 1);
    let set = r#"{"syncStateSet":[1,2],"syncStateSetEpoch":1}"#;
    let reply = first.alter_set(set).await.unwrap();
    assert!(reply.is_success(), "{reply:?}");
    second.heartbeat(100).await;
    (first, second)
}

#[test]
fn the_death_of_a_master_is_followed_by_an_election_and_a_notice() {
    for seed in 0..4 {
        let sim = Sim::new(seed, SimConfig::default());
        let controllers = Controllers::new(&sim, &["c0"], Settings::default());
        sim.run(async {
            controllers.start(&sim, "c0");
            let (_first, second) = pair(&sim).await;
            sim.crash("a");
            sim.sleep(Duration::from_millis(100)).await;
            let agreed = controllers.agreed();
            let group = agreed.group(NAME).unwrap();
            assert_eq!((group.master, group.master_epoch), (Some(2), 2));
            assert_eq!(second.notified.borrow().last(), Some(&(2, 2)));
        });
    }
}

#[test]
fn the_longest_log_is_elected() {
    for seed in 0..4 {
        longest_log(seed);
    }
}

/// One of them has 2 GiB to 4 GiB more than the other, where 32 bits see less.
pub fn longest_log(seed: u64) -> Tally {
    let sim = Sim::new(seed, SimConfig::default());
    let controllers = Controllers::new(&sim, &["c0"], Settings::default());
    sim.run(async {
        controllers.start(&sim, "c0");
        let mut brokers = registered(&sim, &["a", "b", "c"]).await;
        let reply = brokers[0].elect().await;
        assert!(reply.is_success(), "{reply:?}");
        let set = r#"{"syncStateSet":[1,2,3],"syncStateSetEpoch":1}"#;
        let reply = brokers[0].alter_set(set).await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
        let longer = 1 + sim.below(2) as usize;
        brokers[longer].heartbeat(100 + (5 << 29)).await;
        sim.sleep(Duration::from_millis(10)).await;
        sim.crash("a");
        sim.sleep(Duration::from_millis(100)).await;
        let agreed = controllers.agreed();
        assert_eq!(agreed.group(NAME).unwrap().master, Some(longer as i64 + 1));
    });
    Tally::default()
}

#[test]
fn what_was_agreed_on_outlives_the_processes_and_a_lost_reply() {
    let sim = Sim::new(1, SimConfig::default());
    let controllers = Controllers::new(&sim, &["c0", "c1"], Settings::default());
    sim.run(async {
        controllers.start(&sim, "c0");
        let (mut first, _second) = pair(&sim).await;
        controllers.lose_replies(request::CONTROLLER_ALTER_SYNC_STATE_SET, 1);
        let set = r#"{"syncStateSet":[1],"syncStateSetEpoch":2}"#;
        let lost = first.alter_set(set).await;
        assert_eq!(lost.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(controllers.agreed().group(NAME).unwrap().set_epoch, 3);
        sim.crash("c0");
        controllers.start(&sim, "c1");
        controllers.lead(Some("c1"));
        let io = sim.host("a");
        let addr = controllers.addrs()[1];
        first.client = Client::connect(&io, addr, Codec::Json).await.unwrap();
        first.heartbeat(100).await;
        let reply = first.elect().await;
        assert_eq!(reply.code, response::CONTROLLER_MASTER_STILL_EXIST);
        assert_eq!(reply.number("syncStateSetEpoch"), 3);
        // One that does not lead answers with NOT_LEADER.
        controllers.lead(None);
        let reply = first.elect().await;
        assert_eq!(reply.code, response::CONTROLLER_NOT_LEADER);
    });
}

#[test]
fn a_controller_that_leads_no_longer_agrees_on_nothing() {
    let sim = Sim::new(1, SimConfig::default());
    let controllers = Controllers::new(&sim, &["c0"], Settings::default());
    sim.run(async {
        controllers.start(&sim, "c0");
        let (mut first, _second) = pair(&sim).await;
        controllers.agree_within(500);
        let set = r#"{"syncStateSet":[1],"syncStateSetEpoch":2}"#;
        let asked = first.alter_set(set);
        let deposed = async {
            sim.sleep(Duration::from_millis(100)).await;
            controllers.lead(None);
        };
        let (reply, ()) = futures_util::future::join(asked, deposed).await;
        assert_eq!(reply.unwrap().code, response::CONTROLLER_NOT_LEADER);
        let history = controllers.history();
        let last = history.last().unwrap();
        assert!(matches!(&last.command, Command::AlterSet { set, .. } if set.len() == 2));
        assert_eq!(last.applied.code, response::SUCCESS);
        assert!(last.at_ns < sim.mono_ns() - 500_000_000);
    });
}
