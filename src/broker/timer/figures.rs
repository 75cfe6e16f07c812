//! The timers as administrators and slaves of RocketMQ see them (`TimerCheckpoint`, `TimerMetrics`).
//!
//! ```text
//! check point, big endian, 56 bytes of RocketMQ's, which ignores what follows:
//! [ lastReadTimeMs 8 | lastTimerLogFlushPos 8 | lastTimerQueueOffset 8 | masterTimerQueueOffset 8 |
//!   stateVersion 8 | timestamp 8 | counter 8 | ours: knownPosition 8 | ours: logEnd 8 ]
//! ```

use super::waiting::{Waiting, WaitingTable};
use crate::broker::limits::ROWS_PER_TURN;
use crate::wire::DataVersion;
use crate::wire::loose_json::BodyError;
use crate::wire::loose_json::members::{Members, Next, Want};

/// Figures of the timers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimerFigures {
    /// Everything that was due by then is delivered, ...
    pub read_ms: u64,
    /// ... if it stands before this offset of the timer topic's queue.
    pub delivered_offset: u64,
    /// Whatever was delivered before this position of the log is over by that.
    pub known_position: u64,
    /// The next message of the timer topic's queue that is to be looked at, and how many are behind it.
    pub queue_offset: u64,
    pub behind_messages: u64,
    /// How late the next message to be delivered is, at most.
    pub behind_ms: u64,
    /// Shared: it has a row for each topic.
    pub waiting: WaitingTable,
    pub version: DataVersion,
}

/// The rows of such a table as of one moment, some in each turn.
#[derive(Clone, Debug)]
pub struct WaitingRows {
    table: WaitingTable,
    /// Rows up to this one are written.
    after: Option<String>,
}

impl WaitingRows {
    pub fn of(table: WaitingTable) -> Self {
        Self { table, after: None }
    }

    /// Writes the next rows; whether these were the last ones.
    pub fn write_some<E>(
        &mut self,
        mut write: impl FnMut(&str, &Waiting) -> Result<(), E>,
    ) -> Result<bool, E> {
        let rows = self.table.after(self.after.as_deref());
        let (mut last, mut count) = (None, 0);
        for (topic, waiting) in rows.take(ROWS_PER_TURN) {
            write(topic, waiting)?;
            (last, count) = (Some(topic), count + 1);
        }
        self.after = last.map(str::to_owned);
        Ok(count < ROWS_PER_TURN)
    }
}

impl TimerFigures {
    /// Of all topics; as many rows are added.
    pub fn all_waiting(&self) -> u64 {
        self.waiting.iter().map(|(_, waiting)| waiting.count).sum()
    }

    /// The body of the answer to GET_TIMER_CHECK_POINT (60). There is no log of timers but the timer topic's queue. A slave takes
    /// everything as delivered that was due by `lastReadTimeMs` and stands before `masterTimerQueueOffset`; it was written to the log before `log_end`.
    pub fn check_point(&self, log_end: u64) -> Vec<u8> {
        let numbers = [
            self.read_ms as i64,
            0,
            self.queue_offset as i64,
            self.delivered_offset as i64,
            self.version.state_version,
            self.version.timestamp_ms,
            self.version.counter,
            self.known_position as i64,
            log_end as i64,
        ];
        numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
    }
}

/// What a master says of its timers: the answers to 60 and 61.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MasterTimers {
    /// Everything that was due by then is delivered, ...
    pub read_ms: u64,
    /// ... if it stands before this offset of the timer topic's queue.
    pub delivered_offset: u64,
    /// Whatever was delivered before this position of the log is over by that.
    pub known_position: u64,
    /// What counts as delivered was written to the master's log before this position; 0: it did not say.
    pub log_end: u64,
    /// None: it did not say.
    pub waiting: Option<MasterWaiting>,
}

/// How many messages wait for their time at the master, by topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MasterWaiting {
    pub data_version: DataVersion,
    pub timing_count: WaitingTable,
}

/// The body of the answer to GET_TIMER_METRICS (61) that is being read.
#[derive(Debug)]
pub struct MetricsReader {
    members: Members,
    data_version: DataVersion,
    timing_count: WaitingTable,
}

impl MetricsReader {
    pub fn new(body: Vec<u8>) -> Self {
        Self {
            members: Members::of(body),
            data_version: DataVersion::default(),
            timing_count: WaitingTable::default(),
        }
    }

    /// Reads on, a piece in each turn; what it says, if that was the end.
    pub fn turn(&mut self) -> Result<Option<MasterWaiting>, BodyError> {
        let want = |path: &[String]| match path {
            [name] if name == "dataVersion" => Want::Value,
            [name] if name == "timingCount" => Want::Members,
            [_, _] => Want::Value,
            _ => Want::Nothing,
        };
        loop {
            match self.members.next(want)? {
                Next::TurnEnds => return Ok(None),
                Next::End => {
                    return Ok(Some(MasterWaiting {
                        data_version: self.data_version,
                        timing_count: std::mem::take(&mut self.timing_count),
                    }));
                }
                Next::Value if self.members.path().len() == 1 => {
                    self.data_version = self.members.value::<Option<_>>()?.unwrap_or_default();
                }
                Next::Value => {
                    let waiting: Option<Waiting> = self.members.value()?;
                    if let ([_, topic], Some(waiting)) = (self.members.path(), waiting) {
                        *self.timing_count.row(topic) = waiting;
                    }
                }
            }
        }
    }
}

impl MasterTimers {
    /// Of the body of the answer to 60. RocketMQ's master states two offsets of the queue: what it has read, and what it has saved of
    /// that. The smaller one is safe: what is behind it may be delivered twice, and is never lost. None: it is too short.
    /// `log_position`: where the slave's log was committed when it asked. A RocketMQ master does not say what it knows, and its deliveries
    /// do not state where they come from.
    pub fn of_check_point(body: &[u8], log_position: u64) -> Option<Self> {
        let number = |nth: usize| {
            let bytes = body.get(nth * 8..)?.first_chunk()?;
            u64::try_from(i64::from_be_bytes(*bytes)).ok()
        };
        Some(Self {
            read_ms: number(0)?,
            delivered_offset: number(2)?.min(number(3)?),
            known_position: number(7).unwrap_or(log_position),
            log_end: number(8).unwrap_or(0),
            waiting: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slave_reads_what_the_master_says() {
        let figures = TimerFigures {
            read_ms: 1_000,
            delivered_offset: 7,
            queue_offset: 9,
            known_position: 4,
            ..TimerFigures::default()
        };
        let body = figures.check_point(6);
        assert_eq!(body.len(), 72);
        let read = MasterTimers::of_check_point(&body, 5).unwrap();
        assert_eq!((read.read_ms, read.delivered_offset), (1_000, 7));
        assert_eq!((read.known_position, read.log_end), (4, 6));
        let of_rocketmq = MasterTimers::of_check_point(&body[..56], 5).unwrap();
        assert_eq!((of_rocketmq.known_position, of_rocketmq.log_end), (5, 0));
        assert_eq!(MasterTimers::of_check_point(&body[..31], 5), None);
        let negative = [&(-1i64).to_be_bytes()[..], &body[8..]].concat();
        assert_eq!(MasterTimers::of_check_point(&negative, 5), None);
    }
}
