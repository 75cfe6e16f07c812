//! The timer service: moves messages from the timer topic to where they belong when their own time has come.
//!
//! One task reads the timer topic's queue as it grows, and delivers what is due, in batches: a batch is written while the one
//! before it is being committed. A second one saves, once a second, how far that has come, and from time to time which
//! timers wait, so that neither the memory nor a restart has to hold all of them.

mod again;
mod following;
pub(super) mod running;
mod saving;
mod sorting;
mod state;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tracing::{error, warn};

use self::saving::{cover, keep, save};
use self::state::{FILE, REFILL_ENTRIES, Timing, merged, wait};
use super::answers::not_appended;
use super::core::Core;
use super::deliveries;
use super::own_queue::{Queued, read_queue};
use super::pop::revive_log;
use crate::broker::timer::{self, Checkpoint, TIMER, Timers};
use crate::io::{Io, Notify, yield_now};
use crate::message::{Check, Record};
use crate::store::{
    AppendError, Position, Store, StoreError, Timer, TimerKind, TimerRuns, load_timer_check,
};
use crate::wire::codes::response;

/// How long nothing is tried after something could not be read or stored.
const RETRY_NS: u64 = 1_000_000_000;

/// The wall clock may be set while we sleep by the other one.
const LONGEST_SLEEP_NS: u64 = 1_000_000_000;

/// A batch: what others of this core wait for at most.
const AT_A_TIME: usize = 256;
const MAX_BATCH_BYTES: usize = 256 << 10;

const DENSE_GAP_BYTES: u64 = 16 << 10;

/// Why timers are late.
#[derive(Debug, thiserror::Error)]
enum Late {
    #[error(transparent)]
    Read(#[from] StoreError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

pub(super) async fn run<I: Io>(core: Rc<Core<I>>) {
    if !core.setup.broker.timer_wheel {
        return;
    }
    let follows = core.store.follows();
    let timing = loop {
        match open(&core, follows).await {
            Ok(timing) => break Rc::new(timing),
            Err(error) if error.is_damage_of_timers() => {
                error!(%error, "all timers are read again");
                match again::forget_runs(&core).await {
                    Ok(()) => continue,
                    Err(error) => {
                        error!(%error, "no timed message is delivered until this is saved")
                    }
                }
            }
            Err(error) => error!(%error, "no timed message is delivered until this can be read"),
        }
        core.io.sleep_until(core.io.now().mono_ns + RETRY_NS).await;
        if core.is_stopping() {
            return;
        }
    };
    core.queue_listeners
        .listen(&core.store, timing.queue, timing.bell.clone());
    core.timers
        .begin(timing.timers.clone(), timing.bell.clone());
    timing.is_kept.set(true);
    core.io
        .spawn("timer-keeper", keep(core.clone(), timing.clone()));
    match follows {
        true => following::follow(&core, &timing).await,
        false => deliver_all(&core, &timing).await,
    }
    timing.is_over.set(true);
    timing.save.notify();
}

/// Until the shard stops.
async fn deliver_all<I: Io>(core: &Core<I>, timing: &Timing<I>) {
    while !core.is_stopping() {
        if core.store.refuses().is_some() {
            // Nothing can be delivered, until there is space or the next start.
            wait(&core.io, &timing.bell, RETRY_NS).await;
            continue;
        }
        if timing.is_damaged.get() {
            again::read_again(core, timing).await;
            continue;
        }
        let wait_ns = match turn(core, timing).await {
            Err(Late::Read(error)) if error.is_damage_of_timers() => {
                timing.found_damaged(&error);
                continue;
            }
            Ok(next_ms) => wait_until(core, next_ms),
            Err(error) => {
                warn!(%error, "timed messages are late");
                RETRY_NS
            }
        };
        wait(&core.io, &timing.bell, wait_ns).await;
    }
}

fn wait_until<I: Io>(core: &Core<I>, next_ms: Option<u64>) -> u64 {
    let ms = next_ms.map(|at_ms| at_ms.saturating_sub(core.now_ms()).max(1));
    let ns = ms.map(|ms| ms.saturating_mul(1_000_000));
    ns.unwrap_or(LONGEST_SLEEP_NS).min(LONGEST_SLEEP_NS)
}

/// With what is known of the runs; and everything behind them enqueued, if that was decided by another window.
async fn open<I: Io>(core: &Core<I>, follows: bool) -> Result<Timing<I>, StoreError> {
    let config = &core.setup.broker;
    let files = TimerRuns::new(core.store.medium().clone(), &core.setup.store.dir);
    let checkpoint = load_checkpoint(core).await?;
    let names: Vec<_> = checkpoint.runs.iter().map(|run| &*run.name).collect();
    files.keep_only(&names).await?;
    let mut runs = Vec::new();
    for run in &checkpoint.runs {
        runs.push(Rc::new(files.open(&run.name, run.entries).await?));
    }
    let known_position = checkpoint.known_position.get();
    let is_other_window = checkpoint.roll_window_ms != config.timer_roll_window_ms;
    let timers = match follows {
        true => Timers::following(checkpoint, config.timer_memory_entries),
        false => Timers::new(checkpoint, config.timer_memory_entries),
    };
    let timing = Timing {
        timers: Rc::new(RefCell::new(timers)),
        files,
        runs: RefCell::new(runs),
        generation: Cell::new(0),
        last_batch_end: Cell::new(0),
        queue: core.store.queue(TIMER, 0),
        bell: Rc::default(),
        save: Notify::default(),
        saved: Notify::default(),
        is_saving: Cell::new(false),
        is_kept: Cell::new(false),
        is_damaged: Cell::new(false),
        opened_at: core.store.tail(),
        delivered: RefCell::default(),
        is_over: Cell::new(false),
    };
    if mutant!(TimersLost) {
        let end = core.store.bounds(timing.queue).max;
        timing.timers.borrow_mut().skip_to(end);
    }
    if !follows {
        let delivered = deliveries::since(core, known_position).await?;
        timing.delivered.replace(delivered);
    }
    if is_other_window && !follows {
        enqueue(core, &timing).await?;
        cover(core, &timing).await?;
        let min = core.store.bounds(timing.queue).min;
        timing
            .timers
            .borrow_mut()
            .use_roll_window(config.timer_roll_window_ms, min);
        save(core, &timing).await?;
    }
    Ok(timing)
}

/// Ours, and what RocketMQ has delivered if it had the store since.
async fn load_checkpoint<I: Io>(core: &Core<I>) -> Result<Checkpoint, StoreError> {
    let mut checkpoint = Checkpoint {
        roll_window_ms: core.setup.broker.timer_roll_window_ms,
        ..Checkpoint::default()
    };
    if let Some(text) = core.store.load_text(FILE).await? {
        match Checkpoint::decode(&text) {
            Ok(ours) => checkpoint = ours,
            Err(error) => warn!(file = FILE, %error, "cannot be read; starting without it"),
        }
    }
    let theirs = load_timer_check(core.store.medium(), &core.setup.store.dir).await?;
    if let Some(theirs) = theirs {
        checkpoint.delivered_elsewhere(theirs.read_ms, theirs.offset);
    }
    Ok(checkpoint)
}

/// Before the first message: what is saved of the timers may refer to what was cut off the log.
pub(super) async fn clamp_to_ends<I: Io>(store: &Store<I>) -> Result<(), StoreError> {
    let saved = store.load_text(FILE).await?;
    let saved = saved.and_then(|text| Checkpoint::decode(&text).ok());
    let queue = store.find_queue(TIMER, 0);
    let end = queue.map_or(0, |queue| store.bounds(queue).max);
    let Some(mut saved) = saved else {
        return Ok(());
    };
    if saved.clamp_to_ends(end, store.tail()) {
        warn!(
            end,
            "timed messages were cut off the log: all are read again"
        );
        store.save_text(FILE, saved.encode()).await?;
    }
    Ok(())
}

/// Takes in what is new and delivers what is due; when something is to be done next.
async fn turn<I: Io>(core: &Core<I>, timing: &Timing<I>) -> Result<Option<u64>, Late> {
    let mut batch = Vec::new();
    loop {
        enqueue(core, timing).await?;
        if is_interrupted(core, timing) {
            // What is enqueued only in part settles nothing.
            return Ok(None);
        }
        refill(core, timing).await?;
        let bounds = core.store.bounds(timing.queue);
        // No recall of what is due now is granted from here on. One that was granted before counts, whether it has been answered or not: a start reads it,
        // too. So what becomes due while this waits is not delivered yet.
        let mut now_ms = core.now_ms();
        if bounds.next > bounds.max && timing.timers.borrow().is_due(now_ms) {
            core.store.committed_so_far().await?;
            enqueue(core, timing).await?;
            if is_interrupted(core, timing) {
                return Ok(None);
            }
            // The clock may have been set back.
            now_ms = now_ms.min(core.now_ms());
        }
        let is_all =
            timing
                .timers
                .borrow_mut()
                .take_due(now_ms, AT_A_TIME, MAX_BATCH_BYTES, &mut batch);
        if batch.is_empty() && !is_all {
            yield_now().await;
            continue;
        }
        if batch.is_empty() {
            let mut timers = timing.timers.borrow_mut();
            timers.settle();
            if timing.delivered.borrow_mut().are_over(now_ms) {
                timers.all_delivered_before(core.store.tail());
            }
            return Ok(timers.next_ms());
        }
        let done = deliver_batch(core, timing, &mut batch).await;
        {
            let mut timers = timing.timers.borrow_mut();
            timers.put_back(batch.drain(..));
            timers.settle();
        }
        done?;
        if core.is_stopping() {
            return Ok(None);
        }
        // Of what was recalled or delivered before nothing is appended, and nothing above waits.
        yield_now().await;
    }
}

fn is_interrupted<I: Io>(core: &Core<I>, timing: &Timing<I>) -> bool {
    core.is_stopping() || timing.is_damaged.get()
}

/// Reads the timer topic's queue up to its end of now.
async fn enqueue<I: Io>(core: &Core<I>, timing: &Timing<I>) -> Result<(), StoreError> {
    let end = core.store.bounds(timing.queue).max;
    enqueue_before(core, timing, end).await
}

/// The same up to an offset that is not behind the queue's end.
async fn enqueue_before<I: Io>(
    core: &Core<I>,
    timing: &Timing<I>,
    end: u64,
) -> Result<(), StoreError> {
    let enqueued = timing.timers.borrow().enqueued_offset();
    if enqueued > core.store.bounds(timing.queue).max {
        warn!(
            enqueued,
            end, "the timer topic ends before what was delivered of it"
        );
        timing.timers.borrow_mut().skip_to(end);
    }
    loop {
        let offset = timing.timers.borrow().enqueued_offset();
        if offset >= end || is_interrupted(core, timing) {
            return Ok(());
        }
        while timing.timers.borrow().is_full() && !is_interrupted(core, timing) {
            if !timing.is_kept.get() {
                cover(core, timing).await?;
                continue;
            }
            timing.save.notify();
            timing.saved.notified().await;
        }
        let messages = read_queue(&core.store, timing.queue, offset, AT_A_TIME, |_| true).await?;
        take_in(core, timing, messages, end);
        yield_now().await;
    }
}

fn take_in<I: Io>(core: &Core<I>, timing: &Timing<I>, messages: Vec<Queued>, end: u64) {
    let now_ms = core.now_ms();
    let mut timers = timing.timers.borrow_mut();
    let mut broker = core.broker.borrow_mut();
    if messages.is_empty() {
        timers.skip_to(end);
    }
    for message in messages {
        let (offset, physical_offset) = (message.queue_offset, message.physical_offset);
        let is_taken = Record::decode(&message.record, Check::Layout).is_ok_and(|record| {
            let delay_ms = timer::requested_delay_ms(&record);
            if let Some((topic, delay_ms)) = timer::real_topic(&record).zip(delay_ms) {
                broker.timer_enqueued(topic, delay_ms);
            }
            timers.enqueue(offset, &record, now_ms)
        });
        if !is_taken {
            warn!(
                physical_offset,
                "a timed message does not say when it is due"
            );
            timers.skip_to(offset + 1);
        }
    }
    timers.place_some();
}

/// Reads from the runs what will be due soon.
async fn refill<I: Io>(core: &Core<I>, timing: &Timing<I>) -> Result<(), StoreError> {
    loop {
        let from = timing.timers.borrow().refill_from(core.now_ms());
        let Some(from) = from else { return Ok(()) };
        let generation = timing.generation.get();
        let runs = timing.runs.borrow().clone();
        let (timers, horizon) = merged(&runs, from, REFILL_ENTRIES).await?;
        if timing.generation.get() == generation {
            timing.timers.borrow_mut().refill(timers, horizon);
        }
        yield_now().await;
    }
}

/// Delivers what is in `batch`; what could not be delivered stays there.
async fn deliver_batch<I: Io>(
    core: &Core<I>,
    timing: &Timing<I>,
    batch: &mut Vec<Timer>,
) -> Result<(), Late> {
    let mut records = Vec::with_capacity(batch.len());
    let is_dense = is_dense(batch);
    for timer in &*batch {
        let position = Position::new(timer.physical_offset, timer.size);
        records.push(match is_dense {
            true => core.store.record_at(position.physical_offset).await?,
            false => core.store.record_alone(&position).await?,
        });
    }
    let before = timing.last_batch_end.get();
    if before > core.store.committed() {
        core.store.committed_beyond(before - 1).await?;
    }
    let (mut done, mut result) = (0, Ok(()));
    for (timer, record) in batch.iter().zip(&records) {
        result = deliver(core, timing, timer, record.as_deref()).await;
        if result.is_err() {
            break;
        }
        done += 1;
    }
    batch.drain(..done);
    result
}

/// Whether the messages stand so near to each other that reading the log in large blocks is worth it.
fn is_dense(batch: &[Timer]) -> bool {
    let offsets = batch.iter().map(|timer| timer.physical_offset);
    let span = offsets.clone().max().unwrap_or(0) - offsets.min().unwrap_or(0);
    span / (batch.len() as u64).max(1) < DENSE_GAP_BYTES
}

async fn deliver<I: Io>(
    core: &Core<I>,
    timing: &Timing<I>,
    timer: &Timer,
    bytes: Option<&[u8]>,
) -> Result<(), Late> {
    // A crash may leave a file of the log whose messages the queue has lost already. Of those none counts: a recall that the
    // queue no longer has stands behind what it takes back.
    let min = core.store.bounds(timing.queue).min;
    let is_kept = |record: &Record<'_>| record.topic == TIMER && record.queue_offset >= min;
    let record = bytes.and_then(|bytes| Record::decode(bytes, Check::Layout).ok());
    let Some(record) = record.filter(is_kept) else {
        return Ok(()); // Its retention is over.
    };
    let now_ms = core.now_ms();
    let plan = match timer.kind {
        TimerKind::Recall => {
            timing.timers.borrow_mut().recall(&record);
            return Ok(());
        }
        _ if timing.delivered.borrow().contains(timer.physical_offset) => {
            timing.timers.borrow_mut().delivered(&record, now_ms);
            return Ok(());
        }
        TimerKind::Deliver if timing.timers.borrow().is_recalled(&record) => {
            timing.timers.borrow_mut().delivered(&record, now_ms);
            return Ok(());
        }
        TimerKind::Deliver => timer::deliver(&record, now_ms),
        TimerKind::Roll => Some(timer::roll(&record, now_ms)),
    };
    let physical_offset = timer.physical_offset;
    let Some(plan) = plan else {
        warn!(
            physical_offset,
            "a timed message does not say where it belongs"
        );
        return Ok(());
    };
    core.store
        .wait_for_room(record.total_size as usize + 1024)
        .await;
    match core.append_one(&plan, core.io.now().unix_ms) {
        Ok(stored) => {
            timing.last_batch_end.set(stored.end);
            revive_log::grew(core, &plan, stored.queue_offset, &record);
            let topic = timer::real_topic(&record).unwrap_or(&plan.topic);
            core.broker.borrow_mut().timer_delivered(topic);
        }
        Err(error) if not_appended(&error).code == response::MESSAGE_ILLEGAL => {
            warn!(physical_offset, %error, "a timed message cannot be delivered");
        }
        Err(error) => return Err(error.into()),
    }
    timing.timers.borrow_mut().delivered(&record, now_ms);
    Ok(())
}
