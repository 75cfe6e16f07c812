//! Blocks of the log that were read from disk.
//!
//! Several consumers of a topic ask for the same block at the same time, as their queues' messages stand side by side. It
//! is read once, and the others wait for that read. A sequential reader has the next blocks fetched ahead.
//!
//! What was written to the log before a read was submitted never changes. So a block is kept with the length that is valid
//! for good: the block that holds the end of the log, too, which is what every consumer reads first after a restart. A read
//! beyond that length replaces it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::Log;
use crate::io::{Io, Waiters};
use crate::mem::AlignedBuf;
use crate::store::StoreError;

pub(in crate::store) const BLOCK_BYTES: u64 = 1 << 20;

/// Blocks that are read ahead of a sequential reader.
const AHEAD_BLOCKS: u64 = 2;

/// Buffers of evicted blocks that are kept for reuse.
const MAX_SPARE: usize = 8;

pub(in crate::store) struct BlockCache {
    capacity: usize,
    state: RefCell<State>,
    arrived: Waiters,
    fetched: Cell<u64>,
}

#[derive(Default)]
struct State {
    /// By the log position of their first byte, the most recently used last.
    blocks: VecDeque<Kept>,
    /// Positions of those that are being read.
    coming: Vec<u64>,
    spare: Vec<AlignedBuf>,
}

struct Kept {
    start: u64,
    /// Log position up to which the bytes are final.
    valid_to: u64,
    block: Rc<AlignedBuf>,
}

enum Look {
    Here(Rc<AlignedBuf>),
    Coming,
    Absent,
}

impl BlockCache {
    pub fn new(bytes: usize) -> Self {
        Self {
            capacity: (bytes / BLOCK_BYTES as usize).max(1 + AHEAD_BLOCKS as usize),
            state: RefCell::default(),
            arrived: Waiters::default(),
            fetched: Cell::new(0),
        }
    }

    /// The block that begins at `start`, if it is final up to `end` or its own end.
    fn look(&self, start: u64, end: u64) -> Look {
        let mut state = self.state.borrow_mut();
        let end = end.min(start + BLOCK_BYTES);
        let is_wanted = |kept: &Kept| kept.start == start && kept.valid_to >= end;
        if let Some(place) = state.blocks.iter().position(is_wanted)
            && let Some(found) = state.blocks.remove(place)
        {
            let block = found.block.clone();
            state.blocks.push_back(found);
            return Look::Here(block);
        }
        if state.coming.contains(&start) {
            Look::Coming
        } else {
            Look::Absent
        }
    }

    /// Blocks that were read from the device.
    pub fn fetched(&self) -> u64 {
        self.fetched.get()
    }

    /// What is between these positions was written again. A read that is under way may still bring what was there before: a reader that finds no
    /// message in a block reads past the cache.
    pub(super) fn forget(&self, from: u64, to: u64) {
        let mut state = self.state.borrow_mut();
        state
            .blocks
            .retain(|kept| kept.start >= to || kept.start + BLOCK_BYTES <= from);
    }

    fn has(&self, start: u64) -> bool {
        let state = self.state.borrow();
        state.blocks.iter().any(|kept| kept.start == start)
    }

    async fn until_arrived(&self, start: u64) {
        let is_here = || !self.state.borrow().coming.contains(&start);
        self.arrived.until(|| is_here().then_some(())).await;
    }

    fn keep(&self, kept: Kept) {
        let mut state = self.state.borrow_mut();
        let is_same = |other: &Kept| other.start == kept.start;
        if let Some(place) = state.blocks.iter().position(is_same) {
            let _ = state.blocks.remove(place);
        }
        while state.blocks.len() >= self.capacity {
            let evicted = state.blocks.pop_front();
            let buf = evicted.map(|evicted| Rc::try_unwrap(evicted.block));
            if let Some(Ok(buf)) = buf
                && state.spare.len() < MAX_SPARE
            {
                state.spare.push(buf);
            }
        }
        state.blocks.push_back(kept);
    }

    fn spare(&self) -> Option<AlignedBuf> {
        self.state.borrow_mut().spare.pop()
    }
}

/// A block is on its way for as long as this lives.
struct Fetching<'a> {
    cache: &'a BlockCache,
    start: u64,
}

impl<'a> Fetching<'a> {
    fn new(cache: &'a BlockCache, start: u64) -> Self {
        cache.state.borrow_mut().coming.push(start);
        Self { cache, start }
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        let coming = &mut self.cache.state.borrow_mut().coming;
        coming.retain(|start| *start != self.start);
        self.cache.arrived.wake_all();
    }
}

impl<I: Io> Log<I> {
    /// The block that begins at a log position; what is before `end` is wanted of it.
    pub async fn block(
        self: &Rc<Self>,
        start: u64,
        end: u64,
    ) -> Result<Rc<AlignedBuf>, StoreError> {
        let block = loop {
            match self.cache.look(start, end) {
                Look::Here(block) => break block,
                Look::Coming => self.cache.until_arrived(start).await,
                Look::Absent => break self.fetch(start).await?,
            }
        };
        if start >= BLOCK_BYTES && self.cache.has(start - BLOCK_BYTES) {
            self.fetch_ahead(start);
        }
        Ok(block)
    }

    fn fetch_ahead(self: &Rc<Self>, start: u64) {
        for ahead in 1..=AHEAD_BLOCKS {
            let next = start + ahead * BLOCK_BYTES;
            let is_cold = next + BLOCK_BYTES <= self.buffer().hot_from();
            if is_cold && matches!(self.cache.look(next, next + BLOCK_BYTES), Look::Absent) {
                let log = self.clone();
                self.io.spawn("read-ahead", async move {
                    // A reader that needs it gets the same error, and reports it. It may be there by now.
                    if matches!(log.cache.look(next, next + BLOCK_BYTES), Look::Absent) {
                        let _ = log.fetch(next).await;
                    }
                });
            }
        }
    }

    async fn fetch(&self, start: u64) -> Result<Rc<AlignedBuf>, StoreError> {
        let fetching = Fetching::new(&self.cache, start);
        self.cache.fetched.set(self.cache.fetched.get() + 1);
        // As of now: of what the log writes meanwhile the read may have seen the bytes before.
        let written = self.buffer().written();
        let spare = self.cache.spare();
        let read = self.segments.read_into(spare, start, BLOCK_BYTES as usize);
        let Some(block) = read.await? else {
            let reason = "its file is no longer there".into();
            return Err(StoreError::Unreadable {
                physical_offset: start,
                reason,
            });
        };
        let block = Rc::new(block);
        let valid_to = match start + block.len() as u64 {
            // The last one of a segment may be short: nothing is behind it.
            end if end <= written => start + BLOCK_BYTES,
            _ => written,
        };
        // Its file may have become another one while it was read.
        if valid_to > start && start >= self.min() {
            self.cache.keep(Kept {
                start,
                valid_to,
                block: block.clone(),
            });
        }
        drop(fetching);
        Ok(block)
    }
}
