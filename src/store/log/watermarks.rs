//! How far the log is written, committed, visible and durable.
//!
//! ```text
//! 0 ........ dispatched .. committed ............... persisted ............ tail (`buffer.rs`)
//!           | a part of a | persisted, and the      | on the device as    | in memory
//!           | message     | needed replicas have it | the mode promises   |
//! ```
//! Without replicas what is persisted is committed. `flushed` is how far the log is on the device for good: in async mode behind
//! `persisted`; in sync mode it may be behind as well, though what is persisted is flushed. Only the log moves these marks.

use std::cell::Cell;

/// What became visible with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Dispatched {
    /// The end of the last message, and where it begins.
    pub end: u64,
    pub last_record: u64,
    pub messages: u64,
    /// Store times of the first and the last message.
    pub first_ms: i64,
    pub last_ms: i64,
}

impl Dispatched {
    /// With what became visible next.
    pub fn followed_by(self, next: Self) -> Self {
        Self {
            messages: self.messages + next.messages,
            first_ms: self.first_ms,
            ..next
        }
    }
}

/// What is visible when the log is opened: messages up to this position.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Visible {
    pub end: u64,
    /// Where the last one begins, and its store time.
    pub last_record: u64,
    pub last_ms: i64,
    /// Store time of the first one.
    pub first_ms: Option<i64>,
}

pub(in crate::store) struct Watermarks {
    persisted: Cell<u64>,
    committed: Cell<u64>,
    flushed: Cell<u64>,
    flushed_records: Cell<u64>,
    dispatched: Cell<u64>,
    last_dispatched: Cell<u64>,
    dispatched_messages: Cell<u64>,
    last_store_time_ms: Cell<i64>,
    first_store_time_ms: Cell<Option<i64>>,
}

impl Watermarks {
    /// Of a log that ends at `tail`, all of it durable.
    pub(super) fn at_start(tail: u64, visible: Visible) -> Self {
        Self {
            persisted: Cell::new(tail),
            committed: Cell::new(visible.end),
            flushed: Cell::new(tail),
            flushed_records: Cell::new(tail),
            dispatched: Cell::new(visible.end),
            last_dispatched: Cell::new(visible.last_record),
            dispatched_messages: Cell::new(0),
            last_store_time_ms: Cell::new(visible.last_ms),
            first_store_time_ms: Cell::new(visible.first_ms),
        }
    }

    /// Up to here the log is on this broker's device, as durable as the flush mode promises.
    pub fn persisted(&self) -> u64 {
        self.persisted.get()
    }

    /// Up to here it is acknowledged: persisted, and the replicas that are needed have it too.
    pub fn committed(&self) -> u64 {
        self.committed.get()
    }

    /// Async mode: up to here the log is on the device for good.
    pub fn flushed(&self) -> u64 {
        self.flushed.get()
    }

    /// The same in whole records: the end of the last message that was visible when the last flush began. A start may take what is unreadable before
    /// this position for damage; behind it half a record may stand.
    pub fn flushed_records(&self) -> u64 {
        self.flushed_records.get()
    }

    /// End of the last visible message. The log may be committed into the middle of the next one, as a write ends where
    /// the log buffer does.
    pub fn dispatched(&self) -> u64 {
        self.dispatched.get()
    }

    /// Where that message begins.
    pub fn last_dispatched(&self) -> u64 {
        self.last_dispatched.get()
    }

    /// Since the store was opened.
    pub fn dispatched_messages(&self) -> u64 {
        self.dispatched_messages.get()
    }

    /// Store time of the last visible message.
    pub fn last_store_time_ms(&self) -> i64 {
        self.last_store_time_ms.get()
    }

    /// Store time of the oldest message, if there is one.
    pub fn first_store_time_ms(&self) -> Option<i64> {
        self.first_store_time_ms.get()
    }

    pub(super) fn persist(&self, end: u64) {
        self.persisted.set(end);
    }

    pub(super) fn commit(&self, end: u64, dispatched: Option<Dispatched>) {
        if let Some(now) = dispatched {
            self.dispatched.set(now.end);
            self.last_dispatched.set(now.last_record);
            let messages = self.dispatched_messages.get() + now.messages;
            self.dispatched_messages.set(messages);
            self.last_store_time_ms.set(now.last_ms);
            let first_ms = self.first_store_time_ms.get().unwrap_or(now.first_ms);
            self.first_store_time_ms.set(Some(first_ms));
        }
        self.committed.set(end);
    }

    /// The log is on the device up to `position`, of which everything before `records` was visible when the flush began.
    pub(super) fn flush(&self, position: u64, records: u64) {
        self.flushed.set(position);
        self.flushed_records.set(records);
    }

    /// The log begins with a message of this time.
    pub(super) fn begin_with(&self, first_ms: Option<i64>) {
        self.first_store_time_ms.set(first_ms);
    }
}
