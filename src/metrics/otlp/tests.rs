//! Protects what a collector gets: the same values as a scrape, and what a sum says since when.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, HistogramDataPoint, Metric, NumberDataPoint, metric,
};

use super::super::families::*;
use super::super::samples::samples;
use super::super::text::{NodeLabels, histogram, sample};
use super::super::{Histogram, Number};
use super::names::{Instrument, SCOPE_LABEL, Values, values_of};
use super::{Batch, Points};

fn node() -> NodeLabels {
    NodeLabels::new("c", "b", "broker", &[])
}

fn counter(value: u64) -> String {
    let mut text = String::new();
    let labels = [("topic", "T"), ("is_system", "false")];
    sample(&MESSAGES_IN, &node(), &labels, value, &mut text);
    text
}

/// What of the text goes to a collector.
fn metrics(points: &mut Points, family: &Family, text: &str) -> Vec<Metric> {
    let mut batch = Batch::new(points.is_delta());
    for sample in samples(family, text) {
        if let Some(point) = points.point(family, sample) {
            batch.add(family, point);
        }
    }
    let scopes = batch.take().scope_metrics.into_iter();
    scopes.flat_map(|scope| scope.metrics).collect()
}

fn sum(metric: &Metric) -> (AggregationTemporality, &NumberDataPoint) {
    let Some(metric::Data::Sum(sum)) = &metric.data else {
        panic!("{metric:?}");
    };
    assert!(sum.is_monotonic && sum.data_points.len() == 1);
    (sum.aggregation_temporality(), &sum.data_points[0])
}

#[test]
fn names_in_the_protocol_are_there_once() {
    let names: BTreeSet<_> = ALL.iter().map(|family| family.instrument().name).collect();
    assert_eq!(names.len(), ALL.len());
    let of = |family: &Family| {
        (
            family.instrument().name,
            family.instrument().unit,
            family.scope(),
        )
    };
    assert_eq!(
        of(&LAG_LATENCY),
        (
            "rocketmq_consumer_lag_latency",
            "milliseconds",
            "broker-meter"
        )
    );
    assert_eq!(
        of(&MESSAGES_IN),
        ("rocketmq_messages_in_total", "", "broker-meter")
    );
    assert_eq!(
        of(&LOG_WRITE_BYTES),
        ("ringmq_log_write_bytes", "bytes", "ringmq")
    );
    assert_eq!(of(&CONTROLLER_REQUEST_TIME).0, "request_latency");
}

/// As in the recorded list, without the marks of attributes that some points lack.
fn line(family: &Family) -> String {
    let Instrument { name, unit } = family.instrument();
    let unit = if unit.is_empty() { "-" } else { unit };
    let kind = match family.kind {
        Kind::Gauge => "gauge/int",
        Kind::Counter => "sum/cumulative/int",
        Kind::Histogram => "histogram/cumulative",
    };
    let fixed = family.fixed.iter().map(|(name, _)| *name);
    let labels = fixed.chain(family.labels.iter().copied());
    let labels = labels.filter(|name| *name != SCOPE_LABEL);
    let mut labels: Vec<_> = labels
        .map(|name| match values_of(name) {
            Values::Text => name.to_owned(),
            Values::Truth => format!("{name}:bool"),
            Values::Whole => format!("{name}:int"),
        })
        .collect();
    labels.sort_unstable();
    let mut line = format!(
        "{} {name} {unit} {kind} {{{}}}",
        family.scope(),
        labels.join(",")
    );
    for bound in family.bounds {
        line.push_str(&format!(" {bound}"));
    }
    line
}

/// RocketMQ has the least and the largest value of a histogram, which are not counted here.
#[test]
fn a_collector_gets_every_metric_of_rocketmq_as_it_is() {
    let recorded = include_str!("../../../tests/golden/metrics_otlp.txt");
    let recorded = recorded.lines().map(|line| line.replace('?', ""));
    let recorded = recorded.map(|line| line.replace("/min,max", ""));
    let is_missing = |line: &String| {
        let mut missing = super::super::golden_tests::MISSING.iter();
        let (_, rest) = line.split_once(' ').expect("a name behind the scope");
        missing.any(|name| name.starts_with(rest.split_once(' ').expect("a unit").0))
    };
    let mut recorded: Vec<_> = recorded.filter(|line| !is_missing(line)).collect();
    let ours = ALL.iter().filter(|family| family.is_of_rocketmq());
    let mut ours: Vec<_> = ours.map(line).collect();
    recorded.sort_unstable();
    ours.sort_unstable();
    assert_eq!(ours, recorded);
}

#[test]
fn a_sum_counts_from_the_start_of_its_shard() {
    let mut points = Points::new(false, 5);
    points.begin(7);
    let mut started = String::new();
    sample(&START_TIME, &node(), &[], 2.5, &mut started);
    points.learn_starts(&started);
    let sent = metrics(&mut points, &MESSAGES_IN, &counter(9));
    let (temporality, point) = sum(&sent[0]);
    assert_eq!(temporality, AggregationTemporality::Cumulative);
    let times = (point.start_time_unix_nano, point.time_unix_nano);
    assert_eq!(times, (2_500_000_000, 7));
    let attributes: Vec<_> = point.attributes.iter().map(|it| &*it.key).collect();
    assert_eq!(
        attributes,
        ["cluster", "node_id", "node_type", "topic", "is_system"]
    );
    let mut missed = String::new();
    sample(&SCRAPE_MISSED, &node(), &[], 1_u64, &mut missed);
    let sent = metrics(&mut points, &SCRAPE_MISSED, &missed);
    assert_eq!(
        sum(&sent[0]).1.start_time_unix_nano,
        5,
        "it is the process's"
    );
}

#[test]
fn a_delta_has_what_was_added_and_since_when() {
    let mut points = Points::new(true, 5);
    for (now_ns, value, expected) in [
        (10, 9, Some((5, 9))),
        (20, 9, None),
        (30, 12, Some((10, 3))),
    ] {
        points.begin(now_ns);
        let sent = metrics(&mut points, &MESSAGES_IN, &counter(value));
        points.taken();
        points.end();
        let sent = sent.first().map(|metric| {
            let (temporality, point) = sum(metric);
            assert_eq!(temporality, AggregationTemporality::Delta);
            let Some(value) = &point.value else { panic!() };
            (point.start_time_unix_nano, format!("{value:?}"))
        });
        let expected = expected.map(|(start, value)| (start, format!("AsInt({value})")));
        assert_eq!(sent, expected);
    }
}

#[test]
fn a_histogram_has_the_bounds_of_its_unit() {
    let mut waits = Histogram::of(&COMMIT_SECONDS);
    waits.record(60);
    waits.record(20_000_000);
    let mut text = String::new();
    histogram(&COMMIT_SECONDS, &node(), &[], &waits, &mut text);
    let mut points = Points::new(false, 5);
    let sent = metrics(&mut points, &COMMIT_SECONDS, &text);
    let Some(metric::Data::Histogram(histogram)) = &sent[0].data else {
        panic!("{sent:?}");
    };
    let HistogramDataPoint {
        explicit_bounds,
        bucket_counts,
        count,
        sum,
        ..
    } = &histogram.data_points[0];
    assert_eq!(explicit_bounds[..2], [0.00005, 0.0001]);
    assert_eq!(bucket_counts.len(), explicit_bounds.len() + 1);
    assert_eq!((bucket_counts[1], bucket_counts.last()), (1, Some(&1)));
    assert_eq!((*count, *sum), (2, Some(20.00006)));
}

#[test]
fn a_gauge_is_as_it_is_in_deltas_too() {
    let mut points = Points::new(true, 5);
    for _ in 0..2 {
        points.begin(6);
        let mut text = String::new();
        sample(&TOPIC_NUMBER, &node(), &[], Number::Whole(3), &mut text);
        let sent = metrics(&mut points, &TOPIC_NUMBER, &text);
        points.taken();
        points.end();
        assert!(
            matches!(&sent[0].data, Some(metric::Data::Gauge(gauge)) if gauge.data_points.len() == 1)
        );
    }
}
