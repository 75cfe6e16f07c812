//! The timers as administrators and slaves of RocketMQ see them (`TimerCheckpoint`, `TimerMetrics`).
//!
//! ```text
//! check point, 56 bytes, big endian:
//! [ lastReadTimeMs 8 | lastTimerLogFlushPos 8 | lastTimerQueueOffset 8 | masterTimerQueueOffset 8 |
//!   stateVersion 8 | timestamp 8 | counter 8 ]
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::DataVersion;

/// Figures of the timers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimerFigures {
    /// Everything that was due by then is delivered.
    pub read_ms: u64,
    /// The next message of the timer topic's queue that is to be looked at, and how many are behind it.
    pub queue_offset: u64,
    pub behind_messages: u64,
    /// How late the next message to be delivered is, at most.
    pub behind_ms: u64,
    pub waiting: BTreeMap<String, Waiting>,
    pub version: DataVersion,
}

/// How many messages of a topic wait for their time, and when that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Waiting {
    pub count: u64,
    #[serde(rename = "timeStamp")]
    pub changed_ms: u64,
}

/// The body of the answer to GET_TIMER_METRICS (61).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TimerMetrics<'a> {
    pub data_version: DataVersion,
    pub timing_count: &'a BTreeMap<String, Waiting>,
}

impl TimerFigures {
    pub fn all_waiting(&self) -> u64 {
        self.waiting.values().map(|waiting| waiting.count).sum()
    }

    /// The body of the answer to GET_TIMER_CHECK_POINT (60). There is no log of timers but the timer topic's queue.
    pub fn check_point(&self) -> Vec<u8> {
        let numbers = [
            self.read_ms as i64,
            0,
            self.queue_offset as i64,
            self.queue_offset as i64,
            self.version.state_version,
            self.version.timestamp_ms,
            self.version.counter,
        ];
        numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    pub fn metrics(&self) -> TimerMetrics<'_> {
        TimerMetrics {
            data_version: self.version,
            timing_count: &self.waiting,
        }
    }
}
