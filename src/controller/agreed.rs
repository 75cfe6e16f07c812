//! The agreed state of all groups, and how a command changes it: deterministic, and total over whatever the log holds.
//!
//! Codes and remarks are those of `ReplicasInfoManager.java`, in the order of its checks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::command::{Applied, AskedBy, Command};
use super::election;
use super::group::{FIRST_ID, Group, Replica};
use crate::wire::codes::response::*;

const NOBODY_ELECTED: &str = "Failed to elect a new master";

/// Bounds of what brokers, and any other client of the port, can make grow.
pub const MAX_GROUPS: usize = if cfg!(test) { 8 } else { 4_096 };
pub const MAX_REPLICAS: usize = if cfg!(test) { 6 } else { 16 };
pub const MAX_TEXT_BYTES: usize = 255;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    groups: BTreeMap<String, Group>,
}

/// An id that a broker may have.
enum Id {
    /// It has it already: it asks again because a reply was lost.
    Given,
    Free,
}

impl Agreed {
    /// A group that has brokers.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name).filter(|group| group.is_registered())
    }

    pub fn groups(&self) -> impl Iterator<Item = (&str, &Group)> {
        let groups = self
            .groups
            .iter()
            .filter(|(_, group)| group.is_registered());
        groups.map(|(name, group)| (name.as_str(), group))
    }

    /// The id that the next broker of this name gets.
    pub fn next_id(&self, name: &str) -> i64 {
        self.groups
            .get(name)
            .map_or(FIRST_ID, |group| group.next_id)
    }

    pub fn apply(&mut self, command: &Command) -> Applied {
        match command {
            Command::Begin => Applied::ok(None),
            Command::ApplyId {
                cluster,
                name,
                id,
                check_code,
                address,
            } => self.apply_id(cluster, name, *id, check_code, address),
            Command::SetAddress { name, id, address } => self.set_address(name, *id, address),
            Command::AlterSet { name, .. } => {
                let Some(group) = self.registered(name) else {
                    return Applied::refused(
                        CONTROLLER_ALTER_SYNC_STATE_SET_FAILED,
                        "Broker metadata is not existed",
                        None,
                    );
                };
                alter_set(group, command)
            }
            Command::Elect {
                name,
                asked,
                candidates,
                unclean,
            } => {
                let Some(group) = self.registered(name) else {
                    return Applied::refused(
                        CONTROLLER_BROKER_NEED_TO_BE_REGISTERED,
                        "Broker hasn't been registered",
                        None,
                    );
                };
                elect(group, name, *asked, candidates, *unclean)
            }
            Command::Clean { name, ids } => self.clean(name, ids.as_ref()),
        }
    }

    fn registered(&mut self, name: &str) -> Option<&mut Group> {
        self.groups
            .get_mut(name)
            .filter(|group| group.is_registered())
    }

    fn apply_id(
        &mut self,
        cluster: &str,
        name: &str,
        id: i64,
        check_code: &str,
        address: &str,
    ) -> Applied {
        let texts = [cluster, name, check_code, address];
        let known = self.groups.get(name);
        let judged = match texts.iter().any(|text| text.len() > MAX_TEXT_BYTES) {
            true => Err(format!(
                "a name or address of more than {MAX_TEXT_BYTES} bytes"
            )),
            false => self.judge_id(cluster, name, id, check_code),
        };
        match judged {
            Err(remark) => return Applied::refused(CONTROLLER_BROKER_ID_INVALID, remark, known),
            Ok(Id::Given) => return Applied::ok(known),
            Ok(Id::Free) => {}
        }
        let group = self
            .groups
            .entry(name.to_owned())
            .or_insert_with(|| Group::new(cluster));
        cluster.clone_into(&mut group.cluster);
        group.next_id += 1;
        let replica = Replica {
            address: address.to_owned(),
            check_code: check_code.to_owned(),
        };
        group.replicas.insert(id, replica);
        Applied::ok(Some(group))
    }

    /// Whether the broker with this check code may have the id, or why not.
    fn judge_id(&self, cluster: &str, name: &str, id: i64, check_code: &str) -> Result<Id, String> {
        let Some(group) = self.groups.get(name) else {
            return match () {
                () if self.groups.len() >= MAX_GROUPS => {
                    Err(format!("there are {MAX_GROUPS} broker-sets, the limit"))
                }
                () if id != FIRST_ID => Err(format!(
                    "Broker-set: {name} hasn't been registered in controller, but broker try to apply brokerId: {id}"
                )),
                () => Ok(Id::Free),
            };
        };
        let next_id = group.next_id;
        match group.replicas.get(&id) {
            _ if group.is_registered() && group.cluster != cluster => Err(format!(
                "Broker-set: {name} belongs to the cluster {}, not to {cluster}",
                group.cluster
            )),
            Some(replica) if replica.check_code == check_code => Ok(Id::Given),
            Some(_) => Err(format!(
                "Fail to apply brokerId: {id} in broker-set: {name}"
            )),
            None if id != next_id => Err(format!(
                "Fail to apply brokerId: {id} in broker-set: {name}; the next one is {next_id}"
            )),
            None if group.replicas.len() >= MAX_REPLICAS => Err(format!(
                "Broker-set: {name} has {MAX_REPLICAS} brokers, the limit"
            )),
            None => Ok(Id::Free),
        }
    }

    fn set_address(&mut self, name: &str, id: i64, address: &str) -> Applied {
        let not_registered = |remark: String, group: Option<&Group>| {
            Applied::refused(CONTROLLER_BROKER_NEED_TO_BE_REGISTERED, remark, group)
        };
        let Some(group) = self.registered(name) else {
            return not_registered(
                format!("Broker-set: {name} hasn't been registered in controller"),
                None,
            );
        };
        let Some(replica) = group.replicas.get_mut(&id) else {
            let remark = format!("BrokerId: {id} hasn't been registered in broker-set: {name}");
            return not_registered(remark, Some(group));
        };
        if address.len() > MAX_TEXT_BYTES {
            let remark = format!("an address of more than {MAX_TEXT_BYTES} bytes");
            return Applied::refused(SYSTEM_ERROR, remark, Some(group));
        }
        address.clone_into(&mut replica.address);
        Applied::ok(Some(group))
    }

    fn clean(&mut self, name: &str, ids: Option<&BTreeSet<i64>>) -> Applied {
        let Some(group) = self.registered(name) else {
            let remark = format!("Broker {name} is not existed,clean broker data failure.");
            return Applied::refused(CONTROLLER_INVALID_CLEAN_BROKER_METADATA, remark, None);
        };
        let all = group.replicas.keys().copied().collect();
        match group.remove(ids.unwrap_or(&all)) {
            Some(()) => Applied::ok(Some(group)),
            None => epochs_used_up(group),
        }
    }
}

fn alter_set(group: &mut Group, command: &Command) -> Applied {
    if let Err((code, remark)) = judge_set(group, command) {
        return Applied::refused(code, remark, Some(group));
    }
    let Some(next) = group.set_epoch.checked_add(1) else {
        return epochs_used_up(group);
    };
    if let Command::AlterSet { set, .. } = command {
        group.set_epoch = next;
        group.set.clone_from(set);
    }
    Applied::ok(Some(group))
}

/// Code and remark of what is wrong with a set that is asked for.
fn judge_set(group: &Group, command: &Command) -> Result<(), (i32, String)> {
    let Command::AlterSet {
        master,
        master_epoch,
        set_epoch,
        set,
        live,
        ..
    } = command
    else {
        unreachable!("called for this command only");
    };
    let failed = CONTROLLER_ALTER_SYNC_STATE_SET_FAILED;
    if group.set == *set {
        let remark =
            "The newSyncStateSet is equal with oldSyncStateSet, no needed to update syncStateSet";
        return Err((failed, remark.to_owned()));
    }
    let rejected = |code: i32, why: String| {
        let remark = format!("Rejecting alter syncStateSet request because the {why}");
        Err((code, remark))
    };
    if group.master != Some(*master) {
        let current = group.master.map_or("null".to_owned(), |id| id.to_string());
        let why = format!("current leader is:{{{current}}}, not {{{master}}}");
        return rejected(CONTROLLER_INVALID_MASTER, why);
    }
    if group.master_epoch != *master_epoch {
        let current = group.master_epoch;
        let why = format!("current master epoch is:{{{current}}}, not {{{master_epoch}}}");
        return rejected(CONTROLLER_FENCED_MASTER_EPOCH, why);
    }
    if group.set_epoch != *set_epoch {
        let current = group.set_epoch;
        let why = format!("current syncStateSet epoch is:{{{current}}}, not {{{set_epoch}}}");
        return rejected(CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH, why);
    }
    for id in set {
        if !group.replicas.contains_key(id) {
            return rejected(
                CONTROLLER_INVALID_REPLICAS,
                format!("replicas {{{id}}} don't exist"),
            );
        }
        if !live.contains(id) {
            return rejected(
                CONTROLLER_BROKER_NOT_ALIVE,
                format!("replicas {{{id}}} don't alive"),
            );
        }
    }
    if !set.contains(master) {
        let why = format!("newSyncStateSet don't contains origin leader {{{master}}}");
        return rejected(failed, why);
    }
    Ok(())
}

fn elect(
    group: &mut Group,
    name: &str,
    asked: AskedBy,
    candidates: &[i64],
    unclean: bool,
) -> Applied {
    if let AskedBy::Broker(id) | AskedBy::Operator(id) = asked
        && !group.replicas.contains_key(&id)
    {
        return Applied::refused(CONTROLLER_ELECT_MASTER_FAILED, NOBODY_ELECTED, Some(group));
    }
    if let AskedBy::Controller { master_epoch } = asked
        && master_epoch != group.master_epoch
    {
        let remark = format!("the master epoch is {} by now", group.master_epoch);
        return Applied::refused(CONTROLLER_MASTER_STILL_EXIST, remark, Some(group));
    }
    let winner = election::winner(group, asked, candidates, unclean);
    if let Some(id) = winner.filter(|_| winner == group.master) {
        let remark = format!(
            "The old master {id} is still alive, not need to elect new master for broker {name}"
        );
        return Applied::refused(CONTROLLER_MASTER_STILL_EXIST, remark, Some(group));
    }
    let is_of_controller = matches!(asked, AskedBy::Controller { .. } | AskedBy::Anyone);
    // A master that is gone is recorded as gone: when it returns it gets a new epoch.
    if (winner.is_some() || is_of_controller && group.master.is_some())
        && group.elect(winner).is_none()
    {
        return epochs_used_up(group);
    }
    match winner {
        Some(_) => Applied {
            is_elected: true,
            ..Applied::ok(Some(group))
        },
        None if is_of_controller => Applied::refused(
            CONTROLLER_MASTER_NOT_AVAILABLE,
            "Old master has down and failed to elect a new broker master",
            Some(group),
        ),
        None => Applied::refused(CONTROLLER_ELECT_MASTER_FAILED, NOBODY_ELECTED, Some(group)),
    }
}

fn epochs_used_up(group: &Group) -> Applied {
    Applied::refused(
        SYSTEM_ERROR,
        "the epochs of this broker-set are used up",
        Some(group),
    )
}

#[cfg(test)]
#[path = "tests/agreed.rs"]
mod tests;
