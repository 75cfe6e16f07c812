//! The delay service: moves what is due from the queues of the schedule topic to where it belongs.
//!
//! Each level's queue is in the order of its deliver times, as all its messages wait equally long. One task sleeps until
//! the earliest head of a queue is due, or until a queue gets an entry.

use std::rc::Rc;

use tracing::warn;

use super::shard::Shard;
use crate::broker::delay::{self, Due};
use crate::io::Io;
use crate::io::first;
use crate::message::{Check, Record};
use crate::store::{QueueIndex, ReadError, Scan, ScanLimits};

/// How long a level that cannot be read is left alone.
const RETRY_NS: u64 = 1_000_000_000;

/// The wall clock may be set while we sleep by the other one.
const LONGEST_SLEEP_NS: u64 = 1_000_000_000;

pub(super) async fn run<I: Io>(shard: Rc<Shard<I>>) {
    let levels: Vec<i32> = shard.broker.borrow().delays.levels().collect();
    while !shard.stopping.get() {
        let mut wait_ns = LONGEST_SLEEP_NS;
        for (level, queue) in levels.iter().zip(&shard.delay_queues) {
            let next = match deliver_due(&shard, *level, *queue).await {
                Ok(next) => next,
                Err(error) => {
                    warn!(level, %error, "delayed messages cannot be read");
                    Some(RETRY_NS)
                }
            };
            wait_ns = wait_ns.min(next.unwrap_or(LONGEST_SLEEP_NS));
        }
        let until = shard.io.now().mono_ns + wait_ns;
        first(shard.delayed.notified(), shard.io.sleep_until(until)).await;
    }
}

/// Delivers what is due of one level; how long until the next message is, if there is one.
async fn deliver_due<I: Io>(
    shard: &Shard<I>,
    level: i32,
    queue: QueueIndex,
) -> Result<Option<u64>, ReadError> {
    let mut positions = Vec::new();
    loop {
        let bounds = shard.store.bounds(queue);
        let offset = shard.broker.borrow().delays.offset(level, bounds);
        if offset >= bounds.max {
            return Ok(None);
        }
        positions.clear();
        let mut deliver_time_ms = 0;
        let limits = ScanLimits {
            max_messages: 1,
            max_bytes: usize::MAX,
            max_entries: 1,
        };
        let filter = |tags_code| {
            deliver_time_ms = tags_code;
            true
        };
        let scan = shard
            .store
            .scan_cold(queue, offset, &limits, filter, &mut positions)
            .await?;
        let (Scan::Found { next_offset } | Scan::NoneMatched { next_offset }) = scan else {
            return Ok(None);
        };
        let now_ms = shard.io.now().unix_ms;
        if let Due::At(at_ms) =
            shard
                .broker
                .borrow()
                .delays
                .due(level, deliver_time_ms, now_ms as u64)
        {
            return Ok(Some((at_ms - now_ms as u64).max(1) * 1_000_000));
        }
        if let Some(position) = positions.first()
            && !deliver(shard, position.physical_offset).await?
        {
            return Ok(Some(RETRY_NS));
        }
        let mut broker = shard.broker.borrow_mut();
        broker.delays.advance(level, next_offset, now_ms as u64);
    }
}

/// `false` if the message could not be stored, and stays where it is.
async fn deliver<I: Io>(shard: &Shard<I>, physical_offset: u64) -> Result<bool, ReadError> {
    let Some(bytes) = shard.store.record_at(physical_offset).await? else {
        return Ok(true); // Its retention is over.
    };
    let record = match Record::decode(&bytes, Check::Layout) {
        Ok(record) => record,
        Err(error) => {
            warn!(physical_offset, %error, "a delayed message cannot be delivered");
            return Ok(true);
        }
    };
    let Some(plan) = delay::deliver(&record) else {
        warn!(
            physical_offset,
            "a delayed message does not say where it belongs"
        );
        return Ok(true);
    };
    shard.store.wait_for_room(bytes.len() + 1024).await;
    match shard.append(&plan, shard.io.now().unix_ms) {
        Ok(_) => Ok(true),
        Err(error) => {
            warn!(physical_offset, %error, "a delayed message cannot be stored yet");
            Ok(false)
        }
    }
}
