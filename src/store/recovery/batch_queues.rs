//! RocketMQ's queues of topics of type BatchCQ.
//!
//! ```text
//! batchconsumequeue/<topic>/<queueId>/<20 digits>   entries of 46 bytes, one for each record
//! physical offset 8 | size 4 | tags code 8 | store time 8 | queue offset of its first message 8 | messages 2 | 8 bytes of no use here
//! ```
//! The queues here have an entry for each message, in `consumequeue/`, and are made from the log once RocketMQ has had the store. Only where
//! a queue goes on whose messages are gone is in these files alone. RocketMQ makes its files again where both folders are missing
//! (`BatchConsumeQueue`, `ConsumeQueueStore.getDispatchFromPhyOffset`).

use std::path::{Path, PathBuf};

use super::Recovery;
use super::search::first_of;
use crate::io::{Io, OpenOptions};
use crate::mem::{AlignedBuf, BLOCK_BYTES};
use crate::store::StoreError;
use crate::store::error::if_there;
use crate::store::medium::Medium;
use crate::store::names::parse_offset_name;
use crate::store::queues::files::MAX_QUEUE_ID;

const UNIT_BYTES: usize = 46;
const SIZE_AT: usize = 8;
const BASE_AT: usize = SIZE_AT + 4 + 8 + 8;
const MESSAGES_AT: usize = BASE_AT + 8;
const _: () = assert!(MESSAGES_AT + 2 + 4 + 4 == UNIT_BYTES);

pub(in crate::store) struct BatchQueues<I: Io> {
    io: Medium<I>,
    dir: PathBuf,
}

/// One entry of RocketMQ's.
#[derive(Clone, Copy)]
struct Unit {
    physical_offset: u64,
    size: u32,
    base: u64,
    messages: u16,
}

/// Where a queue ends.
struct End {
    topic: String,
    queue_id: u32,
    last: Unit,
}

impl Unit {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let part = |at: usize| bytes.get(at..);
        Some(Self {
            physical_offset: u64::from_be_bytes(*part(0)?.first_chunk()?),
            size: u32::from_be_bytes(*part(SIZE_AT)?.first_chunk()?),
            base: u64::from_be_bytes(*part(BASE_AT)?.first_chunk()?),
            messages: u16::from_be_bytes(*part(MESSAGES_AT)?.first_chunk()?),
        })
    }
}

impl<I: Io> BatchQueues<I> {
    pub fn new(io: Medium<I>, store_dir: &Path) -> Self {
        Self {
            io,
            dir: store_dir.join("batchconsumequeue"),
        }
    }

    /// Whether RocketMQ has left any.
    pub async fn are_there(&self) -> Result<bool, StoreError> {
        Ok(!self.io.list(&self.dir).await?.is_empty())
    }

    async fn ends(&self) -> Result<Vec<End>, StoreError> {
        let mut ends = Vec::new();
        for topic_dir in self.io.list(&self.dir).await? {
            for queue_dir in self.io.list(&topic_dir.path).await? {
                let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
                let queue_id = name(&queue_dir.path).and_then(|name| name.parse().ok());
                let queue_id = queue_id.filter(|id| *id < MAX_QUEUE_ID);
                let Some((topic, queue_id)) = name(&topic_dir.path).zip(queue_id) else {
                    continue;
                };
                if let Some(last) = self.last_of(&queue_dir.path).await? {
                    ends.push(End {
                        topic,
                        queue_id,
                        last,
                    });
                }
            }
        }
        Ok(ends)
    }

    /// The last entry of a queue. The file that is named last may have none yet.
    async fn last_of(&self, queue_dir: &Path) -> Result<Option<Unit>, StoreError> {
        let files = self.io.list(queue_dir).await?.into_iter().rev();
        for file in files.filter(|file| parse_offset_name(&file.path).is_some()) {
            let units = file.len_bytes / UNIT_BYTES as u64;
            let is_free = async |place: u64| {
                let unit = self.unit(&file.path, place).await?;
                Ok::<_, StoreError>(unit.is_none_or(|unit| unit.size == 0))
            };
            let used = first_of(0..units, is_free).await?;
            if let Some(last) = used.checked_sub(1) {
                return self.unit(&file.path, last).await;
            }
        }
        Ok(None)
    }

    async fn unit(&self, path: &Path, place: u64) -> Result<Option<Unit>, StoreError> {
        let options = OpenOptions {
            write: false,
            create: false,
            direct: false,
        };
        let Some(file) = if_there(self.io.open(path, options).await)? else {
            return Ok(None);
        };
        let at = place * UNIT_BYTES as u64;
        let buf = AlignedBuf::zeroed(BLOCK_BYTES);
        let (read, buf) = file.read_at(buf, UNIT_BYTES, at).await;
        Ok(Unit::decode(&buf[..read?]))
    }

    async fn remove(&self) -> Result<(), StoreError> {
        for topic_dir in self.io.list(&self.dir).await? {
            for queue_dir in self.io.list(&topic_dir.path).await? {
                for file in self.io.list(&queue_dir.path).await? {
                    self.io.remove_file(&file.path).await?;
                }
                self.io.remove_dir(&queue_dir.path).await?;
            }
            self.io.remove_dir(&topic_dir.path).await?;
        }
        self.io.remove_dir(&self.dir).await
    }
}

impl<I: Io> Recovery<'_, I> {
    /// Queues whose last message is in a removed log file go on where they were: nothing in the log states it.
    pub(super) async fn keep_batch_queue_ends(&mut self, log_min: u64) -> Result<(), StoreError> {
        for End {
            topic,
            queue_id,
            last,
        } in self.batch_queues.ends().await?
        {
            if last.physical_offset < log_min {
                let next = last.base.saturating_add(last.messages.into());
                let queue = self.queues.find_or_create(&topic, queue_id);
                self.queues.restore(queue, next, next);
            }
        }
        Ok(())
    }

    /// The queues have all that RocketMQ's had; its files would mislead it when it gets the store back.
    pub(super) async fn remove_batch_queues(&self) -> Result<(), StoreError> {
        match self.batch_queues.are_there().await? {
            true => self.batch_queues.remove().await,
            false => Ok(()),
        }
    }
}
