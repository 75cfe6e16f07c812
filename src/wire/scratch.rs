//! What decoding a header gives, before it is a [`Header`](super::Header): its fixed part, and where its fields are.

use super::Language;

/// More fields than any request has; bounds the memory of a malicious header.
pub(super) const MAX_FIELDS: usize = 1024;

/// Buffers that decoding reuses, so that it does not allocate. One per reader is enough.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) fields: Vec<(Span, Span)>,
    /// Strings that are not in the header's bytes as they are: they had escapes, or are from a binary header.
    pub(super) text: String,
    /// A whole JSON header that was not UTF-8, repaired.
    pub(super) lossy: String,
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
