//! Statistics of a broker: 28, 202, 203, 204, 208, 300, 303, 315, 317, 328, 343, 345; and the bodies of resetting offsets (222, 223).
//!
//! mqadmin reads the tables by queue only in the dialect: write these bodies with [`loose_json::to_vec`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use super::request::header_fields;
use super::{Language, MessageQueue, loose_json};

/// The reply's body of GET_BROKER_RUNTIME_INFO (28), GET_KVLIST_BY_NAMESPACE (219) and REGISTER_BROKER (103).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    pub table: BTreeMap<String, String>,
}

/// The reply's body of GET_TOPIC_STATS_INFO (202).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStatsTable {
    #[serde(with = "loose_json::object_keys")]
    pub offset_table: BTreeMap<MessageQueue, TopicOffset>,
    pub topic_put_tps: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicOffset {
    #[serde(rename = "lastUpdateTimestamp")]
    pub last_update_timestamp_ms: i64,
    pub max_offset: i64,
    pub min_offset: i64,
}

header_fields! {
    /// GET_CONSUME_STATS (208)
    pub struct ConsumeStatsRequest<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: Option<&'a str>,
        /// Separated by `;`.
        "topicList" => topic_list: Option<&'a str>,
    }
}

/// The reply's body of 208.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    pub consume_tps: f64,
    #[serde(with = "loose_json::object_keys")]
    pub offset_table: BTreeMap<MessageQueue, OffsetWrapper>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OffsetWrapper {
    pub broker_offset: i64,
    pub consumer_offset: i64,
    /// When the message at the consumer's offset was stored.
    #[serde(rename = "lastTimestamp")]
    pub last_timestamp_ms: i64,
    pub pull_offset: i64,
}

header_fields! {
    /// GET_BROKER_CONSUME_STATS (317)
    pub struct BrokerConsumeStatsRequest {
        "isOrder" => is_order: bool,
    }
}

/// The reply's body of 317.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStatsList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    /// Each entry has one group.
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    pub total_diff: i64,
    pub total_inflight_diff: i64,
}

/// A client at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    pub client_addr: String,
    pub client_id: String,
    pub language: Language,
    pub version: i32,
}

/// The reply's body of GET_CONSUMER_CONNECTION_LIST (203).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnection {
    pub connection_set: Vec<Connection>,
    pub consume_from_where: ConsumeFromWhere,
    pub consume_type: ConsumeType,
    pub message_model: MessageModel,
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

header_fields! {
    /// GET_PRODUCER_CONNECTION_LIST (204)
    pub struct ProducerGroup<'a> {
        "producerGroup" => producer_group: &'a str,
    }
}

/// The reply's body of 204.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerConnection {
    pub connection_set: Vec<Connection>,
}

/// The reply's body of GET_ALL_PRODUCER_INFO (328), by group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerTableInfo {
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProducerInfo {
    pub client_id: String,
    pub language: Language,
    #[serde(rename = "lastUpdateTimestamp")]
    pub last_update_timestamp_ms: i64,
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    pub version: i32,
}

/// The reply's body of QUERY_TOPIC_CONSUME_BY_WHO (300).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupList {
    pub group_list: Vec<String>,
}

header_fields! {
    /// QUERY_CONSUME_TIME_SPAN (303), QUERY_SUBSCRIPTION_BY_CONSUMER (345)
    pub struct GroupAndTopic<'a> {
        "group" => group: &'a str,
        "topic" => topic: Option<&'a str>,
    }
}

/// The reply's body of 345.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QuerySubscriptionReply {
    pub group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
    pub topic: String,
}

/// The reply's body of 303.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeTimeSpans {
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueTimeSpan {
    #[serde(rename = "consumeTimeStamp")]
    pub consume_timestamp_ms: i64,
    #[serde(rename = "delayTime")]
    pub delay_ms: i64,
    #[serde(rename = "maxTimeStamp")]
    pub max_timestamp_ms: i64,
    pub message_queue: MessageQueue,
    #[serde(rename = "minTimeStamp")]
    pub min_timestamp_ms: i64,
}

header_fields! {
    /// VIEW_BROKER_STATS_DATA (315)
    pub struct BrokerStatsRequest<'a> {
        "statsName" => stats_name: &'a str,
        "statsKey" => stats_key: &'a str,
    }
}

/// The reply's body of 315.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerStatsData {
    pub stats_day: BrokerStatsItem,
    pub stats_hour: BrokerStatsItem,
    pub stats_minute: BrokerStatsItem,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerStatsItem {
    pub avgpt: f64,
    pub sum: i64,
    pub tps: f64,
}

/// The reply's body of INVOKE_BROKER_TO_RESET_OFFSET (222) and the body of RESET_CONSUMER_CLIENT_OFFSET (220).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetBody {
    #[serde(with = "loose_json::object_keys")]
    pub offset_table: BTreeMap<MessageQueue, i64>,
}

/// The reply's body of GET_CONSUMER_STATUS_FROM_CLIENT (221).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerStatusBody {
    #[serde(with = "loose_json::object_keys")]
    pub message_queue_table: BTreeMap<MessageQueue, i64>,
}
