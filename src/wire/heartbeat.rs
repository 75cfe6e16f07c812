//! HEART_BEAT (34): a client's id, groups and subscriptions, as JSON in the body.

use serde::{Deserialize, Serialize};

use super::loose_json::{self, BodyError, loose_enum};
use super::request::header_fields;

/// Lists are sets in Java: the order means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatData {
    #[serde(rename = "clientID", alias = "clientId")]
    pub client_id: String,
    pub consumer_data_set: Vec<ConsumerData>,
    /// 0: the client supports only the first kind of heartbeat.
    pub heartbeat_fingerprint: i32,
    pub producer_data_set: Vec<ProducerData>,
    /// The subscriptions are left out, as they are those of the last heartbeat.
    pub without_sub: bool,
}

impl HeartbeatData {
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        loose_json::from_slice(body)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    pub group_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    pub consume_from_where: ConsumeFromWhere,
    pub consume_type: ConsumeType,
    pub group_name: String,
    pub message_model: MessageModel,
    pub subscription_data_set: Vec<SubscriptionData>,
    pub unit_mode: bool,
}

loose_enum! {
    pub enum ConsumeType, default ConsumePassively {
        /// Pull
        ConsumeActively = "CONSUME_ACTIVELY",
        /// Push
        ConsumePassively = "CONSUME_PASSIVELY",
        ConsumePop = "CONSUME_POP",
    }
}

loose_enum! {
    pub enum MessageModel, default Clustering {
        Broadcasting = "BROADCASTING",
        Clustering = "CLUSTERING",
        /// Of lite topics, which are not served here.
        LiteSelective = "LITE_SELECTIVE",
    }
}

loose_enum! {
    /// The three names in the middle are deprecated, and clients treat them as LAST_OFFSET.
    pub enum ConsumeFromWhere, default ConsumeFromLastOffset {
        ConsumeFromLastOffset = "CONSUME_FROM_LAST_OFFSET",
        ConsumeFromLastOffsetAndFromMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        ConsumeFromMinOffset = "CONSUME_FROM_MIN_OFFSET",
        ConsumeFromMaxOffset = "CONSUME_FROM_MAX_OFFSET",
        ConsumeFromFirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        ConsumeFromTimestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// A group's filter on a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    pub class_filter_mode: bool,
    /// Java's hash of each tag. Go's client sends them as strings.
    pub code_set: Vec<i32>,
    /// TAG or SQL92
    pub expression_type: String,
    /// `*`, or tags between `||`, or an SQL expression.
    pub sub_string: String,
    /// When the client subscribed, in ms; the newer one counts.
    pub sub_version: i64,
    pub tags_set: Vec<String>,
    pub topic: String,
}

const TAG: &str = "TAG";

impl Default for SubscriptionData {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: TAG.to_owned(),
            sub_string: "*".to_owned(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

header_fields! {
    /// Tells the client whether the broker supports the second kind of heartbeat.
    pub struct HeartbeatReply {
        "IS_SUPPORT_HEART_BEAT_V2" => supports_v2: bool,
        "IS_SUB_CHANGE" => sub_changed: bool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java() {
        let body = br#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"g","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":7,"tagsSet":["TagA"],"topic":"t"}],"unitMode":false}],"heartbeatFingerprint":-3,"producerDataSet":[{"groupName":"p"}],"withoutSub":true}"#;
        let data = HeartbeatData::decode(body).unwrap();
        assert_eq!(
            data.consumer_data_set[0].subscription_data_set[0].code_set,
            [2598919]
        );
        assert_eq!(data.heartbeat_fingerprint, -3);
        assert_eq!(loose_json::to_vec(&data), body);
    }

    #[test]
    fn fields_may_be_missing_null_or_new() {
        let body = br#"{"clientID":"c","unknown":{"a":[1]},"producerDataSet":null,"consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_ACTIVELY","subscriptionDataSet":[{"topic":"t","subString":"*","expressionType":null}]}]}"#;
        let data = HeartbeatData::decode(body).unwrap();
        assert_eq!(
            data.consumer_data_set[0].consume_type,
            ConsumeType::ConsumeActively
        );
        assert_eq!(
            data.consumer_data_set[0].subscription_data_set[0].expression_type,
            "TAG"
        );
        assert!(!data.without_sub);
        assert!(HeartbeatData::decode(b"{").is_err());
    }

    /// With ordinals for enums, and a number as text.
    #[test]
    fn cpp() {
        let body = br#"{"clientID":"c","consumerDataSet":[{"groupName":"g","consumeFromWhere":4,"consumeType":0,"messageModel":"0","subscriptionDataSet":[{"topic":"T","subString":"*","subVersion":"1795876569"}]}],"producerDataSet":[{"groupName":"p"}]}"#;
        let data = HeartbeatData::decode(body).unwrap();
        let group = &data.consumer_data_set[0];
        assert_eq!(group.consume_type, ConsumeType::ConsumeActively);
        assert_eq!(group.message_model, MessageModel::Broadcasting);
        let from = ConsumeFromWhere::ConsumeFromFirstOffset;
        assert_eq!(group.consume_from_where, from);
        assert_eq!(group.subscription_data_set[0].sub_version, 1_795_876_569);
        let beyond = br#"{"consumerDataSet":[{"groupName":"g","consumeType":3}]}"#;
        assert!(HeartbeatData::decode(beyond).is_err());
    }

    #[test]
    fn go_sends_hashes_as_strings() {
        let body = br#"{"codeSet":["2598919",-7],"subString":"TagA || b","tagsSet":["TagA","b"],"topic":"t"}"#;
        let data: SubscriptionData = loose_json::from_slice(body).unwrap();
        assert_eq!(data.code_set, [2598919, -7]);
    }
}
