//! A message that its consumer could not process: again later, or with the dead letters (RocketMQ:
//! `AbstractSendMessageProcessor.consumerSendMsgBack`).

use std::borrow::Cow;

use super::clients::Peer;
use super::perm;
use super::refusal::missing_group;
use super::send_plan::{OwnMessage, SendPlan, check_properties};
use super::topics::unit_sys_flag;
use super::{Broker, Refusal};
use crate::message::ids::offset_message_id;
use crate::message::names;
use crate::message::{Record, properties};
use crate::wire::codes::{V3_4_9, response};
use crate::wire::send_back::SendBack;

/// The first retry comes at this level (10 s), each further one a level later.
const FIRST_RETRY_LEVEL: i32 = 3;

/// Properties that the way back writes anew.
const REWRITTEN: [&str; 5] = [
    properties::WAIT,
    properties::DELAY,
    properties::ORIGIN_MESSAGE_ID,
    properties::REAL_TOPIC,
    properties::REAL_QUEUE_ID,
];

impl Broker {
    /// Decides on a send-back. `record` is what stands at the request's offset, if anything does. `Ok(None)`: the group
    /// wants no retries, the reply is success.
    pub fn admit_send_back<'a>(
        &mut self,
        request: &SendBack<'_>,
        record: Option<&Record<'a>>,
        peer: &Peer,
        now_ms: u64,
    ) -> Result<Option<SendPlan<'a>>, Refusal> {
        let group = request.group;
        let Some(config) = self.find_or_create_group(group, now_ms) else {
            return Err(missing_group(group));
        };
        let (queue_nums, group_max_times) = (config.retry_queue_nums, config.retry_max_times);
        if !perm::is_writeable(self.config.broker_permission) {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!(
                    "the broker[{}] sending message is forbidden",
                    self.config.advertise.ip()
                ),
            ));
        }
        if queue_nums <= 0 {
            return Ok(None);
        }
        let retry_topic = names::retry_topic(group);
        let topic_sys_flag = unit_sys_flag(&retry_topic, request.unit_mode);
        self.create_retry_topic(&retry_topic, queue_nums, topic_sys_flag, now_ms);
        let topic_perm = self
            .topics
            .find(&retry_topic)
            .map_or(0, |entry| entry.config.perm);
        if !perm::is_writeable(topic_perm) {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!("the topic[{retry_topic}] sending message is forbidden"),
            ));
        }
        let Some(record) = record else {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!("look message by offset failed, {}", request.offset),
            ));
        };
        let max_times = match request.max_reconsume_times {
            Some(times) if peer.version >= V3_4_9 => times,
            _ => group_max_times,
        };
        let is_dead = record.reconsume_times >= max_times || request.delay_level < 0;
        let delay_level = match request.delay_level {
            _ if is_dead => 0,
            0 => FIRST_RETRY_LEVEL.saturating_add(record.reconsume_times),
            level => level,
        };
        let (topic, queue_id) = if is_dead {
            let dlq = names::dlq_topic(group);
            self.create_derived(&dlq, 1, false, 0, now_ms);
            (dlq, 0)
        } else {
            (retry_topic, self.random() % queue_nums as u32)
        };
        let own = OwnMessage {
            queue: self.known_queue(&topic, queue_id),
            topic: Cow::Owned(topic),
            queue_id,
            reconsume_times: record.reconsume_times.saturating_add(1),
            properties: rewritten(record, delay_level),
        };
        let mut plan = SendPlan::of_record(record, own);
        if delay_level > 0 {
            self.schedule(&mut plan, delay_level, now_ms);
        }
        check_properties(plan.properties())?;
        let origin = properties::find(record.properties, properties::RETRY_TOPIC);
        let origin = origin.unwrap_or(record.topic);
        self.stats.sent_back(group, origin, now_ms);
        Ok(Some(plan))
    }

    /// Keeps the order flag that a heartbeat gave it.
    fn create_retry_topic(
        &mut self,
        topic: &str,
        queue_nums: i32,
        topic_sys_flag: i32,
        now_ms: u64,
    ) {
        let order = self.topics.is_order(topic);
        self.create_derived(topic, queue_nums, order, topic_sys_flag, now_ms);
    }
}

/// The record's properties with those that the way back changes. The original topic and id stay those of the first time.
fn rewritten(record: &Record<'_>, delay_level: i32) -> String {
    let old = record.properties_without_crc();
    let mut new = properties::retained(old, |name| !REWRITTEN.contains(&name), 128);
    if properties::find(old, properties::RETRY_TOPIC).is_none() {
        properties::push(&mut new, properties::RETRY_TOPIC, record.topic);
    }
    properties::push(&mut new, properties::WAIT, "false");
    properties::push(&mut new, properties::DELAY, &delay_level.to_string());
    let id = offset_message_id(record.store_host, record.physical_offset);
    let origin = properties::find(old, properties::ORIGIN_MESSAGE_ID);
    let origin = origin
        .filter(|origin| !origin.trim().is_empty())
        .unwrap_or(&id);
    properties::push(&mut new, properties::ORIGIN_MESSAGE_ID, origin);
    new
}
