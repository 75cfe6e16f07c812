//! What a client shows to acknowledge a message that it popped (RocketMQ: `ExtraInfoUtil`).
//!
//! A receipt (`extraInfo`, and the property `POP_CK` of a message) is eight words with blanks between them:
//!
//! ```text
//! startOffset popTime invisibleTime reviveQid retryFlag brokerName queueId msgQueueOffset
//! ```
//!
//! where `retryFlag` says which topic the message was popped from: 0 the one that was asked for, 1 and 2 the group's retry
//! topic in its older and newer name.

/// In place of a revive queue: the message was popped in order, and has no check point.
pub const ORDERLY_REVIVE_QUEUE: i32 = 999;

/// The words that a broker needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt<'a> {
    /// Where the queue was read from when the message was popped.
    pub start_offset: u64,
    pub pop_time_ms: u64,
    pub invisible_ms: u64,
    pub revive_queue: i32,
    pub retry_flag: u8,
    pub broker_name: &'a str,
}

impl<'a> Receipt<'a> {
    /// Of `extraInfo`; what a broker need not know (queue and offset, which the request names as well) may be missing.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut words = text.split(' ');
        Some(Self {
            start_offset: words.next()?.parse().ok()?,
            pop_time_ms: words.next()?.parse().ok()?,
            invisible_ms: words.next()?.parse().ok()?,
            revive_queue: words.next()?.parse().ok()?,
            retry_flag: words.next()?.parse().ok()?,
            broker_name: words.next()?,
        })
    }

    pub fn is_orderly(&self) -> bool {
        self.revive_queue == ORDERLY_REVIVE_QUEUE
    }

    /// For one message.
    pub fn text(&self, queue_id: u32, offset: u64) -> String {
        let Self {
            start_offset,
            pop_time_ms,
            invisible_ms,
            revive_queue,
            retry_flag,
            broker_name,
        } = self;
        format!(
            "{start_offset} {pop_time_ms} {invisible_ms} {revive_queue} {retry_flag} {broker_name} {queue_id} {offset}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn receipts() {
        let text = "7 1700000000000 60000 3 1 broker-a 2 9";
        let receipt = Receipt::parse(text).unwrap();
        assert_eq!(receipt.text(2, 9), text);
        assert_eq!((receipt.retry_flag, receipt.broker_name), (1, "broker-a"));
        assert!(Receipt::parse("7 1 2 999 0 b 0").unwrap().is_orderly());
        for bad in ["", "7", "7 x 2 0 0 b 0 1", "-1 2 3 0 0 b 0 1", "7 1 2 0 0"] {
            assert_eq!(Receipt::parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}|[0-9 ab-]{0,40}") {
            let _ = Receipt::parse(&text);
        }
    }
}
