//! A message as it was received. Every compression that a RocketMQ client may have used is undone.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;

use super::ClientError;
use super::message::{Message, is_reserved};
use crate::message::ids::offset_message_id;
use crate::message::names::retry_topic;
use crate::message::{Check, Record, batch, properties, sys_flag};
use crate::wire::MessageQueue;

/// What a compressed body may grow to; a broker takes no more uncompressed either, except by configuration.
const MAX_BODY_BYTES: u64 = 1 << 28;

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
        Message::with_properties(topic, self.body.clone(), self.flag, self.properties.clone())
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

/// The messages of a pull's answer. One that cannot be read is an error, as skipping it would lose it.
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
        let mut take = |record: &Record<'_>| {
            let mut message = Received::from_record(record, queue.clone());
            if message.topic == retry_topic
                && let Some(topic) = message.find(properties::RETRY_TOPIC)
            {
                message.topic = topic.to_owned();
            }
            messages.push(message);
        };
        match record.sys_flag & PACKED == PACKED {
            true => unpacked(record).iter().for_each(take),
            false => take(&record),
        }
    }
    Ok(messages)
}

/// What an inner batch has in its `sysFlag`.
const PACKED: i32 = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;

/// The messages of an inner batch, each at its offset (RocketMQ: `PullAPIWrapper.processPullResult`). One that cannot be read is passed on as it is.
fn unpacked(record: Record<'_>) -> Vec<Record<'_>> {
    let items: Result<Vec<_>, _> = batch::iter(record.body).collect();
    let Ok(items) = items else {
        return vec![record];
    };
    let messages = items.into_iter().zip(record.queue_offset..);
    let messages = messages.map(|(item, queue_offset)| Record {
        flag: item.flag,
        queue_offset,
        body: item.body,
        properties: item.properties,
        ..record
    });
    messages.collect()
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

/// The body before compression. A body that cannot be decompressed is delivered as it is.
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
    use crate::client::message::compressed;
    use crate::message::{Properties, RecordFields};
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn an_inner_batch_is_unpacked() {
        let mut packed = Vec::new();
        for (flag, body) in [(1, &b"first"[..]), (2, b"second")] {
            let item = batch::BatchItem {
                flag,
                body,
                properties: b"KEYS\x01k\x02",
            };
            batch::push(&mut packed, &item);
        }
        let flags = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;
        let bytes = record("T", "INNER_NUM\u{1}2\u{2}", &packed, flags);
        let got = received(&bytes, &MessageQueue::default(), "g").unwrap();
        let got: Vec<_> = got
            .iter()
            .map(|message| (message.queue_offset, message.flag, message.text().unwrap()))
            .collect();
        assert_eq!(got, [(5, 1, "first"), (6, 2, "second")]);
        // What no consumer is to unpack, and what cannot be, stays as it is.
        for (flags, body) in [(sys_flag::INNER_BATCH, &packed[..]), (flags, b"torn")] {
            let bytes = record("T", "", body, flags);
            let got = received(&bytes, &MessageQueue::default(), "g").unwrap();
            assert_eq!((got.len(), &got[0].body[..]), (1, body));
        }
    }

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

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = received(&bytes, &queue(), "g");
            let _ = received_alone(&bytes);
        }
    }
}
