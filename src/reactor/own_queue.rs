//! Queues that the broker itself reads, in order: delayed messages, half messages, and what else is in the log for one of
//! its services.

use std::cell::RefCell;
use std::rc::Rc;

use crate::io::{Io, Notify};
use crate::store::{QueueIndex, ReadError, ScanLimits, Store};

/// Read at a time, unless a single message is larger.
const MAX_READ_BYTES: usize = 1 << 20;

/// A message of such a queue.
pub(super) struct Queued {
    pub queue_offset: u64,
    pub physical_offset: u64,
    /// All of it, as `Record::decode` reads it; empty if the log does not have it any more, or it cannot be read.
    pub record: Vec<u8>,
}

/// Notifies a service when a queue that it reads gets an entry.
#[derive(Default)]
pub(super) struct QueueListeners {
    listeners: RefCell<Vec<(QueueIndex, Rc<Notify>)>>,
}

impl QueueListeners {
    /// Notifies `bell` from now on whenever the queue gets an entry that consumers may see.
    pub(super) fn listen<I: Io>(&self, store: &Store<I>, queue: QueueIndex, bell: Rc<Notify>) {
        self.listeners.borrow_mut().push((queue, bell));
        store.watch(queue, true);
    }

    /// To be called for each arrival that the store reports: the store stops watching a queue when it reports it.
    pub(super) fn notify<I: Io>(&self, store: &Store<I>, queue: QueueIndex) {
        let listeners = self.listeners.borrow();
        if let Some((_, bell)) = listeners.iter().find(|(listened, _)| *listened == queue) {
            bell.notify();
            store.watch(queue, true);
        }
    }

    /// Wakes all services, so that each sees that the shard stops.
    pub(super) fn notify_all(&self) {
        for (_, bell) in self.listeners.borrow().iter() {
            bell.notify();
        }
    }
}

/// Where in the log the messages of a queue are from `offset` on, which the queue has; `max_messages` at most.
pub(super) async fn read_positions<I: Io>(
    store: &Rc<Store<I>>,
    queue: QueueIndex,
    offset: u64,
    max_messages: usize,
) -> Result<Vec<u64>, ReadError> {
    let limits = ScanLimits {
        max_messages,
        max_bytes: usize::MAX,
        max_entries: max_messages,
    };
    let mut positions = Vec::new();
    if offset < store.bounds(queue).max {
        store
            .scan_cold(queue, offset, &limits, |_, _| true, &mut positions)
            .await?;
    }
    Ok(positions.iter().map(|at| at.physical_offset).collect())
}

/// The messages of a queue from `offset` on, or from the first one that is left, up to the first whose tags code does not pass
/// `is_wanted`; `max_messages` at most.
pub(super) async fn read_queue<I: Io>(
    store: &Rc<Store<I>>,
    queue: QueueIndex,
    offset: u64,
    max_messages: usize,
    mut is_wanted: impl FnMut(i64) -> bool,
) -> Result<Vec<Queued>, ReadError> {
    let bounds = store.bounds(queue);
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
    let leading = |_, tags_code| {
        is_over = is_over || !is_wanted(tags_code);
        !is_over
    };
    store
        .scan_cold(queue, first, &limits, leading, &mut positions)
        .await?;
    let mut messages = Vec::with_capacity(positions.len());
    for (queue_offset, position) in (first..).zip(positions) {
        let record = store.record_of(queue, &position).await?;
        messages.push(Queued {
            queue_offset,
            physical_offset: position.physical_offset,
            record: record.unwrap_or_default(),
        });
    }
    Ok(messages)
}
