//! Protects the metrics: what Prometheus scrapes of the built broker is well formed and says what has happened, under RocketMQ's names.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use flate2::read::GzDecoder;

use crate::common::client::{Client, properties, pull_from, send_to};
use crate::common::exposition::Exposition;
use crate::common::{Broker, Options, PATIENCE, Process, SMALL, free_ports, ringmq, wait_until};
use ringmq::metrics::families;
use ringmq::wire::Value;
use ringmq::wire::codes::{request, response};

/// Status, head and body of an answer.
fn ask(addr: SocketAddr, method: &str, path: &str, fields: &str) -> Option<(u16, String, Vec<u8>)> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: b\r\n{fields}\r\n"
    )
    .ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = String::from_utf8(answer[..end].to_vec()).ok()?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, head.to_ascii_lowercase(), answer.split_off(end + 4)))
}

pub fn scrape(addr: SocketAddr) -> Exposition {
    let (code, head, body) = ask(addr, "GET", "/metrics", "").expect("an answer");
    assert_eq!(code, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"));
    Exposition::read(&String::from_utf8(body).expect("it is UTF-8"))
}

/// A broker that exports its metrics, and where.
fn start(folder: &tempfile::TempDir, cores: &str) -> (Broker, SocketAddr) {
    let metrics = SocketAddr::from(([127, 0, 0, 1], free_ports().0));
    let config = format!(
        "{SMALL}metricsExporterType=PROM\nmetricsPromExporterPort={}\nmetricsLabel=zone:eu\nbrokerName=b\n",
        metrics.port()
    );
    let options = Options {
        config: &config,
        cores,
        ..Options::default()
    };
    (
        Broker::start(&folder.path().join("store"), &options),
        metrics,
    )
}

/// Messages of several kinds, and a consumer that reads them.
pub fn traffic(broker: &Broker) -> Client {
    let mut client = Client::connect(broker.addr());
    for number in 0..5 {
        client.send(&send_to("Orders", 0), &[number; 2_000]).ok();
    }
    let ordered = properties(&[("__SHARDINGKEY", "7")]);
    let mut in_order = send_to("Orders", 1);
    in_order.properties = Some(&ordered);
    client.send(&in_order, b"x").ok();
    client.heartbeat("c", "Shop", &["Orders"]).ok();
    client.pull(&pull_from("Orders", 0, 0)).ok();
    client
}

#[test]
fn a_scrape_says_what_was_sent_and_consumed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (broker, metrics) = start(&folder, "0,0");
    let _client = traffic(&broker);

    let read = scrape(metrics);
    let b0 = ("node_id", "b-0");
    let sent = |kind| {
        read.value(
            "rocketmq_messages_in_total",
            &[b0, ("topic", "Orders"), ("message_type", kind)],
        )
    };
    assert_eq!((sent("normal"), sent("fifo")), (5.0, 1.0));
    let small = [
        b0,
        ("topic", "Orders"),
        ("message_type", "normal"),
        ("le", "1024.0"),
    ];
    assert_eq!(read.value("rocketmq_message_size_bucket", &small), 0.0);
    let answered = [
        b0,
        ("request_code", "send_message_v2"),
        ("response_code", "success"),
        ("result", "success"),
        ("is_long_polling", "false"),
    ];
    assert_eq!(
        read.value("rocketmq_rpc_latency_milliseconds_count", &answered),
        6.0
    );
    assert_eq!(read.value("ringmq_send_seconds_count", &[b0]), 6.0);
    assert!(read.value("ringmq_log_write_bytes_sum", &[b0]) >= 10_000.0);
    let states = read.find(
        "ringmq_shard_state",
        &[("state", "serving"), ("zone", "eu")],
    );
    assert_eq!(states.len(), 2, "of both shards");
    assert_eq!(
        read.find("rocketmq_topic_number", &[("cluster", "DefaultCluster")])
            .len(),
        2
    );
    let routes = [
        ("request_code", "register_broker"),
        ("response_code", "success"),
    ];
    assert!(read.value("ringmq_namesrv_request_seconds_count", &routes) >= 2.0);
    assert_eq!(read.value("ringmq_namesrv_brokers", &[]), 2.0);
    assert!(broker.terminate().success());
}

/// Of a shard that has taken a message and answered.
fn check_tasks_and_limits(read: &Exposition) {
    let shard = ("node_id", "b");
    for task in ["connection-read", "connection-write", "group-commit"] {
        let polls = read.value("ringmq_task_polls_total", &[shard, ("task", task)]);
        let seconds = read.value("ringmq_task_seconds_total", &[shard, ("task", task)]);
        assert!(polls >= 1.0 && seconds > 0.0, "{task}");
    }
    for used in read.find("ringmq_limit_used", &[shard]) {
        let bound = read.value(
            "ringmq_limit_bound",
            &[shard, ("limit", &used.labels["limit"])],
        );
        assert!(used.value <= bound, "{used:?}");
    }
    assert_eq!(read.find("ringmq_limit_used", &[shard]).len(), 17);
}

/// A group that is away is the one to be warned of.
#[test]
fn the_lag_of_a_group_stays_when_its_consumers_are_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (broker, metrics) = start(&folder, "0");
    let mut client = Client::connect(broker.addr());
    for _ in 0..9 {
        client.send(&send_to("Orders", 0), b"x").ok();
    }
    client.heartbeat("c", "Shop", &["Orders"]).ok();
    let commit = [
        ("consumerGroup", Value::Str("Shop")),
        ("topic", Value::Str("Orders")),
        ("queueId", Value::I64(0)),
        ("commitOffset", Value::I64(4)),
    ];
    client
        .ask(request::UPDATE_CONSUMER_OFFSET, &commit, b"")
        .with_code(response::SUCCESS);
    let labels = [
        ("consumer_group", "Shop"),
        ("topic", "Orders"),
        ("is_retry", "false"),
    ];
    let lag = || scrape(metrics).value("rocketmq_consumer_lag_messages", &labels);
    assert_eq!(lag(), 5.0);
    drop(client);
    wait_until("the consumer is gone", || {
        let consumers = scrape(metrics);
        consumers
            .find(
                "rocketmq_consumer_connections",
                &[("consumer_group", "Shop")],
            )
            .is_empty()
    });
    assert_eq!(lag(), 5.0);
    assert!(scrape(metrics).value("rocketmq_consumer_lag_latency_milliseconds", &labels) > 0.0);
    assert!(broker.terminate().success());
}

#[test]
fn the_endpoint_answers_as_rocketmqs_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let (broker, metrics) = start(&folder, "0");
    Client::connect(broker.addr())
        .send(&send_to("T", 0), b"x")
        .ok();
    let (code, _, body) = ask(metrics, "HEAD", "/metrics", "").expect("an answer");
    assert_eq!((code, body.len()), (200, 0));
    let healthy = ask(metrics, "GET", "/-/healthy", "").expect("an answer");
    assert_eq!(
        (healthy.0, &*healthy.2),
        (200, &b"Exporter is healthy.\n"[..])
    );
    assert_eq!(
        ask(metrics, "GET", "/other", "").map(|answer| answer.0),
        Some(404)
    );
    assert_eq!(
        ask(metrics, "POST", "/metrics", "").map(|answer| answer.0),
        Some(405)
    );

    let (_, head, packed) =
        ask(metrics, "GET", "/metrics", "Accept-Encoding: gzip\r\n").expect("an answer");
    assert!(head.contains("content-encoding: gzip"));
    let mut text = String::new();
    GzDecoder::new(&packed[..])
        .read_to_string(&mut text)
        .expect("gzip");
    assert!(
        !Exposition::read(&text)
            .find("rocketmq_messages_in_total", &[("topic", "T")])
            .is_empty()
    );

    let path = "/metrics?name[]=rocketmq_messages_in_total&name%5B%5D=rocketmq_message_size_bucket";
    let (_, _, some) = ask(metrics, "GET", path, "").expect("an answer");
    let some = Exposition::read(&String::from_utf8(some).expect("it is UTF-8"));
    let names: Vec<_> = some.types.keys().collect();
    assert_eq!(
        names,
        ["rocketmq_message_size", "rocketmq_messages_in_total"]
    );
    assert!(broker.terminate().success());
}

/// The labels that samples have are those of the table, from which the manual, the dashboard and the alerts are checked.
#[test]
fn every_sample_is_in_the_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let (broker, metrics) = start(&folder, "0");
    let mut client = Client::connect(broker.addr());
    client.send(&send_to("T", 0), b"x").ok();
    client.heartbeat("c", "g", &["T"]).ok();
    client.pull(&pull_from("T", 0, 0)).ok();
    let read = scrape(metrics);
    let common = ["cluster", "node_id", "node_type", "zone", "le"];
    for sample in &read.samples {
        if sample.family == "target_info" {
            continue;
        }
        let row = families::ALL
            .iter()
            .find(|family| family.name == sample.family);
        let row = row.unwrap_or_else(|| panic!("{} is not in the table", sample.family));
        for label in sample.labels.keys().map(String::as_str) {
            let is_fixed = row.fixed.iter().any(|(fixed, _)| *fixed == label);
            assert!(
                row.labels.contains(&label) || is_fixed || common.contains(&label),
                "{sample:?}"
            );
        }
    }
    check_tasks_and_limits(&read);
    // Figures of a shard that are there without replicas, lost messages or a topic made by an administrator.
    let sometimes = ["replica", "epoch", "master", "_create_", "message_reserve"];
    for family in families::Section::Shard.families() {
        let is_sometimes = sometimes.iter().any(|part| family.name.contains(part));
        assert!(
            is_sometimes || read.types.contains_key(family.name),
            "{} is missing",
            family.name
        );
    }
    assert!(broker.terminate().success());
}

#[test]
fn nothing_is_exported_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let metrics = SocketAddr::from(([127, 0, 0, 1], free_ports().0));
    let config = format!("{SMALL}metricsPromExporterPort={}\n", metrics.port());
    let options = Options {
        config: &config,
        ..Options::default()
    };
    let broker = Broker::start(&folder.path().join("store"), &options);
    assert!(ask(metrics, "GET", "/metrics", "").is_none());
    assert!(broker.terminate().success());
}

#[test]
fn a_name_server_alone_has_its_own_few() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports();
    let words = [
        "namesrv",
        "--port",
        &ports.1.to_string(),
        "--bind",
        "127.0.0.1",
        "--metrics-port",
        &ports.0.to_string(),
    ];
    let started = Process::spawn(ringmq(words).env("HOME", folder.path())).until_ready();
    let (mut names, _) = started.expect("it starts");
    let mut client = Client::connect(SocketAddr::from(([127, 0, 0, 1], ports.1)));
    assert!(client.route("TBW102").is_none());
    let read = scrape(SocketAddr::from(([127, 0, 0, 1], ports.0)));
    let asked = [
        ("node_type", "nameserver"),
        ("request_code", "get_routeinfo_by_topic"),
        ("response_code", "topic_not_exist"),
    ];
    assert_eq!(
        read.value("ringmq_namesrv_request_seconds_count", &asked),
        1.0
    );
    assert_eq!(read.value("ringmq_namesrv_connections", &[]), 1.0);
    assert_eq!(read.value("ringmq_namesrv_brokers", &[]), 0.0);
    names.signal("TERM");
    assert!(names.until_end().status.success());
}

/// RocketMQ's controller has the same names; what they are called after its engine is kept.
#[test]
fn a_controller_shows_its_role_its_requests_and_its_brokers() {
    let folder = tempfile::tempdir().expect("a folder");
    let (metrics, address) = (local(free_ports().0), local(free_ports().0));
    let mut controller = start_controller(folder.path(), address, metrics);
    let own = [("peer_id", "n0"), ("group", "group1"), ("zone", "eu")];
    let leader = || scrape(metrics).value("role", &own) == 3.0;
    wait_until("it leads", leader);
    let broker = [
        ("clusterName", Value::Str("c")),
        ("brokerName", Value::Str("broker-a")),
        ("appliedBrokerId", Value::I64(1)),
        ("registerCheckCode", Value::Str("127.0.0.1:1;1")),
    ];
    let mut client = Client::connect(address);
    let applied = || {
        let applied = client.ask(request::CONTROLLER_APPLY_BROKER_ID, &broker, b"");
        applied.code == response::SUCCESS
    };
    wait_until("it has begun to lead", applied);

    let read = scrape(metrics);
    let asked = [
        ("request_type", "CONTROLLER_APPLY_BROKER_ID"),
        ("request_handle_status", "success"),
    ];
    assert_eq!(read.value("request_total", &asked), 1.0);
    let took = read.value("request_latency_microseconds_count", &asked[..1]);
    assert!(took >= 1.0);
    let agreed = [
        ("dledger_operation", "append"),
        ("dLedger_operation_status", "success"),
    ];
    assert_eq!(read.value("dledger_op_total", &agreed), 1.0);
    let group = [("cluster", "c"), ("broker_set", "broker-a")];
    assert_eq!(
        read.value("active_broker_num", &group),
        1.0,
        "it has the time to send its first heartbeat"
    );
    assert!(read.value("ringmq_controller_term", &own) >= 1.0);
    assert!(read.value("ringmq_controller_last_applied", &own) >= 2.0);
    assert!(read.value("dledger_disk_usage_bytes", &own) > 0.0);
    for family in families::Section::Controller.families() {
        let is_there = read.types.contains_key(family.name);
        assert!(
            is_there || family.name == "election_total",
            "{}",
            family.name
        );
    }
    controller.signal("TERM");
    assert!(controller.until_end().status.success());
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Alone, with its metrics exported as RocketMQ's settings say.
fn start_controller(folder: &Path, address: SocketAddr, metrics: SocketAddr) -> Process {
    let config = folder.join("controller.conf");
    let text = format!(
        "controllerDLegerPeers=n0-{address}\ncontrollerStorePath={}\nbindAddress=127.0.0.1\nmetricsExporterType=PROM\n\
         metricsPromExporterHost=127.0.0.1\nmetricsPromExporterPort={}\nmetricsLabel=zone:eu\n",
        folder.join("store").display(),
        metrics.port()
    );
    std::fs::write(&config, text).expect("it can be written");
    let mut command = ringmq(["controller", "-c"]);
    let started = Process::spawn(command.arg(&config)).until_ready();
    started.expect("it serves").0
}
