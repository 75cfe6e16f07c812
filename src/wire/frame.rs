//! A frame: one request or answer on the wire.
//!
//! ```text
//!  0        4 total   counts everything after itself: 4 + header + body
//!  4        4 mark    top byte: the header's codec; low 24 bits: the header's length
//!  8        n header  JSON or ROCKETMQ binary
//!  8 + n    m body    total - 4 - n bytes
//! ```
//!
//! Source: `RemotingCommand.java`, `NettyDecoder.java`. The limit is on `total + 4`, as Netty's is.

use super::codes::response;
use super::head::{Codec, Head, Value};
use super::{binary, json};

/// RocketMQ's default of `com.rocketmq.remoting.frameMaxLength`, with the length field itself.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// A header is decoded in one turn. RocketMQ has no limit of its own. The longest header that is accepted has a message's properties: 32,767
/// bytes, which are six times as many in JSON if each of them is escaped. Properties that are much longer, 1 MiB, still get an answer
/// with the reason; a header above this limit ends its connection.
pub const MAX_HEADER_BYTES: usize = 2 << 20;
const _: () = assert!(6 * 32_767 + (1 << 20) < MAX_HEADER_BYTES);
const _: () = assert!(MAX_HEADER_BYTES <= HEADER_LEN_MASK as usize);

const LENGTH_BYTES: usize = 4;
const MARK_BYTES: usize = 4;
const HEADER_LEN_MASK: u32 = 0x00FF_FFFF;

/// One whole frame, borrowed from the received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub codec: Codec,
    pub header: &'a [u8],
    pub body: &'a [u8],
    /// All bytes of the frame with its length field: how far to advance.
    pub len: usize,
}

/// The bytes are no frame. The connection must be closed, as Java does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {got} bytes; the limit is {MAX_FRAME_BYTES}")]
    TooLong { got: usize },
    #[error("a frame of {got} bytes has no room for its header's length")]
    TooShort { got: usize },
    #[error("a header of {got} bytes; the limit is {MAX_HEADER_BYTES}")]
    HeaderAboveLimit { got: usize },
    #[error("the header says {header} bytes, the frame has {room} after its mark")]
    HeaderTooLong { header: usize, room: usize },
    #[error("serialize type {got}; known are 0 (JSON) and 1 (ROCKETMQ)")]
    UnknownCodec { got: u8 },
}

/// The first frame of `bytes`, or `None` if it is not complete. An error is returned as soon as the bytes received prove it.
pub fn split(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let Some((total, rest)) = take_u32(bytes) else {
        return Ok(None);
    };
    let total = total as usize;
    if total > MAX_FRAME_BYTES - LENGTH_BYTES {
        return Err(FrameError::TooLong {
            got: total.saturating_add(LENGTH_BYTES),
        });
    }
    let Some(room) = total.checked_sub(MARK_BYTES) else {
        return Err(FrameError::TooShort { got: total });
    };
    let Some((mark, rest)) = take_u32(rest) else {
        return Ok(None);
    };
    let byte = (mark >> 24) as u8;
    let codec = Codec::from_byte(byte).ok_or(FrameError::UnknownCodec { got: byte })?;
    let header = (mark & HEADER_LEN_MASK) as usize;
    if header > room {
        return Err(FrameError::HeaderTooLong { header, room });
    }
    if header > MAX_HEADER_BYTES {
        return Err(FrameError::HeaderAboveLimit { got: header });
    }
    let Some((content, _)) = rest.split_at_checked(room) else {
        return Ok(None);
    };
    let (header, body) = content.split_at(header);
    Ok(Some(Frame {
        codec,
        header,
        body,
        len: LENGTH_BYTES + total,
    }))
}

/// Appends a frame to `out`.
pub fn write(out: &mut Vec<u8>, head: &Head<'_>, ext: &[(&str, Value<'_>)], body: &[u8]) {
    let open = begin(out, head, ext);
    out.extend_from_slice(body);
    finish(out, open);
}

/// Appends a frame up to its body, which has this length and is sent behind it.
pub fn write_head(
    out: &mut Vec<u8>,
    head: &Head<'_>,
    ext: &[(&str, Value<'_>)],
    body_bytes: usize,
) {
    let open = begin(out, head, ext);
    let total = out.len() - open.start - LENGTH_BYTES + body_bytes;
    put_length(out, &open, total);
}

/// A frame whose body is still being appended.
#[must_use = "the frame's length is written by `finish`"]
#[derive(Debug)]
pub struct Open {
    start: usize,
}

/// Appends a frame's header; the caller appends the body and then calls [`finish`].
///
/// A header that is longer than allowed contains a peer's own text (a remark that quotes it). It is replaced by a short error.
pub fn begin(out: &mut Vec<u8>, head: &Head<'_>, ext: &[(&str, Value<'_>)]) -> Open {
    let start = out.len();
    let header_start = start + LENGTH_BYTES + MARK_BYTES;
    out.resize(header_start, 0);
    write_header(out, head, ext);
    if out.len() - header_start > MAX_HEADER_BYTES {
        out.truncate(header_start);
        let remark = Some("the header of the answer is too long");
        write_header(
            out,
            &Head {
                code: response::SYSTEM_ERROR,
                remark,
                ..*head
            },
            &[],
        );
    }
    let header = (out.len() - header_start) as u32;
    let mark = (u32::from(head.codec.byte()) << 24) | header;
    out[start + LENGTH_BYTES..header_start].copy_from_slice(&mark.to_be_bytes());
    Open { start }
}

fn write_header(out: &mut Vec<u8>, head: &Head<'_>, ext: &[(&str, Value<'_>)]) {
    match head.codec {
        Codec::Json => json::write(out, head, ext),
        Codec::Rocketmq => binary::write(out, head, ext),
    }
}

/// Writes the length of a frame whose body is complete. A peer closes the connection above [`MAX_FRAME_BYTES`]; the code that
/// makes the body has to bound it.
pub fn finish(out: &mut [u8], open: Open) {
    let total = out.len() - open.start - LENGTH_BYTES;
    put_length(out, &open, total);
}

fn put_length(out: &mut [u8], open: &Open, total: usize) {
    let total = u32::try_from(total).expect("a body of ours is far below 4 GiB");
    out[open.start..open.start + LENGTH_BYTES].copy_from_slice(&total.to_be_bytes());
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*first), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Language, Scratch, header};
    use proptest::prelude::*;

    fn raw(mark: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = (content.len() as u32 + 4).to_be_bytes().to_vec();
        bytes.extend_from_slice(&mark.to_be_bytes());
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn whole_and_partial() {
        let mut bytes = raw(2, b"{}body");
        let whole = bytes.len();
        for len in 0..whole {
            assert_eq!(split(&bytes[..len]), Ok(None));
        }
        bytes.extend_from_slice(b"the next");
        let frame = split(&bytes).unwrap().unwrap();
        assert_eq!(
            frame,
            Frame {
                codec: Codec::Json,
                header: b"{}",
                body: b"body",
                len: whole
            }
        );
    }

    #[test]
    fn errors_show_before_the_frame_is_whole() {
        assert_eq!(split(&[0, 0, 0, 3]), Err(FrameError::TooShort { got: 3 }));
        assert_eq!(
            split(&[0, 0xFF, 0xFF, 0xFD]),
            Err(FrameError::TooLong {
                got: MAX_FRAME_BYTES + 1
            })
        );
        assert_eq!(split(&[0, 0xFF, 0xFF, 0xFC]), Ok(None));
        assert_eq!(
            split(&[0xFF; 4]),
            Err(FrameError::TooLong {
                got: u32::MAX as usize + 4
            })
        );
        assert_eq!(
            split(&raw(2 << 24, b"")),
            Err(FrameError::UnknownCodec { got: 2 })
        );
        assert_eq!(
            split(&raw(7, b"{}")),
            Err(FrameError::HeaderTooLong { header: 7, room: 2 })
        );
        for codec in [0, 1 << 24] {
            let mark = |len: usize| {
                let total = (len as u32 + 4).to_be_bytes();
                [total, (codec | len as u32).to_be_bytes()].concat()
            };
            assert_eq!(split(&mark(MAX_HEADER_BYTES)), Ok(None));
            let got = MAX_HEADER_BYTES + 1;
            assert_eq!(split(&mark(got)), Err(FrameError::HeaderAboveLimit { got }));
        }
    }

    #[test]
    fn a_header_that_is_too_long_becomes_an_error() {
        let remark = "\n".repeat(MAX_HEADER_BYTES / 2 + 1);
        let head = Head {
            codec: Codec::Json,
            code: 17,
            language: Language::Java,
            version: 513,
            opaque: 7,
            flag: 1,
            remark: Some(&remark),
        };
        let mut out = Vec::new();
        write(&mut out, &head, &[], b"body");
        let frame = split(&out).unwrap().unwrap();
        let mut scratch = Scratch::default();
        let header = header::decode(&frame, &mut scratch).unwrap();
        assert_eq!(
            (header.code, header.opaque, frame.body),
            (response::SYSTEM_ERROR, 7, b"body".as_slice())
        );
    }

    #[test]
    fn a_frame_whose_body_follows_is_the_same() {
        let head = Head {
            codec: Codec::Rocketmq,
            code: 0,
            language: Language::Java,
            version: 513,
            opaque: 7,
            flag: 1,
            remark: None,
        };
        let ext = [("name", Value::Str("value"))];
        let (mut whole, mut parts) = (b"before".to_vec(), b"before".to_vec());
        write(&mut whole, &head, &ext, b"the body");
        write_head(&mut parts, &head, &ext, 8);
        parts.extend_from_slice(b"the body");
        assert_eq!(whole, parts);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = split(&bytes);
        }
    }
}
