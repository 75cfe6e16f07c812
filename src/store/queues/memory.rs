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

use hashbrown::HashMap;

use super::entry::{ENTRY_BYTES, Entry, MIN_RECORD_BYTES};
use super::journal::{Block, QueueItem};
use crate::mem::{Arena, ChunkId, Pages};

pub(in crate::store) const CHUNK_ENTRIES: u64 = 64;
pub(in crate::store) const CHUNK_BYTES: usize = CHUNK_ENTRIES as usize * ENTRY_BYTES;

/// Chunks that a queue may need for records of `len` bytes in all.
pub(in crate::store) fn chunks_for(len: usize) -> usize {
    len / (MIN_RECORD_BYTES * CHUNK_ENTRIES as usize) + 2
}

/// A queue of this store; valid as long as the store is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueIndex(pub u32);

/// Queue offsets: the first one that exists, the next one that will be visible, the next one to be given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueBounds {
    pub min: u64,
    pub max: u64,
    pub next: u64,
}

pub(in crate::store) struct ConsumeQueue {
    pub topic: u32,
    pub queue_id: u32,
    pub bounds: QueueBounds,
    resident_from: u64,
    saved_to: u64,
    journaled_to: u64,
    /// The generation of the journal that knows it, by this number; its minimum has moved since.
    known_in: u64,
    number: u32,
    has_new_min: bool,
    chunks: VecDeque<ChunkId>,
    /// Somebody waits for an entry.
    pub watched: bool,
    dirty: bool,
    is_news: bool,
    /// Its topic was deleted.
    pub gone: bool,
    pub last_store_time_ms: i64,
    /// Where the message at `bounds.min` is, if that is known.
    first_position: Option<u64>,
    /// Files of which nothing at or above this offset is part have been removed.
    pub files_cleaned_to: u64,
}

impl ConsumeQueue {
    /// What is below is in the queue's files.
    pub fn resident_from(&self) -> u64 {
        self.resident_from
    }
}

pub(in crate::store) struct ConsumeQueues {
    arena: Arena,
    queues: Vec<ConsumeQueue>,
    topics: Vec<Box<str>>,
    topic_ids: HashMap<Box<str>, u32>,
    by_topic: Vec<Vec<Option<QueueIndex>>>,
    /// Queues with entries that are in no file yet.
    dirty: VecDeque<QueueIndex>,
    /// Queues of which the journal lacks something, and those that are gone.
    news: VecDeque<QueueIndex>,
    gone: Vec<QueueIndex>,
    /// Queues of which the journal has got the first entry. Those that are saved meanwhile are passed over.
    begun: VecDeque<QueueIndex>,
    next_number: u32,
    /// Where the search for chunks to give back goes on.
    hand: usize,
    /// What the files hold, in one number: the sum over all queues of [`digest_of`].
    saved_digest: u64,
}

impl ConsumeQueues {
    pub fn new(memory_bytes: usize, wish: Pages) -> io::Result<Self> {
        Ok(Self {
            arena: Arena::new(memory_bytes, CHUNK_BYTES, wish)?,
            queues: Vec::new(),
            topics: Vec::new(),
            topic_ids: HashMap::new(),
            by_topic: Vec::new(),
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
        let topic_id = match self.topic_ids.get(topic) {
            Some(id) => *id,
            None => {
                let id = self.topics.len() as u32;
                self.topics.push(topic.into());
                self.by_topic.push(Vec::new());
                self.topic_ids.insert(topic.into(), id);
                id
            }
        };
        let index = QueueIndex(self.queues.len() as u32);
        self.queues.push(ConsumeQueue {
            topic: topic_id,
            queue_id,
            bounds: QueueBounds::default(),
            resident_from: 0,
            saved_to: 0,
            journaled_to: 0,
            known_in: 0,
            number: 0,
            has_new_min: false,
            chunks: VecDeque::new(),
            watched: false,
            dirty: false,
            is_news: false,
            gone: false,
            last_store_time_ms: 0,
            first_position: None,
            files_cleaned_to: 0,
        });
        let queues = &mut self.by_topic[topic_id as usize];
        let place = queue_id as usize;
        if queues.len() <= place {
            queues.resize(place + 1, None);
        }
        queues[place] = Some(index);
        index
    }

    pub fn queue(&self, index: QueueIndex) -> &ConsumeQueue {
        &self.queues[index.0 as usize]
    }

    pub fn queue_mut(&mut self, index: QueueIndex) -> &mut ConsumeQueue {
        &mut self.queues[index.0 as usize]
    }

    pub fn topic_of(&self, index: QueueIndex) -> &str {
        &self.topics[self.queue(index).topic as usize]
    }

    pub fn all(&self) -> impl Iterator<Item = QueueIndex> + use<> {
        (0..self.queues.len() as u32).map(QueueIndex)
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
            queue.has_new_min = true;
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
        let queue = &mut self.queues[index.0 as usize];
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

    fn mark_news(&mut self, index: QueueIndex) {
        if !std::mem::replace(&mut self.queue_mut(index).is_news, true) {
            self.news.push_back(index);
        }
    }

    fn mark_dirty(&mut self, index: QueueIndex) {
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

    /// Queues with entries that are in no file yet.
    pub fn unsaved_queues(&self) -> usize {
        self.dirty.len()
    }

    /// The next queue with unsaved entries, the first of them, and the bytes of those whose messages end at or before
    /// the log position `up_to`. It comes again if it has others.
    pub fn next_unsaved(&mut self, up_to: u64) -> Option<(QueueIndex, u64, Vec<u8>)> {
        let index = self.dirty.pop_front()?;
        let queue = self.queue_mut(index);
        queue.dirty = false;
        let (from, to) = (queue.saved_to, queue.bounds.max);
        let bytes = self.encoded(index, from, to, up_to);
        if bytes.len() < (to - from) as usize * ENTRY_BYTES {
            self.mark_dirty(index);
        }
        Some((index, from, bytes))
    }

    /// Entries `from..to`, which are resident, as far as their messages end at or before a log position.
    fn encoded(&self, index: QueueIndex, from: u64, to: u64, up_to: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity((to - from) as usize * ENTRY_BYTES);
        for offset in from..to {
            let entry = self
                .resident(index, offset)
                .expect("unsaved entries are resident");
            if entry.end() > up_to {
                break;
            }
            let mut encoded = [0; ENTRY_BYTES];
            entry.encode(&mut encoded);
            bytes.extend_from_slice(&encoded);
        }
        bytes
    }

    /// Queues of which the journal lacks something.
    pub fn news(&self) -> usize {
        self.news.len()
    }

    /// Puts what the journal lacks of the next queue, of messages that end at or before a log position, into a block for
    /// this generation.
    pub fn put_news(&mut self, block: &mut Block, generation: u64, up_to: u64) {
        let Some(index) = self.news.pop_front() else {
            return;
        };
        let queue = self.queue_mut(index);
        queue.is_news = false;
        if queue.gone {
            return;
        }
        let (from, to) = (queue.journaled_to, queue.bounds.max);
        let bytes = self.encoded(index, from, to, up_to);
        let count = (bytes.len() / ENTRY_BYTES) as u64;
        if from + count < to {
            self.mark_news(index);
        }
        let queue = self.queue(index);
        let is_known = queue.known_in == generation && !queue.has_new_min;
        if !is_known && from + count > 0 {
            self.put_queue(block, generation, index);
        }
        if count > 0 {
            let queue = self.queue_mut(index);
            block.put_entries(queue.number, from, &bytes);
            queue.journaled_to = from + count;
            if from == 0 {
                self.begun.push_back(index);
            }
        }
    }

    /// The next queue of which the journal has the first entry and no file anything, and the bytes of that entry.
    pub fn next_without_file(&mut self) -> Option<(QueueIndex, u64, Vec<u8>)> {
        loop {
            let index = self.begun.pop_front()?;
            let queue = self.queue(index);
            if !queue.gone && queue.saved_to == 0 {
                return Some((index, 0, self.encoded(index, 0, 1, u64::MAX)));
            }
        }
    }

    /// The file of this queue could not be begun.
    pub fn not_begun(&mut self, index: QueueIndex) {
        self.begun.push_back(index);
    }

    /// Puts the queues that are gone, the last items of a block: what it has of them does not count.
    pub fn put_gone(&mut self, block: &mut Block, generation: u64) {
        for index in self.gone.drain(..) {
            let queue = &self.queues[index.0 as usize];
            if queue.known_in == generation {
                block.put_deleted(queue.number);
            }
        }
    }

    /// Puts a queue, and what is in no file of it, into the table of a generation: no more than the journal had before.
    /// `false`: there is no such queue, and none behind it.
    pub fn put_row(&mut self, block: &mut Block, generation: u64, place: u32) -> bool {
        let Some(queue) = self.queues.get(place as usize) else {
            return false;
        };
        let index = QueueIndex(place);
        let (from, to) = (queue.saved_to, queue.journaled_to);
        if queue.gone || to == 0 {
            return true;
        }
        self.put_queue(block, generation, index);
        if from < to {
            let bytes = self.encoded(index, from, to, u64::MAX);
            block.put_entries(self.queue(index).number, from, &bytes);
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
        let queue = &mut self.queues[index.0 as usize];
        if queue.known_in != generation {
            (queue.known_in, queue.number) = (generation, self.next_number);
            self.next_number += 1;
        }
        queue.has_new_min = false;
        block.put_queue(&QueueItem {
            number: queue.number,
            topic: &self.topics[queue.topic as usize],
            queue_id: queue.queue_id,
            min: queue.bounds.min,
            base: queue.saved_to,
            first_position: queue.first_position,
        });
    }

    /// This generation has the queue by this number.
    pub fn known_by(&mut self, index: QueueIndex, generation: u64, number: u32) {
        let queue = self.queue_mut(index);
        (queue.known_in, queue.number) = (generation, number);
        self.next_number = self.next_number.max(number.saturating_add(1));
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

    fn saved_up_to(&mut self, index: QueueIndex, offset: u64) {
        let queue = &mut self.queues[index.0 as usize];
        let topic = &self.topics[queue.topic as usize];
        let before = digest_of(topic, queue.queue_id, queue.saved_to);
        let after = digest_of(topic, queue.queue_id, offset);
        self.saved_digest = self.saved_digest.wrapping_sub(before).wrapping_add(after);
        queue.saved_to = offset;
    }

    /// Gives saved chunks back, the oldest of each queue in turn, until so many are free or none is left to give.
    pub fn evict(&mut self, wanted_free: usize) {
        let mut fruitless = 0;
        while self.arena.free_chunks() < wanted_free && fruitless <= self.queues.len() {
            if self.queues.is_empty() {
                return;
            }
            self.hand = (self.hand + 1) % self.queues.len();
            fruitless = if self.evict_one(self.hand) {
                0
            } else {
                fruitless + 1
            };
        }
    }

    fn evict_one(&mut self, place: usize) -> bool {
        let queue = &mut self.queues[place];
        let end = ((queue.resident_from / CHUNK_ENTRIES + 1) * CHUNK_ENTRIES).min(queue.bounds.max);
        if queue.saved_to < end {
            return false;
        }
        let Some(chunk) = queue.chunks.pop_front() else {
            return false;
        };
        queue.resident_from = end;
        self.arena.free(chunk);
        true
    }

    /// Forgets all queues of a topic.
    pub fn remove_topic(&mut self, topic: &str) -> Vec<u32> {
        let Some(id) = self.topic_ids.remove(topic) else {
            return Vec::new();
        };
        let queues = std::mem::take(&mut self.by_topic[id as usize]);
        let mut removed = Vec::new();
        for index in queues.into_iter().flatten() {
            removed.push(self.queue(index).queue_id);
            self.remove(index);
        }
        removed
    }

    /// Forgets a queue. Another one may have its name then.
    pub fn remove(&mut self, index: QueueIndex) {
        self.saved_up_to(index, 0);
        let queue = &mut self.queues[index.0 as usize];
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
