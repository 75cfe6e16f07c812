//! One sample as a point.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    HistogramDataPoint, NumberDataPoint, number_data_point,
};

use super::super::families::{Family, Kind, START_TIME, Section};
use super::super::samples::{Labels, Reading, Sample, samples};
use super::super::text::{Number, bound_in_unit};
use super::deltas::{Added, Deltas};
use super::names::{self, Values};

/// As a collector gets it.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    Number(NumberDataPoint),
    Histogram(HistogramDataPoint),
}

/// Makes points of samples, push after push.
#[derive(Debug)]
pub struct Points {
    /// Of counters and histograms: there if points are what was added.
    deltas: Option<Deltas>,
    /// When the counters of the process began.
    start_ns: u64,
    /// When those of a shard began, by `node_id`.
    shard_starts_ns: BTreeMap<String, u64>,
    now_ns: u64,
}

impl Points {
    /// Times are nanoseconds since 1970.
    pub fn new(in_delta: bool, start_ns: u64) -> Self {
        Self {
            deltas: in_delta.then(Deltas::default),
            start_ns,
            shard_starts_ns: BTreeMap::new(),
            now_ns: start_ns,
        }
    }

    pub fn is_delta(&self) -> bool {
        self.deltas.is_some()
    }

    /// Begins a push.
    pub fn begin(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        if let Some(deltas) = &mut self.deltas {
            deltas.begin(now_ns);
        }
    }

    /// The collector has taken all points so far.
    pub fn taken(&mut self) {
        if let Some(deltas) = &mut self.deltas {
            deltas.taken();
        }
    }

    /// Ends a push that had the samples of all shards.
    pub fn end(&mut self) {
        if let Some(deltas) = &mut self.deltas {
            deltas.end();
        }
    }

    /// Reads when the shards' counters began, from the samples of [`START_TIME`]: with a new role they begin anew.
    pub fn learn_starts(&mut self, text: &str) {
        for sample in samples(&START_TIME, text) {
            let Reading::Number(seconds) = sample.reading else {
                continue;
            };
            if let Some(node) = node_id(sample.labels) {
                let start_ns = (seconds.real() * 1e9) as u64;
                self.shard_starts_ns.insert(node, start_ns);
            }
        }
    }

    /// `None`: nothing was added since the last one.
    pub fn point(&mut self, family: &Family, sample: Sample<'_>) -> Option<Point> {
        let Sample { labels, reading } = sample;
        if family.kind == Kind::Gauge {
            return Some(self.show(family, labels, reading, 0));
        }
        let start_ns = self.began_ns(family, labels);
        let Some(deltas) = &mut self.deltas else {
            return Some(self.show(family, labels, reading, start_ns));
        };
        let Added { reading, since_ns } = deltas.added(family, labels, reading)?;
        Some(self.show(family, labels, reading, since_ns.unwrap_or(start_ns)))
    }

    fn began_ns(&self, family: &Family, labels: Labels<'_>) -> u64 {
        let of_process = [Section::Process, Section::NameServer, Section::Controller];
        if of_process.contains(&family.section) {
            return self.start_ns;
        }
        let node = node_id(labels);
        let start_ns = node.and_then(|node| self.shard_starts_ns.get(&node));
        start_ns.copied().unwrap_or(self.start_ns)
    }

    fn show(&self, family: &Family, labels: Labels<'_>, reading: Reading, start_ns: u64) -> Point {
        let attributes = attributes(labels);
        match reading {
            Reading::Number(value) => Point::Number(NumberDataPoint {
                attributes,
                start_time_unix_nano: start_ns,
                time_unix_nano: self.now_ns,
                value: Some(match value {
                    Number::Whole(value) => number_data_point::Value::AsInt(value as i64),
                    Number::Real(value) => number_data_point::Value::AsDouble(value),
                }),
                ..NumberDataPoint::default()
            }),
            Reading::Histogram { counts, sum } => {
                let bounds = family.bounds.iter();
                Point::Histogram(HistogramDataPoint {
                    attributes,
                    start_time_unix_nano: start_ns,
                    time_unix_nano: self.now_ns,
                    count: counts.iter().sum(),
                    sum: Some(sum.real()),
                    explicit_bounds: bounds
                        .map(|bound| bound_in_unit(family.unit, *bound))
                        .collect(),
                    bucket_counts: counts,
                    ..HistogramDataPoint::default()
                })
            }
        }
    }
}

fn node_id(labels: Labels<'_>) -> Option<String> {
    let mut pairs = labels.pairs();
    let node = pairs.find(|(name, _)| *name == "node_id");
    node.map(|(_, value)| value.into_owned())
}

fn attributes(labels: Labels<'_>) -> Vec<KeyValue> {
    // The scope stands over all points of its metrics.
    let pairs = labels
        .pairs()
        .filter(|(name, _)| *name != names::SCOPE_LABEL);
    let attributes = pairs.map(|(name, value)| {
        let value = match names::values_of(name) {
            Values::Text => any_value::Value::StringValue(value.into_owned()),
            Values::Truth => any_value::Value::BoolValue(&*value == "true"),
            Values::Whole => any_value::Value::IntValue(value.parse().expect("a whole number")),
        };
        KeyValue {
            key: name.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        }
    });
    attributes.collect()
}
