//! Time. Only the reactor reads it; the code below gets it as an argument.

use std::future::Future;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, milliseconds since 1970: what is written into records (`storeTimestamp`).
    pub unix_ms: i64,
    /// Monotonic clock, nanoseconds since some fixed point; for deadlines.
    pub mono_ns: u64,
}

pub trait Clock {
    fn now(&self) -> Now;

    /// The monotonic clock, read at this moment: some 20 ns. [`Clock::now`] may be the reading of the whole turn.
    fn exact_ns(&self) -> u64;

    /// How far the local time is ahead of UTC now.
    fn utc_offset_s(&self) -> i32;

    /// Completes when the monotonic clock reads `mono_ns` or soon after; never before.
    fn sleep_until(&self, mono_ns: u64) -> impl Future<Output = ()>;
}
