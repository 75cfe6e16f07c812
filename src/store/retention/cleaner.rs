//! Carrying out what `policy.rs` decides: files of the log that have expired are removed, and the queues' entries of their
//! messages with them.
//!
//! Each queue's minimum moves first, then the files go, the oldest first: a pull gets the new minimum before anything is
//! missing. A crash between the two takes the minimum back, and the messages are there, unless the
//! journal has it already. Only files below the checkpoint go: what a restart reads of the log has to be there.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tracing::{info, warn};

use super::policy::{Look, MAX_FILES, Round, hour_of_day};
use crate::io::{Io, Space, select, yield_now};
use crate::store::config::StoreConfig;
use crate::store::gate::{Gate, Lack};
use crate::store::log::Log;
use crate::store::log::reader::store_time_of;
use crate::store::medium::Medium;
use crate::store::queues::Queues;
use crate::store::{Boundary, QueueIndex, Retention, StoreError};

/// How often the disk's space is looked at: a fast producer fills a percent of a small disk in this time.
const LOOK_NS: u64 = 1_000_000_000;

/// Pause between the removals of two files: freeing one keeps the file system busy (`deleteCommitLogFilesInterval`).
const BETWEEN_FILES_NS: u64 = 100_000_000;

/// Queues that are looked at without a pause: well below a millisecond.
const QUEUES_AT_ONCE: usize = 256;

/// Rounds that an administrator's request is good for, as in RocketMQ (`manualDeleteFileSeveralTimes`).
const ASKED_ROUNDS: u32 = 20;

/// What is to be cleaned before it is due, and what was.
#[derive(Default)]
struct Wanted {
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

/// Removes what is not kept any longer, and refuses messages while the disk is too full.
pub(in crate::store) struct Cleaner<I: Io> {
    io: Medium<I>,
    config: Rc<StoreConfig>,
    log: Rc<Log<I>>,
    queues: Rc<Queues<I>>,
    gate: Rc<Gate>,
    rules: RefCell<Retention>,
    wanted: Wanted,
    disk_space: Cell<Space>,
}

impl<I: Io> Cleaner<I> {
    pub fn new(
        io: &Medium<I>,
        config: &Rc<StoreConfig>,
        log: &Rc<Log<I>>,
        queues: &Rc<Queues<I>>,
        gate: &Rc<Gate>,
    ) -> Self {
        Self {
            rules: RefCell::new(config.retention.clone()),
            io: io.clone(),
            config: config.clone(),
            log: log.clone(),
            queues: queues.clone(),
            gate: gate.clone(),
            wanted: Wanted::default(),
            disk_space: Cell::default(),
        }
    }

    /// Cleans for as long as the store is open.
    pub async fn run(&self) {
        let interval_ns = || self.rules.borrow().interval_ms * 1_000_000;
        let mut due_ns = self.io.now().mono_ns + interval_ns();
        let mut was_full = false;
        while !self.gate.is_closing() && !self.gate.is_fenced() {
            self.look_at_space().await;
            let now_ns = self.io.now().mono_ns;
            // At once when space runs out; then what was removed needs a moment to help.
            let is_full = self.gate.full().is_some() || self.log.no_space().is_some();
            let is_urgent = is_full && !was_full;
            was_full = is_full;
            if now_ns >= due_ns || is_urgent || self.is_asked_for_now() {
                due_ns = now_ns + interval_ns();
                if let Err(error) = self.clean().await {
                    warn!(%error, "old messages cannot be removed");
                }
                self.look_at_space().await;
            }
            let next_ns = (self.io.now().mono_ns + LOOK_NS).min(due_ns);
            let clean_now = self.gate.clean_now.notified();
            select(clean_now, self.io.sleep_until(next_ns)).await;
        }
    }

    /// Messages are kept by these rules from now on.
    pub fn keep_by(&self, retention: Retention) {
        self.rules.replace(retention);
        self.gate.clean_now.notify();
    }

    /// These topics keep their messages for so many milliseconds only, and all others as long as the log does. Their queues
    /// begin later than the log; the messages themselves go with its files.
    pub fn keep_topics(&self, reserved_ms: Vec<(String, u64)>) {
        let before = self.wanted.topics.replace(reserved_ms);
        if before != *self.wanted.topics.borrow() {
            self.wanted.topics_now.set(true);
            self.gate.clean_now.notify();
        }
    }

    /// Expired files of the log go now, at any hour.
    pub fn clean_log_now(&self) {
        self.wanted.rounds.set(ASKED_ROUNDS);
        self.gate.clean_now.notify();
    }

    /// Queue files all of whose messages are gone go now.
    pub fn clean_queues_now(&self) {
        self.wanted.queue_files.set(true);
        self.gate.clean_now.notify();
    }

    fn is_asked_for_now(&self) -> bool {
        self.wanted.rounds.get() > 0
            || self.wanted.queue_files.get()
            || self.wanted.topics_now.get()
    }

    /// Of the fuller one, where the log has a device of its own.
    ///
    /// What cannot be asked for, as descriptors or threads have run out, is as it was.
    async fn space(&self) -> Space {
        let log = self.io.space(self.log.segments().dir()).await;
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
    pub async fn look_at_space(&self) {
        let space = self.space().await;
        let reason = self.rules.borrow().refuses(space);
        let was_refusing = self.gate.has_lack(Lack::Disk);
        let dir = self.config.dir.display();
        match &reason {
            Some(reason) if !was_refusing => warn!(%dir, reason, "no more messages are taken"),
            None if was_refusing => info!(%dir, "there is space again: messages are taken"),
            _ => {}
        }
        self.gate.note(Lack::Disk, reason.map(Arc::from));
    }

    pub async fn clean(&self) -> Result<(), StoreError> {
        let is_asked_for = self.wanted.rounds.get() > 0;
        self.wanted
            .rounds
            .set(self.wanted.rounds.get().saturating_sub(1));
        let starts = self.removable();
        let look = self.look(&starts, is_asked_for).await?;
        let round = self.rules.borrow().round(&look);
        if round.drop_spare {
            self.log.segments().drop_spare().await?;
        }
        if round.remove > 0 {
            self.remove_first(&starts, &look, round).await?;
        } else {
            self.wanted.rounds.set(0);
        }
        if self.wanted.minimums.take() {
            self.move_minimums(self.log.min()).await;
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
    async fn expire(&self, topic: &str, reserved_ms: u64) -> Result<(), StoreError> {
        let oldest_ms = self.io.now().unix_ms.saturating_sub_unsigned(reserved_ms);
        let queues = self.queues.memory().of_topic(topic);
        for queue in queues {
            yield_now().await;
            let earliest_ms = self.queues.earliest_store_time(queue).await?;
            if earliest_ms.is_none_or(|earliest_ms| earliest_ms >= oldest_ms) {
                continue;
            }
            let first = self
                .queues
                .offset_by_time(queue, oldest_ms, Boundary::Lower);
            let first = first.await?;
            let entries = self.queues.entries(queue, first, 1).await?;
            let position = entries.first().map(|entry| entry.physical_offset);
            self.queues.raise_min(queue, first, position);
        }
        Ok(())
    }

    /// The first positions of the files that may go: never the one that is written to, and none that a restart reads.
    fn removable(&self) -> Vec<u64> {
        let kept_from = self.queues.checkpointed().min(self.log.marks().committed());
        let mut starts = self.log.segments().starts();
        starts.retain(|start| start + self.config.segment_bytes <= kept_from);
        starts
    }

    async fn look(&self, starts: &[u64], is_asked_for: bool) -> Result<Look, StoreError> {
        let now_ms = self.io.now().unix_ms;
        let mut newest_ms = Vec::new();
        let mut is_old = true;
        for (place, start) in starts.iter().enumerate() {
            // Those behind one that is to stay stay too.
            let time_ms = match is_old && place < MAX_FILES {
                true => {
                    // A record may have 4 MiB, of which all is verified, and nothing waits if it is in the log buffer.
                    yield_now().await;
                    self.newest_ms(*start).await?
                }
                false => None,
            };
            let retention = self.rules.borrow();
            is_old &= time_ms.is_none_or(|time_ms| retention.is_expired(time_ms, now_ms));
            newest_ms.push(time_ms);
        }
        let space = self.space().await;
        let files = self.log.segments().starts().len() as u64;
        Ok(Look {
            now_ms,
            hour: hour_of_day(now_ms, self.io.utc_offset_s()),
            space,
            segment_bytes: self.config.segment_bytes,
            log_bytes: files * self.config.segment_bytes,
            newest_ms,
            has_spare: self.log.segments().has_spare(),
            needs_file: self.log.segments().no_space().is_some(),
            is_out_of_space: [Lack::Log, Lack::Queues, Lack::Texts]
                .iter()
                .any(|lack| self.gate.has_lack(*lack)),
            is_asked_for,
        })
    }

    /// Store time of the last message of a file: not after that of the first one behind it.
    async fn newest_ms(&self, start: u64) -> Result<Option<i64>, StoreError> {
        self.time_at(start + self.config.segment_bytes).await
    }

    async fn time_at(&self, position: u64) -> Result<Option<i64>, StoreError> {
        let record = self.log.record_at(position).await?;
        Ok(record.and_then(|record| store_time_of(&record)))
    }

    async fn remove_first(
        &self,
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
            if place > 0 && !self.gate.is_closing() {
                self.io
                    .sleep_until(self.io.now().mono_ns + BETWEEN_FILES_NS)
                    .await;
            }
            self.log.remove_first(round.recycle).await?;
        }
        self.log.begins_with(first_store_time_ms);
        let (dir, files) = (self.log.segments().dir().display(), round.remove);
        info!(%dir, files, log_min, "the oldest messages were removed");
        if round.remove > round.expired {
            self.wanted.early.set(self.wanted.early.get() + not_expired);
            let files = round.remove - round.expired;
            let stored_up_to_ms = look.newest_ms[..round.remove].iter().flatten().last();
            warn!(%dir, files, messages = not_expired, stored_up_to_ms, fileReservedTime_ms = self.rules.borrow().reserved_ms, "messages that had not expired were removed to free space: the disk is too small for fileReservedTime, or for commitLogMaxBytes the log is too large");
        }
        Ok(())
    }

    /// Messages that were removed before their time.
    pub fn removed_early(&self) -> u64 {
        self.wanted.early.get()
    }

    /// Each queue begins with its first message at or behind this log position. Returns the number of messages before it.
    async fn move_minimums(&self, log_min: u64) -> u64 {
        let mut messages = 0;
        let queues = self.queues.memory().all();
        for (place, queue) in queues.enumerate() {
            if place % QUEUES_AT_ONCE == 0 {
                yield_now().await;
            }
            let is_below = self.queues.memory().may_begin_below(queue, log_min);
            if !is_below {
                continue;
            }
            match self.first_at_or_behind(queue, log_min).await {
                Ok((offset, position)) => {
                    let min = self.queues.bounds(queue).min;
                    messages += offset.saturating_sub(min);
                    self.queues.raise_min(queue, offset, position);
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
        let bounds = self.queues.bounds(queue);
        let (mut low, mut high, mut step) = (bounds.min, bounds.max, 1);
        let mut found = None;
        while low < high {
            let middle = match found {
                Some(_) => low.midpoint(high),
                None => (low + step - 1).min(high - 1),
            };
            step *= 2;
            let entries = self.queues.entries(queue, middle, 1).await?;
            match entries.first().map(|entry| entry.physical_offset) {
                Some(position) if position < log_min => low = middle + 1,
                position => (high, found) = (middle, Some(position)),
            }
        }
        Ok((low, found.flatten()))
    }

    async fn remove_queue_files(&self) -> Result<(), StoreError> {
        let queues = self.queues.memory().all();
        for (place, queue) in queues.enumerate() {
            if place % QUEUES_AT_ONCE == 0 {
                yield_now().await;
            }
            self.queues.remove_files_below_min(queue).await?;
        }
        Ok(())
    }
}
