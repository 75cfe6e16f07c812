//! Carrying out what `retention.rs` decides: files of the log whose time is over go, and what speaks of their messages
//! with them.
//!
//! Each queue's minimum moves first, then the files go, the oldest first: who asks for an offset is told of the new
//! minimum before anything is missing. A crash between the two takes the minimum back, and the messages are there, unless the
//! journal has it already. Only files below the checkpoint go: what a restart reads of the log has to be there.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tracing::{info, warn};

use super::policy::{Look, MAX_FILES, Round, hour_of_day};
use crate::io::{Io, Space, first};
use crate::store::log::reader::store_time_of;
use crate::store::{Boundary, Full, QueueIndex, Retention, Store, StoreError};

/// How often the disk's space is looked at: a fast producer fills a percent of a small disk in this time.
const LOOK_NS: u64 = 1_000_000_000;

/// Pause between the removals of two files: freeing one keeps the file system busy (`deleteCommitLogFilesInterval`).
const BETWEEN_FILES_NS: u64 = 100_000_000;

/// Rounds that an administrator's request is good for, as in RocketMQ (`manualDeleteFileSeveralTimes`).
const ASKED_ROUNDS: u32 = 20;

/// What somebody waits for.
#[derive(Default)]
pub(in crate::store) struct Wanted {
    /// Rounds in which expired files go at any hour.
    rounds: Cell<u32>,
    queue_files: Cell<bool>,
    /// Some queue's minimum could not be moved.
    minimums: Cell<bool>,
    /// Messages that were removed before their time.
    early: Cell<u64>,
    /// Topics that keep their messages for so many milliseconds only.
    topics: RefCell<Vec<(String, u64)>>,
    /// Those have changed.
    topics_now: Cell<bool>,
}

/// Cleans for as long as the store is open.
pub(in crate::store) async fn run<I: Io>(store: Rc<Store<I>>) {
    let interval_ns = || store.retention.borrow().interval_ms * 1_000_000;
    let mut due_ns = store.io.now().mono_ns + interval_ns();
    let mut was_full = false;
    while !store.state.borrow().closing && store.fence().is_none() {
        store.look_at_space().await;
        let now_ns = store.io.now().mono_ns;
        // At once when space runs out; then what has gone needs a moment to help.
        let is_full = store.is_full();
        let is_urgent = is_full && !was_full;
        was_full = is_full;
        if now_ns >= due_ns || is_urgent || store.is_cleaning_asked_for() {
            due_ns = now_ns + interval_ns();
            if let Err(error) = store.clean().await {
                warn!(%error, "old messages cannot be removed");
            }
            store.look_at_space().await;
        }
        let next_ns = (store.io.now().mono_ns + LOOK_NS).min(due_ns);
        first(
            store.segments.clean_now.notified(),
            store.io.sleep_until(next_ns),
        )
        .await;
    }
}

impl<I: Io> Store<I> {
    /// Messages are kept by these rules from now on.
    pub fn keep_by(&self, retention: Retention) {
        self.retention.replace(retention);
        self.segments.clean_now.notify();
    }

    /// These topics keep their messages for so many milliseconds only, and all others as long as the log does. Their queues
    /// begin later than the log; the messages themselves go with its files.
    pub fn keep_topics(&self, reserved_ms: Vec<(String, u64)>) {
        let before = self.wanted.topics.replace(reserved_ms);
        if before != *self.wanted.topics.borrow() {
            self.wanted.topics_now.set(true);
            self.segments.clean_now.notify();
        }
    }

    /// Expired files of the log go now, at any hour.
    pub fn clean_log_now(&self) {
        self.wanted.rounds.set(ASKED_ROUNDS);
        self.segments.clean_now.notify();
    }

    /// Queue files all of whose messages are gone go now.
    pub fn clean_queues_now(&self) {
        self.wanted.queue_files.set(true);
        self.segments.clean_now.notify();
    }

    /// What was written to disk besides the log, or could not be: without space no message is taken.
    pub(in crate::store) fn note_space<T>(
        &self,
        written: &Result<T, StoreError>,
        place: fn(&mut Full) -> &mut Option<Arc<str>>,
    ) {
        let reason = match written {
            Err(error) if error.is_no_space() => Some(Arc::from(error.to_string())),
            // Whatever else is wrong, it is not that.
            Ok(_) | Err(_) => None,
        };
        if reason.is_some() {
            self.segments.clean_now.notify();
        }
        *place(&mut self.state.borrow_mut().full) = reason;
        self.room.wake_all();
    }

    fn is_full(&self) -> bool {
        self.state.borrow().full.reason().is_some() || self.segments.no_space().is_some()
    }

    fn is_cleaning_asked_for(&self) -> bool {
        self.wanted.rounds.get() > 0
            || self.wanted.queue_files.get()
            || self.wanted.topics_now.get()
    }

    /// Of the fuller one, where the log has a device of its own.
    ///
    /// What cannot be asked for, as descriptors or threads have run out, is as it was.
    async fn space(&self) -> Space {
        let log = self.io.space(self.segments.dir()).await;
        let rest = self.io.space(&self.config.dir).await;
        let (Ok(log), Ok(rest)) = (log, rest) else {
            return self.disk_space.get();
        };
        let fullness = |space: Space| space.available_bytes as f64 / space.total_bytes as f64;
        let space = match fullness(rest) < fullness(log) {
            true => rest,
            false => log,
        };
        self.disk_space.set(space);
        space
    }

    /// As it was when it was looked at last.
    pub fn disk_space(&self) -> Space {
        self.disk_space.get()
    }

    /// Refuses messages, or takes them again.
    pub(in crate::store) async fn look_at_space(&self) {
        let space = self.space().await;
        let reason = self.retention.borrow().refuses(space);
        let mut state = self.state.borrow_mut();
        let was_refusing = state.full.disk.is_some();
        match &reason {
            Some(reason) if !was_refusing => {
                warn!(dir = %self.config.dir.display(), reason, "no more messages are taken");
            }
            None if was_refusing => {
                info!(dir = %self.config.dir.display(), "there is space again: messages are taken");
            }
            _ => {}
        }
        state.full.disk = reason.map(Arc::from);
        drop(state);
        self.room.wake_all();
    }

    pub(in crate::store) async fn clean(self: &Rc<Self>) -> Result<(), StoreError> {
        let is_asked_for = self.wanted.rounds.get() > 0;
        self.wanted
            .rounds
            .set(self.wanted.rounds.get().saturating_sub(1));
        let starts = self.removable();
        let look = self.look(&starts, is_asked_for).await?;
        let round = self.retention.borrow().round(&look);
        if round.drop_spare {
            self.segments.drop_spare().await?;
        }
        if round.remove > 0 {
            self.remove_first(&starts, &look, round).await?;
        } else {
            self.wanted.rounds.set(0);
        }
        if self.wanted.minimums.take() {
            self.move_minimums(self.log_min()).await;
        }
        self.wanted.topics_now.set(false);
        let topics = self.wanted.topics.borrow().clone();
        for (topic, reserved_ms) in topics {
            self.expire(&topic, reserved_ms).await?;
        }
        if round.remove > 0 || self.wanted.queue_files.take() {
            self.remove_queue_files().await?;
        }
        Ok(())
    }

    /// The topic's queues begin with their first message that is not older than this.
    async fn expire(self: &Rc<Self>, topic: &str, reserved_ms: u64) -> Result<(), StoreError> {
        let oldest_ms = self.io.now().unix_ms.saturating_sub_unsigned(reserved_ms);
        let queues = {
            let state = self.state.borrow();
            let mut queues: Vec<_> = state.queues.all().collect();
            queues.retain(|queue| state.queues.topic_of(*queue) == topic);
            queues
        };
        for queue in queues {
            let earliest_ms = self.earliest_store_time(queue).await?;
            if earliest_ms.is_none_or(|earliest_ms| earliest_ms >= oldest_ms) {
                continue;
            }
            let first = self.offset_by_time(queue, oldest_ms, Boundary::Lower);
            let first = first.await?;
            let entries = self.entries(queue, first, 1).await?;
            let position = entries.first().map(|entry| entry.physical_offset);
            let mut state = self.state.borrow_mut();
            state.queues.raise_min(queue, first, position);
        }
        Ok(())
    }

    /// The first positions of the files that may go: never the one that is written to, and none that a restart reads.
    fn removable(&self) -> Vec<u64> {
        let kept_from = self.checkpointed.get().min(self.committed());
        let mut starts = self.segments.starts();
        starts.retain(|start| start + self.config.segment_bytes <= kept_from);
        starts
    }

    async fn look(self: &Rc<Self>, starts: &[u64], is_asked_for: bool) -> Result<Look, StoreError> {
        let now_ms = self.io.now().unix_ms;
        let mut newest_ms = Vec::new();
        let mut is_old = true;
        for (place, start) in starts.iter().enumerate() {
            // Those behind one that is to stay stay too.
            let time_ms = match is_old && place < MAX_FILES {
                true => self.newest_ms(*start).await?,
                false => None,
            };
            let retention = self.retention.borrow();
            is_old &= time_ms.is_none_or(|time_ms| retention.is_expired(time_ms, now_ms));
            newest_ms.push(time_ms);
        }
        let space = self.space().await;
        let full = &self.state.borrow().full;
        let files = self.segments.starts().len() as u64;
        Ok(Look {
            now_ms,
            hour: hour_of_day(now_ms, self.io.utc_offset_s()),
            space,
            segment_bytes: self.config.segment_bytes,
            log_bytes: files * self.config.segment_bytes,
            newest_ms,
            has_spare: self.segments.has_spare(),
            needs_file: self.segments.no_space().is_some(),
            is_out_of_space: [&full.log, &full.queues, &full.texts]
                .iter()
                .any(|place| place.is_some()),
            is_asked_for,
        })
    }

    /// Store time of the last message of a file: not after that of the first one behind it.
    async fn newest_ms(self: &Rc<Self>, start: u64) -> Result<Option<i64>, StoreError> {
        self.time_at(start + self.config.segment_bytes).await
    }

    async fn time_at(self: &Rc<Self>, position: u64) -> Result<Option<i64>, StoreError> {
        let record = self.record_at(position).await?;
        Ok(record.and_then(|record| store_time_of(&record)))
    }

    async fn remove_first(
        self: &Rc<Self>,
        starts: &[u64],
        look: &Look,
        round: Round,
    ) -> Result<(), StoreError> {
        let Some(last) = starts[..round.remove].last() else {
            return Ok(());
        };
        let log_min = last + self.config.segment_bytes;
        let first_store_time_ms = self.time_at(log_min).await?;
        let expired_to = starts[0] + round.expired as u64 * self.config.segment_bytes;
        if round.expired > 0 {
            self.move_minimums(expired_to).await;
        }
        let not_expired = self.move_minimums(log_min).await;
        for place in 0..round.remove {
            if place > 0 && !self.state.borrow().closing {
                self.io
                    .sleep_until(self.io.now().mono_ns + BETWEEN_FILES_NS)
                    .await;
            }
            self.segments.remove_first(round.recycle).await?;
        }
        self.state.borrow_mut().first_store_time_ms = first_store_time_ms;
        let (dir, files) = (self.segments.dir().display(), round.remove);
        info!(%dir, files, log_min, "the oldest messages were removed");
        if round.remove > round.expired {
            self.wanted.early.set(self.wanted.early.get() + not_expired);
            let files = round.remove - round.expired;
            let stored_up_to_ms = look.newest_ms[..round.remove].iter().flatten().last();
            warn!(%dir, files, messages = not_expired, stored_up_to_ms, fileReservedTime_ms = self.retention.borrow().reserved_ms, "messages that had not expired were removed to free space: the disk is too small for fileReservedTime, or for commitLogMaxBytes the log is too large");
        }
        Ok(())
    }

    /// Messages that were removed before their time.
    pub(in crate::store) fn removed_early(&self) -> u64 {
        self.wanted.early.get()
    }

    /// Each queue begins with its first message at or behind this log position. Returns the number of messages before it.
    async fn move_minimums(&self, log_min: u64) -> u64 {
        let mut messages = 0;
        let queues = self.state.borrow().queues.all();
        for queue in queues {
            let is_below = self.state.borrow().queues.may_begin_below(queue, log_min);
            if !is_below {
                continue;
            }
            match self.first_at_or_behind(queue, log_min).await {
                Ok((offset, position)) => {
                    let mut state = self.state.borrow_mut();
                    let min = state.queues.queue(queue).bounds.min;
                    messages += offset.saturating_sub(min);
                    state.queues.raise_min(queue, offset, position);
                }
                // Its readers meet the same error, until the next round.
                Err(error) => {
                    warn!(%error, "a queue's first message cannot be found");
                    self.wanted.minimums.set(true);
                }
            }
        }
        messages
    }

    /// The offset of the first message at or behind a log position, or the queue's end, and where that message is.
    /// Looked for in steps that double: what goes is little of what a queue has.
    async fn first_at_or_behind(
        &self,
        queue: QueueIndex,
        log_min: u64,
    ) -> Result<(u64, Option<u64>), StoreError> {
        let bounds = self.bounds(queue);
        let (mut low, mut high, mut step) = (bounds.min, bounds.max, 1);
        let mut found = None;
        while low < high {
            let middle = match found {
                Some(_) => low.midpoint(high),
                None => (low + step - 1).min(high - 1),
            };
            step *= 2;
            let entries = self.entries(queue, middle, 1).await?;
            match entries.first().map(|entry| entry.physical_offset) {
                Some(position) if position < log_min => low = middle + 1,
                position => (high, found) = (middle, Some(position)),
            }
        }
        Ok((low, found.flatten()))
    }

    async fn remove_queue_files(&self) -> Result<(), StoreError> {
        let queues = self.state.borrow().queues.all();
        for queue in queues {
            let (topic, queue_id, min) = {
                let state = self.state.borrow();
                let target = state.queues.queue(queue);
                if target.gone || target.bounds.min == target.files_cleaned_to {
                    continue;
                }
                let topic = state.queues.topic_of(queue).to_owned();
                (topic, target.queue_id, target.bounds.min)
            };
            self.queue_files.remove_below(&topic, queue_id, min).await?;
            self.state
                .borrow_mut()
                .queues
                .queue_mut(queue)
                .files_cleaned_to = min;
        }
        Ok(())
    }
}
