//! Writing the ConsumeQueues behind the log: into the journal about once a second, into their files when the journal has
//! grown, when memory gets short, and at the end.

use std::ops::Range;

use futures_util::{StreamExt, TryStreamExt, stream};
use tracing::warn;

use super::Queues;
use super::cadence::{Action, Cadence, Look};
use super::checkpoint::Checkpoint;
use super::evict::Eviction;
use super::files::AT_ONCE;
use super::journal::{Block, Coverage, Origin};
use super::memory::{ConsumeQueues, QueueIndex};
use crate::io::Io;
use crate::io::{select, yield_now};
use crate::store::StoreError;
use crate::store::gate::Lack;

/// Delay before a retry after an error.
const RETRY_NS: u64 = 1_000_000_000;

/// After it has written some queues, the saver pauses for this many times as long.
const REST_SHARE: u64 = 4;

/// Queues that are written between two pauses.
const BETWEEN_RESTS: usize = 16;

/// Queues whose pending rows are put into a block without a pause: well below a millisecond.
const GATHERED_AT_ONCE: usize = 500;

/// Entries of a queue that are encoded and written in one go.
const WRITTEN_AT_ONCE: u64 = 4096;

/// Bytes of a block that are put without a pause.
const GATHERED_BYTES: usize = 256 << 10;

/// Queues that are marked as saved, or looked at for chunks to give back, without a pause.
const MARKED_AT_ONCE: usize = 1000;

/// Interval at which free memory is checked.
const LOOK_NS: u64 = 50_000_000;

/// Share of the arena that is kept free for what arrives: a sixteenth.
const FREE_SHARE: usize = 16;

impl<I: Io> Queues<I> {
    /// Saves for as long as the store is open.
    pub async fn run(&self) {
        let mut retry_ns = self.io.now().mono_ns;
        self.cadence.set(Cadence::new(retry_ns));
        while !self.gate.is_closing() {
            select(self.save_now.notified(), self.log.pause(LOOK_NS)).await;
            if self.gate.is_fenced() {
                return;
            }
            self.save_index_entries().await;
            if self.io.now().mono_ns < retry_ns {
                continue;
            }
            let saved = self.save_what_is_due().await;
            self.gate.note_written(Lack::Queues, &saved);
            if let Err(error) = saved {
                retry_ns = self.io.now().mono_ns + RETRY_NS;
                warn!(%error, "the queues cannot be saved; a restart would read them from the log");
            }
        }
    }

    async fn save_what_is_due(&self) -> Result<(), StoreError> {
        if self.log.ours().has_to_be_stated() {
            self.save_ours().await?;
        }
        let wanted = self.wanted_chunks();
        let mut cadence = self.cadence.get();
        let action = cadence.due(&self.queues_look());
        self.cadence.set(cadence);
        match action {
            Action::SaveAll => {
                let was_short = self.is_short_of(wanted);
                let saved = self.save_all().await;
                if was_short || self.is_short_of(wanted) {
                    self.evict(2 * wanted).await;
                    self.gate.room.wake_all();
                }
                saved
            }
            Action::Write { block, mark } => {
                if block {
                    self.write_block().await?;
                }
                self.remove_deleted().await?;
                self.begin_files().await?;
                if mark {
                    self.save_index_mark().await?;
                }
                Ok(())
            }
        }
    }

    fn queues_look(&self) -> Look {
        let dispatched = self.log.marks().dispatched();
        Look {
            now_ns: self.io.now().mono_ns,
            is_short_of_memory: self.is_short_of(self.wanted_chunks()),
            segment_start: self.log.segments().start_of(dispatched),
            checkpointed: self.checkpointed.get(),
            journal_bytes: self.journal.grown_bytes(),
            max_journal_bytes: self.config.queue_journal_bytes,
            log_ahead_bytes: dispatched.saturating_sub(self.journal.coverage().position),
            has_deletions: !self.deleted.borrow().is_empty(),
        }
    }

    async fn evict(&self, wanted_free: usize) {
        let mut eviction = Eviction::default();
        let mut evict_some = || {
            let queues = &mut *self.memory.borrow_mut();
            queues.evict_some(&mut eviction, wanted_free, MARKED_AT_ONCE)
        };
        while evict_some() {
            yield_now().await;
        }
    }

    async fn write_block_if_due(&self) -> Result<(), StoreError> {
        let mut cadence = self.cadence.get();
        let is_due = cadence.block_is_due(&self.queues_look());
        self.cadence.set(cadence);
        match is_due {
            true => self.write_block().await,
            false => Ok(()),
        }
    }

    /// Writes every entry that is in no file yet, and begins a new generation of the journal.
    pub async fn save_all(&self) -> Result<(), StoreError> {
        // Ahead of the rest: the index must not be ahead of the position.
        let index = self.save_index().await?;
        self.write_block().await?;
        // Only what is in the journal now is saved: with what arrives meanwhile the save might never end.
        let reached = self.journal.coverage();
        self.remove_deleted().await?;
        self.save_files(reached.position).await?;
        let queues_digest = self.memory.borrow().saved_digest();
        self.begin_generation().await?;
        let checkpoint = Checkpoint {
            position: reached.position,
            store_time_ms: reached.store_time_ms,
            queues_digest,
            index,
            durable_to: self.log.marks().flushed_records().max(reached.position),
            ours_from: Some(self.log.ours().to_state()),
        };
        self.save_checkpoint(&checkpoint).await
    }

    /// Saves the mark of the key index. The rest of the checkpoint stays as it is.
    async fn save_index_mark(&self) -> Result<(), StoreError> {
        if self.index.is_none() {
            return Ok(());
        }
        let index = self.save_index().await?;
        let Some(before) = self.checkpoint.saved() else {
            return Ok(());
        };
        // A start that finds the log shorter than the index rebuilds all of the index.
        let position = self.log.marks().dispatched();
        self.log.flush(position).await?;
        self.save_checkpoint(&Checkpoint {
            index,
            durable_to: self.log.marks().flushed_records().max(before.durable_to),
            ours_from: Some(self.log.ours().to_state()),
            ..before
        })
        .await
    }

    /// Saves from where on the log's records carry a CRC. The rest of the checkpoint stays as it is.
    async fn save_ours(&self) -> Result<(), StoreError> {
        let Some(before) = self.checkpoint.saved() else {
            return self.save_all().await;
        };
        let ours_from = Some(self.log.ours().to_state());
        self.save_checkpoint(&Checkpoint {
            ours_from,
            ..before
        })
        .await
    }

    async fn save_index(&self) -> Result<Option<crate::store::index::Mark>, StoreError> {
        match &self.index {
            Some(index) => index.save().await.map(Some),
            None => Ok(None),
        }
    }

    async fn save_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.checkpoint.save(checkpoint).await?;
        if let Some(from) = checkpoint.ours_from {
            self.log.ours().stated(from);
        }
        self.checkpointed.set(checkpoint.position);
        match &self.index {
            Some(index) => index.remove_outlived().await,
            None => Ok(()),
        }
    }

    /// Writes to the journal what it lacks of the queues. What is saved behind it takes long, and sends do not depend on that.
    async fn write_block(&self) -> Result<(), StoreError> {
        self.write_news().await?;
        self.gate.note(Lack::Queues, None);
        Ok(())
    }

    async fn write_news(&self) -> Result<(), StoreError> {
        let Some(generation) = self.journal.generation() else {
            return self.begin_generation().await;
        };
        self.journal.append_owed().await?;
        let marks = self.log.marks();
        let reached = Coverage {
            position: marks.dispatched(),
            last_record: marks.last_dispatched(),
            store_time_ms: marks.last_store_time_ms(),
        };
        let news = self.memory.borrow().news();
        // A start reads what comes behind this position from the log, also messages of a topic that is deleted from now on. The block has
        // such a deletion, too, and the next one makes it count.
        let deleted = self.deleted.borrow().len();
        if news == 0 && reached == self.journal.coverage() && deleted == 0 {
            return Ok(());
        }
        if !mutant!(JournalAheadOfLog) {
            self.log.flush(reached.position).await?;
        }
        let mut block = Block::new();
        self.gather(&mut block, generation, reached.position, news)
            .await;
        self.journal.append(block, reached).await?;
        self.are_removable(deleted);
        Ok(())
    }

    /// Puts the news of so many queues into a block.
    async fn gather(&self, block: &mut Block, generation: u64, up_to: u64, news: usize) {
        let mut left = news;
        loop {
            let began = block.len_bytes();
            {
                let queues = &mut *self.memory.borrow_mut();
                for _ in 0..left.min(GATHERED_AT_ONCE) {
                    if block.len_bytes() - began >= GATHERED_BYTES {
                        break;
                    }
                    left -= usize::from(!queues.put_news(block, generation, up_to));
                }
                if left == 0 {
                    // Without a pause behind the last of the news: what was deleted meanwhile is among them.
                    return queues.put_gone(block, generation);
                }
            }
            block.hash();
            yield_now().await;
        }
    }

    /// A table of all queues, in pieces. Removals are put ahead of the rows: another queue may have the name by now. What is
    /// deleted while the table is written follows in its last piece, and counts with the next block: the table is of an earlier position.
    async fn begin_generation(&self) -> Result<(), StoreError> {
        let generation = self.journal.next_generation();
        self.memory.borrow_mut().begin_table();
        let (mut removals, mut place) = (0, 0);
        let put_some = |block: &mut Block| {
            let queues = &mut *self.memory.borrow_mut();
            let (removable, deleted) = (self.removable.borrow(), self.deleted.borrow());
            let all = removable.iter().chain(deleted.iter());
            for (topic, queue_ids) in all.skip(removals) {
                queues.put_removal(block, topic, queue_ids);
                removals += 1;
                if block.is_a_piece() {
                    return true;
                }
            }
            while queues.put_row(block, generation, place) {
                place += 1;
                if block.is_a_piece() {
                    return true;
                }
            }
            false
        };
        let begun = self
            .journal
            .begin(Origin::Usual, self.journal.coverage(), put_some);
        begun.await
    }

    /// The journal says that so many topics are deleted.
    fn are_removable(&self, count: usize) {
        let mut deleted = self.deleted.borrow_mut();
        let mut removable = self.removable.borrow_mut();
        removable.extend(deleted.drain(..count));
        self.deletions.set(self.deletions.get() + count as u64);
        self.deletions_moved.wake_all();
    }

    /// Writes every entry of messages before a log position that is in no file yet, all durable together.
    async fn save_files(&self, position: u64) -> Result<(), StoreError> {
        let mut written = Vec::new();
        let saved = match self.write_files(position, &mut written).await {
            Ok(()) if mutant!(JournalAheadOfQueueFiles) => Ok(()),
            Ok(()) => self.files.sync().await,
            failed => failed,
        };
        for written in written.chunks(MARKED_AT_ONCE) {
            {
                let queues = &mut *self.memory.borrow_mut();
                for (queue, end) in written {
                    match &saved {
                        Ok(()) => queues.saved(*queue, *end),
                        // All of it is written again, as any part may be lost.
                        Err(_) => queues.not_saved(*queue),
                    }
                }
            }
            yield_now().await;
        }
        saved
    }

    async fn write_files(
        &self,
        position: u64,
        written: &mut Vec<(QueueIndex, u64)>,
    ) -> Result<(), StoreError> {
        let mut left = self.memory.borrow().unsaved_queues();
        while left > 0 {
            let began_ns = self.io.now().mono_ns;
            let count = left.min(match self.is_in_a_hurry() {
                true => AT_ONCE,
                false => BETWEEN_RESTS,
            });
            left -= count;
            let unsaved = |_| self.unsaved(|queues| queues.next_unsaved(position));
            let unsaved: Vec<_> = (0..count).filter_map(unsaved).collect();
            written.extend(
                unsaved
                    .iter()
                    .map(|unsaved| (unsaved.queue, unsaved.offsets.end)),
            );
            self.write_all(unsaved).await?;
            self.rest_from(began_ns).await?;
        }
        Ok(())
    }

    async fn write_all(&self, unsaved: Vec<Unsaved>) -> Result<(), StoreError> {
        stream::iter(unsaved)
            .map(Ok)
            .try_for_each_concurrent(AT_ONCE, async |unsaved| self.write(&unsaved).await)
            .await
    }

    /// In pieces; a queue that is deleted meanwhile ends it.
    async fn write(&self, unsaved: &Unsaved) -> Result<(), StoreError> {
        let Unsaved {
            queue,
            topic,
            queue_id,
            offsets,
        } = unsaved;
        let mut at = offsets.start;
        while at < offsets.end {
            let end = offsets.end.min(at + WRITTEN_AT_ONCE);
            let entries = self.memory.borrow().encoded(*queue, at..end);
            if entries.is_empty() {
                return Ok(());
            }
            self.files.save(topic, *queue_id, at, &entries).await?;
            at = end;
        }
        Ok(())
    }

    /// Begins the files of queues that are new in the journal. This is for RocketMQ: after a kill it reads the log's last
    /// files again, and where a topic was deleted and made again there, it takes the messages from before for those of now,
    /// and passes these over. What is below a queue's last entry it leaves alone (`ConsumeQueue.putMessagePositionInfo`).
    /// To us such a file is not saved: nothing is flushed, and the entry is written again with the rest.
    async fn begin_files(&self) -> Result<(), StoreError> {
        let unsaved = |_| self.unsaved(ConsumeQueues::next_without_file);
        let unsaved: Vec<_> = (0..BETWEEN_RESTS).map_while(unsaved).collect();
        let queues: Vec<_> = unsaved.iter().map(|unsaved| unsaved.queue).collect();
        let begun = self.write_all(unsaved).await;
        if begun.is_err() {
            let memory = &mut *self.memory.borrow_mut();
            queues.into_iter().for_each(|queue| memory.not_begun(queue));
        }
        begun
    }

    /// The entries of the next queue that has some.
    fn unsaved(
        &self,
        next: impl Fn(&mut ConsumeQueues) -> Option<(QueueIndex, Range<u64>)>,
    ) -> Option<Unsaved> {
        let mut memory = self.memory.borrow_mut();
        let (queue, offsets) = next(&mut memory)?;
        let target = memory.queue(queue);
        let is_some = !target.gone && !offsets.is_empty();
        is_some.then(|| Unsaved {
            queue,
            topic: memory.topic_of(queue).to_owned(),
            queue_id: target.queue_id,
            offsets,
        })
    }

    /// Pauses after work that began at this time, so that device and core are free for others; not while memory is short.
    async fn rest_from(&self, began_ns: u64) -> Result<(), StoreError> {
        if self.is_in_a_hurry() {
            return Ok(());
        }
        self.save_index_entries().await;
        self.write_block_if_due().await?;
        let now_ns = self.io.now().mono_ns;
        let rest_ns = REST_SHARE * (now_ns - began_ns);
        self.io.sleep_until(now_ns + rest_ns).await;
        Ok(())
    }

    fn is_in_a_hurry(&self) -> bool {
        self.gate.is_closing() || self.is_short_of(self.wanted_chunks())
    }

    async fn save_index_entries(&self) {
        if let Some(index) = &self.index
            && index.wants_saving()
            && let Err(error) = index.save_entries().await
        {
            warn!(%error, "the key index cannot be saved; a restart would make it from the log");
        }
    }

    /// Chunks that are kept free for new entries.
    fn wanted_chunks(&self) -> usize {
        let share = self.memory.borrow().capacity_chunks() / FREE_SHARE;
        share.max(self.config.chunks_for_unit())
    }

    fn is_short_of(&self, wanted_chunks: usize) -> bool {
        self.memory.borrow().free_chunks() < wanted_chunks
    }

    /// Until nothing is left to remove: what is saved next may be of a topic that was deleted meanwhile and made again,
    /// and its file must not be taken for that of the one before. The journal has the removal already.
    async fn remove_deleted(&self) -> Result<(), StoreError> {
        loop {
            let next = self.removable.borrow_mut().pop_front();
            let Some((topic, queue_ids)) = next else {
                return Ok(());
            };
            let _files = self.repairs.files.take().await;
            if let Err(error) = self.files.remove(&topic, &queue_ids).await {
                self.removable.borrow_mut().push_front((topic, queue_ids));
                return Err(error);
            }
        }
    }
}

/// Entries of a queue that are in no file.
struct Unsaved {
    queue: QueueIndex,
    topic: String,
    queue_id: u32,
    offsets: Range<u64>,
}
