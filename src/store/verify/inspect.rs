//! What a store has, without a look at each of its messages: `ringmq store inspect`.

use serde::Serialize;

use super::log::{LogFile, LogFiles};
use super::{Check, Listener, Subject};
use crate::io::Io;
use crate::store::StoreError;
use crate::store::log::reader::store_time_of;
use crate::store::queues::files::QueueFiles;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    pub was_closed: bool,
    pub log_min: u64,
    /// Where the log ends, read from the last file's beginning, or from the checkpoint if that is later.
    pub log_end: u64,
    pub log_files: Vec<LogFileOverview>,
    pub queues: Vec<QueueFilesFound>,
    /// None: there is none of ours that is whole.
    pub checkpoint: Option<CheckpointFound>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogFileOverview {
    #[serde(flatten)]
    pub file: LogFile,
    /// Up to the blank record that ends it, or to where the log is.
    pub used_bytes: u64,
    pub first_store_time_ms: Option<i64>,
    pub last_store_time_ms: Option<i64>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueFilesFound {
    pub topic: String,
    pub queue_id: u32,
    pub min: u64,
    pub max: u64,
    pub is_whole: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointFound {
    pub position: u64,
    pub store_time_ms: i64,
    pub queues_digest: u64,
    pub indexed_to: Option<u64>,
}

/// Discards progress.
struct Silence;

impl Listener for Silence {
    fn found(&mut self, _: super::Finding) {}
    fn progress(&mut self, _: u64, _: u64) {}
}

pub async fn inspect<I: Io>(io: &I, subject: &Subject) -> Result<Overview, StoreError> {
    let mut silence = Silence;
    let check = Check::new(io, subject, &mut silence).await?;
    let log = LogFiles::open(io, subject).await?;
    let queue_files = QueueFiles::view(check.io.clone(), subject.dir.join("consumequeue"));
    let queues = queue_files.find_all().await?.into_iter();
    let checkpoint = check.checkpoint;
    let last_file = log.files.iter().rev();
    let mut from = log.min();
    for file in last_file {
        if log.record_from_start(file.start).await?.is_some() {
            from = file.start;
            break;
        }
    }
    let checkpointed = checkpoint.map_or(0, |checkpoint| checkpoint.position);
    let log_end = log.end_from(from.max(checkpointed.min(log.end()))).await?;
    Ok(Overview {
        was_closed: check.report.was_closed,
        log_min: log.min(),
        log_end,
        log_files: log.overviews(log_end).await?,
        queues: queues
            .map(|found| QueueFilesFound {
                topic: found.topic,
                queue_id: found.queue_id,
                min: found.min,
                max: found.max,
                is_whole: found.is_whole,
            })
            .collect(),
        checkpoint: checkpoint.map(|checkpoint| CheckpointFound {
            position: checkpoint.position,
            store_time_ms: checkpoint.store_time_ms,
            queues_digest: checkpoint.queues_digest,
            indexed_to: checkpoint.index.map(|mark| mark.position),
        }),
    })
}

impl<I: Io> LogFiles<I> {
    async fn record_from_start(&self, start: u64) -> Result<Option<i64>, StoreError> {
        let found = self.known().first_record(start, start + 1).await?;
        if found.is_none() {
            return Ok(None);
        }
        let read = self.record_from(start).await?;
        Ok(read.and_then(|(_, bytes)| store_time_of(&bytes)))
    }

    /// Each file by its first record and its last, which is found from one of the last that it has.
    async fn overviews(&self, log_end: u64) -> Result<Vec<LogFileOverview>, StoreError> {
        let mut overviews = Vec::new();
        for file in &self.files {
            let (mut used_bytes, mut last_store_time_ms) = (0, None);
            let first_store_time_ms = self.record_from_start(file.start).await?;
            if first_store_time_ms.is_some() {
                let end = log_end.min(file.start + file.len_bytes);
                let near = end.saturating_sub(NEAR_END_BYTES).max(file.start);
                let mut at = near;
                while let Some((found, bytes)) = self.record_from(at).await? {
                    if found >= end {
                        break;
                    }
                    at = found + bytes.len() as u64;
                    used_bytes = at - file.start;
                    last_store_time_ms = store_time_of(&bytes);
                }
            }
            overviews.push(LogFileOverview {
                file: file.clone(),
                used_bytes,
                first_store_time_ms,
                last_store_time_ms,
            });
        }
        Ok(overviews)
    }
}

/// A file's last record is looked for so near to its end; few messages are larger.
const NEAR_END_BYTES: u64 = 64 << 10;
