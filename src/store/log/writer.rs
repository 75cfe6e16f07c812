//! Group commit: one log write in flight, and the next one is whatever has arrived meanwhile.
//!
//! There is no timer. In sync mode a write is done when the device has flushed it, in async mode when the device has taken
//! it; a task of its own then flushes every `flush_interval_ms`. When a write is done its messages become visible, whoever
//! waits for them is woken, and the next write is submitted at once: it precedes the replies in the kernel's queue.
//!
//! After an error nobody knows what the device has, and the store is fenced: a later write or flush that succeeds says
//! nothing of what the kernel has dropped before, so there is none, and what was in flight meanwhile is not acknowledged
//! either.
//!
//! A lack of space is no such error, be it of the file or of the write (a file system that copies on write, a thin device):
//! the write goes past the page cache, so that nothing of it is left behind that a later flush could take for clean. Nothing
//! of it was acknowledged, all of its bytes are still in the log buffer, and all of them are written again, to the same
//! place, until there is space. A *flush* that fails for lack of space fences like any other: it speaks of earlier writes.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tracing::{error, info, warn};

use super::ack_watermark::Mark;
use crate::io::first;
use crate::io::{Disk, Durability, File, Io, Waiters};
use crate::mem::LogSlice;
use crate::store::{Flush, Store, StoreError};

/// Pause before a write is repeated for which there was no space or no descriptor.
const RETRY_NS: u64 = 200_000_000;

/// Writes until the store is closed and everything is written, or until a write fails.
pub(in crate::store) async fn run<I: Io>(store: Rc<Store<I>>) {
    let durability = match store.config.flush {
        Flush::Sync if mutant!(AckBeforeFlush) => Durability::Written,
        Flush::Sync => Durability::Synced,
        Flush::Async => Durability::Written,
    };
    loop {
        let sealed = store.state.borrow_mut().log.seal(store.zero_ahead.busy());
        let Some(sealed) = sealed else {
            if store.has_ended() {
                return;
            }
            store.work.notified().await;
            continue;
        };
        let len = sealed.slice.len() as u64;
        if mutant!(ShowBeforeWrite) {
            store.state.borrow_mut().dispatch(sealed.end);
        }
        if store.hurry_flush(sealed.end).await.is_err() {
            return;
        }
        match write(&store, sealed.start, sealed.slice, durability).await {
            // Of the rest nobody knows any more whether it is all there.
            Ok(()) if store.fence().is_some() => return,
            Ok(()) => {
                store.note_log_space(None);
                store.has_shortage.set(false);
            }
            Err(error) if error.is_no_space() && !store.state.borrow().closing => {
                store.note_log_space(Some(&error));
                store
                    .io
                    .sleep_until(store.io.now().mono_ns + RETRY_NS)
                    .await;
                continue;
            }
            Err(_) if mutant!(SwallowWriteError) => {}
            Err(error) if error.is_shortage() && !store.state.borrow().closing => {
                store.note_shortage(&error);
                store
                    .io
                    .sleep_until(store.io.now().mono_ns + RETRY_NS)
                    .await;
                continue;
            }
            // A write error has set the fence; what else keeps the log from being written does it here.
            Err(error) => return store.state.borrow().fence.set(&error),
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

async fn write<I: Io>(
    store: &Store<I>,
    position: u64,
    blocks: LogSlice,
    durability: Durability,
) -> Result<(), StoreError> {
    if mutant!(CommitWaitsForNames) {
        let _ = store.io.list(&store.config.dir).await;
    }
    let segments = &store.segments;
    let file = segments.file_or_create(position).await?;
    let at = position % segments.segment_bytes();
    let (written, _) = file.write_at(blocks, at, durability).await;
    written.map_err(StoreError::io("write", &segments.path_of(position)))
}

/// Flushes what has been written (in sync mode it is flushed) and notes what has been acknowledged, every so often, until
/// the store is closed.
pub(in crate::store) async fn flush_regularly<I: Io>(store: Rc<Store<I>>) {
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
        state.fence.is_set() || (state.closing && state.log.tail() == state.log.written())
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

    /// Makes the log durable up to `position`, which has been written. One flush at a time: of two the kernel tells only one
    /// that it has lost something.
    pub(in crate::store) async fn flush_log(&self, position: u64) -> Result<(), StoreError> {
        let turn = || (!self.is_flushing.get()).then_some(());
        self.flush_done.until(turn).await;
        // A flush after one that failed says nothing: the kernel may hold the lost pages to be clean.
        if let Some(reason) = self.fence() {
            return Err(StoreError::Fenced { reason });
        }
        let mark = self.state.borrow().acknowledged();
        if self.flushed.get() >= mark.position.max(position) {
            return Ok(());
        }
        let flushing = Flushing::new(&self.is_flushing, &self.flush_done);
        self.acknowledged.note(mark).await;
        let position = mark.position.max(position);
        let flushed = self.flush_files(position).await;
        drop(flushing);
        if let Err(error) = &flushed {
            self.state.borrow().fence.set(error);
        }
        match self.fence() {
            Some(reason) => Err(StoreError::Fenced { reason }),
            None => {
                self.flushed.set(position);
                self.acknowledged.is_safe(mark);
                Ok(())
            }
        }
    }

    async fn flush_files(&self, position: u64) -> Result<(), StoreError> {
        let mut at = self.flushed.get();
        while at < position && self.config.flush == Flush::Async {
            if let Some(file) = self.segments.file(at)
                && !mutant!(NeverFlush)
            {
                let flushed = file.sync_data().await;
                if !mutant!(SwallowFlushError) {
                    flushed.map_err(StoreError::io("flush", &self.segments.path_of(at)))?;
                }
            }
            self.counters.flushes.set(self.counters.flushes.get() + 1);
            at = self.segments.start_of(at) + self.config.segment_bytes;
        }
        Ok(())
    }

    /// Whatever waits for the log is woken when the fence is set.
    pub(in crate::store) fn observe_fence(self: &Rc<Self>) {
        let store = Rc::downgrade(self);
        let fence = self.state.borrow().fence.clone();
        fence.observe(move |reason| {
            let Some(store) = store.upgrade() else { return };
            let written = store.state.borrow().log.written();
            error!(dir = %store.config.dir.display(), reason, written, "the store is fenced: no more sends, reads go on");
            store.committed.wake_all();
            store.room.wake_all();
            store.background.wake_all();
            store.flush_done.wake_all();
            store.work.notify();
        });
    }

    /// Sends wait until the process has descriptors or memory again.
    fn note_shortage(&self, error: &StoreError) {
        if !self.has_shortage.replace(true) {
            warn!(%error, "the log cannot be written for now: it is tried again until it can");
        }
    }

    /// Whether there was space for what the log wrote last.
    fn note_log_space(&self, error: Option<&StoreError>) {
        let is_known = self.state.borrow().full.log.is_some() == error.is_some();
        if !is_known {
            match error {
                Some(error) => warn!(%error, "no more messages are taken until there is space"),
                None => info!("the log is written again: messages are taken"),
            }
            let written =
                error.map(|error| Arc::from(format!("the log cannot be written: {error}")));
            self.state.borrow_mut().full.log = written;
            self.segments.clean_now.notify();
            self.room.wake_all();
        }
    }
}

/// A flush is in flight for as long as this lives.
struct Flushing<'a> {
    is_flushing: &'a Cell<bool>,
    done: &'a Waiters,
}

impl<'a> Flushing<'a> {
    fn new(is_flushing: &'a Cell<bool>, done: &'a Waiters) -> Self {
        is_flushing.set(true);
        Self { is_flushing, done }
    }
}

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.is_flushing.set(false);
        self.done.wake_all();
    }
}

impl crate::store::State {
    /// Up to here messages are as safe as their producers have been told.
    fn acknowledged(&self) -> Mark {
        Mark {
            position: self.dispatched,
            messages: self.dispatched_messages,
        }
    }

    /// Makes the messages up to `end` visible in their queues.
    pub(in crate::store) fn dispatch(&mut self, end: u64) {
        while let Some(pending) = self
            .pending
            .pop_front_if(|pending| pending.entry.end() <= end)
        {
            self.committed_time_ms = pending.store_time_ms;
            self.dispatched = pending.entry.end();
            self.last_dispatched = pending.entry.physical_offset;
            self.dispatched_messages += 1;
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
