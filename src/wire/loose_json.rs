//! fastjson's dialect, in which RocketMQ's bodies are written: a map's key may be a bare number or a whole object.
//!
//! ```text
//! {"brokerAddrs":{0:"10.0.0.1:10911"}}
//! {"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{"maxOffset":3}}}
//! ```
//!
//! Inside, an object key is the object's JSON text, as a string; `object_keys` makes it one of a struct. A topic or
//! group never starts with `{`, so the two cannot be confused. Old clients cannot read quoted number keys, and mqadmin no quoted
//! object keys, so bodies are written in the dialect wherever Java does; [`to_standard_vec`] is for the route of newer clients.
//!
//! Clients in other languages rely on what fastjson accepts beyond JSON. [`from_slice`] therefore accepts every syntax that it
//! does (`parser`) and converts a value to the type of its field as it does (`lenient`, `numbers`, `loose_enum!`).
//! `tests/golden/loose_json.txt` has what RocketMQ 5.5.0 (fastjson2) made of some 4,000 texts.

mod lenient;
pub mod members;
mod numbers;
pub(super) mod object_keys;
mod parser;
mod writer;

use serde::de::DeserializeOwned;

use lenient::Lenient;
pub(super) use numbers::{integer, is_same_name};
pub use parser::parse;
pub use writer::{to_standard_vec, to_vec, write, write_indented};

/// A body that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("body: {expected} expected at byte {at}")]
    Syntax { at: usize, expected: &'static str },
    #[error("body: nested deeper than {limit}")]
    TooDeep { limit: usize },
    #[error("body: a key or value of more than {limit} bytes at byte {at}")]
    TooLong { at: usize, limit: usize },
    #[error("body: {reason}")]
    Content { reason: String },
}

/// Reads a body in the dialect; standard JSON is part of it and mostly takes the shorter way. A member that is null counts as
/// missing, so bodies have defaults and no `Option`s for it.
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    from_value(parse(body)?)
}

fn from_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, BodyError> {
    T::deserialize(Lenient(value)).map_err(|error| BodyError::Content {
        reason: error.to_string(),
    })
}

/// Defines an enum of a body: read from its Java name (whatever the case, and with or without `_`, `-` and blanks) or from
/// its ordinal, as a number or as text. Null and an unknown name are the default, as both are null in Java. Variants in Java's order.
macro_rules! loose_enum {
    (
        $(#[$doc:meta])*
        pub enum $name:ident, default $default:ident {
            $($(#[$variant_doc:meta])* $variant:ident = $java:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $java,)*
                }
            }

            pub fn from_name(name: &str) -> Option<Self> {
                let mut all = Self::ALL.iter().copied();
                all.find(|known| $crate::wire::loose_json::is_same_name(known.name(), name))
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::$default
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (all, from_name) = (Self::ALL, Self::from_name);
                let visitor = $crate::wire::loose_json::EnumVisitor { all, from_name };
                deserializer.deserialize_any(visitor)
            }
        }
    };
}
pub(crate) use loose_enum;

/// Of [`loose_enum!`].
pub(super) struct EnumVisitor<T: 'static> {
    pub all: &'static [T],
    pub from_name: fn(&str) -> Option<T>,
}

impl<T: Copy + Default> serde::de::Visitor<'_> for EnumVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "a name or an ordinal below {}", self.all.len())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        let is_ordinal = text.trim_start_matches(['+']).parse::<u8>().ok();
        let by_ordinal = is_ordinal.and_then(|ordinal| self.all.get(usize::from(ordinal)).copied());
        Ok(by_ordinal
            .or_else(|| (self.from_name)(text))
            .unwrap_or_default())
    }

    fn visit_u64<E: serde::de::Error>(self, ordinal: u64) -> Result<T, E> {
        let known = usize::try_from(ordinal)
            .ok()
            .and_then(|at| self.all.get(at));
        known
            .copied()
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(ordinal), &self))
    }

    fn visit_i64<E: serde::de::Error>(self, ordinal: i64) -> Result<T, E> {
        match u64::try_from(ordinal) {
            Ok(ordinal) => self.visit_u64(ordinal),
            Err(_) => Err(E::invalid_value(
                serde::de::Unexpected::Signed(ordinal),
                &self,
            )),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, ordinal: f64) -> Result<T, E> {
        self.visit_i64(ordinal as i64)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<T, E> {
        Ok(T::default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::MessageQueue;
    use super::*;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};
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

#[cfg(test)]
mod golden_tests;
