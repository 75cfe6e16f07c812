//! NOTIFY_BROKER_ROLE_CHANGED (1008): a broker is notified of its group's master. It acts only on an epoch above its own.

use super::group::Group;
use crate::wire::codes::request;
use crate::wire::controller::{RoleChanged, SyncStateSet};
use crate::wire::{Codec, Head, Value, frame, loose_json};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub broker_name: String,
    /// The broker that is notified.
    pub broker_id: i64,
    pub broker_address: String,
    pub master_epoch: i32,
    master_address: String,
    master_broker_id: Option<i64>,
    set_epoch: i32,
    pub body: Vec<u8>,
}

impl Notice {
    /// `None` without a master: a broker does nothing then.
    pub(super) fn new(name: &str, group: &Group, id: i64) -> Option<Self> {
        Some(Self {
            broker_name: name.to_owned(),
            broker_id: id,
            broker_address: group.address(id)?.to_owned(),
            master_epoch: group.master_epoch,
            master_address: group.master_address()?.to_owned(),
            master_broker_id: group.master,
            set_epoch: group.set_epoch,
            body: set_body(group),
        })
    }

    pub fn fields(&self) -> RoleChanged<'_> {
        RoleChanged {
            master_address: Some(&self.master_address),
            master_epoch: Some(self.master_epoch),
            sync_state_set_epoch: Some(self.set_epoch),
            master_broker_id: self.master_broker_id,
        }
    }

    /// With the fields of [`Self::fields`], and those that sign them, if any.
    pub fn frame(&self, fields: &[(&str, Value<'_>)]) -> Vec<u8> {
        let code = request::NOTIFY_BROKER_ROLE_CHANGED;
        let head = Head::oneway(Codec::Json, code, self.master_epoch);
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &head, fields, &self.body);
        bytes
    }
}

pub(super) fn set_body(group: &Group) -> Vec<u8> {
    loose_json::to_vec(&SyncStateSet {
        sync_state_set: group.set.clone(),
        sync_state_set_epoch: group.set_epoch,
    })
}
