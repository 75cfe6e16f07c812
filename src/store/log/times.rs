//! How long the device takes for the log, and how much it gets at once.

use super::recent_writes::{LogWrite, RecentWrites};
use crate::metrics::Histogram;
use crate::metrics::families::{LOG_FLUSH_SECONDS, LOG_WRITE_BYTES, LOG_WRITE_SECONDS};

/// Of all writes and flushes since the store was opened.
#[derive(Clone, Debug)]
pub struct LogTimes {
    pub write_us: Histogram,
    pub write_bytes: Histogram,
    /// Of flushes that are no part of a write.
    pub flush_us: Histogram,
    pub recent: RecentWrites,
}

impl Default for LogTimes {
    fn default() -> Self {
        Self {
            write_us: Histogram::of(&LOG_WRITE_SECONDS),
            write_bytes: Histogram::of(&LOG_WRITE_BYTES),
            flush_us: Histogram::of(&LOG_FLUSH_SECONDS),
            recent: RecentWrites::default(),
        }
    }
}

impl LogTimes {
    pub fn wrote(&mut self, write: LogWrite) {
        let took_ns = write.ended_ns.saturating_sub(write.began_ns);
        self.write_us.record(took_ns / 1_000);
        self.write_bytes.record(write.bytes);
        self.recent.add(write);
    }

    pub fn flushed(&mut self, took_ns: u64) {
        self.flush_us.record(took_ns / 1_000);
    }
}
