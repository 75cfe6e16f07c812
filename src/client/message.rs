//! Messages as an application sees them: one to send, and one as it was received.
//!
//! What RocketMQ keeps in properties (`MessageConst.java`) has methods here. Bodies of 4 KiB and more are compressed on their way
//! as RocketMQ's producer does it, and every compression that a RocketMQ client may have used is undone.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ClientError;
use crate::message::ids::offset_message_id;
use crate::message::names::{check_topic, retry_topic};
use crate::message::{Check, MAX_PROPERTIES_BYTES, Record, properties, sys_flag};
use crate::wire::MessageQueue;

/// `compressLevel` of the Java producer.
const ZLIB_LEVEL: u32 = 5;
/// What a compressed body may grow to; a broker takes no more uncompressed either, save by configuration.
const MAX_BODY_BYTES: u64 = 1 << 28;

/// A message to send.
///
/// ```
/// use std::time::Duration;
/// use ringmq::client::Message;
///
/// let message = Message::new("Orders", "{\"id\":7}")
///     .tag("created")
///     .key("order-7")
///     .property("region", "north")
///     .delay(Duration::from_secs(30));
/// assert_eq!(message.find("region"), Some("north"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub body: Vec<u8>,
    /// Handed through to the consumer.
    pub flag: i32,
    properties: BTreeMap<String, String>,
}

impl Message {
    pub fn new(topic: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: topic.into(),
            body: body.into(),
            ..Self::default()
        }
    }

    /// What consumers select by; a message has at most one.
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.property(properties::TAGS, tag)
    }

    /// What the message can be looked up by. Called again it adds a key.
    pub fn key(self, key: impl AsRef<str>) -> Self {
        let keys = match self.find(properties::KEYS) {
            Some(keys) => format!("{keys} {}", key.as_ref()),
            None => key.as_ref().to_owned(),
        };
        self.property(properties::KEYS, keys)
    }

    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Of the broker's table of delays (`messageDelayLevel`), from 1 on.
    pub fn delay_level(self, level: u32) -> Self {
        self.property(properties::DELAY, level.to_string())
    }

    /// Delivered so long after the broker has it.
    pub fn delay(self, delay: Duration) -> Self {
        self.property(TIMER_DELAY_MS, delay.as_millis().to_string())
    }

    pub fn deliver_at(self, time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.property(TIMER_DELIVER_MS, since.as_millis().to_string())
    }

    /// The value of a property.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What a broker would refuse, said before it is sent (`Validators.checkMessage`).
    pub(super) fn check(&self, max_message_bytes: usize) -> Result<(), ClientError> {
        check_topic(&self.topic).map_err(ClientError::illegal)?;
        if self.body.is_empty() {
            return Err(ClientError::illegal("the body is empty"));
        }
        if self.body.len() > max_message_bytes {
            return Err(ClientError::illegal(format!(
                "the body has {} bytes, the limit is {max_message_bytes}",
                self.body.len()
            )));
        }
        for (name, value) in self.properties() {
            let separated = |text: &str| text.contains(['\u{1}', '\u{2}']);
            if name.is_empty() || separated(name) || separated(value) {
                return Err(ClientError::illegal(format!(
                    "property {name:?} is {value:?}: a name has at least one character, and neither has U+0001 or U+0002"
                )));
            }
        }
        let len = self.property_text().len();
        if len > MAX_PROPERTIES_BYTES {
            return Err(ClientError::illegal(format!(
                "the properties have {len} bytes, the limit is {MAX_PROPERTIES_BYTES}"
            )));
        }
        Ok(())
    }

    pub(super) fn property_text(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.properties() {
            properties::push(&mut text, name, value);
        }
        text
    }

    pub(super) fn put(&mut self, name: &str, value: impl Into<String>) {
        self.properties.insert(name.to_owned(), value.into());
    }
}

/// Whether a property's name has a meaning of its own to RocketMQ (`MessageConst.STRING_HASH_SET`, and what brokers add).
pub fn is_reserved(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "ARRIVE_TIME",
        "BORN_HOST",
        "BORN_TIMESTAMP",
        "BUYER_ID",
        "CLUSTER",
        "CONSUME_START_TIME",
        "CORRECTION_FLAG",
        "CORRELATION_ID",
        "DELAY",
        "DLQ_ORIGIN_MESSAGE_ID",
        "DLQ_ORIGIN_TOPIC",
        "EXTEND_UNIQ_INFO",
        "FIRST_POP_TIME",
        "INSTANCE_ID",
        "KEYS",
        "MAX_OFFSET",
        "MAX_RECONSUME_TIMES",
        "MIN_OFFSET",
        "MQ2_FLAG",
        "MSG_REGION",
        "MSG_TYPE",
        "ORIGIN_MESSAGE_ID",
        "PGROUP",
        "POP_CK",
        "POP_CK_OFFSET",
        "PUSH_REPLY_TIME",
        "REAL_QID",
        "REAL_TOPIC",
        "RECONSUME_TIME",
        "REPLY_TO_CLIENT",
        "RETRY_TOPIC",
        "TAGS",
        "TRACE_ON",
        "TRANSFER_FLAG",
        "TRAN_MSG",
        "TTL",
        "UNIQ_KEY",
        "WAIT",
        "__SHARDINGKEY",
        "__transactionId__",
    ];
    NAMES.binary_search(&name).is_ok() || name.starts_with("TIMER_") || name.starts_with("INNER_")
}

pub(super) const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
pub(super) const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";

/// A message as a consumer gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Of a message that is tried again its own, not that of the retries.
    pub topic: String,
    pub body: Vec<u8>,
    pub flag: i32,
    /// Where it was pulled from.
    pub queue: MessageQueue,
    pub queue_offset: i64,
    /// The id that its producer gave it; of a message without one, its offset id.
    pub message_id: String,
    /// Where the broker has it.
    pub offset_message_id: String,
    pub born_timestamp_ms: i64,
    pub born_host: SocketAddr,
    pub store_timestamp_ms: i64,
    pub store_host: SocketAddr,
    /// How often this group has failed to consume it.
    pub reconsume_times: i32,
    pub(super) physical_offset: i64,
    properties: BTreeMap<String, String>,
}

impl Received {
    pub fn tag(&self) -> Option<&str> {
        self.find(properties::TAGS)
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.find(properties::KEYS)
            .unwrap_or_default()
            .split_whitespace()
    }

    /// The value of a property.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Those that are the application's, without RocketMQ's own.
    pub fn user_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties().filter(|(name, _)| !is_reserved(name))
    }

    /// The body, if it is text.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.body).ok()
    }

    /// The same content as a message to send.
    pub(super) fn to_message(&self, topic: String) -> Message {
        Message {
            topic,
            body: self.body.clone(),
            flag: self.flag,
            properties: self.properties.clone(),
        }
    }

    /// Bytes of memory, roughly: what flow control counts.
    pub(super) fn size_bytes(&self) -> usize {
        self.body.len()
    }

    fn from_record(record: &Record<'_>, queue: MessageQueue) -> Self {
        let properties: BTreeMap<String, String> =
            properties::iter(record.properties_without_crc())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
        let offset_message_id =
            offset_message_id(record.store_host, record.physical_offset).to_string();
        let message_id = properties
            .get(properties::UNIQUE_KEY)
            .unwrap_or(&offset_message_id)
            .clone();
        Self {
            topic: record.topic.to_owned(),
            body: body(record),
            flag: record.flag,
            queue,
            queue_offset: record.queue_offset as i64,
            message_id,
            offset_message_id,
            born_timestamp_ms: record.born_timestamp_ms,
            born_host: record.born_host,
            store_timestamp_ms: record.store_timestamp_ms,
            store_host: record.store_host,
            reconsume_times: record.reconsume_times,
            physical_offset: record.physical_offset as i64,
            properties,
        }
    }
}

/// The messages of a pull's answer. One that cannot be read is an error: to go on behind it would lose it.
pub(super) fn received(
    records: &[u8],
    queue: &MessageQueue,
    group: &str,
) -> Result<Vec<Received>, ClientError> {
    let retry_topic = retry_topic(group);
    let mut messages = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let record = Record::decode(rest, Check::Crc).map_err(|error| ClientError::Answer {
            what: format!("message {} of a pull: {error}", messages.len()),
        })?;
        rest = rest.get(record.total_size as usize..).unwrap_or_default();
        let mut message = Received::from_record(&record, queue.clone());
        if message.topic == retry_topic
            && let Some(topic) = message.find(properties::RETRY_TOPIC)
        {
            message.topic = topic.to_owned();
        }
        messages.push(message);
    }
    Ok(messages)
}

/// A single record, as a broker sends it along with a question.
pub(super) fn received_alone(bytes: &[u8]) -> Result<Received, ClientError> {
    let record = Record::decode(bytes, Check::Crc).map_err(|error| ClientError::Answer {
        what: format!("a message: {error}"),
    })?;
    let queue = MessageQueue {
        topic: record.topic.to_owned(),
        queue_id: record.queue_id as i32,
        ..MessageQueue::default()
    };
    Ok(Received::from_record(&record, queue))
}

/// The body compressed, if that makes it smaller.
pub(super) fn compressed(body: &[u8]) -> Option<Vec<u8>> {
    let level = flate2::Compression::new(ZLIB_LEVEL);
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
    encoder.write_all(body).ok()?;
    encoder.finish().ok().filter(|out| out.len() < body.len())
}

/// As it was before compression. A body that cannot be decompressed is handed on as it is rather than lost.
fn body(record: &Record<'_>) -> Vec<u8> {
    if record.sys_flag & sys_flag::COMPRESSED == 0 {
        return record.body.to_vec();
    }
    let mut body = Vec::new();
    let read = match record.sys_flag & sys_flag::COMPRESSION_MASK {
        sys_flag::COMPRESSION_LZ4 => {
            let decoder = lz4_flex::frame::FrameDecoder::new(record.body);
            decoder.take(MAX_BODY_BYTES).read_to_end(&mut body)
        }
        sys_flag::COMPRESSION_ZSTD => match ruzstd::decoding::StreamingDecoder::new(record.body) {
            Ok(decoder) => decoder.take(MAX_BODY_BYTES).read_to_end(&mut body),
            Err(error) => Err(std::io::Error::other(error.to_string())),
        },
        _ => flate2::read::ZlibDecoder::new(record.body)
            .take(MAX_BODY_BYTES)
            .read_to_end(&mut body),
    };
    match read {
        Ok(_) => body,
        Err(error) => {
            tracing::warn!(
                "the body of message {} of {} cannot be decompressed ({error}); it is handed on as it is",
                record.queue_offset,
                record.topic
            );
            record.body.to_vec()
        }
    }
}

#[cfg(test)]
pub(super) mod tests_support {
    use std::sync::Arc;

    use super::*;

    pub fn message_at(queue_offset: i64) -> Arc<Received> {
        let host = ([127, 0, 0, 1], 1).into();
        Arc::new(Received {
            topic: "T".into(),
            body: b"body".to_vec(),
            flag: 0,
            queue: MessageQueue::default(),
            queue_offset,
            message_id: String::new(),
            offset_message_id: String::new(),
            born_timestamp_ms: 0,
            born_host: host,
            store_timestamp_ms: 0,
            store_host: host,
            reconsume_times: 0,
            physical_offset: 0,
            properties: BTreeMap::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Properties, RecordFields};
    use proptest::prelude::*;

    fn record(topic: &str, text: &str, body: &[u8], sys_flag: i32) -> Vec<u8> {
        let host = "10.0.0.1:10911".parse().unwrap();
        let fields = RecordFields {
            queue_id: 3,
            flag: 7,
            queue_offset: 5,
            physical_offset: 0x1234,
            sys_flag,
            born_timestamp_ms: 1,
            born_host: host,
            store_timestamp_ms: 2,
            store_host: host,
            reconsume_times: 1,
            prepared_transaction_offset: 0,
            body,
            topic,
            properties: Properties::new(text),
        };
        let mut bytes = vec![0; fields.encoded_len()];
        fields.encode(&mut bytes);
        bytes
    }

    fn queue() -> MessageQueue {
        MessageQueue {
            broker_name: "b".into(),
            queue_id: 3,
            topic: "T".into(),
        }
    }

    #[test]
    fn a_message_that_is_tried_again_has_its_own_topic() {
        let bytes = record(
            "%RETRY%g",
            "RETRY_TOPIC\u{1}T\u{2}TAGS\u{1}a\u{2}KEYS\u{1}k1 k2\u{2}UNIQ_KEY\u{1}ID\u{2}",
            b"x",
            0,
        );
        let found = received(&bytes, &queue(), "g").unwrap().remove(0);
        assert_eq!((found.topic.as_str(), found.tag()), ("T", Some("a")));
        assert_eq!(found.keys().collect::<Vec<_>>(), ["k1", "k2"]);
        assert_eq!(
            (found.message_id.as_str(), found.reconsume_times),
            ("ID", 1)
        );
        assert_eq!(found.offset_message_id, "0A00000100002A9F0000000000001234");
        let found = received(&bytes, &queue(), "other").unwrap().remove(0);
        assert_eq!(found.topic, "%RETRY%g");
    }

    #[test]
    fn reserved_names_are_found() {
        for name in [
            "ARRIVE_TIME",
            "KEYS",
            "UNIQ_KEY",
            "__transactionId__",
            "TIMER_DELAY_MS",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        assert!(!is_reserved("region"));
    }

    #[test]
    fn every_compression_is_undone() {
        let body = b"again and again ".repeat(500);
        let zlib = compressed(&body).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&body).unwrap();
        let lz4 = lz4.finish().unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(
            body.as_slice(),
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        for (kind, bytes) in [
            (0, &zlib),
            (sys_flag::COMPRESSION_ZLIB, &zlib),
            (sys_flag::COMPRESSION_LZ4, &lz4),
            (sys_flag::COMPRESSION_ZSTD, &zstd),
        ] {
            let bytes = record("T", "", bytes, sys_flag::COMPRESSED | kind);
            let found = received(&bytes, &queue(), "g").unwrap().remove(0);
            assert!(found.body == body, "{kind:#x}");
        }
        let broken = record(
            "T",
            "",
            b"no",
            sys_flag::COMPRESSED | sys_flag::COMPRESSION_ZSTD,
        );
        assert_eq!(received(&broken, &queue(), "g").unwrap()[0].body, b"no");
        assert_eq!(compressed(b"x"), None);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_not_passed_over() {
        let mut bytes = record("T", "", b"one", 0);
        let second = bytes.len();
        bytes.extend(record("T", "", b"two", 0));
        bytes[second + 90] ^= 1;
        assert!(received(&bytes, &queue(), "g").is_err());
    }

    #[test]
    fn what_a_broker_would_refuse_is_refused_at_once() {
        let good = Message::new("T", "body").tag("a").key("k").key("l");
        good.check(4).unwrap();
        assert_eq!(good.find("KEYS"), Some("k l"));
        for (message, why) in [
            (Message::new("", "x"), "blank"),
            (Message::new("a b", "x"), "illegal"),
            (Message::new("T", ""), "empty"),
            (Message::new("T", "large"), "limit is 4"),
            (Message::new("T", "x").property("", "v"), "at least one"),
            (Message::new("T", "x").property("n", "a\u{1}b"), "U+0001"),
            (
                Message::new("T", "x").property("n", "v".repeat(40_000)),
                "32767",
            ),
        ] {
            let error = message.check(4).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = received(&bytes, &queue(), "g");
            let _ = received_alone(&bytes);
        }
    }
}
