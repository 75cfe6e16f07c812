//! Opening a store: finding the end of the log and bringing the queues to agree with it.
//!
//! The checkpoint says up to where the queues' files are complete; from there on the log is read, each record checked to
//! be the successor of the one before (its own position, size, magic, body CRC, CRC over all of it), and its entry made
//! again where the files lack it. The first that is not ends the log. After a crash whatever lies behind it is wiped:
//! it has the right positions and CRCs, and a later restart would take it for ours.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use super::checkpoint::{Checkpoint, CheckpointFile};
use super::cold::BlockCache;
use super::commit_log::{CommitLog, ceil, floor};
use super::config::SCHEDULE_TOPIC;
use super::consume_queue::{ConsumeQueues, Entry};
use super::queue_files::QueueFiles;
use super::segments::Segments;
use super::text_files::TextFiles;
use super::{Counters, Flush, State, Store, StoreConfig, StoreError, group_commit, saving};
use crate::io::{Durability, File, Io, Notify, OpenOptions};
use crate::mem::LogBuffer;
use crate::message::{BLANK_MAGIC, Check, Record, properties, tags_code};

/// Log read at a time.
const READ_BYTES: usize = 4 << 20;

/// How far the opening of a store has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The store was not closed; its log is read from this position on.
    Recovering { from: u64 },
    /// The queues' files do not fit the log: they are made again from all of it.
    Rebuilding,
    /// So much has been read.
    Read { bytes: u64 },
    Opened {
        log_min: u64,
        log_max: u64,
        queues: usize,
        recovered_messages: u64,
    },
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
            Self::Read { bytes } => write!(f, "read {} MiB of the log", bytes >> 20),
            Self::Opened {
                log_min,
                log_max,
                queues,
                recovered_messages,
            } => write!(
                f,
                "store opened: log {log_min}..{log_max}, {queues} queues, {recovered_messages} messages since the checkpoint"
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
        let texts = TextFiles::open(io.clone(), &dir.join("config")).await?;
        let abort = dir.join("abort");
        let was_closed = io.open(&abort, OpenOptions::default()).await.is_err();
        mark_open(&io, &config).await?;
        let segments =
            Segments::open(io.clone(), dir.join("commitlog"), config.segment_bytes).await?;
        let queue_files = QueueFiles::new(io.clone(), dir.join("consumequeue"));
        let checkpoint = CheckpointFile::new(io.clone(), &dir);
        let memory = |what| move |source| StoreError::Memory { what, source };
        let buffer = LogBuffer::new(config.log_buffer_bytes).map_err(memory("the log buffer"))?;
        let registered = io.register(&buffer);
        let queues = ConsumeQueues::new(config.consume_queue_memory_bytes, config.pages)
            .map_err(memory("the ConsumeQueues"))?;

        let mut recovery = Recovery {
            config: &config,
            segments: &segments,
            queue_files: &queue_files,
            queues,
            last_store_time_ms: 0,
            messages: 0,
        };
        let tail = recovery
            .run(&checkpoint.load().await?, was_closed, &mut progress)
            .await?;
        if !was_closed {
            recovery.wipe_behind(tail).await?;
        }
        let block = match tail.is_multiple_of(config.segment_bytes) {
            true => Vec::new(),
            false => segments
                .read(floor(tail), (tail - floor(tail)) as usize)
                .await?
                .map_or_else(Vec::new, |block| {
                    block[..(tail - floor(tail)) as usize].to_vec()
                }),
        };
        let (queues, last_store_time_ms, messages) = (
            recovery.queues,
            recovery.last_store_time_ms,
            recovery.messages,
        );
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
            state: RefCell::new(State {
                log: CommitLog::new(buffer, config.segment_bytes, tail, &block),
                queues,
                pending: VecDeque::new(),
                arrivals: Vec::new(),
                committed: tail,
                committed_time_ms: last_store_time_ms,
                last_store_time_ms,
                first_store_time_ms,
                fence: None,
                closing: false,
            }),
            segments: Rc::new(segments),
            queue_files,
            checkpoint,
            texts,
            work: Notify::default(),
            committed: Default::default(),
            room: Default::default(),
            flush_now: Notify::default(),
            save_now: Notify::default(),
            background: Default::default(),
            flushed: Cell::new(tail),
            counters: Counters {
                registered: Cell::new(registered),
                ..Counters::default()
            },
            io,
            config,
        });
        store.start_background();
        Ok(store)
    }

    fn start_background(self: &Rc<Self>) {
        self.spawn_task(group_commit::run(self.clone()));
        self.spawn_task(saving::run(self.clone()));
        if self.config.flush == Flush::Async {
            self.spawn_task(group_commit::flush_regularly(self.clone()));
        }
        let (ahead, behind) = (self.clone(), self.clone());
        let tail = move || {
            let state = ahead.state.borrow();
            (!state.closing && state.fence.is_none()).then(|| state.log.tail())
        };
        self.spawn_task(
            self.segments
                .clone()
                .keep_ahead(tail, move || behind.work.notify()),
        );
    }
}

async fn first_store_time<I: Io>(
    segments: &Segments<I>,
    tail: u64,
) -> Result<Option<i64>, StoreError> {
    let Some(first) = segments.min_position().filter(|first| *first < tail) else {
        return Ok(None);
    };
    let mut window = Window::default();
    let size = match window.bytes(segments, first, 4).await? {
        Some([a, b, c, d]) => u32::from_be_bytes([*a, *b, *c, *d]) as usize,
        _ => return Ok(None),
    };
    let bytes = window.bytes(segments, first, size).await?;
    let record = bytes.and_then(|bytes| Record::decode(bytes, Check::Layout).ok());
    Ok(record.map(|record| record.store_timestamp_ms))
}

/// The file `abort` says that the store is open, or was not closed; RocketMQ writes its process id into it.
async fn mark_open<I: Io>(io: &I, config: &StoreConfig) -> Result<(), StoreError> {
    let abort = config.dir.join("abort");
    let options = OpenOptions {
        write: true,
        create: true,
        direct: false,
    };
    let unwritable = |source| StoreError::NotWritable {
        dir: config.dir.clone(),
        source,
    };
    let file = io.open(&abort, options).await.map_err(unwritable)?;
    let text = std::process::id().to_string().into_bytes();
    file.write_at(text, 0, Durability::Synced)
        .await
        .0
        .map_err(unwritable)?;
    io.sync_dir(&config.dir)
        .await
        .map_err(StoreError::io("sync", &config.dir))
}

struct Recovery<'a, I: Io> {
    config: &'a StoreConfig,
    segments: &'a Segments<I>,
    queue_files: &'a QueueFiles<I>,
    queues: ConsumeQueues,
    last_store_time_ms: i64,
    messages: u64,
}

/// What the queues' files lack or have too much of, so that they cannot be continued.
struct Mismatch;

impl<I: Io> Recovery<'_, I> {
    /// Restores the queues and returns the end of the log.
    async fn run(
        &mut self,
        checkpoint: &Checkpoint,
        was_closed: bool,
        progress: &mut impl FnMut(Progress),
    ) -> Result<u64, StoreError> {
        let Some(log_min) = self.segments.min_position() else {
            return Ok(0);
        };
        let from = checkpoint
            .saved_position
            .filter(|position| *position >= log_min);
        if !was_closed {
            progress(Progress::Recovering {
                from: from.unwrap_or(log_min),
            });
        }
        if let Some(from) = from {
            self.last_store_time_ms = checkpoint.store_time_ms;
            self.restore_queues(log_min, from).await?;
            // Messages before the checkpoint without a single queue: the files have been taken away.
            let is_bare = from > log_min && self.queues.all().next().is_none();
            if !is_bare && let Ok(tail) = self.read_log(from, progress).await? {
                return Ok(tail);
            }
        }
        progress(Progress::Rebuilding);
        self.queues = ConsumeQueues::new(self.config.consume_queue_memory_bytes, self.config.pages)
            .map_err(|source| StoreError::Memory {
                what: "the ConsumeQueues",
                source,
            })?;
        self.remove_queue_files().await?;
        // All of the log is older than the checkpoint, and has to be taken all the same.
        self.last_store_time_ms = 0;
        self.messages = 0;
        match self.read_log(log_min, progress).await? {
            Ok(tail) => Ok(tail),
            Err(Mismatch) => unreachable!("queues that are made anew take what comes"),
        }
    }

    /// From their files, without what is ahead of the checkpoint: that is read from the log.
    async fn restore_queues(&mut self, log_min: u64, saved_to: u64) -> Result<(), StoreError> {
        for found in self.queue_files.find_all().await? {
            let (topic, queue_id) = (found.topic.as_str(), found.queue_id);
            let mut max = found.max;
            while max > found.min {
                match self.entry(topic, queue_id, max - 1).await? {
                    Some(entry) if entry.end() <= saved_to => break,
                    _ => max -= 1,
                }
            }
            let (mut low, mut high) = (found.min, max);
            while low < high {
                let middle = low.midpoint(high);
                match self.entry(topic, queue_id, middle).await? {
                    Some(entry) if entry.physical_offset >= log_min => high = middle,
                    _ => low = middle + 1,
                }
            }
            let queue = self.queues.find_or_create(topic, queue_id);
            self.queues.restore(queue, low, max);
        }
        Ok(())
    }

    async fn entry(
        &self,
        topic: &str,
        queue_id: u32,
        offset: u64,
    ) -> Result<Option<Entry>, StoreError> {
        Ok(self
            .queue_files
            .load(topic, queue_id, offset, 1)
            .await?
            .first()
            .copied())
    }

    async fn remove_queue_files(&self) -> Result<(), StoreError> {
        for found in self.queue_files.find_all().await? {
            self.queue_files
                .remove(&found.topic, &[found.queue_id])
                .await?;
        }
        Ok(())
    }

    /// Reads records from `position` to the end of the log, which it returns.
    async fn read_log(
        &mut self,
        mut position: u64,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Result<u64, Mismatch>, StoreError> {
        let mut read_bytes: u64 = 0;
        let mut window = Window::default();
        loop {
            let rest = self.config.segment_bytes - position % self.config.segment_bytes;
            let Some(head) = window
                .bytes(self.segments, position, 8.min(rest as usize))
                .await?
            else {
                return Ok(Ok(position));
            };
            let Some(head) = head.first_chunk::<8>() else {
                return Ok(Ok(position));
            };
            let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let magic = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
            if magic == BLANK_MAGIC && size as u64 == rest {
                position += rest;
                continue;
            }
            if size < 8 || size as u64 > rest || size > self.config.max_record_bytes() {
                return Ok(Ok(position));
            }
            let Some(bytes) = window.bytes(self.segments, position, size).await? else {
                return Ok(Ok(position));
            };
            let Ok(record) = Record::decode(bytes, Check::Crc) else {
                return Ok(Ok(position));
            };
            if record.physical_offset != position
                || record.store_timestamp_ms < self.last_store_time_ms
            {
                return Ok(Ok(position));
            }
            let entry = Entry {
                physical_offset: position,
                size: size as u32,
                tags_code: entry_tags(&record, &self.config.delay_levels_ms),
            };
            self.last_store_time_ms = record.store_timestamp_ms;
            let (queue_offset, store_time_ms) = (record.queue_offset, record.store_timestamp_ms);
            let queue = self.queues.find_or_create(record.topic, record.queue_id);
            let bounds = self.queues.queue(queue).bounds;
            if queue_offset == bounds.max || bounds.max == 0 {
                if bounds.max == 0 && queue_offset > 0 {
                    // Its earlier messages are gone with their log files.
                    self.queues.restore(queue, queue_offset, queue_offset);
                }
                self.make_room().await?;
                self.queues.push(queue, &entry);
                let restored = self.queues.queue_mut(queue);
                restored.bounds.next = restored.bounds.max;
                restored.last_store_time_ms = store_time_ms;
                self.messages += 1;
            } else {
                return Ok(Err(Mismatch));
            }
            position += size as u64;
            read_bytes += size as u64;
            if read_bytes / (256 << 20) != (read_bytes - size as u64) / (256 << 20) {
                progress(Progress::Read { bytes: read_bytes });
            }
        }
    }

    /// Saves what has been restored when memory gets short.
    async fn make_room(&mut self) -> Result<(), StoreError> {
        if self.queues.free_chunks() > 16 {
            return Ok(());
        }
        while let Some((queue, first, entries)) = self.queues.next_unsaved() {
            let (topic, queue_id) = (
                self.queues.topic_of(queue).to_owned(),
                self.queues.queue(queue).queue_id,
            );
            self.queue_files
                .save(&topic, queue_id, first, &entries)
                .await?;
            self.queues.saved(
                queue,
                first + (entries.len() / super::consume_queue::ENTRY_BYTES) as u64,
            );
        }
        let wanted = self.queues.capacity_chunks() / 4;
        self.queues.evict(wanted);
        Ok(())
    }

    /// Makes zeros of everything behind the end of the log.
    async fn wipe_behind(&self, tail: u64) -> Result<(), StoreError> {
        let segment_bytes = self.config.segment_bytes;
        let segment = self.segments.start_of(tail);
        let after = if tail == segment {
            segment
        } else {
            segment + segment_bytes
        };
        self.segments.remove_from(after).await?;
        if tail == segment {
            return Ok(());
        }
        let mut position = ceil(tail);
        while position < segment + segment_bytes {
            let len = ((segment + segment_bytes - position) as usize).min(1 << 20);
            let Some(bytes) = self.segments.read(position, len).await? else {
                return Ok(());
            };
            if bytes[..len].iter().any(|byte| *byte != 0) {
                self.segments.zero(position, len as u64).await?;
            }
            position += len as u64;
        }
        Ok(())
    }
}

/// What the queue's entry of a record holds besides its place.
fn entry_tags(record: &Record<'_>, delay_levels_ms: &[u64]) -> i64 {
    if record.topic == SCHEDULE_TOPIC {
        let delay_ms = delay_levels_ms
            .get(record.queue_id as usize)
            .copied()
            .unwrap_or(UNKNOWN_LEVEL_MS);
        return record.store_timestamp_ms.saturating_add(delay_ms as i64);
    }
    properties::find(record.properties, properties::TAGS).map_or(0, tags_code)
}

/// RocketMQ's delay of a level that it does not know.
const UNKNOWN_LEVEL_MS: u64 = 1000;

/// A stretch of the log in memory.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// `len` bytes at a position, all in one segment; `None` if the log has no file for them.
    async fn bytes<I: Io>(
        &mut self,
        segments: &Segments<I>,
        position: u64,
        len: usize,
    ) -> Result<Option<&[u8]>, StoreError> {
        let is_here =
            self.start <= position && position + len as u64 <= self.start + self.bytes.len() as u64;
        if !is_here {
            let start = floor(position);
            let wanted = ((position - start) as usize + len).max(READ_BYTES);
            let Some(block) = segments.read(start, wanted).await? else {
                return Ok(None);
            };
            let in_segment = (segments.start_of(start) + segments.segment_bytes() - start) as usize;
            self.start = start;
            self.bytes.clear();
            self.bytes
                .extend_from_slice(&block[..wanted.min(in_segment).min(block.len())]);
        }
        let from = (position - self.start) as usize;
        Ok(self.bytes.get(from..from + len))
    }
}
