//! A whole reply off the path of messages, of broker and name server alike.

use std::borrow::Cow;

use serde::Serialize;

use super::codes::response;
use super::frame::{MAX_FRAME_BYTES, MAX_HEADER_BYTES};
use super::{BodyError, FieldError, Value, loose_json};

/// All of a reply but what its request says (opaque, codec).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub code: i32,
    pub remark: Option<Cow<'static, str>>,
    pub ext: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// Fields and remark together; in JSON a byte may take six.
const HEADER_LIMIT_BYTES: usize = 256 << 10;
const BODY_LIMIT_BYTES: usize = 14 << 20;
const _: () = assert!(6 * HEADER_LIMIT_BYTES < MAX_HEADER_BYTES);
const _: () = assert!(6 * HEADER_LIMIT_BYTES + BODY_LIMIT_BYTES < MAX_FRAME_BYTES);

impl Reply {
    pub fn ok() -> Self {
        Self {
            code: response::SUCCESS,
            ..Self::default()
        }
    }

    pub fn refused(code: i32, remark: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            remark: Some(remark.into()),
            ..Self::default()
        }
    }

    /// RocketMQ's code for everything that went wrong and has no code of its own.
    pub fn error(remark: impl Into<Cow<'static, str>>) -> Self {
        Self::refused(response::SYSTEM_ERROR, remark)
    }

    /// With a body in fastjson's dialect.
    pub fn json<T: Serialize>(body: &T) -> Self {
        Self::ok().with_body(loose_json::to_vec(body))
    }

    #[must_use]
    pub fn with_body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.ext.push((name, value.to_string()));
        self
    }

    /// With the fields of a family's struct, as its `ext()` gives them.
    #[must_use]
    pub fn with_fields(mut self, fields: &[(&'static str, Value<'_>)]) -> Self {
        for (name, value) in fields {
            let text = match value {
                Value::Absent => continue,
                Value::Str(text) => String::from(*text),
                Value::I64(number) => number.to_string(),
                Value::Bool(is_true) => is_true.to_string(),
            };
            self.ext.push((name, text));
        }
        self
    }

    #[must_use]
    pub fn remark(mut self, remark: impl Into<Cow<'static, str>>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// As [`frame::write`](super::frame::write) takes them.
    pub fn ext_values(&self) -> Vec<(&'static str, Value<'_>)> {
        let fields = self.ext.iter();
        fields
            .map(|(name, value)| (*name, Value::Str(value)))
            .collect()
    }

    /// The reply itself, or a refusal if it is too long for a frame: clients close a connection that sends them more than 16 MiB.
    /// A remark or field may hold what a client chose, and a cluster may have more topics than fit one list.
    #[must_use]
    pub fn bounded(self) -> Self {
        let fields = self.ext.iter().map(|(_, value)| value.len());
        let header_bytes =
            fields.sum::<usize>() + self.remark.as_ref().map_or(0, |text| text.len());
        if header_bytes <= HEADER_LIMIT_BYTES && self.body.len() <= BODY_LIMIT_BYTES {
            return self;
        }
        Self::error(format!(
            "the answer has {header_bytes} bytes of fields and {} of body: too long",
            self.body.len()
        ))
    }
}

/// What a field or body lacks ends as RocketMQ's answer to an exception.
impl From<FieldError> for Reply {
    fn from(error: FieldError) -> Self {
        Self::error(error.to_string())
    }
}

impl From<BodyError> for Reply {
    fn from(error: BodyError) -> Self {
        Self::error(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Codec, Head, Language, frame};

    #[test]
    fn every_bounded_reply_fits_a_frame() {
        let long = "\u{1}".repeat(HEADER_LIMIT_BYTES);
        let longest = Reply::error(long.clone()).with_body(vec![0; BODY_LIMIT_BYTES]);
        let replies = [
            longest.clone(),
            longest.clone().with("field", "x"),
            Reply::ok().with_body(vec![0; BODY_LIMIT_BYTES + 1]),
            Reply::ok().with("field", long),
        ];
        let codes = replies.map(|reply| {
            let reply = reply.bounded();
            let head = Head {
                codec: Codec::Json,
                code: reply.code,
                language: Language::Java,
                version: 0,
                opaque: 7,
                flag: 1,
                remark: reply.remark.as_deref(),
            };
            let mut bytes = Vec::new();
            frame::write(&mut bytes, &head, &reply.ext_values(), &reply.body);
            assert!(bytes.len() <= MAX_FRAME_BYTES, "{}", bytes.len());
            (reply.code, reply.body.len())
        });
        assert_eq!(codes[0], (1, BODY_LIMIT_BYTES));
        assert_eq!(codes[1..], [(1, 0), (1, 0), (0, 0)]);
    }
}
