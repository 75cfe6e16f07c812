//! A log that is cut, as what stands behind a position is not in its master's; and one that begins in the middle of its master's.
//!
//! A crash at any step leaves a store that is either not cut yet, or cut:
//!
//! ```text
//! 1. the queues as they were at the cut: a new generation of the journal, in place of the old one
//! 2. checkpoint and note of acknowledgements say no more than what stays     the log still has all: the next start reads on from the journal
//! 3. the queues' files lose the entries of what goes                          as before: no file is believed behind what the journal says
//! 4. the log, from its end back to the cut: whole files, then blocks          what is left of it is a shorter log, never one with a hole
//! ```
//! After step 4 nothing of the old end can be read as a part of the log that grows there again (RocketMQ's #10666).

use tracing::{info, warn};

use super::Recovery;
use crate::io::Io;
use crate::store::StoreError;
use crate::store::log::buffer::ceil;
use crate::store::log::reader::{Crcs, Found, MAX_RECORD_BYTES, Walk};
use crate::store::queues::checkpoint::Checkpoint;
use crate::store::queues::journal::{Coverage, Origin};

/// Wiped at a time.
const WIPED_AT_ONCE: u64 = 1 << 20;

impl<I: Io> Recovery<'_, I> {
    /// The log has something ahead of the cut.
    pub(super) fn check_cut(&self) -> Result<(), StoreError> {
        let log_min = self.segments.min_position();
        match self.cut.zip(log_min) {
            Some((position, log_min)) if position < log_min => {
                Err(StoreError::CutTooDeep { position, log_min })
            }
            _ => Ok(()),
        }
    }

    /// The files have all queues up to the checkpoint, which is behind the cut: what they have ahead of the cut is all there is.
    pub(super) async fn restore_from_cut_files(
        &mut self,
        checkpoint: &Checkpoint,
        log_min: u64,
    ) -> Result<Option<Origin>, StoreError> {
        let at = |position| Coverage {
            position,
            last_record: position,
            store_time_ms: checkpoint.store_time_ms,
        };
        let found = self.queue_files.find_all().await?;
        let restored = self.restore_from_files(found, at(checkpoint.position), log_min);
        if restored.await?.is_err() || self.queues.saved_digest() != checkpoint.queues_digest {
            return Ok(None);
        }
        let found = self.queue_files.find_all().await?;
        let cut = self.cut.unwrap_or(checkpoint.position);
        if self
            .restore_from_files(found, at(cut), log_min)
            .await?
            .is_err()
        {
            return Ok(None);
        }
        // The cut may be in the middle of a record: the log is read from behind one that stays.
        let newest = self
            .newest
            .filter(|newest| newest.physical_offset >= log_min);
        self.reached = newest.map_or(at(log_min), |newest| Coverage {
            position: newest.end(),
            last_record: newest.physical_offset,
            store_time_ms: checkpoint.store_time_ms,
        });
        self.of_files = Some((self.reached, self.queues.saved_digest()));
        self.begin(Origin::Usual).await?;
        Ok(Some(Origin::Usual))
    }

    /// Removes what is behind the new end of the log. The queues are those of that end.
    pub(super) async fn cut_behind(
        &mut self,
        tail: u64,
        wiped_from: u64,
    ) -> Result<(), StoreError> {
        self.keep().await?;
        self.lower_checkpoint(tail).await?;
        if let Some(note) = self.note.map(|note| note.up_to(tail)) {
            self.notes.write_next(&note).await?;
            self.note = Some(note);
        }
        self.erase_entries_behind().await?;
        let written_to = self.end_of_records(tail).await?;
        self.wipe_back(tail, wiped_from.max(written_to)).await?;
        info!(tail, "the log was cut");
        Ok(())
    }

    async fn lower_checkpoint(&mut self, tail: u64) -> Result<(), StoreError> {
        let Some(saved) = self.checkpoint.saved() else {
            return Ok(());
        };
        let (position, store_time_ms, queues_digest) = match self.of_files {
            Some((reached, digest)) => (reached.position, reached.store_time_ms, digest),
            None => (saved.position, saved.store_time_ms, saved.queues_digest),
        };
        // An index that has more is made again.
        self.index = self.index.filter(|mark| mark.position <= tail);
        self.checkpointed = self.checkpointed.min(position);
        let lowered = Checkpoint {
            position,
            store_time_ms,
            queues_digest,
            index: self.index,
            durable_to: tail,
            ours_from: saved.ours_from,
        };
        self.checkpoint.save(&lowered).await
    }

    /// No file has an entry that its queue does not have.
    async fn erase_entries_behind(&mut self) -> Result<(), StoreError> {
        for found in self.queue_files.find_all().await? {
            let (topic, queue_id) = (&*found.topic, found.queue_id);
            let Some(queue) = self.queues.find(topic, queue_id) else {
                self.queue_files.remove(topic, &[queue_id]).await?;
                continue;
            };
            let max = self.queues.queue(queue).bounds.max.max(found.min);
            if max < found.max {
                let files = self.queue_files;
                files.erase(topic, queue_id, max, found.max).await?;
            }
        }
        self.queue_files.sync().await
    }

    /// Where the records end that follow the cut, within its file: whatever the marks say, they are to go.
    async fn end_of_records(&self, tail: u64) -> Result<u64, StoreError> {
        let end = self.segments.start_of(tail) + self.config.segment_bytes;
        let mut walk = Walk::new(Crcs::Skipped);
        let mut at = tail;
        while at < end {
            match walk.at(self.segments, at).await {
                Ok(found @ (Found::Record(_) | Found::Blank { .. })) => {
                    at += found.len().unwrap_or(end - at);
                }
                Ok(Found::None(_)) => break,
                Err(error) => {
                    warn!(%error, "a part of the log that is cut off cannot be read");
                    return Ok(end);
                }
            }
        }
        Ok(ceil(at) + self.most_behind())
    }

    /// Most that may have been written behind the last whole record: the rest of one that was flushed in part, and what was not flushed.
    fn most_behind(&self) -> u64 {
        MAX_RECORD_BYTES as u64 + self.config.max_unflushed_bytes
    }

    /// Removes the files behind that of the end, the last one first, then wipes that one from the end back.
    async fn wipe_back(&self, tail: u64, from: u64) -> Result<(), StoreError> {
        let segment_bytes = self.config.segment_bytes;
        let segment = self.segments.start_of(tail);
        if tail == segment && !self.is_first_of_later(segment) {
            return self.segments.remove_from(segment).await;
        }
        self.segments.remove_from(segment + segment_bytes).await?;
        if mutant!(CutNotWiped) {
            return Ok(());
        }
        let first = ceil(tail);
        let mut end = ceil(from).min(segment + segment_bytes);
        while end > first {
            let len = (end - first).min(WIPED_AT_ONCE);
            self.wipe(end - len, len as usize).await?;
            end -= len;
        }
        self.wipe_block(tail).await
    }

    /// A log without any record begins here, as its master's does. What it had of queues is of another log.
    pub(super) async fn begin_log_at(&mut self, position: u64) -> Result<u64, StoreError> {
        let log_min = self.segments.min_position();
        let is_empty = match log_min {
            Some(log_min) => self.end_of_records(log_min).await? <= log_min + self.most_behind(),
            None => true,
        };
        if !is_empty || !position.is_multiple_of(self.config.segment_bytes) {
            return Err(StoreError::NotBeginnable { position });
        }
        if log_min != Some(position) {
            self.segments.remove_from(0).await?;
            for found in self.queue_files.find_all().await? {
                let (topic, queue_id) = (&found.topic, found.queue_id);
                self.queue_files.remove(topic, &[queue_id]).await?;
            }
            self.segments.file_or_create(position).await?;
        }
        (self.durable_to, self.ours_from) = (position, Some(position));
        self.begin_anew(position, Origin::Usual).await?;
        if let Some(note) = self.note.map(|note| note.up_to(position)) {
            self.note = Some(note);
        }
        Ok(position)
    }
}
