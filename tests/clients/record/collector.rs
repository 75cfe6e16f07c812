//! What a broker pushes to a collector, without its values: tests/golden/metrics_otlp.txt.
//!
//! ```text
//! cargo run --example collector -- 127.0.0.1:4317 > tests/golden/metrics_otlp.txt     # until its standard input ends
//! ```
//!
//! The broker is one of tests/clients/real-broker/real-broker.sh with `metricsExporterType=OTLP_GRPC`, behind ClientCheck's scenarios and mqadmin updateSubGroup.
//! A line for each metric: scope, name, unit, kind, attributes besides cluster, node_id and node_type with their types (with ? if some points lack it), and
//! the bounds of a histogram.

#[path = "../../common/collector.rs"]
#[allow(dead_code)] // Tests use the rest.
mod collector;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use collector::Collector;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, NumberDataPoint, metric, number_data_point,
};

/// Of the points of one metric.
#[derive(Default)]
struct Shape {
    kinds: BTreeSet<String>,
    attributes: Vec<BTreeSet<String>>,
    bounds: BTreeSet<String>,
}

fn main() {
    let addr = std::env::args().nth(1).expect("HOST:PORT");
    let collector = Collector::start(addr.parse().expect("an address"));
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).expect("an end");
    let mut shapes = BTreeMap::<String, Shape>::new();
    let (mut requests, mut most) = (0, 0);
    for pushed in collector.take() {
        (requests, most) = (requests + 1, most.max(pushed.points()));
        for resource in &pushed.request.resource_metrics {
            let resource = resource.resource.as_ref();
            assert!(
                resource.is_none_or(|it| it.attributes.is_empty()),
                "{resource:?}"
            );
        }
        for (scope, metric) in pushed.metrics() {
            let unit = if metric.unit.is_empty() {
                "-"
            } else {
                &metric.unit
            };
            let name = format!("{scope} {} {unit}", metric.name);
            shapes.entry(name).or_default().add(metric);
        }
        if requests == 1 {
            eprintln!("headers of the first request: {:?}", pushed.headers);
        }
    }
    eprintln!("{requests} requests, at most {most} points in one");
    for (name, shape) in shapes {
        let kinds: Vec<_> = shape.kinds.iter().cloned().collect();
        let bounds: Vec<_> = shape.bounds.iter().cloned().collect();
        let line = format!(
            "{name} {} {{{}}} {}",
            kinds.join("|"),
            shape.labels(),
            bounds.join("|")
        );
        println!("{}", line.trim_end());
    }
}

impl Shape {
    fn add(&mut self, metric: &Metric) {
        match metric.data.as_ref().expect("points") {
            metric::Data::Gauge(gauge) => self.numbers("gauge", &gauge.data_points),
            metric::Data::Sum(sum) => {
                assert!(sum.is_monotonic, "{}", metric.name);
                let temporality = temporality(sum.aggregation_temporality());
                self.numbers(&format!("sum/{temporality}"), &sum.data_points);
            }
            metric::Data::Histogram(histogram) => {
                let temporality = temporality(histogram.aggregation_temporality());
                for point in &histogram.data_points {
                    let extremes = point.min.map_or("", |_| "/min,max");
                    self.kinds
                        .insert(format!("histogram/{temporality}{extremes}"));
                    self.attributes.push(attributes(&point.attributes));
                    let bounds = point.explicit_bounds.iter().map(f64::to_string);
                    self.bounds.insert(bounds.collect::<Vec<_>>().join(" "));
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn numbers(&mut self, kind: &str, points: &[NumberDataPoint]) {
        for point in points {
            let number = match point.value.expect("a value") {
                number_data_point::Value::AsInt(_) => "int",
                number_data_point::Value::AsDouble(_) => "double",
            };
            self.kinds.insert(format!("{kind}/{number}"));
            self.attributes.push(attributes(&point.attributes));
        }
    }

    fn labels(&self) -> String {
        let all: BTreeSet<_> = self.attributes.iter().flatten().collect();
        let labels = all.into_iter().map(|label| {
            let is_always = self
                .attributes
                .iter()
                .all(|of_point| of_point.contains(label));
            format!("{label}{}", if is_always { "" } else { "?" })
        });
        labels.collect::<Vec<_>>().join(",")
    }
}

fn temporality(temporality: AggregationTemporality) -> &'static str {
    match temporality {
        AggregationTemporality::Cumulative => "cumulative",
        AggregationTemporality::Delta => "delta",
        AggregationTemporality::Unspecified => "unspecified",
    }
}

fn attributes(attributes: &[KeyValue]) -> BTreeSet<String> {
    let common = ["cluster", "node_id", "node_type"];
    let own = attributes.iter().filter(|it| !common.contains(&&*it.key));
    own.map(|attribute| {
        let value = attribute.value.as_ref().and_then(|it| it.value.as_ref());
        let kind = match value.expect("a value") {
            any_value::Value::StringValue(_) => "",
            any_value::Value::BoolValue(_) => ":bool",
            any_value::Value::IntValue(_) => ":int",
            other => panic!("{other:?}"),
        };
        format!("{}{kind}", attribute.key)
    })
    .collect()
}
