//! Sends that are in the log but not yet as durable as their producer is to be told.
//!
//! The log is committed in the order of its positions, so the acknowledgements wait in one queue and leave at its front.

use std::collections::VecDeque;
use std::rc::Rc;

use super::connection::Connection;
use crate::io::Stream;
use crate::wire::header::Codec;

/// Who asked, in which way to answer.
pub struct Caller<S: Stream> {
    pub connection: Rc<Connection<S>>,
    pub opaque: i32,
    pub codec: Codec,
}

impl<S: Stream> Clone for Caller<S> {
    fn clone(&self) -> Self {
        Caller { connection: self.connection.clone(), ..*self }
    }
}

/// The `UNIQ_KEY` of a message, which its reply repeats as `transactionId`. The usual one fits in place.
pub enum UniqueKey {
    Inline([u8; 56], u8),
    Long(Box<str>),
}

impl UniqueKey {
    pub fn new(key: &str) -> Self {
        let mut inline = [0; 56];
        match inline.get_mut(..key.len()) {
            Some(place) => {
                place.copy_from_slice(key.as_bytes());
                UniqueKey::Inline(inline, key.len() as u8)
            }
            None => UniqueKey::Long(key.into()),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            UniqueKey::Inline(bytes, len) => {
                std::str::from_utf8(&bytes[..usize::from(*len)]).expect("copied from a str")
            }
            UniqueKey::Long(key) => key,
        }
    }
}

/// What the reply to a send will say.
pub enum Receipt {
    Message { physical_offset: u64, unique_key: UniqueKey },
    /// Physical offsets and unique keys of all messages of the batch, joined by commas as the reply wants them.
    Batch { message_ids: String, unique_keys: String },
    /// A message that the broker stored for a request which is answered without a message id (send-back).
    Plain,
}

pub struct Ack<S: Stream> {
    /// Log position up to which the log has to be committed.
    pub end: u64,
    pub appended_ns: u64,
    pub caller: Caller<S>,
    pub queue_id: u32,
    pub queue_offset: u64,
    pub receipt: Receipt,
}

pub struct Acks<S: Stream> {
    waiting: VecDeque<Ack<S>>,
}

impl<S: Stream> Default for Acks<S> {
    fn default() -> Self {
        Acks { waiting: VecDeque::new() }
    }
}

impl<S: Stream> Acks<S> {
    pub fn push(&mut self, ack: Ack<S>) {
        if let Some(last) = self.waiting.back() {
            assert!(last.end <= ack.end, "acknowledgements wait in log order");
        }
        self.waiting.push_back(ack);
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next send that a log committed up to `position` acknowledges.
    pub fn pop_committed(&mut self, position: u64) -> Option<Ack<S>> {
        self.waiting.pop_front_if(|ack| ack.end <= position)
    }

    /// The next send that has been waiting since before `ns`.
    pub fn pop_older_than(&mut self, ns: u64) -> Option<Ack<S>> {
        self.waiting.pop_front_if(|ack| ack.appended_ns < ns)
    }

    /// When the log has failed nothing more will be acknowledged.
    pub fn drain(&mut self) -> impl Iterator<Item = Ack<S>> + '_ {
        self.waiting.drain(..)
    }
}
