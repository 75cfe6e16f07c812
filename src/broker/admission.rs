//! Whether sends are taken while the disk is slow (RocketMQ: `BrokerFastFailure`, `isOSPageCacheBusy`).
//!
//! ```text
//! the oldest message that the disk has not taken   |....200 ms....|------------- late -------------|
//! sends are                                        |            taken            |     refused     |
//!                                                                 |-- 1,000 ms --|
//! ```
//! A message that waits longer than `waitTimeMillsInSendQueue` is late. That alone refuses nothing: a short stall is ridden
//! out, in the log buffer and then in front of it. Only when messages have been late for
//! `osPageCacheBusyTimeOutMills` on end the broker is busy; behind a stall the disk has as long again to catch up. From
//! then on a send that would be late is refused at once, and one that would not is taken: so under a lasting overload what
//! is taken waits about as long as the limit, instead of as long as the whole buffer takes. It would be late if another one
//! is, or if more waits than the disk took within the last such time; but not if little waits and the disk goes on, however
//! slowly, as its next write takes all of it. The broker stops being busy when nothing has been late or refused for as long
//! again.

use std::borrow::Cow;

use super::Refusal;
use crate::store::Cause;
use crate::wire::codes::response;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// `waitTimeMillsInSendQueue`
    pub wait_ms: u64,
    /// `osPageCacheBusyTimeOutMills`
    pub stall_ms: u64,
}

impl AdmissionLimits {
    /// The longest time that a send waits in front of a full log buffer: then the broker is busy if the disk completes no write.
    pub fn patience_ms(&self) -> u64 {
        self.wait_ms + self.stall_ms
    }
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            wait_ms: 200,
            stall_ms: 1_000,
        }
    }
}

/// What waits for the disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backlog {
    /// The oldest send.
    pub waited_ms: u64,
    /// The log's end, and up to where the disk has it.
    pub tail: u64,
    pub committed: u64,
}

/// So much that waits is no overload of any disk that goes on.
const LITTLE_BYTES: u64 = 64 << 10;

pub struct Admission {
    limits: AdmissionLimits,
    late: Late,
    busy: Option<Busy>,
    pace: Pace,
    stand: Stand,
}

/// For how long the disk has taken nothing of what waits.
struct Stand {
    committed: u64,
    since_ms: u64,
    stood_ms: u64,
}

/// What the disk takes within `wait_ms`.
struct Pace {
    since_ms: u64,
    committed: u64,
    bytes: u64,
}

/// Since when messages have been late, or have not been.
#[derive(Clone, Copy)]
enum Late {
    Since(u64),
    NotSince(u64),
}

struct Busy {
    since_ms: u64,
    refused: u64,
}

/// What is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Busy { late_ms: u64 },
    Calm { busy_ms: u64, refused: u64 },
}

impl Admission {
    pub fn new(limits: AdmissionLimits, now_ms: u64) -> Self {
        Self {
            limits,
            late: Late::NotSince(now_ms),
            busy: None,
            pace: Pace {
                since_ms: now_ms,
                committed: 0,
                bytes: 0,
            },
            stand: Stand {
                committed: 0,
                since_ms: now_ms,
                stood_ms: 0,
            },
        }
    }

    pub fn set_limits(&mut self, limits: AdmissionLimits) {
        self.limits = limits;
    }

    /// To be said with every send, and every now and then.
    pub fn look(&mut self, backlog: &Backlog, now_ms: u64) -> Option<Turn> {
        self.pace
            .look(backlog.committed, self.limits.wait_ms, now_ms);
        let has_stood_ms = self.stand.look(backlog, now_ms);
        let is_late = backlog.waited_ms > self.limits.wait_ms;
        self.late = match self.late {
            // What came meanwhile is late, too, until the disk has caught up.
            Late::Since(_) if is_late && self.is_stall(has_stood_ms) => Late::Since(now_ms),
            // From now on: what was late because this thread had no core is not when it looks again.
            Late::NotSince(_) if is_late => Late::Since(now_ms),
            Late::Since(_) if !is_late => Late::NotSince(now_ms),
            unchanged => unchanged,
        };
        match (self.late, &self.busy) {
            (Late::Since(since_ms), None) if now_ms - since_ms >= self.limits.stall_ms => {
                self.busy = Some(Busy {
                    since_ms: now_ms,
                    refused: 0,
                });
                Some(Turn::Busy {
                    late_ms: now_ms - since_ms,
                })
            }
            (Late::NotSince(since_ms), Some(busy)) if now_ms - since_ms >= self.limits.stall_ms => {
                let turn = Turn::Calm {
                    busy_ms: since_ms.saturating_sub(busy.since_ms),
                    refused: busy.refused,
                };
                self.busy = None;
                Some(turn)
            }
            _ => None,
        }
    }

    /// Why a send is refused now, if it is.
    pub fn refusal(&mut self, backlog: &Backlog, now_ms: u64) -> Option<Refusal> {
        let stands = self.is_stall(self.stand.stood_ms);
        let cause = self.cause();
        let busy = self.busy.as_mut()?;
        let waiting_bytes = backlog.tail - backlog.committed;
        let is_little = waiting_bytes <= LITTLE_BYTES;
        match &mut self.late {
            _ if is_little && !stands => return None,
            Late::Since(_) => {}
            // Single writes may be slow without anything waiting behind them.
            Late::NotSince(since_ms)
                if backlog.waited_ms > self.limits.wait_ms / 4
                    && waiting_bytes > self.pace.bytes =>
            {
                *since_ms = now_ms;
            }
            Late::NotSince(_) => return None,
        }
        busy.refused += 1;
        Some(busy_refusal(format!(
            "[PCBUSY_CLEAN_QUEUE]broker busy, start flow control for a while: {cause}, {waiting_bytes} bytes wait for the disk, \
             the first of them for {} ms, and the disk took {} bytes in {} ms (waitTimeMillsInSendQueue); \
             busy for {} ms (osPageCacheBusyTimeOutMills={})",
            backlog.waited_ms,
            self.pace.bytes,
            self.limits.wait_ms,
            now_ms.saturating_sub(busy.since_ms),
            self.limits.stall_ms,
        )))
    }

    /// What keeps the messages that wait from being durable.
    pub fn cause(&self) -> Cause {
        match self.is_stall(self.stand.stood_ms) {
            true => Cause::DeviceStalled,
            false => Cause::DeviceSlow,
        }
    }

    /// Longer than a flush takes.
    fn is_stall(&self, stood_ms: u64) -> bool {
        stood_ms > 0 && stood_ms >= self.limits.stall_ms / 2
    }

    /// After how long the broker will be busy if the disk takes nothing until then.
    pub fn busy_in_ms(&self, waited_ms: u64, now_ms: u64) -> u64 {
        match (self.late, &self.busy) {
            (_, Some(_)) => (self.limits.wait_ms + 1).saturating_sub(waited_ms),
            (Late::Since(since_ms), None) => {
                (since_ms + self.limits.stall_ms).saturating_sub(now_ms)
            }
            (Late::NotSince(_), None) => self.limits.patience_ms().saturating_sub(waited_ms),
        }
    }

    /// For a send that has waited in front of a full log buffer for too long, although the disk goes on.
    pub fn gives_up(&self, waited_ms: u64, buffer_bytes: usize) -> Refusal {
        busy_refusal(format!(
            "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while: {}, period in queue: {waited_ms}ms (limit {} ms), \
             the log buffer of {buffer_bytes} bytes is full",
            self.cause(),
            self.limits.patience_ms(),
        ))
    }
}

impl Stand {
    /// How long it had stood until this look, if it stands no more; otherwise 0.
    fn look(&mut self, backlog: &Backlog, now_ms: u64) -> u64 {
        if backlog.committed == self.committed {
            let passed_ms = now_ms.saturating_sub(self.since_ms);
            self.stood_ms = passed_ms.min(backlog.waited_ms);
            return 0;
        }
        (self.committed, self.since_ms) = (backlog.committed, now_ms);
        std::mem::take(&mut self.stood_ms)
    }
}

impl Pace {
    fn look(&mut self, committed: u64, wait_ms: u64, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.since_ms);
        if passed_ms >= wait_ms {
            self.bytes = committed.saturating_sub(self.committed) * wait_ms / passed_ms;
            (self.since_ms, self.committed) = (now_ms, committed);
        }
    }
}

fn busy_refusal(remark: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(response::SYSTEM_BUSY, remark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        Admission::new(AdmissionLimits::default(), 0)
    }

    fn look(admission: &mut Admission, waited_ms: u64, now_ms: u64) -> Option<Turn> {
        let backlog = Backlog {
            waited_ms,
            ..Backlog::default()
        };
        admission.look(&backlog, now_ms)
    }

    /// Much waits if anything is late.
    fn is_refused(admission: &mut Admission, waited_ms: u64, now_ms: u64) -> bool {
        let backlog = Backlog {
            waited_ms,
            tail: u64::from(waited_ms > 200) << 20,
            committed: 0,
        };
        admission.look(&backlog, now_ms);
        let refusal = admission.refusal(&backlog, now_ms);
        refusal
            .inspect(|refusal| assert_eq!(refusal.code, response::SYSTEM_BUSY))
            .is_some()
    }

    #[test]
    fn a_stall_is_ridden_out_up_to_the_limit_and_over_at_once() {
        let mut admission = admission();
        assert!(!is_refused(&mut admission, 200, 200));
        assert!(!is_refused(&mut admission, 201, 201));
        assert!(!is_refused(&mut admission, 1_200, 1_200));
        assert!(is_refused(&mut admission, 1_201, 1_201));
        assert!(is_refused(&mut admission, 9_000, 9_000));
        let backlog = Backlog {
            waited_ms: 9_001,
            tail: 70_000,
            committed: 20_000,
        };
        let refusal = admission.refusal(&backlog, 9_001).unwrap();
        for part in [
            Cause::DeviceStalled.words(),
            "50000 bytes wait",
            "for 9001 ms",
            "busy for 7800 ms",
        ] {
            assert!(refusal.remark.contains(part), "{}", refusal.remark);
        }
        assert!(!is_refused(&mut admission, 0, 9_002), "the disk is back");
    }

    #[test]
    fn waits_that_are_late_now_and_then_are_no_stall() {
        let mut admission = admission();
        for start_ms in (0..10_000).step_by(1_000) {
            for waited_ms in (0..900).step_by(10) {
                assert!(!is_refused(&mut admission, waited_ms, start_ms + waited_ms));
            }
        }
    }

    #[test]
    fn while_it_is_busy_what_would_be_late_is_refused_and_nothing_else() {
        let mut admission = admission();
        look(&mut admission, 500, 500);
        look(&mut admission, 1_500, 1_500);
        assert!(!is_refused(&mut admission, 150, 1_501));
        assert!(is_refused(&mut admission, 201, 1_600), "no new grace");
        assert!(!is_refused(&mut admission, 200, 1_700));
        assert_eq!(look(&mut admission, 0, 2_699), None);
        let calm = Turn::Calm {
            busy_ms: 200,
            refused: 1,
        };
        assert_eq!(look(&mut admission, 0, 2_700), Some(calm));
        assert!(!is_refused(&mut admission, 900, 3_700), "a new grace");
    }

    #[test]
    fn while_it_is_busy_no_more_waits_than_the_disk_takes_in_time() {
        let mut admission = admission();
        look(&mut admission, 500, 500);
        look(&mut admission, 1_500, 1_500);
        let backlog = |waited_ms, waiting, committed| Backlog {
            waited_ms,
            tail: committed + waiting,
            committed,
        };
        let mut is_refused = |backlog: Backlog, now_ms| {
            admission.look(&backlog, now_ms);
            admission.refusal(&backlog, now_ms).is_some()
        };
        assert!(
            is_refused(backlog(100, 100_000, 0), 1_600),
            "nothing was taken yet"
        );
        assert!(
            !is_refused(backlog(100, 500_000, 500_000), 1_700),
            "500,000 bytes in 200 ms"
        );
        assert!(is_refused(backlog(100, 500_001, 500_000), 1_710));
        assert!(
            !is_refused(backlog(50, 900_000, 500_000), 1_720),
            "the first has just come"
        );
        assert!(!is_refused(backlog(0, 0, 600_000), 2_709), "still busy");
        assert!(is_refused(backlog(60, 900_000, 600_000), 2_709));
        assert!(!is_refused(backlog(0, 0, 600_000), 3_709), "calm");
        assert!(!is_refused(backlog(60, 900_000, 600_000), 3_709));
    }

    /// Flushes of 300 ms, each of which takes what has come since the one before.
    #[test]
    fn a_slow_disk_that_takes_all_refuses_nothing_after_a_stall() {
        let mut admission = admission();
        let mut is_refused = |waited_ms, waiting, committed, now_ms| {
            let backlog = Backlog {
                waited_ms,
                tail: committed + waiting,
                committed,
            };
            admission.look(&backlog, now_ms);
            admission.refusal(&backlog, now_ms).is_some()
        };
        for now_ms in (0..=1_200).step_by(10) {
            assert!(!is_refused(now_ms, 1_000, 0, now_ms));
        }
        assert!(is_refused(1_210, 1_000, 0, 1_210), "nothing is written");
        for flush in 1..100 {
            for waited_ms in (0..600).step_by(10) {
                let now_ms = 1_220 + flush * 300 + waited_ms % 300;
                let is_refused = is_refused(waited_ms, LITTLE_BYTES, flush * 1_000, now_ms);
                assert!(!is_refused, "{waited_ms} at {now_ms}");
            }
        }
    }

    /// What came while it stood is late for as long again, at half of what the disk can take.
    #[test]
    fn behind_a_stall_the_disk_has_time_to_catch_up() {
        let mut admission = admission();
        let mut is_refused = |waited_ms, committed, now_ms| {
            let backlog = Backlog {
                waited_ms,
                tail: committed + (10 << 20),
                committed,
            };
            admission.look(&backlog, now_ms);
            admission.refusal(&backlog, now_ms).is_some()
        };
        for now_ms in 0..1_100 {
            assert!(!is_refused(now_ms, 0, now_ms));
        }
        for now_ms in 1_100..2_200 {
            let waited_ms = 2_200 - now_ms;
            assert!(!is_refused(waited_ms, now_ms << 10, now_ms), "at {now_ms}");
        }
        // Another one that has no end.
        for now_ms in 2_200..3_400 {
            assert!(!is_refused(now_ms - 2_200, 9 << 20, now_ms), "at {now_ms}");
        }
        assert!(is_refused(1_201, 9 << 20, 3_401));
    }

    #[test]
    fn it_is_known_when_a_wait_will_have_been_in_vain() {
        let mut admission = admission();
        assert_eq!(admission.busy_in_ms(50, 50), 1_150);
        look(&mut admission, 300, 300);
        assert_eq!(admission.busy_in_ms(300, 300), 1_000);
        look(&mut admission, 1_300, 1_300);
        assert_eq!(admission.busy_in_ms(1_300, 1_300), 0);
        look(&mut admission, 0, 1_300);
        assert_eq!(admission.busy_in_ms(0, 1_300), 201);
    }
}
