//! Opening a store: what a start finds is gathered, what it does is decided, and only then anything is changed
//! (`recovery/`). The background tasks start last.

use std::rc::Rc;

use super::abort::{Abort, LastShutdown};
use super::append::Appends;
use super::config_files::TextFiles;
use super::doubt::Doubt;
use super::follow::Follow;
use super::gate::Gate;
use super::index::{Index, KeyIndex};
use super::lifecycle::Tasks;
use super::lock::{Locks, lock};
use super::log::ack_watermark::{self, Acknowledged};
use super::log::buffer::{CommitLog, floor};
use super::log::damage::Gap;
use super::log::reader::{NoRecord, store_time_at};
use super::log::segments::Segments;
use super::log::watermarks::Visible;
use super::log::zero_ahead::ZeroAhead;
use super::log::{self, Log};
use super::medium::Medium;
use super::progress::Progress;
use super::queues::checkpoint::CheckpointFile;
use super::queues::files::QueueFiles;
use super::queues::journal::{Coverage, Journal};
use super::queues::memory::ConsumeQueues;
use super::queues::{self, Queues};
use super::recovery::batch_queues::BatchQueues;
use super::recovery::{Files, Recovery, decide, evidence};
use super::retention::cleaner::Cleaner;
use super::scrub::Scrub;
use super::two_slots::TwoSlots;
use super::{Store, StoreConfig, StoreError};
use crate::io::Io;
use crate::mem::LogBuffer;

/// The files and the memory of a store.
struct Parts<I: Io> {
    locks: Locks<I>,
    abort: Abort<I>,
    last_shutdown: LastShutdown,
    texts: Rc<TextFiles<I>>,
    segments: Rc<Segments<I>>,
    queue_files: QueueFiles<I>,
    batch_queues: BatchQueues<I>,
    checkpoint: CheckpointFile<I>,
    journal: Journal<I>,
    notes: Rc<TwoSlots<I>>,
    doubt: Doubt<I>,
    buffer: LogBuffer,
    /// The kernel writes from the buffer without looking its pages up.
    is_registered: bool,
    queues: ConsumeQueues,
}

/// What was found in them.
struct Recovered<I: Io> {
    tail: u64,
    /// The log's records from here on are this broker's.
    ours_from: u64,
    reached: Coverage,
    checkpointed: u64,
    acknowledged: Acknowledged<I>,
    index: Option<Index<I>>,
    /// What was left behind of the log as damaged.
    gaps: Vec<Gap>,
    /// What the log has from the beginning of the block that holds the end of what is visible.
    hot: Vec<u8>,
    first_store_time_ms: Option<i64>,
}

impl<I: Io> Recovered<I> {
    fn visible(&self) -> Visible {
        Visible {
            end: self.reached.position,
            last_record: self.reached.last_record,
            last_ms: self.reached.store_time_ms,
            first_ms: self.first_store_time_ms,
        }
    }
}

impl<I: Io> Store<I> {
    /// Opens the store, or makes a new one, and starts its background tasks.
    pub async fn open(
        io: I,
        config: StoreConfig,
        progress: impl FnMut(Progress),
    ) -> Result<Rc<Self>, StoreError> {
        Self::open_on(Medium::new(io), config, progress).await
    }

    /// The same on a medium that others write through as well.
    pub async fn open_on(
        io: Medium<I>,
        config: StoreConfig,
        mut progress: impl FnMut(Progress),
    ) -> Result<Rc<Self>, StoreError> {
        config.check()?;
        let config = Rc::new(config);
        let mut parts = Parts::open(&io, &config).await?;
        let recovered = parts.recover(&io, &config, &mut progress).await?;
        let store = Rc::new(Self::assemble(io, config, parts, recovered).await?);
        store.observe_fence();
        store.cleaner.look_at_space().await;
        store.start_background();
        Ok(store)
    }

    async fn assemble(
        io: Medium<I>,
        config: Rc<StoreConfig>,
        parts: Parts<I>,
        recovered: Recovered<I>,
    ) -> Result<Self, StoreError> {
        let gate = Rc::new(Gate::new(io.fence(), parts.segments.clean_now.clone()));
        let log = log::Parts {
            io: io.clone(),
            config: config.clone(),
            gate: gate.clone(),
            zero_ahead: ZeroAhead::new(parts.segments.clone(), config.zeros_ahead_bytes),
            segments: parts.segments,
            buffer: log_buffer(&config, parts.buffer, &recovered),
            visible: recovered.visible(),
            acknowledged: recovered.acknowledged,
            ours_from: recovered.ours_from,
        };
        log.zero_ahead.prepare_first(recovered.tail).await?;
        let log = Rc::new(Log::new(log));
        let index = recovered.index;
        let index = index.map(|index| Rc::new(KeyIndex::new(index, log.clone(), gate.clone())));
        let queues = Rc::new(Queues::new(queues::Parts {
            io: io.clone(),
            config: config.clone(),
            log: log.clone(),
            gate: gate.clone(),
            index: index.clone(),
            memory: parts.queues,
            files: parts.queue_files,
            journal: parts.journal,
            checkpoint: parts.checkpoint,
            checkpointed: recovered.checkpointed,
        }));
        let appends = Appends::new(config.clone(), log.clone(), queues.clone(), gate.clone());
        let follow = Follow::new(config.clone(), log.clone(), queues.clone(), gate.clone());
        let cleaner = Cleaner::new(&io, &config, &log, &queues, &gate);
        let scrub = Scrub::new(&io, &config, &gate, &log, &queues, &parts.texts);
        scrub.restore().await?;
        if config.follows {
            note_gaps(&log, &recovered.gaps);
        }
        Ok(Self {
            scrub: Rc::new(scrub),
            appends: Rc::new(appends),
            follow: Rc::new(follow),
            cleaner: Rc::new(cleaner),
            texts: parts.texts,
            doubt: Rc::new(parts.doubt),
            tasks: Rc::new(Tasks::new(parts.locks)),
            is_registered: parts.is_registered,
            io,
            config,
            gate,
            log,
            queues,
            index,
        })
    }
}

/// Other brokers have it: it is repaired, and this one is not elected before one that is whole.
fn note_gaps<I: Io>(log: &Log<I>, gaps: &[Gap]) {
    for gap in gaps.iter().filter(|gap| gap.from < gap.to) {
        let reason = "left behind by --skip-damaged".to_owned();
        log.note_lost(gap.from, gap.to - gap.from, reason, None);
    }
}

fn log_buffer<I: Io>(
    config: &StoreConfig,
    buffer: LogBuffer,
    recovered: &Recovered<I>,
) -> CommitLog {
    let log = CommitLog::new(buffer, config.segment_bytes, recovered.tail, &recovered.hot);
    log.with_writes_up_to(config.max_unflushed_bytes)
}

impl<I: Io> Parts<I> {
    async fn open(io: &Medium<I>, config: &StoreConfig) -> Result<Self, StoreError> {
        let dir = &config.dir;
        let locks = lock(io, config).await?;
        let texts = Rc::new(TextFiles::open(io.clone(), &dir.join("config")).await?);
        let abort = Abort::new(io.clone(), dir);
        let last_shutdown = abort.last_shutdown().await?;
        let (log_dir, mend) = (config.commit_log_dir(), config.skip_damaged);
        let segments = Segments::open(io.clone(), log_dir, config.segment_bytes, mend).await?;
        // A new log's folder is a name too: without it the first acknowledged messages could go with the power.
        io.sync_dir(dir).await?;
        let memory = |what| move |source| StoreError::Memory { what, source };
        let buffer = io.log_buffer(config.log_buffer_bytes);
        let buffer = buffer.map_err(memory("the log buffer"))?;
        let queues = ConsumeQueues::new(config.consume_queue_memory_bytes, config.pages)
            .map_err(memory("the ConsumeQueues"))?;
        Ok(Self {
            locks,
            abort,
            last_shutdown,
            texts,
            segments: Rc::new(segments),
            queue_files: QueueFiles::new(io.clone(), dir.join("consumequeue")),
            batch_queues: BatchQueues::new(io.clone(), dir),
            checkpoint: CheckpointFile::new(io.clone(), dir),
            journal: Journal::new(io.clone(), dir.join("queuejournal")),
            notes: Rc::new(ack_watermark::slots(io.clone(), dir)),
            doubt: Doubt::open(io.clone(), dir, config.follows).await?,
            is_registered: buffer.is_registered(),
            buffer,
            queues,
        })
    }

    async fn recover(
        &mut self,
        io: &Medium<I>,
        config: &StoreConfig,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Recovered<I>, StoreError> {
        let files = Files {
            segments: &self.segments,
            queue_files: &self.queue_files,
            batch_queues: &self.batch_queues,
            checkpoint: &self.checkpoint,
            journal: &self.journal,
            notes: &self.notes,
            doubt: &self.doubt,
        };
        let evidence = evidence::gather(io, config, self.last_shutdown, &files).await?;
        let plan = decide::decide(&evidence);
        // Until RocketMQ's messages are taken over, a start that is cut short must find its mark again.
        if self.last_shutdown != LastShutdown::UncleanByRocketMq {
            self.abort.mark().await?;
        }
        let mut recovery = Recovery::new(config, files, &mut self.queues, &plan, evidence.note);
        let tail = recovery.carry_out(&plan, progress).await?;
        let (reached, mark) = (recovery.reached, recovery.index);
        let (recovered_messages, ours_from) = (recovery.messages, recovery.ours_from);
        let (note, gaps, checkpointed) = (recovery.note, recovery.gaps, recovery.checkpointed);
        if self.last_shutdown == LastShutdown::UncleanByRocketMq {
            self.abort.mark().await?;
        }
        let (dir, log) = (&config.dir, &self.segments);
        let notes = self.notes.clone();
        let acknowledged =
            Acknowledged::open(io.clone(), dir, notes, config.flush, log, tail, note).await?;
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
            ours_from: ours_from.unwrap_or(tail),
            reached,
            checkpointed,
            acknowledged,
            index,
            gaps,
            hot: hot(log, floor(reached.position), tail).await?,
            first_store_time_ms: first_store_time(log, tail).await?,
        })
    }
}

/// The log from a block on, up to its end.
async fn hot<I: Io>(segments: &Segments<I>, from: u64, tail: u64) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity((tail - from) as usize);
    let mut position = from;
    while position < tail {
        let file_end = segments.start_of(position) + segments.segment_bytes();
        let len = (tail.min(file_end) - position) as usize;
        let read = segments.read(position, len).await?;
        let read = read.ok_or_else(|| NoRecord::Head.at(position))?;
        bytes.extend_from_slice(&read[..len]);
        position += len as u64;
    }
    Ok(bytes)
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
