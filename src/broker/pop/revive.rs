//! Messages that come back, and what a restart makes of the revive log.

use std::borrow::Cow;

use super::{
    Expired, GroupQueue, Place, PopKey, ReviveRecord, in_flight, normal_topic, retry_flag,
    retry_topic,
};
use crate::broker::refusal::topic_is_leaving;
use crate::broker::send_plan::{OwnMessage, SendPlan, check_properties};
use crate::broker::{Broker, Refusal};
use crate::message::{Record, properties, sys_flag};
use crate::wire::BodyError;
use crate::wire::pop::{AckBody, CheckPointBody, revive_tag};

/// Its offset in the revive log, less one, is where a restart begins to read; a RocketMQ that takes over the store reads it
/// so, too.
pub const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";

/// Its offset in the revive log is the position up to which the groups' offsets include it: both are saved in one file. At a restart
/// only later records move the offsets, so that a group that was rewound stays there.
pub const REVIVE_TAIL_GROUP: &str = "CID_RMQ_SYS_REVIVE_TAIL_GROUP";

const RETRY_QUEUES: i32 = 1;

/// RocketMQ writes check points and acknowledgements through the timer: a check point comes a second ahead of its time, and
/// what was acknowledged only then.
const TIMED_ACKS_MS: u64 = 3_000;

impl Broker {
    /// A check point is in the revive log: its messages are in flight, and the group is behind them.
    pub fn checked(&mut self, place: Place, body: &CheckPointBody, now_ms: u64) {
        self.take_up(place, body, due_ms(body));
        let counted = self.stats.gets_mut(&body.group, &body.topic);
        counted.pops.check_points += 1;
        if let Some(next) = body.next_offset {
            let (group, topic, id) = (&body.group, &body.topic, body.queue_id);
            self.offsets.commit(group, topic, id, next as i64, now_ms);
        }
        let (topic, id) = (&*self.pops.revive_topic, place.revive_queue as i32);
        let behind = place.offset as i64 + 1;
        self.offsets
            .commit(REVIVE_TAIL_GROUP, topic, id, behind, now_ms);
    }

    fn take_up(&mut self, place: Place, body: &CheckPointBody, due_ms: u64) {
        let Ok(queue_id) = u32::try_from(body.queue_id) else {
            return;
        };
        let queue = GroupQueue {
            group: &body.group,
            topic: &body.topic,
            queue_id,
        };
        let mut key = PopKey {
            start_offset: body.start_offset,
            pop_time_ms: body.pop_time_ms,
        };
        let in_flight = &mut self.pops.in_flight;
        // RocketMQ may have written two of one key; a message that is delivered twice is better than one that is lost.
        while in_flight.place(queue, key).is_some() {
            key.pop_time_ms += 1;
        }
        let distances = match body.distances.is_empty() {
            true => (0..u32::from(body.messages)).collect(),
            false => body.distances.clone(),
        };
        in_flight.add(place, queue, key, due_ms, distances, body.bits as u32);
    }

    /// Where a restart begins to read this queue of the revive log.
    pub fn revive_start(&self, revive_queue: u32) -> u64 {
        let topic = &*self.pops.revive_topic;
        let done = self.offsets.query(REVIVE_GROUP, topic, revive_queue as i32);
        done.map_or(0, |offset| (offset + 1).max(0) as u64)
    }

    /// Up to where the groups' offsets include this queue of the revive log.
    pub fn revive_tail(&self, revive_queue: u32) -> u64 {
        let topic = &*self.pops.revive_topic;
        let tail = self
            .offsets
            .query(REVIVE_TAIL_GROUP, topic, revive_queue as i32);
        tail.map_or(0, |offset| offset.max(0) as u64)
    }

    /// Records up to where the revive log need not be read any more, if it ends at `end`.
    pub fn note_revive_offset(&mut self, revive_queue: u32, end: u64, now_ms: u64) {
        let oldest = self.pops.in_flight.oldest(revive_queue).unwrap_or(end);
        if oldest > self.revive_start(revive_queue) {
            let (topic, id) = (&*self.pops.revive_topic, revive_queue as i32);
            let done = oldest as i64 - 1;
            self.offsets.commit(REVIVE_GROUP, topic, id, done, now_ms);
        }
    }

    /// Takes in a record of the revive log as a restart finds it, or as the timer brings it. `tail` is [`Self::revive_tail`] of
    /// before.
    pub fn replay(
        &mut self,
        place: Place,
        record: &Record<'_>,
        tail: u64,
        now_ms: u64,
    ) -> Result<(), BodyError> {
        match properties::find(record.properties, properties::TAGS) {
            Some(revive_tag::CHECK_POINT) => {
                let body = CheckPointBody::decode(record.body)?;
                if properties::find(record.properties, properties::TIMER_OUT_MS).is_some() {
                    let due_ms = due_ms(&body).max(now_ms) + TIMED_ACKS_MS;
                    self.take_up(place, &body, due_ms);
                } else if place.offset >= tail && self.topics.contains(&body.topic) {
                    self.checked(place, &body, now_ms);
                } else {
                    self.take_up(place, &body, due_ms(&body));
                }
            }
            Some(revive_tag::ACK | revive_tag::BATCH_ACK) => {
                let body = AckBody::decode(record.body)?;
                if !mutant!(PopAcksLost) {
                    self.replay_ack(&body);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn replay_ack(&mut self, body: &AckBody) {
        let Ok(queue_id) = u32::try_from(body.queue_id) else {
            return;
        };
        let queue = GroupQueue {
            group: &body.group,
            topic: &body.topic,
            queue_id,
        };
        let key = PopKey {
            start_offset: body.start_offset,
            pop_time_ms: body.pop_time_ms,
        };
        let single = u64::try_from(body.offset).ok();
        for offset in single.into_iter().chain(body.offsets.iter().copied()) {
            self.pops.in_flight.ack(queue, key, offset);
        }
    }

    /// The messages of this check point do not come back: see [`Self::may_revive`].
    pub fn drop_expired(&mut self, expired: &Expired) {
        self.pops.in_flight.remove(expired.place);
    }

    /// The messages of this check point cannot be brought back before then.
    pub fn postpone_expired(&mut self, expired: &Expired, until_ms: u64) {
        self.pops.in_flight.postpone(expired.place, until_ms);
    }

    /// This message of the check point is in the retry topic, or is gone from the log.
    pub fn brought_back(&mut self, expired: &Expired, offset: u64) {
        self.pops.in_flight.settle(expired.place, offset);
    }

    /// A message of an expired check point is in the retry topic.
    pub fn revived_one(&mut self, expired: &Expired) {
        let counted = self.stats.gets_mut(&expired.group, &expired.topic);
        counted.pops.revived += 1;
    }

    /// The next queue, as group, topic and number, whose orderly pop has run out of time, so that it can be popped again.
    pub fn take_free_order(&mut self, now_ms: u64) -> Option<(String, String, u32)> {
        self.pops.orders.take_free(now_ms)
    }

    /// Whether the group and the topic still exist, so that the messages can be delivered again.
    pub fn may_revive(&self, expired: &Expired) -> bool {
        let topic = normal_topic(&expired.topic, &expired.group);
        self.topics.contains(topic) && self.groups.contains(&expired.group)
    }

    /// The message, on its way back: into the group's retry topic, once more reconsumed. An error: the retry topic is being deleted.
    pub fn revive<'a>(
        &mut self,
        expired: &Expired,
        record: &Record<'a>,
        now_ms: u64,
    ) -> Result<SendPlan<'a>, Refusal> {
        let group = &expired.group;
        let topic = match retry_flag(&expired.topic) {
            0 => retry_topic(group, &expired.topic, self.config.pop.retry_topic_v2),
            _ => expired.topic.clone(),
        };
        if self.topics.is_leaving(&topic) {
            return Err(topic_is_leaving(&topic));
        }
        if !self.topics.contains(&topic) {
            self.create_derived(&topic, RETRY_QUEUES, false, 0, now_ms);
        }
        if self.offsets.query(group, &topic, 0).is_none() {
            self.offsets.commit(group, &topic, 0, 0, now_ms);
        }
        let old = record.properties_without_crc();
        let is_first = record.reconsume_times == 0
            || properties::find(old, properties::FIRST_POP_TIME).is_none();
        let first_pop_ms = is_first.then_some(expired.key.pop_time_ms);
        let mut plan = plan_of(record, &topic, kept(old, first_pop_ms));
        if check_properties(plan.properties()).is_err() {
            // There is no room for the time, and the message matters more.
            plan = plan_of(record, &topic, kept(old, None));
        }
        plan.queue = self.known_queue(&topic, 0);
        Ok(plan)
    }

    /// The record that these messages of a check point were moved to the retry topic, or never will be.
    pub fn revived(&self, expired: &Expired, offsets: Vec<u64>) -> ReviveRecord {
        let queue = GroupQueue {
            group: &expired.group,
            topic: &expired.topic,
            queue_id: expired.queue_id,
        };
        assert!(!offsets.is_empty() && offsets.len() <= in_flight::MAX_MESSAGES);
        let body = self.ack_body(queue, expired.key, offsets);
        ReviveRecord::ack(&body, expired.place)
    }
}

fn due_ms(body: &CheckPointBody) -> u64 {
    body.pop_time_ms.saturating_add(body.invisible_ms)
}

fn plan_of<'a>(record: &Record<'a>, topic: &str, properties: String) -> SendPlan<'a> {
    let own = OwnMessage {
        topic: Cow::Owned(topic.to_owned()),
        queue_id: 0,
        queue: None,
        reconsume_times: record.reconsume_times.saturating_add(1),
        properties,
    };
    // The retry topic's queues are of type SimpleCQ, and a batch is one message there, as for the consumer that has popped it.
    let sys_flag = record.sys_flag & !sys_flag::INNER_BATCH;
    SendPlan {
        sys_flag,
        ..SendPlan::of_record(record, own)
    }
}

/// The message's properties, with the time of its first pop if that is now.
fn kept(old: &[u8], first_pop_ms: Option<u64>) -> String {
    let is_kept = |name: &str| first_pop_ms.is_none() || name != properties::FIRST_POP_TIME;
    let mut new = properties::retained(old, is_kept, 32);
    if let Some(first_pop_ms) = first_pop_ms {
        let time = first_pop_ms.to_string();
        properties::push(&mut new, properties::FIRST_POP_TIME, &time);
    }
    new
}
