//! Comparing the entries in the queues' files with the messages that they lead to.
//!
//! A rotten tags code shows only beside the message itself, and a rotten position may lead to another message, or make a search by
//! position go wrong. So messages that were read anyway, by a consumer or by the scrub, are compared with their entries, and an entry
//! that differs is made again from the log (`repair.rs`).

use std::ops::Range;

use tracing::warn;

use super::Queues;
use super::entries::position_of;
use super::entry::Entry;
use super::memory::QueueIndex;
use crate::io::{Io, yield_now};
use crate::message::{Check, Record, sys_flag};
use crate::store::StoreError;
use crate::store::config::SCHEDULE_TOPIC;
use crate::store::entry_tags::entry_of;

/// Offsets of a queue whose entries are read in one go.
const WINDOW_ENTRIES: u64 = 64;

/// The entry that a message should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Expected {
    queue: QueueIndex,
    offset: u64,
    entry: Entry,
}

impl<I: Io> Queues<I> {
    /// The entries that the messages of this record should have in files of their queue: those that they need there.
    pub fn expected(&self, record: &Record<'_>) -> impl Iterator<Item = Expected> + use<I> {
        let found = self.in_files(record);
        let first = entry_of(record, &self.config.delay_levels_ms);
        let offsets = record.queue_offset..;
        found.into_iter().flat_map(move |(queue, in_files)| {
            let expected = offsets.clone().zip(first.to_last());
            let expected = expected.filter(move |(offset, _)| in_files.contains(offset));
            expected.map(move |(offset, entry)| Expected {
                queue,
                offset,
                entry,
            })
        })
    }

    /// The record's queue, and its offsets whose entries are in files.
    fn in_files(&self, record: &Record<'_>) -> Option<(QueueIndex, Range<u64>)> {
        // A level's delay may have changed since the entry was written.
        if record.topic == SCHEDULE_TOPIC || !sys_flag::is_consumable(record.sys_flag) {
            return None;
        }
        let memory = self.memory.borrow();
        let queue = memory.find(record.topic, record.queue_id)?;
        let target = memory.queue(queue);
        let in_files = target.bounds.min..target.resident_from();
        (record.queue_offset < in_files.end).then_some((queue, in_files))
    }

    /// Makes entries again that are not as they should be. Returns the number of reads that this took.
    pub async fn compare(&self, mut expected: Vec<Expected>) -> Result<u64, StoreError> {
        expected.sort_unstable_by_key(|expected| (expected.queue, expected.offset));
        let mut reads = 0;
        for of_queue in expected.chunk_by(|one, other| one.queue == other.queue) {
            let mut rest = of_queue;
            while let Some(first) = rest.first() {
                let end = first.offset + WINDOW_ENTRIES;
                let in_window = rest.partition_point(|expected| expected.offset < end);
                let (now, later) = rest.split_at(in_window);
                reads += self.compare_window(now).await?;
                rest = later;
                yield_now().await;
            }
        }
        Ok(reads)
    }

    /// Of one queue, in the order of their offsets. Returns the number of reads.
    async fn compare_window(&self, expected: &[Expected]) -> Result<u64, StoreError> {
        let (Some(first), Some(last)) = (expected.first(), expected.last()) else {
            return Ok(0);
        };
        let mut reads = 1;
        let count = (last.offset - first.offset + 1) as usize;
        let entries = self.entries(first.queue, first.offset, count).await?;
        for expected in expected {
            let place = (expected.offset - first.offset) as usize;
            let entry = entries.get(place);
            let Some(entry) = entry.filter(|entry| **entry != expected.entry) else {
                continue;
            };
            if entry.physical_offset > expected.entry.physical_offset {
                reads += 1;
                if self.is_former(expected, entry).await {
                    continue;
                }
            }
            let offsets = expected.offset..expected.offset + 1;
            self.repair(expected.queue, offsets).await?;
        }
        Ok(reads)
    }

    /// Whether the topic was deleted and made again, and the message is of the time before: then another message has its queue and
    /// offset now, and stands behind it.
    async fn is_former(&self, expected: &Expected, entry: &Entry) -> bool {
        let record = self.log.read_alone(&position_of(entry)).await;
        record.is_ok_and(|record| self.owns(expected.queue, Some(expected.offset), &record))
    }

    /// Compares the entries that led to these records with them. A repair that fails is left to the next reader.
    pub(in crate::store) async fn compare_with(&self, mut records: &[u8]) {
        let mut expected = Vec::new();
        while let Ok(record) = Record::decode(records, Check::Layout) {
            expected.extend(self.expected(&record));
            records = &records[record.total_size as usize..];
        }
        if let Err(error) = self.compare(expected).await {
            warn!(%error, "entries of a queue's file cannot be compared with the log");
        }
    }
}
