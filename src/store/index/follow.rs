//! The index behind the log: reads what has been committed, and takes the keys out of it.
//!
//! Mostly from the log buffer, a little after the acknowledgement; from disk where there is much to do, after a crash or
//! when the index is made again. In small steps, as no request depends on it (RocketMQ: `ReputMessageService` and
//! `CommitLogDispatcherBuildIndex`).

use std::rc::Rc;

use tracing::warn;

use super::growing::Key;
use super::layout::TopicHash;
use super::{Index, MAX_UNSAVED_BYTES};
use crate::io::{Io, first};
use crate::message::{Check, Record, properties, sys_flag};
use crate::store::log::reader::{Next, Window};
use crate::store::{Store, StoreError};

/// Messages committed within this interval are indexed together.
const INTERVAL_NS: u64 = 1_000_000;

/// Messages between two yields.
const STEP_MESSAGES: usize = 64;
const PAUSE_NS: u64 = 20_000;

/// Delays before the next step when the disk is late, and after an error.
const PATIENCE_NS: u64 = 10_000_000;
const RETRY_NS: u64 = 1_000_000_000;

/// Follows the log for as long as the store is open.
pub async fn run<I: Io>(store: Rc<Store<I>>) {
    let Some(index) = &store.index else { return };
    let mut reader = Reader::default();
    while !store.state.borrow().closing {
        let pause_ns = match store.index_next(index, &mut reader).await {
            Ok(()) if index.unsaved_bytes() >= MAX_UNSAVED_BYTES => PATIENCE_NS,
            Ok(()) if store.is_indexed(index) => {
                store.committed.until(|| store.is_behind(index)).await;
                INTERVAL_NS
            }
            Ok(()) => PAUSE_NS,
            Err(error) => {
                warn!(%error, "the key index is behind the log");
                RETRY_NS
            }
        };
        let due_ns = store.io.now().mono_ns + pause_ns;
        first(index.hurry.notified(), store.io.sleep_until(due_ns)).await;
    }
}

/// Where keys are read, and those of one step.
#[derive(Default)]
struct Reader {
    window: Window,
    /// The window has nothing of the log behind this position.
    window_end: u64,
    keys: Vec<Key>,
}

impl<I: Io> Store<I> {
    /// Indexes what is left, at the end. An index that is being made from a long log is left for the next start.
    pub(in crate::store) async fn index_rest(&self, index: &Index<I>) -> Result<(), StoreError> {
        let mut reader = Reader::default();
        // Without its slots the last file would be no whole one.
        index.restore_slots().await?;
        let log_end = self.state.borrow().dispatched;
        let near = log_end.saturating_sub(self.config.log_buffer_bytes as u64);
        while index.position.get() >= near && !self.is_indexed(index) {
            self.index_next(index, &mut reader).await?;
        }
        Ok(())
    }

    fn is_indexed(&self, index: &Index<I>) -> bool {
        index.restoring.get().is_none() && index.position.get() >= self.state.borrow().dispatched
    }

    fn is_behind(&self, index: &Index<I>) -> Option<()> {
        let state = self.state.borrow();
        (state.closing || index.position.get() < state.dispatched).then_some(())
    }

    fn is_hot_at(&self, position: u64) -> bool {
        self.state.borrow().log.hot_from() <= position
    }

    /// Indexes the next few messages.
    async fn index_next(&self, index: &Index<I>, reader: &mut Reader) -> Result<(), StoreError> {
        index.restore_slots().await?;
        let from = index
            .position
            .get()
            .max(self.segments.min_position().unwrap_or(0));
        reader.keys.clear();
        let to = if self.is_hot_at(from) {
            self.keys_in_buffer(from, &mut reader.keys)
        } else {
            self.keys_on_disk(from, reader).await?
        };
        if !reader.keys.is_empty() {
            index.resume().await?;
            index.put(&reader.keys);
        }
        index.reached(to);
        Ok(())
    }

    fn keys_in_buffer(&self, from: u64, keys: &mut Vec<Key>) -> u64 {
        let state = self.state.borrow();
        let mut at = from;
        for _ in 0..STEP_MESSAGES {
            if at >= state.dispatched {
                break;
            }
            let head = state.log.hot(at, 8).and_then(|head| head.first_chunk());
            let rest = self.config.segment_bytes - at % self.config.segment_bytes;
            at += match head.map_or(Next::End, |head| Next::read(head, rest)) {
                Next::Record { size } => {
                    if let Some(record) = state.log.hot(at, size) {
                        add_keys(record, at, keys);
                    }
                    size as u64
                }
                Next::Blank { size } => size,
                Next::End => skip(at, rest),
            };
        }
        at.min(state.dispatched)
    }

    async fn keys_on_disk(&self, from: u64, reader: &mut Reader) -> Result<u64, StoreError> {
        let Reader {
            window,
            window_end,
            keys,
        } = reader;
        if from >= *window_end {
            *window = Window::default();
            *window_end = self.state.borrow().dispatched;
        }
        let mut at = from;
        for _ in 0..STEP_MESSAGES {
            if at >= *window_end {
                break;
            }
            let rest = self.config.segment_bytes - at % self.config.segment_bytes;
            let head = window.bytes(&self.segments, at, 8).await?;
            let head = head.and_then(|head| head.first_chunk());
            at += match head.map_or(Next::End, |head| Next::read(head, rest)) {
                Next::Record { size } => match window.bytes(&self.segments, at, size).await? {
                    Some(record) if add_keys(record, at, keys) => size as u64,
                    _ => skip(at, rest),
                },
                Next::Blank { size } => size,
                Next::End => skip(at, rest),
            };
        }
        Ok(at.min(*window_end))
    }
}

/// Past what cannot be read: the file is gone, or damaged.
fn skip(position: u64, rest: u64) -> u64 {
    warn!(
        position,
        bytes = rest,
        "a part of the log cannot be indexed"
    );
    rest
}

/// What a message is found by: its unique key, each of its KEYS, its tag. `false` if it is no message.
fn add_keys(bytes: &[u8], position: u64, keys: &mut Vec<Key>) -> bool {
    let Ok(record) = Record::decode(bytes, Check::Layout) else {
        return false;
    };
    if record.physical_offset != position {
        return false;
    }
    if sys_flag::transaction(record.sys_flag) == sys_flag::TRANSACTION_ROLLBACK {
        return true;
    }
    each_key(&record, |hash| {
        keys.push(Key {
            hash,
            physical_offset: position,
            store_time_ms: record.store_timestamp_ms,
        });
    });
    true
}

/// The hashes under which a message is found.
pub fn each_key(record: &Record<'_>, take: impl FnMut(u32)) {
    let names = [properties::UNIQUE_KEY, properties::KEYS, properties::TAGS];
    let [unique, others, tag] = properties::find_all(record.properties, names);
    let topic = TopicHash::new(record.topic);
    let others = others
        .unwrap_or_default()
        .split(' ')
        .filter(|key| !key.is_empty());
    let hashes = unique
        .into_iter()
        .chain(others)
        .map(|key| topic.of_key(key));
    hashes
        .chain(tag.map(|tag| topic.of_tag(tag)))
        .for_each(take);
}
