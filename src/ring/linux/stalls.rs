//! Counts the polls of tasks that keep the thread too long, and logs them at a limited rate.
//!
//! A poll may take long without any fault of its task: another process has the core, or the host halts the virtual machine. So the
//! CPU time of the thread is measured beside the wall time. Reading it is a system call, which is too much for each poll: it is read
//! when the kernel was entered, at most every [`SAMPLE_NS`] unless the thread may have slept there, and once more after a stall.
//! So the CPU time of a stall includes that of the polls since the last reading, which is a little more than a turn's (1 ms).

use tracing::warn;

use super::clock::Usage;
use crate::io::Stalls;

/// A thread logs a stall at most this often.
const LOG_INTERVAL_NS: u64 = 1_000_000_000;

/// How old a reading of the CPU time may be when a turn begins.
const SAMPLE_NS: u64 = 250_000;

pub(super) struct StallDetector {
    limit_ns: u64,
    is_watching: bool,
    stalls: Stalls,
    log_again_ns: u64,
    /// Stalls since the last logged line, and the longest of them.
    unlogged: u64,
    longest: Stall,
    /// The last reading, and its time.
    usage: Usage,
    usage_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stall {
    task: &'static str,
    ns: u64,
    cpu_ns: u64,
    faults: u64,
    cause: Cause,
}

/// What kept the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The task worked.
    Work,
    /// The task waited in a system call.
    Wait,
    /// The thread was ready and did not run.
    Foreign,
}

impl Cause {
    fn text(self) -> &'static str {
        match self {
            Cause::Work => "the task used the CPU",
            Cause::Wait => "a system call blocked",
            Cause::Foreign => "other processes or the host took the CPU",
        }
    }
}

const NO_STALL: Stall = Stall {
    task: "",
    ns: 0,
    cpu_ns: 0,
    faults: 0,
    cause: Cause::Foreign,
};

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
            longest: NO_STALL,
            usage: Usage::default(),
            usage_ns: 0,
        }
    }

    /// Counts from now on.
    pub(super) fn watch(&mut self) {
        self.is_watching = true;
    }

    /// A turn begins. If the thread may have slept before it, that is not to count as a wait of a task.
    #[inline]
    pub(super) fn entered(
        &mut self,
        now_ns: u64,
        may_have_slept: bool,
        read: impl FnOnce() -> Usage,
    ) {
        if may_have_slept || now_ns.saturating_sub(self.usage_ns) > SAMPLE_NS {
            self.usage = read();
            self.usage_ns = now_ns;
        }
    }

    pub(super) fn stalls(&self) -> Stalls {
        self.stalls
    }

    /// A task was polled from `began_ns` to `ended_ns`.
    #[inline]
    pub(super) fn polled(
        &mut self,
        task: &'static str,
        began_ns: u64,
        ended_ns: u64,
        read: impl FnOnce() -> Usage,
    ) {
        let ns = ended_ns.saturating_sub(began_ns);
        if ns > self.limit_ns && self.is_watching {
            self.stalled(task, ns, ended_ns, read());
        }
    }

    #[cold]
    fn stalled(&mut self, task: &'static str, ns: u64, now_ns: u64, usage: Usage) {
        let cpu_ns = usage.cpu_ns.saturating_sub(self.usage.cpu_ns).min(ns);
        let cause = match usage.waits > self.usage.waits {
            _ if cpu_ns > self.limit_ns => Cause::Work,
            true => Cause::Wait,
            false => Cause::Foreign,
        };
        let faults = usage.faults.saturating_sub(self.usage.faults);
        (self.usage, self.usage_ns) = (usage, now_ns);
        let stall = Stall {
            task,
            ns,
            cpu_ns,
            faults,
            cause,
        };
        if let Some(Line { longest, others }) = self.count(stall, now_ns) {
            warn!(
                task = longest.task,
                took_ms = longest.ns as f64 / 1e6,
                cpu_ms = longest.cpu_ns as f64 / 1e6,
                page_faults = longest.faults,
                cause = longest.cause.text(),
                other_stalls = others,
                "a task has kept its thread from all others"
            );
        }
    }

    fn count(&mut self, stall: Stall, now_ns: u64) -> Option<Line> {
        self.stalls.count += 1;
        self.stalls.max_ns = self.stalls.max_ns.max(stall.ns);
        self.stalls.total_ns += stall.ns;
        if stall.cause != Cause::Foreign {
            self.stalls.own += 1;
            self.stalls.own_max_ns = self.stalls.own_max_ns.max(stall.ns);
        }
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
        self.longest = NO_STALL;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn usage(cpu_ms: u64, waits: u64) -> impl FnOnce() -> Usage {
        move || Usage {
            cpu_ns: cpu_ms * MS,
            waits,
            faults: 10 * waits,
        }
    }

    fn unread() -> Usage {
        panic!("the CPU time is read at stalls only")
    }

    #[test]
    fn counts_what_is_above_the_limit() {
        let mut detector = StallDetector::new(5 * MS);
        detector.polled("before", 0, 50 * MS, unread);
        detector.watch();
        detector.polled("short", 0, 5 * MS, unread);
        assert_eq!(detector.stalls(), Stalls::default());
        detector.polled("long", 10 * MS, 16 * MS, usage(6, 0));
        detector.polled("longer", 16 * MS, 25 * MS, usage(15, 0));
        detector.polled("long", 25 * MS, 32 * MS, usage(22, 0));
        let expected = Stalls {
            count: 3,
            max_ns: 9 * MS,
            total_ns: 22 * MS,
            own: 3,
            own_max_ns: 9 * MS,
        };
        assert_eq!(detector.stalls(), expected);
    }

    #[test]
    fn a_stall_without_cpu_time_or_a_wait_is_foreign() {
        let mut detector = StallDetector::new(5 * MS);
        detector.watch();
        detector.entered(0, true, usage(100, 7));
        detector.polled("halted", 0, 80 * MS, usage(101, 7));
        let longest = |detector: &StallDetector| (detector.stalls().own, detector.longest.cause);
        assert_eq!(detector.stalls().own, 0);
        // Later ones in the same second are not logged yet.
        detector.entered(80 * MS, true, usage(101, 9));
        detector.polled("blocked", 80 * MS, 90 * MS, usage(102, 10));
        assert_eq!(longest(&detector), (1, Cause::Wait));
        assert_eq!(detector.longest.faults, 10);
        detector.entered(90 * MS, true, usage(102, 11));
        detector.polled("busy", 90 * MS, 102 * MS, usage(108, 11));
        assert_eq!(longest(&detector), (2, Cause::Work));
        // The CPU time counts from the reading before the poll.
        detector.entered(102 * MS, true, usage(300, 12));
        detector.polled("halted", 102 * MS, 122 * MS, usage(301, 12));
        assert_eq!(longest(&detector), (2, Cause::Foreign));
        assert_eq!(
            (detector.longest.ns, detector.longest.cpu_ns),
            (20 * MS, MS)
        );
        assert_eq!(detector.longest.faults, 0);
        let stalls = detector.stalls();
        assert_eq!((stalls.count, stalls.max_ns), (4, 80 * MS));
        assert_eq!(stalls.own_max_ns, 12 * MS);
    }

    #[test]
    fn the_cpu_time_is_read_seldom_unless_the_thread_may_have_slept() {
        let mut detector = StallDetector::new(5 * MS);
        detector.entered(MS, false, usage(1, 0));
        detector.entered(MS + SAMPLE_NS, false, unread);
        detector.entered(MS + SAMPLE_NS + 1, false, usage(2, 0));
        detector.entered(MS + SAMPLE_NS + 2, true, usage(3, 1));
        assert_eq!(detector.usage, usage(3, 1)());
    }

    #[test]
    fn a_second_has_one_line_with_the_longest() {
        let mut detector = StallDetector::new(5 * MS);
        let stall = |task, ms| Stall {
            task,
            ns: ms * MS,
            ..NO_STALL
        };
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
