//! What the figures of a comparison say, and why they may not be trusted.

use std::path::Path;

use super::FlushMode;
use super::counters::WriteCounters;
use super::histogram::Percentiles;
use super::result::{Floor, RunResult, grouped};
use super::table::micros;

/// What the figures say of each other.
pub fn conclusions(runs: &[RunResult], floor: &Floor) -> Vec<String> {
    let mut notes = Vec::new();
    for sync in runs.iter().filter(|run| run.name == FlushMode::Sync.name()) {
        let other = |run: &&RunResult| run.shape == sync.shape && run.name != sync.name;
        let Some(r#async) = runs.iter().find(other) else {
            continue;
        };
        let label = sync.shape.label();
        if sync.shape.rate > 0 {
            notes.push(format!(
                "{label}: p99 {} us sync, {} us async",
                micros(sync.percentiles().p99_us),
                micros(r#async.percentiles().p99_us)
            ));
            continue;
        }
        notes.push(compared(&label, sync, r#async));
        if (sync.shape.connections, sync.shape.in_flight) == (1, 1) {
            notes.push(format!(
                "{label}: sync p50 is {:.2} x the floor of one dsync write and one loopback echo ({} us)",
                sync.percentiles().p50_us / floor.sync_p50_us(),
                micros(floor.sync_p50_us())
            ));
        }
    }
    notes
}

/// No figure of a difference that the rounds do not bear out: sync flush has no reason to be the faster one.
fn compared(label: &str, sync: &RunResult, r#async: &RunResult) -> String {
    let percent = 100.0 * sync.messages_per_second() / r#async.messages_per_second().max(1.0);
    let text = format!("sync has {percent:.0} % of the throughput of async");
    let (Some(of_sync), Some(of_async)) = (sync.range(), r#async.range()) else {
        return match percent > 100.0 {
            true => format!("{label}: no conclusion: one round, in which sync was the faster one"),
            false => format!("{label}: {text}"),
        };
    };
    let shown = |(lowest, highest): (f64, f64)| {
        format!(
            "{} to {}",
            grouped(lowest.round() as u64),
            grouped(highest.round() as u64)
        )
    };
    let rounds = format!("rounds: sync {}, async {}", shown(of_sync), shown(of_async));
    let overlap = of_sync.0 <= of_async.1 && of_async.0 <= of_sync.1;
    match overlap {
        true => format!("{label}: no difference that is above the noise; {rounds}"),
        false => format!("{label}: {text}; {rounds}"),
    }
}

/// Of a quiet device the p99 is a few times the p50.
const BUSY_FLOOR: f64 = 20.0;

/// Why the figures may not be trusted.
pub fn warnings(
    rounds: u32,
    dir: &Path,
    runs: &[RunResult],
    repeated: u32,
    floor: &Floor,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if rounds == 1 {
        warnings.push(
            "one round: a difference between the modes may be noise; --rounds 3 shows the range"
                .to_owned(),
        );
    }
    for (name, histogram) in [
        ("dsync write", &floor.dsync_write_ns),
        ("loopback echo", &floor.loopback_echo_ns),
    ] {
        let Percentiles { p50_us, p99_us, .. } = Percentiles::of(histogram);
        if p99_us > BUSY_FLOOR * p50_us {
            warnings.push(format!(
                "the floor's {name} has a p99 of {} us, {:.0} x its p50: this machine is busy, and its latencies are no measure of the broker",
                grouped(p99_us.round() as u64),
                p99_us / p50_us
            ));
        }
    }
    if WriteCounters::of_device(dir).is_err() {
        let dir = dir.display();
        warnings.push(format!(
            "{dir} is on no block device of its own: on a memory file system a flush costs nothing"
        ));
    }
    warnings.extend(runs.iter().filter_map(RunResult::warning));
    if repeated > 0 {
        warnings.push(format!(
            "{repeated} turns were dropped and measured again, as this machine stood still in them"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::histogram::latency_histogram;
    use crate::bench::result::tests::{SHAPE, example};

    fn floor(p99_us: u64) -> Floor {
        let mut writes = latency_histogram();
        writes.record_n(50_000, 95).unwrap();
        writes.record_n(p99_us * 1000, 5).unwrap();
        let mut echo = latency_histogram();
        echo.record(20_000).unwrap();
        Floor {
            dsync_write_ns: writes,
            loopback_echo_ns: echo,
        }
    }

    #[test]
    fn noise_is_called_so() {
        let run = |name, rounds: &[f64]| RunResult {
            rounds: rounds.to_vec(),
            acked: rounds.iter().map(|rate| 2.0 * rate).sum::<f64>() as u64,
            elapsed: Duration::from_secs(2) * rounds.len() as u32,
            ..example(name, SHAPE, 100)
        };
        let said = |sync: &[f64], other: &[f64]| {
            conclusions(&[run("sync", sync), run("async", other)], &floor(60)).remove(0)
        };
        let overlapping = said(&[4_000.0, 6_000.0], &[5_000.0, 5_500.0]);
        assert!(
            overlapping.contains("4,000 to 6,000") && overlapping.contains("noise"),
            "{overlapping}"
        );
        assert!(!overlapping.contains('%'), "{overlapping}");
        let apart = said(&[1_000.0, 1_100.0], &[5_000.0, 5_500.0]);
        assert!(apart.contains('%') && !apart.contains("noise"), "{apart}");
        assert!(!said(&[1_000.0], &[5_000.0]).contains("rounds"));
        assert!(said(&[5_000.0], &[1_000.0]).contains("no conclusion"));
    }

    #[test]
    fn a_busy_machine_and_a_single_round_are_warnings() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let said = |rounds, p99_us| warnings(rounds, dir.path(), &[], 0, &floor(p99_us));
        let device = usize::from(WriteCounters::of_device(dir.path()).is_err());
        assert_eq!(said(3, 900).len(), device);
        assert!(said(3, 1_100)[0].contains("dsync write"));
        assert!(said(1, 60)[0].contains("one round"));
    }
}
