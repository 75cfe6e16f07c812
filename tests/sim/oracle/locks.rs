//! Orderly consumers: a queue is never two members' at a time.

use super::{Oracle, Queue};

/// Who has a queue.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    client_id: String,
    /// In which life of the broker; the next one knows nothing of it.
    life: u64,
    /// It is his for so long at least.
    until_ms: u64,
}

/// RocketMQ's, from the last renewal.
const LOCK_MS: u64 = 60_000;

impl Oracle {
    /// The client was told that it has the queue, as it had asked at `asked_ms`.
    pub fn locked(
        &mut self,
        group: &str,
        queue: &Queue,
        client_id: &str,
        life: u64,
        [asked_ms, now_ms]: [u64; 2],
    ) {
        self.story.note("is locked", 0, Some(queue), life);
        let lock = Lock {
            client_id: client_id.to_owned(),
            life,
            until_ms: asked_ms + LOCK_MS,
        };
        let key = (group.to_owned(), queue.clone());
        let before = self.locks.insert(key, lock);
        let is_taken = before.as_ref().is_some_and(|before| {
            before.client_id != client_id && before.life == life && now_ms < before.until_ms
        });
        assert!(
            !is_taken,
            "two owners of {queue:?}: {before:?} and {client_id}"
        );
    }

    /// The client is about to give the queue up.
    pub fn unlocks(&mut self, group: &str, queue: &Queue, client_id: &str) {
        self.story.note("unlocks", 0, Some(queue), 0);
        let key = (group.to_owned(), queue.clone());
        if self
            .locks
            .get(&key)
            .is_some_and(|lock| lock.client_id == client_id)
        {
            self.locks.remove(&key);
        }
    }
}
