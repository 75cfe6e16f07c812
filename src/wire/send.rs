//! Sending: SEND_MESSAGE (10, long names), SEND_MESSAGE_V2 (310) and SEND_BATCH_MESSAGE (320, letters), SEND_REPLY_MESSAGE (324, 325).
//!
//! The frame's body is the message's. [`SendRequest::batch`] decides whether it is a batch, not the code.

use super::request::header_fields;

header_fields! {
    /// Either spelling is read; the letters are written.
    pub struct SendRequest<'a> {
        "a" | "producerGroup" => producer_group: &'a str,
        "b" | "topic" => topic: &'a str,
        "c" | "defaultTopic" => default_topic: &'a str,
        "d" | "defaultTopicQueueNums" => default_topic_queue_nums: i32,
        /// Negative: the broker chooses.
        "e" | "queueId" => queue_id: i32,
        "f" | "sysFlag" => sys_flag: i32,
        "g" | "bornTimestamp" => born_timestamp_ms: i64,
        "h" | "flag" => flag: i32,
        /// `name \x01 value \x02`, again and again.
        "i" | "properties" => properties: Option<&'a str>,
        "j" | "reconsumeTimes" => reconsume_times: Option<i32>,
        "k" | "unitMode" => unit_mode: bool,
        "l" | "maxReconsumeTimes" => max_reconsume_times: Option<i32>,
        "m" | "batch" => batch: bool,
        "n" => broker_name: Option<&'a str>,
    }
}

header_fields! {
    /// Java's client insists on the first three; C++ reads `TRACE_ON` and `MSG_REGION`.
    pub struct SendReply<'a> {
        "queueId" => queue_id: i32,
        /// The client's UNIQ_KEY.
        "transactionId" => transaction_id: Option<&'a str>,
        /// The offset message id; of a batch all, joined by commas.
        "msgId" => msg_id: &'a str,
        "TRACE_ON" => trace_on: Option<&'a str>,
        "MSG_REGION" => region: Option<&'a str>,
        "batchUniqId" => batch_uniq_id: Option<&'a str>,
        "recallHandle" => recall_handle: Option<&'a str>,
        /// Of a batch the first message's.
        "queueOffset" => queue_offset: i64,
    }
}

header_fields! {
    /// RECALL_MESSAGE (370): takes back a message that is not yet due. Its reply is [`RecallReply`].
    pub struct RecallRequest<'a> {
        "producerGroup" => producer_group: Option<&'a str>,
        "topic" => topic: &'a str,
        "recallHandle" => recall_handle: &'a str,
    }
}

header_fields! {
    pub struct RecallReply<'a> {
        "msgId" => msg_id: &'a str,
    }
}

header_fields! {
    /// PUSH_REPLY_MESSAGE_TO_CLIENT (326): the broker forwards a reply (324, 325) to the requester.
    pub struct PushReply<'a> {
        "producerGroup" => producer_group: &'a str,
        "topic" => topic: &'a str,
        "defaultTopic" => default_topic: &'a str,
        "defaultTopicQueueNums" => default_topic_queue_nums: i32,
        "queueId" => queue_id: i32,
        "sysFlag" => sys_flag: i32,
        "bornTimestamp" => born_timestamp_ms: i64,
        "flag" => flag: i32,
        "properties" => properties: Option<&'a str>,
        "reconsumeTimes" => reconsume_times: Option<i32>,
        "unitMode" => unit_mode: bool,
        /// `ip:port`
        "bornHost" => born_host: &'a str,
        "storeHost" => store_host: &'a str,
        "storeTimestamp" => store_timestamp_ms: i64,
    }
}
