//! Carries out the plan of a start. No other code of a start changes the log.

use futures_util::{StreamExt, TryStreamExt, stream};
use tracing::{error, warn};

use super::Recovery;
use super::decide::{End, LogFiles, Plan, Source};
use super::search::first_of;
use crate::io::{Io, yield_now};
use crate::store::StoreError;
use crate::store::log::damage;
use crate::store::log::reader::Crcs;
use crate::store::progress::Progress;
use crate::store::queues::checkpoint::Checkpoint;
use crate::store::queues::entry::{BLANK, Entry};
use crate::store::queues::files::AT_ONCE;
use crate::store::queues::journal::{Block, Coverage, Origin};
use crate::store::queues::memory::QueueIndex;

/// Queues that are looked at without a pause: well below a millisecond.
const QUEUES_AT_ONCE: usize = 1000;

impl<I: Io> Recovery<'_, I> {
    /// Restores the queues and returns the end of the log.
    pub async fn carry_out(
        &mut self,
        plan: &Plan,
        progress: &mut impl FnMut(Progress),
    ) -> Result<u64, StoreError> {
        self.check_cut()?;
        self.complete_log(plan.log).await?;
        if !plan.was_closed {
            self.write_checkpoint_again().await?;
        }
        if let Some(position) = plan.begin {
            return self.begin_log_at(position).await;
        }
        let Some(log_min) = self.segments.min_position() else {
            self.ours_from = Some(0);
            self.begin_anew(0, Origin::Usual).await?;
            return Ok(0);
        };
        let (origin, from) = self.read_everything(plan, log_min, progress).await?;
        self.raise_minimums(log_min).await?;
        let tail = self.reached.position;
        match plan.end(origin, tail) {
            End::Kept => {}
            End::Closed => self.wipe_rest_of_closed(tail).await?,
            End::Wiped { up_to } => {
                self.doubt_end(tail, plan).await?;
                self.wipe_behind(tail, up_to, u64::MAX).await?;
                // Consumers are about to see what a killed process wrote and did not flush.
                if !mutant!(RecoveredNotFlushed) {
                    self.write_again(from, tail).await?;
                    self.segments.sync_from(from.min(tail)).await?;
                }
            }
            End::Cut { from: wiped_from } => {
                if !plan.was_closed {
                    self.write_again(from, tail).await?;
                }
                self.segments.sync_from(from.min(tail)).await?;
                self.cut_behind(tail, wiped_from).await?;
            }
        }
        if origin != Origin::Usual {
            self.keep().await?;
            self.begin(Origin::Usual).await?;
        }
        self.remove_batch_queues().await?;
        self.claim_log(tail, plan.by_rocketmq).await?;
        self.take_unconfirmed_back(tail);
        Ok(tail)
    }

    /// Whatever is appended from now on is this broker's, unless the log follows a master's, and the checkpoint states it. Where RocketMQ was the last to write, that has
    /// to be durable before the file `abort` says that this broker has the store.
    async fn claim_log(&mut self, tail: u64, by_rocketmq: bool) -> Result<(), StoreError> {
        let ours_from = Some(*self.ours_from.get_or_insert(tail));
        let saved = self.checkpoint.saved();
        let Some(stale) = saved.filter(|saved| saved.ours_from != ours_from) else {
            return Ok(());
        };
        let checkpoint = Checkpoint { ours_from, ..stale };
        match self.checkpoint.save(&checkpoint).await {
            Err(error) if error.is_no_space() && !by_rocketmq => {
                warn!(%error, "the checkpoint cannot say yet from where on the log is this broker's");
                Ok(())
            }
            saved => saved,
        }
    }

    async fn write_checkpoint_again(&self) -> Result<(), StoreError> {
        match self.checkpoint.write_again().await {
            Err(error) if error.is_no_space() => {
                warn!(%error, "the checkpoint cannot be written again");
                Ok(())
            }
            written => written,
        }
    }

    async fn complete_log(&self, log: LogFiles) -> Result<(), StoreError> {
        match log {
            LogFiles::Complete => Ok(()),
            LogFiles::Missing => {
                let dir = self.config.dir.clone();
                let log = self.segments.min_position().zip(self.segments.end());
                Err(damage::missing(dir, log, self.durable_to))
            }
            LogFiles::Replaced { from, to } => {
                error!(
                    position = self.durable_to,
                    "files of the log are missing: going on without them"
                );
                let mut start = from;
                while start <= to {
                    self.segments.file_or_create(start).await?;
                    start += self.config.segment_bytes;
                }
                Ok(())
            }
        }
    }

    /// Restores the queues from the first source that fits the log, and reads the log to its end. Returns the state that the source was
    /// in, and from where on the log was read.
    async fn read_everything(
        &mut self,
        plan: &Plan,
        log_min: u64,
        progress: &mut impl FnMut(Progress),
    ) -> Result<(Origin, u64), StoreError> {
        for source in &plan.sources {
            if *source == Source::Log {
                progress(Progress::Rebuilding);
            }
            let Some(origin) = self.restore(source, plan, log_min).await? else {
                continue;
            };
            let origin = plan.origin(origin);
            // A rebuild that was interrupted resumes: the files are complete up to where it was, no further.
            self.checkpointed = self.checkpointed.min(self.reached.position);
            let from = self.reached.position;
            if !plan.was_closed {
                progress(Progress::Recovering { from });
            }
            let crcs = self.crcs(source, origin);
            if let Ok(()) = self.read_log(origin, crcs, progress).await? {
                return Ok((origin, from));
            }
        }
        unreachable!("queues made from all of the log fit it")
    }

    /// What a record of the part that is read must have.
    fn crcs(&self, source: &Source, origin: Origin) -> Crcs {
        match self.ours_from {
            _ if mutant!(SkipTailCrc) => Crcs::Skipped,
            // What this broker's journal is not ahead of, it has written itself.
            None if *source == Source::Journal && origin == Origin::Usual => Crcs::RequiredFrom(0),
            ours_from => Crcs::of_log(ours_from),
        }
    }

    /// `None`: this source does not fit the log.
    async fn restore(
        &mut self,
        source: &Source,
        plan: &Plan,
        log_min: u64,
    ) -> Result<Option<Origin>, StoreError> {
        match *source {
            Source::Journal => {
                let is_certain = plan.was_closed;
                let origin = self.restore_from_journal(log_min, is_certain).await?;
                if origin.is_none() {
                    warn!(dir = %self.config.dir.display(), "the journal of the queues is damaged: reading their files");
                }
                Ok(origin)
            }
            Source::QueueFiles(checkpoint) => {
                self.restore_from_our_files(&checkpoint, log_min).await
            }
            Source::CutQueueFiles(checkpoint) => {
                self.restore_from_cut_files(&checkpoint, log_min).await
            }
            Source::RocketMqFiles => self.restore_from_rocketmq(None, log_min).await,
            Source::RocketMqFilesUpTo { time_ms } => {
                self.restore_from_rocketmq(Some(time_ms), log_min).await
            }
            Source::Log => {
                self.begin_anew(log_min, Origin::Rebuilding).await?;
                Ok(Some(Origin::Rebuilding))
            }
        }
    }

    pub(super) async fn restore_from_our_files(
        &mut self,
        checkpoint: &Checkpoint,
        log_min: u64,
    ) -> Result<Option<Origin>, StoreError> {
        let reached = Coverage {
            position: checkpoint.position,
            last_record: checkpoint.position,
            store_time_ms: checkpoint.store_time_ms,
        };
        let found = self.queue_files.find_all().await?;
        let restored = self.restore_from_files(found, reached, log_min).await?;
        if restored.is_err() || self.queues.saved_digest() != checkpoint.queues_digest {
            return Ok(None);
        }
        // The erasure of entries behind the position is durable before the journal counts.
        self.queue_files.sync().await?;
        self.begin(Origin::Usual).await?;
        Ok(Some(Origin::Usual))
    }

    /// A store that RocketMQ was the last to use. Its queue files are complete after a clean stop, and after a crash up to the times in its
    /// checkpoint (`CommitLog.recoverAbnormally`). From the beginning of that log file on the entries are derived again, and so compared with
    /// the log.
    async fn restore_from_rocketmq(
        &mut self,
        up_to_ms: Option<i64>,
        log_min: u64,
    ) -> Result<Option<Origin>, StoreError> {
        let found = self.queue_files.find_all().await?;
        let start = match up_to_ms {
            None => {
                let ends = found.iter().filter_map(|found| found.last);
                let newest = ends.map(|entry| entry.physical_offset).max();
                newest.map(|newest| self.segments.start_of(newest))
            }
            Some(time_ms) => self.newest_file_before(time_ms).await?,
        };
        let Some(start) = start else {
            return Ok(None);
        };
        let reached = Coverage {
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
            let first_ms = super::store_time_at(self.segments, start).await?;
            if first_ms.is_some_and(|first_ms| first_ms <= time_ms) {
                return Ok(Some(start));
            }
        }
        Ok(None)
    }

    /// Begins without queues, to make them from all of the log.
    pub(super) async fn begin_anew(
        &mut self,
        log_min: u64,
        origin: Origin,
    ) -> Result<(), StoreError> {
        // A crash in between must not leave a checkpoint for files that are removed.
        self.checkpoint.revoke().await?;
        self.queues.clear();
        (self.messages, self.lost_bytes, self.gap) = (0, 0, None);
        self.gaps.clear();
        self.keep_queue_ends(log_min).await?;
        self.keep_batch_queue_ends(log_min).await?;
        self.queue_files.sync().await?;
        self.reached = Coverage {
            position: log_min,
            last_record: log_min,
            store_time_ms: 0,
        };
        self.begin_trusted(origin).await
    }

    /// Begins a journal that counts, after one that did not.
    async fn begin_trusted(&mut self, origin: Origin) -> Result<(), StoreError> {
        // No generation of the earlier journal may count with the new checkpoint.
        self.journal.discard().await?;
        self.begin(origin).await?;
        self.checkpointed = self.reached.position;
        let checkpoint = Checkpoint {
            position: self.reached.position,
            store_time_ms: self.reached.store_time_ms,
            queues_digest: self.queues.saved_digest(),
            index: self.index,
            // The next start has this proof as well, however this one ends.
            durable_to: self.durable_to,
            ours_from: self.ours_from,
        };
        self.checkpoint.save(&checkpoint).await
    }

    pub(super) async fn begin(&mut self, origin: Origin) -> Result<(), StoreError> {
        let (queues, generation) = (&mut *self.queues, self.journal.next_generation());
        let mut place = 0;
        queues.begin_table();
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
    pub(super) async fn keep(&mut self) -> Result<(), StoreError> {
        self.keeps_unconfirmed();
        let Some(generation) = self.journal.generation() else {
            return Ok(());
        };
        let from = self.journal.coverage().position;
        self.segments.sync_from(from).await?;
        let mut block = Block::new();
        for _ in 0..self.queues.news() {
            while self.queues.put_news(&mut block, generation, u64::MAX) {}
        }
        self.queues.put_gone(&mut block, generation);
        self.journal.append(block, self.reached).await
    }

    /// Each queue begins with its first message that is in the log. Log files may have been removed since the minimums were journaled.
    async fn raise_minimums(&mut self, log_min: u64) -> Result<(), StoreError> {
        if log_min == 0 {
            return Ok(());
        }
        let queues: Vec<_> = self.queues.all().collect();
        for some in queues.chunks(QUEUES_AT_ONCE) {
            let below = some.iter().copied();
            let below = below.filter(|queue| self.queues.may_begin_below(*queue, log_min));
            let below: Vec<_> = below.collect();
            let found = below.iter().map(|queue| self.first_in_log(*queue, log_min));
            let found: Vec<_> = stream::iter(found).buffered(AT_ONCE).try_collect().await?;
            for (queue, (min, first_position)) in below.into_iter().zip(found) {
                self.queues.raise_min(queue, min, first_position);
            }
            yield_now().await;
        }
        Ok(())
    }

    async fn first_in_log(
        &self,
        queue: QueueIndex,
        log_min: u64,
    ) -> Result<(u64, Option<u64>), StoreError> {
        let bounds = self.queues.queue(queue).bounds;
        // None: its file is gone with the messages.
        let is_in_log = async |offset: u64| {
            let entry = self.restored_entry(queue, offset).await?;
            Ok::<_, StoreError>(entry.is_some_and(|entry| entry.physical_offset >= log_min))
        };
        let first = first_of(bounds.min..bounds.max, is_in_log).await?;
        let entry = match first < bounds.max {
            true => self.restored_entry(queue, first).await?,
            false => None,
        };
        let entry = entry.filter(|entry| entry.physical_offset >= log_min);
        Ok((first, entry.map(|entry| entry.physical_offset)))
    }

    async fn restored_entry(
        &self,
        queue: QueueIndex,
        offset: u64,
    ) -> Result<Option<Entry>, StoreError> {
        if let Some(entry) = self.queues.resident(queue, offset) {
            return Ok(Some(entry));
        }
        let (topic, queue_id) = (
            self.queues.topic_of(queue),
            self.queues.queue(queue).queue_id,
        );
        let entry = self.queue_files.entry(topic, queue_id, offset);
        Ok(entry.await?.filter(|entry| *entry != BLANK))
    }
}
