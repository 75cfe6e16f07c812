//! A queue that is assigned to this consumer.

use std::cell::{Cell, RefCell};

use tokio::sync::Notify;

use super::process_queue::ProcessQueue;
use crate::wire::MessageQueue;

/// The broker's lock lasts 60 s; we trust it for 30 (`rebalanceLockMaxLiveTime`).
const LOCK_TRUST_MS: u64 = 30_000;

pub struct Assigned {
    pub queue: MessageQueue,
    pub process: RefCell<ProcessQueue>,
    pub next_offset: Cell<i64>,
    /// Messages have arrived, or the queue is dropped.
    pub news: Notify,
    stage: Cell<Stage>,
    lock: Cell<Lock>,
}

/// ```text
/// Idle <-> Consuming        an orderly listener begins and ends
///   |          |
///   v          v            the queue is dropped
/// Dropped <- DroppedConsuming
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    /// An orderly listener is running: the queue is not handed to another member before it ends.
    Consuming,
    DroppedConsuming,
    /// Nothing that is done from here on counts for the offset.
    Dropped,
}

/// Orderly consumers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    None,
    /// When the broker granted the lock last.
    Since {
        asked_at_ms: u64,
    },
}

impl Assigned {
    pub fn new(queue: MessageQueue, next_offset: i64, lock: Lock) -> Self {
        Self {
            queue,
            process: RefCell::default(),
            next_offset: Cell::new(next_offset),
            news: Notify::new(),
            stage: Cell::new(Stage::Idle),
            lock: Cell::new(lock),
        }
    }

    pub fn drop_now(&self) {
        self.stage.set(match self.stage.get() {
            Stage::Idle | Stage::Dropped => Stage::Dropped,
            Stage::Consuming | Stage::DroppedConsuming => Stage::DroppedConsuming,
        });
        self.news.notify_one();
    }

    pub fn is_dropped(&self) -> bool {
        matches!(self.stage.get(), Stage::Dropped | Stage::DroppedConsuming)
    }

    /// An orderly listener begins.
    pub fn begin(&self) {
        self.stage.set(match self.stage.get() {
            Stage::Idle | Stage::Consuming => Stage::Consuming,
            Stage::Dropped | Stage::DroppedConsuming => Stage::DroppedConsuming,
        });
    }

    /// An orderly listener has ended.
    pub fn end(&self) {
        self.stage.set(match self.stage.get() {
            Stage::Idle | Stage::Consuming => Stage::Idle,
            Stage::Dropped | Stage::DroppedConsuming => Stage::Dropped,
        });
    }

    pub fn is_consuming(&self) -> bool {
        matches!(self.stage.get(), Stage::Consuming | Stage::DroppedConsuming)
    }

    pub fn set_lock(&self, lock: Lock) {
        self.lock.set(lock);
    }

    /// Whether the broker surely has the queue locked for us.
    pub fn is_locked(&self, now_ms: u64) -> bool {
        match self.lock.get() {
            Lock::None => false,
            Lock::Since { asked_at_ms } => now_ms.saturating_sub(asked_at_ms) < LOCK_TRUST_MS,
        }
    }
}

/// For log lines.
pub fn shown(queue: &MessageQueue) -> String {
    let MessageQueue {
        broker_name,
        queue_id,
        topic,
    } = queue;
    format!("queue {queue_id} of {topic} at {broker_name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_queue_stays_dropped_and_is_free_when_its_listener_ends() {
        let queue = Assigned::new(MessageQueue::default(), 0, Lock::None);
        queue.begin();
        assert!(queue.is_consuming() && !queue.is_dropped());
        queue.drop_now();
        assert!(queue.is_consuming() && queue.is_dropped());
        queue.end();
        assert!(!queue.is_consuming() && queue.is_dropped());
        queue.begin();
        queue.end();
        assert!(queue.is_dropped());
    }

    #[test]
    fn a_lock_is_trusted_for_half_its_time() {
        let queue = Assigned::new(MessageQueue::default(), 0, Lock::None);
        assert!(!queue.is_locked(0));
        queue.set_lock(Lock::Since { asked_at_ms: 1_000 });
        assert!(queue.is_locked(30_999) && !queue.is_locked(31_000));
        queue.set_lock(Lock::None);
        assert!(!queue.is_locked(1_000));
    }
}
