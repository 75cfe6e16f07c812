//! Controllers on simulated hosts: the rules of `src/controller` on a port, with the bytes of the wire, and without Raft.
//!
//! What one of them proposes is agreed on at once, in a state that outlives all their processes, as a majority of them would keep it. Which of them
//! leads is the test's choice. The memory of each (who sent heartbeats, and over which connection) ends with its process.
//!
//! ```text
//! let controllers = Controllers::new(&sim, &["controller"], Settings::default());
//! controllers.start(&sim, "controller");
//! ... brokers connect to controllers.addrs() ...
//! sim.crash("controller");
//! controllers.start(&sim, "controller");       // what was agreed on is there, what it had heard is not
//! ```

mod port;
pub mod scripted;

use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use ringmq::controller::{Agreed, Applied, Command, Settings, Standing};
use ringmq::sim::Sim;

use port::Port;

pub const CONTROLLER_PORT: u16 = 9878;

/// A clone is another handle on the same ones.
#[derive(Clone)]
pub struct Controllers(Rc<Group>);

/// What the processes of all of them share.
struct Group {
    hosts: Vec<(String, SocketAddr)>,
    settings: Settings,
    agreed: RefCell<Agreed>,
    /// Index of the one that leads, if any does.
    leader: Cell<Option<usize>>,
    /// How long it takes to agree on a command.
    agree_ms: Cell<u64>,
    /// Replies that do not arrive, by the code of the request.
    lost_replies: RefCell<BTreeMap<i32, u64>>,
    history: RefCell<Vec<Entry>>,
}

/// What was agreed on.
#[derive(Clone, Debug)]
pub struct Entry {
    pub at_ns: u64,
    pub command: Command,
    pub applied: Applied,
}

impl Controllers {
    /// The first of them leads.
    pub fn new(sim: &Sim, hosts: &[&str], settings: Settings) -> Self {
        let addr = |host| SocketAddr::new(sim.host(host).ip(), CONTROLLER_PORT);
        let hosts = hosts.iter().map(|host| (host.to_string(), addr(host)));
        Self(Rc::new(Group {
            hosts: hosts.collect(),
            settings,
            agreed: RefCell::default(),
            leader: Cell::new(Some(0)),
            agree_ms: Cell::new(0),
            lost_replies: RefCell::default(),
            history: RefCell::default(),
        }))
    }

    /// Where brokers find them.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.0.hosts.iter().map(|(_, addr)| *addr).collect()
    }

    /// Starts the process of one of them.
    pub fn start(&self, sim: &Sim, host: &str) {
        let index = self.0.index(host);
        Port::start(sim.host(host), self.0.clone(), index);
    }

    /// From now on this one leads, or none.
    pub fn lead(&self, host: Option<&str>) {
        self.0.leader.set(host.map(|host| self.0.index(host)));
    }

    pub fn agree_within(&self, ms: u64) {
        self.0.agree_ms.set(ms);
    }

    /// The next replies to this request are lost; what it asks for is done.
    pub fn lose_replies(&self, code: i32, times: u64) {
        self.0.lost_replies.borrow_mut().insert(code, times);
    }

    pub fn agreed(&self) -> Ref<'_, Agreed> {
        self.0.agreed.borrow()
    }

    /// All that was agreed on, in order.
    pub fn history(&self) -> Vec<Entry> {
        self.0.history.borrow().clone()
    }
}

impl Group {
    fn index(&self, host: &str) -> usize {
        let found = self.hosts.iter().position(|(name, _)| name == host);
        found.unwrap_or_else(|| panic!("no controller is on {host:?}"))
    }

    fn standing(&self, index: usize) -> Standing {
        let peers = self.hosts.iter().enumerate();
        let leader = self.leader.get();
        Standing {
            group: "controllers".to_owned(),
            peers: peers
                .map(|(n, (_, addr))| format!("n{n}:{addr};"))
                .collect(),
            leader_id: leader.map(|leader| format!("n{leader}")),
            leader_address: leader.map(|leader| self.hosts[leader].1.to_string()),
            is_leader: leader == Some(index),
            fixed_settings: String::new(),
        }
    }

    fn apply(&self, command: &Command, at_ns: u64) -> Applied {
        let applied = self.agreed.borrow_mut().apply(command);
        self.history.borrow_mut().push(Entry {
            at_ns,
            command: command.clone(),
            applied: applied.clone(),
        });
        applied
    }

    fn loses_reply(&self, code: i32) -> bool {
        match self.lost_replies.borrow_mut().get_mut(&code) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }
}
