//! One shard's durable state: the CommitLog with its group commit, the ConsumeQueues, and what a restart needs.
//!
//! [`Store`] is used as `Rc<Store>` by the tasks of one thread. Its plain methods never wait; what reads or writes the
//! disk is `async`. The log is the truth: everything else is derived from it and can be made again.

mod abort;
mod cold;
mod config;
mod config_files;
mod entry_tags;
mod error;
mod foreign;
mod index;
mod lifecycle;
mod lock;
mod log;
mod names;
mod open;
mod progress;
mod queues;
mod recovery;
mod retention;
#[cfg(test)]
mod tests;
mod timers;
mod turns;
mod two_slots;
pub mod verify;
mod whole_file;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

pub use cold::Readable;
pub use config::{Flush, SCHEDULE_TOPIC, StoreConfig};
pub use config_files::TextFiles;
pub use error::StoreError as ReadError;
pub use error::{AppendError, StoreError};
pub use foreign::refuse_foreign;
pub use index::{KeyMatches, KeyQuery, Shape as IndexShape, Wanted};
pub use log::ack_watermark::Missing;
pub use log::unreadable::{Place, Unreadable};
pub use progress::Progress;
pub use queues::memory::{QueueBounds, QueueIndex};
pub use queues::search::Boundary;
pub use retention::Retention;
pub use timers::rocketmq::{TimerCheck, TimerLog, load_timer_check};
pub use timers::runs::{Timer, TimerKey, TimerKind, TimerRun, TimerRuns};

use crate::io::{Io, Notify, Space, Waiters};
use crate::mem::Pages;
use crate::message::{
    MAX_PROPERTIES_BYTES, MAX_TOPIC_BYTES, Message, RecordFields, properties, sys_flag, tags_code,
};

use self::index::Index;
use self::log::ack_watermark::Acknowledged;
use self::log::buffer::CommitLog;
use self::log::cache::BlockCache;
use self::log::segments::Segments;
use self::log::{
    ack_watermark as acknowledged, buffer as commit_log, cache as block_cache, damage, scrub,
    segments, unreadable, writer as group_commit,
};
use self::queues::checkpoint::CheckpointFile;
use self::queues::entry::Entry;
use self::queues::files::QueueFiles;
use self::queues::journal::Journal;
use self::queues::memory::{ConsumeQueues, chunks_for};
use self::retention::cleaner as cleaning;

pub struct Store<I: Io> {
    io: I,
    config: StoreConfig,
    state: RefCell<State>,
    segments: Rc<Segments<I>>,
    queue_files: QueueFiles<I>,
    journal: Journal<I>,
    /// None: messages are not found by key.
    index: Option<Index<I>>,
    checkpoint: CheckpointFile<I>,
    acknowledged: Acknowledged<I>,
    texts: TextFiles<I>,
    cold: BlockCache,
    unreadable: unreadable::Known,
    scrub: scrub::Scrub,
    /// There may be something to write.
    work: Notify,
    /// The log was committed further, or never will be again.
    committed: Waiters,
    /// There may be room again.
    room: Waiters,
    /// The flusher or the saver should look now.
    flush_now: Notify,
    save_now: Notify,
    background: Waiters,
    /// Topics whose queue files are to be removed, with these queues. The saver does it, before it writes files of a
    /// topic that has the same name.
    deleted: RefCell<VecDeque<(String, Vec<u32>)>>,
    /// The same, once the journal says that they are deleted.
    removable: RefCell<VecDeque<(String, Vec<u32>)>>,
    /// How many there have been of these.
    deletions: Cell<u64>,
    /// Async mode: up to here the log is on the device for good.
    flushed: Cell<u64>,
    is_flushing: Cell<bool>,
    flush_done: Waiters,
    /// Up to here the queues' files are complete, and a checkpoint says so.
    checkpointed: Cell<u64>,
    repairs: queues::repair::Repairs,
    /// When the queues are saved next.
    cadence: Cell<queues::cadence::Cadence>,
    retention: RefCell<Retention>,
    wanted: cleaning::Wanted,
    counters: Counters,
    locks: Cell<lock::Locks<I>>,
    disk_space: Cell<Space>,
}

struct State {
    log: CommitLog,
    queues: ConsumeQueues,
    /// Appended, not yet committed, in log order.
    pending: VecDeque<Pending>,
    /// Watched queues that have got an entry.
    arrivals: Vec<QueueIndex>,
    /// Up to here the log is as durable as the flush mode promises, and dispatched.
    committed: u64,
    /// End of the last dispatched message. The log may be committed into the middle of the next one, as a write ends where
    /// the log buffer does.
    dispatched: u64,
    /// Where that begins.
    last_dispatched: u64,
    /// Since the store was opened.
    dispatched_messages: u64,
    /// Store time of the last dispatched message.
    committed_time_ms: i64,
    last_store_time_ms: i64,
    first_store_time_ms: Option<i64>,
    fence: Option<Arc<str>>,
    /// Why nothing is taken until there is space again.
    full: Full,
    closing: bool,
}

/// What keeps messages out for lack of space.
#[derive(Default)]
struct Full {
    /// The disk is fuller than it should be.
    disk: Option<Arc<str>>,
    /// The log itself cannot be written.
    log: Option<Arc<str>>,
    /// The queues' files, or those of config/, cannot be written.
    queues: Option<Arc<str>>,
    texts: Option<Arc<str>>,
}

impl Full {
    fn reason(&self) -> Option<&Arc<str>> {
        [&self.disk, &self.log, &self.queues, &self.texts]
            .into_iter()
            .find_map(Option::as_ref)
    }
}

struct Pending {
    queue: QueueIndex,
    entry: Entry,
    /// It gets an entry in its queue.
    is_consumable: bool,
    store_time_ms: i64,
}

#[derive(Default)]
struct Counters {
    writes: Cell<u64>,
    written_bytes: Cell<u64>,
    flushes: Cell<u64>,
    /// The kernel writes from the log buffer without looking its pages up.
    registered: Cell<bool>,
    /// Tasks of the store that still run.
    tasks: Cell<u32>,
}

/// A record in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub physical_offset: u64,
    /// Log position behind it: what has to be committed before it may be acknowledged.
    pub end: u64,
    pub queue_offset: u64,
    pub store_timestamp_ms: i64,
    pub len: usize,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub physical_offset: u64,
    pub size: u32,
}

/// Bounds of one scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanLimits {
    pub max_messages: usize,
    /// The first message is taken even if it alone is larger.
    pub max_bytes: usize,
    /// Entries looked at.
    pub max_entries: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    Found {
        next_offset: u64,
    },
    NoneMatched {
        next_offset: u64,
    },
    /// The entries are only on disk.
    Cold,
}

/// Figures for whoever watches.
#[derive(Clone, Debug)]
pub struct Figures {
    pub pages: Pages,
    pub registered: bool,
    pub writes: u64,
    pub written_bytes: u64,
    pub flushes: u64,
    pub log_min: u64,
    pub log_max: u64,
    pub not_committed_bytes: u64,
    pub free_queue_chunks: usize,
    /// Store time of the oldest message of the log, if there is one.
    pub first_store_time_ms: Option<i64>,
    /// Messages that were found to be unreadable.
    pub unreadable: u64,
    /// The log has been read through up to here.
    pub scrubbed_to: u64,
    /// Why nothing is acknowledged any more, if so.
    pub fence: Option<Arc<str>>,
    /// Why no message is taken for now, if so.
    pub full: Option<Arc<str>>,
    /// What had been acknowledged and was not there at the start.
    pub missing: Option<Missing>,
}

impl<I: Io> Store<I> {
    /// The queue, made in memory when it is new.
    pub fn queue(&self, topic: &str, queue_id: u32) -> QueueIndex {
        self.state
            .borrow_mut()
            .queues
            .find_or_create(topic, queue_id)
    }

    pub fn find_queue(&self, topic: &str, queue_id: u32) -> Option<QueueIndex> {
        self.state.borrow().queues.find(topic, queue_id)
    }

    /// Whether messages of `len` bytes in all can be appended now.
    pub fn room_for(&self, len: usize) -> bool {
        let state = self.state.borrow();
        state.check_open().is_err()
            || len > self.config.max_record_bytes()
            || state.room_for(len)
            || self.check_file(&state, len).is_err()
    }

    /// Why no message is taken now, whatever its size, if so.
    pub fn refuses(&self) -> Option<AppendError> {
        self.state.borrow().check_open().err()
    }

    /// Whether messages of `len` bytes in all would be taken one after the other, if there is room for them.
    pub fn takes(&self, len: usize) -> Result<(), AppendError> {
        let state = self.state.borrow();
        state.check_open()?;
        self.check_file(&state, len)
    }

    /// Whether there is a file for `len` bytes, or can be one. What is appended is sure to get its place, so that a full
    /// disk refuses messages and never fails one that was taken.
    fn check_file(&self, state: &State, len: usize) -> Result<(), AppendError> {
        let Some(reason) = self.segments.no_space() else {
            return Ok(());
        };
        match self.segments.end() {
            Some(end) if state.log.end_of(len) <= end => Ok(()),
            _ => Err(AppendError::NoSpace { reason }),
        }
    }

    /// Store time of the oldest message that the disk has not taken yet, unless it never will.
    pub fn waiting_since_ms(&self) -> Option<i64> {
        let state = self.state.borrow();
        state.check_open().ok()?;
        state.pending.front().map(|pending| pending.store_time_ms)
    }

    /// Done when there is room, or when there never will be.
    pub async fn wait_for_room(&self, len: usize) {
        self.room.until(|| self.room_for(len).then_some(())).await;
    }

    /// Encodes a message into the log. `tags_code` replaces that of the message's tags in the queue's entry.
    pub fn append(
        &self,
        queue: QueueIndex,
        message: &Message<'_>,
        tags_code: Option<i64>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let mut state = self.state.borrow_mut();
        state.check_open()?;
        let fields = state.fields(&self.config, queue, message, now_ms)?;
        let len = fields.encoded_len();
        self.check_file(&state, len)?;
        if !state.room_for(len) {
            return Err(AppendError::NoRoom);
        }
        let appended = self.append_one(&mut state, queue, message, tags_code, now_ms);
        drop(state);
        self.work.notify();
        Ok(appended)
    }

    /// Encodes several messages of one queue one behind the other, in one segment; all or none.
    pub fn append_batch(
        &self,
        queue: QueueIndex,
        messages: &[Message<'_>],
        now_ms: i64,
    ) -> Result<Vec<Appended>, AppendError> {
        let mut state = self.state.borrow_mut();
        state.check_open()?;
        let mut total = 0;
        for message in messages {
            let fields = state.fields(&self.config, queue, message, now_ms)?;
            total += fields.encoded_len();
        }
        // As RocketMQ counts them: as records, all together (`MessageExtEncoder.encode`).
        let limit = self.config.max_record_bytes();
        if total > limit {
            return Err(AppendError::RecordSize { got: total, limit });
        }
        self.check_file(&state, total)?;
        if !state.room_for(total) {
            return Err(AppendError::NoRoom);
        }
        state.log.start_unit(total);
        let appended = messages
            .iter()
            .map(|message| self.append_one(&mut state, queue, message, None, now_ms))
            .collect();
        drop(state);
        self.work.notify();
        Ok(appended)
    }

    /// What is known to fit.
    fn append_one(
        &self,
        state: &mut State,
        queue: QueueIndex,
        message: &Message<'_>,
        tags: Option<i64>,
        now_ms: i64,
    ) -> Appended {
        let now_ms = now_ms.max(state.last_store_time_ms);
        let State { log, queues, .. } = state;
        let target = queues.queue(queue);
        let mut fields = fields_of(
            &self.config,
            queues.topic_of(queue),
            target.queue_id,
            message,
            now_ms,
        );
        let is_consumable = sys_flag::is_consumable(message.sys_flag);
        fields.queue_offset = if is_consumable { target.bounds.next } else { 0 };
        let len = fields.encoded_len();
        let tags_code = tags.unwrap_or_else(|| {
            message
                .properties
                .find(properties::TAGS)
                .map_or(0, tags_code)
        });
        let physical_offset = log.append(len, |physical_offset, dst| {
            fields.physical_offset = physical_offset;
            fields.encode(dst);
        });
        let queue_offset = fields.queue_offset;
        queues.queue_mut(queue).bounds.next += u64::from(is_consumable);
        let entry = Entry {
            physical_offset,
            size: len as u32,
            tags_code,
        };
        state.pending.push_back(Pending {
            queue,
            entry,
            is_consumable,
            store_time_ms: now_ms,
        });
        state.last_store_time_ms = now_ms;
        Appended {
            physical_offset,
            end: entry.end(),
            queue_offset,
            store_timestamp_ms: now_ms,
            len,
        }
    }

    pub fn committed(&self) -> u64 {
        self.state.borrow().committed
    }

    /// The log's end, committed or not.
    pub fn tail(&self) -> u64 {
        self.state.borrow().log.tail()
    }

    /// Done when the log is committed beyond `position`, with how far it is then; fails when it never will be.
    pub async fn committed_beyond(&self, position: u64) -> Result<u64, StoreError> {
        self.committed
            .until(|| {
                let state = self.state.borrow();
                match &state.fence {
                    _ if state.committed > position => Some(Ok(state.committed)),
                    Some(reason) => Some(Err(StoreError::Fenced {
                        reason: reason.clone(),
                    })),
                    None => None,
                }
            })
            .await
    }

    /// Done when everything that is in the log now is as durable as the flush mode promises.
    pub async fn committed_so_far(&self) -> Result<(), StoreError> {
        let tail = self.tail();
        if tail > self.committed() {
            self.committed_beyond(tail - 1).await?;
        }
        Ok(())
    }

    /// Done when everything that is in the log now is on the device for good, whatever the flush mode promises.
    pub async fn durable_so_far(&self) -> Result<(), StoreError> {
        let tail = self.tail();
        self.committed_so_far().await?;
        self.flush_log(tail).await
    }

    pub fn bounds(&self, queue: QueueIndex) -> QueueBounds {
        self.state.borrow().queues.queue(queue).bounds
    }

    /// Whether somebody wants to hear of this queue's entries.
    pub fn watch(&self, queue: QueueIndex, on: bool) {
        self.state.borrow_mut().queues.queue_mut(queue).watched = on;
    }

    /// Watched queues that have got entries since the last call; appended to `into`.
    pub fn take_arrivals(&self, into: &mut Vec<QueueIndex>) {
        into.append(&mut self.state.borrow_mut().arrivals);
    }

    /// Entries of a queue from `offset` on that `filter` lets through, by their tags code; appended to `out`.
    pub fn scan(
        &self,
        queue: QueueIndex,
        offset: u64,
        limits: &ScanLimits,
        mut filter: impl FnMut(i64) -> bool,
        out: &mut Vec<Position>,
    ) -> Scan {
        let state = self.state.borrow();
        let end = state.queues.queue(queue).bounds.max;
        if offset >= end {
            return Scan::NoneMatched {
                next_offset: offset,
            };
        }
        let entries = (offset..end).map(|offset| state.queues.resident(queue, offset));
        if state.queues.resident(queue, offset).is_none() {
            return Scan::Cold;
        }
        collect(
            offset,
            entries.map_while(|entry| entry),
            limits,
            |entry| filter(entry.tags_code),
            out,
        )
    }

    /// As [`Self::scan`], with a filter that looks at the messages; from the first one on they must be in the log buffer.
    pub fn scan_messages(
        &self,
        queue: QueueIndex,
        offset: u64,
        limits: &ScanLimits,
        mut filter: impl FnMut(&[u8]) -> bool,
        out: &mut Vec<Position>,
    ) -> Scan {
        let state = self.state.borrow();
        let end = state.queues.queue(queue).bounds.max;
        if offset >= end {
            return Scan::NoneMatched {
                next_offset: offset,
            };
        }
        let hot = |entry: &Entry| state.log.hot(entry.physical_offset, entry.size as usize);
        let entries = (offset..end).map_while(|offset| state.queues.resident(queue, offset));
        let mut entries = entries.take_while(|entry| hot(entry).is_some()).peekable();
        if entries.peek().is_none() {
            return Scan::Cold;
        }
        let filter = |entry: &Entry| hot(entry).is_some_and(&mut filter);
        collect(offset, entries, limits, filter, out)
    }

    /// Whether the message is in the log buffer.
    pub fn is_hot(&self, position: &Position) -> bool {
        self.state
            .borrow()
            .log
            .hot(position.physical_offset, position.size as usize)
            .is_some()
    }

    /// Appends a message from the log buffer to `out`; `false` if it is no longer there.
    pub fn copy_hot(&self, position: &Position, out: &mut Vec<u8>) -> bool {
        match self
            .state
            .borrow()
            .log
            .hot(position.physical_offset, position.size as usize)
        {
            Some(bytes) => {
                out.extend_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Topics that have queues, with the number of queues they need.
    pub fn topics(&self) -> Vec<(String, u32)> {
        self.state
            .borrow()
            .queues
            .topics()
            .map(|(topic, queues)| (topic.to_owned(), queues))
            .collect()
    }

    /// Forgets the topic's queues at once and removes their files in the background; its messages stay in the log until
    /// their file's time is over.
    pub fn delete_topic(&self, topic: &str) {
        let queue_ids = self.state.borrow_mut().queues.remove_topic(topic);
        if mutant!(DeletedTopicReturns) {
            return;
        }
        self.deleted
            .borrow_mut()
            .push_back((topic.to_owned(), queue_ids));
        self.save_now.notify();
    }

    /// Done when no crash brings the topics back that have been deleted so far. Without space that may take long; a store that
    /// cannot write any more does not do it.
    pub async fn deleted_so_far(&self) {
        let wanted = self.deletions.get() + self.deleted.borrow().len() as u64;
        let is_over = || {
            let state = self.state.borrow();
            self.deletions.get() >= wanted || state.fence.is_some() || state.closing
        };
        self.background.until(|| is_over().then_some(())).await;
    }

    /// Why nothing can be appended any more, if so.
    pub fn fence(&self) -> Option<Arc<str>> {
        self.state.borrow().fence.clone()
    }

    /// Why no message is taken until there is space again, if so.
    pub fn full(&self) -> Option<Arc<str>> {
        let reason = self.state.borrow().full.reason().cloned();
        reason.or_else(|| self.segments.no_space())
    }

    pub fn figures(&self) -> Figures {
        let state = self.state.borrow();
        Figures {
            pages: state.queues.pages(),
            registered: self.counters.registered.get(),
            writes: self.counters.writes.get(),
            written_bytes: self.counters.written_bytes.get(),
            flushes: self.counters.flushes.get(),
            log_min: self.log_min(),
            log_max: state.committed,
            not_committed_bytes: state.log.tail() - state.committed,
            free_queue_chunks: state.queues.free_chunks(),
            first_store_time_ms: state.first_store_time_ms,
            unreadable: self.unreadable.len(),
            scrubbed_to: self.scrub.position(),
            fence: state.fence.clone(),
            full: state
                .full
                .reason()
                .cloned()
                .or_else(|| self.segments.no_space()),
            missing: self.acknowledged.missing,
        }
    }

    /// A file of config/.
    pub async fn load_text(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.texts.load(name).await
    }

    pub async fn save_text(&self, name: &str, text: String) -> Result<(), StoreError> {
        let saved = self.texts.save(name, text).await;
        self.note_text(&saved);
        saved
    }

    /// How the write of a file of config/ went that is not a text as a whole.
    pub fn note_text<T>(&self, written: &Result<T, StoreError>) {
        self.note_space(written, |full| &mut full.texts);
    }
}

impl State {
    /// In the log buffer and, once they are committed, in the queues. Each message that waits for its commit may need a
    /// chunk of its own.
    fn room_for(&self, len: usize) -> bool {
        let chunks = self.pending.len() + chunks_for(len);
        self.log.room_for(len) && self.queues.free_chunks() >= chunks
    }

    fn check_open(&self) -> Result<(), AppendError> {
        match &self.fence {
            Some(reason) => Err(AppendError::Fenced {
                reason: reason.clone(),
            }),
            None if self.closing => Err(AppendError::Closing),
            None => match self.full.reason() {
                Some(reason) => Err(AppendError::NoSpace {
                    reason: reason.clone(),
                }),
                None => Ok(()),
            },
        }
    }

    fn fields<'a>(
        &'a self,
        config: &StoreConfig,
        queue: QueueIndex,
        message: &Message<'a>,
        now_ms: i64,
    ) -> Result<RecordFields<'a>, AppendError> {
        let target = self.queues.queue(queue);
        if target.gone {
            return Err(AppendError::NoQueue);
        }
        let fields = fields_of(
            config,
            self.queues.topic_of(queue),
            target.queue_id,
            message,
            now_ms,
        );
        check_sizes(&fields, config)?;
        Ok(fields)
    }
}

fn fields_of<'a>(
    config: &StoreConfig,
    topic: &'a str,
    queue_id: u32,
    message: &Message<'a>,
    now_ms: i64,
) -> RecordFields<'a> {
    RecordFields {
        queue_id,
        flag: message.flag,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: message.sys_flag,
        born_timestamp_ms: message.born_timestamp_ms,
        born_host: message.born_host,
        store_timestamp_ms: now_ms,
        store_host: config.store_host,
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: message.prepared_transaction_offset,
        body: message.body,
        topic,
        properties: message.properties,
    }
}

fn check_sizes(fields: &RecordFields<'_>, config: &StoreConfig) -> Result<(), AppendError> {
    let (body, limit) = (fields.body.len(), config.max_message_bytes);
    if body > limit {
        return Err(AppendError::BodySize { got: body, limit });
    }
    if fields.properties_len() > MAX_PROPERTIES_BYTES {
        return Err(AppendError::PropertiesSize {
            got: fields.properties_len(),
            limit: MAX_PROPERTIES_BYTES,
        });
    }
    if fields.topic.len() > MAX_TOPIC_BYTES {
        return Err(AppendError::TopicSize {
            got: fields.topic.len(),
            limit: MAX_TOPIC_BYTES,
        });
    }
    let (record, limit) = (fields.encoded_len(), config.max_record_bytes());
    if record > limit {
        return Err(AppendError::RecordSize { got: record, limit });
    }
    Ok(())
}

/// Takes entries within the limits; `entries` are those from `offset` on.
fn collect(
    offset: u64,
    entries: impl Iterator<Item = Entry>,
    limits: &ScanLimits,
    mut filter: impl FnMut(&Entry) -> bool,
    out: &mut Vec<Position>,
) -> Scan {
    let (mut next_offset, mut bytes, taken_before) = (offset, 0, out.len());
    for entry in entries.take(limits.max_entries) {
        if filter(&entry) {
            let taken = out.len() - taken_before;
            bytes += entry.size as usize;
            if taken >= limits.max_messages || (taken > 0 && bytes > limits.max_bytes) {
                break;
            }
            out.push(Position {
                physical_offset: entry.physical_offset,
                size: entry.size,
            });
        }
        next_offset += 1;
    }
    if out.len() > taken_before {
        Scan::Found { next_offset }
    } else {
        Scan::NoneMatched { next_offset }
    }
}
