//! The records of the revive log (RocketMQ: `PopCheckPoint`, `AckMsg`, `BatchAckMsg`).

use serde::{Deserialize, Serialize};

use crate::wire::loose_json::{self, BodyError};

/// Tags of the revive log's records.
pub mod revive_tag {
    pub const CHECK_POINT: &str = "ck";
    pub const ACK: &str = "ack";
    pub const BATCH_ACK: &str = "bAck";
}

/// A record of the revive log: these messages are popped, and come back unless they are acknowledged in time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckPointBody {
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: u64,
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time_ms: u64,
    #[serde(rename = "it", alias = "invisibleTime")]
    pub invisible_ms: u64,
    /// Which of them are acknowledged already.
    #[serde(rename = "bm", alias = "bitMap")]
    pub bits: i32,
    #[serde(rename = "n", alias = "num")]
    pub messages: u8,
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    #[serde(rename = "t", alias = "topic")]
    pub topic: String,
    #[serde(rename = "c", alias = "cid")]
    pub group: String,
    #[serde(rename = "ro", alias = "reviveOffset")]
    pub revive_offset: i64,
    /// How far each message is from `start_offset`; in old records none, then they follow each other.
    #[serde(rename = "d", alias = "queueOffsetDiff")]
    pub distances: Vec<u32>,
    #[serde(rename = "bn", alias = "brokerName")]
    pub broker_name: String,
    /// An extension of this broker, which RocketMQ ignores: the offset that the group had with this pop. A restart takes it up
    /// where `consumerOffset.json` is older than the record.
    #[serde(rename = "nx", skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<u64>,
}

impl CheckPointBody {
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        loose_json::from_slice(body)
    }
}

/// A record of the revive log: this message, or these, need not come back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AckBody {
    /// In a batch -1.
    #[serde(rename = "ao", alias = "ackOffset")]
    pub offset: i64,
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: u64,
    #[serde(rename = "c", alias = "consumerGroup")]
    pub group: String,
    #[serde(rename = "t", alias = "topic")]
    pub topic: String,
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time_ms: u64,
    #[serde(rename = "bn", alias = "brokerName")]
    pub broker_name: String,
    #[serde(
        rename = "aol",
        alias = "ackOffsetList",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub offsets: Vec<u64>,
}

impl AckBody {
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        loose_json::from_slice(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_check_point_as_rocketmq_writes_it() {
        let body = br#"{"bm":0,"bn":"broker-a","c":"g","d":[0,1],"it":60000,"n":2,"pt":17,"q":3,"ro":0,"so":100,"t":"T"}"#;
        let check_point = CheckPointBody::decode(body).unwrap();
        assert_eq!(check_point.distances, [0, 1]);
        assert_eq!(check_point.next_offset, None);
        let again = loose_json::to_vec(&check_point);
        assert_eq!(CheckPointBody::decode(&again), Ok(check_point));
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = (CheckPointBody::decode(&body), AckBody::decode(&body));
        }
    }
}
