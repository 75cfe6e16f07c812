//! A message as a line of JSON: what `ringmq consume --json` prints and `ringmq send --json-lines` reads.
//!
//! A name means the same in both; what only the cluster assigns (ids, offsets, times) is printed and ignored when read.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::values::{Delay, delay, delay_level};
use crate::client::{Message, Received, SendResult};

/// What to send. A field that it does not have is refused: it may be a misspelt one.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Line {
    pub topic: Option<String>,
    body: Option<String>,
    body_base64: Option<String>,
    tag: Option<String>,
    keys: Vec<String>,
    properties: BTreeMap<String, String>,
    flag: i32,
    delay: Option<DelayText>,
    pub order_by: Option<String>,
    // What `received` prints beside and a send does not use.
    #[serde(rename = "messageId")]
    _message_id: IgnoredAny,
    #[serde(rename = "offsetMessageId")]
    _offset_message_id: IgnoredAny,
    #[serde(rename = "broker")]
    _broker: IgnoredAny,
    #[serde(rename = "queueId")]
    _queue_id: IgnoredAny,
    #[serde(rename = "queueOffset")]
    _queue_offset: IgnoredAny,
    #[serde(rename = "reconsumeTimes")]
    _reconsume_times: IgnoredAny,
    #[serde(rename = "bornTimestampMs")]
    _born_timestamp_ms: IgnoredAny,
    #[serde(rename = "storeTimestampMs")]
    _store_timestamp_ms: IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum DelayText {
    Level(u32),
    Text(String),
}

impl Line {
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| match error.line() {
            // Its text ends with the place, in which the line is always the first.
            1 => {
                let said = error.to_string();
                let place = format!(" at line 1 column {}", error.column());
                let said = said.strip_suffix(&place).unwrap_or(&said);
                anyhow!("{said} (column {})", error.column())
            }
            _ => anyhow!(error),
        })
    }

    pub fn message(self, topic: String) -> Result<Message> {
        let body = match (self.body, self.body_base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(text)) => BASE64_STANDARD.decode(text).context("bodyBase64")?,
            _ => bail!("either body or bodyBase64 is needed"),
        };
        let mut message = Message::new(topic, body);
        message.flag = self.flag;
        message = decorated(message, self.tag.as_deref(), &self.keys, &self.properties)?;
        let delay = match self.delay {
            None => return Ok(message),
            Some(DelayText::Level(level)) => delay_level(level),
            Some(DelayText::Text(text)) => delay(&text),
        };
        let delay = delay.map_err(|error| anyhow!("delay: {error}"))?;
        Ok(delayed(message, delay))
    }
}

/// Adds `--tag`, `--key` and `--property` where the message does not have its own.
pub fn decorated<'a>(
    mut message: Message,
    tag: Option<&str>,
    keys: &[String],
    properties: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<Message> {
    if let Some(tag) = tag.filter(|_| message.find("TAGS").is_none()) {
        message = message.tag(tag);
    }
    if message.find("KEYS").is_none() {
        for key in keys {
            message = message.key(key);
        }
    }
    for (name, value) in properties {
        if crate::client::is_reserved(name) {
            bail!(
                "the property {name} is RocketMQ's own; tags, keys and delays have flags and fields of their own"
            );
        }
        if message.find(name).is_none() {
            message = message.property(name, value);
        }
    }
    Ok(message)
}

pub fn delayed(message: Message, delay: Delay) -> Message {
    match delay {
        Delay::Level(level) => message.delay_level(level),
        Delay::For(time) => message.delay(time),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceivedLine<'a> {
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    keys: Vec<&'a str>,
    properties: BTreeMap<&'a str, &'a str>,
    flag: i32,
    message_id: &'a str,
    offset_message_id: &'a str,
    broker: &'a str,
    queue_id: i32,
    queue_offset: i64,
    reconsume_times: i32,
    born_timestamp_ms: i64,
    store_timestamp_ms: i64,
}

pub fn received(message: &Received) -> String {
    let text = message.text();
    let line = ReceivedLine {
        topic: &message.topic,
        body: text,
        body_base64: match text {
            Some(_) => None,
            None => Some(BASE64_STANDARD.encode(&message.body)),
        },
        tag: message.tag(),
        keys: message.keys().collect(),
        properties: message.user_properties().collect(),
        flag: message.flag,
        message_id: &message.message_id,
        offset_message_id: &message.offset_message_id,
        broker: &message.queue.broker_name,
        queue_id: message.queue.queue_id,
        queue_offset: message.queue_offset,
        reconsume_times: message.reconsume_times,
        born_timestamp_ms: message.born_timestamp_ms,
        store_timestamp_ms: message.store_timestamp_ms,
    };
    serde_json::to_string(&line).expect("strings and numbers are JSON")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SentLine<'a> {
    topic: &'a str,
    message_id: &'a str,
    offset_message_id: &'a str,
    broker: &'a str,
    queue_id: i32,
    queue_offset: i64,
    status: String,
}

pub fn sent(sent: &SendResult) -> String {
    let line = SentLine {
        topic: &sent.queue.topic,
        message_id: &sent.message_id,
        offset_message_id: &sent.offset_message_id,
        broker: &sent.queue.broker_name,
        queue_id: sent.queue.queue_id,
        queue_offset: sent.queue_offset,
        status: format!("{:?}", sent.status),
    };
    serde_json::to_string(&line).expect("strings and numbers are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Result<Message> {
        Line::parse(text)?.message("T".into())
    }

    #[test]
    fn a_line_says_what_to_send() {
        let found = message(
            r#"{"body":"x","tag":"a","keys":["k","l"],"properties":{"n":"v"},"delay":"30s","flag":7,"queueId":3}"#,
        )
        .unwrap();
        let mut expected = Message::new("T", "x")
            .tag("a")
            .key("k")
            .key("l")
            .property("n", "v")
            .delay(std::time::Duration::from_secs(30));
        expected.flag = 7;
        assert_eq!(found, expected);
        let found = message(r#"{"bodyBase64":"AP8=","delay":3}"#).unwrap();
        assert_eq!(found, Message::new("T", [0, 255]).delay_level(3));
    }

    #[test]
    fn a_line_that_says_nothing_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"body":"x","bodyBase64":"AP8="}"#,
            r#"{"bodyBase64":"?"}"#,
            r#"{"body":"x","delay":"soon"}"#,
            r#"{"body":"x","delay":19}"#,
            r#"{"body":"x","properties":{"UNIQ_KEY":"x"}}"#,
        ] {
            assert!(message(text).is_err(), "{text}");
        }
    }
    #[test]
    fn a_misspelt_field_is_refused_and_a_place_is_said_once() {
        let error = Line::parse(r#"{"body":"x","colour":1}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("unknown field `colour`"), "{error}");
        assert!(!error.contains(" line "), "{error}");
        let error = Line::parse("no").unwrap_err().to_string();
        assert!(
            error.contains("(column ") && !error.contains(" line "),
            "{error}"
        );
    }
}
