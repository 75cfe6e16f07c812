//! One entry of a ConsumeQueue, as RocketMQ writes it: where a message is in the log, and the hash of its tags.

pub(in crate::store) const ENTRY_BYTES: usize = 20;

/// Nothing shorter is a record: 91 bytes without body, topic and properties, and our CRC.
pub(in crate::store) const MIN_RECORD_BYTES: usize = 111;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    pub physical_offset: u64,
    pub size: u32,
    pub tags_code: i64,
}

impl Entry {
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

    pub fn end(&self) -> u64 {
        self.physical_offset + u64::from(self.size)
    }
}

/// What RocketMQ writes ahead of the first entry of a queue whose first file it begins in the middle.
pub(in crate::store) const BLANK: Entry = Entry {
    physical_offset: 0,
    size: i32::MAX as u32,
    tags_code: 0,
};
