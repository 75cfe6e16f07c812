//! What is done about a run that is not as it was written: the timer topic has the same timers, so that all of them are read again, as after
//! a restart without runs. Of a million that takes as long as there; it is found some seconds before they are due.

use tracing::error;

use super::saving::written;
use super::state::{FILE, Timing, wait};
use super::{RETRY_NS, load_checkpoint};
use crate::broker::timer::Checkpoint;
use crate::io::Io;
use crate::reactor::core::Core;
use crate::reactor::deliveries;
use crate::store::StoreError;

impl<I: Io> Timing<I> {
    pub(super) fn found_damaged(&self, error: &StoreError) {
        if !self.is_damaged.replace(true) {
            error!(%error, "all timers are read again");
        }
        self.bell.notify();
    }
}

/// Before a start: the next one has no runs.
pub(super) async fn forget_runs<I: Io>(core: &Core<I>) -> Result<(), StoreError> {
    let mut checkpoint = load_checkpoint(core).await?;
    checkpoint.forget_runs();
    save(core, &checkpoint).await
}

/// To be called by the task that delivers, which does nothing else until then. The other one saves nothing meanwhile.
pub(super) async fn read_again<I: Io>(core: &Core<I>, timing: &Timing<I>) {
    if let Err(error) = try_to_read_again(core, timing).await {
        if core.store.fence().is_none() {
            error!(%error, "no timed message is delivered until all timers can be read again");
        }
        wait(&core.io, &timing.bell, RETRY_NS).await;
    }
}

async fn try_to_read_again<I: Io>(core: &Core<I>, timing: &Timing<I>) -> Result<(), StoreError> {
    while timing.is_saving.get() {
        timing.saved.notified().await;
    }
    let mut checkpoint = timing.timers.borrow().checkpoint().clone();
    checkpoint.forget_runs();
    // A new run may get the name of one that is not named any more.
    save(core, &checkpoint).await?;
    if !core.store.follows() {
        // What was delivered and is not over by the marks yet would be delivered again.
        let known = checkpoint.known_position.get();
        let mut delivered = timing.delivered.take();
        let from = known.unwrap_or(timing.opened_at);
        let added = deliveries::add_since(core, from, &mut delivered).await;
        timing.delivered.replace(delivered);
        added?;
    }
    if core.is_stopping() {
        return Ok(());
    }
    timing.runs.take();
    timing.timers.borrow_mut().read_again();
    timing.is_damaged.set(false);
    timing.files.keep_only(&[]).await
}

async fn save<I: Io>(core: &Core<I>, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let text = written(checkpoint.begin_text()).await;
    // What it says to be delivered must be so after a power cut, too.
    core.store.durable_so_far().await?;
    core.store.save_text(FILE, text).await
}
