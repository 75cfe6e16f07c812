//! The background tasks of a store, and its end.

use std::cell::Cell;
use std::rc::Rc;

use tracing::error;

use super::abort::Abort;
use super::lock::Locks;
use super::medium::Medium;
use super::{Store, StoreError};
use crate::io::{Io, Waiters};

/// The tasks that still run. They hold the store's locks: as long as one of them may write, no other process may open the
/// store, even if this one has dropped it without closing it.
pub(super) struct Tasks<I: Io> {
    running: Cell<u32>,
    ended: Waiters,
    locks: Cell<Locks<I>>,
}

impl<I: Io> Tasks<I> {
    pub fn new(locks: Locks<I>) -> Self {
        Self {
            running: Cell::new(0),
            ended: Waiters::default(),
            locks: Cell::new(locks),
        }
    }

    pub fn spawn(
        self: &Rc<Self>,
        io: &Medium<I>,
        name: &'static str,
        task: impl Future<Output = ()> + 'static,
    ) {
        let tasks = self.clone();
        tasks.running.set(tasks.running.get() + 1);
        io.spawn(name, async move {
            task.await;
            tasks.running.set(tasks.running.get() - 1);
            tasks.ended.wake_all();
        });
    }

    /// Done when all of them have ended.
    async fn all_ended(&self) {
        let have_ended = || (self.running.get() == 0).then_some(());
        self.ended.until(have_ended).await;
    }

    fn unlock(&self) {
        self.locks.take();
    }
}

impl<I: Io> Store<I> {
    pub(super) fn start_background(&self) {
        let (log, appends, follow) = (self.log.clone(), self.appends.clone(), self.follow.clone());
        let commits = async move {
            let dispatch = |end| appends.dispatch(end);
            log.run(dispatch, || !follow.is_active()).await;
        };
        self.tasks.spawn(&self.io, "group-commit", commits);
        if self.follow.is_active() {
            let follow = self.follow.clone();
            let following = async move { follow.run().await };
            self.tasks.spawn(&self.io, "follow-master", following);
        }
        let queues = self.queues.clone();
        let saves = async move { queues.run().await };
        self.tasks.spawn(&self.io, "save-queues", saves);
        let cleaner = self.cleaner.clone();
        let cleaning = async move { cleaner.run().await };
        self.tasks.spawn(&self.io, "retention", cleaning);
        if let Some(index) = self.index.clone() {
            let following = async move { index.run().await };
            self.tasks.spawn(&self.io, "index", following);
        }
        let scrub = self.scrub.clone();
        let scrubbing = async move { scrub.run().await };
        self.tasks.spawn(&self.io, "scrub", scrubbing);
        let log = self.log.clone();
        let flushes = async move { log.flush_regularly().await };
        self.tasks.spawn(&self.io, "flush-regularly", flushes);
        let log = self.log.clone();
        let zeros = async move { log.zero_ahead().await };
        self.tasks.spawn(&self.io, "zero-ahead", zeros);
    }

    /// Whatever waits for the store is woken when the fence is set.
    pub(super) fn observe_fence(&self) {
        let (log, queues) = (Rc::downgrade(&self.log), Rc::downgrade(&self.queues));
        let (gate, config) = (Rc::downgrade(&self.gate), self.config.clone());
        self.io.fence().observe(move |reason| {
            let Some(((log, queues), gate)) = log.upgrade().zip(queues.upgrade()).zip(gate.upgrade()) else {
                return;
            };
            let written = log.buffer().written();
            error!(dir = %config.dir.display(), reason, written, "the store is fenced: no more sends, reads go on");
            gate.room.wake_all();
            log.wake();
            queues.wake();
        });
    }

    /// Finishes what was appended, flushes, saves and writes the clean mark. Nothing can be appended afterwards.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.end_tasks().await;
        let closed = self.finish().await;
        self.tasks.unlock();
        closed
    }

    /// Ends as a kill would, though with every write done: the next opening finds what the journal has. For a log that is cut next, where
    /// saved queues and a complete index would speak of what goes.
    pub async fn abandon(&self) {
        self.end_tasks().await;
        self.tasks.unlock();
    }

    async fn end_tasks(&self) {
        self.gate.close();
        self.log.wake();
        self.queues.wake();
        self.scrub.wake.notify();
        self.tasks.all_ended().await;
    }

    async fn finish(&self) -> Result<(), StoreError> {
        self.gate.check_fence()?;
        if let Some(index) = &self.index {
            index.finish().await?;
        }
        self.queues.save_all().await?;
        self.log.segments().seal_end(self.log.tail()).await?;
        if let Some(index) = &self.index {
            index.complete().await?;
        }
        let abort = Abort::new(self.io.clone(), &self.config.dir);
        abort.remove().await
    }
}
