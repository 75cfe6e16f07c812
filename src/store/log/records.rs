//! Reading records by their places: from the log buffer, or from disk in large aligned blocks (`cache.rs`).
//!
//! Reads use O_DIRECT and a small cache of blocks, so that a consumer that is far behind reads the disk in its own
//! rhythm: it neither evicts what writers and current consumers use nor reads the same block for each of its messages.
//!
//! A record from the disk is used only if it is valid at its position (`reader.rs`). One that is not is read once more, by
//! itself, so that what is wrong with its neighbours in the block does not affect it.

use std::rc::Rc;

use super::Log;
use super::cache;
use super::reader::{self, MAX_RECORD_BYTES, PLACED_HEAD_BYTES};
use crate::io::Io;
use crate::mem::{AlignedBuf, BLOCK_BYTES};
use crate::store::StoreError;

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub physical_offset: u64,
    pub size: u32,
    /// How many messages its record has: more than one in a batch.
    pub messages: u16,
}

impl Position {
    /// Of a record with one message.
    pub fn new(physical_offset: u64, size: u32) -> Self {
        Self {
            physical_offset,
            size,
            messages: 1,
        }
    }
}

impl<I: Io> Log<I> {
    /// Whether the message is in the log buffer.
    pub fn is_hot(&self, position: &Position) -> bool {
        let buffer = self.buffer();
        let hot = buffer.hot(position.physical_offset, position.size as usize);
        hot.is_some()
    }

    /// Appends a message from the log buffer to `out`; `false` if it is no longer there.
    pub fn copy_hot(&self, position: &Position, out: &mut Vec<u8>) -> bool {
        let buffer = self.buffer();
        let hot = buffer.hot(position.physical_offset, position.size as usize);
        if let Some(bytes) = hot {
            out.extend_from_slice(bytes);
        }
        hot.is_some()
    }

    /// Appends a message to `out`. An error: it cannot be read, or has gone; nothing is appended.
    pub async fn read(
        self: &Rc<Self>,
        position: &Position,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let start = out.len();
        if self.read_checked(position, out).await.is_ok() {
            return Ok(());
        }
        out.truncate(start);
        // Not within a large block, as something else in it may be what cannot be read; and not from the cache.
        match self.read_alone(position).await {
            Ok(record) => {
                out.extend_from_slice(&record);
                Ok(())
            }
            Err(error) => Err(self.or_removed(position.physical_offset, error)),
        }
    }

    pub async fn read_checked(
        self: &Rc<Self>,
        position: &Position,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let start = out.len();
        check_size(position)?;
        if !self.copy_hot(position, out) {
            self.read_blocks(position, out).await?;
        }
        // Whatever the queue's entry says, which may be what has rotted.
        self.check(&out[start..], position.physical_offset)
    }

    /// A message, read by itself and not within a large block.
    pub async fn read_alone(&self, position: &Position) -> Result<Vec<u8>, StoreError> {
        check_size(position)?;
        let record = self.bytes_alone(position).await?;
        self.check(&record, position.physical_offset)?;
        Ok(record)
    }

    async fn bytes_alone(&self, position: &Position) -> Result<Vec<u8>, StoreError> {
        let (physical_offset, size) = (position.physical_offset, position.size as usize);
        let segment = self.segments.start_of(physical_offset);
        let from = (physical_offset - segment) as usize % BLOCK_BYTES;
        let start = physical_offset - from as u64;
        let read = match self.segments.read(start, from + size).await {
            // A device may fail once; what it fails twice is past reading.
            Err(_) => self.segments.read(start, from + size).await?,
            Ok(read) => read,
        };
        let read = read.unwrap_or_else(|| AlignedBuf::zeroed(0));
        Ok(read.get(from..from + size).unwrap_or_default().to_vec())
    }

    /// The record at a log position, if one begins there. What cannot be read is noted.
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
        let committed = self.marks.committed();
        if physical_offset < self.min() || physical_offset >= committed {
            return Ok(None);
        }
        let head = Position::new(physical_offset, PLACED_HEAD_BYTES as u32);
        let Some(head) = self.read_head(&head).await? else {
            return Ok(None);
        };
        let segment_bytes = self.segments.segment_bytes();
        let rest = segment_bytes - physical_offset % segment_bytes;
        let size = reader::size_by_head(&head, physical_offset, rest);
        let ends_at = |size: &u32| physical_offset + u64::from(*size);
        let Some(size) = size.filter(|size| ends_at(size) <= committed) else {
            return Ok(None);
        };
        let position = Position::new(physical_offset, size);
        let mut record = Vec::new();
        match self.read(&position, &mut record).await {
            Ok(()) => Ok(Some(record)),
            Err(error) => {
                let size = size.into();
                self.note_unreadable(physical_offset, size, error).await?;
                Ok(None)
            }
        }
    }

    /// What is in memory of this part of the log since it was read is not used any more.
    pub fn forget_read(&self, from: u64, to: u64) {
        self.cache.forget(from, to);
    }

    /// The first bytes of a record. `None`: they cannot be read, which is noted.
    async fn read_head(self: &Rc<Self>, head: &Position) -> Result<Option<Vec<u8>>, StoreError> {
        let mut bytes = Vec::new();
        if self.copy_hot(head, &mut bytes) {
            return Ok(Some(bytes));
        }
        let error = match self.read_blocks(head, &mut bytes).await {
            Ok(()) => return Ok(Some(bytes)),
            Err(error) => error,
        };
        if let Ok(bytes) = self.bytes_alone(head).await {
            return Ok(Some(bytes));
        }
        let (position, size) = (head.physical_offset, head.size.into());
        self.note_unreadable(position, size, error).await?;
        Ok(None)
    }

    /// The record at this position, if one is there: for records here and there in the log, as what is not in memory is
    /// read by itself, and not within a large block.
    pub async fn record_alone(&self, position: &Position) -> Result<Option<Vec<u8>>, StoreError> {
        let (physical_offset, size) = (position.physical_offset, position.size);
        let end = physical_offset.saturating_add(size.into());
        let is_within = physical_offset >= self.min() && end <= self.marks.committed();
        if !is_within || size as usize > MAX_RECORD_BYTES {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        if self.copy_hot(position, &mut bytes) {
            return Ok(self.check(&bytes, physical_offset).is_ok().then_some(bytes));
        }
        let error = match self.read_alone(position).await {
            Ok(record) => return Ok(Some(record)),
            Err(error) => self.or_removed(physical_offset, error),
        };
        let noted = self.note_unreadable(physical_offset, size.into(), error);
        match noted.await {
            Ok(()) | Err(StoreError::Removed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The file may have been removed or recycled during the read: then the error is that the message was removed.
    pub fn or_removed(&self, physical_offset: u64, error: StoreError) -> StoreError {
        match self.min() {
            log_min if physical_offset < log_min => StoreError::Removed {
                physical_offset,
                log_min,
            },
            _ => error,
        }
    }

    /// By blocks of the cache.
    async fn read_blocks(
        self: &Rc<Self>,
        position: &Position,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let mut at = position.physical_offset;
        let end = at.saturating_add(position.size.into());
        while at < end {
            // Counted from the segment's start: its size need not be a multiple of a block.
            let segment = self.segments.start_of(at);
            let start = at - (at - segment) % cache::BLOCK_BYTES;
            let block = self.block(start, end).await?;
            let from = (at - start) as usize;
            let to = ((end - start) as usize).min(block.len());
            if from >= to {
                let reason = format!("a block of {} bytes", block.len());
                return Err(StoreError::Unreadable {
                    physical_offset: position.physical_offset,
                    reason,
                });
            }
            out.extend_from_slice(&block[from..to]);
            at += (to - from) as u64;
        }
        Ok(())
    }

    /// Whether these bytes are the record of that position, and all of it.
    fn check(&self, bytes: &[u8], physical_offset: u64) -> Result<(), StoreError> {
        if mutant!(ColdPositionUnchecked) {
            let decoded = crate::message::Record::decode(bytes, crate::message::Check::Crc);
            return decoded
                .map(drop)
                .map_err(|error| reader::NoRecord::from(error).at(physical_offset));
        }
        let found = reader::record(bytes, physical_offset, self.crcs());
        found.map(drop).map_err(|none| none.at(physical_offset))
    }
}

fn check_size(position: &Position) -> Result<(), StoreError> {
    let (got, limit) = (position.size as usize, MAX_RECORD_BYTES);
    if got <= limit {
        return Ok(());
    }
    Err(StoreError::Unreadable {
        physical_offset: position.physical_offset,
        reason: format!("{got} bytes, the largest record has {limit}"),
    })
}
