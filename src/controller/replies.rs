//! Replies, made of the agreed state.

use super::group::Group;
use super::notice::set_body;
use super::standing::Standing;
use super::{Agreed, Applied};
use crate::wire::codes::response;
use crate::wire::controller::*;
use crate::wire::route::BrokerMemberGroup;
use crate::wire::{Reply, loose_json};

/// A request whose command is being agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    AlterSet,
    Elect { name: String },
    Register { cluster: String, name: String },
    ApplyId { cluster: String, name: String },
    Clean,
}

/// `is_fit` says whether a broker may stay master.
pub(super) fn of(asked: &Asked, applied: &Applied, is_fit: impl Fn(&str, i64) -> bool) -> Reply {
    let reply = match asked {
        Asked::AlterSet => altered(applied),
        Asked::Elect { name } => elected(name, applied),
        Asked::Register { cluster, name } => registered(cluster, name, applied, is_fit),
        Asked::ApplyId { cluster, name } => Reply::ok().with_fields(
            &ApplyBrokerIdReply {
                cluster_name: cluster,
                broker_name: name,
            }
            .ext(),
        ),
        Asked::Clean => Reply::ok(),
    };
    Reply {
        code: applied.code,
        remark: applied.remark.clone().map(Into::into),
        ..reply
    }
}

fn altered(applied: &Applied) -> Reply {
    let Some(group) = applied.group.as_ref().filter(|_| applied.is_ok()) else {
        return Reply::ok();
    };
    let reply = AlterSyncStateSetReply {
        new_sync_state_set_epoch: group.set_epoch,
    };
    Reply::ok()
        .with_fields(&reply.ext())
        .with_body(set_body(group))
}

/// The reply for an old master that stays has the fields of one that was elected: brokers take both for success.
fn elected(name: &str, applied: &Applied) -> Reply {
    let is_known = applied.is_ok() || applied.code == response::CONTROLLER_MASTER_STILL_EXIST;
    let Some(group) = applied.group.as_ref().filter(|_| is_known) else {
        return Reply::ok();
    };
    let reply = ElectMasterReply {
        master_broker_id: group.master,
        master_address: group.master_address(),
        sync_state_set_epoch: Some(group.set_epoch),
        master_epoch: Some(group.master_epoch),
    };
    let replicas = group.replicas.iter();
    let members = applied.is_elected.then(|| BrokerMemberGroup {
        broker_addrs: replicas
            .map(|(id, replica)| (*id, replica.address.clone()))
            .collect(),
        broker_name: name.to_owned(),
        cluster: group.cluster.clone(),
    });
    // With quoted ids, other than RocketMQ: its own mqadmin cannot read the reply with bare ones.
    let body = ElectMasterBody {
        broker_member_group: members,
        sync_state_set: group.set.clone(),
    };
    Reply::ok()
        .with_fields(&reply.ext())
        .with_body(loose_json::to_standard_vec(&body))
}

fn registered(
    cluster: &str,
    name: &str,
    applied: &Applied,
    is_fit: impl Fn(&str, i64) -> bool,
) -> Reply {
    let group = applied.group.as_ref().filter(|_| applied.is_ok());
    let led = group.filter(|group| group.master.is_some_and(|id| is_fit(name, id)));
    let reply = RegisterReplicaReply {
        master_epoch: led.map(|group| group.master_epoch),
        cluster_name: cluster,
        master_broker_id: led.and_then(|group| group.master),
        master_address: led.and_then(Group::master_address),
        broker_name: name,
        sync_state_set_epoch: led.map(|group| group.set_epoch),
    };
    let reply = Reply::ok().with_fields(&reply.ext());
    match group {
        Some(group) => reply.with_body(set_body(group)),
        None => reply,
    }
}

pub(super) fn replica_info(group: &Group) -> Reply {
    let reply = ReplicaInfoReply {
        master_broker_id: group.master,
        master_address: group.master_address(),
        master_epoch: group.master_epoch,
    };
    Reply::ok()
        .with_fields(&reply.ext())
        .with_body(set_body(group))
}

pub(super) fn sync_state_data(
    agreed: &Agreed,
    names: &[String],
    is_alive: impl Fn(&str, i64) -> bool,
) -> Reply {
    let known = names
        .iter()
        .filter_map(|name| Some((name, agreed.group(name)?)));
    let table = known.map(|(name, group)| {
        let replicas = group.replicas.iter().map(|(id, replica)| ReplicaIdentity {
            alive: is_alive(name, *id),
            broker_address: replica.address.clone(),
            broker_id: *id,
            broker_name: name.clone(),
        });
        let (in_sync, not_in_sync) = replicas.partition(|it| group.set.contains(&it.broker_id));
        let info = ReplicasInfo {
            in_sync_replicas: in_sync,
            master_address: group.master_address().map(str::to_owned),
            master_broker_id: group.master,
            master_epoch: group.master_epoch,
            not_in_sync_replicas: not_in_sync,
            sync_state_set_epoch: group.set_epoch,
        };
        (name.clone(), info)
    });
    Reply::json(&ReplicasInfoTable {
        replicas_info_table: table.collect(),
    })
}

pub(super) fn metadata(standing: &Standing) -> Reply {
    let reply = ControllerMetadata {
        leader_id: standing.leader_id.as_deref(),
        leader_address: standing.leader_address.as_deref(),
        is_leader: standing.is_leader,
        peers: &standing.peers,
        group: &standing.group,
    };
    Reply::ok().with_fields(&reply.ext())
}

/// The broker then asks for the leader (1005).
pub(super) fn not_leader(standing: &Standing) -> Reply {
    let leader = standing.leader_id.as_deref().unwrap_or("unknown");
    let remark = format!("The controller is not in leader state; the leader is {leader}");
    Reply::refused(response::CONTROLLER_NOT_LEADER, remark)
}
