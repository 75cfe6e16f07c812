//! What becomes of a sent message: where it goes, what is written with it, or why it is refused (RocketMQ:
//! `SendMessageProcessor`, `AbstractSendMessageProcessor.msgCheck`, `HookUtils.handleScheduleMessage`).
//!
//! In the usual case a send allocates nothing and looks its topic up once.

use std::borrow::Cow;

use super::clients::Peer;
use super::perm;
use super::refusal::{missing_group, missing_topic, sending_forbidden};
use super::send_batch::{may_be_inner, messages_in_single};
use super::send_plan::{SendPlan, UniqueKey, check_properties, illegal};
use super::send_properties::SendProperties;
use super::system_topics::SCHEDULE;
use super::topics::{NewTopic, TopicEntry, queue_count, unit_sys_flag};
use super::{Broker, Refusal, system_topics};
use crate::message::names;
use crate::message::{properties, sys_flag, tags_code};
use crate::store::QueueIndex;
use crate::wire::codes::{V3_4_9, response};
use crate::wire::send::SendRequest;
use crate::wire::topic::{TopicConfig, TopicFilterType};

impl Broker {
    /// Decides on a send. `Err` is the reply.
    pub fn admit_send<'a>(
        &mut self,
        request: &SendRequest<'a>,
        body: &'a [u8],
        peer: &Peer,
        now_ms: u64,
    ) -> Result<SendPlan<'a>, Refusal> {
        self.check_size(request, body)?;
        let client_properties = request.properties.unwrap_or("");
        let requested = SendProperties::of(client_properties);
        let target = self.target_queue(request, peer, now_ms)?;
        let mut sys_flag = request.sys_flag;
        if target.has_multi_tags {
            sys_flag |= sys_flag::MULTI_TAGS;
        }
        let mut plan = SendPlan {
            topic: Cow::Borrowed(request.topic),
            queue_id: target.queue_id,
            real_queue_id: target.queue_id,
            queue: target.queue,
            flag: request.flag,
            sys_flag,
            born_timestamp_ms: request.born_timestamp_ms,
            born_host: peer.addr,
            reconsume_times: request.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: 0,
            body,
            messages: 1,
            batch: None,
            batch_bytes: 0,
            deliver_time_ms: None,
            timer_out_ms: None,
            tags_code: Some(requested.tags.map_or(0, tags_code)),
            wait: requested.wait != Some("false"),
            message_type: Some(requested.message_type()),
            unique_key: requested
                .unique_key
                .map_or(UniqueKey::None, UniqueKey::Client),
            client_properties: requested.stripped(client_properties),
            own_properties: String::new(),
            suffix: Some(self.suffix.clone()),
        };
        match request.batch {
            true if target.takes_inner_batches && requested.unique_key.is_some() => {
                self.finish_inner_batch(&requested, &mut plan)?;
            }
            true => self.finish_batch(request, &requested, &mut plan)?,
            false => {
                let takes = target.takes_inner_batches;
                plan.messages = messages_in_single(sys_flag, &requested, body, takes)?;
                self.finish_single(request, &requested, peer, &mut plan, now_ms)?;
            }
        }
        if names::is_retry_or_dlq(&plan.topic) {
            plan.message_type = None;
        }
        Ok(plan)
    }

    /// The queue that a send goes to; its topic is created if that is allowed.
    fn target_queue(
        &mut self,
        request: &SendRequest<'_>,
        peer: &Peer,
        now_ms: u64,
    ) -> Result<TargetQueue, Refusal> {
        let is_writeable = perm::is_writeable(self.config.broker_permission);
        let broker_ip = self.config.advertise.ip();
        let random = self.random();
        let TopicEntry { config, queues, .. } = match self.topics.find(request.topic) {
            Some(entry) if !system_topics::is_closed_to_clients(request.topic) => entry,
            _ => self.check_topic(request, now_ms)?,
        };
        if config.order && !is_writeable {
            return Err(sending_forbidden(broker_ip));
        }
        let queue_id = queue_id(request, config, random, peer)?;
        Ok(TargetQueue {
            queue_id,
            queue: queues.get(queue_id as usize).copied().flatten(),
            has_multi_tags: config.topic_filter_type == TopicFilterType::MultiTag,
            takes_inner_batches: may_be_inner(request) && config.takes_inner_batches(),
        })
    }

    fn finish_single(
        &mut self,
        request: &SendRequest<'_>,
        requested: &SendProperties<'_>,
        peer: &Peer,
        plan: &mut SendPlan<'_>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let mut delay_level = requested.delay_level()?;
        if let Some(group) = names::retry_group(request.topic)
            && self.is_dead_letter(group, request, peer, now_ms)?
        {
            let dlq = self.dead_letter_topic(group, now_ms)?;
            let counted = self.stats.gets_mut(request.producer_group, request.topic);
            counted.dead_letters += 1;
            plan.queue = self.known_queue(&dlq, 0);
            plan.queue_id = 0;
            plan.topic = Cow::Owned(dlq);
            properties::push(&mut plan.own_properties, properties::DELAY, "-1");
            delay_level = 0;
        }
        // Old clients leave the mark of the half message on what they send back.
        let is_half = requested.is_half && !(plan.reconsume_times > 0 && delay_level > 0);
        if is_half {
            self.check_half_allowed()?;
        }
        if matches!(plan.unique_key, UniqueKey::None) {
            let id = self.make_unique_key(now_ms);
            properties::push(&mut plan.own_properties, properties::UNIQUE_KEY, &id);
            plan.unique_key = UniqueKey::Made(id);
        }
        if is_half && !mutant!(HalfVisible) {
            return self.hold(plan);
        }
        if sys_flag::is_consumable(plan.sys_flag) {
            if delay_level > 0 {
                self.schedule(plan, delay_level, now_ms);
            } else if requested.timer.is_timed() {
                self.postpone(plan, requested, now_ms)?;
            }
        }
        check_properties(plan.properties())
    }

    /// Redirects a message into the schedule topic.
    pub(super) fn schedule(&self, plan: &mut SendPlan<'_>, delay_level: i32, now_ms: u64) {
        let level = self.delays.clamp(delay_level);
        if level != delay_level {
            properties::push(
                &mut plan.own_properties,
                properties::DELAY,
                &level.to_string(),
            );
        }
        let own = &mut plan.own_properties;
        properties::push(own, properties::REAL_TOPIC, &plan.topic);
        properties::push(own, properties::REAL_QUEUE_ID, &plan.queue_id.to_string());
        plan.topic = Cow::Borrowed(SCHEDULE);
        plan.queue_id = (level - 1) as u32;
        plan.queue = self.known_queue(SCHEDULE, plan.queue_id);
        plan.deliver_time_ms = Some(self.delays.deliver_time_ms(level, now_ms));
    }

    pub(super) fn known_queue(&self, topic: &str, queue_id: u32) -> Option<QueueIndex> {
        let entry = self.topics.find(topic)?;
        entry.queues.get(queue_id as usize).copied().flatten()
    }

    fn check_size(&self, request: &SendRequest<'_>, body: &[u8]) -> Result<(), Refusal> {
        let limit = self.config.max_message_bytes;
        if body.is_empty() {
            return Err(illegal("the message is illegal, it has no body".into()));
        }
        if body.len() > limit {
            let what = if request.batch { "batch" } else { "body" };
            return Err(illegal(format!(
                "the message is illegal, its {what} is {} bytes, limit {limit} (maxMessageSize)",
                body.len()
            )));
        }
        Ok(())
    }

    /// For a topic that is not there or not open: the reason, or makes it.
    fn check_topic(
        &mut self,
        request: &SendRequest<'_>,
        now_ms: u64,
    ) -> Result<&TopicEntry, Refusal> {
        let topic = request.topic;
        names::check_topic(topic)
            .map_err(|remark| Refusal::new(response::INVALID_PARAMETER, remark))?;
        if system_topics::is_closed_to_clients(topic) {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!("Sending message to topic[{topic}] is forbidden."),
            ));
        }
        let topic_sys_flag = unit_sys_flag(topic, request.unit_mode);
        let wanted = NewTopic {
            topic,
            template: request.default_topic,
            queue_nums: request.default_topic_queue_nums,
            topic_sys_flag,
        };
        if self
            .topics
            .create_by_template(wanted, self.config.auto_create_topic, now_ms)
        {
            self.topic_changed(topic);
        } else if names::retry_group(topic).is_some() {
            self.create_derived(topic, 1, false, topic_sys_flag, now_ms);
        }
        self.topics.find(topic).ok_or_else(|| missing_topic(topic))
    }

    /// Whether a message that a consumer sends for its retry has had its last chance.
    fn is_dead_letter(
        &mut self,
        group: &str,
        request: &SendRequest<'_>,
        peer: &Peer,
        now_ms: u64,
    ) -> Result<bool, Refusal> {
        let Some(config) = self.find_or_create_group(group, now_ms) else {
            return Err(missing_group(group));
        };
        let max_reconsume_times = match request.max_reconsume_times {
            Some(times) if peer.version >= V3_4_9 => times,
            _ => config.retry_max_times,
        };
        // A group that holds locks consumes in order; its message would come back out of order.
        let reconsume_times = request.reconsume_times.unwrap_or(0);
        Ok(reconsume_times > max_reconsume_times || self.locks.holds_any(group, now_ms))
    }
}

/// Where a send goes.
struct TargetQueue {
    queue_id: u32,
    /// The queue's handle, if the topic's entry has it already.
    queue: Option<QueueIndex>,
    has_multi_tags: bool,
    /// Only looked up for what may be an inner batch.
    takes_inner_batches: bool,
}

/// The queue that the request names, or a random one if it names none.
fn queue_id(
    request: &SendRequest<'_>,
    config: &TopicConfig,
    random: u32,
    peer: &Peer,
) -> Result<u32, Refusal> {
    let remark = match request.queue_id {
        id if id < 0 => match config.write_queue_nums {
            1.. => return Ok(random % config.write_queue_nums as u32),
            _ => format!("topic[{}] has no queue to write to", request.topic),
        },
        id if (id as usize) < queue_count(config) => return Ok(id as u32),
        id => format!(
            "request queueId[{id}] is illegal, topic[{}] has readQueueNums {} and writeQueueNums {} Producer: {}",
            request.topic, config.read_queue_nums, config.write_queue_nums, peer.addr
        ),
    };
    Err(Refusal::new(response::INVALID_PARAMETER, remark))
}
