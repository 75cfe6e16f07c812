//! What the broker asks of a store. Each call is passed on to the object that owns the answer.

mod log;
mod queues;

use std::sync::Arc;

use super::gate::Lack;
use super::{AppendError, Appended, Medium, QueueIndex, Retention, Store, StoreError};
use crate::io::{Io, Space};
use crate::message::Message;

/// Messages in (`append.rs`).
impl<I: Io> Store<I> {
    /// Encodes a message into the log. `tags_code` replaces that of the message's tags in the queue's entry.
    pub fn append(
        &self,
        queue: QueueIndex,
        message: &Message<'_>,
        tags_code: Option<i64>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.refuse_if_following()?;
        self.appends.append(queue, message, tags_code, now_ms)
    }

    /// Encodes several messages of one queue one behind the other, in one segment; all or none.
    pub fn append_batch(
        &self,
        queue: QueueIndex,
        messages: &[Message<'_>],
        now_ms: i64,
    ) -> Result<Vec<Appended>, AppendError> {
        self.refuse_if_following()?;
        self.appends.append_batch(queue, messages, now_ms)
    }

    /// Whether messages of `len` bytes in all can be appended now.
    pub fn room_for(&self, len: usize) -> bool {
        self.appends.room_for(len)
    }

    /// Done when there is room, or when there never will be.
    pub async fn wait_for_room(&self, len: usize) {
        self.appends.wait_for_room(len).await;
    }

    /// Whether messages of `len` bytes in all would be taken one after the other, if there is room for them.
    pub fn takes(&self, len: usize) -> Result<(), AppendError> {
        self.refuse_if_following()?;
        self.appends.takes(len)
    }

    /// Why no message is taken now, whatever its size, if so.
    pub fn refuses(&self) -> Option<AppendError> {
        self.gate.check_open().err()
    }

    /// Store time of the oldest message that the disk has not taken yet, unless it never will.
    pub fn waiting_since_ms(&self) -> Option<i64> {
        self.appends.waiting_since_ms()
    }

    /// Why nothing can be appended any more, if so.
    pub fn fence(&self) -> Option<Arc<str>> {
        self.gate.fence_reason()
    }

    /// Why no message is taken until there is space again, if so.
    pub fn full(&self) -> Option<Arc<str>> {
        self.gate.full().or_else(|| self.log.no_space())
    }
}

/// Retention (`retention/`) and the files of config/.
impl<I: Io> Store<I> {
    /// For files below the store's directory that others write: an error there sets the store's fence.
    pub fn medium(&self) -> &Medium<I> {
        &self.io
    }

    /// Messages are kept by these rules from now on.
    pub fn keep_by(&self, retention: Retention) {
        self.cleaner.keep_by(retention);
    }

    /// These topics keep their messages for so many milliseconds only, and all others as long as the log does.
    pub fn keep_topics(&self, reserved_ms: Vec<(String, u64)>) {
        self.cleaner.keep_topics(reserved_ms);
    }

    /// Expired files of the log go now, at any hour.
    pub fn clean_log_now(&self) {
        self.cleaner.clean_log_now();
    }

    /// Queue files all of whose messages are gone go now.
    pub fn clean_queues_now(&self) {
        self.cleaner.clean_queues_now();
    }

    /// The disk's space as it was when it was looked at last.
    pub fn disk_space(&self) -> Space {
        self.cleaner.disk_space()
    }

    /// A file of config/.
    pub async fn load_text(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.texts.load(name).await
    }

    /// A file of config/ that only grows, with whatever a crash has left at its end.
    pub async fn load_grown(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.texts.load_grown(name).await
    }

    pub async fn save_text(&self, name: &str, text: String) -> Result<(), StoreError> {
        let saved = self.texts.save(name, text).await;
        self.note_text(&saved);
        saved
    }

    /// How the write of a file of config/ went that is not a text as a whole.
    pub fn note_text<T>(&self, written: &Result<T, StoreError>) {
        self.gate.note_written(Lack::Texts, written);
    }
}
