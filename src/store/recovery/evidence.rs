//! The evidence that a start gathers before it changes the log, the queues' files or the journal.

use std::path::Path;

use super::Files;
use crate::io::Io;
use crate::store::StoreError;
use crate::store::abort::{Abort, LastShutdown};
use crate::store::config::{Resume, StoreConfig};
use crate::store::log::ack_watermark::{self, Note};
use crate::store::log::ours::Ours;
use crate::store::medium::Medium;
use crate::store::queues::checkpoint::{CheckpointFile, Found};

#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Evidence {
    pub last_shutdown: LastShutdown,
    pub checkpoint: Found,
    /// What the last process noted of acknowledged messages.
    pub note: Option<Note>,
    /// First position of the log's files, and their end.
    pub log: Option<(u64, u64)>,
    /// Some queue's file has an entry. Only read where the log's files do not reach far enough.
    pub has_entries: bool,
    /// RocketMQ has left queues of batches, whose messages are in no other files than the log's.
    pub has_batch_queues: bool,
    pub skip_damaged: bool,
    /// The log is a copy of a master's.
    pub follows: bool,
    pub resume: Resume,
    pub max_unflushed_bytes: u64,
    pub segment_bytes: u64,
    pub now_ms: i64,
}

/// Reads all of it.
pub(in crate::store) async fn gather<I: Io>(
    io: &Medium<I>,
    config: &StoreConfig,
    last_shutdown: LastShutdown,
    files: &Files<'_, I>,
) -> Result<Evidence, StoreError> {
    let segments = files.segments;
    let mut evidence = Evidence {
        last_shutdown,
        checkpoint: files.checkpoint.load().await?,
        note: ack_watermark::load(files.notes).await?,
        log: segments.min_position().zip(segments.end()),
        has_entries: false,
        has_batch_queues: files.batch_queues.are_there().await?,
        skip_damaged: config.skip_damaged,
        follows: config.follows,
        resume: config.resume,
        max_unflushed_bytes: config.max_unflushed_bytes,
        segment_bytes: config.segment_bytes,
        now_ms: io.now().unix_ms,
    };
    if !evidence.log_reaches() {
        let queues = files.queue_files.find_all().await?;
        evidence.has_entries = queues.iter().any(|queue| queue.max > 0);
    }
    Ok(evidence)
}

impl Evidence {
    /// The log was durable up to this position at some time, and is to keep that. After a RocketMQ that was killed only the checkpoint states it:
    /// RocketMQ cuts its log where it finds damage.
    pub fn durable_to(&self) -> u64 {
        let noted = self.note.as_ref().filter(|_| self.is_ours());
        let noted = noted.map_or(0, |note| note.safe);
        let durable_to = self.checkpoint.durable_to().max(noted);
        self.cut().map_or(durable_to, |cut| cut.min(durable_to))
    }

    /// The log is to end here.
    pub fn cut(&self) -> Option<u64> {
        match self.resume {
            Resume::CutAt(position) => Some(position),
            Resume::AsIs | Resume::BeginAt(_) => None,
        }
    }

    /// No mark says that anything was written behind this.
    pub fn written_to(&self) -> u64 {
        let noted = self
            .note
            .as_ref()
            .map_or(0, |note| note.position.max(note.safe));
        self.checkpoint.durable_to().max(noted)
    }

    /// The log's records from here on carry a CRC. RocketMQ may have written all of a log that it has had since. Where a
    /// master's log is followed, and nothing is stated, its next record may be RocketMQ's as well.
    pub fn ours_from(&self) -> Option<u64> {
        let stated = stated(&self.checkpoint).filter(|_| self.is_ours());
        stated.or(self.follows.then_some(Ours::NOWHERE))
    }

    /// Whether the log's files hold the position up to which the log was durable.
    pub fn log_reaches(&self) -> bool {
        let durable_to = self.durable_to();
        self.log
            .is_some_and(|(min, end)| durable_to == 0 || (min..=end).contains(&durable_to))
    }

    /// No RocketMQ has had the store since this broker wrote to it.
    pub fn is_ours(&self) -> bool {
        is_ours(self.last_shutdown, &self.checkpoint)
    }
}

fn stated(checkpoint: &Found) -> Option<u64> {
    checkpoint.ours_from().filter(|from| *from != Ours::NOWHERE)
}

fn is_ours(last_shutdown: LastShutdown, checkpoint: &Found) -> bool {
    last_shutdown != LastShutdown::UncleanByRocketMq && !matches!(checkpoint, Found::Times { .. })
}

/// [`Evidence::ours_from`] of a store that is only looked at.
pub(in crate::store) async fn ours_from<I: Io>(
    io: &Medium<I>,
    store_dir: &Path,
) -> Result<Option<u64>, StoreError> {
    let last_shutdown = Abort::new(io.clone(), store_dir).last_shutdown().await?;
    let checkpoint = CheckpointFile::new(io.clone(), store_dir).load().await?;
    let is_ours = is_ours(last_shutdown, &checkpoint);
    Ok(stated(&checkpoint).filter(|_| is_ours))
}
