//! The two fields of an answer that the load generator reads, without decoding the rest.

use crate::wire::Codec;
use crate::wire::frame::Frame;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: i32,
    pub opaque: i32,
}

impl Answer {
    /// `None` if the header is not one. In JSON a quoted name followed by a colon can only be a key, as quotes inside
    /// of values are escaped; RocketMQ's own keys of these names stand first (`code`) and behind the ext fields
    /// (`opaque`), so the search is short.
    pub fn of(frame: &Frame<'_>) -> Option<Self> {
        match frame.codec {
            Codec::Json => Some(Self {
                code: number(frame.header, first(frame.header, b"\"code\":")?)?,
                opaque: number(frame.header, last(frame.header, b"\"opaque\":")?)?,
            }),
            // code 2, language 1, version 2, opaque 4 (wire::binary)
            Codec::Rocketmq => {
                let code = frame.header.first_chunk::<2>()?;
                let opaque = frame.header.get(5..)?.first_chunk::<4>()?;
                Some(Self {
                    code: i32::from(i16::from_be_bytes(*code)),
                    opaque: i32::from_be_bytes(*opaque),
                })
            }
        }
    }
}

/// Position behind the first occurrence.
fn first(bytes: &[u8], key: &[u8]) -> Option<usize> {
    let at = bytes.windows(key.len()).position(|window| window == key)?;
    Some(at + key.len())
}

fn last(bytes: &[u8], key: &[u8]) -> Option<usize> {
    let at = bytes.windows(key.len()).rposition(|window| window == key)?;
    Some(at + key.len())
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    let rest = bytes.get(at..)?;
    let start = rest.iter().position(|byte| *byte != b' ')?;
    let rest = &rest[start..];
    let end = rest
        .iter()
        .position(|byte| !(byte.is_ascii_digit() || *byte == b'-'))
        .unwrap_or(rest.len());
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{CURRENT_VERSION, Language};
    use crate::wire::{Head, Value, frame};

    #[test]
    fn both_codecs_give_code_and_opaque() {
        for codec in [Codec::Json, Codec::Rocketmq] {
            let head = Head {
                codec,
                code: 17,
                language: Language::Java,
                version: CURRENT_VERSION,
                opaque: 1_234_567_890,
                flag: 1,
                remark: Some("no \"code\":3 and no \"opaque\":4"),
            };
            let mut bytes = Vec::new();
            frame::write(
                &mut bytes,
                &head,
                &[("opaque", Value::Str("5")), ("x", Value::I64(6))],
                b"",
            );
            let frame = frame::split(&bytes).unwrap().unwrap();
            assert_eq!(
                Answer::of(&frame),
                Some(Answer {
                    code: 17,
                    opaque: 1_234_567_890
                }),
                "{codec:?}"
            );
        }
    }
}
