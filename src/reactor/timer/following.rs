//! The timers of a slave. Its master delivers; the slave reads the same queue as far as the master has, and saves which timers wait
//! and which are over, so that it goes on where the master was when it becomes master itself (RocketMQ: `TimerMessageStore` with
//! `SlaveSynchronize.syncTimerCheckPoint`).

use tracing::warn;

use super::again::read_again;
use super::state::{Timing, wait};
use super::{RETRY_NS, enqueue_before};
use crate::io::Io;
use crate::reactor::core::Core;

/// Until the shard stops.
pub(super) async fn follow<I: Io>(core: &Core<I>, timing: &Timing<I>) {
    while !core.is_stopping() {
        if timing.is_damaged.get() {
            read_again(core, timing).await;
            continue;
        }
        let Some(master) = core.timers.take_master() else {
            wait(&core.io, &timing.bell, RETRY_NS).await;
            continue;
        };
        timing.timers.borrow_mut().follow(&master);
        let end = core.store.bounds(timing.queue).max;
        let followed = enqueue_before(core, timing, end.min(master.delivered_offset)).await;
        if let Err(error) = followed {
            warn!(%error, "the timers do not follow the master; trying again");
        }
    }
}
