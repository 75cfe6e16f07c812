//! The controller of replica groups: 1001 to 1006, 1008, and 1011 to 1013. A heartbeat to it (904) is [`BrokerHeartbeat`](super::register::BrokerHeartbeat).
//!
//! A replica group is the brokers of one name. The controller gives each an id, which is not its broker id at the name server: the
//! master has 0 there. The *SyncStateSet* has the ids of those that have every acknowledged message. `invokeTime` of Java's headers
//! is read by no controller and is left out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::request::header_fields;
use super::route::BrokerMemberGroup;

header_fields! {
    /// CONTROLLER_ALTER_SYNC_STATE_SET (1001), of a master; the body is the [`SyncStateSet`] that it asks for, with the epoch of the present one.
    pub struct AlterSyncStateSet<'a> {
        "brokerName" => broker_name: &'a str,
        "masterBrokerId" => master_broker_id: i64,
        "masterEpoch" => master_epoch: i32,
    }
}

header_fields! {
    /// With a [`SyncStateSet`].
    pub struct AlterSyncStateSetReply {
        "newSyncStateSetEpoch" => new_sync_state_set_epoch: i32,
    }
}

header_fields! {
    /// CONTROLLER_ELECT_MASTER (1002)
    pub struct ElectMaster<'a> {
        "clusterName" => cluster_name: &'a str,
        "brokerName" => broker_name: &'a str,
        /// The broker that asks, or, with `designate_elect`, the one to be elected; -1 leaves it to the controller.
        "brokerId" => broker_id: i64,
        "designateElect" => designate_elect: bool,
    }
}

header_fields! {
    /// With an [`ElectMasterBody`].
    pub struct ElectMasterReply<'a> {
        "masterBrokerId" => master_broker_id: Option<i64>,
        "masterAddress" => master_address: Option<&'a str>,
        "syncStateSetEpoch" => sync_state_set_epoch: Option<i32>,
        "masterEpoch" => master_epoch: Option<i32>,
    }
}

header_fields! {
    /// CONTROLLER_REGISTER_BROKER (1003)
    pub struct RegisterReplica<'a> {
        "clusterName" => cluster_name: &'a str,
        "brokerName" => broker_name: &'a str,
        "brokerId" => broker_id: i64,
        "brokerAddress" => broker_address: &'a str,
    }
}

header_fields! {
    /// With a [`SyncStateSet`]. Of the master nothing is said while it is not alive.
    pub struct RegisterReplicaReply<'a> {
        "masterBrokerId" => master_broker_id: Option<i64>,
        "masterAddress" => master_address: Option<&'a str>,
        "clusterName" => cluster_name: &'a str,
        "brokerName" => broker_name: &'a str,
        "syncStateSetEpoch" => sync_state_set_epoch: Option<i32>,
        "masterEpoch" => master_epoch: Option<i32>,
    }
}

header_fields! {
    /// CONTROLLER_GET_REPLICA_INFO (1004)
    pub struct ReplicaInfoRequest<'a> {
        "brokerName" => broker_name: &'a str,
    }
}

header_fields! {
    /// With a [`SyncStateSet`].
    pub struct ReplicaInfoReply<'a> {
        "masterBrokerId" => master_broker_id: Option<i64>,
        "masterAddress" => master_address: Option<&'a str>,
        "masterEpoch" => master_epoch: i32,
    }
}

header_fields! {
    /// The reply to CONTROLLER_GET_METADATA_INFO (1005), which any controller of a group gives.
    pub struct ControllerMetadata<'a> {
        "controllerLeaderId" => leader_id: Option<&'a str>,
        "controllerLeaderAddress" => leader_address: Option<&'a str>,
        "isLeader" => is_leader: bool,
        /// `n0:host:port;n1:host:port;`
        "peers" => peers: &'a str,
        "group" => group: &'a str,
    }
}

header_fields! {
    /// NOTIFY_BROKER_ROLE_CHANGED (1008), one-way, to a broker; with a [`SyncStateSet`].
    pub struct RoleChanged<'a> {
        "masterAddress" => master_address: Option<&'a str>,
        "masterBrokerId" => master_broker_id: Option<i64>,
        "syncStateSetEpoch" => sync_state_set_epoch: Option<i32>,
        "masterEpoch" => master_epoch: Option<i32>,
    }
}

header_fields! {
    /// CLEAN_BROKER_DATA (1011)
    pub struct CleanBrokerData<'a> {
        "clusterName" => cluster_name: Option<&'a str>,
        "brokerName" => broker_name: &'a str,
        /// `1;2`; all without it.
        "brokerControllerIdsToClean" => ids: Option<&'a str>,
        "isCleanLivingBroker" | "cleanLivingBroker" => even_living: bool,
    }
}

header_fields! {
    /// CONTROLLER_GET_NEXT_BROKER_ID (1012)
    pub struct NextBrokerId<'a> {
        "clusterName" => cluster_name: &'a str,
        "brokerName" => broker_name: &'a str,
    }
}

header_fields! {
    pub struct NextBrokerIdReply<'a> {
        "clusterName" => cluster_name: &'a str,
        "nextBrokerId" => next_broker_id: i64,
        "brokerName" => broker_name: &'a str,
    }
}

header_fields! {
    /// CONTROLLER_APPLY_BROKER_ID (1013)
    pub struct ApplyBrokerId<'a> {
        "clusterName" => cluster_name: &'a str,
        "brokerName" => broker_name: &'a str,
        "appliedBrokerId" => applied_broker_id: i64,
        /// `address;millis`: the same broker repeats it.
        "registerCheckCode" => register_check_code: &'a str,
    }
}

header_fields! {
    pub struct ApplyBrokerIdReply<'a> {
        "clusterName" => cluster_name: &'a str,
        "brokerName" => broker_name: &'a str,
    }
}

header_fields! {
    /// Fields of ringmq's own in a heartbeat (904) to a controller; RocketMQ's controller ignores them.
    pub struct LogLoss {
        /// The broker's log ends before its acknowledgement mark: it has lost acknowledged messages.
        "ringmqLogLoss" => is_lossy: bool,
        /// The broker cannot read a part of its log.
        "ringmqLogDamaged" => is_damaged: bool,
    }
}

/// In both directions; the ids are those of the controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncStateSet {
    pub sync_state_set: BTreeSet<i64>,
    pub sync_state_set_epoch: i32,
}

/// The reply's body of 1002.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ElectMasterBody {
    /// After an election; addresses by the controller's ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_member_group: Option<BrokerMemberGroup>,
    pub sync_state_set: BTreeSet<i64>,
}

/// The reply's body of 1006.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicasInfoTable {
    pub replicas_info_table: BTreeMap<String, ReplicasInfo>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicasInfo {
    pub in_sync_replicas: Vec<ReplicaIdentity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_broker_id: Option<i64>,
    pub master_epoch: i32,
    pub not_in_sync_replicas: Vec<ReplicaIdentity>,
    pub sync_state_set_epoch: i32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaIdentity {
    pub alive: bool,
    pub broker_address: String,
    pub broker_id: i64,
    pub broker_name: String,
}
