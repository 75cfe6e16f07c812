//! A running broker, ours or RocketMQ's, by two samples of its figures: the fence, the space, its disk, its stalls, its clock.

use std::collections::BTreeMap;

use super::device::MORE_SPACE;
use super::failure::Failure;
use super::finding::{Fault, Finding, duration};
use crate::wire::admin::HaStatus;

/// The id of a master in its group.
pub const MASTER_ID: i64 = 0;

/// A broker that a route leads to, or that was found by itself.
#[derive(Clone, Debug, Default)]
pub struct BrokerFacts {
    pub name: String,
    /// [`MASTER_ID`], or a slave's.
    pub id: i64,
    pub addr: String,
    pub first: Answer,
    pub second: Option<Sample>,
    /// No name server was asked about it.
    pub is_alone: bool,
    /// Its broker.conf (26).
    pub settings: BTreeMap<String, String>,
    pub replicas: Option<HaStatus>,
}

#[derive(Clone, Debug, Default)]
pub enum Answer {
    /// Asked, and nothing has come yet.
    #[default]
    None,
    Some(Sample),
    Failed(Failure),
}

/// Its runtime figures (28), at a time of this host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    pub at_ms: i64,
    pub figures: BTreeMap<String, String>,
}

impl Sample {
    pub fn number(&self, name: &str) -> Option<i64> {
        self.figures.get(name)?.trim().parse().ok()
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        let text = self.figures.get(name)?;
        (!text.is_empty()).then_some(text)
    }

    /// The broker's clock: when it was started and, in whole seconds, how long ago that is.
    pub fn clock_ms(&self) -> Option<i64> {
        let started_ms = self.number("bootTimestamp")?;
        let runtime = self.text("runtime")?;
        let numbers = runtime.split(|c: char| !c.is_ascii_digit());
        let numbers: Vec<i64> = numbers.filter_map(|word| word.parse().ok()).collect();
        let [days, hours, minutes, s] = numbers[..] else {
            return None;
        };
        let [days, hours, minutes, s] = [days, hours, minutes, s].map(i128::from);
        let runtime_ms = (((days * 24 + hours) * 60 + minutes) * 60 + s) * 1_000;
        i64::try_from(i128::from(started_ms) + runtime_ms).ok()
    }
}

impl BrokerFacts {
    pub fn subject(&self) -> String {
        match self.name.is_empty() {
            true => format!("broker {}", self.addr),
            false => format!("{}, {}", self.name, self.addr),
        }
    }

    pub fn first(&self) -> Option<&Sample> {
        match &self.first {
            Answer::Some(sample) => Some(sample),
            Answer::None | Answer::Failed(_) => None,
        }
    }

    /// Both, and the seconds between them.
    pub fn both(&self) -> Option<(&Sample, &Sample, f64)> {
        let (first, second) = (self.first()?, self.second.as_ref()?);
        let s = second.at_ms.saturating_sub(first.at_ms) as f64 / 1e3;
        (s > 0.0).then_some((first, second, s))
    }

    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(|value| value.trim())
    }

    pub fn is_controlled(&self) -> bool {
        self.setting("enableControllerMode") == Some("true")
    }

    /// Copies of a message that a send waits for, the broker's own included.
    pub fn needed_copies(&self) -> i64 {
        let number = |name| self.setting(name).and_then(|value| value.parse().ok());
        match self.is_controlled() {
            true => number("minInSyncReplicas").unwrap_or(1),
            false if self.setting("brokerRole") == Some("SYNC_MASTER") => {
                number("inSyncReplicas").unwrap_or(1)
            }
            false => 1,
        }
    }
}

/// A sample is in whole seconds, and took some time on its way.
const CLOCK_OFF_MS: u64 = 3_000;

/// What clients notice.
const LONG_STALL_MS: i64 = 200;

pub fn findings(broker: &BrokerFacts) -> Vec<Finding> {
    let Some(latest) = broker.second.as_ref().or(broker.first()) else {
        return Vec::new();
    };
    let of_disk = fence(broker, latest)
        .or_else(|| full(broker, latest))
        .or_else(|| standing_device(broker));
    let others = [
        losses(broker, latest),
        missing(broker, latest),
        stalls(broker, latest),
        clock(broker),
    ];
    of_disk
        .into_iter()
        .chain(others.into_iter().flatten())
        .collect()
}

fn fence(broker: &BrokerFacts, latest: &Sample) -> Option<Finding> {
    let reason = latest.text("ringmqFenceReason")?;
    Some(Finding::new(
        Fault::Fenced,
        broker.subject(),
        reason,
        "dmesg | tail; replace the disk if it reports errors; then restart the broker (ringmq shutdown; ringmq broker ...), which reads \
         its log; ringmq store verify DIR says what the disk has",
    ))
}

fn full(broker: &BrokerFacts, latest: &Sample) -> Option<Finding> {
    let reason = latest.text("ringmqNoSpaceReason")?;
    Some(Finding::new(
        Fault::DiskFull,
        broker.subject(),
        reason,
        MORE_SPACE,
    ))
}

/// Sends wait for the log, and it has not grown between the two samples.
fn standing_device(broker: &BrokerFacts) -> Option<Finding> {
    let (first, second, s) = broker.both()?;
    let waiting = |sample: &Sample| sample.number("sendThreadPoolQueueSize");
    let waits = waiting(first)? > 0 && waiting(second)? > 0;
    let stands = ["ringmqLogWrites", "commitLogMaxOffset"]
        .into_iter()
        .all(|name| first.number(name).is_some() && first.number(name) == second.number(name));
    // What waits for replicas, waits for no device.
    (waits && stands && broker.needed_copies() == 1 && !broker.is_controlled()).then(|| {
        Finding::new(
            Fault::DeviceStalled,
            broker.subject(),
            format!(
                "{} sends wait, and within {s:.1} s no write of the log completed",
                waiting(second).unwrap_or_default()
            ),
            "look at the device of its store: dmesg | tail, iostat -x 1; messages are taken again when it goes on",
        )
    })
}

fn losses(broker: &BrokerFacts, latest: &Sample) -> Option<Finding> {
    let unreadable = latest
        .number("ringmqUnreadableMessages")
        .filter(|it| *it > 0)?;
    Some(Finding::new(
        Fault::Damaged,
        broker.subject(),
        format!("{unreadable} messages were unreadable and are skipped"),
        "config/unreadable.json in its store lists them; check the disk (smartctl -a), copy the store from a replica",
    ))
}

fn missing(broker: &BrokerFacts, latest: &Sample) -> Option<Finding> {
    let messages = latest
        .number("ringmqMissingAtStartMessages")
        .filter(|it| *it > 0)?;
    Some(Finding::new(
        Fault::Missing,
        broker.subject(),
        format!("{messages} messages, as a power cut takes what an async broker has not flushed"),
        "set flushDiskType=SYNC_FLUSH, or a second copy (brokerRole=SYNC_MASTER, inSyncReplicas=2)",
    ))
}

/// Only those that the broker made itself, in these seconds or as long as clients notice.
fn stalls(broker: &BrokerFacts, latest: &Sample) -> Option<Finding> {
    let longest_ms = latest.number("ringmqStallOwnMaxMs")?;
    let now = broker.both().map_or(0, |(first, second, _)| {
        let count = |sample: &Sample| sample.number("ringmqStallsOwn").unwrap_or_default();
        count(second).saturating_sub(count(first))
    });
    (now >= 10 || longest_ms >= LONG_STALL_MS).then(|| {
        let all = latest.number("ringmqStallsOwn").unwrap_or_default();
        Finding::new(
            Fault::Stalls,
            broker.subject(),
            format!("{now} while doctor looked, {all} since the start, the longest {longest_ms} ms"),
            "its log names the task of each (RINGMQ_LOG=warn); give each shard a core of its own (--cores)",
        )
    })
}

fn clock(broker: &BrokerFacts) -> Option<Finding> {
    let sample = broker.first()?;
    let off_ms = sample.clock_ms()?.saturating_sub(sample.at_ms);
    (off_ms.unsigned_abs() >= CLOCK_OFF_MS).then(|| {
        let side = if off_ms > 0 { "ahead of" } else { "behind" };
        Finding::new(
            Fault::BrokerClock,
            broker.subject(),
            format!(
                "its clock is {} {side} this host's",
                duration(off_ms.unsigned_abs() as f64 / 1e3)
            ),
            "run chronyd or systemd-timesyncd on both hosts (timedatectl says which one is off)",
        )
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn sample(at_ms: i64, figures: &[(&str, &str)]) -> Sample {
        let figures = figures.iter();
        Sample {
            at_ms,
            figures: figures
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
        }
    }

    pub fn broker(first: Sample, second: Sample) -> BrokerFacts {
        BrokerFacts {
            name: "broker-a".into(),
            addr: "10.0.0.1:10911".into(),
            first: Answer::Some(first),
            second: Some(second),
            ..BrokerFacts::default()
        }
    }

    fn faults(first: &[(&str, &str)], second: &[(&str, &str)]) -> Vec<Fault> {
        let broker = broker(sample(1_000, first), sample(3_000, second));
        findings(&broker).iter().map(|found| found.fault).collect()
    }

    #[test]
    fn a_fence_hides_what_follows_from_it() {
        let fenced = [
            ("ringmqFenceReason", "cannot flush /store/commitlog/0: EIO"),
            ("ringmqNoSpaceReason", "no space"),
        ];
        assert_eq!(faults(&fenced, &fenced), [Fault::Fenced]);
        assert_eq!(faults(&fenced[1..], &fenced[1..]), [Fault::DiskFull]);
        assert_eq!(
            faults(&[("ringmqFenceReason", "")], &[("ringmqFenceReason", "")]),
            []
        );
    }

    #[test]
    fn a_device_stands_if_sends_wait_and_the_log_does_not_grow() {
        let at = |waiting, writes| {
            [
                ("sendThreadPoolQueueSize", waiting),
                ("ringmqLogWrites", writes),
                ("commitLogMaxOffset", "4096"),
            ]
        };
        assert_eq!(
            faults(&at("3", "10"), &at("3", "10")),
            [Fault::DeviceStalled]
        );
        assert_eq!(faults(&at("3", "10"), &at("3", "11")), [], "slow");
        assert_eq!(faults(&at("0", "10"), &at("3", "10")), [], "just come");
        // RocketMQ's has no count of writes: it is not judged.
        let foreign = [
            ("sendThreadPoolQueueSize", "3"),
            ("commitLogMaxOffset", "4096"),
        ];
        assert_eq!(faults(&foreign, &foreign), []);
        let mut synced = broker(sample(0, &at("3", "10")), sample(2_000, &at("3", "10")));
        synced
            .settings
            .insert("brokerRole".into(), "SYNC_MASTER".into());
        synced.settings.insert("inSyncReplicas".into(), "2".into());
        assert_eq!(findings(&synced), [], "they wait for a replica");
    }

    #[test]
    fn stalls_count_if_they_go_on_or_were_long() {
        let at = |count, longest| [("ringmqStallsOwn", count), ("ringmqStallOwnMaxMs", longest)];
        assert_eq!(faults(&at("5", "20"), &at("9", "20")), []);
        assert_eq!(faults(&at("5", "20"), &at("15", "20")), [Fault::Stalls]);
        assert_eq!(faults(&at("1", "200"), &at("1", "200")), [Fault::Stalls]);
    }

    #[test]
    fn losses_are_told() {
        let lost = [
            ("ringmqUnreadableMessages", "2"),
            ("ringmqMissingAtStartMessages", "7"),
        ];
        assert_eq!(faults(&lost, &lost), [Fault::Damaged, Fault::Missing]);
    }

    #[test]
    fn the_clock_is_the_start_and_the_time_since() {
        let runtime = "[ 1 days, 2 hours, 3 minutes, 4 seconds ]";
        let figures = [("bootTimestamp", "1000000"), ("runtime", runtime)];
        let ran_ms = ((26 * 60 + 3) * 60 + 4) * 1_000;
        let found = |at_ms| {
            let broker = broker(sample(at_ms, &figures), sample(at_ms + 1, &figures));
            findings(&broker)
        };
        assert_eq!(found(1_000_000 + ran_ms + 900), []);
        let behind = found(1_000_000 + ran_ms + 10_000);
        assert_eq!(behind[0].fault, Fault::BrokerClock);
        assert!(behind[0].seen.contains("10 s behind"), "{}", behind[0].seen);
        assert!(
            found(1_000_000 + ran_ms - 600_000)[0]
                .seen
                .contains("10 minutes ahead")
        );
    }
}
