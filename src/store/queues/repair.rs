//! Repair: damaged entries of a queue's files are derived again from the log.
//!
//! ```text
//! entries    sound | damaged ........ | sound (or in memory)
//! log        ------|====== read ======|------
//! ```
//! The messages of the damaged entries are in the log between those of the sound entries on both sides. Each record states its queue and
//! offset. A message that is not found there is lost: its entry gets a position in the gap, and readers skip it.
//! One repair runs at a time, and readers wait for it. A crash may interrupt it: the next reader finds the rest of the damage.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::Range;

use tracing::error;

use super::Queues;
use super::entries::position_of;
use super::entry::{ENTRY_BYTES, Entry};
use super::files::FILE_ENTRIES;
use super::memory::QueueIndex;
use crate::io::{Io, yield_now};
use crate::message::sys_flag;
use crate::store::entry_tags::entry_of;
use crate::store::log::reader::{Found, Walk};
use crate::store::turns::Turns;
use crate::store::{Position, StoreError};

/// Entries that are read at a time in search of the sound one on each side.
const STEP_ENTRIES: u64 = 4096;

/// Records that are examined between two yields.
const STEP_RECORDS: usize = 512;

/// Largest number of entries remembered as unchanged by a repair. Forgetting all of them at once takes some microseconds: it is one table of
/// numbers.
const MAX_UNCHANGED: usize = 4096;

#[derive(Default)]
pub(in crate::store) struct Repairs {
    turn: Turns,
    /// Writing a queue's files and removing them exclude one another.
    pub(super) files: Turns,
    /// Counts repairs that changed something.
    changes: Cell<u64>,
    /// Entries that a repair left as they were. They agree with the log although they look damaged, and are not repaired again.
    unchanged: RefCell<HashSet<(QueueIndex, u64)>>,
}

/// Damaged entries of a queue, and the part of the log that has their messages.
struct Stretch {
    queue: QueueIndex,
    topic: String,
    queue_id: u32,
    offsets: Range<u64>,
    log: Range<u64>,
}

impl<I: Io> Queues<I> {
    /// Derives these entries of a queue again, with the damaged ones beside them.
    pub(super) async fn repair(
        &self,
        queue: QueueIndex,
        damaged: Range<u64>,
    ) -> Result<(), StoreError> {
        if mutant!(RottenEntryBelieved) {
            return Ok(());
        }
        let place = (queue, damaged.start);
        if self.repairs.unchanged.borrow().contains(&place) {
            return Ok(());
        }
        let changes = self.repairs.changes.get();
        let _turn = self.repairs.turn.take().await;
        let Some(stretch) = self.stretch(queue, damaged).await? else {
            return Ok(());
        };
        let entries = self.entries_in_log(&stretch).await?;
        let has_changed = self.replace(&stretch, &entries).await?;
        if has_changed {
            self.repairs.changes.set(self.repairs.changes.get() + 1);
        } else if self.repairs.changes.get() == changes {
            let mut unchanged = self.repairs.unchanged.borrow_mut();
            if unchanged.len() >= MAX_UNCHANGED {
                unchanged.clear();
            }
            unchanged.insert(place);
        }
        Ok(())
    }

    /// Repairs the entry that has this position, unless another reader has done so since it was read; returns the right position if that is
    /// another one.
    pub(in crate::store) async fn repaired(
        &self,
        queue: QueueIndex,
        position: &Position,
    ) -> Result<Option<Position>, StoreError> {
        let Some(offset) = self.offset_of(queue, position.physical_offset).await? else {
            return Ok(None);
        };
        if offset >= self.resident_from(queue) {
            return Ok(None);
        }
        self.repair(queue, offset..offset + 1).await?;
        let entries = self.entries(queue, offset, 1).await?;
        let found = entries.first().map(position_of);
        Ok(found.filter(|found| found != position))
    }

    /// The queue's offset whose entry leads to this position, or behind it. An entry that is out of order with its neighbours does not
    /// decide: [`Self::entries`] has made it again by then.
    pub(in crate::store) async fn offset_of(
        &self,
        queue: QueueIndex,
        physical_offset: u64,
    ) -> Result<Option<u64>, StoreError> {
        let bounds = self.bounds(queue);
        let (mut low, mut high) = (bounds.min, bounds.max);
        while low < high {
            let middle = low.midpoint(high);
            let entries = self.entries(queue, middle, 1).await?;
            match entries.first() {
                Some(entry) if entry.physical_offset < physical_offset => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(Some(low).filter(|low| *low < bounds.max))
    }

    pub(super) fn resident_from(&self, queue: QueueIndex) -> u64 {
        self.memory.borrow().queue(queue).resident_from()
    }

    /// `None`: these entries are gone, or in memory.
    async fn stretch(
        &self,
        queue: QueueIndex,
        damaged: Range<u64>,
    ) -> Result<Option<Stretch>, StoreError> {
        let (topic, queue_id) = self.name_of(queue);
        let (min, files_end, log_end) = {
            let memory = self.memory.borrow();
            let target = memory.queue(queue);
            let log_end = self.log.marks().dispatched();
            (target.bounds.min, target.resident_from(), log_end)
        };
        let (mut from, mut to) = (damaged.start.max(min), damaged.end.min(files_end));
        if from >= to {
            return Ok(None);
        }
        let (mut before, mut behind) = (None, None);
        while before.is_none() && from > min && to - from < FILE_ENTRIES {
            let first = from.saturating_sub(STEP_ENTRIES).max(min);
            let entries = self.sound(&topic, queue_id, first..from, log_end).await?;
            let last = entries.iter().rposition(Option::is_some);
            before = last.and_then(|last| entries[last]);
            from = last.map_or(first, |last| first + last as u64 + 1);
        }
        while behind.is_none() && to < files_end && to - from < FILE_ENTRIES {
            let last = (to + STEP_ENTRIES).min(files_end);
            let entries = self.sound(&topic, queue_id, to..last, log_end).await?;
            let first = entries.iter().position(Option::is_some);
            behind = first.and_then(|first| entries[first]);
            to = first.map_or(last, |first| to + first as u64);
        }
        if to == files_end {
            behind = self.memory.borrow().resident(queue, files_end);
        }
        let log_min = self.log.min();
        let log_from = before.map_or(log_min, |before| behind_of(&before).max(log_min));
        let log_to = behind.map_or(log_end, |behind| ahead_of(&behind));
        Ok(Some(Stretch {
            queue,
            topic,
            queue_id,
            offsets: from..to,
            log: match log_from <= log_to {
                true => log_from..log_to,
                false => log_min..log_end,
            },
        }))
    }

    /// Entries of the queue's files; `None` for each that is impossible by itself.
    async fn sound(
        &self,
        topic: &str,
        queue_id: u32,
        offsets: Range<u64>,
        log_end: u64,
    ) -> Result<Vec<Option<Entry>>, StoreError> {
        let mut entries = Vec::new();
        let mut at = offsets.start;
        while at < offsets.end {
            let in_file = FILE_ENTRIES - at % FILE_ENTRIES;
            let count = in_file.min(offsets.end - at);
            let read = self.files.read(topic, queue_id, at, count as usize);
            let read = read.await?.into_iter();
            entries.extend(read.map(|entry| Some(entry).filter(|e| e.is_plausible(log_end))));
            at += count;
            entries.resize((at - offsets.start) as usize, None);
        }
        Ok(entries)
    }

    /// The entries of the stretch as the log has them. Of two messages with one offset the later one is of the queue: its
    /// topic was deleted and made again.
    async fn entries_in_log(&self, stretch: &Stretch) -> Result<Vec<Option<Entry>>, StoreError> {
        let count = (stretch.offsets.end - stretch.offsets.start) as usize;
        let mut found = vec![None; count];
        let mut walk = Walk::beside_clients(self.log.crcs());
        let (mut at, mut looked_at) = (stretch.log.start, 0);
        while at < stretch.log.end {
            match self.entry_at(stretch, &mut walk, at).await {
                Ok(Some((size, entry))) => {
                    if let Some((offset, first)) = entry {
                        for (offset, entry) in (offset..).zip(first.to_last()) {
                            let place = offset.checked_sub(stretch.offsets.start);
                            if let Some(found) = place.and_then(|at| found.get_mut(at as usize)) {
                                *found = Some(entry);
                            }
                        }
                    }
                    at += size;
                }
                // Nothing readable: the walk resumes at the next record.
                Ok(None) | Err(_) => {
                    let next = self.log.first_record(at + 1, stretch.log.end).await?;
                    at = next.unwrap_or(stretch.log.end);
                }
            }
            looked_at += 1;
            if looked_at % STEP_RECORDS == 0 {
                yield_now().await;
            }
        }
        Ok(found)
    }

    /// Bytes of what stands at this position, and its first entry with the offset of that if it is of the stretch. `None`: nothing that can
    /// be read.
    async fn entry_at(
        &self,
        stretch: &Stretch,
        walk: &mut Walk,
        at: u64,
    ) -> Result<Option<(u64, Option<(u64, Entry)>)>, StoreError> {
        let record = match walk.at(self.log.segments(), at).await? {
            Found::Record(record) => record,
            Found::Blank { size } => return Ok(Some((size, None))),
            Found::None(_) => return Ok(None),
        };
        let is_of_stretch = record.queue_id == stretch.queue_id
            && record.queue_offset < stretch.offsets.end
            && stretch.offsets.start < record.queue_offset.saturating_add(record.messages().into())
            && record.topic == stretch.topic
            && sys_flag::is_consumable(record.sys_flag);
        let entry = is_of_stretch.then(|| entry_of(&record, &self.config.delay_levels_ms));
        let entry = entry.map(|entry| (record.queue_offset, entry));
        Ok(Some((record.total_size.into(), entry)))
    }

    /// Overwrites the entries of the files with those of the log, if they differ.
    async fn replace(
        &self,
        stretch: &Stretch,
        found: &[Option<Entry>],
    ) -> Result<bool, StoreError> {
        let Stretch {
            queue,
            topic,
            queue_id,
            offsets,
            ..
        } = stretch;
        let _files = self.repairs.files.take().await;
        let (first, count) = (offsets.start, found.len());
        let before = self.files.read(topic, *queue_id, first, count).await?;
        let entries = stretch.merged(found, &before);
        if before == entries || self.memory.borrow().queue(*queue).gone {
            return Ok(false);
        }
        error!(
            topic, queue_id, first, count, dir = %self.config.dir.display(),
            "entries of a queue's file were damaged and are made again from the log"
        );
        let mut bytes = vec![0; count * ENTRY_BYTES];
        for (place, entry) in bytes.chunks_exact_mut(ENTRY_BYTES).zip(&entries) {
            entry.encode(place);
        }
        let files = &self.files;
        files.save(topic, *queue_id, first, &bytes).await?;
        Ok(true)
    }
}

/// From where on the log has the messages behind this entry: they may be of the same batch.
fn behind_of(entry: &Entry) -> u64 {
    match entry.messages_from() {
        1 => entry.end(),
        _ => entry.physical_offset,
    }
}

/// Up to where the log has the messages before this entry.
fn ahead_of(entry: &Entry) -> u64 {
    match entry.begins_record() {
        true => entry.physical_offset,
        false => entry.end(),
    }
}

impl Stretch {
    /// The log's entries. Where the log has none, the message may be unreadable at the position in its entry: the entry stays if it is
    /// possible there.
    fn merged(&self, found: &[Option<Entry>], before: &[Entry]) -> Vec<Entry> {
        let mut at = self.log.start;
        let mut entries = Vec::with_capacity(found.len());
        for (place, found) in found.iter().enumerate() {
            let kept = before
                .get(place)
                .filter(|entry| entry.is_plausible(self.log.end) && entry.physical_offset >= at);
            let entry = found
                .or(kept.copied())
                .unwrap_or_else(|| Entry::into_gap(at));
            at = found.map_or(at, |found| behind_of(&found));
            entries.push(entry);
        }
        entries
    }
}
