//! Sends that are in the log and not yet as durable as their acknowledgement promises.
//!
//! The log is committed in the order of its positions, so the acknowledgements wait in one queue in that order.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::rc::Rc;

use super::caller::Caller;
use super::connection::Connection;
use super::send_times::SendTimes;
use super::stages::Stored;
use crate::io::Stream;
use crate::replication::answers::Waiting;
use crate::store::QueueIndex;
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
    Send(SendReceipt),
    /// To a recall: of which message.
    Recall {
        unique_key: Box<str>,
    },
    /// To a send-back, or to the acknowledgement of a popped message: nothing.
    Plain,
    /// To a change of the invisible time.
    Changed(ChangeInvisibleTimeReply),
}

/// What the reply to a send says about its message.
pub struct SendReceipt {
    pub queue: QueueIndex,
    pub queue_id: u32,
    /// Of a batch the first message's.
    pub queue_offset: u64,
    /// It is one record with the messages of a batch.
    pub is_inner_batch: bool,
    /// Of a batch the last message's.
    pub physical_offset: u64,
    pub unique_key: UniqueKey,
    /// Of a batch the ids of all messages, joined by commas.
    pub batch_ids: Option<Box<str>>,
    /// Of a timed message, to take it back by.
    pub recall_handle: Option<Box<str>>,
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
    waiting: RefCell<VecDeque<Ack<S>>>,
    times: RefCell<SendTimes>,
}

impl<S: Stream> Default for Acks<S> {
    fn default() -> Self {
        Acks {
            waiting: RefCell::default(),
            times: RefCell::default(),
        }
    }
}

impl<S: Stream> Ack<S> {
    /// What it waits for, in a log that is persisted up to `persisted`.
    pub fn waiting(&self, persisted: u64, now_ns: u64) -> Waiting {
        Waiting {
            is_persisted: self.end <= persisted,
            age_ns: now_ns.saturating_sub(self.appended_ns),
        }
    }

    /// Where its time went is asked with this.
    pub fn stored(&self) -> Stored {
        Stored {
            end: self.end,
            arrived_ns: self.caller.arrived_ns,
            appended_ns: self.appended_ns,
        }
    }

    /// The queue of the message, if this is the acknowledgement of a send.
    pub fn queue(&self) -> Option<QueueIndex> {
        match &self.receipt {
            Receipt::Send(receipt) => Some(receipt.queue),
            Receipt::Recall { .. } | Receipt::Plain | Receipt::Changed(_) => None,
        }
    }
}

impl<S: Stream> Acks<S> {
    pub fn push(&self, ack: Ack<S>) {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(last) = waiting.back() {
            assert!(last.end <= ack.end, "acknowledgements wait in log order");
        }
        waiting.push_back(ack);
    }

    pub fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// The next send that a log committed up to `position` acknowledges.
    pub fn pop_committed(&self, position: u64) -> Option<Ack<S>> {
        let mut waiting = self.waiting.borrow_mut();
        waiting.pop_front_if(|ack| ack.end <= position)
    }

    /// The next send, if it is to be answered.
    pub fn pop_if(&self, is_answered: impl Fn(&Ack<S>) -> bool) -> Option<Ack<S>> {
        let mut waiting = self.waiting.borrow_mut();
        waiting.pop_front_if(|ack| is_answered(ack))
    }

    /// The next send of all: when the log has failed, nothing more will be acknowledged.
    pub fn pop(&self) -> Option<Ack<S>> {
        self.waiting.borrow_mut().pop_front()
    }

    /// How long sends took until they were acknowledged.
    pub fn times(&self) -> RefMut<'_, SendTimes> {
        self.times.borrow_mut()
    }

    /// How long the oldest of those that wait has waited.
    pub fn oldest_ns(&self, now_ns: u64) -> u64 {
        let waiting = self.waiting.borrow();
        let oldest = waiting.front();
        oldest.map_or(0, |ack| now_ns.saturating_sub(ack.appended_ns))
    }
}
