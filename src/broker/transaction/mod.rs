//! Messages that wait until their producer says what becomes of them (RocketMQ: `TransactionalMessageServiceImpl`,
//! `TransactionalMessageBridge`, `EndTransactionProcessor`).
//!
//! ```text
//! half queue   | ... dealt with ... | position ... waiting or ended ... | copies of those that were asked about
//! op queue     | ... not needed ... | op position ... "12,13,17," ...   |
//! ```
//! A half message stands in the half queue with its real place in its properties (`half.rs`). Its end (`end.rs`) is a real
//! message or none, and its queue offset in an op record, some of them together in one. The reactor's task goes over
//! the half queue every check interval, from the position on: what has ended is passed, what waits too long is written
//! again to the queue's end and its producer is asked. So the position moves on, and what has ended is known by few
//! offsets. Both positions are offsets of a consumer group, saved like all such.
//!
//! A producer may end a transaction while the question about it is on its way, and then answers it, too. Only the first end
//! counts, if the answer comes within a minute (`answers.rs`); RocketMQ delivers the message once for each.
//!
//! After a crash the op records from the op position on say what has ended. A commit and its op record are two appends: if
//! only the first survives, the producer is asked again and the message comes twice, as with RocketMQ.

mod answers;
mod copies;
mod end;
mod half;
mod offset_set;

pub use end::Ending;
pub use half::{Asked, Verdict};

use std::collections::VecDeque;
use std::fmt::Write;
use std::ops::{Range, RangeInclusive};

use super::offsets::Offsets;
use super::send_plan::{OwnMessage, SendPlan};
pub use super::system_topics::{HALF, OP_HALF, TRANS_CHECK_MAX_TIME};
use super::{Broker, system_topics};
use crate::message::properties;
use crate::store::QueueBounds;
use answers::Answers;
use copies::Copies;
use offset_set::OffsetSet;

/// The only queue of either topic.
pub const QUEUE_ID: u32 = 0;

/// Words of 64 offsets that are looked at in one turn, at some 200 ns each.
const FORGOTTEN_PER_TURN: usize = 1_024;

/// Whose offsets the two positions are.
const GROUP: &str = system_topics::TRANSACTION_GROUP;

/// The tag of an op record: the halves that its body names are no more.
const OP_TAG: &str = "d";

/// A half message by its place in the half queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfOffset {
    pub offset: u64,
    /// Where the producer's own stands, of which this is a copy or which it is.
    pub first: u64,
}

/// How far the half queue has been dealt with, and what of the rest has ended.
#[derive(Debug, Default)]
pub struct Transactions {
    position: u64,
    ended: OffsetSet,
    /// Those of this life that wait.
    copies: Copies,
    /// Those that have ended while a producer was being asked.
    answers: Answers,
    /// Op records that a restart would need, in order.
    ops: VecDeque<OpRecord>,
    next_op: u64,
    /// What the next op record will say.
    batch: Option<Batch>,
    /// Copies before this one are from before the start and known only once they have been looked at.
    known_from: u64,
}

/// An op record and the halves between its lowest and its highest.
#[derive(Debug)]
struct OpRecord {
    offset: u64,
    halves: RangeInclusive<u64>,
}

#[derive(Debug)]
struct Batch {
    body: String,
    halves: RangeInclusive<u64>,
    since_ms: u64,
}

impl Transactions {
    /// Goes on where the group's offsets say; where the op records to be read begin. To be followed by
    /// [`Self::load_op`] for each of them.
    pub fn start(&mut self, offsets: &Offsets, half: QueueBounds, op: QueueBounds) -> u64 {
        let saved = |topic, bounds: QueueBounds| {
            let offset = offsets.query(GROUP, topic, QUEUE_ID as i32);
            let offset = offset.map_or(bounds.min, |offset| offset.max(0) as u64);
            offset.clamp(bounds.min, bounds.max.max(bounds.min))
        };
        self.position = saved(HALF, half);
        self.known_from = half.max;
        self.next_op = saved(OP_HALF, op);
        self.next_op
    }

    /// Takes in an op record of before the start.
    pub fn load_op(&mut self, op_offset: u64, body: &[u8]) {
        let halves = body.split(|byte| *byte == b',');
        let halves = halves.filter_map(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let mut range = None;
        // A half that is not there cannot have ended.
        for half in halves.filter(|half| *half < self.known_from) {
            self.ended.insert(half);
            range = Some(widened(range, half));
        }
        self.op_written(op_offset, range);
    }

    /// The next halves, up to `limit` of them, of which the end is not known yet; skips those that have ended.
    pub fn next_open(&mut self, min: u64, end: u64, limit: u64) -> Option<Range<u64>> {
        self.position = self.ended.end_of_run(self.position.max(min));
        let last = end.min(self.position.saturating_add(limit));
        let open = (self.position..last).take_while(|offset| !self.ended.contains(*offset));
        let count = open.count() as u64;
        (count > 0).then_some(self.position..self.position + count)
    }

    pub fn has_ended(&self, half: HalfOffset) -> bool {
        self.ended.contains(half.offset) || self.ended.contains(half.first)
    }

    /// The half is no more, nor any other copy of the same one; an op record is due for it.
    pub fn end(&mut self, half: HalfOffset, now_ms: u64) {
        let HalfOffset { offset, first } = half;
        if first < offset || self.copies.has(first) {
            self.answers.expect(first, now_ms);
        }
        if offset >= self.position {
            self.leave(half);
        }
        // A copy knows the first one, which may have been passed already.
        self.ended.insert(first);
        self.ended.insert(offset);
        let batch = self.batch.get_or_insert_with(|| Batch {
            body: String::new(),
            halves: first..=first,
            since_ms: now_ms,
        });
        let both = [first, offset];
        for ended in &both[usize::from(first == offset)..] {
            batch.halves = widened(Some(batch.halves.clone()), *ended);
            write!(batch.body, "{ended},").expect("a string takes everything");
        }
    }

    /// The half needs no answer any more.
    pub fn pass(&mut self, half: HalfOffset, now_ms: u64) {
        if half.first < half.offset && self.ended.contains(half.first) {
            self.answers.expect(half.first, now_ms);
        }
        self.leave(half);
        self.move_beyond(half.offset);
    }

    /// A copy of the half stands at the queue's end and waits there.
    pub fn copy(&mut self, half: HalfOffset) {
        self.leave(half);
        self.copies.add(half.first);
        self.move_beyond(half.offset);
    }

    /// After a round: forgets ends that neither a copy nor an answer will ask for, some from `from` on. Returns where to go on.
    pub fn forget_some(&mut self, from: u64, now_ms: u64) -> Option<u64> {
        self.answers.pass_time(now_ms);
        if !self.knows_all() {
            return None;
        }
        let needed = [self.copies.firsts(), self.answers.firsts()];
        let mut from = from;
        for _ in 0..FORGOTTEN_PER_TURN {
            from = self.ended.retain_some(from, self.position, needed)?;
        }
        Some(from)
    }

    /// The positions in the half and in the op queue that a restart may go on from.
    pub fn positions(&mut self) -> (u64, u64) {
        while let Some(op) = self.ops.front()
            && self.ended.is_empty_within(op.halves.clone())
        {
            self.ops.pop_front();
        }
        let op_position = self.ops.front().map_or(self.next_op, |op| op.offset);
        (self.position, op_position)
    }

    /// Bytes of the op record that is being gathered, and since when.
    fn gathered(&self) -> Option<(usize, u64)> {
        let batch = self.batch.as_ref()?;
        Some((batch.body.len(), batch.since_ms))
    }

    fn op_written(&mut self, offset: u64, halves: Option<RangeInclusive<u64>>) {
        self.next_op = offset + 1;
        if let Some(halves) = halves {
            self.ops.push_back(OpRecord { offset, halves });
        }
    }

    /// Whether every copy of before the start has been looked at.
    fn knows_all(&self) -> bool {
        self.position >= self.known_from
    }

    /// The half does not wait any more; of the copies only those of this life were counted.
    fn leave(&mut self, half: HalfOffset) {
        if half.first < half.offset && half.offset >= self.known_from {
            self.copies.remove(half.first);
        }
    }

    fn move_beyond(&mut self, offset: u64) {
        self.position = self.position.max(offset + 1);
    }
}

impl Broker {
    /// Begins where the saved offsets say; returns where the op records to be read begin. To be followed by
    /// [`Self::load_op`] for each of them.
    pub fn start_transactions(&mut self, half: QueueBounds, op: QueueBounds) -> u64 {
        self.transactions.start(&self.offsets, half, op)
    }

    /// Takes in an op record of before the start.
    pub fn load_op(&mut self, op_offset: u64, body: &[u8]) {
        self.transactions.load_op(op_offset, body);
    }

    /// The next halves, up to `limit` of them, whose end is not known; skips those that have ended.
    pub fn next_open_halves(&mut self, min: u64, end: u64, limit: u64) -> Option<Range<u64>> {
        self.transactions.next_open(min, end, limit)
    }

    /// The real message of the half is in the log, or it was rolled back; an op record is due for it.
    pub fn half_ended(&mut self, half: HalfOffset, now_ms: u64) {
        self.transactions.end(half, now_ms);
    }

    /// The half is not looked at again.
    pub fn pass_half(&mut self, half: HalfOffset, now_ms: u64) {
        self.transactions.pass(half, now_ms);
    }

    /// A copy of the half stands at the queue's end and waits there.
    pub fn half_copied(&mut self, half: HalfOffset) {
        self.transactions.copy(half);
    }

    /// All halves have been looked at once: forgets some ends from `from` on. Returns where to go on.
    pub fn forget_ended_halves(&mut self, from: u64, now_ms: u64) -> Option<u64> {
        let next = self.transactions.forget_some(from, now_ms);
        if next.is_none() {
            self.commit_transaction_offsets(now_ms);
        }
        next
    }

    /// Whether the gathered op record has to be written: it is large enough, or has waited long enough.
    pub fn op_is_due(&self, now_ms: u64) -> bool {
        let (max_bytes, interval_ms) = (
            self.config.transaction_op_max_bytes,
            self.config.transaction_op_batch_interval_ms,
        );
        let gathered = self.transactions.gathered();
        gathered.is_some_and(|(bytes, since_ms)| {
            bytes >= max_bytes || now_ms.saturating_sub(since_ms) >= interval_ms
        })
    }

    /// The content so far of the op record that is being gathered, if there is one.
    pub fn op_body(&self) -> Option<String> {
        let batch = self.transactions.batch.as_ref()?;
        Some(batch.body.clone())
    }

    /// The op record with this body; [`Self::op_stored`] is to follow once it is in the log.
    pub fn op_plan<'a>(&self, body: &'a str, now_ms: u64) -> SendPlan<'a> {
        let mut own_properties = String::new();
        properties::push(&mut own_properties, properties::WAIT, "true");
        properties::push(&mut own_properties, properties::TAGS, OP_TAG);
        let own = OwnMessage {
            topic: OP_HALF.into(),
            queue_id: QUEUE_ID,
            queue: self.known_queue(OP_HALF, QUEUE_ID),
            reconsume_times: 0,
            properties: own_properties,
        };
        let mut plan = SendPlan::of_broker(body.as_bytes(), self.config.advertise, own);
        plan.born_timestamp_ms = now_ms as i64;
        plan
    }

    pub fn op_stored(&mut self, op_offset: u64) {
        let batch = self.transactions.batch.take();
        self.transactions
            .op_written(op_offset, batch.map(|batch| batch.halves));
    }

    /// Makes the positions offsets of their group, which are saved in time.
    pub fn commit_transaction_offsets(&mut self, now_ms: u64) {
        let (half, op) = self.transactions.positions();
        for (topic, position) in [(HALF, half), (OP_HALF, op)] {
            let (queue_id, position) = (QUEUE_ID as i32, position as i64);
            if self.offsets.query(GROUP, topic, queue_id) != Some(position) {
                self.offsets
                    .commit(GROUP, topic, queue_id, position, now_ms);
            }
        }
    }
}

fn widened(range: Option<RangeInclusive<u64>>, offset: u64) -> RangeInclusive<u64> {
    let range = range.unwrap_or(offset..=offset);
    offset.min(*range.start())..=offset.max(*range.end())
}

#[cfg(test)]
mod tests;
