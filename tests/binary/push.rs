//! Protects metrics that are pushed to an OpenTelemetry collector, or logged: a collector gets what a scrape shows, an outage of it costs one line and
//! loses nothing of what is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, ResourceMetrics, metric, number_data_point,
};

use crate::common::client::send_to;
use crate::common::collector::{Collector, Pushed};
use crate::common::exposition::{Exposition, Sample};
use crate::common::{Broker, Options, Process, SMALL, free_ports, ringmq, wait_until};
use crate::metrics::{scrape, traffic};
use ringmq::metrics::families::{self, Switch};
use ringmq::metrics::{Family, Kind};

/// What comes of each series: of a histogram the counts of its ranges.
type Series = BTreeMap<(String, BTreeMap<String, String>), Vec<f64>>;

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn start(folder: &tempfile::TempDir, config: &str) -> Broker {
    let config = format!("{SMALL}brokerName=b\nmetricsLabel=zone:eu\n{config}");
    let options = Options {
        config: &config,
        ..Options::default()
    };
    Broker::start(&folder.path().join("store"), &options)
}

fn pushing_to(collector: SocketAddr) -> String {
    format!(
        "metricsExporterType=OTLP_GRPC\nmetricsGrpcExporterTarget=http://{collector}\n\
         metricGrpcExporterIntervalInMills=100\nmetricGrpcExporterTimeOutInMills=30000\n"
    )
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let pairs = attributes.iter().map(|attribute| {
        let value = attribute.value.as_ref().and_then(|it| it.value.as_ref());
        let value = match value.expect("a value") {
            any_value::Value::StringValue(text) => text.clone(),
            any_value::Value::BoolValue(truth) => truth.to_string(),
            any_value::Value::IntValue(whole) => whole.to_string(),
            other => panic!("{other:?}"),
        };
        (attribute.key.clone(), value)
    });
    pairs.collect()
}

fn row(metric: &Metric) -> &'static Family {
    let mut all = families::ALL.iter();
    let row = all.find(|family| family.instrument().name == metric.name);
    row.unwrap_or_else(|| panic!("{} is not in the table", metric.name))
}

/// The series of one metric, whose type is that of its row.
fn series_of(scope: &str, metric: &Metric) -> Series {
    let row = row(metric);
    assert_eq!((scope, &*metric.unit), (row.scope(), row.instrument().unit));
    assert_eq!(metric.description, row.help);
    let key = |of: &[KeyValue]| (row.name.to_owned(), attributes(of));
    let numbers = match metric.data.as_ref().expect("points") {
        metric::Data::Gauge(gauge) if row.kind == Kind::Gauge => &gauge.data_points,
        metric::Data::Sum(sum) if row.kind == Kind::Counter => {
            assert!(sum.is_monotonic);
            &sum.data_points
        }
        metric::Data::Histogram(histogram) if row.kind == Kind::Histogram => {
            let points = histogram.data_points.iter().map(|point| {
                assert_eq!(point.explicit_bounds.len(), row.bounds.len());
                assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                let counts = point.bucket_counts.iter().map(|count| *count as f64);
                (key(&point.attributes), counts.collect())
            });
            return points.collect();
        }
        other => panic!("{}: {other:?}", row.name),
    };
    let points = numbers.iter().map(|point| {
        let value = match point.value.expect("a value") {
            number_data_point::Value::AsInt(value) => value as f64,
            number_data_point::Value::AsDouble(value) => {
                assert!(!row.is_of_rocketmq(), "{} is of whole numbers", row.name);
                value
            }
        };
        (key(&point.attributes), vec![value])
    });
    points.collect()
}

/// Of all requests together; the last one counts.
fn series(pushed: &[Pushed]) -> Series {
    let metrics = pushed.iter().flat_map(Pushed::metrics);
    let series = metrics.flat_map(|(scope, metric)| series_of(scope, metric));
    series.collect()
}

/// The same of a scrape.
fn scraped(read: &Exposition) -> Series {
    let mut series = Series::new();
    let is_shown = |sample: &&Sample| sample.family != "target_info";
    for sample in read.samples.iter().filter(is_shown) {
        let mut labels = sample.labels.clone();
        labels.remove("otel_scope_name");
        let bound = labels.remove("le");
        let is_histogram = read.types[&sample.family] == "histogram";
        if is_histogram && bound.is_none() {
            continue;
        }
        let counts = series.entry((sample.family.clone(), labels)).or_default();
        let below: f64 = counts.iter().sum();
        counts.push(sample.value - below);
    }
    series
}

/// Values that do not depend on how fast the machine is.
fn is_the_same_each_time(name: &str) -> bool {
    let row = families::ALL.iter().find(|family| family.name == name);
    let row = row.expect("it is in the table");
    let is_of_traffic = matches!(
        row.switch,
        Switch::Request | Switch::Stats | Switch::Connection
    );
    is_of_traffic || name == "rocketmq_consumer_lag_messages" || name == "ringmq_pulls_total"
}

#[test]
fn a_collector_gets_what_a_scrape_shows() {
    let folders =
        [tempfile::tempdir(), tempfile::tempdir()].map(|folder| folder.expect("a folder"));
    let port = free_ports().0;
    let shown = format!("metricsExporterType=PROM\nmetricsPromExporterPort={port}\n");
    let (scraping, collector) = (start(&folders[0], &shown), Collector::start(local(0)));
    let pushes = format!(
        "{}metricsGrpcExporterHeader=tenant:orders\nmetricsExportBatchMaxDataPoints=40\n",
        pushing_to(collector.addr)
    );
    let pushing = start(&folders[1], &pushes);
    let (_one, _other) = (traffic(&scraping), traffic(&pushing));
    let expected = scraped(&scrape(local(port)));
    let same = |series: &Series| -> Series {
        let same = series.iter();
        let same = same.filter(|((name, _), _)| is_the_same_each_time(name));
        same.map(|(key, values)| (key.clone(), values.clone()))
            .collect()
    };
    let names = |series: &Series| -> BTreeSet<(String, Vec<String>)> {
        let keys = series.keys();
        keys.map(|(name, labels)| (name.clone(), labels.keys().cloned().collect()))
            .collect()
    };
    let of_traffic = same(&expected).len();
    assert!(
        of_traffic >= 20 && names(&expected).len() >= 60,
        "{of_traffic} {:?}",
        names(&expected)
    );
    let mut pushed = Vec::new();
    wait_until("the collector has what a scrape shows", || {
        pushed.extend(collector.take());
        let got = series(&pushed);
        same(&got) == same(&expected) && names(&got).is_superset(&names(&expected))
    });
    for request in &pushed {
        let header = request.headers.get("tenant").expect("the header");
        assert_eq!(header, "orders");
        // Collectors written in Go compress their answers even if this is not there.
        let accepted = request.headers.get("grpc-accept-encoding");
        let accepted = accepted.expect("the header").to_str().expect("text");
        assert!(accepted.contains("gzip"), "{accepted}");
        assert!(request.points() <= 40, "{} points", request.points());
    }
    for broker in [scraping, pushing] {
        assert!(broker.terminate().success());
    }
}

/// What the topic has got, as a sum of what was pushed.
fn messages_in(pushed: &[Pushed]) -> f64 {
    let mut sum = 0.0;
    for (scope, metric) in pushed.iter().flat_map(Pushed::metrics) {
        if let Some(metric::Data::Sum(sum)) = &metric.data {
            assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Delta);
        }
        if metric.name == "rocketmq_messages_in_total" {
            for ((_, labels), values) in series_of(scope, metric) {
                assert_eq!(labels["aggregation"], "delta");
                sum += if labels["topic"] == "Orders" {
                    values[0]
                } else {
                    0.0
                };
            }
        }
    }
    sum
}

#[test]
fn what_is_counted_while_the_collector_is_away_comes_once_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let collector = Collector::start(local(0));
    let addr = collector.addr;
    let broker = start(
        &folder,
        &format!("{}metricsInDelta=true\n", pushing_to(addr)),
    );
    let mut client = traffic(&broker);
    let mut pushed = Vec::new();
    wait_until("the first messages are counted", || {
        pushed.extend(collector.take());
        messages_in(&pushed) == 6.0
    });
    drop(collector);
    // Something that is no collector: each of its connections is a push that fails.
    let listener = TcpListener::bind(addr).expect("the port is free");
    for _ in 0..3 {
        client.send(&send_to("Orders", 0), b"x").ok();
        drop(listener.accept().expect("a push"));
    }
    drop(listener);
    let collector = Collector::start(addr);
    wait_until("the other messages are counted", || {
        pushed.extend(collector.take());
        messages_in(&pushed) == 9.0
    });
    let again = "the collector takes metrics again";
    wait_until("the end of the outage is logged", || {
        broker.log().contains(again)
    });
    let log = broker.log();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(lines("the collector does not take metrics"), 1, "{log}");
    assert_eq!(lines(again), 1, "{log}");
    assert!(broker.terminate().success());
}

/// Of an interval that is longer than the broker lives.
#[test]
fn the_end_of_a_broker_is_a_push() {
    let folder = tempfile::tempdir().expect("a folder");
    let collector = Collector::start(local(0));
    let settings = pushing_to(collector.addr).replace("InMills=100\n", "InMills=86400000\n");
    let broker = start(&folder, &format!("{settings}metricsInDelta=true\n"));
    let client = traffic(&broker);
    assert!(collector.take().is_empty());
    drop(client);
    assert!(broker.terminate().success());
    assert_eq!(messages_in(&collector.take()), 6.0);
}

#[test]
fn a_collector_that_refuses_points_is_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let collector = Collector::refusing(local(0), 3);
    let broker = start(&folder, &pushing_to(collector.addr));
    let mut requests = 0;
    wait_until("some pushes", || {
        requests += collector.take().len();
        requests >= 5
    });
    let refused = "the collector has not taken all metrics: 3 points: too old";
    let log = broker.log_with(refused);
    let lines = log.lines().filter(|line| line.contains(refused));
    assert_eq!(lines.count(), 1, "{log}");
    assert!(broker.terminate().success());
}

/// Each line is one metric, in the protocol's JSON.
#[test]
fn a_log_has_a_line_for_each_metric() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "metricsExporterType=LOG\nmetricLoggingExporterIntervalInMills=100\n";
    let broker = start(&folder, config);
    let _client = traffic(&broker);
    let mut series = Series::new();
    wait_until("the messages are logged", || {
        let log = broker.log();
        let lines = log.lines().filter(|line| line.contains("INFO metrics: {"));
        for line in lines {
            let (_, json) = line.split_once("metrics: ").expect("a message");
            let logged: ResourceMetrics = serde_json::from_str(json).expect("it is JSON");
            let [scope] = &logged.scope_metrics[..] else {
                panic!("{json}")
            };
            let [metric] = &scope.metrics[..] else {
                panic!("{json}")
            };
            series.extend(series_of(
                &scope.scope.as_ref().expect("a scope").name,
                metric,
            ));
        }
        let mut sent = series.iter().filter(|((name, labels), _)| {
            name == "rocketmq_messages_in_total" && labels["message_type"] == "normal"
        });
        sent.any(|(_, values)| values[0] == 5.0)
    });
    let names: BTreeSet<_> = series.keys().map(|(name, _)| &**name).collect();
    for name in [
        "ringmq_shard_state",
        "rocketmq_rpc_latency_milliseconds",
        "ringmq_info",
    ] {
        assert!(names.contains(name), "{name}");
    }
    assert!(broker.terminate().success());
}

#[test]
fn a_controller_pushes_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (collector, address) = (Collector::start(local(0)), local(free_ports().0));
    let config = folder.path().join("controller.conf");
    let text = format!(
        "controllerDLegerPeers=n0-{address}\ncontrollerStorePath={}\nbindAddress=127.0.0.1\nmetricsLabel=zone:eu\n{}",
        folder.path().join("store").display(),
        pushing_to(collector.addr)
    );
    std::fs::write(&config, text).expect("it can be written");
    let mut command = ringmq(["controller", "-c"]);
    let started = Process::spawn(command.arg(&config)).until_ready();
    let (mut controller, _) = started.expect("it serves");
    wait_until("it leads", || {
        let pushed = series(&collector.take());
        let mut roles = pushed.iter().filter(|((name, labels), _)| {
            name == "role" && labels["peer_id"] == "n0" && labels["zone"] == "eu"
        });
        roles.any(|(_, values)| values[..] == [3.0])
    });
    controller.signal("TERM");
    assert!(controller.until_end().status.success());
}
