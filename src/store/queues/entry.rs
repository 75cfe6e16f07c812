//! One entry of a ConsumeQueue, as RocketMQ writes it: where a message is in the log, and the hash of its tags.
//!
//! ```text
//! of a message      physical offset 8   size 4              tags code 8
//! of one of a batch physical offset 8   size 4, top bit set index 2 | messages 2 | tags code 4
//! ```
//! The entries of a batch are this broker's own: RocketMQ has one entry of 46 bytes for it, in `batchconsumequeue/`.

use std::fmt;

pub(in crate::store) const ENTRY_BYTES: usize = 20;

/// The shortest record of this broker: 91 bytes, without body, topic and properties, and the CRC property.
pub(in crate::store) const MIN_RECORD_BYTES: usize = 111;

/// The shortest message of a batch: a head and the length of its properties.
pub(in crate::store) const MIN_BATCHED_BYTES: usize = 22;

/// The shortest record of RocketMQ, which need not have the CRC property.
pub(in crate::store) const MIN_FOREIGN_RECORD_BYTES: u32 = 91;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    pub physical_offset: u64,
    pub size: u32,
    pub tags_code: i64,
    pub part: Part,
}

/// Which message of its record an entry is of. An inner batch is one record with several messages, and each has its entry, so that the
/// entry of any offset is where that of any queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Part {
    index: u16,
    count: u16,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {} of {}", u32::from(self.index) + 1, self.count)
    }
}

impl Part {
    /// Of a record that is one message.
    pub const WHOLE: Self = Self { index: 0, count: 1 };
}

/// What RocketMQ writes ahead of the first entry of a queue whose first file it begins in the middle.
pub(in crate::store) const BLANK: Entry = Entry {
    physical_offset: 0,
    size: i32::MAX as u32,
    tags_code: 0,
    part: Part::WHOLE,
};

/// In the size of an entry of a batch; no record is so large.
const IN_BATCH: u32 = 1 << 31;

impl Entry {
    /// Of a record that is one message.
    pub fn new(physical_offset: u64, size: u32, tags_code: i64) -> Self {
        Self {
            physical_offset,
            size,
            tags_code,
            part: Part::WHOLE,
        }
    }

    /// The first entry of a record with so many messages.
    pub fn with_messages(self, count: u16) -> Self {
        let part = Part { index: 0, count };
        Self { part, ..self }
    }

    /// Entry of a lost message: its position is in a part of the log that cannot be read.
    pub fn into_gap(physical_offset: u64) -> Self {
        Self::new(physical_offset, MIN_RECORD_BYTES as u32, 0)
    }

    pub fn encode(&self, dst: &mut [u8]) {
        let (mut size, mut tags_code) = (self.size, self.tags_code as u64);
        if self.part.count > 1 {
            size |= IN_BATCH;
            tags_code &= u64::from(u32::MAX);
            tags_code |= u64::from(self.part.index) << 48 | u64::from(self.part.count) << 32;
        }
        dst[..8].copy_from_slice(&self.physical_offset.to_be_bytes());
        dst[8..12].copy_from_slice(&size.to_be_bytes());
        dst[12..20].copy_from_slice(&tags_code.to_be_bytes());
    }

    pub fn decode(bytes: &[u8; ENTRY_BYTES]) -> Entry {
        let [a, b, c, d, e, f, g, h, i, j, k, l, tags @ ..] = *bytes;
        let entry = Entry {
            physical_offset: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            size: u32::from_be_bytes([i, j, k, l]),
            tags_code: i64::from_be_bytes(tags),
            part: Part::WHOLE,
        };
        match entry.size & IN_BATCH {
            0 => entry,
            _ => entry.of_batch(tags),
        }
    }

    fn of_batch(self, [a, b, c, d, tags @ ..]: [u8; 8]) -> Self {
        Self {
            size: self.size & !IN_BATCH,
            tags_code: i32::from_be_bytes(tags).into(),
            part: Part {
                index: u16::from_be_bytes([a, b]),
                count: u16::from_be_bytes([c, d]),
            },
            ..self
        }
    }

    /// The entries of its record's messages from its own on.
    pub fn to_last(self) -> impl Iterator<Item = Self> {
        (self.part.index..self.part.count).map(move |index| Self {
            part: Part {
                index,
                count: self.part.count,
            },
            ..self
        })
    }

    /// Messages of its record.
    pub fn messages(&self) -> u16 {
        self.part.count
    }

    /// Messages of its record that have lower offsets.
    pub fn messages_before(&self) -> u64 {
        self.part.index.into()
    }

    /// Entries from its own to its record's last.
    pub fn messages_from(&self) -> u64 {
        self.part
            .count
            .saturating_sub(self.part.index)
            .max(1)
            .into()
    }

    /// Whether it is the first of its record.
    pub fn begins_record(&self) -> bool {
        self.part.index == 0
    }

    /// Position behind the record. The numbers of a rotten entry may be any.
    pub fn end(&self) -> u64 {
        self.physical_offset.saturating_add(self.size.into())
    }

    /// Whether a message of this size and position fits a log that ends at `log_end`.
    pub fn is_plausible(&self, log_end: u64) -> bool {
        self.size >= MIN_FOREIGN_RECORD_BYTES
            && self.end() <= log_end
            && self.part.index < self.part.count
    }

    /// Whether `next` may follow in the same queue. The entries of lost messages all have one position.
    pub fn may_precede(&self, next: &Entry) -> bool {
        if let Some(same) = self.to_last().nth(1) {
            return *next == same;
        }
        let may_be_lost = self.size == MIN_RECORD_BYTES as u32;
        let is_behind = self.end() <= next.physical_offset
            || may_be_lost && self.physical_offset <= next.physical_offset;
        is_behind && next.begins_record()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(physical_offset: u64, tags_code: i64, (index, count): (u16, u16)) -> Entry {
        let part = Part { index, count };
        Entry {
            part,
            ..Entry::new(physical_offset, 300, tags_code)
        }
    }

    #[test]
    fn an_entry_is_what_was_written() {
        // RocketMQ's schedule topic holds times in place of tags codes.
        for tags_code in [0, -1, i64::from(i32::MIN), 1_700_000_000_000, i64::MIN] {
            let whole = entry(1 << 40, tags_code, (0, 1));
            let mut bytes = [0; ENTRY_BYTES];
            whole.encode(&mut bytes);
            assert_eq!(Entry::decode(&bytes), whole);
            assert_eq!(bytes[12..], tags_code.to_be_bytes());
            assert_eq!(whole.to_last().collect::<Vec<_>>(), [whole]);
        }
        for part in [(0, 2), (1, 2), (7, 300), (32_766, 32_767)] {
            let of_batch = entry(5, -123, part);
            let mut bytes = [0; ENTRY_BYTES];
            of_batch.encode(&mut bytes);
            assert_eq!(Entry::decode(&bytes), of_batch);
        }
        let mut blank = [0; ENTRY_BYTES];
        BLANK.encode(&mut blank);
        assert_eq!(Entry::decode(&blank), BLANK);
    }

    #[test]
    fn the_entries_of_a_batch_follow_each_other_without_a_gap() {
        let all: Vec<_> = entry(0, 1, (0, 3)).to_last().collect();
        assert_eq!(all.len(), 3);
        assert!(all.is_sorted_by(|one, next| one.may_precede(next)));
        let next = entry(300, 1, (0, 1));
        assert!(all[2].may_precede(&next));
        assert!(!all[1].may_precede(&next), "one of the batch is missing");
        assert!(!all[0].may_precede(&all[2]));
        assert!(!all[1].may_precede(&all[1]));
        assert!(
            !next.may_precede(&entry(600, 1, (1, 3))),
            "it begins in its middle"
        );
        assert!(!entry(0, 1, (3, 3)).is_plausible(1000));
        let left = all.iter().map(Entry::messages_from).collect::<Vec<_>>();
        assert_eq!(left, [3, 2, 1]);
    }
}
