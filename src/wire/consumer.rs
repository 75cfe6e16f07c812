//! A group's members: UNREGISTER_CLIENT (35), GET_CONSUMER_LIST_BY_GROUP (38), NOTIFY_CONSUMER_IDS_CHANGED (40), CHECK_CLIENT_CONFIG (46),
//! and what a broker relays to one of them (307, 309).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::heartbeat::SubscriptionData;
use super::loose_json::{self, BodyError};
use super::request::header_fields;

header_fields! {
    pub struct UnregisterClient<'a> {
        "clientID" => client_id: &'a str,
        "producerGroup" => producer_group: Option<&'a str>,
        "consumerGroup" => consumer_group: Option<&'a str>,
    }
}

header_fields! {
    /// A request that names only a group: 38, 40, and 203.
    pub struct ConsumerGroup<'a> {
        "consumerGroup" => consumer_group: &'a str,
    }
}

/// The reply's body of 38.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerList {
    pub consumer_id_list: Vec<String>,
}

/// The body of 46.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientConfig {
    pub client_id: String,
    pub group: String,
    pub namespace: Option<String>,
    pub subscription_data: Option<SubscriptionData>,
}

impl CheckClientConfig {
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        loose_json::from_slice(body)
    }
}

header_fields! {
    /// GET_CONSUMER_RUNNING_INFO (307)
    pub struct ConsumerRunningInfo<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "clientId" => client_id: &'a str,
        "jstackEnable" => jstack_enable: bool,
    }
}

/// The reply's body of 307, as far as it is read here: a client may state more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunningInfo {
    /// `PROP_CONSUME_TYPE`, `PROP_CONSUMER_START_TIMESTAMP` and the like, which tools expect to be there.
    pub properties: BTreeMap<String, String>,
    pub subscription_set: Vec<SubscriptionData>,
}

header_fields! {
    /// CONSUME_MESSAGE_DIRECTLY (309)
    pub struct ConsumeMessageDirectly<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "clientId" => client_id: Option<&'a str>,
        "msgId" => msg_id: Option<&'a str>,
        "brokerName" => broker_name: Option<&'a str>,
        "topic" => topic: Option<&'a str>,
        "topicSysFlag" => topic_sys_flag: Option<i32>,
        "groupSysFlag" => group_sys_flag: Option<i32>,
    }
}
