//! Protects the start where io_uring is forbidden or missing: the broker runs without it, says so once, and keeps every promise. What is tested here
//! is what differs: the rest runs over the same reactor and store. `RINGMQ_IO=portable cargo test` runs all tests of the binary without io_uring.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Output;

use crate::common::client::{Client, send_to};
use crate::common::ledger::Ledger;
use crate::common::sandbox::{Forbidden, NO_URING, NO_URING_KNOWN, forbid};
use crate::common::{Broker, Options, Process, SMALL, free_ports, ringmq, wait_until};
use crate::crash::kill_again_and_again;
use crate::start::refused_with;

/// In a container with the usual seccomp profile, and in one whose kernel is not Linux.
const PLACES: [&[Forbidden]; 2] = [NO_URING, NO_URING_KNOWN];

#[test]
fn where_io_uring_is_forbidden_a_broker_starts_without_it_and_says_why() {
    for forbidden in PLACES {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        let health = free_ports().0;
        let config = format!("{SMALL}healthPort={health}\n");
        let options = Options {
            config: &config,
            flush: "sync",
            forbidden,
            ports: Some(free_ports()),
            ..Options::default()
        };
        let broker = Broker::start(&store, &options);
        let log = broker.log_with("--io portable");
        let said = log.matches("io_uring").count();
        assert!(said > 0, "{log}");
        assert_eq!(log.matches("runs without io_uring").count(), 1, "{log}");
        assert!(
            broker.banner.contains("without io_uring"),
            "{}",
            broker.banner
        );
        let health = SocketAddr::from(([127, 0, 0, 1], health));
        wait_until("the probe says what it runs on", || {
            get(health, "/ready").contains("\"io\":\"portable\"")
        });
        let ready = get(health, "/ready");
        assert!(ready.contains("\"ioReason\":\"io_uring"), "{ready}");
        let mut ledger = Ledger::default();
        let load = ledger.start_load(broker.addr());
        load.until_acknowledged(300);
        broker.kill();
        ledger.close(load);
        let broker = Broker::start(&store, &options);
        ledger.check(broker.addr());
        assert!(broker.terminate().success());
    }
}

#[test]
fn io_uring_that_is_asked_for_and_forbidden_is_refused_in_one_sentence() {
    for forbidden in PLACES {
        let folder = tempfile::tempdir().expect("a folder");
        let options = Options {
            io: Some("uring"),
            forbidden,
            ..Options::small()
        };
        match Broker::try_start(&folder.path().join("store"), &options) {
            Ok(broker) => panic!("it started:\n{}", broker.banner),
            Err(ended) => refused_with(&ended, &["io_uring", "seccomp", "--io auto"]),
        }
        assert!(!folder.path().join("store").exists(), "nothing is made");
    }
}

#[test]
fn another_choice_is_wrong_usage() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    for (words, variable) in [(&["--io", "epoll"][..], ""), (&[], "epoll")] {
        let mut command = ringmq(["broker", "--store"]);
        command.arg(&store).args(words).env("RINGMQ_IO", variable);
        let ended = Process::spawn(&mut command).until_end();
        assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
        assert!(ended.err.contains("portable"), "{ended:#?}");
        assert!(!store.exists(), "nothing is made");
    }
}

/// The others use the same calls: a store is read, messages are sent and consumed, a name server serves, a load is measured.
#[test]
fn every_command_works_where_io_uring_is_forbidden() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let (_, namesrv_port) = free_ports();
    let mut command = ringmq(["namesrv", "--bind", "127.0.0.1"]);
    command.args(["--port", &namesrv_port.to_string()]);
    forbid(&mut command, NO_URING);
    let (mut names, _) = Process::spawn(&mut command)
        .until_ready()
        .expect("it starts");
    let options = Options {
        forbidden: NO_URING,
        joins_namesrv: true,
        ports: Some((free_ports().0, namesrv_port)),
        ..Options::small()
    };
    let broker = Broker::start(&store, &options);
    let namesrv = broker.namesrv.to_string();
    let at_names = ["--namesrv", &namesrv];
    let sent = confined(&[
        &["send", "--topic", "T", "--count", "7", "hello"],
        &at_names[..],
    ]);
    assert!(sent.status.success(), "{sent:?}");
    let consume = [
        "consume", "--topic", "T", "--group", "g", "--from", "first", "--count", "7",
    ];
    let consumed = confined(&[&consume, &at_names[..]]);
    let printed = String::from_utf8_lossy(&consumed.stdout).into_owned();
    assert_eq!(printed.matches("hello").count(), 7, "{consumed:?}");
    let load = [
        "bench",
        "send",
        "--connections",
        "2",
        "--duration",
        "0.3",
        "--warm-up",
        "0",
    ];
    let measured = confined(&[&load, &at_names[..]]);
    assert!(measured.status.success(), "{measured:?}");
    assert!(broker.terminate().success());
    names.signal("TERM");
    assert!(names.until_end().status.success());
    let dir = store.to_str().expect("text");
    for words in [["store", "verify", dir], ["store", "inspect", dir]] {
        let read = confined(&[&words]);
        assert!(read.status.success(), "{read:?}");
    }
}

fn confined(words: &[&[&str]]) -> Output {
    let mut command = ringmq(words.concat());
    forbid(&mut command, NO_URING);
    command
        .output()
        .expect("the binary was built with the tests")
}

#[test]
fn without_io_uring_a_kill_takes_nothing_acknowledged() {
    for flush in ["sync", "async"] {
        kill_again_and_again(flush, Some("portable"), 3);
    }
}

/// A store is the same on both.
#[test]
fn a_store_goes_from_one_to_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let mut ledger = Ledger::default();
    for (round, io) in ["portable", "auto", "portable"].into_iter().enumerate() {
        let options = Options {
            io: Some(io),
            cores: "0,0",
            ..Options::small()
        };
        let broker = Broker::start(&store, &options);
        ledger.check(broker.addr());
        let load = ledger.start_load(broker.addr());
        load.until_acknowledged(300 * (round + 1));
        load.stop();
        ledger.close(load);
        // The other shard's core is the same thread's neighbour.
        let second = SocketAddr::from(([127, 0, 0, 1], broker.port + 10));
        let mut client = Client::connect(second);
        client.send(&send_to("OfSecond", 0), b"x").ok();
        assert!(broker.terminate().success());
    }
}

fn get(addr: SocketAddr, path: &str) -> String {
    let mut text = String::new();
    if let Ok(mut stream) = TcpStream::connect(addr) {
        let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: probe\r\n\r\n");
        let _ = stream.read_to_string(&mut text);
    }
    text
}
