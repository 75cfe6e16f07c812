//! Workload files of OpenMessaging Benchmark: which topics, producers and consumers there are, what is sent, how fast and for how long.
//!
//! | Field | here |
//! |---|---|
//! | `topics`, `partitionsPerTopic` | topics, and queues of each on every broker |
//! | `messageSize`, or the length of `payloadFile` beside the workload | bytes of a body |
//! | `producersPerTopic` | connections that send, for each topic |
//! | `producerRate` | messages a second of all producers, in open loop; 0: as many as the broker takes, in closed loop |
//! | `subscriptionsPerTopic`, `consumerPerSubscription` | groups, and connections of each that pull from every topic |
//! | `consumerBacklogSizeGB` | so much is sent first, and then read again and again by one group |
//! | `warmupDurationMinutes` (1), `testDurationMinutes` | before the measurement, and measured |
//!
//! Other fields have no effect, and are named in the report: every message has a key of its own here. Source of names and defaults: `Workload.java`.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use saphyr::{LoadableYamlNode, Scalar, Yaml};

/// More topics, queues, groups, minutes or gigabytes are taken for a typing error.
const MOST: f64 = 1e6;

/// The load generator is one thread.
const MOST_CONNECTIONS: usize = 100_000;

/// Bytes of a body. No broker takes a larger message.
const SIZES: RangeInclusive<f64> = 1.0..=(1_u64 << 30) as f64;

/// What has an effect, and what has none.
const KNOWN: [&str; 12] = [
    "name",
    "topics",
    "partitionsPerTopic",
    "messageSize",
    "payloadFile",
    "subscriptionsPerTopic",
    "consumerPerSubscription",
    "producersPerTopic",
    "producerRate",
    "consumerBacklogSizeGB",
    "warmupDurationMinutes",
    "testDurationMinutes",
];

#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    pub name: String,
    pub topics: usize,
    pub queues: u32,
    pub size_bytes: usize,
    /// Groups that read every topic; 0: nothing is read.
    pub subscriptions: usize,
    /// Connections of each group, for each topic.
    pub consumers: usize,
    /// Connections that send, for each topic.
    pub producers: usize,
    /// Messages a second in all; 0: as many as the broker takes.
    pub rate: u64,
    /// Messages that are sent before they are read; 0: they are read as they come.
    pub backlog: u64,
    pub warm_up: Duration,
    pub duration: Duration,
    /// Fields without an effect.
    pub ignored: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    #[error("{}: {error}", path.display())]
    Io {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("no YAML: {0}")]
    Yaml(String),
    #[error("no workload: a list of fields with values is expected, such as `topics: 1`")]
    NoFields,
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error(
        "{0} connections, of producers and consumers for all topics; {MOST_CONNECTIONS} are possible"
    )]
    Connections(usize),
    #[error("{field}: got {got}, expected {expected}")]
    Value {
        field: &'static str,
        got: String,
        expected: String,
    },
}

impl Workload {
    /// A payload file is looked for where the workload is, and one folder above it: OpenMessaging Benchmark is started there.
    pub fn read(path: &Path) -> Result<Self, WorkloadError> {
        let text = std::fs::read_to_string(path).map_err(|error| WorkloadError::Io {
            path: path.to_owned(),
            error,
        })?;
        let folders = path.ancestors().skip(1).take(2);
        let folders: Vec<_> = folders.map(Path::to_owned).collect();
        Self::parse(&text, |payload| {
            let places = folders.iter().map(|folder| folder.join(payload));
            places.flat_map(std::fs::metadata).map(|it| it.len()).next()
        })
    }

    /// `payload_bytes`: the length of a payload file, if it is there.
    fn parse(
        text: &str,
        payload_bytes: impl Fn(&str) -> Option<u64>,
    ) -> Result<Self, WorkloadError> {
        let documents = Yaml::load_from_str(text);
        let documents = documents.map_err(|error| WorkloadError::Yaml(error.to_string()))?;
        let Some(Yaml::Mapping(fields)) = documents.first() else {
            return Err(WorkloadError::NoFields);
        };
        let document = Fields(&documents[0]);
        let names = fields.keys().filter_map(Yaml::as_str);
        let ignored = names.filter(|name| !KNOWN.contains(name));
        let ignored = ignored.map(str::to_owned).collect();
        let payload = document.text("payloadFile").and_then(payload_bytes);
        let size_bytes = match payload.map(|bytes| bytes as f64) {
            Some(bytes) if SIZES.contains(&bytes) => bytes,
            Some(bytes) => return Err(wrong("payloadFile", &bytes.to_string(), &SIZES)),
            None => document.number("messageSize", SIZES, None)?,
        };
        let gigabytes = document.number("consumerBacklogSizeGB", 0.0..=MOST, Some(0.0))?;
        let count = |field| document.number(field, 1.0..=MOST, None);
        let minutes = |field, least, usual| {
            let minutes = document.number(field, least..=MOST, usual)?;
            Ok::<_, WorkloadError>(Duration::from_secs_f64(minutes * 60.0))
        };
        let subscriptions = document.number("subscriptionsPerTopic", 0.0..=MOST, None)?;
        let workload = Self {
            name: document.text("name").unwrap_or("workload").to_owned(),
            topics: count("topics")? as usize,
            queues: count("partitionsPerTopic")? as u32,
            size_bytes: size_bytes as usize,
            subscriptions: subscriptions as usize,
            consumers: match subscriptions {
                0.0 => 0,
                _ => count("consumerPerSubscription")? as usize,
            },
            producers: count("producersPerTopic")? as usize,
            rate: document.number("producerRate", 0.0..=1e9, None)? as u64,
            // Of 1024^3 bytes each, as there.
            backlog: (gigabytes * (1_u64 << 30) as f64 / size_bytes) as u64,
            warm_up: minutes("warmupDurationMinutes", 0.0, Some(1.0))?,
            duration: minutes("testDurationMinutes", 1e-3, None)?,
            ignored,
        };
        match workload.connections() {
            ..=MOST_CONNECTIONS => Ok(workload),
            all => Err(WorkloadError::Connections(all)),
        }
    }

    /// Of all producers and consumers.
    fn connections(&self) -> usize {
        let of_topic = self.producers + self.subscriptions * self.consumers;
        self.topics.saturating_mul(of_topic)
    }
}

struct Fields<'y>(&'y Yaml<'y>);

impl<'y> Fields<'y> {
    fn text(&self, field: &str) -> Option<&'y str> {
        self.0.as_mapping_get(field)?.as_str()
    }

    fn number(
        &self,
        field: &'static str,
        range: RangeInclusive<f64>,
        usual: Option<f64>,
    ) -> Result<f64, WorkloadError> {
        let got = match self.0.as_mapping_get(field) {
            None | Some(Yaml::Value(Scalar::Null)) => {
                return usual.ok_or(WorkloadError::Missing(field));
            }
            Some(Yaml::Value(Scalar::Integer(number))) => *number as f64,
            Some(Yaml::Value(Scalar::FloatingPoint(number))) => number.into_inner(),
            Some(other) => return Err(wrong(field, &format!("{other:?}"), &range)),
        };
        match range.contains(&got) {
            true => Ok(got),
            false => Err(wrong(field, &got.to_string(), &range)),
        }
    }
}

fn wrong(field: &'static str, got: &str, range: &RangeInclusive<f64>) -> WorkloadError {
    WorkloadError::Value {
        field,
        got: got.to_owned(),
        expected: format!("a number from {} to {}", range.start(), range.end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `workloads/1-topic-16-partitions-1kb.yaml` of OpenMessaging Benchmark, without its licence.
    const ONE_TOPIC: &str = r#"
name: 1 topic / 16 partitions / 1Kb

topics: 1
partitionsPerTopic: 16
keyDistributor: "NO_KEY"
messageSize: 1024
payloadFile: "payload/payload-1Kb.data"
subscriptionsPerTopic: 1
consumerPerSubscription: 1
producersPerTopic: 1
producerRate: 50000
consumerBacklogSizeGB: 0
testDurationMinutes: 15
"#;

    fn parse(text: &str) -> Result<Workload, WorkloadError> {
        Workload::parse(text, |_| None)
    }

    #[test]
    fn a_workload_of_the_benchmark_is_read() {
        let expected = Workload {
            name: "1 topic / 16 partitions / 1Kb".to_owned(),
            topics: 1,
            queues: 16,
            size_bytes: 1024,
            subscriptions: 1,
            consumers: 1,
            producers: 1,
            rate: 50_000,
            backlog: 0,
            warm_up: Duration::from_secs(60),
            duration: Duration::from_secs(900),
            ignored: vec!["keyDistributor".to_owned()],
        };
        assert_eq!(parse(ONE_TOPIC).unwrap(), expected);
        let payload = Workload::parse(ONE_TOPIC, |file| {
            (file == "payload/payload-1Kb.data").then_some(1_000)
        });
        assert_eq!(payload.unwrap().size_bytes, 1_000);
    }

    #[test]
    fn a_backlog_is_counted_in_messages() {
        let text = ONE_TOPIC.replace("consumerBacklogSizeGB: 0", "consumerBacklogSizeGB: 2");
        assert_eq!(parse(&text).unwrap().backlog, 2 << 20);
        let nobody = ONE_TOPIC.replace("subscriptionsPerTopic: 1", "subscriptionsPerTopic: 0");
        let nobody = nobody.replace("consumerPerSubscription: 1\n", "");
        let nobody = parse(&nobody).unwrap();
        assert_eq!((nobody.subscriptions, nobody.consumers), (0, 0));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let said = |from: &str, to: &str| {
            let text = ONE_TOPIC.replace(from, to);
            parse(&text).unwrap_err().to_string()
        };
        assert_eq!(said("topics: 1\n", ""), "topics is missing");
        assert_eq!(
            said("topics: 1\n", "topics: 0\n"),
            "topics: got 0, expected a number from 1 to 1000000"
        );
        assert!(said("producerRate: 50000", "producerRate: fast").contains("producerRate: got"));
        assert_eq!(
            said("producersPerTopic: 1\n", "producersPerTopic: 200000\n"),
            "200001 connections, of producers and consumers for all topics; 100000 are possible"
        );
        let empty = Workload::parse(ONE_TOPIC, |_| Some(0)).unwrap_err();
        assert!(empty.to_string().starts_with("payloadFile: got 0,"));
        assert!(said("topics: 1\n", "topics: [1\n").starts_with("no YAML: "));
        assert!(
            parse("just a text")
                .unwrap_err()
                .to_string()
                .starts_with("no workload")
        );
    }
}
