//! Finding messages: QUERY_MESSAGE (12) by key, VIEW_MESSAGE_BY_ID (33). The replies' bodies are records.

use super::request::header_fields;

header_fields! {
    pub struct QueryMessage<'a> {
        "maxNum" => max_num: i32,
        "beginTimestamp" => begin_timestamp_ms: i64,
        "key" => key: &'a str,
        /// The key is a UNIQ_KEY.
        "_UNIQUE_KEY_QUERY" => unique_key_query: Option<bool>,
        "topic" => topic: &'a str,
        "endTimestamp" => end_timestamp_ms: i64,
        /// From 5.5 on: what kind of key; K is KEYS, T the tag.
        "indexType" => index_type: Option<&'a str>,
    }
}

header_fields! {
    pub struct QueryMessageReply {
        "indexLastUpdatePhyoffset" => index_last_update_physical_offset: i64,
        "indexLastUpdateTimestamp" => index_last_update_timestamp_ms: i64,
    }
}

header_fields! {
    pub struct ViewMessage<'a> {
        /// Physical.
        "offset" => offset: i64,
        "topic" => topic: Option<&'a str>,
    }
}

header_fields! {
    /// A field of ringmq's own beside [`ViewMessage`], of a replica that doubts what it was sent; RocketMQ's brokers ignore it.
    pub struct ViewAgain {
        /// The message is read from the device, although a part of the log that was read before is in memory.
        "ringmqFromDevice" => is_from_device: bool,
    }
}
