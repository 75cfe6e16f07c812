//! Offsets: of a group (14, 15, 43, 45, 222, 314) and of a queue (29, 30, 31, 32).

use super::Value;
use super::request::{Field, header_fields};

header_fields! {
    /// QUERY_CONSUMER_OFFSET (14)
    pub struct QueryConsumerOffset<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
        /// Missing is true for Java's broker.
        "setZeroIfNotFound" => set_zero_if_not_found: Option<bool>,
    }
}

header_fields! {
    /// UPDATE_CONSUMER_OFFSET (15), mostly one-way.
    pub struct UpdateConsumerOffset<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
        "commitOffset" => commit_offset: i64,
    }
}

/// Which of several messages of one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boundary {
    #[default]
    Lower,
    Upper,
}

impl<'a> Field<'a> for Boundary {
    /// As `BoundaryType.getType`: all that is not UPPER is LOWER.
    fn parse(text: &'a str) -> Option<Self> {
        Some(if text.eq_ignore_ascii_case("upper") {
            Self::Upper
        } else {
            Self::Lower
        })
    }

    fn absent() -> Option<Self> {
        Some(Self::Lower)
    }

    fn value(&self) -> Value<'_> {
        Value::Str(match self {
            Self::Lower => "LOWER",
            Self::Upper => "UPPER",
        })
    }
}

header_fields! {
    /// SEARCH_OFFSET_BY_TIMESTAMP (29)
    pub struct SearchOffset<'a> {
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
        "timestamp" => timestamp_ms: i64,
        "boundaryType" => boundary: Boundary,
    }
}

header_fields! {
    /// GET_MAX_OFFSET (30), GET_MIN_OFFSET (31), GET_EARLIEST_MSG_STORETIME (32)
    pub struct QueueRequest<'a> {
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
    }
}

header_fields! {
    /// The reply to 14, 29, 30 and 31.
    pub struct OffsetReply {
        "offset" => offset: i64,
    }
}

header_fields! {
    /// The reply to 32; -1 if the queue has no message.
    pub struct TimestampReply {
        "timestamp" => timestamp_ms: i64,
    }
}

header_fields! {
    /// INVOKE_BROKER_TO_RESET_OFFSET (222); the reply's body is a [`ResetOffsetBody`](super::stats::ResetOffsetBody)..
    pub struct ResetOffset<'a> {
        "topic" => topic: &'a str,
        "group" => group: &'a str,
        /// None or -1: all queues.
        "queueId" => queue_id: Option<i32>,
        "offset" => offset: Option<i64>,
        /// Negative: the end.
        "timestamp" => timestamp_ms: i64,
        "isForce" => force: bool,
    }
}

header_fields! {
    /// INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223)
    pub struct ConsumerStatusRequest<'a> {
        "topic" => topic: &'a str,
        "group" => group: &'a str,
        "clientAddr" => client_addr: Option<&'a str>,
    }
}

header_fields! {
    /// CLONE_GROUP_OFFSET (314)
    pub struct CloneGroupOffset<'a> {
        "srcGroup" => src_group: &'a str,
        "destGroup" => dest_group: &'a str,
        "topic" => topic: Option<&'a str>,
        "offline" => offline: bool,
    }
}
