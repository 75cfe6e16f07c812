//! Finding a queue's offset by time: a binary search over the queue's entries, which reads the store time of their messages.
//!
//! Only a message of the queue that states the offset decides. Where one cannot be read, the next one that can decides in its place.

use std::ops::Range;

use super::Queues;
use super::entry::Entry;
use super::memory::QueueIndex;
use crate::io::Io;
use crate::store::StoreError;
use crate::store::log::reader::store_time_of;

/// Messages that are tried, from an offset on, until one can be read.
const MAX_TRIED: u64 = 16;

/// Which of several messages of the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// The first message at or after the time.
    Lower,
    /// The last message at or before the time.
    Upper,
}

impl<I: Io> Queues<I> {
    /// The offset at which a consumer that starts at this time begins. If all messages are older: Lower is behind the
    /// last one, Upper is the last one (RocketMQ: `ConsumeQueue.binarySearchInQueueByTime`).
    pub async fn offset_by_time(
        &self,
        queue: QueueIndex,
        timestamp_ms: i64,
        boundary: Boundary,
    ) -> Result<u64, StoreError> {
        let bounds = self.bounds(queue);
        // The first entry of which this is true is the answer of Lower, the one before it that of Upper.
        let is_behind = |time_ms: i64| match boundary {
            Boundary::Lower => time_ms >= timestamp_ms,
            Boundary::Upper => time_ms > timestamp_ms,
        };
        let (mut low, mut high) = (bounds.min, bounds.max);
        while low < high {
            let middle = low.midpoint(high);
            let tried = middle..high.min(middle + MAX_TRIED);
            match self.first_store_time(queue, tried).await? {
                Some((offset, time_ms)) if !is_behind(time_ms) => low = offset + 1,
                // Of messages that cannot be read none is known to be ahead of the time, and none may be left out.
                _ => high = middle,
            }
        }
        match boundary {
            Boundary::Lower => Ok(low),
            Boundary::Upper => {
                let last = low.saturating_sub(1).max(bounds.min);
                self.first_of_record(queue, last).await
            }
        }
    }

    /// The offset of the first message of this one's record.
    async fn first_of_record(&self, queue: QueueIndex, offset: u64) -> Result<u64, StoreError> {
        let entries = self.entries(queue, offset, 1).await?;
        let before = entries.first().map_or(0, Entry::messages_before);
        Ok(offset.saturating_sub(before))
    }

    /// Offset and time of the first of these messages that can be read.
    async fn first_store_time(
        &self,
        queue: QueueIndex,
        offsets: Range<u64>,
    ) -> Result<Option<(u64, i64)>, StoreError> {
        for offset in offsets {
            if let Some(time_ms) = self.store_time(queue, offset).await? {
                return Ok(Some((offset, time_ms)));
            }
        }
        Ok(None)
    }

    /// When the first message of the queue was stored.
    pub async fn earliest_store_time(&self, queue: QueueIndex) -> Result<Option<i64>, StoreError> {
        let bounds = self.bounds(queue);
        if bounds.min == bounds.max {
            return Ok(None);
        }
        self.store_time(queue, bounds.min).await
    }

    /// When the message at a queue offset was stored, if memory holds that.
    pub fn store_time_hot(&self, queue: QueueIndex, offset: u64) -> Option<i64> {
        let memory = self.memory.borrow();
        let target = memory.queue(queue);
        if offset + 1 == target.bounds.max && target.last_store_time_ms > 0 {
            return Some(target.last_store_time_ms);
        }
        let entry = memory.resident(queue, offset)?;
        let buffer = self.log.buffer();
        let bytes = buffer.hot(entry.physical_offset, entry.size as usize)?;
        store_time_of(bytes)
    }

    /// The same, read from disk where it is not in memory.
    pub async fn store_time(
        &self,
        queue: QueueIndex,
        offset: u64,
    ) -> Result<Option<i64>, StoreError> {
        let time_ms = self.store_time_by_entry(queue, offset).await?;
        // The entry may have rotted.
        if time_ms.is_none() && self.is_in_files(queue, offset) {
            self.repair(queue, offset..offset + 1).await?;
            return self.store_time_by_entry(queue, offset).await;
        }
        Ok(time_ms)
    }

    async fn store_time_by_entry(
        &self,
        queue: QueueIndex,
        offset: u64,
    ) -> Result<Option<i64>, StoreError> {
        let entries = self.entries(queue, offset, 1).await?;
        let Some(entry) = entries.first() else {
            return Ok(None);
        };
        let record = self.log.record_at(entry.physical_offset).await?;
        let record = record.filter(|record| self.owns(queue, Some(offset), record));
        Ok(record.and_then(|record| store_time_of(&record)))
    }

    fn is_in_files(&self, queue: QueueIndex, offset: u64) -> bool {
        (self.bounds(queue).min..self.resident_from(queue)).contains(&offset)
    }
}
