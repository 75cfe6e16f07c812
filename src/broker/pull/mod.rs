//! Pulls: permission, filter, and the reply (RocketMQ: `PullMessageProcessor`,
//! `DefaultPullMessageResultHandler`).
//!
//! [`Broker::admit_pull`] makes a plan; [`PullPlan::before_scan`] says from the queue's bounds whether there is anything
//! to scan; [`PullPlan::after_scan`] says what to do with what the scan found.

mod attempt;
mod status;

use std::borrow::Cow;

pub use self::attempt::Attempt;
use self::status::Status;
use super::filter::{self, PropertyFilter, TagFilter};
use super::perm;
use super::refusal::{missing_group, missing_topic};
use super::stats::Delivered;
use super::{Broker, Refusal};
use crate::message::names;
use crate::store::{QueueBounds, QueueIndex};
use crate::wire::codes::response;
use crate::wire::pull::{PullReply, PullRequest};

/// Entries that one pull may look at, at least; a filter that matches nothing must not hold up the others.
const MIN_SCANNED_ENTRIES: u32 = 800;

/// Steps of an SQL92 expression that one pull may take: a fraction of a millisecond.
const MAX_FILTER_STEPS: usize = 4_000;

/// A pull that may be carried out.
#[derive(Clone, Debug)]
pub struct PullPlan<'a> {
    pub group: Cow<'a, str>,
    pub topic: Cow<'a, str>,
    pub queue_id: u32,
    /// The queue's handle, if the topic's entry has it already.
    pub queue: Option<QueueIndex>,
    pub max_messages: u32,
    pub max_bytes: u32,
    pub max_entries: u32,
    pub filter: TagFilter,
    /// What the messages themselves must be like.
    pub properties: Option<PropertyFilter>,
    attempt: Attempt,
    offset: i64,
    /// `offset` as the request had it. A parked pull moves on from there, past what its filter rejects.
    asked_offset: i64,
    topic_sys_flag: i32,
    group_sys_flag: i32,
    is_lite: bool,
    /// The subscription version of a pull whose filter comes from its group's heartbeats; `None` if the request has its own filter.
    sub_version: Option<i64>,
}

/// What a pull needs of its group, its topic and its queue.
struct Readable {
    queue: Option<QueueIndex>,
    topic_sys_flag: i32,
    group_sys_flag: i32,
    broadcast_enable: bool,
}

/// What to do with a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullOutcome {
    /// Look into the queue from this offset on.
    Scan(u64),
    /// Wait for a message ([`PullPlan::park`]); at the deadline ask again with [`PullPlan::without_hold`].
    Park,
    Reply(PullAnswer),
}

/// The reply to a pull, but for its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullAnswer {
    pub code: i32,
    pub remark: &'static str,
    pub header: PullReply,
}

/// What a scan of the queue found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// Messages to hand out.
    Found { next_offset: u64 },
    /// Entries, but none that the filter lets through.
    NoneMatched { next_offset: u64 },
    /// Entries whose messages have been deleted meanwhile.
    Removed { next_offset: u64 },
    /// The entries from the offset up to this one have been deleted meanwhile.
    Gap { next_offset: u64 },
}

impl PullAnswer {
    pub fn is_found(&self) -> bool {
        self.code == response::SUCCESS
    }
}

impl PullPlan<'_> {
    /// To keep beyond the request's bytes.
    pub fn into_owned(self) -> PullPlan<'static> {
        PullPlan {
            group: Cow::Owned(self.group.into_owned()),
            topic: Cow::Owned(self.topic.into_owned()),
            ..self
        }
    }

    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// The pull moves on, past what its filter rejects.
    pub fn skip_to(&mut self, offset: i64) {
        self.offset = offset;
    }

    /// Parks the pull, and says until when at most. `None`: it is to be answered now.
    pub fn park(&mut self, now_ns: u64) -> Option<u64> {
        self.attempt = self.attempt.parked(now_ns);
        self.attempt.deadline_ns()
    }

    /// What was found is of another filter or another queue: the pull may be parked as long as a new one.
    pub fn begin_again(self) -> Self {
        let attempt = self.attempt.begun_again();
        Self { attempt, ..self }
    }

    /// The last attempt, which ends with an answer.
    pub fn without_hold(self) -> Self {
        let attempt = self.attempt.without_hold();
        Self { attempt, ..self }
    }

    /// From the queue's bounds alone.
    pub fn before_scan(&self, bounds: QueueBounds) -> PullOutcome {
        let (min, max) = (bounds.min as i64, bounds.max as i64);
        let (status, next) = match (self.attempt, self.offset) {
            (Attempt::Reset { offset }, _) => (Status::OffsetReset, offset),
            _ if max == 0 => (Status::NoMessageInQueue, 0),
            (_, offset) if offset < min => (Status::OffsetTooSmall, min),
            (_, offset) if offset == max => (Status::OffsetOverflowOne, offset),
            (_, offset) if offset > max => (Status::OffsetOverflowBadly, max),
            (_, offset) => return PullOutcome::Scan(offset as u64),
        };
        self.outcome(status, next, bounds)
    }

    /// From what the scan found.
    pub fn after_scan(&self, scanned: Scanned, bounds: QueueBounds) -> PullOutcome {
        let (status, next) = match scanned {
            Scanned::Found { next_offset } => (Status::Found, next_offset),
            Scanned::NoneMatched { next_offset } => (Status::NoMatchedMessage, next_offset),
            Scanned::Removed { next_offset } => (Status::MessageWasRemoving, next_offset),
            Scanned::Gap { next_offset } => (Status::OffsetFoundNull, next_offset),
        };
        self.outcome(status, next as i64, bounds)
    }

    fn outcome(&self, status: Status, next: i64, bounds: QueueBounds) -> PullOutcome {
        let (code, remark) = status.code_and_remark(self.offset);
        match code {
            response::PULL_NOT_FOUND if self.attempt.may_park() => PullOutcome::Park,
            _ => PullOutcome::Reply(PullAnswer {
                code,
                remark,
                header: PullReply {
                    suggest_which_broker_id: 0,
                    next_begin_offset: next,
                    min_offset: bounds.min as i64,
                    max_offset: bounds.max as i64,
                    topic_sys_flag: Some(self.topic_sys_flag),
                    group_sys_flag: Some(self.group_sys_flag),
                    offset_delta: None,
                    forbidden_type: None,
                },
            }),
        }
    }
}

/// `forbiddenType` of a refused pull.
mod forbidden {
    pub const BROKER: i32 = 1;
    pub const GROUP: i32 = 2;
    pub const TOPIC: i32 = 3;
    pub const BROADCASTING: i32 = 4;
    pub const SUBSCRIPTION: i32 = 5;
}

impl Broker {
    /// Decides on a pull, and commits the offset that it brings along. `Err` is the reply.
    pub fn admit_pull<'a>(
        &mut self,
        request: &PullRequest<'a>,
        is_lite: bool,
        now_ms: u64,
    ) -> Result<PullPlan<'a>, Refusal> {
        let (group, topic) = (request.consumer_group, request.topic);
        self.check_pulls_allowed(is_lite)?;
        if self.find_or_create_group(group, now_ms).is_none() {
            return Err(missing_group(group));
        }
        let readable = self.check_readable_queue(group, topic, request.queue_id)?;
        let sub_version = (!request.brings_subscription()).then_some(request.sub_version);
        let (filter, properties) = match sub_version {
            None => self.filter_of_header(request)?,
            Some(version) => {
                self.filter_of_heartbeat(group, topic, version, readable.broadcast_enable)?
            }
        };
        let reset = self
            .offsets
            .take_reset(group, topic, request.queue_id, request.queue_offset);
        // A reset is stronger than what the consumer has done meanwhile.
        if request.commits() && reset.is_none() {
            let offset = request.commit_offset;
            self.offsets
                .commit(group, topic, request.queue_id, offset, now_ms);
        }
        let attempt = match reset {
            Some(offset) => Attempt::Reset { offset },
            None if !request.suspends() => Attempt::Last,
            None => Attempt::First {
                hold_ms: match self.config.long_polling {
                    true => request.suspend_timeout_ms.max(0) as u64,
                    false => self.config.short_polling_ms,
                },
            },
        };
        let wanted = request.max_msg_nums.max(1) as u32;
        Ok(PullPlan {
            group: Cow::Borrowed(group),
            topic: Cow::Borrowed(topic),
            queue_id: request.queue_id as u32,
            queue: readable.queue,
            max_messages: wanted.min(self.config.max_pull_messages),
            max_bytes: self.config.max_pull_bytes,
            max_entries: max_entries(wanted, properties.as_ref()),
            filter,
            properties,
            attempt,
            offset: request.queue_offset,
            asked_offset: request.queue_offset,
            topic_sys_flag: readable.topic_sys_flag,
            group_sys_flag: readable.group_sys_flag,
            is_lite,
            sub_version,
        })
    }

    /// Decides again on a pull that has waited: with the permissions, the topic, the group and the subscription of now.
    ///
    /// A new filter begins where the request did, since what the old one has skipped may match it. Returns whether the filter
    /// or the place to read from has changed. `Err` is the reply.
    pub fn reconsider(&mut self, plan: &mut PullPlan<'_>) -> Result<bool, Refusal> {
        let (group, topic, queue_id) = (&*plan.group, &*plan.topic, plan.queue_id as i32);
        self.check_pulls_allowed(plan.is_lite)?;
        let readable = self.check_readable_queue(group, topic, queue_id)?;
        let mut is_changed = false;
        if let Some(version) = plan.sub_version {
            let (filter, properties) =
                self.filter_of_heartbeat(group, topic, version, readable.broadcast_enable)?;
            is_changed = filter != plan.filter || properties != plan.properties;
            if is_changed {
                plan.max_entries = max_entries(plan.max_messages, properties.as_ref());
                (plan.filter, plan.properties) = (filter, properties);
                plan.offset = plan.asked_offset;
            }
        }
        let reset = self.offsets.take_reset(group, topic, queue_id, plan.offset);
        is_changed |= reset.is_some()
            || plan
                .queue
                .is_some_and(|queue| readable.queue != Some(queue));
        if let Some(offset) = reset {
            plan.attempt = Attempt::Reset { offset };
        }
        plan.queue = readable.queue;
        plan.topic_sys_flag = readable.topic_sys_flag;
        plan.group_sys_flag = readable.group_sys_flag;
        Ok(is_changed)
    }

    fn check_pulls_allowed(&self, is_lite: bool) -> Result<(), Refusal> {
        let ip = self.config.advertise.ip();
        if !perm::is_readable(self.config.broker_permission) {
            let remark = format!("the broker[{ip}] pulling message is forbidden");
            return Err(Refusal::forbidden(forbidden::BROKER, remark));
        }
        if is_lite && !self.config.lite_pull {
            let remark = format!("the broker[{ip}] for lite pull consumer is forbidden");
            return Err(Refusal::forbidden(forbidden::BROKER, remark));
        }
        Ok(())
    }

    fn check_readable_queue(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
    ) -> Result<Readable, Refusal> {
        let Some(config) = self.groups.find(group) else {
            return Err(missing_group(group));
        };
        if !config.consume_enable {
            let remark = format!("subscription group no permission, {group}");
            return Err(Refusal::forbidden(forbidden::GROUP, remark));
        }
        let Some(entry) = self.topics.find(topic) else {
            return Err(missing_topic(topic));
        };
        if !perm::is_readable(entry.config.perm) {
            let remark = format!("the topic[{topic}] pulling message is forbidden");
            return Err(Refusal::forbidden(forbidden::TOPIC, remark));
        }
        if !(0..entry.config.read_queue_nums).contains(&queue_id) {
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                format!(
                    "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{}] consumer:[{group}]",
                    entry.config.read_queue_nums
                ),
            ));
        }
        Ok(Readable {
            queue: entry.queues.get(queue_id as usize).copied().flatten(),
            topic_sys_flag: entry.config.topic_sys_flag,
            group_sys_flag: config.group_sys_flag,
            broadcast_enable: config.consume_broadcast_enable,
        })
    }

    /// Counts a reply, whose messages have been read since `since_ms`, and remembers how far the group has read.
    pub fn pull_answered(
        &mut self,
        plan: &PullPlan<'_>,
        answer: &PullAnswer,
        messages: u32,
        bytes: u64,
        since_ms: u64,
        now_ms: u64,
    ) {
        match answer.is_found() {
            true => {
                self.stats.found(messages.into());
                let delivered = Delivered {
                    group: &plan.group,
                    topic: &plan.topic,
                    queue_id: plan.queue_id as i32,
                    messages: messages.into(),
                    bytes,
                    read_ms: now_ms.saturating_sub(since_ms),
                    is_pop: false,
                };
                self.stats.group_get(&delivered, now_ms);
            }
            false => self.stats.missed(),
        }
        let queue_id = plan.queue_id as i32;
        self.offsets.pulled(
            &plan.group,
            &plan.topic,
            queue_id,
            answer.header.next_begin_offset,
        );
    }

    /// The request has the subscription, as pull consumers without a subscription do.
    fn filter_of_header(
        &mut self,
        request: &PullRequest<'_>,
    ) -> Result<(TagFilter, Option<PropertyFilter>), Refusal> {
        let expression = request.subscription.unwrap_or("");
        if let Some(kind) = request.expression_type
            && !filter::is_tag_type(Some(kind))
            && !expression.is_empty()
            && !self.config.property_filter
        {
            return Err(no_property_filter(kind));
        }
        self.parse_filter(expression, request.expression_type)
    }

    pub(super) fn parse_filter(
        &mut self,
        expression: &str,
        expression_type: Option<&str>,
    ) -> Result<(TagFilter, Option<PropertyFilter>), Refusal> {
        let Some(kind) = expression_type.filter(|kind| !filter::is_tag_type(Some(kind))) else {
            let tags = TagFilter::parse(expression).map_err(|_| parse_failed())?;
            return Ok((tags, None));
        };
        if expression.is_empty() {
            return Err(parse_failed());
        }
        // RocketMQ's pull has an assertion here that is off, and lets everything through.
        let selector = self.selectors.find_or_parse(kind, expression);
        let selector = selector.map_err(|_| parse_failed())?;
        Ok((TagFilter::All, Some(PropertyFilter::Selector(selector))))
    }

    /// What the group's heartbeats have subscribed to.
    fn filter_of_heartbeat(
        &self,
        name: &str,
        topic: &str,
        sub_version: i64,
        broadcast_enable: bool,
    ) -> Result<(TagFilter, Option<PropertyFilter>), Refusal> {
        let missing = |what| Refusal::new(response::SUBSCRIPTION_NOT_EXIST, what);
        let Some(group) = self.clients.consumers(name) else {
            return Err(missing(format!(
                "the consumer's group info not exist, no heartbeat of group[{name}] so far"
            )));
        };
        if !broadcast_enable && group.is_broadcasting() {
            let remark = format!("the consumer group[{name}] can not consume by broadcast way");
            return Err(Refusal::forbidden(forbidden::BROADCASTING, remark));
        }
        if !self.groups.may_read(name, topic) {
            let remark = format!("the consumer group[{name}] is forbidden for topic[{topic}]");
            return Err(Refusal::forbidden(forbidden::SUBSCRIPTION, remark));
        }
        let Some(subscription) = group.subscription(topic) else {
            return Err(missing(format!(
                "the consumer's subscription not exist, group[{name}] topic[{topic}]"
            )));
        };
        if subscription.data.sub_version < sub_version {
            return Err(Refusal::new(
                response::SUBSCRIPTION_NOT_LATEST,
                "the consumer's subscription not latest",
            ));
        }
        let kind = &subscription.data.expression_type;
        if filter::is_tag_type(Some(kind)) {
            return Ok((subscription.filter.clone(), None));
        }
        let Some(selector) = &subscription.selector else {
            return Err(Refusal::new(
                response::FILTER_DATA_NOT_EXIST,
                "The broker's consumer filter data is not exist!Your expression may be wrong!",
            ));
        };
        if !self.config.property_filter {
            return Err(no_property_filter(kind));
        }
        if subscription.data.class_filter_mode {
            return Ok((TagFilter::All, None));
        }
        let is_retry = self.config.filter_support_retry && topic.starts_with(names::RETRY_PREFIX);
        let properties = match is_retry {
            true => PropertyFilter::ByOrigin(
                group
                    .selectors()
                    .map(|(topic, selector)| (topic.into(), selector.clone()))
                    .collect(),
            ),
            false => PropertyFilter::Selector(selector.clone()),
        };
        Ok((TagFilter::All, Some(properties)))
    }
}

/// How many entries one scan of a queue may skip.
fn max_entries(wanted: u32, properties: Option<&PropertyFilter>) -> u32 {
    match properties {
        None => wanted.clamp(MIN_SCANNED_ENTRIES, MIN_SCANNED_ENTRIES * 8),
        Some(filter) => {
            let messages = (MAX_FILTER_STEPS / filter.cost()) as u32;
            messages.clamp(1, MIN_SCANNED_ENTRIES)
        }
    }
}

pub(super) fn no_property_filter(expression_type: &str) -> Refusal {
    Refusal::new(
        response::SYSTEM_ERROR,
        format!("The broker does not support consumer to filter message by {expression_type}"),
    )
}

fn parse_failed() -> Refusal {
    Refusal::new(
        response::SUBSCRIPTION_PARSE_FAILED,
        "parse the consumer's subscription failed",
    )
}
