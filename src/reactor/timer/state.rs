//! What the timer service knows, and what of it is on disk.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::broker::timer::Timers;
use crate::io::{Io, Notify, select};
use crate::reactor::deliveries::Delivered;
use crate::store::{QueueIndex, StoreError, Timer, TimerKey, TimerRun, TimerRuns};

/// In config/.
pub(super) const FILE: &str = "timers.json";

/// Read from the runs at a time.
pub(super) const REFILL_ENTRIES: usize = 8192;

pub(super) struct Timing<I: Io> {
    pub timers: Rc<RefCell<Timers>>,
    pub files: TimerRuns<I>,
    pub runs: RefCell<Vec<Rc<TimerRun<I>>>>,
    /// Counts the changes of `runs`.
    pub generation: Cell<u64>,
    /// The next batch does not begin before the log is committed up to here.
    pub last_batch_end: Cell<u64>,
    pub queue: QueueIndex,
    /// Something is to be enqueued, or delivered.
    pub bell: Rc<Notify>,
    /// Something is to be saved.
    pub save: Notify,
    pub saved: Notify,
    /// The other task of the two saves.
    pub is_saving: Cell<bool>,
    /// There is the other task.
    pub is_kept: Cell<bool>,
    /// A run is not as it was written: nothing is delivered before all timers are read again.
    pub is_damaged: Cell<bool>,
    /// Where the log ended before anything was delivered.
    pub opened_at: u64,
    /// What was delivered after the checkpoint was saved.
    pub delivered: RefCell<Delivered>,
    /// Nothing is delivered any more.
    pub is_over: Cell<bool>,
}

/// Until the bell rings, or for so long.
pub(super) async fn wait<I: Io>(io: &I, bell: &Notify, ns: u64) {
    let until = io.now().mono_ns + ns;
    select(bell.notified(), io.sleep_until(until)).await;
}

/// The next timers of all runs from `from` on, some `count` of them, and where the next one would be, if there may be one.
pub(super) async fn merged<I: Io>(
    runs: &[Rc<TimerRun<I>>],
    from: TimerKey,
    count: usize,
) -> Result<(Vec<Timer>, Option<TimerKey>), StoreError> {
    let share = (count / runs.len().max(1)).max(64);
    let mut timers = Vec::new();
    let mut last: Option<TimerKey> = None;
    for run in runs {
        let index = run.seek(from).await?;
        let read = run.read(index, share).await?;
        let is_end = index + read.len() as u64 >= run.entries;
        if let Some(timer) = read.last()
            && !is_end
        {
            last = Some(last.map_or(timer.key(), |last| last.min(timer.key())));
        }
        timers.extend(read);
    }
    if let Some(last) = last {
        timers.retain(|timer| timer.key() <= last);
    }
    timers.sort_unstable();
    Ok((timers, last.map(|(at_ms, offset)| (at_ms, offset + 1))))
}
