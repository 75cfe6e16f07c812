//! Reading messages by their places: from the log buffer, or from disk in large aligned blocks (`log/cache.rs`).
//!
//! Reads use O_DIRECT and a small cache of blocks, so that a consumer that is far behind reads the disk in its own
//! rhythm: it neither evicts what writers and current consumers use nor reads the same block for each of its messages.
//!
//! Whatever comes from the disk is believed only if it says its own position and all its CRCs are right. What is not
//! (`unreadable.rs`) costs nobody else his message: it is read once more, by itself.

use std::rc::Rc;

use super::block_cache;
use super::log::reader::{self, Crcs, MAX_RECORD_BYTES, PLACED_HEAD_BYTES};
use super::queues::memory::QueueIndex;
use super::scan::Position;
use super::{Store, StoreError};
use crate::io::Io;
use crate::mem::{AlignedBuf, BLOCK_BYTES};

/// What could be read of some messages.
#[derive(Debug, Default)]
pub struct Readable {
    pub records: Vec<u8>,
    /// Which of them could not.
    pub lost: Vec<usize>,
}

impl<I: Io> Store<I> {
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

    /// Messages of a queue, appended to `records`, without those that cannot be read any more: these are noted. An error: one
    /// of them has gone meanwhile, and with it all before the queue's minimum, or nothing can be read.
    pub async fn read_readable(
        self: &Rc<Self>,
        queue: QueueIndex,
        positions: &[Position],
        records: Vec<u8>,
    ) -> Result<Readable, StoreError> {
        let before = records.len();
        let mut read = Readable {
            records,
            lost: Vec::new(),
        };
        for (place, position) in positions.iter().enumerate() {
            if !self
                .read_or_note(Some(queue), position, &mut read.records)
                .await?
            {
                read.lost.push(place);
            }
        }
        self.check_entries(queue, &read.records[before..]).await;
        Ok(read)
    }

    /// Where a reader goes on that looked at `offset` and found that messages have gone meanwhile. Minimums move ahead of what
    /// is removed.
    pub fn goes_on_at(&self, queue: QueueIndex, offset: u64) -> u64 {
        self.bounds(queue).min.max(offset)
    }

    /// A message of a queue; `None` if it has gone, or cannot be read and has been noted.
    pub async fn record_of(
        self: &Rc<Self>,
        queue: QueueIndex,
        position: &Position,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut record = Vec::new();
        match self.read_or_note(Some(queue), position, &mut record).await {
            Ok(is_readable) => Ok(is_readable.then_some(record)),
            Err(StoreError::Removed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Appends the message to `out`; `false` if it is past reading. An error: nothing can be read, or it has gone.
    pub(super) async fn read_or_note(
        self: &Rc<Self>,
        queue: Option<QueueIndex>,
        position: &Position,
        out: &mut Vec<u8>,
    ) -> Result<bool, StoreError> {
        let start = out.len();
        if self.read_checked(position, out).await.is_ok() {
            return Ok(true);
        }
        out.truncate(start);
        // Not within a large block, as something else in it may be what cannot be read; and not from the cache.
        let error = match self.read_alone(position).await {
            Ok(record) => {
                out.extend_from_slice(&record);
                return Ok(true);
            }
            Err(error) => self.or_removed(position.physical_offset, error),
        };
        // It may be the entry in the queue's file that has rotted.
        if let (Some(queue), StoreError::Unreadable { .. }) = (queue, &error)
            && self.unreadable_at(position.physical_offset).is_none()
            && let Some(right) = self.repaired(queue, position).await?
            && let Ok(record) = self.read_alone(&right).await
        {
            out.extend_from_slice(&record);
            return Ok(true);
        }
        self.note_unreadable(queue, position, error).await?;
        Ok(false)
    }

    pub(super) async fn read_checked(
        self: &Rc<Self>,
        position: &Position,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let start = out.len();
        self.check_size(position)?;
        if !self.copy_hot(position, out) {
            self.read_log(position.physical_offset, position.size as usize, out)
                .await?;
        }
        // Whatever the queue's entry says, which may be what has rotted.
        check(&out[start..], position.physical_offset)
    }

    fn check_size(&self, position: &Position) -> Result<(), StoreError> {
        let (got, limit) = (position.size as usize, MAX_RECORD_BYTES);
        if got <= limit {
            return Ok(());
        }
        Err(StoreError::Unreadable {
            physical_offset: position.physical_offset,
            reason: format!("{got} bytes, the largest record has {limit}"),
        })
    }

    async fn read_alone(&self, position: &Position) -> Result<Vec<u8>, StoreError> {
        self.check_size(position)?;
        let record = self.bytes_alone(position).await?;
        check(&record, position.physical_offset)?;
        Ok(record)
    }

    /// By themselves, and not within a large block.
    async fn bytes_alone(&self, position: &Position) -> Result<Vec<u8>, StoreError> {
        let (physical_offset, size) = (position.physical_offset, position.size as usize);
        let segment = self.segments.start_of(physical_offset);
        let from = (physical_offset - segment) as usize % BLOCK_BYTES;
        let read = || {
            self.segments
                .read(physical_offset - from as u64, from + size)
        };
        let read = match read().await {
            // A device may fail once; what it fails twice is past reading.
            Err(_) => read().await?,
            Ok(read) => read,
        };
        let read = read.unwrap_or_else(|| AlignedBuf::zeroed(0));
        Ok(read.get(from..from + size).unwrap_or_default().to_vec())
    }

    /// The record at a log position, if one begins there.
    pub async fn record_at(
        self: &Rc<Self>,
        physical_offset: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        match self.read_record(physical_offset).await {
            Err(error) => match self.or_removed(physical_offset, error) {
                StoreError::Removed { .. } => Ok(None),
                error => Err(error),
            },
            read => read,
        }
    }

    async fn read_record(
        self: &Rc<Self>,
        physical_offset: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if physical_offset < self.log_min() || physical_offset >= self.committed() {
            return Ok(None);
        }
        let mut head = Vec::new();
        if let Err(error) = self
            .read_range(physical_offset, PLACED_HEAD_BYTES, &mut head)
            .await
        {
            let position = Position {
                physical_offset,
                size: PLACED_HEAD_BYTES as u32,
            };
            match self.bytes_alone(&position).await {
                Ok(bytes) => head = bytes,
                Err(_) => {
                    self.note_unreadable(None, &position, error).await?;
                    return Ok(None);
                }
            }
        }
        let segment_bytes = self.config.segment_bytes;
        let rest = segment_bytes - physical_offset % segment_bytes;
        let size = reader::size_by_head(&head, physical_offset, rest);
        let ends_at = |size: &u32| physical_offset + u64::from(*size);
        let Some(size) = size.filter(|size| ends_at(size) <= self.committed()) else {
            return Ok(None);
        };
        let position = Position {
            physical_offset,
            size,
        };
        let mut record = Vec::new();
        let is_readable = self.read_or_note(None, &position, &mut record).await?;
        Ok(is_readable.then_some(record))
    }

    /// While it was read its file may have gone, or have become another one: then whatever was found says nothing.
    pub(super) fn or_removed(&self, physical_offset: u64, error: StoreError) -> StoreError {
        match self.log_min() {
            log_min if physical_offset < log_min => StoreError::Removed {
                physical_offset,
                log_min,
            },
            _ => error,
        }
    }

    /// Position of the first message that is kept.
    pub fn log_min(&self) -> u64 {
        self.segments.min_position().unwrap_or(0)
    }

    /// The record at this position, if one is there: for records here and there in the log, as what is not in memory is
    /// read by itself, and not within a large block.
    pub async fn record_alone(&self, position: &Position) -> Result<Option<Vec<u8>>, StoreError> {
        let (physical_offset, size) = (position.physical_offset, position.size as usize);
        let is_within = physical_offset >= self.log_min()
            && physical_offset.saturating_add(size as u64) <= self.committed()
            && size <= MAX_RECORD_BYTES;
        if !is_within {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        if self.copy_hot(position, &mut bytes) {
            return Ok(check(&bytes, physical_offset).is_ok().then_some(bytes));
        }
        let error = match self.read_alone(position).await {
            Ok(record) => return Ok(Some(record)),
            Err(error) => self.or_removed(physical_offset, error),
        };
        match self.note_unreadable(None, position, error).await {
            Ok(()) | Err(StoreError::Removed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn read_range(
        self: &Rc<Self>,
        position: u64,
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        if self.copy_hot(
            &Position {
                physical_offset: position,
                size: len as u32,
            },
            out,
        ) {
            return Ok(());
        }
        self.read_log(position, len, out).await
    }

    async fn read_log(
        self: &Rc<Self>,
        position: u64,
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let end = position.saturating_add(len as u64);
        let mut at = position;
        while at < end {
            // Counted from the segment's start: its size need not be a multiple of a block.
            let segment = self.segments.start_of(at);
            let start = at - (at - segment) % block_cache::BLOCK_BYTES;
            let block = self.block(start, end).await?;
            let from = (at - start) as usize;
            let to = ((end - start) as usize).min(block.len());
            if from >= to {
                let reason = format!("a block of {} bytes", block.len());
                return Err(StoreError::Unreadable {
                    physical_offset: position,
                    reason,
                });
            }
            out.extend_from_slice(&block[from..to]);
            at += (to - from) as u64;
        }
        Ok(())
    }
}

/// Whether these bytes are the record of that position, and all of it.
fn check(bytes: &[u8], physical_offset: u64) -> Result<(), StoreError> {
    if mutant!(ColdPositionUnchecked) {
        let decoded = crate::message::Record::decode(bytes, crate::message::Check::Crc);
        return decoded
            .map(drop)
            .map_err(|error| reader::NoRecord::from(error).at(physical_offset));
    }
    let found = reader::record(bytes, physical_offset, Crcs::Present);
    found.map(drop).map_err(|none| none.at(physical_offset))
}
