//! Protects what the commands say and how they end: every message that was sent is reported, a value that cannot be is refused with
//! exit code 2 before anything is made, signals stop cleanly, and an error says what to do.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::common::client::{Client, send_to};
use crate::common::{Broker, Options, PATIENCE, Process, free_ports, ringmq, wait_until};
use serde_json::Value;

pub fn start() -> (tempfile::TempDir, Broker) {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(&folder.path().join("store"), &Options::small());
    (folder, broker)
}

/// A command of a client, with this stdin.
pub fn run(namesrv: SocketAddr, words: &[&str], stdin: &str) -> Output {
    let mut child = piped(ringmq(words).args(["--namesrv", &namesrv.to_string()]));
    // It may have ended without reading.
    let _ = child
        .stdin
        .take()
        .expect("piped")
        .write_all(stdin.as_bytes());
    child.wait_with_output().expect("it ends")
}

pub fn piped(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built")
}

pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// How many messages a topic of four queues has.
fn stored(broker: &Broker, topic: &str) -> u64 {
    let mut client = Client::connect(broker.addr());
    (0..4).map(|queue| client.max_offset(topic, queue)).sum()
}

/// The number at the beginning of "941 sent in ...".
fn said_sent(text: &str) -> u64 {
    let line = text.lines().find(|line| line.contains(" sent in "));
    let line = line.unwrap_or_else(|| panic!("no summary in {text}"));
    let number = line.trim_start_matches("interrupted: ").split(' ').next();
    number
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

#[test]
fn everything_that_was_sent_is_reported() {
    let (_folder, broker) = start();
    let good = "{\"body\":\"x\"}\n".repeat(500);
    let words = ["send", "--topic", "Lines", "--json-lines", "-", "--json"];
    let output = run(broker.namesrv, &words, &format!("{good}no JSON\n{good}"));
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("line 501 of -: "), "{}", err(&output));
    assert_eq!(err(&output).matches("line ").count(), 1, "{}", err(&output));
    let printed = String::from_utf8_lossy(&output.stdout).lines().count() as u64;
    assert_eq!((printed, said_sent(&err(&output))), (500, 500));
    assert_eq!(stored(&broker, "Lines"), 500);

    // Its output goes nowhere any more.
    let namesrv = broker.namesrv.to_string();
    let words = [
        "send",
        "--topic",
        "Head",
        "--count",
        "20000",
        "--json",
        "x",
        "--namesrv",
        &namesrv,
    ];
    let mut child = piped(&mut ringmq(words));
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    out.read_line(&mut String::new()).expect("one line");
    drop(out);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("cannot write to stdout"),
        "{}",
        err(&output)
    );
    let sent = said_sent(&err(&output));
    assert!(sent < 20_000, "it went on without its output");
    assert_eq!(stored(&broker, "Head"), sent);

    // One line or none is reported as well.
    for (input, count) in [("", 0), ("{\"body\":\"x\"}\n", 1)] {
        let output = run(
            broker.namesrv,
            &["send", "--topic", "Few", "--json-lines", "-"],
            input,
        );
        assert_eq!(said_sent(&err(&output)), count);
    }
    assert!(broker.terminate().success());
}

#[test]
fn an_interrupted_send_reports_what_it_has_sent() {
    let (_folder, broker) = start();
    let namesrv = broker.namesrv.to_string();
    let words = [
        "send",
        "--topic",
        "Slow",
        "--json-lines",
        "-",
        "--namesrv",
        &namesrv,
    ];
    let mut child = piped(&mut ringmq(words));
    let mut input = child.stdin.take().expect("piped");
    // Its input stays open: the message is sent and reported all the same.
    input.write_all(b"{\"body\":\"x\"}\n").expect("it reads");
    wait_until("the message is stored", || {
        Client::connect(broker.addr()).route_is_known("Slow", broker.namesrv)
            && stored(&broker, "Slow") == 1
    });
    signal(child.id(), "INT");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", err(&output));
    assert!(
        err(&output).contains("interrupted: 1 sent in"),
        "{}",
        err(&output)
    );
    drop(input);
}

trait Known {
    fn route_is_known(&mut self, topic: &str, namesrv: SocketAddr) -> bool;
}

impl Known for Client {
    fn route_is_known(&mut self, topic: &str, namesrv: SocketAddr) -> bool {
        Client::connect(namesrv).route(topic).is_some()
    }
}

pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status();
    assert!(status.expect("kill is there").success());
}

#[test]
fn a_send_waits_for_a_broker_until_its_timeout() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports();
    let namesrv = SocketAddr::from(([127, 0, 0, 1], ports.1));
    let send = |timeout: &str| {
        let words = ["send", "--topic", "Late", "--timeout", timeout, "--namesrv"];
        piped(ringmq(words).args([&namesrv.to_string(), "x"]))
    };
    // Nothing listens there yet.
    let output = send("300ms").wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    for word in [&namesrv.to_string(), "name server", "ringmq broker"] {
        assert!(err(&output).contains(word), "no {word} in {}", err(&output));
    }
    let port = ports.1.to_string();
    let mut command = ringmq(["namesrv", "--port", &port]);
    let (_names, _) = Process::spawn(command.env("HOME", folder.path()))
        .until_ready()
        .expect("it starts");
    // Long enough for a busy machine to ask the name server once.
    let output = send("3s").wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("no broker serves topic Late (name server {namesrv}");
    assert!(err(&output).contains(&expected), "{}", err(&output));
    let waiting = send("120s");
    let options = Options {
        joins_namesrv: true,
        ports: Some(ports),
        ..Options::small()
    };
    let broker = Broker::start(&folder.path().join("store"), &options);
    let output = waiting.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", err(&output));
    assert!(broker.terminate().success());
}

#[test]
fn signals_stop_a_broker_cleanly_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let broker = Broker::start(&store, &Options::small());
    for name in ["USR1", "USR2", "ALRM"] {
        signal(broker.pid(), name);
    }
    let sent = Client::connect(broker.addr()).send(&send_to("T", 0), b"x");
    assert_eq!(sent.code, 0);
    let ended = broker.stop("HUP");
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert!(!store.join("abort").exists());
}

#[test]
fn a_store_that_cannot_be_closed_is_an_exit_code() {
    let (folder, broker) = start();
    Client::connect(broker.addr())
        .send(&send_to("T", 0), b"x")
        .ok();
    fs::rename(folder.path().join("store"), folder.path().join("gone")).expect("renamed");
    let ended = broker.stop("TERM");
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    let said = ended.err.lines().last().unwrap_or_default();
    assert!(
        said.starts_with("ringmq: ") && said.contains("could not be closed cleanly"),
        "{said}"
    );
}

#[test]
fn a_log_in_a_file_has_no_colours_and_a_wrong_filter_is_refused() {
    let (_folder, broker) = start();
    let log = broker.stop("TERM").err;
    assert!(log.contains("INFO") && !log.contains('\u{1b}'), "{log:?}");
    let output = ringmq(["broker"])
        .env("RINGMQ_LOG", "ringmq=loud")
        .output()
        .expect("it ends");
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(err(&output).contains("RINGMQ_LOG"), "{}", err(&output));
}

#[test]
fn what_is_in_the_way_of_a_start_is_named_before_anything_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let held = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let taken = held.local_addr().expect("bound").port().to_string();
    for flag in ["--port", "--namesrv-port", "--health-port"] {
        let (port, namesrv_port) = free_ports();
        let mut command = ringmq(["broker", "--advertise", "127.0.0.1", "--cores"]);
        command.arg(first_core()).arg("--store").arg(&store);
        for (other, value) in [("--port", port), ("--namesrv-port", namesrv_port)] {
            if other != flag {
                command.args([other, &value.to_string()]);
            }
        }
        let ended = Process::spawn(command.args([flag, &taken])).until_end();
        assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
        let said = ended.err.lines().last().unwrap_or_default();
        assert!(said.contains(flag), "no {flag} in {said}");
        assert_eq!(said.matches(&taken).count(), 1, "{said}");
        assert!(!store.exists(), "nothing was made");
    }
    fs::write(&store, "a file").expect("written");
    let refused = |words: &[&str]| match Broker::try_start(&store, &Options::small()) {
        Ok(_) => panic!("it started"),
        Err(ended) => {
            let said = ended.err.lines().last().unwrap_or_default().to_owned();
            for word in words {
                assert!(said.contains(word), "no {word} in {said}");
            }
        }
    };
    refused(&["--store", "is a file"]);
    fs::remove_file(&store).expect("there");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &store).expect("made");
    refused(&["leads nowhere"]);
    fs::remove_file(&store).expect("there");
    let broker = Broker::start(&store, &Options::small());
    refused(&["in use", &format!("process {}", broker.pid())]);
    assert!(broker.terminate().success());
}

/// One that this process may use.
fn first_core() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("readable");
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let digits = list
        .expect("it is there")
        .trim()
        .split(|c: char| !c.is_ascii_digit());
    digits.into_iter().next().expect("a core").to_owned()
}

#[test]
fn values_that_cannot_be_are_wrong_usage() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = folder.path().join("nowhere");
    let nowhere = nowhere.to_str().expect("text");
    for words in [
        &["broker", "--cores", "4095"][..],
        &["bench", "flush", "--core", "4095"],
        &["bench", "flush", "--broker-core", "4095"],
        &["bench", "flush", "--duration", "0"],
        &["bench", "flush", "--store", nowhere],
        &["bench", "send", "--size", "0"],
        &["bench", "send", "--core", "4095"],
        &["send", "--topic", "T", "--delay", "19", "x"],
        &["print", "completions", "no-such-shell"],
        &["store", "verify", "--no-such-flag", nowhere],
    ] {
        let output = ringmq(words).output().expect("it ends");
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", err(&output));
        assert!(!Path::new(nowhere).exists());
    }
}

#[test]
fn a_consumer_says_what_it_waits_for() {
    let (_folder, broker) = start();
    let words = [
        "consume",
        "--topic",
        "NoSuchTopic",
        "--group",
        "g",
        "--idle",
        "300ms",
    ];
    let output = run(broker.namesrv, &words, "");
    assert!(output.status.success());
    let expected = "topic NoSuchTopic does not exist yet; waiting";
    assert!(err(&output).contains(expected), "{}", err(&output));
    Client::connect(broker.addr())
        .send(&send_to("T", 0), b"x")
        .ok();
    let words = [
        "consume", "--topic", "T", "--group", "g2", "--sql", "a > 1", "--idle", "300ms",
    ];
    let output = run(broker.namesrv, &words, "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("enablePropertyFilter=true"),
        "{}",
        err(&output)
    );
}

#[test]
fn a_broker_that_is_away_is_one_line() {
    let (folder, broker) = start();
    Client::connect(broker.addr())
        .send(&send_to("T", 0), b"message")
        .ok();
    let namesrv = broker.namesrv.to_string();
    let words = [
        "consume",
        "--topic",
        "T",
        "--group",
        "g",
        "--from",
        "first",
        "--namesrv",
        &namesrv,
    ];
    let mut consumer = Process::spawn(&mut ringmq(words));
    consumer
        .until_line(PATIENCE, |line| line == "message")
        .expect("the message");
    let (ports, addr) = (broker.ports(), broker.addr());
    broker.kill();
    wait_until("the outage is said", || {
        consumer.log().contains("cannot reach")
    });
    let options = Options {
        ports: Some(ports),
        ..Options::small()
    };
    let broker = Broker::start(&folder.path().join("store"), &options);
    wait_until("its end is said", || {
        consumer.log().contains("reachable again")
    });
    consumer.signal("TERM");
    let ended = consumer.until_end();
    assert!(ended.status.success(), "{ended:#?}");
    let lines = ended
        .err
        .lines()
        .filter(|line| line.contains("cannot reach"));
    let of_broker = lines.filter(|line| line.contains(&addr.to_string()));
    assert_eq!(of_broker.count(), 1, "{}", ended.err);
    assert!(!ended.err.contains("MessageQueue"), "{}", ended.err);
    assert!(broker.terminate().success());
}

#[test]
fn a_script_gets_one_line_when_a_broker_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, namesrv_port) = free_ports();
    let mut command = ringmq(["broker", "--json", "--advertise", "127.0.0.1", "--cores"]);
    command
        .arg(first_core())
        .args([
            "--port",
            &port.to_string(),
            "--namesrv-port",
            &namesrv_port.to_string(),
        ])
        .arg("--store")
        .arg(folder.path().join("store"));
    let mut broker = Process::spawn(&mut command);
    let pid = broker.pid();
    let seen = broker.until_line(PATIENCE, |line| {
        let parsed = serde_json::from_str::<Value>(line).is_ok_and(|line| {
            line["event"] == "ready"
                && line["pid"] == pid
                && line["brokers"][0]["address"] == format!("127.0.0.1:{port}")
        });
        assert!(parsed, "{line}");
        parsed
    });
    seen.expect("it is the first line");
    broker.signal("TERM");
    assert!(broker.until_end().status.success());
}

#[test]
fn shells_and_man_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = ringmq(["print", "completions", shell]).output();
        let output = output.expect("it ends");
        assert!(output.status.success());
        let script = String::from_utf8_lossy(&output.stdout);
        assert!(
            script.contains("consume") && script.contains("json-lines"),
            "{shell}"
        );
    }
    let output = ringmq(["man"]).output().expect("it ends");
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(
        page.contains(".TH ringmq 1") && page.contains("RINGMQ_LOG"),
        "{page}"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let output = ringmq(["man", "--dir"])
        .arg(folder.path())
        .output()
        .expect("it ends");
    assert!(output.status.success(), "{}", err(&output));
    for page in [
        "ringmq.1",
        "ringmq-broker.1",
        "ringmq-bench-flush.1",
        "ringmq-store-verify.1",
    ] {
        assert!(folder.path().join(page).is_file(), "{page}");
    }
}
