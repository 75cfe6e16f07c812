//! One shard's durable state: the CommitLog with its group commit, the ConsumeQueues, and what a restart needs.
//!
//! [`Store`] is used as `Rc<Store>` by the tasks of one thread. Its plain methods never wait; what reads or writes the
//! disk is `async`. The log is the truth: everything else is derived from it and can be made again.

mod abort;
mod append;
mod config;
mod config_files;
mod entry_tags;
mod error;
mod figures;
mod foreign;
mod index;
mod lifecycle;
mod lock;
mod log;
mod medium;
mod names;
mod open;
mod progress;
mod queues;
mod records;
mod recovery;
mod retention;
mod scan;
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

pub use append::Appended;
pub use config::{Flush, SCHEDULE_TOPIC, StoreConfig};
pub use config_files::TextFiles;
pub use error::StoreError as ReadError;
pub use error::{AppendError, StoreError};
pub use figures::Figures;
pub use foreign::refuse_foreign;
pub use index::{KeyMatches, KeyQuery, Shape as IndexShape, Wanted};
pub use log::ack_watermark::Missing;
pub use log::unreadable::{Place, Unreadable};
pub use progress::Progress;
pub use queues::memory::{QueueBounds, QueueIndex};
pub use queues::search::Boundary;
pub use records::Readable;
pub use retention::Retention;
pub use scan::{Position, Scan, ScanLimits};
pub use timers::rocketmq::{TimerCheck, TimerLog, load_timer_check};
pub use timers::runs::{Timer, TimerKey, TimerKind, TimerRun, TimerRuns};

use crate::io::{Io, Notify, Space, Waiters};

use self::append::Pending;
use self::index::Index;
use self::log::ack_watermark::Acknowledged;
use self::log::buffer::CommitLog;
use self::log::cache::BlockCache;
use self::log::segments::Segments;
use self::log::zero_ahead::ZeroAhead;
use self::log::{
    ack_watermark as acknowledged, buffer as commit_log, cache as block_cache, damage, scrub,
    segments, unreadable, writer as group_commit,
};
use self::medium::{Fence, Medium};
use self::queues::checkpoint::CheckpointFile;
use self::queues::files::QueueFiles;
use self::queues::journal::Journal;
use self::queues::memory::ConsumeQueues;
use self::retention::cleaner as cleaning;

pub struct Store<I: Io> {
    io: Medium<I>,
    config: StoreConfig,
    state: RefCell<State>,
    segments: Rc<Segments<Medium<I>>>,
    zero_ahead: Rc<ZeroAhead<Medium<I>>>,
    queue_files: QueueFiles<Medium<I>>,
    journal: Journal<Medium<I>>,
    /// None: messages are not found by key.
    index: Option<Index<Medium<I>>>,
    checkpoint: CheckpointFile<Medium<I>>,
    acknowledged: Acknowledged<Medium<I>>,
    texts: TextFiles<Medium<I>>,
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
    /// The last log write failed for lack of descriptors or memory.
    has_shortage: Cell<bool>,
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
    fence: Rc<Fence>,
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
                match state.fence.reason() {
                    _ if state.committed > position => Some(Ok(state.committed)),
                    Some(reason) => Some(Err(StoreError::Fenced { reason })),
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
            self.deletions.get() >= wanted || state.fence.is_set() || state.closing
        };
        self.background.until(|| is_over().then_some(())).await;
    }

    /// Why nothing can be appended any more, if so.
    pub fn fence(&self) -> Option<Arc<str>> {
        self.state.borrow().fence.reason()
    }

    /// Why no message is taken until there is space again, if so.
    pub fn full(&self) -> Option<Arc<str>> {
        let reason = self.state.borrow().full.reason().cloned();
        reason.or_else(|| self.segments.no_space())
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
