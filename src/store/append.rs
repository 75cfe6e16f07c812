//! Appending messages to the log: whether one is accepted, whether there is room, and its bytes.
//!
//! The sizes of a message are checked once, which reads all of its properties; what was found is a [`Prepared`] message.
//! Room and segment are chosen by its length, and its record is encoded straight into the log buffer.

use super::queues::entry::Entry;
use super::queues::memory::{QueueIndex, chunks_for};
use super::{AppendError, State, Store, StoreConfig};
use crate::io::Io;
use crate::message::{
    MAX_PROPERTIES_BYTES, MAX_TOPIC_BYTES, Message, RecordFields, properties, sys_flag, tags_code,
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
pub(super) struct Pending {
    pub queue: QueueIndex,
    pub entry: Entry,
    /// It gets an entry in its queue.
    pub is_consumable: bool,
    pub store_time_ms: i64,
}

/// A message whose sizes are within their limits, and the length of its record.
#[derive(Clone, Copy)]
struct Prepared<'m> {
    message: &'m Message<'m>,
    len: usize,
}

impl<I: Io> Store<I> {
    /// Whether messages of `len` bytes in all can be appended now.
    pub fn room_for(&self, len: usize) -> bool {
        let state = self.state.borrow();
        state.check_open().is_err()
            || len > self.config.max_record_bytes()
            || state.room_for(len)
            || self.check_file(&state, len).is_err()
    }

    /// Why no message is taken now, whatever its size, if so.
    pub fn refuses(&self) -> Option<AppendError> {
        self.state.borrow().check_open().err()
    }

    /// Whether messages of `len` bytes in all would be taken one after the other, if there is room for them.
    pub fn takes(&self, len: usize) -> Result<(), AppendError> {
        let state = self.state.borrow();
        state.check_open()?;
        self.check_file(&state, len)
    }

    /// Whether there is a file for `len` bytes, or can be one. What is appended is sure to get its place, so that a full
    /// disk refuses messages and never fails one that was taken.
    fn check_file(&self, state: &State, len: usize) -> Result<(), AppendError> {
        let Some(reason) = self.segments.no_space() else {
            return Ok(());
        };
        match self.segments.end() {
            Some(end) if state.log.end_of(len) <= end => Ok(()),
            _ => Err(AppendError::NoSpace { reason }),
        }
    }

    /// Store time of the oldest message that the disk has not taken yet, unless it never will.
    pub fn waiting_since_ms(&self) -> Option<i64> {
        let state = self.state.borrow();
        state.check_open().ok()?;
        state.pending.front().map(|pending| pending.store_time_ms)
    }

    /// Done when there is room, or when there never will be.
    pub async fn wait_for_room(&self, len: usize) {
        self.room.until(|| self.room_for(len).then_some(())).await;
    }

    /// Encodes a message into the log. `tags_code` replaces that of the message's tags in the queue's entry.
    pub fn append(
        &self,
        queue: QueueIndex,
        message: &Message<'_>,
        tags_code: Option<i64>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let mut state = self.state.borrow_mut();
        state.check_open()?;
        let prepared = state.prepare(&self.config, queue, message)?;
        self.check_file(&state, prepared.len)?;
        if !state.room_for(prepared.len) {
            return Err(AppendError::NoRoom);
        }
        let appended = state.append_one(&self.config, queue, prepared, tags_code, now_ms);
        drop(state);
        self.work.notify();
        Ok(appended)
    }

    /// Encodes several messages of one queue one behind the other, in one segment; all or none.
    pub fn append_batch(
        &self,
        queue: QueueIndex,
        messages: &[Message<'_>],
        now_ms: i64,
    ) -> Result<Vec<Appended>, AppendError> {
        let mut state = self.state.borrow_mut();
        state.check_open()?;
        let prepared = messages
            .iter()
            .map(|message| state.prepare(&self.config, queue, message))
            .collect::<Result<Vec<_>, _>>()?;
        let total = prepared.iter().map(|prepared| prepared.len).sum();
        // As RocketMQ counts them: as records, all together (`MessageExtEncoder.encode`).
        let limit = self.config.max_record_bytes();
        if total > limit {
            return Err(AppendError::RecordSize { got: total, limit });
        }
        self.check_file(&state, total)?;
        if !state.room_for(total) {
            return Err(AppendError::NoRoom);
        }
        state.log.start_unit(total);
        let appended = prepared
            .into_iter()
            .map(|prepared| state.append_one(&self.config, queue, prepared, None, now_ms))
            .collect();
        drop(state);
        self.work.notify();
        Ok(appended)
    }
}

impl State {
    /// In the log buffer and, once they are committed, in the queues. Each message that waits for its commit may need a
    /// chunk of its own.
    fn room_for(&self, len: usize) -> bool {
        let chunks = self.pending.len() + chunks_for(len);
        self.log.room_for(len) && self.queues.free_chunks() >= chunks
    }

    pub(super) fn check_open(&self) -> Result<(), AppendError> {
        match self.fence.reason() {
            Some(reason) => Err(AppendError::Fenced { reason }),
            None if self.closing => Err(AppendError::Closing),
            None => match self.full.reason() {
                Some(reason) => Err(AppendError::NoSpace {
                    reason: reason.clone(),
                }),
                None => Ok(()),
            },
        }
    }

    /// Checks what is the message's own fault.
    fn prepare<'m>(
        &self,
        config: &StoreConfig,
        queue: QueueIndex,
        message: &'m Message<'m>,
    ) -> Result<Prepared<'m>, AppendError> {
        let target = self.queues.queue(queue);
        if target.gone {
            return Err(AppendError::NoQueue);
        }
        let (got, limit) = (message.body.len(), config.max_message_bytes);
        if got > limit {
            return Err(AppendError::BodySize { got, limit });
        }
        let fields = fields_of(
            config,
            self.queues.topic_of(queue),
            target.queue_id,
            message,
        );
        let (got, limit) = (fields.properties_len(), MAX_PROPERTIES_BYTES);
        if got > limit {
            return Err(AppendError::PropertiesSize { got, limit });
        }
        let len = fields.encoded_len_with(got);
        let (got, limit) = (fields.topic.len(), MAX_TOPIC_BYTES);
        if got > limit {
            return Err(AppendError::TopicSize { got, limit });
        }
        let limit = config.max_record_bytes();
        if len > limit {
            return Err(AppendError::RecordSize { got: len, limit });
        }
        Ok(Prepared { message, len })
    }

    /// Appends what there is room for.
    fn append_one(
        &mut self,
        config: &StoreConfig,
        queue: QueueIndex,
        Prepared { message, len }: Prepared<'_>,
        tags: Option<i64>,
        now_ms: i64,
    ) -> Appended {
        let now_ms = now_ms.max(self.last_store_time_ms);
        let State { log, queues, .. } = self;
        let target = queues.queue(queue);
        let mut fields = fields_of(config, queues.topic_of(queue), target.queue_id, message);
        let is_consumable = sys_flag::is_consumable(message.sys_flag);
        fields.queue_offset = if is_consumable { target.bounds.next } else { 0 };
        fields.store_timestamp_ms = now_ms;
        let tags_code = tags.unwrap_or_else(|| {
            message
                .properties
                .find(properties::TAGS)
                .map_or(0, tags_code)
        });
        let physical_offset = log.append(len, |physical_offset, dst| {
            fields.physical_offset = physical_offset;
            fields.encode(dst);
        });
        let queue_offset = fields.queue_offset;
        queues.queue_mut(queue).bounds.next += u64::from(is_consumable);
        let entry = Entry {
            physical_offset,
            size: len as u32,
            tags_code,
        };
        self.pending.push_back(Pending {
            queue,
            entry,
            is_consumable,
            store_time_ms: now_ms,
        });
        self.last_store_time_ms = now_ms;
        Appended {
            physical_offset,
            end: entry.end(),
            queue_offset,
            store_timestamp_ms: now_ms,
            len,
        }
    }
}

/// All fields but what the append decides: offsets and store time.
fn fields_of<'a>(
    config: &StoreConfig,
    topic: &'a str,
    queue_id: u32,
    message: &Message<'a>,
) -> RecordFields<'a> {
    RecordFields {
        queue_id,
        flag: message.flag,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: message.sys_flag,
        born_timestamp_ms: message.born_timestamp_ms,
        born_host: message.born_host,
        store_timestamp_ms: 0,
        store_host: config.store_host,
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: message.prepared_transaction_offset,
        body: message.body,
        topic,
        properties: message.properties,
    }
}
