//! What one run measured, and the report that the runs of one command make.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

use super::counters::WriteCounters;
use super::hiccups::Hiccups;
use super::histogram::Percentiles;
use super::machine::Machine;
use super::stages::SendStages;
use super::time_line::TimeLine;

/// The shape of the load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Shape {
    pub connections: usize,
    /// Closed loop: requests in flight on each connection.
    pub in_flight: usize,
    pub size_bytes: usize,
    /// Open loop: messages per second in all, independent of answers. 0 is closed loop.
    pub rate: u64,
}

impl Shape {
    pub fn label(&self) -> String {
        if self.rate > 0 {
            format!("{} conns, {}/s", self.connections, grouped(self.rate))
        } else {
            format!("{} x {}", self.connections, self.in_flight)
        }
    }

    /// In a sentence.
    pub fn describe(&self, warm_up: Duration, duration: Duration) -> String {
        let load = match self.rate {
            0 => format!(
                "closed loop, {} connections with {} requests in flight each",
                self.connections, self.in_flight
            ),
            rate => format!(
                "open loop, {} messages per second over {} connections",
                grouped(rate),
                self.connections
            ),
        };
        format!(
            "load: {load}; bodies of {} bytes; {} s measured after {} s of warm-up",
            grouped(self.size_bytes as u64),
            duration.as_secs_f64(),
            warm_up.as_secs_f64()
        )
    }

    /// Fit for a file's name.
    pub fn slug(&self) -> String {
        if self.rate > 0 {
            format!("{}c-{}ps", self.connections, self.rate)
        } else {
            format!("{}x{}", self.connections, self.in_flight)
        }
    }
}

#[derive(Clone, Debug)]
pub struct RunResult {
    /// What was compared: `sync`, `async`, or the command's name.
    pub name: String,
    pub shape: Shape,
    /// Of the measured window, warm-up excluded.
    pub elapsed: Duration,
    /// Messages answered with success inside the window.
    pub acked: u64,
    /// From the intended send time to the answer.
    pub latency_ns: Histogram<u64>,
    /// By response code or cause.
    pub errors: BTreeMap<String, u64>,
    /// Sent inside the window, without an answer when the run ended; they are in the histogram with the time they had
    /// waited by then.
    pub unanswered: u64,
    pub broker_cpu: Option<Duration>,
    pub load_cpu: Duration,
    pub broker_writes: Option<WriteCounters>,
    pub device_writes: Option<WriteCounters>,
    pub send_stages: Option<SendStages>,
    /// Of this machine.
    pub hiccups: Hiccups,
    pub time_line: TimeLine,
    /// Messages per second of each round that was merged into this one, the first included.
    pub rounds: Vec<f64>,
}

impl RunResult {
    /// Lowest and highest throughput of the rounds; `None` with a single one.
    pub fn range(&self) -> Option<(f64, f64)> {
        let lowest = self.rounds.iter().copied().reduce(f64::min)?;
        let highest = self.rounds.iter().copied().reduce(f64::max)?;
        (self.rounds.len() > 1).then_some((lowest, highest))
    }

    pub fn messages_per_second(&self) -> f64 {
        self.acked as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    pub fn megabytes_per_second(&self) -> f64 {
        self.messages_per_second() * self.shape.size_bytes as f64 / 1e6
    }

    pub fn broker_cpu_us_per_message(&self) -> Option<f64> {
        Some(self.per_message(self.broker_cpu?.as_secs_f64() * 1e6))
    }

    /// `None` in an open loop, where the load generator spins to be on time.
    pub fn load_cpu_us_per_message(&self) -> Option<f64> {
        (self.shape.rate == 0).then(|| self.per_message(self.load_cpu.as_secs_f64() * 1e6))
    }

    pub fn bytes_written_per_message(&self) -> Option<f64> {
        Some(self.per_message(self.broker_writes?.bytes_written as f64))
    }

    pub fn flushes_per_message(&self) -> Option<f64> {
        Some(self.per_message(self.broker_writes?.flushes as f64))
    }

    /// Which latencies are not the broker's, if the machine stood still in the run.
    pub fn warning(&self) -> Option<String> {
        let from = self.hiccups.affects(self.elapsed)?;
        let what = match from {
            "max" => "its longest time is".to_owned(),
            from => format!("its times from {from} on are"),
        };
        let Hiccups { total, longest, .. } = self.hiccups;
        Some(format!(
            "{} {}: this machine stood still for {} ms, {} ms at once: {what} the machine's and not the broker's",
            self.name,
            self.shape.label(),
            total.as_millis(),
            longest.as_millis()
        ))
    }

    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    pub fn percentiles(&self) -> Percentiles {
        Percentiles::of(&self.latency_ns)
    }

    /// As another round of the same run, if there is one.
    pub fn add_to(mut self, runs: &mut Vec<Self>) {
        self.rounds = vec![self.messages_per_second()];
        let same = |run: &&mut Self| run.name == self.name && run.shape == self.shape;
        match runs.iter_mut().find(same) {
            Some(run) => run.merge(self),
            None => runs.push(self),
        }
    }

    /// Adds another round of the same run.
    fn merge(&mut self, other: Self) {
        assert_eq!((&self.name, self.shape), (&other.name, other.shape));
        self.rounds.extend(&other.rounds);
        self.elapsed += other.elapsed;
        self.acked += other.acked;
        self.latency_ns
            .add(other.latency_ns)
            .expect("all latency histograms have the same bounds");
        for (cause, count) in other.errors {
            *self.errors.entry(cause).or_default() += count;
        }
        self.unanswered += other.unanswered;
        self.load_cpu += other.load_cpu;
        self.broker_cpu = both(self.broker_cpu, other.broker_cpu, |a, b| a + b);
        self.broker_writes = both(self.broker_writes, other.broker_writes, WriteCounters::plus);
        self.device_writes = both(self.device_writes, other.device_writes, WriteCounters::plus);
        self.send_stages = both(self.send_stages, other.send_stages, SendStages::plus);
        self.hiccups = self.hiccups.plus(other.hiccups);
        self.time_line.followed_by(other.time_line);
    }

    fn per_message(&self, total: f64) -> f64 {
        total / self.acked.max(1) as f64
    }
}

impl Serialize for RunResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            name: &'a str,
            shape: Shape,
            seconds: f64,
            acked: u64,
            messages_per_second: f64,
            rounds_messages_per_second: &'a [f64],
            megabytes_per_second: f64,
            latency: Percentiles,
            errors: &'a BTreeMap<String, u64>,
            unanswered: u64,
            broker_cpu_us_per_message: Option<f64>,
            load_cpu_us_per_message: Option<f64>,
            bytes_written_per_message: Option<f64>,
            flushes_per_message: Option<f64>,
            broker_writes: Option<WriteCounters>,
            device_writes: Option<WriteCounters>,
            send_stages_mean_us: Option<SendStages>,
            hiccups: Hiccups,
            time_line: &'a TimeLine,
        }
        Shown {
            name: &self.name,
            shape: self.shape,
            seconds: self.elapsed.as_secs_f64(),
            acked: self.acked,
            messages_per_second: self.messages_per_second(),
            rounds_messages_per_second: &self.rounds,
            megabytes_per_second: self.megabytes_per_second(),
            latency: self.percentiles(),
            errors: &self.errors,
            unanswered: self.unanswered,
            broker_cpu_us_per_message: self.broker_cpu_us_per_message(),
            load_cpu_us_per_message: self.load_cpu_us_per_message(),
            bytes_written_per_message: self.bytes_written_per_message(),
            flushes_per_message: self.flushes_per_message(),
            broker_writes: self.broker_writes,
            device_writes: self.device_writes,
            send_stages_mean_us: self.send_stages,
            hiccups: self.hiccups,
            time_line: &self.time_line,
        }
        .serialize(serializer)
    }
}

/// The machine's own limits, measured in the same run as the results that are compared with them.
#[derive(Clone, Debug)]
pub struct Floor {
    pub dsync_write_ns: Histogram<u64>,
    pub loopback_echo_ns: Histogram<u64>,
}

impl Floor {
    pub fn merge(&mut self, other: Self) {
        let bounds = "all latency histograms have the same bounds";
        self.dsync_write_ns.add(other.dsync_write_ns).expect(bounds);
        self.loopback_echo_ns
            .add(other.loopback_echo_ns)
            .expect(bounds);
    }

    /// One durable write and one round trip, each at its median: what a single synchronous producer cannot beat.
    pub fn sync_p50_us(&self) -> f64 {
        Percentiles::of(&self.dsync_write_ns).p50_us
            + Percentiles::of(&self.loopback_echo_ns).p50_us
    }
}

impl Serialize for Floor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            dsync_write_4k: Percentiles,
            loopback_echo_1k: Percentiles,
        }
        Shown {
            dsync_write_4k: Percentiles::of(&self.dsync_write_ns),
            loopback_echo_1k: Percentiles::of(&self.loopback_echo_ns),
        }
        .serialize(serializer)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub title: String,
    pub command: String,
    pub machine: Machine,
    /// What was sent, how, and for how long.
    pub load: Vec<String>,
    pub floor: Option<Floor>,
    pub runs: Vec<RunResult>,
    /// What the figures say.
    pub notes: Vec<String>,
    /// Why they may not be trusted.
    pub warnings: Vec<String>,
    /// How much of the plan was carried out before a signal ended it.
    pub interrupted: Option<String>,
}

impl Report {
    /// Whether every run has acknowledged messages.
    pub fn has_succeeded(&self) -> bool {
        self.runs.iter().all(|run| run.acked > 0)
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn both<T>(a: Option<T>, b: Option<T>, add: impl FnOnce(T, T) -> T) -> Option<T> {
    Some(add(a?, b?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::histogram::latency_histogram;

    pub fn example(name: &str, shape: Shape, slowest_us: u64) -> RunResult {
        let mut latency_ns = latency_histogram();
        for us in 1..=slowest_us {
            latency_ns.record(us * 1000).unwrap();
        }
        RunResult {
            name: name.to_owned(),
            shape,
            elapsed: Duration::from_secs(2),
            acked: 10_000,
            latency_ns,
            errors: BTreeMap::new(),
            unanswered: 0,
            broker_cpu: Some(Duration::from_millis(20)),
            load_cpu: Duration::from_millis(10),
            broker_writes: Some(WriteCounters {
                writes: 100,
                bytes_written: 14_000_000,
                flushes: 50,
            }),
            device_writes: None,
            send_stages: SendStages::parse(crate::bench::stages::tests::TEXT),
            hiccups: Hiccups::default(),
            time_line: TimeLine {
                slowest_ns: vec![slowest_us * 1000],
                hiccup_ns: Vec::new(),
            },
            rounds: vec![5_000.0],
        }
    }

    pub const SHAPE: Shape = Shape {
        connections: 16,
        in_flight: 1,
        size_bytes: 1024,
        rate: 0,
    };

    #[test]
    fn figures_are_per_acknowledged_message() {
        let result = example("sync", SHAPE, 100);
        assert_eq!(result.messages_per_second(), 5_000.0);
        assert_eq!(result.broker_cpu_us_per_message(), Some(2.0));
        assert_eq!(result.bytes_written_per_message(), Some(1_400.0));
        assert_eq!(result.flushes_per_message(), Some(0.005));
    }

    #[test]
    fn merged_rounds_are_one_longer_run() {
        let mut result = example("sync", SHAPE, 100);
        let mut other = example("sync", SHAPE, 300);
        other.errors.insert("SYSTEM_BUSY".to_owned(), 3);
        result.merge(other);
        assert_eq!(result.acked, 20_000);
        assert_eq!(result.messages_per_second(), 5_000.0);
        assert_eq!(result.broker_cpu_us_per_message(), Some(2.0));
        assert_eq!(result.latency_ns.len(), 400);
        assert_eq!(result.error_count(), 3);
        assert_eq!(result.range(), Some((5_000.0, 5_000.0)));
    }

    #[test]
    fn a_machine_that_stood_still_is_a_warning() {
        let mut run = example("sync", SHAPE, 100);
        assert_eq!(run.warning(), None);
        run.hiccups = Hiccups {
            count: 2,
            total: Duration::from_millis(70),
            longest: Duration::from_millis(62),
            stolen: Duration::ZERO,
        };
        let expected = "sync 16 x 1: this machine stood still for 70 ms, 62 ms at once: its times from p99 on are the machine's and not the broker's";
        assert_eq!(run.warning().as_deref(), Some(expected));
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1234567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
