//! The revive log: the records of what was popped and acknowledged. It is read at the start, so that messages in flight are still in flight.

use tracing::{info, warn};

use super::super::core::Core;
use super::super::own_queue::read_queue;
use crate::broker::SendPlan;
use crate::broker::pop::{Place, ReviveRecord};
use crate::io::Io;
use crate::message::{Check, Record};
use crate::store::{AppendError, ReadError};

/// Records read in one go.
const AT_A_TIME: usize = 256;

/// Makes the messages in flight, and the offsets that were not saved, from the revive log. Before the first request.
pub(in crate::reactor) async fn restore<I: Io>(core: &Core<I>) -> Result<(), ReadError> {
    let (topic, queues) = {
        let broker = core.broker.borrow();
        let topic = broker.pops().revive_topic();
        let entry = broker.topics().find(&topic);
        (topic, entry.map_or(1, |entry| entry.queues.len() as u32))
    };
    for revive_queue in 0..queues {
        let Some(queue) = core.store.find_queue(&topic, revive_queue) else {
            continue;
        };
        let tail = core.broker.borrow().revive_tail(revive_queue);
        let mut offset = core.broker.borrow().revive_start(revive_queue);
        loop {
            let records = read_queue(&core.store, queue, offset, AT_A_TIME, |_| true).await?;
            let Some(last) = records.last() else { break };
            offset = last.queue_offset + 1;
            for record in &records {
                let place = Place {
                    revive_queue,
                    offset: record.queue_offset,
                };
                replay_bytes(core, place, &record.record, tail);
            }
        }
    }
    let in_flight = core.broker.borrow().pops().in_flight().len();
    if in_flight > 0 {
        info!(in_flight, "check points of popped messages taken up");
    }
    Ok(())
}

fn replay_bytes<I: Io>(core: &Core<I>, place: Place, bytes: &[u8], tail: u64) {
    if bytes.is_empty() {
        return; // Its retention is over.
    }
    match Record::decode(bytes, Check::Layout) {
        Ok(record) => replay(core, place, &record, tail),
        Err(error) => warn!(?place, %error, "a record of the revive log cannot be read"),
    }
}

fn replay<I: Io>(core: &Core<I>, place: Place, record: &Record<'_>, tail: u64) {
    let mut broker = core.broker.borrow_mut();
    if let Err(error) = broker.replay(place, record, tail, core.now_ms()) {
        warn!(?place, %error, "a record of the revive log cannot be read");
    }
}

/// The timer has stored this record. A RocketMQ that had the store before writes its revive log through the timer.
pub(in crate::reactor) fn grew<I: Io>(
    core: &Core<I>,
    plan: &SendPlan<'_>,
    offset: u64,
    record: &Record<'_>,
) {
    if *plan.topic == *core.broker.borrow().pops().revive_topic() {
        let place = Place {
            revive_queue: plan.queue_id,
            offset,
        };
        replay(core, place, record, u64::MAX);
    }
}

/// Notes how far a restart need not read the revive log; to be called before offsets are saved. A slave has restored nothing from the log, and has
/// this offset from its master.
pub(in crate::reactor) fn note_offsets<I: Io>(core: &Core<I>) {
    if core.store.follows() {
        return;
    }
    let now_ms = core.now_ms();
    let mut broker = core.broker.borrow_mut();
    let topic = broker.pops().revive_topic();
    let entry = broker.topics().find(&topic);
    for revive_queue in 0..entry.map_or(1, |entry| entry.queues.len() as u32) {
        if let Some(queue) = core.store.find_queue(&topic, revive_queue) {
            let end = core.store.bounds(queue).next;
            broker.note_revive_offset(revive_queue, end, now_ms);
        }
    }
}

/// Appends a record: its end in the log, and where it is.
pub(super) fn append<I: Io>(
    core: &Core<I>,
    record: &ReviveRecord,
) -> Result<(u64, Place), AppendError> {
    let now_ms = core.io.now().unix_ms;
    let topic = core.broker.borrow().pops().revive_topic();
    let plan = record.plan(&topic, core.answers.store_host, now_ms);
    let queue = core.store.queue(&topic, plan.queue_id);
    let stored = core.append_message(&topic, queue, &plan.message(), plan.entry_code(), now_ms)?;
    let place = Place {
        revive_queue: plan.queue_id,
        offset: stored.queue_offset,
    };
    Ok((stored.end, place))
}
