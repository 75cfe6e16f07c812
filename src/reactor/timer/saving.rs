//! Saving: how far timed messages have been delivered, and from time to time which timers wait.
//!
//! A million timers may wait. They are copied, read, sorted and merged in slices: other tasks run in between.

use std::rc::Rc;

use tracing::error;

use super::sorting::{SLICE, sorted};
use super::state::{FILE, REFILL_ENTRIES, Timing, merged, wait};
use crate::broker::timer::{CheckpointText, RunName, Uncovered};
use crate::io::{Io, yield_now};
use crate::reactor::core::Core;
use crate::reactor::own_queue::read_queue;
use crate::store::{Position, StoreError, Timer, TimerCheck, TimerKey, TimerLog, TimerRun};

/// How often it is saved what has been delivered; a crash delivers again what was since.
const SAVE_INTERVAL_NS: u64 = 1_000_000_000;

/// Saves for as long as something is delivered, and once more.
pub(super) async fn keep<I: Io>(core: Rc<Core<I>>, timing: Rc<Timing<I>>) {
    loop {
        wait(&core.io, &timing.save, SAVE_INTERVAL_NS).await;
        let is_last = timing.is_over.get();
        timing.is_saving.set(true);
        let done = save_due(&core, &timing, is_last).await;
        timing.is_saving.set(false);
        if let Err(error) = done {
            if error.is_damage_of_timers() {
                timing.found_damaged(&error);
            } else if core.store.fence().is_none() {
                error!(%error, "the timers cannot be saved; tried again");
            }
            timing.timers.borrow_mut().set_dirty();
        }
        timing.saved.notify();
        if is_last {
            let is_end_of_shard = !core.orders.is_asked();
            if is_end_of_shard && let Err(error) = leave_to_rocketmq(&core, &timing).await {
                error!(%error, "RocketMQ, given this store, would deliver timed messages again");
            }
            return core.timers.end();
        }
    }
}

async fn save_due<I: Io>(
    core: &Core<I>,
    timing: &Timing<I>,
    is_last: bool,
) -> Result<(), StoreError> {
    // The task that delivers saves that it reads everything again.
    if timing.is_damaged.get() && !is_last {
        return Ok(());
    }
    let due = timing.timers.borrow_mut().take_dirty();
    match due {
        Some(true) if !timing.is_damaged.get() => cover(core, timing).await,
        Some(_) => save(core, timing).await,
        None => Ok(()),
    }
}

/// Writes what waits as RocketMQ keeps it, so that it can have the store.
async fn leave_to_rocketmq<I: Io>(core: &Core<I>, timing: &Timing<I>) -> Result<(), StoreError> {
    cover(core, timing).await?;
    let checkpoint = timing.timers.borrow().checkpoint().clone();
    let (medium, dir) = (core.store.medium(), &core.setup.store.dir);
    let mut log = TimerLog::begin(medium, dir, core.now_ms()).await?;
    let runs = timing.runs.borrow().clone();
    let mut from = Some(checkpoint.first_key());
    while let Some(key) = from {
        let (mut timers, next) = merged(&runs, key, REFILL_ENTRIES).await?;
        timers.retain(|timer| !checkpoint.is_over(timer));
        log.append(&timers).await?;
        from = next;
        yield_now().await;
    }
    let newest = match checkpoint.covered_offset {
        0 => Vec::new(),
        end => read_queue(&core.store, timing.queue, end - 1, 1, |_| true).await?,
    };
    let newest = newest
        .first()
        .map(|message| Position::new(message.physical_offset, message.record.len() as u32));
    let check = TimerCheck {
        read_ms: checkpoint.all_over_ms(),
        offset: checkpoint.covered_offset,
    };
    log.finish(newest, check).await
}

pub(super) async fn save<I: Io>(core: &Core<I>, timing: &Timing<I>) -> Result<(), StoreError> {
    let text = timing.timers.borrow().checkpoint().begin_text();
    let text = written(text).await;
    // What it says to be delivered must be so after a power cut, too.
    core.store.durable_so_far().await?;
    core.store.save_text(FILE, text).await
}

/// The whole text, a slice of its rows in each turn.
pub(super) async fn written(mut text: CheckpointText) -> String {
    while text.write_some() {
        yield_now().await;
    }
    text.into_string()
}

/// Writes everything that is in no run yet into one.
pub(super) async fn cover<I: Io>(core: &Core<I>, timing: &Timing<I>) -> Result<(), StoreError> {
    let mut uncovered = timing.timers.borrow().uncovered();
    let copy = |uncovered: &mut Uncovered| {
        let timers = timing.timers.borrow();
        timers.copy_uncovered(uncovered, SLICE)
    };
    while copy(&mut uncovered) {
        yield_now().await;
    }
    let mut checkpoint = timing.timers.borrow().checkpoint().clone();
    let (mut kept, gone) = merge_small(timing, &mut uncovered, checkpoint.first_key()).await?;
    if !uncovered.timers.is_empty() {
        let name = new_name(&timing.runs.borrow(), uncovered.offset);
        let run = timing.files.write(&name, &uncovered.timers).await?;
        kept.push(Rc::new(run));
    }
    let name_of = |run: &Rc<TimerRun<I>>| RunName {
        name: run.name.clone(),
        entries: run.entries,
    };
    checkpoint.covered_offset = uncovered.offset;
    checkpoint.covered_position = uncovered.position;
    checkpoint.runs = kept.iter().map(name_of).collect();
    core.store.durable_so_far().await?;
    let text = written(checkpoint.begin_text()).await;
    core.store.save_text(FILE, text).await?;
    timing.generation.set(timing.generation.get() + 1);
    timing.runs.replace(kept);
    timing
        .timers
        .borrow_mut()
        .covered(&uncovered, checkpoint.runs, core.now_ms());
    for run in gone {
        timing.files.remove(&run.name).await?;
    }
    Ok(())
}

/// Not that of a run which is there, also where nothing has come since it was written: until the checkpoint says otherwise
/// that one counts.
fn new_name<I: Io>(runs: &[Rc<TimerRun<I>>], offset: u64) -> String {
    let names = (0..).map(|nth| match nth {
        0 => format!("{offset:020}"),
        nth => format!("{offset:020}-{nth}"),
    });
    let mut free = names.filter(|name| runs.iter().all(|run| run.name != *name));
    free.next().expect("there are more names than runs")
}

type Runs<I> = Vec<Rc<TimerRun<I>>>;

/// The runs that stay, and those that do not: because nothing of them is left, or little, which is moved to `uncovered`.
async fn merge_small<I: Io>(
    timing: &Timing<I>,
    uncovered: &mut Uncovered,
    first: TimerKey,
) -> Result<(Runs<I>, Runs<I>), StoreError> {
    let runs = timing.runs.borrow().clone();
    let fresh = timing.timers.borrow().fresh_entries() as u64;
    let (mut kept, mut gone, mut merged) = (Vec::new(), Vec::new(), 0);
    for run in runs {
        let index = run.seek(first).await?;
        let left = run.entries - index;
        if left > fresh / 2 || merged + left > 4 * fresh {
            kept.push(run);
            continue;
        }
        merged += left;
        read_rest(&run, index, &mut uncovered.timers).await?;
        gone.push(run);
    }
    uncovered.timers = sorted(std::mem::take(&mut uncovered.timers)).await;
    Ok((kept, gone))
}

/// Reads everything from `index` on.
async fn read_rest<I: Io>(
    run: &TimerRun<I>,
    mut index: u64,
    into: &mut Vec<Timer>,
) -> Result<(), StoreError> {
    while index < run.entries {
        let read = run.read(index, SLICE).await?;
        if read.is_empty() {
            break;
        }
        index += read.len() as u64;
        into.extend(read);
        yield_now().await;
    }
    Ok(())
}
