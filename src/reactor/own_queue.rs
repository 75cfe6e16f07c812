//! Queues that the broker itself reads, in order: delayed messages, half messages, and what else waits in the log for
//! one of its services.

use std::cell::RefCell;
use std::rc::Rc;

use super::shard::Shard;
use crate::io::{Io, Notify};
use crate::store::{QueueIndex, ReadError, ScanLimits};

/// Read at a time, unless a single message is larger.
const MAX_READ_BYTES: usize = 1 << 20;

/// A message of such a queue.
pub(super) struct Queued {
    pub queue_offset: u64,
    pub physical_offset: u64,
    /// All of it, as `Record::decode` reads it; empty if the log does not have it any more, or it cannot be read.
    pub record: Vec<u8>,
}

/// What is woken when a queue gets an entry.
#[derive(Default)]
pub(super) struct Bells {
    bells: RefCell<Vec<(QueueIndex, Rc<Notify>)>>,
}

impl Bells {
    /// Whether a service reads this queue.
    fn ring(&self, queue: QueueIndex) -> bool {
        let bells = self.bells.borrow();
        let bell = bells.iter().find(|(listened, _)| *listened == queue);
        if let Some((_, bell)) = bell {
            bell.notify();
        }
        bell.is_some()
    }
}

impl<I: Io> Shard<I> {
    /// Rings `bell` from now on whenever the queue gets an entry that consumers may see.
    pub(super) fn listen(&self, queue: QueueIndex, bell: Rc<Notify>) {
        self.bells.bells.borrow_mut().push((queue, bell));
        self.store.watch(queue, true);
    }

    /// To be called for each arrival that the store reports: it forgets a watched queue with that.
    pub(super) fn ring(&self, queue: QueueIndex) {
        if self.bells.ring(queue) {
            self.store.watch(queue, true);
        }
    }

    /// Before the shard stops: the services see it.
    pub(super) fn ring_all(&self) {
        for (_, bell) in self.bells.bells.borrow().iter() {
            bell.notify();
        }
    }

    /// The messages of a queue from `offset` on, or from the first one that is still there, as long as `is_wanted` says so
    /// of their tags codes, `max_messages` at most.
    pub(super) async fn read_queue(
        &self,
        queue: QueueIndex,
        offset: u64,
        max_messages: usize,
        mut is_wanted: impl FnMut(i64) -> bool,
    ) -> Result<Vec<Queued>, ReadError> {
        let bounds = self.store.bounds(queue);
        let first = offset.max(bounds.min);
        if first >= bounds.max {
            return Ok(Vec::new());
        }
        let limits = ScanLimits {
            max_messages,
            max_bytes: MAX_READ_BYTES,
            max_entries: max_messages,
        };
        let mut positions = Vec::new();
        let mut is_over = false;
        let leading = |tags_code| {
            is_over = is_over || !is_wanted(tags_code);
            !is_over
        };
        self.store
            .scan_cold(queue, first, &limits, leading, &mut positions)
            .await?;
        let mut messages = Vec::with_capacity(positions.len());
        for (queue_offset, position) in (first..).zip(positions) {
            let record = self.store.record_of(queue, &position).await?;
            messages.push(Queued {
                queue_offset,
                physical_offset: position.physical_offset,
                record: record.unwrap_or_default(),
            });
        }
        Ok(messages)
    }
}
