//! Acknowledgements of many messages: BATCH_ACK_MESSAGE (200151; RocketMQ: `BatchAck`).

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::wire::loose_json::{self, BodyError};

/// The body of BATCH_ACK_MESSAGE (200151).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchAckRequest {
    pub broker_name: String,
    pub acks: Vec<BatchAck>,
}

/// Messages of one receipt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchAck {
    #[serde(rename = "c", alias = "consumerGroup")]
    pub consumer_group: String,
    #[serde(rename = "t", alias = "topic")]
    pub topic: String,
    /// 0, 1 or 2, as in a receipt.
    #[serde(rename = "r", alias = "retry")]
    pub retry_flag: String,
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: i64,
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    #[serde(rename = "rq", alias = "reviveQueueId")]
    pub revive_queue: i32,
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time_ms: i64,
    #[serde(rename = "it", alias = "invisibleTime")]
    pub invisible_ms: i64,
    /// Bit n is the message at `start_offset + n`.
    #[serde(rename = "b", alias = "bitSet")]
    pub bits: Bits,
}

impl BatchAckRequest {
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        loose_json::from_slice(body)
    }
}

/// A Java `BitSet`: its bytes, lowest bit first, which fastjson writes in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits(pub Vec<u8>);

impl Bits {
    /// The numbers of the bits that are set.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let bytes = (0u64..).zip(&self.0);
        bytes.flat_map(|(at, byte)| {
            (0..8)
                .filter(move |bit| byte & (1 << bit) != 0)
                .map(move |bit| at * 8 + bit)
        })
    }
}

impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64.decode(&text);
        bytes
            .map(Bits)
            .map_err(|_| serde::de::Error::custom(format!("a bit set cannot be {text:.64?}")))
    }
}

/// The padding may be missing, as for Java.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_as_java_writes_it() {
        let body = br#"{"acks":[{"b":"hQ==","c":"g","it":60000,"pt":17,"q":1,"r":"1","rq":3,"so":5,"t":"T"}],"brokerName":"b"}"#;
        let request = BatchAckRequest::decode(body).unwrap();
        assert_eq!(request.acks[0].bits.iter().collect::<Vec<_>>(), [0, 2, 7]);
        assert_eq!(request.acks[0].retry_flag, "1");
        assert_eq!(loose_json::to_vec(&request.acks[0].bits), br#""hQ==""#);
        assert!(BatchAckRequest::decode(br#"{"acks":[{"b":"!"}]}"#).is_err());
        assert!(BatchAckRequest::decode(br#"{"acks":3}"#).is_err());
    }

    proptest! {
        #[test]
        fn bits_come_back(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let bits = Bits(bytes);
            prop_assert_eq!(loose_json::from_slice(&loose_json::to_vec(&bits)), Ok(bits));
        }

        #[test]
        fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = BatchAckRequest::decode(&body);
        }
    }
}
