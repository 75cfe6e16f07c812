//! The log line about a request that took long: what, whose, how long, and of a send, where.

use std::cell::Cell;
use std::net::SocketAddr;

use tracing::warn;

use super::latencies::code_name;
use super::stages::Stored;
use crate::broker::requests;
use crate::store::LogTimes;
use crate::wire::codes::{request, response};

/// One line in this time, with the number of those that were left out since the one before.
const AGAIN_NS: u64 = 1_000_000_000;

const NS_PER_MS: f64 = 1e6;

pub struct SlowRequests {
    /// `slowRequestMillis`
    limit_ns: Cell<u64>,
    next_ns: Cell<u64>,
    left_out: Cell<u64>,
}

impl Default for SlowRequests {
    /// None is slow.
    fn default() -> Self {
        Self {
            limit_ns: Cell::new(u64::MAX),
            next_ns: Cell::new(0),
            left_out: Cell::new(0),
        }
    }
}

impl SlowRequests {
    /// 0: none is slow.
    pub fn set_limit(&self, ms: u64) {
        let ms = if ms == 0 { u64::MAX } else { ms };
        self.limit_ns.set(ms.saturating_mul(1_000_000));
    }

    /// A request was answered, or refused. A send that was stored is logged by [`Self::acknowledged`].
    pub fn answered(&self, code: i32, answer: i32, peer: SocketAddr, took_ns: u64, now_ns: u64) {
        if took_ns < self.limit_ns.get() {
            return;
        }
        let is_of_log = requests::find(code).is_some_and(|entry| entry.kind.appends());
        if is_of_log && answer == response::SUCCESS {
            return;
        }
        if let Some(left_out) = self.line(now_ns) {
            warn!(
                request = code_name(code, request::name),
                answer = code_name(answer, response::name),
                %peer, took_ms = ms(took_ns), left_out, "a slow request"
            );
        }
    }

    /// What a request has stored is committed, and was answered with success.
    pub fn acknowledged(
        &self,
        code: i32,
        stored: &Stored,
        peer: SocketAddr,
        log: &LogTimes,
        now_ns: u64,
    ) {
        let took_ns = now_ns.saturating_sub(stored.arrived_ns);
        if took_ns < self.limit_ns.get() {
            return;
        }
        let Some(left_out) = self.line(now_ns) else {
            return;
        };
        let write = log.recent.with(stored.end);
        let behind_append = write.map(|write| stored.behind_append(write, now_ns));
        let [write_wait_ns, device_ns, release_ns] = behind_append.unwrap_or_default();
        let receive_ns = stored.appended_ns.saturating_sub(stored.arrived_ns);
        let ahead_bytes = log.recent.bytes_ahead(stored.end, stored.appended_ns);
        warn!(
            request = code_name(code, request::name),
            %peer,
            took_ms = ms(took_ns),
            receive_ms = ms(receive_ns),
            write_wait_ms = ms(write_wait_ns),
            device_ms = ms(device_ns),
            release_ms = ms(release_ns),
            ahead_bytes,
            left_out,
            "a slow send"
        );
    }

    /// Whether one is logged now, and how many were not since the last one.
    fn line(&self, now_ns: u64) -> Option<u64> {
        if now_ns < self.next_ns.get() {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.next_ns.set(now_ns + AGAIN_NS);
        Some(self.left_out.take())
    }
}

fn ms(ns: u64) -> f64 {
    ns as f64 / NS_PER_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_slow_requests_is_one_line_a_second() {
        let slow = SlowRequests::default();
        let lines = (0..100).filter_map(|index| slow.line(5 + index));
        assert_eq!(lines.collect::<Vec<_>>(), [0]);
        assert_eq!(slow.line(5 + AGAIN_NS), Some(99));
        assert_eq!(slow.line(5 + 2 * AGAIN_NS), Some(0));
    }
}
