//! What a send's properties say to the broker, gathered in one pass.

use std::borrow::Cow;

use super::{Refusal, timer};
use crate::message::properties;
use crate::wire::codes::response;

/// What matters among a send's properties.
#[derive(Debug, Default)]
pub(super) struct Noted<'a> {
    pub(super) unique_key: Option<&'a str>,
    pub(super) delay: Option<&'a str>,
    pub(super) wait: Option<&'a str>,
    pub(super) tags: Option<&'a str>,
    pub(super) is_half: bool,
    pub(super) timer: timer::Wish<'a>,
    /// Some of [`BROKERS_OWN`].
    has_brokers_own: bool,
}

/// Only the broker may write these; a client that sends on what it has got would send them, too.
const BROKERS_OWN: [&str; 3] = [
    properties::POP_RECEIPT,
    properties::TRANSACTION_CHECK_TIMES,
    properties::TRANSACTION_PREPARED_QUEUE_OFFSET,
];

impl<'a> Noted<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let mut noted = Self::default();
        for (name, value) in properties::iter(text) {
            match name {
                properties::UNIQUE_KEY => noted.unique_key = Some(value),
                properties::DELAY => noted.delay = Some(value),
                properties::WAIT => noted.wait = Some(value),
                properties::TAGS => noted.tags = Some(value),
                properties::TRANSACTION_PREPARED => {
                    noted.is_half = value.eq_ignore_ascii_case("true");
                }
                timer::DELAY_SEC => noted.timer.delay_s = Some(value),
                timer::DELAY_MS => noted.timer.delay_ms = Some(value),
                timer::DELIVER_MS => noted.timer.deliver_ms = Some(value),
                timer::OUT_MS => noted.timer.was_timed = true,
                timer::DELETE_KEY => noted.timer.is_recall = true,
                name if BROKERS_OWN.contains(&name) => noted.has_brokers_own = true,
                _ => {}
            }
        }
        noted
    }

    pub(super) fn delay_level(&self) -> Result<i32, Refusal> {
        delay_level(self.delay)
    }

    /// The properties to store: without those that are the broker's own, and without a time of its own if there
    /// is a delay level, too, which counts then (RocketMQ: `HookUtils.checkIfTimerMessage`).
    pub(super) fn stripped(&self, text: &'a str) -> Cow<'a, [u8]> {
        let is_leveled = self.delay_level().is_ok_and(|level| level > 0);
        let loses_time = is_leveled && self.timer.has_time();
        if !self.has_brokers_own && !loses_time {
            return Cow::Borrowed(text.as_bytes());
        }
        let is_kept = |name: &str| match name {
            timer::DELAY_SEC | timer::DELAY_MS | timer::DELIVER_MS => !loses_time,
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
