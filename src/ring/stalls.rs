//! Counts the polls of tasks that keep the thread too long, and logs them at a limited rate.

use tracing::warn;

use crate::io::Stalls;

/// A thread logs a stall at most this often.
const LOG_INTERVAL_NS: u64 = 1_000_000_000;

pub(super) struct StallDetector {
    limit_ns: u64,
    is_watching: bool,
    stalls: Stalls,
    log_again_ns: u64,
    /// Stalls since the last logged line, and the longest of them.
    unlogged: u64,
    longest: Stall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stall {
    task: &'static str,
    ns: u64,
}

/// A stall to be logged.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    longest: Stall,
    /// Stalls that have no line of their own, the longest one excepted.
    others: u64,
}

impl StallDetector {
    pub(super) fn new(limit_ns: u64) -> StallDetector {
        StallDetector {
            limit_ns,
            is_watching: false,
            stalls: Stalls::default(),
            log_again_ns: 0,
            unlogged: 0,
            longest: Stall { task: "", ns: 0 },
        }
    }

    /// Counts from now on.
    pub(super) fn watch(&mut self) {
        self.is_watching = true;
    }

    pub(super) fn stalls(&self) -> Stalls {
        self.stalls
    }

    /// A task was polled from `began_ns` to `ended_ns`.
    #[inline]
    pub(super) fn polled(&mut self, task: &'static str, began_ns: u64, ended_ns: u64) {
        let ns = ended_ns.saturating_sub(began_ns);
        if ns > self.limit_ns && self.is_watching {
            self.stalled(Stall { task, ns }, ended_ns);
        }
    }

    #[cold]
    fn stalled(&mut self, stall: Stall, now_ns: u64) {
        if let Some(Line { longest, others }) = self.count(stall, now_ns) {
            warn!(
                task = longest.task,
                took_ms = longest.ns as f64 / 1e6,
                other_stalls = others,
                "a task has kept its thread from all others"
            );
        }
    }

    fn count(&mut self, stall: Stall, now_ns: u64) -> Option<Line> {
        self.stalls.count += 1;
        self.stalls.max_ns = self.stalls.max_ns.max(stall.ns);
        self.stalls.total_ns += stall.ns;
        self.unlogged += 1;
        if stall.ns >= self.longest.ns {
            self.longest = stall;
        }
        if now_ns < self.log_again_ns {
            return None;
        }
        self.log_again_ns = now_ns + LOG_INTERVAL_NS;
        let line = Line {
            longest: self.longest,
            others: self.unlogged - 1,
        };
        self.unlogged = 0;
        self.longest = Stall { task: "", ns: 0 };
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn counts_what_is_above_the_limit() {
        let mut detector = StallDetector::new(5 * MS);
        detector.polled("before", 0, 50 * MS);
        detector.watch();
        detector.polled("short", 0, 5 * MS);
        assert_eq!(detector.stalls(), Stalls::default());
        detector.polled("long", 10 * MS, 16 * MS);
        detector.polled("longer", 16 * MS, 25 * MS);
        detector.polled("long", 25 * MS, 32 * MS);
        let expected = Stalls {
            count: 3,
            max_ns: 9 * MS,
            total_ns: 22 * MS,
        };
        assert_eq!(detector.stalls(), expected);
    }

    #[test]
    fn a_second_has_one_line_with_the_longest() {
        let mut detector = StallDetector::new(5 * MS);
        let stall = |task, ms| Stall { task, ns: ms * MS };
        let line = |task, ms, others| {
            Some(Line {
                longest: stall(task, ms),
                others,
            })
        };
        assert_eq!(detector.count(stall("a", 6), 0), line("a", 6, 0));
        assert_eq!(detector.count(stall("b", 9), 300 * MS), None);
        assert_eq!(detector.count(stall("c", 7), 999 * MS), None);
        assert_eq!(detector.count(stall("d", 8), 1_000 * MS), line("b", 9, 2));
        assert_eq!(detector.count(stall("e", 6), 5_000 * MS), line("e", 6, 0));
    }
}
