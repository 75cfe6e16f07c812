//! Where a topic is: GET_ROUTEINFO_BY_TOPIC (105), REGISTER_TOPIC_IN_NAMESRV (217), GET_BROKER_CLUSTER_INFO (106), the lists of topics
//! (206, 224, 304, 305, 311, 312, 313), GET_BROKER_MEMBER_GROUP (901), and the name server's rights over brokers (205, 327, 216).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::codes::V4_9_4;
use super::loose_json;
use super::request::header_fields;

header_fields! {
    pub struct RouteRequest<'a> {
        "topic" => topic: &'a str,
        "acceptStandardJsonOnly" => accept_standard_json_only: bool,
    }
}

header_fields! {
    /// Extra fields of a client that is restricted to brokers of its zone.
    pub struct ZoneRequest<'a> {
        "__ZONE_MODE" => is_on: bool,
        "__ZONE_NAME" => name: Option<&'a str>,
    }
}

/// The reply's body of 105 and the body of 217.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRouteData {
    pub broker_datas: Vec<BrokerData>,
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// `brokerA:4;brokerB:4`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    pub queue_datas: Vec<QueueData>,
    /// Of static topics; kept as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_queue_mapping_by_broker: Option<serde_json::Value>,
}

impl TopicRouteData {
    /// In the flavour that a client of `version` reads: old ones (Go's, too) take a broker id only without quotes.
    pub fn encode(&self, version: i32, accept_standard_json_only: bool) -> Vec<u8> {
        if version >= V4_9_4 || accept_standard_json_only {
            loose_json::to_standard_vec(self)
        } else {
            loose_json::to_vec(self)
        }
    }
}

/// A broker's addresses by broker id; 0 is the primary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    pub broker_addrs: BTreeMap<i64, String>,
    pub broker_name: String,
    pub cluster: String,
    pub enable_acting_master: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
}

/// A topic's queues on one broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    pub broker_name: String,
    pub perm: i32,
    pub read_queue_nums: i32,
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

/// The reply's body of 106: always the dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Cluster -> names of its brokers.
    pub cluster_addr_table: BTreeMap<String, Vec<String>>,
}

/// The reply's body of the topic lists and of 343.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    pub topic_list: Vec<String>,
}

header_fields! {
    /// GET_TOPICS_BY_CLUSTER (224)
    pub struct ClusterRequest<'a> {
        "cluster" => cluster: &'a str,
    }
}

header_fields! {
    /// GET_BROKER_MEMBER_GROUP (901)
    pub struct MemberGroupRequest<'a> {
        "clusterName" => cluster_name: &'a str,
        "brokerName" => broker_name: &'a str,
    }
}

/// The reply's body of 901.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MemberGroupReply {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_member_group: Option<BrokerMemberGroup>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroup {
    pub broker_addrs: BTreeMap<i64, String>,
    pub broker_name: String,
    pub cluster: String,
}

header_fields! {
    /// WIPE_WRITE_PERM_OF_BROKER (205), ADD_WRITE_PERM_OF_BROKER (327)
    pub struct BrokerNameRequest<'a> {
        "brokerName" => broker_name: &'a str,
    }
}

header_fields! {
    pub struct WipeWritePermReply {
        "wipeTopicCount" => wipe_topic_count: i32,
    }
}

header_fields! {
    pub struct AddWritePermReply {
        "addTopicCount" => add_topic_count: i32,
    }
}

header_fields! {
    /// DELETE_TOPIC_IN_NAMESRV (216); without a cluster, in all.
    pub struct DeleteTopicInNamesrv<'a> {
        "clusterName" => cluster_name: Option<&'a str>,
        "topic" => topic: &'a str,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavours() {
        let broker = BrokerData {
            broker_addrs: [(0, "10.0.0.1:10911".into()), (1, "10.0.0.2:10911".into())].into(),
            broker_name: "b".into(),
            cluster: "c".into(),
            ..BrokerData::default()
        };
        let route = TopicRouteData {
            broker_datas: vec![broker],
            ..TopicRouteData::default()
        };
        let text = |version, only| String::from_utf8(route.encode(version, only)).unwrap();
        let loose = r#"{0:"10.0.0.1:10911",1:"10.0.0.2:10911"}"#;
        let standard = r#"{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"}"#;
        assert!(text(400, false).contains(loose) && text(317, false).contains(loose));
        assert!(text(401, false).contains(standard) && text(317, true).contains(standard));
        for bytes in [route.encode(0, false), route.encode(513, false)] {
            assert_eq!(
                loose_json::from_slice::<TopicRouteData>(&bytes).unwrap(),
                route
            );
        }
    }
}
