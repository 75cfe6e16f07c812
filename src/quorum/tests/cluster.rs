//! Controllers on threads, and a broker's questions to them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::controller::Settings;
use crate::quorum::{ControllerError, Links, Setup, read_peers, run};
use crate::tls::Security;
use crate::wire::Value;
use crate::wire::codes::{request, response};
use crate::wire::exchange::{Answer, Exchange};

pub const NAME: &str = "broker-a";
/// Far above what anything takes; only to end a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Without TLS, and for everybody.
pub fn plain() -> Links {
    Links {
        security: tokio::sync::watch::channel(Security::default()).1,
        access: None,
    }
}

pub struct Cluster {
    pub peers: String,
    pub addresses: Vec<SocketAddr>,
    /// Those of each controller.
    links: Vec<Links>,
    dirs: Vec<TempDir>,
    nodes: Vec<Option<Node>>,
}

struct Node {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), ControllerError>>,
}

impl Cluster {
    pub fn start(count: usize) -> Self {
        Self::start_with((0..count).map(|_| plain()).collect())
    }

    /// One controller with each of these.
    pub fn start_with(links: Vec<Links>) -> Self {
        let count = links.len();
        let held: Vec<_> = (0..count)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
            .collect();
        let addresses: Vec<_> = held
            .iter()
            .map(|listener| listener.local_addr().unwrap())
            .collect();
        drop(held);
        let peers = addresses
            .iter()
            .enumerate()
            .map(|(id, address)| format!("n{id}-{address}"));
        let mut cluster = Self {
            peers: peers.collect::<Vec<_>>().join(";"),
            addresses,
            links,
            dirs: (0..count).map(|_| tempfile::tempdir().unwrap()).collect(),
            nodes: (0..count).map(|_| None).collect(),
        };
        (0..count).for_each(|id| cluster.start_node(id));
        cluster
    }

    pub fn dir(&self, id: usize) -> &Path {
        self.dirs[id].path()
    }

    pub fn setup(&self, id: usize) -> Setup {
        Setup {
            group: "test".into(),
            peers: read_peers(&self.peers).unwrap(),
            self_id: id as u64,
            dir: self.dir(id).to_owned(),
            bind: Ipv4Addr::LOCALHOST.into(),
            settings: Settings::default(),
        }
    }

    pub fn start_node(&mut self, id: usize) {
        let (setup, (stop, stopped)) = (self.setup(id), oneshot::channel());
        let links = self.links[id].clone();
        let thread =
            std::thread::spawn(move || run(setup, links, async { drop(stopped.await) }, |_| ()));
        self.nodes[id] = Some(Node { stop, thread });
    }

    /// Nothing is written when a controller ends, so this is what a kill leaves.
    pub fn stop_node(&mut self, id: usize) {
        let Node { stop, thread } = self.nodes[id].take().expect("it runs");
        let _ = stop.send(());
        thread.join().unwrap().unwrap();
    }

    /// The controller that leads, as it says itself.
    pub fn leader(&self) -> usize {
        until(|| {
            let running = (0..self.nodes.len()).filter(|id| self.nodes[*id].is_some());
            running.into_iter().find(|id| {
                let answer = self.ask_one(*id, request::CONTROLLER_GET_METADATA_INFO, &[], b"");
                answer.is_some_and(|answer| answer.field("isLeader") == Some("true"))
            })
        })
    }

    /// Asks this controller, with credentials where it has some.
    fn ask_one(
        &self,
        id: usize,
        code: i32,
        fields: &[(&str, Value<'_>)],
        body: &[u8],
    ) -> Option<Answer> {
        let mut signature = String::new();
        let fields = self.links[id].signed(fields, body, &mut signature);
        ask(self.addresses[id], code, &fields, body)
    }

    /// Repeats a request to the leader until the answer has a code other than these of a change of the leader.
    pub fn ask(&self, code: i32, fields: &[(&str, Value<'_>)], body: &[u8]) -> Answer {
        until(|| {
            let answer = self.ask_one(self.leader(), code, fields, body)?;
            let passing = [response::CONTROLLER_NOT_LEADER, response::SYSTEM_ERROR];
            (!passing.contains(&answer.code)).then_some(answer)
        })
    }

    pub fn register(&self, id: i64) {
        let address = address(id);
        let names = [
            ("clusterName", Value::Str("c")),
            ("brokerName", Value::Str(NAME)),
        ];
        let code = format!("{address};1");
        let apply = [
            ("appliedBrokerId", Value::I64(id)),
            ("registerCheckCode", Value::Str(&code)),
        ];
        let applied = self.ask(
            request::CONTROLLER_APPLY_BROKER_ID,
            &[&names[..], &apply].concat(),
            b"",
        );
        assert_eq!(applied.code, response::SUCCESS, "{applied:?}");
        let register = [
            ("brokerId", Value::I64(id)),
            ("brokerAddress", Value::Str(&address)),
        ];
        let registered = self.ask(
            request::CONTROLLER_REGISTER_BROKER,
            &[&names[..], &register].concat(),
            b"",
        );
        assert_eq!(registered.code, response::SUCCESS, "{registered:?}");
    }

    pub fn elect(&self, id: i64) -> Answer {
        let fields = [
            ("clusterName", Value::Str("c")),
            ("brokerName", Value::Str(NAME)),
            ("brokerId", Value::I64(id)),
            ("designateElect", Value::Bool(false)),
        ];
        self.ask(request::CONTROLLER_ELECT_MASTER, &fields, b"")
    }

    pub fn alter(&self, master: i64, epoch: i32, set_epoch: i32, set: &[i64]) -> Answer {
        let fields = [
            ("brokerName", Value::Str(NAME)),
            ("masterBrokerId", Value::I64(master)),
            ("masterEpoch", Value::I64(i64::from(epoch))),
        ];
        let body = format!("{{\"syncStateSet\":{set:?},\"syncStateSetEpoch\":{set_epoch}}}");
        self.ask(
            request::CONTROLLER_ALTER_SYNC_STATE_SET,
            &fields,
            body.as_bytes(),
        )
    }

    /// Master and its epoch (1004), and the set with its epoch.
    pub fn replica_info(&self) -> (Option<i64>, i32, String) {
        let answer = self.ask(
            request::CONTROLLER_GET_REPLICA_INFO,
            &[("brokerName", Value::Str(NAME))],
            b"",
        );
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        let master = answer.field("masterBrokerId").map(|id| id.parse().unwrap());
        let epoch = answer.field("masterEpoch").unwrap().parse().unwrap();
        (master, epoch, String::from_utf8(answer.body).unwrap())
    }

    /// A broker that sends heartbeats to all controllers until it is dropped.
    pub fn broker(&self, id: i64) -> Broker {
        Broker::start(id, self.addresses.clone())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().filter_map(Option::take) {
            let _ = node.stop.send(());
            let _ = node.thread.join();
        }
    }
}

pub struct Broker {
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    fn start(id: i64, controllers: Vec<SocketAddr>) -> Self {
        let (stop, stopped) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut streams: Vec<Option<TcpStream>> = controllers.iter().map(|_| None).collect();
            while stopped
                .recv_timeout(Duration::from_millis(200))
                .is_err_and(|it| it.is_timeout())
            {
                for (stream, address) in streams.iter_mut().zip(&controllers) {
                    *stream = stream.take().or_else(|| TcpStream::connect(address).ok());
                    let bytes = heartbeat(id);
                    if stream
                        .as_mut()
                        .is_some_and(|it| it.write_all(&bytes).is_err())
                    {
                        *stream = None;
                    }
                }
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

trait IsTimeout {
    fn is_timeout(&self) -> bool;
}

impl IsTimeout for std::sync::mpsc::RecvTimeoutError {
    fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout)
    }
}

fn heartbeat(id: i64) -> Vec<u8> {
    let address = address(id);
    let fields = [
        ("clusterName", Value::Str("c")),
        ("brokerName", Value::Str(NAME)),
        ("brokerAddr", Value::Str(&address)),
        ("brokerId", Value::I64(id)),
        ("epoch", Value::I64(1)),
        ("maxOffset", Value::I64(100)),
        ("heartbeatTimeoutMills", Value::I64(10_000)),
    ];
    Exchange::default().request(request::BROKER_HEARTBEAT, &fields, b"")
}

/// Where no process listens.
fn address(id: i64) -> String {
    format!("127.0.0.1:{id}")
}

/// One request on a connection of its own; `None` without an answer.
pub fn ask(
    address: SocketAddr,
    code: i32,
    fields: &[(&str, Value<'_>)],
    body: &[u8],
) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut exchange = Exchange::default();
    stream
        .write_all(&exchange.request(code, fields, body))
        .ok()?;
    let mut buffer = [0; 4096];
    loop {
        if let Some(answer) = exchange.answer().ok()? {
            return Some(answer);
        }
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        exchange.received(&buffer[..read]);
    }
}

pub fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
