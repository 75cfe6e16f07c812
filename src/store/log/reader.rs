//! The log as it is read from one end to the other.

use super::buffer::floor;
use super::segments::Segments;
use crate::io::Io;
use crate::message::BLANK_MAGIC;
use crate::store::StoreError;

/// Log read at a time.
pub(in crate::store) const READ_BYTES: usize = 4 << 20;

/// What the log has at a position.
pub(in crate::store) enum Next {
    Record { size: usize },
    Blank { size: u64 },
    End,
}

impl Next {
    /// By its first bytes; the segment has `rest` from there on.
    pub fn read(head: &[u8; 8], rest: u64) -> Self {
        let [a, b, c, d, magic @ ..] = *head;
        let size = u32::from_be_bytes([a, b, c, d]);
        match u32::from_be_bytes(magic) {
            BLANK_MAGIC if u64::from(size) == rest => Self::Blank { size: rest },
            _ if size < 8 || u64::from(size) > rest => Self::End,
            _ => Self::Record {
                size: size as usize,
            },
        }
    }
}

/// A stretch of the log in memory.
pub(in crate::store) struct Window {
    start: u64,
    bytes: Vec<u8>,
    read_bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self::reading(READ_BYTES)
    }
}

impl Window {
    /// Reads so much of the log at a time, or what a larger record needs.
    pub fn reading(read_bytes: usize) -> Self {
        Self {
            start: 0,
            bytes: Vec::new(),
            read_bytes,
        }
    }

    /// `len` bytes at a position, all in one segment; `None` if the log has no file for them.
    pub async fn bytes<I: Io>(
        &mut self,
        segments: &Segments<I>,
        position: u64,
        len: usize,
    ) -> Result<Option<&[u8]>, StoreError> {
        let is_here =
            self.start <= position && position + len as u64 <= self.start + self.bytes.len() as u64;
        if !is_here {
            let start = floor(position);
            let wanted = ((position - start) as usize + len).max(self.read_bytes);
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
