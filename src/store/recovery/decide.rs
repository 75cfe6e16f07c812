//! What a start does, decided from all evidence.
//!
//! | Checkpoint | the queues come from, in this order |
//! |---|---|
//! | ours | the journal; the queues' files up to the checkpoint; all of the log |
//! | RocketMQ's, cleanly stopped | the queues' files, compared from the file of the newest message on; all of the log |
//! | RocketMQ's, killed | the queues' files up to its times; all of the log |
//! | none | all of the log |
//! | RocketMQ's, with queues of batches | all of the log |
//! | ours, where the log is cut ahead of it | the queues' files, as far as the log stays; all of the log |
//! | another one, where the log is cut | all of the log |
//!
//! The first source that fits the log counts. The rest of the log behind it is read in any case, to its end:
//!
//! | A place without the next record | is |
//! |---|---|
//! | ahead of what was durable, or with a later record further behind than an unflushed write can be | damage: the start is refused, or skips it where that was asked for |
//! | any other | the end of the log: what is behind is wiped, as far as an unflushed write can reach |

use super::evidence::Evidence;
use crate::mem::BLOCK_BYTES;
use crate::store::abort::LastShutdown;
use crate::store::config::Resume;
use crate::store::log::buffer::{MAX_WRITE_BYTES, ceil};
use crate::store::log::reader::MAX_RECORD_BYTES;
use crate::store::queues::checkpoint::{Checkpoint, Found};
use crate::store::queues::journal::Origin;

/// RocketMQ's times may be behind or ahead of what is in its files by this (`StoreCheckpoint.getMinTimestamp`).
const TIME_SLACK_MS: i64 = 3_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Plan {
    pub log: LogFiles,
    /// Tried in this order. The last one always fits.
    pub sources: Vec<Source>,
    /// The log does not end before this position.
    pub durable_to: u64,
    /// The log's records from here on are this broker's; `None`: not known.
    pub ours_from: Option<u64>,
    /// No write that was not flushed ends further than this behind the log's end.
    pub unflushed_bytes: u64,
    /// The last process acknowledged nothing before its flush.
    pub was_sync: bool,
    /// No RocketMQ has had the store since this broker wrote to it.
    pub is_ours: bool,
    /// Everything was flushed and the clean mark written.
    pub was_closed: bool,
    /// RocketMQ was the last to write, and was killed.
    pub by_rocketmq: bool,
    /// The log ends at the record that ends here or ahead of here.
    pub cut: Option<u64>,
    /// A log without any record begins here.
    pub begin: Option<u64>,
    /// By the marks nothing was written behind this.
    written_to: u64,
    wipe_bytes: u64,
}

/// Whether the log's files are all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum LogFiles {
    Complete,
    /// The start is refused.
    Missing,
    /// Files without a message take their places, up to the file of the last position.
    Replaced {
        from: u64,
        to: u64,
    },
}

/// Where the queues come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Source {
    Journal,
    QueueFiles(Checkpoint),
    /// The checkpoint is behind the place where the log is cut: the files, as far as the log stays.
    CutQueueFiles(Checkpoint),
    /// After RocketMQ: all that its queues' files have, from the file of the newest message on compared with the log.
    RocketMqFiles,
    /// The same, up to this time.
    RocketMqFilesUpTo {
        time_ms: i64,
    },
    Log,
}

/// What is done once the end of the log is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum End {
    /// The log is as RocketMQ has left it.
    Kept,
    /// The log was closed, which left zeros behind its end. Other bytes there are overwritten with zeros.
    Closed,
    /// What was read is written again and flushed, and what is behind it wiped up to a position.
    Wiped { up_to: u64 },
    /// The rest of the log is removed, its end first: wiped from a position back to the new end.
    Cut { from: u64 },
}

pub(in crate::store) fn decide(evidence: &Evidence) -> Plan {
    Plan {
        log: log_files(evidence),
        sources: sources(evidence),
        durable_to: evidence.durable_to(),
        ours_from: evidence.ours_from(),
        unflushed_bytes: unflushed_bytes(evidence),
        was_sync: was_sync(evidence),
        is_ours: evidence.is_ours(),
        was_closed: evidence.last_shutdown == LastShutdown::Clean,
        by_rocketmq: evidence.last_shutdown == LastShutdown::UncleanByRocketMq,
        cut: evidence.cut(),
        begin: match evidence.resume {
            Resume::BeginAt(position) => Some(position),
            Resume::AsIs | Resume::CutAt(_) => None,
        },
        written_to: evidence.written_to(),
        // What was flushed last may end within the record of which the end has half.
        wipe_bytes: evidence.max_unflushed_bytes + MAX_RECORD_BYTES as u64,
    }
}

fn log_files(evidence: &Evidence) -> LogFiles {
    let durable_to = evidence.durable_to();
    let had_messages = durable_to > 0 || evidence.has_entries;
    if evidence.log_reaches() || !had_messages {
        return LogFiles::Complete;
    }
    if !evidence.skip_damaged {
        return LogFiles::Missing;
    }
    let last = durable_to - durable_to % evidence.segment_bytes;
    LogFiles::Replaced {
        from: evidence.log.map_or(last, |(_, end)| end),
        to: last,
    }
}

fn sources(evidence: &Evidence) -> Vec<Source> {
    match evidence.checkpoint {
        Found::Ours(checkpoint) if evidence.cut().is_some_and(|cut| cut < checkpoint.position) => {
            vec![Source::CutQueueFiles(checkpoint), Source::Log]
        }
        // What RocketMQ has had is read as a whole where it is cut.
        Found::Times { .. } if evidence.cut().is_some() || evidence.has_batch_queues => {
            vec![Source::Log]
        }
        Found::Ours(checkpoint) => {
            vec![Source::Journal, Source::QueueFiles(checkpoint), Source::Log]
        }
        Found::Times { .. } if evidence.last_shutdown == LastShutdown::Clean => {
            vec![Source::RocketMqFiles, Source::Log]
        }
        // A torn time may have any value.
        Found::Times { store_time_ms } if store_time_ms <= evidence.now_ms => {
            let time_ms = store_time_ms - TIME_SLACK_MS;
            vec![Source::RocketMqFilesUpTo { time_ms }, Source::Log]
        }
        Found::Times { .. } | Found::None { .. } => vec![Source::Log],
    }
}

fn was_sync(evidence: &Evidence) -> bool {
    let was_sync = evidence.note.as_ref().is_some_and(|note| note.is_sync);
    was_sync && evidence.is_ours()
}

/// In sync mode one write is in flight, and the one before it is flushed.
fn unflushed_bytes(evidence: &Evidence) -> u64 {
    match was_sync(evidence) {
        true => evidence.max_unflushed_bytes.min(MAX_WRITE_BYTES),
        false => evidence.max_unflushed_bytes,
    }
}

impl Plan {
    /// How the queues were left is known from where they come from, unless RocketMQ has written since.
    pub fn origin(&self, of_source: Origin) -> Origin {
        match of_source {
            Origin::Usual if self.by_rocketmq => Origin::Foreign,
            origin => origin,
        }
    }

    /// The wipe is bounded by what either flush mode leaves unflushed, whichever was on: the cost does not matter.
    pub fn end(&self, origin: Origin, tail: u64) -> End {
        if self.cut.is_some() {
            let written_to = self.written_to.max(tail);
            let unflushed = self.wipe_bytes + BLOCK_BYTES as u64;
            return End::Cut {
                from: ceil(written_to).saturating_add(unflushed),
            };
        }
        match origin {
            _ if self.was_closed && self.is_ours => End::Closed,
            _ if self.was_closed => End::Kept,
            Origin::Usual => End::Wiped {
                up_to: ceil(tail) + self.wipe_bytes + BLOCK_BYTES as u64,
            },
            // RocketMQ has no such bound.
            Origin::Foreign | Origin::Rebuilding => End::Wiped { up_to: u64::MAX },
        }
    }
}

#[cfg(test)]
mod tests;
