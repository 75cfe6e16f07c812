//! The background tasks of a store, and its end.

use std::rc::Rc;

use super::abort::Abort;
use super::{Store, StoreError};
use crate::io::Io;

impl<I: Io> Store<I> {
    /// Finishes what was appended, flushes, saves and leaves the clean mark. Nothing can be appended afterwards.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.state.borrow_mut().closing = true;
        self.work.notify();
        self.flush_now.notify();
        self.save_now.notify();
        self.scrub.wake.notify();
        self.segments.clean_now.notify();
        self.committed.wake_all();
        self.room.wake_all();
        let still_running = || (self.counters.tasks.get() == 0).then_some(());
        self.background.until(still_running).await;
        let closed = self.leave().await;
        self.locks.take();
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
        let abort = Abort::new(self.io.clone(), &self.config.dir);
        abort.remove().await
    }

    /// Starts a task that `close` waits for.
    pub(in crate::store) fn spawn_task(
        self: &Rc<Self>,
        name: &'static str,
        task: impl Future<Output = ()> + 'static,
    ) {
        let store = self.clone();
        store.counters.tasks.set(store.counters.tasks.get() + 1);
        self.io.spawn(name, async move {
            task.await;
            store.counters.tasks.set(store.counters.tasks.get() - 1);
            store.background.wake_all();
        });
    }
}
