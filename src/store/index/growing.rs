//! An index file that is being filled: its slots and those of its entries that are not in the file yet.

use super::layout::{ENTRY_BYTES, Entry, HEADER_BYTES, Header, SLOT_BYTES, Shape};

pub struct Growing {
    shape: Shape,
    pub header: Header,
    /// Their memory is zeros that nothing has touched until a key falls there.
    slots: Vec<u32>,
    /// Entries from `saved` on, as the file has them.
    tail: Vec<u8>,
    /// Entries below this number are in the file.
    saved: u32,
    /// Its slots have never been written: where none is used the file is a hole.
    is_new: bool,
}

/// A key of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub hash: u32,
    pub physical_offset: u64,
    pub store_time_ms: i64,
}

impl Growing {
    pub fn new(shape: Shape) -> Self {
        Self {
            is_new: true,
            ..Self::restored(shape, Header::EMPTY, vec![0; shape.slots as usize])
        }
    }

    /// Of a file that has entries.
    pub fn restored(shape: Shape, header: Header, slots: Vec<u32>) -> Self {
        assert_eq!(slots.len(), shape.slots as usize);
        Self {
            shape,
            header,
            slots,
            tail: Vec::new(),
            saved: header.count,
            is_new: false,
        }
    }

    /// Entries that it can still take.
    pub fn room(&self) -> usize {
        (self.shape.entries - self.header.count) as usize
    }

    /// RocketMQ: `IndexFile.putKey`, but for the seconds of a later file's first entry, which there count from the file
    /// before.
    pub fn put(&mut self, key: &Key) {
        assert!(self.room() > 0);
        let number = self.header.count;
        let header = &mut self.header;
        if number == Header::EMPTY.count {
            header.begin_time_ms = key.store_time_ms;
            header.begin_offset = key.physical_offset;
        }
        let slot = &mut self.slots[self.shape.slot_of(key.hash) as usize];
        let entry = Entry {
            hash: key.hash,
            physical_offset: key.physical_offset,
            seconds: seconds_between(header.begin_time_ms, key.store_time_ms),
            previous: *slot,
        };
        header.used_slots += u32::from(*slot == 0);
        *slot = number;
        header.count += 1;
        header.end_time_ms = key.store_time_ms;
        header.end_offset = key.physical_offset;
        self.tail.extend_from_slice(&entry.encode());
    }

    /// Number of the latest entry of a hash's slot.
    pub fn latest(&self, hash: u32) -> u32 {
        self.slots[self.shape.slot_of(hash) as usize]
    }

    /// An entry that is not in the file yet.
    pub fn unsaved(&self, number: u32) -> Option<Entry> {
        let place = number.checked_sub(self.saved)? as usize;
        self.tail.as_chunks().0.get(place).map(Entry::decode)
    }

    pub fn unsaved_bytes(&self) -> usize {
        self.tail.len()
    }

    /// The first number that is not in the file, and the bytes from there on.
    pub fn tail(&self) -> (u32, &[u8]) {
        (self.saved, &self.tail)
    }

    /// So many bytes of the tail are in the file.
    pub fn saved(&mut self, bytes: usize) {
        self.tail.drain(..bytes);
        self.saved += (bytes / ENTRY_BYTES) as u32;
    }

    /// Header and slots as the file has them, a part from `at` on. `None` where the file is right as it is.
    pub fn head(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        let (mut bytes, from) = match at.checked_sub(HEADER_BYTES as u64) {
            Some(from) => (Vec::with_capacity(len), from as usize / SLOT_BYTES),
            None => (self.header.encode().to_vec(), 0),
        };
        let count = (len - bytes.len()) / SLOT_BYTES;
        let slots = self.slots[from..].iter().take(count);
        if at > 0 && self.is_new && slots.clone().all(|slot| *slot == 0) {
            return None;
        }
        bytes.extend(slots.flat_map(|slot| slot.to_be_bytes()));
        Some(bytes)
    }
}

fn seconds_between(begin_ms: i64, time_ms: i64) -> u32 {
    (time_ms.saturating_sub(begin_ms) / 1000).clamp(0, i32::MAX.into()) as u32
}
