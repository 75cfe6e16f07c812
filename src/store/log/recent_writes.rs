//! The last writes of the log, which tell where a send has waited.

use std::collections::VecDeque;

/// More than are in flight while a send waits for one.
const REMEMBERED: usize = 64;

/// One write of the log that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogWrite {
    /// Log position of its first byte: that of a block, of which earlier writes may have written a part.
    pub start: u64,
    /// Log position behind its last record.
    pub end: u64,
    /// Whole blocks.
    pub bytes: u64,
    pub began_ns: u64,
    pub ended_ns: u64,
}

/// In the order of their positions and times.
#[derive(Clone, Debug)]
pub struct RecentWrites {
    writes: VecDeque<LogWrite>,
}

impl Default for RecentWrites {
    fn default() -> Self {
        Self {
            writes: VecDeque::with_capacity(REMEMBERED),
        }
    }
}

impl RecentWrites {
    pub fn add(&mut self, write: LogWrite) {
        if self.writes.len() == REMEMBERED {
            self.writes.pop_front();
        }
        self.writes.push_back(write);
    }

    /// The one that has written the last byte of a record with this end. `None`: it is not remembered.
    pub fn with(&self, end: u64) -> Option<&LogWrite> {
        let place = self.writes.partition_point(|write| write.end < end);
        self.writes.get(place).filter(|write| write.start < end)
    }

    /// What had to be written for a record with this end that was appended at that time: itself, and all before it that was not on
    /// the device yet.
    pub fn bytes_ahead(&self, end: u64, appended_ns: u64) -> u64 {
        let place = self
            .writes
            .partition_point(|write| write.ended_ns <= appended_ns);
        let first = self.writes.get(place);
        first.map_or(0, |write| end.saturating_sub(write.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The write number `index` is of 1,000 bytes and takes 10 ns.
    fn write(index: u64) -> LogWrite {
        LogWrite {
            start: index * 1_000,
            end: (index + 1) * 1_000,
            bytes: 4096,
            began_ns: index * 10,
            ended_ns: (index + 1) * 10,
        }
    }

    #[test]
    fn a_record_is_found_in_the_write_with_its_last_byte() {
        let mut recent = RecentWrites::default();
        assert_eq!(recent.with(1), None);
        let all = REMEMBERED as u64 + 6;
        (0..all).for_each(|index| recent.add(write(index)));
        assert_eq!(recent.writes.len(), REMEMBERED);
        assert_eq!(recent.with(6_000), None, "forgotten");
        assert_eq!(recent.with(6_001), Some(&write(6)));
        assert_eq!(recent.with(7_000), Some(&write(6)));
        assert_eq!(recent.with(7_001), Some(&write(7)));
        assert_eq!(recent.with(all * 1_000 + 1), None, "not written");
    }

    #[test]
    fn all_that_was_not_written_is_ahead() {
        let mut recent = RecentWrites::default();
        (0..10).for_each(|index| recent.add(write(index)));
        assert_eq!(recent.bytes_ahead(5_500, 50), 500);
        assert_eq!(recent.bytes_ahead(5_500, 49), 1_500);
        assert_eq!(recent.bytes_ahead(5_500, 0), 5_500);
        assert_eq!(recent.bytes_ahead(99_000, 1_000), 0, "not written");
    }
}
