//! The CommitLog record. All integers big-endian; a host is 8 bytes in IPv4, 20 in IPv6 (ip, then a 4-byte port).
//!
//! ```text
//!  0  total size 4      magic 4           body crc 4       queue id 4     flag 4
//! 20  queue offset 8    physical offset 8
//! 36  sys flag 4        born timestamp 8
//! 48  born host 8|20    store timestamp 8
//! 64* store host 8|20   reconsume times 4    prepared transaction offset 8
//! 84* body length 4     body
//!     topic length 1 (V1) | 2 (V2)      topic
//!     properties length 2               properties, the last of them __CRC32#
//! ```
//! (* moved by 12 for each IPv6 host.) RocketMQ: `MessageExtEncoder`, `CommitLog.checkMessageAndReturnSize`.
//!
//! The body CRC leaves out everything but the body, so a torn tail can pass it. Hence each record ends in the property
//! that RocketMQ writes with `enabledAppendPropCRC`: a CRC over all bytes before it. What a client may send does not depend on it:
//! properties that are so long that there is no room for the CRC stand without it ([`MAX_OWN_PROPERTIES_BYTES`]).

use std::net::{IpAddr, SocketAddr};

use super::batch;
use super::crc::{CRC_PROPERTY_BYTES, crc31, nearly_have_crc, trailing_crc, write_crc};
use super::properties::{self, Properties};
use super::sys_flag;
use super::writer::Writer;

pub const MAGIC_V1: u32 = 0xDAA3_20A7;
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Ends a segment: what follows up to the segment's end is no record.
pub const BLANK_MAGIC: u32 = 0xCBD4_3194;

pub const MAX_TOPIC_BYTES: usize = 255;
pub const MAX_PROPERTIES_BYTES: usize = i16::MAX as usize;
/// The longest properties of a message, by [`Properties::encoded_len`], which counts the last separator. RocketMQ does not write that
/// one; here it is left out where it does not fit.
pub const MAX_OWN_PROPERTIES_BYTES: usize = MAX_PROPERTIES_BYTES + 1;
/// With the CRC behind them.
const MAX_BEFORE_CRC_BYTES: usize = MAX_PROPERTIES_BYTES - CRC_PROPERTY_BYTES;
/// The shortest that are written without it: one byte more, and no last separator.
const MIN_WITHOUT_CRC_BYTES: usize = MAX_BEFORE_CRC_BYTES;

/// Offset of the physical offset, which distinguishes a new record from an old one in a recycled segment.
const PHYSICAL_OFFSET_AT: usize = 28;
const V1_MAX_TOPIC_BYTES: usize = 127;
const HOST_V4_BYTES: usize = 8;
const HOST_V6_BYTES: usize = 20;
/// All but hosts, body, topic, properties; the topic length counted as one byte.
const FIXED_BYTES: usize = 40 + 8 + 8 + 4 + 8 + 4 + 1 + 2;

const _: () = assert!(FIXED_BYTES + 2 * HOST_V4_BYTES == 91);
const _: () = assert!(PHYSICAL_OFFSET_AT == 20 + 8);

/// What a sender decides of a message; the store adds where and when.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub flag: i32,
    /// The host bits are set by the writer.
    pub sys_flag: i32,
    pub born_timestamp_ms: i64,
    pub born_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: u64,
    pub body: &'a [u8],
    pub properties: Properties<'a>,
}

impl<'a> Message<'a> {
    /// How many messages its record has: more than one in an inner batch.
    pub fn messages(&self) -> u16 {
        batch::messages_in(self.sys_flag, |name| self.properties.find(name))
    }

    /// Its record, but for what the append decides: both offsets and the store time.
    pub fn record_fields(
        &self,
        topic: &'a str,
        queue_id: u32,
        store_host: SocketAddr,
    ) -> RecordFields<'a> {
        RecordFields {
            queue_id,
            flag: self.flag,
            queue_offset: 0,
            physical_offset: 0,
            sys_flag: self.sys_flag,
            born_timestamp_ms: self.born_timestamp_ms,
            born_host: self.born_host,
            store_timestamp_ms: 0,
            store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: self.body,
            topic,
            properties: self.properties,
        }
    }
}

/// A record to be written.
#[derive(Clone, Copy, Debug)]
pub struct RecordFields<'a> {
    pub queue_id: u32,
    pub flag: i32,
    pub queue_offset: u64,
    pub physical_offset: u64,
    /// The host bits are set by [`Self::encode`].
    pub sys_flag: i32,
    pub born_timestamp_ms: i64,
    pub born_host: SocketAddr,
    pub store_timestamp_ms: i64,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: u64,
    pub body: &'a [u8],
    pub topic: &'a str,
    pub properties: Properties<'a>,
}

impl RecordFields<'_> {
    pub fn encoded_len(&self) -> usize {
        self.encoded_len_with(self.properties_len())
    }

    /// The same where the length of the properties is known: finding it reads all of them.
    pub fn encoded_len_with(&self, properties_len: usize) -> usize {
        FIXED_BYTES
            + host_bytes(self.born_host)
            + host_bytes(self.store_host)
            + self.body.len()
            + self.topic_length_bytes()
            - 1
            + self.topic.len()
            + properties_len
    }

    /// Length of the properties as written, to be held against [`MAX_PROPERTIES_BYTES`].
    pub fn properties_len(&self) -> usize {
        match self.properties.encoded_len() {
            own @ ..=MAX_BEFORE_CRC_BYTES => own + CRC_PROPERTY_BYTES,
            own => own - 1,
        }
    }

    /// Writes the record. `dst` is `encoded_len` bytes; topic and properties are within their limits.
    pub fn encode(&self, dst: &mut [u8]) {
        let properties_len = dst.len() - self.encoded_len_with(0);
        assert!(self.topic.len() <= MAX_TOPIC_BYTES);
        assert!((CRC_PROPERTY_BYTES..=MAX_PROPERTIES_BYTES).contains(&properties_len));
        let total = u32::try_from(dst.len()).expect("a record is below 4 GiB");
        let v2 = self.topic_length_bytes() == 2;

        // Finding the length of the properties reads all of them; usually it is not needed.
        let has_crc = properties_len < MIN_WITHOUT_CRC_BYTES
            || self.properties.encoded_len() <= MAX_BEFORE_CRC_BYTES;
        let crc_bytes = if has_crc { CRC_PROPERTY_BYTES } else { 0 };
        let (covered, crc_property) = dst.split_at_mut(dst.len() - crc_bytes);
        let mut head = Writer {
            rest: &mut *covered,
        };
        head.put(&total.to_be_bytes());
        head.put(&if v2 { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
        head.put(&crc31(self.body).to_be_bytes());
        head.put(&self.queue_id.to_be_bytes());
        head.put(&self.flag.to_be_bytes());
        head.put(&self.queue_offset.to_be_bytes());
        head.put(&self.physical_offset.to_be_bytes());
        head.put(&self.sys_flag().to_be_bytes());
        head.put(&self.born_timestamp_ms.to_be_bytes());
        head.put_host(self.born_host);
        head.put(&self.store_timestamp_ms.to_be_bytes());
        head.put_host(self.store_host);
        head.put(&self.reconsume_times.to_be_bytes());
        head.put(&self.prepared_transaction_offset.to_be_bytes());
        head.put(&(self.body.len() as u32).to_be_bytes());
        head.put(self.body);
        if v2 {
            head.put(&(self.topic.len() as u16).to_be_bytes());
        } else {
            head.put(&[self.topic.len() as u8]);
        }
        head.put(self.topic.as_bytes());
        head.put(&(properties_len as u16).to_be_bytes());
        self.properties.encode(head.rest);

        if has_crc {
            write_crc(crc_property, crc31(covered));
        }
    }

    fn topic_length_bytes(&self) -> usize {
        if self.topic.len() > V1_MAX_TOPIC_BYTES {
            2
        } else {
            1
        }
    }

    fn sys_flag(&self) -> i32 {
        let mut flag = self.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
        if self.born_host.is_ipv6() {
            flag |= sys_flag::BORN_HOST_V6;
        }
        if self.store_host.is_ipv6() {
            flag |= sys_flag::STORE_HOST_V6;
        }
        flag
    }
}

/// The eight bytes that end a segment with `remaining` bytes left, themselves included.
pub fn blank_record(remaining: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&remaining.to_be_bytes());
    bytes[4..].copy_from_slice(&BLANK_MAGIC.to_be_bytes());
    bytes
}

/// Whether a record that begins with these bytes claims this log position.
pub fn holds_position(bytes: &[u8], position: u64) -> bool {
    let stored = bytes.get(PHYSICAL_OFFSET_AT..PHYSICAL_OFFSET_AT + 8);
    stored == Some(&position.to_be_bytes())
}

/// How far [`Record::decode`] believes the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Lengths and magic only.
    Layout,
    /// The record's CRC too, which covers the body; where it has none, that of the body.
    Crc,
}

/// A record as read, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub total_size: u32,
    pub body_crc: u32,
    pub queue_id: u32,
    pub flag: i32,
    pub queue_offset: u64,
    pub physical_offset: u64,
    pub sys_flag: i32,
    pub born_timestamp_ms: i64,
    pub born_host: SocketAddr,
    pub store_timestamp_ms: i64,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: u64,
    pub body: &'a [u8],
    pub topic: &'a str,
    /// As stored, our CRC included.
    pub properties: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("{part} needs {expected} bytes and {got} are left")]
    Short {
        part: &'static str,
        expected: usize,
        got: usize,
    },
    #[error("magic is {got:#010x}, neither of version 1 nor 2")]
    Magic { got: u32 },
    #[error("blank record: {remaining} bytes to the segment's end")]
    Blank { remaining: u32 },
    #[error("total size is {got}, the fields add up to {expected}")]
    Size { got: u32, expected: usize },
    #[error("{part} CRC is {got:#010x}, stored is {expected:#010x}")]
    Crc {
        part: &'static str,
        got: u32,
        expected: u32,
    },
    #[error("{part} is not valid")]
    Value { part: &'static str },
}

impl<'a> Record<'a> {
    /// How many messages it has: more than one in an inner batch.
    pub fn messages(&self) -> u16 {
        batch::messages_in(self.sys_flag, |name| {
            properties::find(self.properties, name)
        })
    }

    /// Whether one of its messages has this queue offset.
    pub fn has_offset(&self, queue_offset: u64) -> bool {
        let place = queue_offset.checked_sub(self.queue_offset);
        place.is_some_and(|place| place < u64::from(self.messages()))
    }

    /// Reads the record at the start of `bytes`, which may go on behind it.
    pub fn decode(bytes: &'a [u8], check: Check) -> Result<Self, RecordError> {
        let mut head = Reader { rest: bytes };
        let total_size = head.u32("total size")?;
        match head.u32("magic")? {
            MAGIC_V1 | MAGIC_V2 => {}
            BLANK_MAGIC => {
                return Err(RecordError::Blank {
                    remaining: total_size,
                });
            }
            got => return Err(RecordError::Magic { got }),
        }
        let Some(record) = bytes.get(..total_size as usize) else {
            return Err(RecordError::Short {
                part: "record",
                expected: total_size as usize,
                got: bytes.len(),
            });
        };
        let record = Self::decode_whole(record, total_size)?;
        if check == Check::Crc {
            record.check_crc(&bytes[..total_size as usize])?;
        }
        Ok(record)
    }

    fn decode_whole(bytes: &'a [u8], total_size: u32) -> Result<Self, RecordError> {
        let mut fields = Reader { rest: bytes };
        fields.u32("total size")?;
        let magic = fields.u32("magic")?;
        let body_crc = fields.u32("body crc")?;
        let queue_id = fields.u32("queue id")?;
        let flag = fields.u32("flag")? as i32;
        let queue_offset = fields.u64("queue offset")?;
        let physical_offset = fields.u64("physical offset")?;
        let sys_flag = fields.u32("sys flag")? as i32;
        let born_timestamp_ms = fields.u64("born timestamp")? as i64;
        let born_host = fields.host("born host", sys_flag & sys_flag::BORN_HOST_V6 != 0)?;
        let store_timestamp_ms = fields.u64("store timestamp")? as i64;
        let store_host = fields.host("store host", sys_flag & sys_flag::STORE_HOST_V6 != 0)?;
        let reconsume_times = fields.u32("reconsume times")? as i32;
        let prepared_transaction_offset = fields.u64("prepared transaction offset")?;
        let body_len = fields.u32("body length")?;
        let body = fields.take("body", body_len as usize)?;
        let topic_len = if magic == MAGIC_V2 {
            fields.u16("topic length")?
        } else {
            fields.take("topic length", 1)?[0].into()
        };
        let topic = fields.take("topic", topic_len.into())?;
        let topic = std::str::from_utf8(topic).map_err(|_| RecordError::Value { part: "topic" })?;
        let properties_len = fields.u16("properties length")?;
        let properties = fields.take("properties", properties_len.into())?;
        if !fields.rest.is_empty() {
            return Err(RecordError::Size {
                got: total_size,
                expected: bytes.len() - fields.rest.len(),
            });
        }
        Ok(Self {
            total_size,
            body_crc,
            queue_id,
            flag,
            queue_offset,
            physical_offset,
            sys_flag,
            born_timestamp_ms,
            born_host,
            store_timestamp_ms,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            topic,
            properties,
        })
    }

    fn check_crc(&self, bytes: &[u8]) -> Result<(), RecordError> {
        let whole = trailing_crc(self.properties)
            .map(|expected| (crc31(&bytes[..bytes.len() - CRC_PROPERTY_BYTES]), expected));
        // It covers the body and the body's CRC, which is not computed then: a slave checks each record that it gets.
        if let Some((got, expected)) = whole
            && got == expected
        {
            return Ok(());
        }
        // An empty body has no CRC to check, whatever its writer put there (CommitLog.checkMessageAndReturnSize).
        let got = crc31(self.body);
        if !self.body.is_empty() && got != self.body_crc {
            return Err(RecordError::Crc {
                part: "body",
                got,
                expected: self.body_crc,
            });
        }
        if let Some((got, expected)) = whole {
            if !mutant!(SkipRecordCrc) {
                return Err(RecordError::Crc {
                    part: "record",
                    got,
                    expected,
                });
            }
        } else if self.properties.last() == Some(&0) || nearly_have_crc(self.properties) {
            // A write that was torn before its last sector: the zeros that were there before took the CRC's place. Or some of
            // the property's own bits are wrong.
            return Err(RecordError::Value { part: "properties" });
        }
        Ok(())
    }

    /// The properties without the CRC that this broker adds.
    pub fn properties_without_crc(&self) -> &'a [u8] {
        match trailing_crc(self.properties) {
            Some(_) => &self.properties[..self.properties.len() - CRC_PROPERTY_BYTES],
            None => self.properties,
        }
    }

    /// Whether its properties are so long that there may have been no room for the CRC.
    pub fn may_lack_crc(&self) -> bool {
        self.properties.len() >= MIN_WITHOUT_CRC_BYTES
    }

    /// Whether the record carries the CRC that covers all of it.
    pub fn has_crc(&self) -> bool {
        trailing_crc(self.properties).is_some()
    }
}

fn host_bytes(host: SocketAddr) -> usize {
    if host.is_ipv6() {
        HOST_V6_BYTES
    } else {
        HOST_V4_BYTES
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, part: &'static str, expected: usize) -> Result<&'a [u8], RecordError> {
        let Some((taken, rest)) = self.rest.split_at_checked(expected) else {
            return Err(RecordError::Short {
                part,
                expected,
                got: self.rest.len(),
            });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, part: &'static str) -> Result<[u8; N], RecordError> {
        let bytes = self.take(part, N)?;
        Ok(bytes.try_into().expect("as many bytes as were taken"))
    }

    fn u16(&mut self, part: &'static str) -> Result<u16, RecordError> {
        self.array(part).map(u16::from_be_bytes)
    }

    fn u32(&mut self, part: &'static str) -> Result<u32, RecordError> {
        self.array(part).map(u32::from_be_bytes)
    }

    fn u64(&mut self, part: &'static str) -> Result<u64, RecordError> {
        self.array(part).map(u64::from_be_bytes)
    }

    fn host(&mut self, part: &'static str, v6: bool) -> Result<SocketAddr, RecordError> {
        let ip = if v6 {
            IpAddr::from(self.array::<16>(part)?)
        } else {
            IpAddr::from(self.array::<4>(part)?)
        };
        // A port is 4 bytes and Java takes any int for one; what is out of range is some client's nonsense, not a torn
        // record.
        let port = self.u32(part)? as u16;
        Ok(SocketAddr::new(ip, port))
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
