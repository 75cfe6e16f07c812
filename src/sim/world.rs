//! Everything that the hosts share: the seed's stream, the clock, the tasks, the network; and each host's own state.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::net::IpAddr;
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::counted::Counted;
use super::descriptors::Descriptors;
use super::env::Env;
use super::executor::{Executor, MAIN};
use super::host_disk::HostDisk;
use super::network::Network;
use super::process::{HostId, Owner, Power, ip_of};
use super::{SimConfig, SimIo};
use crate::io::{Now, Spawn, Stalls, TaskTime};

pub(super) struct World {
    pub env: Env,
    pub executor: Executor,
    pub network: Network,
    hosts: RefCell<Vec<Host>>,
    /// Of all hosts.
    unix_step_ms: Cell<i64>,
    running: Cell<bool>,
    /// A process is being killed: what its tasks drop, the kernel has.
    killing: Cell<bool>,
    /// Turns of tasks since all of them waited last.
    busy_turns: Cell<u64>,
    _counted: Counted,
}

struct Host {
    name: String,
    incarnation: u64,
    power: Power,
    disk: Rc<HostDisk>,
    /// Of its process.
    descriptors: Rc<Descriptors>,
    unix_step_ms: i64,
}

/// The monotonic clock's first reading; not zero, so that no code takes zero for "now".
const START_NS: u64 = 1_000_000_000;

/// After so many turns without a moment in which all tasks wait, a task wakes itself for ever.
const MOST_BUSY_TURNS: u64 = 10_000_000;

impl Deref for World {
    type Target = Env;

    fn deref(&self) -> &Env {
        &self.env
    }
}

impl World {
    pub fn new(seed: u64, config: SimConfig) -> Self {
        Self {
            env: Env::new(seed, config, START_NS),
            executor: Executor::new(),
            network: Network::default(),
            unix_step_ms: Cell::new(0),
            hosts: RefCell::default(),
            running: Cell::new(false),
            killing: Cell::new(false),
            busy_turns: Cell::new(0),
            _counted: Counted::new(),
        }
    }

    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        assert!(!self.running.replace(true), "one run at a time");
        let mut main = pin!(future);
        let main_waker = self.executor.ready_waker(MAIN);
        loop {
            self.timeline.fire_due();
            let Some(picked) = self.draw(|rng| self.executor.pick(rng)) else {
                self.jump();
                continue;
            };
            self.count_turn(picked);
            if picked != MAIN {
                self.executor.poll(picked);
            } else if let Poll::Ready(value) =
                main.as_mut().poll(&mut Context::from_waker(&main_waker))
            {
                self.running.set(false);
                return value;
            }
            self.timeline
                .advance(self.within(&self.config.poll_cost_ns));
        }
    }

    /// The process named `name`: the running one, else a new one on the same disk.
    pub fn boot(self: &Rc<Self>, name: &str) -> SimIo {
        let mut hosts = self.hosts.borrow_mut();
        let id = match hosts.iter().position(|host| host.name == name) {
            Some(id) => id,
            None => {
                hosts.push(Host::new(name));
                hosts.len() - 1
            }
        };
        let host = &mut hosts[id];
        let before = std::mem::replace(&mut host.power, Power::Up);
        if before != Power::Up {
            host.incarnation += 1;
            host.descriptors = Descriptors::at_most(host.descriptors.most());
        }
        let io = SimIo {
            owner: Owner {
                host: id,
                incarnation: host.incarnation,
            },
            disk: Rc::clone(&host.disk),
            descriptors: Rc::clone(&host.descriptors),
            world: Rc::clone(self),
        };
        drop(hosts);
        if before == Power::Off {
            self.network.power_up(self, id);
        }
        io
    }

    pub fn crash(&self, name: &str) {
        let owner = self.process(name);
        self.trace("crash", owner.host as u64, owner.incarnation, 0);
        self.count_fault("processes killed", 1);
        self.killing.set(true);
        self.executor.kill(owner);
        self.network.kill(self, owner.host);
        self.end(owner, Power::Killed);
        self.killing.set(false);
    }

    pub fn power_cut(&self, name: &str) {
        let owner = self.process(name);
        self.trace("power cut", owner.host as u64, owner.incarnation, 0);
        self.count_fault("power cuts", 1);
        self.network.power_down(self, owner.host);
        self.executor.kill(owner);
        self.executor.kill(Owner::kernel(owner.host));
        self.end(owner, Power::Off);
        let disk = Rc::clone(&self.hosts.borrow()[owner.host].disk);
        let one_in = self.config.unreadable_one_in;
        self.lose(|rng, tally| disk.lose_power(one_in, rng, tally));
    }

    /// The host whose task is polled.
    pub fn running_host(&self) -> Option<String> {
        let running = self.executor.running()?;
        // A line may be logged while a host is added.
        let hosts = self.hosts.try_borrow().ok()?;
        Some(hosts[running.host].name.clone())
    }

    pub fn tasks(&self, name: &str) -> usize {
        self.executor.tasks(self.process(name))
    }

    pub fn descriptors(&self, name: &str) -> Rc<Descriptors> {
        let host = self.host_id(name);
        Rc::clone(&self.hosts.borrow()[host].descriptors)
    }

    pub fn host_id(&self, name: &str) -> HostId {
        let found = self
            .hosts
            .borrow()
            .iter()
            .position(|host| host.name == name);
        found.unwrap_or_else(|| panic!("no host is called {name:?}"))
    }

    pub fn is_alive(&self, owner: Owner) -> bool {
        let hosts = self.hosts.borrow();
        let host = &hosts[owner.host];
        host.power == Power::Up && host.incarnation == owner.incarnation
    }

    pub fn is_killing(&self) -> bool {
        self.killing.get()
    }

    pub fn power(&self, host: HostId) -> Power {
        self.hosts.borrow()[host].power
    }

    pub fn host_at(&self, ip: IpAddr) -> Option<HostId> {
        (0..self.hosts.borrow().len()).find(|&host| ip_of(host) == ip)
    }

    pub fn now(&self, host: HostId) -> Now {
        let mono_ns = self.timeline.now_ns();
        let since_start_ms = ((mono_ns - START_NS) / 1_000_000) as i64;
        let step_ms = self.unix_step_ms.get() + self.hosts.borrow()[host].unix_step_ms;
        Now {
            unix_ms: self.config.unix_start_ms + since_start_ms + step_ms,
            mono_ns,
        }
    }

    pub fn step_unix_clocks(&self, by_ms: i64) {
        self.count_step(by_ms);
        self.unix_step_ms.set(self.unix_step_ms.get() + by_ms);
    }

    pub fn step_unix_clock(&self, name: &str, by_ms: i64) {
        self.count_step(by_ms);
        let host = self.host_id(name);
        self.hosts.borrow_mut()[host].unix_step_ms += by_ms;
    }

    fn count_step(&self, by_ms: i64) {
        let name = match by_ms < 0 {
            true => "clocks set back",
            false => "clocks set forward",
        };
        self.count_fault(name, 1);
    }

    fn count_turn(&self, task: u64) {
        self.trace("run", task, 0, 0);
        self.busy_turns.set(self.busy_turns.get() + 1);
        assert!(
            self.busy_turns.get() <= MOST_BUSY_TURNS,
            "livelock with seed {}: some task is always ready\n{}",
            self.seed,
            self.recent()
        );
    }

    fn jump(&self) {
        self.busy_turns.set(0);
        let seed = self.seed;
        let jumped = self.timeline.jump();
        assert!(
            jumped,
            "deadlock with seed {seed}: every task waits and no event is to come\n{}",
            self.recent()
        );
        let elapsed_ns = self.timeline.now_ns() - START_NS;
        assert!(
            elapsed_ns <= self.config.time_limit_ns,
            "seed {seed}: still running after {elapsed_ns} ns of virtual time\n{}",
            self.recent()
        );
    }

    pub fn process(&self, name: &str) -> Owner {
        let host = self.host_id(name);
        let hosts = self.hosts.borrow();
        assert!(
            hosts[host].power == Power::Up,
            "{name:?} has no process to end"
        );
        Owner {
            host,
            incarnation: hosts[host].incarnation,
        }
    }

    fn end(&self, owner: Owner, power: Power) {
        self.hosts.borrow_mut()[owner.host].power = power;
        // What the dropped tasks may have started on their way out.
        self.executor.kill(owner);
        self.executor.resume(owner);
    }
}

impl Host {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            incarnation: 0,
            power: Power::Up,
            disk: Rc::new(HostDisk::new()),
            descriptors: Descriptors::at_most(usize::MAX),
            unix_step_ms: 0,
        }
    }
}

impl SimIo {
    /// This host's address.
    pub fn ip(&self) -> IpAddr {
        ip_of(self.owner.host)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.world.is_alive(self.owner)
    }

    /// Nothing that a dead process began is ever done.
    pub(super) async fn alive(&self) {
        if !self.is_alive() {
            pending::<()>().await;
        }
    }

    pub(super) async fn pause(&self, for_ns: u64) {
        self.alive().await;
        let timeline = &self.world.timeline;
        timeline.sleep_until(timeline.now_ns() + for_ns).await;
        self.alive().await;
    }
}

impl Spawn for SimIo {
    fn spawn(&self, _name: &'static str, task: impl Future<Output = ()> + 'static) {
        if self.world.is_alive(self.owner) {
            self.world.executor.spawn(self.owner, Box::pin(task));
        }
    }

    fn watch_stalls(&self) {}

    /// Virtual time does not pass while a task runs.
    fn stalls(&self) -> Stalls {
        Stalls::default()
    }

    /// Tasks run one by one.
    fn turns(&self) -> u64 {
        0
    }

    fn task_times(&self) -> Vec<TaskTime> {
        Vec::new()
    }
}
