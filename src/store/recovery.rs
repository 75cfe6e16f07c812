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

use futures_util::{StreamExt, TryStreamExt, stream};
use hashbrown::HashMap;
use tracing::warn;

use super::abort::Left;
use super::checkpoint::{self, Checkpoint, CheckpointFile};
use super::commit_log::{ceil, floor};
use super::config::SCHEDULE_TOPIC;
use super::consume_queue::{
    ConsumeQueues, ENTRY_BYTES, Entry, MIN_RECORD_BYTES, QueueBounds, QueueIndex,
};
use super::damage::{self, Gap, Known};
use super::index::Mark;
use super::journal::{Block, Item, Journal, Origin, QueueItem, Reached, Reader};
use super::open::Progress;
use super::queue_files::{AT_ONCE, BLANK, Found, MAX_QUEUE_ID, QueueFiles};
use super::segments::Segments;
use super::{StoreConfig, StoreError};
use crate::io::Io;
use crate::mem::BLOCK_BYTES;
use crate::message::{BLANK_MAGIC, Check, Record, properties, sys_flag, tags_code};

/// Log read at a time.
const READ_BYTES: usize = 4 << 20;

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

    /// From the newest generation that is whole and of this log.
    async fn restore_from_journal(&mut self, log_min: u64) -> Result<Option<Origin>, StoreError> {
        for generation in self.journal.generations().await? {
            let mut reader = self.journal.reader(generation).await?;
            let fits = self.take_blocks(&mut reader).await?;
            self.reached = reader.reached();
            if fits
                && reader.counts()
                && self.is_of_log(log_min).await?
                && self.have_folders().await?
            {
                let origin = reader.origin();
                self.journal.go_on(reader).await?;
                return Ok(Some(origin));
            }
            self.queues.clear();
            self.gone.clear();
        }
        Ok(None)
    }

    /// `false`: what is in it makes no sense.
    async fn take_blocks(&mut self, reader: &mut Reader<I>) -> Result<bool, StoreError> {
        let mut journaled = Journaled {
            generation: reader.generation(),
            queues: HashMap::new(),
            minimums: HashMap::new(),
        };
        loop {
            let items = match reader.next().await {
                Ok(Some(items)) => items,
                Ok(None) => break,
                Err(error) => {
                    warn!(%error, "the journal of the queues cannot be read any further");
                    break;
                }
            };
            let mut items = &items[..];
            while !items.is_empty() {
                let Some(item) = Item::take_from(&mut items) else {
                    return Ok(false);
                };
                if !self.take_item(&mut journaled, item).await? {
                    return Ok(false);
                }
                if reader.counts() {
                    self.remove_gone().await?;
                }
            }
        }
        for (queue, (min, first_position)) in journaled.minimums {
            self.queues.restore_min(queue, min, first_position);
        }
        Ok(true)
    }

    async fn take_item(
        &mut self,
        journaled: &mut Journaled,
        item: Item<'_>,
    ) -> Result<bool, StoreError> {
        match item {
            Item::Queue(queue) => return self.take_queue(journaled, &queue).await,
            Item::Entries {
                number,
                first,
                entries,
            } => {
                let Some(queue) = journaled.queues.get(&number).copied() else {
                    return Ok(false);
                };
                if self.queues.queue(queue).bounds.max != first || self.queues.queue(queue).gone {
                    return Ok(false);
                }
                for entry in entries {
                    self.make_room(IsKept::Already).await?;
                    self.queues.push(queue, &Entry::decode(entry));
                }
                let restored = self.queues.queue_mut(queue);
                restored.bounds.next = restored.bounds.max;
                self.queues.journaled(queue);
            }
            Item::Deleted { number } => {
                if let Some(queue) = journaled.queues.get(&number).copied() {
                    self.forget(queue);
                }
            }
        }
        Ok(true)
    }

    async fn take_queue(
        &mut self,
        journaled: &mut Journaled,
        item: &QueueItem<'_>,
    ) -> Result<bool, StoreError> {
        if item.queue_id >= MAX_QUEUE_ID {
            return Ok(false);
        }
        let queue = match journaled.queues.get(&item.number).copied() {
            Some(queue) => queue,
            None => {
                if let Some(former) = self.queues.find(item.topic, item.queue_id) {
                    // Its topic was deleted and made again.
                    self.forget(former);
                }
                let queue = self.queues.find_or_create(item.topic, item.queue_id);
                self.queues
                    .restore(queue, item.min.min(item.base), item.base);
                self.queues
                    .known_by(queue, journaled.generation, item.number);
                journaled.queues.insert(item.number, queue);
                queue
            }
        };
        journaled
            .minimums
            .insert(queue, (item.min, item.first_position));
        Ok(true)
    }

    /// Forgets a queue: another one may get its name. Its files are to go.
    fn forget(&mut self, queue: QueueIndex) {
        if !self.queues.queue(queue).gone {
            let topic = self.queues.topic_of(queue).to_owned();
            self.gone.push((topic, self.queues.queue(queue).queue_id));
            self.queues.remove(queue);
        }
    }

    async fn remove_gone(&mut self) -> Result<(), StoreError> {
        for (topic, queue_id) in std::mem::take(&mut self.gone) {
            let named = self.queues.find(&topic, queue_id);
            // Another one has come so far already that its entries had to be saved, over those of the former.
            if !named.is_some_and(|queue| self.queues.is_saved(queue)) {
                self.queue_files.remove(&topic, &[queue_id]).await?;
            }
        }
        Ok(())
    }

    /// Whether there is a folder for each topic that has queue files. Who wants them to be made again removes them, as with
    /// RocketMQ; a single file that lacks is found when it is read.
    async fn have_folders(&self) -> Result<bool, StoreError> {
        let topics = self.queue_files.topics().await?;
        let is_missing =
            |queue| self.queues.is_saved(queue) && !topics.contains(self.queues.topic_of(queue));
        Ok(!self.queues.all().any(is_missing))
    }

    /// Whether this is the log that the queues are of: the last message that they know is in it.
    async fn is_of_log(&self, log_min: u64) -> Result<bool, StoreError> {
        let Reached {
            position,
            last_record,
            ..
        } = self.reached;
        let log_end = self.segments.end().unwrap_or(0);
        if !(log_min..=log_end).contains(&position) {
            return Ok(false);
        }
        // Where the log has lost messages that one may be among them.
        if last_record < log_min || last_record >= position || self.config.skip_damaged {
            return Ok(true);
        }
        let mut window = Window::default();
        let Next::Record { size } = self.next_in(&mut window, last_record).await? else {
            return Ok(false);
        };
        if size > self.config.max_record_bytes() {
            return Ok(false);
        }
        let bytes = window.bytes(self.segments, last_record, size).await?;
        Ok(bytes.is_some_and(|bytes| {
            Record::decode(bytes, Check::Crc)
                .is_ok_and(|record| record.physical_offset == last_record)
        }))
    }

    /// From their files, without what is ahead of a position: that is read from the log.
    async fn restore_from_files(
        &mut self,
        found: Vec<Found>,
        reached: Reached,
        log_min: u64,
    ) -> Result<Result<(), Mismatch>, StoreError> {
        self.queues.clear();
        self.reached = reached;
        let log_end = self.segments.end().unwrap_or(0);
        if !(log_min..=log_end).contains(&reached.position)
            || found.iter().any(|found| !found.is_whole)
        {
            return Ok(Err(Mismatch));
        }
        let ends = found
            .iter()
            .map(|found| self.cut(found, reached.position, log_min));
        let ends: Vec<_> = stream::iter(ends).buffered(AT_ONCE).try_collect().await?;
        let mut newest: Option<Entry> = None;
        for (found, kept) in found.iter().zip(ends) {
            if kept.max == 0 {
                continue;
            }
            newest = newest.into_iter().chain(kept.last).max_by_key(Entry::end);
            let queue = self.queues.find_or_create(&found.topic, found.queue_id);
            self.queues.restore(queue, kept.min, kept.max);
            self.queues
                .restore_min(queue, kept.min, kept.first_position);
        }
        // Where the log has lost messages that one may be among them.
        if self.config.skip_damaged {
            return Ok(Ok(()));
        }
        self.check_newest(newest, log_min).await
    }

    /// What a queue's files have of messages before a position; nothing else is left in them.
    async fn cut(&self, found: &Found, position: u64, log_min: u64) -> Result<Kept, StoreError> {
        let is_ahead = |entry: Entry| entry != BLANK && entry.end() > position;
        let mut max = found.max;
        if found.last.is_none_or(is_ahead) {
            max = self.first_of(found, found.max, is_ahead).await?;
        }
        if max < found.max {
            // They may lie in a part of the log that was lost, and one day they would no longer be ahead.
            self.queue_files
                .erase(&found.topic, found.queue_id, max, found.max)
                .await?;
        }
        let is_of_log = |entry: Entry| entry != BLANK && entry.physical_offset >= log_min;
        let min = self.first_of(found, max, is_of_log).await?;
        let first = self.entry_before(found, min, max).await?;
        Ok(Kept {
            min,
            max,
            first_position: first.map(|first| first.physical_offset),
            last: match max.checked_sub(1) {
                Some(last) => self.entry_before(found, last, max).await?,
                None => None,
            },
        })
    }

    /// The first offset of a queue before `end` at which this is true, or `end`.
    async fn first_of(
        &self,
        found: &Found,
        end: u64,
        is_true: impl Fn(Entry) -> bool,
    ) -> Result<u64, StoreError> {
        let (mut low, mut high) = (found.min, end);
        // Most begin with it.
        let mut middle = low;
        while low < high {
            let entry = self.queue_files.entry(&found.topic, found.queue_id, middle);
            // None: erased, and everything behind it is.
            if entry.await?.is_none_or(&is_true) {
                high = middle;
            } else {
                low = middle + 1;
            }
            middle = low.midpoint(high);
        }
        Ok(low)
    }

    /// The entry at an offset, if there is one before `end`.
    async fn entry_before(
        &self,
        found: &Found,
        offset: u64,
        end: u64,
    ) -> Result<Option<Entry>, StoreError> {
        if offset < found.min || end <= offset {
            return Ok(None);
        }
        let entry = self.queue_files.entry(&found.topic, found.queue_id, offset);
        Ok(entry.await?.filter(|entry| *entry != BLANK))
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
        let found = self.queue_files.find_all().await?;
        for found in found {
            let is_before_log = |last: Entry| {
                self.segments.min_position().is_some() && last.physical_offset < log_min
            };
            if found.is_whole && found.last.is_some_and(is_before_log) {
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

    /// Reads records to the end of the log.
    async fn read_log(
        &mut self,
        origin: Origin,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Result<(), Mismatch>, StoreError> {
        let from = self.reached.position;
        let total_bytes = self.last_begun_file().await?.saturating_sub(from);
        let mut kept = from;
        let mut window = Window::default();
        loop {
            let position = self.reached.position;
            if position - kept >= self.config.segment_bytes / KEEP_SHARE {
                kept = position;
                self.try_to_keep().await?;
                let read_bytes = position - from;
                progress(Progress::Read {
                    read_bytes,
                    total_bytes: total_bytes.max(read_bytes),
                });
            }
            let record = match self.next_in(&mut window, position).await {
                Ok(Next::Record { size }) => {
                    let bytes = window.bytes(self.segments, position, size).await;
                    self.successor(bytes, position, origin)?
                }
                Ok(Next::Blank { size }) => {
                    self.reached.position += size;
                    continue;
                }
                Ok(Next::End) => None,
                Err(_) if self.config.skip_damaged => None,
                Err(error) => return Err(error),
            };
            let Some(record) = record else {
                match self.behind_damage(position).await? {
                    Some(next) => self.reached.position = next,
                    None => return Ok(Ok(())),
                }
                continue;
            };
            let size = record.total_size as usize;
            if let Err(Mismatch) = self.take(&record, origin).await? {
                return Ok(Err(Mismatch));
            }
            self.reached = Reached {
                position: position + size as u64,
                last_record: position,
                store_time_ms: self.reached.store_time_ms.max(record.store_timestamp_ms),
            };
        }
    }

    /// End of the last file of the log that has something: those behind it were made ahead.
    async fn last_begun_file(&self) -> Result<u64, StoreError> {
        for start in self.segments.starts().into_iter().rev() {
            if super::open::store_time_at(self.segments, start)
                .await?
                .is_some()
            {
                return Ok(start + self.config.segment_bytes);
            }
        }
        Ok(0)
    }

    async fn try_to_keep(&mut self) -> Result<(), StoreError> {
        match self.keep().await {
            // It would begin anew if it were cut short, no more.
            Err(error) if error.is_no_space() => {
                warn!(%error, "what has been read of the log cannot be kept");
                Ok(())
            }
            kept => kept,
        }
    }

    /// The record, if it is provably that of this position. RocketMQ's have no CRC over all of them; one of ours without it
    /// is torn, though the last of its sectors may have arrived.
    fn successor<'b>(
        &self,
        bytes: Result<Option<&'b [u8]>, StoreError>,
        position: u64,
        origin: Origin,
    ) -> Result<Option<Record<'b>>, StoreError> {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(_) if self.config.skip_damaged => None,
            Err(error) => return Err(error),
        };
        let check = match mutant!(SkipTailCrc) {
            true => Check::Layout,
            false => Check::Crc,
        };
        let record = bytes.and_then(|bytes| Record::decode(bytes, check).ok());
        let is_here =
            |record: &Record<'_>| record.physical_offset == position || mutant!(SkipPosition);
        let may_lack_crc = origin != Origin::Usual || mutant!(SkipTailCrc);
        let is_covered = |record: &Record<'_>| may_lack_crc || record.has_crc();
        Ok(record.filter(is_here).filter(is_covered))
    }

    fn known(&self) -> Known<'a, I> {
        Known {
            segments: self.segments,
            config: self.config,
            flushed_to: self.flushed_to,
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
        Ok((gap.to > position).then_some(gap.to))
    }

    /// Whether the log's files reach from one end to the other; made anew, without a message, where that was asked for.
    async fn find_missing_files(&mut self) -> Result<(), StoreError> {
        let log = self.segments.min_position().zip(self.segments.end());
        let is_there = log.is_some_and(|(min, end)| (min..=end).contains(&self.flushed_to));
        if is_there || self.flushed_to == 0 && log.is_some() {
            return Ok(());
        }
        let has_messages = || async {
            let queues = self.queue_files.find_all().await?;
            Ok(self.flushed_to > 0 || queues.iter().any(|queue| queue.max > 0))
        };
        if !has_messages().await? {
            return Ok(());
        }
        if !self.config.skip_damaged {
            let dir = self.config.dir.clone();
            return Err(damage::missing(dir, log, self.flushed_to));
        }
        tracing::error!(
            position = self.flushed_to,
            "files of the log are missing: going on without them"
        );
        let last = self.segments.start_of(self.flushed_to);
        let mut start = log.map_or(last, |(_, end)| end);
        while start <= last {
            self.segments.file_or_create(start).await?;
            start += self.config.segment_bytes;
        }
        Ok(())
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
        origin: Origin,
    ) -> Result<Result<(), Mismatch>, StoreError> {
        // Prepared and rolled back ones stand at offset 0 of a queue that they are not in.
        if record.queue_id >= MAX_QUEUE_ID || !sys_flag::is_consumable(record.sys_flag) {
            return Ok(Ok(()));
        }
        let entry = Entry {
            physical_offset: record.physical_offset,
            size: record.total_size,
            tags_code: entry_tags(record, &self.config.delay_levels_ms),
        };
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
        self.make_room(IsKept::NotYet).await?;
        self.queues.push(queue, &entry);
        let restored = self.queues.queue_mut(queue);
        restored.bounds.next = restored.bounds.max;
        restored.last_store_time_ms = record.store_timestamp_ms;
        self.messages += 1;
        Ok(Ok(()))
    }

    /// Whether so many messages may have stood in what was left behind.
    fn are_lost(&self, messages: Option<u64>) -> bool {
        let most = self.lost_bytes / MIN_RECORD_BYTES as u64;
        self.gap.is_some() && messages.is_some_and(|messages| messages <= most)
    }

    /// Entries for the messages up to `offset`: they lead to where nothing can be read.
    async fn fill(&mut self, queue: QueueIndex, offset: u64) -> Result<(), StoreError> {
        let Some(gap) = self.gap else { return Ok(()) };
        let entry = Entry {
            physical_offset: gap.from,
            size: MIN_RECORD_BYTES as u32,
            tags_code: 0,
        };
        while self.queues.queue(queue).bounds.max < offset {
            self.make_room(IsKept::NotYet).await?;
            self.queues.push(queue, &entry);
        }
        Ok(())
    }

    /// With this record as its first one.
    async fn begin_queue_anew(
        &mut self,
        queue: QueueIndex,
        record: &Record<'_>,
    ) -> Result<QueueIndex, StoreError> {
        self.forget(queue);
        self.remove_gone().await?;
        let queue = self.queues.find_or_create(record.topic, record.queue_id);
        self.queues.restart(queue, record.queue_offset);
        Ok(queue)
    }

    /// Saves what has been restored when memory gets short.
    async fn make_room(&mut self, is_kept: IsKept) -> Result<(), StoreError> {
        if self.queues.free_chunks() > self.queues.capacity_chunks() / 16 {
            return Ok(());
        }
        if is_kept == IsKept::NotYet {
            self.try_to_keep().await?;
        }
        let mut saved = Vec::new();
        while let Some((queue, first, entries)) = self.queues.next_unsaved(u64::MAX) {
            let topic = self.queues.topic_of(queue);
            let queue_id = self.queues.queue(queue).queue_id;
            self.queue_files
                .save(topic, queue_id, first, &entries)
                .await?;
            saved.push((queue, first + (entries.len() / ENTRY_BYTES) as u64));
        }
        self.queue_files.sync().await?;
        for (queue, end) in saved {
            self.queues.saved(queue, end);
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

    /// Writes once more what was not flushed for certain. A flush may have failed before the process ended; what the kernel
    /// has dropped then it holds to be clean, and a flush of today says nothing of it.
    async fn write_again(&self, from: u64, tail: u64) -> Result<(), StoreError> {
        let unflushed = self.config.max_unflushed_bytes + BLOCK_BYTES as u64;
        let mut position = floor(from.max(tail.saturating_sub(unflushed)));
        while position < tail {
            let in_segment =
                self.segments.segment_bytes() - position % self.segments.segment_bytes();
            let len = (ceil(tail) - position)
                .min(in_segment)
                .min(READ_BYTES as u64);
            let Some(blocks) = self.segments.read(position, len as usize).await? else {
                return Ok(());
            };
            self.segments.write(position, blocks).await.0?;
            position += len;
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

/// What the journal's numbers stand for.
struct Journaled {
    generation: u64,
    queues: HashMap<u32, QueueIndex>,
    minimums: HashMap<QueueIndex, (u64, Option<u64>)>,
}

/// What counts of a queue's files.
struct Kept {
    min: u64,
    max: u64,
    first_position: Option<u64>,
    last: Option<Entry>,
}

/// Whether what has been restored is in the journal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IsKept {
    Already,
    NotYet,
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
pub(super) fn entry_tags(record: &Record<'_>, delay_levels_ms: &[u64]) -> i64 {
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
pub(super) struct Window {
    start: u64,
    bytes: Vec<u8>,
    read_bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self::reading(READ_BYTES)
    }
}

impl Window {
    /// Reads so much of the log at a time, or what a larger record needs.
    pub fn reading(read_bytes: usize) -> Self {
        Self {
            start: 0,
            bytes: Vec::new(),
            read_bytes,
        }
    }

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
            let wanted = ((position - start) as usize + len).max(self.read_bytes);
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
