//! The delay service: moves what is due from the queues of the schedule topic to where it belongs.
//!
//! Each level's queue is in the order of its deliver times, as all its messages wait equally long. One task sleeps until
//! the earliest head of a queue is due, or until a queue gets an entry. When much is due, the levels take turns, and what
//! one round has written is committed before the round after the next begins: sends find room in between.
//!
//! A start first skips what was delivered after the offsets were saved. Whether that is due does not count: the clock may have been
//! set back since.

use std::rc::Rc;

use tracing::warn;

use super::core::Core;
use super::deliveries::{self, Delivered};
use super::own_queue::{Queued, read_positions, read_queue};
use crate::broker::delay::{self, Due};
use crate::io::{Io, Notify, select, yield_now};
use crate::message::{Check, Record};
use crate::store::{QueueIndex, ReadError};

/// How long a level that cannot be read is left alone.
const RETRY_NS: u64 = 1_000_000_000;

/// Messages of one level read in one go.
const AT_A_TIME: usize = 256;

/// The wall clock may be set while we sleep by the other one.
const LONGEST_SLEEP_NS: u64 = 1_000_000_000;

/// A delay level, and its queue of the schedule topic.
#[derive(Clone, Copy)]
struct Level {
    level: i32,
    queue: QueueIndex,
    /// What had been delivered before the start has been skipped.
    is_passed: bool,
}

pub(super) async fn run<I: Io>(core: Rc<Core<I>>) {
    let arrived = Rc::new(Notify::default());
    let mut levels = levels(&core, &arrived);
    let mut last_round_end = 0;
    let mut delivered = delivered_before(&core).await;
    while !core.is_stopping() {
        let mut wait_ns = LONGEST_SLEEP_NS;
        if core.store.refuses().is_some() {
            // Nothing can be moved.
            core.io.sleep_until(core.io.now().mono_ns + RETRY_NS).await;
            continue;
        }
        for level in &mut levels {
            let next = deliver_due(&core, level, &delivered).await;
            let next = next.unwrap_or_else(|error| {
                warn!(level.level, %error, "delayed messages cannot be read");
                Next::Retry
            });
            if matches!(next, Next::More) {
                yield_now().await;
            }
            wait_ns = wait_ns.min(next.wait_ns());
        }
        if levels.iter().all(|level| level.is_passed) {
            core.broker.borrow_mut().delays_caught_up();
            delivered = Delivered::default();
        }
        if wait_ns == 0 {
            let before = std::mem::replace(&mut last_round_end, core.store.tail());
            if before > core.store.committed() {
                // If the log has failed, storing the next one returns the error.
                let _ = core.store.committed_beyond(before - 1).await;
            }
            yield_now().await;
            continue;
        }
        let until = core.io.now().mono_ns + wait_ns;
        select(arrived.notified(), core.io.sleep_until(until)).await;
    }
}

/// All levels. `arrived` is notified when a queue gets an entry.
fn levels<I: Io>(core: &Core<I>, arrived: &Rc<Notify>) -> Vec<Level> {
    let levels = core.broker.borrow().delays().levels();
    let levels = levels.map(|level| {
        let queue = core.store.queue(delay::SCHEDULE, (level - 1) as u32);
        core.queue_listeners
            .listen(&core.store, queue, arrived.clone());
        Level {
            level,
            queue,
            is_passed: false,
        }
    });
    levels.collect()
}

/// What was delivered after the offsets were saved. Nothing is delivered before that could be read.
async fn delivered_before<I: Io>(core: &Core<I>) -> Delivered {
    let known = core.broker.borrow().delays().known_position();
    while !core.is_stopping() {
        if core.store.refuses().is_none() {
            match deliveries::since(core, known).await {
                Ok(delivered) => return delivered,
                Err(error) => {
                    warn!(%error, "no delayed message is delivered until the log can be read");
                }
            }
        }
        core.io.sleep_until(core.io.now().mono_ns + RETRY_NS).await;
    }
    Delivered::default()
}

/// What a level has to do next.
enum Next {
    Nothing,
    /// A message is due in so many nanoseconds.
    In(u64),
    /// More may be due.
    More,
    /// What is due could not be read, or stored.
    Retry,
}

impl Next {
    fn wait_ns(&self) -> u64 {
        match self {
            Self::Nothing => LONGEST_SLEEP_NS,
            Self::In(ns) => *ns,
            Self::More => 0,
            Self::Retry => RETRY_NS,
        }
    }
}

/// The next entry of the level to look at.
fn next_offset<I: Io>(core: &Core<I>, level: &Level) -> u64 {
    let bounds = core.store.bounds(level.queue);
    core.broker.borrow().delays().offset(level.level, bounds)
}

/// Skips what was delivered before the start. A level delivers in the order of its queue: all before the last one were, too.
async fn pass_over<I: Io>(
    core: &Core<I>,
    level: &Level,
    delivered: &Delivered,
) -> Result<(), ReadError> {
    loop {
        let offset = next_offset(core, level);
        let positions = read_positions(&core.store, level.queue, offset, AT_A_TIME).await?;
        let last = positions.iter().rposition(|at| delivered.contains(*at));
        let Some(last) = last else { return Ok(()) };
        let next = offset + last as u64 + 1;
        core.broker
            .borrow_mut()
            .delays_delivered(level.level, next, core.now_ms());
        yield_now().await;
    }
}

/// Delivers some of what is due of one level.
async fn deliver_due<I: Io>(
    core: &Core<I>,
    level: &mut Level,
    delivered: &Delivered,
) -> Result<Next, ReadError> {
    if !level.is_passed {
        pass_over(core, level, delivered).await?;
        level.is_passed = true;
    }
    let (offset, Level { level, queue, .. }) = (next_offset(core, level), *level);
    let now_ms = core.now_ms();
    let mut next_at_ms = None;
    let is_due = |tags_code| match core.broker.borrow().delays().due(level, tags_code, now_ms) {
        Due::Now => true,
        Due::At(at_ms) => {
            next_at_ms = next_at_ms.or(Some(at_ms));
            false
        }
    };
    let due = read_queue(&core.store, queue, offset, AT_A_TIME, is_due).await?;
    if due.is_empty() {
        return Ok(next_at_ms.map_or(Next::Nothing, |at_ms| {
            Next::In((at_ms - now_ms).max(1) * 1_000_000)
        }));
    }
    for message in due {
        if !deliver(core, &message).await {
            return Ok(Next::Retry);
        }
        let mut broker = core.broker.borrow_mut();
        broker.delays_delivered(level, message.queue_offset + 1, now_ms);
    }
    Ok(Next::More)
}

/// `false` if the message could not be stored, and stays where it is.
async fn deliver<I: Io>(core: &Core<I>, message: &Queued) -> bool {
    if message.record.is_empty() {
        return true; // Its retention is over.
    }
    let physical_offset = message.physical_offset;
    let record = match Record::decode(&message.record, Check::Layout) {
        Ok(record) => record,
        Err(error) => {
            warn!(physical_offset, %error, "a delayed message cannot be delivered");
            return true;
        }
    };
    let Some(plan) = delay::deliver(&record) else {
        warn!(
            physical_offset,
            "a delayed message does not say where it belongs"
        );
        return true;
    };
    core.store.wait_for_room(message.record.len() + 1024).await;
    match core.append(&plan, core.io.now().unix_ms) {
        Ok((end, receipt)) => {
            let bytes = end - receipt.physical_offset;
            core.broker.borrow_mut().delay_moved(bytes, core.now_ms());
            true
        }
        Err(error) => {
            warn!(physical_offset, %error, "a delayed message cannot be stored yet");
            false
        }
    }
}
