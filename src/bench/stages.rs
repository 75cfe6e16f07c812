//! Where the broker spends the time of a send, from the sums and counts in its runtime info (28).

use serde::{Serialize, Serializer};

/// Key of the runtime info: `receive=SUM/COUNT decode=SUM/COUNT ...` since the start, the sums in nanoseconds. RocketMQ has none like it.
pub const STAGES_KEY: &str = "ringmqSendStages";

/// Names of the stages in the order in which a send goes through them, and what they mean.
pub const STAGES: [(&str, &str); 7] = [
    (
        "receive",
        "the bytes of the request are there and wait for their turn: behind other requests, or for room in the log buffer",
    ),
    ("decode", "header and rules, until the send is admitted"),
    ("append", "the record is written into the log buffer"),
    (
        "write_wait",
        "until the write of the log that contains the record begins: until the write before it has ended",
    ),
    (
        "device",
        "that write; with sync flush the device has it durably at its end",
    ),
    (
        "release",
        "until the answer is written: queue entries, and the wait for replicas",
    ),
    (
        "reply",
        "until the kernel has taken the answers of a connection that were collected in a turn",
    ),
];

/// Sums and counts of each of [`STAGES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendStages {
    sums_ns: [u64; STAGES.len()],
    counts: [u64; STAGES.len()],
}

impl SendStages {
    /// The value of [`STAGES_KEY`]; `None` if a stage is missing.
    pub fn parse(text: &str) -> Option<Self> {
        let mut stages = Self::default();
        for (at, (name, _)) in STAGES.iter().enumerate() {
            let mut fields = text.split(' ').filter_map(|field| field.split_once('='));
            let (_, figures) = fields.find(|(key, _)| key == name)?;
            let (sum_ns, count) = figures.split_once('/')?;
            stages.sums_ns[at] = sum_ns.parse().ok()?;
            stages.counts[at] = count.parse().ok()?;
        }
        Some(stages)
    }

    pub fn since(self, before: Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(mut self, other: Self, change: fn(u64, u64) -> u64) -> Self {
        for at in 0..STAGES.len() {
            self.sums_ns[at] = change(self.sums_ns[at], other.sums_ns[at]);
            self.counts[at] = change(self.counts[at], other.counts[at]);
        }
        self
    }

    /// The mean of each stage in microseconds; `None` of one through which nothing went.
    pub fn means_us(&self) -> [Option<f64>; STAGES.len()] {
        std::array::from_fn(|at| {
            let (sum_ns, count) = (self.sums_ns[at], self.counts[at]);
            (count > 0).then(|| sum_ns as f64 / 1000.0 / count as f64)
        })
    }
}

/// The means by name.
impl Serialize for SendStages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(STAGES.iter().map(|(name, _)| name).zip(self.means_us()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub const TEXT: &str = "receive=4000/2 decode=1000/2 append=3000/2 write_wait=0/0 device=90000/1 release=5/1 reply=10/1";

    #[test]
    fn means_are_of_what_came_between() {
        let before = SendStages::parse(TEXT).expect("every stage is there");
        let later = TEXT.replace("receive=4000/2", "receive=10000/4");
        let after = SendStages::parse(&later).expect("every stage is there");
        let means = after.since(before).means_us();
        assert_eq!((means[0], means[1]), (Some(3.0), None));
        assert_eq!(before.plus(before).means_us(), before.means_us());
        assert_eq!(before.means_us()[4], Some(90.0));
    }

    #[test]
    fn a_broker_without_a_stage_has_none() {
        assert_eq!(SendStages::parse(""), None);
        assert_eq!(SendStages::parse(&TEXT.replace("device=", "x=")), None);
        assert_eq!(SendStages::parse(&TEXT.replace("10/1", "10")), None);
    }

    #[test]
    fn json_has_the_means_by_name() {
        let stages = SendStages::parse(TEXT).expect("every stage is there");
        let json = serde_json::to_value(stages).expect("it is written");
        assert_eq!(json["device"], 90.0);
        assert_eq!(json["write_wait"], serde_json::Value::Null);
    }
}
