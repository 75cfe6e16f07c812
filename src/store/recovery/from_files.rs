//! The queues as their files have them, up to a position of the log.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::search::first_of;
use super::{Mismatch, Recovery};
use crate::io::Io;
use crate::store::StoreError;
use crate::store::log::reader::{Crcs, Found as InLog, Walk};
use crate::store::queues::entry::BLANK;
use crate::store::queues::entry::Entry;
use crate::store::queues::files::{AT_ONCE, Found};
use crate::store::queues::journal::Coverage;

impl<I: Io> Recovery<'_, I> {
    /// Restores the queues from their files up to a position. The rest is read from the log.
    pub(super) async fn restore_from_files(
        &mut self,
        found: Vec<Found>,
        reached: Coverage,
        log_min: u64,
    ) -> Result<Result<(), Mismatch>, StoreError> {
        self.queues.clear();
        self.reached = reached;
        let log_end = self.segments.end().unwrap_or(0);
        if !(log_min..=log_end).contains(&reached.position)
            || found.iter().any(|found| !found.is_whole)
        {
            return Ok(Err(Mismatch));
        }
        let ends = found
            .iter()
            .map(|found| self.cut(found, reached.position, log_min));
        let ends: Vec<_> = stream::iter(ends).buffered(AT_ONCE).try_collect().await?;
        let mut newest: Option<Entry> = None;
        for (found, kept) in found.iter().zip(ends) {
            if kept.max == 0 {
                continue;
            }
            newest = newest.into_iter().chain(kept.last).max_by_key(Entry::end);
            let queue = self.queues.find_or_create(&found.topic, found.queue_id);
            self.queues.restore(queue, kept.min, kept.max);
            self.queues
                .restore_min(queue, kept.min, kept.first_position);
        }
        self.newest = newest;
        // That message may be lost with a damaged part of the log.
        if self.config.skip_damaged {
            return Ok(Ok(()));
        }
        self.check_newest(newest, log_min).await
    }

    /// Erases the entries of messages behind a position from a queue's files; returns what is left.
    async fn cut(&self, found: &Found, position: u64, log_min: u64) -> Result<Kept, StoreError> {
        let is_ahead = |entry: Entry| entry != BLANK && entry.end() > position;
        let mut max = found.max;
        if found.last.is_none_or(is_ahead) {
            max = self.first_of(found, found.max, is_ahead).await?;
        }
        // A cut keeps them until the checkpoint says otherwise (`cut.rs`).
        if max < found.max && self.cut.is_none() {
            // Their messages may be in a part of the log that is lost, and new messages will take those positions.
            self.queue_files
                .erase(&found.topic, found.queue_id, max, found.max)
                .await?;
        }
        let is_of_log = |entry: Entry| entry != BLANK && entry.physical_offset >= log_min;
        let min = self.first_of(found, max, is_of_log).await?;
        let first = self.entry_before(found, min, max).await?;
        Ok(Kept {
            min,
            max,
            first_position: first.map(|first| first.physical_offset),
            last: match max.checked_sub(1) {
                Some(last) => self.entry_before(found, last, max).await?,
                None => None,
            },
        })
    }

    /// The first offset of a queue before `end` at which this is true, or `end`.
    async fn first_of(
        &self,
        found: &Found,
        end: u64,
        is_true: impl Fn(Entry) -> bool,
    ) -> Result<u64, StoreError> {
        let is_true_at = async |offset: u64| {
            let entry = self.queue_files.entry(&found.topic, found.queue_id, offset);
            // None: erased, and everything behind it is.
            Ok::<_, StoreError>(entry.await?.is_none_or(&is_true))
        };
        first_of(found.min..end, is_true_at).await
    }

    /// The entry at an offset, if there is one before `end`.
    async fn entry_before(
        &self,
        found: &Found,
        offset: u64,
        end: u64,
    ) -> Result<Option<Entry>, StoreError> {
        if offset < found.min || end <= offset {
            return Ok(None);
        }
        let entry = self.queue_files.entry(&found.topic, found.queue_id, offset);
        Ok(entry.await?.filter(|entry| *entry != BLANK))
    }

    /// Whether queues and log belong together: the newest message of the queues is in the log.
    async fn check_newest(
        &self,
        newest: Option<Entry>,
        log_min: u64,
    ) -> Result<Result<(), Mismatch>, StoreError> {
        let Some(newest) = newest.filter(|newest| newest.physical_offset >= log_min) else {
            return Ok(Ok(()));
        };
        let mut walk = Walk::probe(Crcs::of_log(self.ours_from));
        let found = walk.at(self.segments, newest.physical_offset).await?;
        Ok(match found {
            InLog::Record(record) if record.total_size == newest.size => Ok(()),
            _ => Err(Mismatch),
        })
    }

    /// Removes the files of all queues but those whose last message is in a removed log file: nothing in the log states their next offset, and
    /// no offset may be assigned twice.
    pub(super) async fn keep_queue_ends(&mut self, log_min: u64) -> Result<(), StoreError> {
        let found = self.queue_files.find_all().await?;
        for found in found {
            let is_before_log = |last: Entry| {
                self.segments.min_position().is_some() && last.physical_offset < log_min
            };
            if found.is_whole && found.last.is_some_and(is_before_log) {
                let queue = self.queues.find_or_create(&found.topic, found.queue_id);
                self.queues.restore(queue, found.max, found.max);
            } else {
                self.queue_files
                    .remove(&found.topic, &[found.queue_id])
                    .await?;
            }
        }
        Ok(())
    }
}

/// The part of a queue's files that counts.
struct Kept {
    min: u64,
    max: u64,
    first_position: Option<u64>,
    last: Option<Entry>,
}
