//! Repair: a record that another broker of the group has takes the place of one that cannot be read.
//!
//! Logs of one group are the same bytes, so the record belongs at its own position, and the blocks around it stay as they are. A record is taken only
//! if it is valid there, and only in blocks that the log does not write any more. It is read again from the device before its place counts as readable.

use super::Log;
use super::buffer::{ceil, floor};
use super::reader::{self, Found, Walk};
use crate::io::Io;
use crate::mem::{AlignedBuf, BLOCK_BYTES};
use crate::store::StoreError;

impl<I: Io> Log<I> {
    /// Writes this record to its position, durably, and returns up to where the log can be read then. `None`: the log writes that block again with
    /// what is appended; later.
    pub async fn mend(&self, position: u64, record: &[u8]) -> Result<Option<u64>, StoreError> {
        self.check_record(position, record)?;
        let (start, end) = (floor(position), ceil(position + record.len() as u64));
        if end > floor(self.buffer().written()) {
            return Ok(None);
        }
        // A file that is removed may become another part of the log.
        let removal = self.segments.removal().await;
        let log_min = self.min();
        if position < log_min {
            return Err(StoreError::Removed {
                physical_offset: position,
                log_min,
            });
        }
        let mut blocks = self.blocks_of(position, record.len()).await?;
        let at = (position - start) as usize;
        blocks[at..at + record.len()].copy_from_slice(record);
        self.gate.check_fence()?;
        self.segments.write(start, blocks).await.0?;
        drop(removal);
        self.cache.forget(start, end);
        let mut walk = Walk::probe(self.crcs());
        match walk.at(&self.segments, position).await? {
            Found::Record(_) => {}
            Found::Blank { .. } => return Err(reader::NoRecord::Head.at(position)),
            Found::None(none) => return Err(none.at(position)),
        }
        let readable_to = self.readable_to(position, record.len()).await;
        self.unreadable.mended(position, readable_to);
        Ok(Some(readable_to))
    }

    /// Up to where the log can be read from this record on, as far as that was not known. How long a hole is follows from a size that may be what has
    /// rotted, or from the next record that was found: records may follow that are whole, and the blank rest of a file, which no broker
    /// gives as a record.
    async fn readable_to(&self, position: u64, len: usize) -> u64 {
        let mut at = position + len as u64;
        let hole_end = self.unreadable.end_of_holes(position, at);
        let mut walk = Walk::probe(self.crcs());
        while at < hole_end.min(self.marks.committed()) {
            let found = walk.at(&self.segments, at).await;
            let Some(len) = found.ok().and_then(|found| found.len()) else {
                break;
            };
            at += len;
        }
        at
    }

    /// These bytes are a record of this position, all of it, and the log has that position.
    fn check_record(&self, position: u64, record: &[u8]) -> Result<(), StoreError> {
        let end = position.saturating_add(record.len() as u64);
        let is_in_file =
            self.segments.start_of(position) == self.segments.start_of(end.saturating_sub(1));
        if record.is_empty() || !is_in_file || end > self.marks.committed() {
            return Err(reader::NoRecord::Head.at(position));
        }
        let found = reader::record(record, position, self.crcs());
        found.map(drop).map_err(|none| none.at(position))
    }

    /// The blocks that hold this record. One that the device does not give must be the record's as a whole.
    async fn blocks_of(&self, position: u64, len: usize) -> Result<AlignedBuf, StoreError> {
        let record = position..=position + len as u64;
        let (start, end) = (floor(position), ceil(position + len as u64));
        let mut blocks = AlignedBuf::zeroed((end - start) as usize);
        for (from, block) in (start..)
            .step_by(BLOCK_BYTES)
            .zip(blocks.chunks_exact_mut(BLOCK_BYTES))
        {
            let is_all_of_it =
                record.contains(&from) && record.contains(&(from + BLOCK_BYTES as u64));
            match self.segments.read(from, BLOCK_BYTES).await {
                Ok(Some(read)) => block.copy_from_slice(&read),
                Ok(None) => return Err(reader::NoRecord::Head.at(position)),
                Err(_) if is_all_of_it => {}
                Err(error) => return Err(error),
            }
        }
        Ok(blocks)
    }
}
