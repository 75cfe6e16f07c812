//! What the programs beside it send.

use ringmq::wire::send::SendRequest;

/// A plain message, without tag, key or property.
pub fn message_to(topic: &str, queue_id: i32) -> SendRequest<'_> {
    SendRequest {
        producer_group: "perf",
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id,
        sys_flag: 0,
        born_timestamp_ms: 0,
        flag: 0,
        properties: None,
        reconsume_times: Some(0),
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
    }
}
