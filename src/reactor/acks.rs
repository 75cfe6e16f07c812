//! Sends that are in the log and not yet as durable as their acknowledgement promises.
//!
//! The log is committed in the order of its positions, so the acknowledgements wait in one queue in that order.

use std::collections::VecDeque;
use std::rc::Rc;

use super::connection::{Caller, Connection};
use crate::io::Stream;
use crate::wire::pop::ChangeInvisibleTimeReply;

/// A `UNIQ_KEY`, which the reply repeats as `transactionId`. The clients' own (32 or 56 digits) fit in place.
pub enum UniqueKey {
    Inline([u8; UniqueKey::INLINE_BYTES], u8),
    Long(Box<str>),
}

impl UniqueKey {
    const INLINE_BYTES: usize = 56;

    pub fn new(key: &str) -> Self {
        let mut inline = [0; Self::INLINE_BYTES];
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

/// What the reply says besides that it worked.
pub enum Receipt {
    /// To a send.
    Send {
        queue_id: u32,
        /// Of a batch the first message's.
        queue_offset: u64,
        /// Of a batch the last message's.
        physical_offset: u64,
        unique_key: UniqueKey,
        /// Of a batch the ids of all messages, joined by commas.
        batch_ids: Option<Box<str>>,
        /// Of a timed message, to take it back by.
        recall_handle: Option<Box<str>>,
    },
    /// To a recall: of which message, and when that is due.
    Recall { unique_key: Box<str>, due_ms: i64 },
    /// To a send-back, or to the acknowledgement of a popped message: nothing.
    Plain,
    /// To a change of the invisible time.
    Changed(ChangeInvisibleTimeReply),
}

pub struct Ack<S: Stream> {
    /// Log position up to which the log has to be committed.
    pub end: u64,
    pub appended_ns: u64,
    pub connection: Rc<Connection<S>>,
    pub caller: Caller,
    pub receipt: Receipt,
}

pub struct Acks<S: Stream> {
    waiting: VecDeque<Ack<S>>,
}

impl<S: Stream> Default for Acks<S> {
    fn default() -> Self {
        Acks {
            waiting: VecDeque::new(),
        }
    }
}

impl<S: Stream> Acks<S> {
    pub fn push(&mut self, ack: Ack<S>) {
        if let Some(last) = self.waiting.back() {
            assert!(last.end <= ack.end, "acknowledgements wait in log order");
        }
        self.waiting.push_back(ack);
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
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

    /// The next send of all: when the log has failed, nothing more will be acknowledged.
    pub fn pop(&mut self) -> Option<Ack<S>> {
        self.waiting.pop_front()
    }
}
