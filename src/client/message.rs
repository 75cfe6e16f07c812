//! A message to send. What RocketMQ keeps in properties (`MessageConst.java`) has methods here.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ClientError;
use crate::message::names::check_topic;
use crate::message::{MAX_PROPERTIES_BYTES, properties};

/// `compressLevel` of the Java producer.
const ZLIB_LEVEL: u32 = 5;

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
    /// With properties of another message.
    pub(super) fn with_properties(
        topic: String,
        body: Vec<u8>,
        flag: i32,
        properties: BTreeMap<String, String>,
    ) -> Self {
        Self {
            topic,
            body,
            flag,
            properties,
        }
    }

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

    /// Delivered this long after the broker has stored it.
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

    /// Checks for what a broker would refuse, before the message is sent (`Validators.checkMessage`).
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

/// Whether a property's name is reserved by RocketMQ (`MessageConst.STRING_HASH_SET`, and what brokers add).
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

/// The body compressed, if that makes it smaller.
pub(super) fn compressed(body: &[u8]) -> Option<Vec<u8>> {
    let level = flate2::Compression::new(ZLIB_LEVEL);
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
    encoder.write_all(body).ok()?;
    encoder.finish().ok().filter(|out| out.len() < body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
