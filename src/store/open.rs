//! Opening a store: what a start finds is gathered, what it does is decided, and only then anything is changed
//! (`recovery/`). The background tasks start last.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::abort::{Abort, Left};
use super::acknowledged::Acknowledged;
use super::block_cache::BlockCache;
use super::commit_log::{CommitLog, floor};
use super::config_files::TextFiles;
use super::index::{self, Index};
use super::lock::{Locks, lock};
use super::log::zero_ahead::ZeroAhead;
use super::medium::{Fence, Medium};
use super::progress::Progress;
use super::queues::checkpoint::CheckpointFile;
use super::queues::files::QueueFiles;
use super::queues::journal::{Journal, Reached};
use super::queues::memory::ConsumeQueues;
use super::recovery::{Files, Recovery, decide, evidence, store_time_at};
use super::segments::Segments;
use super::{
    Counters, Full, State, Store, StoreConfig, StoreError, cleaning, group_commit, queues, scrub,
};
use crate::io::{Io, Notify};
use crate::mem::LogBuffer;

/// The files and the memory of a store.
struct Parts<I: Io> {
    locks: Locks<I>,
    abort: Abort<I>,
    left: Left,
    texts: TextFiles<I>,
    segments: Rc<Segments<I>>,
    queue_files: QueueFiles<I>,
    checkpoint: CheckpointFile<I>,
    journal: Journal<I>,
    buffer: LogBuffer,
    /// The kernel writes from the buffer without looking its pages up.
    is_registered: bool,
    queues: ConsumeQueues,
}

/// What was found in them.
struct Recovered<I: Io> {
    tail: u64,
    reached: Reached,
    checkpointed: u64,
    acknowledged: Acknowledged<I>,
    index: Option<Index<I>>,
    /// What the log has of the tail's block.
    tail_block: Vec<u8>,
    first_store_time_ms: Option<i64>,
}

impl<I: Io> Store<I> {
    /// Opens the store, or makes a new one, and starts its background tasks.
    pub async fn open(
        io: I,
        config: StoreConfig,
        mut progress: impl FnMut(Progress),
    ) -> Result<Rc<Self>, StoreError> {
        config.check()?;
        let io = Medium::new(io);
        let mut parts = Parts::open(&io, &config).await?;
        let recovered = parts.recover(&io, &config, &mut progress).await?;
        let zero_ahead = ZeroAhead::new(parts.segments.clone(), config.zeros_ahead_bytes);
        zero_ahead.prepare_first(recovered.tail).await?;
        let assembled = Self::assemble(io, config, parts, recovered, zero_ahead);
        let store = Rc::new(assembled);
        store.restore_scrub().await?;
        store.observe_fence();
        store.look_at_space().await;
        store.start_background();
        Ok(store)
    }

    fn assemble(
        io: Medium<I>,
        config: StoreConfig,
        parts: Parts<Medium<I>>,
        recovered: Recovered<Medium<I>>,
        zero_ahead: ZeroAhead<Medium<I>>,
    ) -> Self {
        let state = state(&config, io.fence(), parts.buffer, parts.queues, &recovered);
        Store {
            cold: BlockCache::new(config.cold_cache_bytes),
            unreadable: Default::default(),
            scrub: Default::default(),
            state: RefCell::new(state),
            segments: parts.segments,
            zero_ahead: Rc::new(zero_ahead),
            queue_files: parts.queue_files,
            journal: parts.journal,
            index: recovered.index,
            checkpoint: parts.checkpoint,
            acknowledged: recovered.acknowledged,
            texts: parts.texts,
            work: Notify::default(),
            committed: Default::default(),
            room: Default::default(),
            flush_now: Notify::default(),
            save_now: Notify::default(),
            background: Default::default(),
            deleted: RefCell::default(),
            removable: RefCell::default(),
            deletions: Cell::new(0),
            locks: Cell::new(parts.locks),
            disk_space: Cell::default(),
            flushed: Cell::new(recovered.tail),
            has_shortage: Cell::new(false),
            is_flushing: Cell::new(false),
            flush_done: Default::default(),
            checkpointed: Cell::new(recovered.checkpointed),
            repairs: Default::default(),
            cadence: Cell::default(),
            retention: RefCell::new(config.retention.clone()),
            wanted: Default::default(),
            counters: Counters {
                registered: Cell::new(parts.is_registered),
                ..Counters::default()
            },
            io,
            config,
        }
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
        let (ahead, behind) = (self.clone(), self.clone());
        let tail = move || {
            let state = ahead.state.borrow();
            (!state.closing && !state.fence.is_set()).then(|| state.log.tail())
        };
        let moved = move || behind.work.notify();
        let ahead = self.zero_ahead.clone().keep(tail, moved);
        self.spawn_task("zero-ahead", ahead);
    }
}

fn state<I: Io>(
    config: &StoreConfig,
    fence: Rc<Fence>,
    buffer: LogBuffer,
    queues: ConsumeQueues,
    recovered: &Recovered<I>,
) -> State {
    let Recovered { tail, reached, .. } = *recovered;
    let log = CommitLog::new(buffer, config.segment_bytes, tail, &recovered.tail_block);
    State {
        log: log.with_writes_up_to(config.max_unflushed_bytes),
        queues,
        pending: VecDeque::new(),
        arrivals: Vec::new(),
        committed: tail,
        dispatched: tail,
        last_dispatched: reached.last_record,
        dispatched_messages: 0,
        committed_time_ms: reached.store_time_ms,
        last_store_time_ms: reached.store_time_ms,
        first_store_time_ms: recovered.first_store_time_ms,
        fence,
        full: Full::default(),
        closing: false,
    }
}

impl<I: Io> Parts<I> {
    async fn open(io: &I, config: &StoreConfig) -> Result<Self, StoreError> {
        let dir = &config.dir;
        let locks = lock(io, config).await?;
        let texts = TextFiles::open(io.clone(), &dir.join("config")).await?;
        let abort = Abort::new(io.clone(), dir);
        let left = abort.left().await?;
        let (log_dir, mend) = (config.commit_log_dir(), config.skip_damaged);
        let segments = Segments::open(io.clone(), log_dir, config.segment_bytes, mend).await?;
        // A new log's folder is a name too: without it the first acknowledged messages could go with the power.
        let synced = io.sync_dir(dir).await;
        synced.map_err(StoreError::io("sync", dir))?;
        let memory = |what| move |source| StoreError::Memory { what, source };
        let buffer = LogBuffer::new(config.log_buffer_bytes).map_err(memory("the log buffer"))?;
        let queues = ConsumeQueues::new(config.consume_queue_memory_bytes, config.pages)
            .map_err(memory("the ConsumeQueues"))?;
        Ok(Self {
            locks,
            abort,
            left,
            texts,
            segments: Rc::new(segments),
            queue_files: QueueFiles::new(io.clone(), dir.join("consumequeue")),
            checkpoint: CheckpointFile::new(io.clone(), dir),
            journal: Journal::new(io.clone(), dir.join("queuejournal")),
            is_registered: io.register(&buffer),
            buffer,
            queues,
        })
    }

    async fn recover(
        &mut self,
        io: &I,
        config: &StoreConfig,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Recovered<I>, StoreError> {
        let files = Files {
            segments: &self.segments,
            queue_files: &self.queue_files,
            checkpoint: &self.checkpoint,
            journal: &self.journal,
        };
        let evidence = evidence::gather(io, config, self.left, &files).await?;
        let plan = decide::decide(&evidence);
        // Until RocketMQ's messages are taken over, a start that is cut short must find its mark again.
        if self.left != Left::OpenByRocketMq {
            self.abort.mark().await?;
        }
        let mut recovery = Recovery::new(config, files, &mut self.queues, &plan);
        let tail = recovery.carry_out(&plan, progress).await?;
        let (reached, checkpointed, mark) =
            (recovery.reached, recovery.checkpointed, recovery.index);
        let recovered_messages = recovery.messages;
        if self.left == Left::OpenByRocketMq {
            self.abort.mark().await?;
        }
        let (dir, log) = (&config.dir, &self.segments);
        let note = evidence.note;
        let acknowledged =
            Acknowledged::open(io.clone(), dir, config.flush, log, tail, note).await?;
        let log_min = log.min_position().unwrap_or(0);
        let index = match config.index {
            Some(shape) => {
                let (dir, range) = (dir.join("index"), (log_min, tail));
                let opened = Index::open(io.clone(), dir, shape, mark, plan.was_closed, range);
                Some(opened.await?)
            }
            None => None,
        };
        progress(Progress::Opened {
            log_min,
            log_max: tail,
            queues: self.queues.all().count(),
            recovered_messages,
        });
        Ok(Recovered {
            tail,
            reached,
            checkpointed,
            acknowledged,
            index,
            tail_block: tail_block(log, tail).await?,
            first_store_time_ms: first_store_time(log, tail).await?,
        })
    }
}

async fn tail_block<I: Io>(segments: &Segments<I>, tail: u64) -> Result<Vec<u8>, StoreError> {
    let in_block = (tail - floor(tail)) as usize;
    if in_block == 0 {
        return Ok(Vec::new());
    }
    let block = segments.read(floor(tail), in_block).await?;
    Ok(block.map_or_else(Vec::new, |block| block[..in_block].to_vec()))
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
