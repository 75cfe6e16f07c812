//! A message that its consumer could not process: it is delivered again later, or becomes a dead letter (RocketMQ:
//! `AbstractSendMessageProcessor.consumerSendMsgBack`).

use std::borrow::Cow;

use super::clients::Peer;
use super::perm;
use super::refusal::{missing_group, sending_forbidden, topic_is_leaving};
use super::send_plan::{OwnMessage, SendPlan, check_properties};
use super::topics::unit_sys_flag;
use super::{Broker, Refusal};
use crate::message::ids::offset_message_id;
use crate::message::names;
use crate::message::{MAX_OWN_PROPERTIES_BYTES, Record, properties, sys_flag};
use crate::wire::codes::{V3_4_9, response};
use crate::wire::send_back::SendBack;

/// The first retry comes at this level (10 s), each further one a level later.
const FIRST_RETRY_LEVEL: i32 = 3;

/// Properties that a send-back rewrites. A delayed delivery writes the last two; a dead letter keeps those of its last delivery, as in RocketMQ.
const REWRITTEN: [&str; 5] = [
    properties::WAIT,
    properties::DELAY,
    properties::ORIGIN_MESSAGE_ID,
    properties::REAL_TOPIC,
    properties::REAL_QUEUE_ID,
];

/// Properties that are not left out: they identify the message.
const NEEDED: [&str; 2] = [properties::RETRY_TOPIC, properties::UNIQUE_KEY];

/// The longest value that one of them can sensibly have.
const NEEDED_BYTES: usize = 1024;

/// Names of the properties that were left out of a message that was sent back, as there was no room for them.
const OMITTED: &str = "RINGMQ_OMITTED_PROPERTIES";

/// The longest list of them.
const OMITTED_BYTES: usize = 256;

/// What a delayed delivery adds: the level, the longest topic, the queue.
const SCHEDULED_BYTES: usize = 320;

/// Where a group's messages are delivered again, and how often.
struct Retries {
    topic: String,
    queue_nums: u32,
    max_times: i32,
}

impl Broker {
    /// Decides on a send-back. `record` is the message at the request's offset, if there is one. `Ok(None)`: the group has no
    /// retries, and the reply is success.
    pub fn admit_send_back<'a>(
        &mut self,
        request: &SendBack<'_>,
        record: Option<&Record<'a>>,
        peer: &Peer,
        now_ms: u64,
    ) -> Result<Option<SendPlan<'a>>, Refusal> {
        let group = request.group;
        let Some(retries) = self.retries_of(request, now_ms)? else {
            return Ok(None);
        };
        let Some(record) = record else {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!("look message by offset failed, {}", request.offset),
            ));
        };
        // Its consumer sends the message itself then, which is one of several here (RocketMQ: `HookUtils.checkInnerBatch`).
        if record.sys_flag & sys_flag::INNER_BATCH != 0 {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                "the message is one of an inner batch, which cannot be sent back",
            ));
        }
        let max_times = match request.max_reconsume_times {
            Some(times) if peer.version >= V3_4_9 => times,
            _ => retries.max_times,
        };
        let is_dead = record.reconsume_times >= max_times || request.delay_level < 0;
        let (topic, queue_id) = match is_dead {
            true => (self.dead_letter_topic(group, now_ms)?, 0),
            false => (retries.topic, self.random() % retries.queue_nums),
        };
        let delay_level = match request.delay_level {
            _ if is_dead => 0,
            0 => FIRST_RETRY_LEVEL.saturating_add(record.reconsume_times),
            level => level,
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
        if is_dead {
            self.stats.gets_mut(group, origin).dead_letters += 1;
        }
        Ok(Some(plan))
    }

    /// The group's retries, their topic created; `None` if it has none.
    fn retries_of(
        &mut self,
        request: &SendBack<'_>,
        now_ms: u64,
    ) -> Result<Option<Retries>, Refusal> {
        let group = request.group;
        let Some(config) = self.find_or_create_group(group, now_ms) else {
            return Err(missing_group(group));
        };
        let (queue_nums, max_times) = (config.retry_queue_nums, config.retry_max_times);
        if !perm::is_writeable(self.config.broker_permission) {
            return Err(sending_forbidden(self.config.advertise.ip()));
        }
        if queue_nums <= 0 {
            return Ok(None);
        }
        let topic = names::retry_topic(group);
        let topic_sys_flag = unit_sys_flag(&topic, request.unit_mode);
        self.create_retry_topic(&topic, queue_nums, topic_sys_flag, now_ms);
        let entry = self.topics.find(&topic);
        if !perm::is_writeable(entry.map_or(0, |entry| entry.config.perm)) {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!("the topic[{topic}] sending message is forbidden"),
            ));
        }
        Ok(Some(Retries {
            topic,
            queue_nums: queue_nums as u32,
            max_times,
        }))
    }

    /// The group's topic of dead letters, made if need be.
    pub(super) fn dead_letter_topic(
        &mut self,
        group: &str,
        now_ms: u64,
    ) -> Result<String, Refusal> {
        let topic = names::dlq_topic(group);
        self.create_derived(&topic, 1, false, 0, now_ms);
        match self.topics.is_leaving(&topic) {
            true => Err(topic_is_leaving(&topic)),
            false => Ok(topic),
        }
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

/// The record's properties as rewritten by a send-back. Original topic and id stay those of the first send-back.
fn rewritten(record: &Record<'_>, delay_level: i32) -> String {
    let old = record.properties_without_crc();
    let mut own = String::new();
    if properties::find(old, properties::RETRY_TOPIC).is_none() {
        properties::push(&mut own, properties::RETRY_TOPIC, record.topic);
    }
    properties::push(&mut own, properties::WAIT, "false");
    properties::push(&mut own, properties::DELAY, &delay_level.to_string());
    let id = offset_message_id(record.store_host, record.physical_offset);
    let origin = properties::find(old, properties::ORIGIN_MESSAGE_ID);
    let origin = origin
        .filter(|origin| !origin.trim().is_empty() && origin.len() <= NEEDED_BYTES)
        .unwrap_or(&id);
    properties::push(&mut own, properties::ORIGIN_MESSAGE_ID, origin);
    let room = MAX_OWN_PROPERTIES_BYTES.saturating_sub(own.len() + SCHEDULED_BYTES);
    let is_rewritten = match delay_level {
        0 => &REWRITTEN[..3],
        _ => &REWRITTEN[..],
    };
    let mut new = fitting(old, room, is_rewritten);
    new.push_str(&own);
    new
}

/// The properties that the message keeps: all, or if they are longer than `room`, without the longest ones. A message that its
/// consumer can never process must become a dead letter, however long its properties are; which ones are missing is in
/// [`OMITTED`].
fn fitting(old: &[u8], room: usize, rewritten: &[&str]) -> String {
    let all = properties::retained(old, |name| !rewritten.contains(&name), 512);
    if all.len() <= room {
        return all;
    }
    let mut names: Vec<(usize, &str)> = properties::iter(old)
        .filter(|(name, value)| {
            let is_needed = NEEDED.contains(name) && value.len() <= NEEDED_BYTES;
            !rewritten.contains(name) && !is_needed
        })
        .map(|(name, value)| (name.len() + value.len() + 2, name))
        .collect();
    names.sort_unstable();
    let mut len = all.len() + OMITTED.len() + 2 + OMITTED_BYTES;
    let mut omitted: Vec<&str> = Vec::new();
    while len > room
        && let Some((bytes, name)) = names.pop()
    {
        omitted.push(name);
        len -= bytes;
    }
    let mut kept = properties::retained(&*all, |name| !omitted.contains(&name), 512);
    let mut list = omitted.join(",");
    list.truncate(list.floor_char_boundary(OMITTED_BYTES));
    properties::push(&mut kept, OMITTED, &list);
    kept
}
