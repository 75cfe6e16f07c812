//! What is measured of a store.

use std::cell::Ref;
use std::sync::Arc;

use super::Store;
use super::config::Flush;
use super::log::LogTimes;
use super::log::ack_watermark::Missing;
use crate::io::Io;
use crate::mem::Pages;

/// Figures of the store, as of now.
#[derive(Clone, Debug)]
pub struct StoreFigures {
    pub pages: Pages,
    pub registered: bool,
    pub writes: u64,
    pub written_bytes: u64,
    pub flushes: u64,
    pub log_min: u64,
    pub log_max: u64,
    pub not_committed_bytes: u64,
    /// What a power cut could take.
    pub not_flushed_bytes: u64,
    pub free_queue_chunks: usize,
    /// All there are.
    pub queue_chunks: usize,
    /// Store time of the oldest message of the log, if there is one.
    pub first_store_time_ms: Option<i64>,
    /// Messages that were removed before `fileReservedTime` was over.
    pub removed_early: u64,
    /// Messages that were found to be unreadable.
    pub unreadable: u64,
    /// Blocks of the log that were read from the device for readers.
    pub fetched_blocks: u64,
    /// The log has been read through up to here.
    pub scrubbed_to: u64,
    /// The reason of the fence, if the store is fenced.
    pub fence: Option<Arc<str>>,
    /// The reason why sends are refused, if the disk is full.
    pub full: Option<Arc<str>>,
    /// What had been acknowledged and was not there at the start.
    pub missing: Option<Missing>,
}

/// Of the journal of queue entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalFigures {
    /// Since its table.
    pub bytes: u64,
    /// Of the committed log: their entries are not in it yet.
    pub behind_bytes: u64,
}

impl<I: Io> Store<I> {
    /// How long writes and flushes of the log take, and how large they are.
    pub fn log_times(&self) -> Ref<'_, LogTimes> {
        self.log.times()
    }

    pub fn journal_figures(&self) -> JournalFigures {
        let (bytes, position) = self.queues.journaled();
        let committed = self.log.marks().committed();
        JournalFigures {
            bytes,
            behind_bytes: committed.saturating_sub(position),
        }
    }

    pub fn figures(&self) -> StoreFigures {
        let (marks, memory, written) = (self.log.marks(), self.queues.memory(), self.log.written());
        let flushed = match self.config.flush {
            Flush::Sync => marks.committed(),
            Flush::Async => marks.flushed(),
        };
        StoreFigures {
            pages: memory.pages(),
            registered: self.is_registered,
            writes: written.writes,
            written_bytes: written.bytes,
            flushes: written.flushes,
            log_min: self.log.min(),
            log_max: marks.committed(),
            not_committed_bytes: self.log.tail() - marks.committed(),
            not_flushed_bytes: self.log.tail() - flushed,
            free_queue_chunks: memory.free_chunks(),
            queue_chunks: memory.capacity_chunks(),
            first_store_time_ms: marks.first_store_time_ms(),
            removed_early: self.cleaner.removed_early(),
            unreadable: self.log.known_unreadable().len(),
            fetched_blocks: self.log.fetched_blocks(),
            scrubbed_to: self.scrub.position(),
            fence: self.fence(),
            full: self.full(),
            missing: self.log.missing(),
        }
    }
}
