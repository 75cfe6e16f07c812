//! Protects pairs of a master and a slave one of which is RocketMQ 5.5.0 itself: the slave's log is byte for byte the master's, a send is
//! acknowledged when both have it, and when the master is gone its messages are read from the slave.
//!
//! Without a JDK or Maven a test says what to install and passes; with `RINGMQ_REQUIRE_CLIENTS` set it fails.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::client::{Client, pull_from, send_to};
use crate::common::scripts::{Script, missing};
use crate::common::{Broker, Options, PATIENCE, free_ports, wait_until};
use ringmq::wire::Value;
use ringmq::wire::codes::{request, response};
use ringmq::wire::offset::{QueryConsumerOffset, UpdateConsumerOffset};
use ringmq::wire::topic::CreateTopic;

const TOPIC: &str = "orders";
const GROUP: &str = "readers";
const MESSAGES: usize = 200;

/// The log's files of both have one size.
const FILES: &str = "mappedFileSizeCommitLog=16777216\n";

const RINGMQ: &str = "brokerName=broker-a
mappedFileSizeCommitLog=16777216
logBufferBytes=16777216
consumeQueueMemoryBytes=16777216
slaveReadEnable=true
";

/// A slave of ours, of a master that is registered there.
fn start_slave(folder: &TempDir, namesrv_port: u16) -> Broker {
    let (port, _) = free_ports();
    let options = Options {
        config: &format!("{RINGMQ}brokerRole=SLAVE\nbrokerId=1\n"),
        ports: Some((port, namesrv_port)),
        joins_namesrv: true,
        ..Options::default()
    };
    Broker::start(&folder.path().join("slave"), &options)
}

#[test]
fn ringmq_follows_rocketmq() {
    if missing(&["java", "javac", "mvn"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (port, namesrv_port) = free_ports();
    let config = format!("{FILES}brokerRole=SYNC_MASTER\ninSyncReplicas=2\n");
    let master = RocketMq::start(&folder.path().join("master"), namesrv_port, port, &config);
    let slave = start_slave(&folder, namesrv_port);
    let sent = send_until_acknowledged(master.addr());
    wait_until("the topic at the slave", || {
        Client::connect(slave.addr()).max_offset(TOPIC, 0) >= sent as u64
    });
    master.kill();
    let commit_log = Path::new("store/commitlog/00000000000000000000");
    let ours = slave.store.join("commitlog/00000000000000000000");
    same_bytes(&folder.path().join("master").join(commit_log), &ours);
    reads_all(slave.addr(), sent);
    assert!(slave.terminate().success());
}

/// Consumers go on at our slave, and commit there, until RocketMQ is back.
#[test]
fn rocketmq_has_what_was_committed_at_ringmq_while_it_was_away() {
    if missing(&["java", "javac", "mvn"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (port, namesrv_port) = free_ports();
    let config = format!("{FILES}brokerRole=SYNC_MASTER\ninSyncReplicas=2\n");
    let start = || RocketMq::start(&folder.path().join("master"), namesrv_port, port, &config);
    let master = start();
    let slave = start_slave(&folder, namesrv_port);
    let sent = send_until_acknowledged(master.addr());
    let mut consumer = Client::connect(master.addr());
    consumer.heartbeat("c", GROUP, &[TOPIC]);
    assert!(commit(master.addr(), 3));
    wait_until("the offset at the slave", || {
        committed(slave.addr()) == Some(3)
    });
    drop(consumer);
    master.kill();
    assert!(commit(slave.addr(), sent as i64));
    let master = start();
    wait_until("the offset at the master", || {
        committed(master.addr()) == Some(sent as i64)
    });
    assert_eq!(committed(slave.addr()), Some(sent as i64));
    assert!(slave.terminate().success());
}

/// Whether it was taken.
fn commit(addr: SocketAddr, offset: i64) -> bool {
    let fields = UpdateConsumerOffset {
        consumer_group: GROUP,
        topic: TOPIC,
        queue_id: 0,
        commit_offset: offset,
    };
    let code = request::UPDATE_CONSUMER_OFFSET;
    let reply = Client::connect(addr).ask(code, &fields.ext(), b"");
    reply.code == response::SUCCESS
}

fn committed(addr: SocketAddr) -> Option<i64> {
    let fields = QueryConsumerOffset {
        consumer_group: GROUP,
        topic: TOPIC,
        queue_id: 0,
        set_zero_if_not_found: Some(false),
    };
    let code = request::QUERY_CONSUMER_OFFSET;
    let reply = Client::connect(addr).ask(code, &fields.ext(), b"");
    (reply.code == response::SUCCESS).then(|| reply.number("offset"))
}

#[test]
fn rocketmq_follows_ringmq() {
    if missing(&["java", "javac", "mvn"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        config: &format!("{RINGMQ}brokerRole=SYNC_MASTER\n"),
        ..Options::default()
    };
    let master = Broker::start(&folder.path().join("master"), &options);
    let (port, own_namesrv) = free_ports();
    let config = format!(
        "{FILES}brokerRole=SLAVE\nbrokerId=1\nslaveReadEnable=true\nnamesrvAddr=127.0.0.1:{}\n",
        master.namesrv.port()
    );
    // Its own name server is started with it and has no part in this.
    let slave = RocketMq::begin(&folder.path().join("slave"), own_namesrv, port, &config);
    let sent = send_until_acknowledged(master.addr());
    let theirs = folder
        .path()
        .join("slave/store/commitlog/00000000000000000000");
    same_bytes(
        &master.store.join("commitlog/00000000000000000000"),
        &theirs,
    );
    let mut client = Client::connect(master.addr());
    assert_eq!(client.read_queue(TOPIC, 0).len(), sent);
    slave.kill();
    wait_until("the master to miss its slave", || {
        client.send(&send_to(TOPIC, 0), b"more").code == response::SLAVE_NOT_AVAILABLE
    });
    assert!(master.terminate().success());
}

/// Makes the topic and sends until [`MESSAGES`] were acknowledged by both; how many messages there are then.
fn send_until_acknowledged(addr: SocketAddr) -> usize {
    let mut client = Client::connect(addr);
    let fields = CreateTopic {
        topic: TOPIC,
        default_topic: "TBW102",
        read_queue_nums: 1,
        write_queue_nums: 1,
        perm: 6,
        topic_filter_type: "SINGLE_TAG",
        topic_sys_flag: Some(0),
        order: false,
        attributes: None,
        force: false,
    };
    let fields: Vec<(&str, Value<'_>)> = fields.ext().to_vec();
    client
        .ask(request::UPDATE_AND_CREATE_TOPIC, &fields, &[])
        .ok();
    let started = Instant::now();
    let (mut sent, mut acknowledged) = (0, 0);
    while acknowledged < MESSAGES {
        let body = format!("message {sent} {}", "x".repeat(sent * 13 % 900));
        let reply = client.send(&send_to(TOPIC, 0), body.as_bytes());
        let codes = [
            response::SUCCESS,
            response::SLAVE_NOT_AVAILABLE,
            response::FLUSH_SLAVE_TIMEOUT,
        ];
        assert!(codes.contains(&reply.code), "{reply:?}");
        acknowledged += usize::from(reply.code == response::SUCCESS);
        sent += 1;
        assert!(started.elapsed() < PATIENCE, "the slave does not follow");
        if reply.code != response::SUCCESS {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    sent
}

/// As far as the master has written.
fn same_bytes(master: &Path, slave: &Path) {
    let read = |path: &Path| std::fs::read(path).expect("a log file");
    let (master, slave) = (read(master), read(slave));
    let end = master.iter().rposition(|byte| *byte != 0).expect("records");
    assert!(end > MESSAGES * 100);
    assert!(master[..=end] == slave[..=end], "the logs differ");
}

fn reads_all(addr: SocketAddr, sent: usize) {
    let mut client = Client::connect(addr);
    let mut offset = 0;
    while offset < sent {
        let reply = client.pull(&pull_from(TOPIC, 0, offset as i64));
        assert_eq!(reply.code, response::SUCCESS, "{reply:?}");
        offset += reply.messages().len();
    }
    assert_eq!(offset, sent);
}

/// A RocketMQ in a folder of its own.
struct RocketMq {
    folder: PathBuf,
    port: u16,
}

impl RocketMq {
    /// With its route at its own name server.
    fn start(folder: &Path, namesrv_port: u16, port: u16, config: &str) -> Self {
        Self::run(folder, namesrv_port, port, config, "start")
    }

    /// Registered wherever `config` says.
    fn begin(folder: &Path, namesrv_port: u16, port: u16, config: &str) -> Self {
        Self::run(folder, namesrv_port, port, config, "begin")
    }

    fn run(folder: &Path, namesrv_port: u16, port: u16, config: &str, how: &str) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let lines = folder.join("lines.conf");
        std::fs::write(&lines, config).expect("the folder is writable");
        let words = [
            how.to_owned(),
            folder.display().to_string(),
            namesrv_port.to_string(),
            port.to_string(),
            lines.display().to_string(),
        ];
        Script::new("real-broker/real-broker.sh", &words).run();
        Self {
            folder: folder.to_owned(),
            port,
        }
    }

    fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn kill(self) {
        drop(self);
    }
}

impl Drop for RocketMq {
    fn drop(&mut self) {
        let words = ["kill", &self.folder.display().to_string()];
        let _ = Script::new("real-broker/real-broker.sh", &words)
            .command()
            .status();
    }
}
