//! The name of a queue in the cluster, as bodies write it.

use serde::{Deserialize, Serialize};

/// In JSON `{"brokerName":"b","queueId":0,"topic":"t"}`, as a value or (see [`loose_json`](super::loose_json)) as a map's key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    pub broker_name: String,
    pub queue_id: i32,
    pub topic: String,
}
