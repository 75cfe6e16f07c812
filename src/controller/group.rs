//! A replica group: the brokers of one name, and what is agreed about them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The first id that a group gives out.
pub const FIRST_ID: i64 = 1;

/// Agreed state of one broker name. Ids and epochs only rise, also when every broker of the group is removed: an id or an epoch that
/// came back would name two different things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub cluster: String,
    /// The id that the next broker gets.
    pub next_id: i64,
    pub replicas: BTreeMap<i64, Replica>,
    pub master: Option<i64>,
    /// Rises with each change of the master, to none as well.
    pub master_epoch: i32,
    /// Ids of the brokers that have every acknowledged message.
    pub set: BTreeSet<i64>,
    /// Rises with each change of the set.
    pub set_epoch: i32,
    /// No broker has been master since the group was made or removed: there is no message that a master could lack.
    pub is_new: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    pub address: String,
    /// By which the broker proves that the id is its own (1013).
    pub check_code: String,
}

impl Group {
    pub fn new(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            next_id: FIRST_ID,
            replicas: BTreeMap::new(),
            master: None,
            master_epoch: 0,
            set: BTreeSet::new(),
            set_epoch: 0,
            is_new: true,
        }
    }

    /// Whether it has brokers. A group whose brokers were all removed stays, for its ids and epochs.
    pub fn is_registered(&self) -> bool {
        !self.replicas.is_empty()
    }

    pub fn address(&self, id: i64) -> Option<&str> {
        self.replicas
            .get(&id)
            .map(|replica| replica.address.as_str())
    }

    pub fn master_address(&self) -> Option<&str> {
        self.master.and_then(|id| self.address(id))
    }

    /// Makes `id` the master, or no broker. `None` if the epochs are used up, and then nothing is changed.
    pub(super) fn elect(&mut self, id: Option<i64>) -> Option<()> {
        let master_epoch = self.master_epoch.checked_add(1)?;
        if let Some(id) = id {
            self.set_epoch = self.set_epoch.checked_add(1)?;
            self.set = BTreeSet::from([id]);
            self.is_new = false;
        }
        self.master = id;
        self.master_epoch = master_epoch;
        Some(())
    }

    /// Removes brokers. The set and the master lose those that are gone.
    pub(super) fn remove(&mut self, ids: &BTreeSet<i64>) -> Option<()> {
        let members_go = self.set.iter().any(|id| ids.contains(id));
        let master_goes = self.master.is_some_and(|id| ids.contains(&id));
        let set_epoch = self.set_epoch.checked_add(i32::from(members_go))?;
        let master_epoch = self.master_epoch.checked_add(i32::from(master_goes))?;
        self.replicas.retain(|id, _| !ids.contains(id));
        self.set.retain(|id| !ids.contains(id));
        self.set_epoch = set_epoch;
        if master_goes {
            self.master = None;
        }
        self.master_epoch = master_epoch;
        if self.replicas.is_empty() {
            self.is_new = true;
        }
        Some(())
    }
}
