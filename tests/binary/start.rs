//! Protects the first minute with the binary: what it says about itself, and that a start which cannot be is refused
//! with exit code 1 and one sentence that says what to do.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::common::client::{Client, pull_from, send_to};
use crate::common::{Broker, Ended, Options, Process, SMALL, free_ports, ringmq, wait_until};
use ringmq::wire::codes::request;

/// Exit code 1, and one sentence with these words.
pub fn refused_with(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    let sentences: Vec<_> = ended
        .err
        .lines()
        .filter(|line| line.starts_with("ringmq: "))
        .collect();
    assert_eq!(sentences.len(), 1, "{ended:#?}");
    assert!(
        ended.err.ends_with(&format!("{}\n", sentences[0])),
        "the sentence is the last: {ended:#?}"
    );
    assert!(!ended.err.contains("panicked"), "{ended:#?}");
    assert!(!ended.out.contains("ready"), "{ended:#?}");
    for word in words {
        assert!(
            sentences[0].contains(word),
            "no {word:?} in: {}",
            sentences[0]
        );
    }
}

fn refuse(store: &Path, options: &Options<'_>, words: &[&str]) {
    match Broker::try_start(store, options) {
        Ok(broker) => panic!("it started:\n{}", broker.banner),
        Err(ended) => refused_with(&ended, words),
    }
}

/// Such as a pipe to a pager, or a file on a disk that completes no write.
#[test]
fn a_log_that_nobody_takes_stops_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, namesrv_port) = free_ports();
    let mut command = ringmq(["broker", "--advertise", "127.0.0.1", "--cores", "0"]);
    command
        .args(["--port", &port.to_string()])
        .args(["--namesrv-port", &namesrv_port.to_string()])
        .arg("--store")
        .arg(folder.path().join("store"))
        .env("RINGMQ_LOG", "debug")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut broker = Killed(command.spawn().expect("the binary was built"));
    let out = BufReader::new(broker.0.stdout.take().expect("piped"));
    let is_ready = out
        .lines()
        .map_while(Result::ok)
        .any(|line| line == "ready");
    assert!(is_ready);
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    // Each leaves two lines of a hundred bytes; a pipe takes 64 KiB.
    for _ in 0..1_000 {
        drop(TcpStream::connect(addr).expect("the broker listens"));
    }
    let reply = Client::connect(addr).send(&send_to("T", 0), b"x");
    assert_eq!(reply.code, 0, "{reply:?}");
}

/// Also when a test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_banner_says_what_was_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    for (flush, cores) in [("sync", "0"), ("async", "0")] {
        let broker = Broker::start(
            &store,
            &Options {
                flush,
                cores,
                ..Options::small()
            },
        );
        let banner = &broker.banner;
        for word in [
            flush,
            "core 0",
            &broker.addr().to_string(),
            &broker.namesrv.to_string(),
        ] {
            assert!(banner.contains(word), "no {word:?} in\n{banner}");
        }
        assert!(banner.contains(store.to_str().expect("text")), "{banner}");
        assert!(banner.contains("pages"), "{banner}");
        assert!(broker.terminate().success());
    }
}

#[test]
fn a_store_has_rocketmqs_layout() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let broker = Broker::start(&store, &Options::small());
    Client::connect(broker.addr())
        .send(&send_to("Layout", 2), b"x")
        .ok();
    assert!(broker.terminate().success());
    for path in [
        "commitlog/00000000000000000000",
        "consumequeue/Layout/2/00000000000000000000",
        "config/topics.json",
        "config/subscriptionGroup.json",
        "config/consumerOffset.json",
        "config/delayOffset.json",
        "checkpoint",
    ] {
        assert!(store.join(path).is_file(), "{path} is missing");
    }
    assert!(!store.join("abort").exists());
    let folder_of_one = store.join("shard-0");
    assert!(!folder_of_one.exists(), "one core has no folder of its own");
}

#[test]
fn a_store_in_use_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let first = Broker::start(&store, &Options::small());
    refuse(
        &store,
        &Options::small(),
        &[store.to_str().expect("text"), "in use"],
    );
    // The first does not notice.
    Client::connect(first.addr())
        .send(&send_to("InUse", 0), b"x")
        .ok();
    assert!(first.terminate().success());
    let again = Broker::start(&store, &Options::small());
    assert_eq!(
        Client::connect(again.addr()).read_queue("InUse", 0).len(),
        1
    );
}

#[test]
fn a_store_that_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    std::fs::write(&store, "a file").expect("it can be written");
    refuse(&store, &Options::small(), &[store.to_str().expect("text")]);

    let locked = folder.path().join("locked");
    std::fs::create_dir(&locked).expect("a folder");
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o500)).expect("ours");
    if std::fs::write(locked.join("probe"), "").is_ok() {
        eprintln!("skipped: root may write everywhere; run as another user to see the refusal");
    } else {
        refuse(
            &locked,
            &Options::small(),
            &[locked.to_str().expect("text"), "writ"],
        );
    }
}

/// tmpfs has O_DIRECT since Linux 6.6; `power` has a file system without it on every kernel.
#[test]
fn a_store_in_memory_works() {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: /dev/shm is not there or not writable");
        return;
    };
    let broker = Broker::start(&folder.path().join("store"), &Options::small());
    broker.log_with("tmpfs");
    Client::connect(broker.addr())
        .send(&send_to("InMemory", 0), b"x")
        .ok();
    assert!(broker.terminate().success());
}

#[test]
fn another_number_of_cores_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    assert!(Broker::start(&one, &Options::small()).terminate().success());
    refuse(
        &one,
        &Options {
            cores: "0,0",
            ..Options::small()
        },
        &["--cores", "1 core", "2"],
    );
    assert!(
        Broker::start(
            &two,
            &Options {
                cores: "0,0",
                ..Options::small()
            }
        )
        .terminate()
        .success()
    );
    refuse(&two, &Options::small(), &["--cores", "2 core", "1"]);
    assert!(
        Broker::start(
            &two,
            &Options {
                cores: "0,0",
                ..Options::small()
            }
        )
        .terminate()
        .success()
    );
}

#[test]
fn another_segment_size_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let broker = Broker::start(&store, &Options::small());
    Client::connect(broker.addr())
        .send(&send_to("Size", 0), b"x")
        .ok();
    assert!(broker.terminate().success());
    let config = SMALL.replace("8388608", "16777216");
    refuse(
        &store,
        &Options {
            config: &config,
            ..Options::default()
        },
        &["mappedFileSizeCommitLog", "8388608"],
    );
    let again = Broker::start(&store, &Options::small());
    assert_eq!(Client::connect(again.addr()).read_queue("Size", 0).len(), 1);
}

#[test]
fn a_bad_value_names_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let file = store.with_extension("conf");
    let file = file.to_str().expect("text");
    for (line, word) in [
        ("listenPort=many", "listenPort=many"),
        ("flushDiskType = SOMETIMES", "SYNC_FLUSH"),
        ("brokerRole=MASTER", "SYNC_MASTER"),
        ("mappedFileSizeCommitLog=1000", "mappedFileSizeCommitLog"),
        ("cores=77,78", "cores"),
    ] {
        let config = format!("# a comment\nbrokerName=b\n{line}\n");
        let (port, namesrv_port) = free_ports();
        std::fs::write(file, &config).expect("it can be written");
        let mut command = ringmq(["broker", "--config", file, "--advertise", "127.0.0.1"]);
        command
            .args(["--namesrv-port", &namesrv_port.to_string()])
            .arg("--store")
            .arg(&store);
        if !line.starts_with("listenPort") {
            command.args(["--port", &port.to_string()]);
        }
        let ended = Process::spawn(&mut command).until_end();
        refused_with(&ended, &[&format!("{file}:3"), word]);
    }
    let missing = folder.path().join("missing.conf");
    let ended = Process::spawn(ringmq(["broker", "--config"]).arg(&missing)).until_end();
    refused_with(&ended, &[missing.to_str().expect("text")]);
    assert!(!store.exists(), "a refused start leaves nothing behind");
}

/// Started as root it has the rights that it names, on every thread; as another user it has none.
#[test]
fn a_broker_keeps_few_rights_of_root() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(&folder.path().join("store"), &Options::small());
    // DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, NET_BIND_SERVICE, IPC_LOCK, SYS_RESOURCE of capability.h.
    let kept: u64 = [1, 2, 3, 10, 14, 24].map(|bit| 1 << bit).iter().sum();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", broker.pid())).expect("its threads");
    let mut threads = 0;
    for task in tasks {
        let path = task.expect("a thread").path().join("status");
        let status = std::fs::read_to_string(path).expect("its status");
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            u64::from_str_radix(line.expect("a line").trim(), 16).expect("a number")
        };
        for set in ["CapInh:", "CapPrm:", "CapEff:"] {
            assert_eq!(of(set) & !kept, 0, "{set} {status}");
        }
        let is_root = status.contains("\nUid:\t0\t");
        assert_eq!(of("NoNewPrivs:") == 1, is_root, "{status}");
        threads += 1;
    }
    assert!(threads > 2, "its log, its core, its signals: {threads}");
    assert!(broker.terminate().success());
}

#[test]
fn an_unknown_property_is_a_warning() {
    let folder = tempfile::tempdir().expect("a folder");
    let config =
        format!("{SMALL}brokerNane=b\nsomethingElseEntirely=1\nsendMessageThreadPoolNums=4\n");
    let options = Options {
        config: &config,
        ..Options::default()
    };
    let broker = Broker::start(&folder.path().join("store"), &options);
    let words = [
        "WARN",
        ".conf:6: ",
        "brokerNane",
        "did you mean brokerName?",
        "somethingElseEntirely",
        "sendMessageThreadPoolNums",
    ];
    wait_until("the warnings", || {
        words.iter().all(|word| broker.log().contains(word))
    });
    assert!(broker.terminate().success());
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for taken in ["broker", "vip", "namesrv"] {
        let (port, namesrv_port) = free_ports();
        let taken = match taken {
            "broker" => port,
            "vip" => port - 2,
            _ => namesrv_port,
        };
        let _held = TcpListener::bind(("0.0.0.0", taken)).expect("it is free");
        let options = Options {
            ports: Some((port, namesrv_port)),
            ..Options::small()
        };
        refuse(
            &folder.path().join("store"),
            &options,
            &[&taken.to_string()],
        );
    }
    let held = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = held.local_addr().expect("bound").port().to_string();
    let ended =
        Process::spawn(ringmq(["namesrv", "--port", &port]).env("HOME", folder.path())).until_end();
    refused_with(&ended, &[&port]);
    // A refused start leaves a store that can be started.
    assert!(
        Broker::start(&folder.path().join("store"), &Options::small())
            .terminate()
            .success()
    );
}

#[test]
fn help_names_every_flag() {
    for (words, expected) in [
        (&["--help"][..], &["broker", "namesrv", "bench"][..]),
        (
            &["broker", "--help"],
            &[
                "--config",
                "--store",
                "--flush",
                "--cores",
                "--port",
                "--advertise",
                "--namesrv-port",
                "--namesrv",
                "sync",
                "10911",
                "9876",
            ],
        ),
        (&["namesrv", "--help"], &["--port", "--bind", "9876"]),
        (&["bench", "--help"], &["flush", "send", "consume", "e2e"]),
        (&["--version"], &[env!("CARGO_PKG_VERSION")]),
    ] {
        let ended = Process::spawn(&mut ringmq(words)).until_end();
        assert!(ended.status.success() && ended.err.is_empty(), "{ended:#?}");
        for word in expected {
            assert!(ended.out.contains(word), "no {word:?} in\n{}", ended.out);
        }
    }
    for words in [
        &["broker", "--flush", "maybe"][..],
        &["broker", "--no-such-flag"],
        &["no-such-command"],
        &[],
    ] {
        let ended = Process::spawn(&mut ringmq(words)).until_end();
        assert!(
            !ended.status.success()
                && (ended.err.contains("Usage") || ended.err.contains("--help")),
            "{ended:#?}"
        );
    }
}

/// What an administrator changes holds at once and after each restart, stronger than broker.conf.
#[test]
fn a_changed_setting_survives_a_stop_and_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!("{SMALL}transactionCheckMax=5\n");
    let options = Options {
        config: &config,
        ..Options::default()
    };
    let store = folder.path().join("store");
    let broker = Broker::start(&store, &options);
    let shown = |broker: &Broker| {
        let reply = Client::connect(broker.addr()).ask(request::GET_BROKER_CONFIG, &[], b"");
        let text = String::from_utf8(reply.ok().body).expect("text");
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.strip_prefix('='))
                .map(str::to_owned)
        };
        [
            "transactionCheckMax",
            "popFromRetryProbability",
            "timerMaxDelaySec",
        ]
        .map(|name| of(name).expect(name))
    };
    assert_eq!(shown(&broker), ["5", "20", "0"]);
    let changes = b"transactionCheckMax=7\npopFromRetryProbability=30\ntimerMaxDelaySec=60\n";
    let mut client = Client::connect(broker.addr());
    client.ask(request::UPDATE_BROKER_CONFIG, &[], changes).ok();
    assert_eq!(shown(&broker), ["7", "30", "60"]);
    broker.kill();
    let broker = Broker::start(&store, &options);
    assert_eq!(shown(&broker), ["7", "30", "60"]);
    // And it is what the rules go by.
    let mut send = send_to("Later", 0);
    send.properties = Some("TIMER_DELAY_SEC\u{1}61\u{2}");
    let mut client = Client::connect(broker.addr());
    client.send(&send, b"x").refused(13, "timerMaxDelaySec");
    assert!(broker.terminate().success());
    let broker = Broker::start(&store, &options);
    assert_eq!(shown(&broker), ["7", "30", "60"]);
    assert!(broker.terminate().success());
}

/// A raised limit of the message size holds at once and after a restart, for the rules and for the store.
#[test]
fn a_raised_message_size_takes_effect_at_once_and_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!("{SMALL}maxMessageSize=65536\n");
    let options = Options {
        config: &config,
        ..Options::default()
    };
    let store = folder.path().join("store");
    let broker = Broker::start(&store, &options);
    let mut client = Client::connect(broker.addr());
    let body = vec![b'x'; 100_000];
    client.send(&send_to("Large", 0), &body).refused(13, "");
    let raise = b"maxMessageSize=131072\n";
    client.ask(request::UPDATE_BROKER_CONFIG, &[], raise).ok();
    client.send(&send_to("Large", 0), &body).ok();
    assert!(broker.terminate().success());
    let broker = Broker::start(&store, &options);
    let mut client = Client::connect(broker.addr());
    client.send(&send_to("Large", 0), &body).ok();
    let found = client.pull(&pull_from("Large", 0, 0)).ok();
    assert!(found.body.len() > 2 * body.len());
    assert!(broker.terminate().success());
}
