//! A broker's internals for tools: QUERY_CONSUME_QUEUE (321), GET_BROKER_HA_STATUS (907), CHECK_ROCKSDB_CQ_WRITE_PROGRESS (354); and
//! the consumption progress that a group's clients report: INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223) and the C++ form of 220.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::heartbeat::SubscriptionData;
use super::request::header_fields;
use super::{MessageQueue, loose_json};

header_fields! {
    /// QUERY_CONSUME_QUEUE (321)
    pub struct QueryConsumeQueue<'a> {
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
        "index" => index: i64,
        "count" => count: i32,
        "consumerGroup" => consumer_group: Option<&'a str>,
    }
}

/// The reply's body of 321.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueEntries {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_data: Option<String>,
    pub max_queue_index: i64,
    pub min_queue_index: i64,
    pub queue_data: Vec<QueueEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueEntry {
    /// Of RocketMQ's consume queue extension, which ringmq does not have.
    pub eval: bool,
    #[serde(rename = "physicOffset")]
    pub physical_offset: i64,
    #[serde(rename = "physicSize")]
    pub size: i32,
    pub tags_code: i64,
}

/// The reply's body of 907, of a broker without replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaStatus {
    pub ha_client_runtime_info: HaClient,
    pub ha_connection_info: Vec<HaConnection>,
    pub in_sync_slave_nums: i32,
    pub master: bool,
    #[serde(rename = "masterCommitLogMaxOffset")]
    pub log_max: i64,
}

/// The reply's body of GET_BROKER_EPOCH_CACHE (1007).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EpochCache {
    pub broker_id: i64,
    pub broker_name: String,
    pub cluster_name: String,
    pub epoch_list: Vec<EpochRange>,
    pub max_offset: i64,
}

/// A part of the log that one master wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EpochRange {
    pub end_offset: i64,
    pub epoch: i32,
    pub start_offset: i64,
}

/// A master's state of its link to a slave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaConnection {
    pub addr: String,
    /// How far the slave is behind, in bytes.
    pub diff: i64,
    pub in_sync: bool,
    pub slave_ack_offset: i64,
    pub transfer_from_where: i64,
    #[serde(rename = "transferredByteInSecond")]
    pub transferred_bytes_per_s: i64,
}

/// A slave's state of its link to the master.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaClient {
    pub activated: bool,
    pub master_addr: String,
    #[serde(rename = "lastReadTimestamp")]
    pub last_read_timestamp_ms: i64,
    #[serde(rename = "lastWriteTimestamp")]
    pub last_write_timestamp_ms: i64,
    pub master_flush_offset: i64,
    pub max_offset: i64,
    #[serde(rename = "transferredByteInSecond")]
    pub transferred_bytes_per_s: i64,
}

/// The reply's body of 354.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueComparison {
    pub check_result: String,
    pub check_status: i32,
}

/// The reply's body of 223: each client's offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerTable {
    pub consumer_table: BTreeMap<String, QueueOffsets>,
    #[serde(with = "loose_json::object_keys")]
    pub message_queue_table: BTreeMap<MessageQueue, i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QueueOffsets(#[serde(with = "loose_json::object_keys")] pub BTreeMap<MessageQueue, i64>);

/// The body of 220 for C++, which reads no objects as keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetList {
    pub offset_table: Vec<QueueOffset>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueOffset {
    pub broker_name: String,
    pub offset: i64,
    pub queue_id: i32,
    pub topic: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> MessageQueue {
        MessageQueue {
            broker_name: "b".into(),
            queue_id: 1,
            topic: "T".into(),
        }
    }

    /// mqadmin reads object keys in tables of tables, too.
    #[test]
    fn each_clients_offsets_are_written_in_the_dialect() {
        let offsets = QueueOffsets([(queue(), 7)].into());
        let table = ConsumerTable {
            consumer_table: [("c".to_owned(), offsets)].into(),
            ..ConsumerTable::default()
        };
        let text = r#"{"consumerTable":{"c":{{"brokerName":"b","queueId":1,"topic":"T"}:7}},"messageQueueTable":{}}"#;
        assert_eq!(loose_json::to_vec(&table), text.as_bytes());
        assert_eq!(loose_json::from_slice(text.as_bytes()), Ok(table));
    }
}
