//! Finding the end of the log after a start, and bringing the queues to agree with it.
//!
//! The checkpoint says up to where the queues' files are complete; from there on the log is read, each record checked to
//! be the successor of the one before (its own position, size, magic, body CRC, CRC over all of it), and its entry made
//! again. The first that is not ends the log. Where the checkpoint, the files and the log do not fit one another, the
//! files are removed and made again from all of the log. After a crash what was written behind the end is wiped: it may
//! have the right positions and CRCs, and a later restart would take it for ours.

use super::checkpoint::{Checkpoint, CheckpointFile};
use super::commit_log::{ceil, floor};
use super::config::SCHEDULE_TOPIC;
use super::consume_queue::{ConsumeQueues, ENTRY_BYTES, Entry, QueueBounds};
use super::index::Mark;
use super::open::Progress;
use super::queue_files::{BLANK, Found, MAX_QUEUE_ID, QueueFiles};
use super::segments::Segments;
use super::{StoreConfig, StoreError};
use crate::io::Io;
use crate::mem::BLOCK_BYTES;
use crate::message::{BLANK_MAGIC, Check, Record, properties, sys_flag, tags_code};

/// Log read at a time.
const READ_BYTES: usize = 4 << 20;

pub(super) struct Recovery<'a, I: Io> {
    config: &'a StoreConfig,
    segments: &'a Segments<I>,
    queue_files: &'a QueueFiles<I>,
    checkpoint: &'a CheckpointFile<I>,
    queues: &'a mut ConsumeQueues,
    pub last_store_time_ms: i64,
    pub messages: u64,
    /// Up to here the queues' files are complete.
    pub checkpointed: u64,
    /// What the checkpoint says of the key index.
    pub index: Option<Mark>,
}

/// What to do when a record does not continue its queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gaps {
    /// The files do not fit the log.
    Refuse,
    /// There is nothing better than the log.
    Take,
}

/// The queues' files do not fit the log.
struct Mismatch;

impl<'a, I: Io> Recovery<'a, I> {
    pub fn new(
        config: &'a StoreConfig,
        segments: &'a Segments<I>,
        queue_files: &'a QueueFiles<I>,
        checkpoint: &'a CheckpointFile<I>,
        queues: &'a mut ConsumeQueues,
    ) -> Self {
        Self {
            config,
            segments,
            queue_files,
            checkpoint,
            queues,
            last_store_time_ms: 0,
            messages: 0,
            checkpointed: 0,
            index: None,
        }
    }

    /// Restores the queues and returns the end of the log.
    pub async fn run(
        &mut self,
        was_closed: bool,
        progress: &mut impl FnMut(Progress),
    ) -> Result<u64, StoreError> {
        let checkpoint = self.checkpoint.load().await?;
        self.index = checkpoint.and_then(|checkpoint| checkpoint.index);
        let (Some(log_min), Some(log_end)) = (self.segments.min_position(), self.segments.end())
        else {
            if checkpoint.is_some() {
                self.checkpoint.revoke().await?;
            }
            self.remove_queue_files().await?;
            return Ok(0);
        };
        let checkpoint =
            checkpoint.filter(|checkpoint| (log_min..=log_end).contains(&checkpoint.position));
        let from = checkpoint.map_or(log_min, |checkpoint| checkpoint.position);
        if !was_closed {
            progress(Progress::Recovering { from });
        }
        let continued = match checkpoint {
            Some(checkpoint) => self.go_on_from(&checkpoint, log_min, progress).await?,
            None => Err(Mismatch),
        };
        let tail = match continued {
            Ok(tail) => tail,
            Err(Mismatch) => self.rebuild(log_min, progress).await?,
        };
        if !was_closed {
            let wipe_to = match checkpoint {
                Some(_) => self.end_of_unflushed(tail),
                // RocketMQ may have had the store, which has no such bound.
                None => u64::MAX,
            };
            self.wipe_behind(tail, wipe_to).await?;
            // What a killed process had written but not flushed is about to be shown to consumers.
            self.segments.sync_from(from).await?;
        }
        Ok(tail)
    }

    async fn go_on_from(
        &mut self,
        checkpoint: &Checkpoint,
        log_min: u64,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Result<u64, Mismatch>, StoreError> {
        if let Err(Mismatch) = self.restore_queues(checkpoint, log_min).await? {
            return Ok(Err(Mismatch));
        }
        self.last_store_time_ms = checkpoint.store_time_ms;
        self.checkpointed = checkpoint.position;
        self.read_log(checkpoint.position, Gaps::Refuse, progress)
            .await
    }

    async fn rebuild(
        &mut self,
        log_min: u64,
        progress: &mut impl FnMut(Progress),
    ) -> Result<u64, StoreError> {
        progress(Progress::Rebuilding);
        // A crash halfway must not leave a checkpoint that speaks of files which are gone.
        self.checkpoint.revoke().await?;
        self.queues.clear();
        self.keep_queue_ends(log_min).await?;
        (self.last_store_time_ms, self.messages) = (0, 0);
        self.checkpointed = 0;
        match self.read_log(log_min, Gaps::Take, progress).await? {
            Ok(tail) => Ok(tail),
            Err(Mismatch) => unreachable!("gaps were taken"),
        }
    }

    /// From their files, without what is ahead of the checkpoint: that is read from the log.
    async fn restore_queues(
        &mut self,
        checkpoint: &Checkpoint,
        log_min: u64,
    ) -> Result<Result<(), Mismatch>, StoreError> {
        let mut newest: Option<Entry> = None;
        for found in self.queue_files.find_all().await? {
            if !found.is_whole {
                return Ok(Err(Mismatch));
            }
            let ahead_from = self
                .first_of(&found, |entry| {
                    entry != BLANK && entry.end() > checkpoint.position
                })
                .await?;
            if ahead_from < found.max {
                // They may lie in a part of the log that was lost, and one day they would no longer be ahead.
                self.queue_files
                    .erase(&found.topic, found.queue_id, ahead_from, found.max)
                    .await?;
            }
            if ahead_from == 0 {
                continue;
            }
            let last = self.last_before(&found, ahead_from).await?;
            if last.is_some_and(|last| {
                newest.is_none_or(|newest| newest.physical_offset < last.physical_offset)
            }) {
                newest = last;
            }
            let found = Found {
                max: ahead_from,
                ..found
            };
            let min = self
                .first_of(&found, |entry| {
                    entry != BLANK && entry.physical_offset >= log_min
                })
                .await?;
            let queue = self.queues.find_or_create(&found.topic, found.queue_id);
            self.queues.restore(queue, min, found.max);
        }
        if self.queues.saved_digest() != checkpoint.queues_digest {
            return Ok(Err(Mismatch));
        }
        self.check_newest(newest, log_min).await
    }

    /// The first offset of a queue at which this is true, or its end.
    async fn first_of(
        &self,
        found: &Found,
        is_true: impl Fn(Entry) -> bool,
    ) -> Result<u64, StoreError> {
        let (mut low, mut high) = (found.min, found.max);
        while low < high {
            let middle = low.midpoint(high);
            let entry = self.queue_files.entry(&found.topic, found.queue_id, middle);
            // None: erased, and everything behind it is.
            if entry.await?.is_none_or(&is_true) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    async fn last_before(&self, found: &Found, end: u64) -> Result<Option<Entry>, StoreError> {
        if end == found.min {
            return Ok(None);
        }
        let entry = self
            .queue_files
            .entry(&found.topic, found.queue_id, end - 1)
            .await?;
        Ok(entry.filter(|entry| *entry != BLANK))
    }

    /// Whether this is the log that the queues are of: the newest message that they know is in it.
    async fn check_newest(
        &self,
        newest: Option<Entry>,
        log_min: u64,
    ) -> Result<Result<(), Mismatch>, StoreError> {
        let Some(newest) = newest.filter(|newest| newest.physical_offset >= log_min) else {
            return Ok(Ok(()));
        };
        let mut window = Window::default();
        let size = newest.size as usize;
        if size > self.config.max_record_bytes() {
            return Ok(Err(Mismatch));
        }
        let bytes = window.bytes(self.segments, newest.physical_offset, size);
        let is_there = bytes.await?.is_some_and(|bytes| {
            Record::decode(bytes, Check::Crc).is_ok_and(|record| {
                record.physical_offset == newest.physical_offset && record.total_size == newest.size
            })
        });
        Ok(if is_there { Ok(()) } else { Err(Mismatch) })
    }

    /// Removes the queues' files but of those that end with a message of a file that is gone: nothing in the log says any
    /// more where they go on, and no offset is to be given out twice.
    async fn keep_queue_ends(&mut self, log_min: u64) -> Result<(), StoreError> {
        for found in self.queue_files.find_all().await? {
            let is_of_log = |entry: Entry| entry != BLANK && entry.physical_offset >= log_min;
            let ends_before_log = found.is_whole
                && found.max > 0
                && self.first_of(&found, is_of_log).await? == found.max;
            if ends_before_log {
                let queue = self.queues.find_or_create(&found.topic, found.queue_id);
                self.queues.restore(queue, found.max, found.max);
            } else {
                self.queue_files
                    .remove(&found.topic, &[found.queue_id])
                    .await?;
            }
        }
        Ok(())
    }

    async fn remove_queue_files(&self) -> Result<(), StoreError> {
        for found in self.queue_files.find_all().await? {
            self.queue_files
                .remove(&found.topic, &[found.queue_id])
                .await?;
        }
        Ok(())
    }

    /// Reads records from `position` to the end of the log, which it returns.
    async fn read_log(
        &mut self,
        mut position: u64,
        gaps: Gaps,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Result<u64, Mismatch>, StoreError> {
        let mut read_bytes: u64 = 0;
        let mut window = Window::default();
        loop {
            let size = match self.next_in(&mut window, position).await? {
                Next::Record { size } => size,
                Next::Blank { size } => {
                    position += size;
                    continue;
                }
                Next::End => return Ok(Ok(position)),
            };
            let Some(bytes) = window.bytes(self.segments, position, size).await? else {
                return Ok(Ok(position));
            };
            let check = match mutant!(SkipTailCrc) {
                true => Check::Layout,
                false => Check::Crc,
            };
            let Ok(record) = Record::decode(bytes, check) else {
                return Ok(Ok(position));
            };
            if record.physical_offset != position {
                return Ok(Ok(position));
            }
            if let Err(Mismatch) = self.take(&record, gaps).await? {
                return Ok(Err(Mismatch));
            }
            position += size as u64;
            read_bytes += size as u64;
            if read_bytes / (256 << 20) != (read_bytes - size as u64) / (256 << 20) {
                progress(Progress::Read { bytes: read_bytes });
            }
        }
    }

    async fn next_in(&self, window: &mut Window, position: u64) -> Result<Next, StoreError> {
        let rest = self.config.segment_bytes - position % self.config.segment_bytes;
        let head = window.bytes(self.segments, position, 8.min(rest as usize));
        let head = head.await?.and_then(|head| head.first_chunk());
        Ok(head.map_or(Next::End, |head| Next::read(head, rest)))
    }

    /// Adds a record's entry to its queue.
    async fn take(
        &mut self,
        record: &Record<'_>,
        gaps: Gaps,
    ) -> Result<Result<(), Mismatch>, StoreError> {
        self.last_store_time_ms = self.last_store_time_ms.max(record.store_timestamp_ms);
        // Prepared and rolled back ones stand at offset 0 of a queue that they are not in.
        if record.queue_id >= MAX_QUEUE_ID || !sys_flag::is_consumable(record.sys_flag) {
            return Ok(Ok(()));
        }
        let entry = Entry {
            physical_offset: record.physical_offset,
            size: record.total_size,
            tags_code: entry_tags(record, &self.config.delay_levels_ms),
        };
        let queue = self.queues.find_or_create(record.topic, record.queue_id);
        let QueueBounds { min, max, .. } = self.queues.queue(queue).bounds;
        match record.queue_offset {
            offset if offset == max => {}
            // The topic was deleted and made again.
            0 => {
                self.queue_files
                    .remove(record.topic, &[record.queue_id])
                    .await?;
                self.queues.restart(queue, 0);
            }
            // Its earlier messages are gone with their log files.
            offset if max == 0 => self.queues.restart(queue, offset),
            _ if gaps == Gaps::Refuse => return Ok(Err(Mismatch)),
            offset if offset < max && min < max => return Ok(Ok(())),
            offset => {
                self.queue_files
                    .remove(record.topic, &[record.queue_id])
                    .await?;
                self.queues.restart(queue, offset);
            }
        }
        self.make_room().await?;
        self.queues.push(queue, &entry);
        let restored = self.queues.queue_mut(queue);
        restored.bounds.next = restored.bounds.max;
        restored.last_store_time_ms = record.store_timestamp_ms;
        self.messages += 1;
        Ok(Ok(()))
    }

    /// Saves what has been restored when memory gets short.
    async fn make_room(&mut self) -> Result<(), StoreError> {
        if self.queues.free_chunks() > self.queues.capacity_chunks() / 16 {
            return Ok(());
        }
        while let Some((queue, first, entries)) = self.queues.next_unsaved(u64::MAX) {
            let (topic, queue_id) = (
                self.queues.topic_of(queue).to_owned(),
                self.queues.queue(queue).queue_id,
            );
            self.queue_files
                .save(&topic, queue_id, first, &entries)
                .await?;
            let count = (entries.len() / ENTRY_BYTES) as u64;
            self.queues.saved(queue, first + count);
        }
        self.queues.evict(self.queues.capacity_chunks() / 4);
        Ok(())
    }

    /// Where nothing is any more that was written since this file is the log's. What was flushed is in the log, so the log
    /// ends at or behind the last flush; no write ends further behind it than `StoreConfig::max_unflushed_bytes`, rounded
    /// to a block. Whoever starts after a crash flushes and wipes before anything is written,
    /// and a wipe that is cut short begins anew at an end that is again not before that last flush: what an earlier crash
    /// left is gone. A file that had been another one before may hold anything else behind it; but its records say another
    /// position (`segments.rs`).
    fn end_of_unflushed(&self, tail: u64) -> u64 {
        ceil(tail) + self.config.max_unflushed_bytes + BLOCK_BYTES as u64
    }

    /// Makes zeros of what is behind the end of the log, up to `wipe_to` in its last file.
    async fn wipe_behind(&self, tail: u64, wipe_to: u64) -> Result<(), StoreError> {
        let segment_bytes = self.config.segment_bytes;
        let segment = self.segments.start_of(tail);
        if tail == segment {
            return self.segments.remove_from(segment).await;
        }
        self.segments.remove_from(segment + segment_bytes).await?;
        if mutant!(TailNotWiped) {
            return Ok(());
        }
        self.wipe_block(tail).await?;
        let mut position = ceil(tail);
        let end = wipe_to.min(segment + segment_bytes);
        while position < end {
            let len = ((end - position) as usize).min(1 << 20);
            let Some(bytes) = self.segments.read(position, len).await? else {
                return Ok(());
            };
            if bytes[..len].iter().any(|byte| *byte != 0) {
                self.segments.zero(position, len as u64).await?;
            }
            position += len as u64;
        }
        Ok(())
    }

    /// The rest of the tail's own block.
    async fn wipe_block(&self, tail: u64) -> Result<(), StoreError> {
        let Some(mut block) = self.segments.read(floor(tail), BLOCK_BYTES).await? else {
            return Ok(());
        };
        let rest = &mut block[(tail - floor(tail)) as usize..];
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        rest.fill(0);
        self.segments.write(floor(tail), block).await.0
    }
}

/// What the log has at a position.
pub(super) enum Next {
    Record { size: usize },
    Blank { size: u64 },
    End,
}

impl Next {
    /// By its first bytes; the segment has `rest` from there on.
    pub fn read(head: &[u8; 8], rest: u64) -> Self {
        let [a, b, c, d, magic @ ..] = *head;
        let size = u32::from_be_bytes([a, b, c, d]);
        match u32::from_be_bytes(magic) {
            BLANK_MAGIC if u64::from(size) == rest => Self::Blank { size: rest },
            _ if size < 8 || u64::from(size) > rest => Self::End,
            _ => Self::Record {
                size: size as usize,
            },
        }
    }
}

/// What the queue's entry of a record holds besides its place.
fn entry_tags(record: &Record<'_>, delay_levels_ms: &[u64]) -> i64 {
    if record.topic == SCHEDULE_TOPIC {
        let delay_ms = delay_levels_ms
            .get(record.queue_id as usize)
            .copied()
            .unwrap_or(UNKNOWN_LEVEL_MS);
        return record.store_timestamp_ms.saturating_add(delay_ms as i64);
    }
    properties::find(record.properties, properties::TAGS).map_or(0, tags_code)
}

/// RocketMQ's delay of a level that it does not know.
const UNKNOWN_LEVEL_MS: u64 = 1000;

/// A stretch of the log in memory.
#[derive(Default)]
pub(super) struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// `len` bytes at a position, all in one segment; `None` if the log has no file for them.
    pub async fn bytes<I: Io>(
        &mut self,
        segments: &Segments<I>,
        position: u64,
        len: usize,
    ) -> Result<Option<&[u8]>, StoreError> {
        let is_here =
            self.start <= position && position + len as u64 <= self.start + self.bytes.len() as u64;
        if !is_here {
            let start = floor(position);
            let wanted = ((position - start) as usize + len).max(READ_BYTES);
            let Some(block) = segments.read(start, wanted).await? else {
                return Ok(None);
            };
            let in_segment = (segments.start_of(start) + segments.segment_bytes() - start) as usize;
            self.start = start;
            self.bytes.clear();
            self.bytes
                .extend_from_slice(&block[..wanted.min(in_segment).min(block.len())]);
        }
        let from = (position - self.start) as usize;
        Ok(self.bytes.get(from..from + len))
    }
}
