//! Appending messages: whether one is accepted, whether there is room, its bytes in the log, and its entry in its queue once
//! the log is committed that far.
//!
//! The sizes of a message are checked once, which reads all of its properties; what was found is a [`Prepared`] message.
//! Room and segment are chosen by its length, and its record is encoded straight into the log buffer.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::config::StoreConfig;
use super::error::AppendError;
use super::gate::Gate;
use super::log::Log;
use super::log::watermarks::Dispatched;
use super::queues::Queues;
use super::queues::entry::Entry;
use super::queues::memory::{QueueIndex, chunks_for, chunks_of};
use crate::io::Io;
use crate::message::{
    CRC_PROPERTY_BYTES, MAX_PROPERTIES_BYTES, MAX_TOPIC_BYTES, Message, properties, sys_flag,
    tags_code,
};

/// A record in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub physical_offset: u64,
    /// Log position behind it: what has to be committed before it may be acknowledged.
    pub end: u64,
    pub queue_offset: u64,
    pub store_timestamp_ms: i64,
    pub len: usize,
}

/// Appended, not yet committed.
struct Pending {
    queue: QueueIndex,
    entry: Entry,
    /// It gets an entry in its queue.
    is_consumable: bool,
    store_time_ms: i64,
}

/// A message whose sizes are within their limits, and the length of its record.
#[derive(Clone, Copy)]
struct Prepared<'m> {
    message: &'m Message<'m>,
    len: usize,
}

/// Puts messages into the log, and into their queues when they are committed.
pub(super) struct Appends<I: Io> {
    config: Rc<StoreConfig>,
    log: Rc<Log<I>>,
    queues: Rc<Queues<I>>,
    gate: Rc<Gate>,
    /// In log order.
    pending: RefCell<VecDeque<Pending>>,
    /// Chunks that the pending batches may need besides one for each.
    chunks_of_batches: Cell<usize>,
    last_store_time_ms: Cell<i64>,
}

impl<I: Io> Appends<I> {
    pub fn new(
        config: Rc<StoreConfig>,
        log: Rc<Log<I>>,
        queues: Rc<Queues<I>>,
        gate: Rc<Gate>,
    ) -> Self {
        Self {
            config,
            last_store_time_ms: Cell::new(log.marks().last_store_time_ms()),
            log,
            queues,
            gate,
            pending: RefCell::default(),
            chunks_of_batches: Cell::new(0),
        }
    }

    /// Whether messages of `len` bytes in all can be appended now.
    pub fn room_for(&self, len: usize) -> bool {
        self.gate.check_open().is_err()
            || len > self.config.max_batch_bytes()
            || self.has_room(len, 1)
            || self.log.check_file(len).is_err()
    }

    /// In the log buffer and, once they are committed, in the queues. Each message that waits for its commit may need a
    /// chunk of its own.
    fn has_room(&self, len: usize, messages: u16) -> bool {
        let waiting = self.pending.borrow().len() + self.chunks_of_batches.get();
        let chunks = waiting + chunks_for(len).max(chunks_of(messages));
        self.log.has_room(len) && self.queues.memory().free_chunks() >= chunks
    }

    /// Whether messages of `len` bytes in all would be taken one after the other, if there is room for them.
    pub fn takes(&self, len: usize) -> Result<(), AppendError> {
        self.gate.check_open()?;
        self.log.check_file(len)
    }

    /// Store time of the oldest message that the disk has not taken yet, unless it never will. Messages that the disk has and a
    /// replica has not are no sign of a slow disk.
    pub fn waiting_since_ms(&self) -> Option<i64> {
        self.gate.check_open().ok()?;
        let pending = self.pending.borrow();
        let persisted = self.log.marks().persisted();
        // Without replicas the first one.
        let first = pending.front()?;
        if first.entry.end() > persisted {
            return Some(first.store_time_ms);
        }
        let first = pending.partition_point(|pending| pending.entry.end() <= persisted);
        pending.get(first).map(|pending| pending.store_time_ms)
    }

    /// Done when there is room, or when there never will be.
    pub async fn wait_for_room(&self, len: usize) {
        let is_there = || self.room_for(len).then_some(());
        self.gate.room.until(is_there).await;
    }

    /// Encodes a message into the log. `tags_code` replaces that of the message's tags in the queue's entry. An inner batch states where in the
    /// queue it begins (RocketMQ: `BatchConsumeQueue.assignQueueOffset`).
    pub fn append(
        &self,
        queue: QueueIndex,
        message: &Message<'_>,
        tags_code: Option<i64>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.gate.check_open()?;
        if message.sys_flag & sys_flag::INNER_BATCH == 0 {
            return self.append_record(queue, message, tags_code, now_ms);
        }
        let mut base = String::new();
        let next = self.queues.bounds(queue).next;
        properties::push(&mut base, properties::INNER_BASE, &next.to_string());
        let batch = Message {
            properties: message.properties.with(&base),
            ..*message
        };
        self.append_record(queue, &batch, tags_code, now_ms)
    }

    fn append_record(
        &self,
        queue: QueueIndex,
        message: &Message<'_>,
        tags_code: Option<i64>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let prepared = self.prepare(queue, message)?;
        self.log.check_file(prepared.len)?;
        if !self.has_room(prepared.len, message.messages()) {
            return Err(AppendError::NoRoom);
        }
        Ok(self.append_one(queue, prepared, tags_code, now_ms))
    }

    /// Encodes several messages of one queue one behind the other, in one segment; all or none.
    pub fn append_batch(
        &self,
        queue: QueueIndex,
        messages: &[Message<'_>],
        now_ms: i64,
    ) -> Result<Vec<Appended>, AppendError> {
        self.gate.check_open()?;
        let prepared = messages.iter().map(|message| self.prepare(queue, message));
        let prepared = prepared.collect::<Result<Vec<_>, _>>()?;
        let total: usize = prepared.iter().map(|prepared| prepared.len).sum();
        // As RocketMQ counts them: as records, all together, without the CRCs (`MessageExtEncoder.encode`).
        let got = total - prepared.len() * CRC_PROPERTY_BYTES;
        let limit = self.config.max_record_bytes();
        if got > limit || total > self.config.max_batch_bytes() {
            return Err(AppendError::RecordSize { got, limit });
        }
        self.log.check_file(total)?;
        if !self.has_room(total, 1) {
            return Err(AppendError::NoRoom);
        }
        self.log.start_unit(total);
        let prepared = prepared.into_iter();
        Ok(prepared
            .map(|prepared| self.append_one(queue, prepared, None, now_ms))
            .collect())
    }

    /// Checks what is the message's own fault.
    fn prepare<'m>(
        &self,
        queue: QueueIndex,
        message: &'m Message<'m>,
    ) -> Result<Prepared<'m>, AppendError> {
        let memory = self.queues.memory();
        let target = memory.queue(queue);
        if target.gone {
            return Err(AppendError::NoQueue);
        }
        let (got, limit) = (message.body.len(), self.config.max_message_bytes);
        if got > limit {
            return Err(AppendError::BodySize { got, limit });
        }
        let topic = memory.topic_of(queue);
        let fields = message.record_fields(topic, target.queue_id, self.config.store_host);
        let (got, limit) = (fields.properties_len(), MAX_PROPERTIES_BYTES);
        if got > limit {
            return Err(AppendError::PropertiesSize { got, limit });
        }
        let len = fields.encoded_len_with(got);
        let (got, limit) = (fields.topic.len(), MAX_TOPIC_BYTES);
        if got > limit {
            return Err(AppendError::TopicSize { got, limit });
        }
        let limit = self.config.max_record_bytes();
        if len > limit {
            return Err(AppendError::RecordSize { got: len, limit });
        }
        Ok(Prepared { message, len })
    }

    /// Appends what there is room for.
    fn append_one(
        &self,
        queue: QueueIndex,
        Prepared { message, len }: Prepared<'_>,
        tags: Option<i64>,
        now_ms: i64,
    ) -> Appended {
        let now_ms = now_ms.max(self.last_store_time_ms.get());
        let is_consumable = sys_flag::is_consumable(message.sys_flag);
        let tags_code = tags.unwrap_or_else(|| {
            let tags = message.properties.find(properties::TAGS);
            tags.map_or(0, tags_code)
        });
        let (queue_offset, physical_offset) = {
            let memory = self.queues.memory();
            let target = memory.queue(queue);
            let topic = memory.topic_of(queue);
            let mut fields = message.record_fields(topic, target.queue_id, self.config.store_host);
            fields.queue_offset = if is_consumable { target.bounds.next } else { 0 };
            fields.store_timestamp_ms = now_ms;
            let physical_offset = self.log.append(len, |physical_offset, dst| {
                fields.physical_offset = physical_offset;
                fields.encode(dst);
            });
            (fields.queue_offset, physical_offset)
        };
        let messages = message.messages();
        let offsets = if is_consumable { messages } else { 0 };
        self.queues.assign(queue, offsets.into());
        let entry = Entry::new(physical_offset, len as u32, tags_code).with_messages(messages);
        if messages > 1 {
            let all = self.chunks_of_batches.get() + extra_chunks(messages);
            self.chunks_of_batches.set(all);
        }
        self.pending.borrow_mut().push_back(Pending {
            queue,
            entry,
            is_consumable,
            store_time_ms: now_ms,
        });
        self.last_store_time_ms.set(now_ms);
        Appended {
            physical_offset,
            end: entry.end(),
            queue_offset,
            store_timestamp_ms: now_ms,
            len,
        }
    }

    /// Makes the messages visible that end at or before `end`.
    pub fn dispatch(&self, end: u64) -> Option<Dispatched> {
        let mut dispatched: Option<Dispatched> = None;
        let mut pending = self.pending.borrow_mut();
        while let Some(next) = pending.pop_front_if(|pending| pending.entry.end() <= end) {
            let time_ms = next.store_time_ms;
            let one = Dispatched {
                end: next.entry.end(),
                last_record: next.entry.physical_offset,
                messages: 1,
                first_ms: time_ms,
                last_ms: time_ms,
            };
            dispatched = Some(dispatched.map_or(one, |before| before.followed_by(one)));
            if next.entry.messages() > 1 {
                let left = self.chunks_of_batches.get() - extra_chunks(next.entry.messages());
                self.chunks_of_batches.set(left);
            }
            if next.is_consumable {
                self.queues.show(next.queue, next.entry, time_ms);
            }
        }
        dispatched
    }
}

/// Chunks that the entries of a batch may need besides one.
fn extra_chunks(messages: u16) -> usize {
    chunks_of(messages) - 1
}
