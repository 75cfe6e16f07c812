//! Time, which is only ever read at the top (the reactor) and passed down as an argument.

use std::future::Future;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, milliseconds since 1970: what is written into records (`storeTimestamp`).
    pub unix_ms: i64,
    /// Monotonic clock, nanoseconds since some fixed point: what deadlines are made of.
    pub mono_ns: u64,
}

pub trait Clock {
    fn now(&self) -> Now;

    /// What the local time is ahead of UTC by now.
    fn utc_offset_s(&self) -> i32;

    /// Done at or soon after the monotonic clock reads `mono_ns`; never before.
    fn sleep_until(&self, mono_ns: u64) -> impl Future<Output = ()>;
}
