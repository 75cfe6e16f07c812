//! What a pop, a peek or a notification may look at, where it begins to read, and what it leaves behind.

use std::rc::Rc;

use super::{GroupQueue, PopKey, ReviveRecord, Source, Times, in_flight};
use crate::broker::filter::{PropertyFilter, TagFilter};
use crate::broker::perm;
use crate::broker::refusal::{missing_group, missing_topic};
use crate::broker::stats::Delivered;
use crate::broker::store_view::{At, StoreView, starts_recently};
use crate::broker::{Broker, Refusal};
use crate::store::QueueBounds;
use crate::wire::codes::response;
use crate::wire::pop::{
    CheckPointBody, INIT_MODE_MAX, NotificationRequest, ORDERLY_REVIVE_QUEUE, PeekRequest,
    PollingInfoRequest, PopRequest,
};

/// A pop that is this much older than its own time limit is answered without a look: its client has given up.
const TOO_LATE_MS: i64 = 500;

/// A pop (or a peek, or a question whether there is something to pop) that may be carried out.
#[derive(Clone, Debug)]
pub struct PopPlan {
    pub group: Rc<str>,
    pub topic: Rc<str>,
    /// `None` is any.
    pub queue_id: Option<u32>,
    pub max_messages: usize,
    pub invisible_ms: u64,
    pub filter: TagFilter,
    /// Which of them, when they have been read.
    pub properties: Option<PropertyFilter>,
    pub is_orderly: bool,
    pub attempt_id: Option<Rc<str>>,
    starts_with_newest: bool,
    /// Until when it may wait for a message. None: answer at once.
    pub waits_until_ms: Option<u64>,
}

/// What to do with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Read from this offset on.
    From(u64),
    /// Skip it; so many messages are left in it.
    Skip { rest: u64 },
}

impl PopPlan {
    pub fn revive_queue(&self) -> i32 {
        match self.is_orderly {
            true => ORDERLY_REVIVE_QUEUE,
            false => super::REVIVE_QUEUE as i32,
        }
    }

    fn queue<'a>(&'a self, source: &'a Source) -> GroupQueue<'a> {
        GroupQueue {
            group: &self.group,
            topic: &source.topic,
            queue_id: source.queue_id,
        }
    }
}

/// The check point of a pop of these messages, after which the group is at `next_offset`.
pub fn check_point(
    plan: &PopPlan,
    source: &Source,
    key: PopKey,
    offsets: &[u64],
    next_offset: u64,
    broker_name: &str,
) -> CheckPointBody {
    assert!(
        offsets.len() <= in_flight::MAX_MESSAGES,
        "a pop is no larger"
    );
    CheckPointBody {
        start_offset: key.start_offset,
        pop_time_ms: key.pop_time_ms,
        invisible_ms: plan.invisible_ms,
        messages: offsets.len() as u8,
        queue_id: source.queue_id as i32,
        topic: source.topic.to_string(),
        group: plan.group.to_string(),
        distances: offsets
            .iter()
            .map(|offset| (offset - key.start_offset) as u32)
            .collect(),
        broker_name: broker_name.into(),
        next_offset: Some(next_offset),
        ..CheckPointBody::default()
    }
}

impl ReviveRecord {
    pub fn of_pop(check_point: &CheckPointBody) -> Self {
        Self::check_point(check_point)
    }
}

/// In place of the offset that a pull names.
const NO_OFFSET: i64 = -1;

impl Broker {
    pub fn admit_pop(&mut self, request: &PopRequest<'_>, now_ms: u64) -> Result<PopPlan, Refusal> {
        let now = now_ms as i64;
        let born_ms = request
            .born_ms
            .filter(|born_ms| *born_ms > 0)
            .unwrap_or(now);
        let ip = self.config.advertise.ip();
        if now.saturating_sub(born_ms).saturating_sub(request.poll_ms) > TOO_LATE_MS {
            return Err(Refusal::new(
                response::POLLING_TIMEOUT,
                format!("the broker[{ip}] pop message is timeout too much"),
            ));
        }
        self.check_readable("pop message")?;
        if !(1..=in_flight::MAX_MESSAGES as i32).contains(&request.max_msg_nums) {
            let (got, limit) = (request.max_msg_nums, in_flight::MAX_MESSAGES);
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                format!("the broker[{ip}] pop message's num is {got}, allowed are 1 to {limit}"),
            ));
        }
        if request.invisible_ms < 0 {
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                format!(
                    "invisibleTime is {}, and cannot be negative",
                    request.invisible_ms
                ),
            ));
        }
        let queue_id = self.check_pop_queue(
            request.consumer_group,
            request.topic,
            request.queue_id,
            now_ms,
        )?;
        // RocketMQ asks for enablePropertyFilter only when messages are pulled.
        let (filter, properties) = match request.expression {
            Some(expression) => self.parse_filter(expression, request.expression_type)?,
            None => (TagFilter::All, None),
        };
        let plan = PopPlan {
            max_messages: request.max_msg_nums as usize,
            invisible_ms: request.invisible_ms as u64,
            filter,
            properties,
            is_orderly: request.order,
            attempt_id: request.attempt_id.map(Rc::from),
            starts_with_newest: request.init_mode == INIT_MODE_MAX,
            ..look_around(request.consumer_group, request.topic, queue_id)
        };
        Ok(plan.waiting(born_ms, request.poll_ms, now_ms))
    }

    /// Decides again on a pop or a notification that has waited: with the permissions, the topic and the group of now.
    pub fn reconsider_pop(&mut self, plan: &PopPlan, now_ms: u64) -> Result<(), Refusal> {
        self.check_readable("pop message")?;
        let queue_id = plan.queue_id.map_or(-1, |id| id as i32);
        self.check_pop_queue(&plan.group, &plan.topic, queue_id, now_ms)?;
        Ok(())
    }

    pub fn admit_peek(
        &mut self,
        request: &PeekRequest<'_>,
        now_ms: u64,
    ) -> Result<PopPlan, Refusal> {
        self.check_readable("peeking message")?;
        let (group, topic) = (request.consumer_group, request.topic);
        let queue_id = self.check_pop_queue(group, topic, request.queue_id, now_ms)?;
        Ok(PopPlan {
            max_messages: request
                .max_msg_nums
                .clamp(0, in_flight::MAX_MESSAGES as i32) as usize,
            ..look_around(group, topic, queue_id)
        })
    }

    pub fn admit_notification(
        &mut self,
        request: &NotificationRequest<'_>,
        now_ms: u64,
    ) -> Result<PopPlan, Refusal> {
        self.check_readable("peeking message")?;
        let (group, topic) = (request.consumer_group, request.topic);
        let queue_id = self.check_pop_queue(group, topic, request.queue_id, now_ms)?;
        let plan = PopPlan {
            is_orderly: request.order,
            attempt_id: request.attempt_id.map(Rc::from),
            ..look_around(group, topic, queue_id)
        };
        Ok(plan.waiting(request.born_ms, request.poll_ms, now_ms))
    }

    /// The queue whose waiting pops are to be counted.
    pub fn admit_polling_info(
        &mut self,
        request: &PollingInfoRequest<'_>,
        now_ms: u64,
    ) -> Result<Option<u32>, Refusal> {
        self.check_readable("peeking message")?;
        self.check_pop_queue(
            request.consumer_group,
            request.topic,
            request.queue_id,
            now_ms,
        )
    }

    fn check_readable(&self, what: &str) -> Result<(), Refusal> {
        if perm::is_readable(self.config.broker_permission) {
            return Ok(());
        }
        let ip = self.config.advertise.ip();
        let remark = format!("the broker[{ip}] {what} is forbidden");
        Err(Refusal::new(response::NO_PERMISSION, remark))
    }

    /// Whether the group may pop from this queue; below 0 is any.
    fn check_pop_queue(
        &mut self,
        group: &str,
        topic: &str,
        queue_id: i32,
        now_ms: u64,
    ) -> Result<Option<u32>, Refusal> {
        let Some(entry) = self.topics.find(topic) else {
            return Err(missing_topic(topic));
        };
        if !perm::is_readable(entry.config.perm) {
            let remark = format!("the topic[{topic}] peeking message is forbidden");
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        let queue_nums = entry.config.read_queue_nums;
        if queue_id >= queue_nums {
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                format!(
                    "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{queue_nums}] consumer:[{group}]"
                ),
            ));
        }
        let Some(config) = self.find_or_create_group(group, now_ms) else {
            return Err(missing_group(group));
        };
        if !config.consume_enable {
            let remark = format!("subscription group no permission, {group}");
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        Ok(u32::try_from(queue_id).ok())
    }

    /// Where a pop begins to read, `taken` messages into it.
    pub fn before_pop(
        &mut self,
        plan: &PopPlan,
        source: &Source,
        bounds: QueueBounds,
        taken: usize,
        at: At<'_>,
    ) -> Look {
        let now_ms = at.now_ms;
        let (group, topic, id) = (&*plan.group, &*source.topic, source.queue_id as i32);
        // It was deleted since the pop has begun: its offsets are removed.
        if !self.is_current(source) {
            return Look::Skip { rest: 0 };
        }
        // A pop has no offset, so a pending reset applies to it.
        if let Some(reset) = self.offsets.take_reset(group, topic, id, NO_OFFSET) {
            self.pops
                .orders
                .clear(group, topic, source.queue_id, now_ms);
            self.offsets.commit(group, topic, id, reset, now_ms);
        }
        let offset = self.pop_offset(plan, source, bounds, at.store);
        if self.offsets.query(group, topic, id) != Some(offset as i64) {
            self.offsets.commit(group, topic, id, offset as i64, now_ms);
        }
        let rest = bounds.max - offset;
        let limits = &self.config.pop;
        let in_flight = self.pops.in_flight.messages(plan.queue(source));
        if limits.limits_in_flight && in_flight > limits.in_flight_limit {
            return Look::Skip { rest };
        }
        if plan.is_orderly && self.is_pop_blocked(plan, source, now_ms) {
            // An acknowledgement wakes the parked pops, so what is left is no reason to look again.
            return Look::Skip { rest: 0 };
        }
        if rest == 0 || taken >= plan.max_messages {
            return Look::Skip { rest };
        }
        Look::From(offset)
    }

    /// Where the group is in the queue; where it would begin if it has never been there.
    pub fn pop_offset(
        &self,
        plan: &PopPlan,
        source: &Source,
        bounds: QueueBounds,
        store: &dyn StoreView,
    ) -> u64 {
        let known = self
            .offsets
            .query(&plan.group, &source.topic, source.queue_id as i32);
        let offset = match known.and_then(|offset| u64::try_from(offset).ok()) {
            Some(offset) => offset,
            // As where a pull begins: a young queue is read from its start.
            None if plan.starts_with_newest
                && !source.is_retry
                && !starts_recently(store, bounds, &source.topic, source.queue_id) =>
            {
                bounds.max.saturating_sub(1)
            }
            None => bounds.min,
        };
        offset.clamp(bounds.min, bounds.max)
    }

    pub fn is_pop_blocked(&self, plan: &PopPlan, source: &Source, now_ms: u64) -> bool {
        let attempt_id = plan.attempt_id.as_deref();
        let (group, topic) = (&plan.group, &source.topic);
        self.pops
            .orders
            .is_blocked(group, topic, source.queue_id, attempt_id, now_ms)
    }

    /// Whether this receipt belongs to another pop; then the queue has to wait for the next millisecond.
    pub fn is_receipt_taken(&self, plan: &PopPlan, source: &Source, key: PopKey) -> bool {
        self.pops.in_flight.place(plan.queue(source), key).is_some()
    }

    /// Notes what an orderly pop hands out.
    pub fn popped_in_order(
        &mut self,
        plan: &PopPlan,
        source: &Source,
        offsets: &[u64],
        pop_time_ms: u64,
    ) -> Times {
        let attempt_id = plan.attempt_id.as_deref();
        self.pops.orders.hand_out(
            &plan.group,
            &source.topic,
            source.queue_id,
            attempt_id,
            offsets,
            plan.invisible_ms,
            pop_time_ms,
        )
    }

    /// Whether the topic is still the one whose messages were read: it may have been deleted and made anew meanwhile, and the
    /// offsets of the old one say nothing of the new one.
    pub fn is_current(&self, source: &Source) -> bool {
        source.epoch.is_some() && self.topics.epoch(&source.topic) == source.epoch
    }

    /// None of the messages up to there passes the group's filter.
    pub fn skipped(&mut self, plan: &PopPlan, source: &Source, next_offset: u64, now_ms: u64) {
        if !self.is_current(source) {
            return;
        }
        let (group, topic, id) = (&plan.group, &source.topic, source.queue_id as i32);
        self.offsets
            .commit(group, topic, id, next_offset as i64, now_ms);
    }

    /// Counts the messages of one queue that a pop or a peek delivers, and that have been read since `since_ms`.
    pub fn handed_out(
        &mut self,
        plan: &PopPlan,
        source: &Source,
        messages: u64,
        bytes: u64,
        since_ms: u64,
        now_ms: u64,
    ) {
        self.stats.found(messages);
        let delivered = Delivered {
            group: &plan.group,
            topic: &source.topic,
            queue_id: plan.queue_id.map_or(-1, |queue_id| queue_id as i32),
            messages,
            bytes,
            read_ms: now_ms.saturating_sub(since_ms),
            // A peek hides nothing.
            is_pop: plan.invisible_ms > 0,
        };
        self.stats.group_get(&delivered, now_ms);
    }
}

impl PopPlan {
    /// Until when it may wait, from its client's clock.
    fn waiting(mut self, born_ms: i64, poll_ms: i64, now_ms: u64) -> Self {
        if poll_ms > 0 {
            let until_ms = born_ms.saturating_add(poll_ms).max(0) as u64;
            // A client whose clock is ahead does not wait longer than it said.
            self.waits_until_ms = Some(until_ms.min(now_ms.saturating_add(poll_ms as u64)));
        }
        self
    }
}

/// A plan that takes nothing.
fn look_around(group: &str, topic: &str, queue_id: Option<u32>) -> PopPlan {
    PopPlan {
        group: group.into(),
        topic: topic.into(),
        queue_id,
        max_messages: 0,
        invisible_ms: 0,
        filter: TagFilter::All,
        properties: None,
        is_orderly: false,
        attempt_id: None,
        starts_with_newest: false,
        waits_until_ms: None,
    }
}
