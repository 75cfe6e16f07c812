//! A frame's header: the request's code, its sender, and its fields.

use super::fields::{HeaderError, Parts, Span};
use super::frame::{Frame, MAX_FRAME_BYTES};
use super::head::Codec;
use super::scratch::Scratch;
use super::{FLAG_ONEWAY, FLAG_RESPONSE, Language, binary, json};

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

    /// A copy that outlives the frame.
    pub fn kept(&self) -> KeptExt {
        KeptExt {
            raw: self.raw.into(),
            text: self.text.into(),
            fields: self.fields.into(),
        }
    }
}

/// The fields of a request that is decided only once something has been read for it: its task decodes them from here. Every
/// other request is decided in the turn in which it comes, and its task gets what was decided. So no send and no pull is
/// copied, and no request has a second form that owns its texts.
#[derive(Clone, Debug)]
pub struct KeptExt {
    raw: Box<str>,
    text: Box<str>,
    fields: Box<[(Span, Span)]>,
}

impl KeptExt {
    pub fn ext(&self) -> Ext<'_> {
        Ext {
            raw: &self.raw,
            text: &self.text,
            fields: &self.fields,
        }
    }
}

// The scratch text is at most three times the header: a byte that is not UTF-8 becomes U+FFFD.
const _: () = assert!(3 * MAX_FRAME_BYTES < Span::MAX_START);

/// Decodes a frame's header.
pub fn decode<'a>(frame: &Frame<'a>, scratch: &'a mut Scratch) -> Result<Header<'a>, HeaderError> {
    let Scratch {
        fields,
        lossy,
        learned,
    } = scratch;
    fields.clear();
    let (parts, raw) = match frame.codec {
        Codec::Rocketmq => (binary::read(frame.header, fields)?, ""),
        Codec::Json => match std::str::from_utf8(frame.header) {
            Ok(raw) => (json::read(raw, fields, learned)?, raw),
            // As Java does: invalid UTF-8 is replaced, and the connection of a client with such a key stays open.
            Err(_) => {
                *lossy = String::from_utf8_lossy(frame.header).into_owned();
                (json::read(lossy, fields, learned)?, lossy.as_str())
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
    let text = fields.text.as_str();
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
            fields: &fields.all,
        },
    })
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
#[cfg(test)]
pub(crate) use tests::{with_fields, with_request};
