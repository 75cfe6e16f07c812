//! What the checkpoint says of the index.
//!
//! ```text
//! position 8 | files 4 | first name 8 | last name 8 | header of the last file 40
//! ```

use super::layout::{HEADER_BYTES, Header, Name};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Messages before this log position, and no others, are in the files.
    pub position: u64,
    /// So many files, all but the last one full.
    pub count: u32,
    pub first: Name,
    pub last: Name,
    /// Of the last file; its own is older until it is full or the store is closed.
    pub header: Header,
}

impl Mark {
    pub const BYTES: usize = 28 + HEADER_BYTES;

    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.position.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.count.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.first.0.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.last.0.to_be_bytes());
        bytes[28..].copy_from_slice(&self.header.encode());
        bytes
    }

    pub fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let long = |at: usize| bytes[at..].first_chunk().map(|n| u64::from_be_bytes(*n));
        Some(Self {
            position: long(0)?,
            count: bytes[8..].first_chunk().map(|n| u32::from_be_bytes(*n))?,
            first: Name(long(12)?),
            last: Name(long(20)?),
            header: Header::decode(bytes[28..].first_chunk()?),
        })
    }

    /// Whether a file of this name is one of those, if all of them are there.
    pub fn names(&self, name: Name) -> bool {
        self.count > 0 && (self.first..=self.last).contains(&name)
    }
}
