//! Acknowledgements, and a new time for what is not done yet.
//!
//! Admission changes nothing: the state in flight follows the revive log, and the log may still refuse the record.
//! [`Broker::ended`] carries it out, once the record is there.

use super::{GroupQueue, Place, PopKey, REVIVE_QUEUE, ReviveRecord, flagged_topic};
use crate::broker::limits::MAX_ACKED;
use crate::broker::refusal::missing_topic;
use crate::broker::store_view::StoreView;
use crate::broker::{Broker, Refusal};
use crate::wire::codes::response;
use crate::wire::pop::{
    AckBody, AckRequest, BatchAck, BatchAckRequest, ChangeInvisibleTime, ChangeInvisibleTimeReply,
    CheckPointBody, Receipt,
};

/// What is to happen before an acknowledgement is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    pub ends: Vec<End>,
    /// A message was no longer in flight under its receipt. The record that ended it may not be durable yet.
    pub is_repeated: bool,
    /// Queues that are popped in order and may be popped again.
    pub freed: Vec<FreedQueue>,
}

/// Group, topic and number.
pub type FreedQueue = (String, String, u32);

/// Messages of one check point that leave the flight, and the record for the revive log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    place: Place,
    offsets: Vec<u64>,
    pub record: ReviveRecord,
}

/// What is to happen before a change is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "it lives for one turn")]
pub enum Changed {
    Moved(Moved),
    /// The message was popped in order, and has its new time.
    InOrder(ChangeInvisibleTimeReply),
}

/// A message that moves from one check point to one of its own. The new one is written before the end of the old one: with only the
/// first record the message is delivered twice, with only the second it would be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub check_point: CheckPointBody,
    pub record: ReviveRecord,
    pub end: End,
}

impl Moved {
    /// Upper bound of the length of both records in the log.
    pub fn log_bytes(&self) -> usize {
        self.record.log_bytes() + self.end.record.log_bytes()
    }

    pub fn reply(&self) -> ChangeInvisibleTimeReply {
        ChangeInvisibleTimeReply {
            invisible_ms: self.check_point.invisible_ms as i64,
            pop_time_ms: self.check_point.pop_time_ms as i64,
            revive_queue: REVIVE_QUEUE as i32,
        }
    }
}

/// A message as a client names it.
struct Named<'a> {
    queue: GroupQueue<'a>,
    offset: u64,
}

impl Broker {
    pub fn admit_ack(
        &mut self,
        request: &AckRequest<'_>,
        store: &dyn StoreView,
        now_ms: u64,
    ) -> Result<Acknowledged, Refusal> {
        let (topic, queue_id) = (request.topic, request.queue_id);
        let Named { queue, offset } =
            self.named(request.consumer_group, topic, queue_id, request.offset)?;
        let bounds = store.bounds(topic, queue.queue_id);
        if !(bounds.min..=bounds.max).contains(&offset) {
            let (min, max) = (bounds.min, bounds.max);
            return Err(Refusal::new(
                response::NO_MESSAGE,
                format!(
                    "offset is illegal, key:{topic}@{queue_id}, commit:{offset}, store:{min}~{max}"
                ),
            ));
        }
        let receipt = parse(request.receipt)?;
        let mut done = Acknowledged::default();
        if receipt.is_orderly() {
            self.ack_in_order(queue, offset, receipt.pop_time_ms, now_ms, &mut done);
            return Ok(done);
        }
        self.ack_offsets(queue, key_of(&receipt), &[offset], &mut done);
        Ok(done)
    }

    pub fn admit_batch_ack(
        &mut self,
        request: &BatchAckRequest,
        store: &dyn StoreView,
        now_ms: u64,
    ) -> Result<Acknowledged, Refusal> {
        if request.acks.is_empty() {
            return Err(Refusal::new(response::NO_MESSAGE, "the batch has no acks"));
        }
        let mut done = Acknowledged::default();
        // One that is wrong does not keep the others from being acknowledged.
        for ack in &request.acks {
            self.ack_batch(ack, store, now_ms, &mut done);
        }
        Ok(done)
    }

    fn ack_batch(
        &mut self,
        ack: &BatchAck,
        store: &dyn StoreView,
        now_ms: u64,
        done: &mut Acknowledged,
    ) {
        let group = &*ack.consumer_group;
        let topic = flagged_topic(&ack.topic, group, &ack.retry_flag);
        let numbers = (
            topic,
            u32::try_from(ack.queue_id),
            u64::try_from(ack.start_offset),
            u64::try_from(ack.pop_time_ms),
        );
        let (Some(topic), Ok(queue_id), Ok(start_offset), Ok(pop_time_ms)) = numbers else {
            return;
        };
        let queue = GroupQueue {
            group,
            topic: &topic,
            queue_id,
        };
        // A pop has so many messages at most. The set is as large as the client likes, and only its first bits are examined.
        let bounds = store.bounds(&topic, queue_id);
        let offsets = ack.bits.iter().take(MAX_ACKED);
        let offsets = offsets.map(|bit| start_offset.saturating_add(bit));
        let is_there = |offset: &u64| (bounds.min..=bounds.max).contains(offset);
        let offsets: Vec<u64> = offsets.filter(is_there).collect();
        if ack.revive_queue == crate::wire::pop::ORDERLY_REVIVE_QUEUE {
            for offset in offsets {
                self.ack_in_order(queue, offset, pop_time_ms, now_ms, done);
            }
            return;
        }
        let key = PopKey {
            start_offset,
            pop_time_ms,
        };
        self.ack_offsets(queue, key, &offsets, done);
    }

    /// What is no longer in flight has been acknowledged before, or has come back, and is skipped as in RocketMQ.
    fn ack_offsets(
        &self,
        queue: GroupQueue<'_>,
        key: PopKey,
        offsets: &[u64],
        done: &mut Acknowledged,
    ) {
        let place = self.pops.in_flight.place(queue, key);
        match place.and_then(|place| self.end(place, offsets)) {
            Some(end) => done.ends.push(end),
            None => done.is_repeated = true,
        }
    }

    /// The end of those of the messages that are still in flight; none if there are none.
    fn end(&self, place: Place, offsets: &[u64]) -> Option<End> {
        let in_flight = &self.pops.in_flight;
        let (queue, key) = in_flight.names(place)?;
        let mut open: Vec<u64> = offsets.to_vec();
        open.sort_unstable();
        open.dedup();
        open.retain(|offset| in_flight.is_open(place, *offset));
        if open.is_empty() {
            return None;
        }
        let body = self.ack_body(queue, key, open.clone());
        Some(End {
            place,
            record: ReviveRecord::ack(&body, place),
            offsets: open,
        })
    }

    /// The same after a wait, in which other acknowledgements may have come or invisible times may have ended.
    pub fn end_again(&self, end: &End) -> Option<End> {
        self.end(end.place, &end.offsets)
    }

    /// The record is in the log. Returns the queue if it may be popped again.
    pub fn ended(&mut self, end: &End) -> Option<FreedQueue> {
        let in_flight = &mut self.pops.in_flight;
        if let Some((queue, _)) = in_flight.names(end.place) {
            let counted = self.stats.gets_mut(queue.group, queue.topic);
            counted.pops.acks += end.offsets.len() as u64;
        }
        let freed = in_flight
            .names(end.place)
            .filter(|_| self.config.pop.limits_in_flight)
            .map(|(queue, _)| (queue.group.into(), queue.topic.into(), queue.queue_id));
        for offset in &end.offsets {
            in_flight.settle(end.place, *offset);
        }
        freed
    }

    /// The record that ends these messages of a check point.
    pub(super) fn ack_body(
        &self,
        queue: GroupQueue<'_>,
        key: PopKey,
        mut offsets: Vec<u64>,
    ) -> AckBody {
        let single = match offsets[..] {
            [offset] => {
                offsets.clear();
                offset as i64
            }
            _ => -1,
        };
        AckBody {
            offset: single,
            start_offset: key.start_offset,
            group: queue.group.into(),
            topic: queue.topic.into(),
            queue_id: queue.queue_id as i32,
            pop_time_ms: key.pop_time_ms,
            broker_name: self.config.broker_name.clone(),
            offsets,
        }
    }

    fn ack_in_order(
        &mut self,
        queue: GroupQueue<'_>,
        offset: u64,
        pop_time_ms: u64,
        now_ms: u64,
        done: &mut Acknowledged,
    ) {
        let GroupQueue {
            group,
            topic,
            queue_id,
        } = queue;
        if self.is_behind(queue, offset) {
            return;
        }
        let orders = &mut self.pops.orders;
        let Some(next) = orders.ack(group, topic, queue_id, offset, pop_time_ms) else {
            return;
        };
        let is_free = !orders.is_blocked(group, topic, queue_id, None, now_ms);
        let id = queue_id as i32;
        if !self.offsets.has_reset(group, topic, id) {
            self.offsets.commit(group, topic, id, next as i64, now_ms);
        }
        if is_free {
            done.freed.push((group.into(), topic.into(), queue_id));
        }
    }

    /// Whether the group is beyond this message.
    fn is_behind(&self, queue: GroupQueue<'_>, offset: u64) -> bool {
        let id = queue.queue_id as i32;
        let committed = self.offsets.query(queue.group, queue.topic, id);
        committed.is_some_and(|committed| (offset as i64) < committed)
    }

    /// A message that was popped in order is changed at once: there is no record in the revive log.
    pub fn admit_change(
        &mut self,
        request: &ChangeInvisibleTime<'_>,
        store: &dyn StoreView,
        now_ms: u64,
    ) -> Result<Changed, Refusal> {
        let (topic, queue_id) = (request.topic, request.queue_id);
        let Named { queue, offset } =
            self.named(request.consumer_group, topic, queue_id, request.offset)?;
        let bounds = store.bounds(topic, queue.queue_id);
        if !(bounds.min..bounds.max).contains(&offset) {
            let (min, max) = (bounds.min, bounds.max);
            let remark = format!("no message at offset {offset}, the queue has {min} to {max}");
            return Err(Refusal::new(response::NO_MESSAGE, remark));
        }
        let Ok(invisible_ms) = u64::try_from(request.invisible_ms) else {
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                format!(
                    "invisibleTime is {}, and cannot be negative",
                    request.invisible_ms
                ),
            ));
        };
        let receipt = parse(request.receipt)?;
        if receipt.is_orderly() {
            let reply = self.change_in_order(queue, offset, &receipt, invisible_ms, now_ms);
            return Ok(Changed::InOrder(reply));
        }
        let place = self.pops.in_flight.place(queue, key_of(&receipt));
        let moved = place
            .and_then(|place| self.moved(place, offset, invisible_ms, receipt.broker_name, now_ms));
        moved.map(Changed::Moved).ok_or_else(|| void(offset))
    }

    /// None if the message is not in flight there any more.
    fn moved(
        &self,
        place: Place,
        offset: u64,
        invisible_ms: u64,
        broker_name: &str,
        now_ms: u64,
    ) -> Option<Moved> {
        let end = self.end(place, &[offset])?;
        let (queue, _) = self.pops.in_flight.names(place)?;
        let mut new = PopKey {
            start_offset: offset,
            pop_time_ms: now_ms,
        };
        while self.pops.in_flight.place(queue, new).is_some() {
            new.pop_time_ms += 1;
        }
        let check_point = CheckPointBody {
            start_offset: offset,
            pop_time_ms: new.pop_time_ms,
            invisible_ms,
            messages: 1,
            queue_id: queue.queue_id as i32,
            topic: queue.topic.into(),
            group: queue.group.into(),
            distances: vec![0],
            broker_name: broker_name.into(),
            ..CheckPointBody::default()
        };
        Some(Moved {
            record: ReviveRecord::check_point(&check_point),
            check_point,
            end,
        })
    }

    /// The same after a wait, in which the message may have been acknowledged or changed, or its invisible time may have ended.
    pub fn move_again(&self, moved: &Moved, now_ms: u64) -> Result<Moved, Refusal> {
        let CheckPointBody {
            start_offset: offset,
            invisible_ms,
            broker_name,
            ..
        } = &moved.check_point;
        self.moved(moved.end.place, *offset, *invisible_ms, broker_name, now_ms)
            .ok_or_else(|| void(*offset))
    }

    fn change_in_order(
        &mut self,
        queue: GroupQueue<'_>,
        offset: u64,
        receipt: &Receipt<'_>,
        invisible_ms: u64,
        now_ms: u64,
    ) -> ChangeInvisibleTimeReply {
        let visible_at_ms = now_ms.saturating_add(invisible_ms);
        if !self.is_behind(queue, offset) {
            let (group, topic, id) = (queue.group, queue.topic, queue.queue_id);
            let pop_time_ms = receipt.pop_time_ms;
            self.pops
                .orders
                .change(group, topic, id, offset, pop_time_ms, visible_at_ms);
        }
        ChangeInvisibleTimeReply {
            invisible_ms: visible_at_ms.saturating_sub(receipt.pop_time_ms) as i64,
            pop_time_ms: receipt.pop_time_ms as i64,
            revive_queue: receipt.revive_queue,
        }
    }

    fn named<'a>(
        &self,
        group: &'a str,
        topic: &'a str,
        queue_id: i32,
        offset: i64,
    ) -> Result<Named<'a>, Refusal> {
        let Some(entry) = self.topics.find(topic) else {
            return Err(missing_topic(topic));
        };
        let queue_nums = entry.config.read_queue_nums;
        if !(0..queue_nums).contains(&queue_id) {
            return Err(Refusal::new(
                response::MESSAGE_ILLEGAL,
                format!(
                    "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{queue_nums}] consumer:[{group}]"
                ),
            ));
        }
        let Ok(offset) = u64::try_from(offset) else {
            let remark = format!("offset is illegal, key:{topic}@{queue_id}, commit:{offset}");
            return Err(Refusal::new(response::NO_MESSAGE, remark));
        };
        let queue = GroupQueue {
            group,
            topic,
            queue_id: queue_id as u32,
        };
        Ok(Named { queue, offset })
    }
}

fn key_of(receipt: &Receipt<'_>) -> PopKey {
    PopKey {
        start_offset: receipt.start_offset,
        pop_time_ms: receipt.pop_time_ms,
    }
}

fn void(offset: u64) -> Refusal {
    let remark = format!(
        "the receipt of offset {offset} is void: acknowledged, replaced, or its time is over"
    );
    Refusal::new(response::NO_MESSAGE, remark)
}

fn parse(text: &str) -> Result<Receipt<'_>, Refusal> {
    Receipt::parse(text).ok_or_else(|| {
        Refusal::new(
            response::SYSTEM_ERROR,
            format!("the custom field <extraInfo> cannot be {text:.64?}"),
        )
    })
}
