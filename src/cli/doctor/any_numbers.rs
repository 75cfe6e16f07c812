//! Protects the rules against the numbers that a broker sends, whatever they are: none makes doctor panic, and each finding is a whole one.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::broker::{Answer, BrokerFacts, Sample};
use super::device::{DiskFacts, DiskLimits, Writes};
use super::finding::Finding;
use super::groups::{GroupFacts, Offsets, QueueFacts};
use super::report::Report;
use super::{broker, device, forecast, groups, replication, routes};
use crate::wire::admin::{HaConnection, HaStatus};

/// All that the rules read of a broker's figures.
const FIGURES: [&str; 12] = [
    "bootTimestamp",
    "commitLogMaxOffset",
    "commitLogMinOffset",
    "earliestMessageTimeStamp",
    "ringmqFenceReason",
    "ringmqLogWrites",
    "ringmqMissingAtStartMessages",
    "ringmqNoSpaceReason",
    "ringmqStallOwnMaxMs",
    "ringmqStallsOwn",
    "ringmqUnreadableMessages",
    "sendThreadPoolQueueSize",
];

const SETTINGS: [&str; 4] = [
    "diskMaxUsedSpaceRatio",
    "fileReservedTime",
    "inSyncReplicas",
    "minInSyncReplicas",
];

fn number() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![
        Just(i64::MIN),
        Just(i64::MAX),
        -2_i64..3,
        0_i64..100_000,
        any::<i64>(),
    ]
}

/// Also numbers that are too large for the rules.
fn text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        8 => number().prop_map(|number| number.to_string()),
        1 => Just(u64::MAX.to_string()),
        1 => Just("9".repeat(60)),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    let units = prop_oneof![Just("B"), Just("GiB"), Just("EiB"), Just("x")];
    let capacity = (text(), text(), units).prop_map(|(total, free, unit)| {
        format!("Total : {total}.0 {unit}, Free : {free}.0 {unit}.")
    });
    let runtime = vec(number(), 4).prop_map(|times| {
        let [days, hours, minutes, s] = [0, 1, 2, 3].map(|at| times[at].unsigned_abs());
        format!("[ {days} days, {hours} hours, {minutes} minutes, {s} seconds ]")
    });
    let figures = vec(text(), FIGURES.len());
    // Without reasons, so that the rules behind them are reached, too.
    let with_reasons = any::<bool>();
    (number(), figures, capacity, runtime, with_reasons).prop_map(
        |(at_ms, figures, capacity, runtime, with_reasons)| {
            let figures = FIGURES.iter().copied().zip(figures);
            let more = [("commitLogDirCapacity", capacity), ("runtime", runtime)];
            let figures = figures
                .filter(|(name, _)| with_reasons || !name.ends_with("Reason"))
                .chain(more);
            Sample {
                at_ms,
                figures: figures
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            }
        },
    )
}

fn any_broker() -> impl Strategy<Value = BrokerFacts> {
    let settings = vec(text(), SETTINGS.len()).prop_map(|values| {
        let names = SETTINGS.iter().map(|name| (*name).to_owned());
        names.zip(values).collect()
    });
    let links = vec((number(), number(), any::<bool>()), 0..3).prop_map(|links| {
        let link = |(diff, rate, in_sync)| HaConnection {
            diff,
            transferred_bytes_per_s: rate,
            in_sync,
            ..HaConnection::default()
        };
        links.into_iter().map(link).collect()
    });
    let replicas =
        (any::<i32>(), links, any::<bool>()).prop_map(|(in_sync, links, master)| HaStatus {
            master,
            in_sync_slave_nums: in_sync,
            ha_connection_info: links,
            ..HaStatus::default()
        });
    // Close together, so that there are seconds between them.
    let samples = (sample(), sample(), 0_i64..5_000);
    (samples, settings, replicas, any::<i64>()).prop_map(
        |((first, mut second, later_ms), settings, replicas, id)| {
            if later_ms > 0 {
                second.at_ms = first.at_ms.saturating_add(later_ms);
            }
            BrokerFacts {
                id,
                first: Answer::Some(first),
                second: Some(second),
                settings,
                replicas: Some(replicas),
                ..BrokerFacts::default()
            }
        },
    )
}

fn any_group() -> impl Strategy<Value = GroupFacts> {
    let offsets =
        || (number(), number()).prop_map(|(stored, consumed)| Offsets { stored, consumed });
    let queue =
        (offsets(), proptest::option::of(offsets())).prop_map(|(first, second)| QueueFacts {
            first,
            second,
            ..QueueFacts::default()
        });
    (vec(queue, 0..5), any::<bool>()).prop_map(|(queues, has_member)| GroupFacts {
        members: has_member
            .then(|| "c".to_owned())
            .into_iter()
            .collect::<BTreeSet<_>>(),
        queues: [("T".to_owned(), queues)].into(),
        ..GroupFacts::default()
    })
}

fn check(findings: Vec<Finding>) -> Result<(), TestCaseError> {
    for found in &findings {
        prop_assert!(
            !found.seen.is_empty() && !found.todo.is_empty(),
            "{found:?}"
        );
    }
    let report = Report::new(findings, Vec::new(), Vec::new(), Duration::ZERO);
    prop_assert!(!report.text().is_empty());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn of_a_broker(broker in any_broker()) {
        check(broker::findings(&broker))?;
        check(forecast::findings(&broker))?;
        let brokers = [broker];
        check(replication::findings(&brokers))?;
        check(routes::findings(&[], &brokers))?;
    }

    #[test]
    fn of_a_group(group in any_group()) {
        check(groups::findings(&group))?;
    }

    #[test]
    fn of_a_disk(
        [total_bytes, available_bytes, max_used_percent, late_ms, median_us] in any::<[u64; 5]>()
    ) {
        let writes = Writes { count: 8, median_us, longest_us: median_us };
        let disk = DiskFacts {
            total_bytes,
            available_bytes,
            writes: Some(writes),
            ..DiskFacts::default()
        };
        check(device::findings(&disk, DiskLimits { max_used_percent, late_ms }))?;
    }
}
