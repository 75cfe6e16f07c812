//! A frame's header: the request's code, its sender, and its fields.

use super::frame::{Codec, Frame, MAX_FRAME_BYTES};
use super::{FLAG_ONEWAY, FLAG_RESPONSE, Language, binary, json};

/// More fields than any request has; bounds the memory of a malicious header.
const MAX_FIELDS: usize = 1024;

/// A decoded header, borrowed from its frame and from the [`Scratch`].
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    pub code: i32,
    pub language: Language,
    pub version: i32,
    pub opaque: i32,
    pub flag: i32,
    pub remark: Option<&'a str>,
    pub ext: Ext<'a>,
}

impl Header<'_> {
    pub const fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    pub const fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}

/// A header's `extFields`: keys and values, both strings, whatever the peer sent. Null is absent.
#[derive(Clone, Copy, Debug)]
pub struct Ext<'a> {
    raw: &'a str,
    text: &'a str,
    fields: &'a [(Span, Span)],
}

impl<'a> Ext<'a> {
    pub const EMPTY: Self = Self {
        raw: "",
        text: "",
        fields: &[],
    };

    /// In the order sent.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&'a str, &'a str)> + use<'a> {
        let Self { raw, text, fields } = *self;
        fields
            .iter()
            .map(move |(key, value)| (key.of(raw, text), value.of(raw, text)))
    }

    /// The value of `key`; of a key sent twice the last one, as in Java's map.
    pub fn find(&self, key: &str) -> Option<&'a str> {
        self.iter()
            .rev()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// Buffers that decoding reuses, so that it does not allocate. One per reader is enough.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) fields: Vec<(Span, Span)>,
    /// Strings that are not in the header's bytes as they are: they had escapes, or are from a binary header.
    pub(super) text: String,
    /// A whole JSON header that was not UTF-8, repaired.
    lossy: String,
}

impl Scratch {
    #[inline]
    pub(super) fn push(&mut self, key: Span, value: Span) -> Result<(), HeaderError> {
        if self.fields.len() == MAX_FIELDS {
            return Err(HeaderError::TooManyFields);
        }
        self.fields.push((key, value));
        Ok(())
    }
}

/// Where a string is: in the header's bytes or, as the top bit says, in the scratch text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    const IN_TEXT: u32 = 1 << 31;

    pub fn in_raw(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    pub fn in_text(start: usize, end: usize) -> Self {
        Self {
            start: start as u32 | Self::IN_TEXT,
            end: end as u32,
        }
    }

    #[inline]
    pub fn of<'a>(self, raw: &'a str, text: &'a str) -> &'a str {
        let whole = if self.start & Self::IN_TEXT != 0 {
            text
        } else {
            raw
        };
        let start = (self.start & !Self::IN_TEXT) as usize;
        whole.get(start..self.end as usize).unwrap_or_default()
    }
}

// The scratch text is at most three times the header: a byte that is not UTF-8 becomes U+FFFD.
const _: () = assert!(3 * MAX_FRAME_BYTES < Span::IN_TEXT as usize);

/// The header cannot be read. There is no opaque to answer, so the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("header: {expected} expected at byte {at}")]
    Json { at: usize, expected: &'static str },
    #[error("header: {field}, at byte {at}, is not a 32-bit integer")]
    Number { field: &'static str, at: usize },
    #[error("header: nested deeper than {limit}")]
    TooDeep { limit: u32 },
    #[error("header: more than {MAX_FIELDS} fields")]
    TooManyFields,
    #[error("header: {field} needs {need} bytes, {have} are left")]
    Truncated {
        field: &'static str,
        need: usize,
        have: usize,
    },
}

/// What a codec finds besides the fields it put into the scratch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub code: i32,
    pub language: Language,
    pub version: i32,
    pub opaque: i32,
    pub flag: i32,
    pub remark: Option<Span>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            code: 0,
            language: Language::Java,
            version: 0,
            opaque: 0,
            flag: 0,
            remark: None,
        }
    }
}

/// Decodes a frame's header.
pub fn decode<'a>(frame: &Frame<'a>, scratch: &'a mut Scratch) -> Result<Header<'a>, HeaderError> {
    scratch.fields.clear();
    scratch.text.clear();
    let (parts, raw) = match frame.codec {
        Codec::Rocketmq => (binary::read(frame.header, scratch)?, ""),
        Codec::Json => match std::str::from_utf8(frame.header) {
            Ok(raw) => (json::read(raw, scratch)?, raw),
            // Java repairs what is not UTF-8, and a client's stray byte in a key should not cost its connection.
            Err(_) => {
                let lossy = String::from_utf8_lossy(frame.header).into_owned();
                let parts = json::read(&lossy, scratch)?;
                scratch.lossy = lossy;
                (parts, scratch.lossy.as_str())
            }
        },
    };
    let Parts {
        code,
        language,
        version,
        opaque,
        flag,
        remark,
    } = parts;
    let text = scratch.text.as_str();
    let remark = remark.map(|span| span.of(raw, text));
    Ok(Header {
        code,
        language,
        version,
        opaque,
        flag,
        remark,
        ext: Ext {
            raw,
            text,
            fields: &scratch.fields,
        },
    })
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
#[cfg(test)]
pub(crate) use tests::with_fields;
