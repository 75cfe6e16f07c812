//! Division of queues by the broker: QUERY_ASSIGNMENT (400), SET_MESSAGE_REQUEST_MODE (401), GET_ALL_MESSAGE_REQUEST_MODE (402).
//! All of it is in bodies; clients send 400 without any header field.

use serde::{Deserialize, Serialize};

use super::MessageQueue;
use super::heartbeat::MessageModel;
use super::loose_json::{self, BodyError};

/// How a group's clients get the messages of a topic.
pub mod request_mode {
    pub const PULL: &str = "PULL";
    pub const POP: &str = "POP";
}

/// The body of 400.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryAssignment {
    pub topic: String,
    pub consumer_group: String,
    pub client_id: String,
    pub strategy_name: String,
    pub message_model: MessageModel,
}

/// The reply's body of 400. Without assignments the client keeps those that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Assignments {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_queue_assignments: Option<Vec<Assignment>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Assignment {
    /// With queue -1 to be popped from any.
    pub message_queue: MessageQueue,
    pub mode: String,
}

/// The body of 401, and a value of `messageRequestMode.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageRequestMode {
    pub consumer_group: String,
    pub mode: String,
    pub pop_share_queue_num: i32,
    pub topic: String,
}

impl QueryAssignment {
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        loose_json::from_slice(body)
    }
}

impl MessageRequestMode {
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        loose_json::from_slice(body)
    }
}
