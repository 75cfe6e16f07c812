//! Prometheus' text format, version 0.0.4.
//!
//! ```text
//! # HELP rocketmq_messages_in_total Total number of incoming messages
//! # TYPE rocketmq_messages_in_total counter
//! rocketmq_messages_in_total{cluster="c",node_id="b",node_type="broker",otel_scope_name="broker-meter",topic="T",...} 7
//! ```

use std::fmt::Write;

use super::families::{Family, Kind, Unit};
use super::histogram::Histogram;

/// What the answer of the endpoint is (`Content-Type`).
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// RocketMQ's exporter writes it in front of all.
pub const TARGET_INFO: &str =
    "# HELP target_info Target metadata\n# TYPE target_info gauge\ntarget_info 1\n";

/// The labels that every sample of a node has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLabels {
    text: String,
}

impl NodeLabels {
    /// `extra` are those of `metricsLabel`.
    pub fn new(cluster: &str, node_id: &str, node_type: &str, extra: &[(String, String)]) -> Self {
        let own = [
            ("cluster", cluster),
            ("node_id", node_id),
            ("node_type", node_type),
        ];
        Self::of(&own, extra)
    }

    /// The node's `own`, and extra ones.
    pub fn of(own: &[(&str, &str)], extra: &[(String, String)]) -> Self {
        let mut text = String::new();
        let extra = extra.iter().map(|(name, value)| (&**name, &**value));
        // As in RocketMQ: a label of the broker's own is stronger than an extra one.
        let extra = extra.filter(|(name, _)| own.iter().all(|(own, _)| own != name));
        for (name, value) in own.iter().copied().chain(extra) {
            push_label(&mut text, name, value);
        }
        Self { text }
    }
}

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Whole(u64),
    Real(f64),
}

impl Number {
    pub fn real(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Real(value) => value,
        }
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<bool> for Number {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

/// The text of a family among those of its section.
pub fn text_of<'a>(texts: &'a mut [(&'static Family, String)], family: &Family) -> &'a mut String {
    let mut texts = texts.iter_mut();
    let found = texts.find(|(of, _)| of.name == family.name);
    let (_, text) = found.unwrap_or_else(|| panic!("{} is of another section", family.name));
    text
}

/// What a label says of something that is or is not so.
pub fn truth(value: bool) -> &'static str {
    match value {
        true => "true",
        false => "false",
    }
}

/// The two lines in front of the samples of a family.
pub fn head(family: &Family, out: &mut String) {
    let Family { name, help, .. } = family;
    let kind = match family.kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
        Kind::Histogram => "histogram",
    };
    write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n").expect("a string takes all");
}

/// One sample of a counter or a gauge.
pub fn sample(
    family: &Family,
    node: &NodeLabels,
    labels: &[(&str, &str)],
    value: impl Into<Number>,
    out: &mut String,
) {
    debug_assert!(family.kind != Kind::Histogram, "{}", family.name);
    begin(family, "", node, labels, out);
    end(value.into(), out);
}

/// All samples of one histogram.
pub fn histogram(
    family: &Family,
    node: &NodeLabels,
    labels: &[(&str, &str)],
    values: &Histogram,
    out: &mut String,
) {
    debug_assert!(family.kind == Kind::Histogram, "{}", family.name);
    let first = out.len();
    begin(family, "_bucket", node, labels, out);
    // Each line begins as the first one does.
    let prefix = first..out.len();
    for (index, (bound, count)) in values.cumulative().enumerate() {
        if index > 0 {
            out.extend_from_within(prefix.clone());
        }
        out.push_str(",le=\"");
        push_bound(family.unit, bound, out);
        out.push('"');
        end(count.into(), out);
    }
    begin(family, "_count", node, labels, out);
    end(values.count().into(), out);
    begin(family, "_sum", node, labels, out);
    end(in_unit(family.unit, values.sum()), out);
}

/// A value in the unit of its family's name.
pub fn in_unit(unit: Unit, value: u64) -> Number {
    match unit {
        Unit::AsRecorded => Number::Whole(value),
        Unit::SecondsFromMicros => Number::Real(value as f64 / 1e6),
        Unit::SecondsFromNanos => Number::Real(value as f64 / 1e9),
    }
}

pub fn bound_in_unit(unit: Unit, bound: u64) -> f64 {
    in_unit(unit, bound).real()
}

/// A bound as RocketMQ's exporter writes it: with a point.
fn push_bound(unit: Unit, bound: Option<u64>, out: &mut String) {
    let Some(bound) = bound else {
        return out.push_str("+Inf");
    };
    write!(out, "{:?}", bound_in_unit(unit, bound)).expect("a string takes all");
}

/// Up to where a further label may follow.
fn begin(
    family: &Family,
    suffix: &str,
    node: &NodeLabels,
    labels: &[(&str, &str)],
    out: &mut String,
) {
    let known = |(name, _): &(&str, &str)| family.labels.contains(name);
    debug_assert!(labels.iter().all(known), "{} {labels:?}", family.name);
    out.push_str(family.name);
    out.push_str(suffix);
    out.push('{');
    let start = out.len();
    out.push_str(&node.text);
    for (name, value) in family.fixed.iter().chain(labels) {
        push_next(out, start, name, value);
    }
}

fn push_next(out: &mut String, start: usize, name: &str, value: &str) {
    if out.len() > start {
        out.push(',');
    }
    push_pair(out, name, value);
}

fn end(value: Number, out: &mut String) {
    out.push_str("} ");
    match value {
        Number::Whole(value) => out.push_str(itoa::Buffer::new().format(value)),
        Number::Real(value) => write!(out, "{value:?}").expect("a string takes all"),
    }
    out.push('\n');
}

fn push_label(out: &mut String, name: &str, value: &str) {
    push_next(out, 0, name, value);
}

fn push_pair(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str("=\"");
    match memchr::memchr3(b'\\', b'"', b'\n', value.as_bytes()) {
        None => out.push_str(value),
        Some(_) => {
            for character in value.chars() {
                match character {
                    '\\' => out.push_str("\\\\"),
                    '"' => out.push_str("\\\""),
                    '\n' => out.push_str("\\n"),
                    other => out.push(other),
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::families::{COMMIT_SECONDS, MESSAGE_SIZE, MESSAGES_IN};

    fn node() -> NodeLabels {
        let extra = [("zone", "a\"b\\c\nd"), ("node_id", "weaker")];
        let extra = extra.map(|(name, value)| (name.to_owned(), value.to_owned()));
        NodeLabels::new("c", "b", "broker", &extra)
    }

    #[test]
    fn a_sample_has_the_labels_of_its_node_its_family_and_its_own() {
        let mut out = String::new();
        head(&MESSAGES_IN, &mut out);
        let labels = [("topic", "T"), ("message_type", "normal")];
        sample(&MESSAGES_IN, &node(), &labels, 7_u64, &mut out);
        let expected = "# HELP rocketmq_messages_in_total Total number of incoming messages\n\
            # TYPE rocketmq_messages_in_total counter\n\
            rocketmq_messages_in_total{cluster=\"c\",node_id=\"b\",node_type=\"broker\",zone=\"a\\\"b\\\\c\\nd\",\
            otel_scope_name=\"broker-meter\",topic=\"T\",message_type=\"normal\"} 7\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn the_ranges_of_a_histogram_add_up() {
        let mut sizes = Histogram::of(&MESSAGE_SIZE);
        sizes.record(100);
        sizes.record(5_000);
        let (mut out, node) = (String::new(), NodeLabels::new("c", "b", "broker", &[]));
        histogram(&MESSAGE_SIZE, &node, &[("topic", "T")], &sizes, &mut out);
        let short: Vec<_> = out
            .lines()
            .map(|line| line.replace("cluster=\"c\",node_id=\"b\",node_type=\"broker\",otel_scope_name=\"broker-meter\",topic=\"T\"", ""))
            .collect();
        let expected = [
            "rocketmq_message_size_bucket{,le=\"1024.0\"} 1",
            "rocketmq_message_size_bucket{,le=\"4096.0\"} 1",
            "rocketmq_message_size_bucket{,le=\"524288.0\"} 2",
            "rocketmq_message_size_bucket{,le=\"1048576.0\"} 2",
            "rocketmq_message_size_bucket{,le=\"2097152.0\"} 2",
            "rocketmq_message_size_bucket{,le=\"4194304.0\"} 2",
            "rocketmq_message_size_bucket{,le=\"+Inf\"} 2",
            "rocketmq_message_size_count{} 2",
            "rocketmq_message_size_sum{} 5100",
        ];
        assert_eq!(short, expected);
    }

    #[test]
    fn microseconds_are_written_as_seconds() {
        let mut waits = Histogram::of(&COMMIT_SECONDS);
        waits.record(1_500);
        let (mut out, node) = (String::new(), NodeLabels::new("c", "b", "broker", &[]));
        histogram(&COMMIT_SECONDS, &node, &[], &waits, &mut out);
        assert!(out.contains("le=\"0.001\"} 0\n") && out.contains("le=\"0.002\"} 1\n"));
        assert!(out.ends_with("_sum{cluster=\"c\",node_id=\"b\",node_type=\"broker\"} 0.0015\n"));
    }
}
