//! The log's end: what is behind it is wiped, and after a crash what may not have been flushed is written again.

use super::Recovery;
use super::decide::Plan;
use crate::io::Io;
use crate::mem::BLOCK_BYTES;
use crate::store::StoreError;
use crate::store::log::buffer::{ceil, floor};
use crate::store::log::reader::{MAX_RECORD_BYTES, READ_BYTES};

impl<I: Io> Recovery<'_, I> {
    /// Notes that a replica's log may have had acknowledged records behind `tail`. In sync mode that is so if bytes behind it are not zero: they may be a
    /// rotten record. In async mode it is always so, as a power cut leaves no trace of what it has lost.
    pub(super) async fn doubt_end(&self, tail: u64, plan: &Plan) -> Result<(), StoreError> {
        if !self.config.follows || mutant!(EndNotDoubted) {
            return Ok(());
        }
        match plan.was_sync && self.is_blank_behind(tail, self.unflushed_bytes).await {
            true => Ok(()),
            false => self.doubt.note(tail).await,
        }
    }

    /// A log that was closed ends ahead of a block of zeros. Anything else there is the half of a record that a replica has received, or a record that its
    /// master had not confirmed, and that has rotted since; others may be behind it. They must not be read when the log grows up to them.
    pub(super) async fn wipe_rest_of_closed(&self, tail: u64) -> Result<(), StoreError> {
        if self.is_blank_behind(tail, BLOCK_BYTES as u64).await {
            return Ok(());
        }
        if self.config.follows && !mutant!(EndNotDoubted) {
            self.doubt.note(tail).await?;
        }
        self.wipe_behind(tail, u64::MAX, MAX_RECORD_BYTES as u64)
            .await?;
        self.segments.sync_from(tail).await
    }

    /// Whether there are only zeros in the rest of the tail's block, and in so many bytes behind it.
    async fn is_blank_behind(&self, tail: u64, bytes: u64) -> bool {
        let len = (ceil(tail) - floor(tail) + bytes) as usize;
        match self.segments.read(floor(tail), len).await {
            Ok(Some(bytes)) => {
                let behind = &bytes[(tail - floor(tail)) as usize..];
                behind.iter().all(|byte| *byte == 0)
            }
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Overwrites the bytes behind the end of the log with zeros, up to `wipe_to` in its last file.
    ///
    /// Bytes behind that are not of this log. What was flushed is in it, so it ends at or behind the last flush, and no
    /// write ends further behind that flush than `StoreConfig::max_unflushed_bytes`, rounded to a block. A start after a
    /// crash wipes and flushes before it appends. A wipe that is cut short starts again at an end that is not ahead of that
    /// flush, so the leftovers of an earlier crash are wiped as well. A recycled file may hold anything further behind; its
    /// records state other positions (`segments.rs`).
    ///
    /// Nothing of the log is behind so many zeros as `most_blank_bytes`.
    pub(super) async fn wipe_behind(
        &self,
        tail: u64,
        wipe_to: u64,
        most_blank_bytes: u64,
    ) -> Result<(), StoreError> {
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
        let (mut position, mut blank_bytes) = (ceil(tail), 0);
        let end = wipe_to.min(segment + segment_bytes);
        while position < end && blank_bytes < most_blank_bytes {
            let len = (end - position).min(1 << 20);
            match self.wipe(position, len as usize).await? {
                true => blank_bytes += len,
                false => blank_bytes = 0,
            }
            position += len;
        }
        Ok(())
    }

    /// Zeros in place of what is there, a multiple of the block size. Whether they were there already.
    pub(super) async fn wipe(&self, position: u64, len: usize) -> Result<bool, StoreError> {
        // What cannot be read is not known to be zeros.
        let is_zero = match self.segments.read(position, len).await {
            Ok(Some(bytes)) => bytes[..len].iter().all(|byte| *byte == 0),
            Ok(None) => true,
            Err(_) => false,
        };
        if !is_zero {
            self.segments.zero(position, len as u64).await?;
        }
        Ok(is_zero)
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
