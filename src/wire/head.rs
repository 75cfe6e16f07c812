//! A header as it is written: its codec, its fixed part, and the values of its fields.

use super::{CURRENT_VERSION, FLAG_ONEWAY, FLAG_RESPONSE, Language};

/// How a header is encoded. A reply has its request's codec, as C++ and Node clients read only JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Json,
    Rocketmq,
}

impl Codec {
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::Rocketmq => 1,
        }
    }

    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Json),
            1 => Some(Self::Rocketmq),
            _ => None,
        }
    }
}

/// A header to be written, without its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    pub codec: Codec,
    pub code: i32,
    pub language: Language,
    pub version: i32,
    pub opaque: i32,
    pub flag: i32,
    pub remark: Option<&'a str>,
}

/// As RocketMQ's Java client and broker write them.
impl Head<'_> {
    pub const fn request(codec: Codec, code: i32, opaque: i32) -> Self {
        Self {
            codec,
            code,
            language: Language::Java,
            version: CURRENT_VERSION,
            opaque,
            flag: 0,
            remark: None,
        }
    }

    /// A request without an answer.
    pub const fn oneway(codec: Codec, code: i32, opaque: i32) -> Self {
        Self {
            flag: FLAG_ONEWAY,
            ..Self::request(codec, code, opaque)
        }
    }

    pub const fn reply(codec: Codec, code: i32, opaque: i32) -> Self {
        Self {
            flag: FLAG_RESPONSE,
            ..Self::request(codec, code, opaque)
        }
    }
}

/// A header field's value. On the wire it is always a string: C++ and Go clients fail on anything else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Left out, as Java leaves out null.
    Absent,
    Str(&'a str),
    I64(i64),
    Bool(bool),
}

/// An empty list of fields that is written: `"extFields":{}`, as in Java's empty answers. With `&[]` a JSON header has no
/// `extFields` at all.
pub const EMPTY_EXT: &[(&str, Value<'static>)] = &[("", Value::Absent)];
