//! Writing the ConsumeQueues behind the log: regularly, when memory gets short, and at the end.

use std::rc::Rc;

use tracing::warn;

use super::checkpoint::Checkpoint;
use super::{Store, StoreError};
use crate::io::Io;
use crate::io::first;

/// How often the queues are saved. What came since is read from the log again after a crash.
const INTERVAL_NS: u64 = 5_000_000_000;

/// When they are saved again if there was no space for them.
const NO_SPACE_RETRY_NS: u64 = 1_000_000_000;

/// After each write the device is left to the log for so many times as long: with 100,000 queues a round takes a minute, and a
/// log write that comes in between waits for one of them at most.
const REST_SHARE: u64 = 4;

/// How often it is looked whether memory gets short.
const LOOK_NS: u64 = 50_000_000;

/// Share of the arena that is kept free for what arrives: a sixteenth.
const FREE_SHARE: usize = 16;

/// Saves for as long as the store is open.
pub(super) async fn run<I: Io>(store: Rc<Store<I>>) {
    let mut due_ns = store.io.now().mono_ns + INTERVAL_NS;
    while !store.state.borrow().closing {
        first(
            store.save_now.notified(),
            store.io.sleep_until(store.io.now().mono_ns + LOOK_NS),
        )
        .await;
        let wanted = store.wanted_chunks();
        let is_short = store.is_short_of(wanted);
        if store.fence().is_some() {
            return;
        }
        store.save_index_entries().await;
        let now_ns = store.io.now().mono_ns;
        if !is_short && now_ns < due_ns && store.deleted.borrow().is_empty() {
            continue;
        }
        due_ns = now_ns + INTERVAL_NS;
        let saved = store.save_queues().await;
        store.note_space(&saved, |full| &mut full.queues);
        if let Err(error) = saved {
            if error.is_no_space() {
                due_ns = now_ns + NO_SPACE_RETRY_NS;
            }
            warn!(%error, "the queues cannot be saved; a restart would read them from the log");
        }
        if is_short || store.is_short_of(wanted) {
            store.state.borrow_mut().queues.evict(2 * wanted);
            store.room.wake_all();
        }
    }
}

impl<I: Io> Store<I> {
    /// Writes every entry that is in no file yet, and then how far the files agree with the log.
    pub(super) async fn save_queues(&self) -> Result<(), StoreError> {
        // Ahead of the rest: the index must not be ahead of the position.
        let log_min = self.segments.min_position().unwrap_or(0);
        let index = match &self.index {
            Some(index) => Some(index.save(log_min).await?),
            None => None,
        };
        self.remove_deleted().await?;
        // What is dispatched now will be in the files; what comes meanwhile will not, or this might never end.
        let (position, store_time_ms, dirty) = {
            let state = self.state.borrow();
            (
                state.dispatched,
                state.committed_time_ms,
                state.queues.unsaved_queues(),
            )
        };
        for _ in 0..dirty {
            let unsaved = {
                let mut state = self.state.borrow_mut();
                state
                    .queues
                    .next_unsaved(position)
                    .map(|(queue, first, entries)| {
                        let target = state.queues.queue(queue);
                        (
                            queue,
                            first,
                            entries,
                            state.queues.topic_of(queue).to_owned(),
                            target.queue_id,
                            target.gone,
                        )
                    })
            };
            let Some((queue, first, entries, topic, queue_id, gone)) = unsaved else {
                break;
            };
            if gone || entries.is_empty() {
                continue;
            }
            let began_ns = self.io.now().mono_ns;
            if let Err(error) = self
                .queue_files
                .save(&topic, queue_id, first, &entries)
                .await
            {
                self.state.borrow_mut().queues.not_saved(queue);
                return Err(error);
            }
            let count = (entries.len() / super::consume_queue::ENTRY_BYTES) as u64;
            self.state.borrow_mut().queues.saved(queue, first + count);
            self.rest_from(began_ns).await;
        }
        // A restart begins reading at the checkpoint: what is before it must be on the device.
        if !mutant!(CheckpointAheadOfLog) {
            self.flush_log(position).await?;
        }
        let checkpoint = Checkpoint {
            position,
            store_time_ms,
            queues_digest: self.state.borrow().queues.saved_digest(),
            index,
        };
        self.checkpoint.save(&checkpoint).await?;
        self.checkpointed.set(position);
        match &self.index {
            Some(index) => index.remove_outlived().await,
            None => Ok(()),
        }
    }

    /// Leaves the device to others after work on it that began then, unless there is a hurry.
    async fn rest_from(&self, began_ns: u64) {
        if self.state.borrow().closing || self.is_short_of(self.wanted_chunks()) {
            return;
        }
        self.save_index_entries().await;
        let now_ns = self.io.now().mono_ns;
        let rest_ns = REST_SHARE * (now_ns - began_ns);
        self.io.sleep_until(now_ns + rest_ns).await;
    }

    async fn save_index_entries(&self) {
        if let Some(index) = &self.index
            && index.wants_saving()
            && let Err(error) = index.save_entries().await
        {
            warn!(%error, "the key index cannot be saved; a restart would make it from the log");
        }
    }

    /// Chunks that are to be free for what arrives.
    fn wanted_chunks(&self) -> usize {
        let share = self.state.borrow().queues.capacity_chunks() / FREE_SHARE;
        share.max(self.config.chunks_for_unit())
    }

    fn is_short_of(&self, wanted_chunks: usize) -> bool {
        self.state.borrow().queues.free_chunks() < wanted_chunks
    }

    /// Until nothing is left to remove: what is saved next may be of a topic that was deleted meanwhile and made again,
    /// and its file must not be taken for that of the one before.
    async fn remove_deleted(&self) -> Result<(), StoreError> {
        loop {
            let next = self.deleted.borrow_mut().pop_front();
            let Some((topic, queue_ids)) = next else {
                return Ok(());
            };
            if let Err(error) = self.queue_files.remove(&topic, &queue_ids).await {
                self.deleted.borrow_mut().push_front((topic, queue_ids));
                return Err(error);
            }
        }
    }

    /// Finishes what was appended, flushes, saves and leaves the clean mark. Nothing can be appended afterwards.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.state.borrow_mut().closing = true;
        self.work.notify();
        self.flush_now.notify();
        self.save_now.notify();
        self.segments.clean_now.notify();
        self.committed.wake_all();
        self.room.wake_all();
        let still_running = || (self.counters.tasks.get() == 0).then_some(());
        self.background.until(still_running).await;
        let closed = self.leave().await;
        self.lock.take();
        closed
    }

    async fn leave(&self) -> Result<(), StoreError> {
        if let Some(reason) = self.fence() {
            return Err(StoreError::Fenced { reason });
        }
        if let Some(index) = &self.index {
            self.index_rest(index).await?;
        }
        self.save_queues().await?;
        self.segments.seal_end(self.tail()).await?;
        if let Some(index) = &self.index {
            index.complete().await?;
        }
        let abort = self.config.dir.join("abort");
        self.io
            .remove_file(&abort)
            .await
            .map_err(StoreError::io("remove", &abort))?;
        self.io
            .sync_dir(&self.config.dir)
            .await
            .map_err(StoreError::io("sync", &self.config.dir))
    }

    /// Starts a task that `close` waits for.
    pub(super) fn spawn_task(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let store = self.clone();
        store.counters.tasks.set(store.counters.tasks.get() + 1);
        self.io.spawn(async move {
            task.await;
            store.counters.tasks.set(store.counters.tasks.get() - 1);
            store.background.wake_all();
        });
    }
}
