//! The blocks of a journal file, one behind the other.
//!
//! ```text
//! block       CRC32 of all behind it 4 | bytes of its items 4 | CRC32 of the block before 4 | generation 8
//!             part 1 | origin 1 | log position 8 | last record 8 | store time 8 | items
//! item  'q'   a queue: number 4 | queue id 4 | min 8 | base 8 | first position 8 | length of topic 2 | topic
//!       'e'   entries of a queue: number 4 | first offset 8 | count 4 | entries of 20 bytes
//!       'd'   a queue that was deleted: number 4
//! ```
//! A queue's number is of this file only. What is before its base is in its own files; its entries follow in the order of
//! their offsets. A queue that comes again has another minimum.

use bytes::{Buf, BufMut, TryGetError};
use crc32fast::Hasher;

use super::super::entry::ENTRY_BYTES;

pub(in crate::store) const HEADER_BYTES: usize = 46;
const CRC_BYTES: usize = 4;

/// A table is written in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;

/// No entry has this value.
const UNKNOWN: u64 = u64::MAX;

/// The part of the log whose entries are in the journal or in queue files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Coverage {
    /// Entries of all messages before this log position are there, and of no others.
    pub position: u64,
    /// Where the last record before it begins; the same if there is none.
    pub last_record: u64,
    /// When that was stored.
    pub store_time_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Part {
    /// Some of the table that a generation begins with.
    Table,
    /// The last of it: from here on the generation counts.
    TableEnd,
    News,
}

/// State of the store when the generation was begun. It decides how the rest of the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Origin {
    Usual,
    /// RocketMQ has written to it: there may be anything behind the end of the log.
    Foreign,
    /// The queues are being made again from all of the log.
    Rebuilding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Header {
    pub crc: u32,
    pub items_bytes: usize,
    pub crc_before: u32,
    pub generation: u64,
    pub part: Part,
    pub origin: Origin,
    pub reached: Coverage,
}

impl Header {
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        Self::take(bytes).ok().flatten()
    }

    fn take(mut bytes: &[u8]) -> Result<Option<Self>, TryGetError> {
        let crc = bytes.try_get_u32()?;
        let items_bytes = bytes.try_get_u32()? as usize;
        let (crc_before, generation) = (bytes.try_get_u32()?, bytes.try_get_u64()?);
        let part = match bytes.try_get_u8()? {
            0 => Part::Table,
            1 => Part::TableEnd,
            2 => Part::News,
            _ => return Ok(None),
        };
        let origin = match bytes.try_get_u8()? {
            0 => Origin::Usual,
            1 => Origin::Foreign,
            2 => Origin::Rebuilding,
            _ => return Ok(None),
        };
        let reached = Coverage {
            position: bytes.try_get_u64()?,
            last_record: bytes.try_get_u64()?,
            store_time_ms: bytes.try_get_i64()?,
        };
        Ok(Some(Self {
            crc,
            items_bytes,
            crc_before,
            generation,
            part,
            origin,
            reached,
        }))
    }
}

/// A block that is being filled.
pub(in crate::store) struct Block {
    bytes: Vec<u8>,
    /// CRC of the items up to a place.
    items_crc: Hasher,
    hashed_to: usize,
}

impl Block {
    pub fn new() -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES],
            items_crc: Hasher::new(),
            hashed_to: HEADER_BYTES,
        }
    }

    /// Extends the CRC over the items so far. A block may have megabytes: a caller that puts them in pieces, with pauses
    /// between them, calls this before each pause.
    pub fn hash(&mut self) {
        self.items_crc.update(&self.bytes[self.hashed_to..]);
        self.hashed_to = self.bytes.len();
    }

    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Large enough to be written by itself.
    pub fn is_a_piece(&self) -> bool {
        self.bytes.len() >= PIECE_BYTES
    }

    pub fn put_queue(&mut self, queue: &QueueItem<'_>) {
        self.bytes.put_u8(b'q');
        self.bytes.put_u32(queue.number);
        self.bytes.put_u32(queue.queue_id);
        self.bytes.put_u64(queue.min);
        self.bytes.put_u64(queue.base);
        self.bytes.put_u64(queue.first_position.unwrap_or(UNKNOWN));
        self.bytes.put_u16(queue.topic.len() as u16);
        self.bytes.put_slice(queue.topic.as_bytes());
    }

    pub fn put_entries(&mut self, number: u32, first: u64, entries: &[u8]) {
        self.bytes.put_u8(b'e');
        self.bytes.put_u32(number);
        self.bytes.put_u64(first);
        self.bytes.put_u32((entries.len() / ENTRY_BYTES) as u32);
        self.bytes.put_slice(entries);
    }

    pub fn put_deleted(&mut self, number: u32) {
        self.bytes.put_u8(b'd');
        self.bytes.put_u32(number);
    }

    /// The whole block, and its CRC.
    pub fn seal(
        mut self,
        crc_before: u32,
        generation: u64,
        part: Part,
        origin: Origin,
        reached: Coverage,
    ) -> (Vec<u8>, u32) {
        self.hash();
        let items_bytes = (self.bytes.len() - HEADER_BYTES) as u32;
        let mut header = &mut self.bytes[CRC_BYTES..HEADER_BYTES];
        header.put_u32(items_bytes);
        header.put_u32(crc_before);
        header.put_u64(generation);
        header.put_u8(part as u8);
        header.put_u8(origin as u8);
        header.put_u64(reached.position);
        header.put_u64(reached.last_record);
        header.put_i64(reached.store_time_ms);
        assert!(header.is_empty());
        let mut crc = Hasher::new();
        crc.update(&self.bytes[CRC_BYTES..HEADER_BYTES]);
        crc.combine(&self.items_crc);
        let crc = crc.finalize();
        self.bytes[..CRC_BYTES].copy_from_slice(&crc.to_be_bytes());
        (self.bytes, crc)
    }
}

pub(in crate::store) struct QueueItem<'a> {
    pub number: u32,
    pub topic: &'a str,
    pub queue_id: u32,
    pub min: u64,
    pub base: u64,
    pub first_position: Option<u64>,
}

pub(in crate::store) enum Item<'a> {
    Queue(QueueItem<'a>),
    Entries {
        number: u32,
        first: u64,
        entries: &'a [[u8; ENTRY_BYTES]],
    },
    Deleted {
        number: u32,
    },
}

impl<'a> Item<'a> {
    /// The first of these; `None` if it is none.
    pub fn take_from(items: &mut &'a [u8]) -> Option<Self> {
        match items.try_get_u8().ok()? {
            b'q' => Self::take_queue(items).map(Self::Queue),
            b'e' => {
                let number = items.try_get_u32().ok()?;
                let first = items.try_get_u64().ok()?;
                let count = items.try_get_u32().ok()? as usize;
                let entries = items.split_off(..count.checked_mul(ENTRY_BYTES)?)?;
                Some(Self::Entries {
                    number,
                    first,
                    entries: entries.as_chunks().0,
                })
            }
            b'd' => Some(Self::Deleted {
                number: items.try_get_u32().ok()?,
            }),
            _ => None,
        }
    }

    fn take_queue(items: &mut &'a [u8]) -> Option<QueueItem<'a>> {
        let number = items.try_get_u32().ok()?;
        let queue_id = items.try_get_u32().ok()?;
        let (min, base) = (items.try_get_u64().ok()?, items.try_get_u64().ok()?);
        let first_position = items.try_get_u64().ok()?;
        let topic_bytes = items.try_get_u16().ok()? as usize;
        Some(QueueItem {
            number,
            topic: std::str::from_utf8(items.split_off(..topic_bytes)?).ok()?,
            queue_id,
            min,
            base,
            first_position: Some(first_position).filter(|position| *position != UNKNOWN),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::queues::entry::Entry;

    #[test]
    fn what_is_put_is_taken() {
        let mut block = Block::new();
        block.put_queue(&QueueItem {
            number: 3,
            topic: "topic",
            queue_id: 4,
            min: 5,
            base: 6,
            first_position: None,
        });
        let mut entry = [0; ENTRY_BYTES];
        let written = Entry::new(7, 8, -9);
        written.encode(&mut entry);
        block.put_entries(3, 6, &entry);
        block.put_deleted(11);
        let reached = Coverage {
            position: 12,
            last_record: 13,
            store_time_ms: -14,
        };
        let (bytes, crc) = block.seal(15, 16, Part::TableEnd, Origin::Foreign, reached);
        let (header, mut items) = bytes.split_first_chunk().unwrap();
        let header = Header::decode(header).unwrap();
        assert_eq!((header.crc, header.crc_before), (crc, 15));
        assert_eq!((header.generation, header.reached), (16, reached));
        assert_eq!(header.items_bytes, items.len());
        let Some(Item::Queue(queue)) = Item::take_from(&mut items) else {
            panic!("a queue was put");
        };
        assert_eq!((queue.topic, queue.queue_id), ("topic", 4));
        assert_eq!((queue.min, queue.base, queue.first_position), (5, 6, None));
        let Some(Item::Entries { first, entries, .. }) = Item::take_from(&mut items) else {
            panic!("entries were put");
        };
        assert_eq!((first, Entry::decode(&entries[0])), (6, written));
        assert!(matches!(
            Item::take_from(&mut items),
            Some(Item::Deleted { number: 11 })
        ));
        assert!(Item::take_from(&mut items).is_none());
    }

    /// The format has one CRC over all behind it, however the block was filled.
    #[test]
    fn a_block_that_is_hashed_in_pieces_has_the_same_crc() {
        let sealed = |pieces: bool| {
            let mut block = Block::new();
            for first in 0..100 {
                block.put_entries(1, first, &[first as u8; ENTRY_BYTES]);
                if pieces && first % 7 == 0 {
                    block.hash();
                }
            }
            block.seal(3, 4, Part::News, Origin::Usual, Coverage::default())
        };
        let (bytes, crc) = sealed(true);
        assert_eq!(crc, crc32fast::hash(&bytes[CRC_BYTES..]));
        assert_eq!((bytes, crc), sealed(false));
    }

    #[test]
    fn items_that_are_cut_short_are_none() {
        let mut block = Block::new();
        block.put_entries(1, 2, &[0; 2 * ENTRY_BYTES]);
        let (bytes, _) = block.seal(0, 1, Part::News, Origin::Usual, Coverage::default());
        for len in HEADER_BYTES..bytes.len() {
            assert!(Item::take_from(&mut &bytes[HEADER_BYTES..len]).is_none());
        }
    }
}
