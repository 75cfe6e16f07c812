//! What a slave answers to requests that are for a master.

use super::{Entry, Kind};
use crate::broker::Refusal;
use crate::wire::codes::{request, response};

/// Changes that a slave takes over from its master, and so from no other program.
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

impl Entry {
    /// Why a slave does not serve this request, if so. `serves_reads`: consumers may read from it.
    pub fn refused_by_slave(&self, serves_reads: bool) -> Option<Refusal> {
        let not_available = response::SERVICE_NOT_AVAILABLE;
        if self.kind.appends() {
            return Some(Refusal::new(not_available, "this broker is a slave"));
        }
        match self.kind {
            Kind::Pull { .. } if !serves_reads => {
                let remark = "this broker is a slave, and slaveReadEnable is false";
                Some(Refusal::new(response::SYSTEM_BUSY, remark))
            }
            Kind::Peek | Kind::Notification | Kind::PollingInfo | Kind::Assignment => {
                Some(Refusal::new(not_available, "this broker is a slave"))
            }
            _ if MASTERS_CHANGES.contains(&self.code) => {
                let remark = "this broker is a slave: its master changes this";
                Some(Refusal::new(response::SYSTEM_ERROR, remark))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::find;
    use super::*;

    #[test]
    fn a_slave_serves_what_does_not_change_anything() {
        let code = |code, reads| {
            let refusal = find(code).expect("a request").refused_by_slave(reads);
            refusal.map(|refusal| refusal.code)
        };
        let not_available = Some(response::SERVICE_NOT_AVAILABLE);
        assert_eq!(code(request::SEND_MESSAGE_V2, true), not_available);
        assert_eq!(code(request::POP_MESSAGE, true), not_available);
        assert_eq!(code(request::PULL_MESSAGE, true), None);
        assert_eq!(
            code(request::PULL_MESSAGE, false),
            Some(response::SYSTEM_BUSY)
        );
        let changes = Some(response::SYSTEM_ERROR);
        assert_eq!(code(request::UPDATE_AND_CREATE_TOPIC, true), changes);
        // Consumers of a slave keep their offsets there while the master is away.
        assert_eq!(code(request::UPDATE_CONSUMER_OFFSET, true), None);
        assert_eq!(code(request::GET_BROKER_HA_STATUS, false), None);
    }
}
