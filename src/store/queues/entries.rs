//! The visible entries of a queue, from memory or from its files.
//!
//! A queue file has no checksum, and it is derived from the log. So an entry from a file is used only if it can be right:
//! no size is impossible, the messages of a queue stand in the log in the order of their offsets, and the queue's first one stands
//! where memory has it. What cannot be right is made again from the log (`repair.rs`) before a reader gets it.

use std::ops::Range;

use super::Queues;
use super::entry::Entry;
use super::memory::QueueIndex;
use crate::io::Io;
use crate::store::{Position, StoreError};

/// Some entries of a queue, as they are in memory and in its files.
struct Loaded {
    entries: Vec<Entry>,
    /// The files have nothing here.
    lack: Option<u64>,
}

impl<I: Io> Queues<I> {
    /// Up to `count` visible entries of a queue from `offset` on, wherever they are.
    pub async fn entries(
        &self,
        queue: QueueIndex,
        offset: u64,
        count: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let (bounds, resident_from) = {
            let memory = self.memory.borrow();
            let target = memory.queue(queue);
            (target.bounds, target.resident_from())
        };
        // Entries below the first one have no messages any more.
        if offset < bounds.min || bounds.max <= offset {
            return Ok(Vec::new());
        }
        let end = bounds.max.min(offset + count as u64);
        if resident_from <= offset {
            return Ok(self.load(queue, offset..end).await?.entries);
        }
        // With a neighbour on each side, by which the first and the last one are judged.
        let from = offset.saturating_sub(1).max(bounds.min);
        let to = (end + 1).min(bounds.max);
        let mut loaded = self.load(queue, from..to).await?;
        if let Some(damaged) = self.damaged(queue, from, &loaded) {
            self.repair(queue, damaged).await?;
            // Also where nothing was to be repaired: another reader may have done that meanwhile.
            loaded = self.load(queue, from..to).await?;
        }
        if let Some(offset) = loaded.lack.filter(|lack| *lack < end) {
            return self.check_lack(queue, offset);
        }
        loaded.entries.truncate((end - from) as usize);
        loaded.entries.drain(..(offset - from) as usize);
        Ok(loaded.entries)
    }

    async fn load(&self, queue: QueueIndex, range: Range<u64>) -> Result<Loaded, StoreError> {
        let (topic, queue_id) = self.name_of(queue);
        let mut loaded = Loaded {
            entries: Vec::new(),
            lack: None,
        };
        let mut at = range.start;
        while at < range.end {
            let in_files_to = {
                let queues = &*self.memory.borrow();
                if let Some(entry) = queues.resident(queue, at) {
                    loaded.entries.push(entry);
                    at += 1;
                    continue;
                }
                queues.queue(queue).resident_from()
            };
            // What the files have behind that was not saved for certain, and may be torn.
            let count = in_files_to.clamp(at, range.end) - at;
            let files = &self.files;
            let entries = files.load(&topic, queue_id, at, count as usize).await?;
            if entries.is_empty() {
                loaded.lack = Some(at);
                break;
            }
            at += entries.len() as u64;
            loaded.entries.extend(entries);
        }
        Ok(loaded)
    }

    /// The first of the entries, from this offset on, that cannot be right.
    fn damaged(&self, queue: QueueIndex, from: u64, loaded: &Loaded) -> Option<Range<u64>> {
        let log_end = self.log.marks().dispatched();
        let stands_at = self.memory.borrow().queue(queue).stands_at(from);
        let first = loaded.entries.first().map(|entry| entry.physical_offset);
        // It has no neighbour before it by which it could be judged.
        if first.zip(stands_at).is_some_and(|(first, at)| first != at) {
            return Some(from..from + 1);
        }
        let unsound = first_unsound(&loaded.entries, log_end);
        let unsound = unsound.map(|places| from + places.start as u64..from + places.end as u64);
        unsound.or_else(|| loaded.lack.map(|lack| lack..lack + 1))
    }

    /// What the files lack may be gone meanwhile.
    fn check_lack(&self, queue: QueueIndex, offset: u64) -> Result<Vec<Entry>, StoreError> {
        let (topic, queue_id) = self.name_of(queue);
        let memory = self.memory.borrow();
        let target = memory.queue(queue);
        match target.gone || offset < target.bounds.min {
            true => Ok(Vec::new()),
            false => Err(StoreError::QueueFileLacks {
                topic,
                queue_id,
                offset,
            }),
        }
    }

    pub(super) fn name_of(&self, queue: QueueIndex) -> (String, u32) {
        let memory = self.memory.borrow();
        let queue_id = memory.queue(queue).queue_id;
        (memory.topic_of(queue).to_owned(), queue_id)
    }
}

/// Where the record of an entry is.
pub(super) fn position_of(entry: &Entry) -> Position {
    Position {
        physical_offset: entry.physical_offset,
        size: entry.size,
        messages: entry.messages(),
    }
}

/// The first entries that cannot be right, by themselves or one behind the other.
pub(super) fn first_unsound(entries: &[Entry], log_end: u64) -> Option<Range<usize>> {
    for (place, entry) in entries.iter().enumerate() {
        if !entry.is_plausible(log_end) {
            return Some(place..place + 1);
        }
        let before = place.checked_sub(1).map(|before| &entries[before]);
        // Which of the two is wrong is not to be seen.
        if before.is_some_and(|before| !before.may_precede(entry)) {
            return Some(place - 1..place + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(physical_offset: u64, size: u32) -> Entry {
        Entry {
            size,
            ..Entry::into_gap(physical_offset)
        }
    }

    #[test]
    fn what_is_out_of_order_or_impossible_is_unsound() {
        let sound = [entry(0, 200), entry(200, 300), entry(900, 100)];
        assert_eq!(first_unsound(&sound, 1000), None);
        assert_eq!(first_unsound(&sound, 999), Some(2..3));
        for (bad, places) in [
            (entry(200, 701), 1..3),
            (entry(199, 300), 0..2),
            (entry(u64::MAX, 300), 1..2),
            (entry(200, 20), 1..2),
            (entry(200, u32::MAX), 1..2),
        ] {
            let entries = [sound[0], bad, sound[2]];
            assert_eq!(first_unsound(&entries, 1000), Some(places), "{bad:?}");
        }
    }

    /// The entries of messages that are lost lead to one place, which may be nearer to the next message than their size.
    #[test]
    fn entries_that_lead_into_a_gap_are_sound() {
        let gap = Entry::into_gap(200);
        let entries = [entry(0, 200), gap, gap, entry(300, 200)];
        assert_eq!(first_unsound(&entries, 1000), None);
    }
}
