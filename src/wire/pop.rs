//! POP consumption: 200050 to 200055, 200151, their receipts, and the records of the revive log.
//!
//! A receipt (`extraInfo`, and the property `POP_CK` of a message) is eight words with blanks between them:
//!
//! ```text
//! startOffset popTime invisibleTime reviveQid retryFlag brokerName queueId msgQueueOffset
//! ```
//!
//! where `retryFlag` says which topic the message was popped from: 0 the one that was asked for, 1 and 2 the group's retry
//! topic in its older and newer name (RocketMQ: `ExtraInfoUtil`, `PopCheckPoint`, `AckMsg`, `BatchAckMsg`, `BatchAck`).

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::loose_json::{self, BodyError};
use super::request::header_fields;

/// In place of a revive queue: the message was popped in order, and has no check point.
pub const ORDERLY_REVIVE_QUEUE: i32 = 999;

header_fields! {
    /// POP_MESSAGE (200050)
    pub struct PopRequest<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        /// -1 is any.
        "queueId" => queue_id: i32,
        "maxMsgNums" => max_msg_nums: i32,
        "invisibleTime" => invisible_ms: i64,
        "pollTime" => poll_ms: i64,
        "bornTime" => born_ms: Option<i64>,
        "initMode" => init_mode: i32,
        "expType" => expression_type: Option<&'a str>,
        "exp" => expression: Option<&'a str>,
        "order" => order: bool,
        "attemptId" => attempt_id: Option<&'a str>,
    }
}

/// `initMode` of a group that starts with the newest message; anything else starts with the oldest.
pub const INIT_MODE_MAX: i32 = 1;

header_fields! {
    /// To a pop and to a peek. What of `start_offsets` and `message_offsets` there is for each queue, in the order of the
    /// messages: `retryFlag queueId startOffset;...` and `retryFlag queueId offset,offset;...`.
    pub struct PopReply<'a> {
        "invisibleTime" => invisible_ms: i64,
        "startOffsetInfo" => start_offsets: Option<&'a str>,
        "restNum" => rest: i64,
        "orderCountInfo" => order_counts: Option<&'a str>,
        "popTime" => pop_time_ms: i64,
        "reviveQid" => revive_queue: i32,
        "msgOffsetInfo" => message_offsets: Option<&'a str>,
    }
}

header_fields! {
    /// ACK_MESSAGE (200051)
    pub struct AckRequest<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
        "extraInfo" => receipt: &'a str,
        "offset" => offset: i64,
    }
}

header_fields! {
    /// CHANGE_MESSAGE_INVISIBLETIME (200053)
    pub struct ChangeInvisibleTime<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
        "extraInfo" => receipt: &'a str,
        "offset" => offset: i64,
        "invisibleTime" => invisible_ms: i64,
    }
}

header_fields! {
    pub struct ChangeInvisibleTimeReply {
        "invisibleTime" => invisible_ms: i64,
        "popTime" => pop_time_ms: i64,
        "reviveQid" => revive_queue: i32,
    }
}

header_fields! {
    /// PEEK_MESSAGE (200052)
    pub struct PeekRequest<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
        "maxMsgNums" => max_msg_nums: i32,
    }
}

header_fields! {
    /// NOTIFICATION (200054): is there something to pop?
    pub struct NotificationRequest<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
        "pollTime" => poll_ms: i64,
        "bornTime" => born_ms: i64,
        "order" => order: bool,
        "attemptId" => attempt_id: Option<&'a str>,
    }
}

header_fields! {
    pub struct NotificationReply {
        "hasMsg" => has_message: bool,
        "pollingFull" => is_polling_full: bool,
    }
}

header_fields! {
    /// POLLING_INFO (200055): how many wait?
    pub struct PollingInfoRequest<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
    }
}

header_fields! {
    pub struct PollingInfoReply {
        "pollingNum" => polling: i32,
    }
}

/// By what a client shows that a message was popped, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt<'a> {
    /// Where the queue was read from when the message was popped.
    pub start_offset: u64,
    pub pop_time_ms: u64,
    pub invisible_ms: u64,
    pub revive_queue: i32,
    pub retry_flag: u8,
    pub broker_name: &'a str,
}

impl<'a> Receipt<'a> {
    /// Of `extraInfo`; what a broker need not know (queue and offset, which the request names as well) may be missing.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut words = text.split(' ');
        Some(Self {
            start_offset: words.next()?.parse().ok()?,
            pop_time_ms: words.next()?.parse().ok()?,
            invisible_ms: words.next()?.parse().ok()?,
            revive_queue: words.next()?.parse().ok()?,
            retry_flag: words.next()?.parse().ok()?,
            broker_name: words.next()?,
        })
    }

    pub fn is_orderly(&self) -> bool {
        self.revive_queue == ORDERLY_REVIVE_QUEUE
    }

    /// For one message.
    pub fn text(&self, queue_id: u32, offset: u64) -> String {
        let Self {
            start_offset,
            pop_time_ms,
            invisible_ms,
            revive_queue,
            retry_flag,
            broker_name,
        } = self;
        format!(
            "{start_offset} {pop_time_ms} {invisible_ms} {revive_queue} {retry_flag} {broker_name} {queue_id} {offset}"
        )
    }
}

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
    /// This broker's own, which RocketMQ passes over: the offset that the group had with this pop. A restart takes it up
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
    fn receipts() {
        let text = "7 1700000000000 60000 3 1 broker-a 2 9";
        let receipt = Receipt::parse(text).unwrap();
        assert_eq!(receipt.text(2, 9), text);
        assert_eq!((receipt.retry_flag, receipt.broker_name), (1, "broker-a"));
        assert!(Receipt::parse("7 1 2 999 0 b 0").unwrap().is_orderly());
        for bad in ["", "7", "7 x 2 0 0 b 0 1", "-1 2 3 0 0 b 0 1", "7 1 2 0 0"] {
            assert_eq!(Receipt::parse(bad), None, "{bad:?}");
        }
    }

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
        fn bits_come_back(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let bits = Bits(bytes);
            prop_assert_eq!(loose_json::from_slice(&loose_json::to_vec(&bits)), Ok(bits));
        }

        #[test]
        fn no_body_breaks_the_decoders(body in prop::collection::vec(any::<u8>(), 0..60), text in "\\PC{0,40}") {
            let _ = (BatchAckRequest::decode(&body), CheckPointBody::decode(&body), AckBody::decode(&body));
            let _ = Receipt::parse(&text);
        }
    }
}
