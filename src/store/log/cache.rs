//! Blocks of the log that were read from disk.
//!
//! Several consumers of a topic ask for the same block at the same time, as their queues' messages stand side by side: it
//! is read once, and the others wait for it. Who reads one block after the other finds the next ones already on their way.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::io::{Io, Waiters};
use crate::mem::AlignedBuf;
use crate::store::{Store, StoreError};

pub(in crate::store) const BLOCK_BYTES: u64 = 1 << 20;

/// Blocks that are fetched ahead of a reader who goes through the log.
const AHEAD_BLOCKS: u64 = 2;

/// Buffers of blocks that have left, for those that come.
const MAX_SPARE: usize = 8;

pub(in crate::store) struct BlockCache {
    capacity: usize,
    state: RefCell<State>,
    arrived: Waiters,
}

#[derive(Default)]
struct State {
    /// By the log position of their first byte, the most recently used last.
    blocks: VecDeque<(u64, Rc<AlignedBuf>)>,
    /// Positions of those that are being read.
    coming: Vec<u64>,
    spare: Vec<AlignedBuf>,
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
        }
    }

    fn look(&self, start: u64) -> Look {
        let mut state = self.state.borrow_mut();
        if let Some(place) = state.blocks.iter().position(|(other, _)| *other == start)
            && let Some(found) = state.blocks.remove(place)
        {
            let block = found.1.clone();
            state.blocks.push_back(found);
            return Look::Here(block);
        }
        if state.coming.contains(&start) {
            Look::Coming
        } else {
            Look::Absent
        }
    }

    fn has(&self, start: u64) -> bool {
        let state = self.state.borrow();
        state.blocks.iter().any(|(other, _)| *other == start)
    }

    async fn until_arrived(&self, start: u64) {
        let is_here = || !self.state.borrow().coming.contains(&start);
        self.arrived.until(|| is_here().then_some(())).await;
    }

    fn keep(&self, start: u64, block: Rc<AlignedBuf>) {
        let mut state = self.state.borrow_mut();
        while state.blocks.len() >= self.capacity {
            let left = state
                .blocks
                .pop_front()
                .map(|(_, block)| Rc::try_unwrap(block));
            if let Some(Ok(buf)) = left
                && state.spare.len() < MAX_SPARE
            {
                state.spare.push(buf);
            }
        }
        state.blocks.push_back((start, block));
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

impl<I: Io> Store<I> {
    /// The block that begins at this log position.
    pub(in crate::store) async fn block(
        self: &Rc<Self>,
        start: u64,
    ) -> Result<Rc<AlignedBuf>, StoreError> {
        let block = loop {
            match self.cold.look(start) {
                Look::Here(block) => break block,
                Look::Coming => self.cold.until_arrived(start).await,
                Look::Absent => break self.fetch(start).await?,
            }
        };
        if start >= BLOCK_BYTES && self.cold.has(start - BLOCK_BYTES) {
            self.fetch_ahead(start);
        }
        Ok(block)
    }

    fn fetch_ahead(self: &Rc<Self>, start: u64) {
        for ahead in 1..=AHEAD_BLOCKS {
            let next = start + ahead * BLOCK_BYTES;
            let is_cold = next + BLOCK_BYTES <= self.state.borrow().log.hot_from();
            if is_cold && matches!(self.cold.look(next), Look::Absent) {
                let store = self.clone();
                self.io.spawn("read-ahead", async move {
                    // Whoever needs it meets the same error, and reports it. It may be there by now.
                    if matches!(store.cold.look(next), Look::Absent) {
                        let _ = store.fetch(next).await;
                    }
                });
            }
        }
    }

    async fn fetch(&self, start: u64) -> Result<Rc<AlignedBuf>, StoreError> {
        let fetching = Fetching::new(&self.cold, start);
        let read = self
            .segments
            .read_into(self.cold.spare(), start, BLOCK_BYTES as usize);
        let Some(block) = read.await? else {
            let reason = "its file is no longer there".into();
            return Err(StoreError::Unreadable {
                physical_offset: start,
                reason,
            });
        };
        let block = Rc::new(block);
        // A block that the log still writes to is out of date the next moment.
        let is_final = start + block.len() as u64 <= self.state.borrow().log.hot_from();
        // Its file may have become another one while it was read.
        if is_final && start >= self.log_min() {
            self.cold.keep(start, block.clone());
        }
        drop(fetching);
        Ok(block)
    }
}
