//! Zeros written ahead of the tail.
//!
//! Into blocks that were written before, a commit is one device write. Into blocks that were merely allocated it also
//! changes the file system's metadata, at 3 to 5 times the latency. So a background task writes zeros ahead of the tail,
//! slowly while it is well ahead, and makes the next file before this one is full. A zero write in flight and a log write
//! never touch the same block: [`ZeroAhead::busy`] is where the log must not write now.

use std::cell::Cell;
use std::rc::Rc;

use super::buffer::ceil;
use super::segments::Segments;
use crate::io::Io;
use crate::mem::BLOCK_BYTES;
use crate::store::StoreError;

/// Zeros written at a time: the device is busy with them for a fraction of a millisecond, which a log write may have to
/// wait for.
const CHUNK_BYTES: u64 = 256 << 10;
const _: () = assert!(CHUNK_BYTES.is_multiple_of(BLOCK_BYTES as u64));

/// Written with zeros before a new log takes its first message.
const FIRST_BYTES: u64 = 4 << 20;

/// Pause between two chunks when there is no hurry: about 50 MB/s.
const EASY_PAUSE_NS: u64 = 5_000_000;

/// Share of their distance that the zeros jump ahead of a tail that has caught up with them: a sixteenth.
const HEADWAY_SHARE: u64 = 16;

/// Pause when the disk is full. An allocation that fails takes the rest of the disk for a moment.
const NO_SPACE_NS: u64 = 1_000_000_000;

/// Pause after another error, such as a lack of descriptors. While sends are refused since the disk was full they wait for this.
const RETRY_NS: u64 = 100_000_000;

/// The zeros in front of a log's tail.
pub(in crate::store) struct ZeroAhead<I: Io> {
    segments: Rc<Segments<I>>,
    /// The zeros stay this far ahead of the tail: then nothing is written that the log will not soon need.
    ahead_bytes: u64,
    /// Blocks from the tail up to here have been written.
    zeroed_to: Cell<u64>,
    busy: Cell<Option<(u64, u64)>>,
}

impl<I: Io> ZeroAhead<I> {
    pub fn new(segments: Rc<Segments<I>>, ahead_bytes: u64) -> Self {
        Self {
            ahead_bytes: segments.segment_bytes().min(ahead_bytes),
            segments,
            zeroed_to: Cell::new(0),
            busy: Cell::new(None),
        }
    }

    /// The range that is being written.
    pub fn busy(&self) -> Option<(u64, u64)> {
        self.busy.get()
    }

    /// Room for the first messages; what the background writes comes behind it.
    pub async fn prepare_first(&self, tail: u64) -> Result<(), StoreError> {
        let segments = &self.segments;
        let from = ceil(tail);
        if segments.file(from).is_some() && !tail.is_multiple_of(segments.segment_bytes()) {
            self.zeroed_to.set(from);
            return Ok(());
        }
        let len = FIRST_BYTES.min(self.ahead_bytes);
        match segments.zero(from, len).await {
            Ok(()) => self.zeroed_to.set(from + len),
            // The store can still be read, and old files can be removed.
            Err(error) if error.is_no_space() => self.zeroed_to.set(from),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Keeps zeros ahead of the log until `tail` is None. `moved` is called when a range that was busy is free again. An
    /// error of the device has set the fence by then, and the log's own write meets every other one. `grown` is done when the tail is beyond
    /// a position, or None.
    pub async fn keep(
        &self,
        tail: impl Fn() -> Option<u64>,
        moved: impl Fn(),
        grown: impl AsyncFn(u64),
    ) {
        let segments = &self.segments;
        while let Some(tail) = tail() {
            let ahead_of = ceil(tail);
            let from = if self.zeroed_to.get() < ahead_of {
                ahead_of + ceil(self.ahead_bytes / HEADWAY_SHARE)
            } else {
                self.zeroed_to.get()
            };
            if from >= tail + self.ahead_bytes {
                // An idle broker does not wake up, and a busy one not for each write.
                grown(tail).await;
                segments.pause(EASY_PAUSE_NS * 2).await;
                continue;
            }
            let in_segment = segments.segment_bytes() - from % segments.segment_bytes();
            let len = CHUNK_BYTES.min(in_segment).min(self.ahead_bytes);
            self.busy.set(Some((from, from + len)));
            let zeroed = segments.zero(from, len).await;
            self.busy.set(None);
            moved();
            if let Err(error) = zeroed {
                tracing::debug!(%error, "the log's space cannot be prepared");
                let pause_ns = match error.is_no_space() {
                    true => NO_SPACE_NS,
                    false => RETRY_NS,
                };
                segments.pause(pause_ns).await;
                continue;
            }
            self.zeroed_to.set(from + len);
            if from + len > tail + self.ahead_bytes / 2 {
                segments.pause(EASY_PAUSE_NS).await;
            }
        }
    }
}
