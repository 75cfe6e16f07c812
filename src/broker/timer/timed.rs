//! Messages that wait for a time of their own in the timer topic (RocketMQ: `HookUtils.transformTimerMessage`,
//! `TimerMessageStore.doEnqueue`, `.convertMessage`).
//!
//! ```text
//! a send     -> postpone() -> the timer topic, with REAL_TOPIC, REAL_QID and TIMER_OUT_MS
//! its record -> timer()    -> when it is to be looked at again, and what for
//! then       -> deliver()  -> its real topic
//!            -> roll()     -> the timer topic again, before the end of its retention
//! ```
//! TIMER_OUT_MS is RocketMQ's: the begin of the last span of its precision before the message is due, so that a store moves
//! to and from RocketMQ. Its precision is a second, ours a millisecond.

use std::borrow::Cow;

use crate::broker::send_plan::{OwnMessage, SendPlan, check_properties, illegal};
use crate::broker::send_properties::SendProperties;
use crate::broker::system_topics::{self, SCHEDULE};
use crate::broker::{Broker, Refusal};
use crate::message::properties::{
    TIMER_DELAY_MS, TIMER_DELAY_SEC, TIMER_DELETE_UNIQUE_KEY, TIMER_DELIVER_MS, TIMER_OUT_MS,
};
use crate::message::{MAX_OWN_PROPERTIES_BYTES, Record, properties};
use crate::store::{Timer, TimerKind};
use crate::wire::codes::response;

pub use crate::broker::system_topics::TIMER;

const ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
const DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
const ROLL_TIMES: &str = "TIMER_ROLL_TIMES";

/// RocketMQ's default precision. Any other that can be configured there divides it.
pub const COARSEST_MS: i64 = 1000;

/// What is added to a message's properties when it is delivered or written again, each if there is room for it.
const TIMES_BYTES: usize = 128;

impl Broker {
    /// Redirects a message with a time of its own into the timer topic; one whose time has come stays where it is.
    pub(in crate::broker) fn postpone(
        &self,
        plan: &mut SendPlan<'_>,
        requested: &SendProperties<'_>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        if !self.config.timer_wheel {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                "accurate timer message is not enabled, timerWheelEnable is false",
            ));
        }
        let now_ms = now_ms as i64;
        let deliver_ms = requested.timer.deliver_ms(now_ms)?;
        if deliver_ms <= now_ms {
            return match requested.timer.is_recall {
                true => Err(illegal(format!(
                    "timer message illegal, it takes back what was due at {deliver_ms}, now is {now_ms}"
                ))),
                false => Ok(()),
            };
        }
        let limit_s = self.config.timer_max_delay_s;
        if limit_s > 0 && deliver_ms - now_ms > limit_s.saturating_mul(1000) as i64 {
            return Err(illegal(format!(
                "timer message illegal, the delay time should not be bigger than the max delay {}ms (timerMaxDelaySec), it is {}ms",
                limit_s * 1000,
                deliver_ms - now_ms
            )));
        }
        let out_ms = deliver_ms - 1;
        let own = &mut plan.own_properties;
        properties::push(own, TIMER_OUT_MS, &out_ms.to_string());
        properties::push(own, properties::REAL_TOPIC, &plan.topic);
        properties::push(own, properties::REAL_QUEUE_ID, &plan.queue_id.to_string());
        plan.topic = Cow::Borrowed(TIMER);
        plan.queue_id = 0;
        plan.queue = self.known_queue(TIMER, 0);
        plan.timer_out_ms = Some(out_ms);
        check_properties(plan.properties())
    }
}

/// What is to be done with a record of the timer topic, and when; None if it does not say.
pub fn timer(record: &Record<'_>, roll_window_ms: u64) -> Option<Timer> {
    let all = record.properties_without_crc();
    let out_ms = number(all, TIMER_OUT_MS)?;
    let is_recall = properties::find(all, TIMER_DELETE_UNIQUE_KEY).is_some();
    let deliver_ms = match is_recall {
        // Ahead of everything that it may take back.
        true => out_ms,
        false => deliver_ms(all, out_ms, record.store_timestamp_ms),
    };
    let (deliver_ms, stored_ms) = (
        u64::try_from(deliver_ms).ok()?,
        record.store_timestamp_ms.max(0) as u64,
    );
    let (at_ms, kind) = match rolled_ms(stored_ms, deliver_ms, roll_window_ms) {
        Some(at_ms) => (at_ms, TimerKind::Roll),
        None if is_recall => (deliver_ms, TimerKind::Recall),
        None => (deliver_ms, TimerKind::Deliver),
    };
    Some(Timer {
        at_ms,
        physical_offset: record.physical_offset,
        size: record.total_size,
        kind,
    })
}

/// RocketMQ delivers once the span of its precision that begins at TIMER_OUT_MS is over. Which precision the message was
/// written with is not said: at most the one that TIMER_OUT_MS is a multiple of. Within that span its own properties tell.
fn deliver_ms(all: &[u8], out_ms: i64, stored_ms: i64) -> i64 {
    let earliest_ms = out_ms.saturating_add(1);
    let latest_ms = |also: i64| out_ms.saturating_add(common_divisor(out_ms, also).max(1));
    let delay_ms = match number(all, TIMER_DELAY_SEC) {
        Some(delay_s) => Some(delay_s.saturating_mul(1000)),
        None => number(all, TIMER_DELAY_MS),
    };
    match (
        delay_ms,
        number(all, TIMER_DELIVER_MS),
        number(all, ENQUEUE_MS),
    ) {
        // Rolled: it was stored anew since its delay began.
        (Some(_), _, Some(enqueued_ms)) => latest_ms(common_divisor(enqueued_ms, COARSEST_MS)),
        (Some(delay_ms), _, None) => {
            let deliver_ms = stored_ms.saturating_add(delay_ms);
            deliver_ms.clamp(earliest_ms, latest_ms(COARSEST_MS))
        }
        (None, Some(deliver_ms), _) => deliver_ms.clamp(earliest_ms, latest_ms(COARSEST_MS)),
        (None, None, _) => latest_ms(COARSEST_MS),
    }
}

fn common_divisor(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a.wrapping_rem(b));
    }
    a.saturating_abs()
}

/// When a message that waits longer than the window is written anew: not so late that little is left for the last time.
fn rolled_ms(stored_ms: u64, deliver_ms: u64, window_ms: u64) -> Option<u64> {
    let beyond_ms = deliver_ms.checked_sub(stored_ms)?.checked_sub(window_ms)?;
    Some(match beyond_ms < window_ms / 3 {
        true => stored_ms + window_ms / 2,
        false => stored_ms + window_ms,
    })
}

/// What to store for a record that is due: the same message in its real topic. All properties stay, REAL_TOPIC too, as with
/// RocketMQ. None if the record does not say where it belongs.
pub fn deliver<'a>(record: &Record<'a>, now_ms: u64) -> Option<SendPlan<'a>> {
    let all = record.properties_without_crc();
    let topic = properties::find(all, properties::REAL_TOPIC)?;
    let queue_id = properties::find(all, properties::REAL_QUEUE_ID)?;
    if matches!(topic, system_topics::HALF | SCHEDULE | TIMER) {
        return None;
    }
    let own = OwnMessage {
        topic: Cow::Borrowed(topic),
        queue_id: queue_id.parse().ok()?,
        queue: None,
        reconsume_times: record.reconsume_times,
        properties: with_times(record, now_ms, number(record.properties, ROLL_TIMES)),
    };
    Some(SendPlan::of_due(record, own))
}

/// What to store for a record whose retention would end before it is due: the same again.
pub fn roll<'a>(record: &Record<'a>, now_ms: u64) -> SendPlan<'a> {
    let times = number(record.properties, ROLL_TIMES).unwrap_or(0);
    let own = OwnMessage {
        topic: Cow::Borrowed(TIMER),
        queue_id: 0,
        queue: None,
        reconsume_times: record.reconsume_times,
        properties: with_times(record, now_ms, Some(times.saturating_add(1))),
    };
    SendPlan::of_due(record, own)
}

fn with_times(record: &Record<'_>, now_ms: u64, roll_times: Option<i64>) -> String {
    let is_kept = |name: &str| !matches!(name, ENQUEUE_MS | DEQUEUE_MS | ROLL_TIMES);
    let mut kept = properties::retained(record.properties_without_crc(), is_kept, TIMES_BYTES);
    let enqueued_ms = record.store_timestamp_ms.to_string();
    let roll_times = roll_times.map(|times| times.to_string());
    let times = [
        (ENQUEUE_MS, Some(enqueued_ms)),
        (DEQUEUE_MS, Some(now_ms.to_string())),
        (ROLL_TIMES, roll_times),
    ];
    for (name, value) in times {
        // They are for statistics, but for the first: without it a rolled message may be late by the precision.
        if let Some(value) = value
            && kept.len() + name.len() + value.len() + 2 <= MAX_OWN_PROPERTIES_BYTES
        {
            properties::push(&mut kept, name, &value);
        }
    }
    kept
}

/// What a record in the timer topic takes back, or is taken back by: its time, topic and unique key.
pub fn recall_key(record: &Record<'_>) -> Option<(i64, String)> {
    let all = record.properties_without_crc();
    let out_ms = number(all, TIMER_OUT_MS)?;
    let topic = properties::find(all, properties::REAL_TOPIC)?;
    let unique_key = match properties::find(all, TIMER_DELETE_UNIQUE_KEY) {
        // RocketMQ before 5.5, and later with appendTopicForTimerDeleteKey, puts the topic before it.
        Some(key) => {
            let behind_topic = key
                .strip_prefix(topic)
                .and_then(|rest| rest.strip_prefix('+'));
            behind_topic.unwrap_or(key)
        }
        None => properties::find(all, properties::UNIQUE_KEY)?,
    };
    Some((out_ms, format!("{topic}+{unique_key}")))
}

/// The topic that it waits for.
pub fn real_topic<'a>(record: &Record<'a>) -> Option<&'a str> {
    properties::find(record.properties_without_crc(), properties::REAL_TOPIC)
}

/// How long it waits, from its birth on.
pub fn requested_delay_ms(record: &Record<'_>) -> Option<i64> {
    let out_ms = number(record.properties_without_crc(), TIMER_OUT_MS)?;
    Some(out_ms - record.born_timestamp_ms)
}

fn number(all: &[u8], name: &str) -> Option<i64> {
    properties::find(all, name)?.parse().ok()
}
