//! The CommitLog in memory: where the next record goes, what waits for the disk, what is still here to be read.
//!
//! ```text
//!        hot_from            written          tail
//! -----------|==================|===============|........   log positions
//!    on disk | on disk and here | here only     | what these bytes of the buffer held one capacity earlier
//! ```
//! One write is in flight at a time. It starts at the block of the last written byte, which it writes again, and ends at
//! the rounded-up tail.

use crate::mem::{BLOCK_BYTES, LogBuffer, LogSlice};
use crate::message::blank_record;

/// Longest log write. Longer ones would make the batch behind it wait without saving much.
pub(in crate::store) const MAX_WRITE_BYTES: u64 = 1 << 20;
const BLOCK: u64 = BLOCK_BYTES as u64;
/// Left at the end of every segment, for the blank record.
pub(in crate::store) const BLANK_BYTES: usize = 8;

pub(in crate::store) struct CommitLog {
    buffer: LogBuffer,
    segment_bytes: u64,
    tail: u64,
    written: u64,
    sealed: u64,
    /// The buffer holds nothing below this position.
    loaded_from: u64,
    max_write_bytes: u64,
}

/// One log write.
pub(in crate::store) struct Sealed {
    pub slice: LogSlice,
    /// Log position of the slice's first byte, a multiple of the block size.
    pub start: u64,
    /// What `written` is once the write is done.
    pub end: u64,
}

impl CommitLog {
    /// A log that goes on at `tail`; `hot` is what the device has before it, from the beginning of a block on.
    pub fn new(mut buffer: LogBuffer, segment_bytes: u64, tail: u64, hot: &[u8]) -> Self {
        assert!(segment_bytes.is_multiple_of(BLOCK));
        let loaded_from = tail - hot.len() as u64;
        assert!(loaded_from.is_multiple_of(BLOCK) && loaded_from <= floor(tail));
        buffer.write(loaded_from, hot.len()).copy_from_slice(hot);
        Self {
            buffer,
            segment_bytes,
            tail,
            written: tail,
            sealed: tail,
            loaded_from,
            max_write_bytes: MAX_WRITE_BYTES,
        }
    }

    /// The same with no longer writes than this.
    pub fn with_writes_up_to(self, bytes: u64) -> Self {
        Self {
            max_write_bytes: self.max_write_bytes.min(floor(bytes)),
            ..self
        }
    }

    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    pub fn capacity_bytes(&self) -> u64 {
        self.buffer.capacity_bytes() as u64
    }

    pub fn tail(&self) -> u64 {
        self.tail
    }

    pub fn written(&self) -> u64 {
        self.written
    }

    /// Up to here the log was given to the device.
    pub fn sealed(&self) -> u64 {
        self.sealed
    }

    /// Position of the first byte that is still in the buffer. A seal zeroes up to the end of the tail's block, so what
    /// was there one capacity earlier does not count.
    pub fn hot_from(&self) -> u64 {
        let overwritten = ceil(self.tail).saturating_sub(self.buffer.capacity_bytes() as u64);
        if mutant!(StaleLogBuffer) {
            return self.loaded_from;
        }
        if mutant!(BlankLogBuffer) {
            return overwritten;
        }
        self.loaded_from.max(overwritten)
    }

    /// Whether `len` bytes can be appended without overwriting what is not on disk yet.
    pub fn room_for(&self, len: usize) -> bool {
        let end = self.position_for(len) + len as u64;
        ceil(end) - floor(self.written) <= self.buffer.capacity_bytes() as u64
    }

    /// Where `len` bytes would end if they were appended now.
    pub fn end_of(&self, len: usize) -> u64 {
        self.position_for(len) + len as u64
    }

    /// Room for `len` bytes in one segment; the rest of a segment that is too small for them is left blank. The caller
    /// fills all of it.
    pub fn append(&mut self, len: usize, encode: impl FnOnce(u64, &mut [u8])) -> u64 {
        assert!(self.room_for(len));
        let position = self.position_for(len);
        if position > self.tail {
            self.fill_segment();
        }
        assert_eq!(position, self.tail);
        encode(position, self.buffer.write(position, len));
        self.tail += len as u64;
        position
    }

    /// How many bytes can go on directly at the tail without overwriting what is not on disk, or stands at `kept_from` or behind it.
    pub fn room_for_bytes(&self, kept_from: u64) -> usize {
        let oldest = floor(self.written.min(kept_from));
        let end = oldest + self.buffer.capacity_bytes() as u64;
        end.saturating_sub(self.tail) as usize
    }

    /// Bytes that go on directly at the tail, wherever a record begins or ends.
    pub fn append_bytes(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room_for_bytes(self.written));
        let position = self.tail;
        self.buffer
            .write(position, bytes.len())
            .copy_from_slice(bytes);
        self.tail += bytes.len() as u64;
    }

    /// Makes sure that the next `len` bytes of records stand in one segment.
    pub fn start_unit(&mut self, len: usize) {
        assert!(self.room_for(len));
        if self.position_for(len) > self.tail {
            self.fill_segment();
        }
    }

    /// The next write, if there is anything to write. It keeps off `busy`, a range to which another write is in flight.
    pub fn seal(&mut self, busy: Option<(u64, u64)>) -> Option<Sealed> {
        if self.tail == self.written {
            return None;
        }
        let start = floor(self.written);
        let capacity = self.buffer.capacity_bytes() as u64;
        let mut end = ceil(self.tail)
            .min(start + self.max_write_bytes)
            .min((start / capacity + 1) * capacity)
            .min((start / self.segment_bytes + 1) * self.segment_bytes);
        if let Some((busy_from, busy_to)) = busy
            && start < busy_to
            && busy_from < end
        {
            if busy_from <= start {
                return None;
            }
            end = busy_from;
        }
        if end > self.tail {
            self.buffer.zero(self.tail, (end - self.tail) as usize);
        }
        let slice = self.buffer.slice(start, (end - start) as usize);
        let end = end.min(self.tail);
        self.sealed = self.sealed.max(end);
        Some(Sealed { slice, start, end })
    }

    /// The write that `seal` gave out is done.
    pub fn complete(&mut self, end: u64) {
        assert!(self.written < end && end <= self.tail);
        self.written = end;
    }

    /// Bytes of the log, if all of them are still here.
    pub fn hot(&self, position: u64, len: usize) -> Option<&[u8]> {
        let end = position.checked_add(len as u64)?;
        (self.hot_from() <= position && end <= self.tail).then(|| self.buffer.read(position, len))
    }

    fn position_for(&self, len: usize) -> u64 {
        let rest = self.segment_rest();
        if (len + BLANK_BYTES) as u64 > rest {
            self.tail + rest
        } else {
            self.tail
        }
    }

    fn segment_rest(&self) -> u64 {
        self.segment_bytes - self.tail % self.segment_bytes
    }

    fn fill_segment(&mut self) {
        let rest = self.segment_rest() as usize;
        let bytes = self.buffer.write(self.tail, rest);
        let (blank, behind) = bytes.split_at_mut(BLANK_BYTES);
        blank.copy_from_slice(&blank_record(rest as u32));
        behind.fill(0);
        self.tail += rest as u64;
    }
}

pub(in crate::store) fn floor(position: u64) -> u64 {
    position / BLOCK * BLOCK
}

pub(in crate::store) fn ceil(position: u64) -> u64 {
    position.next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEGMENT: u64 = 64 << 10;
    const CAPACITY: usize = 32 << 10;

    fn log() -> CommitLog {
        CommitLog::new(LogBuffer::new(CAPACITY).unwrap(), SEGMENT, 0, &[])
    }

    #[test]
    fn a_record_that_does_not_fit_leaves_a_blank_one() {
        let mut log = log();
        let len = 8000;
        let mut position = 0;
        while position < SEGMENT {
            while let Some(sealed) = log.seal(None) {
                log.complete(sealed.end);
            }
            position = log.append(len, |_, bytes| bytes.fill(1));
        }
        assert_eq!(position, SEGMENT);
        let blank = log.hot(8 * 8000, 8).unwrap();
        assert_eq!(blank, blank_record((SEGMENT - 64000) as u32));
    }

    proptest! {
        /// Against a plain array: every byte is written to the "disk", in the right place, before it is overwritten.
        #[test]
        fn what_is_sealed_is_what_was_appended(steps in prop::collection::vec((any::<bool>(), 1_usize..9000, any::<u8>()), 1..200), start in 0_u64..9000) {
            let block = vec![7; (start - floor(start)) as usize];
            let mut log = CommitLog::new(LogBuffer::new(CAPACITY).unwrap(), SEGMENT, start, &block);
            let mut model = vec![7; start as usize];
            let mut disk = vec![7; start as usize];
            for (write, len, fill) in steps {
                if write {
                    if let Some(sealed) = log.seal(None) {
                        prop_assert!(sealed.start.is_multiple_of(BLOCK));
                        let from = sealed.start as usize;
                        disk.resize(from + sealed.slice.len(), 0);
                        sealed.slice.copy_to(&mut disk[from..]);
                        prop_assert!(disk[log.tail().min(disk.len() as u64) as usize..].iter().all(|b| *b == 0));
                        log.complete(sealed.end);
                        let written = log.written() as usize;
                        prop_assert_eq!(&disk[..written], &model[..written]);
                    }
                } else if log.room_for(len) {
                    let position = log.append(len, |_, bytes| bytes.fill(fill));
                    if position as usize > model.len() {
                        model.extend(blank_record((position - model.len() as u64) as u32));
                        model.resize(position as usize, 0);
                    }
                    prop_assert_eq!(position as usize, model.len());
                    model.resize(model.len() + len, fill);
                    prop_assert!(position / SEGMENT == (position + len as u64 + 7) / SEGMENT);
                }
                let from = log.hot_from();
                let hot = log.hot(from, (log.tail() - from) as usize);
                prop_assert_eq!(hot.unwrap(), &model[from as usize..]);
            }
        }

        #[test]
        fn a_seal_keeps_off_a_busy_range(tail in 1_u64..20_000, from in 0_u64..5, len in 1_u64..3) {
            let mut log = log();
            log.append(tail as usize, |_, bytes| bytes.fill(1));
            let busy = (from * BLOCK, (from + len) * BLOCK);
            if let Some(sealed) = log.seal(Some(busy)) {
                let end = sealed.start + sealed.slice.len() as u64;
                prop_assert!(end <= busy.0 || busy.1 <= sealed.start);
            } else {
                prop_assert_eq!(busy.0, 0);
            }
        }
    }
}
