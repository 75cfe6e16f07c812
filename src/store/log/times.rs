//! How long the device takes for the log, and how much it gets at once.

use crate::metrics::Histogram;
use crate::metrics::families::{LOG_FLUSH_SECONDS, LOG_WRITE_BYTES, LOG_WRITE_SECONDS};

/// Of all writes and flushes since the store was opened.
#[derive(Clone, Debug)]
pub struct LogTimes {
    pub write_us: Histogram,
    pub write_bytes: Histogram,
    /// Of flushes that are no part of a write.
    pub flush_us: Histogram,
}

impl Default for LogTimes {
    fn default() -> Self {
        Self {
            write_us: Histogram::of(&LOG_WRITE_SECONDS),
            write_bytes: Histogram::of(&LOG_WRITE_BYTES),
            flush_us: Histogram::of(&LOG_FLUSH_SECONDS),
        }
    }
}

impl LogTimes {
    pub fn wrote(&mut self, bytes: u64, took_ns: u64) {
        self.write_us.record(took_ns / 1_000);
        self.write_bytes.record(bytes);
    }

    pub fn flushed(&mut self, took_ns: u64) {
        self.flush_us.record(took_ns / 1_000);
    }
}
