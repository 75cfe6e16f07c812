//! The revive service: brings back what nobody acknowledged in time, and reads the revive log at the start.

use std::rc::Rc;

use tracing::{info, warn};

use super::super::shard::Shard;
use super::super::slices::in_slices;
use super::PopError;
use crate::broker::SendPlan;
use crate::broker::pop::{Expired, Place, normal_topic};
use crate::io::{Io, first, pause};
use crate::message::{Check, Record};
use crate::store::ReadError;

/// How long a check point whose messages cannot be read or written is left alone.
const RETRY_MS: u64 = 1_000;

/// The wall clock may be set while we sleep by the other one.
const LONGEST_SLEEP_MS: u64 = 1_000;

/// Records of the revive log read in one go.
const AT_A_TIME: usize = 256;

/// Makes the messages in flight, and the offsets that were not saved, from the revive log. Before the first request.
pub(in crate::reactor) async fn restore<I: Io>(shard: &Shard<I>) -> Result<(), ReadError> {
    let (topic, queues) = {
        let broker = shard.broker.borrow();
        let topic = broker.pops.revive_topic;
        let entry = broker.topics.find(topic);
        (topic, entry.map_or(1, |entry| entry.queues.len() as u32))
    };
    for revive_queue in 0..queues {
        let Some(queue) = shard.store.find_queue(topic, revive_queue) else {
            continue;
        };
        let tail = shard.broker.borrow().revive_tail(revive_queue);
        let mut offset = shard.broker.borrow().revive_start(revive_queue);
        loop {
            let records = shard.read_queue(queue, offset, AT_A_TIME, |_| true).await?;
            let Some(last) = records.last() else { break };
            offset = last.queue_offset + 1;
            for record in &records {
                let place = Place {
                    revive_queue,
                    offset: record.queue_offset,
                };
                replay(shard, place, &record.record, tail);
            }
        }
    }
    let in_flight = shard.broker.borrow().pops.in_flight.len();
    if in_flight > 0 {
        info!(in_flight, "check points of popped messages taken up");
    }
    Ok(())
}

fn replay<I: Io>(shard: &Shard<I>, place: Place, bytes: &[u8], tail: u64) {
    if bytes.is_empty() {
        return; // Its retention is over.
    }
    let mut broker = shard.broker.borrow_mut();
    let replayed = Record::decode(bytes, Check::Layout)
        .map_err(|error| error.to_string())
        .and_then(|record| {
            let replayed = broker.replay(place, &record, tail, shard.now_ms());
            replayed.map_err(|error| error.to_string())
        });
    if let Err(error) = replayed {
        warn!(?place, %error, "a record of the revive log cannot be read");
    }
}

impl<I: Io> Shard<I> {
    /// The timer has stored this. A RocketMQ that had the store before writes its revive log through the timer.
    pub(in crate::reactor) fn revive_log_grew(
        &self,
        plan: &SendPlan<'_>,
        offset: u64,
        record: &Record<'_>,
    ) {
        let mut broker = self.broker.borrow_mut();
        if *plan.topic != *broker.pops.revive_topic {
            return;
        }
        let place = Place {
            revive_queue: plan.queue_id,
            offset,
        };
        if let Err(error) = broker.replay(place, record, u64::MAX, self.now_ms()) {
            warn!(?place, %error, "a record of the revive log cannot be read");
        }
    }

    /// Notes how far a restart need not read the revive log; to be called before offsets are saved.
    pub(in crate::reactor) fn note_revive_offsets(&self) {
        let now_ms = self.now_ms();
        let mut broker = self.broker.borrow_mut();
        let topic = broker.pops.revive_topic;
        let entry = broker.topics.find(topic);
        for revive_queue in 0..entry.map_or(1, |entry| entry.queues.len() as u32) {
            if let Some(queue) = self.store.find_queue(topic, revive_queue) {
                let end = self.store.bounds(queue).next;
                broker.note_revive_offset(revive_queue, end, now_ms);
            }
        }
    }
}

pub(in crate::reactor) async fn run<I: Io>(shard: Rc<Shard<I>>) {
    while !shard.stopping.get() {
        bring_back_due(&shard).await;
        shard.carry_out_effects();
        wake_free_orders(&shard).await;
        let now = shard.io.now();
        let now_ms = now.unix_ms as u64;
        let next_ms = {
            let pops = &shard.broker.borrow().pops;
            let due = pops.in_flight.next_due_ms().into_iter();
            let next_ms = due.chain(pops.orders.next_free_ms()).min();
            let next_ms = next_ms.unwrap_or(u64::MAX).min(now_ms + LONGEST_SLEEP_MS);
            match shard.store.refuses() {
                Some(_) => now_ms + LONGEST_SLEEP_MS,
                None => next_ms,
            }
        };
        shard.pops.wakes_at_ms.set(next_ms);
        let sleep_ns = next_ms.saturating_sub(now_ms).max(1) * 1_000_000;
        let until = shard.io.sleep_until(now.mono_ns + sleep_ns);
        first(shard.pops.bell.notified(), until).await;
    }
}

/// Queues that are popped in order, and that are free again as their time is over.
async fn wake_free_orders<I: Io>(shard: &Rc<Shard<I>>) {
    in_slices(AT_A_TIME, || {
        let now_ms = shard.now_ms();
        let free = shard.broker.borrow_mut().pops.orders.take_free(now_ms);
        let Some((group, topic, queue_id)) = free else {
            return false;
        };
        shard.wake_freed(&group, &topic, queue_id);
        true
    })
    .await;
}

async fn bring_back_due<I: Io>(shard: &Rc<Shard<I>>) {
    let mut removed = 0;
    while !shard.stopping.get() && shard.store.refuses().is_none() {
        let now_ms = shard.now_ms();
        let expired = shard.broker.borrow().pops.in_flight.expired(now_ms);
        let Some(expired) = expired else { return };
        if !shard.broker.borrow().may_revive(&expired) {
            shard
                .broker
                .borrow_mut()
                .pops
                .in_flight
                .remove(expired.place);
            removed += 1;
            if removed % AT_A_TIME == 0 {
                pause().await;
            }
            continue;
        }
        if let Err(error) = bring_back(shard, &expired).await {
            warn!(
                topic = expired.topic, group = expired.group, queue_id = expired.queue_id, %error,
                "popped messages cannot be brought back yet"
            );
            let mut broker = shard.broker.borrow_mut();
            let again_ms = shard.now_ms() + RETRY_MS;
            broker.pops.in_flight.postpone(expired.place, again_ms);
        }
        if shard.broker.borrow().config.pop.limits_in_flight {
            shard.wake_freed(&expired.group, &expired.topic, expired.queue_id);
        }
    }
}

/// The messages go to the retry topic first, then the revive log says so: a crash in between brings them once more.
async fn bring_back<I: Io>(shard: &Rc<Shard<I>>, expired: &Expired) -> Result<(), PopError> {
    let mut settled = Vec::new();
    let mut result = Ok(());
    for offset in &expired.offsets {
        match bring_back_one(shard, expired, *offset).await {
            Ok(true) => settled.push(*offset),
            Ok(false) => {}
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    if !settled.is_empty() {
        let record = shard.broker.borrow().revived(expired, settled);
        shard.store.wait_for_room(record.log_bytes()).await;
        shard.append_revive(&record)?;
    }
    result
}

/// `false` if the message was acknowledged in the meantime.
async fn bring_back_one<I: Io>(
    shard: &Rc<Shard<I>>,
    expired: &Expired,
    offset: u64,
) -> Result<bool, PopError> {
    let bytes = read_message(shard, expired, offset).await?;
    if let Some(bytes) = &bytes {
        shard.store.wait_for_room(bytes.len() + 1024).await;
    }
    if !shard
        .broker
        .borrow()
        .pops
        .in_flight
        .is_open(expired.place, offset)
    {
        return Ok(false);
    }
    let record = bytes
        .as_deref()
        .map(|bytes| Record::decode(bytes, Check::Layout));
    match record {
        Some(Ok(record)) => {
            let now_ms = shard.now_ms();
            let plan = shard.broker.borrow_mut().revive(expired, &record, now_ms);
            shard.append(&plan, now_ms as i64)?;
            watch_retry(shard, expired, &plan.topic);
        }
        Some(Err(error)) => warn!(offset, %error, "a popped message cannot be decoded"),
        None => {} // Its retention is over.
    }
    let mut broker = shard.broker.borrow_mut();
    broker.pops.in_flight.settle(expired.place, offset);
    Ok(true)
}

async fn read_message<I: Io>(
    shard: &Shard<I>,
    expired: &Expired,
    offset: u64,
) -> Result<Option<Vec<u8>>, ReadError> {
    let Some(queue) = shard.store.find_queue(&expired.topic, expired.queue_id) else {
        return Ok(None);
    };
    let mut messages = shard.read_queue(queue, offset, 1, |_| true).await?;
    let message = messages.pop();
    let message = message.filter(|message| message.queue_offset == offset);
    Ok(message
        .map(|message| message.record)
        .filter(|record| !record.is_empty()))
}

/// Pops of the group may have begun to wait before there was a retry topic.
fn watch_retry<I: Io>(shard: &Shard<I>, expired: &Expired, retry_topic: &str) {
    let queue = shard.store.queue(retry_topic, 0);
    let topic = normal_topic(&expired.topic, &expired.group);
    let mut polls = shard.pops.polls.borrow_mut();
    if polls.watch(topic, &expired.group, queue) {
        shard.store.watch(queue, true);
    }
}
