//! The ROCKETMQ header codec: fixed fields, then length-prefixed strings.
//!
//! ```text
//!   0   2 code       (the 200xxx codes do not fit and need JSON)
//!   2   1 language
//!   3   2 version
//!   5   4 opaque
//!   9   4 flag
//!  13   4 + n remark
//!       4 length of all fields; per field: 2 + n key, 4 + n value
//! ```
//!
//! A string of length 0 is null. Source: `RocketMQSerializable.java`.

use super::Language;
use super::fields::{Fields, HeaderError, Parts, Span};
use super::head::{Head, Value};

pub(super) fn read(header: &[u8], found: &mut Fields) -> Result<Parts, HeaderError> {
    let mut rest = Reader { bytes: header };
    let code = i32::from(i16::from_be_bytes(rest.array("code")?));
    let [language] = rest.array("language")?;
    let version = i32::from(i16::from_be_bytes(rest.array("version")?));
    let opaque = i32::from_be_bytes(rest.array("opaque")?);
    let flag = i32::from_be_bytes(rest.array("flag")?);
    let remark = rest.long_string("remark", found)?;
    let len = rest.length("extFields")?;
    let mut fields = Reader {
        bytes: rest.take("extFields", len)?,
    };
    while !fields.bytes.is_empty() {
        let key = fields.short_string("field name", found)?;
        let value = fields.long_string("field value", found)?;
        if let (Some(key), Some(value)) = (key, value) {
            found.push(key, value)?;
        }
    }
    Ok(Parts {
        code,
        language: Language::from_byte(language),
        version,
        opaque,
        flag,
        remark,
    })
}

pub(super) fn write(out: &mut Vec<u8>, head: &Head<'_>, ext: &[(&str, Value<'_>)]) {
    out.extend_from_slice(&(head.code as i16).to_be_bytes());
    out.push(head.language.byte());
    out.extend_from_slice(&(head.version as i16).to_be_bytes());
    out.extend_from_slice(&head.opaque.to_be_bytes());
    out.extend_from_slice(&head.flag.to_be_bytes());
    write_long(out, head.remark.unwrap_or_default().as_bytes());
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    for (key, value) in ext {
        if *value == Value::Absent {
            continue;
        }
        assert!(
            key.len() <= i16::MAX as usize,
            "a field name of {} bytes",
            key.len()
        );
        out.extend_from_slice(&(key.len() as u16).to_be_bytes());
        out.extend_from_slice(key.as_bytes());
        match value {
            Value::Absent => {}
            Value::Str(text) => write_long(out, text.as_bytes()),
            Value::I64(number) => write_long(out, itoa::Buffer::new().format(*number).as_bytes()),
            Value::Bool(true) => write_long(out, b"true"),
            Value::Bool(false) => write_long(out, b"false"),
        }
    }
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

fn write_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The bytes that are still to be read; every length is checked against them.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], HeaderError> {
        let have = self.bytes.len();
        let (first, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or(HeaderError::Truncated {
                field,
                need: N,
                have,
            })?;
        self.bytes = rest;
        Ok(*first)
    }

    fn take(&mut self, field: &'static str, need: usize) -> Result<&'a [u8], HeaderError> {
        let have = self.bytes.len();
        let (first, rest) = self
            .bytes
            .split_at_checked(need)
            .ok_or(HeaderError::Truncated { field, need, have })?;
        self.bytes = rest;
        Ok(first)
    }

    /// A negative length reads as one that is too long.
    fn length(&mut self, field: &'static str) -> Result<usize, HeaderError> {
        Ok(u32::from_be_bytes(self.array(field)?) as usize)
    }

    fn long_string(
        &mut self,
        field: &'static str,
        found: &mut Fields,
    ) -> Result<Option<Span>, HeaderError> {
        let len = self.length(field)?;
        Ok(keep(self.take(field, len)?, found))
    }

    fn short_string(
        &mut self,
        field: &'static str,
        found: &mut Fields,
    ) -> Result<Option<Span>, HeaderError> {
        let len = u16::from_be_bytes(self.array(field)?);
        Ok(keep(self.take(field, usize::from(len))?, found))
    }
}

fn keep(bytes: &[u8], found: &mut Fields) -> Option<Span> {
    if bytes.is_empty() {
        return None;
    }
    let start = found.text.len();
    match std::str::from_utf8(bytes) {
        Ok(text) => found.text.push_str(text),
        Err(_) => found.text.push_str(&String::from_utf8_lossy(bytes)),
    }
    Some(Span::in_text(start, found.text.len()))
}
