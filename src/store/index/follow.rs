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
use crate::message::{Record, properties, sys_flag};
use crate::store::log::damage::Known;
use crate::store::log::reader::{self, Crcs, Found, Walk};
use crate::store::medium::Medium;
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
    walk: Walk,
    /// The walk has read nothing of the log behind this position.
    end: u64,
    keys: Vec<Key>,
}

impl<I: Io> Store<I> {
    /// Indexes what is left, at the end. An index that is being made from a long log is left for the next start.
    pub(in crate::store) async fn index_rest(
        &self,
        index: &Index<Medium<I>>,
    ) -> Result<(), StoreError> {
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

    fn is_indexed(&self, index: &Index<Medium<I>>) -> bool {
        index.restoring.get().is_none() && index.position.get() >= self.state.borrow().dispatched
    }

    fn is_behind(&self, index: &Index<Medium<I>>) -> Option<()> {
        let state = self.state.borrow();
        (state.closing || index.position.get() < state.dispatched).then_some(())
    }

    fn is_hot_at(&self, position: u64) -> bool {
        self.state.borrow().log.hot_from() <= position
    }

    /// Indexes the next few messages.
    async fn index_next(
        &self,
        index: &Index<Medium<I>>,
        reader: &mut Reader,
    ) -> Result<(), StoreError> {
        index.restore_slots().await?;
        let from = index
            .position
            .get()
            .max(self.segments.min_position().unwrap_or(0));
        reader.keys.clear();
        let mut to = from;
        if self.is_hot_at(from) {
            to = self.keys_in_buffer(from, &mut reader.keys);
        }
        if to == from {
            to = self.keys_on_disk(from, reader).await?;
        }
        if !reader.keys.is_empty() {
            index.resume().await?;
            index.put(&reader.keys);
        }
        index.reached(to);
        Ok(())
    }

    /// Ends early at what is no record: it is looked at on the disk.
    fn keys_in_buffer(&self, from: u64, keys: &mut Vec<Key>) -> u64 {
        let state = self.state.borrow();
        let mut at = from;
        for _ in 0..STEP_MESSAGES {
            if at >= state.dispatched {
                break;
            }
            let found = reader::in_buffer(&state.log, at, Crcs::Skipped);
            if let Found::Record(record) = &found {
                add_keys(record, keys);
            }
            match found.len() {
                Some(len) => at += len,
                None => break,
            }
        }
        at.min(state.dispatched)
    }

    async fn keys_on_disk(&self, from: u64, reader: &mut Reader) -> Result<u64, StoreError> {
        let Reader { walk, end, keys } = reader;
        if from >= *end {
            *walk = Walk::default().checking(Crcs::Skipped);
            *end = self.state.borrow().dispatched;
        }
        let (mut at, end) = (from, *end);
        for _ in 0..STEP_MESSAGES {
            if at >= end {
                break;
            }
            let found = walk.at(&self.segments, at).await?;
            if let Found::Record(record) = &found {
                add_keys(record, keys);
            }
            at = match found.len() {
                Some(len) => at + len,
                None => self.past_unreadable(at, end).await?,
            };
        }
        Ok(at.min(end))
    }

    /// Where the log goes on behind a place at which it cannot be read.
    async fn past_unreadable(&self, at: u64, end: u64) -> Result<u64, StoreError> {
        let known = Known {
            segments: &self.segments,
            config: &self.config,
            flushed_to: 0,
            unflushed_bytes: self.config.max_unflushed_bytes,
        };
        let next = known.first_record(at + 1, end).await?.unwrap_or(end);
        warn!(
            position = at,
            bytes = next - at,
            "a part of the log cannot be indexed"
        );
        Ok(next)
    }
}

/// What a message is found by: its unique key, each of its KEYS, its tag.
fn add_keys(record: &Record<'_>, keys: &mut Vec<Key>) {
    if sys_flag::transaction(record.sys_flag) == sys_flag::TRANSACTION_ROLLBACK {
        return;
    }
    each_key(record, |hash| {
        keys.push(Key {
            hash,
            physical_offset: record.physical_offset,
            store_time_ms: record.store_timestamp_ms,
        });
    });
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
