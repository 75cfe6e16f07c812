//! What the properties of a send request of the broker, found in one pass.

use std::borrow::Cow;

use super::Refusal;
use super::puts::MessageType;
use super::timer::requested_time::RequestedTime;
use crate::message::properties;
use crate::wire::codes::response;

/// The properties of a send that the broker acts on.
#[derive(Debug, Default)]
pub(super) struct SendProperties<'a> {
    pub(super) unique_key: Option<&'a str>,
    pub(super) delay: Option<&'a str>,
    pub(super) wait: Option<&'a str>,
    pub(super) tags: Option<&'a str>,
    pub(super) is_half: bool,
    has_sharding_key: bool,
    has_start_time: bool,
    pub(super) timer: RequestedTime<'a>,
    pub(super) inner_number: Option<&'a str>,
    /// Some of [`BROKERS_OWN`].
    has_brokers_own: bool,
}

/// A time that means something to the metrics only.
const START_DELIVER_TIME: &str = "__STARTDELIVERTIME";

/// Properties that only the broker may write. A client that forwards a message that it received sends them, too.
const BROKERS_OWN: [&str; 4] = [
    properties::CRC32,
    properties::POP_RECEIPT,
    properties::TRANSACTION_CHECK_TIMES,
    properties::TRANSACTION_PREPARED_QUEUE_OFFSET,
];

impl<'a> SendProperties<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let mut found = Self::default();
        for (name, value) in properties::iter(text) {
            match name {
                properties::UNIQUE_KEY => found.unique_key = Some(value),
                properties::DELAY => found.delay = Some(value),
                properties::WAIT => found.wait = Some(value),
                properties::TAGS => found.tags = Some(value),
                properties::TRANSACTION_PREPARED => {
                    found.is_half = value.eq_ignore_ascii_case("true");
                }
                properties::SHARDING_KEY => found.has_sharding_key = true,
                START_DELIVER_TIME => found.has_start_time = true,
                properties::TIMER_DELAY_SEC => found.timer.delay_s = Some(value),
                properties::TIMER_DELAY_MS => found.timer.delay_ms = Some(value),
                properties::TIMER_DELIVER_MS => found.timer.deliver_ms = Some(value),
                properties::TIMER_OUT_MS => found.timer.was_timed = true,
                properties::TIMER_DELETE_UNIQUE_KEY => found.timer.is_recall = true,
                properties::INNER_NUM => found.inner_number = Some(value),
                name if BROKERS_OWN.contains(&name) => found.has_brokers_own = true,
                _ => {}
            }
        }
        found
    }

    /// As in the metrics (RocketMQ: `BrokerMetricsManager.getMessageType`).
    pub(super) fn message_type(&self) -> MessageType {
        let is_delayed = self.delay.is_some() || self.timer.has_time() || self.has_start_time;
        match self.is_half {
            true => MessageType::Transaction,
            false if self.has_sharding_key => MessageType::Fifo,
            false if is_delayed => MessageType::Delay,
            false => MessageType::Normal,
        }
    }

    pub(super) fn delay_level(&self) -> Result<i32, Refusal> {
        delay_level(self.delay)
    }

    /// The properties to store: without the broker's own, a CRC among them, and without a time if there is a delay level, too, which then
    /// takes precedence (RocketMQ: `HookUtils.checkIfTimerMessage`).
    pub(super) fn stripped(&self, text: &'a str) -> Cow<'a, [u8]> {
        let is_leveled = self.delay_level().is_ok_and(|level| level > 0);
        let loses_time = is_leveled && self.timer.has_time();
        if !self.has_brokers_own && !loses_time {
            return Cow::Borrowed(text.as_bytes());
        }
        let is_kept = |name: &str| match name {
            properties::TIMER_DELAY_SEC
            | properties::TIMER_DELAY_MS
            | properties::TIMER_DELIVER_MS => !loses_time,
            name => !BROKERS_OWN.contains(&name),
        };
        Cow::Owned(properties::retained(text, is_kept, 0).into_bytes())
    }
}

/// The level that a property DELAY names; 0 without one.
pub(super) fn delay_level(text: Option<&str>) -> Result<i32, Refusal> {
    let Some(text) = text else {
        return Ok(0);
    };
    text.parse().map_err(|_| {
        let text: String = text.chars().take(32).collect();
        Refusal::new(
            response::SYSTEM_ERROR,
            format!("property DELAY is {text:?}, expected a level"),
        )
    })
}
