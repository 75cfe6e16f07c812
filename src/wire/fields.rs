//! What decoding a header gives, before it is a [`Header`](super::Header): its fixed part, and where its fields are.

use std::ops::Range;

use super::Language;

/// More fields than any request has; bounds the memory of a malicious header.
pub(super) const MAX_FIELDS: usize = 1024;

/// The fields of a header.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) all: Vec<(Span, Span)>,
    /// Strings that are not in the header's bytes as they are: they had escapes, or are from a binary header.
    pub(super) text: String,
    /// Where the values of all fields are in a JSON header that was read as a whole, with their quotes.
    pub(super) places: Vec<Range<usize>>,
    /// Where its opaque is; empty without one.
    pub(super) opaque: Range<usize>,
}

impl Fields {
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.text.clear();
        self.places.clear();
        self.opaque = 0..0;
    }

    #[inline]
    pub(super) fn push(&mut self, key: Span, value: Span) -> Result<(), HeaderError> {
        if self.all.len() == MAX_FIELDS {
            return Err(HeaderError::TooManyFields);
        }
        self.all.push((key, value));
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

    /// Positions must be below it.
    pub(super) const MAX_START: usize = Self::IN_TEXT as usize;

    pub(super) fn in_raw(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    pub(super) fn in_text(start: usize, end: usize) -> Self {
        Self {
            start: start as u32 | Self::IN_TEXT,
            end: end as u32,
        }
    }

    pub(super) fn is_in_raw(self) -> bool {
        self.start & Self::IN_TEXT == 0
    }

    /// Of a string in the header's bytes.
    pub(super) fn is_before(self, at: usize) -> bool {
        (self.start as usize) < at
    }

    /// The same string in a header in which it is so many bytes further on; modulo 2^32, so it may be before.
    pub(super) fn moved(self, by: usize) -> Self {
        Self {
            start: self.start.wrapping_add(by as u32),
            end: self.end.wrapping_add(by as u32),
        }
    }

    #[inline]
    pub(super) fn of<'a>(self, raw: &'a str, text: &'a str) -> &'a str {
        let whole = if self.start & Self::IN_TEXT != 0 {
            text
        } else {
            raw
        };
        let start = (self.start & !Self::IN_TEXT) as usize;
        whole.get(start..self.end as usize).unwrap_or_default()
    }
}

/// The header cannot be decoded. Its opaque is unknown and no answer can be sent, so the connection must be closed.
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

/// A decoded header without its fields, which are in the scratch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) code: i32,
    pub(super) language: Language,
    pub(super) version: i32,
    pub(super) opaque: i32,
    pub(super) flag: i32,
    pub(super) remark: Option<Span>,
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
