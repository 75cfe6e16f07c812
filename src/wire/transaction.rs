//! Transactions: END_TRANSACTION (37, one-way), CHECK_TRANSACTION_STATE (39, asked by the broker), RESUME_CHECK_HALF_MESSAGE (323).

use super::request::header_fields;

/// Values of [`EndTransaction::commit_or_rollback`] (`MessageSysFlag.java`).
pub const TRANSACTION_NOT_TYPE: i32 = 0;
pub const TRANSACTION_COMMIT_TYPE: i32 = 8;
pub const TRANSACTION_ROLLBACK_TYPE: i32 = 12;

header_fields! {
    pub struct EndTransaction<'a> {
        "topic" => topic: Option<&'a str>,
        "producerGroup" => producer_group: &'a str,
        /// The half message's queue offset.
        "tranStateTableOffset" => half_queue_offset: i64,
        /// The half message's physical offset.
        "commitLogOffset" => half_physical_offset: i64,
        "commitOrRollback" => commit_or_rollback: i32,
        "fromTransactionCheck" => from_transaction_check: bool,
        "msgId" => msg_id: &'a str,
        "transactionId" => transaction_id: Option<&'a str>,
    }
}

header_fields! {
    /// The body is the half message's record.
    pub struct CheckTransactionState<'a> {
        "topic" => topic: Option<&'a str>,
        "tranStateTableOffset" => half_queue_offset: i64,
        "commitLogOffset" => half_physical_offset: i64,
        "msgId" => msg_id: Option<&'a str>,
        "transactionId" => transaction_id: Option<&'a str>,
        "offsetMsgId" => offset_msg_id: Option<&'a str>,
        "bname" => broker_name: Option<&'a str>,
    }
}

header_fields! {
    pub struct ResumeCheckHalfMessage<'a> {
        "topic" => topic: Option<&'a str>,
        "msgId" => msg_id: Option<&'a str>,
    }
}
