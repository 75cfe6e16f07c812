//! fastjson's dialect, in which RocketMQ's bodies are written: a map's key may be a bare number or a whole object.
//!
//! ```text
//! {"brokerAddrs":{0:"10.0.0.1:10911"}}
//! {"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{"maxOffset":3}}}
//! ```
//!
//! Inside, an object key is the object's JSON text, as a string; `object_keys` makes it one of a struct. That a topic or
//! group never starts with `{` keeps the two apart. Old clients cannot read quoted number keys, and mqadmin no quoted
//! object keys, so this is also what we write where Java does; [`to_standard_vec`] is for the route of newer clients.

mod parser;

use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

pub use parser::parse;

/// A body that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("body: {expected} expected at byte {at}")]
    Syntax { at: usize, expected: &'static str },
    #[error("body: nested deeper than {limit}")]
    TooDeep { limit: usize },
    #[error("body: {reason}")]
    Content { reason: String },
}

/// Reads a body in the dialect; standard JSON is part of it and mostly takes the shorter way. A member that is null is as good
/// as none, so bodies have defaults and no `Option`s for it.
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    serde_json::from_value(parse(body)?).map_err(|error| BodyError::Content {
        reason: error.to_string(),
    })
}

/// Writes a body in the dialect.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write_with(value, Loose { key: Key::None })
}

/// Writes standard JSON in ASCII, as Java does for clients from 4.9.4 on (`BrowserCompatible`).
pub fn to_standard_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write_with(value, Ascii)
}

fn write_with<T: Serialize + ?Sized>(value: &T, formatter: impl Formatter) -> Vec<u8> {
    let mut out = Vec::new();
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut out, formatter,
    ));
    assert!(
        written.is_ok(),
        "a body of ours that is no JSON: {written:?}"
    );
    out
}

/// For `#[serde(with = ...)]` on a map whose keys are structs.
pub(super) mod object_keys {
    use std::collections::BTreeMap;

    use serde::de::{DeserializeOwned, Error};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let texts = map
            .iter()
            .map(|(key, value)| Ok((serde_json::to_string(key)?, value)));
        let texts: Vec<(String, &V)> = texts
            .collect::<serde_json::Result<_>>()
            .map_err(S::Error::custom)?;
        serializer.collect_map(texts)
    }

    pub fn deserialize<
        'de,
        K: DeserializeOwned + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    >(
        deserializer: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        let texts: BTreeMap<String, V> = BTreeMap::deserialize(deserializer)?;
        texts
            .into_iter()
            .map(|(text, value)| {
                Ok((
                    serde_json::from_str(&text).map_err(D::Error::custom)?,
                    value,
                ))
            })
            .collect()
    }
}

/// Which kind of key is being written.
enum Key {
    None,
    Begun,
    Text,
    Number,
    Object,
}

/// Holds a key's opening quote back until it is known whether it needs one.
struct Loose {
    key: Key,
}

impl Loose {
    /// A number in place of a key's text.
    fn number(&mut self) {
        if matches!(self.key, Key::Begun) {
            self.key = Key::Number;
        }
    }
}

impl Formatter for Loose {
    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.key = Key::Begun;
        CompactFormatter.begin_object_key(writer, first)
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.key = Key::None;
        Ok(())
    }

    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match self.key {
            Key::None => writer.write_all(b"\""),
            _ => Ok(()),
        }
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match self.key {
            Key::None | Key::Text => writer.write_all(b"\""),
            Key::Begun => writer.write_all(b"\"\""),
            Key::Number | Key::Object => Ok(()),
        }
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if matches!(self.key, Key::Begun) {
            if fragment.starts_with('{') {
                self.key = Key::Object;
            } else {
                self.key = Key::Text;
                writer.write_all(b"\"")?;
            }
        }
        writer.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        if matches!(self.key, Key::Begun) {
            self.key = Key::Text;
            writer.write_all(b"\"")?;
        }
        match (&self.key, escape) {
            (Key::Object, CharEscape::Quote) => writer.write_all(b"\""),
            (Key::Object, CharEscape::ReverseSolidus) => writer.write_all(b"\\"),
            (_, escape) => CompactFormatter.write_char_escape(writer, escape),
        }
    }

    fn write_i32<W: ?Sized + Write>(&mut self, writer: &mut W, value: i32) -> io::Result<()> {
        self.number();
        CompactFormatter.write_i32(writer, value)
    }

    fn write_i64<W: ?Sized + Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        self.number();
        CompactFormatter.write_i64(writer, value)
    }

    fn write_u32<W: ?Sized + Write>(&mut self, writer: &mut W, value: u32) -> io::Result<()> {
        self.number();
        CompactFormatter.write_u32(writer, value)
    }

    fn write_u64<W: ?Sized + Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        self.number();
        CompactFormatter.write_u64(writer, value)
    }
}

struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        for unit in fragment.encode_utf16() {
            match u8::try_from(unit) {
                Ok(ascii @ 0..0x80) => writer.write_all(&[ascii])?,
                _ => write!(writer, "\\u{unit:04x}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::MessageQueue;
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Table {
        #[serde(with = "object_keys")]
        by_queue: BTreeMap<MessageQueue, i64>,
        by_number: BTreeMap<i64, String>,
        by_text: BTreeMap<String, i32>,
    }

    fn queue(topic: &str) -> MessageQueue {
        MessageQueue {
            broker_name: "b".into(),
            queue_id: 0,
            topic: topic.into(),
        }
    }

    #[test]
    fn keys_of_every_kind() {
        let table = Table {
            by_queue: [(queue("t"), 3), (queue("a\"b\\c\nd"), 4)].into(),
            by_number: [(0, "x:1".into()), (-1, "ü".into())].into(),
            by_text: [(String::new(), 1), ("1".into(), 2), ("\"".into(), 3)].into(),
        };
        let loose = to_vec(&table);
        let expected = r#"{"by_queue":{{"brokerName":"b","queueId":0,"topic":"a\"b\\c\nd"}:4,{"brokerName":"b","queueId":0,"topic":"t"}:3},"by_number":{-1:"ü",0:"x:1"},"by_text":{"":1,"\"":3,"1":2}}"#;
        assert_eq!(String::from_utf8_lossy(&loose), expected);
        assert_eq!(from_slice::<Table>(&loose), Ok(table));
    }

    #[test]
    fn standard() {
        let table = Table {
            by_number: [(0, "ü😀/".into())].into(),
            ..Table::default()
        };
        let standard = to_standard_vec(&table);
        assert_eq!(
            String::from_utf8_lossy(&standard),
            r#"{"by_queue":{},"by_number":{"0":"\u00fc\ud83d\ude00/"},"by_text":{}}"#
        );
        assert_eq!(from_slice::<Table>(&standard), Ok(table));
    }

    #[test]
    fn null_tables() {
        assert_eq!(
            from_slice::<Table>(br#"{"by_queue":null}"#),
            Ok(Table::default())
        );
        assert!(matches!(
            from_slice::<Table>(br#"{"by_text":{"a":"b"}}"#),
            Err(BodyError::Content { .. })
        ));
    }

    proptest! {
        #[test]
        fn round_trip(
            topics in prop::collection::btree_map(any::<String>(), any::<i64>(), 0..4),
            numbers in prop::collection::btree_map(any::<i64>(), any::<String>(), 0..4),
            texts in prop::collection::btree_map("[^{].*|", any::<i32>(), 0..4),
        ) {
            let by_queue = topics.into_iter().map(|(topic, offset)| (queue(&topic), offset)).collect();
            let table = Table { by_queue, by_number: numbers, by_text: texts };
            prop_assert_eq!(&from_slice::<Table>(&to_vec(&table)).unwrap(), &table);
            prop_assert_eq!(&from_slice::<Table>(&to_standard_vec(&table)).unwrap(), &table);
        }
    }
}
