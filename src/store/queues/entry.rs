//! One entry of a ConsumeQueue, as RocketMQ writes it: where a message is in the log, and the hash of its tags.

pub(in crate::store) const ENTRY_BYTES: usize = 20;

/// The shortest record of this broker: 91 bytes, without body, topic and properties, and the CRC property.
pub(in crate::store) const MIN_RECORD_BYTES: usize = 111;

/// The shortest record of RocketMQ, which need not have the CRC property.
pub(in crate::store) const MIN_FOREIGN_RECORD_BYTES: u32 = 91;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    pub physical_offset: u64,
    pub size: u32,
    pub tags_code: i64,
}

/// What RocketMQ writes ahead of the first entry of a queue whose first file it begins in the middle.
pub(in crate::store) const BLANK: Entry = Entry {
    physical_offset: 0,
    size: i32::MAX as u32,
    tags_code: 0,
};

impl Entry {
    /// Entry of a lost message: its position is in a part of the log that cannot be read.
    pub fn into_gap(physical_offset: u64) -> Self {
        Self {
            physical_offset,
            size: MIN_RECORD_BYTES as u32,
            tags_code: 0,
        }
    }

    pub fn encode(&self, dst: &mut [u8]) {
        dst[..8].copy_from_slice(&self.physical_offset.to_be_bytes());
        dst[8..12].copy_from_slice(&self.size.to_be_bytes());
        dst[12..20].copy_from_slice(&self.tags_code.to_be_bytes());
    }

    pub fn decode(bytes: &[u8; ENTRY_BYTES]) -> Entry {
        let [a, b, c, d, e, f, g, h, i, j, k, l, tags @ ..] = *bytes;
        Entry {
            physical_offset: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            size: u32::from_be_bytes([i, j, k, l]),
            tags_code: i64::from_be_bytes(tags),
        }
    }

    /// Position behind the message. The numbers of a rotten entry may be any.
    pub fn end(&self) -> u64 {
        self.physical_offset.saturating_add(self.size.into())
    }

    /// Whether a message of this size and position fits a log that ends at `log_end`.
    pub fn is_plausible(&self, log_end: u64) -> bool {
        self.size >= MIN_FOREIGN_RECORD_BYTES && self.end() <= log_end
    }

    /// Whether `next` may follow in the same queue. The entries of lost messages all have one position.
    pub fn may_precede(&self, next: &Entry) -> bool {
        let may_be_lost = self.size == MIN_RECORD_BYTES as u32;
        self.end() <= next.physical_offset
            || may_be_lost && self.physical_offset <= next.physical_offset
    }
}
