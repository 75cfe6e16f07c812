//! What a cluster on one machine consists of: processes, their ports, settings and directories. Pure.
//!
//! ```text
//! port      10901             the master's address, whichever broker that is (10899: the VIP channel)
//!           10911 10921 ...   brokers
//! namesrv   9876              the name server
//!           9878 9888 ...     controllers
//! ```

use std::fmt::Write;
use std::path::{Path, PathBuf};

pub const BROKER_NAME: &str = "broker-a";
const STEP: u16 = 10;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub nodes: u16,
    pub dir: PathBuf,
    /// Of the first broker.
    pub port: u16,
    pub namesrv_port: u16,
    /// Cores that this process may run on.
    pub cores: Vec<usize>,
}

/// A process of this binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub args: Vec<String>,
    pub address: String,
    /// Its configuration: file and text.
    pub config: Option<(PathBuf, String)>,
    /// Where what it prints goes to.
    pub log: PathBuf,
    /// All that it listens on.
    pub ports: Vec<u16>,
}

#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order in which they start; they stop in the opposite one.
    pub members: Vec<Member>,
    pub namesrv: String,
    pub master_address: String,
    pub controllers: Vec<String>,
}

impl Plan {
    pub fn of(wanted: &Wanted) -> Self {
        let nodes = 0..wanted.nodes;
        let at = |port: u16| format!("127.0.0.1:{port}");
        let controller_port = |node: u16| wanted.namesrv_port + 2 + STEP * node;
        let mut plan = Self {
            members: vec![namesrv(wanted)],
            namesrv: at(wanted.namesrv_port),
            master_address: at(wanted.port - STEP),
            controllers: nodes
                .clone()
                .map(|node| at(controller_port(node)))
                .collect(),
        };
        let peers = nodes
            .clone()
            .map(|node| format!("n{node}-{}", at(controller_port(node))));
        let peers = peers.collect::<Vec<_>>().join(";");
        for node in nodes.clone() {
            let controller = controller(wanted, node, controller_port(node), &peers);
            plan.members.push(controller);
        }
        for node in nodes {
            let broker = broker(wanted, node, &plan);
            plan.members.push(broker);
        }
        plan
    }

    /// The broker that listens at this address.
    pub fn name_of(&self, address: &str) -> Option<&str> {
        let member = self.members.iter().find(|member| member.address == address);
        member.map(|member| member.name.as_str())
    }
}

fn member(dir: &Path, name: String, port: u16, args: &[&str]) -> Member {
    Member {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        address: format!("127.0.0.1:{port}"),
        config: None,
        log: dir.join(&name).join("log"),
        ports: vec![port],
        name,
    }
}

fn namesrv(wanted: &Wanted) -> Member {
    let port = wanted.namesrv_port;
    let store = wanted.dir.join("namesrv");
    let args = [
        "namesrv",
        "--bind",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--store",
        &store.display().to_string(),
    ];
    member(&wanted.dir, "namesrv".into(), port, &args)
}

fn controller(wanted: &Wanted, node: u16, port: u16, peers: &str) -> Member {
    let name = format!("controller{node}");
    let store = wanted.dir.join(&name).join("store");
    let args = [
        "controller",
        "--bind",
        "127.0.0.1",
        "--peers",
        peers,
        "--self-id",
        &format!("n{node}"),
        "--store",
        &store.display().to_string(),
    ];
    member(&wanted.dir, name, port, &args)
}

fn broker(wanted: &Wanted, node: u16, plan: &Plan) -> Member {
    let name = format!("broker{node}");
    let port = wanted.port + STEP * node;
    let home = wanted.dir.join(&name);
    let file = home.join("broker.conf");
    let core = wanted.cores[usize::from(node) % wanted.cores.len()];
    let args = [
        "broker",
        "--config",
        &file.display().to_string(),
        "--cores",
        &core.to_string(),
    ];
    let mut text = String::new();
    for (name, value) in [
        ("brokerName", BROKER_NAME),
        ("brokerClusterName", "DefaultCluster"),
        ("namesrvAddr", &plan.namesrv),
        ("listenPort", &port.to_string()),
        ("bindAddress", "127.0.0.1"),
        ("brokerIP1", "127.0.0.1"),
        ("masterAddress", &plan.master_address),
        (
            "storePathRootDir",
            &home.join("store").display().to_string(),
        ),
        ("enableControllerMode", "true"),
        ("controllerAddr", &plan.controllers.join(";")),
        // A message is acknowledged when two have it, and all others that keep up.
        ("allAckInSyncStateSet", "true"),
        ("minInSyncReplicas", "2"),
        ("flushDiskType", "SYNC_FLUSH"),
        // For trying: several brokers share a machine.
        ("mappedFileSizeCommitLog", "67108864"),
        ("logBufferBytes", "33554432"),
        ("consumeQueueMemoryBytes", "67108864"),
        ("diskMaxUsedSpaceRatio", "95"),
        ("diskSpaceCleanForciblyRatio", "97"),
        ("diskSpaceWarningLevelRatio", "98"),
    ] {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}={value}");
    }
    Member {
        config: Some((file, text)),
        ports: vec![port, port - 2, port + 1],
        ..member(&wanted.dir, name, port, &args)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{Config, Flags, Surroundings};

    fn plan(nodes: u16) -> Plan {
        Plan::of(&Wanted {
            nodes,
            dir: "/data/try".into(),
            port: 10911,
            namesrv_port: 9876,
            cores: vec![2, 5],
        })
    }

    #[test]
    fn each_member_has_ports_directories_and_a_log_of_its_own() {
        for nodes in [3, 5, 7] {
            let plan = plan(nodes);
            assert_eq!(plan.members.len(), usize::from(nodes) * 2 + 1);
            let ports: Vec<u16> = plan
                .members
                .iter()
                .flat_map(|member| member.ports.clone())
                .chain([10901, 10899])
                .collect();
            assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
            let logs: BTreeSet<_> = plan.members.iter().map(|member| &member.log).collect();
            assert_eq!(logs.len(), plan.members.len());
            assert!(logs.iter().all(|log| log.starts_with("/data/try")));
        }
        let plan = plan(3);
        assert_eq!(plan.name_of("127.0.0.1:10931"), Some("broker2"));
        assert_eq!(
            plan.controllers,
            ["127.0.0.1:9878", "127.0.0.1:9888", "127.0.0.1:9898"]
        );
        assert!(
            plan.members[2]
                .args
                .contains(&"n0-127.0.0.1:9878;n1-127.0.0.1:9888;n2-127.0.0.1:9898".to_owned())
        );
        assert_eq!(plan.members[6].args.last().unwrap(), "2", "cores in turn");
    }

    #[test]
    fn brokers_are_of_one_name_and_their_files_are_read_without_a_complaint() {
        let surroundings = Surroundings {
            cores: vec![2, 5],
            namesrv: None,
            core_count: None,
            memory_limit_bytes: None,
            ..Surroundings::observe()
        };
        for member in &plan(3).members[4..] {
            let (_, text) = member.config.as_ref().unwrap();
            let (config, notes) = Config::merge(text, &Flags::default(), &surroundings).unwrap();
            assert!(notes.is_empty(), "{notes:?}");
            assert_eq!(config.broker_name, BROKER_NAME);
            assert_eq!(config.listen_port, member.ports[0]);
            assert_eq!(config.master_address, Some(([127, 0, 0, 1], 10901).into()));
        }
    }
}
