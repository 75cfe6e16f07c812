//! Protects the promise: unmodified RocketMQ clients work. Runs the Java clients 5.5.0 and 4.9.8 and the Go client v2
//! (`tests/clients/README.md`) against the built binary.
//!
//! Without a JDK, Maven or Go a test says what to install and passes; with `RINGMQ_REQUIRE_CLIENTS` set it fails.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::common::client::Client;
use crate::common::scripts::{Script, missing};
use crate::common::{Broker, Options, Process, wait_until};
use ringmq::wire::Value;
use ringmq::wire::codes::request;
use ringmq::wire::loose_json;

const SUPPORTED: &[&str] = &["--scenario", "all"];

/// Producers are asked soon and seldom, so that their scenarios take seconds.
const CONFIG: &str = "enablePropertyFilter=true
transactionCheckInterval=1000
transactionTimeOut=1500
transactionCheckMax=3
transactionOpBatchInterval=200
";

#[test]
fn java_5_5_0_sync_flush() {
    java(
        "5.5.0",
        SUPPORTED,
        &Options {
            flush: "sync",
            ..options()
        },
    );
}

#[test]
fn java_4_9_8_async_flush() {
    java("4.9.8", SUPPORTED, &options());
}

#[test]
fn java_on_two_shards() {
    java(
        "5.5.0",
        SUPPORTED,
        &Options {
            cores: "0,0",
            ..options()
        },
    );
}

#[test]
fn timed_messages_are_taken_back() {
    let options = Options {
        config: "recallMessageEnable=true\n",
        ..Options::default()
    };
    java("5.5.0", &["--scenario", "recall"], &options);
}

#[test]
fn go_v2() {
    if missing(&["go"]) {
        return;
    }
    // No virtual machine: beside one of the others.
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(&folder.path().join("store"), &options());
    let namesrv = broker.namesrv.to_string();
    Script::new("go/run.sh", &["-namesrv", &namesrv, "-scenario", "all"]).run();
    assert!(broker.terminate().success());
}

#[test]
fn a_clean_restart_and_a_kill_lose_nothing() {
    if missing(&["java", "mvn"]) {
        return;
    }
    let _turn = one_at_a_time();
    // They wait for delayed messages most of the time, hence side by side.
    std::thread::scope(|scope| {
        for flush in ["sync", "async"] {
            scope.spawn(move || restart_and_kill(flush));
        }
    });
}

fn restart_and_kill(flush: &'static str) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        flush,
        ports: Some(crate::common::free_ports()),
        ..Options::default()
    };
    let store = folder.path().join("store");
    let scenarios = |broker: &Broker, prefix: &str, names: &str| {
        let namesrv = broker.namesrv.to_string();
        let words = [
            "5.5.0",
            "ClientCheck",
            "--namesrv",
            &namesrv,
            "--prefix",
            prefix,
            "--scenario",
            names,
        ];
        Script::new("java/run.sh", &words).run();
    };
    let before = "before_restart,delays_before_restart,batches_before_restart";
    let after = "after_restart,delays_after_restart,batches_after_restart";
    let broker = Broker::start(&store, &options);
    scenarios(&broker, "clean", before);
    assert!(broker.terminate().success());
    assert!(
        !store.join("abort").exists(),
        "a clean stop leaves a clean mark"
    );
    let broker = Broker::start(&store, &options);
    scenarios(&broker, "clean", after);
    scenarios(&broker, "killed", before);
    // What a kill takes of the consumer offsets is delivered again.
    wait_until("the offsets are saved", || offsets_are_saved(&broker));
    broker.kill();
    let broker = Broker::start(&store, &options);
    scenarios(&broker, "killed", after);
    assert!(broker.terminate().success());
}

/// Whether the file has all offsets that the broker has.
fn offsets_are_saved(broker: &Broker) -> bool {
    let asked = Client::connect(broker.addr()).ask(request::GET_ALL_CONSUMER_OFFSET, &[], b"");
    let path = broker.store.join("config/consumerOffset.json");
    let saved = std::fs::read(path).unwrap_or_default();
    offset_table(&asked.ok().body).is_some_and(|now| Some(now) == offset_table(&saved))
}

fn offset_table(json: &[u8]) -> Option<serde_json::Value> {
    let mut all: serde_json::Value = loose_json::from_slice(json).ok()?;
    Some(all.get_mut("offsetTable")?.take())
}

/// A consumer in order, and one that sends messages back, live on while the broker is killed or stopped and started again.
#[test]
fn clients_live_through_a_kill_and_a_restart() {
    if missing(&["java", "mvn"]) {
        return;
    }
    let _turn = one_at_a_time();
    // They wait more than they work, hence side by side.
    std::thread::scope(|scope| {
        for (version, flush) in [("5.5.0", "sync"), ("4.9.8", "async")] {
            for scenario in ["orderly_over_restarts", "send_back_over_kill"] {
                scope.spawn(move || through_outages(version, flush, scenario));
            }
        }
    });
}

/// Does to the broker what the scenario asks for: a line `NOW kill` or `NOW stop`, answered when it is there again.
fn through_outages(version: &str, flush: &'static str, scenario: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let options = Options {
        flush,
        ports: Some(crate::common::free_ports()),
        ..Options::default()
    };
    let mut broker = Broker::start(&store, &options);
    let namesrv = broker.namesrv.to_string();
    let mut client = Command::new("bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/java/run.sh"))
        .args([version, "ClientCheck", "--namesrv", &namesrv])
        .args(["--scenario", scenario])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash is there");
    let mut answers = client.stdin.take().expect("it is a pipe");
    let lines = BufReader::new(client.stdout.take().expect("it is a pipe")).lines();
    for line in lines.map(|line| line.expect("text")) {
        println!("{version} {line}");
        match line.strip_prefix("NOW ") {
            Some("kill") => broker.kill(),
            Some(_) => assert!(broker.terminate().success()),
            None => continue,
        }
        broker = Broker::start(&store, &options);
        writeln!(answers, "back").expect("it reads on");
    }
    let status = client.wait().expect("it can be waited for");
    assert!(
        status.success(),
        "{scenario} with {version}: {status}\n{}",
        broker.log()
    );
    assert!(broker.terminate().success());
}

fn options() -> Options<'static> {
    Options {
        config: CONFIG,
        ..Options::default()
    }
}

/// RocketMQ's own broker, at our name server: its routes come and go, and an administrator may change them.
#[test]
fn a_rocketmq_broker_registers_with_our_name_server() {
    if missing(&["java", "mvn"]) {
        return;
    }
    let _turn = one_at_a_time();
    let folder = tempfile::tempdir().expect("a folder");
    let (port, namesrv_port) = crate::common::free_ports();
    let names = ["namesrv", "--bind", "127.0.0.1", "--port"];
    let mut command = crate::common::ringmq(names);
    command.arg(namesrv_port.to_string());
    let started = Process::spawn(command.env("HOME", folder.path())).until_ready();
    let (mut names, _) = started.expect("the name server starts");
    let namesrv = format!("127.0.0.1:{namesrv_port}");
    let mut asked = Client::connect(namesrv.parse().expect("an address"));
    let admin = |words: &[&str], expected: &str| {
        let words = [words, &["-n", &namesrv]].concat();
        let printed = Script::new("real-broker/mqadmin.sh", &words)
            .command()
            .output();
        let printed = printed.expect("bash is there");
        let printed = [printed.stdout, printed.stderr].concat();
        let printed = String::from_utf8_lossy(&printed);
        assert!(printed.contains(expected), "{words:?} printed {printed}");
    };

    // So that its start need not wait until Maven has brought everything.
    Script::new::<&str>("real-broker/env.sh", &[]).run();
    let mut rocketmq = RocketMq::start(folder.path(), &namesrv, port);
    rocketmq.until("it registers", || asked.route("TBW102").is_some());
    admin(&["clusterList"], "broker-a");
    admin(
        &[
            "updateTopic",
            "-c",
            "DefaultCluster",
            "-t",
            "Made",
            "-r",
            "3",
            "-w",
            "3",
        ],
        "success",
    );
    rocketmq.until("the new topic's route", || asked.route("Made").is_some());
    let route = asked.route("Made").expect("just seen");
    assert_eq!(
        (
            route.queue_datas[0].write_queue_nums,
            route.queue_datas[0].perm
        ),
        (3, 6)
    );
    for (version, scenario) in [("5.5.0", "send_and_consume"), ("4.9.8", "rebalance")] {
        let words = [
            version,
            "ClientCheck",
            "--namesrv",
            &namesrv,
            "--scenario",
            scenario,
        ];
        Script::new("java/run.sh", &words).run();
    }
    admin(&["wipeWritePerm", "-b", "broker-a"], "OK");
    assert_eq!(
        asked.route("Made").expect("it stays").queue_datas[0].perm,
        4
    );
    admin(&["addWritePerm", "-b", "broker-a"], "OK");
    assert_eq!(
        asked.route("Made").expect("it stays").queue_datas[0].perm,
        6
    );
    admin(
        &["updateKvConfig", "-s", "SPACE", "-k", "key", "-v", "value"],
        "success",
    );
    let key = [
        ("namespace", Value::Str("SPACE")),
        ("key", Value::Str("key")),
    ];
    assert_eq!(
        asked.ask(request::GET_KV_CONFIG, &key, b"").ok().fields["value"],
        "value"
    );
    admin(&["deleteKvConfig", "-s", "SPACE", "-k", "key"], "success");
    asked.ask(request::GET_KV_CONFIG, &key, b"").with_code(22);

    // Killed: its connection is closed, so there is no need to wait for its heartbeats.
    rocketmq.signal("KILL");
    drop(rocketmq);
    wait_long("the lost broker's routes are gone", || {
        asked.route("Made").is_none()
    });
    let mut rocketmq = RocketMq::start(folder.path(), &namesrv, port);
    rocketmq.until("it is back", || asked.route("Made").is_some());
    rocketmq.signal("TERM");
    wait_long("it has unregistered", || asked.route("Made").is_none());
    drop(rocketmq);
    names.signal("TERM");
    assert!(names.until_end().status.success());
}

/// RocketMQ's broker without its name server; killed when dropped.
struct RocketMq {
    child: Child,
    folder: PathBuf,
}

impl RocketMq {
    fn start(folder: &Path, namesrv: &str, port: u16) -> RocketMq {
        let folder = folder.join("rocketmq");
        let (path, port) = (folder.to_str().expect("a plain name"), port.to_string());
        let script = Script::new("namesrv/broker.sh", &[path, namesrv, &port]);
        let child = script.command().spawn().expect("bash is there");
        RocketMq { child, folder }
    }

    /// Waits for what it is to do while it runs.
    fn until(&mut self, what: &str, mut done: impl FnMut() -> bool) {
        let started = Instant::now();
        while !done() {
            let ended = self.child.try_wait().expect("it can be asked");
            if ended.is_some() || started.elapsed() > START {
                let printed = std::fs::read_to_string(self.folder.join("broker.out"));
                panic!("in vain: {what}; ended: {ended:?}; it printed {printed:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.expect("kill is there").success());
    }
}

impl Drop for RocketMq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a virtual machine may need for its start on a busy machine.
const START: Duration = Duration::from_secs(240);

/// Less than the two minutes after which a name server removes a silent broker.
fn wait_long(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(
            started.elapsed() < Duration::from_secs(90),
            "in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Java virtual machines side by side starve each other on a small machine, and checks that wait for each other fail.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same among tests in which no client waits for another one: one of them may run beside one of the others.
pub fn one_tool_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn java(version: &str, words: &[&str], options: &Options<'_>) {
    if missing(&["java", "mvn"]) {
        return;
    }
    let _turn = one_at_a_time();
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(&folder.path().join("store"), options);
    let namesrv = broker.namesrv.to_string();
    let all = [&[version, "ClientCheck", "--namesrv", &namesrv], words].concat();
    Script::new("java/run.sh", &all).run();
    assert!(broker.terminate().success());
}
