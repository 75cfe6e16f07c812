//! The log's end after a crash: what is behind it is wiped, and what may not have been flushed is written again.

use super::Recovery;
use crate::io::Io;
use crate::mem::BLOCK_BYTES;
use crate::store::StoreError;
use crate::store::log::buffer::{ceil, floor};
use crate::store::log::reader::READ_BYTES;

impl<I: Io> Recovery<'_, I> {
    /// Overwrites the bytes behind the end of the log with zeros, up to `wipe_to` in its last file.
    ///
    /// Bytes behind that are not of this log. What was flushed is in it, so it ends at or behind the last flush, and no
    /// write ends further behind that flush than `StoreConfig::max_unflushed_bytes`, rounded to a block. A start after a
    /// crash wipes and flushes before it appends. A wipe that is cut short starts again at an end that is not ahead of that
    /// flush, so the leftovers of an earlier crash are wiped as well. A recycled file may hold anything further behind; its
    /// records state other positions (`segments.rs`).
    pub(super) async fn wipe_behind(&self, tail: u64, wipe_to: u64) -> Result<(), StoreError> {
        let segment_bytes = self.config.segment_bytes;
        let segment = self.segments.start_of(tail);
        if tail == segment && !self.is_first_of_later(segment) {
            return self.segments.remove_from(segment).await;
        }
        self.segments.remove_from(segment + segment_bytes).await?;
        if mutant!(TailNotWiped) {
            return Ok(());
        }
        self.wipe_block(tail).await?;
        let mut position = ceil(tail);
        let end = wipe_to.min(segment + segment_bytes);
        while position < end {
            let len = ((end - position) as usize).min(1 << 20);
            self.wipe(position, len).await?;
            position += len as u64;
        }
        Ok(())
    }

    /// Zeros in place of what is there, a multiple of the block size.
    pub(super) async fn wipe(&self, position: u64, len: usize) -> Result<(), StoreError> {
        // What cannot be read is not known to be zeros.
        let is_zero = match self.segments.read(position, len).await {
            Ok(Some(bytes)) => bytes[..len].iter().all(|byte| *byte == 0),
            Ok(None) => return Ok(()),
            Err(_) => false,
        };
        match is_zero {
            true => Ok(()),
            false => self.segments.zero(position, len as u64).await,
        }
    }

    /// The first file of a log that begins behind 0 stays, also when it is empty: it says where the log goes on.
    pub(super) fn is_first_of_later(&self, segment: u64) -> bool {
        segment > 0 && self.segments.min_position() == Some(segment)
    }

    /// Writes again what is not known to be flushed. A flush may have failed before the process ended: pages that the kernel dropped then
    /// count as clean, and a flush now would not write them.
    pub(super) async fn write_again(&self, from: u64, tail: u64) -> Result<(), StoreError> {
        let unflushed = self.config.max_unflushed_bytes + BLOCK_BYTES as u64;
        let mut position = floor(from.max(tail.saturating_sub(unflushed)));
        while position < tail {
            let in_segment =
                self.segments.segment_bytes() - position % self.segments.segment_bytes();
            let len = (ceil(tail) - position)
                .min(in_segment)
                .min(READ_BYTES as u64);
            let Some(blocks) = self.segments.read(position, len as usize).await? else {
                return Ok(());
            };
            self.segments.write(position, blocks).await.0?;
            position += len;
        }
        Ok(())
    }

    /// The rest of the tail's own block.
    pub(super) async fn wipe_block(&self, tail: u64) -> Result<(), StoreError> {
        let mut block = match self.segments.read(floor(tail), BLOCK_BYTES).await {
            Ok(Some(block)) => block,
            Ok(None) => return Ok(()),
            // All of it is behind the end.
            Err(_) if tail == floor(tail) => {
                return self.segments.zero(tail, BLOCK_BYTES as u64).await;
            }
            Err(error) => return Err(error),
        };
        let rest = &mut block[(tail - floor(tail)) as usize..];
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        rest.fill(0);
        self.segments.write(floor(tail), block).await.0
    }
}
