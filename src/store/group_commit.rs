//! Group commit: one log write in flight, and the next one is whatever has arrived meanwhile.
//!
//! There is no timer. In sync mode a write is done when the device has flushed it, in async mode when the device has taken
//! it; a task of its own then flushes every `flush_interval_ms`. When a write is done its messages become visible, whoever
//! waits for them is woken, and the next write is submitted at once: it precedes the replies in the kernel's queue.
//!
//! A write that has no file to go to, as the disk is full, waits until it has one: nothing has been written, so that it
//! may be tried again.

use std::rc::Rc;

use tracing::error;

use super::{Flush, Store, StoreError};
use crate::io::first;
use crate::io::{Durability, File, Io};

/// How often a file is tried to be made for what waits for one.
const NO_SPACE_RETRY_NS: u64 = 200_000_000;

/// Writes until the store is closed and everything is written, or until a write fails.
pub(super) async fn run<I: Io>(store: Rc<Store<I>>) {
    let durability = match store.config.flush {
        Flush::Sync if mutant!(AckBeforeFlush) => Durability::Written,
        Flush::Sync => Durability::Synced,
        Flush::Async => Durability::Written,
    };
    loop {
        let sealed = store.state.borrow_mut().log.seal(store.segments.busy());
        let Some(sealed) = sealed else {
            if store.has_ended() {
                return;
            }
            store.work.notified().await;
            continue;
        };
        let len = sealed.slice.len() as u64;
        let at = sealed.start % store.config.segment_bytes;
        if mutant!(ShowBeforeWrite) {
            store.state.borrow_mut().dispatch(sealed.end);
        }
        if store.hurry_flush(sealed.end).await.is_err() {
            return;
        }
        let written = match store.segments.file_or_create(sealed.start).await {
            Err(error) if error.is_no_space() && !store.state.borrow().closing => {
                let retry_ns = store.io.now().mono_ns + NO_SPACE_RETRY_NS;
                store.io.sleep_until(retry_ns).await;
                continue;
            }
            Ok(file) => file
                .write_at(sealed.slice, at, durability)
                .await
                .0
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = written
            && !mutant!(SwallowWriteError)
        {
            return store.fence_off(&format!(
                "writing the log at {} failed: {reason}",
                sealed.start
            ));
        }
        store.counters.writes.set(store.counters.writes.get() + 1);
        store
            .counters
            .written_bytes
            .set(store.counters.written_bytes.get() + len);
        if durability == Durability::Synced {
            store.counters.flushes.set(store.counters.flushes.get() + 1);
        }
        store.commit(sealed.end);
    }
}

/// Async mode: flushes what has been written, every so often, until the store is closed.
pub(super) async fn flush_regularly<I: Io>(store: Rc<Store<I>>) {
    let interval_ns = store.config.flush_interval_ms * 1_000_000;
    loop {
        let is_last = store.state.borrow().closing;
        let committed = store.committed();
        if store.flush_log(committed).await.is_err() || is_last {
            return;
        }
        let due = store.io.sleep_until(store.io.now().mono_ns + interval_ns);
        first(store.flush_now.notified(), due).await;
    }
}

impl<I: Io> Store<I> {
    /// Nothing more will be written.
    fn has_ended(&self) -> bool {
        let state = self.state.borrow();
        state.fence.is_some() || (state.closing && state.log.tail() == state.log.written())
    }

    /// The log is on the device up to `end`.
    fn commit(&self, end: u64) {
        let mut state = self.state.borrow_mut();
        state.log.complete(end);
        state.dispatch(end);
        drop(state);
        self.committed.wake_all();
        self.room.wake_all();
    }

    /// Async mode: keeps what is not flushed within its bound. In sync mode that is one write at most.
    async fn hurry_flush(&self, end: u64) -> Result<(), StoreError> {
        let unflushed = match self.config.flush {
            Flush::Async => end - self.flushed.get(),
            Flush::Sync => return Ok(()),
        };
        if unflushed > self.config.max_unflushed_bytes / 2 {
            self.flush_now.notify();
        }
        if unflushed > self.config.max_unflushed_bytes {
            self.flush_log(self.committed()).await?;
        }
        Ok(())
    }

    /// Makes the log durable up to `position`, which has been written.
    pub(super) async fn flush_log(&self, position: u64) -> Result<(), StoreError> {
        // A flush after one that failed says nothing: the kernel may hold the lost pages to be clean.
        if let Some(reason) = self.fence() {
            return Err(StoreError::Fenced { reason });
        }
        let mut at = self.flushed.get();
        while at < position && self.config.flush == Flush::Async {
            if let Some(file) = self.segments.file(at)
                && !mutant!(NeverFlush)
                && let Err(error) = file.sync_data().await
                && !mutant!(SwallowFlushError)
            {
                let reason = format!("flushing the log at {at} failed: {error}");
                self.fence_off(&reason);
                return Err(StoreError::Fenced {
                    reason: reason.into(),
                });
            }
            self.counters.flushes.set(self.counters.flushes.get() + 1);
            at = self.segments.start_of(at) + self.config.segment_bytes;
        }
        self.flushed.set(self.flushed.get().max(position));
        Ok(())
    }

    /// After an error nobody knows what the device has: nothing more is acknowledged, and nothing is written again.
    pub(super) fn fence_off(&self, reason: &str) {
        let mut state = self.state.borrow_mut();
        if state.fence.is_none() {
            error!(dir = %self.config.dir.display(), reason, "the store is fenced: no more sends, reads go on");
            state.fence = Some(reason.into());
        }
        drop(state);
        self.committed.wake_all();
        self.room.wake_all();
        self.work.notify();
    }
}

impl super::State {
    /// Makes the messages up to `end` visible in their queues.
    pub(super) fn dispatch(&mut self, end: u64) {
        while let Some(pending) = self
            .pending
            .pop_front_if(|pending| pending.entry.end() <= end)
        {
            self.committed_time_ms = pending.store_time_ms;
            self.dispatched = pending.entry.end();
            self.first_store_time_ms
                .get_or_insert(pending.store_time_ms);
            if self.queues.queue(pending.queue).gone || !pending.is_consumable {
                continue;
            }
            self.queues.push(pending.queue, &pending.entry);
            let queue = self.queues.queue_mut(pending.queue);
            queue.last_store_time_ms = pending.store_time_ms;
            if queue.watched {
                // Said once: whoever waits watches again.
                queue.watched = false;
                self.arrivals.push(pending.queue);
            }
        }
        self.committed = end;
    }
}
