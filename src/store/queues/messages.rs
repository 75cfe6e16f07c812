//! Reading the messages of a queue. One that cannot be read is noted and passed over; if that is because its entry in the
//! queue's file has rotted, the entry is made again from the log first.

use super::Queues;
use super::memory::QueueIndex;
use crate::io::Io;
use crate::message::{Check, Record};
use crate::store::StoreError;
use crate::store::log::records::Position;
use crate::store::log::unreadable::Place;

/// RocketMQ: `MixAll.LMQ_PREFIX`.
const LIGHT_QUEUE_PREFIX: &str = "%LMQ%";

/// What could be read of some messages.
#[derive(Debug, Default)]
pub struct Readable {
    pub records: Vec<u8>,
    /// Which of them could not.
    pub lost: Vec<usize>,
    /// This one awaits its repair; it and those behind it were not read.
    pub awaited: Option<usize>,
}

impl<I: Io> Queues<I> {
    /// Messages of a queue, appended to `records`, without those that cannot be read any more: these are noted. An error: one
    /// of them has gone meanwhile, and with it all before the queue's minimum, the first one awaits its repair, or nothing can be read.
    pub async fn read_readable(
        &self,
        queue: QueueIndex,
        positions: &[Position],
        records: Vec<u8>,
    ) -> Result<Readable, StoreError> {
        let before = records.len();
        let mut read = Readable {
            records,
            ..Readable::default()
        };
        for (place, position) in positions.iter().enumerate() {
            match self.read_or_note(queue, position, &mut read.records).await {
                Ok(true) => {}
                Ok(false) => read.lost.push(place),
                // Those before it are delivered.
                Err(StoreError::AwaitsRepair { .. }) if place > 0 => {
                    read.awaited = Some(place);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.compare_with(&read.records[before..]).await;
        Ok(read)
    }

    /// Where a reader goes on that looked at `offset` and found that messages have gone meanwhile. Minimums move ahead of what
    /// is removed.
    pub fn goes_on_at(&self, queue: QueueIndex, offset: u64) -> u64 {
        self.bounds(queue).min.max(offset)
    }

    /// A message of a queue; `None` if it has gone, or cannot be read and has been noted.
    pub async fn record_of(
        &self,
        queue: QueueIndex,
        position: &Position,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut record = Vec::new();
        match self.read_or_note(queue, position, &mut record).await {
            Ok(is_readable) => Ok(is_readable.then_some(record)),
            Err(StoreError::Removed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Appends the message to `out`; `false` if it is past reading. An error: nothing can be read, it has gone, or another broker may have it.
    pub(super) async fn read_or_note(
        &self,
        queue: QueueIndex,
        position: &Position,
        out: &mut Vec<u8>,
    ) -> Result<bool, StoreError> {
        let start = out.len();
        let error = match self.log.read(position, out).await {
            Ok(()) if self.owns(queue, None, &out[start..]) => return Ok(true),
            Ok(()) => {
                out.truncate(start);
                StoreError::Unreadable {
                    physical_offset: position.physical_offset,
                    reason: "a message of another queue".to_owned(),
                }
            }
            Err(error) => error,
        };
        let physical_offset = position.physical_offset;
        let known = self.log.known_unreadable();
        // It may be the entry in the queue's file that has rotted.
        if matches!(error, StoreError::Unreadable { .. })
            && known.at(physical_offset).is_none()
            && let Some(right) = self.repaired(queue, position).await?
            && let Ok(record) = self.log.read_alone(&right).await
        {
            out.extend_from_slice(&record);
            return Ok(true);
        }
        let reason = self.log.why_lost(physical_offset, error).await?;
        // What was not flushed before the device failed may be there after a restart, or at a replica.
        if let Some(fence) = self.gate.fence_reason()
            && physical_offset >= self.log.marks().flushed_records()
        {
            return Err(StoreError::Fenced { reason: fence });
        }
        if known.is_new(physical_offset, true) {
            let of = self.place_in(queue, physical_offset).await?;
            let size = position.size.into();
            self.log.note_lost(physical_offset, size, reason, of);
        }
        known.check_awaited(physical_offset)?;
        Ok(false)
    }

    /// Whether a valid record is a message of this queue, and the one with this offset. An entry whose position has rotted may lead to
    /// another message.
    pub(super) fn owns(&self, queue: QueueIndex, offset: Option<u64>, record: &[u8]) -> bool {
        let memory = self.memory.borrow();
        let (target, topic) = (memory.queue(queue), memory.topic_of(queue));
        // RocketMQ's light queues have entries for messages of other topics.
        if target.gone || topic.starts_with(LIGHT_QUEUE_PREFIX) {
            return true;
        }
        Record::decode(record, Check::Layout).is_ok_and(|record| {
            record.queue_id == target.queue_id
                && record.topic == topic
                && offset.is_none_or(|offset| record.has_offset(offset))
        })
    }

    /// The queue and offset of the message at a log position.
    async fn place_in(
        &self,
        queue: QueueIndex,
        physical_offset: u64,
    ) -> Result<Option<Place>, StoreError> {
        let offset = self.offset_of(queue, physical_offset).await?;
        let (topic, queue_id) = self.name_of(queue);
        Ok(offset.map(|queue_offset| Place {
            topic,
            queue_id,
            queue_offset,
        }))
    }
}
