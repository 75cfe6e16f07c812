//! A broker in controller mode as the tests start it, and the hosts beside it.

use std::net::{Ipv4Addr, SocketAddr};

use ringmq::io::Spawn;
use ringmq::reactor::{self, ControllerSetup, NamesrvSetup, ReplicationSetup, ShardSetup};
use ringmq::sim::Sim;
use ringmq::store::{Flush, Retention};

use crate::cluster::{NAMESRV_PORT, shard_setup};
use crate::controllers::Controllers;
use crate::replication::replication_setup;

pub const CONTROLLER: &str = "controller";
pub const NAMES: &str = "names";
pub const BROKERS: [&str; 3] = ["one", "two", "three"];

/// What the brokers of a group have in common.
pub struct Member<'a> {
    pub sim: &'a Sim,
    pub controllers: &'a Controllers,
    pub flush: Flush,
    pub min_in_sync: usize,
}

impl Member<'_> {
    /// The setup of the broker on this host; `names` is the name server.
    pub fn setup(&self, host: &str, names: SocketAddr) -> ShardSetup {
        let mut setup = shard_setup(&self.sim.host(host), self.flush, &Retention::default());
        setup.store.follows = true;
        setup.namesrv = vec![names.into()];
        setup.builtin_namesrv = None;
        setup.broker.settings.controller_mode = true;
        setup.replication = Some(ReplicationSetup {
            controller: Some(ControllerSetup {
                controllers: self.controllers.addrs(),
                heartbeat_ms: 500,
                timeout_ms: 10_000,
                decision_ms: 5_000,
                leader_ms: 10_000,
                behind_ms: 15_000,
                all_ack: true,
                min_in_sync: self.min_in_sync,
                priority: i32::MAX,
                is_learner: false,
            }),
            ..replication_setup()
        });
        setup
    }
}

/// The controller and the name server.
pub fn start_others(sim: &Sim, controllers: &Controllers) {
    controllers.start(sim, CONTROLLER);
    let io = sim.host(NAMES);
    let setup = NamesrvSetup {
        listen: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), NAMESRV_PORT),
        dir: "/names".into(),
        max_connections: 1_000,
        settings: Default::default(),
        keeps_settings: true,
        check: None,
    };
    let task_io = io.clone();
    io.spawn("test", async move {
        let served = reactor::run_namesrv(task_io, setup, std::future::pending(), || {}, None);
        served.await.expect("a name server");
    });
}
