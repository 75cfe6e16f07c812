//! The CommitLog: its buffer, its files, its writer, and the one reader of what it holds. It knows no queue.
//!
//! [`Log`] is what the rest of the store has of it. Records enter through [`Log::append`] and [`Log::run`] writes them
//! (`writer.rs`); what becomes visible with a write is up to the caller, who keeps the messages that wait for their commit.

pub mod ack_watermark;
pub mod buffer;
pub mod cache;
pub mod damage;
mod mend;
pub mod ours;
pub mod reader;
pub mod recent_writes;
pub mod records;
mod recycle;
pub mod segments;
mod times;
pub mod unreadable;
pub mod watermarks;
mod writer;
pub mod zero_ahead;

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use self::ack_watermark::{Acknowledged, Missing};
use self::buffer::CommitLog;
use self::cache::BlockCache;
use self::ours::Ours;
use self::reader::Crcs;
use self::segments::Segments;
pub use self::times::LogTimes;
use self::unreadable::Known;
use self::watermarks::{Dispatched, Visible, Watermarks};
use self::zero_ahead::ZeroAhead;
use super::StoreError;
use super::config::StoreConfig;
use super::error::AppendError;
use super::gate::Gate;
use super::medium::Medium;
use super::turns::Turns;
use crate::io::{Io, Notify, Waiters};

pub(in crate::store) struct Log<I: Io> {
    io: Medium<I>,
    config: Rc<StoreConfig>,
    buffer: RefCell<CommitLog>,
    marks: Watermarks,
    /// Up to here the replicas have it that are needed for a commit.
    confirmed: Cell<u64>,
    segments: Rc<Segments<I>>,
    zero_ahead: Rc<ZeroAhead<I>>,
    acknowledged: Acknowledged<I>,
    cache: BlockCache,
    ours: Ours,
    unreadable: Known,
    gate: Rc<Gate>,
    /// There may be something to write.
    work: Notify,
    /// The flusher should look now.
    flush_now: Notify,
    /// The log was committed further, or never will be again.
    moved: Waiters,
    /// Something was appended, or nothing more will be.
    grown: Waiters,
    flush_turn: Turns,
    /// The last write failed for lack of descriptors or memory.
    has_shortage: Cell<bool>,
    writes: Cell<u64>,
    written_bytes: Cell<u64>,
    flushes: Cell<u64>,
    times: RefCell<LogTimes>,
}

/// What a log is made of.
pub(in crate::store) struct Parts<I: Io> {
    pub io: Medium<I>,
    pub config: Rc<StoreConfig>,
    pub gate: Rc<Gate>,
    pub buffer: CommitLog,
    pub segments: Rc<Segments<I>>,
    pub zero_ahead: ZeroAhead<I>,
    pub acknowledged: Acknowledged<I>,
    /// Records from here on are this broker's.
    pub ours_from: u64,
    pub visible: Visible,
}

/// How much was written.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct Written {
    pub writes: u64,
    pub bytes: u64,
    pub flushes: u64,
}

impl<I: Io> Log<I> {
    pub fn new(parts: Parts<I>) -> Self {
        let tail = parts.buffer.tail();
        let confirmed = match parts.config.follows {
            true => parts.visible.end,
            false => u64::MAX,
        };
        Self {
            marks: Watermarks::at_start(tail, parts.visible),
            confirmed: Cell::new(confirmed),
            buffer: RefCell::new(parts.buffer),
            segments: parts.segments,
            zero_ahead: Rc::new(parts.zero_ahead),
            acknowledged: parts.acknowledged,
            cache: BlockCache::new(parts.config.cold_cache_bytes),
            ours: Ours::new(parts.ours_from),
            unreadable: Known::default(),
            gate: parts.gate,
            work: Notify::default(),
            flush_now: Notify::default(),
            moved: Waiters::default(),
            grown: Waiters::default(),
            flush_turn: Turns::default(),
            has_shortage: Cell::new(false),
            writes: Cell::new(0),
            written_bytes: Cell::new(0),
            flushes: Cell::new(0),
            times: RefCell::default(),
            io: parts.io,
            config: parts.config,
        }
    }

    pub fn marks(&self) -> &Watermarks {
        &self.marks
    }

    pub fn segments(&self) -> &Segments<I> {
        &self.segments
    }

    /// Which CRCs its records must have.
    pub fn crcs(&self) -> Crcs {
        Crcs::RequiredFrom(self.ours.from())
    }

    /// From where on its records carry a CRC, those before may be RocketMQ's.
    pub fn ours(&self) -> &Ours {
        &self.ours
    }

    /// What is in memory of it, to be read.
    pub fn buffer(&self) -> Ref<'_, CommitLog> {
        self.buffer.borrow()
    }

    /// What could not be read.
    pub fn known_unreadable(&self) -> &Known {
        &self.unreadable
    }

    /// Position of the first message that is kept.
    pub fn min(&self) -> u64 {
        self.segments.min_position().unwrap_or(0)
    }

    /// Its end, committed or not.
    pub fn tail(&self) -> u64 {
        self.buffer.borrow().tail()
    }

    /// Acknowledged by the process before, and missing at the start.
    pub fn missing(&self) -> Option<Missing> {
        self.acknowledged.missing
    }

    pub fn written(&self) -> Written {
        Written {
            writes: self.writes.get(),
            bytes: self.written_bytes.get(),
            flushes: self.flushes.get(),
        }
    }

    pub fn times(&self) -> Ref<'_, LogTimes> {
        self.times.borrow()
    }

    /// Blocks that were read from the device for readers.
    pub fn fetched_blocks(&self) -> u64 {
        self.cache.fetched()
    }

    /// Whether `len` bytes of records can be appended without overwriting what is not on disk yet.
    pub fn has_room(&self, len: usize) -> bool {
        self.buffer.borrow().room_for(len)
    }

    /// Whether there is a file for `len` bytes, or can be one. What is appended is sure to get its place, so that a full
    /// disk refuses messages and never fails one that was taken.
    pub fn check_file(&self, len: usize) -> Result<(), AppendError> {
        self.check_file_up_to(|| self.buffer.borrow().end_of(len))
    }

    /// The same for bytes that go on directly at the tail.
    pub fn check_file_for_bytes(&self, len: usize) -> Result<(), AppendError> {
        self.check_file_up_to(|| self.tail() + len as u64)
    }

    fn check_file_up_to(&self, wanted_end: impl Fn() -> u64) -> Result<(), AppendError> {
        let Some(reason) = self.segments.no_space() else {
            return Ok(());
        };
        match self.segments.end() {
            Some(end) if wanted_end() <= end => Ok(()),
            _ => Err(AppendError::NoSpace { reason }),
        }
    }

    /// The next `len` bytes of records stand in one segment. There must be room for them.
    pub fn start_unit(&self, len: usize) {
        self.buffer.borrow_mut().start_unit(len);
    }

    /// A record of `len` bytes, for which there must be room; `encode` fills all of it. Returns its position.
    pub fn append(&self, len: usize, encode: impl FnOnce(u64, &mut [u8])) -> u64 {
        let position = self.buffer.borrow_mut().append(len, encode);
        self.work.notify();
        position
    }

    /// Bytes of a master's log, for which there must be room; they may begin and end anywhere in a record.
    pub fn append_bytes(&self, bytes: &[u8]) {
        self.buffer.borrow_mut().append_bytes(bytes);
        self.work.notify();
    }

    /// The replicas that are needed have the log up to here; `u64::MAX`: none is needed.
    pub fn confirm(&self, position: u64) {
        // A slave gets it with each frame.
        if self.confirmed.replace(position) != position {
            self.moved.wake_all();
        }
    }

    /// Up to where the log may be committed.
    pub fn may_be_committed(&self) -> u64 {
        if mutant!(ReplicasNotAwaited) {
            return self.marks.persisted();
        }
        if mutant!(OwnWriteNotAwaited) {
            return self.tail().min(self.confirmed.get());
        }
        self.marks.persisted().min(self.confirmed.get())
    }

    /// Commits what is persisted and confirmed. `dispatch` as in [`Log::run`].
    pub fn commit_more(&self, dispatch: impl Fn(u64) -> Option<Dispatched>) {
        let end = self.may_be_committed();
        if end > self.marks.committed() {
            self.commit(end, dispatch(end));
        }
    }

    /// What was `dispatched` is visible, and the log committed up to `end`.
    pub fn commit(&self, end: u64, dispatched: Option<Dispatched>) {
        self.marks.commit(end, dispatched);
        self.moved.wake_all();
        self.gate.room.wake_all();
    }

    /// Done when the log is persisted beyond `position`, with how far it is then; fails when it never will be.
    pub async fn persisted_beyond(&self, position: u64) -> Result<u64, StoreError> {
        let is_there = || match self.marks.persisted() {
            persisted if persisted > position => Some(Ok(persisted)),
            _ => self.gate.check_fence().err().map(Err),
        };
        self.moved.until(is_there).await
    }

    /// Done when the log is committed beyond `position`, with how far it is then; fails when it never will be.
    pub async fn committed_beyond(&self, position: u64) -> Result<u64, StoreError> {
        let is_there = || match self.marks.committed() {
            committed if committed > position => Some(Ok(committed)),
            _ => self.gate.check_fence().err().map(Err),
        };
        self.moved.until(is_there).await
    }

    /// Done when everything that is in the log now is as durable as the flush mode promises.
    pub async fn committed_so_far(&self) -> Result<(), StoreError> {
        let tail = self.tail();
        if tail > self.marks.committed() {
            self.committed_beyond(tail - 1).await?;
        }
        Ok(())
    }

    /// Done when everything that is visible now is on the device for good.
    pub async fn visible_is_durable(&self) -> Result<(), StoreError> {
        self.flush(self.marks.committed()).await
    }

    /// Done when everything that is in the log now is on the device for good, whatever the flush mode promises.
    pub async fn durable_so_far(&self) -> Result<(), StoreError> {
        let tail = self.tail();
        self.committed_so_far().await?;
        self.flush(tail).await
    }

    /// Up to here the log was given to the device.
    pub fn sealed(&self) -> u64 {
        self.buffer.borrow().sealed()
    }

    /// Done when `is_so`, which is asked now, and when a write begins or has ended.
    pub async fn until_grown(&self, is_so: impl Fn() -> bool) {
        self.grown.until(|| is_so().then_some(())).await;
    }

    /// Done when `look` finds something. It looks now and whenever the log was committed further.
    pub async fn until_moved<T>(&self, look: impl FnMut() -> Option<T>) -> T {
        self.moved.until(look).await
    }

    /// Why it cannot get its next file, if so.
    pub fn no_space(&self) -> Option<Arc<str>> {
        self.segments.no_space()
    }

    /// The first record that begins at `from` or behind it, and before `to`.
    pub async fn first_record(&self, from: u64, to: u64) -> Result<Option<u64>, StoreError> {
        let known = damage::Known {
            segments: &*self.segments,
            config: &self.config,
            flushed_to: 0,
            unflushed_bytes: self.config.max_unflushed_bytes,
            crcs: self.crcs(),
        };
        known.first_record(from, to).await
    }

    /// Removes its oldest file, or keeps that to be recycled.
    pub async fn remove_first(&self, recycle: bool) -> Result<(), StoreError> {
        self.segments.remove_first(recycle).await
    }

    /// It begins with a message of this time.
    pub fn begins_with(&self, first_ms: Option<i64>) {
        self.marks.begin_with(first_ms);
    }

    /// Whatever waits for it looks again: the store is fenced or being closed.
    pub fn wake(&self) {
        self.work.notify();
        self.flush_now.notify();
        self.moved.wake_all();
        self.grown.wake_all();
    }

    pub async fn pause(&self, ns: u64) {
        self.io.sleep_until(self.io.now().mono_ns + ns).await;
    }
}
