//! Reads the log to its end and derives the queue entries of its records.

use tracing::warn;

use super::{IsKept, Mismatch, Recovery};
use crate::io::Io;
use crate::message::{Record, sys_flag};
use crate::store::StoreError;
use crate::store::entry_tags::entry_of;
use crate::store::log::damage::Known;
use crate::store::log::reader::{Crcs, Found, Walk};
use crate::store::progress::Progress;
use crate::store::queues::entry::{Entry, MIN_RECORD_BYTES};
use crate::store::queues::files::MAX_QUEUE_ID;
use crate::store::queues::journal::{Coverage, Origin};
use crate::store::queues::memory::{QueueBounds, QueueIndex, chunks_of};

impl<'a, I: Io> Recovery<'a, I> {
    /// Reads records to the end of the log.
    pub(super) async fn read_log(
        &mut self,
        origin: Origin,
        crcs: Crcs,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Result<(), Mismatch>, StoreError> {
        self.begin_unconfirmed(origin);
        let from = self.reached.position;
        let total_bytes = self.last_begun_file().await?.saturating_sub(from);
        let mut kept = from;
        let mut walk = Walk::new(crcs);
        let limit = self.cut.unwrap_or(u64::MAX);
        loop {
            let position = self.reached.position;
            if position >= limit {
                return Ok(Ok(()));
            }
            if position - kept >= self.keep_bytes() {
                kept = position;
                self.try_to_keep().await?;
                let read_bytes = position - from;
                progress(Progress::Read {
                    read_bytes,
                    total_bytes: total_bytes.max(read_bytes),
                });
            }
            let record = match walk.at(self.segments, position).await {
                // Half of something ends the log where that begins.
                Ok(found) if found.len().is_some_and(|len| position + len > limit) => {
                    return Ok(Ok(()));
                }
                Ok(Found::Record(record)) => Some(record),
                Ok(Found::Blank { size }) => {
                    self.reached.position += size;
                    continue;
                }
                Ok(Found::None(_)) => None,
                Err(error) if self.is_place_unreadable(&error, position).await => None,
                Err(error) => return Err(error),
            };
            let Some(record) = record else {
                match self.behind_damage(position).await? {
                    Some(next) if next > limit => return Ok(Ok(())),
                    Some(next) => self.reached.position = next,
                    None => return Ok(Ok(())),
                }
                continue;
            };
            let size = record.total_size as usize;
            if let Err(Mismatch) = self.take(&record, origin).await? {
                return Ok(Err(Mismatch));
            }
            self.reached = Coverage {
                position: position + size as u64,
                last_record: position,
                store_time_ms: self.reached.store_time_ms.max(record.store_timestamp_ms),
            };
        }
    }

    /// Whether the device fails at this place only. A power cut may leave a sector like that in the middle of a write. It is
    /// then judged as any place without a record: it is damage if there is a proof that the log went on, and the end of the
    /// log if there is none.
    async fn is_place_unreadable(&self, error: &StoreError, position: u64) -> bool {
        if self.config.skip_damaged {
            return true;
        }
        let is_sector = matches!(error, StoreError::Io { source, .. }
            if source.raw_os_error() == Some(libc::EIO));
        is_sector && !mutant!(UnreadableEndRefused) && self.segments.answers_near(position).await
    }

    /// End of the last file of the log that has something: those behind it were made ahead.
    async fn last_begun_file(&self) -> Result<u64, StoreError> {
        for start in self.segments.starts().into_iter().rev() {
            // An unreadable one has been written to.
            if !matches!(super::store_time_at(self.segments, start).await, Ok(None)) {
                return Ok(start + self.config.segment_bytes);
            }
        }
        Ok(0)
    }

    async fn try_to_keep(&mut self) -> Result<(), StoreError> {
        match self.keep().await {
            // The only cost: a start that is interrupted resumes further back.
            Err(error) if error.is_no_space() => {
                warn!(%error, "what has been read of the log cannot be kept");
                Ok(())
            }
            kept => kept,
        }
    }

    fn known(&self) -> Known<'a, I> {
        Known {
            segments: self.segments,
            config: self.config,
            flushed_to: self.durable_to,
            unflushed_bytes: self.unflushed_bytes,
            crcs: Crcs::of_log(self.ours_from),
        }
    }

    /// Where the log goes on behind a place at which it cannot be read; `None` if it ends there.
    async fn behind_damage(&mut self, position: u64) -> Result<Option<u64>, StoreError> {
        let known = self.known();
        let Some(damage) = known.damage_at(position).await? else {
            return Ok(None);
        };
        if !self.config.skip_damaged {
            return Err(known.refusal(&damage));
        }
        let gap = known.behind(&damage).await?;
        tracing::error!(
            from = gap.from,
            to = gap.to,
            "a part of the log cannot be read and is left behind: {}",
            damage.proof
        );
        self.lost_bytes += gap.to - gap.from;
        self.gap = Some(gap);
        self.gaps.push(gap);
        Ok((gap.to > position).then_some(gap.to))
    }

    /// Adds a record's entry to its queue.
    async fn take(
        &mut self,
        record: &Record<'_>,
        origin: Origin,
    ) -> Result<Result<(), Mismatch>, StoreError> {
        // Prepared and rolled back ones stand at offset 0 of a queue that they are not in.
        if record.queue_id >= MAX_QUEUE_ID || !sys_flag::is_consumable(record.sys_flag) {
            return Ok(Ok(()));
        }
        let first = entry_of(record, &self.config.delay_levels_ms);
        let mut queue = self.queues.find_or_create(record.topic, record.queue_id);
        let QueueBounds { min, max, .. } = self.queues.queue(queue).bounds;
        match record.queue_offset {
            offset if offset == max => {}
            offset if min < max && self.are_lost(offset.checked_sub(max)) => {
                self.fill(queue, offset).await?;
            }
            // Its earlier messages are gone with their log files.
            offset if max == 0 => self.queues.restart(queue, offset),
            // The topic was deleted and made again.
            0 => queue = self.begin_queue_anew(queue, record).await?,
            _ if origin != Origin::Rebuilding => return Ok(Err(Mismatch)),
            offset if offset < max && min < max => return Ok(Ok(())),
            _ => queue = self.begin_queue_anew(queue, record).await?,
        }
        // For all of a batch: the journal gets no part of one.
        self.make_room(chunks_of(first.messages()), IsKept::NotYet)
            .await?;
        let most = if mutant!(BatchRestoredAsOne) {
            1
        } else {
            usize::MAX
        };
        for entry in first.to_last().take(most) {
            self.adds_unconfirmed(queue);
            self.queues.push(queue, &entry);
            self.messages += 1;
        }
        let restored = self.queues.queue_mut(queue);
        restored.bounds.next = restored.bounds.max;
        restored.last_store_time_ms = record.store_timestamp_ms;
        Ok(Ok(()))
    }

    /// Whether the skipped parts may have held so many messages.
    fn are_lost(&self, messages: Option<u64>) -> bool {
        let most = self.lost_bytes / MIN_RECORD_BYTES as u64;
        self.gap.is_some() && messages.is_some_and(|messages| messages <= most)
    }

    /// Adds entries for lost messages up to `offset`: their position is in the gap.
    pub(super) async fn fill(&mut self, queue: QueueIndex, offset: u64) -> Result<(), StoreError> {
        let Some(gap) = self.gap else { return Ok(()) };
        self.keeps_unconfirmed();
        let entry = Entry::into_gap(gap.from);
        while self.queues.queue(queue).bounds.max < offset {
            self.make_room(1, IsKept::NotYet).await?;
            self.queues.push(queue, &entry);
        }
        Ok(())
    }

    /// Begins the queue anew, with this record as its first one.
    async fn begin_queue_anew(
        &mut self,
        queue: QueueIndex,
        record: &Record<'_>,
    ) -> Result<QueueIndex, StoreError> {
        self.keeps_unconfirmed();
        self.forget(queue);
        self.remove_gone().await?;
        let queue = self.queues.find_or_create(record.topic, record.queue_id);
        self.queues.restart(queue, record.queue_offset);
        Ok(queue)
    }

    /// Saves what has been restored when memory gets short, and there may not be so many chunks.
    pub(super) async fn make_room(
        &mut self,
        chunks: usize,
        is_kept: IsKept,
    ) -> Result<(), StoreError> {
        let few = self.queues.capacity_chunks() / 16;
        if self.queues.free_chunks() > few.max(chunks) {
            return Ok(());
        }
        self.keeps_unconfirmed();
        if is_kept == IsKept::NotYet {
            self.try_to_keep().await?;
        }
        let mut saved = Vec::new();
        while let Some((queue, offsets)) = self.queues.next_unsaved(u64::MAX) {
            let topic = self.queues.topic_of(queue);
            let queue_id = self.queues.queue(queue).queue_id;
            let entries = self.queues.encoded(queue, offsets.clone());
            let files = self.queue_files;
            files.save(topic, queue_id, offsets.start, &entries).await?;
            saved.push((queue, offsets.end));
        }
        self.queue_files.sync().await?;
        for (queue, end) in saved {
            self.queues.saved(queue, end);
        }
        let wanted = self.queues.capacity_chunks() / 4;
        self.queues.evict(wanted.max(chunks + 1));
        Ok(())
    }
}
