//! Protects the names, types, labels and bounds against those that RocketMQ's own broker exports (`tests/golden/metrics.txt`).

use super::families::{ALL, Family, Kind, Unit};

/// What RocketMQ has and we have not, each a row of "What differs" on the page `ringmq::manual::metrics`.
pub(super) const MISSING: [&str; 3] = [
    "rocketmq_pop_buffer_scan_time_consume_milliseconds",
    "rocketmq_pop_revive_out_message_total",
    "rocketmq_timer_message_snapshot",
];

/// As in the recorded list, without the marks of labels that some samples lack.
fn line(family: &Family) -> String {
    let kind = match family.kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
        Kind::Histogram => "histogram",
    };
    let fixed = family.fixed.iter().map(|(name, _)| *name);
    let mut labels: Vec<_> = fixed.chain(family.labels.iter().copied()).collect();
    labels.sort_unstable();
    let mut line = format!("{} {kind} {{{}}}", family.name, labels.join(","));
    for bound in family.bounds {
        assert_eq!(family.unit, Unit::AsRecorded);
        line.push_str(&format!(" {:?}", *bound as f64));
    }
    if !family.bounds.is_empty() {
        line.push_str(" +Inf");
    }
    line
}

#[test]
fn every_metric_of_rocketmq_is_there_as_it_is() {
    let recorded = include_str!("../../tests/golden/metrics.txt");
    let recorded = recorded
        .lines()
        .filter(|line| line.starts_with("rocketmq_"));
    let recorded = recorded.map(|line| line.replace('?', ""));
    let of_name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let (missing, mut recorded): (Vec<_>, Vec<_>) =
        recorded.partition(|line| MISSING.contains(&&*of_name(line)));
    assert_eq!(missing.len(), MISSING.len());
    let ours = ALL.iter().filter(|family| family.is_of_rocketmq());
    let mut ours: Vec<_> = ours.map(line).collect();
    recorded.sort_unstable();
    ours.sort_unstable();
    assert_eq!(ours, recorded);
}

#[test]
fn what_is_missing_is_on_the_page() {
    let page = include_str!("../manual/metrics.md");
    let (_, differences) = page.split_once("# What differs").expect("the section");
    for name in MISSING {
        assert!(differences.contains(&format!("| `{name}` |")), "{name}");
    }
}
