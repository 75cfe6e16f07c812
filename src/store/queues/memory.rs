//! ConsumeQueues in memory: for each queue, the recent entries in fixed-size chunks of the arena.
//!
//! ```text
//! entry (20 bytes)   physical offset 8 | size 4 | tags code 8
//! queue              min ........ resident_from ........ visible (max) ........ assigned (next)
//!                    in files     | in chunks of 64      | waiting for their commit
//! ```
//! Entries `resident_from..max` are in chunks; entries below `saved_to` are in the queue's files (`files.rs`), and
//! those below `journaled_to` are there or in the journal. A chunk is given back to the arena only when all of it is saved.

use std::collections::VecDeque;
use std::io;

use super::entry::{ENTRY_BYTES, Entry, MIN_RECORD_BYTES};
use super::journal_row::JournalRow;
use crate::mem::{Arena, ChunkId, Pages};
use crate::parted::PartedMap;

pub(in crate::store) const CHUNK_ENTRIES: u64 = 64;
pub(in crate::store) const CHUNK_BYTES: usize = CHUNK_ENTRIES as usize * ENTRY_BYTES;

/// Largest number of chunks for the entries of one queue's records of `len` bytes in all, each with one message.
pub(in crate::store) fn chunks_for(len: usize) -> usize {
    len / (MIN_RECORD_BYTES * CHUNK_ENTRIES as usize) + 2
}

/// Largest number of chunks for the entries of one record with so many messages.
pub(in crate::store) fn chunks_of(messages: u16) -> usize {
    usize::from(messages) / CHUNK_ENTRIES as usize + 2
}

/// A queue of this store: its slot, and in the upper half how often the slot had been used before. An index that outlives
/// its queue leads to an empty queue that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueIndex(pub u64);

impl QueueIndex {
    const GONE: Self = Self(u64::MAX);

    fn slot(self) -> usize {
        self.0 as u32 as usize
    }

    /// The next queue in the same slot.
    fn next(self) -> Self {
        Self(self.0.wrapping_add(1 << 32))
    }
}

/// Queue offsets: the first one that exists, the next one that will be visible, the next one to be given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueBounds {
    pub min: u64,
    pub max: u64,
    pub next: u64,
}

pub(in crate::store) struct ConsumeQueue {
    index: QueueIndex,
    pub topic: u32,
    pub queue_id: u32,
    pub bounds: QueueBounds,
    pub(super) resident_from: u64,
    pub(super) saved_to: u64,
    pub(super) journaled_to: u64,
    pub(super) row: JournalRow,
    pub(super) chunks: VecDeque<ChunkId>,
    /// The next entry is reported as an arrival: a reader decides that, whatever the state of the queue.
    pub watched: bool,
    /// It is in the list of this name ([`ConsumeQueues`]). Both lists are worked off at their own pace, also after the queue is gone.
    pub(super) dirty: bool,
    pub(super) is_news: bool,
    /// Its topic was deleted: it has no entry, and only the journal's row of it is left to be removed.
    pub gone: bool,
    pub last_store_time_ms: i64,
    /// Where the message at `bounds.min` is, if that is known.
    pub(super) first_position: Option<u64>,
    /// Files of which nothing at or above this offset is part have been removed.
    pub files_cleaned_to: u64,
}

impl ConsumeQueue {
    fn new(index: QueueIndex, topic: u32, queue_id: u32) -> Self {
        Self {
            index,
            topic,
            queue_id,
            bounds: QueueBounds::default(),
            resident_from: 0,
            saved_to: 0,
            journaled_to: 0,
            row: JournalRow::Missing,
            chunks: VecDeque::new(),
            watched: false,
            dirty: false,
            is_news: false,
            gone: false,
            last_store_time_ms: 0,
            first_position: None,
            files_cleaned_to: 0,
        }
    }

    pub(super) fn index(&self) -> QueueIndex {
        self.index
    }

    /// What is below is in the queue's files.
    pub fn resident_from(&self) -> u64 {
        self.resident_from
    }

    /// Where the message at this offset is, if it is the queue's first one and that is known.
    pub(super) fn stands_at(&self, offset: u64) -> Option<u64> {
        self.first_position.filter(|_| offset == self.bounds.min)
    }
}

pub(in crate::store) struct ConsumeQueues {
    pub(super) arena: Arena,
    pub(super) queues: Vec<ConsumeQueue>,
    /// Slots of queues that are gone, the one that was left first ahead.
    free_slots: VecDeque<QueueIndex>,
    /// What an index leads to whose queue is gone.
    tombstone: ConsumeQueue,
    pub(super) topics: Vec<Box<str>>,
    topic_ids: PartedMap<Box<str>, u32>,
    by_topic: Vec<Vec<Option<QueueIndex>>>,
    /// Slots that belong to each topic; the number of a topic without any is used again.
    slots_of_topic: Vec<u32>,
    free_topics: Vec<u32>,
    /// Queues with entries that are in no file yet.
    pub(super) dirty: VecDeque<QueueIndex>,
    /// Queues of which the journal lacks something, and those that are gone.
    pub(super) news: VecDeque<QueueIndex>,
    pub(super) gone: Vec<QueueIndex>,
    /// Queues of which the journal has got the first entry. Those that are saved meanwhile are passed over.
    pub(super) begun: VecDeque<QueueIndex>,
    pub(super) next_number: u32,
    /// Where the search for chunks to give back goes on.
    pub(super) hand: usize,
    /// What the files hold, in one number: the sum over all queues of [`digest_of`].
    pub(super) saved_digest: u64,
}

impl ConsumeQueues {
    pub fn new(memory_bytes: usize, wish: Pages) -> io::Result<Self> {
        Ok(Self {
            arena: Arena::new(memory_bytes, CHUNK_BYTES, wish)?,
            queues: Vec::new(),
            free_slots: VecDeque::new(),
            tombstone: ConsumeQueue {
                gone: true,
                ..ConsumeQueue::new(QueueIndex::GONE, u32::MAX, 0)
            },
            topics: Vec::new(),
            topic_ids: PartedMap::default(),
            by_topic: Vec::new(),
            slots_of_topic: Vec::new(),
            free_topics: Vec::new(),
            dirty: VecDeque::new(),
            news: VecDeque::new(),
            gone: Vec::new(),
            begun: VecDeque::new(),
            next_number: 0,
            hand: 0,
            saved_digest: 0,
        })
    }

    /// Forgets everything. The memory stays: there may not be enough huge pages for a second one.
    pub fn clear(&mut self) {
        let chunks = self.queues.drain(..).flat_map(|queue| queue.chunks);
        chunks.for_each(|chunk| self.arena.free(chunk));
        self.topics.clear();
        self.topic_ids.clear();
        self.by_topic.clear();
        self.slots_of_topic.clear();
        self.free_topics.clear();
        self.free_slots.clear();
        self.dirty.clear();
        self.news.clear();
        self.gone.clear();
        self.begun.clear();
        self.next_number = 0;
        self.hand = 0;
        self.saved_digest = 0;
    }

    pub fn pages(&self) -> Pages {
        self.arena.pages()
    }

    pub fn free_chunks(&self) -> usize {
        self.arena.free_chunks()
    }

    pub fn capacity_chunks(&self) -> usize {
        self.arena.capacity_chunks()
    }

    pub fn find(&self, topic: &str, queue_id: u32) -> Option<QueueIndex> {
        let topic = *self.topic_ids.get(topic)?;
        self.by_topic[topic as usize]
            .get(queue_id as usize)
            .copied()
            .flatten()
    }

    pub fn find_or_create(&mut self, topic: &str, queue_id: u32) -> QueueIndex {
        if let Some(found) = self.find(topic, queue_id) {
            return found;
        }
        let topic_id = self.topic_id(topic);
        let index = match self.free_slots.pop_front() {
            Some(free) => free.next(),
            None => QueueIndex(self.queues.len() as u64),
        };
        let queue = ConsumeQueue::new(index, topic_id, queue_id);
        match self.queues.get_mut(index.slot()) {
            Some(slot) => *slot = queue,
            None => self.queues.push(queue),
        }
        self.slots_of_topic[topic_id as usize] += 1;
        let queues = &mut self.by_topic[topic_id as usize];
        let place = queue_id as usize;
        if queues.len() <= place {
            queues.resize(place + 1, None);
        }
        queues[place] = Some(index);
        index
    }

    fn topic_id(&mut self, topic: &str) -> u32 {
        if let Some(id) = self.topic_ids.get(topic) {
            return *id;
        }
        let id = match self.free_topics.pop() {
            Some(id) => {
                self.topics[id as usize] = topic.into();
                id
            }
            None => {
                self.topics.push(topic.into());
                self.by_topic.push(Vec::new());
                self.slots_of_topic.push(0);
                self.topics.len() as u32 - 1
            }
        };
        self.topic_ids.insert(topic.into(), id);
        id
    }

    pub fn queue(&self, index: QueueIndex) -> &ConsumeQueue {
        let queue = self.queues.get(index.slot());
        let queue = queue.filter(|queue| queue.index == index);
        queue.unwrap_or(&self.tombstone)
    }

    pub fn queue_mut(&mut self, index: QueueIndex) -> &mut ConsumeQueue {
        let queue = self.queues.get_mut(index.slot());
        let queue = queue.filter(|queue| queue.index == index);
        queue.unwrap_or(&mut self.tombstone)
    }

    pub fn topic_of(&self, index: QueueIndex) -> &str {
        let topic = self.topics.get(self.queue(index).topic as usize);
        topic.map_or("", |topic| topic)
    }

    /// Slots that queues have or had.
    #[cfg(test)]
    pub fn slots(&self) -> usize {
        self.queues.len()
    }

    /// Every queue that there is now.
    pub fn all(&self) -> impl Iterator<Item = QueueIndex> + use<> {
        let queues = self.queues.iter().filter(|queue| !queue.gone);
        let indices: Vec<_> = queues.map(|queue| queue.index).collect();
        indices.into_iter()
    }

    /// The queues of one topic.
    pub fn of_topic(&self, topic: &str) -> Vec<QueueIndex> {
        let id = self.topic_ids.get(topic);
        let queues = id.map(|id| &self.by_topic[*id as usize]);
        queues.into_iter().flatten().flatten().copied().collect()
    }

    /// Topics that have queues, with the number of queues they need.
    pub fn topics(&self) -> impl Iterator<Item = (&str, u32)> {
        let sizes = self.by_topic.iter().map(|queues| {
            let last = queues.iter().rposition(Option::is_some);
            last.map_or(0, |last| last as u32 + 1)
        });
        self.topics
            .iter()
            .map(|topic| &**topic)
            .zip(sizes)
            .filter(|(_, queues)| *queues > 0)
    }

    /// The queue has entries `min..max` in its files and none here.
    pub fn restore(&mut self, index: QueueIndex, min: u64, max: u64) {
        let queue = self.queue_mut(index);
        assert!(queue.chunks.is_empty());
        queue.bounds = QueueBounds {
            min,
            max,
            next: max,
        };
        queue.resident_from = max;
        queue.journaled_to = max;
        queue.first_position = None;
        self.saved_up_to(index, max);
    }

    /// Whether there are entries in its files that it needs.
    pub fn is_saved(&self, index: QueueIndex) -> bool {
        let queue = self.queue(index);
        !queue.gone && queue.bounds.min < queue.saved_to
    }

    /// Whether the queue has messages, and one of them may be below a log position.
    pub fn may_begin_below(&self, index: QueueIndex, position: u64) -> bool {
        let queue = self.queue(index);
        queue.bounds.min < queue.bounds.max
            && queue.first_position.is_none_or(|first| first < position)
    }

    /// The messages before `min` are gone; the one there is at `first_position`.
    pub fn raise_min(&mut self, index: QueueIndex, min: u64, first_position: Option<u64>) {
        let queue = self.queue_mut(index);
        if !queue.gone && queue.bounds.min <= min && min <= queue.bounds.max {
            queue.bounds.min = min;
            queue.first_position = first_position;
            queue.row = queue.row.min_moved();
            self.mark_news(index);
        }
    }

    /// As the journal or the files have it.
    pub fn restore_min(&mut self, index: QueueIndex, min: u64, first_position: Option<u64>) {
        let queue = self.queue_mut(index);
        if !queue.gone && queue.bounds.min <= min && min <= queue.bounds.max {
            queue.bounds.min = min;
            queue.first_position = first_position;
        }
    }

    /// The queue begins anew, with `offset` as its next one.
    pub fn restart(&mut self, index: QueueIndex, offset: u64) {
        let chunks = std::mem::take(&mut self.queue_mut(index).chunks);
        chunks.into_iter().for_each(|chunk| self.arena.free(chunk));
        self.restore(index, offset, offset);
    }

    /// Makes an entry visible. There must be a free chunk.
    pub fn push(&mut self, index: QueueIndex, entry: &Entry) {
        let queue = &mut self.queues[index.slot()];
        let offset = queue.bounds.max;
        if offset.is_multiple_of(CHUNK_ENTRIES) || queue.chunks.is_empty() {
            let chunk = self
                .arena
                .alloc()
                .expect("appends keep chunks free for what they add");
            if queue.chunks.is_empty() {
                queue.resident_from = offset;
            }
            queue.chunks.push_back(chunk);
        }
        let chunk = *queue.chunks.back().expect("just made sure");
        let at = (offset % CHUNK_ENTRIES) as usize * ENTRY_BYTES;
        entry.encode(&mut self.arena.chunk_mut(chunk)[at..at + ENTRY_BYTES]);
        if queue.bounds.min == offset {
            queue.first_position = Some(entry.physical_offset);
        }
        queue.bounds.max += 1;
        self.mark_dirty(index);
        self.mark_news(index);
    }

    /// Takes the last entries back, which are in no file yet and not in the journal.
    pub fn take_back(&mut self, index: QueueIndex, entries: u64) {
        let queue = &mut self.queues[index.slot()];
        for _ in 0..entries {
            queue.bounds.max -= 1;
            let max = queue.bounds.max;
            assert!(
                queue
                    .resident_from
                    .max(queue.saved_to)
                    .max(queue.journaled_to)
                    <= max
            );
            if max.is_multiple_of(CHUNK_ENTRIES) || max == queue.resident_from {
                let chunk = queue.chunks.pop_back().expect("it held the entry");
                self.arena.free(chunk);
            }
        }
        queue.bounds.next = queue.bounds.max;
        if queue.bounds.min == queue.bounds.max {
            queue.first_position = None;
        }
    }

    pub(super) fn mark_news(&mut self, index: QueueIndex) {
        if !std::mem::replace(&mut self.queue_mut(index).is_news, true) {
            self.news.push_back(index);
        }
    }

    pub(super) fn mark_dirty(&mut self, index: QueueIndex) {
        if !std::mem::replace(&mut self.queue_mut(index).dirty, true) {
            self.dirty.push_back(index);
        }
    }

    /// An entry that is in memory.
    pub fn resident(&self, index: QueueIndex, offset: u64) -> Option<Entry> {
        let queue = self.queue(index);
        if offset < queue.resident_from || queue.bounds.max <= offset {
            return None;
        }
        let first_chunk = queue.resident_from / CHUNK_ENTRIES;
        let chunk = queue.chunks[(offset / CHUNK_ENTRIES - first_chunk) as usize];
        let at = (offset % CHUNK_ENTRIES) as usize * ENTRY_BYTES;
        let bytes = self.arena.chunk(chunk)[at..at + ENTRY_BYTES].first_chunk();
        bytes.map(Entry::decode)
    }

    /// Forgets queues of a topic, the last ones first; `most` of its queue ids are looked at. Which ones, and whether there may be more.
    pub fn remove_some(&mut self, topic: &str, most: usize) -> (Vec<u32>, bool) {
        let mut removed = Vec::new();
        let Some(id) = self.topic_ids.get(topic).copied() else {
            return (removed, false);
        };
        for _ in 0..most {
            match self.by_topic[id as usize].pop() {
                Some(None) => {}
                Some(Some(index)) => {
                    removed.push(self.queue(index).queue_id);
                    self.remove(index);
                }
                None => {
                    self.by_topic[id as usize] = Vec::new();
                    self.topic_ids.remove(topic);
                    self.leave_topic(id);
                    return (removed, false);
                }
            }
        }
        (removed, true)
    }

    /// The journal says that this queue is gone: another one may have its slot.
    pub(super) fn leave_slot(&mut self, index: QueueIndex) {
        let topic = self.queue(index).topic;
        self.free_slots.push_back(index);
        self.slots_of_topic[topic as usize] -= 1;
        self.leave_topic(topic);
    }

    fn leave_topic(&mut self, id: u32) {
        let name = &self.topics[id as usize];
        let is_used = self.slots_of_topic[id as usize] > 0 || self.topic_ids.get(name) == Some(&id);
        if !is_used && !name.is_empty() {
            self.topics[id as usize] = "".into();
            self.free_topics.push(id);
        }
    }

    /// Forgets a queue. Another one may have its name then.
    pub fn remove(&mut self, index: QueueIndex) {
        self.saved_up_to(index, 0);
        let queue = &mut self.queues[index.slot()];
        queue.gone = true;
        queue.watched = false;
        queue.bounds = QueueBounds {
            min: 0,
            max: 0,
            next: 0,
        };
        queue.resident_from = 0;
        queue.journaled_to = 0;
        let (topic, place) = (queue.topic as usize, queue.queue_id as usize);
        let chunks = std::mem::take(&mut queue.chunks);
        chunks.into_iter().for_each(|chunk| self.arena.free(chunk));
        if let Some(named) = self.by_topic[topic].get_mut(place) {
            named.take_if(|named| *named == index);
        }
        self.gone.push(index);
    }
}
