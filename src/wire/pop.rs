//! POP consumption: 200050 to 200055, 200151, their receipts, and the records of the revive log.

mod batch_ack;
mod receipt;
mod revive;

use super::request::header_fields;

pub use batch_ack::{BatchAck, BatchAckRequest, Bits};
pub use receipt::{ORDERLY_REVIVE_QUEUE, Receipt};
pub use revive::{AckBody, CheckPointBody, revive_tag};

header_fields! {
    /// POP_MESSAGE (200050)
    pub struct PopRequest<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        /// -1 is any.
        "queueId" => queue_id: i32,
        "maxMsgNums" => max_msg_nums: i32,
        "invisibleTime" => invisible_ms: i64,
        "pollTime" => poll_ms: i64,
        "bornTime" => born_ms: Option<i64>,
        "initMode" => init_mode: i32,
        "expType" => expression_type: Option<&'a str>,
        "exp" => expression: Option<&'a str>,
        "order" => order: bool,
        "attemptId" => attempt_id: Option<&'a str>,
    }
}

/// `initMode` of a group that starts with the newest message; anything else starts with the oldest.
pub const INIT_MODE_MAX: i32 = 1;

header_fields! {
    /// To a pop and to a peek. What of `start_offsets` and `message_offsets` there is for each queue, in the order of the
    /// messages: `retryFlag queueId startOffset;...` and `retryFlag queueId offset,offset;...`.
    pub struct PopReply<'a> {
        "invisibleTime" => invisible_ms: i64,
        "startOffsetInfo" => start_offsets: Option<&'a str>,
        "restNum" => rest: i64,
        "orderCountInfo" => order_counts: Option<&'a str>,
        "popTime" => pop_time_ms: i64,
        "reviveQid" => revive_queue: i32,
        "msgOffsetInfo" => message_offsets: Option<&'a str>,
    }
}

header_fields! {
    /// ACK_MESSAGE (200051)
    pub struct AckRequest<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
        "extraInfo" => receipt: &'a str,
        "offset" => offset: i64,
    }
}

header_fields! {
    /// CHANGE_MESSAGE_INVISIBLETIME (200053)
    pub struct ChangeInvisibleTime<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
        "extraInfo" => receipt: &'a str,
        "offset" => offset: i64,
        "invisibleTime" => invisible_ms: i64,
    }
}

header_fields! {
    pub struct ChangeInvisibleTimeReply {
        "invisibleTime" => invisible_ms: i64,
        "popTime" => pop_time_ms: i64,
        "reviveQid" => revive_queue: i32,
    }
}

header_fields! {
    /// PEEK_MESSAGE (200052)
    pub struct PeekRequest<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
        "maxMsgNums" => max_msg_nums: i32,
    }
}

header_fields! {
    /// NOTIFICATION (200054): is there something to pop?
    pub struct NotificationRequest<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
        "pollTime" => poll_ms: i64,
        "bornTime" => born_ms: i64,
        "order" => order: bool,
        "attemptId" => attempt_id: Option<&'a str>,
    }
}

header_fields! {
    pub struct NotificationReply {
        "hasMsg" => has_message: bool,
        "pollingFull" => is_polling_full: bool,
    }
}

header_fields! {
    /// POLLING_INFO (200055): how many pops are parked?
    pub struct PollingInfoRequest<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
    }
}

header_fields! {
    pub struct PollingInfoReply {
        "pollingNum" => polling: i32,
    }
}
