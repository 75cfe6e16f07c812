//! The bytes of an index file, as RocketMQ has them (`IndexFile`, `IndexHeader`). All integers big-endian.
//!
//! ```text
//! header 40 B   begin timestamp 8 | end timestamp 8 | begin offset 8 | end offset 8 | used slots 4 | count 4
//! slots         5,000,000 x number of the latest entry whose hash falls there; 0: none
//! entries      20,000,000 x hash 4 | physical offset 8 | seconds since begin timestamp 4 | number of the one before 4
//! ```
//! The count is the number of the next entry: entry 0 is never used. Entries are in the order of the log, so the slots say
//! nothing that the entries do not.

use std::path::{Path, PathBuf};

use crate::message::java_hash_on;

pub const HEADER_BYTES: usize = 40;
pub const SLOT_BYTES: usize = 4;
pub const ENTRY_BYTES: usize = 20;

/// How many slots and entries a file has (`maxHashSlotNum`, `maxIndexNum`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub slots: u32,
    pub entries: u32,
}

impl Shape {
    pub fn slot_of(self, hash: u32) -> u32 {
        hash % self.slots
    }

    pub fn slot_at(self, slot: u32) -> u64 {
        (HEADER_BYTES + slot as usize * SLOT_BYTES) as u64
    }

    pub fn entry_at(self, number: u32) -> u64 {
        self.slot_at(self.slots) + u64::from(number) * ENTRY_BYTES as u64
    }

    pub fn file_bytes(self) -> u64 {
        self.entry_at(self.entries)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub begin_time_ms: i64,
    pub end_time_ms: i64,
    pub begin_offset: u64,
    pub end_offset: u64,
    pub used_slots: u32,
    pub count: u32,
}

impl Header {
    /// Of a file without entries.
    pub const EMPTY: Self = Self {
        begin_time_ms: 0,
        end_time_ms: 0,
        begin_offset: 0,
        end_offset: 0,
        used_slots: 0,
        count: 1,
    };

    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.begin_time_ms.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.end_time_ms.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.begin_offset.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.end_offset.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.used_slots.to_be_bytes());
        bytes[36..].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        let (longs, ints) = bytes.split_at(32);
        let longs = longs.as_chunks::<8>().0;
        let ints = ints.as_chunks::<4>().0;
        Self {
            begin_time_ms: i64::from_be_bytes(longs[0]),
            end_time_ms: i64::from_be_bytes(longs[1]),
            begin_offset: u64::from_be_bytes(longs[2]),
            end_offset: u64::from_be_bytes(longs[3]),
            used_slots: u32::from_be_bytes(ints[0]),
            count: u32::from_be_bytes(ints[1]),
        }
    }

    /// Whether the file may have messages of this time (`IndexFile.isTimeMatched`).
    pub fn overlaps(&self, begin_ms: i64, end_ms: i64) -> bool {
        begin_ms <= self.end_time_ms && self.begin_time_ms <= end_ms
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub hash: u32,
    pub physical_offset: u64,
    /// From the file's begin timestamp on, rounded down.
    pub seconds: u32,
    /// Number of the entry before it in the same slot.
    pub previous: u32,
}

impl Entry {
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..4].copy_from_slice(&self.hash.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.physical_offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[16..].copy_from_slice(&self.previous.to_be_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let int = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self {
            hash: int(0),
            physical_offset: u64::from(int(4)) << 32 | u64::from(int(8)),
            seconds: int(12),
            previous: int(16),
        }
    }
}

/// What the hashes of a topic's keys have in common: a key is hashed as `topic#key`, a tag as `topic#T#tag`.
#[derive(Clone, Copy, Debug)]
pub struct TopicHash(i32);

impl TopicHash {
    pub fn new(topic: &str) -> Self {
        Self(java_hash_on(java_hash_on(0, topic), "#"))
    }

    pub fn of_key(self, key: &str) -> u32 {
        positive(java_hash_on(self.0, key))
    }

    pub fn of_tag(self, tag: &str) -> u32 {
        positive(java_hash_on(java_hash_on(self.0, "T#"), tag))
    }
}

/// `IndexFile.indexKeyHashMethod`: the one number that has no positive counterpart becomes 0.
fn positive(hash: i32) -> u32 {
    hash.checked_abs().unwrap_or(0) as u32
}

/// A file's name: the local time when it was made, `yyyyMMddHHmmssSSS`. Files are in the order of their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub u64);

impl Name {
    pub fn parse(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        (name.len() == 17 && name.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| name.parse().ok().map(Self))?
    }

    pub fn in_dir(self, dir: &Path) -> PathBuf {
        dir.join(format!("{:017}", self.0))
    }

    /// `local_ms` since the midnight with which 1970 began there.
    pub fn at(local_ms: i64) -> Self {
        let (seconds, ms) = (local_ms.div_euclid(1000), local_ms.rem_euclid(1000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let date = (year * 100 + month) * 100 + day;
        let time = (second / 3600 * 100 + second / 60 % 60) * 100 + second % 60;
        Self(((date * 1_000_000 + time) * 1000 + ms) as u64)
    }
}

/// Year, month and day of a day since 1970, by the calendar that starts its years in March (H. Hinnant,
/// `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_times() {
        assert_eq!(Name::at(0), Name(19_700_101_000_000_000));
        assert_eq!(Name::at(951_782_400_000), Name(20_000_229_000_000_000));
        assert_eq!(Name::at(1_795_236_399_999), Name(20_261_121_044_639_999));
        let path = Name::at(1_795_236_399_999).in_dir(Path::new("/index"));
        assert_eq!(path, Path::new("/index/20261121044639999"));
        assert_eq!(Name::parse(&path), Some(Name(20_261_121_044_639_999)));
        assert_eq!(Name::parse(Path::new("/index/2026112104463999x")), None);
    }

    #[test]
    fn hashes_are_those_of_the_whole_text() {
        let whole = |text: String| crate::message::java_hash(&text).unsigned_abs();
        for (topic, key) in [
            ("GoldenTopic", "key-0"),
            ("t\u{e9}", "k\u{1F600}"),
            ("", ""),
        ] {
            let hash = TopicHash::new(topic);
            assert_eq!(hash.of_key(key), whole(format!("{topic}#{key}")));
            assert_eq!(hash.of_tag(key), whole(format!("{topic}#T#{key}")));
        }
        assert_eq!(positive(i32::MIN), 0);
        assert_eq!(positive(-1), 1);
    }

    #[test]
    fn the_shape_is_rocketmqs() {
        let shape = Shape {
            slots: 5_000_000,
            entries: 20_000_000,
        };
        assert_eq!(shape.entry_at(0), 20_000_040);
        assert_eq!(shape.file_bytes(), 420_000_040);
    }
}
