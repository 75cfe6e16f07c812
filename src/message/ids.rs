//! Message ids: upper-case hex in fixed arrays, no allocation.
//!
//! ```text
//! offset message id   ip 4|16   port 4   physical offset 8                              32 | 56 characters
//! unique key          ip 4|16   pid 2    class loader 4   ms since month start 4   counter 2     likewise
//! ```
//! (RocketMQ: `MessageDecoder.createMessageId`, `MessageClientIDSetter`)

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;

const MAX_BYTES: usize = 28;

/// Hex text of an id; derefs to `str`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId {
    text: [u8; 2 * MAX_BYTES],
    len: u8,
}

pub type OffsetMessageId = MessageId;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message id {got:?} is not {expected}")]
pub struct IdError {
    pub got: String,
    pub expected: &'static str,
}

/// The id that names a record by the broker that has it and its place in the log there.
pub fn offset_message_id(store_host: SocketAddr, physical_offset: u64) -> OffsetMessageId {
    let mut id = Bytes::default();
    id.put_ip(store_host.ip());
    id.put(&u32::from(store_host.port()).to_be_bytes());
    id.put(&physical_offset.to_be_bytes());
    id.hex()
}

/// Reads what [`offset_message_id`] wrote.
pub fn parse_offset_message_id(text: &str) -> Result<(SocketAddr, u64), IdError> {
    let error = |expected| IdError {
        got: text.chars().take(64).collect(),
        expected,
    };
    let of_length = || error("32 or 56 characters long");
    if text.len() != 32 && text.len() != 56 {
        return Err(of_length());
    }
    let mut bytes = [0; MAX_BYTES];
    let len = text.len() / 2;
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
            return Err(error("hexadecimal"));
        };
        *byte = high << 4 | low;
    }
    let (ip, rest) = bytes[..len].split_last_chunk().ok_or_else(of_length)?;
    let ip = match (<[u8; 4]>::try_from(ip), <[u8; 16]>::try_from(ip)) {
        (Ok(v4), _) => IpAddr::from(v4),
        (_, Ok(v6)) => IpAddr::from(v6),
        _ => return Err(of_length()),
    };
    let [p0, p1, p2, p3, o0, o1, o2, o3, o4, o5, o6, o7] = *rest;
    let port = u16::try_from(u32::from_be_bytes([p0, p1, p2, p3]));
    let port = port.map_err(|_| error("with a port below 65536"))?;
    let physical_offset = u64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]);
    Ok((SocketAddr::new(ip, port), physical_offset))
}

/// The id a client gives its message, and the broker a message that comes without.
pub fn unique_key(
    ip: IpAddr,
    pid: u16,
    class_loader: u32,
    ms_since_month_start: u32,
    counter: u16,
) -> MessageId {
    let mut id = Bytes::default();
    id.put_ip(ip);
    id.put(&pid.to_be_bytes());
    id.put(&class_loader.to_be_bytes());
    id.put(&ms_since_month_start.to_be_bytes());
    id.put(&counter.to_be_bytes());
    id.hex()
}

impl Deref for MessageId {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len.into()]).expect("hex digits")
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[derive(Default)]
struct Bytes {
    bytes: [u8; MAX_BYTES],
    len: usize,
}

impl Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn put_ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.put(&ip.octets()),
            IpAddr::V6(ip) => self.put(&ip.octets()),
        }
    }

    fn hex(&self) -> MessageId {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let mut text = [0; 2 * MAX_BYTES];
        for (pair, byte) in text.chunks_exact_mut(2).zip(&self.bytes[..self.len]) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        MessageId {
            text,
            len: (2 * self.len) as u8,
        }
    }
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_ids() {
        let id = offset_message_id("10.0.0.1:10911".parse().unwrap(), 0x1234);
        assert_eq!(&*id, "0A00000100002A9F0000000000001234");
        let key = unique_key(
            "127.0.0.1".parse().unwrap(),
            0x0102,
            0x18B4_AAC2,
            0x0A0B_0C0D,
            7,
        );
        assert_eq!(&*key, "7F000001010218B4AAC20A0B0C0D0007");
    }

    #[test]
    fn bad_ids_say_why() {
        for text in [
            "",
            "0A",
            "ZA00000100002A9F0000000000001234",
            "0A000001FFFFFFFF0000000000001234",
        ] {
            assert!(parse_offset_message_id(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parse_undoes_format(host: SocketAddr, offset: u64) {
            let host = SocketAddr::new(host.ip(), host.port());
            prop_assert_eq!(parse_offset_message_id(&offset_message_id(host, offset)), Ok((host, offset)));
        }

        #[test]
        fn any_text_is_parsed_without_harm(text in ".{0,60}") {
            let _ = parse_offset_message_id(&text);
        }
    }
}
