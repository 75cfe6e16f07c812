//! The bytes of a controller's journal.
//!
//! ```text
//! record:  0   4 magic   "rqJ1"
//!          4   4 length  of the text
//!          8   4 crc32   of length and text
//!         12   n text    one Record as JSON
//! ```
//!
//! A record is one write and is synced before the next one begins. So only the last one can be torn, and a bad record with a whole one
//! anywhere behind it is damage: its entries may have counted.

use serde::{Deserialize, Serialize};

use super::types::{Entry, LogId, Vote};

const MAGIC: &[u8; 4] = b"rqJ1";
const HEAD_BYTES: usize = 12;

/// One change of a controller's log or vote, in the order of the changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    Vote(Vote),
    Append(Vec<Entry>),
    /// This entry and all behind it are gone.
    Truncate(LogId),
    /// This entry and all before it are gone; a snapshot has what they made.
    Purge(LogId),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record at byte {at} is damaged, and there is a whole one behind it at byte {next}")]
pub struct Damaged {
    pub at: usize,
    pub next: usize,
}

pub fn encode(record: &Record) -> Vec<u8> {
    let text = serde_json::to_vec(record).expect("numbers, texts and lists");
    let length = u32::try_from(text.len()).expect("a few entries");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + text.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&crc(length, &text).to_be_bytes());
    bytes.extend_from_slice(&text);
    bytes
}

/// All records of a journal, and the length up to which it holds whole ones.
pub fn decode_all(bytes: &[u8]) -> Result<(Vec<Record>, usize), Damaged> {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some((record, len)) = first(&bytes[at..]) {
        records.push(record);
        at += len;
    }
    // One byte on, so that the bad record itself is not looked at again.
    let behind = at + 1..bytes.len();
    let mut places = behind.filter(|place| bytes[*place..].starts_with(MAGIC));
    match places.find(|place| first(&bytes[*place..]).is_some()) {
        Some(next) => Err(Damaged { at, next }),
        None => Ok((records, at)),
    }
}

fn first(bytes: &[u8]) -> Option<(Record, usize)> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let number =
        |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = number(4);
    let text = rest.get(..length as usize)?;
    if !head.starts_with(MAGIC) || crc(length, text) != number(8) {
        return None;
    }
    let record = serde_json::from_slice(text).ok()?;
    Some((record, HEAD_BYTES + text.len()))
}

fn crc(length: u32, text: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_be_bytes());
    hasher.update(text);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::{CommittedLeaderId, EntryPayload};

    fn log_id(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(1, 0), index)
    }

    fn records() -> Vec<Record> {
        let entry = Entry {
            log_id: log_id(1),
            payload: EntryPayload::Blank,
        };
        vec![
            Record::Vote(Vote::new(1, 2)),
            Record::Append(vec![entry.clone(), entry]),
            Record::Truncate(log_id(1)),
            Record::Purge(log_id(0)),
        ]
    }

    #[test]
    fn a_torn_tail_is_cut_wherever_it_is_torn() {
        let records = records();
        let parts: Vec<_> = records.iter().map(encode).collect();
        let bytes = parts.concat();
        assert_eq!(decode_all(&bytes), Ok((records.clone(), bytes.len())));
        let start = bytes.len() - parts[3].len();
        for len in start..bytes.len() {
            assert_eq!(
                decode_all(&bytes[..len]),
                Ok((records[..3].to_vec(), start))
            );
            // The file has grown, and what was written behind is not all there.
            let mut zeros = bytes[..len].to_vec();
            zeros.resize(bytes.len() + 100, 0);
            assert_eq!(decode_all(&zeros), Ok((records[..3].to_vec(), start)));
        }
    }

    #[test]
    fn a_flipped_bit_before_the_last_record_is_damage() {
        let parts: Vec<_> = records().iter().map(encode).collect();
        let bytes = parts.concat();
        let last = bytes.len() - parts[3].len();
        for at in 0..last {
            for bit in [1, 0x80] {
                let mut bad = bytes.clone();
                bad[at] ^= bit;
                assert!(decode_all(&bad).is_err(), "byte {at}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode_all(&bytes);
        }
    }
}
