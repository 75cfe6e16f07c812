//! Reading a generation: its blocks, as far as they are whole.

use super::Current;
use super::block::{Coverage, HEADER_BYTES, Header, Origin, Part};
use crate::io::Io;
use crate::mem::AlignedBuf;
use crate::store::StoreError;
use crate::store::medium::Guarded;

/// Read at a time.
const READ_BYTES: usize = 4 << 20;

/// Most of a block's CRC covers what is behind it.
const CRC_BYTES: usize = 4;

pub(in crate::store) struct Reader<I: Io> {
    file: Guarded<I>,
    len_bytes: u64,
    generation: u64,
    /// Of the last block that was whole.
    last: Option<Header>,
    /// Behind it.
    end: u64,
    table_end: Option<u64>,
    window: Vec<u8>,
    window_at: u64,
    /// Blocks that reach further into the log do not count.
    stop_at: u64,
}

impl<I: Io> Reader<I> {
    pub(super) async fn new(file: Guarded<I>, generation: u64) -> Result<Self, StoreError> {
        Ok(Self {
            len_bytes: file.len_bytes().await?,
            file,
            generation,
            last: None,
            end: 0,
            table_end: None,
            window: Vec::new(),
            window_at: 0,
            stop_at: u64::MAX,
        })
    }

    /// Blocks that reach beyond this position of the log do not count.
    pub fn stop_at(&mut self, position: u64) {
        self.stop_at = position;
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The items of the next block. `None`: it is not whole, and neither is anything behind it.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let header = self.bytes(self.end, HEADER_BYTES).await?;
        let Some(header) = header.and_then(|bytes| bytes.first_chunk().and_then(Header::decode))
        else {
            return Ok(None);
        };
        let crc_before = self.last.map_or(0, |last| last.crc);
        let is_news = header.part == Part::News;
        if header.crc_before != crc_before
            || header.generation != self.generation
            || header.reached.position > self.stop_at
            || is_news != self.table_end.is_some()
        {
            return Ok(None);
        }
        let len = HEADER_BYTES + header.items_bytes;
        let Some(block) = self.bytes(self.end, len).await? else {
            return Ok(None);
        };
        if crc32fast::hash(&block[CRC_BYTES..]) != header.crc {
            return Ok(None);
        }
        let items = block[HEADER_BYTES..].to_vec();
        self.end += len as u64;
        self.last = Some(header);
        if header.part == Part::TableEnd {
            self.table_end = Some(self.end);
        }
        Ok(Some(items))
    }

    /// Its table is whole.
    pub fn counts(&self) -> bool {
        self.table_end.is_some()
    }

    pub fn reached(&self) -> Coverage {
        self.last
            .map_or_else(Coverage::default, |last| last.reached)
    }

    pub fn origin(&self) -> Origin {
        self.last.map_or(Origin::Usual, |last| last.origin)
    }

    pub(super) fn into_current(self) -> Option<Current<I>> {
        let (last, table_end) = (self.last?, self.table_end?);
        Some(Current {
            file: self.file,
            generation: self.generation,
            origin: last.origin,
            end: self.end,
            table_end,
            last_crc: last.crc,
        })
    }

    async fn bytes(&mut self, at: u64, len: usize) -> Result<Option<&[u8]>, StoreError> {
        if at + len as u64 > self.len_bytes {
            return Ok(None);
        }
        let window_end = self.window_at + self.window.len() as u64;
        if at < self.window_at || window_end < at + len as u64 {
            let wanted = len.max(READ_BYTES);
            let buf = AlignedBuf::with_room_for(wanted);
            let (read, buf) = self.file.read_at(buf, wanted, at).await;
            let read = read?;
            self.window.clear();
            self.window.extend_from_slice(&buf[..read]);
            self.window_at = at;
        }
        let from = (at - self.window_at) as usize;
        Ok(self.window.get(from..from + len))
    }
}
