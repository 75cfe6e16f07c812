//! Scans of a queue: which messages a pull gets. Entries are in memory or in the queue's files. A filter examines their tags codes, or
//! the messages themselves.
//!
//! [`Queues::scan`] never waits, and answers [`Scan::Cold`] where the entries are only on disk; [`Queues::scan_cold`] reads
//! them. The `messages` forms are for a filter that examines messages.

use super::Queues;
use super::entries::position_of;
use super::entry::Entry;
use super::memory::QueueIndex;
use crate::io::Io;
use crate::store::StoreError;
use crate::store::log::records::Position;

/// Entries that are read at a time; most scans need no more.
const WINDOW_ENTRIES: usize = 64;

/// A scan with a filter on messages ends after so many bytes of them, and at most one message more: messages whose blocks are cached are
/// examined without a yield.
const MAX_LOOKED_AT_BYTES: usize = 1 << 20;

/// Bounds of one scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanLimits {
    pub max_messages: usize,
    /// The first message is taken even if it alone is larger.
    pub max_bytes: usize,
    /// Largest number of entries examined.
    pub max_entries: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    Found {
        next_offset: u64,
    },
    NoneMatched {
        next_offset: u64,
    },
    /// The entries are only on disk.
    Cold,
}

impl<I: Io> Queues<I> {
    /// Records of a queue from `offset` on that `filter` lets through, by the offset of their first message and their tags code; appended to
    /// `out`.
    pub fn scan(
        &self,
        queue: QueueIndex,
        offset: u64,
        limits: &ScanLimits,
        mut filter: impl FnMut(u64, i64) -> bool,
        out: &mut Vec<Position>,
    ) -> Scan {
        let memory = self.memory.borrow();
        let end = memory.queue(queue).bounds.max;
        if offset >= end {
            return Scan::NoneMatched {
                next_offset: offset,
            };
        }
        let entries = (offset..end).map_while(|offset| memory.resident(queue, offset));
        let mut entries = entries.peekable();
        if entries.peek().is_none() {
            return Scan::Cold;
        }
        let filter = |first, entry: &Entry| Some(filter(first, entry.tags_code));
        collect(offset, entries, limits, filter, out)
    }

    /// As [`Self::scan`], with a filter that looks at the messages; from the first one on they must be in the log buffer. The scan
    /// ends before the message for which the filter has no answer.
    pub fn scan_messages(
        &self,
        queue: QueueIndex,
        offset: u64,
        limits: &ScanLimits,
        mut filter: impl FnMut(&[u8]) -> Option<bool>,
        out: &mut Vec<Position>,
    ) -> Scan {
        let memory = self.memory.borrow();
        let end = memory.queue(queue).bounds.max;
        if offset >= end {
            return Scan::NoneMatched {
                next_offset: offset,
            };
        }
        let buffer = self.log.buffer();
        let hot = |entry: &Entry| buffer.hot(entry.physical_offset, entry.size as usize);
        let entries = (offset..end).map_while(|offset| memory.resident(queue, offset));
        let mut entries = entries.take_while(|entry| hot(entry).is_some()).peekable();
        if entries.peek().is_none() {
            return Scan::Cold;
        }
        let filter = |_, entry: &Entry| hot(entry).map_or(Some(false), &mut filter);
        collect(offset, entries, limits, filter, out)
    }

    /// As [`Self::scan`], reading from the queue's files what is not in memory.
    pub async fn scan_cold(
        &self,
        queue: QueueIndex,
        offset: u64,
        limits: &ScanLimits,
        mut filter: impl FnMut(u64, i64) -> bool,
        out: &mut Vec<Position>,
    ) -> Result<Scan, StoreError> {
        let mut at = offset;
        loop {
            let left = limits.max_entries.saturating_sub((at - offset) as usize);
            let entries = self.entries(queue, at, left.min(WINDOW_ENTRIES)).await?;
            let got = entries.len();
            let filter = |first, entry: &Entry| Some(filter(first, entry.tags_code));
            let scan = collect(at, entries.into_iter(), limits, filter, out);
            match scan {
                Scan::NoneMatched { next_offset } if got == WINDOW_ENTRIES && got < left => {
                    at = next_offset
                }
                scan => return Ok(scan),
            }
        }
    }

    /// As [`Self::scan_messages`], reading from the disk what is not in memory; messages are appended to `out` and counted.
    pub async fn scan_messages_cold(
        &self,
        queue: QueueIndex,
        offset: u64,
        limits: &ScanLimits,
        mut filter: impl FnMut(&[u8]) -> Option<bool>,
        mut out: Vec<u8>,
    ) -> Result<(Scan, Vec<u8>, usize), StoreError> {
        let (mut at, mut read_bytes, mut taken) = (offset, 0, 0);
        let mut record = Vec::new();
        'all: while ((at - offset) as usize) < limits.max_entries {
            let left = limits.max_entries - (at - offset) as usize;
            let entries = self.entries(queue, at, left.min(WINDOW_ENTRIES)).await?;
            if entries.is_empty() {
                break;
            }
            for entry in entries_of_records(entries.into_iter()) {
                if taken >= limits.max_messages || read_bytes >= MAX_LOOKED_AT_BYTES {
                    break 'all;
                }
                record.clear();
                let position = position_of(&entry);
                match self.read_or_note(queue, &position, &mut record).await {
                    Ok(_) | Err(StoreError::Removed { .. }) => {}
                    // Those before it are delivered.
                    Err(StoreError::AwaitsRepair { .. }) if at > offset => break 'all,
                    Err(error) => return Err(error),
                }
                read_bytes += record.len();
                let is_wanted = match record.is_empty() {
                    true => false,
                    false => match filter(&record) {
                        Some(is_wanted) => is_wanted,
                        None => break 'all,
                    },
                };
                if is_wanted {
                    let messages = usize::from(entry.messages());
                    let is_full = taken + messages > limits.max_messages
                        || out.len() + record.len() > limits.max_bytes;
                    if taken > 0 && is_full {
                        break 'all;
                    }
                    out.extend_from_slice(&record);
                    taken += messages;
                }
                at += entry.messages_from();
            }
        }
        let scan = match taken {
            0 => Scan::NoneMatched { next_offset: at },
            _ => Scan::Found { next_offset: at },
        };
        Ok((scan, out, taken))
    }
}

/// One entry of each record: the first one here, and those that begin a record. A batch is taken whole, whichever of its messages the scan
/// begins at.
fn entries_of_records(entries: impl Iterator<Item = Entry>) -> impl Iterator<Item = Entry> {
    let mut is_first = true;
    entries.filter(move |entry| std::mem::take(&mut is_first) || entry.begins_record())
}

/// Takes records within the limits, until the filter has no answer; `entries` are those from `offset` on.
fn collect(
    offset: u64,
    entries: impl Iterator<Item = Entry>,
    limits: &ScanLimits,
    mut filter: impl FnMut(u64, &Entry) -> Option<bool>,
    out: &mut Vec<Position>,
) -> Scan {
    let (mut next_offset, mut bytes, mut taken, taken_before) = (offset, 0, 0, out.len());
    for entry in entries_of_records(entries.take(limits.max_entries)) {
        let Some(is_wanted) = filter(next_offset - entry.messages_before(), &entry) else {
            break;
        };
        if is_wanted {
            bytes += entry.size as usize;
            let messages = usize::from(entry.messages());
            let is_full = taken + messages > limits.max_messages || bytes > limits.max_bytes;
            if taken >= limits.max_messages || (taken > 0 && is_full) {
                break;
            }
            out.push(position_of(&entry));
            taken += messages;
        }
        next_offset += entry.messages_from();
    }
    if out.len() > taken_before {
        Scan::Found { next_offset }
    } else {
        Scan::NoneMatched { next_offset }
    }
}
