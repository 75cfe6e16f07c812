//! The index behind the log: reads what has been committed, and takes the keys out of it.
//!
//! Mostly from the log buffer, a little after the acknowledgement; from disk where there is much to do, after a crash or
//! when the index is made again. In small steps, as no request depends on it (RocketMQ: `ReputMessageService` and
//! `CommitLogDispatcherBuildIndex`).

use tracing::warn;

use super::growing::Key;
use super::layout::TopicHash;
use super::{KeyIndex, MAX_UNSAVED_BYTES};
use crate::io::{Io, select, yield_now};
use crate::message::{Record, properties, sys_flag};
use crate::store::StoreError;
use crate::store::log::reader::{self, Crcs, Found, Walk};

/// Messages committed within this interval are indexed together: a core that has little else to do wakes up for it.
const INTERVAL_NS: u64 = 5_000_000;

/// Messages of one step. What is in memory takes a turn each; between steps that read the device is a pause.
const STEP_MESSAGES: usize = 64;
const PAUSE_NS: u64 = 20_000;

/// Delays before the next step when the disk is late, and after an error.
const PATIENCE_NS: u64 = 10_000_000;
const RETRY_NS: u64 = 1_000_000_000;

/// Where keys are read, and those of one step.
struct Reader {
    walk: Walk,
    /// The walk has read nothing of the log behind this position.
    end: u64,
    keys: Vec<Key>,
}

impl Reader {
    fn new() -> Self {
        Self {
            walk: Walk::beside_clients(Crcs::Skipped),
            end: 0,
            keys: Vec::new(),
        }
    }
}

impl<I: Io> KeyIndex<I> {
    /// Follows the log for as long as the store is open.
    pub async fn run(&self) {
        let mut reader = Reader::new();
        while !self.gate.is_closing() {
            let pause_ns = match self.step(&mut reader).await {
                Ok(()) if self.index.unsaved_bytes() >= MAX_UNSAVED_BYTES => PATIENCE_NS,
                Ok(()) if self.is_complete() => {
                    let is_behind = || {
                        let is_behind = self.index.position.get() < self.log.marks().dispatched();
                        (is_behind || self.gate.is_closing()).then_some(())
                    };
                    self.log.until_moved(is_behind).await;
                    INTERVAL_NS
                }
                Ok(()) if self.log.buffer().hot_from() <= self.index.position.get() => {
                    yield_now().await;
                    continue;
                }
                Ok(()) => PAUSE_NS,
                Err(error) => {
                    warn!(%error, "the key index is behind the log");
                    RETRY_NS
                }
            };
            select(self.index.hurry.notified(), self.log.pause(pause_ns)).await;
        }
    }

    /// Indexes what is left, at the end. An index that is being made from a long log is left for the next start.
    pub async fn finish(&self) -> Result<(), StoreError> {
        let mut reader = Reader::new();
        // Without its slots the last file would be no whole one.
        self.index.restore_slots().await?;
        let near = self.log.marks().dispatched();
        let near = near.saturating_sub(self.log.buffer().capacity_bytes());
        while self.index.position.get() >= near && !self.is_complete() {
            self.step(&mut reader).await?;
        }
        Ok(())
    }

    /// Every visible message is in it.
    pub(super) fn is_complete(&self) -> bool {
        let index = &self.index;
        index.restoring.get().is_none() && index.position.get() >= self.log.marks().dispatched()
    }

    /// Indexes the next few messages.
    async fn step(&self, reader: &mut Reader) -> Result<(), StoreError> {
        self.index.restore_slots().await?;
        let from = self.index.position.get().max(self.log.min());
        if from >= self.log.marks().dispatched() {
            // At the start of a replica less may be visible than was before.
            return Ok(());
        }
        reader.keys.clear();
        let mut to = from;
        let is_hot = self.log.buffer().hot_from() <= from;
        if is_hot {
            to = self.keys_in_buffer(from, &mut reader.keys);
        }
        if to == from {
            to = self.keys_on_disk(from, reader).await?;
        }
        if !reader.keys.is_empty() {
            self.index.resume().await?;
            self.index.put(&reader.keys);
        }
        self.index.reached(to);
        Ok(())
    }

    /// Ends early at what is no record: it is looked at on the disk.
    fn keys_in_buffer(&self, from: u64, keys: &mut Vec<Key>) -> u64 {
        let (buffer, end) = (self.log.buffer(), self.log.marks().dispatched());
        let mut at = from;
        for _ in 0..STEP_MESSAGES {
            if at >= end {
                break;
            }
            let found = reader::in_buffer(&buffer, at, Crcs::Skipped);
            if let Found::Record(record) = &found {
                add_keys(record, keys);
            }
            match found.len() {
                Some(len) => at += len,
                None => break,
            }
        }
        at.min(end)
    }

    async fn keys_on_disk(&self, from: u64, reader: &mut Reader) -> Result<u64, StoreError> {
        let Reader { walk, end, keys } = reader;
        if from >= *end {
            *walk = Walk::beside_clients(Crcs::Skipped);
            *end = self.log.marks().dispatched();
        }
        let (mut at, end) = (from, *end);
        for _ in 0..STEP_MESSAGES {
            if at >= end {
                break;
            }
            let found = walk.at(self.log.segments(), at).await?;
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
        let next = self.log.first_record(at + 1, end).await?.unwrap_or(end);
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
