//! Message properties: `name \x01 value \x02` repeated, the last separator optional.
//!
//! The reader follows `MessageDecoder.string2messageProperties`: a pair counts only if name and value are not empty, and
//! the later of two equal names wins. Properties from outside need not be UTF-8; a pair that is not is skipped.

use std::ops::Range;

use memchr::memchr;

pub const NAME_VALUE_SEPARATOR: u8 = 1;
pub const PROPERTY_SEPARATOR: u8 = 2;

pub const KEYS: &str = "KEYS";
pub const TAGS: &str = "TAGS";
pub const WAIT: &str = "WAIT";
pub const DELAY: &str = "DELAY";
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
pub const REAL_TOPIC: &str = "REAL_TOPIC";
pub const REAL_QUEUE_ID: &str = "REAL_QID";
pub const TRANSACTION_PREPARED: &str = "TRAN_MSG";
pub const TRANSACTION_PREPARED_QUEUE_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
pub const TRANSACTION_ID: &str = "__transactionId__";
pub const CHECK_IMMUNITY_TIME_IN_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
pub const PRODUCER_GROUP: &str = "PGROUP";
pub const UNIQUE_KEY: &str = "UNIQ_KEY";
pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
pub const MSG_REGION: &str = "MSG_REGION";
pub const TRACE_ON: &str = "TRACE_ON";
/// The receipt of a popped message that is shown under another topic than its own.
pub const POP_RECEIPT: &str = "POP_CK";
pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
pub const CLUSTER: &str = "CLUSTER";
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
/// Unique key of the timed message that this one recalls.
pub const TIMER_DELETE_UNIQUE_KEY: &str = "TIMER_DEL_UNIQKEY";
/// Client id of the requester that awaits a reply.
pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
pub const SHARDING_KEY: &str = "__SHARDINGKEY";
/// How many messages an inner batch has, and the queue offset of its first one.
pub const INNER_NUM: &str = "INNER_NUM";
pub const INNER_BASE: &str = "INNER_BASE";
pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
/// CRC of the record up to this property, which is always the last one (`CommitLog.CRC32_RESERVED_LEN`).
pub const CRC32: &str = "__CRC32#";

/// Pairs in the order they are written.
pub fn iter<P: AsRef<[u8]> + ?Sized>(properties: &P) -> impl Iterator<Item = (&str, &str)> {
    pairs(properties.as_ref()).filter_map(|(_, name, value)| {
        Some((
            std::str::from_utf8(name).ok()?,
            std::str::from_utf8(value).ok()?,
        ))
    })
}

/// The value of `name`; the last one if it is there twice.
pub fn find<'a, P: AsRef<[u8]> + ?Sized>(properties: &'a P, name: &str) -> Option<&'a str> {
    let value = pairs(properties.as_ref())
        .filter(|(_, found, _)| *found == name.as_bytes())
        .last()?
        .2;
    std::str::from_utf8(value).ok()
}

/// The values of these names, by the same rule, in one pass.
pub fn find_all<'a, const N: usize>(
    properties: &'a [u8],
    names: [&str; N],
) -> [Option<&'a str>; N] {
    let mut values = [None; N];
    for (_, found, value) in pairs(properties) {
        if let Some(place) = names.iter().position(|name| name.as_bytes() == found) {
            values[place] = Some(value);
        }
    }
    values.map(|value| std::str::from_utf8(value?).ok())
}

/// Every pair, in the order in which they are written, as its name and the place of its value.
pub fn for_each(properties: &[u8], mut each: impl FnMut(&[u8], Range<usize>)) {
    for (_, name, value) in pairs(properties) {
        let start = value.as_ptr() as usize - properties.as_ptr() as usize;
        each(name, start..start + value.len());
    }
}

/// The pairs whose names pass, written anew, with room for `spare_bytes` more.
pub fn retained<P: AsRef<[u8]> + ?Sized>(
    properties: &P,
    is_kept: impl Fn(&str) -> bool,
    spare_bytes: usize,
) -> String {
    let mut kept = String::with_capacity(properties.as_ref().len() + spare_bytes);
    for (name, value) in iter(properties).filter(|(name, _)| is_kept(name)) {
        push(&mut kept, name, value);
    }
    kept
}

/// Appends one pair; separators in `name` or `value` are the caller's mistake.
pub fn push(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push(char::from(NAME_VALUE_SEPARATOR));
    out.push_str(value);
    out.push(char::from(PROPERTY_SEPARATOR));
}

/// Property strings written one after the other, with the separator between them that a client may leave out and without
/// the CRC of whichever broker had the message before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Properties<'a> {
    parts: [Part<'a>; PARTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Part<'a> {
    bytes: &'a [u8],
    has_crc: bool,
}

const PARTS: usize = 4;

impl<'a> Properties<'a> {
    pub fn new<P: AsRef<[u8]> + ?Sized>(first: &'a P) -> Self {
        Self::default().with(first)
    }

    /// With `next` behind what is there; of equal names the reader takes the later. At most four parts.
    pub fn with<P: AsRef<[u8]> + ?Sized>(self, next: &'a P) -> Self {
        let bytes = next.as_ref();
        let has_crc = has_crc(bytes);
        self.with_part(Part { bytes, has_crc })
    }

    /// The same with properties that are known to have no CRC: they are not searched for one.
    pub fn with_clean<P: AsRef<[u8]> + ?Sized>(self, next: &'a P) -> Self {
        let (bytes, has_crc) = (next.as_ref(), false);
        self.with_part(Part { bytes, has_crc })
    }

    fn with_part(mut self, next: Part<'a>) -> Self {
        if !next.bytes.is_empty() {
            let free = self.parts.iter_mut().find(|part| part.bytes.is_empty());
            *free.expect("properties have at most four parts") = next;
        }
        self
    }

    /// The value of `name`, by the same rule as in the written string.
    pub fn find(&self, name: &str) -> Option<&'a str> {
        let mut parts = self.parts.iter().rev();
        parts.find_map(|part| find(part.bytes, name))
    }

    /// Length of what [`Self::encode`] writes.
    pub fn encoded_len(&self) -> usize {
        let mut len_bytes = 0;
        self.for_each_piece(|piece| len_bytes += piece.len());
        len_bytes
    }

    /// Writes all parts, each ended by a separator. `dst` is `encoded_len` bytes; if it is one less, the last separator is left out.
    pub fn encode(&self, dst: &mut [u8]) {
        let (mut at, mut len) = (0, 0);
        self.for_each_piece(|piece| {
            let fitting = &piece[..piece.len().min(dst.len() - at)];
            dst[at..at + fitting.len()].copy_from_slice(fitting);
            at += fitting.len();
            len += piece.len();
        });
        assert!(at == dst.len() && len - at <= 1);
    }

    fn for_each_piece(&self, mut write: impl FnMut(&[u8])) {
        for Part { bytes, has_crc } in self.parts {
            if bytes.is_empty() {
                continue;
            }
            if has_crc {
                // Off the usual path: a consumer sends back what it got, our CRC included.
                for (pair, name, _) in pairs(bytes) {
                    if name != CRC32.as_bytes() {
                        write(pair);
                        write(&[PROPERTY_SEPARATOR]);
                    }
                }
                continue;
            }
            write(bytes);
            if bytes.last() != Some(&PROPERTY_SEPARATOR) {
                write(&[PROPERTY_SEPARATOR]);
            }
        }
    }
}

fn has_crc(part: &[u8]) -> bool {
    part.contains(&b'#') && pairs(part).any(|(_, name, _)| name == CRC32.as_bytes())
}

/// `(pair, name, value)` of every well-formed pair.
fn pairs(properties: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
    let mut rest = properties;
    let pieces = std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr(PROPERTY_SEPARATOR, rest).unwrap_or(rest.len());
        let (pair, behind) = rest.split_at(end);
        rest = behind.get(1..).unwrap_or_default();
        Some(pair)
    });
    pieces.filter_map(|pair| {
        let at = memchr(NAME_VALUE_SEPARATOR, pair)?;
        let (name, value) = (&pair[..at], &pair[at + 1..]);
        (!name.is_empty() && !value.is_empty()).then_some((pair, name, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::crc::{CRC_PROPERTY_BYTES, trailing_crc, write_crc};
    use proptest::prelude::*;

    fn encoded(properties: &Properties<'_>) -> String {
        let mut bytes = vec![0; properties.encoded_len()];
        properties.encode(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn reads_as_rocketmq_does() {
        let text = "A\u{1}1\u{2}\u{1}x\u{2}B\u{1}\u{2}C\u{1}2\u{1}3\u{2}A\u{1}4";
        let pairs: Vec<_> = iter(text).collect();
        assert_eq!(pairs, [("A", "1"), ("C", "2\u{1}3"), ("A", "4")]);
        assert_eq!(find(text, "A"), Some("4"));
        assert_eq!(find(text, "B"), None);
        assert_eq!(retained(text, |name| name != "A", 0), "C\u{1}2\u{1}3\u{2}");
        let all = find_all(text.as_bytes(), ["C", "B", "A"]);
        assert_eq!(all, [Some("2\u{1}3"), None, Some("4")]);
        assert_eq!(find(&b"T\x01\xff\x02"[..], "T"), None);
        let mut values = Vec::new();
        for_each(text.as_bytes(), |name, value| {
            values.push((name.to_vec(), &text[value]))
        });
        let expected = [("A", "1"), ("C", "2\u{1}3"), ("A", "4")];
        let expected = expected.map(|(name, value)| (name.as_bytes().to_vec(), value));
        assert_eq!(values, expected);
    }

    #[test]
    fn parts_are_joined_by_one_separator() {
        let properties = Properties::new("TAGS\u{1}a")
            .with("")
            .with("CLUSTER\u{1}c\u{2}");
        assert_eq!(encoded(&properties), "TAGS\u{1}a\u{2}CLUSTER\u{1}c\u{2}");
        assert_eq!(properties.find("TAGS"), Some("a"));
    }

    #[test]
    fn a_crc_from_elsewhere_is_dropped() {
        let properties = Properties::new("__CRC32#\u{1}1\u{2}KEYS\u{1}k#\u{2}__CRC32#\u{1}2");
        assert_eq!(encoded(&properties), "KEYS\u{1}k#\u{2}");
    }

    #[test]
    fn crc_digits_are_reversed() {
        let mut bytes = [0; CRC_PROPERTY_BYTES];
        write_crc(&mut bytes, 1_234_567);
        assert_eq!(&bytes, b"__CRC32#\x017654321000\x02");
        assert_eq!(trailing_crc(&bytes), Some(1_234_567));
        assert_eq!(trailing_crc(&bytes[1..]), None);
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_found(pairs in prop::collection::vec(("[A-Za-z_#]{1,9}", "[^\u{1}\u{2}]{1,9}"), 0..9)) {
            let mut text = String::new();
            for (name, value) in &pairs {
                push(&mut text, name, value);
            }
            let read: Vec<_> = iter(&text).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(&read, &pairs);
            for (name, _) in &pairs {
                let last = pairs.iter().rfind(|pair| pair.0 == *name).unwrap();
                prop_assert_eq!(find(&text, name), Some(&*last.1));
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(prop_oneof![Just(1_u8), Just(2), Just(b'#'), any::<u8>()], 0..99)) {
            let _ = iter(&bytes).count();
            let _ = trailing_crc(&bytes);
            let properties = Properties::new(&bytes);
            properties.encode(&mut vec![0; properties.encoded_len()]);
        }
    }
}
