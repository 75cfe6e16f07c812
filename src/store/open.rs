//! Opening a store: its lock, its marks, its end of the log, and what works in its background.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::rc::Rc;

use super::abort::{Abort, Left};
use super::acknowledged::Acknowledged;
use super::block_cache::BlockCache;
use super::commit_log::{CommitLog, floor};
use super::config_files::TextFiles;
use super::index::{self, Index};
use super::log::reader::{Next, Window};
use super::queues::checkpoint::CheckpointFile;
use super::queues::files::QueueFiles;
use super::queues::journal::Journal;
use super::queues::memory::ConsumeQueues;
use super::recovery::{Files, Recovery};
use super::segments::Segments;
use super::{
    Counters, Full, State, Store, StoreConfig, StoreError, cleaning, group_commit, queues, scrub,
};
use crate::io::{Io, Notify};
use crate::mem::LogBuffer;
use crate::message::{Check, Record};

/// How far the opening of a store has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The store was not closed; its log is read from this position on.
    Recovering { from: u64 },
    /// The queues' files do not fit the log: they are made again from all of it.
    Rebuilding,
    /// So much of the log has been read, of about so much.
    Read { read_bytes: u64, total_bytes: u64 },
    Opened {
        log_min: u64,
        log_max: u64,
        queues: usize,
        recovered_messages: u64,
    },
}

impl Progress {
    /// How much of the work is done.
    pub fn percent(&self) -> u64 {
        match self {
            Self::Recovering { .. } | Self::Rebuilding => 0,
            Self::Read {
                read_bytes,
                total_bytes,
            } => read_bytes * 100 / (*total_bytes).max(1),
            Self::Opened { .. } => 100,
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recovering { from } => {
                write!(
                    f,
                    "the store was not closed cleanly: reading its log from {from} on"
                )
            }
            Self::Rebuilding => write!(
                f,
                "the queue files do not fit the log: making them again from all of it"
            ),
            Self::Read {
                read_bytes,
                total_bytes,
            } => write!(
                f,
                "read {} of {} MiB of the log ({} %)",
                read_bytes >> 20,
                total_bytes >> 20,
                self.percent()
            ),
            Self::Opened {
                log_min,
                log_max,
                queues,
                recovered_messages,
            } => write!(
                f,
                "store opened: log {log_min}..{log_max}, {queues} queues, {recovered_messages} messages read from the log"
            ),
        }
    }
}

impl<I: Io> Store<I> {
    /// Opens the store, or makes a new one, and starts what works in its background.
    pub async fn open(
        io: I,
        config: StoreConfig,
        mut progress: impl FnMut(Progress),
    ) -> Result<Rc<Self>, StoreError> {
        config.check()?;
        let dir = config.dir.clone();
        let lock = lock(&io, &config).await?;
        let texts = TextFiles::open(io.clone(), &dir.join("config")).await?;
        let abort = Abort::new(io.clone(), &dir);
        let left = abort.left().await?;
        // Until RocketMQ's messages are taken over, a start that is cut short is to know of them.
        if left != Left::OpenByRocketMq {
            abort.mark().await?;
        }
        let (log_dir, mend) = (config.commit_log_dir(), config.skip_damaged);
        let segments = Segments::open(io.clone(), log_dir, config.segment_bytes, mend)
            .await?
            .with_zeros_ahead(config.zeros_ahead_bytes);
        let queue_files = QueueFiles::new(io.clone(), dir.join("consumequeue"));
        // A new log's folder is a name too: without it the first acknowledged messages could go with the power.
        io.sync_dir(&dir)
            .await
            .map_err(StoreError::io("sync", &dir))?;
        let checkpoint = CheckpointFile::new(io.clone(), &dir);
        let memory = |what| move |source| StoreError::Memory { what, source };
        let buffer = LogBuffer::new(config.log_buffer_bytes).map_err(memory("the log buffer"))?;
        let registered = io.register(&buffer);
        let mut queues = ConsumeQueues::new(config.consume_queue_memory_bytes, config.pages)
            .map_err(memory("the ConsumeQueues"))?;

        let journal = Journal::new(io.clone(), dir.join("queuejournal"));
        let files = Files {
            segments: &segments,
            queue_files: &queue_files,
            checkpoint: &checkpoint,
            journal: &journal,
        };
        let now_ms = io.now().unix_ms;
        let mut recovery = Recovery::new(&config, files, &mut queues, now_ms);
        let tail = recovery.run(left, &mut progress).await?;
        if left == Left::OpenByRocketMq {
            abort.mark().await?;
        }
        let was_closed = left == Left::Closed;
        let (reached, messages) = (recovery.reached, recovery.messages);
        let last_store_time_ms = reached.store_time_ms;
        let checkpointed = recovery.checkpointed;
        let acknowledged =
            Acknowledged::open(io.clone(), &dir, config.flush, &segments, tail).await?;
        let index = match config.index {
            Some(shape) => {
                let log = (segments.min_position().unwrap_or(0), tail);
                let mark = recovery.index;
                Some(
                    Index::open(io.clone(), dir.join("index"), shape, mark, was_closed, log)
                        .await?,
                )
            }
            None => None,
        };
        let in_block = (tail - floor(tail)) as usize;
        let block = match in_block {
            0 => Vec::new(),
            _ => segments
                .read(floor(tail), in_block)
                .await?
                .map_or_else(Vec::new, |block| block[..in_block].to_vec()),
        };
        progress(Progress::Opened {
            log_min: segments.min_position().unwrap_or(0),
            log_max: tail,
            queues: queues.all().count(),
            recovered_messages: messages,
        });
        let first_store_time_ms = first_store_time(&segments, tail).await?;
        segments.prepare_first(tail).await?;
        let store = Rc::new(Store {
            cold: BlockCache::new(config.cold_cache_bytes),
            unreadable: Default::default(),
            scrub: Default::default(),
            state: RefCell::new(State {
                log: CommitLog::new(buffer, config.segment_bytes, tail, &block)
                    .with_writes_up_to(config.max_unflushed_bytes),
                queues,
                pending: VecDeque::new(),
                arrivals: Vec::new(),
                committed: tail,
                dispatched: tail,
                last_dispatched: reached.last_record,
                dispatched_messages: 0,
                committed_time_ms: last_store_time_ms,
                last_store_time_ms,
                first_store_time_ms,
                fence: None,
                full: Full::default(),
                closing: false,
            }),
            segments: Rc::new(segments),
            queue_files,
            journal,
            index,
            checkpoint,
            acknowledged,
            texts,
            work: Notify::default(),
            committed: Default::default(),
            room: Default::default(),
            flush_now: Notify::default(),
            save_now: Notify::default(),
            background: Default::default(),
            deleted: RefCell::default(),
            removable: RefCell::default(),
            deletions: Cell::new(0),
            lock: Cell::new(Some(lock)),
            flushed: Cell::new(tail),
            is_flushing: Cell::new(false),
            flush_done: Default::default(),
            checkpointed: Cell::new(checkpointed),
            distrusted: Cell::new(false),
            block_due_ns: Cell::new(0),
            retention: RefCell::new(config.retention.clone()),
            wanted: Default::default(),
            counters: Counters {
                registered: Cell::new(registered),
                ..Counters::default()
            },
            io,
            config,
        });
        store.restore_scrub().await?;
        store.start_background();
        Ok(store)
    }

    fn start_background(self: &Rc<Self>) {
        self.spawn_task("group-commit", group_commit::run(self.clone()));
        self.spawn_task("save-queues", queues::saver::run(self.clone()));
        self.spawn_task("retention", cleaning::run(self.clone()));
        self.spawn_task("index", index::run(self.clone()));
        self.spawn_task("scrub", scrub::run(self.clone()));
        self.spawn_task(
            "flush-regularly",
            group_commit::flush_regularly(self.clone()),
        );
        let (ahead, behind, failed) = (self.clone(), self.clone(), self.clone());
        let tail = move || {
            let state = ahead.state.borrow();
            (!state.closing && state.fence.is_none()).then(|| state.log.tail())
        };
        self.spawn_task(
            "zero-ahead",
            self.segments.clone().keep_ahead(
                tail,
                move || behind.work.notify(),
                move |error| failed.fence_off(error),
            ),
        );
    }
}

async fn first_store_time<I: Io>(
    segments: &Segments<I>,
    tail: u64,
) -> Result<Option<i64>, StoreError> {
    match segments.min_position().filter(|first| *first < tail) {
        Some(first) => store_time_at(segments, first).await,
        None => Ok(None),
    }
}

/// Of the record with which a file of the log begins.
pub(super) async fn store_time_at<I: Io>(
    segments: &Segments<I>,
    start: u64,
) -> Result<Option<i64>, StoreError> {
    let mut window = Window::default();
    let head = window.bytes(segments, start, 8).await?;
    let Some(Next::Record { size }) = head
        .and_then(|head| head.first_chunk())
        .map(|head| Next::read(head, segments.segment_bytes()))
    else {
        return Ok(None);
    };
    let bytes = window.bytes(segments, start, size).await?;
    let record = bytes.and_then(|bytes| Record::decode(bytes, Check::Layout).ok());
    Ok(record.map(|record| record.store_timestamp_ms))
}

/// The file `lock` is held as long as the store is open (RocketMQ: `DefaultMessageStore.start`).
async fn lock<I: Io>(io: &I, config: &StoreConfig) -> Result<I::Lock, StoreError> {
    let dir = config.dir.clone();
    let unwritable = |source| StoreError::NotWritable {
        dir: dir.clone(),
        source,
    };
    io.create_dir_all(&dir).await.map_err(unwritable)?;
    io.lock(&dir.join("lock"), "lock")
        .map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => StoreError::InUse { dir: dir.clone() },
            _ => unwritable(error),
        })
}
