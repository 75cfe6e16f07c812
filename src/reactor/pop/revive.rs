//! The revive service: a message that is not acknowledged in time is delivered again, through the retry topic of its group.

use std::rc::Rc;

use tracing::warn;

use super::super::effects;
use super::super::own_queue::read_queue;
use super::super::slices::{Turn, in_slices};
use super::{PopError, Pops, revive_log};
use crate::broker::pop::{Expired, normal_topic};
use crate::io::{Io, select};
use crate::message::{Check, Record};
use crate::store::ReadError;

/// How long a check point whose messages cannot be read or written is left alone.
const RETRY_MS: u64 = 1_000;

/// The wall clock may be set while we sleep by the other one.
const LONGEST_SLEEP_MS: u64 = 1_000;

/// What is looked at in one turn.
const AT_A_TIME: usize = 256;

/// Messages that are brought back in one turn. While they are in the log buffer nothing of this waits.
const BROUGHT_BACK_PER_TURN: usize = 16;

pub(super) async fn run<I: Io>(pops: Rc<Pops<I>>) {
    while !pops.core.is_stopping() {
        bring_back_due(&pops).await;
        effects::carry_out(&pops.core);
        wake_free_orders(&pops).await;
        let now = pops.core.io.now();
        let now_ms = now.unix_ms as u64;
        let next_ms = {
            let next_ms = pops.core.broker.borrow().pops().next_due_ms();
            let next_ms = next_ms.unwrap_or(u64::MAX).min(now_ms + LONGEST_SLEEP_MS);
            match pops.core.store.refuses() {
                Some(_) => now_ms + LONGEST_SLEEP_MS,
                None => next_ms,
            }
        };
        pops.wakes_at_ms.set(next_ms);
        let sleep_ns = next_ms.saturating_sub(now_ms).max(1) * 1_000_000;
        let until = pops.core.io.sleep_until(now.mono_ns + sleep_ns);
        select(pops.bell.notified(), until).await;
    }
}

/// Queues that are popped in order, and that are free again as their time is over.
async fn wake_free_orders<I: Io>(pops: &Rc<Pops<I>>) {
    in_slices(AT_A_TIME, || {
        let now_ms = pops.core.now_ms();
        let free = pops.core.broker.borrow_mut().take_free_order(now_ms);
        let Some((group, topic, queue_id)) = free else {
            return false;
        };
        pops.wake_freed(&group, &topic, queue_id);
        true
    })
    .await;
}

async fn bring_back_due<I: Io>(pops: &Rc<Pops<I>>) {
    let (mut dropping, mut bringing) = (Turn::of(AT_A_TIME), Turn::of(BROUGHT_BACK_PER_TURN));
    while !pops.core.is_stopping() && pops.core.store.refuses().is_none() {
        let now_ms = pops.core.now_ms();
        let expired = pops.core.broker.borrow().pops().in_flight().expired(now_ms);
        let Some(expired) = expired else { return };
        if !pops.core.broker.borrow().may_revive(&expired) {
            pops.core.broker.borrow_mut().drop_expired(&expired);
            dropping.spend(1).await;
            continue;
        }
        if let Err(error) = bring_back(pops, &expired).await {
            warn!(
                topic = expired.topic, group = expired.group, queue_id = expired.queue_id, %error,
                "popped messages cannot be brought back yet"
            );
            let mut broker = pops.core.broker.borrow_mut();
            let again_ms = pops.core.now_ms() + RETRY_MS;
            broker.postpone_expired(&expired, again_ms);
        }
        if pops.core.broker.borrow().config().pop.limits_in_flight {
            pops.wake_freed(&expired.group, &expired.topic, expired.queue_id);
        }
        bringing.spend(expired.offsets.len().max(1)).await;
    }
}

/// The messages are written to the retry topic first, then the revive log notes it: a crash in between brings them once more.
async fn bring_back<I: Io>(pops: &Rc<Pops<I>>, expired: &Expired) -> Result<(), PopError> {
    let mut settled = Vec::new();
    let mut result = Ok(());
    for offset in &expired.offsets {
        match bring_back_one(pops, expired, *offset).await {
            Ok(true) => settled.push(*offset),
            Ok(false) => {}
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    if !settled.is_empty() {
        let record = pops.core.broker.borrow().revived(expired, settled);
        pops.core.store.wait_for_room(record.log_bytes()).await;
        revive_log::append(&pops.core, &record)?;
    }
    result
}

/// `false` if the message was acknowledged in the meantime.
async fn bring_back_one<I: Io>(
    pops: &Rc<Pops<I>>,
    expired: &Expired,
    offset: u64,
) -> Result<bool, PopError> {
    let bytes = read_message(pops, expired, offset).await?;
    if let Some(bytes) = &bytes {
        pops.core.store.wait_for_room(bytes.len() + 1024).await;
    }
    if !pops
        .core
        .broker
        .borrow()
        .pops()
        .in_flight()
        .is_open(expired.place, offset)
    {
        return Ok(false);
    }
    let record = bytes
        .as_deref()
        .map(|bytes| Record::decode(bytes, Check::Layout));
    match record {
        Some(Ok(record)) => {
            let now_ms = pops.core.now_ms();
            let plan = pops
                .core
                .broker
                .borrow_mut()
                .revive(expired, &record, now_ms)?;
            pops.core.append(&plan, now_ms as i64)?;
            pops.core.broker.borrow_mut().revived_one(expired);
            watch_retry(pops, expired, &plan.topic);
        }
        Some(Err(error)) => warn!(offset, %error, "a popped message cannot be decoded"),
        None => {} // Its retention is over.
    }
    pops.core.broker.borrow_mut().brought_back(expired, offset);
    Ok(true)
}

async fn read_message<I: Io>(
    pops: &Pops<I>,
    expired: &Expired,
    offset: u64,
) -> Result<Option<Vec<u8>>, ReadError> {
    let Some(queue) = pops.core.store.find_queue(&expired.topic, expired.queue_id) else {
        return Ok(None);
    };
    let mut messages = read_queue(&pops.core.store, queue, offset, 1, |_| true).await?;
    let message = messages.pop();
    let message = message.filter(|message| message.queue_offset == offset);
    Ok(message
        .map(|message| message.record)
        .filter(|record| !record.is_empty()))
}

/// Pops of the group may have begun to wait before there was a retry topic.
fn watch_retry<I: Io>(pops: &Pops<I>, expired: &Expired, retry_topic: &str) {
    let queue = pops.core.store.queue(retry_topic, 0);
    let topic = normal_topic(&expired.topic, &expired.group);
    let mut polls = pops.polls.borrow_mut();
    if polls.watch(topic, &expired.group, queue) {
        pops.core.store.watch(queue, true);
    }
}
