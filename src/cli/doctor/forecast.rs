//! When the disk will be full, from the growth of the log: between the two samples, and over all that the log has.

use super::broker::{BrokerFacts, Sample};
use super::device::{MORE_SPACE, used_percent};
use super::finding::{Fault, Finding, Severity, duration};
use crate::message::size;

/// What is known of a broker's log and disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    pub total_bytes: u64,
    pub free_bytes: u64,
    pub log_bytes: u64,
    /// What the log covers.
    pub log_s: f64,
    pub bytes_per_s_now: f64,
    /// `fileReservedTime`: then the oldest messages go, and the log grows no more.
    pub kept_s: f64,
    /// `diskMaxUsedSpaceRatio`: from there on messages go earlier.
    pub max_used_percent: u64,
}

/// A log that covers less time does not show the usual rate; the rate of now counts then.
const TYPICAL_S: f64 = 600.0;
const SOON_S: f64 = 24.0 * 3_600.0;
const VERY_SOON_S: f64 = 3_600.0;

impl Growth {
    pub fn of(broker: &BrokerFacts) -> Option<Self> {
        let (first, second, s) = broker.both()?;
        let end = |sample: &Sample| sample.number("commitLogMaxOffset");
        let grown = end(second)?.saturating_sub(end(first)?).max(0);
        let (total_bytes, free_bytes) = capacity(second.text("commitLogDirCapacity")?)?;
        let earliest_ms = second
            .number("earliestMessageTimeStamp")
            .filter(|it| *it > 0);
        let number = |name| {
            broker
                .setting(name)
                .and_then(|value| value.parse::<u64>().ok())
        };
        Some(Self {
            total_bytes,
            free_bytes,
            log_bytes: end(second)?
                .saturating_sub(second.number("commitLogMinOffset")?)
                .max(0) as u64,
            log_s: earliest_ms.map_or(0.0, |ms| {
                second.at_ms.saturating_sub(ms).max(0) as f64 / 1e3
            }),
            bytes_per_s_now: grown as f64 / s,
            kept_s: number("fileReservedTime").unwrap_or(72) as f64 * 3_600.0,
            max_used_percent: number("diskMaxUsedSpaceRatio").unwrap_or(75),
        })
    }

    /// The seconds until messages have to go before their time is over, if that will be; and the rate that this is by.
    pub fn full_in(&self) -> Option<(f64, f64)> {
        // The rate over the whole log is preferred to that of two seconds, which may be a peak.
        let usual = match self.log_s >= TYPICAL_S {
            true => self.log_bytes as f64 / self.log_s,
            false => self.bytes_per_s_now,
        };
        let used = self.total_bytes.saturating_sub(self.free_bytes);
        let usable = u128::from(self.total_bytes) * u128::from(self.max_used_percent) / 100;
        let room = usable.saturating_sub(used.into());
        let full_s = room as f64 / usual;
        let grows_s = (self.kept_s - self.log_s).max(0.0);
        (usual > 0.0 && full_s < grows_s.min(SOON_S)).then_some((full_s, usual))
    }
}

/// `Total : 1.5 GiB, Free : 200.0 MiB.`
fn capacity(text: &str) -> Option<(u64, u64)> {
    let figures = text.strip_prefix("Total : ")?.strip_suffix('.')?;
    let (total, free) = figures.split_once(", Free : ")?;
    Some((size::parse(total)?, size::parse(free)?))
}

pub fn findings(broker: &BrokerFacts) -> Vec<Finding> {
    let Some(growth) = Growth::of(broker) else {
        return Vec::new();
    };
    if let Some(used) = used_percent(growth.total_bytes, growth.free_bytes)
        && used >= growth.max_used_percent
    {
        return vec![Finding::new(
            Fault::DiskNearlyFull,
            broker.subject(),
            format!(
                "{used} % used, {} of {} free; diskMaxUsedSpaceRatio is {}",
                size::show(growth.free_bytes),
                size::show(growth.total_bytes),
                growth.max_used_percent
            ),
            MORE_SPACE,
        )];
    }
    let Some((full_s, rate)) = growth.full_in() else {
        return Vec::new();
    };
    let severity = match full_s < VERY_SOON_S {
        true => Severity::Error,
        false => Severity::Warning,
    };
    let found = Finding::new(
        Fault::DiskFillsUp,
        broker.subject(),
        format!(
            "{}/s are stored and {} are free: {} % in {}, before fileReservedTime ({}) is over",
            size::show(rate as u64),
            size::show(growth.free_bytes),
            growth.max_used_percent,
            duration(full_s),
            duration(growth.kept_s)
        ),
        MORE_SPACE,
    );
    vec![found.at(severity)]
}

#[cfg(test)]
mod tests {
    use super::super::broker::tests::{broker, sample};
    use super::*;

    const GIB: u64 = 1 << 30;

    /// 100 GiB with 50 used; a log of 48 GiB and two days, which is kept for three.
    const GROWTH: Growth = Growth {
        total_bytes: 100 * GIB,
        free_bytes: 50 * GIB,
        log_bytes: 48 * GIB,
        log_s: 48.0 * 3_600.0,
        bytes_per_s_now: 0.0,
        kept_s: 72.0 * 3_600.0,
        max_used_percent: 75,
    };

    #[test]
    fn it_is_full_before_the_oldest_messages_go_or_never() {
        assert_eq!(
            GROWTH.full_in(),
            None,
            "24 GiB more, and there is room for 25"
        );
        let larger = Growth {
            log_bytes: 96 * GIB,
            ..GROWTH
        };
        let (full_s, rate) = larger.full_in().unwrap();
        assert_eq!(
            rate as u64 * 3_600 / GIB,
            1,
            "2 GiB an hour, less a rounding"
        );
        assert_eq!(duration(full_s), "12.5 hours");
        let steady = Growth {
            log_s: 72.0 * 3_600.0,
            ..larger
        };
        assert_eq!(steady.full_in(), None, "as much goes as comes");
    }

    #[test]
    fn a_young_log_grows_as_it_does_now() {
        let young = Growth {
            log_bytes: GIB,
            log_s: 60.0,
            bytes_per_s_now: (GIB / 4) as f64,
            ..GROWTH
        };
        assert_eq!(duration(young.full_in().unwrap().0), "100 s");
        let idle = Growth {
            bytes_per_s_now: 0.0,
            ..young
        };
        assert_eq!(idle.full_in(), None);
    }

    #[test]
    fn a_brokers_figures_are_read() {
        let at = |log_max: &str, free: &str| {
            let capacity = format!("Total : 100.0 GiB, Free : {free}.");
            let figures = [
                ("commitLogMaxOffset", log_max),
                ("commitLogMinOffset", "0"),
                ("earliestMessageTimeStamp", "1000"),
                ("commitLogDirCapacity", &capacity),
            ];
            sample(1_000, &figures)
        };
        let found = |free: &str| {
            let (first, mut second) = (at("0", free), at("1073741824", free));
            second.at_ms = 3_000;
            findings(&broker(first, second)).pop().unwrap()
        };
        let soon = found("50.0 GiB");
        assert_eq!(
            (soon.fault, soon.severity),
            (Fault::DiskFillsUp, Severity::Error)
        );
        assert!(
            soon.seen.contains("512.0 MiB/s") && soon.seen.contains("50 s"),
            "{}",
            soon.seen
        );
        assert_eq!(found("25.0 GiB").fault, Fault::DiskNearlyFull);
        assert_eq!(
            capacity("Total : 1.5 GiB, Free : 300 B."),
            Some((3 * GIB / 2, 300))
        );
        assert_eq!(capacity("unknown"), None);
    }
}
