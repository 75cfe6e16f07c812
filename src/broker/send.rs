//! What becomes of a sent message: where it goes, what is written with it, or why it is refused (RocketMQ:
//! `SendMessageProcessor`, `AbstractSendMessageProcessor.msgCheck`, `HookUtils.handleScheduleMessage`).
//!
//! A plan borrows from its request; in the usual case it allocates nothing and looks its topic up once.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::clients::Peer;
use super::delay::SCHEDULE;
use super::noted::Noted;
use super::perm;
use super::topics::{TopicEntry, Wish, queue_count, unit_sys_flag};
use super::{Broker, Refusal, system_topics};
use crate::message::ids::MessageId;
use crate::message::names;
use crate::message::{
    MAX_PROPERTIES_BYTES, Message, Properties, RecordFields, batch, properties, sys_flag, tags_code,
};
use crate::store::QueueIndex;
use crate::wire::codes::{V3_4_9, response};
use crate::wire::send::SendRequest;
use crate::wire::topic::TopicFilterType;

/// What the records of a batch may take beside `maxMessageSize`, as in the store: a batch is appended in one piece.
const BATCH_BESIDE_BODY_BYTES: usize = 64 << 10;

/// Space that the store takes for the CRC property behind a message's own.
const CRC_PROPERTY_BYTES: usize = 20;

/// A message that may be stored.
#[derive(Clone, Debug)]
pub struct SendPlan<'a> {
    pub topic: Cow<'a, str>,
    pub queue_id: u32,
    /// The one that the producer is told: where the message will be in the end.
    pub real_queue_id: u32,
    /// The queue's handle, if the topic's entry has it already.
    pub queue: Option<QueueIndex>,
    pub flag: i32,
    pub sys_flag: i32,
    pub born_timestamp_ms: i64,
    pub born_host: SocketAddr,
    pub reconsume_times: i32,
    /// Of a committed message: where its half message is.
    pub prepared_transaction_offset: u64,
    /// Of a batch: all its messages, already checked.
    pub body: &'a [u8],
    /// How many messages `body` holds as a batch.
    pub batch: Option<u32>,
    /// Of a batch: the sum of its records.
    batch_bytes: usize,
    /// When a message in the schedule topic is due; its ConsumeQueue entry holds this in place of the tag.
    pub deliver_time_ms: Option<i64>,
    /// TIMER_OUT_MS of a message in the timer topic.
    pub timer_out_ms: Option<i64>,
    /// Hash of the message's tag where it is known already; the store looks for it otherwise.
    tags_code: Option<i64>,
    /// False if the producer does not care for the flush.
    pub wait: bool,
    pub unique_key: UniqueKey<'a>,
    client_properties: Cow<'a, [u8]>,
    pub(super) own_properties: String,
    /// The same for every message of a broker.
    suffix: &'static str,
}

/// The id by which the producer knows its message.
#[derive(Clone, Copy, Debug)]
pub enum UniqueKey<'a> {
    None,
    Client(&'a str),
    Made(MessageId),
}

impl SendPlan<'_> {
    /// What the store is to write for a message that is not a batch.
    pub fn message(&self) -> Message<'_> {
        self.with_body(self.flag, self.body, self.properties())
    }

    /// What the store is to write for one message of a batch: with its own properties only, as RocketMQ does.
    pub fn batch_message<'b>(&self, item: &batch::BatchItem<'b>) -> Message<'b> {
        self.with_body(item.flag, item.body, Properties::new(item.properties))
    }

    /// How much the plan takes in the log of a broker with this address.
    pub fn log_bytes(&self, store_host: SocketAddr) -> usize {
        match self.batch {
            Some(_) => self.batch_bytes,
            None => self.record_bytes(&self.message(), store_host),
        }
    }

    fn record_bytes(&self, message: &Message<'_>, store_host: SocketAddr) -> usize {
        let fields = RecordFields {
            queue_id: self.queue_id,
            flag: message.flag,
            queue_offset: 0,
            physical_offset: 0,
            sys_flag: message.sys_flag,
            born_timestamp_ms: message.born_timestamp_ms,
            born_host: message.born_host,
            store_timestamp_ms: 0,
            store_host,
            reconsume_times: message.reconsume_times,
            prepared_transaction_offset: message.prepared_transaction_offset,
            body: message.body,
            topic: &self.topic,
            properties: message.properties,
        };
        fields.encoded_len()
    }

    /// What the queue's entry is to hold besides the message's place; `None` leaves it to the store.
    pub fn entry_code(&self) -> Option<i64> {
        self.deliver_time_ms.or(self.tags_code)
    }

    pub fn properties(&self) -> Properties<'_> {
        Properties::new(&*self.client_properties)
            .with(&self.own_properties)
            .with(self.suffix)
    }

    fn with_body<'b>(&self, flag: i32, body: &'b [u8], properties: Properties<'b>) -> Message<'b> {
        Message {
            flag,
            sys_flag: self.sys_flag,
            born_timestamp_ms: self.born_timestamp_ms,
            born_host: self.born_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body,
            properties,
        }
    }
}

impl UniqueKey<'_> {
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Client(key) => Some(key),
            Self::Made(id) => Some(id),
        }
    }
}

/// A message that the broker itself writes: sent back or due.
pub(super) struct OwnMessage<'a> {
    pub topic: Cow<'a, str>,
    pub queue_id: u32,
    pub queue: Option<QueueIndex>,
    pub reconsume_times: i32,
    pub properties: String,
}

impl<'a> SendPlan<'a> {
    pub(super) fn of_record(record: &crate::message::Record<'a>, own: OwnMessage<'a>) -> Self {
        Self {
            flag: record.flag,
            sys_flag: record.sys_flag,
            born_timestamp_ms: record.born_timestamp_ms,
            ..Self::of_broker(record.body, record.born_host, own)
        }
    }

    /// A message with this body and nothing else that a producer could give it.
    pub(super) fn of_broker(body: &'a [u8], born_host: SocketAddr, own: OwnMessage<'a>) -> Self {
        Self {
            topic: own.topic,
            queue_id: own.queue_id,
            real_queue_id: own.queue_id,
            queue: own.queue,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 0,
            born_host,
            reconsume_times: own.reconsume_times,
            prepared_transaction_offset: 0,
            body,
            batch: None,
            batch_bytes: 0,
            deliver_time_ms: None,
            timer_out_ms: None,
            tags_code: None,
            wait: false,
            unique_key: UniqueKey::None,
            client_properties: Cow::Borrowed(&[]),
            own_properties: own.properties,
            suffix: "",
        }
    }
}

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
        let noted = Noted::of(client_properties);
        let broker_is_writeable = perm::is_writeable(self.config.broker_permission);
        let random = self.random();
        let TopicEntry { config, queues, .. } = match self.topics.find(request.topic) {
            Some(entry) if !system_topics::is_closed_to_clients(request.topic) => entry,
            _ => self.check_topic(request, now_ms)?,
        };
        if config.order && !broker_is_writeable {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!(
                    "the broker[{}] sending message is forbidden",
                    self.config.advertise.ip()
                ),
            ));
        }
        let queue_id = match request.queue_id {
            id if id < 0 => match config.write_queue_nums {
                1.. => random % config.write_queue_nums as u32,
                _ => {
                    return Err(Refusal::new(
                        response::INVALID_PARAMETER,
                        format!("topic[{}] has no queue to write to", request.topic),
                    ));
                }
            },
            id if (id as usize) < queue_count(config) => id as u32,
            id => {
                return Err(Refusal::new(
                    response::INVALID_PARAMETER,
                    format!(
                        "request queueId[{id}] is illegal, topic[{}] has readQueueNums {} and writeQueueNums {} Producer: {}",
                        request.topic, config.read_queue_nums, config.write_queue_nums, peer.addr
                    ),
                ));
            }
        };
        let mut sys_flag = request.sys_flag;
        if config.topic_filter_type == TopicFilterType::MultiTag {
            sys_flag |= sys_flag::MULTI_TAGS;
        }
        let mut plan = SendPlan {
            topic: Cow::Borrowed(request.topic),
            queue_id,
            real_queue_id: queue_id,
            queue: queues.get(queue_id as usize).copied().flatten(),
            flag: request.flag,
            sys_flag,
            born_timestamp_ms: request.born_timestamp_ms,
            born_host: peer.addr,
            reconsume_times: request.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: 0,
            body,
            batch: None,
            batch_bytes: 0,
            deliver_time_ms: None,
            timer_out_ms: None,
            tags_code: Some(noted.tags.map_or(0, tags_code)),
            wait: noted.wait != Some("false"),
            unique_key: noted.unique_key.map_or(UniqueKey::None, UniqueKey::Client),
            client_properties: noted.stripped(client_properties),
            own_properties: String::new(),
            suffix: self.suffix,
        };
        match request.batch {
            true => self.finish_batch(request, &mut plan)?,
            false => self.finish_single(request, &noted, peer, &mut plan, now_ms)?,
        }
        Ok(plan)
    }

    fn finish_batch(
        &self,
        request: &SendRequest<'_>,
        plan: &mut SendPlan<'_>,
    ) -> Result<(), Refusal> {
        if names::retry_group(request.topic).is_some() {
            return Err(illegal(format!(
                "batch to retry topic {} is not allowed",
                request.topic
            )));
        }
        let (mut messages, mut bytes) = (0, 0);
        let limit = self.config.max_message_bytes + BATCH_BESIDE_BODY_BYTES;
        for item in batch::iter(plan.body) {
            let item = item.map_err(|error| illegal(format!("batch is malformed: {error}")))?;
            let message = plan.batch_message(&item);
            check_properties(message.properties)?;
            messages += 1;
            bytes += plan.record_bytes(&message, self.config.advertise);
            if bytes > limit {
                return Err(illegal(format!(
                    "the message is illegal, the records of its batch are more than {limit} bytes"
                )));
            }
        }
        if messages == 0 {
            return Err(illegal("batch is empty".into()));
        }
        plan.batch = Some(messages);
        plan.batch_bytes = bytes;
        Ok(())
    }

    fn finish_single(
        &mut self,
        request: &SendRequest<'_>,
        noted: &Noted<'_>,
        peer: &Peer,
        plan: &mut SendPlan<'_>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let mut delay_level = noted.delay_level()?;
        if let Some(group) = names::retry_group(request.topic)
            && self.is_dead_letter(group, request, peer, now_ms)?
        {
            let dlq = names::dlq_topic(group);
            self.create_derived(&dlq, 1, false, 0, now_ms);
            plan.queue = self.known_queue(&dlq, 0);
            plan.queue_id = 0;
            plan.topic = Cow::Owned(dlq);
            properties::push(&mut plan.own_properties, properties::DELAY, "-1");
            delay_level = 0;
        }
        // Old clients leave the mark of the half message on what they send back.
        let is_half = noted.is_half && !(plan.reconsume_times > 0 && delay_level > 0);
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
            } else if noted.timer.is_timed() {
                self.postpone(plan, noted, now_ms)?;
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
        let wish = Wish {
            topic,
            template: request.default_topic,
            queue_nums: request.default_topic_queue_nums,
            topic_sys_flag,
        };
        if self
            .topics
            .create_from_template(wish, self.config.auto_create_topic, now_ms)
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

pub(super) fn check_properties(properties: Properties<'_>) -> Result<(), Refusal> {
    check_properties_with(properties, 0)
}

/// With so many bytes that the broker may add later.
pub(super) fn check_properties_with(
    properties: Properties<'_>,
    later_bytes: usize,
) -> Result<(), Refusal> {
    let bytes = properties.encoded_len() + CRC_PROPERTY_BYTES + later_bytes;
    if bytes <= MAX_PROPERTIES_BYTES {
        return Ok(());
    }
    Err(illegal(format!(
        "the message is illegal, its properties are {bytes} bytes with the broker's own, limit {MAX_PROPERTIES_BYTES}"
    )))
}

fn illegal(remark: String) -> Refusal {
    Refusal::new(response::MESSAGE_ILLEGAL, remark)
}

pub fn missing_topic(topic: &str) -> Refusal {
    Refusal::new(
        response::TOPIC_NOT_EXIST,
        format!("topic[{topic}] not exist, apply first please!"),
    )
}

pub(super) fn missing_group(group: &str) -> Refusal {
    Refusal::new(
        response::SUBSCRIPTION_GROUP_NOT_EXIST,
        format!("subscription group [{group}] does not exist"),
    )
}
