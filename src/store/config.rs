//! The settings of a shard's store.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::index::layout::Shape as IndexShape;
use super::log::reader::MAX_RECORD_BYTES;
use super::queues::entry::{MIN_BATCHED_BYTES, MIN_FOREIGN_RECORD_BYTES};
use super::queues::memory::{CHUNK_BYTES, chunks_for, chunks_of};
use super::{Retention, StoreError};
use crate::mem::{BLOCK_BYTES, Pages};
use crate::message::CRC_PROPERTY_BYTES;
use crate::message::batch::MAX_INNER_MESSAGES;

/// How durable a message is when its send is acknowledged (`flushDiskType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// On the device, its cache flushed.
    Sync,
    /// Written to the device; flushed within `flush_interval_ms`.
    Async,
}

/// How a store takes up its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// As it was left.
    #[default]
    AsIs,
    /// Without what stands behind this position.
    CutAt(u64),
    /// Nothing is in it yet, and it begins here: the master has removed what was before.
    BeginAt(u64),
}

/// The topic of the delay queues; queue n holds the messages of level n + 1.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";

#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub dir: PathBuf,
    /// For the log on a device of its own (`storePathCommitLog`); otherwise `commitlog` in `dir`.
    pub commit_log_dir: Option<PathBuf>,
    pub flush: Flush,
    /// Size of a CommitLog file (`mappedFileSizeCommitLog`).
    pub segment_bytes: u64,
    /// The recent log in memory: what waits for the disk, and what consumers read without it.
    pub log_buffer_bytes: usize,
    /// Largest body, or all bodies of a batch (`maxMessageSize`).
    pub max_message_bytes: usize,
    /// Longest time from a write to its flush in async mode (`flushIntervalCommitLog`).
    pub flush_interval_ms: u64,
    /// Bound of what is written and not flushed in async mode, and by it of what a start after a crash has to wipe.
    pub max_unflushed_bytes: u64,
    /// The log's files are written with zeros so far ahead of it, a multiple of a block, at most to the end of the next one.
    pub zeros_ahead_bytes: u64,
    pub retention: Retention,
    /// ConsumeQueue entries kept in memory; older ones are read from the ConsumeQueue files.
    pub consume_queue_memory_bytes: usize,
    pub pages: Pages,
    /// How large the journal of queue entries grows before the queue files are saved and it begins anew.
    pub queue_journal_bytes: u64,
    /// Log blocks of 1 MiB kept for consumers that are behind the log buffer.
    pub cold_cache_bytes: usize,
    /// Delays of the levels 1, 2, ...: entries of [`SCHEDULE_TOPIC`] hold the time when their message is due.
    pub delay_levels_ms: Vec<u64>,
    /// How large the files of the key index are (`maxHashSlotNum`, `maxIndexNum`). None: messages are not indexed
    /// (`messageIndexEnable`).
    pub index: Option<IndexShape>,
    /// How fast the old part of the log is read through, to find damage before a consumer does. 0: not at all.
    pub scrub_bytes_per_s: u64,
    /// The log is a copy of a master's: messages are not appended, but its bytes.
    pub follows: bool,
    /// What becomes of the log that is found.
    pub resume: Resume,
    /// A damaged log is opened without what cannot be read; otherwise the start is refused (`damage.rs`).
    pub skip_damaged: bool,
    /// Goes into every record, and by it into message ids.
    pub store_host: SocketAddr,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("store"),
            commit_log_dir: None,
            flush: Flush::Async,
            segment_bytes: 1 << 30,
            log_buffer_bytes: 64 << 20,
            max_message_bytes: 4 << 20,
            flush_interval_ms: 500,
            // Half a second of the fastest disks; slower ones never come near.
            max_unflushed_bytes: 256 << 20,
            zeros_ahead_bytes: 128 << 20,
            retention: Retention::default(),
            // One chunk of 1280 bytes for each of 100,000 queues is half of it.
            consume_queue_memory_bytes: 256 << 20,
            pages: Pages::HugeTlb,
            // Read again within a fraction of a second.
            queue_journal_bytes: 64 << 20,
            cold_cache_bytes: 32 << 20,
            delay_levels_ms: Vec::new(),
            index: Some(IndexShape {
                slots: 5_000_000,
                entries: 20_000_000,
            }),
            // A TiB within three days; a read of 256 KiB sixteen times a second does not show beside the log's writes.
            scrub_bytes_per_s: 4 << 20,
            follows: false,
            resume: Resume::AsIs,
            skip_damaged: false,
            store_host: SocketAddr::from((Ipv4Addr::LOCALHOST, 10911)),
        }
    }
}

/// Topic, properties and the rest of a record beside the body (RocketMQ: `MessageExtEncoder`).
const BESIDE_BODY_BYTES: usize = 64 << 10;

impl StoreConfig {
    pub fn commit_log_dir(&self) -> PathBuf {
        let usual = || self.dir.join("commitlog");
        self.commit_log_dir.clone().unwrap_or_else(usual)
    }

    /// Largest unit of append: a record, or the records of a batch.
    pub(super) fn max_unit_bytes(&self) -> usize {
        self.max_message_bytes + BESIDE_BODY_BYTES
    }

    /// Largest record that is accepted: it has to fit a segment with the blank record that ends it.
    pub(super) fn max_record_bytes(&self) -> usize {
        self.max_unit_bytes()
            .min(self.segment_bytes as usize - super::log::buffer::BLANK_BYTES)
    }

    /// Largest batch in the log. The CRCs of its records do not count for its size, as with RocketMQ.
    pub(super) fn max_batch_bytes(&self) -> usize {
        let unit = self.max_unit_bytes();
        let crcs = unit / MIN_FOREIGN_RECORD_BYTES as usize * CRC_PROPERTY_BYTES;
        let segment = self.segment_bytes as usize - super::log::buffer::BLANK_BYTES;
        // See `check_memory`.
        let buffer = self.log_buffer_bytes / 2 - 2 * BLOCK_BYTES;
        (unit + crcs).min(segment).min(buffer)
    }

    /// Chunks that the entries of the largest unit may need, its queue having none or a full one.
    pub(super) fn chunks_for_unit(&self) -> usize {
        let most = self.max_message_bytes / MIN_BATCHED_BYTES;
        let most = u16::try_from(most).unwrap_or(u16::MAX);
        let of_batch = chunks_of(most.min(MAX_INNER_MESSAGES));
        chunks_for(self.max_record_bytes()).max(of_batch)
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.check_files()?;
        self.check_memory()?;
        self.check_intervals()
    }

    fn check_files(&self) -> Result<(), StoreError> {
        let block = BLOCK_BYTES as u64;
        let got = self.segment_bytes;
        let is_valid = got >= 2 * block && got.is_multiple_of(block);
        let expected = "a multiple of 4096, at least 8192";
        setting("segment_bytes", got, is_valid, expected)?;
        let got = self.zeros_ahead_bytes;
        let is_valid = got >= block && got.is_multiple_of(block);
        let expected = "a multiple of 4096, at least that";
        setting("zeros_ahead_bytes", got, is_valid, expected)?;
        let got = self.max_message_bytes as u64;
        let is_valid = self.max_unit_bytes() <= MAX_RECORD_BYTES;
        setting("max_message_bytes", got, is_valid, "at most 16711680")?;
        let got = self.max_unflushed_bytes;
        let is_valid = got >= 2 * block;
        setting("max_unflushed_bytes", got, is_valid, "at least 8192")?;
        let Some(IndexShape { slots, entries }) = self.index else {
            return Ok(());
        };
        let (got, is_valid) = (slots.min(entries).into(), slots > 0 && entries >= 2);
        setting("index", got, is_valid, "one slot and two entries at least")
    }

    fn check_memory(&self) -> Result<(), StoreError> {
        // The tail may jump over the rest of a segment that a unit does not fit into, and rounds up to a block.
        let least = 2 * (self.max_unit_bytes().min(self.segment_bytes as usize) + 2 * BLOCK_BYTES);
        let got = self.log_buffer_bytes;
        let is_valid = got >= least && got.is_multiple_of(BLOCK_BYTES);
        let expected = "a multiple of 4096, and room for two of the largest messages";
        setting("log_buffer_bytes", got as u64, is_valid, expected)?;
        let got = self.consume_queue_memory_bytes;
        let is_valid = got / CHUNK_BYTES >= 2 * chunks_for(self.max_record_bytes());
        let expected = "at least 5120, and 400 bytes for each KiB of maxMessageSize";
        setting("consume_queue_memory_bytes", got as u64, is_valid, expected)
    }

    fn check_intervals(&self) -> Result<(), StoreError> {
        let cleaning_ms = self.retention.interval_ms;
        setting("interval_ms", cleaning_ms, cleaning_ms > 0, "at least 1")?;
        let flush_ms = self.flush_interval_ms;
        setting("flush_interval_ms", flush_ms, flush_ms > 0, "at least 1")
    }
}

fn setting(
    name: &'static str,
    got: u64,
    is_valid: bool,
    expected: &'static str,
) -> Result<(), StoreError> {
    match is_valid {
        true => Ok(()),
        false => Err(StoreError::Config {
            name,
            got,
            expected,
        }),
    }
}
