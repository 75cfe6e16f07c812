//! What was written and flushed: the broker's own count of its log writes, or the kernel's count for a block device.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WriteCounters {
    pub writes: u64,
    pub bytes_written: u64,
    pub flushes: u64,
}

impl WriteCounters {
    /// Of the block device under `dir`, since boot.
    pub fn of_device(dir: &Path) -> io::Result<Self> {
        Self::parse(&fs::read_to_string(
            super::machine::device(dir)?.join("stat"),
        )?)
        .ok_or_else(|| io::Error::other("the device's stat file has too few fields"))
    }

    pub fn since(self, before: Self) -> Self {
        Self {
            writes: self.writes.saturating_sub(before.writes),
            bytes_written: self.bytes_written.saturating_sub(before.bytes_written),
            flushes: self.flushes.saturating_sub(before.flushes),
        }
    }

    pub fn plus(self, other: Self) -> Self {
        Self {
            writes: self.writes + other.writes,
            bytes_written: self.bytes_written + other.bytes_written,
            flushes: self.flushes + other.flushes,
        }
    }

    /// Fields as in the kernel's Documentation/block/stat.rst: 5 writes, 7 sectors of 512 bytes written, 16 flushes.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<u64> = stat
            .split_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        Some(Self {
            writes: *fields.get(4)?,
            bytes_written: fields.get(6)? * 512,
            flushes: fields.get(15).copied().unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_by_position() {
        let expected = WriteCounters {
            writes: 5,
            bytes_written: 7 * 512,
            flushes: 16,
        };
        let stat = "   1 2 3 4 5 6 7 8 0 10 11 12 13 14 15 16 17\n";
        assert_eq!(WriteCounters::parse(stat), Some(expected));
        assert_eq!(WriteCounters::parse("1 2 3"), None);
        assert_eq!(expected.plus(expected).since(expected), expected);
    }
}
