//! The only code that decides which bytes of the log are a record.
//!
//! A record is valid if its size is possible, its magic is one of the two, it states its own position, its fields add up to
//! its size, and its CRCs are right; which of those a caller needs is a parameter ([`Crcs`]). The limit for new messages
//! (`maxMessageSize`) plays no part: what is stored was accepted once, under another limit or by RocketMQ. A rotten size
//! field costs at most [`MAX_RECORD_BYTES`] of memory.
//!
//! [`Walk`] goes through the log from record to record. Each caller decides what a place without a record means: the end of
//! the log, damage, or a part to skip.

use memchr::memmem;

use super::buffer::{CommitLog, floor};
use super::segments::Segments;
use crate::io::Io;
use crate::message::{BLANK_MAGIC, Check, MAGIC_V1, MAGIC_V2, Record, RecordError, holds_position};
use crate::store::StoreError;

/// No record is longer: a frame has at most this, and `maxMessageSize` stays below it by what a record has beside its body.
pub(in crate::store) const MAX_RECORD_BYTES: usize = 16 << 20;

/// Total size and magic.
pub(in crate::store) const HEAD_BYTES: usize = 8;

/// Up to and with a record's own position.
pub(in crate::store) const PLACED_HEAD_BYTES: usize = 36;

/// Log read at a time.
pub(in crate::store) const READ_BYTES: usize = 4 << 20;

/// The same while the core answers clients. The kernel provides each page of a new buffer, within the task: for 4 MiB that takes 2 to 5 ms, and the device
/// is busy as long.
const READ_BESIDE_CLIENTS_BYTES: usize = 128 << 10;

/// Read at a time to look at one record.
const PROBE_BYTES: usize = 64 << 10;

/// The bytes with which both versions' magics begin, and where they stand in a record.
const MAGIC_START: [u8; 3] = {
    let [a, b, c, _] = MAGIC_V1.to_be_bytes();
    [a, b, c]
};
const MAGIC_AT: usize = 4;

/// Which CRCs of a record are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Crcs {
    /// None: its bytes were checked before, or only its place and its keys are of interest.
    Skipped,
    /// That of the body, and the one over the whole record. A record at this position or behind it must have the second one, if its
    /// properties leave room for it: this broker wrote it, and without its CRC it is torn or overwritten. A record before may be RocketMQ's, which has none.
    RequiredFrom(u64),
}

impl Crcs {
    /// Nothing is known of who wrote the log.
    pub const WHERE_PRESENT: Self = Self::RequiredFrom(u64::MAX);

    /// Of a log whose records are this broker's from this position on; `None`: that is not known.
    pub fn of_log(ours_from: Option<u64>) -> Self {
        ours_from.map_or(Self::WHERE_PRESENT, Self::RequiredFrom)
    }

    fn are_required_at(self, position: u64) -> bool {
        matches!(self, Self::RequiredFrom(from) if from <= position)
    }
}

/// Why the bytes at a position are not the record of that position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum NoRecord {
    #[error("nothing that begins a record")]
    Head,
    #[error("a record of position {0}")]
    Position(u64),
    #[error("a record of {record} bytes where {got} were expected")]
    Size { record: u32, got: usize },
    #[error("a record without a CRC over all of it")]
    NoCrc,
    #[error(transparent)]
    Decode(#[from] RecordError),
}

impl NoRecord {
    pub fn at(self, physical_offset: u64) -> StoreError {
        StoreError::Unreadable {
            physical_offset,
            reason: self.to_string(),
        }
    }
}

/// What the first bytes at a position announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Record { size: usize },
    Blank { size: u64 },
    End,
}

impl Next {
    /// By its first bytes; the segment has `rest` from there on.
    fn read(head: &[u8; HEAD_BYTES], rest: u64) -> Self {
        let [a, b, c, d, magic @ ..] = *head;
        let size = u32::from_be_bytes([a, b, c, d]);
        let fits = u64::from(size) <= rest && size as usize <= MAX_RECORD_BYTES;
        match u32::from_be_bytes(magic) {
            BLANK_MAGIC if u64::from(size) == rest => Self::Blank { size: rest },
            MAGIC_V1 | MAGIC_V2 if fits && size as usize > HEAD_BYTES => Self::Record {
                size: size as usize,
            },
            _ => Self::End,
        }
    }
}

/// The record that these bytes are, if they are all of it and it belongs to this position.
pub(in crate::store) fn record(
    bytes: &[u8],
    position: u64,
    crcs: Crcs,
) -> Result<Record<'_>, NoRecord> {
    let check = match crcs {
        Crcs::Skipped => Check::Layout,
        Crcs::RequiredFrom(_) => Check::Crc,
    };
    let record = Record::decode(bytes, check)?;
    if record.physical_offset != position && !mutant!(SkipPosition) {
        return Err(NoRecord::Position(record.physical_offset));
    }
    if record.total_size as usize != bytes.len() {
        return Err(NoRecord::Size {
            record: record.total_size,
            got: bytes.len(),
        });
    }
    let lacks_crc = || !record.has_crc() && !record.may_lack_crc();
    match crcs.are_required_at(position) && lacks_crc() {
        true => Err(NoRecord::NoCrc),
        false => Ok(record),
    }
}

/// The size of the record that begins with these bytes at this position, by its own words. Any position may be asked for:
/// `None` if no record begins there.
pub(in crate::store) fn size_by_head(head: &[u8], position: u64, rest: u64) -> Option<u32> {
    let next = head.first_chunk().map(|head| Next::read(head, rest));
    match next {
        Some(Next::Record { size }) if holds_position(head, position) => u32::try_from(size).ok(),
        _ => None,
    }
}

/// Store time of a record that was read and found valid.
pub(in crate::store) fn store_time_of(record: &[u8]) -> Option<i64> {
    let record = Record::decode(record, Check::Layout).ok()?;
    Some(record.store_timestamp_ms)
}

/// Positions in these bytes, which stand at `start`, at which a record may begin that states that position.
pub(in crate::store) fn candidates(bytes: &[u8], start: u64) -> impl Iterator<Item = u64> {
    memmem::find_iter(bytes, &MAGIC_START).filter_map(move |magic| {
        let at = magic.checked_sub(MAGIC_AT)?;
        let position = start + at as u64;
        holds_position(&bytes[at..], position).then_some(position)
    })
}

/// What stands at a position of the log.
pub(in crate::store) enum Found<'w> {
    Record(Record<'w>),
    /// The rest of the segment is left blank.
    Blank {
        size: u64,
    },
    None(NoRecord),
}

impl Found<'_> {
    /// How far it reaches, if it is something.
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Record(record) => Some(record.total_size.into()),
            Self::Blank { size } => Some(*size),
            Self::None(_) => None,
        }
    }
}

/// What begins at a position, by its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Announced {
    Record {
        end: u64,
    },
    /// The rest of the segment is left blank.
    Blank {
        end: u64,
    },
}

impl Announced {
    /// By the first bytes at the position. `None`: nothing begins there.
    pub fn read(head: &[u8; HEAD_BYTES], position: u64, segment_bytes: u64) -> Option<Self> {
        match Next::read(head, segment_bytes - position % segment_bytes) {
            Next::Record { size } => Some(Self::Record {
                end: position + size as u64,
            }),
            Next::Blank { size } => Some(Self::Blank {
                end: position + size,
            }),
            Next::End => None,
        }
    }

    pub fn end(self) -> u64 {
        match self {
            Self::Record { end } | Self::Blank { end } => end,
        }
    }
}

/// Where the record, or the blank rest of a segment, that begins at a position ends by its own words. `None`: nothing begins there, or
/// its first bytes are not in the log buffer.
pub(in crate::store) fn announced_end(log: &CommitLog, position: u64) -> Option<u64> {
    let head = log.hot(position, HEAD_BYTES)?;
    let announced = Announced::read(head.first_chunk()?, position, log.segment_bytes());
    announced.map(Announced::end)
}

/// What stands at a position, as far as the log buffer has it.
pub(in crate::store) fn in_buffer(log: &CommitLog, position: u64, crcs: Crcs) -> Found<'_> {
    let rest = log.segment_bytes() - position % log.segment_bytes();
    let head = log.hot(position, HEAD_BYTES);
    let head = head.and_then(|head| head.first_chunk());
    let size = match head.map_or(Next::End, |head| Next::read(head, rest)) {
        Next::Record { size } => size,
        Next::Blank { size } => return Found::Blank { size },
        Next::End => return Found::None(NoRecord::Head),
    };
    let bytes = log.hot(position, size).unwrap_or_default();
    match record(bytes, position, crcs) {
        Ok(record) => Found::Record(record),
        Err(none) => Found::None(none),
    }
}

/// Reads the log from record to record.
pub(in crate::store) struct Walk {
    window: Window,
    crcs: Crcs,
}

impl Walk {
    /// For what is read in one go, before anything is served.
    pub fn new(crcs: Crcs) -> Self {
        Self::reading(READ_BYTES, crcs)
    }

    /// For what goes on while the core answers clients.
    pub fn beside_clients(crcs: Crcs) -> Self {
        Self::reading(READ_BESIDE_CLIENTS_BYTES, crcs)
    }

    /// Reads so much of the log at a time, or what a larger record needs.
    pub fn reading(read_bytes: usize, crcs: Crcs) -> Self {
        Self {
            window: Window::reading(read_bytes),
            crcs,
        }
    }

    /// For a single record.
    pub fn probe(crcs: Crcs) -> Self {
        Self::reading(PROBE_BYTES, crcs)
    }

    /// The record at a position. An error: the device cannot read it.
    pub async fn at<I: Io>(
        &mut self,
        segments: &Segments<I>,
        position: u64,
    ) -> Result<Found<'_>, StoreError> {
        if self.load(segments, position).await.is_err() {
            // By itself: what cannot be read may be something else in the window, and a device may fail once.
            let read_bytes = std::mem::take(&mut self.window.read_bytes);
            let alone = self.load(segments, position).await;
            self.window.read_bytes = read_bytes;
            alone?;
        }
        let segment_bytes = segments.segment_bytes();
        let rest = segment_bytes - position % segment_bytes;
        let head_bytes = HEAD_BYTES.min(rest as usize);
        let head = self.window.bytes(segments, position, head_bytes);
        let head = head.await?.and_then(|head| head.first_chunk());
        let size = match head.map_or(Next::End, |head| Next::read(head, rest)) {
            Next::Record { size } => size,
            Next::Blank { size } => return Ok(Found::Blank { size }),
            Next::End => return Ok(Found::None(NoRecord::Head)),
        };
        let bytes = self.window.bytes(segments, position, size).await?;
        Ok(
            match record(bytes.unwrap_or_default(), position, self.crcs) {
                Ok(record) => Found::Record(record),
                Err(none) => Found::None(none),
            },
        )
    }

    /// Reads the bytes at a position into the window.
    async fn load<I: Io>(
        &mut self,
        segments: &Segments<I>,
        position: u64,
    ) -> Result<(), StoreError> {
        let segment_bytes = segments.segment_bytes();
        let rest = segment_bytes - position % segment_bytes;
        let head_bytes = HEAD_BYTES.min(rest as usize);
        let head = self.window.bytes(segments, position, head_bytes);
        let head = head.await?.and_then(|head| head.first_chunk());
        if let Some(Next::Record { size }) = head.map(|head| Next::read(head, rest)) {
            self.window.bytes(segments, position, size).await?;
        }
        Ok(())
    }

    /// The bytes of a record that was found.
    pub async fn bytes<I: Io>(
        &mut self,
        segments: &Segments<I>,
        position: u64,
        size: usize,
    ) -> Result<&[u8], StoreError> {
        let bytes = self.window.bytes(segments, position, size).await?;
        bytes.ok_or_else(|| NoRecord::Head.at(position))
    }
}

/// Store time of the record with which a file of the log begins.
pub(in crate::store) async fn store_time_at<I: Io>(
    segments: &Segments<I>,
    start: u64,
) -> Result<Option<i64>, StoreError> {
    let mut walk = Walk::probe(Crcs::Skipped);
    Ok(match walk.at(segments, start).await? {
        Found::Record(record) => Some(record.store_timestamp_ms),
        Found::Blank { .. } | Found::None(_) => None,
    })
}

/// A stretch of the log in memory.
struct Window {
    start: u64,
    bytes: Vec<u8>,
    read_bytes: usize,
}

impl Window {
    /// Reads so much of the log at a time, or what a larger record needs.
    fn reading(read_bytes: usize) -> Self {
        Self {
            start: 0,
            bytes: Vec::new(),
            read_bytes,
        }
    }

    /// `len` bytes at a position, all in one segment; `None` if the log has no file for them.
    async fn bytes<I: Io>(
        &mut self,
        segments: &Segments<I>,
        position: u64,
        len: usize,
    ) -> Result<Option<&[u8]>, StoreError> {
        let window_end = self.start + self.bytes.len() as u64;
        let end = position.saturating_add(len as u64);
        if position < self.start || window_end < end {
            let start = floor(position);
            let wanted = ((position - start) as usize + len).max(self.read_bytes);
            let Some(block) = segments.read(start, wanted).await? else {
                return Ok(None);
            };
            let in_segment = (segments.start_of(start) + segments.segment_bytes() - start) as usize;
            self.start = start;
            self.bytes.clear();
            self.bytes
                .extend_from_slice(&block[..wanted.min(in_segment).min(block.len())]);
        }
        let from = (position - self.start) as usize;
        Ok(self.bytes.get(from..from + len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::blank_record;

    fn next(size: u32, magic: u32, rest: u64) -> Next {
        let [a, b, c, d] = size.to_be_bytes();
        let [e, f, g, h] = magic.to_be_bytes();
        Next::read(&[a, b, c, d, e, f, g, h], rest)
    }

    #[test]
    fn a_record_that_states_another_position_is_none() {
        use crate::message::{Message, Properties};
        let host = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let message = Message {
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 1,
            born_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"paid",
            properties: Properties::new("TAGS\u{1}t"),
        };
        let mut fields = message.record_fields("orders", 3, host);
        fields.physical_offset = 4096;
        let mut bytes = vec![0; fields.encoded_len()];
        fields.encode(&mut bytes);
        for crcs in [Crcs::Skipped, Crcs::WHERE_PRESENT, Crcs::RequiredFrom(0)] {
            assert!(record(&bytes, 4096, crcs).is_ok());
            let elsewhere = record(&bytes, 8192, crcs);
            assert_eq!(elsewhere.unwrap_err(), NoRecord::Position(4096));
        }
    }

    #[test]
    fn mutant_skip_position() {
        use crate::mutants::{Mutant, fails};
        let test = a_record_that_states_another_position_is_none;
        fails(Mutant::SkipPosition, test);
    }

    /// A segment of 1 GiB: old payload behind the tail of a recycled file, or a size field that has rotted, must not
    /// become an allocation.
    #[test]
    fn no_bytes_announce_more_than_the_largest_record() {
        let rest = 1 << 30;
        let largest = MAX_RECORD_BYTES as u32;
        assert_eq!(next(0x3030_3030, 0x3030_3030, rest), Next::End, "digits");
        assert_eq!(next(largest + 1, MAGIC_V1, rest), Next::End);
        assert_eq!(next(1 << 29, MAGIC_V2, rest), Next::End);
        let size = MAX_RECORD_BYTES;
        assert_eq!(next(largest, MAGIC_V1, rest), Next::Record { size });
        assert_eq!(next(largest, MAGIC_V2, rest), Next::Record { size });
        assert_eq!(next(largest, MAGIC_V1, u64::from(largest) - 1), Next::End);
        assert_eq!(next(0, 0, rest), Next::End);
        assert_eq!(next(8, MAGIC_V1, rest), Next::End, "no more than a head");
        let blank = blank_record(rest as u32);
        assert_eq!(Next::read(&blank, rest), Next::Blank { size: rest });
        assert_eq!(Next::read(&blank, rest - 8), Next::End);
    }
}
