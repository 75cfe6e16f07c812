//! Finding the end of the log after a start, and bringing the queues to agree with it.
//!
//! ```text
//! journal       | table of all queues | blocks ... | log, read from the last block on          our store, however it ended
//! queue files   | what they have up to a position | log, read from there on     RocketMQ's store, or ours without journal
//! neither       | log, read from its beginning on                                             they do not fit one another
//! ```
//! Each record of the log is checked to be the successor of the one before (its own position, size, magic, body CRC, CRC
//! over all of it), and its entry made again. The first that is not ends the log. After a crash what was written behind the
//! end is wiped: it may have the right positions and CRCs, and a later restart would take it for ours.
//!
//! What has been read of the log goes into the journal as it goes on, so that a start that is cut short does not begin anew.

mod from_files;
mod from_journal;
mod log;
mod tail;

use futures_util::{StreamExt, TryStreamExt, stream};
use tracing::warn;

use super::entry_tags::entry_tags;
use super::log::reader::{Next, Window};

use super::abort::Left;
use super::damage::Gap;
use super::index::Mark;
use super::open::Progress;
use super::queues::checkpoint::{self, Checkpoint, CheckpointFile};
use super::queues::entry::BLANK;
use super::queues::files::{AT_ONCE, QueueFiles};
use super::queues::journal::{Block, Journal, Origin, Reached};
use super::queues::memory::{ConsumeQueues, QueueIndex};
use super::segments::Segments;
use super::{StoreConfig, StoreError};
use crate::io::Io;

/// What has been read is put into the journal after this part of a file: 128 MiB.
const KEEP_SHARE: u64 = 8;

/// RocketMQ's times may be behind or ahead of what is in its files by this (`StoreCheckpoint.getMinTimestamp`).
const TIME_SLACK_MS: i64 = 3_000;

pub(super) struct Recovery<'a, I: Io> {
    config: &'a StoreConfig,
    segments: &'a Segments<I>,
    queue_files: &'a QueueFiles<I>,
    checkpoint: &'a CheckpointFile<I>,
    journal: &'a Journal<I>,
    queues: &'a mut ConsumeQueues,
    now_ms: i64,
    /// How far the queues have come.
    pub reached: Reached,
    pub messages: u64,
    /// Up to here the queues' files are complete.
    pub checkpointed: u64,
    /// What the checkpoint says of the key index.
    pub index: Option<Mark>,
    /// Up to here the log is known to have been on the device.
    flushed_to: u64,
    /// What of the log was left behind, and the last part of it.
    lost_bytes: u64,
    gap: Option<Gap>,
    /// Queues whose files go if the generation that says so turns out to count.
    gone: Vec<(String, u32)>,
}

/// What a recovery has to do with.
pub(super) struct Files<'a, I: Io> {
    pub segments: &'a Segments<I>,
    pub queue_files: &'a QueueFiles<I>,
    pub checkpoint: &'a CheckpointFile<I>,
    pub journal: &'a Journal<I>,
}

/// The queues do not fit the log.
struct Mismatch;

impl<'a, I: Io> Recovery<'a, I> {
    pub fn new(
        config: &'a StoreConfig,
        files: Files<'a, I>,
        queues: &'a mut ConsumeQueues,
        now_ms: i64,
    ) -> Self {
        Self {
            config,
            segments: files.segments,
            queue_files: files.queue_files,
            checkpoint: files.checkpoint,
            journal: files.journal,
            queues,
            now_ms,
            reached: Reached::default(),
            messages: 0,
            checkpointed: 0,
            index: None,
            flushed_to: 0,
            lost_bytes: 0,
            gap: None,
            gone: Vec::new(),
        }
    }

    /// Restores the queues and returns the end of the log.
    pub async fn run(
        &mut self,
        left: Left,
        progress: &mut impl FnMut(Progress),
    ) -> Result<u64, StoreError> {
        let was_closed = left == Left::Closed;
        let found = self.checkpoint.load().await?;
        let mut ours = None;
        if let checkpoint::Found::Ours(checkpoint) = &found {
            self.index = checkpoint.index;
            self.checkpointed = checkpoint.position;
            self.flushed_to = checkpoint.position;
            ours = Some(*checkpoint);
        }
        self.find_missing_files().await?;
        let Some(log_min) = self.segments.min_position() else {
            self.begin_anew(0, Origin::Usual).await?;
            return Ok(0);
        };
        let restored = match found {
            checkpoint::Found::Ours(checkpoint) => self.restore(&checkpoint, log_min).await?,
            checkpoint::Found::Times { store_time_ms } => {
                self.restore_foreign(store_time_ms, was_closed, log_min)
                    .await?
            }
            checkpoint::Found::None => None,
        };
        let mut origin = restored.unwrap_or(Origin::Rebuilding);
        if left == Left::OpenByRocketMq && origin == Origin::Usual {
            origin = Origin::Foreign;
        }
        if restored.is_none() {
            progress(Progress::Rebuilding);
            self.begin_anew(log_min, origin).await?;
        }
        // A rebuilding that was cut short goes on: the files are no further than it was.
        self.checkpointed = self.checkpointed.min(self.reached.position);
        let from = self.reached.position;
        if !was_closed {
            progress(Progress::Recovering { from });
        }
        let read = self.read_log_or_rebuild(&mut origin, log_min, progress);
        if let Err(error) = read.await {
            if let (StoreError::Damaged { .. }, Some(checkpoint)) = (&error, ours) {
                // A rebuilding put its own in its place, and the next start is to know of the damage, too.
                self.checkpoint.save(&checkpoint).await?;
            }
            return Err(error);
        }
        self.raise_minimums(log_min).await?;
        let tail = self.reached.position;
        if !was_closed {
            let wipe_to = match origin {
                Origin::Usual => self.end_of_unflushed(tail),
                // RocketMQ has no such bound.
                Origin::Foreign | Origin::Rebuilding => u64::MAX,
            };
            self.wipe_behind(tail, wipe_to).await?;
            // What a killed process had written but not flushed is about to be shown to consumers.
            if !mutant!(RecoveredNotFlushed) {
                self.write_again(from, tail).await?;
                self.segments.sync_from(from.min(tail)).await?;
            }
        }
        if origin != Origin::Usual {
            self.keep().await?;
            self.begin(Origin::Usual).await?;
        }
        Ok(tail)
    }

    async fn read_log_or_rebuild(
        &mut self,
        origin: &mut Origin,
        log_min: u64,
        progress: &mut impl FnMut(Progress),
    ) -> Result<(), StoreError> {
        if let Err(Mismatch) = self.read_log(*origin, progress).await? {
            progress(Progress::Rebuilding);
            *origin = Origin::Rebuilding;
            self.begin_anew(log_min, *origin).await?;
            let Ok(()) = self.read_log(*origin, progress).await? else {
                unreachable!("gaps were taken");
            };
        }
        Ok(())
    }

    /// From the journal, or else from the queues' files. `None`: they do not fit the log.
    async fn restore(
        &mut self,
        checkpoint: &Checkpoint,
        log_min: u64,
    ) -> Result<Option<Origin>, StoreError> {
        if let Some(origin) = self.restore_from_journal(log_min).await? {
            return Ok(Some(origin));
        }
        warn!(dir = %self.config.dir.display(), "the journal of the queues is damaged: reading their files");
        let reached = Reached {
            position: checkpoint.position,
            last_record: checkpoint.position,
            store_time_ms: checkpoint.store_time_ms,
        };
        let found = self.queue_files.find_all().await?;
        let restored = self.restore_from_files(found, reached, log_min).await?;
        if restored.is_err() || self.queues.saved_digest() != checkpoint.queues_digest {
            return Ok(None);
        }
        self.begin(Origin::Usual).await?;
        Ok(Some(Origin::Usual))
    }

    /// A store that RocketMQ has had. After its clean stop the files of its queues are complete; so are they up to the
    /// times in its checkpoint after a crash (`CommitLog.recoverAbnormally`). From the beginning of that file of the log on
    /// they are made again, and so compared with the log.
    async fn restore_foreign(
        &mut self,
        store_time_ms: i64,
        was_closed: bool,
        log_min: u64,
    ) -> Result<Option<Origin>, StoreError> {
        let found = self.queue_files.find_all().await?;
        let start = match was_closed {
            true => {
                let ends = found.iter().filter_map(|found| found.last);
                let newest = ends.map(|entry| entry.physical_offset).max();
                newest.map(|newest| self.segments.start_of(newest))
            }
            // Torn ones may be any number.
            false if store_time_ms > self.now_ms => None,
            false => {
                self.newest_file_before(store_time_ms - TIME_SLACK_MS)
                    .await?
            }
        };
        let Some(start) = start else {
            return Ok(None);
        };
        let reached = Reached {
            position: start,
            last_record: start,
            store_time_ms: 0,
        };
        let restored = self.restore_from_files(found, reached, log_min).await?;
        if restored.is_err() {
            return Ok(None);
        }
        self.queue_files.sync().await?;
        self.begin_trusted(Origin::Foreign).await?;
        Ok(Some(Origin::Foreign))
    }

    /// The last file of the log whose first message is not younger than this.
    async fn newest_file_before(&self, time_ms: i64) -> Result<Option<u64>, StoreError> {
        for start in self.segments.starts().into_iter().rev() {
            let first_ms = super::open::store_time_at(self.segments, start).await?;
            if first_ms.is_some_and(|first_ms| first_ms <= time_ms) {
                return Ok(Some(start));
            }
        }
        Ok(None)
    }

    /// Begins without queues, to make them from all of the log.
    async fn begin_anew(&mut self, log_min: u64, origin: Origin) -> Result<(), StoreError> {
        // A crash halfway must not leave a checkpoint that speaks of files which are gone.
        self.checkpoint.revoke().await?;
        self.queues.clear();
        (self.messages, self.lost_bytes, self.gap) = (0, 0, None);
        self.keep_queue_ends(log_min).await?;
        self.queue_files.sync().await?;
        self.reached = Reached {
            position: log_min,
            last_record: log_min,
            store_time_ms: 0,
        };
        self.begin_trusted(origin).await
    }

    /// Begins a journal that is to count, though the one before did not.
    async fn begin_trusted(&mut self, origin: Origin) -> Result<(), StoreError> {
        // Nothing of the one before may count with the new checkpoint.
        self.journal.discard().await?;
        self.begin(origin).await?;
        self.checkpointed = self.reached.position;
        let checkpoint = Checkpoint {
            position: self.reached.position,
            store_time_ms: self.reached.store_time_ms,
            queues_digest: self.queues.saved_digest(),
            index: self.index,
        };
        self.checkpoint.save(&checkpoint).await
    }

    async fn begin(&mut self, origin: Origin) -> Result<(), StoreError> {
        let (queues, generation) = (&mut *self.queues, self.journal.next_generation());
        let mut place = 0;
        let put_some = |block: &mut Block| {
            while queues.put_row(block, generation, place) {
                place += 1;
                if block.is_a_piece() {
                    return true;
                }
            }
            false
        };
        self.journal.begin(origin, self.reached, put_some).await
    }

    /// Puts what has been read of the log into the journal.
    async fn keep(&mut self) -> Result<(), StoreError> {
        let Some(generation) = self.journal.generation() else {
            return Ok(());
        };
        let from = self.journal.put().position;
        self.segments.sync_from(from).await?;
        let mut block = Block::new();
        for _ in 0..self.queues.news() {
            self.queues.put_news(&mut block, generation, u64::MAX);
        }
        self.queues.put_gone(&mut block, generation);
        self.journal.append(block, self.reached).await
    }

    /// Each queue begins with its first message that is in the log. Files of the log may have gone since the journal spoke
    /// of the minimums.
    async fn raise_minimums(&mut self, log_min: u64) -> Result<(), StoreError> {
        if log_min == 0 {
            return Ok(());
        }
        let queues = self.queues.all();
        let below = queues.filter(|queue| self.queues.may_begin_below(*queue, log_min));
        let below: Vec<_> = below.collect();
        let found = below.iter().map(|queue| self.first_in_log(*queue, log_min));
        let found: Vec<_> = stream::iter(found).buffered(AT_ONCE).try_collect().await?;
        for (queue, (min, first_position)) in below.into_iter().zip(found) {
            self.queues.raise_min(queue, min, first_position);
        }
        Ok(())
    }

    async fn first_in_log(
        &self,
        queue: QueueIndex,
        log_min: u64,
    ) -> Result<(u64, Option<u64>), StoreError> {
        let (topic, target) = (self.queues.topic_of(queue), self.queues.queue(queue));
        let (mut low, mut high) = (target.bounds.min, target.bounds.max);
        let mut first_position = None;
        let mut middle = low;
        while low < high {
            let entry = match self.queues.resident(queue, middle) {
                Some(entry) => Some(entry),
                None => {
                    let entry = self.queue_files.entry(topic, target.queue_id, middle);
                    entry.await?.filter(|entry| *entry != BLANK)
                }
            };
            // None: its file is gone with the messages.
            match entry.filter(|entry| entry.physical_offset >= log_min) {
                Some(entry) => (high, first_position) = (middle, Some(entry.physical_offset)),
                None => low = middle + 1,
            }
            middle = low.midpoint(high);
        }
        Ok((low, first_position))
    }
}

/// Whether what has been restored is in the journal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IsKept {
    Already,
    NotYet,
}
