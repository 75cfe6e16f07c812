//! How far the entries of each queue are durable, and what has to be written next.
//!
//! ```text
//!            first entry            block of the journal        first entry in its file       save of the files
//!   (none) -------------->  new  ---------------------> journaled ----------------> begun ----------------> saved
//!                                                          ^                                                  |
//!                                                          +-------------------- next entries ----------------+
//!   any -- topic deleted --> gone -- block or table without it --> its slot is free
//!
//! offsets    min ........ saved_to ........ journaled_to ........ max
//!            in files     | in the journal  | in the log alone
//! ```
//! A queue is `dirty` while `saved_to < max`, and `news` while the journal lacks an entry, its name or its minimum. `begun`
//! queues have their first entry in the journal and may need a file for it, which only RocketMQ reads: such an entry does not count as
//! saved.
//!
//! All of these but `gone` follow from the offsets. `dirty` and `news` are lists that a queue may be in at the same time, and also when it is gone: it is
//! left out when the list reaches it.

use std::ops::Range;

use super::entry::{ENTRY_BYTES, Entry};
use super::journal::{Block, QueueItem};
use super::journal_row::JournalRow;
use super::memory::{ConsumeQueues, QueueIndex};

/// Entries of one queue that are put into a block without a pause: well below a millisecond.
const MAX_PUT_ENTRIES: u64 = 4096;

impl ConsumeQueues {
    /// Queues with entries that are in no file yet.
    pub fn unsaved_queues(&self) -> usize {
        self.dirty.len()
    }

    /// The next queue with unsaved entries, and the offsets of those whose messages end at or before the log position
    /// `up_to`. It comes again if it has others.
    pub fn next_unsaved(&mut self, up_to: u64) -> Option<(QueueIndex, Range<u64>)> {
        let index = self.dirty.pop_front()?;
        let queue = self.queue_mut(index);
        queue.dirty = false;
        let (from, max) = (queue.saved_to, queue.bounds.max);
        let (mut low, mut high) = (from, max);
        while low < high {
            let middle = low.midpoint(high);
            match self.unsaved_entry(index, middle).end() <= up_to {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        if low < max {
            self.mark_dirty(index);
        }
        Some((index, from..low))
    }

    /// Entries of a queue that are in memory; none if the queue is gone.
    pub fn encoded(&self, index: QueueIndex, offsets: Range<u64>) -> Vec<u8> {
        if self.queue(index).gone {
            return Vec::new();
        }
        let count = (offsets.end - offsets.start) as usize;
        let mut bytes = vec![0; count * ENTRY_BYTES];
        for (place, offset) in bytes.chunks_exact_mut(ENTRY_BYTES).zip(offsets) {
            self.unsaved_entry(index, offset).encode(place);
        }
        bytes
    }

    fn unsaved_entry(&self, index: QueueIndex, offset: u64) -> Entry {
        let entry = self.resident(index, offset);
        entry.expect("unsaved entries are resident")
    }

    /// Queues of which the journal lacks something.
    pub fn news(&self) -> usize {
        self.news.len()
    }

    /// Puts what the journal lacks of the next queue, of messages that end at or before a log position, into a block for
    /// this generation, up to [`MAX_PUT_ENTRIES`] of them. `true`: the same queue has more.
    pub fn put_news(&mut self, block: &mut Block, generation: u64, up_to: u64) -> bool {
        let Some(index) = self.news.pop_front() else {
            return false;
        };
        let queue = self.queue_mut(index);
        queue.is_news = false;
        if queue.gone {
            return false;
        }
        let (from, max) = (queue.journaled_to, queue.bounds.max);
        let to = max.min(from + MAX_PUT_ENTRIES);
        let is_put = |offset: &u64| self.unsaved_entry(index, *offset).end() <= up_to;
        let count = (from..to).take_while(is_put).count() as u64;
        let bytes = self.encoded(index, from..from + count);
        let has_more = to < max && from + count == to;
        if has_more {
            self.queue_mut(index).is_news = true;
            self.news.push_front(index);
        } else if from + count < max {
            self.mark_news(index);
        }
        let queue = self.queue(index);
        if !queue.row.is_current_in(generation) && from + count > 0 {
            self.put_queue(block, generation, index);
        }
        if count > 0 {
            block.put_entries(self.number_in(generation, index), from, &bytes);
            self.queue_mut(index).journaled_to = from + count;
            if from == 0 {
                self.begun.push_back(index);
            }
        }
        has_more
    }

    /// The next queue of which the journal has the first entry and no file anything.
    pub fn next_without_file(&mut self) -> Option<(QueueIndex, Range<u64>)> {
        loop {
            let index = self.begun.pop_front()?;
            let queue = self.queue(index);
            if !queue.gone && queue.saved_to == 0 {
                return Some((index, 0..1));
            }
        }
    }

    /// The file of this queue could not be created.
    pub fn not_begun(&mut self, index: QueueIndex) {
        self.begun.push_back(index);
    }

    /// Puts the queues that are gone, the last items of a block: what it has of them does not count.
    pub fn put_gone(&mut self, block: &mut Block, generation: u64) {
        for index in std::mem::take(&mut self.gone) {
            if let Some(number) = self.queue(index).row.number_in(generation) {
                block.put_deleted(number);
            }
            self.leave_slot(index);
        }
    }

    /// A table begins: each of its queues gets a new number.
    pub fn begin_table(&mut self) {
        self.next_number = 0;
    }

    /// Puts a queue, and what is in no file of it, into the table of a generation: no more than the journal had before.
    /// `false`: there is no such queue, and none behind it.
    pub fn put_row(&mut self, block: &mut Block, generation: u64, place: u32) -> bool {
        let Some(queue) = self.queues.get(place as usize) else {
            return false;
        };
        let index = queue.index();
        let (from, to) = (queue.saved_to, queue.journaled_to);
        if queue.gone || to == 0 {
            return true;
        }
        self.put_queue(block, generation, index);
        if from < to {
            let bytes = self.encoded(index, from..to);
            block.put_entries(self.number_in(generation, index), from, &bytes);
        }
        true
    }

    /// Puts queues of a deleted topic into the table, so that a start removes the files which they may have.
    pub fn put_removal(&mut self, block: &mut Block, topic: &str, queue_ids: &[u32]) {
        for queue_id in queue_ids {
            let number = self.next_number;
            self.next_number += 1;
            block.put_queue(&QueueItem {
                number,
                topic,
                queue_id: *queue_id,
                min: 0,
                base: 0,
                first_position: None,
            });
            block.put_deleted(number);
        }
    }

    fn put_queue(&mut self, block: &mut Block, generation: u64, index: QueueIndex) {
        let number = self.queue(index).row.number_in(generation);
        let number = number.unwrap_or_else(|| {
            self.next_number += 1;
            self.next_number - 1
        });
        self.queue_mut(index).row = JournalRow::Current { generation, number };
        let queue = self.queue(index);
        block.put_queue(&QueueItem {
            number,
            topic: &self.topics[queue.topic as usize],
            queue_id: queue.queue_id,
            min: queue.bounds.min,
            base: queue.saved_to,
            first_position: queue.first_position,
        });
    }

    fn number_in(&self, generation: u64, index: QueueIndex) -> u32 {
        let number = self.queue(index).row.number_in(generation);
        number.expect("a block has the queue before its entries")
    }

    /// This generation has the queue by this number, which is not the last one that there is.
    pub fn known_by(&mut self, index: QueueIndex, generation: u64, number: u32) {
        self.queue_mut(index).row = JournalRow::Current { generation, number };
        self.next_number = self.next_number.max(number + 1);
    }

    /// The journal has everything of this queue.
    pub fn journaled(&mut self, index: QueueIndex) {
        let queue = self.queue_mut(index);
        let is_first = queue.journaled_to == 0;
        queue.journaled_to = queue.bounds.max;
        if is_first {
            self.begun.push_back(index);
        }
    }

    /// Entries up to `offset` are in the queue's files.
    pub fn saved(&mut self, index: QueueIndex, offset: u64) {
        if !self.queue(index).gone {
            self.saved_up_to(index, offset.max(self.queue(index).saved_to));
        }
    }

    /// The save of this queue has failed.
    pub fn not_saved(&mut self, index: QueueIndex) {
        self.mark_dirty(index);
    }

    /// Equal for equal contents of the queues' files, as far as their numbers of entries go.
    pub fn saved_digest(&self) -> u64 {
        self.saved_digest
    }

    pub(super) fn saved_up_to(&mut self, index: QueueIndex, offset: u64) {
        let queue = self.queue(index);
        let topic = self.topic_of(index);
        let before = digest_of(topic, queue.queue_id, queue.saved_to);
        let after = digest_of(topic, queue.queue_id, offset);
        self.saved_digest = self.saved_digest.wrapping_sub(before).wrapping_add(after);
        self.queue_mut(index).saved_to = offset;
    }
}

/// FNV-1a over a queue's name and the offset up to which it is in its files; nothing for a queue without files.
fn digest_of(topic: &str, queue_id: u32, saved_to: u64) -> u64 {
    if saved_to == 0 {
        return 0;
    }
    let numbers = [u64::from(queue_id), saved_to].map(u64::to_be_bytes);
    let bytes = topic.bytes().chain(numbers.into_iter().flatten());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
