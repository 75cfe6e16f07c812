//! Sleeping tasks by deadline, and the decision when the due ones are woken.
//!
//! Completions are processed before timers: an operation that ended before its timeout must not time out, also when the
//! thread sees both late, after the process was stopped (SIGSTOP, a paused VM) or a task has stalled the thread.

use std::collections::BTreeMap;
use std::task::Waker;

/// What the next entry into the kernel waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    No,
    AtMost { ns: u64 },
    Forever,
}

#[derive(Default)]
pub(super) struct Timers {
    sleeping: BTreeMap<TimerKey, Waker>,
    next_sequence: u64,
}

/// A deadline, then the order in which the sleeps began.
pub(super) type TimerKey = (u64, u64);

impl Timers {
    pub(super) fn next_deadline_ns(&self) -> Option<u64> {
        let (&(deadline_ns, _), _) = self.sleeping.first_key_value()?;
        Some(deadline_ns)
    }

    pub(super) fn take_due(&mut self, now_ns: u64) -> Option<Waker> {
        let first = self.sleeping.first_entry()?;
        (first.key().0 <= now_ns).then(|| first.remove())
    }

    pub(super) fn new_key(&mut self, deadline_ns: u64) -> TimerKey {
        self.next_sequence += 1;
        (deadline_ns, self.next_sequence)
    }

    /// The waker that was there before is returned: a foreign one may run any code when it is dropped.
    pub(super) fn insert(&mut self, key: TimerKey, waker: Waker) -> Option<Waker> {
        self.sleeping.insert(key, waker)
    }

    pub(super) fn remove(&mut self, key: TimerKey) -> Option<Waker> {
        self.sleeping.remove(&key)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sleeping.len()
    }
}

/// A timer this late shows that the thread did not run. Completions may have come meanwhile and are taken first.
const LATE_NS: u64 = 20_000_000;
/// After so many turns in a row that end with tasks still ready, timers fire all the same.
const MOST_BUSY_TURNS: u32 = 16;

/// What the loop does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wake the due sleepers.
    Fire,
    /// Enter the kernel, and take completions.
    Enter(Wait),
}

/// Decides when timers fire: once no task is ready, that is after all effects of the completions that were taken.
#[derive(Default)]
pub(super) struct TimerSchedule {
    busy_turns: u32,
    /// Completions were taken once more before late timers fire.
    has_checked: bool,
}

impl TimerSchedule {
    /// `idle_ns`: tasks have run until none was ready, at this time; none if some are left. `now_ns` is the reading of the
    /// turn, which decides what is due.
    pub(super) fn next(
        &mut self,
        idle_ns: Option<u64>,
        deadline_ns: Option<u64>,
        now_ns: u64,
    ) -> Next {
        let late_ns = deadline_ns.and_then(|deadline_ns| now_ns.checked_sub(deadline_ns));
        let Some(idle_ns) = idle_ns else {
            self.busy_turns += 1;
            if self.busy_turns >= MOST_BUSY_TURNS {
                self.busy_turns = 0;
                if late_ns.is_some() {
                    return Next::Fire;
                }
            }
            return Next::Enter(Wait::No);
        };
        self.busy_turns = 0;
        match (late_ns, deadline_ns) {
            (Some(late_ns), _) if late_ns < LATE_NS || self.has_checked => {
                self.has_checked = false;
                Next::Fire
            }
            (Some(_), _) => {
                self.has_checked = true;
                Next::Enter(Wait::No)
            }
            (None, Some(deadline_ns)) => {
                self.has_checked = false;
                Next::Enter(Wait::AtMost {
                    ns: deadline_ns.saturating_sub(idle_ns),
                })
            }
            (None, None) => Next::Enter(Wait::Forever),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const POLL: Next = Next::Enter(Wait::No);

    #[test]
    fn sleeps_until_the_next_deadline() {
        let mut schedule = TimerSchedule::default();
        assert_eq!(schedule.next(Some(5), None, 3), Next::Enter(Wait::Forever));
        let wait = Wait::AtMost { ns: 95 };
        assert_eq!(schedule.next(Some(5), Some(100), 3), Next::Enter(wait));
        // Tasks took longer than was left: what is due is decided by the next reading of the clock.
        let wait = Wait::AtMost { ns: 0 };
        assert_eq!(schedule.next(Some(200), Some(100), 3), Next::Enter(wait));
        assert_eq!(schedule.next(Some(201), Some(100), 200), Next::Fire);
    }

    #[test]
    fn late_timers_fire_after_completions_were_taken_once_more() {
        let mut schedule = TimerSchedule::default();
        let now_ns = 5_000 * MS;
        for _ in 0..2 {
            assert_eq!(schedule.next(Some(now_ns), Some(MS), now_ns), POLL);
            // These completions have readied tasks: still before the timers.
            assert_eq!(schedule.next(None, Some(MS), now_ns), POLL);
            assert_eq!(schedule.next(Some(now_ns), Some(MS), now_ns), Next::Fire);
        }
    }

    #[test]
    fn busy_tasks_do_not_hold_timers_for_ever() {
        let mut schedule = TimerSchedule::default();
        for _ in 0..3 {
            for _ in 1..MOST_BUSY_TURNS {
                assert_eq!(schedule.next(None, Some(MS), 2 * MS), POLL);
            }
            assert_eq!(schedule.next(None, Some(MS), 2 * MS), Next::Fire);
        }
        for _ in 0..3 * MOST_BUSY_TURNS {
            assert_eq!(schedule.next(None, Some(3 * MS), 2 * MS), POLL);
        }
    }
}
