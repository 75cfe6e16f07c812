//! What a send's properties say to the broker, gathered in one pass.

use std::borrow::Cow;

use super::Refusal;
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
    pub(super) is_timed: bool,
    has_pop_receipt: bool,
}

const POP_RECEIPT: &str = "POP_CK";

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
                "TIMER_DELIVER_MS" | "TIMER_DELAY_SEC" | "TIMER_DELAY_MS" => noted.is_timed = true,
                POP_RECEIPT => noted.has_pop_receipt = true,
                _ => {}
            }
        }
        noted
    }

    pub(super) fn delay_level(&self) -> Result<i32, Refusal> {
        let Some(text) = self.delay else {
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

    /// The properties to store: without a receipt, which only the broker may write.
    pub(super) fn stripped(&self, text: &'a str) -> Cow<'a, [u8]> {
        if !self.has_pop_receipt {
            return Cow::Borrowed(text.as_bytes());
        }
        let mut kept = String::with_capacity(text.len());
        for (name, value) in properties::iter(text).filter(|(name, _)| *name != POP_RECEIPT) {
            properties::push(&mut kept, name, value);
        }
        Cow::Owned(kept.into_bytes())
    }
}
