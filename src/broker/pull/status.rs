//! What a pull's look at its queue has shown, and the answer to it.

use crate::wire::codes::response;

/// RocketMQ's `GetMessageStatus`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Status {
    Found,
    NoMatchedMessage,
    MessageWasRemoving,
    OffsetFoundNull,
    OffsetOverflowBadly,
    OffsetOverflowOne,
    OffsetTooSmall,
    NoMessageInQueue,
    OffsetReset,
}

impl Status {
    pub(super) fn code_and_remark(self, offset: i64) -> (i32, &'static str) {
        use response::{PULL_NOT_FOUND, PULL_OFFSET_MOVED, PULL_RETRY_IMMEDIATELY, SUCCESS};
        match self {
            Self::Found => (SUCCESS, "FOUND"),
            Self::NoMatchedMessage => (PULL_RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE"),
            Self::MessageWasRemoving => (PULL_RETRY_IMMEDIATELY, "MESSAGE_WAS_REMOVING"),
            Self::OffsetFoundNull => (PULL_NOT_FOUND, "OFFSET_FOUND_NULL"),
            Self::OffsetOverflowBadly => (PULL_OFFSET_MOVED, "OFFSET_OVERFLOW_BADLY"),
            Self::OffsetOverflowOne => (PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE"),
            Self::OffsetTooSmall => (PULL_OFFSET_MOVED, "OFFSET_TOO_SMALL"),
            Self::NoMessageInQueue if offset == 0 => (PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE"),
            Self::NoMessageInQueue => (PULL_OFFSET_MOVED, "NO_MESSAGE_IN_QUEUE"),
            Self::OffsetReset => (PULL_OFFSET_MOVED, "OFFSET_RESET"),
        }
    }
}
