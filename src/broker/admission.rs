//! Whether sends are taken while the disk is slow (RocketMQ: `BrokerFastFailure`, `isOSPageCacheBusy`).
//!
//! ```text
//! the oldest message that the disk has not taken   |....200 ms....|------------- late -------------|
//! sends are                                        |            taken            |     refused     |
//!                                                                 |-- 1,000 ms --|
//! ```
//! A message that waits longer than `waitTimeMillsInSendQueue` is late. That alone refuses nothing: a short stall is ridden
//! out, in the log buffer and then in front of it. Only when messages have been late for
//! `osPageCacheBusyTimeOutMills` on end the broker is busy. From then on a send that would be late is refused at once, and
//! one that would not is taken; so under a lasting overload what is taken waits about as long as the limit, instead of as
//! long as the whole buffer takes. The broker stops being busy when nothing has been late for as long again.

use std::borrow::Cow;

use super::Refusal;
use crate::wire::codes::response;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// `waitTimeMillsInSendQueue`
    pub wait_ms: u64,
    /// `osPageCacheBusyTimeOutMills`
    pub stall_ms: u64,
}

impl AdmissionLimits {
    /// The longest time that a send waits in front of a full log buffer: then the broker is busy if the disk stands still.
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

pub struct Admission {
    limits: AdmissionLimits,
    late: Late,
    busy: Option<Busy>,
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

/// What whoever runs the broker should hear of.
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
        }
    }

    /// The oldest message that is not on the disk has waited so long. To be said with every send, and every now and then.
    pub fn waited(&mut self, waited_ms: u64, now_ms: u64) -> Option<Turn> {
        let is_late = waited_ms > self.limits.wait_ms;
        self.late = match self.late {
            Late::NotSince(_) if is_late => {
                Late::Since(now_ms.saturating_sub(waited_ms - self.limits.wait_ms))
            }
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
    pub fn refusal(&mut self, waited_ms: u64, now_ms: u64) -> Option<Refusal> {
        let (Late::Since(late_ms), Some(busy)) = (self.late, &mut self.busy) else {
            return None;
        };
        busy.refused += 1;
        Some(busy_refusal(format!(
            "[PCBUSY_CLEAN_QUEUE]broker busy, start flow control for a while, the disk has not taken what was sent {waited_ms} ms ago \
             (waitTimeMillsInSendQueue={}), nor in time for {} ms (osPageCacheBusyTimeOutMills={})",
            self.limits.wait_ms,
            now_ms.saturating_sub(late_ms),
            self.limits.stall_ms,
        )))
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
            "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: {waited_ms}ms (limit {} ms), \
             the log buffer of {buffer_bytes} bytes is full",
            self.limits.patience_ms(),
        ))
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

    fn is_refused(admission: &mut Admission, waited_ms: u64, now_ms: u64) -> bool {
        admission.waited(waited_ms, now_ms);
        let refusal = admission.refusal(waited_ms, now_ms);
        refusal.inspect(|refusal| assert_eq!(refusal.code, response::SYSTEM_BUSY)).is_some()
    }

    #[test]
    fn a_stall_is_ridden_out_up_to_the_limit_and_over_at_once() {
        let mut admission = admission();
        assert!(!is_refused(&mut admission, 1_000, 1_000));
        assert!(!is_refused(&mut admission, 1_199, 1_199));
        assert!(is_refused(&mut admission, 1_200, 1_200));
        assert!(is_refused(&mut admission, 9_000, 9_000));
        let refusal = admission.refusal(9_000, 9_000).unwrap();
        assert!(refusal.remark.contains("sent 9000 ms ago"), "{}", refusal.remark);
        assert!(!is_refused(&mut admission, 0, 9_001), "the disk is back");
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
        admission.waited(1_500, 1_500);
        assert!(!is_refused(&mut admission, 150, 1_501));
        assert!(is_refused(&mut admission, 201, 1_600), "no new grace");
        assert!(!is_refused(&mut admission, 200, 1_700));
        assert_eq!(admission.waited(0, 2_699), None);
        let calm = Turn::Calm { busy_ms: 200, refused: 1 };
        assert_eq!(admission.waited(0, 2_700), Some(calm));
        assert!(!is_refused(&mut admission, 900, 3_700), "a new grace");
    }

    #[test]
    fn it_is_known_when_a_wait_will_have_been_in_vain() {
        let mut admission = admission();
        assert_eq!(admission.busy_in_ms(50, 50), 1_150);
        admission.waited(300, 300);
        assert_eq!(admission.busy_in_ms(300, 300), 900);
        admission.waited(1_200, 1_200);
        assert_eq!(admission.busy_in_ms(1_200, 1_200), 0);
        admission.waited(0, 1_300);
        assert_eq!(admission.busy_in_ms(0, 1_300), 201);
    }
}
