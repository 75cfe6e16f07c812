//! Three brokers on hosts of their own, with a controller, a name server, and a client that finds the master.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ringmq::controller::Settings;
use ringmq::io::{Notify, Spawn};
use ringmq::reactor::{self, ServeError, ShardSetup};
use ringmq::sim::{Sim, SimConfig};
use ringmq::store::Flush;
use ringmq::wire::codes::{request, response};
use ringmq::wire::topic::TopicRequest;
use ringmq::wire::{Codec, loose_json, route};

use super::member::{BROKERS, CONTROLLER, Member, NAMES, start_others};
use crate::client::{Client, Reply};
use crate::cluster::{BROKER_PORT, DISK_BYTES, NAMESRV_PORT};
use crate::controllers::Controllers;
use crate::logs;
use crate::replication::{GROUP, TOPIC, queue, try_send};
use crate::requests::{self, Pull};

const LIMIT: Duration = Duration::from_secs(30);

pub struct Group {
    pub sim: Sim,
    /// Asking for a host's handle starts it.
    ips: BTreeMap<&'static str, IpAddr>,
    pub controllers: Controllers,
    flush: Flush,
    pub min_in_sync: Cell<usize>,
    /// The first ones are in the files of the brokers.
    pub known_controllers: Cell<usize>,
    running: RefCell<BTreeMap<&'static str, Process>>,
    /// The number of each message that was acknowledged, by its queue offset.
    acknowledged: RefCell<BTreeMap<u64, u64>>,
    pub next: Cell<u64>,
}

struct Process {
    stop: Rc<Notify>,
    has_ended: Rc<Cell<bool>>,
}

impl Group {
    pub fn new(seed: u64, flush: Flush) -> Self {
        Self::with_controllers(seed, flush, &[CONTROLLER])
    }

    pub fn with_controllers(seed: u64, flush: Flush, controllers: &[&str]) -> Self {
        let config = SimConfig {
            time_limit_ns: 3_600_000_000_000,
            disk_bytes: DISK_BYTES,
            ..SimConfig::default()
        };
        logs::if_asked();
        let sim = Sim::new(seed, config);
        let hosts = BROKERS.into_iter().chain([NAMES]);
        Self {
            ips: hosts.map(|host| (host, sim.host(host).ip())).collect(),
            controllers: Controllers::new(&sim, controllers, Settings::default()),
            sim,
            flush,
            min_in_sync: Cell::new(1),
            known_controllers: Cell::new(usize::MAX),
            running: RefCell::default(),
            acknowledged: RefCell::default(),
            next: Cell::new(0),
        }
    }

    pub fn addr(&self, host: &str) -> SocketAddr {
        SocketAddr::new(self.ips[host], BROKER_PORT)
    }

    pub fn setup(&self, host: &str) -> ShardSetup {
        let member = Member {
            sim: &self.sim,
            controllers: &self.controllers,
            flush: self.flush,
            min_in_sync: self.min_in_sync.get(),
        };
        let mut setup = member.setup(host, SocketAddr::new(self.ips[NAMES], NAMESRV_PORT));
        let replication = setup.replication.as_mut();
        if let Some(controller) = replication.and_then(|it| it.controller.as_mut()) {
            controller
                .controllers
                .truncate(self.known_controllers.get());
        }
        setup
    }

    /// The controller, the name server, and all brokers, one after the other.
    pub async fn start_all(&self) {
        self.start_first(BROKERS.len()).await;
    }

    /// The same with so many brokers.
    pub async fn start_first(&self, count: usize) {
        start_others(&self.sim, &self.controllers);
        for (index, host) in BROKERS.into_iter().take(count).enumerate() {
            self.start(host);
            self.until(&format!("{host} in sync"), || self.set().len() == index + 1)
                .await;
        }
        let master = self.master().unwrap();
        let mut admin = self.client(master).await;
        requests::make_topic(&mut admin, TOPIC).await;
    }

    pub fn start(&self, host: &'static str) {
        self.start_as(host, self.setup(host));
    }

    pub fn start_as(&self, host: &'static str, setup: ShardSetup) {
        let io = self.sim.host(host);
        let stop = Rc::new(Notify::default());
        let has_ended = Rc::new(Cell::new(false));
        let (task_io, task_stop, task_ended) = (io.clone(), stop.clone(), has_ended.clone());
        io.spawn("test", async move {
            match reactor::run(task_io, setup, task_stop.notified(), |_| {}).await {
                Ok(()) | Err(ServeError::Unclean { .. }) => {}
                Err(error) => panic!("the broker has failed: {error}"),
            }
            task_ended.set(true);
        });
        let process = Process { stop, has_ended };
        self.running.borrow_mut().insert(host, process);
    }

    pub async fn stop(&self, host: &'static str) {
        let process = self.running.borrow_mut().remove(host).unwrap();
        process.stop.notify();
        self.until("stopped", || process.has_ended.get()).await;
        self.sim.crash(host);
    }

    /// The SyncStateSet, as the controller has it.
    pub fn set(&self) -> BTreeSet<i64> {
        let agreed = self.controllers.agreed();
        let group = agreed.groups().next();
        group
            .map(|(_, group)| group.set.clone())
            .unwrap_or_default()
    }

    pub fn epoch(&self) -> i32 {
        let agreed = self.controllers.agreed();
        let group = agreed.groups().next();
        group.map_or(0, |(_, group)| group.master_epoch)
    }

    pub fn master(&self) -> Option<&'static str> {
        let agreed = self.controllers.agreed();
        let (_, group) = agreed.groups().next()?;
        let addr: SocketAddr = group.master_address()?.parse().unwrap();
        BROKERS.into_iter().find(|host| self.addr(host) == addr)
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
        self.try_client(host).await.unwrap()
    }

    /// An error while the broker does not listen, such as for a moment when its role changes.
    pub async fn try_client(&self, host: &str) -> std::io::Result<Client> {
        let io = self.sim.host("client");
        Client::connect(&io, self.addr(host), Codec::Rocketmq).await
    }

    /// Sends to the master of the moment, until so many were acknowledged.
    pub async fn send_until_acknowledged(&self, count: usize) {
        let deadline_ns = self.sim.mono_ns() + LIMIT.as_nanos() as u64;
        let mut client: Option<Client> = None;
        let mut acknowledged = 0;
        while acknowledged < count {
            assert!(
                self.sim.mono_ns() < deadline_ns,
                "{acknowledged} of {count}\n{}",
                self.sim.recent()
            );
            if client.is_none() {
                let io = self.sim.host("client");
                if let Some(master) = self.master() {
                    let addr = self.addr(master);
                    client = Client::connect(&io, addr, Codec::Rocketmq).await.ok();
                }
            }
            let sent = match &mut client {
                Some(client) => self.send(client).await.ok(),
                None => None,
            };
            match sent {
                Some(reply) if reply.code == response::SUCCESS => acknowledged += 1,
                _ => {
                    client = None;
                    self.sleep_ms(20).await;
                }
            }
        }
    }

    /// Notes it if it is acknowledged.
    pub async fn send(&self, client: &mut Client) -> std::io::Result<Reply> {
        let number = self.next.replace(self.next.get() + 1);
        let reply = try_send(client, number, "").await?;
        if reply.code == response::SUCCESS {
            let offset = reply.number("queueOffset") as u64;
            let before = self.acknowledged.borrow_mut().insert(offset, number);
            assert_eq!(before, None, "an offset was given twice");
        }
        Ok(reply)
    }

    /// The numbers of all messages of the queue at a broker, by their offsets.
    pub async fn messages(&self, host: &str) -> Vec<u64> {
        self.try_messages(host).await.unwrap()
    }

    /// The same up to the first that it cannot give; an error if it changes its role meanwhile.
    pub async fn try_messages(&self, host: &str) -> std::io::Result<Vec<u64>> {
        let mut client = self.try_client(host).await?;
        let queue = queue();
        let mut numbers = Vec::new();
        loop {
            let pull = Pull::of_all(GROUP, &queue, numbers.len() as u64);
            let reply = requests::pull(&mut client, &pull).await?;
            if reply.code != response::SUCCESS {
                return Ok(numbers);
            }
            for record in requests::records(&reply.body) {
                assert_eq!(record.queue_offset, numbers.len() as u64);
                numbers.push(u64::from_be_bytes(*record.body.first_chunk().unwrap()));
            }
        }
    }

    /// Every acknowledged message is where it was acknowledged.
    pub async fn judge(&self, host: &str) {
        let messages = self.messages(host).await;
        for (offset, number) in self.acknowledged.borrow().iter() {
            let found = messages.get(*offset as usize);
            assert_eq!(found, Some(number), "at {offset}\n{}", self.sim.recent());
        }
    }

    /// All brokers are in the set, and have the same messages.
    pub async fn until_whole(&self) {
        self.until("all in sync", || self.set().len() == BROKERS.len())
            .await;
        let deadline_ns = self.sim.mono_ns() + LIMIT.as_nanos() as u64;
        loop {
            let mut all = Vec::new();
            for host in BROKERS {
                all.push(self.messages(host).await);
            }
            if all.iter().all(|messages| *messages == all[0]) {
                return;
            }
            let now_ns = self.sim.mono_ns();
            assert!(now_ns < deadline_ns, "{all:?}\n{}", self.sim.recent());
            self.sleep_ms(50).await;
        }
    }

    /// What the name server has of the topic: the addresses by broker id.
    pub async fn route(&self) -> BTreeMap<i64, String> {
        let addr = SocketAddr::new(self.addr(NAMES).ip(), NAMESRV_PORT);
        let io = self.sim.host("client");
        let mut client = Client::connect(&io, addr, Codec::Json).await.unwrap();
        let fields = TopicRequest { topic: TOPIC };
        let code = request::GET_ROUTEINFO_BY_TOPIC;
        let reply = client.call(code, &fields.ext(), &[]).await.unwrap();
        if !reply.is_success() {
            return BTreeMap::new();
        }
        let route: route::TopicRouteData = loose_json::from_slice(&reply.body).unwrap();
        let mut brokers = route.broker_datas.into_iter();
        brokers
            .next()
            .map(|broker| broker.broker_addrs)
            .unwrap_or_default()
    }
}
