//! Transactions: the requests that end them (`end.rs`), and the rounds over the half queue.
//!
//! A round looks at every half message whose end is not known. Copies are written and committed before their producers
//! are asked, as the answers name them by their place.

mod end;

use std::ops::ControlFlow;
use std::rc::Rc;

use tracing::warn;

use super::core::Core;
use super::effects;
use super::own_queue::{Queued, read_queue};
use crate::broker::ConnId;
use crate::broker::transaction::{self, HalfOffset, Verdict};
use crate::io::{self, Io};
use crate::message::ids::offset_message_id;
use crate::message::{Check, Record};
use crate::store::{QueueIndex, StoreError};
use crate::wire::codes::request;
use crate::wire::transaction::CheckTransactionState;
use crate::wire::{Codec, Head, frame};

/// Messages read in one go.
const AT_A_TIME: u64 = 32;

/// What a copy may have more than its half message, with room for an op record.
const AROUND_BYTES: usize = 16 << 10;

/// How long op records that cannot be read are left alone.
const RETRY_NS: u64 = 1_000_000_000;

/// A producer that is to be asked once the copy is committed.
struct Question {
    conns: Vec<ConnId>,
    unique_key: Option<String>,
    half_queue_offset: u64,
    half_physical_offset: u64,
    record: Vec<u8>,
}

pub(super) struct Transactions<I: Io> {
    core: Rc<Core<I>>,
}

impl<I: Io> Transactions<I> {
    pub(super) fn new(core: Rc<Core<I>>) -> Rc<Self> {
        Rc::new(Transactions { core })
    }
}

pub(super) async fn run<I: Io>(core: Rc<Core<I>>) {
    let half = core.store.queue(transaction::HALF, transaction::QUEUE_ID);
    let op = core
        .store
        .queue(transaction::OP_HALF, transaction::QUEUE_ID);
    while let Err(error) = load(&core, half, op).await {
        warn!(%error, "the ends of transactions cannot be read");
        pause(&core, RETRY_NS).await;
        if core.is_stopping() {
            return;
        }
    }
    loop {
        let interval_ms = core.broker.borrow().config().transaction_check_interval_ms;
        let interval_ns = interval_ms * 1_000_000;
        pause(&core, interval_ns).await;
        if core.is_stopping() {
            return;
        }
        if core.store.refuses().is_none()
            && let Err(error) = round(&core, half).await
        {
            warn!(%error, "half messages cannot be read or asked about; tried again next time");
        }
        forget_ended(&core).await;
        effects::carry_out(&core);
    }
}

/// What was decided before this is not asked for again. Millions may have ended since the last time.
async fn forget_ended<I: Io>(core: &Core<I>) {
    let mut next = Some(0);
    while let Some(from) = next {
        let now_ms = core.now_ms();
        next = core.broker.borrow_mut().forget_ended_halves(from, now_ms);
        io::yield_now().await;
    }
}

/// Takes in what had ended before the start.
async fn load<I: Io>(core: &Core<I>, half: QueueIndex, op: QueueIndex) -> Result<(), StoreError> {
    let op_bounds = core.store.bounds(op);
    let mut next = {
        let half_bounds = core.store.bounds(half);
        let mut broker = core.broker.borrow_mut();
        broker.start_transactions(half_bounds, op_bounds)
    };
    while next < op_bounds.max {
        let count = AT_A_TIME.min(op_bounds.max - next) as usize;
        let ops = read_queue(&core.store, op, next, count, |_| true).await?;
        let Some(last) = ops.last() else { break };
        next = last.queue_offset + 1;
        load_ops(core, &ops);
        io::yield_now().await;
    }
    Ok(())
}

fn load_ops<I: Io>(core: &Core<I>, ops: &[Queued]) {
    let mut broker = core.broker.borrow_mut();
    for message in ops {
        let body = match Record::decode(&message.record, Check::Layout) {
            Ok(record) => record.body,
            Err(_) => &[], // Its retention is over, and that of what it refers to.
        };
        broker.load_op(message.queue_offset, body);
    }
}

/// Looks once at all that waits now.
async fn round<I: Io>(core: &Core<I>, queue: QueueIndex) -> Result<(), StoreError> {
    let end = core.store.bounds(queue).max;
    while !core.is_stopping() {
        let min = core.store.bounds(queue).min;
        let open = {
            let mut broker = core.broker.borrow_mut();
            broker.next_open_halves(min, end, AT_A_TIME)
        };
        let Some(open) = open else { break };
        let count = (open.end - open.start) as usize;
        let halves = read_queue(&core.store, queue, open.start, count, |_| true).await?;
        let mut questions = Vec::new();
        let mut flow = ControlFlow::Continue(());
        for half in &halves {
            flow = look_at(core, half, &mut questions).await;
            if flow.is_break() {
                break;
            }
        }
        core.store.committed_so_far().await?;
        // Where nothing was appended nothing above waits.
        io::yield_now().await;
        questions.iter().for_each(|question| ask(core, question));
        if flow.is_break() || halves.is_empty() {
            break;
        }
    }
    Ok(())
}

/// The record of a half message; one that cannot be read is skipped.
fn readable<'a, I: Io>(core: &Core<I>, message: &'a Queued) -> Option<Record<'a>> {
    let offset = message.queue_offset;
    let error = match Record::decode(&message.record, Check::Layout) {
        Ok(record) => return Some(record),
        Err(error) => error,
    };
    // An empty one's retention is over.
    if !message.record.is_empty() {
        warn!(offset, %error, "a half message cannot be read and is skipped");
    }
    let first = offset;
    let mut broker = core.broker.borrow_mut();
    broker.pass_half(HalfOffset { offset, first }, core.now_ms());
    None
}

/// Does with one half message what is to be done; breaks where the round has to end.
async fn look_at<I: Io>(
    core: &Core<I>,
    message: &Queued,
    questions: &mut Vec<Question>,
) -> ControlFlow<()> {
    let offset = message.queue_offset;
    let Some(record) = readable(core, message) else {
        return ControlFlow::Continue(());
    };
    // From the decision on there is no waiting: the producer may end the transaction meanwhile.
    core.store
        .wait_for_room(message.record.len() + AROUND_BYTES)
        .await;
    let now_ms = core.now_ms();
    let (half, verdict) = core.broker.borrow_mut().judge_half(offset, &record, now_ms);
    let (plan, asked) = match verdict {
        Verdict::Young => return ControlFlow::Break(()),
        Verdict::Pass => {
            core.broker.borrow_mut().pass_half(half, now_ms);
            return ControlFlow::Continue(());
        }
        Verdict::Postpone(copy) => (copy, None),
        Verdict::Ask(copy, asked) => (copy, Some(asked)),
        Verdict::GiveUp(last) => (last, None),
    };
    let stored = match core.append_one(&plan, now_ms as i64) {
        Ok(stored) => stored,
        Err(error) if error.is_for_now() => {
            warn!(offset, %error, "a half message cannot be stored again yet");
            return ControlFlow::Break(());
        }
        Err(error) => {
            warn!(offset, %error, "a half message cannot be stored again, nobody is asked about it any more");
            core.broker.borrow_mut().pass_half(half, now_ms);
            return ControlFlow::Continue(());
        }
    };
    let mut broker = core.broker.borrow_mut();
    match plan.topic == transaction::HALF {
        true => broker.half_copied(half),
        false => broker.pass_half(half, now_ms),
    }
    if let Some(asked) = asked
        && let Some(group) = asked.group
    {
        questions.push(Question {
            conns: broker.to_ask(group),
            unique_key: asked.unique_key.map(str::to_owned),
            half_queue_offset: stored.queue_offset,
            half_physical_offset: stored.physical_offset,
            record: asked.encode(&plan, stored.queue_offset, stored.physical_offset),
        });
    }
    ControlFlow::Continue(())
}

/// Sends the question to the first of its producers that can be reached; if none can, it is asked again next time.
fn ask<I: Io>(core: &Core<I>, question: &Question) {
    let mut reachable = question
        .conns
        .iter()
        .filter_map(|conn| core.connections.find(conn.0))
        .filter(|connection| !connection.is_closed());
    let Some(connection) = reachable.next() else {
        return;
    };
    let id = offset_message_id(core.answers.store_host, question.half_physical_offset);
    let fields = CheckTransactionState {
        topic: Some(transaction::HALF),
        half_queue_offset: question.half_queue_offset as i64,
        half_physical_offset: question.half_physical_offset as i64,
        msg_id: question.unique_key.as_deref(),
        transaction_id: question.unique_key.as_deref(),
        offset_msg_id: Some(&id),
        broker_name: Some(&core.setup.broker.broker_name),
    };
    let head = Head::oneway(Codec::Json, request::CHECK_TRANSACTION_STATE, 0);
    connection.write(|out| frame::write(out, &head, &fields.ext(), &question.record));
}

async fn pause<I: Io>(core: &Core<I>, ns: u64) {
    let until_ns = core.io.now().mono_ns + ns;
    core.io.sleep_until(until_ns).await;
}
