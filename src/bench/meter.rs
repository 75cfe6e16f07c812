//! The cost of a run: read at both ends of the measured window.

use std::path::Path;
use std::time::{Duration, Instant};

use super::counters::WriteCounters;
use super::hiccups::{self, HiccupMeter, Hiccups};
use super::histogram::latency_histogram;
use super::result::{RunResult, Shape};
use super::stages::{STAGES_KEY, SendStages};
use super::time_line::TimeLine;
use super::{EmbeddedBroker, cpu};
use crate::client::{API_TIMEOUT, Remote};
use crate::wire::codes::request;

/// Keys of a broker's runtime info (28) for the writes of its log; RocketMQ has none like them.
pub const WRITES_KEY: &str = "ringmqLogWrites";
pub const BYTES_WRITTEN_KEY: &str = "ringmqLogBytesWritten";
pub const FLUSHES_KEY: &str = "ringmqLogFlushes";

/// Where the broker's CPU time is read.
pub enum Cpu<'a> {
    /// A broker in this process.
    Embedded(&'a dyn EmbeddedBroker),
    /// A process of this machine, if the broker is one and it is known.
    Process(Option<u32>),
}

pub struct Meter<'a> {
    /// Asked for their runtime info.
    pub brokers: &'a [Remote],
    pub cpu: Cpu<'a>,
    /// A directory on the device that the broker writes to, if it is one of this machine.
    pub device_dir: Option<&'a Path>,
    pub hiccups: &'a HiccupMeter,
}

#[derive(Clone, Copy, Debug)]
pub struct Sample {
    at: Instant,
    acked: u64,
    broker_cpu: Option<Duration>,
    load_cpu: Duration,
    broker: Option<BrokerFigures>,
    device_writes: Option<WriteCounters>,
    stolen: Duration,
}

impl Meter<'_> {
    /// To be called on the load generator's thread.
    pub async fn sample(&self, acked: u64) -> Sample {
        let at = Instant::now();
        let load_cpu = cpu::of_this_thread().unwrap_or_default();
        let device_writes = self
            .device_dir
            .and_then(|dir| WriteCounters::of_device(dir).ok());
        let broker_cpu = match self.cpu {
            Cpu::Embedded(broker) => broker.cpu(),
            Cpu::Process(pid) => pid.and_then(|pid| cpu::of_process(pid).ok()),
        };
        let broker = asked(self.brokers).await;
        Sample {
            at,
            acked,
            broker_cpu,
            load_cpu,
            broker,
            device_writes,
            stolen: hiccups::stolen().unwrap_or_default(),
        }
    }

    /// A result with what was counted between the two; its latencies and errors are for the caller to fill in.
    pub fn between(&self, before: Sample, after: Sample) -> RunResult {
        let mut time_line = TimeLine::default();
        let hiccups = self.hiccups.between(before.at, after.at, &mut time_line);
        let both = after.broker_cpu.zip(before.broker_cpu);
        let broker = after.broker.zip(before.broker);
        let device_writes = after.device_writes.zip(before.device_writes);
        RunResult {
            name: String::new(),
            shape: Shape {
                connections: 0,
                in_flight: 0,
                size_bytes: 0,
                rate: 0,
            },
            elapsed: after.at - before.at,
            acked: after.acked - before.acked,
            latency_ns: latency_histogram(),
            errors: Default::default(),
            unanswered: 0,
            broker_cpu: both.map(|(now, then)| now.saturating_sub(then)),
            load_cpu: after.load_cpu.saturating_sub(before.load_cpu),
            broker_writes: broker.map(|(now, then)| now.writes.since(then.writes)),
            device_writes: device_writes.map(|(now, then)| now.since(then)),
            send_stages: broker.and_then(|(now, then)| Some(now.stages?.since(then.stages?))),
            hiccups: Hiccups {
                stolen: after.stolen.saturating_sub(before.stolen),
                ..hiccups
            },
            time_line,
            rounds: Vec::new(),
        }
    }
}

/// What brokers have counted since their start.
#[derive(Clone, Copy, Debug, PartialEq)]
struct BrokerFigures {
    writes: WriteCounters,
    /// Of a ringmq that has them.
    stages: Option<SendStages>,
}

impl BrokerFigures {
    /// From a runtime info.
    fn parse(body: &[u8]) -> Option<Self> {
        let info: serde_json::Value = serde_json::from_slice(body).ok()?;
        let table = info.get("table")?;
        let text = |key: &str| table.get(key)?.as_str();
        let number = |key: &str| text(key)?.parse().ok();
        Some(Self {
            writes: WriteCounters {
                writes: number(WRITES_KEY)?,
                bytes_written: number(BYTES_WRITTEN_KEY)?,
                flushes: number(FLUSHES_KEY)?,
            },
            stages: text(STAGES_KEY).and_then(SendStages::parse),
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            writes: self.writes.plus(other.writes),
            stages: self.stages.zip(other.stages).map(|(a, b)| a.plus(b)),
        }
    }
}

/// The sum over the brokers, if every one of them has these figures.
async fn asked(brokers: &[Remote]) -> Option<BrokerFigures> {
    let mut sum = None;
    for broker in brokers {
        let answer = broker
            .call(request::GET_BROKER_RUNTIME_INFO, &[], &[], API_TIMEOUT)
            .await
            .ok()?;
        let figures = BrokerFigures::parse(&answer.success().ok()?.body)?;
        sum = Some(sum.map_or(figures, |sum: BrokerFigures| sum.plus(figures)));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_runtime_info_or_not() {
        let body = br#"{"table":{"ringmqLogWrites":"3","ringmqLogBytesWritten":"12288","ringmqLogFlushes":"2","runtime":"x"}}"#;
        let writes = WriteCounters {
            writes: 3,
            bytes_written: 12288,
            flushes: 2,
        };
        let expected = BrokerFigures {
            writes,
            stages: None,
        };
        assert_eq!(BrokerFigures::parse(body), Some(expected));
        assert_eq!(BrokerFigures::parse(br#"{"table":{"runtime":"x"}}"#), None);
        assert_eq!(BrokerFigures::parse(b"nonsense"), None);
    }

    #[test]
    fn stages_are_found_beside_them() {
        let stages = crate::bench::stages::tests::TEXT;
        let body = format!(
            r#"{{"table":{{"ringmqLogWrites":"3","ringmqLogBytesWritten":"12288","ringmqLogFlushes":"2","ringmqSendStages":"{stages}"}}}}"#
        );
        let figures = BrokerFigures::parse(body.as_bytes()).expect("they are there");
        assert_eq!(figures.stages, SendStages::parse(stages));
        assert!(figures.stages.is_some());
    }
}
