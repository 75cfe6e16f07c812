//! LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42): an orderly consumer takes queues for itself. Both are bodies without header fields.

use serde::{Deserialize, Serialize};

use super::MessageQueue;
use super::loose_json::{self, BodyError};

/// The body of 41 and of 42.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatch {
    pub client_id: String,
    pub consumer_group: String,
    pub mq_set: Vec<MessageQueue>,
    pub only_this_broker: bool,
}

impl LockBatch {
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        loose_json::from_slice(body)
    }
}

/// The reply's body of 41.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockedQueues {
    #[serde(rename = "lockOKMQSet")]
    pub queues: Vec<MessageQueue>,
}
