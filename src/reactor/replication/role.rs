//! What a slave answers to requests that are a master's.

use super::state::Replication;
use crate::broker::Refusal;
use crate::broker::requests::{Entry, Kind};
use crate::io::Io;
use crate::wire::codes::{request, response};

/// Changes that a slave takes over from its master, and so not from anybody else.
const MASTERS_CHANGES: [i32; 12] = [
    request::UPDATE_AND_CREATE_TOPIC,
    request::UPDATE_AND_CREATE_TOPIC_LIST,
    request::DELETE_TOPIC_IN_BROKER,
    request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
    request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
    request::DELETE_SUBSCRIPTIONGROUP,
    request::UPDATE_AND_GET_GROUP_FORBIDDEN,
    request::SET_MESSAGE_REQUEST_MODE,
    request::CLONE_GROUP_OFFSET,
    request::INVOKE_BROKER_TO_RESET_OFFSET,
    request::LOCK_BATCH_MQ,
    request::UNLOCK_BATCH_MQ,
];

impl<I: Io> Replication<I> {
    /// Why a slave does not serve this request, if so.
    pub fn refusal(&self, entry: &Entry) -> Option<Refusal> {
        let not_available = response::SERVICE_NOT_AVAILABLE;
        if entry.kind.appends() {
            return Some(Refusal::new(not_available, "this broker is a slave"));
        }
        match entry.kind {
            Kind::Pull { .. } if !self.setup.slave_reads => {
                let remark = "this broker is a slave, and slaveReadEnable is false";
                Some(Refusal::new(response::SYSTEM_BUSY, remark))
            }
            Kind::Peek | Kind::Notification | Kind::PollingInfo | Kind::Assignment => {
                Some(Refusal::new(not_available, "this broker is a slave"))
            }
            _ if MASTERS_CHANGES.contains(&entry.code) => {
                let remark = "this broker is a slave: its master changes this";
                Some(Refusal::new(response::SYSTEM_ERROR, remark))
            }
            _ => None,
        }
    }
}
