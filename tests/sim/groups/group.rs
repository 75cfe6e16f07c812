//! Three brokers of one name on hosts of their own, with a controller and a name server.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ringmq::controller::Settings;
use ringmq::reactor::ShardSetup;
use ringmq::sim::{Sim, SimConfig};
use ringmq::store::Flush;

use super::ledger::Ledger;
use crate::cluster::{BROKER_PORT, DISK_BYTES, LOG_BUFFER_BYTES, NAMESRV_PORT, Process, State};
use crate::controlled::member::{BROKERS, CONTROLLER, Member, NAMES, start_others};
use crate::controllers::Controllers;
use crate::dice::Dice;
use crate::logs;

/// How long a group may take to be whole again, and a broker to stop.
const LIMIT: Duration = Duration::from_secs(60);

pub struct Group {
    pub sim: Sim,
    pub flush: Flush,
    min_in_sync: usize,
    pub controllers: Controllers,
    pub ledger: Rc<Ledger>,
    /// Asking for a host's handle starts it.
    ips: BTreeMap<&'static str, IpAddr>,
    running: RefCell<BTreeMap<&'static str, Process>>,
}

impl Group {
    pub fn new(seed: u64, flush: Flush, min_in_sync: usize, world: SimConfig) -> Self {
        let world = SimConfig {
            time_limit_ns: 3_600_000_000_000,
            disk_bytes: DISK_BYTES,
            ..world
        };
        logs::if_asked();
        let sim = Sim::new(seed, world);
        let controllers = Controllers::new(&sim, &[CONTROLLER], Settings::default());
        let devices = BROKERS.map(|host| (host, sim.host(host)));
        let hosts = BROKERS.into_iter().chain([NAMES]);
        Self {
            ips: hosts.map(|host| (host, sim.host(host).ip())).collect(),
            ledger: Rc::new(Ledger::new(controllers.clone(), devices.into())),
            controllers,
            sim,
            flush,
            min_in_sync,
            running: RefCell::default(),
        }
    }

    pub fn addr(&self, host: &str) -> SocketAddr {
        SocketAddr::new(self.ips[host], BROKER_PORT)
    }

    pub fn addrs(&self) -> [SocketAddr; 3] {
        BROKERS.map(|host| self.addr(host))
    }

    fn setup(&self, host: &str) -> ShardSetup {
        let member = Member {
            sim: &self.sim,
            controllers: &self.controllers,
            flush: self.flush,
            min_in_sync: self.min_in_sync,
        };
        member.setup(host, SocketAddr::new(self.ips[NAMES], NAMESRV_PORT))
    }

    /// The controller, the name server, and the brokers, one after the other.
    pub async fn start_all(&self) {
        start_others(&self.sim, &self.controllers);
        for (index, host) in BROKERS.into_iter().enumerate() {
            self.start(host);
            let is_in = || self.set().len() == index + 1;
            self.until("in sync at the start", is_in).await;
        }
    }

    pub fn is_up(&self, host: &str) -> bool {
        self.running.borrow().contains_key(host)
    }

    pub fn start(&self, host: &'static str) {
        let mut setup = self.setup(host);
        // A start may come to damage, and is refused otherwise.
        let rotten = self.ledger.rotten();
        setup.store.skip_damaged = rotten.is_some_and(|(damaged, _)| damaged == host);
        let process = Process::begin(&self.sim.host(host), setup);
        let before = self.running.borrow_mut().insert(host, process);
        assert!(before.is_none(), "{host} runs already");
    }

    /// As SIGTERM does.
    pub async fn stop(&self, host: &'static str) {
        let process = self.running.borrow_mut().remove(host).expect("it runs");
        process.stop();
        let has_ended = || process.state() == State::Ended;
        self.until("stopped", has_ended).await;
        self.sim.crash(host);
    }

    pub fn kill(&self, host: &'static str) {
        self.running.borrow_mut().remove(host).expect("it runs");
        self.sim.crash(host);
    }

    pub fn cut_power(&self, host: &'static str) {
        self.running.borrow_mut().remove(host).expect("it runs");
        self.sim.power_cut(host);
    }

    /// The SyncStateSet, as the controller has it.
    pub fn set(&self) -> BTreeSet<i64> {
        let agreed = self.controllers.agreed();
        let group = agreed.groups().next();
        group
            .map(|(_, group)| group.set.clone())
            .unwrap_or_default()
    }

    pub fn master(&self) -> Option<&'static str> {
        let agreed = self.controllers.agreed();
        let (_, group) = agreed.groups().next()?;
        let addr: SocketAddr = group.master_address()?.parse().ok()?;
        BROKERS.into_iter().find(|host| self.addr(host) == addr)
    }

    /// Of an old record in the log of this broker, whether it runs or not.
    pub fn flip_a_bit(&self, host: &'static str, dice: &Dice) {
        let (nth, byte) = (dice.next(), dice.next());
        self.ledger.flips(host, LOG_BUFFER_BYTES as u64, nth, byte);
    }

    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline_ns = self.sim.mono_ns() + LIMIT.as_nanos() as u64;
        while !is_so() {
            let agreed = self
                .controllers
                .agreed()
                .groups()
                .map(|(_, group)| format!("{group:?}"))
                .collect::<String>();
            assert!(
                self.sim.mono_ns() < deadline_ns,
                "not {what} after {LIMIT:?}: {agreed}\n{}",
                self.sim.recent()
            );
            self.sleep_ms(5).await;
        }
    }

    pub async fn sleep_ms(&self, ms: u64) {
        self.sim.sleep(Duration::from_millis(ms)).await;
    }
}
