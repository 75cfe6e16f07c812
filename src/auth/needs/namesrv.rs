//! The rows of a name server, of which RocketMQ has none: its name server asks nobody for credentials.
//!
//! The sender chooses the field `clusterName`. So it names the needed cluster only in the request that changes nothing outside that cluster; every other one needs all
//! clusters. A registration is among these: it may take over the name or the address of a broker of any cluster.

use super::{Kind, NameIn, Needs, Row};
use crate::auth::resource::Actions;
use crate::wire::codes::request::*;

/// Every user may ask for the route of a topic that it may use in some way.
const USES: Actions = Actions::PUB.or(Actions::SUB).or(Actions::GET);

/// `None`: the code has no row, and nobody but a super user may ask it.
#[rustfmt::skip]
pub fn needs(code: i32) -> Option<Needs> {
    use Needs::Rows;
    Some(match code {
        // Producers ask for that of the template TBW102, too: `guard.rs`.
        GET_ROUTEINFO_BY_TOPIC => Rows(const { &[Row::topic(&["topic"], USES)] }),
        GET_BROKER_CLUSTER_INFO | GET_BROKER_MEMBER_GROUP | QUERY_DATA_VERSION | GET_KV_CONFIG
        | GET_KVLIST_BY_NAMESPACE | GET_NAMESRV_CONFIG => Rows(const { &[Row::cluster(Actions::GET)] }),
        GET_ALL_TOPIC_LIST_FROM_NAMESERVER | GET_TOPICS_BY_CLUSTER | GET_SYSTEM_TOPIC_LIST_FROM_NS
        | GET_UNIT_TOPIC_LIST | GET_HAS_UNIT_SUB_TOPIC_LIST | GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST =>
            Rows(const { &[Row::new(Kind::Topic, NameIn::All, Actions::LIST)] }),
        REGISTER_BROKER | UNREGISTER_BROKER | BROKER_HEARTBEAT | WIPE_WRITE_PERM_OF_BROKER | ADD_WRITE_PERM_OF_BROKER
        | REGISTER_TOPIC_IN_NAMESRV | PUT_KV_CONFIG | DELETE_KV_CONFIG | UPDATE_NAMESRV_CONFIG =>
            Rows(const { &[Row::cluster(Actions::UPDATE)] }),
        DELETE_TOPIC_IN_NAMESRV =>
            Rows(const { &[Row::new(Kind::Cluster, NameIn::OrAll("clusterName"), Actions::UPDATE)] }),
        _ => return None,
    })
}

/// What an administrator asks for, to change something. Registrations are brokers'.
pub fn is_administration(code: i32) -> bool {
    matches!(
        code,
        WIPE_WRITE_PERM_OF_BROKER
            | ADD_WRITE_PERM_OF_BROKER
            | DELETE_TOPIC_IN_NAMESRV
            | PUT_KV_CONFIG
            | DELETE_KV_CONFIG
            | UPDATE_NAMESRV_CONFIG
    )
}

/// What clients and tools read, and nobody else is harmed by: open unless `namesrvAuth=all`.
pub fn is_open_reading(code: i32) -> bool {
    matches!(
        code,
        GET_ROUTEINFO_BY_TOPIC
            | GET_BROKER_CLUSTER_INFO
            | GET_BROKER_MEMBER_GROUP
            | QUERY_DATA_VERSION
            | GET_KV_CONFIG
            | GET_KVLIST_BY_NAMESPACE
            | GET_ALL_TOPIC_LIST_FROM_NAMESERVER
            | GET_TOPICS_BY_CLUSTER
            | GET_SYSTEM_TOPIC_LIST_FROM_NS
            | GET_UNIT_TOPIC_LIST
            | GET_HAS_UNIT_SUB_TOPIC_LIST
            | GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST
    )
}
