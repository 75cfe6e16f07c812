//! An index file that is being filled: its slots and those of its entries that are not in the file yet.

use std::collections::VecDeque;

use super::layout::{ENTRY_BYTES, Entry, HEADER_BYTES, Header, SLOT_BYTES, Shape};

/// Of a piece of the tail: what is written to the file at a time. Nothing moves more of the tail than one piece, however long it is.
const PIECE_ENTRIES: usize = (256 << 10) / ENTRY_BYTES;
const PIECE_BYTES: usize = PIECE_ENTRIES * ENTRY_BYTES;

pub struct Growing {
    shape: Shape,
    pub header: Header,
    /// Their memory is zeros that nothing has touched until a key falls there.
    slots: Vec<u32>,
    /// Entries from `saved` on, as the file has them, in pieces. All are full but the last one, and the first one if a part of it is saved.
    tail: VecDeque<Vec<u8>>,
    tail_bytes: usize,
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
            tail: VecDeque::new(),
            tail_bytes: 0,
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
        self.append(&entry.encode());
    }

    fn append(&mut self, entry: &[u8; ENTRY_BYTES]) {
        let last = self.tail.back();
        if last.is_none_or(|piece| piece.len() >= PIECE_BYTES) {
            self.tail.push_back(Vec::with_capacity(PIECE_BYTES));
        }
        if let Some(piece) = self.tail.back_mut() {
            piece.extend_from_slice(entry);
            self.tail_bytes += ENTRY_BYTES;
        }
    }

    /// Number of the latest entry of a hash's slot.
    pub fn latest(&self, hash: u32) -> u32 {
        self.slots[self.shape.slot_of(hash) as usize]
    }

    /// An entry that is not in the file yet.
    pub fn unsaved(&self, number: u32) -> Option<Entry> {
        let place = number.checked_sub(self.saved)? as usize;
        let in_first = self.tail.front()?.len() / ENTRY_BYTES;
        let (piece, place) = match place.checked_sub(in_first) {
            None => (0, place),
            Some(behind) => (1 + behind / PIECE_ENTRIES, behind % PIECE_ENTRIES),
        };
        let entries = self.tail.get(piece)?.as_chunks().0;
        entries.get(place).map(Entry::decode)
    }

    pub fn unsaved_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// The first number that is not in the file, and the first piece of the bytes from there on.
    pub fn tail(&self) -> (u32, &[u8]) {
        let piece = self.tail.front();
        (self.saved, piece.map_or(&[], Vec::as_slice))
    }

    /// So many bytes of the first piece are in the file.
    pub fn saved(&mut self, bytes: usize) {
        if let Some(piece) = self.tail.front_mut() {
            piece.drain(..bytes);
            if piece.is_empty() {
                self.tail.pop_front();
            }
        }
        self.tail_bytes -= bytes;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsaved_entries_are_found_whatever_part_of_them_is_saved() {
        let shape = Shape {
            slots: 7,
            entries: 100_000,
        };
        let mut growing = Growing::new(shape);
        let first = growing.header.count;
        let mut next = 0;
        let mut put = |growing: &mut Growing, count: usize| {
            for _ in 0..count {
                growing.put(&Key {
                    hash: next,
                    physical_offset: 9,
                    store_time_ms: 5,
                });
                next += 1;
            }
            next
        };
        // A piece and a bit; a part of the first one; more; what is left of it; all.
        for (more, saved) in [
            (PIECE_ENTRIES + 3, 5),
            (2 * PIECE_ENTRIES, PIECE_ENTRIES - 5),
            (1, 1),
            (0, PIECE_ENTRIES - 1),
            (10, PIECE_ENTRIES),
        ] {
            let all = put(&mut growing, more);
            let before = growing.tail().0;
            growing.saved(saved * ENTRY_BYTES);
            assert_eq!(growing.tail().0, before + saved as u32);
            assert_eq!(growing.unsaved(growing.tail().0 - 1), None);
            for number in growing.tail().0..first + all {
                let hash = growing.unsaved(number).map(|entry| entry.hash);
                assert_eq!(hash, Some(number - first));
            }
            assert_eq!(growing.unsaved(first + all), None);
            let unsaved = (first + all - growing.tail().0) as usize;
            assert_eq!(growing.unsaved_bytes(), unsaved * ENTRY_BYTES);
        }
    }
}
