//! The time that a message requests by its properties, as a delay or as a point in time.

use super::super::send_plan::illegal;
use crate::broker::Refusal;
use crate::message::properties::{TIMER_DELAY_MS, TIMER_DELAY_SEC, TIMER_DELIVER_MS};

/// What a message's properties say about its time.
#[derive(Debug, Default)]
pub(in crate::broker) struct RequestedTime<'a> {
    pub(in crate::broker) delay_s: Option<&'a str>,
    pub(in crate::broker) delay_ms: Option<&'a str>,
    pub(in crate::broker) deliver_ms: Option<&'a str>,
    /// It has been in the timer topic before.
    pub(in crate::broker) was_timed: bool,
    pub(in crate::broker) is_recall: bool,
}

impl RequestedTime<'_> {
    pub(in crate::broker) fn is_timed(&self) -> bool {
        !self.was_timed && self.has_time()
    }

    pub(in crate::broker) fn has_time(&self) -> bool {
        self.delay_s.is_some() || self.delay_ms.is_some() || self.deliver_ms.is_some()
    }

    /// When the message is to be delivered.
    pub(in crate::broker) fn deliver_ms(&self, now_ms: i64) -> Result<i64, Refusal> {
        let number = |name: &str, text: &str| {
            text.parse().map_err(|_| {
                let text: String = text.chars().take(32).collect();
                illegal(format!(
                    "timer message illegal, {name} is {text:?}, expected a number"
                ))
            })
        };
        Ok(match (self.delay_s, self.delay_ms, self.deliver_ms) {
            (Some(text), _, _) => {
                let delay_s: i64 = number(TIMER_DELAY_SEC, text)?;
                now_ms.saturating_add(delay_s.saturating_mul(1000))
            }
            (_, Some(text), _) => now_ms.saturating_add(number(TIMER_DELAY_MS, text)?),
            (_, _, Some(text)) => number(TIMER_DELIVER_MS, text)?,
            _ => now_ms,
        })
    }
}
