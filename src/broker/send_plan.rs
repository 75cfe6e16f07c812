//! A message that is to be stored: what a send, a message that is due and the broker's own messages become.
//!
//! A plan borrows from its request or record; in the usual case it allocates nothing.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;

use super::Refusal;
use super::puts::MessageType;
use super::system_topics::HALF;
use crate::message::ids::MessageId;
use crate::message::{
    MAX_OWN_PROPERTIES_BYTES, MAX_PROPERTIES_BYTES, Message, Properties, batch, properties,
    sys_flag,
};
use crate::store::QueueIndex;
use crate::wire::codes::response;

/// A message that may be stored.
#[derive(Clone, Debug)]
pub struct SendPlan<'a> {
    pub topic: Cow<'a, str>,
    pub queue_id: u32,
    /// The one in the producer's answer: where the message will be in the end.
    pub real_queue_id: u32,
    /// The queue's handle, if the topic's entry has it already.
    pub queue: Option<QueueIndex>,
    pub flag: i32,
    pub sys_flag: i32,
    pub born_timestamp_ms: i64,
    pub born_host: SocketAddr,
    pub reconsume_times: i32,
    /// Where in the log the message comes from: the position of a committed one's half message, or the [`origin`] of a delivered one that
    /// has waited in the schedule or the timer topic. 0 for all others.
    pub prepared_transaction_offset: u64,
    /// Of a batch: all its messages, already checked.
    pub body: &'a [u8],
    /// Queue offsets that its record takes: of an inner batch one for each message, else 1.
    pub messages: u16,
    /// How many messages `body` holds as a batch whose messages become records of their own.
    pub batch: Option<u32>,
    /// Of a batch: the sum of its records.
    pub(super) batch_bytes: usize,
    /// When a message in the schedule topic is due; its ConsumeQueue entry holds this in place of the tag.
    pub deliver_time_ms: Option<i64>,
    /// TIMER_OUT_MS of a message in the timer topic.
    pub timer_out_ms: Option<i64>,
    /// Hash of the message's tag where it is known already; the store looks for it otherwise.
    pub(super) tags_code: Option<i64>,
    /// False if the producer does not care for the flush.
    pub wait: bool,
    pub unique_key: UniqueKey<'a>,
    /// As what it is counted. `None`: it is no message of a client, or was counted when it came.
    pub message_type: Option<MessageType>,
    /// Without a CRC.
    pub(super) client_properties: Cow<'a, [u8]>,
    pub(super) own_properties: String,
    /// The same for every message of a broker.
    pub(super) suffix: Option<Rc<str>>,
}

/// What the store adds to an inner batch: INNER_BASE with the largest offset.
const INNER_BASE_BYTES: usize = properties::INNER_BASE.len() + 1 + 20 + 1;

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
            None if self.is_inner_batch() => {
                self.record_bytes(&self.message(), store_host) + INNER_BASE_BYTES
            }
            None => self.record_bytes(&self.message(), store_host),
        }
    }

    /// Whether its record has the messages of a batch, packed.
    pub fn is_inner_batch(&self) -> bool {
        self.sys_flag & sys_flag::INNER_BATCH != 0
    }

    /// How much a message with this plan takes in the log.
    pub(super) fn record_bytes(&self, message: &Message<'_>, store_host: SocketAddr) -> usize {
        let fields = message.record_fields(&self.topic, self.queue_id, store_host);
        fields.encoded_len()
    }

    /// What the queue's entry is to hold besides the message's place; `None` leaves it to the store.
    pub fn entry_code(&self) -> Option<i64> {
        self.deliver_time_ms.or(self.tags_code)
    }

    /// Whether it is half of a transaction.
    pub fn is_half(&self) -> bool {
        self.message_type == Some(MessageType::Transaction) && self.topic == HALF
    }

    /// Whether the send waits for the replicas of a sync master: any value but "true" says that it does not (RocketMQ:
    /// `MessageExt.isWaitStoreMsgOK`).
    pub fn waits_for_replicas(&self) -> bool {
        let wait = self.properties().find(properties::WAIT);
        wait.is_none_or(|wait| wait.eq_ignore_ascii_case("true"))
    }

    pub fn properties(&self) -> Properties<'_> {
        Properties::default()
            .with_clean(&*self.client_properties)
            .with(&self.own_properties)
            .with_clean(self.suffix.as_deref().unwrap_or(""))
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

/// What a delivered message states of the record that waited: one more than its position. So it is never 0, and never a position where a half
/// message may be.
pub fn origin(physical_offset: u64) -> u64 {
    physical_offset + 1
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

    /// The message of a record whose time has come. It states where that record is, so that a restart sees it is delivered.
    pub(super) fn of_due(record: &crate::message::Record<'a>, own: OwnMessage<'a>) -> Self {
        Self {
            prepared_transaction_offset: origin(record.physical_offset),
            ..Self::of_record(record, own)
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
            messages: 1,
            batch: None,
            batch_bytes: 0,
            deliver_time_ms: None,
            timer_out_ms: None,
            tags_code: None,
            wait: false,
            unique_key: UniqueKey::None,
            message_type: None,
            client_properties: Cow::Borrowed(&[]),
            own_properties: own.properties,
            suffix: None,
        }
    }
}

/// As RocketMQ counts them: with what the broker has added by now, without the last separator.
pub(super) fn check_properties(properties: Properties<'_>) -> Result<(), Refusal> {
    let bytes = properties.encoded_len();
    if bytes <= MAX_OWN_PROPERTIES_BYTES {
        return Ok(());
    }
    let bytes = bytes - 1;
    Err(illegal(format!(
        "the message is illegal, its properties are {bytes} bytes with the broker's own, limit {MAX_PROPERTIES_BYTES}"
    )))
}

pub(super) fn illegal(remark: String) -> Refusal {
    Refusal::new(response::MESSAGE_ILLEGAL, remark)
}
