//! A broker's subscription groups: 200, 201, 207, 225, 352, 353; and what a group's configuration is, in bodies and in
//! `subscriptionGroup.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::data_version::DataVersion;
use super::loose_json::{self, BodyError};
use super::request::header_fields;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    pub attributes: BTreeMap<String, String>,
    pub broker_id: i64,
    pub consume_broadcast_enable: bool,
    pub consume_enable: bool,
    pub consume_from_min_enable: bool,
    pub consume_message_orderly: bool,
    pub consume_timeout_minute: i32,
    pub group_name: String,
    pub group_retry_policy: GroupRetryPolicy,
    pub group_sys_flag: i32,
    pub notify_consumer_ids_changed_enable: bool,
    pub retry_max_times: i32,
    pub retry_queue_nums: i32,
    /// Which topics with which expression; kept as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<serde_json::Value>,
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl SubscriptionGroupConfig {
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        loose_json::from_slice(body)
    }
}

/// The delay before each redelivery. The tables inside are kept unchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupRetryPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customized_retry_policy: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential_retry_policy: Option<serde_json::Value>,
    #[serde(rename = "type")]
    pub kind: String,
}

impl Default for GroupRetryPolicy {
    fn default() -> Self {
        Self {
            customized_retry_policy: None,
            exponential_retry_policy: None,
            kind: "CUSTOMIZED".to_owned(),
        }
    }
}

/// The body of UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST (225).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupList {
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

header_fields! {
    /// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201). Without fields it asks for everything.
    pub struct AllSubscriptionGroupRequest<'a> {
        "groupSeq" => group_seq: Option<i32>,
        "dataVersion" => data_version: Option<&'a str>,
        "maxGroupNum" => max_group_num: Option<i32>,
    }
}

header_fields! {
    pub struct AllSubscriptionGroupReply {
        "totalGroupNum" => total_group_num: i32,
    }
}

/// The reply's body of 201 and the content of `subscriptionGroup.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupTable {
    pub data_version: DataVersion,
    /// Group -> topic -> bits of the forbidden operations.
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

header_fields! {
    /// DELETE_SUBSCRIPTIONGROUP (207)
    pub struct DeleteGroup<'a> {
        "groupName" => group_name: &'a str,
        "cleanOffset" => clean_offset: bool,
    }
}

header_fields! {
    /// A request that names only a group: 343 and 352.
    pub struct GroupRequest<'a> {
        "group" => group: &'a str,
    }
}

header_fields! {
    /// UPDATE_AND_GET_GROUP_FORBIDDEN (353); without `readable` it only reads.
    pub struct GroupForbiddenRequest<'a> {
        "group" => group: &'a str,
        "topic" => topic: &'a str,
        "readable" => readable: Option<bool>,
    }
}

/// The reply's body of 353.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupForbidden {
    pub group: String,
    pub readable: bool,
    pub topic: String,
}
